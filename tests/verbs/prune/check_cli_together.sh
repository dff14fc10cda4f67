#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Matrices of a layer that are pruned or quantised at the same time: files, documents and errors are those of one thread, which changes them one after
# another.
. "$(dirname "$0")/../../kit/cli_kit.sh"
text=(--calibration tiny-qwen2/calibration.txt --samples 2 --context 64 --quiet)
plain() { sed -e '/^  "run": {$/,$d' -e '/^  *"memory": [0-9]*,\{0,1\}$/d' "$1"; }

# same NAME DOCUMENT ARGS...: results for several numbers of threads, and with little memory.
same() {
    local way threads memory
    for way in 1/1G 2/1G 3/1G 16/1G 3/96M; do
        IFS=/ read -r threads memory <<<"$way"
        ends 0 "${@:3}" "${text[@]}" -o "$1-$threads-$memory" --threads "$threads" --memory "$memory"
        judge "$1, $way: other bytes than with one thread" cmp -s <(cat "$1-$threads-$memory"/*.safetensors) <(cat "$1-1-1G"/*.safetensors)
        judge "$1, $way: another document" cmp -s <(plain "$1-$threads-$memory/organ/$2") <(plain "$1-1-1G/organ/$2")
    done
}
for method in sparsegpt physarum-v3; do
    same $method prune.json prune tiny-qwen2 -s 50 --method $method --select '*.0.*_proj.weight'
done
same gptq quantize.json quantize tiny-qwen2 --scheme int4-group32 --method gptq --select '*.0.*_proj.weight'

# ---- errors ----
# break_matrix NAME: writes a NaN into a matrix of the last layer.
cp -rL tiny-qwen2 odd && chmod -R u+w odd
break_matrix() {
    local shard=odd/model-00003-of-00003.safetensors header begin
    header=$(od -An -t u8 -N 8 "$shard" | tr -d ' ')
    begin=$(tail -c +9 "$shard" | head -c "$header" | jq ".\"model.layers.3.$1.weight\".data_offsets[0]")
    printf '\xc0\x7f' | dd of="$shard" bs=1 seek=$((8 + header + begin + 200)) conv=notrunc status=none
}
# fails WORD ARGS...: the same code and message with any number of threads, and no output.
fails() {
    local threads
    for threads in 1 2 16; do
        rm -rf .no*
        refused 3 "$1" "${@:2}" "${text[@]}" -o no --threads $threads
        [[ $threads == 1 ]] && cp ../err first
        judge "another message with $threads threads" cmp -s ../err first
        judge "an output was made" test ! -e no
    done
}
# Two of the matrices that get the same inputs are broken: the error is that of the first.
break_matrix self_attn.k_proj
break_matrix self_attn.v_proj
fails k_proj prune odd -s 50 --method sparsegpt --select '*.3.self_attn.[qkv]_proj.weight'
rm -rf odd && cp -rL tiny-qwen2 odd && chmod -R u+w odd
break_matrix mlp.down_proj
fails down_proj prune odd -s 50 --method physarum-v3 --select '*.3.mlp.*_proj.weight'
fails down_proj quantize odd --scheme int4-group32 --method gptq --select '*.3.mlp.*_proj.weight'
finish
