/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/output/targets.h"

#include "orchestrator/surgery/output/plain_only.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

static bool is_matrix(const organ_tensor *tensor) { return tensor->rank >= 2 && tensor->elements > 0; }

static void choose_projections(const organ_model *model, bool *chosen)
{
    for (size_t t = 0; t < model->tensor_count; t++)
        chosen[t] = is_matrix(&model->tensors[t]) && organ_role_describe(model->tensors[t].anatomy.role)->projection;
}

static organ_status choose_matching(const organ_model *model, const char *globs, bool *chosen, organ_error *error)
{
    char *list = strdup(globs), *rest = NULL;
    if (!list)
        return organ_fail_memory(error, "--targets");
    for (const char *glob = strtok_r(list, ",", &rest); glob && !error->status; glob = strtok_r(NULL, ",", &rest)) {
        size_t found = 0;
        for (size_t t = 0; t < model->tensor_count; t++)
            if (is_matrix(&model->tensors[t]) && fnmatch(glob, model->tensors[t].name, 0) == 0)
                found += chosen[t] = true;
        if (found == 0)
            organ_fail(error, ORGAN_USAGE, "--targets: no matrix of %s has a name that matches '%s'", model->path, glob);
    }
    free(list);
    return error->status;
}

/* The arrays of what is chosen. */
static organ_status collect(const organ_model *model, organ_targets *targets, organ_error *error)
{
    targets->tensors = calloc(model->tensor_count + 1, sizeof(organ_tensor *));
    if (!targets->tensors)
        return organ_fail_memory(error, model->path);
    for (size_t t = 0; t < model->tensor_count; t++)
        if (targets->chosen[t]) {
            targets->tensors[targets->count++] = &model->tensors[t];
            targets->elements += model->tensors[t].elements;
            targets->bytes += model->tensors[t].bytes;
        }
    if (targets->count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: none of its %zu tensors is a projection (q, k, v, o, gate, up, down): name some with --targets", model->path,
                          model->tensor_count);
    return ORGAN_OK;
}

organ_status organ_targets_select(const organ_model *model, const char *globs, organ_targets *targets, organ_error *error)
{
    *targets = (organ_targets){.chosen = calloc(model->tensor_count + 1, sizeof(bool))};
    if (!targets->chosen)
        organ_fail_memory(error, model->path);
    else if (globs)
        choose_matching(model, globs, targets->chosen, error);
    else
        choose_projections(model, targets->chosen);
    if (!error->status)
        collect(model, targets, error);
    if (error->status)
        organ_targets_free(targets);
    return error->status;
}

bool organ_target_is_float(const organ_tensor *tensor)
{
    return tensor->dtype == ORGAN_BF16 || tensor->dtype == ORGAN_F16 || tensor->dtype == ORGAN_F32;
}

organ_status organ_targets_are_floats(const organ_model *model, const organ_targets *targets, organ_error *error)
{
    if (organ_plain_only(model, targets->chosen, error))
        return error->status;
    for (size_t k = 0; k < targets->count; k++) {
        const organ_tensor *tensor = targets->tensors[k];
        if (organ_dtype_is_blocks(tensor->dtype))
            return organ_dequantize_first(model, error, "%.300s: tensor '%.200s': dtype %s cannot be pruned, only BF16, F16 and F32 can",
                                          model->files[tensor->file].path, tensor->name, organ_dtype_describe(tensor->dtype)->name);
        if (!organ_target_is_float(tensor))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': dtype %s cannot be pruned, only BF16, F16 and F32 can",
                              model->files[tensor->file].path, tensor->name, organ_dtype_describe(tensor->dtype)->name);
    }
    return ORGAN_OK;
}

void organ_targets_free(organ_targets *targets)
{
    free(targets->tensors);
    free(targets->chosen);
    *targets = (organ_targets){0};
}
