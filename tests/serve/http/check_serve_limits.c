/* SPDX-License-Identifier: MIT
 * Tests of the HTTP server's limits: connections, time, wrong tokens. */
#include "orchestrator/serve/http/http_parts.h"
#include "orchestrator/serve/serve.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"
#include "tests/serve/http/check_serve.h"
#include "tests/serve/http/serve_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

START_TEST(slow_clients_are_cut_off)
{
    enum { SLOW = 20 };
    int fds[SLOW];
    char byte;
    serve_begin((organ_serve_options){.timeout = 2});
    for (int k = 0; k < SLOW; k++) {
        fds[k] = serve_connect();
        ck_assert_int_eq(send(fds[k], "GET /hea", 8, MSG_NOSIGNAL), 8);
    }
    /* They send slowly, and other clients are served. */
    const double begun = now();
    while (now() - begun < 2.0) {
        for (int k = 0; k < SLOW; k++)
            send(fds[k], "l", 1, MSG_NOSIGNAL);
        expect_answer("GET /healthz", "", NULL, 200, "ok");
        usleep(50000);
    }
    for (int k = 0; k < SLOW; k++) {
        ssize_t got = 1;
        while (got > 0)
            got = serve_receive(fds[k], &byte, 1, 0);
        ck_assert_msg(got == 0 || errno == ECONNRESET, "client %d is not cut off: %s", k, strerror(errno));
        close(fds[k]);
    }
    expect_metric("organ_http_slow_total 20\n");
    serve_end();
}
END_TEST

START_TEST(connections_have_limits)
{
    enum { MANY = 12, HELD = 4 };
    int fds[MANY];
    char byte;
    int closed = 0;
    serve_begin((organ_serve_options){.per_address = HELD, .timeout = 60});
    /* The connections that stay open were answered; several threads accept, not in the order of clients. */
    for (int k = 0; k < HELD; k++)
        ck_assert_int_eq(serve_status_on("127.0.0.1", &fds[k]), 200);
    for (int k = HELD; k < MANY; k++)
        fds[k] = serve_connect();
    for (int k = HELD; k < MANY; k++)
        closed += serve_receive(fds[k], &byte, 1, 0) == 0;
    ck_assert_msg(closed == MANY - HELD, "%d of %d were refused", closed, MANY);
    for (int k = 0; k < MANY; k++)
        close(fds[k]);
    serve_is_reached();
    serve_end();
}
END_TEST

