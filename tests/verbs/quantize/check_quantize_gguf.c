/* SPDX-License-Identifier: MIT
 * Tests of quantize on GGUF models: the type of each tensor, bytes, metadata; bit identity; failures leave no
 * incomplete output. */
#include "tests/verbs/quantize/gguf_donor.h"
#include <organ/report.h>
#include "formats/base/text.h"
#include "formats/gguf/file.h"
#include "tests/kit/samples.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- types of outputs ---- */

typedef struct becoming {
    const char *scheme;
    int64_t file_type;
    organ_dtype embed, query, down, experts, head;
} becoming;

static const becoming becomings[] = {
    {"q4_0", 2, ORGAN_Q4_0, ORGAN_Q4_0, ORGAN_Q4_0, ORGAN_Q4_0, ORGAN_Q6_K},
    {"q4_1", 3, ORGAN_Q4_1, ORGAN_Q4_1, ORGAN_Q4_1, ORGAN_Q4_1, ORGAN_Q6_K},
    {"q5_0", 8, ORGAN_Q5_0, ORGAN_Q5_0, ORGAN_Q5_0, ORGAN_Q5_0, ORGAN_Q6_K},
    {"q5_1", 9, ORGAN_Q5_1, ORGAN_Q5_1, ORGAN_Q5_1, ORGAN_Q5_1, ORGAN_Q6_K},
    {"q8_0", 7, ORGAN_Q8_0, ORGAN_Q8_0, ORGAN_Q8_0, ORGAN_Q8_0, ORGAN_Q8_0},
    {"q4_k", 14, ORGAN_Q4_K, ORGAN_Q4_K, ORGAN_Q5_0, ORGAN_Q4_K, ORGAN_Q6_K},
    {"q5_k", 16, ORGAN_Q5_K, ORGAN_Q5_K, ORGAN_Q5_1, ORGAN_Q5_K, ORGAN_Q6_K},
    {"q6_k", 18, ORGAN_Q6_K, ORGAN_Q6_K, ORGAN_Q8_0, ORGAN_Q6_K, ORGAN_Q6_K},
    {"q2_k", 10, ORGAN_Q2_K, ORGAN_Q2_K, ORGAN_Q4_0, ORGAN_Q2_K, ORGAN_Q6_K},
    {"q3_k", 11, ORGAN_Q3_K, ORGAN_Q3_K, ORGAN_Q4_0, ORGAN_Q3_K, ORGAN_Q6_K},
    {"iq4_nl", 25, ORGAN_IQ4_NL, ORGAN_IQ4_NL, ORGAN_IQ4_NL, ORGAN_IQ4_NL, ORGAN_Q6_K},
    {"iq4_xs", 30, ORGAN_IQ4_XS, ORGAN_IQ4_XS, ORGAN_IQ4_NL, ORGAN_IQ4_XS, ORGAN_Q6_K},
    {"mxfp4", 38, ORGAN_MXFP4, ORGAN_MXFP4, ORGAN_MXFP4, ORGAN_MXFP4, ORGAN_Q6_K},
    {"nvfp4", 39, ORGAN_IQ4_NL, ORGAN_NVFP4, ORGAN_IQ4_NL, ORGAN_NVFP4, ORGAN_Q6_K},
    {"iq3_xxs", 23, ORGAN_IQ3_XXS, ORGAN_IQ3_XXS, ORGAN_IQ4_NL, ORGAN_IQ3_XXS, ORGAN_Q6_K},
    {"iq3_s", 26, ORGAN_IQ3_S, ORGAN_IQ3_S, ORGAN_IQ4_NL, ORGAN_IQ3_S, ORGAN_Q6_K},
    {"iq2_s", 28, ORGAN_IQ2_S, ORGAN_IQ2_S, ORGAN_IQ4_NL, ORGAN_IQ2_S, ORGAN_Q6_K},
    {"q2_0", 41, ORGAN_Q2_0, ORGAN_Q2_0, ORGAN_Q4_0, ORGAN_Q2_0, ORGAN_Q6_K},
    {"tq2_0", 37, ORGAN_TQ2_0, ORGAN_TQ2_0, ORGAN_Q4_0, ORGAN_TQ2_0, ORGAN_Q6_K},
    {"tq1_0", 36, ORGAN_TQ1_0, ORGAN_TQ1_0, ORGAN_Q4_0, ORGAN_TQ1_0, ORGAN_Q6_K},
    {"q1_0", 40, ORGAN_Q1_0, ORGAN_Q1_0, ORGAN_Q4_0, ORGAN_Q1_0, ORGAN_Q6_K}};
