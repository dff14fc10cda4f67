/* SPDX-License-Identifier: MIT
 * Prunes by a method of the table below: checks its options, opens the text or the importance matrix that it needs, and
 * runs it. Methods that need a text prune during a calibration walk, a run of the text through the model
 * (calibration_run.h). */
#include "orchestrator/surgery/calibrated/calibrated_job.h"

#include <organ/base.h>
#include "orchestrator/machine/enough_memory.h"
#include "orchestrator/surgery/facts/facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Only the name and the unsupported options of physarum-v1, for messages: organ_prune_divided runs it. */
static const organ_calibrated_method version_1 = {.name = "physarum-v1"};

/* With --no-compensate or --imatrix, physarum-v2 neither compensates nor has two streams. `solve` has the factors of
 * organ_plan_solve, which only the plan of a dry run uses. */
static const organ_calibrated_method methods[] = {
    {.name = "physarum-v2",
     .method = ORGAN_PRUNE_PHYSARUM_V2,
     .version = 2,
     .flows = true,
     .compensates = true,
     .two_streams = true,
     .products = true,
     .noise = true,
     .effort = true,
     .can_leave = true,
     .by_imatrix = true,
     .rows = true,
     .solve = {14, 25000, 1e9}},
    {.name = "physarum-v3",
     .method = ORGAN_PRUNE_PHYSARUM_V3,
     .version = 4,
     .flows = true,
     .compensates = true,
     .two_streams = true,
     .products = true,
     .effort = true,
     .solve = {22, 3500, 5e8}},
    {.name = "alps",
     .method = ORGAN_PRUNE_ALPS,
     .version = 3,
     .compensates = true,
     .products = true,
     .solve = {70, 3500, 7e8}},
    {.name = "magnitude", .method = ORGAN_PRUNE_MAGNITUDE, .version = 1, .solve = {0, 1000, 0}},
    {.name = "wanda", .method = ORGAN_PRUNE_WANDA, .version = 1, .by_imatrix = true, .solve = {0, 2500, 0}},
    {.name = "sparsegpt",
     .method = ORGAN_PRUNE_SPARSEGPT,
     .version = 1,
     .compensates = true,
     .solve = {1.66, 2500, 1e8}}};

/* ---- options ---- */

/* From the method and the options, sets the job's members needs_text, two_streams and compensates; base.calib, whether
 * the calibration walk assigns the units to ranks; and base.definition, name and version of the method in reports. */
static void note_method(organ_calibrated_job *job)
{
    const organ_calibrated_method *const m = job->method;
    const bool unchanged = job->options->no_compensate || job->options->imatrix; /* kept weights keep their bits */
    job->needs_text = m->method != ORGAN_PRUNE_MAGNITUDE && !job->options->imatrix;
    job->two_streams = m->two_streams && !unchanged;
    job->compensates = m->compensates && !unchanged;
    job->base.calib = job->needs_text;
    snprintf(job->base.definition, sizeof job->base.definition, "%s%s/%d", m->name,
             job->options->imatrix && m->flows ? "-imatrix" : "", m->version);
}

/* Finds the method of --method in the table `methods` and calls note_method. Returns ORGAN_USAGE if it is unknown. */
static organ_status choose_method(organ_calibrated_job *job, organ_error *error)
{
    for (size_t k = 0; k < sizeof methods / sizeof *methods; k++)
        if (strcmp(job->options->method, methods[k].name) == 0) {
            job->method = &methods[k];
            note_method(job);
            return ORGAN_OK;
        }
    return organ_fail(
        error, ORGAN_USAGE,
        "--method '%s' is unknown: physarum-v1, physarum-v2, physarum-v3, alps, magnitude, wanda or sparsegpt",
        job->options->method);
}

/* Reads --pattern N:M into job->pattern. Returns ORGAN_USAGE if it is malformed. The check of characters rejects signs
 * and spaces, which sscanf accepts. */
