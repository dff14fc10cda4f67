/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/watch.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>

struct organ_watched {
    int fd;
    bool limited, cut;
    struct timespec deadline;
    LIST_ENTRY(organ_watched) entry;
    void *held;
    pthread_t thread; /* of the connection; atomic, since others look whether it is theirs */
    char peer[64];
};

struct organ_watch {
    pthread_mutex_t lock;
    LIST_HEAD(, organ_watched) all;
    size_t count;
};

organ_watch *organ_watch_create(void)
{
    organ_watch *const watch = calloc(1, sizeof *watch);
    if (watch)
        pthread_mutex_init(&watch->lock, NULL);
    return watch;
}

void organ_watch_destroy(organ_watch *watch)
{
    if (watch)
        pthread_mutex_destroy(&watch->lock);
    free(watch);
}

static void set_connection_deadline(organ_watched *watched, unsigned seconds)
{
    watched->limited = seconds > 0;
    clock_gettime(CLOCK_MONOTONIC, &watched->deadline);
    watched->deadline.tv_sec += seconds;
}

organ_watched *organ_watch_add(organ_watch *watch, int fd, const char *peer, unsigned seconds)
{
    organ_watched *const watched = calloc(1, sizeof *watched);
    if (!watched)
        return NULL;
    watched->fd = fd;
    snprintf(watched->peer, sizeof watched->peer, "%s", peer);
    set_connection_deadline(watched, seconds);
    pthread_mutex_lock(&watch->lock);
    LIST_INSERT_HEAD(&watch->all, watched, entry);
    watch->count++;
    pthread_mutex_unlock(&watch->lock);
    return watched;
}

void organ_watch_remove(organ_watch *watch, organ_watched *watched)
{
    pthread_mutex_lock(&watch->lock);
    LIST_REMOVE(watched, entry);
    watch->count--;
    pthread_mutex_unlock(&watch->lock);
    free(watched);
}

void organ_watch_until(organ_watch *watch, organ_watched *watched, unsigned seconds)
{
    pthread_mutex_lock(&watch->lock);
    set_connection_deadline(watched, seconds);
    pthread_mutex_unlock(&watch->lock);
}

void *organ_watched_hold(organ_watched *watched, void *held)
{
    void *const before = watched->held;
    __atomic_store_n(&watched->thread, pthread_self(), __ATOMIC_RELAXED);
    watched->held = held;
    return before;
}

void organ_watch_own(organ_watch *watch, void (*look)(void *context, void *held), void *context)
{
    organ_watched *w;
    pthread_mutex_lock(&watch->lock);
    LIST_FOREACH(w, &watch->all, entry)
    if (pthread_equal(__atomic_load_n(&w->thread, __ATOMIC_RELAXED), pthread_self()) && w->held)
        look(context, w->held);
    pthread_mutex_unlock(&watch->lock);
}

const char *organ_watched_peer(const organ_watched *watched) { return watched->peer; }

size_t organ_watch_count(organ_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    const size_t count = watch->count;
    pthread_mutex_unlock(&watch->lock);
    return count;
}

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

size_t organ_watch_most_of_one(organ_watch *watch)
{
    enum { ROOM = sizeof((organ_watched *)NULL)->peer };
    const organ_watched *w;
    size_t count = 0, run = 0, most = 0;
    pthread_mutex_lock(&watch->lock);
    char(*const peers)[ROOM] = calloc(watch->count + 1, ROOM);
    LIST_FOREACH(w, &watch->all, entry)
    if (peers)
        memcpy(peers[count++], w->peer, ROOM);
    pthread_mutex_unlock(&watch->lock);
    if (count)
        qsort(peers, count, ROOM, by_text);
    for (size_t k = 0; k < count; k++) {
        run = k > 0 && strcmp(peers[k], peers[k - 1]) == 0 ? run + 1 : 1;
        most = run > most ? run : most;
    }
    free(peers);
    return most;
}

void organ_watch_tick(organ_watch *watch, void (*tell)(void *context, const char *peer), void *context)
{
    struct timespec now;
    organ_watched *w;
    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&watch->lock);
    LIST_FOREACH(w, &watch->all, entry)
    {
        const bool late = now.tv_sec > w->deadline.tv_sec || (now.tv_sec == w->deadline.tv_sec && now.tv_nsec > w->deadline.tv_nsec);
        if (w->cut || (tell && (!w->limited || !late)))
            continue;
        w->cut = true;
        shutdown(w->fd, SHUT_RDWR);
        if (tell)
            tell(context, w->peer);
    }
    pthread_mutex_unlock(&watch->lock);
}
