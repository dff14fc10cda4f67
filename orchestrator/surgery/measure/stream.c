/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/measure/stream.h"

#include "formats/base/text_buffer.h"
#include "formats/remote/remote.h"
#include "orchestrator/report/text/members.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

struct organ_measure_stream {
    const organ_model *model;
    const organ_progress *progress;
    bool seed; /* the older measure, too */
    organ_measure_journal is;
};

/* ---- one tensor ---- */

typedef enum stream_kind { COUNT64, COUNT32, REAL, SINGLE } stream_kind;

static const struct stream_field {
    const char *name;
    size_t at;
    stream_kind kind;
} fields[] = {
/* clang-format off */
#define Z(member, stream_kind) {#member, offsetof(organ_z, member), stream_kind}
    Z(e, REAL), Z(k, REAL), Z(c, REAL), Z(power, REAL), Z(signal, REAL), Z(theta, REAL), Z(moments.n, COUNT64),
    Z(moments.zero, COUNT64), Z(moments.nan, COUNT64), Z(moments.inf, COUNT64), Z(moments.mean, REAL),
    Z(moments.m2, REAL), Z(moments.m3, REAL), Z(moments.m4, REAL), Z(moments.min, SINGLE), Z(moments.max, SINGLE),
    Z(std, REAL), Z(kurtosis, REAL), Z(levels, COUNT32), Z(scales, COUNT32),
    Z(dI_dlog2s, REAL), Z(coherence, REAL), Z(information[0], REAL), Z(information[1], REAL), Z(information[2], REAL),
    Z(information[3], REAL), Z(information[4], REAL),
    /* of the older measure, last: left out where it was not asked for */
    Z(seed.e, REAL), Z(seed.k, REAL), Z(seed.c, REAL), Z(seed.signal, REAL), Z(seed.theta, REAL),
    Z(seed.scales, COUNT32),
    Z(seed.dI_dlog2s, REAL)
    /* clang-format on */
};
#define FIELDS (sizeof fields / sizeof *fields)

