/* SPDX-License-Identifier: MIT
 * Reads the blocks of a weight: for each block the sums of squares of some of its values, and its stored scale. This is
 * a second pass over a part of the weight, small enough for one thread. */
#ifndef ORGAN_AUTOPSY_BLOCKS_H
#define ORGAN_AUTOPSY_BLOCKS_H

#include "orchestrator/surgery/health/autopsy_job.h"

/* Sums over the sampled values of one block: a^2, b^2 and a b, where b is the value of the counterpart (0 without one).
 */
typedef struct organ_block_sums {
    double own, other, product;
    uint64_t n;
} organ_block_sums;

/* The grid of a weight's scales, from the first row of blocks on. A weight without scales gets blocks of 128 x 128,
 * which most FP8 models have. */
typedef struct organ_blocks {
    size_t rows, cols;      /* of the blocks read; 0: the weight has no such grid, and all pointers are NULL */
    uint64_t height, width; /* values in a block, before clipping at the edges */
    bool complete;          /* all blocks of the weight were read */
    organ_block_sums *sums; /* rows x cols */
    float *scales;          /* rows x cols, all positive and finite; NULL: not stored as F32, F16 or BF16 */
    double *lines; /* rows: the median, over the sampled rows of values in this row of blocks, of ln rms of the row of
                      values */
} organ_blocks;

/* Reads the blocks of v->weight, and of v->other if `compare`. ORGAN_IO, ORGAN_BAD_INPUT. The caller frees *blocks,
 * also after an error. */
organ_status organ_blocks_read(const organ_autopsy_job *job, const organ_weight_stats *v, bool compare,
                               organ_blocks *blocks, organ_error *error);
void organ_blocks_free(organ_blocks *blocks);

/* Returns ln of the root mean square of a block; not finite if all its values are zero. */
double organ_block_ln_rms(const organ_block_sums *sums);

/* Returns the median of `count` >= 1 values. Sorts them. */
double organ_autopsy_median(double *values, size_t count);

/* ---- scales stored in the wrong order ---- */

typedef enum organ_order {
    ORGAN_ORDER_TRANSPOSED, /* written column by column, read row by row */
    ORGAN_ORDER_DOWN,       /* each row of blocks has the scales of the row above */
    ORGAN_ORDER_UP,         /* of the row below */
    ORGAN_ORDER_RIGHT,      /* each column of blocks has the scales of the column on its left */
    ORGAN_ORDER_LEFT,       /* of the column on its right */
    ORGAN_ORDER_COUNT
} organ_order;

/* Returns the text of a finding for the order: "the grid of scales is transposed". */
const char *organ_order_text(organ_order order);

/* The blocks [row, row_end) x [col, col_end) whose correct scale is still in the grid if the scales are stored in that
 * order. */
typedef struct organ_order_range {
    size_t row, row_end, col, col_end;
} organ_order_range;

/* Sets *range for this order. Returns false if the grid is too small for the order or, for the transposed order, was
 * not read completely.
 */
bool organ_order_fits(const organ_blocks *blocks, organ_order order, organ_order_range *range);

/* Returns the index, in blocks->scales, of the correct scale of a block of that range. */
size_t organ_order_index(const organ_blocks *blocks, organ_order order, size_t row, size_t col);

#endif
