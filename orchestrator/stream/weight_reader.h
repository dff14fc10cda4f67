/* SPDX-License-Identifier: MIT
 * Reads rows of a weight as numbers, in whatever form the weight is stored. */
#ifndef ORGAN_WEIGHT_READER_H
#define ORGAN_WEIGHT_READER_H

#include "formats/base/api.h"
#include "formats/weights/weights.h"
#include "kernels/kernels.h"

ORGAN_API_BEGIN

typedef struct organ_weight_reader organ_weight_reader;

/* Opens a weight: checks the properties that only its bytes show, and loads the values that every row needs (a g_idx,
 * the scale of a tensor). Returns ORGAN_BAD_INPUT for companions with impossible values: a g_idx that is negative or
 * beyond the groups (in compressed-tensors a -1 is allowed: the g_idx is not used, and columns are in the order of
 * their groups). Returns ORGAN_IO if a read failed. If `note` is not NULL, it is set to a sentence for the user about
 * the weight, without its name (GPTQ: the data contradict the version of the label), else to "". All arguments but
 * `note` must outlive the reader. *reader is NULL on error. */
organ_status organ_weight_reader_open(const organ_model *model, const organ_weight *weight,
                                      const organ_kernels *kernels, char note[256], organ_weight_reader **reader,
                                      organ_error *error);
void organ_weight_reader_close(organ_weight_reader *reader); /* NULL is allowed */

/* Returns the number of rows of all matrices of the weight together. */
uint64_t organ_weight_reader_rows(const organ_weight_reader *reader);
/* Returns the number of columns, which is the same for all matrices. */
uint64_t organ_weight_reader_cols(const organ_weight_reader *reader);

/* Returns the bytes of scratch memory that organ_weight_read needs for `rows` rows, a multiple of 64. */
size_t organ_weight_reader_scratch(const organ_weight_reader *reader, size_t rows);

/* Returns the best number of rows to read at once: `rows`, rounded up to whole steps. A step is the number of rows
 * that share stored scales or words; the result is at least one step. */
size_t organ_weight_reader_step(const organ_weight_reader *reader, size_t rows);

/* Decodes rows [first, first + rows) to `values`, contiguously, as FP32 or rounded from it to BF16 or F16 (`as`);
 * `values` is 64-byte aligned. Plain values of that type keep their bits. Several threads may call it at once, each
 * with its own `scratch`, 64-byte aligned (organ_weight_reader_scratch). Returns ORGAN_IO if a read failed,
 * ORGAN_BAD_INPUT if the file was cut. */
organ_status organ_weight_read(const organ_weight_reader *reader, uint64_t first, size_t rows, organ_dtype as,
                               void *values, void *scratch, organ_error *error);

/* Sets *step to the result of organ_weight_reader_step for a reader of this weight. Uses the headers alone, without
 * I/O. Returns those errors of organ_weight_reader_open that the headers show. */
organ_status organ_weight_reader_step_of(const organ_model *model, const organ_weight *weight,
                                         const organ_kernels *kernels, size_t rows, size_t *step, organ_error *error);
/* Sets *scratch likewise to the result of organ_weight_reader_scratch; 0 on error. */
organ_status organ_weight_reader_size(const organ_model *model, const organ_weight *weight,
                                      const organ_kernels *kernels, size_t rows, size_t *scratch, organ_error *error);

/* Reads all stored bytes of `count` matrices of the weight, from matrix `first` on, into `memory`, 64-byte aligned.
 * Later calls of organ_weight_read decode rows of these matrices from there. This helps if files are slow to read in
 * small pieces, or if rows are decoded more than once. Replaces the matrices of an earlier call; no other thread may
 * use the reader during the call. `memory` must stay valid until the next call or the close of the reader. */
organ_status organ_weight_reader_hold(organ_weight_reader *reader, uint64_t first, uint64_t count, void *memory,
                                      organ_error *error);
/* Returns the bytes of memory that organ_weight_reader_hold needs for `count` matrices. */
uint64_t organ_weight_held_bytes(const organ_weight *weight, uint64_t count);

/* Returns about how many bytes organ_weight_read reads from files for `rows` rows, for the progress. */
uint64_t organ_weight_reader_bytes(const organ_weight_reader *reader, size_t rows);

ORGAN_API_END

#endif
