/* SPDX-License-Identifier: MIT
 * Reads the values of a weight from its first element to its last through a window of memory: stored values, or
 * for a packed weight the values that organ_dequantize would write. */
#ifndef ORGAN_Z_SOURCE_H
#define ORGAN_Z_SOURCE_H

#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/weight_reader.h"

#define ORGAN_Z_STRIP ((size_t)8192) /* elements that are asked for at once, at most; a multiple of every block */

typedef struct organ_z_source {
    const organ_model *model;
    const organ_weight *weight;
    const organ_stop *stop;
    organ_dtype dtype; /* of the values in the window */
    uint64_t elements, bytes;
    uint64_t from, to; /* range of bytes in the window */
    unsigned char *window;
    size_t window_bytes;
    organ_weight_reader *reader; /* NULL: stored values */
    unsigned char *scratch;
    uint64_t rows, cols, matrix_rows, window_rows;
    unsigned char *held; /* buffer for one stored matrix, or NULL */
    uint64_t held_matrix;
} organ_z_source;

/* Computes the smallest window in bytes, and the largest useful one. Errors as of organ_weight_reader_open. */
organ_status organ_z_source_size(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                                 uint64_t *least, uint64_t *max, organ_error *error);

/* Opens a weight for reading in windows within `memory`, which is 64-byte aligned and has at least *least bytes of
 * organ_z_source_size. */
organ_status organ_z_source_open(organ_z_source *source, const organ_model *model, const organ_weight *weight,
                                 const organ_kernels *kernels, const organ_stop *stop, void *memory, size_t bytes,
                                 organ_error *error);
void organ_z_source_close(organ_z_source *source);

/* Returns the elements [start, start + count), whole blocks of the type, valid until the next call; sets *units to the
 * number of blocks. NULL on error. */
const void *organ_z_source_at(organ_z_source *source, uint64_t start, size_t count, size_t *units, organ_error *error);

#endif
