#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests that all workers read and write at the same time, in small files too, and that no other thread moves bytes of tensors. Ends with the line
# "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"
root=${organ%/build/organ}
. "$root/tests/faults/side_by_side.sh"
model=$root/fixtures/tiny-qwen2
few=(--threads 16 --memory 8M)

side_by_side 16 16 prune "$model" -o pruned "${few[@]}" --block-size 16
side_by_side 16 16 purify "$model" -o purified --type all --method haar --threads 16 --memory 24M
side_by_side 16 0 audit "$model" pruned --threads 16 --memory 16M
# A disk: O_DIRECT, with companions. Elsewhere the same as above.
disk=$(mktemp -d "$root/build/side-by-side.XXXXXX")
side_by_side 16 16 prune "$model" -o "$disk/pruned" "${few[@]}" --block-size 16
side_by_side 1 1 prune "$model" -o one "${few[@]}" --block-size 16 --readers 1
same "other bytes on a disk" pruned/model-00002-of-00003.safetensors "$disk/pruned/model-00002-of-00003.safetensors"
same "other bytes with one reader" pruned/model-00003-of-00003.safetensors one/model-00003-of-00003.safetensors
rm -rf "$disk"
finish
