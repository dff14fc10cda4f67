/* SPDX-License-Identifier: MIT
 * Tests of files behind URLs: any behaviour of server and connection gives the right bytes or an error that names the
 * cause and contains no secret. */
#include "formats/remote/remote.h"
#include "tests/formats/remote/check_http.h"
#include "tests/kit/http_server.h"
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SIZE ((uint64_t)40 << 20)

static const served_file files[] = {{"model.gguf", SIZE, "GGUF!", 5, "\"one\""},
                                    {"small.json", 2000000, "{}", 2, NULL}};
static http_server *server;
static char notes[8192];

static void keep_note(void *context, const char *text)
{
    (void)context;
    snprintf(notes + strlen(notes), sizeof notes - strlen(notes), "%s\n", text);
}

static const organ_model_access hasty = {.tries = 4, .first_wait_ms = 5, .note = keep_note};

static void setup(void)
{
    unsetenv("http_proxy");
    notes[0] = '\0';
    server = http_start(files, 2, 0);
}

static void teardown(void) { http_stop(server); }

/* An open file with its server and options. */
typedef struct reading {
    organ_http *http;
    organ_http_file *file;
    organ_error error;
} reading;

static organ_status begin(reading *r, const char *url, const organ_model_access *access)
{
    *r = (reading){0};
    if (organ_http_create(url, access, &r->http, &r->error) == ORGAN_OK)
        organ_http_open(r->http, strrchr(url, '/') + 1, &r->file, NULL, &r->error);
    return r->error.status;
}

static void end(reading *r)
{
    organ_http_close(r->file);
    organ_http_destroy(r->http);
}

static void begins(reading *r, const organ_model_access *access)
{
    ck_assert_msg(begin(r, http_url(server, "model.gguf"), access) == ORGAN_OK, "%s", r->error.message);
    ck_assert_uint_eq(organ_http_size(r->file), SIZE);
}

/* Reads a range and compares it; returns the status of the read. */
static organ_status reads(reading *r, uint64_t offset, size_t bytes)
{
    char *got = malloc(bytes), *right = malloc(bytes);
    r->error = (organ_error){0};
    ck_assert(got && right);
    http_content(&files[0], offset, right, bytes);
    if (organ_http_read(r->file, got, bytes, offset, &r->error) == ORGAN_OK)
        ck_assert_msg(memcmp(got, right, bytes) == 0, "%zu bytes at %llu are wrong", bytes, (unsigned long long)offset);
    free(got);
    free(right);
    return r->error.status;
}

static void must_read(reading *r, uint64_t offset, size_t bytes)
{
    ck_assert_msg(reads(r, offset, bytes) == ORGAN_OK, "%s", r->error.message);
}

static void says(const reading *r, organ_status status, const char *words)
{
    ck_assert_msg(r->error.status == status && strstr(r->error.message, words), "status %d: %s", (int)r->error.status,
                  r->error.message);
    ck_assert_msg(strstr(r->error.message, "/some/where/model.gguf"), "%s", r->error.message);
}

/* ---- correct ranges ---- */

START_TEST(any_range_is_right)
{
    reading r;
    uint64_t state = 1;
    begins(&r, NULL);
    for (int k = 0; k < 60; k++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const uint64_t offset = (state >> 20) % SIZE, max = SIZE - offset;
        const size_t bytes = (size_t)(1 + (state >> 9) % (k % 3 ? 5000 : 3000000));
        must_read(&r, offset, bytes < max ? bytes : (size_t)max);
    }
    must_read(&r, 0, 1);
    must_read(&r, SIZE - 1, 1);
    must_read(&r, SIZE, 0);
    ck_assert_int_eq(reads(&r, SIZE - 1, 2), ORGAN_BAD_INPUT);
    says(&r, ORGAN_BAD_INPUT, "were expected");
    ck_assert_int_eq(http_connections(server), 1);
    end(&r);
}
END_TEST

START_TEST(small_reads_are_read_ahead)
{
    reading r;
    begins(&r, NULL);
    for (uint64_t at = 0; at + 4096 <= SIZE; at += 4096)
        must_read(&r, at, 4096);
    ck_assert_msg(http_requests(server) <= 16, "%ld requests", http_requests(server));
    ck_assert_uint_eq(http_sent(server), SIZE);
    end(&r);
}
END_TEST

