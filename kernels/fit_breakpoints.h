/* SPDX-License-Identifier: MIT
 * The best scale of groups with the levels of iq4_nl and iq4_xs. While the inverse of the scale grows from 0, each
 * value passes the middles between levels, its breakpoints, in both directions from level 1; between two breakpoints no
 * level changes. So the best scale of all is among those that least squares gives for the levels behind each of the
 * sorted breakpoints. Lanes are groups, as in fit.h. */
#include "kernels/fit_levels.h"

enum { FIT_SIDE = 8, FIT_BREAKPOINTS = FIT_MAX * FIT_SIDE, FIT_INDEX_BITS = 8 };

/* A value that passes middle k, away from 0, gets the next level: entry k is the increase of the level's magnitude, and
 * of its square. The last entry is 0, for indices beyond the last middle. */
static const float fit_iq4_steps[16] = {23, 21, 18, 16, 14, 13, 12, 11, 12, 12, 13, 15, 16, 20, 24, 0};
static const float fit_iq4_squares[16] = {5313, 3927, 2664, 1824, 1176, 741,  384,  99,
                                          168,  456,  819,  1365, 1952, 3160, 4848, 0};

/* The breakpoints of the groups in `values`, for scales of one sign. keys[i][l]: the bits of the i-th inverse scale of
 * lane l, of which the lowest FIT_INDEX_BITS are replaced by the number of the breakpoint: value x FIT_SIDE + step. */
typedef struct fit_breakpoints {
    uint32_t keys[FIT_BREAKPOINTS][16];
    float products[FIT_MAX][16]; /* weight x value */
    f32x16 px, pp;               /* sums of weight x value x level and weight x level^2 */
} fit_breakpoints;

/* Returns the number of the middle that a value with this sign (1: negative) passes in `step`. */
INLINE u32x16 fit_middle_of(u32x16 sign, u32x16 step)
{
    return u32_select(u32_eq(sign, u32_set1(1)), u32_sub(u32_set1(7), step), u32_add(u32_set1(8), step));
}

/* Sets the keys in the order of values and steps, and px and pp to the sums for level 1 or, of negative values, -1. */
INLINE void fit_list_breakpoints(const fit_groups *g, int negative, fit_breakpoints *b)
{
    b->px = b->pp = f32_set1(0);
    for (int k = 0; k < FIT_MAX; k++) {
        const f32x16 given = f32_load(g->values[k]), w = f32_load(g->weights[k]),
                     x = negative ? fit_negative(given) : given, product = f32_mul(w, x);
        const f32x16 inverse = f32_div(f32_set1(1), fit_magnitude(x));
        const m32x16 below = u32_eq(u32_srl(f32_bits(product), 31), u32_set1(1));
        f32_store(b->products[k], product);
        b->px = f32_add(b->px, product);
        b->pp = f32_add(b->pp, w);
        UNROLL for (uint32_t step = 0; step < FIT_SIDE; step++)
        {
            const f32x16 middle =
                f32_select(below, f32_set1(-fit_iq4_middles[7 - step]), f32_set1(fit_iq4_middles[8 + step]));
            const u32x16 at = u32_srl(f32_bits(f32_mul(middle, inverse)), FIT_INDEX_BITS);
            u32_put(b->keys[FIT_SIDE * k + (int)step],
                    u32_or(u32_sll(at, FIT_INDEX_BITS), u32_set1(FIT_SIDE * (uint32_t)k + step)));
        }
    }
}

/* Puts the keys i and i + far in order, for `far` keys from `from` on. */
INLINE void fit_put_in_order(fit_breakpoints *b, int from, int far)
{
    for (int i = from; i < from + far; i++) {
        const u32x16 one = u32_get(b->keys[i]), other = u32_get(b->keys[i + far]);
        u32_put(b->keys[i], u32_min(one, other));
        u32_put(b->keys[i + far], u32_max(one, other));
    }
}

/* Batcher's odd-even merges of pairs of runs; runs of FIT_SIDE keys are in order already. */
SHARED void fit_sort_breakpoints(fit_breakpoints *b)
{
    for (int run = FIT_SIDE; run < FIT_BREAKPOINTS; run *= 2)
        for (int base = 0; base < FIT_BREAKPOINTS; base += 2 * run) {
            fit_put_in_order(b, base, run);
            for (int far = run / 2; far > 0; far /= 2)
                for (int from = base + far; from + far < base + 2 * run; from += 2 * far)
                    fit_put_in_order(b, from, far);
        }
}

/* If the scale for the present levels is better than *scale, replaces it. */
INLINE void fit_take_scale(const fit_breakpoints *b, int negative, f32x16 *scale, f32x16 *gain)
{
    const f32x16 s = f32_div(b->px, b->pp), this = f32_mul(s, b->px);
    const m32x16 better = m32_and(f32_gt(b->px, f32_set1(0)), f32_gt(this, *gain));
    *scale = f32_select(better, negative ? fit_negative(s) : s, *scale);
    *gain = f32_select(better, this, *gain);
}

/* Passes the sorted breakpoints: at each, one value gets its next level, which changes the sums. `number` >> 3 is the
 * value of a breakpoint, `at` the place of this value in the arrays of values x 16 lanes. */
SHARED void fit_pass_breakpoints(const fit_groups *g, int negative, fit_breakpoints *b, f32x16 *scale, f32x16 *gain)
{
    const f32x16 steps = f32_load(fit_iq4_steps), squares = f32_load(fit_iq4_squares);
    fit_take_scale(b, negative, scale, gain);
    for (int i = 0; i < FIT_BREAKPOINTS; i++) {
        const u32x16 number = u32_and(u32_get(b->keys[i]), u32_set1(FIT_BREAKPOINTS - 1));
        const u32x16 at = u32_or(u32_sll(u32_srl(number, 3), 4), u32_lanes());
        const f32x16 product = f32_gather(b->products[0], at), w = f32_gather(g->weights[0], at);
        const u32x16 middle = fit_middle_of(u32_srl(f32_bits(product), 31), u32_and(number, u32_set1(FIT_SIDE - 1)));
        b->px = f32_fma(fit_magnitude(product), f32_lookup(steps, middle), b->px);
        b->pp = f32_fma(w, f32_lookup(squares, middle), b->pp);
        fit_take_scale(b, negative, scale, gain);
    }
}

/* Returns for each group of 32 the scale with the least weighted squared error, the sums of which are computed again
 * with the nearest levels: `pp` gets the sum of weight x level^2. */
INLINE f32x16 fit_iq4_scale(const fit_groups *g, f32x16 *pp)
{
    fit_breakpoints b;
    f32x16 low, high, scale = f32_set1(0), gain = scale, px;
    for (int negative = 0; negative < 2; negative++) {
        fit_list_breakpoints(g, negative, &b);
        fit_sort_breakpoints(&b);
        fit_pass_breakpoints(g, negative, &b, &scale, &gain);
    }
    fit_range(g, &low, &high);
    const m32x16 some = f32_gt(f32_max(high, fit_negative(low)), f32_set1(FIT_MIN_RANGE));
    fit_level_sums(g, fit_inverse(scale), FIT_IQ4, &px, pp);
    return f32_select(some, f32_div(px, *pp), f32_set1(0));
}
