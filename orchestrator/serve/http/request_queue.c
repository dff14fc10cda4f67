/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/request_queue.h"

#include "orchestrator/serve/http/http_parts.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* `lock` guards all members and the requests in the two lists. */
struct organ_request_queue {
    pthread_mutex_t lock;
    pthread_cond_t called; /* a request was queued, or the queue ends */
    /* queue of requests that wait for a thread, linked by `next`; *last is its NULL end */
    organ_server_request *first, **last;
    organ_server_request *parked; /* list, linked by `next`, of requests that wait for news or for their time */
    size_t present;               /* requests whose connections the queue has suspended */
    size_t waiting, max; /* waiting: requests that wait for a thread or for news, without those whose reply is delayed;
                            max: limit of `waiting` */
    size_t thread_count;
    unsigned long long recalls; /* number of calls of organ_http_call_waiting */
    bool ending;                /* the threads must end */
    bool dismissed;             /* organ_request_queue_stop was called: requests no longer wait for news or a time */
    pthread_t threads[];
};

/* Sets *recalls to the current queue->recalls, by which finish_request detects news that comes while the handler
 * runs. Returns NULL if the queue ends and no request is left in it. */
static organ_server_request *next_request(organ_request_queue *queue, unsigned long long *recalls)
{
    pthread_mutex_lock(&queue->lock);
    while (!queue->first && !queue->ending)
        pthread_cond_wait(&queue->called, &queue->lock);
    organ_server_request *const request = queue->first;
    if (request) {
        queue->first = request->next;
        if (!queue->first)
            queue->last = &queue->first;
        queue->waiting--;
    }
    *recalls = queue->recalls;
    pthread_mutex_unlock(&queue->lock);
    return request;
}

/* The caller holds the lock. */
static void queue_request(organ_request_queue *queue, organ_server_request *request)
{
    request->next = NULL;
    *queue->last = request;
    queue->last = &request->next;
    pthread_cond_signal(&queue->called);
}

/* The caller holds the lock. */
static void return_request(organ_request_queue *queue, organ_server_request *request)
{
    queue->present--;
    /* Atomic, because add_candidate may read the state in the thread of the connection. */
    __atomic_store_n(&request->state, REQUEST_READY, __ATOMIC_RELAXED);
    organ_mhd.resume_connection(request->connection);
}

/* Requests that are due move to the queue, or, if a complete reply was delayed, back to their connections. A request
 * is due if its time has come, if the queue is dismissed, if it is delayed and its connection was cut, or, with
 * `all` (there is news), if it is not delayed. */
static void recall_requests(organ_request_queue *queue, bool all)
{
    pthread_mutex_lock(&queue->lock);
    queue->recalls += all;
    for (organ_server_request **at = &queue->parked, *request; (request = *at);) {
        const bool left =
            request->delayed && organ_watched_is_cut(request->watched); /* the watch has shut the connection down */
        const bool due = organ_http_waited(request) >= request->reply.later || queue->dismissed || left;
        if (!due && (request->delayed || !all)) {
            at = &request->next;
            continue;
        }
        *at = request->next;
        if (request->delayed)
            return_request(queue, request);
        else
            queue_request(queue, request);
    }
    pthread_mutex_unlock(&queue->lock);
}

void organ_http_call_waiting(const organ_app *app)
{
    if (app->queue)
        recall_requests(app->queue, true);
}

void organ_request_queue_tick(organ_request_queue *queue) { recall_requests(queue, false); }

void organ_request_queue_stop(organ_request_queue *queue)
{
    if (!queue)
        return;
    pthread_mutex_lock(&queue->lock);
    queue->dismissed = true;
    pthread_mutex_unlock(&queue->lock);
    recall_requests(queue, true);
}

/* The caller holds the lock. */
static void park_request(organ_request_queue *queue, organ_server_request *request)
{
    request->next = queue->parked;
    queue->parked = request;
}

