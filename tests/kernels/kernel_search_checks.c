/* SPDX-License-Identifier: MIT
 * Checks of the search for scales: every table against a plain search in FP64, and against the scalar table bit for
 * bit on shapes that end at every place of a vector, between guards. */
#include "tests/kernels/kernel_checker.h"
#include "tests/kit/effort.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 16, ROWS = 3, COLS = 300 };

/* Whole codes with scales of both signs, FP32 scales, BF16 scales, E4M3 codes; E2M1 codes with E4M3 and with E8M0
 * scales, E4M3 codes with E8M0 scales. */
static const organ_scale_search searches[] = {
    {.low = -8,
     .high = 7,
     .bf16 = 1,
     .signs = 1,
     .of_zeros = 0.5f,
     .peaks = {7.5f, -7, -7.25f, -7.5f, -7.75f, -8, -8.25f, -8.5f, -9, -9.5f, -10, 6, 6.5f, 7, 8, 9}},
    {.low = -2,
     .high = 1,
     .bf16 = 1,
     .signs = 1,
     .of_zeros = 0.5f,
     .peaks = {1.5f, -2, -2.25f, -2.5f, -2.75f, -3, -3.5f, -4, 2, 2.25f, 2.5f, 2.75f, 3, 3.5f, 4, 5}},
    {.low = -128,
     .high = 127,
     .of_zeros = 1,
     .peaks = {127.5f, 113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 128.5f}},
    {.e4m3 = 1,
     .bf16 = 1,
     .of_zeros = 0.25f,
     .peaks = {448, 430, 410, 390, 370, 360, 350, 330, 310, 300, 290, 280, 270, 260, 240, 230}},
    {.e4m3 = 1,
     .of_zeros = 1,
     .peaks = {448, 430, 410, 390, 370, 360, 350, 330, 310, 300, 290, 280, 270, 260, 240, 230}},
    {.e2m1 = 1,
     .of_zeros = 0.125f,
     .peaks = {6},
     .stepped = 1,
     .fraction = 3,
     .up = 1u << 19,
     .least = 0x1p-6f,
     .greatest = 448},
    {.e2m1 = 1, .of_zeros = 1, .peaks = {4}, .stepped = 1, .up = 3u << 21, .least = 0x1p-126f, .greatest = 0x1p127f},
    {.e4m3 = 1, .of_zeros = 1, .peaks = {448}, .stepped = 1, .up = 0x3504f3, .least = 0x1p-126f, .greatest = 0x1p127f}};
enum { SEARCHES = sizeof searches / sizeof *searches };

static double value_of_nearest(const organ_scale_search *s, float value, float scale)
{
    const float x = value / scale;
    const int fraction = s->e2m1 ? 1 : 3, least = s->e2m1 ? 1 : -5;
    const double most = s->e2m1 ? 6 : 448;
    if (!s->e4m3 && !s->e2m1)
        return (double)fminf(fmaxf(nearbyintf(x), s->low), s->high) * (double)scale;
    int exponent;
    frexpf(x, &exponent);
    const float step = ldexpf(1, (exponent < least ? least : exponent) - 1 - fraction),
                code = nearbyintf(x / step) * step;
    return fmin(fmax((double)code, -most), most) * (double)scale;
}

/* The numbers with few bits of fraction are counted from the least one up. */
static float stepped_scale(const organ_scale_search *s, int try, float farthest)
{
    static const int steps[] = {0, -1, 1, -2, 2, -3, 3, -4, 4, -5, 5, -6, 6, -7, 7, 8};
    const int in_octave = 1 << s->fraction;
    int from, to, exponent;
    const float exact = fabsf(farthest) / s->peaks[0], within = fminf(fmaxf(exact, s->least), s->greatest),
                octave = 2 * frexpf(within, &exponent);
    const float below = floorf((octave - 1) * (float)in_octave);
    const int up =
        within < s->greatest && (octave - 1) * (float)in_octave - below >= (float)s->up / (float)(0x800000 / in_octave);
    const int number = (exponent - 1) * in_octave + (int)below + up + (s->fraction || try < 3 ? steps[try] : 0);
    frexpf(s->least, &from), frexpf(s->greatest, &to);
    const int least = (from - 1) * in_octave,
              most = (to - 1) * in_octave + (int)((2 * frexpf(s->greatest, &to) - 1) * (float)in_octave);
    int kept = number < least ? least : number;
    kept = kept > most ? most : kept;
    const int whole = kept >= 0 ? kept / in_octave : -((-kept + in_octave - 1) / in_octave);
    return try == 0 && farthest == 0 ? s->of_zeros
                                     : ldexpf(1 + (float)(kept - whole * in_octave) / (float)in_octave, whole);
}

