/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/server.h"

#include "orchestrator/serve/http/connection.h"
#include "orchestrator/serve/http/jail.h"
#include "orchestrator/serve/http/listen.h"
#include "orchestrator/serve/http/server_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* CONNECTION_MEMORY is in bytes. LOOSE_DESCRIPTORS are those for other purposes than connections. */
enum { QUEUE_THREADS = 4, QUEUE_ROOM = 256, CONNECTION_MEMORY = 32 << 10, LOOSE_DESCRIPTORS = 512 };

/* ---- starting ---- */

/* A connection needs a descriptor for its socket and one for a file that is being sent. */
static void raise_descriptor_limit(unsigned connections)
{
    struct rlimit limit;
    const rlim_t requested = 2 * (rlim_t)connections + LOOSE_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= requested)
        return;
    limit.rlim_cur = limit.rlim_max < requested ? limit.rlim_max : requested;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Clients and jobs could read a secret or a log (`file`; NULL: not given) below the root or a store. `option` is for
 * the message. */
static organ_status check_outside(const organ_server *server, const char *option, const char *file, organ_error *error)
{
    const char *const slash = file ? strrchr(file, '/') : NULL;
    char *const folder = slash ? strndup(file, (size_t)(slash - file + 1)) : strdup(".");
    char *path = file ? realpath(file, NULL) : NULL;
    if (file && !path && folder)
        path = realpath(folder, NULL); /* the file will be created in this folder */
    if (path && organ_jail_contains(server->app.jail, path))
        organ_fail(error, ORGAN_USAGE, "%s %s: is below the root%s, where clients and jobs can read it", option, file,
                   server->options.caches ? " or a cache" : "");
    free(folder);
    free(path);
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
        fprintf(stderr, "organ: %s: the file's group may read the tokens (chmod 600 prevents this)\n",
                options->token_file);
    if (options->tls_certificate &&
        organ_tls_open(options->tls_certificate, options->tls_key, &server->tls, error) != ORGAN_OK)
        return error->status;
    if (options->audit_log && organ_audit_log_open(options->audit_log, &server->audit, error) != ORGAN_OK)
        return error->status;
    return organ_proxies_read(&options->proxies, &server->proxies, error);
}

unsigned organ_server_share_of_one(const organ_serve_options *options)
{
    return options->per_address ? options->per_address : options->connections / 2;
}

unsigned organ_http_network_share(const organ_app *app) { return organ_server_share_of_one(app->options); }

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
    server->watch = organ_watch_create(options->connections, organ_server_share_of_one(options));
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
    raise_descriptor_limit(options->connections);
    if (!error->status && open_server_parts(options, areas, server, error) == ORGAN_OK &&
        organ_http_listen(options->listen, options->token_file != NULL, &listening, error) == ORGAN_OK) {
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
        organ_server_close(server, 0);
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
        fprintf(stderr, "organ: %s: reloaded: %zu tokens\n", server->options.token_file,
                organ_tokens_count(server->guard.tokens));
    else if (error.status)
        fprintf(stderr, "organ: %s; the tokens are unchanged\n", error.message);
}

void organ_server_renew(organ_server *server)
{
    organ_error tls = {0}, audit = {0};
    renew_tokens(server, true);
    if (server->tls && organ_tls_renew(server->tls, &tls) == ORGAN_OK)
        fprintf(stderr, "organ: %s: reloaded, with its key\n", server->options.tls_certificate);
    else if (tls.status)
        fprintf(stderr, "organ: %s; the certificate is unchanged\n", tls.message);
    if (server->audit && organ_audit_log_reopen(server->audit, &audit) == ORGAN_OK)
        fprintf(stderr, "organ: %s: reopened\n", server->options.audit_log);
    else if (audit.status)
        fprintf(stderr, "organ: %s; lines are still written to the open file\n", audit.message);
}

void organ_server_tick(organ_server *server)
{
    renew_tokens(server, false);
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
        organ_watch_tick(server->watch, NULL, NULL);
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
