/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/share.h"

#include <math.h>

#define GRAIN 0x1p18 /* units of work below which tasks run on the calling thread; share.h has the reason */

/* The arguments and the state of a call of organ_share_work. */
typedef struct sharing {
    const organ_stop *stop;
    size_t count, next; /* number of tasks; first task that no worker has taken, atomic */
    void (*task)(void *context, size_t index, size_t worker);
    void *context;
} sharing;

/* Runs tasks on a worker until none is left or a stop is requested. */
static void run_share(void *context, size_t worker)
{
    sharing *const s = context;
    for (size_t k;
         !organ_stop_is_requested(s->stop) && (k = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED)) < s->count;)
        s->task(s->context, k, worker);
}

/* Runs tasks 0 .. count - 1 on all workers. Runs them on this thread, as worker 0, if there is one task or `work` is
 * below GRAIN. */
void organ_share_work(const organ_engine *engine, const organ_stop *stop, size_t count, double work,
                      void (*task)(void *context, size_t index, size_t worker), void *context)
{
    sharing s = {.stop = stop, .count = count, .task = task, .context = context};
    if (count <= 1 || work < GRAIN)
        run_share(&s, 0);
    else
        organ_workers_run(engine->workers, run_share, &s);
}

/* Runs tasks on all workers like organ_share_work, whatever their cost. */
void organ_share(const organ_engine *engine, const organ_stop *stop, size_t count,
                 void (*task)(void *context, size_t index, size_t worker), void *context)
{
    organ_share_work(engine, stop, count, INFINITY, task, context);
}
