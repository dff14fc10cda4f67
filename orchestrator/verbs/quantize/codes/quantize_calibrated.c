/* SPDX-License-Identifier: MIT
 * Quantises with a calibration text: GPTQ chooses the codes of each matrix for its inputs, and later layers get the
 * inputs that the quantised earlier layers compute. A part is a target: one matrix, or in GGUF models also a stack of
 * matrices. */
#include "orchestrator/verbs/quantize/codes/quantize_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/product.h"

#include <stdlib.h>
#include <string.h>

#define STRIP_BYTES  ((size_t)1 << 20) /* bytes of codes that are written together; at least a row */
#define ROWS_AT_ONCE ((size_t)8)       /* rows that a worker takes at a time */

/* The buffers are for one matrix of a part, with rows in the order of the file. */
typedef struct quantize_calibrated_storing {
    organ_quantize_job *job;
    const organ_engine *engine; /* its workers share the rows */
    organ_quantize_part *part;
    size_t rows, cols, row_bytes; /* shape of the matrix; bytes of the codes of a row */
    size_t band, bands;           /* a band is `band` consecutive rows that share their scales; number of bands */
    size_t numbers;               /* scales and minima of a band: organ_grid_numbers */
    uint64_t codes_at;            /* offset in bytes of the matrix's codes in the tensor of codes */
    float *values;                /* output of GPTQ, [rows][cols]: the values of the codes */
    float *scales;                /* output of GPTQ, [bands][numbers] */
    float *back;                  /* for each worker a row decoded from its stored codes */
    organ_encoding_loss *losses;  /* losses of each row of a strip, [strip_rows][ORGAN_LOSSES] */
    float *weights, *roots;       /* imatrix weight of each column, and its root; NULL: no imatrix */
    float *donor;                 /* the matrix before it was pruned, [rows][cols]; NULL: the run does not prune */
    uint8_t *keep;                /* as organ_gptq.keep; NULL: the run does not prune */
    float *target, *repaired;     /* --repair-rank: what the correction aims at, and values + B A; else NULL */
    unsigned char *codes;         /* codes of `strip_rows` rows */
    size_t strip_rows;            /* rows that are encoded before they are written together */
    void *stored;                 /* all scales in the type of the file */
    void *put;                    /* scratch of organ_write_put */
    size_t scale_bytes;           /* of all scales, in the type of the file; 0: GGUF blocks contain them */
    bool weighs, repairs, prunes; /* there is an imatrix; --repair-rank; the run prunes */
    organ_buffers buffers;
} quantize_calibrated_storing;

static size_t strip_rows(const organ_encoding *encoding, size_t rows, size_t cols)
{
    const size_t row_bytes = organ_encoding_row_bytes(encoding, cols);
    if (organ_encoding_is_gguf(encoding))
        return rows;
    return organ_min(organ_max(STRIP_BYTES / organ_max(row_bytes, 1), 1), rows);
}

static bool is_repaired(const organ_quantize_job *job, const organ_quantize_part *part)
{
    return job->repair.adapter && organ_repair_adapter_has(job->repair.adapter, part->weight->name);
}

/* `groups`: those of a band. */
static quantize_calibrated_storing sized(const organ_engine *engine, const organ_encoding *e, size_t rows, size_t cols,
                                         size_t groups)
{
    quantize_calibrated_storing s = {.engine = engine,
                                     .rows = rows,
                                     .cols = cols,
                                     .row_bytes = organ_encoding_row_bytes(e, cols),
                                     .numbers = organ_grid_numbers(&e->grid, cols),
                                     .band = organ_encoding_band(e, rows),
                                     .strip_rows = strip_rows(e, rows, cols)};
    s.bands = organ_pieces_of(rows, s.band);
    s.scale_bytes = s.bands * groups * organ_encoding_scale_bytes(e);
    return s;
}

