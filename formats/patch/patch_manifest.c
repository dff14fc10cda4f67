/* SPDX-License-Identifier: MIT
 * Parses organ_patch.json, the manifest of a patch, and checks that its files and tensors are possible. */
#include "formats/patch/patch.h"

#include "formats/base/format_rest.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 200 /* bytes of a name or value that messages show */
#define RANKS ((size_t)64)

typedef struct patch_reading {
    const organ_json_source *text;
    organ_patch *patch;
    const char *what; /* name of the file or tensor whose entry is read */
    size_t file_room, tensor_room;
    organ_name_table files, stored, tensors; /* numbers of files and tensors by their names */
    organ_error *error;
} patch_reading;

/* ---- values ---- */

__attribute__((format(printf, 2, 3))) static organ_status refuse(const patch_reading *r, const char *format, ...)
{
    char reason[sizeof r->error->message];
    ORGAN_FORMAT_REST(reason, format);
    return r->error->status ? r->error->status
                            : organ_refuse(r->error, r->text->label, "'%.*s': %s", SHOWN, r->what, reason);
}

static const char *keep(const patch_reading *r, const char *text)
{
    const char *const copy = organ_arena_copy(&r->patch->arena, text, strlen(text));
    if (!copy)
        organ_fail_memory(r->error, r->text->label);
    return copy ? copy : "";
}

/* Returns "" after an error. */
static const char *text_of(const patch_reading *r, const json_t *row, const char *field)
{
    const char *const text = organ_json_plain(json_object_get(row, field));
    if (!text)
        refuse(r, "%s is missing or no text", field);
    return text ? keep(r, text) : "";
}

static uint64_t number_of(const patch_reading *r, const json_t *value, const char *field)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        refuse(r, "%s is missing or no whole number", field);
    return (uint64_t)json_integer_value(value);
}

static uint64_t count_of(const patch_reading *r, const json_t *row, const char *field)
{
    return number_of(r, json_object_get(row, field), field);
}

static const char *digest_of(const patch_reading *r, const json_t *row, const char *field)
{
    const char *const text = text_of(r, row, field);
    if (strspn(text, "0123456789abcdef") != 32 || text[32])
        refuse(r, "%s is '%.*s', which are not 32 hexadecimal digits", field, SHOWN, text);
    return text;
}

/* Returns a new array of the arena with the whole numbers of a list; NULL after an error. */
static uint64_t *numbers_of(const patch_reading *r, const json_t *list, const char *field, size_t *count)
{
    *count = json_array_size(list);
    uint64_t *const numbers = organ_arena_take(&r->patch->arena, (*count + 1) * sizeof *numbers);
    if (!json_is_array(list))
        refuse(r, "%s is missing or no list", field);
    else if (!numbers)
        organ_fail_memory(r->error, r->text->label);
    for (size_t k = 0; k < *count && !r->error->status; k++)
        numbers[k] = number_of(r, json_array_get(list, k), field);
    return r->error->status ? NULL : numbers;
}

static void enter_name(const patch_reading *r, organ_name_table *names, const char *name, size_t number,
                       const char *twice)
{
    const size_t *const found = organ_name_table_put(names, name, number);
    if (!found)
        organ_fail_memory(r->error, r->text->label);
    else if (*found != number)
        refuse(r, "%s", twice);
}

/* ---- files ---- */