static float scale_of_try(const organ_scale_search *s, int try, float farthest)
{
    float scale = (s->signs && try > 0 ? farthest : fabsf(farthest)) / s->peaks[try];
    uint16_t stored;
    if (s->stepped)
        return stepped_scale(s, try, farthest);
    if (s->bf16) {
        organ_kernels_scalar->f32_to_bf16(&scale, &stored, 1);
        organ_kernels_scalar->bf16_to_f32(&stored, &scale, 1);
    }
    return try == 0 && scale == 0 ? s->of_zeros : scale;
}

static float farthest_of(const float *values, size_t stride, size_t rows, size_t n)
{
    float farthest = 0;
    for (size_t k = 0; k < rows * n; k++) {
        const float x = values[k / n * stride + k % n];
        farthest = fabsf(x) > fabsf(farthest) || (fabsf(x) == fabsf(farthest) && x > 0) ? x : farthest;
    }
    return farthest;
}

static double error_of_try(const organ_scale_search *s, float scale, const float *values, size_t stride, size_t rows,
                           size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < rows * n; k++) {
        const float x = values[k / n * stride + k % n];
        const double lost = (double)x - value_of_nearest(s, x, scale);
        sum += lost * lost;
    }
    return sum;
}

/* The scale of a group is that of a try, and no try is better by more than rounding; adds the error of try 0. */
static const char *check_group(const organ_scale_search *s, const float *values, size_t stride, size_t rows, size_t n,
                               float scale, double *first)
{
    const float farthest = farthest_of(values, stride, rows, n);
    double least = INFINITY, got = INFINITY;
    for (int t = 0; t < TRIES; t++) {
        const float tried = scale_of_try(s, t, farthest);
        if (t > 0 && !(fabsf(farthest) > 0x1p-100f))
            break;
        const double error = error_of_try(s, tried, values, stride, rows, n);
        *first += t == 0 ? error : 0;
        least = error < least ? error : least;
        got = scale == tried && error < got ? error : got;
    }
    return got <= least * (1 + 1e-5) + 0x1p-110 ? NULL
                                                : kernel_fault("%zu x %zu values: scale %a has error %g, the best %g",
                                                               rows, n, (double)scale, got, least);
}

static const char *check_searched(const organ_kernels *k, size_t which, const float *values, size_t rows, size_t cols,
                                  size_t group)
{
    const organ_scale_search *const s = &searches[which];
    float scales[COLS + 1], same[COLS + 1];
    const size_t groups = (cols + group - 1) / group;
    const char *fault = NULL;
    double first = 0;
    memset(scales, 0x5a, sizeof scales), memset(same, 0x5a, sizeof same);
    const double told = k->search_scales(s, values, COLS, rows, cols, group, scales),
                 again = organ_kernels_scalar->search_scales(s, values, COLS, rows, cols, group, same);
    if (memcmp(scales, same, sizeof same) != 0 || told != again)
        return kernel_fault("search %zu, %zu x %zu in groups of %zu: not the bits of scalar", which, rows, cols, group);
    for (size_t g = 0; g < groups && !fault; g++)
        fault = check_group(s, values + g * group, COLS, rows, g + 1 < groups ? group : cols - g * group, scales[g],
                            &first);
    if (!fault && !(fabs(told - first) <= 1e-5 * first + 0x1p-110))
        fault = kernel_fault("search %zu: the error of the first tries is %g, not %g", which, told, first);
    return fault;
}

/* Fills a band of BF16 values in which many tries are nearly or exactly equal, or a few values are far from all others;
 * in the last kind one value is not BF16. */
static void fill_screened(unsigned round, float *values, size_t n)
{
    samples random = {round};
    samples_fill(&random, (enum sample_shape)(round % SAMPLE_SHAPES), values, n);
    for (size_t j = 0; j < n; j++) {
        uint16_t stored;
        values[j] = round % 5 == 1 && j % 3 ? 0 : values[j];
        values[j] = round % 5 == 2 ? ldexpf(values[j] < 0 ? -1 : 1, (int)(j * 7 % (round % 30 + 1)) - 20) : values[j];
        values[j] = ldexpf(values[j], round % 5 == 3 && j % 997 == 5 ? (int)(round % 16) : 0);
        organ_kernels_scalar->f32_to_bf16(&values[j], &stored, 1);
        organ_kernels_scalar->bf16_to_f32(&stored, &values[j], 1);
    }
    if (round % 5 == 4)
        values[round * 131 % n] *= 1 + 0x1p-20f;
}

