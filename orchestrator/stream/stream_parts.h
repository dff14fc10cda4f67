/* SPDX-License-Identifier: MIT
 * Work in numbered parts. Workers take parts in ascending order and finish those that they took; the calling thread
 * retires finished parts in the same order. So sums that are folded as parts are retired have the same bits for any
 * number of workers, and so has the error: it is that of the lowest part that failed. */
#ifndef ORGAN_STREAM_PARTS_H
#define ORGAN_STREAM_PARTS_H

#include <organ/stream.h>

/* The parts and the callbacks of a work. */
typedef struct organ_parts {
    size_t count;   /* number of parts; with `take` an upper bound */
    size_t workers; /* workers with a lower number take parts; 0: all workers */
    size_t window;  /* most parts that are taken and not retired, at least `run`; 0: `count` */
    size_t run;     /* consecutive parts that a worker takes at once; 0: 1 */
    void *context;  /* first argument of the callbacks */
    /* Prepares a part for the worker that takes it; calls are in the order of the parts, one at a time. Returns false
     * if there is no such part. May be NULL. */
    bool (*take)(void *context, size_t part);
    /* Does a part. Called on any worker, in any order. */
    organ_status (*work)(void *context, size_t part, size_t worker, organ_error *error);
    /* Ends the work of a worker that gets no further part, also after a fault or a stop. An error counts as that of a
     * part after the last. May be NULL. */
    organ_status (*leave)(void *context, size_t worker, organ_error *error);
    /* Receives a finished part on the thread that runs organ_parts_run. NULL: parts are not retired. */
    organ_status (*retire)(void *context, size_t part, organ_error *error);
} organ_parts;

/* Runs the parts, always on workers, and returns when all calls have returned. No part begins after one has failed or a
 * stop was requested through engine->stop. All parts before one that failed are retired, none after a stop. Returns the
 * error of the lowest part that failed, or ORGAN_INTERRUPTED; ORGAN_IO if memory for the window cannot be allocated. */
organ_status organ_parts_run(const organ_parts *parts, const organ_engine *engine, organ_error *error);

#endif
