/* SPDX-License-Identifier: MIT
 * The method moments, strip by strip: the weighted mean, which the tensors have that are not fitted along a text
 * (moments_fit.h), and from which the fitted ones start. */
#include "orchestrator/surgery/merge/merge_parts.h"

#include <math.h>

static const organ_merge_parameter moments_parameters[] = {
    [ORGAN_MOMENTS_WEIGHT] = {.name = "weight",
                              .per_input = true,
                              .fallback = 1,
                              .least = 0,
                              .most = INFINITY,
                              .about = "factor of a model's squared errors"},
    [ORGAN_MOMENTS_RIDGE] =
        ORGAN_MERGE_NUMBER("ridge", 0.01, 1e-6, 1e6, "pull to the mean, relative to the mean square of the inputs"),
    [ORGAN_MOMENTS_DRIFT] = ORGAN_MERGE_SWITCH("drift", 1,
                                               "fit the outputs that each model has along its own text, not those that "
                                               "it has with the inputs of the merged model"),
    [ORGAN_MOMENTS_PRIOR] =
        ORGAN_MERGE_NUMBER("prior", 1, 1e-6, 1e9, "tokens as which the mean counts in each row of the embedding"),
};

static organ_status moments_check(const organ_merge_task *task, organ_error *error)
{
    return organ_merge_check_weights(task, ORGAN_MOMENTS_WEIGHT, "the mean", error);
}

/* Sums in FP32 in the order of the recipe. */
static void moments_apply(const organ_merge_task *task, const void *state, const organ_merge_strip *strip, float *out)
{
    const double total = organ_merge_total(task, ORGAN_MOMENTS_WEIGHT);
    (void)state;
    for (size_t r = 0; r < strip->rows; r++)
        for (size_t k = 0; k < task->inputs; k++) {
            const float *const x = strip->input[k] + r * strip->cols;
            const float factor = task->row_factors ? task->row_factors[k][strip->first + r]
                                                   : (float)(organ_merge_value(task, ORGAN_MOMENTS_WEIGHT, k) / total);
            float *const row = out + r * strip->cols;
            for (size_t i = 0; i < strip->cols; i++)
                row[i] = k ? row[i] + factor * x[i] : factor * x[i];
        }
}

const organ_merge_method organ_merge_moments = {
    .name = "moments",
    .about = "least-squares mean of the models along their texts",
    .base = ORGAN_MERGE_BASE_OPTIONAL,
    .least = 1,
    .parameters = moments_parameters,
    .parameter_count = sizeof moments_parameters / sizeof *moments_parameters,
    .check = moments_check,
    .apply = moments_apply,
};
