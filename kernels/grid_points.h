/* SPDX-License-Identifier: MIT
 * The codebooks of the types IQ2 and IQ3, and the search of the best point for each run of values at a given scale. */
#include "kernels/fit_units.h"
#include "kernels/ggml_grids.h"

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
SHARED run_search search_iq3_xxs, search_iq3_s, search_iq2_s, search_iq2_xs, search_iq2_xxs;

typedef struct codebook {
    const uint16_t *entries; /* fields of `width` bits, the first in the lowest; in ascending order */
    int points;
    int run;    /* fields of an entry: 4 or 8 */
    int width;  /* bits of a field */
    int levels; /* values of a field */
    int even;   /* of 8 values, the number of negative ones is even */
    int rounds; /* of the search for scales, at most */
    fit_units units;
    float level[16];
    float peak_level[TRIES]; /* try t takes the scale that maps the largest magnitude of a group to this level */
    run_search *search;
} codebook;

/* What the codebooks of IQ2 have in common. */
#define IQ2_FIELDS                                                                                                     \
    .run = 8, .width = 2, .levels = 3, .units = {0.125f, 31, 40}, .level = {8, 25, 43},                                \
    .peak_level = {34.4f, 39.5f, 45.4f, 52.1f, 59.9f, 68.8f}

static const codebook of_iq3_xxs = {.entries = iq3_xxs_grid,
                                    .points = 256,
                                    .run = 4,
                                    .width = 3,
                                    .levels = 8,
                                    .even = 1,
                                    .rounds = 1,
                                    .units = {0.25f, 31, 40},
                                    .level = {4, 12, 20, 28, 36, 44, 52, 62},
                                    .peak_level = {49.6f, 55.5f, 62, 69.4f, 77.6f, 86.8f},
                                    .search = search_iq3_xxs};
static const codebook of_iq3_s = {.entries = iq3_s_grid,
                                  .points = 512,
                                  .run = 4,
                                  .width = 3,
                                  .levels = 8,
                                  .rounds = 1,
                                  .units = {1, 31, 40},
                                  .level = {1, 3, 5, 7, 9, 11, 13, 15},
                                  .peak_level = {12, 13.4f, 15, 16.8f, 18.8f, 21},
                                  .search = search_iq3_s};
static const codebook of_iq2_s = {
    .entries = iq2_s_grid, .points = 1024, .rounds = 1, .search = search_iq2_s, IQ2_FIELDS};
static const codebook of_iq2_xs = {
    .entries = iq2_xs_grid, .points = 512, .even = 1, .rounds = 8, .search = search_iq2_xs, IQ2_FIELDS};
static const codebook of_iq2_xxs = {
    .entries = iq2_xxs_grid, .points = 256, .even = 1, .rounds = 8, .search = search_iq2_xxs, IQ2_FIELDS};

/* The errors of the last values of a run, from which those of the upper half of an entry are sums: for IQ3 of one value
 * each, for IQ2 of two. The flips are what an error grows by if one of its values gets the wrong sign. */
typedef struct high_half {
    f32x16 first[9], second[9], first_flips[9], second_flips[9];
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

/* Sets flips[l] to what the error of value k at level l grows by if the value gets the wrong sign. */
INLINE void level_flips(const fit_groups *g, int k, f32x16 scale, const codebook *book, f32x16 *flips)
{
    const f32x16 of_level = flip_of(g, k, scale);
    UNROLL for (int l = 0; l < book->levels; l++) flips[l] = f32_mul(of_level, f32_set1(book->level[l]));
}

/* Sets errors[l + 3 m] to the error of value k at level l plus that of value k + 1 at level m, and flips[l + 3 m] to
 * the lesser flip of both. */
INLINE void pair_errors(const fit_groups *g, int k, f32x16 scale, const codebook *book, f32x16 errors[9],
                        f32x16 flips[9])
{
    f32x16 first[3], second[3];
    level_errors(g, k, scale, book, first);
    level_errors(g, k + 1, scale, book, second);
    UNROLL for (int j = 0; j < 9; j++) errors[j] = f32_add(first[j % 3], second[j / 3]);
    if (!book->even)
        return;
    level_flips(g, k, scale, book, first);
    level_flips(g, k + 1, scale, book, second);
    UNROLL for (int j = 0; j < 9; j++) flips[j] = f32_min(first[j % 3], second[j / 3]);
}

/* The half of a run from value k on. */
INLINE void half_errors(const fit_groups *g, int k, f32x16 scale, const codebook *book, high_half *to)
{
    if (book->run == 8) {
        pair_errors(g, k, scale, book, to->first, to->first_flips);
        pair_errors(g, k + 2, scale, book, to->second, to->second_flips);
        return;
    }
    level_errors(g, k, scale, book, to->first);
    level_errors(g, k + 1, scale, book, to->second);
    if (book->even) {
        level_flips(g, k, scale, book, to->first_flips);
        level_flips(g, k + 1, scale, book, to->second_flips);
    }
}

/* The numbers that the two parts of half an entry have in the arrays of high_half. */
INLINE int first_of(int code, const codebook *book)
{
    return book->run == 4 ? code & 7 : (code & 3) + 3 * (code >> 2 & 3);
}
INLINE int second_of(int code, const codebook *book)
{
    return book->run == 4 ? code >> 3 : (code >> 4 & 3) + 3 * (code >> 6);
}

/* The error of the half `code` of an entry. */
INLINE f32x16 half_error(const high_half *half, int code, const codebook *book)
{
    return f32_add(half->first[first_of(code, book)], half->second[second_of(code, book)]);
}

INLINE f32x16 half_flipped(const high_half *half, int code, f32x16 error, const codebook *book)
{
    return f32_add(error, f32_min(half->first_flips[first_of(code, book)], half->second_flips[second_of(code, book)]));
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
SEARCH(iq2_xs)
SEARCH(iq2_xxs)

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
    if (book->run == 8) {
        s->flips[0] = book->even ? odd : s->flips[0];
        return f32_select(u32_eq(s->flips[0], u32_set1(0)), best[0].plain.error, best[0].flipped.error);
    }
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
INLINE void put_wrong(const fit_groups *g, int k, u32x16 flips, const codebook *book, grid_choice *to, u32x16 *wrong)
{
    f32x16 least = f32_set1(FIT_MAX_ERROR);
    u32x16 at = u32_set1(0);
    for (int i = 0; i < book->run; i++) {
        const f32x16 cost =
            f32_mul(f32_mul(f32_load(g->weights[k + i]), f32_load(g->values[k + i])), f32_load(to->levels[k + i]));
        at = u32_select(f32_gt(least, cost), u32_set1(1u << i), at);
        least = f32_min(least, cost);
    }
    at = u32_and(at, flips);
    for (int i = 0; i < book->run; i++) {
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
                put_wrong(g, from, s.flips[part], book, to, &wrong);
        }
        u32_put(to->wrong[k / 8], wrong);
    }
}
