/* SPDX-License-Identifier: MIT
 * Quantisers to iq3_xxs, iq3_s and iq2_s, whose values come in runs of 4 or 8 that share a point of a codebook
 * (organ_fit_blocks). A value decodes to its sign x the scale of its group x the level that the point has for it; the
 * scale is the block's d times an odd number from 1 to 31, which the group stores as a code from 0 to 15, times a
 * constant of the type. For given scales, the search finds the point with the least weighted squared error among all
 * points of the codebook. Lanes are groups, as in fit.h. */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/fit.h"
#include "kernels/ggml_grids.h"
#include "kernels/half.h"

enum { HALF_CODES = 256, RUNS = 8, TRIES = 8 };

typedef struct codebook {
    const uint16_t *entries; /* fields of `width` bits, the first in the lowest; in ascending order */
    int points;
    int run;    /* fields of an entry: 4 or 8 */
    int width;  /* bits of a field */
    int levels; /* values of a field */
    int even;   /* of 8 values, the number of negative ones is even */
    float unit; /* the scale of a group is d x unit x odd number */
    float level[8];
    float peak_level[TRIES]; /* try t takes the scale that maps the largest magnitude of a group to this level */
} codebook;

static const codebook of_iq3_xxs = {.entries = iq3_xxs_grid,
                                    .points = 256,
                                    .run = 4,
                                    .width = 3,
                                    .levels = 8,
                                    .even = 1,
                                    .unit = 0.25f,
                                    .level = {4, 12, 20, 28, 36, 44, 52, 62},
                                    .peak_level = {48, 52, 56, 60, 64, 68, 73, 79}};
static const codebook of_iq3_s = {.entries = iq3_s_grid,
                                  .points = 512,
                                  .run = 4,
                                  .width = 3,
                                  .levels = 8,
                                  .unit = 1,
                                  .level = {1, 3, 5, 7, 9, 11, 13, 15},
                                  .peak_level = {12, 13, 13.8f, 14.6f, 15.4f, 16.2f, 17.2f, 18.5f}};
static const codebook of_iq2_s = {.entries = iq2_s_grid,
                                  .points = 1024,
                                  .run = 8,
                                  .width = 2,
                                  .levels = 3,
                                  .unit = 0.125f,
                                  .level = {8, 25, 43},
                                  .peak_level = {36, 39, 42, 45, 48, 51, 55, 60}};

/* The weighted errors of both halves of a run with each combination of levels; the index is the half of an entry.
 * `flips` is how much more the cheapest change of one sign within the half costs. */
typedef struct half_errors {
    float plain[HALF_CODES][16], flipped[HALF_CODES][16];
} half_errors;

/* The points that were chosen for 16 groups: for each run and lane the number of the point, and for 8 values the one
 * whose sign is wrong on purpose, or 8. levels: that of each value, negative if its sign is wrong. */
typedef struct grid_choice {
    uint16_t points[RUNS][16];
    uint8_t wrong[RUNS / 2][16];
    float levels[FIT_MAX][16];
} grid_choice;

INLINE int half_bits(const codebook *book) { return book->run / 2 * book->width; }

/* Errors of one value at each level. */
INLINE void level_errors(const fit_groups *g, int k, f32x16 scale, const codebook *book, f32x16 *errors)
{
    const f32x16 a = f32_load(g->values[k]), w = f32_load(g->weights[k]);
    UNROLL for (int l = 0; l < book->levels; l++)
    {
        const f32x16 lost = f32_fnma(scale, f32_set1(book->level[l]), a);
        errors[l] = f32_mul(f32_mul(w, lost), lost);
    }
}

