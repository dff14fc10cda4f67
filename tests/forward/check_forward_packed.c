/* SPDX-License-Identifier: MIT
 * Packed weights that are decoded in panels give the bits of dequantised weights, with less memory. */
#include <organ/quantize.h>
#include "tests/kit/effort.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void compare_models(const char *values, const char *packed, const expected *e)
{
    for (unsigned threads = 1; threads < 6; threads += (unsigned)sampled(2, 4)) {
        const uint64_t memory = threads == 3 ? ROOMY / 8 : ROOMY;
        float *a = logits_of(values, e, threads, memory), *b = logits_of(packed, e, threads, memory);
        ck_assert_msg(memcmp(a, b, e->rows * e->words * sizeof *a) == 0, "%s with %u threads", packed, threads);
        free(a);
        free(b);
    }
}

/* ---- blocks of GGUF ---- */

typedef struct block_type {
    uint32_t number;
    size_t bytes; /* of 32 values */
} block_type;

enum { BLOCK = 32 };

/* Makes random blocks with a scale that makes their values exact in BF16, and these values. */
static void fill_blocks(const block_type *type, size_t blocks, unsigned char *packed, unsigned char *values)
{
    static const unsigned char scale[2] = {0x00, 0x24}; /* 2^-6 */
    static uint32_t state = 1;
    float numbers[BLOCK];
    for (size_t k = 0; k < blocks; k++, packed += type->bytes, values += 2 * BLOCK) {
        for (size_t b = 0; b < type->bytes; b++)
            packed[b] = (unsigned char)((state = state * 1664525 + 1013904223) >> 24);
        memcpy(packed, scale, sizeof scale);
        organ_kernels_scalar->dequantize[type->number](packed, numbers, 1);
        organ_kernels_scalar->f32_to_bf16(numbers, (uint16_t *)(void *)values, BLOCK);
    }
}

/* Returns the position of a tensor's type in the header. */
static size_t type_of(const unsigned char *file, size_t size, const organ_tensor *tensor)
{
    unsigned char key[300];
    const uint64_t length = strlen(tensor->name);
    memcpy(key, &length, sizeof length);
    memcpy(key + sizeof length, tensor->name, length);
    const unsigned char *const at = memmem(file, size, key, sizeof length + length);
    ck_assert_msg(at != NULL, "%s", tensor->name);
    return (size_t)(at - file) + sizeof length + length + 4 + 8 * tensor->rank;
}

