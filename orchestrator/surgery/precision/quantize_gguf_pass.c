/* SPDX-License-Identifier: MIT
 * Each strip of a target is cut into bands of rows, whose blocks are made together. */
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/weight_pass.h"
#include "orchestrator/surgery/output/importance.h"
#include "orchestrator/surgery/precision/quantize_gguf_job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS 10000.0 /* operations of a plan that take as long as a weight in a block whose scales are searched */

#define BAND ((size_t)4096) /* values: short rows are worked on together */

/* What a worker has for a strip. */
typedef struct quantize_gguf_pass_bench {
    const organ_kernels *kernels;
    const organ_dtype_info *type;
    size_t rows, cols; /* of a band */
    size_t row_bytes;  /* of blocks */
    unsigned char *blocks;
    float *back;            /* what they mean */
    float *weights, *roots; /* of a row; NULL: none */
    void *put;              /* ORGAN_PUT_SCRATCH bytes */
} quantize_gguf_pass_bench;

static size_t band_rows(const organ_gguf_part *part) { return part->cols < BAND ? BAND / (size_t)part->cols : 1; }

size_t organ_gguf_row_bytes(const organ_gguf_part *part)
{
    const organ_dtype_info *const type = organ_dtype_describe(part->dtype);
    return (size_t)part->cols / type->elements * type->bytes;
}

static size_t scratch_for(const organ_gguf_part *part)
{
    const size_t rows = band_rows(part), cols = (size_t)part->cols;
    return organ_to_line(rows * organ_gguf_row_bytes(part)) + organ_to_line(rows * cols * 4) +
           (part->entry ? 2 * organ_to_line(cols * 4) : 0) + ORGAN_PUT_SCRATCH;
}

/* Mean squares of the inputs over their mean, and a little for all. */
static void make_weights(float *weights, float *roots, size_t cols)
{
    double sum = 0;
    for (size_t j = 0; j < cols; j++)
        sum += (double)roots[j] * roots[j];
    for (size_t j = 0; j < cols; j++) {
        const double weight = (double)roots[j] * roots[j] / (sum / (double)cols) + ORGAN_LEAST_WEIGHT;
        weights[j] = (float)(weight < ORGAN_MOST_WEIGHT ? weight : ORGAN_MOST_WEIGHT);
        roots[j] = sqrtf(weights[j]);
    }
}

organ_status organ_gguf_weigh(const organ_gguf_job *job, const organ_gguf_part *part, uint64_t matrix, float *weights,
                              float *roots, organ_error *error)
{
    double count;
    const char *entry;
    if (organ_importance_norms(job->imatrix, job->model, part->weight.codes, matrix, part->experts, roots, &count,
                               &entry, error) == ORGAN_OK)
        make_weights(weights, roots, (size_t)part->cols);
    return error->status;
}

static organ_status quantize_gguf_pass_lay_out(const organ_gguf_job *job, const organ_weight_strip *strip,
                                               void *scratch, quantize_gguf_pass_bench *b, organ_error *error)
{
    const organ_gguf_part *const part = job->todo[strip->item];
    *b = (quantize_gguf_pass_bench){.kernels = job->engine->kernels,
                                    .type = organ_dtype_describe(part->dtype),
                                    .rows = band_rows(part),
                                    .cols = strip->cols,
                                    .row_bytes = organ_gguf_row_bytes(part),
                                    .blocks = scratch};
    unsigned char *at = b->blocks + organ_to_line(b->rows * b->row_bytes);
    b->back = (float *)(void *)at;
    at += organ_to_line(b->rows * b->cols * 4);
    if (part->entry) {
        b->weights = (float *)(void *)at;
        at += organ_to_line(b->cols * 4);
        b->roots = (float *)(void *)at;
        at += organ_to_line(b->cols * 4);
    }
    b->put = at;
    return part->entry ? organ_gguf_weigh(job, part, strip->first / part->rows, b->weights, b->roots, error) : ORGAN_OK;
}

static double quantize_gguf_pass_squares_of(const organ_kernels *kernels, const float *values, size_t n)
{
    organ_spread spread;
    kernels->spread(values, n, &spread);
    return spread.m2 + (double)spread.n * spread.mean * spread.mean;
}

/* The compiler makes vectors of a loop whose length it knows. Rows are whole blocks, 32 values at least. */
static void take_from(float *restrict back, const float *restrict values, size_t n)
{
    for (size_t at = 0; at < n; at += 16)
        for (size_t l = 0; l < 16; l++)
            back[at + l] = values[at + l] - back[at + l];
}

static void multiply_row(float *restrict values, const float *restrict by, size_t n)
{
    for (size_t at = 0; at < n; at += 16)
        for (size_t l = 0; l < 16; l++)
            values[at + l] *= by[at + l];
}

void organ_gguf_lose(const organ_kernels *kernels, float *values, float *back, const float *roots, size_t rows,
                     size_t cols, organ_gguf_loss *loss)
{
    const size_t n = rows * cols;
    take_from(back, values, n);
    loss->squares += quantize_gguf_pass_squares_of(kernels, values, n);
    loss->error_squares += quantize_gguf_pass_squares_of(kernels, back, n);
    if (!roots)
        return;
    for (size_t r = 0; r < rows; r++) {
        multiply_row(values + r * cols, roots, cols);
        multiply_row(back + r * cols, roots, cols);
    }
    loss->weighted += quantize_gguf_pass_squares_of(kernels, values, n);
    loss->error_weighted += quantize_gguf_pass_squares_of(kernels, back, n);
}

