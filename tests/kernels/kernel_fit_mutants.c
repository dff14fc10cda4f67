/* SPDX-License-Identifier: MIT
 * Broken versions of the quantisers that search scales. */
#include "tests/kernels/fit_reference.h"
#include "tests/kernels/kernel_checker.h"
#include "tests/kernels/kernel_mutants.h"
#include <math.h>

#define RIGHT organ_kernels_scalar

static void takes_the_greatest(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    (void)weights;
    (void)cols;
    RIGHT->quantize[2](values, blocks, n);
}
static void forgets_weights(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    (void)weights;
    RIGHT->fit[12](values, NULL, cols, blocks, n);
}
static void weighs_every_row_on(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    for (size_t k = 0; k < n; k++)
        RIGHT->fit[14](values + 256 * k, weights, cols, (unsigned char *)blocks + 210 * k, 1);
}
static void reads_a_weight_more(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    if (weights && n > 0)
        (void)*(const volatile float *)(weights + cols);
    RIGHT->fit[8](values, weights, cols, blocks, n);
}
static void makes_16_blocks(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[6](values, weights, cols, blocks, n);
    if (n % 16)
        ((volatile unsigned char *)blocks)[22 * n] = 0;
}
static void stores_infinity(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[3](values, weights, cols, blocks, n);
    for (size_t k = 0; k < n; k++)
        if (fabsf(values[32 * k]) > 0x1p100f)
            ((unsigned char *)blocks)[20 * k + 1] = 0x7c, ((unsigned char *)blocks)[20 * k] = 0;
}
static void drops_a_code(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[13](values, weights, cols, blocks, n);
    if (n > 30)
        ((unsigned char *)blocks)[176 * 30 + 16] ^= 1;
}

#define MUTANT(type, wrong)                                                                                            \
    static void break_##wrong(organ_kernels *k) { k->fit[type] = wrong; }
MUTANT(2, takes_the_greatest)
MUTANT(12, forgets_weights)
MUTANT(14, weighs_every_row_on)
MUTANT(8, reads_a_weight_more)
MUTANT(6, makes_16_blocks)
MUTANT(3, stores_infinity)
MUTANT(13, drops_a_code)
static void break_forgets_a_type(organ_kernels *k) { k->fit[7] = NULL; }

const kernel_mutant fit_mutants[] = {
    {"a type has no search for scales", check_fit_members, break_forgets_a_type},
    {"the greatest magnitude makes the scale", check_fit_reference, break_takes_the_greatest},
    {"weights are not looked at", check_fit_reference, break_forgets_weights},
    {"each block has the weights of the first", check_fit_reference, break_weighs_every_row_on},
    {"a bit of a code is lost", check_fit_reference, break_drops_a_code},
    {"a weight past the row is read", check_fit_shapes, break_reads_a_weight_more},
    {"a block past the last is written", check_fit_shapes, break_makes_16_blocks},
    {"huge values make a scale infinite", check_fit_purpose, break_stores_infinity},
};
const size_t fit_mutant_count = sizeof fit_mutants / sizeof *fit_mutants;
