/* SPDX-License-Identifier: MIT
 * Along a text: each matrix gets the blocks that its inputs ask for, and the layers behind it see what they mean. */
#include "orchestrator/machine/extent.h"
#include "orchestrator/surgery/algebra/floats.h"
#include "orchestrator/surgery/precision/quantize_gguf_job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A matrix on its way into the output: rows in the order of the file. */
typedef struct quantize_gguf_along_storing {
    organ_gguf_job *job;
    organ_gguf_part *part;
    uint64_t matrix;
    size_t rows, cols, row_bytes, numbers;
    organ_grid grid;
    unsigned char *blocks;
    float *values, *scales;        /* of the matrix */
    float *back, *weights, *roots; /* of a row; weights and roots NULL without an imatrix */
    void *put;
} quantize_gguf_along_storing;

static organ_grid grid_of(const organ_gguf_part *part)
{
    const size_t type = (size_t)organ_dtype_describe(part->dtype)->ggml;
    return (organ_grid){organ_ggml_kind_of((unsigned)type)->bits, ORGAN_SCALE_GGUF, type};
}

static void storing_close(quantize_gguf_along_storing *s)
{
    void *const parts[] = {s->blocks, s->values, s->scales, s->back, s->weights, s->roots, s->put};
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        free(parts[k]);
}

static organ_status storing_open(organ_gguf_job *job, const organ_along_matrix *matrix, quantize_gguf_along_storing *s,
                                 organ_error *error)
{
    organ_gguf_part *const part = job->texted[matrix->target];
    *s = (quantize_gguf_along_storing){
        .job = job, .part = part, .matrix = matrix->matrix, .rows = (size_t)part->rows, .cols = (size_t)part->cols};
    s->grid = grid_of(part);
    s->row_bytes = organ_gguf_row_bytes(part);
    s->numbers = organ_grid_numbers(&s->grid, s->cols);
    s->blocks = organ_along_room(s->rows * s->row_bytes);
    s->values = organ_floats(s->rows, s->cols);
    s->scales = organ_floats(s->rows, s->numbers);
    s->back = organ_floats(s->cols, 1);
    s->put = aligned_alloc(64, organ_to_line(ORGAN_PUT_SCRATCH));
    if (part->entry) {
        s->weights = organ_floats(s->cols, 1);
        s->roots = organ_floats(s->cols, 1);
    }
    if (!s->blocks || !s->values || !s->scales || !s->back || !s->put || (part->entry && (!s->weights || !s->roots)))
        return organ_fail_memory(error, part->weight.name);
    return part->entry ? organ_gguf_weigh(job, part, s->matrix, s->weights, s->roots, error) : ORGAN_OK;
}

static uint64_t storing_memory(const organ_gguf_part *part, const organ_grid *grid)
{
    const uint64_t scales = part->rows * organ_grid_numbers(grid, (size_t)part->cols);
    return sizeof(float) * (scales + 3 * part->cols) + part->rows * organ_gguf_row_bytes(part) + ORGAN_PUT_SCRATCH +
           2 * 4096;
}

static uint64_t quantize_gguf_along_place_of(const quantize_gguf_along_storing *s)
{
    return s->matrix * s->rows * s->row_bytes;
}

static void blocks_mean(const quantize_gguf_along_storing *s, const void *blocks, size_t rows, float *values)
{
    const organ_dtype_info *const type = organ_dtype_describe(s->part->dtype);
    s->job->engine->kernels->dequantize[type->ggml](blocks, values, rows * s->cols / type->elements);
}

/* Blocks of all rows, into the output where they are this rank's; `weights` become what they mean. */
static organ_status quantize_gguf_along_store(quantize_gguf_along_storing *s, bool own, float *weights,
                                              organ_error *error)
{
    organ_gguf_loss lost = {0};
    organ_gguf_loss *const loss = own ? &s->part->loss : &lost;
    for (size_t r = 0; r < s->rows; r++) {
        unsigned char *const blocks = s->blocks + r * s->row_bytes;
        float *const row = weights + r * s->cols;
        organ_grid_join(&s->grid, s->values + r * s->cols, s->scales + r * s->numbers, s->cols, blocks);
        blocks_mean(s, blocks, 1, s->back);
        organ_gguf_lose(s->job->engine->kernels, row, s->back, s->roots, 1, s->cols, loss);
        blocks_mean(s, blocks, 1, row);
    }
    return !own ? ORGAN_OK
                : organ_write_put(s->job->run, s->part->piece, s->blocks, s->rows * s->row_bytes,
                                  quantize_gguf_along_place_of(s), s->put, error);
}

/* ---- for the walk ---- */

static organ_gguf_part *quantize_gguf_along_part_of(const organ_gguf_job *job, const organ_tensor *tensor)
{
    size_t k = 0;
    while (job->aimed.tensors[k] != tensor)
        k++;
    return job->texted[k];
}

static uint64_t quantize_gguf_along_matrix_memory(void *context, const organ_along_text *along,
                                                  const organ_tensor *tensor)
{
    const organ_gguf_part *const part = quantize_gguf_along_part_of(context, tensor);
    const organ_grid grid = grid_of(part);
    (void)along;
    return organ_gptq_memory(&grid, part->rows, part->cols) + storing_memory(part, &grid);
}

static bool quantize_gguf_along_is_done(void *context, size_t target)
{
    const organ_gguf_job *const job = context;
    return job->units[job->texted[target]->piece].done;
}

