/* SPDX-License-Identifier: MIT */
#include "formats/remote/http_request.h"

#include "formats/base/activity.h"
#include "formats/base/plain_numbers.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define MAX_REDIRECTS 8
#define MAX_HEADERS   ((size_t)64 << 10) /* bytes of the headers of one answer */
#define ERROR_PAGE                                                                                                     \
    ((size_t)64 << 10) /* bytes of an error page that are read so that the connection can be reused; for a longer page \
                          a new connection costs less */
#define CONNECT_TIME 30L                   /* seconds */
#define STALL_TIME   60L                   /* seconds without a byte */
#define LONGEST_WAIT ((curl_off_t)1 << 20) /* seconds: upper bound of Retry-After */

struct organ_http_line {
    const organ_model_access *access; /* never NULL */
    CURLSH *share;                    /* connections and TLS sessions, kept from request to request */
    CURL *curl;                       /* handle of the last request */
    struct curl_slist *headers;       /* access->headers */
    struct curl_slist *authorised;    /* access->headers and the token, for bearer_origin; NULL if there is no token */
    bool origin_public;               /* the server that the user named had a public address in an earlier request */
    char reason[CURL_ERROR_SIZE];     /* libcurl's description of the last fault, or "" */
};

/* A hop is a request without its redirects. */
typedef struct hop {
    const organ_http_line *line;
    const organ_http_request *request;
    organ_http_answer *answer;
    size_t header_bytes; /* bytes of the answer's headers so far */
    size_t dropped;      /* bytes of a body that is not stored, such as an error page */
    size_t room;         /* allocated bytes of answer->body */
    char header[64];     /* name of the last header */
    bool headers_over;   /* the last line so far was the empty one that ends the answer's head */
    bool redirected;     /* the request follows a redirect */
    bool guarded;        /* a server with a public address has sent a redirect to this hop */
    bool is_public;      /* the connected server has a public address */
    uint64_t started;    /* organ_activity_time() when the hop began */
} hop;

static bool is_header(const char *text)
{
    const char *colon = strchr(text, ':');
    return colon && colon > text && !strpbrk(text, "\r\n");
}

static organ_status add_access_headers(organ_http_line *line, organ_error *error)
{
    for (size_t k = 0; k < line->access->header_count; k++) {
        if (!is_header(line->access->headers[k]))
            return organ_fail(error, ORGAN_USAGE, "request header %zu is not of the form 'Name: value' on one line",
                              k + 1);
        struct curl_slist *longer = organ_curl.slist_append(line->headers, line->access->headers[k]);
        if (!longer)
            return organ_fail_errno(error, ENOMEM, "headers of a request");
        line->headers = longer;
    }
    return ORGAN_OK;
}

/* The token is in a list of its own, line->authorised, because it is sent to one origin only. The user's own
 * Authorization takes precedence over it. */
static organ_status make_bearer_headers(organ_http_line *line, organ_error *error)
{
    const organ_model_access *const access = line->access;
    bool unneeded = !access->bearer || !access->bearer_origin;
    for (size_t k = 0; k < access->header_count; k++)
        unneeded = unneeded || strncasecmp(access->headers[k], "Authorization:", 14) == 0;
    ORGAN_OWNED char *const token = unneeded ? NULL : organ_format("Authorization: Bearer %s", access->bearer);
    struct curl_slist *longer = token ? organ_curl.slist_append(NULL, token) : NULL;
    line->authorised = longer;
    for (size_t k = 0; longer && k < access->header_count; k++)
        longer = organ_curl.slist_append(line->authorised, access->headers[k]);
    return unneeded || longer ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "headers of a request");
}

static bool share_connections(organ_http_line *line)
{
    line->share = organ_curl.share_init();
    return line->share && organ_curl.share_setopt(line->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_CONNECT) == CURLSHE_OK &&
           organ_curl.share_setopt(line->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) == CURLSHE_OK;
}

