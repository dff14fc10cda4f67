/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/desk.h"

#include "orchestrator/serve/http/parts.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct organ_desk {
    pthread_mutex_t lock;
    pthread_cond_t called;
    organ_server_request *first, **last;
    organ_server_request *parked; /* wait for news or for their time, not for a thread */
    size_t present, waiting, most,
        thread_count; /* all that are not resumed yet; those that wait for a thread or for news */
    unsigned long long recalls;
    bool ending, dismissed;
    pthread_t threads[];
};

static organ_server_request *next_request(organ_desk *desk, unsigned long long *recalls)
{
    pthread_mutex_lock(&desk->lock);
    while (!desk->first && !desk->ending)
        pthread_cond_wait(&desk->called, &desk->lock);
    organ_server_request *const request = desk->first;
    if (request) {
        desk->first = request->next;
        if (!desk->first)
            desk->last = &desk->first;
        desk->waiting--;
    }
    *recalls = desk->recalls;
    pthread_mutex_unlock(&desk->lock);
    return request;
}

static void queue_request(organ_desk *desk, organ_server_request *request)
{
    request->next = NULL;
    *desk->last = request;
    desk->last = &request->next;
    pthread_cond_signal(&desk->called);
}

/* Returns the request to its connection, with a reply. */
static void hand_back(organ_desk *desk, organ_server_request *request)
{
    desk->present--;
    __atomic_store_n(&request->state, REQUEST_READY, __ATOMIC_RELAXED); /* its connection's thread may look at it now */
    organ_mhd.resume_connection(request->connection);
}

/* Puts parked requests back into the queue: all, or those whose time has come. */
static void recall_requests(organ_desk *desk, bool all)
{
    pthread_mutex_lock(&desk->lock);
    desk->recalls += all;
    for (organ_server_request **at = &desk->parked, *request; (request = *at);) {
        const bool left = request->delayed &&
                          organ_watched_is_cut(request->watched); /* the watch has closed the connection to make room */
        const bool due = organ_http_waited(request) >= request->reply.later || desk->dismissed || left;
        if (!due && (request->delayed || !all)) {
            at = &request->next;
            continue;
        }
        *at = request->next;
        if (request->delayed)
            hand_back(desk, request);
        else
            queue_request(desk, request);
    }
    pthread_mutex_unlock(&desk->lock);
}

void organ_http_recall(const organ_app *app)
{
    if (app->desk)
        recall_requests(app->desk, true);
}

void organ_desk_tick(organ_desk *desk) { recall_requests(desk, false); }

void organ_desk_dismiss(organ_desk *desk)
{
    if (!desk)
        return;
    pthread_mutex_lock(&desk->lock);
    desk->dismissed = true;
    pthread_mutex_unlock(&desk->lock);
    recall_requests(desk, true);
}

static void park_request(organ_desk *desk, organ_server_request *request)
{
    request->next = desk->parked;
    desk->parked = request;
}

bool organ_desk_delay(organ_desk *desk, organ_server_request *request, double seconds)
{
    pthread_mutex_lock(&desk->lock);
    const bool good = !desk->dismissed;
    if (good) {
        request->state = REQUEST_AT_DESK;
        request->delayed = true;
        request->reply.later = seconds;
        organ_mhd.suspend_connection(request->connection);
        park_request(desk, request);
        desk->present++;
    }
    pthread_mutex_unlock(&desk->lock);
    return good;
}

/* Parks a request whose handler asked to be called again. If a recall came while the handler ran, queues the request at
 * once, because the recall may be the one that it waits for. */
static void settle_request(organ_desk *desk, organ_server_request *request, unsigned long long recalls)
{
    const bool later = request->reply.kind == REPLY_LATER;
    if (later && desk->dismissed)
        organ_http_problem(&request->reply, 503, "the server is being stopped");
    if (!later || desk->dismissed) {
        hand_back(desk, request);
        return;
    }
    desk->waiting++;
    if (desk->recalls != recalls)
        queue_request(desk, request);
    else
        park_request(desk, request);
}

static void *serve_desk(void *context)
{
    organ_desk *const desk = context;
    unsigned long long recalls;
    organ_http_step_back();
    for (organ_server_request *request; (request = next_request(desk, &recalls));) {
        request->route->handle(request, &request->reply);
        pthread_mutex_lock(&desk->lock);
        settle_request(desk, request, recalls);
        pthread_mutex_unlock(&desk->lock);
    }
    return NULL;
}

organ_status organ_desk_create(size_t threads, size_t most, organ_desk **made, organ_error *error)
{
    organ_desk *const desk = *made = calloc(1, sizeof *desk + threads * sizeof *desk->threads);
    if (!desk)
        return organ_fail_errno(error, ENOMEM, "threads for requests");
    pthread_mutex_init(&desk->lock, NULL);
    pthread_cond_init(&desk->called, NULL);
    desk->last = &desk->first;
    desk->most = most;
    while (desk->thread_count < threads) {
        const int failed = pthread_create(&desk->threads[desk->thread_count], NULL, serve_desk, desk);
        if (failed) {
            organ_fail_errno(error, failed, "threads for requests");
            organ_desk_destroy(desk);
            *made = NULL;
            return error->status;
        }
        desk->thread_count++;
    }
    return ORGAN_OK;
}

void organ_desk_destroy(organ_desk *desk)
{
    if (!desk)
        return;
    pthread_mutex_lock(&desk->lock);
    desk->ending = true;
    pthread_cond_broadcast(&desk->called);
    pthread_mutex_unlock(&desk->lock);
    for (size_t k = 0; k < desk->thread_count; k++)
        pthread_join(desk->threads[k], NULL);
    pthread_mutex_destroy(&desk->lock);
    pthread_cond_destroy(&desk->called);
    free(desk);
}

bool organ_desk_take(organ_desk *desk, organ_server_request *request)
{
    pthread_mutex_lock(&desk->lock);
    const bool room = desk->waiting < desk->most;
    if (room) {
        request->state = REQUEST_AT_DESK;
        /* Suspend before a thread can take it: it must be suspended when it is resumed. */
        organ_mhd.suspend_connection(request->connection);
        queue_request(desk, request);
        desk->present++;
        desk->waiting++;
    }
    pthread_mutex_unlock(&desk->lock);
    return room;
}

bool organ_desk_busy(organ_desk *desk)
{
    if (!desk)
        return false;
    pthread_mutex_lock(&desk->lock);
    const bool busy = desk->present > 0;
    pthread_mutex_unlock(&desk->lock);
    return busy;
}

void organ_desk_waiting(organ_desk *desk, size_t *now, size_t *most)
{
    pthread_mutex_lock(&desk->lock);
    *now = desk->waiting;
    *most = desk->most;
    pthread_mutex_unlock(&desk->lock);
}
