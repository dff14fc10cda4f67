/* SPDX-License-Identifier: MIT
 * Writes a smoothed copy of a model, with its report. */
#include "orchestrator/surgery/folds/smooth.h"

#include "formats/base/rows.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/surgery/folds/smooth_parts.h"

#include <math.h>
#include <organ/base.h>
#include <organ/weights.h>
#include <stdlib.h>

typedef struct smooth_job {
    const organ_smooth_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_scaling scaling;
    organ_smooth_walk walk;
    bool *chosen;    /* by tensor: a fold scales it */
    size_t *tensors; /* the tensors that are chosen */
    organ_row_work rows;
    organ_plan plan;
} smooth_job;

/* ---- the report ---- */

static json_t *rounding_json(const organ_smooth_rounding *r)
{
    return ORGAN_OBJECT(SET_REAL("weight_levels", r->weight_levels), SET_COUNT("group", r->group),
                        SET_REAL("input_levels", r->input_levels),
                        SET_TEXT("input_scale", r->fixed ? "static" : "dynamic"));
}

static json_t *parameters_json(void *context)
{
    const smooth_job *const job = context;
    const organ_smooth_options *const o = job->options;
    const bool chosen = o->alpha < 0;
    return ORGAN_OBJECT(SET("alpha", chosen ? json_string("auto") : json_real(o->alpha)),
                        SET("rounding", chosen ? rounding_json(&o->rounding) : json_null()),
                        SET_TEXT("scales", o->reals ? "any" : "exact"), SET_COUNT("samples", o->calibration.samples),
                        SET_COUNT("context", o->calibration.context),
                        SET_REDUCED_COMPUTE(job->engine, o->calibration.compute));
}

static json_t *names_json(const smooth_job *job, const organ_fold *fold, bool divided)
{
    json_t *const names = json_array();
    for (size_t k = fold->first; k < fold->first + fold->count; k++) {
        const organ_fold_side *const side = &job->scaling.folds.sides[k];
        if (side->divided == divided)
            json_array_append_new(names, organ_document_string(side->weight->name));
    }
    return names;
}

/* A dry run has no factors. */
static json_t *fold_json(const void *context, size_t f)
{
    const smooth_job *const job = context;
    const organ_fold *const fold = &job->scaling.folds.list[f];
    const float *const factors = job->scaling.factors + job->scaling.begin[f];
    double least = INFINITY, greatest = 0;
    uint64_t changed = 0;
    for (uint64_t c = 0; c < fold->channels; c++) {
        least = fmin(least, (double)factors[c]);
        greatest = fmax(greatest, (double)factors[c]);
        changed += factors[c] != 1;
    }
    json_t *const object =
        ORGAN_OBJECT(SET_INDEX("layer", fold->layer), SET_TEXT("fold", fold->name),
                     SET_COUNT("channels", fold->channels), SET("producer", names_json(job, fold, /*divided=*/true)),
                     SET("readers", names_json(job, fold, /*divided=*/false)));
    return job->options->write.dry_run
               ? object
               : organ_json_joined(object, ORGAN_OBJECT(SET_COUNT("changed", changed), SET_REAL("least", least),
                                                        SET_REAL("greatest", greatest),
                                                        SET_IF(job->options->alpha < 0, "predicted_error",
                                                               json_real(job->walk.shares[f]))));
}

static json_t *left_json(const void *context, size_t k)
{
    const organ_unfolded *const left = &((const smooth_job *)context)->scaling.folds.left[k];
    return ORGAN_OBJECT(SET_INDEX("layer", left->layer), SET_TEXT("fold", left->name), SET_TEXT("why", left->why));
}

static json_t *totals_json(const smooth_job *job)
{
    const uint64_t changed = organ_scaling_changed(&job->scaling);
    return ORGAN_OBJECT(SET_COUNT("folds", job->scaling.folds.count), SET_COUNT("channels", job->scaling.channels),
                        SET_IF(!job->options->write.dry_run, "changed", json_integer((json_int_t)changed)));
}

static json_t *smooth_document(void *context, const organ_writing *made)
{
    const smooth_job *const job = context;
    (void)made; /* tensors keep their files and offsets */
    return ORGAN_OBJECT(SET("totals", totals_json(job)),
                        SET("folds", organ_json_rows(job->scaling.folds.count, fold_json, job)),
                        SET("left_alone", organ_json_rows(job->scaling.folds.left_count, left_json, job)),
                        SET("calibration", organ_calibration_run_json(job->walk.run, "inputs of the donor")),
                        SET_SENTENCES("organ.smooth/1", "definitions", NULL));
}

/* ---- the rows ---- */

static void smooth_row(void *context, const organ_row *row)
{
    const smooth_job *const job = context;
    organ_scaling_row(&job->scaling, job->tensors[row->index], row->number, row->values);
    organ_row_store(row);
    for (size_t k = 0; k < row->cols; k++)
        row->sums[0] += !isfinite(row->values[k]);
}

