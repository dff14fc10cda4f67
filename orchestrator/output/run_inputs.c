/* SPDX-License-Identifier: MIT */
#include "orchestrator/output/run_inputs.h"
#include "orchestrator/output/cache.h"
#include "orchestrator/output/model_copy.h"

#include "formats/base/text.h"
#include "formats/model/organ_directory.h"
#include "formats/model/recognise.h"
#include "formats/model/recognise_lists.h"
#include "formats/remote/remote.h"
#include "formats/safetensors/safetensors.h"
#include "formats/tokenizer/tokenizer_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_DIGESTED ((off_t)64 << 20) /* bytes of the largest file that gets a digest */

/* ---- rows ---- */

static json_int_t nanoseconds(struct timespec time) { return (json_int_t)time.tv_sec * 1000000000 + time.tv_nsec; }

static organ_status add_row(organ_run_inputs *inputs, json_t *row, const char *path, organ_error *error)
{
    if (!inputs->rows)
        inputs->rows = json_array();
    if (!row || json_array_append_new(inputs->rows, row))
        organ_fail_memory(error, path);
    return error->status;
}

/* `digested`: the file gets a digest if it is small. */
static organ_status add_file(organ_run_inputs *inputs, const char *what, const char *name, const char *path,
                             bool digested, organ_error *error)
{
    char digest[17] = "";
    struct stat info;
    int fd = -1;
    if (organ_input_open(path, &fd, &info, error))
        return error->status;
    inputs->closed |= organ_closed_modes(path);
    if (digested && info.st_size <= MOST_DIGESTED)
        organ_file_digest(fd, path, digest, error);
    close(fd);
    if (error->status)
        return error->status;
    return add_row(inputs,
                   ORGAN_OBJECT(SET_TEXT("what", what), SET_BYTES("file", name), SET_BYTES("path", path),
                                SET_COUNT("bytes", info.st_size), SET_COUNT("inode", info.st_ino),
                                SET_COUNT("modified_ns", nanoseconds(info.st_mtim)),
                                SET_COUNT("changed_ns", nanoseconds(info.st_ctim)),
                                SET_COUNT("mode", info.st_mode & 07777), SET_IF(*digest, "xxh3", json_string(digest))),
                   path, error);
}

static organ_status add_below(organ_run_inputs *inputs, const char *what, const char *root, const char *name,
                              organ_error *error)
{
    ORGAN_OWNED char *const path = organ_format("%s/%s", root, name);
    if (!path)
        return organ_fail_memory(error, root);
    return add_file(inputs, what, name, path, !organ_is_weights_at(AT_FDCWD, path, error), error);
}

static organ_status add_listed(organ_run_inputs *inputs, const char *what, const char *root,
                               const organ_file_list *list, organ_error *error)
{
    for (size_t k = 0; k < list->count && !error->status; k++)
        add_below(inputs, what, root, list->names[k], error);
    return error->status;
}

/* ---- models ---- */

/* A file at a URL has no inode and no times, but its server may state a version. */
static organ_status add_weights(organ_run_inputs *inputs, const char *what, const organ_model *model,
                                organ_error *error)
{
    for (size_t f = 0; f < model->file_count && !error->status; f++) {
        const organ_model_file *const file = &model->files[f];
        if (file->remote)
            add_row(inputs,
                    ORGAN_OBJECT(SET_TEXT("what", what), SET_BYTES("file", file->name), SET_COUNT("bytes", file->size),
                                 SET_BYTES("validator", organ_http_validator(file->remote))),
                    file->name, error);
        else
            add_file(inputs, what, file->name, file->path, /*digested=*/false, error);
    }
    return error->status;
}

/* Adds the files that readers of a model look for next to its weights, and the index by which the model was opened. */
static organ_status add_next_to(organ_run_inputs *inputs, const char *what, const organ_model *model,
                                organ_error *error)
{
    static const char *const others[] = {"adapter_config.json", ORGAN_COMPANIONS, ORGAN_TOKENIZER_OTHERS, NULL};
    const char *name = model->index ? model->index : others[0];
    for (size_t k = model->index ? 0 : 1; name && !error->status; name = others[k++]) {
        ORGAN_OWNED char *const path = organ_format("%s/%s", model->directory, name);
        if (!path)
            return organ_fail_memory(error, model->path);
        if (access(path, F_OK) == 0)
            add_file(inputs, what, name, path, /*digested=*/true, error);
    }
    return error->status;
}

