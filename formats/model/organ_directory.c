/* SPDX-License-Identifier: MIT */
#include "formats/model/organ_directory.h"

#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/format_rest.h"
#include "formats/remote/remote.h"
#include "formats/safetensors/safetensors.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define MANIFEST_LIMIT ((size_t)1 << 30) /* bytes */
#define SHOWN          240               /* bytes of a text from the manifest that messages show */
#define SCHEMA_FAMILY  "organ.manifest/" /* prefix of all versions; the reader rejects later versions */

static const char *const folders[] = {[ORGAN_GROUP_SKELETON] = "skeleton",
                                      [ORGAN_GROUP_ORGAN] = "organs",
                                      [ORGAN_GROUP_EMBED] = "embed",
                                      [ORGAN_GROUP_NORM] = "norm",
                                      [ORGAN_GROUP_OTHER] = "other"};

typedef struct organ_directory_reading {
    const char *directory;    /* the organ directory */
    organ_json_source text;   /* the bytes of manifest.json; its label is the path */
    organ_tensor_list *list;  /* output: the tensors of the stored headers */
    organ_manifest *manifest; /* output */
    const organ_gguf **gguf;  /* output: metadata of a GGUF original */
    organ_model_file *donors; /* the original files, for the readers of headers: `path` is that of the stored header,
                                 `size` that of the original file; parallel to manifest->files */
    organ_model_file *files;  /* output: the file of each tensor, in the order of `list` */
    organ_name_table paths;   /* path of each tensor's file -> index into `list` */
    organ_name_table sources; /* name of each original file -> index into `donors` */
    size_t donor_capacity, kept_capacity; /* allocated elements: of donors and of manifest->files; of manifest->kept */
    organ_error *error;                   /* the first fault is kept; values read after it must not be used */
} organ_directory_reading;

const char *organ_group_folder(organ_group group) { return folders[group]; }

organ_status organ_directory_check(const char *path, bool *is, organ_error *error)
{
    char name[PATH_MAX], text[4096];
    struct stat info;
    ORGAN_OWNED_FILE int fd = -1;
    organ_error fault = {0};
    *is = false;
    if (snprintf(name, sizeof name, "%s/" ORGAN_MANIFEST, path) >= (int)sizeof name ||
        (stat(path, &info) == 0 && !S_ISDIR(info.st_mode)))
        return ORGAN_OK;
    if (organ_input_open(name, &fd, &info, &fault)) {
        if (organ_is_system_failure(fault.errnum))
            *error = fault;
        return error->status;
    }
    const ssize_t got = organ_pread_full(fd, text, sizeof text, 0);
    if (got < 0)
        organ_fail_errno(error, errno, "%s: cannot be read", name);
    else
        *is = memmem(text, (size_t)got, SCHEMA_FAMILY, strlen(SCHEMA_FAMILY)) != NULL;
    return error->status;
}

bool organ_directory_is(const char *path)
{
    bool is_organ;
    organ_error ignored = {0};
    return organ_directory_check(path, &is_organ, &ignored) || is_organ;
}

/* ---- values of the manifest ---- */

__attribute__((format(printf, 3, 4))) static organ_status refuse(const organ_directory_reading *r, const char *what,
                                                                 const char *format, ...)
{
    char reason[sizeof r->error->message];
    ORGAN_FORMAT_REST(reason, format);
    return organ_refuse(r->error, r->text.label, "'%.*s': %s", SHOWN, what, reason);
}

static organ_status fail_memory(const organ_directory_reading *r) { return organ_fail_memory(r->error, r->text.label); }

static const char *text_of(const organ_directory_reading *r, const char *what, const json_t *object, const char *field)
{
    const char *const text = organ_json_plain(json_object_get(object, field));
    if (!text)
        refuse(r, what, "%s is missing or not a string", field);
    return text ? text : "";
}

static uint64_t count_of(const organ_directory_reading *r, const char *what, const json_t *object, const char *field)
{
    const json_t *const number = json_object_get(object, field);
    if (!json_is_integer(number) || json_integer_value(number) < 0)
        refuse(r, what, "%s is missing or not a whole number", field);
    return (uint64_t)json_integer_value(number);
}

