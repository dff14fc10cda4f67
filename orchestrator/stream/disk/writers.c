/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/disk/writers.h"

#include "formats/base/activity.h"
#include "orchestrator/machine/thread.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>

struct organ_writers {
    void (*write)(void *context, organ_queued_write *queued);
    void *context;
    pthread_mutex_t lock;  /* guards the members below it, except the threads */
    pthread_cond_t queued; /* there is a write, or the threads must end */
    organ_queued_write *first, **end;
    bool closing; /* the threads must end when the queue is empty */
    size_t count; /* threads that were started */
    pthread_t threads[];
};

static void *write_queued(void *context)
{
    organ_writers *const w = context;
    prctl(PR_SET_NAME, "writer");
    pthread_mutex_lock(&w->lock);
    while (w->first || !w->closing) {
        organ_queued_write *const queued = w->first;
        if (!queued) {
            pthread_cond_wait(&w->queued, &w->lock);
            continue;
        }
        if (!(w->first = queued->next))
            w->end = &w->first;
        pthread_mutex_unlock(&w->lock);
        w->write(w->context, queued);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

organ_status organ_writers_create(size_t count, void (*write)(void *context, organ_queued_write *queued), void *context,
                                  organ_writers **writers, organ_error *error)
{
    organ_writers *const w = *writers = calloc(1, sizeof *w + count * sizeof *w->threads);
    int fault = 0;
    if (!w)
        return organ_fail_errno(error, ENOMEM, "cannot allocate the state of %zu writing threads", count);
    w->write = write;
    w->context = context;
    w->end = &w->first;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->queued, NULL);
    while (!fault && w->count < count)
        if ((fault = organ_thread_create(&w->threads[w->count], NULL, write_queued, w)) == 0)
            w->count++;
    if (!fault)
        return ORGAN_OK;
    organ_writers_destroy(w);
    *writers = NULL;
    return organ_fail_errno(error, fault, "cannot start %zu writing threads (memory, or a limit on threads)", count);
}

void organ_writers_queue(organ_writers *w, organ_queued_write *queued, size_t bytes)
{
    const organ_activity before = organ_activity_begin(ORGAN_WRITING);
    organ_activity_moved(bytes);
    organ_activity_begin(before);
    queued->next = NULL;
    pthread_mutex_lock(&w->lock);
    *w->end = queued;
    w->end = &queued->next;
    pthread_cond_signal(&w->queued);
    pthread_mutex_unlock(&w->lock);
}

void organ_writers_destroy(organ_writers *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_cond_broadcast(&w->queued);
    pthread_mutex_unlock(&w->lock);
    for (size_t k = 0; k < w->count; k++)
        pthread_join(w->threads[k], NULL);
    pthread_cond_destroy(&w->queued);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
