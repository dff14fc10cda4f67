/* SPDX-License-Identifier: MIT
 * Tests of quantize and dequantize as a library: every code and number by a plain implementation, bit identity. */
#include "tests/verbs/quantize/convert_rig.h"
#include "tests/kit/samples.h"
#include "tests/kit/suite_table.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define Q_PROJ    "model.layers.0.self_attn.q_proj.weight" /* BF16, 160 x 160 */
#define O_PROJ    "model.layers.0.self_attn.o_proj.weight" /* BF16, 160 x 160 */
#define V_PROJ    "model.layers.0.self_attn.v_proj.weight" /* F32 */
#define GATE_PROJ "model.layers.1.mlp.gate_proj.weight"    /* BF16, 357 x 160 */
#define DOWN_PROJ "model.layers.1.mlp.down_proj.weight"    /* 160 x 357 */

static const char *const schemes[] = {"fp8-block128", "fp8-tensor", "fp8-channel", "int4-group32"};
#define SCHEMES (sizeof schemes / sizeof *schemes)

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static float of_bf16(uint16_t bits) { return from_bits((uint32_t)bits << 16); }

/* ---- E4M3 by its definition ---- */

static double e4m3(unsigned code)
{
    static double values[128];
    for (unsigned k = 1; values[127] == 0 && k < 128; k++) {
        const int exponent = (int)(k >> 3), mantissa = (int)(k & 7);
        values[k] = exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
    }
    return code & 0x80 ? -values[code & 0x7F] : values[code];
}

/* Returns the nearest code, of two the even one. */
static unsigned nearest_e4m3(float x)
{
    const double magnitude = fabs((double)x);
    unsigned low = 0, high = 0x7E; /* values ascend with their codes */
    while (high - low > 1) {
        const unsigned middle = (low + high) / 2;
        if (e4m3(middle) <= magnitude)
            low = middle;
        else
            high = middle;
    }
    const double below = magnitude - e4m3(low), above = e4m3(high) - magnitude;
    const bool up = below > above || (below == above && low % 2 != 0);
    return (up ? high : low) | (signbit(x) ? 0x80 : 0);
}

/* ---- a tensor quantised by plain C ---- */

typedef struct plain {
    size_t rows, cols, scale_rows, scale_cols;
    size_t block_rows, block_cols;
    bool int4, wide; /* wide: scales are F32 */
    float *scales;
    int *codes;           /* E4M3 codes, or -8 to 7 */
    double error, before; /* before: with the scales of the first try */
} plain;

/* The scale of one try (quantize/2) for a value of largest magnitude. */
static float plain_scale(const plain *p, int try, float farthest)
{
    static const float int4[16] = {7.5f,   -6.85f, -7.05f, -7.25f, -7.75f, -7.95f, -8.1f,  -8.2f,
                                   -8.35f, -8.5f,  -8.65f, -8.8f,  -9.0f,  -9.25f, -9.55f, -9.95f};
    const float e4m3_peak = (float)(448 * exp2(-try / 16.0));
    const float by = p->int4 && try > 0 ? farthest : fabsf(farthest), raw = by / (p->int4 ? int4[try] : e4m3_peak);
    if (p->wide)
        return raw != 0 ? raw : 1.0f;
    return raw != 0 ? of_bf16(to_bf16(raw)) : 0.0078125f;
}

/* The nearest code; *back gets its value. */
static int plain_code(const plain *p, float value, float scale, double *back)
{
    const float x = value / scale;
    const int code = p->int4 ? (int)fminf(fmaxf(nearbyintf(x), -8), 7) : (int)nearest_e4m3(x);
    *back = (double)((p->int4 ? (float)code : (float)e4m3((unsigned)code)) * scale);
    return code;
}

/* Chooses the scale of the group in rows `top` and columns `left` and sets its codes. Adds the error squares of the
 * first try and of the chosen scale to *before and *lost. */
