/* SPDX-License-Identifier: MIT
 * The search for the scale of a group of values (organ_scale_search). A lane of the vectors `scales`, `inverses` and
 * `errors` stands for a try. In the loops over values the lanes are values, and each try has sums of its own; the sums
 * of SEARCH_TOGETHER tries, which each ISA defines, are in registers at the same time. */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/coding_runs.h"
#include "kernels/search_lanes.h"

enum { SEARCH_GROUPS = 8 }; /* groups that are searched at the same time */
/* Groups up to this magnitude keep the scale of try 0: the inverses of smaller scales might be infinite, and squares of
 * the errors underflow to 0. */
#define SEARCH_MIN 0x1p-100f

/* Sets the greatest and the least value of a band of rows, or zero if that is greater or less. */
INLINE void find_ends(const float *values, size_t stride, size_t rows, size_t n, float ends[2])
{
    f32x16 high = f32_set1(0), low = high, highs[2] = {high, high}, lows[2] = {high, high};
    for (size_t r = 0; r < rows; r++) {
        const float *const row = values + r * stride;
        size_t at = 0;
        for (; n - at >= 32; at += 32)
            UNROLL for (size_t k = 0; k < 2; k++)
            {
                const f32x16 x = f32_load(row + at + 16 * k);
                highs[k] = f32_max(highs[k], x);
                lows[k] = f32_min(lows[k], x);
            }
        for (; at < n; at += 16) {
            const f32x16 x = f32_load_first(row + at, n - at);
            high = f32_max(high, x);
            low = f32_min(low, x);
        }
    }
    ends[0] = f32_reduce_max(f32_max(high, f32_max(highs[0], highs[1])));
    ends[1] = f32_reduce_min(f32_min(low, f32_min(lows[0], lows[1])));
}

/* sum_errors for one kind of codes and each of `count` adjacent groups, stored in `errors`. The small ones are for the
 * smallest groups of the encodings, 32 or 16 values of one row, because there the ends of loops would take a fifth of
 * the time; the usual one is for 128. */
typedef void errors_of(const organ_scale_search *search, const float *values, const float *weights, size_t stride,
                       size_t rows, size_t n, size_t count, const scale_tries *t, tried_errors *errors);
#define ERRORS_BY(name, rows_, n_, codes, weighted)                                                                    \
    SHARED void name(const organ_scale_search *search, const float *values, const float *weights, size_t stride,       \
                     size_t rows, size_t n, size_t count, const scale_tries *t, tried_errors *errors)                  \
    {                                                                                                                  \
        (void)rows;                                                                                                    \
        for (size_t g = 0; g < count; g++)                                                                             \
            f32_store(errors[g],                                                                                       \
                      sum_errors(search, values + g * n, weights + g * n, stride, rows_, n_, &t[g], codes, weighted)); \
    }
ERRORS_BY(errors_by_integer, rows, n, SEARCH_INTEGERS, 0)
ERRORS_BY(errors_by_e4m3, rows, n, SEARCH_E4M3, 0)
ERRORS_BY(errors_by_e2m1, rows, n, SEARCH_E2M1, 0)
ERRORS_BY(small_errors_by_integer, 1, 32, SEARCH_INTEGERS, 0)
ERRORS_BY(small_errors_by_e4m3, 1, 32, SEARCH_E4M3, 0)
ERRORS_BY(small_errors_by_e2m1, 1, 32, SEARCH_E2M1, 0)
ERRORS_BY(least_errors_by_e2m1, 1, 16, SEARCH_E2M1, 0)
ERRORS_BY(usual_errors_by_integer, 1, 128, SEARCH_INTEGERS, 0)
ERRORS_BY(weighted_errors_by_integer, 1, n, SEARCH_INTEGERS, 1)
ERRORS_BY(weighted_errors_by_e4m3, 1, n, SEARCH_E4M3, 1)
ERRORS_BY(weighted_errors_by_e2m1, 1, n, SEARCH_E2M1, 1)

