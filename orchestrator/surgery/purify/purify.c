/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/purify/job.h"

#include "formats/base/memory_watch.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/stream/widen.h"
#include "orchestrator/surgery/output/output_reports.h"
#include "orchestrator/surgery/output/plain_only.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const organ_report_files report_files = {"purify.json", "PURIFY_REPORT.md", organ_report_markdown};

static organ_status check_options(organ_purify_job *job, organ_error *error)
{
    const organ_purify_options *o = job->options;
    job->haar = strcmp(o->method, "haar") == 0;
    if (!job->haar && strcmp(o->method, "fft") != 0)
        return organ_fail(error, ORGAN_USAGE, "method '%s' is neither 'fft' nor 'haar'", o->method);
    if (!(o->strength >= 0 && o->strength <= 1))
        return organ_fail(error, ORGAN_USAGE, "strength %g is not in [0, 1]", o->strength);
    job->threshold = o->threshold < 0 ? (job->haar ? 1.0 : 3.0) : o->threshold;
    if (!(job->threshold >= 0 && job->threshold <= 1e6))
        return organ_fail(error, ORGAN_USAGE, "threshold %g is not in [0, 1000000]", job->threshold);
    return ORGAN_OK;
}

/* ---- what is purified ---- */

static bool has_rows(const organ_tensor *tensor) { return tensor->elements > 0 && organ_tensor_matrices(tensor).cols > 1; }

static bool is_meant(const organ_purify_job *job, const organ_selection *selection, const organ_tensor *tensor)
{
    if (!has_rows(tensor) || !organ_selected(selection, tensor))
        return false;
    return job->options->types || (tensor->rank >= 2 && organ_role_describe(tensor->anatomy.role)->projection);
}

static organ_status take(organ_purify_job *job, const organ_tensor *tensor, organ_error *error)
{
    if (organ_can_widen(tensor->dtype) && organ_can_narrow(tensor->dtype)) {
        job->chosen[tensor - job->donor->tensors] = true;
        job->parts[job->count++].tensor = tensor;
    } else if (job->options->types)
        return organ_fail(
            error, ORGAN_USAGE,
            "%s: tensor '%s' is selected by --type, but there is no way to write %s; without --type such tensors are left alone",
            job->donor->files[tensor->file].path, tensor->name, organ_dtype_describe(tensor->dtype)->name);
    else
        job->left[job->left_count++] = tensor;
    return ORGAN_OK;
}

static organ_status fail_unwritable(const organ_purify_job *job, organ_error *error)
{
    static const char format[] =
        "%.300s: tensor '%.200s' and all others that would be purified are of types like %s, which cannot be written";
    const organ_tensor *const first = job->left[0];
    const char *const dtype = organ_dtype_describe(first->dtype)->name;
    if (organ_dtype_is_blocks(first->dtype))
        return organ_dequantize_first(job->donor, error, format, job->donor->path, first->name, dtype);
    return organ_fail(error, ORGAN_BAD_INPUT, format, job->donor->path, first->name, dtype);
}

static organ_status select_tensors(organ_purify_job *job, organ_error *error)
{
    const organ_model *donor = job->donor;
    organ_selection selection;
    job->chosen = calloc(donor->tensor_count + 1, sizeof *job->chosen);
    job->parts = calloc(donor->tensor_count + 1, sizeof *job->parts);
    job->left = calloc(donor->tensor_count + 1, sizeof *job->left);
    if (!job->chosen || !job->parts || !job->left)
        return organ_fail_errno(error, ENOMEM, "%s", donor->path);
    organ_selection_parse(job->options->types, job->options->layers, &selection, error);
    for (size_t t = 0; t < donor->tensor_count && !error->status; t++)
        job->chosen[t] = is_meant(job, &selection, &donor->tensors[t]);
    if (!error->status)
        organ_plain_only(donor, job->chosen, error);
    for (size_t t = 0; t < donor->tensor_count && !error->status; t++)
        if (job->chosen[t]) {
            job->chosen[t] = false;
            take(job, &donor->tensors[t], error);
        }
    if (!error->status && job->count == 0 && job->left_count > 0)
        return fail_unwritable(job, error);
    if (!error->status && job->count == 0)
        return organ_fail(error, ORGAN_USAGE, "%s: there is no %s to purify%s", donor->path, job->options->types ? "tensor" : "projection",
                          job->options->types || job->options->layers ? " among those that --type and --layers select" : "");
    return error->status;
}

/* A single file can only be made of a single file of its kind. */
static organ_status check_single(organ_purify_job *job, organ_error *error)
{
    const organ_model *donor = job->donor;
    const char *path = job->options->output;
    job->output =
        (organ_output){.path = path, .like = organ_output_like(donor), .single = organ_output_is_file(path), .force = job->options->force};
    if (!job->output.single)
        return ORGAN_OK;
    const char *mine = strrchr(path, '.'), *its = strrchr(donor->files[0].name, '.');
    if (donor->whole_directory || donor->file_count > 1 || !its || strcmp(mine, its) != 0)
        return organ_fail(error, ORGAN_USAGE, "%s: %s is not one %s file: name a directory for its purified copy", path, donor->path, mine);
    return ORGAN_OK;
}

