/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/http_parts.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Added to the nice value of the server's threads. On a processor that a job uses they then get about a thirtieth of
 * the time: Linux's weight of nice 15 is 36, that of nice 0 is 1024. */
enum { BELOW_JOBS = 15 };

void organ_http_step_back(void)
{
    setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, 0) + BELOW_JOBS);
}

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
    ORGAN_LOCKED(&queue->lock);
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
    ORGAN_LOCKED(&queue->lock);
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
}

void organ_http_call_waiting(const organ_app *app)
{
    if (app->queue)
        recall_requests(app->queue, /*all=*/true);
}

void organ_request_queue_tick(organ_request_queue *queue) { recall_requests(queue, /*all=*/false); }

void organ_request_queue_stop(organ_request_queue *queue)
{
    if (!queue)
        return;
    pthread_mutex_lock(&queue->lock);
    queue->dismissed = true;
    pthread_mutex_unlock(&queue->lock);
    recall_requests(queue, /*all=*/true);
}

/* The caller holds the lock. */
static void park_request(organ_request_queue *queue, organ_server_request *request)
{
    request->next = queue->parked;
    queue->parked = request;
}

bool organ_request_queue_delay(organ_request_queue *queue, organ_server_request *request, double seconds)
{
    ORGAN_LOCKED(&queue->lock);
    const bool good = !queue->dismissed;
    if (good) {
        request->state = REQUEST_IN_POOL;
        request->delayed = true;
        request->reply.later = seconds;
        organ_mhd.suspend_connection(request->connection);
        park_request(queue, request);
        queue->present++;
    }
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
        ORGAN_LOCKED(&queue->lock);
        finish_request(queue, request, recalls);
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
    ORGAN_LOCKED(&queue->lock);
    const bool room = queue->waiting + (request->account->runs ? 0 : queue->max / RESERVED_FRACTION) < queue->max;
    if (room) {
        request->state = REQUEST_IN_POOL;
        /* Suspends the connection before a thread can take the request, because that thread resumes the connection. */
        organ_mhd.suspend_connection(request->connection);
        queue_request(queue, request);
        queue->present++;
        queue->waiting++;
    }
    return room;
}

bool organ_request_queue_busy(organ_request_queue *queue)
{
    if (!queue)
        return false;
    ORGAN_LOCKED(&queue->lock);
    return queue->present > 0;
}

void organ_request_queue_length(organ_request_queue *queue, size_t *now, size_t *max)
{
    ORGAN_LOCKED(&queue->lock);
    *now = queue->waiting;
    *max = queue->max;
}

/* ---- replies in place of libmicrohttpd ---- */

/* Replies in place of libmicrohttpd to requests that it rejects wrongly. Versions before 1.0 answer twice to an invalid
 * Content-Length. To chunk extensions that are longer than the library's buffer they answer with a server error;
 * version 1.0 answers and closes the connection before the client has sent all chunks, so that the client loses the
 * answer.
 *
 * The library logs a rejection before it answers, in the thread of the connection, but the message does not name the
 * connection. So organ_http_refused searches the requests of all connections of this thread: it takes those whose head
 * has an invalid Content-Length, and the one with a chunked body that has received most bytes outside of the data of
 * its chunks. */

enum {
    MAX_AT_ONCE = 16,    /* limit of the requests with an invalid length that one search finds */
    LONGEST_LENGTH = 20, /* decimal digits of 2^64 - 1 */
    /* a request with more bytes outside of its body's data may have too long extensions of a chunk (version 1.0) */
    LEAST_EXTENSION_BYTES = 16 << 10
};

typedef struct refused_search {
    organ_server_request *lengths[MAX_AT_ONCE]; /* requests with an invalid Content-Length */
    size_t count;                               /* number of `lengths` */
    /* the request with a chunked body that has the most head_bytes_received; NULL: none */
    organ_server_request *chunks;
    uint64_t chunks_bytes; /* head_bytes_received of `chunks` */
} refused_search;

