/* SPDX-License-Identifier: MIT
 * Tasks that all workers take from one row. */
#ifndef ORGAN_SHARE_H
#define ORGAN_SHARE_H

#include "orchestrator/stream/pass.h"

/* The first fault of tasks that all workers take. */
typedef struct organ_first_fault {
    organ_error *error; /* for who waits for the tasks: to be read when all have returned */
    bool found;
} organ_first_fault;

/* Whether there is one: then what is left to do is of no use. */
static inline bool organ_fault_found(const organ_first_fault *first) { return __atomic_load_n(&first->found, __ATOMIC_RELAXED); }

static inline void organ_fault_keep(organ_first_fault *first, const organ_error *error)
{
    if (!__atomic_exchange_n(&first->found, true, __ATOMIC_RELAXED))
        *first->error = *error;
}

/* Calls task(context, k, worker) once for each k below `count`, on any worker, in any order, and returns when all have returned. Where
 * `stop` is asked, tasks that no worker has taken are left out; NULL never asks. */
void organ_share(const organ_engine *engine, const organ_stop *stop, size_t count, void (*task)(void *context, size_t index, size_t worker),
                 void *context);

#endif
