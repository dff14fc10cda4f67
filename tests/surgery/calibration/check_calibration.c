/* SPDX-License-Identifier: MIT
 * Tests of the parts of physarum v2: calibrations and their errors, noise, ranking, and masked least squares against a
 * dense solution. */
#include "orchestrator/stream/product.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/verbs/prune/prune_matrix.h"
#include "orchestrator/surgery/calibration/calibration.h"
#include "tests/verbs/prune/physarum_v2_rig.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/require.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static organ_engine engine;

static void set_up(void) { engine = make_engine(2, (uint64_t)1 << 30); }
static void tear_down(void) { free_engine(&engine); }

static organ_calibration *made(size_t features, bool two_streams)
{
    organ_error error = {0};
    organ_calibration *c;
    const organ_calibration_options options = {.features = features, .name = "q", .two_streams = two_streams};
    ck_assert_msg(organ_calibration_create(&options, &engine, &c, &error) == ORGAN_OK, "%s", error.message);
    return c;
}

/* ---- moments ---- */

START_TEST(moments_are_the_sums)
{
    enum { N = 300, T = 600 }; /* two panels, two chunks */
    float *x = malloc(2 * N * T * sizeof *x), *const d = x + N * T;
    organ_error error = {0};
    organ_calibration *c = made(N, true);
    organ_philox_normal(1, 1, 0, x, 2 * N * T);
    ck_assert_ptr_null(organ_calibration_moments(c));
    ck_assert_int_eq(organ_calibration_add(c, x, d, T, &error), ORGAN_OK);
    ck_assert_int_eq(organ_calibration_finish(c, &error), ORGAN_OK);
    const organ_input_moments *const m = organ_calibration_moments(c);
    ck_assert_uint_eq(m->block, N);
    float greatest = 0;
    for (size_t k = 0; k < N * T; k++)
        greatest = fmaxf(greatest, fabsf(x[k]));
    ck_assert(greatest > 3 && m->greatest == greatest);
    for (size_t i = 0; i < N; i += 7)
        for (size_t j = 0; j < N; j += 3) {
            double h = 0, cross = 0;
            for (size_t t = 0; t < T; t++) {
                h += (double)x[t * N + i] * (double)x[t * N + j];
                cross += (double)d[t * N + i] * (double)x[t * N + j];
            }
            REQUIRE(j < i || fabs(m->h[i * N + j] - h) < 1e-3);
            REQUIRE(fabs(m->c[i * N + j] - cross) < 1e-3);
        }
    free(x);
    organ_calibration_destroy(c);
}
END_TEST

/* The caller's scratch and a chunk for few tokens change no bit. */
START_TEST(shared_scratch_and_few_tokens_change_nothing)
{
    enum { N = 300, T = 100 };
    float *const x = malloc(sizeof *x * N * T);
    unsigned char *const scratch = aligned_alloc(64, (organ_calibration_scratch(&engine) + 63) / 64 * 64);
    organ_error error = {0};
    organ_calibration *all[2] = {made(N, false)};
    const organ_calibration_options options = {.features = N, .name = "q", .scratch = scratch, .tokens = T};
    ck_assert_int_eq(organ_calibration_create(&options, &engine, &all[1], &error), ORGAN_OK);
    organ_philox_normal(1, 1, 0, x, N * T);
    for (size_t k = 0; k < 2; k++) {
        ck_assert_int_eq(organ_calibration_add(all[k], x, NULL, 1, &error), ORGAN_OK);
        ck_assert_int_eq(organ_calibration_add(all[k], x + N, NULL, T - 1, &error), ORGAN_OK);
    }
    ck_assert_int_eq(organ_calibration_add(all[1], x, NULL, 1, &error), ORGAN_USAGE);
    ck_assert_str_eq(error.message, "q: more tokens than the declared 100");
    error = (organ_error){0};
    for (size_t k = 0; k < 2; k++)
        ck_assert_int_eq(organ_calibration_finish(all[k], &error), ORGAN_OK);
    const organ_input_moments *const a = organ_calibration_moments(all[0]), *const b =
                                                                                organ_calibration_moments(all[1]);
    ck_assert_mem_eq(a->h, b->h, sizeof(double) * N * N);
    ck_assert_mem_eq(a->act_norm, b->act_norm, 3 * sizeof(float) * N);
    for (size_t k = 0; k < 2; k++)
        organ_calibration_destroy(all[k]);
    free(scratch);
    free(x);
}
END_TEST