/* Returns 0 if the library accepts the Content-Length, otherwise the HTTP status with which it is to be rejected:
 * 400 if it is not a number, 413 if it exceeds 2^64 - 1. */
static unsigned refused_length(const char *text)
{
    const size_t digits = strspn(text, "0123456789");
    if (digits == 0 || text[digits])
        return 400;
    text += strspn(text, "0");
    const size_t length = strlen(text);
    return length > LONGEST_LENGTH || (length == LONGEST_LENGTH && strcmp(text, "18446744073709551615") > 0) ? 413 : 0;
}

/* The data of the request's body does not count: only heads, chunk lengths and extensions. Returns 0 if the system
 * does not count received bytes. */
static uint64_t head_bytes_received(const organ_server_request *request)
{
    const union MHD_ConnectionInfo *const info =
        organ_mhd.get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct tcp_info tcp = {0};
    socklen_t size = sizeof tcp;
    int unread = 0;
    if (!info || getsockopt(info->connect_fd, IPPROTO_TCP, TCP_INFO, &tcp, &size) != 0 ||
        ioctl(info->connect_fd, FIONREAD, &unread) != 0)
        return 0;
    const uint64_t received =
        size >= offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(uint64_t) ? tcp.tcpi_bytes_received : 0;
    const uint64_t others = (uint64_t)unread + request->body_bytes; /* not yet read by the library, or body data */
    return received > others ? received - others : 0;
}

/* Callback of organ_watch_own; `context` is the refused_search. A request is a candidate for its Content-Length. A
 * request with a chunked body becomes s->chunks if it has the most bytes outside of its body's data so far. */
static void add_candidate(void *context, void *held)
{
    refused_search *const s = context;
    organ_server_request *const request = held;
    /* atomic, because a worker of the request queue may be setting it */
    const organ_request_state state = __atomic_load_n(&request->state, __ATOMIC_RELAXED);
    const char *const length = organ_http_header(request, "Content-Length");
    const char *const coding = organ_http_header(request, "Transfer-Encoding");
    if (state == REQUEST_NEW && length && !coding && refused_length(length) && s->count < MAX_AT_ONCE)
        s->lengths[s->count++] = request;
    if (state != REQUEST_BODY || !coding)
        return;
    const uint64_t bytes = head_bytes_received(request);
    if (!s->chunks || bytes > s->chunks_bytes) {
        s->chunks = request;
        s->chunks_bytes = bytes;
    }
}

/* libmicrohttpd rejects a request if the extensions of a chunk exceed its buffer. Versions before 1.0 then reply
 * 500. Later ones reply 413, which has other causes, too, so the request must also have more than
 * LEAST_EXTENSION_BYTES outside of its body's data. */
static bool is_of_chunks(const refused_search *s, unsigned status)
{
    const bool strict = organ_http_library_is_strict();
    return s->chunks && status == (strict ? 413 : 500) && (!strict || s->chunks_bytes > LEAST_EXTENSION_BYTES);
}

/* Replies to all requests of this thread with an invalid Content-Length, unless the library is version 1.0, which
 * answers those correctly itself; and to the one with too long extensions of a chunk. */
void organ_http_refused(organ_server *server, unsigned status)
{
    refused_search s = {.count = 0};
    organ_watch_own(server->watch, add_candidate, &s);
    for (size_t k = 0; k < s.count && !organ_http_library_is_strict(); k++) {
        organ_http_problem(&s.lengths[k]->reply, refused_length(organ_http_header(s.lengths[k], "Content-Length")),
                           "the Content-Length is not a valid number of bytes");
        organ_http_send_at_once(s.lengths[k]);
    }
    if (is_of_chunks(&s, status)) {
        organ_http_problem(&s.chunks->reply, 413, "the extensions of a chunk exceed the size limit");
        organ_http_send_at_once(s.chunks);
    }
}
