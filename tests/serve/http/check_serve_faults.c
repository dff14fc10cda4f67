/* SPDX-License-Identifier: MIT
 * Tests of the HTTP server with hostile requests, and of errors at its start. */
#include "orchestrator/serve/serve.h"
#include "orchestrator/serve/http/jail.h"
#include "orchestrator/serve/http/http_parts.h"
#include "tests/serve/http/check_serve.h"
#include "tests/kit/malformed.h"
#include "tests/kit/scratch_model.h"
#include "tests/serve/http/serve_rig.h"
#include "tests/kit/suite_table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- paths out of the root ---- */

static const struct {
    const char *path;
    int status;
} ways_out[] = {{"..", 400},
                {"../outside", 400},
                {"folder/../../outside", 400},
                {"%2e%2e/outside", 400},
                {"%2E%2E%2Foutside", 400},
                {"..%2foutside", 400},
                {".%2e/outside", 400},
                {"%252e%252e%252foutside", 404},
                {"%25%32%65%25%32%65/outside", 404},
                {"..%5coutside", 400},
                {"..\\outside", 400},
                {"folder%5c..%5c..%5coutside", 400},
                {"%c0%ae%c0%ae/outside", 400},
                {"%e0%80%ae%e0%80%ae/outside", 400},
                {"..%c0%afoutside", 400},
                {"%uff0e%uff0e/outside", 400},
                {"text.txt%00.html", 400},
                {"%00", 400},
                {"text.txt%0a", 400},
                {"text.txt%7f", 400},
                {"/etc/passwd", 400},
                {"%2fetc/passwd", 400},
                {"%2f%2fetc%2fpasswd", 400},
                {"etc/passwd", 403},
                {"etc", 403},
                {"leak", 403},
                {"linked/model.safetensors", 403},
                {".hidden", 403},
                {"%2ehidden", 403},
                {"folder/.hidden", 403},
                {"proc/self/environ", 404},
                {"//proc/self/environ", 400},
                {"folder/./inner.txt", 400},
                {"folder//inner.txt", 400},
                {"text.txt/..", 400},
                {"text.txt/inner", 404},
                {"%", 400},
                {"%4", 400},
                {"%zz", 400},
                {"pipe", 403}};

START_TEST(no_path_leads_outside)
{
    static const char *const prefixes[] = {"GET /files/", "HEAD /files/", "GET /api/v1/models/"};
    char line[512];
    serve_begin((organ_serve_options){0});
    for (size_t p = 0; p < COUNT(prefixes); p++)
        for (size_t k = 0; k < COUNT(ways_out); k++) {
            snprintf(line, sizeof line, "%s%s", prefixes[p], ways_out[k].path);
            expect_answer(line, "", NULL, ways_out[k].status, NULL);
        }
    static const char *const elsewhere[] = {"GET /proc/self/environ", "GET /etc/passwd",
                                            "GET /page/../../../etc/passwd", "GET http://localhost/../etc/passwd",
                                            "GET file:///etc/passwd"};
    for (size_t k = 0; k < COUNT(elsewhere); k++) {
        served answer = ask_for(elsewhere[k], "", NULL);
        ck_assert_msg(answer.status == 400 || answer.status == 404, "%s: %s", elsewhere[k], answer.all);
        served_free(&answer);
    }
    serve_end();
}
END_TEST