/* Searches with a step for each power of 2 have three tries; the others are equal to try 0. */
enum { SEARCH_OCTAVES = 3 };
#define OCTAVE_ERRORS_BY(name, rows_, n_, codes)                                                                       \
    SHARED void name(const organ_scale_search *search, const float *values, const float *weights, size_t stride,       \
                     size_t rows, size_t n, size_t count, const scale_tries *t, tried_errors *errors)                  \
    {                                                                                                                  \
        (void)weights, (void)rows;                                                                                     \
        for (size_t g = 0; g < count; g++) {                                                                           \
            f32x16 sums[SEARCH_OCTAVES];                                                                               \
            sum_tries(search, values + g * n, values, stride, rows_, n_, t[g].inverses, t[g].scales, sums,             \
                      SEARCH_OCTAVES, codes, 0);                                                                       \
            f32_store(errors[g], f32_set1(f32_fold(sums[0])));                                                         \
            errors[g][1] = f32_fold(sums[1]);                                                                          \
            errors[g][2] = f32_fold(sums[2]);                                                                          \
        }                                                                                                              \
    }
OCTAVE_ERRORS_BY(octave_errors_by_e4m3, rows, n, SEARCH_E4M3)
OCTAVE_ERRORS_BY(octave_errors_by_e2m1, rows, n, SEARCH_E2M1)
OCTAVE_ERRORS_BY(small_octave_errors_by_e4m3, 1, 32, SEARCH_E4M3)
OCTAVE_ERRORS_BY(small_octave_errors_by_e2m1, 1, 32, SEARCH_E2M1)

SHARED void screened_errors_by_e4m3(const organ_scale_search *search, const float *values, const float *weights,
                                    size_t stride, size_t rows, size_t n, size_t count, const scale_tries *t,
                                    tried_errors *errors)
{
    screened s;
    for (size_t g = 0; g < count; g++)
        if (SEARCH_SCREENS && can_screen_e4m3(search, rows * n, &t[g]) &&
            screen_e4m3(search, values + g * n, stride, rows, n, &t[g], &s))
            errors_of_left(search, values + g * n, stride, rows, n, &t[g], &s, errors[g], error_by_e4m3);
        else
            errors_by_e4m3(search, values + g * n, weights + g * n, stride, rows, n, 1, &t[g], errors + g);
}

/* Each step of the screens is made for all groups before the next one, because it waits for the step before it, and the
 * end of a loop over the tries of each group would often be mispredicted. */
INLINE void screen_groups(const organ_scale_search *search, const float *values, size_t n, size_t count,
                          const scale_tries *t, tried_errors *errors, const int bits)
{
    enum { TOGETHER = 4 };
    whole_numbers w[SEARCH_GROUPS];
    whole_screen s[SEARCH_GROUPS];
    _Alignas(64) float by_lane[2 * SEARCH_GROUPS][16], two[2 * SEARCH_GROUPS];
    for (size_t g = 0; g < count; g++)
        set_numbers(values + g * n, n, &t[g], bits, &w[g]);
    for (size_t g = 0; g < count; g++)
        f32_store(s[g].bounds, least_errors(search, n, &t[g], sum_distances(&w[g], n, bits), bits));
    for (size_t g = 0; g < count; g++)
        s[g].least = least_of_others(&s[g]);
    for (size_t g = 0; g < SEARCH_GROUPS; g++) {
        f32x16 sums[2] = {f32_set1(0), f32_set1(0)};
        if (g < count)
            sum_two(search, values + g * n, n, &t[g], 0, s[g].least, sums);
        f32_store(by_lane[2 * g], sums[0]);
        f32_store(by_lane[2 * g + 1], sums[1]);
    }
    f32_store(two, f32_fold_rows(by_lane[0]));
    for (size_t first = 0; first < count; first += TOGETHER) {
        uint64_t left = 0;
        for (size_t g = first; g < min_size(first + TOGETHER, count); g++) {
            f32_store(errors[g], f32_of_bits(u32_set1(INFINITE)));
            errors[g][0] = two[2 * g];
            errors[g][s[g].least] = two[2 * g + 1];
            left |= left_tries(&t[g], &s[g], errors[g]) << (g - first) * SEARCH_TRIES;
        }
        set_errors(search, values + first * n, n, t + first, left, errors + first);
    }
}

