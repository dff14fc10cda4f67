/* SPDX-License-Identifier: MIT
 * Checks of GGUF storage types: golden files of the Python package gguf (fixtures/README.md), every table against the
 * scalar one on blocks of random bytes, then alignment and bounds. Values are equal if their bits are, or if both are
 * NaN: the bits of a NaN depend on the CPU. */
#include "tests/kernels/kernel_checker.h"
#include "tests/kit/effort.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct block_type {
    const char *name;
    int number;
    size_t elements, bytes; /* per block */
} block_type;

static const block_type types[] = {
    {"F32", 0, 1, 4},         {"F16", 1, 1, 2},        {"Q4_0", 2, 32, 18},      {"Q4_1", 3, 32, 20},
    {"Q5_0", 6, 32, 22},      {"Q5_1", 7, 32, 24},     {"Q8_0", 8, 32, 34},      {"Q2_K", 10, 256, 84},
    {"Q3_K", 11, 256, 110},   {"Q4_K", 12, 256, 144},  {"Q5_K", 13, 256, 176},   {"Q6_K", 14, 256, 210},
    {"IQ2_XXS", 16, 256, 66}, {"IQ2_XS", 17, 256, 74}, {"IQ3_XXS", 18, 256, 98}, {"IQ1_S", 19, 256, 50},
    {"IQ4_NL", 20, 32, 18},   {"IQ3_S", 21, 256, 110}, {"IQ2_S", 22, 256, 82},   {"IQ4_XS", 23, 256, 136},
    {"I8", 24, 1, 1},         {"I16", 25, 1, 2},       {"I32", 26, 1, 4},        {"I64", 27, 1, 8},
    {"F64", 28, 1, 8},        {"IQ1_M", 29, 256, 56},  {"BF16", 30, 1, 2},       {"TQ1_0", 34, 256, 54},
    {"TQ2_0", 35, 256, 66},   {"MXFP4", 39, 32, 17},   {"NVFP4", 40, 64, 36},    {"Q1_0", 41, 128, 18},
    {"Q2_0", 42, 64, 18},
};
enum { TYPES = sizeof types / sizeof *types, FILE_BYTES = 16384, ALL = 65536 };

static int quantizes(const block_type *t)
{
    static const int numbers[] = {0, 1, 2, 3, 6, 7, 8, 30};
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
        if (t->number == numbers[k])
            return 1;
    return 0;
}

static int same(float a, float b) { return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b)); }

static uint32_t bits_of(float a)
{
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}

/* Returns the bytes read, 0 if the file is missing or has another size. */
static size_t read_golden(const char *type, const char *kind, unsigned char *bytes)
{
    char path[80];
    snprintf(path, sizeof path, "fixtures/ggml_blocks/%s.%s", type, kind);
    FILE *file = fopen(path, "rb");
    const size_t got = file ? fread(bytes, 1, FILE_BYTES, file) : 0;
    if (file)
        fclose(file);
    return got < FILE_BYTES ? got : 0;
}

static const char *compare_values(const block_type *t, const float *got, const float *expected, size_t n)
{
    for (size_t j = 0; j < n; j++)
        if (!same(got[j], expected[j]))
            return kernel_fault("%s: value %zu is %08x instead of %08x", t->name, j, bits_of(got[j]),
                                bits_of(expected[j]));
    return NULL;
}

/* ---- golden files ---- */
static const char *check_dequantize_golden(const organ_kernels *k, const block_type *t)
{
    static unsigned char file[FILE_BYTES];
    static float expected[FILE_BYTES / 4], got[FILE_BYTES / 4];
    const size_t one = t->bytes + 4 * t->elements, size = read_golden(t->name, "blocks", file), n = size / one;
    if (n == 0 || size % one != 0)
        return kernel_fault("%s: no golden file (tests run from the root of the repository)", t->name);
    memcpy(expected, file + n * t->bytes, n * t->elements * sizeof *expected);
    k->dequantize[t->number](file, got, n);
    return compare_values(t, got, expected, n * t->elements);
}

static const char *check_quantize_golden(const organ_kernels *k, const block_type *t)
{
    static unsigned char file[FILE_BYTES], expected[FILE_BYTES], got[FILE_BYTES];
    static float values[FILE_BYTES / 4];
    const size_t size = read_golden("values", "f32", file), n = size / (4 * t->elements),
                 bytes = read_golden(t->name, "quantized", expected);
    if (n == 0 || bytes != n * t->bytes)
        return kernel_fault("%s: no golden file (tests run from the root of the repository)", t->name);
    memcpy(values, file, size);
    k->quantize[t->number](values, got, n);
    for (size_t j = 0; j < bytes; j++)
        if (got[j] != expected[j])
            return kernel_fault("%s: byte %zu of quantised block %zu is %02x instead of %02x", t->name, j % t->bytes,
                                j / t->bytes, got[j], expected[j]);
    return NULL;
}

const char *check_block_goldens(const organ_kernels *k)
{
    const char *fault = NULL;
    for (size_t which = 0; which < TYPES && !fault; which++) {
        const block_type *t = &types[which];
        fault = t->elements > 1 ? check_dequantize_golden(k, t) : NULL;
        fault = !fault && quantizes(t) && t->number != 0 ? check_quantize_golden(k, t) : fault;
    }
    return fault;
}

