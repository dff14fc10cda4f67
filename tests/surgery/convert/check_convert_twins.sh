#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks organ convert --dtype codes from GGUF to safetensors and back: the codes and scales of Q4_0, Q4_1, Q8_0, MXFP4 and NVFP4 stay, whatever the order
# of rows and experts. Ends with the line "N passed, N failed".
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
twin tiny-moe q8_0 "INT8, group 32, symmetric, F16 scales" 208 pack-quantized
# vLLM loads INT8 in groups without rounded inputs as pack-quantized only: four codes in a word, each with 128 added.
holds tiny-moe-q8_0/config.json '.quantization_config.config_groups.group_0 | .weights.num_bits == 8 and .input_activations == null'
judge "the packed codes have another type" test "$("$organ" inspect tiny-moe-q8_0 --tensors --json |
    jq -c '[.tensors[] | select(.name | endswith("q_proj.weight_packed")) | .dtype] | unique')" = '["I32"]'
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
# ---- NVFP4: tiny-llama and tiny-moe have rows of down_proj that are not whole blocks of 64: these become IQ4_NL, or values ----

# where MODEL TENSOR: sets $file, $offset and $bytes of a tensor. part MODEL TENSOR: writes its bytes. put MODEL TENSOR BYTES: overwrites its first bytes.
where() {
    read -r file offset bytes < <("$organ" inspect "$1" --tensors --json --select "$2" | jq -r --arg t "$2" '.tensors[] | select(.name == $t) | "\(.file) \(.offset) \(.bytes)"')
    if [[ -d $1 ]]; then file=$1/$file; else file=$1; fi
}
part() { where "$1" "$2" && dd if="$file" iflag=skip_bytes,count_bytes skip="$offset" count="$bytes" bs=1M status=none; }
put() { where "$1" "$2" && printf '%b' "$3" | dd of="$file" bs=1 seek="$offset" conv=notrunc status=none; }
# equal A B TENSORS...: the tensors have the same bytes in both models, and some.
equal() {
    local t
    for t in "${@:3}"; do
        part "$1" "$t" >../a && part "$2" "$t" >../b
        judge "$t of $1 is not that of $2" test -s ../a
        judge "$t of $1 and $2 differ" cmp -s ../a ../b
    done
}
# close A B: matrices with codes are equal to 1e-7, those without to the rounding of BF16.
close() {
    ends 0 compare "$1" "$2" --json
    judge "$1 and $2 differ" jq -e '[.pairs[0].roles[] | select(.role | test("_proj$"))] | length >= 7 and all(.distance <= if (.role | test("down")) then 0.002 else 1e-7 end)' ../out
}
gate=model.layers.1.mlp.experts.3.gate_proj value=model.layers.1.self_attn.v_proj
for name in tiny-llama tiny-moe; do
    count=36 stack=blk.1.ffn_gate
    [[ $name == tiny-moe ]] && count=144 stack=blk.1.ffn_gate_exps
    ends 0 quantize $name -o $name-nv.gguf --scheme nvfp4 --quiet
    codes $name-nv.gguf $name-nv safetensors
    ends 0 inspect $name-nv
    judge "$name-nv has not $count weights of NVFP4" grep -qE "NVFP4, group 16, F8_E4M3 scales +$count " ../out
    holds $name-nv/config.json '.quantization_config | .format == "nvfp4-pack-quantized" and (.ignore | contains(["lm_head"]))' \
        '.quantization_config.config_groups.group_0.weights | .strategy == "tensor_group" and .group_size == 16 and .scale_dtype == "torch.float8_e4m3fn"'
    close $name-nv.gguf $name-nv
    codes $name-nv $name-nv-back.gguf gguf
    equal $name-nv.gguf $name-nv-back.gguf blk.1.attn_q.{weight,scale} blk.1.attn_v.{weight,scale} $stack.{weight,scale}
    # a model that was quantised as safetensors, with a divisor that is no power of 2
    ends 0 quantize $name -o $name-st --scheme nvfp4 --quiet
    put $name-st $value.weight_global_scale '\x9a\x99\x8d\x44'
    codes $name-st $name-st.gguf gguf
    close $name-st $name-st.gguf
    judge "the scale is not the reciprocal of 1132.8" test "$(part $name-st.gguf blk.1.attn_v.scale | od -An -tx4)" = " 3a676994"
    ends 0 convert $name-st.gguf -o $name-st-back --to safetensors --dtype codes
    says "$value.weight and ${value/v_proj/q_proj}.weight have different tensor scales (pairs of this kind: 1)"
    equal $name-st $name-st-back $value.weight_{packed,scale} ${value/v_proj/q_proj}.weight_{packed,scale,global_scale}
