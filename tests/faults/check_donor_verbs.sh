#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Changes the donor while a verb reads it, at each open and read: it is cut in half, replaced by a file of the same size, grown, or its disk fails. The
# run must exit with 3 or 4, name the file and leave nothing, or its output must be that of the unchanged donor.
#
#   tests/faults/check_donor_verbs.sh          some reads of each verb; sweep_kit.sh explains FAULT_RUNS, FAULT_VERBS and FAULT_TURN
. "$(dirname "$0")/sweep_kit.sh"
sweep_donor() { sweep donor "$@"; }

prepare
mkdir -p small packed moe parted adapted several whole/m mixed
cp -r "$q" small/m && cp -r "$fixtures/precision/ct-packed-group" packed/m && cp -r parts parted/m
mkdir moe/m && cp "$fixtures/forward/qwen3moe.gguf" moe/m/q.gguf && cp -r models several/m
cp -rL "$model"/[!.]* whole/m && cp -r "$mixture" mixed/m
cp -r "$fixtures/tiny-lora" adapted/m
find . -type l -prune -o -exec chmod u+w {} +
more=(--donor m) q=m packed=m parts=m moe=m/q.gguf gguf=m/q.gguf models=m

begin=$area/small
sweep_donor 3 inspect
sweep_donor 3 compare
sweep_donor 3 merge
sweep_donor 3 merge-then
sweep_donor 8 prune
sweep_donor 4 purify
sweep_donor 4 quantize
sweep_donor 5 extract
sweep_donor 4 graft
sweep_donor 3 patch-extract
sweep_donor 3 patch-apply
sweep_donor 4 measure
sweep_donor 4 autopsy
sweep_donor 4 audit
sweep_donor 4 layers-named
begin=$area/packed
sweep_donor 4 dequantize
begin=$area/parted
sweep_donor 6 assemble
begin=$area/moe
sweep_donor 4 quantize-gguf
sweep_donor 4 graft-part
begin=$area/several
sweep_donor 4 fleet
begin=$area/whole tensors_of=$model model=m
sweep_donor 2 lora-extract
sweep_donor 2 evaluate
sweep_donor 2 perplexity
sweep_donor 2 generate
sweep_donor 2 imatrix
sweep_donor 2 tokenize
sweep_donor 2 orthogonality
sweep_donor 1 width
sweep_donor 1 layers-heal
model=$tensors_of
begin=$area/mixed mixture=m
sweep_donor 2 experts
begin=$area/adapted adapter=m
sweep_donor 2 lora-merge
sweep_donor 4 lora-sanitize
sweep_donor 4 lora-resize
sweep_donor 4 lora-combine
finish