/* ---- functions of the table, and types without blocks compared with C conversions ---- */
static float plain_value(const block_type *t, const unsigned char *p)
{
    uint16_t half;
    int16_t i16;
    int32_t i32;
    int64_t i64;
    double f64;
    float f32;
    uint32_t bits;
    switch (t->number) {
    case 0:
        return memcpy(&f32, p, sizeof f32), f32;
    case 24:
        return (float)(int8_t)*p;
    case 25:
        return memcpy(&i16, p, sizeof i16), (float)i16;
    case 26:
        return memcpy(&i32, p, sizeof i32), (float)i32;
    case 27:
        return memcpy(&i64, p, sizeof i64), (float)i64;
    case 28:
        return memcpy(&f64, p, sizeof f64), (float)f64;
    default:
        memcpy(&half, p, sizeof half);
        bits = reference_widen(t->number == 1 ? (small_float){5, 10} : (small_float){8, 7}, half);
        return memcpy(&f32, &bits, sizeof f32), f32;
    }
}

static const char *check_plain(const organ_kernels *k, const block_type *t)
{
    enum { N = 5000 };
    static unsigned char units[N * 8];
    static float got[N], expected[N];
    samples random = {40 + (unsigned)t->number};
    for (size_t j = 0; j < sizeof units; j++)
        units[j] = (unsigned char)samples_bits(&random);
    for (size_t j = 1; j < N; j += 3) { /* wide integers next to a tie */
        const int64_t extra = (int64_t)(samples_bits(&random) >> 40 << 39 | UINT64_C(1) << 38) + (j % 2 ? 1 : -1);
        memcpy(units + 8 * j, &extra, sizeof extra);
    }
    for (size_t j = 0; j < N; j += 3) /* doubles in the range of floats, including subnormal ones */
        units[8 * j + 7] = (unsigned char)(0x37 + j % 17);
    for (size_t j = 0; j < N; j++)
        expected[j] = plain_value(t, units + j * t->bytes);
    k->dequantize[t->number](units, got, N);
    return compare_values(t, got, expected, N);
}

const char *check_block_members(const organ_kernels *k)
{
    const char *fault = NULL;
    int reads[ORGAN_GGML_TYPES] = {0}, writes[ORGAN_GGML_TYPES] = {0};
    for (size_t which = 0; which < TYPES; which++) {
        reads[types[which].number] = 1;
        writes[types[which].number] = quantizes(&types[which]);
    }
    for (int number = 0; number < ORGAN_GGML_TYPES; number++)
        if (!k->dequantize[number] != !reads[number] || !k->quantize[number] != !writes[number])
            return kernel_fault("type %d: a member is missing or too many", number);
    for (size_t which = 0; which < TYPES && !fault; which++)
        fault = types[which].elements == 1 ? check_plain(k, &types[which]) : NULL;
    return fault;
}

/* ---- random bytes: all codes, and scales that are zero, subnormal, infinite, NaN ---- */
static const char *check_any_bytes(const organ_kernels *k, const block_type *t, samples *random)
{
    static unsigned char blocks[ALL];
    static float got[ALL / 17 * 64], expected[ALL / 17 * 64];
    const size_t fit = sizeof got / sizeof *got / t->elements, n = ALL / t->bytes < fit ? ALL / t->bytes : fit;
    for (size_t j = 0; j < n * t->bytes; j++)
        blocks[j] = (unsigned char)samples_bits(random);
    for (size_t b = 0; b < n; b += 9) /* one byte in all places; 00, 7c, 7f, 80, fc, ff make special scales */
        memset(blocks + b * t->bytes, (int)(b / 9), t->bytes);
    memset(got, 0x55, sizeof got);
    organ_kernels_scalar->dequantize[t->number](blocks, expected, n);
    k->dequantize[t->number](blocks, got, n);
    return compare_values(t, got, expected, n * t->elements);
}

const char *check_block_values(const organ_kernels *k)
{
    samples random = {11};
    const size_t rounds = sampled_unless_all(8, 3, 8);
    const char *fault = NULL;
    for (size_t which = 0; which < TYPES && !fault; which++)
        for (size_t round = 0; round < rounds && !fault; round++)
            fault = check_any_bytes(k, &types[which], &random);
    return fault;
}

/* ---- alignment and bounds ---- */
/* Runs n units `offset` bytes after a guard page or right before one; values too. Bytes around stay unchanged, and the
 * result is that of the scalar table. */
