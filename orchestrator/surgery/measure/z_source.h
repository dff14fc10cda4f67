/* SPDX-License-Identifier: MIT
 * The values of a weight, from its first element to its last, through a window of memory: as they are stored, or, of a
 * packed weight, as organ_dequantize would write them. */
#ifndef ORGAN_Z_SOURCE_H
#define ORGAN_Z_SOURCE_H

#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/weight_reader.h"

#define ORGAN_Z_STRIP ((size_t)8192) /* elements that are asked for at once, at most; a multiple of every block */

typedef struct organ_z_source {
    const organ_model *model;
    const organ_weight *weight;
    const organ_stop *stop;
    organ_dtype dtype; /* of what is in the window */
    uint64_t elements, bytes;
    uint64_t from, to; /* bytes that are in the window */
    unsigned char *window;
    size_t window_bytes;
    organ_weight_reader *reader; /* NULL: as it is stored */
    unsigned char *scratch;
    uint64_t rows, cols, matrix_rows, window_rows;
    unsigned char *held; /* room for one matrix as it is stored, or NULL */
    uint64_t held_matrix;
} organ_z_source;

/* Bytes that a window must have, and more than which are of no use. Errors as of organ_weight_reader_open. */
organ_status organ_z_source_size(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                                 uint64_t *least, uint64_t *most, organ_error *error);

/* `memory` is 64-byte aligned, at least as large as the function above says. */
organ_status organ_z_source_open(organ_z_source *source, const organ_model *model, const organ_weight *weight,
                                 const organ_kernels *kernels, const organ_stop *stop, void *memory, size_t bytes,
                                 organ_error *error);
void organ_z_source_close(organ_z_source *source);

/* The elements [start, start + count), whole blocks of the type, valid until the next call; *units blocks. NULL and the
 * error if they cannot be had. */
const void *organ_z_source_at(organ_z_source *source, uint64_t start, size_t count, size_t *units, organ_error *error);

#endif
