/* SPDX-License-Identifier: MIT */

#include "formats/architecture/sizes.h"
#include "formats/base/files.h"

#include "formats/base/results.h"
#include "formats/base/json.h"
#include "formats/base/rows.h"
#include "formats/model/mlx_view.h"
#include "formats/model/organ_directory.h"
#include "formats/model/recognise.h"
#include "formats/remote/remote.h"
#include "formats/safetensors/safetensors.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct model_state {
    organ_model model; /* the first member, so that a pointer to it is a pointer to the state */
    organ_model_place place;
    organ_shards shards;                   /* parsed index; released when the model is open */
    organ_tensor_list list;                /* tensors of all files */
    organ_model_file *files;               /* model.files, while it grows */
    organ_gguf_header header;              /* header of the first file of a GGUF model */
    const char *problems[2], *warnings[8]; /* model.problems and model.warnings: no model has more of each */
    organ_manifest manifest;               /* manifest of an organ directory */
    const organ_model_access *access;      /* the caller's, or NULL */
    const char *adapter, *repair_pair;     /* results of organ_model_adapter and organ_model_repair_pair */
    organ_http *http;                      /* connections of a model at a URL */
    /* size, time and inode of the local config.json that was read; `path` is NULL if there is none */
    organ_model_file config;
    bool keeps_codes;            /* organ_model_open_codes */
    organ_compositions composed; /* tensors that the files do not have in this form */
    bool missing; /* the last file that was requested at the URL does not exist on the server (404 or 410) */
} model_state;

/* The result is the index, or the part of a split model that the user named; NULL if the user named `file` itself
 * and for a model in one file. */
static const char *named_by(const model_state *s, const organ_model_file *file)
{
    if (s->place.gguf)
        return strcmp(file->name, s->place.file) == 0 ? NULL : s->place.file;
    return s->place.index;
}

/* The status is ORGAN_BAD_INPUT, because the model is incomplete, instead of ORGAN_IO. */
static organ_status fail_missing(const model_state *s, const organ_model_file *file, const char *why,
                                 organ_error *error)
{
    return organ_refuse(error, named_by(s, file), "%s '%s', which does not exist%s",
                        s->place.gguf ? "is one part of a model, another part is" : "names", file->name, why);
}

/* A 404 for a file that an index or another part refers to is reported as a missing file of the model. */
static organ_status open_remote(model_state *s, organ_model_file *file, organ_error *error)
{
    organ_error fault = {0};
    if (organ_http_open(s->http, file->name, &file->remote, &s->missing, &fault) == ORGAN_OK)
        file->size = organ_http_size(file->remote);
    else if (s->missing && named_by(s, file))
        fail_missing(s, file, /*why=*/"", error);
    else
        *error = fault;
    return error->status;
}

static organ_status open_file(model_state *s, organ_model_file *file, organ_error *error)
{
    struct stat info;
    if (s->http)
        return open_remote(s, file, error);
    if (named_by(s, file) && access(file->path, F_OK) != 0 && errno == ENOENT)
        return fail_missing(s, file, lstat(file->path, &info) == 0 ? " (dangling symbolic link)" : "", error);
    return organ_model_file_open_here(file, error);
}

static organ_status read_gguf(model_state *s, size_t k, size_t count, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_gguf_header_release) organ_gguf_header part = {0};
    organ_gguf_header *header = k == 0 ? &s->header : &part;
    organ_gguf_read(s->files, k, header, &s->list, error);
    if (!error->status && count > 1)
        organ_gguf_split_check(s->files[k].name, &header->view, &s->header.view, (unsigned)k, (unsigned)count,
                               s->list.count, error);
    return error->status;
}

/* `name` is copied, `path` is not and may be NULL if the caller had no memory for it. `count` is the number of parts
 * of a split GGUF model. */
static organ_status append_file(model_state *s, const char *name, const char *path, size_t count, organ_error *error)
{
    const size_t k = s->model.file_count++;
    organ_model_file *const file = &s->files[k];
    *file = (organ_model_file){.name = organ_arena_copy(&s->list.arena, name, strlen(name)), .path = path, .fd = -1};
    if (!file->name || !file->path)
        return organ_fail_memory(error, s->place.path);
    if (open_file(s, file, error) != ORGAN_OK)
        return error->status;
    return s->place.gguf ? read_gguf(s, k, count, error) : organ_safetensors_read(s->files, k, &s->list, error);
}

