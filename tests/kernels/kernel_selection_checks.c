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

/* Returns the sum of the squares of column c in units of 2^-112, modulo 2^128. */
static unsigned __int128 squares_of(const float *values, size_t stride, size_t rows, size_t c)
{
    unsigned __int128 sum = 0;
    for (size_t r = 0; r < rows; r++) {
        const double value = (double)values[r * stride + c];
        int exponent;
        const uint64_t mantissa = (uint64_t)ldexp(frexp(value * value, &exponent), 53);
        const int shift = exponent - 53 + 112;
        if (shift >= 0)
            sum += shift < 128 ? (unsigned __int128)mantissa << shift : 0;
        else
            sum += shift > -64 ? mantissa >> -shift : 0;
    }
    return sum;
}

static unsigned __int128 units_of(const double *sums, size_t n, size_t c)
{
    unsigned __int128 sum = 0;
    for (int p = 0; p < 4; p++) {
        const int exponent = 17 - 43 * p, shift = exponent + 112;
        const int64_t units = (int64_t)ldexp(sums[(size_t)p * n + c], -exponent);
        sum += shift < 128 ? (unsigned __int128)(__int128)units << shift : 0;
    }
    return sum;
}

/* Inputs of every size, of which many have bits below the unit, and the greatest ones in as many rows as may be. */
const char *check_square_sums(const organ_kernels *k)
{
    static const size_t rows[] = {0, 1, 3, ORGAN_SQUARE_ROWS};
    enum { MOST = 70, STRIDE = 80 };
    float *const values = malloc((size_t)ORGAN_SQUARE_ROWS * STRIDE * sizeof *values);
    double sums[4 * MOST];
    samples random = {1};
    const char *fault = NULL;
    for (size_t at = 0; at < (size_t)ORGAN_SQUARE_ROWS * STRIDE; at++)
        values[at] =
            at % STRIDE == 5 ? -0x1p30F : ldexpf((float)(int32_t)samples_bits(&random), -1 - (int)(at * 7 % 140));
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t n = 1; n <= MOST && !fault; n += n < 20 ? 1 : 25) {
            memset(sums, 0, sizeof sums);
            if (!k->square_sums(values, STRIDE, rows[r], n, sums))
                fault = kernel_fault("square_sums: %zu columns: a value is called too large", n);
            for (size_t c = 0; c < n && !fault; c++)
                if (units_of(sums, n, c) != squares_of(values, STRIDE, rows[r], c))
                    fault = kernel_fault("square_sums: column %zu of %zu, %zu rows: another sum", c, n, rows[r]);
        }
    static const float wrong[] = {0x1.000002p30F, -INFINITY, NAN};
    for (size_t w = 0; w < 3 && !fault; w++) {
        values[STRIDE + 17] = wrong[w];
        if (k->square_sums(values, STRIDE, 2, 18, sums) || !k->square_sums(values, STRIDE, 2, 17, sums))
            fault = kernel_fault("square_sums: %g is not found, or found too early", (double)wrong[w]);
    }
    free(values);
    return fault;
}
