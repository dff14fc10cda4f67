/* SPDX-License-Identifier: MIT
 * Makes the layout of a model's files, adds up files and pieces of a layout, and writes manifest.json. */
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
static organ_status read_filler(const organ_model *model, size_t f, uint64_t offset, size_t bytes, bool needed_as_zeros,
                                organ_layout_file *file, organ_error *error)
{
    unsigned char *data = malloc(bytes + 1);
    if (!data)
        return organ_fail_errno(error, ENOMEM, "%s: %zu bytes", file->name, bytes);
    if (organ_model_read(model, (uint32_t)f, data, bytes, offset, error)) {
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

static organ_status read_gap(const organ_model *model, size_t f, uint64_t from, uint64_t to, organ_layout_file *file,
                             organ_error *error)
{
    while (from < to && !error->status) {
        const size_t bytes = to - from < STEP ? (size_t)(to - from) : STEP;
        read_filler(model, f, from, bytes, /*needed_as_zeros=*/false, file, error);
        from += bytes;
    }
    return error->status;
}

/* An organ directory keeps the header and the bytes between tensors in files of their own; otherwise they are read
 * from the source file. */
static organ_status load_fillers(const organ_model *model, size_t f, organ_layout_file *file, organ_error *error)
{
    if (model->manifest) {
        const organ_donor_file *const donor = &model->manifest->files[f];
        load_filler(model, donor->header, 0, donor->data_offset, file, error);
        for (size_t k = 0; k < donor->gap_count && !error->status; k++)
            load_filler(model, donor->gaps[k].file, donor->gaps[k].offset, donor->gaps[k].bytes, file, error);
        return error->status;
    }
    read_filler(model, f, 0, (size_t)model->files[f].data_offset, /*needed_as_zeros=*/true, file, error);
    uint64_t end = model->files[f].data_offset;
    for (size_t t = file->first; t < file->first + file->count && !error->status; t++) {
        read_gap(model, f, end, model->tensors[t].offset, file, error);
        end = model->tensors[t].offset + model->tensors[t].bytes;
    }
    return error->status ? error->status : read_gap(model, f, end, file->size, file, error);
}

/* The offset is that in the file of the model or, for an organ directory, of its donor. */
static organ_piece piece_of(const organ_model *model, size_t t, size_t file)
{
    organ_piece piece = organ_piece_same(&model->tensors[t]);
    piece.model = model;
    piece.file = file;
    if (model->manifest) {
        piece.offset = model->manifest->tensors[t].offset;
        piece.known = model->manifest->tensors[t].xxh3;
    }
    return piece;
}

static organ_layout_file file_of(const organ_model *model, size_t f)
{
    if (model->manifest) {
        const organ_donor_file *const donor = &model->manifest->files[f];
        return (organ_layout_file){
            .name = donor->name, .size = donor->size, .first = donor->first, .count = donor->count};
    }
    const organ_model_file *const file = &model->files[f];
    return (organ_layout_file){.name = file->name, .size = file->size, .first = file->first, .count = file->count};
}

organ_status organ_layout_copy(const organ_model *model, organ_layout *layout, organ_error *error)
{
    const size_t count = model->manifest ? model->manifest->file_count : model->file_count;
    *layout = (organ_layout){.model = model,
                             .format = model->manifest ? model->manifest->format : model->format,
                             .files = calloc(count + 1, sizeof *layout->files),
                             .pieces = organ_rows_take(model->tensor_count + 1, sizeof *layout->pieces),
                             .owns_files = true,
                             .owns_pieces = true,
                             .only_copies = true,
                             .changed = model->manifest && model->manifest->changed};
    if (!layout->files || !layout->pieces)
        return organ_fail_memory(error, model->path);
    for (size_t f = 0; f < count && !error->status; f++) {
        organ_layout_file *const file = &layout->files[layout->file_count++];
        *file = file_of(model, f);
        for (size_t t = file->first; t < file->first + file->count; t++)
            layout->pieces[layout->piece_count++] = piece_of(model, t, f);
        load_fillers(model, f, file, error);
    }
    return error->status;
}

organ_status organ_layout_in_place(const organ_model *model, const char *single, organ_piece *pieces, size_t count,
                                   organ_layout *layout, organ_error *error)
{
    *layout = (organ_layout){.model = model,
                             .files = calloc(model->file_count + 1, sizeof *layout->files),
                             .file_count = model->file_count,
                             .pieces = pieces,
                             .piece_count = count,
                             .owns_files = true,
                             .owns_pieces = true,
                             .in_place = true};
    if (!layout->files)
        layout->file_count = 0;
    if (!layout->files || !pieces)
        return organ_fail_memory(error, model->path);
    for (size_t f = 0; f < model->file_count; f++)
        layout->files[f] =
            (organ_layout_file){.name = single ? single : model->files[f].name, .size = model->files[f].size};
    return ORGAN_OK;
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

/* ---- facts of a layout ---- */

const organ_layout_file *organ_layout_written(const organ_layout *layout, size_t *count)
{
    *count = layout->apart ? layout->part_count : layout->file_count;
    return layout->apart ? layout->parts : layout->files;
}

uint64_t organ_layout_bytes(const organ_layout *layout)
{
    uint64_t bytes = layout->index_bytes;
    for (size_t f = 0; f < layout->file_count; f++)
        bytes += layout->files[f].size;
    return bytes;
}

uint64_t organ_layout_total(const organ_layout *layout)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < layout->piece_count; k++)
        bytes += layout->pieces[k].bytes;
    return bytes;
}

/* The index is digested first, then each filler with the digest so far as seed. */
uint64_t organ_layout_digest_of_plan(const organ_layout *layout)
{
    uint64_t digest = XXH3_64bits(layout->index, layout->index_bytes);
    for (size_t f = 0; f < layout->file_count; f++)
        for (size_t k = 0; k < layout->files[f].filler_count; k++) {
            const organ_filler *const filler = &layout->files[f].fillers[k];
            digest = XXH3_64bits_withSeed(filler->data, filler->bytes, digest);
            organ_rows_rest();
        }
    return digest;
}

static json_t *file_json(const void *layout, size_t f)
{
    const organ_layout_file *const file = &((const organ_layout *)layout)->files[f];
    return ORGAN_OBJECT(SET_BYTES("name", file->name), SET_COUNT("bytes", file->size));
}

json_t *organ_layout_files_json(const organ_layout *layout)
{
    return organ_json_rows(layout->file_count, file_json, layout);
}

json_t *organ_pieces_same_json(const organ_piece *pieces, size_t count)
{
    json_int_t same = 0, bytes = 0;
    for (size_t k = 0; k < count; k++)
        if (pieces[k].same) {
            same++;
            bytes += (json_int_t)pieces[k].bytes;
        }
    return ORGAN_OBJECT(SET_COUNT("tensors", same), SET_COUNT("bytes", bytes));
}

json_t *organ_pieces_types_json(const organ_piece *pieces, size_t count)
{
    json_t *const rows = json_array();
    for (organ_dtype type = 0; type < ORGAN_DTYPE_COUNT; type++) {
        uint64_t tensors = 0, bytes = 0;
        for (size_t k = 0; k < count; k++)
            if (pieces[k].dtype == type) {
                tensors++;
                bytes += pieces[k].bytes;
            }
        if (tensors)
            json_array_append_new(rows, ORGAN_OBJECT(SET_TEXT("type", organ_dtype_describe(type)->name),
                                                     SET_COUNT("tensors", tensors), SET_COUNT("bytes", bytes)));
    }
    return rows;
}

json_t *organ_layout_totals_json(const organ_layout *layout, uint64_t left_out)
{
    return ORGAN_OBJECT(SET_COUNT("tensors_before", layout->model->tensor_count),
                        SET_COUNT("tensors_after", layout->piece_count), SET_COUNT("left_out", left_out),
                        SET_COUNT("bytes_before", organ_model_tensor_bytes(layout->model)),
                        SET_COUNT("bytes_after", organ_layout_total(layout)));
}

organ_piece organ_piece_same(const organ_tensor *tensor)
{
    return (organ_piece){.name = tensor->name,
                         .dtype = tensor->dtype,
                         .rank = tensor->rank,
                         .shape = tensor->shape,
                         .same = tensor,
                         .cost = tensor->bytes,
                         .bytes = tensor->bytes,
                         .file = tensor->file,
                         .offset = tensor->offset,
                         .anatomy = tensor->anatomy};
}

json_t *organ_layout_by_layer_json(const organ_layout *layout, const organ_model *donor)
{
    ORGAN_OWNED_ROWS organ_layer_amount *const rows = organ_rows_take(layout->piece_count + 1, sizeof *rows);
    for (size_t k = 0; rows && k < layout->piece_count; k++) {
        const organ_piece *const piece = &layout->pieces[k];
        rows[k] = (organ_layer_amount){.anatomy = piece->anatomy,
                                       .elements = piece->same->elements,
                                       .bytes = piece->bytes,
                                       .grafted = donor && piece->model == donor ? piece->same->elements : 0};
    }
    return organ_by_layer_json(rows, layout->piece_count, donor != NULL);
}

/* Adds up the pieces that are in the group and come from the donor. */
organ_amount organ_layout_amount(const organ_layout *layout, organ_group group, const organ_model *donor)
{
    organ_amount amount = {0};
    for (size_t k = 0; k < layout->piece_count; k++) {
        const organ_piece *const piece = &layout->pieces[k];
        if ((group != ORGAN_ALL_GROUPS && piece->anatomy.group != group) || (donor && piece->model != donor))
            continue;
        amount.tensors++;
        amount.elements += piece->same->elements;
        amount.bytes += piece->bytes;
    }
    return amount;
}

void organ_layout_files_free(organ_layout_file *files, size_t count)
{
    for (size_t f = 0; f < count; f++) {
        for (size_t k = 0; k < files[f].filler_count; k++)
            organ_rows_free(files[f].fillers[k].data);
        free(files[f].fillers);
    }
    free(files);
}

void organ_layout_release(organ_layout *layout)
{
    organ_model_copy_end(layout->copy);
    if (layout->owns_files)
        organ_layout_files_free(layout->files, layout->file_count);
    if (layout->owns_pieces)
        organ_rows_free(layout->pieces);
    organ_rows_free(layout->parts);
    ORGAN_FREE_ARRAYS(layout->part_fillers, layout->index);
    organ_arena_release(&layout->arena);
    *layout = (organ_layout){0};
}

/* ---- manifest.json of an organ directory: files and tensors of its donor, with digests ---- */

static json_t *digest_json(uint64_t xxh3) { return organ_json_sprintf("%016llx", (unsigned long long)xxh3); }

json_t *organ_layout_digest(const organ_layout *layout, size_t k) { return digest_json(layout->pieces[k].xxh3); }

bool organ_layout_piece_changed(const organ_layout *layout, size_t k)
{
    const char *const known = layout->pieces[k].known;
    char digest[17];
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)layout->pieces[k].xxh3);
    return known && strcmp(known, digest) != 0;
}