static organ_status quantize_gguf_along_restore(void *context, const organ_along_matrix *matrix, float *weights,
                                                organ_error *error)
{
    organ_gguf_job *const job = context;
    quantize_gguf_along_storing s;
    if (storing_open(job, matrix, &s, error) == ORGAN_OK &&
        organ_write_read(job->run, s.part->piece, s.blocks, s.rows * s.row_bytes, quantize_gguf_along_place_of(&s),
                         error) == ORGAN_OK) {
        blocks_mean(&s, s.blocks, s.rows, weights);
        organ_along_turn(job->along, s.part->weight.codes, weights, s.rows, false, error);
    }
    storing_close(&s);
    return error->status;
}

static organ_status quantize_gguf_along_forget_inputs(void *context, const organ_along_layer *layer, organ_error *error)
{
    organ_gguf_job *const job = context;
    (void)layer;
    organ_gptq_inputs_close(&job->inputs);
    return error->status;
}

/* A unit is done with the last matrix of its stack; which one that is depends on which of them see the same inputs. */
static organ_status quantize_gguf_along_finish(const quantize_gguf_along_storing *s, const organ_along_matrix *matrix,
                                               const organ_gptq *m, organ_error *error)
{
    organ_gguf_job *const job = s->job;
    organ_gguf_part *const part = s->part;
    const uint64_t count = organ_weight_matrices(&part->weight).count;
    part->tokens = part->made && part->tokens < job->inputs.tokens ? part->tokens : job->inputs.tokens;
    part->block_diagonal |= job->inputs.block < job->inputs.features;
    organ_along_note_fallback(&part->fallback, matrix);
    part->energy += m->energy;
    part->gptq_loss += m->gptq_loss;
    part->output_loss += m->loss;
    const bool last = ++part->made == count;
    if (last && organ_write_finish(job->run, part->piece, organ_gguf_results(part), error))
        return error->status;
    organ_progress_advance(job->progress, part->weight.codes->bytes / count, last ? part->weight.name : NULL, NULL);
    return ORGAN_OK;
}

static organ_status quantize_gguf_along_quantise(quantize_gguf_along_storing *s, const organ_along_matrix *matrix,
                                                 float *weights, organ_error *error)
{
    organ_gptq m = {.name = s->part->weight.name,
                    .grid = s->grid,
                    .no_resolve = s->job->options->no_resolve,
                    .rows = s->rows,
                    .cols = s->cols,
                    .ranks = matrix->ranks,
                    .weights = weights,
                    .weighing = s->weights,
                    .values = s->values,
                    .scales = s->scales};
    if (!isfinite(s->job->engine->kernels->amax(weights, s->rows * s->cols)))
        return organ_gguf_refuse_values(s->part, error);
    if (organ_gptq_run(&s->job->inputs, &m, error) != ORGAN_OK ||
        quantize_gguf_along_store(s, matrix->own, weights, error) != ORGAN_OK)
        return error->status;
    return matrix->own ? quantize_gguf_along_finish(s, matrix, &m, error) : ORGAN_OK;
}

static organ_status quantize_gguf_along_change(void *context, const organ_along_matrix *matrix, float *weights,
                                               organ_error *error)
{
    organ_gguf_job *const job = context;
    const organ_tensor *const tensor = job->aimed.tensors[matrix->target];
    quantize_gguf_along_storing s;
    if (storing_open(job, matrix, &s, error) == ORGAN_OK &&
        organ_gptq_inputs_take(job->engine, matrix->calibration, matrix->name, &job->inputs, error) == ORGAN_OK &&
        organ_along_turn(job->along, tensor, weights, s.rows, true, error) == ORGAN_OK &&
        quantize_gguf_along_quantise(&s, matrix, weights, error) == ORGAN_OK)
        organ_along_turn(job->along, tensor, weights, s.rows, false, error);
    storing_close(&s);
    return error->status;
}

organ_status organ_gguf_open_text(organ_gguf_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    job->walk = (organ_along_options){.calibration = o->calibration,
                                      .all_experts = o->all_experts,
                                      .method = o->method,
                                      .verb = "quantise",
                                      .doing = "quantising",
                                      .streams = ORGAN_ALONG_CHANGED,
                                      .moments_only = true};
    job->work = (organ_along_work){.context = job,
                                   .memory = quantize_gguf_along_matrix_memory,
                                   .done = quantize_gguf_along_is_done,
                                   .restore = quantize_gguf_along_restore,
                                   .change = quantize_gguf_along_change,
                                   .grouped = true,
                                   .rows = true,
                                   .leave = quantize_gguf_along_forget_inputs};
    job->aimed.tensors = calloc(job->part_count, sizeof *job->aimed.tensors);
    job->texted = calloc(job->part_count, sizeof(organ_gguf_part *));
    if (!job->aimed.tensors || !job->texted)
        return organ_fail_memory(error, o->model);
    for (size_t k = 0; k < job->part_count; k++) {
        organ_gguf_part *const part = &job->parts[k];
        const organ_role role = part->weight.anatomy.role;
        if (role == ORGAN_ROLE_EMBED || role == ORGAN_ROLE_OUTPUT)
            continue;
        part->by_text = job->units[part->piece].along = true;
        job->texted[job->aimed.count] = part;
        job->aimed.tensors[job->aimed.count++] = part->weight.codes;
    }
    if (!job->aimed.count)
        return organ_fail(error, ORGAN_USAGE,
                          "--method gptq: none of the targets is in a layer; embeddings and head go by no text");
    return organ_along_open(&job->walk, job->model, &job->aimed, &job->work, job->engine, job->progress, &job->along,
                            error);
}

organ_status organ_gguf_along(organ_gguf_job *job, organ_error *error) { return organ_along_run(job->along, error); }

void organ_gguf_close_text(organ_gguf_job *job)
{
    organ_gptq_inputs_close(&job->inputs);
    organ_along_close(job->along);
    free(job->aimed.tensors);
    free(job->texted);
}
