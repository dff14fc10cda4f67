# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154 # variables of and for the scripts that read this in
# Functions for scripts that run the program with a fault at a given call. Read it in after cli_kit.sh.

# The sanitizer allocates through the library that refuses allocations, so it is preloaded as well.
asan=$(ldd "$organ" | sed -n 's/^.*libasan[^ ]* => \([^ ]*\) .*/\1/p')
[[ -n $asan ]] && export ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0"

# preload WHAT: preloads the library that makes calls of this kind fail. LeakSanitizer uses a thread that blocks the signal by which calls fail, so only the
# sweep of memory searches for leaks.
preload() {
    local library=${organ%/build/organ}/build/checks/fail_calls.so
    [[ $1 == memory ]] && library=${organ%/build/organ}/build/checks/refuse_memory.so
    echo "$library${asan:+:$asan}"
}

# faulty VARIABLE=VALUE... WORDS...: runs the words with these variables of tests/faults/preload.h, with output in $scratch/out and $scratch/err.
faulty() {
    local variables=()
    while [[ $1 == *=* ]]; do
        variables+=("$1")
        shift
    done
    [[ -n $asan ]] && variables+=("ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0")
    here="organ $*"
    { env "${variables[@]}" LD_PRELOAD="$(preload calls)" "$organ" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null; } 2>/dev/null
}

# count_changes WORDS...: runs the words, and sets $changes to the number of calls that changed files.
count_changes() {
    faulty ORGAN_FAULT_KILLS=1 ORGAN_FAULT_MAP="$scratch/map" "$@" || bad "the run fails" "$scratch/err"
    changes=$(($(od -A n -t u8 -N 8 "$scratch/map")))
}

# killed_at N WORDS...: runs the words and kills them before the call that would have been change N of files.
killed_at() {
    faulty ORGAN_FAULT_KILLS=1 ORGAN_FAULT_AT="$1" ORGAN_FAULT_KIND=11 "${@:2}"
    judge "was not killed before change $1 of files" test $? -gt 128
}
