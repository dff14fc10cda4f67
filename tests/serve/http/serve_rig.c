/* SPDX-License-Identifier: MIT */
#include "tests/serve/http/serve_rig.h"
#include "tests/kit/effort.h"

#include "orchestrator/cli/cli_parts.h"
#include "orchestrator/serve/serve.h"
#include "tests/kit/scratch_model.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static organ_server *server;
static pthread_t ticker;
static int ending; /* atomic */

/* ---- the served directory ---- */

static void copy_file(const char *from, const char *to)
{
    FILE *const in = fopen(from, "rb");
    ck_assert_msg(in != NULL, "%s", from);
    char *bytes = NULL;
    size_t length = 0, room = 0, got = 1;
    while (got > 0) {
        if (length == room)
            bytes = realloc(bytes, room = room ? 2 * room : 1 << 20);
        ck_assert_ptr_nonnull(bytes);
        got = fread(bytes + length, 1, room - length, in);
        length += got;
    }
    fclose(in);
    scratch_file(to, bytes, length);
    free(bytes);
}

static void copy_model(void)
{
    static const char *const names[] = {"config.json", "model.safetensors.index.json",
                                        "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                        "model-00003-of-00003.safetensors"};
    char from[256], to[256];
    mkdir(scratch_path("root/tiny"), 0755);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        snprintf(from, sizeof from, "fixtures/tiny-qwen2/%s", names[k]);
        snprintf(to, sizeof to, "root/tiny/%s", names[k]);
        copy_file(from, to);
    }
    copy_file("fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf", "root/q8.gguf");
}

void serve_root_make(void)
{
    scratch_begin();
    mkdir(scratch_path("root"), 0755);
    mkdir(scratch_path("root/folder"), 0755);
    mkdir(scratch_path("root/linked"), 0755);
    scratch_text("root/text.txt", "0123456789");
    scratch_text("root/report.html", "<!DOCTYPE html><title>A report</title>");
    scratch_text("root/blue flower.md", "# A flower");
    scratch_text("root/empty", "");
    scratch_text("root/folder/inner.txt", "inner");
    scratch_text("root/.hidden", "hidden");
    scratch_text("root/model.gguf", "junk");
    scratch_text("outside", "secret");
    ck_assert_int_eq(symlink("../outside", scratch_path("root/leak")), 0);
    ck_assert_int_eq(symlink("/etc", scratch_path("root/etc")), 0);
    ck_assert_int_eq(symlink("../../outside", scratch_path("root/linked/model.safetensors")), 0);
    ck_assert_int_eq(mkfifo(scratch_path("root/pipe"), 0600), 0);
    copy_model();
}

void serve_root_remove(void) { scratch_end(); }

/* ---- the server ---- */

static void *tick(void *unused)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    while (!__atomic_load_n(&ending, __ATOMIC_ACQUIRE)) {
        organ_server_tick(server);
        nanosleep(&pause, NULL);
    }
    return unused;
}

void serve_begin(organ_serve_options options)
{
    organ_error error = {0};
    options.root = options.root ? options.root : scratch_path("root");
    options.listen = options.listen ? options.listen : "127.0.0.1:0";
    options.jobs = 1;
    options.connections = options.connections ? options.connections : 100;
    options.per_address = options.per_address || options.connections < 100 ? options.per_address : 100;
    options.cache = options.cache ? options.cache : 256u << 20;
    options.model_memory = options.model_memory ? options.model_memory : 1u << 30;
    options.model_seconds = options.model_seconds ? options.model_seconds : 60;
    options.models_here = is_emulated();
    /* A machine may stop for seconds, so only tests of time limits have short ones. */
    if (!options.timeout)
        options.timeout = options.token_timeout = 60;
    options.quiet = true;
    options.verbs = &organ_all_verbs;
    ck_assert_msg(organ_server_open(&options, organ_areas, &server, &error) == ORGAN_OK, "%s", error.message);
    __atomic_store_n(&ending, 0, __ATOMIC_RELEASE);
    ck_assert_int_eq(pthread_create(&ticker, NULL, tick, NULL), 0);
}

void serve_end(void) { serve_end_within(5); }

void serve_end_within(unsigned seconds)
{
    __atomic_store_n(&ending, 1, __ATOMIC_RELEASE);
    pthread_join(ticker, NULL);
    organ_server_close(server, seconds);
    server = NULL;
}

unsigned serve_port(void) { return organ_server_port(server); }

void serve_renew(void) { organ_server_renew(server); }

void serve_tokens(const char *text)
{
    /* A new file replaces the old one, as editors do, so that no reader gets a part of it. */
    scratch_text("token.new", text);
    ck_assert_int_eq(chmod(scratch_path("token.new"), 0600), 0);
    ck_assert_int_eq(rename(scratch_path("token.new"), scratch_path("token")), 0);
}

/* ---- the client ---- */

int serve_connect(void) { return serve_connect_from(NULL); }

int serve_connect_from(const char *address)
{
    const struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = address ? inet_addr(address) : 0};
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)serve_port()), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval limit = {.tv_sec = 60};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    ck_assert(!address || bind(fd, (const struct sockaddr *)(const void *)&from, sizeof from) == 0);
    ck_assert_msg(connect(fd, (const struct sockaddr *)(const void *)&to, sizeof to) == 0, "%s", strerror(errno));
    return fd;
}

int serve_status_on(const char *address, int *fd)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char answer[64] = "";
    int status = 0;
    *fd = serve_connect_from(address);
    if (send(*fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0 &&
        serve_receive(*fd, answer, sizeof answer - 1, 0) > 0)
        sscanf(answer, "HTTP/1.1 %3d", &status);
    return status;
}

