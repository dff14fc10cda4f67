#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compares `organ quantize` and `organ dequantize` with a bound on their speed: the longer of reading the input and of `cp -r && sync` of the
# output (in the page cache before). The runs alternate. bench_conversion.sh ORGAN MAKE_MODEL DIR [ROUNDS]. The model has 3.0 GB of BF16, its
# copy in FP8 with blocks of 128 x 128 has 1.6 GB; DIR needs 9 GB. Prints the seconds of each round, medians, the ratio with its bar and the
# largest resident set, with the input in the page cache and read from the disk. Ends with 1 if the bar is missed, which
# BAR in the environment may change. With BENCH_SMOKE=1 there, the model has 4 MB and there is one round.
set -euo pipefail
organ=$1 make_model=$2 area=$3 rounds=${4:-${BENCH_SMOKE:-5}} bar=${BAR:-1.05} missed=0
mkdir -p "$area" && cd "$area"
rm -rf plain model out copy
if [[ -n ${BENCH_SMOKE:-} ]]; then "$make_model" plain 2 1024 256 768 64; else "$make_model" plain 6 16384; fi
"$organ" quantize plain -o model --scheme fp8-block128 --quiet >/dev/null
sync

# seconds COMMAND...: prints the wall time of the command.
seconds() {
    local start=${EPOCHREALTIME/[.,]/}
    "$@" >/dev/null 2>&1
    local end=${EPOCHREALTIME/[.,]/}
    printf '%d.%03d' $(((end - start) / 1000000)) $(((end - start) / 1000 % 1000))
}
copy() { cp -r out copy && sync -f copy; }
# Reads the peak of the process's memory while it runs; the last value read is the result.
watched() {
    "$@" --quiet &
    while kill -0 $! 2>/dev/null; do
        sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' /proc/$!/status >>peaks 2>/dev/null || true
        sleep 0.05
    done
    wait $!
}
quantize() { watched "$organ" quantize plain -o out --scheme fp8-block128; }
dequantize() { watched "$organ" dequantize model -o out; }
# Removes a file from the page cache, or reads it into the cache.
forget() { find "$@" -type f -exec dd if={} iflag=nocache count=0 status=none ';'; }
recall() { find "$@" -type f -exec cat {} + >/dev/null; }
middle() { sort -n | sed -n "$(((rounds + 1) / 2))p"; }

# compare VERB INPUT STATE
compare() {
    echo "$1, $3 $2: $1, cp+sync of its output, reading its input, ratio to the longer of both"
    : >peaks
    for ((k = 0; k < rounds; k++)); do
        $3 "$2"
        a=$(seconds "$1")
        recall out
        b=$(seconds copy)
        rm -rf out copy
        sync
        $3 "$2"
        c=$(seconds recall "$2")
        awk -v a="$a" -v b="$b" -v c="$c" 'BEGIN { printf "%s %s %s %.3f\n", a, b, c, a / (b > c ? b : c) }'
    done | tee rounds
    for column in 1 2 3 4; do cut -d ' ' -f $column rounds | middle; done | paste -sd ' ' |
        awk -v bar="$bar" '{ printf "median: %s   bar %.2f: %s\n", $0, bar, $4 <= bar ? "ok" : "missed"; exit $4 > bar }' || missed=1
    echo "peak RSS: $(($(sort -n peaks | tail -n 1) / 1024)) MiB"
}

sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1
for state in recall forget; do
    compare quantize plain $state
    compare dequantize model $state
done
rm -rf plain model rounds peaks
[[ $missed == 0 || (-n ${BENCH_SMOKE:-} && -z ${BAR:-}) ]] # to tiny models only a bar of the caller applies
