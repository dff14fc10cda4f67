#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A trial (tests/check_trials.sh): adds an encoder for blocks of Q2_0, whose own one without_encoder.sh has removed, as the paragraph "An encoder of GGUF" of
# CONTRIBUTING.md says; builds it, quantises a model with it and dequantises the result. Changes the sources in the current directory, a copy.
set -euo pipefail
organ=build/organ out=$(mktemp -d)
trap 'rm -r "$out"' EXIT

# 1. The kernel and its name
cat >kernels/pair_encoders.c <<'C'
/* SPDX-License-Identifier: MIT
 * A quantiser to q2_0, whose codes of two bits stand for -1 to 2 times a scale. */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/encoders.h"
#include "kernels/half_floats.h"

static float within(float value) { return value > -0x1p30f ? (value < 0x1p30f ? value : 0x1p30f) : -0x1p30f; }

static int code_of(float value, float d)
{
    const float level = d != 0 ? value / d : 0;
    return level < -0.5f ? 0 : 1 + (level >= 0.5f) + (level >= 1.5f);
}

static float error_with(const float *values, const float *weights, float d)
{
    float sum = 0;
    for (int j = 0; j < 64; j++) {
        const float off = within(values[j]) - d * (float)(code_of(within(values[j]), d) - 1);
        sum += (weights ? weights[j] : 1) * off * off;
    }
    return sum;
}

/* Tries 16 scales of each sign, up to the largest magnitude. */
static float best_scale(const float *values, const float *weights)
{
    float far = 0, best = 0, least = error_with(values, weights, 0);
    for (int j = 0; j < 64; j++)
        far = __builtin_fabsf(within(values[j])) > far ? __builtin_fabsf(within(values[j])) : far;
    far = far > 65504 ? 65504 : far;
    for (int k = -16; k <= 16; k++) {
        const float d = far * (float)k / 16, error = error_with(values, weights, d);
        best = error < least ? d : best;
        least = error < least ? error : least;
    }
    return best;
}

void KERNEL(fit_q2_0)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    block_q2_0 *b = blocks;
    for (size_t k = 0; k < n; k++, b++, values += 64) {
        half_put(b->d, best_scale(values, weights ? weights + 64 * k % cols : NULL));
        memset(b->codes, 0, sizeof b->codes);
        for (int j = 0; j < 64; j++)
            b->codes[j / 4] |= (uint8_t)(code_of(within(values[j]), half_at(b->d)) << 2 * (j % 4));
    }
}
#endif
C
sed -i '/^kernels\/physarum.c\tisas/i kernels/pair_encoders.c\tisas\tscalar avx2 avx512 neon' packaging/source_flags.tsv
sed -i -E 's/^    QUANTIZED\(X, set\)  ( *)\\$/    QUANTIZED(X, set)  \1\\\n    X(set, Q2_0, q2_0) \1\\/' kernels/encoders.h

# 2. The scheme
sed -i -E 's/^    X\("q1_0", Q1_0, /    X("q2_0", Q2_0, 2, NULL, 41, false, "q2_0") \\\n&/' include/organ/schemes.h

# 3. Build, quantise, dequantise
tests/check_house.sh --write >/dev/null 2>&1 || true
"${NINJA:-ninja}" build/organ
model=fixtures/tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf
$organ quantize $model -o "$out/q2_0.gguf" -s Q2_0 --quiet
$organ quantize $model -o "$out/weighted.gguf" -s q2_0 --imatrix fixtures/imatrix/tiny-qwen2.gguf --quiet
$organ inspect "$out/q2_0.gguf" --json --quiet | jq -e 'any(.dtypes[]; .dtype == "Q2_0" and .tensors > 10)'
jq -e '.totals.relative_error > 0.2 and .totals.relative_error < 0.7' "$out/q2_0.quantize.json"
if cmp -s "$out/q2_0.gguf" "$out/weighted.gguf"; then exit 1; fi
for isa in scalar auto; do
    ORGAN_ISA=${isa/auto/} $organ quantize $model -o "$out/$isa.gguf" -s q2_0 --quiet
done
cmp "$out/scalar.gguf" "$out/auto.gguf"
$organ dequantize "$out/q2_0.gguf" -o "$out/plain.gguf" --quiet
$organ inspect "$out/plain.gguf" --json --quiet | jq -e 'all(.dtypes[]; .dtype != "Q2_0")'
grep -q "^q2_0" <($organ complete quantize --scheme q2)
if $organ quantize $model -o "$out/no.gguf" -s q2_0 --method gptq --calibration fixtures/tiny-qwen2/calibration.txt --quiet 2>"$out/err"; then exit 1; fi
grep -q "gptq has no scheme q2_0" "$out/err"
grep -q "did you mean 'q2_0'" <($organ quantize $model -o "$out/no.gguf" -s q2_00 2>&1)
