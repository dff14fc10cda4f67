#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the plan in a dry run of every verb that writes a model: bytes of the output, least and good memory, time. The time depends on the machine, so
# only its presence is checked; the work from which it is computed is the same everywhere and grows with the run.
. "$(dirname "$0")/../kit/cli_kit.sh"
for name in tiny-moe tiny-qwen2moe; do ln -s "${model%/*}/$name" $name; done
text=(--calibration tiny-qwen2/calibration.txt --context 64)

# foresees NAME ARGUMENTS...: makes a dry run and stores its plan in NAME.json, and its numbers in ${plan[NAME.MEMBER]}. One jq, which takes longer to
# start than to read, answers all questions.
declare -A plan=()
foresees() {
    local name=$1 whole time alike
    shift
    ends 0 "$@" -o "${out:-made}" --dry-run --json --quiet "${threads[@]}"
    cp ../out "$name.json"
    [[ ${own:-no} == yes ]] || ends 0 "$@" -o "${out:-made}" --dry-run --json --quiet --threads 3
    read -r whole time alike plan["$name.output_bytes"] plan["$name.memory_enough"] plan["$name.memory_good"] plan["$name.products"] < <(jq -rs '
        def work: .plan | [.output_bytes, .products, .bytes];
        [(.[0].plan | .output_bytes > 0 and .memory_enough >= 8388608 and .memory_good >= .memory_enough and .products >= 0 and .bytes > .output_bytes),
         (.[0].run.plan | .seconds > 0 and .processor_seconds > 0 and .products_per_second > 0 and .bytes_per_second > 0 and .threads >= 1),
         (.[0] | work) == (.[1] | work), (.[0].plan | .output_bytes, .memory_enough, .memory_good, .products)] | @tsv' "$name.json" ../out)
    judge "no whole plan" test "$whole" = true
    judge "no time" test "$time" = true
    [[ ${own:-no} == yes ]] || judge "the work depends on the threads" test "$alike" = true
}
threads=(--threads 2)
# more NAME NAME MEMBER: checks that the member is larger in the second plan.
more() { judge "$2 has no more $3 than $1" test "${plan[$2.$3]}" -gt "${plan[$1.$3]}"; }

prunes=(prune tiny-qwen2 -s 50)
foresees magnitude "${prunes[@]}" --method magnitude
foresees wanda "${prunes[@]}" --method wanda "${text[@]}" --samples 4
foresees longer "${prunes[@]}" --method wanda "${text[@]}" --samples 16
foresees sparsegpt "${prunes[@]}" --method sparsegpt "${text[@]}" --samples 4
foresees flow "${prunes[@]}" --method physarum-v3 "${text[@]}" --samples 4
foresees divided "${prunes[@]}" --method wanda "${text[@]}" --samples 4 --allocate global --allocate-tokens 64
more magnitude wanda products
more wanda longer products
more wanda longer memory_enough
more wanda sparsegpt products
more sparsegpt flow products
more wanda divided products
more wanda divided memory_enough
foresees nearest quantize tiny-qwen2 -s int4-group32
foresees gptq quantize tiny-qwen2 -s int4-group32 --method gptq "${text[@]}" --samples 4
out=made.gguf foresees blocks quantize tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf -s q4_k
more nearest gptq products
judge "the output of a quantisation" test "$(jq '.plan.output_bytes == .totals.total_size' nearest.json)" = true
foresees experts experts tiny-moe --keep 50% "${text[@]}" --samples 4
foresees loss experts tiny-moe --keep 50% "${text[@]}" --samples 4 --score loss
foresees sum experts tiny-moe --keep 50% "${text[@]}" --samples 4 --score sum
foresees healed experts tiny-moe --keep 50% "${text[@]}" --samples 4 --refit
foresees shared experts tiny-qwen2moe --keep 50% "${text[@]}" --samples 4
more sum loss products
more experts healed products
more experts healed memory_enough
foresees named layers tiny-qwen2 --drop 1-1
foresees searched layers tiny-qwen2 --drop 1 "${text[@]}" --search-tokens 256
foresees mended layers tiny-qwen2 --drop 1 "${text[@]}" --search-tokens 256 --refit --samples 8
more named searched products
more searched mended products
more searched mended memory_enough
foresees width width tiny-qwen2 --ffn 50% "${text[@]}" --samples 4
foresees wider width tiny-qwen2 --ffn 75% "${text[@]}" --samples 4
more width wider output_bytes
out=made.gguf foresees converted convert tiny-qwen2 --to gguf
out=made.gguf foresees fitted convert tiny-qwen2 --to gguf --type q8_0
more converted fitted products
judge "the output of a conversion" test "${plan[converted.output_bytes]}" -gt 9900000
out=plain.gguf foresees decoded dequantize tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
foresees purified purify tiny-qwen2 --method haar
ln -s "${model%/*}/tiny-lora" tiny-lora
foresees merged lora merge --base tiny-qwen2 --adapter tiny-lora
foresees extracted lora extract --base tiny-qwen2 --tuned tiny-qwen2
foresees long_extracted lora extract --base tiny-qwen2 --tuned tiny-qwen2 --rank 4
more long_extracted extracted products
more long_extracted extracted output_bytes
# Verbs that only copy tensors have neither --memory nor --threads.
threads=()
own=yes foresees grafted graft --source tiny-qwen2 --target tiny-qwen2 --layers 1
own=yes foresees apart extract tiny-qwen2
ends 0 extract tiny-qwen2 -o organs --quiet
own=yes foresees again assemble organs
threads=(--threads 2)
for name in grafted apart again; do
    judge "$name: the bytes of the files" test "${plan[$name.output_bytes]}" -gt 9900000
    judge "$name: the plan has a --memory" test "$(jq '.plan | has("memory_given")' $name.json)" = false
done
# If the second moments of all experts do not fit the memory, the layer runs several times; with memory_good it runs once.
narrow=(width tiny-moe --ffn 75% "${text[@]}" --samples 4)
foresees narrow "${narrow[@]}"
judge "the good memory is the least one" test "${plan[narrow.memory_good]}" -gt "${plan[narrow.memory_enough]}"
for bound in enough good; do # of 2 threads: the least memory depends on their number
    ends 0 "${narrow[@]}" -o made --dry-run --json --quiet --threads 2 --memory "${plan[narrow.memory_$bound]}"
    plan[$bound.products]=$(jq .plan.products ../out)
done
more good enough products
judge "more than the good memory saves work" test "${plan[good.products]}" = "${plan[narrow.products]}"

# The plan in the terminal and the HTML view.
for verb in "prune tiny-qwen2" "quantize tiny-qwen2 -s int8-channel" "experts tiny-moe --keep 50% ${text[*]} --samples 4" \
    "layers tiny-qwen2 --drop 1-1" "width tiny-qwen2 --ffn 50% ${text[*]} --samples 4" "purify tiny-qwen2 --method haar" \
    "lora merge --base tiny-qwen2 --adapter tiny-lora" "lora extract --base tiny-qwen2 --tuned tiny-qwen2"; do
    # shellcheck disable=SC2086 # words
    ends 0 $verb -o made --dry-run --quiet --html made.html
    judge "does not say the bytes" grep -q '^  Output: [0-9.]* MB of tensors\.$' ../out
    judge "does not say the memory" grep -q '^  Memory: --memory [0-9]*[KM] is enough' ../out
    judge "does not say the time" grep -q ' Time: about .* with [0-9]* threads\? of .*, disks not counted\.' <(tr -s '\n ' ' ' <../out)
    for line in "Output: " "Memory: --memory " "Time: about "; do judge "a page without '$line'" grep -qF "$line" made.html; done
done

for verb in prune quantize experts layers width convert dequantize purify "lora merge" "lora extract"; do
    # shellcheck disable=SC2086 # words
    ends 0 help $verb
    judge "help of --dry-run without the time" grep -q "the size of the output, the least --memory and an estimate of the time" <(tr -s ' \n' ' ' <../out)
done

# The least memory of the plan is enough, and the error of a run with less names the same number. A dry run with less is not refused: it has the same
# plan and says so.
least() {
    local enough named
    enough=${plan[$1.memory_enough]}
    shift
    ends 0 "$@" -o made --dry-run --quiet --threads 2 --memory "$enough"
    ends 0 "$@" -o made --dry-run --quiet --threads 2 --memory 8M
    judge "does not say that --memory is too little" grep -q -- '--memory 8M is too little: the run would end with an error' ../out
    ends 0 "$@" -o made --dry-run --json --quiet --threads 2 --memory 8M
    judge "the plan depends on --memory" test "$(jq -c '.plan | [.memory_enough, .memory_given, .memory_short]' ../out)" = "[$enough,8388608,true]"
    refused 2 "--memory" "$@" -o made --quiet --threads 2 --memory 8M
    named=$(sed -n '1s/.*; --memory \([0-9]*[KM]\) is enough.*/\1/p' ../err)
    judge "--memory 8M is refused with $named, and the plan says $enough" \
        test "$(awk -v n="${named%[KM]}" -v u="${named: -1}" -v e="$enough" 'BEGIN { m = n * (u == "M" ? 1048576 : 1024); print (m >= e && m - e < 1048576) }')" = 1
    ends 0 "$@" -o made --dry-run --quiet --threads 2 --memory "$named"
}
least flow "${prunes[@]}" --method physarum-v3 "${text[@]}" --samples 4
least divided "${prunes[@]}" --method wanda "${text[@]}" --samples 4 --allocate global --allocate-tokens 64
least gptq quantize tiny-qwen2 -s int4-group32 --method gptq "${text[@]}" --samples 4
least healed experts tiny-moe --keep 50% "${text[@]}" --samples 4 --refit
least mended layers tiny-qwen2 --drop 1 "${text[@]}" --search-tokens 256 --refit --samples 8
least width width tiny-qwen2 --ffn 50% "${text[@]}" --samples 4

# ---- a dry run does not run the model ----
# blank MODEL NAME: makes a copy of the model whose weights are NaN, so that every run of the model ends with 3.
blank() {
    local file header size
    mkdir "$2" && cp "$1"/* "$2" && chmod -R u+w "$2"
    for file in "$2"/*.safetensors; do
        header=$((8 + $(od -An -tu8 -N8 "$file"))) size=$(stat -c %s "$file")
        { head -c $header "$1/${file##*/}" && head -c $((size - header)) /dev/zero | tr '\0' '\377'; } >"$file"
    done
}
blank tiny-qwen2 nan && blank tiny-moe nan-moe
# decides ARGUMENTS...: checks that the dry run leaves the choice to the run, which needs the model.
decides() {
    ends 0 "$@" "${text[@]}" --samples 4 -o never --dry-run --json --quiet
    cp ../out decided.json
    ends 3 "$@" "${text[@]}" --samples 4 -o never --quiet
    judge "something is left" test -z "$(find . -maxdepth 1 -name '*never*')"
}
budget=(--allocate global --allocate-tokens 64 --rounds 1)
decides quantize nan -s mixed --method gptq "${budget[@]}" --budget 3.5bpw
judge "the widths are not provisional" jq -e '.allocation | .provisional and .measured == 0 and has("cost") == false' decided.json >../judged
decides prune nan --method sparsegpt "${budget[@]}" --budget 50%
judge "a division is known" jq -e '.allocation | .known == false and .tensors == []' decided.json >../judged
decides prune nan --method sparsegpt "${budget[@]}" --budget 50% --then int4-group32
decides layers nan --drop 1 --search-tokens 64
judge "the blocks are known" jq -e '.dropped == null and .search.done == false' decided.json >../judged
decides experts nan-moe --keep 50%
judge "the experts are known" jq -e '.measured == false and .layers == []' decided.json >../judged
decides width nan --ffn 50%

# A plan that is short of memory names the options that help, with amounts that are enough, and what they cost.
short=(quantize tiny-qwen2 -o made.gguf -s mixed --target-size 4MB --calibration tiny-qwen2/calibration.txt --dry-run --quiet)
COLUMNS=400 ends 0 "${short[@]}" --memory 20M
prints "is enough with --moments blocks, which gives a larger error."
prints "is enough with --scratch DIR, which reads and writes the hidden states on a disk."
ends 0 "${short[@]}" --memory 20M --json
holds ../out '.plan.memory_short' '.plan.memory_with_blocks < .plan.memory_enough' '.plan.memory_with_scratch < .plan.memory_enough'
blocks=$(jq .plan.memory_with_blocks ../out)
on_disk=$(jq .plan.memory_with_scratch ../out)
ends 0 "${short[@]}" --memory "$blocks" --moments blocks --json
holds ../out '.plan.memory_short | not' '.plan | has("memory_with_blocks") | not'
ends 0 "${short[@]}" --memory "$on_disk" --scratch . --json
holds ../out '.plan.memory_short | not' '.plan | has("memory_with_scratch") | not'
finish
