/* SPDX-License-Identifier: MIT
 * The server itself: whether it is well, what it has done, and who may come in. */
#include "orchestrator/report/text/text.h"
#include "orchestrator/serve/http/exchange.h"
#include "orchestrator/serve/http/guard.h"
#include "orchestrator/serve/http/tally.h"
#include "orchestrator/serve/route_parts.h"
#include "orchestrator/version.h"

#include <stdlib.h>
#include <string.h>

static void get_health(const organ_http_request *request, organ_http_reply *reply)
{
    (void)request;
    organ_http_reply_json(reply, 200, json_pack("{s:s, s:s}", "status", "ok", "version", ORGAN_VERSION));
}

static void get_metrics(const organ_http_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    organ_error error = {0};
    organ_text text;
    char *all = NULL;
    if (organ_text_open(&text, &error) == ORGAN_OK) {
        organ_tally_print(app->tally, text.out);
        for (const organ_area *const *area = app->areas; *area; area++)
            if ((*area)->metrics)
                (*area)->metrics(app, text.out);
        organ_text_finish(&text, &all, &error);
    }
    organ_http_reply_text(reply, 200, "text/plain; version=0.0.4; charset=utf-8", all, all ? strlen(all) : 0);
}

static void set_cookie(organ_http_reply *reply, const char *value, const char *more)
{
    char text[256];
    snprintf(text, sizeof text, ORGAN_SESSION_COOKIE "=%s; Path=/; HttpOnly; SameSite=Strict%s", value, more);
    organ_http_reply_empty(reply, 204);
    organ_http_reply_header(reply, "Set-Cookie", text);
}

static void post_login(const organ_http_request *request, organ_http_reply *reply)
{
    const organ_guard *const guard = organ_http_app(request)->guard;
    json_t *const body = organ_http_body_json(request, reply);
    if (!body)
        return;
    const char *const token = json_string_value(json_object_get(body, "token"));
    if (!token)
        organ_http_problem(reply, 400, "\"token\" is missing, or no text");
    else if (json_object_size(body) != 1)
        organ_http_problem(reply, 400, "there is more than \"token\"");
    else if (guard->token && !organ_guard_same(guard->token, token)) {
        organ_http_problem(reply, 401, "the token is wrong");
        organ_http_reply_header(reply, "WWW-Authenticate", "Bearer realm=\"organ\"");
        organ_http_reply_wrong_token(reply);
    } else
        set_cookie(reply, guard->session, "");
    json_decref(body);
}

static void post_logout(const organ_http_request *request, organ_http_reply *reply)
{
    (void)request;
    set_cookie(reply, "", "; Max-Age=0");
}

/* clang-format off: tables are laid out by hand */

static const organ_http_answer health_answers[] = {
    {200, "application/json",
     "{\"type\": \"object\", \"required\": [\"status\", \"version\"], \"properties\": {\"status\": {\"const\": "
     "\"ok\"}, \"version\": {\"type\": \"string\"}}}",
     "it answers"}};
static const organ_http_answer metrics_answers[] = {{200, "text/plain", ORGAN_TEXT_SCHEMA, "Prometheus' text format"}};
static const organ_http_answer login_answers[] = {{204, NULL, NULL, "the cookie is set"},
                                                  {401, "application/problem+json", ORGAN_PROBLEM_REF, "the token is wrong"}};
static const organ_http_answer logout_answers[] = {{204, NULL, NULL, "the cookie is taken back"}};
static const organ_http_route routes[] = {
    {.method = ORGAN_HTTP_GET,
     .pattern = "/healthz",
     .handle = get_health,
     .operation = "getHealth",
     .tag = "server",
     .summary = "Whether the server answers",
     .answers = health_answers,
     .answer_count = COUNT_OF(health_answers),
     .open = true},
    {.method = ORGAN_HTTP_GET,
     .pattern = "/metrics",
     .handle = get_metrics,
     .operation = "getMetrics",
     .tag = "server",
     .summary = "Counters for Prometheus",
     .answers = metrics_answers,
     .answer_count = COUNT_OF(metrics_answers)},
    {.method = ORGAN_HTTP_POST,
     .pattern = "/api/v1/login",
     .handle = post_login,
     .operation = "logIn",
     .tag = "server",
     .summary = "Exchanges the token for a cookie",
     .about = "For browsers: the cookie stands for the token until the server ends. Without a token on the server every text is good.",
     .body = "{\"type\": \"object\", \"required\": [\"token\"], \"additionalProperties\": false, \"properties\": {\"token\": "
             "{\"type\": \"string\", \"pattern\": \"^[^\\\\u0000]*$\"}}}",
     .answers = login_answers,
     .answer_count = COUNT_OF(login_answers),
     .open = true},
    {.method = ORGAN_HTTP_POST,
     .pattern = "/api/v1/logout",
     .handle = post_logout,
     .operation = "logOut",
     .tag = "server",
     .summary = "Takes the cookie back",
     .answers = logout_answers,
     .answer_count = COUNT_OF(logout_answers),
     .open = true}};
static const organ_http_schema schemas[] = {
    {"Problem",
     "{\"type\": \"object\", \"description\": \"RFC 9457\", \"required\": [\"type\", \"title\", \"status\", \"detail\"], \"properties\": "
     "{\"type\": {\"type\": \"string\"}, \"title\": {\"type\": \"string\"}, \"status\": {\"type\": \"integer\"}, \"detail\": {\"type\": "
     "\"string\"}}}"}};

const organ_area organ_area_server = {
    .name = "server", .routes = routes, .route_count = COUNT_OF(routes), .schemas = schemas, .schema_count = COUNT_OF(schemas)};
