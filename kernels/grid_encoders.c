/* SPDX-License-Identifier: MIT
 * Quantisers to the types IQ3 and IQ2, whose values come in runs of 4 or 8 that share a point of a codebook
 * (organ_fit_blocks). A value decodes to its sign x the scale of its group x the level that the point has for it; the
 * scale is the block's d times an odd number from 1 to 31, which the group stores as a code from 0 to 15, times a
 * constant of the type. For given scales, the search finds the point with the least weighted squared error among all
 * points of the codebook. Lanes are groups, as in fit.h. */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/grid_points.h"
#include "kernels/half_floats.h"

/* Replaces values by magnitudes; sets signs[k / 8] to the signs of the 8 values from k on, a bit each. */
INLINE void take_signs(fit_groups *g, u32x16 signs[4], u32x16 odd[4])
{
    for (int k = 0; k < g->size; k += 8) {
        u32x16 all = u32_set1(0), parity = all;
        for (int i = 0; i < 8; i++) {
            const f32x16 x = f32_load(g->values[k + i]);
            const u32x16 sign = u32_srl(f32_bits(x), 31);
            all = u32_or(all, u32_sll(sign, i));
            parity = u32_add(parity, sign);
            f32_store(g->values[k + i], fit_magnitude(x));
        }
        signs[k / 8] = all;
        odd[k / 8] = u32_and(parity, u32_set1(1));
        odd[k / 8] = u32_sub(u32_set1(0), odd[k / 8]);
    }
}

/* Returns for each group the best of the scales that are tried. */
INLINE f32x16 best_scale(const fit_groups *g, const u32x16 *odd, const codebook *book)
{
    f32x16 peak = f32_load(g->values[0]), best = f32_set1(0), least = f32_set1(FIT_MAX_ERROR);
    for (int k = 1; k < g->size; k++)
        peak = f32_max(peak, f32_load(g->values[k]));
    peak = f32_select(f32_gt(peak, f32_set1(FIT_MIN_RANGE)), peak, f32_set1(0));
    for (int t = 0; t < TRIES; t++) {
        const f32x16 s = f32_div(peak, f32_set1(book->peak_level[t])), error = least_error(g, s, odd, book);
        const m32x16 better = f32_gt(least, error);
        least = f32_select(better, error, least);
        best = f32_select(better, s, best);
    }
    return best;
}

/* Returns the best for each group of its multiple and of the odd multiples next to it. */
INLINE f32x16 best_multiples(const fit_groups *g, const u32x16 *odd, f32x16 unit, f32x16 multiples,
                             const codebook *book)
{
    f32x16 least = f32_set1(FIT_MAX_ERROR), best = multiples;
    for (int step = -2; step <= 2; step += 2) {
        const f32x16 next = f32_max(f32_min(f32_add(multiples, f32_set1((float)step)), f32_set1(31)), f32_set1(1));
        const f32x16 error = least_error(g, f32_mul(unit, next), odd, book);
        const m32x16 better = f32_gt(least, error);
        least = f32_select(better, error, least);
        best = f32_select(better, next, best);
    }
    return best;
}

INLINE int same(f32x16 a, f32x16 b) { return m32_count(u32_eq(f32_bits(a), f32_bits(b))) == 16; }

/* ---- blocks ---- */

typedef struct fitted {
    float units[16];
    uint8_t codes[16]; /* of the scales */
    uint32_t signs[4][16];
    grid_choice points;
} fitted;

/* Improves the multiples, chooses the points for them, and refits the units to these. Returns whether neither multiples
 * nor units have changed. */
SHARED int improve(const fit_groups *g, const u32x16 *odd, const codebook *book, float *multiples, fitted *f)
{
    const f32x16 before = f32_load(multiples), present = f32_load(f->units);
    const f32x16 next = best_multiples(g, odd, present, before, book);
    f32x16 px, pp;
    choose_points(g, f32_mul(present, next), odd, book, &f->points);
    fit_chosen_sums(g, f->points.levels, &px, &pp);
    f32_store(multiples, next);
    fit_quotient_units(f32_mul(next, px), f32_mul(f32_mul(next, next), pp), /*root=*/0, 256 / g->size, &book->units,
                       f->units);
    return same(next, before) && same(f32_load(f->units), present);
}

/* Fits 16 groups: points for the best scale of each group, a unit for each block, multiples of it near these scales,
 * then points and units again for these multiples. A block that no longer changes does not depend on the number of
 * rounds. */
SHARED void fit_16(fit_groups *g, const codebook *book, fitted *f)
{
    const int span = 256 / g->size;
    float steps[16];
    u32x16 signs[4], odd[4];
    f32x16 px, pp;
    take_signs(g, signs, odd);
    f32x16 scales = best_scale(g, odd, book);
    choose_points(g, scales, odd, book, &f->points);
    fit_chosen_sums(g, f->points.levels, &px, &pp);
    scales = f32_select(f32_gt(px, f32_set1(0)), f32_div(px, pp), f32_set1(0));
    fit_first_units(scales, pp, span, &book->units, f->units);
    f32_store(steps, fit_odd_number(f32_mul(scales, fit_inverse(f32_load(f->units))), &book->units));
    for (int round = 0; round < book->rounds && !improve(g, odd, book, steps, f); round++)
        ;
    const f32x16 multiples = f32_load(steps);
    choose_points(g, f32_mul(f32_load(f->units), multiples), odd, book, &f->points);
    fit_chosen_sums(g, f->points.levels, &px, &pp);
    /* Least squares makes decoded values smaller than the values by the same factor in all rows of a matrix, which
     * outputs would show. This gives the decoded values of each block the weighted sum of squares of the values. */
    fit_quotient_units(fit_sum_of_squares(g), f32_mul(f32_mul(multiples, multiples), pp), /*root=*/1, span,
                       &book->units, f->units);
    u8_store(f->codes, s8_of_f32(f32_mul(f32_sub(multiples, f32_set1(1)), f32_set1(0.5f))));
    for (int k = 0; k < g->size / 8; k++)
        u32_put(f->signs[k], signs[k]);
}

