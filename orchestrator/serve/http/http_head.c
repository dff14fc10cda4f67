/* SPDX-License-Identifier: MIT
 * Rejects heads of requests that other programs may read differently (request smuggling). libmicrohttpd parses the head
 * in place and is lenient: a zero byte ends a string early, a continued line extends the header before it, and the
 * first of two lengths counts. A proxy may read such a head as one request where this server reads two. So the server
 * rejects the head and ends the connection.
 *
 * For versions of libmicrohttpd before 1.0, check_head_layout also checks the bytes between the strings in the
 * library's buffer. Version 1.0 arranges the strings in another way, and in strict mode rejects such heads itself. */
#include "orchestrator/serve/http/http_parts.h"

#include "formats/base/format_rest.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- functions with which handlers fill replies ---- */

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
    for (size_t k = 0; k < reply->header_count; k++)
        ORGAN_FREE_ARRAYS((char *)reply->headers[k].name, (char *)reply->headers[k].value);
    *reply = (organ_http_reply){.fd = -1};
}

static const char no_memory_reply[] =
    "{\"type\": \"about:blank\", \"title\": \"Internal Server Error\", \"status\": 500, \"detail\": \"no memory\"}\n";

static void reply_no_memory(organ_http_reply *reply)
{
    organ_http_reply_constant(reply, 500, "application/problem+json", no_memory_reply, sizeof no_memory_reply - 1);
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
    organ_http_reply_constant(reply, status, /*type=*/NULL, "", /*bytes=*/0);
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
static void fill_problem(organ_http_reply *reply, unsigned status, const char *name, json_t *value, const char *message)
{
    organ_error harmless = {0};
    organ_fail(&harmless, ORGAN_BAD_INPUT, "%s", message);
    json_t *document =
        json_pack("{s:s, s:s, s:i, s:s}", "type", "about:blank", "title", organ_mhd.get_reason_phrase_for(status),
                  "status", (int)status, "detail", harmless.message);
    if (value && json_object_set_new(document, name, value) != 0)
        organ_clear_json(&document); /* no memory: the reply is a 500 */
    reply_json(reply, status, "application/problem+json", document);
    snprintf(reply->why, sizeof reply->why, "%.399s", harmless.message);
}

void organ_http_problem(organ_http_reply *reply, unsigned status, const char *format, ...)
{
    char message[1000];
    ORGAN_FORMAT_REST(message, format);
    fill_problem(reply, status, /*name=*/NULL, /*value=*/NULL, message);
}

void organ_http_problem_with(organ_http_reply *reply, unsigned status, const char *name, json_t *value,
                             const char *format, ...)
{
    char message[1000];
    ORGAN_FORMAT_REST(message, format);
    fill_problem(reply, status, name, value, message);
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
    ORGAN_FREE_ARRAYS(own_name, own_value);
    reply_no_memory(reply);
}

void organ_http_reply_policy(organ_http_reply *reply, const char *content_security_policy)
{
    reply->policy = content_security_policy;
}

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
    const char *const wrong = organ_http_decode(request->path, /*form=*/false);
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

/* Splits the query at & and = and decodes it in place. Returns false with the reply that refuses it. */
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
        const char *wrong = organ_http_decode(name, /*form=*/true);
        if (!wrong && equals)
            wrong = organ_http_decode(equals + 1, /*form=*/true);
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
    organ_request_account *const account = request->account;
    snprintf(account->token_name, sizeof account->token_name, "%s", token_name);
    account->admitted = true;
    account->runs = runs;
}

const char *organ_http_token_name(const organ_server_request *request) { return request->account->token_name; }

void organ_http_about_job(const organ_server_request *request, const char *id)
{
    snprintf(request->account->job, sizeof request->account->job, "%s", id);
}

organ_app *organ_http_app(const organ_server_request *request) { return request->app; }

double organ_http_waited(const organ_server_request *request) { return organ_seconds_now() - request->began; }

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

/* A token of RFC 9110 is the form of methods and of names of headers: letters, digits and some punctuation marks, at
 * least one. */
static bool is_token(const char *text)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (const char *c = text; *c; c++)
        if (!(*c >= '0' && *c <= '9') && !((*c | 32) >= 'a' && (*c | 32) <= 'z') && !strchr(marks, *c))
            return false;
    return *text != '\0';
}

static bool is_value(const char *text)
{
    for (const char *c = text; *c; c++)
        if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
            return false;
    return true;
}

/* Returns whether each byte of [from, to) is a or b. */
static bool only_bytes(const char *from, const char *to, char a, char b)
{
    while (from < to && (*from == a || *from == b))
        from++;
    return from == to;
}

/* The library replaces the LF or CR LF after a line by one or two zero bytes. */
static bool line_ends(const char *from, const char *to)
{
    return (uintptr_t)to > (uintptr_t)from && (uintptr_t)to - (uintptr_t)from <= 2 && only_bytes(from, to, '\0', '\0');
}

