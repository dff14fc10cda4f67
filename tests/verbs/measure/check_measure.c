/* SPDX-License-Identifier: MIT
 * Tests of the Z-measure: the numbers of the numpy reference, bit identity, small values for noise, stability under
 * quantisation. */
#include "tests/kit/effort.h"
#include "tests/kit/measure_rig.h"

#include "formats/gguf/file.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/verbs/measure/z_measure.h"
#include "tests/kit/samples.h"
#include "tests/kit/suite_table.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Results of the reference for rows x cols values of a kind. */
typedef struct golden_row {
    int kind;
    char type[8];
    uint64_t seed, rows, cols;
    double e, k, c, theta, slope;
    unsigned scales, levels;
} golden_row;

/* Results of the reference of the older measure for the same values. */
typedef struct seed_row {
    double e, k, c, theta, slope;
    unsigned scales;
} seed_row;

enum { ROWS = 153 };
static golden_row z_golden[ROWS];
static seed_row seed_golden[ROWS];

static void read_goldens(void)
{
    static const sample_column z_columns[] = {SAMPLE_COLUMN(golden_row, kind),
                                              SAMPLE_COLUMN(golden_row, type),
                                              SAMPLE_COLUMN(golden_row, seed),
                                              SAMPLE_COLUMN(golden_row, rows),
                                              SAMPLE_COLUMN(golden_row, cols),
                                              SAMPLE_COLUMN(golden_row, e),
                                              SAMPLE_COLUMN(golden_row, k),
                                              SAMPLE_COLUMN(golden_row, c),
                                              SAMPLE_COLUMN(golden_row, theta),
                                              SAMPLE_COLUMN(golden_row, slope),
                                              SAMPLE_COLUMN(golden_row, scales),
                                              SAMPLE_COLUMN(golden_row, levels),
                                              {0}};
    static const sample_column seed_columns[] = {SAMPLE_COLUMN(seed_row, e),
                                                 SAMPLE_COLUMN(seed_row, k),
                                                 SAMPLE_COLUMN(seed_row, c),
                                                 SAMPLE_COLUMN(seed_row, theta),
                                                 SAMPLE_COLUMN(seed_row, slope),
                                                 SAMPLE_COLUMN(seed_row, scales),
                                                 {0}};
    ck_assert_uint_eq(SAMPLES_READ("tests/verbs/measure/z_golden.tsv", z_columns, z_golden), ROWS);
    ck_assert_uint_eq(SAMPLES_READ("tests/verbs/measure/seed_golden.tsv", seed_columns, seed_golden), ROWS);
}

static const organ_z_options both = {.seed = true};

/* ---- values of fixtures/make_z_golden.py ---- */

