/* SPDX-License-Identifier: MIT
 * Runs a number of tasks on all workers: each worker takes the next task until none is left. */
#ifndef ORGAN_SHARE_H
#define ORGAN_SHARE_H

#include <organ/stream.h>

/* The first error of the tasks of a call of organ_share. */
typedef struct organ_first_fault {
    organ_error *error; /* the caller's; read it when all tasks have returned */
    bool found;         /* a task has failed; atomic */
} organ_first_fault;

/* Returns whether a task has called organ_fault_keep; tasks that begin later may then return at once. */
static inline bool organ_fault_found(const organ_first_fault *first)
{
    return __atomic_load_n(&first->found, __ATOMIC_RELAXED);
}

/* Copies the error of a task to first->error, unless another task has failed before. */
static inline void organ_fault_keep(organ_first_fault *first, const organ_error *error)
{
    if (!__atomic_exchange_n(&first->found, true, __ATOMIC_RELAXED))
        *first->error = *error;
}

/* Calls task(context, k, worker) once for each k below `count`, on any worker, in any order, and returns when all calls
 * have returned. If a stop is requested through `stop` (NULL: never), tasks that no worker has taken are skipped. A
 * single task runs on the calling thread, as worker 0. */
void organ_share(const organ_engine *engine, const organ_stop *stop, size_t count,
                 void (*task)(void *context, size_t index, size_t worker), void *context);

/* Calls task(context, k, worker, error) for each k below `count`, always on a worker, and returns when all calls have
 * returned: for tasks that read or write tensors. Tasks begin in ascending order, and none begins after one has failed
 * or a stop was requested through engine->stop. Returns the error of the failed task with the lowest index, for any
 * number of workers, or ORGAN_INTERRUPTED. */
organ_status organ_share_try(const organ_engine *engine, size_t count,
                             organ_status (*task)(void *context, size_t index, size_t worker, organ_error *error),
                             void *context, organ_error *error);

/* Costs for the argument `work` of organ_share_work. Its unit is about one multiplication of a matrix product, of which
 * a thread does ten or more per nanosecond. Reading, adding or comparing a number costs ORGAN_SHARE_NUMBER units; exp
 * or sorting costs ORGAN_SHARE_HARD units per number. */
enum { ORGAN_SHARE_NUMBER = 8, ORGAN_SHARE_HARD = 64 };

/* Calls the tasks like organ_share, but all on the calling thread, as worker 0, if `work`, the cost of all tasks
 * together, is less than a quarter of a million units: waking two workers and waiting for them takes 15 to 25
 * microseconds, and longer for more workers. */
void organ_share_work(const organ_engine *engine, const organ_stop *stop, size_t count, double work,
                      void (*task)(void *context, size_t index, size_t worker), void *context);

#endif
