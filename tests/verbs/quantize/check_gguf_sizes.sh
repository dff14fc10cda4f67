#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ quantize --scheme mixed of GGUF models: sizes, types, saved costs, errors.
. "$(dirname "$0")/../../kit/cli_kit.sh"
plain=tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf
ln -s "$model/../tiny-hybrid" tiny-hybrid
ends 0 convert tiny-hybrid -o wide.gguf --to gguf --quiet
text=(--calibration tiny-qwen2/calibration.txt --samples 4 --context 64 --allocate-tokens 64)
# The search of codebooks takes most of the time. The costs of whole models are measured below, of a smaller model and of one with experts.
mixed=(quantize wide.gguf -s mixed --quiet)
ten=(--select 'blk.3.*,blk.0.attn*,blk.0.ssm_out*')
size() { stat -c %s "$1"; }

# between FILE REQUEST: the file has at most REQUEST bytes, and is at most half a percent smaller.
between() {
    here="$1"
    judge "$(size "$1") bytes are not just below $2" test "$(size "$1")" -le "$2" -a "$(size "$1")" -ge $(($2 * 995 / 1000))
}

# ---- a size of the file ----
ends 0 "${mixed[@]}" -o one.gguf "${ten[@]}" --target-size 5.1MB "${text[@]}"
between one.gguf 5100000
judge "the costs are not kept" test -s one.allocation.json
holds one.quantize.json '.choice | .bytes <= 5100000 and .exact and .bound == .cost and .gap == 0 and .measured == 10 and .tensors_in_all == 10' \
    '.choice.tensors | length == 10 and all(.cost > 0) and ([.[].type] | unique | length >= 4)' '.parameters.scheme == "mixed"' \
    '.parameters.method == "gptq"' '([.choice.tensors[].cost] | add) as $sum | (.choice.cost - $sum) * 1e9 | fabs < 1'
judge "the report has another size" test "$(size one.gguf)" -eq "$(jq .choice.bytes one.quantize.json)"
ends 0 inspect one.gguf
prints "No problems found"
ends 0 perplexity one.gguf --text tiny-qwen2/heldout.txt --context 64 --max-tokens 256

# ---- several sizes with the same costs, and without the text ----
ends 0 quantize wide.gguf -s mixed -o sizes.gguf "${ten[@]}" --target-size 5.3MB,5.1MB,5000kB --allocation one.allocation.json
says "5.0 MB"
prints "in 3 sizes"
between sizes-5.1MB.gguf 5100000
between sizes-5.3MB.gguf 5300000
between sizes-5000kB.gguf 5000000
judge "the text is used" test "$(jq '[.choice.tokens, .calibration]' sizes-5.1MB.quantize.json -c)" = "[0,null]"
judge "nearest codes are predicted by the costs of GPTQ" test "$(jq -s '.[0].choice.cost > .[1].choice.cost' sizes-5.1MB.quantize.json one.quantize.json)" = true
judge "more bytes cost more" test "$(jq -s '.[0].choice.cost > .[1].choice.cost and .[1].choice.cost > .[2].choice.cost' \
    sizes-5000kB.quantize.json sizes-5.1MB.quantize.json sizes-5.3MB.quantize.json)" = true
rm sizes-5.3MB.*
ends 0 "${mixed[@]}" -o sizes.gguf "${ten[@]}" --target-size 5.3MB,5.1MB,5000kB --allocation one.allocation.json --resume
between sizes-5.3MB.gguf 5300000
# A file that the record lacks, or that was made from other inputs, with other options or from other costs, is not taken.
again=("${mixed[@]}" -o sizes.gguf "${ten[@]}" --target-size "5.3MB,5.1MB,5000kB" --allocation one.allocation.json)
refused 2 "all_experts" "${again[@]}" --all-experts --resume
cp one.allocation.json costs.json && echo >>costs.json
refused 2 "costs.json" "${again[@]/one.allocation.json/costs.json}" --resume
mv sizes.sizes.json kept.json
refused 2 "sizes-5000kB.gguf" "${again[@]}" --resume
mv kept.json sizes.sizes.json
cp sizes-5.3MB.gguf other && mv other sizes-5.1MB.gguf
ends 0 "${again[@]}" --resume
between sizes-5.1MB.gguf 5100000
refused 2 "sizes-5000kB.gguf" "${mixed[@]}" -o sizes.gguf "${ten[@]}" --target-size 5.3MB,5000kB --allocation one.allocation.json

