/* SPDX-License-Identifier: MIT
 * Work on the rows of replaced tensors: organ_write_run reads each row, calls the verb's `row` on it, writes it back
 * and finishes the units. */
#ifndef ORGAN_WRITE_ROWS_H
#define ORGAN_WRITE_ROWS_H

#include <organ/stream.h>

/* One row of a replaced tensor, as a worker passes it to `row`. */
typedef struct organ_row {
    const organ_kernels *kernels;
    size_t index; /* index of the tensor among the replaced tensors */
    const organ_tensor *tensor;
    void *data; /* the stored row, `units` storage units of the tensor's type (organ_dtype_info.elements values each) */
    size_t units;
    float *values; /* the row in FP32, `cols` values, 64-byte aligned */
    size_t cols;
    void *scratch; /* buffer of the worker, organ_row_work.scratch_bytes long */
    double *sums;  /* ORGAN_ROW_SUMS sums of the tile that `row` adds to; 0 before the first row of a tile */
} organ_row;

/* Converts `values` to the tensor's type into `data`, then converts them back, so that `values` has the rounded
 * values. */
void organ_row_store(const organ_row *row);

/* Result of a row range or, after organ_row_work_fold, of a tensor. */
#define ORGAN_ROW_SUMS 4
typedef struct organ_row_result {
    double sums[ORGAN_ROW_SUMS]; /* sums of its tiles (or of its row ranges), added in order of rows */
    char xxh3[17];               /* XXH3 of its bytes in the output, 16 hexadecimal digits */
} organ_row_result;

/* The verb's work on rows. The functions get organ_write.context. */
typedef struct organ_row_work {
    size_t scratch_bytes; /* bytes of organ_row.scratch */
    uint64_t least;       /* bytes that the verb needs for other purposes, as organ_pass.least */
    void (*row)(void *context, const organ_row *row); /* changes the row; on any worker */
    /* Checks the sums of a row range, which cover its rows so far. Called at the same time for different tensors.
     * `index`: index of the tensor among the replaced tensors. An error, such as ORGAN_BAD_INPUT, ends the run. NULL:
     * no check. */
    organ_status (*judge)(void *context, size_t index, const double *sums, organ_error *error);
    void (*remark)(const double *sums,
                   char remark[64]); /* writes a remark on a finished row range for the progress. NULL: no remark */
    /* Set and owned by the driver: results of the row ranges; after the last one is written, of the tensors. */
    organ_row_result *results;
} organ_row_work;

/* Returns the number of elements of the longest row of the chosen tensors. `chosen` has a flag for each tensor of the
 * model. */
size_t organ_row_longest(const organ_model *model, const bool *chosen);

/* Tensors are cut into row ranges at multiples of this number of rows. Each range is divided into tiles of as many
 * rows. */
#define ORGAN_ROWS_CUT 8

#endif
