/* SPDX-License-Identifier: MIT
 * The search for the scales of 16 short groups together: a lane of a vector stands for a group, a vector has the same
 * value of each, so that sums over a group and the choice of its best try need no operation across lanes. */
#include "kernels/search_whole.h"

enum { LANE_MOST = 32, LANE_GROUP = 16 }; /* values of a group: at most, and those of the screen below */

/* Values by place in their group; lanes are groups. */
typedef struct lane_values {
    _Alignas(64) float of[LANE_MOST][16];
} lane_values;

/* Loads the magnitudes of 16 adjacent groups of n values, a multiple of 16. Returns the greatest one of each group. */
INLINE f32x16 load_lanes(const float *values, const size_t n, lane_values *to)
{
    f32x16 greatest = f32_set1(0);
    for (size_t from = 0; from < n; from += 16) {
        f32x16 rows[16];
        UNROLL for (size_t g = 0; g < 16; g++) rows[g] = load_tried(values + g * n + from, 16, SEARCH_E2M1);
        transpose_square(rows);
        UNROLL for (size_t v = 0; v < 16; v++)
        {
            f32_store(to->of[from + v], rows[v]);
            greatest = f32_max(greatest, rows[v]);
        }
    }
    return greatest;
}

/* Returns the squares of the errors of value v of each group, plus those of value v + 16 if there is one. */
INLINE f32x16 lane_square(const lane_values *x, size_t v, const size_t n, f32x16 inverse, f32x16 scale, const int codes)
{
    const u32x16 none = u32_set1(0);
    const f32x16 lost = lost_by(codes, f32_load(x->of[v]), inverse, scale, none, none), square = f32_mul(lost, lost);
    if (n == 16)
        return square;
    const f32x16 more = lost_by(codes, f32_load(x->of[v + 16]), inverse, scale, none, none);
    return f32_fma(more, more, square);
}

/* Returns the error of each group for one scale, in the order of f32_fold. */
INLINE f32x16 lane_errors(const lane_values *x, const size_t n, f32x16 inverse, f32x16 scale, const int codes)
{
    f32x16 sums[2];
    UNROLL for (size_t v = 0; v < 2; v++)
    {
        f32x16 four[4];
        UNROLL for (size_t k = 0; k < 4; k++)
        {
            const size_t at = v + 2 * k; /* 0, 2, 4, 6 or 1, 3, 5, 7 */
            four[k] =
                f32_add(lane_square(x, at, n, inverse, scale, codes), lane_square(x, at + 8, n, inverse, scale, codes));
        }
        sums[v] = f32_add(f32_add(four[0], four[2]), f32_add(four[1], four[3]));
    }
    return f32_add(sums[0], sums[1]);
}

/* Returns try number k of each group, as bits of its scale. */
INLINE u32x16 lane_try(const organ_scale_search *search, u32x16 first, const int k)
{
    const u32x16 least = f32_bits(f32_set1(search->least)), greatest = f32_bits(f32_set1(search->greatest));
    const u32x16 step = u32_set1(search_steps[search->fraction > 0].words[k] << (23 - search->fraction));
    return u32_min(u32_max(u32_add(first, step), least), greatest);
}

/* ---- E2M1 codes and E4M3 scales of 16 values ---- */

/* The screen is that of search_whole.h, but for the levels of E2M1: a quotient in units of 2^-11 has its level by the
 * quarters in it, because the middles between levels are multiples of 1/4. */
enum { LANE_BITS = 11 };
#define LANE_GREATEST 32760.0f                  /* fixed-point number of the greatest magnitude */
#define LANE_OFF      (1.4f / (1 << LANE_BITS)) /* by what a distance may be wrong */
#define LANE_RMS      3.4641017f                /* about 1 over the root mean square of a distance */
#define LANE_RATIO    7.9f                      /* quotients below it have a level in the table */
#define LANE_PEAK     6.0f                      /* the greatest level */

/* Eight times the level of each quarter. */
static const uint8_t lane_levels[32] = {0,  4,  4,  8,  8,  12, 12, 16, 16, 16, 24, 24, 24, 24, 32, 32,
                                        32, 32, 32, 32, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48};

/* What is known about the tries of 16 groups: bounds of their errors, the try other than 0 with the least bound, and
 * its bound. */
