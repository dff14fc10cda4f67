/* SPDX-License-Identifier: MIT
 * Searches the scales of 16 groups of values at once, one group in each lane; "weighted" means by the importance of
 * each value. docs/definitions/gguf.md defines which scales are tried and in which order sums over a group are
 * computed. */
#include "kernels/half.h"

enum { FIT_MAX = 32 }; /* values in a group, at most */

/* Values and their weights: row k contains value k of each of the 16 groups. */
typedef struct fit_groups {
    float values[FIT_MAX][16], weights[FIT_MAX][16];
    int size; /* values in a group: 16 or 32 */
} fit_groups;

/* Values beyond this magnitude are replaced by it; it exceeds the range of all block types. */
#define FIT_FARTHEST 0x1p30f
/* Groups whose values (or, for lines, their range) do not exceed this get scale 0, since F16 cannot store their scale.
 */
#define FIT_NEAREST   0x1p-26f
#define FIT_MIN       0x1p-60f  /* scales up to this magnitude have inverse 0 */
#define FIT_ROUNDS    0x1.8p23f /* fit_code adds and subtracts it to round to a whole number */
#define FIT_ANY_ERROR 0x1p126f  /* above every error of a group */

/* Returns 0 - a: +0 for a zero. */
INLINE f32x16 fit_negative(f32x16 a) { return f32_sub(f32_set1(0), a); }

/* Returns |a|. */
INLINE f32x16 fit_magnitude(f32x16 a) { return f32_of_bits(u32_and(f32_bits(a), u32_set1(MAGNITUDE))); }

/* Returns the nearest whole number, ties to even, between `low` and `high`. Adding 1.5 x 2^23 rounds, because 1 is
 * then the unit in the last place. */
INLINE f32x16 fit_code(f32x16 a, float low, float high)
{
    const f32x16 within = f32_max(f32_min(a, f32_set1(high)), f32_set1(low)), rounds = f32_set1(FIT_ROUNDS);
    return f32_sub(f32_add(within, rounds), rounds);
}

/* Returns 1 / a, or 0 if |a| is not above FIT_MIN. */
INLINE f32x16 fit_inverse(f32x16 a)
{
    const m32x16 some = f32_gt(fit_magnitude(a), f32_set1(FIT_MIN));
    return f32_select(some, f32_div(f32_set1(1), f32_select(some, a, f32_set1(1))), f32_set1(0));
}

/* Clamps to +-FIT_FARTHEST; a NaN becomes -FIT_FARTHEST. */
INLINE f32x16 fit_bounded(f32x16 a)
{
    const f32x16 max = f32_set1(FIT_FARTHEST), least = f32_set1(-FIT_FARTHEST),
                 above = f32_select(f32_gt(a, least), a, least);
    return f32_select(f32_gt(max, above), above, max);
}

/* Transposes 16 x 16 values in four steps of interleaving rows k and k + 8. */
INLINE void fit_transpose(f32x16 rows[16])
{
    f32x16 next[16];
    for (int step = 0; step < 4; step++) {
        UNROLL for (int k = 0; k < 8; k++)
        {
            next[2 * k] = f32_zip_low(rows[k], rows[k + 8]);
            next[2 * k + 1] = f32_zip_high(rows[k], rows[k + 8]);
        }
        UNROLL for (int k = 0; k < 16; k++) rows[k] = next[k];
    }
}

/* Loads the first `count` groups of `values` into a lane each, and zeros into the other lanes. The first value is in
 * column `col` of rows of `cols` values; `weights` has one weight for each column, for all rows (NULL: all 1). */
INLINE void fit_load(fit_groups *g, const float *values, const float *weights, size_t col, size_t cols, int count)
{
    f32x16 rows[2][16];
    for (int from = 0; from < g->size; from += 16) {
        size_t at = col;
        for (int l = 0; l < 16; l++) {
            rows[0][l] = l < count ? fit_bounded(f32_load(values + l * g->size + from)) : f32_set1(0);
            rows[1][l] = l < count && weights ? f32_load(weights + at + from) : f32_set1(1);
            at += (size_t)g->size;
            at = at == cols ? 0 : at;
        }
        fit_transpose(rows[0]);
        if (weights)
            fit_transpose(rows[1]);
        for (int k = 0; k < 16; k++) {
            f32_store(g->values[from + k], rows[0][k]);
            f32_store(g->weights[from + k], rows[1][k]);
        }
    }
}

