# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Functions for the tests of packages and containers: counts, missing programs, and a root of Debian 12 in $root that is removed at the end.
. tests/kit/counts.sh
root=$scratch/root
# need PROGRAM PACKAGE: ends the test if the program is missing.
need() { command -v "$1" >/dev/null || { echo "not run: $1 is missing (apt-get install $2)" && exit 1; }; }
# Makes the root, a copy of $ROOT or the result of debootstrap.
need_root() {
    ((EUID == 0)) || { echo "not run: needs root" && exit 1; }
    if [[ -n ${ROOT:-} ]]; then
        cp -a "$ROOT" "$root"
        return
    fi
    need debootstrap debootstrap
    debootstrap --variant=minbase bookworm "$root" >"$scratch/log" 2>&1 || { echo "not run: debootstrap fails:" && tail -n 5 "$scratch/log" && exit 1; }
}
