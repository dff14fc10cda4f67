/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/lora/base_names.h"

#include "formats/base/paged_rows.h"
#include "orchestrator/surgery/lora/factors.h"

organ_status organ_lora_names_build(const organ_model *base, const organ_weights *weights, organ_lora_names *names,
                                    organ_error *error)
{
    *names = (organ_lora_names){.weights = weights, .model_type = base->gguf ? "" : base->config.model_type};
    if (base->gguf)
        return ORGAN_OK;
    organ_tensor *const named = organ_rows_take(weights->count + 1, sizeof *named); /* only names */
    if (!named)
        return organ_fail_memory(error, base->path);
    for (size_t k = 0; k < weights->count; k++)
        named[k].name = weights->weights[k].name;
    organ_module_index_build(names->model_type, named, weights->count, &names->index, error);
    organ_rows_free(named);
    return error->status;
}

void organ_lora_names_release(organ_lora_names *names)
{
    organ_module_index_release(&names->index);
    *names = (organ_lora_names){0};
}

const organ_weight *organ_lora_names_find(const organ_lora_names *names, const char *name)
{
    char other[ORGAN_MODULE_NAME_SIZE];
    const organ_weight *const found = organ_lora_weight(names->weights, name);
    if (found || !*names->model_type || !organ_module_name(names->model_type, name, other, sizeof other, NULL))
        return found;
    const size_t *const at = organ_module_index_find(&names->index, other);
    return at ? &names->weights->weights[*at] : NULL;
}
