/* SPDX-License-Identifier: MIT
 * Work on the rows of replaced tensors: organ_write_run reads each row, calls the verb for it, writes it back and
 * finishes the units. */
#ifndef ORGAN_WRITE_ROWS_H
#define ORGAN_WRITE_ROWS_H

#include "orchestrator/stream/pass.h"

/* A row of a tensor that is replaced, on any worker. */
typedef struct organ_row {
    const organ_kernels *kernels;
    size_t index; /* the tensor is the index-th of those that are replaced */
    const organ_tensor *tensor;
    void *data; /* the stored row: `units` units of its type */
    size_t units;
    float *values; /* the row in FP32, `cols` values, 64-byte aligned, followed by the scratch, likewise aligned */
    size_t cols;
    void *scratch;
    double *sums; /* the function adds to them; 0 before the first row of a tile */
} organ_row;

/* Rounds the values into the stored row, then reads them back, so that they equal the stored ones. */
void organ_row_store(const organ_row *row);

/* Results of the rows of a tensor or a row range. */
#define ORGAN_ROW_SUMS 4
typedef struct organ_row_result {
    double sums[ORGAN_ROW_SUMS]; /* of its tiles, in their order; of its row ranges, in theirs */
    char xxh3[17];               /* of its bytes in the output */
} organ_row_result;

/* The functions get the context of organ_write. */
typedef struct organ_row_work {
    size_t scratch_bytes; /* for a row */
    uint64_t least;       /* bytes that the verb needs for other purposes, as organ_pass.least */
    void (*row)(void *context, const organ_row *row); /* changes the row; on any worker */
    /* Checks the sums of a row range so far; ORGAN_BAD_INPUT ends the run. May be NULL. */
    organ_status (*judge)(void *context, size_t index, const double *sums, organ_error *error);
    void (*remark)(const double *sums,
                   char remark[64]); /* text for the progress, of a finished row range. May be NULL */
    organ_row_result *results;       /* set by the driver: of each row range, and once all are written of each tensor */
} organ_row_work;

/* Returns the number of elements of the longest row of the chosen tensors. `chosen` has a flag for each tensor of the
 * model. */
size_t organ_row_longest(const organ_model *model, const bool *chosen);

#define ORGAN_ROWS_CUT 8 /* tensors are cut at multiples of this: sums of that many rows are added in order */

#endif
