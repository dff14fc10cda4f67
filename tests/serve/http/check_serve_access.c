/* SPDX-License-Identifier: MIT
 * Tests of access: tokens with roles, read again while the server runs; the address of a request behind proxies; the
 * audit log. */
#include <organ/report.h>
#include "orchestrator/serve/http/http_parts.h"
#include "orchestrator/serve/http/tls.h"
#include "tests/serve/http/check_serve.h"
#include "tests/kit/scratch_model.h"
#include "tests/serve/http/serve_rig.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define ALICE        "Authorization: Bearer alice-alice-alice-alice\r\n"
#define BOB          "Authorization: Bearer bob-bob-bob-bob-bob\r\n"
#define TWO_TOKENS   "# who\n\nalice  run\talice-alice-alice-alice\r\n bob read bob-bob-bob-bob-bob\n"
#define JSON_HEADERS "Content-Type: application/json\r\n"

/* ---- the file of tokens ---- */

START_TEST(the_file_of_tokens)
{
    static const struct {
        const char *text;
        mode_t mode;
        bool told;
        size_t count;
        const char *token, *name, *fault; /* a token of the file and its name, or the reason for its rejection */
    } rows[] = {
        {"correct-horse-battery", 0600, false, 1, "correct-horse-battery", "token", NULL},
        {"correct-horse-battery\n", 0400, false, 1, "correct-horse-battery", "token", NULL},
        {" \t\r\ncorrect-horse-battery \r\n\n", 0600, false, 1, "correct-horse-battery", "token", NULL},
        {"#orrect-horse-battery", 0600, false, 1, "#orrect-horse-battery", "token", NULL},
        {"correct-horse-battery", 0640, true, 1, "correct-horse-battery", "token", NULL},
        {TWO_TOKENS, 0600, false, 2, "bob-bob-bob-bob-bob", "bob", NULL},
        {"a.b_c-d read 0123456789abcdef", 0600, false, 1, "0123456789abcdef", "a.b_c-d", NULL},
        {"correct-horse-battery", 0604, false, 0, NULL, NULL, "all users may read the tokens (mode 0604)"},
        {"correct-horse-battery", 0602, false, 0, NULL, NULL, "all users may change the tokens (mode 0602)"},
        {"", 0600, false, 0, NULL, NULL, "has 0 characters; allowed are 16 to 1024"},
        {"\n", 0600, false, 0, NULL, NULL, "has 0 characters; allowed are 16 to 1024"},
        {"correct-horse\nbattery", 0600, false, 0, NULL, NULL, "line 1 has one word;"},
        {"correct-horse-b\xc3\xa4ttery", 0600, false, 0, NULL, NULL, "character 16"},
        {"# a\n# b\n", 0600, false, 0, NULL, NULL, "contains no token"},
        {"alice run\nalice-alice-alice-alice", 0600, false, 0, NULL, NULL, "line 1 has two words"},
        {"alice run alice-alice-alice-alice x", 0600, false, 0, NULL, NULL, "line 1 has more than three words"},
        {"\nalice write alice-alice-alice-alice", 0600, false, 0, NULL, NULL,
         "line 2: the role of 'alice' is neither read nor run"},
        {"al/ice run alice-alice-alice-alice", 0600, false, 0, NULL, NULL, "line 1: a name has"},
        {"alice run short", 0600, false, 0, NULL, NULL, "the token has 5 characters"},
        {TWO_TOKENS "bob run 0123456789abcdef", 0600, false, 0, NULL, NULL, "two tokens have the name 'bob'"},
        {TWO_TOKENS "eve run bob-bob-bob-bob-bob", 0600, false, 0, NULL, NULL, "'bob' and 'eve' have the same token"}};
    for (size_t k = 0; k < COUNT(rows); k++) {
        organ_tokens *tokens = NULL;
        organ_error error = {0};
        organ_bearer who;
        bool told = false;
        scratch_text("token", rows[k].text);
        ck_assert_int_eq(chmod(scratch_path("token"), rows[k].mode), 0);
        const organ_status status = organ_tokens_open(scratch_path("token"), &tokens, &told, &error);
        ck_assert_msg(rows[k].fault ? status == ORGAN_BAD_INPUT && !tokens && strstr(error.message, rows[k].fault)
                                    : status == ORGAN_OK,
                      "row %zu: %s", k, error.message);
        ck_assert_msg(!strstr(error.message, "-horse") && !strstr(error.message, "-bob"), "row %zu: %s", k,
                      error.message);
        ck_assert_msg(told == rows[k].told, "row %zu", k);
        if (tokens) {
            ck_assert_uint_eq(organ_tokens_count(tokens), rows[k].count);
            ck_assert_msg(organ_tokens_check(tokens, rows[k].token, &who) && strcmp(who.name, rows[k].name) == 0,
                          "row %zu", k);
            ck_assert(!organ_tokens_check(tokens, "", &who) &&
                      !organ_tokens_check_session(tokens, rows[k].token, &who));
        }
        organ_tokens_close(tokens);
        ck_assert_int_eq(unlink(scratch_path("token")), 0);
    }
}
END_TEST

