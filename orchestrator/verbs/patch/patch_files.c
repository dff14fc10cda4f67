/* SPDX-License-Identifier: MIT
 * The bytes of the tuned model that belong to no tensor: files without tensors, headers, gaps. Those that the base has,
 * too, are not stored. Writes the manifest. */
#include "orchestrator/verbs/patch/patch_job.h"

#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/output/model_copy.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/version.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- one file ---- */

/* Returns NULL without memory. */
static patch_file *add_file(patch_job *job, const char *name)
{
    if (!organ_grow(&job->files, job->file_count, &job->file_room, sizeof *job->files))
        return NULL;
    patch_file *const file = &job->files[job->file_count++];
    *file = (patch_file){.name = organ_arena_copy(&job->arena, name, strlen(name))};
    return file->name ? file : NULL;
}

static organ_status check_name(const patch_job *job, const char *name, organ_error *error)
{
    return organ_patch_may_name(name)
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE, "%s: the file '%s' has a name that is not stored in a patch: rename it",
                            job->tuned->path, name);
}

/* Adds `bytes` to those outside of tensors, which stay in memory, compressed; a file is read with that of the base. */
static organ_status claim(patch_job *job, const char *name, uint64_t bytes, organ_error *error)
{
    if (bytes > ORGAN_PATCH_LIMIT - job->loose)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: with '%s', the headers and the files without tensors have more than %zu MiB, which a "
                          "patch may not: move files that do not belong to the model",
                          job->tuned->path, name, ORGAN_PATCH_LIMIT >> 20);
    job->loose += bytes;
    return organ_memory_claim(job->engine, job->loose + 2 * bytes, error, "the headers and files without tensors");
}

/* Sets digest and place of the `count` bytes. */
static organ_status settle(patch_file *file, const void *bytes, size_t count, bool from_base, organ_error *error)
{
    file->bytes = count;
    file->from_base = from_base;
    organ_patch_digest(bytes, count, file->digest);
    return from_base ? ORGAN_OK : organ_patch_pack(bytes, count, &file->packed, &file->packed_bytes, error);
}

/* ---- files with tensors ---- */

static bool same_fillers(const organ_layout_file *a, const organ_layout_file *b)
{
    bool same = a->filler_count == b->filler_count;
    for (size_t k = 0; k < a->filler_count && same; k++)
        same = a->fillers[k].offset == b->fillers[k].offset && a->fillers[k].bytes == b->fillers[k].bytes &&
               memcmp(a->fillers[k].data, b->fillers[k].data, a->fillers[k].bytes) == 0;
    return same;
}

/* A single file gets the name of the output, so its name need not be that of the base's. */
static bool is_of_base(const patch_job *job, const organ_layout_file *file, const organ_layout *base)
{
    for (size_t f = 0; f < base->file_count; f++)
        if ((strcmp(base->files[f].name, file->name) == 0 || (base->file_count == 1 && job->result.file_count == 1)) &&
            same_fillers(file, &base->files[f]))
            return true;
    return false;
}

static organ_status add_weights(patch_job *job, const organ_layout_file *from, const organ_layout *base,
                                organ_error *error)
{
    size_t bytes = 0, at = 0;
    if (check_name(job, from->name, error))
        return error->status;
    patch_file *const file = add_file(job, from->name);
    if (!file || !(file->spans = organ_arena_take(&job->arena, (from->filler_count + 1) * sizeof *file->spans)))
        return organ_fail_memory(error, from->name);
    file->size = from->size;
    file->tensors = from->count;
    file->span_count = from->filler_count;
    for (size_t k = 0; k < from->filler_count; k++) {
        file->spans[k] = (organ_patch_span){from->fillers[k].offset, from->fillers[k].bytes};
        bytes += from->fillers[k].bytes;
    }
    if (claim(job, from->name, bytes, error))
        return error->status;
    ORGAN_OWNED_ROWS char *const joined = organ_rows_take(bytes + 1, 1);
    if (!joined)
        return organ_fail_memory(error, from->name);
    for (size_t k = 0; k < from->filler_count; at += from->fillers[k++].bytes)
        memcpy(joined + at, from->fillers[k].data, from->fillers[k].bytes);
    return settle(file, joined, bytes, is_of_base(job, from, base), error);
}

