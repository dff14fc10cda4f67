/* SPDX-License-Identifier: MIT
 * One matrix: pruned, rounded to what the donor stores, counted against it, written. */
#include "orchestrator/stream/widen.h"
#include "orchestrator/surgery/calibrated/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRIP_BYTES ((uint64_t)4 << 20) /* as many are stored together, or what must be */

organ_prune_matrix_options organ_calibrated_wish(const organ_calibrated_job *job, const organ_tensor *tensor)
{
    const double wanted = job->base.options->sparsity;
    return (organ_prune_matrix_options){.method = job->method,
                                        .name = tensor->name,
                                        .sparsity = wanted < 0 ? 0 : wanted,
                                        .pattern = job->pattern,
                                        .no_compensate = !job->compensates,
                                        .effort = job->options->effort};
}

void organ_calibrated_note(organ_calibrated_job *job, size_t part, const organ_calibration *calibration, const organ_prune_matrix_report *r)
{
    organ_calibrated_part *const told = &job->parts[part];
    told->natural += r->natural_sparsity / (double)organ_tensor_matrices(job->base.parts[part].tensor).count;
    told->stages = r->stages;
    told->products += r->products;
    told->block_diagonal |= r->block_diagonal;
    told->tokens += calibration ? organ_calibration_moments(calibration)->tokens : 0;
}

static organ_status prune(organ_calibrated_job *job, size_t part, const organ_calibration *calibration, float *weights, uint8_t *keep,
                          organ_error *error)
{
    const organ_tensor *const tensor = job->base.parts[part].tensor;
    const organ_matrices m = organ_tensor_matrices(tensor);
    const organ_prune_matrix_options options = organ_calibrated_wish(job, tensor);
    organ_prune_matrix_report r;
    if (organ_prune_matrix(job->base.engine, &options, calibration, weights, (size_t)m.rows, (size_t)m.cols, keep, &r, error) != ORGAN_OK)
        return error->status;
    for (uint64_t k = 0; k < m.rows * m.cols; k++)
        weights[k] = keep[k] ? weights[k] : 0.0f;
    organ_calibrated_note(job, part, calibration, &r);
    return ORGAN_OK;
}

/* ---- the order of rows ---- */

/* Rows of a head where the file has them in another order than the forward pass: Q and K of GGUF files of the llama kind. 0: the same. */
static uint64_t turned_rows(const organ_calibrated_job *job, const organ_tensor *tensor)
{
    const organ_forward_config *const config = organ_forward_describe(job->forward);
    const bool turned = tensor->anatomy.role == ORGAN_ROLE_Q || tensor->anatomy.role == ORGAN_ROLE_K;
    return config->rope_interleaved && turned ? config->head_dim : 0;
}

/* From the order of the forward pass to that of the file (0, h/2, 1, h/2 + 1, ... of a head of h rows), or back. */
static organ_status turn_rows(const organ_tensor *tensor, float *weights, uint64_t count, uint64_t head, bool to_file, organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const size_t row_bytes = (size_t)m.cols * sizeof *weights;
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

/* ---- what is stored ---- */

/* Rows of a matrix that are stored together. */
typedef struct strip {
    const organ_tensor *tensor;
    uint64_t matrix, first, rows;
    float *weights;       /* of its first row on */
    void *donor, *stored; /* its bytes in the file before and after */
} strip;

/* A weight can be finite in FP32 and beyond the range of what stores it. */
static organ_status round_to_stored(const organ_calibrated_job *job, const strip *s, organ_error *error)
{
    const organ_tensor *const tensor = s->tensor;
    const uint64_t head = turned_rows(job, tensor), cols = organ_tensor_matrices(tensor).cols;
    const size_t n = (size_t)(s->rows * cols);
    float *const weights = s->weights;
    if (head && turn_rows(tensor, weights, s->rows, head, true, error) != ORGAN_OK)
        return error->status;
    organ_narrow(job->base.engine->kernels, tensor->dtype, weights, s->stored, n);
    organ_widen(job->base.engine->kernels, tensor->dtype, s->stored, weights, n);
    for (size_t k = 0; k < n; k++)
        if (!isfinite(weights[k]))
            return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': weight %llu is beyond the range of %s after compensation", tensor->name,
                              (unsigned long long)(s->first * cols + k), organ_dtype_describe(tensor->dtype)->name);
    return head ? turn_rows(tensor, weights, s->rows, head, false, error) : ORGAN_OK;
}

void organ_calibrated_compare(const organ_calibrated_job *job, organ_dtype dtype, const void *donor, const void *stored, size_t n,
                              organ_audit_counts *counts)
{
    const organ_kernels *const kernels = job->base.engine->kernels;
    if (dtype == ORGAN_F32)
        kernels->audit_32(donor, stored, n, counts);
    else
        kernels->audit_16(donor, stored, n, counts);
}

void organ_calibrated_count(organ_calibrated_job *job, size_t part, const organ_audit_counts *c)
{
    organ_prune_part *const p = &job->base.parts[part];
    p->counts.zero_before += c->zero_before;
    p->counts.killed += c->killed;
    p->counts.kept += c->kept + c->changed;
    job->parts[part].compensated += c->changed;
}

