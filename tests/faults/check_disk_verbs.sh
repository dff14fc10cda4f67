#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Makes system calls on files fail in every verb and in the libraries below it: with EIO, ENOSPC or EDQUOT once or from then on, with EINTR, or with a
# short count. The run must exit with 4 and name the file, or do its work, which it must always do after EINTR and short counts. It may leave
# only files that the next run completes.
#
#   tests/faults/check_disk_verbs.sh           some calls of each verb; sweep_kit.sh explains FAULT_RUNS, FAULT_VERBS and FAULT_TURN
. "$(dirname "$0")/sweep_kit.sh"
sweep_disk() { sweep disk "$@"; }

prepare
mkdir -p coming again && cp -rL "$model" coming/m && chmod -R u+w coming && cp -r pruned again/p

sweep_disk 4 inspect
sweep_disk 4 vocabulary
sweep_disk 4 vocabulary-out
sweep_disk 2 vocabulary-labels
sweep_disk 4 compare
sweep_disk 4 merge
sweep_disk 4 merge-then
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
sweep_disk 6 gguf-split
sweep_disk 4 gguf-join
sweep_disk 4 gguf-edit
sweep_disk 4 patch-extract
sweep_disk 4 patch-apply
sweep_disk 6 graft
sweep_disk 2 graft-part
sweep_disk 6 measure
begin=$area/coming
begin=
sweep_disk 5 autopsy
sweep_disk 4 audit
sweep_disk 2 lora-merge
sweep_disk 2 lora-extract
sweep_disk 4 lora-sanitize
sweep_disk 4 lora-resize
sweep_disk 4 lora-combine
sweep_disk 1 orthogonality
sweep_disk 1 evaluate
sweep_disk 2 perplexity
sweep_disk 2 generate
sweep_disk 6 imatrix
sweep_disk 2 fleet
hub_begin
sweep_disk 4 fetch
sweep_disk 4 fetch-cache
kill $server
finish
