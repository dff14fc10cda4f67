/* SPDX-License-Identifier: MIT
 * Scales of whole tensors: that of NVFP4 by which its E4M3 scales are divided (weight_global_scale), and that of
 * fp8-tensor. Servers multiply some matrices as one (formats/tensor/fused.h) and read one such scale for them, so these
 * matrices have equal ones. */
#include "orchestrator/verbs/quantize/codes/quantize_parts.h"

#include "formats/tensor/fused.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/weight_pass.h"

#include <stdlib.h>

/* Sets up to this magnitude get the scale of try 0, as in organ_kernels.search_scales. */
#define SEARCHED 0x1p-100f
#define WINDOW   ((size_t)1 << 16) /* about how many values are read before they are used */

static const organ_grid *grid_of(const organ_quantize_job *job, size_t part)
{
    return &job->list.parts[part].encoding->grid;
}

static bool has_whole_scale(const organ_quantize_job *job, size_t part)
{
    return grid_of(job, part)->scale_of == ORGAN_SCALE_TENSOR;
}

static bool has_scale(const organ_quantize_job *job, size_t part)
{
    return has_whole_scale(job, part) || organ_encoding_has_divisor(job->list.parts[part].encoding);
}

static bool is_missing(const organ_quantize_job *job, size_t part)
{
    return !job->list.pieces[job->list.parts[part].codes].done;
}

/* ---- passes over the weights ---- */

/* Sums of a strip. */
typedef struct scale_sums {
    float greatest;
    double tries[16];
} scale_sums;

/* The bytes of parts that the nearest codes are written for. */
static void advance(const organ_quantize_job *job, const organ_quantize_part *part, const organ_weight_strip *strip)
{
    if (!part->calibrated && !job->list.pieces[part->codes].done)
        organ_progress_advance(job->progress, organ_quantize_counted_bytes(part, strip->rows), NULL, NULL);
}

/* Returns the greatest magnitude of some rows. `wide` has room for one row as FP32. */
static float greatest_of(const organ_kernels *kernels, const organ_weight_strip *rows, float *wide)
{
    float greatest = 0;
    if (rows->type == ORGAN_F32)
        return kernels->amax(rows->values, rows->rows * rows->cols);
    for (size_t r = 0; r < rows->rows; r++) {
        organ_widen(kernels, rows->type, (const uint16_t *)rows->values + r * rows->cols, wide, rows->cols);
        greatest = fmaxf(greatest, kernels->amax(wide, rows->cols));
    }
    return greatest;
}

/* Rows that are narrower in the file are read some at a time, so that they are in a cache when they are used. */
static organ_status measure(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                            organ_error *error)
{
    const organ_quantize_job *const job = context;
    const organ_kernels *const kernels = job->engine->kernels;
    const size_t most = organ_max(WINDOW / strip->cols, 1);
    float *const greatest = &((scale_sums *)result)->greatest;
    organ_weight_strip some;
    if (strip->values)
        *greatest = greatest_of(kernels, strip, scratch);
    for (size_t r = 0; r < strip->rows && !strip->values; r += most) {
        if (organ_weight_strip_read(strip, r, organ_min(most, strip->rows - r), &some, error) != ORGAN_OK)
            return error->status;
        *greatest = fmaxf(*greatest, greatest_of(kernels, &some, scratch));
    }
    return isfinite(*greatest)
               ? ORGAN_OK
               : organ_quantize_refuse_values(((const organ_quantize_part *)strip->part)->weight->name, error);
}

static organ_status retire_greatest(void *context, const organ_weight_strip *strip, const void *result,
                                    organ_error *error)
{
    organ_quantize_job *const job = context;
    organ_quantize_part *const part = strip->part;
    (void)error;
    part->greatest = fmaxf(part->greatest, ((const scale_sums *)result)->greatest);
    advance(job, part, strip);
    return ORGAN_OK;
}

/* part->greatest is that of the set. */
static organ_status add_tries(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                              organ_error *error)
{
    const organ_quantize_job *const job = context;
    const organ_quantize_part *const part = strip->part;
    const organ_scale_search *const search = organ_grid_search(&part->encoding->grid);
    const float *const values = strip->values;
    scale_sums *const sums = result;
    float scales[16], errors[16];
    (void)scratch, (void)error;
    for (size_t r = 0; r < strip->rows && part->greatest > SEARCHED; r++) {
        job->engine->kernels->scale_errors(search, values + r * strip->cols, strip->cols, part->greatest, scales,
                                           errors);
        for (size_t k = 0; k < 16; k++)
            sums->tries[k] += (double)errors[k];
    }
    return ORGAN_OK;
}

static organ_status retire_tries(void *context, const organ_weight_strip *strip, const void *result, organ_error *error)
{
    organ_quantize_job *const job = context;
    organ_quantize_part *const part = strip->part;
    const scale_sums *const sums = result;
    (void)error;
    if (!job->list.pieces[part->codes].done)
        part->unsearched += sums->tries[0];
    for (size_t k = 0; k < 16; k++)
        part->tries[k] += sums->tries[k];
    advance(job, part, strip);
    return ORGAN_OK;
}

