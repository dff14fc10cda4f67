/* SPDX-License-Identifier: MIT
 * A matrix in bands of rows of the stored type: either completely in memory, or read from a model one band at a time.
 * The caller may read the bands several times.
 *
 * The bands differ from the sets of stream/rows.h because a pruning method works on a band in several steps of all
 * workers, decides from the results whether it needs the band again, and changes the stored weights in place. So the
 * caller requests a band, instead of the bands calling a function of the caller. */
#ifndef ORGAN_MATRIX_BANDS_H
#define ORGAN_MATRIX_BANDS_H

#include "orchestrator/stream/pass.h"

/* A matrix that is read in bands: groups of consecutive rows. */
typedef struct organ_matrix_bands {
    const char *name; /* for messages */
    size_t rows, cols;
    organ_dtype dtype; /* F32, F16 or BF16 */
    size_t band_rows;  /* rows of each band but the last, at least 1. If equal to `rows`, the matrix is read once and
                        * stays in memory */
    void *values;      /* buffer for a band; if `model` is NULL, the whole matrix */
    const organ_model *model; /* NULL: the matrix is in memory. Else `file` and `offset` locate its first byte in the
                               * model */
    uint32_t file;
    uint64_t offset;
    /* Set by organ_matrix_band; all 0 at first. */
    bool loaded; /* `values` contains the band that begins at row `at` */
    size_t at;
    size_t checked; /* number of rows that were found to be finite */
} organ_matrix_bands;

/* Return the rows and the bytes of the band that begins at row `first`. */
size_t organ_matrix_band_rows(const organ_matrix_bands *bands, size_t first);
size_t organ_matrix_band_bytes(const organ_matrix_bands *bands, size_t first);

/* Loads the band that begins at row `first`, a multiple of band_rows, into `values`. Checks rows that it loads for the
 * first time. Returns ORGAN_BAD_INPUT if a weight is not finite, with its row and column; ORGAN_INTERRUPTED if the
 * engine is stopped; errors of reading. */
organ_status organ_matrix_band(const organ_engine *engine, organ_matrix_bands *bands, size_t first, organ_error *error);

/* Returns n weights of the band as FP32, from position `at` (row in the band times cols, plus column) on: a pointer
 * into the band, or to `scratch` after conversion. */
const float *organ_matrix_band_values(const organ_engine *engine, const organ_matrix_bands *bands, size_t at, size_t n,
                                      float *scratch);

#endif