/* The screens for the usual lengths of groups, for others, and for codes of 8 bits. */
#define SCREEN_WHOLE(name, n_, bits)                                                                                   \
    SHARED void name(const organ_scale_search *search, const float *values, const float *weights, size_t stride,       \
                     size_t rows, size_t n, size_t count, const scale_tries *t, tried_errors *errors)                  \
    {                                                                                                                  \
        (void)weights, (void)stride, (void)rows, (void)n;                                                              \
        screen_groups(search, values, n_, count, t, errors, bits);                                                     \
    }
SCREEN_WHOLE(whole_errors_of_128, 128, 11)
SCREEN_WHOLE(whole_errors_of_32, 32, 11)
SCREEN_WHOLE(whole_errors, n, 11)
SCREEN_WHOLE(whole_errors_of_bytes, n, 7)

INLINE errors_of *screened_whole(const organ_scale_search *search, size_t rows, size_t n)
{
    const int bits = whole_bits(search, rows, n);
    if (!SEARCH_SCREENS || !bits)
        return rows == 1 && n == 32 ? small_errors_by_integer : errors_by_integer;
    if (bits == 7)
        return whole_errors_of_bytes;
    errors_of *const other = n == 32 ? whole_errors_of_32 : whole_errors;
    return n == 128 ? whole_errors_of_128 : other;
}

static errors_of *const search_any[] = {errors_by_integer, errors_by_e4m3, errors_by_e2m1};
static errors_of *const search_small[] = {small_errors_by_integer, small_errors_by_e4m3, small_errors_by_e2m1};
static errors_of *const search_octaves[2][2] = {{octave_errors_by_e2m1, octave_errors_by_e4m3},
                                                {small_octave_errors_by_e2m1, small_octave_errors_by_e4m3}};
static errors_of *const search_by_weight[] = {weighted_errors_by_integer, weighted_errors_by_e4m3,
                                              weighted_errors_by_e2m1};

/* Returns the number of the try with the least error; of tries that are equal in the first 20 bits of the fraction the
 * first one. NaN counts as the greatest error. The number of a try replaces the last 4 bits of its error, so that one
 * comparison of integers finds both. */
INLINE uint32_t least_try(f32x16 errors)
{
    const u32x16 key = u32_or(u32_and(f32_bits(errors), u32_set1(MAGNITUDE - 15)), u32_lanes());
    return (MAGNITUDE - u32_top(u32_sub(u32_set1(MAGNITUDE), key))) & 15;
}

/* Returns *first, the sum of the errors of try 0, plus those of these groups. Each step of the search is made for
 * all groups before the next one, because it waits for the step before it. */
SHARED double search_groups(const organ_scale_search *search, const float *values, const float *weights, size_t stride,
                            size_t rows, size_t n, size_t count, double first, float *scales, errors_of *errors_by)
{
    scale_tries t[SEARCH_GROUPS];
    tried_errors errors[SEARCH_GROUPS];
    t[0] = (scale_tries){0}; /* gcc does not know that count > 0 */
    for (size_t g = 0; g < count; g++)
        if (rows == 1 && n == 32)
            find_ends(values + g * n, 0, 1, 32, t[g].ends);
        else
            find_ends(values + g * n, stride, rows, n, t[g].ends);
    for (size_t g = 0; g < count; g++)
        begin_tries(search, t[g].ends[0] >= -t[g].ends[1] ? t[g].ends[0] : t[g].ends[1], &t[g]);
    errors_by(search, values, weights, stride, rows, n, count, t, errors);
    for (size_t g = 0; g < count; g++) {
        const int some = t[g].farthest > SEARCH_MIN;
        scales[g] = t[g].scales[some ? least_try(f32_load(errors[g])) : 0];
        first += some ? (double)errors[g][0] : 0;
    }
    return first;
}

