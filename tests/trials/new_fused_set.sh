#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A trial (tests/check_trials.sh): changes a row of formats/tensor/fused.c; README, the page, the note of a run and evaluate change, and nothing else
# has to. Changes the sources in the current directory, a copy.
set -euo pipefail
organ=$PWD/build/organ model=$PWD/fixtures/tiny-qwen2 out=$(mktemp -d)
trap 'rm -r "$out"' EXIT
"$organ" quantize "$model" -o "$out/before" -s fp8-block128 2>"$out/note"
grep -q "q_proj, k_proj and v_proj\|gate_proj and up_proj" "$out/note"
"$organ" quantize "$model" -o "$out/tensor" -s fp8-tensor --quiet
score=(perplexity "$out/tensor" --text "$model/heldout.txt" --context 32 --max-tokens 32)
if "$organ" "${score[@]}" 2>&1 | grep "otherwise than these figures"; then exit 1; fi

sed -i 's/^    {\.parts = "gate_proj up_proj"},$/    {.parts = "up_proj o_proj down_proj"},/' formats/tensor/fused.c
"${NINJA:-ninja}" build/organ build/checks/served_tables
if tests/check_served.sh; then exit 1; fi
tests/check_served.sh --write
grep -q "up_proj, o_proj and down_proj" <(tr '\n' ' ' <README.md) # the text is wrapped
grep -q "^|up_proj, o_proj and down_proj|" docs/servers.md
"$organ" quantize "$model" -o "$out/after" -s fp8-block128 2>"$out/note"
grep -q "up_proj and down_proj\|up_proj, o_proj and down_proj" "$out/note"
jq -e '[.kept_sets.sets[].modules] | any(. == "up_proj, o_proj and down_proj")' "$out/after/organ/quantize.json"
"$organ" "${score[@]}" 2>&1 | grep "up_proj, o_proj and down_proj of"
