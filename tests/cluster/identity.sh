#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs every verb that supports ranks with 2, 3, 7 and 16 processes of one thread, and with 3 of two threads, and compares files and documents with
# those of one process. `ninja test-ranks` calls it. Prints a row for each verb; ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/ranks_kit.sh"
need_launcher
fixtures=${model%/*}
ln -s "$fixtures/tiny-lora" tiny-lora
moe=$fixtures/tiny-moe gguf=tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf
text=(--calibration tiny-qwen2/calibration.txt --samples 4 --context 32)
divide=(--allocate global --allocate-tokens 64 --allocate-layers 2)
scored=(--text tiny-qwen2/heldout.txt --context 64 --max-tokens 600)

# The document of a fleet contains the time of each model, which is removed before the comparison.
tells() { sed "s,some\([0-9]\),one\1,g" "$1" | jq 'del(.run)'; }
# row same|looked ARGS...: runs the check of that name and prints its row.
row() {
    local before=$failed words made=one${2%.gguf}
    counts="2 3 7 16" && "$@"
    rm -rf "$made" "$made".*
    if [[ ${threads[*]} == "--threads 1" ]]; then
        threads=(--threads 2) && counts=3 && "$@" && threads=(--threads 1)
    fi
    words="${*:3}"
    words=${words//"$fixtures/"/}
    printf '%-9s %s\n' "$( ((failed == before)) && echo identical || echo DIFFERS)" "$words"
    rm -rf "$made" "$made".*
}

run quantize tiny-qwen2 -o int4 --scheme int4-group32 --quiet
run quantize tiny-qwen2 -o fp8 --scheme fp8-block128 --quiet
run lora merge --base tiny-qwen2 --adapter tiny-lora -o tuned --scale 4 --quiet
run extract tiny-qwen2 -o organs --quiet
run prune tiny-qwen2 -o pruned --quiet
mkdir herd && cp -rL tiny-qwen2 int4 herd/

row same 1 prune tiny-qwen2
row same 2 prune tiny-qwen2 --sparsity 50
row same 3 prune "$moe" --method magnitude -s 50
for method in wanda sparsegpt alps physarum-v2 physarum-v3; do row same 4 prune tiny-qwen2 --method $method -s 50 "${text[@]}"; done
row same 5 prune "$moe" --method physarum-v2 -s 50 --calibration tiny-qwen2/calibration.txt --samples 24 --context 128 --select '*.[01].mlp.*'
row same 6 prune tiny-qwen2 --method physarum-v3 -s 50 "${text[@]}" "${divide[@]}" --rounds 1
row same 7 prune tiny-qwen2 --method sparsegpt -s 50 "${text[@]}" --then int4-group32
row same 8 prune tiny-qwen2 --evaluate tiny-qwen2/heldout.txt --evaluate-context 64 --evaluate-max-tokens 600
row same 9 quantize tiny-qwen2 --scheme int4-group32
row same 10.gguf quantize $gguf --scheme q4_k
row same 11 quantize tiny-qwen2 --scheme int4-group32 --method gptq "${text[@]}"
row same 12.gguf quantize $gguf --scheme q4_0 --method gptq "${text[@]}"
row same 13 quantize tiny-qwen2 --scheme mixed --method gptq --budget 4.5bpw "${text[@]}" "${divide[@]}"
row same 14 dequantize int4
row same 15 purify tiny-qwen2 --method haar
row same 25 purify tiny-qwen2 --method fft
row same 16 lora merge --base tiny-qwen2 --adapter tiny-lora
row same 17 lora extract --base tiny-qwen2 --tuned tuned --rank 8
row same 18 lora resize tiny-lora --rank 2
row same 19 graft --source tuned --target tiny-qwen2 --select feed-forward,1-2
row same 20 graft --source tuned --target tiny-qwen2 --select attention
row looked 0 audit tiny-qwen2 pruned
row looked 0 measure tiny-qwen2 int4 tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
row same 24 fleet herd
row looked 0 autopsy fp8 tiny-qwen2
row looked 0 orthogonality tiny-qwen2 fp8 tiny-lora
row looked 0 perplexity tiny-qwen2 "${scored[@]}"
row looked 0 evaluate tiny-qwen2 pruned fp8 "${scored[@]}"
threads=() # these have none
row same 21 extract tiny-qwen2
row same 22 assemble organs
row same 23 lora sanitize tiny-lora
row looked 0 inspect fp8 --tensors
finish