static organ_status list_weights(patch_job *job, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_layout_release) organ_layout base = {0};
    if (organ_layout_copy(job->tuned, &job->result, error) || organ_layout_copy(job->base, &base, error))
        return error->status;
    for (size_t f = 0; f < job->result.file_count && !error->status; f++)
        add_weights(job, &job->result.files[f], &base, error);
    for (size_t f = 0; f < job->result.file_count; f++) { /* only names and places of pieces are needed from here on */
        for (size_t k = 0; k < job->result.files[f].filler_count; k++)
            organ_rows_free(job->result.files[f].fillers[k].data);
        job->result.files[f].filler_count = 0;
    }
    return error->status;
}

/* ---- files without tensors ---- */

static organ_status add_other(patch_job *job, const char *root, const char *name, organ_error *error)
{
    ORGAN_OWNED char *const path = organ_format("%s/%s", root, name);
    ORGAN_OWNED char *is = NULL, *was = NULL;
    size_t length = 0, before = 0;
    struct stat info;
    if (!path)
        return organ_fail_memory(error, name);
    if (stat(path, &info))
        return organ_fail_errno(error, errno, "%s: cannot be read", path);
    if (check_name(job, name, error) || claim(job, name, (uint64_t)info.st_size, error) ||
        organ_input_load(path, path, ORGAN_PATCH_LIMIT, &is, &length, error))
        return error->status;
    organ_error ignored = {0}; /* a file of the base that is longer or no file is another one */
    if (organ_model_load(job->base, name, ORGAN_PATCH_LIMIT, &was, &before, &ignored) == ORGAN_IO)
        return organ_fail(error, ORGAN_IO, "%s", ignored.message);
    patch_file *const file = add_file(job, name);
    if (!file || !(file->spans = organ_arena_take(&job->arena, sizeof *file->spans)))
        return organ_fail_memory(error, name);
    file->size = length;
    file->spans[0] = (organ_patch_span){0, length};
    file->span_count = length > 0;
    return settle(file, is, length, was && before == length && memcmp(is, was, length) == 0, error);
}

/* Clones and downloads of a hub have folders of git and of its tools, which are no part of the model. */
static bool is_of_hub(const char *name) { return strncmp(name, ".git/", 5) == 0 || strncmp(name, ".cache/", 7) == 0; }

/* A model that was named by its file has no others. Reports on the tuned model are no part of it. */
static organ_status list_others(patch_job *job, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_list_release) organ_file_list list = {0};
    ORGAN_OWNED char *root = NULL;
    if (!job->tuned->whole_directory && !job->tuned->index)
        return ORGAN_OK;
    organ_extra_files_list(job->tuned, &root, &list, error);
    for (size_t k = 0; k < list.count && !error->status; k++)
        if (!organ_is_report_path(list.names[k]) && !is_of_hub(list.names[k]))
            add_other(job, root, list.names[k], error);
    return error->status;
}

organ_status organ_patch_list_files(patch_job *job, organ_error *error)
{
    return list_weights(job, error) ? error->status : list_others(job, error);
}

/* ---- the manifest ---- */

static void print_name(FILE *out, const char *name, bool first)
{
    ORGAN_OWNED_JSON json_t *const text = json_string(name);
    fprintf(out, "%s\n    ", first ? "" : ",");
    json_dumpf(text, out, JSON_ENCODE_ANY);
    fputs(": ", out);
}

static void print_row(FILE *out, json_t *row, organ_error *error)
{
    if (!row || json_dumpf(row, out, JSON_COMPACT))
        organ_fail_memory(error, ORGAN_PATCH_MANIFEST);
    json_decref(row);
    organ_rows_passed();
}

static json_t *spans_json(const patch_file *file)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < file->span_count; k++) {
        json_array_append_new(list, json_integer((json_int_t)file->spans[k].offset));
        json_array_append_new(list, json_integer((json_int_t)file->spans[k].bytes));
    }
    return list;
}

