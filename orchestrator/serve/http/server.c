/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/http_parts.h"

#include "formats/base/files.h"
#include "orchestrator/report/text/report_text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 512 /* connections that wait to be accepted; the kernel takes no more than net.core.somaxconn */

typedef union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
} address;

/* "[::1]:80" becomes host "::1" and *port "80"; *port points into `text`. `capacity` is the size of `host`. */
static organ_status split_address(const char *text, char *host, size_t capacity, const char **port, organ_error *error)
{
    const char *const colon = strrchr(text, ':');
    const bool bracket = text[0] == '[';
    size_t length = colon ? (size_t)(colon - text) : 0;
    const bool good = colon && strspn(colon + 1, "0123456789") == strlen(colon + 1) && colon[1] &&
                      strlen(colon + 1) <= 5 && strtoul(colon + 1, NULL, 10) <= 65535 && length < capacity &&
                      (!bracket || (length > 2 && colon[-1] == ']')) && (bracket || !memchr(text, ':', length));
    if (!good)
        return organ_fail(
            error, ORGAN_USAGE,
            "--listen '%s': must be an address and a port from 0 to 65535, such as 127.0.0.1:8935 or [::1]:8935", text);
    length -= bracket ? 2 : 0;
    memcpy(host, text + bracket, length);
    host[length] = '\0';
    *port = colon + 1;
    return ORGAN_OK;
}

static organ_status find_address(const char *text, address *to, socklen_t *size, organ_error *error)
{
    char host[256];
    const char *port = "";
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (split_address(text, host, sizeof host, &port, error) != ORGAN_OK)
        return error->status;
    const int failed = getaddrinfo(*host ? host : "0.0.0.0", port, &hints, &found);
    if (failed)
        return organ_fail(error, ORGAN_USAGE, "--listen '%s': %s", text,
                          failed == EAI_SYSTEM ? strerror(errno) : gai_strerror(failed));
    memcpy(to, found->ai_addr, found->ai_addrlen < sizeof *to ? found->ai_addrlen : sizeof *to);
    *size = found->ai_addrlen;
    freeaddrinfo(found);
    return ORGAN_OK;
}

static void describe_address(const address *a, organ_listening *listening)
{
    char text[INET6_ADDRSTRLEN] = "";
    if (a->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->six.sin6_addr, text, sizeof text);
        snprintf(listening->address, sizeof listening->address, "[%s]", text);
        listening->loopback = IN6_IS_ADDR_LOOPBACK(&a->six.sin6_addr);
        listening->any = IN6_IS_ADDR_UNSPECIFIED(&a->six.sin6_addr);
        listening->port = ntohs(a->six.sin6_port);
    } else {
        inet_ntop(AF_INET, &a->four.sin_addr, listening->address, sizeof listening->address);
        listening->loopback = ntohl(a->four.sin_addr.s_addr) >> 24 == 127;
        listening->any = a->four.sin_addr.s_addr == htonl(INADDR_ANY);
        listening->port = ntohs(a->four.sin_port);
    }
}

/* The bound address has the port that the system chose. `text` is for messages. */
static organ_status bind_to(const char *text, address *a, socklen_t size, organ_listening *listening,
                            organ_error *error)
{
    const int yes = 1;
    listening->fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listening->fd < 0)
        return organ_fail_errno(error, errno, "--listen '%s'", text);
    setsockopt(listening->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    int failed = bind(listening->fd, &a->any, size);
    if (!failed)
        failed = listen(listening->fd, BACKLOG);
    if (!failed)
        failed = getsockname(listening->fd, &a->any, &size); /* port 0 has become a free one */
    if (!failed) {
        describe_address(a, listening);
        return ORGAN_OK;
    }
    const int fault = errno;
    close(listening->fd);
    if (fault == EADDRINUSE)
        return organ_fail(
            error, ORGAN_IO,
            "--listen '%s': another program already listens there; choose another port with --listen ADDRESS:PORT",
            text);
    return organ_fail_errno(error, fault, "--listen '%s'", text);
}

