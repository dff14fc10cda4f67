/* SPDX-License-Identifier: MIT
 * The page at / and its parts below /page/. They are the same for everybody and hold nothing of the models: they need no token, and a
 * browser keeps them until their tag changes. */
#include "orchestrator/serve/page/open_api.h"
#include "orchestrator/serve/page/page.h"
#include "orchestrator/serve/page/page_files.h"

#include <string.h>
#include <xxhash.h>

/* Scripts and styles only from files of the page, requests only to this server, no string ever becomes markup. A report is shown in a
 * frame, whose own policy is the stricter one of what is served there. */
static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'";

static void send_file(const organ_http_request *request, organ_http_reply *reply, const organ_page_file *file)
{
    size_t bytes = (size_t)(file->end - file->data);
    char tag[24];
    (void)snprintf(tag, sizeof tag, "\"%016llx\"", (unsigned long long)XXH3_64bits(file->data, bytes));
    if (organ_http_has_tag(request, tag))
        organ_http_reply_empty(reply, 304);
    else
        organ_http_reply_constant(reply, 200, file->type, file->data, bytes);
    organ_http_reply_header(reply, "ETag", tag);
    organ_http_reply_header(reply, "Cache-Control", "no-cache"); /* to be kept, and to be asked for again by its tag */
    organ_http_reply_policy(reply, policy);
}

static void send_named(const organ_http_request *request, organ_http_reply *reply, const char *name)
{
    for (size_t k = 0; k < organ_page_file_count; k++)
        if (!strcmp(organ_page_files[k].name, name)) {
            send_file(request, reply, &organ_page_files[k]);
            return;
        }
    organ_http_problem(reply, 404, "the page has no part '%s'", name);
}

static void handle_page(const organ_http_request *request, organ_http_reply *reply) { send_named(request, reply, "index.html"); }

static void handle_part(const organ_http_request *request, organ_http_reply *reply)
{
    send_named(request, reply, organ_http_parameter(request, "name"));
}

/* What the page must know before it may ask anything. */
static void handle_settings(const organ_http_request *request, organ_http_reply *reply)
{
    organ_http_reply_json(reply, 200, json_pack("{s:b}", "token", organ_http_app(request)->options->token_file != NULL));
}

static void handle_open_api(const organ_http_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    organ_error error = {0};
    json_t *const document = organ_open_api(app->options->verbs, app->options->verb_count, &error);
    if (document)
        organ_http_reply_json(reply, 200, document);
    else
        organ_http_problem(reply, 500, "%s", error.message);
}

static const organ_http_route routes[] = {{ORGAN_HTTP_GET, "/", handle_page, .open = true},
                                          {ORGAN_HTTP_GET, "/page/settings.json", handle_settings, .open = true},
                                          {ORGAN_HTTP_GET, "/page/{name}", handle_part, .open = true},
                                          {ORGAN_HTTP_GET, "/api/v1/openapi.json", handle_open_api, .waits = true}};

const organ_area organ_area_page = {ORGAN_ROUTES(routes)};
