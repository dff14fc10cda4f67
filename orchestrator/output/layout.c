/* SPDX-License-Identifier: MIT
 * Makes the layout of a model's files, and adds up the pieces of a layout. */
#include "orchestrator/output/layout.h"
#include "orchestrator/output/journal.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/version.h"

#include <errno.h>
#include <organ/report.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define STEP ((size_t)1 << 20) /* bytes between tensors that are read and stored at once */

/* For an organ directory the files are those of its donor, as the manifest lists them. */
typedef struct layout_source {
    const organ_model *model;
    uint32_t index; /* index of the file in the model, or in the donor as the manifest lists its files */
    const char *name;
    uint64_t size, data_offset; /* bytes of the file; where the data of tensors begin */
    size_t first, count;        /* its tensors in model->tensors: index of the first, and number */
} layout_source;

static size_t source_count(const organ_model *model)
{
    return model->manifest ? model->manifest->file_count : model->file_count;
}

static layout_source source_at(const organ_model *model, size_t k)
{
    layout_source s = {.model = model, .index = (uint32_t)k};
    if (model->manifest) {
        const organ_donor_file *const file = &model->manifest->files[k];
        s.name = file->name;
        s.size = file->size;
        s.data_offset = file->data_offset;
        s.first = file->first;
        s.count = file->count;
    } else {
        const organ_model_file *const file = &model->files[k];
        s.name = file->name;
        s.size = file->size;
        s.data_offset = file->data_offset;
        s.first = file->first;
        s.count = file->count;
    }
    return s;
}

/* The bytes belong to no tensor. Takes ownership of `data`; NULL means that the caller had no memory. */
static organ_status add_filler(organ_layout_file *file, uint64_t offset, size_t bytes, unsigned char *data,
                               organ_error *error)
{
    organ_filler *fillers = data ? realloc(file->fillers, (file->filler_count + 1) * sizeof *fillers) : NULL;
    if (!fillers) {
        free(data);
        return organ_fail_errno(error, ENOMEM, "%s: no memory for %zu bytes between its tensors", file->name, bytes);
    }
    file->fillers = fillers;
    fillers[file->filler_count++] = (organ_filler){offset, bytes, organ_rows_to_file(data, bytes)};
    return ORGAN_OK;
}

/* The file `name`, which must have `bytes` bytes, has the donor file's bytes from `offset` on that belong to no
 * tensor. */
static organ_status load_filler(const organ_model *model, const char *name, uint64_t offset, uint64_t bytes,
                                organ_layout_file *file, organ_error *error)
{
    char *path = NULL, *data = NULL;
    size_t length = 0;
    if (asprintf(&path, "%s/%s", model->directory, name) < 0)
        return organ_fail_memory(error, name);
    if (organ_input_load(path, path, (size_t)bytes, &data, &length, error) == ORGAN_OK && length != bytes)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: has %zu bytes, not %llu", path, length, (unsigned long long)bytes);
    free(path);
    if (error->status) {
        free(data);
        return error->status;
    }
    return add_filler(file, offset, length, (unsigned char *)data, error);
}

/* Zeros are no filler unless `needed_as_zeros`: a new file has zeros where nothing is written. */
static organ_status read_filler(const layout_source *s, uint64_t offset, size_t bytes, bool needed_as_zeros,
                                organ_layout_file *file, organ_error *error)
{
    unsigned char *data = malloc(bytes + 1);
    if (!data)
        return organ_fail_errno(error, ENOMEM, "%s: %zu bytes", s->name, bytes);
    if (organ_model_read(s->model, s->index, data, bytes, offset, error)) {
        free(data);
        return error->status;
    }
    bool zeros = !needed_as_zeros;
    for (size_t k = 0; k < bytes && zeros; k++)
        zeros = data[k] == 0;
    if (zeros) {
        free(data);
        return ORGAN_OK;
    }
    return add_filler(file, offset, bytes, data, error);
}

static organ_status read_gap(const layout_source *s, uint64_t from, uint64_t to, organ_layout_file *file,
                             organ_error *error)
{
    while (from < to && !error->status) {
        const size_t bytes = to - from < STEP ? (size_t)(to - from) : STEP;
        read_filler(s, from, bytes, /*needed_as_zeros=*/false, file, error);
        from += bytes;
    }
    return error->status;
}

/* An organ directory keeps the header and the bytes between tensors in files of their own; otherwise they are read
 * from the source file. */
static organ_status load_fillers(const layout_source *s, organ_layout_file *file, organ_error *error)
{
    const organ_model *const model = s->model;
    if (model->manifest) {
        const organ_donor_file *const donor = &model->manifest->files[s->index];
        load_filler(model, donor->header, 0, donor->data_offset, file, error);
        for (size_t k = 0; k < donor->gap_count && !error->status; k++)
            load_filler(model, donor->gaps[k].file, donor->gaps[k].offset, donor->gaps[k].bytes, file, error);
        return error->status;
    }
    read_filler(s, 0, (size_t)s->data_offset, /*needed_as_zeros=*/true, file, error);
    uint64_t end = s->data_offset;
    for (size_t t = s->first; t < s->first + s->count && !error->status; t++) {
        read_gap(s, end, model->tensors[t].offset, file, error);
        end = model->tensors[t].offset + model->tensors[t].bytes;
    }
    return error->status ? error->status : read_gap(s, end, s->size, file, error);
}

