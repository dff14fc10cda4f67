/* SPDX-License-Identifier: MIT
 * Each strip of a target is cut into bands whose rows share their scales: 128 rows of blocks, else single rows. */
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/weight_pass.h"
#include "orchestrator/surgery/precision/quantize_job.h"

#include "formats/base/paged_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEAREST 300.0 /* operations of a plan that take as long as the code of a weight */

#define PENDING ((size_t)1 << 16) /* bytes of scales that are put into place together */

typedef organ_quantize_loss loss;

/* What a worker has for a strip. */
typedef struct quantize_pass_bench {
    const organ_quantize_job *job;
    const organ_quantize_part *part;
    const organ_kernels *kernels;
    size_t cols, groups, group;
    unsigned char *codes;   /* of one row */
    float *back;            /* what they mean */
    float *scales;          /* of a band */
    unsigned char *pending; /* scales as they are stored, since pending_at */
    size_t pending_bytes, pending_room;
    uint64_t pending_at;
    void *put; /* ORGAN_PUT_SCRATCH bytes */
} quantize_pass_bench;

static size_t pending_room(size_t groups) { return organ_to_line(groups * 4) + PENDING; }

static size_t scratch_for(const organ_quantize_part *part)
{
    const size_t cols = (size_t)part->cols, groups = (size_t)part->groups;
    return organ_to_line(cols) + organ_to_line(cols * 4) + organ_to_line(groups * 4) + pending_room(groups) +
           ORGAN_PUT_SCRATCH;
}

static quantize_pass_bench bench_of(const organ_quantize_job *job, const organ_weight_strip *strip, void *scratch)
{
    const organ_quantize_part *const part = job->todo[strip->item];
    quantize_pass_bench b = {.job = job,
                             .part = part,
                             .kernels = job->engine->kernels,
                             .cols = strip->cols,
                             .groups = (size_t)part->groups,
                             .group = organ_grid_group(&part->scheme->grid, strip->cols),
                             .codes = scratch,
                             .pending_room = pending_room((size_t)part->groups)};
    unsigned char *at = b.codes + organ_to_line(b.cols);
    b.back = (float *)(void *)at;
    at += organ_to_line(b.cols * 4);
    b.scales = (float *)(void *)at;
    at += organ_to_line(b.groups * 4);
    b.pending = at;
    b.put = at + b.pending_room;
    const uint64_t row =
        part->scheme->grid.scale_of == ORGAN_SCALE_BLOCK ? strip->first / part->scheme->grid.size : strip->first;
    b.pending_at = row * part->groups * organ_quantize_scale_bytes(part->scheme);
    return b;
}

/* ---- scales ---- */

static organ_status put_pending(quantize_pass_bench *b, organ_error *error)
{
    if (b->pending_bytes)
        organ_write_put(b->job->run, b->part->scale, b->pending, b->pending_bytes, b->pending_at, NULL, error);
    b->pending_at += b->pending_bytes;
    b->pending_bytes = 0;
    return error->status;
}

/* A scale as it is stored, and its value then: codes are made with that one. */
static float settle_scale(const quantize_pass_bench *b, float greatest, unsigned char *stored)
{
    const float scale = organ_grid_scale(&b->part->scheme->grid, b->kernels, greatest);
    organ_quantize_store_scales(b->part->scheme, b->kernels, &scale, 1, stored);
    return scale;
}

