/* SPDX-License-Identifier: MIT
 * Tests of dense decompositions: their accuracy on random, ill-conditioned, rank-deficient, empty and non-finite
 * matrices; bit identity for every table and any number of threads. */
#include <organ/stream.h>
#include "orchestrator/solve/algebra.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"
#include "tests/solve/low_rank_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RANDOM, STEEP, SAME, DEFICIENT, ZERO, IDENTITY, KINDS };

static const organ_kernels *best(void)
{
    const char *why;
    return organ_kernels_choose(organ_cpu_detect(), NULL, &why);
}

static const organ_kernels *table(size_t k)
{
    static const char *const isas[] = {"scalar", "avx2", "avx512", "neon"};
    const char *why;
    return organ_kernels_choose(organ_cpu_detect(), isas[k], &why);
}

/* Makes `count` vectors of n values, which the caller frees. */
static float *vectors_of(int kind, size_t count, size_t n)
{
    float *const v = noise_matrix(count * 1000 + n, count, n + 1);
    for (size_t c = 0; c < count; c++)
        for (size_t i = 0; i < n; i++) {
            float *const x = &v[c * n + i];
            if (kind == STEEP)
                *x = ldexpf(*x, -(int)(c / 2));
            else if (kind == SAME || kind == ZERO)
                *x = kind == SAME;
            else if (kind == IDENTITY)
                *x = c == i;
            if (kind == DEFICIENT && c >= 3)
                *x = v[(c - 3) * n + i] - 2 * v[(c - 2) * n + i];
        }
    return v;
}

static double largest_of(const float *v, size_t n)
{
    double max = 0;
    for (size_t k = 0; k < n; k++)
        max = fmax(max, fabs((double)v[k]));
    return max;
}

/* ---- eigenvectors ---- */

static void check_eigen(int kind, size_t n)
{
    float *const v = vectors_of(kind, n, n);
    double *const a = malloc((n * n + 1) * sizeof *a), *const copy = malloc((n * n + 1) * sizeof *copy),
                  *const values = malloc((n + 1) * sizeof *values),
                  *const vectors = malloc((n * n + 1) * sizeof *vectors),
                  *const room = malloc((ORGAN_EIGEN_ROOM * n + 1) * sizeof *room);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            a[i * n + j] = (double)v[i * n + j] + (double)v[j * n + i];
    memcpy(copy, a, n * n * sizeof *a);
    REQUIRE(organ_symmetric_eigen(best(), copy, n, n, values, vectors, room));
    const double size = n ? fmax(fabs(values[0]), fabs(values[n - 1])) : 0;
    for (size_t k = 0; k < n; k++) {
        REQUIRE(k == 0 || values[k] <= values[k - 1]);
        for (size_t i = 0; i < n; i++) {
            double left = -values[k] * vectors[k * n + i], angle = -(double)(i == k);
            for (size_t j = 0; j < n; j++) {
                left += a[i * n + j] * vectors[k * n + j];
                angle += vectors[k * n + j] * vectors[i * n + j];
            }
            REQUIRE_MSG(fabs(left) <= 1e-13 * size, "kind %d, %zu: eigenvector %zu misses by %g of %g", kind, n, k,
                        left, size);
            REQUIRE_MSG(fabs(angle) < 1e-12, "kind %d, %zu: eigenvectors %zu and %zu: %g", kind, n, k, i, angle);
        }
    }
    void *const parts[] = {v, a, copy, values, vectors, room};
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        free(parts[k]);
}

START_TEST(eigenvectors_are_orthonormal_and_right)
{
    static const size_t sizes[] = {0, 1, 2, 3, 17, 90};
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
            check_eigen(kind, sizes[k]);
}
END_TEST

START_TEST(what_is_not_finite_has_no_eigenvectors)
{
    for (size_t at = 0; at < 9; at++) {
        double a[9] = {1, 2, 3, 2, 4, 5, 3, 5, 6}, values[3], vectors[9], room[3 * ORGAN_EIGEN_ROOM];
        a[at] = a[at % 3 * 3 + at / 3] = at % 2 ? (double)NAN : (double)INFINITY;
        ck_assert(!organ_symmetric_eigen(best(), a, 3, 3, values, vectors, room));
    }
}
END_TEST

/* ---- singular values ---- */

