/* SPDX-License-Identifier: MIT
 * Iterates over the members of all objects of a JSON text of any size, without building a tree. */
#ifndef ORGAN_JSON_KEYS_H
#define ORGAN_JSON_KEYS_H

#include "formats/base/json_text.h"

#include <stdint.h>

/* Depth of nested objects and lists up to which organ_json_key.path is complete. */
enum { ORGAN_JSON_KEYS_DEPTH = 64 };

/* A member of an object, as organ_json_keys passes it to the callback. */
typedef struct organ_json_key {
    const organ_json_source *text;
    const char *name; /* of the member, at most 64 bytes, with its escapes decoded */
    char path[400];   /* names of the enclosing members and its own, as written, joined by dots; truncated if longer */
    size_t value;     /* offset of the first byte of its value in the text */
} organ_json_key;

/* The callback of organ_json_keys; `key` is valid during the call only. */
typedef void organ_json_key_found(void *context, const organ_json_key *key);

/* Calls `callback` for each member whose name has at most 64 bytes, in every object and in the order of the text.
 * Malformed JSON is allowed: only strings, colons and brackets are interpreted. Below a depth of ORGAN_JSON_KEYS_DEPTH
 * paths are incomplete. */
void organ_json_keys(const organ_json_source *text, organ_json_key_found *callback, void *context);

/* Returns the offset after the value that begins at `at`. If the value is longer than `max` bytes, returns an offset
 * that is `max` bytes or more after `at`. */
size_t organ_json_value_end(const organ_json_source *text, size_t at, size_t max);

/* The size of a list or an object. */
typedef struct organ_json_extent {
    size_t members;    /* its members, without those of nested values */
    size_t longest;    /* longest string at any depth, names included, in bytes as written without quotes */
    uint64_t greatest; /* greatest whole number among its members; UINT64_MAX if one is larger; 0: none */
} organ_json_extent;

/* Measures the list or object in `span` without parsing it into a tree. */
organ_json_extent organ_json_extent_of(const organ_json_source *text, organ_json_span span);

#endif
