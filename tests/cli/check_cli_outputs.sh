#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests that every verb compares all paths that it writes with each other and with its inputs before any work. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"

cp tiny-qwen2/heldout.txt text.txt
mkdir real && ln -s real link

# ---- every verb with -o and --html: the same path, or one inside the other ----
# One command for each verb; its models need not exist, because the paths are compared first.
commands=("assemble none" "autopsy none" "graft --source none --target none --select embed" "convert none --to gguf" "dequantize none" "evaluate none none"
    "experts none --keep 4" "extract none" "fetch hf:none/none" "fleet none" "gguf edit none --remove a.b" "gguf join none" "gguf split none --max-tensors 9" "graft --source none --target none" "imatrix none --calibration text.txt" "layers none --drop 1"
    "lora extract --base none --tuned none" "lora merge --base none --adapter none" "lora resize none --rank 2" "lora combine none none" "lora sanitize none" "measure none"
    "orthogonality none none none" "patch apply --base none --patch none" "patch extract --base none --tuned none" "perplexity none --text text.txt" "prune none" "purify none --method haar" "quantize none --scheme int8-channel"
    "vocabulary none --text text.txt" "width none --calibration text.txt --ffn 64")
listed=$("$organ" help | sed -nE 's/^  ([a-z]+( [a-z]+)?)  .*/\1/p' | while read -r verb; do
    # shellcheck disable=SC2086 # a verb may have two words
    "$organ" help $verb >../help && grep -q -- --output ../help && grep -q -- '--json, --csv' ../help && echo "$verb"
done)
for verb in $listed; do
    [[ $verb =~ ^(extract|merge|combine|resize|sanitize|split|join|edit|apply)$ ]] && continue
    judge "organ $verb is not in this test" grep -qE "^$verb( |\$)" <(printf '%s\n' "${commands[@]}")
done
judge "too few verbs" test "$(wc -l <<<"$listed")" -ge 22
for command in "${commands[@]}"; do
    read -ra words <<<"$command"
    refused 2 "--html p" "${words[@]}" -o p --html p
    refused 2 "--html p/page.html" "${words[@]}" -o p --html p/page.html
done

# ---- spellings of a path ----
mine=(prune tiny-qwen2 --quiet)
for other in ./p p/ "$PWD/p" ../area/p .//p real/../p; do refused 2 "--html" "${mine[@]}" -o p --html "$other"; done
refused 2 "--html real/p" "${mine[@]}" -o link/p --html real/p
refused 2 "--html link/p/q/page.html" "${mine[@]}" -o real/p --html link/p/q/page.html
refused 2 "real/p/q" "${mine[@]}" -o real/p/q --html link/p
for name in .p.organ-partial .p.organ-finished .p.organ-partial/page.html; do
    refused 2 "--output p" "${mine[@]}" -o p --html $name
done
echo >one && ln one two
refused 2 "--html two" "${mine[@]}" -o one --html two --force

# ---- reports next to a single file ----
plain=tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
for name in x.DEQUANTIZE_REPORT.md x.DEQUANTIZE_REPORT.html x.dequantize.json ./x.prune.jsonl; do
    refused 2 "x.gguf" dequantize $plain -o x.gguf --html $name
done

# ---- an unfinished run is rejected by a dry run as by a run ----
# unfinished ARGS...: --resume or --force is missing. The directory is as a killed run leaves it.
unfinished() {
    local output=$1 option
    for option in --dry-run --quiet; do
        mkdir -p ".$output.organ-partial/organ" && echo '{}' >".$output.organ-partial/organ/journal.jsonl"
        refused 2 "unfinished" "${@:2}" -o "$output" $option
        rm -r ".$output.organ-partial"
    done
}
tuned=$(dirname "$model")/tiny-lora
cp -r "$model" tuned
unfinished out prune tiny-qwen2
unfinished out prune tiny-qwen2 --method sparsegpt --sparsity 50 --calibration text.txt --samples 2 --context 64 --then int4-group32
unfinished out quantize tiny-qwen2 --scheme int4-group32
unfinished out quantize tiny-qwen2 --scheme int4-group32 --smooth auto --calibration text.txt --samples 2 --context 64
unfinished out.gguf quantize tiny-qwen2 --scheme q4_0
unfinished out.gguf dequantize $plain
unfinished out.gguf convert tiny-qwen2 --to gguf
unfinished out layers tiny-qwen2 --drop 2-2
unfinished out width tiny-qwen2 --ffn 50% --calibration text.txt
unfinished out purify tiny-qwen2 --method haar
unfinished out extract tiny-qwen2
unfinished out graft --source tiny-qwen2 --target tiny-qwen2 --layers 1-2
unfinished out merge tiny-qwen2 tuned --method linear
unfinished out merge tiny-qwen2 tuned --method linear --then fp8-channel
unfinished out lora merge --base tiny-qwen2 --adapter "$tuned"
unfinished out lora extract --base tiny-qwen2 --tuned tuned --rank 4

# ---- files that a run reads or extends ----
calibrated=(prune tiny-qwen2 --method sparsegpt --calibration text.txt --allocate global --budget 30% -o p --quiet)
refused 2 "--allocation p" "${calibrated[@]}" --allocation p
refused 2 "--html a.json" "${calibrated[@]}" --allocation a.json --html a.json
refused 2 "--calibration text.txt" "${calibrated[@]}" --allocation text.txt
refused 2 "--html s.json" experts none --keep 4 -o p --scores ./s.json --html s.json
refused 2 "--html s.json" layers none --drop 1 -o p --scores s.json --html s.json
ln text.txt hard.txt && ln -s text.txt soft.txt
for name in text.txt hard.txt soft.txt; do
    refused 2 "--text text.txt" perplexity tiny-qwen2 --text text.txt --html $name
    refused 2 "--text text.txt" perplexity tiny-qwen2 --text text.txt -o $name --force
done
mkdir texts && cp text.txt texts
refused 2 "--text texts/text.txt" perplexity tiny-qwen2 --text texts/text.txt -o texts --force
ends 0 inspect tiny-qwen2 --html page.html
ends 0 measure tiny-qwen2 -o numbers --quiet
refused 2 "FILE numbers/z_report.json" report numbers/z_report.json -o numbers/z_report.json

# ---- standard output ----
: >page.html
before=$(stat -c %i page.html)
"$organ" inspect tiny-qwen2 --html page.html >page.html 2>../err
code=$? here="organ inspect --html page.html >page.html"
judge "ends with $code" test $code = 2
says "--html page.html"
judge "the file is replaced" test "$(stat -c %i page.html)" = "$before"

# ---- what is no conflict ----
ends 0 prune tiny-qwen2 -o real/p --html real/p.html --quiet
ends 0 measure tiny-qwen2 -o numbers --html numbers.html --quiet
ends 0 perplexity tiny-qwen2 --text texts/text.txt --max-tokens 32 --html texts/page.html --quiet
ends 0 dequantize $plain -o x.gguf --html x.html --quiet
finish
