/* SPDX-License-Identifier: MIT
 * The page at / and its parts below /page/. The parts are the same for every client and contain nothing about the
 * models. So they need no token, and a browser may keep them until their tag changes. */
#include "orchestrator/serve/page/serve_page.h"

#include "formats/base/embedded.h"
#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/serve/jobs/jobs.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define REFERENCE "#/components/schemas/"

ORGAN_EMBEDDED(organ_open_api_text, "orchestrator/serve/page/open_api.json")

/* The schema of "lora merge" is "JobOfLoraMerge". */
static void schema_name(const char *verb, char name[80])
{
    size_t used = (size_t)snprintf(name, 80, "JobOf");
    bool first = true;
    for (; *verb && used < 79; verb++) {
        if (*verb == ' ' || *verb == '-')
            first = true;
        else {
            name[used++] = first && *verb >= 'a' && *verb <= 'z' ? (char)(*verb - 'a' + 'A') : *verb;
            first = false;
        }
    }
    name[used] = '\0';
}

/* The new schemas are one for the job of each verb that can be a job, and "JobRequest", which is any of them,
 * selected by its "verb". Returns false if out of memory. */
static bool add_requests(json_t *schemas, const organ_verb *const *verbs, size_t count)
{
    json_t *const any = json_array(), *const mapping = json_object();
    bool complete = true;
    for (size_t k = 0; k < count; k++) {
        char name[80];
        if (!organ_verb_is_job(verbs[k]))
            continue;
        schema_name(verbs[k]->name, name);
        json_t *const reference = organ_json_sprintf(REFERENCE "%s", name);
        complete = ORGAN_ADD(schemas, SET(name, organ_verb_request_schema(verbs[k]))) &&
                   ORGAN_ADD(mapping, SET_HELD(verbs[k]->name, reference)) && complete;
        complete = json_array_append_new(any, ORGAN_OBJECT(SET("$ref", reference))) == 0 && complete;
    }
    json_t *const discriminator = ORGAN_OBJECT(SET_TEXT("propertyName", "verb"), SET("mapping", mapping));
    return ORGAN_ADD(schemas,
                     SET("JobRequest", ORGAN_OBJECT(SET_TEXT("description", "A verb and its arguments."),
                                                    SET("oneOf", any), SET("discriminator", discriminator)))) &&
           complete;
}

json_t *organ_open_api(const organ_verb *const *verbs, size_t count, organ_error *error)
{
    json_error_t fault;
    bool no_memory;
    json_t *const document =
        organ_json_load(organ_open_api_text, strlen(organ_open_api_text), JSON_REJECT_DUPLICATES, &fault, &no_memory);
    if (!document && !no_memory) {
        organ_fail(error, ORGAN_BAD_INPUT, "open_api.json: line %d, column %d: %s", fault.line, fault.column,
                   fault.text);
        return NULL;
    }
    if (ORGAN_ADD(json_object_get(document, "info"), SET_TEXT("version", ORGAN_VERSION)) &&
        add_requests(json_object_get(json_object_get(document, "components"), "schemas"), verbs, count))
        return document;
    json_decref(document);
    organ_fail(error, ORGAN_IO, "no memory for the description of the API");
    return NULL;
}

/* ---- the files of site/, compiled into the program ---- */

#define HTML   "text/html; charset=utf-8"
#define STYLE  "text/css; charset=utf-8"
#define SCRIPT "text/javascript; charset=utf-8"
#define IMAGE  "image/svg+xml"

/* Calls the macro FILE(symbol, name, type) for each file of site/: the end of its C symbol, its name, its media type.
 * FILE is defined twice: to embed the files, and for the rows of `files`. */
