/* SPDX-License-Identifier: MIT
 * Builds the tree from the events of libyaml's parser. */
#include "formats/base/yaml.h"

#include "formats/base/plain_numbers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

/* A value that is being read, or has been read and may be named by an alias. */
typedef struct yaml_anchor {
    const char *name;
    const organ_yaml *value;
    size_t values; /* how many values it stands for; while it is open, how many were read before it */
    bool open;     /* the value is not complete */
} yaml_anchor;

typedef struct yaml_reading {
    const char *label;
    organ_arena *arena;
    yaml_parser_t parser;
    size_t values; /* read so far, aliases replaced */
    unsigned depth;
    yaml_anchor *anchors;
    size_t anchor_count, anchor_room;
} yaml_reading;

/* Elements or members of a collection that is being read. */
typedef struct yaml_parts {
    const organ_yaml **values, **keys;
    size_t count, room, key_room;
} yaml_parts;

static organ_status yaml_fault(const yaml_reading *r, size_t line, const char *what, organ_error *error)
{
    return organ_refuse(error, r->label, "line %zu: %s", line, what);
}

static organ_status next_event(yaml_reading *r, yaml_event_t *event, organ_error *error)
{
    if (yaml_parser_parse(&r->parser, event))
        return ORGAN_OK;
    if (r->parser.error == YAML_MEMORY_ERROR)
        return organ_fail_memory(error, r->label);
    const size_t line = r->parser.problem_mark.line + 1;
    return yaml_fault(r, line, r->parser.problem ? r->parser.problem : "is not YAML", error);
}

static organ_status count_values(yaml_reading *r, size_t count, size_t line, organ_error *error)
{
    if (count > ORGAN_YAML_VALUES - r->values)
        return organ_refuse(error, r->label,
                            "line %zu: the document has more than %zu values, with every alias replaced by its values",
                            line, ORGAN_YAML_VALUES);
    r->values += count;
    return ORGAN_OK;
}

static organ_status add_anchor(yaml_reading *r, const yaml_char_t *name, organ_yaml *value, organ_error *error)
{
    if (!name)
        return ORGAN_OK;
    const char *const own = organ_arena_copy(r->arena, (const char *)name, strlen((const char *)name));
    if (!own || !organ_grow(&r->anchors, r->anchor_count, &r->anchor_room, sizeof *r->anchors))
        return organ_fail_memory(error, r->label);
    r->anchors[r->anchor_count++] = (yaml_anchor){own, value, r->values, true};
    return ORGAN_OK;
}

/* Names may be used again; an alias means the anchor before it. */
static organ_status find_alias(yaml_reading *r, const char *name, size_t line, const organ_yaml **value,
                               organ_error *error)
{
    for (size_t k = r->anchor_count; k-- > 0;)
        if (strcmp(r->anchors[k].name, name) == 0) {
            if (r->anchors[k].open)
                return yaml_fault(r, line, "an alias is within its own anchor", error);
            *value = r->anchors[k].value;
            return count_values(r, r->anchors[k].values, line, error);
        }
    return organ_refuse(error, r->label, "line %zu: alias '%.100s' has no anchor", line, name);
}

static organ_status read_value(yaml_reading *r, const yaml_event_t *event, const organ_yaml **value,
                               organ_error *error);

/* `end` is the event that ends the collection; *ended is set with it. */
static organ_status read_next(yaml_reading *r, yaml_event_type_t end, const organ_yaml **value, bool *ended,
                              organ_error *error)
{
    yaml_event_t event;
    if (next_event(r, &event, error))
        return error->status;
    *ended = event.type == end;
    if (!*ended)
        read_value(r, &event, value, error);
    yaml_event_delete(&event);
    return error->status;
}

