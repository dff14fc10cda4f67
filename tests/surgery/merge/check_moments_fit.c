/* SPDX-License-Identifier: MIT
 * Tests of the least-squares mean of matrices: against FP64, bit identity, errors. */
#include "orchestrator/surgery/merge/moments_fit.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/require.h"
#include "tests/kit/samples.h"
#include "tests/kit/suite_table.h"
#include "tests/solve/low_rank_rig.h"
#include "tests/surgery/merge/moments_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GOLDENS = 5, MODELS = 3 };

/* Results of fixtures/make_moments_golden.py. */
typedef struct golden_moment {
    size_t models, features, rows, tokens;
    double ridge;
    int drift;
    double before, after, change[6]; /* of row 5 k and column 11 k, each modulo how many there are */
} golden_moment;
static golden_moment golden_moments[GOLDENS];

static void read_goldens(void)
{
    static const sample_column columns[] = {
        SAMPLE_COLUMN(golden_moment, models), SAMPLE_COLUMN(golden_moment, features),
        SAMPLE_COLUMN(golden_moment, rows),   SAMPLE_COLUMN(golden_moment, tokens),
        SAMPLE_COLUMN(golden_moment, ridge),  SAMPLE_COLUMN(golden_moment, drift),
        SAMPLE_COLUMN(golden_moment, before), SAMPLE_COLUMN(golden_moment, after),
        SAMPLE_COLUMN(golden_moment, change), {0}};
    ck_assert_uint_eq(SAMPLES_READ("tests/surgery/merge/moments_golden.tsv", columns, golden_moments), GOLDENS);
}

static const double factors[MODELS] = {1, 0.5, 2};

/* Values of fixtures/make_moments_golden.py. */
static float *filled(uint64_t seed, size_t n)
{
    samples s = {seed};
    float *const values = malloc(n * sizeof *values);
    samples_fill(&s, NORMAL, values, n);
    return values;
}

static const organ_input_moments *moments_of(const organ_engine *engine, size_t features, const float *inputs,
                                             const float *own, size_t tokens, organ_calibration **calibration)
{
    organ_error error = {0};
    const organ_calibration_options options = {
        .features = features, .name = "x", .moments_only = true, .two_streams = own != NULL, .tokens = tokens};
    REQUIRE(organ_calibration_create(&options, engine, calibration, &error) == ORGAN_OK);
    REQUIRE(organ_calibration_add(*calibration, inputs, own, tokens, &error) == ORGAN_OK);
    REQUIRE(organ_calibration_finish(*calibration, &error) == ORGAN_OK);
    return organ_calibration_moments(*calibration);
}

static void add_model(organ_moments_fit *fit, const organ_engine *engine, size_t golden, size_t k, const float *weights,
                      const float *mean)
{
    const size_t n = golden_moments[golden].features, rows = golden_moments[golden].rows,
                 tokens = golden_moments[golden].tokens + 7 * k;
    const uint64_t seed = 1000 * golden;
    const bool drift = golden_moments[golden].drift;
    organ_calibration *inputs = NULL, *own = NULL;
    organ_error error = {0};
    float *const x = filled(seed + 100 + k, tokens * n), *const y = filled(seed + 200 + k, tokens * n);
    for (size_t i = 0; i < tokens * n; i++)
        y[i] = x[i] + 0.25F * y[i];
    organ_moments_part part = {factors[k], moments_of(engine, n, x, drift ? y : NULL, tokens, &inputs), NULL};
    if (drift)
        part.own = moments_of(engine, n, y, NULL, tokens, &own);
    REQUIRE(organ_moments_fit_begin(fit, &part, &error) == ORGAN_OK);
    for (size_t first = 0; first < rows; first += ORGAN_MOMENTS_ROWS)
        organ_moments_fit_add(fit, 0, first, rows - first < ORGAN_MOMENTS_ROWS ? rows - first : ORGAN_MOMENTS_ROWS,
                              weights + first * n, mean + first * n);
    organ_calibration_destroy(inputs);
    organ_calibration_destroy(own);
    free(x);
    free(y);
}

