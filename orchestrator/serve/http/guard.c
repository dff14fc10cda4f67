/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/guard.h"

#include "orchestrator/serve/http/parts.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SHORTEST_TOKEN = 16, LONGEST_TOKEN = 1024 };

/* ---- the token ---- */

static organ_status check_token(const char *file, char *text, size_t length, char **token, organ_error *error)
{
    size_t from = 0;
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    while (from < length && isspace((unsigned char)text[from]))
        from++;
    if (length - from < SHORTEST_TOKEN || length - from > LONGEST_TOKEN)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the token has %zu characters; allowed are %d to %d", file, length - from,
                          SHORTEST_TOKEN, LONGEST_TOKEN);
    for (size_t k = from; k < length; k++)
        if (text[k] <= ' ' || text[k] > '~')
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: character %zu of the token is neither a letter, a digit nor a sign of ASCII",
                              file, k - from + 1);
    *token = strndup(text + from, length - from);
    return *token ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "%s", file);
}

organ_status organ_guard_token(organ_guard *guard, const char *file, bool *open_to_others, organ_error *error)
{
    char text[LONGEST_TOKEN + 64];
    struct stat about;
    const int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return organ_fail_errno(error, errno, "%s", file);
    size_t length = 0;
    ssize_t got = 1;
    while (got > 0 && length < sizeof text) {
        got = read(fd, text + length, sizeof text - length);
        length += got > 0 ? (size_t)got : 0;
    }
    if (got < 0 || fstat(fd, &about) < 0)
        organ_fail_errno(error, errno, "%s", file);
    else
        check_token(file, text, length, &guard->token, error);
    *open_to_others = !error->status && (about.st_mode & (S_IRGRP | S_IROTH));
    explicit_bzero(text, sizeof text);
    close(fd);
    return error->status;
}

