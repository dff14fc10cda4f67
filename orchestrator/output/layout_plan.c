/* SPDX-License-Identifier: MIT
 * Plans the files of a layout: those that loaders open, or those of an organ directory. A piece is a tensor of the
 * output, its copy the entry of layout->copies from which surgery/write copies the tensor. Fillers are the bytes of a
 * file that belong to no tensor: its header, and gaps that are not all zero. organ_rows_passed
 * (formats/base/rows.h) frees the memory of large arrays from time to time. */
#include "orchestrator/output/layout.h"

#include "formats/base/rows.h"
#include "formats/base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    sanitize_name(as->name, length, /*dots=*/false, name);
    return unique_path(layout, used, organ_group_folder(as->anatomy.group), name, ".bin", as->name);
}

/* Fillers are header/model.gguf (k = 0), header/model.gguf.gap_1 (k = 1). Returns NULL if memory runs out. */
static const char *name_filler(organ_layout *layout, organ_name_table *used, const organ_layout_file *file, size_t k)
{
    char name[NAME_LENGTH + 1], suffix[32] = "";
    sanitize_name(file->name, strlen(file->name), /*dots=*/true, name);
    if (k)
        snprintf(suffix, sizeof suffix, ".gap_%zu", k);
    return unique_path(layout, used, ORGAN_HEADER_FOLDER, name, suffix, file->name);
}

static organ_status plan_file_for_each_tensor(organ_layout *layout, const organ_model *model, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_name_table_release) organ_name_table used = {0};
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
    for (size_t f = 0; f < count && !error->status; f++)
        if (!layout->shards[f].name)
            organ_fail_memory(error, model->path);
    return error->status;
}

/* Number -1 stands for the folder of the headers, all others are groups. */
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
                                                .same = piece->values ? piece->values : piece->from,
                                                .model = piece->values ? piece->values_model : piece->model,
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

/* ---- merging pieces into one file with a new header ---- */

static organ_status header_no_memory(const char *name, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "%s: its header", name);
}

/* The caller has set the pieces' offsets. Takes over `header`, memory of organ_rows_take, also on error. */
static organ_status replace_by_one_file(organ_layout *layout, const char *name, unsigned char *header,
                                        size_t header_bytes, uint64_t size, organ_error *error)
{
    organ_layout_file *const file = calloc(1, sizeof *file);
    organ_filler *const filler = calloc(1, sizeof *filler);
    char *const kept = organ_arena_copy(&layout->arena, name, strlen(name));
    if (!file || !filler || !kept) {
        free(file);
        free(filler);
        organ_rows_free(header);
        return header_no_memory(name, error);
    }
    for (size_t f = 0; f < layout->file_count; f++) {
        for (size_t k = 0; k < layout->files[f].filler_count; k++)
            organ_rows_free(layout->files[f].fillers[k].data);
        free(layout->files[f].fillers);
    }
    free(layout->files);
    *filler = (organ_filler){0, header_bytes, header};
    *file = (organ_layout_file){.name = kept,
                                .size = size,
                                .data_offset = header_bytes,
                                .count = layout->piece_count,
                                .filler_count = 1,
                                .fillers = filler};
    layout->files = file;
    layout->file_count = 1;
    for (size_t k = 0; k < layout->piece_count; k++)
        layout->pieces[k].as.file = 0;
    return ORGAN_OK;
}

/* ---- safetensors ---- */

/* Pieces have decreasing element size, as in the safetensors library, so that every tensor is aligned to its element
 * size. Pieces of equal size keep the order of their files and offsets. */
static int by_width(const void *a, const void *b)
{
    const organ_piece *const x = a, *const y = b;
    const unsigned wide = organ_dtype_describe(x->as.dtype)->bytes, other = organ_dtype_describe(y->as.dtype)->bytes;
    return ORGAN_ORDERS(ORGAN_ORDER(other, wide), ORGAN_ORDER(x->as.file, y->as.file),
                        ORGAN_ORDER(x->as.offset, y->as.offset), strcmp(x->as.name, y->as.name));
}

