/* SPDX-License-Identifier: MIT
 * Broken products, like the kernels of kernel_mutants.c. */
#include "tests/kernels/kernel_mutants.h"
#include <math.h>
#include <string.h>

#define RIGHT organ_kernels_scalar

/* Returns the last element of c if c is FP32 and not empty. */
static float *last_of(const organ_product *p)
{
    return p->m > 0 && p->n > 0 && !p->wide ? (float *)p->c + (p->m - 1) * p->c_stride + p->n - 1 : NULL;
}

static void sums_one_chunk(const organ_product *p, void *scratch)
{
    float *const last = last_of(p), before = last ? *last : 0;
    RIGHT->product(p, scratch);
    if (!last || p->k <= 256 || p->into != ORGAN_PRODUCT_ADD || p->a.type != ORGAN_REAL_F32 ||
        p->b.type != ORGAN_REAL_F32 || p->a.transposed || p->b.transposed)
        return;
    float total = 0;
    for (size_t k = 0; k < p->k; k++)
        total = fmaf(((const float *)p->a.values)[(p->m - 1) * p->a.stride + k],
                     ((const float *)p->b.values)[(p->n - 1) * p->b.stride + k], total);
    *last = before + total;
}
static void rounds_twice(const organ_product *p, void *scratch)
{
    RIGHT->product(p, scratch);
    if (last_of(p) && p->k == 1 && p->into == ORGAN_PRODUCT_SET)
        *last_of(p) = nextafterf(*last_of(p), 0);
}
static void keeps_nan_signs(const organ_product *p, void *scratch)
{
    RIGHT->product(p, scratch);
    if (last_of(p) && isnan(*last_of(p)))
        *last_of(p) = -*last_of(p);
}
static void product_between_rows(const organ_product *p, void *scratch)
{
    RIGHT->product(p, scratch);
    if (p->m > 1 && !p->wide && p->c_stride > p->n)
        ((float *)p->c)[p->n] = 0;
}
static void forgets_a_column(const organ_product *p, void *scratch)
{
    organ_product less = *p;
    less.n -= p->n % 16 == 1 && p->n > 16;
    RIGHT->product(&less, scratch);
}
static void adds_in_single(const organ_product *p, void *scratch)
{
    RIGHT->product(p, scratch);
    if (p->wide && p->m > 0 && p->n > 0)
        *(double *)p->c = (double)(float)*(double *)p->c;
}
static void reads_next_row(const organ_product *p, void *scratch)
{
    if (p->k > 0 && p->n > 0 && p->b.type == ORGAN_REAL_BF16 && !p->b.transposed)
        (void)*(const volatile uint16_t *)((const uint16_t *)p->b.values + (p->n - 1) * p->b.stride + p->k);
    RIGHT->product(p, scratch);
}
static void sets_nothing(const organ_product *p, void *scratch)
{
    if (p->k > 0)
        RIGHT->product(p, scratch);
}
static void cuts_by_place(const organ_product *p, void *scratch)
{
    RIGHT->product(p, scratch);
    if (last_of(p) && p->n == 67)
        *last_of(p) = nextafterf(*last_of(p), INFINITY);
}

#define MUTANT(wrong)                                                                                                  \
    static void break_##wrong(organ_kernels *k) { k->product = wrong; }
MUTANT(sums_one_chunk)
MUTANT(rounds_twice)
MUTANT(keeps_nan_signs)
MUTANT(product_between_rows)
MUTANT(forgets_a_column)
MUTANT(adds_in_single)
MUTANT(reads_next_row)
MUTANT(sets_nothing)
MUTANT(cuts_by_place)

const kernel_mutant product_mutants[] = {
    {"a sum goes on over chunks", check_product_shapes, break_sums_one_chunk},
    {"a product of one value is rounded down", check_product_shapes, break_rounds_twice},
    {"a NaN keeps its sign", check_product_extremes, break_keeps_nan_signs},
    {"writes between the rows of a product", check_product_ways, break_product_between_rows},
    {"a last column alone is left out", check_product_shapes, break_forgets_a_column},
    {"wide totals are added in FP32", check_product_ways, break_adds_in_single},
    {"a value past the last row is read", check_product_ways, break_reads_next_row},
    {"a product over nothing leaves what was there", check_product_extremes, break_sets_nothing},
    {"other bits where the product is not cut", check_product_cuts, break_cuts_by_place},
};
const size_t product_mutant_count = sizeof product_mutants / sizeof *product_mutants;
