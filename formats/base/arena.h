/* SPDX-License-Identifier: MIT
 * An arena: an allocator for many small objects that are released together, such as the names and shapes of a model.
 * Also the growth of plain lists, and faults of a file. */
#ifndef ORGAN_BASE_ARENA_H
#define ORGAN_BASE_ARENA_H

#include <organ/base.h>
#include <stdbool.h>
#include <stddef.h>

struct organ_arena_block;

/* An arena whose members are all zero is empty. */
typedef struct organ_arena {
    struct organ_arena_block *blocks;
} organ_arena;

/* Returns `size` uninitialised bytes, aligned to 16, or NULL if memory is exhausted. They live until the arena is
 * released. */
void *organ_arena_take(organ_arena *arena, size_t size);

/* Returns a copy of `length` bytes followed by a NUL, in the arena; NULL if memory is exhausted. */
char *organ_arena_copy(organ_arena *arena, const char *bytes, size_t length);

/* Frees all memory of the arena; the arena is then empty. */
void organ_arena_release(organ_arena *arena);

/* Makes room for one more element in an array from malloc that has `count` elements of `size` bytes. `list` is the
 * address of the caller's pointer to the array (at first a NULL pointer); *capacity is its allocated length in
 * elements. Returns false and changes nothing if memory is exhausted. */
bool organ_grow(void *list, size_t count, size_t *capacity, size_t size);

/* ---- faults of a file ---- */

/* Like organ_fail with ORGAN_BAD_INPUT; the message begins with the name of the file or text, `label`, and a colon. */
organ_status organ_refuse(organ_error *error, const char *label, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- a reader normally stops at the first fault ---- */

/* A reader normally stops at the first fault. A caller that needs a list of all faults passes an organ_faults, and the
 * reader reports to it each fault after which it can continue. */

/* Receives the faults of a file: each is passed to one call of `take`. */
typedef struct organ_faults {
    void (*take)(void *context, const char *message); /* receives one message of organ_fail */
    void *context;                                    /* the caller's, passed to `take` */
} organ_faults;

/* If `error` is a fault of the input (ORGAN_BAD_INPUT), passes its message to faults->take, clears `error` and returns
 * true. Returns false and leaves `error` unchanged for other errors and if `faults` is NULL. */
bool organ_faults_take(const organ_faults *faults, organ_error *error);

#endif
