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
mkdir -p coming again && cp -rL "$model" coming/m && chmod -R u+w coming && cp -r pruned again/p

sweep_disk 4 inspect
sweep_disk 6 untrusted-sound inspect "$q" --untrusted
sweep_disk 3 inspect-html inspect "$q" --html i.html
sweep_disk 4 report
sweep_disk 3 tokenize
sweep_disk 14 prune
begin=$area/again
sweep_disk 8 prune-force
begin=
sweep_disk 6 purify
sweep_disk 1 width
sweep_disk 1 layers
sweep_disk 1 layers-heal
sweep_disk 1 width-experts
sweep_disk 6 quantize
sweep_disk 6 quantize-gguf
sweep_disk 6 dequantize
sweep_disk 6 convert
sweep_disk 6 convert-back
sweep_disk 4 experts
sweep_disk 2 audit-cut
sweep_disk 7 extract
sweep_disk 7 assemble
sweep_disk 6 graft
sweep_disk 2 chimera
sweep_disk 6 measure
begin=$area/coming
sweep_disk 2 measure-delete
begin=
sweep_disk 5 autopsy
sweep_disk 4 audit
sweep_disk 2 lora-merge
sweep_disk 2 lora-extract
sweep_disk 4 lora-sanitize
sweep_disk 4 lora-resize
sweep_disk 1 orthogonality
sweep_disk 1 evaluate
sweep_disk 2 perplexity
sweep_disk 2 generate
sweep_disk 2 fleet
hub_begin
sweep_disk 4 fetch
sweep_disk 4 fetch-cache
kill $server
finish