enum { BECOMINGS = sizeof becomings / sizeof *becomings };

static void type_is(const organ_model *model, const char *name, organ_dtype dtype)
{
    const organ_tensor *const tensor = organ_model_find(model, name);
    ck_assert(tensor != NULL);
    ck_assert_msg(tensor->dtype == dtype, "%s is %s instead of %s", name, organ_dtype_describe(tensor->dtype)->name,
                  organ_dtype_describe(dtype)->name);
}

/* No error with first scales is known for types whose scales are coded, whose levels are not evenly spaced or have one
 * or two bits, nor for totals that include them. */
static void first_scales_are_known_without_codes(void)
{
    size_t k;
    json_t *row;
    bool all = true;
    json_array_foreach(json_object_get(convert_report, "tensors"), k, row)
    {
        const char *const type = json_string_value(json_object_get(row, "stored_as"));
        const json_t *const before = json_object_get(row, "absmax_error");
        const bool coded = type[0] != 'Q' || type[1] < '3' || type[strlen(type) - 1] == 'K';
        ck_assert_msg(coded ? json_is_null(before) : json_is_real(before), "%s", type);
        ck_assert(coded || json_number_value(before) >= json_number_value(json_object_get(row, "relative_error")));
        all = all && !coded;
    }
    const json_t *const totals = organ_json_at(convert_report, "totals.absmax_error");
    ck_assert(k > 0 && (all ? json_is_real(totals) : json_is_null(totals)));
}

START_TEST(tensors_become_what_is_said)
{
    for (size_t k = 0; k < BECOMINGS; k++) {
        const becoming *const b = &becomings[k];
        must_convert("out.gguf", way_of(b->scheme, NULL));
        first_scales_are_known_without_codes();
        organ_model *const model = open_sound("out.gguf");
        type_is(model, "token_embd.weight", b->embed);
        type_is(model, "blk.0.attn_q.weight", b->query);
        type_is(model, "blk.0.attn_norm.weight", ORGAN_F32);
        type_is(model, "blk.0.ffn_down.weight", b->down);
        type_is(model, "blk.0.ffn_up.weight", ORGAN_F32);
        type_is(model, "blk.0.ffn_gate_exps.weight", b->experts);
        type_is(model, "blk.0.ffn_gate_inp.weight", ORGAN_F32);
        type_is(model, "output.weight", b->head);
        size_t scales = 0;
        for (size_t t = 0; t < model->tensor_count; t++)
            if (organ_ends_with(model->tensors[t].name, ".scale"))
                scales++;
            else
                ck_assert_str_eq(model->tensors[t].name, donor[t - scales].name);
        ck_assert_uint_eq(scales, b->query == ORGAN_NVFP4 ? 2 : 0);
        ck_assert_int_eq(organ_gguf_integer(model->gguf, "general.file_type", -1), b->file_type);
        ck_assert_int_eq(organ_gguf_integer(model->gguf, "general.quantization_version", -1), 2);
        ck_assert_str_eq(model->gguf->kvs[0].key, "general.architecture");
        ck_assert_str_eq(model->gguf->kvs[1].key, "general.file_type");
        ck_assert_str_eq(model->gguf->kvs[2].key, "llama.block_count");
        ck_assert_uint_eq(model->gguf->kv_count, 4);
        organ_model_close(model);
        convert_forget("out");
    }
}
END_TEST

/* Without a head tensor the embedding is the head; with --select, all matching matrices get the scheme and nothing
 * else changes. */
START_TEST(head_and_targets)
{
    make_donor(TENSORS - 1);
    must_convert("tied.gguf", way_of("q4_0", NULL));
    organ_model *model = open_sound("tied.gguf");
    type_is(model, "token_embd.weight", ORGAN_Q6_K);
    organ_model_close(model);
    make_donor(TENSORS);
    convert_way way = way_of("q4_k", NULL);
    way.targets = "output.*,*ffn_gate_inp*";
    must_convert("some.gguf", way);
    model = open_sound("some.gguf");
    type_is(model, "output.weight", ORGAN_Q4_K);
    type_is(model, "blk.0.ffn_gate_inp.weight", ORGAN_Q4_K);
    type_is(model, "blk.0.attn_q.weight", ORGAN_BF16);
    type_is(model, "token_embd.weight", ORGAN_F16);
    organ_model_close(model);
    way.targets = "output.*,blk.*"; /* also matches others */
    must_convert("others.gguf", way);
    model = open_sound("others.gguf");
    type_is(model, "blk.0.ffn_gate_inp.weight", ORGAN_F32);
    type_is(model, "blk.0.attn_q.weight", ORGAN_Q4_K);
    organ_model_close(model);
}
END_TEST

