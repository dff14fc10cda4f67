#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compares those tables of docs/history/findings.txt that contain no times with the program's output, and checks that every
# verdict of docs/history/findings.md is one of three. Ends with the line "N passed, N failed". `ninja findings` writes all tables again.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0
judge() {
    if "${@:2}" >"$scratch/log" 2>&1; then passed=$((passed + 1)); else
        printf '%s\n' "$1"
        head -n 40 "$scratch/log" | cut -c -200 | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

for name in arithmetic rate theta scale healthy premise; do
    judge "docs/history/findings.txt: the table '$name' is stale: ninja findings" docs/history/make_findings.sh --check "$name"
done
empty=$(awk '/^<!-- [a-z]+ -->$/ { name = $2; rows = 0 } /^\|/ { rows++ } /^<!-- \/[a-z]+ -->$/ { if (rows < 3) print name }' docs/history/findings.txt)
judge "docs/history/findings.txt: without rows: $empty" test -z "$empty"
open=$(sed -n '/^| claim | verdict |$/,/^$/p' docs/history/findings.md | tail -n +3 | grep '^|' | grep -cvE '\*\*(confirmed|refuted|open)\*\*')
judge "docs/history/findings.md: $open claims have no verdict" test "$open" -eq 0
# The check reports a table that differs from the program's output.
cp -r docs "$scratch/docs"
ln -s "$PWD/build" "$PWD/fixtures" "$scratch/"
sed -i 's/^| self_attn.q_proj | 4 | 2/| self_attn.q_proj | 4 | 3/' "$scratch/docs/history/findings.txt"
stale() { ! "$scratch/docs/history/make_findings.sh" --check rate; }
judge "a stale table is not found" stale
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