static void check_svd(int kind, size_t rows, size_t cols)
{
    const size_t least = rows < cols ? rows : cols;
    float *const a = vectors_of(kind, cols, rows), *const u = malloc((least * rows + 1) * sizeof *u),
                 *const v = malloc((least * cols + 1) * sizeof *v), *const sigma = malloc((least + 1) * sizeof *sigma);
    REQUIRE(organ_dense_svd(best(), a, rows, cols, least, u, sigma, v));
    REQUIRE(worst_angle(u, rows, least) < 1e-6 && worst_angle(v, cols, least) < 1e-6);
    for (size_t c = 0; c < cols; c++)
        for (size_t r = 0; r < rows; r++) {
            double left = -(double)a[c * rows + r];
            for (size_t k = 0; k < least; k++)
                left += (double)sigma[k] * (double)u[k * rows + r] * (double)v[k * cols + c];
            REQUIRE_MSG(fabs(left) <= 3e-7 * (double)(least ? sigma[0] : 0), "kind %d, %zu x %zu: %g", kind, rows, cols,
                        left);
        }
    for (size_t k = 1; k < least; k++)
        REQUIRE(sigma[k] <= sigma[k - 1] && sigma[k] >= 0);
    free(a);
    free(u);
    free(v);
    free(sigma);
}

START_TEST(singular_vectors_give_the_matrix_back)
{
    static const size_t shapes[][2] = {{1, 1}, {1, 9}, {9, 1}, {40, 40}, {33, 70}, {70, 33}};
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
            check_svd(kind, shapes[k][0], shapes[k][1]);
}
END_TEST

/* ---- orthonormal bases (QR) ---- */

static void check_orthonormal(int kind, size_t count, size_t n, size_t stride)
{
    const size_t k = count < n ? count : n;
    float *const a = vectors_of(kind, count, n), *const q = malloc((count * stride + 1) * sizeof *q),
                 *const r = malloc((count * k + 1) * sizeof *r), *const plain = malloc((k * n + 1) * sizeof *plain);
    for (size_t c = 0; c < count; c++)
        memcpy(q + c * stride, a + c * n, n * sizeof *q);
    REQUIRE(organ_orthonormal(best(), q, count, n, stride, r));
    for (size_t c = 0; c < k; c++)
        memcpy(plain + c * n, q + c * stride, n * sizeof *plain);
    REQUIRE_MSG(worst_angle(plain, n, k) < 1e-5, "kind %d, %zu x %zu: %g", kind, count, n, worst_angle(plain, n, k));
    for (size_t c = 0; c < count; c++) {
        const double size = sqrt((double)n) * largest_of(a + c * n, n);
        for (size_t i = 0; i < n; i++) {
            double left = -(double)a[c * n + i];
            for (size_t j = 0; j < k; j++)
                left += (double)r[c * k + j] * (double)plain[j * n + i];
            REQUIRE_MSG(fabs(left) <= 1e-5 * size, "kind %d, %zu x %zu: vector %zu misses by %g of %g", kind, count, n,
                        c, left, size);
        }
        for (size_t j = c + 1; j < k; j++)
            REQUIRE(r[c * k + j] == 0);
    }
    free(a);
    free(q);
    free(r);
    free(plain);
}

START_TEST(orthonormal_vectors_give_the_matrix_back)
{
    static const size_t shapes[][2] = {{0, 5}, {1, 1}, {1, 7}, {7, 1}, {16, 16}, {17, 300}, {50, 33}, {40, 700}};
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
            check_orthonormal(kind, shapes[k][0], shapes[k][1], shapes[k][1]);
            check_orthonormal(kind, shapes[k][0], shapes[k][1], shapes[k][1] + 5);
        }
}
END_TEST

/* ---- inverses ---- */

/* Makes A A^T / n + damping, which the caller frees. */
static float *definite_matrix(size_t n, float damping)
{
    float *const a = noise_matrix(n + 7, n, n + 1), *const h = malloc((n * n + 1) * sizeof *h);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t k = 0; k < n; k++)
                sum += (double)a[i * n + k] * (double)a[j * n + k];
            h[i * n + j] = (float)(sum / (double)n) + (i == j ? damping : 0);
        }
    free(a);
    return h;
}

static organ_engine *engine_of(const organ_kernels *kernels, size_t threads)
{
    organ_engine *engine;
    organ_error error = {0};
    ck_assert_msg(organ_engine_create(kernels, threads, 0, &engine, &error) == ORGAN_OK, "%s", error.message);
    return engine;
}