START_TEST(secrets_are_compared_whole)
{
    ck_assert(organ_secret_is("abc", "abc"));
    static const char *const others[] = {"", "a", "ab", "abd", "xbc", "abcd", "abcabc"};
    for (size_t k = 0; k < COUNT(others); k++)
        ck_assert_msg(!organ_secret_is("abc", others[k]), "%s", others[k]);
}
END_TEST

/* ---- roles ---- */

START_TEST(roles)
{
    static const char job[] = "{\"verb\":\"inspect\",\"arguments\":{\"MODEL\":\"tiny\"}}",
                      no_job[] = "{\"verb\":\"none\",\"arguments\":{}}";
    serve_tokens(TWO_TOKENS);
    serve_begin((organ_serve_options){.token_file = scratch_path("token")});
    expect_answer("GET /metrics", ALICE, NULL, 200, "organ_http");
    expect_answer("GET /metrics", BOB, NULL, 200, "organ_http");
    expect_answer("HEAD /files/text.txt", BOB, NULL, 200, NULL);
    expect_answer("POST /api/v1/jobs", BOB JSON_HEADERS, job, 403,
                  "the token 'bob' has the role read; POST needs the role run");
    expect_answer("DELETE /api/v1/jobs/x", BOB, NULL, 403, "DELETE needs the role run");
    expect_answer("POST /api/v1/jobs/x/resume", BOB, NULL, 403, "role run");
    expect_answer("POST /nothing", BOB, NULL, 403, "role run");
    expect_answer("POST /api/v1/jobs", ALICE JSON_HEADERS, no_job, 422, NULL);
    expect_answer("DELETE /api/v1/jobs/x", ALICE, NULL, 404, NULL);
    expect_answer("POST /api/v1/jobs", "Authorization: Bearer alice\r\n" JSON_HEADERS, job, 401, "wrong");
    serve_end();
}
END_TEST

/* Logs in with a token; `header` becomes the Cookie header. */
static void log_in(const char *token, char header[256], int status)
{
    char body[128];
    snprintf(body, sizeof body, "{\"token\": \"%s\"}", token);
    served answer = ask_for("POST /api/v1/login", JSON_HEADERS, body);
    ck_assert_msg(answer.status == status, "%s", answer.all);
    snprintf(header, 256, "Cookie: %.*s\r\n", (int)strcspn(header_of(&answer, "Set-Cookie"), ";"),
             header_of(&answer, "Set-Cookie"));
    ck_assert(!strstr(header_of(&answer, "Set-Cookie"), "Secure")); /* unusable over http */
    served_free(&answer);
}

/* Waits for a status, since the server reads the file from time to time. */
static void becomes(const char *line, const char *header, int status)
{
    for (int k = 0; k < 3000; k++) {
        served answer = ask_for(line, header, NULL);
        const int now = answer.status;
        served_free(&answer);
        if (now == status)
            return;
        usleep(20000);
    }
    ck_abort_msg("%s %s is never %d", line, header, status);
}