/* ---- bytes of blocks ---- */

/* Computes the weights of a matrix as docs/definitions/gguf.md defines them. */
static void weights_of(size_t matrix, size_t cols, float *weights)
{
    double sum = 0;
    for (size_t j = 0; j < cols; j++) {
        weights[j] = (float)sqrt((double)input_square(matrix, j) / 8);
        sum += (double)weights[j] * weights[j];
    }
    for (size_t j = 0; j < cols; j++)
        weights[j] = (float)((double)weights[j] * weights[j] / (sum / (double)cols) + 0x1p-20);
}

/* NVFP4: the values are divided by the tensor scale, a power of 2 that brings the largest magnitude into half of the
 * range of a block, and no scale of a block is subnormal. */
static void divide_by_scale(const organ_model *model, const made_tensor *tensor, size_t matrices, float *values)
{
    char name[64];
    size_t bytes, count = (size_t)elements_of(tensor);
    snprintf(name, sizeof name, "%.*s.scale", (int)(strlen(tensor->name) - strlen(".weight")), tensor->name);
    float *const scales = (float *)(void *)bytes_of(model, name, ORGAN_F32, &bytes), greatest = 0;
    int exponent;
    ck_assert_uint_eq(bytes, matrices * sizeof *scales);
    ck_assert(frexpf(scales[0], &exponent) == 0.5f);
    for (size_t k = 0; k < count; k++) {
        const size_t matrix = k / (count / matrices);
        ck_assert(scales[matrix] == scales[0]);
        values[k] /= scales[matrix];
        greatest = fmaxf(greatest, fabsf(values[k]));
    }
    ck_assert(greatest > 6 * 448 / 2 && greatest <= 6 * 448);
    free(scales);
    unsigned char *const blocks = bytes_of(model, tensor->name, ORGAN_NVFP4, &bytes);
    for (size_t k = 0; k < bytes; k++)
        ck_assert(k % 36 >= 4 || (blocks[k] >= 8 && blocks[k] < 127));
    free(blocks);
}

static void blocks_are(const organ_model *model, const made_tensor *tensor, organ_dtype dtype, bool weighed)
{
    const organ_dtype_info *const type = organ_dtype_describe(dtype);
    const size_t cols = (size_t)tensor->shape[tensor->rank - 1],
                 matrices = tensor->rank == 3 ? (size_t)tensor->shape[0] : 1;
    const size_t rows = (size_t)elements_of(tensor) / cols / matrices, blocks = rows * cols / type->elements;
    organ_model *const from = open_sound("donor.gguf");
    size_t bytes, count;
    float *const values = numbers_of(from, tensor->name, &count), weights[512];
    unsigned char *const got = bytes_of(model, tensor->name, dtype, &bytes), *const expected = malloc(bytes);
    ck_assert_uint_eq(bytes, matrices * blocks * type->bytes);
    if (dtype == ORGAN_NVFP4)
        divide_by_scale(model, tensor, matrices, values);
    for (size_t m = 0; m < matrices; m++) {
        weights_of(m, cols, weights);
        organ_kernels_scalar->fit[type->ggml](values + m * rows * cols, weighed ? weights : NULL, cols,
                                              expected + m * blocks * type->bytes, blocks);
    }
    ck_assert_msg(memcmp(got, expected, bytes) == 0, "%s: other blocks%s", tensor->name,
                  weighed ? " with weights" : "");
    free(expected);
    free(got);
    free(values);
    organ_model_close(from);
}