static organ_status choose_pattern(organ_calibrated_job *job, organ_error *error)
{
    const char *const pattern = job->options->pattern;
    int end = 0;
    if (!pattern)
        return ORGAN_OK;
    const bool read = sscanf(pattern, "%2u:%2u%n", &job->pattern.keep, &job->pattern.of, &end) == 2 &&
                      pattern[end] == 0 && strspn(pattern, "0123456789:") == strlen(pattern);
    if (!read || job->pattern.keep < 1 || job->pattern.keep >= job->pattern.of || job->pattern.of > ORGAN_PATTERN_MAX)
        return organ_fail(error, ORGAN_USAGE,
                          "--pattern is N:M, N kept of each M neighbours with 1 <= N < M <= %d, not '%s'",
                          ORGAN_PATTERN_MAX, pattern);
    return ORGAN_OK;
}

/* Returns ORGAN_USAGE: the method does not support the option. */
static organ_status refuse_option(const char *option, const char *method, organ_error *error)
{
    return organ_fail(error, ORGAN_USAGE, "%s has no meaning for --method %s", option, method);
}

/* Rejects options of the calibration text, for a method that uses no text. */
static organ_status refuse_text(const organ_prune_calibrated_options *c, organ_error *error)
{
    if (c->calibration.text)
        return refuse_option("--calibration", c->method, error);
    if (c->calibration.samples != ORGAN_SAMPLES_DEFAULT)
        return refuse_option("--samples", c->method, error);
    if (c->calibration.scratch)
        return refuse_option("--scratch", c->method, error);
    if (c->all_experts)
        return refuse_option("--all-experts", c->method, error);
    return c->calibration.context != ORGAN_CONTEXT_DEFAULT ? refuse_option("--context", c->method, error) : ORGAN_OK;
}

/* Rejects methods and options that do not work with --imatrix: an imatrix has mean squares of the inputs, but neither
 * windows of a text nor correlations between inputs. */
static organ_status check_imatrix(const organ_calibrated_job *job, organ_error *error)
{
    const organ_prune_calibrated_options *const c = job->options;
    static const char with[] = "%s has no meaning with --imatrix: it has no %s";
    if (c->calibration.text)
        return organ_fail(error, ORGAN_USAGE,
                          "--calibration and --imatrix exclude each other: both describe the inputs");
    if (job->method->method == ORGAN_PRUNE_MAGNITUDE)
        return refuse_option("--imatrix", c->method, error);
    if (!job->method->by_imatrix)
        return organ_fail(
            error, ORGAN_USAGE,
            "--method %s needs the correlations of the inputs, which an imatrix does not have: use --calibration FILE",
            c->method);
    if (c->calibration.samples != ORGAN_SAMPLES_DEFAULT)
        return organ_fail(error, ORGAN_USAGE, with, "--samples", "windows");
    if (c->calibration.scratch)
        return organ_fail(error, ORGAN_USAGE, with, "--scratch", "windows");
    if (c->all_experts)
        return organ_fail(error, ORGAN_USAGE, with, "--all-experts", "tokens to send to experts");
    if (c->calibration.context != ORGAN_CONTEXT_DEFAULT)
        return organ_fail(error, ORGAN_USAGE, with, "--context", "windows");
    if (c->effort != 1)
        return organ_fail(error, ORGAN_USAGE, with, "--effort", "compensation");
    return c->seed ? organ_fail(error, ORGAN_USAGE, with, "--seed", "noise") : ORGAN_OK;
}

/* Rejects --no-compensate, --effort and --seed if the method does not support them. */
static organ_status refuse_options(const organ_calibrated_method *m, const organ_prune_calibrated_options *c,
                                   organ_error *error)
{
    if (c->no_compensate && !m->can_leave)
        return refuse_option("--no-compensate", m->name, error);
    if (c->effort != 1 && !m->effort)
        return refuse_option("--effort", m->name, error);
    return c->seed && !m->noise ? refuse_option("--seed", m->name, error) : ORGAN_OK;
}

/* Rejects the options of physarum-v1's flow: the flow of the other methods always has block size 256, 30 iterations,
 * beta 2 and coupling 1. */
static organ_status refuse_v1(const organ_prune_options *o, const organ_prune_calibrated_options *c, organ_error *error)
{
    if (o->block_size != ORGAN_PRUNE_BLOCK_SIZE_DEFAULT)
        return refuse_option("--block-size", c->method, error);
    if (o->iterations != ORGAN_PRUNE_ITERATIONS_DEFAULT)
        return refuse_option("--iterations", c->method, error);
    if (o->beta != 2)
        return refuse_option("--beta", c->method, error);
    if (o->coupling != 1)
        return refuse_option("--coupling", c->method, error);
    return ORGAN_OK;
}

