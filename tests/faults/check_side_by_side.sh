#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks that with 16 threads (lora merge: 8) all verbs that read or write whole models have 16 reads, and then 16 writes, in flight at the same time, in small
# files too, that no other thread moves bytes of tensors, and that the output has the bytes of one thread. Outputs are on the disk of build/, because in
# memory the system lets only one thread write into a file.
TMPDIR=$(cd "$(dirname "$0")/../../build" && pwd)
export TMPDIR
. "$(dirname "$0")/../kit/cli_kit.sh"
root=${organ%/build/organ}
. "$root/tests/faults/side_by_side.sh"
model=$root/fixtures/tiny-qwen2
few=(--threads 16 --memory 8M)

side_by_side 16 16 prune "$model" -o pruned "${few[@]}" --block-size 16
side_by_side 16 16 purify "$model" -o purified --select all --method haar --threads 16 --memory 24M
side_by_side 16 0 audit "$model" pruned --threads 16 --memory 16M
side_by_side 1 1 prune "$model" -o by-one "${few[@]}" --block-size 16 --readers 1
same "other bytes with one reader" pruned/model-00003-of-00003.safetensors by-one/model-00003-of-00003.safetensors

# both BYTES ARGS...: $threads reads, then as many writes of more than BYTES bytes are in flight.
threads=16
both() { long=$1 side_by_side "$threads" "$threads" "${@:2}" --threads "$threads"; }

# alike OUT ARGS...: the files with tensors in OUT have the bytes of a run with one thread.
alike() {
    local out=$1 file other
    shift
    "$organ" "$@" --threads 1 --quiet >../out 2>../err </dev/null || bad "fails with one thread" ../err
    while read -r file; do
        other=one${file#"${out%.gguf}"}
        judge "$file has other bytes with one thread" cmp -s "$file" "$other"
    done < <(find "$out" -type f \( -name '*.safetensors' -o -name '*.gguf' -o -name '*.bin' \))
    rm -rf "$out" one one.*
}

both 4000 quantize tiny-qwen2 --scheme int4-group32 -o packed
both 4000 dequantize packed -o plain
alike plain dequantize packed -o one
alike packed quantize tiny-qwen2 --scheme int4-group32 -o one
both 20000 convert tiny-qwen2 --to gguf -o c.gguf
alike c.gguf convert tiny-qwen2 --to gguf -o one.gguf
both 20000 extract tiny-qwen2 -o organs
both 20000 assemble organs -o again
alike again assemble organs -o one
alike organs extract tiny-qwen2 -o one
both 20000 graft --source tiny-qwen2 --target tiny-qwen2 --select 1-2 -o grafted
alike grafted graft --source tiny-qwen2 --target tiny-qwen2 --select 1-2 -o one
threads=8 # the adapter changes fewer than 16 matrices
both 20000 lora merge --base tiny-qwen2 --adapter "$root/fixtures/tiny-lora" -o merged
alike merged lora merge --base tiny-qwen2 --adapter "$root/fixtures/tiny-lora" -o one
threads=16
both 20000 layers tiny-qwen2 --drop 1-1 -o fewer
alike fewer layers tiny-qwen2 --drop 1-1 -o one

# Verbs that only read.
for verb in measure autopsy; do
    long=20000 side_by_side 16 0 "$verb" tiny-qwen2 --threads 16
done

# One tensor gets all workers: its digest is needed as a whole (extract, steps of 1 MiB), or in extents of 8 MiB (quantize copies the embedding).
# large ROWS: makes large.safetensors, an embedding of ROWS x 1024 zeros and a small matrix.
large() {
    local embedding=$(($1 * 2048)) header
    printf -v header '{"model.embed_tokens.weight":{"dtype":"BF16","shape":[%d,1024],"data_offsets":[0,%d]},"model.layers.0.mlp.up_proj.weight":{"dtype":"BF16","shape":[128,256],"data_offsets":[%d,%d]}}' \
        "$1" "$embedding" "$embedding" $((embedding + 65536))
    printf '%b' "\x$(printf %x $((${#header} & 255)))\x$(printf %x $((${#header} >> 8)))\0\0\0\0\0\0" >large.safetensors
    printf '%s' "$header" >>large.safetensors
    truncate -s $((8 + ${#header} + embedding + 65536)) large.safetensors
}
large 10000
both 1000000 extract large.safetensors -o organs
alike organs extract large.safetensors -o one
# On a disk, a single worker reads on while its writer waits in a direct write.
if [[ -z $in_turn ]]; then
    for words in "extract large.safetensors -o organs" "assemble organs -o again"; do
        # shellcheck disable=SC2086 # several words
        ORGAN_SIDE_BEHIND=1 long=1000000 side_by_side 0 0 $words --threads 1
        judge "organ $words --threads 1 does not read while it writes" grep -qx "met behind" "$scratch/side"
    done
    same "other bytes with a writer" large.safetensors again/large.safetensors
    rm -rf organs again
fi
if ! sampled; then
    large 66000
    mkdir large && mv large.safetensors large/model.safetensors && echo '{"model_type":"qwen2"}' >large/config.json
    both 1000000 quantize large --scheme int4-group128 -o packed
    rm -rf packed large
fi
finish
