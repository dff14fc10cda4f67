/* SPDX-License-Identifier: MIT
 * Products with one row of a, whose speed is limited by reading b. Squares of b are transposed in registers and used
 * at once. All chunks of a strip are computed in sequence, so that each row of b is read from start to end. */
#ifndef ORGAN_KERNELS_PRODUCT_ROW_H
#define ORGAN_KERNELS_PRODUCT_ROW_H
#include "kernels/product_parts.h"

#define ROW_GROUPS 4 /* groups of 16 rows of b with independent sums, which hide the latency of fma */
#define ROW_STRIP  (16 * ROW_GROUPS)
#define ROW_AHEAD  256 /* bytes by which a row of b is prefetched ahead */

/* Loads a 16 x 16 square of b, from row `row` and column `from` of the part on, and transposes it: square[l] contains
 * column from + l. `complete` is true if all 16 rows and columns exist. */
INLINE void row_square(f32x16 square[16], const product_part *b, size_t row, size_t from, const bool complete,
                       const enum element_type type)
{
    if (!complete) {
        _Alignas(64) float some[256];
        ragged_square(some, b, row, from, type);
        UNROLL for (size_t l = 0; l < 16; l++) square[l] = f32_load(some + 16 * l);
        return;
    }
    UNROLL for (size_t l = 0; l < 16; l++)
    {
        const size_t at = b->at + (row + l) * b->stride + from;
        square[l] = load_elements(b->values, at, type);
        __builtin_prefetch((const char *)b->values + at * element_size(type) + ROW_AHEAD);
    }
    transpose_square(square);
}

/* Adds to totals[j] the product of values [k, end) of the row `a` with row j of the strip b, for the last values of a
 * chunk, fewer than 16. */
SHARED void add_last_columns(float totals[ROW_STRIP], const float *a, const product_part *b, size_t k, size_t end,
                             const enum element_type type)
{
    for (size_t g = 0; g < ROW_GROUPS; g++) {
        _Alignas(64) float square[256];
        f32x16 sum = f32_load(totals + 16 * g);
        ragged_square(square, b, 16 * g, k, type);
        for (size_t l = 0; l < end - k; l++)
            sum = f32_fma(f32_set1(a[k + l]), f32_load(square + 16 * l), sum);
        f32_store(totals + 16 * g, sum);
    }
}

/* Sets totals[j] to the product of values [k, end) of the row `a` with row j of the strip b. `complete` is true if all
 * ROW_STRIP rows of the strip exist. */
INLINE void row_chunk(float totals[ROW_STRIP], const float *a, const product_part *b, size_t k, size_t end,
                      const bool complete, const enum element_type type)
{
    for (size_t g = 0; g < ROW_GROUPS; g++)
        f32_store(totals + 16 * g, f32_set1(0));
    for (; k + 16 <= end; k += 16)
        for (size_t g = 0; g < ROW_GROUPS; g++) {
            f32x16 square[16], sum = f32_load(totals + 16 * g);
            row_square(square, b, 16 * g, k, complete, type);
            UNROLL for (size_t l = 0; l < 16; l++) sum = f32_fma(f32_set1(a[k + l]), square[l], sum);
            f32_store(totals + 16 * g, sum);
        }
    if (k < end)
        add_last_columns(totals, a, b, k, end, type);
}

/* Computes the product of one row `a` without packing b, because packing would cost more than the product. Computes
 * strip by strip of the rows of b, in the same chunks of k as the blocked product, so that the bits are the same. */
INLINE void row_by_strips(const organ_product *p, const float *a, const enum element_type type)
{
    _Alignas(64) float totals[ROW_STRIP];
    for (size_t column = 0; column < p->n; column += ROW_STRIP) {
        const size_t columns = min_size(ROW_STRIP, p->n - column);
        const product_part b = part_of(&p->b, column, columns, 0, p->k);
        product_place place = {p, 0, column, columns, p->into};
        for (size_t k = 0; k < p->k; k += PRODUCT_CHUNK) {
            row_chunk(totals, a, &b, k, min_size(p->k, k + PRODUCT_CHUNK), columns == ROW_STRIP, type);
            combine_totals(&place, totals, ROW_STRIP, 1);
            place.into = place.into == ORGAN_PRODUCT_SET ? ORGAN_PRODUCT_ADD : place.into;
        }
    }
}

/* Multiply the row `a`, which has p->k > 0 values, by b, which is not transposed and has the named type. */
static void row_by_bf16(const organ_product *p, const float *a) { row_by_strips(p, a, BF16); }
static void row_by_f16(const organ_product *p, const float *a) { row_by_strips(p, a, F16); }
static void row_by_f32(const organ_product *p, const float *a) { row_by_strips(p, a, F32); }

#endif