static float plain_group(plain *p, const float *values, size_t top, size_t left, double *before, double *lost)
{
    const size_t end = top + p->block_rows < p->rows ? top + p->block_rows : p->rows,
                 right = left + p->block_cols < p->cols ? left + p->block_cols : p->cols;
    float farthest = 0, best = 0;
    double least = INFINITY, back;
    for (size_t r = top; r < end; r++)
        for (size_t c = left; c < right; c++) {
            const float x = values[r * p->cols + c];
            if (fabsf(x) > fabsf(farthest) || (fabsf(x) == fabsf(farthest) && x > farthest))
                farthest = x;
        }
    for (int try = 0; try < 16; try++) {
        const float scale = plain_scale(p, try, farthest);
        double error = 0;
        for (size_t r = top; r < end; r++)
            for (size_t c = left; c < right; c++) {
                plain_code(p, values[r * p->cols + c], scale, &back);
                error += ((double)values[r * p->cols + c] - back) * ((double)values[r * p->cols + c] - back);
            }
        *before += try == 0 ? error : 0;
        if (error < least * (1 - 0x1p-18)) {
            least = error;
            best = scale;
        }
    }
    *lost += least;
    for (size_t r = top; r < end; r++)
        for (size_t c = left; c < right; c++)
            p->codes[r * p->cols + c] = plain_code(p, values[r * p->cols + c], best, &back);
    return best;
}

static plain quantize_plainly(const char *scheme, const float *values, size_t rows, size_t cols)
{
    const bool block = strstr(scheme, "block"), tensor = strstr(scheme, "tensor"), group = strstr(scheme, "group");
    plain p = {.rows = rows, .cols = cols, .int4 = group, .wide = block};
    double squares = 0, lost = 0, before = 0;
    p.block_rows = tensor ? rows : 1;
    p.block_cols = group ? 32 : cols;
    if (block)
        p.block_rows = p.block_cols = 128;
    p.scale_rows = (rows + p.block_rows - 1) / p.block_rows;
    p.scale_cols = (cols + p.block_cols - 1) / p.block_cols;
    p.scales = calloc(p.scale_rows * p.scale_cols, sizeof *p.scales);
    p.codes = calloc(rows * cols, sizeof *p.codes);
    for (size_t k = 0; k < p.scale_rows * p.scale_cols; k++)
        p.scales[k] =
            plain_group(&p, values, k / p.scale_cols * p.block_rows, k % p.scale_cols * p.block_cols, &before, &lost);
    for (size_t k = 0; k < rows * cols; k++)
        squares += (double)values[k] * (double)values[k];
    p.error = sqrt(lost / squares);
    p.before = sqrt(before / squares);
    return p;
}

static void release(plain *p)
{
    free(p->scales);
    free(p->codes);
}

/* Replaces the end of "model.x.weight" by `end`. */
static const char *extra(const char *weight, const char *end)
{
    static char name[256];
    snprintf(name, sizeof name, "%.*s%s", (int)(strlen(weight) - 6), weight, end);
    return name;
}

static void same_scales(const organ_model *model, const char *name, const plain *p)
{
    size_t bytes;
    unsigned char *const stored = bytes_of(model, extra(name, p->wide ? "weight_scale_inv" : "weight_scale"),
                                           p->wide ? ORGAN_F32 : ORGAN_BF16, &bytes);
    ck_assert_uint_eq(bytes, p->scale_rows * p->scale_cols * (p->wide ? 4 : 2));
    for (size_t k = 0; k < p->scale_rows * p->scale_cols; k++) {
        uint32_t bits = 0;
        memcpy(&bits, stored + k * (p->wide ? 4 : 2), p->wide ? 4 : 2);
        ck_assert_msg((p->wide ? from_bits(bits) : of_bf16((uint16_t)bits)) == p->scales[k], "%s: scale %zu", name, k);
    }
    free(stored);
}