static double draw(uint64_t seed, uint64_t place)
{
    uint64_t x = (place + 1) * UINT64_C(0x9e3779b97f4a7c15) + seed;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

static double value(int kind, uint64_t seed, uint64_t place)
{
    double bell = -6;
    for (uint64_t k = 0; k < 12; k++)
        bell += draw(seed, 16 * place + k);
    const double v = draw(seed, 16 * place + 12);
    switch (kind) {
    case 0:
        return bell;
    case 1:
        return v;
    case 2:
        return bell / (v + 0.05);
    case 3:
        return 1 + bell * 0.0009765625;
    case 4:
        return v < 0.5 ? bell : bell + 5;
    case 5:
        return floor(bell * 8 + 0.5) / 8;
    default:
        return v < 0.7 ? 0 : bell;
    }
}

static float *values_of(int kind, uint64_t seed, size_t n)
{
    float *values = malloc(n * sizeof *values);
    for (size_t k = 0; k < n; k++)
        values[k] = (float)value(kind, seed, k);
    return values;
}

static organ_dtype type_of(const char *name)
{
    static const organ_dtype types[] = {ORGAN_BF16, ORGAN_F16, ORGAN_F32};
    size_t k = 0;
    while (k < 2 && strcmp(organ_dtype_describe(types[k])->name, name) != 0)
        k++;
    return types[k];
}

static void write_goldens(const char *path)
{
    read_goldens();
    model_text text = {0};
    char name[32];
    for (size_t g = 0; g < ROWS; g++) {
        const golden_row *row = &z_golden[g];
        float *values = values_of(row->kind, row->seed, (size_t)(row->rows * row->cols));
        snprintf(name, sizeof name, "g%zu", g);
        text_floats(&text, name, type_of(row->type), row->rows, row->cols, values);
        free(values);
    }
    text_write(&text, path);
}

START_TEST(numbers_are_the_oracles)
{
    write_goldens(scratch_path("golden.safetensors"));
    organ_model *model = must_open(scratch_path("golden.safetensors"));
    organ_z *z = must_measure(model, (way){0});
    for (size_t g = 0; g < ROWS; g++) {
        const golden_row *row = &z_golden[g];
        char name[32];
        snprintf(name, sizeof name, "g%zu", g);
        const organ_z *found = z_of(model, z, name);
        ck_assert_msg(found->done && !found->reason, "%s: %s", name, found->reason);
        ck_assert_msg(fabs(found->e - row->e) < 1e-6, "%s: E is %.12g instead of %.12g", name, found->e, row->e);
        ck_assert_msg(fabs(found->k - row->k) < 1e-6, "%s: K is %.12g instead of %.12g", name, found->k, row->k);
        ck_assert_msg(fabs(found->c - row->c) < 1e-6, "%s: C is %.12g instead of %.12g", name, found->c, row->c);
        ck_assert_msg(fabs(found->theta - row->theta) < 1e-3, "%s: theta is %.9g instead of %.9g", name, found->theta,
                      row->theta);
        ck_assert_msg(fabs(found->dI_dlog2s - row->slope) < 1e-6, "%s: dI is %.9g instead of %.9g", name,
                      found->dI_dlog2s, row->slope);
        ck_assert_msg(found->scales == row->scales && found->levels == row->levels, "%s: %u scales, %u levels", name,
                      found->scales, found->levels);
        ck_assert_double_eq_tol(found->signal, sin(found->theta * acos(-1) / 180), 1e-12);
    }
    free(z);
    organ_model_close(model);
}
END_TEST

START_TEST(the_older_measure_is_its_oracles)
{
    write_goldens(scratch_path("golden.safetensors"));
    organ_model *model = must_open(scratch_path("golden.safetensors"));
    organ_z *z = must_measure(model, (way){.options = &both}), *alone = must_measure(model, (way){0});
    for (size_t g = 0; g < ROWS; g++) {
        const seed_row *row = &seed_golden[g];
        char name[32];
        snprintf(name, sizeof name, "g%zu", g);
        const organ_seed_z *found = &z_of(model, z, name)->seed;
        ck_assert(found->there && !z_of(model, alone, name)->seed.there);
        ck_assert_msg(fabs(found->e - row->e) < 1e-6, "%s: E is %.12g instead of %.12g", name, found->e, row->e);
        ck_assert_msg(fabs(found->k - row->k) < 1e-6, "%s: K is %.12g instead of %.12g", name, found->k, row->k);
        ck_assert_msg(fabs(found->c - row->c) < 1e-6, "%s: C is %.12g instead of %.12g", name, found->c, row->c);
        ck_assert_msg(fabs(found->theta - row->theta) < 1e-4, "%s: theta is %.9g instead of %.9g", name, found->theta,
                      row->theta);
        ck_assert_msg(fabs(found->dI_dlog2s - row->slope) < 1e-6, "%s: dI is %.9g instead of %.9g", name,
                      found->dI_dlog2s, row->slope);
        ck_assert_uint_eq(found->scales, row->scales);
        ck_assert_double_eq_tol(found->signal, sin(found->theta * acos(-1) / 180), 1e-12);
    }
    free(z), free(alone);
    organ_model_close(model);
}
END_TEST

/* Results of the reference for a matrix of fixtures/types.gguf. */
typedef struct type_golden {
    char name[16]; /* name of the tensor, which is that of its type */
    double e, k, c, theta, slope;
    unsigned scales;
} type_golden;

START_TEST(every_storage_type_is_the_oracles)
{
    enum { TYPES = 29 };
    static const sample_column columns[] = {SAMPLE_COLUMN(type_golden, name),   SAMPLE_COLUMN(type_golden, e),
                                            SAMPLE_COLUMN(type_golden, k),      SAMPLE_COLUMN(type_golden, c),
                                            SAMPLE_COLUMN(type_golden, theta),  SAMPLE_COLUMN(type_golden, slope),
                                            SAMPLE_COLUMN(type_golden, scales), {0}};
    static type_golden type_goldens[TYPES];
    organ_model *model = must_open("fixtures/types.gguf");
    organ_z *z = must_measure(model, (way){0});
    ck_assert_uint_eq(SAMPLES_READ("tests/verbs/measure/z_types_golden.tsv", columns, type_goldens),
                      model->tensor_count);
    for (size_t g = 0; g < model->tensor_count; g++) {
        const type_golden *row = &type_goldens[g];
        const organ_z *found = z_of(model, z, row->name);
        ck_assert_str_eq(organ_dtype_describe(organ_model_find(model, row->name)->dtype)->name, row->name);
        ck_assert_msg(found->done && !found->reason, "%s: %s", row->name, found->reason);
        ck_assert_msg(fabs(found->e - row->e) < 1e-6 && fabs(found->k - row->k) < 1e-6 &&
                          fabs(found->c - row->c) < 1e-6,
                      "%s: E %.12g, K %.12g, C %.12g instead of %.12g, %.12g, %.12g", row->name, found->e, found->k,
                      found->c, row->e, row->k, row->c);
        ck_assert_msg(fabs(found->theta - row->theta) < 1e-3, "%s: theta is %.9g instead of %.9g", row->name,
                      found->theta, row->theta);
        ck_assert_msg(fabs(found->dI_dlog2s - row->slope) < 1e-6 && found->scales == row->scales,
                      "%s: dI is %.9g instead of %.9g", row->name, found->dI_dlog2s, row->slope);
    }
    /* every GGUF type of blocks and real numbers */
    for (int t = 0; t < ORGAN_GGML_TYPES; t++)
        if (organ_kernels_scalar->dequantize[t] && !(t >= 24 && t <= 27)) {
            size_t k = 0;
            while (k < model->tensor_count && organ_dtype_describe(model->tensors[k].dtype)->ggml != t)
                k++;
            ck_assert_msg(k < model->tensor_count, "no tensor of type %d", t);
        }
    free(z);
    organ_model_close(model);
}
END_TEST

static bool same_bits(const organ_z *a, const organ_z *b)
{
    const double x[] = {a->e,
                        a->k,
                        a->c,
                        a->power,
                        a->signal,
                        a->theta,
                        a->moments.mean,
                        a->std,
                        a->kurtosis,
                        a->dI_dlog2s,
                        a->coherence,
                        a->moments.m4,
                        (double)a->moments.min,
                        a->seed.e,
                        a->seed.k,
                        a->seed.c,
                        a->seed.theta,
                        a->seed.dI_dlog2s};
    const double y[] = {b->e,
                        b->k,
                        b->c,
                        b->power,
                        b->signal,
                        b->theta,
                        b->moments.mean,
                        b->std,
                        b->kurtosis,
                        b->dI_dlog2s,
                        b->coherence,
                        b->moments.m4,
                        (double)b->moments.min,
                        b->seed.e,
                        b->seed.k,
                        b->seed.c,
                        b->seed.theta,
                        b->seed.dI_dlog2s};
    return memcmp(x, y, sizeof x) == 0 && a->levels == b->levels && a->scales == b->scales && a->reason == b->reason &&
           memcmp(a->information, b->information, sizeof a->information) == 0;
}

START_TEST(same_bits_whatever_the_way)
{
    const way ways[] = {
        {.isa = "scalar", .threads = 1}, {.isa = "scalar", .threads = 7},   {.isa = "avx2", .threads = 2},
        {.isa = "avx2", .threads = 7},   {.isa = "avx512", .threads = 1},   {.isa = "avx512", .threads = 7},
        {.isa = "neon", .threads = 2},   {.threads = 1, .memory = 2 << 20}, {.threads = 2, .memory = 4 << 20}};
    write_goldens(scratch_path("golden.safetensors"));
    const char *const models[] = {scratch_path("golden.safetensors"), "fixtures/tiny-qwen2",
                                  "fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf"};
    const size_t begin = sampled_unless_all(0, 1, 1),
                 step = sampled_unless_all(1, 2, 2); /* the scalar table with 7 threads, and little memory */
    for (size_t m = 0; m < 3; m++) {
        organ_model *model = must_open(models[m]);
        organ_z *first = must_measure(model, (way){.threads = 1, .options = &both});
        for (size_t k = begin; k < sizeof ways / sizeof *ways; k += step) {
            const char *why;
            way way_k = ways[k];
            way_k.options = &both;
            if (ways[k].isa && !organ_kernels_choose(organ_cpu_detect(), ways[k].isa, &why))
                continue;
            organ_z *z = must_measure(model, way_k);
            for (size_t t = 0; t < model->tensor_count; t++)
                ck_assert_msg(same_bits(&first[t], &z[t]), "%s: way %zu gives another result", model->tensors[t].name,
                              k);
            free(z);
        }
        free(first);
        organ_model_close(model);
    }
}
END_TEST

/* ---- noise ---- */

static double normal(uint64_t seed, uint64_t place)
{
    return sqrt(-2 * log(1 - draw(seed, 2 * place))) * cos(2 * acos(-1) * draw(seed, 2 * place + 1));
}

START_TEST(noise_is_below_a_degree)
{
    static const size_t sizes[] = {64, 100, 128, 200, 300, 512, 1000, 2048, 5000, 20000, 40000, 100000, 300000};
    model_text text = {0};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (unsigned copy = 0; copy < (sizes[s] > 10000 ? 6u : 60u); copy++) {
            char name[64];
            float *values = malloc(sizes[s] * sizeof *values);
            for (size_t k = 0; k < sizes[s]; k++)
                values[k] = (float)normal(1000 * s + copy, k) * 0.02f;
            snprintf(name, sizeof name, "n%zu.%u", sizes[s], copy);
            text_floats(&text, name, copy % 2 ? ORGAN_BF16 : ORGAN_F32, 1, sizes[s], values);
            free(values);
        }
    text_write(&text, scratch_path("noise.safetensors"));
    organ_model *model = must_open(scratch_path("noise.safetensors"));
    organ_z *z = must_measure(model, (way){0});
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        double sum = 0, count = 0;
        for (size_t t = 0; t < model->tensor_count; t++)
            if (model->tensors[t].elements == sizes[s])
                sum += z[t].theta, count++;
        ck_assert_msg(sum / count < 1, "theta of %zu random numbers is %.3f on average", sizes[s], sum / count);
        ck_assert(sizes[s] < 20000 || fabs(z_of(model, z, "n300000.0")->dI_dlog2s + 0.5) < 0.01);
    }
    free(z);
    organ_model_close(model);
}
END_TEST

