#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every verb when a call fails by which files are read, written, named or synchronised, in the program or in a library below it: with EIO,
# ENOSPC, EDQUOT, once or from there on, with EINTR, or with a part of what was asked for. A run ends with status 4 and names the file, or it does
# what it does on a good disk, after EINTR and parts always. It leaves nothing but what the next run makes whole.
#
#   tests/faults/check_disk_verbs.sh           some calls of each verb; for FAULT_RUNS, FAULT_VERBS, FAULT_TURN see sweep_kit.sh
. "$(dirname "$0")/sweep_kit.sh"
sweep_disk() { sweep disk "$@"; }

prepare
made tuned lora merge --base "$model" --adapter "$fixtures/tiny-lora"
mkdir -p coming again && cp -rL "$model" coming/m && chmod -R u+w coming && cp -r pruned again/p
mkdir models && cp -r "$q" "$model-gguf/tiny-qwen2-Q8_0.gguf" models/
gguf=$model-gguf/tiny-qwen2-BF16-00001-of-00002.gguf

sweep_disk 4 inspect inspect "$q" --tensors
sweep_disk 6 untrusted-sound inspect "$q" --untrusted
sweep_disk 3 inspect-html inspect "$q" --html i.html
sweep_disk 4 report report "$area/prune.json" -o p.html
sweep_disk 3 tokenize tokenize "$model" --text "$area/text"
sweep_disk 14 prune prune "$q" "${t1[@]}" -o p
begin=$area/again
sweep_disk 8 prune-force prune "$q" "${t1[@]}" -o p --force
begin=
sweep_disk 6 purify purify "$q" --type all --method haar "${t1[@]}" -o p
sweep_disk 6 quantize quantize "$q" "${t1[@]}" --scheme int4-group32 -o q
sweep_disk 6 quantize-gguf quantize "$fixtures/forward/qwen3moe.gguf" "${t1[@]}" --scheme q4_0 -o q.gguf
sweep_disk 6 dequantize dequantize "$fixtures/precision/ct-packed-group" "${t1[@]}" -o d
sweep_disk 7 extract extract "$q" -o parts
sweep_disk 7 assemble assemble "$area/parts" -o b.safetensors
sweep_disk 6 graft graft --source "$area/pruned" --target "$q" --output g --layers 1 --type organ
sweep_disk 2 chimera chimera --base "$gguf" --donor "$gguf" --take organ --layers 1-2 -o c.gguf
sweep_disk 6 measure measure "$q" "${t1[@]}" -o z
begin=$area/coming
sweep_disk 2 measure-delete measure m "${t1[@]}" -o z --delete-after
begin=
sweep_disk 5 autopsy autopsy "$q" "${t1[@]}" -o a
sweep_disk 4 audit audit "$q" "$area/pruned" "${t1[@]}" --html a.html
sweep_disk 2 lora-merge lora merge --base "$model" --adapter "$fixtures/tiny-lora" "${t1[@]}" -o l
sweep_disk 2 lora-extract lora extract --base "$model" --tuned "$area/tuned" "${t1[@]}" --rank 4 -o l
sweep_disk 4 lora-sanitize lora sanitize "$fixtures/tiny-lora" "${t1[@]}" -o l
sweep_disk 4 lora-resize lora resize "$fixtures/tiny-lora" --rank 2 "${t1[@]}" -o l
sweep_disk 1 orthogonality orthogonality "$model" "$area/tuned" "$fixtures/tiny-lora" "${t1[@]}" -o o
sweep_disk 1 evaluate evaluate "$model" "$area/tuned" --text "$area/text" "${t1[@]}" -o e
sweep_disk 2 fleet fleet "$area/models" "${t1[@]}" -o f
finish