/* Ranges alone are those of a calibration with second moments. */
START_TEST(ranges_need_no_moments)
{
    enum { N = 300, T = 600 };
    float *const x = malloc(sizeof *x * N * T), zeros[N] = {0};
    organ_error error = {0};
    organ_calibration *all[2], *none;
    organ_calibration_options options = {.features = N, .name = "q", .moments_only = true, .magnitudes = true};
    organ_philox_normal(1, 1, 0, x, N * T);
    for (size_t k = 0; k < 2; k++) {
        options.ranges_only = k == 1;
        ck_assert_int_eq(organ_calibration_create(&options, &engine, &all[k], &error), ORGAN_OK);
        ck_assert_int_eq(organ_calibration_add(all[k], x, NULL, 1, &error), ORGAN_OK);
        ck_assert_int_eq(organ_calibration_add(all[k], x + N, NULL, T - 1, &error), ORGAN_OK);
        ck_assert_int_eq(organ_calibration_finish(all[k], &error), ORGAN_OK);
    }
    const organ_input_moments *const a = organ_calibration_moments(all[0]), *const b =
                                                                                organ_calibration_moments(all[1]);
    ck_assert(a->h && !b->h && !b->act_norm);
    ck_assert(a->greatest > 3 && a->greatest == b->greatest);
    ck_assert_uint_eq(b->tokens, T);
    ck_assert_mem_eq(a->magnitudes, b->magnitudes, sizeof *a->magnitudes * ORGAN_MAGNITUDES);
    options.magnitudes = false;
    ck_assert_int_eq(organ_calibration_create(&options, &engine, &none, &error), ORGAN_OK);
    ck_assert_int_eq(organ_calibration_add(none, zeros, NULL, 1, &error), ORGAN_OK);
    ck_assert_int_eq(organ_calibration_finish(none, &error), ORGAN_BAD_INPUT);
    ck_assert_str_eq(error.message, "q: all 300 inputs are zero for all 1 calibration tokens");
    x[5] = NAN;
    error = (organ_error){0};
    ck_assert_int_eq(organ_calibration_add(none, x, NULL, 2, &error), ORGAN_BAD_INPUT);
    ck_assert_str_eq(error.message,
                     "q: calibration token 1, input 5: the activation is nan; it must be finite and within 1e+15");
    organ_calibration_destroy(none);
    for (size_t k = 0; k < 2; k++)
        organ_calibration_destroy(all[k]);
    free(x);
}
END_TEST

static void must_refuse(organ_calibration *c, const float *x, const float *d, size_t tokens, organ_status status,
                        const char *message)
{
    organ_error error = {0};
    ck_assert_int_eq(organ_calibration_add(c, x, d, tokens, &error), status);
    ck_assert_str_eq(error.message, message);
}

START_TEST(activations_that_are_no_numbers)
{
    float x[4 * 3] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, good[4 * 3] = {0};
    organ_calibration *c = made(3, true);
    x[7] = NAN;
    must_refuse(c, x, good, 3, ORGAN_BAD_INPUT,
                "q: calibration token 2, input 1: the activation is nan; it must be finite and within 1e+15");
    x[7] = 2e15f;
    must_refuse(
        c, good, x, 3, ORGAN_BAD_INPUT,
        "q: calibration token 2, input 1 in the donor: the activation is 2e+15; it must be finite and within 1e+15");
    must_refuse(c, good, NULL, 1, ORGAN_USAGE,
                "q: inputs of the donor are given, but were not declared (or the reverse)");
    organ_calibration_destroy(c);
}
END_TEST

