/* SPDX-License-Identifier: MIT
 * The files that a run left: names and folders with digests of the content that does not vary. */
#ifndef LEAVINGS_H
#define LEAVINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LEAVINGS_TEXT = 4096, LEAVINGS_FILES = 512 };

/* Files by name, sorted, each with a digest of the content that must not vary. */
typedef struct leavings {
    size_t count;
    struct {
        char name[256];
        uint64_t digest;
    } file[LEAVINGS_FILES];
} leavings;

_Noreturn void give_up(const char *what);
void join(char path[LEAVINGS_TEXT], const char *directory, const char *name);
/* Reads a whole file and appends a NUL; the caller frees it. */
char *load(const char *path, size_t *length);

uint64_t digest_of(const char *path);
/* Lists all files below the directory; `but` (NULL: none) names an entry that is skipped. */
void look(const char *directory, const char *but, leavings *found);
/* Returns true if each file of `part` is in `whole` with the same digest; else *odd is the name of one that is not. */
bool is_within(const leavings *part, const leavings *whole, const char **odd);

#endif
