/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/members.h"
#include "orchestrator/stream/transfer.h"
#include "orchestrator/surgery/output/layout.h"
#include "orchestrator/surgery/output/tally.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#define NAME_LENGTH 120 /* of a file made from the name of a tensor, before what makes it unique */

/* An output on its way. */
typedef struct writing {
    organ_layout *layout;
    const char *directory, *stage;
    const organ_progress *progress;
    const organ_stop *stop;
    organ_transfer *transfers; /* one per piece */
    organ_name_table used;     /* names in the organ directory */
} writing;

static organ_status begin(writing *w, organ_error *error)
{
    w->transfers = calloc(w->layout->piece_count + 1, sizeof *w->transfers);
    if (!w->transfers)
        return organ_fail_memory(error, w->directory);
    for (size_t k = 0; k < w->layout->piece_count; k++)
        w->transfers[k] = (organ_transfer){.model = w->layout->pieces[k].model,
                                           .tensor = w->layout->pieces[k].from,
                                           .as = w->layout->pieces[k].as.dtype,
                                           .kernels = w->layout->kernels};
    return ORGAN_OK;
}

static organ_status run(const writing *w, organ_error *error)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < w->layout->piece_count; k++)
        bytes += w->layout->pieces[k].from->bytes;
    organ_progress_begin(w->progress, w->stage, bytes, w->layout->piece_count);
    organ_transfer_run(w->transfers, w->layout->piece_count, w->progress, w->stop, error);
    organ_progress_end(w->progress);
    for (size_t k = 0; k < w->layout->piece_count; k++)
        w->layout->pieces[k].xxh3 = w->transfers[k].xxh3;
    return error->status;
}

static void end(writing *w)
{
    free(w->transfers);
    organ_name_table_release(&w->used);
}

/* ---- files as they are opened by others ---- */

static organ_status begin_file(writing *w, size_t f, organ_error *error)
{
    const organ_layout_file *const file = &w->layout->files[f];
    char *path = organ_path_join(&w->layout->arena, w->directory, file->name);
    if (!path)
        return organ_fail_memory(error, w->directory);
    if (organ_transfer_file(path, file->size, error))
        return error->status;
    for (size_t k = 0; k < file->filler_count && !error->status; k++)
        organ_transfer_bytes(path, file->fillers[k].data, file->fillers[k].bytes, file->fillers[k].offset, error);
    for (size_t k = file->first; k < file->first + file->count; k++) {
        w->transfers[k].path = path;
        w->transfers[k].offset = w->layout->pieces[k].as.offset;
    }
    return error->status;
}

organ_status organ_layout_write(organ_layout *layout, const char *directory, const char *stage, const organ_progress *progress,
                                const organ_stop *stop, organ_error *error)
{
    writing w = {.layout = layout, .directory = directory, .stage = stage, .progress = progress, .stop = stop};
    begin(&w, error);
    for (size_t f = 0; f < layout->file_count && !error->status; f++)
        begin_file(&w, f, error);
    if (!error->status)
        run(&w, error);
    end(&w);
    return error->status;
}

/* ---- organ directories ---- */

/* What a file may be called, made from a name that anybody may have thought up: letters, digits, "_" and "-", where `dots` also ".". */
static void tame(const char *name, size_t length, bool dots, char out[NAME_LENGTH + 1])
{
    size_t used = 0;
    for (; used < length && used < NAME_LENGTH; used++) {
        const char c = name[used];
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        out[used] = plain || (dots && c == '.' && used > 0) ? c : '_';
    }
    if (used == 0)
        out[used++] = '_';
    out[used] = '\0';
}

/* "folder/name.suffix" that no other file of the directory has; names that would be the same are told apart by the digest of what they were
 * made from. NULL without memory. */
static const char *unique(writing *w, const char *folder, const char *name, const char *suffix, const char *origin)
{
    char path[2 * NAME_LENGTH + 64];
    snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
    const unsigned long long digest = XXH3_64bits(origin, strlen(origin));
    for (size_t n = 0; organ_name_table_find(&w->used, path); n++)
        snprintf(path, sizeof path, "%s/%s_%016llx%s", folder, name, digest + n, suffix);
    const char *kept = organ_arena_copy(&w->layout->arena, path, strlen(path));
    return kept && organ_name_table_put(&w->used, kept, 0) ? kept : NULL;
}

