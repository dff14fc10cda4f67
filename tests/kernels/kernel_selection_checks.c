/* SPDX-License-Identifier: MIT
 * Checks of the kernels that select values, against plain loops: exactly, between guards. */
#include "orchestrator/solve/algebra.h"
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

static uint32_t magnitude_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffff;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Values of kind 0 are any finite ones and infinity; those of kind 1 have few magnitudes, many of them 0, with runs of
 * zeros that fill vectors; those of kind 2 are small subnormals and zeros of both signs. */
static void fill(float *values, size_t n, unsigned kind, uint64_t seed)
{
    samples random = {seed};
    for (size_t j = 0; j < n; j++) {
        const uint32_t bits = (uint32_t)samples_bits(&random), sign = bits & 0x80000000;
        const uint32_t any = (bits & 0x7fffffff) <= 0x7f800000 ? bits : bits & 0xff800000;
        const int zero = j / 40 % 3 == 1 || bits % 3 == 0;
        const uint32_t few = zero ? sign : sign | (0x3f800000 + (bits >> 8 & 7) * 0x4001);
        const uint32_t of_kind[] = {any, few, sign | (bits >> 8 & 3)};
        values[j] = float_of(of_kind[kind]);
    }
}

static const char *check_count(const organ_kernels *k, const float *values, size_t n)
{
    uint64_t *const counts = memory(65536 * 8), *const expected = memory(65536 * 8);
    uint64_t zeros = 0;
    counts[5] = expected[5] = UINT64_C(1) << 40;
    for (size_t j = 0; j < n; j++)
        if (magnitude_of(values[j]))
            expected[magnitude_of(values[j]) >> 15]++;
        else
            zeros++;
    k->count_magnitudes(values, n, counts);
    for (size_t c = ORGAN_ZERO_CODES; c < 65536; c++) {
        zeros -= counts[c];
        counts[c] = 0;
    }
    const int same = memcmp(counts, expected, 65536 * 8) == 0 && zeros == 0;
    free(counts);
    free(expected);
    return same ? NULL : kernel_fault("count_magnitudes: %zu values: wrong counts", n);
}

/* Compares both kernels for the magnitudes from `least` to `most`; `positions` has room for exactly n. */
static const char *check_range(const organ_kernels *k, float *values, size_t n, uint32_t least, uint32_t most,
                               uint32_t *positions)
{
    uint32_t *const inside = memory(n * 4), *const edges = memory(n * 4);
    float *const kept = memory(n * 4);
    size_t found = 0, at_edges = 0;
    for (size_t j = 0; j < n; j++) {
        const uint32_t m = magnitude_of(values[j]);
        if (m < least || m > most)
            continue;
        kept[j] = values[j];
        inside[found++] = (uint32_t)j;
        if (m && (m == least || m == most))
            edges[at_edges++] = (uint32_t)j;
    }
    const char *fault = NULL;
    if (k->find_magnitudes(values, n, least, most, positions) != found || memcmp(positions, inside, found * 4) != 0)
        fault = kernel_fault("find_magnitudes: %zu values from %x to %x: other positions", n, least, most);
    else if (k->keep_magnitudes(values, n, least, most, positions) != at_edges ||
             memcmp(positions, edges, at_edges * 4) != 0)
        fault = kernel_fault("keep_magnitudes: %zu values from %x to %x: other positions", n, least, most);
    else if (memcmp(values, kept, n * 4) != 0)
        fault = kernel_fault("keep_magnitudes: %zu values from %x to %x: other values", n, least, most);
    free(inside);
    free(edges);
    free(kept);
    return fault;
}

