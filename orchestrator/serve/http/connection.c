/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/http_parts.h"

#include "formats/base/plain_numbers.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- connections ---- */

static void write_peer_address(struct MHD_Connection *connection, char *text, size_t size)
{
    const union MHD_ConnectionInfo *const info =
        organ_mhd.get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *const address = info ? info->client_addr : NULL;
    snprintf(text, size, "-");
    if (address && address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, text, (socklen_t)size);
    else if (address && address->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, text, (socklen_t)size);
}

/* A connection has options.timeout seconds once it has sent a valid token (`admitted`), before that at most
 * options.token_timeout (by default 5). */
static unsigned request_timeout(const organ_server *server, bool admitted)
{
    enum { DEFAULT_BEFORE_TOKEN = 5 };
    const unsigned seconds = server->options.timeout,
                   few = server->options.token_timeout ? server->options.token_timeout : DEFAULT_BEFORE_TOKEN;
    return admitted || seconds < few ? seconds : few;
}

static void set_request_deadline(const organ_server_request *request, unsigned seconds)
{
    organ_watch_until(request->server->watch, request->watched, seconds);
}

/* server->watch never closes an admitted connection to make room. Returns false if the connection would use the
 * reserve for tokens with the role run. */
static bool admit_connection(const organ_server_request *request)
{
    const organ_request_account *const account = request->account;
    return !account->admitted || organ_watch_admit(request->server->watch, request->watched, account->runs);
}

void organ_http_on_slow(void *context, const char *peer)
{
    organ_server *const server = context;
    organ_tally_slow(server->tally);
    if (!server->options.quiet)
        fprintf(stderr, "%s closed: no complete request in time\n", peer);
}

/* ---- the log ---- */

static void log_request(const organ_server_request *request, bool complete)
{
    const organ_http_reply *const reply = &request->reply;
    organ_error error = {0};
    organ_text text;
    ORGAN_OWNED char *line = NULL;
    if (organ_text_open(&text, &error) != ORGAN_OK)
        return;
    fprintf(text.out, "%s ", request->address);
    organ_text_visible(text.out, *request->verb ? request->verb : "-");
    fputc(' ', text.out);
    organ_text_visible(text.out, request->target);
    organ_fprintf(text.out, " %u %zu %.1fms", reply->status, reply->size, 1e3 * organ_http_waited(request));
    if (!complete)
        fputs(" aborted", text.out);
    if (*reply->why) {
        fputs(": ", text.out);
        organ_text_visible(text.out, reply->why);
    }
    fputc('\n', text.out);
    if (organ_text_finish(&text, &line, &error) == ORGAN_OK)
        fputs(line, stderr);
}

/* The line names the job set by organ_http_about_job; without such a call, the job in the path, its parameter {id},
 * which only routes of jobs have. */
static void audit_request(const organ_server_request *request)
{
    const char *job = request->account->job;
    for (size_t k = 0; k < request->parameter_count; k++)
        if (!*job && strcmp(request->parameters[k].name, "id") == 0)
            job = request->parameters[k].value;
    const organ_audit_entry entry = {.address = request->address,
                                     .token = request->account->token_name,
                                     .method = request->verb,
                                     .path = request->target,
                                     .job = job,
                                     .status = request->reply.status};
    organ_audit_log_write(request->server->audit, &entry);
}

void organ_http_on_message(void *context, const char *format, va_list list)
{
    static const char refusal[] = "Error processing request (HTTP response code is ";
    organ_server *const server = context;
    char message[500];
    organ_vsnprintf(message, sizeof message, format, list);
    if (strncmp(message, refusal, sizeof refusal - 1) == 0)
        organ_http_refused(server, (unsigned)strtoul(message + sizeof refusal - 1, NULL, 10));
    if (server->options.quiet)
        return;
    message[strcspn(message, "\r\n")] = '\0';
    /* The library logs the whole page that it sent: cut it off. */
    char *const page = strstr(message, " ('<");
    if (page)
        *page = '\0';
    fputs("http: ", stderr);
    organ_text_visible(stderr, message);
    fputc('\n', stderr);
}

