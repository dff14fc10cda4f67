#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The power fails: what a verb has done to files is noted, and after each step the directory is built as a disk may hold it. Bytes last from the
# fsync of their file on, names from that of their folder; of what came later any sector and any name may be there (six ways, tests/faults/power.h).
# What is under the final name is whole, or it is not there; the next run, with --resume where the verb has that, makes the same bytes.
#
#   tests/faults/check_power_verbs.sh          some steps of each verb; for FAULT_RUNS, FAULT_VERBS, FAULT_TURN see sweep_kit.sh
. "$(dirname "$0")/sweep_kit.sh"
sweep_power() { sweep power "$@"; }

prepare
made tuned lora merge --base "$model" --adapter "$fixtures/tiny-lora"
mkdir -p coming again && cp -rL "$model" coming/m && chmod -R u+w coming && cp -r pruned again/p

sweep_power 12 prune prune "$q" "${t1[@]}" -o p
begin=$area/again
sweep_power 8 prune-force prune "$q" "${t1[@]}" -o p --force
begin=
sweep_power 5 purify purify "$q" --type all --method haar "${t1[@]}" -o p
sweep_power 5 quantize quantize "$q" "${t1[@]}" --scheme int4-group32 -o q
sweep_power 5 quantize-gguf quantize "$fixtures/forward/qwen3moe.gguf" "${t1[@]}" --scheme q4_0 -o q.gguf
sweep_power 5 dequantize dequantize "$fixtures/precision/ct-packed-group" "${t1[@]}" -o d
sweep_power 5 extract extract "$q" -o parts
sweep_power 5 assemble assemble "$area/parts" -o b.safetensors
sweep_power 5 graft graft --source "$area/pruned" --target "$q" --output g --layers 1 --type organ
sweep_power 2 lora-merge lora merge --base "$model" --adapter "$fixtures/tiny-lora" "${t1[@]}" -o l
sweep_power 1 lora-extract lora extract --base "$model" --tuned "$area/tuned" "${t1[@]}" --rank 4 -o l
sweep_power 5 measure measure "$q" "${t1[@]}" -o z
begin=$area/coming
sweep_power 2 measure-delete measure m "${t1[@]}" -o z --delete-after
begin=
sweep_power 4 autopsy autopsy "$q" "${t1[@]}" -o a
sweep_power 4 report report "$area/prune.json" -o p.html
finish