static void lay_out(void *context, organ_buffers *b)
{
    quantize_calibrated_storing *const s = context;
    s->scales = organ_take_floats(b, s->bands, s->numbers);
    s->back = organ_take_floats(b, organ_workers_count(s->engine->workers), s->cols);
    s->losses = organ_take(b, s->strip_rows, ORGAN_LOSSES * sizeof *s->losses);
    s->codes = organ_take_pages(b, s->strip_rows, s->row_bytes);
    s->stored = organ_take_pages(b, s->scale_bytes, 1);
    s->put = organ_take(b, ORGAN_PUT_SCRATCH, 1);
    s->weights = s->weighs ? organ_take_floats(b, s->cols, 1) : NULL;
    s->roots = s->weighs ? organ_take_floats(b, s->cols, 1) : NULL;
    s->target = s->repairs ? organ_take_floats(b, s->rows, s->cols) : NULL;
    s->repaired = s->repairs ? organ_take_floats(b, s->rows, s->cols) : NULL;
    s->donor = s->prunes ? organ_take_floats(b, s->rows, s->cols) : NULL;
    s->keep = s->prunes ? organ_take(b, s->rows, s->cols) : NULL;
}

/* The caller releases s->buffers, also after an error. */
static organ_status storing_open(organ_quantize_job *job, const organ_calibration_matrix *matrix,
                                 quantize_calibrated_storing *s, organ_error *error)
{
    organ_quantize_part *const p = job->along.parts[matrix->target];
    *s = sized(job->engine, p->encoding, (size_t)p->rows, (size_t)p->cols, (size_t)p->groups);
    s->job = job;
    s->part = p;
    s->codes_at = matrix->matrix * s->rows * s->row_bytes;
    s->weighs = p->entry;
    s->prunes = job->pruning;
    s->repairs = is_repaired(job, p);
    if (!organ_buffers_take(&s->buffers, lay_out, s))
        return organ_fail_memory(error, p->weight->name);
    return p->entry ? organ_quantize_weigh(job, p, matrix->matrix, s->weights, s->roots, error) : ORGAN_OK;
}

/* The bytes of a matrix that is neither pruned nor repaired; those of all scales and minima. */
static uint64_t storing_memory(const organ_engine *engine, const organ_encoding *e, uint64_t rows, uint64_t cols)
{
    quantize_calibrated_storing s =
        sized(engine, e, (size_t)rows, (size_t)cols, organ_grid_numbers(&e->grid, (size_t)cols));
    s.weighs = organ_encoding_is_gguf(e);
    return organ_buffers_count(lay_out, &s);
}

static const float *scales_of(const quantize_calibrated_storing *s, size_t row)
{
    return s->scales + row / s->band * s->numbers;
}

typedef struct quantize_calibrated_rows {
    quantize_calibrated_storing *storing;
    float *weights;     /* of the whole matrix, [rows][cols] */
    size_t first, rows; /* the rows from `first` on that the workers share */
    bool not_finite;    /* result of rows_check; atomic */
    uint64_t zeros;     /* result of rows_take; atomic */
} quantize_calibrated_rows;

static void share_rows(quantize_calibrated_rows *rows, void (*task)(void *context, size_t index, size_t worker))
{
    organ_share_work(rows->storing->engine, NULL, organ_pieces_of(rows->rows, ROWS_AT_ONCE),
                     (double)rows->rows * (double)rows->storing->cols * ORGAN_SHARE_NUMBER, task, rows);
}

static void rows_encode(void *context, size_t index, size_t worker)
{
    const quantize_calibrated_rows *const x = context;
    const quantize_calibrated_storing *const s = x->storing;
    const organ_encoding *const encoding = s->part->encoding;
    const organ_kernels *const kernels = s->job->engine->kernels;
    const size_t end = organ_min((index + 1) * ROWS_AT_ONCE, x->rows), cols = s->cols;
    float *const back = s->back + worker * cols;
    for (size_t k = index * ROWS_AT_ONCE; k < end; k++) {
        const size_t row = x->first + k;
        unsigned char *const codes = s->codes + k * s->row_bytes;
        organ_encoding_loss *const losses = s->losses + k * ORGAN_LOSSES;
        memset(losses, 0, ORGAN_LOSSES * sizeof *losses);
        organ_encoding_encode(encoding, kernels, s->values + row * cols, scales_of(s, row), cols, codes);
        organ_encoding_decode(encoding, kernels, codes, scales_of(s, row), cols, back);
        organ_encoding_add_row_losses(kernels, x->weights + row * cols, back, s->roots, 1, cols, losses);
    }
}