/* Several threads read tensor after tensor at the same time. */
START_TEST(reads_side_by_side_share_what_is_read_ahead)
{
    reading r;
    begins(&r, NULL);
    for (uint64_t at = 0; at + 4 * 100000 <= SIZE; at += 4 * 100000)
        for (uint64_t k = 4; k-- > 0;)
            must_read(&r, at + k * 100000, 100000);
    ck_assert_msg(http_requests(server) <= 80, "%ld requests", http_requests(server));
    ck_assert_msg(http_sent(server) <= SIZE + (8 << 20), "%llu bytes", (unsigned long long)http_sent(server));
    end(&r);
}
END_TEST

START_TEST(large_reads_go_straight)
{
    reading r;
    begins(&r, NULL);
    const long before = http_requests(server);
    must_read(&r, 100, 8 << 20);
    must_read(&r, 100 + (8 << 20), 8 << 20);
    ck_assert_int_eq(http_requests(server) - before, 2);
    must_read(&r, 5, 10 << 20);
    ck_assert_int_eq(http_requests(server) - before, 3);
    end(&r);
}
END_TEST

START_TEST(shorter_parts_are_joined)
{
    reading r;
    begins(&r, NULL);
    http_behave(server, (http_manners){.oddity = HTTP_SHORTER_RANGE, .count = -1});
    must_read(&r, 1000000, 3 << 20);
    ck_assert_str_eq(notes, "");
    end(&r);
}
END_TEST

/* ---- connections that break ---- */

START_TEST(broken_connections_are_tried_again)
{
    static const http_manners ways[] = {
        {.oddity = HTTP_HANGS_UP, .count = 3},
        {.oddity = HTTP_STATUS, .code = 503, .count = 3},
        {.oddity = HTTP_STATUS, .code = 500, .count = 1},
        {.oddity = HTTP_STATUS, .code = 429, .count = 2},
        {.oddity = HTTP_BREAKS_OFF, .bytes = 0, .count = 3},
        {.oddity = HTTP_BREAKS_OFF, .bytes = 100001, .count = 20}, /* a retry that makes progress is not counted */
    };
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        reading r;
        http_behave(server, (http_manners){0});
        begins(&r, &hasty);
        http_behave(server, ways[k]);
        must_read(&r, 7000001, 3 << 20);
        end(&r);
        http_behave(server, ways[k]);
        begins(&r, &hasty);
        must_read(&r, 0, 3 << 20);
        end(&r);
    }
    ck_assert_ptr_nonnull(strstr(notes, "status 503; trying again in 0.0 s"));
    ck_assert_ptr_nonnull(strstr(notes, "at byte 7000001"));
}
END_TEST

START_TEST(patience_ends)
{
    static const http_manners ways[] = {{.oddity = HTTP_HANGS_UP, .count = -1},
                                        {.oddity = HTTP_STATUS, .code = 503, .count = -1},
                                        {.oddity = HTTP_BREAKS_OFF, .bytes = 0, .count = -1}};
    static const char *const words[] = {"(4 tries)", "status 503 (4 tries)", "broke off"};
    for (size_t k = 0; k < 3; k++) {
        reading r;
        http_behave(server, (http_manners){0});
        begins(&r, &hasty);
        http_behave(server, ways[k]);
        const long before = http_requests(server);
        ck_assert_int_eq(reads(&r, 5000000, 2 << 20), ORGAN_IO);
        says(&r, ORGAN_IO, words[k]);
        says(&r, ORGAN_IO, "at byte 5000000");
        ck_assert_int_le(http_requests(server) - before, 5);
        http_behave(server, (http_manners){0});
        must_read(&r, 5000000, 2 << 20);
        end(&r);
    }
}
END_TEST

