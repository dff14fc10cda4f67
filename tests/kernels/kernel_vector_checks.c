/* SPDX-License-Identifier: MIT
 * Checks of FP64 vectors and small systems: every table against fma in the defined order bit for bit; systems solved
 * within rounding. */
#include "tests/kernels/kernel_checker.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 16, LARGEST = 80 };

static void fill(uint64_t seed, double *values, size_t n)
{
    samples random = {seed};
    float some[1];
    for (size_t k = 0; k < n; k++) {
        samples_fill(&random, NORMAL, some, 1);
        values[k] = (double)some[0] * 1.234567890123;
    }
}

static double expected_dot(const double *a, const double *b, size_t n)
{
    double lane[LANES] = {0};
    for (size_t k = 0; k < (n + LANES - 1) / LANES * LANES; k++)
        lane[k % LANES] = fma(k < n ? a[k] : 0, k < n ? b[k] : 0, lane[k % LANES]);
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

static const char *check_length(const organ_kernels *kernels, size_t n, enum guarded_side side)
{
    guarded a = guarded_create(n * sizeof(double), side, 1), b = guarded_create(n * sizeof(double), side, 2);
    double *const x = (double *)(void *)a.data, *const y = (double *)(void *)b.data,
                  *const requested = malloc((n + 1) * sizeof *requested);
    const char *fault = NULL;
    fill(n + 1, x, n);
    fill(n + 2, y, n);
    const double dot = kernels->dot_f64(x, y, n), expected = expected_dot(x, y, n);
    if (memcmp(&dot, &expected, sizeof dot) != 0)
        fault = kernel_fault("dot_f64 of %zu: %a, expected %a", n, dot, expected);
    for (size_t k = 0; k < n; k++)
        requested[k] = fma(-0.7, x[k], y[k]);
    kernels->add_scaled_f64(y, -0.7, x, n);
    if (n > 0 && memcmp(y, requested, n * sizeof *y) != 0)
        fault = kernel_fault("add_scaled_f64 of %zu", n);
    if (!guarded_intact(&a, 1) || !guarded_intact(&b, 2))
        fault = kernel_fault("vectors of %zu: touched what is not theirs", n);
    free(requested);
    guarded_destroy(&a);
    guarded_destroy(&b);
    return fault;
}

const char *check_vectors(const organ_kernels *kernels)
{
    const char *fault = NULL;
    for (size_t k = 0; k < kernel_length_count && !fault; k++) {
        fault = check_length(kernels, kernel_lengths[k], GUARD_BEHIND);
        fault = fault ? fault : check_length(kernels, kernel_lengths[k], GUARD_BEFORE);
    }
    return fault;
}

/* ---- small systems ---- */

/* Makes A A^T + I of a random A, on and above the diagonal, with random values below it. */
static void fill_system(size_t n, float *values)
{
    static double random[LARGEST * LARGEST];
    fill(n, random, n * n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = i == j;
            for (size_t k = 0; k < n; k++)
                sum += random[i * n + k] * random[j * n + k];
            values[i * n + j] = j < i ? -1000.0f : (float)sum;
        }
}

static void expected_factor(float *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = i; j < n; j++)
            for (size_t k = 0; k < i; k++)
                a[i * n + j] = fmaf(-a[k * n + i], a[k * n + j], a[i * n + j]);
        if (!(a[i * n + i] > 0))
            return;
        const float root = sqrtf(a[i * n + i]);
        for (size_t j = i; j < n; j++)
            a[i * n + j] /= root;
    }
}

static void expected_solution(const float *factor, size_t n, float *x)
{
    for (size_t i = 0; i < n; i++) {
        x[i] /= factor[i * n + i];
        for (size_t j = i + 1; j < n; j++)
            x[j] = fmaf(-x[i], factor[i * n + j], x[j]);
    }
    for (size_t i = n; i-- > 0;) {
        float lane[LANES] = {0};
        for (size_t j = i + 1; j < n; j++)
            lane[(j - i - 1) % LANES] = fmaf(factor[i * n + j], x[j], lane[(j - i - 1) % LANES]);
        for (size_t half = LANES / 2; half > 0; half /= 2)
            for (size_t l = 0; l < half; l++)
                lane[l] += lane[l + half];
        x[i] = (x[i] - lane[0]) / factor[i * n + i];
    }
}

/* Checks that A x equals the old x within the rounding error of a well-conditioned system. */
static const char *check_solution(const float *system, size_t n, const float *x)
{
    for (size_t i = 0; i < n; i++) {
        double sum = -(double)(i % 7) + 3, size = 1;
        for (size_t j = 0; j < n; j++) {
            const double term = (double)system[j < i ? j * n + i : i * n + j] * (double)x[j];
            sum += term;
            size += fabs(term);
        }
        if (!(fabs(sum) < 2e-5 * size))
            return kernel_fault("a system of %zu: row %zu misses by %g of %g", n, i, sum, size);
    }
    return NULL;
}

static const char *check_system(const organ_kernels *kernels, size_t n, float spoil)
{
    static float system[LARGEST * LARGEST], requested[LARGEST * LARGEST];
    guarded a = guarded_create(n * n * sizeof(float), GUARD_BEHIND, 3),
            b = guarded_create(n * sizeof(float), GUARD_BEHIND, 4);
    float *const factor = (float *)(void *)a.data, *const x = (float *)(void *)b.data, solution[LARGEST];
    const char *fault = NULL;
    fill_system(n, system);
    if (n > 0 && spoil != 0)
        system[n / 2 * (n + 1)] = spoil;
    memcpy(requested, system, sizeof requested);
    memcpy(factor, system, n * n * sizeof *factor);
    expected_factor(requested, n);
    kernels->cholesky_f32(factor, n);
    for (size_t k = 0; k < n * n && !fault; k++)
        if (!isnan(requested[k]) && memcmp(&factor[k], &requested[k], sizeof *factor) != 0)
            fault = kernel_fault("cholesky_f32 of %zu: value %zu is %a, expected %a", n, k, (double)factor[k],
                                 (double)requested[k]);
    for (size_t i = 0; i < n; i++)
        solution[i] = x[i] = (float)(i % 7) - 3;
    if (spoil == 0) {
        kernels->solve_f32(factor, n, x);
        expected_solution(requested, n, solution);
        if (!fault && n > 0 && memcmp(x, solution, n * sizeof *x) != 0)
            fault = kernel_fault("solve_f32 of %zu", n);
        fault = fault ? fault : check_solution(system, n, x);
    }
    if (!fault && (!guarded_intact(&a, 3) || !guarded_intact(&b, 4)))
        fault = kernel_fault("a system of %zu: touched what is not its own", n);
    guarded_destroy(&a);
    guarded_destroy(&b);
    return fault;
}

const char *check_small_systems(const organ_kernels *kernels)
{
    const char *fault = NULL;
    for (size_t n = 0; n <= LARGEST && !fault; n += n < 35 ? 1 : 9) {
        fault = check_system(kernels, n, 0);
        fault = fault ? fault : check_system(kernels, n, -1);
        fault = fault ? fault : check_system(kernels, n, NAN);
    }
    return fault;
}
