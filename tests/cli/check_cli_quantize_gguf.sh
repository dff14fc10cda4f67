#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ quantize on GGUF models: results, reports, errors. `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"
ln -s "$model/../imatrix" imatrix
plain=tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf
packed=tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
new=imatrix/tiny-qwen2.gguf

# ---- results and reports ----
for scheme in q4_0 q4_1 q5_0 q5_1 q8_0 q4_k q5_k q6_k; do
    ends 0 quantize $plain -o $scheme.gguf --scheme $scheme
    matches quantize/gguf_$scheme ../out
    grep -v '^\[' ../err >../notes
    # No row of the model consists of whole blocks of 256, so a file for Q4_K has no tensor of that type.
    case $scheme in
    q4_k | q5_k | q6_k) says "becomes ${scheme^^}" ;;
    *) judge "$scheme warns of other types" test "$(grep -c "becomes ${scheme^^}" ../err)" = 0 ;;
    esac
    ends 0 inspect $scheme.gguf
    prints "No problems found"
    ends 0 dequantize $scheme.gguf -o back.gguf --quiet
    rm back.*
done
matches quantize/gguf_notes ../notes
ends 0 quantize $plain -o weighed.gguf --scheme q5_k --imatrix $new --quiet
[[ -s ../err ]] && bad "--quiet is not quiet" ../err
matches quantize/gguf_imatrix ../out
matches quantize/GGUF_QUANTIZE_REPORT weighed.QUANTIZE_REPORT.md
holds weighed.quantize.json '.definition == "quantize-gguf/1"' '.imatrix | .entries == 28 and .chunks == 16 and .xxh3 == "e001cba83db47f44"' \
    '.totals | .weighted_error == 0.032609905 and .unreached_experts == 0' '[.types[].type] == ["Q5_1", "Q8_0"]' '.tensors | length == 29' \
    '.tensors[0] | .stored_as == "Q8_0" and .imatrix_entry == null and (.why | contains("Q6_K"))'
judge "no page beside the report" grep -q "</html>" weighed.QUANTIZE_REPORT.html
judge "the imatrix changes nothing" test "$(cmp -s weighed.gguf q5_k.gguf; echo $?)" = 1
ends 0 quantize $plain -o older.gguf --scheme q5_k --imatrix imatrix/tiny-qwen2.dat --quiet
prints "Columns weighted by tiny-qwen2.dat (imatrix.dat"
ends 0 quantize $plain -o dry.gguf --scheme q4_k --dry-run --quiet
matches quantize/gguf_dry ../out
judge "a dry run wrote something" test ! -e dry.gguf
ends 0 quantize $plain -o dry.gguf --scheme q4_k --dry-run
says "5.90"
says "q4_0 (5.03), q4_1 (5.46)"

# A quantised model is dequantised first; a tensor of the type that it would get is copied.
ends 0 quantize $plain -o some.gguf --scheme q4_0 --select '*ffn_up*,*ffn_down*'
ends 0 quantize some.gguf -o rest.gguf --scheme q8_0
says "8 Q4_0"
prints "Q8_0                29"
ends 0 dequantize some.gguf -o some-f32.gguf --dtype f32 --quiet
ends 0 quantize some-f32.gguf -o twice.gguf --scheme q8_0 --quiet
judge "a quantised model gives other bytes than its dequantised twin" cmp -s rest.gguf twice.gguf
ends 0 quantize some.gguf -o mixed.gguf --scheme q4_0
says "blk.0.ffn_down.weight"
prints "Not quantised: blk.0.ffn_down.weight: it is stored as Q4_0 already."
for name in some some-f32; do
    ends 0 quantize $name.gguf -o gptq.gguf -s q5_1 --method gptq --calibration tiny-qwen2/calibration.txt --samples 2 --context 64 --quiet --force
    mv gptq.gguf $name-gptq.gguf
