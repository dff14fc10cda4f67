/* SPDX-License-Identifier: MIT
 * Writes adapter_model.gguf, which llama.cpp loads. The adapter writer first appends the tensors to a safetensors file,
 * because the header of a GGUF file precedes the tensors and depends on all of them. organ_adapter_gguf_write then
 * copies the tensors from the safetensors file. */
#include "formats/adapter/adapter_names.h"
#include "formats/base/file_calls.h"
#include "formats/gguf/file.h"
#include "orchestrator/surgery/lora/adapter_write_parts.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Returns the value of adapter.lora.alpha with which llama.cpp applies every pair with scale 1. If all pairs have the
 * same rank, this is the rank, because the scale is alpha / rank. If ranks differ, it is 0, with which llama.cpp does
 * not scale. */
static float alpha_of(const organ_model *model)
{
    uint64_t rank = 0;
    organ_adapter_name name;
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        if (!organ_adapter_name_read(t->name, true, &name) || !name.is_b)
            continue;
        if (rank && rank != t->shape[t->rank - 1])
            return 0;
        rank = t->shape[t->rank - 1]; /* columns of B */
    }
    return (float)rank;
}

/* Adds the key-values of a LoRA adapter and the tensors of `model` to the header that `gguf` builds. `architecture` is
 * the general.architecture of the base. */
static organ_status gguf_describe(const char *architecture, const organ_model *model, organ_gguf_writer *gguf,
                                  organ_error *error)
{
    const char *const texts[][2] = {
        {"general.architecture", architecture}, {"general.type", "adapter"}, {"adapter.type", "lora"}};
    const float alpha = alpha_of(model);
    const organ_gguf_kv kv = {"adapter.lora.alpha",          ORGAN_GGUF_F32, ORGAN_GGUF_F32, 1,
                              (const unsigned char *)&alpha, sizeof alpha};
    for (size_t k = 0; k < 3 && !error->status; k++)
        organ_gguf_writer_set_string(gguf, texts[k][0], texts[k][1], strlen(texts[k][1]), error);
    if (!error->status)
        organ_gguf_writer_kv(gguf, &kv, error);
    for (size_t k = 0; k < model->tensor_count && !error->status; k++) {
        const organ_tensor *const t = &model->tensors[k];
        organ_gguf_writer_tensor(gguf, t->name, t->dtype, t->rank, t->shape, error);
    }
    return error->status;
}

/* Writes the GGUF header and the tensors of `model`, the safetensors file, to the file `to` at the offsets of `layout`,
 * and syncs it. */
static organ_status gguf_fill(const organ_model *model, const organ_gguf_layout *layout, organ_direct_file *to,
                              organ_error *error)
{
    enum { STEP = 1 << 18 }; /* bytes that are copied at once */
    unsigned char *const bytes = malloc(STEP);
    if (!bytes)
        return organ_fail_memory(error, to->path);
    organ_direct_resize(to, layout->file_size, error); /* zeros between the tensors */
    if (!error->status)
        organ_direct_write(to, layout->bytes, layout->size, 0, error);
    for (size_t k = 0; k < model->tensor_count && !error->status; k++) {
        const organ_tensor *const t = &model->tensors[k];
        for (uint64_t at = 0, n; at < t->bytes && !error->status; at += n) {
            n = t->bytes - at < STEP ? t->bytes - at : STEP;
            if (organ_model_read(model, t->file, bytes, n, t->offset + at, error) == ORGAN_OK)
                organ_direct_write(to, bytes, (size_t)n, layout->offsets[k] + at, error);
        }
    }
    free(bytes);
    return error->status ? error->status : organ_direct_sync(to, error);
}

/* Opens the finished safetensors file as a model, writes its tensors to adapter_model.gguf, and then removes the
 * safetensors file. */
organ_status organ_adapter_gguf_write(const organ_adapter_writer *w, organ_error *error)
{
    char *const path = organ_publish_path(&w->output.publish, ORGAN_ADAPTER_GGUF);
    organ_model *model = NULL;
    organ_gguf_writer *gguf = NULL;
    organ_gguf_layout layout;
    organ_direct_file to = {.fd = -1, .direct = -1};
    if (!path)
        organ_fail_memory(error, w->output.path);
    else if (organ_model_open(w->path, &model, error) == ORGAN_OK &&
             organ_gguf_writer_create(&gguf, error) == ORGAN_OK &&
             gguf_describe(w->architecture, model, gguf, error) == ORGAN_OK &&
             organ_gguf_writer_finish(gguf, &layout, error) == ORGAN_OK &&
             organ_direct_open(path, 0666, &to, error) == ORGAN_OK)
        gguf_fill(model, &layout, &to, error);
    organ_direct_close(&to);
    organ_gguf_writer_destroy(gguf);
    organ_model_close(model);
    if (!error->status)
        organ_remove_file(w->path);
    free(path);
    return error->status;
}