enum { SCREENED_ROWS = 9, SCREENED_COLS = 2100 };

/* The results have the bits of scalar, which screens none. */
static const char *check_same_tries(const organ_kernels *k, size_t which, const float *values, size_t rows, size_t cols,
                                    size_t group, unsigned round)
{
    const organ_scale_search *const s = &searches[which];
    float scales[SCREENED_COLS / 16 + 1], same[SCREENED_COLS / 16 + 1];
    memset(scales, 0x5a, sizeof scales), memset(same, 0x5a, sizeof same);
    const double told = k->search_scales(s, values, SCREENED_COLS, rows, cols, group, scales),
                 again = organ_kernels_scalar->search_scales(s, values, SCREENED_COLS, rows, cols, group, same);
    if (memcmp(scales, same, sizeof same) != 0 || memcmp(&told, &again, sizeof told) != 0)
        return kernel_fault("search %zu, %zu x %zu in groups of %zu, kind %u: not the bits of scalar", which, rows,
                            cols, group, round);
    return NULL;
}

/* 16 groups of 16 or 32 values are searched together, but not those that are 0, very small or very large. */
static const char *check_blocks(const organ_kernels *k, float *values, size_t cols, unsigned round)
{
    static const int shifts[] = {0, -7, 3, 0, -60, 0, 50, -130};
    const char *fault = NULL;
    for (size_t j = 0; j < cols; j++) {
        const size_t group = j / 16 + round;
        values[j] = round % 3 == 1 && group % 9 == 4 ? 0 : ldexpf(values[j], round % 3 ? shifts[group / 2 % 8] : 0);
    }
    for (size_t which = 0; which < SEARCHES && !fault; which++) {
        fault = check_same_tries(k, which, values, 1, cols, 16, round);
        fault = fault ? fault : check_same_tries(k, which, values, 1, cols, 32, round);
    }
    return fault;
}

/* Tries are screened in groups of many values, and those of whole codes in rows of at most 128 values. */
static const char *check_screened(const organ_kernels *k)
{
    float *const values = malloc(sizeof(float) * SCREENED_ROWS * SCREENED_COLS);
    const char *fault = values ? NULL : kernel_fault("no memory");
    for (unsigned round = 0; round < sampled_unless_all(30, 15, 30) && !fault; round++) {
        static const size_t groups[] = {1024, SCREENED_COLS, 1500, 128, 700}, small[] = {128, 48, 64, 112};
        const size_t group = groups[round % 5], rows = group < 1024 ? SCREENED_ROWS : 1,
                     cols = SCREENED_COLS - round * 37 % 500;
        fill_screened(round, values, (size_t)SCREENED_ROWS * SCREENED_COLS);
        for (size_t which = round % 2; which < SEARCHES && !fault; which += 2)
            fault = check_same_tries(k, which, values, rows, cols, group, round);
        for (size_t row = 0; row < SCREENED_ROWS && !fault; row++)
            fault =
                check_same_tries(k, row % 3, values + row * SCREENED_COLS, 1, cols, small[(round + row) % 4], round);
        fault = fault ? fault : check_blocks(k, values, cols, round);
    }
    free(values);
    return fault;
}

/* The errors of all tries for one group. */
static const char *check_errors(const organ_kernels *k, size_t which, const float *values, size_t n)
{
    const organ_scale_search *const s = &searches[which];
    float scales[TRIES], errors[TRIES], same[TRIES];
    const float farthest = farthest_of(values, n, 1, n);
    if (!(fabsf(farthest) > 0x1p-100f))
        return NULL;
    organ_kernels_scalar->scale_errors(s, values, n, farthest, scales, same);
    k->scale_errors(s, values, n, farthest, scales, errors);
    for (int t = 0; t < TRIES; t++)
        if (scales[t] != scale_of_try(s, t, farthest) || errors[t] != same[t] ||
            !(fabs((double)errors[t] - error_of_try(s, scales[t], values, n, 1, n)) <=
              1e-5 * (double)errors[t] + 0x1p-110))
            return kernel_fault("search %zu, %zu values: try %d has scale %a and error %g", which, n, t,
                                (double)scales[t], (double)errors[t]);
    return NULL;
}

/* Returns the weighted error of a try for n values of a row. */
static double weighted_error(const organ_scale_search *s, float scale, const float *values, const float *weights,
                             size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += (double)weights[k] * error_of_try(s, scale, values + k, 1, 1, 1);
    return sum;
}