static organ_status judge_rows(void *context, size_t index, const double *sums, organ_error *error)
{
    const smooth_job *const job = context;
    const organ_tensor *const tensor = &job->model->tensors[job->tensors[index]];
    return sums[0] > 0 ? organ_fail(error, ORGAN_BAD_INPUT,
                                    "%s: tensor '%s' has values that are NaN, infinite or, when smoothed, beyond %s",
                                    job->model->files[tensor->file].path, tensor->name,
                                    organ_dtype_describe(tensor->dtype)->name)
                       : ORGAN_OK;
}

/* ---- the run ---- */

static organ_status check_options(const organ_smooth_options *o, organ_error *error)
{
    if (!o->calibration.text)
        return organ_fail(error, ORGAN_USAGE,
                          "`smooth` needs `calibration.text` FILE, a text on which the inputs are measured");
    return organ_calibration_run_check(o->calibration.samples, o->calibration.context, error);
}

static organ_status check_model(const smooth_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    organ_weights *weights = NULL;
    if (model->gguf)
        return organ_fail(error, ORGAN_USAGE, "%s: is GGUF, but `smooth` needs a safetensors model", model->path);
    if (organ_weights_find(model, &weights, error) == ORGAN_OK && (weights->packed || *weights->method))
        organ_dequantize_first(model, error, "%.300s: is already quantised (%.100s), so `smooth` cannot scale it",
                               model->path, *weights->method ? weights->method : "by its tensors");
    organ_weights_free(weights);
    return error->status;
}

static organ_status choose_tensors(smooth_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    const organ_folds *const folds = &job->scaling.folds;
    size_t count = 0;
    job->chosen = calloc(model->tensor_count + 1, sizeof *job->chosen);
    job->tensors = calloc(model->tensor_count + 1, sizeof *job->tensors);
    if (!job->chosen || !job->tensors)
        return organ_fail_memory(error, model->path);
    for (size_t t = 0; t < model->tensor_count; t++)
        if ((job->chosen[t] = organ_scaling_has(&job->scaling, t)))
            job->tensors[count++] = t;
    if (count)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: `smooth` can scale no channel%s%s%s%s", model->path,
                      folds->left_count ? "; " : "", folds->left_count ? folds->left[0].name : "",
                      folds->left_count ? ": " : "", folds->left_count ? folds->left[0].why : "");
}

static organ_status smooth_open(smooth_job *job, organ_error *error)
{
    const organ_smooth_options *const o = job->options;
    if (check_options(o, error) || organ_donor_open(o->model, "smoothed", job->progress, &job->model, error) ||
        check_model(job, error))
        return error->status;
    job->walk = (organ_smooth_walk){.scaling = &job->scaling,
                                    .engine = job->engine,
                                    .alpha = o->alpha,
                                    .rounding = o->rounding,
                                    .reals = o->reals,
                                    .options.calibration = o->calibration};
    job->rows = (organ_row_work){.row = smooth_row, .judge = judge_rows};
    return organ_smooth_walk_open(&job->walk, job->model, job->progress, error) ? error->status
                                                                                : choose_tensors(job, error);
}

static organ_status decide(void *context, organ_writing *writing, organ_write_pieces *pieces, organ_error *error)
{
    smooth_job *const job = context;
    (void)writing, (void)pieces;
    if (!job->options->write.dry_run)
        return organ_smooth_walk_run(&job->walk, error);
    organ_calibration_run_estimate(job->walk.run, &(organ_plan_solve){0}, &job->plan);
    return error->status;
}

static organ_status smooth_inputs(void *context, organ_run_inputs *inputs, organ_error *error)
{
    const smooth_job *const job = context;
    return organ_run_inputs_add(inputs, "text", job->options->calibration.text, error);
}

static organ_status smooth_model(smooth_job *job, json_t **report, organ_error *error)
{
    if (smooth_open(job, error))
        return error->status;
    const organ_write made = {.model = job->model,
                              .requested = &job->options->write,
                              ORGAN_WRITE_BY(job),
                              .decide = decide,
                              .replaced = {.chosen = job->chosen, .rows = &job->rows},
                              .names = {"smooth/1", &organ_smooth_view, "smoothing", "model", NULL},
                              .report.plan = &job->plan,
                              .check.parameters = parameters_json,
                              .check.inputs = smooth_inputs,
                              .report.document = smooth_document};
    return organ_write_run(&made, report, error);
}

static organ_status verb(const void *given, const organ_engine *engine, const organ_progress *progress, json_t **report,
                         organ_error *error)
{
    const organ_smooth_options *const options = given;
    smooth_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    smooth_model(&job, report, error);
    organ_smooth_walk_close(&job.walk);
    organ_scaling_release(&job.scaling);
    free(job.chosen);
    free(job.tensors);
    organ_model_close(job.model);
    return organ_report_end_partial(&work, options->model, error);
}

organ_status organ_smooth(const organ_smooth_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error)
{
    return organ_plan_run(verb, options, options->write.dry_run, engine, progress, report, error);
}
