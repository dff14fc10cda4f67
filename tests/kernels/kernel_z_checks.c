/* SPDX-License-Identifier: MIT
 * Checks of the kernels of the Z-measure against plain loops: histograms and pairwise means exactly, spreads within
 * rounding and against scalar bit for bit. */
#include "tests/kernels/kernel_checker.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *memory(size_t bytes)
{
    void *p = calloc(1, bytes + 1);
    if (!p)
        abort();
    return p;
}

static const char *check_codes_of(const organ_kernels *k, size_t n, enum guarded_side side, uint64_t seed)
{
    samples random = {seed};
    guarded codes = guarded_create(n * 2, side, 7);
    uint64_t *counts = memory(65536 * 8), *expected = memory(65536 * 8);
    counts[3] = expected[3] = UINT64_C(1) << 40; /* the kernel adds to 64-bit counts */
    for (size_t j = 0; j < n; j++) {
        const uint16_t mixed = samples_bits(&random) % 3 == 0 ? 0xffff : (uint16_t)(samples_bits(&random) % 40);
        const uint16_t run =
            j % 97 == 5 && j % 3 == 0 ? 8 : 7; /* long runs of one code, some with another code in them */
        const uint16_t code = seed % 3 == 0 ? run : mixed;
        memcpy(codes.data + 2 * j, &code, 2);
        expected[code]++;
    }
    k->count_codes((const uint16_t *)(void *)codes.data, n, counts);
    const int same = memcmp(counts, expected, 65536 * 8) == 0;
    guarded_destroy(&codes);
    free(counts);
    free(expected);
    return same ? NULL : kernel_fault("count_codes: %zu codes, seed %llu: wrong counts", n, (unsigned long long)seed);
}

const char *check_codes(const organ_kernels *k)
{
    const char *fault = NULL;
    for (size_t l = 0; l < kernel_length_count; l++)
        for (int side = 0; side < 2 && !fault; side++)
            fault = check_codes_of(k, kernel_lengths[l], (enum guarded_side)side, 2 * l + (unsigned)side);
    return fault;
}

/* Runs the kernel of a type: 0 BF16, 1 F16, 2 F32. */
static void run_pairs(const organ_kernels *k, int type, const void *values, float *means, size_t n)
{
    if (type == 0)
        k->pair_means_bf16(values, means, n);
    else if (type == 1)
        k->pair_means_f16(values, means, n);
    else
        k->pair_means_f32(values, means, n);
}

static const char *check_pairs_of(const organ_kernels *k, int type, size_t n, enum guarded_side side, uint64_t seed)
{
    samples random = {seed};
    const size_t size = type == 2 ? 4 : 2;
    guarded values = guarded_create(2 * n * size, side, 8), means = guarded_create(n * 4, side, 9);
    float *wide = memory(2 * n * sizeof *wide);
    int same = 1;
    samples_fill(&random, (enum sample_shape)(seed % SAMPLE_SHAPES), wide, 2 * n);
    if (type == 2)
        memcpy(values.data, wide, 8 * n);
    else if (type == 1)
        organ_kernels_scalar->f32_to_f16(wide, (uint16_t *)(void *)values.data, 2 * n),
            organ_kernels_scalar->f16_to_f32((const uint16_t *)(void *)values.data, wide, 2 * n);
    else
        organ_kernels_scalar->f32_to_bf16(wide, (uint16_t *)(void *)values.data, 2 * n),
            organ_kernels_scalar->bf16_to_f32((const uint16_t *)(void *)values.data, wide, 2 * n);
    run_pairs(k, type, values.data, (float *)(void *)means.data, n);
    for (size_t j = 0; j < n; j++) {
        const float mean = (wide[2 * j] + wide[2 * j + 1]) * 0.5f;
        same &= memcmp(means.data + 4 * j, &mean, 4) == 0;
    }
    same &= guarded_intact(&means, 9);
    guarded_destroy(&values);
    guarded_destroy(&means);
    free(wide);
    return same ? NULL : kernel_fault("pair_means: type %d, %zu pairs, seed %llu", type, n, (unsigned long long)seed);
}

const char *check_pair_means(const organ_kernels *k)
{
    const char *fault = NULL;
    uint64_t seed = 1;
    for (int type = 0; type < 3; type++)
        for (size_t l = 0; l < kernel_length_count; l++)
            for (int side = 0; side < 2 && !fault; side++)
                fault = check_pairs_of(k, type, kernel_lengths[l], (enum guarded_side)side, seed++);
    return fault;
}

