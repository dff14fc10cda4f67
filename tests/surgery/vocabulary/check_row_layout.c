/* SPDX-License-Identifier: MIT
 * Takes rows out of the quantised weights in fixtures/precision: the smaller weights have the values of these rows, bit
 * for bit, in every layout; layouts in which rows share values are refused. */
#include "orchestrator/surgery/vocabulary/row_layout.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURES "fixtures/precision/"

typedef struct layout_case {
    const char *name;
    size_t taken, refused; /* weights of which rows can be taken, and those whose rows share values */
} layout_case;

static const layout_case cases[] = {{"awq-gemm-32", 1, 0},
                                    {"awq-gemm-64", 1, 0},
                                    {"awq-gemv-64", 1, 0},
                                    {"bnb-int8", 4, 0},
                                    {"bnb-nf4", 0, 4},
                                    {"ct-float-quantized", 2, 1},
                                    {"ct-int-quantized", 4, 0},
                                    {"ct-int4-block", 0, 2},
                                    {"ct-mxfp4", 1, 0},
                                    {"ct-nvfp4", 2, 0},
                                    {"ct-packed-actorder", 4, 0},
                                    {"ct-packed-channel-asym", 8, 0},
                                    {"ct-packed-group", 8, 0},
                                    {"ct-packed-group-asym", 8, 0},
                                    {"ct-packed-old-channel-asym", 8, 0},
                                    {"ct-packed-old-group", 8, 0},
                                    {"fp8-block128", 2, 2},
                                    {"gptq-auto-2", 1, 0},
                                    {"gptq-planar-5", 0, 2},
                                    {"gptq-v1-2", 1, 0},
                                    {"gptq-v1-3", 1, 0},
                                    {"gptq-v1-4", 1, 0},
                                    {"gptq-v1-8", 1, 0},
                                    {"gptq-v2-3", 1, 0},
                                    {"mlx-affine", 11, 0},
                                    {"modelopt-int4-awq", 0, 2},
                                    {"plain-types", 18, 0},
                                    {"quark-int4", 0, 2}};
enum { CASES = sizeof cases / sizeof *cases };

/* ---- models ---- */

typedef struct opened {
    organ_model *model;
    organ_weights *weights;
} opened;

