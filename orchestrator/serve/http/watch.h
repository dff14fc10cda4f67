/* SPDX-License-Identifier: MIT
 * All open connections with the deadlines of their requests, so that slow senders are disconnected. Thread-safe. */
#ifndef ORGAN_HTTP_WATCH_H
#define ORGAN_HTTP_WATCH_H

#include <stdbool.h>
#include <stddef.h>

typedef struct organ_watch organ_watch;
typedef struct organ_watched organ_watched;

organ_watch *organ_watch_create(void); /* NULL without memory */
void organ_watch_destroy(organ_watch *watch);

/* A connection with `seconds` to go; NULL without memory. */
organ_watched *organ_watch_add(organ_watch *watch, int fd, const char *peer, unsigned seconds);
void organ_watch_remove(organ_watch *watch, organ_watched *watched); /* before its descriptor is closed */
/* From now on it has so many seconds; 0: as long as it takes. */
void organ_watch_until(organ_watch *watch, organ_watched *watched, unsigned seconds);
/* What its connection is about now, NULL at first; gives back what that was before. By the thread of the connection only. */
void *organ_watched_hold(organ_watched *watched, void *held);
/* Calls `look` for what the connections of this thread are about. */
void organ_watch_own(organ_watch *watch, void (*look)(void *context, void *held), void *context);
const char *organ_watched_peer(const organ_watched *watched);
size_t organ_watch_count(organ_watch *watch);
size_t organ_watch_most_of_one(organ_watch *watch); /* connections of the address that has most */

/* Shuts down all that are late and calls `tell` for each; NULL: all that there are. */
void organ_watch_tick(organ_watch *watch, void (*tell)(void *context, const char *peer), void *context);

#endif
