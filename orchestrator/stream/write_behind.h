/* SPDX-License-Identifier: MIT
 * Writes behind the workers: a worker fills a buffer and goes on, while a thread waits for the disk. Each worker has
 * one file open at a time, which must exist. */
#ifndef ORGAN_STREAM_WRITE_BEHIND_H
#define ORGAN_STREAM_WRITE_BEHIND_H

#include "orchestrator/stream/direct_file.h"

typedef struct organ_behind organ_behind;

#define ORGAN_BEHIND_BYTES                                                                                             \
    ((size_t)3 << 20)                         /* upper bound on the memory that organ_behind_write takes for a worker  \
                                               */
#define ORGAN_BEHIND_SHORT ((size_t)64 << 10) /* a shorter write is not worth the change of thread */

/* The first open file with direct access starts a writing thread for each worker; without `threads` the workers write.
 * Returns ORGAN_IO if memory is refused; *behind is then NULL. If threads are refused, writing fails with ORGAN_IO. */
organ_status organ_behind_create(size_t workers, bool threads, organ_behind **behind, organ_error *error);

/* A write of bytes that stay as they are until it has ended. All zero: it has ended. */
typedef struct organ_behind_part {
    organ_queued_write queued; /* first member: writers have a pointer to it */
    struct behind_lane *lane;
    const void *data;
    size_t bytes;
    uint64_t offset;
    bool queues;       /* a writer has it; protected by the lock of the lane */
    organ_error error; /* of the write */
} organ_behind_part;

/* Begins to write bytes at `offset` of the file `path`, which must stay valid until the next write or
 * organ_behind_destroy. Workers may call it at the same time, each with its own number; ranges must not overlap. */
void organ_behind_begin(organ_behind *behind, size_t worker, organ_behind_part *part, const char *path,
                        const void *data, size_t bytes, uint64_t offset);
/* Waits until the write has ended; any thread may call it after organ_behind_begin. Returns ORGAN_IO if it failed or
 * the file could not be opened. */
organ_status organ_behind_await(organ_behind_part *part, organ_error *error);

/* Like organ_behind_begin for a copy of the bytes, which joins those before it to longer writes. `path` must stay valid
 * until organ_behind_destroy. Returns ORGAN_IO if the file cannot be opened, or if this or an earlier write of the
 * worker failed. */
organ_status organ_behind_write(organ_behind *behind, size_t worker, const char *path, const void *data, size_t bytes,
                                uint64_t offset, organ_error *error);

/* Waits until the file has all bytes that this worker passed to organ_behind_write. Returns ORGAN_IO if one of its
 * writes failed. */
organ_status organ_behind_wait(organ_behind *behind, size_t worker, organ_error *error);

/* Ends the threads after they have written everything. NULL is allowed. */
void organ_behind_destroy(organ_behind *behind);

#endif
