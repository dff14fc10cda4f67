/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/overflow.h"
#include "orchestrator/stream/widen.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define F16_GREATEST  65504.0f
#define BF16_GREATEST 0x1.fep127f
#define AT_ONCE       ((size_t)1024) /* values that are converted back at once; a multiple of the values of a block */

float organ_overflow_limit(organ_dtype dtype)
{
    switch (dtype) {
    case ORGAN_F16:
        return F16_GREATEST;
    case ORGAN_BF16:
        return BF16_GREATEST;
    case ORGAN_Q8_0: /* scale = greatest magnitude / 127 */
        return 127 * F16_GREATEST;
    case ORGAN_Q4_0:
        return 8 * F16_GREATEST;
    case ORGAN_Q5_0:
        return 16 * F16_GREATEST;
    default:
        return organ_dtype_describe(dtype)->elements > 1 ? F16_GREATEST : INFINITY;
    }
}

uint64_t organ_overflow_count(const organ_kernels *kernels, organ_dtype dtype, const float *values, const void *units,
                              size_t units_count)
{
    const organ_dtype_info *const type = organ_dtype_describe(dtype);
    const size_t n = units_count * type->elements, step = AT_ONCE / type->elements;
    const float safe = dtype == ORGAN_BF16 ? BF16_GREATEST : F16_GREATEST;
    float back[AT_ONCE];
    uint64_t count = 0;
    if (dtype == ORGAN_F32 || !(kernels->amax(values, n) > safe))
        return 0;
    for (size_t at = 0; at < units_count; at += step) {
        const size_t some = units_count - at < step ? units_count - at : step;
        const float *const before = values + at * type->elements;
        organ_widen(kernels, dtype, (const unsigned char *)units + at * type->bytes, back, some);
        for (size_t k = 0; k < some * type->elements; k++)
            count += isfinite(before[k]) && !isfinite(back[k]);
    }
    return count;
}

organ_status organ_overflow_found(organ_overflow *overflow, const char *tensor, organ_dtype dtype, uint64_t count,
                                  organ_error *error)
{
    if (!overflow->saturate)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': at least %llu value%s would become infinite as %s, whose greatest magnitude is "
                          "%g: choose another type, or limit such values with --saturate",
                          tensor, (unsigned long long)count, count == 1 ? "" : "s", organ_dtype_describe(dtype)->name,
                          (double)organ_overflow_limit(dtype));
    pthread_mutex_lock(&overflow->lock);
    if (!overflow->values || strncmp(tensor, overflow->first, sizeof overflow->first - 1) < 0) {
        snprintf(overflow->first, sizeof overflow->first, "%s", tensor);
        overflow->dtype = dtype;
    }
    overflow->values += count;
    pthread_mutex_unlock(&overflow->lock);
    return ORGAN_OK;
}

void organ_overflow_clamp(float *values, size_t n, float limit)
{
    for (size_t k = 0; k < n; k++)
        if (isfinite(values[k]) && fabsf(values[k]) > limit)
            values[k] = copysignf(limit, values[k]);
}

organ_status organ_overflow_narrow(organ_overflow *overflow, const organ_kernels *kernels, organ_dtype dtype,
                                   const char *tensor, float *values, void *units, size_t units_count,
                                   organ_error *error)
{
    organ_narrow(kernels, dtype, values, units, units_count);
    const uint64_t count = organ_overflow_count(kernels, dtype, values, units, units_count);
    if (!count)
        return ORGAN_OK;
    if (organ_overflow_found(overflow, tensor, dtype, count, error) != ORGAN_OK)
        return error->status;
    organ_overflow_clamp(values, units_count * organ_dtype_describe(dtype)->elements, organ_overflow_limit(dtype));
    organ_narrow(kernels, dtype, values, units, units_count);
    return ORGAN_OK;
}
