#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compares the time and the peak memory of `organ quantize --scheme mixed --target-size` with those of GPTQ at one width, on a GGUF model
# with the shapes of a 7B model and random weights. bench_sizes.sh ORGAN MAKE_MODEL DIR FIXTURES [LAYERS]. FIXTURES has the tokenizer and
# the text of tiny-qwen2; DIR needs 8 GB at 6 layers. With BENCH_SMOKE=1 in the environment, the model has 3 MB.
# BENCH_FOR="SAMPLES CONTEXT" changes the text, BENCH_RUNS="q4_k mixed" the runs.
set -euo pipefail
export LC_ALL=C
organ=$1 make_model=$2 area=$3 fixtures=$4 layers=${5:-${BENCH_SMOKE:-6}} bar=3 missed=0
shape=(2048 4096 11008 4096 1)
if [[ -n ${BENCH_SMOKE:-} ]]; then shape=(2048 256 512 256 1) BENCH_FOR=${BENCH_FOR:-2 64}; fi
read -r samples context <<<"${BENCH_FOR:-128 512}"
mkdir -p "$area" && cd "$area"
rm -rf model ./*.gguf ./*.json
"$make_model" model "$layers" "${shape[@]}"
for file in tokenizer.json tokenizer_config.json vocab.json merges.txt generation_config.json; do cp "$fixtures/$file" model; done
"$organ" convert model -o plain.gguf --to gguf --quiet >/dev/null
rm -rf model
sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1
echo "plain.gguf: $layers layers, $(stat -c %s plain.gguf) bytes; $samples windows of $context tokens; $(nproc) threads"

# measured NAME COMMAND...: prints wall seconds, processor seconds and peak memory of the command; keeps the wall seconds in NAME.seconds.
measured() {
    local name=$1 peak=0 pid start=${EPOCHREALTIME/[.,]/} now
    shift
    "$@" >"$name.out" 2>"$name.err" &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status" 2>/dev/null) || true
        cpu=$(cut -d ' ' -f 14,15 "/proc/$pid/stat" 2>/dev/null) || true
        [[ ${now:-0} -gt $peak ]] && peak=$now
        [[ $cpu ]] && ticks=$((${cpu/ /+}))
        sleep 0.05
    done
    wait "$pid" || { tail -n 5 "$name.err"; return 1; }
    now=${EPOCHREALTIME/[.,]/}
    echo "$(((now - start) / 1000))" >"$name.seconds"
    printf '%-6s %8.1f s  %8.1f s of processor  %6d MiB at most  %12d bytes\n' "$name" "$(((now - start) / 1000000)).$(((now - start) / 100000 % 10))" \
        "$((ticks / $(getconf CLK_TCK)))" "$((peak / 1024))" "$(stat -c %s "$name.gguf")"
}

text=(--calibration "$fixtures/calibration.txt" --samples "$samples" --context "$context")
size=$(($(stat -c %s plain.gguf) / 4)) # 4 bits per weight
for run in ${BENCH_RUNS:-q4_k iq3_s mixed}; do
    case $run in
        mixed) measured mixed "$organ" quantize plain.gguf -o mixed.gguf --scheme mixed --target-size $size "${text[@]}" ;;
        *) measured "$run" "$organ" quantize plain.gguf -o "$run.gguf" --scheme "$run" --method gptq "${text[@]}" ;;
    esac
done
for run in ${BENCH_RUNS:-q4_k iq3_s mixed}; do
    [[ $run == mixed || ! -e mixed.seconds ]] && continue
    ratio=$(awk -v a="$(cat mixed.seconds)" -v b="$(cat "$run.seconds")" 'BEGIN { printf "%.2f", a / b }')
    awk -v run="$run" -v ratio="$ratio" -v bar=$bar 'BEGIN { printf "mixed / %s: %s of the time, bar %d: %s\n", run, ratio, bar, ratio <= bar ? "ok" : "missed"; exit ratio > bar }' ||
        missed=1
done
grep -h "types for\|curves took" mixed.err || true
rm -rf ./*.gguf
[[ $missed == 0 || -n ${BENCH_SMOKE:-} ]] # no bar applies to tiny models
