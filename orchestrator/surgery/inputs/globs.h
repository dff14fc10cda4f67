/* SPDX-License-Identifier: MIT
 * A comma-separated list of shell patterns on names. Callers report a pattern that matches no name as an error. */
#ifndef ORGAN_GLOBS_H
#define ORGAN_GLOBS_H

#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>

/* A list of patterns. All zero is an empty list. */
typedef struct organ_globs {
    size_t count;
    const char **patterns;
    bool *used; /* a flag per pattern: organ_globs_match has found a name that matches it */
    char *text; /* copy of the list, into which `patterns` points; NULL: no list was given, and all names match */
} organ_globs;

/* Splits a comma-separated list of patterns; `list` NULL gives an empty list. Returns ORGAN_IO if memory cannot be
 * allocated. */
organ_status organ_globs_read(const char *list, organ_globs *globs, organ_error *error);
void organ_globs_release(organ_globs *globs);

/* Returns whether one of the patterns matches `name`, or there is no list. Marks every pattern that matches as used. */
bool organ_globs_match(organ_globs *globs, const char *name);

/* Returns the first pattern that matched no name; NULL if all patterns matched. */
const char *organ_globs_unused(const organ_globs *globs);

#endif
