/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/autopsy/autopsy_parts.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/output/output.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- tensors ---- */

static json_t *distance_json(const organ_weight_stats *v)
{
    const organ_distance *const d = &v->distance;
    const organ_distance_view seen = organ_distance_view_of(d);
    return ORGAN_OBJECT(
        SET_REAL_OF("relative_error", true, organ_billionth(seen.relative)),
        SET_REAL_OF("max_abs_difference", true, d->max), SET_REAL_OF("cosine", true, organ_billionth(seen.cosine)),
        SET_REAL_OF("norm_ratio", true, organ_billionth(seen.ratio)), SET_COUNT("not_finite", d->skipped));
}

static json_t *levels_json(const organ_weight_stats *v)
{
    return v->levels > ORGAN_AUTOPSY_LEVELS ? organ_json_sprintf("more than %d", ORGAN_AUTOPSY_LEVELS)
                                            : json_integer((json_int_t)v->levels);
}

static json_t *numbers_json(const organ_weight_stats *v)
{
    const organ_moments *const m = &v->moments;
    const bool any = m->n > 0;
    return ORGAN_OBJECT(SET_REAL_OF("mean", any, m->mean), SET_REAL_OF("std", any, organ_weight_stats_std(v)),
                        SET_REAL_OF("min", any, (double)m->min), SET_REAL_OF("max", any, (double)m->max),
                        SET_REAL_OF("kurtosis", any, organ_weight_stats_kurtosis(v)), SET_COUNT("nan", m->nan),
                        SET_COUNT("inf", m->inf), SET_COUNT("zero", m->zero),
                        SET_REAL("zero_percent", organ_percent(m->zero, v->weight->elements)),
                        SET_COUNT("dead_rows", v->dead.count), SET_COUNT("dead_columns", v->dead_columns),
                        SET("levels", levels_json(v)));
}

static json_t *document_tensor_json(const void *context, size_t k)
{
    char stored[128];
    const organ_autopsy_job *const job = context;
    const organ_weight_stats *const v = &job->stats[k];
    json_t *const row = ORGAN_OBJECT(
        SET_TEXT("name", v->weight->name), SET_TEXT("role", organ_anatomy_role_name(&v->weight->anatomy)),
        SET_INDEX("layer", v->weight->anatomy.layer),
        SET_TEXT("stored", organ_weight_text(v->weight, stored, sizeof stored)),
        SET("shape", organ_counts_json(v->weight->rank, v->weight->shape)), SET_COUNT("elements", v->weight->elements));
    ORGAN_ADD(row, SET_IF(v->unread, "unread", json_string(v->unread)));
    json_t *const extended = v->unread ? row : organ_json_joined(row, numbers_json(v));
    ORGAN_ADD(extended, SET_IF(job->other && v->other && !v->unread, "against_other", distance_json(v)));
    return extended;
}

/* ---- roles ---- */

typedef struct role_sums {
    json_int_t tensors, elements, zero, dead_rows, dead_columns; /* weights; their elements, zeros, lines of zeros */
    json_int_t numbers;                                          /* weights with finite values */
    json_int_t bad;                                              /* values that are not finite */
    json_int_t pairs;              /* weights with a finite relative error from their counterpart */
    double std_min, std_max;       /* extremes of the standard deviations */
    double mean_max;               /* largest |mean| */
    double min, max;               /* smallest and largest value */
    double relative, relative_max; /* sum and maximum of the relative errors */
} role_sums;

static void add_to_role(role_sums *s, const organ_weight_stats *v)
{
    const organ_moments *const m = &v->moments;
    s->tensors++;
    s->elements += (json_int_t)v->weight->elements;
    s->bad += (json_int_t)(m->nan + m->inf);
    s->zero += (json_int_t)m->zero;
    s->dead_rows += (json_int_t)v->dead.count;
    s->dead_columns += (json_int_t)v->dead_columns;
    if (!v->unread && m->n > 0) {
        const double std = organ_weight_stats_std(v);
        s->std_min = s->numbers ? fmin(s->std_min, std) : std;
        s->std_max = fmax(s->std_max, std);
        s->mean_max = fmax(s->mean_max, fabs(m->mean));
        s->min = s->numbers ? fmin(s->min, (double)m->min) : (double)m->min;
        s->max = s->numbers ? fmax(s->max, (double)m->max) : (double)m->max;
        s->numbers++;
    }
    const double relative = v->other ? organ_distance_view_of(&v->distance).relative : (double)NAN;
    if (isfinite(relative)) {
        s->pairs++;
        s->relative += relative;
        s->relative_max = fmax(s->relative_max, relative);
    }
}

