/* SPDX-License-Identifier: MIT */
#include "formats/model/recognise_lists.h"

#include "formats/base/files.h"
#include "formats/model/organ_directory.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#define DEEPEST      32                        /* levels of a manifest's JSON */
#define LARGEST_LIST ((size_t)1 << 28)         /* bytes of a list */
#define STEP         ((size_t)1 << 16)         /* bytes that are hashed at a time */
#define INDEX        ".safetensors.index.json" /* ending of the name of an index */

/* Returns NULL without an error if there is no such file or if it is not JSON. */
static json_t *load_json(const char *directory, const char *name, organ_error *error)
{
    char path[PATH_MAX], *bytes = NULL;
    size_t length = 0;
    bool no_memory = false;
    json_error_t fault;
    organ_error why = {0};
    if (snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path)
        return NULL;
    organ_input_load(path, path, LARGEST_LIST, &bytes, &length, &why);
    json_t *const json = bytes ? organ_json_load(bytes, length, JSON_REJECT_DUPLICATES, &fault, &no_memory) : NULL;
    free(bytes);
    if (no_memory)
        organ_fail_errno(error, ENOMEM, "%s: no memory for it", path);
    return json;
}

/* Takes ownership of `value`; adds nothing if `path` is NULL. */
static void add_listed_file(organ_written *w, const char *path, json_t *value)
{
    if (path && !json_object_get(w->files, path))
        json_object_set_new(w->files, path, value);
    else
        json_decref(value);
}

static const char *schema_of(const json_t *document)
{
    const char *const schema = json_string_value(json_object_get(document, "schema"));
    return schema && strncmp(schema, "organ.", 6) == 0 ? schema : NULL;
}

/* ---- a manifest, the record ---- */

/* A string with a '/' could be the path of a file in a folder. Values deeper than DEEPEST are skipped. */
static void collect_paths(const json_t *json, json_t *paths, int depth)
{
    const char *key;
    size_t k;
    json_t *value;
    if (depth > DEEPEST)
        return;
    json_object_foreach((json_t *)json, key, value) collect_paths(value, paths, depth + 1);
    json_array_foreach(json, k, value) collect_paths(value, paths, depth + 1);
    const char *const text = json_string_value(json);
    if (text && strchr(text, '/'))
        json_object_set_new(paths, text, json_true());
}

static void add_member_names(organ_written *w, const json_t *files)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)files, key, value) add_listed_file(w, key, json_incref(value));
}

/* Tensors and headers go to w->parts, the manifest itself and the files in files/ to w->files. */
static void read_manifest(organ_written *w, const char *directory, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const manifest =
        organ_directory_is(directory) ? load_json(directory, ORGAN_MANIFEST, error) : NULL;
    if (manifest) {
        w->organ_directory = true;
        collect_paths(manifest, w->parts, /*depth=*/0);
        add_listed_file(w, ORGAN_MANIFEST, json_true());
        add_member_names(w, json_object_get(manifest, ORGAN_FILES_FOLDER));
    }
}

/* Returns whether the directory has a record. */
static bool read_record(organ_written *w, const char *directory, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const record = load_json(directory, ORGAN_RECORD, error);
    const char *const schema = schema_of(record);
    const bool found = schema && strcmp(schema, ORGAN_RECORD_SCHEMA) == 0;
    if (found)
        add_member_names(w, json_object_get(record, "files"));
    return found;
}

/* ---- index: with two in a directory, neither is used, since they belong to different models ---- */

/* Returns an object whose members are the names of the folder's entries with that ending; NULL without memory. */
static json_t *names_ending(const char *directory, const char *folder, const char *ending, organ_error *error)
{
    char path[PATH_MAX];
    json_t *const names = json_object();
    if (snprintf(path, sizeof path, "%s%s%s", directory, *folder ? "/" : "", folder) >= (int)sizeof path)
        return names;
    ORGAN_OWNED_FOLDER DIR *const entries = names ? organ_open_folder(path) : NULL;
    if (!entries && names && organ_is_system_failure(errno))
        organ_fail_errno(error, errno, "%s: cannot be listed", path);
    for (const struct dirent *entry; entries && (entry = readdir(entries));)
        if (organ_ends_with(entry->d_name, ending))
            json_object_set_new(names, entry->d_name, json_true());
    return names;
}

static void read_index(organ_written *w, const char *directory, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const names = names_ending(directory, /*folder=*/"", INDEX, error);
    const char *const name = json_object_size(names) == 1 ? json_object_iter_key(json_object_iter(names)) : NULL;
    json_t *const index = name && !error->status ? load_json(directory, name, error) : NULL, *value;
    json_t *const map = json_object_get(index, "weight_map");
    const char *key;
    json_object_foreach(map, key, value) add_listed_file(w, json_string_value(value), json_true());
    if (json_object_size(map) > 0)
        add_listed_file(w, name, json_true());
    json_decref(index);
}

/* ---- reports of versions that left no record ---- */

static void list_names(organ_written *w, const json_t *array)
{
    size_t k;
    json_t *value;
    json_array_foreach(array, k, value)
    {
        const json_t *const name = json_is_object(value) ? json_object_get(value, "name") : value;
        add_listed_file(w, json_string_value(name), json_true());
    }
}

/* An old version of organ did not list files in its report. Its run wrote as many files as the input has: hence all
 * .gguf files count if their number equals `of_input`, and all .safetensors files if theirs does. */
