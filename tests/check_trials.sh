#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Trials: each adds one thing to a copy of the sources and objects, in the way that its paragraph of CONTRIBUTING.md describes, builds it and uses
# it. A trial fails if it changes more files of formats, kernels, orchestrator and include than its row allows. Later trials build on earlier
# ones. TRIALS="verb encoder" runs only these. Ends with the line "N passed, N failed".
cd "$(dirname "$0")/.." || exit 1
. tests/kit/counts.sh

mkdir "$scratch/copy"
tar c --exclude=./.git --exclude=./build/{sanitize,whole,threads,neon,tests,objects,bench} . | tar x -C "$scratch/copy"
cd "$scratch/copy" || exit 1

product() { find formats kernels include orchestrator -type f -exec sha256sum {} + | sort -k 2; }

# trial NAME MOST COMMAND...: runs the command, which ends with status 0, and counts the files that it has changed or added.
trial() {
    local name=$1 most=$2 changed
    shift 2
    [[ -z ${TRIALS:-} || " $TRIALS " == *" $name "* ]] || return 1
    here="the trial of $name"
    product >../before
    # The copy includes the objects, so ninja compiles only what the trial changes.
    judge "fails" bash -c '"$@" >../log 2>&1 || { tail -n 20 ../log; exit 1; }' - "$@"
    judge "ninja has work to do" grep -q "no work to do" <("${NINJA:-ninja}" -n build/organ)
    changed=$(diff ../before <(product) | sed -n 's/^> [0-9a-f]*  //p')
    judge "changes more than $most files: ${changed//$'\n'/ }" test "$(wc -w <<<"$changed")" -le "$most"
}

# passes COMMAND...: runs a script that checks something and fails if it reports a failure.
passes() {
    here=$*
    "$@" >../log 2>&1
    judge "fails" test $? = 0
    if grep -q '^FAILED' ../log; then cat ../log; fi
}

# ---- a verb ----
verb=count-values
if trial verb 9 tests/new_verb.sh $verb; then
    judge "a verb is made twice" bash -c '! tests/new_verb.sh "$@" >../log 2>&1' - $verb
    judge "a name in capitals passes" bash -c '! tests/new_verb.sh Count >../log 2>&1'
    judge "ninja has work to do" grep -q "no work to do" <("${NINJA:-ninja}" -n build/organ build/liborgan.a build/liborgan.so)
    passes tests/check_house.sh
    passes tests/check_definitions.sh
    passes tests/package/check_abi.sh
    passes tests/check_pages.sh docs/verbs/$verb.md
    passes tests/verbs/${verb//-/_}/check_cli_${verb//-/_}.sh
    passes tests/report/schema/check_schema.sh
    passes tests/cli/check_cli_help.sh
    for sweep in disk memory donor; do passes env FAULT_VERBS=$verb MEMORY_VERBS=$verb tests/faults/check_${sweep}_verbs.sh; done
    here="the sweeps of faults"
    judge "do not name the verb" test "$(grep -lE "^sweep_[a-z]+ [0-9]+ $verb\$" tests/faults/*.sh | wc -l)" = 3
fi

# ---- one script each ----
# name, most files
tests/trials/without_encoder.sh
while read -r name most; do trial "$name" "$most" "tests/trials/new_$name.sh" </dev/null; done <<'TRIALS'
architecture 2
encoder 3
merge_method 2
mlx_type 1
fused_set 1
TRIALS
conclude
