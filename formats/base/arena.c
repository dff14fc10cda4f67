/* SPDX-License-Identifier: MIT */
#include "formats/base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES    ((size_t)64 << 10) /* usual size of a block of an arena */
#define FIRST_ELEMENTS ((size_t)64)       /* capacity of a list after its first growth */

struct organ_arena_block {
    struct organ_arena_block *next;
    size_t used, size; /* used and allocated bytes of `bytes` */
    _Alignas(16) char bytes[];
};

/* A request that exceeds a block gets a block of its own. */
void *organ_arena_take(organ_arena *arena, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    const size_t need = (size + 15) & ~(size_t)15;
    struct organ_arena_block *block = arena->blocks;
    if (!block || block->size - block->used < need) {
        const size_t capacity = need > BLOCK_BYTES ? need : BLOCK_BYTES;
        block = malloc(sizeof *block + capacity);
        if (!block)
            return NULL;
        *block = (struct organ_arena_block){.next = arena->blocks, .size = capacity};
        arena->blocks = block;
    }
    void *taken = block->bytes + block->used;
    block->used += need;
    return taken;
}

char *organ_arena_copy(organ_arena *arena, const char *bytes, size_t length)
{
    char *copy = organ_arena_take(arena, length + 1);
    if (!copy)
        return NULL;
    memcpy(copy, bytes, length);
    copy[length] = '\0';
    return copy;
}

void organ_arena_release(organ_arena *arena)
{
    while (arena->blocks) {
        struct organ_arena_block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
}

bool organ_grow(void *list, size_t count, size_t *capacity, size_t size)
{
    const size_t requested = *capacity ? 2 * *capacity : FIRST_ELEMENTS;
    void *elements;
    if (count < *capacity)
        return true;
    /* `list` may be an int ** or a pointer to any other pointer, so the pointer is copied without its type */
    memcpy(&elements, list, sizeof elements);
    if (__builtin_mul_overflow(requested, size, &size) || !(elements = realloc(elements, size)))
        return false;
    memcpy(list, &elements, sizeof elements);
    *capacity = requested;
    return true;
}