/* Returns W - M, which the caller frees. */
static float *fitted(const organ_engine *engine, size_t golden, double *before, double *after)
{
    const size_t n = golden_moments[golden].features, rows = golden_moments[golden].rows,
                 models = golden_moments[golden].models;
    organ_moments_fit *fit = NULL;
    organ_error error = {0};
    float *weights[MODELS], *const mean = calloc(rows * n, sizeof *mean),
                                   *const result = malloc(rows * n * sizeof *result);
    for (size_t k = 0; k < models; k++) {
        weights[k] = filled(1000 * golden + k, rows * n);
        for (size_t i = 0; i < rows * n; i++)
            mean[i] += weights[k][i] / (float)models;
    }
    REQUIRE(organ_moments_fit_open(engine, "x", n, &rows, 1, &fit, &error) == ORGAN_OK);
    for (size_t k = 0; k < models; k++)
        add_model(fit, engine, golden, k, weights[k], mean);
    REQUIRE(organ_moments_fit_factor(fit, golden_moments[golden].ridge, &error) == ORGAN_OK);
    for (size_t first = 0; first < rows; first += ORGAN_MOMENTS_ROWS) {
        const size_t count = rows - first < ORGAN_MOMENTS_ROWS ? rows - first : ORGAN_MOMENTS_ROWS;
        memcpy(result + first * n, organ_moments_fit_solve(fit, 0, first, count), count * n * sizeof *result);
    }
    organ_moments_fit_errors(fit, 0, before, after);
    organ_moments_fit_close(fit);
    for (size_t k = 0; k < models; k++)
        free(weights[k]);
    free(mean);
    return result;
}

START_TEST(values_are_those_of_numpy)
{
    read_goldens();
    organ_engine *const engine = named_engine(NULL, 2);
    for (size_t g = 0; g < GOLDENS; g++) {
        const size_t n = golden_moments[g].features, rows = golden_moments[g].rows;
        double before, after;
        float *const change = fitted(engine, g, &before, &after);
        for (size_t k = 0; k < 6; k++) {
            const double is = (double)change[k * 5 % rows * n + k * 11 % n], wanted = golden_moments[g].change[k];
            REQUIRE_MSG(fabs(is - wanted) < 1e-5, "%zu, %zu: %g, not %g", g, k, is, wanted);
        }
        REQUIRE_MSG(fabs(before - golden_moments[g].before) <= 1e-5 * golden_moments[g].before, "%zu: %g", g, before);
        REQUIRE_MSG(fabs(after - golden_moments[g].after) <= 1e-5 * golden_moments[g].before, "%zu: %g", g, after);
        free(change);
    }
    organ_engine_destroy(engine);
}
END_TEST

START_TEST(every_table_and_any_threads_give_the_same_bits)
{
    read_goldens();
    static const char *const tables[] = {"scalar", NULL, NULL};
    float *first = NULL;
    double before[2], after[2];
    const size_t golden = 3, count = golden_moments[golden].features * golden_moments[golden].rows;
    for (size_t k = 0; k < 3; k++) {
        organ_engine *const engine = named_engine(tables[k], k + 1);
        float *const change = fitted(engine, golden, &before[k > 0], &after[k > 0]);
        REQUIRE_MSG(!first || memcmp(first, change, count * sizeof *change) == 0, "%zu", k);
        REQUIRE(!first || (before[0] == before[1] && after[0] == after[1]));
        if (first)
            free(change);
        else
            first = change;
        organ_engine_destroy(engine);
    }
    free(first);
}
END_TEST

START_TEST(moments_that_cannot_be_inverted)
{
    organ_engine *const engine = named_engine(NULL, 1);
    const size_t rows = 3, n = 200;
    organ_moments_fit *fit = NULL;
    organ_calibration *calibration = NULL;
    organ_error error = {0};
    float *const x = filled(1, n);
    const organ_moments_part part = {1, moments_of(engine, n, x, NULL, 1, &calibration), NULL};
    REQUIRE(organ_moments_fit_open(engine, "weight", n, &rows, 1, &fit, &error) == ORGAN_OK);
    REQUIRE(organ_moments_fit_begin(fit, &part, &error) == ORGAN_OK);
    ck_assert_int_eq(organ_moments_fit_factor(fit, 0, &error), ORGAN_BAD_INPUT);
    ck_assert_ptr_nonnull(
        strstr(error.message, "tensor 'weight': the second moments of its inputs cannot be inverted"));
    organ_moments_fit_close(fit);
    organ_calibration_destroy(calibration);
    free(x);
    organ_engine_destroy(engine);
}
END_TEST

Suite *moments_fit_suite(void)
{
    const suite_case cases[] = {
        {"computed", {values_are_those_of_numpy, every_table_and_any_threads_give_the_same_bits}},
        {"refused", {moments_that_cannot_be_inverted}}};
    return suite_of("moments_fit", cases, sizeof cases / sizeof *cases, NULL, NULL);
}
