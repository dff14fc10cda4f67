# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# For the tests of packages and containers, which include it: counts, what is missing, and a root of Debian 12 in $root, which ends with the test.
. tests/kit/counts.sh
root=$scratch/root
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