/* The spans are a list of offsets and lengths by turns. */
static void read_spans(const patch_reading *r, const json_t *row, organ_patch_file *file)
{
    size_t count;
    uint64_t at = 0;
    const uint64_t *const numbers = numbers_of(r, json_object_get(row, "spans"), "spans", &count);
    organ_patch_span *const spans = organ_arena_take(&r->patch->arena, (count / 2 + 1) * sizeof *spans);
    file->spans = spans;
    if (!spans)
        organ_fail_memory(r->error, r->text->label);
    if (count % 2)
        refuse(r, "spans has an odd number of values");
    for (size_t k = 0; k + 1 < count && numbers && !r->error->status; k += 2) {
        if (numbers[k] < at || numbers[k] > file->size || numbers[k + 1] > file->size - numbers[k])
            refuse(r, "the span at %" PRIu64 " is not in the file, after the one before", numbers[k]);
        else if (numbers[k + 1] > ORGAN_PATCH_LIMIT - r->patch->loose)
            refuse(r, "the files have more than %zu bytes outside of tensors", ORGAN_PATCH_LIMIT);
        else {
            spans[file->span_count++] = (organ_patch_span){numbers[k], (size_t)numbers[k + 1]};
            file->bytes += (size_t)numbers[k + 1];
            r->patch->loose += (size_t)numbers[k + 1];
            at = numbers[k] + numbers[k + 1];
        }
    }
}

bool organ_patch_may_name(const char *name)
{
    static const char reports[] = "organ/", own[] = ".organ";
    return organ_path_stays_inside(name, /*hidden=*/true) && strncmp(name, reports, sizeof reports - 1) != 0 &&
           strncmp(name, own, sizeof own - 1) != 0;
}

static void read_file(patch_reading *r, const json_t *row)
{
    organ_patch *const p = r->patch;
    if (!organ_grow(&p->files, p->file_count, &r->file_room, sizeof *p->files)) {
        organ_fail_memory(r->error, r->text->label);
        return;
    }
    organ_patch_file *const file = &p->files[p->file_count];
    *file = (organ_patch_file){.name = r->what, .size = count_of(r, row, "bytes")};
    if (!organ_path_stays_inside(r->what, /*hidden=*/true))
        refuse(r, "is no path inside of a model's directory");
    else if (!organ_patch_may_name(r->what))
        refuse(r, "is no file of a model");
    file->digest = digest_of(r, row, "xxh3_128");
    read_spans(r, row, file);
    if (!json_is_null(json_object_get(row, "stored"))) {
        file->stored = text_of(r, row, "stored");
        if (!organ_path_stays_inside(file->stored, /*hidden=*/false) ||
            strncmp(file->stored, ORGAN_PATCH_FILES "/", strlen(ORGAN_PATCH_FILES "/")) != 0)
            refuse(r, "stored is '%.*s', which is no file in " ORGAN_PATCH_FILES "/", SHOWN, file->stored);
        enter_name(r, &r->stored, file->stored, p->file_count, "stored is that of another file");
    }
    enter_name(r, &r->files, r->what, p->file_count++, "occurs twice");
}

/* ---- tensors ---- */

static const organ_patch_frame *find_frame(const organ_patch *p, const char *name)
{
    const organ_tensor *const stored = p->model ? organ_model_find(p->model, name) : NULL;
    return stored ? &p->frames[stored - p->model->tensors] : NULL;
}

/* A tensor without bytes has no frame. */
static void read_change(const patch_reading *r, const json_t *row, organ_patch_tensor *t)
{
    const char *const change = text_of(r, row, "change");
    const bool none = strcmp(change, "none") == 0;
    t->whole = strcmp(change, "whole") == 0;
    t->frame = find_frame(r->patch, t->name);
    t->before = t->whole ? NULL : digest_of(r, row, "before");
    t->after = digest_of(r, row, "after");
    if (!none && !t->whole && strcmp(change, "delta") != 0)
        refuse(r, "change is '%.*s', not none, delta or whole", SHOWN, change);
    else if (none && t->frame)
        refuse(r, "change is none, but %s has changes", r->patch->model->files[t->frame->stored->file].name);
    else if (!none && !t->frame && t->bytes && r->patch->model)
        refuse(r, "change is %s, but the patch has no bytes of this tensor", change);
    else if (none && r->error->status == ORGAN_OK && strcmp(t->before, t->after) != 0)
        refuse(r, "change is none, but before and after differ");
    else if (t->frame && r->patch->kind == ORGAN_CHECKSUM_XXH3_128 && strcmp(t->frame->checksum, t->after) != 0)
        refuse(r, "after is %s, but __metadata__ states %s", t->after, t->frame->checksum);
}

