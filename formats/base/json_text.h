/* SPDX-License-Identifier: MIT
 * Untrusted JSON, parsed by jansson: strictly, with the place of every fault, and never with more memory than the text
 * justifies. Large documents are walked member by member, so that only one value at a time is held as a tree. */
#ifndef ORGAN_JSON_TEXT_H
#define ORGAN_JSON_TEXT_H

#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* A value may hold this many values: a tree of them stays below 64 MiB. */
#define ORGAN_JSON_VALUES ((size_t)1 << 18)

typedef struct organ_json_text {
    const char *label; /* names the document in messages: "model.safetensors: header" */
    const char *bytes;
    size_t length;
} organ_json_text;

/* A piece of a text: one value, perhaps with white space around. */
typedef struct organ_json_span {
    size_t begin, end;
} organ_json_span;

/* Walks the members of an object in the order of the text. Members of one name are all seen: who walks checks for
 * duplicates. */
typedef struct organ_json_walk {
    const organ_json_text *text;
    size_t at, end;
    bool started;
    bool any_names; /* set by who walks: names may have a NUL in them */
    json_t *name;   /* of the member that the walk is at: a string, without NUL unless any_names; the walk's own */
    organ_json_span value; /* of that member: found, not yet parsed. Nothing has checked it before organ_json_parse. */
} organ_json_walk;

/* Starts at the object in `span`; `what` names it in the message if it is not an object ("weight_map"), NULL: the whole
 * document. */
organ_status organ_json_walk_begin(organ_json_walk *walk, const organ_json_text *text, organ_json_span span,
                                   const char *what, organ_error *error);

/* Goes to the next member. False after the last one and where `error` is set, by the walk or by who walks. */
bool organ_json_walk_next(organ_json_walk *walk, organ_error *error);

/* For a walk that is left before organ_json_walk_next was false. */
void organ_json_walk_leave(organ_json_walk *walk);

/* Parses one value of any type; duplicate keys, numbers beyond 64 bits and more than ORGAN_JSON_VALUES values are
 * refused. `what` names the value in messages ("tensor 'x'"), NULL: the whole document; a member at fault is named
 * besides. The caller releases *value. */
organ_status organ_json_parse(const organ_json_text *text, organ_json_span span, const char *what, json_t **value,
                              organ_error *error);

/* The whole text as one object: "FILE: is not an object" where it is another value. */
organ_status organ_json_parse_object(const organ_json_text *text, json_t **object, organ_error *error);

/* Whether it is a value at all, for text that is not used: duplicate keys and numbers of any length pass. Holds at most
 * ORGAN_JSON_VALUES values, too. */
organ_status organ_json_check(const organ_json_text *text, organ_json_span span, const char *what, organ_error *error);

/* Whether the name of a member is this one, NUL and all. */
bool organ_json_is(const json_t *name, const char *wanted);

/* The span of the first member of that name in the object in `span`, without white space; an empty span if there is
 * none. For messages that show the value as it is written. */
organ_json_span organ_json_member(const organ_json_text *text, organ_json_span span, const char *name);

/* The text of a string without NUL in it; NULL for anything else. */
const char *organ_json_plain(const json_t *value);

/* ---- objects whose members are known by name ---- */

/* An object of a document: where it stands in the text, and its tree. */
typedef struct organ_json_object {
    const organ_json_text *text;
    organ_json_span span;
    const json_t *tree;
} organ_json_object;

/* The value of the member; NULL where it is absent or null. */
const json_t *organ_json_value(const organ_json_object *object, const char *name);

/* ORGAN_BAD_INPUT "FILE: NAME is VALUE, not EXPECTED" with the value as it is written, "FILE: NAME is missing; it
 * should be EXPECTED". */
organ_status organ_json_refuse(const organ_json_object *object, const char *name, const char *expected,
                               organ_error *error);

#endif