static void rows_check(void *context, size_t index, size_t worker)
{
    quantize_calibrated_rows *const x = context;
    const size_t row = index * ROWS_AT_ONCE, rows = organ_min(ROWS_AT_ONCE, x->rows - row), cols = x->storing->cols;
    (void)worker;
    if (!organ_all_finite(x->weights + row * cols, rows * cols))
        __atomic_store_n(&x->not_finite, true, __ATOMIC_RELAXED);
}

static void rows_take(void *context, size_t index, size_t worker)
{
    quantize_calibrated_rows *const x = context;
    const quantize_calibrated_storing *const s = x->storing;
    const size_t row = index * ROWS_AT_ONCE, count = organ_min(ROWS_AT_ONCE, x->rows - row) * s->cols;
    const float *const values = (s->repaired ? s->repaired : s->values) + row * s->cols;
    uint64_t zeros = 0;
    (void)worker;
    memcpy(x->weights + row * s->cols, values, count * sizeof *values);
    for (size_t k = 0; k < count && s->job->pruning; k++)
        zeros += values[k] == 0;
    __atomic_fetch_add(&x->zeros, zeros, __ATOMIC_RELAXED);
}

static void rows_keep(void *context, size_t index, size_t worker)
{
    const quantize_calibrated_rows *const x = context;
    const quantize_calibrated_storing *const s = x->storing;
    const size_t row = index * ROWS_AT_ONCE, rows = organ_min(ROWS_AT_ONCE, x->rows - row);
    (void)worker;
    memcpy(s->donor + row * s->cols, x->weights + row * s->cols, rows * s->cols * sizeof *s->donor);
}

static organ_status check_weights(quantize_calibrated_storing *s, float *weights, organ_error *error)
{
    quantize_calibrated_rows all = {.storing = s, .weights = weights, .rows = s->rows};
    share_rows(&all, rows_check);
    return all.not_finite ? organ_quantize_refuse_values(s->part->weight->name, error) : ORGAN_OK;
}

/* `more`: of a row that was multiplied by the part's divisor. */
static void add_losses(organ_quantize_part *part, organ_encoding_loss *more)
{
    const double by = 1 / ((double)part->divisor * (double)part->divisor);
    for (size_t k = 0; k < ORGAN_LOSSES; k++) {
        more[k].squares *= by;
        more[k].error_squares *= by;
    }
    organ_encoding_add_losses(part->encoding, part->loss, more);
}

/* Writes numbers first .. first + groups - 1 of each band to a piece, or reads them from it. */
static organ_status move_numbers(quantize_calibrated_storing *s, bool write, size_t first, size_t piece,
                                 organ_error *error)
{
    const organ_encoding *const e = s->part->encoding;
    const organ_kernels *const kernels = s->job->engine->kernels;
    const size_t groups = (size_t)s->part->groups, row = groups * organ_encoding_scale_bytes(e), bytes = s->bands * row;
    if (!write && organ_write_read(s->job->run, piece, s->stored, bytes, 0, error) != ORGAN_OK)
        return error->status;
    for (size_t b = 0; b < s->bands; b++) {
        unsigned char *const stored = (unsigned char *)s->stored + b * row;
        float *const numbers = s->scales + b * s->numbers + first;
        if (write)
            organ_encoding_store_scales(e, kernels, numbers, groups, stored);
        else
            organ_encoding_load_scales(e, kernels, stored, groups, numbers);
    }
    return write ? organ_write_put(s->job->run, piece, s->stored, bytes, 0, s->put, error) : ORGAN_OK;
}

static organ_status move_all_numbers(quantize_calibrated_storing *s, bool write, organ_error *error)
{
    if (move_numbers(s, write, /*first=*/0, s->part->scale, error) != ORGAN_OK)
        return error->status;
    return organ_grid_is_free(&s->part->encoding->grid)
               ? move_numbers(s, write, (size_t)s->part->groups, s->part->minimum, error)
               : ORGAN_OK;
}

