#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Simulates power cuts. It records the file operations of a verb and, after each of them, builds the directory as a disk may then contain it. Contents are
# safe after the fsync of their file, names after that of their folder; of later changes any sector and any name may be on the disk (six ways,
# tests/faults/power.h). The final name must be absent or complete; the next run, with --resume if the verb has it, must write the same bytes.
#
#   tests/faults/check_power_verbs.sh          some steps of each verb; sweep_kit.sh explains FAULT_RUNS, FAULT_VERBS and FAULT_TURN
. "$(dirname "$0")/sweep_kit.sh"
sweep_power() { sweep power "$@"; }

prepare
mkdir -p coming again && cp -rL "$model" coming/m && chmod -R u+w coming && cp -r pruned again/p

sweep_power 12 prune
begin=$area/again
sweep_power 8 prune-force
begin=
sweep_power 5 purify
sweep_power 2 width
sweep_power 1 layers
sweep_power 1 layers-heal
sweep_power 1 experts
sweep_power 5 quantize
sweep_power 5 quantize-gguf
sweep_power 5 dequantize
sweep_power 5 convert
sweep_power 5 convert-back
sweep_power 5 extract
sweep_power 5 assemble
sweep_power 5 gguf-split
sweep_power 2 gguf-edit
sweep_power 3 patch-extract
sweep_power 3 patch-apply
sweep_power 5 graft
sweep_power 2 lora-merge
sweep_power 1 lora-extract
sweep_power 4 lora-sanitize
sweep_power 4 lora-resize
sweep_power 4 lora-combine
sweep_power 2 graft-part
sweep_power 2 width-experts
sweep_power 5 measure
begin=$area/coming
begin=
sweep_power 4 autopsy
sweep_power 4 fleet
sweep_power 4 orthogonality
sweep_power 2 evaluate
sweep_power 4 audit
sweep_power 4 report
hub_begin
sweep_power 4 fetch
sweep_power 4 fetch-cache
kill $server
finish