static organ_status check_key(const yaml_reading *r, const yaml_parts *parts, const organ_yaml *key, organ_error *error)
{
    if (key->kind != ORGAN_YAML_SCALAR)
        return yaml_fault(r, key->line, "a key is a list or a map", error);
    if (key->plain && strcmp(key->text, "<<") == 0)
        return yaml_fault(r, key->line, "merge keys (<<) are not supported: repeat the members", error);
    for (size_t k = 0; k < parts->count; k++)
        if (strcmp(parts->keys[k]->text, key->text) == 0)
            return organ_refuse(error, r->label, "line %zu: key '%.100s' is in line %zu already", key->line, key->text,
                                parts->keys[k]->line);
    return ORGAN_OK;
}

static organ_status read_parts(yaml_reading *r, organ_yaml *made, yaml_parts *parts, organ_error *error)
{
    const bool map = made->kind == ORGAN_YAML_MAP;
    const yaml_event_type_t end = map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    for (bool ended = false; !ended && !error->status;) {
        const organ_yaml *key = NULL, *value = NULL;
        if (map && (read_next(r, end, &key, &ended, error) || (!ended && check_key(r, parts, key, error))))
            return error->status;
        /* YAML_NO_EVENT: a map cannot end between a key and its value */
        if (ended || read_next(r, map ? YAML_NO_EVENT : end, &value, &ended, error) || ended)
            break;
        if (!organ_grow(&parts->values, parts->count, &parts->room, sizeof *parts->values) ||
            (map && !organ_grow(&parts->keys, parts->count, &parts->key_room, sizeof *parts->keys)))
            return organ_fail_memory(error, r->label);
        if (map)
            parts->keys[parts->count] = key;
        parts->values[parts->count++] = value;
    }
    return error->status;
}

static const organ_yaml *const *keep(organ_arena *arena, const organ_yaml **list, size_t count)
{
    const organ_yaml **const own = organ_arena_take(arena, count * sizeof *own);
    if (own && count)
        memcpy(own, list, count * sizeof *own);
    return own;
}

static organ_status read_collection(yaml_reading *r, organ_yaml *made, organ_error *error)
{
    yaml_parts parts = {0};
    if (++r->depth > ORGAN_YAML_DEPTH)
        yaml_fault(r, made->line, "lists and maps are nested too deeply", error);
    else if (read_parts(r, made, &parts, error) == ORGAN_OK) {
        made->count = parts.count;
        made->values = keep(r->arena, parts.values, parts.count);
        made->keys = made->kind == ORGAN_YAML_MAP ? keep(r->arena, parts.keys, parts.count) : NULL;
        if (!made->values || (made->kind == ORGAN_YAML_MAP && !made->keys))
            organ_fail_memory(error, r->label);
    }
    r->depth--;
    free(parts.values);
    free(parts.keys);
    return error->status;
}

static organ_status read_scalar(yaml_reading *r, const yaml_event_t *event, organ_yaml *made, organ_error *error)
{
    const char *const text = (const char *)event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length)
        return yaml_fault(r, made->line, "a text contains NUL", error);
    made->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    made->text = organ_arena_copy(r->arena, text, event->data.scalar.length);
    return made->text ? ORGAN_OK : organ_fail_memory(error, r->label);
}

/* The event begins the value. */
static organ_status read_value(yaml_reading *r, const yaml_event_t *event, const organ_yaml **value, organ_error *error)
{
    const size_t line = event->start_mark.line + 1, anchor_index = r->anchor_count;
    if (event->type == YAML_ALIAS_EVENT)
        return find_alias(r, (const char *)event->data.alias.anchor, line, value, error);
    const bool scalar = event->type == YAML_SCALAR_EVENT, map = event->type == YAML_MAPPING_START_EVENT;
    const yaml_char_t *anchor = event->data.sequence_start.anchor, *tag = event->data.sequence_start.tag;
    if (scalar) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (map) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    organ_yaml *const made = organ_arena_take(r->arena, sizeof *made);
    if (!made)
        return organ_fail_memory(error, r->label);
    *made = (organ_yaml){.kind = map ? ORGAN_YAML_MAP : ORGAN_YAML_LIST, .line = line};
    made->kind = scalar ? ORGAN_YAML_SCALAR : made->kind;
    *value = made;
    if (tag)
        return organ_refuse(error, r->label, "line %zu: tag '%.60s' is not supported", line, (const char *)tag);
    if (add_anchor(r, anchor, made, error) || count_values(r, 1, line, error) ||
        (scalar ? read_scalar(r, event, made, error) : read_collection(r, made, error)))
        return error->status;
    if (anchor) {
        r->anchors[anchor_index].open = false;
        r->anchors[anchor_index].values = r->values - r->anchors[anchor_index].values;
    }
    return ORGAN_OK;
}