static organ_status make_folders(const writing *w, organ_error *error)
{
    for (int g = -1; g <= (int)ORGAN_GROUP_OTHER && !error->status; g++) {
        char *path = organ_path_join(&w->layout->arena, w->directory, g < 0 ? ORGAN_HEADER_FOLDER : organ_group_folder((organ_group)g));
        if (!path)
            organ_fail_memory(error, w->directory);
        else if (mkdir(path, 0777))
            organ_fail_errno(error, errno, "%s: cannot be made", path);
    }
    return error->status;
}

/* blk.0.ffn_gate.weight -> organs/blk_0_ffn_gate.bin */
static organ_status name_piece(writing *w, size_t k, organ_error *error)
{
    organ_piece *const piece = &w->layout->pieces[k];
    static const char weight[] = ".weight";
    char name[NAME_LENGTH + 1];
    size_t length = strlen(piece->as.name);
    if (length >= sizeof weight && strcmp(piece->as.name + length - (sizeof weight - 1), weight) == 0)
        length -= sizeof weight - 1;
    tame(piece->as.name, length, false, name);
    piece->file = unique(w, organ_group_folder(piece->as.anatomy.group), name, ".bin", piece->as.name);
    char *path = piece->file ? organ_path_join(&w->layout->arena, w->directory, piece->file) : NULL;
    if (!path)
        return organ_fail_memory(error, w->directory);
    w->transfers[k].path = path;
    w->transfers[k].whole = true;
    return ORGAN_OK;
}

/* Writes one filler into header/; *place is its name there. */
static organ_status keep_filler(writing *w, const organ_layout_file *file, size_t k, const char **place, organ_error *error)
{
    char name[NAME_LENGTH + 1], suffix[32] = "";
    tame(file->name, strlen(file->name), true, name);
    if (k)
        snprintf(suffix, sizeof suffix, ".gap_%zu", k);
    *place = unique(w, ORGAN_HEADER_FOLDER, name, suffix, file->name);
    char *path = *place ? organ_path_join(&w->layout->arena, w->directory, *place) : NULL;
    if (!path)
        return organ_fail_memory(error, w->directory);
    if (organ_transfer_file(path, file->fillers[k].bytes, error) == ORGAN_OK)
        organ_transfer_bytes(path, file->fillers[k].data, file->fillers[k].bytes, 0, error);
    return error->status;
}

static json_t *digest_json(uint64_t xxh3) { return json_sprintf("%016llx", (unsigned long long)xxh3); }

/* One entry of manifest.sources, its fillers written. NULL with an error. */
static json_t *keep_file(writing *w, const organ_layout_file *file, organ_error *error)
{
    const char *place = NULL;
    json_t *const gaps = json_array();
    json_t *entry = NULL;
    if (keep_filler(w, file, 0, &place, error) == ORGAN_OK)
        entry = ORGAN_OBJECT(SET_COUNT("size", file->size), SET_COUNT("header_bytes", file->data_offset), SET_TEXT("header", place),
                             SET("header_xxh3", digest_json(XXH3_64bits(file->fillers[0].data, file->fillers[0].bytes))),
                             SET("gaps", json_incref(gaps)));
    for (size_t k = 1; k < file->filler_count && !error->status; k++)
        if (keep_filler(w, file, k, &place, error) == ORGAN_OK &&
            json_array_append_new(gaps, ORGAN_OBJECT(SET_COUNT("offset", file->fillers[k].offset),
                                                     SET_COUNT("bytes", file->fillers[k].bytes), SET_TEXT("file", place))))
            organ_fail_memory(error, w->directory);
    json_decref(gaps);
    if (!entry && !error->status)
        organ_fail_memory(error, w->directory);
    return entry;
}

static json_t *keep_files(writing *w, organ_error *error)
{
    json_t *const sources = json_object();
    for (size_t f = 0; f < w->layout->file_count && !error->status; f++) {
        json_t *name = organ_document_string(w->layout->files[f].name);
        json_t *entry = keep_file(w, &w->layout->files[f], error);
        if (!error->status && (!name || json_object_set(sources, json_string_value(name), entry)))
            organ_fail_memory(error, w->directory);
        json_decref(name);
        json_decref(entry);
    }
    return sources;
}

