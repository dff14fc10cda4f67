/* SPDX-License-Identifier: MIT
 * Tests of autopsy on wrong scales whose single values are plausible: found without the original where possible, named
 * with it always; and healthy models, which have no finding. */
#include "tests/verbs/autopsy/autopsy_rig.h"
#include "tests/kit/effort.h"
#include "tests/kit/samples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define QWEN "fixtures/tiny-qwen2"
#define MOE  "fixtures/tiny-moe"

/* ---- kinds of damage ---- */

static void times(float *s, size_t n, float factor)
{
    for (size_t k = 0; k < n; k++)
        s[k] *= factor;
}

static void twice(float *s, size_t rows, size_t cols) { times(s, rows * cols, 2); }
static void thrice(float *s, size_t rows, size_t cols) { times(s, rows * cols, 3); }
static void four_times(float *s, size_t rows, size_t cols) { times(s, rows * cols, 4); }
static void a_quarter(float *s, size_t rows, size_t cols) { times(s, rows * cols, 0.25F); }

static void second_row_four_times(float *s, size_t rows, size_t cols)
{
    ck_assert_uint_gt(rows, 2);
    times(s + cols, cols, 4);
}

static void second_row_sixteen_times(float *s, size_t rows, size_t cols)
{
    ck_assert_uint_gt(rows, 2);
    times(s + cols, cols, 16);
}

static void second_row_a_quarter(float *s, size_t rows, size_t cols)
{
    ck_assert_uint_gt(rows, 2);
    times(s + cols, cols, 0.25F);
}

/* Moves each row of scales down by one; the last becomes the first. */
static void down(float *s, size_t rows, size_t cols)
{
    float *const last = malloc(cols * sizeof *last);
    memcpy(last, s + (rows - 1) * cols, cols * sizeof *last);
    memmove(s + cols, s, (rows - 1) * cols * sizeof *s);
    memcpy(s, last, cols * sizeof *last);
    free(last);
}

static void transposed(float *s, size_t rows, size_t cols)
{
    ck_assert_uint_eq(rows, cols);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < r; c++) {
            const float swap = s[r * cols + c];
            s[r * cols + c] = s[c * cols + r];
            s[c * cols + r] = swap;
        }
}

typedef struct fault {
    const char *name, *model, *scheme, *scales;
    void (*edit)(float *s, size_t rows, size_t cols);
    const char *weight;
    const char *alone;       /* the finding without the original; "": none */
    const char *kind, *says; /* the finding with it */
} fault;

#define LAYER   "model.layers.1."
#define FP8     "fp8-block128"
#define INT4    "int4-group32"
#define CHANNEL "fp8-channel"