/* Checks that samples, context, effort and sparsity are in their ranges. A negative sparsity means that none was
 * given. */
static organ_status check_ranges(const organ_prune_options *o, const organ_prune_calibrated_options *c,
                                 organ_error *error)
{
    if (organ_calibration_run_check(c->calibration.samples, c->calibration.context, error) != ORGAN_OK)
        return error->status;
    if (!organ_within(c->effort, ORGAN_PRUNE_EFFORTS) || c->effort == 0)
        return organ_fail(error, ORGAN_USAGE, "effort %g is outside %d (excluded) .. %d", c->effort,
                          ORGAN_PRUNE_EFFORTS);
    if (!(o->sparsity < 0) && !(o->sparsity > 0 && o->sparsity < 100))
        return organ_fail(error, ORGAN_USAGE, "sparsity %g is not between 0 and 100 percent", o->sparsity);
    return ORGAN_OK;
}

/* Checks that a sparsity (or a budget) and a pattern are not both given, and that one of them is given unless the
 * method can choose the sparsity itself (physarum-v2 and v3). */
static organ_status check_goal(const organ_calibrated_job *job, organ_error *error)
{
    const bool sparsity = job->base.options->sparsity > 0 || job->requested.amount > 0;
    if (sparsity && job->pattern.of)
        return organ_fail(error, ORGAN_USAGE, "--pattern %s sets the sparsity: it cannot be combined with --sparsity",
                          job->options->pattern);
    if (!sparsity && !job->pattern.of && !job->method->flows)
        return organ_fail(error, ORGAN_USAGE, "--method %s needs --sparsity or --pattern", job->options->method);
    return ORGAN_OK;
}

/* Checks the options that do not depend on the model: method, pattern, ranges of values, and the text or imatrix that
 * the method needs. */
static organ_status calibrated_check_options(organ_calibrated_job *job, organ_error *error)
{
    const organ_prune_calibrated_options *const c = job->options;
    if (choose_method(job, error) || choose_pattern(job, error) || check_ranges(job->base.options, c, error) ||
        refuse_v1(job->base.options, c, error) ||
        organ_prune_allocation_check(c, job->base.options->sparsity, &job->requested, error) ||
        check_goal(job, error) || refuse_options(job->method, c, error))
        return error->status;
    job->base.divides = job->requested.amount > 0;
    job->budget = job->requested.unit == ORGAN_BUDGET_PERCENT ? job->requested.amount / 100 : 0;
    if (c->no_compensate && c->effort != 1)
        return organ_fail(error, ORGAN_USAGE, "--effort has no meaning with --no-compensate");
    if (c->imatrix)
        return check_imatrix(job, error);
    if (!job->needs_text)
        return job->base.divides ? ORGAN_OK : refuse_text(c, error);
    if (!c->calibration.text)
        return organ_fail(error, ORGAN_USAGE, "--method %s needs --calibration FILE, a text%s", c->method,
                          job->method->by_imatrix ? ", or --imatrix FILE" : "");
    return ORGAN_OK;
}

/* ---- the run ---- */

/* Opens the calibration walk for pruning as job->calib. Its callbacks are in matrix.c. */
static organ_status open_text(organ_calibrated_job *job, organ_error *error)
{
    const organ_prune_calibrated_options *const c = job->options;
    job->walk = (organ_calibration_run_options){.calibration = c->calibration,
                                                .method = c->method,
                                                .verb = "prune",
                                                .doing = "pruning",
                                                .streams = job->two_streams ? ORGAN_INPUTS_BOTH : ORGAN_INPUTS_CHANGED,
                                                .moments_only = !job->method->noise,
                                                .reserve = organ_allocate_reserve(&c->allocate),
                                                .all_experts = c->all_experts,
                                                .seed = c->seed};
    job->work = (organ_calibration_work){.context = job,
                                         .memory = organ_calibrated_matrix_memory,
                                         .done = organ_calibrated_done,
                                         .restore = organ_calibrated_restore,
                                         .change = organ_calibrated_matrix,
                                         .transposed = true,
                                         .grouped = job->method->method == ORGAN_PRUNE_PHYSARUM_V3,
                                         .rows = job->method->rows && job->compensates};
    return organ_calibration_run_open(&job->walk, job->base.donor, &job->base.targets, &job->work, job->base.engine,
                                      job->base.progress, &job->calib, error);
}

