/* SPDX-License-Identifier: MIT
 * Tests of the reports of measure, and of its errors. */
#include "orchestrator/verbs/measure/z_measure.h"
#include <organ/measure.h>
#include "tests/kit/measure_rig.h"

#include <organ/report.h>
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void setup(void)
{
    fault_clear();
    scratch_make();
    make_model(scratch_path("donor"), 3, 64);
}

static void teardown(void)
{
    fault_clear();
    scratch_remove();
}

/* ---- documents ---- */

/* Makes theta values for layers 0, 1, 2 ... of one module. */
static json_t *wells_of(const char *module, const double *theta, size_t layers)
{
    organ_tensor *tensors = calloc(layers, sizeof *tensors);
    organ_z *z = calloc(layers, sizeof *z);
    char(*names)[80] = calloc(layers, sizeof *names);
    for (size_t k = 0; k < layers; k++) {
        snprintf(names[k], sizeof names[k], "model.layers.%zu.%s.weight", k, module);
        tensors[k] = (organ_tensor){
            .name = names[k], .elements = 100 * (k + 1), .dtype = ORGAN_F32, .anatomy = organ_anatomy_of(names[k])};
        z[k] = (organ_z){.done = true, .theta = theta[k], .reason = theta[k] < 0 ? "it has no elements" : NULL};
    }
    organ_weight *weights = calloc(layers, sizeof *weights);
    const organ_weight **of = calloc(layers, sizeof *of);
    for (size_t k = 0; k < layers; k++) {
        weights[k] = organ_weight_plain(&tensors[k]);
        of[k] = &weights[k];
    }
    const organ_model model = {.tensors = tensors, .tensor_count = layers};
    const organ_z_subjects subjects = {.weight_of = of};
    json_t *dips = organ_measure_wells(&(organ_measured){&model, &subjects, z});
    free(tensors), free(z), free(names), free(weights), free(of);
    ck_assert_ptr_nonnull(dips);
    return dips;
}

START_TEST(wells_are_lower_than_both_neighbours)
{
    json_t *dips = wells_of("mlp.down_proj", (double[]){40, 10, 40, 39, 41, 40}, 6);
    ck_assert_uint_eq(json_array_size(dips), 1); /* layer 3 is lower too, but by less than the deviation of the role */
    ck_assert_uint_eq(organ_json_count(json_array_get(dips, 0), "layer"), 1);
    ck_assert_double_eq_tol(organ_json_real(json_array_get(dips, 0), "before"), 40, 1e-9);
    ck_assert_double_eq_tol(organ_json_real(json_array_get(dips, 0), "std"), 11.195237, 1e-6);
    json_decref(dips);
    dips = wells_of("mlp.down_proj", (double[]){10, 40, -1, 10, -1, 40, 10}, 7); /* end layers; no theta */
    ck_assert_uint_eq(json_array_size(dips), 0);
    json_decref(dips);
}
END_TEST

static json_t *report_of(organ_measure_options options)
{
    json_t *report = NULL;
    organ_error error;
    ck_assert_msg(measure_models(&options, (way){0}, &report, &error) == ORGAN_OK, "%s", error.message);
    return report;
}

/* The folded rows equal those of the tensors, and no NaN is printed. */
START_TEST(folds_are_those_of_the_tensors)
{
    json_t *report =
        report_of((organ_measure_options){.models = (const char *const[]){"fixtures/tiny-qwen2"}, .model_count = 1});
    const json_t *model = json_array_get(organ_json_at(report, "models"), 0),
                 *tensors = organ_json_at(model, "per_tensor");
    double sum = 0, weighted = 0, elements = 0, stars = 0;
    for (size_t k = 0; k < json_array_size(tensors); k++) {
        const json_t *row = json_array_get(tensors, k);
        sum += organ_json_real(row, "theta");
        weighted += organ_json_real(row, "theta") * (double)organ_json_count(row, "elements");
        elements += (double)organ_json_count(row, "elements");
        stars += strlen(organ_json_text(row, "rating"));
        ck_assert(json_is_real(json_object_get(row, "dI_dlog2s")) && organ_json_count(row, "levels") > 16);
    }
    ck_assert_uint_eq(organ_json_count(model, "tensors"), 50);
    ck_assert_double_eq_tol(organ_json_real(model, "theta_mean"), sum / 50, 1e-5);
    ck_assert_double_eq_tol(organ_json_real(model, "theta_weighted"), weighted / elements, 1e-5);
    ck_assert_double_eq_tol((double)organ_json_count(model, "ratings.*"), stars, 0.5);
    ck_assert_uint_eq(json_array_size(organ_json_at(model, "layers")), 4);
    ck_assert_uint_eq(json_array_size(organ_json_at(model, "groups")), 4);
    char *printed = json_dumps(report, 0);
    ck_assert(!strstr(printed, "nan,") && !strstr(printed, "inf,"));
    free(printed);
    json_decref(report);
}
END_TEST

START_TEST(models_are_ranked_and_written)
{
    const char *const models[] = {scratch_path("donor"), "fixtures/tiny-qwen2",
                                  scratch_path("donor/model-00001-of-00002.safetensors")};
    json_t *report =
        report_of((organ_measure_options){.models = models, .model_count = 3, .output = scratch_path("out")});
    const json_t *entries = organ_json_at(report, "models");
    ck_assert_uint_eq(json_array_size(entries), 3);
    for (size_t k = 1; k < 3; k++)
        ck_assert(organ_json_real(json_array_get(entries, k - 1), "theta_mean") >=
                  organ_json_real(json_array_get(entries, k), "theta_mean"));
    json_t *written = json_load_file(scratch_path("out/z_report.json"), 0, NULL);
    ck_assert_int_eq(json_object_del(json_object_get(written, "run"), "seal"), 0);
    ck_assert(json_equal(written, report));
    size_t size;
    char *markdown = slurp(scratch_path("out/Z_MEASURE_REPORT.md"), &size);
    ck_assert_ptr_nonnull(strstr(markdown, "is no evidence of a better model"));
    ck_assert_ptr_nonnull(strstr(markdown, "| tiny-qwen2 "));
    free(markdown);
    json_decref(written);
    json_decref(report);
}
END_TEST

