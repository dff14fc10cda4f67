/* SPDX-License-Identifier: MIT */
#include "formats/model/organ_directory.h"

#include "formats/base/input_file.h"
#include "formats/base/json_text.h"
#include "formats/safetensors/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define MANIFEST_LIMIT ((size_t)1 << 30)
#define SHOWN          240
#define SCHEMA_FAMILY  "organ.manifest/" /* of any version: a later one is told apart by its reader */

static const char *const folders[] = {[ORGAN_GROUP_SKELETON] = "skeleton",
                                      [ORGAN_GROUP_ORGAN] = "organs",
                                      [ORGAN_GROUP_EMBED] = "embed",
                                      [ORGAN_GROUP_NORM] = "norm",
                                      [ORGAN_GROUP_OTHER] = "other"};

/* A manifest on its way into a model. */
typedef struct reading {
    const char *directory;
    organ_json_text text;
    organ_tensor_list *list;
    organ_manifest *manifest;
    const organ_gguf **gguf;
    organ_model_file *donors; /* as the readers of their formats see them: the kept header under the donor's size */
    organ_model_file *files;  /* of the model, in the order of the list */
    organ_name_table paths;   /* that tensors have taken */
    organ_name_table sources; /* names of the donor's files */
    size_t donor_room, seen;
} reading;

const char *organ_group_folder(organ_group group) { return folders[group]; }

bool organ_directory_is(const char *path)
{
    char name[PATH_MAX], text[4096];
    struct stat info;
    int fd;
    organ_error ignored = {0};
    if (snprintf(name, sizeof name, "%s/" ORGAN_MANIFEST, path) >= (int)sizeof name || organ_input_open(name, &fd, &info, &ignored))
        return false;
    const ssize_t got = pread(fd, text, sizeof text, 0); /* what cannot be read is for the reader to tell */
    close(fd);
    return got < 0 || memmem(text, (size_t)got, SCHEMA_FAMILY, strlen(SCHEMA_FAMILY));
}

/* ---- values of the manifest ---- */

static organ_status get_text(const reading *r, const char *what, const json_t *object, const char *field, const char **value,
                             organ_error *error)
{
    *value = organ_json_plain(json_object_get(object, field));
    return *value ? ORGAN_OK
                  : organ_fail(error, ORGAN_BAD_INPUT, "%s: '%.*s': %s is missing or not a text", r->text.label, SHOWN, what, field);
}

static organ_status get_count(const reading *r, const char *what, const json_t *object, const char *field, uint64_t *value,
                              organ_error *error)
{
    const json_t *number = json_object_get(object, field);
    *value = (uint64_t)json_integer_value(number);
    return json_is_integer(number) && json_integer_value(number) >= 0
               ? ORGAN_OK
               : organ_fail(error, ORGAN_BAD_INPUT, "%s: '%.*s': %s is missing or not a whole number", r->text.label, SHOWN, what, field);
}

static bool is_name(const char *name)
{
    const size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");
    return length > 0 && name[length] == '\0' && *name != '.' && length <= NAME_MAX;
}

/* "FOLDER/NAME" with a folder of tensors, or of headers. */
static bool is_place(const char *path, bool header)
{
    for (size_t k = 0; k < (header ? 1 : sizeof folders / sizeof *folders); k++) {
        const char *const folder = header ? ORGAN_HEADER_FOLDER : folders[k];
        const size_t length = strlen(folder);
        if (strncmp(path, folder, length) == 0 && path[length] == '/')
            return is_name(path + length + 1);
    }
    return false;
}

