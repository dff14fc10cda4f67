/* SPDX-License-Identifier: MIT
 * Tests of raw HTTP requests: ambiguous ones, ones that the library rejects itself, and clients that close their
 * sending side. */
#include "orchestrator/serve/http/http_parts.h"
#include "tests/serve/http/check_serve.h"
#include "tests/kit/scratch_model.h"
#include "tests/serve/http/serve_rig.h"
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HOST         "Host: localhost\r\n"
#define GET          "GET /healthz HTTP/1.1\r\n" HOST
#define POST         "POST /api/v1/login HTTP/1.1\r\n" HOST "Content-Type: application/json\r\n"
#define BODY         "{\"token\":\"x\"}"
#define CHUNKS       "d\r\n" BODY "\r\n0\r\n\r\n"
#define SECOND       "GET /metrics HTTP/1.1\r\n" HOST "\r\n"

/* Returns how often `part` occurs in the answer. */
static int count_of(const served *answer, const char *part)
{
    int count = 0;
    for (const char *at = answer->all; (at = strstr(at, part)); at += strlen(part))
        count++;
    return count;
}

/* Requests with NUL bytes, so these are arrays. Another request follows each, which must not be answered. */
START_TEST(heads_that_can_be_read_in_two_ways)
{
#define ROW(text, part)                                                                                                \
    {                                                                                                                  \
        text SECOND, sizeof(text SECOND) - 1, part                                                                     \
    }
    static const struct {
        const char *bytes;
        size_t length;
        const char *part;
    } rows[] = {
        ROW(POST "Content-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n" CHUNKS,
            "the length of its body more than once"),
        ROW(POST "Transfer-Encoding: chunked\r\nContent-Length: 13\r\n\r\n" CHUNKS,
            "the length of its body more than once"),
        ROW(POST "Content-Length: 0\r\nContent-Length: 13\r\n\r\n" BODY, "the length of its body more than once"),
        ROW(POST "Content-Length: 13\r\ncontent-length: 13\r\n\r\n" BODY, "the length of its body more than once"),
        ROW(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" CHUNKS,
            "the length of its body more than once"),
        ROW(POST "Transfer-Encoding: gzip, chunked\r\n\r\n" CHUNKS, "not 'chunked'"),
        ROW(POST "Transfer-Encoding: xchunked\r\n\r\n" CHUNKS, "not 'chunked'"),
        ROW(POST "Transfer-Encoding: chunked \r\n\r\n" CHUNKS, "not 'chunked'"),
        ROW("POST /api/v1/login HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n" CHUNKS, "its HTTP version"),
        ROW(POST "Transfer-Encoding:\r\n chunked\r\n\r\n" CHUNKS, "continues in the next line"),
        ROW(GET "X: a\r\n\tb\r\nY: c\r\n\r\n", "continues in the next line"),
        ROW(GET " X: a\r\n\r\n", "with an invalid name"),
        ROW("GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n", "with an invalid name"),
        ROW(GET "X(y): a\r\n\r\n", "with an invalid name"),
        ROW(GET ": a\r\nContent-Length: 13\r\n\r\n" BODY, "without a name"),
        ROW("GET /healthz HTTP/1.1\r\nHost: localhost\0.evil\r\n\r\n", "zero byte"),
        ROW(GET "X: a\0b\r\nY: c\r\n\r\n", "zero byte"),
        ROW(GET "X: a\0\r\n\r\n", "zero byte"),
        ROW(GET "X: a\rb\r\n\r\n", "control character"),
        ROW(GET "X: a\r\r\n\r\n", "control character"),
        ROW(GET "X: \x1b[2J\r\n\r\n", "control character"),
        ROW(GET "X: \x7f\r\n\r\n", "control character"),
        ROW("G\0ET /healthz HTTP/1.1\r\n" HOST "\r\n", "an invalid method"),
        ROW("G(T /healthz HTTP/1.1\r\n" HOST "\r\n", "an invalid method"),
        ROW("GET /healthz\0 HTTP/1.1\r\n" HOST "\r\n", "target with a zero byte"),
        ROW("GET /healthz\0x HTTP/1.1\r\n" HOST "\r\n", "target with a zero byte"),
        ROW("GET /healthz?a=\0b HTTP/1.1\r\n" HOST "\r\n", "target with a zero byte"),
        ROW("GET /healthz  HTTP/1.1\r\n" HOST "\r\n", "target with a space"),
        ROW("GET /heal thz HTTP/1.1\r\n" HOST "\r\n", "target with a space"),
        ROW("GET /heal\tthz HTTP/1.1\r\n" HOST "\r\n", "target with a space")};
#undef ROW
    serve_begin((organ_serve_options){.timeout = 5});
    for (size_t k = 0; k < COUNT(rows); k++) {
        /* A strict library removes blanks at the end of a value, as RFC 9110 requires; then the request is not
         * ambiguous. */
        if (organ_http_library_is_strict() && strstr(rows[k].bytes, "chunked \r\n"))
            continue;
        served answer = send_bytes(rows[k].bytes, rows[k].length, false);
        /* A strict library closes the connection at a NUL byte in the first line. */
        if (answer.bytes > 0 || !organ_http_library_is_strict())
            ck_assert_msg(answer.status == 400 && count_of(&answer, "HTTP/1.1 ") == 1, "row %zu: %.2000s", k,
                          answer.all);
        /* A strict library has rejected some of them itself. */
        const bool ours = !organ_http_library_is_strict() || (answer.bytes > 0 && !strstr(answer.body, "<html>"));
        ck_assert_msg(organ_http_library_is_strict() || strstr(answer.body, rows[k].part), "row %zu: %.2000s", k,
                      answer.all);
        ck_assert_msg(!ours || (has_header(&answer, "Connection: close\r\n") &&
                                has_header(&answer, "Content-Type: application/problem+json\r\n") &&
                                has_header(&answer, "X-Content-Type-Options: nosniff\r\n")),
                      "row %zu: %.2000s", k, answer.all);
        served_free(&answer);
    }
    serve_end();
}
END_TEST

