/* SPDX-License-Identifier: MIT
 * Tests of the HTTP server: its answers, and the clients that it answers. */
#include "formats/model/recognise.h"
#include "orchestrator/report/html/page.h"
#include <organ/report.h>
#include "orchestrator/serve/http/http_parts.h"
#include "orchestrator/serve/http/jail.h"
#include "orchestrator/serve/models/serve_models.h"
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

/* ---- resources ---- */

START_TEST(health_and_metrics)
{
    serve_begin((organ_serve_options){0});
    expect_answer("GET /healthz", "", NULL, 200, "\"status\":\"ok\"");
    expect_answer("HEAD /healthz", "", NULL, 200, NULL);
    expect_answer("GET /healthz/", "", NULL, 200, "\"status\":\"ok\"");
    expect_answer("GET /nothing", "", NULL, 404, "/nothing does not exist");
    expect_metric("organ_http_requests_total{route=\"/healthz\",method=\"GET\",status=\"200\"} 3\n");
    expect_metric("organ_http_requests_total{route=\"\",method=\"\",status=\"404\"} 1\n");
    expect_metric("organ_http_request_seconds_bucket{route=\"/healthz\",method=\"GET\",le=\"+Inf\"} 3\n");
    serve_end();
}
END_TEST

/* Returns the value of a metric, or -1 if there is none. */
static double metric_of(const char *name)
{
    char start[128];
    double value = -1;
    served answer = ask_for("GET /metrics", "", NULL);
    snprintf(start, sizeof start, "\n%s ", name);
    const char *const at = strstr(answer.body, start);
    if (at)
        value = strtod(at + strlen(start), NULL);
    served_free(&answer);
    return value;
}