static int by_offset(const void *a, const void *b)
{
    const organ_tensor *const x = *(const organ_tensor *const *)a, *const y = *(const organ_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Replaces every matrix with whole blocks per row by blocks in "packed.gguf" and by their values in "values.gguf". */
static size_t pack_model(const char *path, const block_type *type)
{
    organ_model *model;
    organ_error error = {0};
    size_t size, matrices = 0;
    unsigned char *const values = (unsigned char *)slurp(path, &size), *const packed =
                                                                           (unsigned char *)slurp(path, &size);
    ck_assert_int_eq(organ_model_open(path, &model, &error), ORGAN_OK);
    const organ_tensor **const sorted = calloc(model->tensor_count, sizeof *sorted);
    for (size_t t = 0; t < model->tensor_count; t++)
        sorted[t] = &model->tensors[t];
    qsort(sorted, model->tensor_count, sizeof *sorted, by_offset);
    uint64_t data = sorted[0]->offset, at = 0;
    for (size_t t = 0; t < model->tensor_count; t++) {
        const organ_tensor *const tensor = sorted[t];
        const size_t word = type_of(values, size, tensor), blocks = (size_t)tensor->elements / BLOCK;
        const bool is_packed =
            tensor->dtype == ORGAN_BF16 && tensor->rank > 1 && tensor->shape[tensor->rank - 1] % BLOCK == 0;
        if (is_packed) {
            fill_blocks(type, blocks, packed + data + at, values + tensor->offset);
            memcpy(packed + word, &type->number, sizeof type->number);
        } else
            memcpy(packed + data + at, values + tensor->offset, (size_t)tensor->bytes);
        memcpy(packed + word + sizeof type->number, &at, sizeof at);
        at = (at + (is_packed ? blocks * type->bytes : tensor->bytes) + 31) / 32 * 32;
        matrices += is_packed;
    }
    organ_model_close(model);
    spill(scratch_path("values.gguf"), values, size);
    spill(scratch_path("packed.gguf"), packed, (size_t)(data + at));
    free(sorted);
    free(values);
    free(packed);
    return matrices;
}

/* A llama model, whose Q and K have another order of rows; stacked experts; fused matrices. */
START_TEST(blocks_are_worth_their_values)
{
    static const block_type types[] = {{8, 34}, {2, 18}}; /* Q8_0, Q4_0 */
    static const char *const names[] = {"llama", "mixtral", "qwen3moe", "phi3", "gemma3"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
            char path[200], golden[200];
            snprintf(path, sizeof path, "fixtures/forward/%s.gguf", names[n]);
            snprintf(golden, sizeof golden, "fixtures/forward/%s.logits.safetensors", names[n]);
            expected e = expected_read(golden);
            ck_assert_uint_gt(pack_model(path, &types[k]), 10);
            compare_models(scratch_path("values.gguf"), scratch_path("packed.gguf"), &e);
            expected_free(&e);
        }
}
END_TEST

/* ---- schemes of safetensors ---- */

static void make(const char *scheme, const char *packed, const char *values)
{
    session s;
    organ_error error = {0};
    json_t *report;
    ck_assert_int_eq(session_open(&s, "fixtures/tiny-qwen2", 2, ROOMY, &error), ORGAN_OK);
    const organ_quantize_options q = {
        .model = "fixtures/tiny-qwen2", .write.output = packed, .scheme = scheme, .write.max_shard_size = UINT64_MAX};
    ck_assert_msg(organ_quantize(&q, &s.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    const organ_dequantize_options d = {
        .model = packed, .write.output = values, .dtype = "f32", .write.max_shard_size = UINT64_MAX};
    ck_assert_msg(organ_dequantize(&d, &s.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    session_close(&s);
}

static size_t batch_of(const char *path, uint64_t memory, organ_type_change as)
{
    session s;
    organ_error error = {0};
    ck_assert_int_eq(session_open(&s, path, 2, memory, &error), ORGAN_OK);
    if (as != ORGAN_TYPES_STAY)
        ck_assert_int_eq(organ_forward_estimate(s.forward, as, &error), ORGAN_OK);
    const size_t tokens = organ_forward_batch(s.forward, 8);
    session_close(&s);
    return tokens;
}

START_TEST(schemes_are_worth_their_values)
{
    /* fp8-block128 does not quantise q, k, v, gate and up of this model. */
    static const struct {
        const char *name;
        size_t more; /* tokens of a batch than of the values at least */
    } schemes[] = {{"int4-group32", 1000}, {"fp8-block128", 100}, {"fp8-channel", 1000}};
    expected e = expected_read("fixtures/forward/tiny-qwen2.logits.safetensors");
    for (size_t k = 0; k < sizeof schemes / sizeof *schemes; k++) {
        const char *const packed = scratch_path("packed-%zu", k), *const values = scratch_path("values-%zu", k);
        make(schemes[k].name, packed, values);
        compare_models(values, packed, &e);
        ck_assert_uint_gt(batch_of(packed, ROOMY / 8, ORGAN_TYPES_STAY),
                          batch_of(values, ROOMY / 8, ORGAN_TYPES_STAY) + schemes[k].more);
    }
    expected_free(&e);
}
END_TEST

/* The estimate for a model before it exists is its need, or slightly more. */
START_TEST(what_is_made_takes_what_was_foreseen)
{
    const char *const packed = scratch_path("packed"), *const values = scratch_path("values");
    session s;
    organ_error error = {0};
    organ_layer *layer;
    make("int4-group32", packed, values);
    const struct {
        const char *from, *to;
        organ_type_change as;
        size_t slack; /* tokens: memory for panels that is not needed */
    } cases[] = {{packed, values, ORGAN_TYPES_32, 2500}, {"fixtures/tiny-qwen2", packed, ORGAN_TYPES_PACKED, 8000}};
    for (size_t k = 0; k < 2; k++) {
        const size_t foreseen = batch_of(cases[k].from, ROOMY / 8, cases[k].as),
                     is = batch_of(cases[k].to, ROOMY / 8, ORGAN_TYPES_STAY);
        ck_assert_msg(foreseen <= is && is - foreseen < cases[k].slack, "%zu tokens foreseen, %zu", foreseen, is);
    }
    ck_assert_uint_gt(batch_of(packed, ROOMY / 8, ORGAN_TYPES_16), batch_of(packed, ROOMY / 8, ORGAN_TYPES_32));
    ck_assert_int_eq(session_open(&s, packed, 2, ROOMY, &error), ORGAN_OK);
    ck_assert_int_eq(organ_forward_estimate(s.forward, ORGAN_TYPES_16, &error), ORGAN_OK);
    ck_assert_int_eq(organ_layer_load(s.forward, 0, &layer, &error), ORGAN_USAGE);
    ck_assert_ptr_null(layer);
    session_close(&s);
}
END_TEST

Suite *forward_packed_suite(void)
{
    const suite_case cases[] = {
        {"packed",
         {blocks_are_worth_their_values, schemes_are_worth_their_values, what_is_made_takes_what_was_foreseen}},
    };
    return suite_of("forward packed", cases, sizeof cases / sizeof *cases, scratch_make, scratch_remove);
}
