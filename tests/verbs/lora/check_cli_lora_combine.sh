#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ lora combine: joined factors, methods, formats, the comparison, audits, interrupted runs, and every kind of error. Ends with the line
# "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/verbs/tensors_kit.sh"
fixtures=$(dirname "$model")
ln -s "$fixtures/tiny-lora" tiny-lora
base=tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
# a: factors of rank 4 and scale 1; b: other values, of rank 2 and scale 2, without the embedding
ends 0 lora sanitize tiny-lora -o a --quiet
ends 0 quantize tiny-qwen2 -o packed -s int4-group32 --quiet
ends 0 dequantize packed -o tuned --quiet
ends 0 lora extract --base tiny-qwen2 --tuned tuned -o b --rank 2 --select '*.self_attn.*,*.mlp.*' --dtype f32 --quiet
ends 0 lora extract --base tiny-qwen2 --tuned tuned -o c --rank 4 --select '*.self_attn.*' --dtype f32 --quiet
rm -r packed tuned
edited() { rm -rf "$2" && cp -rL "$1" "$2" && chmod -R u+w "$2" && jq "$3" "$1/adapter_config.json" >"$2/adapter_config.json"; }
edited b b2 '.lora_alpha = 4'
combine() { ends 0 lora combine "${@:2}" -o "$1" --quiet --force; }
proved() { ends 0 audit --recipe "$1/organ/lora_combine.json" "$1" --quiet; }
ends_same() { judge "$1 and $2 differ" cmp -s "$1" "$2"; }

# ---- cat: the change is the sum ----
combine ab a b
prints "All 29 modules have rank 6"
holds ab/adapter_config.json '.r == 6' '.lora_alpha == 6' '.use_rslora == false' '.rank_pattern == {}'
holds ab/organ/lora_combine.json '.unchanged' '.scale == 1' '.compared[0].modules > 0' '.totals.residual == 0' '[.modules[].cosine? // 0 | . >= -1 and . <= 1] | all'
proved ab
prints "0 values differ"
prints "largest relative distance is"
# Other scales are multiplied into A, in F32 unless they are powers of 2; one scale is kept.
combine scaled a b2 --weights=0.7,-0.3
proved scaled
holds scaled/organ/lora_combine.json '.unchanged | not' '[.modules[].dtype] | unique == ["F32"]'
combine kept b2 c --weights 1,2
proved kept
holds kept/adapter_config.json '.r == 6' '.lora_alpha == 12'
combine narrow b2 c --dtype bf16
proved narrow
holds narrow/organ/lora_combine.json '[.modules[].dtype] | unique == ["BF16"]'

# ---- the methods, which an audit recomputes ----
combine small a b c --method svd
holds small/adapter_config.json '.r == 4'
holds small/organ/lora_combine.json '.totals.explained > 0.3 and .totals.explained < 1' '.compared | length == 3' '[.modules[] | .explained >= 0 and .explained <= 1] | all'
prints "keeps"
proved small
combine cut a b --rank 3
proved cut
holds cut/adapter_config.json '.r == 3'
combine added a c --method linear --weights 0.5,0.5
proved added
for method in ties ties_svd dare_linear dare_linear_svd dare_ties dare_ties_svd magnitude_prune magnitude_prune_svd; do
    sign=()
    [[ $method == *ties* ]] && sign=(--majority-sign frequency)
    combine "by-$method" a c --method "$method" --density 0.6 --seed 3 "${sign[@]}" --threads 2
    proved "by-$method"
    holds "by-$method/organ/lora_combine.json" ".parameters.method == \"$method\"" '.r == 4' '.totals.norm > 0'
done
combine other-seed a c --method dare_linear --density 0.6 --seed 4 --threads 1
judge "another seed drops the same" bash -c '! cmp -s other-seed/adapter_model.safetensors by-dare_linear/adapter_model.safetensors'
combine one-thread a c --method dare_ties_svd --density 0.6 --seed 3 --majority-sign frequency --threads 1 --memory 32M
ends_same one-thread/adapter_model.safetensors by-dare_ties_svd/adapter_model.safetensors
# An audit of an adapter that was changed.
cp -r ab changed && chmod -R u+w changed
size=$(stat -c %s ab/adapter_model.safetensors)
printf '\x11' | dd of=changed/adapter_model.safetensors bs=1 seek=$((size - 2)) conv=notrunc status=none
ends 1 audit --recipe ab/organ/lora_combine.json changed --quiet
says "is not the combination that its report describes"
jq '.lora_alpha = 7' ab/adapter_config.json >changed/adapter_config.json
ends 1 audit --recipe ab/organ/lora_combine.json changed --quiet
prints "has the scale"
refused 3 "is a LoRA adapter" audit --recipe a/organ/lora_sanitize.json a
cp a/organ/lora_sanitize.json lora_combine.json
refused 3 "is no report of organ lora combine" audit --recipe lora_combine.json a