START_TEST(server_asks_to_wait)
{
    reading r;
    struct timespec from, to;
    begins(&r, &hasty);
    http_behave(server, (http_manners){.oddity = HTTP_STATUS, .code = 429, .retry_after = 1, .count = 1});
    clock_gettime(CLOCK_MONOTONIC, &from);
    must_read(&r, 9000000, 1000);
    clock_gettime(CLOCK_MONOTONIC, &to);
    ck_assert(to.tv_sec - from.tv_sec + 1e-9 * (double)(to.tv_nsec - from.tv_nsec) >= 0.99);
    ck_assert_ptr_nonnull(strstr(notes, "trying again in 1.0 s"));
    end(&r);
}
END_TEST

/* A server's Retry-After is followed up to the user's --patience and not beyond. */
START_TEST(patience_is_the_users)
{
    const organ_model_access brief = {.tries = 4, .first_wait_ms = 5, .patience = 1};
    reading r;
    begins(&r, &brief);
    http_behave(server, (http_manners){.oddity = HTTP_STATUS, .code = 503, .retry_after = 2, .count = 1});
    ck_assert_int_eq(reads(&r, 9000000, 1000), ORGAN_IO);
    says(&r, ORGAN_IO, "asks to wait 2 s, longer than 1 s (`patience`)");
    http_behave(server, (http_manners){.oddity = HTTP_STATUS, .code = 503, .retry_after = 1, .count = 1});
    must_read(&r, 9000000, 1000);
    end(&r);
}
END_TEST

/* Bytes arrive, so nothing stalls, but the read would take hours. */
START_TEST(trickling_servers_are_left)
{
    const organ_model_access hurried = {.tries = 4, .first_wait_ms = 5, .read_ms = 2000};
    reading r;
    struct timespec from, to;
    begins(&r, &hurried);
    http_behave(server, (http_manners){.oddity = HTTP_TRICKLES, .count = -1});
    clock_gettime(CLOCK_MONOTONIC, &from);
    ck_assert_int_eq(reads(&r, 9000000, 2 << 20), ORGAN_IO);
    clock_gettime(CLOCK_MONOTONIC, &to);
    says(&r, ORGAN_IO, "the transfer is too slow");
    ck_assert_int_lt(to.tv_sec - from.tv_sec, 100);
    http_behave(server, (http_manners){0});
    must_read(&r, 9000000, 2 << 20); /* each read has its own time limit */
    end(&r);
}
END_TEST

START_TEST(nobody_answers)
{
    reading r;
    const int port = http_port(server);
    char url[100];
    const int holder = http_stop_but_hold(server);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/some/where/model.gguf", port);
    ck_assert_int_eq(begin(&r, url, &hasty), ORGAN_IO);
    says(&r, ORGAN_IO, "(4 tries)");
    end(&r);
    ck_assert_int_eq(begin(&r, url, NULL), ORGAN_IO);
    says(&r, ORGAN_IO, "(3 tries)");
    end(&r);
    server = http_start(files, 2, port);
    close(holder);
}
END_TEST

static bool is_stopped;
static bool stopped(void *context)
{
    (void)context;
    return is_stopped;
}

static void stop_later(void *context, const char *text)
{
    (void)context, (void)text;
    is_stopped = true;
}

START_TEST(waiting_can_be_stopped)
{
    const organ_model_access patient = {.tries = 100, .first_wait_ms = 30000, .stopped = stopped, .note = stop_later};
    reading r;
    is_stopped = false;
    begins(&r, &patient);
    http_behave(server, (http_manners){.oddity = HTTP_STATUS, .code = 503, .count = -1});
    ck_assert_int_eq(reads(&r, 9000000, 1000), ORGAN_INTERRUPTED);
    ck_assert_int_eq(reads(&r, 9000000, 2 << 20), ORGAN_INTERRUPTED);
    end(&r);
}
END_TEST

/* ---- wrong answers ---- */

