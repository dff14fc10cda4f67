/* SPDX-License-Identifier: MIT
 * Redirects from public servers to addresses of this machine or its network are not followed, in any notation of the
 * address. */
#include "formats/remote/http_request.h"
#include "formats/remote/remote.h"
#include "tests/formats/remote/check_http.h"
#include "tests/kit/http_server.h"
#include "tests/kit/suite_table.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const served_file files[] = {{"model.gguf", (uint64_t)40 << 20, "GGUF!", 5, "\"one\""}};
static http_server *server;
static const organ_model_access hasty = {.tries = 2, .first_wait_ms = 5};

static void setup(void)
{
    unsetenv("http_proxy");
    server = http_start(files, 1, 0);
}

static void teardown(void) { http_stop(server); }

/* Calls of the functions that this file replaces; none if they share an object with http_request.c. */
static atomic_uint stood_in;

typedef struct reading {
    organ_http *http;
    organ_http_file *file;
    organ_error error;
} reading;

static organ_status begin(reading *r, const char *url)
{
    *r = (reading){0};
    if (organ_http_create(url, &hasty, &r->http, &r->error) == ORGAN_OK)
        organ_http_open(r->http, "model.gguf", &r->file, NULL, &r->error);
    ck_assert_uint_gt(stood_in, 0);
    return r->error.status;
}

static organ_status reads(reading *r, uint64_t offset)
{
    static char bytes[2 << 20];
    r->error = (organ_error){0};
    return organ_http_read(r->file, bytes, sizeof bytes, offset, &r->error);
}

static void end(reading *r)
{
    organ_http_close(r->file);
    organ_http_destroy(r->http);
}

organ_reach __real_organ_http_address_reach(const struct sockaddr *address);
organ_reach __real_organ_http_text_reach(const char *text);
organ_reach __wrap_organ_http_address_reach(const struct sockaddr *address);
organ_reach __wrap_organ_http_text_reach(const char *text);

/* 127.0.0.2 stands for a public server, 127.0.0.3 for the metadata service of a cloud. */
organ_reach __wrap_organ_http_address_reach(const struct sockaddr *address)
{
    struct sockaddr_in in;
    stood_in++;
    memcpy(&in, address, sizeof in);
    if (in.sin_family == AF_INET && in.sin_addr.s_addr == inet_addr("127.0.0.2"))
        return ORGAN_REACH_PUBLIC;
    if (in.sin_family == AF_INET && in.sin_addr.s_addr == inet_addr("127.0.0.3"))
        return ORGAN_REACH_LINK;
    return __real_organ_http_address_reach(address);
}

organ_reach __wrap_organ_http_text_reach(const char *text)
{
    stood_in++;
    if (strcmp(text, "127.0.0.2") == 0)
        return ORGAN_REACH_PUBLIC;
    return strcmp(text, "127.0.0.3") == 0 ? ORGAN_REACH_LINK : __real_organ_http_text_reach(text);
}

START_TEST(addresses_are_told_apart)
{
    static const char *const open[] = {"1.1.1.1",          "8.8.8.8",         "172.15.255.255",    "172.32.0.0",
                                       "100.63.255.255",   "100.128.0.0",     "169.253.1.1",       "192.167.1.1",
                                       "223.255.255.255",  "2606:4700::1111", "[2606:4700::1111]", "::ffff:8.8.8.8",
                                       "64:ff9b::808:808", "2002:808:808::1"};
    static const char *const shut[] = {"0.0.0.0",
                                       "10.0.0.1",
                                       "100.64.0.1",
                                       "127.0.0.1",
                                       "127.255.255.255",
                                       "172.16.0.1",
                                       "172.31.255.255",
                                       "192.168.1.1",
                                       "198.18.0.1",
                                       "224.0.0.1",
                                       "240.0.0.1",
                                       "255.255.255.255",
                                       "::",
                                       "::1",
                                       "[::1]",
                                       "fc00::1",
                                       "fd12:3456::1",
                                       "fec0::1",
                                       "ff02::1",
                                       "::ffff:127.0.0.1",
                                       "::ffff:10.0.0.1",
                                       "::7f00:1",
                                       "64:ff9b::7f00:1",
                                       "2002:7f00:1::1",
                                       "2002:c0a8:101::1",
                                       "localhost",
                                       "",
                                       "1.1.1"};
    static const char *const links[] = {"169.254.0.0",
                                        "169.254.169.254",
                                        "169.254.255.255",
                                        "100.100.100.200",
                                        "168.63.129.16",
                                        "192.0.0.192",
                                        "fe80::1",
                                        "fe80::1%lo",
                                        "febf::1",
                                        "[fd00:ec2::254]",
                                        "::ffff:169.254.169.254",
                                        "64:ff9b::a9fe:a9fe",
                                        "2002:a9fe:a9fe::1"};
    for (size_t k = 0; k < sizeof open / sizeof *open; k++)
        ck_assert_msg(__real_organ_http_text_reach(open[k]) == ORGAN_REACH_PUBLIC, "%s", open[k]);
    for (size_t k = 0; k < sizeof shut / sizeof *shut; k++)
        ck_assert_msg(__real_organ_http_text_reach(shut[k]) == ORGAN_REACH_INSIDE, "%s", shut[k]);
    for (size_t k = 0; k < sizeof links / sizeof *links; k++)
        ck_assert_msg(__real_organ_http_text_reach(links[k]) == ORGAN_REACH_LINK, "%s", links[k]);
    ck_assert(organ_http_is_address("127.0.0.1") && organ_http_is_address("[::1]") &&
              !organ_http_is_address("localhost"));
}
END_TEST

