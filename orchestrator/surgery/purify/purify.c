/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/purify/purify_job.h"

#include <organ/base.h>
#include "formats/base/paged_rows.h"
#include "orchestrator/stream/widen.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/facts/facts.h"

#include <stdlib.h>
#include <string.h>

static organ_status purify_check_options(organ_purify_job *job, organ_error *error)
{
    const organ_purify_options *o = job->options;
    job->haar = strcmp(o->method, "haar") == 0;
    if (!job->haar && strcmp(o->method, "fft") != 0)
        return organ_fail(error, ORGAN_USAGE, "method '%s' is neither 'fft' nor 'haar'", o->method);
    if (!organ_within(o->strength, ORGAN_PURIFY_STRENGTHS))
        return organ_fail(error, ORGAN_USAGE, "strength %g is outside %d .. %d", o->strength, ORGAN_PURIFY_STRENGTHS);
    const double default_threshold = job->haar ? 1.0 : 3.0;
    job->threshold = o->threshold < 0 ? default_threshold : o->threshold;
    if (!organ_within(job->threshold, ORGAN_PURIFY_THRESHOLDS))
        return organ_fail(error, ORGAN_USAGE, "threshold %g is outside %d .. %d", job->threshold,
                          ORGAN_PURIFY_THRESHOLDS);
    return ORGAN_OK;
}

/* ---- selection of tensors ---- */

static bool has_rows(const organ_tensor *tensor)
{
    return tensor->elements > 0 && organ_tensor_matrices(tensor).cols > 1;
}

/* Without --type only projections are selected. Tensors with rows of one value are never selected. */
static bool purify_is_selected(const organ_purify_job *job, const organ_selection *selection,
                               const organ_tensor *tensor)
{
    if (!has_rows(tensor) || !organ_selected(selection, tensor))
        return false;
    return job->options->types || (tensor->rank >= 2 && organ_role_describe(tensor->anatomy.role)->projection);
}

/* job->left_out lists tensors of a type that cannot be written; with --type it is ORGAN_USAGE. */
static organ_status select_tensor(organ_purify_job *job, const organ_tensor *tensor, organ_error *error)
{
    if (organ_can_widen(tensor->dtype) && organ_can_narrow(tensor->dtype)) {
        job->chosen[tensor - job->donor->tensors] = true;
        job->parts[job->count++].tensor = tensor;
    } else if (job->options->types)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: tensor '%s' is selected by --type, but %s cannot be written; without --type such "
                          "tensors are copied unchanged",
                          job->donor->files[tensor->file].path, tensor->name,
                          organ_dtype_describe(tensor->dtype)->name);
    else
        job->left_out[job->left_out_count++] = tensor;
    return ORGAN_OK;
}

/* The message names the first tensor; for block types of GGUF it also advises to dequantise first. */
static organ_status fail_unwritable(const organ_purify_job *job, organ_error *error)
{
    static const char format[] =
        "%.300s: tensor '%.200s' and all others that would be purified are of types like %s, which cannot be written";
    const organ_tensor *const first = job->left_out[0];
    const char *const dtype = organ_dtype_describe(first->dtype)->name;
    if (organ_dtype_is_blocks(first->dtype))
        return organ_dequantize_first(job->donor, error, format, job->donor->path, first->name, dtype);
    return organ_fail(error, ORGAN_BAD_INPUT, format, job->donor->path, first->name, dtype);
}

static organ_status note_left_out_types(const organ_purify_job *job, organ_error *error)
{
    uint64_t left = 0, all = 0;
    bool blocks = false;
    char *hint = NULL;
    for (size_t k = 0; k < job->left_out_count; k++) {
        left += job->left_out[k]->elements;
        blocks |= organ_dtype_is_blocks(job->left_out[k]->dtype);
    }
    for (size_t k = 0; k < job->count; k++)
        all += job->parts[k].tensor->elements;
    if (!blocks || organ_dequantize_hint(job->donor, &hint, error))
        return error->status;
    organ_progress_note(job->progress,
                        "%.3g %% of the weights to purify are stored as types like %s, which purify cannot write, and "
                        "stay unchanged; to purify them too, dequantize the model first: %s",
                        100 * (double)left / (double)(left + all), organ_dtype_name(job->left_out[0]->dtype), hint);
    free(hint);
    return ORGAN_OK;
}

