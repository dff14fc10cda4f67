/* SPDX-License-Identifier: MIT
 * Reads a document of YAML 1.1 with libyaml into a tree that knows the line of every value. Scalars stay texts, because
 * their type depends on the key. The files are untrusted: their size, depth and number of values have limits, and an
 * alias counts as many values as it stands for. */
#ifndef ORGAN_BASE_YAML_H
#define ORGAN_BASE_YAML_H

#include "formats/base/arena.h"

#include <organ/base.h>
#include <stdbool.h>
#include <stddef.h>

#define ORGAN_YAML_BYTES  ((size_t)1 << 20) /* of the longest document */
#define ORGAN_YAML_VALUES ((size_t)1 << 16) /* in the largest document, with every alias replaced by its values */
#define ORGAN_YAML_DEPTH  64

typedef enum organ_yaml_kind { ORGAN_YAML_SCALAR, ORGAN_YAML_LIST, ORGAN_YAML_MAP } organ_yaml_kind;

/* A value. An alias is the same value at several places. */
typedef struct organ_yaml {
    organ_yaml_kind kind;
    size_t line;      /* from 1 */
    const char *text; /* of a scalar: valid UTF-8 without NUL */
    bool plain;       /* the scalar has no quotes: it may be null, a number or a flag */
    size_t count;     /* of elements or members */
    const struct organ_yaml *const *values;
    const struct organ_yaml *const *keys; /* of a map: scalars, all different */
} organ_yaml;

/* Parses `length` bytes. The tree belongs to `arena`. Returns ORGAN_BAD_INPUT with the line for
 *   - text that is no YAML, has a tag or a merge key (<<), or is beyond the limits above;
 *   - a document that is empty, or another one after it;
 *   - a key that is no scalar or occurs twice; an alias without an anchor, or within its own anchor.
 * `label` is the name of the text in messages. */
organ_status organ_yaml_parse(const char *label, const char *bytes, size_t length, organ_arena *arena,
                              const organ_yaml **tree, organ_error *error);

/* Returns the value of a member of a map, or NULL. */
const organ_yaml *organ_yaml_member(const organ_yaml *map, const char *key);

/* Returns whether the value is null: an empty plain scalar, "~" or "null". NULL counts as null. */
bool organ_yaml_is_null(const organ_yaml *value);

/* Return whether the scalar is a number or a flag, and set *number or *flag. Quotes do not matter, as in
 * mergekit: "1e-5" is a number. Flags are the words that pydantic accepts: true, yes, on, t, y, 1 and their opposites,
 * in any case, and 1.0 and 0.0, which mergekit writes for flags. NaN and infinite numbers are none. */
bool organ_yaml_number(const organ_yaml *value, double *number);
bool organ_yaml_flag(const organ_yaml *value, bool *flag);

#endif
