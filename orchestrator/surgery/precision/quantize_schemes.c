/* SPDX-License-Identifier: MIT
 * The schemes of safetensors models, and what none of them can hold. */
#include "orchestrator/surgery/precision/quantize_job.h"

#include <stdio.h>
#include <string.h>

static const organ_quantize_scheme schemes[] = {
    {"fp8-block128", {0, ORGAN_SCALE_BLOCK, 128}, false}, {"fp8-tensor", {0, ORGAN_SCALE_TENSOR, 0}, false},
    {"fp8-channel", {0, ORGAN_SCALE_CHANNEL, 0}, false},  {"int8-channel", {8, ORGAN_SCALE_CHANNEL, 0}, false},
    {"int8-group128", {8, ORGAN_SCALE_GROUP, 128}, true}, {"int8-group64", {8, ORGAN_SCALE_GROUP, 64}, true},
    {"int8-group32", {8, ORGAN_SCALE_GROUP, 32}, true},   {"int4-group128", {4, ORGAN_SCALE_GROUP, 128}, true},
    {"int4-group64", {4, ORGAN_SCALE_GROUP, 64}, true},   {"int4-group32", {4, ORGAN_SCALE_GROUP, 32}, true},
    {"int3-group128", {3, ORGAN_SCALE_GROUP, 128}, true}, {"int3-group64", {3, ORGAN_SCALE_GROUP, 64}, true},
    {"int3-group32", {3, ORGAN_SCALE_GROUP, 32}, true},   {"int2-group128", {2, ORGAN_SCALE_GROUP, 128}, true},
    {"int2-group64", {2, ORGAN_SCALE_GROUP, 64}, true},   {"int2-group32", {2, ORGAN_SCALE_GROUP, 32}, true},
    {"mixed", {8, ORGAN_SCALE_GROUP, 32}, true},
};

bool organ_quantize_is_mixed(const organ_quantize_scheme *scheme) { return strcmp(scheme->name, "mixed") == 0; }

const organ_quantize_scheme *organ_quantize_scheme_named(const char *name)
{
    for (size_t k = 0; k < sizeof schemes / sizeof *schemes; k++)
        if (strcmp(name, schemes[k].name) == 0)
            return &schemes[k];
    return NULL;
}

static bool ends_in_weight(const char *name)
{
    const size_t length = strlen(name);
    return length > 7 && strcmp(name + length - 7, ".weight") == 0;
}

const organ_quantize_scheme *organ_quantize_scheme_fitting(const organ_quantize_scheme *asked, uint64_t cols)
{
    const organ_grid *const grid = &asked->grid;
    char name[32];
    if (grid->scale_of != ORGAN_SCALE_GROUP || cols % grid->size == 0)
        return asked;
    for (size_t size = grid->size / 2; size >= ORGAN_LEAST_GROUP; size /= 2)
        if (cols % size == 0) {
            snprintf(name, sizeof name, "int%u-group%zu", grid->bits, size);
            return organ_quantize_scheme_named(name);
        }
    return NULL;
}

const char *organ_quantize_kind_obstacle(const organ_tensor *tensor)
{
    if (tensor->rank != 2)
        return "it is a stack of matrices, for which the scheme has no layout that is generally loaded.";
    if (!ends_in_weight(tensor->name))
        return "its name does not end in '.weight', so its scales would have none.";
    if (!organ_target_is_float(tensor))
        return "its type is none of BF16, F16 and F32.";
    if (tensor->anatomy.role == ORGAN_ROLE_EMBED)
        return "embeddings are looked up, not multiplied: no server loads them in this scheme.";
    return NULL;
}

const char *organ_quantize_obstacle(const organ_quantize_job *job, const organ_tensor *tensor)
{
    const char *const kind = organ_quantize_kind_obstacle(tensor);
    if (kind || organ_quantize_scheme_fitting(job->scheme, tensor->shape[1]))
        return kind;
    return "its columns are not a whole number of groups of 32, the smallest; int8-channel and the FP8 schemes need no "
           "groups.";
}

organ_status organ_quantize_refuse_values(const char *tensor, organ_error *error)
{
    return organ_fail(
        error, ORGAN_BAD_INPUT,
        "tensor '%s' has values that are NaN or infinite, which have no scale: leave it out with --targets, or mend it",
        tensor);
}
