/* SPDX-License-Identifier: MIT */
#include "formats/safetensors/safetensors.h"

#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/remote/remote.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a name or of header text that messages show. */
#define SHOWN        240
#define PIECE        ((size_t)4 << 20) /* bytes of the header in one read */
#define LENGTH_BYTES 8                 /* at the beginning of the file: the number of bytes of the header */

typedef struct safetensors_reader {
    const organ_model_file *files, *file; /* all files of the model; the one of them that is being read */
    organ_error *error;
    organ_json_source header;   /* the JSON text */
    uint64_t data_bytes;        /* bytes of the file after the header */
    organ_tensor_list *list;    /* output */
    bool has_metadata;          /* __metadata__ was read */
    const organ_faults *faults; /* receives faults of single tensors; NULL: the first fault ends the reading */
    bool some_refused;          /* at least one tensor of the header was rejected and is not in the list */
} safetensors_reader;

typedef struct entry {
    const safetensors_reader *from;
    const char *name;     /* of the tensor */
    organ_json_span span; /* its object in the header */
    json_t *fields[3];    /* parsed values of dtype, shape and data_offsets; NULL if not read */
} entry;

enum { DTYPE, SHAPE, OFFSETS };
static const char *const field_names[] = {"dtype", "shape", "data_offsets"};

static organ_status fail_entry_field(const entry *e, const char *field, const char *reason)
{
    const organ_json_span value = organ_json_member(&e->from->header, e->span, field);
    const size_t length = value.end - value.begin;
    return organ_refuse(e->from->error, e->from->file->name, "tensor '%.*s': %s %.*s%s", SHOWN, e->name, field,
                        (int)(length > SHOWN ? SHOWN : length), e->from->header.bytes + value.begin, reason);
}

static const json_t *require_array(const entry *e, int field)
{
    const json_t *const array = e->fields[field];
    if (!json_is_array(array))
        fail_entry_field(e, field_names[field], array ? ": is not a list" : "is missing");
    return array;
}

/* Sets the error of the entry if the element is not a whole number, and returns 0. */
static uint64_t read_field_number(const entry *e, int field, const json_t *array, size_t index)
{
    const json_t *value = json_array_get(array, index);
    if (json_is_integer(value) && json_integer_value(value) >= 0)
        return (uint64_t)json_integer_value(value);
    char reason[80];
    snprintf(reason, sizeof reason, ": element %zu is not a whole number from 0 to 9223372036854775807", index + 1);
    fail_entry_field(e, field_names[field], reason);
    return 0;
}

static organ_status read_dtype(const entry *e, organ_tensor *tensor)
{
    const json_t *value = e->fields[DTYPE];
    if (!value)
        return fail_entry_field(e, "dtype", "is missing");
    const char *name = organ_json_plain(value);
    tensor->dtype = name ? organ_dtype_from_name(name) : ORGAN_DTYPE_COUNT;
    return tensor->dtype < ORGAN_DTYPE_COUNT ? ORGAN_OK : fail_entry_field(e, "dtype", " is not a known type");
}

static organ_status count_bytes(const entry *e, organ_tensor *tensor)
{
    tensor->elements = 1;
    for (unsigned k = 0; k < tensor->rank; k++)
        if (__builtin_mul_overflow(tensor->elements, tensor->shape[k], &tensor->elements))
            return fail_entry_field(e, "shape", ": the number of elements exceeds 18446744073709551615");
    if (organ_dtype_bytes(tensor->dtype, tensor->elements, &tensor->bytes))
        return ORGAN_OK;
    const organ_dtype_info *type = organ_dtype_describe(tensor->dtype);
    char reason[120];
    if (tensor->elements % type->elements)
        snprintf(reason, sizeof reason, ": %" PRIu64 " elements of %s are not a whole number of bytes",
                 tensor->elements, type->name);
    else
        snprintf(reason, sizeof reason, ": the number of bytes exceeds %" PRIu64, UINT64_MAX);
    return fail_entry_field(e, "shape", reason);
}

/* Consecutive tensors often have equal shapes, which share one copy. */
static const uint64_t *copy_shape(organ_tensor_list *list, const uint64_t *shape, size_t rank)
{
    const organ_tensor *const before = list->count ? &list->tensors[list->count - 1] : NULL;
    if (before && before->rank == rank && memcmp(before->shape, shape, rank * sizeof *shape) == 0)
        return before->shape;
    uint64_t *const kept = organ_arena_take(&list->arena, rank * sizeof *shape);
    return kept ? memcpy(kept, shape, rank * sizeof *shape) : NULL;
}

