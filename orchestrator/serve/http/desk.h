/* SPDX-License-Identifier: MIT
 * Threads for handlers that may block: the connection is suspended meanwhile, so that threads of the daemon never wait.
 */
#ifndef ORGAN_HTTP_DESK_H
#define ORGAN_HTTP_DESK_H

#include "orchestrator/serve/http/exchange.h"

typedef struct organ_desk organ_desk;

organ_status organ_desk_create(size_t threads, size_t most, organ_desk **desk, organ_error *error);
void organ_desk_destroy(organ_desk *desk); /* after the last request was done; NULL is allowed */

/* Suspends the request's connection, runs the handler on a thread of the desk and resumes the connection. Returns
 * false and does nothing if too many requests wait already. */
bool organ_desk_take(organ_desk *desk, organ_server_request *request);

/* Delays the reply that the request already has until `seconds` after the request began. The request takes no place
 * in the queue. Returns false and does nothing after organ_desk_dismiss. */
bool organ_desk_delay(organ_desk *desk, organ_server_request *request, double seconds);

/* Calls the handlers again that called organ_http_reply_later and whose time has come, and sends delayed replies.
 * organ_http_recall calls all waiting handlers at once. */
void organ_desk_tick(organ_desk *desk);
/* Answers 503 to all waiting requests and to all later ones. NULL is allowed. */
void organ_desk_dismiss(organ_desk *desk);

/* *now: the number of requests that wait for a thread or for news. *most: the largest number allowed. */
void organ_desk_waiting(organ_desk *desk, size_t *now, size_t *most);

/* Returns true if a request waits or is being handled and its connection is not yet resumed; false for NULL. */
bool organ_desk_busy(organ_desk *desk);

#endif
