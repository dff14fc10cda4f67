#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# tests/trials/new_merge_method.sh: adds the merge method `largest` as "A merge method" in CONTRIBUTING.md describes, builds it, merges a model with
# its negative, and checks the values and that help, completion and recipes have the method. tests/check_trials.sh runs it in a copy of the tree.
set -euo pipefail
cd "$(dirname "$0")/../.."

# ---- the two files ----
sed -i 's/^    METHOD(linear) \\$/&\n    METHOD(largest) \\/' include/organ/merge_methods.h
cat >orchestrator/surgery/merge/merge_largest.c <<'C'
/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/merge/merge_parts.h"

#include <math.h>

static void largest_apply(const organ_merge_task *task, const void *state, const organ_merge_strip *strip, float *out)
{
    (void)state;
    for (size_t i = 0; i < organ_merge_strip_values(strip); i++) {
        out[i] = strip->input[0][i];
        for (size_t k = 1; k < task->inputs; k++)
            out[i] = fmaxf(out[i], strip->input[k][i]);
    }
}

const organ_merge_method organ_merge_largest = {
    .name = "largest",
    .about = "the largest value of the models",
    .base = ORGAN_MERGE_BASE_INPUT,
    .least = 1,
    .apply = largest_apply,
};
C
tests/check_house.sh --write >/dev/null 2>&1 || true # the objects are not there yet
"${NINJA:-ninja}" build/organ

# ---- its use ----
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
organ=build/organ donor=fixtures/tiny-qwen2
# values FILE: prints the BF16 values of the tensors of a file, as numbers of 16 bits.
values() { tail -c "+$(($(od -An -tu8 -N8 "$1") + 9))" "$1" | od -An -v -w2 -tu2; }
$organ merge $donor --method passthrough --set scale=-1 -o "$scratch/negative.safetensors" --quiet
$organ merge $donor "$scratch/negative.safetensors" --method largest -o "$scratch/merged.safetensors" --quiet
# The larger one of a number and its negative is its absolute value, without the sign bit; -0 counts as 0.
cmp <(values "$scratch/merged.safetensors" | awk '{ print $1 == 32768 ? 0 : $1 }') <(values "$scratch/negative.safetensors" | awk '{ print $1 % 32768 }')
printf 'merge_method: largest\nmodels:\n  - model: %s\n' "$PWD/$donor" >"$scratch/recipe.yaml"
$organ merge "$scratch/recipe.yaml" -o "$scratch/same.safetensors" --quiet
$organ help merge | grep -w largest >/dev/null
$organ complete merge --method larg | grep -w largest >/dev/null
status=0
$organ merge $donor --method larges -o "$scratch/none" --quiet 2>"$scratch/message" || status=$?
[[ $status == 2 ]] && grep -w "'largest'" "$scratch/message" >/dev/null
