/* SPDX-License-Identifier: MIT */
#include "formats/base/json_text.h"

#include <organ/base.h>

#include <string.h>

/* The parser accepts NUL in strings, because it is legal JSON. Functions that use a string as a C string reject it
 * there. */
#define PARSE_FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL)

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static size_t skip_space(const char *s, size_t at, size_t end)
{
    while (at < end && is_space(s[at]))
        at++;
    return at;
}

/* Returns `end` + 1 if the string is not terminated. */
static size_t skip_string(const char *s, size_t at, size_t end)
{
    for (at++; at < end; at++) {
        if (s[at] == '"')
            return at + 1;
        at += s[at] == '\\';
    }
    return end + 1;
}

/* Only balances quotes and brackets: the parser validates the value. *values is an upper bound on the number of
 * values: 1 plus the number of brackets opened, commas and colons. Returns a position beyond `end` if the value is
 * not terminated. */
static size_t skip_value(const char *s, size_t at, size_t end, size_t *values)
{
    size_t depth = 0;
    *values = 1;
    while (at < end) {
        const char c = s[at];
        if (c == '"') {
            at = skip_string(s, at, end);
        } else if (c == '{' || c == '[') {
            depth++;
            ++*values;
            at++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                return at;
            depth--;
            at++;
        } else if (depth == 0 && (c == ',' || is_space(c))) {
            return at;
        } else {
            *values += c == ',' || c == ':';
            at++;
            continue;
        }
        if (depth == 0)
            return at;
    }
    return depth == 0 ? at : end + 1;
}

/* `what` (or NULL) names the value being read; `field` is the span of the member's name in the text, or empty. */
static organ_status fail_at(const organ_json_source *text, size_t at, const char *what, organ_json_span field,
                            const char *reason, organ_error *error)
{
    size_t line = 1, start = 0;
    for (size_t k = 0; k < at && k < text->length; k++)
        if (text->bytes[k] == '\n') {
            line++;
            start = k + 1;
        }
    const int shown = (int)(field.end - field.begin > 80 ? 80 : field.end - field.begin);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %.300s%s%.*s%sline %zu, column %zu: %s", text->label,
                      what ? what : "", what ? ": " : "", shown, text->bytes + field.begin, shown ? ": " : "", line,
                      at - start + 1, reason);
}

static organ_status fail_walk(const organ_json_walk *walk, const char *reason, organ_error *error)
{
    return fail_at(walk->text, walk->at, NULL, (organ_json_span){0, 0},
                   walk->at < walk->end ? reason : "the text ends here", error);
}

organ_status organ_json_walk_begin(organ_json_walk *walk, const organ_json_source *text, organ_json_span span,
                                   const char *what, organ_error *error)
{
    *walk = (organ_json_walk){.text = text, .at = skip_space(text->bytes, span.begin, span.end), .end = span.end};
    if (walk->at < walk->end && text->bytes[walk->at] == '{') {
        walk->at++;
        return ORGAN_OK;
    }
    const size_t remaining = walk->end - walk->at;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s%sis not an object but '%.*s'", text->label, what ? what : "",
                      what ? " " : "", (int)(remaining > 40 ? 40 : remaining), text->bytes + walk->at);
}

static organ_status walk_end(organ_json_walk *walk, organ_error *error)
{
    walk->at = skip_space(walk->text->bytes, walk->at + 1, walk->end);
    return walk->at == walk->end ? ORGAN_OK : fail_walk(walk, "text follows the end of the object", error);
}

static organ_status json_text_read_name(organ_json_walk *walk, organ_error *error)
{
    const char *s = walk->text->bytes;
    if (walk->at >= walk->end || s[walk->at] != '"')
        return fail_walk(walk, "a name in quotes is expected", error);
    const size_t after = skip_string(s, walk->at, walk->end);
    if (after > walk->end)
        return fail_walk(walk, "a name has no closing quote", error);
    const organ_json_span span = {walk->at, after};
    if (organ_json_parse(walk->text, span, "a name", &walk->name, error) != ORGAN_OK)
        return error->status;
    walk->at = skip_space(s, after, walk->end);
    if (walk->any_names || organ_json_plain(walk->name))
        return ORGAN_OK;
    return fail_at(walk->text, span.begin, NULL, span, "a NUL character is in the name", error);
}

static organ_status find_value(organ_json_walk *walk, organ_error *error)
{
    const char *s = walk->text->bytes;
    if (walk->at >= walk->end || s[walk->at] != ':')
        return fail_walk(walk, "':' is expected", error);
    walk->at = skip_space(s, walk->at + 1, walk->end);
    size_t values;
    const size_t after = skip_value(s, walk->at, walk->end, &values);
    if (after == walk->at || after > walk->end)
        return fail_walk(walk, after == walk->at ? "a value is expected" : "the text ends inside this value", error);
    walk->value = (organ_json_span){walk->at, after};
    walk->at = after;
    return ORGAN_OK;
}

void organ_json_walk_leave(organ_json_walk *walk)
{
    json_decref(walk->name);
    walk->name = NULL;
}