/* Calls the functions directly, with and without openat2. */
START_TEST(the_jail_holds)
{
    static const struct {
        const char *path;
        unsigned read, look, input, output;
    } rows[] = {{"text.txt", 0, 0, 0, 0},
                {"folder/inner.txt", 0, 0, 0, 0},
                {"folder", 409, 0, 0, 0},
                {"", 409, 0, 403, 400},
                {".", 409, 0, 403, 400},
                {"new", 404, 404, 404, 0},
                {"folder/new", 404, 404, 404, 0},
                {"nowhere/new", 404, 404, 404, 404},
                {"text.txt/new", 404, 404, 404, 409},
                {"/etc/passwd", 400, 400, 400, 400},
                {"..", 400, 400, 400, 400},
                {"folder/..", 400, 400, 400, 400},
                {"folder/", 400, 400, 400, 400},
                {"a//b", 400, 400, 400, 400},
                {"a\\b", 400, 400, 400, 400},
                {"a\nb", 400, 400, 400, 400},
                {"\xff", 400, 400, 400, 400},
                {"leak", 403, 403, 403, 403},
                {"etc", 403, 403, 403, 403},
                {"etc/passwd", 403, 403, 403, 403},
                {"etc/new", 403, 403, 403, 403},
                {"linked", 409, 0, 403, 0},
                {"linked/model.safetensors", 403, 403, 403, 403},
                {".hidden", 403, 403, 403, 403},
                {".new", 403, 403, 403, 403},
                {"pipe", 403, 403, 403, 0},
                {"tiny", 409, 0, 0, 0},
                {"q8.gguf", 0, 0, 0, 0}};
    organ_jail *jail;
    organ_error error = {0};
    ck_assert_msg(organ_jail_open(scratch_path("root"), &jail, &error) == ORGAN_OK, "%s", error.message);
    for (int steps = 0; steps < 2; steps++) {
        for (size_t k = 0; k < COUNT(rows); k++) {
            const char *const path = rows[k].path;
            char *absolute;
            bool stored;
            int fd;
            struct stat about;
            organ_error why[4] = {0};
            const unsigned got[] = {organ_jail_file(jail, path, &fd, NULL, &why[0]),
                                    organ_jail_stat(jail, path, &about, &why[1])};
            if (!got[0])
                close(fd);
            ck_assert_msg(got[0] == rows[k].read, "read '%s': %u %s", path, got[0], why[0].message);
            ck_assert_msg(got[1] == rows[k].look, "look '%s': %u %s", path, got[1], why[1].message);
            const unsigned input = organ_jail_input(jail, path, &absolute, &stored, &why[2]);
            ck_assert_msg(input == rows[k].input, "input '%s': %u %s", path, input, why[2].message);
            ck_assert(!input == !!absolute);
            ck_assert(!absolute || (*absolute == '/' && strcmp(absolute + strlen(absolute) - strlen(path), path) == 0));
            if (absolute)
                organ_jail_unroot(jail, absolute);
            ck_assert(!absolute || strcmp(absolute, path) == 0);
            free(absolute);
            const unsigned output = organ_jail_output(jail, path, &why[3]);
            ck_assert_msg(output == rows[k].output, "output '%s': %u %s", path, output, why[3].message);
            for (int w = 0; w < 4; w++)
                ck_assert_msg(!strstr(why[w].message, scratch_path("")), "%s", why[w].message);
        }
        organ_jail_walk(jail);
    }
    organ_jail_close(jail);
}
END_TEST

/* A link next to a model is allowed if no verb reads it with the model; else the model is rejected. */
START_TEST(links_beside_a_model)
{
    organ_jail *jail;
    organ_error error = {0};
    char *absolute;
    bool stored;
    scratch_text("root/part-00001-of-00002.gguf", "x");
    ck_assert_int_eq(symlink("../outside", scratch_path("root/other-00002-of-00002.gguf")), 0);
    ck_assert(organ_jail_open(scratch_path("root"), &jail, &error) == ORGAN_OK);
    ck_assert_uint_eq(organ_jail_input(jail, "part-00001-of-00002.gguf", &absolute, &stored, &error), 0);
    free(absolute);
    ck_assert_int_eq(symlink("../outside", scratch_path("root/part-00002-of-00002.gguf")), 0);
    ck_assert_uint_eq(organ_jail_input(jail, "part-00001-of-00002.gguf", &absolute, &stored, &error), 403);
    ck_assert_int_eq(symlink("../../outside", scratch_path("root/tiny/tokenizer.json")), 0);
    ck_assert_uint_eq(organ_jail_input(jail, "tiny", &absolute, &stored, &error), 403);
    organ_jail_close(jail);
}
END_TEST

/* ---- malformed requests ---- */

/* Many at the same time, because unfinished requests have to time out. */
START_TEST(malformed_requests)
{
    enum { ROUNDS = 10, AT_ONCE = 40 };
    char text[MALFORMED_ROOM], answer[16384];
    uint64_t state = 0x9e3779b97f4a7c15u;
    serve_begin((organ_serve_options){.timeout = 5});
    for (int round = 0; round < ROUNDS; round++) {
        int fds[AT_ONCE], status = 0;
        for (int k = 0; k < AT_ONCE; k++) {
            fds[k] = serve_connect();
            const size_t length = malformed_request(&state, text);
            send(fds[k], text, length, MSG_NOSIGNAL);
        }
        usleep(50000);
        for (int k = 0; k < AT_ONCE; k++) {
            const ssize_t got = recv(fds[k], answer, sizeof answer - 1, MSG_DONTWAIT);
            answer[got > 0 ? got : 0] = '\0';
            const bool http = sscanf(answer, "HTTP/1.%*1[01] %3d", &status) == 1 && status >= 200 &&
                              (status < 500 || status == 505); /* a version of HTTP that the server does not support */
            ck_assert_msg(got <= 0 || http, "round %d, request %d: %s", round, k, answer);
            close(fds[k]);
        }
    }
    serve_is_reached();
    serve_end();
}
END_TEST