static organ_status read_entry_shape(const entry *e, organ_tensor *tensor)
{
    const json_t *const array = require_array(e, SHAPE);
    if (e->from->error->status)
        return e->from->error->status;
    const size_t rank = json_array_size(array);
    if (rank > ORGAN_SAFETENSORS_RANK_LIMIT)
        return organ_refuse(e->from->error, e->from->file->name,
                            "tensor '%.*s': shape has %zu dimensions, more than %u", SHOWN, e->name, rank,
                            ORGAN_SAFETENSORS_RANK_LIMIT);
    uint64_t shape[ORGAN_SAFETENSORS_RANK_LIMIT];
    for (size_t k = 0; k < rank && !e->from->error->status; k++)
        shape[k] = read_field_number(e, SHAPE, array, k);
    if (e->from->error->status)
        return e->from->error->status;
    tensor->rank = (unsigned)rank;
    tensor->shape = copy_shape(e->from->list, shape, rank);
    return tensor->shape ? count_bytes(e, tensor) : organ_fail_memory(e->from->error, e->from->file->name);
}

/* The two numbers count from the end of the header. */
static organ_status read_offsets(const entry *e, organ_tensor *tensor)
{
    const json_t *const array = require_array(e, OFFSETS);
    if (e->from->error->status)
        return e->from->error->status;
    if (json_array_size(array) != 2)
        return fail_entry_field(e, "data_offsets", ": two numbers are expected");
    const uint64_t begin = read_field_number(e, OFFSETS, array, 0), end = read_field_number(e, OFFSETS, array, 1);
    if (e->from->error->status)
        return e->from->error->status;
    const char *label = e->from->file->name;
    if (end < begin)
        return organ_refuse(e->from->error, label,
                            "tensor '%.*s': data_offsets end %" PRIu64 " is before begin %" PRIu64, SHOWN, e->name, end,
                            begin);
    if (end > e->from->data_bytes)
        return organ_refuse(e->from->error, label,
                            "tensor '%.*s': data_offsets end %" PRIu64 " is past the end of the data (%" PRIu64 ")",
                            SHOWN, e->name, end, e->from->data_bytes);
    if (end - begin != tensor->bytes) {
        char reason[120];
        snprintf(reason, sizeof reason, " of %s needs %" PRIu64 " bytes, but data_offsets span %" PRIu64,
                 organ_dtype_name(tensor->dtype), tensor->bytes, end - begin);
        return fail_entry_field(e, "shape", reason);
    }
    tensor->offset = e->from->file->data_offset + begin;
    return ORGAN_OK;
}

/* Members other than dtype, shape and data_offsets are only validated and otherwise ignored, as in the safetensors
 * library. `what` is "tensor 'NAME'", for messages. */
static organ_status read_entry_field(entry *e, const char *what, const json_t *name, organ_json_span value)
{
    const organ_json_source *const header = &e->from->header;
    char where[2 * SHOWN];
    snprintf(where, sizeof where, "%s: \"%.100s\"", what, json_string_value(name));
    for (int k = 0; k < 3; k++) {
        if (!organ_json_is(name, field_names[k]))
            continue;
        if (e->fields[k])
            return organ_refuse(e->from->error, e->from->file->name, "%s: %s occurs twice", what, field_names[k]);
        return organ_json_parse(header, value, where, &e->fields[k], e->from->error);
    }
    return organ_json_check(header, value, where, e->from->error);
}

static organ_status read_fields(entry *e, const char *what)
{
    organ_json_walk walk;
    organ_json_walk_begin(&walk, &e->from->header, e->span, what, e->from->error);
    walk.any_names = true;
    while (organ_json_walk_next(&walk, e->from->error))
        read_entry_field(e, what, walk.name, walk.value);
    return e->from->error->status;
}

static organ_status read_entry(const safetensors_reader *r, const json_t *name, organ_json_span span)
{
    const size_t length = json_string_length(name);
    if (length > ORGAN_SAFETENSORS_NAME_LIMIT)
        return organ_refuse(r->error, r->file->name, "tensor '%.*s...': the name has %zu bytes, more than %u", 80,
                            json_string_value(name), length, ORGAN_SAFETENSORS_NAME_LIMIT);
    char *const own = organ_arena_copy(&r->list->arena, json_string_value(name), length);
    organ_tensor tensor = {.name = own, .file = (uint32_t)(r->file - r->files)};
    if (!own)
        return organ_fail_memory(r->error, r->file->name);
    r->list->wrapped += organ_tensor_unwrap(own);
    tensor.anatomy = organ_anatomy_of(tensor.name);
    char what[SHOWN + 16];
    snprintf(what, sizeof what, "tensor '%.*s'", SHOWN, tensor.name);
    entry e = {r, tensor.name, span, {NULL, NULL, NULL}};
    if (read_fields(&e, what) == ORGAN_OK && read_dtype(&e, &tensor) == ORGAN_OK &&
        read_entry_shape(&e, &tensor) == ORGAN_OK && read_offsets(&e, &tensor) == ORGAN_OK)
        organ_tensor_list_append(r->list, &tensor, r->error);
    for (int k = 0; k < 3; k++)
        json_decref(e.fields[k]);
    return r->error->status;
}

