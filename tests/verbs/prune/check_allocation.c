/* SPDX-License-Identifier: MIT
 * Tests of a budget for a whole model: predicted and real divergences agree. Uses magnitude pruning, which prunes a
 * matrix alone as it does within the model. */
#include "orchestrator/surgery/calibration/calibration.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/verbs/prune/method_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 40, CONTEXT = 40, TOKENS = 200 };

static const char *const kinds[] = {"qwen3", "qwen3moe", "qwen3moe-stacked"};
enum { KINDS = 3 };

/* ---- divergences from passes through the whole model ---- */

typedef struct passed {
    float *logits;
    size_t words, rows;
} passed;

static void keep(void *context, size_t k, float *logits)
{
    const passed *const p = context;
    memcpy(p->logits + k * p->words, logits, p->words * sizeof *logits);
}

static passed pass_of(const char *model, const organ_windows *windows)
{
    session s;
    organ_error error = {0};
    ck_assert_msg(session_open(&s, scratch_path("%s", model), 2, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    passed p = {.words = (size_t)organ_forward_describe(s.forward)->vocabulary, .rows = windows->begin[windows->count]};
    size_t *const rows = malloc(p.rows * sizeof *rows);
    p.logits = malloc(p.rows * p.words * sizeof *p.logits);
    for (size_t k = 0; k < p.rows; k++)
        rows[k] = k;
    ck_assert_int_eq(organ_forward_run(s.forward, windows, rows, p.rows, &p, keep, NULL, &error), ORGAN_OK);
    free(rows);
    session_close(&s);
    return p;
}

static uint64_t no_memory(void *context, const organ_calibration_run *calib, const organ_tensor *tensor)
{
    (void)context;
    (void)calib;
    (void)tensor;
    return 0;
}

static organ_calibration_run_options along_options(unsigned samples)
{
    return (organ_calibration_run_options){.calibration.text = scratch_path("text"),
                                           .calibration.samples = samples,
                                           .calibration.context = CONTEXT,
                                           .method = "test",
                                           .verb = "test",
                                           .doing = "testing",
                                           .streams = ORGAN_INPUTS_DONOR};
}

/* Returns KL(donor || output) on tokens outside of the calibration windows. */
static double divergence_of(const char *output, unsigned samples)
{
    session s;
    organ_error error = {0};
    organ_targets targets;
    organ_calibration_run *calib = NULL;
    organ_calibration_test_windows rest;
    ck_assert_msg(session_open(&s, scratch_path("donor"), 2, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    organ_calibration_run_options options = along_options(samples);
    const organ_calibration_work work = {.memory = no_memory};
    ck_assert_int_eq(organ_targets_select(s.model, NULL, &targets, &error), ORGAN_OK);
    ck_assert_msg(organ_calibration_run_open(&options, s.model, &targets, &work, &s.engine, NULL, &calib, &error) ==
                      ORGAN_OK,
                  "%s", error.message);
    ck_assert_msg(organ_calibration_cut_test_windows(calib, TOKENS, "test", &rest, &error) == ORGAN_OK, "%s",
                  error.message);
    passed donor = pass_of("donor", &rest.windows), other = pass_of(output, &rest.windows);
    const double found = mean_divergence(donor.logits, other.logits, donor.rows, donor.words);
    free(donor.logits);
    free(other.logits);
    organ_calibration_test_windows_release(&rest);
    organ_calibration_run_close(calib);
    organ_targets_release(&targets);
    session_close(&s);
    return found;
}

/* ---- runs ---- */

static void prune_by_magnitude(const char *output, const char *targets, organ_allocate_options allocate)
{
    organ_error error = {0};
    const method_way way = {.donor = scratch_path("donor"),
                            .targets = targets,
                            .sparsity = 50,
                            .force = true,
                            .threads = 2,
                            .options = {.method = "magnitude",
                                        .calibration.text = allocate.allocate ? scratch_path("text") : NULL,
                                        .calibration.samples = allocate.allocate ? SAMPLES : 128,
                                        .calibration.context = allocate.allocate ? CONTEXT : 512,
                                        .effort = 1,
                                        .allocate = allocate}};
    ck_assert_msg(method_prune(output, &way, &error) == ORGAN_OK, "%s", error.message);
}

/* Prunes by physarum v3 with the calibration text. */
static void prune_by_v3(const char *output, const char *targets, unsigned samples, double effort,
                        organ_allocate_options allocate)
{
    organ_error error = {0};
    const method_way way = {.donor = scratch_path("donor"),
                            .targets = targets,
                            .sparsity = 50,
                            .force = true,
                            .threads = 2,
                            .options = {.method = "physarum-v3",
                                        .calibration.text = scratch_path("text"),
                                        .calibration.samples = samples,
                                        .calibration.context = CONTEXT,
                                        .effort = effort,
                                        .allocate = allocate}};
    ck_assert_msg(method_prune(output, &way, &error) == ORGAN_OK, "%s", error.message);
}

static void near(double found, double requested, const char *what)
{
    ck_assert_msg(requested > 0 && fabs(found - requested) < 1e-9 + 1e-6 * requested, "%s: %.9g, not %.9g", what, found,
                  requested);
}

static double number_at(const json_t *json, const char *key) { return json_number_value(json_object_get(json, key)); }

/* Prunes an expert, and a matrix of the attention, alone at 50 %, on the tokens of half of the windows. */
START_TEST(a_curve_is_what_the_tensor_costs_alone)
{
    method_make_donor(kinds[_i]);
    prune_by_magnitude(
        "out", NULL, (organ_allocate_options){.allocate = "global", .tokens = TOKENS, .file = scratch_path("curves")});
    json_t *const curves = json_load_file(scratch_path("curves"), 0, NULL), *tensor;
    size_t k, tried = 0;
    ck_assert_ptr_nonnull(curves);
    json_array_foreach(json_object_get(curves, "tensors"), k, tensor)
    {
        const char *const name = json_string_value(json_object_get(tensor, "name"));
        if (!strstr(name, ".1.mlp") && !strstr(name, ".0.self_attn.v"))
            continue;
        prune_by_magnitude("alone", name, (organ_allocate_options){0});
        near(json_number_value(json_array_get(json_object_get(tensor, "cost"), 0)), divergence_of("alone", SAMPLES / 2),
             name);
        tried++;
    }
    ck_assert_uint_ge(tried, 3);
    json_decref(curves);
}
END_TEST

/* In the first layer a tensor pruned alone has the donor's inputs as well: half of the windows and of the
 * iterations. */
START_TEST(a_curve_of_v3_takes_half_of_the_iterations)
{
    static const char name[] = "model.layers.0.self_attn.q_proj.weight";
    method_make_donor(kinds[0]);
    prune_by_v3("out", NULL, SAMPLES, 2,
                (organ_allocate_options){.allocate = "global", .tokens = TOKENS, .file = scratch_path("curves")});
    json_t *const curves = json_load_file(scratch_path("curves"), 0, NULL), *tensor;
    double cost = 0;
    size_t k;
    ck_assert_ptr_nonnull(curves);
    json_array_foreach(json_object_get(curves, "tensors"), k, tensor)
    {
        if (strcmp(json_string_value(json_object_get(tensor, "name")), name) == 0)
            cost = json_number_value(json_array_get(json_object_get(tensor, "cost"), 0));
    }
    prune_by_v3("half", name, SAMPLES / 2, 1, (organ_allocate_options){0});
    prune_by_v3("all", name, SAMPLES / 2, 2, (organ_allocate_options){0});
    const double half = divergence_of("half", SAMPLES / 2), all = divergence_of("all", SAMPLES / 2);
    ck_assert_msg(fabs(half - cost) < 1e-3 * cost, "%.9g, not %.9g", cost, half);
    ck_assert_msg(fabs(all - cost) > 1e-3 * cost, "%.9g, as with all iterations", cost);
    json_decref(curves);
}
END_TEST

START_TEST(exchanges_judge_what_the_model_becomes)
{
    double met = 0, all = 0;
    size_t k;
    json_t *tensor;
    method_make_donor(kinds[_i]);
    prune_by_magnitude(
        "divided", NULL,
        (organ_allocate_options){.allocate = "global", .tokens = TOKENS, .file = scratch_path("curves")});
    prune_by_magnitude(
        "out", NULL,
        (organ_allocate_options){.allocate = "global", .tokens = TOKENS, .file = scratch_path("curves"), .rounds = 3});
    const json_t *const allocation = json_object_get(last_report, "allocation"), *const told = json_object_get(
                                                                                     allocation, "exchanges");
    near(number_at(told, "before"), divergence_of("divided", SAMPLES), "before");
    near(number_at(told, "after"), divergence_of("out", SAMPLES), "after");
    ck_assert_double_le(number_at(told, "after"), number_at(told, "before"));
    ck_assert_double_gt(number_at(told, "tried"), 2);
    json_array_foreach(json_object_get(allocation, "tensors"), k, tensor)
    {
        met += number_at(tensor, "sparsity") * number_at(tensor, "elements");
        all += number_at(tensor, "elements");
        ck_assert(number_at(tensor, "sparsity") >= 20 - 1e-9 && number_at(tensor, "sparsity") <= 95 + 1e-9);
    }
    ck_assert_double_eq_tol(met / all, 50, 1e-9);
}
END_TEST

/* ---- matrices with the same inputs ---- */

typedef struct company {
    const organ_calibration *of;
    size_t left, alone, together;
} company;

static organ_status meet(void *context, const organ_calibration_matrix *m, float *weights, organ_error *error)
{
    company *const c = context;
    (void)weights;
    if (c->left) {
        ck_assert_ptr_eq(m->calibration, c->of);
        ck_assert_uint_eq(m->users_left, c->left - 1);
    }
    c->alone += !c->left && !m->users_left;
    c->together += c->left || m->users_left;
    ck_assert_uint_ge(m->spare, ROOMY / 4);
    c->of = m->calibration;
    c->left = m->users_left;
    return error->status;
}

/* The matrices q, k and v, and gate and up of a layer follow each other, and each says how many are still to come; o
 * and down are alone. */
START_TEST(company_follows_one_another)
{
    session s;
    organ_error error = {0};
    organ_targets targets;
    organ_calibration_run *calib = NULL;
    company met = {0};
    method_make_donor(kinds[0]);
    organ_calibration_run_options options = along_options(SAMPLES);
    const organ_calibration_work work = {.context = &met, .memory = no_memory, .change = meet, .grouped = true};
    ck_assert_msg(session_open(&s, scratch_path("donor"), 2, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_int_eq(organ_targets_select(s.model, NULL, &targets, &error), ORGAN_OK);
    ck_assert_msg(organ_calibration_run_open(&options, s.model, &targets, &work, &s.engine, NULL, &calib, &error) ==
                      ORGAN_OK,
                  "%s", error.message);
    ck_assert_msg(organ_calibration_run_layers(calib, &error) == ORGAN_OK, "%s", error.message);
    const size_t layers = organ_forward_describe(organ_calibration_run_facts_of(calib)->forward)->layers;
    ck_assert_uint_eq(met.together, 5 * layers);
    ck_assert_uint_eq(met.alone, 2 * layers);
    organ_calibration_run_close(calib);
    organ_targets_release(&targets);
    session_close(&s);
}
END_TEST

Suite *prune_allocation_suite(void)
{
    Suite *const suite = suite_create("prune_allocation");
    TCase *const judged = tcase_create("judged");
    tcase_set_timeout(judged, 60);
    tcase_add_checked_fixture(judged, method_setup, method_teardown);
    tcase_add_loop_test(judged, a_curve_is_what_the_tensor_costs_alone, 0, KINDS);
    tcase_add_test(judged, a_curve_of_v3_takes_half_of_the_iterations);
    tcase_add_loop_test(judged, exchanges_judge_what_the_model_becomes, 0, KINDS);
    tcase_add_test(judged, company_follows_one_another);
    suite_add_tcase(suite, judged);
    return suite;
}
