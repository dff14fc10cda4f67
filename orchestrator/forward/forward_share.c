/* SPDX-License-Identifier: MIT
 * Distribution of work to the workers, and large allocations. */
#include "orchestrator/forward/forward_job.h"
#include "orchestrator/machine/extent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

organ_status organ_forward_share(const organ_engine *engine, size_t count, double work,
                                 void (*task)(void *context, size_t index, size_t worker), void *context,
                                 organ_error *error)
{
    organ_share_work(engine, engine->stop, count, work, task, context);
    return organ_stop_is_requested(engine->stop) ? organ_fail(error, ORGAN_INTERRUPTED, "interrupted") : ORGAN_OK;
}

#define TOKENS_AT_ONCE ((size_t)32) /* tokens for which a worker calls the task of organ_forward_tokens in turn */

typedef struct shared_tokens {
    organ_token_task *task;
    void *context;
    size_t count;
} shared_tokens;

static void run_tokens(void *context, size_t index, size_t worker)
{
    (void)worker;
    const shared_tokens *const s = context;
    const size_t until = organ_min((index + 1) * TOKENS_AT_ONCE, s->count);
    for (size_t t = index * TOKENS_AT_ONCE; t < until; t++)
        s->task(s->context, t);
}

organ_status organ_forward_tokens(const organ_engine *engine, size_t count, double work, organ_token_task *task,
                                  void *context, organ_error *error)
{
    shared_tokens tokens = {task, context, count};
    return organ_forward_share(engine, organ_pieces_of(count, TOKENS_AT_ONCE), work, run_tokens, &tokens, error);
}

/* Large blocks are mapped directly, with huge pages if available, and unmapped when freed; malloc would keep some of
 * them. The cache line before the first number stores the mapped bytes; 0: from malloc. */
#define LINE        ((size_t)64)
#define LARGE_BLOCK ((size_t)4 << 20)

static void *map_block(size_t bytes)
{
    void *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return NULL;
    (void)madvise(block, bytes, MADV_HUGEPAGE); /* advice that the system may ignore */
    return block;
}

/* The cache line before the floats stores the bytes of the mapping, 0 for memory of the heap. */
float *organ_forward_floats(size_t count, organ_error *error)
{
    const size_t bytes = (count / 16 + 2) * LINE; /* a line has 16 floats; one more for the size, one for the rest */
    const bool large = bytes >= LARGE_BLOCK;
    unsigned char *block = NULL;
    if (count < SIZE_MAX / 8) /* `bytes` has not overflowed */
        block = large ? map_block(bytes) : aligned_alloc(LINE, bytes);
    if (!block) {
        organ_fail_errno(error, ENOMEM, "cannot allocate %zu numbers", count);
        return NULL;
    }
    memcpy(block, &(size_t){large ? bytes : 0}, sizeof bytes);
    return (float *)(void *)(block + LINE);
}

void organ_forward_free(float *floats)
{
    size_t bytes;
    if (!floats)
        return;
    unsigned char *const block = (unsigned char *)floats - LINE;
    memcpy(&bytes, block, sizeof bytes);
    if (bytes)
        munmap(block, bytes);
    else
        free(block);
}
