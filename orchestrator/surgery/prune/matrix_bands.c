/* SPDX-License-Identifier: MIT
 * Loads bands of a matrix, checks once that their weights are finite, and widens weights to FP32. */
#include "orchestrator/surgery/prune/matrix_bands.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/stream/widen.h"

#include <math.h>

#define PIECE ((size_t)256) /* weights that nonfinite_column widens at once */

static size_t matrix_bands_size_of(const organ_matrix_bands *b) { return organ_dtype_describe(b->dtype)->bytes; }

size_t organ_matrix_band_rows(const organ_matrix_bands *b, size_t first)
{
    return organ_min(b->band_rows, b->rows - first);
}

size_t organ_matrix_band_bytes(const organ_matrix_bands *b, size_t first)
{
    return organ_matrix_band_rows(b, first) * b->cols * matrix_bands_size_of(b);
}

const float *organ_matrix_band_values(const organ_engine *engine, const organ_matrix_bands *b, size_t at, size_t n,
                                      float *scratch)
{
    if (b->dtype == ORGAN_F32)
        return (const float *)b->values + at;
    organ_widen(engine->kernels, b->dtype, (const char *)b->values + at * matrix_bands_size_of(b), scratch, n);
    return scratch;
}

/* ---- check for finite weights ---- */

typedef struct row_check {
    const organ_engine *engine;
    const organ_matrix_bands *bands;
    size_t row; /* first row of the band with a weight that is not finite; SIZE_MAX: none is found */
} row_check;

/* Returns the number of columns if all weights are finite; else *value is the first weight that is not. */
static size_t nonfinite_column(const row_check *l, size_t row, float *value)
{
    const size_t cols = l->bands->cols;
    float scratch[PIECE];
    for (size_t j = 0; j < cols; j += PIECE) {
        const size_t n = organ_min(PIECE, cols - j);
        const float *const values = organ_matrix_band_values(l->engine, l->bands, row * cols + j, n, scratch);
        bool found = false; /* a first loop without a branch, which the compiler vectorises */
        for (size_t k = 0; k < n; k++)
            found |= !isfinite(values[k]);
        for (size_t k = 0; found && k < n; k++)
            if (!isfinite(values[k])) {
                *value = values[k];
                return j + k;
            }
    }
    return cols;
}

static void check_row(void *context, size_t row, size_t worker)
{
    row_check *const l = context;
    float value;
    (void)worker;
    if (nonfinite_column(l, row, &value) == l->bands->cols)
        return;
    size_t least = __atomic_load_n(&l->row, __ATOMIC_RELAXED);
    while (row < least && !__atomic_compare_exchange_n(&l->row, &least, row, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

static organ_status check_finite(const organ_engine *engine, organ_matrix_bands *b, size_t first, organ_error *error)
{
    row_check l = {engine, b, SIZE_MAX};
    const size_t rows = organ_matrix_band_rows(b, first);
    organ_share_work(engine, NULL, rows, ORGAN_SHARE_NUMBER * (double)rows * (double)b->cols, check_row, &l);
    if (l.row != SIZE_MAX) {
        float value = 0;
        const size_t column = nonfinite_column(&l, l.row, &value);
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: weight [%zu, %zu] is %g; it must be finite", b->name,
                          first + l.row, column, (double)value);
    }
    b->checked = first + rows;
    return ORGAN_OK;
}

organ_status organ_matrix_band(const organ_engine *engine, organ_matrix_bands *b, size_t first, organ_error *error)
{
    if (organ_stop_is_requested(engine->stop))
        return organ_fail(error, ORGAN_INTERRUPTED, "%s: interrupted", b->name);
    if (b->model && !(b->loaded && b->at == first)) {
        const uint64_t offset = b->offset + (uint64_t)first * b->cols * matrix_bands_size_of(b);
        b->loaded = false;
        if (organ_model_read(b->model, b->file, b->values, organ_matrix_band_bytes(b, first), offset, error) !=
            ORGAN_OK)
            return error->status;
        b->loaded = true;
        b->at = first;
    }
    return first < b->checked ? ORGAN_OK : check_finite(engine, b, first, error);
}
