/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/connection_watch.h"

#include "orchestrator/serve/http/peer_network.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>

/* An eighth of the places is reserved for new clients when connections without a token take the others. A tick checks
 * about CHECKS_PER_TICK connections for clients that have left. */
enum { RESERVED_FRACTION = 8, CHECKS_PER_TICK = 1024 };

/* One connection. */
struct organ_watched {
    int fd;
    bool limited;       /* has a deadline */
    bool admitted, cut; /* presented a valid token; was shut down by the watch; both atomic */
    size_t number;      /* running number, which selects the tick that checks it */
    struct timespec deadline;
    TAILQ_ENTRY(organ_watched) entry;
    void *held;       /* pointer of organ_watched_hold */
    pthread_t thread; /* thread of the connection; atomic, because organ_watch_own compares it in other threads */
    char peer[64], network[ORGAN_PEER_NETWORK_ROOM];
};

struct organ_connection_watch {
    pthread_mutex_t lock;
    TAILQ_HEAD(, organ_watched) all; /* oldest first */
    /* open now; largest number in all and from one network; since the start: connections, ticks */
    size_t count, max, share, added, ticks;
    uint64_t displaced; /* connections closed to make room */
};

/* Creates the list of connections: at most `max`, and at most `share` from one network. NULL without memory. */
organ_connection_watch *organ_watch_create(size_t max, size_t share)
{
    organ_connection_watch *const watch = calloc(1, sizeof *watch);
    if (!watch)
        return NULL;
    pthread_mutex_init(&watch->lock, NULL);
    TAILQ_INIT(&watch->all);
    watch->max = max;
    watch->share = share;
    return watch;
}

void organ_watch_destroy(organ_connection_watch *watch)
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

static bool has_flag(const bool *flag) { return __atomic_load_n(flag, __ATOMIC_RELAXED); }

/* Shuts the connection down in both directions and marks it as cut. */
static void cut_off(organ_watched *watched)
{
    __atomic_store_n(&watched->cut, true, __ATOMIC_RELAXED);
    shutdown(watched->fd, SHUT_RDWR);
}

/* Shuts down one connection without a token if the new one makes too many: the oldest of its network if that network
 * exceeds its share, otherwise the oldest. A connection that was shut down frees its place at once and is not
 * counted. */
static void enforce_connection_limit(organ_connection_watch *watch, const organ_watched *new)
{
    organ_watched *w, *oldest = NULL, *oldest_near = NULL;
    size_t open = 0, near = 0;
    TAILQ_FOREACH(w, &watch->all, entry)
    {
        const bool neighbour = strcmp(w->network, new->network) == 0, yields = !has_flag(&w->admitted);
        if (has_flag(&w->cut))
            continue;
        open++;
        near += neighbour;
        if (yields && neighbour && !oldest_near)
            oldest_near = w;
        if (yields && w != new && !oldest)
            oldest = w;
    }
    const size_t reserved = (watch->max + RESERVED_FRACTION - 1) / RESERVED_FRACTION;
    organ_watched *yielding = open + reserved > watch->max ? oldest : NULL;
    if (near > watch->share)
        yielding = oldest_near;
    if (yielding) {
        cut_off(yielding);
        watch->displaced++;
    }
}

/* Adds a connection with a deadline for its first request. If there are too many, another one is closed. */
organ_watched *organ_watch_add(organ_connection_watch *watch, int fd, const char *peer, unsigned seconds)
{
    organ_watched *const watched = calloc(1, sizeof *watched);
    if (!watched)
        return NULL;
    watched->fd = fd;
    snprintf(watched->peer, sizeof watched->peer, "%s", peer);
    organ_peer_network(peer, watched->network);
    set_connection_deadline(watched, seconds);
    pthread_mutex_lock(&watch->lock);
    watched->number = watch->added++;
    TAILQ_INSERT_TAIL(&watch->all, watched, entry);
    watch->count++;
    enforce_connection_limit(watch, watched);
    pthread_mutex_unlock(&watch->lock);
    return watched;
}

void organ_watch_remove(organ_connection_watch *watch, organ_watched *watched)
{
    pthread_mutex_lock(&watch->lock);
    TAILQ_REMOVE(&watch->all, watched, entry);
    watch->count--;
    pthread_mutex_unlock(&watch->lock);
    free(watched);
}

void organ_watch_admit(organ_watched *watched) { __atomic_store_n(&watched->admitted, true, __ATOMIC_RELAXED); }

