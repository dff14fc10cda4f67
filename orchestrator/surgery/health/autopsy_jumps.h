/* SPDX-License-Identifier: MIT
 * Detects whether the spread of a weight's values jumps at the borders of blocks of scales. In a healthy weight the
 * rms of 128 adjacent values changes between two rows by a similar amount everywhere; if blocks have the scales of
 * other blocks, it changes more across a border of blocks. The same applies to columns. The test compares changes
 * across multiples of 128 and 64 with changes across other multiples of 16, by the median of |change of ln rms|,
 * with and without the change of the whole row or column. */
#ifndef ORGAN_AUTOPSY_JUMPS_H
#define ORGAN_AUTOPSY_JUMPS_H

#include "formats/tensor/tensor.h"
#include "kernels/kernels.h"

#include <stdbool.h>

#define ORGAN_JUMP_CLASSES  4   /* 0: other multiples of 16, 1: odd multiples of 64, 2: multiples of 128; 3: unused */
#define ORGAN_JUMP_BINS     128 /* of |difference of ln rms|, 1/64 wide; the last bin contains all larger values */
#define ORGAN_JUMP_SEGMENTS 256 /* of 128 values: columns further right are not examined */
#define ORGAN_JUMP_LINES    (8 * ORGAN_JUMP_SEGMENTS) /* multiples of 16 in a row */

typedef uint32_t organ_jump_counts[ORGAN_JUMP_CLASSES][ORGAN_JUMP_BINS];

/* Counts of pairs; the counts of several parts can be added. */
typedef struct organ_jumps {
    organ_jump_counts rows, columns; /* changes between neighbours, minus the change of the whole row or column */
    organ_jump_counts whole_rows, whole_columns; /* changes between neighbours, unchanged */
} organ_jumps;
void organ_jumps_add(organ_jumps *sum, const organ_jumps *more);

/* ln rms of the segments of one row; NaN for values that are not finite, and past the end. */
typedef struct organ_row_profile {
    float ln[ORGAN_JUMP_SEGMENTS];
} organ_row_profile;

/* ln rms of 128 values of the column at each multiple of 16, minus that of the column on its left; NaN as above. */
typedef struct organ_column_profile {
    float change[ORGAN_JUMP_LINES];
} organ_column_profile;

/* The profiles at the upper and lower edge of a strip of rows, for joining strips. */
typedef struct organ_jump_edges {
    organ_row_profile first_row, last_row; /* first_row is set only if its number is a multiple of 16 */
    organ_column_profile first_columns, last_columns;
} organ_jump_edges;

/* Scratch memory of one thread. */
typedef struct organ_jump_scratch {
    organ_row_profile above, here;
    organ_column_profile columns;
    double squares[2 * ORGAN_JUMP_LINES]; /* of the two columns at each multiple of 16 */
} organ_jump_scratch;

/* Adds the pairs within rows [first, first + rows), at least one row, of a matrix of `cols` columns, and sets
 * *edges. */
void organ_jumps_strip(organ_jumps *jumps, const organ_kernels *kernels, organ_dtype as, const void *values,
                       uint64_t first, size_t rows, size_t cols, organ_jump_scratch *scratch, organ_jump_edges *edges);

/* Adds the pairs between the strip that ends before row `row` and the strip that begins with it, in the same matrix. */
void organ_jumps_join(organ_jumps *jumps, uint64_t row, const organ_jump_edges *above, const organ_jump_edges *below);

/* Returns the least distance of lines across which the spread jumps: 128, 64, or 0 if it does not jump. `lines` is the
 * number of multiples of 16 in all matrices. *factor is then the typical factor between neighbours across such a line
 * beyond the usual one: 1.3 is 30 percent. */
unsigned organ_jumps_period(organ_jump_counts less, organ_jump_counts whole, uint64_t lines, double *factor);

#endif