/* ---- requests ---- */

static void free_request(organ_server_request *request)
{
    organ_http_reply_clear(&request->reply);
    for (size_t k = 0; k < request->parameter_count; k++)
        ORGAN_FREE_ARRAYS((char *)request->parameters[k].name, (char *)request->parameters[k].value);
    __atomic_sub_fetch(&request->server->body_bytes, request->body_capacity, __ATOMIC_RELAXED);
    ORGAN_FREE_ARRAYS(request->target, request->path, request->query_text, request->body, request->account, request);
}

/* libmicrohttpd calls it so that a program can decode %xx. */
size_t organ_http_on_unescape(void *context, struct MHD_Connection *connection, char *text)
{
    (void)context;
    (void)connection;
    return strlen(text);
}

void *organ_http_on_target(void *context, const char *target, struct MHD_Connection *connection)
{
    organ_server_request *const request = calloc(1, sizeof *request);
    organ_request_account *const account = calloc(1, sizeof *account);
    char *const copy = strdup(target);
    const union MHD_ConnectionInfo *const info =
        organ_mhd.get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (!request || !account || !copy || !info || !info->socket_context) {
        ORGAN_FREE_ARRAYS(request, account, copy);
        return NULL;
    }
    request->began = organ_seconds_now();
    request->server = context;
    request->app = &request->server->app;
    request->connection = connection;
    request->account = account;
    request->target = copy;
    request->line = target;
    request->watched = info->socket_context;
    snprintf(request->address, sizeof request->address, "%s", organ_watched_peer(request->watched));
    request->reply.fd = -1;
    /* a request that the library dropped without a call of organ_http_on_end */
    organ_server_request *const forgotten = organ_watched_hold(request->watched, request);
    if (forgotten)
        free_request(forgotten);
    return request;
}

/* Returns false with the reply that refuses the body. */
static bool body_passes(organ_server_request *request)
{
    const char *const length = organ_http_header(request, "Content-Length");
    const char *const coding = organ_http_header(request, "Transfer-Encoding");
    const unsigned long long bytes = length ? strtoull(length, NULL, 10) : 0;
    if (!request->route->body && (coding || bytes > 0))
        organ_http_problem(&request->reply, 400, "%s does not accept a body", request->route->pattern);
    else if (bytes > ORGAN_HTTP_BODY_LIMIT)
        organ_http_problem(&request->reply, 413, "the body has %llu bytes; the limit is %u", bytes,
                           ORGAN_HTTP_BODY_LIMIT);
    else
        return true;
    return false;
}

/* If the reply rejects a wrong token and the client's network has sent many wrong ones, it is delayed by
 * organ_penalty_add seconds. The connection is suspended meanwhile, so that no thread waits. */
static enum MHD_Result send_or_delay(organ_server_request *request)
{
    organ_server *const server = request->server;
    if (!request->reply.wrong_token)
        return organ_http_send(request);
    const double seconds = organ_penalty_add(server->penalty, request->address);
    if (seconds > 0) {
        set_request_deadline(request, 0);
        if (organ_request_queue_delay(server->queue, request, organ_http_waited(request) + seconds))
            return MHD_YES;
    }
    return organ_http_send(request);
}

/* Callback of MHD_get_connection_values; `context` is a text, the values of all such headers so far, joined by commas;
 * NULL: none, or memory ran out, which also ends the iteration. */
static enum MHD_Result append_forwarded(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    char **const all = context, *joined = NULL;
    (void)kind;
    if (strcasecmp(name, "X-Forwarded-For") != 0 || !value)
        return MHD_YES;
    const bool whole = asprintf(&joined, "%s%s%s", *all ? *all : "", *all ? "," : "", value) >= 0;
    free(*all);
    *all = whole ? joined : NULL;
    return whole ? MHD_YES : MHD_NO;
}