organ_status organ_http_line_open(const organ_model_access *access, organ_http_line **result, organ_error *error)
{
    static const organ_model_access usual;
    *result = NULL;
    if (organ_curl_open(error) != ORGAN_OK)
        return error->status;
    organ_http_line *line = *result = calloc(1, sizeof *line);
    if (line && share_connections(line)) {
        line->access = access ? access : &usual;
        if (add_access_headers(line, error) == ORGAN_OK)
            make_bearer_headers(line, error);
    } else
        organ_fail(error, ORGAN_IO, "no memory for a connection");
    if (error->status) {
        organ_http_line_close(line);
        *result = NULL;
    }
    return error->status;
}

void organ_http_line_close(organ_http_line *line)
{
    if (!line)
        return;
    organ_curl.slist_free_all(line->headers);
    organ_curl.slist_free_all(line->authorised);
    organ_curl.easy_cleanup(line->curl);
    organ_curl.share_cleanup(line->share);
    free(line);
}

/* Returns false unless the text consists of digits and the value fits. */
static bool read_decimal(const char *text, const char *end, uint64_t *value)
{
    *value = 0;
    if (text == end)
        return false;
    for (; text < end; text++)
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(*value, (uint64_t)10, value) ||
            __builtin_add_overflow(*value, (uint64_t)(*text - '0'), value))
            return false;
    return true;
}

/* A header is ignored if the size of the file is unknown. With status 416, "bytes * / 1000" (without these blanks) has
 * a total but no range. */
static void read_content_range(organ_http_answer *answer, const char *text)
{
    static const char unit[] = "bytes ";
    const char *slash = strchr(text, '/'), *dash = strchr(text, '-');
    if (strncasecmp(text, unit, strlen(unit)) != 0 || !slash ||
        !read_decimal(slash + 1, text + strlen(text), &answer->total))
        return;
    if (dash && dash < slash && read_decimal(text + strlen(unit), dash, &answer->first) &&
        read_decimal(dash + 1, slash, &answer->last))
        answer->has_range = answer->first <= answer->last && answer->last < answer->total;
}

static void read_answer_header(organ_http_answer *answer, const char *name, const char *value)
{
    if (strcasecmp(name, "Content-Range") == 0)
        read_content_range(answer, value);
    else if (strcasecmp(name, "Content-Encoding") == 0)
        answer->encoded = strcasecmp(value, "identity") != 0;
    else if (strcasecmp(name, "ETag") == 0 || (strcasecmp(name, "Last-Modified") == 0 && !answer->validator[0]))
        snprintf(answer->validator, sizeof answer->validator, "%s", value);
}

/* Bytes beyond hop.header are cut off. */
static size_t name_length(const char *data, size_t length)
{
    size_t end = 0;
    while (end < length && end < sizeof((hop *)0)->header - 1 && data[end] > ' ' && data[end] < 127 && data[end] != ':')
        end++;
    return end;
}

/* libcurl calls this for each line of a head. A result of 0 ends the request. */
static size_t on_header(char *data, size_t size, size_t count, void *context)
{
    hop *h = context;
    char line[2048];
    const size_t length = size * count;
    h->header_bytes += length;
    if (h->header_bytes > MAX_HEADERS) {
        h->answer->hopeless = true;
        snprintf(h->answer->fault, sizeof h->answer->fault, "its headers have more than %zu bytes, with '%.*s'",
                 MAX_HEADERS, (int)name_length(data, length), data);
        return 0;
    }
    h->headers_over = length <= 2; /* the head ends with an empty line, "\r\n" */
    snprintf(h->header, sizeof h->header, "%.*s", (int)name_length(data, length), data);
    snprintf(line, sizeof line, "%.*s", (int)(length < sizeof line ? length : sizeof line - 1), data);
    line[strcspn(line, "\r\n")] = '\0';
    char *colon = strchr(line, ':');
    if (!colon)
        return length;
    *colon++ = '\0';
    colon += strspn(colon, " \t");
    for (size_t end = strlen(colon); end && (colon[end - 1] == ' ' || colon[end - 1] == '\t');)
        colon[--end] = '\0';
    read_answer_header(h->answer, line, colon);
    return length;
}

/* Returns the place of the next `bytes` bytes of the body, or NULL if memory is exhausted. The caller of a request with
 * a buffer has checked that they fit. A body that organ allocates has room for one byte more, so that the place of no
 * bytes is not NULL either. */
