/* SPDX-License-Identifier: MIT
 * Tests reading of inputs whose experts have another order: every entry is that of the order, whatever rows are read at
 * once, and a change of rows gets the rows of the weight. */
#include "orchestrator/surgery/merge/merge_walk.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"

#include <stdlib.h>
#include <string.h>

enum { EXPERTS = 5, ROWS = 3, COLS = 7, MOST = EXPERTS * ROWS * COLS, CHANGE = 1000 };

/* Value k of each tensor is k. */
static const char header[] = "{\"stack\":{\"dtype\":\"F32\",\"shape\":[5,3,7],\"data_offsets\":[0,420]},"
                             "\"router\":{\"dtype\":\"F32\",\"shape\":[5,7],\"data_offsets\":[420,560]},"
                             "\"fused\":{\"dtype\":\"F32\",\"shape\":[15,7],\"data_offsets\":[560,980]},"
                             "\"bias\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[980,1000]},"
                             "\"correction\":{\"dtype\":\"F32\",\"shape\":[1,5],\"data_offsets\":[1000,1020]}}";
static const struct {
    const char *name;
    size_t values, each, cols; /* of the tensor, of an expert, of a row */
} tensors[] = {{"stack", MOST, ROWS *COLS, COLS},
               {"router", EXPERTS *COLS, COLS, COLS},
               {"fused", MOST, ROWS *COLS, COLS},
               {"bias", EXPERTS, 1, EXPERTS},
               {"correction", EXPERTS, 1, EXPERTS}};

static const uint32_t orders[][EXPERTS] = {{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {1, 2, 0, 4, 3}, {3, 0, 4, 2, 1}};

static void setup(void)
{
    const uint64_t length = sizeof header - 1;
    unsigned char file[8 + sizeof header - 1 + 1020];
    size_t at = 8 + length;
    scratch_make();
    memcpy(file, &length, 8);
    memcpy(file + 8, header, length);
    for (size_t t = 0; t < sizeof tensors / sizeof *tensors; t++)
        for (size_t k = 0; k < tensors[t].values; k++, at += sizeof(float))
            memcpy(file + at, &(float){(float)k}, sizeof(float));
    spill(scratch_path("m.safetensors"), file, at);
}

static organ_status open_change(const void *context, void **state, organ_error *error)
{
    *state = (void *)context;
    return error->status;
}

static void close_change(void *state) { (void)state; }

static size_t change_scratch(const void *context, size_t rows) { return context ? rows * COLS * sizeof(float) : 0; }

/* Adds CHANGE times the number of the row, and uses its scratch. */
static organ_status change_rows(const void *context, const void *state, uint64_t first, size_t rows, float *values,
                                void *scratch, organ_error *error)
{
    REQUIRE_MSG(context == state, "the state is that of another change");
    memset(scratch, 1, rows * COLS * sizeof(float));
    for (size_t k = 0; k < rows * COLS; k++)
        values[k] += (float)((first + k / COLS) * CHANGE);
    return error->status;
}

/* Reads a tensor in strips of `rows` rows, and compares it with its values. */
static void read_in(const organ_model *model, size_t t, const uint32_t *order, size_t rows, bool changed)
{
    const organ_weight weight = organ_weight_plain(organ_model_find(model, tensors[t].name));
    const organ_merge_change change = {.context = header,
                                       .open = open_change,
                                       .close = close_change,
                                       .scratch = change_scratch,
                                       .change = change_rows};
    const organ_merge_input input = {
        .model = model, .weight = &weight, .change = changed ? &change : NULL, .order = order, .experts = EXPERTS};
    const size_t cols = tensors[t].cols, all = tensors[t].values / cols;
    float values[MOST];
    size_t bytes = 0;
    organ_merge_reader reader;
    organ_error error = {0};
    organ_merge_reader_scratch(&input, organ_kernels_scalar, rows, &bytes, &error);
    float *const strip = aligned_alloc(64, (rows * cols * sizeof(float) + 63) / 64 * 64);
    void *const scratch = aligned_alloc(64, bytes + 64);
    organ_merge_reader_open(&input, organ_kernels_scalar, &reader, &error);
    for (uint64_t first = 0; first < all; first += rows) {
        const size_t n = all - first < rows ? (size_t)(all - first) : rows;
        organ_merge_reader_read(&reader, first, n, strip, scratch, &error);
        ck_assert_msg(!error.status, "%s", error.message);
        memcpy(values + first * cols, strip, n * cols * sizeof *values);
    }
    organ_merge_reader_close(&reader);
    free(strip);
    free(scratch);
    for (size_t k = 0; k < tensors[t].values; k++) {
        const size_t each = tensors[t].each, from = (order ? order[k / each] : k / each) * each + k % each;
        const double expected = (double)from + (changed ? (double)(from / cols * CHANGE) : 0);
        ck_assert_msg((double)values[k] == expected, "%s: value %zu is %g, not %g", tensors[t].name, k,
                      (double)values[k], expected);
    }
}

START_TEST(entries_are_those_of_the_order)
{
    organ_model *model = NULL;
    organ_error error = {0};
    organ_model_open(scratch_path("m.safetensors"), &model, &error);
    ck_assert_msg(!error.status, "%s", error.message);
    for (size_t t = 0; t < sizeof tensors / sizeof *tensors; t++)
        for (size_t o = 0; o <= sizeof orders / sizeof *orders; o++)
            for (size_t rows = 1; rows <= tensors[t].values / tensors[t].cols; rows++)
                for (int changed = 0; changed <= (tensors[t].cols == COLS); changed++)
                    read_in(model, t, o ? orders[o - 1] : NULL, rows, changed);
    organ_model_close(model);
}
END_TEST

static Suite *merge_order_suite(void)
{
    const suite_case cases[] = {{"entries", {entries_are_those_of_the_order}}};
    return suite_of("merge_order", cases, sizeof cases / sizeof *cases, setup, scratch_remove);
}

int main(void) { return run_suites((Suite *const[]){merge_order_suite(), NULL}); }