typedef struct lane_screen {
    _Alignas(64) float bounds[SEARCH_TRIES][16];
    uint32_t tries[SEARCH_TRIES][16]; /* lane_try */
    u32x16 chosen, number;            /* bits of the scale, number of the try */
    f32x16 bound;
} lane_screen;

/* Two values of each group as fixed-point numbers. */
typedef struct lane_fixed {
    _Alignas(64) uint32_t of[LANE_GROUP / 2][16];
} lane_fixed;

INLINE f32x16 lane_bits(const uint32_t *bits) { return f32_load((const float *)(const void *)bits); }

INLINE u32x16 lane_doubled(u32x16 low) { return u32_or(low, u32_sll(low, 16)); }

INLINE void set_fixed(const lane_values *x, f32x16 far, lane_fixed *to)
{
    const f32x16 each = f32_div(f32_set1(LANE_GREATEST), far);
    for (size_t v = 0; v < LANE_GROUP / 2; v++)
        u32_put(to->of[v], u32_or(fixed_product(f32_load(x->of[v]), each),
                                  u32_sll(fixed_product(f32_load(x->of[v + LANE_GROUP / 2]), each), 16)));
}

/* The 1 / scale of E4M3 scales: from a table of the mantissas, which lookups find by the last bits that scales have. */
INLINE f32x16 e4m3_inverses(u32x16 scales)
{
    static const float inverses[16] = {1, 1 / 1.125f, 0.8f, 1 / 1.375f, 2 / 3.0f, 1 / 1.625f, 1 / 1.75f, 1 / 1.875f,
                                       1, 1 / 1.125f, 0.8f, 1 / 1.375f, 2 / 3.0f, 1 / 1.625f, 1 / 1.75f, 1 / 1.875f};
    const u32x16 mantissas = f32_bits(f32_lookup(f32_load(inverses), u32_srl(scales, 20)));
    return f32_of_bits(u32_sub(u32_add(mantissas, u32_set1(127u << 23)), u32_and(scales, u32_set1(INFINITE))));
}

/* Returns the sums of the squares of the distances of quotients from levels, in units of 2^(-2 LANE_BITS). */
INLINE f32x16 level_distances(const lane_fixed *x, f32x16 inverses, f32x16 by, const s16_table levels)
{
    const u32x16 inverse = lane_doubled(fixed_product(inverses, by));
    u32x16 sums = u32_set1(0);
    UNROLL for (size_t v = 0; v < LANE_GROUP / 2; v++)
    {
        const u32x16 quotients = s16_multiply(u32_get(x->of[v]), inverse);
        const u32x16 off = s16_sub(quotients, s16_lookup(levels, s16_srl(quotients, LANE_BITS - 2)));
        sums = u32_add(sums, s16_squares(off));
    }
    return f32_of_u32(sums);
}

/* Sets the bounds of the errors of all tries but try 0. Tries far below it get the error of the greatest value alone,
 * which they cut off. */
INLINE void bound_tries(const organ_scale_search *search, const lane_fixed *x, f32x16 far, u32x16 first, lane_screen *s)
{
    const f32x16 by = f32_mul(far, f32_set1(0x1p15f / LANE_GREATEST * (1 << LANE_BITS)));
    const s16_table levels = s16_table_of(lane_levels);
    s->bound = f32_of_bits(u32_set1(INFINITE));
    s->chosen = first;
    s->number = u32_set1(0);
    for (int k = 1; k < SEARCH_TRIES; k++) {
        const u32x16 try = lane_try(search, first, k);
        const f32x16 scale = f32_of_bits(try), cut = f32_max(f32_fnma(scale, f32_set1(LANE_PEAK), far), f32_set1(0));
        f32x16 bound = f32_mul(cut, cut);
        if (k % 2 == 0 || k <= 5 || k == SEARCH_TRIES - 1) {
            const f32x16 inverse = e4m3_inverses(try), sums = level_distances(x, inverse, by, levels);
            const f32x16 less = f32_fma(sums, f32_set1((1 - LANE_RMS * LANE_OFF) * 0x1p-22f),
                                        f32_set1(-LANE_GROUP * LANE_OFF / LANE_RMS));
            const m32x16 within = f32_gt(f32_set1(LANE_RATIO), f32_mul(far, inverse));
            bound = f32_select(within, f32_mul(less, f32_mul(scale, scale)), bound);
            const m32x16 better = f32_gt(s->bound, bound);
            s->bound = f32_select(better, bound, s->bound);
            s->chosen = u32_select(better, try, s->chosen);
            s->number = u32_select(better, u32_set1((uint32_t)k), s->number);
        }
        f32_store(s->bounds[k], bound);
        u32_put(s->tries[k], try);
    }
}

