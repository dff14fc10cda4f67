#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Measures the processor time of `organ merge` in multiples of that of the method linear, for a base and one tune: dense (every element
# changed), sparse (70 % of the elements equal), adapter (the projections of queries and values only). bench_merge.sh ORGAN MAKE_MODEL MAKE_TUNE DIR
# OUT [ROUNDS]. Each round runs all methods once; the table and OUT.json have the medians. The models have LAYERS layers (1) of Qwen2.5-7B's
# shapes, 0.48 GB each for 1; DIR needs four times that, and is best on tmpfs. OTHER=PROGRAM measures another organ in the same rounds, and compares
# the outputs. With BENCH_SMOKE=1 in the environment, models have 4 MB and there is one round.
set -euo pipefail
export LC_ALL=C
organ=$1 make_model=$2 make_tune=$3 area=$4 out=$5 rounds=${6:-${BENCH_SMOKE:-3}}
mkdir -p "$area"
rm -rf "$area"/{base,tune,merged,times}
if [[ -n ${BENCH_SMOKE:-} ]]; then "$make_model" "$area/base" 2 1024 256 768 64; else "$make_model" "$area/base" "${LAYERS:-1}" 1024; fi
TIMEFORMAT='%U %S'

methods=(linear slerp ties dare_ties breadcrumbs della)
options() {
    case $1 in
        linear) echo "$area/base $area/tune --method linear" ;;
        slerp) echo "$area/tune --base $area/base --method slerp --t 0.3" ;;
        ties | dare_ties | della) echo "$area/tune --base $area/base --method $1 --density 0.6" ;;
        breadcrumbs) echo "$area/tune --base $area/base --method $1 --density 0.6 --set gamma=0.05" ;;
    esac
}
# measure PROGRAM TUNE METHOD: adds a row with the processor time, and prints the digest of the weights.
measure() {
    rm -rf "$area/merged"
    local used words
    read -ra words <<<"$(options "$3")"
    used=$({ time "$1" merge "${words[@]}" -o "$area/merged" --quiet >/dev/null; } 2>&1)
    printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$(awk '{ printf "%.3f", $1 + $2 }' <<<"$used")" >>"$area/times"
    cat "$area"/merged/*.safetensors | md5sum
}

for tune in dense sparse adapter; do
    rm -rf "$area/tune"
    "$make_tune" "$area/base" "$area/tune" $tune 1
    for ((k = 0; k < rounds; k++)); do
        for method in "${methods[@]}"; do
            digest=$(measure "$organ" $tune "$method")
            if [[ -n ${OTHER:-} && $(measure "$OTHER" $tune "$method") != "$digest" ]]; then
                echo "$tune, $method: $OTHER writes other weights" >&2
                exit 1
            fi
        done
    done
done
# A row for each program, tune and method: the median of the seconds, and its ratio to that of linear.
sort -t $'\t' -k 1,3 -k 4,4n "$area/times" | awk -F '\t' -v rounds="$rounds" '
    { key = $1 "\t" $2 "\t" $3; if (++seen[key] == int((rounds + 1) / 2)) { middle[key] = $4; order[++rows] = key } }
    END { for (k = 1; k <= rows; k++) { split(order[k], part, "\t")
        printf "%s\t%.3f\t%.2f\n", order[k], middle[order[k]], middle[order[k]] / middle[part[1] "\t" part[2] "\tlinear"] } }' >"$area/rows"
cpu=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
echo "$cpu: processor seconds, multiple of linear"
awk -F '\t' '{ printf "%-10s%-12s%9.3f%8.2f  %s\n", $2, $3, $4, $5, $1 }' "$area/rows"
jq -R -n --arg cpu "$cpu" '{cpu: $cpu, results: [inputs / "\t" | {program: .[0], tune: .[1], method: .[2],
    processor_seconds: (.[3] | tonumber), multiple_of_linear: (.[4] | tonumber)}]}' "$area/rows" >"$out.json"
rm -rf "$area"/{base,tune,merged,times,rows}
