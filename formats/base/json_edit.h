/* SPDX-License-Identifier: MIT
 * Changes members of a JSON object and keeps every other byte of the text: order, spaces, the spelling of numbers,
 * and the words NaN and Infinity that Python writes. */
#ifndef ORGAN_JSON_EDIT_H
#define ORGAN_JSON_EDIT_H

#include <organ/base.h>

#include <jansson.h>
#include <stdbool.h>

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
 * the number of removed members to *removed, which may be NULL. */
organ_status organ_json_edit_remove(organ_json_edit *edit, const char *name, size_t *removed, organ_error *error);

/* Sets the member `name` of the document or, if `inside` is not NULL, of the top-level object of that name. An
 * existing member keeps its position; a new one is appended. The value is indented like the members around it.
 * Returns ORGAN_BAD_INPUT if there is no object `inside`. */
organ_status organ_json_edit_set(organ_json_edit *edit, const char *inside, const char *name, const json_t *value,
                                 organ_error *error);

#endif
