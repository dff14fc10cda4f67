/* SPDX-License-Identifier: MIT
 * Runs organ prune: opens the donor and what the method needs, then runs it. */
#include "orchestrator/verbs/prune/prune_parts.h"

#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/model_copy.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/verbs/quantize/quantize_source.h"
#include "orchestrator/report/view/views.h"

#include <math.h>
#include <organ/base.h>

/* ---- pruning and quantisation in one walk ---- */

/* Pruning and quantisation in one walk, a run of the calibration text through the model (--then): each matrix is
 * pruned, then its kept weights are quantised; later layers get inputs from matrices with both changes. The
 * quantisation runs the walk and writes the output; this file has its callbacks. With --allocate,
 * they divide one budget of zeros among the targets by their curves: the model's divergence from the donor if only one
 * target is pruned, at some sparsities (allocation.c). */

static uint64_t then_memory(void *context, uint64_t rows, uint64_t cols)
{
    const organ_prune_job *const job = context;
    const organ_prune_matrix_options prune_options = organ_prune_options_of(job, /*part=*/0, /*name=*/"");
    return organ_prune_matrix_memory(job->engine, &prune_options, rows, cols);
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
    static const char *const shared[] = {"samples", "context", "compute", "compute_isa", "targets"};
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
        return organ_fail(
            error, ORGAN_USAGE,
            "`allocate.budget` %s: with %g to %g %% of their weights zero the targets need %.*f to %.*f %s as %s",
            job->calibrated->allocate.budget, 100 * ORGAN_ALLOCATION_MAX, 100 * ORGAN_ALLOCATION_MIN, bits ? 3 : 0,
            bits ? ceil(1e3 * least) / 1e3 : ceil(least), bits ? 3 : 0, bits ? floor(1e3 * max) / 1e3 : floor(max),
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

static organ_status then_decide(void *context, organ_writing *run, organ_plan *plan, organ_error *error)
{
    organ_prune_job *const job = context;
    job->run = run;
    if (organ_prune_allocation_decide(job->allocation, error) == ORGAN_OK && job->options->write.dry_run)
        organ_prune_allocation_estimate(job->allocation, &job->method->solve, plan);
    return error->status;
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

/* Prunes and quantises in one run on a calibration text (--then). The caller has checked the options. Returns the
 * errors of organ_quantize_run. */
static organ_status prune_then(organ_prune_job *job, json_t **report, organ_error *error)
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
                                          .gptq = {.all_experts = c->all_experts, .moments = o->moments}};
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
                                            .open = divides ? open_division : NULL,
                                            .decide = divides ? then_decide : NULL,
                                            .allocation = divides ? allocation_json : NULL,
                                            .close = divides ? close_division : NULL};
    const organ_quantize_call call = {.options = &codes, .pruning = &pruning};
    return organ_quantize_run(&call, job->engine, job->progress, report, error);
}

/* ---- the targets ---- */

/* A text cannot calibrate targets without inputs in the forward pass. A note names their number and the first. */
static organ_status leave_untapped(organ_prune_job *job, organ_error *error)
{
    const char *const method = job->method->tiles ? "physarum-v1 with --allocate" : job->method->name;
    const organ_tensor *first = NULL;
    ORGAN_OWNED bool *untapped = NULL;
    size_t count = 0;
    if (organ_calibration_find_untapped(job->donor, job->engine, &job->targets, &untapped, error) == ORGAN_OK &&
        organ_targets_remove(job->donor, untapped, method, &job->targets, error) == ORGAN_OK)
        for (size_t t = 0; t < job->donor->tensor_count; t++)
            if (untapped[t]) {
                first = first ? first : &job->donor->tensors[t];
                count++;
            }
    if (count)
        organ_progress_warn(job->progress,
                            "%zu matri%s no inputs in the forward pass, so %s leaves %s unchanged: %s is the first; "
                            "the report lists all kinds",
                            count, count == 1 ? "x has" : "ces have", method, count == 1 ? "it" : "them", first->name);
    return error->status;
}

static organ_status choose_targets(organ_prune_job *job, organ_error *error)
{
    const organ_prune_options *const o = job->options;
    if (organ_targets_select_floats(job->donor, o->targets, "pruned", &job->targets, error) != ORGAN_OK)
        return error->status;
    return (job->needs_text || job->divides) && !o->targets ? leave_untapped(job, error) : ORGAN_OK;
}

