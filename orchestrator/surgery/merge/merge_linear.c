/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/merge/merge_parts.h"

#include "orchestrator/machine/quantity.h"

#include <math.h>

enum { LINEAR_WEIGHT, LINEAR_NORMALIZE };

static const organ_merge_parameter linear_parameters[] = {
    [LINEAR_WEIGHT] = ORGAN_MERGE_FACTOR("weight", "factor of a model"),
    [LINEAR_NORMALIZE] = ORGAN_MERGE_SWITCH("normalize", 1, "divide by the sum of the weights"),
};

static organ_status linear_check(const organ_merge_task *task, organ_error *error)
{
    if (organ_merge_value(task, LINEAR_NORMALIZE, 0) == 0)
        return ORGAN_OK;
    return organ_merge_check_weights(task, LINEAR_WEIGHT, "normalize", error);
}

/* Values that are summed while their sums are in the L1 cache. */
#define LINEAR_BLOCK ((size_t)2048)

/* Sums in FP32 from 0 on, in the order of the recipe, as mergekit's addcmul. */
static void linear_apply(const organ_merge_task *task, const void *state, const organ_merge_strip *strip, float *out)
{
    (void)state;
    const size_t n = organ_merge_strip_values(strip);
    const float divisor =
        organ_merge_value(task, LINEAR_NORMALIZE, 0) != 0 ? (float)organ_merge_total(task, LINEAR_WEIGHT) : 1;
    for (size_t from = 0; from < n; from += LINEAR_BLOCK) {
        const size_t to = organ_min(n, from + LINEAR_BLOCK);
        for (size_t i = from; i < to; i++)
            out[i] = 0;
        for (size_t k = 0; k < task->inputs; k++) {
            const float weight = (float)organ_merge_value(task, LINEAR_WEIGHT, k);
            const float *const x = strip->input[k];
            for (size_t i = from; i < to; i++)
                out[i] += weight * x[i];
        }
        for (size_t i = from; i < to && divisor != 1; i++)
            out[i] /= divisor;
    }
}

const organ_merge_method organ_merge_linear = {
    .name = "linear",
    .about = "weighted mean of the models",
    .base = ORGAN_MERGE_BASE_INPUT,
    .least = 1,
    .parameters = linear_parameters,
    .parameter_count = sizeof linear_parameters / sizeof *linear_parameters,
    .check = linear_check,
    .apply = linear_apply,
};

static const organ_merge_parameter nearswap_parameters[] = {
    {.name = "t", .required = true, .most = INFINITY, .about = "difference from the base up to which a value is taken"},
};

/* Values near the base's are taken, others drawn to the base: the weight is t / |difference|, at most 1. */
static void nearswap_apply(const organ_merge_task *task, const void *state, const organ_merge_strip *strip, float *out)
{
    (void)state;
    const float t = (float)organ_merge_value(task, /*parameter=*/0, /*input=*/0);
    const float *const x = strip->input[0], *const base = strip->base;
    for (size_t i = 0; i < organ_merge_strip_values(strip); i++) {
        const float weight = fminf(t / fmaxf(fabsf(base[i] - x[i]), 1e-6F), 1);
        out[i] = weight * x[i] + (1 - weight) * base[i];
    }
}

const organ_merge_method organ_merge_nearswap = {
    .name = "nearswap",
    .about = "the base, with the other model's values where they are near",
    .base = ORGAN_MERGE_BASE_REQUIRED,
    .least = 1,
    .most = 1,
    .parameters = nearswap_parameters,
    .parameter_count = 1,
    .apply = nearswap_apply,
};

static const organ_merge_parameter passthrough_parameters[] = {
    {.name = "scale",
     .per_input = true,
     .fallback = 1,
     .least = -INFINITY,
     .most = INFINITY,
     .about = "factor of each tensor"},
};

static void passthrough_apply(const organ_merge_task *task, const void *state, const organ_merge_strip *strip,
                              float *out)
{
    (void)state;
    const float scale = (float)organ_merge_value(task, /*parameter=*/0, /*input=*/0);
    for (size_t i = 0; i < strip->rows * strip->cols; i++)
        out[i] = scale * strip->input[0][i];
}

const organ_merge_method organ_merge_passthrough = {
    .name = "passthrough",
    .about = "the tensors of one model, for models made of layers of several",
    .base = ORGAN_MERGE_BASE_INPUT,
    .least = 1,
    .most = 1,
    .parameters = passthrough_parameters,
    .parameter_count = 1,
    .apply = passthrough_apply,
};
