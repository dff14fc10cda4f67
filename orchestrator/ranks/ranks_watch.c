/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/thread.h"
#include "orchestrator/ranks/ranks_parts.h"

#include <stdlib.h>

#define POLLS_A_SECOND 5u /* wake-ups of the watch per second: organ_condition_wait waits for a fifth of a second */

static size_t ranks_to_watch(const organ_ranks *ranks) { return ranks->rank ? 1 : ranks->count; }

static bool is_lost(const organ_ranks *ranks) { return __atomic_load_n(&ranks->lost, __ATOMIC_RELAXED); }

static void mark_lost(organ_ranks *ranks) { __atomic_store_n(&ranks->lost, true, __ATOMIC_RELAXED); }

/* A sign of life contains `lost_rank`, the rank that is considered lost, or -1. Sends nothing after
 * organ_watch_hush. */
static void send_beats(organ_ranks *ranks, int lost_rank)
{
    organ_watch *const w = &ranks->watch;
    char why[ORGAN_TRANSPORT_MESSAGE_BYTES] = "";
    pthread_mutex_lock(&w->lock);
    for (size_t r = 0; r < ranks_to_watch(ranks) && !w->hushed && !is_lost(ranks); r++)
        if (r != ranks->rank && (int)r != lost_rank && ranks->transport.beat((int)r, lost_rank, why))
            mark_lost(ranks);
    pthread_mutex_unlock(&w->lock);
}

/* First sends `silent` to the watched ranks: without that, the others would report rank 0 as silent when rank 0 has
 * ended. */
static void abandon_run(organ_ranks *ranks, int silent)
{
    send_beats(ranks, silent);
    __atomic_store_n(&ranks->watch.silent, silent, __ATOMIC_RELEASE);
    mark_lost(ranks);
    ranks->transport.cut();
    organ_stop_request(ranks->stop);
}

static void receive_beats(organ_ranks *ranks)
{
    char why[ORGAN_TRANSPORT_MESSAGE_BYTES] = "";
    for (int from = 0, word = -1; from >= 0 && !is_lost(ranks);) {
        if (ranks->transport.received(&from, &word, why))
            mark_lost(ranks);
        else if (from >= 0 && word >= 0)
            abandon_run(ranks, word);
        else if (from >= 0)
            ranks->watch.naps[from] = 0;
    }
}

/* A rank may be silent for w->seconds + 1 seconds; the extra second is the interval between two signs of life. The
 * watch counts wake-ups instead of time: if this process itself was suspended, it has no wake-ups for that time, and
 * receives the signs that arrived meanwhile before it counts again. */
static void count_silence(organ_ranks *ranks)
{
    organ_watch *const w = &ranks->watch;
    for (size_t r = 0; r < ranks_to_watch(ranks) && !is_lost(ranks); r++)
        if (r != ranks->rank && ++w->naps[r] > (w->seconds + 1) * POLLS_A_SECOND)
            abandon_run(ranks, (int)r);
}

void organ_watch_poll(organ_ranks *ranks, unsigned poll)
{
    if (poll % POLLS_A_SECOND == 0)
        send_beats(ranks, -1);
    receive_beats(ranks);
    count_silence(ranks);
}

static void *run_watch(void *context)
{
    organ_ranks *const ranks = context;
    organ_watch *const w = &ranks->watch;
    bool ending = false;
    for (unsigned poll = 0; !ending && !is_lost(ranks); poll++) {
        organ_watch_poll(ranks, poll);
        pthread_mutex_lock(&w->lock);
        if (!w->ending)
            organ_condition_wait(&w->woken, &w->lock);
        ending = w->ending;
        pthread_mutex_unlock(&w->lock);
    }
    return NULL;
}

organ_status organ_watch_start(organ_ranks *ranks, organ_error *error)
{
    organ_watch *const w = &ranks->watch;
    if (w->seconds == 0)
        return ORGAN_OK;
    w->naps = calloc(ranks->count, sizeof *w->naps);
    if (!w->naps)
        return organ_fail_memory(error, "the ranks");
    const int failed = organ_thread_create(&w->thread, NULL, run_watch, ranks);
    w->runs = failed == 0;
    return failed ? organ_fail_errno(error, failed, "cannot start the thread that listens to the other ranks")
                  : ORGAN_OK;
}

void organ_watch_hush(organ_ranks *ranks)
{
    pthread_mutex_lock(&ranks->watch.lock);
    ranks->watch.hushed = true;
    pthread_mutex_unlock(&ranks->watch.lock);
}

void organ_watch_wait_for_rank_0(organ_ranks *ranks)
{
    const unsigned max = 10, seconds = 2 * ranks->watch.seconds < max ? 2 * ranks->watch.seconds : max;
    if (ranks->rank == 0 || __atomic_load_n(&ranks->watch.silent, __ATOMIC_ACQUIRE) <= 0)
        return;
    organ_stop_clear(
        ranks->stop); /* clears this rank's own request to stop; the next request is the launcher's signal */
    pthread_mutex_lock(&ranks->watch.lock);
    for (unsigned poll = 0; poll < seconds * POLLS_A_SECOND && !organ_stop_is_pending(ranks->stop); poll++)
        organ_condition_wait(&ranks->watch.woken, &ranks->watch.lock);
    pthread_mutex_unlock(&ranks->watch.lock);
}

void organ_watch_end(organ_ranks *ranks)
{
    organ_watch *const w = &ranks->watch;
    if (w->runs) {
        pthread_mutex_lock(&w->lock);
        w->ending = true;
        pthread_cond_signal(&w->woken);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
        receive_beats(ranks); /* receive everything that was sent, before MPI is finalised */
    }
    w->runs = false;
    free(w->naps);
    w->naps = NULL;
}