/* Duplicate names and NUL are accepted, because the strings are not used. */
static organ_status check_strings(const safetensors_reader *r, organ_json_span span)
{
    organ_json_walk walk;
    organ_json_walk_begin(&walk, &r->header, span, "__metadata__", r->error);
    walk.any_names = true;
    while (organ_json_walk_next(&walk, r->error)) {
        ORGAN_OWNED_JSON json_t *text = NULL;
        const size_t length = walk.value.end - walk.value.begin;
        if (organ_json_parse(&r->header, walk.value, "__metadata__", &text, r->error) == ORGAN_OK &&
            !json_is_string(text))
            organ_refuse(r->error, r->file->name, "__metadata__: '%.*s' is not a string but %.*s", SHOWN,
                         json_string_value(walk.name), (int)(length > SHOWN ? SHOWN : length),
                         r->header.bytes + walk.value.begin);
    }
    return r->error->status;
}

static organ_status check_metadata(safetensors_reader *r, organ_json_span span)
{
    if (r->has_metadata)
        return organ_refuse(r->error, r->file->name, "__metadata__ occurs twice");
    r->has_metadata = true;
    const bool null = span.end - span.begin == 4 && memcmp(r->header.bytes + span.begin, "null", 4) == 0;
    return null ? ORGAN_OK : check_strings(r, span);
}

/* If there was a fault and the caller collects faults, adds it to r->faults, clears the error and returns true. */
static bool pass_fault(const safetensors_reader *r, organ_status status)
{
    return status != ORGAN_OK && organ_faults_take(r->faults, r->error);
}

static organ_status read_entries(safetensors_reader *r)
{
    organ_json_walk walk;
    organ_json_walk_begin(&walk, &r->header, (organ_json_span){0, r->header.length}, /*what=*/NULL, r->error);
    while (organ_json_walk_next(&walk, r->error)) {
        if (strcmp(json_string_value(walk.name), "__metadata__") == 0)
            pass_fault(r, check_metadata(r, walk.value));
        else if (pass_fault(r, read_entry(r, walk.name, walk.value)))
            r->some_refused = true;
        organ_rows_passed();
    }
    return r->error->status;
}

static int by_offset(const void *a, const void *b)
{
    const organ_tensor *s = a, *t = b;
    return ORGAN_ORDERS(ORGAN_ORDER(s->offset, t->offset), ORGAN_ORDER(s->bytes, t->bytes), strcmp(s->name, t->name));
}

/* transformers keeps the tensor of the last file. It knows no wrapped names, so that these do not replace others. */
static organ_status enter_tensor_name(const safetensors_reader *r, size_t k)
{
    organ_tensor_list *list = r->list;
    const char *name = list->tensors[k].name;
    size_t *const kept = organ_name_table_put(&list->names, name, k);
    if (!kept)
        return organ_fail_memory(r->error, r->file->name);
    if (*kept >= r->file->first && *kept != k)
        return organ_refuse(r->error, r->file->name, "tensor '%.*s': duplicate name in the header", SHOWN, name);
    if (*kept != k && list->wrapped)
        return organ_refuse(r->error, r->file->name, "tensor '%.*s': %s also has a tensor of this name", SHOWN, name,
                            r->files[list->tensors[*kept].file].name);
    *kept = k;
    return ORGAN_OK;
}

static organ_status enter_names(const safetensors_reader *r)
{
    for (size_t k = r->file->first; k < r->list->count && !r->error->status; k++)
        pass_fault(r, enter_tensor_name(r, k));
    return r->error->status;
}

/* Accepts a hole if a faulty tensor was left out, because the hole may contain its data. */
static organ_status check_begin(const safetensors_reader *r, const organ_tensor *t, const organ_tensor *before,
                                uint64_t end)
{
    const uint64_t data = r->file->data_offset;
    if (t->offset < end)
        return organ_refuse(r->error, r->file->name,
                            "tensor '%.*s': data_offsets begin %" PRIu64
                            " overlaps tensor '%.*s', which ends at %" PRIu64,
                            SHOWN, t->name, t->offset - data, SHOWN, before->name, end - data);
    if (t->offset > end && !r->some_refused)
        return organ_refuse(r->error, r->file->name,
                            "tensor '%.*s': data_offsets begin %" PRIu64 " leaves a hole after byte %" PRIu64, SHOWN,
                            t->name, t->offset - data, end - data);
    return ORGAN_OK;
}