#define PAGE_FILES                                                                                                     \
    FILE(index_html, "index.html", HTML)                                                                               \
    FILE(style_css, "style.css", STYLE)                                                                                \
    FILE(organ_svg, "organ.svg", IMAGE)                                                                                \
    FILE(page_js, "page.js", SCRIPT)                                                                                   \
    FILE(path_picker_js, "path_picker.js", SCRIPT)                                                                     \
    FILE(elements_js, "elements.js", SCRIPT)                                                                           \
    FILE(files_list_js, "files_list.js", SCRIPT)                                                                       \
    FILE(wire_js, "wire.js", SCRIPT)                                                                                   \
    FILE(words_js, "words.js", SCRIPT)                                                                                 \
    FILE(models_view_js, "models_view.js", SCRIPT)                                                                     \
    FILE(model_view_js, "model_view.js", SCRIPT)                                                                       \
    FILE(tensor_table_js, "tensor_table.js", SCRIPT)                                                                   \
    FILE(anatomy_js, "anatomy.js", SCRIPT)                                                                             \
    FILE(verbs_view_js, "verbs_view.js", SCRIPT)                                                                       \
    FILE(form_view_js, "form_view.js", SCRIPT)                                                                         \
    FILE(form_fields_js, "form_fields.js", SCRIPT)                                                                     \
    FILE(command_line_js, "command_line.js", SCRIPT)                                                                   \
    FILE(jobs_view_js, "jobs_view.js", SCRIPT)                                                                         \
    FILE(job_panel_js, "job_panel.js", SCRIPT)                                                                         \
    FILE(job_view_js, "job_view.js", SCRIPT)                                                                           \
    FILE(progress_js, "progress.js", SCRIPT)

#define FILE(symbol, name, type) ORGAN_EMBEDDED(organ_page_##symbol, "orchestrator/serve/page/site/" name)
PAGE_FILES
#undef FILE

typedef struct page_file {
    const char *name, *type; /* "index.html", "text/html; charset=utf-8" */
    const char *data, *end;  /* its content is [data, end) */
} page_file;

#define FILE(symbol, name, type) {name, type, organ_page_##symbol, organ_page_##symbol##_end},
static const page_file files[] = {PAGE_FILES};
#undef FILE

/* ---- replies ---- */

/* Content-Security-Policy of the page: scripts and styles only from files of this server, requests only to this server,
 * and scripts cannot turn a string into markup. The page shows a report in a frame with its own, stricter policy. */
static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'";

/* The tag is a hash of the content, so an unchanged file is a 304. */
static void send_file(const organ_server_request *request, organ_http_reply *reply, const page_file *file)
{
    const size_t bytes = (size_t)(file->end - file->data);
    char tag[24];
    snprintf(tag, sizeof tag, "\"%016llx\"", (unsigned long long)XXH3_64bits(file->data, bytes));
    if (organ_http_has_tag(request, tag))
        organ_http_reply_empty(reply, 304);
    else
        organ_http_reply_constant(reply, 200, file->type, file->data, bytes);
    organ_http_reply_header(reply, "ETag", tag);
    organ_http_reply_header(reply, "Cache-Control", "no-cache"); /* kept, but checked by its tag before each use */
    organ_http_reply_policy(reply, policy);
}

static void send_named(const organ_server_request *request, organ_http_reply *reply, const char *name)
{
    for (size_t k = 0; k < sizeof files / sizeof *files; k++)
        if (!strcmp(files[k].name, name)) {
            send_file(request, reply, &files[k]);
            return;
        }
    organ_http_problem(reply, 404, "the page has no part '%s'", name);
}

static void handle_page(const organ_server_request *request, organ_http_reply *reply)
{
    send_named(request, reply, "index.html");
}

static void handle_part(const organ_server_request *request, organ_http_reply *reply)
{
    send_named(request, reply, organ_http_parameter(request, "name"));
}

/* The page needs the settings before it has a token: {"token": whether the server needs one}. */
static void handle_settings(const organ_server_request *request, organ_http_reply *reply)
{
    organ_http_reply_json(reply, 200,
                          json_pack("{s:b}", "token", organ_http_app(request)->options->token_file != NULL));
}

static void handle_open_api(const organ_server_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    organ_error error = {0};
    json_t *const document = organ_open_api(app->options->verbs->verbs, app->options->verbs->count, &error);
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
