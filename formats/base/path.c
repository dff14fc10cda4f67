/* SPDX-License-Identifier: MIT */
#include "formats/base/path.h"

#include <stdio.h>
#include <string.h>

bool organ_ends_with(const char *name, const char *end)
{
    size_t length = strlen(name);
    return organ_cut_end(name, &length, end);
}

bool organ_cut_end(const char *name, size_t *length, const char *end)
{
    const size_t tail = strlen(end);
    if (*length <= tail || memcmp(name + *length - tail, end, tail) != 0)
        return false;
    *length -= tail;
    return true;
}

bool organ_ends_in_words(const char *name, const char *words)
{
    size_t length = strlen(name);
    return strcmp(name, words) == 0 || (organ_cut_end(name, &length, words) && name[length - 1] == '.');
}

bool organ_is_one_of(const char *word, const char *const *words)
{
    while (*words && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

const char *organ_path_name(const char *path)
{
    const char *const slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

size_t organ_path_length(const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    return length;
}

char *organ_path_join(organ_arena *arena, const char *directory, const char *name)
{
    const size_t length = strlen(directory);
    char *const path = organ_arena_take(arena, length + strlen(name) + 2);
    if (path)
        sprintf(path, "%s%s%s", directory, length > 0 && directory[length - 1] == '/' ? "" : "/", name);
    return path;
}

/* The folder "/" is compared as "", so that the '/' that must follow the folder is the first one of the path. */
bool organ_path_is_inside(const char *path, const char *folder)
{
    const size_t length = strcmp(folder, "/") == 0 ? 0 : strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}