/* Unusual but unambiguous requests. */
START_TEST(heads_that_are_unusual)
{
    static const struct {
        const char *text;
        int answers;
        const char *first;
    } rows[] = {
        {GET "X:\r\nY:a\r\nZ: \t b \t\r\n\r\n", 1, "HTTP/1.1 200 "},
        {"GET   /healthz HTTP/1.1\r\n" HOST "\r\n", 1, "HTTP/1.1 200 "},
        {"GET /healthz?a=b&c&d=%20e+f HTTP/1.1\r\n" HOST "\r\n", 1, "HTTP/1.1 200 "},
        {"GET /healthz HTTP/1.1\nHost: localhost\n\n", 1, "HTTP/1.1 200 "},
        {"\r\n\r\n" GET "\r\n", 1, "HTTP/1.1 200 "},
        {"GET /healthz HTTP/1.0\r\n" HOST "\r\n", 1, "HTTP/1.1 200 "},
        {GET "Content-Length: 0\r\n\r\n" GET "\r\n", 2, "HTTP/1.1 200 "},
        {GET "X: caf\xc3\xa9\r\n\r\n", 1, "HTTP/1.1 200 "},
        {POST "Transfer-Encoding: Chunked\r\n\r\n" CHUNKS, 1, "HTTP/1.1 204 "},
        {POST "Transfer-Encoding: chunked\r\n\r\nd;a=b\r\n" BODY "\r\n0\r\nHost: evil\r\n\r\n", 1, "HTTP/1.1 204 "},
        {GET "Content-Length: 3\r\n\r\nabc" SECOND, 1, "HTTP/1.1 400 "}};
    serve_begin((organ_serve_options){.timeout = 5});
    for (size_t k = 0; k < COUNT(rows); k++) {
        served answer = send_bytes(rows[k].text, strlen(rows[k].text), true);
        /* Several blanks, lines without a carriage return, empty lines before the request, chunk extensions: a strict
         * library rejects these. */
        const bool loose =
            strncmp(rows[k].text, "GET   ", 6) == 0 || !strchr(rows[k].text, '\r') || strstr(rows[k].text, "d;a=b");
        const bool empty = strncmp(rows[k].text, "\r\n", 2) == 0 && organ_http_library_is_strict();
        const char *const first = loose && organ_http_library_is_strict() ? "HTTP/1.1 400 " : rows[k].first;
        ck_assert_msg(empty ||
                          (count_of(&answer, "HTTP/1.1 ") == rows[k].answers && strncmp(answer.all, first, 13) == 0),
                      "row %zu: %s", k, answer.all);
        served_free(&answer);
    }
    serve_end();
}
END_TEST

