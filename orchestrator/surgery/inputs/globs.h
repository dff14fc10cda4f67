/* SPDX-License-Identifier: MIT
 * A comma-separated list of shell patterns on names. Callers report a pattern that matches no name as an error. */
#ifndef ORGAN_GLOBS_H
#define ORGAN_GLOBS_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* All zero is an empty list. */
typedef struct organ_globs {
    size_t count;
    const char **patterns;
    bool *used; /* whether a name matched it */
    char *text;
} organ_globs;

/* Reads a comma-separated list of patterns; `list` NULL: an empty list. ORGAN_IO. */
organ_status organ_globs_read(const char *list, organ_globs *globs, organ_error *error);
void organ_globs_free(organ_globs *globs);

/* Returns whether one of the patterns matches, or there are none; marks those that match. */
bool organ_globs_match(organ_globs *globs, const char *name);

/* Returns the first pattern that matched no name; NULL if all patterns matched. */
const char *organ_globs_unused(const organ_globs *globs);

#endif