/* A redirect from a public server to this machine, in any notation, makes no connection. One to another public server
 * is followed. */
START_TEST(redirects_into_the_house)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost",  "[::1]",      "[::ffff:127.0.0.1]",
                                        "127.1",     "2130706433", "0x7f000001", "localhost.localdomain"};
    http_server *const out = http_start_at(files, 1, "127.0.0.2", 0);
    char url[512], location[512];
    snprintf(url, sizeof url, "http://127.0.0.2:%d/some/where/model.gguf", http_port(out));
    for (size_t k = 0; k < sizeof hosts / sizeof *hosts; k++) {
        reading r;
        snprintf(location, sizeof location, "http://%s:%d", hosts[k], http_port(server));
        http_behave(out, (http_manners){.oddity = HTTP_REDIRECTS, .location = location, .count = -1});
        ck_assert_int_eq(begin(&r, url), ORGAN_IO);
        ck_assert_msg(strstr(r.error.message, "redirects to a loopback or private address") ||
                          strstr(r.error.message, "resolve"),
                      "%s: %s", hosts[k], r.error.message);
        end(&r);
    }
    ck_assert_int_eq(http_connections(server), 0);
    http_stop(out);
}
END_TEST

/* Redirects to a cloud's metadata service are rejected, also from a server of the user's network and over two steps. */
START_TEST(redirects_to_the_metadata_of_a_cloud)
{
    static const char *const hosts[] = {
        "127.0.0.3",       "2130706435",      "169.254.169.254",          "2852039166",          "0xa9fea9fe",
        "100.100.100.200", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]"};
    http_server *const cloud = http_start_at(files, 1, "127.0.0.3", 0), *const near = http_start(files, 1, 0);
    char url[512], location[512], again[512];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/some/where/model.gguf", http_port(near));
    for (size_t k = 0; k < 2 * sizeof hosts / sizeof *hosts; k++) {
        reading r;
        const char *const host = hosts[k / 2];
        snprintf(location, sizeof location, "http://%s:%d", host, http_port(cloud));
        snprintf(again, sizeof again, "http://127.0.0.1:%d", http_port(server));
        http_behave(server, (http_manners){.oddity = HTTP_REDIRECTS, .location = location, .count = -1});
        http_behave(near, (http_manners){.oddity = HTTP_REDIRECTS, .location = k % 2 ? again : location, .count = -1});
        ck_assert_int_eq(begin(&r, url), ORGAN_IO);
        ck_assert_msg(strstr(r.error.message, "it redirects to a link-local address"), "%s: %s", host, r.error.message);
        end(&r);
    }
    ck_assert_int_eq(http_connections(cloud), 0);
    http_stop(cloud);
    http_stop(near);
}
END_TEST

START_TEST(redirects_outside)
{
    http_server *const out = http_start_at(files, 1, "127.0.0.2", 0), *const other =
                                                                          http_start_at(files, 1, "127.0.0.2", 0);
    char url[512], location[512];
    reading r;
    snprintf(location, sizeof location, "http://127.0.0.2:%d", http_port(other));
    http_behave(out, (http_manners){.oddity = HTTP_REDIRECTS, .location = location, .count = -1});
    snprintf(url, sizeof url, "http://127.0.0.2:%d/some/where/model.gguf", http_port(out));
    ck_assert_msg(begin(&r, url) == ORGAN_OK, "%s", r.error.message);
    ck_assert_msg(reads(&r, 9000000) == ORGAN_OK, "%s", r.error.message);
    /* Later reads use the address of the redirect; it may not redirect to this machine either. */
    snprintf(location, sizeof location, "http://127.0.0.1:%d", http_port(server));
    http_behave(other, (http_manners){.oddity = HTTP_REDIRECTS, .location = location, .count = -1});
    ck_assert_int_eq(reads(&r, 20000000), ORGAN_IO);
    ck_assert_msg(strstr(r.error.message, "redirects to a loopback or private address"), "%s", r.error.message);
    end(&r);
    ck_assert_int_eq(http_connections(server), 0);
    http_stop(out);
    http_stop(other);
}
END_TEST

Suite *http_redirects_suite(void)
{
    const suite_case cases[] = {{"redirects",
                                 {addresses_are_told_apart, redirects_into_the_house,
                                  redirects_to_the_metadata_of_a_cloud, redirects_outside}}};
    return suite_of("http redirects", cases, 1, setup, teardown);
}