START_TEST(calibrations_without_anything)
{
    const float zeros[6] = {0}, ones[3] = {1, 1, 1};
    organ_error error = {0};
    organ_calibration *c = made(3, false);
    ck_assert_int_eq(organ_calibration_finish(c, &error), ORGAN_BAD_INPUT);
    ck_assert_str_eq(error.message, "q: the calibration has no tokens");
    error = (organ_error){0};
    ck_assert_int_eq(organ_calibration_add(c, zeros, NULL, 2, &error), ORGAN_OK);
    ck_assert_int_eq(organ_calibration_finish(c, &error), ORGAN_BAD_INPUT);
    ck_assert_str_eq(error.message, "q: all 3 inputs are zero for all 2 calibration tokens");
    ck_assert_ptr_null(organ_calibration_moments(c));
    error = (organ_error){0};
    ck_assert_int_eq(organ_calibration_add(c, ones, NULL, 1, &error), ORGAN_OK);
    ck_assert_int_eq(organ_calibration_finish(c, &error), ORGAN_OK);
    ck_assert_uint_eq(organ_calibration_moments(c)->tokens, 3);
    must_refuse(c, ones, NULL, 1, ORGAN_USAGE, "q: the calibration is finished and accepts no more tokens");
    ck_assert_int_eq(organ_calibration_finish(c, &error), ORGAN_USAGE);
    organ_calibration_destroy(c);
    const organ_calibration_options none = {.name = "q"};
    error = (organ_error){0};
    ck_assert_int_eq(organ_calibration_create(&none, &engine, &c, &error), ORGAN_USAGE);
    ck_assert_ptr_null(c);
}
END_TEST

/* ---- arithmetics other than exact ---- */

/* Stands for the instructions of such an arithmetic on any CPU: the exact product of the operands. */
static void plain_product(const organ_product *product, void *scratch)
{
    organ_product exact = *product;
    exact.compute = ORGAN_COMPUTE_EXACT;
    organ_kernels_scalar->product(&exact, scratch);
}
static const organ_dots plain_dots = {"plain", plain_product};

enum { FEATURES = 270, TOKENS = 2700, WEIGHT_ROWS = 40 };

typedef struct reduced_case {
    organ_compute compute;
    bool two_streams, weights;
} reduced_case;

typedef struct reduced_inputs {
    float *x, *donor, *weights;
} reduced_inputs;

/* Adds the tokens in calls of `step` tokens, on `threads` threads. The caller destroys the calibration. */
static organ_calibration *reduced(const reduced_case *of, const reduced_inputs *in, size_t step, size_t threads)
{
    organ_error error = {0};
    organ_calibration *c = NULL;
    organ_engine *const own = calloc(1, sizeof *own);
    *own = make_engine(threads, (uint64_t)1 << 30);
    own->compute = of->compute;
    own->dots = of->compute == ORGAN_COMPUTE_EXACT ? NULL : &plain_dots;
    organ_calibration_options options = {
        .features = FEATURES, .name = "q", .moments_only = true, .two_streams = of->two_streams};
    if (of->weights) {
        options.weights = organ_by_rows(in->weights, FEATURES);
        options.rows = WEIGHT_ROWS;
    }
    ck_assert_int_eq(organ_calibration_create(&options, own, &c, &error), ORGAN_OK);
    for (size_t at = 0; at < TOKENS; at += step)
        ck_assert_int_eq(organ_calibration_add(c, in->x + at * FEATURES,
                                               of->two_streams ? in->donor + at * FEATURES : NULL,
                                               TOKENS - at < step ? TOKENS - at : step, &error),
                         ORGAN_OK);
    ck_assert_int_eq(organ_calibration_finish(c, &error), ORGAN_OK);
    free_engine(own);
    free(own);
    return c;
}

/* Largest difference of `count` sums, as a share of the root of the product of the tokens' squares. */
static double greatest_difference(const double *a, const double *b, size_t count, bool triangle)
{
    double most = 0;
    for (size_t k = 0; k < count; k++)
        if (!triangle || k % FEATURES >= k / FEATURES)
            most = fmax(most, fabs(a[k] - b[k]));
    return most / TOKENS;
}

/* The sums of an arithmetic are near those of exact, and neither the division of tokens into calls nor threads change a
 * bit. */
