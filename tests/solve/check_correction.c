/* SPDX-License-Identifier: MIT
 * Tests of corrections of low rank and of flattened moments: against the dense eigenvectors of E H E^T; bit identity;
 * errors. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/correction.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"
#include "tests/solve/low_rank_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Returns H = X^T X / tokens + 0.01 I of inputs with a few strong directions, in diagonal blocks. */
static float *moments_of(size_t n, size_t block)
{
    const size_t tokens = 2 * n;
    float *const x = noise_matrix(n, tokens, n), *const h = calloc(n * n + 1, sizeof *h);
    for (size_t t = 0; t < tokens; t++)
        for (size_t j = 0; j < n; j++) /* the first token of 8 has a common direction */
            x[t * n + j] = x[t * n + j] / (1 + (float)j / 16) + (t % 8 == 0 ? 3.0f / (1 + (float)(j % 5)) : 0);
    for (size_t start = 0; start < n; start += block) {
        const size_t width = n - start < block ? n - start : block;
        for (size_t i = 0; i < width; i++)
            for (size_t j = 0; j < width; j++) {
                double sum = 0;
                for (size_t t = 0; t < tokens; t++)
                    sum += (double)x[t * n + start + i] * (double)x[t * n + start + j];
                h[start * block + i * width + j] = (float)(sum / (double)tokens + (i == j ? 0.01 : 0));
            }
    }
    free(x);
    return h;
}

static double entry(const organ_block_matrix *h, size_t i, size_t j)
{
    const size_t start = i / h->block * h->block, width = h->size - start < h->block ? h->size - start : h->block;
    if (j / h->block != i / h->block)
        return 0;
    return (double)h->values[start * h->block + (i - start) * width + (j - start)];
}

/* M = E H E^T, [m][m]. */
static double *outputs_of(const double *e, size_t m, const organ_block_matrix *h)
{
    const size_t n = h->size;
    double *const eh = calloc(m * n + 1, sizeof *eh), *const all = calloc(m * m + 1, sizeof *all);
    for (size_t i = 0; i < m; i++)
        for (size_t k = 0; k < n; k++)
            for (size_t j = 0; j < n; j++)
                eh[i * n + j] += e[i * n + k] * entry(h, k, j);
    for (size_t i = 0; i < m; i++)
        for (size_t k = 0; k < m; k++)
            for (size_t j = 0; j < n; j++)
                all[i * m + k] += eh[i * n + j] * e[k * n + j];
    free(eh);
    return all;
}

static double *widened(const float *values, size_t n)
{
    double *const wide = calloc(n + 1, sizeof *wide);
    for (size_t k = 0; k < n; k++)
        wide[k] = (double)values[k];
    return wide;
}

static double trace(const double *a, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i * (n + 1)];
    return sum;
}

static double *eigenvalues_of(double *a, size_t n)
{
    double *const values = calloc(n + 1, sizeof *values), *const room = calloc(n * ORGAN_EIGEN_ROOM + 1, sizeof *room);
    const char *why;
    REQUIRE(organ_symmetric_eigen(organ_kernels_choose(organ_cpu_detect(), NULL, &why), a, n, 0, values, NULL, room));
    free(room);
    return values;
}

static organ_correction correct(const organ_engine *engine, const float *e, size_t m, const organ_block_matrix *h,
                                size_t rank)
{
    organ_correction c;
    organ_error error = {0};
    ck_assert_msg(organ_correct(engine, "matrix", e, m, h, rank, 7, &c, &error) == ORGAN_OK, "%s", error.message);
    return c;
}

/* The error that remains is the sum of the other eigenvalues of E H E^T, the least that any B A of the rank has. */
static void check_shape(const organ_engine *engine, const size_t shape[4])
{
    const size_t m = shape[0], n = shape[1], rank = shape[3];
    float *const moments = moments_of(n, shape[2]), *const e = noise_matrix(3, m, n);
    const organ_block_matrix h = {n, shape[2], moments};
    organ_correction c = correct(engine, e, m, &h, rank);
    double *const rest = widened(e, m * n), *const whole = outputs_of(rest, m, &h);
    const double least_before = trace(whole, m);
    double *const values = eigenvalues_of(whole, m), least = 0;
    for (size_t k = c.rank; k < m; k++)
        least += values[k];
    ck_assert_uint_eq(c.rank, organ_min(rank, organ_min(m, n)));
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            for (size_t k = 0; k < c.rank; k++)
                rest[i * n + j] -= (double)c.b[i * c.rank + k] * (double)c.a[k * n + j];
    double *const left = outputs_of(rest, m, &h), got = trace(left, m);
    ck_assert_double_eq_tol(c.before, least_before, 1e-5 * least_before);
    ck_assert_double_le(got, least * (1 + 1e-3) + 1e-9 * least_before);
    ck_assert_double_eq_tol(c.after, got, 1e-4 * least_before);
    free(left);
    free(values);
    free(whole);
    free(rest);
    free(e);
    free(moments);
    organ_correction_release(&c);
}

