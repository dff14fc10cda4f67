/* SPDX-License-Identifier: MIT
 * Functions that handlers call to fill replies. */
#include "formats/base/plain_numbers.h"
#include "orchestrator/serve/http/server_parts.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void organ_http_waker_discard(organ_http_waker *waker)
{
    waker->stream.close(waker->stream.context);
    pthread_mutex_destroy(&waker->lock);
    free(waker);
}

void organ_http_reply_clear(organ_http_reply *reply)
{
    if (reply->kind == REPLY_BYTES)
        free(reply->bytes);
    if (reply->kind == REPLY_FILE && reply->fd >= 0)
        close(reply->fd);
    if (reply->kind == REPLY_STREAM && reply->waker)
        organ_http_waker_discard(reply->waker);
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

void organ_http_reply_constant(organ_http_reply *reply, unsigned status, const char *type, const void *data,
                               size_t bytes)
{
    organ_http_reply_clear(reply);
    *reply = (organ_http_reply){
        .kind = REPLY_CONSTANT, .status = status, .type = type, .data = data, .size = bytes, .fd = -1};
}

void organ_http_reply_wrong_token(organ_http_reply *reply) { reply->wrong_token = true; }

void organ_http_reply_later(organ_http_reply *reply, double seconds)
{
    organ_http_reply_clear(reply);
    *reply = (organ_http_reply){.kind = REPLY_LATER, .later = seconds, .fd = -1};
}

void organ_http_reply_empty(organ_http_reply *reply, unsigned status)
{
    organ_http_reply_constant(reply, status, NULL, "", 0);
}

void organ_http_reply_text(organ_http_reply *reply, unsigned status, const char *type, char *text, size_t bytes)
{
    organ_http_reply_clear(reply);
    *reply =
        (organ_http_reply){.kind = REPLY_BYTES, .status = status, .type = type, .bytes = text, .size = bytes, .fd = -1};
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

/* `name` and `value` are an additional member, or NULL; `value` is released. The detail passes through organ_fail,
 * which replaces its control characters. */
static void fill_problem(organ_http_reply *reply, unsigned status, const char *name, json_t *value, const char *format,
                         va_list list)
{
    char message[1000];
    organ_error harmless = {0};
    organ_vsnprintf(message, sizeof message, format, list);
    organ_fail(&harmless, ORGAN_BAD_INPUT, "%s", message);
    json_t *const document =
        json_pack("{s:s, s:s, s:i, s:s}", "type", "about:blank", "title", organ_mhd.get_reason_phrase_for(status),
                  "status", (int)status, "detail", harmless.message);
    if (value)
        json_object_set_new(document, name, value);
    reply_json(reply, status, "application/problem+json", document);
    snprintf(reply->why, sizeof reply->why, "%.399s", harmless.message);
}

void organ_http_problem(organ_http_reply *reply, unsigned status, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fill_problem(reply, status, NULL, NULL, format, list);
    va_end(list);
}

void organ_http_problem_with(organ_http_reply *reply, unsigned status, const char *name, json_t *value,
                             const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fill_problem(reply, status, name, value, format, list);
    va_end(list);
}

void organ_http_problem_of(organ_http_reply *reply, const organ_error *error)
{
    unsigned status = error->status == ORGAN_USAGE ? 400 : 500;
    if (error->status == ORGAN_BAD_INPUT)
        status = 422;
    organ_http_problem(reply, status, "%s", error->message);
}

/* If memory or room for headers runs out, the reply becomes a 500. */
void organ_http_reply_header(organ_http_reply *reply, const char *name, const char *value)
{
    char *const own_name = strdup(name), *const own_value = strdup(value);
    if (own_name && own_value && reply->header_count < MAX_REPLY_HEADERS) {
        reply->headers[reply->header_count++] = (organ_http_field){own_name, own_value};
        return;
    }
    free(own_name);
    free(own_value);
    reply_no_memory(reply);
}

void organ_http_reply_policy(organ_http_reply *reply, const char *content_security_policy)
{
    reply->policy = content_security_policy;
}