/* The lanes from `lane` on are the groups of the block. */
INLINE void store_iq3_xxs(const fitted *f, int lane, block_iq3_xxs *b)
{
    half_put(b->d, f->units[lane] * 4);
    for (int j = 0; j < 8; j++) {
        uint32_t word = (uint32_t)f->codes[lane + j] << 28;
        for (int r = 0; r < 8; r++)
            b->indices[8 * j + r] = (uint8_t)f->points.points[r][lane + j];
        for (int r = 0; r < 4; r++)
            word |= ((f->signs[r][lane + j] ^ f->points.wrong[r][lane + j]) & 127) << 7 * r;
        memcpy(b->groups + 4 * j, &word, sizeof word);
    }
}

INLINE void store_iq2_xxs(const fitted *f, int lane, block_iq2_xxs *b)
{
    half_put(b->d, f->units[lane] * 8);
    for (int j = 0; j < 8; j++) {
        uint32_t word = (uint32_t)f->codes[lane + j] << 28;
        for (int r = 0; r < 4; r++) {
            b->groups[j][r] = (uint8_t)f->points.points[r][lane + j];
            word |= ((f->signs[r][lane + j] ^ f->points.wrong[r][lane + j]) & 127) << 7 * r;
        }
        memcpy(b->groups[j] + 4, &word, sizeof word);
    }
}

INLINE void store_iq3_s(const fitted *f, int lane, block_iq3_s *b)
{
    half_put(b->d, f->units[lane]);
    for (int j = 0; j < 8; j++) {
        unsigned high = 0;
        for (int r = 0; r < 8; r++) {
            b->indices[8 * j + r] = (uint8_t)f->points.points[r][lane + j];
            high |= (f->points.points[r][lane + j] >> 8 & 1) << r;
        }
        b->high[j] = (uint8_t)high;
        for (int r = 0; r < 4; r++)
            b->signs[4 * j + r] = (uint8_t)f->signs[r][lane + j];
    }
    for (int j = 0; j < 4; j++)
        b->scales[j] = (uint8_t)(f->codes[lane + 2 * j] | f->codes[lane + 2 * j + 1] << 4);
}

INLINE void store_iq2_s(const fitted *f, int lane, block_iq2_s *b)
{
    half_put(b->d, f->units[lane] * 8);
    for (int j = 0; j < 8; j++) {
        unsigned high = 0;
        for (int r = 0; r < 4; r++) {
            const int at = lane + 2 * j + r / 2;
            const unsigned point = f->points.points[r % 2][at];
            b->indices[4 * j + r] = (uint8_t)point;
            b->signs[4 * j + r] = (uint8_t)f->signs[r % 2][at];
            high |= (point >> 8 & 3) << 2 * r;
        }
        b->high[j] = (uint8_t)high;
        b->scales[j] = (uint8_t)(f->codes[lane + 2 * j] | f->codes[lane + 2 * j + 1] << 4);
    }
}

INLINE void store_iq2_xs(const fitted *f, int lane, block_iq2_xs *b)
{
    half_put(b->d, f->units[lane] * 8);
    for (int r = 0; r < 32; r++) {
        const int at = lane + r / 2;
        const uint32_t signs = (f->signs[r % 2][at] ^ f->points.wrong[r % 2][at]) & 127;
        const uint32_t both = f->points.points[r % 2][at] | signs << 9;
        b->indices[2 * r] = (uint8_t)both;
        b->indices[2 * r + 1] = (uint8_t)(both >> 8);
    }
    for (int j = 0; j < 8; j++)
        b->scales[j] = (uint8_t)(f->codes[lane + 2 * j] | f->codes[lane + 2 * j + 1] << 4);
}

/* 16 groups of `group` values are one or two blocks. */
#define FIT(name, group)                                                                                               \
    void KERNEL(fit_##name)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)            \
    {                                                                                                                  \
        enum { LANES = 256 / (group) };                                                                                \
        fit_groups g = {.size = group};                                                                                \
        fitted f;                                                                                                      \
        for (size_t at = 0; at < n; at += 16 / LANES) {                                                                \
            fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, n - at < 2 ? LANES : 16);    \
            fit_16(&g, &of_##name, &f);                                                                                \
            for (size_t b = 0; b < 16 / LANES && at + b < n; b++)                                                      \
                store_##name(&f, LANES *(int)b, (block_##name *)blocks + at + b);                                      \
        }                                                                                                              \
    }
FIT(iq3_xxs, 32)
FIT(iq3_s, 32)
FIT(iq2_xxs, 32)
FIT(iq2_xs, 16)
FIT(iq2_s, 16)

#endif
