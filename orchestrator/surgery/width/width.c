/* SPDX-License-Identifier: MIT
 * Runs organ width: checks the options, chooses the kept channels and heads, and writes the narrowed model. */
#include "orchestrator/surgery/facts/facts.h"
#include <organ/cut.h>

#include <organ/base.h>
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/width/width_job.h"

#include <stdlib.h>
#include <string.h>

static organ_status width_check_options(const organ_width_options *o, organ_error *error)
{
    if (!o->ffn && !o->heads)
        return organ_fail(error, ORGAN_USAGE, "nothing to remove: give --ffn or --heads");
    if (o->multiple_of && !o->ffn)
        return organ_fail(error, ORGAN_USAGE, "--multiple-of has no meaning without --ffn");
    if (!o->calibration.text)
        return organ_fail(error, ORGAN_USAGE, "width needs --calibration FILE, a text");
    if (strcmp(o->score, "loss") != 0 && strcmp(o->score, "wanda") != 0)
        return organ_fail(error, ORGAN_USAGE, "score '%s' is neither 'loss' nor 'wanda'", o->score);
    return organ_calibration_run_check(o->calibration.samples, o->calibration.context, error);
}

static organ_status write_refitted_part(const organ_width_job *job, organ_cut_run *run, const organ_width_part *part,
                                        organ_error *error)
{
    const uint64_t rows = organ_width_rows(part);
    float *const values = organ_floats((size_t)rows, (size_t)organ_width_columns(part));
    if (!values)
        organ_fail_memory(error, part->tensor->name);
    else if (organ_width_choices_get(job, part, values, 0, rows, error) == ORGAN_OK)
        organ_cut_put_once(run, part->tensor, part->matrix, values, error);
    free(values);
    return error->status;
}

static organ_status write_refitted_parts(void *inner, organ_writing *writing, organ_error *error)
{
    organ_cut_run *const run = organ_cut_begin(inner, writing);
    const organ_width_job *const job = organ_cut_context(run);
    for (size_t k = 0; k < job->part_count && !error->status; k++)
        if (!organ_cut_done(run, job->parts[k].tensor))
            write_refitted_part(job, run, &job->parts[k], error);
    return error->status ? error->status : organ_cut_copy(run, error);
}

static organ_status width_cut(organ_width_job *job, bool dry, json_t **report, organ_error *error)
{
    organ_write_options requested = job->options->write;
    requested.dry_run = dry;
    organ_cut_out made = {.write = {.model = job->model,
                                    .requested = &requested,
                                    ORGAN_WRITE_BY(job),
                                    .choice = true,
                                    .checked = !dry,
                                    .fill = write_refitted_parts,
                                    .plan = dry ? &job->plan : NULL,
                                    .definition = "width/1",
                                    .schema = "organ.width/1",
                                    .name = "width.json",
                                    .markdown_name = "WIDTH_REPORT.md",
                                    .stage = "writing",
                                    .parameters = organ_width_parameters,
                                    .identity = organ_width_identity,
                                    .document = organ_width_document},
                          .layers = job->layers,
                          .layer_count = job->layer_count,
                          .refitted = job->targets.chosen};
    return organ_cut_make(&made, report, error);
}

/* The dry run finds errors of the cut before the calibration, which takes long. */
static organ_status try_cut(organ_width_job *job, organ_error *error)
{
    json_t *report = NULL;
    width_cut(job, true, &report, error);
    json_decref(report);
    return error->status;
}

/* Each choice is stored immediately, so that an interrupted run continues with it. */
static organ_status narrow_model(organ_width_job *job, json_t **report, organ_error *error)
{
    const organ_width_options *const o = job->options;
    if (width_check_options(o, error) || organ_donor_open(o->model, "narrowed", job->progress, &job->model, error) ||
        organ_width_plan(job, error) || organ_width_text(job, error))
        return error->status;
    if (o->write.dry_run) {
        organ_width_estimate(job);
        return width_cut(job, true, report, error);
    }
    if (try_cut(job, error) || organ_width_choices_begin(job, error) || organ_width_choose(job, error) ||
        organ_model_unchanged(job->model, error))
        return organ_width_choices_end(job, false, error);
    /* The choices are removed if the output is complete (with *report set only its evaluation failed), and after
     * ORGAN_USAGE (another run has the output), because no later run could use them. */
    width_cut(job, false, report, error);
    return organ_width_choices_end(job, !error->status || *report || error->status == ORGAN_USAGE, error);
}

static void close_width(organ_width_job *job)
{
    organ_calibration_run_close(job->calib);
    json_decref(job->calibration);
    for (size_t k = 0; k < job->part_count; k++)
        free(job->parts[k].kept);
    free(job->parts);
    free(job->first);
    free(job->layers);
    free(job->experts);
    organ_targets_release(&job->targets);
    organ_width_norms_release(job);
    organ_model_close(job->model);
}

organ_status organ_width(const organ_width_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_width_options, options, report, error, "model", options->model, "calibration.text",
                         options->calibration.text, "score", options->score, "write.output",
                         options->write.dry_run ? "" : options->write.output))
        return error->status;
    organ_width_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    narrow_model(&job, report, error);
    close_width(&job);
    return organ_report_end_partial(&work, options->model, error);
}
