/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/workers.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#define SECOND    1000000000 /* nanoseconds */
#define MAX_PAUSE (SECOND / 5)

/* A thread inherits the signal mask of its creator, which is changed only during pthread_create. */
int organ_thread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *context), void *context)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t held, before;
    sigfillset(&held);
    for (size_t k = 0; k < sizeof faults / sizeof faults[0]; k++)
        sigdelset(&held, faults[k]);
    pthread_sigmask(SIG_SETMASK, &held, &before);
    const int fault = pthread_create(thread, attributes, run, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return fault;
}

void organ_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void organ_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += MAX_PAUSE;
    until.tv_sec += until.tv_nsec / SECOND;
    until.tv_nsec %= SECOND;
    pthread_cond_timedwait(condition, lock, &until);
}

/* The account of this thread. Its totals grow from the begin of the outermost work on; the figures of a work are the
 * difference to `start`. */
static _Thread_local struct {
    bool open, running;                  /* a work is open; a run is active */
    organ_work_account total, start;     /* until now, and when the innermost work began */
    organ_activity_clock serial, beside; /* clocks of this thread, outside of runs and during them */
    organ_activity_clock *former;        /* the clock that this thread had before the outermost work */
    uint64_t run_began;                  /* by organ_activity_time */
    uint64_t serial_since;               /* processor time of this thread up to which serial_processor is counted */
    uint64_t first;                      /* when the outermost work began, by organ_activity_time */
    organ_phase phase;
    uint64_t phase_since; /* by organ_activity_time */
} here;