static char *repeated(const char *before, const char *part, size_t times)
{
    char *const text = malloc(strlen(before) + strlen(part) * times + 5);
    ck_assert_ptr_nonnull(text);
    char *end = stpcpy(text, before);
    for (size_t k = 0; k < times; k++)
        end = stpcpy(end, part);
    strcpy(end, "\r\n\r\n");
    return text;
}

/* Requests that the library rejects, as http/daemon.h lists them. Its constant page contains nothing of the request. */
START_TEST(what_the_library_refuses)
{
    static const struct {
        const char *before, *part; /* "<marked>" must not be in the answer */
        size_t times;
        int status; /* 0: the connection is closed without an answer */
    } rows[] = {{"GET /<marked>", "", 0, 400},
                {"GET /<marked> HTTP/1.1x\r\n" HOST, "", 0, 400},
                {GET "<marked>", "", 0, 400},
                {POST "Content-Length: <marked>", "", 0, 400},
                {POST "Content-Length: -1\r\nX: <marked>", "", 0, 400},
                {POST "Transfer-Encoding: chunked\r\n\r\n<marked>", "", 0, 400},
                {POST "Transfer-Encoding: chunked\r\n\r\n" CHUNKS, "", 0, 204},
                {POST "Transfer-Encoding: chunked\r\n\r\n0\r\n<marked>", "", 0, 400},
                {POST "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff", "", 0, 413},
                {POST "Content-Length: 99999999999999999999\r\nX: <marked>", "", 0, 413},
                {"GET /<marked>", "aaaaaaaa", 8000, 414},
                {GET "X: <marked>", "aaaaaaaa", 8000, 431},
                {GET, "X: <marked>\r\n", 4000, 431},
                {GET "Cookie: <marked>", "a=b;", 5000, 431},
                {POST "Transfer-Encoding: chunked\r\n\r\n1;<marked>", "aaaaaaaa", 8000, 413},
                {"GET /<marked> HTTP/0.9\r\n" HOST, "", 0, 505},
                {"GET /<marked> HTTP/5.1\r\n" HOST, "", 0, 505},
                {"GET /<marked> HTTP/2.0\r\n" HOST, "", 0, 505},
                {"<marked>", "", 0, 0},
                {"\x16\x03\x01\x02", "", 0, 0}};
    serve_begin((organ_serve_options){.timeout = 5});
    for (size_t k = 0; k < COUNT(rows); k++) {
        char *const text = repeated(rows[k].before, rows[k].part, rows[k].times);
        served answer = send_bytes(text, strlen(text), true);
        ck_assert_msg(answer.status == rows[k].status && !strstr(answer.all, "<marked>"), "row %zu: %s", k, answer.all);
        served_free(&answer);
        free(text);
    }
    expect_answer("GET /healthz", "", NULL, 200, "ok");
    serve_end();
}
END_TEST

/* Meanwhile other clients have sent half of a head or of a chunked body; they are answered as usual. */
START_TEST(one_answer_to_a_bad_length)
{
    static const struct {
        const char *before, *part;
        size_t times;
        int status;
    } rows[] = {{POST "Content-Length: x", "", 0, 400},
                {POST "Content-Length: ", "", 0, 400},
                {POST "Content-Length: -1", "", 0, 400},
                {POST "Content-Length: +1", "", 0, 400},
                {POST "Content-Length: 1,1", "", 0, 400},
                {POST "Content-Length: 0x1", "", 0, 400},
                {POST "Content-Length: 18446744073709551616", "", 0, 413},
                {POST "Content-Length: 99999999999999999999999", "", 0, 413},
                {POST "Transfer-Encoding: chunked\r\n\r\n1;", "aaaaaaaa", 8000, 413},
                {POST "Transfer-Encoding: chunked\r\n\r\n1;a=\"", "aaaaaaaa", 100000, 413}};
    static const char half_head[] = POST "Content-Length: 13\r\nX: ",
                      half_body[] = POST "Transfer-Encoding: chunked\r\n\r\n4\r\n{\"to\r\n";
    static const char head_end[] = "\r\n\r\n" BODY, body_end[] = "9\r\nken\":\"x\"}\r\n0\r\n\r\n";
    int heads[4], bodies[4];
    char reply[16];
    serve_begin((organ_serve_options){.timeout = 20});
    for (size_t k = 0; k < COUNT(heads); k++) {
        heads[k] = serve_connect();
        bodies[k] = serve_connect();
        ck_assert_int_eq(send(heads[k], half_head, sizeof half_head - 1, 0), sizeof half_head - 1);
        ck_assert_int_eq(send(bodies[k], half_body, sizeof half_body - 1, 0), sizeof half_body - 1);
    }
    for (size_t k = 0; k < COUNT(rows); k++) {
        char *const text = repeated(rows[k].before, rows[k].part, rows[k].times);
        served answer = send_bytes(text, strlen(text), false); /* reads until the server closes */
        ck_assert_msg(answer.status == rows[k].status && count_of(&answer, "HTTP/1.1 ") == 1 &&
                          count_of(&answer, "Content-Length: ") == 1,
                      "row %zu: %s", k, answer.all);
        served_free(&answer);
        free(text);
    }
    for (size_t k = 0; k < COUNT(heads); k++) {
        ck_assert_int_eq(send(heads[k], head_end, sizeof head_end - 1, 0), sizeof head_end - 1);
        ck_assert_int_eq(send(bodies[k], body_end, sizeof body_end - 1, 0), sizeof body_end - 1);
        ck_assert(serve_receive(heads[k], reply, 13, MSG_WAITALL) == 13 && memcmp(reply, "HTTP/1.1 204 ", 13) == 0);
        ck_assert(serve_receive(bodies[k], reply, 13, MSG_WAITALL) == 13 && memcmp(reply, "HTTP/1.1 204 ", 13) == 0);
        close(heads[k]);
        close(bodies[k]);
    }
    serve_end();
}
END_TEST

