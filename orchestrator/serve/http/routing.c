/* SPDX-License-Identifier: MIT
 * Finds the route of a request: the row of the areas' tables that matches its path and method. */
#include "orchestrator/serve/http/http_parts.h"

#include "formats/model/recognise.h"
#include "orchestrator/report/html/page.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const organ_http_method_names[ORGAN_HTTP_METHODS] = {"GET", "POST", "DELETE"};

static size_t count_slashes(const char *from, const char *to)
{
    size_t count = 0;
    for (; from < to; from++)
        count += *from == '/';
    return count;
}

/* The name is in `pattern`, which begins with "{", and ends at `name_end`; the value is [from, to) of the path. Returns
 * false if memory runs out. */
static bool add_parameter(organ_server_request *request, const char *pattern, const char *name_end, const char *from,
                          const char *to)
{
    char *const name = strndup(pattern + 1, (size_t)(name_end - pattern - 1));
    char *const value = strndup(from, (size_t)(to - from));
    request->parameters[request->parameter_count++] = (organ_http_field){name, value};
    if (!name || !value)
        return false;
    /* Cannot fail: the same bytes were decoded with the whole path. */
    organ_http_decode(value, /*form=*/false);
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
        /* [pattern, stop) and [path, to) are the segments to be compared; "{x...}", the shortest form of `several`, has
         * more than 5 bytes. */
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
            if (match_path(/*request=*/NULL, route->pattern, request->target, end) != MATCH_WHOLE)
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

/* ---- replies with files: conditional requests (ETag, dates) and single ranges ---- */

static char report_policy[320];

static void make_report_policy(void)
{
    snprintf(report_policy, sizeof report_policy,
             "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src '%s'; img-src data:; "
             "base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
             organ_html_script_hash);
}

void organ_http_reply_as_report(organ_http_reply *reply)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_report_policy);
    organ_http_reply_policy(reply, report_policy);
}

/* Another page may begin like a report, too; the policy of reports blocks its scripts. */
static bool is_own_report(const char *type, int fd)
{
    char start[sizeof ORGAN_PAGE_START - 1];
    return strncmp(type, "text/html", 9) == 0 && pread(fd, start, sizeof start, 0) == (ssize_t)sizeof start &&
           memcmp(start, ORGAN_PAGE_START, sizeof start) == 0;
}

typedef struct file_type {
    const char *end, *type;
} file_type;

static const file_type types[] = {{".html", "text/html; charset=utf-8"},
                                  {".json", "application/json"},
                                  {".jsonl", "application/x-ndjson"},
                                  {".md", "text/markdown; charset=utf-8"},
                                  {".txt", "text/plain; charset=utf-8"},
                                  {".log", "text/plain; charset=utf-8"},
                                  {".csv", "text/csv; charset=utf-8"},
                                  {".svg", "image/svg+xml"},
                                  {".png", "image/png"}};

static const char *type_of_file(const char *name)
{
    const size_t length = strlen(name);
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        const size_t end = strlen(types[k].end);
        if (length > end && strcasecmp(name + length - end, types[k].end) == 0)
            return types[k].type;
    }
    return "application/octet-stream";
}

/* Content-Disposition (RFC 6266) has the name in ASCII for old programs, and the exact name percent-encoded. A byte
 * of the name becomes at most 1 + 3 bytes of text. */
static void add_disposition(organ_http_reply *reply, const char *name)
{
    const size_t length = strlen(name);
    char *const text = malloc(4 * length + 64), *at = text;
    if (!text) {
        organ_http_problem(reply, 500, "no memory");
        return;
    }
    at += sprintf(at, "attachment; filename=\"");
    for (const char *c = name; *c; c++)
        *at++ = (*c > 0x1f && *c < 0x7f && *c != '"' && *c != '\\' && *c != '%') ? *c : '_';
    at += sprintf(at, "\"; filename*=UTF-8''");
    for (const char *c = name; *c; c++)
        if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || strchr("-._~", *c))
            *at++ = *c;
        else
            at += sprintf(at, "%%%02X", (unsigned char)*c);
    *at = '\0';
    organ_http_reply_header(reply, "Content-Disposition", text);
    free(text);
}

/* ---- conditions ---- */

typedef struct validators {
    char etag[80], modified[40];
    time_t seconds;
} validators;

/* A file that changes gets another tag: size, time and inode are parts of it. */
static void validators_of(const struct stat *about, validators *v)
{
    struct tm parts;
    v->seconds = about->st_mtim.tv_sec;
    snprintf(v->etag, sizeof v->etag, "\"%" PRIx64 "-%" PRIx64 "-%lx-%" PRIx64 "\"", (uint64_t)about->st_size,
             (uint64_t)about->st_mtim.tv_sec, about->st_mtim.tv_nsec, (uint64_t)about->st_ino);
    gmtime_r(&v->seconds, &parts);
    strftime(v->modified, sizeof v->modified, "%a, %d %b %Y %H:%M:%S GMT", &parts);
}

