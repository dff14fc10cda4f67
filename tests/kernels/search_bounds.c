/* SPDX-License-Identifier: MIT */
#include "tests/kernels/search_bounds.h"
#include "kernels/simd/isa.h"
#include "tests/kernels/kernel_checker.h"
#include <math.h>

#include "kernels/search_lanes.h"

enum { MOST = 128, KINDS = 5, ROUNDS = 400 };

static const organ_scale_search of_nibbles = {.low = -8,
                                              .high = 7,
                                              .bf16 = 1,
                                              .signs = 1,
                                              .of_zeros = 0.5f,
                                              .peaks = {7.5f, -6.85f, -7.05f, -7.25f, -7.75f, -7.95f, -8.1f, -8.2f,
                                                        -8.35f, -8.5f, -8.65f, -8.8f, -9, -9.25f, -9.55f, -9.95f}};
static const organ_scale_search of_bytes = {
    .low = -128,
    .high = 127,
    .bf16 = 1,
    .of_zeros = 0.5f,
    .peaks = {127.5f, 113, 114, 115, 116, 117, 119, 120, 121, 122, 123, 124, 125, 126, 126.8f, 128.2f}};

static const organ_scale_search of_levels = {.e2m1 = 1,
                                             .of_zeros = 0.125f,
                                             .peaks = {6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6},
                                             .stepped = 1,
                                             .fraction = 3,
                                             .up = 1u << 19,
                                             .least = 0x1p-6f,
                                             .greatest = 448};

static void set_tries(const organ_scale_search *search, const float *values, size_t n, scale_tries *t)
{
    t->ends[0] = t->ends[1] = 0;
    for (size_t k = 0; k < n; k++) {
        t->ends[0] = fmaxf(t->ends[0], values[k]);
        t->ends[1] = fminf(t->ends[1], values[k]);
    }
    begin_tries(search, t->ends[0] >= -t->ends[1] ? t->ends[0] : t->ends[1], t);
}

void whole_bounds(const organ_scale_search *search, const float *values, size_t n, float bounds[16])
{
    const int bits = whole_bits(search, 1, n);
    scale_tries t;
    whole_numbers w;
    set_tries(search, values, n, &t);
    set_numbers(values, n, &t, bits, &w);
    f32_store(bounds, least_errors(search, n, &t, sum_distances(&w, n, bits), bits));
}

/* All groups of the block have these values. */
void lane_bounds(const organ_scale_search *search, const float *values, size_t n, float bounds[16])
{
    float all[16 * LANE_MOST];
    lane_values x;
    lane_fixed fixed;
    lane_block b;
    lane_chosen chosen;
    scale_tries t;
    for (size_t k = 0; k < 16 * n; k++)
        all[k] = values[k % n];
    set_tries(search, values, n, &t);
    load_lanes(all, n, search_codes(search), &x);
    set_fixed(&x, n, f32_set1(t.farthest), &fixed);
    if (search->e2m1) {
        f32_store(b.tries[0], f32_set1(t.scales[0]));
        bound_e2m1_tries(search, &fixed, f32_set1(t.farthest), &b, &chosen);
    } else {
        const f32x16 ends[2] = {f32_set1(t.ends[0]), f32_set1(t.ends[1])},
                     farthest = ends[t.ends[0] >= -t.ends[1] ? 0 : 1];
        set_whole_tries(search, farthest, &b);
        bound_whole_tries(search, &fixed, n, ends, farthest, &b, &chosen);
    }
    bounds[0] = 0;
    for (int k = 1; k < 16; k++)
        bounds[k] = b.bounds[k][k];
}

/* Kind 0: any values. 1: the values are near halves of a scale, where the distances are greatest (and four may count as
 * 0); 2: near whole numbers, where they are least. 3: most values are beyond the outer codes. 4: most are nearly 0. */
