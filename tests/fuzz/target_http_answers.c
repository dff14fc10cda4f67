/* SPDX-License-Identifier: MIT
 * A model behind a URL with a hostile server. The first byte selects the URL and whether the server's address counts as
 * public; then come the answers with separators between them, one for each connection. libcurl reads them from a pair
 * of sockets: no packet leaves the process and no name is resolved. */
#include <organ/models.h>
#include "formats/remote/http_request.h"
#include "tests/fuzz/targets.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 64, MAX_READ = 4096, MAX_QUESTIONS = 4000 };

static struct {
    fuzz_part answers;
    int listener;
    char name[64];             /* the name of its abstract socket */
    int ends[MAX_CONNECTIONS]; /* the server's ends, open until the input is done */
    size_t count, questions;
    bool is_public, knows; /* whether the address counts as public; whether the request contains the secret */
    CURLcode (*setopt)(CURL *curl, CURLoption option, ...);
    curl_opensocket_callback guard;  /* organ's callback that decides whether an address may be connected to */
    curl_prereq_callback peer_guard; /* organ's callback after the connection */
    void *guard_context;
} server;

/* Connects a socket to the server if organ would connect to the address that it pretends to have. */
static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct curl_sockaddr pretended = {
        .family = AF_INET, .socktype = SOCK_STREAM, .addrlen = sizeof(struct sockaddr_in)};
    const struct sockaddr_in internet = {.sin_family = AF_INET,
                                         .sin_addr = {htonl(server.is_public ? 0x08080808 : INADDR_LOOPBACK)}};
    (void)context;
    memcpy(&pretended.addr, &internet, sizeof internet);
    const curl_socket_t allowed = server.guard(server.guard_context, purpose, &pretended);
    if (allowed == CURL_SOCKET_BAD)
        return CURL_SOCKET_BAD;
    close(allowed);
    return server.count == MAX_CONNECTIONS ? CURL_SOCKET_BAD
                                           : socket(address->family, address->socktype | SOCK_CLOEXEC, 0);
}

/* Sends the server's answer as soon as curl has connected, before any request; the server sends nothing later. */
static int on_peer(void *context, char *peer, char *own, int peer_port, int own_port)
{
    const size_t before = server.count;
    char public[] = "8.8.8.8", loopback[] = "127.0.0.1";
    (void)peer;
    /* Only the last connection gets a request; curl gave up the ones before. */
    for (int end; server.count < MAX_CONNECTIONS &&
                  (end = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;)
        server.ends[server.count++] = end;
    if (server.count > before) {
        const int end = server.ends[server.count - 1];
        const fuzz_part answer = fuzz_next_part(&server.answers);
        fuzz_require(send(end, answer.data, answer.size, MSG_NOSIGNAL) == (ssize_t)answer.size,
                     "an answer fits into a socket");
        shutdown(end, SHUT_WR);
    }
    return server.peer_guard(context, server.is_public ? public : loopback, own, peer_port, own_port);
}

/* Passes options on, except those that make connections. With TLS the server would have to answer before it can. */
static CURLcode set_option(CURL *curl, CURLoption option, ...)
{
    va_list args;
    va_start(args, option);
    void *const value = va_arg(args, void *); /* on all supported machines, integers are passed like pointers */
    va_end(args);
    if (option == CURLOPT_OPENSOCKETFUNCTION) {
        memcpy(&server.guard, &value, sizeof value);
        server.setopt(curl, CURLOPT_ABSTRACT_UNIX_SOCKET, server.name);
        return server.setopt(curl, option, open_socket);
    }
    if (option == CURLOPT_PREREQFUNCTION) {
        memcpy(&server.peer_guard, &value, sizeof value);
        return server.setopt(curl, option, on_peer);
    }
    if (option == CURLOPT_OPENSOCKETDATA)
        server.guard_context = value;
    return server.setopt(curl, option, option == CURLOPT_PROTOCOLS_STR ? "http" : value);
}

static void open_server(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(server.name, sizeof server.name, "organ-fuzz-%ld", (long)getpid());
    strcpy(address.sun_path + 1, server.name);
    server.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(server.name));
    fuzz_require(bind(server.listener, (const struct sockaddr *)&address, length) == 0 &&
                     listen(server.listener, MAX_CONNECTIONS) == 0,
                 "there is a socket for the server");
    server.setopt = organ_curl.easy_setopt;
    organ_curl.easy_setopt = set_option;
}

/* Returns whether to stop. organ asks before and during each wait, so every input ends. */
static bool is_enough(void *context)
{
    (void)context;
    return ++server.questions > MAX_QUESTIONS;
}

static void check_network_verdict(organ_status status, const organ_error *error)
{
    fuzz_tell(status, error->message);
    fuzz_require(status == error->status, "the status returned is that of the error");
    fuzz_require(status == ORGAN_OK || status == ORGAN_BAD_INPUT || status == ORGAN_IO || status == ORGAN_INTERRUPTED,
                 "an answer is bad, or cannot be had");
    fuzz_require((status == ORGAN_OK) == (*error->message == '\0'), "an error has a message");
    fuzz_require(server.knows || !strstr(error->message, "zz9secret"),
                 "no message has the query, the password or a header of the user");
}

static void read_tensors(const organ_model *model)
{
    uint8_t bytes[MAX_READ];
    for (size_t k = 0; k < model->tensor_count && k < 4; k++) {
        organ_error error = {0};
        const organ_tensor *const t = &model->tensors[k];
        const size_t size = t->bytes < sizeof bytes ? (size_t)t->bytes : sizeof bytes;
        check_network_verdict(organ_model_read(model, t->file, bytes, size, t->offset, &error), &error);
    }
}

void fuzz_http_answers(const uint8_t *data, size_t size)
{
    static const char *const urls[] = {"http://user:zz9secret@192.0.2.1/m.gguf?token=zz9secret",
                                       "http://192.0.2.1/model.safetensors", "http://192.0.2.1/dir/",
                                       "http://192.0.2.1/model.safetensors.index.json"};
    static const char *const headers[] = {"X-Token: zz9secret"};
    const organ_model_access access = {
        .headers = headers, .header_count = 1, .tries = 2, .first_wait_ms = 1, .patience = 1, .stopped = is_enough};
    organ_error error = {0};
    organ_model *model;
    if (size == 0 || organ_curl_open(&error) != ORGAN_OK)
        return;
    if (!server.setopt)
        open_server();
    server.answers = (fuzz_part){data + 1, size - 1};
    server.count = server.questions = 0;
    server.knows = memmem(data, size, "zz9secret", 9) != NULL;
    server.is_public = data[0] & 4;
    check_network_verdict(organ_model_open_with(urls[data[0] % 4], &access, &model, &error), &error);
    fuzz_require((error.status == ORGAN_OK) == (model != NULL), "there is a model if there is no error");
    if (model)
        read_tensors(model);
    organ_model_close(model);
    while (server.count > 0)
        close(server.ends[--server.count]);
    for (int late; (late = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;) /* given up by curl */
        close(late);
}