/* ---- quantisation ---- */

/* Writes the matrices of tiny-qwen2 whose rows are whole blocks to a GGUF file of that type. */
static void write_quantised(const organ_model *donor, organ_dtype dtype, const char *path)
{
    organ_gguf_writer *writer;
    organ_gguf_layout layout;
    organ_error error = {0};
    ck_assert_int_eq(organ_gguf_writer_create(&writer, &error), ORGAN_OK);
    ck_assert_int_eq(organ_gguf_writer_set_string(writer, "general.architecture", "qwen2", 5, &error), ORGAN_OK);
    for (size_t t = 0; t < donor->tensor_count; t++)
        if (donor->tensors[t].rank == 2)
            ck_assert_int_eq(
                organ_gguf_writer_tensor(writer, donor->tensors[t].name, dtype, 2, donor->tensors[t].shape, &error),
                ORGAN_OK);
    ck_assert_int_eq(organ_gguf_writer_finish(writer, &layout, &error), ORGAN_OK);
    const int file = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
    ck_assert_int_eq(ftruncate(file, (off_t)layout.file_size), 0);
    ck_assert_int_eq(pwrite(file, layout.bytes, layout.size, 0), (ssize_t)layout.size);
    for (size_t t = 0, written = 0; t < donor->tensor_count; t++) {
        const organ_tensor *tensor = &donor->tensors[t];
        if (tensor->rank != 2)
            continue;
        const size_t n = (size_t)tensor->elements, blocks = n / organ_dtype_describe(dtype)->elements;
        void *stored = malloc(n * 4), *units = malloc(n * 4);
        float *values = malloc(n * sizeof *values);
        ck_assert_int_eq(organ_model_read(donor, tensor->file, units, (size_t)tensor->bytes, tensor->offset, &error),
                         ORGAN_OK);
        organ_widen(organ_kernels_scalar, tensor->dtype, units, values, n);
        organ_narrow(organ_kernels_scalar, dtype, values, stored, blocks);
        const size_t bytes = blocks * organ_dtype_describe(dtype)->bytes;
        ck_assert_int_eq(pwrite(file, stored, bytes, (off_t)layout.offsets[written++]), (ssize_t)bytes);
        free(stored), free(units), free(values);
    }
    close(file);
    organ_gguf_writer_destroy(writer);
}