START_TEST(only_what_is_selected)
{
    const char *const models[] = {scratch_path("donor")};
    json_t *report =
        report_of((organ_measure_options){.models = models, .model_count = 1, .types = "organ", .layers = "1-2"});
    const json_t *model = json_array_get(organ_json_at(report, "models"), 0);
    ck_assert_uint_eq(organ_json_count(model, "tensors"), 6);
    ck_assert_uint_eq(json_array_size(organ_json_at(model, "per_tensor")), 6);
    json_decref(report);
}
END_TEST

/* ---- measure in parts ---- */

typedef struct tally {
    size_t count, fails_at;
} tally;

static organ_status count_one(void *context, const organ_weight *tensor, const organ_z *z, organ_error *error)
{
    tally *t = context;
    ck_assert(z->done && tensor->name);
    return ++t->count == t->fails_at ? organ_fail(error, ORGAN_IO, "enough") : ORGAN_OK;
}

START_TEST(what_is_done_is_not_done_again)
{
    organ_model *model = must_open(scratch_path("donor"));
    organ_z *whole = must_measure(model, (way){0}), *parts = calloc(model->tensor_count, sizeof *parts);
    tally t = {.fails_at = 5};
    organ_error error;
    const organ_z_options options = {.finished = count_one, .context = &t};
    ck_assert_int_eq(measure(model, (way){.threads = 1, .options = &options}, parts, &error), ORGAN_IO);
    ck_assert_str_eq(error.message, "enough");
    t.fails_at = 0;
    ck_assert_int_eq(measure(model, (way){.threads = 1, .options = &options}, parts, &error), ORGAN_OK);
    ck_assert_uint_eq(t.count, model->tensor_count);
    for (size_t k = 0; k < model->tensor_count; k++)
        ck_assert(parts[k].done && parts[k].theta == whole[k].theta && parts[k].dI_dlog2s == whole[k].dI_dlog2s);
    free(whole), free(parts);
    organ_model_close(model);
}
END_TEST

/* ---- errors ---- */

static void fails(organ_measure_options options, way w, organ_status status, const char *text)
{
    json_t *report = NULL;
    organ_error error;
    ck_assert_int_eq(measure_models(&options, w, &report, &error), status);
    ck_assert_msg(strstr(error.message, text) != NULL, "%s", error.message);
    ck_assert_ptr_null(report);
}

START_TEST(refusals_name_what_is_wrong)
{
    const char *const donor[] = {scratch_path("donor")}, *const none[] = {scratch_path("none")};
    const organ_measure_options usual = {.models = donor, .model_count = 1, .output = scratch_path("out")};
    organ_measure_options options = usual;
    organ_stop stop = {0};
    organ_stop_request(&stop);
    fails(usual, (way){.stop = &stop}, ORGAN_INTERRUPTED, "interrupted");
    fails(usual, (way){.memory = 1 << 20}, ORGAN_USAGE, "--memory 1");
    options.layers = "7";
    fails(options, (way){0}, ORGAN_USAGE, "no tensor to measure among those");
    options = usual, options.types = "liver";
    fails(options, (way){0}, ORGAN_USAGE, "liver");
    options = usual, options.models = none;
    fails(options, (way){0}, ORGAN_IO, "none");
    fault_clear();
    organ_model_close(must_open(donor[0]));
    fault_at(FAULT_PREAD, fault_count(FAULT_PREAD) + 3, EIO, false, NULL); /* the third tensor */
    fails(usual, (way){0}, ORGAN_IO, "donor");
    fault_clear();
    ck_assert(!exists(scratch_path("out")));
    fails((organ_measure_options){.models = donor, .model_count = 1, .output = scratch_path("none/out")}, (way){0},
          ORGAN_IO, "none/out");
    spill(scratch_path("file"), "x", 1);
    fails((organ_measure_options){.models = donor, .model_count = 1, .output = scratch_path("file")}, (way){0},
          ORGAN_USAGE, "file");
}
END_TEST

static void cut(void) { ck_assert_int_eq(truncate(scratch_path("donor/model-00001-of-00002.safetensors"), 5000), 0); }

START_TEST(a_model_that_changes_is_noticed)
{
    organ_model *model = must_open(scratch_path("donor"));
    organ_z *z = calloc(model->tensor_count, sizeof *z);
    organ_error error;
    cut();
    ck_assert_int_eq(measure(model, (way){0}, z, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "model-00001-of-00002.safetensors") != NULL, "%s", error.message);
    free(z);
    organ_model_close(model);
}
END_TEST

Suite *measure_reports_suite(void)
{
    const suite_case cases[] = {
        {"reports",
         {wells_are_lower_than_both_neighbours, folds_are_those_of_the_tensors, models_are_ranked_and_written,
          only_what_is_selected}},
        {"parts", {what_is_done_is_not_done_again}},
        {"faults", {refusals_name_what_is_wrong, a_model_that_changes_is_noticed}},
    };
    return suite_of("measure", cases, sizeof cases / sizeof *cases, setup, teardown);
}