static organ_status open_donor(organ_purify_job *job, organ_error *error)
{
    const organ_purify_options *o = job->options;
    if (organ_model_open(o->model, &job->donor, error) || organ_model_is_here(job->donor, "purified", error))
        return error->status;
    if (job->donor->problem_count)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s", job->donor->problems[0]);
    organ_progress_warn(job->progress, job->donor);
    if (organ_output_spares(o->output, job->donor, error) ||
        organ_output_check(o->output, organ_output_like(job->donor), o->force, error) || check_single(job, error) ||
        organ_output_reports_check(&job->output, &report_files, error) || select_tensors(job, error) || organ_purify_prepare(job, error))
        return error->status;
    return organ_model_other_files(job->donor, &job->beside, error);
}

/* ---- the run ---- */

static organ_status measure(const organ_purify_job *job, const organ_model *model, bool after, organ_error *error)
{
    const organ_z_options options = {.chosen = job->chosen};
    organ_z *z = calloc(model->tensor_count + 1, sizeof *z);
    if (!z)
        return organ_fail_errno(error, ENOMEM, "%s", model->path);
    if (organ_measure_tensors(model, &options, job->engine, job->progress, z, error) == ORGAN_OK)
        for (size_t k = 0; k < job->count; k++) {
            const organ_z *mine = &z[job->parts[k].tensor - job->donor->tensors];
            if (after)
                job->parts[k].z_after = *mine;
            else
                job->parts[k].z_before = *mine;
        }
    free(z);
    return error->status;
}

static char *path_of_copy(const organ_purify_job *job)
{
    return organ_output_copy_path(organ_output_directory(&job->output), job->donor,
                                  job->output.single ? organ_output_name(&job->output) : NULL);
}

/* The copy is opened like any model: that it can be is checked with that. */
static organ_status measure_copy(const organ_purify_job *job, organ_error *error)
{
    const organ_model *donor = job->donor;
    const organ_output *output = &job->output;
    char *path = path_of_copy(job);
    organ_model *copy = NULL;
    if (!path)
        organ_fail_errno(error, ENOMEM, "%s", output->path);
    else if (organ_model_open(path, &copy, error) == ORGAN_OK) {
        if (copy->tensor_count != donor->tensor_count)
            organ_fail(error, ORGAN_IO, "%s: the copy has %zu tensors instead of %zu", path, copy->tensor_count, donor->tensor_count);
        else
            measure(job, copy, true, error);
    }
    organ_model_close(copy);
    free(path);
    return error->status;
}

static organ_status write_copy(organ_purify_job *job, organ_error *error)
{
    organ_purify_copy *copy = NULL;
    if (organ_purify_copy_begin(job, &copy, error) == ORGAN_OK && organ_purify_run(job, copy, error) == ORGAN_OK)
        organ_purify_copy_finish(copy, error);
    organ_purify_copy_end(copy);
    return error->status ? error->status : organ_model_unchanged(job->donor, error);
}

/* The finished copy is scored and its report made. */
static organ_status tell(organ_purify_job *job, json_t **report, organ_error *error)
{
    char *const path = path_of_copy(job);
    organ_evaluation_run(&job->evaluation, path);
    free(path);
    if (!(*report = organ_purify_document(job)))
        organ_fail_errno(error, ENOMEM, "%s", job->output.path);
    return error->status;
}

static organ_status run(organ_purify_job *job, json_t **report, organ_error *error)
{
    organ_output *output = &job->output;
    uint64_t bytes = job->beside.bytes;
    for (size_t f = 0; f < job->donor->file_count && job->donor->manifest; f++)
        bytes += job->donor->files[f].size; /* of shards organ_model_copy knows what they need */
    if (measure(job, job->donor, false, error) || organ_output_begin(output, job->donor->manifest ? bytes : 0, error))
        return error->status;
    if (write_copy(job, error) == ORGAN_OK && measure_copy(job, error) == ORGAN_OK && organ_output_sync(output, error) == ORGAN_OK)
        tell(job, report, error);
    if (!error->status && organ_output_reports_write(output, &report_files, *report, error) == ORGAN_OK && !output->single)
        organ_output_sync(output, error);
    return organ_output_end(output, error);
}

static void release(organ_purify_job *job)
{
    for (size_t k = 0; k < job->fft_count; k++)
        organ_fft_destroy(job->ffts[k]);
    free(job->ffts);
    organ_evaluation_release(&job->evaluation);
    free(job->chosen);
    free(job->parts);
    free(job->left);
    organ_list_free(&job->beside);
    organ_model_close(job->donor);
}

organ_status organ_purify(const organ_purify_options *options, const organ_engine *engine, const organ_progress *progress, json_t **report,
                          organ_error *error)
{
    const organ_memory_work work = organ_memory_work_begin();
    organ_purify_job job = {.options = options,
                            .engine = engine,
                            .progress = progress,
                            .evaluation = {.options = options->evaluate,
                                           .engine = engine,
                                           .progress = progress,
                                           .before = options->model,
                                           .before_is = "model",
                                           .output = options->output}};
    *report = NULL;
    if (check_options(&job, error) == ORGAN_OK && open_donor(&job, error) == ORGAN_OK &&
        organ_evaluation_prepare(&job.evaluation, error) == ORGAN_OK) {
        if (!options->dry_run)
            run(&job, report, error);
        else if (!(*report = organ_purify_document(&job)))
            organ_fail_errno(error, ENOMEM, "%s", options->model);
    }
    if (error->status) {
        json_decref(*report);
        *report = NULL;
    } else
        organ_evaluation_end(&job.evaluation, error);
    release(&job);
    return organ_memory_work_end(&work, report, options->model, error);
}
