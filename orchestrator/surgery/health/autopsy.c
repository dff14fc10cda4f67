/* SPDX-License-Identifier: MIT */
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/health/autopsy_job.h"

#include "formats/base/paged_rows.h"
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/facts/facts.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

json_t *organ_autopsy_ranges(void)
{
    const organ_ranges ranges = organ_ranges_default();
    return organ_ranges_json(&ranges);
}

/* ---- selection of weights ---- */

static const char *why_unread(const organ_weight *weight)
{
    if (weight->elements == 0)
        return "it has no elements";
    return weight->scheme == ORGAN_SCHEME_PLAIN && weight->codes->dtype == ORGAN_C64 ? "its values are complex numbers"
                                                                                     : NULL;
}

static organ_status choose_weights(organ_autopsy_job *job, organ_error *error)
{
    const char *const match = job->options->match;
    if (!(job->stats = organ_rows_take(job->weights->count + 1, sizeof *job->stats)))
        return organ_fail_memory(error, job->model->path);
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_weight *const weight = &job->weights->weights[k];
        if (!match || fnmatch(match, weight->name, 0) == 0)
            job->stats[job->count++] = (organ_weight_stats){.weight = weight, .unread = why_unread(weight)};
    }
    if (job->count == 0 && match)
        return organ_fail(error, ORGAN_USAGE, "--match '%s': no weight of %s has such a name", match, job->model->path);
    if (job->count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no weights", job->model->path);
    return ORGAN_OK;
}

static organ_status open_models(organ_autopsy_job *job, organ_error *error)
{
    const organ_autopsy_options *const o = job->options;
    job->ranges = organ_ranges_default();
    if (o->ranges && organ_ranges_read(o->ranges, &job->ranges, error))
        return error->status;
    if (organ_model_open_with(o->model, o->access, &job->model, error) ||
        organ_weights_find(job->model, &job->weights, error) || choose_weights(job, error))
        return error->status;
    if (o->text && !organ_autopsy_has_scales(job))
        return organ_fail(error, ORGAN_USAGE,
                          "--text '%s': no weight of %s has codes with scales, so there is nothing to test; compare it "
                          "with its original instead",
                          o->text, o->model);
    if (!o->other)
        return ORGAN_OK;
    if (organ_model_open_with(o->other, o->access, &job->other, error) ||
        organ_weights_find(job->other, &job->other_weights, error))
        return error->status;
    return organ_autopsy_pair(job, error);
}

/* ---- the run ---- */

static void show_progress(void *context, uint64_t bytes, const organ_weight_stats *done)
{
    const organ_autopsy_job *const job = context;
    char remark[64] = "";
    if (done)
        organ_snprintf(remark, sizeof remark, "std %.4g", organ_weight_stats_std(done));
    organ_progress_advance(job->progress, bytes, done ? done->weight->name : NULL, done ? remark : NULL);
}

static uint64_t autopsy_bytes_of(const organ_autopsy_job *job)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < job->count; k++)
        bytes += organ_weight_stats_bytes(&job->stats[k]);
    return bytes;
}

/* If the comparison with the other model explains a fault of the scales (`named`), scales and distance are not
 * judged again, so that the fault is reported once. */
static organ_status autopsy_judge(organ_autopsy_job *job, organ_error *error)
{
    if (job->other && organ_autopsy_read_changes(job, error))
        return error->status;
    for (size_t k = 0; k < job->count && !error->status; k++) {
        const bool faulty = organ_autopsy_judge(job, &job->stats[k]);
        bool named = false;
        if (organ_autopsy_judge_against(job, &job->stats[k], &named, error) != ORGAN_OK || named)
            continue;
        if (organ_autopsy_judge_grid(job, &job->stats[k], error) == ORGAN_OK)
            organ_autopsy_judge_distance(job, k, faulty);
    }
    return error->status ? error->status : organ_autopsy_judge_scales(job, error);
}

