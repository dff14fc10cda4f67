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

/* Unrolled, the numbers of the points are constants, and the vector loads of a loop over them need no addresses. */
#if defined(ISA_AVX2) || defined(ISA_AVX512)
#define UNROLL_POINTS _Pragma("GCC unroll 1024")
#else
#define UNROLL_POINTS
#endif

enum { HALF_CODES = 256, RUNS = 8, TRIES = 6 };

/* The weighted errors of half a run, the first values of it, with each combination of levels; the index is the lower
 * half of an entry. `flipped`: with the sign of one value wrong, that which costs least. */
typedef struct low_half {
    float plain[HALF_CODES][16], flipped[HALF_CODES][16];
} low_half;

/* The least error of a run over all points. place: twice the number of the last point with the same upper half, plus 1
 * if the sign that is wrong is in the lower half. */
typedef struct grid_best {
    f32x16 error;
    u32x16 place;
} grid_best;

/* The best points of a run with right signs and, for types with an even number of negative values, with one wrong
 * sign. */
typedef struct best_run {
    grid_best plain, flipped;
} best_run;

/* Searches the points for the run of values from k on. */
typedef void run_search(const fit_groups *g, int k, f32x16 scale, low_half *low, best_run *best);
SHARED run_search search_iq3_xxs, search_iq3_s, search_iq2_s;

typedef struct codebook {
    const uint16_t *entries; /* fields of `width` bits, the first in the lowest; in ascending order */
    int points;
    int run;    /* fields of an entry: 4 or 8 */
    int width;  /* bits of a field */
    int levels; /* values of a field */
    int even;   /* of 8 values, the number of negative ones is even */
    float unit; /* the scale of a group is d x unit x odd number */
    float level[16];
    float peak_level[TRIES]; /* try t takes the scale that maps the largest magnitude of a group to this level */
    run_search *search;
} codebook;

static const codebook of_iq3_xxs = {.entries = iq3_xxs_grid,
                                    .points = 256,
                                    .run = 4,
                                    .width = 3,
                                    .levels = 8,
                                    .even = 1,
                                    .unit = 0.25f,
                                    .level = {4, 12, 20, 28, 36, 44, 52, 62},
                                    .peak_level = {49.6f, 55.5f, 62, 69.4f, 77.6f, 86.8f},
                                    .search = search_iq3_xxs};
static const codebook of_iq3_s = {.entries = iq3_s_grid,
                                  .points = 512,
                                  .run = 4,
                                  .width = 3,
                                  .levels = 8,
                                  .unit = 1,
                                  .level = {1, 3, 5, 7, 9, 11, 13, 15},
                                  .peak_level = {12, 13.4f, 15, 16.8f, 18.8f, 21},
                                  .search = search_iq3_s};
static const codebook of_iq2_s = {.entries = iq2_s_grid,
                                  .points = 1024,
                                  .run = 8,
                                  .width = 2,
                                  .levels = 3,
                                  .unit = 0.125f,
                                  .level = {8, 25, 43},
                                  .peak_level = {34.4f, 39.5f, 45.4f, 52.1f, 59.9f, 68.8f},
                                  .search = search_iq2_s};

/* The errors of the last values of a run, from which those of the upper half of an entry are sums: for IQ3 of one value
 * each, for IQ2 of two. With a wrong sign an error grows by a product of `flips` and the level. */
typedef struct high_half {
    f32x16 first[9], second[9], flips[2];
} high_half;

/* The points chosen for 16 groups. For each run and lane: the number of the point. For 8 values and lane: a bit for the
 * value whose sign is wrong, if one is. levels: the level of each value, negative if its sign is wrong. */
typedef struct grid_choice {
    uint32_t points[RUNS][16], wrong[RUNS / 2][16];
    float levels[FIT_MAX][16];
} grid_choice;

/* The errors of value k at each level. */
INLINE void level_errors(const fit_groups *g, int k, f32x16 scale, const codebook *book, f32x16 *errors)
{
    const f32x16 a = f32_load(g->values[k]), w = f32_load(g->weights[k]);
    UNROLL for (int l = 0; l < book->levels; l++)
    {
        const f32x16 lost = f32_fnma(scale, f32_set1(book->level[l]), a);
        errors[l] = f32_mul(f32_mul(w, lost), lost);
    }
}

