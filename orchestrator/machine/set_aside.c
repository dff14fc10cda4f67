/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/set_aside.h"

#include <stdlib.h>

enum { PIECE = 64 << 10 }; /* below the size from which the allocator maps pages for one piece alone */

/* Checks that `bytes` can be allocated, by allocating and freeing them in pieces. *last, allocated after them, keeps
 * the heap from returning the pieces to the system. */
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
