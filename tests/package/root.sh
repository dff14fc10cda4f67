# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# For the tests of packages and containers, which include it: counts, what is missing, and a root of Debian 12 in $root, which ends with the test.
scratch=$(mktemp -d) || exit 1
root=$scratch/root
passed=0
failed=0
trap 'rm -rf --one-file-system "$scratch"' EXIT
good() { passed=$((passed + 1)); }
bad() {
    printf '%s\n' "$1"
    [[ -n ${2:-} ]] && tail -n 40 "$2" | cut -c -200 | sed 's/^/    /'
    failed=$((failed + 1))
}
finish() {
    printf '%d passed, %d failed\n' "$passed" "$failed"
    ((failed == 0))
}
# need PROGRAM PACKAGE
need() { command -v "$1" >/dev/null || { echo "not run: $1 is missing (apt-get install $2)" && exit 1; }; }
# A copy of $ROOT, or what debootstrap fetches.
need_root() {
    ((EUID == 0)) || { echo "not run: needs root" && exit 1; }
    if [[ -n ${ROOT:-} ]]; then
        cp -a "$ROOT" "$root"
        return
    fi
    need debootstrap debootstrap
    debootstrap --variant=minbase bookworm "$root" >"$scratch/log" 2>&1 || { echo "not run: debootstrap fails:" && tail -n 5 "$scratch/log" && exit 1; }
}