/* Without memory for the headers, the address is that of the proxy. */
static void find_address(organ_server_request *request)
{
    ORGAN_OWNED char *all = NULL;
    const organ_proxies *const proxies = &request->server->proxies;
    if (proxies->count)
        organ_mhd.get_connection_values(request->connection, MHD_HEADER_KIND, append_forwarded, &all);
    organ_proxies_client(proxies, organ_watched_peer(request->watched), all, request->address, sizeof request->address);
}

/* Head, target, Host, token and route are checked when the head is complete. A request that fails a check gets its
 * reply at once, without reading the body. */
static enum MHD_Result begin_request(organ_server_request *request, const char *verb, const char *version)
{
    organ_server *const server = request->server;
    snprintf(request->verb, sizeof request->verb, "%s", verb);
    find_address(request);
    bool good = organ_http_head_passes(request, verb, version) && organ_http_target_read(request);
    if (good) {
        /* The route is found first, because the guard lets open routes pass. A 401 of the guard replaces the 404 or 405
         * of organ_http_routed, so that a client without a token does not learn which routes exist. */
        const bool routed = organ_http_routed(request);
        good = organ_guard_passes(&server->guard, request, &request->reply) && routed && body_passes(request);
    }
    if (!admit_connection(request) && good) {
        organ_http_problem(&request->reply, 429,
                           "the other connections are reserved for tokens with the role run; '%s' has the role read",
                           request->account->token_name);
        organ_http_reply_header(&request->reply, "Retry-After", "5");
        good = false;
    }
    set_request_deadline(request, request_timeout(server, organ_watched_admitted(request->watched)));
    if (good && __atomic_load_n(&server->stopping, __ATOMIC_ACQUIRE)) {
        organ_http_problem(&request->reply, 503, "the server is stopping");
        good = false;
    }
    request->state = good ? REQUEST_BODY : REQUEST_QUEUED;
    return good ? MHD_YES : send_or_delay(request);
}

/* Sets body_too_long, and drops the bytes, if the body exceeds the limit or memory runs out. server->body_bytes
 * counts the memory of all bodies. */
static void append_body(organ_server_request *request, const char *data, size_t bytes)
{
    if (request->body_too_long || request->body_bytes + bytes > ORGAN_HTTP_BODY_LIMIT) {
        request->body_too_long = true;
        return;
    }
    if (request->body_bytes + bytes >= request->body_capacity) {
        const size_t capacity = 2 * (request->body_bytes + bytes) + 1;
        char *const body = realloc(request->body, capacity);
        if (!body) {
            request->body_too_long = true;
            return;
        }
        __atomic_add_fetch(&request->server->body_bytes, capacity - request->body_capacity, __ATOMIC_RELAXED);
        request->body = body;
        request->body_capacity = capacity;
    }
    memcpy(request->body + request->body_bytes, data, bytes);
    request->body_bytes += bytes;
    request->body[request->body_bytes] = '\0';
}

static enum MHD_Result answer_request(organ_server_request *request)
{
    set_request_deadline(request, 0);
    request->counted = true;
    __atomic_add_fetch(&request->server->answering, 1, __ATOMIC_RELEASE);
    if (request->body_too_long) {
        organ_http_problem(&request->reply, 413, "the body has more than %u bytes", ORGAN_HTTP_BODY_LIMIT);
        return organ_http_send(request);
    }
    if (request->route->waits && organ_request_queue_add(request->server->queue, request))
        return MHD_YES;
    if (request->route->waits) {
        organ_http_problem(&request->reply, 503, "too many requests are waiting for the disk");
        organ_http_reply_header(&request->reply, "Retry-After", "1");
    } else
        request->route->handle(request, &request->reply);
    return send_or_delay(request);
}

