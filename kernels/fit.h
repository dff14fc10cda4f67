/* SPDX-License-Identifier: MIT
 * Searches the scales with which groups of values are quantised. All functions process 16 groups at once, one group in
 * each lane of a vector; a number "for each group" is a vector. A weighted sum or error multiplies the
 * term of each value by the value's importance. docs/definitions/gguf.md defines which scales are tried and in which
 * order sums over a group are computed, and states the numbers in the tables of this file. */
#include "kernels/encoders.h"
#include "kernels/half_floats.h"

enum { FIT_MAX = 32 }; /* values in a group, at most */

/* The values of 16 groups and their weights (importances): values[k][l] is value k of the group in lane l. */
typedef struct fit_groups {
    float values[FIT_MAX][16], weights[FIT_MAX][16];
    int size; /* values in a group: 16 or 32 */
} fit_groups;

/* Values beyond this magnitude are replaced by it; it exceeds the range of all block types. */
#define FIT_MAX_MAGNITUDE 0x1p30f
/* A group gets scale 0 if its largest magnitude (for lines: greatest minus least value) does not exceed this, because
 * F16 cannot store its scale. */
#define FIT_MIN_RANGE 0x1p-26f
#define FIT_MIN       0x1p-60f  /* scales up to this magnitude have inverse 0 */
#define FIT_ROUNDING  0x1.8p23f /* fit_code adds it and subtracts it again to round to a whole number */
#define FIT_MAX_ERROR 0x1p126f  /* above the error of any group */

/* Returns -a, computed as 0 - a, so that both +0 and -0 give +0. */
INLINE f32x16 fit_negative(f32x16 a) { return f32_sub(f32_set1(0), a); }

INLINE f32x16 fit_magnitude(f32x16 a) { return f32_of_bits(u32_and(f32_bits(a), u32_set1(MAGNITUDE))); }

/* Returns the whole number in low .. high nearest to a, ties to even; `low` and `high` are whole. Adding 1.5 x 2^23
 * rounds to whole numbers, because the sum's unit in the last place is 1. */
INLINE f32x16 fit_code(f32x16 a, float low, float high)
{
    const f32x16 within = f32_max(f32_min(a, f32_set1(high)), f32_set1(low)), rounds = f32_set1(FIT_ROUNDING);
    return f32_sub(f32_add(within, rounds), rounds);
}

/* Returns 0 in lanes in which |a| is not above FIT_MIN. */
INLINE f32x16 fit_inverse(f32x16 a)
{
    const m32x16 some = f32_gt(fit_magnitude(a), f32_set1(FIT_MIN));
    return f32_select(some, f32_div(f32_set1(1), f32_select(some, a, f32_set1(1))), f32_set1(0));
}

/* Clamps to +-FIT_MAX_MAGNITUDE; a NaN becomes -FIT_MAX_MAGNITUDE. */
INLINE f32x16 fit_bounded(f32x16 a)
{
    const f32x16 max = f32_set1(FIT_MAX_MAGNITUDE), least = f32_set1(-FIT_MAX_MAGNITUDE),
                 above = f32_select(f32_gt(a, least), a, least);
    return f32_select(f32_gt(max, above), above, max);
}

/* Loads `count` consecutive groups of g->size values into lanes 0 to count - 1 of *g, and zeros into the other lanes.
 * The values are part of a matrix with `cols` columns, a multiple of g->size; the first value is in column `col`.
 * `weights` has a weight for each column, the same in all rows; NULL: all 1. */
SHARED void fit_load(fit_groups *g, const float *values, const float *weights, size_t col, size_t cols, int count)
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
        for (int part = 0; part < (weights ? 2 : 1); part++)
            transpose_square(rows[part]);
        for (int k = 0; k < 16; k++) {
            f32_store(g->values[from + k], rows[0][k]);
            f32_store(g->weights[from + k], rows[1][k]);
        }
    }
}

INLINE void fit_range(const fit_groups *g, f32x16 *low, f32x16 *high)
{
    *low = *high = f32_load(g->values[0]);
    for (int k = 1; k < g->size; k++) {
        const f32x16 x = f32_load(g->values[k]);
        *low = f32_select(f32_gt(*low, x), x, *low);
        *high = f32_select(f32_gt(x, *high), x, *high);
    }
}

/* The index order makes the sum the same on every ISA. */
INLINE float fit_sum(const float *values, int n)
{
    float sum = 0;
    for (int l = 0; l < n; l++)
        sum += values[l];
    return sum;
}

/* Returns the first value of largest magnitude. */
INLINE float fit_farthest(const float *values, int n)
{
    float far = 0;
    for (int l = 0; l < n; l++)
        far = __builtin_fabsf(values[l]) > __builtin_fabsf(far) ? values[l] : far;
    return far;
}

