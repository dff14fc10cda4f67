/* SPDX-License-Identifier: MIT */
#include "tests/kit/measure_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- models ---- */

void text_raw(model_text *text, const char *name, organ_dtype dtype, uint64_t count, const void *bytes, size_t size)
{
    char row[400];
    const int length =
        snprintf(row, sizeof row, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%llu],\"data_offsets\":[%zu,%zu]}",
                 text->tensors ? "," : "{", name, organ_dtype_describe(dtype)->name, (unsigned long long)count,
                 text->data_size, text->data_size + size);
    text->header = realloc(text->header, text->header_size + (size_t)length + 16);
    memcpy(text->header + text->header_size, row, (size_t)length + 1);
    text->header_size += (size_t)length;
    text->data = realloc(text->data, text->data_size + size + 1);
    if (size > 0)
        memcpy(text->data + text->data_size, bytes, size);
    text->data_size += size;
    text->tensors++;
}

void text_floats(model_text *text, const char *name, organ_dtype dtype, uint64_t rows, uint64_t cols,
                 const float *values)
{
    const size_t n = (size_t)(rows * cols), size = dtype == ORGAN_F32 ? 4 : 2;
    void *stored = malloc(n * size + 1);
    char shape[64], flat[64], *found;
    if (dtype == ORGAN_F32)
        memcpy(stored, values, n * size);
    else if (dtype == ORGAN_BF16)
        organ_kernels_scalar->f32_to_bf16(values, stored, n);
    else
        organ_kernels_scalar->f32_to_f16(values, stored, n);
    const size_t before = text->header_size;
    text_raw(text, name, dtype, n, stored, n * size);
    free(stored);
    /* the same number of characters, so that only the shape changes */
    snprintf(flat, sizeof flat, "[%zu]", n);
    const int length = snprintf(shape, sizeof shape, "[%llu,%llu]", (unsigned long long)rows, (unsigned long long)cols);
    found = strstr(text->header + before, flat);
    text->header = realloc(text->header, text->header_size + 80);
    found = strstr(text->header + before, flat);
    memmove(found + length, found + strlen(flat), strlen(found + strlen(flat)) + 1);
    memcpy(found, shape, (size_t)length);
    text->header_size = strlen(text->header);
}

void text_write(model_text *text, const char *path)
{
    FILE *out = fopen(path, "wb");
    const uint64_t length = text->header_size + 1;
    ck_assert_ptr_nonnull(out);
    fwrite(&length, sizeof length, 1, out);
    fwrite(text->header, 1, text->header_size, out);
    fputc('}', out);
    fwrite(text->data, 1, text->data_size, out);
    ck_assert_int_eq(fclose(out), 0);
    free(text->header);
    free(text->data);
    *text = (model_text){0};
}

organ_model *must_open(const char *path)
{
    organ_model *model;
    organ_error error = {0};
    ck_assert_msg(organ_model_open(path, &model, &error) == ORGAN_OK, "%s", error.message);
    return model;
}

/* ---- runs ---- */

static void open_room(run_engine *room, const way *w)
{
    run_engine_open(room, (run_way){.isa = w->isa, .threads = w->threads, .memory = w->memory, .stop = w->stop});
}

organ_status measure(const organ_model *model, way w, organ_z *out, organ_error *error)
{
    const organ_z_options all = {0};
    run_engine r;
    open_room(&r, &w);
    *error = (organ_error){0};
    organ_measure_tensors(model, w.options ? w.options : &all, &r.engine, NULL, out, error);
    run_engine_close(&r);
    return error->status;
}

organ_z *must_measure(const organ_model *model, way w)
{
    organ_error error;
    organ_z *z = calloc(model->tensor_count + 1, sizeof *z);
    ck_assert_msg(measure(model, w, z, &error) == ORGAN_OK, "%s", error.message);
    return z;
}

organ_status measure_models(const organ_measure_options *options, way w, json_t **report, organ_error *error)
{
    run_engine r;
    open_room(&r, &w);
    *error = (organ_error){0};
    organ_measure(options, &r.engine, NULL, report, error);
    run_engine_close(&r);
    return error->status;
}

const organ_z *z_of(const organ_model *model, const organ_z *z, const char *name)
{
    const organ_tensor *tensor = organ_model_find(model, name);
    ck_assert_msg(tensor != NULL, "%s", name);
    return &z[tensor - model->tensors];
}
