#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The donor changes while it is read: cut in half, replaced by another file of its size, grown, or its disk fails from there on. At each open and
# read of its files: the run ends with status 3 or 4, names the file and leaves nothing, or what it has made is of the donor as it was.
#
#   tests/faults/check_donor_verbs.sh          some reads of each verb; for FAULT_RUNS, FAULT_VERBS, FAULT_TURN see sweep_kit.sh
. "$(dirname "$0")/sweep_kit.sh"
sweep_donor() { sweep donor "$@"; }

prepare
mkdir -p small packed moe parted adapted one
cp -r "$q" small/m && cp -r "$fixtures/precision/ct-packed-group" packed/m && cp -r parts parted/m
mkdir moe/m one/m && cp "$fixtures/forward/qwen3moe.gguf" moe/m/q.gguf && cp "$fixtures/forward/qwen3moe.gguf" one/m/
cp -r "$fixtures/tiny-lora" adapted/m
find . -type l -prune -o -print | xargs chmod u+w
more=(--donor m)

begin=$area/small
sweep_donor 3 inspect inspect m --tensors
sweep_donor 8 prune prune m "${t1[@]}" -o p
sweep_donor 4 purify purify m --type all --method haar "${t1[@]}" -o p
sweep_donor 4 quantize quantize m "${t1[@]}" --scheme int4-group32 -o q
sweep_donor 5 extract extract m -o parts
sweep_donor 4 graft graft --source "$area/pruned" --target m --output g --layers 1 --type organ
sweep_donor 4 measure measure m "${t1[@]}" -o z
sweep_donor 4 autopsy autopsy m "${t1[@]}" -o a
sweep_donor 4 audit audit m "$area/pruned" "${t1[@]}" --html a.html
begin=$area/packed
sweep_donor 4 dequantize dequantize m "${t1[@]}" -o d
begin=$area/parted
sweep_donor 6 assemble assemble m -o b.safetensors
begin=$area/moe
sweep_donor 4 quantize-gguf quantize m/q.gguf "${t1[@]}" --scheme q4_0 -o q.gguf
begin=$area/adapted
sweep_donor 2 lora-merge lora merge --base "$model" --adapter m "${t1[@]}" -o l
sweep_donor 4 lora-sanitize lora sanitize m "${t1[@]}" -o l
sweep_donor 4 lora-resize lora resize m --rank 2 "${t1[@]}" -o l
finish
