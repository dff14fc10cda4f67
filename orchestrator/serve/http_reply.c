/* SPDX-License-Identifier: MIT
 * Replies: what handlers fill, and how it is sent. */
#include "orchestrator/serve/http_parts.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char strict_policy[] = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/* Sent with everything that we answer. Nothing here allows other sites to read anything: there is no CORS. */
static const organ_http_field always[] = {{"X-Content-Type-Options", "nosniff"},
                                          {"Referrer-Policy", "no-referrer"},
                                          {"Cross-Origin-Resource-Policy", "same-origin"},
                                          {"Cross-Origin-Opener-Policy", "same-origin"}};

static const struct {
    unsigned status;
    const char *title;
} titles[] = {{400, "Bad Request"},
              {401, "Unauthorized"},
              {403, "Forbidden"},
              {404, "Not Found"},
              {405, "Method Not Allowed"},
              {408, "Request Timeout"},
              {409, "Conflict"},
              {410, "Gone"},
              {412, "Precondition Failed"},
              {413, "Content Too Large"},
              {415, "Unsupported Media Type"},
              {416, "Range Not Satisfiable"},
              {421, "Misdirected Request"},
              {422, "Unprocessable Content"},
              {429, "Too Many Requests"},
              {500, "Internal Server Error"},
              {501, "Not Implemented"},
              {503, "Service Unavailable"},
              {507, "Insufficient Storage"}};

const char *organ_http_status_title(unsigned status)
{
    for (size_t k = 0; k < sizeof titles / sizeof *titles; k++)
        if (titles[k].status == status)
            return titles[k].title;
    return "Error";
}

/* ---- filling ---- */

void organ_http_reply_clear(organ_http_reply *reply)
{
    if (reply->kind == REPLY_BYTES)
        free(reply->bytes);
    if (reply->kind == REPLY_FILE && reply->fd >= 0)
        close(reply->fd);
    if (reply->kind == REPLY_STREAM && reply->waker)
        organ_http_stream_discard(reply->waker);
    for (size_t k = 0; k < reply->header_count; k++) {
        free((char *)reply->headers[k].name);
        free((char *)reply->headers[k].value);
    }
    *reply = (organ_http_reply){.fd = -1};
}

static const char no_memory[] =
    "{\"type\": \"about:blank\", \"title\": \"Internal Server Error\", \"status\": 500, \"detail\": \"no memory\"}\n";

static void reply_no_memory(organ_http_reply *reply)
{
    organ_http_reply_constant(reply, 500, "application/problem+json", no_memory, sizeof no_memory - 1);
    strcpy(reply->why, "no memory");
}

void organ_http_reply_constant(organ_http_reply *reply, unsigned status, const char *type, const void *data, size_t bytes)
{
    organ_http_reply_clear(reply);
    *reply = (organ_http_reply){.kind = REPLY_CONSTANT, .status = status, .type = type, .data = data, .size = bytes, .fd = -1};
}

void organ_http_reply_wrong_token(organ_http_reply *reply) { reply->wrong_token = true; }

void organ_http_reply_later(organ_http_reply *reply, double seconds)
{
    organ_http_reply_clear(reply);
    *reply = (organ_http_reply){.kind = REPLY_LATER, .later = seconds, .fd = -1};
}

void organ_http_reply_empty(organ_http_reply *reply, unsigned status) { organ_http_reply_constant(reply, status, NULL, "", 0); }

void organ_http_reply_text(organ_http_reply *reply, unsigned status, const char *type, char *text, size_t bytes)
{
    organ_http_reply_clear(reply);
    *reply = (organ_http_reply){.kind = REPLY_BYTES, .status = status, .type = type, .bytes = text, .size = bytes, .fd = -1};
    if (!text)
        reply_no_memory(reply);
}

static void reply_json(organ_http_reply *reply, unsigned status, const char *type, json_t *document)
{
    char *const text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    organ_http_reply_text(reply, status, type, text, text ? strlen(text) : 0);
}

void organ_http_reply_json(organ_http_reply *reply, unsigned status, json_t *document)
{
    reply_json(reply, status, "application/json", document);
}

