/* SPDX-License-Identifier: MIT
 * Tests of healing where the file format matters: permuted rows and GGUF blocks; and the factor of the final norm,
 * against its formula over whole passes. */
#include "orchestrator/surgery/calibration/calibration.h"
#include <organ/cut.h>
#include <organ/quantize.h>
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/prune/method_rig.h"
#include "tests/verbs/shrink/layers_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 20, CONTEXT = 48, DROPPED = 1, LAYERS = 3, WORDS = 96, HIDDEN = 32, ROWS = 16 };

/* Cuts layer 1 and refits the others. Returns the report, which the caller frees with json_decref. */
static json_t *heal(const char *donor, const char *output)
{
    session s;
    organ_error error = {0};
    json_t *report = NULL;
    const organ_layers_options o = {.model = donor,
                                    .write.output = scratch_path("%s", output),
                                    .drop = "1-1",
                                    .calibration.text = scratch_path("text"),
                                    .search_tokens = 64,
                                    .heal = true,
                                    .calibration.samples = SAMPLES,
                                    .calibration.context = CONTEXT,
                                    .write.max_shard_size = UINT64_MAX};
    ck_assert_int_eq(session_open(&s, donor, 2, ROOMY, &error), ORGAN_OK);
    ck_assert_msg(organ_layers(&o, &s.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    session_close(&s);
    return report;
}

static const json_t *parts_of(const json_t *report)
{
    return json_object_get(json_object_get(report, "heal"), "parts");
}

static size_t count_taken(const json_t *report)
{
    size_t k, count = 0;
    const json_t *part;
    json_array_foreach(parts_of(report), k, part) count += json_number_value(json_object_get(part, "step")) > 0;
    return count;
}

static double real_of(const json_t *object, const char *member)
{
    ck_assert(json_is_number(json_object_get(object, member)));
    return json_number_value(json_object_get(object, member));
}

static double kl_of(const json_t *report, size_t part) { return real_of(json_array_get(parts_of(report), part), "kl"); }

/* Returns ROWS x WORDS logits. */
static float *some_logits(const char *model)
{
    session s;
    organ_error error = {0};
    uint32_t tokens[ROWS];
    size_t rows[ROWS];
    const size_t begin[2] = {0, ROWS};
    for (size_t k = 0; k < ROWS; k++) {
        tokens[k] = (uint32_t)(k * k * 5 + 3) % 90;
        rows[k] = k;
    }
    ck_assert_msg(session_open(&s, scratch_path("%s", model), 1, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    float *const logits = session_logits(&s, &(organ_windows){tokens, 1, begin}, rows, ROWS, &error);
    ck_assert_msg(logits != NULL, "%s", error.message);
    session_close(&s);
    return logits;
}

/* A model with llama.cpp's order of rows in Q and K gets the values of the Hugging Face model; with blocks of 8 bits,
 * nearly. */
START_TEST(rows_stay_in_the_order_of_the_file)
{
    session s;
    organ_error error = {0};
    json_t *reports[3], *quantized = NULL;
    method_make_donor("llama");
    rename(scratch_path("donor"), scratch_path("plain"));
    method_make_donor("llama.gguf");
    const organ_quantize_options o = {.model = scratch_path("donor/model.gguf"),
                                      .write.output = scratch_path("blocks.gguf"),
                                      .scheme = "q8_0",
                                      .write.max_shard_size = UINT64_MAX};
    ck_assert_int_eq(session_open(&s, o.model, 1, ROOMY, &error), ORGAN_OK);
    ck_assert_msg(organ_quantize(&o, &s.engine, NULL, &quantized, &error) == ORGAN_OK, "%s", error.message);
    session_close(&s);
    json_decref(quantized);
    copy_file(scratch_path("donor/tokenizer.json"), scratch_path("tokenizer.json"));
    reports[0] = heal(scratch_path("plain"), "healed");
    reports[1] = heal(scratch_path("donor/model.gguf"), "healed.gguf");
    reports[2] = heal(scratch_path("blocks.gguf"), "healed8.gguf");
    ck_assert_uint_ge(count_taken(reports[0]), 6);
    ck_assert_uint_ge(count_taken(reports[2]), 6);
    ck_assert_uint_eq(json_array_size(parts_of(reports[0])), json_array_size(parts_of(reports[1])));
    for (size_t k = 0; k < json_array_size(parts_of(reports[0])); k++)
        ck_assert_double_lt(fabs(kl_of(reports[0], k) - kl_of(reports[1], k)), 1e-3 * kl_of(reports[0], k));
    float *const logits[] = {some_logits("healed"), some_logits("healed.gguf"), some_logits("healed8.gguf")};
    const double alike = mean_divergence(logits[0], logits[1], ROWS, WORDS),
                 nearly = mean_divergence(logits[0], logits[2], ROWS, WORDS);
    ck_assert_msg(alike < 1e-5, "the model of llama.cpp is %g from that of Hugging Face", alike);
    ck_assert_msg(nearly < 3e-3, "blocks are %g from floats", nearly);
    for (size_t k = 0; k < 3; k++) {
        json_decref(reports[k]);
        free(logits[k]);
    }
}
END_TEST

/* ---- evaluation of solutions ---- */

enum { JUDGED = SAMPLES / 4 * CONTEXT };

/* Returns JUDGED x WORDS logits of the windows 3, 7, ..., which no solution is fitted to. */
static float *judged_logits(const char *model)
{
    session s;
    organ_error error = {0};
    organ_calibration_run *calib = NULL;
    static uint32_t tokens[JUDGED];
    static size_t begin[SAMPLES / 4 + 1], rows[JUDGED];
    organ_calibration_run_options walk = {.calibration.text = scratch_path("text"),
                                          .calibration.samples = SAMPLES,
                                          .calibration.context = CONTEXT,
                                          .method = "`heal`",
                                          .verb = "heal",
                                          .doing = "healing"};
    ck_assert_int_eq(session_open(&s, scratch_path("donor/model.gguf"), 1, ROOMY, &error), ORGAN_OK);
    ck_assert_msg(organ_calibration_run_open(&walk, s.model, NULL, NULL, &s.engine, NULL, &calib, &error) == ORGAN_OK,
                  "%s", error.message);
    const organ_windows all = organ_calibration_run_facts_of(calib)->windows;
    for (size_t w = 0; w < SAMPLES / 4; w++) {
        memcpy(tokens + w * CONTEXT, all.tokens + all.begin[4 * w + 3], CONTEXT * sizeof *tokens);
        begin[w + 1] = (w + 1) * CONTEXT;
    }
    organ_calibration_run_close(calib);
    session_close(&s);
    for (size_t k = 0; k < JUDGED; k++)
        rows[k] = k;
    ck_assert_msg(session_open(&s, model, 1, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    float *const logits = session_logits(&s, &(organ_windows){tokens, SAMPLES / 4, begin}, rows, JUDGED, &error);
    ck_assert_msg(logits != NULL, "%s", error.message);
    session_close(&s);
    return logits;
}

/* The figures of the whole model in the report equal those computed here from the evaluation windows, and no accepted
 * part made them worse. */
START_TEST(solutions_are_judged_by_the_whole_model)
{
    method_make_donor("llama.gguf");
    json_t *const report = heal(scratch_path("donor/model.gguf"), "healed.gguf");
    const json_t *const heal_of = json_object_get(report, "heal");
    double before = real_of(heal_of, "kl_before");
    for (size_t k = 0; k < json_array_size(parts_of(report)); k++) {
        const bool taken = real_of(json_array_get(parts_of(report), k), "step") > 0;
        ck_assert_msg(taken ? kl_of(report, k) < before : kl_of(report, k) == before, "part %zu: %.9g after %.9g", k,
                      kl_of(report, k), before);
        before = kl_of(report, k);
    }
    ck_assert(before == real_of(heal_of, "kl") && before < real_of(heal_of, "kl_before"));
    ck_assert_uint_eq(json_integer_value(json_object_get(heal_of, "judged_tokens")), JUDGED);
    copy_file(scratch_path("donor/tokenizer.json"), scratch_path("tokenizer.json"));
    float *const donor = judged_logits(scratch_path("donor/model.gguf")), *const made = judged_logits(
                                                                              scratch_path("healed.gguf"));
    const double kl = mean_divergence(donor, made, JUDGED, WORDS);
    ck_assert_msg(fabs(kl - before) < 1e-4 * before, "the report says %.9g, it is %.9g", before, kl);
    free(donor);
    free(made);
    json_decref(report);
}
END_TEST

/* ---- the final norm ---- */

/* Returns the hidden states of windows 1, 17, ... after the last block, normalised by `norm` instead of the model's
 * final norm. */
static float *seen_by_head(const char *model, const float *norm)
{
    session s;
    organ_error error = {0};
    organ_calibration_run *calib = NULL;
    organ_calibration_run_options walk = {.calibration.text = scratch_path("text"),
                                          .calibration.samples = SAMPLES,
                                          .calibration.context = CONTEXT,
                                          .method = "`heal`",
                                          .verb = "heal",
                                          .doing = "healing"};
    ck_assert_int_eq(session_open(&s, model, 1, ROOMY, &error), ORGAN_OK);
    ck_assert_msg(organ_calibration_run_open(&walk, s.model, NULL, NULL, &s.engine, NULL, &calib, &error) == ORGAN_OK,
                  "%s", error.message);
    const organ_calibration_run_facts *const facts = organ_calibration_run_facts_of(calib);
    const size_t tokens = SAMPLES * CONTEXT;
    float *const states = malloc(tokens * HIDDEN * sizeof *states);
    ck_assert_int_eq(organ_forward_embed(facts->forward, &facts->windows, states, &error), ORGAN_OK);
    for (size_t l = 0; l < organ_forward_describe(facts->forward)->layers; l++) {
        organ_layer *layer = NULL;
        ck_assert_int_eq(organ_layer_load(facts->forward, (int32_t)l, &layer, &error), ORGAN_OK);
        ck_assert_int_eq(organ_layer_run(facts->forward, layer, &facts->windows, states, NULL, &error), ORGAN_OK);
        organ_layer_free(layer);
    }
    float *const seen = malloc((size_t)2 * CONTEXT * HIDDEN * sizeof *seen);
    for (size_t t = 0; t < (size_t)2 * CONTEXT; t++) {
        const float *const state = states + (t < CONTEXT ? CONTEXT + t : 16 * CONTEXT + t) * HIDDEN;
        double squares = 0;
        for (size_t k = 0; k < HIDDEN; k++)
            squares += (double)state[k] * state[k];
        for (size_t k = 0; k < HIDDEN; k++)
            seen[t * HIDDEN + k] =
                (float)(state[k] * norm[k] / sqrt(squares / HIDDEN + organ_forward_describe(facts->forward)->rms_eps));
    }
    free(states);
    organ_calibration_run_close(calib);
    session_close(&s);
    return seen;
}

static void norm_of(const char *model, float *values)
{
    session s;
    organ_error error = {0};
    ck_assert_int_eq(session_open(&s, model, 1, ROOMY, &error), ORGAN_OK);
    const organ_final_norm norm = organ_forward_final_norm(s.forward);
    ck_assert_uint_eq(norm.tensor->elements, HIDDEN);
    for (size_t k = 0; k < HIDDEN; k++)
        values[k] = norm.weights[k] + norm.plus;
    session_close(&s);
}

START_TEST(the_final_norm_is_taken_times_one_number)
{
    float before[HIDDEN], after[HIDDEN];
    double xy = 0, yy = 0;
    method_make_donor("llama.gguf"); /* the norms of this file are FP32 */
    const char *const donor = scratch_path("donor/model.gguf"), *const made = scratch_path("healed.gguf");
    json_t *const report = heal(donor, "healed.gguf");
    const json_t *const last = json_array_get(parts_of(report), json_array_size(parts_of(report)) - 1);
    const double times = json_number_value(json_object_get(last, "times"));
    const double step = json_number_value(json_object_get(last, "step"));
    ck_assert_str_eq(json_string_value(json_object_get(last, "part")), "final norm");
    ck_assert(json_is_null(json_object_get(last, "layer")));
    norm_of(donor, before);
    norm_of(made, after);
    for (size_t k = 0; k < HIDDEN; k++)
        REQUIRE(fabs(after[k] - times * before[k]) <= 1e-6 * fabs(before[k]));
    copy_file(scratch_path("donor/tokenizer.json"), scratch_path("tokenizer.json"));
    float *const x = seen_by_head(donor, before), *const y = seen_by_head(made, before);
    for (size_t k = 0; k < (size_t)2 * CONTEXT * HIDDEN; k++) {
        xy += (double)x[k] * y[k];
        yy += (double)y[k] * y[k];
    }
    const double requested = 1 + step * (xy / yy - 1);
    ck_assert_msg(fabs(times - requested) < 1e-5, "%.9g, not %.9g: %g of the way to %.9g", times, requested, step,
                  xy / yy);
    free(x);
    free(y);
    json_decref(report);
}
END_TEST

Suite *layers_heal_suite(void)
{
    const suite_case cases[] = {{"healed",
                                 {rows_stay_in_the_order_of_the_file, solutions_are_judged_by_the_whole_model,
                                  the_final_norm_is_taken_times_one_number}}};
    return suite_of("layers heal", cases, sizeof cases / sizeof *cases, method_setup, method_teardown);
}
