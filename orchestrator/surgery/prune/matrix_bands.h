/* SPDX-License-Identifier: MIT
 * A matrix in bands of rows, in its stored type: either completely in memory, or read from a model one band at a time.
 * The caller may read the bands several times.
 *
 * stream/rows.h also reads rows in sets, but calls a function for each set. Here the caller requests a band: a pruning
 * method works on a band in several steps of all workers, decides from the results whether it needs the band again, and
 * changes the stored weights in place. */
#ifndef ORGAN_MATRIX_BANDS_H
#define ORGAN_MATRIX_BANDS_H

#include <organ/stream.h>

/* A matrix that is read in bands: groups of consecutive rows. */
typedef struct organ_matrix_bands {
    const char *name; /* for messages */
    size_t rows, cols;
    organ_dtype dtype; /* F32, F16 or BF16 */
    size_t band_rows;  /* rows of each band; the last may have fewer. At least 1. If equal to `rows`, the matrix is read
                        * once and stays in memory */
    void *values;      /* buffer for a band, of the caller; if `model` is NULL, the whole matrix */
    const organ_model *model; /* the model that the matrix is read from; NULL: it is in memory */
    uint32_t file;            /* number of the model's file that contains the matrix */
    uint64_t offset;          /* offset of the matrix in this file, in bytes */
    /* Set by organ_matrix_band; all 0 at first. */
    bool loaded;    /* `values` contains the band that begins at row `at` */
    size_t at;      /* first row of the loaded band */
    size_t checked; /* the weights of rows [0, checked) were found to be finite */
} organ_matrix_bands;

/* Return the number of rows, and of bytes in the stored type, of the band that begins at row `first`. */
size_t organ_matrix_band_rows(const organ_matrix_bands *bands, size_t first);
size_t organ_matrix_band_bytes(const organ_matrix_bands *bands, size_t first);

/* Loads the band that begins at row `first`, a multiple of band_rows, into bands->values unless it is there already.
 * Checks the weights of rows that were not checked before. Returns ORGAN_BAD_INPUT if a weight is not finite, with its
 * row and column; ORGAN_INTERRUPTED if the engine is stopped; errors of reading. */
organ_status organ_matrix_band(const organ_engine *engine, organ_matrix_bands *bands, size_t first, organ_error *error);

/* Returns n weights of the loaded band as FP32, from element `at` (row in the band times cols, plus column) on: a
 * pointer into the band if it is FP32, else `scratch` (n values), into which it converts them. */
const float *organ_matrix_band_values(const organ_engine *engine, const organ_matrix_bands *bands, size_t at, size_t n,
                                      float *scratch);

#endif