/* Answers when the file is opened, and when it is read later. */
static const struct strange {
    http_manners manners;
    organ_status status;
    const char *words;
} strange[] = {
    {{.oddity = HTTP_IGNORES_RANGES}, ORGAN_BAD_INPUT, "does not serve parts of files"},
    {{.oddity = HTTP_SHIFTED_RANGE}, ORGAN_BAD_INPUT, "were requested, but the server sends"},
    {{.oddity = HTTP_LATER_RANGE}, ORGAN_BAD_INPUT, "were requested, but the server sends"},
    {{.oddity = HTTP_LONGER_BODY}, ORGAN_BAD_INPUT, "but the server sends more than"},
    {{.oddity = HTTP_LONGER_RANGE}, ORGAN_BAD_INPUT, "were requested, but the server sends"},
    {{.oddity = HTTP_NO_CONTENT_RANGE}, ORGAN_BAD_INPUT, "without a valid Content-Range"},
    {{.oddity = HTTP_BAD_CONTENT_RANGE}, ORGAN_BAD_INPUT, "without a valid Content-Range"},
    {{.oddity = HTTP_COMPRESSED}, ORGAN_BAD_INPUT, "compressed"},
    {{.oddity = HTTP_LONG_HEADERS}, ORGAN_IO, "headers have more than"},
    {{.oddity = HTTP_LONG_HEADERS}, ORGAN_IO, "with 'X-Long'"},
    {{.oddity = HTTP_LONG_HEADER}, ORGAN_IO, "a header of its answer is too long, the one after 'X-Short'"},
    {{.oddity = HTTP_STATUS, .code = 429, .retry_after = 61},
     ORGAN_IO,
     "status 429 and asks to wait 61 s, longer than 60 s (`patience`)"},
    {{.oddity = HTTP_STATUS, .code = 503, .retry_after = 99999}, ORGAN_IO, "asks to wait 99999 s"},
    {{.oddity = HTTP_REDIRECTS_IN_CIRCLES}, ORGAN_IO, "more than 8 times"},
    {{.oddity = HTTP_REDIRECTS, .location = "file:///etc"}, ORGAN_IO, "not https"},
    {{.oddity = HTTP_STATUS, .code = 401}, ORGAN_IO, "`headers`"},
    {{.oddity = HTTP_STATUS, .code = 403}, ORGAN_IO, "`headers`"},
    {{.oddity = HTTP_STATUS, .code = 404}, ORGAN_IO, "no such file"},
    {{.oddity = HTTP_STATUS, .code = 418}, ORGAN_IO, "status 418"},
    {{.oddity = HTTP_EMPTY_FILE}, ORGAN_BAD_INPUT, NULL},
};

START_TEST(strange_servers_are_refused)
{
    for (size_t k = 0; k < sizeof strange / sizeof *strange; k++)
        for (int later = 0; later < 2; later++) {
            reading r;
            http_manners manners = strange[k].manners;
            manners.count = -1;
            http_behave(server, later ? (http_manners){0} : manners);
            if (later) {
                begins(&r, &hasty);
                http_behave(server, manners);
                reads(&r, 6000000, later ? 2 << 20 : 5000);
            } else
                begin(&r, http_url(server, "model.gguf"), &hasty);
            const char *const otherwise = later ? "changed on the server" : "is empty";
            says(&r, strange[k].status, strange[k].words ? strange[k].words : otherwise);
            end(&r);
        }
    ck_assert_str_eq(notes, "");
}
END_TEST

START_TEST(changed_files_are_refused)
{
    static const http_oddity ways[] = {HTTP_OTHER_SIZE, HTTP_OTHER_ETAG};
    for (size_t k = 0; k < 2; k++) {
        reading r;
        http_behave(server, (http_manners){0});
        begins(&r, &hasty);
        ck_assert_int_eq(organ_http_unchanged(r.file, &r.error), ORGAN_OK);
        http_behave(server, (http_manners){.oddity = ways[k], .count = -1});
        ck_assert_int_eq(organ_http_unchanged(r.file, &r.error), ORGAN_BAD_INPUT);
        says(&r, ORGAN_BAD_INPUT, "was changed on the server while it was in use");
        ck_assert_int_eq(reads(&r, 7000000, 2 << 20), ORGAN_BAD_INPUT);
        says(&r, ORGAN_BAD_INPUT, k ? "\"one\" and is now \"other\"" : "41943040 bytes and is now 41943041 bytes");
        end(&r);
    }
}
END_TEST

/* ---- secrets ---- */