/* Blocks of some rows, and what their values lose. The values are gone afterwards. */
static void make_band(const quantize_gguf_pass_bench *b, float *values, size_t rows, organ_gguf_loss *loss)
{
    const size_t blocks = rows * b->cols / b->type->elements;
    b->kernels->fit[b->type->ggml](values, b->weights, b->cols, b->blocks, blocks);
    b->kernels->dequantize[b->type->ggml](b->blocks, b->back, blocks);
    organ_gguf_lose(b->kernels, values, b->back, b->roots, rows, b->cols, loss);
}

organ_status organ_gguf_refuse_values(const organ_gguf_part *part, organ_error *error)
{
    return organ_fail(
        error, ORGAN_BAD_INPUT,
        "tensor '%s' has values that are NaN or infinite, which have no scale: leave it out with --targets, or mend it",
        part->weight.name);
}

/* The blocks of a band go to the front of the strip, where no value is needed any more. */
static organ_status make_blocks(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                                organ_error *error)
{
    const organ_gguf_job *const job = context;
    const organ_gguf_part *const part = job->todo[strip->item];
    float *const values = strip->values;
    organ_gguf_loss *const loss = result;
    quantize_gguf_pass_bench b;
    if (quantize_gguf_pass_lay_out(job, strip, scratch, &b, error))
        return error->status;
    for (size_t r = 0; r < strip->rows; r += b.rows) {
        const size_t rows = organ_lesser(b.rows, strip->rows - r);
        make_band(&b, values + r * b.cols, rows, loss);
        memcpy((unsigned char *)values + r * b.row_bytes, b.blocks, rows * b.row_bytes);
    }
    if (!isfinite(loss->squares))
        return organ_gguf_refuse_values(part, error);
    return organ_write_put(job->run, part->piece, values, strip->rows * b.row_bytes, strip->first * b.row_bytes, b.put,
                           error);
}

static organ_status quantize_gguf_pass_retire_strip(void *context, const organ_weight_strip *strip, const void *result,
                                                    organ_error *error)
{
    organ_gguf_job *const job = context;
    organ_gguf_part *const part = job->todo[strip->item];
    const organ_gguf_loss *const loss = result;
    part->loss.squares += loss->squares;
    part->loss.error_squares += loss->error_squares;
    part->loss.weighted += loss->weighted;
    part->loss.error_weighted += loss->error_weighted;
    if (strip->last && organ_write_finish(job->run, part->piece, organ_gguf_results(part), error))
        return error->status;
    const uint64_t all = part->weight.elements / part->cols, bytes = part->weight.codes->bytes / all * strip->rows;
    organ_progress_advance(job->progress, bytes, strip->last ? part->weight.name : NULL, NULL);
    return ORGAN_OK;
}

static organ_status quantize_gguf_pass_foresee(organ_gguf_job *job, const organ_weight_pass *pass, organ_error *error)
{
    organ_plan_memory(&job->plan, organ_weight_pass_enough(pass, job->engine, error), 0);
    for (size_t k = 0; k < pass->item_count; k++)
        job->plan.products += BLOCKS * (double)pass->items[k].weight->elements;
    return error->status;
}

/* Runs the pass over all parts that go by no text and are not done, or adds it to the plan. */
static organ_status pass_over_parts(organ_gguf_job *job, bool runs, organ_error *error)
{
    organ_weight_item *const items = calloc(job->part_count + 1, sizeof *items);
    size_t count = 0, scratch = 0;
    job->todo = calloc(job->part_count + 1, sizeof *job->todo);
    if (!items || !job->todo)
        organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->part_count && !error->status; k++) {
        if (job->parts[k].by_text)
            continue;
        scratch = organ_larger(scratch, scratch_for(&job->parts[k]));
        if (!job->units[job->parts[k].piece].done) {
            job->todo[count] = &job->parts[k];
            items[count++].weight = &job->parts[k].weight;
        }
    }
    const organ_weight_pass pass = {.model = job->model,
                                    .items = items,
                                    .item_count = count,
                                    .as = ORGAN_F32,
                                    .row_multiple = 128,
                                    .scratch_bytes = scratch,
                                    .result_bytes = sizeof(organ_gguf_loss),
                                    .context = job,
                                    .work = make_blocks,
                                    .retire = quantize_gguf_pass_retire_strip};
    if (count && !error->status)
        runs ? organ_weight_pass_run(&pass, job->engine, error) : quantize_gguf_pass_foresee(job, &pass, error);
    free(job->todo);
    job->todo = NULL;
    free(items);
    return error->status;
}

organ_status organ_gguf_pass(organ_gguf_job *job, organ_error *error) { return pass_over_parts(job, true, error); }

organ_status organ_gguf_foresee_pass(organ_gguf_job *job, organ_error *error)
{
    return pass_over_parts(job, false, error);
}
