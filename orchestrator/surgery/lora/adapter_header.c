/* SPDX-License-Identifier: MIT
 * The safetensors header of an adapter that is being written: the JSON text of the entries of all appended tensors, and
 * the names of these tensors. Both are paged rows (formats/base/paged_rows.h), which need little memory. */
#include "formats/base/json_dump.h"
#include "formats/base/paged_rows.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/lora/adapter_write_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define METADATA "{\"__metadata__\":{\"format\":\"pt\"}"
#define PIECE    ((size_t)1 << 20) /* bytes of the header that are written together */

/* The size of the header is fixed in advance, so that data can be written at its final place in the file before all
 * names are known. */
organ_status organ_adapter_header_begin(organ_adapter_writer *w, size_t tensors, size_t name_bytes, organ_error *error)
{
    w->names_room = name_bytes + tensors; /* with a NUL for each name */
    w->header = organ_rows_take(1, 8 + w->header_room);
    w->names = organ_rows_take(1, w->names_room + 1);
    if (!w->header || !w->names)
        return organ_fail_memory(error, w->output.path);
    organ_adapter_header_clear(w);
    return ORGAN_OK;
}

/* Empties the header: it then has the 8 bytes of its length, and the metadata. */
void organ_adapter_header_clear(organ_adapter_writer *w)
{
    for (unsigned k = 0; k < 8; k++) /* the length of the JSON, little-endian */
        w->header[k] = (char)(w->header_room >> 8 * k);
    memcpy(w->header + 8, METADATA, sizeof METADATA - 1);
    w->header_end = 8 + sizeof METADATA - 1;
    w->names_end = 0;
    organ_name_table_release(&w->known_names);
    w->known_names = (organ_name_table){0};
}

void organ_adapter_header_release(organ_adapter_writer *w)
{
    organ_name_table_release(&w->known_names);
    organ_rows_free(w->header);
    organ_rows_free(w->names);
    organ_rows_free(w->turn_lines);
}

void organ_adapter_writer_turn(organ_adapter_writer *w, size_t turn)
{
    w->turn = turn;
    w->turn_begin = w->bytes;
    json_array_clear(w->turn_tensors);
}

/* Fails because the header has no room for the entry of the tensor `name`. */
static organ_status fail_header_full(const organ_adapter_writer *w, const char *name, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: tensor '%s': its entry does not fit into the %" PRIu64 " bytes reserved for the header",
                      w->output.path, name, w->header_room);
}

/* Appends ,"NAME":ENTRY to the header. Fails if no byte would remain for the last brace of the header. */
static organ_status adapter_header_append(organ_adapter_writer *w, const char *name, json_t *entry, organ_error *error)
{
    json_t *const member = json_object();
    char *const text =
        member && json_object_set(member, name, entry) == 0 ? organ_json_dump(member, JSON_COMPACT) : NULL;
    const size_t length = text ? strlen(text) - 1 : 0; /* `{` becomes `,`, `}` is not copied */
    if (!text)
        organ_fail_memory(error, w->output.path);
    else if (length >= 8 + w->header_room - w->header_end)
        fail_header_full(w, name, error);
    else {
        memcpy(w->header + w->header_end, text, length);
        w->header[w->header_end] = ',';
        w->header_end += length;
    }
    free(text);
    json_decref(member);
    organ_rows_passed();
    return error->status;
}

/* Copies a name to w->names and adds it to w->known_names. Returns ORGAN_BAD_INPUT if a tensor of this name was added
 * before or the names have no room. */
static organ_status adapter_header_name(organ_adapter_writer *w, const char *name, organ_error *error)
{
    const size_t length = strlen(name) + 1;
    if (organ_name_table_find(&w->known_names, name))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': occurs twice", w->output.path, name);
    if (length > w->names_room - w->names_end)
        return fail_header_full(w, name, error);
    if (!organ_name_table_put(&w->known_names, memcpy(w->names + w->names_end, name, length), 0))
        return organ_fail_memory(error, w->output.path);
    w->names_end += length;
    return ORGAN_OK;
}

/* Adds a tensor to the header and the lists of the writer, with offsets from w->bytes on. Returns ORGAN_BAD_INPUT if
 * `width`, the bytes of an element, exceeds that of the previous tensor. The caller then writes the data and advances
 * w->bytes. */
organ_status organ_adapter_enter(organ_adapter_writer *w, const char *name, unsigned width, json_t *entry,
                                 uint64_t bytes, organ_error *error)
{
    if (width > w->last_width)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': a wider type follows a narrower one",
                          w->output.path, name);
    w->last_width = width;
    json_t *const place = json_pack("[I, I]", (json_int_t)w->bytes, (json_int_t)(w->bytes + bytes));
    if (!ORGAN_ADD(entry, SET("data_offsets", place)) ||
        (w->turn_tensors &&
         json_array_append_new(w->turn_tensors, json_pack("[s, I, O]", name, (json_int_t)width, entry))) ||
        (w->rank_tensors && json_array_append_new(w->rank_tensors, json_pack("[I, I, s, O]", (json_int_t)w->turn,
                                                                             (json_int_t)width, name, entry))))
        return organ_fail_memory(error, w->output.path);
    return adapter_header_name(w, name, error) ? error->status : adapter_header_append(w, name, entry, error);
}

/* Completes the header and writes it in pieces, so that little of its paged rows is in memory at once. */
organ_status organ_adapter_header_write(organ_adapter_writer *w, organ_error *error)
{
    const size_t size = 8 + (size_t)w->header_room;
    w->header[w->header_end++] = '}';
    for (size_t at = 0; at < size && !error->status; at += PIECE) {
        const size_t end = size - at < PIECE ? size : at + PIECE;
        const size_t blank = w->header_end > at ? w->header_end : at; /* first byte of this piece after the JSON */
        if (blank < end)
            memset(w->header + blank, ' ', end - blank);
        organ_direct_write(&w->file, w->header + at, end - at, at, error);
        organ_rows_rest();
    }
    return error->status;
}
