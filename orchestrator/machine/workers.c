/* SPDX-License-Identifier: MIT */
#include <organ/machine.h>

#include "orchestrator/machine/thread.h"
#include "orchestrator/machine/work_account.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>

enum { STACK_BYTES = 8 << 20 }; /* stack of each thread of the pool */

typedef struct member {
    organ_workers *pool;
    pthread_t thread;
    organ_place place; /* CPU and memory node on which the thread should run */
    bool pinned;       /* it is bound to its CPU */
} member;

struct organ_workers {
    const organ_topology *topology;
    member *members;      /* [number of threads]; the index is the number of the worker */
    size_t count;         /* number of running threads */
    size_t pinned;        /* number of threads bound to a CPU */
    pthread_mutex_t lock; /* protects the members below */
    /* `begun` wakes the threads: a round begins or the pool closes. `finished`: all threads have finished the round */
    pthread_cond_t begun, finished;
    void (*work)(void *context, size_t worker); /* of the current round, with its argument */
    void *context;
    unsigned long round;            /* number of calls of organ_workers_start so far */
    size_t busy;                    /* members that have not finished this round */
    organ_activity_sums activities; /* of the members that have finished this round */
    bool closing;                   /* organ_workers_destroy was called */
};

static void *serve_rounds(void *argument)
{
    const member *self = argument;
    organ_workers *pool = self->pool;
    const size_t worker = (size_t)(self - pool->members);
    unsigned long done = 0;
    organ_activity_clock clock = {0};
    prctl(PR_SET_NAME, "worker"); /* for top, debuggers and tests */
    organ_activity_attach(&clock, ORGAN_WAITING);
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->round == done && !pool->closing)
            pthread_cond_wait(&pool->begun, &pool->lock);
        if (pool->round == done)
            break;
        done = pool->round;
        void (*work)(void *, size_t) = pool->work;
        void *context = pool->context;
        pthread_mutex_unlock(&pool->lock);
        organ_activity_begin(ORGAN_COMPUTING);
        clock.sums = (organ_activity_sums){0};
        work(context, worker);
        organ_activity_begin(ORGAN_WAITING);
        pthread_mutex_lock(&pool->lock);
        organ_activity_add(&pool->activities, &clock.sums);
        if (--pool->busy == 0)
            pthread_cond_signal(&pool->finished);
    }
    pthread_mutex_unlock(&pool->lock);
    organ_activity_attach(NULL, ORGAN_WAITING);
    return NULL;
}

/* organ_workers_create runs this on all threads as the first round. */
static void pin_member(void *context, size_t worker)
{
    organ_workers *pool = context;
    member *self = &pool->members[worker];
    self->pinned = organ_topology_bind(pool->topology, self->place);
}

/* Stops at the first thread that cannot be started. Returns 0 or an errno. */
static int start_threads(organ_workers *pool, size_t threads)
{
    pthread_attr_t attributes;
    int fault = pthread_attr_init(&attributes);
    if (fault)
        return fault;
    fault = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    while (!fault && pool->count < threads) {
        member *next = &pool->members[pool->count];
        fault = organ_thread_create(&next->thread, &attributes, serve_rounds, next);
        if (!fault)
            pool->count++;
    }
    pthread_attr_destroy(&attributes);
    return fault;
}

static organ_workers *prepare_pool(const organ_topology *topology, size_t threads)
{
    organ_workers *pool = calloc(1, sizeof *pool);
    member *members = calloc(threads, sizeof *members);
    organ_place *places = calloc(threads, sizeof *places);
    if (!pool || !members || !places) {
        free(pool);
        free(members);
        free(places);
        return NULL;
    }
    organ_topology_place(topology, threads, places);
    for (size_t k = 0; k < threads; k++)
        members[k] = (member){.pool = pool, .place = places[k]};
    free(places);
    pool->topology = topology;
    pool->members = members;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->begun, NULL);
    pthread_cond_init(&pool->finished, NULL);
    return pool;
}

organ_status organ_workers_create(const organ_topology *topology, size_t threads, organ_workers **workers,
                                  organ_error *error)
{
    *workers = NULL;
    if (threads == 0)
        threads = organ_topology_cores(topology);
    organ_workers *pool = prepare_pool(topology, threads);
    if (!pool)
        return organ_fail_errno(error, ENOMEM, "%zu worker threads", threads);
    const int fault = start_threads(pool, threads);
    if (fault) {
        const size_t started = pool->count;
        organ_workers_destroy(pool);
        return organ_fail_errno(error, fault,
                                "%zu worker threads: only %zu could be started (memory, or a limit on threads)",
                                threads, started);
    }
    organ_workers_run(pool, pin_member, pool);
    for (size_t k = 0; k < threads; k++)
        pool->pinned += pool->members[k].pinned;
    *workers = pool;
    return ORGAN_OK;
}

void organ_workers_destroy(organ_workers *workers)
{
    if (!workers)
        return;
    pthread_mutex_lock(&workers->lock);
    workers->closing = true;
    pthread_cond_broadcast(&workers->begun);
    pthread_mutex_unlock(&workers->lock);
    for (size_t k = 0; k < workers->count; k++)
        pthread_join(workers->members[k].thread, NULL);
    pthread_cond_destroy(&workers->finished);
    pthread_cond_destroy(&workers->begun);
    pthread_mutex_destroy(&workers->lock);
    free(workers->members);
    free(workers);
}

size_t organ_workers_count(const organ_workers *workers) { return workers->count; }
size_t organ_workers_pinned(const organ_workers *workers) { return workers->pinned; }
organ_place organ_workers_place(const organ_workers *workers, size_t worker) { return workers->members[worker].place; }

void organ_workers_start(organ_workers *workers, void (*work)(void *context, size_t worker), void *context)
{
    organ_work_run_begin();
    pthread_mutex_lock(&workers->lock);
    workers->work = work;
    workers->context = context;
    workers->busy = workers->count;
    workers->activities = (organ_activity_sums){0};
    workers->round++;
    pthread_cond_broadcast(&workers->begun);
    pthread_mutex_unlock(&workers->lock);
}

void organ_workers_wait(organ_workers *workers)
{
    pthread_mutex_lock(&workers->lock);
    while (workers->busy > 0)
        pthread_cond_wait(&workers->finished, &workers->lock);
    pthread_mutex_unlock(&workers->lock);
    organ_work_run_end(workers->count, &workers->activities);
}

void organ_workers_run(organ_workers *workers, void (*work)(void *context, size_t worker), void *context)
{
    organ_workers_start(workers, work, context);
    organ_workers_wait(workers);
}
