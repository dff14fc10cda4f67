/* SPDX-License-Identifier: MIT
 * Creates threads that block signals, waits for conditions with a time limit, and names the CPU. */
#ifndef ORGAN_MACHINE_WORKERS_H
#define ORGAN_MACHINE_WORKERS_H

#include "formats/base/activity.h"

#include <organ/machine.h>
#include <pthread.h>
#include <stdbool.h>

/* Calls pthread_create for a thread that blocks signals, so that they are delivered to the creating thread. Faults
 * (SIGSEGV, ...) are not blocked, so that a debugger or sanitizer reports them where they happen. `attributes` may be
 * NULL. Returns 0 or an errno. */
int organ_thread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *context),
                        void *context);

/* Initialises a condition for organ_condition_wait, which needs a monotonic clock. */
void organ_condition_init(pthread_cond_t *condition);

/* Waits on the condition for at most a fifth of a second, so that the caller can check for a request to stop. The
 * caller holds the lock and tests its condition again afterwards. */
void organ_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock);

/* Runs work(context, k) like organ_workers_run, but only on workers k < count; the others are not woken. `count` is at
 * least 1. Workers wake each other, each one as long as left(context) returns true; NULL: all `count` are woken. */
void organ_workers_run_some(organ_workers *workers, size_t count, bool (*left)(const void *context),
                            void (*work)(void *context, size_t worker), void *context);

/* Calls work(context, k, team) once for each k below `count`, several of them at the same time on threads of `workers`,
 * in the order of k. `team` are workers of the piece k, sizes[k] of them (at least 1), for organ_workers_run and the
 * other functions of runs: its runs take place on the thread that calls `work`, and on threads of `workers` that have
 * nothing to do, so a run of one piece does not wait for those of others. Tasks of a team's run may not begin runs.
 * Returns when all calls have returned. Returns ORGAN_IO, and calls nothing, if memory cannot be allocated. */
organ_status organ_workers_run_teams(organ_workers *workers, const size_t *sizes, size_t count,
                                     void (*work)(void *context, size_t k, organ_workers *team), void *context,
                                     organ_error *error);

/* Divides the workers among pieces of work for organ_workers_run_teams. costs[k] > 0 is the work of piece k, relative
 * to that of the others. Sets `order` to the pieces by falling cost, so that the last ones to begin are short, and
 * sizes[k] to the size of the team of piece order[k]: its share of `places` times the workers, from 1 to all of them.
 */
void organ_workers_divide(const organ_workers *workers, const double *costs, size_t count, unsigned places,
                          size_t *order, size_t *sizes);

/* Returns the name of the CPU, such as "AMD EPYC 9554", or NULL if it is unknown. Owned by the topology. */
const char *organ_topology_cpu(const organ_topology *topology);

/* ---- accounts of time ---- */

/* An account has how the worker threads spent the runs of organ_workers_run, and what the thread that calls them did in
 * between. It belongs to the calling thread; the pool adds its workers' sums. */

/* Phases of a forward pass. A phase that begins within another one interrupts it. */
typedef enum organ_phase {
    ORGAN_PHASE_OTHER, /* the first one: outside of all others */
    ORGAN_PHASE_LOADING,
    ORGAN_PHASE_NORMS,
    ORGAN_PHASE_MIXERS, /* what is none of the next two */
    ORGAN_PHASE_MIXER_PRODUCTS,
    ORGAN_PHASE_ATTENTION_SCORES,
    ORGAN_PHASE_FEED_FORWARD,
    ORGAN_PHASE_HEAD,
    ORGAN_PHASES /* their number */
} organ_phase;

typedef struct organ_phase_times {
    uint64_t time;      /* duration of the phase */
    uint64_t computing; /* time in which workers computed, in runs of the phase */
} organ_phase_times;

/* Figures of the time between two moments. Times are nanoseconds. */
typedef struct organ_work_account {
    organ_activity_sums workers; /* of all workers, within runs. The rest of `offered` was ORGAN_WAITING too */
    organ_activity_sums serial;  /* of the calling thread, outside of runs: one thread works, all workers are idle */
    organ_activity_sums beside;  /* of the calling thread during runs, for example while it waits for the workers */
    uint64_t runs;               /* number of runs */
    uint64_t offered;            /* sum over runs of the run's duration times its workers */
    uint64_t in_runs;            /* sum over runs of their durations */
    uint64_t time;               /* duration of all of it */
    uint64_t processor;          /* processor time of the process, all threads */
    uint64_t serial_processor;   /* processor time of the calling thread outside of runs */
    organ_phase_times phases[ORGAN_PHASES];
} organ_work_account;

/* A piece of work that has begun on this thread. */
typedef struct organ_work {
    organ_work_account outer; /* state of the surrounding work */
    bool within;              /* there is a surrounding work */
} organ_work;

/* Begins a piece of work on this thread; works may be nested, and the surrounding one counts all of an inner one. It is
 * ended by organ_work_end on the same thread. */
organ_work organ_work_begin(void);
void organ_work_end(const organ_work *work);

/* Sets *account to the figures since the innermost open work of this thread began; to zeros outside of any work.
 * No run may be active. */
void organ_work_account_take(organ_work_account *account);

/* Begins a phase in the account of this thread, if a work is open, and returns the phase before it. */
organ_phase organ_phase_begin(organ_phase to);
organ_phase organ_phase_now(void);

static inline void organ_phase_end(const organ_phase *before) { organ_phase_begin(*before); }

/* A statement that begins a phase, which lasts until the end of its block. */
#define ORGAN_IN_PHASE(to)                                                                                             \
    const organ_phase organ_phase_before __attribute__((cleanup(organ_phase_end), unused)) = organ_phase_begin(to)

/* Returns the seconds since the outermost open work of this thread began; 0 outside of any work. */
double organ_work_seconds(void);

#endif