static const char *check_blocks_at(const organ_kernels *k, const block_type *t, size_t n, size_t offset,
                                   enum guarded_side side)
{
    const size_t values_offset =
        side == GUARD_BEFORE ? offset % 16 * sizeof(float) : 0; /* floats are naturally aligned */
    guarded blocks = guarded_create(offset + n * t->bytes, side, 5);
    guarded values = guarded_create(values_offset + n * t->elements * sizeof(float), side, 6);
    guarded before = guarded_create(blocks.bytes, side, 7),
            expected = guarded_create(n * t->elements * sizeof(float), side, 8);
    const char *fault;
    memcpy(before.data, blocks.data, blocks.bytes);
    organ_kernels_scalar->dequantize[t->number](before.data + offset, (float *)(void *)expected.data, n);
    k->dequantize[t->number](blocks.data + offset, (float *)(void *)(values.data + values_offset), n);
    fault = compare_values(t, (const float *)(void *)(values.data + values_offset),
                           (const float *)(void *)expected.data, n * t->elements);
    if (!fault && (!guarded_intact(&blocks, 5) || !guarded_intact(&values, 6) ||
                   memcmp(before.data, blocks.data, blocks.bytes) != 0))
        fault = kernel_fault("%s: %zu blocks from offset %zu: bytes around them were changed", t->name, n, offset);
    guarded_destroy(&expected);
    guarded_destroy(&before);
    guarded_destroy(&values);
    guarded_destroy(&blocks);
    return fault;
}

/* Does the same for quantising random bytes, which include infinities, NaN and huge values. */
static const char *check_quantized_at(const organ_kernels *k, const block_type *t, size_t n, size_t offset,
                                      enum guarded_side side)
{
    guarded values = guarded_create(n * t->elements * sizeof(float), side, 9),
            blocks = guarded_create(offset + n * t->bytes, side, 10);
    guarded expected = guarded_create(n * t->bytes, side, 11);
    const char *fault = NULL;
    organ_kernels_scalar->quantize[t->number]((const float *)(void *)values.data, expected.data, n);
    k->quantize[t->number]((const float *)(void *)values.data, blocks.data + offset, n);
    if (memcmp(blocks.data + offset, expected.data, n * t->bytes) != 0)
        fault = kernel_fault("%s: %zu quantised blocks at offset %zu are not those of scalar", t->name, n, offset);
    else if (!guarded_intact(&values, 9) || !guarded_intact(&blocks, 10))
        fault =
            kernel_fault("%s: %zu quantised blocks at offset %zu: bytes around them were changed", t->name, n, offset);
    guarded_destroy(&expected);
    guarded_destroy(&blocks);
    guarded_destroy(&values);
    return fault;
}

static const char *check_bounds(const organ_kernels *k, const block_type *t)
{
    static const size_t counts[] = {0, 1, 2, 3, 5, 17};
    const char *fault = NULL;
    for (size_t c = 0; c < sizeof counts / sizeof *counts && !fault; c++)
        for (size_t offset = 0; offset < 8 && !fault; offset++)
            for (int side = GUARD_BEFORE; side <= GUARD_BEHIND && !fault; side++) {
                fault = check_blocks_at(k, t, counts[c], offset, (enum guarded_side)side);
                if (!fault && quantizes(t))
                    fault = check_quantized_at(k, t, counts[c], offset, (enum guarded_side)side);
            }
    return fault;
}

const char *check_block_shapes(const organ_kernels *k)
{
    const char *fault = NULL;
    for (size_t which = 0; which < TYPES && !fault; which++)
        fault = check_bounds(k, &types[which]);
    return fault;
}

/* Many elements are written with non-temporal stores; also at an odd address, which excludes those. */
const char *check_blocks_large(const organ_kernels *k)
{
    static const int halves[] = {1, 30};
    const size_t n = (5 << 20) + 7;
    float *values = malloc(n * sizeof *values);
    unsigned char *units = malloc(2 * n + 1), *expected = malloc(2 * n);
    const char *fault = values && units && expected ? NULL : "out of memory";
    samples random = {19};
    if (!fault)
        samples_fill(&random, UNIFORM, values, n);
    for (size_t which = 0; which < 2 && !fault; which++)
        for (size_t offset = 0; offset < 2 && !fault; offset++) {
            organ_kernels_scalar->quantize[halves[which]](values, expected, n);
            k->quantize[halves[which]](values, units + offset, n);
            if (memcmp(units + offset, expected, 2 * n) != 0)
                fault =
                    kernel_fault("type %d: many elements at offset %zu are not those of scalar", halves[which], offset);
        }
    free(expected);
    free(units);
    free(values);
    return fault;
}

/* ---- inputs that the reference leaves undefined: any block can be quantised ---- */
const char *check_block_extremes(const organ_kernels *k)
{
    static const float extremes[] = {INFINITY, -INFINITY, NAN, 1e-45f, -1e-39f, 3e38f};
    for (size_t which = 0; which < TYPES; which++)
        for (size_t e = 0;
             e < sizeof extremes / sizeof *extremes && quantizes(&types[which]) && types[which].elements > 1; e++) {
            float values[32] = {0};
            unsigned char got[34], expected[34];
            values[5] = extremes[e], values[6] = -extremes[e], values[20] = 1;
            organ_kernels_scalar->quantize[types[which].number](values, expected, 1);
            k->quantize[types[which].number](values, got, 1);
            if (memcmp(got, expected, types[which].bytes) != 0)
                return kernel_fault("%s: a block with %g quantises otherwise than in scalar", types[which].name,
                                    (double)extremes[e]);
        }
    return NULL;
}