START_TEST(tokens_come_and_go)
{
    char alice[256], bob[256];
    serve_tokens(TWO_TOKENS);
    serve_begin((organ_serve_options){.token_file = scratch_path("token")});
    log_in("alice-alice-alice-alice", alice, 204);
    log_in("bob-bob-bob-bob-bob", bob, 204);
    ck_assert_str_ne(alice, bob);
    expect_answer("DELETE /api/v1/jobs/x", alice, NULL, 404, NULL);
    expect_answer("DELETE /api/v1/jobs/x", bob, NULL, 403, "'bob' has the role read");
    /* Bob may run jobs, Alice is removed, Carol is added: Bob's session continues with the new role, Alice's ends. */
    serve_tokens("bob run bob-bob-bob-bob-bob\ncarol read carol-carol-carol-carol\n");
    becomes("DELETE /api/v1/jobs/x", bob, 404);
    expect_answer("DELETE /api/v1/jobs/x", BOB, NULL, 404, NULL);
    expect_answer("GET /metrics", alice, NULL, 401, NULL);
    expect_answer("GET /metrics", ALICE, NULL, 401, NULL);
    expect_answer("GET /metrics", "Authorization: Bearer carol-carol-carol-carol\r\n", NULL, 200, NULL);
    /* A file that is malformed, readable by all users or missing changes nothing. */
    serve_tokens("bob\n");
    usleep(100000);
    expect_answer("GET /metrics", BOB, NULL, 200, NULL);
    scratch_text("token.open", TWO_TOKENS); /* readable by all users before it gets its name */
    ck_assert(chmod(scratch_path("token.open"), 0644) == 0 &&
              rename(scratch_path("token.open"), scratch_path("token")) == 0);
    usleep(100000);
    expect_answer("GET /metrics", ALICE, NULL, 401, NULL);
    ck_assert_int_eq(unlink(scratch_path("token")), 0);
    usleep(100000);
    expect_answer("GET /metrics", BOB, NULL, 200, NULL);
    serve_tokens(TWO_TOKENS);
    becomes("GET /metrics", ALICE, 200);
    serve_end();
}
END_TEST

/* ---- proxies ---- */

START_TEST(the_last_untrusted_hop_counts)
{
    static const struct {
        const char *peer, *forwarded, *address;
    } rows[] = {{"192.0.2.9", NULL, "192.0.2.9"},
                {"192.0.2.9", "1.2.3.4", "192.0.2.9"},
                {"10.1.2.3", NULL, "10.1.2.3"},
                {"10.1.2.3", "", "10.1.2.3"},
                {"10.1.2.3", "1.2.3.4", "1.2.3.4"},
                {"10.1.2.3", "9.9.9.9, 1.2.3.4", "1.2.3.4"},
                {"10.1.2.3", "9.9.9.9,1.2.3.4 , 10.0.0.7", "1.2.3.4"},
                {"10.1.2.3", "10.0.0.1, 10.0.0.2", "10.0.0.1"},
                {"10.1.2.3", "1.2.3.4, nonsense", "10.1.2.3"},
                {"10.1.2.3", "nonsense, 10.0.0.2", "10.0.0.2"},
                {"10.1.2.3", "1.2.3.4,", "10.1.2.3"},
                {"10.1.2.3", "1.2.3.4:4711", "1.2.3.4"},
                {"10.1.2.3", "[2001:DB8::1]:4711", "2001:db8::1"},
                {"10.1.2.3", "2001:db8:0::1", "2001:db8::1"},
                {"10.1.2.3", "1.2.3.4\t", "1.2.3.4"},
                {"10.1.2.3", "unknown", "10.1.2.3"},
                {"10.1.2.3", "fe80::1%eth0", "10.1.2.3"},
                {"::ffff:10.1.2.3", "1.2.3.4", "1.2.3.4"},
                {"11.0.0.1", "1.2.3.4", "11.0.0.1"},
                {"fd00:1::5", "2001:db8::7", "2001:db8::7"},
                {"fe00:1::5", "2001:db8::7", "fe00:1::5"},
                {"192.0.2.1", "1.2.3.4, fd12::1, 10.9.9.9", "1.2.3.4"},
                {"192.0.2.2", "1.2.3.4", "192.0.2.2"},
                {"-", "1.2.3.4", "-"}};
    static const struct {
        const char *word, *part;
    } bad[] = {{"10.0.0.0/33", "0 to 32 bits"},
               {"fd00::/129", "0 to 128 bits"},
               {"10.0.0.1/8", "bits after its prefix"},
               {"10.0.0.0/", "0 to 32 bits"},
               {"10.0.0/8", "must be an address"},
               {"proxy.example", "must be an address"},
               {"10.0.0.0/8x", "0 to 32 bits"},
               {"::1/-1", "0 to 128 bits"},
               {"/8", "must be an address"},
               {"2001:db8::1/64", "bits after its prefix"}};
    const organ_words words = {.word = {"10.0.0.0/8", "fd00::/8", "192.0.2.1"}, .count = 3};
    organ_proxies proxies;
    organ_error error = {0};
    char address[64], joined[256];
    ck_assert_int_eq(organ_proxies_read(&words, &proxies, &error), ORGAN_OK);
    for (size_t k = 0; k < COUNT(rows); k++) {
        organ_proxies_client(&proxies, rows[k].peer, rows[k].forwarded, address, sizeof address);
        ck_assert_msg(strcmp(address, rows[k].address) == 0, "%s, %s: %s", rows[k].peer, rows[k].forwarded, address);
    }
    memset(joined, '1', sizeof joined - 1);
    joined[sizeof joined - 1] = '\0';
    organ_proxies_client(&proxies, "10.0.0.1", joined, address, sizeof address);
    ck_assert_str_eq(address, "10.0.0.1");
    for (size_t k = 0; k < COUNT(bad); k++) {
        error = (organ_error){0};
        ck_assert_msg(organ_proxies_read(&(organ_words){.word = {bad[k].word}, .count = 1}, &proxies, &error) ==
                              ORGAN_USAGE &&
                          strstr(error.message, bad[k].part),
                      "%s: %s", bad[k].word, error.message);
    }
}
END_TEST

