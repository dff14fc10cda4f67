/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/along_text/states.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct organ_along_states {
    organ_along_chunks chunks;
    char *all;   /* the chunks that are held, one behind the other */
    float *copy; /* room for one */
};

size_t organ_along_chunks_count(const organ_along_chunks *chunks) { return (chunks->windows + chunks->together - 1) / chunks->together; }

size_t organ_along_chunk_windows(const organ_along_chunks *chunks, size_t chunk)
{
    const size_t left = chunks->windows - chunk * chunks->together;
    return left < chunks->together ? left : chunks->together;
}

static size_t chunk_bytes(const organ_along_states *s) { return s->chunks.together * s->chunks.window_bytes; }

/* Where the states of a chunk begin among those that are held. */
static size_t place(const organ_along_states *s, size_t chunk) { return (chunk - s->chunks.first) / s->chunks.step * chunk_bytes(s); }

static size_t held_bytes(const organ_along_states *s)
{
    size_t bytes = 0;
    for (size_t c = s->chunks.first; c < organ_along_chunks_count(&s->chunks); c += s->chunks.step)
        bytes += organ_along_chunk_windows(&s->chunks, c) * s->chunks.window_bytes;
    return bytes;
}

organ_status organ_along_states_open(const organ_along_chunks *chunks, bool copied, organ_along_states **states, organ_error *error)
{
    organ_along_states *const s = *states = calloc(1, sizeof *s);
    if (s) {
        s->chunks = *chunks;
        s->all = malloc(held_bytes(s) + 1);
        s->copy = copied ? malloc(chunk_bytes(s)) : NULL;
    }
    if (s && s->all && (s->copy || !copied))
        return ORGAN_OK;
    organ_along_states_close(s);
    *states = NULL;
    return organ_fail_errno(error, ENOMEM, "hidden states of %zu windows", chunks->windows);
}

void organ_along_states_close(organ_along_states *s)
{
    if (!s)
        return;
    free(s->all);
    free(s->copy);
    free(s);
}

float *organ_along_states_take(organ_along_states *s, size_t chunk, organ_error *error)
{
    (void)error;
    return (float *)(void *)(s->all + place(s, chunk));
}

organ_status organ_along_states_give(organ_along_states *s, size_t chunk, organ_error *error)
{
    (void)s;
    (void)chunk;
    return error->status;
}

float *organ_along_states_copy(organ_along_states *s, size_t chunk, organ_error *error)
{
    const float *const from = organ_along_states_take(s, chunk, error);
    if (!from)
        return NULL;
    memcpy(s->copy, from, organ_along_chunk_windows(&s->chunks, chunk) * s->chunks.window_bytes);
    return s->copy;
}
