/* SPDX-License-Identifier: MIT
 * Converts rows of a loaded layer to the order and type of rows in the file and back, a strip of rows at a time. */
#include "orchestrator/stream/widen.h"
#include "orchestrator/surgery/calibration/calibration_job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STRIP_BYTES ((uint64_t)4 << 20) /* bytes of a strip in the file */
#define PIECE_BYTES ((uint64_t)1 << 16) /* bytes of a piece of a strip in the file */

uint64_t organ_calibration_reordered_rows(const organ_calibration_run *calib, const organ_tensor *tensor)
{
    const organ_forward_config *const config = organ_forward_describe(calib->facts.forward);
    const bool rotated = tensor->anatomy.role == ORGAN_ROLE_Q || tensor->anatomy.role == ORGAN_ROLE_K;
    return config->rope_interleaved && rotated ? config->head_dim : 0;
}

/* The file stores the h rows of a head in the order 0, h/2, 1, h/2 + 1, ... of the forward pass. */
organ_status organ_calibration_reorder_rows(const organ_calibration_run *calib, const organ_tensor *tensor,
                                            float *weights, uint64_t count, bool to_file, organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const uint64_t head = organ_calibration_reordered_rows(calib, tensor);
    const size_t row_bytes = (size_t)m.cols * sizeof *weights;
    if (!head)
        return ORGAN_OK;
    float *const rows = malloc((size_t)head * row_bytes);
    if (!rows)
        return organ_fail_memory(error, tensor->name);
    for (uint64_t first = 0; first + head <= count; first += head) {
        memcpy(rows, weights + first * m.cols, (size_t)head * row_bytes);
        for (uint64_t r = 0; r < head; r++) {
            const uint64_t own = r % 2 * (head / 2) + r / 2;
            memcpy(weights + (first + (to_file ? r : own)) * m.cols, rows + (to_file ? own : r) * m.cols, row_bytes);
        }
    }
    free(rows);
    return ORGAN_OK;
}

organ_matrices organ_calibration_matrices(const organ_calibration_run *calib, const organ_tensor *tensor)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    return organ_forward_is_transposed(calib->facts.forward, tensor) ? (organ_matrices){m.count, m.cols, m.rows} : m;
}

/* The number is at least one and at most a matrix; if rows are reordered, whole heads. */
static uint64_t rows_within(const organ_calibration_run *calib, const organ_tensor *tensor, uint64_t bytes)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const uint64_t head_rows = organ_calibration_reordered_rows(calib, tensor), step = head_rows ? head_rows : 1;
    const uint64_t row = m.cols * organ_dtype_describe(tensor->dtype)->bytes;
    const uint64_t steps = row ? bytes / (row * step) : 1, rows = step * (steps ? steps : 1);
    return rows < m.rows ? rows : m.rows;
}

static uint64_t strip_rows(const organ_calibration_run *calib, const organ_tensor *tensor)
{
    return rows_within(calib, tensor, STRIP_BYTES);
}

uint64_t organ_calibration_piece_rows(const organ_calibration_run *calib, const organ_tensor *tensor)
{
    return rows_within(calib, tensor, PIECE_BYTES);
}

static void set_strip_rows(organ_calibration_strip *s, uint64_t rows)
{
    const organ_matrices m = organ_tensor_matrices(s->tensor);
    const size_t size = organ_dtype_describe(s->tensor->dtype)->bytes;
    s->rows = rows;
    s->count = (size_t)(rows * m.cols);
    s->bytes = s->count * size;
    s->at = (s->matrix * m.rows + s->first) * m.cols * size;
}

organ_calibration_strip organ_calibration_piece(const organ_calibration_strip *strip, uint64_t skipped, uint64_t rows)
{
    organ_calibration_strip piece = *strip;
    piece.first += skipped;
    set_strip_rows(&piece, rows < strip->rows - skipped ? rows : strip->rows - skipped);
    piece.weights += skipped * organ_tensor_matrices(strip->tensor).cols;
    piece.donor = (char *)strip->donor + (piece.at - strip->at);
    piece.stored = (char *)strip->stored + (piece.at - strip->at);
    return piece;
}