/* ---- the audit log ---- */

/* Returns the k-th line of the file "audit", which the caller releases. */
static json_t *audit_line(int k)
{
    char line[4096] = "";
    FILE *file = NULL;
    for (int looks = 0; looks < 6000; looks++) { /* it is written after the answer */
        file = fopen(scratch_path("audit"), "re");
        int at = 0;
        while (file && at <= k && fgets(line, sizeof line, file))
            at++;
        if (file)
            fclose(file);
        if (file && at > k && strchr(line, '\n'))
            break;
        line[0] = '\0';
        usleep(10000);
    }
    json_t *const json = json_loads(line, 0, NULL);
    ck_assert_msg(json != NULL, "line %d: '%s'", k, line);
    return json;
}

START_TEST(who_did_what)
{
    static const struct {
        const char *line, *headers, *body;
        int status;
        const char *address, *token, *job;
    } rows[] = {
        {"GET /healthz", "", NULL, 200, "127.0.0.1", NULL, NULL},
        {"GET /metrics", "", NULL, 401, "127.0.0.1", NULL, NULL},
        {"GET /metrics", ALICE, NULL, 200, "127.0.0.1", "alice", NULL},
        {"DELETE /api/v1/jobs/20260101-000000-000000", BOB, NULL, 403, "127.0.0.1", "bob", "20260101-000000-000000"},
        {"GET /api/v1/jobs/none/log", BOB, NULL, 404, "127.0.0.1", "bob", "none"},
        {"GET /nothing/%22%0a%ff", ALICE "X-Forwarded-For: 9.9.9.9, 198.51.100.7\r\n", NULL, 400, "198.51.100.7", NULL,
         NULL},
        {"GET /nothing", ALICE "X-Forwarded-For: 2001:db8::1\r\nx-forwarded-for: 127.0.0.5\r\n", NULL, 404,
         "2001:db8::1", "alice", NULL},
        {"POST /api/v1/login", JSON_HEADERS, "{\"token\": \"bob-bob-bob-bob-bob\"}", 204, "127.0.0.1", "bob", NULL},
        {"GET /files/\xe2\x80\xae\xff\"", ALICE, NULL, 400, "127.0.0.1", NULL, NULL}};
    serve_tokens(TWO_TOKENS);
    serve_begin((organ_serve_options){.token_file = scratch_path("token"),
                                      .audit_log = scratch_path("audit"),
                                      .proxies = {.word = {"127.0.0.0/8"}, .count = 1}});
    for (size_t k = 0; k < COUNT(rows); k++) {
        served answer = ask_for(rows[k].line, rows[k].headers, rows[k].body);
        ck_assert_msg(answer.status == rows[k].status, "row %zu: %s", k, answer.all);
        served_free(&answer);
        json_t *const line = audit_line((int)k);
        const char *const token = json_string_value(json_object_get(line, "token")), *const job =
                                                                                         organ_json_text(line, "job");
        ck_assert_msg(strcmp(organ_json_text(line, "address"), rows[k].address) == 0, "row %zu: %s", k,
                      organ_json_text(line, "address"));
        ck_assert_msg(rows[k].token ? token && strcmp(token, rows[k].token) == 0 : !token, "row %zu: %s", k, token);
        ck_assert_msg(strcmp(job, rows[k].job ? rows[k].job : "") == 0, "row %zu: %s", k, job);
        ck_assert_int_eq(json_integer_value(json_object_get(line, "status")), rows[k].status);
        ck_assert_msg(strncmp(organ_json_text(line, "method"), rows[k].line, strcspn(rows[k].line, " ")) == 0,
                      "row %zu", k);
        ck_assert_uint_eq(strlen(organ_json_text(line, "time")), 24);
        json_decref(line);
    }
    /* The log is renamed: later lines go into a new file that only its owner can read. */
    struct stat about;
    ck_assert_int_eq(rename(scratch_path("audit"), scratch_path("audit.1")), 0);
    serve_renew();
    expect_answer("GET /files/text.txt", ALICE, NULL, 200, "0123456789");
    json_t *const line = audit_line(0);
    ck_assert_str_eq(organ_json_text(line, "path"), "/files/text.txt");
    json_decref(line);
    ck_assert(stat(scratch_path("audit"), &about) == 0 && (about.st_mode & 07777) == 0600);
    serve_end();
}
END_TEST

