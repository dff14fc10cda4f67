/* SPDX-License-Identifier: MIT
 * Pruning and quantisation in one walk, a run of the calibration text through the model (--then): each matrix is
 * pruned, then its kept weights are quantised; later layers get inputs from matrices with both changes. The
 * quantisation runs the walk and writes the output (quantize_pruned.h); this file has its callbacks. With --allocate,
 * they divide one budget of zeros among the targets by their curves: the model's divergence from the donor if only one
 * target is pruned, at some sparsities (allocation.c). */
#include "orchestrator/surgery/prune/prune_job.h"
#include "orchestrator/surgery/output/layout.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/precision/quantize_pruned.h"

#include <math.h>

static uint64_t then_memory(void *context, uint64_t rows, uint64_t cols)
{
    const organ_prune_matrix_options prune_options = organ_prune_options_of(context, 0, "");
    return organ_prune_matrix_memory(&prune_options, rows, cols);
}

static organ_status then_prune(void *context, const organ_calibration_matrix *matrix, float *weights, uint8_t *keep,
                               organ_error *error)
{
    organ_prune_job *const job = context;
    organ_prune_matrix_report result;
    return organ_prune_walked(job, matrix, organ_prune_options_of(job, matrix->target, matrix->name), weights, keep,
                              &result, error);
}

static json_t *then_parameters(void *context)
{
    static const char *const shared[] = {"samples", "context", "targets"};
    json_t *const own = organ_prune_parameters(context);
    for (size_t k = 0; k < sizeof shared / sizeof *shared; k++)
        json_object_del(own, shared[k]);
    return own;
}

/* ---- one budget ---- */

/* A budget in bits or bytes counts the codes of kept weights, the scales, and one bit per weight for the mask, as in
 * a format that does not store zeros. A budget in bytes also counts all other tensors. Returns ORGAN_USAGE if the
 * share of zeros is outside the range of an allocation. */
static organ_status compute_budget(organ_prune_job *job, const organ_quantize_held *held, organ_error *error)
{
    const organ_budget *const requested = &job->requested;
    const bool bits = requested->unit == ORGAN_BUDGET_BITS;
    double weights = 0;
    if (requested->unit == ORGAN_BUDGET_PERCENT)
        return ORGAN_OK;
    for (size_t k = 0; k < held->targets->count; k++)
        weights += (double)held->targets->tensors[k]->elements;
    /* All sizes are in the unit of the budget: bits per weight, or bytes. `codes`: size of all codes if none is
     * removed. */
    const double unit = bits ? weights / 8 : 1, codes = (double)held->codes / unit;
    const double fixed = (weights / 8 + (double)held->scales + (bits ? 0 : (double)held->other_bytes)) / unit;
    const double least = fixed + codes * (1 - ORGAN_ALLOCATION_MAX), max = fixed + codes * (1 - ORGAN_ALLOCATION_MIN);
    if (requested->amount < least || requested->amount > max)
        return organ_fail(error, ORGAN_USAGE,
                          "--budget %s: with %g to %g %% of their weights zero the targets need %.*f to %.*f %s as %s",
                          job->calibrated->allocate.budget, 100 * ORGAN_ALLOCATION_MAX, 100 * ORGAN_ALLOCATION_MIN,
                          bits ? 3 : 0, bits ? ceil(1e3 * least) / 1e3 : ceil(least), bits ? 3 : 0,
                          bits ? floor(1e3 * max) / 1e3 : floor(max),
                          bits ? "bits per weight" : "bytes with all other tensors", job->calibrated->then);
    /* The share of zeros is rounded up to a millionth, so that the output stays within the budget. */
    job->budget = fmin(ceil(1e6 * (1 - (requested->amount - fixed) / codes)) / 1e6, ORGAN_ALLOCATION_MAX);
    organ_progress_note(job->progress, "--budget %s: %.4f %% of the weights become zero",
                        job->calibrated->allocate.budget, 100 * job->budget);
    return ORGAN_OK;
}

static organ_status open_division(void *context, const organ_quantize_held *held, organ_error *error)
{
    organ_prune_job *const job = context;
    job->donor = (organ_model *)held->model;
    job->targets = *held->targets;
    if (organ_model_fingerprint(held->model, job->fingerprint, error) || compute_budget(job, held, error))
        return error->status;
    return organ_prune_allocation_open(job, error);
}

static organ_status then_divide(void *context, organ_writing *run, organ_error *error)
{
    organ_prune_job *const job = context;
    job->run = run;
    return organ_prune_allocation_run(job->allocation, error);
}

static void then_estimate(void *context, organ_plan *plan)
{
    const organ_prune_job *const job = context;
    organ_prune_allocation_estimate(job->allocation, &job->method->solve, plan);
}

static json_t *allocation_json(void *context)
{
    return organ_prune_allocation_json(((organ_prune_job *)context)->allocation);
}

static void close_division(void *context)
{
    organ_prune_job *const job = context;
    organ_prune_allocation_close(job->allocation);
    job->allocation = NULL;
    job->donor = NULL;
    job->targets = (organ_targets){0};
}

organ_status organ_prune_then(organ_prune_job *job, json_t **report, organ_error *error)
{
    const organ_prune_options *const o = job->options;
    const organ_prune_calibrated_options *const c = job->calibrated;
    const bool divides = job->divides;
    organ_write_options write = o->write;
    write.max_shard_size = ORGAN_SHARD_BYTES; /* prune has no option for it */
    const organ_quantize_options codes = {.model = o->donor,
                                          .write = write,
                                          .scheme = c->then,
                                          .targets = o->targets,
                                          .method = "gptq",
                                          .calibration = c->calibration,
                                          .all_experts = c->all_experts};
    const organ_quantize_pruning pruning = {.context = job,
                                            .method = job->method->name,
                                            .streams = job->two_streams ? ORGAN_INPUTS_BOTH : ORGAN_INPUTS_CHANGED,
                                            .moments_only = !job->method->noise,
                                            .reserve = organ_allocate_reserve(&c->allocate),
                                            .seed = c->seed,
                                            .rows = job->method->rows,
                                            .memory = then_memory,
                                            .prune = then_prune,
                                            .parameters = then_parameters,
                                            .solve = job->method->solve,
                                            .estimate = divides ? then_estimate : NULL,
                                            .open = divides ? open_division : NULL,
                                            .begin = divides ? then_divide : NULL,
                                            .allocation = divides ? allocation_json : NULL,
                                            .close = divides ? close_division : NULL};
    if (!job->compensates)
        return organ_fail(
            error, ORGAN_USAGE,
            "--then needs a method that compensates: physarum-v2, physarum-v3, alps or sparsegpt, and a text");
    return organ_quantize_pruned(&codes, &pruning, job->engine, job->progress, report, error);
}
