/* SPDX-License-Identifier: MIT
 * Detects whether the spread of a weight's values jumps at the borders of blocks of scales. In a healthy weight the rms
 * of 128 adjacent values changes between two rows by a similar amount everywhere. If blocks have the scales of other
 * blocks, the rms changes more across a border of blocks. The same applies to columns. The test takes the median of
 * |change of ln rms| across multiples of 64 and of 128, and compares it with the median across other multiples of 16.
 * The test is made twice: on the changes minus the mean change of the whole row or column, and on the changes without
 * this subtraction. */
#ifndef ORGAN_AUTOPSY_JUMPS_H
#define ORGAN_AUTOPSY_JUMPS_H

#include <organ/models.h>
#include <organ/kernels.h>

#include <stdbool.h>

#define ORGAN_JUMP_CLASSES  4   /* 0: other multiples of 16, 1: odd multiples of 64, 2: multiples of 128; 3: unused */
#define ORGAN_JUMP_BINS     128 /* of |difference of ln rms|, 1/64 wide; the last bin contains all larger values */
#define ORGAN_JUMP_SEGMENTS 256 /* segments of 128 values in a row: columns further right are not examined */
#define ORGAN_JUMP_LINES    (8 * ORGAN_JUMP_SEGMENTS) /* multiples of 16 in a row */

/* Histograms of |change of ln rms|, one for each class of lines. */
typedef uint32_t organ_jump_counts[ORGAN_JUMP_CLASSES][ORGAN_JUMP_BINS];

/* Histograms of the changes across lines in a part of a matrix. A line is the border before a row or column whose index
 * is a multiple of 16. The counts of several parts can be added. */
typedef struct organ_jumps {
    organ_jump_counts rows, columns; /* changes across lines between rows, and between columns, minus the mean change
                                      * of the whole line */
    organ_jump_counts whole_rows, whole_columns; /* the changes without this subtraction */
} organ_jumps;
/* Adds the counts of *more to *sum. */
void organ_jumps_add(organ_jumps *sum, const organ_jumps *more);

/* ln rms of the segments of 128 values of one row; NaN for segments whose sum of squares is 0 or not finite, and after
 * the last whole segment. */
typedef struct organ_row_profile {
    float ln[ORGAN_JUMP_SEGMENTS];
} organ_row_profile;

/* For each column whose index is a multiple of 16: ln rms of a sample of its values in at most 128 rows, minus ln rms
 * of the values in the same rows of the column on its left. NaN where either rms is 0 or not finite, and for columns
 * that do not exist. */
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

/* Adds to *jumps the changes within rows [first, first + rows) of a matrix of `cols` columns, and sets *edges to the
 * profiles at the first and the last rows. `rows` is at least 1. `values` points to row `first`; its type is `as` (F32,
 * BF16 or F16). */
void organ_jumps_strip(organ_jumps *jumps, const organ_kernels *kernels, organ_dtype as, const void *values,
                       uint64_t first, size_t rows, size_t cols, organ_jump_scratch *scratch, organ_jump_edges *edges);

/* Adds to *jumps the changes between two adjacent strips of the same matrix: `above`, which ends before row `row`, and
 * `below`, which begins with row `row`. */
void organ_jumps_join(organ_jumps *jumps, uint64_t row, const organ_jump_edges *above, const organ_jump_edges *below);

/* Returns the distance of the lines across which the spread of values jumps: 64, 128, or 0 if it does not jump. `less`
 * is the histogram of the changes minus the mean change of the whole row or column (organ_jumps.rows or columns),
 * `whole` that of the unmodified changes (whole_rows or whole_columns). `lines` is the number of lines in all matrices.
 * Sets *factor to the typical factor between the two sides of a line with a jump, in excess of the usual factor (1.3:
 * 30 percent more), or to 1 if there are no jumps. */
unsigned organ_jumps_period(organ_jump_counts less, organ_jump_counts whole, uint64_t lines, double *factor);

#endif