static const fault faults[] = {
    {"one tensor x 3", QWEN, FP8, LAYER "mlp.down_proj.weight_scale_inv", thrice, LAYER "mlp.down_proj.weight",
     "scale_factor", "scale_factor", "are 3 times"},
    {"one small tensor x 3", QWEN, FP8, LAYER "self_attn.o_proj.weight_scale_inv", thrice,
     LAYER "self_attn.o_proj.weight", "scale_factor", "scale_factor", "are 3 times"},
    {"one expert x 3", MOE, INT4, LAYER "mlp.experts.3.up_proj.weight_scale", thrice,
     LAYER "mlp.experts.3.up_proj.weight", "scale_factor", "scale_factor", "are 2.98 times"},
    {"one INT4 tensor x 3", QWEN, INT4, LAYER "mlp.up_proj.weight_scale", thrice, LAYER "mlp.up_proj.weight",
     "scale_factor", "scale_factor", "are 2.98 times"},
    {"all x 3", QWEN, FP8, "*_scale_inv", thrice, LAYER "mlp.down_proj.weight", "scale_factor", "scale_factor",
     "are 3 times"},
    {"all x 2", QWEN, FP8, "*_scale_inv", twice, LAYER "mlp.down_proj.weight", "", "scale_factor", "are 2 times"},
    {"all INT4 x 4", QWEN, INT4, "*.weight_scale", four_times, LAYER "mlp.up_proj.weight", "", "scale_factor",
     "are 3.97 times"},
    {"a row of blocks x 4", QWEN, FP8, LAYER "mlp.down_proj.weight_scale_inv", second_row_four_times,
     LAYER "mlp.down_proj.weight", "scale_row", "scale_row", "row 1 of blocks (from row 128 on): scales 4 times"},
    {"a row of 3 x 3 blocks x 4", QWEN, FP8, LAYER "self_attn.o_proj.weight_scale_inv", second_row_four_times,
     LAYER "self_attn.o_proj.weight", "scale_row", "scale_row", "row 1 of blocks (from row 128 on): scales 3.99 times"},
    {"a channel x 4", QWEN, "fp8-channel", LAYER "mlp.up_proj.weight_scale", second_row_four_times,
     LAYER "mlp.up_proj.weight", "scale_row", "scale_row", "row 1 of blocks (from row 1 on): scales 4.01 times"},
    {"an INT8 channel x 4", QWEN, "int8-channel", LAYER "self_attn.q_proj.weight_scale", second_row_four_times,
     LAYER "self_attn.q_proj.weight", "scale_row", "scale_row", "row 1 of blocks (from row 1 on): scales 4 times"},
    {"an INT8 channel x 16", QWEN, "int8-channel", LAYER "mlp.gate_proj.weight_scale", second_row_sixteen_times,
     LAYER "mlp.gate_proj.weight", "scale_row", "scale_row", "row 1 of blocks (from row 1 on): scales 16 times"},
    {"a row of INT4 groups x 4", QWEN, "int4-group64", LAYER "mlp.up_proj.weight_scale", second_row_four_times,
     LAYER "mlp.up_proj.weight", "", "scale_row", "row 1: scales 3.96 times"},
    {"a row of INT4 groups x 1/4", QWEN, "int4-group64", LAYER "mlp.up_proj.weight_scale", second_row_a_quarter,
     LAYER "mlp.up_proj.weight", "", "scale_row", "row 1: scales 0.247 times"},
    {"scale rows shifted", QWEN, FP8, LAYER "mlp.down_proj.weight_scale_inv", down, LAYER "mlp.down_proj.weight",
     "scale_order", "scale_order", "shifted down by one row of blocks"},
    {"scale rows of 3 x 3 shifted", QWEN, FP8, LAYER "self_attn.o_proj.weight_scale_inv", down,
     LAYER "self_attn.o_proj.weight", "scale_order", "scale_order", "shifted down by one row of blocks"},
    {"INT4 scale rows shifted", QWEN, INT4, LAYER "mlp.up_proj.weight_scale", down, LAYER "mlp.up_proj.weight",
     "scale_order", "scale_order", "shifted down by one row of blocks"},
    {"a channel's scales shifted", QWEN, "fp8-channel", LAYER "mlp.up_proj.weight_scale", down,
     LAYER "mlp.up_proj.weight", "scale_order", "scale_order", "shifted down by one row of blocks"},
    {"a square grid transposed", QWEN, FP8, "model.layers.2.self_attn.o_proj.weight_scale_inv", transposed,
     "model.layers.2.self_attn.o_proj.weight", "scale_order", "scale_order", "the grid of scales is transposed"},
    {"a grid of 2 x 2 transposed", MOE, FP8, LAYER "self_attn.o_proj.weight_scale_inv", transposed,
     LAYER "self_attn.o_proj.weight", "", "scale_order", "the grid of scales is transposed"},
};