enum MHD_Result organ_http_on_request(void *context, struct MHD_Connection *connection, const char *target,
                                      const char *verb, const char *version, const char *data, size_t *bytes,
                                      void **held)
{
    organ_server_request *const request = *held;
    (void)context;
    (void)connection;
    (void)target;
    if (!request)
        return MHD_NO;
    switch (request->state) {
    case REQUEST_NEW:
        return begin_request(request, verb, version);
    case REQUEST_BODY:
        if (*bytes > 0) {
            append_body(request, data, *bytes);
            *bytes = 0;
            return MHD_YES;
        }
        /* If the connection were suspended now, the library would read from it after it is resumed, and close it
         * without a reply if the client has shut down its side. In the next call, which the library makes at once, it
         * only waits for a reply; so the request is queued there. */
        if (request->route->waits && !request->requested) {
            request->requested = true;
            return MHD_YES;
        }
        return answer_request(request);
    case REQUEST_READY:
        *bytes = 0;
        return organ_http_send(request);
    case REQUEST_IN_POOL:
    case REQUEST_QUEUED:
        *bytes = 0;
        return MHD_YES;
    }
    return MHD_NO;
}

/* If the client's end of data arrived together with the request, libmicrohttpd is not notified of it again, and the
 * connection would stay open until its timeout; the shutdown notifies it. */
static void close_half_closed(struct MHD_Connection *connection)
{
    char byte;
    const union MHD_ConnectionInfo *const info =
        organ_mhd.get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info && recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
        shutdown(info->connect_fd, SHUT_RD);
}

static void end_request(organ_server_request *request, bool complete)
{
    organ_server *const server = request->server;
    if (request->counted)
        __atomic_sub_fetch(&server->answering, 1, __ATOMIC_RELEASE);
    if (complete && !request->head && request->reply.kind != REPLY_STREAM)
        organ_tally_bytes(server->tally, request->reply.size);
    organ_tally_request(server->tally, request->route, request->reply.status, organ_http_waited(request));
    if (!server->options.quiet)
        log_request(request, complete);
    if (server->audit)
        audit_request(request);
    free_request(request);
}

void organ_http_on_end(void *context, struct MHD_Connection *connection, void **held,
                       enum MHD_RequestTerminationCode code)
{
    organ_server_request *const request = *held;
    const organ_server *const server = context;
    const bool complete = code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    if (!request)
        return;
    *held = NULL;
    organ_watched_hold(request->watched, /*held=*/NULL);
    if (complete)
        close_half_closed(connection);
    admit_connection(request); /* a login admits its connection only now */
    const bool admitted = organ_watched_admitted(request->watched);
    /* The library closes idle connections after options.timeout; this deadline is for a next request that begins and
     * does not end. It may begin when the connection was idle for almost that time, hence twice the time. Clients
     * without a token get their few seconds (request_timeout) only once, for idling and the next request together. */
    set_request_deadline(request, (admitted ? 2 : 1) * request_timeout(server, admitted));
    end_request(request, complete);
}

void organ_http_on_connection(void *context, struct MHD_Connection *connection, void **watched,
                              enum MHD_ConnectionNotificationCode code)
{
    organ_server *const server = context;
    char peer[64];
    organ_tally_connection(server->tally, code == MHD_CONNECTION_NOTIFY_STARTED);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *const info =
            organ_mhd.get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        write_peer_address(connection, peer, sizeof peer);
        *watched = organ_watch_add(server->watch, info->connect_fd, peer, request_timeout(server, /*admitted=*/false));
    } else if (*watched) {
        /* The library drops a request whose query has more parameters than it has room for, without a call when it
         * ends. */
        organ_server_request *const forgotten = organ_watched_hold(*watched, /*held=*/NULL);
        if (forgotten)
            end_request(forgotten, /*complete=*/false);
        organ_watch_remove(server->watch, *watched);
        *watched = NULL;
    }
}
