/* SPDX-License-Identifier: MIT */
#include "formats/base/json.h"
#include "formats/base/text.h"

/* The parser accepts NUL in strings, because it is legal JSON. Functions that use a string as a C string reject it
 * there. */
#define PARSE_FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL)

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static size_t json_text_skip_space(const char *s, size_t at, size_t end)
{
    while (at < end && is_space(s[at]))
        at++;
    return at;
}

/* The opening quote is at `at`. Returns the position after the closing one, `end` + 1 if the string is not
 * terminated. */
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
 * values: 1 plus the number of brackets opened, commas and colons. Returns the position after the value: `at` if there
 * is none, one beyond `end` if it is not terminated. */
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
    return organ_refuse(error, text->label, "%.300s%s%.*s%sline %zu, column %zu: %s", what ? what : "",
                        what ? ": " : "", shown, text->bytes + field.begin, shown ? ": " : "", line, at - start + 1,
                        reason);
}

static organ_status fail_walk(const organ_json_walk *walk, const char *reason, organ_error *error)
{
    return fail_at(walk->text, walk->at, /*what=*/NULL, (organ_json_span){0, 0},
                   walk->at < walk->end ? reason : "the text ends here", error);
}

organ_status organ_json_walk_begin(organ_json_walk *walk, const organ_json_source *text, organ_json_span span,
                                   const char *what, organ_error *error)
{
    *walk =
        (organ_json_walk){.text = text, .at = json_text_skip_space(text->bytes, span.begin, span.end), .end = span.end};
    if (walk->at < walk->end && text->bytes[walk->at] == '{') {
        walk->at++;
        return ORGAN_OK;
    }
    const size_t remaining = walk->end - walk->at;
    return organ_refuse(error, text->label, "%s%sis not an object but '%.*s'", what ? what : "", what ? " " : "",
                        (int)(remaining > 40 ? 40 : remaining), text->bytes + walk->at);
}

/* The walk is at the closing brace. */
static organ_status walk_end(organ_json_walk *walk, organ_error *error)
{
    walk->at = json_text_skip_space(walk->text->bytes, walk->at + 1, walk->end);
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
    walk->at = json_text_skip_space(s, after, walk->end);
    if (walk->any_names || organ_json_plain(walk->name))
        return ORGAN_OK;
    return fail_at(walk->text, span.begin, /*what=*/NULL, span, "a NUL character is in the name", error);
}

static organ_status find_value(organ_json_walk *walk, organ_error *error)
{
    const char *s = walk->text->bytes;
    if (walk->at >= walk->end || s[walk->at] != ':')
        return fail_walk(walk, "':' is expected", error);
    walk->at = json_text_skip_space(s, walk->at + 1, walk->end);
    size_t unused;
    const size_t after = skip_value(s, walk->at, walk->end, &unused);
    if (after == walk->at || after > walk->end)
        return fail_walk(walk, after == walk->at ? "a value is expected" : "the text ends inside this value", error);
    walk->value = (organ_json_span){walk->at, after};
    walk->at = after;
    return ORGAN_OK;
}

/* Releases a walk that the caller ends before organ_json_walk_next has returned false. */
static void json_walk_leave(organ_json_walk *walk) { organ_clear_json(&walk->name); }

static organ_status read_next_member(organ_json_walk *walk, organ_error *error)
{
    const char *s = walk->text->bytes;
    walk->at = json_text_skip_space(s, walk->at, walk->end);
    if (walk->at < walk->end && s[walk->at] == '}')
        return walk_end(walk, error);
    if (walk->started) {
        if (walk->at >= walk->end || s[walk->at] != ',')
            return fail_walk(walk, "',' or '}' is expected", error);
        walk->at = json_text_skip_space(s, walk->at + 1, walk->end);
    }
    walk->started = true;
    return json_text_read_name(walk, error) == ORGAN_OK ? find_value(walk, error) : error->status;
}

bool organ_json_walk_next(organ_json_walk *walk, organ_error *error)
{
    json_walk_leave(walk);
    if (error->status == ORGAN_OK && read_next_member(walk, error) != ORGAN_OK)
        json_walk_leave(walk);
    return walk->name != NULL;
}

