/* SPDX-License-Identifier: MIT
 * Runs organ width: checks the options, chooses the kept channels and heads, and writes the narrowed model. */
#include "orchestrator/verbs/shrink/width_parts.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/output/verb_requirements.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/report/view/views.h"

#include <organ/base.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the choice of columns ---- */

/* Chooses the columns that each projection loses. organ_calibration_run_layers runs the calibration text through one
 * layer after another and calls the callbacks of this file. A projection is narrowed before later layers are
 * calibrated, so later layers compensate for earlier ones.
 *
 * Ranks: all ranks compute the same values, because later layers need them; rank 0 stores them. */

/* For the plan of a dry run. NARROW_LOSS, NARROW_WANDA: operations for a matrix that loses columns, as a multiple of
 * rows x cols^2 + cols^3 / 3, for each value of --score. NARROW_MATRIX: further operations for each matrix. */
#define NARROW_LOSS   10.0
#define NARROW_WANDA  4.0
#define NARROW_MATRIX 1e8

#define STRIP_BYTES ((size_t)4 << 20) /* bytes of values that are written or read at once; at least one row */

/* Rows of a part that are stored or read back at once. The values are [rows][cols], where `cols` counts only the kept
 * columns. */
typedef struct choose_strip {
    size_t rows, cols;
    float *values;
} choose_strip;

static organ_status open_strip(const organ_width_part *part, choose_strip *s, organ_error *error)
{
    s->cols = (size_t)organ_width_columns(part);
    s->rows = organ_min(organ_max(STRIP_BYTES / (s->cols * sizeof(float)), 1), (size_t)organ_width_rows(part));
    s->values = organ_floats(s->rows, s->cols);
    return s->values ? ORGAN_OK : organ_fail_memory(error, part->tensor->name);
}

/* Copies the kept columns from row `whole` to row `kept` if `out`, else back. */
static void move_row(const organ_width_part *part, float *whole, float *kept, bool out)
{
    const size_t n = part->share->columns;
    for (size_t k = 0; k < part->share->keep; k++) {
        float *const in_whole = whole + part->kept[k] * n, *const in_kept = kept + k * n;
        memcpy(out ? in_kept : in_whole, out ? in_whole : in_kept, n * sizeof *whole);
    }
}

/* Stores the kept columns of `weights` if `out`, else reads them back. */
static organ_status move_values(const organ_width_job *job, const organ_width_part *part, float *weights, bool out,
                                organ_error *error)
{
    const size_t rows = (size_t)organ_width_rows(part), cols = part->share->total * part->share->columns;
    choose_strip s = {0};
    open_strip(part, &s, error);
    for (size_t first = 0; first < rows && !error->status; first += s.rows) {
        const size_t some = organ_min(s.rows, rows - first);
        if (!out)
            organ_width_choices_get(job, part, s.values, first, some, error);
        for (size_t r = 0; r < some && !error->status; r++)
            move_row(part, weights + (first + r) * cols, s.values + r * s.cols, out);
        if (out)
            organ_width_choices_put(job, part, s.values, first, some, error);
    }
    free(s.values);
    return error->status;
}

/* ---- callbacks of the calibration ---- */

/* For experts the bytes include the moments of one expert, so that the moments of at least one always fit in memory
 * (assign_passes in calibration/captures.c). */
static uint64_t choose_matrix_memory(void *context, const organ_calibration_run *calib, const organ_tensor *tensor)
{
    const organ_width_job *const job = context;
    const organ_matrices m = organ_width_matrices(job, tensor);
    const organ_width_kind kind = organ_width_kind_of(tensor);
    const uint64_t moments = kind == ORGAN_WIDTH_EXPERTS
                                 ? organ_calibration_memory(m.cols, m.rows, /*two_streams=*/false, /*undivided=*/true)
                                 : 0;
    (void)calib;
    return moments + organ_narrow_memory(job->engine, m.rows, m.cols, job->shares[kind].columns) +
           organ_max(STRIP_BYTES, (size_t)m.cols * sizeof(float));
}

