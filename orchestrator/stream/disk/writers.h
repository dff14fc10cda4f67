/* SPDX-License-Identifier: MIT
 * Threads that wait in writes, so that the workers can go on. A write with O_DIRECT returns when the device has the
 * bytes. The threads share one queue: each takes the write that was queued first. */
#ifndef ORGAN_WRITERS_H
#define ORGAN_WRITERS_H

#include <organ/base.h>

#include <stddef.h>

typedef struct organ_writers organ_writers;

/* A write in the queue: the first member of the caller's own structure. */
typedef struct organ_queued_write {
    struct organ_queued_write *next; /* used by the writers */
} organ_queued_write;

/* Starts `count` threads. `write` carries out a write and then notes in the structure of the caller that it has ended;
 * several threads call it at the same time, with `context` as first argument. Returns ORGAN_IO if the system refuses a
 * thread or memory; *writers is then NULL. */
organ_status organ_writers_create(size_t count, void (*write)(void *context, organ_queued_write *queued), void *context,
                                  organ_writers **writers, organ_error *error);

/* Queues a write, which must exist until `write` is called with it. The clock of the calling thread (formats/base/
 * activity.h) counts its `bytes` as written, because the writers have no clocks. Thread-safe. */
void organ_writers_queue(organ_writers *writers, organ_queued_write *queued, size_t bytes);

/* Ends the threads after they have carried out all queued writes. NULL is allowed. */
void organ_writers_destroy(organ_writers *writers);

#endif
