/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/merge/merge_parts.h"

#include <string.h>

void organ_merge_delta(const organ_kernels *kernels, const organ_merge_strip *strip, size_t k, float *delta)
{
    organ_merge_delta_part(kernels, strip, k, 0, organ_merge_strip_values(strip), delta);
}

void organ_merge_delta_part(const organ_kernels *kernels, const organ_merge_strip *strip, size_t k, size_t from,
                            size_t n, float *delta)
{
    if (strip->base)
        kernels->subtract(strip->input[k] + from, strip->base + from, n, delta);
    else
        memcpy(delta, strip->input[k] + from, n * sizeof *delta);
}

double organ_merge_total(const organ_merge_task *task, size_t weight)
{
    double total = 0;
    for (size_t k = 0; k < task->inputs; k++)
        total += organ_merge_value(task, weight, k);
    return total;
}

organ_status organ_merge_check_weights(const organ_merge_task *task, size_t weight, const char *divisor,
                                       organ_error *error)
{
    if (organ_merge_total(task, weight) != 0)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "weight: the weights add up to 0, by which %s would divide", divisor);
}
