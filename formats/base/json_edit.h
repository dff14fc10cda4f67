/* SPDX-License-Identifier: MIT
 * Changes to members of a JSON object that leave every other byte of the text as it is: order, spaces, numbers as they
 * are written, and the words NaN and Infinity, which Python writes. */
#ifndef ORGAN_JSON_EDIT_H
#define ORGAN_JSON_EDIT_H

#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>

typedef struct organ_json_edit {
    const char *label; /* names the document in messages; the caller's */
    char *bytes;       /* the text so far; NUL-terminated, owned */
    size_t length;
} organ_json_edit;

/* Takes a copy of the text. ORGAN_BAD_INPUT if it is not one object. To be released also after an error. */
organ_status organ_json_edit_begin(organ_json_edit *edit, const char *label, const char *bytes, size_t length,
                                   organ_error *error);
void organ_json_edit_release(organ_json_edit *edit);

/* Whether the document, or the object under the name `inside` in it (NULL: the document itself), has that member. */
bool organ_json_edit_has(const organ_json_edit *edit, const char *inside, const char *name);

/* Removes the member from the document and from every object in it that is a member of a member and so on, 16 deep;
 * *removed counts (may be NULL). */
organ_status organ_json_edit_remove(organ_json_edit *edit, const char *name, size_t *removed, organ_error *error);

/* Gives a member of the document (or of the object `inside`, which must be there) this value, written as the text
 * around it is: in its place, or as the last one. */
organ_status organ_json_edit_set(organ_json_edit *edit, const char *inside, const char *name, const json_t *value,
                                 organ_error *error);

#endif