/* Opens the division of the budget (--allocate) as job->allocation; `context` is the job. */
static organ_status open_allocation(void *context, organ_error *error)
{
    organ_calibrated_job *const job = context;
    const organ_prune_matrix_options prune_options = organ_calibrated_options_of(job, 0);
    return organ_prune_allocation_open(job->options, &prune_options, false, &job->base, job->budget, &job->allocation,
                                       error);
}

/* Opens the text or the imatrix that the method needs, and checks the memory. With --allocate, also opens the division
 * of the budget; if memory is too small for pruning or for the division, the message states an amount that is enough
 * for both. */
static organ_status open_statistics(organ_calibrated_job *job, organ_error *error)
{
    if (!job->needs_text && (job->pattern.of || job->options->imatrix) &&
        organ_targets_need_rows(job->base.donor, &job->base.targets, true, job->pattern.of ? "--pattern" : "--imatrix",
                                error))
        return error->status;
    if (job->needs_text)
        open_text(job, error);
    else if (!job->options->imatrix || organ_calibrated_imatrix(job, error) == ORGAN_OK)
        organ_calibrated_fits(job, error);
    return job->base.divides ? organ_memory_check_also(open_allocation, job, error) : error->status;
}

/* Adds memory and work to the plan of a dry run: those of the calibration walk or, without a text, those of the method
 * on each matrix. Then adds those of the division of a budget, if there is one. */
static void calibrated_estimate(organ_calibrated_job *job)
{
    organ_plan *const plan = &job->base.plan;
    if (job->calib)
        organ_calibration_run_estimate(job->calib, &job->method->solve, plan);
    else
        organ_plan_memory(plan, organ_calibrated_min_memory(job), 0);
    for (size_t k = 0; k < job->base.targets.count && !job->calib; k++) {
        const organ_matrices m = organ_tensor_matrices(job->base.targets.tensors[k]);
        organ_plan_matrices(plan, &(organ_plan_solve){0, job->method->solve.weights, 0}, (double)m.count,
                            (double)m.rows, (double)m.cols, 0);
    }
    if (job->allocation)
        organ_prune_allocation_estimate(job->allocation, &job->method->solve, plan);
}

/* Opens the donor, checks that the output is not the donor and that rows are whole groups of the pattern, and opens the
 * text or the imatrix. */