/* Returns the index of the least error; of equal ones, the first. */
INLINE int fit_least(const float *errors, int n)
{
    int best = 0;
    for (int k = 1; k < n; k++)
        best = errors[k] < errors[best] ? k : best;
    return best;
}

/* ---- codes around zero: a value x is approximated by s q, scale times code ---- */

/* The codes of a type, and the scales that fit_scale tries for it. */
typedef struct fit_symmetric {
    float low, high; /* least and largest code */
    int tries;       /* number of scales to try: entries of `peak_code` in use */
    /* try t takes the scale that maps the group's value of largest magnitude to peak_code[t]; it need not be whole */
    float peak_code[16];
} fit_symmetric;

/* Codes and scales to try of q3_k (around_4), q4_0 (around_8), q5_0 (around_16), q6_k (around_32) and q8_0
 * (within_127). */
static const fit_symmetric fit_around_4 = {-4, 3, 6, {3.5f, -3.75f, -3.9f, -4.05f, -4.2f, -4.35f}};
static const fit_symmetric fit_around_8 = {-8, 7, 10, {-8, -6.9f, -7.2f, -7.5f, -7.75f, -8.3f, -8.6f, -9, 7, 7.4f}};
static const fit_symmetric fit_around_16 = {
    -16, 15, 13, {-16, -13, -13.5f, -14, -14.5f, -15, -15.5f, -16.5f, 13.5f, 14, 14.5f, 15, 15.5f}};
static const fit_symmetric fit_around_32 = {
    -32, 31, 11, {-32, -28, -28.8f, -29.6f, -30.4f, -31.2f, -32.5f, 28.5f, 29.3f, 30.1f, 30.9f}};
static const fit_symmetric fit_within_127 = {
    -127, 127, 12, {127, 126.1f, 125.2f, 124.3f, 123.4f, 122.5f, 121.6f, 120.7f, 119.8f, 118.9f, 118, 117.1f}};

/* Sets *qx and *qq to the sums of w q x and w q q over each group, where w is the weight of a value x, and q the code
 * nearest to x times `inverse`, the inverse of the group's scale. */
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

/* Computes the codes q of each group with `inverse`, the inverse of a scale to try, then the best scale for them: s =
 * sum(w q x) / sum(w q q) minimises the weighted squared error, which is lower by s sum(w q x) than with all codes 0.
 * If this decrease exceeds *gain, sets *gain to it and *scale to s. */
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

/* Returns for each group the scale s of those tried with which s q approximates the values with the least weighted
 * squared error. Each try maps the value of largest magnitude to another number of kind->peak_code, because the best
 * scale rarely maps it to the last code. A last try computes the codes from the best scale found. */
SHARED f32x16 fit_scale(const fit_groups *g, const fit_symmetric *kind)
{
    f32x16 low, high, scale = f32_set1(0), gain = scale;
    fit_range(g, &low, &high);
    const f32x16 farthest = f32_select(f32_gt(high, fit_negative(low)), high, low);
    const m32x16 some = f32_gt(fit_magnitude(farthest), f32_set1(FIT_MIN_RANGE));
    const f32x16 by = f32_select(some, farthest, f32_set1(1));
    for (int t = 0; t <= kind->tries; t++) {
        const f32x16 inverse = t < kind->tries
                                   ? f32_select(some, f32_div(f32_set1(kind->peak_code[t]), by), f32_set1(0))
                                   : fit_inverse(scale);
        fit_try_scale(g, inverse, kind, &scale, &gain);
    }
    return scale;
}

/* ---- codes from 0 on: a value x is approximated by s q + m, scale times code plus minimum ---- */

/* Sums over a group of values x with weights w and codes q, by lane: the sums of w, w x, w q, w q q and w q x. */
typedef struct fit_moments {
    f32x16 w, x, q, qq, qx;
} fit_moments;

/* A line s q + m for each group. gain: how much lower its weighted squared error is than that of the line 0. */
typedef struct fit_line {
    f32x16 s, m, gain;
} fit_line;

/* Sets sums->w and sums->x, which do not depend on the codes, for each group. */
INLINE void fit_weigh(const fit_groups *g, fit_moments *sums)
{
    sums->w = sums->x = f32_set1(0);
    for (int k = 0; k < g->size; k++) {
        const f32x16 w = f32_load(g->weights[k]);
        sums->w = f32_add(sums->w, w);
        sums->x = f32_fma(w, f32_load(g->values[k]), sums->x);
    }
}

/* Sets sums->q, sums->qq and sums->qx of each group for the codes q in 0 .. `high` nearest to x * inverse + shift. For
 * the line s q + m, `inverse` is 1 / s and `shift` is -m / s. */
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