/* Sets *low and *high to the least and the greatest value of each group. */
INLINE void fit_range(const fit_groups *g, f32x16 *low, f32x16 *high)
{
    *low = *high = f32_load(g->values[0]);
    for (int k = 1; k < g->size; k++) {
        const f32x16 x = f32_load(g->values[k]);
        *low = f32_select(f32_gt(*low, x), x, *low);
        *high = f32_select(f32_gt(x, *high), x, *high);
    }
}

/* ---- codes around zero: x is approximated by s q ---- */

/* How fit_scale searches the scale of a type. */
typedef struct fit_symmetric {
    float low, high;   /* least and largest code */
    int tries;         /* number of scales to try: entries of `becomes` in use */
    float becomes[16]; /* try t maps the value of largest magnitude to becomes[t], which may be between two codes */
} fit_symmetric;

/* The searches for q4_0, q5_0, q6_k and q8_0. */
static const fit_symmetric fit_around_8 = {-8, 7, 10, {-8, -6.9f, -7.2f, -7.5f, -7.75f, -8.3f, -8.6f, -9, 7, 7.4f}};
static const fit_symmetric fit_around_16 = {
    -16, 15, 13, {-16, -13, -13.5f, -14, -14.5f, -15, -15.5f, -16.5f, 13.5f, 14, 14.5f, 15, 15.5f}};
static const fit_symmetric fit_around_32 = {
    -32, 31, 11, {-32, -28, -28.8f, -29.6f, -30.4f, -31.2f, -32.5f, 28.5f, 29.3f, 30.1f, 30.9f}};
static const fit_symmetric fit_within_127 = {
    -127, 127, 12, {127, 126.1f, 125.2f, 124.3f, 123.4f, 122.5f, 121.6f, 120.7f, 119.8f, 118.9f, 118, 117.1f}};

/* Sets *qx and *qq to the sums of w q x and w q q over each group, for the codes q nearest to x times the inverse
 * scale; w are the weights. */
INLINE void fit_sums(const fit_groups *g, f32x16 inverse, const fit_symmetric *kind, f32x16 *qx, f32x16 *qq)
{
    *qx = *qq = f32_set1(0);
    for (int k = 0; k < g->size; k++) {
        const f32x16 x = f32_load(g->values[k]), q = fit_code(f32_mul(x, inverse), kind->low, kind->high);
        const f32x16 wq = f32_mul(f32_load(g->weights[k]), q);
        *qx = f32_fma(wq, x, *qx);
        *qq = f32_fma(wq, q, *qq);
    }
}

/* Tries the codes of one inverse scale for each group. For fixed codes q the weighted least-squares scale is s =
 * sum(w q x) / sum(w q q), and it lowers the error by s sum(w q x). Sets *scale to s and *gain to this decrease if
 * it exceeds *gain. */
INLINE void fit_try_scale(const fit_groups *g, f32x16 inverse, const fit_symmetric *kind, f32x16 *scale, f32x16 *gain)
{
    f32x16 qx, qq;
    fit_sums(g, inverse, kind, &qx, &qq);
    const m32x16 some = f32_gt(qq, f32_set1(0));
    const f32x16 s = f32_div(qx, f32_select(some, qq, f32_set1(1))), this = f32_mul(s, qx);
    const m32x16 better = m32_and(some, f32_gt(this, *gain));
    *scale = f32_select(better, s, *scale);
    *gain = f32_select(better, this, *gain);
}

/* Returns for each group the scale s that approximates x by s q with the least weighted squared error. Each try maps
 * the value of largest magnitude to another of kind->becomes, because the best scale rarely maps it to the last code;
 * the last try starts from the best scale found. */