bool organ_watched_admitted(const organ_watched *watched) { return has_flag(&watched->admitted); }
bool organ_watched_is_cut(const organ_watched *watched) { return has_flag(&watched->cut); }

/* Sets the time, `seconds` from now, at which the connection is closed if no complete request has arrived; 0: no
 * limit. */
void organ_watch_until(organ_connection_watch *watch, organ_watched *watched, unsigned seconds)
{
    pthread_mutex_lock(&watch->lock);
    set_connection_deadline(watched, seconds);
    pthread_mutex_unlock(&watch->lock);
}

/* Attaches `held` to the connection, and the thread that serves it. Returns the pointer attached before. */
void *organ_watched_hold(organ_watched *watched, void *held)
{
    void *const before = watched->held;
    __atomic_store_n(&watched->thread, pthread_self(), __ATOMIC_RELAXED);
    watched->held = held;
    return before;
}

/* Calls `watch_one` with the attached pointer of each connection that the calling thread serves. */
void organ_watch_own(organ_connection_watch *watch, void (*watch_one)(void *context, void *held), void *context)
{
    organ_watched *w;
    pthread_mutex_lock(&watch->lock);
    TAILQ_FOREACH(w, &watch->all, entry)
    if (pthread_equal(__atomic_load_n(&w->thread, __ATOMIC_RELAXED), pthread_self()) && w->held)
        watch_one(context, w->held);
    pthread_mutex_unlock(&watch->lock);
}

const char *organ_watched_peer(const organ_watched *watched) { return watched->peer; }

size_t organ_watch_count(organ_connection_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    const size_t count = watch->count;
    pthread_mutex_unlock(&watch->lock);
    return count;
}

uint64_t organ_watch_displaced(organ_connection_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    const uint64_t displaced = watch->displaced;
    pthread_mutex_unlock(&watch->lock);
    return displaced;
}

static int watch_by_text(const void *a, const void *b) { return strcmp(a, b); }

/* Returns the largest number of connections from one network. */
size_t organ_watch_max_of_one(organ_connection_watch *watch)
{
    enum { ROOM = ORGAN_PEER_NETWORK_ROOM };
    const organ_watched *w;
    size_t count = 0, run = 0, max = 0;
    pthread_mutex_lock(&watch->lock);
    char(*const networks)[ROOM] = calloc(watch->count + 1, ROOM);
    TAILQ_FOREACH(w, &watch->all, entry)
    if (networks)
        memcpy(networks[count++], w->network, ROOM);
    pthread_mutex_unlock(&watch->lock);
    if (count)
        qsort(networks, count, ROOM, watch_by_text);
    for (size_t k = 0; k < count; k++) {
        run = k > 0 && strcmp(networks[k], networks[k - 1]) == 0 ? run + 1 : 1;
        max = run > max ? run : max;
    }
    free(networks);
    return max;
}

/* Shuts down the receiving direction of a connection that the client has closed. libmicrohttpd reads only when the
 * system reports a change; if the last bytes and the close arrive together, no further change is reported, and the
 * connection would wait for its deadline. A client that has closed its sending side still receives its reply. */
static void wake_if_ended(const organ_watched *watched)
{
    char byte;
    const ssize_t got = recv(watched->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        shutdown(watched->fd, SHUT_RD);
}

/* Closes connections whose deadline has passed; `report` NULL: all connections. Each tick also checks one group of the
 * others for clients that have left. */
void organ_watch_tick(organ_connection_watch *watch, void (*report)(void *context, const char *peer), void *context)
{
    struct timespec now;
    organ_watched *w;
    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&watch->lock);
    const size_t tick_groups = 1 + watch->count / CHECKS_PER_TICK, tick_group = watch->ticks++ % tick_groups;
    TAILQ_FOREACH(w, &watch->all, entry)
    {
        const bool late =
            now.tv_sec > w->deadline.tv_sec || (now.tv_sec == w->deadline.tv_sec && now.tv_nsec > w->deadline.tv_nsec);
        if (has_flag(&w->cut))
            continue;
        if (report && (!w->limited || !late)) {
            if (w->limited && w->number % tick_groups == tick_group)
                wake_if_ended(w);
            continue;
        }
        cut_off(w);
        if (report)
            report(context, w->peer);
    }
    pthread_mutex_unlock(&watch->lock);
}
