/* SPDX-License-Identifier: MIT
 * The scales of types with codebooks: the scale of a group is the unit of its block, d times a constant of the type,
 * times an odd number that the group stores as a code. Lanes are groups, as in fit.h. */
#include "kernels/fit.h"

typedef struct fit_units {
    float factor;   /* unit of a block divided by its d */
    float greatest; /* odd number; its code is (greatest - 1) / 2 */
    int tries;      /* units that fit_first_units tries */
} fit_units;

/* Returns the odd number from 1 to `greatest` next to a. */
INLINE f32x16 fit_odd_number(f32x16 a, const fit_units *kind)
{
    const f32x16 code = fit_code(f32_mul(f32_sub(a, f32_set1(1)), f32_set1(0.5f)), 0, (kind->greatest - 1) * 0.5f);
    return f32_add(f32_add(code, code), f32_set1(1));
}

INLINE void fit_spread_unit(float *lanes, int span, float value, const fit_units *kind)
{
    const float unit = fit_half(value / kind->factor) * kind->factor;
    for (int l = 0; l < span; l++)
        lanes[l] = unit;
}

/* Chooses for each block, i.e. `span` lanes, the unit for which the groups' best scales lose least, if the error is pp
 * times the squared distance from them. Tries the greatest scale divided by greatest + 1.5, greatest + 1 and so on. */
INLINE void fit_first_units(f32x16 scales, f32x16 pp, int span, const fit_units *kind, float *units)
{
    float s[16], least[2] = {FIT_MAX_ERROR, FIT_MAX_ERROR};
    f32_store(s, scales);
    float top[2] = {0, 0};
    for (int l = 0; l < 16; l++)
        top[l / span] = s[l] > top[l / span] ? s[l] : top[l / span];
    memset(units, 0, 16 * sizeof *units);
    for (int t = 0; t < kind->tries; t++) {
        float tried[16], errors[16];
        for (int b = 0; b < 16; b += span)
            fit_spread_unit(tried + b, span, top[b / span] / (kind->greatest + 1.5f - 0.5f * (float)t), kind);
        const f32x16 unit = f32_load(tried),
                     to = f32_mul(unit, fit_odd_number(f32_mul(scales, fit_inverse(unit)), kind));
        const f32x16 off = f32_sub(scales, to);
        f32_store(errors, f32_mul(f32_mul(pp, off), off));
        for (int b = 0; b < 16; b += span) {
            const float error = fit_sum(errors + b, span);
            if (error < least[b / span]) {
                least[b / span] = error;
                memcpy(units + b, tried + b, (size_t)span * sizeof *units);
            }
        }
    }
}

/* Sets the unit of each block to the quotient of the sums of its lanes, or to the root of the quotient. */
INLINE void fit_quotient_units(f32x16 above, f32x16 below, int root, int span, const fit_units *kind, float *units)
{
    float over[16], under[16];
    f32_store(over, above);
    f32_store(under, below);
    for (int b = 0; b < 16; b += span) {
        const float o = fit_sum(over + b, span), u = fit_sum(under + b, span);
        if (u > 0 && o > 0)
            fit_spread_unit(units + b, span, root ? __builtin_sqrtf(o / u) : o / u, kind);
    }
}

/* Sets *px and *pp to the sums of weight x value x level and weight x level^2. */
INLINE void fit_chosen_sums(const fit_groups *g, const float levels[FIT_MAX][16], f32x16 *px, f32x16 *pp)
{
    *px = *pp = f32_set1(0);
    for (int k = 0; k < g->size; k++) {
        const f32x16 level = f32_load(levels[k]), wl = f32_mul(f32_load(g->weights[k]), level);
        *px = f32_fma(wl, f32_load(g->values[k]), *px);
        *pp = f32_fma(wl, level, *pp);
    }
}

INLINE f32x16 fit_sum_of_squares(const fit_groups *g)
{
    f32x16 squares = f32_set1(0);
    for (int k = 0; k < g->size; k++) {
        const f32x16 a = f32_load(g->values[k]);
        squares = f32_fma(f32_mul(f32_load(g->weights[k]), a), a, squares);
    }
    return squares;
}
