/* SPDX-License-Identifier: MIT
 * Whether the spread of a weight's values jumps where blocks of scales meet. Whether or not a block of scales ends
 * between two rows, the rms of 128 values next to each other changes from the upper to the lower one as it does
 * elsewhere in these rows; with the scales of other blocks it does not, and the same holds for columns. Compared are
 * changes across multiples of 128 and 64 with changes across other multiples of 16, by the median of |change of ln
 * rms|, with and without what the whole row or column changes by. */
#ifndef ORGAN_AUTOPSY_JUMPS_H
#define ORGAN_AUTOPSY_JUMPS_H

#include "formats/tensor/tensor.h"
#include "kernels/kernels.h"

#include <stdbool.h>

#define ORGAN_JUMP_CLASSES  4   /* odd multiples of 16, of 32, of 64; multiples of 128 */
#define ORGAN_JUMP_BINS     128 /* of |difference of ln rms|, 1/64 wide; the last has all that is beyond */
#define ORGAN_JUMP_SEGMENTS 256 /* of 128 values: what is further right of a row is not looked at */
#define ORGAN_JUMP_LINES    (8 * ORGAN_JUMP_SEGMENTS) /* multiples of 16 in a row */

typedef uint32_t organ_jump_counts[ORGAN_JUMP_CLASSES][ORGAN_JUMP_BINS];

/* Counts of pairs; they add up. */
typedef struct organ_jumps {
    organ_jump_counts rows, columns; /* changes from one to the next, less those of the whole row or column */
    organ_jump_counts whole_rows, whole_columns; /* changes as they are */
} organ_jumps;
void organ_jumps_add(organ_jumps *sum, const organ_jumps *more);

/* ln rms of the segments of one row; NaN where it is not finite, and past the end. */
typedef struct organ_row_profile {
    float ln[ORGAN_JUMP_SEGMENTS];
} organ_row_profile;

/* By how much ln rms of 128 values one below the other changes from the column left of each multiple of 16 to that
 * column; NaN as above. */
typedef struct organ_column_profile {
    float change[ORGAN_JUMP_LINES];
} organ_column_profile;

/* What is at the upper and lower edge of some rows, so that strips can be joined. */
typedef struct organ_jump_edges {
    organ_row_profile first_row, last_row; /* of the first only where its number is a multiple of 16 */
    organ_column_profile first_columns, last_columns;
} organ_jump_edges;

/* What a thread needs. */
typedef struct organ_jump_scratch {
    organ_row_profile above, here;
    organ_column_profile columns;
    double squares[2 * ORGAN_JUMP_LINES]; /* of the two columns at each multiple of 16 */
} organ_jump_scratch;

/* Adds what is within rows [first, first + rows), at least one, of a matrix of `cols` columns; *edges is set. */
void organ_jumps_strip(organ_jumps *jumps, const organ_kernels *kernels, organ_dtype as, const void *values,
                       uint64_t first, size_t rows, size_t cols, organ_jump_scratch *scratch, organ_jump_edges *edges);

/* Adds what is between rows that end and rows that begin with row `row` of the same matrix. */
void organ_jumps_join(organ_jumps *jumps, uint64_t row, const organ_jump_edges *above, const organ_jump_edges *below);

/* The least distance of lines across which the spread jumps: 128, 64, or 0 where it does not. `lines` is how many
 * multiples of 16 there are in all matrices. *factor is then by how much neighbours differ typically, more than they do
 * elsewhere: 1.3 is 30 percent. */
unsigned organ_jumps_period(organ_jump_counts less, organ_jump_counts whole, uint64_t lines, double *factor);

#endif