done
equal tiny-moe-st tiny-moe-st-back $gate.weight_{packed,scale,global_scale}
# ModelOpt has a factor, which GGUF has, too: it stays, and each expert has its own
read -r size < <(od -An -N8 -tu8 tiny-moe-st/model.safetensors)
mkdir modelopt
cp tiny-moe-st/*.json modelopt/
dd if=tiny-moe-st/model.safetensors iflag=skip_bytes,count_bytes skip=8 count="$size" bs=1M status=none | sed 's/weight_global_scale/weight_scale_2/g; s/weight_packed/weight/g' >../header
jq '.quantization_config |= (.quant_method = "modelopt" | .quant_algo = "NVFP4")' tiny-moe-st/config.json >modelopt/config.json
jq -c '([.[].data_offsets[1]? // 0] | max) as $last | .["model.layers.1.mlp.experts.3.gate_proj.input_scale"] = {dtype: "F32", shape: [1], data_offsets: [$last, $last + 4]}' ../header >../scaled
length=$(($(wc -c <../scaled) + 7 & ~7))
{
    for ((k = 0; k < 8; k++)); do printf '%b' "\\x$(printf %02x $((length >> 8 * k & 255)))"; done
    printf "%-${length}s" "$(<../scaled)"
    tail -c +$((size + 9)) tiny-moe-st/model.safetensors
    printf '\0\0\x80\x3f'
} >modelopt/model.safetensors
for ((e = 0; e < 16; e++)); do put modelopt "${gate/.3./.$e.}.weight_scale_2" "\\x0$((e % 8))\\x10\\xaa\\x3b"; done
ends 0 convert modelopt -o modelopt.gguf --to gguf --dtype codes
says "1 scale of activations or of a cache, such as '$gate.input_scale', is left out"
judge "a factor of ModelOpt is not that of GGUF" test "$(part modelopt.gguf blk.1.ffn_gate_exps.scale | od -An -v -w4 -tx1 | sort | uniq -c | xargs)" = \
    "2 00 10 aa 3b 2 01 10 aa 3b 2 02 10 aa 3b 2 03 10 aa 3b 2 04 10 aa 3b 2 05 10 aa 3b 2 06 10 aa 3b 2 07 10 aa 3b"
close modelopt modelopt.gguf
equal tiny-moe-st.gguf modelopt.gguf blk.1.ffn_gate_exps.weight
# what the other format lacks; llama.cpp ignores scales of tensors in models of Qwen2
put modelopt "$gate.weight_scale_2" '\x00\x00\x80\x7f'
refused 3 "$gate.weight_scale_2' is inf, which is not finite" convert modelopt -o no.gguf --to gguf --dtype codes --quiet
for byte in 7f b8; do
    put tiny-llama-st $value.weight_scale "\\x$byte"
    refused 3 "$value.weight_scale' has a scale that is negative or not a number" convert tiny-llama-st -o no.gguf --to gguf --dtype codes --quiet
    put tiny-llama-st.gguf blk.1.attn_v.weight "\\x$byte"
    refused 3 "blk.1.attn_v.weight' has a scale of a block that is negative or not a number" convert tiny-llama-st.gguf -o no --to safetensors --dtype codes --quiet
done
put tiny-llama-nv.gguf blk.1.attn_v.scale '\x00\x00\x00\x00'
refused 3 "blk.1.attn_v.scale' is 0, and F32 does not have its reciprocal" convert tiny-llama-nv.gguf -o no --to safetensors --dtype codes --quiet
ends 0 quantize tiny-qwen2 -o qwen2-nv --scheme nvfp4 --quiet
refused 3 "NVFP4 (if llama.cpp applies scales of tensors)" convert qwen2-nv -o no.gguf --to gguf --dtype codes --quiet
finish