organ_status organ_run_inputs_add_model(organ_run_inputs *inputs, const char *what, const organ_model *model,
                                        organ_error *error)
{
    ORGAN_RELEASED_BY(organ_list_release) organ_file_list list = {0};
    ORGAN_OWNED char *root = NULL;
    if (error->status || add_weights(inputs, what, model, error))
        return error->status;
    if (model->file_count && model->files[0].remote)
        return ORGAN_OK;
    if (model->whole_directory)
        inputs->closed |= organ_closed_modes(model->directory);
    if (!model->manifest && !model->whole_directory)
        return model->gguf ? ORGAN_OK : add_next_to(inputs, what, model, error);
    if (organ_extra_files_list(model, &root, &list, error) == ORGAN_OK)
        add_listed(inputs, what, root, &list, error);
    if (!error->status && model->manifest)
        add_below(inputs, what, model->directory, ORGAN_MANIFEST, error);
    return error->status;
}

organ_status organ_run_inputs_add(organ_run_inputs *inputs, const char *what, const char *path, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_list_release) organ_file_list list = {0};
    struct stat info;
    if (error->status || !path || strcmp(path, "-") == 0 || organ_http_is_url(path) || stat(path, &info))
        return error->status;
    if (S_ISREG(info.st_mode))
        return add_file(inputs, what, organ_path_name(path), path, !organ_is_weights_at(AT_FDCWD, path, error), error);
    inputs->closed |= organ_closed_modes(path);
    if (S_ISDIR(info.st_mode) && organ_list_files(path, NULL, 0, &list, error) == ORGAN_OK)
        add_listed(inputs, what, path, &list, error);
    return error->status;
}

json_t *organ_run_inputs_json(const organ_run_inputs *inputs)
{
    return inputs->rows ? json_incref(inputs->rows) : json_array();
}

void organ_run_inputs_release(organ_run_inputs *inputs)
{
    json_decref(inputs->rows);
    *inputs = (organ_run_inputs){0};
}

/* ---- comparison ---- */