/* With the original each finding names the fault, and none says that the weight was trained further. */
START_TEST(a_fault_is_found_and_named)
{
    const fault *const f = &faults[_i];
    organ_error error;
    rig_quantise(f->model, f->scheme);
    rig_edit(f->scales, f->edit);
    ck_assert_msg(autopsy(scratch_path("q"), (autopsy_way){0}, &error) == (*f->alone ? ORGAN_CHECK_FAILED : ORGAN_OK),
                  "%s: %s", f->name, error.message);
    ck_assert_msg(strcmp(found(f->weight), f->alone) == 0, "%s: found '%s'", f->name, found(f->weight));
    ck_assert_msg(autopsy(scratch_path("q"), (autopsy_way){.other = f->model}, &error) == ORGAN_CHECK_FAILED, "%s",
                  f->name);
    ck_assert_msg(strcmp(found(f->weight), f->kind) == 0, "%s: found '%s' with the original", f->name,
                  found(f->weight));
    const json_t *const finding = finding_of(f->weight, f->kind);
    ck_assert_msg(strstr(json_string_value(json_object_get(finding, "value")), f->says) != NULL, "%s: %s", f->name,
                  json_string_value(json_object_get(finding, "value")));
    ck_assert_ptr_null(strstr(remarked(f->weight), "unusual"));
}
END_TEST

/* ---- one factor on all scales, found with a text ---- */

static const struct {
    const char *scheme, *scales;
    void (*edit)(float *s, size_t rows, size_t cols);
    const char *says;
} all_of_them[] = {{CHANNEL, NULL, NULL, NULL},
                   {INT4, NULL, NULL, NULL},
                   {CHANNEL, "*.weight_scale", twice, "with all scales 1/2 times as large"},
                   {INT4, "*.weight_scale", four_times, "with all scales 1/4 times as large"},
                   {CHANNEL, "*.weight_scale", a_quarter, "with all scales 4 times as large"}};

enum { TEXT = 4000 }; /* bytes */

START_TEST(a_text_finds_one_factor_of_all_scales)
{
    organ_error error;
    rig_quantise(QWEN, all_of_them[_i].scheme);
    if (all_of_them[_i].edit)
        rig_edit(all_of_them[_i].scales, all_of_them[_i].edit);
    size_t size;
    char *const text = slurp(QWEN "/heldout.txt", &size);
    spill(scratch_path("text"), text, size < TEXT ? size : TEXT);
    free(text);
    const organ_status status = autopsy(scratch_path("q"), (autopsy_way){.text = scratch_path("text")}, &error);
    const json_t *const trials = json_object_get(json_object_get(autopsy_result, "scale_test"), "trials");
    ck_assert_uint_eq(json_array_size(trials), 5);
    if (all_of_them[_i].edit) {
        ck_assert_int_eq(status, ORGAN_CHECK_FAILED);
        const char *const value = json_string_value(json_object_get(finding_of("*", "scale_factor"), "value"));
        ck_assert_msg(strstr(value, all_of_them[_i].says) != NULL, "%s", value);
        return;
    }
    ck_assert_msg(status == ORGAN_OK, "%s", error.message);
    for (size_t k = 1; k < 5; k++)
        ck_assert_double_gt(json_number_value(json_object_get(json_array_get(trials, k), "nll_difference")), 0.2);
}
END_TEST

START_TEST(a_text_is_refused_where_there_are_no_scales)
{
    organ_error error;
    ck_assert_int_eq(autopsy(QWEN, (autopsy_way){.text = QWEN "/heldout.txt"}, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "no weight of fixtures/tiny-qwen2 has codes with scales") != NULL, "%s",
                  error.message);
    rig_quantise(QWEN, FP8);
    ck_assert_int_eq(autopsy(scratch_path("q"), (autopsy_way){.text = scratch_path("no.txt")}, &error), ORGAN_IO);
    ck_assert_int_eq(autopsy(scratch_path("q"), (autopsy_way){.text = QWEN "/heldout.txt", .memory = 4 << 20}, &error),
                     ORGAN_USAGE);
}
END_TEST

/* ---- healthy models ---- */

static const char *const schemes[] = {FP8, "fp8-channel", "int8-channel", INT4, "int3-group32", "fp8-tensor"};
enum { SCHEMES = sizeof schemes / sizeof *schemes };

static void is_healthy(const char *model, const char *scheme)
{
    organ_error error;
    rig_quantise(model, scheme);
    ck_assert_msg(autopsy(scratch_path("q"), (autopsy_way){0}, &error) == ORGAN_OK, "%s in %s: %s", model, scheme,
                  error.message);
    ck_assert_msg(autopsy(scratch_path("q"), (autopsy_way){.other = model}, &error) == ORGAN_OK, "%s in %s: %s", model,
                  scheme, error.message);
}

