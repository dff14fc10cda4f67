/* SPDX-License-Identifier: MIT
 * Changes to members of a JSON object that leave every other byte of the text as it is: order, spaces, numbers as they are written, and the
 * words NaN and Infinity, which Python writes. */
#ifndef ORGAN_JSON_EDIT_H
#define ORGAN_JSON_EDIT_H

#include "formats/json_text.h"

typedef struct organ_json_edit {
    const char *label; /* names the document in messages; the caller's */
    char *bytes;       /* the text so far; NUL-terminated, owned */
    size_t length;
} organ_json_edit;

/* Takes a copy of the text. ORGAN_BAD_INPUT if it is not one object. To be released also after an error. */
organ_status organ_json_edit_begin(organ_json_edit *edit, const char *label, const char *bytes, size_t length, organ_error *error);
void organ_json_edit_release(organ_json_edit *edit);

/* Whether the document, or the object under the name `inside` in it (NULL: the document itself), has that member; *span is its value. */
bool organ_json_edit_find(const organ_json_edit *edit, const char *inside, const char *name, organ_json_span *span);

/* Removes the member wherever an object of the document has it, however deep; *removed counts (may be NULL). */
organ_status organ_json_edit_remove(organ_json_edit *edit, const char *name, size_t *removed, organ_error *error);

/* Gives a member of the document (or of the object `inside`, which must be there) this value, JSON text: in its place, or as the last one.
 */
organ_status organ_json_edit_set(organ_json_edit *edit, const char *inside, const char *name, const char *value, organ_error *error);

#endif
