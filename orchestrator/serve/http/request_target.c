/* SPDX-License-Identifier: MIT
 * Parses the target (path and query), headers and body of a request. */
#include <organ/base.h>
#include "formats/base/utf8.h"
#include "orchestrator/serve/http/http_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- decoding ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

const char *organ_http_decode(char *text, bool form)
{
    char *to = text;
    for (const char *from = text; *from; to++) {
        const bool coded = *from == '%';
        const int high = coded ? hex_digit(from[1]) : 0, low = coded && high >= 0 ? hex_digit(from[2]) : 0;
        if (high < 0 || low < 0)
            return "a '%' without two hexadecimal digits";
        *to = form && *from == '+' ? ' ' : *from;
        if (coded)
            *to = (char)(high << 4 | low);
        from += coded ? 3 : 1;
        if ((unsigned char)*to < ' ' || *to == 0x7f)
            return *to ? "a control character" : "a zero byte";
    }
    *to = '\0';
    return organ_utf8_valid(text) ? NULL : "bytes that are not UTF-8";
}

/* Decodes encoded slashes too, so that it finds all segments that are empty, '.' or '..', which it rejects.
 * Parameters of the route do not come from this path, but from the target itself (match_path). Returns false after a
 * 400 or 500. */
static bool read_path(organ_server_request *request, const char *query)
{
    organ_http_reply *const reply = &request->reply;
    request->path = strndup(request->target, (size_t)(query - request->target));
    if (!request->path) {
        organ_http_problem(reply, 500, "no memory");
        return false;
    }
    if (request->path[0] != '/') {
        organ_http_problem(reply, 400, "the target of the request is not a path");
        return false;
    }
    const char *const wrong = organ_http_decode(request->path, false);
    if (wrong) {
        organ_http_problem(reply, 400, "the path has %s", wrong);
        return false;
    }
    size_t length = strlen(request->path);
    if (length > 1 && request->path[length - 1] == '/')
        request->path[--length] = '\0';
    for (const char *segment = request->path + 1; length > 1; segment += strcspn(segment, "/") + 1) {
        const size_t size = strcspn(segment, "/");
        if (size == 0 || (segment[0] == '.' && (size == 1 || (size == 2 && segment[1] == '.')))) {
            organ_http_problem(reply, 400, "the path has a segment that is empty, '.' or '..'");
            return false;
        }
        if (!segment[size])
            break;
    }
    return true;
}

static bool read_query(organ_server_request *request, const char *query)
{
    if (*query != '?' || !query[1])
        return true;
    char *rest = request->query_text = strdup(query + 1);
    if (!rest)
        organ_http_problem(&request->reply, 500, "no memory");
    while (rest) {
        char *const name = strsep(&rest, "&");
        if (!*name)
            continue;
        char *const equals = strchr(name, '=');
        if (equals)
            *equals = '\0';
        const char *wrong = organ_http_decode(name, true);
        if (!wrong && equals)
            wrong = organ_http_decode(equals + 1, true);
        if (!wrong && request->query_count == MAX_FIELDS)
            wrong = "too many parameters";
        if (wrong) {
            organ_http_problem(&request->reply, 400, "the query has %s", wrong);
            return false;
        }
        request->query[request->query_count++] = (organ_http_field){name, equals ? equals + 1 : ""};
    }
    return request->query_text != NULL;
}

bool organ_http_target_read(organ_server_request *request)
{
    const char *const query = request->target + strcspn(request->target, "?");
    return read_path(request, query) && read_query(request, query);
}

/* ---- functions for handlers ---- */

/* admit_connection keeps the watch from closing an admitted connection to make room for others. */
void organ_http_done_by(const organ_server_request *request, const char *token_name, bool runs)
{
    organ_server_request *const admitted = (organ_server_request *)request;
    snprintf(admitted->bearer, sizeof admitted->bearer, "%s", token_name);
    admitted->admitted = true;
    admitted->runs = runs;
}

const char *organ_http_token_name(const organ_server_request *request) { return request->bearer; }

void organ_http_about_job(const organ_server_request *request, const char *id)
{
    snprintf(((organ_server_request *)request)->job, sizeof request->job, "%s", id);
}

organ_app *organ_http_app(const organ_server_request *request) { return request->app; }

double organ_http_waited(const organ_server_request *request)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - request->began.tv_sec) + 1e-9 * (double)(now.tv_nsec - request->began.tv_nsec);
}

static const char *find_field(const organ_http_field *fields, size_t count, const char *name)
{
    for (size_t k = 0; k < count; k++)
        if (strcmp(fields[k].name, name) == 0)
            return fields[k].value;
    return NULL;
}

const char *organ_http_parameter(const organ_server_request *request, const char *name)
{
    return find_field(request->parameters, request->parameter_count, name);
}

const char *organ_http_query(const organ_server_request *request, const char *name)
{
    return find_field(request->query, request->query_count, name);
}

const char *organ_http_header(const organ_server_request *request, const char *name)
{
    return organ_mhd.lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

bool organ_http_query_count(const organ_server_request *request, organ_http_reply *reply, const char *name,
                            uint64_t from, uint64_t to, uint64_t fallback, uint64_t *value)
{
    const char *const text = organ_http_query(request, name);
    *value = fallback;
    if (!text)
        return true;
    const size_t digits = strspn(text, "0123456789");
    errno = 0;
    *value = strtoull(text, NULL, 10);
    if (digits > 0 && !text[digits] && !errno && *value >= from && *value <= to)
        return true;
    organ_http_problem(reply, 400, "%s is '%s'; allowed are whole numbers from %llu to %llu", name, text,
                       (unsigned long long)from, (unsigned long long)to);
    return false;
}

json_t *organ_http_body_json(const organ_server_request *request, organ_http_reply *reply)
{
    static const char expected[] = "application/json";
    const char *const type = organ_http_header(request, "Content-Type");
    const size_t length = type ? strcspn(type, "; \t") : 0;
    if (length != strlen(expected) || strncasecmp(type, expected, length) != 0) {
        organ_http_problem(reply, 415, "the Content-Type is '%s'; it must be %s", type ? type : "", expected);
        return NULL;
    }
    json_error_t fault;
    bool no_memory;
    json_t *const json = organ_json_load(request->body ? request->body : "", request->body_bytes,
                                         JSON_REJECT_DUPLICATES, &fault, &no_memory);
    if (json && json_is_object(json))
        return json;
    if (no_memory)
        organ_http_problem(reply, 500, "no memory for the body");
    else if (json)
        organ_http_problem(reply, 400, "the body is JSON, but not an object");
    else
        organ_http_problem(reply, 400, "the body is not JSON: line %d, column %d: %s", fault.line, fault.column,
                           fault.text);
    json_decref(json);
    return NULL;
}