static const char *check_magnitudes_of(const organ_kernels *k, size_t n, enum guarded_side side, unsigned kind)
{
    static const uint32_t ranges[][2] = {{0, 0x7fffffff},
                                         {0, 0},
                                         {1, 0x7fffffff},
                                         {1, 2},
                                         {2, 2},
                                         {0, 2},
                                         {0x3f800000, 0x3f804001},
                                         {0x3f804001, 0x3f804001},
                                         {0x3f804002, 0x3f807fff},
                                         {0x20000000, 0x7f800000}};
    guarded array = guarded_create(n * 4, side, 4), positions = guarded_create(n * 4, side, 4);
    float *const values = (float *)(void *)array.data;
    fill(values, n, kind, n + kind);
    const char *fault = check_count(k, values, n);
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges && !fault; r++) {
        fill(values, n, kind, n + kind);
        fault = check_range(k, values, n, ranges[r][0], ranges[r][1], (uint32_t *)(void *)positions.data);
    }
    if (!fault && (!guarded_intact(&array, 4) || !guarded_intact(&positions, 4)))
        fault = kernel_fault("kernels of magnitudes: %zu values: written outside", n);
    guarded_destroy(&array);
    guarded_destroy(&positions);
    return fault;
}

const char *check_magnitudes(const organ_kernels *k)
{
    const char *fault = NULL;
    for (size_t l = 0; l < kernel_length_count; l++)
        for (unsigned kind = 0; kind < 3; kind++)
            for (int side = 0; side < 2 && !fault; side++)
                fault = check_magnitudes_of(k, kernel_lengths[l], (enum guarded_side)side, kind);
    return fault;
}

/* ---- Philox ---- */

/* The suite low_rank compares the words of organ_philox_uniform with those that the authors of Philox publish. */
static const char *check_philox_of(const organ_kernels *k, uint64_t seed, uint64_t stream, uint64_t first, size_t n)
{
    guarded array = guarded_create(n * 4, n % 2 ? GUARD_BEHIND : GUARD_BEFORE, 4);
    const float *const values = (const float *)(const void *)array.data;
    float *const expected = memory(n * 4);
    const char *fault = NULL;
    organ_philox_uniform(seed, stream, first, expected, n);
    k->philox_uniform(seed, stream, first, (float *)(void *)array.data, n);
    for (size_t j = 0; j < n && !fault; j++)
        if (values[j] != expected[j])
            fault = kernel_fault("philox_uniform: number %zu from %llu on is %g", j, (unsigned long long)first,
                                 (double)values[j]);
    if (!fault && !guarded_intact(&array, 4))
        fault = kernel_fault("philox_uniform: %zu numbers: written outside", n);
    free(expected);
    guarded_destroy(&array);
    return fault;
}

/* The lower half of a block's counter overflows in the third and fourth run. */
const char *check_philox(const organ_kernels *k)
{
    static const struct {
        uint64_t seed, stream, first;
    } runs[] = {{0, 0, 0},
                {UINT64_MAX, UINT64_C(0x0123456789abcdef), 1},
                {7, UINT64_C(1) << 63, UINT64_C(0x3ffffffd1)},
                {UINT64_C(1) << 40, 3, UINT64_C(0x3fffffff0)},
                {5, 9, UINT64_C(0x8000000000000003)}};
    const char *fault = NULL;
    for (size_t r = 0; r < sizeof runs / sizeof *runs; r++)
        for (size_t n = 0; n < 200 && !fault; n++)
            fault = check_philox_of(k, runs[r].seed, runs[r].stream, runs[r].first + n % 7, n);
    return fault;
}

/* ---- sums ---- */

const char *check_absolute_sums(const organ_kernels *k)
{
    for (size_t l = 0; l < kernel_length_count; l++) {
        const size_t n = kernel_lengths[l];
        guarded first = guarded_create(n * 4, GUARD_BEHIND, 4), second = guarded_create(n * 4, GUARD_BEFORE, 4);
        float *const x = (float *)(void *)first.data, *const y = (float *)(void *)second.data;
        samples random = {n};
        double sums[16], expected[16];
        for (size_t s = 0; s < 16; s++)
            sums[s] = expected[s] = (double)s / 3;
        for (size_t j = 0; j < n; j++) {
            x[j] = (float)((int32_t)samples_bits(&random)) * 0x1p-28F;
            y[j] = j % 3 ? 0 : x[j];
            expected[j % 8] += fabs((double)x[j]);
            expected[8 + j % 8] += fabs((double)y[j]);
        }
        k->absolute_sums(x, y, n, sums);
        guarded_destroy(&first);
        guarded_destroy(&second);
        if (memcmp(sums, expected, sizeof sums) != 0)
            return kernel_fault("absolute_sums: %zu values: other sums", n);
    }
    return NULL;
}
