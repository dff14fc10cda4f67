/* SPDX-License-Identifier: MIT
 * Each strip of a target is cut into bands whose rows share their scales: 128 rows of blocks, else single rows. */
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/weight_pass.h"
#include "orchestrator/surgery/precision/quantize_job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define E4M3_MOST  448.0f
#define INT4_MOST  7.5f              /* half of the 15 steps from -8 to 7, as compressed-tensors has it */
#define BF16_SMALL 0.0078125f        /* the scale that compressed-tensors gives to nothing but zeros */
#define PENDING    ((size_t)1 << 16) /* bytes of scales that are put into place together */

typedef struct loss {
    double squares, error_squares;
} loss;

/* What a worker has for a strip. */
typedef struct bench {
    const organ_quantize_job *job;
    const organ_quantize_part *part;
    const organ_kernels *kernels;
    size_t cols, groups, group;
    unsigned char *codes;   /* of one row */
    float *back;            /* what they mean */
    float *scales, *middle; /* of a band; the code of zero */
    unsigned char *pending; /* scales as they are stored, since pending_at */
    size_t pending_bytes, pending_room;
    uint64_t pending_at;
    void *put; /* ORGAN_PUT_SCRATCH bytes */
} bench;


/* The bytes that a scale takes: F32 of blocks, BF16 else. */
static size_t scale_bytes(const organ_quantize_scheme *scheme) { return scheme->scale_of == ORGAN_SCALE_BLOCK ? 4 : 2; }

static size_t pending_room(size_t groups) { return organ_to_line(groups * 4) + PENDING; }

static size_t scratch_for(const organ_quantize_part *part)
{
    const size_t cols = (size_t)part->cols, groups = (size_t)part->groups;
    return organ_to_line(cols) + organ_to_line(cols * 4) + 2 * organ_to_line(groups * 4) + pending_room(groups) + ORGAN_PUT_SCRATCH;
}

static bench bench_of(const organ_quantize_job *job, const organ_weight_strip *strip, void *scratch)
{
    const organ_quantize_part *const part = job->todo[strip->item];
    bench b = {.job = job,
               .part = part,
               .kernels = job->engine->kernels,
               .cols = strip->cols,
               .groups = (size_t)part->groups,
               .group = job->scheme->size ? job->scheme->size : strip->cols,
               .codes = scratch,
               .pending_room = pending_room((size_t)part->groups)};
    unsigned char *at = b.codes + organ_to_line(b.cols);
    b.back = (float *)(void *)at;
    at += organ_to_line(b.cols * 4);
    b.scales = (float *)(void *)at;
    at += organ_to_line(b.groups * 4);
    b.middle = (float *)(void *)at;
    at += organ_to_line(b.groups * 4);
    b.pending = at;
    b.put = at + b.pending_room;
    for (size_t g = 0; g < b.groups; g++)
        b.middle[g] = 8.0f;
    const uint64_t row = job->scheme->scale_of == ORGAN_SCALE_BLOCK ? strip->first / job->scheme->size : strip->first;
    b.pending_at = row * part->groups * scale_bytes(job->scheme);
    return b;
}

/* ---- scales ---- */

static organ_status put_pending(bench *b, organ_error *error)
{
    if (b->pending_bytes)
        organ_unit_run_put(b->job->run, b->part->scale, b->pending, b->pending_bytes, b->pending_at, NULL, error);
    b->pending_at += b->pending_bytes;
    b->pending_bytes = 0;
    return error->status;
}

static float through_bf16(const organ_kernels *kernels, float value, uint16_t *stored)
{
    float back;
    kernels->f32_to_bf16(&value, stored, 1);
    kernels->bf16_to_f32(stored, &back, 1);
    return back;
}

/* A scale as it is stored, and its value then: codes are made with that one. */
static float settle_scale(const bench *b, float greatest, unsigned char *stored)
{
    const organ_quantize_scheme *const scheme = b->job->scheme;
    const float raw = greatest / (scheme->int4 ? INT4_MOST : E4M3_MOST);
    if (scheme->scale_of == ORGAN_SCALE_BLOCK) {
        const float scale = raw > 0 ? raw : 1.0f;
        memcpy(stored, &scale, 4);
        return scale;
    }
    uint16_t bits;
    float scale = through_bf16(b->kernels, raw, &bits);
    if (!(scale > 0))
        scale = through_bf16(b->kernels, BF16_SMALL, &bits);
    memcpy(stored, &bits, 2);
    return scale;
}

