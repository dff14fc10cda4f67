/* SPDX-License-Identifier: MIT
 * Finds the name that a mistyped word may mean. */
#ifndef ORGAN_NEAREST_H
#define ORGAN_NEAREST_H

#include <stddef.h>

/* Returns the name nearest to `typed`, or NULL if none is near: few letters are wrong, swapped or missing, or `typed`
 * is its beginning. Ignores words of more than 96 bytes. */
const char *organ_nearest(const char *typed, const char *const *names, size_t count);

/* Writes the suggestion for the end of a message: "; did you mean '--beta'?", with "--" as `before`; "" if no name is
 * near. */
#define ORGAN_HINT_ROOM 200
const char *organ_nearest_hint(const char *typed, const char *const *names, size_t count, const char *before,
                               char hint[ORGAN_HINT_ROOM]);

#endif