START_TEST(every_shape_has_the_best_correction)
{
    static const size_t shapes[][4] = {/* rows, columns, block, rank */
                                       {40, 32, 32, 4}, {24, 96, 96, 8}, {96, 48, 20, 5},
                                       {8, 30, 30, 30}, {30, 8, 8, 30},  {1, 5, 5, 2}};
    organ_engine *const engine = named_engine(NULL, 2);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
        check_shape(engine, shapes[k]);
    organ_engine_destroy(engine);
}
END_TEST

static int by_falling_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The other eigenvalues stay, the leading ones become their mean, and the trace falls accordingly. */
START_TEST(flattening_replaces_the_leading_eigenvalues)
{
    enum { N = 64, RANK = 3 };
    organ_engine *const engine = named_engine(NULL, 2);
    float *const h = moments_of(N, N);
    double *const before = widened(h, (size_t)N * N), *const old = eigenvalues_of(before, N);
    double mean = 0;
    organ_error error = {0};
    for (size_t k = RANK; k < N; k++)
        mean += old[k] / (N - RANK);
    ck_assert_double_gt(old[RANK - 1], 2 * mean);
    ck_assert_int_eq(organ_flatten_moments(engine, "inputs", h, N, N, RANK, 1, &error), ORGAN_OK);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < i; j++)
            REQUIRE(h[i * N + j] == h[j * N + i]);
    for (size_t k = 0; k < RANK; k++)
        old[k] = mean;
    qsort(old, N, sizeof *old, by_falling_value);
    double *const after = widened(h, (size_t)N * N), *const new = eigenvalues_of(after, N);
    for (size_t k = 0; k < N; k++)
        REQUIRE_MSG(fabs(new[k] - old[k]) < 1e-2 * mean, "eigenvalue %zu: %g, not %g", k, new[k], old[k]);
    free(new);
    free(after);
    free(old);
    free(before);
    free(h);
    organ_engine_destroy(engine);
}
END_TEST

START_TEST(every_table_and_any_threads_give_the_same_bits)
{
    static const char *const isas[] = {"scalar", "avx2", "avx512", "neon"};
    enum { M = 150, N = 70, RANK = 6 };
    float *const moments = moments_of(N, N), *const e = noise_matrix(5, M, N), *first = NULL;
    const organ_block_matrix h = {N, N, moments};
    for (size_t k = 0; k < 8; k++) {
        const char *why;
        if (!organ_kernels_choose(organ_cpu_detect(), isas[k / 2], &why))
            continue;
        organ_engine *const engine = named_engine(isas[k / 2], k % 2 ? 3 : 1);
        float *const flat = malloc(sizeof *flat * (N * N + M * RANK + RANK * N));
        organ_correction c = correct(engine, e, M, &h, RANK);
        organ_error error = {0};
        memcpy(flat, moments, sizeof *flat * N * N);
        memcpy(flat + N * N, c.b, sizeof *flat * M * RANK);
        memcpy(flat + N * N + M * RANK, c.a, sizeof *flat * RANK * N);
        ck_assert_int_eq(organ_flatten_moments(engine, "inputs", flat, N, N, RANK, 1, &error), ORGAN_OK);
        if (first)
            ck_assert_mem_eq(flat, first, sizeof *flat * (N * N + M * RANK + RANK * N));
        organ_correction_release(&c);
        organ_engine_destroy(engine);
        if (first)
            free(flat);
        else
            first = flat;
    }
    free(first);
    free(e);
    free(moments);
}
END_TEST

START_TEST(changes_that_are_zero_or_not_finite)
{
    organ_engine *const engine = named_engine(NULL, 1);
    float e[3 * 4] = {0}, h[16] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    const organ_block_matrix moments = {4, 4, h};
    organ_correction c = correct(engine, e, 3, &moments, 2);
    ck_assert_uint_eq(c.rank, 0);
    ck_assert_double_eq(c.before, 0);
    organ_correction_release(&c);
    organ_error error = {0};
    e[5] = NAN;
    ck_assert_int_eq(organ_correct(engine, "matrix", e, 3, &moments, 2, 7, &c, &error), ORGAN_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, "matrix"));
    ck_assert_ptr_null(c.a);
    error = (organ_error){0};
    h[5] = INFINITY;
    ck_assert_int_eq(organ_flatten_moments(engine, "inputs", h, 4, 4, 1, 1, &error), ORGAN_BAD_INPUT);
    organ_engine_destroy(engine);
}
END_TEST

Suite *correction_suite(void)
{
    const suite_case cases[] = {{"computed",
                                 {every_shape_has_the_best_correction, flattening_replaces_the_leading_eigenvalues,
                                  every_table_and_any_threads_give_the_same_bits}},
                                {"refused", {changes_that_are_zero_or_not_finite}}};
    return suite_of("correction", cases, sizeof cases / sizeof *cases, NULL, NULL);
}
