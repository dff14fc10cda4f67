/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/lora/combine_values.h"

#include <string.h>

static uint32_t magnitude_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffff;
}

/* Finds the half, high or low, of the smallest magnitude that is kept, from counts of halves. *left is the number of
 * values that remain to be kept, from that half down. */
static uint32_t half_of(const uint64_t *counters, uint64_t *left)
{
    uint32_t half = ORGAN_COMBINE_COUNTERS - 1;
    for (; half > 0 && counters[half] < *left; half--)
        *left -= counters[half];
    return half;
}

void organ_combine_prune(float *values, size_t n, double density, uint64_t *counters)
{
    uint64_t left = density >= 1 ? n : (uint64_t)(density * (double)n);
    if (left >= n)
        return;
    if (left == 0) {
        memset(values, 0, n * sizeof *values);
        return;
    }
    memset(counters, 0, ORGAN_COMBINE_COUNTERS * sizeof *counters);
    for (size_t k = 0; k < n; k++)
        counters[magnitude_of(values[k]) >> 16]++;
    const uint32_t high = half_of(counters, &left);
    memset(counters, 0, ORGAN_COMBINE_COUNTERS * sizeof *counters);
    for (size_t k = 0; k < n; k++)
        if (magnitude_of(values[k]) >> 16 == high)
            counters[magnitude_of(values[k]) & 0xffff]++;
    const uint32_t least = high << 16 | half_of(counters, &left);
    for (size_t k = 0; k < n; k++) {
        const uint32_t own = magnitude_of(values[k]);
        if (own > least || (own == least && left > 0 && left--))
            continue;
        values[k] = 0;
    }
}

void organ_combine_draw(const organ_kernels *kernels, uint64_t seed, uint64_t stream, double density, uint8_t *mask,
                        size_t n)
{
    enum { STEP = 1024 };
    float uniform[STEP]; /* in [-1, 1) */
    for (size_t at = 0; at < n; at += STEP) {
        const size_t count = n - at < STEP ? n - at : STEP;
        kernels->philox_uniform(seed, stream, at, uniform, count);
        for (size_t k = 0; k < count; k++)
            mask[at + k] = ((double)uniform[k] + 1) / 2 < density;
    }
}

void organ_combine_drop(float *values, const uint8_t *mask, size_t n, double density)
{
    for (size_t k = 0; k < n; k++)
        values[k] = mask[k] ? values[k] / (float)density : 0;
}

static float elected(const float *const *values, size_t count, size_t j, organ_combine_vote vote)
{
    float sum = 0;
    for (size_t k = 0; k < count; k++) {
        const float value = values[k][j];
        sum += vote == ORGAN_COMBINE_TOTAL ? value : (float)((value > 0) - (value < 0));
    }
    return sum >= 0 ? 1.0f : -1.0f;
}

static float vote_value(const float *const *values, const float *weights, size_t count, size_t j,
                        organ_combine_vote vote)
{
    const float sign = elected(values, count, j, vote);
    float sum = 0, number = 0;
    for (size_t k = 0; k < count; k++)
        if (values[k][j] * sign > 0) {
            sum += weights[k] * values[k][j];
            number += 1;
        }
    return number > 1 ? sum / number : sum;
}

void organ_combine_join(const float *const *values, const float *weights, size_t count, size_t n,
                        organ_combine_vote vote, float *to)
{
    for (size_t j = 0; j < n; j++) {
        if (vote != ORGAN_COMBINE_SUM) {
            to[j] = vote_value(values, weights, count, j, vote);
            continue;
        }
        float sum = 0;
        for (size_t k = 0; k < count; k++)
            sum += weights[k] * values[k][j];
        to[j] = sum;
    }
}

void organ_combine_signs(const float *x, const float *y, size_t n, uint64_t counts[2])
{
    uint64_t same = 0, opposed = 0;
    for (size_t k = 0; k < n; k++) {
        same += (x[k] > 0 && y[k] > 0) || (x[k] < 0 && y[k] < 0);
        opposed += (x[k] > 0 && y[k] < 0) || (x[k] < 0 && y[k] > 0);
    }
    counts[0] += same;
    counts[1] += opposed;
}
