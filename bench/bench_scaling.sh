#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Measures how organ's speed grows with threads on this machine. bench_scaling.sh ORGAN TOOLS DIR NAME writes NAME.tsv and draws NAME.svg.
# TOOLS is the folder of make_model, forward, products, layer_slice and draw_scaling; DIR gets the models and must be empty or missing.
#
# Rows: prune (physarum-v1), quantize to int4-group128 and fp8-block128 and measure of a model of 7B layer shapes, next to one `cp` and one `cp` for each
# shard side by side; the forward pass with exact products and with bf16, if the CPU has it, of a quarter of 0.5B shapes; a matrix of 896 rows and at most
# 4,736 columns by SparseGPT, GPTQ and physarum-v3; products on one core. Each row runs with 1, 2, 4, ... threads and with all of them, in three alternating rounds, of
# which the table has the medians. A short first run with one thread chooses the size of each row, within a third of the free memory and disk, so that all
# rows take at most $BENCH_SECONDS (540). If a row needs longer than its share, its last rounds are left out; the column `rounds` says so.
# With BENCH_SMOKE=1 in the environment, the sizes are tiny and there is one round. Needs jq.
set -euo pipefail
export LC_ALL=C
organ=$1 tools=$2 area=$3 name=$4 smoke=${BENCH_SMOKE:-}
budget=${BENCH_SECONDS:-540} rounds=3
for tool in jq awk xargs; do
    command -v $tool >/dev/null || { echo "bench_scaling.sh: $tool is not installed" >&2 && exit 2; }
done
mkdir -p "$area"
[[ -z $(ls -A "$area") ]] || { echo "bench_scaling.sh: $area is not empty" >&2 && exit 2; }
area=$(cd "$area" && pwd) name=$(cd "$(dirname "$name")" && pwd)/$(basename "$name")
trap 'rm -rf "$area"/{wide,small,out,copy,work}' EXIT
mkdir "$area/work"
work=$area/work
cpu=$(sed -n -e 's/^model name[[:space:]]*: //p' -e 's/^CPU part[[:space:]]*: /CPU part /p' /proc/cpuinfo | head -n 1)
cores=$("$organ" topology --json | jq .threads)
[[ -n $smoke ]] && rounds=1 cores=2
counts=(1)
for ((n = 2; n < cores; n *= 2)); do counts+=("$n"); done
((cores > 1)) && counts+=("$cores")

calculate() { awk "BEGIN { printf(\"%.6g\", $1) }"; }
whole() { awk "BEGIN { x = $1; printf(\"%d\", x < $2 ? $2 : (x > $3 ? $3 : x)) }"; } # whole VALUE LEAST MOST
# What a row takes in all, as a multiple of one run with one thread, if it scales as badly as to 0.7 of linear.
load=$(printf '%s\n' "${counts[@]}" | awk -v rounds=$rounds '{ s += 1 / (0.3 + 0.7 * $1) } END { print s * rounds }')
# Seconds that one run with one thread may take in a row that has a share of the budget.
target() { calculate "$budget * $1 / $load"; }

# timed COMMAND...: sets $wall and $processor to the seconds of the command, whose output goes to $work/said.
timed() {
    local TIMEFORMAT='%R %U %S' user system
    { time "$@" >"$work/said" 2>"$work/complaint" || { cat "$work/complaint" >&3 && echo "bench_scaling.sh: failed: $*" >&3 && exit 4; }; } 3>&2 2>"$work/times"
    read -r wall user system <"$work/times"
    processor=$(calculate "$user + $system")
}

