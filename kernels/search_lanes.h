/* SPDX-License-Identifier: MIT
 * The search for the scales of 16 short groups together, a block: a lane of a vector stands for a group, and a vector
 * has the same value of each, so that sums over a group and the choice of its best try need no operation across lanes.
 * Errors have the same bits as those of search_tries.h. */
#include "kernels/search_whole.h"

enum { LANE_MOST = 32 }; /* values of a group */

/* Values by place in their group; lanes are groups. */
typedef struct lane_values {
    _Alignas(64) float of[LANE_MOST][16];
} lane_values;

/* The tries of 16 groups, and their results. Errors of tries that bounds do not exclude are computed after those of
 * several blocks: a branch that waits for the bounds would cost more than the errors. */
typedef struct lane_block {
    _Alignas(64) float tries[SEARCH_TRIES][16]; /* scales */
    float bounds[SEARCH_TRIES][16];             /* of the errors */
    uint32_t keys[16];           /* of the best try so far: the first 20 bits of its error's fraction, its number */
    float errors[16];            /* of try 0 */
    uint16_t left[SEARCH_TRIES]; /* groups that need the error of a try, a bit each */
    unsigned regular;            /* groups that are searched: not those of very small or great values */
} lane_block;

/* Of the tries other than 0, that with the least bound, by group. */
typedef struct lane_chosen {
    f32x16 bound, scale;
    u32x16 number;
} lane_chosen;

/* Loads 16 adjacent groups of n values, a multiple of 16: for codes that are floats, their magnitudes. */
INLINE void load_lanes(const float *values, const size_t n, const int codes, lane_values *to)
{
    for (size_t from = 0; from < n; from += 16) {
        f32x16 rows[16];
        UNROLL for (size_t g = 0; g < 16; g++) rows[g] = load_tried(values + g * n + from, 16, codes);
        transpose_square(rows);
        UNROLL for (size_t v = 0; v < 16; v++) f32_store(to->of[from + v], rows[v]);
    }
}

INLINE f32x16 greatest_of_lanes(const lane_values *x, const size_t n)
{
    f32x16 greatest[2] = {f32_load(x->of[0]), f32_load(x->of[1])};
    for (size_t v = 2; v < n; v += 2) {
        greatest[0] = f32_max(greatest[0], f32_load(x->of[v]));
        greatest[1] = f32_max(greatest[1], f32_load(x->of[v + 1]));
    }
    return f32_max(greatest[0], greatest[1]);
}

INLINE unsigned regular_lanes(f32x16 farthest)
{
    return m32_bits(m32_and(f32_gt(farthest, f32_set1(SCREEN_LEAST)), f32_gt(f32_set1(SCREEN_GREATEST), farthest)));
}

/* A scale of each group, its inverse, and the bits of the outer codes for lost_by. */
typedef struct lane_scale {
    f32x16 inverse, scale;
    u32x16 low, high;
} lane_scale;

/* Returns the squares of the errors of values v, v + 16, ... of each group. */
INLINE f32x16 lane_squares(const lane_values *x, size_t v, const size_t n, const lane_scale *by, const int codes)
{
    f32x16 sum = f32_set1(0);
    for (size_t at = v; at < n; at += 16) {
        const f32x16 lost = lost_by(codes, f32_load(x->of[at]), by->inverse, by->scale, by->low, by->high);
        sum = f32_fma(lost, lost, sum);
    }
    return sum;
}

/* Returns the error of each group, in the order of f32_fold. */
INLINE f32x16 lane_errors(const lane_values *x, const size_t n, const lane_scale *by, const int codes)
{
    f32x16 sums[2];
    UNROLL for (size_t v = 0; v < 2; v++)
    {
        f32x16 four[4];
        UNROLL for (size_t k = 0; k < 4; k++) four[k] =
            f32_add(lane_squares(x, v + 2 * k, n, by, codes), lane_squares(x, v + 2 * k + 8, n, by, codes));
        sums[v] = f32_add(f32_add(four[0], four[2]), f32_add(four[1], four[3]));
    }
    return f32_add(sums[0], sums[1]);
}

INLINE u32x16 lane_key(f32x16 errors, u32x16 number)
{
    return u32_or(u32_and(f32_bits(errors), u32_set1(MAGNITUDE - 15)), number);
}

/* The first try: its errors and scales are the best so far. */
INLINE void begin_keys(f32x16 errors, f32x16 scales_of, lane_block *b, float *scales)
{
    f32_store(b->errors, errors);
    u32_put(b->keys, lane_key(errors, u32_set1(0)));
    f32_store(scales, scales_of);
}