static void read_place(const patch_reading *r, const json_t *row, organ_patch_tensor *t)
{
    organ_patch *const p = r->patch;
    const char *const text = organ_json_plain(json_object_get(row, "file")), *const name = text ? text : "";
    const size_t *const found = organ_name_table_find(&r->files, name);
    t->offset = count_of(r, row, "offset");
    t->bytes = count_of(r, row, "bytes");
    if (r->error->status)
        return;
    organ_patch_file *const file = found ? &p->files[*found] : NULL;
    if (!file || strchr(name, '/'))
        refuse(r, "file is '%.*s', which %s", SHOWN, name, file ? "is in a folder" : "is not in files");
    else if (t->offset > file->size || t->bytes > file->size - t->offset)
        refuse(r, "bytes %" PRIu64 " from %" PRIu64 " on are not in %s", t->bytes, t->offset, name);
    else {
        t->file = *found;
        file->tensors++;
    }
}

static void read_tensor(patch_reading *r, const json_t *row)
{
    organ_patch *const p = r->patch;
    size_t rank = 0;
    if (p->tensor_count == r->tensor_room) {
        const size_t room = 2 * r->tensor_room + 64;
        organ_patch_tensor *const grown =
            organ_rows_grow(p->tensors, p->tensor_count * sizeof *grown, room * sizeof *grown);
        if (!grown) {
            organ_fail_memory(r->error, r->text->label);
            return;
        }
        p->tensors = grown;
        r->tensor_room = room;
    }
    organ_patch_tensor *const t = &p->tensors[p->tensor_count];
    *t = (organ_patch_tensor){.name = r->what, .dtype = text_of(r, row, "dtype")};
    t->shape = numbers_of(r, json_object_get(row, "shape"), "shape", &rank);
    t->rank = (unsigned)rank;
    if (rank > RANKS)
        refuse(r, "shape has %zu axes", rank);
    read_place(r, row, t);
    read_change(r, row, t);
    enter_name(r, &r->tensors, r->what, p->tensor_count++, "occurs twice");
}

/* ---- the manifest ---- */

static organ_status read_members(patch_reading *r, const char *name, void (*read)(patch_reading *r, const json_t *row))
{
    const organ_json_span all = {0, r->text->length};
    organ_json_walk walk;
    organ_json_walk_begin(&walk, r->text, organ_json_member(r->text, all, name), name, r->error);
    while (organ_json_walk_next(&walk, r->error)) {
        ORGAN_OWNED_JSON json_t *row = NULL;
        if (organ_json_parse(r->text, walk.value, name, &row, r->error))
            continue; /* the walk ends, and releases the name */
        r->what = keep(r, json_string_value(walk.name));
        if (!r->error->status)
            read(r, row);
        organ_rows_passed();
    }
    return r->error->status;
}

static organ_status read_member(const patch_reading *r, const char *name, json_t **value)
{
    const organ_json_span span = organ_json_member(r->text, (organ_json_span){0, r->text->length}, name);
    *value = NULL;
    if (span.end == span.begin)
        return organ_refuse(r->error, r->text->label, "%s is missing", name);
    return organ_json_parse(r->text, span, name, value, r->error);
}

static organ_status read_head(const patch_reading *r)
{
    static const char *const members[] = {"schema", "base", "result", "single_file"};
    ORGAN_OWNED_JSON json_t *const head = json_object();
    for (size_t k = 0; k < sizeof members / sizeof *members; k++) {
        json_t *value = NULL;
        if (read_member(r, members[k], &value))
            return r->error->status;
        json_object_set_new(head, members[k], value);
    }
    const char *const schema = organ_json_plain(json_object_get(head, "schema"));
    const char *const base = organ_json_plain(json_object_get(head, "base"));
    const char *const result = organ_json_plain(json_object_get(head, "result"));
    if (!schema || strcmp(schema, ORGAN_PATCH_SCHEMA) != 0)
        return organ_refuse(r->error, r->text->label, "schema is '%.*s', not " ORGAN_PATCH_SCHEMA, SHOWN,
                            schema ? schema : "");
    if (!base || !result || !json_is_boolean(json_object_get(head, "single_file")))
        return organ_refuse(r->error, r->text->label, "base, result or single_file has the wrong type");
    r->patch->base = keep(r, base);
    r->patch->result = keep(r, result);
    r->patch->single = json_is_true(json_object_get(head, "single_file"));
    return r->error->status;
}