static void compare_quantised(organ_dtype dtype, double max)
{
    organ_model *donor = must_open("fixtures/tiny-qwen2");
    write_quantised(donor, dtype, scratch_path("copy.gguf"));
    organ_model *copy = must_open(scratch_path("copy.gguf"));
    organ_z *before = must_measure(donor, (way){0}), *after = must_measure(copy, (way){0});
    ck_assert_uint_ge(copy->tensor_count, 28);
    for (size_t t = 0; t < copy->tensor_count; t++) {
        const double was = z_of(donor, before, copy->tensors[t].name)->theta;
        ck_assert_msg(fabs(after[t].theta - was) < max, "%s: %.3f became %.3f", copy->tensors[t].name, was,
                      after[t].theta);
    }
    free(before), free(after);
    organ_model_close(donor);
    organ_model_close(copy);
}

START_TEST(eight_bits_move_theta_by_less_than_a_degree) { compare_quantised(ORGAN_Q8_0, 1); }
END_TEST
START_TEST(four_bits_move_theta_by_less_than_five_degrees)
{
    compare_quantised(ORGAN_Q4_0, 5);
    compare_quantised(ORGAN_Q4_1, 5);
}
END_TEST

/* The spacing of sorted values depends on the storage type, as docs/verbs/measure.md says. */
static double seed_moved(organ_dtype dtype)
{
    double moved = 0;
    organ_model *donor = must_open("fixtures/tiny-qwen2");
    write_quantised(donor, dtype, scratch_path("copy.gguf"));
    organ_model *copy = must_open(scratch_path("copy.gguf"));
    organ_z *before = must_measure(donor, (way){.options = &both}),
            *after = must_measure(copy, (way){.options = &both});
    for (size_t t = 0; t < copy->tensor_count; t++)
        moved += after[t].seed.theta - z_of(donor, before, copy->tensors[t].name)->seed.theta;
    moved /= (double)copy->tensor_count;
    free(before), free(after);
    organ_model_close(donor);
    organ_model_close(copy);
    return moved;
}