done
judge "GPTQ on a quantised model gives other bytes than on its dequantised twin" cmp -s some-gptq.gguf some-f32-gptq.gguf
refused 3 "'token_embd.weight'" \
    quantize rest.gguf -o no.gguf -s q8_0

# Recipes and types of single tensors.
for name in Q4_K_M q4_k_m recipe:q4_k_m RECIPE:Q4_K_M; do
    ends 0 quantize $plain -o $name.gguf -s $name --imatrix $new --json
    judge "$name is not the recipe" jq -e '.parameters.scheme == "recipe:q4_k_m"' ../out
done
judge "the name in capitals gives other bytes" cmp -s Q4_K_M.gguf recipe:q4_k_m.gguf
for name in IQ4_XS Q2_k q2_k Q8_0; do
    ends 0 quantize $plain -o type-$name.gguf -s $name --json
    judge "$name is not the scheme" jq -e ".parameters.scheme == \"${name,,}\"" ../out
done
judge "a type in capitals gives other bytes" cmp -s type-Q2_k.gguf type-q2_k.gguf
# One rule for every name that llama-quantize has: the name of a type is one type, any other is a recipe, in any case.
ends 0 convert "$model/../tiny-hybrid" -o names.gguf --to gguf --quiet
names=(q2_k iq4_xs q8_0 q4_k:q4_k_m)
in_part || names+=(q4_0 q4_1 q5_0 q5_1 q6_k iq4_nl iq3_s iq3_xxs q3_k:q3_k_m q5_k:q5_k_m mxfp4:mxfp4_moe)
for name in "${names[@]}"; do
    type=${name%:*} recipe=${name#*:}
    ends 0 quantize names.gguf -o no.gguf -s "recipe:$recipe" --dry-run --json
    says "recipe:$recipe"
    jq -c '[.tensors[] | [.tensor, .stored_as]] | sort' ../out >../theirs
    for scheme in "$type" "${type^^}"; do
        ends 0 quantize names.gguf -o no.gguf -s "$scheme" --dry-run --json
        says "${type^^}"
        others=$(jq -c '[.tensors[] | [.tensor, .stored_as]] | sort' ../out | jq -s '(.[0] - .[1] + .[1] - .[0]) | map(.[0]) | unique | length' - ../theirs)
        if ((others)); then says "gives $others tensors"; else
            says "recipe:$recipe"
        fi
    done
done
ends 0 quantize names.gguf -o no.gguf -s IQ2_S --dry-run
says "IQ2_S"
for scheme in Q4_K_M q5_k_s IQ3_m; do
    ends 0 quantize names.gguf -o no.gguf -s $scheme --dry-run
    says "recipe:${scheme,,}"
done
refused 2 "'IQ4_XL'" quantize $plain -o no.gguf -s IQ4_XL
ends 0 quantize $plain -o recipe.gguf -s Q4_K_M --type-of '*blk.0.ffn_down*=f16,feed-forward=q8_0,*attn_k.*=keep'
says "recipe:q4_k_m"
matches quantize/gguf_recipe ../out
holds recipe.quantize.json '[.tensors[] | select(.tensor == "blk.0.ffn_down.weight") | .stored_as, .why] == ["F16", "--type-of"]' \
    '[.tensors[] | select(.tensor | contains("attn_k."))] == []' '.parameters.type_of | startswith("*blk.0.ffn_down*=f16,")' \
    '[.tensors[] | select(.tensor | contains("ffn_up")) | .stored_as] | unique == ["Q8_0"]' \
    '.totals | .bits_per_weight_of_all > .bits_per_weight'
ends 0 inspect recipe.gguf
ends 0 quantize $plain -o fixed.gguf -s q5_0 --type-of 'token_embd.weight=bf16' --method gptq --calibration tiny-qwen2/calibration.txt --samples 2 \
    --context 64 --quiet
holds fixed.quantize.json '[.tensors[] | select(.stored_as != "Q5_0") | .tensor, .stored_as] == []' '.totals.tensors == 28'

ends 0 quantize $plain -o weighed.gguf --scheme q5_k --imatrix $new --force --json --quiet --threads 1
if diff <(sed '/^  "run": {$/,/^  }$/d' ../out) <(sed '/^  "run": {$/,/^  }$/d' weighed.quantize.json) >../difference; then good; else
    bad "--json differs from the file" ../difference
fi
ends 0 quantize $plain -o scored.gguf --scheme q4_k --evaluate tiny-qwen2/heldout.txt --evaluate-context 64 --evaluate-max-tokens 256 --quiet
prints "KL divergence"

# NVFP4 multiplies its blocks by a tensor scale, which organ reads too; its rows of 96 values become IQ4_NL.
ends 0 convert "$model/../tiny-moe" --to gguf -o moe.gguf --quiet
for how in "--method gptq --calibration tiny-qwen2/calibration.txt --samples 4 --context 64" "--method nearest"; do
    # shellcheck disable=SC2086
    ends 0 quantize moe.gguf -o nv.gguf -s nvfp4 $how --evaluate tiny-qwen2/heldout.txt --evaluate-context 64 --evaluate-max-tokens 256 --json --force
    judge "NVFP4 with $how changes the model by more than 4 bits do" jq -e '.evaluation.comparison.kl_divergence < 0.1' ../out
done
holds nv.quantize.json '[.tensors[] | select(.stored_as == "NVFP4") | .relative_error] | length == 24 and max < 0.09' \
    '[.tensors[] | select(.tensor | contains("ffn_down_exps")) | .stored_as] | unique == ["IQ4_NL"]'
ends 0 inspect nv.gguf
prints "No problems found"
ends 0 dequantize nv.gguf -o plain-nv.gguf --dtype f32 --quiet
for name in nv plain-nv; do
    ends 0 perplexity $name.gguf --text tiny-qwen2/heldout.txt --context 64 --max-tokens 128 --json --quiet
    jq .figures.perplexity ../out
done | uniq | wc -l >../count
judge "the dequantised model has another perplexity" test "$(cat ../count)" = 1

# The types of a quantised mixture are measured with experts in FP32.
ends 0 quantize moe.gguf -o moe-8.gguf -s q8_0 --quiet
ends 0 quantize moe-8.gguf -o fewer.gguf -s mixed --select 'blk.1.*' --budget 8bpw --calibration tiny-qwen2/calibration.txt --samples 1 --context 64 \
    --allocate-tokens 64 --quiet
holds fewer.quantize.json '.totals.bits_per_weight_of_all | . > 7.9 and . <= 8'
# Quantised once more, the tensor scale is part of the values; only tensors that stay NVFP4 keep theirs.
for how in "-s q8_0" "-s q4_0 --method gptq --calibration tiny-qwen2/calibration.txt --samples 2 --context 64"; do
    for name in nv plain-nv; do
        # shellcheck disable=SC2086
        ends 0 quantize $name.gguf -o once.gguf $how --type-of token_embd.weight=keep --force --quiet
        ends 0 dequantize once.gguf -o $name-once.gguf --dtype f32 --force --quiet
    done
    judge "$how of NVFP4 is not that of the dequantised model" cmp -s nv-once.gguf plain-nv-once.gguf
done
ends 0 quantize nv.gguf -o once.gguf -s q8_0 --select '*attn_q*' --force --quiet
ends 0 perplexity once.gguf --text tiny-qwen2/heldout.txt --context 64 --max-tokens 128 --json --quiet
judge "tensors that stay NVFP4 have no scales" jq -e '[.. | .perplexity? // empty | numbers] | length > 0 and all(. < 20)' ../out

# The bytes are the same with other threads, memory and instruction sets.
here="organ quantize by another way"
two=(quantize $plain --scheme q5_k --imatrix $new --select 'blk.[03].*' --quiet)
ends 0 "${two[@]}" -o two.gguf
for isa in scalar avx2; do
    ORGAN_ISA=$isa "$organ" "${two[@]}" -o again.gguf --threads 1 --memory 16M >../out 2>../err ||
        grep -q "not supported by this CPU\|not in this build" ../err || bad "fails with $isa" ../err
    [[ ! -e again.gguf ]] || judge "$isa differs" cmp -s two.gguf again.gguf
    rm -f again.*
done

# ---- interrupted and resumed ----
interrupted INT resumed.gguf quantize $plain -o resumed.gguf --scheme q5_k --imatrix $new --threads 1
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
says "./.resumed.gguf.organ-partial"
judge "a half model is under the final name" test ! -e resumed.gguf
refused 2 "--resume" quantize $plain -o resumed.gguf --scheme q5_k --imatrix $new
ends 2 quantize $plain -o resumed.gguf --scheme q5_k --resume
says "imatrix"
ends 0 quantize $plain -o resumed.gguf --scheme q5_k --imatrix $new --resume
says "tensors"
judge "a resumed run differs from a whole one" cmp -s weighed.gguf resumed.gguf
judge "something hidden was left behind" test -z "$(find . -name '.?*')"

# ---- from safetensors in one step ----
mkdir ../temporary scratch
export TMPDIR=$PWD/../temporary
nothing_hidden() { judge "something hidden was left behind" test -z "$(find . ../temporary -name '.?*' ! -name . ! -name .. -o -path '../temporary/*' -o -path './scratch/*')"; }
ends 0 quantize tiny-qwen2 -o direct.gguf -s recipe:q4_k_m --imatrix $new --dry-run
prints "Converted from tiny-qwen2 to GGUF first (10.0 MB, to be removed at the end)."
judge "a dry run wrote something" test ! -e direct.gguf
nothing_hidden
ends 0 convert tiny-qwen2 -o converted.gguf --to gguf --quiet
for how in "-s recipe:q4_k_m --imatrix $new" "-s q5_0 --method gptq --calibration tiny-qwen2/calibration.txt --samples 2 --context 64" \
    "-s iq4_xs --scratch scratch"; do
    # shellcheck disable=SC2086
    ends 0 quantize tiny-qwen2 -o direct.gguf $how --force
    says "converted"
    holds direct.quantize.json '.converted == {"model": "tiny-qwen2", "bytes": 9995296}'
    nothing_hidden
    # shellcheck disable=SC2086
    ends 0 quantize converted.gguf -o two-steps.gguf ${how/--scratch scratch/} --force --quiet
    judge "two steps give other bytes ($how)" cmp -s direct.gguf two-steps.gguf
done
ends 0 quantize tiny-qwen2 -o packed -s int8-group32 --quiet
ends 0 quantize packed -o packed.gguf -s q8_0 --quiet
holds packed.quantize.json '.totals.tensors == 29'
ends 0 quantize converted.gguf -o two-steps.gguf -s recipe:q4_k_m --imatrix $new --force --quiet
source=.resumed.gguf.organ-source-69e97b6eb44c5a3f
# One run is stopped in the conversion, one in the quantisation.
for stage in $source/.tiny-qwen2.gguf.organ-partial .resumed.gguf.organ-partial; do
    rm resumed.*
    watched=$stage/organ/journal.jsonl \
        interrupted INT resumed.gguf quantize tiny-qwen2 -o resumed.gguf -s recipe:q4_k_m --imatrix $new
    judge "SIGINT ends it with $code instead of 130" test $code -eq 130
    judge "nothing to resume" test -e $stage -a -e $source
    ends 0 quantize tiny-qwen2 -o resumed.gguf -s recipe:q4_k_m --imatrix $new --resume
    says "tensors"
    judge "a resumed run differs from a whole one" cmp -s resumed.gguf two-steps.gguf
    nothing_hidden
done
# A run that is killed after the converted file has got its name, but before the record says so, leaves both.
rm resumed.*
watched=$source/.tiny-qwen2.gguf.organ-partial/organ/journal.jsonl \
    interrupted INT resumed.gguf quantize tiny-qwen2 -o resumed.gguf -s recipe:q4_k_m --imatrix $new
cp packed.gguf $source/tiny-qwen2.gguf
ends 0 quantize tiny-qwen2 -o resumed.gguf -s recipe:q4_k_m --imatrix $new --resume
judge "a converted file without a record is taken" cmp -s resumed.gguf two-steps.gguf
nothing_hidden
refused 2 "resumed.gguf" quantize tiny-qwen2 -o resumed.gguf -s q4_k
refused 3 "'general.type'" quantize tiny-qwen2 -o no.gguf -s q4_k --imatrix $packed
judge "the model was converted before the error" test "$(grep -c converted ../err)" = 0
refused 2 ".gguf" quantize tiny-qwen2 -o no -s q4_k
refused 4 "no-such" quantize tiny-qwen2 -o no.gguf -s q4_k --scratch no-such
nothing_hidden

# ---- errors ----
refused 2 "'recipe:q4_k_m'" quantize $plain -o no.gguf -s q4_k_xl
refused 2 "'recipe:q4_k_m'" quantize $plain -o no.gguf -s recipe:q4_k_mm
refused 2 "nvfp4" quantize $plain -o no.gguf -s nvfp4
refused 2 "nvfp4" quantize $plain -o no.gguf -s q4_0 --type-of '*ffn_up*=nvfp4'
refused 2 "iq1_m" quantize $plain -o no.gguf -s IQ1_L
refused 2 "llama-quantize" quantize $plain -o no.gguf -s IQ2_KS
refused 2 "--select" quantize $plain -o no.gguf -s recipe:q4_0 --select attention
refused 2 "--type-of 'q8_0'" quantize $plain -o no.gguf -s q4_0 --type-of q8_0
refused 2 "'q8_0'" quantize $plain -o no.gguf -s q4_0 --type-of '*=q8_9'
refused 2 "--type-of '*ffn_dwn*'" quantize $plain -o no.gguf -s q4_0 --type-of '*ffn_dwn*=q8_0'
refused 2 "'attn_norm'" quantize $plain -o no.gguf -s q4_0 --type-of 'attn_norm=q8_0'
refused 2 "--type-of" quantize tiny-qwen2 -o no -s int4-group32 --type-of '*=keep'
refused 2 "fp8-block128" quantize tiny-qwen2 -o no -s fp8
refused 2 "'fp8-block128'" quantize tiny-qwen2 -o no -s fp8-blok128
refused 2 "int4-group32" quantize $plain -o no -s int4-group32
refused 2 ".gguf" quantize $plain -o no -s q4_k
refused 2 "--imatrix" quantize tiny-qwen2 -o no -s fp8-tensor --imatrix $new
refused 4 "missing.gguf" quantize $plain -o no.gguf -s q4_k --imatrix missing.gguf
refused 3 "'general.type'" quantize $plain -o no.gguf -s q4_k --imatrix $packed
head -c 40000 imatrix/tiny-qwen2.dat >cut.dat
refused 3 "cut.dat" quantize $plain -o no.gguf -s q4_k --imatrix cut.dat
refused 3 "'blk.0.attn_q.weight'" \
    quantize "$model/../forward/gemma3.gguf" -o no.gguf -s q8_0 --imatrix $new
refused 3 "'blk.3.attn_k.weight'" \
    quantize "$model/../forward/llama.gguf" -o no.gguf -s q8_0 --imatrix $new
ends 0 quantize $plain -o no.gguf -s Q2_K_S --dry-run
says "--imatrix"
ends 0 quantize $plain -o no.gguf -s Q2_K_S --dry-run --imatrix $new
judge "the warning is there with an imatrix" test "$(grep -c -- --imatrix ../err)" = 0
finish
