/* SPDX-License-Identifier: MIT
 * Along a text: each matrix gets the codes that its inputs ask for, and the layers behind it see what it has become. */
#include "orchestrator/machine/enough_memory.h"
#include "orchestrator/machine/extent.h"
#include "orchestrator/surgery/algebra/floats.h"
#include "orchestrator/surgery/allocate/allocate.h"
#include "orchestrator/surgery/precision/quantize_job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STRIP_BYTES ((size_t)1 << 20) /* of codes that are put into place together, or a row */

/* A matrix on its way into the output: rows in the order of the file. */
typedef struct quantize_along_storing {
    organ_quantize_job *job;
    organ_quantize_part *part;
    size_t rows, cols, groups, row_bytes;
    size_t band, bands;   /* rows that have their scales together, and how many such there are */
    float *scales, *back; /* of the matrix; of a row */
    float *donor;         /* the matrix before it was pruned, and what is left of it; NULL where it is not */
    uint8_t *keep;
    unsigned char *codes; /* of a strip */
    size_t strip_rows;
    void *stored, *put;
} quantize_along_storing;

static size_t strip_rows(size_t row_bytes, size_t rows)
{
    return organ_lesser(organ_larger(STRIP_BYTES / organ_larger(row_bytes, 1), 1), rows);
}

static void storing_close(quantize_along_storing *s)
{
    free(s->scales);
    free(s->donor);
    free(s->keep);
    free(s->back);
    free(s->codes);
    free(s->stored);
    free(s->put);
}

static organ_status storing_open(organ_quantize_job *job, size_t part, quantize_along_storing *s, organ_error *error)
{
    organ_quantize_part *const p = &job->parts[part];
    const organ_scale_of of = p->scheme->grid.scale_of;
    *s = (quantize_along_storing){
        .job = job, .part = p, .rows = (size_t)p->rows, .cols = (size_t)p->cols, .groups = (size_t)p->groups};
    s->row_bytes = organ_quantize_row_bytes(p->scheme, s->cols);
    s->band = of == ORGAN_SCALE_BLOCK ? p->scheme->grid.size : of == ORGAN_SCALE_TENSOR ? s->rows : 1;
    s->bands = (s->rows + s->band - 1) / s->band;
    s->strip_rows = strip_rows(s->row_bytes, s->rows);
    s->scales = organ_floats(s->bands, s->groups);
    s->back = organ_floats(s->cols, 1);
    s->codes = organ_along_room(s->strip_rows * s->row_bytes);
    s->stored = organ_along_room(s->bands * s->groups * organ_quantize_scale_bytes(p->scheme));
    s->put = aligned_alloc(64, organ_to_line(ORGAN_PUT_SCRATCH));
    if (job->pruning) {
        s->donor = organ_floats(s->rows, s->cols);
        s->keep = malloc(s->rows * s->cols);
    }
    if ((job->pruning && (!s->donor || !s->keep)) || !s->scales || !s->back || !s->codes || !s->stored || !s->put)
        return organ_fail_memory(error, p->weight->name);
    return ORGAN_OK;
}

static uint64_t storing_memory(const organ_quantize_scheme *scheme, uint64_t rows, uint64_t cols)
{
    const size_t bytes = organ_quantize_row_bytes(scheme, (size_t)cols),
                 group = organ_grid_group(&scheme->grid, (size_t)cols);
    const uint64_t scales = rows * ((cols + group - 1) / group);
    return 8 * scales + cols * sizeof(float) + strip_rows(bytes, (size_t)rows) * bytes + ORGAN_PUT_SCRATCH + 2 * 4096;
}

static const float *scales_of(const quantize_along_storing *s, size_t row)
{
    return s->scales + row / s->band * s->groups;
}