/* The first file_count files are already open: a GGUF part is opened before the number of parts is known. */
static organ_status open_files(model_state *s, const char *const *names, size_t count, organ_error *error)
{
    organ_model_file *files = realloc(s->files, count * sizeof *s->files);
    if (!files)
        return organ_fail_memory(error, s->place.path);
    s->files = files;
    /* Models of a thousand shards exceed the usual limit, 1024, and a run may open several models. */
    organ_raise_descriptors(4 * (uint64_t)count + 256);
    for (size_t k = s->model.file_count; k < count && !error->status; k++)
        append_file(s, names[k], organ_path_join(&s->list.arena, s->place.directory, names[k]), count, error);
    return error->status;
}

static void close_files(model_state *s)
{
    for (size_t k = 0; k < s->model.file_count; k++)
        if (s->files[k].remote)
            organ_http_close(s->files[k].remote);
        else if (s->files[k].fd >= 0)
            close(s->files[k].fd);
    s->model.file_count = 0;
}

static organ_status append_sentence(model_state *s, const char *text, const char **list, size_t *count,
                                    organ_error *error)
{
    const char *const kept = list[(*count)++] = organ_arena_copy(&s->list.arena, text, strlen(text));
    return kept ? ORGAN_OK : organ_fail_memory(error, s->place.path);
}

static organ_status note_total(model_state *s, organ_error *error)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < s->list.count; k++)
        bytes += s->list.tensors[k].bytes;
    if (organ_shards_total_is(&s->shards, bytes))
        return ORGAN_OK;
    char text[400];
    snprintf(text, sizeof text, "%s: metadata.total_size is %.40s, but the tensors have %" PRIu64 " bytes",
             s->place.index, s->shards.total_size, bytes);
    return append_sentence(s, text, s->warnings, &s->model.warning_count, error);
}

/* *bytes is NULL if the file does not exist, also if the folder of its name is a file: the program organ may be next to
 * a model. `folder`, "" or "/FOLDER", is appended to the directory of a local model. Until the model is open, its
 * directory is in s->place only. */
static organ_status load_next_to(const model_state *s, const char *folder, const char *name, size_t limit, char **bytes,
                                 size_t *length, organ_error *error)
{
    *bytes = NULL;
    *length = 0;
    if (s->http)
        return organ_http_load(s->http, name, limit, bytes, length, error);
    ORGAN_OWNED char *const path =
        organ_format("%s%s/%s", s->model.directory ? s->model.directory : s->place.directory, folder, name);
    if (!path)
        return organ_fail_memory(error, s->place.path);
    if (access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR))
        organ_input_load(path, name, limit, bytes, length, error);
    return error->status;
}

/* If the place names no index (a directory at a URL), tries the usual name: if that file does not exist, there is no
 * error, and place.index stays NULL. */
static organ_status read_index(model_state *s, organ_error *error)
{
    const char *const name = s->place.index ? s->place.index : ORGAN_INDEX_NAME;
    ORGAN_OWNED char *bytes = NULL;
    size_t length;
    if (load_next_to(s, /*folder=*/"", name, ORGAN_INDEX_LIMIT, &bytes, &length, error) == ORGAN_OK && bytes) {
        organ_shards_parse(bytes, length, name, &s->shards, error);
        s->place.index = name;
    } else if (!error->status && s->place.index) {
        organ_fail(error, ORGAN_IO, "%s: no such file", s->place.path);
    }
    return error->status;
}

static organ_status watch_config(model_state *s, const char *folder, organ_error *error)
{
    struct stat info;
    free((char *)s->config.path);
    s->config = (organ_model_file){.fd = -1};
    s->model.config_file = NULL;
    if (s->http)
        return ORGAN_OK;
    char *const path =
        organ_format("%s%s/config.json", s->model.directory ? s->model.directory : s->place.directory, folder);
    if (!path)
        return organ_fail_memory(error, s->place.path);
    if (stat(path, &info) == 0) {
        s->config.name = s->config.path = path;
        organ_model_file_take(&s->config, &info);
        s->model.config_file = &s->config;
    } else
        free(path);
    return ORGAN_OK;
}

