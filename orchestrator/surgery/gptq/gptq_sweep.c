/* SPDX-License-Identifier: MIT
 * Chooses the codes of a strip of rows. Rows are independent of each other, so a worker does all steps for its strip.
 *
 * GPTQ (Frantar et al. 2022, arXiv:2210.17323) codes the columns in order and lets later columns compensate the error
 * of each code. Here it works with R, H = R R^T, instead of the factor of the inverse: the loss of the errors E = W -
 * values is the square of E R, and the compensated weights of a block of columns are W + (E R of the columns before, in
 * this block) times the inverse of the block of R on the diagonal. Within the block, that inverse is the factor of the
 * authors.
 *
 * Then come passes over blocks of columns in the order of the matrix, one backwards, one forwards, and so on. For each
 * block, (W - values) H is the sum of three products: with the columns before it, with those after it, and with its
 * own. A pass computes the products on the side from which it comes, the pass before it those on the other side. */
#include "orchestrator/surgery/gptq/gptq.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/product.h"

#include <string.h>

#define ROWS   ORGAN_GPTQ_ROWS
#define WIDEST ORGAN_GPTQ_WIDEST
#define LANES  ((size_t)16) /* rows of the kernels of coding */

/* Some columns: `n` from column `first` of the matrix on, or of the order of GPTQ, in the block of H that begins at
 * column `start` and has `width`. */
typedef struct gptq_columns {
    size_t start, width, first, n;
} gptq_columns;

typedef struct gptq_strip {
    organ_gptq_job *job;
    size_t row, rows;
    float *field, *sums;                                        /* [ROWS][WIDEST] */
    float *lane_field, *lane_values, *lane_changes, *lane_keep; /* columns of LANES rows: [WIDEST][LANES] */
    float *codes;                                               /* scratch of refit_scales: [3][WIDEST][LANES] */
    uint32_t *groups;                                           /* group of each column: [WIDEST] */
    void *scratch;                                              /* of products */
} gptq_strip;

/* The scratch of the worker has room for these arrays: organ_gptq_sweep_room. */
static gptq_strip strip_of(organ_gptq_job *job, size_t index, size_t worker)
{
    gptq_strip s = {.job = job, .row = index * job->strip_rows};
    s.rows = organ_min(job->strip_rows, job->rows - s.row);
    s.field = (float *)(void *)(job->scratch + worker * job->scratch_bytes);
    s.sums = s.field + ROWS * WIDEST;
    s.lane_field = s.sums + ROWS * WIDEST;
    s.lane_values = s.lane_field + WIDEST * LANES;
    s.lane_changes = s.lane_values + WIDEST * LANES;
    s.lane_keep = s.lane_changes + WIDEST * LANES;
    s.codes = s.lane_keep + WIDEST * LANES;
    s.groups = (uint32_t *)(void *)(s.codes + 3 * WIDEST * LANES);
    s.scratch = s.groups + WIDEST;
    return s;
}

size_t organ_gptq_sweep_room(void)
{
    return (2 * ROWS * WIDEST + 8 * WIDEST * LANES) * sizeof(float) + WIDEST * sizeof(uint32_t) + ORGAN_PRODUCT_SCRATCH;
}

/* Multiplies the errors of the strip in n columns from column `from` on by `b`, which has `columns` columns. */
static void multiply(const gptq_strip *s, size_t from, size_t n, organ_product_operand b, size_t columns, float *to,
                     organ_product_into into)
{
    const organ_product product = {.m = s->rows,
                                   .n = columns,
                                   .k = n,
                                   .a = organ_by_rows(s->job->errors + s->row * s->job->cols + from, s->job->cols),
                                   .b = b,
                                   .c = to,
                                   .c_stride = WIDEST,
                                   .into = into};
    s->job->inputs->engine->kernels->product(&product, s->scratch);
}

/* Returns the entry (row, column) of H or its factor (`square`), which is in the block of the columns `c`. */
static const float *square_at(const float *square, const organ_gptq_inputs *in, const gptq_columns *c, size_t row,
                              size_t column)
{
    return square + c->start * in->block + (row - c->start) * c->width + column - c->start;
}