static bool is_safe_file_name(const char *name)
{
    const size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");
    return length > 0 && name[length] == '\0' && *name != '.' && length <= NAME_MAX;
}

static bool is_safe_place(const char *path, bool header)
{
    for (size_t k = 0; k < (header ? 1 : sizeof folders / sizeof *folders); k++) {
        const char *const folder = header ? ORGAN_HEADER_FOLDER : folders[k];
        const size_t length = strlen(folder);
        if (strncmp(path, folder, length) == 0 && path[length] == '/')
            return is_safe_file_name(path + length + 1);
    }
    return false;
}

/* Changes `path` only during the call. */
static bool is_in_link(char *path)
{
    struct stat folder;
    char *const slash = strrchr(path, '/');
    *slash = '\0';
    const bool linked = lstat(path, &folder) == 0 && S_ISLNK(folder.st_mode);
    *slash = '/';
    return linked;
}

/* Fills *file. A file with a header or gap is also added to the kept files of the manifest. */
static organ_status stat_file(organ_directory_reading *r, const char *what, const char *place, bool header,
                              uint64_t size, organ_model_file *file)
{
    struct stat info;
    if (r->error->status)
        return r->error->status;
    if (!is_safe_place(place, header))
        return refuse(r, what, "file '%.*s' is not a file of an organ directory", SHOWN, place);
    char *const name = organ_arena_copy(&r->list->arena, place, strlen(place));
    char *const path = name ? organ_path_join(&r->list->arena, r->directory, name) : NULL;
    if (!path)
        return fail_memory(r);
    const bool linked = is_in_link(path);
    if (lstat(path, &info) != 0)
        return errno == ENOENT ? refuse(r, what, "%s is missing", name)
                               : organ_fail_errno(r->error, errno, "%s: cannot be examined", path);
    if (linked || !S_ISREG(info.st_mode))
        return refuse(r, what, "%s %s", name,
                      linked ? "is in a folder that is a symbolic link" : "is not a plain file");
    if ((uint64_t)info.st_size != size)
        return refuse(r, what, "%s has %" PRIu64 " bytes, not %" PRIu64, name, (uint64_t)info.st_size, size);
    *file = (organ_model_file){.name = name, .path = path, .fd = -1, .count = 1};
    organ_model_file_take(file, &info);
    organ_manifest *const m = r->manifest;
    if (!header)
        return ORGAN_OK;
    if (!organ_grow(&m->kept, m->kept_count, &r->kept_capacity, sizeof *m->kept))
        return fail_memory(r);
    m->kept[m->kept_count++] = *file;
    return ORGAN_OK;
}

/* ---- files of the original model ---- */

/* A gap is a byte range between the file's tensors, or after the last one, that is not all zeros; each gap is stored
 * in a file of its own. */
static organ_status read_gaps(organ_directory_reading *r, const char *name, const json_t *object,
                              organ_donor_file *donor)
{
    const json_t *const rows = json_object_get(object, "gaps");
    const size_t count = json_array_size(rows);
    if (!json_is_array(rows))
        return refuse(r, name, "gaps is missing or not a list");
    organ_donor_gap *gaps = organ_arena_take(&r->list->arena, (count + 1) * sizeof *gaps);
    if (!gaps)
        return fail_memory(r);
    for (size_t k = 0; k < count; k++) {
        const json_t *const row = json_array_get(rows, k);
        organ_donor_gap *const gap = &gaps[k];
        organ_model_file found;
        uint64_t end;
        gap->offset = count_of(r, name, row, "offset");
        gap->bytes = count_of(r, name, row, "bytes");
        if (stat_file(r, name, text_of(r, name, row, "file"), /*header=*/true, gap->bytes, &found))
            return r->error->status;
        if (__builtin_add_overflow(gap->offset, gap->bytes, &end) || end > donor->size ||
            gap->offset < donor->data_offset || (k && gap->offset < gap[-1].offset + gap[-1].bytes))
            return refuse(r, name, "gap %zu at %" PRIu64 " is outside the file", k, gap->offset);
        gap->file = found.name;
    }
    donor->gaps = gaps;
    donor->gap_count = count;
    return ORGAN_OK;
}

