/* SPDX-License-Identifier: MIT
 * Packed weights against what the owners of their formats make of them, bit for bit: fixtures/precision, every scheme, any range of rows,
 * every ISA. And values of companions that cannot be. */
#include "formats/weights.h"
#include "orchestrator/stream/weight_reader.h"
#include "tests/model_maker.h"
#include "tests/suite_table.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIXTURES "fixtures/precision"

/* What is in each directory, and what its reader says. */
typedef struct golden {
    const char *name;
    organ_scheme scheme;
    size_t tensors;
    const char *note; /* part of it; NULL: none */
} golden;

static const golden goldens[] = {
    {"awq-gemm-32", ORGAN_SCHEME_AWQ_GEMM, 1, NULL},
    {"awq-gemm-64", ORGAN_SCHEME_AWQ_GEMM, 1, NULL},
    {"awq-gemv-32", ORGAN_SCHEME_AWQ_GEMV, 1, NULL},
    {"awq-gemv-64", ORGAN_SCHEME_AWQ_GEMV, 1, NULL},
    {"awq-gemv-128", ORGAN_SCHEME_AWQ_GEMV, 1, NULL},
    {"ct-float-quantized", ORGAN_SCHEME_FP8, 3, NULL},
    {"ct-int-quantized", ORGAN_SCHEME_INT8, 4, NULL},
    {"ct-naive-quantized", ORGAN_SCHEME_INT8, 1, NULL},
    {"ct-mxfp4", ORGAN_SCHEME_MXFP4, 1, NULL},
    {"ct-mxfp8", ORGAN_SCHEME_MXFP8, 1, NULL},
    {"ct-nvfp4", ORGAN_SCHEME_NVFP4, 2, NULL},
    {"ct-packed-group", ORGAN_SCHEME_PACKED, 8, NULL},
    {"ct-packed-group-asym", ORGAN_SCHEME_PACKED, 8, NULL},
    {"ct-packed-channel-asym", ORGAN_SCHEME_PACKED, 8, NULL},
    {"ct-packed-old-group", ORGAN_SCHEME_PACKED, 8, NULL},
    {"ct-packed-old-channel-asym", ORGAN_SCHEME_PACKED, 8, NULL},
    {"ct-packed-actorder", ORGAN_SCHEME_PACKED, 4, NULL},
    {"fp8-block128", ORGAN_SCHEME_FP8, 4, NULL},
    {"fp8-ue8m0", ORGAN_SCHEME_FP8, 2, NULL},
    {"fp8-tensor-channel", ORGAN_SCHEME_FP8, 16, NULL},
    {"gpt-oss-mxfp4", ORGAN_SCHEME_MXFP4, 2, NULL},
    {"gptq-auto-2", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-auto-3", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-auto-4", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-auto-8", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v1-2", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v1-3", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v1-4", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v1-8", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v2-2", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v2-3", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v2-4", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v2-8", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-wrap", ORGAN_SCHEME_GPTQ, 1, "zero points are stored as 15, the greatest code"},
    {"gptq-mislabelled-v1-3", ORGAN_SCHEME_GPTQ, 1,
     "says gptq, but all its zero points are stored as 4, which is gptq_v2: read as gptq_v2"},
    {"gptq-mislabelled-v1-4", ORGAN_SCHEME_GPTQ, 1,
     "says gptq, but all its zero points are stored as 8, which is gptq_v2: read as gptq_v2"},
    {"gptq-mislabelled-v2-4", ORGAN_SCHEME_GPTQ, 1, "says gptq_v2, but all its zero points are stored as 7, which is gptq: read as gptq"},
    {"modelopt-nvfp4", ORGAN_SCHEME_NVFP4, 2, NULL},
    {"plain-types", ORGAN_SCHEME_PLAIN, 18, NULL},
};
enum { GOLDENS = sizeof goldens / sizeof *goldens };