/* Another value than a string of the length of a file's name is ignored. */
static organ_status keep_word(model_state *s, const char *word, size_t length, const char **kept, organ_error *error)
{
    if (!word || length == 0 || length > NAME_MAX || memchr(word, '\0', length))
        return ORGAN_OK;
    const char *const text = organ_arena_copy(&s->list.arena, word, length);
    *kept = text && organ_utf8_valid(text) ? text : NULL;
    return text ? ORGAN_OK : organ_fail_memory(error, s->place.path);
}

static organ_status keep_member(model_state *s, json_t *root, const char *name, const char **kept, organ_error *error)
{
    const char *const word = json_string_value(json_object_get(root, name));
    return keep_word(s, word, word ? strlen(word) : 0, kept, error);
}

static organ_status keep_key(model_state *s, const char *key, const char **kept, organ_error *error)
{
    size_t length = 0;
    const char *const word = organ_gguf_string(s->model.gguf, key, &length);
    return keep_word(s, word, length, kept, error);
}

/* `bytes`: a config.json that has been read without an error. */
static organ_status find_adapter(model_state *s, const char *bytes, size_t length, organ_error *error)
{
    const organ_json_source text = {"config.json", bytes, length};
    ORGAN_OWNED_JSON json_t *root = NULL;
    if (organ_json_parse_object(&text, &root, error) == ORGAN_OK &&
        keep_member(s, root, ORGAN_REPAIR_ADAPTER, &s->adapter, error) == ORGAN_OK)
        keep_member(s, root, ORGAN_REPAIR_PAIR, &s->repair_pair, error);
    return error->status;
}

/* `bytes`: a config.json that has been read without an error. */
static void view_mlx(model_state *s, const char *bytes, organ_error *error)
{
    const organ_mlx_saved saved = {s->place.path, s->model.config.model_type, bytes,
                                   s->files,      s->model.file_count,        s->keeps_codes};
    if (organ_mlx_view(&saved, &s->list, &s->composed, error) == ORGAN_OK && s->composed.used)
        organ_model_files_count(s->files, s->model.file_count, &s->list);
}

static organ_status read_config(model_state *s, const char *folder, organ_error *error)
{
    char *bytes;
    size_t length;
    if (watch_config(s, folder, error) != ORGAN_OK)
        return error->status;
    if (load_next_to(s, folder, "config.json", ORGAN_CONFIG_LIMIT, &bytes, &length, error) == ORGAN_OK)
        organ_hf_config_parse(bytes, length, "config.json", &s->model.config, error);
    if (!error->status && bytes && !s->model.manifest)
        view_mlx(s, bytes, error);
    if (!error->status && bytes && memmem(bytes, length, ORGAN_REPAIR_ADAPTER, strlen(ORGAN_REPAIR_ADAPTER)))
        find_adapter(s, bytes, length, error);
    free(bytes);
    return error->status;
}

/* A tensor in another shard than the index says, or a wrong total_size, only gives a warning. */
static organ_status open_shards(model_state *s, organ_error *error)
{
    enum { REPLACED, MISPLACED, UNNAMED, WARNINGS };
    char warnings[WARNINGS][ORGAN_SHARDS_WARNING] = {""};
    if (open_files(s, s->shards.files, s->shards.file_count, error) != ORGAN_OK)
        return error->status;
    if (organ_shards_drop_replaced(&s->shards, &s->list, warnings[REPLACED]))
        organ_model_files_count(s->files, s->model.file_count, &s->list);
    organ_shards_check(&s->shards, &s->list, warnings[MISPLACED], error);
    if (!s->http)
        organ_shards_find_unnamed(&s->shards, s->place.directory, warnings[UNNAMED]);
    for (size_t k = 0; k < WARNINGS && !error->status; k++)
        if (*warnings[k])
            append_sentence(s, warnings[k], s->warnings, &s->model.warning_count, error);
    return error->status ? error->status : note_total(s, error);
}