# ---- one run of each row: sets $wall, $processor and $parts, the shares of the workers' time ----
none=$'-\t-\t-\t-\t-\t-'
verb() { # verb THREADS WORDS...
    rm -rf "$area/out"
    sync -f "$area"
    timed "$organ" "${@:2}" --threads "$1" --quiet --json
    parts=$(jq -r '.run.activity | [.computing_share, .reading_share, .writing_share, .waiting_share, .one_thread_share, .one_thread_processor_share] | @tsv' "$work/said")
    rm -rf "$area/out"
}
prune() { verb "$1" prune "$area/wide" -o "$area/out"; }
int4() { verb "$1" quantize "$area/wide" -o "$area/out" --scheme int4-group128; }
fp8() { verb "$1" quantize "$area/wide" -o "$area/out" --scheme fp8-block128; }
measure() { verb "$1" measure "$area/wide"; }
copy_one() { cp -r "$area/wide" "$area/copy" && sync -f "$area/copy"; }
copy_all() {
    mkdir "$area/copy"
    find "$area/wide" -type f -print0 | xargs -0 -n 1 -P "$cores" cp -t "$area/copy"
    sync -f "$area/copy"
}
cp_one() { rm -rf "$area/copy" && sync -f "$area" && timed copy_one && parts=$none && rm -rf "$area/copy"; }
cp_all() { rm -rf "$area/copy" && sync -f "$area" && timed copy_all && parts=$none && rm -rf "$area/copy"; }
# Times of the programs below leave out what they do before and after the work.
forward() { # forward THREADS COMPUTE WINDOWS
    timed "$tools/forward" "$area/small" "$context" "$3" "$1" "$2"
    read -r wall processor < <(jq -r '[.tokens / .tokens_per_second, .tokens / .tokens_per_processor_second] | map(. * 1e4 | round / 1e4) | "\(.[0]) \(.[1])"' "$work/said")
    parts=$none
}
exact() { forward "$1" exact "$windows"; }
bf16() { forward "$1" bf16 "$windows"; }
slice() { # slice THREADS METHOD INPUTS
    timed "$tools/layer_slice" "$work/slice" "$2" "$3" "$slice_rows" "$slice_tokens" "$1"
    read -r wall processor < <(jq -r '.methods[0] | [.seconds, .cpu_seconds] | map(. * 1e4 | round / 1e4) | "\(.[0]) \(.[1])"' "$work/slice")
    parts=$'-\t-\t-\t-\t-\t'$(jq '.methods[0].serial_share * 1e4 | round / 1e4' "$work/slice")
}
sparsegpt() { slice "$1" sparsegpt "$inputs"; }
gptq() { slice "$1" gptq "$inputs"; }
v3() { slice "$1" physarum-v3 "$inputs"; }

# ---- rows ----
printf '%s\t' row size unit threads rounds seconds processor_seconds speed computing reading writing waiting one_thread one_thread_processor >"$work/table"
printf 'cpu\n' >>"$work/table"
middle() { sort -g | awk '{ x[NR] = $1 } END { print NR % 2 || x[1] == "-" ? x[int((NR + 1) / 2)] : (x[NR / 2] + x[NR / 2 + 1]) / 2 }'; }
column() { awk -F '\t' -v row="$1" -v threads="$2" -v at="$3" '$1 == row && $2 == threads { print $at }' "$work/runs" | middle; }
# run_once ROW THREADS: appends a line to the runs.
run_once() {
    "$1" "$2"
    printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$wall" "$processor" "$parts" >>"$work/runs"
}
# row_of ROW LABEL SIZE UNIT THREADS: appends the medians of a row with these threads to the table.
row_of() {
    local n seconds speed k serial=
    n=$(awk -F '\t' -v row="$1" -v threads="$5" '$1 == row && $2 == threads' "$work/runs" | wc -l)
    seconds=$(column "$1" "$5" 3)
    [[ $parts_known == no ]] || serial=$(column "$1" "$5" 10)
    speed=$(calculate "$3 / $seconds")
    {
        printf '%s\t' "$2" "$3" "$4" "$5" "$n" "$seconds" "$(column "$1" "$5" 4)" "$speed"
        for k in 5 6 7 8 9 10; do if [[ $parts_known == yes ]]; then printf '%s\t' "$(column "$1" "$5" $k)"; else printf -- '-\t'; fi; done
        printf '%s\n' "$cpu"
    } >>"$work/table"
    echo "$2, $5 threads: $seconds s, $speed $4 a second, $(column "$1" "$5" 4) s of processor time${serial:+, $serial of it by one thread}"
}
processes() { if [[ $1 == cp_one ]]; then echo 1; else echo "$cores"; fi; }
# measured SHARE LABEL SIZE UNIT ROW [FURTHER...]: the rounds of a row, then its lines. A FURTHER command runs in each round too.
measured() {
    local share=$1 label=$2 size=$3 unit=$4 row=$5 further=("${@:6}") k n other began=$SECONDS
    parts_known=no
    : >"$work/runs"
    for ((k = 0; k < rounds; k++)); do
        ((k == 0)) || awk "BEGIN { exit !(($SECONDS - $began) * ($k + 1) / $k < $budget * $share * 1.3) }" || break
        for other in "${further[@]}"; do run_once "$other" "$(processes "$other")"; done
        for n in "${counts[@]}"; do run_once "$row" "$n"; done
    done
    for other in "${further[@]}"; do row_of "$other" "$other" "$size" "$unit" "$(processes "$other")"; done
    [[ $parts == "$none" ]] || parts_known=yes
    for n in "${counts[@]}"; do row_of "$row" "$label" "$size" "$unit" "$n"; done
}

