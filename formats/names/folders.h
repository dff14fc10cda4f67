/* SPDX-License-Identifier: MIT
 * Helpers of the stores of models: their folders from environment variables, checks of the parts of a name, sorted
 * lists of a folder's entries, hints for mistyped names. */
#ifndef ORGAN_NAME_FOLDERS_H
#define ORGAN_NAME_FOLDERS_H

#include "formats/base/arena.h"
#include <organ/base.h>

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>

/* Formats like printf into memory of the arena. Returns NULL if memory is exhausted. */
char *organ_arena_format(organ_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Returns the value of an environment variable as a path in the arena, with a leading "~/" and "$NAME" or "${NAME}"
 * replaced as Python's expanduser and expandvars do. Returns NULL if the variable is unset or empty, or if memory is
 * exhausted. */
const char *organ_folder_of(const char *variable, organ_arena *arena);

/* Returns "$HOME/PATH" in the arena; NULL if HOME is not set, or if memory is exhausted. */
const char *organ_folder_at_home(const char *path, organ_arena *arena);

/* Returns true if `path` is a directory or a link to one. */
bool organ_is_folder(const char *path);

/* Returns true for a relative path that cannot lead out of its folder: its segments are not empty and do not begin with
 * a dot, and it is valid UTF-8 of at most 2000 bytes without control characters and backslashes. */
bool organ_is_plain_path(const char *path);

/* Returns true for a path of organ_is_plain_path with one segment: a name without "/". */
bool organ_is_plain_name(const char *name);

/* The names in a folder, sorted by their bytes; all memory belongs to an arena. */
typedef struct organ_folder_names {
    const char **names;
    size_t count;
} organ_folder_names;

/* Sets *found to the names in the folder `path` that do not begin with a dot, sorted; only the first 100,000. A
 * missing folder has no names. Returns ORGAN_IO if the folder cannot be read or memory is exhausted. */
organ_status organ_folder_list(const char *path, organ_arena *arena, organ_folder_names *found, organ_error *error);

#define ORGAN_FOLDER_HINT 200 /* bytes */

/* Sets `hint` to "; did you mean '" + before + NAME + "'?", where NAME is the name in `folder` that is most similar
 * to `typed`. Sets it to "" if none is similar or the folder cannot be read. */
void organ_folder_near(const char *folder, const char *typed, organ_arena *arena, const char *before,
                       char hint[ORGAN_FOLDER_HINT]);

#endif
