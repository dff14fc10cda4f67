/* SPDX-License-Identifier: MIT
 * Checks of purification by Haar wavelets: against a plain implementation in FP64, against scalar bit for bit, and
 * bounds. */
#include "tests/kernels/kernel_checker.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LEVELS 5

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_magnitude(const double *values, size_t n)
{
    double *sorted = malloc(n * sizeof *sorted);
    if (!sorted)
        abort();
    for (size_t k = 0; k < n; k++)
        sorted[k] = fabs(values[k]);
    qsort(sorted, n, sizeof *sorted, ascending);
    const double median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
    free(sorted);
    return median;
}

/* Computes one level at a time, each level in a new array. Returns the energy of the noise. */
static double reference_haar(double *row, size_t n, double threshold, double strength)
{
    double *details[LEVELS], *values = malloc((n + 1) * sizeof *values), *finer = malloc((n + 1) * sizeof *finer),
                             noise = 0;
    double limit[LEVELS];
    size_t lengths[LEVELS + 1] = {n}, levels = 0;
    if (!values || !finer)
        abort();
    memcpy(values, row, n * sizeof *row);
    for (; levels < LEVELS && lengths[levels] > 1; levels++) {
        const size_t length = lengths[levels], pairs = length / 2;
        if (!(details[levels] = malloc(pairs * sizeof **details)))
            abort();
        for (size_t k = 0; k < pairs; k++) {
            const double even = values[2 * k], odd = values[2 * k + 1];
            details[levels][k] = (even - odd) / sqrt(2);
            values[k] = (even + odd) / sqrt(2);
        }
        if (length % 2)
            values[pairs] = values[length - 1];
        limit[levels] = threshold * median_magnitude(details[levels], pairs) / 0.6745;
        lengths[levels + 1] = length - pairs;
    }
    for (size_t l = 0; l < levels; l++)
        for (size_t k = 0; k < lengths[l] / 2; k++) {
            const int orphan = l + 1 == levels || k / 2 >= lengths[l + 1] / 2;
            const int parent = orphan || fabs(details[l + 1][k / 2]) > limit[l + 1];
            if (!parent || !(fabs(details[l][k]) > limit[l])) {
                noise += details[l][k] * details[l][k];
                details[l][k] *= 1 - strength;
            }
        }
    for (size_t l = levels; l-- > 0;) {
        for (size_t k = 0; k < lengths[l] / 2; k++) {
            finer[2 * k] = (values[k] + details[l][k]) / sqrt(2);
            finer[2 * k + 1] = (values[k] - details[l][k]) / sqrt(2);
        }
        if (lengths[l] % 2)
            finer[lengths[l] - 1] = values[lengths[l] / 2];
        memcpy(values, finer, lengths[l] * sizeof *values);
        free(details[l]);
    }
    memcpy(row, values, n * sizeof *row);
    free(values);
    free(finer);
    return noise;
}

static double energy(const double *values, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += values[k] * values[k];
    return sum;
}

static const float thresholds[] = {1.0f, 0.3f, 0.0f, 3.0f, 1e9f}, strengths[] = {0.1f, 1.0f, 0.5f, 0.0f};

/* Fills rows with many zeros, with two scales, with one value. */
static void fill(samples *random, float *values, size_t n, unsigned kind)
{
    samples_fill(random, (enum sample_shape)(samples_bits(random) % SAMPLE_SHAPES), values, n);
    for (size_t k = 0; k < n; k++)
        if (kind == 1)
            values[k] = samples_bits(random) % 3 ? 0.0f : values[k];
        else if (kind == 2)
            values[k] *= k / 7 % 2 ? 0x1p-12f : 1.0f;
        else if (kind == 3)
            values[k] = 0.25f;
}

static const char *check_row(const organ_kernels *k, size_t n, unsigned kind, float threshold, float strength,
                             uint64_t seed)
{
    samples random = {seed};
    /* Static, because a kernel that faults at a guard page does not return here. */
    static float *values, *scalar, *plain;
    static double *reference;
    values = realloc(values, (n + 1) * sizeof *values), scalar = realloc(scalar, (n + 1) * sizeof *scalar);
    plain = realloc(plain, (n + 1) * sizeof *plain), reference = realloc(reference, (n + 1) * sizeof *reference);
    const enum guarded_side side = seed % 2 ? GUARD_BEFORE : GUARD_BEHIND;
    guarded row = guarded_create(n * sizeof(float), side, 5), scratch = guarded_create(n * sizeof(float), side, 6);
    const char *fault = NULL;
    if (!values || !scalar || !plain || !reference)
        abort();
    fill(&random, values, n, kind);
    for (size_t j = 0; j < n; j++)
        reference[j] = values[j];
    memcpy(row.data, values, n * sizeof *values);
    k->haar_purify((float *)(void *)row.data, n, threshold, strength, (float *)(void *)scratch.data);
    memcpy(scalar, values, n * sizeof *values);
    organ_kernels_scalar->haar_purify(scalar, n, threshold, strength, plain);
    const double before = energy(reference, n), noise = reference_haar(reference, n, threshold, strength),
                 after = energy(reference, n);
    if (memcmp(row.data, scalar, n * sizeof *scalar) != 0)
        fault = kernel_fault("haar_purify: %zu values of kind %u, seed %llu: not the bits of scalar", n, kind,
                             (unsigned long long)seed);
    else if (!guarded_intact(&row, 5) || !guarded_intact(&scratch, 6))
        fault = kernel_fault("haar_purify: %zu values: writes past its row or scratch", n);
    /* Checks the reference: it removes s (2 - s) of the noise energy. */
    else if (fabs(before - after - (double)strength * (2 - (double)strength) * noise) > 1e-10 * before)
        fault = kernel_fault("the reference loses energy");
    for (size_t j = 0; j < n && !fault; j++)
        if (fabs(scalar[j] - reference[j]) > 2e-6 * sqrt(before / (double)n + 1))
            fault = kernel_fault(
                "haar_purify: %zu values of kind %u, threshold %g, strength %g, seed %llu: [%zu] is %g instead of %g",
                n, kind, (double)threshold, (double)strength, (unsigned long long)seed, j, (double)scalar[j],
                reference[j]);
    guarded_destroy(&row);
    guarded_destroy(&scratch);
    return fault;
}

const char *check_haar(const organ_kernels *kernels)
{
    const char *fault = NULL;
    uint64_t seed = 900;
    for (size_t l = 0; l < kernel_length_count && !fault; l++)
        for (unsigned kind = 0; kind < 4 && !fault; kind++)
            for (size_t way = 0; way < 6 && !fault; way++)
                fault = check_row(kernels, kernel_lengths[l], kind, thresholds[way % 5], strengths[way % 4], ++seed);
    return fault;
}
