/* SPDX-License-Identifier: MIT
 * Plans the files of a layout: in which file and where each piece is, and the bytes of the files that belong to no
 * tensor. organ_rows_passed and organ_rows_rest (formats/base/rows.h) free the memory of large arrays from time to
 * time. */
#include "orchestrator/output/layout.h"

#include "formats/base/json.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/direct_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define PAGE        ORGAN_DIRECT_ALIGNMENT
#define NAME_LENGTH 120 /* characters of a tensor's name that a file name keeps, without suffix and digest */

organ_status organ_layout_no_memory(const organ_layout *layout, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "%s: no memory for the plan of the output", layout->model->path);
}

/* ---- a file and its header ---- */

/* The file becomes the last one of the layout, and begins with `header`, memory of organ_rows_take, which the layout
 * owns from now on, also after an error; NULL means that the caller had no memory. */
static organ_status add_file(organ_layout *layout, const char *name, void *header, size_t bytes, uint64_t size,
                             organ_error *error)
{
    const size_t f = layout->file_count;
    organ_layout_file *const files = realloc(layout->files, (f + 1) * sizeof *files);
    organ_filler *const filler = calloc(1, sizeof *filler);
    const char *const kept = organ_arena_copy(&layout->arena, name, strlen(name));
    layout->files = files ? files : layout->files;
    layout->owns_files = true;
    if (!files || !filler || !kept || !header) {
        free(filler);
        organ_rows_free(header);
        return organ_layout_no_memory(layout, error);
    }
    *filler = (organ_filler){.bytes = bytes, .data = header};
    files[layout->file_count++] = (organ_layout_file){.name = kept, .size = size, .filler_count = 1, .fillers = filler};
    return ORGAN_OK;
}

/* The properties in which the headers of new shards differ from those of files that are written again. */
typedef struct safetensors_form {
    const char *metadata; /* value of the member "__metadata__"; NULL: none */
    int metadata_bytes;
    uint64_t multiple;   /* the data begin at a multiple of so many bytes */
    const size_t *order; /* indices of the pieces, sorted by place; NULL: the list itself is sorted */
} safetensors_form;

static organ_piece *piece_at(const organ_layout *layout, const safetensors_form *form, size_t k)
{
    return &layout->pieces[form->order ? form->order[k] : k];
}

/* Writes the entry of a piece, or of the stack whose first slice it is. */
static organ_status write_entry(const organ_piece *piece, uint64_t begin, FILE *out, organ_error *error)
{
    const organ_shard_stack *const stack = piece->stack;
    const uint64_t *const shape = stack ? stack->shape : piece->shape;
    if (stack && piece->slice != 0)
        return ORGAN_OK;
    ORGAN_OWNED_JSON json_t *const name = json_string(stack ? stack->name : piece->name);
    ORGAN_OWNED char *const quoted = name ? organ_json_dump(name, JSON_ENCODE_ANY) : NULL;
    if (!quoted)
        return organ_fail_memory(error, piece->name);
    if (ftell(out) > 9) /* a member precedes: more than the length of the header and the brace are written */
        fputc(',', out);
    fprintf(out, "%s:{\"dtype\":\"%s\",\"shape\":[", quoted, organ_dtype_describe(piece->dtype)->name);
    for (unsigned d = 0; d < (stack ? stack->rank : piece->rank); d++)
        fprintf(out, "%s%" PRIu64, d ? "," : "", shape[d]);
    fprintf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, begin + (stack ? stack->bytes : piece->bytes));
    return ORGAN_OK;
}

/* The header is padded with spaces. */
static organ_status write_header(const organ_layout *layout, const safetensors_form *form, size_t first, size_t end,
                                 char **header, size_t *length, organ_error *error)
{
    organ_text text;
    uint64_t at = 0;
    if (organ_text_open_rows(&text, error) != ORGAN_OK)
        return error->status;
    fputs("        {", text.out); /* 8 bytes for the length of the header, set below */
    if (form->metadata)
        fprintf(text.out, "\"__metadata__\":%.*s", form->metadata_bytes, form->metadata);
    for (size_t k = first; k < end && !error->status; k++) {
        const organ_piece *const piece = piece_at(layout, form, k);
        write_entry(piece, at, text.out, error);
        organ_rows_passed();
        at += piece->bytes;
    }
    fputc('}', text.out);
    for (long here = ftell(text.out); here > 0 && (uint64_t)here % form->multiple; here++)
        fputc(' ', text.out);
    organ_text_end(&text, header, error);
    *length = text.size;
    for (unsigned k = 0; k < 8 && !error->status; k++)
        (*header)[k] = (char)((uint64_t)(*length - 8) >> 8 * k);
    return error->status;
}