static organ_status check_layout(const safetensors_reader *r)
{
    uint64_t end = r->file->data_offset;
    const organ_tensor *before = NULL;
    for (size_t k = r->file->first; k < r->list->count; k++) {
        const organ_tensor *t = &r->list->tensors[k];
        if (check_begin(r, t, before, end) != ORGAN_OK && !pass_fault(r, r->error->status))
            return r->error->status;
        if (t->offset + t->bytes >= end) {
            end = t->offset + t->bytes;
            before = t;
        }
    }
    if (end == r->file->size || r->some_refused)
        return ORGAN_OK;
    return organ_refuse(r->error, r->file->name,
                        "data_offsets of the last tensor%s%.*s%s end at %" PRIu64 ", but the data has %" PRIu64
                        " bytes",
                        before ? " '" : "", SHOWN, before ? before->name : "", before ? "'" : "",
                        end - r->file->data_offset, r->data_bytes);
}

/* Users sometimes pass another file under the name of a safetensors file. */
static const char *mistaken_for(const unsigned char *magic)
{
    static const struct {
        const char *magic, *what;
    } known[] = {
        {"version ", "; it is a Git LFS pointer: download the model itself"},
        {"GGUF", "; it is a GGUF file"},
        {"PK\3\4", "; it is a zip archive, probably saved by PyTorch"},
        {"<!DOCTYP", "; it is a web page"},
        {"<html", "; it is a web page"},
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (memcmp(magic, known[k].magic, strlen(known[k].magic)) == 0)
            return known[k].what;
    return "";
}

static organ_status read_length(const organ_model_file *file, uint64_t *length, organ_error *error)
{
    unsigned char bytes[LENGTH_BYTES];
    if (file->size < sizeof bytes)
        return organ_refuse(error, file->name, "the file has %" PRIu64 " bytes, fewer than the 8 of the header length",
                            file->size);
    if (organ_model_file_read(file, bytes, sizeof bytes, 0, error) != ORGAN_OK)
        return error->status;
    *length = organ_little_endian(bytes, sizeof bytes);
    if (*length > ORGAN_SAFETENSORS_HEADER_LIMIT)
        return organ_refuse(error, file->name, "header length %" PRIu64 " exceeds the limit of %u%s", *length,
                            ORGAN_SAFETENSORS_HEADER_LIMIT, mistaken_for(bytes));
    if (*length > file->size - sizeof bytes)
        return organ_refuse(error, file->name,
                            "header length %" PRIu64 " is past the end of the file (%" PRIu64 " bytes follow it)",
                            *length, file->size - sizeof bytes);
    return ORGAN_OK;
}

/* The header has up to 100 MB: organ_rows_rest frees the memory of each piece before the next is read. */
static organ_status read_text(const safetensors_reader *r, char *text)
{
    const size_t length = r->header.length;
    for (size_t at = 0; at < length && !r->error->status; at += PIECE) {
        organ_model_file_read(r->file, text + at, length - at < PIECE ? length - at : PIECE, LENGTH_BYTES + at,
                              r->error);
        organ_rows_rest();
    }
    return r->error->status;
}

/* `text`, an array for the bytes of the header, is released before enter_names allocates the table of names, to keep
 * peak memory low. */
static organ_status read_header(safetensors_reader *r, char *text)
{
    if (read_text(r, text) == ORGAN_OK)
        read_entries(r);
    organ_rows_free(text);
    if (r->error->status)
        return r->error->status;
    const size_t count = r->list->count - r->file->first;
    if (count > 0)
        qsort(r->list->tensors + r->file->first, count, sizeof *r->list->tensors, by_offset);
    return enter_names(r) == ORGAN_OK ? check_layout(r) : r->error->status;
}

/* The data begin after the length and the header. */
organ_status organ_safetensors_survey(organ_model_file *files, size_t index, organ_tensor_list *list,
                                      const organ_faults *faults, organ_error *error)
{
    organ_model_file *file = &files[index];
    uint64_t length = 0;
    if (read_length(file, &length, error) != ORGAN_OK)
        return error->status;
    file->data_offset = LENGTH_BYTES + length;
    file->first = list->count;
    char *const bytes = organ_rows_take(1, length + 1), *const label = organ_format("%s: header", file->name);
    if (!bytes || !label) {
        organ_rows_free(bytes);
        free(label);
        return organ_fail_errno(error, ENOMEM, "%s: a header of %" PRIu64 " bytes", file->name, length);
    }
    safetensors_reader r = {.files = files,
                            .file = file,
                            .error = error,
                            .header = {label, bytes, length},
                            .data_bytes = file->size - file->data_offset,
                            .list = list,
                            .faults = faults};
    read_header(&r, bytes);
    file->count = list->count - file->first;
    free(label);
    return error->status;
}

organ_status organ_safetensors_read(organ_model_file *files, size_t index, organ_tensor_list *list, organ_error *error)
{
    return organ_safetensors_survey(files, index, list, /*faults=*/NULL, error);
}