/* Opens the socket for `text`, the value of --listen. `guarded`: the server has a file of tokens. Returns ORGAN_USAGE
 * if the text is not an address with a port, or if the address is not loopback and `guarded` is false; ORGAN_IO if a
 * system call fails, such as for a port in use. */
static organ_status http_listen(const char *text, bool guarded, organ_listening *listening, organ_error *error)
{
    address a = {0};
    socklen_t size = 0;
    *listening = (organ_listening){.fd = -1};
    if (find_address(text, &a, &size, error) != ORGAN_OK)
        return error->status;
    describe_address(&a, listening);
    if (!listening->loopback && !guarded)
        return organ_fail(error, ORGAN_USAGE,
                          "--listen '%s': other machines could reach this address: give a --token-file, or listen on "
                          "loopback (127.0.0.1)",
                          text);
    return bind_to(text, &a, size, listening, error);
}

/* CONNECTION_MEMORY is in bytes. LOOSE_DESCRIPTORS are those for other purposes than connections. */
enum { QUEUE_THREADS = 4, QUEUE_ROOM = 256, CONNECTION_MEMORY = 32 << 10, LOOSE_DESCRIPTORS = 512 };

/* ---- starting ---- */

/* Clients and jobs could read a secret or a log (`file`; NULL: not given) below the root or a store. `option` is for
 * the message. */
static organ_status check_outside(const organ_server *server, const char *option, const char *file, organ_error *error)
{
    const char *const slash = file ? strrchr(file, '/') : NULL;
    ORGAN_OWNED char *const folder = slash ? strndup(file, (size_t)(slash - file + 1)) : strdup(".");
    ORGAN_OWNED char *path = file ? realpath(file, NULL) : NULL;
    if (file && !path && folder)
        path = realpath(folder, NULL); /* the file will be created in this folder */
    if (path && organ_jail_contains(server->app.jail, path))
        organ_fail(error, ORGAN_USAGE, "%s %s: is below the root%s, where clients and jobs can read it", option, file,
                   server->options.caches ? " or a cache" : "");
    return error->status;
}

/* The files of tokens, key and log must be outside the root and the stores; a certificate is public. */
static organ_status open_guard(const organ_serve_options *options, organ_server *server, organ_error *error)
{
    bool open_to_group = false;
    server->guard.hosts = &server->options.hosts;
    server->guard.encrypted = options->tls_certificate != NULL;
    if (!options->tls_certificate != !options->tls_key)
        return organ_fail(error, ORGAN_USAGE, "%s is missing: --tls-cert and --tls-key go together",
                          options->tls_key ? "--tls-cert" : "--tls-key");
    if (check_outside(server, "--token-file", options->token_file, error) ||
        check_outside(server, "--tls-key", options->tls_key, error) ||
        check_outside(server, "--audit-log", options->audit_log, error))
        return error->status;
    if (options->token_file &&
        organ_tokens_open(options->token_file, &server->guard.tokens, &open_to_group, error) != ORGAN_OK)
        return error->status;
    if (open_to_group)
        organ_message(stderr, ORGAN_MESSAGE_WARNING,
                      "%s: the file's group may read the tokens (chmod 600 prevents this)", options->token_file);
    if (options->tls_certificate &&
        organ_tls_open(options->tls_certificate, options->tls_key, &server->tls, error) != ORGAN_OK)
        return error->status;
    if (options->audit_log && organ_audit_log_open(options->audit_log, &server->audit, error) != ORGAN_OK)
        return error->status;
    return organ_proxies_read(&options->proxies, &server->proxies, error);
}

/* Returns the largest number of connections from one network (organ_peer_network): options->per_address, or by default
 * half of options->connections. */
