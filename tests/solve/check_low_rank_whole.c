/* SPDX-License-Identifier: MIT
 * Tests of low-rank approximation of matrices read strip by strip: accuracy against full decompositions by rotations,
 * bit identity, errors. */
#include "tests/solve/low_rank_rig.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- one decomposition ---- */

typedef struct source {
    size_t rows, cols;
    const float *values;
    size_t bad_row; /* the row that cannot be read; 0: none */
} source;

static organ_status read_rows(void *context, uint64_t first, size_t rows, float *values, void *scratch,
                              organ_error *error)
{
    const source *const s = context;
    memset(scratch, 0xAA, 100);
    if (s->bad_row && first <= s->bad_row && s->bad_row < first + rows)
        return organ_fail(error, ORGAN_IO, "row %zu cannot be read", s->bad_row);
    memcpy(values, s->values + first * s->cols, rows * s->cols * sizeof *values);
    return ORGAN_OK;
}

typedef struct way {
    size_t rank, threads;
    uint64_t memory, seed;
    bool exact;
    const char *isa; /* NULL: the best one */
    const organ_stop *stop;
    double *rest; /* if set, the residual is measured as well, for B = U sqrt(sigma) and A = sqrt(sigma) V^T */
} way;

static organ_status measure_rest(organ_strips *strips, const organ_svd *svd, double *rest, organ_error *error)
{
    const size_t m = svd->rows, n = svd->cols, r = svd->rank;
    float *b = malloc((m * r + 1) * sizeof *b), *a = malloc((r * n + 1) * sizeof *a);
    for (size_t k = 0; k < r; k++) {
        const float root = sqrtf(svd->sigma[k]);
        for (size_t i = 0; i < m; i++)
            b[i * r + k] = svd->u[k * m + i] * root;
        for (size_t j = 0; j < n; j++)
            a[k * n + j] = svd->vt[k * n + j] * root;
    }
    organ_residual(strips, b, a, r, rest, error);
    free(b);
    free(a);
    return error->status;
}

static organ_status approximate(const source *s, way w, organ_svd *svd, organ_error *error)
{
    const organ_rows rows = {.rows = s->rows,
                             .cols = s->cols,
                             .name = "matrix 'm'",
                             .scratch_bytes = 100,
                             .context = (void *)(uintptr_t)s,
                             .read = read_rows};
    const organ_low_rank_options options = {.rank = w.rank, .seed = w.seed, .exact = w.exact};
    organ_topology *topology = NULL;
    organ_workers *workers = NULL;
    organ_strips *strips = NULL;
    *error = (organ_error){0};
    *svd = (organ_svd){0};
    ck_assert_int_eq(organ_topology_discover(&topology, error), ORGAN_OK);
    ck_assert_int_eq(organ_workers_create(topology, w.threads ? w.threads : 2, &workers, error), ORGAN_OK);
    const char *why;
    const organ_engine engine = {.kernels = organ_kernels_choose(organ_cpu_detect(), w.isa, &why),
                                 .topology = topology,
                                 .workers = workers,
                                 .memory = w.memory ? w.memory : 64 << 20,
                                 .stop = w.stop};
    if (organ_strips_open(&rows, &engine, !w.exact, &strips, error) == ORGAN_OK &&
        organ_low_rank(strips, &options, svd, error) == ORGAN_OK && w.rest)
        measure_rest(strips, svd, w.rest, error);
    organ_strips_close(strips);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
    return error->status;
}

static void must_approximate(const source *s, way w, organ_svd *svd)
{
    organ_error error;
    ck_assert_msg(approximate(s, w, svd, &error) == ORGAN_OK, "%s", error.message);
}

/* Makes two vectors orthogonal by a rotation; returns false if they were. */
static bool rotate(double *p, double *q, size_t n)
{
    double pp = 0, qq = 0, pq = 0;
    for (size_t i = 0; i < n; i++) {
        pp += p[i] * p[i];
        qq += q[i] * q[i];
        pq += p[i] * q[i];
    }
    if (fabs(pq) <= 1e-12 * sqrt(pp * qq))
        return false;
    const double ratio = (qq - pp) / (2 * pq), t = (ratio < 0 ? -1 : 1) / (fabs(ratio) + sqrt(1 + ratio * ratio));
    const double cosine = 1 / sqrt(1 + t * t), sine = t * cosine;
    for (size_t i = 0; i < n; i++) {
        const double x = p[i];
        p[i] = cosine * x - sine * q[i];
        q[i] = sine * x + cosine * q[i];
    }
    return true;
}

