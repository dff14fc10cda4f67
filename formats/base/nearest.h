/* SPDX-License-Identifier: MIT
 * Finds the name that a mistyped word may mean. */
#ifndef ORGAN_NEAREST_H
#define ORGAN_NEAREST_H

#include <stddef.h>

/* Returns the one of `count` names that is most similar to `typed`, or NULL if none is similar: few letters are
 * wrong, swapped or missing, or `typed` is its beginning. Words of more than 96 bytes are ignored. */
const char *organ_nearest(const char *typed, const char *const *names, size_t count);

/* Writes a suggestion for the end of a message to `hint` and returns it: "; did you mean '--beta'?", with "--" as
 * `before`; "" if no name is similar. */
#define ORGAN_HINT_ROOM 200
const char *organ_nearest_hint(const char *typed, const char *const *names, size_t count, const char *before,
                               char hint[ORGAN_HINT_ROOM]);

#endif