/* Returns the span of the quoted name of the member whose value contains position `at` or ends there, or an empty
 * span. */
static organ_json_span member_at(const organ_json_source *text, organ_json_span span, size_t at)
{
    const char *s = text->bytes;
    size_t position = json_text_skip_space(s, span.begin, span.end), unused;
    while (position < span.end && (s[position] == '{' || s[position] == ',')) {
        const size_t name = json_text_skip_space(s, position + 1, span.end);
        if (name >= span.end || s[name] != '"')
            break;
        const size_t after = skip_string(s, name, span.end);
        position = json_text_skip_space(s, after, span.end);
        if (position >= span.end || s[position] != ':')
            break;
        position = skip_value(s, json_text_skip_space(s, position + 1, span.end), span.end, &unused);
        if (at > after && at <= position)
            return (organ_json_span){name, after};
        position = json_text_skip_space(s, position, span.end);
    }
    return (organ_json_span){0, 0};
}

/* Counts the values first, because the tree of a hostile text could exceed memory. */
static organ_status parse_value(const organ_json_source *text, organ_json_span span, const char *what, size_t flags,
                                json_t **value, organ_error *error)
{
    const char *s = text->bytes;
    const size_t begin = json_text_skip_space(s, span.begin, span.end);
    size_t values;
    skip_value(s, begin, span.end, &values);
    if (values > ORGAN_JSON_VALUES)
        return organ_refuse(error, text->label, "%.300s%scontains more than %zu values", what ? what : "",
                            what ? " " : "", ORGAN_JSON_VALUES);
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
    if (organ_json_parse(text, (organ_json_span){0, text->length}, /*what=*/NULL, object, error) != ORGAN_OK ||
        json_is_object(*object))
        return error->status;
    organ_clear_json(object);
    return organ_refuse(error, text->label, "is not an object");
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
    organ_json_walk_begin(&walk, text, span, /*what=*/NULL, &ignored);
    walk.any_names = true;
    while (organ_json_walk_next(&walk, &ignored) && !organ_json_is(walk.name, name)) {
    }
    const organ_json_span found = walk.name ? walk.value : (organ_json_span){0, 0};
    json_walk_leave(&walk);
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
        return organ_refuse(error, text->label, "%s is missing; it should be %s", name, expected);
    return organ_refuse(error, text->label, "%s is %.*s, not %s", name, (int)(length > 120 ? 120 : length),
                        text->bytes + value.begin, expected);
}

char *organ_json_dump(const json_t *json, size_t flags)
{
    const size_t size = json_dumpb(json, NULL, 0, flags);
    char *const text = size ? malloc(size + 1) : NULL;
    if (!text || json_dumpb(json, text, size, flags) != size) {
        organ_memory_count_refusal();
        free(text);
        return NULL;
    }
    text[size] = '\0';
    return text;
}

#define DEEPEST 16 /* levels of nested objects that organ_json_edit_remove searches */

typedef struct json_edit_place {
    organ_json_span value, cut; /* the member's value; what to delete to remove the member with one comma */
    bool found;                 /* false: there is no such member */
} json_edit_place;

/* replace_span invalidates the result. */
static organ_json_source source_of_edit(const organ_json_edit *edit)
{
    return (organ_json_source){.label = edit->label, .bytes = edit->bytes, .length = edit->length};
}

/* The span is from `before`, the end of the previous member, to the end of the member's `value`. For the first
 * member it includes the comma after the value, if there is one. */
static organ_json_span span_to_delete(const organ_json_source *text, size_t before, bool first, organ_json_span value)
{
    const size_t after = json_text_skip_space(text->bytes, value.end, text->length);
    const bool comma = first && after < text->length && text->bytes[after] == ',';
    return (organ_json_span){before, comma ? after + 1 : value.end};
}

/* Searches the object and, `deep` levels down, objects in it. Sets *to if there is such a member; to->found must be
 * false before. */
