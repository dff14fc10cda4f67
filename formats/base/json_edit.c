/* SPDX-License-Identifier: MIT */
#include "formats/base/json_edit.h"

#include "formats/base/json_dump.h"
#include "formats/base/json_text.h"
#include "formats/base/text_buffer.h"

#include <stdlib.h>
#include <string.h>

#define DEEPEST 16 /* levels of nested objects that organ_json_edit_remove searches */

/* The span to delete removes the member with one comma. */
typedef struct json_edit_place {
    organ_json_span value, cut;
    bool found; /* false: there is no such member */
} json_edit_place;

/* replace_span invalidates the result. */
static organ_json_source source_of_edit(const organ_json_edit *edit)
{
    return (organ_json_source){.label = edit->label, .bytes = edit->bytes, .length = edit->length};
}

static size_t skip_space(const organ_json_source *text, size_t at)
{
    while (at < text->length && memchr(" \t\r\n", text->bytes[at], 4))
        at++;
    return at;
}

/* The span is from `before`, the end of the previous member, to the end of the member's `value`. For the first
 * member it includes the comma after the value, if there is one. */
static organ_json_span span_to_delete(const organ_json_source *text, size_t before, bool first, organ_json_span value)
{
    const size_t after = skip_space(text, value.end);
    const bool comma = first && after < text->length && text->bytes[after] == ',';
    return (organ_json_span){before, comma ? after + 1 : value.end};
}

static organ_status seek_member(const organ_json_source *text, organ_json_span span, const char *name, int deep,
                                json_edit_place *to, organ_error *error)
{
    organ_json_walk walk;
    organ_json_walk_begin(&walk, text, span, NULL, error);
    size_t before = walk.at;
    for (bool first = true; !to->found && organ_json_walk_next(&walk, error); first = false) {
        if (strcmp(json_string_value(walk.name), name) == 0)
            *to = (json_edit_place){
                .value = walk.value, .cut = span_to_delete(text, before, first, walk.value), .found = true};
        else if (deep > 0 && text->bytes[walk.value.begin] == '{')
            seek_member(text, walk.value, name, deep - 1, to, error);
        before = walk.value.end;
    }
    organ_json_walk_leave(&walk);
    return error->status;
}

static organ_status replace_span(organ_json_edit *edit, organ_json_span span, const char *with, size_t length,
                                 organ_error *error)
{
    const size_t size = edit->length - (span.end - span.begin) + length;
    char *const bytes = malloc(size + 1);
    if (!bytes)
        return organ_fail_memory(error, edit->label);
    memcpy(bytes, edit->bytes, span.begin);
    memcpy(bytes + span.begin, with, length);
    memcpy(bytes + span.begin + length, edit->bytes + span.end, edit->length - span.end);
    bytes[size] = '\0';
    free(edit->bytes);
    edit->bytes = bytes;
    edit->length = size;
    return ORGAN_OK;
}

organ_status organ_json_edit_begin(organ_json_edit *edit, const char *label, const char *bytes, size_t length,
                                   organ_error *error)
{
    *edit = (organ_json_edit){.label = label, .bytes = malloc(length + 1), .length = length};
    if (!edit->bytes)
        return organ_fail_memory(error, edit->label);
    memcpy(edit->bytes, bytes, length);
    edit->bytes[length] = '\0';
    const organ_json_source text = source_of_edit(edit);
    json_edit_place to = {.found = false};
    /* a search for the name "", which no config.json uses, walks over all members */
    return seek_member(&text, (organ_json_span){0, length}, "", 0, &to, error);
}

void organ_json_edit_release(organ_json_edit *edit)
{
    free(edit->bytes);
    *edit = (organ_json_edit){0};
}

static bool find_object(const organ_json_source *text, const char *inside, organ_json_span *span)
{
    organ_error ignored = {0};
    json_edit_place to = {.found = false};
    *span = (organ_json_span){0, text->length};
    if (!inside)
        return true;
    if (seek_member(text, *span, inside, 0, &to, &ignored) || !to.found || text->bytes[to.value.begin] != '{')
        return false;
    *span = to.value;
    return true;
}

static bool find_member(const organ_json_edit *edit, const char *inside, const char *name, organ_json_span *span)
{
    const organ_json_source text = source_of_edit(edit);
    organ_error ignored = {0};
    organ_json_span object;
    json_edit_place to = {.found = false};
    if (!find_object(&text, inside, &object) || seek_member(&text, object, name, 0, &to, &ignored) || !to.found)
        return false;
    *span = to.value;
    return true;
}