/* Returns the function for groups of n columns. */
INLINE errors_of *chosen_errors(const organ_scale_search *search, size_t rows, size_t n)
{
    const int codes = search_codes(search);
    if (codes == SEARCH_INTEGERS)
        return screened_whole(search, rows, n);
    if (search->stepped && !search->fraction)
        return search_octaves[rows == 1 && n == 32][codes == SEARCH_E4M3];
    if (rows == 1 && n == 32)
        return search_small[codes];
    if (rows == 1 && n == 16 && codes == SEARCH_E2M1)
        return least_errors_by_e2m1;
    return codes == SEARCH_E4M3 ? screened_errors_by_e4m3 : errors_by_e2m1;
}

/* ---- 16 short groups together ---- */
enum { LANE_BLOCKS = 8 }; /* blocks of 16 groups that are searched at the same time */

/* Searches at most LANE_BLOCKS blocks and returns `first` plus the errors of try 0 of all groups. */
typedef double search_of(const organ_scale_search *search, const float *values, size_t count, double first,
                         float *scales);

/* Returns `first` plus the errors of try 0 of a block. Groups that the block leaves out are searched one by one. */
INLINE double finish_block(const organ_scale_search *search, const float *values, const size_t n, const int codes,
                           lane_block *b, double first, float *scales, errors_of *errors_by)
{
    compare_left(search, values, n, codes, b, scales);
    for (size_t l = 0; l < 16; l++)
        if (b->regular >> l & 1)
            first += (double)b->errors[l];
        else
            first = search_groups(search, values + n * l, values, n, 1, n, 1, first, scales + l, errors_by);
    return first;
}

/* search_block(search, values, ..., block, scales) searches the groups of a block. */
#define SEARCH_BLOCKS(name, n, codes, errors_by, search_block)                                                         \
    SHARED double name(const organ_scale_search *search, const float *values, size_t count, double first,              \
                       float *scales)                                                                                  \
    {                                                                                                                  \
        lane_block blocks[LANE_BLOCKS];                                                                                \
        for (size_t k = 0; k < count; k++) {                                                                           \
            const float *const from = values + k * 16 * (n);                                                           \
            search_block;                                                                                              \
        }                                                                                                              \
        for (size_t k = 0; k < count; k++)                                                                             \
            first =                                                                                                    \
                finish_block(search, values + k * 16 * (n), n, codes, &blocks[k], first, scales + 16 * k, errors_by);  \
        return first;                                                                                                  \
    }
SEARCH_BLOCKS(search_e2m1, LANE_E2M1, SEARCH_E2M1, least_errors_by_e2m1,
              search_e2m1_block(search, from, &blocks[k], scales + 16 * k))
SEARCH_BLOCKS(search_e2m1_octaves, LANE_OCTAVE, SEARCH_E2M1, small_octave_errors_by_e2m1,
              search_octave_block(search, from, SEARCH_E2M1, &blocks[k], scales + 16 * k))
SEARCH_BLOCKS(search_e4m3_octaves, LANE_OCTAVE, SEARCH_E4M3, small_octave_errors_by_e4m3,
              search_octave_block(search, from, SEARCH_E4M3, &blocks[k], scales + 16 * k))
SEARCH_BLOCKS(search_whole_32, 32, SEARCH_INTEGERS, whole_errors_of_32,
              search_whole_block(search, from, 32, &blocks[k], scales + 16 * k))

