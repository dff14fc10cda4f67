#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Adds a verb with tests/new_verb.sh to a copy of the sources and objects. The verb builds and passes the checks of structure, definitions, help,
# its own script, its page and the sweeps of faults. Ends with the line "N passed, N failed".
cd "$(dirname "$0")/.." || exit 1
. tests/kit/counts.sh

verb=count-values
mkdir "$scratch/copy"
tar c --exclude=./.git --exclude=./build/{sanitize,whole,threads,neon,tests,objects,bench} . | tar x -C "$scratch/copy"
cd "$scratch/copy" || exit 1
here="tests/new_verb.sh"
# The copy includes the objects, so ninja compiles only what the new verb changes.
judge "fails" bash -c 'tests/new_verb.sh "$@" >../log 2>&1 || { tail -n 20 ../log; exit 1; }' - $verb
judge "a verb is made twice" bash -c '! tests/new_verb.sh "$@" >../log 2>&1' - $verb
judge "a name in capitals passes" bash -c '! tests/new_verb.sh Count >../log 2>&1'
judge "ninja has work to do" grep -q "no work to do" <("${NINJA:-ninja}" -n build/organ build/liborgan.a build/liborgan.so)

# passes COMMAND...: runs a script that checks something and fails if it reports a failure.
passes() {
    here=$*
    "$@" >../log 2>&1
    judge "fails" test $? = 0
    if grep -q '^FAILED' ../log; then cat ../log; fi
}
passes tests/check_house.sh
passes tests/check_definitions.sh
passes tests/package/check_abi.sh
passes tests/check_pages.sh docs/verbs/$verb.md
passes tests/cli/check_cli_${verb//-/_}.sh
passes tests/cli/check_cli_help.sh
for sweep in disk memory donor; do passes env FAULT_VERBS=$verb MEMORY_VERBS=$verb tests/faults/check_${sweep}_verbs.sh; done
here="the sweeps of faults"
judge "do not name the verb" test "$(grep -lE "^sweep_[a-z]+ [0-9]+ $verb\$" tests/faults/*.sh | wc -l)" = 3
conclude