INLINE void take_better_key(f32x16 errors, f32x16 scales_of, u32x16 number, lane_block *b, float *scales)
{
    const u32x16 key = lane_key(errors, number), best = u32_get(b->keys);
    u32_put(b->keys, u32_min(key, best));
    f32_store(scales, f32_select(u32_gt(best, key), scales_of, f32_load(scales)));
}

/* Sets the try's bound of the error, and keeps the least. */
INLINE void take_bound(f32x16 bound, f32x16 scale, int number, lane_block *b, lane_chosen *chosen)
{
    const m32x16 better = f32_gt(chosen->bound, bound);
    f32_store(b->bounds[number], bound);
    chosen->bound = f32_select(better, bound, chosen->bound);
    chosen->scale = f32_select(better, scale, chosen->scale);
    chosen->number = u32_select(better, u32_set1((uint32_t)number), chosen->number);
}

/* `least`: an error of each group. Tries that are equal to try 0 are not better. A bound and an error have relative
 * errors below 2^-17, and errors count as equal if their first 20 bits are. */
INLINE void set_left(const lane_chosen *chosen, f32x16 least, lane_block *b)
{
    const f32x16 most = f32_mul(least, f32_set1(1 + 0x1p-15f));
    const u32x16 first = f32_bits(f32_load(b->tries[0]));
    for (uint32_t k = 1; k < SEARCH_TRIES; k++) {
        const m32x16 open = m32_without(f32_ge(most, f32_load(b->bounds[k])), u32_eq(chosen->number, u32_set1(k)));
        b->left[k] =
            (uint16_t)(m32_bits(m32_without(open, u32_eq(f32_bits(f32_load(b->tries[k])), first))) & b->regular);
    }
}

/* Compares the best try of group l with try k. */
INLINE void compare_try(const organ_scale_search *search, const float *values, const size_t n, const int codes, int l,
                        uint32_t k, lane_block *b, float *scales)
{
    const float scale = b->tries[k][l], inverse = 1 / scale;
    f32x16 sum;
    uint32_t key;
    sum_tries(search, values + n * (size_t)l, values, n, 1, n, &inverse, &scale, &sum, 1, codes, 0);
    const float error = f32_fold(sum);
    memcpy(&key, &error, sizeof key);
    key = (key & (MAGNITUDE - 15)) | k;
    if (key < b->keys[l]) {
        b->keys[l] = key;
        scales[l] = scale;
    }
}

INLINE void compare_left(const organ_scale_search *search, const float *values, const size_t n, const int codes,
                         lane_block *b, float *scales)
{
    for (uint32_t k = 1; k < SEARCH_TRIES; k++)
        for (unsigned left = b->left[k]; left; left &= left - 1)
            compare_try(search, values, n, codes, __builtin_ctz(left), k, b, scales);
}

/* Returns try number k of each group, for searches with steps. */
INLINE f32x16 lane_try(const organ_scale_search *search, u32x16 first, const int k)
{
    const u32x16 least = f32_bits(f32_set1(search->least)), greatest = f32_bits(f32_set1(search->greatest));
    const u32x16 step = u32_set1(search_steps[search->fraction > 0].words[k] << (23 - search->fraction));
    return f32_of_bits(u32_min(u32_max(u32_add(first, step), least), greatest));
}

/* ---- groups of 32 with a scale for each power of 2: three tries ---- */
enum { LANE_OCTAVE = 32 };

INLINE void search_octave_block(const organ_scale_search *search, const float *values, const int codes, lane_block *b,
                                float *scales)
{
    lane_values x;
    load_lanes(values, LANE_OCTAVE, codes, &x);
    const f32x16 farthest = greatest_of_lanes(&x, LANE_OCTAVE);
    const u32x16 first = first_tries(search, farthest);
    b->regular = regular_lanes(farthest);
    memset(b->left, 0, sizeof b->left);
    for (int k = 0; k < 3; k++) {
        const f32x16 scale = lane_try(search, first, k),
                     inverse = f32_of_bits(u32_sub(u32_set1(254u << 23), f32_bits(scale)));
        const lane_scale by = {.inverse = inverse, .scale = scale};
        const f32x16 errors = lane_errors(&x, LANE_OCTAVE, &by, codes);
        if (k)
            take_better_key(errors, scale, u32_set1((uint32_t)k), b, scales);
        else
            begin_keys(errors, scale, b, scales);
    }
}

