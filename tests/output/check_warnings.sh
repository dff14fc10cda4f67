#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests that each verb lists its warnings in the member "warnings" of its document, on stdout and in the report next to the output, and that a run without
# warnings has none. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"
root=${organ%/build/organ}

# The index of this model states a wrong size, and the adapter has a field that organ does not know.
cp -rL tiny-qwen2 odd && chmod -R u+w odd
jq '.metadata.total_size = 7' tiny-qwen2/model.safetensors.index.json >odd/model.safetensors.index.json
"$organ" lora sanitize "$root/fixtures/tiny-lora" -o plain --base tiny-qwen2 --quiet >../out || exit 1
cp -r plain lora && rm -r lora/organ
jq '.new_knob = 3' plain/adapter_config.json >lora/adapter_config.json
cp -rL "$root/fixtures/tiny-moe" moe && chmod -R u+w moe
jq '.metadata.total_size = 7' "$root/fixtures/tiny-moe/model.safetensors.index.json" >moe/model.safetensors.index.json
"$organ" prune tiny-qwen2 -o tuned --sparsity 20 --quiet >../out || exit 1
short=(--calibration tiny-qwen2/calibration.txt --samples 1 --context 32)

# warns WORD REPORT ARGS...: the warning with the word is on stderr once, in the document, and in the report (-: there is none).
warns() {
    local word=$1 report=$2
    shift 2
    rm -rf o o.*
    ends 0 "$@" --json
    judge "stderr has the warning $(grep -c "^warning: .*$word" ../err) times" test "$(grep -c "^warning: .*$word" ../err)" -eq 1
    jq -e --arg word "$word" '[.warnings[] | select(contains($word))] | length == 1' ../out >/dev/null 2>&1 || bad "the document does not list the warning" <(jq -c .warnings ../out)
    [[ $report == - ]] || jq -e --arg word "$word" '.warnings | any(contains($word))' "$report" >/dev/null 2>&1 || bad "$report does not list the warning"
}
warns total_size o/organ/prune.json prune odd -o o
warns total_size o/organ/purify.json purify odd -o o --method fft --threshold 0.1
warns total_size o/organ/quantize.json quantize odd -o o -s int8-channel
warns total_size o.quantize.json quantize odd -o o.gguf -s q8_0
warns total_size o.convert.json convert odd -o o.gguf --to gguf
warns total_size o/organ/merge.json merge odd tuned --method linear -o o
warns total_size o.convert.json merge odd tuned --method linear -o o.gguf
warns total_size - graft --source odd --target tiny-qwen2 --select feed-forward,1 -o o
warns total_size o/organ/layers.json layers odd --drop 1-1 -o o
warns total_size o/organ/width.json width odd --ffn 50% "${short[@]}" -o o
warns total_size o/organ/experts.json experts moe --keep 4 --calibration tiny-qwen2/calibration.txt --samples 1 --context 32 -o o
warns total_size - extract odd -o o
warns total_size o/organ/lora_extract.json lora extract --base odd --tuned tuned --rank 2 -o o
warns total_size o/organ/lora_merge.json lora merge --base odd --adapter plain -o o
warns total_size - compare odd tuned
warns total_size - perplexity odd --text tiny-qwen2/heldout.txt --max-tokens 16 --context 16
warns total_size - generate odd --prompt a --tokens 1
warns total_size - imatrix odd --calibration tiny-qwen2/calibration.txt --context 32 --chunks 1 -o o.gguf
warns total_size - prune odd -o o --dry-run
warns new_knob o/organ/lora_merge.json lora merge --base tiny-qwen2 --adapter lora -o o
warns new_knob o/organ/lora_sanitize.json lora sanitize lora -o o
warns new_knob o/organ/lora_resize.json lora resize lora --rank 2 -o o
warns new_knob o/organ/merge.json merge tiny-qwen2+lora tuned --method linear -o o
warns new_knob - compare tiny-qwen2 tuned tiny-qwen2+lora
warns new_knob - orthogonality tiny-qwen2 tuned lora
warns "is not used" o/organ/merge.json merge odd tuned --method linear --set normalize=true --set t=0.5 -o o
finish
