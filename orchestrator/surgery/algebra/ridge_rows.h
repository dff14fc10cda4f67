/* SPDX-License-Identifier: MIT
 * A store of the inputs of tokens, grouped by block, in memory or in a scratch file, for a ridge that sweeps over them
 * repeatedly. Rows of a block and part keep the order in which they were added. They are stored in batches, and several
 * batches are read at once. */
#ifndef ORGAN_RIDGE_ROWS_H
#define ORGAN_RIDGE_ROWS_H

#include "orchestrator/surgery/algebra/ridge.h"

/* Rows of a batch. A wide product adds as many rows in FP32 before it adds them to FP64 sums, so that the number of
 * batches in a product changes no bit. */
#define ORGAN_RIDGE_BATCH ((size_t)256)
/* Rows that one call of organ_ridge_rows_read reads: enough work for all workers. */
#define ORGAN_RIDGE_READ ((size_t)8 * ORGAN_RIDGE_BATCH)
#define ORGAN_RIDGE_NONE UINT32_MAX /* stands for "no batch" */

/* Rows of one block and part that organ_ridge_rows_read has read, valid until its next call. */
typedef struct organ_ridge_batch {
    size_t rows;            /* ORGAN_RIDGE_READ, or fewer at the end of the block and part */
    const uint32_t *tokens; /* for each row the number of its token: tokens of FIT count from 0 on, those of HELD
                               follow. No token occurs twice */
    const float *inputs;    /* rows x width */
} organ_ridge_batch;

typedef struct organ_ridge_rows organ_ridge_rows;

/* Returns the bytes of memory needed, with shape->scratch or without it. */
double organ_ridge_rows_memory(const organ_ridge_shape *shape);

/* Opens an empty store. Returns ORGAN_IO, with *rows NULL, if memory cannot be allocated or the scratch directory has
 * no room for the rows. */
organ_status organ_ridge_rows_open(const organ_ridge_shape *shape, organ_ridge_rows **rows, organ_error *error);
void organ_ridge_rows_close(organ_ridge_rows *rows); /* NULL is allowed */

/* Appends the row of `width` inputs that a token has in this block. `token` counts as in organ_ridge_batch. Returns
 * ORGAN_IO if the scratch file cannot be written. */
organ_status organ_ridge_rows_add(organ_ridge_rows *rows, organ_ridge_part part, size_t block, size_t token,
                                  const float *inputs, organ_error *error);
/* Called after the last row: writes the rows that are still in memory to the scratch file, if there is one. Returns
 * ORGAN_IO if it cannot be written. */
organ_status organ_ridge_rows_finish(organ_ridge_rows *rows, organ_error *error);

/* Returns the number of the first batch of a block and part; ORGAN_RIDGE_NONE if they have no rows. */
uint32_t organ_ridge_rows_first(const organ_ridge_rows *rows, organ_ridge_part part, size_t block);

/* Reads up to ORGAN_RIDGE_READ rows from batch *number on into *batch, and sets *number to the next batch of that block
 * and part, or to ORGAN_RIDGE_NONE. Returns ORGAN_IO if the file cannot be read, or if it contains other bytes than
 * were written, which network file systems can cause. */
organ_status organ_ridge_rows_read(organ_ridge_rows *rows, uint32_t *number, organ_ridge_batch *batch,
                                   organ_error *error);

#endif