/* Passes events until the first value, and those after the last one. */
static organ_status read_document(yaml_reading *r, const organ_yaml **tree, organ_error *error)
{
    for (yaml_event_type_t type = YAML_NO_EVENT; type != YAML_STREAM_END_EVENT;) {
        yaml_event_t event;
        if (next_event(r, &event, error))
            return error->status;
        type = event.type;
        const size_t line = event.start_mark.line + 1;
        if (type == YAML_DOCUMENT_START_EVENT && *tree)
            yaml_fault(r, line, "a second document begins, but a file has one", error);
        else if (type != YAML_STREAM_START_EVENT && type != YAML_STREAM_END_EVENT &&
                 type != YAML_DOCUMENT_START_EVENT && type != YAML_DOCUMENT_END_EVENT)
            read_value(r, &event, tree, error);
        yaml_event_delete(&event);
        if (error->status)
            return error->status;
    }
    return *tree ? ORGAN_OK : organ_refuse(error, r->label, "is empty");
}

organ_status organ_yaml_parse(const char *label, const char *bytes, size_t length, organ_arena *arena,
                              const organ_yaml **tree, organ_error *error)
{
    yaml_reading r = {.label = label, .arena = arena};
    *tree = NULL;
    if (length > ORGAN_YAML_BYTES)
        return organ_refuse(error, label, "has %zu bytes, more than %zu", length, ORGAN_YAML_BYTES);
    if (!yaml_parser_initialize(&r.parser))
        return organ_fail_memory(error, label);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)bytes, length);
    read_document(&r, tree, error);
    yaml_parser_delete(&r.parser);
    free(r.anchors);
    if (error->status)
        *tree = NULL;
    return error->status;
}

/* ---- values ---- */

const organ_yaml *organ_yaml_member(const organ_yaml *map, const char *key)
{
    for (size_t k = 0; map && map->kind == ORGAN_YAML_MAP && k < map->count; k++)
        if (strcmp(map->keys[k]->text, key) == 0)
            return map->values[k];
    return NULL;
}

bool organ_yaml_is_null(const organ_yaml *value)
{
    if (!value)
        return true;
    return value->kind == ORGAN_YAML_SCALAR && value->plain &&
           (!*value->text || strcmp(value->text, "~") == 0 || strcasecmp(value->text, "null") == 0);
}

bool organ_yaml_number(const organ_yaml *value, double *number)
{
    char *end;
    if (!value || value->kind != ORGAN_YAML_SCALAR || !*value->text || strspn(value->text, "+-.eE0123456789") == 0 ||
        value->text[strspn(value->text, "+-.eE0123456789")])
        return false;
    *number = organ_strtod(value->text, &end);
    return !*end && isfinite(*number);
}

bool organ_yaml_flag(const organ_yaml *value, bool *flag)
{
    static const char *const yes[] = {"true", "yes", "on", "t", "y", "1", "1.0"};
    static const char *const no[] = {"false", "no", "off", "f", "n", "0", "0.0"};
    for (size_t k = 0; value && value->kind == ORGAN_YAML_SCALAR && k < sizeof yes / sizeof *yes; k++)
        if (strcasecmp(value->text, yes[k]) == 0 || strcasecmp(value->text, no[k]) == 0) {
            *flag = strcasecmp(value->text, yes[k]) == 0;
            return true;
        }
    return false;
}
