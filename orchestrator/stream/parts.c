/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/stream_parts.h"

#include "formats/base/activity.h"
#include "formats/base/owned.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/machine/workers.h"

typedef struct parts_run {
    const organ_parts *parts;
    const organ_stop *stop;
    size_t run, workers, window;
    bool *done;           /* part k has entry k % window; NULL: parts are not retired */
    pthread_mutex_t lock; /* protects the members below, and `done` */
    pthread_cond_t more;  /* wakes workers: the window has room, or no part will follow */
    pthread_cond_t ended; /* wakes the calling thread: the next part to retire is done, or a worker has returned */
    size_t taken, retired;
    size_t working;    /* workers that have not returned */
    bool all;          /* no part is left */
    size_t failed;     /* the lowest part that failed; valid if `error` is set */
    organ_error error; /* of that part */
} parts_run;

/* The caller holds the lock. */
static void keep_error(parts_run *r, size_t part, const organ_error *error)
{
    if (r->error.status && r->failed <= part)
        return;
    r->error = *error;
    r->failed = part;
    pthread_cond_broadcast(&r->more);
}

/* Sets *end after the last of up to `run` parts. The caller holds the lock. */
static void take_parts(parts_run *r, size_t *end)
{
    const organ_parts *const p = r->parts;
    for (size_t k = 0; k < r->run && !r->all; k++) {
        r->all = r->taken == p->count || (p->take && !p->take(p->context, r->taken));
        r->taken += !r->all;
    }
    *end = r->taken;
    r->all = r->all || r->taken == p->count;
    if (r->all)
        pthread_cond_broadcast(&r->more);
}

/* Parts [*next, *end) are those that this worker took and has not begun. A worker that took several finishes those
 * before a part that failed. */
static bool next_part(parts_run *r, size_t *next, size_t *end)
{
    ORGAN_DURING(ORGAN_WAITING);
    ORGAN_LOCKED(&r->lock);
    while (*next == *end && r->done && !r->all && !r->error.status && !organ_stop_is_requested(r->stop) &&
           r->taken + r->run > r->retired + r->window)
        pthread_cond_wait(&r->more, &r->lock);
    const bool stopped = organ_stop_is_requested(r->stop);
    if (*next == *end && !r->all && !r->error.status && !stopped) {
        *next = r->taken;
        take_parts(r, end);
    }
    const bool any = *next < *end && !(r->error.status && *next >= r->failed) && !stopped;
    if (!any) {
        r->working--;
        pthread_cond_broadcast(&r->more);
        pthread_cond_signal(&r->ended);
    }
    return any;
}

static void work_on_parts(void *context, size_t worker)
{
    parts_run *const r = context;
    if (worker >= r->workers)
        return;
    for (size_t next = 0, end = 0; next_part(r, &next, &end); next++) {
        organ_error error = {0};
        const organ_status status = r->parts->work(r->parts->context, next, worker, &error);
        ORGAN_LOCKED(&r->lock);
        if (status)
            keep_error(r, next, &error);
        else if (r->done) {
            r->done[next % r->window] = true;
            if (next + 1 == end)
                pthread_cond_signal(&r->ended);
        }
    }
    organ_error error = {0};
    if (r->parts->leave && r->parts->leave(r->parts->context, worker, &error)) {
        ORGAN_LOCKED(&r->lock);
        keep_error(r, r->parts->count, &error);
    }
}

/* Runs on the calling thread while the workers work. */
static void retire_parts(parts_run *r)
{
    ORGAN_LOCKED(&r->lock);
    for (;;) {
        const size_t part = r->retired;
        const bool stopped = organ_stop_is_requested(r->stop);
        organ_error error = {0};
        if (!stopped && part < r->taken && !(r->error.status && part >= r->failed) && r->done[part % r->window]) {
            r->done[part % r->window] = false;
            pthread_mutex_unlock(&r->lock);
            r->parts->retire(r->parts->context, part, &error);
            pthread_mutex_lock(&r->lock);
            if (error.status)
                keep_error(r, part, &error);
            r->retired++;
            r->run > 1 ? pthread_cond_broadcast(&r->more) : pthread_cond_signal(&r->more);
        } else if (r->working) {
            if (stopped)
                pthread_cond_broadcast(&r->more);
            organ_condition_wait(&r->ended, &r->lock);
        } else {
            break;
        }
    }
}

static void run_workers(parts_run *r, const organ_engine *engine)
{
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->more, NULL);
    organ_condition_init(&r->ended);
    if (r->done) {
        organ_workers_start(engine->workers, work_on_parts, r);
        retire_parts(r);
        organ_workers_wait(engine->workers);
    } else {
        organ_workers_run(engine->workers, work_on_parts, r);
    }
    pthread_cond_destroy(&r->ended);
    pthread_cond_destroy(&r->more);
    pthread_mutex_destroy(&r->lock);
}

organ_status organ_parts_run(const organ_parts *parts, const organ_engine *engine, organ_error *error)
{
    const size_t workers = organ_workers_count(engine->workers);
    parts_run r = {.parts = parts,
                   .stop = engine->stop,
                   .run = organ_max(parts->run, 1),
                   .workers = parts->workers ? organ_min(parts->workers, workers) : workers,
                   .window = parts->window ? parts->window : parts->count};
    r.working = r.workers;
    if (!parts->count)
        return ORGAN_OK;
    if (parts->retire && !(r.done = calloc(r.window, sizeof *r.done)))
        return organ_fail_memory(error, "the parts of a work");
    run_workers(&r, engine);
    free(r.done);
    if (r.error.status)
        *error = r.error;
    else if (!r.all || (parts->retire && r.retired < r.taken))
        organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    return error->status;
}
