/* SPDX-License-Identifier: MIT
 * Quantiser to q2_k with a search for scales and minima (organ_fit_blocks). */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/fit_levels.h"
#include "kernels/half_floats.h"

/* The parameters of a block with 16 groups of 16 values, one in each lane. A value with code q decodes to d scale q -
 * dmin minimum, where scale and minimum are codes of the group from 0 to 15. */
typedef struct fit_q2 {
    float d, dmin; /* exact F16 values */
    f32x16 scales, minima;
} fit_q2;

#define FIT_Q2_TOP  3.0f
#define FIT_Q2_CODE 15.0f
enum { FIT_Q2_ROUNDS = 2 };

INLINE f32x16 fit_q2_scale(const fit_q2 *q) { return f32_mul(f32_set1(q->d), q->scales); }
INLINE f32x16 fit_q2_minimum(const fit_q2 *q) { return fit_negative(f32_mul(f32_set1(q->dmin), q->minima)); }

/* Sums over the values of a group from the k-th smallest on: of the weights, and of weight x value. */
typedef struct fit_q2_ends {
    f32x16 w[17], x[17];
} fit_q2_ends;

/* Sorts the values of each group by odd-even transposition, and their weights with them. */
SHARED void fit_q2_sort(const fit_groups *g, fit_q2_ends *ends)
{
    f32x16 x[16], w[16];
    for (int k = 0; k < 16; k++) {
        x[k] = f32_load(g->values[k]);
        w[k] = f32_load(g->weights[k]);
    }
    for (int round = 0; round < 16; round++)
        for (int k = round % 2; k < 15; k += 2) {
            const f32x16 first = x[k], second = x[k + 1], of_first = w[k], of_second = w[k + 1];
            const m32x16 wrong = f32_gt(first, second);
            x[k] = f32_select(wrong, second, first);
            x[k + 1] = f32_select(wrong, first, second);
            w[k] = f32_select(wrong, of_second, of_first);
            w[k + 1] = f32_select(wrong, of_first, of_second);
        }
    ends->w[16] = ends->x[16] = f32_set1(0);
    for (int k = 15; k >= 0; k--) {
        ends->w[k] = f32_add(ends->w[k + 1], w[k]);
        ends->x[k] = f32_fma(w[k], x[k], ends->x[k + 1]);
    }
}

/* If the best line for codes with the sums q, qq and qx is better than *best, replaces it. Where its m would be above
 * 0, m is 0. w and x are the sums of the weights and of weight x value.
 * With m: s = (w qx - x q) / (w qq - q^2) = over / under, m = (x - s q) / w; with m = 0: s = qx / qq. m is below 0 if
 * s q > x. */
INLINE void fit_q2_take(f32x16 w, f32x16 x, f32x16 inverse_w, f32x16 q, f32x16 qq, f32x16 qx, fit_line *best)
{
    const f32x16 zero = f32_set1(0);
    const f32x16 over = f32_sub(f32_mul(w, qx), f32_mul(x, q)), under = f32_sub(f32_mul(w, qq), f32_mul(q, q));
    const m32x16 below =
        m32_and(m32_and(f32_gt(over, zero), f32_gt(under, zero)), f32_ge(f32_mul(over, q), f32_mul(x, under)));
    const f32x16 s = f32_div(f32_select(below, over, qx), f32_select(below, under, qq));
    const f32x16 gain =
        f32_select(below, f32_fma(s, f32_mul(over, inverse_w), f32_mul(x, f32_mul(x, inverse_w))), f32_mul(s, qx));
    const m32x16 better = m32_and(f32_gt(s, zero), f32_gt(gain, best->gain));
    best->s = f32_select(better, s, best->s);
    best->m = f32_select(better, f32_select(below, f32_mul(f32_fnma(s, q, x), inverse_w), zero), best->m);
    best->gain = f32_select(better, gain, best->gain);
}

/* Returns for each group the line with the least weighted squared error. The codes of the sorted values never fall, so
 * the best line is among those that least squares gives for each choice of the first values with code 1, 2 and 3.
 * Squares of the codes are sums of 1, 3 and 5: 1, 1 + 3, 1 + 3 + 5. */
