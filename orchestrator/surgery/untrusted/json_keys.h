/* SPDX-License-Identifier: MIT
 * The members of all objects of a JSON text, however large it is, without a tree of it. */
#ifndef ORGAN_JSON_KEYS_H
#define ORGAN_JSON_KEYS_H

#include "formats/base/json_text.h"

#include <stdint.h>

enum { ORGAN_JSON_KEYS_DEPTH = 64 };

/* Where a member stands. */
typedef struct organ_json_key {
    const organ_json_text *text;
    const char *name; /* of the member, escapes resolved */
    char path[400];   /* of names with dots between them, cut where it is longer; as they are written */
    size_t value;     /* where it begins */
} organ_json_key;

typedef void organ_json_key_seen(void *context, const organ_json_key *key);

/* Calls `seen` for the members of every object whose names have at most 64 bytes, in the order of the text. Text that
 * is no JSON is walked as far as strings and brackets go; below a depth of ORGAN_JSON_KEYS_DEPTH paths are not told. */
void organ_json_keys(const organ_json_text *text, organ_json_key_seen *seen, void *context);

/* Behind the value that begins at `at`; of one that is longer than `most` bytes somewhere behind so many. */
size_t organ_json_value_end(const organ_json_text *text, size_t at, size_t most);

/* What a list or an object holds at its own depth, from the text alone. */
typedef struct organ_json_extent {
    size_t members;
    size_t longest;    /* string, in bytes as written */
    uint64_t greatest; /* whole number; UINT64_MAX where one is beyond */
} organ_json_extent;
organ_json_extent organ_json_extent_of(const organ_json_text *text, organ_json_span span);

#endif
