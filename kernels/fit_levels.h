/* SPDX-License-Identifier: MIT
 * Searches the scales of groups whose codes stand for levels, numbers that need not be evenly spaced: a value x is
 * approximated by s v, scale times level. fit.h explains lanes and weighted errors. */
#include "kernels/fit.h"

/* The levels of q3_k, of iq4_nl and iq4_xs (fit_iq4_levels), and of mxfp4 and nvfp4: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and
 * their negatives. */
typedef enum fit_kind { FIT_3_BITS, FIT_IQ4, FIT_E2M1 } fit_kind;

static const float fit_iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/* Element k is the middle between levels k and k + 1; the last one is above all numbers. */
static const float fit_iq4_middles[16] = {-115.5f, -93.5f, -74,   -57,   -42, -28.5f, -16, -4.5f,
                                          7,       19,     31.5f, 45.5f, 61,  79,     101, 0x1p100f};

/* Returns the index of the iq4 level nearest to a, the lower one of two. The sum maps -127 .. 113 to 16 cells, of which
 * cell k contains middle k and no other; the low bits of a number that is rounded by 1.5 x 2^23 are a whole number. */
INLINE u32x16 fit_iq4_index(f32x16 a)
{
    const f32x16 within = f32_max(f32_min(a, f32_set1(113)), f32_set1(-127));
    const f32x16 slope = f32_fma(fit_magnitude(within), f32_set1(-0.00029f), f32_set1(0.096f));
    const u32x16 cell = f32_bits(f32_add(f32_fma(within, slope, f32_set1(7.375f)), f32_set1(FIT_ROUNDING)));
    const m32x16 above = f32_gt(within, f32_lookup(f32_load(fit_iq4_middles), cell));
    return u32_add(cell, u32_keep(above, u32_set1(1)));
}

/* Returns the E2M1 magnitude nearest to |a|; of two, the one with an even code. Numbers with the same power of 2 are
 * multiples of half of it, those below 1 of 0.5; the sum with 1.5 x 2^22 times the power rounds to such a multiple. */
INLINE f32x16 fit_e2m1_magnitude(f32x16 a)
{
    const f32x16 within = f32_min(fit_magnitude(a), f32_set1(6));
    const f32x16 power = f32_max(f32_of_bits(u32_and(f32_bits(within), u32_set1(INFINITE))), f32_set1(1));
    const f32x16 rounds = f32_mul(power, f32_set1(0x1.8p22f));
    return f32_sub(f32_add(within, rounds), rounds);
}

/* Returns the level nearest to a. For FIT_E2M1 a is not negative. */
INLINE f32x16 fit_level(f32x16 a, const fit_kind kind)
{
    if (kind == FIT_3_BITS)
        return fit_code(a, -4, 3);
    if (kind == FIT_IQ4)
        return f32_lookup(f32_load(fit_iq4_levels), fit_iq4_index(a));
    return fit_e2m1_magnitude(a);
}

/* Sets *vx and *vv to the sums of w v x and w v v over each group, where w is the weight of a value x, and v the level
 * nearest to x times `inverse`. */
INLINE void fit_level_sums(const fit_groups *g, f32x16 inverse, const fit_kind kind, f32x16 *vx, f32x16 *vv)
{
    *vx = *vv = f32_set1(0);
    for (int k = 0; k < g->size; k++) {
        const f32x16 x = f32_load(g->values[k]), v = fit_level(f32_mul(x, inverse), kind);
        const f32x16 wv = f32_mul(f32_load(g->weights[k]), v);
        *vx = f32_fma(wv, x, *vx);
        *vv = f32_fma(wv, v, *vv);
    }
}

/* The error is that of s v, each with the nearest level v. */
INLINE f32x16 fit_level_error(const fit_groups *g, f32x16 s, const fit_kind kind)
{
    const f32x16 inverse = fit_inverse(s);
    f32x16 sum = f32_set1(0);
    for (int k = 0; k < g->size; k++) {
        const f32x16 x = f32_load(g->values[k]), error = f32_fnma(s, fit_level(f32_mul(x, inverse), kind), x);
        sum = f32_fma(f32_mul(f32_load(g->weights[k]), error), error, sum);
    }
    return sum;
}

#define FIT_FAVOUR     2.5f
#define FIT_LEAST_MEAN 0x1p-100f /* keeps the weights of zeros above 0 */

/* Multiplies the weight of each value x by sqrt(x^2 / m + 1), where m is FIT_FAVOUR x the mean square of its block, a
 * block being `groups` lanes. Errors of the largest values all point to zero, so that they cost more in the model's
 * output than their squares. */
INLINE void fit_favour_large(fit_groups *g, int groups)
{
    f32x16 squares = f32_set1(0);
    float means[16];
    for (int k = 0; k < g->size; k++) {
        const f32x16 x = f32_load(g->values[k]);
        squares = f32_fma(x, x, squares);
    }
    f32_store(means, squares);
    for (int b = 0; b < 16; b += groups) {
        float sum = 0;
        for (int l = b; l < b + groups; l++)
            sum += means[l];
        for (int l = b; l < b + groups; l++)
            means[l] = sum * (FIT_FAVOUR / (float)(groups * g->size)) + FIT_LEAST_MEAN;
    }
    const f32x16 inverse = f32_div(f32_set1(1), f32_sqrt(f32_load(means)));
    for (int k = 0; k < g->size; k++) {
        const f32x16 x = f32_load(g->values[k]);
        const f32x16 factor = f32_mul(f32_sqrt(f32_fma(x, x, f32_load(means))), inverse);
        f32_store(g->weights[k], f32_mul(f32_load(g->weights[k]), factor));
    }
}