START_TEST(quantisation_moves_the_older_measure)
{
    ck_assert_double_eq_tol(seed_moved(ORGAN_Q8_0), -9.1, 0.3);
    ck_assert_double_eq_tol(seed_moved(ORGAN_Q4_0), 14.7, 0.3);
}
END_TEST

/* ---- tensors without theta, and levels ---- */

START_TEST(no_theta_with_a_reason)
{
    float same[40], spoilt[64] = {0}, fifteen[15];
    uint8_t bytes[64] = {1, 2, 3};
    model_text text = {0};
    for (int k = 0; k < 40; k++)
        same[k] = 0.1f, fifteen[k % 15] = (float)k;
    for (int k = 0; k < 64; k++)
        spoilt[k] = k % 16 == 3 ? NAN : (float)k;
    spoilt[20] = -INFINITY;
    text_floats(&text, "same", ORGAN_F32, 4, 10, same);
    text_floats(&text, "same.bf16", ORGAN_BF16, 4, 10, same);
    text_floats(&text, "fifteen", ORGAN_F32, 1, 15, fifteen);
    text_floats(&text, "spoilt", ORGAN_F32, 1, 64, spoilt);
    text_floats(&text, "spoilt.bf16", ORGAN_BF16, 4, 16, spoilt);
    text_floats(&text, "empty", ORGAN_F32, 0, 10, same);
    text_raw(&text, "mask", ORGAN_BOOL, 64, bytes, 64);
    text_write(&text, scratch_path("null.safetensors"));
    organ_model *model = must_open(scratch_path("null.safetensors"));
    organ_z *z = must_measure(model, (way){0});
    static const char *const reasons[][2] = {{"same", "all its values are equal"},
                                             {"same.bf16", "all its values are equal"},
                                             {"fifteen", "it has fewer than 16 elements"},
                                             {"spoilt", "it has values that are not finite"},
                                             {"spoilt.bf16", "it has values that are not finite"},
                                             {"empty", "it has no elements"},
                                             {"mask", "values of its type cannot be read"}};
    for (size_t k = 0; k < sizeof reasons / sizeof *reasons; k++) {
        const organ_z *found = z_of(model, z, reasons[k][0]);
        ck_assert(found->done && found->reason);
        ck_assert_str_eq(found->reason, reasons[k][1]);
        ck_assert(found->theta == 0 && found->scales == 0 && isfinite(found->std) && isfinite(found->kurtosis));
    }
    for (size_t k = 3; k < 5; k++) {
        const organ_moments *m = &z_of(model, z, reasons[k][0])->moments;
        ck_assert(m->nan == 4 && m->inf == 1 && m->n == 59 && m->max == 63 && m->min == 0);
    }
    ck_assert_uint_eq(z_of(model, z, "same")->levels, 1);
    ck_assert_uint_eq(z_of(model, z, "fifteen")->levels, 15);
    free(z);
    organ_model_close(model);
}
END_TEST

