/* SPDX-License-Identifier: MIT
 * A matrix in bands of rows as they are stored: all of it in memory, or read from a model one band at a time. The
 * caller goes through the bands as often as it needs to.
 *
 * The bands differ from the sets of stream/rows.h because a pruning method works on a band in several steps of all
 * workers, decides from the results whether it needs the band again, and changes the stored weights in place. So the
 * caller asks for a band, instead of the bands calling a function of the caller. */
#ifndef ORGAN_MATRIX_BANDS_H
#define ORGAN_MATRIX_BANDS_H

#include "orchestrator/stream/pass.h"

typedef struct organ_matrix_bands {
    const char *name; /* for messages */
    size_t rows, cols;
    organ_dtype dtype; /* F32, F16 or BF16 */
    size_t band_rows; /* of each band but the last, at least 1; where it is `rows`, the matrix is read once and stays */
    void *values;     /* room for a band; without a model all of the matrix */
    const organ_model *model; /* NULL: it is in memory. Else where it begins: */
    uint32_t file;
    uint64_t offset;
    /* Kept by organ_matrix_band; all 0 at first. */
    bool loaded; /* `values` hold the band that begins at row `at` */
    size_t at;
    size_t checked; /* rows that are known to be finite */
} organ_matrix_bands;

/* Of the band that begins at row `first`. */
size_t organ_matrix_band_rows(const organ_matrix_bands *bands, size_t first);
size_t organ_matrix_band_bytes(const organ_matrix_bands *bands, size_t first);

/* Brings the band that begins at row `first`, a multiple of band_rows, to `values`. ORGAN_BAD_INPUT for a weight that
 * is not finite, named by row and column, where its row is seen for the first time; ORGAN_INTERRUPTED if the engine is
 * stopped; errors of reading. */
organ_status organ_matrix_band(const organ_engine *engine, organ_matrix_bands *bands, size_t first, organ_error *error);

/* n weights of the band from position `at` (row of the band times cols, plus column) on, as FP32: where they are, or in
 * `room`. */
const float *organ_matrix_band_values(const organ_engine *engine, const organ_matrix_bands *bands, size_t at, size_t n,
                                      float *room);

#endif
