/* SPDX-License-Identifier: MIT
 * Sweeps over the columns of a matrix. In the sweep of GPTQ (Frantar et al. 2022, arXiv:2210.17323) later columns
 * compensate the error of each code: with H^-1 = U^T U, the error of column j divided by u_jj, times u_jk, is
 * subtracted from each later column k. In the sweep of coordinate descent each code is set to its optimum for the
 * current values of all other columns, and the residual (W - values) H of later columns is updated. A worker processes
 * a strip of rows, stored column by column. */
#include "orchestrator/surgery/precision/gptq_job.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/algebra.h"

#include <string.h>

#define STRIP   ORGAN_GPTQ_STRIP
#define COLUMNS ORGAN_GPTQ_COLUMNS

/* Some columns that all strips process before the next ones: columns first .. first + n - 1 in the order of the sweep.
 */
typedef struct gptq_sweep {
    const organ_gptq_job *job;
    bool descent;        /* true: coordinate descent on codes; false: the sweep of GPTQ */
    size_t start, width; /* first column and width of the block of H that contains these columns */
    size_t first, n;
    const float *u; /* U (GPTQ) or H (descent) from entry (first, first) on; a row of the block has `width` entries */
} gptq_sweep;

/* Copies of n columns of a strip of rows, each [COLUMNS][STRIP]. */
typedef struct gptq_sweep_buffers {
    float *field;  /* columns of job->field */
    float *values; /* columns of matrix->values */
    float *errors; /* what code_column or improve_column computes for the later columns */
    float *keep;   /* columns of matrix->keep, 1 or 0 */
    void *scratch; /* for the product */
} gptq_sweep_buffers;

/* Divides the scratch of a worker into the buffers. */
static gptq_sweep_buffers gptq_sweep_buffers_of(const organ_gptq_job *job, size_t worker)
{
    float *const at = (float *)(void *)(job->scratch + worker * job->scratch_bytes);
    return (gptq_sweep_buffers){at, at + STRIP * COLUMNS, at + 2 * STRIP * COLUMNS, at + 3 * STRIP * COLUMNS,
                                at + 4 * STRIP * COLUMNS};
}

/* Returns the scratch bytes of a worker: four buffers of COLUMNS columns of a strip, and the scratch of products. */
size_t organ_gptq_sweep_room(void) { return 4 * STRIP * COLUMNS * sizeof(float) + ORGAN_PRODUCT_SCRATCH; }

/* Returns the column of the matrix that step first + j of the sweep processes: descent follows the order of the matrix,
 * GPTQ that of inputs->order. */
static size_t column_at(const gptq_sweep *s, size_t j)
{
    return s->descent ? s->first + j : s->job->inputs->order[s->first + j];
}

/* Loads the columns of the strip of `rows` rows that begins at `row`, transposed: the values of a column are adjacent.
 * Missing rows of the last strip are zeros. */
static void gptq_sweep_load(const gptq_sweep *s, const gptq_sweep_buffers *b, size_t row, size_t rows)
{
    const organ_gptq_job *const job = s->job;
    memset(b->field, 0, STRIP * COLUMNS * sizeof *b->field);
    memset(b->values, 0, STRIP * COLUMNS * sizeof *b->values);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < s->n; j++)
            b->field[j * STRIP + i] = job->field[(row + i) * job->cols + s->first + j];
    for (size_t i = 0; i < rows && s->descent; i++)
        for (size_t j = 0; j < s->n; j++)
            b->values[j * STRIP + i] = job->matrix->values[(row + i) * job->cols + s->first + j];
    for (size_t i = 0; i < rows && job->matrix->keep; i++)
        for (size_t j = 0; j < s->n; j++)
            b->keep[j * STRIP + i] = job->matrix->keep[(row + i) * job->cols + column_at(s, j)];
}

/* Copies the values of a strip from the buffers to matrix->values. */
static void gptq_sweep_store(const gptq_sweep *s, const gptq_sweep_buffers *b, size_t row, size_t rows)
{
    const organ_gptq_job *const job = s->job;
    for (size_t j = 0; j < s->n; j++) {
        float *const values = job->matrix->values + row * job->cols + column_at(s, j);
        for (size_t i = 0; i < rows; i++)
            values[i * job->cols] = b->values[j * STRIP + i];
    }
}

/* Computes to[i] -= factor x from[i]. */
static void subtract_scaled(float *restrict to, float factor, const float *restrict from)
{
    for (size_t i = 0; i < STRIP; i++)
        to[i] -= factor * from[i];
}

/* Sets the values of pruned weights to 0; compensation may have changed them. */
static void clear_pruned(const float *restrict keep, float *restrict values)
{
    for (size_t i = 0; i < STRIP; i++)
        values[i] = keep[i] > 0 ? values[i] : 0.0f;
}

