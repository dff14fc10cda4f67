/* SPDX-License-Identifier: MIT
 * Checks of the quantisers that search scales: every table against the second implementation of the definition, then
 * against the scalar table on values of all kinds, and the quality of the search. Values are equal if their bits are,
 * or if both are zero. */
#include "tests/kernels/fit_reference.h"
#include "tests/kernels/guarded.h"
#include "tests/kernels/kernel_checker.h"
#include "tests/kit/effort.h"
#include <math.h>
#include <string.h>

enum { ROWS = 5, BLOCKS = 7, MAX = 256 * ROWS * BLOCKS };

const char *check_fit_members(const organ_kernels *k)
{
    int fits[ORGAN_GGML_TYPES] = {0};
    for (size_t t = 0; t < FIT_TYPES; t++)
        fits[fit_types[t].number] = 1;
    for (int number = 0; number < ORGAN_GGML_TYPES; number++)
        if (!k->fit[number] != !fits[number])
            return kernel_fault("type %d: a search for scales is missing or too many", number);
    return NULL;
}

static void fill_weights(samples *random, float *weights, size_t n)
{
    for (size_t j = 0; j < n; j++)
        weights[j] = (float)ldexp(samples_uniform(random), (int)(samples_bits(random) % 41) - 20) + 0x1p-24f;
}

/* Fills with values as in models: far from zero or close to it, all of one sign, equal, zero. */
static void fill_values(samples *random, float *values, size_t n, unsigned round)
{
    static const int shifts[] = {0, -6, 20, -24, 34, -140, -40};
    samples_fill(random, (enum sample_shape)(round % SAMPLE_SHAPES), values, n);
    for (size_t j = 0; j < n; j++) {
        values[j] = ldexpf(values[j], shifts[round % 7]);
        if (round % 5 == 3)
            values[j] = round % 2 ? fabsf(values[j]) : -fabsf(values[j]);
        if (round % 11 == 4 && j / 16 % 3 == 0)
            values[j] = values[j / 48 * 48];
        if (round % 13 == 6 && j / 32 % 2 == 0)
            values[j] = 0;
    }
}

/* Codebooks, q2_k and iq4_xs take long: a part of the rounds, with fewer blocks. */
static int takes_long(const fit_type *t)
{
    return t->number == 10 || (t->number >= 16 && t->number <= 19) || (t->number >= 21 && t->number <= 23) ||
           t->number == 29;
}

static const char *check_like_reference(const organ_kernels *k, const fit_type *t, unsigned round)
{
    static float values[MAX], weights[MAX], expected[MAX], got[MAX];
    static unsigned char blocks[MAX * 2];
    const int brief = takes_long(t) || round % 4 >= sampled_unless_all(4, 1, 4);
    const size_t across = brief ? 3 : BLOCKS, count = across * (brief ? 2 : ROWS);
    const size_t cols = t->elements * across, n = t->elements * count;
    samples random = {round * 64u + (unsigned)t->number};
    if (takes_long(t) && round % sampled_unless_all(2, 4, 4) != 1)
        return NULL;
    fill_values(&random, values, n, round);
    fill_weights(&random, weights, cols);
    const float *const used = round % 3 ? weights : NULL;
    for (size_t b = 0; b < count; b++)
        reference_fit(t, values + b * t->elements, used ? weights + b % across * t->elements : NULL,
                      expected + b * t->elements);
    k->fit[t->number](values, used, cols, blocks, count);
    organ_kernels_scalar->dequantize[t->number](blocks, got, count);
    for (size_t j = 0; j < n; j++)
        if (memcmp(&got[j], &expected[j], sizeof *got) != 0 && (got[j] != 0 || expected[j] != 0))
            return kernel_fault("%s: round %u, value %zu (%g) becomes %a instead of %a", t->name, round, j,
                                (double)values[j], (double)got[j], (double)expected[j]);
    return NULL;
}

const char *check_fit_reference(const organ_kernels *k)
{
    /* A part of the rounds for a table that check_fit_shapes compares with scalar. */
    const unsigned step = strcmp(k->isa, "scalar") ? (unsigned)sampled_unless_all(1, 3, 1) : 1;
    const char *fault = NULL;
    for (size_t t = 0; t < FIT_TYPES && !fault; t++)
        for (unsigned round = (unsigned)t % step; round < 28 && !fault; round += step)
            fault = check_like_reference(k, &fit_types[t], round);
    return fault;
}

/* ---- random bytes with infinities and NaN, between guards ---- */

