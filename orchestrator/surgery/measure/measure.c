/* SPDX-License-Identifier: MIT
 * Runs organ measure. Ranks: measuring a URL writes a journal while it reads, so several ranks are refused. */
#include <organ/measure.h>

#include "formats/base/paged_rows.h"
#include "formats/remote/remote.h"
#include "orchestrator/surgery/measure/z_measure.h"
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/facts/facts.h"

#include <math.h>
#include <stdlib.h>

typedef struct measure_run {
    const organ_measure_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model_access access; /* HTTP headers, retries and callbacks for models behind URLs */
    organ_selection selection; /* parsed --type and --layers */
    json_t *entries;           /* entries of the models in the report, in the order of the options */
    json_t *journals;          /* paths of the journals of this run, which are removed after the reports are written */
    uint64_t bytes;            /* stored bytes of all measured tensors */
    double started;            /* time of the start, in seconds of organ_seconds_now */
} measure_run;

typedef struct measured_model {
    organ_model *model;
    organ_z_subjects subjects; /* its weights */
    bool *chosen;              /* for each tensor of the model: measure it */
} measured_model;

static organ_status measure_choose_tensors(const measure_run *m, measured_model *p, organ_error *error)
{
    const organ_model *const model = p->model;
    size_t count = 0;
    if (organ_z_subjects_find(model, &p->subjects, error) != ORGAN_OK)
        return error->status;
    if (!(p->chosen = calloc(model->tensor_count + 1, sizeof *p->chosen)))
        return organ_fail_memory(error, model->path);
    for (size_t t = 0; t < model->tensor_count; t++) {
        p->chosen[t] = p->subjects.weight_of[t] && organ_selected(&m->selection, &model->tensors[t]);
        count += p->chosen[t];
    }
    if (count == 0)
        return organ_fail(error, model->tensor_count ? ORGAN_USAGE : ORGAN_BAD_INPUT, "%s has no tensor to measure%s",
                          model->path, model->tensor_count ? " among those that --type and --layers select" : "");
    return ORGAN_OK;
}

static bool is_stopped(void *context)
{
    const measure_run *m = context;
    return organ_stop_is_requested(m->engine->stop);
}

static void note_access(void *context, const char *text)
{
    const measure_run *m = context;
    organ_progress_note(m->progress, "%s", text);
}

/* The caller closes *p even after an error. */
static organ_status open_measured_model(const measure_run *m, const char *path, measured_model *p, organ_error *error)
{
    *p = (measured_model){0};
    return organ_model_open_with(path, &m->access, &p->model, error) == ORGAN_OK ? measure_choose_tensors(m, p, error)
                                                                                 : error->status;
}

static void close_measured_model(measured_model *p)
{
    organ_z_subjects_release(&p->subjects);
    organ_model_close(p->model);
    free(p->chosen);
}

/* An error is thus found before hours are spent on measuring other models. */
static organ_status measure_examine(const measure_run *m, const char *path, organ_error *error)
{
    measured_model p;
    open_measured_model(m, path, &p, error);
    close_measured_model(&p);
    return error->status;
}

/* If the model is remote and there is an output directory, *stream becomes a journal, which the caller closes after
 * it has read z. */
static organ_status measure_tensors(const measure_run *m, const measured_model *p, organ_measure_stream **stream,
                                    organ_z *z, organ_error *error)
{
    const organ_model *const model = p->model;
    const organ_z_options options = {.chosen = p->chosen, .seed = m->options->seed, .subjects = &p->subjects};
    if (!m->options->output || organ_model_is_here(model, "", &(organ_error){0}) == ORGAN_OK)
        return organ_measure_tensors(model, &options, m->engine, m->progress, z, error);
    if (organ_ranks_refuse(m->engine->ranks, "measure of a URL with -o", error) != ORGAN_OK)
        return error->status;
    if (organ_measure_stream_open(model, m->options->seed, m->options->output, m->progress, stream, error) ==
            ORGAN_OK &&
        json_array_append_new(m->journals, organ_document_string(organ_measure_stream_path(*stream))))
        organ_fail_memory(error, model->path);
    return error->status ? error->status
                         : organ_measure_stream_run(*stream, p->chosen, &p->subjects, m->engine, z, error);
}

static json_t *entry_json(const measure_run *m, const organ_measured *measured)
{
    json_t *const entry = organ_measure_model_json(measured);
    ORGAN_ADD(entry, SET_IF(m->options->seed, "seed", organ_measure_seed_json(measured)));
    return entry;
}

