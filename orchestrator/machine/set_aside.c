/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/set_aside.h"

#include <stdlib.h>

enum {
    PIECE = 64 << 10
}; /* bytes; smaller than allocations for which malloc maps pages that free returns to the system */

/* Returns true if `bytes` bytes can be allocated: allocates and frees them in pieces, which the allocator keeps.
 * *last, allocated after them, keeps the heap from returning them to the system. */
bool organ_set_aside(size_t bytes, void **last)
{
    const size_t count = bytes / PIECE + 1;
    void **pieces = NULL;
    size_t made = 0;
    for (; made < count; made++) {
        void **const piece = malloc(PIECE);
        if (!piece)
            break;
        *piece = pieces;
        pieces = piece;
    }
    *last = made == count ? malloc(1) : NULL;
    while (pieces) {
        void **const next = *pieces;
        free(pieces);
        pieces = next;
    }
    return *last != NULL;
}