static int descending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Computes singular values by one-sided rotations (Hestenes 1958) in FP64; the caller frees them. */
static float *spectrum_of(const source *s)
{
    const bool wide = s->rows < s->cols;
    const size_t least = wide ? s->rows : s->cols, n = wide ? s->cols : s->rows;
    double *const vectors = malloc(least * n * sizeof *vectors);
    float *const sigma = malloc(least * sizeof *sigma);
    for (size_t v = 0; v < least; v++)
        for (size_t i = 0; i < n; i++)
            vectors[v * n + i] = (double)s->values[wide ? v * n + i : i * least + v];
    for (bool turned = true; turned;) {
        turned = false;
        for (size_t p = 0; p < least; p++)
            for (size_t q = p + 1; q < least; q++)
                turned |= rotate(vectors + p * n, vectors + q * n, n);
    }
    for (size_t v = 0; v < least; v++) {
        double square = 0;
        for (size_t i = 0; i < n; i++)
            square += vectors[v * n + i] * vectors[v * n + i];
        sigma[v] = (float)sqrt(square);
    }
    qsort(sigma, least, sizeof *sigma, descending);
    free(vectors);
    return sigma;
}

/* ---- matrices ---- */

/* Makes the sum of k^-0.7 p_k q_k^T with random p and q, which has a decaying spectrum. */
static float *decaying_matrix(uint64_t seed, size_t rows, size_t cols, size_t terms)
{
    float *p = noise_matrix(seed, terms, rows), *q = noise_matrix(seed + 1, terms, cols),
          *w = calloc(rows * cols, sizeof *w);
    for (size_t k = 0; k < terms; k++) {
        const float scale = (float)pow((double)(k + 1), -0.7);
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < cols; j++)
                w[i * cols + j] += scale * p[k * rows + i] * q[k * cols + j];
    }
    free(p);
    free(q);
    return w;
}

/* ---- accuracy ---- */

static void check_against_spectrum(const source *s, size_t rank, bool iterated, double bar)
{
    organ_svd svd;
    double rest;
    must_approximate(s, (way){.rank = rank, .rest = &rest}, &svd);
    float *sigma = spectrum_of(s);
    const size_t least = s->rows < s->cols ? s->rows : s->cols;
    double energy = 0, best = 0;
    for (size_t k = 0; k < least; k++) {
        energy += (double)sigma[k] * (double)sigma[k];
        best += k < rank ? 0 : (double)sigma[k] * (double)sigma[k];
    }
    ck_assert_uint_eq(svd.rank, rank);
    ck_assert((svd.passes > 0) == iterated);
    ck_assert(worst_angle(svd.u, s->rows, rank) < 1e-5 && worst_angle(svd.vt, s->cols, rank) < 1e-5);
    ck_assert_double_eq_tol(svd.energy, energy, 1e-5 * energy);
    ck_assert_double_eq_tol((double)svd.sigma[0], (double)sigma[0], 1e-4 * (double)sigma[0]);
    const double residual = organ_svd_residual(&svd), straight = distance(s->values, &svd) / sqrt(energy);
    ck_assert_msg(residual <= fmax(bar * sqrt(best / energy), 5e-4), "%zu x %zu: residual %.7f, best %.7f", s->rows,
                  s->cols, residual, sqrt(best / energy));
    ck_assert_double_eq_tol(residual, straight, straight > 0.01 ? 2e-5 : 5e-4);
    ck_assert_double_eq_tol(sqrt(rest / svd.energy), straight, 1e-5);
    organ_svd_release(&svd);
    free(sigma);
}

static const size_t shapes[][4] = {{200, 300, 8, 1}, {300, 200, 8, 1}, {129, 640, 24, 1},
                                   {517, 130, 3, 1}, {90, 500, 12, 1}, /* one block */
                                   {60, 40, 8, 0},   {40, 60, 20, 0},  {128, 128, 128, 0}};

START_TEST(decaying_spectra)
{
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        float *w = decaying_matrix(k, shapes[k][0], shapes[k][1], 60);
        check_against_spectrum(&(source){shapes[k][0], shapes[k][1], w, 0}, shapes[k][2], shapes[k][3], 1.001);
        free(w);
    }
}
END_TEST

