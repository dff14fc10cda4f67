/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/untrusted/json_keys.h"

#include <organ/base.h>

#include <string.h>

/* Bytes for the name of a member, with its NUL. */
enum { NAME_ROOM = 65 };

static size_t string_end(const organ_json_source *text, size_t at)
{
    for (at++; at < text->length && text->bytes[at] != '"'; at++)
        at += text->bytes[at] == '\\';
    return at < text->length ? at + 1 : text->length;
}

static size_t skip_white_space(const organ_json_source *text, size_t at)
{
    while (at < text->length && text->bytes[at] && strchr(" \t\r\n", text->bytes[at]))
        at++;
    return at;
}

/* Only brackets and strings are followed, without a check of the syntax. A longer value ends after the string that
 * contains `at` + `max`. */
size_t organ_json_value_end(const organ_json_source *text, size_t at, size_t max)
{
    size_t depth = 0;
    const size_t end = text->length - at > max ? at + max : text->length;
    for (; at < end; at++) {
        const char c = text->bytes[at];
        const bool closes = c == '}' || c == ']';
        if (depth == 0 && (c == ',' || closes)) /* the end of a number or a word */
            return at;
        if (c == '"')
            at = string_end(text, at) - 1;
        depth += c == '{' || c == '[';
        depth -= closes;
        if (depth == 0 && (c == '"' || closes))
            return at + 1;
    }
    return at;
}

typedef struct json_keys_walk {
    const organ_json_source *text;
    organ_json_key_found *callback;
    void *context;
    size_t depth; /* number of open brackets */
    struct {
        bool object;          /* an object; false: a list */
        organ_json_span name; /* its last string: in an object the name of the current member, or a text value; with
                                 quotes */
    } levels[ORGAN_JSON_KEYS_DEPTH]; /* the open objects and lists, the outermost first */
} json_keys_walk;

/* The names are joined by dots, "a.b". They are as written, each cut to 100 bytes. */
static void write_path(const json_keys_walk *w, char path[400])
{
    size_t used = 0;
    *path = 0;
    for (size_t k = 0; k < w->depth && k < ORGAN_JSON_KEYS_DEPTH && used < 390; k++) {
        const organ_json_span name = w->levels[k].name;
        if (w->levels[k].object && name.end > name.begin + 2)
            used += (size_t)snprintf(path + used, 400 - used, "%s%.*s", used ? "." : "",
                                     (int)(name.end - name.begin > 102 ? 100 : name.end - name.begin - 2),
                                     w->text->bytes + name.begin + 1);
    }
}

static bool json_keys_read_name(const organ_json_source *text, organ_json_span span, char name[NAME_ROOM])
{
    const size_t length = span.end - span.begin;
    const char *const string = text->bytes + span.begin;
    json_error_t fault;
    bool no_memory;
    if (length < 2 || length > 6 * (size_t)NAME_ROOM)
        return false;
    if (!memchr(string, '\\', length)) {
        snprintf(name, NAME_ROOM, "%.*s", (int)(length - 2), string + 1);
        return length - 2 < NAME_ROOM;
    }
    json_t *const tree = organ_json_load(string, length, JSON_DECODE_ANY, &fault, &no_memory);
    const char *const meant = json_string_value(tree);
    const bool fits = meant && strlen(meant) < NAME_ROOM;
    if (fits)
        strcpy(name, meant);
    json_decref(tree);
    return fits;
}

static void report_member(const json_keys_walk *w, organ_json_span span)
{
    const size_t colon = skip_white_space(w->text, span.end);
    char name[NAME_ROOM];
    if (colon >= w->text->length || w->text->bytes[colon] != ':' || !json_keys_read_name(w->text, span, name))
        return;
    organ_json_key key = {.text = w->text, .name = name, .value = skip_white_space(w->text, colon + 1)};
    write_path(w, key.path);
    w->callback(w->context, &key);
}

/* No tree is built, so that a huge or malformed text is no danger. */
void organ_json_keys(const organ_json_source *text, organ_json_key_found *callback, void *context)
{
    json_keys_walk w = {.text = text, .callback = callback, .context = context};
    for (size_t at = 0; at < text->length;) {
        const char c = text->bytes[at];
        if (c == '{' || c == '[') {
            if (w.depth < ORGAN_JSON_KEYS_DEPTH)
                w.levels[w.depth].object = c == '{';
            if (w.depth < ORGAN_JSON_KEYS_DEPTH)
                w.levels[w.depth].name = (organ_json_span){0, 0};
            w.depth++;
        } else if ((c == '}' || c == ']') && w.depth > 0) {
            w.depth--;
        }
        if (c != '"') {
            at++;
            continue;
        }
        const organ_json_span string = {at, string_end(text, at)};
        if (w.depth > 0 && w.depth <= ORGAN_JSON_KEYS_DEPTH)
            w.levels[w.depth - 1].name = string;
        report_member(&w, string);
        at = string.end;
    }
}

/* The members are the own commas of the list or object plus one, unless it is empty. */
organ_json_extent organ_json_extent_of(const organ_json_source *text, organ_json_span span)
{
    organ_json_extent extent = {0};
    const size_t end = span.end < text->length ? span.end : text->length;
    size_t depth = 0, at = span.begin;
    bool some = false; /* there is a member */
    while (at < end) {
        const char c = text->bytes[at];
        const size_t begin = at++;
        if (c == '"') {
            at = string_end(text, begin);
            if (at - begin > extent.longest + 2)
                extent.longest = at - begin - 2;
        } else if (c >= '0' && c <= '9' && depth == 1) {
            char *stop;
            const uint64_t number = strtoull(text->bytes + begin, &stop, 10);
            at = (size_t)(stop - text->bytes);
            extent.greatest = number > extent.greatest ? number : extent.greatest;
        }
        extent.members += c == ',' && depth == 1;
        some |= depth == 1 && !strchr(" \t\r\n]}", c);
        depth += c == '{' || c == '[';
        depth -= (c == '}' || c == ']') && depth > 0;
    }
    extent.members += some;
    return extent;
}