/* The scales of a band of rows, from the greatest magnitude in each group of its columns. */
static organ_status make_scales(quantize_pass_bench *b, const float *values, size_t rows, organ_error *error)
{
    const size_t size = organ_quantize_scale_bytes(b->part->scheme);
    unsigned char stored[4];
    if (b->part->scheme->grid.scale_of == ORGAN_SCALE_TENSOR) {
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

/* Codes of one row, and what its values lose by them. NaN where the row has a value that is not finite. */
static void make_row(const quantize_pass_bench *b, const float *values, loss *sums)
{
    organ_quantize_row(b->part->scheme, b->kernels, values, b->scales, b->cols, b->codes, b->back);
    organ_quantize_lose(b->kernels, values, b->back, b->cols, sums);
}

/* The codes of a row go to the front of the strip, where no value is needed any more. */
static organ_status make_codes(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                               organ_error *error)
{
    const organ_quantize_job *const job = context;
    quantize_pass_bench b = bench_of(job, strip, scratch);
    const size_t row = organ_quantize_row_bytes(b.part->scheme, b.cols);
    const organ_grid *const grid = &b.part->scheme->grid;
    const size_t band = grid->scale_of == ORGAN_SCALE_BLOCK ? grid->size : 1;
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
        return organ_quantize_refuse_values(b.part->weight->name, error);
    if (put_pending(&b, error))
        return error->status;
    return organ_write_put(job->run, b.part->codes, values, strip->rows * row, strip->first * row, b.put, error);
}

/* ---- passes ---- */

/* What a stretch of rows is of the bytes of the tensor; a scale for the whole tensor takes two passes, each half of the
 * way. */
static uint64_t quantize_pass_share(const organ_quantize_job *job, const organ_quantize_part *part,
                                    const organ_weight_strip *strip)
{
    const uint64_t bytes = part->weight->codes->bytes / (part->rows ? part->rows : 1) * strip->rows;
    return job->scheme->grid.scale_of == ORGAN_SCALE_TENSOR ? bytes / 2 : bytes;
}

static organ_status retire_codes(void *context, const organ_weight_strip *strip, const void *result, organ_error *error)
{
    organ_quantize_job *const job = context;
    organ_quantize_part *const part = job->todo[strip->item];
    const loss *const sums = result;
    part->squares += sums->squares;
    part->error_squares += sums->error_squares;
    if (strip->last && organ_write_finish(job->run, part->unit, organ_quantize_results(part), error))
        return error->status;
    organ_progress_advance(job->progress, quantize_pass_share(job, part, strip),
                           strip->last ? part->weight->name : NULL, NULL);
    return ORGAN_OK;
}

static organ_status measure_strip(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                                  organ_error *error)
{
    const organ_quantize_job *const job = context;
    float *const greatest = result;
    (void)scratch;
    *greatest = job->engine->kernels->amax(strip->values, strip->rows * strip->cols);
    return isfinite(*greatest) ? ORGAN_OK : organ_quantize_refuse_values(job->todo[strip->item]->weight->name, error);
}

static organ_status retire_look(void *context, const organ_weight_strip *strip, const void *result, organ_error *error)
{
    organ_quantize_job *const job = context;
    organ_quantize_part *const part = job->todo[strip->item];
    const float *const greatest = result;
    (void)error;
    part->greatest = *greatest > part->greatest ? *greatest : part->greatest;
    organ_progress_advance(job->progress, quantize_pass_share(job, part, strip), NULL, NULL);
    return ORGAN_OK;
}

organ_status organ_quantize_put_shape(organ_quantize_job *job, const organ_quantize_part *part, organ_error *error)
{
    const int64_t shape[2] = {(int64_t)part->rows, (int64_t)part->cols};
    return job->scheme->packed ? organ_write_put(job->run, part->shape, shape, sizeof shape, 0, NULL, error) : ORGAN_OK;
}

/* What is known of a tensor before its codes: its shape where codes are packed, the scale that is for all of it. */
static organ_status put_small(organ_quantize_job *job, size_t count, organ_error *error)
{
    for (size_t k = 0; k < count && !error->status; k++) {
        const organ_quantize_part *const part = job->todo[k];
        const quantize_pass_bench b = {.job = job, .part = part, .kernels = job->engine->kernels};
        unsigned char stored[4];
        if (organ_quantize_put_shape(job, part, error) != ORGAN_OK || job->scheme->grid.scale_of != ORGAN_SCALE_TENSOR)
            continue;
        settle_scale(&b, part->greatest, stored);
        organ_write_put(job->run, part->scale, stored, 2, 0, NULL, error);
    }
    return error->status;
}

/* The pass that makes codes. Another one before it, with the same memory, may measure the greatest values. */
static organ_weight_pass codes_pass(organ_quantize_job *job, const organ_weight_item *items, size_t count)
{
    size_t scratch = 0;
    for (size_t k = 0; k < count; k++) {
        scratch = scratch_for(job->todo[k]) > scratch ? scratch_for(job->todo[k]) : scratch;
        organ_rows_passed();
    }
    return (organ_weight_pass){.model = job->model,
                               .items = items,
                               .item_count = count,
                               .as = ORGAN_F32,
                               .row_multiple = 128,
                               .scratch_bytes = scratch,
                               .result_bytes = sizeof(loss),
                               .context = job,
                               .work = make_codes,
                               .retire = retire_codes};
}

static organ_status run_passes(organ_quantize_job *job, const organ_weight_item *items, size_t count,
                               organ_error *error)
{
    const organ_weight_pass codes = codes_pass(job, items, count);
    organ_weight_pass look = codes;
    look.work = measure_strip;
    look.retire = retire_look;
    if (job->scheme->grid.scale_of == ORGAN_SCALE_TENSOR)
        organ_weight_pass_run(&look, job->engine, error);
    if (!error->status && put_small(job, count, error) == ORGAN_OK)
        organ_weight_pass_run(&codes, job->engine, error);
    return error->status;
}

static organ_status quantize_pass_foresee(organ_quantize_job *job, const organ_weight_item *items, size_t count,
                                          organ_error *error)
{
    const organ_weight_pass pass = codes_pass(job, items, count);
    organ_plan_memory(&job->plan, organ_weight_pass_enough(&pass, job->engine, error), 0);
    for (size_t k = 0; k < count; k++)
        job->plan.products += NEAREST * (double)items[k].weight->elements;
    return error->status;
}

typedef organ_status use_items(organ_quantize_job *job, const organ_weight_item *items, size_t count,
                               organ_error *error);

/* All parts that are not done, for one of the two functions above. */
static organ_status with_items(organ_quantize_job *job, use_items *use, organ_error *error)
{
    organ_weight_item *const items = organ_rows_take(job->part_count + 1, sizeof *items);
    organ_quantize_part **const todo = job->todo = calloc(job->part_count + 1, sizeof *job->todo);
    size_t count = 0;
    if (!items || !todo)
        organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->part_count && !error->status; k++)
        if (!job->units[job->parts[k].unit].done) {
            todo[count] = &job->parts[k];
            items[count++].weight = job->parts[k].weight;
            organ_rows_passed();
        }
    if (count && !error->status)
        use(job, items, count, error);
    job->todo = NULL;
    free(todo);
    organ_rows_free(items);
    return error->status;
}

organ_status organ_quantize_pass(organ_quantize_job *job, organ_error *error)
{
    return with_items(job, run_passes, error);
}

organ_status organ_quantize_foresee_pass(organ_quantize_job *job, organ_error *error)
{
    return with_items(job, quantize_pass_foresee, error);
}
