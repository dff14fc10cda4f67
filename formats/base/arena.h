/* SPDX-License-Identifier: MIT
 * Memory: an arena for many small things that are released together, such as the names and shapes of a model; lists
 * that grow. */
#ifndef ORGAN_ARENA_H
#define ORGAN_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct organ_arena_block;

/* All zero is an empty arena. */
typedef struct organ_arena {
    struct organ_arena_block *blocks;
} organ_arena;

/* `size` uninitialised bytes, aligned to 16; NULL if there is no memory. */
void *organ_arena_take(organ_arena *arena, size_t size);

/* A copy of `length` bytes with a NUL after it; NULL if there is no memory. */
char *organ_arena_copy(organ_arena *arena, const char *bytes, size_t length);

void organ_arena_release(organ_arena *arena);

/* Makes room for one more element of `size` bytes in a list of `count` from malloc: `list` is the address of the
 * pointer to it, NULL at first, and *room how many elements it can hold. False, and nothing changed, if there is no
 * memory. */
bool organ_grow(void *list, size_t count, size_t *room, size_t size);

#endif