/* Adds the file of the pieces [first, end) of the order, and sets their places. */
static organ_status add_safetensors(organ_layout *layout, const char *name, const safetensors_form *form, size_t first,
                                    size_t end, organ_error *error)
{
    char *header = NULL;
    size_t length = 0;
    if (write_header(layout, form, first, end, &header, &length, error))
        return error->status;
    uint64_t size = length;
    for (size_t k = first; k < end; k++) {
        organ_piece *const piece = piece_at(layout, form, k);
        piece->file = layout->file_count;
        piece->offset = size;
        size += piece->bytes;
        organ_rows_passed();
    }
    if (add_file(layout, name, header, length, size, error) == ORGAN_OK) {
        layout->files[layout->file_count - 1].first = first;
        layout->files[layout->file_count - 1].count = end - first;
    }
    return error->status;
}

/* Adds the file of the pieces [first, first + part->pieces) with the key-values of part->writer, and sets their places.
 */
static organ_status add_gguf(organ_layout *layout, const organ_gguf_part *part, size_t first, organ_error *error)
{
    organ_gguf_layout made;
    for (size_t k = first; k < first + part->pieces && !error->status; k++) {
        const organ_piece *const piece = &layout->pieces[k];
        organ_gguf_writer_tensor(part->writer, piece->name, piece->dtype, piece->rank, piece->shape, error);
    }
    if (error->status || organ_gguf_writer_finish(part->writer, &made, error))
        return error->status;
    unsigned char *const header = organ_rows_take(made.size, 1);
    if (header)
        memcpy(header, made.bytes, made.size);
    for (size_t k = 0; k < part->pieces; k++) {
        layout->pieces[first + k].file = layout->file_count;
        layout->pieces[first + k].offset = made.offsets[k];
    }
    if (add_file(layout, part->name, header, made.size, made.file_size, error) == ORGAN_OK) {
        layout->files[layout->file_count - 1].first = first;
        layout->files[layout->file_count - 1].count = part->pieces;
    }
    return error->status;
}

/* `metadata` NULL: the member has total_size. */
static organ_status make_index(organ_layout *layout, const json_t *metadata, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const map = json_object(), *document = NULL;
    for (size_t k = 0; k < layout->piece_count && map && !error->status; k++) {
        const organ_piece *const p = &layout->pieces[k];
        const char *const name = p->stack ? p->stack->name : p->name;
        if ((!p->stack || p->stack->first == k) &&
            json_object_set_new(map, name, json_string(layout->files[p->file].name)))
            organ_layout_no_memory(layout, error);
    }
    if (map && !error->status)
        document =
            ORGAN_OBJECT(SET("metadata", metadata ? json_incref((json_t *)(uintptr_t)metadata)
                                                  : ORGAN_OBJECT(SET_COUNT("total_size", organ_layout_total(layout)))),
                         SET("weight_map", json_incref(map)));
    layout->index = document ? organ_json_dump(document, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    if (!layout->index)
        return organ_layout_no_memory(layout, error);
    layout->index_bytes = strlen(layout->index);
    return error->status;
}

/* ---- which shard, where in it ---- */

/* The name of a stack is entered with its first piece. */
static organ_status enter_name(organ_layout *layout, organ_name_table *names, const char *name, size_t k,
                               organ_error *error)
{
    if (organ_name_table_find(names, name))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: two tensors would have the name '%s'", layout->model->path,
                          name);
    return organ_name_table_put(names, name, k) ? ORGAN_OK : organ_layout_no_memory(layout, error);
}

static organ_status measure_pieces(organ_layout *layout, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_name_table_release) organ_name_table names = {0};
    uint64_t total = 0;
    for (size_t k = 0; k < layout->piece_count; k++)
        if (layout->pieces[k].stack)
            layout->pieces[k].stack->bytes = 0;
    for (size_t k = 0; k < layout->piece_count && !error->status; k++) {
        organ_piece *const p = &layout->pieces[k];
        uint64_t elements = 1;
        bool fits = true;
        organ_rows_passed();
        for (unsigned d = 0; d < p->rank; d++)
            fits = fits && !__builtin_mul_overflow(elements, p->shape[d], &elements);
        if (!fits || !organ_dtype_bytes(p->dtype, elements, &p->bytes) ||
            __builtin_add_overflow(total, p->bytes, &total) || total > INT64_MAX)
            organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' would be too large as %s", layout->model->path, p->name,
                       organ_dtype_describe(p->dtype)->name);
        else if (enter_name(layout, &names, p->name, k, error) == ORGAN_OK && p->stack && !p->stack->bytes) {
            p->stack->first = k;
            enter_name(layout, &names, p->stack->name, k, error);
        }
        if (p->stack)
            p->stack->bytes += p->bytes;
    }
    return error->status;
}