# ---- whole tensors, forms ----
combine whole tiny-lora b
prints "Copied: base_model.model.model.norm.weight, of adapter 1."
proved whole
prints "1 of 1 copied tensors"
holds whole/adapter_config.json '.modules_to_save == ["model.norm"]' '.use_rslora == false' '.rank_pattern == {}' '.alpha_pattern == {}'
ends 0 lora sanitize b --to mlx -o b-mlx --quiet
combine mixed a b-mlx
ends_same mixed/adapter_model.safetensors ab/adapter_model.safetensors
combine mlx a b-mlx --to mlx
holds mlx/adapter_config.json '.fine_tune_type == "lora"' '.lora_parameters.rank == 6 and .lora_parameters.scale == 1'
judge "no adapter of mlx-lm" test -s mlx/adapters.safetensors
ends 0 lora sanitize mlx -o mlx-peft --quiet
ends 0 lora sanitize ab -o ab-peft --quiet
ends_same mlx-peft/adapter_model.safetensors ab-peft/adapter_model.safetensors
ends 0 lora sanitize a -o a-gguf --base $base --quiet
ends 0 lora sanitize b -o b-gguf --base $base --quiet
combine gguf a-gguf b-gguf
judge "no GGUF adapter" test -s gguf/adapter_model.gguf -a ! -e gguf/adapter_config.json
proved gguf
ends 0 lora sanitize ab -o ab-gguf --base $base --quiet
ends 0 lora merge --base $base --adapter gguf -o one.gguf --quiet
ends 0 lora merge --base $base --adapter ab-gguf -o two.gguf --quiet
ends_same one.gguf two.gguf
rm -f one.* two.*

# ---- a dry run compares ----
ends 0 lora combine a b c -o no --dry-run --json --html dry.html
judge "a dry run left something" test ! -e no
judge "no comparison" test "$(jq '[.dry_run, (.compared | length), (.compared[0].cosine | type)] | tostring' ../out)" = '"[true,3,\"number\"]"'
judge "no maps" test "$(grep -c "Cosine of the changes, by layer" dry.html)" -ge 1
ends 0 lora combine a a -n -o no --json
judge "an adapter is not itself" test "$(jq '.compared[0] | .cosine > 0.999999 and .opposed == 0 and .shared > 0.9' ../out)" = true
ends 0 lora combine a b -n -o no --csv
prints "module,"

