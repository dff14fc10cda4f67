/* SPDX-License-Identifier: MIT
 * Plans and writes the files of a new model. organ_rows_passed and organ_rows_rest (formats/base/rows.h) free the
 * memory of large arrays from time to time. */
#include "orchestrator/output/resharding.h"

#include "formats/base/arena.h"
#include "formats/base/files.h"
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
#include <sys/stat.h>
#include <xxhash.h>

#define PAGE ORGAN_DIRECT_ALIGNMENT

typedef struct shard {
    organ_shard content; /* its name, its size, and all its bytes except those of tensors */
    organ_filler header; /* the only filler of a file that organ_resharding_plan or _plan_gguf planned; owns its data */
    const char *path;    /* path of the file in the output; NULL before organ_resharding_begin */
} shard;

struct organ_resharding {
    const organ_model *model;
    organ_shard_piece *pieces; /* the caller's pieces */
    size_t count, file_count;  /* number of pieces, and of files */
    size_t *order;             /* indices of the pieces, sorted by file and offset; not set by organ_resharding_of */
    shard *files;
    uint64_t total; /* bytes of all pieces */
    char *index;    /* text of model.safetensors.index.json; NULL if there is one file */
    size_t index_bytes;
    const organ_kernels *kernels; /* convert pieces whose type is not that of `same`; NULL: none needs it */
    organ_arena arena;            /* owns names and paths of files */
};

static organ_status resharding_no_memory(const organ_resharding *r, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "%s: no memory for the plan of the output", r->model->path);
}

/* ---- which shard, where in it ---- */

/* The name of a stack is entered with its first piece. */
static organ_status enter_name(organ_resharding *r, organ_name_table *names, const char *name, size_t k,
                               organ_error *error)
{
    if (organ_name_table_find(names, name))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: two tensors would have the name '%s'", r->model->path, name);
    return organ_name_table_put(names, name, k) ? ORGAN_OK : resharding_no_memory(r, error);
}

static organ_status measure_pieces(organ_resharding *r, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_name_table_release) organ_name_table names = {0};
    for (size_t k = 0; k < r->count; k++)
        if (r->pieces[k].stack)
            r->pieces[k].stack->bytes = 0;
    for (size_t k = 0; k < r->count && !error->status; k++) {
        organ_shard_piece *const p = &r->pieces[k];
        uint64_t elements = 1;
        bool fits = true;
        organ_rows_passed();
        for (unsigned d = 0; d < p->rank; d++)
            fits = fits && !__builtin_mul_overflow(elements, p->shape[d], &elements);
        if (!fits || !organ_dtype_bytes(p->dtype, elements, &p->bytes) ||
            __builtin_add_overflow(r->total, p->bytes, &r->total) || r->total > INT64_MAX)
            organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' would be too large as %s", r->model->path, p->name,
                       organ_dtype_describe(p->dtype)->name);
        else if (enter_name(r, &names, p->name, k, error) == ORGAN_OK && p->stack && !p->stack->bytes) {
            p->stack->first = k;
            enter_name(r, &names, p->stack->name, k, error);
        }
        if (p->stack)
            p->stack->bytes += p->bytes;
    }
    return error->status;
}

/* The index of the piece, or of the first slice of its stack. */
static size_t first_of(const organ_shard_piece *pieces, size_t k)
{
    return pieces[k].stack ? pieces[k].stack->first : k;
}

/* Bytes of the tensor in which the piece is. */
static uint64_t whole_bytes(const organ_shard_piece *p) { return p->stack ? p->stack->bytes : p->bytes; }

/* As in transformers, a new shard begins if the next tensor would make the current one longer than `max` bytes. */
static void assign_pieces(organ_resharding *r, uint64_t max, bool single_only)
{
    uint64_t bytes = 0;
    r->file_count = 1;
    for (size_t k = 0; k < r->count; k++) {
        organ_shard_piece *const p = &r->pieces[k];
        r->order[k] = k;
        if (first_of(r->pieces, k) != k) {
            p->file = r->pieces[p->stack->first].file;
            continue;
        }
        if (!single_only && bytes && whole_bytes(p) > (max > bytes ? max - bytes : 0)) {
            r->file_count++;
            bytes = 0;
        }
        bytes += whole_bytes(p);
        p->file = r->file_count - 1;
    }
}

/* In a file, tensors of whole pages come first, so that each of them begins on a page, which direct I/O needs; then
 * tensors by decreasing element size, so that each is aligned to its elements. */
