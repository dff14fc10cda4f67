#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ convert --format: AWQ, GPTQ and compressed-tensors into each other. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"

fixtures=${model%/*}
ln -s "$fixtures/precision" fixtures
turn() { ends 0 convert "$1" -o "$2" --to safetensors --format "${3:-${2##*-}}" --quiet "${@:4}"; }
# plain MODEL: dequantises it into MODEL.plain, once.
plain() { [[ -e ${1//\//_}.plain ]] || "$organ" dequantize "$1" -o "${1//\//_}.plain" --dtype f32 --quiet >../out 2>&1; }
# equal A B: the values of both models are equal bit by bit.
equal() {
    plain "$1" && plain "$2"
    judge "$1 and $2 have other values" cmp "${1//\//_}.plain/model.safetensors" "${2//\//_}.plain/model.safetensors"
}
# bytes_of MODEL TENSOR: the bytes of a tensor.
bytes_of() {
    local file offset size
    read -r file offset size < <("$organ" inspect "$1" --tensors --json 2>/dev/null | jq -r --arg name "$2" '.tensors[] | select(.name == $name) | "\(.file) \(.offset) \(.bytes)"')
    tail -c +$((offset + 1)) "$1/$file" | head -c "$size"
}
same_tensors() {
    local tensor
    for tensor in "${@:3}"; do
        judge "$tensor of $1 and $2 differ" test "$(bytes_of "$1" "$tensor" | sha256sum)" = "$(bytes_of "$2" "$tensor" | sha256sum)" -a "$(bytes_of "$1" "$tensor" | wc -c)" -gt 0
    done
}
q=model.layers.0.self_attn.q_proj

# ---- symmetric codes: around the three formats, with groups of two sizes ----
"$organ" quantize tiny-qwen2 -o one --scheme int4-group32 --quiet >../out || exit 1
turn one one-gptq
turn one-gptq one-gptq-awq
turn one-gptq-awq back compressed-tensors
for made in one-gptq one-gptq-awq; do equal one $made; done
same_tensors one back $q.weight_packed $q.weight_scale $q.weight_shape
judge "the configuration is another one" cmp one/config.json back/config.json
holds one-gptq/config.json '.quantization_config | .bits == 4 and .group_size == 32 and .sym and .desc_act == false and .checkpoint_format == "gptq" and .lm_head == false' \
    '.quantization_config | has("dynamic") | not'
holds one-gptq-awq/config.json '.quantization_config == {bits: 4, group_size: 32, modules_to_not_convert: ["lm_head"], quant_method: "awq", version: "gemm", zero_point: true}'
holds one-gptq/organ/convert.json '.parameters.format == "gptq"' '.codes == {weights: 28, symmetric: true, indexed: false}' '.plain.tensors == 22' '.totals.tensors_after == 134'
ORGAN_ISA=scalar turn one again gptq --threads 3 --memory 8M --force
judge "threads or CPU change the model" cmp again/model.safetensors one-gptq/model.safetensors

"$organ" quantize tiny-qwen2 -o two --scheme int4-group64 --quiet >../out || exit 1 # down_proj has rows of 864 codes: groups of 32
turn two two-gptq
turn two-gptq two-back compressed-tensors
equal two two-back
holds two-gptq/config.json '.quantization_config.group_size == 64' '.quantization_config.dynamic["+:^model\\.layers\\.3\\.mlp\\.down_proj$"] == {bits: 4, group_size: 32}' '.quantization_config.dynamic | length == 4'
holds two-back/config.json '[.quantization_config.config_groups[].weights.group_size] == [64, 32]' '.quantization_config.config_groups.group_1.targets | length == 4'
refused 3 "down_proj.weight_packed' has groups of another size" convert two -o none --to safetensors --format awq

# ---- Quark's INT4: words of AWQ with codes in two's complement (down_proj), and codes of 0 to 15 ----
for to in compressed-tensors gptq awq; do
    turn fixtures/quark-int4 quark-$to $to
    equal fixtures/quark-int4 quark-$to
done
holds quark-awq/config.json '.quantization_config.quant_method == "awq"' '.quantization_config.bits == 4'

# ---- 8 bits, rows of one group, modules without codes ----
"$organ" quantize "$fixtures/forward/qwen2" -o eight --scheme int8-group32 --quiet >../out || exit 1
turn eight eight-gptq
equal eight eight-gptq
holds eight-gptq/config.json '.quantization_config.bits == 8' '.quantization_config.dynamic["-:^model\\.layers\\.2\\.mlp\\.down_proj$"] == {}'
refused 3 "has codes of 8 bits" convert eight -o none --to safetensors --format awq
turn eight-gptq eight-back compressed-tensors
equal eight eight-back

# ---- zero points, the two versions of GPTQ, indices ----
for format in gptq compressed-tensors; do
    turn fixtures/awq-gemm-32 awq.$format $format
    turn awq.$format awq.$format-awq awq
    equal fixtures/awq-gemm-32 awq.$format
    same_tensors fixtures/awq-gemm-32 awq.$format-awq $q.qweight $q.qzeros $q.scales
done
holds awq.gptq/config.json '.quantization_config | .sym == false and .checkpoint_format == "gptq_v2"' # a zero point is 0, which version 1 stores as 15
holds awq.compressed-tensors/config.json '.quantization_config.config_groups.group_0.weights.symmetric == false'
# what transformers and vLLM refuse is noted, also in a dry run
turn_notes() { ends 0 convert "$1" -o none --to safetensors --format "$2" --dry-run && says "$3" && says "$4"; }
turn_notes fixtures/awq-gemm-32 compressed-tensors "transformers refuses" "zero points"
turn_notes fixtures/awq-gemm-32 gptq "vLLM refuses" "sym false"
turn_notes fixtures/gptq-v1-4 compressed-tensors "vLLM and transformers refuse" "actorder"
ends 0 convert one -o none --to safetensors --format gptq --dry-run
judge "symmetric codes in order get a note" test "$(grep -c refuses ../err)" = 0
turn fixtures/gptq-wrap wrap-awq
equal fixtures/gptq-wrap wrap-awq
turn wrap-awq wrap-gptq
equal fixtures/gptq-wrap wrap-gptq
names="gptq-v1-2 gptq-v1-3 gptq-v1-4 gptq-v1-8 gptq-v2-3 gptq-v2-4 gptq-mislabelled-v1-4"
if in_part; then names="gptq-v1-3 gptq-v1-4 gptq-v2-4"; fi
for name in $names; do
    turn fixtures/$name $name.ct compressed-tensors
    equal fixtures/$name $name.ct
    turn $name.ct $name.gptq gptq
    equal fixtures/$name $name.gptq
    same_tensors fixtures/$name $name.gptq $q.qweight $q.scales $q.g_idx
done
holds gptq-v1-4.ct/config.json '.quantization_config.config_groups.group_0.weights.actorder == "group"'
turn_notes gptq-v1-4.ct gptq "vLLM refuses" "desc_act true"
holds gptq-v1-4.gptq/config.json '.quantization_config | .desc_act and .checkpoint_format == "gptq" and .sym == false'
refused 3 "'$q.g_idx' gives columns to groups in an order of its own" convert fixtures/gptq-v1-4 -o none --to safetensors --format awq
mkdir unordered && cp fixtures/gptq-v1-4/config.json unordered
sed "s/$q.g_idx/$q.g_idy/" fixtures/gptq-v1-4/model.safetensors >unordered/model.safetensors
refused 3 "$q.g_idy" convert unordered -o none --to safetensors --format awq

# ---- what no format can express, and faults ----
for name in fp8-block128 ct-mxfp4 mlx-affine awq-gemv-32 ct-float-quantized; do
    refused 3 "turns only gptq, awq-gemm, pack-quantized and Quark" convert fixtures/$name -o none --to safetensors --format gptq
done
refused 3 "is a stack of matrices" convert fixtures/ct-packed-stacked -o none --to safetensors --format gptq
refused 3 "has 21 rows and 96 columns, not whole words" convert fixtures/ct-packed-actorder -o none --to safetensors --format gptq
refused 3 "has codes of 1 bits" convert fixtures/ct-packed-group -o none --to safetensors --format gptq
for what in "input_activations:inputs are" "output_activations:outputs are"; do
    cp -r one changed
    jq ".quantization_config.config_groups.group_0.${what%:*} = {}" one/config.json >changed/config.json
    refused 3 "group_0.${what%:*} states that ${what#*:} quantised" convert changed -o none --to safetensors --format gptq
    rm -r changed
done
cp -r one changed
for scheme in '{"num_bits": 8, "type": "float"}' '"FP8"'; do
    jq ".quantization_config.kv_cache_scheme = $scheme" one/config.json >changed/config.json
    refused 3 "states that the cache is quantised" convert changed -o none --to safetensors --format gptq
done
cp one/config.json changed
echo '{"quantization": {"kv_cache_quant_algo": "NVFP4"}}' >changed/hf_quant_config.json
refused 3 "NVFP4 states that the cache is quantised" convert changed -o none --to safetensors --format gptq
rm changed/*config.json
refused 3 "has no config.json" convert changed -o none --to safetensors --format gptq
rm -r changed
LC_ALL=C sed 's/"shape":\[3,8\]/"shape":[8,3]/' fixtures/awq-gemm-32/model.safetensors >faulty.safetensors
mkdir faulty && cp fixtures/awq-gemm-32/config.json faulty && mv faulty.safetensors faulty/model.safetensors
refused 3 "$q.qzeros" convert faulty -o none --to safetensors --format gptq
head -c -100 fixtures/awq-gemm-32/model.safetensors >faulty/model.safetensors
refused 3 "past the end of the data" convert faulty -o none --to safetensors --format gptq

# ---- options ----
refused 2 "one: is compressed-tensors already" convert one -o none --to safetensors --format compressed-tensors
refused 2 "tiny-qwen2: has no weights of AWQ" convert tiny-qwen2 -o none --to safetensors --format gptq
refused 2 "--format is for quantised safetensors models" convert tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o none --to safetensors --format gptq
refused 2 "--format gptq" convert one -o none.gguf --to gguf --format gptq
refused 2 "--dtype bf16" convert one -o none --to safetensors --format gptq --dtype bf16
refused 2 "--pre" convert one -o none --to safetensors --format gptq --pre qwen2
refused 2 "name a directory" convert one -o none.safetensors --to safetensors --format gptq
ends 0 convert one -o none --to safetensors --format awq --dry-run --json
holds ../out '.dry_run' '.plan.output_bytes > 3000000' '.plan.memory_enough > 1000000'
judge "a dry run wrote something" test ! -e none
interrupted TERM none convert one -o none --to safetensors --format awq
ends 0 convert one -o none --to safetensors --format awq --resume --quiet
judge "a continued run makes another model" cmp none/model.safetensors one-gptq-awq/model.safetensors
finish