/* The file at a path of the manifest: in its folder, a file and no link, of that size. */
static organ_status look_at(reading *r, const char *what, const char *place, bool header, uint64_t size, organ_model_file *file,
                            organ_error *error)
{
    struct stat info, folder;
    if (!is_place(place, header))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: '%.*s': file '%.*s' is not a file of an organ directory", r->text.label, SHOWN, what,
                          SHOWN, place);
    char *name = organ_arena_copy(&r->list->arena, place, strlen(place));
    char *path = name ? organ_path_join(&r->list->arena, r->directory, name) : NULL;
    if (!path)
        return organ_fail_memory(error, r->text.label);
    char *const slash = strrchr(path, '/');
    *slash = '\0';
    const bool linked = lstat(path, &folder) == 0 && S_ISLNK(folder.st_mode);
    *slash = '/';
    if (lstat(path, &info) != 0)
        return errno == ENOENT ? organ_fail(error, ORGAN_BAD_INPUT, "%s: '%.*s': %s is not there", r->text.label, SHOWN, what, name)
                               : organ_fail_errno(error, errno, "%s: cannot be examined", path);
    if (linked || !S_ISREG(info.st_mode))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: '%.*s': %s %s", r->text.label, SHOWN, what, name,
                          linked ? "lies in a folder that is a symbolic link" : "is not a plain file");
    if ((uint64_t)info.st_size != size)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: '%.*s': %s has %" PRIu64 " bytes, not %" PRIu64, r->text.label, SHOWN, what, name,
                          (uint64_t)info.st_size, size);
    *file = (organ_model_file){.name = name,
                               .path = path,
                               .fd = -1,
                               .size = size,
                               .count = 1,
                               .modified = info.st_mtim,
                               .device = info.st_dev,
                               .inode = info.st_ino};
    return ORGAN_OK;
}

/* ---- the donor's files ---- */

static organ_status read_gaps(reading *r, const char *name, const json_t *object, organ_donor_file *donor, organ_error *error)
{
    const json_t *const rows = json_object_get(object, "gaps");
    if (!json_is_array(rows))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: '%.*s': gaps is missing or not a list", r->text.label, SHOWN, name);
    organ_donor_gap *gaps = organ_arena_take(&r->list->arena, (json_array_size(rows) + 1) * sizeof *gaps);
    if (!gaps)
        return organ_fail_memory(error, r->text.label);
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k);
        const char *file;
        organ_model_file found;
        uint64_t end;
        if (get_count(r, name, row, "offset", &gaps[k].offset, error) || get_count(r, name, row, "bytes", &gaps[k].bytes, error) ||
            get_text(r, name, row, "file", &file, error) || look_at(r, name, file, true, gaps[k].bytes, &found, error))
            return error->status;
        if (__builtin_add_overflow(gaps[k].offset, gaps[k].bytes, &end) || end > donor->size || gaps[k].offset < donor->data_offset ||
            (k && gaps[k].offset < gaps[k - 1].offset + gaps[k - 1].bytes))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: '%.*s': gap %zu at %" PRIu64 " has no place in the file", r->text.label, SHOWN,
                              name, k, gaps[k].offset);
        gaps[k].file = found.name;
    }
    donor->gaps = gaps;
    donor->gap_count = json_array_size(rows);
    return ORGAN_OK;
}

static bool has_room(reading *r)
{
    size_t room = r->donor_room;
    return organ_grow(&r->manifest->files, r->manifest->file_count, &room, sizeof *r->manifest->files) &&
           organ_grow(&r->donors, r->manifest->file_count, &r->donor_room, sizeof *r->donors);
}

/* Headers are not for editing: nothing else says what the tensors are. */
static organ_status check_header(const reading *r, const char *name, const json_t *object, const organ_model_file *header,
                                 organ_error *error)
{
    const char *written;
    char *bytes, found[17];
    size_t length;
    if (get_text(r, name, object, "header_xxh3", &written, error) ||
        organ_input_load(header->path, header->path, (size_t)header->size, &bytes, &length, error))
        return error->status;
    snprintf(found, sizeof found, "%016" PRIx64, (uint64_t)XXH3_64bits(bytes, length));
    free(bytes);
    return strcmp(found, written) == 0 ? ORGAN_OK
                                       : organ_fail(error, ORGAN_BAD_INPUT, "%s: '%.*s': header_xxh3 is '%.16s', but %s has %s",
                                                    r->text.label, SHOWN, name, written, header->name, found);
}

