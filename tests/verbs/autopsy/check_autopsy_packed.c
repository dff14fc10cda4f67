/* SPDX-License-Identifier: MIT
 * Tests of autopsy on quantised models, healthy and with common mistakes: missing scales, scales of the whole tensor or
 * of other blocks, wrong block sizes, nibbles in the wrong order. */
#include "tests/verbs/autopsy/autopsy_rig.h"
#include "tests/kit/samples.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GATE  "model.layers.0.mlp.gate_proj.weight"
#define SCALE GATE "_scale_inv"

enum { EDGE = 1024, MATRIX = EDGE * EDGE, BLOCKS = EDGE / 128 };

/* Makes weights with the heavy tails of trained ones, so that the scales of blocks differ. */
static void make_donor(void)
{
    static const char config[] = "{\"architectures\": [\"Qwen2ForCausalLM\"], \"model_type\": \"qwen2\"}\n";
    samples random = {5};
    float *const v = malloc(MATRIX * sizeof *v);
    samples_fill(&random, STUDENT_T4, v, MATRIX);
    for (size_t k = 0; k < MATRIX; k++)
        v[k] *= 0.03f;
    uint16_t *const w = rig_bf16(v, MATRIX);
    const rig_tensor tensors[] = {{GATE, ORGAN_BF16, 2, {EDGE, EDGE}, w}};
    ck_assert_int_eq(mkdir(scratch_path("donor"), 0777), 0);
    rig_write(scratch_path("donor/model.safetensors"), tensors, 1);
    spill(scratch_path("donor/config.json"), config, sizeof config - 1);
    free(v);
    free(w);
}

static void quantise(const char *scheme) { rig_quantise(scratch_path("donor"), scheme); }

static void setup(void)
{
    autopsy_setup();
    make_donor();
}

/* Changes the bytes of a tensor of the quantised model in place by `edit`. */
static void edit_tensor(const char *name, void (*edit)(void *bytes, size_t size))
{
    organ_model *model;
    organ_error error = {0};
    ck_assert_msg(organ_model_open(scratch_path("q"), &model, &error) == ORGAN_OK, "%s", error.message);
    const organ_tensor *const tensor = organ_model_find(model, name);
    ck_assert_msg(tensor != NULL, "%s", name);
    void *const bytes = malloc(tensor->bytes);
    ck_assert_int_eq(organ_model_read(model, tensor->file, bytes, tensor->bytes, tensor->offset, &error), ORGAN_OK);
    edit(bytes, tensor->bytes);
    const int fd = open(model->files[tensor->file].path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_eq(pwrite(fd, bytes, tensor->bytes, (off_t)tensor->offset), (ssize_t)tensor->bytes);
    close(fd);
    free(bytes);
    organ_model_close(model);
}

static organ_status look(bool beside_the_donor, organ_error *error)
{
    return autopsy(scratch_path("q"), (autopsy_way){.other = beside_the_donor ? scratch_path("donor") : NULL}, error);
}

static double against(const char *key)
{
    return json_number_value(json_object_get(json_object_get(numbers_of(GATE), "against_other"), key));
}

static const char *cause(const char *kind)
{
    return json_string_value(json_object_get(finding_of(GATE, kind), "cause"));
}

START_TEST(right_copies_are_healthy)
{
    static const struct {
        const char *scheme, *stored;
        double least, max;
    } rows[] = {{"fp8-block128", "FP8 E4M3, block 128", 0.02, 0.04},
                {"fp8-channel", "FP8 E4M3, per channel", 0.02, 0.04},
                {"fp8-tensor", "FP8 E4M3, per tensor", 0.02, 0.04},
                {"int4-group128", "INT4, group 128", 0.08, 0.25}};
    organ_error error;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        quantise(rows[k].scheme);
        ck_assert_msg(look(true, &error) == ORGAN_OK, "%s: %s", rows[k].scheme, error.message);
        ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(numbers_of(GATE), "stored")), rows[k].stored));
        const double relative = against("relative_error");
        ck_assert_msg(relative > rows[k].least && relative < rows[k].max, "%s: %g", rows[k].scheme, relative);
        ck_assert(against("cosine") > 0.96);
    }
}
END_TEST

static void ones(void *bytes, size_t size)
{
    float *const s = bytes;
    for (size_t k = 0; k < size / sizeof *s; k++)
        s[k] = 1;
}

/* Sets all scales to the largest value of the tensor, not divided by the largest code. */
static void of_the_tensor(void *bytes, size_t size)
{
    float *const s = bytes, max = 0;
    for (size_t k = 0; k < size / sizeof *s; k++)
        max = fmaxf(max, s[k]);
    for (size_t k = 0; k < size / sizeof *s; k++)
        s[k] = max * 448;
}

