/* SPDX-License-Identifier: MIT
 * Rows of a weight as numbers, whatever it is stored in. */
#ifndef ORGAN_WEIGHT_READER_H
#define ORGAN_WEIGHT_READER_H

#include "formats/base/api.h"
#include "formats/weights/weights.h"
#include "kernels/kernels.h"

ORGAN_API_BEGIN

typedef struct organ_weight_reader organ_weight_reader;

/* Checks what only the bytes can tell and loads what every row needs (a g_idx, the scale of a tensor). ORGAN_BAD_INPUT
 * for companions with values that cannot be: a g_idx beyond the groups or negative (but where compressed-tensors stores
 * a -1, it means that the g_idx is not used, and columns are in the order of their groups). ORGAN_IO. `note` becomes,
 * where it is not NULL, a sentence the user should know about the weight, without its name (GPTQ: the data are of
 * another version than the label says), else "". All arguments must outlive the reader. *reader is NULL on error. */
organ_status organ_weight_reader_open(const organ_model *model, const organ_weight *weight,
                                      const organ_kernels *kernels, char note[256], organ_weight_reader **reader,
                                      organ_error *error);
void organ_weight_reader_close(organ_weight_reader *reader); /* NULL is allowed */

/* The matrices of the weight one below the other: how many rows in all, and how long they are. */
uint64_t organ_weight_reader_rows(const organ_weight_reader *reader);
uint64_t organ_weight_reader_cols(const organ_weight_reader *reader);

/* Bytes of scratch that reading so many rows at once takes, a multiple of 64. */
size_t organ_weight_reader_scratch(const organ_weight_reader *reader, size_t rows);

/* How many rows are best read at once where about `rows` are wanted: at least one whole block of scales or row of
 * words. */
size_t organ_weight_reader_step(const organ_weight_reader *reader, size_t rows);

/* Rows [first, first + rows) to `values`, one after the other, as FP32 or rounded from it to BF16 or F16 (`as`);
 * 64-byte aligned. Plain values of that type keep their bits. Any thread; `scratch` is the caller's, 64-byte aligned.
 * ORGAN_IO, ORGAN_BAD_INPUT if the file was cut. */
organ_status organ_weight_read(const organ_weight_reader *reader, uint64_t first, size_t rows, organ_dtype as,
                               void *values, void *scratch, organ_error *error);

/* The same step and scratch, from the headers alone: nothing is read. Errors as of opening, as far as headers tell. */
organ_status organ_weight_reader_step_of(const organ_model *model, const organ_weight *weight,
                                         const organ_kernels *kernels, size_t rows, size_t *step, organ_error *error);
organ_status organ_weight_reader_size(const organ_model *model, const organ_weight *weight,
                                      const organ_kernels *kernels, size_t rows, size_t *scratch, organ_error *error);

/* Reads all that some of the matrices of the weight are stored as, from `first` on, into `memory`, 64-byte aligned, of
 * as many bytes as the other function says: their rows are then decoded from there, and no file is read for them. For
 * files that are slow to read in small pieces, and for rows that are decoded more than once. What was held before is
 * forgotten; not while another thread reads. `memory` must outlive the reader or the next call. */
uint64_t organ_weight_held_bytes(const organ_weight *weight, uint64_t count);
organ_status organ_weight_reader_hold(organ_weight_reader *reader, uint64_t first, uint64_t count, void *memory,
                                      organ_error *error);

/* Bytes of files that reading these rows takes: for progress. */
uint64_t organ_weight_reader_bytes(const organ_weight_reader *reader, size_t rows);

ORGAN_API_END

#endif