/* Returns the function for blocks of groups of n columns, or NULL. */
INLINE search_of *chosen_blocks(const organ_scale_search *search, size_t rows, size_t n)
{
    const int codes = search_codes(search),
              within = search->least >= 0x1p-60f && search->greatest <= 0x1p60f && !search->subnormal;
    if (!SEARCH_SCREENS || rows != 1)
        return NULL;
    if (codes == SEARCH_INTEGERS && search->bf16 && whole_bits(search, rows, n) == LANE_BITS)
        return n == 32 ? search_whole_32 : NULL;
    if (codes == SEARCH_INTEGERS || !search->stepped)
        return NULL;
    if (search->fraction)
        return codes == SEARCH_E2M1 && n == LANE_E2M1 && search->fraction == 3 && within &&
                       search->peaks[0] == LANE_PEAK
                   ? search_e2m1
                   : NULL;
    if (n != LANE_OCTAVE)
        return NULL;
    return codes == SEARCH_E2M1 ? search_e2m1_octaves : search_e4m3_octaves;
}

double KERNEL(search_scales)(const organ_scale_search *search, const float *values, size_t stride, size_t rows,
                             size_t cols, size_t group, float *scales)
{
    const size_t whole = cols / group, rest = cols % group;
    errors_of *const by = chosen_errors(search, rows, group);
    search_of *const by_blocks = chosen_blocks(search, rows, group);
    double first = 0;
    size_t g = 0;
    for (size_t blocks; by_blocks && g + 16 <= whole; g += 16 * blocks) {
        blocks = min_size((whole - g) / 16, LANE_BLOCKS);
        first = by_blocks(search, values + g * group, blocks, first, scales + g);
    }
    for (; g < whole; g += SEARCH_GROUPS)
        first = search_groups(search, values + g * group, values, stride, rows, group,
                              min_size(whole - g, SEARCH_GROUPS), first, scales + g, by);
    if (rest)
        first = search_groups(search, values + whole * group, values, stride, rows, rest, 1, first, scales + whole,
                              chosen_errors(search, rows, rest));
    return first;
}

void KERNEL(search_weighted)(const organ_scale_search *search, const float *values, const float *weights, size_t cols,
                             size_t group, float *scales)
{
    for (size_t from = 0; from < cols; from += group * SEARCH_GROUPS) {
        const size_t n = min_size(group, cols - from), count = min_size((cols - from) / n, SEARCH_GROUPS);
        search_groups(search, values + from, weights + from, cols, 1, n, count, 0, scales + from / group,
                      search_by_weight[search_codes(search)]);
    }
}

void KERNEL(scale_errors)(const organ_scale_search *search, const float *values, size_t n, float farthest,
                          float *scales, float *errors)
{
    scale_tries t;
    begin_tries(search, farthest, &t);
    memcpy(scales, t.scales, sizeof t.scales);
    search_any[search_codes(search)](search, values, values, n, 1, n, 1, &t, (tried_errors *)errors);
}

/* ---- GPTQ on a block of columns of 16 rows (organ_coding) ---- */

/* Codes columns one after another, and refits the scales of groups. A lane stands for a row; the values of a column are
 * adjacent. */

enum { CODING_COLUMNS = RUN };    /* columns whose values are in registers at the same time */
#define CODING_ROUNDING 0x1.8p23f /* adding it rounds to whole numbers, ties to even */
#define E4M3_LARGEST    448.0f
#define E4M3_LEAST      0x1p-6f   /* least normal E4M3 number */
#define E4M3_ROUNDING   0x1.8p20f /* adding it times 2^e rounds to eighths of 2^e */

INLINE m32x16 coding_some(f32x16 a) { return u32_gt(u32_and(f32_bits(a), u32_set1(MAGNITUDE)), u32_set1(0)); }

INLINE f32x16 coding_listed(const organ_levels *levels, f32x16 quotient)
{
    f32x16 level = f32_set1(levels->values[0]);
    UNROLL for (int k = 0; k < 15; k++) level =
        f32_select(f32_gt(quotient, f32_set1(levels->middles[k])), f32_set1(levels->values[k + 1]), level);
    return level;
}