START_TEST(blocks_are_those_of_the_kernel)
{
    for (size_t k = 0; k < BECOMINGS; k++)
        for (int weighed = 0; weighed < 2; weighed++) {
            const becoming *const b = &becomings[k];
            must_convert("out.gguf", way_of(b->scheme, weighed ? "imatrix.gguf" : NULL));
            organ_model *const model = open_sound("out.gguf");
            blocks_are(model, &donor[0], b->embed, false);
            blocks_are(model, &donor[1], b->query, weighed);
            blocks_are(model, &donor[3], b->down, weighed);
            blocks_are(model, &donor[EXPERTS], b->experts, weighed);
            blocks_are(model, &donor[7], b->head, false);
            ck_assert_int_eq(organ_gguf_text_equals(model->gguf, "quantize.imatrix.file", "imatrix.gguf"), weighed);
            ck_assert_int_eq(organ_gguf_integer(model->gguf, "quantize.imatrix.entries_count", -1), weighed ? 3 : -1);
            organ_model_close(model);
            convert_forget("out");
        }
}
END_TEST

START_TEST(same_bytes_by_any_way)
{
    const convert_way usual = way_of("q5_k", "imatrix.gguf");
    must_convert("reference.gguf", usual);
    for (int k = 0; k < 4; k++) {
        convert_way way = usual;
        way.threads = k == 0 ? 1 : 3;
        way.memory = k == 1 ? (uint64_t)12 << 20 : 0;
        way.isa = k == 2 ? "scalar" : NULL;
        way.targets = k == 3 ? "blk.0.attn_q.*,blk.0.ffn_*s.*,blk.0.ffn_down.*" : NULL;
        must_convert("out.gguf", way);
        if (k < 3)
            ck_assert(same_files(scratch_path("reference.gguf"), scratch_path("out.gguf")));
        organ_model *const model = open_sound("out.gguf");
        blocks_are(model, &donor[EXPERTS], ORGAN_Q5_K, true);
        organ_model_close(model);
        convert_forget("out");
    }
}
END_TEST

/* The loss in the report is that of the file. */
START_TEST(report_tells_the_loss)
{
    must_convert("out.gguf", way_of("q4_k", "imatrix.gguf"));
    const json_t *const rows = json_object_get(convert_report, "tensors"), *row;
    size_t k, seen = 0;
    organ_model *const model = open_sound("out.gguf"), *const from = open_sound("donor.gguf");
    json_array_foreach(rows, k, row)
    {
        const char *const name = json_string_value(json_object_get(row, "tensor"));
        const organ_matrices m = organ_tensor_matrices(organ_model_find(from, name));
        const bool weighed = json_is_real(json_object_get(row, "weighted_error"));
        size_t count;
        float *const before = numbers_of(from, name, &count), *const after = numbers_of(model, name, &count),
                     weights[512];
        double sums[4] = {0};
        for (size_t j = 0; j < count; j++) {
            const double lost = (double)before[j] - after[j];
            if (j % (m.rows * m.cols) == 0)
                weights_of(j / (size_t)(m.rows * m.cols), (size_t)m.cols, weights);
            sums[0] += (double)before[j] * before[j];
            sums[1] += lost * lost;
            sums[2] += (double)before[j] * before[j] * weights[j % m.cols];
            sums[3] += lost * lost * weights[j % m.cols];
        }
        ck_assert_double_eq_tol(json_real_value(json_object_get(row, "relative_error")), sqrt(sums[1] / sums[0]), 1e-7);
        if (weighed)
            ck_assert_double_eq_tol(json_real_value(json_object_get(row, "weighted_error")), sqrt(sums[3] / sums[2]),
                                    1e-7);
        ck_assert_int_eq(weighed, strcmp(name, "token_embd.weight") != 0 && strcmp(name, "output.weight") != 0);
        seen++;
        free(before);
        free(after);
    }
    ck_assert_uint_eq(seen, 5);
    ck_assert_str_eq(
        json_string_value(json_object_get(json_array_get(json_object_get(convert_report, "left_alone"), 0), "tensor")),
        "blk.0.ffn_up.weight");
    organ_model_close(from);
    organ_model_close(model);
}
END_TEST

/* ---- errors ---- */