static const char *check_fit_at(const organ_kernels *k, const fit_type *t, size_t n, size_t offset,
                                enum guarded_side side)
{
    const size_t cols = t->elements * (n % 3 + 1);
    guarded values = guarded_create(n * t->elements * sizeof(float), side, 9),
            blocks = guarded_create(offset + n * t->bytes, side, 10);
    guarded weights = guarded_create(cols * sizeof(float), side, 11), expected = guarded_create(n * t->bytes, side, 12);
    float *const w = (float *)(void *)weights.data;
    const char *fault = NULL;
    samples random = {n * 8 + offset};
    fill_weights(&random, w, cols);
    const float *const used = offset % 2 ? w : NULL;
    if (k != organ_kernels_scalar)
        organ_kernels_scalar->fit[t->number]((const float *)(void *)values.data, used, cols, expected.data, n);
    k->fit[t->number]((const float *)(void *)values.data, used, cols, blocks.data + offset, n);
    if (k != organ_kernels_scalar && memcmp(blocks.data + offset, expected.data, n * t->bytes) != 0)
        fault = kernel_fault("%s: %zu blocks at offset %zu are not those of scalar", t->name, n, offset);
    else if (!guarded_intact(&values, 9) || !guarded_intact(&blocks, 10))
        fault = kernel_fault("%s: %zu blocks at offset %zu: bytes around them were changed", t->name, n, offset);
    guarded_destroy(&expected);
    guarded_destroy(&weights);
    guarded_destroy(&blocks);
    guarded_destroy(&values);
    return fault;
}

const char *check_fit_shapes(const organ_kernels *k)
{
    static const size_t counts[] = {0, 1, 2, 3, 15, 16, 17, 35};
    const char *fault = NULL;
    for (size_t t = 0; t < FIT_TYPES; t++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts && !fault; c++)
            for (size_t offset = 0; offset < (takes_long(&fit_types[t]) ? 2 : sampled_unless_all(4, 2, 4)) && !fault;
                 offset++)
                for (int side = counts[c] > sampled_unless_all(35, 3, 35) ? GUARD_BEHIND : GUARD_BEFORE;
                     side <= GUARD_BEHIND && !fault; side++)
                    fault = check_fit_at(k, &fit_types[t], counts[c], offset, (enum guarded_side)side);
    return fault;
}

/* ---- quality ---- */

static double loss_of(const float *values, const float *weights, size_t cols, const float *meant, size_t n)
{
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += weights[j % cols] * ((double)values[j] - meant[j]) * ((double)values[j] - meant[j]);
    return sum;
}

/* The search loses less than scaling by the largest magnitude, if there is such a quantiser, and less weighted loss
 * with weights than without; values that the type represents stay exact; scales stay finite. */
const char *check_fit_purpose(const organ_kernels *k)
{
    static float values[MAX], weights[MAX], meant[3][MAX], exact[32], back[32];
    static unsigned char blocks[MAX * 2];
    samples random = {77};
    for (size_t j = 0; j < 32; j++)
        exact[j] = 0x1.4p-7f * (float)((int)(j % 16) - 8);
    for (size_t t = 0; t < FIT_TYPES; t++) {
        const fit_type *const type = &fit_types[t];
        const size_t cols = type->elements * BLOCKS, n = cols * ROWS;
        samples_fill(&random, NORMAL, values, n);
        fill_weights(&random, weights, cols);
        const float *const ways[] = {NULL, weights};
        for (size_t way = 0; way < 2; way++) {
            k->fit[type->number](values, ways[way], cols, blocks, BLOCKS * ROWS);
            organ_kernels_scalar->dequantize[type->number](blocks, meant[way], BLOCKS * ROWS);
        }
        /* scales that are powers of 2, and one scale for 128 or 256 values of few levels, leave little to choose */
        const double share =
            type->number == 39 || type->number == 34 || type->number == 35 || type->number == 41 ? 0.98 : 0.9;
        if (!(loss_of(values, weights, cols, meant[1], n) < share * loss_of(values, weights, cols, meant[0], n)))
            return kernel_fault("%s: weights are of little use", type->name);
        if (k->quantize[type->number]) {
            const float one = 1;
            k->quantize[type->number](values, blocks, BLOCKS * ROWS);
            organ_kernels_scalar->dequantize[type->number](blocks, meant[2], BLOCKS * ROWS);
            if (!(loss_of(values, &one, 1, meant[0], n) < 0.95 * loss_of(values, &one, 1, meant[2], n)))
                return kernel_fault("%s: the search gains little", type->name);
            k->fit[type->number](exact, NULL, 32, blocks, 1);
            organ_kernels_scalar->dequantize[type->number](blocks, back, 1);
            if (type->number != 8 && memcmp(exact, back, sizeof back) != 0)
                return kernel_fault("%s: values that it holds exactly are changed", type->name);
        }
        memset(values, 0x7f, sizeof values);
        k->fit[type->number](values, NULL, cols, blocks, BLOCKS);
        organ_kernels_scalar->dequantize[type->number](blocks, meant[0], BLOCKS);
        if (!isfinite(meant[0][0]))
            return kernel_fault("%s: a scale is infinite", type->name);
    }
    return NULL;
}
