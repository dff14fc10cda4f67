/* SPDX-License-Identifier: MIT
 * Broken roundings of inputs, and encoders of codes with wrong sums. */
#include "tests/kernels/kernel_mutants.h"
#include <math.h>
#include <string.h>

#define RIGHT organ_kernels_scalar

/* The scale of absmax / 127, which servers with an own kernel use. */
static void integers_by_127(const organ_rounding *r, const float *x, float *y, size_t n)
{
    organ_rounding other = *r;
    other.peak = r->high;
    RIGHT->round_integers(&other, x, y, n);
}
static void integers_without_zero_point(const organ_rounding *r, const float *x, float *y, size_t n)
{
    organ_rounding other = *r;
    other.zero = 0;
    RIGHT->round_integers(&other, x, y, n);
}
static void integers_symmetric(const organ_rounding *r, const float *x, float *y, size_t n)
{
    organ_rounding other = *r;
    other.asymmetric = 0;
    RIGHT->round_integers(&other, x, y, n);
}
static void e4m3_in_one_group(const organ_rounding *r, const float *x, float *y, size_t n)
{
    organ_rounding other = *r;
    other.group = r->group > 100 ? 0 : r->group;
    RIGHT->round_e4m3(&other, x, y, n);
}
static void e4m3_without_limit(const organ_rounding *r, const float *x, float *y, size_t n)
{
    organ_rounding other = *r;
    other.limit = 0;
    RIGHT->round_e4m3(&other, x, y, n);
}
static void e4m3_writes_behind(const organ_rounding *r, const float *x, float *y, size_t n)
{
    RIGHT->round_e4m3(r, x, y, n);
    memset(y + n, 0, n % 16 ? sizeof *y : 0);
}
/* Scales of MX that are rounded down. */
static void e2m1_rounds_scales_down(const organ_rounding *r, const float *x, float *y, size_t n)
{
    for (size_t at = 0; at < n; at += r->group ? r->group : n) {
        const size_t length = r->group && r->group < n - at ? r->group : n - at;
        int exponent = 0;
        float top = 0;
        for (size_t k = at; k < at + length; k++)
            top = fmaxf(top, fabsf(x[k]));
        organ_rounding other = *r;
        if (r->from == ORGAN_ROUNDING_E8M0 && top > 1e-30f && top < 1e30f && frexpf(top, &exponent) > 0) {
            other.from = ORGAN_ROUNDING_STORED;
            other.scale = ldexpf(1, exponent - 1 - r->below);
        }
        RIGHT->round_e2m1(&other, x + at, y + at, length);
    }
}
static void e2m1_without_factor(const organ_rounding *r, const float *x, float *y, size_t n)
{
    organ_rounding other = *r;
    other.factor = 1;
    RIGHT->round_e2m1(&other, x, y, n);
}

/* ---- codes with sums of errors ---- */
static void summed_forgets_rest(const float *values, const float *scales, size_t group, void *codes, size_t n,
                                double *sums)
{
    double rest[2];
    RIGHT->encode_summed[ORGAN_CODE_E2M1](values, scales, group, codes, n, sums);
    if (n % 32 > 16 && n < 32) {
        RIGHT->encode_summed[ORGAN_CODE_E2M1](values, scales, group, codes, 16, rest);
        sums[1] = rest[1];
        RIGHT->encode[ORGAN_CODE_E2M1](values, scales, group, codes, n);
    }
}
static void summed_trusts_zero_scales(const float *values, const float *scales, size_t group, void *codes, size_t n,
                                      double *sums)
{
    RIGHT->encode_summed[ORGAN_CODE_E4M3](values, scales, group, codes, n, sums);
    for (size_t k = 0; k < n; k++)
        if (values[k] == 0 && scales[k / group] == 0)
            ((uint8_t *)codes)[k] = 0;
}
static void summed_in_two_parts(const float *values, const float *scales, size_t group, void *codes, size_t n,
                                double *sums)
{
    const size_t half = n / (2 * group) * group;
    double first[2];
    RIGHT->encode_summed[ORGAN_CODE_I8](values, scales, group, codes, half, first);
    RIGHT->encode_summed[ORGAN_CODE_I8](values + half, scales + half / group, group, (uint8_t *)codes + half, n - half,
                                        sums);
    sums[0] += first[0];
    sums[1] += first[1];
}

#define MUTANT(member, function)                                                                                       \
    static void break_##function(organ_kernels *kernels) { kernels->member = function; }

MUTANT(round_integers, integers_by_127)
MUTANT(round_integers, integers_without_zero_point)
MUTANT(round_integers, integers_symmetric)
MUTANT(round_e4m3, e4m3_in_one_group)
MUTANT(round_e4m3, e4m3_without_limit)
MUTANT(round_e4m3, e4m3_writes_behind)
MUTANT(round_e2m1, e2m1_rounds_scales_down)
MUTANT(round_e2m1, e2m1_without_factor)
MUTANT(encode_summed[ORGAN_CODE_E2M1], summed_forgets_rest)
MUTANT(encode_summed[ORGAN_CODE_E4M3], summed_trusts_zero_scales)
MUTANT(encode_summed[ORGAN_CODE_I8], summed_in_two_parts)

const kernel_mutant input_mutants[] = {
    {"a scale of absmax / 127", check_rounded_goldens, break_integers_by_127},
    {"no zero point", check_rounded_goldens, break_integers_without_zero_point},
    {"symmetric codes of asymmetric inputs", check_rounded_goldens, break_integers_symmetric},
    {"one scale for all groups", check_rounded_inputs, break_e4m3_in_one_group},
    {"a scale beyond the limit", check_rounded_inputs, break_e4m3_without_limit},
    {"an input is written past the end", check_rounded_inputs, break_e4m3_writes_behind},
    {"scales of MX that are rounded down", check_rounded_goldens, break_e2m1_rounds_scales_down},
    {"scales without the stored factor", check_rounded_goldens, break_e2m1_without_factor},
    {"errors of the last values are not added", check_encode_shapes, break_summed_forgets_rest},
    {"zero over zero is zero", check_encode_shapes, break_summed_trusts_zero_scales},
    {"sums of two halves", check_encode_shapes, break_summed_in_two_parts},
};
const size_t input_mutant_count = sizeof input_mutants / sizeof *input_mutants;
