/* SPDX-License-Identifier: MIT
 * Functions on paths, file names and words. */
#ifndef ORGAN_PATH_H
#define ORGAN_PATH_H

#include "formats/base/arena.h"

#include <stdbool.h>

/* Returns true if `name` ends with `end` and is longer than `end`. */
bool organ_ends_with(const char *name, const char *end);

/* If the first *length bytes of `name` end with `end` and are longer than `end`, reduces *length by the length of
 * `end` and returns true. Otherwise returns false. */
bool organ_cut_end(const char *name, size_t *length, const char *end);

/* Returns true if `name` equals `words` or ends with "." followed by `words`. */
bool organ_ends_in_words(const char *name, const char *words);

/* Returns true if `word` equals one of `words`, a list that NULL terminates. */
bool organ_is_one_of(const char *word, const char *const *words);

/* Returns the last segment of the path: the part after the last '/', or the whole path. */
const char *organ_path_name(const char *path);

/* Returns the length of the path without trailing slashes; 1 for "/". */
size_t organ_path_length(const char *path);

/* Returns true if the path is `folder` or below it; compares the strings only. `folder` must not end with a slash,
 * unless it is "/". */
bool organ_path_is_inside(const char *path, const char *folder);

/* Returns "directory/name" in the arena, without doubling a '/' at the end of `directory`; NULL if there is no
 * memory. */
char *organ_path_join(organ_arena *arena, const char *directory, const char *name);

#endif