/* ---- places ---- */

typedef struct patch_place {
    size_t file;
    uint64_t offset, bytes;
    const char *name;
} patch_place;

static int by_place(const void *a, const void *b)
{
    const patch_place *const x = a, *const y = b;
    return ORGAN_ORDERS(ORGAN_ORDER(x->file, y->file), ORGAN_ORDER(x->offset, y->offset));
}

/* No byte of a file belongs to two tensors, or to a tensor and a span. */
static organ_status check_places(patch_reading *r)
{
    const organ_patch *const p = r->patch;
    size_t count = p->tensor_count, used = 0;
    for (size_t f = 0; f < p->file_count; f++)
        count += p->files[f].span_count;
    ORGAN_OWNED_ROWS patch_place *const places = organ_rows_take(count + 1, sizeof *places);
    if (!places)
        return organ_fail_memory(r->error, r->text->label);
    for (size_t t = 0; t < p->tensor_count; t++)
        if (p->tensors[t].bytes)
            places[used++] =
                (patch_place){p->tensors[t].file, p->tensors[t].offset, p->tensors[t].bytes, p->tensors[t].name};
    for (size_t f = 0; f < p->file_count; f++)
        for (size_t k = 0; k < p->files[f].span_count; k++)
            places[used++] =
                (patch_place){f, p->files[f].spans[k].offset, p->files[f].spans[k].bytes, "bytes without tensors"};
    qsort(places, used, sizeof *places, by_place);
    for (size_t k = 1; k < used; k++)
        if (places[k].file == places[k - 1].file && places[k].offset - places[k - 1].offset < places[k - 1].bytes)
            return organ_refuse(r->error, r->text->label, "in %s, '%.*s' overlaps '%.*s'",
                                p->files[places[k].file].name, SHOWN, places[k].name, SHOWN, places[k - 1].name);
    return ORGAN_OK;
}

organ_status organ_patch_parse(const organ_json_source *text, organ_patch *patch, organ_error *error)
{
    patch_reading r = {.text = text, .patch = patch, .what = "", .error = error};
    if (read_head(&r) == ORGAN_OK && read_members(&r, "files", read_file) == ORGAN_OK &&
        read_members(&r, "tensors", read_tensor) == ORGAN_OK)
        check_places(&r);
    organ_name_table_release(&r.files);
    organ_name_table_release(&r.stored);
    organ_name_table_release(&r.tensors);
    for (size_t f = 0; f < patch->file_count && !error->status; f++)
        if (!patch->files[f].tensors && patch->files[f].bytes != patch->files[f].size)
            organ_refuse(error, text->label, "'%.*s': the spans are not the whole file, which has no tensors", SHOWN,
                         patch->files[f].name);
    size_t frames = 0;
    for (size_t t = 0; t < patch->tensor_count && !error->status; t++)
        frames += patch->tensors[t].frame != NULL;
    if (!error->status && patch->model && frames != patch->model->tensor_count)
        organ_refuse(error, text->label, "lacks %zu of the %zu tensors whose changes the patch has",
                     patch->model->tensor_count - frames, patch->model->tensor_count);
    if (!error->status && patch->single && patch->file_count != 1)
        organ_refuse(error, text->label, "single_file is true, but there are %zu files", patch->file_count);
    patch->has_manifest = !error->status;
    return error->status;
}
