# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Functions for all test scripts: they count checks, make a directory $scratch that is removed at the end, and `finish` prints the last line.
# The tests connect to this machine only, so requests must not go to a proxy.
export no_proxy='*' NO_PROXY='*'
passed=0
failed=0
scratch=$(mktemp -d) || exit 1
trap 'rm -rf --one-file-system "$scratch"' EXIT

good() { passed=$((passed + 1)); }
# bad WHAT [FILE]: counts a failure and prints it with the first lines of the file. $here, if set, names the place.
bad() {
    printf 'FAILED %s%s\n' "${here:+$here: }" "$1"
    [[ -n ${2:-} ]] && head -n 40 "$2" | cut -c -300 | sed 's/^/    /'
    failed=$((failed + 1))
}
# judge WHAT COMMAND...: counts a success if the command succeeds, else the failure WHAT.
judge() { if "${@:2}"; then good; else bad "$1"; fi; }
# await COMMAND...: waits until the command succeeds, and fails after ten minutes. All waits of the scripts use it, because a slow machine may delay
# the program or the script by any time.
await() {
    local waits
    for ((waits = 0; waits < 30000; waits++)); do
        "$@" && return
        sleep 0.02
    done
    return 1
}
# same WHAT FILE FILE: checks that both files have the same bytes.
same() { if diff "$2" "$3" >"$scratch/difference" 2>&1; then good; else bad "$1" "$scratch/difference"; fi; }

# Prints the last line and exits.
finish() { conclude; }
conclude() {
    printf '%d passed, %d failed\n' "$passed" "$failed"
    ((failed == 0))
    exit
}
