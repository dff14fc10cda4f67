# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154 # variables are for and of the scripts that read this in
# Functions for scripts that run the program as several processes. Such a script begins with `. "$(dirname "$0")/../kit/ranks_kit.sh"`, which reads
# tests/kit/cli_kit.sh as well.
. "$(dirname "${BASH_SOURCE[0]}")/cli_kit.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl=self,vader
# MPI frees its memory only when the process ends, so leaks are not checked.
[[ -n ${ASAN_OPTIONS:-} ]] && export ASAN_OPTIONS=${ASAN_OPTIONS/detect_leaks=1/detect_leaks=0}

# Ends the script if there is no launcher.
need_launcher() {
    if ! command -v mpirun >/dev/null || [[ ! -f $(dirname "$organ")/liborgan_mpi.so ]]; then
        echo "mpirun or mpicc is not installed: several processes were not run"
        unset MESSAGES # the suite has not said everything
        finish
    fi
}

threads=(--threads 1)
# ranks N CODE ARGS...: runs N processes of one thread each; the log of all of them is in ../err.
ranks() {
    here="mpirun -n $1 organ ${*:3}"
    mpirun -n "$1" "$organ" "${@:3}" "${threads[@]}" >../out 2>../err </dev/null
    code=$?
    if ((code == $2)); then good; else bad "ends with $code instead of $2" ../err; fi
}
# Prints the parts of a document and a directory that do not depend on the time and the number of ranks.
tells() { sed "s,some\([0-9]\),one\1,g" "$1" | jq "del(.run)"; }
holds() { find "$1" -type f ! -name '*.html' ! -name '*.md' ! -name '*.json' -printf '%P\n' | LC_ALL=C sort | (cd "$1" && xargs -r -d '\n' sha256sum); }

counts="2 3"
# same OUTPUT ARGS...: checks that each number of ranks in $counts makes the same output as one process.
same() {
    local output=$1 n
    run "${@:2}" -o "one$output" --json --quiet
    tells ../out >../one
    if ((code != 0)); then bad "ends with $code" ../err; fi
    for n in $counts; do
        ranks $n 0 "${@:2}" -o "some$output" --json --quiet
        if tells ../out | cmp -s - ../one; then good; else bad "$n ranks tell something else" <(tells ../out | diff - ../one); fi
        if [[ -d some$output ]]; then
            judge "$n ranks make other files" diff <(holds "one$output") <(holds "some$output")
        else
            judge "$n ranks make other bytes" cmp "one$output" "some$output"
        fi
        rm -rf some*
    done
}

# looked CODE ARGS...: checks that a verb without output prints the same with each number of ranks in $counts as with one.
looked() {
    local n
    run "${@:2}" --json --quiet
    tells ../out >../one
    if ((code != $1)); then bad "ends with $code" ../err; fi
    for n in $counts; do
        ranks $n "$@" --json --quiet
        if tells ../out | cmp -s - ../one; then good; else bad "$n ranks tell something else" <(tells ../out | diff - ../one); fi
    done
}

# Succeeds if no rank writes the output any more. After a signal the launcher may end before its ranks.
is_released() { [[ ! -d .new.organ-partial ]] || flock --nonblock .new.organ-partial true; }
released() { await is_released; }

# slowly N SIGNAL [RANK]: prunes with N ranks as $how says, and sends a signal to one of them (default: the last) after some more tensors have been
# written. If the run ends before the signal because this script was delayed, the run starts again.
lines() { cat .new.organ-partial/organ/journal*.jsonl 2>/dev/null | wc -l; }
more_lines() { (($(lines) > before + 2)) || is_over; }
slowly() {
    local runner before process tries
    here="mpirun -n $1, $2"
    for tries in 1 2 3 4 5; do
        before=$(lines)
        mpirun -n "$1" "$organ" prune tiny-qwen2 -o new --threads 1 "${how[@]}" --resume >../out 2>../err &
        runner=$!
        await more_lines
        for process in $(pgrep -P $runner); do
            if grep -qszx "OMPI_COMM_WORLD_RANK=${3:-$(($1 - 1))}" "/proc/$process/environ"; then kill -"$2" "$process"; fi
        done
        wait $runner
        code=$?
        released
        [[ -e new && $tries -lt 5 ]] || return
        echo "try $tries: the run was over before the signal"
        rm -rf new
    done
}