/* ---- the sweep of GPTQ ---- */

/* Missing rows are zeros. `order`: column of the matrix of each column; NULL: c->first and so on. */
static void load_lanes(const gptq_strip *s, const gptq_columns *c, size_t from, size_t rows, const uint32_t *order)
{
    const organ_gptq *const m = s->job->matrix;
    if (rows < LANES)
        memset(s->lane_field, 0, WIDEST * LANES * sizeof *s->lane_field);
    s->job->inputs->engine->kernels->transpose(s->field + from * WIDEST, WIDEST, s->lane_field, LANES, rows, c->n);
    for (size_t i = 0; i < LANES && m->keep; i++)
        for (size_t j = 0; j < c->n; j++) {
            const size_t column = order ? order[j] : c->first + j;
            s->lane_keep[j * LANES + i] = i < rows && m->keep[(s->row + from + i) * s->job->cols + column] ? 1 : 0;
        }
}

static organ_coding coding_of(const gptq_strip *s, const gptq_columns *c, size_t from, const float *square)
{
    const organ_gptq_job *const job = s->job;
    const organ_grid *const grid = &job->matrix->grid;
    float *const scales = job->scales + s->row + from;
    organ_coding coding = {.e4m3 = !grid->bits,
                           .levels = organ_grid_levels(grid),
                           .runs = job->runs.length ? &job->runs : NULL,
                           .stored = organ_grid_store(grid),
                           .n = c->n,
                           .square = square,
                           .square_stride = c->width,
                           .groups = s->groups,
                           .scales = scales,
                           .minima = job->terms > 1 ? scales + job->groups * job->padded : NULL,
                           .stride = job->padded,
                           .keep = job->matrix->keep ? s->lane_keep : NULL,
                           .field = s->lane_field,
                           .values = s->lane_values,
                           .changes = s->lane_changes};
    organ_grid_range(grid, &coding.low, &coding.high);
    return coding;
}

/* Errors of the columns before them are in job->errors, in the order of GPTQ. */
static void gptq_code_columns(const gptq_strip *s, const gptq_columns *c)
{
    const organ_gptq_job *const job = s->job;
    const organ_gptq_inputs *const in = job->inputs;
    const uint32_t *const order = in->order + c->first;
    const float *const own = square_at(in->factor, in, c, c->first, c->first);
    for (size_t i = 0; i < s->rows; i++)
        for (size_t j = 0; j < c->n; j++)
            s->field[i * WIDEST + j] = job->matrix->weights[(s->row + i) * job->cols + order[j]];
    if (c->first > c->start) {
        multiply(s, c->start, c->first - c->start,
                 organ_by_columns(square_at(in->factor, in, c, c->start, c->first), c->width), c->n, s->sums,
                 ORGAN_PRODUCT_SET);
        const organ_product compensation = {.m = s->rows,
                                            .n = c->n,
                                            .k = c->n,
                                            .a = organ_by_rows(s->sums, WIDEST),
                                            .b = organ_by_columns(own, c->width),
                                            .c = s->field,
                                            .c_stride = WIDEST,
                                            .into = ORGAN_PRODUCT_ADD};
        in->engine->kernels->product(&compensation, s->scratch);
    }
    for (size_t j = 0; j < c->n; j++)
        s->groups[j] = (uint32_t)(order[j] / job->group);
    for (size_t from = 0; from < s->rows; from += LANES) {
        const size_t rows = organ_min(LANES, s->rows - from);
        load_lanes(s, c, from, rows, order);
        const organ_coding coding = coding_of(s, c, from, own);
        in->engine->kernels->code_columns(&coding);
        in->engine->kernels->transpose(s->lane_values, LANES, s->sums + from * WIDEST, WIDEST, c->n, rows);
    }
    for (size_t i = 0; i < s->rows; i++)
        for (size_t j = 0; j < c->n; j++) {
            const size_t row = (s->row + i) * job->cols, at = row + order[j];
            job->matrix->values[at] = s->sums[i * WIDEST + j];
            job->errors[row + c->first + j] = job->matrix->weights[at] - job->matrix->values[at];
        }
}

