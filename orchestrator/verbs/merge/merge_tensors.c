/* SPDX-License-Identifier: MIT
 * Merges the tensors of the output and writes them. */
#include "orchestrator/verbs/merge/merge_mixture.h"

#include <stdlib.h>

/* Plan of a dry run: operations per value and input. */
#define MERGED 60.0

/* ---- the callbacks of the walk ---- */

static organ_status put_strip(void *context, size_t worker, size_t item, uint64_t first, size_t rows, float *values,
                              void *spare, void *scratch, organ_error *error)
{
    (void)scratch;
    model_merge *const job = context;
    const size_t piece = job->todo[item];
    const merge_tensor *const t = &job->tensors[piece];
    const organ_dtype dtype = job->pieces[piece].dtype;
    const uint64_t cols = t->item.task.shape.cols, width = organ_dtype_describe(dtype)->bytes;
    const size_t n = rows * (size_t)cols;
    if (organ_overflow_narrow(organ_write_overflow(job->writing), job->engine->kernels, dtype, t->name, values, spare,
                              n, error))
        return error->status;
    return organ_write_put_behind(job->writing, job->behind, worker, piece, spare, n * width, first * cols * width,
                                  error);
}

static organ_status settle_strips(void *context, size_t worker, organ_error *error)
{
    const model_merge *const job = context;
    return organ_behind_wait(job->behind, worker, error);
}

static organ_status finish_tensor(void *context, size_t item, const organ_merge_moved *moved, organ_error *error)
{
    model_merge *const job = context;
    const size_t piece = job->todo[item];
    merge_tensor *const t = &job->tensors[piece];
    for (size_t k = 0; k < organ_merge_item_inputs(&t->item); k++)
        t->moved[k] = moved[k];
    if (organ_write_finish(job->writing, piece, organ_merge_tensor_results(t), error) == ORGAN_OK)
        organ_progress_advance(job->progress, job->pieces[piece].cost, t->name, NULL);
    return error->status;
}

/* ---- the walk ---- */

/* Lists the tensors to merge in *walk and job->todo; `writing` NULL: all that are not copied, else those that no
 * earlier run has written. The caller calls end_walk, also after an error. */
static organ_status make_walk(model_merge *job, const organ_writing *writing, organ_merge_walk *walk,
                              organ_error *error)
{
    organ_merge_item *const items = malloc((job->tensor_count + 1) * sizeof *items);
    *walk = (organ_merge_walk){.items = items,
                               .put_memory = ORGAN_BEHIND_BYTES,
                               .context = job,
                               .put = put_strip,
                               .settle = settle_strips,
                               .finish = finish_tensor};
    if (!items || !(job->todo = malloc((job->tensor_count + 1) * sizeof *job->todo)))
        return organ_fail_memory(error, job->recipe.label);
    for (size_t k = 0; k < job->tensor_count; k++)
        if (!job->pieces[k].same && !job->tensors[k].fitted && !job->tensors[k].made &&
            !(writing && organ_write_done(writing, k))) {
            job->todo[walk->count] = k;
            items[walk->count++] = job->tensors[k].item;
        }
    return ORGAN_OK;
}

static void end_walk(model_merge *job, organ_merge_walk *walk)
{
    free((void *)walk->items);
    organ_clear(&job->todo);
}

organ_status organ_merge_estimate_run(model_merge *job, organ_error *error)
{
    organ_merge_walk walk;
    if (make_walk(job, /*writing=*/NULL, &walk, error) == ORGAN_OK && walk.count)
        organ_plan_memory(&job->plan, organ_merge_walk_enough(&walk, job->engine, error), 0);
    for (size_t k = 0; k < walk.count; k++) {
        const organ_merge_item *const item = &walk.items[k];
        job->plan.products +=
            MERGED * (double)organ_merge_elements(&item->task) * (double)organ_merge_item_inputs(item);
        for (size_t i = 0; i < organ_merge_item_inputs(item); i++)
            if (item->inputs[i].model != job->donors[job->host].model) /* the driver counts those of the host */
                job->plan.bytes += (double)organ_weight_bytes(item->inputs[i].weight);
    }
    end_walk(job, &walk);
    return error->status;
}

organ_status organ_merge_fill(void *context, organ_writing *writing, organ_error *error)
{
    model_merge *const job = context;
    organ_merge_walk walk;
    job->writing = writing;
    if (make_walk(job, writing, &walk, error) == ORGAN_OK && walk.count &&
        organ_behind_create(organ_workers_count(job->engine->workers), /*threads=*/true, &job->behind, error) ==
            ORGAN_OK)
        organ_merge_walk_run(&walk, job->engine, error);
    organ_behind_destroy(job->behind);
    job->behind = NULL;
    end_walk(job, &walk);
    if (job->moments && !error->status)
        organ_merge_run_moments(job, error);
    if (job->recipe.mixture && !error->status)
        organ_mixture_write_made(job, writing, error);
    for (size_t k = 0; k < job->recipe.donor_count && !error->status; k++)
        if (organ_model_unchanged(organ_merge_stored(&job->donors[k]), error) == ORGAN_OK)
            organ_adapted_unchanged(&job->donors[k].adapted, error);
    return error->status;
}