static const char *text_of(const json_t *row, const char *key)
{
    const char *const text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static bool same_member(const json_t *was, const json_t *now, const char *key)
{
    const json_t *const a = json_object_get(was, key), *const b = json_object_get(now, key);
    return a == b || json_equal(a, b);
}

static bool same_name(const json_t *was, const json_t *now)
{
    return same_member(was, now, "what") && same_member(was, now, "file");
}

/* Returns how the file has changed; NULL: it has not. */
static const char *change_of(const json_t *was, const json_t *now)
{
    if (!same_member(was, now, "bytes"))
        return "has another size";
    if (!same_member(was, now, "validator"))
        return "has another version on its server";
    if (json_object_get(was, "xxh3") && json_object_get(now, "xxh3"))
        return same_member(was, now, "xxh3") ? NULL : "has another content";
    if (!same_member(was, now, "inode"))
        return "is another file, a copy or a replacement";
    if (!same_member(was, now, "modified_ns"))
        return "was written to";
    return same_member(was, now, "changed_ns") ? NULL : "was written to, renamed or got other permissions";
}

/* Returns the row of the same file; row `k`, if it has that name. NULL: there is none. */
static const json_t *row_like(const json_t *rows, const json_t *row, size_t k)
{
    const json_t *const same = json_array_get(rows, k);
    if (same && same_name(same, row))
        return same;
    for (k = 0; k < json_array_size(rows); k++)
        if (same_name(json_array_get(rows, k), row))
            return json_array_get(rows, k);
    return NULL;
}

/* Writes the sentence of inputs_differ. Returns true, the result of its caller. */
static bool say_change(const json_t *row, const char *change, char text[ORGAN_RUN_INPUTS_TEXT])
{
    const char *const path = text_of(row, "path");
    snprintf(text, ORGAN_RUN_INPUTS_TEXT, "%.160s '%.160s'%s%.300s%s %s", text_of(row, "what"), text_of(row, "file"),
             *path ? " (" : "", path, *path ? ")" : "", change);
    return true;
}

/* Finds the first file that differs between the lists of two runs, and returns whether there is one: `text` then says
 * which and how ("base config.json (DIR/config.json) has another content"). Files with digests are equal if the
 * digests are; all others if size, inode, and times of modification and of status change are. Paths may differ. */
static bool inputs_differ(const json_t *was, const json_t *now, char text[ORGAN_RUN_INPUTS_TEXT])
{
    const json_t *row;
    size_t k;
    json_array_foreach(now, k, row)
    {
        const json_t *const old = row_like(was, row, k);
        const char *const change = old ? change_of(old, row) : "was no input of that run";
        if (change)
            return say_change(row, change, text);
    }
    json_array_foreach(was, k, row) if (!row_like(now, row, k)) return say_change(row, "is no longer an input", text);
    return false;
}

/* Returns ORGAN_USAGE, naming the member, if a member of `members` differs from that of `was`; NULL `members` means
 * that the caller had no memory. */
static organ_status check_members(const json_t *was, const json_t *members, const char *output, organ_error *error)
{
    organ_cache_difference d;
    if (!members)
        return organ_fail_memory(error, output);
    return organ_cache_differs(was, members, &d)
               ? organ_fail(
                     error, ORGAN_USAGE,
                     "%s: the unfinished run cannot be continued: its %s was %s and is now %s; `force` starts over",
                     output, d.key, d.was, d.is)
               : ORGAN_OK;
}

/* Another version of the program, or another verb, may list its inputs in another way. */
organ_status organ_run_heads_compare(const json_t *was, const json_t *now, const char *output, organ_error *error)
{
    static const char *const made_by[] = {"schema", "definition", "organ"};
    char text[ORGAN_RUN_INPUTS_TEXT];
    ORGAN_OWNED_JSON json_t *const first = json_object(), *const rest = json_copy((json_t *)now);
    for (size_t k = 0; k < sizeof made_by / sizeof *made_by; k++)
        if (json_object_get(now, made_by[k]) && json_object_set(first, made_by[k], json_object_get(now, made_by[k])))
            organ_fail_memory(error, output);
    if (rest)
        json_object_del(rest, ORGAN_RUN_INPUTS);
    if (!error->status && check_members(was, first, output, error) == ORGAN_OK &&
        inputs_differ(json_object_get(was, ORGAN_RUN_INPUTS), json_object_get(now, ORGAN_RUN_INPUTS), text))
        organ_fail(error, ORGAN_USAGE, "%s: the unfinished run cannot be continued: its %s; `force` starts over",
                   output, text);
    if (!error->status)
        check_members(was, rest, output, error);
    return error->status;
}

/* ---- records ---- */

#define RECORD_SCHEMA "organ.run/1"

static json_t *record_of(const organ_run_inputs *inputs, json_t *options)
{
    return ORGAN_OBJECT(SET_TEXT("schema", RECORD_SCHEMA), SET_TEXT("organ", ORGAN_VERSION), SET("options", options),
                        SET(ORGAN_RUN_INPUTS, organ_run_inputs_json(inputs)));
}

organ_status organ_run_record_begin(const char *record, const organ_run_inputs *inputs, json_t *options,
                                    organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const all = record_of(inputs, options);
    if (!ORGAN_ADD(all, SET("made", json_object())))
        return organ_fail_memory(error, record);
    if (!error->status)
        organ_document_replace(record, all, error);
    return error->status;
}

organ_status organ_run_record_end(const char *record, const char *key, const char *made, organ_error *error)
{
    const organ_cache file = {.path = record, .schema = RECORD_SCHEMA};
    ORGAN_RELEASED_BY(organ_run_inputs_release) organ_run_inputs state = {0};
    ORGAN_OWNED_JSON json_t *all = NULL;
    if (organ_cache_load(&file, NULL, &all, error) == ORGAN_OK && all &&
        organ_run_inputs_add(&state, "output", made, error) == ORGAN_OK) {
        json_object_del(all, "seal"); /* the new document gets its own */
        if (json_object_set_new(json_object_get(all, "made"), key, organ_run_inputs_json(&state)))
            organ_fail_memory(error, record);
        else
            organ_document_replace(record, all, error);
    }
    return error->status;
}

organ_status organ_run_record_has(const char *record, const char *key, bool *noted, organ_error *error)
{
    const organ_cache file = {.path = record, .schema = RECORD_SCHEMA};
    ORGAN_OWNED_JSON json_t *all = NULL;
    organ_cache_load(&file, NULL, &all, error);
    *noted = json_object_get(json_object_get(all, "made"), key) != NULL;
    return error->status;
}

static organ_status check_state(const json_t *was, const char *made, bool *whole, organ_error *error)
{
    char unused[ORGAN_RUN_INPUTS_TEXT];
    ORGAN_RELEASED_BY(organ_run_inputs_release) organ_run_inputs state = {0};
    if (was && organ_run_inputs_add(&state, "output", made, error) == ORGAN_OK)
        *whole = json_array_size(was) && !inputs_differ(was, state.rows, unused);
    return error->status;
}

organ_status organ_run_record_check(const char *record, const organ_run_inputs *inputs, json_t *options,
                                    const char *output, const char *key, const char *made, bool *whole,
                                    organ_error *error)
{
    const organ_cache file = {.path = record, .schema = RECORD_SCHEMA};
    ORGAN_OWNED_JSON json_t *const now = record_of(inputs, options);
    ORGAN_OWNED_JSON json_t *was = NULL;
    *whole = false;
    ORGAN_OWNED_JSON json_t *const wanted = json_incref(json_object_get(now, "options"));
    if (!wanted || json_object_del(now, "options"))
        return organ_fail_memory(error, record);
    if (organ_cache_load(&file, NULL, &was, error) == ORGAN_OK && was &&
        organ_run_heads_compare(was, now, output, error) == ORGAN_OK &&
        check_members(json_object_get(was, "options"), wanted, output, error) == ORGAN_OK)
        check_state(json_object_get(json_object_get(was, "made"), key), made, whole, error);
    return error->status;
}