static unsigned server_share_of_one(const organ_serve_options *options)
{
    return options->per_address ? options->per_address : options->connections / 2;
}

unsigned organ_http_network_share(const organ_app *app) { return server_share_of_one(app->options); }

static organ_status open_server_parts(const organ_serve_options *options, const organ_area *const *areas,
                                      organ_server *server, organ_error *error)
{
    struct organ_jail *jail = NULL;
    server->options = *options;
    server->app = (organ_app){.areas = areas, .options = &server->options};
    if (organ_jail_open(options->root, &jail, error) != ORGAN_OK)
        return error->status;
    server->app.jail = jail;
    if (options->caches && organ_jail_add_stores(jail, error) != ORGAN_OK)
        return error->status;
    server->tally = organ_tally_create();
    server->penalty = organ_penalty_create();
    server->watch = organ_watch_create(options->connections, server_share_of_one(options));
    server->app.tally = server->tally;
    server->app.guard = &server->guard;
    if (!server->tally || !server->penalty || !server->watch)
        return organ_fail_errno(error, ENOMEM, "the server");
    if (open_guard(options, server, error) != ORGAN_OK)
        return error->status;
    organ_request_queue_create(QUEUE_THREADS, QUEUE_ROOM, &server->queue, error);
    server->app.queue = server->queue;
    return error->status;
}

/* server->started counts also an area whose start failed, because its stop must run. */
static organ_status start_areas(organ_server *server, organ_error *error)
{
    for (const organ_area *const *area = server->app.areas; *area && !error->status; area++) {
        server->started++;
        if ((*area)->start)
            (*area)->start(&server->app, error);
    }
    return error->status;
}

/* Main function of a short-lived thread: lowers its own priority and starts the threads of the library, which
 * inherit the priority. There are as many as processors, but at least 2 and at most 4. Returns errno as a pointer,
 * for the case that server->daemon is NULL. */
static void *start_below_jobs(void *context)
{
    organ_server *const server = context;
    const organ_serve_options *const options = &server->options;
    organ_http_step_back();
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = 2;
    while (threads < 4 && threads < cores)
        threads++;
    struct MHD_OptionItem more[ORGAN_TLS_OPTIONS + 1] = {{MHD_OPTION_END, 0, NULL}};
    if (server->tls) {
        organ_tls_options(more);
        more[ORGAN_TLS_OPTIONS] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    }
    server->daemon = organ_mhd.start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | (server->tls ? MHD_USE_TLS : 0),
        0, NULL, NULL, organ_http_on_request, server, MHD_OPTION_EXTERNAL_LOGGER, organ_http_on_message, server,
        MHD_OPTION_LISTEN_SOCKET, server->listener, MHD_OPTION_THREAD_POOL_SIZE, threads, MHD_OPTION_CONNECTION_LIMIT,
        options->connections, MHD_OPTION_CONNECTION_TIMEOUT, options->timeout, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_STRICT_FOR_CLIENT, (int)organ_http_library_is_strict(),
        MHD_OPTION_NOTIFY_CONNECTION, organ_http_on_connection, server, MHD_OPTION_NOTIFY_COMPLETED, organ_http_on_end,
        server, MHD_OPTION_URI_LOG_CALLBACK, organ_http_on_target, server, MHD_OPTION_UNESCAPE_CALLBACK,
        organ_http_on_unescape, server, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_ARRAY, more, MHD_OPTION_END);
    return (void *)(intptr_t)errno;
}

/* A separate thread (start_below_jobs) starts libmicrohttpd, so that the calling thread keeps its priority. */
static organ_status start_daemon(organ_server *server, organ_error *error)
{
    pthread_t thread;
    void *fault = NULL;
    const int failed = pthread_create(&thread, NULL, start_below_jobs, server);
    if (!failed)
        pthread_join(thread, &fault);
    if (server->daemon)
        return ORGAN_OK;
    return organ_fail_errno(error, failed ? failed : (int)(intptr_t)fault,
                            "the threads of the server cannot be started");
}