/* The arrays manifest->files and donors always have the same capacity. */
static bool grow_file_lists(organ_directory_reading *r)
{
    size_t capacity = r->donor_capacity;
    return organ_grow(&r->manifest->files, r->manifest->file_count, &capacity, sizeof *r->manifest->files) &&
           organ_grow(&r->donors, r->manifest->file_count, &r->donor_capacity, sizeof *r->donors);
}

/* Only the header describes the tensors, so a changed header would go unnoticed without the digest. */
static organ_status check_header(const organ_directory_reading *r, const char *name, const json_t *object,
                                 const organ_model_file *header)
{
    const char *const written = text_of(r, name, object, "header_xxh3");
    char *bytes, found[17];
    size_t length;
    if (r->error->status ||
        organ_input_load(header->path, header->path, (size_t)header->size, &bytes, &length, r->error))
        return r->error->status;
    snprintf(found, sizeof found, "%016" PRIx64, (uint64_t)XXH3_64bits(bytes, length));
    free(bytes);
    return strcmp(found, written) == 0
               ? ORGAN_OK
               : refuse(r, name, "header_xxh3 is '%.16s', but %s has %s", written, header->name, found);
}

static void read_donor(organ_directory_reading *r, const char *name, const json_t *object)
{
    const size_t number = r->manifest->file_count;
    organ_donor_file donor = {.name = organ_arena_copy(&r->list->arena, name, strlen(name))};
    organ_model_file header;
    if (!donor.name || !grow_file_lists(r))
        fail_memory(r);
    if (!*name || *name == '.' || strchr(name, '/') || strlen(name) > NAME_MAX)
        organ_refuse(r->error, r->text.label, "sources: '%.*s' is not the name of a file", SHOWN, name);
    const size_t *const kept = r->error->status ? NULL : organ_name_table_put(&r->sources, donor.name, number);
    if (!kept)
        fail_memory(r);
    else if (*kept != number)
        organ_refuse(r->error, r->text.label, "sources: '%.*s' is listed twice", SHOWN, name);
    donor.size = count_of(r, name, object, "size");
    donor.data_offset = count_of(r, name, object, "header_bytes");
    if (stat_file(r, name, text_of(r, name, object, "header"), /*header=*/true, donor.data_offset, &header) ||
        check_header(r, name, object, &header) || read_gaps(r, name, object, &donor))
        return;
    donor.header = header.name;
    header.name = header.path; /* readers of headers show it in messages */
    header.size = donor.size;
    r->donors[number] = header;
    r->manifest->files[r->manifest->file_count++] = donor;
}

/* ---- tensors ---- */

static bool shape_agrees(const json_t *stored_shape, const organ_tensor *tensor)
{
    bool same = json_is_array(stored_shape) && json_array_size(stored_shape) == tensor->rank;
    for (unsigned k = 0; k < tensor->rank && same; k++)
        same = json_is_integer(json_array_get(stored_shape, k)) &&
               (uint64_t)json_integer_value(json_array_get(stored_shape, k)) == tensor->shape[k];
    return same;
}

