/* SPDX-License-Identifier: MIT
 * Parses untrusted JSON with jansson: strictly, with line and column of every fault, and with memory in proportion
 * to the text. A "walk" reads a large object member by member, so that only one value at a time is in memory as a
 * tree. */
#ifndef ORGAN_BASE_JSON_H
#define ORGAN_BASE_JSON_H

#include <jansson.h>
#include <organ/base.h>
#include <stdbool.h>
#include <stddef.h>

/* Upper bound on the values in one parsed value: its tree stays below 64 MiB. */
#define ORGAN_JSON_VALUES ((size_t)1 << 18)

/* The text of a JSON document; both pointers are the caller's. */
typedef struct organ_json_source {
    const char *label; /* name of the document in messages: "model.safetensors: header" */
    const char *bytes;
    size_t length;
} organ_json_source;

/* A byte range [begin, end) of a source that contains one value, possibly with white space around it. An empty range
 * means no value. */
typedef struct organ_json_span {
    size_t begin, end;
} organ_json_span;

/* Iterates over the members of an object in the order of the text. The walk returns every member, so the caller must
 * check for duplicate names. */
typedef struct organ_json_walk {
    const organ_json_source *text;
    size_t at, end; /* position of the walk, end of the object's span */
    bool started;   /* a member was read */
    bool any_names; /* set by the caller: accept names that contain NUL */
    json_t *name;   /* name of the current member: a string, without NUL unless any_names; owned by the walk */
    /* value of the current member, not yet validated: pass it to organ_json_parse or organ_json_check */
    organ_json_span value;
} organ_json_walk;

/* Starts a walk of the object in `span`. Returns ORGAN_BAD_INPUT if the value is not an object; the message calls it
 * `what` ("weight_map"), or names only the document if `what` is NULL. */
organ_status organ_json_walk_begin(organ_json_walk *walk, const organ_json_source *text, organ_json_span span,
                                   const char *what, organ_error *error);

/* Advances to the next member. Returns false after the last one, and whenever `error` is set, by the walk or by the
 * caller. */
bool organ_json_walk_next(organ_json_walk *walk, organ_error *error);

/* Parses one value of any type. Rejects duplicate keys, integers beyond 64 bits and more than ORGAN_JSON_VALUES
 * values. `what` names the value in messages ("tensor 'x'"), or is NULL for the whole document; the message also
 * names the member that contains the fault. The caller releases *value. */
organ_status organ_json_parse(const organ_json_source *text, organ_json_span span, const char *what, json_t **value,
                              organ_error *error);

/* Parses the whole text as one object, which the caller releases. Any other value is ORGAN_BAD_INPUT: "FILE: is not
 * an object". */
organ_status organ_json_parse_object(const organ_json_source *text, json_t **object, organ_error *error);

/* Validates a value that the caller does not use: accepts duplicate keys and integers beyond 64 bits, but rejects
 * malformed JSON and more than ORGAN_JSON_VALUES values. `what` is the value's name in messages, or NULL. */
organ_status organ_json_check(const organ_json_source *text, organ_json_span span, const char *what,
                              organ_error *error);

/* Returns true if the name of a member is `requested`; a name with an embedded NUL never matches. */
bool organ_json_is(const json_t *name, const char *requested);

/* Returns the span of the value of the first member called `name` in the object in `span`, without white space around
 * it. Returns an empty span if there is no such member or the text before it is malformed. Messages use the span to
 * quote a value as written. */
organ_json_span organ_json_member(const organ_json_source *text, organ_json_span span, const char *name);

/* Returns the text of a string value, or NULL for other values and for strings that contain NUL. */
const char *organ_json_plain(const json_t *value);

/* ---- objects whose members are read by name ---- */

/* An object of a document: its position in the text, and its parsed tree. */
typedef struct organ_json_object {
    const organ_json_source *text;
    organ_json_span span;
    const json_t *tree;
} organ_json_object;

/* Returns the value of the member, or NULL if it is absent or null. */
const json_t *organ_json_value(const organ_json_object *object, const char *name);

/* Reports ORGAN_BAD_INPUT: "FILE: NAME is VALUE, not EXPECTED", where VALUE is quoted from the text, or "FILE: NAME
 * is missing; it should be EXPECTED" if the object lacks the member. */
organ_status organ_json_refuse(const organ_json_object *object, const char *name, const char *expected,
                               organ_error *error);

/* ---- changes of single members ---- */

/* Every other byte of the text stays: order, spaces, the spelling of numbers, and the words NaN and Infinity that
 * Python writes. */

/* A JSON document of which single members are changed; all other bytes stay. */
typedef struct organ_json_edit {
    const char *label; /* name of the document in messages; owned by the caller */
    char *bytes;       /* current text; NUL-terminated, owned */
    size_t length;
} organ_json_edit;

/* Begins to edit a copy of the text. Returns ORGAN_BAD_INPUT if it is not one JSON object; values are not validated.
 * Call organ_json_edit_release after success and after an error. */
organ_status organ_json_edit_begin(organ_json_edit *edit, const char *label, const char *bytes, size_t length,
                                   organ_error *error);
void organ_json_edit_release(organ_json_edit *edit);

/* Returns true if the document has the member `name` at its top level. If `inside` is not NULL, looks in the
 * top-level object of that name instead. */
bool organ_json_edit_has(const organ_json_edit *edit, const char *inside, const char *name);

/* Removes all members called `name` from the document and from the objects nested in it, up to 16 levels deep. Adds
 * the number of removed members that are not {} to *removed, which may be NULL. */
organ_status organ_json_edit_remove(organ_json_edit *edit, const char *name, size_t *removed, organ_error *error);

/* Sets the member `name` of the document or, if `inside` is not NULL, of the top-level object of that name. An
 * existing member keeps its position; a new one is appended. The value is indented like the members around it.
 * Returns ORGAN_BAD_INPUT if there is no object `inside`. */
organ_status organ_json_edit_set(organ_json_edit *edit, const char *inside, const char *name, const json_t *value,
                                 organ_error *error);

/* Returns the JSON as text like json_dumps. The caller releases it with free, whichever allocation functions jansson
 * uses. Returns NULL if memory is exhausted, which counts as a refusal. */
char *organ_json_dump(const json_t *json, size_t flags);

#endif
