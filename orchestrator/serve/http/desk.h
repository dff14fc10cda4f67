/* SPDX-License-Identifier: MIT
 * Threads for handlers that may block: the connection is suspended meanwhile, so that threads of the daemon never wait.
 */
#ifndef ORGAN_HTTP_DESK_H
#define ORGAN_HTTP_DESK_H

#include "orchestrator/serve/http/exchange.h"

typedef struct organ_desk organ_desk;

organ_status organ_desk_create(size_t threads, size_t most, organ_desk **desk, organ_error *error);
void organ_desk_destroy(organ_desk *desk); /* after the last request was done; NULL is allowed */

/* The request's connection is suspended and resumed when its handler has run. False, and nothing done, if too many wait
 * already. */
bool organ_desk_take(organ_desk *desk, organ_server_request *request);

/* Delays the reply that the request has already until `seconds` after the request began. The request takes no place in
 * the queue. False, and nothing done, after organ_desk_dismiss. */
bool organ_desk_delay(organ_desk *desk, organ_server_request *request, double seconds);

/* Calls again the handlers that said organ_http_reply_later and whose time has come, and sends delayed replies.
 * organ_http_recall calls all handlers that wait, at once. */
void organ_desk_tick(organ_desk *desk);
/* No request waits any more: those that wait, and later ones, get 503. NULL is allowed. */
void organ_desk_dismiss(organ_desk *desk);

/* How many wait for a thread or for news, and may. */
void organ_desk_waiting(organ_desk *desk, size_t *now, size_t *most);

/* Whether a request waits or is being handled, its connection not yet resumed. NULL: no. */
bool organ_desk_busy(organ_desk *desk);

#endif
