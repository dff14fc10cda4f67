/* SPDX-License-Identifier: MIT
 * Threads for handlers that may block: the connection is suspended meanwhile, so that threads of the daemon never wait.
 */
#ifndef ORGAN_HTTP_REQUEST_QUEUE_H
#define ORGAN_HTTP_REQUEST_QUEUE_H

#include "orchestrator/serve/http/http_exchange.h"

typedef struct organ_request_queue organ_request_queue;

/* Creates the queue with `threads` threads. At most `max` requests may wait. Returns ORGAN_IO if a thread cannot be
 * started. */
organ_status organ_request_queue_create(size_t threads, size_t max, organ_request_queue **queue, organ_error *error);
void organ_request_queue_destroy(organ_request_queue *queue); /* after the last request was done; NULL is allowed */

/* Suspends the request's connection, runs the handler on a thread of the queue and resumes the connection. Returns
 * false and does nothing if too many requests wait already. */
bool organ_request_queue_add(organ_request_queue *queue, organ_server_request *request);

/* Delays the reply that the request already has until `seconds` after the request began. The request takes no place
 * in the queue. Returns false and does nothing after organ_request_queue_stop. */
bool organ_request_queue_delay(organ_request_queue *queue, organ_server_request *request, double seconds);

/* Calls again the handlers that called organ_http_reply_later and whose time has come, and sends delayed replies. Call
 * it several times a second. organ_http_call_waiting calls all waiting handlers at once. */
void organ_request_queue_tick(organ_request_queue *queue);
/* Answers 503 to all waiting requests and to all later ones. NULL is allowed. */
void organ_request_queue_stop(organ_request_queue *queue);

/* Returns in *now the number of requests that wait for a thread or for news, and in *max the largest number allowed. */
void organ_request_queue_length(organ_request_queue *queue, size_t *now, size_t *max);

/* Returns true if the connection of a request is suspended because the request waits or is being handled; false for
 * NULL. */
bool organ_request_queue_busy(organ_request_queue *queue);

#endif