static void list_weights(organ_written *w, const char *directory, size_t of_input, organ_error *error)
{
    static const char *const usual[] = {"model.safetensors", "adapter_model.safetensors"};
    static const char *const endings[] = {".gguf", ".safetensors"};
    for (size_t k = 0; k < 2 && !error->status; k++) {
        json_t *const names = names_ending(directory, "", endings[k], error), *value;
        const char *key;
        json_object_foreach(names, key, value) if (json_object_size(names) == of_input || strcmp(key, usual[0]) == 0 ||
                                                   strcmp(key, usual[1]) == 0) add_listed_file(w, key, json_true());
        json_decref(names);
    }
}

static void read_report(organ_written *w, const char *directory, const json_t *report, organ_error *error)
{
    static const char *const inputs[] = {"donor", "model", "base", "adapter", "target"};
    static const char *const written[] = {"config.json", "generation_config.json", "adapter_config.json"};
    size_t count = 0;
    for (size_t k = 0; k < sizeof inputs / sizeof *inputs; k++) {
        const json_t *const input = json_object_get(report, inputs[k]);
        const char *const path = json_string_value(json_object_get(json_object_get(report, "run"), inputs[k]));
        count = count ? count : (size_t)json_integer_value(json_object_get(input, "files"));
        if (path && !*w->donor)
            snprintf(w->donor, sizeof w->donor, "%s", path);
    }
    list_names(w, json_object_get(report, "copied_files"));
    list_names(w, json_object_get(report, "files"));
    for (size_t k = 0; k < sizeof written / sizeof *written; k++)
        add_listed_file(w, written[k], json_true());
    list_weights(w, directory, count, error);
}

/* Reports of an organ directory are not read, because its manifest lists all files. */
static void read_reports(organ_written *w, const char *directory, organ_error *error)
{
    json_t *const names = names_ending(directory, ORGAN_REPORT_FOLDER, ".json", error), *value;
    const char *key;
    json_object_foreach(names, key, value)
    {
        char name[NAME_MAX + sizeof ORGAN_REPORT_FOLDER + 1];
        snprintf(name, sizeof name, ORGAN_REPORT_FOLDER "/%s", key);
        ORGAN_OWNED_JSON json_t *const report = error->status ? NULL : load_json(directory, name, error);
        if (schema_of(report)) {
            w->reported = true;
            if (!w->organ_directory)
                read_report(w, directory, report, error);
        }
    }
    json_decref(names);
}

/* `organ assemble` writes the original files again. */
static void read_sources(organ_written *w, const char *like, organ_error *error)
{
    json_t *const manifest = like && organ_directory_is(like) ? load_json(like, ORGAN_MANIFEST, error) : NULL, *source;
    const char *name;
    json_object_foreach(json_object_get(manifest, "sources"), name, source)
        add_listed_file(w, name, json_pack("{s:O*}", "bytes", json_object_get(source, "size")));
    json_decref(manifest);
}

/* If there is a record or a manifest, the index and the reports are ignored: a file that it lacks was added later. */
organ_status organ_written_read(const char *directory, const char *like, organ_written *w, organ_error *error)
{
    const organ_memory_work work = organ_memory_work_begin();
    *w = (organ_written){.parts = json_object(), .files = json_object()};
    w->recorded = read_record(w, directory, error);
    if (!error->status)
        read_manifest(w, directory, error);
    if (!error->status && !w->recorded && !w->organ_directory) /* a manifest lists all files */
        read_index(w, directory, error);
    if (!error->status && !w->recorded)
        read_reports(w, directory, error);
    if (!error->status && !w->recorded)
        read_sources(w, like, error);
    organ_memory_work_end(&work, &w->files, directory, error);
    if (!w->files && !error->status)
        organ_fail_errno(error, ENOMEM, "%s: cannot be listed", directory);
    return error->status;
}

void organ_written_release(organ_written *w)
{
    json_decref(w->parts);
    json_decref(w->files);
    *w = (organ_written){0};
}

/* ---- a file that is listed ---- */

organ_status organ_file_digest(int fd, const char *path, char digest[17], organ_error *error)
{
    char bytes[STEP];
    ssize_t got = 0;
    XXH3_state_t *const state = XXH3_createState();
    if (!state)
        return organ_fail_errno(error, ENOMEM, "%s: cannot be compared", path);
    XXH3_64bits_reset(state);
    for (off_t at = 0; (got = organ_pread_full(fd, bytes, STEP, at)) > 0; at += got)
        XXH3_64bits_update(state, bytes, (size_t)got);
    if (got < 0)
        organ_fail_errno(error, errno, "%s: cannot be read", path);
    snprintf(digest, 17, "%016" PRIx64, (uint64_t)XXH3_64bits_digest(state));
    XXH3_freeState(state);
    return error->status;
}

/* An entry without a size matches also if `fd` is -1. A file that cannot be read counts as different. */
bool organ_written_has(const organ_written *w, const char *path, int fd, bool *changed, organ_error *error)
{
    const json_t *const entry = json_object_get(w->files, path);
    const char *const xxh3 = json_string_value(json_object_get(entry, "xxh3"));
    char digest[17];
    struct stat info;
    if (!json_is_object(entry))
        return entry != NULL; /* listed without size: by name alone */
    if (fd < 0)
        return false;
    *changed = fstat(fd, &info) || !S_ISREG(info.st_mode) ||
               json_integer_value(json_object_get(entry, "bytes")) != info.st_size ||
               (xxh3 && (organ_file_digest(fd, path, digest, error) || strcmp(digest, xxh3) != 0));
    return !*changed;
}