/* The index of the piece, or of the first slice of its stack. */
static size_t first_of(const organ_piece *pieces, size_t k) { return pieces[k].stack ? pieces[k].stack->first : k; }

/* Bytes of the tensor in which the piece is. */
static uint64_t whole_bytes(const organ_piece *p) { return p->stack ? p->stack->bytes : p->bytes; }

/* As in transformers, a new shard begins if the next tensor would make the current one longer than `max` bytes. Returns
 * the number of shards. */
static size_t assign_pieces(organ_layout *layout, size_t *order, uint64_t max, bool single_only)
{
    uint64_t bytes = 0;
    size_t files = 1;
    for (size_t k = 0; k < layout->piece_count; k++) {
        organ_piece *const p = &layout->pieces[k];
        order[k] = k;
        if (first_of(layout->pieces, k) != k) {
            p->file = layout->pieces[p->stack->first].file;
            continue;
        }
        if (!single_only && bytes && whole_bytes(p) > (max > bytes ? max - bytes : 0)) {
            files++;
            bytes = 0;
        }
        bytes += whole_bytes(p);
        p->file = files - 1;
    }
    return files;
}

/* In a file, tensors of whole pages come first, so that each of them begins on a page, which direct I/O needs; then
 * tensors by decreasing element size, so that each is aligned to its elements. */
static int by_place(const void *a, const void *b, void *context)
{
    const organ_piece *const pieces = context;
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    const organ_piece *const p = &pieces[x], *const q = &pieces[y];
    const bool fills_pages = whole_bytes(p) % PAGE == 0, other_fills_pages = whole_bytes(q) % PAGE == 0;
    const size_t first = first_of(pieces, x), other_first = first_of(pieces, y);
    const unsigned width = organ_dtype_describe(p->dtype)->bytes, other_width = organ_dtype_describe(q->dtype)->bytes;
    return ORGAN_ORDERS(ORGAN_ORDER(p->file, q->file), ORGAN_ORDER(other_fills_pages, fills_pages),
                        fills_pages ? 0 : ORGAN_ORDER(other_width, width), ORGAN_ORDER(first, other_first),
                        ORGAN_ORDER(p->slice, q->slice));
}

/* The pieces are sorted. */
static organ_status check_stacks(const organ_layout *layout, const size_t *order, organ_error *error)
{
    for (size_t k = 0; k < layout->piece_count && !error->status; k++) {
        const organ_piece *const p = &layout->pieces[order[k]], *const before = &layout->pieces[order[k ? k - 1 : 0]];
        const uint64_t slice = k && before->stack == p->stack ? before->slice + 1 : 0;
        if (p->stack && (p->slice != slice || p->stack->bytes / p->stack->shape[0] != p->bytes))
            organ_fail(error, ORGAN_BAD_INPUT,
                       "%s: '%s' would be stacked from tensors of equal size, but '%s' is not number %" PRIu64,
                       layout->model->path, p->stack->name, p->name, slice);
    }
    return error->status;
}

/* ---- new files ---- */

/* How the shards of a plan are named, and what their headers have besides tensors. */
typedef struct shard_form {
    const char *single; /* name of a single file; NULL: "model.safetensors" */
    const organ_shard_texts *texts;
} shard_form;

static organ_status add_shard(organ_layout *layout, const size_t *order, size_t f, size_t count,
                              const shard_form *shards, size_t *first, organ_error *error)
{
    const organ_shard_texts *const texts = shards->texts;
    ORGAN_OWNED char *const metadata = texts ? texts->metadata(texts->context, f) : strdup("{\"format\":\"pt\"}");
    if (!metadata)
        return organ_layout_no_memory(layout, error);
    const safetensors_form form = {metadata, (int)strlen(metadata), PAGE, order};
    char name[64];
    size_t end = *first;
    while (end < layout->piece_count && layout->pieces[order[end]].file == f)
        end++;
    snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", f + 1, count);
    if (count == 1)
        snprintf(name, sizeof name, "model.safetensors");
    add_safetensors(layout, shards->single && count == 1 ? shards->single : name, &form, *first, end, error);
    *first = end;
    return error->status;
}

