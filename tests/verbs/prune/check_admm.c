/* SPDX-License-Identifier: MIT
 * Tests of physarum v3 and ALPS on one layer: against an independent FP64 implementation, and the effects of effort and
 * streams. */
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
static organ_calibration *streams; /* of both streams */
static json_t *golden;

static void set_up(void)
{
    json_error_t fault;
    given = make_layer();
    engine = make_engine(0, (uint64_t)1 << 30);
    streams = calibrate_moments(&engine, &given, true);
    golden = json_load_file("fixtures/physarum_v3/golden.json", 0, &fault);
    ck_assert_msg(golden != NULL, "%s", fault.text);
}

static void tear_down(void)
{
    organ_calibration_destroy(streams);
    free_layer(&given);
    free_engine(&engine);
    json_decref(golden);
}

static pruned must_prune(const organ_calibration *calibration, organ_prune_matrix_options options)
{
    pruned p = prune_layer(&engine, &given, calibration, options);
    ck_assert_msg(p.error.status == ORGAN_OK, "%s", p.error.message);
    for (size_t k = 0; k < LAYER_WEIGHTS; k++)
        REQUIRE(p.keep[k] || p.weights[k] == 0);
    return p;
}

/* Compares with the golden mask. FP32 and FP64 differ where two weights are equally good: then few masks differ, and
 * the sum of squares hardly does. */
static void check_golden(const pruned *p, const char *method, double share_of_masks, double share_of_objective)
{
    const json_t *const requested = json_object_get(golden, method);
    const double exact = json_number_value(json_object_get(requested, "objective")),
                 value = objective(&given, p->weights);
    ck_assert_double_ge(golden_agreement(requested, p->keep), share_of_masks);
    ck_assert_msg(fabs(value - exact) <= share_of_objective * exact, "%.9g is not within %g of %.9g", value,
                  share_of_objective, exact);
}

START_TEST(physarum_v3_is_the_golden_one)
{
    pruned p = must_prune(streams, (organ_prune_matrix_options){.method = ORGAN_PRUNE_PHYSARUM_V3, .sparsity = 50});
    check_golden(&p, "physarum", 99.3, 1e-3);
    ck_assert_uint_eq(p.report.stages, 1);
    ck_assert_uint_eq(p.report.products, 4 * 6);
    ck_assert_double_eq(p.report.sparsity, 50);
    free_pruned(&p);
}
END_TEST

START_TEST(alps_is_the_golden_one)
{
    organ_calibration *c = calibrate_moments(&engine, &given, false);
    pruned p = must_prune(c, (organ_prune_matrix_options){.method = ORGAN_PRUNE_ALPS, .sparsity = 50});
    check_golden(&p, "alps", 99, 1e-3);
    /* The number of iterations depends on the last few weights. */
    const double iterations = json_number_value(json_object_get(json_object_get(golden, "alps"), "iterations"));
    ck_assert_double_le(fabs((double)p.report.products - 11 - iterations), 3);
    ck_assert_uint_eq((p.report.products - 11) % 3, 0);
    ck_assert_double_eq(p.report.sparsity, 50);
    free_pruned(&p);
    organ_calibration_destroy(c);
}
END_TEST

/* ALPS does not use the donor's inputs. */
START_TEST(alps_sees_one_stream)
{
    organ_calibration *one = calibrate_moments(&engine, &given, false);
    const organ_prune_matrix_options options = {.method = ORGAN_PRUNE_ALPS, .sparsity = 70};
    pruned a = must_prune(one, options), b = must_prune(streams, options);
    ck_assert_mem_eq(a.weights, b.weights, LAYER_WEIGHTS * sizeof *a.weights);
    free_pruned(&a);
    free_pruned(&b);
    organ_calibration_destroy(one);
}
END_TEST

START_TEST(effort_is_iterations)
{
    static const double efforts[] = {0.01, 0.5, 4};
    static const unsigned products[] = {4, 12, 96};
    double last = INFINITY;
    for (size_t k = 0; k < 3 - (size_t)sampled_unless_all(0, 1, 1); k++) {
        pruned p = must_prune(streams, (organ_prune_matrix_options){
                                           .method = ORGAN_PRUNE_PHYSARUM_V3, .sparsity = 70, .effort = efforts[k]});
        const double value = objective(&given, p.weights);
        ck_assert_uint_eq(p.report.products, products[k]);
        ck_assert_double_lt(value, last);
        last = value;
        free_pruned(&p);
    }
}
END_TEST

/* Without a sparsity, the flow decides how many weights go, and ADMM which ones. */
START_TEST(the_flow_decides_how_many)
{
    pruned p = must_prune(streams, (organ_prune_matrix_options){.method = ORGAN_PRUNE_PHYSARUM_V3}),
           flow = must_prune(streams, (organ_prune_matrix_options){.no_compensate = true});
    ck_assert_double_gt(p.report.natural_sparsity, 5);
    ck_assert_double_eq(p.report.natural_sparsity, flow.report.natural_sparsity);
    ck_assert_double_le(fabs(p.report.sparsity - p.report.natural_sparsity), 0.3);
    ck_assert(memcmp(p.keep, flow.keep, LAYER_WEIGHTS) != 0);
    free_pruned(&p);
    free_pruned(&flow);
}
END_TEST

/* Accumulating W (C - H) instead of C gives the same result. */
START_TEST(weights_take_the_place_of_moments_for_v3)
{
    organ_calibration *with = calibrate_with_weights(&engine, &given, 300);
    pruned p = must_prune(with, (organ_prune_matrix_options){.method = ORGAN_PRUNE_PHYSARUM_V3, .sparsity = 50});
    ck_assert(organ_calibration_moments(with)->drift);
    const double exact = json_number_value(json_object_get(json_object_get(golden, "physarum"), "objective"));
    ck_assert_double_le(fabs(objective(&given, p.weights) - exact), 5e-3 * exact);
    free_pruned(&p);
    organ_calibration_destroy(with);
}
END_TEST

