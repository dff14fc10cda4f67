/* SPDX-License-Identifier: MIT
 * What a run left: files and folders with digests of what does not vary from run to run. */
#ifndef LEAVINGS_H
#define LEAVINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LEAVINGS_TEXT = 4096, LEAVINGS_FILES = 512 };

/* Each file by its name with a digest of what must not vary, in the order of names. */
typedef struct leavings {
    size_t count;
    struct {
        char name[256];
        uint64_t digest;
    } file[LEAVINGS_FILES];
} leavings;

_Noreturn void give_up(const char *what);
void join(char path[LEAVINGS_TEXT], const char *directory, const char *name);
/* A whole file with a NUL behind it, to be freed. */
char *load(const char *path, size_t *length);

uint64_t digest_of(const char *path);
/* All below the directory; `but` (NULL: none) is the name of an entry that is passed over with all below it. */
void look(const char *directory, const char *but, leavings *found);
/* Whether each file of the one is one of the other and the same; else *odd is the name of one that is not. */
bool is_within(const leavings *part, const leavings *whole, const char **odd);

#endif