static void check_agreement(const organ_directory_reading *r, const organ_tensor *tensor, const json_t *object,
                            const char *xxh3)
{
    const char *const source = text_of(r, tensor->name, object, "source");
    const char *const dtype = text_of(r, tensor->name, object, "dtype");
    const uint64_t offset = count_of(r, tensor->name, object, "offset"),
                   bytes = count_of(r, tensor->name, object, "bytes");
    const struct {
        const char *member;
        bool agrees;
    } rows[] = {{"source", strcmp(source, r->manifest->files[tensor->file].name) == 0},
                {"dtype", strcmp(dtype, organ_dtype_name(tensor->dtype)) == 0},
                {"shape", shape_agrees(json_object_get(object, "shape"), tensor)},
                {"offset", offset == tensor->offset},
                {"bytes", bytes == tensor->bytes},
                {"xxh3", strlen(xxh3) == 16 && strspn(xxh3, "0123456789abcdef") == 16}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        if (!rows[k].agrees) {
            refuse(r, tensor->name, "%s differs from the stored header", rows[k].member);
            return;
        }
}

static void read_manifest_tensor(organ_directory_reading *r, const char *name, const json_t *object)
{
    const size_t *const found = organ_name_table_find(&r->list->names, name);
    if (!found || r->files[*found].name) {
        organ_refuse(r->error, r->text.label, "tensors: '%.*s' is %s", SHOWN, name,
                     found ? "listed twice" : "not in any stored header");
        return;
    }
    const organ_tensor *const tensor = &r->list->tensors[*found];
    organ_model_file *const file = &r->files[*found];
    const char *const place = text_of(r, name, object, "file"), *const xxh3 = text_of(r, name, object, "xxh3");
    check_agreement(r, tensor, object, xxh3);
    if (stat_file(r, name, place, /*header=*/false, tensor->bytes, file))
        return;
    const size_t *const kept = organ_name_table_put(&r->paths, file->name, *found);
    if (!kept)
        fail_memory(r);
    else if (*kept != *found)
        refuse(r, name, "%s already belongs to '%.*s'", file->name, SHOWN, r->list->tensors[*kept].name);
    r->manifest->tensors[*found].offset = tensor->offset;
    strcpy(r->manifest->tensors[*found].xxh3, xxh3);
    file->first = *found;
}

/* ---- the manifest ---- */

/* The function leaves a fault in r->error. */
typedef void read_member(organ_directory_reading *r, const char *name, const json_t *object);

/* Parses one member at a time, because the JSON tree of a large manifest needs much memory. */
static organ_status read_object(organ_directory_reading *r, const char *what, read_member *read)
{
    const organ_json_span span = organ_json_member(&r->text, (organ_json_span){0, r->text.length}, what);
    organ_json_walk walk;
    if (span.end == span.begin)
        return organ_refuse(r->error, r->text.label, "%s is missing", what);
    organ_json_walk_begin(&walk, &r->text, span, what, r->error);
    while (organ_json_walk_next(&walk, r->error)) {
        ORGAN_OWNED_JSON json_t *object = NULL;
        if (organ_json_parse(&r->text, walk.value, json_string_value(walk.name), &object, r->error) == ORGAN_OK)
            read(r, json_string_value(walk.name), object);
    }
    return r->error->status;
}

static json_t *parse_member(const organ_directory_reading *r, const char *field)
{
    json_t *json = NULL;
    const organ_json_span span = organ_json_member(&r->text, (organ_json_span){0, r->text.length}, field);
    if (span.end > span.begin && !r->error->status)
        organ_json_parse(&r->text, span, field, &json, r->error);
    return json;
}

static const char *read_choice(const organ_directory_reading *r, const char *field, const char *const *allowed)
{
    ORGAN_OWNED_JSON json_t *const json = parse_member(r, field);
    const char *const text = organ_json_plain(json) ? organ_json_plain(json) : "";
    while (*allowed && strcmp(text, *allowed) != 0)
        allowed++;
    if (!*allowed)
        organ_refuse(r->error, r->text.label, "%s is '%.*s', which this reader does not support", field, SHOWN, text);
    return *allowed;
}

/* "donor_again" is false if the data of at least one tensor differ from the original file. */
static void read_changed(const organ_directory_reading *r)
{
    ORGAN_OWNED_JSON json_t *const json = parse_member(r, "donor_again");
    r->manifest->changed = !json_is_true(json);
    if (!json_is_boolean(json))
        organ_refuse(r->error, r->text.label, "donor_again is missing or neither true nor false");
}

static organ_status read_gguf_header(organ_directory_reading *r, size_t k, uint64_t size)
{
    organ_model_file *const donor = &r->donors[k];
    organ_gguf_header part = {0}, *const header = k == 0 ? &r->manifest->gguf : &part;
    donor->size = r->manifest->files[k].data_offset; /* the stored file ends with the header */
    donor->first = r->list->count;
    if (organ_gguf_read_header(r->donors, k, header, r->list, r->error) == ORGAN_OK) {
        donor->count = r->list->count - donor->first;
        donor->data_offset = header->data_offset;
        if (size < header->data_end || size > header->padded_end)
            refuse(r, r->manifest->files[k].name,
                   "size is %" PRIu64 ", but the tensors of the stored header end at %" PRIu64, size, header->data_end);
    }
    organ_gguf_header_release(&part);
    return r->error->status;
}

/* The offsets are those in the original files. */
static organ_status read_headers(organ_directory_reading *r)
{
    const bool gguf = strcmp(r->manifest->format, "GGUF") == 0;
    for (size_t k = 0; k < r->manifest->file_count && !r->error->status; k++) {
        struct stat info;
        organ_model_file *const donor = &r->donors[k];
        organ_donor_file *const kept = &r->manifest->files[k];
        if (organ_input_open(donor->path, &donor->fd, &info, r->error))
            break;
        if (gguf)
            read_gguf_header(r, k, kept->size);
        else
            organ_safetensors_read(r->donors, k, r->list, r->error);
        close(donor->fd);
        if (!r->error->status && donor->data_offset != kept->data_offset)
            refuse(r, kept->name, "header_bytes is %" PRIu64 ", but the header has %" PRIu64, kept->data_offset,
                   donor->data_offset);
        kept->first = donor->first;
        kept->count = donor->count;
    }
    if (!gguf || r->error->status)
        return r->error->status;
    if (!r->manifest->file_count)
        return organ_refuse(r->error, r->text.label, "sources is empty");
    r->manifest->gguf.view.split_count = r->manifest->file_count;
    *r->gguf = &r->manifest->gguf.view;
    return ORGAN_OK;
}

/* The headers of the original files are read first, because they determine which tensors must be listed. Then each
 * tensor gets its own file, in which it begins at byte 0. */
static organ_status read_manifest(organ_directory_reading *r)
{
    static const char *const schemas[] = {ORGAN_MANIFEST_SCHEMA, NULL};
    static const char *const formats[] = {"GGUF", "safetensors", NULL};
    organ_json_walk walk;
    /* reports a manifest that is not an object; read_object walks the members */
    organ_json_walk_begin(&walk, &r->text, (organ_json_span){0, r->text.length}, NULL, r->error);
    read_choice(r, "schema", schemas);
    r->manifest->format = read_choice(r, "format", formats);
    read_changed(r);
    if (r->error->status || read_object(r, "sources", read_donor) || read_headers(r))
        return r->error->status;
    r->files = calloc(r->list->count + 1, sizeof *r->files);
    r->manifest->tensors = calloc(r->list->count + 1, sizeof *r->manifest->tensors);
    if (!r->files || !r->manifest->tensors)
        return fail_memory(r);
    if (read_object(r, "tensors", read_manifest_tensor))
        return r->error->status;
    for (size_t k = 0; k < r->list->count; k++) {
        organ_tensor *const tensor = &r->list->tensors[k];
        if (!r->files[k].name)
            return organ_refuse(r->error, r->text.label, "tensors: '%.*s' of the stored header is missing", SHOWN,
                                tensor->name);
        tensor->file = (uint32_t)k;
        tensor->offset = 0;
    }
    return ORGAN_OK;
}

organ_status organ_directory_read(const char *directory, organ_tensor_list *list, organ_model_file **files,
                                  organ_manifest *manifest, const organ_gguf **gguf, organ_error *error)
{
    organ_directory_reading r = {.directory = directory,
                                 .list = list,
                                 .manifest = manifest,
                                 .gguf = gguf,
                                 .text = {.label = ORGAN_MANIFEST},
                                 .error = error};
    ORGAN_OWNED char *text = NULL;
    *files = NULL;
    *gguf = NULL;
    const char *const path = organ_path_join(&list->arena, directory, ORGAN_MANIFEST);
    r.text.label = path ? path : directory;
    if (!path)
        organ_fail_memory(error, r.text.label);
    else if (organ_input_load(path, path, MANIFEST_LIMIT, &text, &r.text.length, error) == ORGAN_OK) {
        r.text.bytes = text;
        if (read_manifest(&r) == ORGAN_OK) {
            *files = r.files;
            r.files = NULL;
        }
    }
    ORGAN_FREE_ARRAYS(r.files, r.donors);
    organ_name_table_release(&r.paths);
    organ_name_table_release(&r.sources);
    return error->status;
}

void organ_manifest_release(organ_manifest *manifest)
{
    ORGAN_FREE_ARRAYS(manifest->files, manifest->tensors, manifest->kept);
    organ_gguf_header_release(&manifest->gguf);
    *manifest = (organ_manifest){0};
}
