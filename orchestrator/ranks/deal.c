/* SPDX-License-Identifier: MIT */
#include "orchestrator/ranks/ranks.h"

#include <stdlib.h>

typedef struct part {
    uint64_t bytes;
    size_t index;
} part;

static int by_size(const void *a, const void *b)
{
    const part *const x = a, *const y = b;
    return x->bytes != y->bytes ? (x->bytes < y->bytes) - (x->bytes > y->bytes) : (x->index > y->index) - (x->index < y->index);
}

/* A heap of ranks, the one with the least load on top, of equals the first. */
typedef struct load {
    uint64_t bytes;
    uint32_t rank;
} load;

static bool is_less(const load *a, const load *b) { return a->bytes != b->bytes ? a->bytes < b->bytes : a->rank < b->rank; }

static void sink_top(load *heap, size_t count)
{
    for (size_t at = 0, next; (next = 2 * at + 1) < count; at = next) {
        if (next + 1 < count && is_less(&heap[next + 1], &heap[next]))
            next++;
        if (!is_less(&heap[next], &heap[at]))
            break;
        const load kept = heap[at];
        heap[at] = heap[next];
        heap[next] = kept;
    }
}

organ_status organ_ranks_deal(const organ_ranks *ranks, const uint64_t *bytes, size_t count, uint32_t *owner, organ_error *error)
{
    const size_t all = organ_ranks_count(ranks);
    part *const parts = malloc((count + 1) * sizeof *parts);
    load *const heap = malloc(all * sizeof *heap);
    if (!parts || !heap)
        organ_fail_memory(error, "the shares of the ranks");
    for (size_t r = 0; r < all && !error->status; r++)
        heap[r] = (load){.rank = (uint32_t)r};
    for (size_t k = 0; k < count && !error->status; k++)
        parts[k] = (part){bytes[k], k};
    if (!error->status && count)
        qsort(parts, count, sizeof *parts, by_size);
    for (size_t k = 0; k < count && !error->status; k++) {
        owner[parts[k].index] = heap[0].rank;
        heap[0].bytes += parts[k].bytes + 1; /* so that parts without bytes are spread too */
        sink_top(heap, all);
    }
    free(heap);
    free(parts);
    return error->status;
}
