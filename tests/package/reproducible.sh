#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds and installs this tree twice, in two places and with other users' settings, and compares every installed byte. It does not use a compiler cache.
# `ninja test-reproducible` calls it; takes some minutes of processor. Ends with the line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/kit/counts.sh
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
export CCACHE_DISABLE=1

# made PLACE VARIABLE=VALUE... -- JOBS: builds and installs into PLACE/to.
made() {
    local place=$scratch/$1
    mkdir -p "$place/tree" || return
    tar -c --null -T "$scratch/files" | tar -x -C "$place/tree" || return
    (cd "$place/tree" && umask "$2" && env "${@:4}" "${NINJA:-ninja}" -j "$3" && env "${@:4}" PREFIX=/usr DESTDIR="$place/to" "${NINJA:-ninja}" install) \
        >"$scratch/log" 2>&1
}
command -v git >/dev/null || { echo "not run: needs git" && exit 1; }
git ls-files -co --exclude-standard -z >"$scratch/files" || exit 1
made one 022 2 TZ=UTC LC_ALL=C HOME=/nonexistent SOURCE_DATE_EPOCH=1 || bad "$(tail -n 20 "$scratch/log")"
made elsewhere/and/deeper 002 1 TZ=Pacific/Kiritimati LC_ALL=C.UTF-8 HOME=/ USER=other LOGNAME=other SOURCE_DATE_EPOCH=1700000000 ||
    bad "$(tail -n 20 "$scratch/log")"
listing() { (cd "$1/to" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum && find . -type l -printf '%p -> %l\n' | LC_ALL=C sort); }
listing "$scratch/one" >"$scratch/a"
listing "$scratch/elsewhere/and/deeper" >"$scratch/b"
while read -r line; do
    if grep -qxF -- "$line" "$scratch/b"; then good; else bad "differs: $line"; fi
done <"$scratch/a"
if [[ $(wc -l <"$scratch/a") == "$(wc -l <"$scratch/b")" && -s $scratch/a ]]; then good; else bad "not the same files"; fi
if grep -q ' ./usr/bin/organ$' "$scratch/a"; then good; else bad "there is no program"; fi
grep -E ' ./usr/(bin/organ|lib/liborgan\.(a|so.*))$' "$scratch/a"
finish