static void problem(organ_http_reply *reply, unsigned status, const char *name, json_t *value, const char *format, va_list list)
{
    char message[1000];
    organ_error harmless = {0};
    vsnprintf(message, sizeof message, format, list);
    organ_fail(&harmless, ORGAN_BAD_INPUT, "%s", message);
    json_t *const document = json_pack("{s:s, s:s, s:i, s:s}", "type", "about:blank", "title", organ_http_status_title(status), "status",
                                       (int)status, "detail", harmless.message);
    if (value)
        json_object_set_new(document, name, value);
    reply_json(reply, status, "application/problem+json", document);
    snprintf(reply->why, sizeof reply->why, "%.399s", harmless.message);
}

void organ_http_problem(organ_http_reply *reply, unsigned status, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    problem(reply, status, NULL, NULL, format, list);
    va_end(list);
}

void organ_http_problem_with(organ_http_reply *reply, unsigned status, const char *name, json_t *value, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    problem(reply, status, name, value, format, list);
    va_end(list);
}

void organ_http_problem_of(organ_http_reply *reply, const organ_error *error)
{
    const unsigned status = error->status == ORGAN_USAGE ? 400 : error->status == ORGAN_BAD_INPUT ? 422 : 500;
    organ_http_problem(reply, status, "%s", error->message);
}

void organ_http_reply_header(organ_http_reply *reply, const char *name, const char *value)
{
    char *const own_name = strdup(name), *const own_value = strdup(value);
    if (own_name && own_value && reply->header_count < MOST_REPLY_HEADERS) {
        reply->headers[reply->header_count++] = (organ_http_field){own_name, own_value};
        return;
    }
    free(own_name);
    free(own_value);
    reply_no_memory(reply);
}

void organ_http_reply_policy(organ_http_reply *reply, const char *content_security_policy) { reply->policy = content_security_policy; }

/* ---- sending ---- */

static struct MHD_Response *make_response(organ_http_request *request)
{
    organ_http_reply *const reply = &request->reply;
    struct MHD_Response *response = NULL;
    switch (reply->kind) {
    case REPLY_BYTES:
        response = MHD_create_response_from_buffer(reply->size, reply->bytes, MHD_RESPMEM_MUST_FREE);
        reply->bytes = response ? NULL : reply->bytes;
        break;
    case REPLY_CONSTANT:
        response = MHD_create_response_from_buffer(reply->size, (void *)reply->data, MHD_RESPMEM_PERSISTENT);
        break;
    case REPLY_FILE:
        response = MHD_create_response_from_fd_at_offset64(reply->run, reply->fd, reply->from);
        reply->size = (size_t)reply->run;
        reply->fd = response ? -1 : reply->fd;
        break;
    case REPLY_STREAM:
        response = organ_http_stream_response(request);
        break;
    case REPLY_LATER:
    case REPLY_NONE:
        break;
    }
    return response;
}

static bool has_header(const organ_http_reply *reply, const char *name)
{
    for (size_t k = 0; k < reply->header_count; k++)
        if (strcasecmp(reply->headers[k].name, name) == 0)
            return true;
    return false;
}

static bool add_headers(const organ_http_reply *reply, struct MHD_Response *response)
{
    bool good = MHD_add_response_header(response, "Content-Security-Policy", reply->policy ? reply->policy : strict_policy) == MHD_YES;
    for (size_t k = 0; k < sizeof always / sizeof *always; k++)
        good = MHD_add_response_header(response, always[k].name, always[k].value) == MHD_YES && good;
    if (reply->type)
        good = MHD_add_response_header(response, "Content-Type", reply->type) == MHD_YES && good;
    if (!has_header(reply, "Cache-Control"))
        good = MHD_add_response_header(response, "Cache-Control", "no-store") == MHD_YES && good;
    /* A value that cannot stand in a header (a line break in a name) leaves the header out; nothing else is lost. */
    for (size_t k = 0; k < reply->header_count; k++)
        MHD_add_response_header(response, reply->headers[k].name, reply->headers[k].value);
    return good;
}

enum MHD_Result organ_http_send(organ_http_request *request)
{
    if (request->reply.kind == REPLY_NONE)
        organ_http_problem(&request->reply, 500, "the request was not answered");
    struct MHD_Response *const response = make_response(request);
    request->state = REQUEST_QUEUED;
    if (!response)
        return MHD_NO;
    const bool whole = add_headers(&request->reply, response);
    const enum MHD_Result queued = whole ? MHD_queue_response(request->connection, request->reply.status, response) : MHD_NO;
    MHD_destroy_response(response);
    return queued;
}
