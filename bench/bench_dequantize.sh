#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `organ dequantize` of an FP8 model against `cp -r && sync` of what it writes, in turn: bench_dequantize.sh ORGAN MAKE_MODEL DIR [ROUNDS]. The
# model has blocks of 128 x 128 and 1.6 GB, its output 3.0 GB; DIR needs room for three times that. Prints seconds of each round, medians, the
# ratio and the largest resident set that was seen, with the model in the page cache and read from the disk.
set -euo pipefail
organ=$1 make_model=$2 area=$3 rounds=${4:-5}
mkdir -p "$area" && cd "$area"
rm -rf plain model out copy
"$make_model" plain 6 16384
"$organ" quantize plain -o model --scheme fp8-block128 --quiet >/dev/null
rm -rf plain
sync

# seconds COMMAND...: how long it takes.
seconds() {
    local start=${EPOCHREALTIME/[.,]/}
    "$@" >/dev/null 2>&1
    local end=${EPOCHREALTIME/[.,]/}
    printf '%d.%03d' $(((end - start) / 1000000)) $(((end - start) / 1000 % 1000))
}
copy() { cp -r out copy && sync -f copy; }
# The peak of its memory so far is read as long as it runs; the last value is what counts.
dequantize() {
    "$organ" dequantize model -o out --quiet &
    while kill -0 $! 2>/dev/null; do
        sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' /proc/$!/status >>peaks 2>/dev/null || true
        sleep 0.05
    done
    wait $!
}
# Out of the page cache, or into it.
forget() { find "$@" -type f -exec dd if={} iflag=nocache count=0 status=none ';'; }
recall() { find "$@" -type f -exec cat {} + >/dev/null; }
middle() { sort -n | sed -n "$(((rounds + 1) / 2))p"; }

for state in recall forget; do
    echo "$state: dequantize, cp+sync of its output, ratio"
    : >peaks
    for ((k = 0; k < rounds; k++)); do
        $state model
        a=$(seconds dequantize)
        recall out
        b=$(seconds copy)
        rm -rf out copy
        sync
        awk -v a="$a" -v b="$b" 'BEGIN { printf "%s %s %.2f\n", a, b, a / b }'
    done | tee rounds
    for column in 1 2 3; do cut -d ' ' -f $column rounds | middle; done | paste -sd ' ' | sed 's/^/median: /'
    echo "peak RSS: $(($(sort -n peaks | tail -n 1) / 1024)) MiB"
done
rm -rf model rounds peaks