# ---- bits per weight, bytes of tensors, fixed candidates, dry runs ----
ends 0 "${mixed[@]}" -o bits.gguf "${ten[@]}" --budget 13bpw --allocation one.allocation.json
holds bits.quantize.json '.choice.bits_per_weight_of_all | . <= 13 and . >= 12.935' \
    '.totals.total_size as $all | .choice.bytes == $all'
ends 0 "${mixed[@]}" -o few.gguf "${ten[@]}" --target-size 5.1MB --types q4_k,q6_k,q8_0 --allocation one.allocation.json --dry-run
prints "Predicted KL divergence"
judge "other types than allowed" test "$(sed -n 's/^  \([QI][0-9A-Z_]*\) .*/\1/p' ../out | sort -u | tr '\n' ' ')" = "Q4_K Q6_K "
judge "a dry run wrote something" test ! -e few.gguf
ends 0 quantize wide.gguf -s mixed -o dry.gguf "${ten[@]}" --target-size 5.2MB "${text[@]}" --dry-run
says "type"
prints "Time: about"
judge "a dry run kept costs" test ! -e dry.allocation.json
COLUMNS=300 ends 0 "${mixed[@]/--quiet/--threads=1}" -o large.gguf "${ten[@]}" --target-size 1GB --allocation one.allocation.json
says "1GB"
holds large.quantize.json '[.choice.tensors[].type] | group_by(.) | map([.[0], length]) == [["Q8_0", 1], ["unchanged", 9]]' \
    '.choice | .fits_unquantised and .exact and .unquantised == 9 and .unfit == 0' '.choice.cost == ([.choice.tensors[].cost] | add)'
prints "no other choice that changes a tensor is predicted to be better"
prints "The size leaves room for 9 of the others as they are."

# ---- a larger request never costs more ----
seed=1
# random BELOW: the next number of a generator, below BELOW.
random() { seed=$(((seed * 1103515245 + 12345) % 2147483648)) && number=$((seed / 8 % $1)); }
# ascends COUNT FROM TO MODEL ARGS...: of COUNT random sizes of the file from FROM to TO, no larger one has a higher predicted KL.
ascends() {
    local list=$3 k
    for ((k = 1; k < $1; k++)); do random $(($3 - $2)) && list+=,$(($2 + number)); done
    ends 0 quantize "$4" -s mixed --quiet -o no.gguf --dry-run --json --target-size "$list" "${@:5}"
    judge "a larger size costs more, or a file is larger than requested" jq -e '[.outputs[].choice] | map([.requested_bytes, .cost]) as $all |
        all(.bytes <= .requested_bytes and .exact and .cost >= 0) and $all == ($all | sort_by(.[0])) and
        ([range(1; $all | length) | $all[.][1] <= $all[. - 1][1]] | all)' ../out
}
whole=$(size wide.gguf) own=("${ten[@]}" --allocation one.allocation.json)
requests=10
in_part || requests=64
ascends $((2 * requests)) 4900000 $((whole + whole / 20)) wide.gguf "${own[@]}"
ascends $requests $((whole - 2000)) $((whole + 2000)) wide.gguf "${own[@]}"
ascends $requests 5150000 $((whole + whole / 20)) wide.gguf "${own[@]}" --types q4_k,q8_0

# ---- interrupted, by another method, and the same bytes everywhere ----
# A tensor in each of two layers, because each of these runs measures again.
some=(--select 'blk.2.attn_gate.weight,blk.3.attn_k.weight' --target-size 6.25MB)
ends 0 "${mixed[@]}" -o some.gguf "${some[@]}" "${text[@]}"
watched=again.allocation.json interrupted INT again.gguf "${mixed[@]/--quiet/--threads=1}" -o again.gguf "${some[@]}" "${text[@]}"
says "--resume"
interrupted INT again.gguf "${mixed[@]}" -o again.gguf "${some[@]}" "${text[@]}" --threads 1 --resume
ends 0 "${mixed[@]}" -o again.gguf "${some[@]}" "${text[@]}" --threads 1 --resume
judge "a run that continued makes other bytes" cmp -s some.gguf again.gguf
judge "it measured other costs" cmp -s some.allocation.json again.allocation.json
# Scalar kernels take a minute: kernels compares them with the vector kernels, and cli_quantize_gguf the codes of both.
isas=avx2
in_part || isas="scalar avx2"
for isa in $isas; do
    here="organ quantize with $isa"
    rm -f again.*
    if ORGAN_ISA=$isa "$organ" "${mixed[@]}" -o again.gguf "${some[@]}" "${text[@]}" --threads 3 >../out 2>../err; then
        judge "$isa measures other costs" cmp -s some.allocation.json again.allocation.json
        judge "$isa makes other bytes" cmp -s some.gguf again.gguf
    else
        grep -q "not supported by this CPU\|not in this build" ../err || bad "fails with $isa" ../err
    fi
