/* SPDX-License-Identifier: MIT
 * Prunes by physarum v1, with or without one budget that is divided among all targets (allocation.h). The curves for
 * the division (allocation.h) are measured with physarum v2 without compensation and with equal norms of all inputs,
 * which is the flow of v1 on a matrix in memory. */
#include <organ/base.h>
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/calibrated/calibrated_job.h"

/* Factor organ_plan_solve.weights of the flow, for the plan of a dry run: operations that take as long as the flow does
 * for one weight. */
#define FLOW 3000.0

/* A pruning by physarum-v1 that divides a budget among its targets. */
typedef struct divided_job {
    organ_prune_job base; /* must be first: callbacks get a pointer to it */
    const organ_prune_calibrated_options *options;
    double budget; /* share of zeros, 0 .. 1 */
    organ_prune_allocation *allocation;
} divided_job;

/* Implements organ_prune_kind.fill: divides the budget, then prunes all targets. */
static organ_status divided_fill(void *context, organ_writing *writing, organ_error *error)
{
    divided_job *const job = context;
    organ_prune_begin(&job->base, writing);
    return organ_prune_allocation_run(job->allocation, error) ? error->status : organ_prune_parts(&job->base, error);
}

/* Implements organ_prune_kind.parameters: those of physarum v1 and those of the division. */
static json_t *divided_parameters(void *context)
{
    const divided_job *const job = context;
    json_t *const own = organ_prune_parameters(context);
    ORGAN_ADD(own, SET("allocation", organ_prune_allocation_parameters(job->options, job->budget)));
    return own;
}

/* Implements organ_prune_kind.finish_document: adds the member "allocation". Returns -1 if memory runs out. */
static int finish_document(const organ_prune_job *base, json_t *document)
{
    const divided_job *const job = (const divided_job *)base;
    return ORGAN_ADD_BEFORE_RUN(document, SET("allocation", organ_prune_allocation_json(job->allocation))) ? 0 : -1;
}

/* Implements organ_prune_kind.narrow: leaves only matrices that the forward pass multiplies, because curves are
 * measured on a text. */
static organ_status divided_narrow(organ_prune_job *base, organ_error *error)
{
    return organ_calibrated_narrow(base, "physarum-v1 with --allocate", error);
}

static const organ_prune_kind kind = {.fill = divided_fill,
                                      .narrow = divided_narrow,
                                      .parameters = divided_parameters,
                                      .finish_document = finish_document};

/* Rejects options of the flow: curves are measured with its default parameters. */
static organ_status check_flow(const organ_prune_options *o, organ_error *error)
{
    const struct {
        bool given;
        const char *name;
    } options[] = {{o->block_size != ORGAN_PRUNE_BLOCK_SIZE_DEFAULT, "--block-size"},
                   {o->iterations != ORGAN_PRUNE_ITERATIONS_DEFAULT, "--iterations"},
                   {o->beta != 2, "--beta"},
                   {o->coupling != 1, "--coupling"}};
    for (size_t k = 0; k < sizeof options / sizeof *options; k++)
        if (options[k].given)
            return organ_fail(error, ORGAN_USAGE, "%s cannot be combined with --allocate", options[k].name);
    return ORGAN_OK;
}

/* Prunes by physarum v1 with a divided budget: checks the options, opens job and division, and runs the job. `flow` has
 * the options with which matrices are pruned to measure the curves. */
static organ_status divided_run(divided_job *job, json_t **report, organ_error *error)
{
    const organ_prune_options *const o = job->base.options;
    static const organ_prune_matrix_options flow = {
        .method = ORGAN_PRUNE_PHYSARUM_V2, .no_compensate = true, .effort = 1};
    if (organ_prune_check_options(o, error) || check_flow(o, error) ||
        organ_calibration_run_check(job->options->calibration.samples, job->options->calibration.context, error) ||
        organ_prune_job_open(&job->base, error) ||
        organ_prune_allocation_open(job->options, &flow, true, &job->base, job->budget, &job->allocation, error))
        return error->status;
    if (o->write.dry_run && organ_prune_estimate(&job->base, error) != ORGAN_OK)
        return error->status;
    if (o->write.dry_run)
        organ_prune_allocation_estimate(job->allocation, &(organ_plan_solve){0, FLOW, 0}, &job->base.plan);
    return organ_prune_run(&job->base, report, error);
}

/* Frees the members of a job. */
static void close_divided(divided_job *job)
{
    organ_prune_allocation_close(job->allocation);
    organ_prune_job_close(&job->base);
}

/* With --allocate, prunes by physarum v1 with a sparsity for each target; else runs organ_prune. */
organ_status organ_prune_divided(const organ_prune_options *options, const organ_prune_calibrated_options *calibrated,
                                 const organ_engine *engine, const organ_progress *progress, json_t **report,
                                 organ_error *error)
{
    divided_job job = {.options = calibrated,
                       .base = {.kind = &kind,
                                .definition = "physarum-v1/1",
                                .options = options,
                                .engine = engine,
                                .progress = progress,
                                .divides = true}};
    organ_budget requested;
    if (organ_prune_allocation_check(calibrated, options->sparsity, &requested, error) != ORGAN_OK)
        return error->status;
    job.budget = requested.amount / 100;
    if (!calibrated->allocate.allocate)
        return organ_prune(options, engine, progress, report, error);
    const organ_report_work work = organ_report_begin(report);
    divided_run(&job, report, error);
    close_divided(&job);
    return organ_report_end_partial(&work, options->donor, error);
}