START_TEST(what_cannot_be_is_refused)
{
    organ_error error;
    convert_way way = way_of("q4_k", NULL);
    way.targets = "blk.0.ffn_up.*";
    convert_refused(way, ORGAN_BAD_INPUT, "'blk.0.ffn_up.weight': its rows of 40 values are not whole blocks of 32");
    way = way_of("fp8-block128", NULL);
    ck_assert_int_eq(convert("out", way, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "is GGUF, but fp8-block128 is a scheme of safetensors models"), "%s",
                  error.message);
    way = way_of("fp8-block128", "imatrix.gguf");
    way.model = NULL;
    convert_refused(way, ORGAN_USAGE, "`gguf.imatrix` has no meaning with scheme fp8-block128");
    way.scheme = "q4_k";
    convert_refused(way, ORGAN_BAD_INPUT, "num_hidden_layers is missing"); /* it is converted first */
    ck_assert_int_eq(convert("out", way, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "the output of scheme q4_k is one GGUF file: name a .gguf"), "%s",
                  error.message);
    way = way_of("q4_k", NULL);
    way.memory = (uint64_t)1 << 20;
    convert_refused(way, ORGAN_USAGE, "is enough");
    spoilt = 1e6f;
    make_donor(TENSORS);
    way = way_of("q4_0", NULL);
    way.type_of = "blk.0.ffn_gate_exps.weight=f16";
    convert_refused(way, ORGAN_BAD_INPUT,
                    "'blk.0.ffn_gate_exps.weight' has values beyond the range of F16: `type_of` "
                    "'blk.0.ffn_gate_exps.weight=keep' leaves it unchanged");
    way.type_of = "blk.0.ffn_gate_exps.weight=bf16";
    must_convert("plain.gguf", way);
    spoilt = NAN;
    make_donor(TENSORS);
    convert_refused(way_of("q6_k", NULL), ORGAN_BAD_INPUT,
                    "'blk.0.ffn_gate_exps.weight' has values that are NaN or infinite");
    spoilt = INFINITY;
    make_donor(TENSORS);
    convert_refused(way_of("q4_1", "imatrix.gguf"), ORGAN_BAD_INPUT,
                    "'blk.0.ffn_gate_exps.weight' has values that are NaN or infinite");
}
END_TEST

/* The second expert has a count of 0. */
static void fill_unreached(const made_tensor *tensor, size_t index, float *values, void *to)
{
    fill_importance(tensor, index, values, to);
    if (index == 4)
        memset((float *)to + 256, 0, 256 * sizeof(float));
    if (index == 5)
        ((float *)to)[1] = 0;
}

/* Fills the importances; the second expert has the sums of the two others. */
static void fill_averaged(const made_tensor *tensor, size_t index, float *values, void *to)
{
    fill_importance(tensor, index, values, to);
    for (size_t j = 0; index == 4 && j < 256; j++)
        ((float *)to)[256 + j] = input_square(0, j) + input_square(2, j);
    if (index == 5)
        ((float *)to)[1] = 16;
}

static void write_importance(void (*fill)(const made_tensor *tensor, size_t index, float *values, void *to))
{
    organ_error error = {0};
    organ_gguf_writer *writer;
    must(organ_gguf_writer_create(&writer, &error), &error);
    organ_gguf_writer_set_string(writer, "general.type", "imatrix", 7, &error);
    write_gguf(scratch_path("imatrix.gguf"), writer, importance, 6, fill);
}

static const json_t *of_experts(const char *object, const char *name)
{
    return json_object_get(json_object_get(convert_report, object), name);
}

/* It uses the sums of the inputs of the others, and the report names it. */
static void fill_expert(void)
{
    write_importance(fill_averaged);
    must_convert("plain.gguf", way_of("q4_k", "imatrix.gguf"));
    ck_assert_ptr_null(of_experts("imatrix", "fallback"));
    ck_assert_int_eq(json_integer_value(of_experts("totals", "unreached_experts")), 0);
    write_importance(fill_unreached);
    must_convert("out.gguf", way_of("q4_k", "imatrix.gguf"));
    ck_assert_int_eq(json_integer_value(of_experts("totals", "unreached_experts")), 1);
    const json_t *const fallback = of_experts("imatrix", "fallback");
    ck_assert_int_eq(json_integer_value(json_object_get(fallback, "experts")), 1);
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(fallback, "names"), 0)), "layer 0: 1");
    organ_model *const plain = open_sound("plain.gguf"), *const model = open_sound("out.gguf");
    size_t bytes;
    unsigned char *const alike = bytes_of(plain, donor[EXPERTS].name, ORGAN_Q4_K, &bytes);
    unsigned char *const got = bytes_of(model, donor[EXPERTS].name, ORGAN_Q4_K, &bytes);
    ck_assert_int_eq(memcmp(alike, got, bytes), 0);
    free(alike);
    free(got);
    organ_model_close(plain);
    organ_model_close(model);
    convert_forget("out");
    convert_forget("plain");
}