/* Opens the usual single file of a server's model. s->place.file stays NULL if the server has no such file. */
static organ_status try_single(model_state *s, organ_error *error)
{
    organ_error fault = {0};
    s->place.file = ORGAN_SINGLE_NAME;
    if (open_files(s, &s->place.file, 1, &fault) == ORGAN_OK)
        return ORGAN_OK;
    if (!s->missing) {
        *error = fault;
        return fault.status;
    }
    s->place.file = NULL;
    s->model.file_count = 0;
    return ORGAN_OK;
}

/* organ_model_find does not expect words of wrappers of PyTorch in names. */
static organ_status note_wrapped(model_state *s, organ_error *error)
{
    char text[400];
    if (s->list.wrapped == 0)
        return ORGAN_OK;
    snprintf(text, sizeof text,
             "%zu tensor name%s been saved from a wrapped model (_orig_mod., module.): organ reads them without these "
             "words, transformers does not load them",
             s->list.wrapped, s->list.wrapped == 1 ? " has" : "s have");
    return append_sentence(s, text, s->warnings, &s->model.warning_count, error);
}

static organ_status note_unread(model_state *s, organ_error *error)
{
    char text[400];
    if (!s->place.unread)
        return ORGAN_OK;
    snprintf(text, sizeof text, "organ reads %s, as transformers does, and not %s next to it", s->place.file,
             s->place.unread);
    return append_sentence(s, text, s->warnings, &s->model.warning_count, error);
}

static organ_status note_adapter(model_state *s, organ_error *error)
{
    char text[400];
    if (s->model.gguf && keep_key(s, ORGAN_REPAIR_ADAPTER_KEY, &s->adapter, error) == ORGAN_OK)
        keep_key(s, ORGAN_REPAIR_PAIR_KEY, &s->repair_pair, error);
    if (error->status || !s->adapter)
        return error->status;
    snprintf(
        text, sizeof text,
        "the model needs the adapter %s, with which its codes were chosen: without it the model is worse (organ lora "
        "merge joins them)",
        s->adapter);
    return append_sentence(s, text, s->warnings, &s->model.warning_count, error);
}

static organ_status open_safetensors(model_state *s, organ_error *error)
{
    if (s->place.file)
        return open_files(s, &s->place.file, 1, error);
    if (!s->place.index && (try_single(s, error) || s->place.file))
        return error->status;
    if (read_index(s, error) != ORGAN_OK)
        return error->status;
    if (s->place.index)
        return open_shards(s, error);
    return organ_fail(error, ORGAN_IO,
                      "%s: no model here: the server has no " ORGAN_SINGLE_NAME " and no " ORGAN_INDEX_NAME
                      " there; if the file has another name, give its URL",
                      s->place.path);
}

/* The file that the user named is already open. If it is the first part it stays open, and its split keys are
 * checked here, because read_gguf did not have the number of parts; otherwise it is closed, because the list of
 * tensors must begin with the first part. */
static organ_status open_parts(model_state *s, unsigned parts, organ_error *error)
{
    unsigned part, named;
    const size_t length = organ_gguf_split_parse(s->place.file, &part, &named);
    const char **names = organ_arena_take(&s->place.arena, parts * sizeof *names);
    for (unsigned k = 0; names && k < parts; k++)
        if (!(names[k] = organ_gguf_split_name(&s->place.arena, s->place.file, length, k + 1, parts)))
            names = NULL;
    if (!names)
        return organ_fail_memory(error, s->place.path);
    if (part != 1) {
        close_files(s);
        organ_tensor_list_release(&s->list);
        organ_gguf_header_release(&s->header);
    } else if (organ_gguf_split_check(names[0], &s->header.view, &s->header.view, 0, parts, s->list.count, error) !=
               ORGAN_OK) {
        return error->status;
    }
    return open_files(s, names, parts, error);
}