/* ---- E2M1 codes and E4M3 scales of 16 values ---- */

/* The screen is that of search_whole.h, but for the levels of E2M1: a quotient in units of 2^-11 has its level by the
 * quarters in it, because the middles between levels are multiples of 1/4. */
enum { LANE_E2M1 = 16, LANE_BITS = 11 };
#define LANE_OFF   (1.4f / (1 << LANE_BITS)) /* greatest error of a distance: see least_errors */
#define LANE_RATIO 7.9f                      /* quotients below it have a level in the table */
#define LANE_PEAK  6.0f                      /* the greatest level */

/* Eight times the level of each quarter. */
static const uint8_t lane_levels[32] = {0,  4,  4,  8,  8,  12, 12, 16, 16, 16, 24, 24, 24, 24, 32, 32,
                                        32, 32, 32, 32, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48};

/* Two values of each group as fixed-point numbers. */
typedef struct lane_fixed {
    _Alignas(64) uint32_t of[LANE_MOST / 2][16];
} lane_fixed;

/* Values v and v + n / 2 make a pair. */
INLINE void set_fixed(const lane_values *x, const size_t n, f32x16 farthest, lane_fixed *to)
{
    const f32x16 each = f32_div(f32_set1(WHOLE_GREATEST), farthest);
    for (size_t v = 0; v < n / 2; v++)
        u32_put(to->of[v], u32_or(fixed_product(f32_load(x->of[v]), each),
                                  u32_sll(fixed_product(f32_load(x->of[v + n / 2]), each), 16)));
}

/* Returns the fixed-point number of each inverse in both halves of its lane. */
INLINE u32x16 fixed_inverses(f32x16 inverses, f32x16 farthest)
{
    const u32x16 fixed =
        fixed_product(inverses, f32_mul(farthest, f32_set1(0x1p15f / WHOLE_GREATEST * (1 << LANE_BITS))));
    return u32_or(fixed, u32_sll(fixed, 16));
}

/* Returns 1 / scale for E4M3 scales. Lookups find the mantissas by the last bits that scales have. */
INLINE f32x16 e4m3_inverses(f32x16 scales)
{
    static const float of[16] = {1, 1 / 1.125f, 0.8f, 1 / 1.375f, 2 / 3.0f, 1 / 1.625f, 1 / 1.75f, 1 / 1.875f,
                                 1, 1 / 1.125f, 0.8f, 1 / 1.375f, 2 / 3.0f, 1 / 1.625f, 1 / 1.75f, 1 / 1.875f};
    const u32x16 bits = f32_bits(scales), mantissas = f32_bits(f32_lookup(f32_load(of), u32_srl(bits, 20)));
    return f32_of_bits(u32_sub(u32_add(mantissas, u32_set1(127u << 23)), u32_and(bits, u32_set1(INFINITE))));
}

/* Returns the sums of the squares of the distances of quotients from levels, in units of 2^(-2 LANE_BITS). */
INLINE f32x16 level_distances(const lane_fixed *x, u32x16 inverses, const s16_table levels)
{
    u32x16 sums = u32_set1(0);
    UNROLL for (size_t v = 0; v < LANE_E2M1 / 2; v++)
    {
        const u32x16 quotients = s16_multiply(u32_get(x->of[v]), inverses);
        const u32x16 off = s16_sub(quotients, s16_lookup(levels, s16_srl(quotients, LANE_BITS - 2)));
        sums = u32_add(sums, s16_squares(off));
    }
    return f32_of_u32(sums);
}

/* Returns a bound of the errors with this scale: by the screen, or where the greatest value is too far beyond the
 * levels for it, the error of that value alone, `cut`. */
INLINE f32x16 level_bound(const lane_fixed *x, f32x16 farthest, f32x16 scale, f32x16 cut, const s16_table levels)
{
    const f32x16 inverse = e4m3_inverses(scale), sums = level_distances(x, fixed_inverses(inverse, farthest), levels),
                 least = f32_fma(sums, f32_set1((1 - WHOLE_RMS * LANE_OFF) * 0x1p-22f),
                                 f32_set1(-LANE_E2M1 * LANE_OFF / WHOLE_RMS));
    return f32_select(f32_gt(f32_set1(LANE_RATIO), f32_mul(farthest, inverse)), f32_mul(least, f32_mul(scale, scale)),
                      cut);
}