/* The only accepted form is "Sun, 06 Nov 1994 08:49:37 GMT". */
static bool read_date(const char *text, time_t *seconds)
{
    struct tm parts = {0};
    const char *const end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    *seconds = timegm(&parts);
    return end && !*end;
}

bool organ_http_has_tag(const organ_server_request *request, const char *etag)
{
    const char *list = organ_http_header(request, "If-None-Match");
    const size_t length = strlen(etag);
    while (list && *list) {
        list += strspn(list, ", \t");
        if (*list == '*')
            return true;
        list += strncmp(list, "W/", 2) == 0 ? 2 : 0;
        const char *const close_quote = *list == '"' ? strchr(list + 1, '"') : NULL;
        const size_t size = close_quote ? (size_t)(close_quote + 1 - list) : strcspn(list, ",");
        if (size == length && strncmp(list, etag, length) == 0)
            return true;
        list += size;
    }
    return false;
}

static bool is_not_modified(const organ_server_request *request, const validators *v)
{
    const char *const since = organ_http_header(request, "If-Modified-Since");
    time_t seconds;
    if (organ_http_header(request, "If-None-Match"))
        return organ_http_has_tag(request, v->etag);
    return since && read_date(since, &seconds) && v->seconds <= seconds;
}

static bool range_is_allowed(const organ_server_request *request, const validators *v)
{
    const char *const condition = organ_http_header(request, "If-Range");
    time_t seconds;
    if (!condition)
        return true;
    if (*condition == '"')
        return strcmp(condition, v->etag) == 0;
    return read_date(condition, &seconds) && seconds == v->seconds;
}

/* ---- ranges ---- */

typedef enum range_kind { RANGE_NONE, RANGE_GOOD, RANGE_BEYOND } range_kind;

/* More than 18 digits might exceed 64 bits. */
static bool read_range_offset(const char **text, uint64_t *number)
{
    const size_t digits = strspn(*text, "0123456789");
    if (digits == 0 || digits > 18)
        return false;
    *number = strtoull(*text, NULL, 10);
    *text += digits;
    return true;
}

/* The forms are "bytes=5-9", "bytes=5-" and "bytes=-5", for a file of `size` bytes. *from becomes the offset of the
 * first byte, *run the number of bytes. Returns RANGE_NONE for all other forms, several ranges included: the caller
 * then sends the whole file. `last` is the second number of "5-9"; with `tail`, the 5 of "-5", the number of bytes
 * at the end. */
static range_kind read_range(const char *text, uint64_t size, uint64_t *from, uint64_t *run)
{
    static const char unit[] = "bytes=";
    uint64_t last = UINT64_MAX;
    if (!text || strncasecmp(text, unit, strlen(unit)) != 0)
        return RANGE_NONE;
    text += strlen(unit);
    const bool tail = *text == '-';
    *from = 0;
    text += tail;
    if (!read_range_offset(&text, tail ? &last : from))
        return RANGE_NONE;
    if (!tail && (*text++ != '-' || (*text && !read_range_offset(&text, &last)) || last < *from))
        return RANGE_NONE;
    if (*text)
        return RANGE_NONE;
    if (tail ? last == 0 || size == 0 : *from >= size)
        return RANGE_BEYOND;
    if (tail) {
        *run = last < size ? last : size;
        *from = size - *run;
    } else
        *run = (last < size - 1 ? last + 1 : size) - *from;
    return RANGE_GOOD;
}

/* ---- the reply ---- */

/* Cache-Control makes browsers check their copy before each use. */
static void add_validators(organ_http_reply *reply, const validators *v)
{
    organ_http_reply_header(reply, "ETag", v->etag);
    organ_http_reply_header(reply, "Last-Modified", v->modified);
    organ_http_reply_header(reply, "Cache-Control", "private, no-cache");
}

/* Browsers display reports of this program, and offer all other files for saving. Leaves a reply unchanged that became
 * a 500, because memory ran out. */
static void add_presentation(organ_http_reply *reply, const char *name)
{
    if (reply->kind != REPLY_FILE)
        return;
    reply->type = type_of_file(name);
    if (is_own_report(reply->type, reply->fd))
        organ_http_reply_as_report(reply);
    else
        add_disposition(reply, name);
}

/* Sends `run` bytes from the offset `from` on if the range is good; otherwise the whole file. */
static void send_part(organ_http_reply *reply, int fd, uint64_t size, range_kind range, uint64_t from, uint64_t run)
{
    char text[80];
    organ_http_reply_clear(reply);
    *reply = (organ_http_reply){.kind = REPLY_FILE, .status = 200, .fd = fd, .run = size};
    if (range == RANGE_GOOD) {
        reply->status = 206;
        reply->from = from;
        reply->run = run;
        snprintf(text, sizeof text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, from, from + run - 1, size);
        organ_http_reply_header(reply, "Content-Range", text);
    }
    organ_http_reply_header(reply, "Accept-Ranges", "bytes");
}