static char *reserve_body(hop *h, size_t bytes)
{
    organ_http_answer *answer = h->answer;
    if (h->request->buffer)
        return h->request->buffer + answer->got;
    if (answer->got + bytes >= h->room) {
        h->room = 2 * (answer->got + bytes) + 4096;
        char *larger = realloc(answer->body, h->room);
        if (!larger)
            return NULL;
        answer->body = larger;
    }
    return answer->body + answer->got;
}

/* The body of an answer that is not stored, such as an error page, is only counted, up to ERROR_PAGE bytes. Status
 * 200 after a request for a range means that the whole file follows: a result of 0 aborts at once. */
static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    hop *h = context;
    organ_http_answer *answer = h->answer;
    const size_t length = size * count, remaining = h->request->capacity - answer->got;
    long code = 0;
    organ_curl.easy_getinfo(h->line->curl, CURLINFO_RESPONSE_CODE, &code);
    if (code != 206 && (code != 200 || h->request->ranged)) {
        h->dropped += length;
        return code == 200 || h->dropped > ERROR_PAGE ? 0 : length;
    }
    answer->too_long = length > remaining;
    const size_t taken = length < remaining ? length : remaining;
    char *to = reserve_body(h, taken);
    if (!to)
        return 0;
    memcpy(to, data, taken);
    answer->got += taken;
    return answer->too_long ? 0 : length;
}

/* Allowed are request->seconds, plus the time that the bytes received so far take at ORGAN_HTTP_MIN_RATE. */
static bool is_late(hop *h)
{
    organ_http_answer *answer = h->answer;
    const double taken = 1e-9 * (double)(organ_activity_time() - h->started);
    if (taken <= h->request->seconds + (double)answer->got / ORGAN_HTTP_MIN_RATE)
        return false;
    answer->hopeless = true;
    organ_snprintf(answer->fault, sizeof answer->fault, "the transfer is too slow: %zu bytes arrived in %.1f s",
                   answer->got, taken);
    return true;
}

/* libcurl calls this about once a second. A result other than 0 aborts the transfer. */
static int on_progress(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    hop *h = context;
    const organ_model_access *access = h->line->access;
    (void)a, (void)b, (void)c, (void)d;
    h->answer->stopped = access->stopped && access->stopped(access->context);
    return h->answer->stopped || is_late(h);
}

/* ---- checks of the connected address ---- */

/* Forbidden are a link-local address after any redirect and a non-public one after a redirect from a public server. */
static bool refuse_redirect_to(hop *h, organ_reach reach)
{
    const bool link = h->redirected && reach == ORGAN_REACH_LINK, inside = h->guarded && reach != ORGAN_REACH_PUBLIC;
    if (!link && !inside)
        return false;
    h->answer->hopeless = true;
    snprintf(h->answer->fault, sizeof h->answer->fault, "%s, which is not followed",
             link ? "it redirects to a link-local address or to an address from which a cloud serves credentials"
                  : "a public server redirects to a loopback or private address");
    return true;
}

/* libcurl calls this instead of socket(), so no packet is sent to a forbidden address. */
static curl_socket_t on_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    hop *h = context;
    (void)purpose;
    if (refuse_redirect_to(h, organ_http_address_reach(&address->addr)))
        return CURL_SOCKET_BAD;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* libcurl calls this before it sends a request over a new or reused connection. */
static int on_connected(void *context, char *peer, char *own, int peer_port, int own_port)
{
    hop *h = context;
    (void)own, (void)peer_port, (void)own_port;
    const organ_reach reach = organ_http_text_reach(peer);
    h->is_public = reach == ORGAN_REACH_PUBLIC;
    if (refuse_redirect_to(h, reach))
        return CURL_PREREQFUNC_ABORT;
    h->answer->fault[0] = '\0'; /* clears the fault of another address of the same host name, which on_socket refused */
    h->answer->hopeless = false;
    return CURL_PREREQFUNC_OK;
}

/* A host name other than localhost counts as public until on_socket and on_connected check its address. */
static organ_reach reach_of_url(const char *url)
{
    char *host = NULL;
    CURLU *parts = organ_curl.url();
    organ_reach reach = ORGAN_REACH_PUBLIC;
    if (parts && organ_curl.url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
        organ_curl.url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK)
        reach = organ_http_is_address(host) || strcasecmp(host, "localhost") == 0 ? organ_http_text_reach(host) : reach;
    organ_curl.free(host);
    organ_curl.url_cleanup(parts);
    return reach;
}