static size_t element_bytes(organ_dtype as) { return as == ORGAN_F32 ? sizeof(float) : sizeof(uint16_t); }

static size_t tables(const organ_kernels *all[4])
{
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
    size_t count = 0;
    const char *why;
    for (size_t k = 0; k < 4; k++) {
        const organ_kernels *table = organ_kernels_choose(organ_cpu_detect(), names[k], &why);
        if (table)
            all[count++] = table;
    }
    return count;
}

static organ_model *open_model(const char *path)
{
    organ_error error = {0};
    organ_model *model;
    ck_assert_msg(organ_model_open(path, &model, &error) == ORGAN_OK, "%s", error.message);
    return model;
}

static organ_weights *find_weights(const organ_model *model)
{
    organ_error error = {0};
    organ_weights *weights;
    ck_assert_msg(organ_weights_find(model, &weights, &error) == ORGAN_OK, "%s", error.message);
    return weights;
}

/* ---- rows ---- */

/* Reads rows into memory of exactly their size, in scratch of exactly what is asked for: the sanitizer sees what is touched beyond. */
static void *read_rows(const organ_weight_reader *reader, uint64_t first, size_t rows, organ_dtype as)
{
    organ_error error = {0};
    const size_t bytes = rows * organ_weight_reader_cols(reader) * element_bytes(as), scratch = organ_weight_reader_scratch(reader, rows);
    void *values = aligned_alloc(64, (bytes + 63) / 64 * 64), *room = aligned_alloc(64, scratch + 64);
    ck_assert_uint_eq(scratch % 64, 0);
    memset(values, 0xa5, bytes);
    memset(room, 0xa5, scratch);
    ck_assert_msg(organ_weight_read(reader, first, rows, as, values, room, &error) == ORGAN_OK, "%s", error.message);
    free(room);
    return values;
}

static void compare(const golden *g, const organ_weight *w, const organ_kernels *kernels, const organ_weight_reader *reader, uint64_t first,
                    size_t rows, organ_dtype as, const unsigned char *expected)
{
    const size_t row = organ_weight_reader_cols(reader) * element_bytes(as), size = element_bytes(as);
    unsigned char *values = read_rows(reader, first, rows, as);
    for (size_t at = 0; at < rows * row; at += size)
        ck_assert_msg(memcmp(values + at, expected + first * row + at, size) == 0,
                      "%s: %s on %s, rows %llu to %llu: value %zu of row %zu differs", g->name, w->name, kernels->isa,
                      (unsigned long long)first, (unsigned long long)(first + rows - 1), at % row / size, (size_t)first + at / row);
    free(values);
}

/* Whole, row by row, and in ranges that begin and end anywhere. */
static void compare_ranges(const golden *g, const organ_weight *w, const organ_kernels *kernels, const organ_weight_reader *reader,
                           organ_dtype as, const unsigned char *expected)
{
    static const size_t lengths[] = {3, 61, 128};
    const uint64_t rows = organ_weight_reader_rows(reader);
    compare(g, w, kernels, reader, 0, (size_t)rows, as, expected);
    for (uint64_t row = 0; row < rows; row++)
        compare(g, w, kernels, reader, row, 1, as, expected);
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
        for (uint64_t first = k; first < rows; first += lengths[k]) {
            const uint64_t left = rows - first;
            compare(g, w, kernels, reader, first, left < lengths[k] ? (size_t)left : lengths[k], as, expected);
        }
}

