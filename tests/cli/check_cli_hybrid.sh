#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests verbs that run models on a trained model with recurrent layers (fixtures/tiny-hybrid). Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/ranks_kit.sh"

ln -s "$(dirname "$model")/tiny-hybrid" tiny-hybrid
text=tiny-qwen2/heldout.txt
calibration=(--calibration tiny-qwen2/calibration.txt --samples 24 --context 64)
nll_of() { "$organ" perplexity "$1" --text "$text" --max-tokens 4000 --context 256 --json "${@:2}" 2>/dev/null | jq '.models[0].figures.nll'; }
holds() { test "$(jq -n "$1")" = true; }

# ---- the likelihood is that of transformers ----
ends 0 perplexity tiny-hybrid --text "$text" --context 256 --max-error 0 --json
judge "the likelihood is not that of reference.json" \
    holds "$(jq .models[0].figures.nll ../out) - $(jq .context_256.nll tiny-hybrid/reference.json) | fabs < 1e-5"
judge "another number of tokens" \
    test "$(jq .run.batch_tokens ../out)" = "$(jq .context_256.scored_tokens tiny-hybrid/reference.json)"

# ---- the same bits on every instruction set and with any number of threads ----
short=$(nll_of tiny-hybrid --max-tokens 500)
judge "threads change the likelihood" test "$(nll_of tiny-hybrid --max-tokens 500 --threads 3)" = "$short"
judge "an instruction set changes the likelihood" test "$(ORGAN_ISA=scalar nll_of tiny-hybrid --max-tokens 500)" = "$short"
ends 0 generate tiny-hybrid --prompt "And God said" -n 8
cp ../out generated
ORGAN_ISA=scalar ends 0 generate tiny-hybrid --prompt "And God said" -n 8 --threads 1
judge "an instruction set changes a generated text" cmp -s ../out generated

# ---- calibrated verbs change the linear layers of recurrent mixers and none of their other tensors ----
for method in sparsegpt physarum-v3; do
    ends 0 prune tiny-hybrid -o "$method" --method "$method" --sparsity 50 "${calibration[@]}" --quiet
    ends 0 audit tiny-hybrid "$method" --refitted --quiet
done
judge "input projections are not pruned" \
    test "$(jq '[.tensors[] | select(.name | test("linear_attn.(in_proj|out_proj)"))] | length' physarum-v3/organ/prune.json)" -ge 9
judge "a small recurrent tensor is pruned" \
    test "$(jq '[.tensors[] | select(.name | test("A_log|dt_bias|conv1d|linear_attn.norm"))] | length' physarum-v3/organ/prune.json)" = 0
if ! in_part; then # numbers, of a whole model
    plain=$(nll_of tiny-hybrid)
    sparsegpt=$(nll_of sparsegpt)
    judge "physarum-v3 loses more than sparsegpt" holds "$(nll_of physarum-v3) - $plain < 0.8 * ($sparsegpt - $plain)"
    ends 0 quantize tiny-hybrid -o nearest --scheme int4-group32 --quiet
    ends 0 quantize tiny-hybrid -o gptq --scheme int4-group32 --method gptq "${calibration[@]}" --quiet
    judge "gptq loses more than nearest" holds "$(nll_of gptq) - $plain < 0.8 * ($(nll_of nearest) - $plain)"
fi

# ---- by several processes ----
need_launcher
ranks 3 0 prune tiny-hybrid -o ranked --method physarum-v3 --sparsity 50 "${calibration[@]}" --quiet
for file in physarum-v3/*.safetensors; do
    judge "three processes make other bytes in $file" cmp -s "$file" "ranked/${file#*/}"
done

finish