/* The scales of a band of rows, from the greatest magnitude in each group of its columns. */
static organ_status make_scales(bench *b, const float *values, size_t rows, organ_error *error)
{
    const size_t size = scale_bytes(b->job->scheme);
    unsigned char stored[4];
    if (b->job->scheme->scale_of == ORGAN_SCALE_TENSOR) {
        b->scales[0] = settle_scale(b, b->part->greatest, stored);
        return ORGAN_OK;
    }
    if (b->pending_bytes + b->groups * size > b->pending_room && put_pending(b, error))
        return error->status;
    for (size_t g = 0; g < b->groups; g++) {
        const size_t from = g * b->group, width = b->cols - from < b->group ? b->cols - from : b->group;
        float greatest = 0;
        for (size_t r = 0; r < rows; r++) {
            const float here = b->kernels->amax(values + r * b->cols + from, width);
            greatest = here > greatest ? here : greatest;
        }
        b->scales[g] = settle_scale(b, greatest, b->pending + b->pending_bytes);
        b->pending_bytes += size;
    }
    return ORGAN_OK;
}

/* ---- codes ---- */

static double squares_of(const bench *b, const float *values)
{
    organ_spread spread;
    b->kernels->spread(values, b->cols, &spread);
    return spread.m2 + (double)spread.n * spread.mean * spread.mean;
}

/* back[k] = values[k] - back[k]; the two never overlap. The compiler makes vectors of a loop whose length it knows. */
static void take_from(float *restrict back, const float *restrict values, size_t n)
{
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        for (size_t l = 0; l < 16; l++)
            back[at + l] = values[at + l] - back[at + l];
    for (; at < n; at++)
        back[at] = values[at] - back[at];
}

/* Codes of one row, and what its values lose by them. NaN where the row has a value that is not finite. */
static void make_row(const bench *b, const float *values, loss *sums)
{
    const bool int4 = b->job->scheme->int4;
    const organ_code code = int4 ? ORGAN_CODE_U4 : ORGAN_CODE_E4M3;
    b->kernels->encode[code](values, b->scales, b->group, b->codes, b->cols);
    b->kernels->decode[code][ORGAN_REAL_F32](b->codes, b->scales, int4 ? b->middle : NULL, b->group, b->back, b->cols);
    take_from(b->back, values, b->cols);
    sums->squares += squares_of(b, values);
    sums->error_squares += squares_of(b, b->back);
}

static organ_status refuse_values(const organ_quantize_part *part, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "tensor '%s' has values that are NaN or infinite, which have no scale: leave it out with --targets, or mend it",
                      part->weight->name);
}

/* The codes of a row go to the front of the strip, where no value is needed any more. */
static organ_status make_codes(void *context, const organ_weight_strip *strip, void *scratch, void *result, organ_error *error)
{
    const organ_quantize_job *const job = context;
    bench b = bench_of(job, strip, scratch);
    const size_t row = job->scheme->int4 ? b.cols / 2 : b.cols;
    const size_t band = job->scheme->scale_of == ORGAN_SCALE_BLOCK ? job->scheme->size : 1;
    float *const values = strip->values;
    loss *const sums = result;
    for (size_t r = 0; r < strip->rows; r++) {
        const size_t left = strip->rows - r;
        if (r % band == 0 && make_scales(&b, values + r * b.cols, left < band ? left : band, error))
            return error->status;
        make_row(&b, values + r * b.cols, sums);
        memcpy((unsigned char *)values + r * row, b.codes, row);
    }
    if (!isfinite(sums->squares))
        return refuse_values(b.part, error);
    if (put_pending(&b, error))
        return error->status;
    return organ_unit_run_put(job->run, b.part->codes, values, strip->rows * row, strip->first * row, b.put, error);
}

/* ---- passes ---- */

/* What a stretch of rows is of the bytes of the tensor; a scale for the whole tensor takes two passes, each half of the way. */
static uint64_t share(const organ_quantize_job *job, const organ_quantize_part *part, const organ_weight_strip *strip)
{
    const uint64_t bytes = part->weight->codes->bytes / (part->rows ? part->rows : 1) * strip->rows;
    return job->scheme->scale_of == ORGAN_SCALE_TENSOR ? bytes / 2 : bytes;
}

