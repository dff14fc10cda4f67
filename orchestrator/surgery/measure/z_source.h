/* SPDX-License-Identifier: MIT
 * Reads the values of a weight in order through a window of memory: the stored values or, for a packed weight, the
 * values that organ_dequantize would write. */
#ifndef ORGAN_Z_SOURCE_H
#define ORGAN_Z_SOURCE_H

#include <organ/stream.h>

#define ORGAN_Z_STRIP ((size_t)8192) /* upper bound of elements in one request; a multiple of every block size */

/* A weight that is being read, and the range of its values that is in memory. */
typedef struct organ_z_source {
    const organ_model *model;
    const organ_weight *weight;
    const organ_stop *stop;
    organ_dtype dtype;        /* type of the values in the window */
    uint64_t elements, bytes; /* elements of the weight, and their bytes in type `dtype` */
    uint64_t from, to;        /* the window has bytes [from, to) of the values */
    unsigned char *window;
    size_t window_bytes;         /* size of the window; used only for stored values */
    organ_weight_reader *reader; /* decodes a packed weight; NULL: stored values are read */
    /* The members below are set only with a reader. */
    unsigned char *scratch; /* scratch memory of the reader */
    /* Rows of all matrices of the weight together, and their columns; rows of one matrix; rows that fit into the
     * window. */
    uint64_t rows, cols, matrix_rows, window_rows;
    unsigned char *held;  /* buffer for one stored (packed) matrix; NULL: none */
    uint64_t held_matrix; /* index of the matrix in `held`; larger than that of the last matrix: none */
    /* A file without a name with bytes [0, spooled) of the values, if the model is remote and the window is smaller
     * than the weight: the server then sends every byte once. -1: none. */
    int spool;
    uint64_t spooled;
} organ_z_source;

/* Sets *least to the bytes of memory that suffice to read a weight one strip of ORGAN_Z_STRIP elements at a time. Sets
 * *max to the bytes with which the weight is read or decoded as a whole. Returns errors of organ_weight_reader_size. */
organ_status organ_z_source_size(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                                 uint64_t *least, uint64_t *max, organ_error *error);

/* Opens a weight for reading in windows within `memory`, which is 64-byte aligned, has `bytes` bytes, at least *least
 * of organ_z_source_size, and must outlive the source. The caller closes *source even after an error. */
organ_status organ_z_source_open(organ_z_source *source, const organ_model *model, const organ_weight *weight,
                                 const organ_kernels *kernels, const organ_stop *stop, void *memory, size_t bytes,
                                 organ_error *error);
void organ_z_source_close(organ_z_source *source);

/* Returns the elements [start, start + count) of the weight in type source->dtype, valid until the next call, and sets
 * *units to the number of blocks. The range must consist of whole blocks of the type and have at most ORGAN_Z_STRIP
 * elements. NULL on error. */
const void *organ_z_source_at(organ_z_source *source, uint64_t start, size_t count, size_t *units, organ_error *error);

#endif