static bool choose_is_done(void *context, size_t target)
{
    const organ_width_job *const job = context;
    for (size_t k = job->first[target]; k < job->first[target + 1]; k++)
        if (!job->parts[k].done)
            return false;
    return true;
}

static organ_status choose_restore(void *context, const organ_calibration_matrix *matrix, float *weights,
                                   organ_error *error)
{
    const organ_width_job *const job = context;
    const organ_width_part *const part = &job->parts[job->first[matrix->target] + matrix->matrix];
    memset(weights, 0, (size_t)(matrix->rows * matrix->cols) * sizeof *weights);
    return move_values(job, part, weights, /*out=*/false, error);
}

static uint64_t choose_bytes_of(const organ_width_part *part)
{
    return part->tensor->bytes / organ_tensor_matrices(part->tensor).count;
}

static void width_report_step(const organ_width_job *job, const organ_width_part *part, const char *name)
{
    char remark[64];
    const organ_narrow_report *const r = &part->report;
    organ_snprintf(remark, sizeof remark, r->tokens ? "%.2f %% lost" : "no tokens, chosen by norms",
                   r->energy > 0 ? 100 * r->loss / r->energy : 0.0);
    organ_progress_advance(job->progress, choose_bytes_of(part), name, remark);
}

/* The matrix of an expert without tokens has no calibration: its units are chosen by norms, and it is not refitted. */
static organ_status choose_for_matrix(organ_width_job *job, organ_width_part *part,
                                      const organ_calibration_matrix *matrix, float *weights, organ_error *error)
{
    const organ_width_options *const o = job->options;
    const organ_narrow_options options = {.name = matrix->name,
                                          .group = part->share->columns,
                                          .keep = part->share->keep,
                                          .by_magnitude = strcmp(o->score, "wanda") == 0,
                                          .no_refit = o->no_refit};
    if (!matrix->calibration)
        return organ_width_by_norms(job, part, weights, error);
    return organ_narrow_matrix(job->engine, &options, matrix->calibration, weights, (size_t)matrix->rows,
                               (size_t)matrix->cols, part->kept, &part->report, error);
}

static organ_status choose_change(void *context, const organ_calibration_matrix *matrix, float *weights,
                                  organ_error *error)
{
    organ_width_job *const job = context;
    organ_width_part *const part = &job->parts[job->first[matrix->target] + matrix->matrix];
    if (choose_for_matrix(job, part, matrix, weights, error) != ORGAN_OK)
        return error->status;
    /* the line of the part is appended to the journal only after the values are written */
    if (organ_ranks_first(job->engine->ranks) &&
        (move_values(job, part, weights, /*out=*/true, error) || organ_width_choices_add(job, part, error)))
        return error->status;
    part->done = true;
    width_report_step(job, part, matrix->name);
    return ORGAN_OK;
}

/* ---- the walk ---- */

/* The cut derives from the architecture alone whether a target is stored transposed; the forward pass also compares
 * shapes. */
static organ_status check_orientation(const organ_width_job *job, organ_error *error)
{
    const organ_forward *const forward = organ_calibration_run_facts_of(job->calib)->forward;
    for (size_t k = 0; k < job->targets.count; k++) {
        const organ_tensor *const t = job->targets.tensors[k];
        if (organ_forward_is_transposed(forward, t) != organ_tensor_is_crossed(job->model, t))
            return organ_fail(error, ORGAN_USAGE,
                              "tensor '%s': is stored as in_features x out_features, which width does not support for "
                              "architecture %s",
                              t->name, job->model->config.architecture);
    }
    return ORGAN_OK;
}

/* Opens the calibration text. Returns ORGAN_USAGE if --memory is too small, and errors of
 * organ_calibration_run_open. */