/* Zeros, or kept gaps, behind a tensor. */
static uint64_t padding_behind(const organ_layout *layout, size_t k)
{
    const organ_tensor *const as = &layout->pieces[k].as;
    const organ_layout_file *const file = &layout->files[as->file];
    const uint64_t next = k + 1 < file->first + file->count ? layout->pieces[k + 1].as.offset : file->size;
    return next - as->offset - as->bytes;
}

static json_t *piece_json(const organ_layout *layout, size_t k)
{
    const organ_piece *const piece = &layout->pieces[k];
    const organ_anatomy *const anatomy = &piece->as.anatomy;
    return ORGAN_OBJECT(SET_TEXT("role", organ_role_describe(anatomy->role)->name), SET_TEXT("group", organ_group_name(anatomy->group)),
                        SET_INDEX("layer", anatomy->layer), SET_INDEX("expert", anatomy->expert),
                        SET_TEXT("dtype", organ_dtype_describe(piece->as.dtype)->name), SET("shape", organ_shape_json(&piece->as)),
                        SET_COUNT("bytes", piece->as.bytes), SET("xxh3", digest_json(piece->xxh3)), SET_TEXT("file", piece->file),
                        SET_BYTES("source", layout->files[piece->as.file].name), SET_COUNT("offset", piece->as.offset),
                        SET_COUNT("padding", padding_behind(layout, k)));
}

static json_t *pieces_json(const organ_layout *layout)
{
    json_t *tensors = json_object();
    for (size_t k = 0; k < layout->piece_count && tensors; k++)
        if (json_object_set_new(tensors, layout->pieces[k].as.name, piece_json(layout, k))) {
            json_decref(tensors);
            tensors = NULL;
        }
    return tensors;
}

/* What is in each folder. */
static json_t *folders_json(const organ_layout *layout)
{
    json_t *const folders = json_object();
    for (organ_group g = 0; g <= ORGAN_GROUP_OTHER; g++) {
        uint64_t tensors = 0, bytes = 0;
        for (size_t k = 0; k < layout->piece_count; k++)
            if (layout->pieces[k].as.anatomy.group == g) {
                tensors++;
                bytes += layout->pieces[k].as.bytes;
            }
        json_object_set_new(folders, organ_group_folder(g), ORGAN_OBJECT(SET_COUNT("tensors", tensors), SET_COUNT("bytes", bytes)));
    }
    return folders;
}

/* Whether what was written is, byte for byte, what the files of a donor were. */
static bool is_donor_again(const organ_layout *layout)
{
    bool same = !layout->changed;
    for (size_t k = 0; k < layout->piece_count && same; k++) {
        char digest[17];
        snprintf(digest, sizeof digest, "%016llx", (unsigned long long)layout->pieces[k].xxh3);
        same = !layout->pieces[k].known || strcmp(layout->pieces[k].known, digest) == 0;
    }
    return same;
}

static organ_status write_manifest(writing *w, json_t *about, json_t *sources, organ_error *error)
{
    const char *path = organ_path_join(&w->layout->arena, w->directory, ORGAN_MANIFEST);
    json_t *manifest =
        ORGAN_OBJECT(SET_TEXT("schema", ORGAN_MANIFEST_SCHEMA), SET_TEXT("organ", ORGAN_VERSION), SET_TEXT("format", w->layout->format),
                     SET_FLAG("donor_again", is_donor_again(w->layout)), SET("model", json_incref(about)),
                     SET("folders", folders_json(w->layout)), SET("sources", json_incref(sources)), SET("tensors", pieces_json(w->layout)));
    if (!manifest || !path)
        organ_fail_memory(error, w->directory);
    else
        organ_document_write(path, manifest, error);
    json_decref(manifest);
    return error->status;
}

organ_status organ_layout_write_apart(organ_layout *layout, const char *directory, const char *stage, json_t *about,
                                      const organ_progress *progress, const organ_stop *stop, organ_error *error)
{
    writing w = {.layout = layout, .directory = directory, .stage = stage, .progress = progress, .stop = stop};
    json_t *sources = NULL;
    if (begin(&w, error) == ORGAN_OK && make_folders(&w, error) == ORGAN_OK) {
        for (size_t k = 0; k < layout->piece_count && !error->status; k++)
            name_piece(&w, k, error);
        if (!error->status && (sources = keep_files(&w, error)) && !error->status && run(&w, error) == ORGAN_OK)
            write_manifest(&w, about, sources, error);
    }
    json_decref(sources);
    end(&w);
    return error->status;
}
