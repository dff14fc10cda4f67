#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds the wheel twice, installs it in a fresh virtual environment without a network and tries it there (wheel_use.py). `ninja test-wheel` builds
# build/organ-static first; needs python3-venv. Ends with the line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/kit/counts.sh
program=$PWD/build/organ-static dynamic=$PWD/build/organ

wheel=$(packaging/wheel/build.py "$program" "$scratch/a") || { bad "the wheel is not built"; finish; }
again=$(packaging/wheel/build.py "$program" "$scratch/b") || bad "the wheel is not built a second time"
judge "two builds have other bytes" cmp "$wheel" "$again"
judge "the name of the wheel has another version" grep -qF "organ-$("$program" version | awk 'NR == 1 { print $2 }')-py3-none-manylinux" <<<"${wheel##*/}"

# refuses WHAT WORDS PROGRAM: checks that no wheel is written and that the message contains the words.
refuses() {
    if packaging/wheel/build.py "$3" "$scratch/c" >"$scratch/log" 2>&1; then bad "$1: accepted"; else good; fi
    judge "$1: another message" grep -qF "$2" "$scratch/log"
    judge "$1: a file is left" test -z "$(ls "$scratch/c" 2>/dev/null)"
}
refuses "the dynamic program" "loads its libraries from this machine; the wheel takes build/organ-static" "$dynamic"
refuses "a script" "no 64-bit little-endian ELF file" tests/package/wheel.sh

if ! python3 -m venv "$scratch/venv" >"$scratch/log" 2>&1; then
    bad "no virtual environment (python3-venv)" "$scratch/log"
    finish
fi
python=$scratch/venv/bin/python
if "$python" -m pip install --no-index --no-cache-dir "$wheel" >"$scratch/log" 2>&1; then good; else bad "pip install" "$scratch/log"; fi
same "python -m organ is another program" <("$python" -m organ version) <("$program" version)
same "the command organ is another program" <("$scratch/venv/bin/organ" version) <("$program" version)
strip -o "$scratch/stripped" "$program"
judge "the wheel has another program" cmp "$scratch"/venv/lib/python3*/site-packages/organ/bin/organ "$scratch/stripped"
"$python" -m organ inspect nothing >"$scratch/log" 2>&1
judge "python -m organ has another exit code" test $? -eq 4
judge "the module has other options of several values than the program" diff \
    <(sed -n 's/^_TAKES = {\(.*\)}.*/\1/p' packaging/wheel/organ/__init__.py) \
    <(awk -F'"' '/WORDS\("/ { name = $2 } match($0, /[.]takes = [0-9]+/) { print "\"" name "\": " substr($0, RSTART + 9, RLENGTH - 9) }' orchestrator/cli/verb_*.c | paste -sd, | sed 's/,/, /g')
judge "the module has more than 200 lines" test "$(cat packaging/wheel/organ/*.py | wc -l)" -le 200

if "$python" -I tests/package/wheel_use.py "$PWD/fixtures" "$scratch" >"$scratch/log" 2>&1; then good; else bad "the module" "$scratch/log"; fi
passed=$((passed + $(grep -c '^ok ' "$scratch/log")))
"$dynamic" measure fixtures/tiny-qwen2 --json --quiet 2>/dev/null | jq -S 'del(.run)' >"$scratch/there"
judge "organ.run gives another document than organ measure --json" diff "$scratch/there" <(jq -S 'del(.run)' "$scratch/measure.json")

"$python" -m pip uninstall -y organ >"$scratch/log" 2>&1
judge "uninstalling leaves files" test -z "$(find "$scratch/venv" -iname '*organ*')"
finish