START_TEST(white_noise)
{
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        float *w = noise_matrix(k, shapes[k][0], shapes[k][1]);
        check_against_spectrum(&(source){shapes[k][0], shapes[k][1], w, 0}, shapes[k][2], shapes[k][3], 1.003);
        free(w);
    }
}
END_TEST

START_TEST(the_exact_way_is_the_best_there_is)
{
    float *w = noise_matrix(3, 150, 170);
    const source s = {150, 170, w, 0};
    organ_svd exact, fast;
    must_approximate(&s, (way){.rank = 9, .exact = true}, &exact);
    must_approximate(&s, (way){.rank = 9}, &fast);
    ck_assert(exact.passes == 0 && fast.passes > 0 && exact.rank == 9);
    ck_assert_double_le(organ_svd_residual(&exact), organ_svd_residual(&fast) + 1e-6);
    ck_assert_double_le(organ_svd_residual(&fast), 1.001 * organ_svd_residual(&exact));
    organ_svd_release(&exact);
    organ_svd_release(&fast);
    free(w);
}
END_TEST

/* A change of low rank, as by an adapter: the residual is rounding, which the energies cannot resolve and a measurement
 * does. */
START_TEST(a_change_of_low_rank_is_found_whole)
{
    enum { M = 260, N = 310 };
    static const size_t ranks[] = {5, 4, 16};
    float *w = decaying_matrix(5, M, N, 5);
    const source s = {M, N, w, 0};
    for (size_t k = 0; k < 3; k++) {
        organ_svd svd;
        double rest;
        must_approximate(&s, (way){.rank = ranks[k], .rest = &rest}, &svd);
        ck_assert(worst_angle(svd.u, M, svd.rank) < 1e-5 && worst_angle(svd.vt, N, svd.rank) < 1e-5);
        if (ranks[k] >= 5)
            ck_assert_double_lt(sqrt(rest / svd.energy), 5e-6);
        else
            ck_assert_double_eq_tol(sqrt(rest / svd.energy), organ_svd_residual(&svd), 1e-5);
        ck_assert(svd.passes <= 6);
        organ_svd_release(&svd);
    }
    free(w);
}
END_TEST

/* ---- bit identity ---- */

START_TEST(bits_do_not_depend_on_threads_memory_or_isa)
{
    enum { M = 700, N = 220 };
    static const size_t threads[] = {1, 2, 7};
    static const uint64_t memories[] = {64 << 20, 128 * N * 4 + 7 * 128,
                                        3 * 128 * N * 4 + 7 * 128}; /* in memory, one strip, three strips */
    float *w = noise_matrix(1, M, N);
    const source s = {M, N, w, 0};
    organ_svd first, svd;
    double first_rest, rest;
    must_approximate(&s, (way){.rank = 10, .rest = &first_rest}, &first);
    for (size_t t = 0; t < 3; t++)
        for (size_t k = 0; k < 3; k++) {
            must_approximate(&s, (way){.rank = 10, .threads = threads[t], .memory = memories[k], .rest = &rest}, &svd);
            ck_assert_mem_eq(svd.sigma, first.sigma, 10 * sizeof *svd.sigma);
            ck_assert_mem_eq(svd.u, first.u, 10 * M * sizeof *svd.u);
            ck_assert_mem_eq(svd.vt, first.vt, 10 * N * sizeof *svd.vt);
            ck_assert(svd.energy == first.energy && svd.captured == first.captured && svd.passes == first.passes &&
                      rest == first_rest);
            organ_svd_release(&svd);
        }
    static const char *const isas[] = {"scalar", "avx2", "avx512", "neon"};
    for (size_t k = 0; k < sizeof isas / sizeof *isas; k++) {
        const char *why;
        if (!organ_kernels_choose(organ_cpu_detect(), isas[k], &why))
            continue;
        must_approximate(&s, (way){.rank = 10, .rest = &rest, .isa = isas[k]}, &svd);
        ck_assert_mem_eq(svd.sigma, first.sigma, 10 * sizeof *svd.sigma);
        ck_assert_mem_eq(svd.u, first.u, 10 * M * sizeof *svd.u);
        ck_assert_mem_eq(svd.vt, first.vt, 10 * N * sizeof *svd.vt);
        ck_assert(svd.passes == first.passes && rest == first_rest);
        organ_svd_release(&svd);
    }
    must_approximate(&s, (way){.rank = 10, .seed = 1}, &svd);
    ck_assert(memcmp(svd.sigma, first.sigma, 10 * sizeof *svd.sigma) != 0);
    ck_assert_double_eq_tol(svd.captured, first.captured, 1e-3 * first.captured);
    organ_svd_release(&svd);
    organ_svd_release(&first);
    free(w);
}
END_TEST