/* ---- passes over the matrix ---- */

/* The part of the columns in the loss of a row is e (2 sums + e H), with the errors e of these columns and the sums
 * of the columns on one side of them. LANES partial sums make the result independent of the instruction set. */
static void add_losses(const gptq_strip *s, const gptq_columns *c, const float *errors, double *losses)
{
    const organ_gptq_job *const job = s->job;
    const organ_product own = {
        .m = s->rows,
        .n = c->n,
        .k = c->n,
        .a = organ_by_rows(errors + s->row * job->cols + c->first, job->cols),
        .b = organ_by_columns(square_at(job->inputs->h, job->inputs, c, c->first, c->first), c->width),
        .c = s->field,
        .c_stride = WIDEST};
    job->inputs->engine->kernels->product(&own, s->scratch);
    for (size_t i = 0; i < s->rows; i++) {
        const float *const e = errors + (s->row + i) * job->cols + c->first;
        double lanes[LANES] = {0}, sum = 0;
        for (size_t j = 0; j < c->n; j++)
            lanes[j % LANES] += (double)e[j] * (2 * (double)s->sums[i * WIDEST + j] + (double)s->field[i * WIDEST + j]);
        for (size_t l = 0; l < LANES; l++)
            sum += lanes[l];
        losses[s->row + i] += sum;
    }
}

/* The sums are products of the errors with H over the columns before these or, if `backward`, after them. */
static void sum_side(const gptq_strip *s, const gptq_columns *c, bool backward)
{
    const organ_gptq_inputs *const in = s->job->inputs;
    const size_t end = c->first + c->n;
    if (backward)
        multiply(s, end, c->start + c->width - end, organ_by_rows(square_at(in->h, in, c, c->first, end), c->width),
                 c->n, s->sums, ORGAN_PRODUCT_SET);
    else
        multiply(s, c->start, c->first - c->start,
                 organ_by_columns(square_at(in->h, in, c, c->start, c->first), c->width), c->n, s->sums,
                 ORGAN_PRODUCT_SET);
}

static void improve_columns(const gptq_strip *s, const gptq_columns *c)
{
    const organ_gptq_job *const job = s->job;
    const organ_gptq_inputs *const in = job->inputs;
    const organ_kernels *const kernels = in->engine->kernels;
    for (size_t j = 0; j < c->n; j++)
        s->groups[j] = (uint32_t)((c->first + j) / job->group);
    for (size_t from = 0; from < s->rows; from += LANES) {
        const size_t rows = organ_min(LANES, s->rows - from);
        float *const values = job->matrix->values + (s->row + from) * job->cols + c->first;
        load_lanes(s, c, from, rows, /*order=*/NULL);
        if (rows < LANES)
            memset(s->lane_values, 0, WIDEST * LANES * sizeof *s->lane_values);
        kernels->transpose(values, job->cols, s->lane_values, LANES, rows, c->n);
        organ_coding coding = coding_of(s, c, from, square_at(in->h, in, c, c->first, c->first));
        coding.descent = 1;
        if (job->refits)
            kernels->refit_scales(&coding, s->codes);
        kernels->code_columns(&coding);
        kernels->transpose(s->lane_values, LANES, values, job->cols, c->n, rows);
    }
}

/* Sets the errors of the strip in the columns, in the order of the matrix. */
static void set_errors(const gptq_strip *s, const gptq_columns *c)
{
    const organ_gptq_job *const job = s->job;
    for (size_t i = s->row; i < s->row + s->rows; i++)
        for (size_t j = i * job->cols + c->first; j < i * job->cols + c->first + c->n; j++)
            job->errors[j] = job->matrix->weights[j] - job->matrix->values[j];
}

/* Sets s->field to (W - values) H for the columns: the products on the side from which the pass comes, those on the
 * other side (job->sides, which then gets the former), and those with the columns themselves. Then improves the codes.
 */