echo "$cpu: ${counts[*]} threads"
# ---- files ----
wide=(3584 18944 512) vocabulary=8192
[[ -z $smoke ]] || { wide=(256 768 64) && vocabulary=512; }
"$tools/make_model" "$area/wide" 1 "$vocabulary" "${wide[@]}" 1
bytes_of() { find "$1" -name '*.safetensors' -printf '%s\n' | awk '{ b += $1 } END { printf "%d", b }'; }
layer=$(bytes_of "$area/wide")
prune 1
free=$(awk '/^MemAvailable:/ { printf "%d", $2 * 1024 }' /proc/meminfo)
disk=$(df --output=avail -B1 "$area" | tail -n 1)
layers=$(whole "$(calculate "($(target .3)) / $wall")" 1 "$(whole "(($free < $disk ? $free : $disk) / 3 + 1) / $layer / 2" 1 32)")
[[ -z $smoke ]] || layers=2
if ((layers > 1)); then
    rm -rf "$area/wide"
    "$tools/make_model" "$area/wide" "$layers" "$vocabulary" "${wide[@]}" 1
fi
size=$(bytes_of "$area/wide")
measured .3 "prune physarum-v1" "$size" bytes prune cp_one cp_all
measured .08 "quantize int4-group128" "$size" bytes int4
measured .08 "quantize fp8-block128" "$size" bytes fp8
measured .08 "measure" "$size" bytes measure
rm -rf "$area/wide"

# ---- forward pass ----
context=256 windows=1 small=(896 4864 128) layers=6 vocabulary=37984
[[ -z $smoke ]] || { small=(896 1024 128) && vocabulary=512 layers=2 context=64; }
"$tools/make_model" "$area/small" $layers $vocabulary "${small[@]}"
forward 1 exact 1
[[ -n $smoke ]] || windows=$(whole "$(calculate "($(target .1)) / $wall")" 1 256)
measured .1 "forward exact" $((windows * context)) tokens exact
code=0
"$tools/forward" "$area/small" "$context" 1 1 bf16 >"$work/said" 2>&1 || code=$?
if ((code == 0)); then
    [[ -n $smoke ]] || windows=$(whole "$(calculate "($(target .06)) * $(jq '.tokens_per_second' "$work/said") / $context")" 1 256)
    measured .06 "forward bf16" $((windows * context)) tokens bf16
elif ((code != 77)); then # 77: this CPU has no such instructions
    cat "$work/said" >&2 && exit 4
fi
rm -rf "$area/small"

# ---- a small matrix ----
# Processor time grows with inputs^2 (tokens + rows) for the sums of products and with inputs^3 / 3 for the factor.
slice_rows=896 slice_tokens=4096
[[ -z $smoke ]] || { slice_rows=32 && slice_tokens=512; }
least=1024 most=$(whole "sqrt($free / 3 / 32)" 1024 4736)
[[ -z $smoke ]] || { least=256 && most=256; }
# sized METHOD SHARE: sets $inputs for a row that has this share of the budget, from a run with the least size.
sized() {
    slice 1 "$1" $least
    inputs=$(awk -v taken="$wall" -v limit="$(target "$2")" -v least=$least -v most="$most" -v more=$((slice_tokens + slice_rows)) '
        function work(n) { return n * n * (more + n / 3) }
        BEGIN { for (n = least; n + 128 <= most && taken * work(n + 128) / work(least) <= limit; n += 128) {} print n }')
}
sized sparsegpt .09 && measured .09 "SparseGPT" $((inputs * slice_rows)) weights sparsegpt
sized gptq .1 && measured .1 "GPTQ int4-group128" $((inputs * slice_rows)) weights gptq
sized physarum-v3 .1 && measured .1 "physarum-v3" $((inputs * slice_rows)) weights v3

# ---- products on one core ----
"$tools/products" "$work/products" >/dev/null
jq -r '.results[] | [.compute, .isa, .gigaflops] | @tsv' "$work/products" | while IFS=$'\t' read -r compute isa rate; do
    printf '%s\t' "products $compute ($isa)" 1 gigaflops 1 1 "$(calculate "1 / $rate")" "$(calculate "1 / $rate")" "$rate" - - - - - - >>"$work/table"
    printf '%s\n' "$cpu" >>"$work/table"
    echo "products, $compute ($isa): $rate GF/s"
done
mv "$work/table" "$name.tsv"
"$tools/draw_scaling" "$name.tsv" "$name.svg"
echo "$name.tsv and $name.svg, in $SECONDS s"