static organ_status plan_shards(const organ_model *model, organ_piece *pieces, size_t count, uint64_t max,
                                bool single_only, const shard_form *shards, organ_layout *layout, organ_error *error)
{
    ORGAN_OWNED size_t *const order = calloc(count + 1, sizeof *order);
    size_t first = 0;
    *layout = (organ_layout){.model = model, .pieces = pieces, .piece_count = count};
    if (!order)
        return organ_fail_memory(error, model->path);
    if (measure_pieces(layout, error))
        return error->status;
    const size_t files = assign_pieces(layout, order, max, single_only);
    qsort_r(order, count, sizeof *order, by_place, pieces);
    organ_rows_rest();
    if (check_stacks(layout, order, error))
        return error->status;
    for (size_t f = 0; f < files && !error->status; f++)
        add_shard(layout, order, f, files, shards, &first, error);
    if (error->status || (files == 1 && !shards->texts))
        return error->status;
    return make_index(layout, shards->texts ? shards->texts->index : NULL, error);
}

organ_status organ_layout_plan(const organ_model *model, organ_piece *pieces, size_t count, uint64_t max,
                               const char *single, bool single_only, organ_layout *layout, organ_error *error)
{
    const shard_form shards = {.single = single};
    return plan_shards(model, pieces, count, max, single_only, &shards, layout, error);
}

organ_status organ_layout_plan_texts(const organ_model *model, organ_piece *pieces, size_t count, uint64_t max,
                                     const organ_shard_texts *texts, organ_layout *layout, organ_error *error)
{
    const shard_form shards = {.texts = texts};
    return plan_shards(model, pieces, count, max, /*single_only=*/false, &shards, layout, error);
}

organ_status organ_layout_plan_ggufs(const organ_model *model, organ_piece *pieces, const organ_gguf_part *parts,
                                     size_t count, organ_layout *layout, organ_error *error)
{
    *layout = (organ_layout){.model = model, .format = "GGUF", .pieces = pieces};
    for (size_t f = 0; f < count; f++)
        layout->piece_count += parts[f].pieces;
    measure_pieces(layout, error);
    for (size_t f = 0, first = 0; f < count && !error->status; first += parts[f++].pieces)
        add_gguf(layout, &parts[f], first, error);
    return error->status;
}

organ_status organ_layout_plan_gguf(const organ_model *model, organ_piece *pieces, size_t count, const char *name,
                                    organ_gguf_writer *writer, organ_layout *layout, organ_error *error)
{
    return organ_layout_plan_ggufs(model, pieces, &(organ_gguf_part){name, writer, count}, 1, layout, error);
}