static uint64_t processor_time(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void turn_phase(organ_phase to, uint64_t time)
{
    here.total.phases[here.phase].time += time - here.phase_since;
    here.phase = to;
    here.phase_since = time;
}

organ_phase organ_phase_now(void) { return here.phase; }

organ_phase organ_phase_begin(organ_phase to)
{
    const organ_phase before = here.phase;
    if (here.open && to != before)
        turn_phase(to, organ_activity_time());
    return before;
}

static void bring_up_to_date(void)
{
    organ_work_account *const t = &here.total;
    t->time = organ_activity_time();
    turn_phase(here.phase, t->time);
    t->processor = processor_time(CLOCK_PROCESS_CPUTIME_ID);
    if (!here.running) {
        const uint64_t processor = processor_time(CLOCK_THREAD_CPUTIME_ID);
        t->serial_processor += processor - here.serial_since;
        here.serial_since = processor;
        organ_activity_turn(&here.serial, here.serial.now, t->time);
    }
    t->serial = here.serial.sums;
    t->beside = here.beside.sums;
}

organ_work organ_work_begin(void)
{
    const organ_work work = {.outer = here.start, .within = here.open};
    if (!here.open) {
        memset(&here, 0, sizeof here);
        here.open = true;
        here.serial_since = processor_time(CLOCK_THREAD_CPUTIME_ID);
        here.former = organ_activity_attach(&here.serial, ORGAN_COMPUTING);
        here.first = here.phase_since = organ_activity_time();
    }
    bring_up_to_date();
    here.start = here.total;
    return work;
}

void organ_work_end(const organ_work *work)
{
    here.start = work->outer;
    here.open = work->within;
    if (!here.open)
        organ_activity_attach(here.former, ORGAN_COMPUTING);
}

static void subtract_sums(organ_activity_sums *sums, const organ_activity_sums *less)
{
    for (int k = 0; k < ORGAN_ACTIVITIES; k++) {
        sums->spent[k] -= less->spent[k];
        sums->moved[k] -= less->moved[k];
    }
}

void organ_work_account_take(organ_work_account *account)
{
    *account = (organ_work_account){0};
    if (!here.open)
        return;
    bring_up_to_date();
    const organ_work_account *const start = &here.start;
    *account = here.total;
    subtract_sums(&account->workers, &start->workers);
    subtract_sums(&account->serial, &start->serial);
    subtract_sums(&account->beside, &start->beside);
    account->runs -= start->runs;
    account->offered -= start->offered;
    account->in_runs -= start->in_runs;
    account->time -= start->time;
    account->processor -= start->processor;
    account->serial_processor -= start->serial_processor;
    for (size_t k = 0; k < ORGAN_PHASES; k++) {
        account->phases[k].time -= start->phases[k].time;
        account->phases[k].computing -= start->phases[k].computing;
    }
}

double organ_work_seconds(void) { return here.open ? 1e-9 * (double)(organ_activity_time() - here.first) : 0; }

/* Begin and end a run in this thread's account: `workers` threads were at its disposal, and `sums` is the sum of their
 * clocks. Only organ_workers_start and organ_workers_wait call them. */
static void work_run_begin(void)
{
    if (!here.open)
        return;
    here.total.serial_processor += processor_time(CLOCK_THREAD_CPUTIME_ID) - here.serial_since;
    here.running = true;
    organ_activity_attach(&here.beside, ORGAN_COMPUTING);
    here.run_began = here.beside.since;
}

static void work_run_end(size_t workers, const organ_activity_sums *sums)
{
    if (!here.open || !here.running)
        return;
    organ_activity_attach(&here.serial, ORGAN_COMPUTING);
    const uint64_t took = here.serial.since - here.run_began;
    here.running = false;
    here.serial_since = processor_time(CLOCK_THREAD_CPUTIME_ID);
    here.total.runs++;
    here.total.in_runs += took;
    here.total.offered += took * workers;
    here.total.phases[here.phase].computing += sums->spent[ORGAN_COMPUTING];
    organ_activity_add(&here.total.workers, sums);
}

enum { STACK_BYTES = 8 << 20 }; /* stack of each thread of the pool */

typedef struct member {
    organ_workers *pool;
    pthread_t thread;
    organ_place place;              /* CPU and memory node on which the thread should run */
    bool pinned;                    /* it is bound to its CPU */
    sem_t begun;                    /* wakes the thread: a round begins or the pool closes */
    organ_activity_sums activities; /* of its part of the last round */
    bool took_part;                 /* in the last round */
} member;

typedef struct team_board team_board;

/* The members that describe a round are written while no round runs; semaphores order them for the threads. A team
 * (organ_workers_run_teams) has no threads: `board` has the lock of its members. */
struct organ_workers {
    const organ_topology *topology;
    member *members;                            /* the index is the number of the worker */
    size_t room;                                /* number of members */
    size_t count;                               /* number of running threads */
    size_t pinned;                              /* number of threads bound to a CPU */
    sem_t finished;                             /* all threads of the round have finished it */
    bool running;                               /* a round has begun, and organ_workers_wait has not returned */
    void (*work)(void *context, size_t worker); /* of the round, with its argument */
    bool (*left)(const void *context);          /* whether further members are needed; NULL: all are */
    void *context;
    size_t called; /* only members [0, called) may take part in the round */
    size_t busy;   /* members that were woken and have not finished the round; atomic */
    bool closing;  /* organ_workers_destroy was called */
    /* Of a team only: */
    team_board *board;
    size_t claimed; /* members [0, claimed) of the round have begun */
    bool awaited;   /* the thread that began the round waits for `finished` */
    bool alone;     /* the round has one member, which the thread that began it will run */
};

static void sleep_until(sem_t *event)
{
    while (sem_wait(event) && errno == EINTR) /* the calling thread may get signals */
        continue;
}

/* A member that is awake wakes two others, so that no thread wakes all of them, one after the other. */
static void wake_next(organ_workers *pool, size_t worker)
{
    for (size_t k = 2 * worker + 1; k <= 2 * worker + 2 && k < pool->called; k++) {
        if (pool->left && !pool->left(pool->context))
            return;
        __atomic_fetch_add(&pool->busy, 1, __ATOMIC_RELAXED);
        sem_post(&pool->members[k].begun);
    }
}

static void *serve_rounds(void *argument)
{
    member *const self = argument;
    organ_workers *const pool = self->pool;
    const size_t worker = (size_t)(self - pool->members);
    organ_activity_clock clock = {0};
    prctl(PR_SET_NAME, "worker"); /* for top, debuggers and tests */
    organ_activity_attach(&clock, ORGAN_WAITING);
    for (sleep_until(&self->begun); !pool->closing; sleep_until(&self->begun)) {
        wake_next(pool, worker);
        organ_activity_begin(ORGAN_COMPUTING);
        clock.sums = (organ_activity_sums){0};
        pool->work(pool->context, worker);
        organ_activity_begin(ORGAN_WAITING);
        self->activities = clock.sums;
        self->took_part = true;
        if (__atomic_sub_fetch(&pool->busy, 1, __ATOMIC_ACQ_REL) == 0)
            sem_post(&pool->finished);
    }
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
    ORGAN_OWNED organ_place *places = calloc(threads, sizeof *places);
    if (!pool || !members || !places) {
        free(pool);
        free(members);
        return NULL;
    }
    organ_topology_place(topology, threads, places);
    for (size_t k = 0; k < threads; k++) {
        members[k] = (member){.pool = pool, .place = places[k]};
        sem_init(&members[k].begun, /*pshared=*/0, /*value=*/0);
    }
    pool->topology = topology;
    pool->members = members;
    pool->room = threads;
    sem_init(&pool->finished, /*pshared=*/0, /*value=*/0);
    return pool;
}

organ_status organ_workers_create(const organ_topology *topology, size_t threads, organ_workers **workers,
                                  organ_error *error)
{
    ORGAN_OWN_ERROR(error);
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
    organ_workers_wait(workers);
    workers->closing = true;
    for (size_t k = 0; k < workers->count; k++)
        sem_post(&workers->members[k].begun);
    for (size_t k = 0; k < workers->count; k++)
        pthread_join(workers->members[k].thread, NULL);
    for (size_t k = 0; k < workers->room; k++)
        sem_destroy(&workers->members[k].begun);
    sem_destroy(&workers->finished);
    free(workers->members);
    free(workers);
}

size_t organ_workers_count(const organ_workers *workers) { return workers->count; }
size_t organ_workers_pinned(const organ_workers *workers) { return workers->pinned; }
organ_place organ_workers_place(const organ_workers *workers, size_t worker) { return workers->members[worker].place; }

/* ---- teams ---- */

/* Threads of a pool that run pieces of work, and the rounds of these pieces' teams. */
struct team_board {
    pthread_mutex_t lock; /* of all that follows, and of the teams */
    organ_workers *pool;
    organ_workers *teams;
    size_t count, begun, ended; /* pieces of work: all, those that have begun, those that have ended */
    void (*work)(void *context, size_t k, organ_workers *team);
    void *context;
    size_t *idle; /* the members of the pool that sleep */
    size_t idle_count;
    size_t awake;                         /* threads that do not sleep */
    size_t rounds;                        /* rounds of teams that run */
    bool alone;                           /* one thread is awake, and no round runs */
    uint64_t alone_processor, alone_time; /* processor time of the process, and duration, of all times alone */
};

/* Called under the lock after each change of `awake` and `rounds`. The begin of a time is subtracted, its end added. */
static void note_alone(team_board *b)
{
    const bool alone = b->awake == 1 && b->rounds == 0;
    if (alone == b->alone)
        return;
    const uint64_t processor = processor_time(CLOCK_PROCESS_CPUTIME_ID), time = organ_activity_time();
    b->alone = alone;
    b->alone_processor += alone ? -processor : processor;
    b->alone_time += alone ? -time : time;
}

/* Sleeps without the lock. */
static void sleep_on_board(team_board *b, sem_t *event)
{
    b->awake--;
    note_alone(b);
    pthread_mutex_unlock(&b->lock);
    organ_activity_begin(ORGAN_WAITING);
    sleep_until(event);
    organ_activity_begin(ORGAN_COMPUTING);
    pthread_mutex_lock(&b->lock);
    b->awake++;
    note_alone(b);
}

static void wake_idle(team_board *b, size_t most)
{
    for (; most > 0 && b->idle_count > 0; most--)
        sem_post(&b->pool->members[b->idle[--b->idle_count]].begun);
}

/* Returns whether another member of the team is needed in its round. */
static bool has_place(const organ_workers *team)
{
    return team->running && team->claimed < team->called && (!team->left || team->left(team->context));
}

/* Runs the next member of the team's round without the lock. */
static void run_member(team_board *b, organ_workers *team)
{
    const size_t worker = team->claimed++;
    team->busy++;
    pthread_mutex_unlock(&b->lock);
    team->work(team->context, worker);
    pthread_mutex_lock(&b->lock);
    if (--team->busy == 0 && team->awaited)
        sem_post(&team->finished);
}

static void start_team_round(organ_workers *team)
{
    team_board *const b = team->board;
    team->alone = team->called == 1;
    if (team->alone)
        return;
    pthread_mutex_lock(&b->lock);
    team->claimed = 0;
    team->awaited = false;
    team->running = true;
    b->rounds++;
    note_alone(b);
    wake_idle(b, organ_min(team->called - 1, 2));
    pthread_mutex_unlock(&b->lock);
}

/* The calling thread runs members, too. */
static void wait_for_team_round(organ_workers *team)
{
    team_board *const b = team->board;
    if (team->alone) {
        team->alone = false;
        team->work(team->context, 0);
        return;
    }
    pthread_mutex_lock(&b->lock);
    while (has_place(team))
        run_member(b, team);
    team->running = false;
    if (team->busy > 0) {
        team->awaited = true;
        sleep_on_board(b, &team->finished);
    }
    b->rounds--;
    note_alone(b);
    pthread_mutex_unlock(&b->lock);
}

static void begin_piece(team_board *b)
{
    const size_t k = b->begun++;
    pthread_mutex_unlock(&b->lock);
    b->work(b->context, k, &b->teams[k]);
    pthread_mutex_lock(&b->lock);
    if (++b->ended == b->count)
        wake_idle(b, b->idle_count);
}

static organ_workers *team_with_place(const team_board *b)
{
    for (size_t k = 0; k < b->begun; k++)
        if (has_place(&b->teams[k]))
            return &b->teams[k];
    return NULL;
}

/* A thread that joins a round wakes another one if there is a place left. */
static void serve_board(void *context, size_t worker)
{
    team_board *const b = context;
    pthread_mutex_lock(&b->lock);
    b->awake++;
    note_alone(b);
    while (b->ended < b->count) {
        organ_workers *const team = b->begun < b->count ? NULL : team_with_place(b);
        if (b->begun < b->count)
            begin_piece(b);
        else if (team) {
            wake_idle(b, organ_min(team->called - team->claimed - 1, 1));
            run_member(b, team);
        } else {
            b->idle[b->idle_count++] = worker;
            sleep_on_board(b, &b->pool->members[worker].begun);
        }
    }
    b->awake--;
    note_alone(b);
    pthread_mutex_unlock(&b->lock);
}

/* Time in which one thread was awake, between runs of its team, is no time of the run that has ended. */
static void count_alone(const team_board *b)
{
    if (!here.open)
        return;
    here.total.serial_processor += b->alone_processor;
    here.total.in_runs -= b->alone_time;
    here.total.offered -= b->alone_time * b->pool->count;
    here.total.workers.spent[ORGAN_COMPUTING] -= organ_min(b->alone_time, here.total.workers.spent[ORGAN_COMPUTING]);
}

organ_status organ_workers_run_teams(organ_workers *workers, const size_t *sizes, size_t count,
                                     void (*work)(void *context, size_t k, organ_workers *team), void *context,
                                     organ_error *error)
{
    ORGAN_OWNED organ_workers *const teams = calloc(count + 1, sizeof *teams);
    ORGAN_OWNED size_t *const idle = calloc(workers->count, sizeof *idle);
    if (!teams || !idle)
        return organ_fail_errno(error, ENOMEM, "%zu pieces of work", count);
    team_board board = {
        .pool = workers, .teams = teams, .count = count, .work = work, .context = context, .idle = idle};
    pthread_mutex_init(&board.lock, NULL);
    for (size_t k = 0; k < count; k++) {
        teams[k] = (organ_workers){
            .topology = workers->topology, .members = workers->members, .count = sizes[k], .board = &board};
        sem_init(&teams[k].finished, /*pshared=*/0, /*value=*/0);
    }
    organ_workers_run(workers, serve_board, &board);
    count_alone(&board);
    for (size_t k = 0; k < count; k++)
        sem_destroy(&teams[k].finished);
    pthread_mutex_destroy(&board.lock);
    return ORGAN_OK;
}

static void start_round(organ_workers *workers, size_t count, bool (*left)(const void *context),
                        void (*work)(void *context, size_t worker), void *context)
{
    assert(!workers->running && !workers->alone);
    workers->work = work;
    workers->left = left;
    workers->context = context;
    workers->called = organ_min(count, workers->count);
    if (workers->board) {
        start_team_round(workers);
        return;
    }
    work_run_begin();
    workers->running = true;
    workers->busy = 1;
    sem_post(&workers->members[0].begun);
}

void organ_workers_start(organ_workers *workers, void (*work)(void *context, size_t worker), void *context)
{
    start_round(workers, workers->count, NULL, work, context);
}

void organ_workers_wait(organ_workers *workers)
{
    organ_activity_sums sums = {0};
    if (!workers->running && !workers->alone)
        return;
    if (workers->board) {
        wait_for_team_round(workers);
        return;
    }
    sleep_until(&workers->finished);
    workers->running = false;
    for (size_t k = 0; k < workers->called; k++) {
        if (workers->members[k].took_part)
            organ_activity_add(&sums, &workers->members[k].activities);
        workers->members[k].took_part = false;
    }
    work_run_end(workers->count, &sums);
}

void organ_workers_run_some(organ_workers *workers, size_t count, bool (*left)(const void *context),
                            void (*work)(void *context, size_t worker), void *context)
{
    start_round(workers, count, left, work, context);
    organ_workers_wait(workers);
}

void organ_workers_run(organ_workers *workers, void (*work)(void *context, size_t worker), void *context)
{
    organ_workers_run_some(workers, workers->count, NULL, work, context);
}