static void pass_columns(const gptq_strip *s, const gptq_columns *c, bool backward)
{
    const organ_gptq_job *const job = s->job;
    const organ_gptq_inputs *const in = job->inputs;
    sum_side(s, c, backward);
    for (size_t i = 0; i < s->rows; i++) {
        float *const other = job->sides + (s->row + i) * job->cols + c->first;
        for (size_t j = 0; j < c->n; j++) {
            s->field[i * WIDEST + j] = other[j] + s->sums[i * WIDEST + j];
            other[j] = s->sums[i * WIDEST + j];
        }
    }
    multiply(s, c->first, c->n, organ_by_columns(square_at(in->h, in, c, c->first, c->first), c->width), c->n, s->field,
             ORGAN_PRODUCT_ADD);
    if (job->supers)
        organ_gptq_scales(job, c->first, c->n, s->row, s->rows, s->field, s->scratch);
    improve_columns(s, c);
    set_errors(s, c);
}

/* ---- a strip ---- */

typedef enum gptq_step { CODE, MEASURE, FORWARD, BACKWARD } gptq_step;

/* `losses` gets the losses of the rows after the step, which is not CODE; NULL: none. Returns false if a stop was
 * requested. */
static bool run_step(const gptq_strip *s, gptq_step step, double *losses)
{
    const organ_gptq_job *const job = s->job;
    const size_t block = job->inputs->block, wide = step == CODE ? ORGAN_FACTOR_BLOCK : job->columns;
    for (size_t i = 0; i < s->rows && losses; i++)
        losses[s->row + i] = 0;
    for (size_t start = 0; start < job->cols; start += block) {
        const size_t width = organ_min(block, job->cols - start), count = (width + wide - 1) / wide;
        for (size_t k = 0; k < count; k++) {
            const size_t at = step == BACKWARD ? count - 1 - k : k;
            const gptq_columns c = {start, width, start + at * wide, organ_min(wide, width - at * wide)};
            if (organ_stop_is_requested(job->inputs->engine->stop))
                return false;
            if (step == CODE)
                gptq_code_columns(s, &c);
            else if (step != MEASURE)
                pass_columns(s, &c, step == BACKWARD);
            else {
                sum_side(s, &c, /*backward=*/false);
                for (size_t i = 0; i < s->rows; i++)
                    memcpy(job->sides + (s->row + i) * job->cols + c.first, s->sums + i * WIDEST,
                           c.n * sizeof *s->sums);
            }
            if (losses)
                add_losses(s, &c, job->errors, losses);
        }
    }
    return true;
}

static void set_all_errors(const gptq_strip *s) { set_errors(s, &(gptq_columns){0, s->job->cols, 0, s->job->cols}); }

static void quantise_strip(void *context, size_t index, size_t worker)
{
    organ_gptq_job *const job = context;
    const gptq_strip s = strip_of(job, index, worker);
    memcpy(job->errors + s.row * job->cols, job->matrix->weights + s.row * job->cols,
           s.rows * job->cols * sizeof *job->errors);
    if (!run_step(&s, MEASURE, job->energies) || !run_step(&s, CODE, /*losses=*/NULL))
        return;
    set_all_errors(&s);
    if (!run_step(&s, MEASURE, job->gptq_losses))
        return;
    memcpy(job->losses + s.row, job->gptq_losses + s.row, s.rows * sizeof *job->losses);
    for (unsigned pass = 0; pass < job->passes; pass++)
        if (!run_step(&s, pass % 2 == 0 ? BACKWARD : FORWARD, pass + 1 == job->passes ? job->losses : NULL))
            return;
}

organ_status organ_gptq_quantise_rows(organ_gptq_job *job, organ_error *error)
{
    organ_share(job->inputs->engine, NULL, (job->rows + job->strip_rows - 1) / job->strip_rows, quantise_strip, job);
    return organ_stop_is_requested(job->inputs->engine->stop)
               ? organ_fail(error, ORGAN_INTERRUPTED, "%s: interrupted", job->matrix->name)
               : ORGAN_OK;
}