static organ_status open_donor(organ_prune_job *job, organ_error *error)
{
    const organ_prune_options *const o = job->options;
    job->started_at = time(NULL);
    if (organ_donor_open(o->donor, "pruned", job->progress, &job->donor, error))
        return error->status;
    if (job->donor->manifest)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: is an organ directory: make a model of it with 'organ assemble' and prune that",
                          job->donor->path);
    if (choose_targets(job, error) || organ_model_fingerprint(job->donor, job->fingerprint, error) ||
        organ_prune_units_open(job, error))
        return error->status;
    /* An output that is a single file has no copies of the donor's other files. */
    return organ_output_is_file(o->write.output) ? ORGAN_OK : organ_model_other_files(job->donor, &job->others, error);
}

/* ---- the run ---- */

static organ_status check_whole_groups(const organ_prune_job *job, organ_error *error)
{
    for (size_t k = 0; job->pattern.of && k < job->targets.count; k++) {
        const organ_tensor *const t = job->targets.tensors[k];
        const organ_matrices m = organ_tensor_matrices(t);
        const uint64_t inputs = organ_tensor_is_crossed(job->donor, t) ? m.rows : m.cols;
        if (inputs % job->pattern.of)
            return organ_fail(error, ORGAN_USAGE,
                              "tensor '%s': rows of %llu weights are not whole groups of `pattern` %s", t->name,
                              (unsigned long long)inputs, job->calibrated->pattern);
    }
    return ORGAN_OK;
}

static organ_status open_statistics(organ_prune_job *job, organ_error *error)
{
    const char *const option = job->pattern.of ? "`pattern`" : "`imatrix`";
    if (organ_output_check_not_input(job->options->write.output, job->donor, error) || check_whole_groups(job, error))
        return error->status;
    if (job->needs_text)
        return organ_prune_text_open(job, error);
    if ((job->pattern.of || job->calibrated->imatrix) &&
        organ_targets_need_rows(job->donor, &job->targets, /*stacks=*/true, option, error))
        return error->status;
    return organ_prune_bands_open(job, error);
}

static organ_status open_allocation(void *job, organ_error *error) { return organ_prune_allocation_open(job, error); }

/* If memory is too small for pruning or for the division of a budget, the message states an amount that is enough
 * for both. */
static organ_status open_all(organ_prune_job *job, organ_error *error)
{
    if (open_donor(job, error) != ORGAN_OK)
        return error->status;
    if (job->method->tiles)
        return job->divides ? organ_prune_allocation_open(job, error) : ORGAN_OK;
    if (!(job->figures = organ_take_zeros(&job->buffers, job->targets.count, sizeof *job->figures)))
        return organ_fail_memory(error, job->donor->path);
    open_statistics(job, error);
    return job->divides ? organ_memory_check_also(open_allocation, job, error) : error->status;
}

static organ_status prune_estimate(organ_prune_job *job, organ_error *error)
{
    const organ_plan_solve *const solve = &job->method->solve;
    if (job->method->tiles)
        organ_prune_tiles_estimate(job, error);
    else if (job->calib)
        organ_calibration_run_estimate(job->calib, solve, &job->plan);
    else
        organ_plan_memory(&job->plan, organ_prune_bands_memory(job), 0);
    for (size_t k = 0; k < job->targets.count && !job->calib && !job->method->tiles; k++) {
        const organ_matrices m = organ_tensor_matrices(job->targets.tensors[k]);
        organ_plan_matrices(&job->plan, &(organ_plan_solve){0, solve->weights, 0}, (double)m.count, (double)m.rows,
                            (double)m.cols, 0);
    }
    if (job->allocation)
        organ_prune_allocation_estimate(job->allocation, solve, &job->plan);
    return error->status;
}

/* Divides the budget. The pieces of the output do not depend on the division. */
static organ_status prune_decide(void *context, organ_writing *writing, organ_write_pieces *pieces, organ_error *error)
{
    organ_prune_job *const job = context;
    (void)pieces;
    job->run = writing;
    if (job->allocation && organ_prune_allocation_decide(job->allocation, error) != ORGAN_OK)
        return error->status;
    return job->options->write.dry_run ? prune_estimate(job, error) : ORGAN_OK;
}