/* Returns the factor of a level l by which the weighted squared error of value k grows if the value gets the wrong
 * sign: w (a + s l)^2 - w (a - s l)^2 = 4 w a s l. */
INLINE f32x16 flip_of(const fit_groups *g, int k, f32x16 scale)
{
    return f32_mul(f32_mul(f32_mul(f32_set1(4), scale), f32_load(g->weights[k])), f32_load(g->values[k]));
}

/* Sets errors[l + levels m] to the error of value k at level l plus that of value k + 1 at level m, for IQ2. */
INLINE void pair_errors(const fit_groups *g, int k, f32x16 scale, const codebook *book, f32x16 errors[9])
{
    f32x16 first[3], second[3];
    level_errors(g, k, scale, book, first);
    level_errors(g, k + 1, scale, book, second);
    UNROLL for (int j = 0; j < 9; j++) errors[j] = f32_add(first[j % 3], second[j / 3]);
}

/* The half of a run from value k on. */
INLINE void half_errors(const fit_groups *g, int k, f32x16 scale, const codebook *book, high_half *to)
{
    if (book->run == 8) {
        pair_errors(g, k, scale, book, to->first);
        pair_errors(g, k + 2, scale, book, to->second);
        return;
    }
    level_errors(g, k, scale, book, to->first);
    level_errors(g, k + 1, scale, book, to->second);
    if (book->even) {
        to->flips[0] = flip_of(g, k, scale);
        to->flips[1] = flip_of(g, k + 1, scale);
    }
}

/* The error of the half `code` of an entry. */
INLINE f32x16 half_error(const high_half *half, int code, const codebook *book)
{
    if (book->run == 4)
        return f32_add(half->first[code & 7], half->second[code >> 3]);
    return f32_add(half->first[(code & 3) + 3 * (code >> 2 & 3)], half->second[(code >> 4 & 3) + 3 * (code >> 6)]);
}

INLINE f32x16 half_flipped(const high_half *half, int code, f32x16 error, const codebook *book)
{
    return f32_add(error, f32_min(f32_mul(half->flips[0], f32_set1(book->level[code & 7])),
                                  f32_mul(half->flips[1], f32_set1(book->level[code >> 3]))));
}

INLINE void fill_low(const high_half *half, const codebook *book, low_half *low)
{
    const int n = book->run == 4 ? 8 : 9;
    for (int second = 0; second < n; second++)
        UNROLL for (int first = 0; first < n; first++)
        {
            const int code =
                book->run == 4 ? first | second << 3 : first % 3 | first / 3 << 2 | second % 3 << 4 | second / 3 << 6;
            const f32x16 error = f32_add(half->first[first], half->second[second]);
            f32_store(low->plain[code], error);
            if (book->even)
                f32_store(low->flipped[code], half_flipped(half, code, error, book));
        }
}

INLINE void take_better(grid_best *best, f32x16 error, int place)
{
    best->place = u32_select(f32_gt(best->error, error), u32_set1((uint32_t)place), best->place);
    best->error = f32_min(best->error, error);
}

/* Of equal points the first upper half in order of entries is taken; of equal wrong signs, that of the lower half. */
INLINE best_run best_points(const low_half *low, const high_half *high, const codebook *book)
{
    const uint16_t *const entries = book->entries;
    const int bits = book->run / 2 * book->width, mask = (1 << bits) - 1;
    const f32x16 most = f32_set1(FIT_MAX_ERROR);
    const grid_best none = {most, u32_set1(0)};
    best_run best = {none, none};
    f32x16 lower = most, lower_flipped = most;
    UNROLL_POINTS for (int p = 0; p < book->points; p++)
    {
        const int code = entries[p] >> bits;
        lower = f32_min(lower, f32_load(low->plain[entries[p] & mask]));
        if (book->even)
            lower_flipped = f32_min(lower_flipped, f32_load(low->flipped[entries[p] & mask]));
        if (p + 1 < book->points && entries[p + 1] >> bits == code)
            continue;
        const f32x16 upper = half_error(high, code, book);
        take_better(&best.plain, f32_add(upper, lower), 2 * p);
        if (book->even) {
            take_better(&best.flipped, f32_add(upper, lower_flipped), 2 * p + 1);
            take_better(&best.flipped, f32_add(half_flipped(high, code, upper, book), lower), 2 * p);
        }
        lower = lower_flipped = most;
    }
    return best;
}

