/* SPDX-License-Identifier: MIT
 * Whether the spread of a weight's values jumps where blocks of scales meet. The values of a row, 128 at a time, are about as large as
 * their neighbours in the next row, whether or not a block of scales ends between the two; with the scales of other blocks they are not.
 * Compared are neighbours across multiples of 128, 64 and 32 with neighbours across other multiples of 16, by the median of |difference of
 * ln rms|. */
#ifndef ORGAN_AUTOPSY_JUMPS_H
#define ORGAN_AUTOPSY_JUMPS_H

#include "formats/dtype.h"
#include "kernels/kernels.h"

#include <stdbool.h>

#define ORGAN_JUMP_CLASSES  4   /* odd multiples of 16, of 32, of 64; multiples of 128 */
#define ORGAN_JUMP_BINS     128 /* of |difference of ln rms|, 1/64 wide; the last has all that is beyond */
#define ORGAN_JUMP_SEGMENTS 256 /* of 128 values: what is further right of a row is not looked at */

/* Counts of pairs; they add up. */
typedef struct organ_jumps {
    uint32_t rows[ORGAN_JUMP_CLASSES][ORGAN_JUMP_BINS];    /* neighbouring rows */
    uint32_t columns[ORGAN_JUMP_CLASSES][ORGAN_JUMP_BINS]; /* neighbouring columns */
} organ_jumps;
void organ_jumps_add(organ_jumps *sum, const organ_jumps *more);

/* ln rms of the segments of one row; NaN where it is not finite, and past the end. */
typedef struct organ_row_profile {
    float ln[ORGAN_JUMP_SEGMENTS];
} organ_row_profile;

/* Adds the pairs of two neighbouring rows, the lower of which is row `row` of its matrix, a multiple of 16. */
void organ_jumps_pair(organ_jumps *jumps, uint64_t row, const organ_row_profile *above, const organ_row_profile *here);

/* What a thread needs. */
typedef struct organ_jump_scratch {
    organ_row_profile above, here;
    double squares[2 * 8 * ORGAN_JUMP_SEGMENTS]; /* of the two columns at each multiple of 16 */
} organ_jump_scratch;

/* Adds the pairs within rows [first, first + rows), at least one, of a matrix of `cols` columns; first_row and last_row are set to the
 * profiles of the first row, where its number is a multiple of 16, and of the last, so that strips can be paired. */
void organ_jumps_strip(organ_jumps *jumps, const organ_kernels *kernels, organ_dtype as, const void *values, uint64_t first, size_t rows,
                       size_t cols, organ_jump_scratch *scratch, organ_row_profile *first_row, organ_row_profile *last_row);

/* The least distance of lines across which the spread jumps: 128, 64, 32, or 0 where it does not. `lines` is how many multiples of 16 there
 * are in all matrices. *factor is then by how much neighbours differ typically, more than they do elsewhere: 1.3 is 30 percent. */
unsigned organ_jumps_period(const uint32_t counts[ORGAN_JUMP_CLASSES][ORGAN_JUMP_BINS], uint64_t lines, double *factor);

#endif