/* `parts` are the files that keep the fillers of the donor file, the header first. */
static json_t *layout_manifest_source_json(const organ_layout_file *file, const organ_layout_file *parts)
{
    ORGAN_OWNED_JSON json_t *const gaps = json_array();
    bool complete = gaps != NULL;
    for (size_t k = 1; k < file->filler_count && complete; k++)
        complete = json_array_append_new(gaps, ORGAN_OBJECT(SET_COUNT("offset", file->fillers[k].offset),
                                                            SET_COUNT("bytes", file->fillers[k].bytes),
                                                            SET_TEXT("file", parts[k].name))) == 0;
    if (complete)
        return ORGAN_OBJECT(SET_COUNT("size", file->size), SET_COUNT("header_bytes", file->fillers[0].bytes),
                            SET_TEXT("header", parts[0].name),
                            SET("header_xxh3", digest_json(XXH3_64bits(file->fillers[0].data, file->fillers[0].bytes))),
                            SET("gaps", json_incref(gaps)));
    return NULL;
}

static json_t *sources_json(const organ_layout *layout)
{
    json_t *sources = json_object();
    const organ_layout_file *parts = layout->parts;
    for (size_t f = 0; f < layout->file_count && sources; f++) {
        json_t *const name = organ_document_string(layout->files[f].name);
        if (!name || json_object_set_new(sources, json_string_value(name),
                                         layout_manifest_source_json(&layout->files[f], parts))) {
            organ_clear_json(&sources);
        }
        json_decref(name);
        parts += layout->files[f].filler_count;
    }
    return sources;
}