/* For IQ3 the half is a pair. */
INLINE void pair_tables(const fit_groups *g, int k, f32x16 scale, const codebook *book, half_errors *to)
{
    f32x16 first[8], second[8];
    level_errors(g, k, scale, book, first);
    level_errors(g, k + 1, scale, book, second);
    for (int j = 0; j < 8; j++)
        UNROLL for (int i = 0; i < 8; i++) f32_store(to->plain[i | j << 3], f32_add(first[i], second[j]));
    if (!book->even)
        return;
    const f32x16 four = f32_mul(f32_set1(4), scale);
    const f32x16 wa = f32_mul(f32_mul(four, f32_load(g->weights[k])), f32_load(g->values[k]));
    const f32x16 wb = f32_mul(f32_mul(four, f32_load(g->weights[k + 1])), f32_load(g->values[k + 1]));
    for (int j = 0; j < 8; j++)
        UNROLL for (int i = 0; i < 8; i++)
        {
            const f32x16 more = f32_min(f32_mul(wa, f32_set1(book->level[i])), f32_mul(wb, f32_set1(book->level[j])));
            f32_store(to->flipped[i | j << 3], f32_add(f32_load(to->plain[i | j << 3]), more));
        }
}

/* For IQ2 the half has 4 values. */
INLINE void quad_tables(const fit_groups *g, int k, f32x16 scale, const codebook *book, half_errors *to)
{
    f32x16 e[4][3], low[9];
    UNROLL for (int v = 0; v < 4; v++) level_errors(g, k + v, scale, book, e[v]);
    UNROLL for (int j = 0; j < 9; j++) low[j] = f32_add(e[0][j % 3], e[1][j / 3]);
    for (int m = 0; m < 3; m++)
        for (int l = 0; l < 3; l++) {
            const f32x16 high = f32_add(e[2][l], e[3][m]);
            UNROLL for (int j = 0; j < 9; j++)
                f32_store(to->plain[j % 3 | j / 3 << 2 | l << 4 | m << 6], f32_add(low[j], high));
        }
}

INLINE void half_tables(const fit_groups *g, int k, f32x16 scale, const codebook *book, half_errors to[2])
{
    UNROLL for (int half = 0; half < 2; half++)
    {
        if (book->run == 4)
            pair_tables(g, k + 2 * half, scale, book, &to[half]);
        else
            quad_tables(g, k + 4 * half, scale, book, &to[half]);
    }
}

/* The least errors of a run over all points, without a wrong sign and with one; `at` and `at_flipped` are the first
 * points with the same upper half as the best ones. low_flips: the wrong sign is in the lower half. */
typedef struct run_best {
    f32x16 plain, flipped;
    u32x16 at, at_flipped, low_flips;
} run_best;

INLINE void best_points(const half_errors errors[2], const codebook *book, int locate, run_best *best)
{
    const int bits = half_bits(book), mask = (1 << bits) - 1;
    best->plain = best->flipped = f32_set1(FIT_MAX_ERROR);
    best->at = best->at_flipped = best->low_flips = u32_set1(0);
    for (int p = 0; p < book->points;) {
        const int from = p, high = book->entries[p] >> bits;
        f32x16 low = f32_load(errors[0].plain[book->entries[p] & mask]), flipped = low;
        if (book->even)
            flipped = f32_load(errors[0].flipped[book->entries[p] & mask]);
        while (++p < book->points && book->entries[p] >> bits == high) {
            low = f32_min(low, f32_load(errors[0].plain[book->entries[p] & mask]));
            if (book->even)
                flipped = f32_min(flipped, f32_load(errors[0].flipped[book->entries[p] & mask]));
        }
        const f32x16 upper = f32_load(errors[1].plain[high]), sum = f32_add(upper, low);
        if (locate)
            best->at = u32_select(f32_gt(best->plain, sum), u32_set1((uint32_t)from), best->at);
        best->plain = f32_min(best->plain, sum);
        if (!book->even)
            continue;
        const f32x16 in_low = f32_add(upper, flipped), in_high = f32_add(f32_load(errors[1].flipped[high]), low);
        const f32x16 least = f32_min(in_low, in_high);
        if (locate) {
            const m32x16 better = f32_gt(best->flipped, least);
            best->at_flipped = u32_select(better, u32_set1((uint32_t)from), best->at_flipped);
            best->low_flips = u32_select(better, u32_keep(f32_ge(in_high, in_low), u32_set1(1)), best->low_flips);
        }
        best->flipped = f32_min(best->flipped, least);
    }
}

