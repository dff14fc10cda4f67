/* SPDX-License-Identifier: MIT
 * Sends replies: through libmicrohttpd, or directly to the socket. */
#include "orchestrator/serve/http/http_parts.h"

#include "formats/base/plain_numbers.h"
#include "orchestrator/machine/quantity.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_ROUTES = 96, MAX_STATUSES = 24, BUCKETS = 8 };

static const double bounds[BUCKETS] = {0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60};

typedef struct route_tally {
    const organ_http_route *route; /* NULL: requests that match no route */
    uint64_t count;                /* requests */
    uint64_t bucket[BUCKETS];      /* requests that took at most bounds[b] seconds */
    double seconds;                /* sum of their durations */
    struct {
        unsigned status;
        uint64_t count;
    } statuses[MAX_STATUSES]; /* requests by status, in the order in which the statuses first occurred */
    size_t status_count;
} route_tally;

struct organ_request_tally {
    pthread_mutex_t lock;
    route_tally routes[MAX_ROUTES]; /* row 0 counts requests that match no route */
    size_t route_count;
    /* bytes of bodies sent, connections opened, connections closed as slow; atomic, without the lock */
    uint64_t bytes, connections, slow;
};

/* Row 0 counts the requests that match no route. */
organ_request_tally *organ_tally_create(void)
{
    organ_request_tally *const tally = calloc(1, sizeof *tally);
    if (tally) {
        pthread_mutex_init(&tally->lock, NULL);
        tally->route_count = 1;
    }
    return tally;
}

void organ_tally_destroy(organ_request_tally *tally)
{
    if (tally)
        pthread_mutex_destroy(&tally->lock);
    free(tally);
}

/* Adds a row for a route that has none. If the table is full, which the routes of this server never cause, a further
 * route shares the row of requests without a route. */
static route_tally *tally_of(organ_request_tally *tally, const organ_http_route *route)
{
    size_t k = 0;
    while (k < tally->route_count && tally->routes[k].route != route)
        k++;
    if (k == tally->route_count && k < MAX_ROUTES)
        tally->routes[tally->route_count++].route = route;
    return &tally->routes[k < MAX_ROUTES ? k : 0];
}

/* bucket[b] counts durations of at most bounds[b], as Prometheus requires. */
void organ_tally_request(organ_request_tally *tally, const organ_http_route *route, unsigned status, double seconds)
{
    ORGAN_LOCKED(&tally->lock);
    route_tally *const t = tally_of(tally, route);
    size_t k = 0;
    while (k < t->status_count && t->statuses[k].status != status)
        k++;
    if (k == t->status_count && k < MAX_STATUSES)
        t->statuses[t->status_count++].status = status;
    if (k < MAX_STATUSES)
        t->statuses[k].count++;
    t->count++;
    t->seconds += seconds;
    for (int b = 0; b < BUCKETS; b++)
        t->bucket[b] += seconds <= bounds[b];
}

static uint64_t tally_count_of(const uint64_t *counter) { return __atomic_load_n(counter, __ATOMIC_RELAXED); }
static void count_more(uint64_t *counter, uint64_t more) { __atomic_add_fetch(counter, more, __ATOMIC_RELAXED); }

void organ_tally_bytes(organ_request_tally *tally, uint64_t bytes) { count_more(&tally->bytes, bytes); }
void organ_tally_slow(organ_request_tally *tally) { count_more(&tally->slow, 1); }

void organ_tally_connection(organ_request_tally *tally, bool opened) { count_more(&tally->connections, opened); }

/* The second number of statm counts resident pages. */
unsigned long long organ_http_resident(pid_t pid)
{
    char path[40];
    unsigned long long pages = 0;
    snprintf(path, sizeof path, "/proc/%ld/statm", (long)pid);
    FILE *const file = fopen(path, "re");
    if (!file)
        return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (unsigned long long)sysconf(_SC_PAGESIZE);
}

static void put_route_label(FILE *out, const route_tally *t)
{
    fprintf(out, "route=\"%s\",method=\"%s\"", t->route ? t->route->pattern : "",
            t->route ? organ_http_method_names[t->route->method] : "");
}

static void print_durations(const route_tally *t, FILE *out)
{
    if (!t->count)
        return;
    for (int b = 0; b <= BUCKETS; b++) {
        fputs("organ_http_request_seconds_bucket{", out);
        put_route_label(out, t);
        if (b < BUCKETS)
            organ_fprintf(out, ",le=\"%g\"} %llu\n", bounds[b], (unsigned long long)t->bucket[b]);
        else
            fprintf(out, ",le=\"+Inf\"} %llu\n", (unsigned long long)t->count);
    }
    fputs("organ_http_request_seconds_sum{", out);
    put_route_label(out, t);
    organ_fprintf(out, "} %.6f\norgan_http_request_seconds_count{", t->seconds);
    put_route_label(out, t);
    fprintf(out, "} %llu\n", (unsigned long long)t->count);
}

