/* SPDX-License-Identifier: MIT
 * Tests of physarum v2 and its baselines on one layer: against an independent FP64 implementation, bit identity for any
 * division, errors. */
#include "tests/verbs/prune/physarum_v2_rig.h"
#include "tests/kit/effort.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/require.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static layer given;
static organ_engine engine;
static json_t *golden;

static void set_up(void)
{
    json_error_t fault;
    given = make_layer();
    engine = make_engine(0, (uint64_t)1 << 30);
    golden = json_load_file("fixtures/physarum_v2/golden.json", 0, &fault);
    ck_assert_msg(golden != NULL, "%s", fault.text);
}

static void tear_down(void)
{
    free_layer(&given);
    free_engine(&engine);
    json_decref(golden);
}

/* Returns the largest relative difference from the golden numbers of that name. */
static double furthest(const json_t *numbers, const float *values, size_t n)
{
    double worst = 0;
    ck_assert_uint_eq(json_array_size(numbers), n);
    for (size_t k = 0; k < n; k++) {
        const double requested = json_number_value(json_array_get(numbers, k));
        worst = fmax(worst, fabs((double)values[k] - requested) / fmax(fabs(requested), 1e-6));
    }
    return worst;
}

static double golden_number(const json_t *object, const char *name)
{
    const json_t *const value = json_object_get(object, name);
    ck_assert(json_is_number(value));
    return json_number_value(value);
}

static void check_relative(double value, double requested, double share)
{
    ck_assert_msg(fabs(value - requested) <= share * fabs(requested), "%.9g is not within %g of %.9g", value, share,
                  requested);
}

START_TEST(saliency_is_the_golden_one)
{
    organ_calibration *c = calibrate(&engine, &given, true, LAYER_TOKENS);
    const organ_input_moments *const m = organ_calibration_moments(c);
    ck_assert_uint_eq(m->tokens, LAYER_TOKENS);
    ck_assert_double_lt(furthest(json_object_get(golden, "act_norm"), m->act_norm, LAYER_COLS), 1e-6);
    ck_assert_double_lt(furthest(json_object_get(golden, "contribution"), m->contribution, LAYER_COLS), 1e-5);
    /* The noise of a chunk is scaled by the tokens up to it, which is correct to second order. */
    ck_assert_double_lt(furthest(json_object_get(golden, "stability"), m->stability, LAYER_COLS), 1e-4);
    ck_assert(m->act_norm[LAYER_DEAD] == 0 && m->stability[LAYER_DEAD] == 1 && m->contribution[LAYER_DEAD] == 1);
    organ_calibration_destroy(c);
}
END_TEST

static double run_with_effort(const organ_calibration *c, double effort, unsigned products, double *share)
{
    const json_t *const requested = json_object_get(golden, "physarum");
    pruned p = prune_layer(&engine, &given, c,
                           (organ_prune_matrix_options){.sparsity = 50, .effort = effort, .measure = true});
    ck_assert_msg(p.error.status == ORGAN_OK, "%s", p.error.message);
    ck_assert_double_le(fabs(p.report.sparsity - 50), 0.1);
    ck_assert_uint_eq(p.report.stages, 7);
    ck_assert_uint_eq(p.report.products, products);
    ck_assert(p.report.output_error > 0.001 && p.report.output_error < 0.01 && !p.report.block_diagonal);
    for (size_t k = 0; k < LAYER_WEIGHTS; k++)
        REQUIRE(p.keep[k] || p.weights[k] == 0);
    *share = golden_agreement(requested, p.keep);
    const double value = objective(&given, p.weights);
    free_pruned(&p);
    return value;
}

/* The reference solves each stage exactly: with enough products the result is the same, and with fewer it stays
 * near. */
START_TEST(physarum_comes_to_the_golden_one)
{
    const double exact = golden_number(json_object_get(golden, "physarum"), "objective");
    organ_calibration *c = calibrate(&engine, &given, true, LAYER_TOKENS);
    double share[3];
    const double least = run_with_effort(c, 0.25, 5, &share[0]), usual = run_with_effort(c, 1, 7, &share[1]);
    if (sampled(1, 0)) {
        check_relative(run_with_effort(c, 8, 60, &share[2]), exact, 3e-3);
        ck_assert_double_ge(share[2], 98.5);
    }
    ck_assert_double_gt(least, usual);
    check_relative(usual, exact, 5e-3);
    ck_assert_double_ge(share[1], 97);
    organ_calibration_destroy(c);
}
END_TEST