/* Rounds to an E4M3 number. */
INLINE f32x16 coding_e4m3(f32x16 a)
{
    const f32x16 within = f32_max(f32_min(a, f32_set1(E4M3_LARGEST)), f32_set1(-E4M3_LARGEST));
    const f32x16 power = f32_of_bits(u32_and(f32_bits(within), u32_set1(INFINITE))),
                 rounds = f32_mul(f32_max(power, f32_set1(E4M3_LEAST)), f32_set1(E4M3_ROUNDING));
    return f32_sub(f32_add(within, rounds), rounds);
}

INLINE f32x16 coding_nearest(const organ_coding *c, f32x16 quotient)
{
    if (c->levels)
        return coding_listed(c->levels, quotient);
    if (c->e4m3)
        return coding_e4m3(quotient);
    const f32x16 within = f32_max(f32_min(quotient, f32_set1(c->high)), f32_set1(c->low)),
                 rounds = f32_set1(CODING_ROUNDING);
    return f32_sub(f32_add(within, rounds), rounds);
}

INLINE f32x16 coding_code(const organ_coding *c, f32x16 x, f32x16 scale, f32x16 minimum)
{
    const m32x16 some = coding_some(scale);
    const f32x16 quotient = f32_div(f32_sub(x, minimum), f32_select(some, scale, f32_set1(1)));
    return coding_nearest(c, f32_select(some, quotient, f32_set1(0)));
}

/* With minima there are two roundings, like in the decoders. */
INLINE f32x16 coding_value(const organ_coding *c, f32x16 code, f32x16 scale, f32x16 minimum)
{
    const f32x16 scaled = f32_mul(code, scale);
    return c->minima ? f32_add(scaled, minimum) : scaled;
}

INLINE f32x16 coding_scale(const organ_coding *c, size_t column)
{
    return f32_load(c->scales + (size_t)c->groups[column] * c->stride);
}

INLINE f32x16 coding_minimum(const organ_coding *c, size_t column)
{
    return c->minima ? f32_load(c->minima + (size_t)c->groups[column] * c->stride) : f32_set1(0);
}

/* The caller subtracts its row of the square, times the result, from later columns. The value of a column with runs is
 * in c->values already, its present one in `old`. */
INLINE f32x16 code_column(const organ_coding *c, size_t column, f32x16 field, f32x16 old)
{
    const f32x16 scale = coding_scale(c, column), minimum = coding_minimum(c, column),
                 pivot = f32_set1(c->square[column * (c->square_stride + 1)]);
    const f32x16 wanted = c->descent ? f32_add(old, f32_div(field, pivot)) : field;
    f32x16 value = c->runs ? f32_load(c->values + 16 * column)
                           : coding_value(c, coding_code(c, wanted, scale, minimum), scale, minimum);
    if (c->keep)
        value = f32_select(coding_some(f32_load(c->keep + 16 * column)), value, f32_set1(0));
    f32_store(c->values + 16 * column, value);
    const f32x16 change = c->descent ? f32_sub(value, old) : f32_div(f32_sub(field, value), pivot);
    f32_store(c->changes + 16 * column, change);
    return change;
}

/* Codes `count` columns from `first` on, for the changes of all columns before. */
INLINE void code_some(const organ_coding *c, size_t first, const size_t count)
{
    f32x16 field[CODING_COLUMNS], old[CODING_COLUMNS];
    UNROLL for (size_t k = 0; k < count; k++) field[k] = f32_load(c->field + 16 * (first + k));
    for (size_t j = 0; j < first; j++) {
        const float *const row = c->square + j * c->square_stride + first;
        const f32x16 change = f32_load(c->changes + 16 * j);
        UNROLL for (size_t k = 0; k < count; k++) field[k] = f32_fnma(change, f32_set1(row[k]), field[k]);
    }
    UNROLL for (size_t k = 0; k < count; k++) old[k] =
        c->descent ? f32_load(c->values + 16 * (first + k)) : f32_set1(0);
    if (c->runs)
        run_code(c, first, field);
    UNROLL for (size_t k = 0; k < count; k++)
    {
        const f32x16 change = code_column(c, first + k, field[k], old[k]);
        const float *const row = c->square + (first + k) * c->square_stride + first;
        UNROLL for (size_t l = k + 1; l < count; l++) field[l] = f32_fnma(change, f32_set1(row[l]), field[l]);
    }
}