static organ_status measure_one(measure_run *m, const char *path, organ_error *error)
{
    measured_model p;
    organ_z *z = NULL;
    organ_measure_stream *stream = NULL;
    if (open_measured_model(m, path, &p, error) == ORGAN_OK) {
        for (size_t t = 0; t < p.model->tensor_count; t++)
            m->bytes += p.chosen[t] ? organ_weight_bytes(p.subjects.weight_of[t]) : 0;
        if (!(z = organ_rows_take(p.model->tensor_count, sizeof *z)))
            organ_fail_memory(error, path);
        else if (measure_tensors(m, &p, &stream, z, error) == ORGAN_OK &&
                 json_array_append_new(m->entries, entry_json(m, &(organ_measured){p.model, &p.subjects, z})))
            organ_fail_memory(error, path);
    }
    organ_measure_stream_close(stream);
    close_measured_model(&p);
    organ_rows_free(z);
    return error->status;
}

static bool has_larger_theta(const json_t *a, const json_t *b)
{
    const json_t *x = json_object_get(a, "theta_mean"), *y = json_object_get(b, "theta_mean");
    return json_is_real(x) && (!json_is_real(y) || json_real_value(x) > json_real_value(y));
}

/* The sort is by insertion, so that entries with equal theta keep their order. */
json_t *organ_measure_ranked(const json_t *entries)
{
    json_t *order = json_array();
    for (size_t k = 0; k < json_array_size(entries); k++) {
        json_t *entry = json_array_get(entries, k);
        size_t at = json_array_size(order);
        while (at > 0 && has_larger_theta(entry, json_array_get(order, at - 1)))
            at--;
        json_array_insert(order, at, entry);
    }
    return order;
}

static json_t *measure_run_json(const measure_run *m)
{
    const double seconds = organ_seconds_now() - m->started;
    return ORGAN_OBJECT(SET_REAL("seconds", organ_rounded_seconds(seconds)),
                        SET_REAL("bytes_per_second", seconds > 0 ? round((double)m->bytes / seconds) : 0.0),
                        SET_COUNT("bytes", m->bytes), SET_ENGINE(m->engine));
}

static organ_status measure_models(measure_run *m, json_t **report, organ_error *error)
{
    const organ_measure_options *const o = m->options;
    for (size_t k = 0; k < o->model_count && o->model_count > 1 && !error->status; k++)
        measure_examine(m, o->models[k], error);
    for (size_t k = 0; k < o->model_count && !error->status; k++)
        measure_one(m, o->models[k], error);
    if (error->status || !(*report = organ_measure_document(organ_measure_ranked(m->entries))))
        return error->status;
    if (o->seed)
        organ_measure_seed_define(*report);
    ORGAN_ADD(*report, SET("run", measure_run_json(m)));
    return error->status;
}

static organ_status measure_and_report(measure_run *m, json_t **report, organ_error *error)
{
    const organ_measure_options *const o = m->options;
    organ_report_folder folder = {
        o->output, {"z_report.json", "Z_MEASURE_REPORT.md", NULL}, m->engine->ranks, false, false};
    if (organ_selection_parse(o->types, o->layers, &m->selection, error) == ORGAN_OK &&
        organ_report_folder_check(&folder, o->models, o->model_count, error) == ORGAN_OK &&
        organ_report_folder_make(&folder, error) == ORGAN_OK && measure_models(m, report, error) == ORGAN_OK &&
        *report && organ_report_folder_write(&folder, *report, error) == ORGAN_OK && o->output)
        for (size_t k = 0; k < json_array_size(m->journals); k++)
            organ_measure_journal_forget(json_string_value(json_array_get(m->journals, k)));
    if (error->status || !*report)            /* no error and no report: memory ran out */
        organ_report_folder_abandon(&folder); /* keeps a folder that has journals */
    return error->status;
}

static void close_measuring(measure_run *m)
{
    json_decref(m->entries);
    json_decref(m->journals);
}

organ_status organ_measure(const organ_measure_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_measure_options, options, report, error, "models",
                         options->model_count ? (const char *)options->models : ""))
        return error->status;
    measure_run m = {.options = options,
                     .engine = engine,
                     .progress = progress,
                     .entries = json_array(),
                     .journals = json_array(),
                     .started = organ_seconds_now()};
    m.access = (organ_model_access){.headers = options->headers,
                                    .header_count = options->header_count,
                                    .patience = options->patience,
                                    .context = &m,
                                    .stopped = is_stopped,
                                    .note = note_access};
    const organ_report_work work = organ_report_begin(report);
    measure_and_report(&m, report, error);
    close_measuring(&m);
    return organ_report_end(&work, "the report", error);
}
