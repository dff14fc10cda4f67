#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compares `organ extract` and `organ assemble` with `cp -r && sync` of the same model in alternating runs. bench_organs.sh ORGAN MAKE_MODEL DIR
# [ROUNDS]. DIR needs 4.5 GB. Prints the seconds of each round and the medians, with the model in the page cache and read from the disk.
# With BENCH_SMOKE=1 in the environment, the model has 4 MB and there is one round.
set -euo pipefail
organ=$1 make_model=$2 area=$3 rounds=${4:-${BENCH_SMOKE:-5}}
mkdir -p "$area" && cd "$area"
rm -rf model apart again copy
if [[ -n ${BENCH_SMOKE:-} ]]; then "$make_model" model 2 1024 256 768 64; else "$make_model" model 1 70000; fi

# seconds COMMAND...: prints the wall time of the command.
seconds() {
    local start=${EPOCHREALTIME/[.,]/}
    "$@" >/dev/null 2>&1
    local end=${EPOCHREALTIME/[.,]/}
    printf '%d.%03d' $(((end - start) / 1000000)) $(((end - start) / 1000 % 1000))
}
copy() { cp -r "$1" copy && sync -f copy; }
# Removes files from the page cache, or reads them into it. The files have been written to the disk before.
forget() { find "$@" -type f -exec dd if={} iflag=nocache count=0 status=none ';'; }
recall() { find "$@" -type f -exec cat {} + >/dev/null; }

for state in recall forget; do
    echo "$state: cp+sync, extract, cp+sync of the parts, assemble"
    for ((k = 0; k < rounds; k++)); do
        $state model
        a=$(seconds copy model)
        rm -rf copy
        $state model
        b=$(seconds "$organ" extract model -o apart --quiet)
        $state apart
        c=$(seconds copy apart)
        rm -rf copy
        $state apart
        d=$(seconds "$organ" assemble apart -o again --quiet)
        cmp -s model/model-00001-of-00002.safetensors again/model-00001-of-00002.safetensors
        rm -rf apart again
        echo "$a $b $c $d"
    done | tee rounds
    for column in 1 2 3 4; do cut -d ' ' -f $column rounds | sort -n | sed -n "$(((rounds + 1) / 2))p"; done | paste -sd ' ' | sed 's/^/median: /'
done
rm -rf model rounds