done
refused 2 "--memory" "${mixed[@]}" -o no.gguf "${some[@]}" "${text[@]}" --memory 8M
least=$(grep -o 'memory [0-9]*M is enough' ../err | tr -dc 0-9)
rm -f again.*
ends 0 "${mixed[@]}" -o again.gguf "${some[@]}" "${text[@]}" --memory "${least}M"
judge "less memory makes other bytes" cmp -s some.gguf again.gguf
if command -v mpirun >/dev/null && [[ -f $(dirname "$organ")/liborgan_mpi.so ]]; then
    rm -f again.*
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl=self,vader
    here="mpirun -n 3 organ quantize"
    mpirun -n 3 "$organ" "${mixed[@]}" -o again.gguf "${some[@]}" "${text[@]}" --threads 1 >../out 2>../err </dev/null || bad "fails" ../err
    judge "3 ranks measure other costs" cmp -s some.allocation.json again.allocation.json
    judge "3 ranks make other bytes" cmp -s some.gguf again.gguf
else
    echo "mpirun or mpicc is not installed: several processes were not run"
fi
# Types of --type-of change the model, so that all others may stay as they are.
ascends 5 5650000 5800000 wide.gguf --allocation some.allocation.json "${some[@]:0:2}" --type-of '*ffn_down*=q6_k'
judge "the others are not all kept" jq -e '.outputs[-1].choice | .cost == 0 and .unquantised == 2 and (.fits_unquantised | not)' ../out
ends 0 "${mixed[@]}" -o near.gguf "${some[@]}" "${text[@]}" --method nearest
# A run without the text rounds to the nearest codes, by their costs, whatever method the file was measured with.
ends 0 "${mixed[@]}" -o read.gguf "${some[@]}" --allocation some.allocation.json
judge "nearest codes have other costs in a file of GPTQ" test "$(jq .choice.cost read.quantize.json)" = "$(jq .choice.cost near.quantize.json)"
judge "other bytes by the costs of a file of GPTQ" cmp -s near.gguf read.gguf
refused 2 "method" "${mixed[@]}" -o no.gguf "${some[@]}" "${text[@]}" --allocation near.allocation.json
judge "nearest codes are predicted to be as good" test "$(jq -s '.[0].choice.cost > .[1].choice.cost' near.quantize.json some.quantize.json)" = true

# ---- rows that are not whole blocks of 256, and another file's costs ----
ends 0 quantize $plain -s mixed -o narrow.gguf --target-size 3.3MB --quiet "${text[@]}" --allocate-layers 2
between narrow.gguf 3300000
holds narrow.quantize.json '[.choice.tensors[].between] | any'
refused 2 "model" quantize $plain -s mixed -o no.gguf --target-size 3.3MB --allocation one.allocation.json

# ---- from a directory; a dry run converts nothing ----
four=(--select 'blk.3.attn_[qkvo]*.weight') # few tensors, because the costs are measured again
ends 0 quantize tiny-hybrid -s mixed -o from.gguf --target-size 6.1MB,6.25MB "${four[@]}" "${text[@]}" --dry-run --quiet
judge "a dry run wrote something" test -z "$(find . -name '*from*')"
ends 0 quantize tiny-hybrid -s mixed -o from.gguf --target-size 6.1MB,6.25MB "${four[@]}" "${text[@]}" --quiet
prints "Quantised tiny-hybrid"
between from-6.25MB.gguf 6250000
between from-6.1MB.gguf 6100000
ends 0 quantize tiny-hybrid -s mixed -o from.gguf --target-size 6.1MB "${four[@]}" --dry-run
says "6.1 MB"
judge "a dry run gives other types" test "$(sed -n 's/^  \([QI][0-9A-Z_]*\)  *\([0-9]*\) .*/\1 \2/p' ../out | sort)" = \
    "$(jq -r '[.choice.tensors[].type | ascii_upcase] | group_by(.) | map("\(.[0]) \(length)")[]' from-6.1MB.quantize.json | sort)"