uint64_t organ_calibration_strip_memory(const organ_calibration_run *calib, const organ_tensor *tensor)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const uint64_t copy =
        organ_forward_is_transposed(calib->facts.forward, tensor) ? m.rows * m.cols * sizeof(float) : 0;
    return 2 * strip_rows(calib, tensor) * m.cols * organ_dtype_describe(tensor->dtype)->bytes + copy;
}

void *organ_calibration_aligned_alloc(size_t bytes) { return aligned_alloc(4096, (bytes + 4095) / 4096 * 4096); }

typedef organ_status each_strip(void *context, const organ_calibration_strip *strip, organ_error *error);

/* The weights of the matrix have the order of the file. Strips have buffers for their bytes in the donor and in the
 * output. */
static organ_status stored_strips(const organ_calibration_run *calib, const organ_tensor *tensor, uint64_t matrix,
                                  float *weights, void *context, each_strip *each, organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const uint64_t together = strip_rows(calib, tensor), size = organ_dtype_describe(tensor->dtype)->bytes;
    const size_t bytes = (size_t)(together * m.cols * size);
    organ_calibration_strip s = {
        .tensor = tensor, .matrix = matrix, .donor = malloc(bytes), .stored = organ_calibration_aligned_alloc(bytes)};
    if (!s.donor || !s.stored)
        organ_fail_memory(error, tensor->name);
    for (; s.first < m.rows && !error->status; s.first += together) {
        set_strip_rows(&s, together < m.rows - s.first ? together : m.rows - s.first);
        s.weights = weights + s.first * m.cols;
        each(context, &s, error);
    }
    free(s.donor);
    free(s.stored);
    return error->status;
}

organ_status organ_calibration_strips(
    const organ_calibration_run *calib, const organ_tensor *tensor, uint64_t matrix, float *weights, void *context,
    organ_status (*each)(void *context, const organ_calibration_strip *strip, organ_error *error), organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const size_t rows = (size_t)m.rows, cols = (size_t)m.cols;
    if (!organ_forward_is_transposed(calib->facts.forward, tensor))
        return stored_strips(calib, tensor, matrix, weights, context, each, error);
    float *const stored = malloc(rows * cols * sizeof *stored);
    if (!stored)
        return organ_fail_memory(error, tensor->name);
    organ_transpose_u32((const uint32_t *)(void *)weights, rows, (uint32_t *)(void *)stored, cols, cols, rows);
    stored_strips(calib, tensor, matrix, stored, context, each, error);
    organ_transpose_u32((const uint32_t *)(void *)stored, cols, (uint32_t *)(void *)weights, rows, rows, cols);
    free(stored);
    return error->status;
}

organ_status organ_calibration_widen(const organ_calibration_run *calib, const organ_calibration_strip *s,
                                     organ_error *error)
{
    organ_widen(calib->engine->kernels, s->tensor->dtype, s->stored, s->weights, s->count);
    return organ_calibration_reorder_rows(calib, s->tensor, s->weights, s->rows, false, error);
}

organ_status organ_calibration_round(const organ_calibration_run *calib, const organ_calibration_strip *s,
                                     organ_error *error)
{
    const organ_tensor *const tensor = s->tensor;
    if (organ_calibration_reorder_rows(calib, tensor, s->weights, s->rows, true, error) != ORGAN_OK)
        return error->status;
    organ_narrow(calib->engine->kernels, tensor->dtype, s->weights, s->stored, s->count);
    organ_widen(calib->engine->kernels, tensor->dtype, s->stored, s->weights, s->count);
    for (size_t k = 0; k < s->count; k++)
        if (!isfinite(s->weights[k]))
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "tensor '%s': weight %llu exceeds the range of %s after compensation", tensor->name,
                              (unsigned long long)(s->first * organ_tensor_matrices(tensor).cols + k),
                              organ_dtype_describe(tensor->dtype)->name);
    return organ_calibration_reorder_rows(calib, tensor, s->weights, s->rows, false, error);
}

int32_t organ_calibration_last_layer(const organ_calibration_run *calib)
{
    int32_t last = -1;
    for (size_t k = 0; k < calib->targets->count; k++) {
        const int32_t layer = organ_forward_layer_of(calib->facts.forward, calib->targets->tensors[k]);
        last = layer > last ? layer : last;
    }
    return calib->work->every ? (int32_t)organ_forward_describe(calib->facts.forward)->layers - 1 : last;
}
