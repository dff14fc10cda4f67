/* SPDX-License-Identifier: MIT
 * Iterates over the members of all objects of a JSON text of any size, without building a tree. */
#ifndef ORGAN_JSON_KEYS_H
#define ORGAN_JSON_KEYS_H

#include "formats/base/json_text.h"

#include <stdint.h>

enum { ORGAN_JSON_KEYS_DEPTH = 64 };

/* A member of an object. */
typedef struct organ_json_key {
    const organ_json_source *text;
    const char *name; /* of the member, at most 64 bytes, with its escapes decoded */
    char path[400];   /* names of the enclosing members and its own, as written, joined by dots; truncated if longer */
    size_t value;     /* offset of the first byte of its value in the text */
} organ_json_key;

typedef void organ_json_key_found(void *context, const organ_json_key *key);

/* Calls `seen` for each member of every object whose name has at most 64 bytes, in the order of the text. Malformed
 * JSON is allowed: only strings and brackets are followed. Below a depth of ORGAN_JSON_KEYS_DEPTH paths are
 * incomplete. */
void organ_json_keys(const organ_json_source *text, organ_json_key_found *seen, void *context);

/* Returns the offset after the value that begins at `at`. For a value longer than `max` bytes, returns an offset after
 * `max` bytes or more. */
size_t organ_json_value_end(const organ_json_source *text, size_t at, size_t max);

/* The size of a list or an object, from its text; nested values are not counted. */
typedef struct organ_json_extent {
    size_t members;
    size_t longest;    /* longest string, in bytes as written */
    uint64_t greatest; /* greatest whole number; UINT64_MAX if one is larger */
} organ_json_extent;
organ_json_extent organ_json_extent_of(const organ_json_source *text, organ_json_span span);

#endif
