/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/share.h"

#include <math.h>
#include <pthread.h>

#define GRAIN 0x1p18 /* units of work below which tasks run on the calling thread; share.h has the reason */

typedef struct sharing {
    const organ_stop *stop;
    size_t count, next; /* number of tasks; first task that no worker has taken, atomic */
    void (*task)(void *context, size_t index, size_t worker);
    void *context;
} sharing;

static void run_share(void *context, size_t worker)
{
    sharing *const s = context;
    for (size_t k;
         !organ_stop_is_requested(s->stop) && (k = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED)) < s->count;)
        s->task(s->context, k, worker);
}

void organ_share_work(const organ_engine *engine, const organ_stop *stop, size_t count, double work,
                      void (*task)(void *context, size_t index, size_t worker), void *context)
{
    sharing s = {.stop = stop, .count = count, .task = task, .context = context};
    if (count <= 1 || work < GRAIN)
        run_share(&s, 0);
    else
        organ_workers_run(engine->workers, run_share, &s);
}

void organ_share(const organ_engine *engine, const organ_stop *stop, size_t count,
                 void (*task)(void *context, size_t index, size_t worker), void *context)
{
    organ_share_work(engine, stop, count, INFINITY, task, context);
}

typedef struct share_attempt {
    const organ_stop *stop;
    organ_status (*task)(void *context, size_t index, size_t worker, organ_error *error);
    void *context;
    pthread_mutex_t lock; /* protects the members below */
    size_t count, next;   /* number of tasks; first task that no worker has taken */
    size_t failed;        /* lowest index of a task that failed; valid if `error` is set */
    organ_error error;    /* of that task */
} share_attempt;

static bool take_attempt(share_attempt *s, size_t *index)
{
    pthread_mutex_lock(&s->lock);
    const bool go = s->next < s->count && !s->error.status && !organ_stop_is_requested(s->stop);
    *index = go ? s->next++ : 0;
    pthread_mutex_unlock(&s->lock);
    return go;
}

/* Keeps the error of the lowest task that fails. A task that was taken is finished, so the lowest failing task is
 * always tried. */
static void run_attempts(void *context, size_t worker)
{
    share_attempt *const s = context;
    for (size_t k; take_attempt(s, &k);) {
        organ_error error = {0};
        if (s->task(s->context, k, worker, &error) == ORGAN_OK)
            continue;
        pthread_mutex_lock(&s->lock);
        if (!s->error.status || k < s->failed) {
            s->error = error;
            s->failed = k;
        }
        pthread_mutex_unlock(&s->lock);
    }
}

organ_status organ_share_try(const organ_engine *engine, size_t count,
                             organ_status (*task)(void *context, size_t index, size_t worker, organ_error *error),
                             void *context, organ_error *error)
{
    share_attempt s = {.stop = engine->stop, .count = count, .task = task, .context = context};
    if (!count)
        return ORGAN_OK;
    pthread_mutex_init(&s.lock, NULL);
    organ_workers_run(engine->workers, run_attempts, &s);
    pthread_mutex_destroy(&s.lock);
    if (s.error.status)
        *error = s.error;
    else if (s.next < count)
        organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    return error->status;
}