static organ_status read_donor(reading *r, const char *name, const json_t *object, organ_error *error)
{
    organ_donor_file donor = {.name = organ_arena_copy(&r->list->arena, name, strlen(name))};
    organ_model_file header;
    const char *place;
    if (!donor.name || !has_room(r))
        return organ_fail_memory(error, r->text.label);
    if (!*name || *name == '.' || strchr(name, '/') || strlen(name) > NAME_MAX)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: sources: '%.*s' is not the name of a file", r->text.label, SHOWN, name);
    const size_t *const kept = organ_name_table_put(&r->sources, donor.name, r->manifest->file_count);
    if (!kept)
        return organ_fail_memory(error, r->text.label);
    if (*kept != r->manifest->file_count)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: sources: '%.*s' is there twice", r->text.label, SHOWN, name);
    if (get_count(r, name, object, "size", &donor.size, error) || get_count(r, name, object, "header_bytes", &donor.data_offset, error) ||
        get_text(r, name, object, "header", &place, error) || look_at(r, name, place, true, donor.data_offset, &header, error) ||
        check_header(r, name, object, &header, error) || read_gaps(r, name, object, &donor, error))
        return error->status;
    donor.header = header.name;
    header.name = header.path; /* in messages of the readers */
    header.size = donor.size;
    r->donors[r->manifest->file_count] = header;
    r->manifest->files[r->manifest->file_count++] = donor;
    return ORGAN_OK;
}

/* ---- tensors ---- */

static bool says_shape(const json_t *rows, const organ_tensor *tensor)
{
    bool same = json_is_array(rows) && json_array_size(rows) == tensor->rank;
    for (unsigned k = 0; k < tensor->rank && same; k++)
        same = json_is_integer(json_array_get(rows, k)) && (uint64_t)json_integer_value(json_array_get(rows, k)) == tensor->shape[k];
    return same;
}

/* What the manifest says of a tensor must be what its header says. */
static organ_status check_agreement(const reading *r, const organ_tensor *tensor, const json_t *object, const char *xxh3,
                                    organ_error *error)
{
    const char *source, *dtype;
    uint64_t offset, bytes;
    const organ_donor_file *const donor = &r->manifest->files[tensor->file];
    if (get_text(r, tensor->name, object, "source", &source, error) || get_text(r, tensor->name, object, "dtype", &dtype, error) ||
        get_count(r, tensor->name, object, "offset", &offset, error) || get_count(r, tensor->name, object, "bytes", &bytes, error))
        return error->status;
    const char *const wrong = strcmp(source, donor->name)                                    ? "source"
                              : strcmp(dtype, organ_dtype_name(tensor->dtype))               ? "dtype"
                              : !says_shape(json_object_get(object, "shape"), tensor)        ? "shape"
                              : offset != tensor->offset                                     ? "offset"
                              : bytes != tensor->bytes                                       ? "bytes"
                              : strlen(xxh3) != 16 || strspn(xxh3, "0123456789abcdef") != 16 ? "xxh3"
                                                                                             : NULL;
    return wrong ? organ_fail(error, ORGAN_BAD_INPUT, "%s: '%.*s': %s is not what the kept header says", r->text.label, SHOWN, tensor->name,
                              wrong)
                 : ORGAN_OK;
}