/* If so few weights go, the mask of ALPS does not change at first; rho is lowered until it does. */
START_TEST(alps_begins_lower_where_nothing_moves)
{
    organ_calibration *c = calibrate_moments(&engine, &given, false);
    pruned p = must_prune(c, (organ_prune_matrix_options){.method = ORGAN_PRUNE_ALPS, .sparsity = 0.5});
    ck_assert_double_le(fabs(p.report.sparsity - 0.5), 0.01);
    ck_assert_uint_ge(p.report.products, 3 + 11);
    free_pruned(&p);
    organ_calibration_destroy(c);
}
END_TEST

/* Factors of another matrix with the same inputs are reused and give the same bits as new ones. */
START_TEST(factors_are_shared)
{
    organ_prune_matrix_options options = {.method = ORGAN_PRUNE_PHYSARUM_V3, .sparsity = 50},
                               other = {.method = ORGAN_PRUNE_ALPS};
    organ_prune_shared shared = {0};
    organ_calibration *one = calibrate_moments(&engine, &given, false);
    const organ_input_moments *const m = organ_calibration_moments(streams);
    const uint64_t bytes = organ_admm_factors_memory(m->features, m->block);
    ck_assert_uint_eq(bytes, 4 * m->features * m->features * sizeof(float));
    pruned alone = must_prune(streams, options);
    organ_prune_share(&shared, &options, streams, false, bytes);
    ck_assert_ptr_null(options.factors);
    organ_prune_share(&shared, &options, streams, true, bytes - 1);
    ck_assert_ptr_null(options.factors);
    organ_prune_share(&shared, &other, streams, true, bytes);
    ck_assert_ptr_null(other.factors);
    for (size_t k = 0; k < 2; k++) {
        organ_prune_share(&shared, &options, streams, k == 0, bytes);
        ck_assert_ptr_nonnull(options.factors);
        pruned p = must_prune(streams, options);
        ck_assert_uint_eq(shared.factors.count, 4);
        ck_assert_mem_eq(p.weights, alone.weights, LAYER_WEIGHTS * sizeof *p.weights);
        ck_assert_mem_eq(p.keep, alone.keep, LAYER_WEIGHTS);
        free_pruned(&p);
    }
    memset(shared.factors.values[1], 0, m->features * m->features * sizeof(float));
    pruned spoilt = must_prune(streams, options);
    ck_assert(memcmp(spoilt.weights, alone.weights, LAYER_WEIGHTS * sizeof *spoilt.weights) != 0);
    organ_prune_share(&shared, &options, one, false, bytes);
    ck_assert_ptr_null(options.factors);
    ck_assert_uint_eq(shared.factors.count, 0);
    organ_prune_share_end(&shared);
    free_pruned(&alone);
    free_pruned(&spoilt);
    organ_calibration_destroy(one);
}
END_TEST

/* The same for the factor of SparseGPT. */
START_TEST(the_inverse_is_shared)
{
    organ_prune_matrix_options options = {.method = ORGAN_PRUNE_SPARSEGPT, .sparsity = 50};
    organ_prune_shared shared = {0};
    organ_calibration *one = calibrate_moments(&engine, &given, false);
    const organ_input_moments *const m = organ_calibration_moments(streams);
    const uint64_t bytes = m->features * m->features * sizeof(float);
    pruned alone = must_prune(streams, options);
    organ_prune_share(&shared, &options, streams, false, bytes);
    ck_assert_ptr_null(options.inverse);
    organ_prune_share(&shared, &options, streams, true, bytes - 1);
    ck_assert_ptr_null(options.inverse);
    for (size_t k = 0; k < 2; k++) {
        organ_prune_share(&shared, &options, streams, k == 0, bytes);
        ck_assert_ptr_eq(options.inverse, &shared.inverse.values);
        ck_assert_ptr_null(options.factors);
        pruned p = must_prune(streams, options);
        ck_assert_ptr_nonnull(shared.inverse.values);
        ck_assert_mem_eq(p.weights, alone.weights, LAYER_WEIGHTS * sizeof *p.weights);
        ck_assert_mem_eq(p.keep, alone.keep, LAYER_WEIGHTS);
        free_pruned(&p);
    }
    shared.inverse.values[1] += 1;
    pruned spoilt = must_prune(streams, options);
    ck_assert(memcmp(spoilt.weights, alone.weights, LAYER_WEIGHTS * sizeof *spoilt.weights) != 0);
    organ_prune_share(&shared, &options, one, false, bytes);
    ck_assert_ptr_null(options.inverse);
    ck_assert_ptr_null(shared.inverse.values);
    organ_prune_share_end(&shared);
    free_pruned(&alone);
    free_pruned(&spoilt);
    organ_calibration_destroy(one);
}
END_TEST

Suite *admm_suite(void)
{
    suite_case cases[] = {
        {"golden", {physarum_v3_is_the_golden_one, alps_is_the_golden_one}},
        {"runs",
         {effort_is_iterations, the_flow_decides_how_many, weights_take_the_place_of_moments_for_v3, factors_are_shared,
          the_inverse_is_shared, alps_sees_one_stream, alps_begins_lower_where_nothing_moves}}};
    cases[1].tests[sampled_unless_all(7, 5, 5)] = NULL; /* the last ones need the most iterations of ALPS */
    return suite_of("physarum v3 and ALPS", cases, sizeof cases / sizeof *cases, set_up, tear_down);
}