void organ_http_metric(FILE *out, const char *name, const char *type, const char *help, unsigned long long value)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, type, name, value);
}

void organ_http_quota(FILE *out, const char *name, const char *help, unsigned long long used, unsigned long long limit)
{
    organ_http_metric(out, name, "gauge", help, used);
    fprintf(out, "# HELP %s_limit Limit of this value.\n# TYPE %s_limit gauge\n", name, name);
    if (limit)
        fprintf(out, "%s_limit %llu\n", name, limit);
    else
        fprintf(out, "%s_limit +Inf\n", name);
}

void organ_tally_print(organ_request_tally *tally, FILE *out)
{
    ORGAN_LOCKED(&tally->lock);
    fputs("# HELP organ_http_requests_total Requests by route and status; an empty route stands for requests that "
          "match none.\n"
          "# TYPE organ_http_requests_total counter\n",
          out);
    for (size_t k = 0; k < tally->route_count; k++)
        for (size_t s = 0; s < tally->routes[k].status_count; s++) {
            fputs("organ_http_requests_total{", out);
            put_route_label(out, &tally->routes[k]);
            fprintf(out, ",status=\"%u\"} %llu\n", tally->routes[k].statuses[s].status,
                    (unsigned long long)tally->routes[k].statuses[s].count);
        }
    fputs("# HELP organ_http_request_seconds Seconds from the first line of a request to the last byte of its reply.\n"
          "# TYPE organ_http_request_seconds histogram\n",
          out);
    for (size_t k = 0; k < tally->route_count; k++)
        print_durations(&tally->routes[k], out);
    organ_http_metric(out, "organ_http_sent_bytes_total", "counter", "Bytes of bodies sent.",
                      tally_count_of(&tally->bytes));
    organ_http_metric(out, "organ_http_connections_total", "counter", "Connections accepted.",
                      tally_count_of(&tally->connections));
    organ_http_metric(out, "organ_http_slow_total", "counter",
                      "Connections closed because a request took too long to arrive.", tally_count_of(&tally->slow));
    organ_http_metric(out, "process_resident_memory_bytes", "gauge", "Resident memory of the server.",
                      organ_http_resident(getpid()));
}

/* ---- replies of unknown length: connections that are suspended until there is more to send ---- */

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
    waker->last = organ_seconds_now();
    *reply = (organ_http_reply){.kind = REPLY_STREAM, .status = 200, .type = type, .fd = -1, .waker = waker};
    return waker;
}

/* If the stream's `read` is running, the connection is not suspended yet; `woken` then prevents suspend_stream from
 * suspending it when `read` has returned. */
void organ_http_wake(organ_http_waker *waker)
{
    ORGAN_LOCKED(&waker->lock);
    waker->woken = true;
    if (waker->suspended) {
        waker->suspended = false;
        organ_mhd.resume_connection(waker->connection);
    }
}

/* Does nothing if the stream was woken since its last read began, or if the server stops. Returns 0, the number of
 * bytes read, for read_reply_stream. */
static ssize_t suspend_stream(organ_http_waker *waker)
{
    ORGAN_LOCKED(&waker->lock);
    if (!waker->woken && !__atomic_load_n(&waker->server->stopping, __ATOMIC_ACQUIRE)) {
        organ_mhd.suspend_connection(waker->connection);
        waker->suspended = true;
    }
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
    waker->last = organ_seconds_now();
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

/* Creates the response of a REPLY_STREAM. NULL if memory runs out. */
static struct MHD_Response *stream_response(organ_server_request *request)
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
    ORGAN_LOCKED(&server->stream_lock);
    waker->server = server;
    LIST_INSERT_HEAD(&server->streams, waker, entry);
    server->stream_count++;
    return response;
}

void organ_http_streams_tick(organ_server *server)
{
    const bool all = __atomic_load_n(&server->stopping, __ATOMIC_ACQUIRE);
    organ_http_waker *waker;
    ORGAN_LOCKED(&server->stream_lock);
    LIST_FOREACH(waker, &server->streams, entry)
    {
        pthread_mutex_lock(&waker->lock);
        const bool due = waker->stream.heartbeat && organ_seconds_now() - waker->last >= waker->stream.heartbeat;
        pthread_mutex_unlock(&waker->lock);
        if (all || due)
            organ_http_wake(waker);
    }
}