static organ_status prune_fill(void *context, organ_writing *writing, organ_error *error)
{
    organ_prune_job *const job = context;
    organ_prune_units_begin(job, writing);
    if (job->method->tiles)
        return organ_prune_tiles(job, error);
    if (job->needs_text)
        return organ_calibration_run_layers(job->calib, error);
    return organ_prune_bands_run(job, error) || !job->imatrix ? error->status
                                                              : organ_imatrix_unchanged(job->imatrix, error);
}

static organ_status prune_inputs(void *context, organ_run_inputs *inputs, organ_error *error)
{
    const organ_prune_calibrated_options *const o = ((const organ_prune_job *)context)->calibrated;
    organ_run_inputs_add(inputs, "text", o->calibration.text, error);
    return organ_run_inputs_add(inputs, "imatrix", o->imatrix, error);
}

static organ_status write_output(organ_prune_job *job, json_t **report, organ_error *error)
{
    const organ_write made = {
        .model = job->donor,
        .requested = &job->options->write,
        ORGAN_WRITE_BY(job),
        .decide = prune_decide,
        .replaced = {.chosen = job->targets.chosen, .calib = job->needs_text, .stretches = &job->stretches},
        .names = {job->definition, &organ_prune_view, "pruning", "donor", NULL},
        .make = {.fill = prune_fill, .recall = organ_prune_recall, .check = organ_prune_check},
        .check = {.parameters = organ_prune_parameters, .inputs = prune_inputs, .identity = organ_prune_identity},
        .report = {.plan = &job->plan, .document = organ_prune_document, .finish = organ_prune_finish_report}};
    return organ_write_run(&made, report, error);
}

/* With --then, the quantisation runs the walk and calls pruning for each matrix. */
static organ_status prune_model(organ_prune_job *job, json_t **report, organ_error *error)
{
    if (organ_prune_check_options(job, error) != ORGAN_OK)
        return error->status;
    if (job->calibrated->then)
        return prune_then(job, report, error);
    if (open_all(job, error) != ORGAN_OK)
        return error->status;
    return write_output(job, report, error);
}

static void close_job(organ_prune_job *job)
{
    organ_prune_allocation_close(job->allocation);
    organ_calibration_run_close(job->calib);
    organ_prune_share_end(&job->shared);
    for (size_t k = 0; job->figures && k < job->targets.count; k++)
        json_decref(job->figures[k].fallback);
    organ_imatrix_close(job->imatrix);
    organ_prune_units_close(job);
    organ_buffers_release(&job->buffers);
    organ_list_release(&job->others);
    organ_targets_release(&job->targets);
    organ_model_close(job->donor);
}

static organ_prune_options completed(const organ_prune_options *options)
{
    organ_prune_options o = *options;
    organ_calibration_text *const text = &o.calibrated.calibration;
    o.block_size = o.block_size ? o.block_size : ORGAN_PRUNE_BLOCK_SIZE_DEFAULT;
    o.iterations = o.iterations ? o.iterations : ORGAN_PRUNE_ITERATIONS_DEFAULT;
    o.beta = o.beta == 0 ? 2 : o.beta;
    o.calibrated.effort = o.calibrated.effort == 0 ? 1 : o.calibrated.effort;
    text->samples = text->samples ? text->samples : ORGAN_SAMPLES_DEFAULT;
    text->context = text->context ? text->context : ORGAN_CONTEXT_DEFAULT;
    return o;
}

static organ_status prune_verb(const void *given, const organ_engine *engine, const organ_progress *progress,
                               json_t **report, organ_error *error)
{
    const organ_prune_options *const options = given;
    const organ_prune_options full = completed(options);
    organ_prune_job job = {.options = &full, .calibrated = &full.calibrated, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    prune_model(&job, report, error);
    close_job(&job);
    return organ_report_end_partial(&work, options->donor, error);
}

organ_status organ_prune(const organ_prune_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_prune_options, options, report, error, "donor", options->donor, "write.output",
                         options->write.dry_run ? "" : options->write.output))
        return error->status;
    return organ_plan_run(prune_verb, options, options->write.dry_run, engine, progress, report, error);
}