START_TEST(levels_are_exact_up_to_the_limit)
{
    const size_t max = ORGAN_Z_LEVELS + 1;
    float *values = malloc(2 * max * sizeof *values);
    model_text text = {0};
    for (size_t k = 0; k < 2 * max; k++)
        values[k] = (k < max ? 1 : -1) * (float)(k % max);
    text_floats(&text, "limit", ORGAN_F32, 1, ORGAN_Z_LEVELS, values);
    text_floats(&text, "beyond", ORGAN_F32, 1, max, values);
    text_floats(&text, "both.signs", ORGAN_F32, 2, 1000, values + max - 1000); /* 0 to -999 again */
    text_floats(&text, "zeros", ORGAN_BF16, 1, 17, (float[17]){0, -0.0f, 1});
    text_floats(&text, "zeros.f32", ORGAN_F32, 1, 17, (float[17]){0, -0.0f, 1});
    text_write(&text, scratch_path("levels.safetensors"));
    free(values);
    organ_model *model = must_open(scratch_path("levels.safetensors"));
    organ_z *z = must_measure(model, (way){0});
    ck_assert_uint_eq(z_of(model, z, "limit")->levels, ORGAN_Z_LEVELS);
    ck_assert_uint_eq(z_of(model, z, "beyond")->levels, ORGAN_Z_LEVELS + 1);
    ck_assert_uint_eq(z_of(model, z, "both.signs")->levels, 2000);
    ck_assert_uint_eq(z_of(model, z, "zeros")->levels, 2);
    ck_assert_uint_eq(z_of(model, z, "zeros.f32")->levels, 2);
    ck_assert_uint_eq(z_of(model, z, "zeros")->moments.zero, 16);
    free(z);
    organ_model_close(model);
}
END_TEST

START_TEST(windows_of_stored_values_have_a_mebibyte)
{
    const size_t counts[] = {1 << 20, 100};
    float *values = calloc(counts[0], sizeof *values);
    model_text text = {0};
    text_floats(&text, "large", ORGAN_BF16, 1024, 1024, values);
    text_floats(&text, "small", ORGAN_BF16, 1, counts[1], values);
    text_write(&text, scratch_path("windows.safetensors"));
    free(values);
    organ_model *model = must_open(scratch_path("windows.safetensors"));
    organ_z_subjects subjects;
    organ_error error = {0};
    ck_assert_int_eq(organ_z_subjects_find(model, &subjects, &error), ORGAN_OK);
    for (size_t t = 0; t < 2; t++) {
        const uint64_t bytes = model->tensors[t].bytes;
        uint64_t least, most;
        ck_assert_int_eq(organ_z_source_size(model, subjects.weight_of[t], organ_kernels_scalar, &least, &most, &error),
                         ORGAN_OK);
        ck_assert_uint_eq(most, bytes < 1 << 20 ? bytes : 1 << 20);
    }
    organ_z_subjects_release(&subjects);
    organ_model_close(model);
}
END_TEST

static Suite *numbers_suite(void)
{
    const suite_case cases[] = {
        {"oracle", {numbers_are_the_oracles, the_older_measure_is_its_oracles, every_storage_type_is_the_oracles}},
        {"ways", {same_bits_whatever_the_way}},
        {"noise", {noise_is_below_a_degree}},
        {"quantised",
         {eight_bits_move_theta_by_less_than_a_degree, four_bits_move_theta_by_less_than_five_degrees,
          quantisation_moves_the_older_measure}},
        {"edges", {no_theta_with_a_reason, levels_are_exact_up_to_the_limit, windows_of_stored_values_have_a_mebibyte}},
    };
    return suite_of("z", cases, sizeof cases / sizeof *cases, scratch_make, scratch_remove);
}

int main(void)
{
    Suite *const suites[] = {numbers_suite(), measure_reports_suite(), NULL};
    return run_suites(suites);
}
