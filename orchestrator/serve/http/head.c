/* SPDX-License-Identifier: MIT
 * Rejects heads of requests that other programs may read differently (request smuggling). libmicrohttpd parses the head
 * in place and is lenient: a zero byte ends a string early, a continued line extends the header before it, and the
 * first of two lengths counts. A proxy may read such a head as one request where this server reads two. So the server
 * rejects the head and ends the connection.
 *
 * For versions of libmicrohttpd before 1.0, check_head_layout also checks the bytes between the strings in the
 * library's buffer. Version 1.0 arranges the strings in another way, and in strict mode rejects such heads itself. */
#include "orchestrator/serve/http/http_parts.h"

#include <string.h>

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

/* Version 1.0 and later reject ambiguous heads in strict mode. */
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
