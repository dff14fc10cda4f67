/* SPDX-License-Identifier: MIT */
#include "tests/kernels/guarded.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PERIOD = 1 << 15, SEEDS = 32 };

/* Returns random bytes of a seed with period PERIOD, made once, because thousands of small buffers are filled and
 * compared. */
static const unsigned char *junk_of(unsigned seed)
{
    static unsigned char junk[SEEDS][PERIOD], made[SEEDS];
    unsigned char *const mine = junk[seed % SEEDS];
    for (size_t at = 0; at < PERIOD && !made[seed % SEEDS]; at++)
        mine[at] = (unsigned char)((at * 2654435761u + seed % SEEDS * 40503u) >> 7);
    made[seed % SEEDS] = 1;
    return mine;
}

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
    for (size_t k = page; k < end; k += PERIOD - k % PERIOD)
        memcpy(b.map + k, junk_of(seed) + k % PERIOD, end - k < PERIOD - k % PERIOD ? end - k : PERIOD - k % PERIOD);
    return b;
}

static int is_junk(const guarded *b, size_t from, size_t end, unsigned seed)
{
    for (size_t k = from; k < end; k += PERIOD - k % PERIOD)
        if (memcmp(b->map + k, junk_of(seed) + k % PERIOD,
                   end - k < PERIOD - k % PERIOD ? end - k : PERIOD - k % PERIOD) != 0)
            return 0;
    return 1;
}

int guarded_intact(const guarded *b, unsigned seed)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), end = b->map_bytes - page;
    const size_t first = (size_t)(b->data - b->map), last = first + b->bytes;
    return is_junk(b, page, first, seed) && is_junk(b, last, end, seed);
}

void guarded_destroy(guarded *b)
{
    munmap(b->map, b->map_bytes);
    *b = (guarded){0};
}