START_TEST(quotas_are_told)
{
    static const struct {
        const char *name;
        double limit;
    } rows[] = {{"organ_http_connections", 20},
                {"organ_http_address_connections", 15},
                {"organ_http_body_bytes", 20.0 * (1 << 20)},
                {"organ_http_waiting_requests", 256},
                {"organ_http_penalty_milliseconds", 8000},
                {"organ_shelf_bytes", 1 << 28},
                {"organ_models_waiting", 256},
                {"organ_reader_memory_bytes", 1 << 30},
                {"organ_reader_seconds", 60},
                {"organ_jobs_running", 1},
                {"organ_jobs_waiting", 1000},
                {"organ_jobs_finished", 500},
                {"organ_jobs_kept_bytes", 1 << 20},
                {"organ_job_output_bytes", 1 << 16},
                {"organ_job_token_streams", 1},
                {"organ_job_streams", 3},
                {"organ_job_memory_bytes", -1}};
    char name[80];
    int held[3];
    static const char part[] = "POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                               "application/json\r\nContent-Length: 900\r\n\r\n{\"token\"";
    serve_begin(
        (organ_serve_options){.connections = 20, .per_address = 15, .keep_bytes = 1 << 20, .job_output = 1 << 16});
    for (size_t k = 0; k < COUNT(rows); k++) {
        snprintf(name, sizeof name, "%s_limit", rows[k].name);
        ck_assert_msg(metric_of(rows[k].name) >= 0, "%s", rows[k].name);
        ck_assert_msg(rows[k].limit < 0 || metric_of(name) == rows[k].limit, "%s is %g", name, metric_of(name));
    }
    for (size_t k = 0; k < COUNT(held); k++) {
        held[k] = serve_connect();
        ck_assert_int_eq(send(held[k], part, sizeof part - 1, 0), sizeof part - 1);
    }
    double bytes = 0;
    for (int k = 0; k < 200 && bytes < 3 * 8; k++)
        bytes = metric_of("organ_http_body_bytes");
    ck_assert_msg(bytes >= 3 * 8 && bytes < 3 * 1000, "%g", bytes);
    ck_assert_double_ge(metric_of("organ_http_connections"), 4);
    ck_assert_double_ge(metric_of("organ_http_address_connections"), 4);
    for (size_t k = 0; k < COUNT(held); k++)
        close(held[k]);
    for (int k = 0; k < 200 && bytes > 0; k++)
        bytes = metric_of("organ_http_body_bytes");
    ck_assert_double_eq(bytes, 0);
    serve_end();
}
END_TEST

START_TEST(methods_are_told)
{
    static const char *const lines[] = {"PUT /healthz", "OPTIONS /healthz", "DELETE /healthz", "BREW /healthz",
                                        "TRACE /healthz"};
    serve_begin((organ_serve_options){0});
    for (size_t k = 0; k < COUNT(lines); k++) {
        served answer = ask_for(lines[k], "", NULL);
        ck_assert_msg(answer.status == 405 && has_header(&answer, "Allow: GET, HEAD\r\n"), "%s: %s", lines[k],
                      answer.all);
        served_free(&answer);
    }
    expect_answer("GET /api/v1/login", "", NULL, 405, "allowed are POST");
    serve_end();
}
END_TEST

START_TEST(models_are_listed)
{
    serve_begin((organ_serve_options){0});
    json_t *list = expect_json("GET /api/v1/models");
    for (int k = 0; k < 100 && json_is_true(json_object_get(list, "looking"));
         k++) { /* on a slow machine the answer has the facts known so far */
        json_decref(list);
        list = expect_json("GET /api/v1/models");
    }
    ck_assert_uint_eq(organ_json_count(list, "total"), 3);
    const json_t *const models = json_object_get(list, "models");
    ck_assert_str_eq(organ_json_text(json_array_get(models, 0), "path"), "model.gguf");
    ck_assert_ptr_nonnull(strstr(organ_json_text(json_array_get(models, 0), "fault"), "magic is 'junk'"));
    ck_assert_str_eq(organ_json_text(json_array_get(models, 1), "path"), "q8.gguf");
    ck_assert_str_eq(organ_json_text(json_array_get(models, 2), "kind"), "safetensors directory");
    ck_assert_str_eq(organ_json_text(json_array_get(models, 2), "architecture"), "Qwen2ForCausalLM");
    ck_assert_uint_eq(organ_json_count(json_array_get(models, 2), "tensors"), 50);
    json_decref(list);
    list = expect_json("GET /api/v1/models?q=Q&limit=1&offset=0");
    ck_assert_uint_eq(organ_json_count(list, "total"), 1);
    json_decref(list);
    list = expect_json("GET /api/v1/models?limit=1&offset=2");
    ck_assert_uint_eq(organ_json_count(list, "total"), 3);
    ck_assert_str_eq(organ_json_text(json_array_get(json_object_get(list, "models"), 0), "path"), "tiny");
    json_decref(list);
    expect_answer("GET /api/v1/models?limit=0", "", NULL, 400, "limit is '0'");
    expect_answer("GET /api/v1/models?limit=1001", "", NULL, 400, "allowed are whole numbers from 1 to 1000");
    expect_answer("GET /api/v1/models?offset=-1", "", NULL, 400, "offset is '-1'");
    expect_answer("GET /api/v1/models?offset=99999999999999999999", "", NULL, 400, "offset is");
    serve_end();
}
END_TEST

START_TEST(a_model_is_described)
{
    serve_begin((organ_serve_options){0});
    json_t *const model = expect_json("GET /api/v1/models/tiny");
    ck_assert_str_eq(organ_json_text(model, "format"), "safetensors");
    ck_assert_uint_eq(organ_json_count(model, "layers"), 4);
    ck_assert_uint_eq(organ_json_count(model, "elements"), 4960832);
    ck_assert_str_eq(organ_json_text(model, "inspect.schema"), "organ.inspect/1");
    ck_assert_ptr_null(json_object_get(model, "list"));
    unsigned long long bytes = 0, tensors = 0;
    const json_t *const anatomy = json_object_get(model, "anatomy");
    for (size_t k = 0; k < json_array_size(anatomy); k++) {
        bytes += organ_json_count(json_array_get(anatomy, k), "bytes");
        tensors += organ_json_count(json_array_get(anatomy, k), "tensors");
    }
    ck_assert_uint_eq(bytes, organ_json_count(model, "bytes"));
    ck_assert_uint_eq(tensors, 50);
    json_decref(model);
    expect_answer("GET /api/v1/models/q8.gguf", "", NULL, 200, "\"format\":\"GGUF\"");
    expect_answer("GET /api/v1/models/model.gguf", "", NULL, 422, "magic is 'junk'");
    expect_answer("GET /api/v1/models/nothing", "", NULL, 404, "no such file");
    expect_answer("GET /api/v1/models/folder", "", NULL, 422, "folder");
    expect_answer("GET /api/v1/models/linked", "", NULL, 403, "refers to a symbolic link");
    expect_answer("GET /api/v1/models/leak", "", NULL, 403, "contains a symbolic link");
    serve_end();
}
END_TEST

START_TEST(a_changed_model_is_read_again)
{
    serve_begin((organ_serve_options){0});
    expect_answer("GET /api/v1/models/q8.gguf", "", NULL, 200, "\"tensors\":50");
    ck_assert_int_eq(truncate(scratch_path("root/q8.gguf"), 5000000), 0);
    expect_answer("GET /api/v1/models/q8.gguf", "", NULL, 422, "5000000");
    expect_answer("GET /api/v1/models?q=q8", "", NULL, 200, "\"fault\"");
    serve_end();
}
END_TEST

START_TEST(tensors_are_searched_sorted_and_paged)
{
    serve_begin((organ_serve_options){0});
    json_t *page = expect_json("GET /api/v1/models/tiny/tensors?match=*.mlp.*&layer=2&sort=-name");
    ck_assert_uint_eq(organ_json_count(page, "total"), 3);
    ck_assert_uint_eq(organ_json_count(page, "bytes"), 3 * 552960);
    ck_assert_str_eq(organ_json_text(json_array_get(json_object_get(page, "tensors"), 0), "name"),
                     "model.layers.2.mlp.up_proj.weight");
    json_decref(page);
    page = expect_json("GET /api/v1/models/tiny/tensors?role=q_proj&group=skeleton&limit=1&offset=3&sort=layer");
    ck_assert_uint_eq(organ_json_count(page, "total"), 4);
    ck_assert_uint_eq(organ_json_count(json_array_get(json_object_get(page, "tensors"), 0), "layer"), 3);
    json_decref(page);
    page = expect_json("GET /api/v1/models/tiny/tensors?offset=50");
    ck_assert_uint_eq(json_array_size(json_object_get(page, "tensors")), 0);
    json_decref(page);
    /* The pages together list every tensor once. */
    char seen[50][96];
    for (unsigned k = 0; k < 50; k++) {
        char line[96];
        snprintf(line, sizeof line, "GET /api/v1/models/tiny/tensors?limit=1&sort=-bytes&offset=%u", k);
        page = expect_json(line);
        snprintf(seen[k], sizeof seen[k], "%s",
                 organ_json_text(json_array_get(json_object_get(page, "tensors"), 0), "name"));
        for (unsigned before = 0; before < k; before++)
            ck_assert_str_ne(seen[k], seen[before]);
        json_decref(page);
    }
    ck_assert_str_eq(seen[0], "model.embed_tokens.weight");
    expect_answer("GET /api/v1/models/tiny/tensors?sort=colour", "", NULL, 400, "sort is 'colour'");
    expect_answer("GET /api/v1/models/tiny/tensors?layer=x", "", NULL, 400, "layer is 'x'");
    /* In the name of a model, the slash is percent-encoded, because "tensors" could be part of the name. */
    expect_answer("GET /api/v1/models/tiny%2Ftensors", "", NULL, 404, "'tiny/tensors'");
    serve_end();
}
END_TEST

/* ---- files ---- */

START_TEST(files_are_listed)
{
    serve_begin((organ_serve_options){0});
    json_t *page = expect_json("GET /files");
    static const char *const names[] = {"blue flower.md", "empty",       "folder",   "linked", "model.gguf",
                                        "q8.gguf",        "report.html", "text.txt", "tiny"};
    ck_assert_uint_eq(organ_json_count(page, "total"), COUNT(names));
    for (size_t k = 0; k < COUNT(names); k++)
        ck_assert_str_eq(organ_json_text(json_array_get(json_object_get(page, "entries"), k), "name"), names[k]);
    json_decref(page);
    page = expect_json("GET /files?limit=2&cursor=empty");
    ck_assert_str_eq(organ_json_text(json_array_get(json_object_get(page, "entries"), 0), "name"), "folder");
    ck_assert_str_eq(organ_json_text(page, "next"), "linked");
    json_decref(page);
    page = expect_json("GET /files/folder/");
    ck_assert_str_eq(organ_json_text(page, "path"), "folder");
    ck_assert(json_is_null(json_object_get(page, "next")));
    json_decref(page);
    serve_end();
}
END_TEST

START_TEST(files_come_as_what_they_are)
{
    serve_begin((organ_serve_options){0});
    served answer = ask_for("GET /files/report.html", "", NULL);
    ck_assert_msg(answer.status == 200 && has_header(&answer, "Content-Type: text/html; charset=utf-8\r\n") &&
                      has_header(&answer, "Content-Disposition: attachment; filename=\"report.html\"") &&
                      has_header(&answer, "Content-Security-Policy: default-src 'none';"),
                  "%s", answer.all);
    served_free(&answer);
    /* A page of this program is displayed, and only its own script may run. */
    scratch_text("root/own.html", ORGAN_PAGE_START "content=\"\"><title>A report</title>");
    answer = ask_for("GET /files/own.html", "", NULL);
    const char *const policy = header_of(&answer, "Content-Security-Policy"), *const script =
                                                                                  strstr(policy, "script-src '");
    ck_assert_msg(answer.status == 200 && has_header(&answer, "Content-Type: text/html; charset=utf-8\r\n") &&
                      !has_header(&answer, "Content-Disposition:"),
                  "%s", answer.all);
    ck_assert_msg(
        strstr(policy, "sandbox allow-scripts; default-src 'none';") && script && !strstr(script, "unsafe-inline") &&
            strncmp(script + strlen("script-src '"), organ_html_script_hash, strlen(organ_html_script_hash)) == 0,
        "%s", policy);
    served_free(&answer);
    answer = ask_for("GET /files/blue%20flower.md", "", NULL);
    ck_assert_msg(
        strcmp(answer.body, "# A flower") == 0 &&
            has_header(
                &answer,
                "Content-Disposition: attachment; filename=\"blue flower.md\"; filename*=UTF-8''blue%20flower.md\r\n"),
        "%s", answer.all);
    served_free(&answer);
    answer = ask_for("GET /files/q8.gguf", "", NULL);
    ck_assert_msg(answer.body_bytes == 5348832 && has_header(&answer, "Content-Type: application/octet-stream\r\n"),
                  "%.300s", answer.all);
    served_free(&answer);
    expect_answer("GET /files/folder/inner.txt", "", NULL, 200, "inner");
    expect_answer("GET /files/empty", "", NULL, 200, "");
    expect_answer("GET /files/pipe", "", NULL, 403, "neither a file nor a directory");
    serve_end();
}
END_TEST

START_TEST(ranges)
{
    static const struct {
        const char *range;
        int status;
        const char *body, *content_range;
    } rows[] = {{"bytes=0-3", 206, "0123", "bytes 0-3/10"},
                {"bytes=7-", 206, "789", "bytes 7-9/10"},
                {"bytes=-2", 206, "89", "bytes 8-9/10"},
                {"bytes=-99", 206, "0123456789", "bytes 0-9/10"},
                {"bytes=9-99", 206, "9", "bytes 9-9/10"},
                {"BYTES=1-1", 206, "1", "bytes 1-1/10"},
                {"bytes=10-", 416, NULL, "bytes */10"},
                {"bytes=-0", 416, NULL, "bytes */10"},
                {"bytes=3-1", 200, "0123456789", ""},
                {"bytes=0-1,3-4", 200, "0123456789", ""},
                {"bytes=a-b", 200, "0123456789", ""},
                {"bytes=", 200, "0123456789", ""},
                {"bytes=-", 200, "0123456789", ""},
                {"bytes=1-2x", 200, "0123456789", ""},
                {"lines=1-2", 200, "0123456789", ""},
                {"bytes=18446744073709551616-", 200, "0123456789", ""},
                {"bytes=1-18446744073709551617", 200, "0123456789", ""}};
    char header[128];
    serve_begin((organ_serve_options){0});
    for (size_t k = 0; k < COUNT(rows); k++) {
        snprintf(header, sizeof header, "Range: %s\r\n", rows[k].range);
        served answer = ask_for("GET /files/text.txt", header, NULL);
        ck_assert_msg(answer.status == rows[k].status &&
                          strcmp(header_of(&answer, "Content-Range"), rows[k].content_range) == 0 &&
                          (!rows[k].body || strcmp(answer.body, rows[k].body) == 0),
                      "%s: %s", rows[k].range, answer.all);
        served_free(&answer);
    }
    expect_answer("GET /files/empty", "Range: bytes=0-\r\n", NULL, 416, "0 bytes");
    served answer = ask_for("HEAD /files/text.txt", "Range: bytes=0-3\r\n", NULL);
    ck_assert_msg(answer.status == 200 && answer.body_bytes == 0 && has_header(&answer, "Content-Length: 10\r\n") &&
                      has_header(&answer, "Accept-Ranges: bytes\r\n"),
                  "%s", answer.all);
    served_free(&answer);
    serve_end();
}
END_TEST

START_TEST(what_a_client_has_is_not_sent_again)
{
    char header[256], etag[128], modified[128];
    serve_begin((organ_serve_options){0});
    served answer = ask_for("GET /files/text.txt", "", NULL);
    snprintf(etag, sizeof etag, "%s", header_of(&answer, "ETag"));
    snprintf(modified, sizeof modified, "%s", header_of(&answer, "Last-Modified"));
    ck_assert_msg(*etag == '"' && *modified, "%s", answer.all);
    served_free(&answer);
    const struct {
        const char *format, *value;
        int status;
    } rows[] = {{"If-None-Match: %s\r\n", etag, 304},
                {"If-None-Match: \"other\", W/%s\r\n", etag, 304},
                {"If-None-Match: *%.0s\r\n", etag, 304},
                {"If-None-Match: \"other\"%.0s\r\n", etag, 200},
                {"If-Modified-Since: %s\r\n", modified, 304},
                {"If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT%.0s\r\n", modified, 200},
                {"If-Modified-Since: yesterday%.0s\r\n", modified, 200},
                {"If-None-Match: \"other\"\r\nIf-Modified-Since: %s\r\n", modified, 200},
                {"Range: bytes=0-0\r\nIf-Range: %s\r\n", etag, 206},
                {"Range: bytes=0-0\r\nIf-Range: %s\r\n", modified, 206},
                {"Range: bytes=0-0\r\nIf-Range: \"other\"%.0s\r\n", etag, 200},
                {"Range: bytes=0-0\r\nIf-Range: W/%s\r\n", etag, 200}};
    for (size_t k = 0; k < COUNT(rows); k++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(header, sizeof header, rows[k].format, rows[k].value);
#pragma GCC diagnostic pop
        expect_answer("GET /files/text.txt", header, NULL, rows[k].status, rows[k].status == 304 ? "" : "0");
    }
    scratch_text("root/text.txt", "something else");
    snprintf(header, sizeof header, "If-None-Match: %s\r\n", etag);
    expect_answer("GET /files/text.txt", header, NULL, 200, "something else");
    serve_end();
}
END_TEST

/* ---- allowed clients ---- */

START_TEST(hosts)
{
    static const struct {
        const char *host;
        bool good, any; /* any: also if the server listens on all addresses */
    } rows[] = {{"localhost", true, true},         {"LocalHost:8935", true, true},
                {"127.0.0.1:1", true, true},       {"[::1]:8935", true, true},
                {"box.example", true, true},       {"evil.example", false, false},
                {"localhost.evil", false, false},  {"192.0.2.1:8935", false, true},
                {"[2001:db8::1]", false, true},    {"127.0.0.1.evil.example", false, false},
                {"localhost:8935x", false, false}, {"", false, false},
                {":8935", false, false},           {"[::1", false, false},
                {"localhost@evil", false, false}};
    organ_guard guard = {.address = "127.0.0.1", .hosts = &(organ_words){.word = {"box.example"}, .count = 1}};
    for (size_t k = 0; k < COUNT(rows); k++) {
        guard.any_address = false;
        ck_assert_msg(organ_guard_host(&guard, rows[k].host) == rows[k].good, "%s", rows[k].host);
        guard.any_address = true;
        ck_assert_msg(organ_guard_host(&guard, rows[k].host) == rows[k].any, "%s, all addresses", rows[k].host);
    }
    serve_begin((organ_serve_options){.hosts = {.word = {"box.example"}, .count = 1}});
    expect_answer("GET /healthz", "Host: box.example:8935\r\n", NULL, 200, "ok");
    expect_answer("GET /healthz", "Host: evil.example\r\n", NULL, 421, "'evil.example' is not a name of this server");
    expect_answer("GET /", "Host: evil.example\r\n", NULL, 421, "evil.example");
    expect_answer("GET /healthz", "Host: localhost\r\nHost: evil.example\r\n", NULL, 400, "2 Host headers");
    serve_end();
}
END_TEST

START_TEST(origins)
{
#define JSON_HEADERS "Content-Type: application/json\r\n"
    static const char body[] = "{\"token\": \"x\"}";
    serve_begin((organ_serve_options){0});
    expect_answer("POST /api/v1/login", JSON_HEADERS, body, 204, "");
    expect_answer("POST /api/v1/login", JSON_HEADERS "Origin: http://localhost\r\n", body, 204, "");
    expect_answer("POST /api/v1/login", JSON_HEADERS "Origin: https://LOCALHOST\r\nSec-Fetch-Site: same-origin\r\n",
                  body, 204, "");
    expect_answer("POST /api/v1/login", JSON_HEADERS "Origin: http://evil.example\r\n", body, 403, "another site");
    expect_answer("POST /api/v1/login", JSON_HEADERS "Origin: http://localhost:81\r\n", body, 403, "another site");
    expect_answer("POST /api/v1/login", JSON_HEADERS "Origin: http://localhost\r\nOrigin: http://evil.example\r\n",
                  body, 400, "2 Origin headers");
    expect_answer("GET /healthz", "Origin: http://localhost\r\nOrigin: http://localhost\r\n", NULL, 400,
                  "2 Origin headers");
    expect_answer("POST /api/v1/login", JSON_HEADERS "Origin: null\r\n", body, 403, "another site");
    expect_answer("POST /api/v1/login", JSON_HEADERS "Sec-Fetch-Site: cross-site\r\n", body, 403, "another site");
    expect_answer("POST /api/v1/login", "Content-Type: text/plain\r\n", body, 415, "must be application/json");
    expect_answer("POST /api/v1/login", "", body, 415, "must be application/json");
    expect_answer("POST /api/v1/login", JSON_HEADERS, "{\"token\": ", 400, "not JSON: line 1");
    expect_answer("POST /api/v1/login", JSON_HEADERS, "[]", 400, "not an object");
    expect_answer("POST /api/v1/login", JSON_HEADERS, "{\"token\": \"a\", \"token\": \"b\"}", 400, "duplicate");
    expect_answer("POST /api/v1/login", JSON_HEADERS, "{}", 400, "is missing or not a string");
    expect_answer("GET /healthz", JSON_HEADERS, "{}", 400, "does not accept a body");
    serve_end();
}
END_TEST

START_TEST(tokens)
{
    char header[256];
    serve_tokens("  correct-horse-battery\n");
    serve_begin((organ_serve_options){.token_file = scratch_path("token")});
    expect_answer("GET /healthz", "", NULL, 200, "ok");
    static const char *const guarded[] = {"GET /metrics",
                                          "GET /files",
                                          "GET /files/text.txt",
                                          "GET /api/v1/models",
                                          "GET /nothing",
                                          "DELETE /files/text.txt",
                                          "GET /files/%2e%2e/outside",
                                          "POST /api/v1/jobs"};
    for (size_t k = 0; k < COUNT(guarded); k++) {
        const bool malformed = strstr(guarded[k], "%2e") != NULL;
        served answer = ask_for(guarded[k], "", NULL);
        ck_assert_msg(answer.status == (malformed ? 400 : 401), "%s: %s", guarded[k], answer.all);
        ck_assert_msg(malformed || has_header(&answer, "WWW-Authenticate: Bearer"), "%s: %s", guarded[k], answer.all);
        served_free(&answer);
    }
    expect_answer("GET /metrics", "Authorization: Bearer correct-horse-battery\r\n", NULL, 200, "organ_http");
    expect_answer("GET /metrics", "Authorization: bearer  correct-horse-battery\r\n", NULL, 200, "organ_http");
    static const char *const wrong[] = {"Bearer correct-horse-batterx",  "Bearer correct-horse-batter",
                                        "Bearer correct-horse-batteryy", "Bearer ",
                                        "Basic correct-horse-battery",   "correct-horse-battery"};
    for (size_t k = 0; k < COUNT(wrong); k++) {
        snprintf(header, sizeof header, "Authorization: %s\r\n", wrong[k]);
        expect_answer("GET /metrics", header, NULL, 401, wrong[k][0] == 'B' ? "the token is wrong" : NULL);
    }
    expect_answer("POST /api/v1/login", JSON_HEADERS, "{\"token\": \"wrong\"}", 401, "the token is wrong");
    serve_end();
}
END_TEST

START_TEST(a_login_gives_a_cookie)
{
    char cookie[256];
    serve_tokens("correct-horse-battery");
    serve_begin((organ_serve_options){.token_file = scratch_path("token")});
    served answer = ask_for("POST /api/v1/login", JSON_HEADERS, "{\"token\": \"correct-horse-battery\"}");
    ck_assert_int_eq(answer.status, 204);
    ck_assert_ptr_nonnull(strstr(header_of(&answer, "Set-Cookie"), "; HttpOnly; SameSite=Strict"));
    snprintf(cookie, sizeof cookie, "Cookie: other=1; %.*s; more=2\r\n",
             (int)strcspn(header_of(&answer, "Set-Cookie"), ";"), header_of(&answer, "Set-Cookie"));
    served_free(&answer);
    expect_answer("GET /files/text.txt", cookie, NULL, 200, "0123456789");
    cookie[40] ^= 1;
    expect_answer("GET /files/text.txt", cookie, NULL, 401, NULL);
    expect_answer("GET /files/text.txt", "Cookie: organ_session=\r\n", NULL, 401, NULL);
    expect_answer("POST /api/v1/logout", "", NULL, 204, NULL);
    serve_end();
}
END_TEST

int main(int argc, char **argv)
{
    int code;
    if (organ_models_worked(argc, argv, &code))
        return code;
    const suite_case cases[] = {
        {"resources", {health_and_metrics, quotas_are_told, methods_are_told}},
        {"files", {files_are_listed, files_come_as_what_they_are, ranges, what_a_client_has_is_not_sent_again}},
        {"guard", {hosts, origins, tokens, a_login_gives_a_cookie}},
        {"models",
         {models_are_listed, a_model_is_described, a_changed_model_is_read_again,
          tensors_are_searched_sorted_and_paged}}};
    Suite *const suites[] = {suite_of("serve", cases, COUNT(cases), serve_root_make, serve_root_remove),
                             serve_faults_suite(),
                             serve_limits_suite(),
                             serve_heads_suite(),
                             serve_access_suite(),
                             NULL};
    return run_suites(suites);
}
