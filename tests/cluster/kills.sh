#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Kills a random rank at a random moment and resumes the run with another number of ranks, RUNS times (50) for each of two verbs. The result must
# have the bytes of one process, and before that nothing may exist under the final name. `ninja test-ranks` calls it; by hand:
# tests/cluster/kills.sh RUNS SEED. Ends with the line "N passed, N failed".
runs=${1:-50} seed=${2:-$RANDOM}
set --
. "$(dirname "$0")/../kit/ranks_kit.sh"
need_launcher
RANDOM=$seed
echo "seed $seed"

# Prints the processes of the launcher that are ranks.
members() { pgrep -P "$1" -x organ; }

# kills ARGS...: does this for prune with the arguments.
kills() {
    local k n m runner all killed=0 unfinished=0 before=$failed seconds
    run prune tiny-qwen2 -o whole "$@" --quiet
    seconds=${EPOCHREALTIME/[.,]/}
    ranks 3 0 prune tiny-qwen2 -o new "$@" --quiet
    seconds=$(((${EPOCHREALTIME/[.,]/} - seconds) / 1000))
    rm -rf new
    for ((k = 0; k < runs; k++)); do
        n=$((2 + RANDOM % 4)) m=$((1 + RANDOM % 5))
        ((m != n)) || m=$((n + 1))
        here="run $k: $n ranks, then $m"
        mpirun -n $n "$organ" prune tiny-qwen2 -o new "$@" --threads 1 --resume >../out 2>../err </dev/null &
        runner=$!
        sleep "$(awk "BEGIN { print $((RANDOM % 1000)) / 1e6 * $seconds }")"
        mapfile -t all < <(members $runner)
        if ((${#all[@]})) && kill -KILL "${all[RANDOM % ${#all[@]}]}" 2>/dev/null; then killed=$((killed + 1)); fi
        wait $runner
        released
        if [[ -d .new.organ-partial ]]; then unfinished=$((unfinished + 1)); fi
        if [[ -e new ]]; then good; else ranks $m 0 prune tiny-qwen2 -o new "$@" --resume --quiet; fi
        judge "it is not the same" diff <(holds whole) <(holds new)
        judge "journals are left" test -z "$(find new -name 'journal*')"
        rm -rf new .new.organ-partial
    done
    echo "$((failed == before ? runs : 0)) of $runs the same, $killed killed, $unfinished of them with something to go on with: prune $*"
    rm -rf whole
}
kills --iterations 600
kills --method physarum-v2 -s 50 --effort 10 --calibration tiny-qwen2/calibration.txt --samples 4 --context 32
finish
