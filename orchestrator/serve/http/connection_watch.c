/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/http_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* 1 / RESERVED_FRACTION of the connections, and of those of one network, is reserved: connections without a token are
 * closed rather than use it, and those with a token that only reads are not admitted to it. A tick checks for about
 * CHECKS_PER_TICK connections whether their clients have closed them. */
enum { RESERVED_FRACTION = 8, CHECKS_PER_TICK = 1024 };

struct organ_watched {
    int fd;
    bool limited;  /* has a deadline */
    bool admitted; /* presented a valid token; atomic */
    bool cut;      /* was shut down by the watch; atomic */
    size_t number; /* number of connections added before it, which selects the tick that checks it */
    struct timespec deadline;
    TAILQ_ENTRY(organ_watched) entry;
    void *held;       /* pointer of organ_watched_hold */
    pthread_t thread; /* thread of the connection; atomic, because organ_watch_own compares it in other threads */
    char peer[64], network[ORGAN_PEER_NETWORK_ROOM]; /* address of the client, and its organ_peer_network */
};

struct organ_connection_watch {
    pthread_mutex_t lock;
    TAILQ_HEAD(, organ_watched) all; /* oldest first */
    size_t count;                    /* open connections, cut ones included */
    size_t max, share;               /* largest number of open connections in all, and from one network */
    size_t added, ticks;             /* connections added and ticks since the start */
    uint64_t displaced;              /* connections cut to make room since the start */
};

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

static void cut_off(organ_watched *watched)
{
    __atomic_store_n(&watched->cut, true, __ATOMIC_RELAXED);
    shutdown(watched->fd, SHUT_RDWR);
}

/* Reserved is at least one connection, but none of a single one. */
static size_t reserve_of(size_t limit) { return limit > 1 ? (limit + RESERVED_FRACTION - 1) / RESERVED_FRACTION : 0; }

/* At most one connection is shut down, if `new`, which was just added, is one too many. Only connections without a
 * token are candidates (`yields`). If the network of `new` exceeds its share, shuts down the oldest candidate of
 * this network, which may be `new`. Otherwise, if fewer connections are free than are reserved, shuts down the
 * oldest candidate other than `new`. Ignores connections that were already cut, because they will be closed soon. */
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
    organ_watched *yielding = open + reserve_of(watch->max) > watch->max ? oldest : NULL;
    if (near > watch->share)
        yielding = oldest_near;
    if (yielding) {
        cut_off(yielding);
        watch->displaced++;
    }
}

organ_watched *organ_watch_add(organ_connection_watch *watch, int fd, const char *peer, unsigned seconds)
{
    organ_watched *const watched = calloc(1, sizeof *watched);
    if (!watched)
        return NULL;
    watched->fd = fd;
    snprintf(watched->peer, sizeof watched->peer, "%s", peer);
    organ_peer_network(peer, watched->network);
    set_connection_deadline(watched, seconds);
    ORGAN_LOCKED(&watch->lock);
    watched->number = watch->added++;
    TAILQ_INSERT_TAIL(&watch->all, watched, entry);
    watch->count++;
    enforce_connection_limit(watch, watched);
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

/* Connections of tokens that may not run jobs get no mark if these would fill more than all but the reserve of the
 * network's share or of the server. */
bool organ_watch_admit(organ_connection_watch *watch, organ_watched *watched, bool runs)
{
    const organ_watched *w;
    size_t near = 0, all = 0;
    ORGAN_LOCKED(&watch->lock);
    TAILQ_FOREACH(w, &watch->all, entry)
    if (has_flag(&w->admitted) && !has_flag(&w->cut)) {
        near += strcmp(w->network, watched->network) == 0;
        all++;
    }
    const bool admits = runs || has_flag(&watched->admitted) ||
                        (near + reserve_of(watch->share) < watch->share && all + reserve_of(watch->max) < watch->max);
    if (admits)
        __atomic_store_n(&watched->admitted, true, __ATOMIC_RELAXED);
    return admits;
}

bool organ_watched_admitted(const organ_watched *watched) { return has_flag(&watched->admitted); }
bool organ_watched_is_cut(const organ_watched *watched) { return has_flag(&watched->cut); }

void organ_watch_until(organ_connection_watch *watch, organ_watched *watched, unsigned seconds)
{
    ORGAN_LOCKED(&watch->lock);
    set_connection_deadline(watched, seconds);
}

void *organ_watched_hold(organ_watched *watched, void *held)
{
    void *const before = watched->held;
    __atomic_store_n(&watched->thread, pthread_self(), __ATOMIC_RELAXED);
    watched->held = held;
    return before;
}

void organ_watch_own(organ_connection_watch *watch, void (*watch_one)(void *context, void *held), void *context)
{
    organ_watched *w;
    ORGAN_LOCKED(&watch->lock);
    TAILQ_FOREACH(w, &watch->all, entry)
    if (pthread_equal(__atomic_load_n(&w->thread, __ATOMIC_RELAXED), pthread_self()) && w->held)
        watch_one(context, w->held);
}

const char *organ_watched_peer(const organ_watched *watched) { return watched->peer; }

size_t organ_watch_count(organ_connection_watch *watch)
{
    ORGAN_LOCKED(&watch->lock);
    return watch->count;
}

uint64_t organ_watch_displaced(organ_connection_watch *watch)
{
    ORGAN_LOCKED(&watch->lock);
    return watch->displaced;
}

static int watch_by_text(const void *a, const void *b) { return strcmp(a, b); }

size_t organ_watch_max_of_one(organ_connection_watch *watch)
{
    enum { ROOM = ORGAN_PEER_NETWORK_ROOM };
    const organ_watched *w;
    size_t count = 0, run = 0, max = 0;
    pthread_mutex_lock(&watch->lock);
    ORGAN_OWNED char(*const networks)[ROOM] = calloc(watch->count + 1, ROOM);
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
    return max;
}

/* Shuts down the receiving direction if the client has closed the connection or its own sending side. libmicrohttpd
 * reads only when the system reports a change; if the last bytes and the close arrived together, it would wait for
 * another change until the deadline. The shutdown is such a change. It leaves the sending direction open, so that a
 * client that has closed only its sending side still receives the reply. */
static void wake_if_ended(const organ_watched *watched)
{
    char byte;
    const ssize_t got = recv(watched->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        shutdown(watched->fd, SHUT_RD);
}

/* A NULL `report` stands for all connections. Each tick also checks whether clients have closed their connections
 * (wake_if_ended): of the connections whose deadline is in the future, it checks those whose number is in the group
 * of this tick. */
void organ_watch_tick(organ_connection_watch *watch, void (*report)(void *context, const char *peer), void *context)
{
    struct timespec now;
    organ_watched *w;
    clock_gettime(CLOCK_MONOTONIC, &now);
    ORGAN_LOCKED(&watch->lock);
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
}
