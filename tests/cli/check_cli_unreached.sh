#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests calibration of experts that few or no tokens reach: every calibrated verb, results and reports, threads, --all-experts.
. "$(dirname "$0")/../kit/cli_kit.sh"
ln -s "$(dirname "$model")/tiny-moe" tiny-moe

make_never never

text=(--calibration tiny-moe/calibration.txt --samples 4 --context 64 --quiet)
one=(--select 'model.layers.1.mlp.experts.5.*')
fell='.calibration.fallback == {"experts": 1, "layers": [{"layer": 1, "experts": [5]}], "names": ["layer 1: 5"]}'

# same NAME A B: checks that two outputs have the same weights.
same() { judge "$1" diff <(cd "$2" && cat ./*.safetensors | sha256sum) <(cd "$3" && cat ./*.safetensors | sha256sum); }

# ---- every method ----
for method in wanda sparsegpt alps physarum-v2 physarum-v3; do
    ends 0 prune never -o $method --method $method -s 50 "${text[@]}" "${one[@]}"
    judge "$method: the fallback is not in the document" jq -e "$fell" $method/organ/prune.json
    judge "$method: not on all tokens" jq -es 'map(.calibration_tokens == 256 and .fallback_experts == [5]) | length == 3 and all' $method/organ/prune.jsonl
    # An unreached expert is calibrated on all tokens of the layer, as with --all-experts; the layers before are equal.
    ends 0 prune never -o all-$method --method $method -s 50 --all-experts "${text[@]}" "${one[@]}"
    judge "$method: --all-experts falls back" jq -e '.calibration.all_experts and (.calibration | has("fallback") | not)' all-$method/organ/prune.json
    same "$method: the fallback is not a calibration on all tokens" $method all-$method
done
ends 0 prune never -o wanda --force --method wanda -s 50 "${text[@]}" --select 'model.layers.1.mlp.experts.*'
prints "Experts that fewer than 8 of the tokens reached: 4 (layer 1: 1, 2, 3, 5). They"
judge "the report does not list it" grep -q 'since fewer than 8 reached them.*layer 1: 1, 2, 3, 5' wanda/organ/REPORT.md
judge "the page does not list it" grep -q 'layer 1: 1, 2, 3, 5' wanda/organ/REPORT.html
judge "an expert has fewer than 8 tokens, or more than its own" \
    jq -es 'map(if has("fallback_experts") then .calibration_tokens == 256 else .calibration_tokens >= 8 and .calibration_tokens < 256 end) | length == 48 and all' wanda/organ/prune.jsonl
ends 0 prune never -o every --method wanda -s 50 --all-experts "${text[@]}" --select 'model.layers.1.mlp.experts.*'
judge "--all-experts leaves tokens out" jq -es 'map(.calibration_tokens == 256) | length == 48 and all' every/organ/prune.jsonl
prints "Every expert was calibrated on all tokens of its layer (--all-experts)."
ends 0 prune never -o none --method wanda -s 50 "${text[@]}" "${one[@]}" --dry-run

# quantize gives all routed experts of a layer one form, so expert 5 is compared by its entries.
all=(--select 'model.layers.1.mlp.experts.*')
of_5() { jq -c '.tensors[] | select(.tensor | test("layers[.]1[.]mlp[.]experts[.]5[.]")) | del(.fallback_experts)' "$1/organ/quantize.json"; }
four='.calibration.fallback.names == ["layer 1: 1, 2, 3, 5"]'
ends 0 quantize never -o codes --scheme int4-group32 --method gptq "${text[@]}" "${all[@]}"
judge "quantize: the fallback is not in the document" jq -e "$four" codes/organ/quantize.json
prints "Experts that fewer than 8 calibration tokens reached: 4 (layer 1: 1, 2, 3, 5)."
ends 0 quantize never -o all-codes --scheme int4-group32 --method gptq --all-experts "${text[@]}" "${all[@]}"
judge "quantize: expert 5 has no entries" test "$(of_5 codes | wc -l)" = 3
judge "quantize: the fallback is not a calibration on all tokens" diff <(of_5 codes) <(of_5 all-codes)
ends 0 prune never -o both --method sparsegpt -s 50 --then int4-group32 "${text[@]}" "${all[@]}"
judge "--then: the fallback is not in the document" jq -e "$four" both/organ/quantize.json
ends 0 prune never -o divided --method wanda --budget 50% --allocate global --allocate-tokens 64 --allocate-layers 2 --rounds 1 "${text[@]}" "${one[@]}"
judge "--allocate: the fallback is not in the document" jq -e "$fell" divided/organ/prune.json
ends 0 quantize never -o mixed --scheme mixed --method gptq --budget 4.5bpw --allocate global --allocate-tokens 64 --allocate-layers 2 "${text[@]}" "${all[@]}"
judge "mixed widths: the fallback is not in the document" jq -e "$four" mixed/organ/quantize.json

# ---- few tokens, and none for most experts ----
few=(--calibration tiny-moe/calibration.txt --samples 1 --context 12 --quiet)
ends 0 prune tiny-moe -o few --method sparsegpt -s 50 "${few[@]}" --threads 1
judge "too few tokens are not made up for" jq -es 'map(select(.expert != null and .calibration_tokens < 8)) == []' few/organ/prune.jsonl
ends 0 prune tiny-moe -o few-3 --method sparsegpt -s 50 "${few[@]}" --threads 3
same "threads change the bytes" few few-3
judge "threads change the fallback" diff <(jq .calibration.fallback few/organ/prune.json) <(jq .calibration.fallback few-3/organ/prune.json)

# ---- verbs and methods without calibration reject --all-experts ----
ends 2 prune tiny-moe -o x --method magnitude -s 50 --all-experts
says "--method magnitude"
ends 2 quantize tiny-moe -o x --scheme int4-group32 --all-experts
says "--all-experts"
finish
