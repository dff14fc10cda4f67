/* SPDX-License-Identifier: MIT
 * Checks of the kernels of differences from a base, against plain loops: exactly, between guards. */
#include "tests/kernels/kernel_checker.h"
#include <math.h>
#include <string.h>

enum { MOST_MODELS = 4 };

/* ---- values that are not finite ---- */

static const char *check_finite_at(const organ_kernels *k, float *values, size_t n, size_t at)
{
    static const float others[] = {INFINITY, -INFINITY, NAN, -NAN};
    const float before = values[at];
    for (size_t o = 0; o < sizeof others / sizeof *others; o++) {
        values[at] = others[o];
        if (k->all_finite(values, n))
            return kernel_fault("all_finite: %zu values: %g at %zu is finite", n, (double)others[o], at);
    }
    values[at] = before;
    return NULL;
}

const char *check_all_finite(const organ_kernels *k)
{
    const char *fault = NULL;
    for (size_t l = 0; l < kernel_length_count && !fault; l++) {
        const size_t n = kernel_lengths[l], step = n > 100 ? n / 37 : 1;
        guarded array = guarded_create(n * 4, l % 2 ? GUARD_BEHIND : GUARD_BEFORE, 4);
        float *const values = (float *)(void *)array.data;
        for (size_t j = 0; j < n; j++)
            values[j] = j % 3 ? -3.40282347e38F : 1e-45F;
        if (!k->all_finite(values, n))
            fault = kernel_fault("all_finite: %zu values: large values are not finite", n);
        for (size_t at = 0; at < n && !fault; at += step)
            fault = check_finite_at(k, values, n, at);
        fault = fault || !n ? fault : check_finite_at(k, values, n, n - 1);
        guarded_destroy(&array);
    }
    return fault;
}

/* ---- differences ---- */

/* Sums of few bits are often 0, of either sign. */
static void fill(float *values, size_t n, uint64_t seed, int few)
{
    samples random = {seed};
    for (size_t j = 0; j < n; j++) {
        const int32_t bits = (int32_t)samples_bits(&random);
        values[j] = few ? (float)(bits >> 30) * 0.25F : (float)bits * 0x1p-30F;
        if (few && bits % 5 == 0)
            values[j] = bits % 2 ? -0.0F : 0.0F;
    }
}

const char *check_subtract(const organ_kernels *k)
{
    const char *fault = NULL;
    for (size_t l = 0; l < kernel_length_count && !fault; l++) {
        const size_t n = kernel_lengths[l];
        guarded first = guarded_create(n * 4, GUARD_BEHIND, 4), second = guarded_create(n * 4, GUARD_BEFORE, 4),
                out = guarded_create(n * 4, GUARD_BEHIND, 4);
        float *const x = (float *)(void *)first.data, *const y = (float *)(void *)second.data;
        fill(x, n, n, l % 2);
        fill(y, n, n + 1, l % 2);
        k->subtract(x, y, n, (float *)(void *)out.data);
        for (size_t j = 0; j < n && !fault; j++) {
            const float expected = x[j] - y[j];
            if (memcmp(&expected, out.data + 4 * j, 4) != 0)
                fault = kernel_fault("subtract: %zu values: another difference at %zu", n, j);
        }
        k->subtract(x, y, n, x);
        if (!fault && memcmp(x, out.data, n * 4) != 0)
            fault = kernel_fault("subtract: %zu values: other differences in place", n);
        if (!fault && (!guarded_intact(&first, 4) || !guarded_intact(&out, 4)))
            fault = kernel_fault("subtract: %zu values: written outside", n);
        guarded_destroy(&first);
        guarded_destroy(&second);
        guarded_destroy(&out);
    }
    return fault;
}

/* ---- weighted sums ---- */

static float merged(const organ_differences *d, float base, size_t at)
{
    float all = 0, sum = 0, divisor = 0;
    for (size_t k = 0; k < d->count; k++)
        all += d->values[k * d->stride + at] * d->scales[k] * d->weights[k];
    for (size_t k = 0; k < d->count && d->vote; k++) {
        const float v = d->values[k * d->stride + at] * d->scales[k] * d->weights[k];
        const int agrees = all >= 0 ? v > 0 : v < 0;
        sum += agrees ? v : 0;
        divisor += agrees ? d->weights[k] : 0;
    }
    if (!d->vote) {
        sum = all;
        divisor = d->divisor;
    } else if (divisor == 0)
        divisor = 1;
    if (d->normalize)
        sum /= divisor;
    return base + sum * d->lambda;
}

static const char *check_merged_of(const organ_kernels *k, organ_differences d, size_t n)
{
    guarded values = guarded_create((d.count ? (d.count - 1) * d.stride + n : 0) * 4, GUARD_BEHIND, 4),
            base = guarded_create(n * 4, GUARD_BEHIND, 4), out = guarded_create(n * 4, GUARD_BEHIND, 4);
    float *const from = (float *)(void *)base.data;
    const char *fault = NULL;
    for (size_t m = 0; m < d.count; m++)
        fill((float *)(void *)values.data + m * d.stride, n, n + m, n % 3 > 0);
    fill(from, n, n + MOST_MODELS, n % 2);
    d.values = (const float *)(const void *)values.data;
    k->merge_differences(&d, from, n, (float *)(void *)out.data);
    for (size_t j = 0; j < n && !fault; j++) {
        const float expected = merged(&d, from[j], j);
        if (memcmp(&expected, out.data + 4 * j, 4) != 0)
            fault = kernel_fault("merge_differences: %zu values of %zu models: another sum at %zu", n, d.count, j);
    }
    if (!fault && !guarded_intact(&out, 4))
        fault = kernel_fault("merge_differences: %zu values: written outside", n);
    guarded_destroy(&values);
    guarded_destroy(&base);
    guarded_destroy(&out);
    return fault;
}

/* Weights of different signs add up to 0 for some choices of models; a lambda below 0 makes zeros negative. */
const char *check_merged_differences(const organ_kernels *k)
{
    static const float scales[MOST_MODELS] = {1, 1.7F, 0.3F, 1}, weights[MOST_MODELS] = {0.3F, 0.9F, -0.3F, 0.7F};
    const char *fault = NULL;
    for (size_t l = 0; l < kernel_length_count; l++)
        for (size_t way = 0; way < 20 && !fault; way++) {
            const organ_differences d = {.stride = kernel_lengths[l] + way,
                                         .count = way % 5,
                                         .scales = scales,
                                         .weights = weights,
                                         .vote = way / 5 % 2,
                                         .normalize = way / 10 % 2,
                                         .divisor = way % 3 ? 1.2F : -0.7F,
                                         .lambda = way % 2 ? 1 : -0.8F};
            fault = check_merged_of(k, d, kernel_lengths[l]);
        }
    return fault;
}