static void sums_alike(const reduced_case *of)
{
    const reduced_case exact = {ORGAN_COMPUTE_EXACT, of->two_streams, of->weights};
    const bool rounds = of->compute == ORGAN_COMPUTE_BF16;
    reduced_inputs in = {malloc(sizeof(float) * FEATURES * TOKENS), malloc(sizeof(float) * FEATURES * TOKENS),
                         malloc(sizeof(float) * FEATURES * WEIGHT_ROWS)};
    organ_philox_normal(1, 1, 0, in.x, FEATURES * TOKENS);
    organ_philox_normal(1, 2, 0, in.donor, FEATURES * TOKENS);
    organ_philox_normal(1, 3, 0, in.weights, FEATURES * WEIGHT_ROWS);
    organ_calibration *const all[] = {reduced(&exact, &in, TOKENS, 2), reduced(of, &in, TOKENS, 2),
                                      reduced(of, &in, 700, 1), reduced(of, &in, 700, 5)};
    const organ_input_moments *const of_exact = organ_calibration_moments(all[0]), *const first =
                                                                                       organ_calibration_moments(
                                                                                           all[1]);
    const double least = rounds ? 1e-6 : 0, most = rounds ? 2e-3 : 1e-6;
    const double h = greatest_difference(of_exact->h, first->h, FEATURES * FEATURES, true);
    ck_assert_msg(h >= least && h <= most, "H differs by %g", h);
    ck_assert(!of_exact->c == !first->c && !of_exact->drift == !first->drift && !first->drift == !of->weights);
    if (first->c)
        ck_assert_double_le(greatest_difference(of_exact->c, first->c, FEATURES * FEATURES, false), most);
    if (first->drift)
        ck_assert_double_le(greatest_difference(of_exact->drift, first->drift, WEIGHT_ROWS * FEATURES, false),
                            most * sqrt(FEATURES));
    for (size_t k = 2; k < 4; k++) {
        const organ_input_moments *const m = organ_calibration_moments(all[k]);
        ck_assert_mem_eq(first->h, m->h, sizeof(double) * FEATURES * FEATURES);
        if (m->c)
            ck_assert_mem_eq(first->c, m->c, sizeof(double) * FEATURES * FEATURES);
        if (m->drift)
            ck_assert_mem_eq(first->drift, m->drift, sizeof(double) * WEIGHT_ROWS * FEATURES);
    }
    for (size_t k = 0; k < 4; k++)
        organ_calibration_destroy(all[k]);
    free(in.x), free(in.donor), free(in.weights);
}

START_TEST(other_arithmetics_sum_alike)
{
    for (int k = 0; k < 3; k++) {
        sums_alike(&(reduced_case){ORGAN_COMPUTE_BF16, .two_streams = k > 0, .weights = k > 1});
        sums_alike(&(reduced_case){ORGAN_COMPUTE_SPLIT, .two_streams = k > 0, .weights = k > 1});
    }
}
END_TEST

/* ---- probe noise ---- */

START_TEST(noise_goes_by_its_place)
{
    uint16_t whole[20], part[12], other[20];
    organ_saliency_noise(5, 3, 7, 0, whole, 20);
    organ_saliency_noise(5, 3, 7, 8, part, 12);
    ck_assert_mem_eq(whole + 8, part, sizeof part);
    organ_saliency_noise(5, 3, 8, 0, other, 20);
    ck_assert_mem_ne(whole, other, sizeof whole);
    organ_saliency_noise(5, 4, 7, 0, other, 20);
    ck_assert_mem_ne(whole, other, sizeof whole);
    organ_saliency_noise(6, 3, 7, 0, other, 20);
    ck_assert_mem_ne(whole, other, sizeof whole);
}
END_TEST

START_TEST(levels_are_normal)
{
    float *levels = organ_normal_levels();
    double square = 0;
    for (size_t k = 0; k < 65536; k++) {
        REQUIRE(k == 0 || levels[k] > levels[k - 1]);
        REQUIRE(fabs(0.5 * erfc(-(double)levels[k] * M_SQRT1_2) * 65536 - ((double)k + 0.5)) < 0.01);
        square += (double)levels[k] * (double)levels[k] / 65536;
    }
    ck_assert_double_lt(fabs(square - 1), 2e-4);
    free(levels);
}
END_TEST

/* ---- ranking of scores ---- */

START_TEST(the_least_are_masked)
{
    enum { N = 1000 };
    float scores[N];
    uint8_t keep[N];
    organ_philox_uniform(1, 0, 0, scores, N);
    for (size_t k = 0; k < N; k++)
        scores[k] = k % 5 ? 1e-3f * scores[k] * scores[k] * scores[k] * scores[k] : 0.25e-3f; /* some are equal */
    for (size_t count = 0; count <= N; count += 50) {
        size_t masked = 0;
        float max = 0, least = INFINITY;
        organ_mask_lowest(scores, N, count, keep);
        for (size_t k = 0; k < N; k++) {
            masked += !keep[k];
            if (keep[k])
                least = fminf(least, scores[k]);
            else
                max = fmaxf(max, scores[k]);
        }
        ck_assert_uint_eq(masked, count);
        ck_assert(max <= least);
    }
}
END_TEST

/* ---- least squares ---- */

