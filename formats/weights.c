/* SPDX-License-Identifier: MIT */
#include "formats/weights.h"

#include "formats/weights_search.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

organ_weight organ_weight_plain(const organ_tensor *tensor)
{
    const organ_dtype_info *const type = organ_dtype_describe(tensor->dtype);
    return (organ_weight){.name = tensor->name,
                          .scheme = ORGAN_SCHEME_PLAIN,
                          .rank = tensor->rank,
                          .shape = tensor->shape,
                          .elements = tensor->elements,
                          .anatomy = tensor->anatomy,
                          .codes = tensor,
                          .bits = type->in_safetensors ? type->bytes * 8 / type->elements : 0};
}

static organ_status no_memory(const organ_model *model, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "%s: a list of %zu weights", model->path, model->tensor_count);
}

/* Tensors of these names hold codes that mean nothing alone. */
static bool is_packed(const char *name)
{
    static const char *const ends[] = {".qweight", ".weight_packed", "_blocks", "_scales",
                                       "_scale",   "_scale_inv",     ".scale",  ".qscale_weight"};
    const size_t length = strlen(name);
    for (size_t k = 0; k < sizeof ends / sizeof *ends; k++) {
        const size_t end = strlen(ends[k]);
        if (length > end && strcmp(name + length - end, ends[k]) == 0)
            return true;
    }
    return false;
}

static organ_status collect(organ_weight_search *search, organ_error *error)
{
    const organ_model *const model = search->model;
    if (!model->gguf && *model->config.quant_method)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: config.json: quant_method is '%s', which cannot be read", model->path,
                          model->config.quant_method);
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const tensor = &model->tensors[k];
        if (!model->gguf && is_packed(tensor->name))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' belongs to a packed weight, which cannot be read",
                              model->files[tensor->file].name, tensor->name);
        search->weights[search->found.count++] = organ_weight_plain(tensor);
    }
    for (size_t k = 0; k < search->found.count; k++)
        if (!organ_name_table_put(&search->names, search->weights[k].name, k))
            return no_memory(model, error);
    return ORGAN_OK;
}

organ_status organ_weights_find(const organ_model *model, organ_weights **weights, organ_error *error)
{
    *weights = NULL;
    organ_weight_search *const search = calloc(1, sizeof *search);
    organ_weight *const room = calloc(model->tensor_count + 1, sizeof *room);
    if (!search || !room) {
        free(search);
        free(room);
        return no_memory(model, error);
    }
    search->model = model;
    search->weights = room;
    search->found.weights = room;
    search->found.method = model->gguf ? "" : model->config.quant_method;
    const organ_status status = collect(search, error);
    if (status == ORGAN_OK)
        *weights = &search->found;
    else
        organ_weights_free(&search->found);
    return status;
}

void organ_weights_free(organ_weights *weights)
{
    organ_weight_search *const search = (organ_weight_search *)weights;
    if (!search)
        return;
    organ_name_table_release(&search->names);
    organ_arena_release(&search->arena);
    free(search->weights);
    free(search);
}

const organ_weight *organ_weights_named(const organ_weights *weights, const char *name)
{
    const size_t *const found = organ_name_table_find(&((const organ_weight_search *)weights)->names, name);
    return found ? &weights->weights[*found] : NULL;
}

organ_matrices organ_weight_matrices(const organ_weight *weight)
{
    const organ_tensor plain = {.rank = weight->rank, .shape = weight->shape};
    return organ_tensor_matrices(&plain);
}
