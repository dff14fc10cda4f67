/* SPDX-License-Identifier: MIT
 * A store of the inputs of tokens, for the solver by blocks of a ridge, which sweeps over them repeatedly. A row has
 * the inputs of a token in one block. The store has a list of rows for each block and part, in the order in which they
 * were added. Rows are stored in batches, in memory or in a scratch file, and several batches are read at once. */
#ifndef ORGAN_RIDGE_ROWS_H
#define ORGAN_RIDGE_ROWS_H

#include "orchestrator/surgery/algebra/ridge.h"

/* Rows of a batch. A wide product adds as many rows in FP32 before it adds them to FP64 sums, so the number of batches
 * that a product covers changes no bit. */
#define ORGAN_RIDGE_BATCH ((size_t)256)
/* Greatest number of rows that a call of organ_ridge_rows_read reads: enough work for all workers. */
#define ORGAN_RIDGE_READ ((size_t)8 * ORGAN_RIDGE_BATCH)
#define ORGAN_RIDGE_NONE UINT32_MAX /* number of a batch: there is none */

/* Rows of one block and part that organ_ridge_rows_read has read; valid until its next call. */
typedef struct organ_ridge_batch {
    size_t rows; /* ORGAN_RIDGE_READ, or fewer at the end of the block and part */
    /* Number of the token of each row: tokens of FIT from 0 on, then those of HELD. No token occurs twice. */
    const uint32_t *tokens;
    const float *inputs; /* [rows][width] */
} organ_ridge_batch;

typedef struct organ_ridge_rows organ_ridge_rows;

/* Returns the bytes of memory that a store needs; with shape->scratch most rows are in a file. */
double organ_ridge_rows_memory(const organ_ridge_shape *shape);

/* Opens an empty store. Returns ORGAN_IO, with *rows NULL, if memory cannot be allocated or the scratch directory has
 * too little space. */
organ_status organ_ridge_rows_open(const organ_ridge_shape *shape, organ_ridge_rows **rows, organ_error *error);
void organ_ridge_rows_close(organ_ridge_rows *rows); /* NULL is allowed */

/* Appends the row with the `width` inputs of a token in one block. `token`: number as in organ_ridge_batch. Returns
 * ORGAN_IO if the scratch file cannot be written. */
organ_status organ_ridge_rows_add(organ_ridge_rows *rows, organ_ridge_part part, size_t block, size_t token,
                                  const float *inputs, organ_error *error);
/* Called after the last row: writes the rows that are still in memory to the scratch file, if there is one. Returns
 * ORGAN_IO if the file cannot be written. */
organ_status organ_ridge_rows_finish(organ_ridge_rows *rows, organ_error *error);

/* Returns the number of the first batch of a block and part; ORGAN_RIDGE_NONE if they have no rows. */
uint32_t organ_ridge_rows_first(const organ_ridge_rows *rows, organ_ridge_part part, size_t block);

/* Reads up to ORGAN_RIDGE_READ rows into *batch, from batch *number on. Sets *number to the next batch of the same
 * block and part, or to ORGAN_RIDGE_NONE at the end. Returns ORGAN_IO if the file cannot be read or has other bytes
 * than were written, which network file systems can cause. */
organ_status organ_ridge_rows_read(organ_ridge_rows *rows, uint32_t *number, organ_ridge_batch *batch,
                                   organ_error *error);

#endif