organ_status organ_server_open(const organ_serve_options *options, const organ_area *const *areas, organ_server **made,
                               organ_error *error)
{
    organ_listening listening;
    organ_server *const server = calloc(1, sizeof *server);
    *made = NULL;
    if (!server)
        return organ_fail_errno(error, ENOMEM, "the server");
    organ_daemon_library_open(error);
    pthread_mutex_init(&server->stream_lock, NULL);
    /* before any thread starts: otherwise several threads could set the seed at the same time */
    json_object_seed(0);
    server->listener = -1;
    if (!error->status && options->per_address > options->connections)
        organ_fail(error, ORGAN_USAGE, "--per-address is %u, but there are %u connections in all (--connections)",
                   options->per_address, options->connections);
    /* A connection needs a descriptor for its socket and one for a file that is being sent. */
    organ_raise_descriptors(2 * (uint64_t)options->connections + LOOSE_DESCRIPTORS);
    if (!error->status && open_server_parts(options, areas, server, error) == ORGAN_OK &&
        http_listen(options->listen, options->token_file != NULL, &listening, error) == ORGAN_OK) {
        server->listener = listening.fd;
        server->port = listening.port;
        server->guard.any_address = listening.any;
        snprintf(server->guard.address, sizeof server->guard.address, "%s", listening.address);
        snprintf(server->url, sizeof server->url, "%s://%s:%u/", server->tls ? "https" : "http",
                 listening.any ? "127.0.0.1" : listening.address, listening.port);
        if (start_areas(server, error) == ORGAN_OK)
            start_daemon(server, error);
    }
    if (error->status)
        organ_server_close(server, /*seconds=*/0);
    else
        *made = server;
    return error->status;
}

const char *organ_server_url(const organ_server *server) { return server->url; }
unsigned organ_server_port(const organ_server *server) { return server->port; }

/* ---- running and ending ---- */

static void renew_tokens(organ_server *server, bool anyway)
{
    organ_error error = {0};
    if (!server->guard.tokens)
        return;
    if (organ_tokens_renew(server->guard.tokens, anyway, &error))
        organ_message(stderr, ORGAN_MESSAGE_NOTE, "%s: reloaded: %zu tokens", server->options.token_file,
                      organ_tokens_count(server->guard.tokens));
    else if (error.status)
        organ_message(stderr, ORGAN_MESSAGE_WARNING, "%s; the tokens are unchanged", error.message);
}

void organ_server_renew(organ_server *server)
{
    organ_error tls = {0}, audit = {0};
    renew_tokens(server, /*anyway=*/true);
    if (server->tls && organ_tls_renew(server->tls, &tls) == ORGAN_OK)
        organ_message(stderr, ORGAN_MESSAGE_NOTE, "%s: reloaded, with its key", server->options.tls_certificate);
    else if (tls.status)
        organ_message(stderr, ORGAN_MESSAGE_WARNING, "%s; the certificate is unchanged", tls.message);
    if (server->audit && organ_audit_log_reopen(server->audit, &audit) == ORGAN_OK)
        organ_message(stderr, ORGAN_MESSAGE_NOTE, "%s: reopened", server->options.audit_log);
    else if (audit.status)
        organ_message(stderr, ORGAN_MESSAGE_WARNING, "%s; lines are still written to the open file", audit.message);
}

void organ_server_tick(organ_server *server)
{
    renew_tokens(server, /*anyway=*/false);
    organ_watch_tick(server->watch, organ_http_on_slow, server);
    organ_request_queue_tick(server->queue);
    organ_http_streams_tick(server);
}

static bool server_is_busy(organ_server *server)
{
    pthread_mutex_lock(&server->stream_lock);
    const bool streams = server->stream_count > 0;
    pthread_mutex_unlock(&server->stream_lock);
    return streams || organ_request_queue_busy(server->queue) ||
           __atomic_load_n(&server->answering, __ATOMIC_ACQUIRE) > 0;
}

