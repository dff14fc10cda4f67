/* SPDX-License-Identifier: MIT
 * Compares packed weights with the dequantised values of their formats' own libraries, bit for bit: fixtures/precision,
 * every scheme, any range of rows, every ISA. Also tests invalid values in companions. */
#include <organ/weights.h>
#include <organ/stream.h>
#include "orchestrator/stream/product.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/weights_rig.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIXTURES "fixtures/precision"

/* The content of each directory, and the note of its reader. */
typedef struct golden {
    const char *name;
    organ_scheme scheme;
    size_t tensors;
    const char *note; /* part of the note; NULL: none */
} golden;

static const golden goldens[] = {
    {"auto-round-fp8-block", ORGAN_SCHEME_FP8, 2, NULL},
    {"auto-round-mxint4", ORGAN_SCHEME_MXINT4, 2, NULL},
    {"awq-gemm-32", ORGAN_SCHEME_AWQ_GEMM, 1, NULL},
    {"awq-gemm-64", ORGAN_SCHEME_AWQ_GEMM, 1, NULL},
    {"awq-gemv-32", ORGAN_SCHEME_AWQ_GEMV, 1, NULL},
    {"awq-gemv-64", ORGAN_SCHEME_AWQ_GEMV, 1, NULL},
    {"awq-gemv-128", ORGAN_SCHEME_AWQ_GEMV, 1, NULL},
    {"bnb-fp4", ORGAN_SCHEME_BNB4, 4, NULL},
    {"bnb-int8", ORGAN_SCHEME_BNB8, 4, NULL},
    {"bnb-nf4", ORGAN_SCHEME_BNB4, 4, NULL},
    {"bnb-nf4-double", ORGAN_SCHEME_BNB4, 4, NULL},
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
    {"ct-packed-stacked", ORGAN_SCHEME_PACKED, 1, NULL},
    {"ct-int4-block", ORGAN_SCHEME_PACKED, 2, NULL},
    {"ct-int8-block", ORGAN_SCHEME_PACKED, 2, NULL},
    {"ct-mxfp6", ORGAN_SCHEME_MXFP6, 4, NULL},
    {"ct-nvfp4-group", ORGAN_SCHEME_NVFP4, 4, NULL},
    {"ct-packed-actorder", ORGAN_SCHEME_PACKED, 4, NULL},
    {"fp8-block128", ORGAN_SCHEME_FP8, 4, NULL},
    {"fp8-stacked", ORGAN_SCHEME_FP8, 1, NULL},
    {"fp8-stacked-halves", ORGAN_SCHEME_FP8, 2, NULL},
    {"fp8-ue8m0", ORGAN_SCHEME_FP8, 2, NULL},
    {"fp8-tensor-channel", ORGAN_SCHEME_FP8, 16, NULL},
    {"gpt-oss-mxfp4", ORGAN_SCHEME_MXFP4, 2, NULL},
    {"gptq-auto-2", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-auto-3", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-auto-4", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-auto-8", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-planar-3", ORGAN_SCHEME_GPTQ, 2, NULL},
    {"gptq-planar-5", ORGAN_SCHEME_GPTQ, 2, NULL},
    {"gptq-planar-6", ORGAN_SCHEME_GPTQ, 2, NULL},
    {"gptq-planar-7", ORGAN_SCHEME_GPTQ, 2, NULL},
    {"gptq-v1-2", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v1-3", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v1-4", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v1-8", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v2-2", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v2-3", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v2-4", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-v2-8", ORGAN_SCHEME_GPTQ, 1, NULL},
    {"gptq-wrap", ORGAN_SCHEME_GPTQ, 1, "zero points are stored as 15, the largest code"},
    {"gptq-mislabelled-v1-3", ORGAN_SCHEME_GPTQ, 1,
     "states gptq, but all its zero points are stored as 4, which means gptq_v2: it is read as gptq_v2"},
    {"gptq-mislabelled-v1-4", ORGAN_SCHEME_GPTQ, 1,
     "states gptq, but all its zero points are stored as 8, which means gptq_v2: it is read as gptq_v2"},
    {"gptq-mislabelled-v2-4", ORGAN_SCHEME_GPTQ, 1,
     "states gptq_v2, but all its zero points are stored as 7, which means gptq: it is read as gptq"},
    {"mlx-affine", ORGAN_SCHEME_MLX, 11, NULL},
    {"mlx-affine-f16", ORGAN_SCHEME_MLX, 3, NULL},
    {"mlx-affine-f32", ORGAN_SCHEME_MLX, 3, NULL},
    {"mlx-experts", ORGAN_SCHEME_MLX, 10, NULL},
    {"mlx-mxfp4", ORGAN_SCHEME_MXFP4, 2, NULL},
    {"mlx-mxfp8", ORGAN_SCHEME_MXFP8, 2, NULL},
    {"mlx-nvfp4", ORGAN_SCHEME_NVFP4, 2, NULL},
    {"modelopt-fp8-blocks", ORGAN_SCHEME_FP8, 2, NULL},
    {"modelopt-int4-awq", ORGAN_SCHEME_INT4_ROWS, 2, NULL},
    {"modelopt-int8-sq", ORGAN_SCHEME_INT8, 2, NULL},
    {"modelopt-nvfp4", ORGAN_SCHEME_NVFP4, 2, NULL},
    {"plain-types", ORGAN_SCHEME_PLAIN, 18, NULL},
    {"quark-int4", ORGAN_SCHEME_QUARK4, 2, NULL},
    {"quark-mxfp6", ORGAN_SCHEME_MXFP6, 2, NULL},
    {"quark-nvfp4", ORGAN_SCHEME_NVFP4, 2, NULL},
    {"torchao-fp8", ORGAN_SCHEME_FP8, 4, NULL},
    {"torchao-int4", ORGAN_SCHEME_INT8, 4, NULL},
    {"torchao-int4-asym", ORGAN_SCHEME_INT8, 4, NULL},
    {"torchao-int8", ORGAN_SCHEME_INT8, 4, NULL},
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

/* Reads rows into memory of exactly their size, with scratch of exactly the required size, so that the sanitizer finds
 * accesses beyond. */
static void *read_rows(const organ_weight_reader *reader, uint64_t first, size_t rows, organ_dtype as)
{
    organ_error error = {0};
    const size_t bytes = rows * organ_weight_reader_cols(reader) * element_bytes(as),
                 scratch = organ_weight_reader_scratch(reader, rows);
    void *values = aligned_alloc(64, (bytes + 63) / 64 * 64), *room = aligned_alloc(64, scratch + 64);
    ck_assert_uint_eq(scratch % 64, 0);
    memset(values, 0xa5, bytes);
    memset(room, 0xa5, scratch);
    ck_assert_msg(organ_weight_read(reader, first, rows, as, values, room, &error) == ORGAN_OK, "%s", error.message);
    free(room);
    return values;
}

static void compare(const golden *g, const organ_weight *w, const organ_kernels *kernels,
                    const organ_weight_reader *reader, uint64_t first, size_t rows, organ_dtype as,
                    const unsigned char *expected)
{
    const size_t row = organ_weight_reader_cols(reader) * element_bytes(as), size = element_bytes(as);
    unsigned char *values = read_rows(reader, first, rows, as);
    for (size_t at = 0; memcmp(values, expected + first * row, rows * row) != 0 && at < rows * row; at += size)
        ck_assert_msg(memcmp(values + at, expected + first * row + at, size) == 0,
                      "%s: %s on %s, rows %llu to %llu: value %zu of row %zu differs", g->name, w->name, kernels->isa,
                      (unsigned long long)first, (unsigned long long)(first + rows - 1), at % row / size,
                      (size_t)first + at / row);
    free(values);
}

/* Reads all rows at once, row by row, and in ranges with any start and end. */
static void compare_ranges(const golden *g, const organ_weight *w, const organ_kernels *kernels,
                           const organ_weight_reader *reader, organ_dtype as, const unsigned char *expected)
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

/* Checks that every type is FP32 rounded once, and that a weight stored in that type keeps its bits. */
static void compare_types(const golden *g, const organ_model *model, const organ_weight *w,
                          const organ_kernels *kernels, const organ_weight_reader *reader)
{
    organ_error error = {0};
    static const organ_dtype types[] = {ORGAN_BF16, ORGAN_F16};
    const size_t rows = (size_t)organ_weight_reader_rows(reader), n = rows * organ_weight_reader_cols(reader);
    float *values = read_rows(reader, 0, rows, ORGAN_F32);
    for (size_t t = 0; t < 2; t++) {
        uint16_t *rounded = read_rows(reader, 0, rows, types[t]), *own = malloc(n * sizeof *own);
        if (w->codes->dtype == types[t])
            ck_assert_int_eq(organ_model_read(model, w->codes->file, own, n * sizeof *own, w->codes->offset, &error),
                             ORGAN_OK);
        else if (types[t] == ORGAN_BF16)
            kernels->f32_to_bf16(values, own, n);
        else
            kernels->f32_to_f16(values, own, n);
        ck_assert_msg(memcmp(rounded, own, n * sizeof *own) == 0, "%s: %s on %s is rounded otherwise", g->name, w->name,
                      kernels->isa);
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
        ck_assert_msg(organ_weight_reader_open(model, w, all[k], note, &reader, &error) == ORGAN_OK, "%s",
                      error.message);
        ck_assert_msg(g->note ? strstr(note, g->note) != NULL : !*note, "%s: '%s'", g->name, note);
        compare_ranges(g, w, all[k], reader, want->dtype, expected);
        compare_types(g, model, w, all[k], reader);
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
    /* The quantiser's own tensors are in the same directory and opened as a separate file. */
    char expected[600], index[600];
    snprintf(expected, sizeof expected, "%s/expected.safetensors", path);
    snprintf(index, sizeof index, "%s/model.safetensors.index.json", path);
    owner = open_model(expected);
    model = open_model(access(index, R_OK) == 0 ? index : path);
    organ_weights *weights = find_weights(model);
    ck_assert_msg(weights->count == g->tensors && owner->tensor_count == g->tensors,
                  "%s: %zu weights, the owner has %zu, expected %zu", g->name, weights->count, owner->tensor_count,
                  g->tensors);
    for (size_t k = 0; k < weights->count; k++)
        check_weight(g, model, &weights->weights[k], owner);
    organ_weights_free(weights);
    organ_model_close(owner);
    organ_model_close(model);
}

START_TEST(as_the_owner_has_it) { check_golden(&goldens[_i]); }
END_TEST

/* ---- larger weights of random bytes ---- */

/* Models whose weights take several batches and end within one. */
typedef struct sample {
    const char *name, *config, *tensors;
} sample;

static const sample samples[] = {
    {"FP8 block", FP8(BLOCK128), "$.weight F8_E4M3 1000,700\n$.weight_scale_inv F32 8,6\n"},
    {"FP8 channel", FP8(""), "$.weight F8_E5M2 1000,701\n$.weight_scale F32 1000,1\n"},
    {"FP8 stack", FP8(BLOCK128), "$.weight F8_E4M3 3,200,300\n$.weight_scale_inv F32 3,2,3\n"},
    {"GPTQ", GPTQ(",\"bits\":4,\"group_size\":16"),
     "$.qweight I32 24,1704\n$.qzeros I32 12,213\n$.scales F16 12,1704\n$.g_idx I32 192\n"},
    {"GPTQ in planes", GPTQ(",\"bits\":7,\"group_size\":64"),
     "$.qweight I32 42,1728\n$.qzeros I32 3,378\n$.scales F16 3,1728\n"},
    {"GPTQ in order", GPTQ(",\"bits\":3,\"group_size\":16"),
     "$.qweight I32 18,1728\n$.qzeros I32 12,162\n$.scales F16 12,1728\n"},
    {"AWQ gemm", AWQ(",\"group_size\":32,\"version\":\"gemm\""),
     "$.qweight I32 160,300\n$.qzeros I32 5,300\n$.scales F16 5,2400\n"},
    {"AWQ gemv", AWQ(",\"group_size\":64,\"version\":\"gemv\""),
     "$.qweight I32 300,80\n$.qzeros I32 300,2\n$.scales F16 300,16\n"},
    {"gpt-oss", "{\"quantization_config\":{\"quant_method\":\"mxfp4\"}}",
     "$_blocks U8 3,300,20,16\n$_scales U8 3,300,20\n"},
    {"3 bits, dense", WORDS(3, ",\"strategy\":\"group\",\"group_size\":32,\"symmetric\":false"),
     "$.weight_packed I32 1000,96\n$.weight_scale BF16 1000,32\n$.weight_zero_point I32 94,32\n$.weight_shape I64 "
     "2=1000,1024\n"},
    {"5 bits, whole words", WORDS(5, ",\"strategy\":\"group\",\"group_size\":32,\"symmetric\":false"),
     "$.weight_packed I32 1000,171\n$.weight_scale BF16 1000,32\n$.weight_zero_point I32 167,32\n$.weight_shape I64 "
     "2=1000,1024\n"},
    {"NVFP4", NULL, "$.weight_packed U8 700,512\n$.weight_scale F8_E4M3 700,64\n$.weight_global_scale F32 1\n"},
    {"MLX, 3 bits", MLX(3, 64), "$.weight U32 700,96\n$.scales BF16 700,16\n$.biases BF16 700,16\n"},
    {"MLX, 4 bits in F16", MLX(4, 32), "$.weight U32 3,200,64\n$.scales F16 3,200,16\n$.biases F16 3,200,16\n"},
    {"MLX, 6 bits in F32", MLX(6, 128), "$.weight U32 700,120\n$.scales F32 700,5\n$.biases F32 700,5\n"},
    {"MLX, nvfp4", MLX(4, 16), "$.weight U32 700,64\n$.scales U8 700,32\n"},
    {"MXFP6", QUARK_CODES("fp6_e3m2"), "$.weight U8 700,768\n$.weight_scale U8 700,32\n"},
    {"MXINT4", AUTO_ROUND_CODES("mx_int"), "$.weight_packed U8 700,512\n$.weight_scale U8 700,32\n"},
    {"INT4 of two rows", "{\"quantization_config\":{\"quant_method\":\"modelopt\",\"quant_algo\":\"W4A16_AWQ\"}}",
     "$.weight U8 350,1024\n$.weight_scale F32 700,8\n$.pre_quant_scale F32 1024\n"},
    {"Quark INT4", QUARK_CODES("int4"),
     "$.weight I32 320,300\n$.weight_scale BF16 5,2400\n$.weight_zero_point I32 5,300\n"},
    {"NF4", BNB,
     "$.weight U8 175175,1\n$.weight.absmax F32 5475\n$.weight.quant_map F32 16\n"
     "$.weight.quant_state.bitsandbytes__nf4 U8 80={\"blocksize\":64,\"shape\":[350,1001]}\n"},
    {"NF4, nested", BNB,
     "$.weight U8 175175,1\n$.weight.absmax U8 5475\n$.weight.quant_map F32 16\n"
     "$.weight.nested_absmax F32 22\n$.weight.nested_quant_map F32 256\n$.weight.quant_state.bitsandbytes__nf4 U8 "
     "160={\"blocksize\":64,\"shape\":[350,1001],\"nested_blocksize\":256,\"nested_offset\":0.125}\n"},
    {"plain", NULL, "$.weight BF16 1000,700\n"},
    {"plain stack", NULL, "$.weight F8_E4M3 3,200,301\n"},
    {"halves of bytes", NULL, "$ F4 30,5002\n"},
};
enum { SAMPLES = sizeof samples / sizeof *samples };

/* Fills all tensors except weight_shape with random bytes; g_idx gets indices of `groups` groups. */
static void fill(const organ_model *model, int32_t groups)
{
    const int fd = open(scratch_path("model.safetensors"), O_WRONLY);
    uint32_t state = 12345;
    for (size_t t = 0; t < model->tensor_count; t++) {
        const organ_tensor *tensor = &model->tensors[t];
        if (strstr(tensor->name, "weight_shape") || strstr(tensor->name, "quant_state"))
            continue;
        uint32_t *words = malloc(tensor->bytes + 4);
        for (size_t k = 0; k < (tensor->bytes + 3) / 4; k++) {
            state = state * 1664525 + 1013904223;
            words[k] = strstr(tensor->name, "g_idx") ? (state >> 8) % (uint32_t)groups : state ^ state >> 15;
        }
        ck_assert_int_eq(pwrite(fd, words, tensor->bytes, (off_t)tensor->offset), (ssize_t)tensor->bytes);
        free(words);
    }
    close(fd);
}

static organ_weight_reader *open_reader(const organ_model *model, const organ_weight *w, const organ_kernels *kernels)
{
    organ_error error = {0};
    organ_weight_reader *reader;
    ck_assert_msg(organ_weight_reader_open(model, w, kernels, NULL, &reader, &error) == ORGAN_OK, "%s", error.message);
    return reader;
}

/* Batches with any start and end, and all instruction sets, give the same bits. */
START_TEST(any_rows_are_the_same)
{
    const sample *s = &samples[_i];
    organ_model *model;
    organ_weights *weights;
    organ_error error = {0};
    const organ_kernels *all[4];
    const size_t count = tables(all);
    rig_model(s->config, s->tensors);
    ck_assert_msg(rig_find(&model, &weights, &error) == ORGAN_OK, "%s: %s", s->name, error.message);
    ck_assert_uint_eq(weights->count, 1);
    fill(model, 12);
    const golden as_is = {.name = s->name};
    const organ_weight *w = weights->weights;
    organ_weight_reader *first = open_reader(model, w, all[0]);
    const size_t rows = (size_t)organ_weight_reader_rows(first);
    ck_assert_uint_eq(rows * organ_weight_reader_cols(first), w->elements);
    unsigned char *expected = read_rows(first, 0, rows, ORGAN_F32);
    organ_weight_reader_close(first);
    for (size_t k = 0; k < count; k++) {
        organ_weight_reader *reader = open_reader(model, w, all[k]);
        compare(&as_is, w, all[k], reader, 0, rows, ORGAN_F32, expected);
        for (size_t row = 0; row < rows; row += 97)
            compare(&as_is, w, all[k], reader, row, 1, ORGAN_F32, expected);
        for (size_t at = 5; at < rows; at += 259)
            compare(&as_is, w, all[k], reader, at, rows - at < 259 ? rows - at : 259, ORGAN_F32, expected);
        compare_types(&as_is, model, w, all[k], reader);
        organ_weight_reader_close(reader);
    }
    free(expected);
    organ_weights_free(weights);
    organ_model_close(model);
}
END_TEST

/* Reads all rows of the weight. The file is truncated before the reader is open (early), or after. */
static organ_status read_cut(const organ_model *model, const organ_weight *w, uint64_t bytes, bool early,
                             organ_error *error)
{
    organ_weight_reader *reader;
    *error = (organ_error){0};
    if (early)
        ck_assert_int_eq(truncate(scratch_path("model.safetensors"), (off_t)bytes), 0);
    organ_status status = organ_weight_reader_open(model, w, organ_kernels_scalar, NULL, &reader, error);
    if (!early)
        ck_assert_int_eq(truncate(scratch_path("model.safetensors"), (off_t)bytes), 0);
    if (status == ORGAN_OK) {
        const size_t rows = (size_t)organ_weight_reader_rows(reader);
        void *values = malloc(rows * organ_weight_reader_cols(reader) * sizeof(float));
        void *scratch = aligned_alloc(64, organ_weight_reader_scratch(reader, rows) + 64);
        status = organ_weight_read(reader, 0, rows, ORGAN_F32, values, scratch, error);
        free(values);
        free(scratch);
    }
    organ_weight_reader_close(reader);
    return status;
}

/* Each read of a truncated file is an error that names it; the whole file can be read. */
START_TEST(files_that_are_cut)
{
    const sample *s = &samples[_i];
    organ_model *model;
    organ_weights *weights;
    organ_error error = {0};
    rig_model(s->config, s->tensors);
    ck_assert_msg(rig_find(&model, &weights, &error) == ORGAN_OK, "%s", error.message);
    fill(model, 12);
    const uint64_t data = model->files[0].data_offset, bytes[] = {model->files[0].size, data + 100, data};
    for (int k = 0; k < 3; k++) {
        const organ_status status = read_cut(model, weights->weights, bytes[k], k == 2, &error);
        ck_assert_msg(status == (k == 0 ? ORGAN_OK : ORGAN_BAD_INPUT), "%s, %d: %d: %s", s->name, k, status,
                      error.message);
        ck_assert_msg(k == 0 || strstr(error.message, "model.safetensors"), "%s: %s", s->name, error.message);
    }
    organ_weights_free(weights);
    organ_model_close(model);
}
END_TEST

/* NVFP4 of GGUF: a scale for each matrix in a separate tensor. */
START_TEST(the_tensor_scale_of_gguf)
{
    enum { TALL = 3, BLOCKS = 2, VALUES = 64, BYTES = 36 };
    organ_model *model;
    organ_weights *weights;
    organ_error error = {0};
    rig_model(NULL, "a U8 2,3,72\nb F32 2\n");
    ck_assert_msg(rig_find(&model, &weights, &error) == ORGAN_OK, "%s", error.message);
    fill(model, 1);
    const uint64_t shape[] = {2, TALL, BLOCKS * VALUES};
    organ_tensor codes = *organ_model_find(model, "a");
    codes.dtype = ORGAN_NVFP4;
    codes.shape = shape;
    const organ_weight w = {
        .name = "a", .rank = 3, .shape = shape, .codes = &codes, .global = organ_model_find(model, "b")};
    unsigned char blocks[2 * TALL * BLOCKS * BYTES];
    float expected[2 * TALL * BLOCKS * VALUES], global[2];
    ck_assert_int_eq(organ_model_read(model, codes.file, blocks, sizeof blocks, codes.offset, &error), ORGAN_OK);
    ck_assert_int_eq(organ_model_read(model, w.global->file, global, sizeof global, w.global->offset, &error),
                     ORGAN_OK);
    organ_widen(organ_kernels_scalar, ORGAN_NVFP4, blocks, expected, 2 * TALL * BLOCKS);
    for (size_t k = 0; k < sizeof expected / sizeof *expected; k++)
        expected[k] *= global[k / (TALL * BLOCKS * VALUES)];
    organ_weight_reader *reader = open_reader(model, &w, organ_kernels_scalar);
    compare(&(golden){.name = "GGUF"}, &w, organ_kernels_scalar, reader, 0, 2 * TALL, ORGAN_F32,
            (const unsigned char *)expected);
    compare(&(golden){.name = "GGUF"}, &w, organ_kernels_scalar, reader, 2, 3, ORGAN_F32,
            (const unsigned char *)expected);
    organ_weight_reader_close(reader);
    organ_weights_free(weights);
    organ_model_close(model);
}
END_TEST

/* ---- invalid values ---- */

/* Opens the reader of the only weight, which must fail with all fragments in the message. */
static void expect_bad(const char *config, const char *tensors, const char *const *fragments)
{
    organ_model *model;
    organ_weights *weights;
    organ_error error = {0};
    organ_weight_reader *reader;
    rig_model(config, tensors);
    ck_assert_msg(rig_find(&model, &weights, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_int_eq(organ_weight_reader_open(model, weights->weights, organ_kernels_scalar, NULL, &reader, &error),
                     ORGAN_BAD_INPUT);
    ck_assert_ptr_null(reader);
    for (; *fragments; fragments++)
        ck_assert_msg(strstr(error.message, *fragments) != NULL, "'%s' has no '%s'", error.message, *fragments);
    organ_weights_free(weights);
    organ_model_close(model);
}

#define GPTQ_ORDER(values) "$.qweight I32 8,64\n$.qzeros I32 2,8\n$.scales F16 2,64\n$.g_idx I32 64=" values "\n"
#define CT_ORDER(values)                                                                                               \
    "$.weight_packed I32 8,8\n$.weight_scale BF16 8,2\n$.weight_shape I64 2=8,64\n$.weight_g_idx I32 64=" values "\n"

START_TEST(groups_that_are_not_there)
{
    static const char gptq[] = GPTQ(",\"bits\":4,\"group_size\":32");
    static const char words[] = WORDS(4, ",\"strategy\":\"group\",\"group_size\":32,\"actorder\":\"group\"");
    expect_bad(gptq, GPTQ_ORDER("0,1,2"),
               (const char *const[]){"g_idx'", "column 2 belongs to group 2", "2 groups", NULL});
    expect_bad(gptq, GPTQ_ORDER("0,-1"), (const char *const[]){"g_idx'", "column 1 belongs to group -1", NULL});
    expect_bad(gptq, GPTQ_ORDER("2147483647"), (const char *const[]){"column 0 belongs to group 2147483647", NULL});
    expect_bad(words, CT_ORDER("0,1,1,2"),
               (const char *const[]){"g_idx'", "column 3 belongs to group 2", "2 groups", NULL});
    expect_bad(words, CT_ORDER("-1,-2"), (const char *const[]){"column 1 belongs to group -2", NULL});
}
END_TEST

START_TEST(values_that_are_no_numbers)
{
    expect_bad(NULL, "$.weight C64 4,4\n", (const char *const[]){"up_proj.weight'", "C64", NULL});
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("precision");
    TCase *owners = tcase_create("owners"), *rows = tcase_create("rows"), *bad = tcase_create("values");
    tcase_set_timeout(owners, 60);
    tcase_set_timeout(rows, 60);
    tcase_add_loop_test(owners, as_the_owner_has_it, 0, GOLDENS);
    tcase_add_checked_fixture(rows, scratch_begin, scratch_end);
    tcase_add_loop_test(rows, any_rows_are_the_same, 0, SAMPLES);
    tcase_add_loop_test(rows, files_that_are_cut, 0, SAMPLES);
    tcase_add_test(rows, the_tensor_scale_of_gguf);
    tcase_add_checked_fixture(bad, scratch_begin, scratch_end);
    tcase_add_test(bad, groups_that_are_not_there);
    tcase_add_test(bad, values_that_are_no_numbers);
    suite_add_tcase(suite, owners);
    suite_add_tcase(suite, rows);
    suite_add_tcase(suite, bad);
    Suite *const suites[] = {suite, NULL};
    return run_suites(suites);
}