/* Adds the squares of `weights`, the original weights, and of their errors to part->loss, in the order of rows.
 * Overwrites `weights` if there is an imatrix. */
static organ_status store_matrix(quantize_calibrated_storing *s, float *weights, organ_error *error)
{
    organ_quantize_job *const job = s->job;
    const size_t scales = s->scale_bytes;
    quantize_calibrated_rows strip = {.storing = s, .weights = weights};
    for (; strip.first < s->rows; strip.first += s->strip_rows) {
        strip.rows = organ_min(s->strip_rows, s->rows - strip.first);
        share_rows(&strip, rows_encode);
        for (size_t k = 0; k < strip.rows; k++)
            add_losses(s->part, s->losses + k * ORGAN_LOSSES);
        if (organ_write_put(job->run, s->part->codes, s->codes, strip.rows * s->row_bytes,
                            s->codes_at + strip.first * s->row_bytes, s->put, error))
            return error->status;
    }
    /* A target with a tensor of scales is one matrix, not a stack: its scales begin at offset 0. */
    if (scales && move_all_numbers(s, /*write=*/true, error) != ORGAN_OK)
        return error->status;
    return organ_quantize_put_shape(job, s->part, error);
}

/* `weights` become what an interrupted run has written, so that later layers get the same inputs as in that run. */
static organ_status load_matrix(quantize_calibrated_storing *s, float *weights, organ_error *error)
{
    organ_quantize_job *const job = s->job;
    const organ_encoding *const encoding = s->part->encoding;
    const organ_kernels *const kernels = job->engine->kernels;
    const size_t scales = s->scale_bytes;
    if (organ_encoding_has_divisor(encoding)) {
        float global;
        if (organ_write_read(job->run, s->part->global, &global, sizeof global, 0, error) != ORGAN_OK)
            return error->status;
        s->part->divisor = organ_encoding_is_gguf(encoding) ? 1 / global : global;
    }
    if (scales) {
        if (move_all_numbers(s, /*write=*/false, error) != ORGAN_OK)
            return error->status;
    }
    for (size_t first = 0; first < s->rows && !error->status; first += s->strip_rows) {
        const size_t rows = organ_min(s->strip_rows, s->rows - first);
        organ_write_read(job->run, s->part->codes, s->codes, rows * s->row_bytes, s->codes_at + first * s->row_bytes,
                         error);
        for (size_t r = first; r < first + rows && !error->status; r++)
            organ_encoding_decode(encoding, kernels, s->codes + (r - first) * s->row_bytes, scales_of(s, r), s->cols,
                                  weights + r * s->cols);
    }
    organ_quantize_multiply(weights, s->rows * s->cols, 1 / s->part->divisor);
    return error->status;
}

/* ---- callbacks of the calibration run ---- */

/* The buffers of pruning and of GPTQ are not in memory at the same time, so the larger of both counts. */
static uint64_t matrix_memory(void *context, const organ_calibration_run *calib, const organ_tensor *tensor)
{
    const organ_quantize_job *const job = context;
    const organ_matrices m = organ_tensor_matrices(tensor);
    const organ_encoding *const encoding = job->encodings[tensor - job->model->tensors];
    const uint64_t gptq = organ_gptq_memory(job->engine, &encoding->grid, m.rows, m.cols),
                   stored = storing_memory(job->engine, encoding, m.rows, m.cols);
    const uint64_t weights = m.rows * m.cols;
    (void)calib;
    if (job->repair.adapter)
        return gptq + stored + sizeof(float) * (2 * weights + m.cols * m.cols) +
               organ_donor_target_memory(job->engine, m.cols, m.cols) +
               organ_repair_adapter_memory(job->engine, m.rows, m.cols, job->options->gptq.repair_rank);
    if (!job->pruning)
        return gptq + stored;
    const uint64_t pruning = job->pruning->memory(job->pruning->context, m.rows, m.cols);
    return organ_max(gptq + weights, pruning) + weights * sizeof(float) + stored;
}

static bool is_done(void *context, size_t target)
{
    const organ_quantize_job *const job = context;
    const organ_quantize_part *const part = job->along.parts[target];
    return job->list.pieces[part->codes].done &&
           (!is_repaired(job, part) || organ_repair_adapter_done(job->repair.adapter, part->weight->name));
}