static void same_codes(const organ_model *model, const char *name, const plain *p)
{
    size_t bytes;
    unsigned char *const stored =
        bytes_of(model, p->int4 ? extra(name, "weight_packed") : name, p->int4 ? ORGAN_I32 : ORGAN_F8_E4M3, &bytes);
    ck_assert_uint_eq(bytes, p->rows * p->cols / (p->int4 ? 2 : 1));
    for (size_t k = 0; k < p->rows * p->cols; k++) {
        const int code = p->int4 ? (stored[k / 2] >> 4 * (k % 2) & 15) - 8 : stored[k];
        if (code != p->codes[k])
            ck_abort_msg("%s: code %zu is %d, not %d", name, k, code, p->codes[k]);
    }
    free(stored);
    if (p->int4) {
        int64_t *const shape = (int64_t *)(void *)bytes_of(model, extra(name, "weight_shape"), ORGAN_I64, &bytes);
        ck_assert(bytes == 16 && shape[0] == (int64_t)p->rows && shape[1] == (int64_t)p->cols);
        free(shape);
    }
}

static double told_figure(const char *tensor, const char *figure)
{
    size_t k;
    json_t *row;
    json_array_foreach(json_object_get(convert_report, "tensors"), k, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "tensor")), tensor) == 0)
            return json_number_value(json_object_get(row, figure));
    }
    return -1;
}
static double told_error(const char *tensor) { return told_figure(tensor, "relative_error"); }

/* Scales are searched, and each code is nearest for its scale. */
START_TEST(codes_are_the_nearest)
{
    /* In fp8-block128 and fp8-tensor the first two have no set with which servers fuse them; groups do not divide the
     * rows of the second. */
    static const char *const names[] = {O_PROJ, DOWN_PROJ, Q_PROJ, V_PROJ, GATE_PROJ};
    organ_model *const donor = open_sound("donor");
    for (size_t s = 0; s < SCHEMES; s++) {
        must_convert("out", (convert_way){.scheme = schemes[s], .force = true});
        organ_model *const model = open_sound("out");
        for (size_t n = 0; n < (s < 2 ? 2 : 5); n += s == 3 && n == 0 ? 2 : 1) {
            size_t count;
            float *const values = numbers_of(donor, names[n], &count);
            const organ_tensor *const tensor = organ_model_find(donor, names[n]);
            plain p = quantize_plainly(schemes[s], values, tensor->shape[0], tensor->shape[1]);
            same_scales(model, names[n], &p);
            same_codes(model, names[n], &p);
            ck_assert_double_eq_tol(told_error(names[n]), p.error, 1e-7);
            ck_assert_double_eq_tol(told_figure(names[n], "absmax_error"), p.before, 1e-7);
            ck_assert(p.error <= (p.int4 ? 0.95 : 1) * p.before);
            ck_assert(p.error > (p.int4 ? 0.04 : 0.015) && p.error < (p.int4 ? 0.12 : 0.03));
            release(&p);
            free(values);
        }
        organ_model_close(model);
    }
    organ_model_close(donor);
}
END_TEST

/* A quantised weight reads back as code x scale, and a copy in another type rounds that once. */
START_TEST(numbers_come_back)
{
    static const char *const dtypes[] = {"f32", "bf16"};
    organ_model *const donor = open_sound("donor");
    for (size_t s = 0; s < SCHEMES; s++) {
        size_t count, bytes;
        const char *const name = s < 2 ? DOWN_PROJ : GATE_PROJ; /* down_proj has no set with which servers fuse it */
        const uint64_t rows = s < 2 ? 160 : 357, cols = s < 2 ? 357 : 160;
        must_convert("packed", (convert_way){.scheme = schemes[s], .force = true});
        float *const values = numbers_of(donor, name, &count);
        plain p = quantize_plainly(schemes[s], values, rows, cols);
        for (size_t d = 0; d < 2; d++) {
            must_convert("out", (convert_way){.model = scratch_path("packed"), .dtype = dtypes[d], .force = true});
            organ_model *const model = open_sound("out");
            unsigned char *const stored = bytes_of(model, name, d ? ORGAN_BF16 : ORGAN_F32, &bytes);
            for (size_t k = 0; k < count; k++) {
                const float scale = p.scales[k / cols / p.block_rows * p.scale_cols + k % cols / p.block_cols];
                const float value = (p.int4 ? (float)p.codes[k] : (float)e4m3((unsigned)p.codes[k])) * scale;
                uint32_t bits = 0;
                memcpy(&bits, stored + k * (d ? 2 : 4), d ? 2 : 4);
                if (d ? bits != to_bf16(value) : from_bits(bits) != value)
                    ck_abort_msg("%s as %s: %zu", schemes[s], dtypes[d], k);
            }
            ck_assert_ptr_null(organ_model_find(model, extra(name, p.wide ? "weight_scale_inv" : "weight_scale")));
            ck_assert_uint_eq(model->tensor_count, donor->tensor_count);
            ck_assert_str_eq(model->config.torch_dtype, d ? "bfloat16" : "float32");
            ck_assert_str_eq(model->config.quant_method, "");
            free(stored);
            organ_model_close(model);
        }
        release(&p);
        free(values);
    }
    organ_model_close(donor);
}
END_TEST