/* A function for each codebook, since the loops over levels and points need constant bounds. */
#define SEARCH(name)                                                                                                   \
    static void search_##name(const fit_groups *g, int k, f32x16 scale, low_half *low, best_run *best)                 \
    {                                                                                                                  \
        high_half half;                                                                                                \
        half_errors(g, k, scale, &of_##name, &half);                                                                   \
        fill_low(&half, &of_##name, low);                                                                              \
        half_errors(g, k + of_##name.run / 2, scale, &of_##name, &half);                                               \
        *best = best_points(low, &half, &of_##name);                                                                   \
    }
SEARCH(iq3_xxs)
SEARCH(iq3_s)
SEARCH(iq2_s)

/* The search for 8 values, in one or two runs. flips[part]: lanes of which a sign in that run is wrong. */
typedef struct search_of_8 {
    low_half low[2];
    best_run best[2];
    u32x16 flips[2];
} search_of_8;

/* odd: all bits of a lane are set if an odd number of the 8 values from k on is negative, else none. Returns the error
 * of the best points with these signs. */
INLINE f32x16 search_8(const fit_groups *g, int k, f32x16 scale, u32x16 odd, const codebook *book, search_of_8 *s)
{
    const best_run *const best = s->best;
    s->flips[0] = s->flips[1] = u32_set1(0);
    for (int part = 0; part < 8 / book->run; part++)
        book->search(g, k + part * book->run, scale, &s->low[part], &s->best[part]);
    if (book->run == 8)
        return best[0].plain.error;
    const f32x16 right = f32_add(best[0].plain.error, best[1].plain.error);
    if (!book->even)
        return right;
    const f32x16 first = f32_add(best[0].flipped.error, best[1].plain.error),
                 second = f32_add(best[0].plain.error, best[1].flipped.error);
    s->flips[1] = u32_keep(f32_gt(first, second), odd);
    s->flips[0] = u32_sub(odd, s->flips[1]);
    return f32_select(u32_eq(odd, u32_set1(0)), right, f32_min(first, second));
}

SHARED f32x16 least_error(const fit_groups *g, f32x16 scale, const u32x16 *odd, const codebook *book)
{
    search_of_8 s;
    f32x16 sum = f32_set1(0);
    for (int k = 0; k < g->size; k += 8)
        sum = f32_add(sum, search_8(g, k, scale, odd[k / 8], book, &s));
    return sum;
}

/* Sets points[l] to the number of the best point in lane l, of equal ones the first, and returns the entries of these
 * points. Errors are not negative, so their bits have their order; the compiler selects integers without a jump. */
INLINE u32x16 locate_points(const low_half *low, u32x16 places, const codebook *book, uint32_t points[16])
{
    const uint16_t *const entries = book->entries;
    const int bits = book->run / 2 * book->width, mask = (1 << bits) - 1;
    uint32_t found[16];
    u32_put(points, places);
    for (int l = 0; l < 16; l++) {
        const float(*const errors)[16] = points[l] % 2 ? low->flipped : low->plain;
        const int last = (int)points[l] / 2, code = entries[last] >> bits;
        uint32_t least = UINT32_MAX;
        int best = last;
        for (int p = last; p >= 0 && entries[p] >> bits == code; p--) {
            uint32_t error;
            memcpy(&error, &errors[entries[p] & mask][l], sizeof error);
            best = error <= least ? p : best;
            least = error <= least ? error : least;
        }
        points[l] = (uint32_t)best;
        found[l] = entries[best];
    }
    return u32_get(found);
}

/* Of the values of a run from k on, makes the level of that negative whose sign costs least to change, in the lanes of
 * `flips`. Sets those bits of *wrong. */
INLINE void put_wrong(const fit_groups *g, int k, u32x16 flips, grid_choice *to, u32x16 *wrong)
{
    f32x16 least = f32_set1(FIT_MAX_ERROR);
    u32x16 at = u32_set1(0);
    for (int i = 0; i < 4; i++) {
        const f32x16 cost =
            f32_mul(f32_mul(f32_load(g->weights[k + i]), f32_load(g->values[k + i])), f32_load(to->levels[k + i]));
        at = u32_select(f32_gt(least, cost), u32_set1(1u << i), at);
        least = f32_min(least, cost);
    }
    at = u32_and(at, flips);
    for (int i = 0; i < 4; i++) {
        const f32x16 level = f32_load(to->levels[k + i]);
        f32_store(to->levels[k + i], f32_select(u32_eq(at, u32_set1(1u << i)), fit_negative(level), level));
    }
    *wrong = u32_or(*wrong, k % 8 ? u32_sll(at, 4) : at);
}

/* Chooses for each run of values the nearest point of the codebook at this scale. */
SHARED void choose_points(const fit_groups *g, f32x16 scale, const u32x16 *odd, const codebook *book, grid_choice *to)
{
    const f32x16 levels = f32_load(book->level);
    const u32x16 field = u32_set1((1u << book->width) - 1);
    search_of_8 s;
    for (int k = 0; k < g->size; k += 8) {
        u32x16 wrong = u32_set1(0);
        search_8(g, k, scale, odd[k / 8], book, &s);
        for (int part = 0; part < 8 / book->run; part++) {
            const int from = k + part * book->run;
            const m32x16 right = u32_eq(s.flips[part], u32_set1(0));
            const u32x16 places = u32_select(right, s.best[part].plain.place, s.best[part].flipped.place);
            const u32x16 entries = locate_points(&s.low[part], places, book, to->points[from / book->run]);
            for (int i = 0; i < book->run; i++)
                f32_store(to->levels[from + i], f32_lookup(levels, u32_and(u32_srl(entries, i * book->width), field)));
            if (book->even)
                put_wrong(g, from, s.flips[part], to, &wrong);
        }
        u32_put(to->wrong[k / 8], wrong);
    }
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

/* The odd number next to a: 2 code + 1, code from 0 to 15. */
INLINE f32x16 odd_multiple(f32x16 a)
{
    const f32x16 code = fit_code(f32_mul(f32_sub(a, f32_set1(1)), f32_set1(0.5f)), 0, 15);
    return f32_add(f32_add(code, code), f32_set1(1));
}

/* For each block, i.e. `span` lanes, the unit d x book->unit. */
INLINE void spread_unit(float *lanes, int span, float value, const codebook *book)
{
    const float unit = fit_half(value / book->unit) * book->unit;
    for (int l = 0; l < span; l++)
        lanes[l] = unit;
}

/* Chooses each block's unit so that the groups' best scales lose least, if the error grows with the square of the
 * distance from them. Tries the quotients 32.5, 32, ... 13 of the greatest scale, whose greatest multiple is 31. */
enum { UNITS = 40 };
INLINE void first_units(f32x16 scales, f32x16 pp, int span, const codebook *book, float *units)
{
    float s[16], least[2] = {FIT_MAX_ERROR, FIT_MAX_ERROR};
    f32_store(s, scales);
    float top[2] = {0, 0};
    for (int l = 0; l < 16; l++)
        top[l / span] = s[l] > top[l / span] ? s[l] : top[l / span];
    memset(units, 0, 16 * sizeof *units);
    for (int t = 0; t < UNITS; t++) {
        float tried[16], errors[16];
        for (int b = 0; b < 16; b += span)
            spread_unit(tried + b, span, top[b / span] / (32.5f - 0.5f * (float)t), book);
        const f32x16 unit = f32_load(tried), to = f32_mul(unit, odd_multiple(f32_mul(scales, fit_inverse(unit))));
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

/* Sets the unit of each block to the quotient of the sums of its lanes, or to the root of the quotient. */
INLINE void quotient_units(f32x16 above, f32x16 below, int root, int span, const codebook *book, float *units)
{
    float over[16], under[16];
    f32_store(over, above);
    f32_store(under, below);
    for (int b = 0; b < 16; b += span) {
        const float o = fit_sum(over + b, span), u = fit_sum(under + b, span);
        if (u > 0 && o > 0)
            spread_unit(units + b, span, root ? __builtin_sqrtf(o / u) : o / u, book);
    }
}

INLINE f32x16 sum_of_squares(const fit_groups *g)
{
    f32x16 squares = f32_set1(0);
    for (int k = 0; k < g->size; k++) {
        const f32x16 a = f32_load(g->values[k]);
        squares = f32_fma(f32_mul(f32_load(g->weights[k]), a), a, squares);
    }
    return squares;
}

/* ---- blocks ---- */

typedef struct fitted {
    float units[16];
    uint8_t codes[16]; /* of the scales */
    uint32_t signs[4][16];
    grid_choice points;
} fitted;

/* Fits 16 groups: points for the best scale of each group, a unit for each block, multiples of it near these scales,
 * then points and units again for these multiples. */
SHARED void fit_16(fit_groups *g, const codebook *book, fitted *f)
{
    const int span = 256 / g->size;
    u32x16 signs[4], odd[4];
    f32x16 px, pp;
    take_signs(g, signs, odd);
    f32x16 scales = best_scale(g, odd, book);
    choose_points(g, scales, odd, book, &f->points);
    level_sums(g, &f->points, &px, &pp);
    scales = f32_select(f32_gt(px, f32_set1(0)), f32_div(px, pp), f32_set1(0));
    first_units(scales, pp, span, book, f->units);
    f32x16 multiples = odd_multiple(f32_mul(scales, fit_inverse(f32_load(f->units))));
    multiples = best_multiples(g, odd, f32_load(f->units), multiples, book);
    choose_points(g, f32_mul(f32_load(f->units), multiples), odd, book, &f->points);
    level_sums(g, &f->points, &px, &pp);
    const f32x16 factors = f32_mul(multiples, multiples);
    quotient_units(f32_mul(multiples, px), f32_mul(factors, pp), /*root=*/0, span, book, f->units);
    choose_points(g, f32_mul(f32_load(f->units), multiples), odd, book, &f->points);
    level_sums(g, &f->points, &px, &pp);
    /* Least squares makes decoded values smaller than the values by the same factor in all rows of a matrix, which
     * outputs would show. This gives the decoded values of each block the weighted sum of squares of the values. */
    quotient_units(sum_of_squares(g), f32_mul(factors, pp), /*root=*/1, span, book, f->units);
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

INLINE void store_iq2_s(const fitted *f, block_iq2_s *b)
{
    half_put(b->d, f->units[0] * 8);
    for (int j = 0; j < 8; j++) {
        unsigned high = 0;
        for (int r = 0; r < 4; r++) {
            const unsigned point = f->points.points[r % 2][2 * j + r / 2];
            b->indices[4 * j + r] = (uint8_t)point;
            b->signs[4 * j + r] = (uint8_t)f->signs[r % 2][2 * j + r / 2];
            high |= (point >> 8 & 3) << 2 * r;
        }
        b->high[j] = (uint8_t)high;
        b->scales[j] = (uint8_t)(f->codes[2 * j] | f->codes[2 * j + 1] << 4);
    }
}

#define FIT_IQ3(name)                                                                                                  \
    void KERNEL(fit_##name)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)            \
    {                                                                                                                  \
        fit_groups g = {.size = 32};                                                                                   \
        fitted f;                                                                                                      \
        for (size_t at = 0; at < n; at += 2) {                                                                         \
            fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, n - at < 2 ? 8 : 16);        \
            fit_16(&g, &of_##name, &f);                                                                                \
            for (size_t b = 0; b < 2 && at + b < n; b++)                                                               \
                store_##name(&f, 8 * (int)b, (block_##name *)blocks + at + b);                                         \
        }                                                                                                              \
    }
FIT_IQ3(iq3_xxs)
FIT_IQ3(iq3_s)

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
