/* SPDX-License-Identifier: MIT
 * Folders of stores: environment variables that name them, checks of the parts of names, sorted lists of entries. */
#ifndef ORGAN_NAME_FOLDERS_H
#define ORGAN_NAME_FOLDERS_H

#include "formats/base/arena.h"
#include "formats/base/status.h"

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>

/* Formats like printf into the arena; NULL without memory. */
char *organ_arena_format(organ_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Returns the value of an environment variable as a path, with a leading "~/" and "$NAME" or "${NAME}" replaced as
 * Python's expanduser and expandvars do; NULL if the variable is unset or empty, or without memory. */
const char *organ_folder_of(const char *variable, organ_arena *arena);

/* Returns a path in the user's home folder; NULL if HOME is not set, or without memory. */
const char *organ_folder_at_home(const char *path, organ_arena *arena);

bool organ_is_folder(const char *path);

/* Returns true for a relative path whose segments are not empty, not "." and not "..", begin with no dot, and have only
 * printable characters other than '\\'. */
bool organ_is_plain_path(const char *path);

/* Returns true for a name that would be a whole path of organ_is_plain_path, without "/". */
bool organ_is_plain_name(const char *name);

/* Lists the names in a folder that do not begin with a dot, sorted, in the arena; at most 100,000. A missing folder has
 * no names; an unreadable one fails with ORGAN_IO. */
typedef struct organ_folder_names {
    const char **names;
    size_t count;
} organ_folder_names;
organ_status organ_folder_list(const char *path, organ_arena *arena, organ_folder_names *found, organ_error *error);

/* Sets `hint` to "; did you mean 'BEFORENAME'?" for the name in the folder that is nearest to `typed`, else to "". */
#define ORGAN_FOLDER_HINT 200
void organ_folder_near(const char *folder, const char *typed, organ_arena *arena, const char *before,
                       char hint[ORGAN_FOLDER_HINT]);

#endif