/* The library forgets such a request; the server must not. */
START_TEST(queries_that_do_not_fit)
{
    enum { TIMES = 3 };
    char *const target = repeated("GET /healthz?<marked>", "&a=1", 3000);
    char *const text = malloc(strlen(target) + 100);
    ck_assert_ptr_nonnull(text);
    sprintf(text, "%.*s HTTP/1.1\r\n" HOST "\r\n", (int)strlen(target) - 4, target);
    serve_begin((organ_serve_options){.timeout = 1});
    for (int time = 0; time < TIMES; time++) {
        served answer = send_bytes(text, strlen(text), true);
        ck_assert_msg(answer.status == (organ_http_library_is_strict() ? 431 : 0), "%s", answer.all);
        served_free(&answer);
    }
    if (!organ_http_library_is_strict()) /* the server does not learn of requests that a strict library has answered */
        expect_metric("organ_http_requests_total{route=\"\",method=\"\",status=\"0\"} 3\n");
    serve_end();
    free(target);
    free(text);
}
END_TEST

/* ---- half-closed connections ---- */

/* As `nc -N` does: the answer is complete, and the client does not wait for the idle timeout of a minute. */
START_TEST(a_client_that_closes_its_half_is_answered)
{
    static const char *const paths[] = {"/healthz",       "/files/text.txt", "/files",
                                        "/api/v1/models", "/api/v1/jobs",    "/api/v1/models/tiny"};
    enum { TIMES = 10 };
    char text[256];
    serve_begin((organ_serve_options){.timeout = 600}); /* longer than any test waits for an answer */
    for (size_t k = 0; k < COUNT(paths); k++)
        for (int time = 0; time < TIMES; time++) {
            const int length = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\n", paths[k]);
            served answer = send_bytes(text, (size_t)length, true);
            ck_assert_msg(answer.status == 200 && answer.body_bytes > 0, "%s, time %d: '%s'", paths[k], time,
                          answer.all);
            served_free(&answer);
        }
    /* Several requests at once; those in the middle are slow. */
    static const char four[] =
        GET "\r\nGET /api/v1/models HTTP/1.1\r\n" HOST "\r\nGET /files HTTP/1.1\r\n" HOST "\r\n" GET "\r\n";
    for (int time = 0; time < TIMES; time++) {
        served answer = send_bytes(four, sizeof four - 1, true);
        ck_assert_msg(count_of(&answer, "HTTP/1.1 200 ") == 4, "%s", answer.all);
        served_free(&answer);
    }
    serve_end();
}
END_TEST

Suite *serve_heads_suite(void)
{
    const suite_case cases[] = {{"heads",
                                 {heads_that_can_be_read_in_two_ways, heads_that_are_unusual, what_the_library_refuses,
                                  one_answer_to_a_bad_length, queries_that_do_not_fit}},
                                {"ends", {a_client_that_closes_its_half_is_answered}}};
    return suite_of("serve_heads", cases, COUNT(cases), serve_root_make, serve_root_remove);
}
