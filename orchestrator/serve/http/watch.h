/* SPDX-License-Identifier: MIT
 * All open connections with the deadlines of their requests. Slow senders are disconnected. Connections that have shown no token give way
 * to newer ones where places are short. Thread-safe. */
#ifndef ORGAN_HTTP_WATCH_H
#define ORGAN_HTTP_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct organ_watch organ_watch;
typedef struct organ_watched organ_watched;

/* `most`: connections that there can be. `share`: those of one network (organ_peer_network). NULL without memory. */
organ_watch *organ_watch_create(size_t most, size_t share);
void organ_watch_destroy(organ_watch *watch);

/* Adds a connection that has shown no token yet and has `seconds` for its first request; NULL without memory. Where its network has more
 * than its share then, the oldest connection of that network without a token is shut down; this may be the new one. Else, where all places
 * but an eighth are taken, the oldest other connection without a token is. So clients without a token never keep a new client out. */
organ_watched *organ_watch_add(organ_watch *watch, int fd, const char *peer, unsigned seconds);
void organ_watch_remove(organ_watch *watch, organ_watched *watched); /* before its descriptor is closed */
/* The connection has shown a token, or the server wants none: it gives way to no other from now on. */
void organ_watch_admit(organ_watched *watched);
bool organ_watched_admitted(const organ_watched *watched); /* by the thread of the connection, or of its request */
/* The connection was shut down here: nobody reads its reply. */
bool organ_watched_is_cut(const organ_watched *watched);
/* From now on it has so many seconds; 0: as long as it takes. */
void organ_watch_until(organ_watch *watch, organ_watched *watched, unsigned seconds);
/* What its connection is about now, NULL at first; gives back what that was before. By the thread of the connection only. */
void *organ_watched_hold(organ_watched *watched, void *held);
/* Calls `look` for what the connections of this thread are about. */
void organ_watch_own(organ_watch *watch, void (*look)(void *context, void *held), void *context);
const char *organ_watched_peer(const organ_watched *watched);
size_t organ_watch_count(organ_watch *watch);
size_t organ_watch_most_of_one(organ_watch *watch); /* connections of the network that has most */
uint64_t organ_watch_displaced(organ_watch *watch); /* connections that had to give way, since the start */

/* Shuts down all that are late and calls `tell` for each; NULL: all that there are. Wakes the thread of a connection whose client has left
 * in the middle of a request: the library does not notice an end that arrives together with the last bytes. */
void organ_watch_tick(organ_watch *watch, void (*tell)(void *context, const char *peer), void *context);

#endif