static organ_status examine_weights(organ_autopsy_job *job, organ_error *error)
{
    const organ_scan_progress progress = {show_progress, job};
    size_t readable = 0;
    for (size_t k = 0; k < job->count; k++)
        readable += !job->stats[k].unread;
    organ_progress_begin(job->progress, "examining", autopsy_bytes_of(job), readable);
    organ_weight_stats_compute(job->model, job->other, job->stats, job->count, job->engine, &progress, error);
    organ_progress_end(job->progress);
    if (!error->status && organ_model_unchanged(job->model, error) == ORGAN_OK && job->other)
        organ_model_unchanged(job->other, error);
    return error->status ? error->status : autopsy_judge(job, error);
}

static json_t *autopsy_run_json(const organ_autopsy_job *job)
{
    const double seconds = organ_seconds_now() - job->started;
    const uint64_t bytes = autopsy_bytes_of(job);
    return ORGAN_OBJECT(SET_BYTES("model", job->options->model), SET_BYTES_OF("other", job->options->other),
                        SET_REAL("seconds", round(seconds * 1e3) / 1e3),
                        SET_REAL("bytes_per_second", seconds > 0 ? round((double)bytes / seconds) : 0.0),
                        SET_COUNT("bytes", bytes), SET_ENGINE(job->engine));
}

/* ---- files ---- */

static organ_status report_findings(organ_autopsy_job *job, organ_report_folder *folder, json_t **report,
                                    organ_error *error)
{
    *report = organ_autopsy_document(job);
    if (!ORGAN_ADD(*report, SET("run", autopsy_run_json(job))))
        return organ_fail_memory(error, job->options->model);
    if (organ_report_folder_write(folder, *report, error))
        return error->status;
    const size_t count = json_array_size(job->findings);
    const json_t *const first = json_array_get(job->findings, 0);
    if (count > 0)
        return organ_fail(error, ORGAN_CHECK_FAILED, "%s: %zu finding%s, the first: tensor '%s': %s (%s)",
                          job->options->model, count, count == 1 ? "" : "s", organ_json_text(first, "tensor"),
                          organ_json_text(first, "what"), organ_json_text(first, "value"));
    return ORGAN_OK;
}

static void close_autopsy(organ_autopsy_job *job)
{
    for (size_t k = 0; job->stats && k < job->count; k++)
        free(job->stats[k].note);
    organ_rows_free(job->stats);
    json_decref(job->findings);
    json_decref(job->remarks);
    json_decref(job->only_in_other);
    json_decref(job->scale_test);
    organ_autopsy_scales_release(job);
    organ_autopsy_changes_release(job);
    organ_across_free(job->across);
    organ_weights_free(job->weights);
    organ_weights_free(job->other_weights);
    organ_model_close(job->model);
    organ_model_close(job->other);
}

static organ_status examine_all(organ_autopsy_job *job, json_t **report, organ_error *error)
{
    const organ_autopsy_options *const o = job->options;
    organ_report_folder folder = {
        o->output, {"autopsy.json", "AUTOPSY_REPORT.md", NULL}, job->engine->ranks, false, false};
    if (organ_report_folder_check(&folder, (const char *const[]){o->model, o->other}, 2, error) == ORGAN_OK &&
        open_models(job, error) == ORGAN_OK && organ_report_folder_make(&folder, error) == ORGAN_OK &&
        examine_weights(job, error) == ORGAN_OK && (!o->text || organ_autopsy_judge_text(job, error) == ORGAN_OK))
        report_findings(job, &folder, report, error);
    if (error->status != ORGAN_OK && error->status != ORGAN_CHECK_FAILED)
        organ_report_folder_abandon(&folder);
    return error->status;
}

organ_status organ_autopsy(const organ_autopsy_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_autopsy_options, options, report, error, "model", options->model))
        return error->status;
    organ_autopsy_job job = {.options = options,
                             .engine = engine,
                             .progress = progress,
                             .findings = json_array(),
                             .remarks = json_array(),
                             .only_in_other = json_array(),
                             .started = organ_seconds_now()};
    const organ_report_work work = organ_report_begin(report);
    examine_all(&job, report, error);
    close_autopsy(&job);
    return organ_report_end(&work, options->model, error);
}