static organ_status retire_codes(void *context, const organ_weight_strip *strip, const void *result, organ_error *error)
{
    organ_quantize_job *const job = context;
    organ_quantize_part *const part = job->todo[strip->item];
    const loss *const sums = result;
    part->squares += sums->squares;
    part->error_squares += sums->error_squares;
    if (strip->last && organ_unit_run_finish(job->run, part->unit, organ_quantize_results(part), error))
        return error->status;
    organ_progress_advance(job->progress, share(job, part, strip), strip->last ? part->weight->name : NULL, NULL);
    return ORGAN_OK;
}

static organ_status measure_strip(void *context, const organ_weight_strip *strip, void *scratch, void *result, organ_error *error)
{
    const organ_quantize_job *const job = context;
    float *const greatest = result;
    (void)scratch;
    *greatest = job->engine->kernels->amax(strip->values, strip->rows * strip->cols);
    return isfinite(*greatest) ? ORGAN_OK : refuse_values(job->todo[strip->item], error);
}

static organ_status retire_look(void *context, const organ_weight_strip *strip, const void *result, organ_error *error)
{
    organ_quantize_job *const job = context;
    organ_quantize_part *const part = job->todo[strip->item];
    const float *const greatest = result;
    (void)error;
    part->greatest = *greatest > part->greatest ? *greatest : part->greatest;
    organ_progress_advance(job->progress, share(job, part, strip), NULL, NULL);
    return ORGAN_OK;
}

/* What is known of a tensor before its codes: its shape where codes are packed, the scale that is for all of it. */
static organ_status put_small(organ_quantize_job *job, size_t count, organ_error *error)
{
    for (size_t k = 0; k < count && !error->status; k++) {
        const organ_quantize_part *const part = job->todo[k];
        const bench b = {.job = job, .part = part, .kernels = job->engine->kernels};
        const int64_t shape[2] = {(int64_t)part->rows, (int64_t)part->cols};
        unsigned char stored[4];
        if (job->scheme->int4)
            organ_unit_run_put(job->run, part->shape, shape, sizeof shape, 0, NULL, error);
        if (job->scheme->scale_of != ORGAN_SCALE_TENSOR || error->status)
            continue;
        settle_scale(&b, part->greatest, stored);
        organ_unit_run_put(job->run, part->scale, stored, 2, 0, NULL, error);
    }
    return error->status;
}

static organ_status run_passes(organ_quantize_job *job, const organ_weight_item *items, size_t count, organ_error *error)
{
    size_t scratch = 0;
    for (size_t k = 0; k < count; k++)
        scratch = scratch_for(job->todo[k]) > scratch ? scratch_for(job->todo[k]) : scratch;
    organ_weight_pass pass = {.model = job->model,
                              .items = items,
                              .item_count = count,
                              .as = ORGAN_F32,
                              .row_multiple = 128,
                              .scratch_bytes = scratch, /* of both: what the first refuses the second would not do with */
                              .result_bytes = sizeof(loss),
                              .context = job,
                              .work = measure_strip,
                              .retire = retire_look};
    if (job->scheme->scale_of == ORGAN_SCALE_TENSOR)
        organ_weight_pass_run(&pass, job->engine, error);
    pass.work = make_codes;
    pass.retire = retire_codes;
    if (!error->status && put_small(job, count, error) == ORGAN_OK)
        organ_weight_pass_run(&pass, job->engine, error);
    return error->status;
}

organ_status organ_quantize_pass(organ_quantize_job *job, organ_error *error)
{
    organ_weight_item *const items = calloc(job->part_count + 1, sizeof *items);
    organ_quantize_part **const todo = job->todo = calloc(job->part_count + 1, sizeof *job->todo);
    size_t count = 0;
    if (!items || !todo)
        organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->part_count && !error->status; k++)
        if (!job->units[job->parts[k].unit].done) {
            todo[count] = &job->parts[k];
            items[count++].weight = job->parts[k].weight;
        }
    if (count && !error->status)
        run_passes(job, items, count, error);
    job->todo = NULL;
    free(todo);
    free(items);
    return error->status;
}