/* The offset is that in the file of the model or, for an organ directory, of its donor. */
static organ_piece piece_of(const organ_model *model, size_t t, uint32_t file)
{
    organ_piece piece = {.as = model->tensors[t], .model = model, .from = &model->tensors[t]};
    piece.as.file = file;
    if (model->manifest) {
        piece.as.offset = model->manifest->tensors[t].offset;
        piece.known = model->manifest->tensors[t].xxh3;
    }
    return piece;
}

organ_status organ_layout_copy(const organ_model *model, organ_layout *layout, organ_error *error)
{
    const size_t count = source_count(model);
    *layout = (organ_layout){.format = model->manifest ? model->manifest->format : model->format};
    layout->changed = model->manifest && model->manifest->changed;
    layout->files = calloc(count + 1, sizeof *layout->files);
    layout->pieces = organ_rows_take(model->tensor_count + 1, sizeof *layout->pieces);
    if (!layout->files || !layout->pieces)
        return organ_fail_memory(error, model->path);
    for (size_t k = 0; k < count && !error->status; k++) {
        const layout_source s = source_at(model, k);
        layout->files[k] = (organ_layout_file){
            .name = s.name, .size = s.size, .data_offset = s.data_offset, .first = s.first, .count = s.count};
        layout->file_count = k + 1;
        for (size_t t = s.first; t < s.first + s.count; t++)
            layout->pieces[layout->piece_count++] = piece_of(model, t, (uint32_t)k);
        load_fillers(&s, &layout->files[k], error);
    }
    return error->status;
}

bool organ_layout_grow(organ_layout *layout, size_t more)
{
    organ_piece *const pieces = organ_rows_take(layout->piece_count + more + 1, sizeof *pieces);
    if (!pieces)
        return false;
    memcpy(pieces, layout->pieces, layout->piece_count * sizeof *pieces);
    organ_rows_free(layout->pieces);
    layout->pieces = pieces;
    return true;
}

json_t *organ_layout_by_layer_json(const organ_layout *layout, const organ_model *donor)
{
    ORGAN_OWNED_ROWS organ_layer_amount *const rows = organ_rows_take(layout->piece_count + 1, sizeof *rows);
    for (size_t k = 0; rows && k < layout->piece_count; k++) {
        const organ_piece *const piece = &layout->pieces[k];
        rows[k] = (organ_layer_amount){.anatomy = piece->as.anatomy,
                                       .elements = piece->as.elements,
                                       .bytes = piece->as.bytes,
                                       .grafted = donor && piece->model == donor ? piece->as.elements : 0};
    }
    return organ_by_layer_json(rows, layout->piece_count, donor != NULL);
}

/* Adds up the pieces that are in the group and come from the donor. */
organ_amount organ_layout_amount(const organ_layout *layout, organ_group group, const organ_model *donor)
{
    organ_amount amount = {0};
    for (size_t k = 0; k < layout->piece_count; k++) {
        const organ_piece *const piece = &layout->pieces[k];
        if ((group != ORGAN_ALL_GROUPS && piece->as.anatomy.group != group) || (donor && piece->model != donor))
            continue;
        amount.tensors++;
        amount.elements += piece->as.elements;
        amount.bytes += piece->as.bytes;
    }
    return amount;
}

uint64_t organ_layout_bytes(const organ_layout *layout)
{
    uint64_t bytes = 0;
    for (size_t f = 0; f < layout->file_count; f++)
        bytes += layout->files[f].size;
    return bytes;
}

void organ_layout_release(organ_layout *layout)
{
    for (size_t f = 0; f < layout->file_count; f++) {
        for (size_t k = 0; k < layout->files[f].filler_count; k++)
            organ_rows_free(layout->files[f].fillers[k].data);
        free(layout->files[f].fillers);
    }
    free(layout->files);
    organ_rows_free(layout->pieces);
    organ_resharding_free(layout->plan);
    organ_rows_free(layout->copies);
    organ_rows_free(layout->shards);
    free(layout->separate_fillers);
    organ_arena_release(&layout->arena);
    *layout = (organ_layout){0};
}

/* ---- manifest.json of an organ directory: files and tensors of its donor, with digests ---- */

static json_t *digest_json(uint64_t xxh3) { return organ_json_sprintf("%016llx", (unsigned long long)xxh3); }

json_t *organ_layout_digest(const organ_layout *layout, size_t k) { return digest_json(layout->copies[k].xxh3); }

bool organ_layout_piece_changed(const organ_layout *layout, size_t k)
{
    const char *const known = layout->pieces[k].known;
    char digest[17];
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)layout->copies[k].xxh3);
    return known && strcmp(known, digest) != 0;
}