INLINE f32x16 fit_scale(const fit_groups *g, const fit_symmetric *kind)
{
    f32x16 low, high, scale = f32_set1(0), gain = scale;
    fit_range(g, &low, &high);
    const f32x16 farthest = f32_select(f32_gt(high, fit_negative(low)), high, low);
    const m32x16 some = f32_gt(fit_magnitude(farthest), f32_set1(FIT_NEAREST));
    const f32x16 by = f32_select(some, farthest, f32_set1(1));
    for (int t = 0; t < kind->tries; t++)
        fit_try_scale(g, f32_select(some, f32_div(f32_set1(kind->becomes[t]), by), f32_set1(0)), kind, &scale, &gain);
    fit_try_scale(g, fit_inverse(scale), kind, &scale, &gain);
    return scale;
}

/* ---- codes from 0 on: x is approximated by s q + m ---- */

/* Sums over a group of values x with weights w and codes q, by lane: the sums of w, w x, w q, w q q and w q x. */
typedef struct fit_moments {
    f32x16 w, x, q, qq, qx;
} fit_moments;

/* A line s q + m for each group, and by how much its error is lower than that of zeros. */
typedef struct fit_line {
    f32x16 s, m, gain;
} fit_line;

/* Sets the sums that do not depend on the codes: sums->w and sums->x. */
INLINE void fit_weigh(const fit_groups *g, fit_moments *sums)
{
    sums->w = sums->x = f32_set1(0);
    for (int k = 0; k < g->size; k++) {
        const f32x16 w = f32_load(g->weights[k]);
        sums->w = f32_add(sums->w, w);
        sums->x = f32_fma(w, f32_load(g->values[k]), sums->x);
    }
}

/* Sets sums->q, sums->qq and sums->qx for the codes q in 0 .. `high` nearest to x inverse + shift. */
INLINE void fit_moments_of(const fit_groups *g, f32x16 inverse, f32x16 shift, float high, fit_moments *sums)
{
    sums->q = sums->qq = sums->qx = f32_set1(0);
    for (int k = 0; k < g->size; k++) {
        const f32x16 x = f32_load(g->values[k]), q = fit_code(f32_fma(x, inverse, shift), 0, high);
        const f32x16 wq = f32_mul(f32_load(g->weights[k]), q);
        sums->q = f32_add(sums->q, wq);
        sums->qq = f32_fma(wq, q, sums->qq);
        sums->qx = f32_fma(wq, x, sums->qx);
    }
}

/* Returns by how much the line s q + m has a lower weighted squared error than zeros: 2 (s qx + m x) - s s qq - 2 s m q
 * - m m w. */
INLINE f32x16 fit_gain(const fit_moments *sums, f32x16 s, f32x16 m)
{
    const f32x16 of_s = f32_sub(f32_add(sums->qx, sums->qx), f32_fma(s, sums->qq, f32_mul(f32_add(m, m), sums->q)));
    return f32_fma(s, of_s, f32_mul(m, f32_fnma(m, sums->w, f32_add(sums->x, sums->x))));
}

/* Solves the 2 x 2 normal equations for s and m with the codes of one inverse scale and shift, and sets *best to the
 * line if its gain exceeds that of *best. With `below`, m must not be above 0: otherwise m = 0 and s is solved
 * alone. fit_weigh must have set sums->w and sums->x. */