static organ_status read_manifest_tensor(reading *r, const char *name, const json_t *object, organ_error *error)
{
    const size_t *const found = organ_name_table_find(&r->list->names, name);
    const char *place, *xxh3;
    if (!found)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensors: '%.*s' is in no kept header", r->text.label, SHOWN, name);
    const organ_tensor *const tensor = &r->list->tensors[*found];
    organ_model_file *const file = &r->files[*found];
    if (file->name)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensors: '%.*s' is there twice", r->text.label, SHOWN, name);
    if (get_text(r, name, object, "file", &place, error) || get_text(r, name, object, "xxh3", &xxh3, error) ||
        check_agreement(r, tensor, object, xxh3, error) || look_at(r, name, place, false, tensor->bytes, file, error))
        return error->status;
    const size_t *const kept = organ_name_table_put(&r->paths, file->name, *found);
    if (!kept)
        return organ_fail_memory(error, r->text.label);
    if (*kept != *found)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: '%.*s': %s belongs to '%.*s' already", r->text.label, SHOWN, name, file->name, SHOWN,
                          r->list->tensors[*kept].name);
    organ_donor_tensor *const donor = &r->manifest->tensors[*found];
    donor->offset = tensor->offset;
    memcpy(donor->xxh3, xxh3, sizeof donor->xxh3);
    file->first = *found;
    r->seen++;
    return ORGAN_OK;
}

/* ---- the whole ---- */

typedef organ_status read_member(reading *r, const char *name, const json_t *object, organ_error *error);

static organ_status read_object(reading *r, organ_json_span span, const char *what, read_member *read, organ_error *error)
{
    organ_json_walk walk;
    if (span.end == span.begin)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s is missing", r->text.label, what);
    organ_json_walk_begin(&walk, &r->text, span, what, error);
    while (organ_json_walk_next(&walk, error)) {
        json_t *object = NULL;
        if (organ_json_parse(&r->text, walk.value, json_string_value(walk.name), &object, error) == ORGAN_OK)
            read(r, json_string_value(walk.name), object, error);
        json_decref(object);
    }
    return error->status;
}

static organ_status read_text(reading *r, organ_json_span whole, const char *field, const char *const *allowed, const char **value,
                              organ_error *error)
{
    json_t *json = NULL;
    const organ_json_span span = organ_json_member(&r->text, whole, field);
    if (span.end > span.begin && organ_json_parse(&r->text, span, field, &json, error))
        return error->status;
    *value = NULL;
    for (; *allowed && !*value; allowed++)
        if (organ_json_plain(json) && strcmp(json_string_value(json), *allowed) == 0)
            *value = *allowed;
    if (!*value)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: %s is '%.*s', which this reader does not know", r->text.label, field, SHOWN,
                   organ_json_plain(json) ? json_string_value(json) : "");
    json_decref(json);
    return error->status;
}

static organ_status read_changed(reading *r, organ_json_span whole, organ_error *error)
{
    json_t *json = NULL;
    const organ_json_span span = organ_json_member(&r->text, whole, "donor_again");
    if (span.end > span.begin && organ_json_parse(&r->text, span, "donor_again", &json, error))
        return error->status;
    r->manifest->changed = !json_is_true(json);
    if (!json_is_boolean(json))
        organ_fail(error, ORGAN_BAD_INPUT, "%s: donor_again is missing or neither true nor false", r->text.label);
    json_decref(json);
    return error->status;
}

/* A kept header of GGUF is a file of its own; the donor's size must be that of the tensors it tells of. */
static organ_status read_gguf_header(reading *r, size_t k, uint64_t size, organ_error *error)
{
    organ_model_file *const donor = &r->donors[k];
    organ_gguf_header part = {0}, *const header = k == 0 ? &r->manifest->gguf : &part;
    donor->size = r->manifest->files[k].data_offset;
    donor->first = r->list->count;
    if (organ_gguf_read_header(r->donors, k, header, r->list, error) == ORGAN_OK) {
        donor->count = r->list->count - donor->first;
        donor->data_offset = header->data_offset;
        if (size < header->data_end || size > header->padded_end)
            organ_fail(error, ORGAN_BAD_INPUT, "%s: '%.*s': size is %" PRIu64 ", but the tensors of the kept header end at %" PRIu64,
                       r->text.label, SHOWN, r->manifest->files[k].name, size, header->data_end);
    }
    organ_gguf_header_release(&part);
    return error->status;
}