organ_status organ_guard_session(organ_guard *guard, organ_error *error)
{
    unsigned char bytes[ORGAN_SESSION_DIGITS / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return organ_fail_errno(error, errno, "random numbers for sessions");
    for (size_t k = 0; k < sizeof bytes; k++)
        snprintf(guard->session + 2 * k, 3, "%02x", bytes[k]);
    return ORGAN_OK;
}

void organ_guard_release(organ_guard *guard)
{
    if (guard->token)
        explicit_bzero(guard->token, strlen(guard->token));
    free(guard->token);
    guard->token = NULL;
    explicit_bzero(guard->session, sizeof guard->session);
}

bool organ_guard_same(const char *secret, const char *given)
{
    const size_t right = strlen(secret), length = strlen(given);
    /* As many steps as the given text is long, whatever the secret is; volatile keeps the compiler from leaving early. */
    volatile unsigned char differs = right != length;
    for (size_t k = 0; k < length; k++)
        differs |= (unsigned char)(secret[k % (right + 1)] ^ given[k]);
    return !differs;
}

/* ---- hosts and origins ---- */

static bool is_address(const char *name)
{
    unsigned char address[16];
    char bare[64];
    const size_t length = strlen(name);
    if (name[0] != '[' || length < 3 || length >= sizeof bare || name[length - 1] != ']')
        return inet_pton(AF_INET, name, address) == 1;
    memcpy(bare, name + 1, length - 2);
    bare[length - 2] = '\0';
    return inet_pton(AF_INET6, bare, address) == 1;
}

bool organ_guard_host(const organ_guard *guard, const char *host)
{
    static const char *const always[] = {"localhost", "127.0.0.1", "[::1]"};
    char name[256];
    const char *const close_bracket = host[0] == '[' ? strchr(host, ']') : NULL;
    const size_t length = close_bracket ? (size_t)(close_bracket + 1 - host) : strcspn(host, ":");
    const char *const port = host + length;
    if (length == 0 || length >= sizeof name || (*port && (*port != ':' || strspn(port + 1, "0123456789") != strlen(port + 1))))
        return false;
    memcpy(name, host, length);
    name[length] = '\0';
    for (size_t k = 0; k < sizeof always / sizeof *always; k++)
        if (strcasecmp(name, always[k]) == 0)
            return true;
    for (size_t k = 0; guard->hosts && k < guard->hosts->count; k++)
        if (strcasecmp(name, guard->hosts->word[k]) == 0)
            return true;
    /* An attacker can make a name resolve to this server (DNS rebinding), but not an address. */
    return strcasecmp(name, guard->address) == 0 || (guard->any_address && is_address(name));
}

/* Whether `origin` is the site that `host` is: "http://127.0.0.1:8935" (or https, behind a proxy). */
static bool is_site(const char *origin, const char *host)
{
    if (strncasecmp(origin, "http://", 7) == 0)
        return strcasecmp(origin + 7, host) == 0;
    return strncasecmp(origin, "https://", 8) == 0 && strcasecmp(origin + 8, host) == 0;
}

/* ---- all of it ---- */

/* How many there are of Host and of Origin. */
static enum MHD_Result count_headers(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    (void)value;
    unsigned *const counts = context;
    counts[0] += strcasecmp(name, "Host") == 0;
    counts[1] += strcasecmp(name, "Origin") == 0;
    return MHD_YES;
}

static bool host_passes(const organ_guard *guard, const organ_http_request *request, organ_http_reply *reply)
{
    unsigned counts[2] = {0, 0};
    organ_mhd.get_connection_values(request->connection, MHD_HEADER_KIND, count_headers, counts);
    const char *const host = organ_http_header(request, "Host");
    if (counts[0] != 1 || !host)
        organ_http_problem(reply, 400, "the request has %u Host headers; it needs one", counts[0]);
    else if (counts[1] > 1)
        organ_http_problem(reply, 400, "the request has %u Origin headers; at most one can be true", counts[1]);
    else if (!organ_guard_host(guard, host))
        organ_http_problem(reply, 421, "the host '%s' is none of this server's names; --host adds one", host);
    else
        return true;
    return false;
}

/* Requests other than GET must come from this server's page, or not from a browser's page. */
static bool origin_passes(const organ_http_request *request, organ_http_reply *reply)
{
    const char *const origin = organ_http_header(request, "Origin"), *const site = organ_http_header(request, "Sec-Fetch-Site");
    if (request->method == ORGAN_HTTP_GET)
        return true;
    if (origin && !is_site(origin, organ_http_header(request, "Host")))
        organ_http_problem(reply, 403, "the origin '%s' is another site", origin);
    else if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
        organ_http_problem(reply, 403, "the request comes from another site (Sec-Fetch-Site: %s)", site);
    else
        return true;
    return false;
}

typedef struct session_search {
    const organ_guard *guard;
    bool found;
} session_search;

static enum MHD_Result look_at_cookie(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    session_search *const search = context;
    (void)kind;
    if (strcmp(name, ORGAN_SESSION_COOKIE) == 0 && value)
        search->found |= organ_guard_same(search->guard->session, value);
    return MHD_YES;
}

/* Whether the request has the token or the session cookie. */
static bool admits(const organ_guard *guard, const organ_http_request *request, const char *authorization)
{
    session_search search = {.guard = guard, .found = !guard->token};
    if (guard->token && authorization && strncasecmp(authorization, "Bearer ", 7) == 0)
        return organ_guard_same(guard->token, authorization + 7 + strspn(authorization + 7, " "));
    organ_mhd.get_connection_values(request->connection, MHD_COOKIE_KIND, look_at_cookie, &search);
    return search.found;
}

bool organ_guard_passes(const organ_guard *guard, const organ_http_request *request, organ_http_reply *reply)
{
    if (!host_passes(guard, request, reply) || !origin_passes(request, reply))
        return false;
    const char *const authorization = organ_http_header(request, "Authorization");
    if ((request->route && request->route->open) || admits(guard, request, authorization))
        return true;
    organ_http_problem(reply, 401, authorization ? "the token is wrong" : "a token is needed: Authorization: Bearer TOKEN");
    organ_http_reply_header(reply, "WWW-Authenticate",
                            authorization ? "Bearer realm=\"organ\", error=\"invalid_token\"" : "Bearer realm=\"organ\"");
    if (authorization)
        organ_http_reply_wrong_token(reply);
    return false;
}