SHARED fit_line fit_q2_line(const fit_groups *g)
{
    fit_q2_ends ends;
    const f32x16 zero = f32_set1(0), three = f32_set1(3), five = f32_set1(5);
    fit_q2_sort(g, &ends);
    const f32x16 w = ends.w[0], x = ends.x[0], inverse_w = f32_div(f32_set1(1), w), mean = f32_mul(x, inverse_w);
    fit_line best = {.s = zero, .m = f32_select(f32_gt(mean, zero), zero, mean)};
    best.gain = f32_mul(best.m, f32_fnma(best.m, w, f32_add(x, x)));
    for (int one = 0; one < 16; one++)
        for (int two = one; two <= 16; two++) {
            const f32x16 q = f32_add(ends.w[one], ends.w[two]), qq = f32_fma(three, ends.w[two], ends.w[one]),
                         qx = f32_add(ends.x[one], ends.x[two]);
            for (int top = two; top <= 16; top++)
                fit_q2_take(w, x, inverse_w, f32_add(q, ends.w[top]), f32_fma(five, ends.w[top], qq),
                            f32_add(qx, ends.x[top]), &best);
        }
    return best;
}

/* The numbers that are tried for the quotient of the greatest s and d, and of the greatest -m and dmin. */
enum { FIT_Q2_UNITS = 16 };
INLINE float fit_q2_unit(int number) { return 15.5f - 0.5f * (float)number; }

/* The error of a group for a line with scale s and offset -m, in excess of the error of its best line:
 * curve x (s - best s)^2 + w x (-m - target)^2. `target` is the best -m for this s: depth + (s - best s) x slope. */
typedef struct fit_q2_loss {
    f32x16 s, depth, slope, curve, w;
} fit_q2_loss;

INLINE f32x16 fit_q2_target(const fit_q2_loss *loss, f32x16 off) { return f32_fma(off, loss->slope, loss->depth); }

/* Sets errors[16 i + j] to the error of the block with quotient i of d and quotient j of dmin. */
INLINE void fit_q2_unit_errors(const fit_q2_loss *loss, float top, float bottom, float *errors)
{
    _Alignas(64) float rows[FIT_Q2_UNITS * 16];
    const f32x16 shares = f32_mul(loss->s, fit_inverse(f32_set1(top)));
    for (int i = 0; i < FIT_Q2_UNITS; i++) {
        const float unit = fit_q2_unit(i);
        const f32x16 code = fit_code(f32_mul(shares, f32_set1(unit)), 0, FIT_Q2_CODE),
                     off = f32_mul(f32_sub(f32_mul(code, f32_set1(1 / unit)), shares), f32_set1(top)),
                     base = f32_mul(f32_mul(loss->curve, off), off), target = fit_q2_target(loss, off);
        for (int j = 0; j < FIT_Q2_UNITS; j++) {
            const f32x16 dmin = f32_set1(bottom / fit_q2_unit(j)),
                         minimum = fit_code(f32_mul(target, fit_inverse(dmin)), 0, FIT_Q2_CODE),
                         lost = f32_fnma(minimum, dmin, target);
            f32_store(rows + 16 * j, f32_fma(f32_mul(loss->w, lost), lost, base));
        }
        f32_store(errors + 16 * i, f32_fold_rows(rows));
    }
}

/* Chooses d and dmin with the least sum of the errors of all groups. */
INLINE void fit_q2_begin(const fit_groups *g, fit_q2 *q)
{
    float errors[FIT_Q2_UNITS * FIT_Q2_UNITS];
    fit_moments sums;
    const fit_line line = fit_q2_line(g);
    const f32x16 inverse = fit_inverse(line.s);
    fit_q2_loss loss = {.s = line.s, .depth = fit_negative(line.m)};
    fit_weigh(g, &sums);
    fit_moments_of(g, inverse, f32_mul(loss.depth, inverse), FIT_Q2_TOP, &sums);
    loss.w = sums.w;
    loss.slope = f32_div(sums.q, sums.w);
    loss.curve = f32_fnma(sums.q, loss.slope, sums.qq);
    const float top = f32_reduce_max(loss.s), bottom = f32_reduce_max(loss.depth);
    fit_q2_unit_errors(&loss, top, bottom, errors);
    const int best = fit_least(errors, FIT_Q2_UNITS * FIT_Q2_UNITS);
    q->d = fit_half(top / fit_q2_unit(best / FIT_Q2_UNITS));
    q->dmin = fit_half(bottom / fit_q2_unit(best % FIT_Q2_UNITS));
    q->scales = fit_code(f32_mul(loss.s, fit_inverse(f32_set1(q->d))), 0, FIT_Q2_CODE);
    const f32x16 target = fit_q2_target(&loss, f32_sub(fit_q2_scale(q), loss.s));
    q->minima = fit_code(f32_mul(target, fit_inverse(f32_set1(q->dmin))), 0, FIT_Q2_CODE);
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
            const f32x16 error = fit_line_error(g, fit_q2_scale(&next), fit_q2_minimum(&next), FIT_Q2_TOP);
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
        q->d = fit_half(d);
    if (dmin > 0)
        q->dmin = fit_half(dmin);
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
        if (weights)
            fit_favour_large(&g, 16);
        fit_q2_begin(&g, &q);
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
