/* SPDX-License-Identifier: MIT
 * Quantiser to q2_k with a search for scales and minima (organ_fit_blocks). */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/fit.h"
#include "kernels/half.h"

/* The parameters of a block with 16 groups of 16 values, one in each lane. A value with code q decodes to d scale q -
 * dmin minimum, where scale and minimum are codes of the group from 0 to 15. */
typedef struct fit_q2 {
    float d, dmin; /* exact F16 values */
    f32x16 scales, minima;
} fit_q2;

#define FIT_Q2_TOP  3.0f
#define FIT_Q2_CODE 15.0f
enum { FIT_Q2_ROUNDS = 2 };
static const fit_tries fit_q2_lines = {7, -1.2f, 0.3f};

INLINE f32x16 fit_q2_scale(const fit_q2 *q) { return f32_mul(f32_set1(q->d), q->scales); }
INLINE f32x16 fit_q2_minimum(const fit_q2 *q) { return fit_negative(f32_mul(f32_set1(q->dmin), q->minima)); }

/* The error is that of s q + m, each with the nearest code q. */
INLINE f32x16 fit_q2_error(const fit_groups *g, f32x16 s, f32x16 m)
{
    const f32x16 inverse = fit_inverse(s), shift = f32_mul(fit_negative(m), inverse);
    f32x16 sum = f32_set1(0);
    for (int k = 0; k < 16; k++) {
        const f32x16 x = f32_load(g->values[k]), q = fit_code(f32_fma(x, inverse, shift), 0, FIT_Q2_TOP),
                     lost = f32_fnma(s, q, f32_sub(x, m));
        sum = f32_fma(f32_mul(f32_load(g->weights[k]), lost), lost, sum);
    }
    return sum;
}

INLINE float fit_q2_half(float value)
{
    uint8_t stored[2];
    return fit_put_half(stored, value);
}

INLINE void fit_q2_begin(const fit_line *line, fit_q2 *q)
{
    const f32x16 depth = fit_negative(line->m);
    q->d = fit_q2_half(f32_reduce_max(line->s) / FIT_Q2_CODE);
    q->dmin = fit_q2_half(f32_reduce_max(depth) / FIT_Q2_CODE);
    q->scales = fit_code(f32_mul(line->s, fit_inverse(f32_set1(q->d))), 0, FIT_Q2_CODE);
    q->minima = fit_code(f32_mul(depth, fit_inverse(f32_set1(q->dmin))), 0, FIT_Q2_CODE);
}

/* Tries both codes of each group, each changed by at most 1, with d and dmin fixed, and keeps the pair with
 * the least error; among equals, the first. */
INLINE void fit_q2_codes(const fit_groups *g, fit_q2 *q)
{
    const fit_q2 before = *q;
    f32x16 least = f32_set1(FIT_MAX_ERROR);
    for (int i = -1; i <= 1; i++)
        for (int j = -1; j <= 1; j++) {
            fit_q2 next = before;
            next.scales = fit_code(f32_add(before.scales, f32_set1((float)i)), 0, FIT_Q2_CODE);
            next.minima = fit_code(f32_add(before.minima, f32_set1((float)j)), 0, FIT_Q2_CODE);
            const f32x16 error = fit_q2_error(g, fit_q2_scale(&next), fit_q2_minimum(&next));
            const m32x16 better = f32_gt(least, error);
            least = f32_select(better, error, least);
            q->scales = f32_select(better, next.scales, q->scales);
            q->minima = f32_select(better, next.minima, q->minima);
        }
}

/* Refits d and dmin by weighted least squares with all codes fixed; docs/definitions/gguf.md has the equations. */
INLINE void fit_q2_solve(const fit_groups *g, fit_q2 *q)
{
    fit_moments all;
    const f32x16 inverse = fit_inverse(fit_q2_scale(q)), down = fit_negative(q->minima);
    fit_weigh(g, &all);
    fit_moments_of(g, inverse, f32_mul(fit_negative(fit_q2_minimum(q)), inverse), FIT_Q2_TOP, &all);
    const float dd = f32_fold(f32_mul(f32_mul(q->scales, q->scales), all.qq)),
                dm = f32_fold(f32_mul(f32_mul(q->scales, down), all.q)),
                mm = f32_fold(f32_mul(f32_mul(down, down), all.w)), dx = f32_fold(f32_mul(q->scales, all.qx)),
                mx = f32_fold(f32_mul(down, all.x)), determinant = dd * mm - dm * dm;
    const int both = determinant > 0x1p-20f * (dd * mm);
    const float alone = dd > 0 ? (dx - dm * q->dmin) / dd : 0;
    const float d = both ? (mm * dx - dm * mx) / determinant : alone;
    const float dmin = both ? (dd * mx - dm * dx) / determinant : 0;
    if (d > 0)
        q->d = fit_q2_half(d);
    if (dmin > 0)
        q->dmin = fit_q2_half(dmin);
}

/* Byte j of each half has codes j, j + 32, j + 64 and j + 96 of 128, two bits each. */
INLINE void fit_q2_store_codes(uint8_t *to, const uint8_t *codes)
{
    for (int half = 0; half < 2; half++)
        for (int j = 0; j < 2; j++) {
            const uint8_t *const from = codes + 128 * half + 16 * j;
            const u8x16 low = u8_or(u8_load(from), u8_sll(u8_load(from + 32), 2)),
                        high = u8_or(u8_sll(u8_load(from + 64), 4), u8_sll(u8_load(from + 96), 6));
            u8_store(to + 32 * half + 16 * j, u8_or(low, high));
        }
}

void KERNEL(fit_q2_k)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    block_q2_k *b = blocks;
    fit_groups g = {.size = 16};
    for (size_t at = 0; at < n; at++, b++) {
        uint8_t codes[256];
        fit_q2 q;
        fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, 16);
        const fit_line line = fit_best_line(&g, FIT_Q2_TOP, &fit_q2_lines, 1);
        fit_q2_begin(&line, &q);
        for (int round = 0; round < FIT_Q2_ROUNDS; round++) {
            fit_q2_codes(&g, &q);
            fit_q2_solve(&g, &q);
        }
        const f32x16 inverse = fit_inverse(fit_q2_scale(&q));
        fit_put_codes(&g, inverse, f32_mul(fit_negative(fit_q2_minimum(&q)), inverse), 0, FIT_Q2_TOP, 0, codes);
        u8_store(b->scales, u8_or(s8_of_f32(q.scales), u8_sll(s8_of_f32(q.minima), 4)));
        fit_q2_store_codes(b->codes, codes);
        fit_put_half(b->d, q.d);
        fit_put_half(b->dmin, q.dmin);
    }
}

#endif
