/* SPDX-License-Identifier: MIT
 * The inputs of tokens by block, in memory or in a scratch file, for a ridge that sweeps over them repeatedly. Rows of
 * a block and part keep the order in which they were added. They are stored in batches, and several batches are read at
 * once. */
#ifndef ORGAN_RIDGE_ROWS_H
#define ORGAN_RIDGE_ROWS_H

#include "orchestrator/surgery/algebra/ridge.h"

#define ORGAN_RIDGE_BATCH ((size_t)256) /* rows: a product sums up as many, so their number changes no bit */
/* Rows that are read at once: enough work for all workers. */
#define ORGAN_RIDGE_READ ((size_t)8 * ORGAN_RIDGE_BATCH)
#define ORGAN_RIDGE_NONE UINT32_MAX /* no batch */

/* Rows that were read, until the next are. */
typedef struct organ_ridge_batch {
    size_t rows; /* at most ORGAN_RIDGE_READ, and but for the last of a block and part so many */
    const uint32_t
        *tokens; /* of each row the number of its token: those of FIT from 0 on, then those of HELD. Each occurs once */
    const float *inputs; /* rows x width */
} organ_ridge_batch;

typedef struct organ_ridge_rows organ_ridge_rows;

/* Returns the bytes of memory needed, with shape->scratch or without it. */
double organ_ridge_rows_memory(const organ_ridge_shape *shape);

/* Opens the store of rows. ORGAN_IO without memory, or if the scratch directory has no room for the rows; then *rows is
 * NULL. */
organ_status organ_ridge_rows_open(const organ_ridge_shape *shape, organ_ridge_rows **rows, organ_error *error);
void organ_ridge_rows_close(organ_ridge_rows *rows); /* NULL is allowed */

/* Appends a row of `width` inputs of a token in this part and block. ORGAN_IO. */
organ_status organ_ridge_rows_add(organ_ridge_rows *rows, organ_ridge_part part, size_t block, size_t token,
                                  const float *inputs, organ_error *error);
/* Ends the store after the last row: with a scratch file, writes the rows that are still in memory. ORGAN_IO. */
organ_status organ_ridge_rows_finish(organ_ridge_rows *rows, organ_error *error);

/* Returns the first batch of a block and part; ORGAN_RIDGE_NONE if they have no rows. */
uint32_t organ_ridge_rows_first(const organ_ridge_rows *rows, organ_ridge_part part, size_t block);

/* Reads batches from number *number on, and sets *number to the next batch of that block and part, or to
 * ORGAN_RIDGE_NONE. ORGAN_IO, also if the file contains other bytes than were written, which network file systems can
 * cause. */
organ_status organ_ridge_rows_read(organ_ridge_rows *rows, uint32_t *number, organ_ridge_batch *batch,
                                   organ_error *error);

#endif