static void of_the_block_above(void *bytes, size_t size)
{
    float row[BLOCKS], *const s = bytes;
    ck_assert_uint_eq(size, sizeof(float) * BLOCKS * BLOCKS);
    memcpy(row, s + BLOCKS * (BLOCKS - 1), sizeof row);
    memmove(s + BLOCKS, s, sizeof row * (BLOCKS - 1));
    memcpy(s, row, sizeof row);
}

static void transposed(void *bytes, size_t size)
{
    float *const s = bytes;
    ck_assert_uint_eq(size, sizeof(float) * BLOCKS * BLOCKS);
    for (size_t r = 0; r < BLOCKS; r++)
        for (size_t c = 0; c < r; c++) {
            const float swap = s[r * BLOCKS + c];
            s[r * BLOCKS + c] = s[c * BLOCKS + r];
            s[c * BLOCKS + r] = swap;
        }
}

static void not_numbers(void *bytes, size_t size)
{
    (void)size;
    ((float *)bytes)[0] = NAN;
}

static void inverted(void *bytes, size_t size)
{
    float *const s = bytes;
    for (size_t k = 0; k < size / sizeof *s; k++)
        s[k] = 1 / s[k];
}

START_TEST(wrong_scales_are_found)
{
    static const struct {
        const char *name;
        void (*edit)(void *, size_t);
        const char *found, *says;
    } rows[] = {{"left out", ones, "codes", "its scales are all 1"},
                {"of the tensor", of_the_tensor, "exploded", "one scale of the whole tensor"},
                {"inverted", inverted, "exploded", "the inverse of the right ones"},
                {"of the block above", of_the_block_above, "blocks", "shifted"},
                {"transposed", transposed, "blocks", "transposed"},
                {"NaN", not_numbers, "not_finite", "a scale that is NaN"}};
    organ_error error;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        quantise("fp8-block128");
        edit_tensor(SCALE, rows[k].edit);
        ck_assert_msg(look(false, &error) == ORGAN_CHECK_FAILED, "%s: %d %s", rows[k].name, (int)error.status,
                      error.message);
        ck_assert_msg(strncmp(found(GATE), rows[k].found, strlen(rows[k].found)) == 0, "%s: found '%s'", rows[k].name,
                      found(GATE));
        ck_assert_msg(strstr(cause(rows[k].found), rows[k].says) != NULL, "%s: %s", rows[k].name, cause(rows[k].found));
    }
}
END_TEST

/* A block size that does not fit the shape of the scales is an error. */
START_TEST(a_wrong_block_size_is_refused)
{
    organ_error error;
    size_t size;
    quantise("fp8-block128");
    char *const config = slurp(scratch_path("q/config.json"), &size);
    for (char *at = config; at + 3 <= config + size; at++)
        if (memcmp(at, "128", 3) == 0)
            memcpy(at, " 64", 3);
    spill(scratch_path("q/config.json"), config, size);
    free(config);
    ck_assert_int_eq(look(false, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, SCALE) || strstr(error.message, GATE), "%s", error.message);
}
END_TEST

static void swap_nibbles(void *bytes, size_t size)
{
    unsigned char *const b = bytes;
    for (size_t k = 0; k < size; k++)
        b[k] = (unsigned char)(b[k] << 4 | b[k] >> 4);
}

/* The values are the same in other places, which only the original shows. */
START_TEST(nibbles_in_the_wrong_order_are_far_from_the_original)
{
    organ_error error;
    quantise("int4-group128");
    edit_tensor("model.layers.0.mlp.gate_proj.weight_packed", swap_nibbles);
    ck_assert_int_eq(look(false, &error), ORGAN_OK);
    ck_assert_int_eq(look(true, &error), ORGAN_CHECK_FAILED);
    ck_assert_str_eq(found(GATE), "far");
    ck_assert_ptr_nonnull(strstr(cause("far"), "nibbles in the wrong order"));
    ck_assert(against("relative_error") > 1 && fabs(against("cosine")) < 0.1);
    ck_assert_double_eq_tol(against("norm_ratio"), 1, 0.05);
}
END_TEST