/* odd: lanes with an odd number of negative values among the 8 from value k on: all bits set, else 0 */
INLINE f32x16 error_with(const fit_groups *g, f32x16 scale, const u32x16 *odd, const codebook *book)
{
    half_errors errors[2];
    run_best best[2];
    f32x16 sum = f32_set1(0);
    for (int k = 0; k < g->size; k += 8) {
        for (int part = 0; part < 8 / book->run; part++) {
            half_tables(g, k + part * book->run, scale, book, errors);
            best_points(errors, book, 0, &best[part]);
        }
        f32x16 error = best[0].plain;
        if (book->run == 4)
            error = f32_add(error, best[1].plain);
        if (book->even) {
            const f32x16 flipped =
                f32_min(f32_add(best[0].flipped, best[1].plain), f32_add(best[0].plain, best[1].flipped));
            error = f32_select(u32_eq(odd[k / 8], u32_set1(0)), error, flipped);
        }
        sum = f32_add(sum, error);
    }
    return sum;
}

/* Returns the point with the upper half of point `from` and the least error in lane l. */
INLINE int lowest_point(float low[HALF_CODES][16], int l, int from, const codebook *book)
{
    const int bits = half_bits(book), mask = (1 << bits) - 1, high = book->entries[from] >> bits;
    int best = from;
    float least = low[book->entries[from] & mask][l];
    for (int p = from + 1; p < book->points && book->entries[p] >> bits == high; p++) {
        const float error = low[book->entries[p] & mask][l];
        best = error < least ? p : best;
        least = error < least ? error : least;
    }
    return best;
}

INLINE void put_levels(int point, int k, int l, const codebook *book, grid_choice *to)
{
    const int mask = (1 << book->width) - 1;
    for (int i = 0; i < book->run; i++)
        to->levels[k + i][l] = book->level[book->entries[point] >> i * book->width & mask];
}

/* Of the two values k and k + 1, makes the level of that negative whose sign costs less to change. */
INLINE void put_wrong(const fit_groups *g, int k, int l, grid_choice *to)
{
    const float first = g->weights[k][l] * g->values[k][l] * to->levels[k][l];
    const float second = g->weights[k + 1][l] * g->values[k + 1][l] * to->levels[k + 1][l];
    const int wrong = second < first ? k + 1 : k;
    to->levels[wrong][l] = -to->levels[wrong][l];
    to->wrong[k / 8][l] = (uint8_t)(wrong % 8);
}

INLINE void choose_with(const fit_groups *g, f32x16 scale, const u32x16 *odd, const codebook *book, grid_choice *to)
{
    half_errors errors[2][2];
    run_best best[2];
    for (int k = 0; k < g->size; k += 8) {
        uint32_t at[2][2][16], low_flips[2][16], flips[2][16];
        const int parts = 8 / book->run;
        for (int part = 0; part < parts; part++) {
            half_tables(g, k + part * book->run, scale, book, errors[part]);
            best_points(errors[part], book, 1, &best[part]);
            f32_store((float *)(void *)at[part][0], f32_of_bits(best[part].at));
            f32_store((float *)(void *)at[part][1], f32_of_bits(best[part].at_flipped));
            f32_store((float *)(void *)low_flips[part], f32_of_bits(best[part].low_flips));
        }
        memset(flips, 0, sizeof flips);
        if (book->even) {
            const f32x16 first = f32_add(best[0].flipped, best[1].plain),
                         second = f32_add(best[0].plain, best[1].flipped);
            const u32x16 in_second = u32_keep(f32_gt(first, second), u32_set1(1));
            f32_store((float *)(void *)flips[0], f32_of_bits(u32_and(odd[k / 8], u32_sub(u32_set1(1), in_second))));
            f32_store((float *)(void *)flips[1], f32_of_bits(u32_and(odd[k / 8], in_second)));
        }
        for (int l = 0; l < 16; l++) {
            to->wrong[k / 8][l] = 8;
            for (int part = 0; part < parts; part++) {
                const int from = k + part * book->run, run = from / book->run, flip = (int)flips[part][l];
                const int low = flip && low_flips[part][l];
                const int point = lowest_point(low ? errors[part][0].flipped : errors[part][0].plain, l,
                                               (int)at[part][flip][l], book);
                to->points[run][l] = (uint16_t)point;
                put_levels(point, from, l, book, to);
                if (flip)
                    put_wrong(g, low ? from : from + 2, l, to);
            }
        }
    }
}