/* Codes, scales and shape; `values` are what codes mean, `weights` what they were. */
static organ_status quantize_along_store(quantize_along_storing *s, const float *weights, const float *values,
                                         organ_error *error)
{
    organ_quantize_job *const job = s->job;
    const organ_kernels *const kernels = job->engine->kernels;
    const size_t scales = s->bands * s->groups;
    organ_quantize_loss sums = {0};
    for (size_t first = 0; first < s->rows; first += s->strip_rows) {
        const size_t rows = organ_lesser(s->strip_rows, s->rows - first);
        for (size_t r = first; r < first + rows; r++) {
            organ_quantize_row(s->part->scheme, kernels, values + r * s->cols, scales_of(s, r), s->cols,
                               s->codes + (r - first) * s->row_bytes, s->back);
            organ_quantize_lose(kernels, weights + r * s->cols, s->back, s->cols, &sums);
        }
        if (organ_write_put(job->run, s->part->codes, s->codes, rows * s->row_bytes, first * s->row_bytes, s->put,
                            error))
            return error->status;
    }
    s->part->squares = sums.squares;
    s->part->error_squares = sums.error_squares;
    organ_quantize_store_scales(s->part->scheme, kernels, s->scales, scales, s->stored);
    if (organ_write_put(job->run, s->part->scale, s->stored, scales * organ_quantize_scale_bytes(s->part->scheme), 0,
                        s->put, error))
        return error->status;
    return organ_quantize_put_shape(job, s->part, error);
}

static organ_status quantize_along_load(quantize_along_storing *s, float *weights, organ_error *error)
{
    organ_quantize_job *const job = s->job;
    const organ_kernels *const kernels = job->engine->kernels;
    const size_t scales = s->bands * s->groups;
    if (organ_write_read(job->run, s->part->scale, s->stored, scales * organ_quantize_scale_bytes(s->part->scheme), 0,
                         error))
        return error->status;
    organ_quantize_load_scales(s->part->scheme, kernels, s->stored, scales, s->scales);
    for (size_t first = 0; first < s->rows && !error->status; first += s->strip_rows) {
        const size_t rows = organ_lesser(s->strip_rows, s->rows - first);
        organ_write_read(job->run, s->part->codes, s->codes, rows * s->row_bytes, first * s->row_bytes, error);
        for (size_t r = first; r < first + rows && !error->status; r++)
            organ_quantize_row_back(s->part->scheme, kernels, s->codes + (r - first) * s->row_bytes, scales_of(s, r),
                                    s->cols, weights + r * s->cols);
    }
    return error->status;
}

/* ---- for the walk ---- */

static uint64_t quantize_along_matrix_memory(void *context, const organ_along_text *along, const organ_tensor *tensor)
{
    const organ_quantize_job *const job = context;
    const organ_matrices m = organ_tensor_matrices(tensor);
    const organ_quantize_scheme *const scheme = job->scheme_of[tensor - job->model->tensors];
    const uint64_t codes = organ_gptq_memory(&scheme->grid, m.rows, m.cols),
                   stored = storing_memory(scheme, m.rows, m.cols);
    const uint64_t weights = m.rows * m.cols;
    (void)along;
    if (!job->pruning)
        return codes + stored;
    const uint64_t pruning = job->pruning->memory(job->pruning->context, m.rows, m.cols);
    return organ_larger(codes + weights, pruning) + weights * sizeof(float) + stored;
}

static bool quantize_along_is_done(void *context, size_t target)
{
    const organ_quantize_job *const job = context;
    return job->units[job->parts[target].unit].done;
}

/* Codes as they lie in the file, where rows may have another order. */
static organ_status quantize_along_restore(void *context, const organ_along_matrix *matrix, float *weights,
                                           organ_error *error)
{
    organ_quantize_job *const job = context;
    quantize_along_storing s;
    if (storing_open(job, matrix->target, &s, error) == ORGAN_OK && quantize_along_load(&s, weights, error) == ORGAN_OK)
        organ_along_turn(job->along, s.part->weight->codes, weights, s.rows, false, error);
    storing_close(&s);
    return error->status;
}