/* `shards` are the files that keep the fillers of the donor file, the header first. */
static json_t *layout_manifest_source_json(const organ_layout_file *file, const organ_shard *shards)
{
    ORGAN_OWNED_JSON json_t *const gaps = json_array();
    bool complete = gaps != NULL;
    for (size_t k = 1; k < file->filler_count && complete; k++)
        complete = json_array_append_new(gaps, ORGAN_OBJECT(SET_COUNT("offset", file->fillers[k].offset),
                                                            SET_COUNT("bytes", file->fillers[k].bytes),
                                                            SET_TEXT("file", shards[k].name))) == 0;
    if (complete)
        return ORGAN_OBJECT(SET_COUNT("size", file->size), SET_COUNT("header_bytes", file->data_offset),
                            SET_TEXT("header", shards[0].name),
                            SET("header_xxh3", digest_json(XXH3_64bits(file->fillers[0].data, file->fillers[0].bytes))),
                            SET("gaps", json_incref(gaps)));
    return NULL;
}

static json_t *sources_json(const organ_layout *layout)
{
    json_t *sources = json_object();
    const organ_shard *shards = layout->shards;
    for (size_t f = 0; f < layout->file_count && sources; f++) {
        json_t *const name = organ_document_string(layout->files[f].name);
        if (!name || json_object_set_new(sources, json_string_value(name),
                                         layout_manifest_source_json(&layout->files[f], shards))) {
            organ_clear_json(&sources);
        }
        json_decref(name);
        shards += layout->files[f].filler_count;
    }
    return sources;
}

static uint64_t padding_after(const organ_layout *layout, size_t k)
{
    const organ_tensor *const as = &layout->pieces[k].as;
    const organ_layout_file *const file = &layout->files[as->file];
    const uint64_t next = k + 1 < file->first + file->count ? layout->pieces[k + 1].as.offset : file->size;
    return next - as->offset - as->bytes;
}

static json_t *piece_json(const void *context, size_t k)
{
    const organ_layout *const layout = context;
    const organ_piece *const piece = &layout->pieces[k];
    const organ_anatomy *const anatomy = &piece->as.anatomy;
    return ORGAN_OBJECT(
        SET_TEXT("role", organ_role_describe(anatomy->role)->name), SET_TEXT("group", organ_group_name(anatomy->group)),
        SET_INDEX("layer", anatomy->layer), SET_INDEX("expert", anatomy->expert),
        SET_TEXT("dtype", organ_dtype_describe(piece->as.dtype)->name), SET("shape", organ_shape_json(&piece->as)),
        SET_COUNT("bytes", piece->as.bytes), SET("xxh3", organ_layout_digest(layout, k)),
        SET_TEXT("file", layout->shards[layout->copies[k].file].name),
        SET_BYTES("source", layout->files[piece->as.file].name), SET_COUNT("offset", piece->as.offset),
        SET_COUNT("padding", padding_after(layout, k)));
}

static const char *piece_name(const void *layout, size_t k)
{
    return ((const organ_layout *)layout)->pieces[k].as.name;
}

static json_t *folders_json(const organ_layout *layout)
{
    json_t *const folders = json_object();
    for (organ_group g = 0; g <= ORGAN_GROUP_OTHER; g++) {
        const organ_amount in = organ_layout_amount(layout, g, NULL);
        json_object_set_new(folders, organ_group_folder(g),
                            ORGAN_OBJECT(SET_COUNT("tensors", in.tensors), SET_COUNT("bytes", in.bytes)));
    }
    return folders;
}

/* No piece may differ from its digest in the manifest of its organ directory. */
static bool equals_donor(const organ_layout *layout)
{
    bool same = !layout->changed;
    for (size_t k = 0; k < layout->piece_count && same; k++)
        same = !organ_layout_piece_changed(layout, k);
    return same;
}

/* The tensors are written one by one, because as one JSON object they could need much memory. */
organ_status organ_layout_manifest(organ_layout *layout, const char *directory, json_t *about, organ_error *error)
{
    const char *path = organ_path_join(&layout->arena, directory, ORGAN_MANIFEST);
    json_t *const extra = organ_file_record(directory, ORGAN_FILES_FOLDER, error);
    ORGAN_OWNED_JSON json_t *manifest =
        error->status ? NULL
                      : ORGAN_OBJECT(SET_TEXT("schema", ORGAN_MANIFEST_SCHEMA), SET_TEXT("organ", ORGAN_VERSION),
                                     SET_TEXT("format", layout->format), SET_FLAG("donor_again", equals_donor(layout)),
                                     SET("model", json_incref(about)), SET("folders", folders_json(layout)),
                                     SET("sources", sources_json(layout)), SET("tensors", json_null()),
                                     SET(ORGAN_FILES_FOLDER, extra));
    if (manifest && path)
        organ_document_write_long(path, manifest,
                                  &(organ_long_member){"tensors", layout->piece_count, piece_name, piece_json, layout},
                                  error);
    else if (!error->status)
        organ_fail_memory(error, directory);
    return error->status;
}
