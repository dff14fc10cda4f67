/* SPDX-License-Identifier: MIT
 * Finds the route of a request: the row of the areas' tables that matches its path and method. */
#include "orchestrator/serve/http/http_parts.h"

#include <string.h>

const char *const organ_http_method_names[ORGAN_HTTP_METHODS] = {"GET", "POST", "DELETE"};

static size_t count_slashes(const char *from, const char *to)
{
    size_t count = 0;
    for (; from < to; from++)
        count += *from == '/';
    return count;
}

static bool add_parameter(organ_server_request *request, const char *pattern, const char *name_end, const char *from,
                          const char *to)
{
    char *const name = strndup(pattern + 1, (size_t)(name_end - pattern - 1)), *const value =
                                                                                   strndup(from, (size_t)(to - from));
    request->parameters[request->parameter_count++] = (organ_http_field){name, value};
    if (!name || !value)
        return false;
    /* Cannot fail: the same bytes were decoded with the whole path. */
    organ_http_decode(value, false);
    return true;
}

typedef enum match { MATCH_NONE, MATCH_WHOLE, MATCH_NO_MEMORY } match;

/* "{name}" (`named`) matches one segment; "{name...}" (`several`) matches all segments except the last ones, which
 * the rest of the pattern needs. Sets the parameters of `request`; if `request` is NULL, only tests whether the path
 * matches. */
static match match_path(organ_server_request *request, const char *pattern, const char *path, const char *end)
{
    while (*pattern == '/' && path < end) {
        pattern++, path++;
        /* [pattern, stop) and [path, to) are the segments to be compared. */
        const char *const stop = pattern + strcspn(pattern, "/"), *to = memchr(path, '/', (size_t)(end - path));
        const bool named = *pattern == '{', several = named && stop - pattern > 5 && memcmp(stop - 4, "...}", 4) == 0;
        to = to ? to : end;
        for (size_t more = several ? count_slashes(to, end) : 0; more > count_slashes(stop, stop + strlen(stop));
             more--) {
            to = memchr(to + 1, '/', (size_t)(end - to - 1));
            to = to ? to : end;
        }
        if (!named && (to - path != stop - pattern || memcmp(path, pattern, (size_t)(to - path)) != 0))
            return MATCH_NONE;
        if (named && request && !add_parameter(request, pattern, stop - (several ? 4 : 1), path, to))
            return MATCH_NO_MEMORY;
        pattern = stop;
        path = to;
    }
    return !*pattern && path == end ? MATCH_WHOLE : MATCH_NONE;
}

/* known[m] is true for each organ_http_method m that the path has; these become the header Allow ("GET, HEAD,
 * POST"). */
static void refuse_method(organ_server_request *request, const bool *known)
{
    char allowed[64] = "";
    for (int m = 0; m < ORGAN_HTTP_METHODS; m++)
        if (known[m]) {
            strcat(allowed, *allowed ? ", " : "");
            strcat(allowed, m == ORGAN_HTTP_GET ? "GET, HEAD" : organ_http_method_names[m]);
        }
    organ_http_problem(&request->reply, 405, "%s is not allowed here; allowed are %s", request->verb, allowed);
    organ_http_reply_header(&request->reply, "Allow", allowed);
}

static void read_method(organ_server_request *request)
{
    int m = 0;
    request->head = strcmp(request->verb, "HEAD") == 0;
    while (m < ORGAN_HTTP_METHODS && strcmp(request->head ? "GET" : request->verb, organ_http_method_names[m]) != 0)
        m++;
    request->method = (organ_http_method)m;
}

/* Matches the target as received, without its query and a final slash. */
bool organ_http_routed(organ_server_request *request)
{
    bool known[ORGAN_HTTP_METHODS] = {0}, any = false;
    const char *end = request->target + strcspn(request->target, "?");
    end -= end > request->target + 1 && end[-1] == '/';
    read_method(request);
    for (const organ_area *const *area = request->app->areas; *area && !request->route; area++)
        for (size_t k = 0; k < (*area)->route_count && !request->route; k++) {
            const organ_http_route *const route = &(*area)->routes[k];
            if (match_path(NULL, route->pattern, request->target, end) != MATCH_WHOLE)
                continue;
            any = known[route->method] = true;
            request->route = route->method == request->method ? route : NULL;
        }
    if (!request->route && any)
        refuse_method(request, known);
    else if (!request->route)
        organ_http_problem(&request->reply, 404, "%s does not exist", request->path);
    else if (match_path(request, request->route->pattern, request->target, end) == MATCH_NO_MEMORY)
        organ_http_problem(&request->reply, 500, "no memory");
    else
        return true;
    request->route = NULL;
    return false;
}
