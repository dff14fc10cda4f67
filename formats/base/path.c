/* SPDX-License-Identifier: MIT */
#include "formats/base/path.h"

#include <stdio.h>
#include <string.h>

/* Returns true if the name ends with `end` and is longer than `end`. */
bool organ_ends_with(const char *name, const char *end)
{
    size_t length = strlen(name);
    return organ_cut_end(name, &length, end);
}

/* Reduces *length by the length of `end` and returns true if the first *length bytes of the name end with `end` and
 * are longer. */
bool organ_cut_end(const char *name, size_t *length, const char *end)
{
    const size_t tail = strlen(end);
    if (*length <= tail || memcmp(name + *length - tail, end, tail) != 0)
        return false;
    *length -= tail;
    return true;
}

/* Returns true if the name is `words` or ends with "." and `words`. */
bool organ_ends_in_words(const char *name, const char *words)
{
    size_t length = strlen(name);
    return strcmp(name, words) == 0 || (organ_cut_end(name, &length, words) && name[length - 1] == '.');
}

/* Returns true if `word` equals one of `words`, a list that NULL terminates. */
bool organ_is_one_of(const char *word, const char *const *words)
{
    while (*words && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

/* Returns the part of the path after the last '/', or the whole path if it has none. */
const char *organ_path_name(const char *path)
{
    const char *const slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Returns the length of the path without trailing slashes; 1 for "/". */
size_t organ_path_length(const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    return length;
}

/* Returns "directory/name" in the arena, with one '/' between the two; NULL if memory is exhausted. */
char *organ_path_join(organ_arena *arena, const char *directory, const char *name)
{
    const size_t length = strlen(directory);
    char *const path = organ_arena_take(arena, length + strlen(name) + 2);
    if (path)
        sprintf(path, "%s%s%s", directory, length > 0 && directory[length - 1] == '/' ? "" : "/", name);
    return path;
}

/* Returns true if the path is `folder` or below it. The folder "/" is compared as "", so that the '/' that
 * must follow the folder is the first one of the path. */
bool organ_path_is_inside(const char *path, const char *folder)
{
    const size_t length = strcmp(folder, "/") == 0 ? 0 : strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}