static uint64_t padding_after(const organ_layout *layout, size_t k)
{
    const organ_piece *const piece = &layout->pieces[k];
    const organ_layout_file *const file = &layout->files[piece->file];
    const uint64_t next = k + 1 < file->first + file->count ? layout->pieces[k + 1].offset : file->size;
    return next - piece->offset - piece->bytes;
}

static json_t *piece_json(const void *context, size_t k)
{
    const organ_layout *const layout = context;
    const organ_piece *const piece = &layout->pieces[k];
    const organ_anatomy *const anatomy = &piece->anatomy;
    return ORGAN_OBJECT(SET_TEXT("role", organ_role_describe(anatomy->role)->name),
                        SET_TEXT("group", organ_group_name(anatomy->group)), SET_INDEX("layer", anatomy->layer),
                        SET_INDEX("expert", anatomy->expert),
                        SET_TEXT("dtype", organ_dtype_describe(piece->dtype)->name),
                        SET("shape", organ_shape_json(&(organ_tensor){.rank = piece->rank, .shape = piece->shape})),
                        SET_COUNT("bytes", piece->bytes), SET("xxh3", organ_layout_digest(layout, k)),
                        SET_TEXT("file", layout->parts[layout->part_count - layout->piece_count + k].name),
                        SET_BYTES("source", layout->files[piece->file].name), SET_COUNT("offset", piece->offset),
                        SET_COUNT("padding", padding_after(layout, k)));
}

static const char *piece_name(const void *layout, size_t k) { return ((const organ_layout *)layout)->pieces[k].name; }

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