void KERNEL(code_columns)(const organ_coding *c)
{
    size_t first = 0;
    for (; first + CODING_COLUMNS <= c->n; first += CODING_COLUMNS)
        code_some(c, first, CODING_COLUMNS);
    for (; first < c->n; first++)
        code_some(c, first, 1);
}

/* Rounds to a power of 2. Adding half of the fraction's range to the bits carries into the exponent from 1.5 times a
 * power of 2 on. */
INLINE f32x16 coding_e8m0(f32x16 a)
{
    const f32x16 within = f32_max(f32_min(a, f32_set1(0x1p127f)), f32_set1(0x1p-126f));
    return f32_min(f32_of_bits(u32_and(u32_add(f32_bits(within), u32_set1(0x400000)), u32_set1(INFINITE))),
                   f32_set1(0x1p127f));
}

/* Rounds to the stored type, within its range. */
INLINE f32x16 coding_stored(const organ_coding *c, f32x16 a)
{
    const f32x16 most = f32_set1(65504);
    switch (c->stored) {
    case ORGAN_STORE_F16:
        return f16_widen(f16_narrow(f32_max(f32_min(a, most), f32_sub(f32_set1(0), most))));
    case ORGAN_STORE_E4M3:
        return coding_e4m3(f32_max(a, f32_set1(E4M3_LEAST)));
    case ORGAN_STORE_E8M0:
        return coding_e8m0(a);
    case ORGAN_STORE_F32:
        return a;
    default:
        return f32_of_bits(u32_and(bf16_rounded(a, u32_set1(0x7fc00000)), u32_set1(0xffff0000)));
    }
}

/* Sets `by` to the product of the codes of columns [from, to) and their rows of the square, n numbers for each lane. */
INLINE void codes_by_square(const organ_coding *c, const float *codes, size_t from, size_t to, float *by)
{
    for (size_t first = 0; first < c->n; first += CODING_COLUMNS) {
        f32x16 sums[CODING_COLUMNS];
        UNROLL for (size_t k = 0; k < CODING_COLUMNS; k++) sums[k] = f32_set1(0);
        for (size_t j = from; j < to; j++) {
            const float *const row = c->square + j * c->square_stride + first;
            const f32x16 code = f32_load(codes + 16 * j);
            UNROLL for (size_t k = 0; k < CODING_COLUMNS; k++) sums[k] = f32_fma(code, f32_set1(row[k]), sums[k]);
        }
        UNROLL for (size_t k = 0; k < CODING_COLUMNS; k++) f32_store(by + 16 * (first + k), sums[k]);
    }
}

INLINE f32x16 coding_dot(const float *a, const float *b, size_t from, size_t to)
{
    f32x16 sum = f32_set1(0);
    for (size_t k = from; k < to; k++)
        sum = f32_fma(a ? f32_load(a + 16 * k) : f32_set1(1), f32_load(b + 16 * k), sum);
    return sum;
}

INLINE f32x16 coding_quotient(f32x16 a, f32x16 b)
{
    const m32x16 some = f32_gt(b, f32_set1(0));
    return f32_select(some, f32_div(a, f32_select(some, b, f32_set1(1))), f32_set1(0));
}

typedef struct coding_steps {
    f32x16 scale, minimum;
} coding_steps;

/* Returns the steps that lower the loss most, each number rounded to its stored type: first the scale together with an
 * exact minimum, then the minimum for that scale. 0 where the loss would not fall, or a scale would become 0 or change
 * its sign. `codes`: c; `by`: c times the square, then 1 times the square. */