/* Waits at most `seconds`; a second is 100 pauses of 10 ms. Waits without a limit for requests in the queue, because
 * these must have ended before the daemon is stopped. The longest operation of such a request is a read from the
 * disk. */
static void finish_replies(organ_server *server, unsigned seconds)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    for (unsigned k = 0; server_is_busy(server); k++) {
        organ_http_streams_tick(server);
        if (k >= 100 * seconds && !organ_request_queue_busy(server->queue))
            break;
        nanosleep(&pause, NULL);
    }
}

/* Waits at most 2 seconds for the library. Stopping the library with open connections is not safe: it dereferences a
 * null pointer if it then rejects a malformed request, which may already be in a socket. */
static void close_all_connections(organ_server *server)
{
    enum { MAX_PAUSES = 200 };
    const struct timespec pause = {.tv_nsec = 10000000};
    for (unsigned k = 0; k < MAX_PAUSES && organ_watch_count(server->watch) > 0; k++) {
        organ_watch_tick(server->watch, /*report=*/NULL, /*context=*/NULL);
        nanosleep(&pause, NULL);
    }
}

void organ_server_close(organ_server *server, unsigned seconds)
{
    if (!server)
        return;
    __atomic_store_n(&server->stopping, 1, __ATOMIC_RELEASE);
    if (server->daemon)
        organ_mhd.quiesce_daemon(server->daemon);
    for (size_t k = 0; k < server->started; k++)
        if (server->app.areas[k]->drain)
            server->app.areas[k]->drain(&server->app);
    organ_request_queue_stop(server->queue);
    if (server->daemon) {
        finish_replies(server, seconds);
        close_all_connections(server);
        organ_mhd.stop_daemon(server->daemon);
    }
    organ_request_queue_destroy(server->queue);
    while (server->started-- > 0)
        if (server->app.areas[server->started]->stop)
            server->app.areas[server->started]->stop(&server->app);
    if (server->listener >= 0)
        close(server->listener);
    organ_tokens_close(server->guard.tokens);
    organ_audit_log_close(server->audit);
    organ_tls_close(server->tls);
    organ_watch_destroy(server->watch);
    organ_tally_destroy(server->tally);
    organ_penalty_destroy(server->penalty);
    organ_jail_close((struct organ_jail *)server->app.jail);
    pthread_mutex_destroy(&server->stream_lock);
    free(server);
}

/* ---- usage and limits of the server's resources, for /metrics ---- */

/* Writes the usage and limits of the server, and the number of lines missing from the audit log, in Prometheus' text
 * format. */
static void quotas_print(const organ_server_request *request, FILE *out)
{
    organ_server *const server = request->server;
    const organ_serve_options *const options = &server->options;
    size_t waiting, max_waiting;
    organ_request_queue_length(server->queue, &waiting, &max_waiting);
    organ_http_quota(out, "organ_http_connections", "Connections open now.", organ_watch_count(server->watch),
                     options->connections);
    organ_http_quota(out, "organ_http_address_connections",
                     "Largest number of connections from one network (IPv4 /24, IPv6 /64).",
                     organ_watch_max_of_one(server->watch), server_share_of_one(options));
    organ_http_metric(out, "organ_http_displaced_total", "counter",
                      "Connections without a token that were closed in favour of newer ones.",
                      organ_watch_displaced(server->watch));
    organ_http_quota(out, "organ_http_body_bytes",
                     "Bytes of request bodies in memory; the limit covers all connections.",
                     __atomic_load_n(&server->body_bytes, __ATOMIC_RELAXED),
                     (unsigned long long)options->connections * ORGAN_HTTP_BODY_LIMIT);
    organ_http_quota(out, "organ_http_waiting_requests", "Requests that wait for a thread or for events.", waiting,
                     max_waiting);
    organ_http_quota(out, "organ_http_penalty_milliseconds",
                     "Delay of the next answer to the network with the most wrong tokens.",
                     (unsigned long long)(1e3 * organ_penalty_longest(server->penalty)),
                     (unsigned long long)(1e3 * ORGAN_PENALTY_MAX_SECONDS));
    if (server->audit)
        organ_http_metric(out, "organ_audit_lost_total", "counter", "Lines that could not be written to the audit log.",
                          organ_audit_log_lost(server->audit));
}