organ_status organ_layout_plan_file(const organ_model *model, organ_piece *pieces, size_t count, const char *name,
                                    const char *metadata, uint64_t begin, organ_layout *layout, organ_error *error)
{
    const safetensors_form form = {metadata, (int)strlen(metadata), begin, NULL};
    *layout = (organ_layout){.model = model, .pieces = pieces, .piece_count = count};
    if (measure_pieces(layout, error) || add_safetensors(layout, name, &form, 0, count, error))
        return error->status;
    return layout->files->fillers->bytes == begin
               ? ORGAN_OK
               : organ_fail(error, ORGAN_BAD_INPUT,
                            "%s: the header of %s does not fit into the %" PRIu64 " bytes reserved for it", model->path,
                            name, begin);
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
static const char *name_piece(organ_layout *layout, organ_name_table *used, const organ_piece *piece)
{
    char name[NAME_LENGTH + 1];
    size_t length = strlen(piece->name);
    organ_cut_end(piece->name, &length, ".weight");
    sanitize_name(piece->name, length, /*dots=*/false, name);
    return unique_path(layout, used, organ_group_folder(piece->anatomy.group), name, ".bin", piece->name);
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

organ_status organ_layout_take_apart(organ_layout *layout, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_name_table_release) organ_name_table used = {0};
    size_t fillers = 0, count = 0;
    for (size_t f = 0; f < layout->file_count; f++)
        fillers += layout->files[f].filler_count;
    layout->parts = organ_rows_take(fillers + layout->piece_count + 1, sizeof *layout->parts);
    layout->part_fillers = calloc(fillers + 1, sizeof *layout->part_fillers);
    if (!layout->parts || !layout->part_fillers)
        return organ_fail_memory(error, layout->model->path);
    for (size_t f = 0; f < layout->file_count; f++)
        for (size_t k = 0; k < layout->files[f].filler_count; k++, count++) {
            organ_filler *const filler = &layout->part_fillers[count];
            *filler = layout->files[f].fillers[k];
            filler->offset = 0;
            layout->parts[count] = (organ_layout_file){.name = name_filler(layout, &used, &layout->files[f], k),
                                                       .size = filler->bytes,
                                                       .filler_count = 1,
                                                       .fillers = filler};
        }
    for (size_t k = 0; k < layout->piece_count; k++, count++) {
        const organ_piece *const piece = &layout->pieces[k];
        layout->parts[count] = (organ_layout_file){.name = name_piece(layout, &used, piece), .size = piece->bytes};
        organ_rows_passed();
    }
    layout->part_count = count;
    for (size_t f = 0; f < count && !error->status; f++)
        if (!layout->parts[f].name)
            organ_fail_memory(error, layout->model->path);
    return error->status;
}

/* ---- files that are written again ---- */

/* Pieces have decreasing element size, as in the safetensors library, so that every tensor is aligned to its element
 * size. Pieces of equal size keep the order of their files and offsets. */
static int by_width(const void *a, const void *b)
{
    const organ_piece *const x = a, *const y = b;
    const unsigned wide = organ_dtype_describe(x->dtype)->bytes, other = organ_dtype_describe(y->dtype)->bytes;
    return ORGAN_ORDERS(ORGAN_ORDER(other, wide), ORGAN_ORDER(x->file, y->file), ORGAN_ORDER(x->offset, y->offset),
                        strcmp(x->name, y->name));
}

/* The member "__metadata__" is that of `like`, if it has one; NULL: none. A header of safetensors begins with 8 bytes
 * for its length. */
static safetensors_form form_like(const organ_layout_file *like)
{
    const organ_filler *const header = like && like->filler_count ? like->fillers : NULL;
    safetensors_form form = {.multiple = 8};
    if (!header || header->bytes < 8)
        return form;
    const organ_json_source text = {.label = "", .bytes = (const char *)header->data + 8, .length = header->bytes - 8};
    const organ_json_span span = organ_json_member(&text, (organ_json_span){0, text.length}, "__metadata__");
    if (span.end > span.begin) {
        form.metadata = text.bytes + span.begin;
        form.metadata_bytes = (int)(span.end - span.begin);
    }
    return form;
}

static organ_status add_sorted(organ_layout *layout, const char *name, const organ_layout_file *like, size_t first,
                               organ_error *error)
{
    const safetensors_form form = form_like(like);
    qsort(layout->pieces + first, layout->piece_count - first, sizeof *layout->pieces, by_width);
    return add_safetensors(layout, name, &form, first, layout->piece_count, error);
}

organ_status organ_layout_add_file(organ_layout *layout, const char *name, size_t first, organ_error *error)
{
    return add_sorted(layout, name, layout->files, first, error) ? error->status
                                                                 : make_index(layout, /*metadata=*/NULL, error);
}

organ_status organ_layout_metadata(const organ_gguf *gguf, organ_gguf_writer **writer, organ_error *error)
{
    if (organ_gguf_writer_create(writer, error))
        return error->status;
    for (size_t k = 0; k < gguf->kv_count && !error->status; k++)
        if (!organ_gguf_is_of_split(gguf->kvs[k].key))
            organ_gguf_writer_kv(*writer, &gguf->kvs[k], error);
    if (error->status) {
        organ_gguf_writer_destroy(*writer);
        *writer = NULL;
    }
    return error->status;
}

organ_status organ_layout_divide(organ_layout *layout, const organ_gguf_part *parts, size_t count, organ_error *error)
{
    organ_layout_file *const files = layout->files;
    const size_t file_count = layout->file_count;
    size_t first = 0;
    layout->files = NULL;
    layout->file_count = 0;
    for (size_t f = 0; f < count && !error->status; f++) {
        add_gguf(layout, &parts[f], first, error);
        first += parts[f].pieces;
    }
    organ_layout_files_free(files, file_count);
    return error->status;
}

static organ_status write_again(organ_layout *layout, const char *name, organ_gguf_writer *writer, organ_error *error)
{
    organ_layout_file *const files = layout->files;
    const size_t count = layout->file_count;
    if (strcmp(layout->format, "GGUF") == 0)
        return organ_layout_divide(layout, &(organ_gguf_part){name, writer, layout->piece_count}, 1, error);
    layout->files = NULL;
    layout->file_count = 0;
    add_sorted(layout, name, count ? files : NULL, 0, error);
    organ_layout_files_free(files, count);
    return error->status;
}

organ_status organ_layout_name(organ_layout *layout, const char *name, bool written_again, organ_gguf_writer *writer,
                               organ_error *error)
{
    if (written_again)
        return write_again(layout, name, writer, error);
    layout->files[0].name = organ_arena_copy(&layout->arena, name, strlen(name));
    return layout->files[0].name ? ORGAN_OK : organ_fail_memory(error, name);
}
