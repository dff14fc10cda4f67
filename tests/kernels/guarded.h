/* SPDX-License-Identifier: MIT
 * Guarded buffers: an inaccessible page before the first and after the last page, random bytes in the unused rest. */
#ifndef ORGAN_TESTS_GUARDED_H
#define ORGAN_TESTS_GUARDED_H
#include <stddef.h>

enum guarded_side { GUARD_BEFORE, GUARD_BEHIND }; /* the end of the data next to the guard page */

typedef struct guarded {
    unsigned char *data;
    size_t bytes;
    unsigned char *map; /* private */
    size_t map_bytes;
} guarded;

/* Fills the buffer, inside and outside of the data, with random bytes of `seed`. Ends the program if memory is
 * missing. */
guarded guarded_create(size_t bytes, enum guarded_side side, unsigned seed);
/* Returns 1 if no byte around the data has changed. */
int guarded_intact(const guarded *buffer, unsigned seed);
void guarded_destroy(guarded *buffer);

#endif