/* ---- routes of the server itself: health, metrics, login ---- */

static void get_health(const organ_server_request *request, organ_http_reply *reply)
{
    (void)request;
    organ_http_reply_json(reply, 200, json_pack("{s:s, s:s}", "status", "ok", "version", ORGAN_VERSION));
}

static void get_metrics(const organ_server_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    organ_error error = {0};
    organ_text text;
    char *all = NULL;
    if (organ_text_open(&text, &error) == ORGAN_OK) {
        organ_tally_print(app->tally, text.out);
        quotas_print(request, text.out);
        for (const organ_area *const *area = app->areas; *area; area++)
            if ((*area)->metrics)
                (*area)->metrics(app, text.out);
        organ_text_finish(&text, &all, &error);
    }
    organ_http_reply_text(reply, 200, "text/plain; version=0.0.4; charset=utf-8", all, all ? strlen(all) : 0);
}

/* `more` is appended to the cookie's attributes: "", or "; NAME=VALUE". */
static void set_cookie(const organ_guard *guard, organ_http_reply *reply, const char *value, const char *more)
{
    char text[256];
    snprintf(text, sizeof text, ORGAN_SESSION_COOKIE "=%s; Path=/; HttpOnly; SameSite=Strict%s%s", value,
             guard->encrypted ? "; Secure" : "", more);
    organ_http_reply_empty(reply, 204);
    organ_http_reply_header(reply, "Set-Cookie", text);
}

static void post_login(const organ_server_request *request, organ_http_reply *reply)
{
    const organ_guard *const guard = organ_http_app(request)->guard;
    ORGAN_OWNED_JSON json_t *const body = organ_http_body_json(request, reply);
    if (!body)
        return;
    organ_bearer bearer = {.name = ""};
    char session[ORGAN_SESSION_DIGITS + 1] = "none";
    const char *const token = json_string_value(json_object_get(body, "token"));
    if (!token)
        organ_http_problem(reply, 400, "\"token\" is missing or not a string");
    else if (json_object_size(body) != 1)
        organ_http_problem(reply, 400, "only \"token\" is allowed");
    else if (guard->tokens && !organ_tokens_login(guard->tokens, token, &bearer, session)) {
        organ_http_problem(reply, 401, "the token is wrong");
        organ_http_reply_header(reply, "WWW-Authenticate", "Bearer realm=\"organ\"");
        organ_http_reply_wrong_token(reply);
    } else {
        organ_http_done_by(request, bearer.name, !guard->tokens || bearer.access == ORGAN_ACCESS_RUN);
        set_cookie(guard, reply, session, /*more=*/"");
    }
    explicit_bzero(session, sizeof session);
}

static void post_logout(const organ_server_request *request, organ_http_reply *reply)
{
    set_cookie(organ_http_app(request)->guard, reply, /*value=*/"", "; Max-Age=0");
}

static const organ_http_route routes[] = {{ORGAN_HTTP_GET, "/healthz", get_health, .open = true},
                                          {ORGAN_HTTP_GET, "/metrics", get_metrics, .open = false},
                                          {ORGAN_HTTP_POST, "/api/v1/login", post_login, .open = true, .body = true},
                                          {ORGAN_HTTP_POST, "/api/v1/logout", post_logout, .open = true}};

const organ_area organ_area_server = {ORGAN_ROUTES(routes)};
