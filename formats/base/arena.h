/* SPDX-License-Identifier: MIT
 * Memory for many small things that live and die together: the names and shapes of a model. */
#ifndef ORGAN_ARENA_H
#define ORGAN_ARENA_H

#include <stddef.h>

struct organ_arena_block;

/* All zero is an empty arena. */
typedef struct organ_arena {
    struct organ_arena_block *blocks;
} organ_arena;

/* `size` uninitialised bytes, aligned to 16; NULL if there is no memory. */
void *organ_arena_take(organ_arena *arena, size_t size);

/* A copy of `length` bytes with a NUL behind; NULL if there is no memory. */
char *organ_arena_copy(organ_arena *arena, const char *bytes, size_t length);

void organ_arena_release(organ_arena *arena);

#endif