/* The scale of each group of a row has the least weighted error. Equal weights give the scales of search_scales. */
static const char *check_weighted(const organ_kernels *k, size_t which, const float *values, size_t cols, size_t group)
{
    const organ_scale_search *const s = &searches[which];
    float scales[COLS], same[COLS], weights[COLS], ones[COLS];
    for (size_t j = 0; j < cols; j++) {
        ones[j] = 1;
        weights[j] = ldexpf(1, (int)(j * 5 % 9) - 4);
    }
    cols = group < cols ? cols / group * group : cols;
    k->search_weighted(s, values, ones, cols, group, scales);
    k->search_scales(s, values, cols, 1, cols, group, same);
    if (memcmp(scales, same, (cols + group - 1) / group * sizeof *scales) != 0)
        return kernel_fault("search %zu of %zu columns: other scales with weights of 1", which, cols);
    k->search_weighted(s, values, weights, cols, group, scales);
    organ_kernels_scalar->search_weighted(s, values, weights, cols, group, same);
    if (memcmp(scales, same, (cols + group - 1) / group * sizeof *scales) != 0)
        return kernel_fault("weighted search %zu of %zu columns: not the bits of scalar", which, cols);
    for (size_t from = 0; from < cols; from += group) {
        const size_t n = group < cols ? group : cols;
        const float farthest = farthest_of(values + from, n, 1, n);
        double least = INFINITY, got = weighted_error(s, scales[from / group], values + from, weights + from, n);
        for (int t = 0; t < (fabsf(farthest) > 0x1p-100f ? TRIES : 1); t++) {
            const double error = weighted_error(s, scale_of_try(s, t, farthest), values + from, weights + from, n);
            least = error < least ? error : least;
        }
        if (!(got <= least * (1 + 1e-5) + 0x1p-110))
            return kernel_fault("weighted search %zu: a scale has error %g, the best %g", which, got, least);
    }
    return NULL;
}

static const char *check_squares(const organ_kernels *k, const float *values, const float *back, size_t n)
{
    double sums[2], same[2], squares = 0, errors = 0;
    k->error_squares(values, back, n, sums);
    organ_kernels_scalar->error_squares(values, back, n, same);
    for (size_t j = 0; j < n; j++) {
        const double lost = (double)(values[j] - back[j]);
        squares += (double)values[j] * (double)values[j];
        errors += lost * lost;
    }
    return memcmp(sums, same, sizeof sums) == 0 && fabs(sums[0] - squares) <= 1e-12 * squares &&
                   fabs(sums[1] - errors) <= 1e-12 * errors
               ? NULL
               : kernel_fault("%zu values: squares %g and %g, not %g and %g", n, sums[0], sums[1], squares, errors);
}

const char *check_scale_search(const organ_kernels *k)
{
    static const size_t groups[] = {1, 15, 16, 17, 32, 33, 64, 128, COLS};
    const size_t kinds = sizeof groups / sizeof *groups;
    const char *fault = NULL;
    for (unsigned round = 0; round < sampled_unless_all(60, 30, 60) && !fault; round++) {
        static const int shifts[] = {-6, 0, 30, -60, -140, 50};
        guarded g = guarded_create(ROWS * COLS * sizeof(float), GUARD_BEHIND, round);
        float *const values = (float *)(void *)g.data;
        samples random = {round};
        samples_fill(&random, (enum sample_shape)(round % SAMPLE_SHAPES), values, (size_t)ROWS * COLS);
        for (size_t j = 0; j < (size_t)ROWS * COLS; j++)
            values[j] = j / 32 % 7 == round % 9 ? 0 : ldexpf(values[j], shifts[round % 6]);
        const size_t cols = COLS - round * 5 % 64, rows = 1 + round % ROWS;
        for (size_t which = 0; which < SEARCHES && !fault; which++) {
            fault =
                check_searched(k, which, values + (ROWS - rows) * COLS, rows, cols, groups[(round + which) % kinds]);
            fault = fault ? fault : check_errors(k, which, values + ROWS * COLS - cols, cols);
            fault = fault
                        ? fault
                        : check_weighted(k, which, values + ROWS * COLS - cols, cols, groups[(round + which) % kinds]);
        }
        fault = fault ? fault : check_squares(k, values, values + ROWS * COLS - cols, cols);
        if (!fault && !guarded_intact(&g, round))
            fault = kernel_fault("bytes around the values were changed");
        guarded_destroy(&g);
    }
    return fault ? fault : check_screened(k);
}
