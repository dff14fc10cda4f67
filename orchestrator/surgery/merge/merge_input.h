/* SPDX-License-Identifier: MIT
 * Reads a weight of a model as FP32, strip by strip, in another order of its experts and with the change of an
 * adapter. */
#ifndef ORGAN_SURGERY_MERGE_MERGE_INPUT_H
#define ORGAN_SURGERY_MERGE_MERGE_INPUT_H

#include <organ/base.h>
#include <organ/kernels.h>
#include <organ/models.h>
#include <organ/stream.h>
#include <organ/weights.h>

/* ---- strips ---- */

/* About how many values a strip has: as many rows of one matrix as fit, at least one. The shape of a weight alone
 * decides its strips. */
#define ORGAN_MERGE_STRIP_VALUES ((size_t)1 << 16)

/* Returns the most rows of a strip. */
static inline size_t organ_merge_strip_rows(const organ_matrices *shape)
{
    const uint64_t cols = shape->cols, rows = cols < ORGAN_MERGE_STRIP_VALUES ? ORGAN_MERGE_STRIP_VALUES / cols : 1;
    return (size_t)(rows < shape->rows ? rows : shape->rows);
}

/* Returns the number of strips, 0 without elements. */
static inline uint64_t organ_merge_strips(const organ_matrices *shape)
{
    const size_t each = shape->cols ? organ_merge_strip_rows(shape) : 0;
    return each ? shape->count * ((shape->rows + each - 1) / each) : 0;
}

/* Returns the first row of strip `strip`, counted over all matrices, and sets *rows to the number of its rows. */
static inline uint64_t organ_merge_strip_first(const organ_matrices *shape, uint64_t strip, size_t *rows)
{
    const size_t each = organ_merge_strip_rows(shape);
    const uint64_t of_matrix = (shape->rows + each - 1) / each, first = strip % of_matrix * each;
    *rows = shape->rows - first < each ? (size_t)(shape->rows - first) : each;
    return strip / of_matrix * shape->rows + first;
}

/* ---- inputs ---- */

/* Changes rows that were read from an input, for example by an adapter. Each worker that merges the tensor opens a
 * state of its own. */
typedef struct organ_merge_change {
    const void *context;
    organ_status (*open)(const void *context, void **state, organ_error *error);
    void (*close)(void *state);                          /* NULL is allowed */
    size_t memory;                                       /* bytes of a state */
    size_t (*scratch)(const void *context, size_t rows); /* bytes that `change` needs for as many rows of one matrix */
    organ_status (*change)(const void *context, const void *state, uint64_t first, size_t rows, float *values,
                           void *scratch, organ_error *error);
} organ_merge_change;

/* Returns whether the values of a weight can be read as FP32: it is packed, or organ_can_widen accepts its type. */
bool organ_weight_has_numbers(const organ_weight *weight);

/* A weight of a model, with the shape of the output's tensor. */
typedef struct organ_merge_input {
    const organ_model *model;
    const organ_weight *weight;
    const organ_merge_change *change; /* NULL: none */
    /* Of a weight with an entry for each of `experts` experts: entry e of the input is entry order[e] of the weight, so
     * many consecutive rows, or of a single row one value. NULL: the order of the weight. */
    const uint32_t *order;
    size_t experts;
} organ_merge_input;

/* An open input. organ_merge_reader_close accepts what organ_merge_reader_open leaves after an error, and all zero. */
typedef struct organ_merge_reader {
    const organ_merge_input *input;
    organ_weight_reader *reader;
    void *change; /* state of input->change */
} organ_merge_reader;

/* Opens an input, which must outlive *reader. Returns ORGAN_IO if a read or memory fails, and ORGAN_BAD_INPUT for
 * invalid headers. */
organ_status organ_merge_reader_open(const organ_merge_input *input, const organ_kernels *kernels,
                                     organ_merge_reader *reader, organ_error *error);
void organ_merge_reader_close(organ_merge_reader *reader);

/* Sets *scratch to the bytes that organ_merge_reader_read needs for as many rows, a multiple of 64. Uses headers
 * alone. */
organ_status organ_merge_reader_scratch(const organ_merge_input *input, const organ_kernels *kernels, size_t rows,
                                        size_t *scratch, organ_error *error);

/* Reads rows [first, first + rows), all of one matrix, in the order of the input and with its change. `values` and
 * `scratch` are 64-byte aligned. Several threads may call it at once, each with its own scratch. */
organ_status organ_merge_reader_read(const organ_merge_reader *reader, uint64_t first, size_t rows, float *values,
                                     void *scratch, organ_error *error);

#endif