START_TEST(same_bytes_whatever_the_way)
{
    const convert_way ways[] = {
        {.threads = 1}, {.threads = 3, .memory = 24 << 20}, {.isa = "scalar", .threads = 1, .memory = 1 << 30}};
    for (size_t s = 0; s < SCHEMES; s++) {
        must_convert("packed", (convert_way){.scheme = schemes[s], .force = true, .max = 50000});
        must_convert("plain",
                     (convert_way){.model = scratch_path("packed"), .force = true, .max = 50000, .dtype = "f16"});
        for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
            convert_way way = ways[k];
            way.max = 50000;
            way.force = true;
            way.scheme = schemes[s];
            must_convert("again", way);
            same_trees("packed", "again", "quantize.json");
            way.scheme = NULL;
            way.dtype = "f16";
            way.model = scratch_path("packed");
            must_convert("again", way);
            same_trees("plain", "again", "dequantize.json");
        }
    }
}
END_TEST

/* Overwrites bytes of a tensor of a model in the scratch directory. */
static void poke(const char *path, const char *name, uint64_t at, const void *data, size_t bytes)
{
    organ_model *const model = open_sound(path);
    const organ_tensor *const tensor = organ_model_find(model, name);
    ck_assert_msg(tensor && at + bytes <= tensor->bytes, "%s", name);
    const int fd = open(model->files[tensor->file].path, O_WRONLY);
    ck_assert_int_eq(pwrite(fd, data, bytes, (off_t)(tensor->offset + at)), (ssize_t)bytes);
    close(fd);
    organ_model_close(model);
}

static void expect(const organ_model *model, const char *tensor, organ_dtype dtype, const void *golden, size_t size)
{
    size_t bytes;
    unsigned char *const data = bytes_of(model, tensor, dtype, &bytes);
    ck_assert_uint_eq(bytes, size);
    for (size_t k = 0; k < bytes; k++)
        ck_assert_msg(data[k] == ((const unsigned char *)golden)[k], "%s: byte %zu is %d, not %d", tensor, k, data[k],
                      ((const unsigned char *)golden)[k]);
    free(data);
}

/* Bytes of fixtures/make_quantize_golden.py. The first row has BF16 values as codes, each other row the scales and
 * codes of a scheme for them, and the error with the scales that are tried first. */
enum { GOLDEN_ROWS = 8, GOLDEN_COLS = 128, WEIGHTS = GOLDEN_ROWS * GOLDEN_COLS, SCHEMES_OF_OWNERS = 4 };
typedef struct golden_scheme {
    char scheme[16];
    double before;
    unsigned char scales[2 * WEIGHTS / 32], codes[2 * WEIGHTS];
} golden_scheme;

