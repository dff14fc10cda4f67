/* SPDX-License-Identifier: MIT
 * The watch: a list of all open connections with the deadlines of their requests. It disconnects slow senders. If few
 * connections are still allowed, it closes ones without a valid token in favour of newer ones. Thread-safe, except
 * where a comment says otherwise. */
#ifndef ORGAN_CONNECTION_WATCH_H
#define ORGAN_CONNECTION_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct organ_connection_watch organ_connection_watch;
/* One connection in the watch; "cut" if the watch has shut it down. */
typedef struct organ_watched organ_watched;

/* Creates a watch. `max` is the largest number of connections, `share` the largest number from one network
 * (organ_peer_network). NULL if out of memory. */
organ_connection_watch *organ_watch_create(size_t max, size_t share);
void organ_watch_destroy(organ_connection_watch *watch);

/* Adds the connection with the socket `fd` and the client address `peer`, which has not presented a valid token yet and
 * has `seconds` for its first request (0: no deadline). NULL if memory runs out. If its network then has more
 * connections than its share, organ_watch_add shuts down the oldest connection of that network without a token, which
 * may be the new one. Otherwise, if less than an eighth of `max` is free, it shuts down the oldest other connection
 * without a token. So clients without a token never keep a new client out. */
organ_watched *organ_watch_add(organ_connection_watch *watch, int fd, const char *peer, unsigned seconds);
void organ_watch_remove(organ_connection_watch *watch, organ_watched *watched); /* before its descriptor is closed */
/* Marks a connection that has presented a valid token, or any connection if the server needs none: the watch never
 * closes it to make room. An eighth of `max` and of `share` is reserved for owners of tokens that may run jobs
 * (`runs`), so that they can always cancel a job. Returns false, without a mark, for a connection of others that would
 * use this reserve. */
bool organ_watch_admit(organ_connection_watch *watch, organ_watched *watched, bool runs);
bool organ_watched_admitted(const organ_watched *watched); /* organ_watch_admit was called for it */
/* Returns whether the watch has shut the connection down: the client does not receive its reply. */
bool organ_watched_is_cut(const organ_watched *watched);
/* Sets the deadline of a connection to `seconds` from now; 0: no deadline. */
void organ_watch_until(organ_connection_watch *watch, organ_watched *watched, unsigned seconds);
/* Attaches a pointer (NULL: none) to the connection and returns the one attached before, at first NULL. Also records
 * the calling thread as the thread of the connection; no other thread may call this function for the connection. */
void *organ_watched_hold(organ_watched *watched, void *held);
/* Calls `watch_one` with `context` and the attached pointer of each connection of the calling thread that has one. */
void organ_watch_own(organ_connection_watch *watch, void (*watch_one)(void *context, void *held), void *context);
const char *organ_watched_peer(const organ_watched *watched); /* address of the client */
/* Returns the number of open connections. */
size_t organ_watch_count(organ_connection_watch *watch);
size_t organ_watch_max_of_one(organ_connection_watch *watch);  /* connections of the network with the most */
uint64_t organ_watch_displaced(organ_connection_watch *watch); /* connections closed to make room, since the start */

/* Shuts down all connections whose deadline has passed and calls `report` with `context` for each; if `report` is NULL,
 * shuts down all connections and reports none. Also makes libmicrohttpd close connections that their clients have
 * closed in the middle of a request: the library does not detect a close that arrives together with the last bytes. */
void organ_watch_tick(organ_connection_watch *watch, void (*report)(void *context, const char *peer), void *context);

#endif