# ---- errors ----
mkdir taken && echo x >taken/x
refused 2 "one adapter alone cannot be combined" lora combine a -o no
refused 2 "ADAPTER" lora combine -o no
refused 2 "there must be one for each of the 2 adapters" lora combine a b -o no --weights 1
refused 2 "there must be one for each of the 2 adapters" lora combine a b -o no --weights 1,2,3
refused 2 "expected numbers" lora combine a b -o no --weights 1,x
refused 2 "expected numbers" lora combine a b -o no --weights 1,inf
refused 2 "needs --density" lora combine a c -o no --method ties
refused 2 "density" lora combine a c -o no --method ties --density 0
refused 2 "density" lora combine a c -o no --method ties --density 1.5
refused 2 "has no --density" lora combine a c -o no --density 0.5
refused 2 "has no --majority-sign" lora combine a c -o no --majority-sign frequency
refused 2 "--method" lora combine a c -o no --method union
refused 2 "are more than 16" lora combine a a a a a a a a a a a a a a a a a -o no
refused 2 "taken" lora combine a b -o taken
refused 2 "a" lora combine a b -o a --force
refused 2 "b" lora combine a b -o b --force
refused 4 "nowhere" lora combine a b -o nowhere/no
refused 4 "nothing" lora combine a nothing -o no
refused 3 "the same r value" lora combine a b -o no --method linear
refused 3 "--method cat combines adapters of any ranks" lora combine tiny-lora a -o no --method ties --density 0.5
# A matrix that one adapter stores whole and another one changes by factors; stacks of experts and numbered experts; numbered ones of another scale.
# adapter NAME CONFIG NAME-OF-TENSOR SHAPE...
adapter() {
    mkdir -p "$1"
    bf16 "${@:3}" | safetensors 200000 >"$1/adapter_model.safetensors"
    jq -n "{peft_type: \"LORA\", r: 4, lora_alpha: 8, base_model_name_or_path: null} + $2" >"$1/adapter_config.json"
}
up=base_model.model.model.layers.0.mlp.up_proj moe=base_model.model.model.layers.0.mlp.experts
adapter saved '{target_modules: ["q_proj"], modules_to_save: ["up_proj"]}' $up.weight 32,16 ${up/mlp.up/self_attn.q}.lora_A.weight 4,16 ${up/mlp.up/self_attn.q}.lora_B.weight 16,4
adapter factors '{target_modules: ["up_proj"]}' $up.lora_A.weight 4,16 $up.lora_B.weight 32,4
refused 3 "'model.layers.0.mlp.up_proj' is stored whole in saved and has factors in factors" lora combine saved factors -o no
refused 3 "'model.layers.0.mlp.up_proj' is stored whole in saved and has factors in factors" lora combine factors saved -o no
adapter stacked '{target_modules: [], target_parameters: ["mlp.experts.down_proj"]}' $moe.lora_A.weight 8,16 $moe.lora_B.weight 16,8
adapter numbered '{target_modules: ["w1"], target_parameters: ["model.layers.0.mlp.experts.gate_up_proj"], rank_pattern: {"model.layers.0.mlp.experts.gate_up_proj": 8},
    alpha_pattern: {"model.layers.0.mlp.experts.gate_up_proj": 16}}' $moe.0.gate_proj.lora_A.weight 4,16 $moe.0.gate_proj.lora_B.weight 32,4 \
    $moe.1.gate_proj.lora_A.weight 4,16 $moe.1.gate_proj.lora_B.weight 32,4
refused 3 "are factors of a stack of experts" lora combine stacked numbered -o no
ends 0 lora combine numbered numbered --weights 0.5,0.5 -o halves --quiet
scale=$(jq '.lora_alpha / .r' halves/adapter_config.json)
judge "modules of alpha_pattern have another scale than $scale" test "$(jq -c '[.rank_pattern[], .alpha_pattern[]] | (.[1] / .[0]) == '"$scale" halves/adapter_config.json)" = true

refused 3 "model.norm.weight' is stored whole in tiny-lora and in tiny-lora" lora combine tiny-lora tiny-lora -o no
refused 3 "only the base could tell" lora combine tiny-lora b -o no --weights 0.5,1
refused 3 "mlx-lm loads factors alone" lora combine tiny-lora b -o no --to mlx
refused 3 "is a GGUF adapter" lora combine a b-gguf -o no
refused 2 "--to gguf" lora combine a b -o no --to gguf
refused 2 "--to peft" lora combine a-gguf b-gguf -o no --to peft
for edit in "use_dora:use_dora = true" "lora_bias:lora_bias = true" "init_lora_weights:init_lora_weights = \"pissa\""; do
    edited b wrong ".${edit#*:}"
    refused 3 "${edit%%:*}" lora combine a wrong -o no
done
edited b wrong '.base_model_name_or_path = "another"'
edited a first '.base_model_name_or_path = "one"'
ends 0 lora combine first wrong -o no -n
says "was trained on one, but wrong on another"
cp -r b torn && chmod -R u+w torn && head -c 3000 b/adapter_model.safetensors >torn/adapter_model.safetensors
refused 3 "adapter_model.safetensors" lora combine a torn -o no
# Factors of other shapes: those of q_proj under the name of v_proj.
cp -r b shapes && chmod -R u+w shapes && sed -i 's/layers\.0\.self_attn\.v_proj/layers.0.self_attn.z_proj/g; s/layers\.0\.self_attn\.q_proj/layers.0.self_attn.v_proj/g' shapes/adapter_model.safetensors
refused 3 "these are adapters of other bases" lora combine b shapes -o no
finish