/* The copies of second moments that pruning takes and those that codes take are not there at the same time. */
static organ_status prune(quantize_along_storing *s, const organ_along_matrix *matrix, float *weights,
                          organ_error *error)
{
    organ_quantize_job *const job = s->job;
    const size_t n = s->rows * s->cols;
    if (!job->pruning)
        return ORGAN_OK;
    if (!isfinite(job->engine->kernels->amax(weights, n)))
        return organ_quantize_refuse_values(s->part->weight->name, error);
    organ_gptq_inputs_close(&job->inputs);
    memcpy(s->donor, weights, n * sizeof *weights);
    s->part->masked = 0;
    if (job->pruning->prune(job->pruning->context, matrix, weights, s->keep, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < n; k++)
        s->part->masked += !s->keep[k];
    return ORGAN_OK;
}

static organ_status quantize_along_forget_inputs(void *context, const organ_along_layer *layer, organ_error *error)
{
    organ_quantize_job *const job = context;
    (void)layer;
    organ_gptq_inputs_close(&job->inputs);
    return error->status;
}

static organ_status quantize_along_quantise(quantize_along_storing *s, const organ_along_matrix *matrix, float *weights,
                                            float *values, organ_error *error)
{
    organ_quantize_job *const job = s->job;
    organ_gptq m = {.name = s->part->weight->name,
                    .grid = s->part->scheme->grid,
                    .no_resolve = job->options->no_resolve,
                    .rows = s->rows,
                    .cols = s->cols,
                    .ranks = matrix->ranks,
                    .weights = weights,
                    .keep = s->keep,
                    .values = values,
                    .scales = s->scales};
    if (!isfinite(job->engine->kernels->amax(weights, s->rows * s->cols)))
        return organ_quantize_refuse_values(s->part->weight->name, error);
    if (organ_gptq_run(&job->inputs, &m, error) != ORGAN_OK)
        return error->status;
    if (!matrix->own) {
        memcpy(weights, values, s->rows * s->cols * sizeof *weights);
        return ORGAN_OK;
    }
    if (quantize_along_store(s, s->donor ? s->donor : weights, values, error) != ORGAN_OK)
        return error->status;
    s->part->zeros = 0;
    for (size_t k = 0; k < s->rows * s->cols && job->pruning; k++)
        s->part->zeros += values[k] == 0;
    s->part->energy = m.energy;
    s->part->gptq_loss = m.gptq_loss;
    s->part->loss = m.loss;
    s->part->tokens = job->inputs.tokens;
    organ_along_note_fallback(&s->part->fallback, matrix);
    s->part->block_diagonal = job->inputs.block < job->inputs.features;
    memcpy(weights, values, s->rows * s->cols * sizeof *weights);
    return organ_write_finish(job->run, s->part->unit, organ_quantize_results(s->part), error);
}

static organ_status quantize_along_change(void *context, const organ_along_matrix *matrix, float *weights,
                                          organ_error *error)
{
    organ_quantize_job *const job = context;
    const organ_tensor *const tensor = job->aimed.tensors[matrix->target];
    float *values = NULL;
    quantize_along_storing s;
    if (storing_open(job, matrix->target, &s, error) == ORGAN_OK && prune(&s, matrix, weights, error) == ORGAN_OK &&
        !(values = organ_floats(s.rows, s.cols)))
        organ_fail_memory(error, tensor->name);
    if (!error->status &&
        organ_gptq_inputs_take(job->engine, matrix->calibration, matrix->name, &job->inputs, error) == ORGAN_OK &&
        organ_along_turn(job->along, tensor, weights, s.rows, true, error) == ORGAN_OK &&
        quantize_along_quantise(&s, matrix, weights, values, error) == ORGAN_OK &&
        organ_along_turn(job->along, tensor, weights, s.rows, false, error) == ORGAN_OK && matrix->own)
        organ_progress_advance(job->progress, tensor->bytes, tensor->name, NULL);
    storing_close(&s);
    free(values);
    return error->status;
}

/* ---- opening and running ---- */

static uint64_t piece_bytes(const organ_shard_piece *piece)
{
    uint64_t bytes = organ_dtype_describe(piece->dtype)->bytes;
    for (unsigned k = 0; k < piece->rank; k++)
        bytes *= piece->shape[k];
    return bytes;
}

/* After the walk was opened, as the error says: both name the memory that they want. */
static organ_status open_pruning(organ_quantize_job *job, organ_error *error)
{
    organ_quantize_held held = {.model = job->model, .targets = &job->aimed};
    organ_error other = {0};
    if (error->status && !organ_memory_named(error))
        return error->status;
    for (size_t k = 0; k < job->model->tensor_count; k++)
        held.besides += job->model->tensors[k].bytes;
    for (size_t k = 0; k < job->part_count; k++) {
        const organ_quantize_part *const p = &job->parts[k];
        held.codes += piece_bytes(&job->pieces[p->codes]);
        held.scales += piece_bytes(&job->pieces[p->scale]);
        held.besides += (p->scheme->packed ? piece_bytes(&job->pieces[p->shape]) : 0) - p->weight->codes->bytes;
    }
    job->pruning->open(job->pruning->context, &held, &other);
    return organ_memory_refuse_both(error, &other);
}

static organ_status quantize_along_open_walk(organ_quantize_job *job, const organ_targets *targets, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    const organ_quantize_pruning *const pruning = job->pruning;
    job->walk = (organ_along_options){.calibration = o->calibration,
                                      .all_experts = o->all_experts,
                                      .method = pruning ? pruning->method : o->method,
                                      .verb = pruning ? "prune" : "quantise",
                                      .doing = pruning ? "pruning" : "quantising",
                                      .streams = pruning ? pruning->streams : ORGAN_ALONG_CHANGED,
                                      .moments_only = !pruning || pruning->moments_only,
                                      .reserve = pruning ? pruning->reserve : organ_allocate_reserve(&o->allocate),
                                      .seed = pruning ? pruning->seed : 0};
    job->work = (organ_along_work){.context = job,
                                   .memory = quantize_along_matrix_memory,
                                   .done = quantize_along_is_done,
                                   .restore = quantize_along_restore,
                                   .change = quantize_along_change,
                                   .grouped = true,
                                   .rows = !pruning || pruning->rows,
                                   .leave = quantize_along_forget_inputs};
    return organ_along_open(&job->walk, job->model, targets, &job->work, job->engine, job->progress, &job->along,
                            error);
}

organ_status organ_quantize_try_text(organ_quantize_job *job, const organ_targets *targets, organ_error *error)
{
    quantize_along_open_walk(job, targets, error);
    organ_along_close(job->along);
    job->along = NULL;
    return error->status;
}

organ_plan_solve organ_quantize_solve(const organ_quantize_job *job)
{
    const organ_plan_solve none = {0}, *const pruning = job->pruning ? &job->pruning->solve : &none;
    return (organ_plan_solve){ORGAN_GPTQ_SOLVE.squares + pruning->squares, ORGAN_GPTQ_SOLVE.weights + pruning->weights};
}

organ_status organ_quantize_open_text(organ_quantize_job *job, organ_error *error)
{
    if (!(job->aimed.tensors = calloc(job->part_count, sizeof *job->aimed.tensors)))
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->part_count; k++)
        job->aimed.tensors[job->aimed.count++] = job->parts[k].weight->codes;
    quantize_along_open_walk(job, &job->aimed, error);
    return job->pruning && job->pruning->open ? open_pruning(job, error) : error->status;
}

organ_status organ_quantize_along(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_pruning *const pruning = job->pruning;
    if (pruning && pruning->begin && pruning->begin(pruning->context, job->run, error) != ORGAN_OK)
        return error->status;
    return organ_along_run(job->along, error);
}

void organ_quantize_close_text(organ_quantize_job *job)
{
    if (job->pruning && job->pruning->close)
        job->pruning->close(job->pruning->context);
    organ_gptq_inputs_close(&job->inputs);
    organ_along_close(job->along);
    free(job->aimed.tensors);
}