/* The codes equal those of the formats' own libraries for the same values and the searched scales. */
START_TEST(codes_are_those_of_the_owners)
{
    static const char name[] = "model.layers.0.mlp.up_proj.weight";
    static const struct {
        const char *scale;
        organ_dtype scale_type;
        size_t scale_bytes, code_bytes;
    } forms[SCHEMES_OF_OWNERS] = {
        {"weight_scale_inv", ORGAN_F32, 4, WEIGHTS},
        {"weight_scale", ORGAN_BF16, 2, WEIGHTS},
        {"weight_scale", ORGAN_BF16, 2 * GOLDEN_ROWS, WEIGHTS},
        {"weight_scale", ORGAN_BF16, 2 * WEIGHTS / 32, WEIGHTS / 2},
    };
    static const sample_column columns[] = {SAMPLE_COLUMN(golden_scheme, scheme),
                                            SAMPLE_COLUMN(golden_scheme, before),
                                            SAMPLE_COLUMN(golden_scheme, scales),
                                            SAMPLE_COLUMN(golden_scheme, codes),
                                            {0}};
    static golden_scheme goldens[1 + SCHEMES_OF_OWNERS];
    const golden_scheme *const rows = goldens + 1;
    ck_assert_uint_eq(SAMPLES_READ("tests/verbs/quantize/quantize_golden.tsv", columns, goldens),
                      1 + SCHEMES_OF_OWNERS);
    const made_tensor tensor = {name, ORGAN_BF16, 2, {GOLDEN_ROWS, GOLDEN_COLS}};
    ck_assert_int_eq(mkdir(scratch_path("small"), 0777), 0);
    make_shard(scratch_path("small/model.safetensors"), &tensor, 1);
    spill(scratch_path("small/config.json"), "{}", 2);
    poke("small", name, 0, goldens->codes, sizeof goldens->codes);
    for (size_t k = 0; k < SCHEMES_OF_OWNERS; k++) {
        must_convert("out", (convert_way){.model = scratch_path("small"), .scheme = rows[k].scheme, .force = true});
        organ_model *const model = open_sound("out");
        ck_assert_double_eq_tol(told_figure(name, "absmax_error"), rows[k].before, 1e-7);
        expect(model, extra(name, forms[k].scale), forms[k].scale_type, rows[k].scales, forms[k].scale_bytes);
        expect(model, k == 3 ? extra(name, "weight_packed") : name, k == 3 ? ORGAN_I32 : ORGAN_F8_E4M3, rows[k].codes,
               forms[k].code_bytes);
        organ_model_close(model);
    }
}
END_TEST

START_TEST(zeros_have_a_scale)
{
    static unsigned char zeros[160 * 160 * 2];
    poke("donor", O_PROJ, 0, zeros, sizeof zeros);
    for (size_t s = 0; s < SCHEMES; s++) {
        size_t count, bytes;
        must_convert("packed", (convert_way){.scheme = schemes[s], .force = true});
        organ_model *model = open_sound("packed");
        const bool wide = s == 0;
        unsigned char *const scales = bytes_of(model, extra(O_PROJ, wide ? "weight_scale_inv" : "weight_scale"),
                                               wide ? ORGAN_F32 : ORGAN_BF16, &bytes);
        ck_assert(wide ? scales[3] == 0x3F && scales[2] == 0x80 : scales[1] == 0x3C && scales[0] == 0);
        ck_assert_double_eq(told_error(O_PROJ), 0);
        free(scales);
        float *const values = numbers_of(model, O_PROJ, &count);
        size_t zero = 0;
        for (size_t k = 0; k < count; k++)
            zero += values[k] == 0;
        ck_assert_uint_eq(zero, count);
        free(values);
        organ_model_close(model);
    }
}
END_TEST

START_TEST(values_that_are_not_finite)
{
    static const uint32_t bad[] = {0x7fc00000, 0xff800000, 0x7f800001};
    organ_error error;
    for (size_t k = 0; k < 3; k++) {
        poke("donor", O_PROJ, 4000, &bad[k], 4);
        for (size_t s = 0; s < SCHEMES; s++) {
            ck_assert_int_eq(convert("out", (convert_way){.scheme = schemes[s]}, &error), ORGAN_BAD_INPUT);
            ck_assert_msg(strstr(error.message, "'" O_PROJ "' has values that are NaN or infinite"), "%s",
                          error.message);
            ck_assert(!scratch_left("out"));
        }
    }
    must_convert("out", (convert_way){.scheme = "fp8-tensor", .targets = "*.mlp.*"});
}
END_TEST

