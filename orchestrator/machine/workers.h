/* SPDX-License-Identifier: MIT
 * A pool of threads, each bound to a CPU, that run one function together. */
#ifndef ORGAN_WORKERS_H
#define ORGAN_WORKERS_H

#include "formats/base/api.h"
#include "orchestrator/machine/topology.h"

ORGAN_API_BEGIN

typedef struct organ_workers organ_workers;

/* Starts `threads` threads (0: one per core of the topology), each bound to its place if the system allows it.
 * `topology` must outlive the pool. On a synthetic topology no thread is bound. The threads have stacks of 8 MiB and
 * block signals, which are delivered to the caller's threads. Returns ORGAN_IO if a thread or memory is refused; all
 * threads that were started have then ended. */
organ_status organ_workers_create(const organ_topology *topology, size_t threads, organ_workers **workers,
                                  organ_error *error);
void organ_workers_destroy(organ_workers *workers); /* NULL is allowed; waits for the threads */

size_t organ_workers_count(const organ_workers *workers);
size_t organ_workers_pinned(const organ_workers *workers); /* number of threads that could be bound */
organ_place organ_workers_place(const organ_workers *workers, size_t worker); /* CPU and node of a thread */

/* Calls work(context, worker) once on every thread (worker = 0 .. count-1) and returns when all have returned. Not
 * reentrant. */
void organ_workers_run(organ_workers *workers, void (*work)(void *context, size_t worker), void *context);

/* Run `work` in two steps: organ_workers_start starts it on all threads and returns at once; organ_workers_wait
 * returns when the work has returned on all threads. */
void organ_workers_start(organ_workers *workers, void (*work)(void *context, size_t worker), void *context);
void organ_workers_wait(organ_workers *workers);

ORGAN_API_END

#endif