static organ_status calibrated_open_all(organ_calibrated_job *job, organ_error *error)
{
    if (organ_prune_job_open(&job->base, error) != ORGAN_OK)
        return error->status;
    const organ_model *const donor = job->base.donor;
    if (!(job->parts = calloc(job->base.targets.count, sizeof *job->parts)))
        return organ_fail_memory(error, donor->path);
    if (organ_output_check_not_input(job->base.options->write.output, donor, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; job->pattern.of && k < job->base.targets.count; k++) {
        const organ_tensor *const t = job->base.targets.tensors[k];
        const organ_matrices m = organ_tensor_matrices(t);
        const uint64_t inputs = organ_tensor_is_crossed(donor, t) ? m.rows : m.cols;
        if (inputs % job->pattern.of)
            return organ_fail(error, ORGAN_USAGE,
                              "tensor '%s': rows of %llu weights are not whole groups of --pattern %s", t->name,
                              (unsigned long long)inputs, job->options->pattern);
    }
    return open_statistics(job, error);
}

/* Implements organ_prune_kind.fill: divides the budget if there is one, then prunes all targets, during the calibration
 * walk or, without a text, one by one. At the end checks that the imatrix has not changed during the run. */
static organ_status calibrated_fill(void *context, organ_writing *writing, organ_error *error)
{
    organ_calibrated_job *const job = context;
    organ_prune_begin(&job->base, writing);
    if (job->allocation && organ_prune_allocation_run(job->allocation, error) != ORGAN_OK)
        return error->status;
    if (job->needs_text)
        organ_calibration_run_layers(job->calib, error);
    else
        organ_calibrated_run_without_text(job, error);
    return error->status || !job->imatrix ? error->status : organ_imatrix_unchanged(job->imatrix, error);
}

/* Implements organ_prune_kind.cuts: returns where a target may be divided into several units. With magnitude, which
 * ranks the weights of a whole matrix, it may be divided between the matrices of a stack. Other methods have figures
 * for each target (organ_calibrated_part), so their targets are not divided. */
static uint64_t cut_between_matrices(const organ_prune_job *base)
{
    const organ_calibrated_job *const job = (const organ_calibrated_job *)base;
    return job->method->method == ORGAN_PRUNE_MAGNITUDE ? ORGAN_CUT_MATRICES : ORGAN_CUT_NEVER;
}

/* Implements organ_prune_kind.narrow: if the run uses a text, leaves only matrices that the forward pass multiplies,
 * because other tensors have no inputs. */
static organ_status calibrated_narrow(organ_prune_job *base, organ_error *error)
{
    const organ_calibrated_job *const job = (const organ_calibrated_job *)base;
    return job->needs_text || base->divides ? organ_calibrated_narrow(base, job->method->name, error) : ORGAN_OK;
}

static const organ_prune_kind kind = {.fill = calibrated_fill,
                                      .narrow = calibrated_narrow,
                                      .cuts = cut_between_matrices,
                                      .parameters = organ_calibrated_parameters,
                                      .identity = organ_calibrated_identity,
                                      .finish_document = organ_calibrated_finish_document,
                                      .finish_line = organ_calibrated_finish_line,
                                      .recall = organ_calibrated_recall};

/* Checks options, then prunes; with --then, quantization runs the walk and calls pruning for each matrix. */
static organ_status prune_calibrated(organ_calibrated_job *job, json_t **report, organ_error *error)
{
    if (calibrated_check_options(job, error) != ORGAN_OK)
        return error->status;
    if (job->options->then)
        return organ_prune_then(job, report, error);
    if (calibrated_open_all(job, error) != ORGAN_OK)
        return error->status;
    if (job->base.options->write.dry_run)
        calibrated_estimate(job);
    return organ_prune_run(&job->base, report, error);
}

/* Frees the members of a job; those that were not set yet are NULL. */
static void close_calibrated(organ_calibrated_job *job)
{
    organ_prune_allocation_close(job->allocation);
    organ_calibration_run_close(job->calib);
    organ_prune_share_end(&job->shared);
    for (size_t k = 0; job->parts && k < job->base.targets.count; k++)
        json_decref(job->parts[k].fallback);
    free(job->parts);
    organ_imatrix_close(job->imatrix);
    organ_prune_job_close(&job->base);
}

/* Runs the method calibrated->method, which is not NULL. For physarum-v1, which is not in the table, rejects the
 * options that it does not support; a text is allowed only if a budget is divided. */
static organ_status run_method(const organ_prune_options *options, const organ_prune_calibrated_options *calibrated,
                               const organ_engine *engine, const organ_progress *progress, json_t **report,
                               organ_error *error)
{
    if (strcmp(calibrated->method, version_1.name) == 0) {
        if ((!calibrated->allocate.allocate && refuse_text(calibrated, error)) ||
            refuse_options(&version_1, calibrated, error))
            return error->status;
        if (calibrated->imatrix)
            return refuse_option("--imatrix", version_1.name, error);
        if (calibrated->pattern)
            return refuse_option("--pattern", version_1.name, error);
        if (calibrated->then)
            return refuse_option("--then", version_1.name, error);
        return organ_prune_divided(options, calibrated, engine, progress, report, error);
    }
    organ_calibrated_job job = {.options = calibrated,
                                .base = {.kind = &kind, .options = options, .engine = engine, .progress = progress}};
    const organ_report_work work = organ_report_begin(report);
    prune_calibrated(&job, report, error);
    close_calibrated(&job);
    return organ_report_end_partial(&work, options->donor, error);
}

/* Chooses the default method, physarum-v3 with a text and physarum-v1 without, and runs the method. */
organ_status organ_prune_by_method(const organ_prune_options *options, const organ_prune_calibrated_options *calibrated,
                                   const organ_engine *engine, const organ_progress *progress, json_t **report,
                                   organ_error *error)
{
    organ_prune_calibrated_options chosen = *calibrated;
    *report = NULL;
    if (!chosen.method)
        chosen.method = chosen.calibration.text ? "physarum-v3" : version_1.name;
    return run_method(options, &chosen, engine, progress, report, error);
}
