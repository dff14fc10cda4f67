/* SPDX-License-Identifier: MIT
 * From a path to the row of the table that answers it. */
#include "orchestrator/serve/http/parts.h"

#include <stdlib.h>
#include <string.h>

static const char *const method_names[ORGAN_HTTP_METHODS] = {"GET", "POST", "DELETE"};

/* A path or a pattern in its segments. */
typedef struct segments {
    const char *at[64];
    size_t length[64], count;
} segments;

static bool split(const char *path, size_t length, segments *s)
{
    s->count = 0;
    for (size_t from = 1; from < length;) {
        const char *const slash = memchr(path + from, '/', length - from);
        if (s->count == 64)
            return false;
        s->at[s->count] = path + from;
        s->length[s->count] = (slash ? (size_t)(slash - path) : length) - from;
        from += s->length[s->count++] + 1;
    }
    return true;
}

static bool is_rest(const segments *pattern, size_t k)
{
    return pattern->length[k] > 5 && memcmp(pattern->at[k] + pattern->length[k] - 4, "...}", 4) == 0;
}

/* How many segments of the path the pattern's k-th takes. */
static size_t share_of(const segments *pattern, size_t k, const segments *path)
{
    return is_rest(pattern, k) ? path->count - (pattern->count - 1) : 1;
}

static bool fits(const segments *pattern, const segments *path)
{
    bool rest = false;
    for (size_t k = 0; k < pattern->count; k++)
        rest = rest || is_rest(pattern, k);
    if (rest ? path->count < pattern->count : path->count != pattern->count)
        return false;
    for (size_t k = 0, at = 0; k < pattern->count; at += share_of(pattern, k, path), k++) {
        const bool same = pattern->length[k] == path->length[at] && memcmp(pattern->at[k], path->at[at], path->length[at]) == 0;
        if (pattern->at[k][0] != '{' && !same)
            return false;
    }
    return true;
}

/* False without memory. */
static bool take(organ_http_request *request, const segments *pattern, const segments *path)
{
    for (size_t k = 0, at = 0; k < pattern->count; at += share_of(pattern, k, path), k++) {
        if (pattern->at[k][0] != '{')
            continue;
        const size_t last = at + share_of(pattern, k, path) - 1;
        const size_t name_length = pattern->length[k] - (is_rest(pattern, k) ? 5 : 2);
        char *const value = strndup(path->at[at], (size_t)(path->at[last] + path->length[last] - path->at[at]));
        char *const name = strndup(pattern->at[k] + 1, name_length);
        request->parameters[request->parameter_count++] = (organ_http_field){name, value};
        if (!value || !name)
            return false;
        /* Cannot fail: the same bytes were decoded with the whole path. */
        organ_http_decode(value, false);
    }
    return true;
}

/* "GET, HEAD, POST" of the methods that the path knows. */
static void refuse_method(organ_http_request *request, const bool *known)
{
    char allowed[64] = "";
    for (int m = 0; m < ORGAN_HTTP_METHODS; m++)
        if (known[m]) {
            strcat(allowed, *allowed ? ", " : "");
            strcat(allowed, m == ORGAN_HTTP_GET ? "GET, HEAD" : method_names[m]);
        }
    organ_http_problem(&request->reply, 405, "%s is not allowed here; allowed are %s", request->verb, allowed);
    organ_http_reply_header(&request->reply, "Allow", allowed);
}

static bool read_method(organ_http_request *request)
{
    request->head = strcmp(request->verb, "HEAD") == 0;
    for (int m = 0; m < ORGAN_HTTP_METHODS; m++)
        if (strcmp(request->head ? "GET" : request->verb, method_names[m]) == 0) {
            request->method = (organ_http_method)m;
            return true;
        }
    request->method = ORGAN_HTTP_METHODS;
    return false;
}

static bool try_route(organ_http_request *request, const organ_http_route *route, const segments *path, bool *known)
{
    segments pattern;
    if (!split(route->pattern, strlen(route->pattern), &pattern) || !fits(&pattern, path))
        return false;
    known[route->method] = true;
    if (route->method != request->method)
        return false;
    request->route = route;
    return true;
}

bool organ_http_routed(organ_http_request *request)
{
    segments path, pattern;
    bool known[ORGAN_HTTP_METHODS] = {0}, any = false;
    size_t length = strcspn(request->target, "?");
    length -= length > 1 && request->target[length - 1] == '/';
    const bool method = read_method(request), parted = split(request->target, length, &path);
    for (const organ_area *const *area = request->app->areas; parted && *area && !request->route; area++)
        for (size_t k = 0; k < (*area)->route_count && !request->route; k++)
            try_route(request, &(*area)->routes[k], &path, known);
    for (int m = 0; m < ORGAN_HTTP_METHODS; m++)
        any = any || known[m];
    if (!request->route && any)
        refuse_method(request, known);
    else if (!request->route)
        organ_http_problem(&request->reply, 404, "there is nothing at %s", request->path);
    else if (!method || !split(request->route->pattern, strlen(request->route->pattern), &pattern) || !take(request, &pattern, &path))
        organ_http_problem(&request->reply, 500, "no memory");
    else
        return true;
    request->route = NULL;
    return false;
}
