/* SPDX-License-Identifier: MIT
 * Routes of the server itself: health, metrics, login. */
#include "orchestrator/report/text/text.h"
#include "orchestrator/serve/http/guard.h"
#include "orchestrator/serve/http/http.h"
#include "orchestrator/serve/http/http_parts.h"
#include "orchestrator/serve/http/http_tally.h"
#include "orchestrator/version.h"

#include <string.h>

static void get_health(const organ_server_request *request, organ_http_reply *reply)
{
    (void)request;
    organ_http_reply_json(reply, 200, json_pack("{s:s, s:s}", "status", "ok", "version", ORGAN_VERSION));
}

static void get_metrics(const organ_server_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    organ_error error = {0};
    organ_text text;
    char *all = NULL;
    if (organ_text_open(&text, &error) == ORGAN_OK) {
        organ_tally_print(app->tally, text.out);
        organ_http_quotas_print(request, text.out);
        for (const organ_area *const *area = app->areas; *area; area++)
            if ((*area)->metrics)
                (*area)->metrics(app, text.out);
        organ_text_finish(&text, &all, &error);
    }
    organ_http_reply_text(reply, 200, "text/plain; version=0.0.4; charset=utf-8", all, all ? strlen(all) : 0);
}

/* `more` is appended to the cookie's attributes: "", or "; NAME=VALUE". */
static void set_cookie(const organ_guard *guard, organ_http_reply *reply, const char *value, const char *more)
{
    char text[256];
    snprintf(text, sizeof text, ORGAN_SESSION_COOKIE "=%s; Path=/; HttpOnly; SameSite=Strict%s%s", value,
             guard->encrypted ? "; Secure" : "", more);
    organ_http_reply_empty(reply, 204);
    organ_http_reply_header(reply, "Set-Cookie", text);
}

static void post_login(const organ_server_request *request, organ_http_reply *reply)
{
    const organ_guard *const guard = organ_http_app(request)->guard;
    json_t *const body = organ_http_body_json(request, reply);
    if (!body)
        return;
    organ_bearer bearer = {.name = ""};
    char session[ORGAN_SESSION_DIGITS + 1] = "none";
    const char *const token = json_string_value(json_object_get(body, "token"));
    if (!token)
        organ_http_problem(reply, 400, "\"token\" is missing or not a string");
    else if (json_object_size(body) != 1)
        organ_http_problem(reply, 400, "only \"token\" is allowed");
    else if (guard->tokens && !organ_tokens_login(guard->tokens, token, &bearer, session)) {
        organ_http_problem(reply, 401, "the token is wrong");
        organ_http_reply_header(reply, "WWW-Authenticate", "Bearer realm=\"organ\"");
        organ_http_reply_wrong_token(reply);
    } else {
        organ_http_done_by(request, bearer.name, !guard->tokens || bearer.access == ORGAN_ACCESS_RUN);
        set_cookie(guard, reply, session, "");
    }
    explicit_bzero(session, sizeof session);
    json_decref(body);
}

static void post_logout(const organ_server_request *request, organ_http_reply *reply)
{
    set_cookie(organ_http_app(request)->guard, reply, "", "; Max-Age=0");
}

static const organ_http_route routes[] = {{ORGAN_HTTP_GET, "/healthz", get_health, .open = true},
                                          {ORGAN_HTTP_GET, "/metrics", get_metrics, .open = false},
                                          {ORGAN_HTTP_POST, "/api/v1/login", post_login, .open = true, .body = true},
                                          {ORGAN_HTTP_POST, "/api/v1/logout", post_logout, .open = true}};

const organ_area organ_area_server = {ORGAN_ROUTES(routes)};