/* Accumulating W (C - H) instead of C gives the same sum and the same solution. */
START_TEST(weights_take_the_place_of_moments)
{
    organ_calibration *with = calibrate_with_weights(&engine, &given, 300),
                      *without = calibrate(&engine, &given, true, LAYER_TOKENS);
    const organ_input_moments *const a = organ_calibration_moments(with), *const b = organ_calibration_moments(without);
    ck_assert(a->drift && !a->c && a->rows == LAYER_ROWS && !b->drift && b->c && b->rows == 0);
    double max = 0;
    for (size_t i = 0; i < LAYER_ROWS; i++)
        for (size_t j = 0; j < LAYER_COLS; j++)
            max = fmax(max, fabs(a->drift[i * LAYER_COLS + j]));
    for (size_t i = 0; i < LAYER_ROWS; i += 5)
        for (size_t j = 0; j < LAYER_COLS; j++) {
            double sum = 0;
            for (size_t k = 0; k < LAYER_COLS; k++) {
                const double h = k <= j ? b->h[k * LAYER_COLS + j] : b->h[j * LAYER_COLS + k];
                sum += (double)given.weights[i * LAYER_COLS + k] * (b->c[k * LAYER_COLS + j] - h);
            }
            REQUIRE_MSG(fabs(a->drift[i * LAYER_COLS + j] - sum) < 2e-4 * max, "%g is not below %g",
                        (double)(fabs(a->drift[i * LAYER_COLS + j] - sum)), (double)(2e-4 * max));
        }
    pruned p = prune_layer(&engine, &given, with, (organ_prune_matrix_options){.sparsity = 50});
    ck_assert_msg(p.error.status == ORGAN_OK, "%s", p.error.message);
    check_relative(objective(&given, p.weights), golden_number(json_object_get(golden, "physarum"), "objective"), 5e-3);
    free_pruned(&p);
    organ_error error = {0};
    organ_prune_matrix_report report;
    const organ_prune_matrix_options options = {.name = "m", .sparsity = 50, .effort = 1};
    uint8_t keep[3 * LAYER_COLS];
    ck_assert_int_eq(organ_prune_matrix(&engine, &options, with, given.weights, 3, LAYER_COLS, keep, &report, &error),
                     ORGAN_USAGE);
    ck_assert_str_eq(error.message, "m: 3 rows, calibrated with the weights of 96");
    organ_calibration_destroy(with);
    organ_calibration_destroy(without);
}
END_TEST

START_TEST(flow_alone_is_the_golden_one)
{
    organ_calibration *c = calibrate(&engine, &given, true, LAYER_TOKENS);
    pruned p = prune_layer(&engine, &given, c, (organ_prune_matrix_options){.sparsity = 50, .no_compensate = true});
    ck_assert_msg(p.error.status == ORGAN_OK, "%s", p.error.message);
    ck_assert_double_ge(golden_agreement(json_object_get(golden, "flow"), p.keep), 99.95);
    ck_assert_uint_eq(p.report.stages, 1);
    ck_assert_uint_eq(p.report.products, 0);
    ck_assert(isnan(p.report.output_error));
    for (size_t k = 0; k < LAYER_WEIGHTS; k++)
        REQUIRE(p.weights[k] == (p.keep[k] ? given.weights[k] : 0));
    free_pruned(&p);
    p = prune_layer(&engine, &given, c, (organ_prune_matrix_options){.no_compensate = true});
    ck_assert_double_le(fabs(p.report.natural_sparsity - golden_number(golden, "natural_percent")), 0.05);
    ck_assert_double_le(fabs(p.report.sparsity - p.report.natural_sparsity), 0.1);
    free_pruned(&p);
    organ_calibration_destroy(c);
}
END_TEST

START_TEST(sparsegpt_is_the_golden_one)
{
    const json_t *const requested = json_object_get(golden, "sparsegpt");
    organ_calibration *c = calibrate(&engine, &given, false, LAYER_TOKENS);
    pruned p =
        prune_layer(&engine, &given, c, (organ_prune_matrix_options){.method = ORGAN_PRUNE_SPARSEGPT, .sparsity = 50});
    ck_assert_msg(p.error.status == ORGAN_OK, "%s", p.error.message);
    ck_assert_double_ge(golden_agreement(requested, p.keep), 99.9);
    check_relative(objective(&given, p.weights), golden_number(requested, "objective"), 1e-3);
    ck_assert_double_le(fabs(p.report.sparsity - 50), 0.1);
    free_pruned(&p);
    organ_calibration_destroy(c);
}
END_TEST

Suite *physarum_v2_golden_suite(void)
{
    const suite_case cases[] = {
        {"golden",
         {saliency_is_the_golden_one, physarum_comes_to_the_golden_one, weights_take_the_place_of_moments,
          flow_alone_is_the_golden_one, sparsegpt_is_the_golden_one}}};
    return suite_of("physarum v2: golden", cases, sizeof cases / sizeof *cases, set_up, tear_down);
}

int main(void)
{
    Suite *const suites[] = {physarum_v2_golden_suite(), physarum_v2_matrix_suite(), physarum_v2_parts_suite(),
                             admm_suite(), NULL};
    return run_suites(suites);
}