/* Tries 4 steps below try 0 and more cut off so much of the greatest value that they need no screen. */
INLINE void bound_e2m1_tries(const organ_scale_search *search, const lane_fixed *x, f32x16 farthest, lane_block *b,
                             lane_chosen *chosen)
{
    const s16_table levels = s16_table_of(lane_levels);
    const u32x16 first = f32_bits(f32_load(b->tries[0]));
    *chosen = (lane_chosen){f32_of_bits(u32_set1(INFINITE)), f32_load(b->tries[0]), u32_set1(0)};
    for (int k = 1; k < SEARCH_TRIES; k++) {
        const f32x16 scale = lane_try(search, first, k),
                     beyond = f32_max(f32_fnma(scale, f32_set1(LANE_PEAK), farthest), f32_set1(0)),
                     cut = f32_mul(beyond, beyond);
        f32_store(b->tries[k], scale);
        if (k % 2 == 0 || k <= 5 || k == SEARCH_TRIES - 1)
            take_bound(level_bound(x, farthest, scale, cut, levels), scale, k, b, chosen);
        else
            f32_store(b->bounds[k], cut);
    }
}

INLINE f32x16 e2m1_errors(const lane_values *x, f32x16 scale)
{
    const lane_scale by = {.inverse = e4m3_inverses(scale), .scale = scale};
    return lane_errors(x, LANE_E2M1, &by, SEARCH_E2M1);
}

INLINE void search_e2m1_block(const organ_scale_search *search, const float *values, lane_block *b, float *scales)
{
    lane_values x;
    lane_fixed fixed;
    lane_chosen chosen;
    load_lanes(values, LANE_E2M1, SEARCH_E2M1, &x);
    const f32x16 farthest = greatest_of_lanes(&x, LANE_E2M1), first = f32_of_bits(first_tries(search, farthest));
    b->regular = regular_lanes(farthest);
    f32_store(b->tries[0], first);
    set_fixed(&x, LANE_E2M1, farthest, &fixed);
    bound_e2m1_tries(search, &fixed, farthest, b, &chosen);
    const f32x16 errors = e2m1_errors(&x, first), others = e2m1_errors(&x, chosen.scale);
    begin_keys(errors, first, b, scales);
    take_better_key(others, chosen.scale, chosen.number, b, scales);
    set_left(&chosen, f32_min(errors, others), b);
}

/* ---- whole codes with BF16 scales ---- */

/* Returns a / b, given 1 / b: two corrections by the remainder round as a division does (Markstein). */
INLINE f32x16 quotient_by(f32x16 a, f32x16 b, f32x16 inverse)
{
    f32x16 quotient = f32_mul(a, inverse);
    quotient = f32_fma(f32_fnma(quotient, b, a), inverse, quotient);
    return f32_fma(f32_fnma(quotient, b, a), inverse, quotient);
}

/* Returns 1 / a, rounded as a division does, for BF16 numbers: after two steps of Newton the error is far less than the
 * distance of a quotient of 1 and 8 bits from the middle of two FP32 numbers. */
INLINE f32x16 bf16_inverse(f32x16 a)
{
    const f32x16 one = f32_set1(1);
    f32x16 inverse = f32_reciprocal(a);
    inverse = f32_fma(f32_fnma(a, inverse, one), inverse, inverse);
    return f32_fma(f32_fnma(a, inverse, one), inverse, inverse);
}

/* Sets the scales of all tries. `farthest`: the value of largest magnitude. */
INLINE void set_whole_tries(const organ_scale_search *search, f32x16 farthest, lane_block *b)
{
    const f32x16 magnitude = f32_of_bits(u32_and(f32_bits(farthest), u32_set1(MAGNITUDE)));
    float inverses[SEARCH_TRIES];
    f32_store(inverses, f32_div(f32_set1(1), f32_load(search->peaks)));
    for (int k = 0; k < SEARCH_TRIES; k++) {
        const f32x16 by = search->signs && k > 0 ? farthest : magnitude,
                     exact = quotient_by(by, f32_set1(search->peaks[k]), f32_set1(inverses[k]));
        f32_store(b->tries[k], f32_of_bits(u32_and(bf16_rounded(exact, u32_set1(0x7fc00000)), u32_set1(0xffff0000))));
    }
}

INLINE lane_scale whole_scale(const organ_scale_search *search, f32x16 scale)
{
    return (lane_scale){.inverse = bf16_inverse(scale),
                        .scale = scale,
                        .low = f32_bits(f32_set1(search->low + SEARCH_ROUNDING)),
                        .high = f32_bits(f32_set1(search->high + SEARCH_ROUNDING))};
}

