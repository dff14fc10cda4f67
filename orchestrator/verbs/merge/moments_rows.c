/* SPDX-License-Identifier: MIT
 * Reads the rows of a matrix in all models, and writes the fitted matrix. */
#include "orchestrator/verbs/merge/merge_moments.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/product.h"

#include <string.h>

/* ---- reading ---- */

/* Rows and columns as the tensor stores them. */
static size_t stored_rows(const moments_matrix *m) { return m->transposed ? m->cols : m->rows; }
static size_t stored_cols(const moments_matrix *m) { return m->transposed ? m->rows : m->cols; }

static organ_status open_readers(moments_rows *r, organ_error *error)
{
    size_t scratch = 64;
    for (size_t k = 0; k < r->count && !error->status; k++) {
        const organ_merge_input *const in = &r->tensor->item.inputs[k];
        size_t bytes = 0;
        if (organ_merge_reader_scratch(in, r->job->engine->kernels, MOMENTS_ROWS, &bytes, error) == ORGAN_OK)
            organ_merge_reader_open(in, r->job->engine->kernels, &r->readers[k], error);
        scratch = organ_max(scratch, bytes);
    }
    if (!error->status && !(r->scratch = organ_take(&r->buffers, scratch, 1)))
        organ_fail_memory(error, r->tensor->name);
    return error->status;
}

organ_status organ_merge_rows_open(const model_merge *job, const moments_matrix *matrix, moments_rows *r,
                                   organ_error *error)
{
    const merge_tensor *const t = &job->tensors[matrix->tensor];
    *r = (moments_rows){.job = job, .matrix = matrix, .tensor = t, .count = organ_merge_item_inputs(&t->item)};
    const size_t rows = organ_min(MOMENTS_ROWS, matrix->rows);
    r->readers = organ_take_zeros(&r->buffers, r->count, sizeof *r->readers);
    r->mean = organ_take_floats(&r->buffers, rows, matrix->cols);
    for (size_t k = 0; k < r->count; k++)
        r->values[k] = organ_take_floats(&r->buffers, rows, matrix->cols);
    if (matrix->transposed)
        r->turned = organ_take_floats(&r->buffers, organ_min(MOMENTS_ROWS, matrix->cols), matrix->rows);
    return r->buffers.lacking ? organ_fail_memory(error, t->name) : open_readers(r, error);
}

void organ_merge_rows_close(moments_rows *r)
{
    for (size_t k = 0; r->readers && k < r->count; k++)
        organ_merge_reader_close(&r->readers[k]);
    organ_buffers_release(&r->buffers);
    *r = (moments_rows){0};
}

static organ_status read_stored(const moments_rows *r, size_t k, uint64_t first, size_t rows, float *values,
                                organ_error *error)
{
    const organ_merge_input *const in = &r->tensor->item.inputs[k];
    const size_t n = rows * stored_cols(r->matrix);
    if (organ_merge_reader_read(&r->readers[k], first, rows, values, r->scratch, error) != ORGAN_OK)
        return error->status;
    if (organ_any_not_finite(ORGAN_F32, values, n * sizeof *values))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: tensor '%s': a value is NaN or infinite: such tensors cannot be merged", in->model->path,
                          in->weight->name);
    return ORGAN_OK;
}

/* Reads rows [first, first + count) of input k. A transposed matrix passes through the buffer MOMENTS_ROWS stored rows
 * at a time, all of it for each call. */
static organ_status read_input_rows(const moments_rows *r, size_t k, size_t first, size_t count, organ_error *error)
{
    const moments_matrix *const m = r->matrix;
    const uint64_t at = m->matrix * stored_rows(m);
    if (!m->transposed)
        return read_stored(r, k, at + first, count, r->values[k], error);
    for (size_t c = 0, n; c < m->cols && !error->status; c += n) {
        n = organ_min(MOMENTS_ROWS, m->cols - c);
        if (read_stored(r, k, at + c, n, r->turned, error) == ORGAN_OK)
            for (size_t row = 0; row < count; row++)
                for (size_t i = 0; i < n; i++)
                    r->values[k][row * m->cols + c + i] = r->turned[i * m->rows + first + row];
    }
    return error->status;
}

organ_status organ_merge_rows_read(moments_rows *r, size_t first, size_t count, organ_error *error)
{
    const organ_merge_task *const task = &r->tensor->item.task;
    const organ_merge_strip strip = {
        .first = first, .rows = count, .cols = r->matrix->cols, .input = (const float *const *)r->values};
    for (size_t k = 0; k < r->count && !error->status; k++)
        read_input_rows(r, k, first, count, error);
    if (!error->status)
        task->method->apply(task, NULL, &strip, r->mean);
    return error->status;
}

/* ---- writing ---- */