/* Selected tensors must not belong to a packed weight (organ_require_plain). */
static organ_status select_tensors(organ_purify_job *job, organ_error *error)
{
    const organ_model *donor = job->donor;
    organ_selection selection;
    job->chosen = calloc(donor->tensor_count + 1, sizeof *job->chosen);
    job->parts = organ_rows_take(donor->tensor_count + 1, sizeof *job->parts);
    job->left_out = calloc(donor->tensor_count + 1, sizeof *job->left_out);
    if (!job->chosen || !job->parts || !job->left_out)
        return organ_fail_memory(error, donor->path);
    organ_selection_parse(job->options->types, job->options->layers, &selection, error);
    for (size_t t = 0; t < donor->tensor_count && !error->status; t++)
        job->chosen[t] = purify_is_selected(job, &selection, &donor->tensors[t]);
    if (!error->status)
        organ_require_plain(donor, job->chosen, error);
    for (size_t t = 0; t < donor->tensor_count && !error->status; t++)
        if (job->chosen[t]) {
            job->chosen[t] = false;
            select_tensor(job, &donor->tensors[t], error);
            organ_rows_passed();
        }
    if (!error->status && job->count == 0 && job->left_out_count > 0)
        return fail_unwritable(job, error);
    if (!error->status && job->count == 0)
        return organ_fail(error, ORGAN_USAGE, "%s: there is no %s to purify%s", donor->path,
                          job->options->types ? "tensor" : "projection",
                          job->options->types || job->options->layers ? " among those that --type and --layers select"
                                                                      : "");
    return error->status ? error->status : note_left_out_types(job, error);
}

static organ_status open_donor(organ_purify_job *job, organ_error *error)
{
    if (organ_donor_open(job->options->model, "purified", job->progress, &job->donor, error) ||
        select_tensors(job, error))
        return error->status;
    return organ_purify_prepare(job, error);
}

/* ---- the run ---- */

static organ_status measure_theta(const organ_purify_job *job, const organ_model *model, bool after, organ_error *error)
{
    const organ_z_options options = {.chosen = job->chosen};
    organ_z *z = organ_rows_take(model->tensor_count + 1, sizeof *z);
    if (!z)
        return organ_fail_memory(error, model->path);
    if (organ_measure_tensors(model, &options, job->engine, job->progress, z, error) == ORGAN_OK)
        for (size_t k = 0; k < job->count; k++) {
            const organ_z *figures = &z[job->parts[k].tensor - job->donor->tensors];
            organ_rows_passed();
            if (after)
                job->parts[k].z_after = *figures;
            else
                job->parts[k].z_before = *figures;
        }
    organ_rows_free(z);
    return error->status;
}

/* Opening the finished copy like any model proves that it can be read. */
static organ_status check_copy(void *context, const char *to, const char *path, organ_error *error)
{
    (void)to;
    const organ_purify_job *const job = context;
    organ_model *copy = NULL;
    if (measure_theta(job, job->donor, false, error) || organ_model_open(path, &copy, error))
        return error->status;
    if (copy->tensor_count != job->donor->tensor_count)
        organ_fail(error, ORGAN_IO, "%s: the copy has %zu tensors instead of %zu", path, copy->tensor_count,
                   job->donor->tensor_count);
    else
        measure_theta(job, copy, true, error);
    organ_model_close(copy);
    return error->status;
}

static organ_status write_purified(organ_purify_job *job, json_t **report, organ_error *error)
{
    const organ_purify_options *const o = job->options;
    const organ_write made = {.model = job->donor,
                              .requested = &o->write,
                              ORGAN_WRITE_BY(job),
                              .replaced = job->chosen,
                              .definition = job->haar ? "purify-haar/1" : "purify-fft/2",
                              .stage = "purifying",
                              .name = "purify.json",
                              .markdown_name = "PURIFY_REPORT.md",
                              .model_is = "model",
                              .schema = "organ.purify/1",
                              .rows = &job->rows,
                              .parameters = organ_purify_parameters,
                              .check = check_copy,
                              .document = organ_purify_document};
    return organ_write_run(&made, report, error);
}

static void close_purify(organ_purify_job *job)
{
    for (size_t k = 0; k < job->fft_count; k++)
        organ_fft_destroy(job->ffts[k]);
    free(job->ffts);
    free(job->chosen);
    organ_rows_free(job->parts);
    free(job->left_out);
    organ_model_close(job->donor);
}

static organ_status purify_model(organ_purify_job *job, json_t **report, organ_error *error)
{
    return purify_check_options(job, error) || open_donor(job, error) ? error->status
                                                                      : write_purified(job, report, error);
}

organ_status organ_purify(const organ_purify_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_purify_options, options, report, error, "model", options->model, "method",
                         options->method, "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    organ_purify_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    purify_model(&job, report, error);
    close_purify(&job);
    return organ_report_end_partial(&work, options->model, error);
}
