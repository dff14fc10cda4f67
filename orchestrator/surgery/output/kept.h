/* SPDX-License-Identifier: MIT
 * Documents that one run keeps for another: curves, scores, the head of a journal. Their members say what run they are
 * of. */
#ifndef ORGAN_KEPT_H
#define ORGAN_KEPT_H

#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>

enum { ORGAN_KEPT_SHOWN = 300 }; /* bytes of a value that a message shows */

typedef struct organ_kept_difference {
    const char *key;                                          /* of the identity; lives as long as that */
    char was[ORGAN_KEPT_SHOWN + 1], is[ORGAN_KEPT_SHOWN + 1]; /* JSON, or "missing" */
} organ_kept_difference;

/* The first member of `identity` that `kept` has not, or with another value. Further members of `kept` do not count.
 * false: none. */
bool organ_kept_differs(const json_t *kept, const json_t *identity, organ_kept_difference *found);

/* ORGAN_BAD_INPUT unless the document at `path` says that it has this schema. */
organ_status organ_kept_schema(const json_t *kept, const char *schema, const char *path, organ_error *error);

/* ORGAN_USAGE where they differ: the message says in what, and that another name for `option` measures anew. `what`:
 * "curves". */
organ_status organ_kept_belongs(const json_t *kept, const json_t *identity, const char *what, const char *path,
                                const char *option, organ_error *error);

#endif