static long long counted(const char *key)
{
    return json_integer_value(json_object_get(json_object_get(convert_report, "totals"), key));
}

static char remarks[4096];
static void remark(void *context, const char *text)
{
    (void)context;
    strncat(remarks, text, sizeof remarks - strlen(remarks) - 2);
    strcat(remarks, "\n");
}

/* A scale that makes values exceed F16 is an error, or they are limited; an infinite scale and a code that is NaN are
 * counted in the report. */
START_TEST(overflow_is_counted)
{
    const organ_progress progress = {.note = remark};
    const uint16_t large = to_bf16(1024.0f), endless = to_bf16(INFINITY);
    char text[200];
    const unsigned char nan = 0x7F;
    must_convert("packed", (convert_way){.scheme = "fp8-tensor"});
    poke("packed", extra(Q_PROJ, "weight_scale"), 0, &large, 2);
    poke("packed", Q_PROJ, 77, &nan, 1);
    organ_model *const model = open_sound("packed");
    size_t bytes;
    long long infinite = 0;
    unsigned char *const codes = bytes_of(model, Q_PROJ, ORGAN_F8_E4M3, &bytes);
    for (size_t k = 0; k < bytes; k++)
        infinite += k != 77 && fabs(e4m3(codes[k])) * 1024.0 >= 65520.0;
    free(codes);
    organ_model_close(model);
    ck_assert(infinite > 100);
    organ_error error;
    ck_assert_int_eq(convert("out", (convert_way){.model = scratch_path("packed"), .dtype = "f16"}, &error),
                     ORGAN_BAD_INPUT);
    snprintf(text, sizeof text, "tensor '" Q_PROJ "': at least %lld values would become infinite as F16", infinite);
    ck_assert_msg(strstr(error.message, text), "%s", error.message);
    ck_assert(!scratch_left("out"));
    remarks[0] = '\0';
    must_convert(
        "out", (convert_way){.model = scratch_path("packed"), .dtype = "f16", .saturate = true, .progress = &progress});
    ck_assert_int_eq(counted("infinite"), 0);
    ck_assert_int_eq(counted("nan"), 1);
    snprintf(text, sizeof text, "%lld values are beyond the range of F16: limited to 65504; " Q_PROJ, infinite);
    ck_assert_msg(strstr(remarks, text), "%s", remarks);
    must_convert("wide", (convert_way){.model = scratch_path("packed"), .dtype = "bf16"});
    ck_assert_int_eq(counted("infinite"), 0);
    ck_assert_int_eq(counted("nan"), 1);
    must_convert("wider", (convert_way){.model = scratch_path("packed"), .dtype = "f32"});
    ck_assert_int_eq(counted("infinite"), 0);
    ck_assert_int_eq(counted("nan"), 1);
    poke("packed", extra(Q_PROJ, "weight_scale"), 0, &endless, 2);
    must_convert("endless", (convert_way){.model = scratch_path("packed"), .dtype = "f16", .progress = &progress});
    ck_assert_int_gt(counted("infinite"), infinite);
    ck_assert_msg(strstr(remarks, Q_PROJ), "%s", remarks);
}
END_TEST

Suite *convert_numbers_suite(void)
{
    const suite_case cases[] = {
        {"numbers",
         {codes_are_the_nearest, codes_are_those_of_the_owners, numbers_come_back, zeros_have_a_scale,
          values_that_are_not_finite, overflow_is_counted}},
        {"bytes", {same_bytes_whatever_the_way}},
    };
    return suite_of("convert", cases, sizeof cases / sizeof *cases, convert_setup, convert_teardown);
}

int main(void)
{
    return run_suites((Suite *const[]){convert_numbers_suite(), convert_files_suite(), convert_faults_suite(), NULL});
}