/* llama.cpp rejects models with these properties. Only the first name that is too long is reported. */
static organ_status note_deviations(model_state *s, organ_error *error)
{
    char text[400];
    const uint64_t alignment = s->header.view.alignment;
    if (alignment & (alignment - 1)) {
        snprintf(text, sizeof text,
                 "%s: general.alignment is %" PRIu64 ", not a power of two: llama.cpp rejects the file",
                 s->files[0].name, alignment);
        if (append_sentence(s, text, s->problems, &s->model.problem_count, error) != ORGAN_OK)
            return error->status;
    }
    for (size_t k = 0; k < s->list.count; k++)
        if (strlen(s->list.tensors[k].name) >= ORGAN_GGUF_NAME_LIMIT) {
            snprintf(text, sizeof text, "%s: the name of tensor '%s' has %u bytes: llama.cpp rejects more than %u",
                     s->files[s->list.tensors[k].file].name, s->list.tensors[k].name, ORGAN_GGUF_NAME_LIMIT,
                     ORGAN_GGUF_NAME_LIMIT - 1);
            return append_sentence(s, text, s->problems, &s->model.problem_count, error);
        }
    return ORGAN_OK;
}

static organ_status open_gguf(model_state *s, organ_error *error)
{
    unsigned parts = 1;
    if (open_files(s, &s->place.file, 1, error) == ORGAN_OK)
        organ_gguf_split_of(s->place.file, &s->header.view, &parts, error);
    if (!error->status && parts > 1)
        open_parts(s, parts, error);
    if (error->status)
        return error->status;
    s->header.view.split_count = s->model.file_count;
    s->model.gguf = &s->header.view;
    s->model.format = "GGUF";
    note_deviations(s, error);
    return error->status ? error->status
                         : organ_gguf_config_read(s->files[0].name, s->model.gguf, &s->list, &s->model.config, error);
}

/* Only manifest and headers are read; organ_model_file_open opens the files of tensors. */
static organ_status open_organ_directory(model_state *s, const char *path, organ_error *error)
{
    s->place.path = s->place.directory = organ_arena_copy(&s->place.arena, path, organ_path_length(path));
    s->place.whole_directory = true;
    if (!s->place.path)
        return organ_fail_memory(error, path);
    s->model.manifest = &s->manifest;
    if (organ_directory_read(s->place.path, &s->list, &s->files, &s->manifest, &s->model.gguf, error) != ORGAN_OK)
        return error->status;
    s->model.file_count = s->list.count;
    if (!s->model.gguf)
        return read_config(s, "/" ORGAN_FILES_FOLDER, error);
    return organ_gguf_config_read(ORGAN_HEADER_FOLDER, s->model.gguf, &s->list, &s->model.config, error);
}

static organ_status open_any(model_state *s, const char *path, organ_error *error)
{
    s->model.format = "safetensors";
    if (organ_directory_is(path)) {
        s->model.format = "organ directory";
        return open_organ_directory(s, path, error);
    }
    organ_model_place_find(path, &s->place, error);
    if (!error->status && organ_http_is_url(path))
        organ_http_create(path, s->access, &s->http, error);
    if (error->status)
        return error->status;
    if (s->place.gguf)
        return open_gguf(s, error);
    if (open_safetensors(s, error) || note_wrapped(s, error) || note_unread(s, error))
        return error->status;
    return read_config(s, /*folder=*/"", error);
}

organ_status organ_model_open(const char *path, organ_model **model, organ_error *error)
{
    return organ_model_open_with(path, NULL, model, error);
}

static organ_status open_as(const char *path, const organ_model_access *access, bool keeps_codes, organ_model **model,
                            organ_error *error)
{
    *model = NULL;
    organ_rows_rest();
    model_state *s = calloc(1, sizeof *s);
    if (!s)
        return organ_fail_memory(error, organ_http_is_url(path) ? "the URL of the model" : path);
    s->access = access;
    s->keeps_codes = keeps_codes;
    if (open_any(s, path, error) || note_adapter(s, error)) {
        organ_model_close(&s->model);
        return error->status;
    }
    organ_tensor_list_to_file(&s->list);
    s->model.path = s->place.path;
    s->model.directory = s->place.directory;
    s->model.index = s->place.index;
    s->model.whole_directory = s->place.whole_directory;
    s->model.files = s->files;
    s->model.tensors = s->list.tensors;
    s->model.tensor_count = s->list.count;
    s->model.problems = s->problems;
    s->model.warnings = s->warnings;
    organ_shards_release(&s->shards);
    *model = &s->model;
    return ORGAN_OK;
}