START_TEST(headers_stay_with_their_host)
{
    static const char *const headers[] = {"Authorization: Bearer secret", "X-Token: secret"};
    organ_model_access access = hasty;
    char location[64];
    reading r;
    http_server *far = http_start(files, 2, 0);
    access.headers = headers;
    access.header_count = 2;
    begins(&r, &access);
    ck_assert_str_eq(http_last_header(server, "Authorization"), "Bearer secret");
    ck_assert_str_eq(http_last_header(server, "X-Token"), "secret");
    snprintf(location, sizeof location, "http://127.0.0.1:%d", http_port(far));
    http_behave(server, (http_manners){.oddity = HTTP_REDIRECTS, .location = location, .count = -1});
    const long before = http_requests(server);
    must_read(&r, 6000000, 2 << 20);
    must_read(&r, 16000000, 2 << 20);
    ck_assert_int_eq(http_requests(server) - before, 1); /* the target of the redirect is remembered */
    ck_assert_int_eq(http_requests(far), 2);
    ck_assert_str_eq(http_last_header(far, "Authorization"), "");
    ck_assert_str_eq(http_last_header(far, "X-Token"), "");
    http_behave(far, (http_manners){.oddity = HTTP_STATUS, .code = 403, .count = 1}); /* the target has expired */
    must_read(&r, 26000000, 2 << 20);
    ck_assert_int_eq(http_requests(server) - before, 2);
    end(&r);
    http_stop(far);
}
END_TEST

START_TEST(secrets_are_in_no_message)
{
    static const char *const headers[] = {"Authorization: Bearer hushhush"};
    organ_model_access access = hasty;
    static const http_manners ways[] = {{.oddity = HTTP_STATUS, .code = 404, .count = -1},
                                        {.oddity = HTTP_STATUS, .code = 503, .count = -1},
                                        {.oddity = HTTP_HANGS_UP, .count = -1},
                                        {.oddity = HTTP_IGNORES_RANGES, .count = -1},
                                        {.oddity = HTTP_REDIRECTS, .location = "ftp://me:hushhush@there", .count = -1}};
    access.headers = headers;
    access.header_count = 1;
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        organ_error error = {0};
        organ_http *http;
        organ_http_file *file;
        char url[200];
        snprintf(url, sizeof url, "http://me:hushhush@127.0.0.1:%d/some/where/model.gguf?key=hushhush#hushhush",
                 http_port(server));
        http_behave(server, ways[k]);
        ck_assert_int_eq(organ_http_create(url, &access, &http, &error), ORGAN_OK);
        ck_assert_int_ne(organ_http_open(http, "model.gguf", &file, NULL, &error), ORGAN_OK);
        ck_assert_msg(!strstr(error.message, "hush") && strstr(error.message, "/some/where/model.gguf:"), "%s",
                      error.message);
        ck_assert_msg(!strstr(notes, "hush"), "%s", notes);
        organ_http_destroy(http);
    }
}
END_TEST

START_TEST(malformed_headers_are_refused)
{
    static const char *const bad[] = {"hushhush", ": hushhush", "A: hushhush\r\nB: c", ""};
    for (size_t k = 0; k < 4; k++) {
        const organ_model_access access = {.headers = &bad[k], .header_count = 1};
        organ_error error = {0};
        organ_http *http;
        ck_assert_int_eq(organ_http_create("http://127.0.0.1/x.gguf", &access, &http, &error), ORGAN_USAGE);
        ck_assert_ptr_nonnull(strstr(error.message, "header 1"));
        ck_assert_ptr_null(strstr(error.message, "hush"));
        ck_assert_ptr_null(http);
    }
}
END_TEST

