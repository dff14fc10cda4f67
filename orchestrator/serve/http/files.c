/* SPDX-License-Identifier: MIT
 * Fills replies with files; supports conditional requests (ETag, dates) and single ranges. */
#include "formats/model/recognise.h"
#include "orchestrator/report/html/page.h"
#include "orchestrator/serve/http/http_parts.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
 * of the name becomes at most 1 + 3 bytes of text. Adds nothing if memory runs out. */
static void add_disposition(organ_http_reply *reply, const char *name)
{
    const size_t length = strlen(name);
    char *const text = malloc(4 * length + 64), *at = text;
    if (!text)
        return;
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

/* A weak tag ("W/") matches as well. */
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
    uint64_t last = UINT64_MAX;
    if (!text || strncasecmp(text, "bytes=", 6) != 0)
        return RANGE_NONE;
    text += 6;
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

/* Browsers display reports of this program, and offer all other files for saving. */
static void add_presentation(organ_http_reply *reply, const char *name)
{
    reply->type = type_of_file(name);
    if (is_own_report(reply->type, reply->fd))
        organ_http_reply_as_report(reply);
    else
        add_disposition(reply, name);
}

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
