#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks organ convert --dtype codes from GGUF to safetensors and back: the codes and scales of Q4_0, Q4_1, Q8_0 and MXFP4 stay, whatever the order of
# rows and experts. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
fixtures=$(dirname "$model")
for name in tiny-llama tiny-moe; do ln -s "$fixtures/$name" $name; done
codes() { ends 0 convert "$1" -o "$2" --to "$3" --dtype codes --quiet --force; }
# alike A B MOST: no matrix but the embedding differs, or differs by more than MOST; norms and biases are rounded to F16.
alike() {
    ends 0 compare "$1" "$2" --json
    judge "$1 and $2 differ" jq -e --argjson most "${3:-0}" '[.pairs[0].roles[] | select(.role | test("_proj$"))] | length >= 7 and all(.distance <= $most)' ../out
}
# twin MODEL TYPE SCHEME COUNT FORMAT [MOST]: MODEL in TYPE becomes safetensors with COUNT weights of SCHEME, and comes back.
twin() {
    local made=$1-$2
    ends 0 quantize "$1" -o "$made.gguf" --scheme "$2" --quiet
    codes "$made.gguf" "$made" safetensors
    ends 0 inspect "$made"
    judge "$made has not $4 weights of $3" grep -qE "$3 +$4 " ../out
    holds "$made/config.json" ".quantization_config | (.format // .mode) == \"$5\""
    alike "$made.gguf" "$made" "${6:-0}"
    codes "$made" "$made-back.gguf" gguf
    alike "$made.gguf" "$made-back.gguf"
}
# the rows of Q and K have another order in GGUF files of Llama, and experts are stacks there
twin tiny-llama q4_0 "INT4, group 32, symmetric, F16 scales" 42 pack-quantized
twin tiny-llama q4_1 "MLX INT4, group 32, F16 scales and biases" 42 affine 0.0006
twin tiny-llama mxfp4 "MXFP4, group 32, E8M0 scales" 42 mxfp4-pack-quantized
twin tiny-moe q4_0 "INT4, group 32, symmetric, F16 scales" 208 pack-quantized
twin tiny-moe q8_0 "INT8, group 32, symmetric, F16 scales" 208 int-quantized
holds tiny-llama-q4_0/config.json '.torch_dtype == "float16"' '.quantization_config.config_groups.group_0.weights | .num_bits == 4 and .group_size == 32'
holds tiny-llama-q4_1/config.json '.quantization == .quantization_config' '.quantization."model.embed_tokens" == false'
holds tiny-llama-mxfp4/config.json '.torch_dtype == "bfloat16"'
# several types: each gets a group of modules
ends 0 quantize tiny-moe-q8_0.gguf -o mixed.gguf --scheme q4_0 --select q_proj,down_proj --quiet
codes mixed.gguf mixed safetensors
alike mixed.gguf mixed
holds mixed/config.json '.quantization_config.format == "mixed-precision"' '.quantization_config.config_groups | length == 2' \
    '[.quantization_config.config_groups[].targets | contains(["model.layers.0.self_attn.q_proj"])] == [false, true]'
# mlx-lm has its own names for experts of Qwen3: Q4_1 stays values there
ends 0 quantize tiny-moe -o moe1.gguf --scheme q4_1 --quiet
refused 3 "Q4_1" convert moe1.gguf -o no --to safetensors --dtype codes
# what grows says so, in both directions
ends 0 convert tiny-llama-q4_0.gguf -o grown --to safetensors
says "times the 1.8 MB"
says "--dtype codes copies them unchanged"
ends 0 convert moe1.gguf -o grown1 --to safetensors
says "organ quantize makes it small again"
# an exponent that GGUF reads as a number
at=$("$organ" inspect tiny-llama-mxfp4.gguf --tensors --json | jq '[.tensors[] | select(.dtype == "MXFP4")][3] | .offset')
printf '\xff' | dd of=tiny-llama-mxfp4.gguf bs=1 seek="$at" conv=notrunc status=none
refused 3 "exponent 255" convert tiny-llama-mxfp4.gguf -o no --to safetensors --dtype codes --quiet
finish