/* No loader multiplies experts by dynamic activations in fp8-tensor. */
START_TEST(trained_models_are_healthy) { is_healthy(_i < SCHEMES ? QWEN : MOE, schemes[_i % SCHEMES]); }
END_TEST

enum { LAYERS = 8, EDGE = 384, ROLES = 7, WEIGHTS = LAYERS * ROLES };

static const char *const roles[ROLES] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                         "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

static double about(samples *random, double spread) { return exp(spread * 2 * (samples_uniform(random) - 0.5)); }

/* Makes weights of layers whose deviation differs by factors of up to 9, with heavy tails, and rows and columns that
 * differ by up to 4. */
static float *uneven_weight(samples *random, double std)
{
    double columns[EDGE];
    float *const v = malloc(EDGE * EDGE * sizeof *v);
    samples_fill(random, STUDENT_T4, v, EDGE * EDGE);
    for (size_t c = 0; c < EDGE; c++)
        columns[c] = about(random, 0.7);
    for (size_t r = 0; r < EDGE; r++) {
        const double row = std * about(random, 0.7);
        for (size_t c = 0; c < EDGE; c++)
            v[r * EDGE + c] *= (float)(row * columns[c]);
    }
    return v;
}

static void make_uneven_model(uint64_t seed)
{
    static const char config[] = "{\"architectures\": [\"Qwen2ForCausalLM\"], \"model_type\": \"qwen2\"}\n";
    static char names[WEIGHTS][80];
    rig_tensor tensors[WEIGHTS];
    samples random = {seed};
    for (size_t l = 0; l < LAYERS; l++) {
        const double layer = 0.03 * about(&random, 1.1);
        for (size_t k = 0; k < ROLES; k++) {
            float *const v = uneven_weight(&random, layer * about(&random, 0.3));
            snprintf(names[l * ROLES + k], sizeof names[0], "model.layers.%zu.%s.weight", l, roles[k]);
            tensors[l * ROLES + k] =
                (rig_tensor){names[l * ROLES + k], ORGAN_BF16, 2, {EDGE, EDGE}, rig_bf16(v, EDGE * EDGE)};
            free(v);
        }
    }
    ck_assert_int_eq(mkdir(scratch_path("uneven"), 0777), 0);
    rig_write(scratch_path("uneven/model.safetensors"), tensors, WEIGHTS);
    spill(scratch_path("uneven/config.json"), config, sizeof config - 1);
    for (size_t k = 0; k < WEIGHTS; k++)
        free((void *)(uintptr_t)tensors[k].data);
}

START_TEST(models_of_very_different_layers_are_healthy)
{
    make_uneven_model(11 + (uint64_t)_i);
    is_healthy(scratch_path("uneven"), _i % 2 ? INT4 : FP8);
}
END_TEST

Suite *autopsy_scales_suite(void)
{
    Suite *const suite = suite_create("autopsy of scales");
    TCase *const tests = tcase_create("scales");
    tcase_add_checked_fixture(tests, autopsy_setup, autopsy_teardown);
    tcase_set_timeout(tests, 600);
    tcase_add_loop_test(tests, a_fault_is_found_and_named, 0, (int)sampled(sizeof faults / sizeof *faults, 6));
    tcase_add_loop_test(tests, a_text_finds_one_factor_of_all_scales, 0,
                        (int)sampled(sizeof all_of_them / sizeof *all_of_them, 3));
    tcase_add_test(tests, a_text_is_refused_where_there_are_no_scales);
    tcase_add_loop_test(tests, trained_models_are_healthy, 0, (int)sampled_unless_all(2 * SCHEMES - 1, SCHEMES + 2, 3));
    tcase_add_loop_test(tests, models_of_very_different_layers_are_healthy, 0, (int)sampled_unless_all(4, 2, 1));
    suite_add_tcase(suite, tests);
    return suite;
}
