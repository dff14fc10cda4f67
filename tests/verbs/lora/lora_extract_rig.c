/* SPDX-License-Identifier: MIT */
#include "tests/verbs/lora/lora_extract_rig.h"

#include <organ/stream.h>
#include "orchestrator/stream/product.h"
#include "orchestrator/solve/algebra.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

json_t *lora_result;

static const made_tensor tensors[] = {{"model.embed_tokens.weight", ORGAN_BF16, 2, {50, 72}},
                                      {L0 "input_layernorm.weight", ORGAN_F32, 1, {72}},
                                      {L0 "self_attn.q_proj.weight", ORGAN_F32, 2, {144, 72}},
                                      {L0 "self_attn.q_proj.bias", ORGAN_F32, 1, {144}},
                                      {L0 "self_attn.k_proj.weight", ORGAN_F32, 2, {36, 72}},
                                      {L0 "mlp.down_proj.weight", ORGAN_F32, 2, {72, 181}},
                                      {L1 "self_attn.q_proj.weight", ORGAN_F16, 2, {144, 72}},
                                      {L1 "self_attn.q_proj.bias", ORGAN_F32, 1, {144}},
                                      {L1 "mlp.down_proj.weight", ORGAN_BF16, 2, {72, 181}},
                                      {L1 "block_sparse_moe.input_linear.weight", ORGAN_F32, 3, {3, 40, 72}},
                                      {"model.norm.weight", ORGAN_F32, 1, {72}}};

void lora_setup(void)
{
    fault_clear();
    scratch_make();
    make_shard(scratch_path("base.safetensors"), tensors, sizeof tensors / sizeof *tensors);
    make_shard(scratch_path("tuned.safetensors"), tensors, sizeof tensors / sizeof *tensors);
    lora_tune(scratch_path("tuned.safetensors"), "_proj.weight", 3, 0.1, 0);
}

void lora_teardown(void)
{
    fault_clear();
    json_decref(lora_result);
    lora_result = NULL;
    scratch_remove();
}

/* ---- changes of models ---- */

static organ_model *open_model(const char *path)
{
    organ_model *model;
    organ_error error = {0};
    ck_assert_msg(organ_model_open(path, &model, &error) == ORGAN_OK, "%s", error.message);
    return model;
}

static float *read_tensor(const organ_model *model, const organ_tensor *tensor)
{
    organ_error error = {0};
    float *values = malloc((tensor->elements + 16) * sizeof *values);
    void *units = malloc(tensor->bytes + 1);
    ck_assert_int_eq(organ_model_read(model, tensor->file, units, tensor->bytes, tensor->offset, &error), ORGAN_OK);
    organ_widen(organ_kernels_scalar, tensor->dtype, units, values, tensor->elements);
    free(units);
    return values;
}

static void write_tensor(const organ_model *model, const organ_tensor *tensor, const float *values)
{
    void *units = malloc(tensor->bytes + 1);
    const int fd = open(model->files[tensor->file].path, O_WRONLY);
    organ_narrow(organ_kernels_scalar, tensor->dtype, values, units, tensor->elements);
    ck_assert(fd >= 0 && lseek(fd, (off_t)tensor->offset, SEEK_SET) >= 0);
    ck_assert_int_eq(write(fd, units, tensor->bytes), (ssize_t)tensor->bytes);
    close(fd);
    free(units);
}

static double norm(const float *values, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += (double)values[k] * (double)values[k];
    return sqrt(sum);
}

/* Adds d, scaled to `size` times the norm of w, to w. */
static void add_change(float *w, const float *d, size_t n, double size)
{
    const float factor = (float)(size * norm(w, n) / norm(d, n));
    for (size_t k = 0; k < n; k++)
        w[k] += factor * d[k];
}

static void change_matrix(float *w, uint64_t seed, size_t rows, size_t cols, size_t rank, double size, double noise)
{
    float *b = malloc(rows * rank * sizeof *b), *a = malloc(rank * cols * sizeof *a),
          *d = calloc(rows * cols, sizeof *d);
    float *z = malloc(rows * cols * sizeof *z);
    organ_philox_normal(seed, 0, 0, b, rows * rank);
    organ_philox_normal(seed, 1, 0, a, rank * cols);
    organ_philox_normal(seed, 2, 0, z, rows * cols);
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < rank; k++)
            for (size_t j = 0; j < cols; j++)
                d[i * cols + j] += b[i * rank + k] * a[k * cols + j];
    add_change(w, d, rows * cols, size);
    if (noise > 0)
        add_change(w, z, rows * cols, noise);
    free(b);
    free(a);
    free(d);
    free(z);
}

void lora_tune(const char *path, const char *part, size_t rank, double size, double noise)
{
    organ_model *model = open_model(path);
    for (size_t t = 0; t < model->tensor_count; t++) {
        const organ_tensor *tensor = &model->tensors[t];
        if (tensor->rank != 2 || !strstr(tensor->name, part))
            continue;
        float *w = read_tensor(model, tensor);
        change_matrix(w, t + 1000 * rank, tensor->shape[0], tensor->shape[1], rank, size, noise);
        write_tensor(model, tensor, w);
        free(w);
    }
    organ_model_close(model);
}