/* Repeating the request cannot remove these faults of the URL, of the server's certificate, of the local setup. */
static bool is_hopeless(CURLcode code)
{
    return code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT ||
           code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
           code == CURLE_SSL_CERTPROBLEM || code == CURLE_OUT_OF_MEMORY || code == CURLE_NOT_BUILT_IN;
}

static bool same_origin(const char *a, const char *b)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    CURLU *x = organ_curl.url(), *y = organ_curl.url();
    bool same = x && y && organ_curl.url_set(x, CURLUPART_URL, a, 0) == CURLUE_OK &&
                organ_curl.url_set(y, CURLUPART_URL, b, 0) == CURLUE_OK;
    for (size_t k = 0; k < 3 && same; k++) {
        char *p = NULL, *q = NULL;
        same = organ_curl.url_get(x, parts[k], &p, CURLU_DEFAULT_PORT) == CURLUE_OK &&
               organ_curl.url_get(y, parts[k], &q, CURLU_DEFAULT_PORT) == CURLUE_OK && strcasecmp(p, q) == 0;
        organ_curl.free(p);
        organ_curl.free(q);
    }
    organ_curl.url_cleanup(x);
    organ_curl.url_cleanup(y);
    return same;
}

/* The user's headers and the token are sent only to the server of request->origin_url, never to the target of a
 * redirect elsewhere. */
static void set_options(organ_http_line *line, const organ_http_request *request, const char *url, hop *h)
{
    CURL *curl = line->curl;
    char range[48];
    organ_curl.easy_setopt(curl, CURLOPT_SHARE, line->share);
    organ_curl.easy_setopt(curl, CURLOPT_URL, url);
    organ_curl.easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    organ_curl.easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    organ_curl.easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIME);
    organ_curl.easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    organ_curl.easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, STALL_TIME);
    organ_curl.easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
    organ_curl.easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    organ_curl.easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* ignore headers of a proxy */
    organ_curl.easy_setopt(curl, CURLOPT_USERAGENT, "organ");
    organ_curl.easy_setopt(curl, CURLOPT_ERRORBUFFER, line->reason);
    organ_curl.easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    organ_curl.easy_setopt(curl, CURLOPT_HEADERDATA, h);
    organ_curl.easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    organ_curl.easy_setopt(curl, CURLOPT_WRITEDATA, h);
    organ_curl.easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    organ_curl.easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    organ_curl.easy_setopt(curl, CURLOPT_XFERINFODATA, h);
    organ_curl.easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, on_socket);
    organ_curl.easy_setopt(curl, CURLOPT_OPENSOCKETDATA, h);
    organ_curl.easy_setopt(curl, CURLOPT_PREREQFUNCTION, on_connected);
    organ_curl.easy_setopt(curl, CURLOPT_PREREQDATA, h);
    if (same_origin(url, request->origin_url))
        organ_curl.easy_setopt(curl, CURLOPT_HTTPHEADER,
                               line->authorised && same_origin(url, line->access->bearer_origin) ? line->authorised
                                                                                                 : line->headers);
    if (request->ranged) {
        snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, request->from, request->from + (request->capacity - 1));
        organ_curl.easy_setopt(curl, CURLOPT_RANGE, range);
    }
}

/* libcurl reports a line above 100 KiB as a lack of memory. */
static bool is_long_header(const hop *h, CURLcode result)
{
    long sent = 0;
    organ_curl.easy_getinfo(h->line->curl, CURLINFO_REQUEST_SIZE, &sent);
    return (result == CURLE_OUT_OF_MEMORY) && sent > 0 && !h->headers_over;
}

static void set_fault_of_curl(const hop *h, CURLcode result)
{
    organ_http_answer *answer = h->answer;
    answer->broken = true;
    answer->hopeless |= is_hopeless(result);
    if (answer->fault[0])
        return;
    if (is_long_header(h, result))
        snprintf(answer->fault, sizeof answer->fault, "a header of its answer is too long, the one after '%s'",
                 h->header);
    else
        snprintf(answer->fault, sizeof answer->fault, "%s",
                 h->line->reason[0] ? h->line->reason : organ_curl.easy_strerror(result));
}

