/* SPDX-License-Identifier: MIT
 * Kernels of differences from a base: their computation, their weighted sum with or without a vote of the signs, and a
 * search for values that are not finite. */
#include "kernels/simd/isa.h"
#ifdef ISA

/* NaN and infinite values have all bits of the exponent set. */
bool KERNEL(all_finite)(const float *values, size_t n)
{
    u32x16 largest[2] = {u32_set1(0), u32_set1(0)};
    size_t at = 0;
    for (; at + 32 <= n; at += 32) {
        largest[0] = u32_max(largest[0], u32_and(f32_bits(f32_load(values + at)), u32_set1(MAGNITUDE)));
        largest[1] = u32_max(largest[1], u32_and(f32_bits(f32_load(values + at + 16)), u32_set1(MAGNITUDE)));
    }
    for (; at < n; at += 16) {
        const f32x16 v = f32_load_part(values + at, n - at < 16 ? n - at : 16);
        largest[0] = u32_max(largest[0], u32_and(f32_bits(v), u32_set1(MAGNITUDE)));
    }
    return u32_top(u32_max(largest[0], largest[1])) < 0x7f800000;
}

void KERNEL(subtract)(const float *values, const float *base, size_t n, float *out)
{
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        f32_store(out + at, f32_sub(f32_load(values + at), f32_load(base + at)));
    if (at < n)
        f32_store_part(out + at, f32_sub(f32_load_part(values + at, n - at), f32_load_part(base + at, n - at)), n - at);
}

/* ---- weighted sums ---- */

/* Returns the 16 values of array k from `at` on, with the factors of the array. Reads at most `some`. */
INLINE f32x16 weighted(const organ_differences *d, size_t k, size_t at, size_t some)
{
    const float *const from = d->values + k * d->stride + at;
    const f32x16 v = some < 16 ? f32_load_part(from, some) : f32_load(from);
    return f32_mul(f32_mul(v, f32_set1(d->scales[k])), f32_set1(d->weights[k]));
}

INLINE f32x16 one_for_zero(f32x16 v)
{
    const m32x16 zero = u32_eq(u32_and(f32_bits(v), u32_set1(MAGNITUDE)), u32_set1(0));
    return f32_select(zero, f32_set1(1), v);
}

/* Adds up values whose sign is that of their sum. */
INLINE f32x16 vote(const organ_differences *d, size_t at, size_t some, f32x16 *divisor)
{
    f32x16 all = f32_set1(0), sum = all, weights = all;
    for (size_t k = 0; k < d->count; k++)
        all = f32_add(all, weighted(d, k, at, some));
    const f32x16 sign = f32_select(f32_ge(all, f32_set1(0)), f32_set1(1), f32_set1(-1));
    for (size_t k = 0; k < d->count; k++) {
        const f32x16 v = weighted(d, k, at, some);
        const m32x16 agrees = f32_gt(f32_mul(v, sign), f32_set1(0));
        sum = f32_add(sum, f32_of_bits(u32_keep(agrees, f32_bits(v))));
        weights = f32_add(weights, f32_of_bits(u32_keep(agrees, f32_bits(f32_set1(d->weights[k])))));
    }
    *divisor = one_for_zero(weights);
    return sum;
}

/* The vote of a single array: values other than 0 agree with their own sign, NaN do not. */
INLINE f32x16 vote_of_one(const organ_differences *d, size_t at, size_t some, f32x16 *divisor)
{
    const f32x16 v = weighted(d, 0, at, some);
    const m32x16 agrees = f32_gt(f32_of_bits(u32_and(f32_bits(v), u32_set1(MAGNITUDE))), f32_set1(0));
    *divisor = f32_select(agrees, one_for_zero(f32_set1(d->weights[0])), f32_set1(1));
    return f32_of_bits(u32_keep(agrees, f32_bits(v)));
}

enum sum_kind {
    ONE_VOTE, /* VOTE with a single model */
    VOTE,     /* the differences of the models whose signs win the vote */
    SUM       /* the differences of all models */
};

INLINE void merge_vectors(const organ_differences *d, const float *base, size_t n, float *out, const enum sum_kind kind)
{
    for (size_t at = 0; at < n; at += 16) {
        const size_t some = n - at < 16 ? n - at : 16;
        f32x16 sum = f32_set1(0), divisor = f32_set1(d->divisor);
        if (kind == ONE_VOTE)
            sum = vote_of_one(d, at, some, &divisor);
        else if (kind == VOTE)
            sum = vote(d, at, some, &divisor);
        else
            for (size_t k = 0; k < d->count; k++)
                sum = f32_add(sum, weighted(d, k, at, some));
        if (d->normalize)
            sum = f32_div(sum, divisor);
        const f32x16 from = some < 16 ? f32_load_part(base + at, some) : f32_load(base + at),
                     result = f32_add(from, f32_mul(sum, f32_set1(d->lambda)));
        if (some < 16)
            f32_store_part(out + at, result, some);
        else
            f32_store(out + at, result);
    }
}

/* The copy of *d is not changed by stores to `out`, so its members stay in registers. */
void KERNEL(merge_differences)(const organ_differences *d, const float *base, size_t n, float *out)
{
    const organ_differences own = *d;
    if (own.vote && own.count == 1)
        merge_vectors(&own, base, n, out, ONE_VOTE);
    else if (own.vote)
        merge_vectors(&own, base, n, out, VOTE);
    else
        merge_vectors(&own, base, n, out, SUM);
}

#endif