static void add_moved(const moments_rows *r, const merge_tensor *t, const float *merged, size_t n)
{
    const float *const base = t->item.task.base ? r->values[t->item.task.inputs] : NULL;
    for (size_t k = 0; k < r->count; k++) {
        const organ_merge_moved more = organ_merge_moved_by(r->job->engine->kernels, merged, r->values[k], base, n);
        organ_merge_add_moved(&t->moved[k], &more, 1);
    }
}

/* Rounds and writes `values`: rows [first, first + rows) of the matrix, out_features x in_features; of a transposed one
 * all. They become the rounded ones (organ_overflow_narrow). */
static organ_status put_rows(const moments_layer *layer, const moments_matrix *m, size_t first, size_t rows,
                             float *values, organ_error *error)
{
    model_merge *const job = layer->moments->job;
    const organ_dtype dtype = job->pieces[m->tensor].dtype;
    const size_t n = rows * m->cols, width = organ_dtype_describe(dtype)->bytes, bytes = n * width;
    const uint64_t at = (m->matrix * m->rows + first) * m->cols * width;
    ORGAN_OWNED_BUFFERS buffers = {0};
    float *const turned = m->transposed ? organ_take_floats(&buffers, rows, m->cols) : NULL;
    void *const units = organ_take_pages(&buffers, bytes, 1), *const scratch =
                                                                  organ_take(&buffers, ORGAN_PUT_SCRATCH, 1);
    if (buffers.lacking)
        organ_fail_memory(error, m->name);
    for (size_t r = 0; r < rows && turned && !error->status; r++)
        for (size_t c = 0; c < m->cols; c++)
            turned[c * rows + r] = values[r * m->cols + c];
    if (!error->status && organ_overflow_narrow(organ_write_overflow(job->writing), job->engine->kernels, dtype,
                                                m->name, turned ? turned : values, units, n, error) == ORGAN_OK)
        organ_write_put(job->writing, m->tensor, units, bytes, at, scratch, error);
    for (size_t r = 0; r < rows && turned && !error->status; r++)
        for (size_t c = 0; c < m->cols; c++)
            values[r * m->cols + c] = turned[c * rows + r];
    return error->status;
}

static organ_status finish_matrix(const moments_layer *layer, const moments_matrix *m, organ_error *error)
{
    model_merge *const job = layer->moments->job;
    merge_tensor *const t = &job->tensors[m->tensor];
    if (--t->fitted->left)
        return ORGAN_OK;
    if (organ_write_finish(job->writing, m->tensor, organ_merge_tensor_results(t), error) == ORGAN_OK)
        organ_progress_advance(job->progress, job->pieces[m->tensor].cost, t->name, NULL);
    return error->status;
}

static void note_fit(merge_fitted *fitted, const moments_group *group, size_t index)
{
    double before, after;
    fitted->means += !group->fit;
    fitted->tokens += group->total;
    if (!group->fit)
        return;
    organ_moments_fit_errors(group->fit, index, &before, &after);
    fitted->before += before;
    fitted->after += after;
}

/* The whole matrix is in memory only if the loaded layer gets it. */
organ_status organ_merge_write_matrix(moments_layer *layer, const moments_matrix *m, size_t index, moments_group *group,
                                      organ_error *error)
{
    merge_tensor *const t = &layer->moments->job->tensors[m->tensor];
    const bool whole = layer->loaded != NULL;
    moments_rows r;
    ORGAN_OWNED float *const values = organ_floats(whole ? m->rows : MOMENTS_ROWS, m->cols);
    if (!values)
        return organ_fail_memory(error, m->name);
    organ_merge_rows_open(layer->moments->job, m, &r, error);
    for (size_t first = 0; first < m->rows && !error->status; first += MOMENTS_ROWS) {
        const size_t rows = organ_min(MOMENTS_ROWS, m->rows - first), n = rows * m->cols;
        const float *const change = group->fit ? organ_moments_fit_solve(group->fit, index, first, rows) : NULL;
        float *const to = values + (whole ? first * m->cols : 0);
        if (group->fit && !change)
            organ_fail_memory(error, m->name);
        else if (organ_merge_rows_read(&r, first, rows, error) == ORGAN_OK) {
            for (size_t k = 0; k < n; k++)
                to[k] = r.mean[k] + (change ? change[k] : 0);
            add_moved(&r, t, to, n);
            if (!whole)
                put_rows(layer, m, first, rows, to, error);
        }
    }
    if (!error->status && (!whole || put_rows(layer, m, 0, m->rows, values, error) == ORGAN_OK)) {
        if (whole)
            organ_layer_write(layer->loaded, m->name, values);
        note_fit(t->fitted, group, index);
        finish_matrix(layer, m, error);
    }
    organ_merge_rows_close(&r);
    return error->status;
}