/* ---- odd matrices ---- */

START_TEST(nothing_has_no_vectors)
{
    static const size_t sizes[][2] = {{300, 300}, {4, 5}, {1, 1}};
    float *w = calloc(300 * 300, sizeof *w);
    for (size_t k = 0; k < 3; k++)
        for (int exact = 0; exact < 2; exact++) {
            organ_svd svd;
            double rest = 1;
            must_approximate(&(source){sizes[k][0], sizes[k][1], w, 0}, (way){.rank = 8, .exact = exact, .rest = &rest},
                             &svd);
            ck_assert(svd.rank == 0 && svd.energy == 0 && organ_svd_residual(&svd) == 0 && !svd.u && rest == 0);
            organ_svd_release(&svd);
        }
    free(w);
}
END_TEST

START_TEST(matrices_of_one_number_row_or_column)
{
    static const size_t sizes[][2] = {{1, 1}, {1, 500}, {500, 1}, {2, 3}, {300, 2}};
    for (size_t k = 0; k < 5; k++) {
        const size_t m = sizes[k][0], n = sizes[k][1], least = m < n ? m : n;
        float *w = noise_matrix(k, m, n);
        organ_svd svd;
        must_approximate(&(source){m, n, w, 0}, (way){.rank = 64}, &svd); /* more than the rank of the matrix */
        ck_assert_uint_eq(svd.rank, least);
        ck_assert_double_lt(distance(w, &svd), 1e-5 * norm_of(w, m * n));
        organ_svd_release(&svd);
        free(w);
    }
}
END_TEST

/* Almost all zeros: bases of zero blocks must be orthonormal all the same. */
START_TEST(a_single_number_in_zeros)
{
    float *w = calloc(400 * 300, sizeof *w);
    w[17 * 300 + 5] = -3;
    organ_svd svd;
    double rest;
    must_approximate(&(source){400, 300, w, 0}, (way){.rank = 8, .rest = &rest}, &svd);
    ck_assert(fabs((double)svd.sigma[0] - 3) < 1e-5 && svd.rank == 8);
    ck_assert(worst_angle(svd.u, 400, 8) < 1e-5 && worst_angle(svd.vt, 300, 8) < 1e-5 && sqrt(rest) < 1e-5);
    organ_svd_release(&svd);
    w[17 * 300 + 5] = 1e-30f; /* its square underflows in FP32 */
    must_approximate(&(source){400, 300, w, 0}, (way){.rank = 8, .rest = &rest}, &svd);
    ck_assert_double_eq_tol(svd.energy, 1e-60, 1e-65);
    ck_assert_msg(fabs((double)svd.sigma[0] - 1e-30) < 1e-35, "sigma %g", (double)svd.sigma[0]);
    organ_svd_release(&svd);
    free(w);
}
END_TEST

/* A change of a few columns only. */
START_TEST(max_columns_of_nothing)
{
    enum { M = 280, N = 260 };
    float *w = noise_matrix(4, M, N);
    for (size_t k = 0; k < M * N; k++)
        w[k] *= (float)(k % N % 20 == 3);
    for (size_t rank = 8; rank <= 16; rank += 8) {
        organ_svd svd;
        double rest;
        must_approximate(&(source){M, N, w, 0}, (way){.rank = rank, .rest = &rest}, &svd);
        ck_assert(worst_angle(svd.u, M, rank) < 1e-5 && worst_angle(svd.vt, N, rank) < 1e-5);
        ck_assert_double_eq_tol(sqrt(rest / svd.energy), organ_svd_residual(&svd), rank < 13 ? 1e-5 : 1e-3);
        ck_assert(rank < 13 ? sqrt(rest / svd.energy) < 0.7 : rest < 1e-10 * svd.energy);
        organ_svd_release(&svd);
    }
    free(w);
}
END_TEST

