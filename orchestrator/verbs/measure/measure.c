/* SPDX-License-Identifier: MIT
 * Runs organ measure. Ranks: measuring a URL writes a journal while it reads, so several ranks are refused. */
#include "orchestrator/verbs/measure/z_measure.h"

#include "formats/base/files.h"
#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/remote/remote.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <organ/measure.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

struct organ_measure_stream {
    const organ_model *model;
    const organ_progress *progress;
    bool seed;                 /* also compute the older measure seed/1 */
    organ_run_journal journal; /* a line for each measured weight; `lines`: those of the run that is continued */
};

/* ---- one tensor ---- */

/* The field of organ_z with this name, and its type. */
#define Z(member, type) ORGAN_STRUCT_FIELD(organ_z, member, type)

static const organ_struct_field stream_fields[] = {
    /* clang-format off */
    Z(e, REAL), Z(k, REAL), Z(c, REAL), Z(power, REAL), Z(signal, REAL), Z(theta, REAL), Z(moments.n, U64),
    Z(moments.zero, U64), Z(moments.nan, U64), Z(moments.inf, U64), Z(moments.mean, REAL),
    Z(moments.m2, REAL), Z(moments.m3, REAL), Z(moments.m4, REAL), Z(moments.min, SINGLE), Z(moments.max, SINGLE),
    Z(std, REAL), Z(kurtosis, REAL), Z(levels, U32), Z(scales, U32),
    Z(dI_dlog2s, REAL), Z(coherence, REAL), Z(information[0], REAL), Z(information[1], REAL), Z(information[2], REAL),
    Z(information[3], REAL), Z(information[4], REAL)
    /* clang-format on */
};

static const organ_struct_field stream_seed_fields[] = {
    /* clang-format off */
    Z(seed.e, REAL), Z(seed.k, REAL), Z(seed.c, REAL), Z(seed.signal, REAL), Z(seed.theta, REAL), Z(seed.scales, U32),
    Z(seed.dI_dlog2s, REAL)
    /* clang-format on */
};

json_t *organ_z_json(const organ_z *z)
{
    json_t *const reason = ORGAN_OBJECT(SET_IF(z->reason, "reason", json_string(z->reason)));
    json_t *const object = ORGAN_STRUCT_ADD(reason, stream_fields, z);
    return z->seed.there ? ORGAN_STRUCT_ADD(object, stream_seed_fields, z) : object;
}

organ_z organ_z_of_json(const json_t *json)
{
    organ_z z = {.done = true, .reason = json_string_value(json_object_get(json, "reason"))};
    z.seed.there = json_object_get(json, "seed.theta") != NULL;
    (void)ORGAN_STRUCT_READ(json, stream_fields, &z);
    (void)ORGAN_STRUCT_READ(json, stream_seed_fields, &z);
    return z;
}

/* ---- the journal ---- */

/* The version is the modification time in nanoseconds, or for a URL its ETag or Last-Modified. */
static json_t *version_json(const organ_model_file *file)
{
    if (file->remote)
        return organ_document_string(organ_http_validator(file->remote));
    return json_integer((json_int_t)file->modified.tv_sec * 1000000000 + file->modified.tv_nsec);
}

static json_t *file_json(const void *files, size_t k)
{
    const organ_model_file *const file = (const organ_model_file *)files + k;
    return ORGAN_OBJECT(SET_BYTES("file", file->name), SET_COUNT("bytes", file->size),
                        SET("version", version_json(file)));
}

/* A later run uses the other lines only if its own first line would be equal. */
static json_t *head_json(const organ_model *model, bool seed)
{
    return ORGAN_OBJECT(
        SET_TEXT("schema", "organ.measure-journal/2"),
        SET_TEXT("definition", seed ? ORGAN_Z_DEFINITION ", " ORGAN_SEED_DEFINITION : ORGAN_Z_DEFINITION),
        SET_BYTES("model", model->path), SET("files", organ_json_rows(model->file_count, file_json, model->files)));
}