/* Writes the member "__metadata__" of the layout's first file, if it has one. A header of safetensors begins with 8
 * bytes for its length. */
static void put_metadata(FILE *out, const organ_layout *layout)
{
    const organ_filler *const header = layout->file_count ? layout->files[0].fillers : NULL;
    if (!header || header->bytes < 8)
        return;
    const organ_json_source text = {.label = "", .bytes = (const char *)header->data + 8, .length = header->bytes - 8};
    const organ_json_span span = organ_json_member(&text, (organ_json_span){0, text.length}, "__metadata__");
    if (span.end > span.begin)
        fprintf(out, "\"__metadata__\":%.*s", (int)(span.end - span.begin), text.bytes + span.begin);
}

/* The file has the pieces from `first` on. The header begins with 8 bytes for its length, which place_merged fills in.
 * The JSON is padded with spaces so that the data begins at a multiple of 8. *header is memory of organ_rows_take. */
static organ_status write_merged_header(const organ_layout *layout, size_t first, char **header, size_t *length,
                                        organ_error *error)
{
    organ_text text;
    uint64_t at = 0;
    if (organ_text_open_rows(&text, error) != ORGAN_OK)
        return error->status;
    FILE *const out = text.out;
    fputs("        {", out);
    put_metadata(out, layout);
    for (size_t k = first; k < layout->piece_count && !error->status; k++) {
        const organ_tensor *const as = &layout->pieces[k].as;
        const organ_shard_piece piece = {
            .name = as->name, .dtype = as->dtype, .rank = as->rank, .shape = as->shape, .bytes = as->bytes};
        if (ftell(out) > 9) /* a member precedes: more than the 8 bytes and the brace are written */
            fputc(',', out);
        organ_piece_entry(out, &piece, at, error);
        organ_rows_passed();
        at += as->bytes;
    }
    fputc('}', out);
    while (ftell(out) % 8)
        fputc(' ', out);
    organ_text_end(&text, header, error);
    *length = text.size;
    return error->status;
}

/* Sorts the pieces from `first` on and sets their offsets; *size becomes the size of a file of them. */
static organ_status place_merged(organ_layout *layout, size_t first, char **header, size_t *length, uint64_t *size,
                                 organ_error *error)
{
    qsort(layout->pieces + first, layout->piece_count - first, sizeof *layout->pieces, by_width);
    if (write_merged_header(layout, first, header, length, error))
        return error->status;
    for (unsigned k = 0; k < 8; k++)
        (*header)[k] = (char)((uint64_t)(*length - 8) >> 8 * k);
    *size = *length;
    for (size_t k = first; k < layout->piece_count; k++) {
        layout->pieces[k].as.offset = *size;
        *size += layout->pieces[k].as.bytes;
    }
    return ORGAN_OK;
}

static organ_status merge_safetensors(organ_layout *layout, const char *name, organ_error *error)
{
    char *header = NULL;
    size_t length = 0;
    uint64_t size = 0;
    return place_merged(layout, 0, &header, &length, &size, error)
               ? error->status
               : replace_by_one_file(layout, name, (unsigned char *)header, length, size, error);
}

/* Adds a file that begins with `bytes`, which the function takes over. */
static organ_status append_file(organ_layout *layout, organ_layout_file made, const char *name, void *bytes,
                                organ_error *error)
{
    organ_layout_file *const files = realloc(layout->files, (layout->file_count + 1) * sizeof *files);
    organ_filler *const filler = calloc(1, sizeof *filler);
    layout->files = files ? files : layout->files;
    made.name = organ_arena_copy(&layout->arena, name, strlen(name));
    if (!files || !filler || !made.name || !bytes) {
        free(filler);
        organ_rows_free(bytes);
        return header_no_memory(name, error);
    }
    *filler = (organ_filler){0, (size_t)made.data_offset, bytes};
    made.filler_count = 1;
    made.fillers = filler;
    files[layout->file_count++] = made;
    return ORGAN_OK;
}