/* Returns how much larger the square of the error of x is than that of its distance from the nearest whole number. */
INLINE f32x16 whole_more(f32x16 x, const lane_scale *by)
{
    const f32x16 rounds = f32_set1(SEARCH_ROUNDING), moved = f32_fma(x, by->inverse, rounds),
                 code = f32_of_bits(u32_max(u32_min(f32_bits(moved), by->high), by->low)),
                 lost = f32_fnma(f32_sub(code, rounds), by->scale, x),
                 distance = f32_fnma(f32_sub(moved, rounds), by->scale, x);
    return f32_fnma(distance, distance, f32_mul(lost, lost));
}

/* Returns sums of the squares of distances as sum_distances does. */
INLINE f32x16 whole_distances(const lane_fixed *x, const size_t n, u32x16 inverses)
{
    u32x16 sums = u32_set1(0);
    for (size_t v = 0; v < n / 2; v += 2) {
        const u32x16 one = s16_sll(s16_multiply(u32_get(x->of[v]), inverses), 16 - LANE_BITS),
                     two = s16_sll(s16_multiply(u32_get(x->of[v + 1]), inverses), 16 - LANE_BITS);
        sums = u32_add(sums, u32_srl(u32_add(s16_squares(one), s16_squares(two)), WHOLE_DROP));
    }
    return f32_mul(f32_of_u32(sums), f32_set1(0x1p-32f * (1 << WHOLE_DROP)));
}

/* The bounds of search_whole.h. */
INLINE void bound_whole_tries(const organ_scale_search *search, const lane_fixed *x, const size_t n, const f32x16 *ends,
                              f32x16 farthest, lane_block *b, lane_chosen *chosen)
{
    const float off = whole_off(LANE_BITS);
    const f32x16 magnitude = f32_of_bits(u32_and(f32_bits(farthest), u32_set1(MAGNITUDE)));
    *chosen = (lane_chosen){f32_of_bits(u32_set1(INFINITE)), f32_load(b->tries[0]), u32_set1(0)};
    for (int k = 1; k < SEARCH_TRIES; k++) {
        const lane_scale by = whole_scale(search, f32_load(b->tries[k]));
        const f32x16 sums = whole_distances(x, n, fixed_inverses(by.inverse, magnitude)),
                     less = f32_fma(sums, f32_set1(WHOLE_RMS * off), f32_set1((float)n * off / WHOLE_RMS)),
                     more = f32_add(whole_more(ends[0], &by), whole_more(ends[1], &by));
        take_bound(f32_fma(f32_sub(sums, less), f32_mul(by.scale, by.scale), more), by.scale, k, b, chosen);
    }
}

INLINE f32x16 whole_errors_by(const organ_scale_search *search, const lane_values *x, const size_t n, f32x16 scale)
{
    const lane_scale by = whole_scale(search, scale);
    return lane_errors(x, n, &by, SEARCH_INTEGERS);
}

/* Sets the greatest and the least value of each group, or 0 if that is greater or less. */
INLINE void find_lane_ends(const lane_values *x, const size_t n, f32x16 ends[2])
{
    ends[0] = ends[1] = f32_set1(0);
    for (size_t v = 0; v < n; v++) {
        ends[0] = f32_max(ends[0], f32_load(x->of[v]));
        ends[1] = f32_min(ends[1], f32_load(x->of[v]));
    }
}

INLINE void search_whole_block(const organ_scale_search *search, const float *values, const size_t n, lane_block *b,
                               float *scales)
{
    lane_values x;
    lane_fixed fixed;
    lane_chosen chosen;
    f32x16 ends[2];
    load_lanes(values, n, SEARCH_INTEGERS, &x);
    find_lane_ends(&x, n, ends);
    const f32x16 below = f32_sub(f32_set1(0), ends[1]), magnitude = f32_max(ends[0], below),
                 farthest = f32_select(f32_ge(ends[0], below), ends[0], ends[1]);
    b->regular = regular_lanes(magnitude);
    set_whole_tries(search, farthest, b);
    set_fixed(&x, n, magnitude, &fixed);
    bound_whole_tries(search, &fixed, n, ends, farthest, b, &chosen);
    const f32x16 first = f32_load(b->tries[0]), errors = whole_errors_by(search, &x, n, first),
                 others = whole_errors_by(search, &x, n, chosen.scale);
    begin_keys(errors, first, b, scales);
    take_better_key(others, chosen.scale, chosen.number, b, scales);
    set_left(&chosen, f32_min(errors, others), b);
}