static void set_final_fault(organ_http_answer *answer, const char *fault)
{
    answer->broken = answer->hopeless = true;
    snprintf(answer->fault, sizeof answer->fault, "%s", fault);
}

/* Returns true if the server has a public address. If `redirected`, the hop follows a redirect; if `from_public`, an
 * earlier server of the request has a public address. */
static bool send_one_request(organ_http_line *line, const organ_http_request *request, const char *url, bool redirected,
                             bool from_public, organ_http_answer *answer)
{
    hop h = {.line = line,
             .request = request,
             .answer = answer,
             .redirected = redirected,
             .guarded = redirected && from_public,
             .started = organ_activity_time()};
    line->reason[0] = '\0';
    /* libcurl 7.88 keeps in a reused handle a pointer to a freed header, into which a server can make it write with a
     * folded first header. Therefore each request gets a new handle. */
    organ_curl.easy_cleanup(line->curl);
    line->curl = organ_curl.easy_init();
    if (!line->curl) {
        set_final_fault(answer, "no memory");
        return false;
    }
    if (is_late(&h) || refuse_redirect_to(&h, reach_of_url(url))) {
        answer->broken = true;
        return false;
    }
    set_options(line, request, url, &h);
    if (strncasecmp(url, "https:", 6) == 0 &&
        !organ_http_set_authorities(line->curl, answer->fault, sizeof answer->fault)) {
        answer->broken = answer->hopeless = true;
        return false;
    }
    const CURLcode result = organ_curl.easy_perform(line->curl);
    curl_off_t wait = 0;
    organ_curl.easy_getinfo(line->curl, CURLINFO_RESPONSE_CODE, &answer->code);
    organ_curl.easy_getinfo(line->curl, CURLINFO_RETRY_AFTER, &wait);
    answer->retry_after = wait > 0 ? (unsigned)(wait < LONGEST_WAIT ? wait : LONGEST_WAIT) : 0;
    const bool dropped =
        h.dropped && result == CURLE_WRITE_ERROR; /* on_body aborted the transfer because it needs no further bytes */
    if (result != CURLE_OK && !dropped)
        set_fault_of_curl(&h, result);
    return h.is_public;
}

/* The caller frees the result. Returns NULL if there is no redirect or, with a fault, if it must not be followed:
 * the target must be https, or http if `url` is http. */
static char *redirect_target(const organ_http_line *line, const char *url, organ_http_answer *answer)
{
    const char *next = NULL;
    if (answer->broken || answer->code < 300 || answer->code > 308 || answer->code == 304)
        return NULL;
    organ_curl.easy_getinfo(line->curl, CURLINFO_REDIRECT_URL, &next);
    if (!next)
        set_final_fault(answer, "it redirects without a target");
    else if (strncasecmp(next, "https://", 8) != 0 &&
             (strncasecmp(next, "http://", 7) != 0 || strncasecmp(url, "https:", 6) == 0))
        set_final_fault(answer, "it redirects to a URL that is not https");
    char *copy = answer->broken ? NULL : strdup(next);
    if (!copy && !answer->broken)
        set_final_fault(answer, "no memory");
    return copy;
}

/* The caller frees answer->body and answer->resolved. */
void organ_http_ask(organ_http_line *line, const organ_http_request *request, organ_http_answer *answer)
{
    char *resolved = NULL;
    /* Another URL is the remembered target of an earlier redirect. */
    const bool is_origin = strcmp(request->url, request->origin_url) == 0;
    bool from_public = line->origin_public;
    for (int hops = 0;; hops++) {
        const char *url = resolved ? resolved : request->url;
        *answer = (organ_http_answer){0}; /* a redirect's body is not stored, so nothing is leaked */
        from_public |= send_one_request(line, request, url, hops > 0 || !is_origin, from_public, answer);
        line->origin_public |= hops == 0 && is_origin && from_public;
        char *next = redirect_target(line, url, answer);
        if (next && hops == MAX_REDIRECTS) {
            set_final_fault(answer, "it redirects more than 8 times");
            organ_clear(&next);
        }
        if (!next)
            break;
        free(resolved);
        resolved = next;
    }
    answer->resolved = resolved;
}