static void change_tensor(const char *path, const char *name, size_t at, float value, float factor)
{
    organ_model *model = open_model(path);
    const organ_tensor *tensor = organ_model_find(model, name);
    ck_assert_msg(tensor != NULL, "%s", name);
    float *w = read_tensor(model, tensor);
    for (size_t k = 0; k < tensor->elements; k++)
        w[k] = k == at ? value : w[k] * factor;
    write_tensor(model, tensor, w);
    free(w);
    organ_model_close(model);
}

void lora_scale(const char *path, const char *tensor, float factor)
{
    change_tensor(path, tensor, SIZE_MAX, 0, factor);
}

void lora_poke(const char *path, const char *tensor, size_t at, float value)
{
    change_tensor(path, tensor, at, value, 1);
}

float *lora_values(const char *path, const char *name, size_t *rows, size_t *cols)
{
    organ_model *model = open_model(path);
    const organ_tensor *tensor = organ_model_find(model, name);
    ck_assert_msg(tensor != NULL, "%s", name);
    const organ_matrices m = organ_tensor_matrices(tensor);
    float *values = read_tensor(model, tensor);
    *rows = m.count * m.rows;
    *cols = m.cols;
    organ_model_close(model);
    return values;
}

float *lora_weight(const char *path, const char *name, size_t *rows, size_t *cols)
{
    organ_model *model = open_model(path);
    organ_weights *weights;
    organ_weight_reader *reader;
    organ_error error = {0};
    ck_assert_msg(organ_weights_find(model, &weights, &error) == ORGAN_OK, "%s", error.message);
    const organ_weight *weight = organ_weights_named(weights, name);
    ck_assert_msg(weight != NULL, "%s", name);
    ck_assert_msg(organ_weight_reader_open(model, weight, organ_kernels_scalar, NULL, &reader, &error) == ORGAN_OK,
                  "%s", error.message);
    *rows = organ_weight_reader_rows(reader);
    *cols = organ_weight_reader_cols(reader);
    float *values = aligned_alloc(64, (*rows * *cols * sizeof *values + 63) / 64 * 64);
    void *scratch = aligned_alloc(64, organ_weight_reader_scratch(reader, *rows) + 64);
    ck_assert_msg(organ_weight_read(reader, 0, *rows, ORGAN_F32, values, scratch, &error) == ORGAN_OK, "%s",
                  error.message);
    free(scratch);
    organ_weight_reader_close(reader);
    organ_weights_free(weights);
    organ_model_close(model);
    return values;
}

/* ---- runs ---- */

organ_status lora_extract(const char *output, lora_way w, organ_error *error)
{
    run_engine room;
    organ_lora_extract_options o = w.options;
    *error = (organ_error){0};
    o.base = w.base ? w.base : scratch_path("base.safetensors");
    o.tuned = w.tuned ? w.tuned : scratch_path("tuned.safetensors");
    o.write.output = scratch_path("%s", output);
    o.rank = o.rank ? o.rank : 8;
    if (!o.dtype)
        o.dtype = w.bf16 ? "bf16" : "f32";
    json_decref(lora_result);
    lora_result = NULL;
    run_engine_open(&room, (run_way){.threads = w.threads, .memory = w.memory, .stop = w.stop});
    const organ_status status = organ_lora_extract(&o, &room.engine, NULL, &lora_result, error);
    run_engine_close(&room);
    ck_assert((status == ORGAN_OK) == (lora_result != NULL));
    return status;
}

void must_lora_extract(const char *output, lora_way way)
{
    organ_error error;
    ck_assert_msg(lora_extract(output, way, &error) == ORGAN_OK, "%s", error.message);
}

organ_adapter *lora_open(const char *output)
{
    organ_adapter *adapter;
    organ_error error = {0};
    ck_assert_msg(organ_adapter_open(scratch_path("%s", output), &adapter, &error) == ORGAN_OK, "%s", error.message);
    return adapter;
}

double lora_gap(const char *base, const char *tuned, const organ_adapter *adapter, const char *module, double *change)
{
    size_t rows, cols;
    char *name;
    ck_assert(asprintf(&name, "%s.weight", module) > 0);
    float *w = lora_weight(base, name, &rows, &cols), *t = lora_weight(tuned, name, &rows, &cols);
    const organ_adapter_pair *pair = organ_adapter_find(adapter, module);
    ck_assert_msg(pair != NULL, "%s", module);
    const bool turned = strstr(module, ".attn.c_") != NULL; /* Conv1D */
    float *a = read_tensor(adapter->model, pair->a), *b = read_tensor(adapter->model, pair->b);
    for (size_t k = 0; k < rows * cols; k++)
        t[k] -= w[k];
    *change = norm(t, rows * cols);
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < pair->rank; k++) {
            for (size_t j = 0; j < cols; j++)
                t[i * cols + j] -= (float)pair->scale * (turned ? b[j * pair->rank + k] * a[k * rows + i]
                                                                : b[i * pair->rank + k] * a[k * cols + j]);
        }
    const double gap = norm(t, rows * cols);
    free(w);
    free(t);
    free(a);
    free(b);
    free(name);
    return gap;
}

const json_t *lora_row(const char *list, const char *key, const char *name)
{
    const json_t *rows = json_object_get(lora_result, list);
    for (size_t k = 0; k < json_array_size(rows); k++)
        if (strcmp(json_string_value(json_object_get(json_array_get(rows, k), key)), name) == 0)
            return json_array_get(rows, k);
    return NULL;
}
