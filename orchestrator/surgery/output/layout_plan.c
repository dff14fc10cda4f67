/* SPDX-License-Identifier: MIT
 * Plans the files of a layout: those that loaders open, or those of an organ directory. A piece is a tensor of the
 * output, its copy the entry of layout->copies from which surgery/write copies the tensor. Fillers are the bytes of a
 * file that belong to no tensor: its header, and gaps that are not all zero. organ_rows_passed
 * (formats/base/paged_rows.h) frees the memory of large arrays from time to time. */
#include "orchestrator/surgery/output/layout.h"

#include "formats/base/file_calls.h"
#include "formats/base/path.h"
#include "formats/base/name_table.h"
#include "formats/base/paged_rows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#define NAME_LENGTH 120 /* characters of a tensor's name that a file name keeps, without suffix and digest */

/* ---- the usual layout: files that loaders open ---- */

/* Copy k gets the file and offset of piece k (organ_piece.as). */
static void plan_source_files(organ_layout *layout)
{
    for (size_t f = 0; f < layout->file_count; f++) {
        const organ_layout_file *const file = &layout->files[f];
        layout->shards[f] = (organ_shard){
            .name = file->name, .size = file->size, .filler_count = file->filler_count, .fillers = file->fillers};
    }
    for (size_t k = 0; k < layout->piece_count; k++) {
        layout->copies[k].file = layout->pieces[k].as.file;
        layout->copies[k].offset = layout->pieces[k].as.offset;
    }
}

/* ---- organ directories ---- */

/* Names of tensors and files are untrusted input. Letters, digits, "_" and "-" stay, with `dots` also "." except at
 * the beginning; other characters become "_". */
static void sanitize_name(const char *name, size_t length, bool dots, char out[NAME_LENGTH + 1])
{
    size_t used = 0;
    for (; used < length && used < NAME_LENGTH; used++) {
        const char c = name[used];
        const bool plain =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        out[used] = plain || (dots && c == '.' && used > 0) ? c : '_';
    }
    if (used == 0)
        out[used++] = '_';
    out[used] = '\0';
}

/* The path is "folder/name.suffix" or, if that is taken, "folder/name_DIGEST.suffix"; DIGEST is the digest of
 * `origin`, the original name. If that path is taken too, DIGEST + 1, + 2 and so on are tried. Returns NULL if
 * memory runs out. */
static const char *unique_path(organ_layout *layout, organ_name_table *used, const char *folder, const char *name,
                               const char *suffix, const char *origin)
{
    char path[2 * NAME_LENGTH + 64];
    snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
    const unsigned long long digest = XXH3_64bits(origin, strlen(origin));
    for (size_t n = 0; organ_name_table_find(used, path); n++)
        snprintf(path, sizeof path, "%s/%s_%016llx%s", folder, name, digest + n, suffix);
    const char *kept = organ_arena_copy(&layout->arena, path, strlen(path));
    return kept && organ_name_table_put(used, kept, 0) ? kept : NULL;
}

/* blk.0.ffn_gate.weight becomes organs/blk_0_ffn_gate.bin. Returns NULL if memory runs out. */
static const char *name_piece(organ_layout *layout, organ_name_table *used, const organ_tensor *as)
{
    char name[NAME_LENGTH + 1];
    size_t length = strlen(as->name);
    organ_cut_end(as->name, &length, ".weight");
    sanitize_name(as->name, length, false, name);
    return unique_path(layout, used, organ_group_folder(as->anatomy.group), name, ".bin", as->name);
}

/* Fillers are header/model.gguf (k = 0), header/model.gguf.gap_1 (k = 1). Returns NULL if memory runs out. */
static const char *name_filler(organ_layout *layout, organ_name_table *used, const organ_layout_file *file, size_t k)
{
    char name[NAME_LENGTH + 1], suffix[32] = "";
    sanitize_name(file->name, strlen(file->name), true, name);
    if (k)
        snprintf(suffix, sizeof suffix, ".gap_%zu", k);
    return unique_path(layout, used, ORGAN_HEADER_FOLDER, name, suffix, file->name);
}

static organ_status plan_file_for_each_tensor(organ_layout *layout, const organ_model *model, organ_error *error)
{
    organ_name_table used = {0};
    size_t count = 0;
    for (size_t f = 0; f < layout->file_count; f++)
        for (size_t k = 0; k < layout->files[f].filler_count; k++, count++) {
            layout->separate_fillers[count] = layout->files[f].fillers[k];
            layout->separate_fillers[count].offset = 0;
            layout->shards[count] = (organ_shard){.name = name_filler(layout, &used, &layout->files[f], k),
                                                  .size = layout->separate_fillers[count].bytes,
                                                  .filler_count = 1,
                                                  .fillers = &layout->separate_fillers[count]};
        }
    for (size_t k = 0; k < layout->piece_count; k++, count++) {
        const organ_tensor *const as = &layout->pieces[k].as;
        layout->copies[k].file = count;
        layout->shards[count] = (organ_shard){.name = name_piece(layout, &used, as), .size = as->bytes};
        organ_rows_passed();
    }
    organ_name_table_release(&used);
    for (size_t f = 0; f < count && !error->status; f++)
        if (!layout->shards[f].name)
            organ_fail_memory(error, model->path);
    return error->status;
}

organ_status organ_layout_folders(organ_layout *layout, const char *directory, organ_error *error)
{
    for (int g = -1; g <= (int)ORGAN_GROUP_OTHER && !error->status; g++) {
        char *path = organ_path_join(&layout->arena, directory,
                                     g < 0 ? ORGAN_HEADER_FOLDER : organ_group_folder((organ_group)g));
        if (!path)
            organ_fail_memory(error, directory);
        else if (organ_make_folder(path, 0777) && errno != EEXIST)
            organ_fail_errno(error, errno, "%s: cannot be created", path);
    }
    return error->status;
}

/* ---- either ---- */

static void list_copies(organ_layout *layout)
{
    for (size_t k = 0; k < layout->piece_count; k++) {
        const organ_piece *const piece = &layout->pieces[k];
        layout->copies[k] = (organ_shard_piece){.name = piece->as.name,
                                                .dtype = piece->as.dtype,
                                                .rank = piece->as.rank,
                                                .shape = piece->as.shape,
                                                .same = piece->from,
                                                .model = piece->model,
                                                .bytes = piece->as.bytes};
        organ_rows_passed();
    }
}

organ_status organ_layout_plan(organ_layout *layout, const organ_model *model, bool separate, organ_error *error)
{
    size_t fillers = 0;
    for (size_t f = 0; f < layout->file_count; f++)
        fillers += layout->files[f].filler_count;
    const size_t shards = separate ? fillers + layout->piece_count : layout->file_count;
    layout->copies = organ_rows_take(layout->piece_count + 1, sizeof *layout->copies);
    layout->shards = organ_rows_take(shards + 1, sizeof *layout->shards);
    layout->separate_fillers = calloc(fillers + 1, sizeof *layout->separate_fillers);
    if (!layout->copies || !layout->shards || !layout->separate_fillers)
        return organ_fail_memory(error, model->path);
    list_copies(layout);
    if (!separate)
        plan_source_files(layout);
    else if (plan_file_for_each_tensor(layout, model, error))
        return error->status;
    return organ_resharding_of(model, layout->copies, layout->piece_count, layout->shards, shards, layout->kernels,
                               &layout->plan, error);
}
