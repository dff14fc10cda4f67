/* SPDX-License-Identifier: MIT
 * Buffers whose neighbours are watched: a page that faults right before the first and right behind the last page, junk
 * in what is left. */
#ifndef ORGAN_TESTS_GUARDED_H
#define ORGAN_TESTS_GUARDED_H
#include <stddef.h>

enum guarded_side { GUARD_BEFORE, GUARD_BEHIND }; /* which end of the data lies flush with its guard page */

typedef struct guarded {
    unsigned char *data;
    size_t bytes;
    unsigned char *map; /* the rest is its own business */
    size_t map_bytes;
} guarded;

/* Filled with junk that depends on `seed`, data and slack alike. Ends the program where memory cannot be had. */
guarded guarded_create(size_t bytes, enum guarded_side side, unsigned seed);
/* 1 if no byte around the data has changed. */
int guarded_intact(const guarded *buffer, unsigned seed);
void guarded_destroy(guarded *buffer);

#endif