static organ_status restore_matrix(void *context, const organ_calibration_matrix *matrix, float *weights,
                                   organ_error *error)
{
    organ_quantize_job *const job = context;
    quantize_calibrated_storing s;
    if (storing_open(job, matrix, &s, error) == ORGAN_OK && load_matrix(&s, weights, error) == ORGAN_OK &&
        (!s.repaired || organ_repair_adapter_restore(job->repair.adapter, s.part->weight->name, matrix->matrix, weights,
                                                     s.rows, s.cols, error) == ORGAN_OK))
        organ_calibration_reorder_rows(job->along.run, s.part->weight->codes, weights, s.rows, /*to_file=*/false,
                                       error);
    organ_buffers_release(&s.buffers);
    return error->status;
}

static void release_inputs(void *context)
{
    organ_quantize_job *const job = context;
    organ_gptq_inputs_close(&job->along.inputs);
    organ_donor_target_close(&job->repair.donor);
}

/* Closes the inputs of GPTQ first, so that its copies of the second moments and those of pruning are not in memory
 * at the same time. */
static organ_status prune_before_quantising(quantize_calibrated_storing *s, const organ_calibration_matrix *matrix,
                                            float *weights, organ_error *error)
{
    organ_quantize_job *const job = s->job;
    const size_t n = s->rows * s->cols;
    if (!job->pruning)
        return ORGAN_OK;
    if (check_weights(s, weights, error) != ORGAN_OK)
        return error->status;
    release_inputs(job);
    share_rows(&(quantize_calibrated_rows){.storing = s, .weights = weights, .rows = s->rows}, rows_keep);
    s->part->masked = 0;
    if (job->pruning->prune(job->pruning->context, matrix, weights, s->keep, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < n; k++)
        s->part->masked += !s->keep[k];
    return ORGAN_OK;
}

/* No matrix of a later layer has the same inputs. */
static organ_status leave_layer(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    (void)layer;
    release_inputs(context);
    return error->status;
}

/* matrices_done counts the finished matrices, because the matrices of a stack come in any order: those with the same
 * inputs are quantised consecutively. */
static organ_status finish_matrix(const quantize_calibrated_storing *s, const organ_calibration_matrix *matrix,
                                  const organ_gptq *m, organ_error *error)
{
    organ_quantize_job *const job = s->job;
    organ_quantize_part *const part = s->part;
    const organ_input_moments *const moments = organ_calibration_moments(matrix->calibration);
    const uint64_t count = organ_weight_matrices(part->weight).count;
    /* the least number over the matrices so far */
    part->tokens = part->matrices_done && part->tokens < moments->tokens ? part->tokens : moments->tokens;
    part->greatest_input = moments->greatest;
    part->block_diagonal |= moments->block < moments->features;
    organ_calibration_note_fallback(&part->fallback, matrix);
    part->energy += m->energy;
    part->gptq_loss += m->gptq_loss;
    part->output_loss += m->loss;
    const bool last = ++part->matrices_done == count;
    if (last && organ_write_finish(job->run, part->codes, organ_quantize_results(part), error))
        return error->status;
    organ_progress_advance(job->progress, part->weight->codes->bytes / count, last ? part->weight->name : NULL, NULL);
    return ORGAN_OK;
}

/* Sets s->target to the change of the matrix for the donor's inputs, in the order of the file. `weights` are in the
 * order of the forward pass. */
static organ_status find_target(quantize_calibrated_storing *s, const organ_calibration_matrix *matrix,
                                const float *weights, organ_error *error)
{
    const organ_quantize_job *const job = s->job;
    const organ_gptq_inputs *const in = &job->along.inputs;
    const organ_block_matrix h = {in->features, in->block, in->whole};
    if (!s->target)
        return ORGAN_OK;
    if (organ_donor_target_find(&s->job->repair.donor, job->engine, matrix, &h, weights, s->target, error) != ORGAN_OK)
        return error->status;
    return organ_calibration_reorder_rows(job->along.run, job->along.targets.tensors[matrix->target], s->target,
                                          s->rows, /*to_file=*/true, error);
}

/* s->repaired becomes the values of the codes with the correction B A. The divisor is a power of two, so `weights` are
 * afterwards what they were. */
static organ_status repair(quantize_calibrated_storing *s, const organ_calibration_matrix *matrix, float *weights,
                           organ_error *error)
{
    const organ_gptq_inputs *const in = &s->job->along.inputs;
    const organ_block_matrix h = {in->features, in->block, in->whole};
    const organ_repair_adapter_matrix x = {
        s->part->weight->name, matrix->matrix, s->rows, weights, s->target, s->repaired, &h};
    const size_t n = s->rows * s->cols;
    const float divisor = s->part->divisor;
    if (!s->repaired)
        return ORGAN_OK;
    memcpy(s->repaired, s->values, n * sizeof(float));
    organ_quantize_multiply(s->repaired, n, 1 / divisor);
    organ_quantize_multiply(weights, n, 1 / divisor);
    organ_repair_adapter_add(s->job->repair.adapter, &x, error);
    organ_quantize_multiply(weights, n, divisor);
    organ_quantize_multiply(s->repaired, n, divisor);
    return error->status;
}

/* A matrix that GPTQ has coded. Its weights are multiplied by the divisor of the part. */
typedef struct calibrated_result {
    quantize_calibrated_storing storing;
    organ_gptq gptq;
} calibrated_result;

static organ_status code_matrix(calibrated_result *r, organ_gptq_inputs *inputs, const organ_calibration_matrix *matrix,
                                float *weights, organ_error *error)
{
    quantize_calibrated_storing *const s = &r->storing;
    r->gptq = (organ_gptq){.name = s->part->weight->name,
                           .grid = s->part->encoding->grid,
                           .no_refit = s->job->options->gptq.no_refit,
                           .rows = s->rows,
                           .cols = s->cols,
                           .ranks = matrix->ranks,
                           .weights = weights,
                           .keep = s->keep,
                           .weighing = s->weights,
                           .whole_scale = s->part->whole_scale,
                           .values = s->values,
                           .scales = s->scales};
    if (check_weights(s, weights, error) != ORGAN_OK)
        return error->status;
    organ_quantize_multiply(weights, s->rows * s->cols, s->part->divisor);
    if (s->donor)
        organ_quantize_multiply(s->donor, s->rows * s->cols, s->part->divisor);
    return organ_gptq_run(inputs, &r->gptq, error);
}

/* `weights` become the values of the codes, with which the layer then runs. The rank that owns the matrix writes its
 * codes and figures. */
static organ_status store_result(calibrated_result *r, const organ_calibration_matrix *matrix, float *weights,
                                 organ_error *error)
{
    quantize_calibrated_storing *const s = &r->storing;
    organ_gptq *const m = &r->gptq;
    quantize_calibrated_rows all = {.storing = s, .weights = weights, .rows = s->rows};
    const float divisor = s->part->divisor;
    if (repair(s, matrix, weights, error) != ORGAN_OK ||
        (matrix->own && store_matrix(s, s->donor ? s->donor : weights, error)))
        return error->status;
    share_rows(&all, rows_take);
    organ_quantize_multiply(weights, s->rows * s->cols, 1 / divisor);
    const double by = 1 / ((double)divisor * (double)divisor);
    m->energy *= by;
    m->gptq_loss *= by;
    m->loss *= by;
    if (matrix->own)
        s->part->zeros += all.zeros;
    return matrix->own ? finish_matrix(s, matrix, m, error) : ORGAN_OK;
}

static organ_status reopen_inputs(organ_quantize_job *job, const organ_calibration_matrix *matrix, organ_error *error)
{
    return job->repair.adapter
               ? organ_gptq_inputs_reopen_flat(job->engine, matrix->calibration, matrix->name,
                                               job->options->gptq.repair_rank, &job->along.inputs, error)
               : organ_gptq_inputs_reopen(job->engine, matrix->calibration, matrix->name, &job->along.inputs, error);
}

/* Before GPTQ, the rows of `weights` are brought from the order of the forward pass to that of the file: they are
 * written in that order, and the rows of a band, which share scales, are neighbours in it. Afterwards they are
 * brought back. s.keep and s.donor are not reordered: they are used only with pruning, which is for safetensors,
 * where the two orders are equal. */
static organ_status reorder(const organ_quantize_job *job, const organ_calibration_matrix *matrix, float *weights,
                            bool to_file, organ_error *error)
{
    const organ_tensor *const tensor = job->along.targets.tensors[matrix->target];
    return organ_calibration_reorder_rows(job->along.run, tensor, weights, matrix->rows, to_file, error);
}

static void drop_result(void *result)
{
    if (result)
        organ_buffers_release(&((calibrated_result *)result)->storing.buffers);
    free(result);
}

static organ_status solve_matrix(organ_quantize_job *job, const organ_engine *engine, organ_gptq_inputs *inputs,
                                 organ_calibration_solving *x, organ_error *error)
{
    calibrated_result *const r = calloc(1, sizeof *r);
    if (!r)
        return organ_fail_memory(error, x->matrix.name);
    quantize_calibrated_storing *const s = &r->storing;
    if (storing_open(job, &x->matrix, s, error) == ORGAN_OK &&
        !(s->values = organ_take_floats(&s->buffers, s->rows, s->cols)))
        organ_fail_memory(error, s->part->weight->name);
    s->engine = engine;
    if (!error->status &&
        organ_gptq_inputs_reopen(engine, x->matrix.calibration, x->matrix.name, inputs, error) == ORGAN_OK &&
        reorder(job, &x->matrix, x->weights, /*to_file=*/true, error) == ORGAN_OK)
        code_matrix(r, inputs, &x->matrix, x->weights, error);
    s->engine = job->engine;
    if (error->status)
        drop_result(r);
    else
        x->solved = r;
    return error->status;
}

/* The matrices have the same inputs, so their H is factorised once. */
static organ_status solve_matrices(void *context, const organ_engine *engine, organ_calibration_solving *solving,
                                   size_t count, organ_error *error)
{
    organ_gptq_inputs inputs = {0};
    for (size_t k = 0; k < count && !error->status; k++)
        solve_matrix(context, engine, &inputs, &solving[k], error);
    organ_gptq_inputs_close(&inputs);
    return error->status;
}

static organ_status change_matrix(void *context, const organ_calibration_matrix *matrix, float *weights,
                                  organ_error *error)
{
    organ_quantize_job *const job = context;
    calibrated_result own, *const r = matrix->solved ? matrix->solved : &own;
    quantize_calibrated_storing *const s = &r->storing;
    /* s->values is allocated after pruning, which needs the memory before */
    if (!matrix->solved && storing_open(job, matrix, s, error) == ORGAN_OK &&
        prune_before_quantising(s, matrix, weights, error) == ORGAN_OK &&
        !(s->values = organ_take_floats(&s->buffers, s->rows, s->cols)))
        organ_fail_memory(error, s->part->weight->name);
    if (!matrix->solved && !error->status && reopen_inputs(job, matrix, error) == ORGAN_OK &&
        find_target(s, matrix, weights, error) == ORGAN_OK &&
        reorder(job, matrix, weights, /*to_file=*/true, error) == ORGAN_OK)
        code_matrix(r, &job->along.inputs, matrix, weights, error);
    if (!error->status && store_result(r, matrix, weights, error) == ORGAN_OK)
        reorder(job, matrix, weights, /*to_file=*/false, error);
    if (!matrix->solved)
        organ_buffers_release(&s->buffers);
    return error->status;
}

organ_calibration_work organ_quantize_calibrated_work(organ_quantize_job *job)
{
    const bool alone = job->pruning || job->repair.adapter;
    return (organ_calibration_work){.context = job,
                                    .memory = matrix_memory,
                                    .done = is_done,
                                    .restore = restore_matrix,
                                    .change = change_matrix,
                                    .solve = alone ? NULL : solve_matrices,
                                    .drop = drop_result,
                                    .grouped = true,
                                    .rows = (!job->pruning || job->pruning->rows) && !job->repair.adapter,
                                    .forget = release_inputs,
                                    .leave = leave_layer};
}