static organ_status read_next_member(organ_json_walk *walk, organ_error *error)
{
    const char *s = walk->text->bytes;
    walk->at = skip_space(s, walk->at, walk->end);
    if (walk->at < walk->end && s[walk->at] == '}')
        return walk_end(walk, error);
    if (walk->started) {
        if (walk->at >= walk->end || s[walk->at] != ',')
            return fail_walk(walk, "',' or '}' is expected", error);
        walk->at = skip_space(s, walk->at + 1, walk->end);
    }
    walk->started = true;
    return json_text_read_name(walk, error) == ORGAN_OK ? find_value(walk, error) : error->status;
}

bool organ_json_walk_next(organ_json_walk *walk, organ_error *error)
{
    organ_json_walk_leave(walk);
    if (error->status == ORGAN_OK && read_next_member(walk, error) != ORGAN_OK)
        organ_json_walk_leave(walk);
    return walk->name != NULL;
}

/* Returns the span of the quoted name of the member whose value contains position `at` or ends there, or an empty
 * span. */
static organ_json_span member_at(const organ_json_source *text, organ_json_span span, size_t at)
{
    const char *s = text->bytes;
    size_t position = skip_space(s, span.begin, span.end), values;
    while (position < span.end && (s[position] == '{' || s[position] == ',')) {
        const size_t name = skip_space(s, position + 1, span.end);
        if (name >= span.end || s[name] != '"')
            break;
        const size_t after = skip_string(s, name, span.end);
        position = skip_space(s, after, span.end);
        if (position >= span.end || s[position] != ':')
            break;
        position = skip_value(s, skip_space(s, position + 1, span.end), span.end, &values);
        if (at > after && at <= position)
            return (organ_json_span){name, after};
        position = skip_space(s, position, span.end);
    }
    return (organ_json_span){0, 0};
}

/* Counts the values first, because the tree of a hostile text could exceed memory. */
static organ_status parse_value(const organ_json_source *text, organ_json_span span, const char *what, size_t flags,
                                json_t **value, organ_error *error)
{
    const char *s = text->bytes;
    const size_t begin = skip_space(s, span.begin, span.end);
    size_t values;
    skip_value(s, begin, span.end, &values);
    if (values > ORGAN_JSON_VALUES)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %.300s%scontains more than %zu values", text->label,
                          what ? what : "", what ? " " : "", ORGAN_JSON_VALUES);
    json_error_t fault;
    bool no_memory;
    *value = organ_json_load(s + begin, span.end - begin, flags, &fault, &no_memory);
    if (*value)
        return ORGAN_OK;
    if (no_memory)
        return organ_fail_memory(error, text->label);
    const size_t at = begin + (fault.position > 0 ? (size_t)fault.position : 0);
    /* jansson's position is the number of bytes read, so the faulty byte is the one before it */
    return fail_at(text, at > begin ? at - 1 : at, what, member_at(text, span, at), fault.text, error);
}

organ_status organ_json_parse(const organ_json_source *text, organ_json_span span, const char *what, json_t **value,
                              organ_error *error)
{
    return parse_value(text, span, what, PARSE_FLAGS | JSON_REJECT_DUPLICATES, value, error);
}

organ_status organ_json_parse_object(const organ_json_source *text, json_t **object, organ_error *error)
{
    if (organ_json_parse(text, (organ_json_span){0, text->length}, NULL, object, error) != ORGAN_OK ||
        json_is_object(*object))
        return error->status;
    json_decref(*object);
    *object = NULL;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: is not an object", text->label);
}

/* JSON_DECODE_INT_AS_REAL accepts integers beyond 64 bits. */
organ_status organ_json_check(const organ_json_source *text, organ_json_span span, const char *what, organ_error *error)
{
    json_t *value = NULL;
    const organ_status status = parse_value(text, span, what, PARSE_FLAGS | JSON_DECODE_INT_AS_REAL, &value, error);
    if (status == ORGAN_OK)
        json_decref(value);
    return status;
}

bool organ_json_is(const json_t *name, const char *requested)
{
    return json_string_length(name) == strlen(requested) &&
           memcmp(json_string_value(name), requested, strlen(requested)) == 0;
}

organ_json_span organ_json_member(const organ_json_source *text, organ_json_span span, const char *name)
{
    organ_error ignored = {0};
    organ_json_walk walk;
    organ_json_walk_begin(&walk, text, span, NULL, &ignored);
    walk.any_names = true;
    while (organ_json_walk_next(&walk, &ignored) && !organ_json_is(walk.name, name)) {
    }
    const organ_json_span found = walk.name ? walk.value : (organ_json_span){0, 0};
    organ_json_walk_leave(&walk);
    return found;
}

const char *organ_json_plain(const json_t *value)
{
    const char *text = json_string_value(value);
    return text && strlen(text) == json_string_length(value) ? text : NULL;
}

const json_t *organ_json_value(const organ_json_object *object, const char *name)
{
    const json_t *const value = json_object_get(object->tree, name);
    return json_is_null(value) ? NULL : value;
}

organ_status organ_json_refuse(const organ_json_object *object, const char *name, const char *expected,
                               organ_error *error)
{
    const organ_json_source *const text = object->text;
    const organ_json_span value = organ_json_member(text, object->span, name);
    const size_t length = value.end - value.begin;
    if (length == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s is missing; it should be %s", text->label, name, expected);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s is %.*s, not %s", text->label, name,
                      (int)(length > 120 ? 120 : length), text->bytes + value.begin, expected);
}
