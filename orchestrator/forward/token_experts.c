/* SPDX-License-Identifier: MIT */
#include "orchestrator/forward/token_experts.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"

#include <stdlib.h>
#include <string.h>

/* Returns ORGAN_BAD_INPUT for a number that is not that of an expert. */
static organ_status take_numbers(const organ_forward *f, const organ_tensor *tensor, const unsigned char *bytes,
                                 uint32_t *table, organ_error *error)
{
    const bool wide = tensor->dtype == ORGAN_I64;
    for (uint64_t k = 0; k < tensor->elements; k++) {
        int64_t number = 0;
        int32_t narrow = 0;
        memcpy(wide ? (void *)&number : (void *)&narrow, bytes + k * (wide ? sizeof number : sizeof narrow),
               wide ? sizeof number : sizeof narrow);
        number = wide ? number : narrow;
        if (number < 0 || number >= (int64_t)f->config.experts)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: tensor '%.300s' names expert %lld of a token, but there are %u experts",
                              f->model->path, tensor->name, (long long)number, f->config.experts);
        table[k] = (uint32_t)number;
    }
    return ORGAN_OK;
}

static organ_status read_table(organ_forward *f, unsigned layer, organ_error *error)
{
    char name[256];
    const char *const part = organ_forward_part_name(f->family->names, PART_ROUTER_TABLE, /*gguf=*/false, 0);
    const organ_weight *const weight =
        organ_forward_find_weight(f, organ_forward_layer_name(f, layer, part, name), /*matrices=*/0,
                                  f->config.vocabulary, f->config.experts_used, error);
    if (!weight)
        return error->status;
    const organ_tensor *const tensor = weight->codes;
    if (tensor->dtype != ORGAN_I64 && tensor->dtype != ORGAN_I32)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%.300s' is %s, but numbers of experts are I64 or I32",
                          f->model->path, tensor->name, organ_dtype_name(tensor->dtype));
    ORGAN_OWNED unsigned char *const bytes = malloc((size_t)tensor->bytes);
    f->token_experts[layer] = malloc((size_t)tensor->elements * sizeof(uint32_t));
    if (!bytes || !f->token_experts[layer])
        return organ_fail_memory(error, f->model->path);
    return organ_model_read(f->model, tensor->file, bytes, (size_t)tensor->bytes, tensor->offset, error) == ORGAN_OK
               ? take_numbers(f, tensor, bytes, f->token_experts[layer], error)
               : error->status;
}

organ_status organ_forward_token_experts_open(organ_forward *f, organ_error *error)
{
    for (unsigned l = 0; l < f->config.layers && !error->status; l++) {
        if (!f->config.kinds[l].by_token)
            continue;
        if (!f->token_experts && !(f->token_experts = calloc(f->config.layers, sizeof *f->token_experts)))
            return organ_fail_memory(error, f->model->path);
        read_table(f, l, error);
    }
    return error->status;
}

void organ_forward_token_experts_close(organ_forward *f)
{
    for (unsigned l = 0; f->token_experts && l < f->config.layers; l++)
        free(f->token_experts[l]);
    free(f->token_experts);
}

const uint32_t *organ_forward_token_experts(const forward_group *g, size_t token)
{
    const organ_forward *const f = g->forward;
    const organ_layer_kind *const kind = g->layer->kind;
    if (!kind->by_token)
        return NULL;
    const uint32_t *const table = f->token_experts[kind - f->config.kinds];
    return table + (size_t)g->windows->tokens[g->first + token] * f->config.experts_used;
}