/* A wrong token sent through a proxy delays the network of its client, not the proxy. */
START_TEST(penalties_go_by_the_client)
{
    static const char wrong[] = "Authorization: Bearer wrong\r\nX-Forwarded-For: 198.51.100.7\r\n";
    struct timespec before, after;
    serve_tokens(TWO_TOKENS);
    serve_begin(
        (organ_serve_options){.token_file = scratch_path("token"), .proxies = {.word = {"127.0.0.1"}, .count = 1}});
    for (int k = 0; k < 4; k++)
        expect_answer("GET /metrics", wrong, NULL, 401, NULL);
    double other = 1e9; /* best of three: the machine may stop for a while, and two networks may share a place in the
                           table */
    for (int k = 0; k < 3; k++) {
        char another[128];
        snprintf(another, sizeof another, "Authorization: Bearer wrong\r\nX-Forwarded-For: 198.18.%d.7\r\n", k);
        clock_gettime(CLOCK_MONOTONIC, &before);
        expect_answer("GET /metrics", another, NULL, 401, NULL);
        clock_gettime(CLOCK_MONOTONIC, &after);
        other = fmin(other, (double)(after.tv_sec - before.tv_sec) + 1e-9 * (double)(after.tv_nsec - before.tv_nsec));
    }
    expect_answer("GET /metrics", wrong, NULL, 401, NULL);
    clock_gettime(CLOCK_MONOTONIC, &before);
    const double same = (double)(before.tv_sec - after.tv_sec) + 1e-9 * (double)(before.tv_nsec - after.tv_nsec);
    ck_assert_msg(same > 0.4 && other < same, "%g s for the one, %g s for another", same, other);
    serve_end();
}
END_TEST

START_TEST(a_full_disk_does_not_end_the_server)
{
    organ_audit_log *audit;
    organ_error error = {0};
    serve_begin((organ_serve_options){.audit_log = "/dev/full"});
    expect_answer("GET /healthz", "", NULL, 200, "ok");
    expect_answer("GET /healthz", "", NULL, 200, "ok");
    serve_end();
    const organ_audit_entry entry = {
        .address = "a", .token = "", .method = "GET", .path = "/", .job = "", .status = 200};
    ck_assert_int_eq(organ_audit_log_open("/dev/full", &audit, &error), ORGAN_OK);
    organ_audit_log_write(audit, &entry);
    organ_audit_log_write(audit, &entry);
    ck_assert_uint_eq(organ_audit_log_lost(audit), 2);
    organ_audit_log_close(audit);
    ck_assert_int_eq(organ_audit_log_open(scratch_path("no/such"), &audit, &error), ORGAN_IO);
    error = (organ_error){0};
    ck_assert_int_eq(mkfifo(scratch_path("fifo"), 0600), 0);
    ck_assert_int_eq(organ_audit_log_open(scratch_path("fifo"), &audit, &error), ORGAN_IO);
}
END_TEST

Suite *serve_access_suite(void)
{
    const suite_case cases[] = {{"tokens", {the_file_of_tokens, secrets_are_compared_whole, roles, tokens_come_and_go}},
                                {"proxies", {the_last_untrusted_hop_counts, penalties_go_by_the_client}},
                                {"audit", {who_did_what, a_full_disk_does_not_end_the_server}}};
    return suite_of("serve_access", cases, COUNT(cases), serve_root_make, serve_root_remove);
}
