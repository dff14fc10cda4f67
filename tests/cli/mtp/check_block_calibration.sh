#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Methods that need a text, on the matrices of blocks for multi-token prediction: they get the inputs that the block has in use. Ends with the line
# "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/surgery/mtp_kit.sh"

letters() { awk -v n="$1" 'BEGIN { x = 7; for (k = 0; k < n; k++) { x = (x * 1103515245 + 12345) % 2147483648; printf "%c", 97 + int(x / 65536) % 26 } }'; }
# text MODEL TOKENS: makes text.txt, which has so many tokens.
text() {
    local n tokens
    for ((n = $2; n < 3 * $2; n++)); do
        letters "$n" >text.txt
        tokens=$("$organ" perplexity "$1" --text text.txt --context 64 --dry-run --json 2>/dev/null | jq '.experiment.text.tokens')
        ((tokens == $2)) && return
        n=$((n + ($2 - tokens) - 1))
    done
    bad "no text of $2 tokens"
}
windows=(--calibration text.txt --samples 16 --context 64)

for type in qwen3_5_text glm4_moe mimo_v2_flash; do
    if in_part && [[ $type == mimo_v2_flash ]]; then continue; fi
    rm -rf by_matrix by_text gptq nearest v3 again
    with_block $type whole
    here="$type"
    text whole 1024

    # All tokens of the text are in windows, so that both programs see the same inputs; wanda only needs their squares.
    rm -f whole.*
    # with the text, a second block would get the outputs of the first one as it was pruned
    [[ $type == mimo* ]] && with_block $type whole "grep -v mtp.layers.1"
    ends 0 convert whole -o whole.gguf --to gguf --dtype f32 --quiet
    ends 0 imatrix whole.gguf -o whole.imatrix --calibration text.txt --context 64 --quiet
    ends 0 prune whole.gguf -o by_matrix.gguf --method wanda --sparsity 50% --select mtp --imatrix whole.imatrix --quiet --force
    ends 0 prune whole.gguf -o by_text.gguf --method wanda --sparsity 50% --select mtp "${windows[@]}" --quiet --force
    judge "$type: the importance matrix gives other zeros than the text" cmp by_matrix.gguf by_text.gguf
    # The entries of a GGUF file's block are those of the block in safetensors, whatever its names are.
    rm -rf by_matrix by_text
    ends 0 prune whole -o by_matrix --method wanda --sparsity 50% --select mtp --imatrix whole.imatrix --quiet
    ends 0 prune whole -o by_text --method wanda --sparsity 50% --select mtp "${windows[@]}" --quiet
    [[ $type != glm* ]] && judge "$type: the importance matrix gives other zeros than the text" cmp by_matrix/model.safetensors by_text/model.safetensors
    ends 0 quantize whole.gguf -o small.gguf -s q4_0 --method gptq "${windows[@]}" --json --force
    cp ../out small.json
    holds small.json '[.tensors[] | select(.tensor | test("^blk\\.4\\.(attn|ffn)_(q|k|v|gate|up|down)"))] | length > 2 and all(.output_error > 0)' \
        '[.tensors[] | select(.tensor == "blk.4.nextn.eh_proj.weight").output_error] == [null]'
    [[ $type == mimo* ]] && with_block $type whole

    ends 0 quantize whole -o nearest -s int4-group32 --select mtp --quiet
    ends 0 quantize whole -o gptq -s int4-group32 --select mtp --method gptq "${windows[@]}" --json
    cp ../out gptq.json
    holds gptq.json '[.tensors[].gptq_output_error | numbers] | length > 3 and all(. > 0 and . < 0.2)'
    judge "$type: GPTQ gives the codes of nearest" bash -c '! cmp -s gptq/model.safetensors nearest/model.safetensors'

    for method in sparsegpt physarum-v3; do
        ends 0 prune whole -o v3 --method $method --sparsity 50% --select mtp "${windows[@]}" --quiet --threads 1 --force
        ends 0 prune whole -o again --method $method --sparsity 50% --select mtp "${windows[@]}" --quiet --threads 3 --scratch . --force
        judge "$type: $method has other bytes with 3 threads" cmp v3/model.safetensors again/model.safetensors
        ends 0 audit whole v3 --select mtp --refitted --quiet
    done

    # With the whole model, the block is calibrated on the states of the changed layers.
    ends 0 prune whole -o all --method sparsegpt --sparsity 50% --select o_proj,mtp "${windows[@]}" --quiet --force
    judge "$type: the block of the whole model has the bytes of the block alone" bash -c '! cmp -s all/model.safetensors v3/model.safetensors'
done
ends 0 prune whole -o no --method sparsegpt --sparsity 50% --select mtp "${windows[@]}" --dry-run --json
holds ../out '.dry_run and .plan.products > 1e6'
# Experts with names of the block's own, and its projection, have entries of the GGUF file, too.
with_block qwen3_next whole
here="qwen3_next"
rm -rf whole.* by_matrix
text whole 512
ends 0 convert whole -o whole.gguf --to gguf --dtype f32 --quiet
ends 0 imatrix whole.gguf -o whole.imatrix --calibration text.txt --context 64 --quiet
ends 0 prune whole -o by_matrix --method wanda --sparsity 50% --select "mtp,mtp.fc" --imatrix whole.imatrix --quiet
jq -s . by_matrix/organ/prune.jsonl >matrix.json
holds matrix.json '[.[] | select(.tensor) | .imatrix_entry] | length == 20 and all(startswith("blk.4."))' \
    '[.[] | select(.tensor == "mtp.fc.weight").imatrix_entry] == ["blk.4.nextn.eh_proj.weight"]' \
    '[.[] | select(.tensor == "mtp.layers.0.mlp.experts.2.down_proj.weight").imatrix_entry] == ["blk.4.ffn_down_exps.weight"]'
ends 0 convert whole -o trunk.gguf --to gguf --dtype f32 --mtp none --quiet
ends 0 imatrix trunk.gguf -o trunk.imatrix --calibration text.txt --context 64 --quiet
refused 3 "has no entry for it" prune whole -o no --method wanda --sparsity 50% --select mtp --imatrix trunk.imatrix
with_block glm4_moe whole "grep -v enorm"
refused 2 "is in none of the 4 layers of the forward pass" prune whole -o no --method sparsegpt --sparsity 50% --select mtp "${windows[@]}"
finish
