# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the scripts share that count what holds: a directory in $scratch that goes when they end, and `finish`, which prints the last line.
# What the tests ask is on this machine: a proxy that somebody uses for the rest would be asked for it.
export no_proxy='*' NO_PROXY='*'
passed=0
failed=0
scratch=$(mktemp -d) || exit 1
trap 'rm -rf --one-file-system "$scratch"' EXIT

good() { passed=$((passed + 1)); }
# bad WHAT [FILE]: a failure, with the beginning of a file that shows it; $here says where, if it is set.
bad() {
    printf 'FAILED %s%s\n' "${here:+$here: }" "$1"
    [[ -n ${2:-} ]] && head -n 40 "$2" | cut -c -300 | sed 's/^/    /'
    failed=$((failed + 1))
}
# judge WHAT COMMAND...: the fault is what is wrong if the command fails.
judge() { if "${@:2}"; then good; else bad "$1"; fi; }
# await COMMAND...: waits until the command succeeds, and fails where that has not come after ten minutes. Of all waits of the scripts: machines on
# which they run may be slow, and hold the program up while the script goes on, or the other way round.
await() {
    local waits
    for ((waits = 0; waits < 30000; waits++)); do
        "$@" && return
        sleep 0.02
    done
    return 1
}
# same WHAT FILE FILE: they have the same bytes.
same() { if diff "$2" "$3" >"$scratch/difference" 2>&1; then good; else bad "$1" "$scratch/difference"; fi; }

# The last line, and the exit code.
finish() { conclude; }
conclude() {
    printf '%d passed, %d failed\n' "$passed" "$failed"
    ((failed == 0))
    exit
}