START_TEST(urls_are_taken_apart)
{
    static const struct {
        const char *url, *shown, *directory, *name;
    } rows[] = {
        {"http://h/a/b.gguf", "http://h/a/b.gguf", "http://h/a", "b.gguf"},
        {"HTTPS://u:p@h:8443/b%20c.gguf?x=/y#z", "https://h:8443/b%20c.gguf", "https://h:8443", "b c.gguf"},
        {"http://h/a/b.safetensors?download=true", "http://h/a/b.safetensors", "http://h/a", "b.safetensors"},
        {"https://u:p@h/org/model/resolve/main?x=y", "https://h/org/model/resolve/main",
         "https://h/org/model/resolve/main", NULL},
        {"http://h/a.b/", "http://h/a.b", "http://h/a.b", NULL},
        {"http://h/", "http://h", "http://h", NULL},
        {"http://h", "http://h", "http://h", NULL},
    };
    static const char *const bad[] = {
        "http://",       "http://h/a%2Fb.gguf", "http://h/a%2Fb",      "http://h/a%00.gguf",
        "http://h/a%00", "http://h/.x",         "http://h:pass/x.gguf"};
    organ_arena arena = {0};
    const char *shown, *directory, *name;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        organ_error error = {0};
        ck_assert_msg(organ_http_place(rows[k].url, &arena, &shown, &directory, &name, &error) == ORGAN_OK, "%s",
                      error.message);
        ck_assert_str_eq(shown, rows[k].shown);
        ck_assert_str_eq(directory, rows[k].directory);
        ck_assert(rows[k].name ? name && strcmp(name, rows[k].name) == 0 : !name);
    }
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        organ_error error = {0};
        ck_assert_msg(organ_http_place(bad[k], &arena, &shown, &directory, &name, &error) == ORGAN_USAGE, "%s", bad[k]);
    }
    organ_arena_release(&arena);
    ck_assert(organ_http_is_url("https://x") && organ_http_is_url("HTTP://x") && !organ_http_is_url("http:/x") &&
              !organ_http_is_url("ftp://x") && !organ_http_is_url("./http://x"));
}
END_TEST

START_TEST(whole_files_are_loaded)
{
    organ_http *http;
    organ_error error = {0};
    char *bytes, *right = malloc(2000000);
    size_t length;
    ck_assert_int_eq(organ_http_create(http_url(server, "model.gguf"), &hasty, &http, &error), ORGAN_OK);
    http_behave(server, (http_manners){.oddity = HTTP_STATUS, .code = 503, .count = 2});
    ck_assert_int_eq(organ_http_load(http, "small.json", 2000000, &bytes, &length, &error), ORGAN_OK);
    http_content(&files[1], 0, right, 2000000);
    ck_assert(length == 2000000 && memcmp(bytes, right, length) == 0 && bytes[length] == '\0');
    free(bytes);
    free(right);
    ck_assert_int_eq(organ_http_load(http, "none.json", 2000000, &bytes, &length, &error), ORGAN_OK);
    ck_assert_ptr_null(bytes);
    ck_assert_int_eq(organ_http_load(http, "small.json", 1999999, &bytes, &length, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "small.json: has more than 1999999 bytes"), "%s", error.message);
    error = (organ_error){0};
    http_behave(server, (http_manners){.oddity = HTTP_STATUS, .code = 403, .count = -1});
    ck_assert_int_eq(organ_http_load(http, "small.json", 2000000, &bytes, &length, &error), ORGAN_IO);
    ck_assert_ptr_null(bytes);
    organ_http_destroy(http);
}
END_TEST

Suite *http_source_suite(void)
{
    const suite_case cases[] = {
        {"bytes",
         {any_range_is_right, small_reads_are_read_ahead, reads_side_by_side_share_what_is_read_ahead,
          large_reads_go_straight, shorter_parts_are_joined, whole_files_are_loaded}},
        {"connection",
         {broken_connections_are_tried_again, patience_ends, server_asks_to_wait, patience_is_the_users,
          trickling_servers_are_left, nobody_answers, waiting_can_be_stopped}},
        {"server", {strange_servers_are_refused, changed_files_are_refused}},
        {"secrets",
         {headers_stay_with_their_host, secrets_are_in_no_message, malformed_headers_are_refused,
          urls_are_taken_apart}},
    };
    return suite_of("http source", cases, sizeof cases / sizeof *cases, setup, teardown);
}

int main(void)
{
    return run_suites((Suite *const[]){http_source_suite(), http_redirects_suite(), http_model_suite(),
                                       http_measure_suite(), http_verbs_suite(), NULL});
}