static organ_status seek_member(const organ_json_source *text, organ_json_span span, const char *name, int deep,
                                json_edit_place *to, organ_error *error)
{
    organ_json_walk walk;
    organ_json_walk_begin(&walk, text, span, /*what=*/NULL, error);
    size_t before = walk.at;
    for (bool first = true; !to->found && organ_json_walk_next(&walk, error); first = false) {
        if (strcmp(json_string_value(walk.name), name) == 0)
            *to = (json_edit_place){
                .value = walk.value, .cut = span_to_delete(text, before, first, walk.value), .found = true};
        else if (deep > 0 && text->bytes[walk.value.begin] == '{')
            seek_member(text, walk.value, name, deep - 1, to, error);
        before = walk.value.end;
    }
    json_walk_leave(&walk);
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
    return seek_member(&text, (organ_json_span){0, length}, "", /*deep=*/0, &to, error);
}

void organ_json_edit_release(organ_json_edit *edit)
{
    free(edit->bytes);
    *edit = (organ_json_edit){0};
}

/* Without `inside` the span is that of the whole text. */
static bool find_object(const organ_json_source *text, const char *inside, organ_json_span *span)
{
    organ_error ignored = {0};
    json_edit_place to = {.found = false};
    *span = (organ_json_span){0, text->length};
    if (!inside)
        return true;
    if (seek_member(text, *span, inside, /*deep=*/0, &to, &ignored) || !to.found || text->bytes[to.value.begin] != '{')
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
    if (!find_object(&text, inside, &object) || seek_member(&text, object, name, /*deep=*/0, &to, &ignored) ||
        !to.found)
        return false;
    *span = to.value;
    return true;
}

bool organ_json_edit_has(const organ_json_edit *edit, const char *inside, const char *name)
{
    organ_json_span span;
    return find_member(edit, inside, name, &span);
}

static bool is_empty_object(const organ_json_source *text, organ_json_span value)
{
    return text->bytes[value.begin] == '{' &&
           json_text_skip_space(text->bytes, value.begin + 1, value.end) == value.end - 1;
}

/* Each removal shifts the text, so the search begins again. */
organ_status organ_json_edit_remove(organ_json_edit *edit, const char *name, size_t *removed, organ_error *error)
{
    for (json_edit_place to = {.found = true}; to.found;) {
        const organ_json_source text = source_of_edit(edit);
        to.found = false;
        if (seek_member(&text, (organ_json_span){0, text.length}, name, DEEPEST, &to, error))
            return error->status;
        const bool counts = to.found && !is_empty_object(&text, to.value);
        if ((to.found && replace_span(edit, to.cut, "", /*length=*/0, error)))
            return error->status;
        if (counts && removed)
            ++*removed;
    }
    return ORGAN_OK;
}

/* In an object that is written on several lines, the span contains a line break and the indentation of the members. */
static organ_json_span indent_of(const organ_json_source *text, organ_json_span span)
{
    const size_t brace = json_text_skip_space(text->bytes, span.begin, text->length);
    return (organ_json_span){brace + 1, json_text_skip_space(text->bytes, brace + 1, text->length)};
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
    organ_json_walk_begin(&walk, text, object, /*what=*/NULL, error);
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
    ORGAN_OWNED char *member = NULL;
    if (append_place(&text, object, indent, &place, &first, error))
        return error->status;
    const int space = first ? 0 : (int)(indent.end - indent.begin);
    const int length =
        asprintf(&member, "%s%.*s\"%s\": %s", first ? "" : ",", space, text.bytes + indent.begin, name, value);
    if (length < 0)
        return organ_fail_memory(error, edit->label);
    replace_span(edit, place, member, (size_t)length, error);
    return error->status;
}

organ_status organ_json_edit_set(organ_json_edit *edit, const char *inside, const char *name, const json_t *value,
                                 organ_error *error)
{
    const organ_json_source text = source_of_edit(edit);
    organ_json_span object, old;
    size_t length = 0;
    if (!find_object(&text, inside, &object))
        return organ_refuse(error, edit->label, "has no object '%s'", inside);
    ORGAN_OWNED char *const made = value_as_text(&text, indent_of(&text, object), value, &length);
    if (!made)
        return organ_fail_memory(error, edit->label);
    if (find_member(edit, inside, name, &old))
        replace_span(edit, old, made, length, error);
    else
        append_member(edit, object, name, made, error);
    return error->status;
}
