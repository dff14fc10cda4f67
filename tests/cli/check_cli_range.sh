#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Values beyond the range of the type in which an output stores them are an error that names the tensor, unless --saturate limits them; infinite values of
# the model stay. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"

matrix=model.layers.3.mlp.down_proj.weight
# place PATH TENSOR: the file of a tensor and the offset of its first byte.
place() { "$organ" inspect "$1" --tensors --json --select "$2" | jq -r --arg path "$1" '.tensors[0] | (if $path | endswith(".gguf") then $path else "\($path)/\(.file)" end) + " \(.offset)"'; }
# poke PATH TENSOR BYTES: overwrites the first bytes of a tensor.
poke() {
    local file offset
    read -r file offset < <(place "$1" "$2")
    printf '%b' "$3" | dd of="$file" bs=1 seek="$offset" conv=notrunc status=none
}
# begins PATH TENSOR COUNT: the first bytes of a tensor, in hexadecimal.
begins() {
    local file offset
    read -r file offset < <(place "$1" "$2")
    od -An -v -tx1 -j "$offset" -N "$3" "$file" | tr -d ' \n'
}
# model NAME TENSOR BYTES: a copy of tiny-qwen2 (BF16) in which the tensor begins with these bytes.
model() {
    cp -rL tiny-qwen2 "$1" && chmod -R u+w "$1"
    poke "$1" "$2" "$3"
}
limited() { says "$4"; }

model wide $matrix '\xc3\x47\x74\xc9'  # 99840 and -999424
model huge $matrix '\x62\x7f'          # 3.0e38: an F16 scale of a block is infinite
model endless $matrix '\x80\x7f\x80\xff' # infinite, minus infinite

# ---- convert, both ways ----
refused 3 "'$matrix'" \
    convert wide -o no.gguf --to gguf --dtype f16 --quiet
ends 0 convert wide -o limited.gguf --to gguf --dtype f16 --saturate
limited "2 values" F16 65504 $matrix
judge "other values than +-65504" test "$(begins limited.gguf blk.3.ffn_down.weight 4)" = ff7bfffb
ends 0 convert wide -o fits.gguf --to gguf --dtype q8_0 --quiet
ends 0 convert wide -o bf16.gguf --to gguf --quiet
judge "BF16 changed" test "$(begins bf16.gguf blk.3.ffn_down.weight 4)" = c34774c9
refused 3 "'blk.3.ffn_down.weight'" convert bf16.gguf -o no --to safetensors --dtype f16 --quiet
ends 0 convert bf16.gguf -o limited --to safetensors --dtype f16 --saturate
limited "2 values" F16 65504 blk.3.ffn_down.weight
judge "other values than +-65504 in safetensors" test "$(begins limited $matrix 4)" = ff7bfffb
refused 3 "'$matrix'" \
    convert huge -o no.gguf --to gguf --dtype q8_0 --quiet
ends 0 convert huge -o limited8.gguf --to gguf --dtype q8_0 --saturate
limited "32 values" Q8_0 8.31901e+06 $matrix
judge "another scale than 65504" test "$(begins limited8.gguf blk.3.ffn_down.weight 3)" = ff7b7f
ends 0 convert endless -o endless.gguf --to gguf --dtype f16 --quiet
judge "infinite values of the model changed" test "$(begins endless.gguf blk.3.ffn_down.weight 4)" = 007c00fc

# ---- quantize: the search for scales keeps those of GGUF blocks finite ----
ends 0 convert huge -o huge.gguf --to gguf --quiet
ends 0 quantize huge.gguf -o limited4.gguf -s q4_0 --quiet
judge "another scale than -65504" test "$(begins limited4.gguf blk.3.ffn_down.weight 2)" = fffb

# ---- dequantize ----
ends 0 quantize wide -o codes -s int8-group32 --quiet
refused 3 "'$matrix'" dequantize codes -o no --dtype f16 --quiet
ends 0 dequantize codes -o plain --dtype f16 --saturate
limited "2 values" F16 65504 $matrix
judge "dequantised values beyond +-65504" test "$(begins plain $matrix 4)" = ff7bfffb
ends 0 dequantize codes -o wide16 --dtype bf16 --quiet

# ---- graft: a vector gets the type of the target ----
model norms model.norm.weight '\xc3\x47'
ends 0 convert tiny-qwen2 -o half.gguf --to gguf --dtype f16 --quiet
mkdir as_half
ends 0 convert half.gguf -o as_half/tiny-qwen2 --to safetensors --dtype f16 --quiet
refused 3 "'model.norm.weight'" graft --source norms --target as_half/tiny-qwen2 -o no --quiet
ends 0 graft --source norms --target as_half/tiny-qwen2 -o grafted --saturate
says "model.norm.weight"
judge "the vector does not begin with 65504" test "$(begins grafted model.norm.weight 2)" = ff7b
finish