/* JSON knows no infinity and no NaN: they stand there as text. */
static json_t *real_json(double value)
{
    return isfinite(value) ? json_real(value) : json_string(isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
}

static double real_of(const json_t *json)
{
    return json_is_string(json) ? strtod(json_string_value(json), NULL) : json_number_value(json);
}

json_t *organ_z_json(const organ_z *z)
{
    json_t *object = json_object();
    int failed = z->reason ? json_object_set_new(object, "reason", json_string(z->reason)) : 0;
    for (size_t k = 0; k < FIELDS && (z->seed.there || fields[k].at < offsetof(organ_z, seed)); k++) {
        const void *at = (const char *)z + fields[k].at;
        json_t *value = fields[k].kind == COUNT64   ? json_integer((json_int_t) * (const uint64_t *)at)
                        : fields[k].kind == COUNT32 ? json_integer(*(const uint32_t *)at)
                        : fields[k].kind == REAL    ? real_json(*(const double *)at)
                                                    : real_json((double)*(const float *)at);
        failed |= json_object_set_new(object, fields[k].name, value);
    }
    if (failed) {
        json_decref(object);
        object = NULL;
    }
    return object;
}

organ_z organ_z_of_json(const json_t *json)
{
    organ_z z = {.done = true, .reason = json_string_value(json_object_get(json, "reason"))};
    z.seed.there = json_object_get(json, "seed.theta") != NULL;
    for (size_t k = 0; k < FIELDS; k++) {
        void *at = (char *)&z + fields[k].at;
        const json_t *value = json_object_get(json, fields[k].name);
        if (fields[k].kind == COUNT64)
            *(uint64_t *)at = (uint64_t)json_integer_value(value);
        else if (fields[k].kind == COUNT32)
            *(uint32_t *)at = (uint32_t)json_integer_value(value);
        else if (fields[k].kind == REAL)
            *(double *)at = real_of(value);
        else
            *(float *)at = (float)real_of(value);
    }
    return z;
}

/* ---- the journal ---- */

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

/* The first line: what must be the same for the others to count. */
static json_t *head_json(const organ_model *model, bool seed)
{
    return ORGAN_OBJECT(
        SET_TEXT("schema", "organ.measure-journal/2"),
        SET_TEXT("definition", seed ? ORGAN_Z_DEFINITION ", " ORGAN_SEED_DEFINITION : ORGAN_Z_DEFINITION),
        SET_BYTES("model", model->path), SET("files", organ_json_rows(model->file_count, file_json, model->files)));
}

static organ_status begin_anew(organ_measure_stream *s, const json_t *head, organ_error *error)
{
    if (json_array_size(s->is.lines) > 0)
        organ_progress_note(s->progress, "%s: the model is not the one that was measured so far: it is measured anew",
                            s->is.path);
    json_array_clear(s->is.lines);
    return organ_journal_clear(&s->is.journal, error) == ORGAN_OK ? organ_journal_append(&s->is.journal, head, error)
                                                                  : error->status;
}

static organ_status check_head(organ_measure_stream *s, organ_error *error)
{
    json_t *head = head_json(s->model, s->seed);
    if (!head)
        return organ_fail_memory(error, s->is.path);
    if (!json_equal(head, json_array_get(s->is.lines, 0)))
        begin_anew(s, head, error);
    json_decref(head);
    return error->status;
}

organ_status organ_measure_journal_open(const char *directory, const char *name, const char *model,
                                        organ_measure_journal *opened, organ_error *error)
{
    char *folder = NULL;
    const unsigned long long key = (unsigned long long)XXH3_64bits(model, strlen(model));
    *opened = (organ_measure_journal){.journal = {.fd = -1}};
    if (asprintf(&folder, "%s/organ", directory) < 0)
        return organ_fail_memory(error, directory);
    if (!(opened->path = organ_format("%s/%s-%016llx.jsonl", folder, name, key)))
        organ_fail_memory(error, directory);
    else if (mkdir(folder, 0777) && errno != EEXIST)
        organ_fail_errno(error, errno, "%s: cannot be made", folder);
    else if (organ_journal_open(opened->path, &opened->journal, &opened->lines, error) == ORGAN_OK &&
             flock(opened->journal.fd, LOCK_EX | LOCK_NB))
        organ_fail(error, ORGAN_USAGE, "%s: another process is measuring this model", opened->path);
    free(folder);
    return error->status;
}

void organ_measure_journal_close(organ_measure_journal *opened)
{
    organ_journal_close(&opened->journal);
    json_decref(opened->lines);
    free(opened->path);
}

organ_status organ_measure_stream_open(const organ_model *model, bool seed, const char *directory,
                                       const organ_progress *progress, organ_measure_stream **result,
                                       organ_error *error)
{
    organ_measure_stream *s = *result = calloc(1, sizeof *s);
    if (!s)
        return organ_fail_memory(error, directory);
    *s = (organ_measure_stream){.model = model, .progress = progress, .seed = seed};
    if (organ_measure_journal_open(directory, "measure", model->path, &s->is, error) == ORGAN_OK)
        check_head(s, error);
    if (error->status) {
        organ_measure_stream_close(s);
        *result = NULL;
    }
    return error->status;
}

const char *organ_measure_stream_path(const organ_measure_stream *stream) { return stream->is.path; }

void organ_measure_stream_forget(const char *path)
{
    char folder[PATH_MAX]; /* not allocated: the folder goes also when memory has run out */
    const char *const slash = strrchr(path, '/');
    unlink(path);
    if (slash && (size_t)(slash - path) < sizeof folder) {
        memcpy(folder, path, (size_t)(slash - path));
        folder[slash - path] = '\0';
        rmdir(folder); /* if nothing else is in it */
    }
}

void organ_measure_stream_close(organ_measure_stream *s)
{
    if (!s)
        return;
    organ_measure_journal_close(&s->is);
    free(s);
}

/* Takes over what is written down; returns how many tensors that are. */
static size_t take_over(const organ_measure_stream *s, const bool *chosen, organ_z *out)
{
    size_t k, count = 0;
    json_t *line;
    json_array_foreach(s->is.lines, k, line)
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

static organ_status write_down(void *context, const organ_weight *weight, const organ_z *z, organ_error *error)
{
    const organ_measure_stream *s = context;
    json_t *line = ORGAN_OBJECT(SET_TEXT("tensor", weight->codes->name), SET("z", organ_z_json(z)));
    if (!line)
        return organ_fail_memory(error, s->is.path);
    organ_journal_append(&s->is.journal, line, error);
    json_decref(line);
    return error->status;
}

organ_status organ_measure_stream_run(organ_measure_stream *s, const bool *chosen, const organ_z_subjects *subjects,
                                      const organ_engine *engine, organ_z *out, organ_error *error)
{
    const organ_z_options options = {
        .chosen = chosen, .seed = s->seed, .finished = write_down, .context = s, .subjects = subjects};
    const size_t count = take_over(s, chosen, out);
    if (count)
        organ_progress_note(s->progress, "continuing: %zu tensors were measured before", count);
    return organ_measure_tensors(s->model, &options, engine, s->progress, out, error);
}