START_TEST(expert_that_no_token_reached)
{
    fill_expert();
    name_experts(/*down=*/true);
    make_donor(TENSORS);
    fill_expert();
}
END_TEST

START_TEST(imatrix_that_does_not_fit)
{
    organ_error error;
    make_importance(4);
    convert_refused(way_of("q4_k", "imatrix.gguf"), ORGAN_BAD_INPUT,
                    "'blk.0.ffn_gate_exps.weight': imatrix.gguf has no entry for it");
    convert_way way = way_of("q4_k", "imatrix.gguf");
    way.targets = "blk.0.attn_q.*";
    must_convert("some.gguf", way);
    convert_refused(way_of("q4_k", "donor.gguf"), ORGAN_BAD_INPUT, "is not an importance matrix");
    convert_refused(way_of("q4_k", "missing.gguf"), ORGAN_IO, "missing.gguf");
    spill(scratch_path("imatrix.gguf"), "GGUF", 4);
    ck_assert_msg(convert("out.gguf", way, &error) == ORGAN_BAD_INPUT, "%s", error.message);
    ck_assert(!scratch_left("out.gguf"));
}
END_TEST

/* Types that --type-of fixes, and types without weights of columns, need no entry. */
START_TEST(types_that_need_no_entry)
{
    organ_error error;
    make_importance(4);
    convert_way way = way_of("q4_k", "imatrix.gguf");
    ck_assert_int_eq(convert("out.gguf", way, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "`type_of` 'blk.0.ffn_gate_exps.weight=q8_0'"), "%s", error.message);
    static const char *const types[] = {"*exps*=q8_0", "*exps*=Q6_K", "*exps*=iq4_xs", "*exps*=f16", "*exps*=keep"};
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        way.type_of = types[k];
        must_convert("fixed.gguf", way);
        convert_forget("fixed");
    }
    static const char *const needed[] = {"*exps*=q2_k", "*exps*=iq2_s", "*exps*=iq3_xxs", "*exps*=iq1_s",
                                         "*exps*=iq1_m"};
    for (size_t k = 0; k < sizeof needed / sizeof *needed; k++) {
        way.type_of = needed[k];
        convert_refused(way, ORGAN_BAD_INPUT, "imatrix.gguf has no entry for it");
    }
    must_convert("whole.gguf", way_of("q8_0", "imatrix.gguf"));
    must_convert("plain.gguf", way_of("q8_0", NULL));
    organ_model *const plain = open_sound("plain.gguf"), *const whole = open_sound("whole.gguf");
    size_t bytes;
    unsigned char *const alike = bytes_of(plain, donor[EXPERTS].name, ORGAN_Q8_0, &bytes);
    unsigned char *const got = bytes_of(whole, donor[EXPERTS].name, ORGAN_Q8_0, &bytes);
    ck_assert_int_eq(memcmp(alike, got, bytes), 0);
    free(alike);
    free(got);
    organ_model_close(plain);
    organ_model_close(whole);
}
END_TEST

/* IQ2_XS, IQ2_XXS, IQ1_S and IQ1_M, which llama-quantize refuses without an imatrix. Rows that are no whole blocks need
 * none. */
START_TEST(types_that_need_importances)
{
    static const organ_dtype types[] = {ORGAN_IQ2_XS, ORGAN_IQ2_XXS, ORGAN_IQ1_S, ORGAN_IQ1_M};
    static const char *const names[] = {"iq2_xs", "iq2_xxs", "iq1_s", "iq1_m"};
    static const int64_t numbers[] = {20, 19, 24, 31};
    make_importance(sizeof importance / sizeof *importance);
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        convert_refused(way_of(names[k], NULL), ORGAN_USAGE, "needs `imatrix`");
        must_convert("out.gguf", way_of(names[k], "imatrix.gguf"));
        organ_model *const model = open_sound("out.gguf");
        type_is(model, "token_embd.weight", types[k]);
        type_is(model, "blk.0.attn_q.weight", types[k]);
        type_is(model, "blk.0.ffn_gate_exps.weight", types[k]);
        type_is(model, "blk.0.ffn_down.weight", ORGAN_IQ4_NL);
        type_is(model, "output.weight", ORGAN_Q6_K);
        ck_assert_int_eq(organ_gguf_integer(model->gguf, "general.file_type", -1), numbers[k]);
        organ_model_close(model);
        convert_forget("out");
        convert_way way = way_of(names[k], NULL);
        way.targets = "blk.0.ffn_down.*";
        must_convert("out.gguf", way);
        convert_forget("out");
    }
    convert_way way = way_of("q4_k", NULL);
    way.type_of = "blk.0.attn_q.*=iq2_xs";
    convert_refused(way, ORGAN_USAGE, "iq2_xs for blk.0.attn_q.weight needs `imatrix`");
}
END_TEST

