/* SPDX-License-Identifier: MIT
 * Replies of unknown length: connections that are suspended until there is more to send. */
#include "orchestrator/serve/http/server_parts.h"

#include <stdlib.h>

static time_t seconds_now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec;
}

organ_http_waker *organ_http_reply_stream(organ_http_reply *reply, const char *type, const organ_http_stream *stream)
{
    organ_http_waker *const waker = calloc(1, sizeof *waker);
    organ_http_reply_clear(reply);
    if (!waker) {
        stream->close(stream->context);
        organ_http_problem(reply, 500, "no memory");
        return NULL;
    }
    pthread_mutex_init(&waker->lock, NULL);
    waker->stream = *stream;
    waker->last = seconds_now();
    *reply = (organ_http_reply){.kind = REPLY_STREAM, .status = 200, .type = type, .fd = -1, .waker = waker};
    return waker;
}

/* If the stream's `read` is running, the connection is not suspended yet; `woken` then prevents suspend_stream from
 * suspending it when `read` has returned. */
void organ_http_wake(organ_http_waker *waker)
{
    pthread_mutex_lock(&waker->lock);
    waker->woken = true;
    if (waker->suspended) {
        waker->suspended = false;
        organ_mhd.resume_connection(waker->connection);
    }
    pthread_mutex_unlock(&waker->lock);
}

/* Does nothing if the stream was woken since its last read began, or if the server stops. Returns 0, the number of
 * bytes read, for read_reply_stream. */
static ssize_t suspend_stream(organ_http_waker *waker)
{
    pthread_mutex_lock(&waker->lock);
    if (!waker->woken && !__atomic_load_n(&waker->server->stopping, __ATOMIC_ACQUIRE)) {
        organ_mhd.suspend_connection(waker->connection);
        waker->suspended = true;
    }
    pthread_mutex_unlock(&waker->lock);
    return 0;
}

static ssize_t read_reply_stream(void *context, uint64_t position, char *to, size_t capacity)
{
    organ_http_waker *const waker = context;
    size_t bytes = 0;
    (void)position;
    if (__atomic_load_n(&waker->server->stopping, __ATOMIC_ACQUIRE))
        return MHD_CONTENT_READER_END_OF_STREAM;
    pthread_mutex_lock(&waker->lock);
    waker->woken = false;
    waker->last = seconds_now();
    pthread_mutex_unlock(&waker->lock);
    const organ_stream_state state = waker->stream.read(waker->stream.context, to, capacity, &bytes);
    if (state == ORGAN_STREAM_END)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (state == ORGAN_STREAM_WAIT || bytes == 0)
        return suspend_stream(waker);
    *waker->sent += bytes;
    organ_tally_bytes(waker->tally, bytes);
    return (ssize_t)bytes;
}

static void end_reply_stream(void *context)
{
    organ_http_waker *const waker = context;
    organ_server *const server = waker->server;
    pthread_mutex_lock(&server->stream_lock);
    LIST_REMOVE(waker, entry);
    server->stream_count--;
    pthread_mutex_unlock(&server->stream_lock);
    organ_http_waker_discard(waker);
}

struct MHD_Response *organ_http_stream_response(organ_server_request *request)
{
    enum { PIECE = 4096 }; /* bytes that the library asks for at a time */
    organ_http_waker *const waker = request->reply.waker;
    organ_server *const server = request->server;
    struct MHD_Response *const response =
        organ_mhd.create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE, read_reply_stream, waker, end_reply_stream);
    if (!response)
        return NULL;
    request->reply.waker = NULL;
    waker->connection = request->connection;
    waker->tally = server->tally;
    waker->sent = &request->reply.size;
    pthread_mutex_lock(&server->stream_lock);
    waker->server = server;
    LIST_INSERT_HEAD(&server->streams, waker, entry);
    server->stream_count++;
    pthread_mutex_unlock(&server->stream_lock);
    return response;
}

void organ_http_streams_tick(organ_server *server)
{
    const bool all = __atomic_load_n(&server->stopping, __ATOMIC_ACQUIRE);
    organ_http_waker *waker;
    pthread_mutex_lock(&server->stream_lock);
    LIST_FOREACH(waker, &server->streams, entry)
    {
        pthread_mutex_lock(&waker->lock);
        const bool due = waker->stream.heartbeat && seconds_now() - waker->last >= (time_t)waker->stream.heartbeat;
        pthread_mutex_unlock(&waker->lock);
        if (all || due)
            organ_http_wake(waker);
    }
    pthread_mutex_unlock(&server->stream_lock);
}