INLINE void fit_try_line(const fit_groups *g, f32x16 inverse, f32x16 shift, float high, int below, fit_moments *sums,
                         fit_line *best)
{
    const f32x16 zero = f32_set1(0), one = f32_set1(1);
    fit_moments_of(g, inverse, shift, high, sums);
    const f32x16 determinant = f32_sub(f32_mul(sums->w, sums->qq), f32_mul(sums->q, sums->q));
    const m32x16 some = f32_gt(determinant, zero);
    const f32x16 by = f32_select(some, determinant, one);
    f32x16 s = f32_div(f32_sub(f32_mul(sums->w, sums->qx), f32_mul(sums->x, sums->q)), by);
    f32x16 m = f32_div(f32_sub(f32_mul(sums->qq, sums->x), f32_mul(sums->q, sums->qx)), by);
    if (below) {
        const m32x16 above = f32_gt(m, zero);
        s = f32_select(above, f32_div(sums->qx, f32_select(some, sums->qq, one)), s);
        m = f32_select(above, zero, m);
    }
    const f32x16 gain = fit_gain(sums, s, m);
    const m32x16 better = m32_and(m32_and(some, f32_gt(s, zero)), f32_gt(gain, best->gain));
    best->s = f32_select(better, s, best->s);
    best->m = f32_select(better, m, best->m);
    best->gain = f32_select(better, gain, best->gain);
}

/* Try t of FIT_LINES maps the range of a group to high + FIT_SHORT + t FIT_STEP codes. */
#define FIT_LINES 10
#define FIT_SHORT -2.0f
#define FIT_STEP  0.3f

/* Returns for each group the line s q + m that approximates x with the least weighted squared error, q in 0 .. `high`.
 * The sum of squares has no closed minimum over integer codes: for each of FIT_LINES scales, which map the range of x
 * to slightly less or more than `high` codes, fit_try_line rounds to codes and solves for s and m (the search of
 * llama.cpp's make_qkx quantisers). The last try starts from the best line found. The search starts with all codes 0,
 * which is the solution for groups of equal values. With `below`, m is at most 0. */
INLINE fit_line fit_best_line(const fit_groups *g, float high, int below)
{
    const f32x16 zero = f32_set1(0);
    f32x16 least, greatest;
    fit_moments sums;
    fit_line best = {.s = zero};
    fit_range(g, &least, &greatest);
    fit_weigh(g, &sums);
    best.m = f32_div(sums.x, sums.w);
    if (below) {
        best.m = f32_select(f32_gt(best.m, zero), zero, best.m);
        least = f32_select(f32_gt(least, zero), zero, least);
    }
    best.gain = fit_gain(&(fit_moments){sums.w, sums.x, zero, zero, zero}, zero, best.m);
    const f32x16 span = f32_sub(greatest, least);
    const m32x16 has_span = f32_gt(span, f32_set1(FIT_NEAREST));
    const f32x16 divisor = f32_select(has_span, span, f32_set1(1));
    for (int t = 0; t < FIT_LINES; t++) {
        const f32x16 codes = f32_set1(high + (FIT_SHORT + (float)t * FIT_STEP));
        const f32x16 inverse = f32_select(has_span, f32_div(codes, divisor), zero);
        fit_try_line(g, inverse, f32_mul(fit_negative(least), inverse), high, below, &sums, &best);
    }
    const f32x16 inverse = fit_inverse(best.s);
    fit_try_line(g, inverse, f32_mul(fit_negative(best.m), inverse), high, below, &sums, &best);
    return best;
}

/* ---- final codes ---- */

/* Computes the codes nearest to x inverse + shift in low .. high and adds `plus`. Stores one byte for each code: the
 * codes of a group consecutively, group after group. */
INLINE void fit_put_codes(const fit_groups *g, f32x16 inverse, f32x16 shift, float low, float high, float plus,
                          uint8_t *codes)
{
    f32x16 rows[16];
    for (int from = 0; from < g->size; from += 16) {
        for (int k = 0; k < 16; k++)
            rows[k] =
                f32_add(fit_code(f32_fma(f32_load(g->values[from + k]), inverse, shift), low, high), f32_set1(plus));
        fit_transpose(rows);
        for (int l = 0; l < 16; l++)
            u8_store(codes + l * g->size + from, s8_of_f32(rows[l]));
    }
}

/* Stores the nearest F16 at `to`, clamped to the finite ones, and returns its value. */
INLINE float fit_put_half(uint8_t *to, float value)
{
    const float max = 65504;
    const float below = value > max ? max : value;
    half_put(to, below < -max ? -max : below);
    return half_at(to);
}