static int resharding_by_place(const void *a, const void *b, void *context)
{
    const organ_shard_piece *const pieces = context;
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    const organ_shard_piece *const p = &pieces[x], *const q = &pieces[y];
    const bool fills_pages = whole_bytes(p) % PAGE == 0, other_fills_pages = whole_bytes(q) % PAGE == 0;
    const size_t first = first_of(pieces, x), other_first = first_of(pieces, y);
    const unsigned width = organ_dtype_describe(p->dtype)->bytes, other_width = organ_dtype_describe(q->dtype)->bytes;
    return ORGAN_ORDERS(ORGAN_ORDER(p->file, q->file), ORGAN_ORDER(other_fills_pages, fills_pages),
                        fills_pages ? 0 : ORGAN_ORDER(other_width, width), ORGAN_ORDER(first, other_first),
                        ORGAN_ORDER(p->slice, q->slice));
}

/* The pieces are sorted. */
static organ_status check_stacks(const organ_resharding *r, organ_error *error)
{
    for (size_t k = 0; k < r->count && !error->status; k++) {
        const organ_shard_piece *const p = &r->pieces[r->order[k]], *const before = &r->pieces[r->order[k ? k - 1 : 0]];
        const uint64_t slice = k && before->stack == p->stack ? before->slice + 1 : 0;
        if (p->stack && (p->slice != slice || p->stack->bytes / p->stack->shape[0] != p->bytes))
            organ_fail(error, ORGAN_BAD_INPUT,
                       "%s: '%s' would be stacked from tensors of equal size, but '%s' is not number %" PRIu64,
                       r->model->path, p->stack->name, p->name, slice);
    }
    return error->status;
}

/* ---- safetensors ---- */

organ_status organ_piece_entry(FILE *out, const organ_shard_piece *piece, uint64_t begin, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const name = json_string(piece->name);
    ORGAN_OWNED char *const quoted = name ? organ_json_dump(name, JSON_ENCODE_ANY) : NULL;
    if (!quoted)
        return organ_fail_memory(error, piece->name);
    fprintf(out, "%s:{\"dtype\":\"%s\",\"shape\":[", quoted, organ_dtype_describe(piece->dtype)->name);
    for (unsigned d = 0; d < piece->rank; d++)
        fprintf(out, "%s%" PRIu64, d ? "," : "", piece->shape[d]);
    fprintf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, begin + piece->bytes);
    return ORGAN_OK;
}

/* Writes the entry of piece k, or of the stack that begins with it. */
static void write_entry(const organ_resharding *r, size_t k, uint64_t begin, FILE *out, organ_error *error)
{
    organ_shard_piece entry = r->pieces[k];
    if (entry.stack) {
        if (entry.slice != 0)
            return;
        entry.name = entry.stack->name;
        entry.rank = entry.stack->rank;
        entry.shape = entry.stack->shape;
        entry.bytes = entry.stack->bytes;
    }
    fputc(',', out);
    organ_piece_entry(out, &entry, begin, error);
}

/* The file owns `data` from now on. */
static void set_header(shard *file, char *data, size_t bytes, uint64_t size)
{
    file->header = (organ_filler){.bytes = bytes, .data = (unsigned char *)data};
    file->content.fillers = &file->header;
    file->content.filler_count = 1;
    file->content.size = size;
}

/* The file has the pieces order[first .. end). Its header is padded with spaces so that the data begin on a page. */
static organ_status write_file_header(organ_resharding *r, size_t f, size_t first, size_t end, organ_error *error)
{
    organ_text buffer;
    char *text = NULL;
    uint64_t at = 0;
    if (organ_text_open_rows(&buffer, error) != ORGAN_OK)
        return error->status;
    FILE *const out = buffer.out;
    fputs("        " /* 8 bytes for the length of the header, set below */
          "{\"__metadata__\":{\"format\":\"pt\"}",
          out);
    for (size_t k = first; k < end && !error->status; k++) {
        write_entry(r, r->order[k], at, out, error);
        organ_rows_passed();
        at += r->pieces[r->order[k]].bytes;
    }
    fputc('}', out);
    for (long here = ftell(out); here > 0 && here % PAGE; here++)
        fputc(' ', out);
    organ_text_end(&buffer, &text, error);
    const size_t length = buffer.size;
    set_header(&r->files[f], text, length, length + at);
    if (error->status)
        return error->status;
    for (unsigned k = 0; k < 8; k++)
        text[k] = (char)((uint64_t)(length - 8) >> 8 * k);
    for (size_t k = first, before = length; k < end; k++) {
        r->pieces[r->order[k]].offset = before;
        before += r->pieces[r->order[k]].bytes;
        organ_rows_passed();
    }
    return ORGAN_OK;
}

