#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Matrices that servers multiply as one, and activations that they round without being asked: what quantize writes, refuses and notes, and what evaluate says. Ends
# with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
for name in tiny-moe tiny-blocks; do ln -s "${model%/*}/$name" $name; done

# types MODEL NAME: the types of tensors.
types() { "$organ" inspect "$1" --tensors --json --select "$2" | jq -c '[.tensors[].dtype] | unique'; }
# scale MODEL NAME: the bytes of a tensor.
scale() {
    local file offset bytes
    read -r file offset bytes < <("$organ" inspect "$1" --tensors --json --select "$2" | jq -r '.tensors[0] | "\(.file) \(.offset) \(.bytes)"')
    od -An -tx1 -j "$offset" -N "$bytes" "$1/$file"
}

# stores FILE (NAME ROWS COLUMNS)...: writes a safetensors file with BF16 matrices whose elements are 1.
stores() {
    local file=$1 header="{" at=0 bytes
    shift
    while (($#)); do
        bytes=$((2 * $2 * $3))
        header+="\"$1\":{\"dtype\":\"BF16\",\"shape\":[$2,$3],\"data_offsets\":[$at,$((at + bytes))]},"
        at=$((at + bytes))
        shift 3
    done
    header="${header%,}}"
    printf '%b%s' "\\x$(printf %02x $((${#header} % 256)))\\x$(printf %02x $((${#header} / 256)))\\0\\0\\0\\0\\0\\0" "$header" >"$file"
    yes $'\x80\x3f' | tr -d '\n' | head -c $at >>"$file"
}

# ---- fp8-block128: blocks of 128 rows would overlap ----
ends 0 quantize tiny-qwen2 -o blocks -s fp8-block128
says "8 sets of matrices (5570560 bytes) stay unquantised"
judge "q is quantised" test "$(types blocks '*q_proj.weight')" = '["BF16"]'
judge "o is not quantised" test "$(types blocks '*o_proj.weight')" = '["F8_E4M3"]'
holds blocks/organ/quantize.json '.kept_sets | .count == 8 and .bytes == 5570560' '[.kept_sets.sets[].bytes] | unique == [286720, 1105920]' \
    '[.kept_sets.sets[].modules] | unique == ["gate_proj and up_proj", "q_proj, k_proj and v_proj"]'
holds blocks/config.json '.quantization_config | .quant_method == "fp8" and (.modules_to_not_convert | map(select(test("layers.0.self_attn.[qkv]_proj"))) | length == 3)'
ends 0 quantize tiny-qwen2 -o dry -s fp8-block128 --dry-run --json
judge "a dry run does not name the sets" test "$(jq -c .kept_sets.bytes ../out)" = 5570560
ends 0 quantize tiny-moe -o blocks -s fp8-block128 --force --quiet
judge "experts are quantised" test "$(types blocks '*experts*')" = '["BF16"]'
judge "the experts' module is not listed" jq -e '.kept_sets.sets | map(.parent) | any(. == "model.layers.0.mlp.experts")' blocks/organ/quantize.json
ends 0 quantize tiny-blocks -o blocks -s fp8-block128 --force --quiet
judge "a set that fits stays" test "$(types blocks '*_proj.weight')" = '["F8_E4M3"]'
holds blocks/organ/quantize.json 'has("kept_sets") | not'

# ---- fp8-tensor: one scale for a set, with either method ----
for method in nearest "gptq --calibration tiny-qwen2/calibration.txt --samples 2 --context 32"; do
    # shellcheck disable=SC2086 # words of options
    ends 0 quantize tiny-qwen2 -o tensors -s fp8-tensor --select '*.0.*_proj*' --method $method --force --quiet
    layer=model.layers.0.self_attn
    q=$(scale tensors $layer.q_proj.weight_scale)
    judge "$method: q has no scale" test -n "$q"
    judge "$method: k has another scale" test "$q" = "$(scale tensors $layer.k_proj.weight_scale)"
    judge "$method: v has another scale" test "$q" = "$(scale tensors $layer.v_proj.weight_scale)"
    judge "$method: o has the scale of q" test "$q" != "$(scale tensors $layer.o_proj.weight_scale)"
done

# ---- a part of a set ----
refused 2 "q_proj, k_proj and v_proj of 'model.layers.0.self_attn'" quantize tiny-qwen2 -o no -s int4-group32 --select q_proj
refused 2 "gate_proj and up_proj of 'model.layers.0.mlp'" quantize tiny-qwen2 -o no -s fp8-channel --select '*.0.mlp.up_proj*'
ends 0 quantize tiny-qwen2 -o some.gguf -s q4_0 --select '*attn_q.weight' --quiet
ends 0 quantize tiny-qwen2 -o some -s int4-group32 --format mlx --select q_proj --quiet
rm -r some some.gguf

# ---- mixtures: what every vLLM refuses ----
text=(--calibration tiny-qwen2/calibration.txt --samples 4 --context 64)
refused 2 "use scheme fp8-channel, --activation-scale static, or --select" quantize tiny-moe -o no -s fp8-tensor
refused 2 "use scheme fp8-tensor, --activation-scale dynamic, or --select" quantize tiny-moe -o no -s fp8-channel --activation-scale static "${text[@]}"
refused 2 "no loader multiplies experts" quantize tiny-moe -o no -s int8-channel --activation-scale static "${text[@]}"
ends 0 quantize tiny-moe -o dry -s fp8-tensor --activation-scale static "${text[@]}" --dry-run --quiet
ends 0 quantize tiny-moe -o dry -s fp8-channel --dry-run --quiet
ends 0 quantize tiny-moe -o dry -s fp8-tensor --select attention --dry-run --quiet

# ---- the output head ----
cp -rL tiny-blocks headed && chmod -R u+w headed
sed -i 's/"tie_word_embeddings": true/"tie_word_embeddings": false/' headed/config.json
LC_ALL=C sed -i 's/model.embed_tokens.weight":/lm_head.weight":           /' headed/model.safetensors
ends 0 quantize headed -o out -s int8-channel --select 'lm_head*,*_proj*' --quiet
holds out/config.json '.quantization_config | .config_groups.group_0.targets == ["Linear", "lm_head"] and .ignore == []'
ends 0 quantize headed -o out -s int8-channel --quiet --force
holds out/config.json '.quantization_config | .config_groups.group_0.targets == ["Linear"] and .ignore == ["lm_head"]'
ends 0 quantize headed -o out -s fp8-block128 --select 'lm_head*,*_proj*' --quiet --force
judge "the head is quantised" test "$(types out lm_head.weight)" = '["BF16"]'

# Models with towers have another prefix in vLLM.
cp -r headed towered && mv towered/model.safetensors towered/1.safetensors
stores towered/2.safetensors vision_tower.encoder.layers.0.mlp.fc1.weight 8 8
"$organ" inspect headed --tensors --json |
    jq '{metadata: {}, weight_map: ([.tensors[] | {(.name): "1.safetensors"}] | add)} | .weight_map["vision_tower.encoder.layers.0.mlp.fc1.weight"] = "2.safetensors"' \
        >towered/model.safetensors.index.json
ends 0 quantize towered -o out -s int8-channel --select 'lm_head*,*_proj*' --quiet --force
holds out/config.json '.quantization_config | .config_groups.group_0.targets == ["Linear", "lm_head", "re:.*\\.lm_head"]' \
    '.quantization_config.ignore == ["re:.*vision_tower.*"]'
ends 0 quantize towered -o out -s int8-channel --quiet --force
holds out/config.json '.quantization_config | .config_groups.group_0.targets == ["Linear"]'

# ---- MLA: only the last part of the set may end within a block ----
mkdir mla && jq '.model_type = "deepseek_v3" | .architectures = ["DeepseekV3ForCausalLM"]' tiny-blocks/config.json >mla/config.json
layer=model.layers.0.self_attn
stores mla/model.safetensors $layer.q_a_proj.weight 256 128 $layer.kv_a_proj_with_mqa.weight 160 128 $layer.o_proj.weight 128 128
ends 0 quantize mla -o out -s fp8-block128 --quiet --force
judge "the last part splits a block" test "$(types out '*_a_proj*.weight')" = '["F8_E4M3"]'
holds out/organ/quantize.json 'has("kept_sets") | not'
stores mla/model.safetensors $layer.q_a_proj.weight 160 128 $layer.kv_a_proj_with_mqa.weight 256 128 $layer.o_proj.weight 128 128
ends 0 quantize mla -o out -s fp8-block128 --quiet --force
judge "the first part splits no block" test "$(types out '*_a_proj*.weight')" = '["BF16"]'
judge "o_proj is in the set" test "$(types out '*o_proj.weight')" = '["F8_E4M3"]'
holds out/organ/quantize.json '[.kept_sets.sets[].modules] == ["q_a_proj and kv_a_proj_with_mqa"]'
refused 2 "q_a_proj and kv_a_proj_with_mqa of '$layer'" quantize mla -o no -s fp8-channel --select q_a_proj,o_proj
jq '.model_type = "minicpm3"' mla/config.json >config.json && mv config.json mla/config.json
ends 0 quantize mla -o out -s fp8-channel --select q_a_proj --quiet --force # minicpm3 does not fuse them

# ---- activations that vLLM rounds without being asked ----
score=(--text tiny-qwen2/heldout.txt --context 64 --max-tokens 128)
ends 0 quantize tiny-qwen2 -o four -s mxfp4
says "config.json declares no rounding of activations, but servers differ"
holds four/config.json '.quantization_config.config_groups.group_0.input_activations == null'
holds four/organ/quantize.json '.activations.rounding == "FP4 E2M1 per group of 32, E8M0 scales"'
ends 0 evaluate tiny-qwen2 four "${score[@]}" --json
judge "evaluate has one figure" jq -e '.models[1] | .activations.rounded and (.activations.servers | test("10.0")) and .comparison.kl_divergence > 1.5 * .weights_alone.comparison.kl_divergence' ../out
ends 0 perplexity four "${score[@]}" --json --activations on
judge "perplexity rounds nothing" jq -e '.models[0].activations.rounded' ../out
on=$(jq '.models[0].figures.nll' ../out)
ends 0 quantize tiny-qwen2 -o declared -s mxfp4 --activations --quiet
ends 0 perplexity declared "${score[@]}" --json --activations on
judge "a declared rounding is another one" test "$on" = "$(jq '.models[0].figures.nll' ../out)"
rm -r four declared

# ---- models of other programs ----
ends 0 quantize tiny-qwen2 -o tensors -s fp8-channel --quiet --force
ends 0 perplexity tensors "${score[@]}"
judge "a warning without a reason" test "$(grep -c 'otherwise than these figures' ../err)" = 0
ends 0 quantize tiny-qwen2 -o tensors -s fp8-tensor --quiet --force
read -r file offset < <("$organ" inspect tensors --tensors --json --select model.layers.0.self_attn.k_proj.weight_scale | jq -r '.tensors[0] | "\(.file) \(.offset)"')
printf '\x01\x3c' | dd of="tensors/$file" bs=1 seek="$offset" conv=notrunc status=none
ends 0 perplexity tensors "${score[@]}"
says "vLLM reads 1 set of matrices otherwise than these figures, whose codes it rounds again"
says "q_proj, k_proj and v_proj of 'model.layers.0.self_attn'"
finish