enum { SIZE = 60, ROWS = 5 };

typedef struct squares {
    float h[SIZE * SIZE], target[ROWS * SIZE], v[ROWS * SIZE];
    uint8_t keep[ROWS * SIZE];
} squares;

static squares *make_squares(void)
{
    squares *s = calloc(1, sizeof *s);
    float *x = malloc(100 * SIZE * sizeof *x);
    organ_philox_normal(2, 0, 0, x, 100 * SIZE);
    organ_philox_normal(2, 1, 0, s->target, ROWS * SIZE);
    for (size_t i = 0; i < SIZE; i++)
        for (size_t j = 0; j < SIZE; j++)
            for (size_t t = 0; t < 100; t++)
                s->h[i * SIZE + j] += x[t * SIZE + i] * x[t * SIZE + j];
    for (size_t k = 0; k < ROWS * SIZE; k++)
        s->keep[k] = k >= (ROWS - 1) * SIZE ? 0 : k % 7 % 3 != 1; /* the last row keeps no weight */
    free(x);
    return s;
}

/* Replaces b by H^-1 b for positive definite H (n x n), by elimination in FP64. */
static void eliminate(double *h, double *b, size_t n)
{
    for (size_t k = 0; k < n; k++)
        for (size_t i = k + 1; i < n; i++) {
            const double factor = h[i * n + k] / h[k * n + k];
            for (size_t j = k; j < n; j++)
                h[i * n + j] -= factor * h[k * n + j];
            b[i] -= factor * b[k];
        }
    for (size_t k = n; k-- > 0;) {
        for (size_t j = k + 1; j < n; j++)
            b[k] -= h[k * n + j] * b[j];
        b[k] /= h[k * n + k];
    }
}

/* Solves one row for its kept weights. */
static void solve_row(const squares *s, size_t row, double *solution)
{
    double h[SIZE * SIZE], b[SIZE];
    size_t at[SIZE], n = 0;
    for (size_t j = 0; j < SIZE; j++)
        if (s->keep[row * SIZE + j])
            at[n++] = j;
    for (size_t i = 0; i < n; i++) {
        b[i] = (double)s->target[row * SIZE + at[i]];
        for (size_t j = 0; j < n; j++)
            h[i * n + j] = (double)s->h[at[i] * SIZE + at[j]];
    }
    eliminate(h, b, n);
    memset(solution, 0, SIZE * sizeof *solution);
    for (size_t i = 0; i < n; i++)
        solution[at[i]] = b[i];
}

/* The bound covers the k x k matrices of the preconditioner: 16 directions for each block of 256 columns. */
START_TEST(memory_of_a_wide_block_diagonal_matrix)
{
    const uint64_t rows = 8192, cols = 28672, weights = rows * cols, directions = 16;
    ck_assert_uint_ge(organ_masked_squares_memory(&engine, rows, cols),
                      9 * weights + 4 * directions * (directions + 1) * rows * (cols / 256));
}
END_TEST

START_TEST(gradients_reach_the_dense_solution)
{
    squares *s = make_squares();
    organ_error error = {0};
    const organ_block_matrix h = {SIZE, SIZE, s->h};
    organ_masked_squares *solver;
    ck_assert_int_eq(organ_masked_squares_create(&engine, &h, ROWS, "m", &solver, &error), ORGAN_OK);
    memcpy(organ_masked_squares_residual(solver), s->target, sizeof s->target);
    /* The next solve uses changes of v made without a product and after the last one. */
    ck_assert_int_eq(organ_masked_squares_solve(solver, s->keep, 0, s->v, &error), ORGAN_OK);
    ck_assert_int_eq(organ_masked_squares_solve(solver, s->keep, 1, s->v, &error), ORGAN_OK);
    ck_assert_int_eq(organ_masked_squares_solve(solver, s->keep, 60, s->v, &error), ORGAN_OK);
    organ_masked_squares_destroy(solver);
    for (size_t row = 0; row + 1 < ROWS; row++) {
        double requested[SIZE], off = 0, norm = 0;
        solve_row(s, row, requested);
        for (size_t j = 0; j < SIZE; j++) {
            REQUIRE(s->keep[row * SIZE + j] || s->v[row * SIZE + j] == 0);
            off += ((double)s->v[row * SIZE + j] - requested[j]) * ((double)s->v[row * SIZE + j] - requested[j]);
            norm += requested[j] * requested[j];
        }
        ck_assert_double_lt(sqrt(off / norm), 1e-4);
    }
    for (size_t j = 0; j < SIZE; j++)
        REQUIRE(s->v[(ROWS - 1) * SIZE + j] == 0);
    free(s);
}
END_TEST