/* Checks that U H U^T is the identity. */
static void check_factor(const organ_engine *engine, size_t n)
{
    float *const h = definite_matrix(n, 0.05f), *const u = malloc((n * n + 1) * sizeof *u);
    double *const half = malloc((n * n + 1) * sizeof *half);
    bool definite = false;
    memcpy(u, h, n * n * sizeof *u);
    ck_assert(organ_inverse_factor(engine, u, n, &definite) && definite);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            half[i * n + j] = 0;
            for (size_t k = i; k < n; k++)
                half[i * n + j] += (double)u[i * n + k] * (double)h[k * n + j];
        }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double left = -(double)(i == j);
            for (size_t k = j; k < n; k++)
                left += half[i * n + k] * (double)u[j * n + k];
            REQUIRE_MSG(fabs(left) < 2e-4, "%zu: (%zu, %zu) is off by %g", n, i, j, left);
        }
    free(h);
    free(u);
    free(half);
}

START_TEST(inverse_factors_are_factors_of_the_inverse)
{
    static const size_t sizes[] = {0, 1, 2, 127, 128, 129, 300};
    organ_engine *const engine = engine_of(NULL, 2);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        check_factor(engine, sizes[k]);
    organ_engine_destroy(engine);
}
END_TEST

/* Solves some rows with the factor, all together and the last one alone, which must give the same bits. Checks V H = X.
 */
static void check_solution(const organ_engine *engine, size_t n)
{
    enum { ROWS = 5 };
    const size_t stride = n + 3;
    float *const h = definite_matrix(n, 0.05f), *const r = malloc((n * n + 1) * sizeof *r);
    float *const x = malloc(2 * ROWS * stride * sizeof *x), *const v = x + ROWS * stride;
    float *const panel = malloc(ROWS * ORGAN_FACTOR_BLOCK * sizeof *panel);
    void *const scratch = aligned_alloc(64, ORGAN_PRODUCT_SCRATCH);
    bool definite = false;
    memcpy(r, h, n * n * sizeof *r);
    organ_philox_uniform(3, n, 0, x, ROWS * stride);
    memcpy(v, x, ROWS * stride * sizeof *v);
    ck_assert(organ_block_factor(engine, r, n, &definite) && definite);
    organ_factor_solve(engine->kernels, r, n, v, ROWS, stride, panel, scratch);
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t j = 0; j < n; j++) {
            double left = -(double)x[i * stride + j];
            for (size_t k = 0; k < n; k++)
                left += (double)v[i * stride + k] * (double)h[k * n + j];
            REQUIRE_MSG(fabs(left) < 2e-4, "%zu: (%zu, %zu) is off by %g", n, i, j, left);
        }
        ck_assert_mem_eq(v + i * stride + n, x + i * stride + n, 3 * sizeof *v);
    }
    organ_factor_solve(engine->kernels, r, n, x + (ROWS - 1) * stride, 1, stride, panel, scratch);
    ck_assert_mem_eq(x + (ROWS - 1) * stride, v + (ROWS - 1) * stride, n * sizeof *x);
    free(h);
    free(r);
    free(x);
    free(panel);
    free(scratch);
}

START_TEST(factors_solve_rows)
{
    static const size_t sizes[] = {1, 127, 128, 129, 300, 700};
    organ_engine *const engine = engine_of(NULL, 2);
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        check_solution(engine, sizes[k]);
    organ_engine_destroy(engine);
}
END_TEST

START_TEST(what_is_not_definite_has_no_inverse_factor)
{
    enum { N = 200 };
    static const float spoilt[] = {0, -1, NAN, INFINITY};
    organ_engine *const engine = engine_of(NULL, 2);
    for (size_t k = 0; k < sizeof spoilt / sizeof *spoilt; k++)
        for (size_t at = 0; at < N; at += 66) {
            float *const h = definite_matrix(N, 0.05f);
            double small[4] = {1, 0, 0, (double)spoilt[k]}, room[4], diagonal[2];
            bool definite = true;
            h[at * (N + 1)] = spoilt[k];
            ck_assert(organ_inverse_factor(engine, h, N, &definite));
            ck_assert(!definite);
            ck_assert(!organ_inverse_diagonal(best(), small, 2, room, diagonal));
            free(h);
        }
    organ_engine_destroy(engine);
}
END_TEST

