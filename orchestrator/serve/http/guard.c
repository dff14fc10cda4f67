/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/guard.h"

#include "orchestrator/serve/http/http_parts.h"

#include <arpa/inet.h>
#include <string.h>

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
    if (length == 0 || length >= sizeof name ||
        (*port && (*port != ':' || strspn(port + 1, "0123456789") != strlen(port + 1))))
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

/* The Origin must be "http://HOST" or "https://HOST". A server that does not encrypt accepts both, because a proxy
 * may encrypt for it; a server that encrypts accepts https only. */
static bool is_site(const organ_guard *guard, const char *origin, const char *host)
{
    if (!guard->encrypted && strncasecmp(origin, "http://", 7) == 0)
        return strcasecmp(origin + 7, host) == 0;
    return strncasecmp(origin, "https://", 8) == 0 && strcasecmp(origin + 8, host) == 0;
}

/* ---- checks of a request ---- */

static enum MHD_Result count_headers(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    (void)value;
    unsigned *const counts = context;
    counts[0] += strcasecmp(name, "Host") == 0;
    counts[1] += strcasecmp(name, "Origin") == 0;
    return MHD_YES;
}

static bool host_passes(const organ_guard *guard, const organ_server_request *request, organ_http_reply *reply)
{
    unsigned counts[2] = {0, 0};
    organ_mhd.get_connection_values(request->connection, MHD_HEADER_KIND, count_headers, counts);
    const char *const host = organ_http_header(request, "Host");
    if (counts[0] != 1 || !host)
        organ_http_problem(reply, 400, "the request has %u Host headers; it needs one", counts[0]);
    else if (counts[1] > 1)
        organ_http_problem(reply, 400, "the request has %u Origin headers; at most one is allowed", counts[1]);
    else if (!organ_guard_host(guard, host))
        organ_http_problem(reply, 421, "the host '%s' is not a name of this server; --host adds names", host);
    else
        return true;
    return false;
}

static bool origin_passes(const organ_guard *guard, const organ_server_request *request, organ_http_reply *reply)
{
    const char *const origin = organ_http_header(request, "Origin"), *const site =
                                                                         organ_http_header(request, "Sec-Fetch-Site");
    if (request->method == ORGAN_HTTP_GET)
        return true;
    if (origin && !is_site(guard, origin, organ_http_header(request, "Host")))
        organ_http_problem(reply, 403, "the origin '%s' is another site", origin);
    else if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
        organ_http_problem(reply, 403, "the request comes from another site (Sec-Fetch-Site: %s)", site);
    else
        return true;
    return false;
}

typedef struct session_search {
    const organ_guard *guard;
    organ_bearer *bearer;
    bool found;
} session_search;

static enum MHD_Result read_cookie(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    session_search *const search = context;
    (void)kind;
    if (strcmp(name, ORGAN_SESSION_COOKIE) == 0 && value &&
        organ_tokens_check_session(search->guard->tokens, value, search->bearer))
        search->found = true;
    return MHD_YES;
}

/* If the server needs no token, *bearer gets the name "" and the role run. `authorization` is the Authorization
 * header or NULL; if it is a Bearer, the cookie is not used. */
static bool check_credentials(const organ_guard *guard, const organ_server_request *request, const char *authorization,
                              organ_bearer *bearer)
{
    session_search search = {.guard = guard, .bearer = bearer};
    *bearer = (organ_bearer){.access = ORGAN_ACCESS_RUN};
    if (!guard->tokens)
        return true;
    if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0)
        return organ_tokens_check(guard->tokens, authorization + 7 + strspn(authorization + 7, " "), bearer);
    organ_mhd.get_connection_values(request->connection, MHD_COOKIE_KIND, read_cookie, &search);
    return search.found;
}

static bool role_permits(const organ_server_request *request, const organ_bearer *bearer, organ_http_reply *reply)
{
    if (bearer->access == ORGAN_ACCESS_RUN || request->method == ORGAN_HTTP_GET ||
        (request->route && request->route->open))
        return true;
    organ_http_problem(reply, 403, "the token '%s' has the role read; %s needs the role run", bearer->name,
                       request->verb);
    return false;
}

/* The order is host, origin, token and role; the first failed check fills the reply. A request for an open route
 * passes without a token. */
bool organ_guard_passes(const organ_guard *guard, const organ_server_request *request, organ_http_reply *reply)
{
    organ_bearer bearer;
    if (!host_passes(guard, request, reply) || !origin_passes(guard, request, reply))
        return false;
    const char *const authorization = organ_http_header(request, "Authorization");
    const bool admitted = check_credentials(guard, request, authorization, &bearer);
    if (admitted)
        organ_http_done_by(request, bearer.name, bearer.access == ORGAN_ACCESS_RUN);
    if (admitted || (request->route && request->route->open))
        return role_permits(request, &bearer, reply);
    organ_http_problem(reply, 401,
                       authorization ? "the token is wrong" : "a token is needed: Authorization: Bearer TOKEN");
    organ_http_reply_header(reply, "WWW-Authenticate",
                            authorization ? "Bearer realm=\"organ\", error=\"invalid_token\""
                                          : "Bearer realm=\"organ\"");
    if (authorization)
        organ_http_reply_wrong_token(reply);
    return false;
}