/* The results of 16 groups. Errors of tries that bounds do not exclude are computed later: a branch that waits for the
 * bounds would cost more than they. */
typedef struct lane_block {
    _Alignas(64) uint32_t keys[16]; /* of the best try so far: the first 20 bits of its error's fraction, its number */
    uint32_t firsts[16];            /* bits of the scale of try 0 */
    float errors[16];               /* of try 0 */
    uint16_t left[SEARCH_TRIES];    /* groups that need the error of a try, a bit each */
    unsigned regular;               /* groups for which bounds hold; the others are not searched */
} lane_block;

INLINE u32x16 lane_key(f32x16 errors, u32x16 number)
{
    return u32_or(u32_and(f32_bits(errors), u32_set1(MAGNITUDE - 15)), number);
}

/* `least`: an error of each group. Tries equal to try 0 are not better. */
INLINE void set_left(const lane_screen *s, f32x16 least, u32x16 first, lane_block *b)
{
    const f32x16 most = f32_mul(least, f32_set1(1 + 0x1p-15f));
    for (uint32_t k = 1; k < SEARCH_TRIES; k++) {
        const m32x16 open = m32_without(f32_ge(most, f32_load(s->bounds[k])), u32_eq(s->number, u32_set1(k)));
        b->left[k] = (uint16_t)(m32_bits(m32_without(open, u32_eq(u32_get(s->tries[k]), first))) & b->regular);
    }
}

/* Sets the results of 16 groups, and their scales, so far. */
INLINE void search_block(const organ_scale_search *search, const float *values, lane_block *b, float *scales)
{
    lane_values x;
    lane_fixed fixed;
    lane_screen s;
    const f32x16 far = load_lanes(values, LANE_GROUP, &x);
    const u32x16 first = first_tries(search, far);
    b->regular = m32_bits(m32_and(f32_gt(far, f32_set1(SCREEN_LEAST)), f32_gt(f32_set1(SCREEN_GREATEST), far)));
    set_fixed(&x, far, &fixed);
    bound_tries(search, &fixed, far, first, &s);
    const f32x16 of_first = f32_of_bits(first), of_chosen = f32_of_bits(s.chosen);
    const f32x16 error = lane_errors(&x, LANE_GROUP, e4m3_inverses(first), of_first, SEARCH_E2M1),
                 other = lane_errors(&x, LANE_GROUP, e4m3_inverses(s.chosen), of_chosen, SEARCH_E2M1);
    const u32x16 key = lane_key(error, u32_set1(0)), other_key = lane_key(other, s.number);
    const m32x16 better = u32_gt(key, other_key);
    u32_put(b->keys, u32_select(better, other_key, key));
    u32_put(b->firsts, first);
    f32_store(b->errors, error);
    f32_store(scales, f32_select(better, of_chosen, of_first));
    set_left(&s, f32_min(error, other), first, b);
}

/* Compares the best try of group l with try k. */
INLINE void compare_try(const organ_scale_search *search, const float *values, int l, uint32_t k, lane_block *b,
                        float *scales)
{
    float scale[16];
    f32x16 sum;
    uint32_t key;
    u32_put((uint32_t *)(void *)scale, lane_try(search, u32_set1(b->firsts[l]), (int)k));
    const float inverse = 1 / scale[0];
    sum_tries(search, values + LANE_GROUP * l, values, 0, 1, LANE_GROUP, &inverse, scale, &sum, 1, SEARCH_E2M1, 0);
    const float error = f32_fold(sum);
    memcpy(&key, &error, sizeof key);
    key = (key & (MAGNITUDE - 15)) | k;
    if (key < b->keys[l]) {
        b->keys[l] = key;
        scales[l] = *scale;
    }
}

INLINE void compare_left(const organ_scale_search *search, const float *values, lane_block *b, float *scales)
{
    for (uint32_t k = 1; k < SEARCH_TRIES; k++)
        for (unsigned left = b->left[k]; left; left &= left - 1)
            compare_try(search, values, __builtin_ctz(left), k, b, scales);
}