static const char *check_spread_of(const organ_kernels *k, size_t n, enum guarded_side side, uint64_t seed)
{
    samples random = {seed};
    guarded array = guarded_create(n * 4, side, 10);
    float *values = memory(n * sizeof *values);
    organ_spread found, scalar;
    organ_moments expected;
    samples_fill(&random, (enum sample_shape)(seed % SAMPLE_SHAPES), values, n);
    for (size_t j = 0; j < n; j++)
        values[j] += seed % 5 == 0 ? 1000.0f : 0;
    memcpy(array.data, values, 4 * n);
    memset(&found, 0x5a, sizeof found);
    k->spread((const float *)(void *)array.data, n, &found);
    organ_kernels_scalar->spread(values, n, &scalar);
    reference_moments(values, n, &expected);
    const double max = fmax(fabs((double)expected.min), fabs((double)expected.max)), scale = n > 0 ? max : 0;
    const int plausible = found.n == n && fabs(found.mean - expected.mean) <= 1e-13 * scale &&
                          fabs(found.m2 - expected.m2) <= 1e-11 * expected.m2 + 1e-24 * (double)n * scale * scale;
    const int same = memcmp(&found, &scalar, sizeof found) == 0;
    guarded_destroy(&array);
    free(values);
    if (same && plausible)
        return NULL;
    return kernel_fault("spread: %zu values, seed %llu: %s", n, (unsigned long long)seed,
                        same ? "far from the reference" : "not like scalar");
}

const char *check_spread(const organ_kernels *k)
{
    const char *fault = NULL;
    for (size_t l = 0; l < kernel_length_count; l++)
        for (int side = 0; side < 2 && !fault; side++)
            fault = check_spread_of(k, kernel_lengths[l], (enum guarded_side)side, 2 * l + (unsigned)side);
    return fault;
}

/* Values inside the bins and far outside: on edges if mean and std are powers of two, else a few floats from an edge;
 * means of up to 2000 bins, deviations near the limits of FP32. */
typedef struct bins_case {
    double mean, std;
    enum { ON_EDGES, BESIDE_EDGES, ANYWHERE } place;
} bins_case;

static bins_case bins_case_of(samples *random, uint64_t seed)
{
    static const double sizes[] = {1, 1, 1e-36, 1e34};
    const double size = sizes[seed / 3 % 4], std = (0.1 + samples_uniform(random)) * size;
    const double far = seed % 2 ? 1 : 250 * samples_uniform(random);
    return seed % 3 == 0
               ? (bins_case){0.5, 0.25, ON_EDGES}
               : (bins_case){std * far * (samples_uniform(random) - 0.5), std, seed % 3 == 1 ? BESIDE_EDGES : ANYWHERE};
}

static float bins_value(samples *random, const bins_case *c)
{
    const double z = (samples_uniform(random) - 0.5) * 20, edge = floor(z * 16) / 16;
    const float extra = (float)(c->mean + c->std * edge);
    if (samples_bits(random) % 50 == 0)
        return 1e30f * (float)z;
    if (c->place != BESIDE_EDGES)
        return (float)(c->mean + c->std * (c->place == ON_EDGES ? edge : z));
    return extra + (float)((int)(samples_bits(random) % 9) - 4) * 6e-8f * (float)fabs((double)extra);
}

static const char *check_bins_of(const organ_kernels *k, size_t n, enum guarded_side side, uint64_t seed)
{
    samples random = {seed};
    guarded array = guarded_create(n * 4, side, 11);
    uint64_t counts[4 * ORGAN_Z_BINS] = {7}, expected[4 * ORGAN_Z_BINS] = {7};
    const bins_case c = bins_case_of(&random, seed);
    for (size_t j = 0; j < n; j++) {
        const float v = bins_value(&random, &c);
        const double bin = fmin(fmax(floor(((double)v - c.mean) * (16 / c.std)) + 128, 0), 255);
        memcpy(array.data + 4 * j, &v, 4);
        expected[j % 4 * ORGAN_Z_BINS + (size_t)bin]++;
    }
    k->z_bins((const float *)(void *)array.data, n, c.mean, c.std, counts);
    guarded_destroy(&array);
    return memcmp(counts, expected, sizeof counts) == 0
               ? NULL
               : kernel_fault("z_bins: %zu values, seed %llu", n, (unsigned long long)seed);
}

const char *check_z_bins(const organ_kernels *k)
{
    const char *fault = NULL;
    uint64_t seed = 1;
    for (size_t l = 0; l < kernel_length_count; l++)
        for (int side = 0; side < 2; side++)
            for (int again = 0; again < 3 && !fault; again++)
                fault = check_bins_of(k, kernel_lengths[l], (enum guarded_side)side, seed++);
    return fault;
}
