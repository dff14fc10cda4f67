/* SPDX-License-Identifier: MIT
 * Rounds merged weights so that the errors of a row cancel in the directions in which the adapter changes it. */
#ifndef ORGAN_LORA_FEEDBACK_H
#define ORGAN_LORA_FEEDBACK_H

#include <organ/models.h>
#include <organ/kernels.h>

#include <stddef.h>

/* The directions in which an adapter changes the rows of a matrix: a change of a row is a sum of columns of `values`.
 */
typedef struct organ_lora_directions {
    const float *values;   /* [cols][rank] */
    const double *squares; /* organ_lora_square of each column's `rank` values */
    size_t rank;
} organ_lora_directions;

/* Returns the sum of the squares of `rank` values. */
double organ_lora_square(const float *direction, size_t rank);

/* Rounds `rows` rows of `cols` values to `dtype` (F16 or BF16) and stores them in `codes`, which must not overlap
 * `values`. For each value in the order of the columns, takes the nearest number of the type, or the next one on the
 * other side of the value if the sum of (value - number) * direction over the columns of the row so far then has a
 * smaller norm. `sums` is scratch of `rank` values, `nearest` of `cols` values. A finite value does not become infinite
 * unless its nearest number is. Rows do not depend on each other, and sums have a fixed order, so that the result has
 * the same bits on every instruction set. */
void organ_lora_round_with_feedback(const organ_kernels *kernels, organ_dtype dtype, const float *values, size_t rows,
                                    size_t cols, const organ_lora_directions *directions, double *sums, float *nearest,
                                    void *codes);

#endif