static json_int_t count_role(const json_t *rows, const char *role, bool expected)
{
    json_int_t count = 0;
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k);
        count += strcmp(organ_json_text(row, "role"), role) == 0 &&
                 (strcmp(organ_json_text(row, "kind"), "expected") == 0) == expected;
    }
    return count;
}

static json_t *document_role_json(const void *context, size_t role)
{
    const organ_autopsy_job *const job = context;
    const char *const name = organ_anatomy_row_name((unsigned)role);
    role_sums sums = {0}, *const s = &sums;
    for (size_t k = 0; k < job->count; k++)
        if (organ_anatomy_row(&job->stats[k].weight->anatomy) == role)
            add_to_role(s, &job->stats[k]);
    if (!s->tensors)
        return NULL;
    const bool any = s->numbers > 0;
    json_t *const row =
        ORGAN_OBJECT(SET_TEXT("role", name), SET_COUNT("tensors", s->tensors), SET_COUNT("elements", s->elements),
                     SET_REAL_OF("largest_mean", any, s->mean_max), SET_REAL_OF("least_std", any, s->std_min),
                     SET_REAL_OF("largest_std", any, s->std_max), SET_REAL_OF("min", any, s->min),
                     SET_REAL_OF("max", any, s->max), SET_COUNT("not_finite", s->bad),
                     SET_REAL("zero_percent", organ_percent((uint64_t)s->zero, (uint64_t)s->elements)),
                     SET_COUNT("dead_rows", s->dead_rows), SET_COUNT("dead_columns", s->dead_columns),
                     SET_COUNT("findings", count_role(job->findings, name, /*expected=*/false)),
                     SET_COUNT("remarks", count_role(job->remarks, name, /*expected=*/false)),
                     SET_COUNT("outside_expected", count_role(job->remarks, name, /*expected=*/true)));
    if (job->other)
        ORGAN_ADD(row, SET("against_other", ORGAN_OBJECT(SET_COUNT("tensors", s->pairs),
                                                         SET_REAL_OF("mean_relative_error", s->pairs,
                                                                     organ_billionth(s->relative / (double)s->pairs)),
                                                         SET_REAL_OF("largest_relative_error", s->pairs,
                                                                     organ_billionth(s->relative_max)))));
    return row;
}

/* ---- schemes ---- */

static json_t *document_schemes_json(const organ_autopsy_job *job)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < job->count; k++) {
        char stored[128];
        size_t at = 0;
        organ_weight_text(job->stats[k].weight, stored, sizeof stored);
        while (at < json_array_size(rows) && strcmp(organ_json_text(json_array_get(rows, at), "stored"), stored) != 0)
            at++;
        if (at == json_array_size(rows)) {
            const organ_usual_error usual = organ_usual_error_of(job->stats[k].weight);
            json_array_append_new(
                rows, ORGAN_OBJECT(SET_TEXT("stored", stored), SET_COUNT("tensors", 0),
                                   SET("usual_error_percent", json_pack("[f, f]", organ_billionth(100 * usual.least),
                                                                        organ_billionth(100 * usual.max)))));
        }
        json_t *const row = json_array_get(rows, at);
        ORGAN_ADD(row, SET_COUNT("tensors", organ_json_count(row, "tensors") + 1));
    }
    return rows;
}

/* ---- the document ---- */

static const organ_weight *examined_weight(const void *context, size_t k)
{
    const organ_weight_stats *const v = &((const organ_autopsy_job *)context)->stats[k];
    return v->unread ? NULL : v->weight;
}

static json_t *document_unmatched_json(const void *unmatched, size_t k)
{
    const organ_unmatched_tensor *const one = (const organ_unmatched_tensor *)unmatched + k;
    return ORGAN_OBJECT(SET_TEXT("tensor", one->tensor->name), SET_FLAG("known", one->dropped),
                        SET_TEXT("why", one->why ? one->why : ""));
}

static json_t *notes_json(const organ_autopsy_job *job)
{
    json_t *const notes = organ_json_texts(job->weights->note_count, (const char *const *)job->weights->notes);
    if (organ_autopsy_has_scales(job) && !job->other && !job->options->text)
        json_array_append_new(
            notes, json_string("Not tested: whether all scales of the model are wrong by one factor. --text FILE tests "
                               "that, and so does the original as OTHER."));
    for (size_t k = 0; k < job->model->problem_count; k++)
        json_array_append_new(notes, organ_document_string(job->model->problems[k]));
    for (size_t k = 0; k < job->model->warning_count; k++)
        json_array_append_new(notes, organ_document_string(job->model->warnings[k]));
    return notes;
}