static void print_files(const patch_job *job, FILE *out, organ_error *error)
{
    size_t stored = 0;
    fputs("  \"files\": {", out);
    for (size_t f = 0; f < job->file_count && !error->status; f++) {
        const patch_file *const file = &job->files[f];
        char place[64];
        snprintf(place, sizeof place, ORGAN_PATCH_FILES "/%zu.zst", stored);
        stored += !file->from_base;
        print_name(out, file->name, f == 0);
        print_row(out,
                  ORGAN_OBJECT(SET_COUNT("bytes", file->size), SET("spans", spans_json(file)),
                               SET("stored", file->from_base ? json_null() : json_string(place)),
                               SET_TEXT("xxh3_128", file->digest)),
                  error);
    }
    fputs("\n  },\n", out);
}

static json_t *tensor_json(const patch_job *job, size_t t)
{
    const organ_patch_change *const row = &job->pass.changes[t];
    const organ_piece *const piece = &job->result.pieces[t];
    json_t *const shape = json_array();
    const char *const change = organ_patch_change_name(!row->base, row->changed);
    for (unsigned d = 0; d < row->tuned->rank; d++)
        json_array_append_new(shape, json_integer((json_int_t)row->tuned->shape[d]));
    return ORGAN_OBJECT(SET_TEXT("dtype", organ_dtype_name(row->tuned->dtype)), SET("shape", shape),
                        SET_TEXT("file", job->files[piece->file].name), SET_COUNT("offset", piece->offset),
                        SET_COUNT("bytes", row->tuned->bytes), SET_TEXT("change", change),
                        SET_IF(row->base, "before", json_string(row->before)), SET_TEXT("after", row->after));
}

static void print_tensors(const patch_job *job, FILE *out, organ_error *error)
{
    fputs("  \"tensors\": {", out);
    for (size_t t = 0; t < job->tuned->tensor_count && !error->status; t++) {
        print_name(out, job->tuned->tensors[t].name, t == 0);
        print_row(out, tensor_json(job, t), error);
    }
    fputs("\n  }\n}\n", out);
}

static organ_status print_manifest(patch_job *job, size_t *length, organ_error *error)
{
    organ_text text;
    const bool single = !job->tuned->whole_directory && !job->tuned->index && job->file_count == 1;
    ORGAN_OWNED_JSON json_t *const base = organ_name_json(job->base->path), *const made =
                                                                                organ_name_json(job->tuned->path);
    if (organ_text_open_rows(&text, error))
        return error->status;
    fprintf(text.out,
            "{\n  \"schema\": \"" ORGAN_PATCH_SCHEMA "\",\n  \"organ\": \"%s\",\n  \"base\": ", ORGAN_VERSION);
    json_dumpf(base, text.out, JSON_ENCODE_ANY);
    fputs(",\n  \"result\": ", text.out);
    json_dumpf(made, text.out, JSON_ENCODE_ANY);
    fprintf(text.out, ",\n  \"single_file\": %s,\n", single ? "true" : "false");
    print_files(job, text.out, error);
    print_tensors(job, text.out, error);
    organ_text_end(&text, &job->manifest, error);
    *length = text.size;
    return error->status;
}

organ_status organ_patch_write_manifest(patch_job *job, organ_error *error)
{
    size_t used = 0, length = 0;
    if (!(job->written = calloc(job->file_count + 2, sizeof *job->written)))
        return organ_fail_memory(error, job->tuned->path);
    if (print_manifest(job, &length, error))
        return error->status;
    if (length > ORGAN_PATCH_LIMIT)
        return organ_fail(error, ORGAN_USAGE, "%s: the manifest of the patch has %zu bytes; at most %zu are possible",
                          job->tuned->path, length, ORGAN_PATCH_LIMIT);
    job->written[used++] =
        (organ_written_file){.name = ORGAN_PATCH_MANIFEST, .bytes = job->manifest, .length = length, .exact = true};
    for (size_t f = 0; f < job->file_count; f++) {
        char place[64];
        snprintf(place, sizeof place, ORGAN_PATCH_FILES "/%zu.zst", used - 1);
        if (job->files[f].from_base)
            continue;
        const char *const name = organ_arena_copy(&job->arena, place, strlen(place));
        if (!name)
            return organ_fail_memory(error, job->tuned->path);
        job->written[used++] = (organ_written_file){
            .name = name, .bytes = job->files[f].packed, .length = job->files[f].packed_bytes, .exact = true};
    }
    return ORGAN_OK;
}
