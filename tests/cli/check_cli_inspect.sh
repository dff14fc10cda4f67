#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the report of `organ inspect` on quantised models. `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"

# tensors FILE "NAME DTYPE SHAPE BYTES"...: writes a safetensors file of zeros.
tensors() {
    local file=$1 header='' offset=0 name dtype shape bytes length
    shift
    for line in "$@"; do
        read -r name dtype shape bytes <<<"$line"
        header+=",\"$name\":{\"dtype\":\"$dtype\",\"shape\":[$shape],\"data_offsets\":[$offset,$((offset + bytes))]}"
        offset=$((offset + bytes))
    done
    header="{${header:1}}"
    length=$(printf '%016x' ${#header})
    {
        for k in 14 12 10 8 6 4 2 0; do printf "\\x${length:k:2}"; done
        printf '%s' "$header"
        head -c "$offset" /dev/zero
    } >"$file"
}

fp8() {
    mkdir "$1"
    tensors "$1/model.safetensors" "model.embed_tokens.weight BF16 8,256 4096" "model.layers.0.mlp.up_proj.weight F8_E4M3 576,256 147456" \
        "model.layers.0.mlp.up_proj.weight_scale_inv F32 $2,2 $(($2 * 8))" "model.layers.0.mlp.up_proj.input_scale F32 1 4" \
        "model.layers.0.mlp.down_proj.weight BF16 4,4 32" "model.layers.0.mlp.old_proj.weight_scale F32 1 4"
    echo '{"architectures":["LlamaForCausalLM"],"model_type":"llama","num_hidden_layers":1,"vocab_size":8,"quantization_config":' \
        '{"quant_method":"fp8","weight_block_size":[128,128]}}' >"$1/config.json"
}

gptq() {
    mkdir "$1"
    local lines=()
    for module in mlp.up_proj mlp.down_proj; do
        lines+=("model.layers.0.$module.g_idx I32 256 1024" "model.layers.0.$module.qweight I32 32,64 8192"
            "model.layers.0.$module.qzeros I32 4,8 128" "model.layers.0.$module.scales F16 4,64 512")
    done
    tensors "$1/model.safetensors" "${lines[@]}" "lm_head.weight F16 8,64 1024"
    echo '{"model_type":"llama","num_hidden_layers":1,"vocab_size":8}' >"$1/config.json"
    echo '{"bits":4,"group_size":128,"desc_act":true}' >"$1/quantize_config.json"
}

# ---- quantisation schemes ----
fp8 fp8 5
ends 0 inspect fp8
matches inspect/inspect_fp8 ../out
ends 0 inspect fp8 --json
holds ../out '.quantization | .method == "fp8" and .packed == 1 and .plain == 2' '[.quantization.strays[].dropped] == [true, false]' \
    '.quantization.schemes[0] | .bits == 8 and .block == [128, 128] and .codes_dtype == "F8_E4M3" and .zero_points == false' \
    '.by_layer.elements == [[1, 0, 147456, 16, 0], [0, 2048, 0, 0, 0]]'
gptq gptq
COLUMNS=110 ends 0 inspect gptq --tensors
matches inspect/inspect_gptq ../out
ends 0 inspect gptq --json --tensors --select '*up_proj*'
holds ../out '.match == "*up_proj*" and .totals.tensors == 4' '.quantization.schemes[0] | .weights == 1 and .zero_points and .group_index' \
    '.quantization.notes[0] | contains("group_size 128")' '[.tensors[].offset] == [848, 1872, 10064, 10192]' \
    '.quantization.weights[0] | .transposed and .shape == [64, 256] and .block == [1, 64] and (.g_idx | endswith("g_idx")) and (.zero | endswith("qzeros"))'

# A wrong total_size is no fault, because loaders read only the names of files from the index.
cp -rL tiny-qwen2 total && chmod -R u+w total
sed -i 's/"total_size": [0-9]*/"total_size": 7/' total/model.safetensors.index.json
ends 0 inspect total
prints "WARNING  model.safetensors.index.json: metadata.total_size is 7, but the"
prints "No problems found"
ends 0 prune total -o pruned --iterations 2
says "metadata.total_size"
ends 0 audit total pruned
ends 0 dequantize total -o plain
says "metadata.total_size"
sed -i 's/"total_size": 7/"total_size": 8/' pruned/model.safetensors.index.json
ends 0 audit total pruned
rm -r pruned plain total

# After extract it is the same model with config.json in another place.
ends 0 extract fp8 -o apart
ends 0 inspect apart
prints "FP8 E4M3, block 128 x 128, F32 scales"
prints "quantised by fp8"

# Tensors of unknown architectures have no role, which is no fault; their names give the layer numbers.
# foreign NAME PREFIX MODULE: makes a model of two layers.
foreign() {
    mkdir "$1"
    tensors "$1/model.safetensors" "$2.0.$3.weight F32 4,4 64" "$2.0.$3.bias F32 4 16" "$2.1.$3.weight F32 4,4 64" "$2.1.$3.bias F32 4 16"
    echo '{"architectures":["X"],"model_type":"x","num_hidden_layers":2,"vocab_size":8}' >"$1/config.json"
}
foreign neox gpt_neox.layers attention.query_key_value
foreign opt model.decoder.layers fc1
foreign bert bert.encoder.layer attention.self.query
foreign unheard some.tower.level fc
for one in neox opt bert unheard; do
    ends 0 inspect "$one"
    prints "No problems found"
done
for one in neox opt bert; do
    ends 0 inspect "$one" --json --tensors
    judge "$one: layers are not numbered" jq -e '[.tensors[].layer] == [0, 0, 1, 1] and .by_layer.layers == [0, 1]' ../out
done
foreign short_neox gpt_neox.layers attention.dense
sed -i 's/"num_hidden_layers":2/"num_hidden_layers":3/' short_neox/config.json
ends 3 inspect short_neox
says "num_hidden_layers"
mkdir both
tensors both/model.safetensors "model.encoder.layers.0.fc1.weight F32 4,4 64" "model.decoder.layers.0.fc1.weight F32 4,4 64" "model.decoder.layers.1.fc1.weight F32 4,4 64"
ends 3 layers both --drop 1-1 -o smaller
says "'model.encoder.layers.0.fc1.weight'"

# ---- faults: inspect names them and shows the rest ----
fp8 short 4
ends 3 inspect short
matches inspect/inspect_short ../out
says "'model.layers.0.mlp.up_proj.weight_scale_inv'"
echo '{"bits":0}' >gptq/quantize_config.json
ends 3 inspect gptq
says "bits"
prints "PROBLEM"
echo '{"bits":4,"checkpoint_format":"marlin"}' >gptq/quantize_config.json
ends 3 inspect gptq --json
says "'marlin'"
prints '"found": false'

cd tiny-qwen2 || exit 1
here="organ inspect ."
judge "a model in '.' is not called by its directory" grep -q '^tiny-qwen2 (' <("$organ" inspect .)
cd ..
finish
