/* SPDX-License-Identifier: MIT
 * Paths, names of files and words as text. */
#ifndef ORGAN_PATH_H
#define ORGAN_PATH_H

#include "formats/base/arena.h"

#include <stdbool.h>

/* Whether `name` ends with `end` and is longer than it. */
bool organ_ends_with(const char *name, const char *end);

/* Whether `word` is one of `words`, which a NULL ends. */
bool organ_is_one_of(const char *word, const char *const *words);

/* The last segment of the path: what follows its last '/', or all of it. */
const char *organ_path_name(const char *path);

/* The length of the path without the slashes at its end; that of "/" is 1. */
size_t organ_path_length(const char *path);

/* "directory/name" in the arena, with one '/' also where `directory` ends with one; NULL if there is no memory. */
char *organ_path_join(organ_arena *arena, const char *directory, const char *name);

#endif