static organ_status name_file(organ_resharding *r, size_t f, const char *single, organ_error *error)
{
    char name[64];
    const char *chosen = single ? single : "model.safetensors";
    if (r->file_count > 1) {
        snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", f + 1, r->file_count);
        chosen = name;
    }
    r->files[f].content.name = organ_arena_copy(&r->arena, chosen, strlen(chosen));
    return r->files[f].content.name ? ORGAN_OK : resharding_no_memory(r, error);
}

static organ_status write_headers(organ_resharding *r, const char *single, organ_error *error)
{
    size_t first = 0;
    for (size_t f = 0; f < r->file_count && !error->status; f++) {
        size_t end = first;
        while (end < r->count && r->pieces[r->order[end]].file == f)
            end++;
        if (name_file(r, f, single, error) == ORGAN_OK)
            write_file_header(r, f, first, end, error);
        first = end;
    }
    return error->status;
}

static organ_status make_index(organ_resharding *r, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const map = json_object(), *document = NULL;
    for (size_t k = 0; k < r->count && map; k++) {
        const organ_shard_piece *const p = &r->pieces[k];
        const char *const name = p->stack ? p->stack->name : p->name;
        if (first_of(r->pieces, k) == k && json_object_set_new(map, name, json_string(r->files[p->file].content.name)))
            resharding_no_memory(r, error);
    }
    if (map && !error->status)
        document = ORGAN_OBJECT(SET("metadata", ORGAN_OBJECT(SET_COUNT("total_size", r->total))),
                                SET("weight_map", json_incref(map)));
    r->index = document ? organ_json_dump(document, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    if (!r->index)
        return resharding_no_memory(r, error);
    r->index_bytes = strlen(r->index);
    return error->status;
}

static organ_resharding *create_plan(const organ_model *model, organ_shard_piece *pieces, size_t count,
                                     organ_resharding **plan, organ_error *error)
{
    organ_resharding *const r = calloc(1, sizeof *r);
    size_t *const order = calloc(count + 1, sizeof *order);
    *plan = NULL;
    if (r && order) {
        *r = (organ_resharding){.model = model, .pieces = pieces, .count = count, .order = order};
        return r;
    }
    ORGAN_FREE_ARRAYS(r, order);
    organ_fail_memory(error, model->path);
    return NULL;
}

static organ_status return_or_free(organ_resharding *r, organ_resharding **plan, organ_error *error)
{
    *plan = error->status ? NULL : r;
    if (error->status)
        organ_resharding_free(r);
    return error->status;
}

organ_status organ_resharding_plan(const organ_model *model, organ_shard_piece *pieces, size_t count, uint64_t max,
                                   const char *single, bool single_only, organ_resharding **plan, organ_error *error)
{
    organ_resharding *const r = create_plan(model, pieces, count, plan, error);
    if (!r)
        return error->status;
    if (measure_pieces(r, error) == ORGAN_OK) {
        assign_pieces(r, max, single_only);
        qsort_r(r->order, count, sizeof *r->order, resharding_by_place, pieces);
        organ_rows_rest();
        r->files = calloc(r->file_count, sizeof *r->files);
        if (!r->files)
            resharding_no_memory(r, error);
        else if (check_stacks(r, error) == ORGAN_OK && write_headers(r, single, error) == ORGAN_OK && r->file_count > 1)
            make_index(r, error);
    }
    return return_or_free(r, plan, error);
}

/* ---- GGUF ---- */

static organ_status plan_gguf_file(organ_resharding *r, const char *name, organ_gguf_writer *writer, organ_error *error)
{
    organ_gguf_layout made;
    for (size_t k = 0; k < r->count && !error->status; k++) {
        organ_gguf_writer_tensor(writer, r->pieces[k].name, r->pieces[k].dtype, r->pieces[k].rank, r->pieces[k].shape,
                                 error);
        r->order[k] = k;
    }
    if (error->status || organ_gguf_writer_finish(writer, &made, error))
        return error->status;
    shard *const file = r->files = calloc(1, sizeof *r->files);
    if (!file)
        return resharding_no_memory(r, error);
    r->file_count = 1;
    file->content.name = organ_arena_copy(&r->arena, name, strlen(name));
    set_header(file, organ_rows_take(made.size, 1), made.size, made.file_size);
    if (!file->content.name || !file->header.data)
        return resharding_no_memory(r, error);
    memcpy(file->header.data, made.bytes, made.size);
    for (size_t k = 0; k < r->count; k++)
        r->pieces[k].offset = made.offsets[k];
    return ORGAN_OK;
}

organ_status organ_resharding_plan_gguf(const organ_model *model, organ_shard_piece *pieces, size_t count,
                                        const char *name, organ_gguf_writer *writer, organ_resharding **plan,
                                        organ_error *error)
{
    organ_resharding *const r = create_plan(model, pieces, count, plan, error);
    if (!r)
        return error->status;
    if (measure_pieces(r, error) == ORGAN_OK)
        plan_gguf_file(r, name, writer, error);
    return return_or_free(r, plan, error);
}

/* ---- files that the caller has laid out ---- */

/* The bytes of the files stay with the caller. */
organ_status organ_resharding_of(const organ_model *model, organ_shard_piece *pieces, size_t count,
                                 const organ_shard *files, size_t file_count, const organ_kernels *kernels,
                                 organ_resharding **plan, organ_error *error)
{
    organ_resharding *const r = create_plan(model, pieces, count, plan, error);
    if (!r)
        return error->status;
    r->kernels = kernels;
    r->files = calloc(file_count + 1, sizeof *r->files);
    if (!r->files)
        resharding_no_memory(r, error);
    for (size_t f = 0; f < file_count && r->files; f++)
        r->files[r->file_count++].content = files[f];
    return return_or_free(r, plan, error);
}

void organ_resharding_free(organ_resharding *r)
{
    if (!r)
        return;
    for (size_t f = 0; r->files && f < r->file_count; f++)
        organ_rows_free(r->files[f].header.data);
    ORGAN_FREE_ARRAYS(r->files, r->order, r->index);
    organ_arena_release(&r->arena);
    free(r);
}

/* ---- facts of a plan ---- */

size_t organ_resharding_files(const organ_resharding *r) { return r->file_count; }

const char *organ_resharding_file(const organ_resharding *r, size_t file, uint64_t *bytes)
{
    if (bytes)
        *bytes = r->files[file].content.size;
    return r->files[file].content.name;
}

uint64_t organ_resharding_bytes(const organ_resharding *r)
{
    uint64_t bytes = r->index_bytes;
    for (size_t f = 0; f < r->file_count; f++)
        bytes += r->files[f].content.size;
    return bytes;
}

uint64_t organ_resharding_total(const organ_resharding *r) { return r->total; }

json_t *organ_resharding_files_json(const organ_resharding *plan)
{
    json_t *const rows = json_array();
    for (size_t f = 0; f < organ_resharding_files(plan); f++) {
        uint64_t bytes;
        const char *const name = organ_resharding_file(plan, f, &bytes);
        json_array_append_new(rows, ORGAN_OBJECT(SET_BYTES("name", name), SET_COUNT("bytes", bytes)));
    }
    return rows;
}

json_t *organ_pieces_same_json(const organ_shard_piece *pieces, size_t count)
{
    json_int_t same = 0, bytes = 0;
    for (size_t k = 0; k < count; k++)
        if (pieces[k].same) {
            same++;
            bytes += (json_int_t)pieces[k].bytes;
        }
    return ORGAN_OBJECT(SET_COUNT("tensors", same), SET_COUNT("bytes", bytes));
}

json_t *organ_pieces_types_json(const organ_shard_piece *pieces, size_t count)
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

organ_shard_piece organ_piece_same(const organ_tensor *tensor)
{
    return (organ_shard_piece){
        .name = tensor->name, .dtype = tensor->dtype, .rank = tensor->rank, .shape = tensor->shape, .same = tensor};
}

/* ---- the files ---- */

/* If `stays` is set, an existing file of the right size keeps its other bytes, which are tensors that an interrupted
 * run wrote. */
static organ_status write_file(const char *path, const organ_shard *file, bool stays, bool holes, organ_error *error)
{
    struct stat info;
    const bool there = stays && lstat(path, &info) == 0;
    const bool kept = there && S_ISREG(info.st_mode) && (uint64_t)info.st_size == file->size;
    if (there && !kept && organ_remove_file(path))
        return organ_fail_errno(error, errno, "%s: cannot be removed", path);
    if (!kept && organ_transfer_file(path, file->size, !holes, error))
        return error->status;
    for (size_t k = 0; k < file->filler_count && !error->status; k++)
        organ_transfer_bytes(path, file->fillers[k].data, file->fillers[k].bytes, file->fillers[k].offset, error);
    organ_rows_rest();
    return error->status;
}

static organ_status create_planned_files(organ_resharding *r, const char *directory, bool stays, bool holes,
                                         organ_error *error)
{
    for (size_t f = 0; f < r->file_count && !error->status; f++) {
        shard *const file = &r->files[f];
        if (!(file->path = organ_path_join(&r->arena, directory, file->content.name)))
            return resharding_no_memory(r, error);
        write_file(file->path, &file->content, stays, holes, error);
    }
    if (error->status || !r->index)
        return error->status;
    const organ_filler text = {.bytes = r->index_bytes, .data = (unsigned char *)r->index};
    const organ_shard index = {.size = r->index_bytes, .filler_count = 1, .fillers = &text};
    const char *const path = organ_path_join(&r->arena, directory, ORGAN_INDEX_NAME);
    return path ? write_file(path, &index, stays, holes, error) : resharding_no_memory(r, error);
}

organ_status organ_resharding_begin(organ_resharding *r, const char *directory, organ_error *error)
{
    return create_planned_files(r, directory, /*stays=*/false, /*holes=*/false, error);
}

organ_status organ_resharding_begin_outline(organ_resharding *r, const char *directory, organ_error *error)
{
    return create_planned_files(r, directory, /*stays=*/false, /*holes=*/true, error);
}

organ_status organ_resharding_continue(organ_resharding *r, const char *directory, organ_error *error)
{
    return create_planned_files(r, directory, /*stays=*/true, /*holes=*/false, error);
}

/* The index is digested first, then each filler with the digest so far as seed. */
uint64_t organ_resharding_digest(const organ_resharding *r)
{
    uint64_t digest = XXH3_64bits(r->index, r->index_bytes);
    for (size_t f = 0; f < r->file_count; f++)
        for (size_t k = 0; k < r->files[f].content.filler_count; k++) {
            const organ_filler *const filler = &r->files[f].content.fillers[k];
            digest = XXH3_64bits_withSeed(filler->data, filler->bytes, digest);
            organ_rows_rest();
        }
    return digest;
}

typedef struct resharding_copying {
    const organ_resharding_watch *watch;
    const organ_transfer *transfers;
    size_t *pieces;
} resharding_copying;

static organ_status note_written(void *context, const organ_transfer *transfer, const organ_transfer_extent *extent,
                                 organ_error *error)
{
    const resharding_copying *const c = context;
    return c->watch->written(c->watch->context, c->pieces[transfer - c->transfers], extent, error);
}

static organ_status note_copied(void *context, const organ_transfer *transfer, organ_error *error)
{
    const resharding_copying *const c = context;
    return c->watch->copied(c->watch->context, c->pieces[transfer - c->transfers], error);
}

organ_status organ_resharding_copy(organ_resharding *r, const organ_resharding_watch *watch, const organ_engine *engine,
                                   const organ_progress *progress, const organ_stop *stop, organ_error *error)
{
    ORGAN_OWNED_ROWS organ_transfer *const transfers = organ_rows_take(r->count + 1, sizeof *transfers);
    resharding_copying c = {.watch = watch, .transfers = transfers, .pieces = calloc(r->count + 1, sizeof *c.pieces)};
    size_t count = 0;
    if (!transfers || !c.pieces)
        resharding_no_memory(r, error);
    for (size_t k = 0; k < r->count && !error->status; k++) {
        const organ_shard_piece *const p = &r->pieces[k];
        if (!p->same || (watch && !watch->is_selected(watch->context, k)))
            continue;
        c.pieces[count] = k;
        transfers[count++] = (organ_transfer){.model = p->model ? p->model : r->model,
                                              .tensor = p->same,
                                              .path = r->files[p->file].path,
                                              .offset = p->offset,
                                              .as = p->dtype,
                                              .kernels = r->kernels,
                                              .overflow = watch ? watch->overflow : NULL,
                                              .whole = watch && watch->whole,
                                              .written = watch ? note_written : NULL,
                                              .done = watch ? note_copied : NULL,
                                              .context = &c};
    }
    if (!error->status && count)
        organ_transfer_run(transfers, count, engine, progress, stop, error);
    free(c.pieces);
    return error->status;
}

const char *organ_resharding_place(const organ_resharding *r, size_t piece, uint64_t *offset)
{
    *offset = r->pieces[piece].offset;
    return r->files[r->pieces[piece].file].path;
}
