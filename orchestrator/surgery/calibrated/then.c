/* SPDX-License-Identifier: MIT
 * Pruning and quantisation in one walk: each matrix is pruned, what is left gets its codes, and the layers behind it see both. */
#include "orchestrator/surgery/calibrated/job.h"
#include "orchestrator/surgery/output/resharding.h"
#include "orchestrator/surgery/precision/quantize_pruned.h"

static uint64_t memory(void *context, uint64_t rows, uint64_t cols)
{
    const organ_prune_matrix_options wish = organ_calibrated_wish_alike(context, "");
    return organ_prune_matrix_memory(&wish, rows, cols);
}

static organ_status prune(void *context, const organ_along_matrix *matrix, float *weights, uint8_t *keep, organ_error *error)
{
    const organ_calibrated_job *const job = context;
    const organ_prune_matrix_options wish = organ_calibrated_wish_alike(job, matrix->name);
    const size_t rows = (size_t)matrix->rows, cols = (size_t)matrix->cols;
    organ_prune_matrix_report told;
    if (organ_prune_matrix(job->base.engine, &wish, matrix->calibration, weights, rows, cols, keep, &told, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < rows * cols; k++)
        weights[k] = keep[k] ? weights[k] : 0.0f;
    return ORGAN_OK;
}

/* What the codes have as well is told with them. */
static json_t *parameters(void *context)
{
    static const char *const shared[] = {"samples", "context", "targets"};
    json_t *const own = organ_calibrated_parameters(context);
    for (size_t k = 0; k < sizeof shared / sizeof *shared; k++)
        json_object_del(own, shared[k]);
    return own;
}

static organ_status check(const organ_calibrated_job *job, organ_error *error)
{
    if (!job->compensates)
        return organ_fail(error, ORGAN_USAGE,
                          "--then needs a method that makes up for what is lost: physarum-v2, physarum-v3, alps or sparsegpt, and a text");
    if (job->base.divides)
        return organ_fail(error, ORGAN_USAGE, "--allocate has no meaning with --then: each matrix gets the same sparsity");
    return ORGAN_OK;
}

organ_status organ_prune_then(organ_calibrated_job *job, json_t **report, organ_error *error)
{
    const organ_prune_options *const o = job->base.options;
    const organ_prune_calibrated_options *const c = job->options;
    const organ_quantize_options codes = {.model = o->donor,
                                          .output = o->output,
                                          .scheme = c->then,
                                          .targets = o->targets,
                                          .most = ORGAN_SHARD_BYTES,
                                          .resume = o->resume,
                                          .force = o->force,
                                          .dry_run = o->dry_run,
                                          .evaluate = o->evaluate,
                                          .method = "gptq",
                                          .calibration = c->calibration,
                                          .samples = c->samples,
                                          .context = c->context};
    const organ_quantize_pruning pruning = {.context = job,
                                            .method = c->method,
                                            .streams = job->two_streams ? ORGAN_ALONG_BOTH : ORGAN_ALONG_CHANGED,
                                            .moments_only = !job->method->noise,
                                            .seed = c->seed,
                                            .memory = memory,
                                            .prune = prune,
                                            .parameters = parameters};
    if (check(job, error) != ORGAN_OK)
        return error->status;
    return organ_quantize_pruned(&codes, &pruning, job->base.engine, job->base.progress, report, error);
}