/* A function for each codebook, since the loops over levels and points need constant bounds. */
#define CODEBOOK(name)                                                                                                 \
    SHARED f32x16 error_with_##name(const fit_groups *g, f32x16 scale, const u32x16 *odd)                              \
    {                                                                                                                  \
        return error_with(g, scale, odd, &of_##name);                                                                  \
    }                                                                                                                  \
    SHARED void choose_with_##name(const fit_groups *g, f32x16 scale, const u32x16 *odd, grid_choice *to)              \
    {                                                                                                                  \
        choose_with(g, scale, odd, &of_##name, to);                                                                    \
    }
CODEBOOK(iq3_xxs)
CODEBOOK(iq3_s)
CODEBOOK(iq2_s)

INLINE f32x16 grid_error_of(const fit_groups *g, f32x16 scale, const u32x16 *odd, const codebook *book)
{
    if (book->even)
        return error_with_iq3_xxs(g, scale, odd);
    return book->run == 4 ? error_with_iq3_s(g, scale, odd) : error_with_iq2_s(g, scale, odd);
}

INLINE void grid_choose(const fit_groups *g, f32x16 scale, const u32x16 *odd, const codebook *book, grid_choice *to)
{
    if (book->even)
        choose_with_iq3_xxs(g, scale, odd, to);
    else if (book->run == 4)
        choose_with_iq3_s(g, scale, odd, to);
    else
        choose_with_iq2_s(g, scale, odd, to);
}

/* Sets *px and *pp to the sums of weight x value x level and weight x level^2. */
INLINE void level_sums(const fit_groups *g, const grid_choice *c, f32x16 *px, f32x16 *pp)
{
    *px = *pp = f32_set1(0);
    for (int k = 0; k < g->size; k++) {
        const f32x16 level = f32_load(c->levels[k]), wl = f32_mul(f32_load(g->weights[k]), level);
        *px = f32_fma(wl, f32_load(g->values[k]), *px);
        *pp = f32_fma(wl, level, *pp);
    }
}

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

INLINE f32x16 best_scale(const fit_groups *g, const u32x16 *odd, const codebook *book)
{
    f32x16 peak = f32_load(g->values[0]), best = f32_set1(0), least = f32_set1(FIT_MAX_ERROR);
    for (int k = 1; k < g->size; k++)
        peak = f32_max(peak, f32_load(g->values[k]));
    peak = f32_select(f32_gt(peak, f32_set1(FIT_MIN_RANGE)), peak, f32_set1(0));
    for (int t = 0; t < TRIES; t++) {
        const f32x16 s = f32_mul(peak, f32_set1(1 / book->peak_level[t])), error = grid_error_of(g, s, odd, book);
        const m32x16 better = f32_gt(least, error);
        least = f32_select(better, error, least);
        best = f32_select(better, s, best);
    }
    return best;
}

/* The odd number next to a: 2 code + 1, code from 0 to 15. */
INLINE f32x16 odd_multiple(f32x16 a)
{
    const f32x16 code = fit_code(f32_mul(f32_sub(a, f32_set1(1)), f32_set1(0.5f)), 0, 15);
    return f32_add(f32_add(code, code), f32_set1(1));
}

INLINE float sum_of_lanes(const float *values, int n)
{
    float sum = 0;
    for (int l = 0; l < n; l++)
        sum += values[l];
    return sum;
}

/* For each block, i.e. `span` lanes, the unit d x book->unit. */
INLINE void spread_unit(float *lanes, int span, float value, const codebook *book)
{
    uint8_t stored[2];
    const float unit = fit_put_half(stored, value / book->unit) * book->unit;
    for (int l = 0; l < span; l++)
        lanes[l] = unit;
}

/* Chooses each block's unit so that the groups' best scales lose least, if the error grows with the square of the
 * distance from them. */
enum { UNITS = 40 };
INLINE void first_units(f32x16 scales, f32x16 pp, int span, const codebook *book, float *units)
{
    float s[16], least[2] = {FIT_MAX_ERROR, FIT_MAX_ERROR};
    f32_store(s, scales);
    float top[2] = {0, 0};
    for (int l = 0; l < 16; l++)
        top[l / span] = s[l] > top[l / span] ? s[l] : top[l / span];
    for (int l = 0; l < 16; l++)
        units[l] = 0;
    for (int t = 0; t < UNITS; t++) {
        float tried[16], errors[16];
        for (int b = 0; b < 16; b += span)
            spread_unit(tried + b, span, top[b / span] / (32.5f - 0.5f * (float)t), book);
        const f32x16 unit = f32_load(tried), to = f32_mul(unit, odd_multiple(f32_mul(scales, fit_inverse(unit))));
        const f32x16 off = f32_sub(scales, to);
        f32_store(errors, f32_mul(f32_mul(pp, off), off));
        for (int b = 0; b < 16; b += span) {
            const float error = sum_of_lanes(errors + b, span);
            if (error < least[b / span]) {
                least[b / span] = error;
                memcpy(units + b, tried + b, (size_t)span * sizeof *units);
            }
        }
    }
}

INLINE f32x16 best_multiples(const fit_groups *g, const u32x16 *odd, f32x16 unit, f32x16 multiples,
                             const codebook *book)
{
    f32x16 least = f32_set1(FIT_MAX_ERROR), best = multiples;
    for (int step = -2; step <= 2; step += 2) {
        const f32x16 next = f32_max(f32_min(f32_add(multiples, f32_set1((float)step)), f32_set1(31)), f32_set1(1));
        const f32x16 error = grid_error_of(g, f32_mul(unit, next), odd, book);
        const m32x16 better = f32_gt(least, error);
        least = f32_select(better, error, least);
        best = f32_select(better, next, best);
    }
    return best;
}

INLINE void solve_units(f32x16 px, f32x16 pp, f32x16 multiples, int span, const codebook *book, float *units)
{
    float over[16], under[16];
    f32_store(over, f32_mul(multiples, px));
    f32_store(under, f32_mul(f32_mul(multiples, multiples), pp));
    for (int b = 0; b < 16; b += span) {
        const float o = sum_of_lanes(over + b, span), u = sum_of_lanes(under + b, span);
        if (u > 0 && o > 0)
            spread_unit(units + b, span, o / u, book);
    }
}

/* ---- blocks ---- */

typedef struct fitted {
    float units[16];
    uint8_t codes[16]; /* of the scales */
    uint32_t signs[4][16];
    grid_choice points;
} fitted;

INLINE void fit_16(fit_groups *g, const codebook *book, fitted *f)
{
    const int span = 256 / g->size;
    u32x16 signs[4], odd[4];
    f32x16 px, pp;
    take_signs(g, signs, odd);
    f32x16 scales = best_scale(g, odd, book);
    for (int again = 0; again < 1; again++) {
        grid_choose(g, scales, odd, book, &f->points);
        level_sums(g, &f->points, &px, &pp);
        const m32x16 some = f32_gt(px, f32_set1(0));
        scales = f32_select(some, f32_div(px, pp), scales);
    }
    first_units(scales, pp, span, book, f->units);
    f32x16 multiples = odd_multiple(f32_mul(scales, fit_inverse(f32_load(f->units))));
    for (int round = 0; round < 2; round++) {
        multiples = best_multiples(g, odd, f32_load(f->units), multiples, book);
        grid_choose(g, f32_mul(f32_load(f->units), multiples), odd, book, &f->points);
        level_sums(g, &f->points, &px, &pp);
        solve_units(px, pp, multiples, span, book, f->units);
    }
    grid_choose(g, f32_mul(f32_load(f->units), multiples), odd, book, &f->points);
    u8_store(f->codes, s8_of_f32(f32_mul(f32_sub(multiples, f32_set1(1)), f32_set1(0.5f))));
    for (int k = 0; k < g->size / 8; k++)
        f32_store((float *)(void *)f->signs[k], f32_of_bits(signs[k]));
}

/* The lanes from `lane` on are the groups of the block. */
INLINE void store_iq3_xxs(const fitted *f, int lane, block_iq3_xxs *b)
{
    half_put(b->d, f->units[lane] * 4);
    for (int j = 0; j < 8; j++) {
        uint32_t word = (uint32_t)f->codes[lane + j] << 28;
        for (int r = 0; r < 8; r++)
            b->indices[8 * j + r] = (uint8_t)f->points.points[r][lane + j];
        for (int r = 0; r < 4; r++) {
            const uint32_t wrong = 1u << f->points.wrong[r][lane + j]; /* bit 8: none */
            word |= ((f->signs[r][lane + j] ^ wrong) & 127) << 7 * r;
        }
        memcpy(b->groups + 4 * j, &word, sizeof word);
    }
}

INLINE void store_iq3_s(const fitted *f, int lane, block_iq3_s *b)
{
    half_put(b->d, f->units[lane]);
    for (int j = 0; j < 8; j++) {
        unsigned high = 0;
        for (int r = 0; r < 8; r++) {
            b->indices[8 * j + r] = (uint8_t)f->points.points[r][lane + j];
            high |= (unsigned)f->points.points[r][lane + j] >> 8 << r;
        }
        b->high[j] = (uint8_t)high;
        for (int r = 0; r < 4; r++)
            b->signs[4 * j + r] = (uint8_t)f->signs[r][lane + j];
    }
    for (int j = 0; j < 4; j++)
        b->scales[j] = (uint8_t)(f->codes[lane + 2 * j] | f->codes[lane + 2 * j + 1] << 4);
}

INLINE void store_iq2_s(const fitted *f, block_iq2_s *b)
{
    half_put(b->d, f->units[0] * 8);
    for (int j = 0; j < 8; j++) {
        unsigned high = 0;
        for (int r = 0; r < 4; r++) {
            const unsigned point = f->points.points[r % 2][2 * j + r / 2];
            b->indices[4 * j + r] = (uint8_t)point;
            b->signs[4 * j + r] = (uint8_t)f->signs[r % 2][2 * j + r / 2];
            high |= point >> 8 << 2 * r;
        }
        b->high[j] = (uint8_t)high;
        b->scales[j] = (uint8_t)(f->codes[2 * j] | f->codes[2 * j + 1] << 4);
    }
}

void KERNEL(fit_iq3_xxs)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    block_iq3_xxs *to = blocks;
    fit_groups g = {.size = 32};
    fitted f;
    for (size_t at = 0; at < n; at += 2) {
        fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, n - at < 2 ? 8 : 16);
        fit_16(&g, &of_iq3_xxs, &f);
        for (size_t b = 0; b < 2 && at + b < n; b++)
            store_iq3_xxs(&f, 8 * (int)b, to + at + b);
    }
}

void KERNEL(fit_iq3_s)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    block_iq3_s *to = blocks;
    fit_groups g = {.size = 32};
    fitted f;
    for (size_t at = 0; at < n; at += 2) {
        fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, n - at < 2 ? 8 : 16);
        fit_16(&g, &of_iq3_s, &f);
        for (size_t b = 0; b < 2 && at + b < n; b++)
            store_iq3_s(&f, 8 * (int)b, to + at + b);
    }
}

void KERNEL(fit_iq2_s)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    block_iq2_s *to = blocks;
    fit_groups g = {.size = 16};
    fitted f;
    for (size_t at = 0; at < n; at++) {
        fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, 16);
        fit_16(&g, &of_iq2_s, &f);
        store_iq2_s(&f, to + at);
    }
}

#endif