START_TEST(requests_that_are_none)
{
    static const struct {
        const char *text;
        int from, to; /* range of statuses; 0: the connection is closed */
    } rows[] = {
        {"GET /healthz HTTP/1.1\r\n\r\n", 400, 400},
        {"GET /healthz HTTP/1.0\r\n\r\n", 400, 400},
        {"\r\n\r\n\r\n", 0, 400},
        {"GET\r\n\r\n", 0, 505},
        {"GET /healthz HTTP/3.0\r\nHost: localhost\r\n\r\n", 0, 505},
        {"GET /healthz\0x HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, 400},
        {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400, 400},
        {"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n", 413, 413},
        {"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400, 413},
        {"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 0, 400},
        {"GET healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, 400},
        {"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, 400},
        {"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, 405}};
    serve_begin((organ_serve_options){.timeout = 5});
    for (size_t k = 0; k < COUNT(rows); k++) {
        const size_t length = strlen(rows[k].text);
        served answer = send_bytes(
            rows[k].text, rows[k].text[length - 1] == '\n' ? length : length + 1 + strlen(rows[k].text + length + 1),
            true);
        /* A strict library closes the connection at a NUL byte. */
        const bool closed =
            answer.status == 0 && organ_http_library_is_strict() && !strchr("\n", rows[k].text[length - 1]);
        ck_assert_msg(closed || (answer.status >= rows[k].from && answer.status <= rows[k].to), "%s: %d: %s",
                      rows[k].text, answer.status, answer.all);
        served_free(&answer);
    }
    serve_end();
}
END_TEST

/* ---- sizes ---- */

static char *filled(const char *before, size_t size, const char *after)
{
    char *const text = malloc(strlen(before) + size + strlen(after) + 1);
    ck_assert_ptr_nonnull(text);
    strcpy(text, before);
    memset(text + strlen(before), 'a', size);
    strcpy(text + strlen(before) + size, after);
    return text;
}

START_TEST(sizes_have_limits)
{
    static const struct {
        const char *before;
        size_t size;
        const char *after;
        int from, to;
    } rows[] = {{"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ", 4000, "\r\nConnection: close\r\n\r\n", 200, 200},
                {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ", 200000, "\r\n\r\n", 413, 431},
                {"GET /", 200000, " HTTP/1.1\r\nHost: localhost\r\n\r\n", 413, 431},
                {"GET /files/", 3000, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400, 400},
                {"GET /healthz?q=", 8000, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200, 200},
                {"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                 "application/json\r\nTransfer-Encoding: chunked\r\n"
                 "Connection: close\r\n\r\n180000\r\n",
                 0x180000, "\r\n0\r\n\r\n", 413, 413},
                {"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
                 "1000000\r\n"
                 "Connection: close\r\n\r\n",
                 1000000, "", 400, 400}};
    serve_begin((organ_serve_options){0});
    for (size_t k = 0; k < COUNT(rows); k++) {
        char *const text = filled(rows[k].before, rows[k].size, rows[k].after);
        served answer = send_bytes(text, strlen(text), true);
        ck_assert_msg(answer.status >= rows[k].from && answer.status <= rows[k].to, "row %zu: %d %.300s", k,
                      answer.status, answer.all);
        served_free(&answer);
        free(text);
    }
    char query[2048] = "GET /healthz?";
    for (int k = 0; k < 40; k++)
        strcat(query, "a=1&");
    expect_answer(query, "", NULL, 400, "too many parameters");
    serve_end();
}
END_TEST

/* ---- start of the server ---- */

static void refuses(organ_serve_options options, organ_status status, const char *part)
{
    organ_server *server;
    organ_error error = {0};
    options.jobs = 1;
    options.connections = options.per_address = 10;
    options.timeout = 1;
    options.quiet = true;
    options.root = options.root ? options.root : scratch_path("root");
    options.listen = options.listen ? options.listen : "127.0.0.1:0";
    ck_assert_msg(organ_server_open(&options, organ_areas, &server, &error) == status, "%s: %s", part, error.message);
    ck_assert_ptr_null(server);
    ck_assert_msg(strstr(error.message, part) != NULL, "'%s' is not in '%s'", part, error.message);
}

START_TEST(what_cannot_be_started)
{
    char busy[64];
    const int before = open_files();
    refuses((organ_serve_options){.root = scratch_path("nowhere")}, ORGAN_IO, "nowhere: No such file or directory");
    refuses((organ_serve_options){.root = scratch_path("outside")}, ORGAN_IO, "outside: Not a directory");
    static const char *const bad[] = {"8935",   "127.0.0.1", "127.0.0.1:", "127.0.0.1:x",  "127.0.0.1:65536",
                                      "::1:80", "[::1]",     "[]:80",      "127.0.0.1:80 "};
    for (size_t k = 0; k < COUNT(bad); k++)
        refuses((organ_serve_options){.listen = bad[k]}, ORGAN_USAGE, "must be an address and a port");
    refuses((organ_serve_options){.listen = "no.such.host.invalid:80"}, ORGAN_USAGE, "no.such.host.invalid");
    refuses((organ_serve_options){.listen = "0.0.0.0:0"}, ORGAN_USAGE, "--token-file");
    refuses((organ_serve_options){.listen = ":0"}, ORGAN_USAGE, "--token-file");
    refuses((organ_serve_options){.listen = "[::]:0"}, ORGAN_USAGE, "--token-file");
    refuses((organ_serve_options){.token_file = scratch_path("nowhere")}, ORGAN_IO, "nowhere");
    scratch_text("short", "0123456789abcde\n");
    ck_assert_int_eq(chmod(scratch_path("short"), 0600), 0);
    refuses((organ_serve_options){.token_file = scratch_path("short")}, ORGAN_BAD_INPUT,
            "15 characters; allowed are 16 to 1024");
    scratch_text("blank", "0123456789 abcdefg\n");
    ck_assert_int_eq(chmod(scratch_path("blank"), 0600), 0);
    refuses((organ_serve_options){.token_file = scratch_path("blank")}, ORGAN_BAD_INPUT, "line 1 has two words");
    char *const many = filled("", 2000, "");
    scratch_text("long", many);
    ck_assert_int_eq(chmod(scratch_path("long"), 0600), 0);
    free(many);
    refuses((organ_serve_options){.token_file = scratch_path("long")}, ORGAN_BAD_INPUT, "allowed are 16 to 1024");
    serve_tokens("0123456789abcdef");
    ck_assert_int_eq(rename(scratch_path("token"), scratch_path("root/token")), 0);
    refuses((organ_serve_options){.token_file = scratch_path("root/token")}, ORGAN_USAGE, "is below the root");
    refuses((organ_serve_options){.audit_log = scratch_path("root/audit")}, ORGAN_USAGE, "is below the root");
    ck_assert_int_ne(access(scratch_path("root/audit"), F_OK), 0);
    refuses((organ_serve_options){.tls_certificate = "c"}, ORGAN_USAGE, "--tls-key is missing");
    refuses((organ_serve_options){.tls_key = "k"}, ORGAN_USAGE, "--tls-cert is missing");
    refuses((organ_serve_options){.proxies = {.word = {"10.0.0.0/99"}, .count = 1}}, ORGAN_USAGE,
            "--trusted-proxy '10.0.0.0/99'");
    serve_begin((organ_serve_options){0});
    snprintf(busy, sizeof busy, "127.0.0.1:%u", serve_port());
    refuses((organ_serve_options){.listen = busy}, ORGAN_IO, "another program already listens there");
    serve_end();
    ck_assert_int_eq(open_files(), before);
}
END_TEST

Suite *serve_faults_suite(void)
{
    const suite_case cases[] = {{"jail", {no_path_leads_outside, the_jail_holds, links_beside_a_model}},
                                {"malformed", {malformed_requests, requests_that_are_none}},
                                {"sizes", {sizes_have_limits}},
                                {"starting", {what_cannot_be_started}}};
    return suite_of("serve_faults", cases, COUNT(cases), serve_root_make, serve_root_remove);
}