START_TEST(diagonals_of_inverses)
{
    enum { N = 60 };
    float *const h = definite_matrix(N, 0.05f);
    double a[N * N], room[N * N], diagonal[N], room_of_eigen[N * ORGAN_EIGEN_ROOM], values[N], vectors[N * N];
    for (size_t k = 0; k < N * N; k++)
        a[k] = (double)h[k];
    ck_assert(organ_inverse_diagonal(best(), a, N, room, diagonal));
    for (size_t k = 0; k < N * N; k++)
        a[k] = (double)h[k];
    ck_assert(organ_symmetric_eigen(best(), a, N, N, values, vectors, room_of_eigen));
    for (size_t i = 0; i < N; i++) {
        double sum = 0;
        for (size_t k = 0; k < N; k++)
            sum += vectors[k * N + i] * vectors[k * N + i] / values[k];
        REQUIRE_MSG(fabs(sum - diagonal[i]) < 1e-10 * sum, "%zu: %g, by eigenvectors %g", i, diagonal[i], sum);
    }
    free(h);
}
END_TEST

/* ---- bit identity ---- */

START_TEST(bits_depend_on_neither_table_nor_threads)
{
    enum { N = 301, COUNT = 37 };
    float *const h = definite_matrix(N, 0.05f), *const first = malloc(2 * N * N * sizeof *first),
                 *const next = first + (size_t)N * N;
    bool definite;
    for (size_t k = 0; k < 4; k++)
        for (size_t threads = 1; threads <= 5 && table(k); threads += 4) {
            organ_engine *const engine = engine_of(table(k), threads);
            float *const to = k == 0 && threads == 1 ? first : next;
            memcpy(to, h, N * N * sizeof *h);
            ck_assert(organ_inverse_factor(engine, to, N, &definite) && definite);
            for (size_t i = 0; i < N; i++)
                ck_assert_mem_eq(to + i * (N + 1), first + i * (N + 1), (N - i) * sizeof *to);
            organ_engine_destroy(engine);
        }
    float *const v = vectors_of(DEFICIENT, COUNT, N), *const all = calloc(4, 4 * COUNT * N * sizeof *all);
    for (size_t k = 0; k < 4; k++) {
        float *const q = all + k * 4 * COUNT * N, *const u = q + COUNT * N, *const right = u + COUNT * N,
                     *const sigma = right + COUNT * N;
        if (!table(k))
            continue;
        memcpy(q, v, COUNT * N * sizeof *q);
        ck_assert(organ_orthonormal(table(k), q, COUNT, N, N, NULL));
        ck_assert(organ_dense_svd(table(k), v, N, COUNT, COUNT, u, sigma, right));
        ck_assert_mem_eq(q, all, 4 * COUNT * N * sizeof *q);
    }
    free(h);
    free(first);
    free(v);
    free(all);
}
END_TEST

START_TEST(vectors_among_those_before_are_replaced)
{
    double vectors[4][5] = {{1, 0, 0, 0, 0}, {0, 1, 0, 0, 0}, {3, -4, 0, 0, 0}, {0, 0, 0, 0, 0}};
    ck_assert(organ_orthonormal_next(best(), vectors[0], 2, 5) == 0 &&
              organ_orthonormal_next(best(), vectors[0], 3, 5) == 0);
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 4; j++)
            ck_assert_double_eq_tol(best()->dot_f64(vectors[i], vectors[j], 5), i == j, 1e-14);
    ck_assert(isnan(organ_max_magnitude((const double[]){1, (double)NAN, 2}, 3)) && organ_max_magnitude(NULL, 0) == 0);
}
END_TEST

Suite *decompositions_suite(void)
{
    const suite_case cases[] = {
        {"eigen", {eigenvectors_are_orthonormal_and_right, what_is_not_finite_has_no_eigenvectors}},
        {"svd", {singular_vectors_give_the_matrix_back}},
        {"orthonormal", {orthonormal_vectors_give_the_matrix_back, vectors_among_those_before_are_replaced}},
        {"inverse",
         {inverse_factors_are_factors_of_the_inverse, factors_solve_rows, what_is_not_definite_has_no_inverse_factor,
          diagonals_of_inverses}},
        {"same", {bits_depend_on_neither_table_nor_threads}}};
    return suite_of("decompositions", cases, sizeof cases / sizeof *cases, NULL, NULL);
}
