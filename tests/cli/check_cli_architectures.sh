#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Verbs that run a model, on the small models of fixtures/architectures. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"

root=${organ%/build/organ}
text=$root/fixtures/tiny-moe/calibration.txt
short=(--calibration "$text" --samples 2 --context 32 --quiet)

# make TYPE...: the models of these types, in directories of their names.
make() {
    local type
    for type; do (cd "$root" && build/checks/arch_model "$type" "$scratch/area/$type") >../out 2>&1 || bad "$type cannot be made" ../out; done
}

# ---- default targets of calibrated verbs: matrices without inputs are left out, counted and named ----
make gemma3n_text deepseek_v32
ends 0 prune gemma3n_text -o pruned --method wanda --sparsity 50 "${short[@]:0:6}"
says "7 matrices have no inputs in the forward pass, so wanda leaves them unchanged: model.altup_projections.0.weight is the first"
judge "other matrices are left out" test "$(jq -c '[.matrices.left[] | [.name, .tensors]]' pruned/organ/prune.json)" = \
    '[["model.altup_projections.N",3],["model.altup_unembed_projections.N",3],["model.per_layer_model_projection",1]]'
refused 2 "tensor 'model.per_layer_model_projection.weight' is in none of the 10 layers of the forward pass: 'wanda' cannot prune it" \
    prune gemma3n_text -o no --method wanda --sparsity 50 "${short[@]}" --targets '*.per_layer_model_projection.weight'
ends 0 prune deepseek_v32 -o divided --sparsity 50 --allocate global --method physarum-v1 "${short[@]}"
judge "the indexer is pruned" test "$(jq -c '[.matrices.left[].name | select(test("indexer.w[kq]"))] | sort' divided/organ/prune.json)" = \
    '["model.layers.N.self_attn.indexer.wk","model.layers.N.self_attn.indexer.wq_b"]'
refused 2 "tensor 'model.layers.0.self_attn.indexer.wk.weight' is no linear layer of the forward pass: 'gptq' cannot quantise it" \
    quantize deepseek_v32 -o no --scheme int8-channel --method gptq "${short[@]}" --targets '*.indexer.wk.weight'
ends 0 quantize deepseek_v32 -o codes --scheme int8-channel --method gptq "${short[@]}"
judge "the report does not list what stays" test "$(jq -c '[.left_alone[].tensor | split(".")[4:6] | join(".")] | unique' codes/organ/quantize.json)" = \
    '["indexer.wk","indexer.wq_b"]'

finish