/* The file's name has a digest of the model's path, so that each model has its own journal. */
static organ_status open_measure_journal(const char *directory, const char *model, organ_run_journal *j,
                                         organ_error *error)
{
    const unsigned long long key = (unsigned long long)XXH3_64bits(model, strlen(model));
    *j = (organ_run_journal){.journal = {.fd = -1}};
    ORGAN_OWNED char *const folder = organ_format("%s/organ", directory);
    if (!folder || !(j->path = organ_format("%s/measure-%016llx.jsonl", folder, key)))
        organ_fail_memory(error, directory);
    else if (mkdir(folder, 0777) && errno != EEXIST)
        organ_fail_errno(error, errno, "%s: cannot be created", folder);
    else
        organ_journal_open_locked(j->path, "another process is measuring this model", &j->journal, &j->lines, error);
    return error->status;
}

/* Removes the journal file at `path`, and its folder if it is empty. The journal must be closed. */
static void forget_journal(const char *path)
{
    char folder[PATH_MAX]; /* no allocation, so that the folder is removed even after memory ran out */
    const char *const slash = strrchr(path, '/');
    const int fd = organ_open_locked(path, O_RDWR | O_NOFOLLOW, 0); /* another process may measure the model again */
    if (fd < 0 && errno == EWOULDBLOCK)
        return;
    unlink(path);
    if (fd >= 0)
        close(fd);
    if (slash && (size_t)(slash - path) < sizeof folder) {
        memcpy(folder, path, (size_t)(slash - path));
        folder[slash - path] = '\0';
        rmdir(folder); /* fails if the folder is not empty */
    }
}

/* If the model's files or the measure changed, the lines of the journal are discarded. */
static organ_status stream_begin(organ_measure_stream *s, organ_error *error)
{
    organ_error other = {0};
    organ_run_journal_begin(&s->journal, head_json(s->model, s->seed), s->journal.path, &other);
    if (!s->journal.refused) { /* the first line matches, or it could not be written */
        *error = other;
        return error->status;
    }
    organ_progress_note(s->progress, "%s: the model changed since it was measured: it is measured again",
                        s->journal.path);
    json_array_clear(s->journal.lines);
    return organ_run_journal_begin(&s->journal, head_json(s->model, s->seed), s->journal.path, error);
}

/* Opens or creates the journal DIRECTORY/organ/measure-DIGITS.jsonl and locks it; DIGITS is a digest of the model's
 * path. `seed`: also compute the older measure seed/1. Discards lines that belong to another version of the model's
 * files (size, ETag, modification time) or to another value of `seed`. `model` and `progress` must outlive the stream.
 * Returns ORGAN_USAGE if another process has the file open, ORGAN_IO if it cannot be created or read; *result is then
 * NULL. */
static organ_status stream_open(const organ_model *model, bool seed, const char *directory,
                                const organ_progress *progress, organ_measure_stream **result, organ_error *error)
{
    organ_measure_stream *s = *result = calloc(1, sizeof *s);
    if (!s)
        return organ_fail_memory(error, directory);
    *s = (organ_measure_stream){.model = model, .progress = progress, .seed = seed};
    if (open_measure_journal(directory, model->path, &s->journal, error) == ORGAN_OK)
        stream_begin(s, error);
    if (error->status) {
        organ_measure_stream_close(s);
        *result = NULL;
    }
    return error->status;
}

static const char *stream_path(const organ_measure_stream *stream) { return stream->journal.path; }

void organ_measure_stream_close(organ_measure_stream *s)
{
    if (!s)
        return;
    organ_run_journal_close(&s->journal);
    free(s);
}

static size_t recall_tensors(const organ_measure_stream *s, const bool *chosen, organ_z *out)
{
    size_t k, count = 0;
    json_t *line;
    json_array_foreach(s->journal.lines, k, line)
    {
        const char *name = json_string_value(json_object_get(line, "tensor"));
        const organ_tensor *tensor = name ? organ_model_find(s->model, name) : NULL;
        if (!tensor || !chosen[tensor - s->model->tensors] || out[tensor - s->model->tensors].done)
            continue;
        out[tensor - s->model->tensors] = organ_z_of_json(json_object_get(line, "z"));
        count++;
    }
    return count;
}

static organ_status journal_weight(void *context, const organ_weight *weight, const organ_z *z, organ_error *error)
{
    const organ_measure_stream *s = context;
    return organ_run_journal_add(
        &s->journal, ORGAN_OBJECT(SET_TEXT("tensor", weight->codes->name), SET("z", organ_z_json(z))), error);
}

/* Fills `out` from the journal, measures the remaining chosen tensors like organ_measure_tensors, and appends each
 * result to the journal. Pointers `reason` in `out` are valid until the stream is closed. */
