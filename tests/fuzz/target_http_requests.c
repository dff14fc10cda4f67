/* SPDX-License-Identifier: MIT
 * Bytes from a client to the server. libmicrohttpd reads them from a pair of sockets without threads or a port. Routes,
 * guard, jail and replies are organ's, except for jobs (target_job_bodies.c), which are processes. No reply may contain
 * a file outside of the root. */
#include "formats/base/text.h"
#include "tests/fuzz/targets.h"
#include "orchestrator/cli/cli_parts.h"
#include "orchestrator/serve/http/http_parts.h"
#include "orchestrator/serve/http/http.h"
#include "orchestrator/serve/models/serve_models.h"
#include "orchestrator/serve/page/serve_page.h"

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECRET "zz9secret" /* content of files that no reply may contain */

enum { CONNECTION_MEMORY = 32 << 10, MAX_IDLE = 16, MAX_TURNS = 400, MAX_REPLY = 1 << 20 };

/* Functions of a server without threads, which organ's server does not need. */
static struct {
    __typeof__(MHD_start_daemon) *start;
    __typeof__(MHD_add_connection) *add;
    __typeof__(MHD_run) *run;
} library;

static organ_server *server;

/* Replaces the start of libmicrohttpd, with organ's callbacks and limits. */
static struct MHD_Daemon *start_without_threads(unsigned flags, uint16_t port, MHD_AcceptPolicyCallback accept,
                                                void *accept_context, MHD_AccessHandlerCallback handler, void *context,
                                                ...)
{
    (void)flags, (void)port, (void)accept, (void)accept_context;
    return library.start(MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, handler, context,
                         MHD_OPTION_CONNECTION_LIMIT, 8u, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
                         MHD_OPTION_STRICT_FOR_CLIENT, (int)organ_http_library_is_strict(),
                         MHD_OPTION_NOTIFY_CONNECTION, organ_http_on_connection, context, MHD_OPTION_NOTIFY_COMPLETED,
                         organ_http_on_end, context, MHD_OPTION_URI_LOG_CALLBACK, organ_http_on_target, context,
                         MHD_OPTION_UNESCAPE_CALLBACK, organ_http_on_unescape, context,
                         MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
}

static void make_root(void)
{
    static const char tensors[] =
        "{\"model.layers.0.mlp.up_proj.weight\":{\"dtype\":\"F32\",\"shape\":[4,4],\"data_offsets\":[0,64]}}";
    char link[512];
    fuzz_put("http/outside", SECRET, sizeof SECRET - 1);
    fuzz_put("http/served/.hidden", SECRET, sizeof SECRET - 1);
    fuzz_put("http/served/text.txt", "0123456789", 10);
    fuzz_put("http/served/report.html", "<!doctype html><title>A</title>", 31);
    fuzz_put("http/served/folder/inner.txt", "inner", 5);
    fuzz_put("http/served/m/config.json", "{}", 2);
    fuzz_put_tensors("http/served/m/model.safetensors", (fuzz_part){(const uint8_t *)tensors, sizeof tensors - 1},
                     (fuzz_part){(const uint8_t *)"1", 1});
    snprintf(link, sizeof link, "%s/leak", fuzz_folder("http/served"));
    fuzz_require(symlink("../outside", link) == 0, "a link can be made");
}

static void open_server(void)
{
    static const organ_area *const areas[] = {&organ_area_server, &organ_area_models, &organ_area_files,
                                              &organ_area_page, NULL};
    static const char *const names[] = {"MHD_start_daemon", "MHD_add_connection", "MHD_run"};
    static char root[512];
    organ_error error = {0};
    make_root();
    /* as MHD_OPTION_SIGPIPE_HANDLED_BY_APP states: a reply may come after the client has left */
    signal(SIGPIPE, SIG_IGN);
    snprintf(root, sizeof root, "%s", fuzz_folder("http/served"));
    organ_daemon_library_open(&error);
    organ_library_load("libmicrohttpd.so.12", names, 3, &library, &error);
    fuzz_require(error.status == ORGAN_OK, error.message);
    organ_mhd.start_daemon = start_without_threads;
    const organ_serve_options options = {.root = root,
                                         .listen = "127.0.0.1:0",
                                         .jobs = 1,
                                         .connections = 8,
                                         .cache = 1u << 20,
                                         .timeout = 10,
                                         .models_here = true,
                                         .quiet = true,
                                         .verbs = &organ_all_verbs};
    fuzz_require(organ_server_open(&options, areas, &server, &error) == ORGAN_OK, error.message);
}

/* Returns whether another thread still runs a handler. */
static bool is_working(void)
{
    return organ_request_queue_busy(server->queue) || __atomic_load_n(&server->answering, __ATOMIC_ACQUIRE) > 0;
}

/* Runs the server until it has closed the connection or sends nothing more; returns the bytes sent. */
static size_t talk(int client, char *reply)
{
    size_t got = 0;
    for (unsigned idle = 0, turns = 0; idle < MAX_IDLE && turns < MAX_TURNS; turns++) {
        library.run(server->daemon);
        const ssize_t more = recv(client, reply + got, MAX_REPLY - got, MSG_DONTWAIT);
        if (more == 0 || got == MAX_REPLY)
            break;
        got += more > 0 ? (size_t)more : 0;
        const bool working = more > 0 || is_working();
        idle = working ? 0 : idle + 1;
        organ_server_tick(server); /* a client that waits for events is served again */
        if (more < 0 && working)
            poll(&(struct pollfd){.fd = client, .events = POLLIN}, 1, 1);
    }
    return got;
}

static void check_reply(const char *reply, size_t size, bool knows)
{
    fuzz_tell((unsigned)size, reply);
    fuzz_require(knows || !memmem(reply, size, SECRET, sizeof SECRET - 1),
                 "no reply has a file from outside of the root, or a hidden one");
    fuzz_require(size == 0 || (size > 12 && memcmp(reply, "HTTP/1.", 7) == 0 && reply[9] >= '1' && reply[9] <= '5'),
                 "a reply begins with its status");
    fuzz_require(!memmem(reply, size, "\r\nSet-Cookie: organ", 18) || memmem(reply, size, "HttpOnly", 8),
                 "a cookie is kept from scripts");
}

void fuzz_http_requests(const uint8_t *data, size_t size)
{
    static char reply[MAX_REPLY + 1];
    int ends[2];
    if (!server)
        open_server();
    const struct sockaddr_in client = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    fuzz_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0, "there are sockets");
    fuzz_require(send(ends[1], data, size, MSG_NOSIGNAL) == (ssize_t)size, "a request fits into a socket");
    shutdown(ends[1], SHUT_WR);
    if (library.add(server->daemon, ends[0], (const struct sockaddr *)&client, sizeof client) == MHD_YES) {
        const size_t got = talk(ends[1], reply);
        reply[got] = '\0';
        check_reply(reply, got, memmem(data, size, SECRET, sizeof SECRET - 1) != NULL); /* echoed in an error message */
    }
    close(ends[1]);
    for (unsigned turn = 0; turn < 4; turn++)
        library.run(server->daemon);
}
