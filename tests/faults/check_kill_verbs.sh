#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The process is killed before a call that changes files, of every verb that writes. The same command runs again, with --resume if its message
# requests that; then the commands with --resume and with --force run. The files must be those of a run without a kill, and no others may remain.
#
#   tests/faults/check_kill_verbs.sh           the last calls of some verbs; FAULT_RUNS=all, as in `ninja test-kills`: all calls of all verbs.
#                                              For FAULT_VERBS see sweep_kit.sh
# Thousands of runs need no disk. A container may have some megabytes of /dev/shm.
if [[ -w /dev/shm && $(($(stat -f -c '%a*%S' /dev/shm))) -ge $((1 << 30)) ]]; then export TMPDIR=/dev/shm; fi
. "$(dirname "$0")/sweep_kit.sh"
# kills NAME: all calls, or the last ones of those verbs that `ninja test` takes, of which it tests samples but for prune.
kills() {
    local last=14:5:1
    [[ $1 == prune && -z ${FAULT_RUNS:-} ]] && last=14
    [[ -z ${FAULT_RUNS:-} && -z ${FAULT_VERBS:-} && " prune prune-force prune-gguf quantize-gguf quantize-gguf-force extract lora-extract lora-sanitize lora-sanitize-force measure " != *" $1 "* ]] && return
    sweep kills "last:$last" "$1"
}

prepare
cat "$model-gguf/tiny-qwen2-Q8_0.gguf" >q8.gguf
mkdir -p coming again again-gguf again-lora && cp -rL "$model" coming/m && chmod -R u+w coming && cp -r pruned again/p
made again-gguf/q.gguf quantize "$moe" --scheme q8_0
made again-lora/l lora sanitize "$adapter"

# While a run decides, its journal grows before its files do.
deciding="layers width experts-measured decide-widths decide-types decide-prune decide-then"
for name in $deciding; do
    if [[ -n ${FAULT_RUNS:-} ]]; then kills "$name"; else sweep kills first:64:1:${FAULT_TURN:-7} "$name"; fi
done
for name in prune prune-gguf purify purify-parts width-experts layers-named layers-heal experts quantize quantize-gguf quantize-source quantize-sizes quantize-repair dequantize dequantize-file \
    convert convert-back extract assemble gguf-split gguf-join gguf-edit patch-extract patch-apply graft graft-part merge merge-ties merge-tokens merge-then lora-merge lora-extract lora-sanitize lora-resize lora-combine measure autopsy audit report fleet \
    orthogonality evaluate perplexity-reports imatrix; do
    kills $name
done
hub_begin
kills fetch
kills fetch-cache
kill $server
begin=$area/again
kills prune-force
begin=$area/again-gguf
kills quantize-gguf-force
begin=$area/again-lora
kills lora-sanitize-force
begin=$area/coming
begin=
finish