static organ_status width_text(organ_width_job *job, organ_error *error)
{
    const organ_width_options *const o = job->options;
    bool blocks = false;
    if (organ_calibration_moments_parse(o->moments, &blocks, error) != ORGAN_OK)
        return error->status;
    job->walk = (organ_calibration_run_options){.calibration = o->calibration,
                                                .file_layers = true,
                                                .method = "width",
                                                .verb = "narrow",
                                                .doing = "narrowing",
                                                .streams = ORGAN_INPUTS_CHANGED,
                                                .blocks = blocks,
                                                .moments_only = true};
    job->work = (organ_calibration_work){.context = job,
                                         .memory = choose_matrix_memory,
                                         .done = choose_is_done,
                                         .restore = choose_restore,
                                         .change = choose_change,
                                         .alike = true,
                                         .transposed = true,
                                         .mixtures = job->shares[ORGAN_WIDTH_EXPERTS].keep > 0};
    if (organ_calibration_run_open(&job->walk, job->model, &job->targets, &job->work, job->engine, job->progress,
                                   &job->calib, error) != ORGAN_OK)
        return error->status;
    if (check_orientation(job, error) != ORGAN_OK)
        return error->status;
    snprintf(job->digest, sizeof job->digest, "%s", organ_calibration_run_facts_of(job->calib)->digest);
    job->calibration = organ_calibration_run_json(job->calib, "the model as narrowed so far");
    return job->calibration ? ORGAN_OK : organ_fail_memory(error, o->calibration.text);
}

/* Adds the memory and the work of the calibration and the choice to job->plan. */
static void width_estimate(organ_width_job *job)
{
    const bool loss = strcmp(job->options->score, "loss") == 0;
    organ_calibration_run_estimate(job->calib, &(organ_plan_solve){loss ? NARROW_LOSS : NARROW_WANDA, 0, NARROW_MATRIX},
                                   &job->plan);
    job->plan.bytes += 2 * (double)job->choice_bytes;
}

/* Runs the text through the model layer by layer, chooses and stores the parts that are not done, and closes the
 * calibration. */
static organ_status width_choose(organ_width_job *job, organ_error *error)
{
    uint64_t bytes = 0;
    size_t count = 0;
    for (size_t k = 0; k < job->part_count; k++)
        if (!job->parts[k].done) {
            bytes += choose_bytes_of(&job->parts[k]);
            count++;
        }
    if (count) {
        organ_progress_begin(job->progress, "choosing", bytes, count);
        organ_calibration_run_layers(job->calib, error);
        organ_progress_end(job->progress);
    }
    organ_calibration_run_close(job->calib);
    job->calib = NULL;
    return error->status;
}

ORGAN_REQUIREMENTS(width, NULL, ORGAN_REQUIREMENT(organ_width_options, ffn),
                   ORGAN_REQUIREMENT(organ_width_options, multiple_of, .with = "ffn"))

static organ_status width_check_options(const organ_width_options *o, organ_error *error)
{
    const organ_width_options defaults = organ_width_defaults();
    if (!o->ffn && !o->heads)
        return organ_fail(error, ORGAN_USAGE, "nothing to remove: give `ffn` or `heads`");
    if (organ_requirements_check(&organ_width_requirements, o, &defaults, error))
        return error->status;
    if (!o->calibration.text)
        return organ_fail(error, ORGAN_USAGE, "width needs `calibration.text` FILE, a text");
    if (strcmp(o->score, "loss") != 0 && strcmp(o->score, "wanda") != 0)
        return organ_fail(error, ORGAN_USAGE, "score '%s' is neither 'loss' nor 'wanda'", o->score);
    return organ_calibration_run_check(o->calibration.samples, o->calibration.context, error);
}

static organ_status write_refitted_part(const organ_width_job *job, organ_cut_run *run, const organ_width_part *part,
                                        organ_error *error)
{
    const uint64_t rows = organ_width_rows(part);
    ORGAN_OWNED float *const values = organ_floats((size_t)rows, (size_t)organ_width_columns(part));
    if (!values)
        organ_fail_memory(error, part->tensor->name);
    else if (organ_width_choices_get(job, part, values, 0, rows, error) == ORGAN_OK)
        organ_cut_put_once(run, part->tensor, part->matrix, values, error);
    return error->status;
}

static organ_status write_refitted_parts(void *context, organ_cut_run *run, organ_error *error)
{
    const organ_width_job *const job = context;
    for (size_t k = 0; k < job->part_count && !error->status; k++)
        if (!organ_cut_done(run, job->parts[k].tensor))
            write_refitted_part(job, run, &job->parts[k], error);
    return error->status;
}