START_TEST(networks_of_addresses)
{
    static const struct {
        const char *peer, *network;
    } rows[] = {{"192.0.2.7", "192.0.2.0/24"},
                {"::ffff:192.0.2.255", "192.0.2.0/24"},
                {"192.0.3.7", "192.0.3.0/24"},
                {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
                {"2001:db8:1:2:ffff::", "2001:db8:1:2::/64"},
                {"2001:db8:1:3::1", "2001:db8:1:3::/64"},
                {"::1", "::/64"},
                {"-", "-"}};
    for (size_t k = 0; k < COUNT(rows); k++) {
        char network[ORGAN_PEER_NETWORK_ROOM];
        organ_peer_network(rows[k].peer, network);
        ck_assert_str_eq(network, rows[k].network);
    }
}
END_TEST

START_TEST(one_network_has_a_share_of_the_connections)
{
    static const char *const near[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.254"};
    int held[COUNT(near)];
    serve_begin((organ_serve_options){.connections = 8, .timeout = 60});
    for (size_t k = 0; k < COUNT(held); k++)
        ck_assert_int_eq(serve_status_on(near[k], &held[k]), 200);
    ck_assert_int_eq(serve_status_from("127.0.0.9"), 0);
    ck_assert_int_eq(serve_status_from("127.0.1.1"), 200);
    for (size_t k = 0; k < COUNT(held); k++)
        close(held[k]);
    serve_end();
    organ_server *server = NULL;
    organ_error error = {0};
    const organ_serve_options options = {
        .root = scratch_path("root"), .listen = "127.0.0.1:0", .connections = 8, .per_address = 9};
    ck_assert_int_eq(organ_server_open(&options, organ_areas, &server, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "--per-address is 9, but there are 8 connections in all"));
}
END_TEST

enum { PLACES = 16, FLOOD = 2 * PLACES };

/* Opens half requests from three networks, more than the server has slots. */
static void flood(int fds[FLOOD])
{
    static const char *const from[] = {"127.1.1.1", "127.2.2.2", "127.3.3.3"};
    for (size_t k = 0; k < FLOOD; k++) {
        fds[k] = serve_connect_from(from[k % COUNT(from)]);
        send(fds[k], "GET /hea", 8, MSG_NOSIGNAL); /* a connection that gave way does not accept it */
    }
}

/* Sends a request on a connection that stays open and reads the whole reply. Returns the status. */
static int ask_on(int fd, const char *request)
{
    char answer[4096] = "";
    size_t got = 0, requested = sizeof answer - 1;
    int status = 0;
    ck_assert_int_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    while (got < requested) {
        const ssize_t more = serve_receive(fd, answer + got, sizeof answer - 1 - got, 0);
        ck_assert_msg(more > 0, "after '%s': %s", answer, strerror(errno));
        answer[got += (size_t)more] = '\0';
        const char *const end = strstr(answer, "\r\n\r\n"), *const length = strcasestr(answer, "\r\nContent-Length: ");
        if (end)
            requested = (size_t)(end + 4 - answer) + (length ? strtoul(length + 18, NULL, 10) : 0);
    }
    sscanf(answer, "HTTP/1.1 %3d", &status);
    return status;
}

static const char with_token[] =
    "GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer correct-horse-battery\r\n\r\n";

START_TEST(clients_without_a_token_keep_nobody_out)
{
    int fds[FLOOD];
    serve_tokens("correct-horse-battery");
    serve_begin((organ_serve_options){.token_file = scratch_path("token"), .connections = PLACES, .timeout = 600});
    const int admitted = serve_connect_from("127.4.4.4");
    ck_assert_int_eq(ask_on(admitted, with_token), 200);
    flood(fds);
    expect_answer("GET /api/v1/verbs", "Authorization: Bearer correct-horse-battery\r\n", NULL, 200, "verbs");
    ck_assert_int_eq(ask_on(admitted, with_token), 200); /* this connection was not closed */
    for (size_t k = 0; k < FLOOD; k++)
        close(fds[k]);
    close(admitted);
    serve_end();
}
END_TEST

/* The last clients to be accepted had left before: their bytes and their end are read at once. */
START_TEST(places_of_clients_that_left_are_free)
{
    int fds[FLOOD];
    serve_begin((organ_serve_options){.connections = PLACES, .timeout = 600});
    flood(fds);
    for (size_t k = FLOOD; k-- > 0;)
        close(fds[k]);
    expect_metric("\norgan_http_connections 1\n");
    serve_end();
}
END_TEST

START_TEST(a_token_gives_time)
{
    enum { BY_HEADER, BY_LOGIN, NONE, KINDS };
    static const char half[] = "GET /api/v1/verbs HTTP/1.1\r\nHost: localhost\r\n";
    static const char login[] = "POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                                "Content-Length: 33\r\n\r\n{\"token\":\"correct-horse-battery\"}";
    char byte;
    int fds[KINDS];
    serve_tokens("correct-horse-battery");
    serve_begin((organ_serve_options){.token_file = scratch_path("token"), .timeout = 600});
    for (int k = 0; k < KINDS; k++)
        fds[k] = serve_connect();
    ck_assert_int_eq(ask_on(fds[BY_HEADER], with_token), 200);
    ck_assert_int_eq(ask_on(fds[BY_LOGIN], login), 204);
    for (int k = 0; k < KINDS; k++)
        ck_assert_int_gt(send(fds[k], half, sizeof half - 1, MSG_NOSIGNAL), 0);
    const ssize_t got = serve_receive(fds[NONE], &byte, 1, 0); /* without the new answer this would take ten minutes */
    ck_assert_msg(got == 0 || (got < 0 && errno == ECONNRESET), "not cut off: %s", strerror(errno));
    for (int k = 0; k < NONE; k++)
        ck_assert_msg(recv(fds[k], &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN, "client %d is cut off", k);
    for (int k = 0; k < KINDS; k++)
        close(fds[k]);
    serve_end();
}
END_TEST

START_TEST(who_guesses_tokens_waits)
{
    double took[6];
    serve_tokens("correct-horse-battery");
    serve_begin((organ_serve_options){.token_file = scratch_path("token")});
    for (size_t k = 0; k < COUNT(took); k++) {
        const double began = now();
        expect_answer("GET /metrics", "Authorization: Bearer correct-horse-batterx\r\n", NULL, 401,
                      "the token is wrong");
        took[k] = now() - began;
    }
    ck_assert_msg(took[4] >= 0.5 && took[5] >= 1, "%.2f s, %.2f s", took[4], took[5]);
    /* Many wrong tokens wait at the same time, two of them less than 8 s, and occupy no thread: a client with the right
     * token is answered meanwhile. */
    static const char wrong[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n";
    int waiting[16];
    for (size_t k = 0; k < COUNT(waiting); k++) {
        waiting[k] = serve_connect();
        ck_assert_int_gt(send(waiting[k], wrong, sizeof wrong - 1, MSG_NOSIGNAL), 0);
    }
    usleep(100000);
    const double began = now();
    expect_answer("GET /api/v1/verbs", "Authorization: Bearer correct-horse-battery\r\n", NULL, 200, "verbs");
    ck_assert_msg(now() - began < 6, "%.2f s", now() - began);
    char byte;
    size_t still = 0;
    for (size_t k = 0; k < COUNT(waiting); k++)
        still += recv(waiting[k], &byte, 1, MSG_DONTWAIT) == -1;
    ck_assert_msg(still >= COUNT(waiting) - 2, "%zu wait", still);
    serve_end(); /* which ends the waiting requests */
    for (size_t k = 0; k < COUNT(waiting); k++)
        close(waiting[k]);
}
END_TEST

START_TEST(a_stop_waits_for_replies_not_for_idlers)
{
    serve_begin((organ_serve_options){.timeout = 60});
    const int idle = serve_connect(), half = serve_connect();
    ck_assert_int_eq(send(half, "GET /healthz HTT", 16, MSG_NOSIGNAL), 16);
    expect_answer("GET /api/v1/models", "", NULL, 200, "tiny");
    const double begun = now();
    serve_end_within(40);
    ck_assert_msg(now() - begun < 20, "%.1f seconds", now() - begun);
    close(idle);
    close(half);
}
END_TEST

Suite *serve_limits_suite(void)
{
    const suite_case cases[] = {
        {"connections",
         {connections_have_limits, networks_of_addresses, one_network_has_a_share_of_the_connections,
          clients_without_a_token_keep_nobody_out, places_of_clients_that_left_are_free}},
        {"time",
         {slow_clients_are_cut_off, a_token_gives_time, who_guesses_tokens_waits,
          a_stop_waits_for_replies_not_for_idlers}}};
    return suite_of("serve_limits", cases, COUNT(cases), serve_root_make, serve_root_remove);
}