void organ_http_reply_file(organ_http_reply *reply, const organ_server_request *request, int fd, const char *name)
{
    struct stat about;
    validators v;
    uint64_t from = 0, run = 0;
    char text[64];
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) {
        close(fd);
        organ_http_problem(reply, 500, "'%s' is not a regular file", name);
        return;
    }
    const uint64_t size = (uint64_t)about.st_size;
    validators_of(&about, &v);
    if (is_not_modified(request, &v)) {
        close(fd);
        organ_http_reply_empty(reply, 304);
        add_validators(reply, &v);
        return;
    }
    const bool ranged = !request->head && range_is_allowed(request, &v);
    const range_kind range = ranged ? read_range(organ_http_header(request, "Range"), size, &from, &run) : RANGE_NONE;
    if (range == RANGE_BEYOND) {
        close(fd);
        organ_http_problem(reply, 416, "'%s' has %" PRIu64 " bytes; the range begins after its end", name, size);
        snprintf(text, sizeof text, "bytes */%" PRIu64, size);
        organ_http_reply_header(reply, "Content-Range", text);
        return;
    }
    send_part(reply, fd, size, range, from, run);
    add_validators(reply, &v);
    add_presentation(reply, name);
}

/* ---- /files: files below the root ---- */

enum { MAX_ENTRIES = 100000 };

static json_t *entry_json(const organ_jail_entry *entry)
{
    return json_pack("{s:s, s:s, s:o*, s:I}", "name", entry->name, "type", entry->directory ? "directory" : "file",
                     "bytes", entry->directory ? NULL : json_integer((json_int_t)entry->bytes), "modified",
                     (json_int_t)entry->modified);
}

/* Returns at most `limit` entries, those after the name `cursor` (NULL: from the first on). "next" is the cursor of the
 * next page, null on the last. NULL if out of memory. */
static json_t *entries_page(const char *path, const organ_jail_entry *entries, size_t count, const char *cursor,
                            uint64_t limit)
{
    json_t *const page = json_array();
    size_t from = 0;
    bool complete = page != NULL;
    while (cursor && from < count && strcmp(entries[from].name, cursor) <= 0)
        from++;
    size_t k = from;
    for (; k < count && k - from < limit; k++)
        complete = json_array_append_new(page, entry_json(&entries[k])) == 0 && complete;
    json_t *const next = k < count ? json_string(entries[k - 1].name) : json_null();
    json_t *const document =
        json_pack("{s:s, s:I, s:o, s:o}", "path", path, "total", (json_int_t)count, "entries", page, "next", next);
    if (complete)
        return document;
    json_decref(document);
    return NULL;
}

static void reply_directory(const organ_server_request *request, organ_http_reply *reply, const char *path)
{
    organ_jail_entry *entries;
    size_t count;
    uint64_t limit;
    bool cut;
    organ_error error = {0};
    if (!organ_http_query_count(request, reply, "limit", /*from=*/1, /*to=*/10000, /*fallback=*/1000, &limit))
        return;
    const unsigned status =
        organ_jail_list(organ_http_app(request)->jail, path, MAX_ENTRIES, &entries, &count, &cut, &error);
    if (status)
        organ_http_problem(reply, status, "%s", error.message);
    else if (cut)
        organ_http_problem(reply, 422, "'%s' has more than %d entries, too many to list", path, MAX_ENTRIES);
    else
        organ_http_reply_json(reply, 200,
                              entries_page(path, entries, count, organ_http_query(request, "cursor"), limit));
    organ_jail_list_free(entries, count);
}

static void get_root(const organ_server_request *request, organ_http_reply *reply)
{
    reply_directory(request, reply, "");
}

static void get_file(const organ_server_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    const char *const path = organ_http_parameter(request, "path"), *const slash = strrchr(path, '/');
    struct stat about;
    int fd;
    organ_error error = {0};
    unsigned status = organ_jail_stat(app->jail, path, &about, &error);
    if (!status && S_ISDIR(about.st_mode)) {
        reply_directory(request, reply, path);
        return;
    }
    status = status ? status : organ_jail_file(app->jail, path, &fd, /*about=*/NULL, &error);
    if (status)
        organ_http_problem(reply, status, "%s", error.message);
    else
        organ_http_reply_file(reply, request, fd, slash ? slash + 1 : path);
}

static const organ_http_route routes[] = {{ORGAN_HTTP_GET, "/files", get_root, .waits = true},
                                          {ORGAN_HTTP_GET, "/files/{path...}", get_file, .waits = true}};

const organ_area organ_area_files = {ORGAN_ROUTES(routes)};