static void fill_kind(unsigned round, const organ_scale_search *search, float *values, size_t n)
{
    samples random = {round};
    const int kind = (int)(round % KINDS), shift = (int)(round * 7 % 61) - 30;
    const float peak = fabsf(search->peaks[round / KINDS % 16]);
    samples_fill(&random, (enum sample_shape)(round % SAMPLE_SHAPES), values, n);
    for (size_t k = 0; k < n; k++) {
        const float code = rintf(fmodf(values[k] * 2, peak)), off = (float)(samples_uniform(&random) - 0.5) * 0.01f;
        values[k] = kind == 1 ? (code + 0.5f + off) / peak : values[k];
        values[k] = kind == 2 ? (code + off) / peak : values[k];
        values[k] = kind == 3 ? copysignf(1 - 0.3f * (float)samples_uniform(&random), values[k]) : values[k];
        values[k] = kind == 4 && k % 16 ? values[k] * 1e-4f : values[k];
        values[k] = ldexpf(values[k], shift);
    }
    if (kind == 1 || kind == 2)
        values[round % n] = ldexpf(round % 2 ? 1 : -1, shift);
}

static double nearest_level(const organ_scale_search *search, double quotient)
{
    static const double levels[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    double nearest = 0;
    if (!search->e2m1)
        return fmin(fmax(rint(quotient), (double)search->low), (double)search->high);
    for (size_t k = 1; k < 8; k++)
        nearest = fabs(fabs(quotient) - levels[k]) < fabs(fabs(quotient) - nearest) ? levels[k] : nearest;
    return copysign(nearest, quotient);
}

static double error_in_fp64(const organ_scale_search *search, const float *values, size_t n, float scale)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++) {
        const double lost =
            (double)values[k] - nearest_level(search, (double)values[k] / (double)scale) * (double)scale;
        sum += lost * lost;
    }
    return sum;
}

/* Returns whether a try cuts off values other than the two ends; with levels, whether it cuts off so much that it has
 * no screen. */
static int cuts_inner(const organ_scale_search *search, const float *values, size_t n, const scale_tries *t, int try)
{
    if (search->e2m1)
        return t->farthest / t->scales[try] > 7.8f || (try > 5 && try % 2 == 1 && try < 15);
    for (size_t k = 0; k < n; k++) {
        const float code = values[k] / t->scales[try];
        if ((code > search->high + 0.4f || code < search->low - 0.4f) && values[k] != t->ends[0] &&
            values[k] != t->ends[1])
            return 1;
    }
    return 0;
}

static const char *check_group_bounds(search_bounds *bounds, const organ_scale_search *search, const float *values,
                                      size_t n, int first, unsigned round)
{
    float got[16];
    scale_tries t;
    set_tries(search, values, n, &t);
    bounds(search, values, n, got);
    for (int k = first; k < 16; k++) {
        const double error = error_in_fp64(search, values, n, t.scales[k]), unit = (double)t.scales[k],
                     off = search->high > 7 ? 0.16 : 0.012; /* of the mean error 1/12 of each value, and of 1 */
        if (!((double)got[k] <= error * (1 + 0x1p-17)))
            return kernel_fault("%zu values, kind %u: bound %g of try %d is above the error %g", n, round % KINDS,
                                (double)got[k], k, error);
        if (round % KINDS != 1 && !cuts_inner(search, values, n, &t, k) &&
            !((double)got[k] >= error * (1 - off) - off / 12 * (double)n * unit * unit))
            return kernel_fault("%zu values, kind %u: bound %g of try %d is far below the error %g", n, round % KINDS,
                                (double)got[k], k, error);
    }
    return NULL;
}

const char *check_lane_bounds_of(search_bounds *bounds)
{
    const char *fault = NULL;
    for (unsigned round = 0; round < ROUNDS && !fault; round++) {
        float values[LANE_MOST];
        const organ_scale_search *const search = round % 2 ? &of_levels : &of_nibbles;
        const size_t n = round % 2 ? LANE_E2M1 : 32;
        fill_kind(round, search, values, n);
        fault = check_group_bounds(bounds, search, values, n, 1, round);
    }
    return fault;
}

const char *check_bounds_of(search_bounds *bounds)
{
    static const size_t lengths[] = {32, 48, 64, 112, 128};
    const char *fault = NULL;
    for (unsigned round = 0; round < ROUNDS && !fault; round++) {
        const size_t n = lengths[round % 7 % 5];
        const organ_scale_search *const search = round % 3 || n < WHOLE_LEAST_OF_BYTES ? &of_nibbles : &of_bytes;
        float values[MOST];
        fill_kind(round, search, values, n);
        fault = check_group_bounds(bounds, search, values, n, 0, round);
    }
    return fault;
}
