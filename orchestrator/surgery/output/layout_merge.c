/* SPDX-License-Identifier: MIT
 * Merges the pieces of a layout into one file with a new header. organ_rows_passed (formats/base/paged_rows.h) frees
 * the memory of large arrays from time to time. */
#include "orchestrator/surgery/output/layout.h"

#include "formats/base/json_text.h"
#include "formats/base/paged_rows.h"
#include "formats/base/text_buffer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    if (wide != other)
        return wide > other ? -1 : 1;
    if (x->as.file != y->as.file)
        return x->as.file < y->as.file ? -1 : 1;
    if (x->as.offset != y->as.offset)
        return x->as.offset < y->as.offset ? -1 : 1;
    return strcmp(x->as.name, y->as.name);
}

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

/* The header begins with 8 bytes for its length, which merge_safetensors fills in. The JSON is padded with spaces so
 * that the data begins at a multiple of 8. *header is memory of organ_rows_take. */
static organ_status write_merged_header(const organ_layout *layout, char **header, size_t *length, organ_error *error)
{
    organ_text text;
    uint64_t at = 0;
    if (organ_text_open_rows(&text, error) != ORGAN_OK)
        return error->status;
    FILE *const out = text.out;
    fputs("        {", out);
    put_metadata(out, layout);
    for (size_t k = 0; k < layout->piece_count && !error->status; k++) {
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

static organ_status merge_safetensors(organ_layout *layout, const char *name, organ_error *error)
{
    char *header = NULL;
    size_t length = 0;
    qsort(layout->pieces, layout->piece_count, sizeof *layout->pieces, by_width);
    if (write_merged_header(layout, &header, &length, error))
        return error->status;
    for (unsigned k = 0; k < 8; k++)
        header[k] = (char)((uint64_t)(length - 8) >> 8 * k);
    uint64_t at = length;
    for (size_t k = 0; k < layout->piece_count; k++) {
        layout->pieces[k].as.offset = at;
        at += layout->pieces[k].as.bytes;
    }
    return replace_by_one_file(layout, name, (unsigned char *)header, length, at, error);
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
