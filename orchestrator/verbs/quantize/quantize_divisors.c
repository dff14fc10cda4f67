/* SPDX-License-Identifier: MIT
 * NVFP4: the scale of a tensor, by which its E4M3 scales are divided (weight_global_scale). Servers multiply some
 * matrices as one (q, k and v; gate and up) and read one such scale for them, so these matrices have equal ones. Also
 * opens the pruning method of a run that also prunes, with the sizes of the output. */
#include "orchestrator/verbs/quantize/quantize_parts.h"

#include "formats/tensor/module_names.h"
#include "orchestrator/stream/weight_pass.h"

#include <stdlib.h>
#include <string.h>

/* A part and the matrices with which it is fused: those with the same parent and set. */
typedef struct fused_part {
    const char *name; /* of its tensor */
    size_t parent;    /* length of the name of its parent, with the dot */
    size_t set;       /* of organ_fused_set */
    size_t part;      /* index in job->list.parts */
} fused_part;

static fused_part fused_part_of(const organ_quantize_job *job, size_t part)
{
    fused_part made = {.name = job->list.parts[part].weight->name, .part = part};
    made.set = organ_fused_set(made.name, &made.parent);
    return made;
}

static int by_set(const void *a, const void *b)
{
    const fused_part *const x = a, *const y = b;
    const int sets = ORGAN_ORDERS(ORGAN_ORDER(x->parent, y->parent), ORGAN_ORDER(x->set, y->set));
    return sets ? sets : ORGAN_ORDERS(memcmp(x->name, y->name, x->parent), ORGAN_ORDER(x->part, y->part));
}

static bool are_fused(const fused_part *a, const fused_part *b)
{
    return a->set < ORGAN_FUSED_SETS && a->set == b->set && a->parent == b->parent &&
           memcmp(a->name, b->name, a->parent) == 0;
}

/* ---- greatest magnitudes ---- */

static bool is_missing(const organ_quantize_job *job, size_t part)
{
    return !job->list.units[job->list.parts[part].unit].done;
}

static organ_status measure(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                            organ_error *error)
{
    const organ_quantize_job *const job = context;
    float *const greatest = result;
    (void)scratch;
    *greatest = job->engine->kernels->amax(strip->values, strip->rows * strip->cols);
    return isfinite(*greatest) ? ORGAN_OK : organ_quantize_refuse_values(job->todo[strip->item]->weight->name, error);
}

static bool has_divisor(const organ_quantize_job *job, size_t part)
{
    return organ_encoding_has_divisor(job->list.parts[part].encoding);
}

/* The pass counts half of the bytes of a part that the nearest codes are written for, as quantize_pass.c does. */
static organ_status retire(void *context, const organ_weight_strip *strip, const void *result, organ_error *error)
{
    organ_quantize_job *const job = context;
    organ_quantize_part *const part = job->todo[strip->item];
    const float greatest = *(const float *)result;
    (void)error;
    part->greatest = greatest > part->greatest ? greatest : part->greatest;
    if (!part->calibrated && !job->list.units[part->unit].done)
        organ_progress_advance(job->progress, part->weight->codes->bytes / part->rows * strip->rows / 2, NULL, NULL);
    return ORGAN_OK;
}

static organ_status measure_parts(organ_quantize_job *job, const organ_weight_item *items, size_t count,
                                  organ_error *error)
{
    const organ_weight_pass pass = {.model = job->model,
                                    .items = items,
                                    .item_count = count,
                                    .as = ORGAN_F32,
                                    .result_bytes = sizeof(float),
                                    .context = job,
                                    .work = measure,
                                    .retire = retire};
    return organ_weight_pass_run(&pass, job->engine, error);
}

/* `sorted` has the parts of a set next to each other. A set is measured if this run writes one of its parts, also
 * parts that another rank or an interrupted run writes: the result does not depend on who writes what. */
static size_t list_items(organ_quantize_job *job, const fused_part *sorted, organ_weight_item *items)
{
    size_t count = 0;
    for (size_t from = 0, to; from < job->list.part_count; from = to) {
        bool missing = is_missing(job, sorted[from].part);
        for (to = from + 1; to < job->list.part_count && are_fused(&sorted[from], &sorted[to]); to++)
            missing = missing || is_missing(job, sorted[to].part);
        for (size_t k = from; k < to && missing && has_divisor(job, sorted[from].part); k++) {
            job->todo[count] = &job->list.parts[sorted[k].part];
            items[count].weight = job->todo[count]->weight;
            count++;
        }
    }
    return count;
}

static void set_divisors(organ_quantize_job *job, const fused_part *sorted)
{
    for (size_t from = 0, to; from < job->list.part_count; from = to) {
        float greatest = job->list.parts[sorted[from].part].greatest;
        for (to = from + 1; to < job->list.part_count && are_fused(&sorted[from], &sorted[to]); to++)
            greatest = fmaxf(greatest, job->list.parts[sorted[to].part].greatest);
        for (size_t k = from; k < to && has_divisor(job, sorted[from].part); k++)
            job->list.parts[sorted[k].part].divisor = organ_grid_divisor(greatest);
    }
}

organ_status organ_quantize_find_divisors(organ_quantize_job *job, organ_error *error)
{
    bool any = false;
    for (size_t k = 0; k < job->list.part_count; k++)
        any = any || has_divisor(job, k);
    if (!any)
        return ORGAN_OK;
    ORGAN_OWNED_ROWS organ_weight_item *const items = organ_rows_take(job->list.part_count + 1, sizeof *items);
    ORGAN_OWNED fused_part *const sorted = calloc(job->list.part_count + 1, sizeof *sorted);
    ORGAN_OWNED organ_quantize_part **const todo = job->todo = calloc(job->list.part_count + 1, sizeof *todo);
    if (!items || !sorted || !todo)
        organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->list.part_count && !error->status; k++)
        sorted[k] = fused_part_of(job, k);
    if (!error->status) {
        qsort(sorted, job->list.part_count, sizeof *sorted, by_set);
        const size_t count = list_items(job, sorted, items);
        if (!count || measure_parts(job, items, count, error) == ORGAN_OK)
            set_divisors(job, sorted);
    }
    job->todo = NULL;
    return error->status;
}

/* ---- sizes of the output ---- */

/* The bytes follow from type and shape, because organ_shard_piece.bytes is set only later. */
static uint64_t piece_bytes(const organ_shard_piece *piece)
{
    uint64_t bytes = organ_dtype_describe(piece->dtype)->bytes;
    for (unsigned k = 0; k < piece->rank; k++)
        bytes *= piece->shape[k];
    return bytes;
}

organ_status organ_quantize_open_pruning(void *context, organ_error *error)
{
    organ_quantize_job *const job = context;
    organ_quantize_held held = {.model = job->model, .targets = &job->along.targets};
    for (size_t k = 0; k < job->model->tensor_count; k++)
        held.other_bytes += job->model->tensors[k].bytes;
    for (size_t k = 0; k < job->list.part_count; k++) {
        const organ_quantize_part *const p = organ_quantize_next_part(job, k);
        held.codes += piece_bytes(&job->list.pieces[p->codes]);
        held.scales += piece_bytes(&job->list.pieces[p->scale]);
        /* adds the shape, and removes the target's own bytes, which the loop above has counted */
        held.other_bytes += (organ_encoding_is_packed(p->encoding) ? piece_bytes(&job->list.pieces[p->shape]) : 0) +
                            (organ_encoding_has_divisor(p->encoding) ? piece_bytes(&job->list.pieces[p->global]) : 0) -
                            p->weight->codes->bytes;
    }
    return job->pruning->open(job->pruning->context, &held, error);
}
