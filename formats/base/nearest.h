/* SPDX-License-Identifier: MIT
 * Finds the name that a mistyped word may mean. */
#ifndef ORGAN_NEAREST_H
#define ORGAN_NEAREST_H

#include <stddef.h>

/* Returns the one of the `count` names that is most similar to `typed`, or NULL if no name is similar. A name is
 * similar if it differs in few letters (wrong, swapped, missing or added), or if `typed` has at least 3 bytes and the
 * name begins with it. Words of more than 96 bytes are similar to none. */
const char *organ_nearest(const char *typed, const char *const *names, size_t count);

/* Writes a suggestion for the end of a message to `hint` and returns it: "; did you mean '--beta'?", with "--" as
 * `before`; "" if no name is similar. */
#define ORGAN_HINT_ROOM 200
const char *organ_nearest_hint(const char *typed, const char *const *names, size_t count, const char *before,
                               char hint[ORGAN_HINT_ROOM]);

#endif