INLINE coding_steps choose_steps(const organ_coding *c, const float *codes, const float *by, size_t from, size_t to,
                                 f32x16 scale, f32x16 minimum)
{
    const f32x16 zero = f32_set1(0), right = coding_dot(codes, c->field, from, to),
                 own = coding_dot(codes, by, from, to);
    f32x16 step = coding_quotient(right, own), lift = zero, right_1 = zero, own_1 = zero, both = zero;
    if (c->minima) {
        right_1 = coding_dot(NULL, c->field, from, to);
        own_1 = coding_dot(NULL, by + 16 * c->n, from, to);
        both = coding_dot(NULL, by, from, to);
        const f32x16 share = coding_quotient(both, own_1);
        step = coding_quotient(f32_fnma(share, right_1, right), f32_fnma(share, both, own));
    }
    const f32x16 stored = coding_stored(c, f32_add(scale, step));
    step = f32_sub(stored, scale);
    if (c->minima) {
        lift = coding_quotient(f32_fnma(step, both, right_1), own_1);
        lift = f32_sub(coding_stored(c, f32_add(minimum, lift)), minimum);
    }
    /* gain: 2 (step right + lift right_1) - step (step own + lift both) - lift (step both + lift own_1); a number that
     * is not finite fails the comparison */
    const f32x16 curve = f32_fma(step, f32_fma(step, own, f32_mul(lift, both)),
                                 f32_mul(lift, f32_fma(step, both, f32_mul(lift, own_1)))),
                 sum = f32_fma(step, right, f32_mul(lift, right_1)), gain = f32_sub(f32_add(sum, sum), curve);
    const m32x16 better = m32_and(f32_gt(gain, zero), f32_gt(f32_mul(stored, scale), zero));
    return (coding_steps){f32_select(better, step, zero), f32_select(better, lift, zero)};
}

/* Refits columns [from, to). `codes` begins the scratch, which has places for 16 n codes, for the codes times the
 * square, and for ones times the square. */
INLINE void refit_group(const organ_coding *c, size_t from, size_t to, float *codes)
{
    float *const scales = c->scales + (size_t)c->groups[from] * c->stride,
                 *const minima = c->minima ? c->minima + (size_t)c->groups[from] * c->stride : NULL,
                 *const by = codes + 16 * c->n, *const by_1 = by + 16 * c->n;
    const f32x16 scale = coding_scale(c, from), minimum = coding_minimum(c, from);
    for (size_t j = from; j < to; j++)
        f32_store(codes + 16 * j, coding_code(c, f32_load(c->values + 16 * j), scale, minimum));
    codes_by_square(c, codes, from, to, by);
    if (minima) {
        for (size_t j = from; j < to; j++)
            f32_store(c->changes + 16 * j, f32_set1(1));
        codes_by_square(c, c->changes, from, to, by_1);
    }
    const coding_steps steps = choose_steps(c, codes, by, from, to, scale, minimum);
    f32_store(scales, f32_add(scale, steps.scale));
    if (minima)
        f32_store(minima, f32_add(minimum, steps.minimum));
    for (size_t k = 0; k < c->n; k++) {
        f32x16 field = f32_fnma(steps.scale, f32_load(by + 16 * k), f32_load(c->field + 16 * k));
        field = minima ? f32_fnma(steps.minimum, f32_load(by_1 + 16 * k), field) : field;
        f32_store(c->field + 16 * k, field);
    }
    for (size_t j = from; j < to; j++)
        f32_store(c->values + 16 * j,
                  coding_value(c, f32_load(codes + 16 * j), coding_scale(c, j), coding_minimum(c, j)));
}

void KERNEL(refit_scales)(const organ_coding *c, float *scratch)
{
    for (size_t from = 0, to; from < c->n; from = to) {
        for (to = from + 1; to < c->n && c->groups[to] == c->groups[from];)
            to++;
        refit_group(c, from, to, scratch);
    }
}

#endif