static organ_status stream_run(organ_measure_stream *s, const bool *chosen, const organ_z_subjects *subjects,
                               const organ_engine *engine, organ_z *out, organ_error *error)
{
    const organ_z_options options = {
        .chosen = chosen, .seed = s->seed, .finished = journal_weight, .context = s, .subjects = subjects};
    const size_t count = recall_tensors(s, chosen, out);
    if (count)
        organ_progress_note(s->progress, "continuing: %zu tensors are already measured", count);
    return organ_measure_tensors(s->model, &options, engine, s->progress, out, error);
}

typedef struct measure_run {
    const organ_measure_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model_access access; /* HTTP headers, retries and callbacks for models behind URLs */
    organ_selection selection; /* parsed --select */
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

static organ_status choose_tensors(const measure_run *m, measured_model *p, organ_error *error)
{
    const organ_model *const model = p->model;
    organ_selection selection = m->selection;
    size_t count = 0;
    organ_selection_set_model(&selection, model);
    if (organ_z_subjects_find(model, &p->subjects, error) != ORGAN_OK)
        return error->status;
    if (!(p->chosen = calloc(model->tensor_count + 1, sizeof *p->chosen)))
        return organ_fail_memory(error, model->path);
    for (size_t t = 0; t < model->tensor_count; t++) {
        p->chosen[t] = p->subjects.weight_of[t] && organ_selected(&selection, &model->tensors[t]);
        count += p->chosen[t];
    }
    if (organ_selection_check_used(&m->selection, "tensor", model->path, error))
        return error->status;
    if (count == 0)
        return organ_fail(error, model->tensor_count ? ORGAN_USAGE : ORGAN_BAD_INPUT, "%s has no tensor to measure%s",
                          model->path, model->tensor_count ? " among those that `types` selects" : "");
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
    return organ_model_open_with(path, &m->access, &p->model, error) == ORGAN_OK ? choose_tensors(m, p, error)
                                                                                 : error->status;
}

static void close_measured_model(measured_model *p)
{
    organ_z_subjects_release(&p->subjects);
    organ_model_close(p->model);
    free(p->chosen);
}

/* An error is thus found before hours are spent on measuring other models. */
static organ_status examine(const measure_run *m, const char *path, organ_error *error)
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
    if (stream_open(model, m->options->seed, m->options->output, m->progress, stream, error) == ORGAN_OK &&
        json_array_append_new(m->journals, organ_document_string(stream_path(*stream))))
        organ_fail_memory(error, model->path);
    return error->status ? error->status : stream_run(*stream, p->chosen, &p->subjects, m->engine, z, error);
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
    ORGAN_OWNED_ROWS organ_z *z = NULL;
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

static json_t *run_json(const measure_run *m)
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
        examine(m, o->models[k], error);
    for (size_t k = 0; k < o->model_count && !error->status; k++)
        measure_one(m, o->models[k], error);
    if (error->status || !(*report = organ_measure_document(organ_measure_ranked(m->entries))))
        return error->status;
    if (o->seed)
        organ_measure_seed_define(*report);
    ORGAN_ADD(*report, SET("run", run_json(m)));
    return error->status;
}

static organ_status run_and_report(measure_run *m, json_t **report, organ_error *error)
{
    const organ_measure_options *const o = m->options;
    organ_report_folder folder = {o->output, &organ_measure_view, m->engine->ranks, false, false};
    if (organ_selection_parse(o->types, o->layers, "types", &m->selection, error) == ORGAN_OK &&
        organ_report_folder_check(&folder, o->models, o->model_count, error) == ORGAN_OK &&
        organ_report_folder_make(&folder, error) == ORGAN_OK && measure_models(m, report, error) == ORGAN_OK &&
        *report && organ_report_folder_write(&folder, *report, error) == ORGAN_OK && o->output)
        for (size_t k = 0; k < json_array_size(m->journals); k++)
            forget_journal(json_string_value(json_array_get(m->journals, k)));
    if (error->status || !*report)            /* no error and no report: memory ran out */
        organ_report_folder_abandon(&folder); /* keeps a folder that has journals */
    return error->status;
}

static void close_measuring(measure_run *m)
{
    json_decref(m->entries);
    json_decref(m->journals);
    organ_selection_release(&m->selection);
}

organ_status organ_measure(const organ_measure_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
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
    run_and_report(&m, report, error);
    close_measuring(&m);
    return organ_report_end(&work, "the report", error);
}