static opened open_at(const char *path)
{
    opened o = {0};
    organ_error error = {0};
    ck_assert_msg(organ_model_open(path, &o.model, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(organ_weights_find(o.model, &o.weights, &error) == ORGAN_OK, "%s", error.message);
    return o;
}

static void close_all(opened *o)
{
    organ_weights_free(o->weights);
    organ_model_close(o->model);
}

/* The values of a weight, row by row. The caller frees them. */
static float *values_of(const opened *o, const organ_weight *w, uint64_t *rows, uint64_t *cols)
{
    organ_weight_reader *reader;
    organ_error error = {0};
    char note[256];
    const char *why;
    const organ_kernels *const kernels = organ_kernels_choose(organ_cpu_detect(), "scalar", &why);
    ck_assert_msg(organ_weight_reader_open(o->model, w, kernels, note, &reader, &error) == ORGAN_OK, "%s",
                  error.message);
    *rows = organ_weight_reader_rows(reader);
    *cols = organ_weight_reader_cols(reader);
    float *const values = aligned_alloc(64, (*rows * *cols * sizeof *values + 63) / 64 * 64);
    void *const scratch = aligned_alloc(64, organ_weight_reader_scratch(reader, *rows) + 64);
    ck_assert(values && scratch);
    ck_assert_msg(organ_weight_read(reader, 0, *rows, ORGAN_F32, values, scratch, &error) == ORGAN_OK, "%s",
                  error.message);
    free(scratch);
    organ_weight_reader_close(reader);
    return values;
}

/* ---- rows ---- */

/* Two of three rows; a multiple that fills words of every width. */
static size_t choose_ids(uint64_t rows, uint32_t *ids)
{
    size_t count = 0;
    for (uint32_t id = 0; id < rows; id++)
        if (id % 3 != 1)
            ids[count++] = id;
    if (count >= 32)
        return count / 32 * 32;
    return count >= 8 ? 8 * (count / 8) : count;
}

typedef struct output {
    FILE *data, *header;
    uint64_t at; /* bytes of data */
    uint64_t begin;
} output;

static organ_status take(void *context, const unsigned char *bytes, uint64_t at, size_t count, organ_error *error)
{
    output *const out = context;
    ck_assert_uint_eq(out->begin + at, out->at);
    ck_assert_uint_eq(fwrite(bytes, 1, count, out->data), count);
    out->at += count;
    return error->status;
}

static void add_tensor(output *out, const organ_row_choice *c)
{
    uint64_t shape[ORGAN_ROW_RANK] = {0};
    organ_error error = {0};
    unsigned char *const buffer = aligned_alloc(64, (size_t)(organ_choice_buffer(c) + 63) / 64 * 64);
    ck_assert_ptr_nonnull(buffer);
    out->begin = out->at;
    organ_row_layout_shape(&c->layout, c->tensor, c->count, shape);
    ck_assert_msg(organ_choice_pass(c, buffer, take, out, &error) == ORGAN_OK, "%s", error.message);
    fprintf(out->header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", c->tensor->name, organ_dtype_name(c->tensor->dtype));
    for (unsigned k = 0; k < c->tensor->rank; k++)
        fprintf(out->header, "%s%" PRIu64, k ? "," : "", shape[k]);
    fprintf(out->header, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", out->begin, out->at);
    free(buffer);
}

/* Writes tensors of the weight with the chosen rows. Returns false if a layout is refused. */
static bool add_weight(output *out, const opened *from, const organ_weight *w, const uint32_t *ids, size_t count)
{
    for (size_t part = 0; part < ORGAN_WEIGHT_TENSORS; part++) {
        const organ_tensor *const tensor = organ_weight_tensor(w, part);
        organ_row_layout layout;
        organ_error error = {0};
        if (!tensor)
            continue;
        if (organ_row_layout_find(w, tensor, &layout, &error)) {
            ck_assert_int_eq(error.status, ORGAN_BAD_INPUT);
            ck_assert_ptr_nonnull(strstr(error.message, "share its values"));
            return false;
        }
        ck_assert_uint_eq(count % organ_row_layout_multiple(&layout), 0);
        const organ_row_choice c = organ_choice_of(from->model, tensor, &layout, ids, count, NULL);
        add_tensor(out, &c);
    }
    return true;
}

static void finish(output *out, char *header, const char *data, size_t bytes)
{
    header[0] = '{';
    const uint64_t length = strlen(header);
    FILE *const file = fopen(scratch_path("model.safetensors"), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(&length, 1, sizeof length, file), sizeof length);
    ck_assert_uint_eq(fwrite(header, 1, length, file), length);
    ck_assert_uint_eq(fwrite(data, 1, bytes, file), bytes);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_uint_eq(out->at, bytes);
}

/* ---- the test ---- */

static void compare(const opened *whole, const organ_weight *w, const uint32_t *ids, size_t count)
{
    const opened small = open_at(scratch_path(""));
    uint64_t rows, cols, kept, width;
    const organ_weight *found = NULL;
    for (size_t k = 0; k < small.weights->count; k++)
        if (strcmp(small.weights->weights[k].name, w->name) == 0)
            found = &small.weights->weights[k];
    ck_assert_msg(found && found->scheme == w->scheme, "%s is no weight of the same scheme", w->name);
    float *const expected = values_of(whole, w, &rows, &cols), *const values = values_of(&small, found, &kept, &width);
    ck_assert_uint_eq(kept, count);
    ck_assert_uint_eq(width, cols);
    for (size_t k = 0; k < count; k++)
        ck_assert_msg(memcmp(values + k * cols, expected + ids[k] * cols, cols * sizeof *values) == 0,
                      "row %u of %s has other values", ids[k], w->name);
    free(expected);
    free(values);
    close_all(&(opened){small.model, small.weights});
}

static void copy_config(const char *name)
{
    char path[256], text[8192];
    snprintf(path, sizeof path, FIXTURES "%s/config.json", name);
    FILE *const file = fopen(path, "rb");
    if (!file)
        return;
    const size_t bytes = fread(text, 1, sizeof text, file);
    ck_assert_uint_lt(bytes, sizeof text);
    fclose(file);
    scratch_file("config.json", text, bytes);
}

static bool one_weight(const opened *whole, const organ_weight *w)
{
    char *data, *header;
    size_t bytes, length;
    uint32_t *const ids = malloc((size_t)w->shape[0] * sizeof *ids);
    const size_t count = choose_ids(w->shape[0], ids);
    output out = {.data = open_memstream(&data, &bytes), .header = open_memstream(&header, &length)};
    bool taken = add_weight(&out, whole, w, ids, count);
    fprintf(out.header, "}");
    fclose(out.data);
    fclose(out.header);
    if (taken && count) {
        finish(&out, header, data, bytes);
        compare(whole, w, ids, count);
    }
    free(ids);
    free(data);
    free(header);
    return taken;
}

START_TEST(rows_keep_their_values)
{
    char path[256];
    size_t taken = 0, refused = 0;
    snprintf(path, sizeof path, FIXTURES "%s", cases[_i].name);
    opened whole = open_at(path);
    copy_config(cases[_i].name);
    for (size_t k = 0; k < whole.weights->count; k++) {
        const organ_weight *const w = &whole.weights->weights[k];
        const bool done = w->rank == 2 && one_weight(&whole, w);
        taken += done;
        refused += w->rank == 2 && !done;
    }
    ck_assert_msg(taken == cases[_i].taken && refused == cases[_i].refused, "{\"%s\", %zu, %zu},", cases[_i].name,
                  taken, refused);
    close_all(&whole);
}
END_TEST

/* A number of rows that leaves a word half empty is known before. */
START_TEST(words_are_full)
{
    static const struct {
        organ_row_layout layout;
        uint64_t multiple;
    } words[] = {{{.form = ORGAN_ROWS_WHOLE, .bits = 4}, 1},
                 {{.form = ORGAN_ROWS_COLUMNS, .bits = 3, .dense = true}, 1},
                 {{.form = ORGAN_ROWS_FIELDS, .bits = 2, .dense = true}, 16},
                 {{.form = ORGAN_ROWS_FIELDS, .bits = 3, .dense = true}, 32},
                 {{.form = ORGAN_ROWS_FIELDS, .bits = 4, .awq = true}, 8},
                 {{.form = ORGAN_ROWS_FIELDS, .bits = 8, .dense = true}, 4}};
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        ck_assert_uint_eq(organ_row_layout_multiple(&words[k].layout), words[k].multiple);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("row_layout");
    TCase *const rows = tcase_create("rows"), *const words = tcase_create("words");
    tcase_add_checked_fixture(rows, scratch_begin, scratch_end);
    tcase_add_loop_test(rows, rows_keep_their_values, 0, CASES);
    tcase_add_test(words, words_are_full);
    suite_add_tcase(suite, rows);
    suite_add_tcase(suite, words);
    Suite *const suites[] = {suite, NULL};
    return run_suites(suites);
}