/* Each choice is stored immediately, so that an interrupted run continues with it. Errors of the cut are found before
 * the calibration, which takes long. */
static organ_status width_decide(organ_cut_out *cut, organ_writing *writing, organ_error *error)
{
    organ_width_job *const job = cut->write.context;
    job->writing = writing;
    if (job->options->write.dry_run)
        width_estimate(job);
    else if (organ_cut_try(cut, error) == ORGAN_OK && organ_width_choices_begin(job, error) == ORGAN_OK)
        width_choose(job, error);
    return error->status;
}

/* Counts the layers of blocks with names of their own. */
static unsigned count_own_layers(const organ_model *model)
{
    unsigned count = 0, layer;
    for (size_t t = 0; t < model->tensor_count; t++)
        if (organ_cut_is_draft(&model->tensors[t]) && organ_mtp_name_prefix(model->tensors[t].name, &layer) &&
            layer >= count)
            count = layer + 1;
    return count;
}

/* Blocks with names of their own are narrowed like layers if the forward pass runs all of them; else they have no
 * numbers, and are removed. */
static organ_status number_blocks(organ_width_job *job, organ_error *error)
{
    const unsigned layers = count_own_layers(job->model);
    organ_forward *forward = NULL;
    organ_error fault = {0};
    if (layers == 0)
        return ORGAN_OK;
    if (organ_forward_open(job->model, job->engine, &forward, &fault) == ORGAN_OK)
        organ_calibration_open_blocks(forward, &fault);
    if (!fault.status && organ_forward_drafts(forward) == layers)
        organ_mtp_number_layers(job->model);
    organ_forward_close(forward);
    if (fault.status && fault.status != ORGAN_BAD_INPUT)
        *error = fault;
    return error->status;
}

static organ_status width_cut(organ_width_job *job, json_t **report, organ_error *error)
{
    organ_cut_out made = {.write = {.model = job->model,
                                    .requested = &job->options->write,
                                    ORGAN_WRITE_BY(job),
                                    .report.plan = &job->plan,
                                    .names.definition = "width/1",
                                    .names.view = &organ_width_view,
                                    .names.stage = "writing",
                                    .check.parameters = organ_width_parameters,
                                    .check.identity = organ_width_identity,
                                    .check.inputs = organ_width_inputs,
                                    .report.document = organ_width_document},
                          .decide = width_decide,
                          .layers = job->layers,
                          .layer_count = job->layer_count,
                          .refitted = job->targets.chosen,
                          .refit_context = job,
                          .refit = write_refitted_parts};
    return organ_cut_make(&made, report, error);
}

static void close_width(organ_width_job *job)
{
    organ_calibration_run_close(job->calib);
    json_decref(job->calibration);
    for (size_t k = 0; k < job->part_count; k++)
        free(job->parts[k].kept);
    ORGAN_FREE_ARRAYS(job->parts, job->first, job->layers, job->experts);
    organ_targets_release(&job->targets);
    organ_width_norms_release(job);
    organ_model_close(job->model);
}

static organ_status width_verb(const void *given, const organ_engine *engine, const organ_progress *progress,
                               json_t **report, organ_error *error)
{
    const organ_width_options *const options = given;
    organ_width_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    if (width_check_options(options, error) == ORGAN_OK &&
        organ_donor_open(options->model, "narrowed", progress, &job.model, error) == ORGAN_OK &&
        number_blocks(&job, error) == ORGAN_OK && organ_width_plan(&job, error) == ORGAN_OK &&
        width_text(&job, error) == ORGAN_OK)
        width_cut(&job, report, error);
    close_width(&job);
    return organ_report_end_partial(&work, options->model, error);
}

organ_status organ_width(const organ_width_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_width_options, options, report, error, "model", options->model, "calibration.text",
                         options->calibration.text, "score", options->score, "write.output",
                         options->write.dry_run ? "" : options->write.output))
        return error->status;
    return organ_plan_run(width_verb, options, options->write.dry_run, engine, progress, report, error);
}
