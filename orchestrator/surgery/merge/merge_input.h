/* SPDX-License-Identifier: MIT
 * Reads a weight of a model as FP32, strip by strip, in another order of its experts and with the change of an
 * adapter. */
#ifndef ORGAN_SURGERY_MERGE_MERGE_INPUT_H
#define ORGAN_SURGERY_MERGE_MERGE_INPUT_H

#include "orchestrator/stream/read_ahead.h"

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

/* ---- lanes: buffers and readers of a worker, which reads strips of the inputs of a tensor ---- */

typedef struct organ_strip_lane {
    void *memory;
    float **values;         /* a buffer for a strip of each input */
    unsigned char *scratch; /* of readers */
    unsigned char *rest;    /* of the user */
    organ_merge_reader *readers;
    size_t item; /* number of the tensor whose readers are open; SIZE_MAX: none */
} organ_strip_lane;

/* The caller sets engine, padding, inputs and rest, calls organ_strip_lanes_widen for each tensor, which raises the
 * other sizes, and then sets count. */
typedef struct organ_strip_lanes {
    const organ_engine *engine;
    size_t padding;         /* values that a buffer has room for after a strip */
    size_t inputs, readers; /* most buffers and readers that a tensor needs */
    size_t values, scratch; /* bytes of a buffer and of the scratch of readers, multiples of 64 */
    size_t changes;         /* bytes of the states of a tensor's changes, which are allocated while it is open */
    size_t rest;            /* bytes, a multiple of 64 */
    size_t count;           /* workers that have a lane */
    bool opened;
    organ_strip_lane *lanes;
    organ_reader_gate gate; /* organ_reader_gate_enter before each read */
} organ_strip_lanes;

/* Raises the sizes to those that a tensor of this shape needs if it is read from these inputs. Inputs without a weight
 * are not read. `more`: bytes of scratch in addition to those of the readers. Returns ORGAN_BAD_INPUT for invalid
 * headers. */
organ_status organ_strip_lanes_widen(organ_strip_lanes *lanes, const organ_merge_input *inputs, size_t count,
                                     const organ_matrices *shape, const organ_kernels *kernels, size_t more,
                                     organ_error *error);
/* Returns the bytes of a lane. */
static inline size_t organ_strip_lane_bytes(const organ_strip_lanes *lanes)
{
    return lanes->inputs * lanes->values + lanes->scratch + lanes->rest;
}
/* Allocates the lanes, each on the node of its worker. The caller calls organ_strip_lanes_close, which accepts lanes
 * that were not opened, also after an error. Returns ORGAN_IO, naming `what`, if memory runs out. */
organ_status organ_strip_lanes_open(organ_strip_lanes *lanes, const char *what, organ_error *error);
void organ_strip_lanes_close(organ_strip_lanes *lanes);

/* Opens the readers of a tensor, unless they are open, and closes those of another one. The inputs must stay valid
 * until the readers are closed. */
organ_status organ_strip_lane_open(organ_strip_lane *lane, size_t item, const organ_merge_input *inputs, size_t count,
                                   const organ_kernels *kernels, organ_error *error);
/* Closes `count` readers: all that organ_strip_lane_open may have opened. */
void organ_strip_lane_close(organ_strip_lane *lane, size_t count);

#endif