/* Returns how much lower the weighted squared error of the line s q + m is than that of the line 0. With the members of
 * *sums it is 2 (s qx + m x) - s s qq - 2 s m q - m m w. */
INLINE f32x16 fit_gain(const fit_moments *sums, f32x16 s, f32x16 m)
{
    const f32x16 of_s = f32_sub(f32_add(sums->qx, sums->qx), f32_fma(s, sums->qq, f32_mul(f32_add(m, m), sums->q)));
    return f32_fma(s, of_s, f32_mul(m, f32_fnma(m, sums->w, f32_add(sums->x, sums->x))));
}

/* Computes the codes of each group from `inverse` and `shift` (fit_moments_of), solves the 2 x 2 normal equations for
 * the best s and m with these codes, and sets *best to this line if s is above 0 and its gain exceeds that of *best.
 * With `below`, an m above 0 is replaced by 0, and s is solved alone. fit_weigh must have set sums->w and sums->x. */
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

/* fit_best_line tries FIT_LINES lines: try t takes the scale that divides the range of a group (greatest minus least
 * value) into high + FIT_SHORT + t FIT_STEP steps; `high` is the largest code. */
enum { FIT_LINES = 10 };
#define FIT_SHORT -2.0f
#define FIT_STEP  0.3f

/* Returns for each group the line s q + m, of those tried, that approximates the values with the least weighted squared
 * error; codes q are 0 .. `high`. With `below`, m is at most 0.
 *
 * No formula gives the best line for whole codes. So fit_try_line rounds to codes with the scale of each try and
 * solves for s and m, like llama.cpp's make_qkx quantisers; a last try takes the codes of the best line found. The
 * search begins with the line of s = 0 and m the weighted mean, which is exact for groups of equal values. */
SHARED fit_line fit_best_line(const fit_groups *g, float high, int below)
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
    const m32x16 has_span = f32_gt(span, f32_set1(FIT_MIN_RANGE));
    const f32x16 divisor = f32_select(has_span, span, f32_set1(1));
    for (int t = 0; t <= FIT_LINES; t++) {
        const f32x16 codes = f32_set1(high + (FIT_SHORT + (float)t * FIT_STEP));
        const f32x16 inverse =
            t < FIT_LINES ? f32_select(has_span, f32_div(codes, divisor), zero) : fit_inverse(best.s);
        const f32x16 minimum = t < FIT_LINES ? least : best.m;
        fit_try_line(g, inverse, f32_mul(fit_negative(minimum), inverse), high, below, &sums, &best);
    }
    return best;
}

/* The error is that of s q + m, each with the nearest code q in 0 .. `high`. */
INLINE f32x16 fit_line_error(const fit_groups *g, f32x16 s, f32x16 m, float high)
{
    const f32x16 inverse = fit_inverse(s), shift = f32_mul(fit_negative(m), inverse);
    f32x16 sum = f32_set1(0);
    for (int k = 0; k < g->size; k++) {
        const f32x16 x = f32_load(g->values[k]), q = fit_code(f32_fma(x, inverse, shift), 0, high),
                     lost = f32_fnma(s, q, f32_sub(x, m));
        sum = f32_fma(f32_mul(f32_load(g->weights[k]), lost), lost, sum);
    }
    return sum;
}

/* ---- final codes ---- */

/* Computes for each value x the code in low .. high nearest to x * inverse + shift, and adds `plus`. Stores the results
 * of all 16 groups in `codes`, a byte each, group after group. */
SHARED void fit_put_codes(const fit_groups *g, f32x16 inverse, f32x16 shift, float low, float high, float plus,
                          uint8_t *codes)
{
    f32x16 rows[16];
    for (int from = 0; from < g->size; from += 16) {
        for (int k = 0; k < 16; k++)
            rows[k] =
                f32_add(fit_code(f32_fma(f32_load(g->values[from + k]), inverse, shift), low, high), f32_set1(plus));
        transpose_square(rows);
        for (int l = 0; l < 16; l++)
            u8_store(codes + l * g->size + from, s8_of_f32(rows[l]));
    }
}

/* Rounds `value` to F16, limited to the largest finite ones, +-65504. Stores its two bytes at `to` and returns it. */
INLINE float fit_put_half(uint8_t *to, float value)
{
    const float max = 65504;
    const float below = value > max ? max : value;
    half_put(to, below < -max ? -max : below);
    return half_at(to);
}

/* Returns `value` as a block stores it, in F16. */
INLINE float fit_half(float value)
{
    uint8_t stored[2];
    return fit_put_half(stored, value);
}

/* Sets the n lanes of a block to `value` as the block stores it. */
INLINE void fit_spread(float *lanes, int n, float value)
{
    const float half = fit_half(value);
    for (int l = 0; l < n; l++)
        lanes[l] = half;
}