rm from-6.25MB.*
ends 0 quantize tiny-hybrid -s mixed -o from.gguf --target-size 6.1MB,6.25MB "${four[@]}" "${text[@]}" --resume
says "from-6.1MB.gguf"
between from-6.25MB.gguf 6250000

# ---- stacks of experts, and a type that --type-of fixes ----
ln -s "$model/../tiny-moe" tiny-moe
ends 0 convert tiny-moe -o moe.gguf --to gguf --quiet
ends 0 quantize moe.gguf -s mixed -o experts.gguf --select 'blk.[01].*exps*' --target-size 6.3MB --quiet --calibration tiny-moe/calibration.txt \
    "${text[@]:2}" --type-of '*ffn_gate_exps*=q8_0'
between experts.gguf 6300000
holds experts.quantize.json '[.choice.tensors[] | select(.name | test("exps"))] | length == 4' \
    '[.tensors[] | select(.tensor | test("ffn_gate_exps")) | .stored_as] | unique == ["Q8_0"]'

# ---- errors ----
refused 2 "900kB" "${mixed[@]}" -o no.gguf --target-size 900kB,2MB "${ten[@]}" --allocation one.allocation.json
judge "a size too small leaves files" test -z "$(find . -name 'no*')"
refused 2 "2bpw" "${mixed[@]}" -o no.gguf --budget 2bpw "${ten[@]}" --allocation one.allocation.json
refused 2 "--target-size" "${mixed[@]}" -o no.gguf "${text[@]}"
refused 2 "--budget" "${mixed[@]}" -o no.gguf "${text[@]}" --target-size 2MB --budget 3bpw
refused 2 "'2 apples'" "${mixed[@]}" -o no.gguf "${text[@]}" --target-size "2 apples"
refused 2 "--types 'q4_k'" quantize $plain -s mixed -o no.gguf "${text[@]}" --target-size 1GB --types q4_k --dry-run
for sizes in 'foo,bar' '{30,40}MB' ',' '2MB,' ',2MB' '2MB,,3MB' 0 '2MB,0MB' '3,5MB.1'; do
    refused 2 "'$sizes'" "${mixed[@]}" -o no.gguf "${text[@]}" --target-size "$sizes"
done
refused 2 "--target-size 'foo,bar'" quantize tiny-hybrid -s mixed -o no.gguf "${text[@]}" --target-size foo,bar
judge "the model is converted before the sizes are checked" test -z "$(find . -name '*no.gguf*')"
refused 2 "2000kB" "${mixed[@]}" -o no.gguf "${text[@]}" --target-size 2MB,2000kB
refused 2 "--calibration" "${mixed[@]}" -o no.gguf --target-size 2MB
refused 2 "q9_z" "${mixed[@]}" -o no.gguf "${text[@]}" --target-size 2MB --types q4_k,q9_z
refused 2 "--rounds" "${mixed[@]}" -o no.gguf "${text[@]}" --target-size 2MB --rounds 2
refused 2 "--one-width" "${mixed[@]}" -o no.gguf "${text[@]}" --target-size 2MB --one-width
refused 2 "50%" "${mixed[@]}" -o no.gguf "${text[@]}" --budget 50%
refused 2 "3.5" "${mixed[@]}" -o no.gguf "${text[@]}" --budget 3.5
refused 2 ".gguf" "${mixed[@]}" -o no "${text[@]}" --target-size 2MB
judge "a name that is no .gguf is found after the measurement" test ! -e no.allocation.json
refused 2 "--scheme mixed" quantize wide.gguf -o no.gguf -s q4_k --target-size 2MB
refused 2 "--scheme mixed" quantize wide.gguf -o no.gguf -s recipe:q4_k_m --types q4_k
refused 2 "--target-size" quantize tiny-hybrid -o no -s int4-group32 --target-size 2MB
sed 's/"cost": \[/"cost": [-1, /' one.allocation.json >bad.json
refused 3 "tensors[0].cost" "${mixed[@]}" -o no.gguf --target-size 5.2MB "${ten[@]}" --allocation bad.json
judge "something hidden was left behind" test -z "$(find . -name '.?*')"
finish