/* More rows than are solved at once: each gets the result that it gets alone. */
START_TEST(rows_do_not_depend_on_each_other)
{
    enum { TIMES = 2500 / ROWS + 1, MANY = TIMES * ROWS };
    squares *s = make_squares();
    organ_error error = {0};
    const organ_block_matrix h = {SIZE, SIZE, s->h};
    float *v = malloc(MANY * SIZE * sizeof *v);
    uint8_t *keep = malloc(MANY * SIZE);
    organ_masked_squares *few, *many;
    ck_assert_int_eq(organ_masked_squares_create(&engine, &h, ROWS, "m", &few, &error), ORGAN_OK);
    ck_assert_int_eq(organ_masked_squares_create(&engine, &h, MANY, "m", &many, &error), ORGAN_OK);
    memcpy(organ_masked_squares_residual(few), s->target, sizeof s->target);
    for (size_t k = 0; k < TIMES; k++) {
        memcpy(organ_masked_squares_residual(many) + k * ROWS * SIZE, s->target, sizeof s->target);
        memcpy(v + k * ROWS * SIZE, s->v, ROWS * SIZE * sizeof *v);
        memcpy(keep + k * ROWS * SIZE, s->keep, ROWS * SIZE);
    }
    for (unsigned products = 1; products < 6; products += 2) { /* the second begins with the first's result */
        ck_assert_int_eq(organ_masked_squares_solve(few, s->keep, products, s->v, &error), ORGAN_OK);
        ck_assert_int_eq(organ_masked_squares_solve(many, keep, products, v, &error), ORGAN_OK);
        for (size_t k = 0; k < (size_t)MANY * SIZE; k++)
            REQUIRE_MSG(fabs((double)(v[k] - s->v[k % (ROWS * SIZE)])) < 1e-4 * (1 + fabs((double)v[k])),
                        "%g is not below %g", (double)(fabs((double)(v[k] - s->v[k % (ROWS * SIZE)]))),
                        (double)(1e-4 * (1 + fabs((double)v[k]))));
    }
    organ_masked_squares_destroy(few);
    organ_masked_squares_destroy(many);
    free(keep);
    free(v);
    free(s);
}
END_TEST

START_TEST(blocks_are_multiplied_each_alone)
{
    enum { N = 600, B = 256 };
    float *h = malloc((2 * B * B + 88 * 88) * sizeof *h), *m = malloc(3 * N * sizeof *m),
          *product = malloc(3 * N * sizeof *m);
    organ_philox_normal(3, 0, 0, h, 2 * B * B + 88 * 88);
    organ_philox_normal(3, 1, 0, m, 3 * N);
    const organ_block_matrix blocks = {N, B, h};
    organ_error error = {0};
    ck_assert_int_eq(organ_block_multiply(&engine, &blocks, m, 3, product, &error), ORGAN_OK);
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < N; j++) {
            const size_t start = j / B * B, width = N - start < B ? N - start : B;
            double sum = 0;
            for (size_t k = 0; k < width; k++)
                sum += (double)m[i * N + start + k] * (double)h[start * B + k * width + j - start];
            REQUIRE_MSG(fabs(sum - (double)product[i * N + j]) < 1e-3, "%g is not below %g",
                        (double)(fabs(sum - (double)product[i * N + j])), (double)(1e-3));
        }
    free(h);
    free(m);
    free(product);
}
END_TEST

Suite *physarum_v2_parts_suite(void)
{
    const suite_case cases[] = {
        {"moments",
         {moments_are_the_sums, shared_scratch_and_few_tokens_change_nothing, ranges_need_no_moments,
          activations_that_are_no_numbers, calibrations_without_anything, other_arithmetics_sum_alike}},
        {"noise", {noise_goes_by_its_place, levels_are_normal}},
        {"ranks", {the_least_are_masked}},
        {"squares",
         {memory_of_a_wide_block_diagonal_matrix, gradients_reach_the_dense_solution, rows_do_not_depend_on_each_other,
          blocks_are_multiplied_each_alone}}};
    return suite_of("physarum v2: parts", cases, sizeof cases / sizeof *cases, set_up, tear_down);
}
