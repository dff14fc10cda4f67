#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks that the documents of prune, audit and topology have the members that their views use in conditions: a path that never exists makes a
# condition that is never true. The suites html_models and html_quality check the other views.
. "$(dirname "$0")/../kit/cli_kit.sh"

# document NAME STATUS ARGUMENTS...: runs the verb with --json and stores the document.
document() {
    local name=$1 status=$2
    shift 2
    ends "$status" "$@" --json --quiet
    cp ../out "$name.json"
}
# in_view NAME...: checks the documents of one view.
in_view() {
    here="conditions of $*"
    if "${organ%/organ}/checks/conditions" "${@/%/.json}" >conditions.log 2>&1; then good; else bad "some are about nothing" conditions.log; fi
}

text=(--calibration tiny-qwen2/calibration.txt --samples 4 --context 64)
document plain 0 prune tiny-qwen2 -o plain --evaluate tiny-qwen2/heldout.txt --evaluate-context 64 --evaluate-max-tokens 200
document dry 0 prune tiny-qwen2 -o dry --dry-run
document solved 0 prune tiny-qwen2 -o solved --method physarum-v2 "${text[@]}"
document sparse 0 prune tiny-qwen2 -o sparse --method sparsegpt -s 50 "${text[@]}"
document matrix 0 prune tiny-qwen2 -o matrix --method physarum-v2 --imatrix "${model%/*}/imatrix/tiny-qwen2.gguf"
divided=(prune tiny-qwen2 --method wanda -s 50 --select '*.v_proj.weight' "${text[@]}" --allocate global --allocate-tokens 64 --allocate-layers 3 --rounds 1)
document divided 0 "${divided[@]}" -o divided --allocation curves.json
document divided_dry 0 "${divided[@]}" -o divided_dry --allocation curves.json --dry-run
# Most experts get too few tokens, so each is calibrated on all tokens.
few=(prune "${model%/*}/tiny-moe" --method wanda -s 50 --calibration tiny-qwen2/calibration.txt --samples 1 --context 12)
document few 0 "${few[@]}" -o few
document every 0 "${few[@]}" -o every --all-experts
jq '.imatrix.fallback = input.calibration.fallback' matrix.json few.json >uncounted.json
in_view divided divided_dry plain dry solved sparse matrix few every uncounted

document exact 0 audit tiny-qwen2 plain
document changed 1 audit tiny-qwen2 sparse
document compensated 0 audit tiny-qwen2 sparse --refitted
in_view exact changed compensated

document here 0 topology
document there 0 topology --import "${model%/*}/topologies/hybrid.xml"
# check_cli_ranks.sh makes such a document with real ranks.
jq '.ranks = [0, 1 | {rank: ., host: "h", workers: 1, cpus: "0", nodes: "0"}]' here.json >many.json
in_view here there many

finish
