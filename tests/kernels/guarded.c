/* SPDX-License-Identifier: MIT */
#include "tests/kernels/guarded.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PERIOD = 1 << 15 }; /* of junk() */
static unsigned char junk(size_t at, unsigned seed) { return (unsigned char)((at * 2654435761u + seed * 40503u) >> 7); }

guarded guarded_create(size_t bytes, enum guarded_side side, unsigned seed)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (bytes + page - 1) / page * page;
    guarded b = {.bytes = bytes, .map_bytes = inner + 2 * page};
    b.map = mmap(NULL, b.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b.map == MAP_FAILED || (inner > 0 && mprotect(b.map + page, inner, PROT_READ | PROT_WRITE) != 0)) {
        perror("guarded buffer");
        abort();
    }
    b.data = side == GUARD_BEFORE ? b.map + page : b.map + page + inner - bytes;
    const size_t end = page + inner;
    for (size_t k = page; k < end && k < page + PERIOD; k++)
        b.map[k] = junk(k, seed);
    for (size_t k = page + PERIOD; k < end; k += PERIOD)
        memcpy(b.map + k, b.map + k - PERIOD, end - k < PERIOD ? end - k : PERIOD);
    return b;
}

int guarded_intact(const guarded *b, unsigned seed)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), end = b->map_bytes - page;
    const size_t first = (size_t)(b->data - b->map), last = first + b->bytes;
    for (size_t k = page; k < first; k++)
        if (b->map[k] != junk(k, seed))
            return 0;
    for (size_t k = last; k < end; k++)
        if (b->map[k] != junk(k, seed))
            return 0;
    return 1;
}

void guarded_destroy(guarded *b)
{
    munmap(b->map, b->map_bytes);
    *b = (guarded){0};
}