/* Returns the report of the job without its member "run", which the caller adds. NULL if memory ran out. */
static json_t *autopsy_document(organ_autopsy_job *job)
{
    if (job->broken)
        return NULL;
    return ORGAN_OBJECT(
        SET_HEAD("organ.autopsy/1", "autopsy/1"), SET("model", organ_model_json(job->model)),
        SET("other", job->other ? organ_model_json(job->other) : json_null()),
        SET_FLAG("healthy", json_array_size(job->findings) == 0), SET_COUNT("weights", job->count),
        SET_COUNT("packed", job->weights->packed), SET("findings", json_incref(job->findings)),
        SET("remarks", json_incref(job->remarks)),
        SET("matrices", organ_matrices_among(job->weights, job->count, examined_weight, job)),
        SET("roles", organ_anatomy_rows_json(document_role_json, job)), SET("schemes", document_schemes_json(job)),
        SET("notes", notes_json(job)),
        SET("strays", organ_json_rows(job->weights->unmatched_count, document_unmatched_json, job->weights->unmatched)),
        SET_IF(job->other, "only_in_other", json_incref(job->only_in_other)),
        SET_IF(job->scale_test, "scale_test", json_incref(job->scale_test)),
        SET("tensors", organ_json_rows(job->count, document_tensor_json, job)),
        SET("ranges", organ_ranges_json(&job->ranges)),
        SET_SENTENCES("organ.autopsy/1", "definitions", ORGAN_OBJECT(SET_FLAG("scales", job->scale_test))));
}

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
    organ_selection selection;
    if (!(job->stats = organ_rows_take(job->weights->count + 1, sizeof *job->stats)))
        return organ_fail_memory(error, job->model->path);
    if (organ_selection_parse(job->options->match, NULL, "match", &selection, error))
        return error->status;
    organ_selection_set_model(&selection, job->model);
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_weight *const weight = &job->weights->weights[k];
        if (organ_selection_has_name(&selection, weight->name, &weight->anatomy, /*otherwise=*/true) &&
            organ_selection_has_layer(&selection, weight->anatomy.layer))
            job->stats[job->count++] = (organ_weight_stats){.weight = weight, .unread = why_unread(weight)};
    }
    organ_selection_check_used(&selection, "weight", job->model->path, error);
    organ_selection_release(&selection);
    if (!error->status && job->count == 0 && job->options->match)
        return organ_fail(error, ORGAN_USAGE, "%s: has no weight that `match` selects", job->model->path);
    if (!error->status && job->count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no weights", job->model->path);
    return error->status;
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
                          "`text` '%s': no weight of %s has codes with scales, so there is nothing to test; compare it "
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

static uint64_t bytes_of(const organ_autopsy_job *job)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < job->count; k++)
        bytes += organ_weight_stats_bytes(&job->stats[k]);
    return bytes;
}

/* If the comparison with the other model explains a fault of the scales (`named`), scales and distance are not
 * judged again, so that the fault is reported once. */
static organ_status judge(organ_autopsy_job *job, organ_error *error)
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
    organ_progress_begin(job->progress, "examining", bytes_of(job), readable);
    organ_weight_stats_compute(job->model, job->other, job->stats, job->count, job->engine, &progress, error);
    organ_progress_end(job->progress);
    if (!error->status && organ_model_unchanged(job->model, error) == ORGAN_OK && job->other)
        organ_model_unchanged(job->other, error);
    return error->status ? error->status : judge(job, error);
}

static json_t *run_json(const organ_autopsy_job *job)
{
    const double seconds = organ_seconds_now() - job->started;
    const uint64_t bytes = bytes_of(job);
    return ORGAN_OBJECT(SET_BYTES("model", job->options->model), SET_BYTES_OF("other", job->options->other),
                        SET_REAL("seconds", round(seconds * 1e3) / 1e3),
                        SET_REAL("bytes_per_second", seconds > 0 ? round((double)bytes / seconds) : 0.0),
                        SET_COUNT("bytes", bytes), SET_ENGINE(job->engine));
}

/* ---- files ---- */

static organ_status report_findings(organ_autopsy_job *job, organ_report_folder *folder, json_t **report,
                                    organ_error *error)
{
    *report = autopsy_document(job);
    if (!ORGAN_ADD(*report, SET("run", run_json(job))))
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
    ORGAN_DECREF(job->findings, job->remarks, job->only_in_other, job->scale_test);
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
    organ_report_folder folder = {.path = o->output, .view = &organ_autopsy_view, .ranks = job->engine->ranks};
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
    ORGAN_OWN_RESULTS(report, error);
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