static organ_status store_strip(organ_calibrated_job *job, size_t part, const strip *s, organ_error *error)
{
    const organ_tensor *const tensor = s->tensor;
    const organ_matrices m = organ_tensor_matrices(tensor);
    const size_t n = (size_t)(s->rows * m.cols), size = organ_dtype_describe(tensor->dtype)->bytes;
    const uint64_t at = (s->matrix * m.rows + s->first) * m.cols * size;
    organ_audit_counts counts;
    if (organ_model_read(job->base.donor, tensor->file, s->donor, n * size, tensor->offset + at, error) != ORGAN_OK ||
        round_to_stored(job, s, error) != ORGAN_OK ||
        organ_prune_part_write(&job->base, &job->base.parts[part], s->stored, n * size, at, error) != ORGAN_OK)
        return error->status;
    organ_calibrated_compare(job, tensor->dtype, s->donor, s->stored, n, &counts);
    organ_calibrated_count(job, part, &counts);
    return ORGAN_OK;
}

/* Heads of which the rows are in another order stay whole. */
static uint64_t strip_rows(const organ_calibrated_job *job, const organ_tensor *tensor)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const uint64_t head = turned_rows(job, tensor), step = head ? head : 1, row = m.cols * organ_dtype_describe(tensor->dtype)->bytes;
    const uint64_t steps = row ? STRIP_BYTES / (row * step) : 1, rows = step * (steps ? steps : 1);
    return rows < m.rows ? rows : m.rows;
}

uint64_t organ_calibrated_matrix_memory(const organ_calibrated_job *job, const organ_tensor *tensor)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    const organ_prune_matrix_options options = organ_calibrated_wish(job, tensor);
    const uint64_t strip_bytes = strip_rows(job, tensor) * m.cols * organ_dtype_describe(tensor->dtype)->bytes;
    return m.rows * m.cols * sizeof(float) + organ_prune_matrix_memory(&options, m.rows, m.cols) + 2 * strip_bytes;
}

/* What an earlier run has stored, in the order of the forward pass. */
static organ_status restore_strip(organ_calibrated_job *job, size_t part, const strip *s, organ_error *error)
{
    const organ_tensor *const tensor = s->tensor;
    const organ_matrices m = organ_tensor_matrices(tensor);
    const uint64_t head = turned_rows(job, tensor);
    const size_t n = (size_t)(s->rows * m.cols), size = organ_dtype_describe(tensor->dtype)->bytes;
    if (organ_unit_run_read(job->base.run, part, s->stored, n * size, (s->matrix * m.rows + s->first) * m.cols * size, error))
        return error->status;
    organ_widen(job->base.engine->kernels, tensor->dtype, s->stored, s->weights, n);
    return head ? turn_rows(tensor, s->weights, s->rows, head, false, error) : ORGAN_OK;
}

void *organ_calibrated_room(size_t bytes) { return aligned_alloc(4096, (bytes + 4095) / 4096 * 4096); }

/* Calls `each` with the strips of a matrix. */
static organ_status for_strips(organ_calibrated_job *job, size_t part, uint64_t matrix, float *weights,
                               organ_status (*each)(organ_calibrated_job *, size_t, const strip *, organ_error *), organ_error *error)
{
    const organ_tensor *const tensor = job->base.parts[part].tensor;
    const organ_matrices m = organ_tensor_matrices(tensor);
    const uint64_t together = strip_rows(job, tensor);
    const size_t bytes = (size_t)(together * m.cols) * organ_dtype_describe(tensor->dtype)->bytes;
    strip s = {.tensor = tensor, .matrix = matrix, .donor = malloc(bytes), .stored = organ_calibrated_room(bytes)};
    if (!s.donor || !s.stored)
        organ_fail_memory(error, tensor->name);
    for (; s.first < m.rows && !error->status; s.first += together) {
        s.rows = together < m.rows - s.first ? together : m.rows - s.first;
        s.weights = weights + s.first * m.cols;
        each(job, part, &s, error);
    }
    free(s.donor);
    free(s.stored);
    return error->status;
}

organ_status organ_calibrated_restore(organ_calibrated_job *job, size_t part, uint64_t matrix, float *weights, organ_error *error)
{
    return for_strips(job, part, matrix, weights, restore_strip, error);
}

organ_status organ_calibrated_matrix(organ_calibrated_job *job, size_t part, uint64_t matrix, const organ_calibration *calibration,
                                     float *weights, organ_error *error)
{
    const organ_tensor *const tensor = job->base.parts[part].tensor;
    const organ_matrices m = organ_tensor_matrices(tensor);
    uint8_t *const keep = malloc((size_t)(m.rows * m.cols));
    if (!keep)
        return organ_fail_memory(error, tensor->name);
    const bool pruned = prune(job, part, calibration, weights, keep, error) == ORGAN_OK;
    free(keep);
    return pruned ? for_strips(job, part, matrix, weights, store_strip, error) : error->status;
}