bool organ_request_queue_delay(organ_request_queue *queue, organ_server_request *request, double seconds)
{
    pthread_mutex_lock(&queue->lock);
    const bool good = !queue->dismissed;
    if (good) {
        request->state = REQUEST_IN_POOL;
        request->delayed = true;
        request->reply.later = seconds;
        organ_mhd.suspend_connection(request->connection);
        park_request(queue, request);
        queue->present++;
    }
    pthread_mutex_unlock(&queue->lock);
    return good;
}

/* If the handler has postponed its reply (REPLY_LATER), parks the request, or queues it at once if queue->recalls
 * differs from `recalls`: news came while the handler ran, which it may have missed. In a dismissed queue a
 * postponed reply becomes a 503. The caller holds the lock. */
static void finish_request(organ_request_queue *queue, organ_server_request *request, unsigned long long recalls)
{
    const bool later = request->reply.kind == REPLY_LATER;
    if (later && queue->dismissed)
        organ_http_problem(&request->reply, 503, "the server is stopping");
    if (!later || queue->dismissed) {
        return_request(queue, request);
        return;
    }
    queue->waiting++;
    if (queue->recalls != recalls)
        queue_request(queue, request);
    else
        park_request(queue, request);
}

/* Main function of a thread of the queue. */
static void *serve_queue(void *context)
{
    organ_request_queue *const queue = context;
    unsigned long long recalls;
    organ_http_step_back();
    for (organ_server_request *request; (request = next_request(queue, &recalls));) {
        request->route->handle(request, &request->reply);
        pthread_mutex_lock(&queue->lock);
        finish_request(queue, request, recalls);
        pthread_mutex_unlock(&queue->lock);
    }
    return NULL;
}

organ_status organ_request_queue_create(size_t threads, size_t max, organ_request_queue **made, organ_error *error)
{
    organ_request_queue *const queue = *made = calloc(1, sizeof *queue + threads * sizeof *queue->threads);
    if (!queue)
        return organ_fail_errno(error, ENOMEM, "threads for requests");
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->called, NULL);
    queue->last = &queue->first;
    queue->max = max;
    while (queue->thread_count < threads) {
        const int failed = pthread_create(&queue->threads[queue->thread_count], NULL, serve_queue, queue);
        if (failed) {
            organ_fail_errno(error, failed, "threads for requests");
            organ_request_queue_destroy(queue);
            *made = NULL;
            return error->status;
        }
        queue->thread_count++;
    }
    return ORGAN_OK;
}

void organ_request_queue_destroy(organ_request_queue *queue)
{
    if (!queue)
        return;
    pthread_mutex_lock(&queue->lock);
    queue->ending = true;
    pthread_cond_broadcast(&queue->called);
    pthread_mutex_unlock(&queue->lock);
    for (size_t k = 0; k < queue->thread_count; k++)
        pthread_join(queue->threads[k], NULL);
    pthread_mutex_destroy(&queue->lock);
    pthread_cond_destroy(&queue->called);
    free(queue);
}

/* An eighth of the queue is reserved for requests that may run and cancel jobs. */
bool organ_request_queue_add(organ_request_queue *queue, organ_server_request *request)
{
    enum { RESERVED_FRACTION = 8 };
    pthread_mutex_lock(&queue->lock);
    const bool room = queue->waiting + (request->runs ? 0 : queue->max / RESERVED_FRACTION) < queue->max;
    if (room) {
        request->state = REQUEST_IN_POOL;
        /* Suspends the connection before a thread can take the request, because that thread resumes the connection. */
        organ_mhd.suspend_connection(request->connection);
        queue_request(queue, request);
        queue->present++;
        queue->waiting++;
    }
    pthread_mutex_unlock(&queue->lock);
    return room;
}

bool organ_request_queue_busy(organ_request_queue *queue)
{
    if (!queue)
        return false;
    pthread_mutex_lock(&queue->lock);
    const bool busy = queue->present > 0;
    pthread_mutex_unlock(&queue->lock);
    return busy;
}

void organ_request_queue_length(organ_request_queue *queue, size_t *now, size_t *max)
{
    pthread_mutex_lock(&queue->lock);
    *now = queue->waiting;
    *max = queue->max;
    pthread_mutex_unlock(&queue->lock);
}
