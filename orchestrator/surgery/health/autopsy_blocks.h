/* SPDX-License-Identifier: MIT
 * Reads the blocks of a weight, the parts that share a scale. For each block it sums the squares of some of the values
 * and reads the stored scale. This second pass reads only a part of the weight, small enough for one thread. */
#ifndef ORGAN_AUTOPSY_BLOCKS_H
#define ORGAN_AUTOPSY_BLOCKS_H

#include "orchestrator/surgery/health/autopsy_job.h"

/* Sums over the `n` sampled values of one block: a^2 (own), b^2 (other) and a b (product), where a is a value of the
 * weight and b that of its counterpart in the other model (0 without one). */
typedef struct organ_block_sums {
    double own, other, product;
    uint64_t n;
} organ_block_sums;

/* The grid of blocks of a weight; of a large weight only its first rows of blocks. A block has one scale. A weight
 * without scales gets blocks of 128 x 128, which most FP8 models have. */
typedef struct organ_blocks {
    /* number of rows and columns of blocks that were read; 0: the weight has no such grid, and all pointers are NULL */
    size_t rows, cols;
    uint64_t height, width; /* rows and columns of values in a block; blocks at the edges may be smaller */
    bool complete;          /* all blocks of the weight were read */
    organ_block_sums *sums; /* rows x cols */
    /* rows x cols, all positive and finite; NULL: the weight does not have one such scale of type F32, F16 or BF16 for
     * each block, or they are too many to read */
    float *scales;
    double *lines; /* for each row of blocks: median, over its sampled rows of values, of their ln rms */
} organ_blocks;

/* Reads a sample of the values of each block of v->weight, and of the counterpart v->other if `compare`, and the stored
 * scales. Leaves *blocks empty (rows 0) if the weight has no grid of blocks. Returns ORGAN_IO or ORGAN_BAD_INPUT if a
 * weight cannot be read. The caller frees *blocks, also after an error. */
organ_status organ_blocks_read(const organ_autopsy_job *job, const organ_weight_stats *v, bool compare,
                               organ_blocks *blocks, organ_error *error);
void organ_blocks_release(organ_blocks *blocks);

/* Returns ln of the root mean square of the sampled values of a block of the weight (not of the counterpart); -infinity
 * if all of them are zero. */
double organ_block_ln_rms(const organ_block_sums *sums);

/* Returns the median of `count` >= 1 values. Sorts them. */
double organ_autopsy_median(double *values, size_t count);

/* ---- scales stored in the wrong order ---- */

/* A wrong order of the grid of scales. */
typedef enum organ_order {
    ORGAN_ORDER_TRANSPOSED, /* written column by column, read row by row */
    ORGAN_ORDER_DOWN,       /* each row of blocks has the scales of the row above */
    ORGAN_ORDER_UP,         /* each row of blocks has the scales of the row below */
    ORGAN_ORDER_RIGHT,      /* each column of blocks has the scales of the column on its left */
    ORGAN_ORDER_LEFT,       /* each column of blocks has the scales of the column on its right */
    ORGAN_ORDER_COUNT
} organ_order;

/* Returns the text of a finding for the order: "the grid of scales is transposed". */
const char *organ_order_text(organ_order order);

/* The blocks [row, row_end) x [col, col_end): those whose correct scale is still in the grid although the scales are
 * stored in a wrong order. */
typedef struct organ_order_range {
    size_t row, row_end, col, col_end;
} organ_order_range;

/* Sets *range to the blocks whose correct scale is still in the grid if the scales are stored in `order`. Returns false
 * if there are none. For ORGAN_ORDER_TRANSPOSED also returns false if the grid has only one row or column, or was not
 * read completely. */
bool organ_order_fits(const organ_blocks *blocks, organ_order order, organ_order_range *range);

/* Returns the index in blocks->scales at which the correct scale of block (row, col) is, if the scales are stored in
 * `order`. The block is in the range that organ_order_fits has set. */
size_t organ_order_index(const organ_blocks *blocks, organ_order order, size_t row, size_t col);

#endif