/* The scratch is less than that of the pass that writes codes. */
static organ_weight_pass pass_over(organ_quantize_job *job, const organ_weight_item *items, size_t count)
{
    size_t cols = 0;
    for (size_t k = 0; k < count; k++)
        cols = organ_max(cols, (size_t)((const organ_quantize_part *)items[k].part)->cols);
    return (organ_weight_pass){.model = job->model,
                               .items = items,
                               .item_count = count,
                               .as = ORGAN_F32,
                               .narrow = true,
                               .row_multiple = 128,
                               .scratch_bytes = organ_to_line(cols * sizeof(float)),
                               .result_bytes = sizeof(scale_sums),
                               .context = job,
                               .work = measure,
                               .retire = retire_greatest};
}

/* `sorted` has the parts of a set next to each other. A set is measured if this run writes one of its parts, also
 * parts that another rank or an interrupted run writes: the result does not depend on who writes what. `whole`: only
 * parts with one scale for the tensor. */
static size_t list_items(organ_quantize_job *job, const organ_fused_part *sorted, bool whole, organ_weight_item *items)
{
    size_t count = 0;
    for (size_t from = 0, length; from < job->list.part_count; from += length) {
        bool missing = false;
        length = organ_fused_length(sorted + from, job->list.part_count - from);
        for (size_t k = from; k < from + length; k++)
            missing = missing || is_missing(job, sorted[k].index);
        for (size_t k = from; k < from + length && missing; k++) {
            const size_t part = sorted[k].index;
            if (whole ? !has_whole_scale(job, part) : !has_scale(job, part))
                continue;
            items[count++] =
                (organ_weight_item){.weight = job->list.parts[part].weight, .part = &job->list.parts[part]};
        }
    }
    return count;
}

/* ---- the scales of a set ---- */

static void set_greatest(organ_quantize_job *job, const organ_fused_part *parts, size_t count)
{
    float greatest = 0;
    for (size_t k = 0; k < count; k++)
        greatest = fmaxf(greatest, job->list.parts[parts[k].index].greatest);
    for (size_t k = 0; k < count; k++) {
        organ_quantize_part *const part = &job->list.parts[parts[k].index];
        part->greatest = greatest;
        if (organ_encoding_has_divisor(part->encoding))
            part->divisor = organ_grid_divisor(greatest);
    }
}

/* Sets the scale with the least error of all parts, or that of try 0 for tiny values. */
static void set_whole_scale(organ_quantize_job *job, const organ_fused_part *parts, size_t count)
{
    const organ_kernels *const kernels = job->engine->kernels;
    const organ_grid *const grid = grid_of(job, parts->index);
    const float greatest = job->list.parts[parts->index].greatest;
    float scales[16], errors[16];
    double sums[16] = {0};
    size_t best = 0;
    for (size_t p = 0; p < count; p++)
        for (size_t k = 0; k < 16; k++)
            sums[k] += job->list.parts[parts[p].index].tries[k];
    for (size_t k = 1; k < 16; k++)
        best = sums[k] < sums[best] ? k : best;
    kernels->scale_errors(organ_grid_search(grid), NULL, 0, greatest, scales, errors);
    for (size_t p = 0; p < count; p++)
        job->list.parts[parts[p].index].whole_scale =
            greatest > SEARCHED ? scales[best] : organ_grid_scale(grid, kernels, greatest);
}

/* The parts of a set have one encoding. */
static void for_sets(organ_quantize_job *job, const organ_fused_part *sorted,
                     bool (*wanted)(const organ_quantize_job *, size_t),
                     void (*set)(organ_quantize_job *, const organ_fused_part *, size_t))
{
    for (size_t from = 0, length; from < job->list.part_count; from += length) {
        length = organ_fused_length(sorted + from, job->list.part_count - from);
        if (wanted(job, sorted[from].index))
            set(job, sorted + from, length);
    }
}

/* The first pass finds the greatest magnitudes, the second the errors of the scales that are tried. */
static organ_status measure_sets(organ_quantize_job *job, const organ_fused_part *sorted, organ_weight_item *items,
                                 organ_error *error)
{
    const size_t count = list_items(job, sorted, /*whole=*/false, items);
    organ_weight_pass pass = pass_over(job, items, count);
    if (count && organ_weight_pass_run(&pass, job->engine, error))
        return error->status;
    for_sets(job, sorted, has_scale, set_greatest);
    pass.item_count = list_items(job, sorted, /*whole=*/true, items);
    pass.narrow = false;
    pass.work = add_tries;
    pass.retire = retire_tries;
    if (pass.item_count && organ_weight_pass_run(&pass, job->engine, error))
        return error->status;
    for_sets(job, sorted, has_whole_scale, set_whole_scale);
    return ORGAN_OK;
}

organ_status organ_quantize_find_scales(organ_quantize_job *job, organ_error *error)
{
    bool any = false;
    for (size_t k = 0; k < job->list.part_count; k++)
        any = any || has_scale(job, k);
    if (!any || organ_quantize_claim_pass(job, error))
        return error->status;
    ORGAN_OWNED_ROWS organ_weight_item *const items = organ_rows_take(job->list.part_count + 1, sizeof *items);
    ORGAN_OWNED organ_fused_part *const sorted = calloc(job->list.part_count + 1, sizeof *sorted);
    if (!items || !sorted)
        organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->list.part_count && !error->status; k++)
        sorted[k] = organ_fused_part_of(job->model->config.model_type, job->list.parts[k].weight->name, k);
    if (!error->status) {
        qsort(sorted, job->list.part_count, sizeof *sorted, organ_fused_order);
        measure_sets(job, sorted, items, error);
    }
    return error->status;
}