bool organ_http_library_is_strict(void) { return strncmp(organ_mhd.get_version(), "0.", 2) != 0; }

typedef struct head_reading {
    /* end of the string checked last, in the library's buffer; NULL: the bytes between strings are not checked */
    const char *at;
    const char *wrong;         /* the fault, as the end of the sentence "the request ..."; NULL: none yet */
    unsigned lengths, codings; /* number of Content-Length and of Transfer-Encoding headers */
} head_reading;

/* Callback of MHD_get_connection_values; `context` is the head_reading, in which headers that state a length are
 * counted. If the header is wrong, sets r->wrong and returns MHD_NO, which ends the iteration. If r->at is set, also
 * checks that r->at and the name are separated only by the end of a line, and the colon and the value only by
 * blanks, because libmicrohttpd drops other bytes there. */
static enum MHD_Result check_header(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    head_reading *const r = context;
    (void)kind;
    const char *const name_end = name + strlen(name);
    if (!is_token(name))
        r->wrong = "has a header with an invalid name";
    else if (!value || !is_value(value))
        r->wrong = "has a header with a control character";
    else if (r->at && (!line_ends(r->at, name) || (uintptr_t)value <= (uintptr_t)name_end ||
                       !only_bytes(name_end + 1, value, ' ', '\t')))
        r->wrong = "has a header with a zero byte, or one that continues in the next line";
    else if (r->at)
        r->at = value + strlen(value);
    r->lengths += strcasecmp(name, "Content-Length") == 0;
    r->codings += strcasecmp(name, "Transfer-Encoding") == 0;
    return r->wrong ? MHD_NO : MHD_YES;
}

/* The library has split the first line in place by a zero byte after the method and one after the target. If the
 * client has sent a zero byte, a part ends early, and bytes other than blanks separate it from the next part.
 * Returns the fault (head_reading.wrong) or NULL. */
static const char *read_first_line(const organ_server_request *request, const char *verb, const char *version)
{
    /* ends of the target and of the method; request->target is a copy of the target */
    const char *const end = request->line + strlen(request->target), *const verb_end = verb + strlen(verb);
    if ((uintptr_t)request->line <= (uintptr_t)verb_end || (uintptr_t)version <= (uintptr_t)end)
        return "has no target";
    if (!is_token(verb) || !only_bytes(verb_end + 1, request->line, ' ', ' '))
        return "has an invalid method";
    if (version[-1] || !only_bytes(end, version - 1, ' ', ' '))
        return "has a target with a zero byte";
    return request->target[strcspn(request->target, " \t")] ? "has a target with a space" : NULL;
}

/* The length of the body is ambiguous if several headers state it, Transfer-Encoding is not "chunked", or an
 * HTTP/1.0 request has a Transfer-Encoding. Returns the fault or NULL. */
static const char *read_lengths(const organ_server_request *request, const head_reading *r, const char *version)
{
    const char *const coding = organ_http_header(request, "Transfer-Encoding");
    if (r->lengths + r->codings > 1)
        return "states the length of its body more than once";
    if (coding && (strcasecmp(coding, "chunked") != 0 || strcmp(version, "HTTP/1.0") == 0))
        return "has a Transfer-Encoding that is not 'chunked', or that its HTTP version does not define";
    return NULL;
}

/* Checks the library's buffer, from the first line through all headers. Also sets r->wrong if bytes of the head
 * belong neither to these nor to the ends of lines: some versions of libmicrohttpd skip such bytes. */
static void check_head_layout(const organ_server_request *request, head_reading *r, const char *verb,
                              const char *version)
{
    const union MHD_ConnectionInfo *const size =
        organ_mhd.get_connection_info(request->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (!(r->wrong = read_first_line(request, verb, version))) {
        r->at = version + strlen(version);
        organ_mhd.get_connection_values(request->connection, MHD_HEADER_KIND, check_header, r);
    }
    /* At most 4 bytes may follow the last value: the end of its line, and an empty line. */
    if (!r->wrong && size && (uintptr_t)verb + size->header_size - (uintptr_t)r->at > 4)
        r->wrong = "has a header without a name, or with a zero byte";
}

/* Proxies and servers must read the head alike. A 400 has "Connection: close". */
bool organ_http_head_passes(organ_server_request *request, const char *verb, const char *version)
{
    head_reading r = {0};
    if (organ_http_library_is_strict() && !is_token(verb))
        r.wrong = "has an invalid method";
    else if (organ_http_library_is_strict())
        organ_mhd.get_connection_values(request->connection, MHD_HEADER_KIND, check_header, &r);
    else
        check_head_layout(request, &r, verb, version);
    if (!r.wrong)
        r.wrong = read_lengths(request, &r, version);
    if (!r.wrong)
        return true;
    organ_http_problem(&request->reply, 400, "the request %s", r.wrong);
    organ_http_reply_header(&request->reply, "Connection", "close");
    return false;
}