organ_status organ_model_open_with(const char *path, const organ_model_access *access, organ_model **model,
                                   organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return open_as(path, access, /*keeps_codes=*/false, model, error);
}

organ_status organ_model_open_codes(const char *path, const organ_model_access *access, organ_model **model,
                                    organ_error *error)
{
    return open_as(path, access, /*keeps_codes=*/true, model, error);
}

organ_status organ_model_unstack(organ_model *model, organ_error *error)
{
    model_state *const s = (model_state *)model;
    if (organ_tensor_list_unstack(&s->list, error) != ORGAN_OK)
        return error->status;
    s->model.tensors = s->list.tensors;
    s->model.tensor_count = s->list.count;
    organ_model_files_count(s->files, s->model.file_count, &s->list);
    return ORGAN_OK;
}

void organ_model_close(organ_model *model)
{
    ORGAN_OWNED model_state *s = (model_state *)model;
    if (!s)
        return;
    close_files(s);
    organ_compositions_release(&s->composed);
    organ_http_destroy(s->http);
    free(s->files);
    free((char *)s->config.path);
    organ_gguf_header_release(&s->header);
    organ_tensor_list_release(&s->list);
    organ_shards_release(&s->shards);
    organ_manifest_release(&s->manifest);
    organ_model_place_release(&s->place);
}

const organ_tensor *organ_model_find(const organ_model *model, const char *name)
{
    const model_state *s = (const model_state *)model;
    const size_t *found = organ_name_table_find(&s->list.names, name);
    return found ? &s->list.tensors[*found] : NULL;
}

organ_status organ_model_read(const organ_model *model, uint32_t file, void *to, size_t bytes, uint64_t offset,
                              organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    int fd;
    if (organ_model_is_composed(model))
        return organ_compositions_read(&((model_state *)(void *)model)->composed, file, to, bytes, offset, error);
    if (model->files[file].remote)
        return organ_http_read(model->files[file].remote, to, bytes, offset, error);
    if (organ_model_file_open(model, file, &fd, error) != ORGAN_OK)
        return error->status;
    organ_input_read(fd, model->files[file].path, to, bytes, offset, error);
    organ_model_file_close(model, file, fd);
    return error->status;
}

/* In an organ directory the file is in files/. */
organ_status organ_model_load(const organ_model *model, const char *name, size_t limit, char **bytes, size_t *length,
                              organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return load_next_to((const model_state *)model, model->manifest ? "/" ORGAN_FILES_FOLDER : "", name, limit, bytes,
                        length, error);
}

organ_status organ_model_file_open(const organ_model *model, uint32_t file, int *fd, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    const organ_model_file *const f = &model->files[file];
    *fd = f->fd;
    if (organ_model_is_here(model, "opened as a file", error) != ORGAN_OK || f->fd >= 0)
        return error->status;
    return organ_model_file_open_again(f, fd, error);
}

void organ_model_file_close(const organ_model *model, uint32_t file, int fd)
{
    if (fd >= 0 && fd != model->files[file].fd)
        close(fd);
}

organ_status organ_model_unchanged(const organ_model *model, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    const organ_manifest *const manifest = model->manifest;
    if (model->config_file && organ_model_file_unchanged(model->config_file, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; manifest && k < manifest->kept_count; k++)
        if (organ_model_file_unchanged(&manifest->kept[k], error) != ORGAN_OK)
            return error->status;
    const bool shown = organ_model_is_composed(model);
    for (size_t k = 0; k < model->file_count; k++)
        if (organ_model_file_unchanged(shown ? &((const model_state *)(const void *)model)->composed.files[k].real
                                             : &model->files[k],
                                       error) != ORGAN_OK)
            return error->status;
    return ORGAN_OK;
}

const char *organ_model_adapter(const organ_model *model)
{
    return ((const model_state *)(const void *)model)->adapter;
}

const char *organ_model_repair_pair(const organ_model *model)
{
    return ((const model_state *)(const void *)model)->repair_pair;
}
