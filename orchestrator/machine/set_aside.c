/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/set_aside.h"

#include <stdlib.h>

/* Bytes of a piece. malloc takes larger requests (128 KiB and more) from mmap, and free returns those to the system. */
enum { PIECE = 64 << 10 };

/* Allocates `bytes` bytes in pieces and frees the pieces, which the allocator keeps for later requests. Returns false
 * if the memory is not available. Sets *last to a small allocation that follows the pieces in the heap: as long as it
 * exists, the allocator does not return the pieces to the system. */
bool organ_set_aside(size_t bytes, void **last)
{
    const size_t count = bytes / PIECE + 1;
    void **pieces = NULL; /* a list: each piece begins with the address of the one before */
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