/* The kept headers, read as if they stood at the beginning of the donor's files. */
static organ_status read_headers(reading *r, organ_error *error)
{
    const bool gguf = strcmp(r->manifest->format, "GGUF") == 0;
    for (size_t k = 0; k < r->manifest->file_count && !error->status; k++) {
        struct stat info;
        organ_model_file *const donor = &r->donors[k];
        if (organ_input_open(donor->path, &donor->fd, &info, error))
            break;
        if (gguf)
            read_gguf_header(r, k, r->manifest->files[k].size, error);
        else
            organ_safetensors_read(r->donors, k, r->list, error);
        close(donor->fd);
        if (!error->status && donor->data_offset != r->manifest->files[k].data_offset)
            organ_fail(error, ORGAN_BAD_INPUT, "%s: '%.*s': header_bytes is %" PRIu64 ", but the header has %" PRIu64, r->text.label, SHOWN,
                       r->manifest->files[k].name, r->manifest->files[k].data_offset, donor->data_offset);
        r->manifest->files[k].first = donor->first;
        r->manifest->files[k].count = donor->count;
    }
    if (!gguf || error->status)
        return error->status;
    if (!r->manifest->file_count)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: sources is empty", r->text.label);
    r->manifest->gguf.view.split_count = r->manifest->file_count;
    *r->gguf = &r->manifest->gguf.view;
    return ORGAN_OK;
}

static organ_status read_manifest(reading *r, organ_error *error)
{
    static const char *const schemas[] = {ORGAN_MANIFEST_SCHEMA, NULL}, *const formats[] = {"GGUF", "safetensors", NULL};
    const organ_json_span whole = {0, r->text.length};
    organ_json_walk walk;
    const char *schema;
    if (organ_json_walk_begin(&walk, &r->text, whole, NULL, error) || read_text(r, whole, "schema", schemas, &schema, error) ||
        read_text(r, whole, "format", formats, &r->manifest->format, error) || read_changed(r, whole, error) ||
        read_object(r, organ_json_member(&r->text, whole, "sources"), "sources", read_donor, error) || read_headers(r, error))
        return error->status;
    r->files = calloc(r->list->count + 1, sizeof *r->files);
    r->manifest->tensors = calloc(r->list->count + 1, sizeof *r->manifest->tensors);
    if (!r->files || !r->manifest->tensors)
        return organ_fail_memory(error, r->text.label);
    if (read_object(r, organ_json_member(&r->text, whole, "tensors"), "tensors", read_manifest_tensor, error))
        return error->status;
    for (size_t k = 0; k < r->list->count; k++) {
        if (!r->files[k].name)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensors: '%.*s' of the kept header is missing", r->text.label, SHOWN,
                              r->list->tensors[k].name);
        r->list->tensors[k].file = (uint32_t)k;
        r->list->tensors[k].offset = 0;
    }
    return ORGAN_OK;
}

organ_status organ_directory_read(const char *directory, organ_tensor_list *list, organ_model_file **files, organ_manifest *manifest,
                                  const organ_gguf **gguf, organ_error *error)
{
    reading r = {.directory = directory, .list = list, .manifest = manifest, .gguf = gguf, .text = {.label = ORGAN_MANIFEST}};
    char *text = NULL;
    *files = NULL;
    *gguf = NULL;
    const char *const path = organ_path_join(&list->arena, directory, ORGAN_MANIFEST);
    r.text.label = path ? path : directory;
    if (!path)
        organ_fail_memory(error, r.text.label);
    else if (organ_input_load(path, path, MANIFEST_LIMIT, &text, &r.text.length, error) == ORGAN_OK) {
        r.text.bytes = text;
        if (read_manifest(&r, error) == ORGAN_OK) {
            *files = r.files;
            r.files = NULL;
        }
    }
    free(text);
    free(r.files);
    free(r.donors);
    organ_name_table_release(&r.paths);
    organ_name_table_release(&r.sources);
    return error->status;
}

void organ_manifest_release(organ_manifest *manifest)
{
    free(manifest->files);
    free(manifest->tensors);
    organ_gguf_header_release(&manifest->gguf);
    *manifest = (organ_manifest){0};
}