/* The squares of numbers of 2^40 and more overflow in FP32; scaling by a power of two changes nothing but exponents. */
START_TEST(a_scale_changes_nothing_else)
{
    static const int exponents[] = {-100, -60, 60, 100};
    enum { M = 140, N = 150 };
    float *w = noise_matrix(1, M, N), *scaled = malloc(M * N * sizeof *scaled);
    organ_svd first, svd;
    double rest, first_rest;
    must_approximate(&(source){M, N, w, 0}, (way){.rank = 8, .rest = &first_rest}, &first);
    for (size_t e = 0; e < 4; e++) {
        for (size_t k = 0; k < M * N; k++)
            scaled[k] = ldexpf(w[k], exponents[e]);
        must_approximate(&(source){M, N, scaled, 0}, (way){.rank = 8, .rest = &rest}, &svd);
        ck_assert_double_eq_tol((double)ldexpf(svd.sigma[0], -exponents[e]), (double)first.sigma[0],
                                1e-4 * (double)first.sigma[0]);
        ck_assert_double_eq_tol(organ_svd_residual(&svd), organ_svd_residual(&first), 1e-4);
        ck_assert_double_eq_tol(sqrt(rest / svd.energy), sqrt(first_rest / first.energy), 1e-4);
        organ_svd_release(&svd);
    }
    organ_svd_release(&first);
    free(w);
    free(scaled);
}
END_TEST

/* ---- errors ---- */

static void refused(const source *s, way w, organ_status status, const char *text)
{
    organ_svd svd;
    organ_error error;
    ck_assert_int_eq(approximate(s, w, &svd, &error), status);
    ck_assert_msg(strstr(error.message, text) != NULL, "'%s' is not in '%s'", text, error.message);
    ck_assert(!svd.u && !svd.vt && !svd.sigma);
}

START_TEST(what_is_not_finite_is_refused)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    float *w = noise_matrix(1, 300, 200);
    for (size_t k = 0; k < 3; k++) {
        w[257 * 200 + 31] = bad[k];
        refused(&(source){300, 200, w, 0}, (way){.rank = 8}, ORGAN_BAD_INPUT,
                "matrix 'm': the value in row 257, column 31 is ");
        refused(&(source){300, 200, w, 0}, (way){.rank = 8, .memory = 200000}, ORGAN_BAD_INPUT, "row 257, column 31");
        refused(&(source){300, 200, w, 0}, (way){.rank = 200}, ORGAN_BAD_INPUT, "row 257, column 31");
        refused(&(source){300, 200, w, 0}, (way){.rank = 8, .exact = true}, ORGAN_BAD_INPUT, "row 257, column 31");
    }
    free(w);
}
END_TEST

START_TEST(what_cannot_be_read_or_held_is_refused)
{
    float *w = noise_matrix(1, 300, 200);
    const source s = {300, 200, w, 0}, broken = {300, 200, w, 140};
    const organ_stop stop = {.requested = 1};
    refused(&broken, (way){.rank = 8}, ORGAN_IO, "row 140 cannot be read");
    refused(&s, (way){.rank = 8, .memory = 50000}, ORGAN_USAGE,
            "--memory 50000 is too little for matrix 'm'; --memory ");
    refused(&s, (way){.rank = 8, .memory = 200000, .exact = true}, ORGAN_USAGE, "234 KiB; the limit is 195 KiB");
    refused(&s, (way){.rank = 8, .stop = &stop}, ORGAN_INTERRUPTED, "interrupted");
    free(w);
}
END_TEST

Suite *low_rank_whole_suite(void)
{
    const suite_case cases[] = {
        {"right",
         {decaying_spectra, white_noise, the_exact_way_is_the_best_there_is, a_change_of_low_rank_is_found_whole}},
        {"same", {bits_do_not_depend_on_threads_memory_or_isa}},
        {"odd",
         {nothing_has_no_vectors, matrices_of_one_number_row_or_column, a_single_number_in_zeros,
          max_columns_of_nothing, a_scale_changes_nothing_else}},
        {"refused", {what_is_not_finite_is_refused, what_cannot_be_read_or_held_is_refused}}};
    return suite_of("whole", cases, sizeof cases / sizeof *cases, NULL, NULL);
}