bool organ_json_edit_has(const organ_json_edit *edit, const char *inside, const char *name)
{
    organ_json_span span;
    return find_member(edit, inside, name, &span);
}

/* Each removal shifts the text, so the search begins again. */
organ_status organ_json_edit_remove(organ_json_edit *edit, const char *name, size_t *removed, organ_error *error)
{
    for (json_edit_place to = {.found = true}; to.found;) {
        const organ_json_source text = source_of_edit(edit);
        to.found = false;
        if (seek_member(&text, (organ_json_span){0, text.length}, name, DEEPEST, &to, error) ||
            (to.found && replace_span(edit, to.cut, "", 0, error)))
            return error->status;
        if (to.found && removed)
            ++*removed;
    }
    return ORGAN_OK;
}

/* In an object that is written on several lines, the span contains a line break and the indentation of the members. */
static organ_json_span indent_of(const organ_json_source *text, organ_json_span span)
{
    const size_t brace = skip_space(text, span.begin);
    return (organ_json_span){brace + 1, skip_space(text, brace + 1)};
}

/* The caller frees the text. If `indent` contains a line break, the value is written on several lines, and each line
 * break is replaced by the white space of `indent`. */
static char *value_as_text(const organ_json_source *text, organ_json_span indent, const json_t *value, size_t *length)
{
    const bool lines = memchr(text->bytes + indent.begin, '\n', indent.end - indent.begin) != NULL;
    char *const plain = organ_json_dump(value, JSON_ENCODE_ANY | (lines ? JSON_INDENT(2) : 0));
    organ_error ignored = {0};
    organ_text buffer;
    char *out = NULL;
    if (!plain || organ_text_open(&buffer, &ignored) != ORGAN_OK) {
        free(plain);
        return NULL;
    }
    for (const char *c = plain; *c; c++)
        if (*c == '\n')
            fwrite(text->bytes + indent.begin, 1, indent.end - indent.begin, buffer.out);
        else
            fputc(*c, buffer.out);
    free(plain);
    organ_text_finish(&buffer, &out, &ignored);
    *length = buffer.size;
    return out;
}

/* The place is the end of the last member's value; in an object without members it is the beginning of `indent`, the
 * white space after the opening brace. */
static organ_status append_place(const organ_json_source *text, organ_json_span object, organ_json_span indent,
                                 organ_json_span *place, bool *first, organ_error *error)
{
    organ_json_walk walk;
    *first = true;
    place->end = indent.begin;
    organ_json_walk_begin(&walk, text, object, NULL, error);
    while (organ_json_walk_next(&walk, error)) {
        place->end = walk.value.end;
        *first = false;
    }
    place->begin = place->end;
    return error->status;
}

/* `name` is written without escapes; `value` is JSON text. In an object without members, the new one follows the
 * brace at once, because the white space there may belong to the closing brace. */
static organ_status append_member(organ_json_edit *edit, organ_json_span object, const char *name, const char *value,
                                  organ_error *error)
{
    const organ_json_source text = source_of_edit(edit);
    const organ_json_span indent = indent_of(&text, object);
    organ_json_span place;
    bool first;
    char *member = NULL;
    if (append_place(&text, object, indent, &place, &first, error))
        return error->status;
    const int space = first ? 0 : (int)(indent.end - indent.begin);
    const int length =
        asprintf(&member, "%s%.*s\"%s\": %s", first ? "" : ",", space, text.bytes + indent.begin, name, value);
    if (length < 0)
        return organ_fail_memory(error, edit->label);
    replace_span(edit, place, member, (size_t)length, error);
    free(member);
    return error->status;
}

organ_status organ_json_edit_set(organ_json_edit *edit, const char *inside, const char *name, const json_t *value,
                                 organ_error *error)
{
    const organ_json_source text = source_of_edit(edit);
    organ_json_span object, old;
    size_t length = 0;
    if (!find_object(&text, inside, &object))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no object '%s'", edit->label, inside);
    char *const made = value_as_text(&text, indent_of(&text, object), value, &length);
    if (!made)
        return organ_fail_memory(error, edit->label);
    if (find_member(edit, inside, name, &old))
        replace_span(edit, old, made, length, error);
    else
        append_member(edit, object, name, made, error);
    free(made);
    return error->status;
}