int serve_status_from(const char *address)
{
    int fd;
    const int status = serve_status_on(address, &fd);
    close(fd);
    return status;
}

void serve_is_reached(void)
{
    int status = 0;
    for (int k = 0; k < 3000 && status != 200; k++) {
        usleep(k > 0 ? 20000 : 0);
        status = serve_status_from("127.0.0.1");
    }
    ck_assert_int_eq(status, 200);
}

ssize_t serve_receive(int fd, void *to, size_t room, int flags)
{
    for (;;) {
        const ssize_t got = recv(fd, to, room, flags);
        if (got >= 0 || errno != EINTR)
            return got;
    }
}

static void take_apart(served *answer)
{
    const char *const end = strstr(answer->all, "\r\n\r\n");
    if (sscanf(answer->all, "HTTP/1.%*1[01] %3d", &answer->status) != 1)
        answer->status = 0;
    answer->body = end ? end + 4 : answer->all + answer->bytes;
    answer->body_bytes = answer->bytes - (size_t)(answer->body - answer->all);
}

served send_bytes(const char *bytes, size_t length, bool ends)
{
    served answer = {0};
    size_t room = 4096;
    const int fd = serve_connect();
    /* A server that rejects a request early closes the connection before everything is sent; its answer is read all the
     * same. */
    for (ssize_t sent = 0; length > 0 && (sent = send(fd, bytes, length, MSG_NOSIGNAL)) > 0; length -= (size_t)sent)
        bytes += sent;
    if (ends)
        shutdown(fd, SHUT_WR);
    answer.all = malloc(room);
    for (ssize_t got = 1; got > 0 && answer.all;) {
        if (answer.bytes + 1 >= room)
            answer.all = realloc(answer.all, room *= 2);
        ck_assert_ptr_nonnull(answer.all);
        got = serve_receive(fd, answer.all + answer.bytes, room - answer.bytes - 1, 0);
        ck_assert_msg(got >= 0 || errno != EAGAIN, "no answer within 60 seconds");
        answer.bytes += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    answer.all[answer.bytes] = '\0';
    take_apart(&answer);
    return answer;
}

served ask_for(const char *line, const char *headers, const char *body)
{
    char *text = NULL, length[64] = "";
    if (body)
        snprintf(length, sizeof length, "Content-Length: %zu\r\n", strlen(body));
    const bool host = strstr(headers, "Host:") != NULL;
    const int bytes = asprintf(&text, "%s HTTP/1.1\r\n%sConnection: close\r\n%s%s\r\n%s", line,
                               host ? "" : "Host: localhost\r\n", headers, length, body ? body : "");
    ck_assert_int_gt(bytes, 0);
    const served answer = send_bytes(text, (size_t)bytes, false);
    free(text);
    return answer;
}

void served_free(served *answer)
{
    free(answer->all);
    *answer = (served){0};
}

bool has_header(const served *answer, const char *line)
{
    char start[512];
    snprintf(start, sizeof start, "\r\n%s", line);
    const char *const at = strcasestr(answer->all, start);
    return at && at < answer->body;
}

const char *header_of(const served *answer, const char *name)
{
    static char value[512];
    char start[128];
    snprintf(start, sizeof start, "\r\n%s: ", name);
    const char *const at = strcasestr(answer->all, start);
    value[0] = '\0';
    if (at && at < answer->body)
        snprintf(value, sizeof value, "%.*s", (int)strcspn(at + strlen(start), "\r"), at + strlen(start));
    return value;
}

void expect_answer(const char *line, const char *headers, const char *body, int status, const char *part)
{
    served answer = ask_for(line, headers, body);
    ck_assert_msg(answer.status == status, "%s %s: %d instead of %d: %s", line, headers, answer.status, status,
                  answer.all);
    ck_assert_msg(!part || strstr(answer.body, part), "%s: '%s' is not in %s", line, part, answer.body);
    ck_assert_msg(has_header(&answer, "Content-Security-Policy: ") &&
                      has_header(&answer, "X-Content-Type-Options: nosniff\r\n"),
                  "%s: %s", line, answer.all);
    ck_assert_msg(!has_header(&answer, "Access-Control-"), "%s: %s", line, answer.all);
    ck_assert_msg(status < 400 || strncmp(line, "HEAD", 4) == 0 ||
                      has_header(&answer, "Content-Type: application/problem+json\r\n"),
                  "%s: %s", line, answer.all);
    ck_assert_msg(!strstr(answer.all, "secret") && !strstr(answer.all, scratch_path("")), "%s: %s", line, answer.all);
    served_free(&answer);
}

void expect_metric(const char *text)
{
    bool known = false;
    expect_answer("GET /metrics", "", NULL, 200, NULL);
    for (int look = 0; look < 3000 && !known; look++) {
        served answer = ask_for("GET /metrics", "", NULL);
        known = strstr(answer.body, text) != NULL;
        served_free(&answer);
        if (!known)
            usleep(20000);
    }
    ck_assert_msg(known, "never: %s", text);
}

json_t *expect_json(const char *line)
{
    json_error_t wrong;
    served answer = ask_for(line, "", NULL);
    ck_assert_msg(answer.status == 200 && has_header(&answer, "Content-Type: application/json\r\n"), "%s: %s", line,
                  answer.all);
    json_t *const json = json_loadb(answer.body, answer.body_bytes, 0, &wrong);
    ck_assert_msg(json != NULL, "%s: %s", line, wrong.text);
    served_free(&answer);
    return json;
}