/* Compares the sums over pairs with a plain loop over both dequantised models. */
START_TEST(distances_are_those_of_the_definition)
{
    enum { ROWS = 41, COLS = 67, N = ROWS * COLS };
    float *const a = rig_normal(1, N, 0.03f), *const b = rig_normal(2, N, 0.002f);
    double off = 0, own = 0, other = 0, product = 0, max = 0;
    organ_error error;
    for (size_t k = 0; k < N; k++)
        b[k] += a[k];
    b[100] = NAN;
    for (size_t k = 0; k < N; k++) {
        const double x = (double)a[k], y = (double)b[k];
        if (isnan(y))
            continue;
        off += (x - y) * (x - y);
        own += x * x;
        other += y * y;
        product += x * y;
        max = fmax(max, fabs(x - y));
    }
    const rig_tensor one[] = {{GATE, ORGAN_F32, 2, {ROWS, COLS}, a}}, two[] = {{GATE, ORGAN_F32, 2, {ROWS, COLS}, b}};
    rig_write(scratch_path("a.safetensors"), one, 1);
    rig_write(scratch_path("b.safetensors"), two, 1);
    autopsy(scratch_path("a.safetensors"), (autopsy_way){.other = scratch_path("b.safetensors")}, &error);
    ck_assert_double_eq_tol(against("relative_error"), sqrt(off / other), 1e-9);
    ck_assert_double_eq_tol(against("cosine"), product / sqrt(own * other), 1e-9);
    ck_assert_double_eq_tol(against("norm_ratio"), sqrt(own / other), 1e-9);
    ck_assert_double_eq(against("max_abs_difference"), max);
    ck_assert_int_eq((int)against("not_finite"), 1);
    ck_assert_str_eq(found(GATE), "");
    free(a);
    free(b);
}
END_TEST

/* ---- scales whose values are plausible one by one, in a trained model of four layers ---- */

#define TRAINED "fixtures/tiny-qwen2"

START_TEST(a_trained_model_is_healthy_in_every_scheme)
{
    static const char *const schemes[] = {"fp8-block128", "fp8-channel", "fp8-tensor", "int4-group32"};
    organ_error error;
    for (size_t k = 0; k < sizeof schemes / sizeof *schemes; k++) {
        rig_quantise(TRAINED, schemes[k]);
        ck_assert_msg(look(false, &error) == ORGAN_OK, "%s: %s", schemes[k], error.message);
    }
}
END_TEST

/* Transposes the grid of `rows` x `cols` scales. */
static void by_columns(float *s, size_t rows, size_t cols)
{
    float grid[64];
    ck_assert_uint_le(rows * cols, 64);
    memcpy(grid, s, rows * cols * sizeof *s);
    for (size_t k = 0; k < rows * cols; k++)
        s[k] = grid[k % rows * cols + k / rows];
}

static void by_columns_3_3(void *bytes, size_t size)
{
    ck_assert_uint_eq(size, 9 * sizeof(float));
    by_columns(bytes, 3, 3);
}

static void by_columns_3_7(void *bytes, size_t size)
{
    ck_assert_uint_eq(size, 21 * sizeof(float));
    by_columns(bytes, 3, 7);
}

static void times(void *bytes, size_t size, float factor)
{
    for (size_t k = 0; k < size / sizeof(float); k++)
        ((float *)bytes)[k] *= factor;
}

static void four_times(void *bytes, size_t size) { times(bytes, size, 4); }
static void an_eighth(void *bytes, size_t size) { times(bytes, size, 0.125f); }
static void nine_times(void *bytes, size_t size) { times(bytes, size, 9); }

static const struct {
    const char *weight, *kind;
    void (*edit)(void *bytes, size_t size);
} slips[] = {
    {"model.layers.1.self_attn.o_proj.weight", "scale_order", by_columns_3_3},
    {"model.layers.0.mlp.down_proj.weight", "scale_order", by_columns_3_7},
    {"model.layers.2.mlp.down_proj.weight", "scale_factor", four_times},
    {"model.layers.1.mlp.down_proj.weight", "scale_factor", an_eighth},
    {"model.layers.0.self_attn.o_proj.weight", "scale_factor", nine_times},
};

START_TEST(scales_are_held_against_their_neighbours)
{
    char scale[80];
    organ_error error;
    snprintf(scale, sizeof scale, "%s_scale_inv", slips[_i].weight);
    rig_quantise(TRAINED, "fp8-block128");
    edit_tensor(scale, slips[_i].edit);
    ck_assert_int_eq(look(false, &error), ORGAN_CHECK_FAILED);
    ck_assert_str_eq(found(slips[_i].weight), slips[_i].kind);
    ck_assert_msg(strstr(error.message, ": 1 finding, "), "%s", error.message);
}
END_TEST

Suite *autopsy_packed_suite(void)
{
    const suite_case cases[] = {
        {"packed", {right_copies_are_healthy, wrong_scales_are_found, a_wrong_block_size_is_refused}},
        {"distance", {nibbles_in_the_wrong_order_are_far_from_the_original, distances_are_those_of_the_definition}},
    };
    Suite *const suite =
        suite_of("autopsy of packed models", cases, sizeof cases / sizeof *cases, setup, autopsy_teardown);
    TCase *const neighbours = tcase_create("neighbours");
    tcase_add_checked_fixture(neighbours, autopsy_setup, autopsy_teardown);
    tcase_add_test(neighbours, a_trained_model_is_healthy_in_every_scheme);
    tcase_add_loop_test(neighbours, scales_are_held_against_their_neighbours, 0, (int)(sizeof slips / sizeof *slips));
    suite_add_tcase(suite, neighbours);
    return suite;
}
