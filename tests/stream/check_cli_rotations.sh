#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests verbs on models whose layers rotate inputs or outputs at run time: values with the rotations folded in, and refusals of verbs that copy codes.
. "$(dirname "$0")/../kit/cli_kit.sh"
ln -s "${model%/*}/tiny-llama" tiny-llama
head -c 1200 tiny-llama/heldout.txt >short.txt
text=(--text short.txt --context 32 --json --quiet)
nll() { jq '.models[0].figures.nll' "$1"; }
# near A B: the numbers differ by at most 1e-4.
near() { jq -en "($1) - ($2) | fabs < 0.0001" >/dev/null; }
# rotated MODEL COPY GROUPS: a copy whose config declares these groups of transform_config.
rotated() {
    cp -rL "$1" "$2" && chmod -R u+w "$2"
    jq --argjson groups "$3" '.quantization_config = ({quant_method: "compressed-tensors", config_groups: {}} + .quantization_config +
        {transform_config: {config_groups: $groups}})' "$1/config.json" >"$2/config.json"
}
quip='{"v": {"type": "hadamard", "head_dim": 32, "apply": [{"targets": ["Linear"], "location": "input", "ignore": ["lm_head"]}]},
    "u": {"type": "hadamard", "head_dim": 16, "apply": [{"targets": "Linear", "location": "output", "inverse": true, "ignore": "lm_head"}]}}'

# ---- plain and packed weights: the perplexity is that of the values, which other verbs write ----
ends 0 quantize tiny-llama -o packed -s int4-group32 --quiet
for base in tiny-llama packed; do
    ends 0 perplexity "$base" "${text[@]}"
    before=$(nll ../out)
    rotated "$base" "$base-quip" "$quip"
    ends 0 perplexity "$base-quip" "${text[@]}"
    turned=$(nll ../out)
    judge "the rotation of $base changes nothing" bash -c "! jq -en '($before) - ($turned) | fabs < 0.01' >/dev/null"
    ends 0 dequantize "$base-quip" -o "$base-values" --dtype f32
    judge "dequantize does not note the rotation" grep -q "(transform_config: v, u): organ folds the rotations into 42 weights" ../err
    holds "$base-values/config.json" 'has("quantization_config") | not'
    ends 0 perplexity "$base-values" "${text[@]}"
    judge "the dequantised $base has another perplexity" near "$(nll ../out)" "$turned"
    ends 0 convert "$base-quip" -o "$base.gguf" --to gguf --dtype f32 --quiet
    ends 0 perplexity "$base.gguf" "${text[@]}"
    judge "$base in GGUF has another perplexity" near "$(nll ../out)" "$turned"
    ends 0 compare "$base-quip" "$base-values" --json --quiet
done

# ---- merges: rotated models count by the weights that their rotations make; an adapter adds to these, as servers add its outputs ----
ends 0 prune tiny-llama -o tuned --sparsity 5 --quiet
ends 0 lora extract --base tiny-llama --tuned tuned -o adapter --rank 4 --quiet
for base in tiny-llama packed; do
    ends 0 lora merge --adapter adapter --base "$base-quip" -o joined --force --dtype f32
    holds joined/config.json 'has("quantization_config") | not'
    ends 0 perplexity joined "${text[@]}"
    joined=$(nll ../out)
    ends 0 lora merge --adapter adapter --base "$base-values" -o joined --force --dtype f32 --quiet
    ends 0 perplexity joined "${text[@]}"
    judge "lora merge of $base and of its values differ" near "$(nll ../out)" "$joined"
    ends 0 compare "$base-quip+adapter" joined --json --quiet
    holds ../out '[.pairs[].roles[].distance] | length > 5 and all(. == 0)'
    ends 0 perplexity "$base-values" "${text[@]}"
    judge "the adapter changes nothing" bash -c "! jq -en '($(nll ../out)) - ($joined) | fabs < 0.0001' >/dev/null"
    ends 0 merge "$base-quip" tuned --method linear -o merged --force --dtype f32
    judge "merge of $base does not note the rotation" grep -q "organ folds the rotations into" ../err
    holds merged/config.json 'has("quantization_config") | not'
    ends 0 perplexity merged "${text[@]}"
    merged=$(nll ../out)
    ends 0 merge "$base-values" tuned --method linear -o merged --force --dtype f32 --quiet
    ends 0 perplexity merged "${text[@]}"
    judge "merges of $base and of its values differ" near "$(nll ../out)" "$merged"
done

# ---- rounded inputs are rotated first ----
ends 0 quantize tiny-llama -o rounded -s fp8-channel --quiet
rotated rounded rounded-quip "$quip"
for activations in on off; do
    ends 0 perplexity rounded-quip "${text[@]}" --activations $activations
    cp ../out $activations.json
done
judge "rotated inputs are not rounded" bash -c "! diff <(jq .models[0].figures.nll on.json) <(jq .models[0].figures.nll off.json) >../out"
judge "rounding of rotated inputs is too coarse" jq -en "($(nll on.json)) - ($(nll off.json)) | fabs < 0.05"

# ---- codes of rotated weights ----
refused 3 "'model.layers.0.self_attn.q_proj.weight' rotates its inputs or outputs at run time" convert packed-quip -o no --to safetensors --format gptq
refused 3 "rotates its inputs or outputs at run time" convert packed-quip -o no.gguf --to gguf --dtype codes
refused 3 "rotates its inputs or outputs at run time" layers packed-quip -o no --drop 1-1
refused 3 "dequantize it first" prune packed-quip -o no --sparsity 10
refused 3 "dequantize it first" quantize tiny-llama-quip -o no -s int4-group32

# ---- R3 cancels; a declared cache is named ----
scores='{"R3": {"type": "hadamard", "head_dim": 32, "apply": [{"targets": ["re:.*self_attn$"], "location": "q_attn"},
    {"targets": ["re:.*self_attn$"], "location": "k_cache"}]}}'
rotated packed packed-scores "$scores"
ends 0 perplexity packed "${text[@]}"
before=$(nll ../out)
ends 0 perplexity packed-scores "${text[@]:0:5}"
judge "R3 changes the perplexity" near "$(nll ../out)" "$before"
judge "there is no note on R3" grep -q "the rotation (R3) cancels in the scores of attention, so organ leaves it out" ../err
jq '.quantization_config.kv_cache_scheme = "FP8"' packed-scores/config.json >config.json && mv config.json packed-scores/
ends 0 perplexity packed-scores "${text[@]:0:5}"
judge "the note does not name the cache" grep -q "servers round rotated keys in the cache that FP8 declares" ../err
ends 0 convert packed-scores -o scores.gguf --to gguf
judge "convert has no note on R3" grep -q "the rotation (R3) cancels" ../err
finish