static organ_status append_index(organ_layout *layout, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const map = json_object(), *document = NULL;
    uint64_t total = 0;
    for (size_t k = 0; k < layout->piece_count; k++) {
        const organ_tensor *const as = &layout->pieces[k].as;
        total += as->bytes;
        json_object_set_new(map, as->name, json_string(layout->files[as->file].name));
    }
    if (json_object_size(map) == layout->piece_count)
        document = ORGAN_OBJECT(SET("metadata", ORGAN_OBJECT(SET_COUNT("total_size", total))),
                                SET("weight_map", json_incref(map)));
    ORGAN_OWNED char *const text = document ? organ_json_dump(document, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    const size_t length = text ? strlen(text) : 0;
    char *const bytes = text ? organ_rows_take(length, 1) : NULL;
    if (bytes)
        memcpy(bytes, text, length);
    return append_file(layout, (organ_layout_file){.size = length, .data_offset = length, .first = layout->piece_count},
                       ORGAN_INDEX_NAME, bytes, error);
}

organ_status organ_layout_add_file(organ_layout *layout, const char *name, size_t first, organ_error *error)
{
    char *header = NULL;
    size_t length = 0;
    uint64_t size = 0;
    if (place_merged(layout, first, &header, &length, &size, error) ||
        append_file(layout,
                    (organ_layout_file){
                        .size = size, .data_offset = length, .first = first, .count = layout->piece_count - first},
                    name, header, error))
        return error->status;
    for (size_t k = first; k < layout->piece_count; k++)
        layout->pieces[k].as.file = (uint32_t)(layout->file_count - 1);
    return append_index(layout, error);
}

/* ---- GGUF ---- */

organ_status organ_layout_metadata(const organ_gguf *gguf, organ_gguf_writer **writer, organ_error *error)
{
    if (organ_gguf_writer_create(writer, error))
        return error->status;
    for (size_t k = 0; k < gguf->kv_count && !error->status; k++)
        if (strncmp(gguf->kvs[k].key, "split.", 6) != 0)
            organ_gguf_writer_kv(*writer, &gguf->kvs[k], error);
    if (error->status) {
        organ_gguf_writer_destroy(*writer);
        *writer = NULL;
    }
    return error->status;
}

static organ_status merge_gguf(organ_layout *layout, const char *name, organ_gguf_writer *writer, organ_error *error)
{
    organ_gguf_layout made;
    for (size_t k = 0; k < layout->piece_count && !error->status; k++) {
        const organ_tensor *const as = &layout->pieces[k].as;
        organ_gguf_writer_tensor(writer, as->name, as->dtype, as->rank, as->shape, error);
    }
    if (error->status || organ_gguf_writer_finish(writer, &made, error))
        return error->status;
    unsigned char *const header = organ_rows_take(made.size, 1);
    if (!header)
        return header_no_memory(name, error);
    memcpy(header, made.bytes, made.size);
    for (size_t k = 0; k < layout->piece_count; k++)
        layout->pieces[k].as.offset = made.offsets[k];
    return replace_by_one_file(layout, name, header, made.size, made.file_size, error);
}

/* ---- either ---- */

organ_status organ_layout_name(organ_layout *layout, const char *name, bool written_again, organ_gguf_writer *writer,
                               organ_error *error)
{
    if (written_again)
        return strcmp(layout->format, "GGUF") == 0 ? merge_gguf(layout, name, writer, error)
                                                   : merge_safetensors(layout, name, error);
    layout->files[0].name = organ_arena_copy(&layout->arena, name, strlen(name));
    return layout->files[0].name ? ORGAN_OK : organ_fail_memory(error, name);
}
