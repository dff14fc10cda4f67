/* SPDX-License-Identifier: MIT */
#include "tests/verbs/autopsy/autopsy_rig.h"

#include <organ/quantize.h>
#include "tests/kit/samples.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

json_t *autopsy_result;

static uint64_t bytes_of(const rig_tensor *t)
{
    uint64_t elements = 1, bytes = 0;
    for (unsigned k = 0; k < t->rank; k++)
        elements *= t->shape[k];
    ck_assert(organ_dtype_bytes(t->dtype, elements, &bytes));
    return bytes;
}

void rig_write(const char *path, const rig_tensor *tensors, size_t count)
{
    char *header = NULL;
    size_t size = 0;
    uint64_t at = 0;
    FILE *const text = open_memstream(&header, &size), *const out = fopen(path, "wb");
    ck_assert(text && out);
    for (size_t k = 0; k < count; k++) {
        const rig_tensor *const t = &tensors[k];
        fprintf(text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", k ? "," : "{", t->name,
                organ_dtype_describe(t->dtype)->name);
        for (unsigned d = 0; d < t->rank; d++)
            fprintf(text, "%s%llu", d ? "," : "", (unsigned long long)t->shape[d]);
        fprintf(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                (unsigned long long)(at + bytes_of(t)));
        at += bytes_of(t);
    }
    fputc('}', text);
    ck_assert_int_eq(fclose(text), 0);
    const uint64_t length = size;
    ck_assert_uint_eq(fwrite(&length, 8, 1, out) + fwrite(header, 1, size, out), 1 + size);
    for (size_t k = 0; k < count; k++)
        ck_assert_uint_eq(fwrite(tensors[k].data, 1, bytes_of(&tensors[k]), out), bytes_of(&tensors[k]));
    ck_assert_int_eq(fclose(out), 0);
    free(header);
}

float *rig_normal(uint64_t seed, size_t n, float std)
{
    samples random = {seed};
    float *const values = malloc((n + 1) * sizeof *values);
    ck_assert_ptr_nonnull(values);
    samples_fill(&random, NORMAL, values, n);
    for (size_t k = 0; k < n; k++)
        values[k] *= std;
    return values;
}

uint16_t *rig_bf16(const float *values, size_t n)
{
    uint16_t *const words = malloc((n + 1) * sizeof *words);
    ck_assert_ptr_nonnull(words);
    organ_kernels_scalar->f32_to_bf16(values, words, n);
    return words;
}

void rig_copy(const char *model, const char *name)
{
    char command[4500];
    snprintf(command, sizeof command, "cp -RL '%s' '%s' && chmod -R u+w '%s'", model, scratch_path("%s", name),
             scratch_path("%s", name));
    ck_assert_int_eq(system(command), 0);
}

void rig_quantise(const char *model, const char *scheme)
{
    const organ_quantize_options options = {.model = model,
                                            .write.output = scratch_path("q"),
                                            .scheme = scheme,
                                            .write.max_shard_size = (uint64_t)1 << 30,
                                            .write.force = true};
    run_engine room;
    organ_error error = {0};
    json_t *report = NULL;
    run_engine_open(&room, (run_way){.memory = 128 << 20});
    ck_assert_msg(organ_quantize(&options, &room.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    run_engine_close(&room);
}

/* Edits values in FP32 and converts them back; scales are F32 or BF16. */
static void edit_values(const organ_model *model, const organ_tensor *tensor,
                        void (*edit)(float *values, size_t rows, size_t cols))
{
    organ_error error = {0};
    const size_t n = tensor->elements, rows = tensor->shape[0];
    void *const bytes = malloc(tensor->bytes);
    float *const values = malloc(n * sizeof *values);
    ck_assert(bytes && values && (tensor->dtype == ORGAN_F32 || tensor->dtype == ORGAN_BF16));
    ck_assert_int_eq(organ_model_read(model, tensor->file, bytes, tensor->bytes, tensor->offset, &error), ORGAN_OK);
    if (tensor->dtype == ORGAN_F32)
        memcpy(values, bytes, tensor->bytes);
    else
        organ_kernels_scalar->bf16_to_f32(bytes, values, n);
    edit(values, rows, n / rows);
    if (tensor->dtype == ORGAN_F32)
        memcpy(bytes, values, tensor->bytes);
    else
        organ_kernels_scalar->f32_to_bf16(values, bytes, n);
    const int fd = open(model->files[tensor->file].path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_eq(pwrite(fd, bytes, tensor->bytes, (off_t)tensor->offset), (ssize_t)tensor->bytes);
    close(fd);
    free(bytes);
    free(values);
}

void rig_edit(const char *pattern, void (*edit)(float *values, size_t rows, size_t cols))
{
    organ_model *model;
    organ_error error = {0};
    size_t edited = 0;
    ck_assert_msg(organ_model_open(scratch_path("q"), &model, &error) == ORGAN_OK, "%s", error.message);
    for (size_t k = 0; k < model->tensor_count; k++)
        if (fnmatch(pattern, model->tensors[k].name, 0) == 0) {
            edit_values(model, &model->tensors[k], edit);
            edited++;
        }
    organ_model_close(model);
    ck_assert_msg(edited > 0, "%s", pattern);
}

void autopsy_setup(void)
{
    fault_clear();
    scratch_make();
}

void autopsy_teardown(void)
{
    fault_clear();
    json_decref(autopsy_result);
    autopsy_result = NULL;
    scratch_remove();
}

organ_status autopsy(const char *model, autopsy_way w, organ_error *error)
{
    run_engine room;
    const organ_autopsy_options options = {
        .model = model, .other = w.other, .ranges = w.ranges, .match = w.match, .output = w.output, .text = w.text};
    *error = (organ_error){0};
    json_decref(autopsy_result);
    autopsy_result = NULL;
    run_engine_open(
        &room,
        (run_way){.isa = w.isa, .threads = w.threads, .memory = w.memory ? w.memory : 128 << 20, .stop = w.stop});
    const organ_status status = organ_autopsy(&options, &room.engine, NULL, &autopsy_result, error);
    run_engine_close(&room);
    ck_assert_int_eq(status, error->status);
    ck_assert_msg((autopsy_result != NULL) == (status == ORGAN_OK || status == ORGAN_CHECK_FAILED), "status %d: %s",
                  (int)status, error->message);
    return status;
}

static const char *text_of(const json_t *row, const char *key) { return json_string_value(json_object_get(row, key)); }

static const char *kinds(const char *list, const char *tensor, char out[256])
{
    size_t k;
    json_t *row;
    *out = '\0';
    json_array_foreach(json_object_get(autopsy_result, list), k, row)
    {
        if (strcmp(text_of(row, "tensor"), tensor) == 0)
            snprintf(out + strlen(out), 256 - strlen(out), "%s%s", *out ? " " : "", text_of(row, "kind"));
    }
    return out;
}

const char *found(const char *tensor)
{
    static char text[256];
    return kinds("findings", tensor, text);
}

const char *remarked(const char *tensor)
{
    static char text[256];
    return kinds("remarks", tensor, text);
}

const json_t *finding_of(const char *tensor, const char *kind)
{
    static const char *const lists[] = {"findings", "remarks"};
    size_t k;
    json_t *row;
    for (size_t l = 0; l < 2; l++)
        json_array_foreach(json_object_get(autopsy_result, lists[l]), k, row)
        {
            if (strcmp(text_of(row, "tensor"), tensor) == 0 && strcmp(text_of(row, "kind"), kind) == 0)
                return row;
        }
    ck_abort_msg("%s has no %s", tensor, kind);
    return NULL;
}

const json_t *numbers_of(const char *tensor)
{
    size_t k;
    json_t *row;
    json_array_foreach(json_object_get(autopsy_result, "tensors"), k, row)
    {
        if (strcmp(text_of(row, "name"), tensor) == 0)
            return row;
    }
    ck_abort_msg("%s is not in the report", tensor);
    return NULL;
}