static const char strict_policy[] = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static struct MHD_Response *make_response(organ_server_request *request)
{
    organ_http_reply *const reply = &request->reply;
    struct MHD_Response *response = NULL;
    switch (reply->kind) {
    case REPLY_BYTES:
        response = organ_mhd.create_response_from_buffer(reply->size, reply->bytes, MHD_RESPMEM_MUST_FREE);
        reply->bytes = response ? NULL : reply->bytes;
        break;
    case REPLY_CONSTANT:
        response = organ_mhd.create_response_from_buffer(reply->size, (void *)reply->data, MHD_RESPMEM_PERSISTENT);
        break;
    case REPLY_FILE:
        response = organ_mhd.create_response_from_fd_at_offset64(reply->run, reply->fd, reply->from);
        reply->size = (size_t)reply->run;
        reply->fd = response ? -1 : reply->fd;
        break;
    case REPLY_STREAM:
        response = stream_response(request);
        break;
    case REPLY_LATER:
    case REPLY_NONE:
        break;
    }
    return response;
}

static bool has_header(const organ_http_reply *reply, const char *name)
{
    for (size_t k = 0; k < reply->header_count; k++)
        if (strcasecmp(reply->headers[k].name, name) == 0)
            return true;
    return false;
}

enum { USUAL_HEADERS = 7 };

/* A NULL value means that the reply does not need the header. There are no CORS headers, so pages of other sites
 * cannot read replies. */
static void usual_headers(const organ_http_reply *reply, organ_http_field fields[USUAL_HEADERS])
{
    const organ_http_field usual[USUAL_HEADERS] = {
        {"Content-Security-Policy", reply->policy ? reply->policy : strict_policy},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Content-Type", reply->type},
        {"Cache-Control", has_header(reply, "Cache-Control") ? NULL : "no-store"}};
    memcpy(fields, usual, sizeof usual);
}

/* Returns false if a header that every reply needs cannot be added. */
static bool add_headers(const organ_http_reply *reply, struct MHD_Response *response)
{
    organ_http_field fields[USUAL_HEADERS];
    usual_headers(reply, fields);
    for (size_t k = 0; k < USUAL_HEADERS; k++)
        if (fields[k].value && organ_mhd.add_response_header(response, fields[k].name, fields[k].value) != MHD_YES)
            return false;
    /* libmicrohttpd rejects a header whose value it cannot contain, such as a file name with a line break. The reply is
     * then sent without this header. */
    for (size_t k = 0; k < reply->header_count; k++)
        organ_mhd.add_response_header(response, reply->headers[k].name, reply->headers[k].value);
    return true;
}

enum MHD_Result organ_http_send(organ_server_request *request)
{
    if (request->reply.kind == REPLY_NONE)
        organ_http_problem(&request->reply, 500, "the request was not answered");
    struct MHD_Response *const response = make_response(request);
    request->state = REQUEST_QUEUED;
    if (!response)
        return MHD_NO;
    const bool complete = add_headers(&request->reply, response);
    const enum MHD_Result queued =
        complete ? organ_mhd.queue_response(request->connection, request->reply.status, response) : MHD_NO;
    organ_mhd.destroy_response(response);
    return queued;
}

/* The body of a REPLY_BYTES must be text without NUL. *bytes is the length of the result, which the caller frees.
 * NULL if memory runs out. */
static char *whole_reply(const organ_http_reply *reply, size_t *bytes)
{
    organ_http_field fields[USUAL_HEADERS];
    organ_error error = {0};
    organ_text text;
    char *whole = NULL;
    usual_headers(reply, fields);
    if (organ_text_open(&text, &error) != ORGAN_OK)
        return NULL;
    fprintf(text.out, "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Length: %zu\r\n", reply->status,
            organ_mhd.get_reason_phrase_for(reply->status), reply->size);
    for (size_t k = 0; k < USUAL_HEADERS; k++)
        if (fields[k].value)
            fprintf(text.out, "%s: %s\r\n", fields[k].name, fields[k].value);
    fprintf(text.out, "\r\n%.*s", (int)reply->size, reply->bytes ? reply->bytes : "");
    if (organ_text_finish(&text, &whole, &error) != ORGAN_OK)
        return NULL;
    *bytes = strlen(whole);
    return whole;
}

/* If sending without TLS fails, sets the reply's status to 0, for the log. Then reads what the client has sent, at
 * most DRAINED bytes: a connection closed with unread bytes is reset, and the client loses the reply. */
void organ_http_send_at_once(organ_server_request *request)
{
    enum { DRAINED = 1 << 20 };
    char rest[4096];
    size_t bytes = 0;
    const union MHD_ConnectionInfo *const socket =
        organ_mhd.get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *const tls =
        organ_mhd.get_connection_info(request->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    ORGAN_OWNED char *const text = socket ? whole_reply(&request->reply, &bytes) : NULL;
    request->state = REQUEST_QUEUED;
    if (text && request->server->tls && tls && tls->tls_session)
        organ_tls_send(tls->tls_session, text, bytes);
    else if (text && send(socket->connect_fd, text, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        request->reply.status = 0;
    if (socket) {
        for (size_t k = 0; k < DRAINED / sizeof rest && recv(socket->connect_fd, rest, sizeof rest, MSG_DONTWAIT) > 0;
             k++)
            ;
        shutdown(socket->connect_fd, SHUT_WR);
    }
}