/* Quantising a quantised model changes only tensors that are not quantised yet. */
START_TEST(packed_targets_are_dequantised)
{
    convert_way way = way_of("q8_0", NULL);
    way.targets = "blk.0.attn_q.*";
    must_convert("first.gguf", way);
    way = way_of("q4_k", NULL);
    way.model = scratch_path("first.gguf");
    must_convert("second.gguf", way);
    organ_model *const model = open_sound("second.gguf");
    type_is(model, "blk.0.attn_q.weight", ORGAN_Q4_K);
    type_is(model, "blk.0.ffn_gate_exps.weight", ORGAN_Q4_K);
    organ_model_close(model);
    way.scheme = "q8_0";
    way.model = scratch_path("first.gguf");
    way.targets = "blk.0.attn_q.*";
    convert_refused(way, ORGAN_BAD_INPUT, "it is stored as Q8_0 already");
}
END_TEST

START_TEST(full_disk_and_what_goes_on)
{
    organ_error error;
    convert_way way = way_of("q5_0", "imatrix.gguf");
    must_convert("reference.gguf", way);
    size_t resumed = 0;
    for (long n = 1; n < 60; n += 3) {
        fault_at(FAULT_PWRITE, n, ENOSPC, true, NULL);
        const organ_status status = convert("out.gguf", way, &error);
        if (!fault_fired()) {
            ck_assert_int_eq(status, ORGAN_OK);
            break;
        }
        resumed++;
        ck_assert_int_eq(status, ORGAN_IO);
        ck_assert(!exists(scratch_path("out.gguf")));
        way.resume = strstr(error.message, "`resume` continues") != NULL;
        ck_assert_int_eq(scratch_left("out.gguf"), way.resume);
        must_convert("out.gguf", way);
        way.resume = false;
        ck_assert(same_files(scratch_path("reference.gguf"), scratch_path("out.gguf")));
        convert_forget("out");
    }
    ck_assert_uint_gt(resumed, 5);
    fault_at(FAULT_FSYNC, 2, ENOSPC, true, NULL);
    ck_assert_int_eq(convert("last.gguf", way, &error), ORGAN_IO);
    fault_clear();
    way.resume = true;
    must_convert("last.gguf", way);
    ck_assert(same_files(scratch_path("reference.gguf"), scratch_path("last.gguf")));
    ck_assert(!exists(scratch_path(".last.gguf.organ-partial")));
}
END_TEST

/* A run can be resumed only with the same imatrix. */
START_TEST(resume_refuses_another_imatrix)
{
    organ_error error;
    convert_way way = way_of("q5_0", "imatrix.gguf");
    fault_at(FAULT_FSYNC, 2, ENOSPC, true, NULL); /* the first fsync writes the mark */
    ck_assert_int_eq(convert("out.gguf", way, &error), ORGAN_IO);
    fault_clear();
    way.resume = true;
    way.imatrix = NULL;
    ck_assert_int_eq(convert("out.gguf", way, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "its imatrix 'imatrix.gguf'"), "%s", error.message);
    way = way_of("q5_1", "imatrix.gguf");
    way.resume = true;
    ck_assert_int_eq(convert("out.gguf", way, &error), ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "its parameters was "), "%s", error.message);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"types", {tensors_become_what_is_said, head_and_targets, packed_targets_are_dequantised}},
        {"bytes",
         {blocks_are_those_of_the_kernel, same_bytes_by_any_way, report_tells_the_loss, expert_that_no_token_reached}},
        {"faults",
         {what_cannot_be_is_refused, imatrix_that_does_not_fit, types_that_need_no_entry, types_that_need_importances,
          full_disk_and_what_goes_on, resume_refuses_another_imatrix}},
    };
    return run_suites((Suite *const[]){
        suite_of("quantize_gguf", cases, sizeof cases / sizeof *cases, setup, convert_teardown), NULL});
}
