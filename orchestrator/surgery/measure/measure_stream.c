/* SPDX-License-Identifier: MIT */
#include <organ/measure.h>

#include "formats/base/file_calls.h"
#include "formats/base/text_buffer.h"
#include "formats/remote/remote.h"
#include "orchestrator/surgery/measure/z_measure.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/cache/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
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
    char *const folder = organ_format("%s/organ", directory);
    if (!folder || !(j->path = organ_format("%s/measure-%016llx.jsonl", folder, key)))
        organ_fail_memory(error, directory);
    else if (mkdir(folder, 0777) && errno != EEXIST)
        organ_fail_errno(error, errno, "%s: cannot be created", folder);
    else
        organ_journal_open_locked(j->path, "another process is measuring this model", &j->journal, &j->lines, error);
    free(folder);
    return error->status;
}

void organ_measure_journal_forget(const char *path)
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

organ_status organ_measure_stream_open(const organ_model *model, bool seed, const char *directory,
                                       const organ_progress *progress, organ_measure_stream **result,
                                       organ_error *error)
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

const char *organ_measure_stream_path(const organ_measure_stream *stream) { return stream->journal.path; }

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

organ_status organ_measure_stream_run(organ_measure_stream *s, const bool *chosen, const organ_z_subjects *subjects,
                                      const organ_engine *engine, organ_z *out, organ_error *error)
{
    const organ_z_options options = {
        .chosen = chosen, .seed = s->seed, .finished = journal_weight, .context = s, .subjects = subjects};
    const size_t count = recall_tensors(s, chosen, out);
    if (count)
        organ_progress_note(s->progress, "continuing: %zu tensors are already measured", count);
    return organ_measure_tensors(s->model, &options, engine, s->progress, out, error);
}
