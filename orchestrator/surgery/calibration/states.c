/* SPDX-License-Identifier: MIT
 * Hidden states in memory or in a scratch file. The file is written and read through the page cache; the system writes
 * in the background and is advised which chunk is read next. */
#include "orchestrator/surgery/calibration/states.h"

#include "orchestrator/stream/disk/scratch_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct organ_calibration_states {
    organ_calibration_chunks chunks;
    char *all;  /* all chunks that this rank holds, consecutive; NULL: they are in the file */
    float *one; /* buffer for one chunk: a copy, or with a file the chunk that was taken; NULL: not needed */
    organ_direct_file file; /* the scratch file; path NULL: none */
    bool reserved;          /* disk space is reserved */
    size_t stored;          /* number of this rank's chunks, from its first on, that were put back at least once */
    uint64_t *digests;      /* XXH3 of each of this rank's chunks in the file */
};

size_t organ_calibration_chunks_count(const organ_calibration_chunks *chunks)
{
    return (chunks->windows + chunks->together - 1) / chunks->together;
}

size_t organ_calibration_chunk_windows(const organ_calibration_chunks *chunks, size_t chunk)
{
    const size_t remaining = chunks->windows - chunk * chunks->together;
    return remaining < chunks->together ? remaining : chunks->together;
}

static size_t chunk_bytes(const organ_calibration_chunks *chunks, size_t chunk)
{
    return organ_calibration_chunk_windows(chunks, chunk) * chunks->window_bytes;
}

static size_t position_of(const organ_calibration_chunks *chunks, size_t chunk)
{
    return (chunk - chunks->first) / chunks->step;
}

static size_t chunk_offset(const organ_calibration_chunks *chunks, size_t chunk)
{
    return position_of(chunks, chunk) * chunks->together * chunks->window_bytes;
}

static size_t own_chunks(const organ_calibration_chunks *chunks)
{
    const size_t count = organ_calibration_chunks_count(chunks);
    return count > chunks->first ? position_of(chunks, count - 1) + 1 : 0;
}

uint64_t organ_calibration_states_bytes(const organ_calibration_chunks *chunks)
{
    uint64_t bytes = 0;
    for (size_t c = chunks->first; c < organ_calibration_chunks_count(chunks); c += chunks->step)
        bytes += chunk_bytes(chunks, c);
    return bytes;
}

uint64_t organ_calibration_states_memory(const organ_calibration_chunks *chunks, bool copied, bool scratch)
{
    const uint64_t one = chunks->together * chunks->window_bytes;
    if (scratch)
        return one + own_chunks(chunks) * sizeof(uint64_t);
    return organ_calibration_states_bytes(chunks) + (copied ? one : 0);
}

organ_status organ_calibration_states_open(const organ_calibration_chunks *chunks, bool copied, const char *scratch,
                                           organ_calibration_states **states, organ_error *error)
{
    organ_calibration_states *const s = *states = calloc(1, sizeof *s);
    if (s) {
        s->chunks = *chunks;
        s->file = (organ_direct_file){.fd = -1, .direct = -1};
        s->all = scratch ? NULL : malloc((size_t)organ_calibration_states_bytes(chunks) + 1);
        s->one = scratch || copied ? malloc(chunks->together * chunks->window_bytes) : NULL;
        s->digests = scratch ? malloc((own_chunks(chunks) + 1) * sizeof *s->digests) : NULL;
    }
    if (!s || (scratch ? !s->digests : !s->all) || ((scratch || copied) && !s->one))
        organ_fail_errno(error, ENOMEM, "hidden states of %zu windows", chunks->windows);
    else if (!scratch || organ_scratch_open(scratch, &s->file, error) == ORGAN_OK)
        return ORGAN_OK;
    organ_calibration_states_close(s);
    *states = NULL;
    return error->status;
}

void organ_calibration_states_close(organ_calibration_states *s)
{
    if (!s)
        return;
    organ_direct_close(&s->file);
    free(s->all);
    free(s->one);
    free(s->digests);
    free(s);
}

static organ_status file_failed(const organ_calibration_states *s, const organ_error *fault, organ_error *error)
{
    return organ_fail_errno(error, fault->errnum, "%s: cannot store %llu bytes of hidden states (--scratch)",
                            s->file.path, (unsigned long long)organ_calibration_states_bytes(&s->chunks));
}

/* Returns s->one, NULL on error. The first call reserves disk space. A chunk that was never put back is not read:
 * its values are undefined. The system is advised that this rank's next chunk will be read. */
static float *read_chunk(organ_calibration_states *s, size_t chunk, organ_error *error)
{
    const size_t bytes = chunk_bytes(&s->chunks, chunk), position = position_of(&s->chunks, chunk),
                 next = chunk + s->chunks.step;
    organ_error fault = {0};
    if (!s->reserved &&
        organ_direct_reserve(&s->file, organ_calibration_states_bytes(&s->chunks), &fault) != ORGAN_OK) {
        file_failed(s, &fault, error);
        return NULL;
    }
    s->reserved = true;
    if (position >= s->stored)
        return s->one;
    if (organ_scratch_read(&s->file, s->one, bytes, chunk_offset(&s->chunks, chunk), error) != ORGAN_OK)
        return NULL;
    if (next < organ_calibration_chunks_count(&s->chunks))
        organ_scratch_announce(&s->file, chunk_bytes(&s->chunks, next), chunk_offset(&s->chunks, next));
    if (XXH3_64bits(s->one, bytes) == s->digests[position])
        return s->one;
    organ_fail_errno(error, EIO, "%s: %zu bytes of hidden states (--scratch) differ from the written ones",
                     s->file.path, bytes);
    return NULL;
}

static organ_status write_chunk(organ_calibration_states *s, size_t chunk, organ_error *error)
{
    const size_t bytes = chunk_bytes(&s->chunks, chunk), position = position_of(&s->chunks, chunk);
    organ_error fault = {0};
    if (organ_direct_write(&s->file, s->one, bytes, chunk_offset(&s->chunks, chunk), &fault) != ORGAN_OK)
        return file_failed(s, &fault, error);
    s->digests[position] = XXH3_64bits(s->one, bytes);
    s->stored = position >= s->stored ? position + 1 : s->stored;
    return error->status;
}

float *organ_calibration_states_take(organ_calibration_states *s, size_t chunk, organ_error *error)
{
    return s->all ? (float *)(void *)(s->all + chunk_offset(&s->chunks, chunk)) : read_chunk(s, chunk, error);
}

organ_status organ_calibration_states_put_back(organ_calibration_states *s, size_t chunk, organ_error *error)
{
    return s->all ? error->status : write_chunk(s, chunk, error);
}

float *organ_calibration_states_copy(organ_calibration_states *s, size_t chunk, organ_error *error)
{
    if (!s->all)
        return read_chunk(s, chunk, error);
    return memcpy(s->one, s->all + chunk_offset(&s->chunks, chunk), chunk_bytes(&s->chunks, chunk));
}