/* Scales and minima of a column, one for each row of a strip, and the grid of its values. */
typedef struct column_scales {
    const organ_grid *grid;
    const float *scales, *minima; /* minima NULL: the grid has none */
} column_scales;

/* Returns the scales and minima of the column at step first + j for the strip of rows that begins at `row`. */
static column_scales column_scales_of(const gptq_sweep *s, size_t j, size_t row)
{
    const organ_gptq_job *const job = s->job;
    const float *const scales = job->scales + column_at(s, j) / job->group * job->padded + row;
    return (column_scales){&job->matrix->grid, scales, job->terms > 1 ? scales + job->groups * job->padded : NULL};
}

/* Codes a column in the sweep of GPTQ: rounds its compensated weights, `field`, to `values`. Sets errors = (field -
 * values) / pivot; pivot is u_jj. */
static void code_column(const column_scales *at, float pivot, const float *restrict field, const float *keep,
                        float *restrict values, float *restrict errors)
{
    memcpy(values, field, STRIP * sizeof *values);
    organ_grid_round(at->grid, at->scales, at->minima, values, STRIP);
    if (keep)
        clear_pruned(keep, values);
    for (size_t i = 0; i < STRIP; i++)
        errors[i] = (field[i] - values[i]) / pivot;
}

/* Improves the codes of a column in coordinate descent: moves each value to its optimum, values + field / pivot with
 * field = (W - values) H and pivot = h_jj, and rounds it. Sets errors = new values - old values. */
static void improve_column(const column_scales *at, float pivot, const float *restrict field, const float *keep,
                           float *restrict values, float *restrict errors)
{
    memcpy(errors, values, STRIP * sizeof *errors);
    for (size_t i = 0; i < STRIP; i++)
        values[i] += field[i] / pivot;
    organ_grid_round(at->grid, at->scales, at->minima, values, STRIP);
    if (keep)
        clear_pruned(keep, values);
    for (size_t i = 0; i < STRIP; i++)
        errors[i] = values[i] - errors[i];
}

/* Processes columns first .. first + n - 1 for strip `index` of rows: codes or improves a column, then subtracts its
 * errors times row j of U (GPTQ) or of H (descent) from the later of these columns. One product then does the same for
 * all later columns of the block of H. */
static void sweep_strip(void *context, size_t index, size_t worker)
{
    const gptq_sweep *const s = context;
    const organ_gptq_job *const job = s->job;
    const size_t row = index * STRIP, rows = organ_min(STRIP, job->rows - row),
                 rest = s->start + s->width - s->first - s->n;
    const gptq_sweep_buffers b = gptq_sweep_buffers_of(job, worker);
    gptq_sweep_load(s, &b, row, rows);
    for (size_t j = 0; j < s->n; j++) {
        const float *const u = s->u + j * s->width;
        const column_scales at = column_scales_of(s, j, row);
        (s->descent ? improve_column : code_column)(&at, u[j], b.field + j * STRIP,
                                                    job->matrix->keep ? b.keep + j * STRIP : NULL, b.values + j * STRIP,
                                                    b.errors + j * STRIP);
        for (size_t k = j + 1; k < s->n; k++)
            subtract_scaled(b.field + k * STRIP, u[k], b.errors + j * STRIP);
    }
    gptq_sweep_store(s, &b, row, rows);
    const organ_product product = {.m = rows,
                                   .n = rest,
                                   .k = s->n,
                                   .a = organ_by_columns(b.errors, STRIP),
                                   .b = organ_by_columns(s->u + s->n, s->width),
                                   .c = job->field + row * job->cols + s->first + s->n,
                                   .c_stride = job->cols,
                                   .into = ORGAN_PRODUCT_SUBTRACT};
    if (rest)
        job->inputs->engine->kernels->product(&product, b.scratch);
}

/* Passes once over all columns, COLUMNS columns of a block of H at a time: GPTQ, or with `descent` coordinate descent.
 * Strips of rows are independent, so workers share them. Returns ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_gptq_sweep(organ_gptq_job *job, bool descent, organ_error *error)
{
    const organ_gptq_inputs *const in = job->inputs;
    gptq_sweep s = {.job = job, .descent = descent};
    for (s.start = 0; s.start < job->cols; s.start += in->block) {
        const float *const square = (descent ? in->h : in->factor) + s.start * in->block;
        s.width = organ_min(in->block, job->cols - s.start);
        for (s.first = s.start; s.first < s.start + s.width; s.first += COLUMNS) {
            if (organ_stop_is_requested(in->engine->stop))
                return organ_fail(error, ORGAN_INTERRUPTED, "%s: interrupted", job->matrix->name);
            s.n = organ_min(COLUMNS, s.start + s.width - s.first);
            s.u = square + (s.first - s.start) * (s.width + 1);
            organ_share(in->engine, NULL, job->padded / STRIP, sweep_strip, &s);
        }
    }
    return ORGAN_OK;
}
