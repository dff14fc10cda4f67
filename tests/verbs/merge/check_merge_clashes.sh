#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests that merge, graft, lora merge and compare name settings in which models of equal shapes differ. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"

made() { (cd "${organ%/build/organ}" && build/checks/arch_model "$1" "$scratch/area/$2") >../out 2>&1 || bad "$1 cannot be made" ../out; }
# like NAME FROM FILTER: the model FROM under another name, with its config.json changed by jq.
like() { cp -r "$2" "$1" && jq "$3" "$2/config.json" >"$1/config.json"; }
made llama llama

# clash NAME FILTER ROW...: a model whose config.json the filter changes. A merge names each row "WHAT	VALUES" in warnings and document; graft and compare too.
clash() {
    local row what values
    like "$1" llama "$2"
    ends 0 merge llama "$1" --method linear -o ../merged --force --json
    cp ../out ../document && cp ../err ../warnings
    ends 0 graft --source "$1" --target llama --layers 1 -o ../grafted --force --json --quiet
    cp ../out ../graft
    ends 0 compare llama "$1" --json --quiet
    for row in "${@:3}"; do
        what=${row%	*} values=${row#*	}
        judge "merge does not state $what" jq -e --arg what "$what" --arg values "$values" 'any(.clashes[]; . == {what: $what, values: $values})' ../document
        judge "merge does not warn of $what" grep -qF "the models differ in $what: $values" ../warnings
        judge "graft does not state $what" jq -e --arg what "$what" 'any(.clashes[]; .what == $what) and any(.notes[]; startswith("the models differ in \($what): source: "))' ../graft
        judge "compare does not state $what" jq -e --arg what "$what" 'any(.clashes[]; .what == $what)' ../out
    done
    judge "merge states another setting" jq -e --argjson count $(($# - 2)) '.clashes | length == $count' ../document
}

clash theta '.rope_parameters.rope_theta = 5e5' 'rope_theta	llama: 10000, theta: 500000'
clash yarn '.rope_parameters += {rope_type: "yarn", factor: 4, original_max_position_embeddings: 128}' 'rope_type	llama: default, yarn: yarn' \
    'rope factor	llama: 0, yarn: 4' 'rope original_max_position_embeddings	llama: 0, yarn: 128' 'rope beta_fast	llama: 0, yarn: 32' \
    'rope beta_slow	llama: 0, yarn: 1' 'rope attention_factor	llama: 1, yarn: 1.138629436'
clash gelu '.hidden_act = "gelu"' 'hidden_act	llama: silu, gelu: gelu'
clash eps '.rms_norm_eps = 1e-5' 'rms_norm_eps	llama: 1e-06, eps: 1e-05'
# Twice as many heads of half the width have the same tensors; graft refuses such a pair.
like heads llama '.num_attention_heads = 8 | .num_key_value_heads = 4 | .head_dim = 8'
ends 0 merge llama heads --method linear -o ../merged --force --json --quiet
holds ../out '[.clashes[].what] == ["num_attention_heads", "num_key_value_heads", "head_dim", "rotated dimensions", "scale of attention scores"]' \
    '.clashes[0].values == "llama: 4, heads: 8"' '.warnings | length == 5'
ends 0 merge llama heads --method linear -o ../merged --force --quiet --html ../page.html
judge "the page does not name the heads" grep -q "num_attention_heads" ../page.html
ends 3 graft --source heads --target llama --layers 1 -o ../grafted --force --quiet

# A member that is missing has the default of the class.
like default llama 'del(.rope_parameters, .rms_norm_eps, .hidden_act, .head_dim)'
ends 0 merge llama default --method linear -o ../merged --force --json --quiet
holds ../out '.clashes == []' '.warnings == []'
like other theta 'del(.rope_parameters)'
ends 0 merge theta other --method linear -o ../merged --force --json --quiet
holds ../out '.clashes == [{what: "rope_theta", values: "theta: 500000, other: 10000"}]'

# ---- GGUF ----
for one in llama theta heads; do ends 0 convert $one -o $one.gguf --to gguf --quiet; done
ends 0 merge llama.gguf theta.gguf --method linear -o ../merged --force --json --quiet
holds ../out '.clashes == [{what: "rope_theta", values: "llama.gguf: 10000, theta.gguf: 500000"}]'
ends 0 merge llama theta.gguf heads.gguf --method linear -o ../merged --force --json --quiet
holds ../out '[.clashes[].what] == ["num_attention_heads", "rope_theta"]'
ends 0 merge llama llama.gguf --method linear -o ../merged --force --json --quiet
holds ../out '.clashes == []'

# ---- architectures ----
like gemma llama '.architectures = ["GemmaForCausalLM"] | .model_type = "gemma" | .hidden_act = "gelu_pytorch_tanh"'
like mistral llama '.architectures = ["MistralForCausalLM"] | .model_type = "mistral"'
made qwen2 qwen2
like qwen2-mistral qwen2 '.architectures = ["MistralForCausalLM"] | .model_type = "mistral"'
refused 3 "GemmaForCausalLM" merge llama gemma --method linear -o none
refused 3 "MistralForCausalLM" merge qwen2 qwen2-mistral --method linear -o none
refused 3 "--other-architecture" merge llama mistral --method linear -o none.gguf
refused 3 "--other-architecture" merge llama mistral --method linear -o none --then int4-group32
printf 'models: [{model: llama}, {model: gemma}]\nmerge_method: linear\nparameters: {weight: 0.5}\n' >recipe.yaml
refused 3 "--other-architecture" merge recipe.yaml -o none
ends 0 convert gemma -o gemma.gguf --to gguf --quiet
refused 3 "gemma.gguf" merge llama gemma.gguf --method linear -o none
ends 0 merge recipe.yaml -o both --other-architecture --json --quiet
holds ../out '.clashes[0] == {what: "architecture", values: "llama: LlamaForCausalLM, gemma: GemmaForCausalLM"}' \
    '[.clashes[].what] | contains(["hidden_act", "norms multiply by 1 + weight", "scale of embeddings"])' '.parameters.other_architecture'
judge "the saved recipe has no --other-architecture" grep -q -- "--other-architecture" both/organ/recipe.yaml
ends 0 audit --recipe both/organ/recipe.yaml both --quiet
ends 0 compare llama gemma --json --quiet
holds ../out '.clashes[0].what == "architecture"'
ends 0 graft --source gemma --target llama --layers 1 -o ../grafted --force --json --quiet
holds ../out '.notes | any(startswith("The architectures differ: '"'GemmaForCausalLM' in the source, 'LlamaForCausalLM'"' in the target."))' \
    '[.clashes[].what] | contains(["hidden_act"])' '.clashes | all(.what != "architecture")'

# ---- adapters ----
cp -rL tiny-qwen2 trained && chmod -R u+w trained && jq '.rope_theta = 5e5 | .rms_norm_eps = 1e-3' tiny-qwen2/config.json >trained/config.json
cp -rL "${model%/*}/tiny-lora" adapter && chmod -R u+w adapter
jq --arg base "$PWD/trained" '.base_model_name_or_path = $base' adapter/adapter_config.json >../config && mv ../config adapter/adapter_config.json
ends 0 lora merge --base tiny-qwen2 --adapter adapter -o ../merged --force --json
says "rope_theta"
holds ../out '[.clashes[].what] == ["rms_norm_eps", "rope_theta"]'
ends 0 lora merge --base trained --adapter adapter -o ../merged --force --json --quiet
holds ../out '.clashes == []'

# ---- towers ----
made gemma3 vision
cp -r vision tuned
read -r shard offset < <("$organ" inspect tuned --tensors --json | jq -r '[.tensors[] | select(.name | contains("vision_tower"))][1] | "\(.file) \(.offset)"')
printf '\001' | dd of="tuned/$shard" bs=1 seek="$offset" conv=notrunc status=none
ends 0 merge vision tuned --method linear -o ../merged --force --json --quiet
holds ../out '.warnings | length == 1 and (.[0] | test("^the towers of vision and tuned differ, first in .*: those of vision are taken"))'
cp -r vision twin
ends 0 merge vision twin --method linear -o ../merged --force --json --quiet
holds ../out '.warnings == []'
finish