/* Every type is FP32 rounded once. */
static void compare_types(const golden *g, const organ_weight *w, const organ_kernels *kernels, const organ_weight_reader *reader)
{
    static const organ_dtype types[] = {ORGAN_BF16, ORGAN_F16};
    const size_t rows = (size_t)organ_weight_reader_rows(reader), n = rows * organ_weight_reader_cols(reader);
    float *values = read_rows(reader, 0, rows, ORGAN_F32);
    for (size_t t = 0; t < 2; t++) {
        uint16_t *rounded = read_rows(reader, 0, rows, types[t]), *own = malloc(n * sizeof *own);
        if (types[t] == ORGAN_BF16)
            kernels->f32_to_bf16(values, own, n);
        else
            kernels->f32_to_f16(values, own, n);
        ck_assert_msg(memcmp(rounded, own, n * sizeof *own) == 0, "%s: %s on %s is rounded otherwise", g->name, w->name, kernels->isa);
        free(own);
        free(rounded);
    }
    free(values);
}

static void check_weight(const golden *g, const organ_model *model, const organ_weight *w, const organ_model *owner)
{
    organ_error error = {0};
    const organ_tensor *want = organ_model_find(owner, w->name);
    const organ_kernels *all[4];
    const size_t count = tables(all);
    ck_assert_msg(want != NULL, "%s: '%s' is not what the owner calls it", g->name, w->name);
    ck_assert_msg(w->scheme == g->scheme, "%s: %s is taken for %s", g->name, w->name, organ_scheme_name(w->scheme));
    ck_assert_uint_eq(w->rank, want->rank);
    for (unsigned k = 0; k < w->rank; k++)
        ck_assert_msg(w->shape[k] == want->shape[k], "%s: %s has %llu along axis %u, the owner %llu", g->name, w->name,
                      (unsigned long long)w->shape[k], k, (unsigned long long)want->shape[k]);
    unsigned char *expected = malloc(want->bytes);
    ck_assert_int_eq(organ_model_read(owner, want->file, expected, want->bytes, want->offset, &error), ORGAN_OK);
    for (size_t k = 0; k < count; k++) {
        organ_weight_reader *reader;
        char note[256];
        ck_assert_msg(organ_weight_reader_open(model, w, all[k], note, &reader, &error) == ORGAN_OK, "%s", error.message);
        ck_assert_msg(g->note ? strstr(note, g->note) != NULL : !*note, "%s: '%s'", g->name, note);
        compare_ranges(g, w, all[k], reader, want->dtype, expected);
        compare_types(g, w, all[k], reader);
        ck_assert_uint_gt(organ_weight_reader_bytes(reader, (size_t)organ_weight_reader_rows(reader)), 0);
        organ_weight_reader_close(reader);
    }
    free(expected);
}

static void check_golden(const golden *g)
{
    char path[512];
    snprintf(path, sizeof path, FIXTURES "/%s", g->name);
    organ_model *model, *owner;
    if (access(path, R_OK))
        ck_abort_msg("%s is missing", path);
    /* The owner's tensors lie in the same directory: opened as a file of their own. */
    char expected[600], index[600];
    snprintf(expected, sizeof expected, "%s/expected.safetensors", path);
    snprintf(index, sizeof index, "%s/model.safetensors.index.json", path);
    owner = open_model(expected);
    model = open_model(access(index, R_OK) == 0 ? index : path);
    organ_weights *weights = find_weights(model);
    ck_assert_msg(weights->count == g->tensors && owner->tensor_count == g->tensors, "%s: %zu weights, the owner has %zu, expected %zu",
                  g->name, weights->count, owner->tensor_count, g->tensors);
    for (size_t k = 0; k < weights->count; k++)
        check_weight(g, model, &weights->weights[k], owner);
    organ_weights_free(weights);
    organ_model_close(owner);
    organ_model_close(model);
}

START_TEST(as_the_owner_has_it) { check_golden(&goldens[_i]); }
END_TEST

int main(void)
{
    Suite *suite = suite_create("precision");
    TCase *one = tcase_create("owners");
    tcase_set_timeout(one, 60);
    tcase_add_loop_test(one, as_the_owner_has_it, 0, GOLDENS);
    suite_add_tcase(suite, one);
    Suite *const suites[] = {suite, NULL};
    return run_suites(suites);
}
