#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compares the estimate of bench/scale.c with runs of one to four ranks of one thread. slow_disk.c delays their reads and writes as a slow disk
# would. bench_ranks.sh ORGAN MAKE_MODEL SCALE SLOW_DISK DIR [LINK SERVER], rates in bytes per second. Needs mpirun and 2 GB in DIR. Prints
# measured seconds, estimated seconds, and their ratio with its bar. With BENCH_SMOKE=1 in the environment, the model has 4 MB.
set -euo pipefail
organ=$1 make_model=$2 scale=$3 slow_disk=$4 area=$5 link=${6:-1e8} server=${7:-2.5e8} bar=1.15 missed=0
command -v mpirun >/dev/null || { echo "mpirun is not there" >&2; exit 2; }
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
mkdir -p "$area" && cd "$area"
rm -rf model out told clock
[[ $missed == 0 || -n ${BENCH_SMOKE:-} ]] # no bar applies to tiny models
if [[ -n ${BENCH_SMOKE:-} ]]; then "$make_model" model 2 1024 256 768 64; else "$make_model" model 12 32768 1024 2816 256; fi
export SLOW_DISK_LINK=$link SLOW_DISK_SERVER=$server SLOW_DISK_CLOCK=$PWD/clock SLOW_DISK_TOLD=$PWD/told

run() { # RANKS VERB...
    local ranks=$1 && shift
    if ((ranks == 1)); then
        LD_PRELOAD=$slow_disk "$organ" "$@" --threads 1 --quiet
    else
        mpirun -n "$ranks" -x LD_PRELOAD="$slow_disk" "$organ" "$@" --threads 1 --quiet
    fi >/dev/null
}

sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1
echo "a link of $link bytes/s for each rank, a server of $server bytes/s for all; $(du -sh model | cut -f 1) of model"
echo "verb, ranks: seconds, of the model, ratio; what each rank read and wrote"
for verb in measure prune; do
    case $verb in measure) what=(measure model --json) ;; prune) what=(prune model -o out) ;; esac
    for ranks in 1 2 3 4; do
        rm -rf out told
        head -c 16 /dev/zero >clock
        cat model/* >/dev/null
        start=${EPOCHREALTIME/[.,]/}
        run $ranks "${what[@]}"
        end=${EPOCHREALTIME/[.,]/}
        awk -v verb=$verb -v ranks=$ranks -v took=$((end - start)) -v model="$("$scale" check model "$link" "$server" $ranks $verb)" \
            -v told="$(paste -sd ';' told)" -v bar=$bar '
            BEGIN { took /= 1e6; r = took / model
                    printf "%s, %d: %.2f %.2f %.2f; %s   bar %.2f: %s\n", verb, ranks, took, model, r, told, bar, (r < bar && r > 1 / bar) ? "ok" : "missed"
                    exit !(r < bar && r > 1 / bar) }' || missed=1
    done
done
rm -rf model out told clock
