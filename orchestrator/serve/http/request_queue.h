/* SPDX-License-Identifier: MIT
 * Threads that call handlers which may block. The request's connection is suspended meanwhile, so that the threads of
 * libmicrohttpd never wait. The queue also keeps requests that wait for news (organ_http_call_waiting) or for a
 * time; these occupy no thread. */
#ifndef ORGAN_HTTP_REQUEST_QUEUE_H
#define ORGAN_HTTP_REQUEST_QUEUE_H

#include "orchestrator/serve/http/http_exchange.h"

typedef struct organ_request_queue organ_request_queue;

/* Creates the queue with `threads` threads. At most `max` requests may wait, for a thread or for news. Returns ORGAN_IO
 * if a thread cannot be started. */
organ_status organ_request_queue_create(size_t threads, size_t max, organ_request_queue **queue, organ_error *error);
void organ_request_queue_destroy(organ_request_queue *queue); /* no request may be left; NULL is allowed */

/* Suspends the request's connection, runs the handler on a thread of the queue and resumes the connection. Returns
 * false and does nothing if too many requests wait already: `max`, or seven eighths of it if the request's token has
 * not the role run. */
bool organ_request_queue_add(organ_request_queue *queue, organ_server_request *request);

/* Suspends the request's connection and sends the reply, which the request already has, `seconds` after the request
 * began. The request does not count as waiting. Returns false and does nothing after organ_request_queue_stop. */
bool organ_request_queue_delay(organ_request_queue *queue, organ_server_request *request, double seconds);

/* Calls again the handlers that called organ_http_reply_later and whose time has come, and sends delayed replies whose
 * time has come. Call it several times a second. organ_http_call_waiting calls all waiting handlers at once. */
void organ_request_queue_tick(organ_request_queue *queue);
/* From now on replies 503 to each request whose handler postpones its reply (organ_http_reply_later), calls all waiting
 * handlers, and sends delayed replies at once. NULL is allowed. */
void organ_request_queue_stop(organ_request_queue *queue);

/* Returns in *now the number of requests that wait for a thread or for news, and in *max the largest number allowed. */
void organ_request_queue_length(organ_request_queue *queue, size_t *now, size_t *max);

/* Returns true if the queue has any request: one that waits or whose handler runs. Returns false for NULL. */
bool organ_request_queue_busy(organ_request_queue *queue);

#endif
