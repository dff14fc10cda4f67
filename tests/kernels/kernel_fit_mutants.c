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

static void takes_another_point(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[21](values, weights, cols, blocks, n);
    for (size_t k = 5; k < n; k += 6)
        ((unsigned char *)blocks)[110 * k + 2] ^= 1;
}
static void changes_the_last_sign(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[18](values, weights, cols, blocks, n);
    for (size_t k = 5; k < n; k += 6)
        ((unsigned char *)blocks)[98 * k + 97] ^= 8;
}
static void keeps_the_first_scale(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[22](values, weights, cols, blocks, n);
    for (size_t k = 5; k < n; k += 6)
        ((unsigned char *)blocks)[82 * k] ^= 1;
}
static void flips_a_stored_sign(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[16](values, weights, cols, blocks, n);
    for (size_t k = 5; k < n; k += 6)
        ((unsigned char *)blocks)[66 * k + 9] ^= 1;
}
static void changes_a_trit(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[34](values, weights, cols, blocks, n);
    if (n > 20)
        ((unsigned char *)blocks)[54 * 20 + 51] ^= 64;
}
static void takes_the_next_group(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[17](values, weights, cols, blocks, n);
    for (size_t k = 5; k < n; k += 6)
        ((unsigned char *)blocks)[74 * k + 66] ^= 16;
}
static void changes_two_bits(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[35](values, weights, cols, blocks, n);
    if (n > 20 && ((unsigned char *)blocks)[66 * 20] & 3)
        ((unsigned char *)blocks)[66 * 20]--;
}
static void forgets_that_columns_count(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    (void)weights;
    RIGHT->fit[41](values, NULL, cols, blocks, n);
}
static void never_uses_the_last_code(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[42](values, weights, cols, blocks, n);
    for (size_t k = 0; k < 18 * n; k++)
        for (unsigned at = 0; at < 8 && k % 18 > 1; at += 2)
            if ((((unsigned char *)blocks)[k] >> at & 3) == 3)
                ((unsigned char *)blocks)[k] = (unsigned char)(((unsigned char *)blocks)[k] & ~(1u << at));
}
/* Turns the shift of a group, which leaves the points. */
static void turns_a_shift(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[19](values, weights, cols, blocks, n);
    for (size_t k = 5; k < n; k += 6)
        ((unsigned char *)blocks)[50 * k + 49] ^= 128;
}
static void takes_a_lower_scale(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[29](values, weights, cols, blocks, n);
    for (size_t k = 5; k < n; k += 6)
        ((unsigned char *)blocks)[56 * k + 48] ^= 1;
}
static void takes_the_next_scale(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[40](values, weights, cols, blocks, n);
    if (n > 20 && ((unsigned char *)blocks)[36 * 20] < 126)
        ((unsigned char *)blocks)[36 * 20]++;
}
static void drops_a_high_bit(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    RIGHT->fit[11](values, weights, cols, blocks, n);
    if (n > 30)
        ((unsigned char *)blocks)[110 * 30 + 7] ^= 4;
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
MUTANT(21, takes_another_point)
MUTANT(18, changes_the_last_sign)
MUTANT(22, keeps_the_first_scale)
MUTANT(16, flips_a_stored_sign)
MUTANT(34, changes_a_trit)
MUTANT(40, takes_the_next_scale)
MUTANT(17, takes_the_next_group)
MUTANT(35, changes_two_bits)
MUTANT(41, forgets_that_columns_count)
MUTANT(42, never_uses_the_last_code)
MUTANT(19, turns_a_shift)
MUTANT(29, takes_a_lower_scale)
MUTANT(11, drops_a_high_bit)
static void break_forgets_a_type(organ_kernels *k) { k->fit[7] = NULL; }

/* ---- kernels of GPTQ ---- */

static void weights_count_not(const organ_scale_search *s, const float *values, const float *weights, size_t cols,
                              size_t group, float *scales)
{
    (void)weights;
    RIGHT->search_scales(s, values, cols, 1, cols, group, scales);
}
static void columns_stand_alone(const organ_coding *c)
{
    organ_coding one = *c;
    for (size_t j = 0; j < c->n; j++) {
        one.n = 1;
        one.square = c->square + j * (c->square_stride + 1);
        one.groups = c->groups + j;
        one.keep = c->keep ? c->keep + 16 * j : NULL;
        one.field = c->field + 16 * j;
        one.values = c->values + 16 * j;
        one.changes = c->changes + 16 * j;
        RIGHT->code_columns(&one);
    }
}
static void mask_counts_not(const organ_coding *c)
{
    organ_coding all = *c;
    all.keep = NULL;
    RIGHT->code_columns(&all);
}
static void minima_stay(const organ_coding *c, float *scratch)
{
    organ_coding plain = *c;
    plain.minima = NULL;
    RIGHT->refit_scales(&plain, scratch);
}
static void refit_does_nothing(const organ_coding *c, float *scratch) { (void)c, (void)scratch; }
static void transpose_misses_last(const float *from, size_t from_stride, float *to, size_t to_stride, size_t rows,
                                  size_t cols)
{
    RIGHT->transpose(from, from_stride, to, to_stride, rows / 16 * 16, cols);
}
static void break_weights(organ_kernels *k) { k->search_weighted = weights_count_not; }
static void break_columns_alone(organ_kernels *k) { k->code_columns = columns_stand_alone; }
static void break_mask(organ_kernels *k) { k->code_columns = mask_counts_not; }
static void break_minima(organ_kernels *k) { k->refit_scales = minima_stay; }
static void break_refit(organ_kernels *k) { k->refit_scales = refit_does_nothing; }
static void break_transpose(organ_kernels *k) { k->transpose = transpose_misses_last; }

const kernel_mutant fit_mutants[] = {
    {"weights of columns do not count", check_scale_search, break_weights},
    {"columns do not see the changes before them", check_coding, break_columns_alone},
    {"masked columns are coded", check_coding, break_mask},
    {"minima are not refitted", check_coding, break_minima},
    {"no scale is refitted", check_coding, break_refit},
    {"the last rows are not transposed", check_coding, break_transpose},
    {"a type has no search for scales", check_fit_members, break_forgets_a_type},
    {"the greatest magnitude makes the scale", check_fit_reference, break_takes_the_greatest},
    {"weights are not looked at", check_fit_reference, break_forgets_weights},
    {"each block has the weights of the first", check_fit_reference, break_weighs_every_row_on},
    {"a bit of a code is lost", check_fit_reference, break_drops_a_code},
    {"a point of a codebook is not the best", check_fit_reference, break_takes_another_point},
    {"signs of a run are others", check_fit_reference, break_changes_the_last_sign},
    {"a scale is not refitted", check_fit_reference, break_keeps_the_first_scale},
    {"a stored sign is another", check_fit_reference, break_flips_a_stored_sign},
    {"a ternary digit is another", check_fit_reference, break_changes_a_trit},
    {"a scale is one step too great", check_fit_reference, break_takes_the_next_scale},
    {"a group of IQ2_XS has the next scale", check_fit_reference, break_takes_the_next_group},
    {"a value of TQ2_0 has another code", check_fit_reference, break_changes_two_bits},
    {"columns of Q1_0 count equally", check_fit_reference, break_forgets_that_columns_count},
    {"the code 3 of Q2_0 is never used", check_fit_reference, break_never_uses_the_last_code},
    {"a shift is that of the other direction", check_fit_reference, break_turns_a_shift},
    {"a scale is that of another code", check_fit_reference, break_takes_a_lower_scale},
    {"a third bit is wrong", check_fit_reference, break_drops_a_high_bit},
    {"a weight past the row is read", check_fit_shapes, break_reads_a_weight_more},
    {"a block past the last is written", check_fit_shapes, break_makes_16_blocks},
    {"huge values make a scale infinite", check_fit_purpose, break_stores_infinity},
};
const size_t fit_mutant_count = sizeof fit_mutants / sizeof *fit_mutants;
