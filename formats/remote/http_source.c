/* SPDX-License-Identifier: MIT */
#include "formats/base/plain_numbers.h"
#include "formats/remote/remote.h"

#include "formats/base/activity.h"
#include "formats/remote/http_request.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define USUAL_TRIES 12 /* tries of a request without progress */
/* Tries before the server has answered for the first time: few, so that a mistyped name fails quickly. */
#define GREETING_TRIES   3
#define USUAL_FIRST_WAIT 500    /* ms before the second try */
#define USUAL_PATIENCE   60     /* seconds that a server may ask to wait */
#define USUAL_READ       300000 /* ms for one read, without waits */
#define LONGEST_WAIT     30000  /* ms between two tries, unless the server asks for more */
/* Bytes that a small read requests at first (FIRST_SPAN) and at most (LONGEST_SPAN); later reads are served from these
 * bytes. If reads continue near the end of a span, read_ahead makes the next span twice as long. */
#define FIRST_SPAN   ((size_t)1 << 18)
#define LONGEST_SPAN ((size_t)4 << 20)
/* Number of spans: enough for threads that read several tensors at once not to discard each other's spans. */
#define SPANS      8
#define LARGE_READ ((size_t)1 << 20) /* bytes from which on a read requests its range instead of reading ahead */

/* A span is bytes of one file that were read ahead. */
typedef struct http_source_span {
    const organ_http_file *file; /* NULL if the span is empty */
    uint64_t from;               /* file offset of its first byte */
    size_t length, step;         /* bytes in the span; bytes that were requested for it */
    uint64_t
        used; /* organ_http.uses at the last use of the span; read_ahead replaces the span with the smallest `used` */
    char *bytes; /* memory of LONGEST_SPAN bytes; NULL before the first use */
} http_source_span;

struct organ_http {
    const organ_model_access *access;
    pthread_mutex_t lock; /* guards all members below */
    organ_http_line *line;
    char *base, *shown, *query; /* URL of the directory; the same without user and password; "?QUERY" or "" */
    bool paths;                 /* '/' in the name of a file separates folders; else it is part of the name */
    bool has_responded;         /* the server has answered at least one request */
    double spent;               /* seconds that the requests of the current read have taken */
    uint64_t taken;             /* bytes that the current read has received */
    http_source_span ahead[SPANS];
    uint64_t uses; /* number of uses of spans so far */
};

struct organ_http_file {
    organ_http *http;
    char *url, *shown; /* its URL; the same without user, password and query, for messages */
    char *resolved;    /* target of the last redirect of `url`, which the next request uses; or NULL */
    uint64_t size;     /* bytes */
    bool known;        /* size and validator are set: the server has answered a request for the file */
    bool absent;       /* the server answered that the file does not exist */
    char validator[ORGAN_HTTP_VALIDATOR]; /* ETag or Last-Modified of the first answer, or "" */
};

static organ_status split_url(organ_http *http, const char *url, organ_error *error)
{
    char *text = organ_http_without_secrets(url);
    const bool directory = text && !organ_http_names_file(text);
    size_t path = strcspn(url, "?#"), shown = text ? strlen(text) : 0;
    const char *const query = url[path] == '?' ? &url[path] : NULL; /* a '?' after '#' belongs to the fragment */
    while (path > 0 && (directory ? url[path - 1] == '/' : url[path - 1] != '/'))
        path--;
    while (shown > 0 && (directory ? text[shown - 1] == '/' : text[shown - 1] != '/'))
        shown--;
    const char *const slash = directory ? "/" : "";
    http->base = organ_format("%.*s%s", (int)path, url, slash);
    http->shown = organ_format("%.*s%s", (int)shown, text ? text : "", slash);
    http->query = query ? strndup(query, strcspn(query, "#")) : strdup("");
    organ_curl.free(text);
    return http->base && http->query && http->shown ? ORGAN_OK
                                                    : organ_fail_errno(error, ENOMEM, "the URL of the model");
}

organ_status organ_http_create(const char *url, const organ_model_access *access, organ_http **result,
                               organ_error *error)
{
    static const organ_model_access usual;
    organ_http *http = *result = calloc(1, sizeof *http);
    if (!http)
        return organ_fail_errno(error, ENOMEM, "the URL of the model");
    http->access = access ? access : &usual;
    pthread_mutex_init(&http->lock, NULL);
    if (organ_http_line_open(http->access, &http->line, error) == ORGAN_OK)
        split_url(http, url, error);
    if (error->status) {
        organ_http_destroy(http);
        *result = NULL;
    }
    return error->status;
}

void organ_http_destroy(organ_http *http)
{
    if (!http)
        return;
    organ_http_line_close(http->line);
    for (size_t k = 0; k < SPANS; k++)
        free(http->ahead[k].bytes);
    ORGAN_FREE_ARRAYS(http->base, http->shown, http->query);
    pthread_mutex_destroy(&http->lock);
    free(http);
}

/* ---- one request, repeated until it is answered ---- */

static bool reading_is_stopped(const organ_http *http)
{
    return http->access->stopped && http->access->stopped(http->access->context);
}

static organ_status fail_interrupted(organ_error *error) { return organ_fail(error, ORGAN_INTERRUPTED, "interrupted"); }

static organ_status pause_for(const organ_http *http, unsigned ms, organ_error *error)
{
    while (ms > 0 && !reading_is_stopped(http)) {
        const unsigned step = ms < 100 ? ms : 100;
        nanosleep(&(struct timespec){.tv_nsec = (long)step * 1000000}, NULL);
        ms -= step;
    }
    return reading_is_stopped(http) ? fail_interrupted(error) : ORGAN_OK;
}

static bool is_transient_fault(long code) { return code == 408 || code == 425 || code == 429 || code >= 500; }

static void describe_fault(const organ_http_answer *answer, char out[320])
{
    if (answer->broken && (answer->hopeless || !answer->code))
        snprintf(out, 320, "%s", answer->fault);
    else if (answer->broken || answer->code == 206)
        snprintf(out, 320, "the answer broke off (%s)", *answer->fault ? answer->fault : "no data arrived");
    else
        snprintf(out, 320, "the server answers with status %ld", answer->code);
}

/* The wait doubles with each failure up to LONGEST_WAIT; a longer wait that the server asks for is used instead.
 * Returns an error instead of waiting if no tries are left, if a further try cannot help, or if the server asks for
 * more than the allowed patience. `at` is the file offset of the request, for messages. */
static organ_status wait_or_fail(organ_http_file *file, const organ_http_answer *answer, uint64_t at, unsigned failures,
                                 organ_error *error)
{
    organ_http *http = file->http;
    const organ_model_access *access = http->access;
    const unsigned default_tries = http->has_responded ? USUAL_TRIES : GREETING_TRIES;
    const unsigned tries = access->tries ? access->tries : default_tries;
    const unsigned patience = access->patience ? access->patience : USUAL_PATIENCE;
    char what[320], note[900];
    describe_fault(answer, what);
    if (answer->retry_after > patience)
        return organ_fail(error, ORGAN_IO,
                          "%s: cannot be read at byte %" PRIu64
                          ": %s and asks to wait %u s, longer than %u s (`patience`)",
                          file->shown, at, what, answer->retry_after, patience);
    if (failures >= tries || answer->hopeless)
        return organ_fail(error, ORGAN_IO, "%s: cannot be read at byte %" PRIu64 ": %s (%u %s)", file->shown, at, what,
                          failures, failures == 1 ? "try" : "tries");
    uint64_t ms = (uint64_t)(access->first_wait_ms ? access->first_wait_ms : USUAL_FIRST_WAIT)
                  << (failures < 16 ? failures - 1 : 15);
    if (ms > LONGEST_WAIT)
        ms = LONGEST_WAIT;
    if (answer->retry_after && (uint64_t)answer->retry_after * 1000 > ms)
        ms = (uint64_t)answer->retry_after * 1000;
    organ_snprintf(note, sizeof note, "%.400s: at byte %" PRIu64 ": %s; trying again in %.1f s", file->shown, at, what,
                   (double)ms / 1000.0);
    if (access->note)
        access->note(access->context, note);
    return pause_for(http, (unsigned)ms, error);
}

static organ_status fail_code(organ_http_file *file, long code, organ_error *error)
{
    file->absent = code == 404 || code == 410;
    if (code == 401 || code == 403)
        return organ_fail(
            error, ORGAN_IO,
            "%s: the server answers with status %ld: authentication is required or access is denied (`headers`)",
            file->shown, code);
    return organ_fail(error, ORGAN_IO, "%s: the server answers with status %ld%s", file->shown, code,
                      file->absent ? ": no such file" : "");
}

static organ_status fail_changed(const organ_http_file *file, const char *what, const char *before, const char *now,
                                 organ_error *error)
{
    return organ_refuse(error, file->shown,
                        "was changed on the server while it was in use: its %s was %s and is now %s", what, before,
                        *now ? now : "no longer sent");
}

/* The first answer for a file sets its size and validator (ETag or date); a later answer with others means that the
 * file was changed on the server during the run. */
static organ_status check_same_file(organ_http_file *file, const organ_http_answer *answer, organ_error *error)
{
    char before[32], now[32];
    if (!file->known) {
        file->known = true;
        file->size = answer->total;
        memcpy(file->validator, answer->validator, sizeof file->validator);
    }
    snprintf(before, sizeof before, "%" PRIu64 " bytes", file->size);
    snprintf(now, sizeof now, "%" PRIu64 " bytes", answer->total);
    if (answer->total != file->size)
        return fail_changed(file, "size", before, now, error);
    if (strcmp(answer->validator, file->validator) != 0)
        return fail_changed(file, "ETag or time of modification", *file->validator ? file->validator : "not sent",
                            answer->validator, error);
    return ORGAN_OK;
}

static organ_status check_part(organ_http_file *file, const organ_http_request *request,
                               const organ_http_answer *answer, organ_error *error)
{
    const uint64_t last = request->from + (request->capacity - 1);
    if (answer->code == 416 && !file->known && answer->total == 0)
        return organ_refuse(error, file->shown, "is empty");
    if (answer->code == 416)
        return organ_refuse(error, file->shown, "no longer has byte %" PRIu64 ": it was changed on the server",
                            request->from);
    if (answer->code == 200)
        return organ_refuse(
            error, file->shown,
            "the server does not serve parts of files (status 200 for a range): download the file first");
    if (answer->code != 206)
        return fail_code(file, answer->code, error);
    if (!answer->has_range)
        return organ_refuse(error, file->shown, "the server answers a range request without a valid Content-Range");
    if (answer->encoded)
        return organ_refuse(error, file->shown, "the server sends its bytes compressed");
    if (answer->first != request->from || answer->last > last || answer->too_long)
        return organ_refuse(error, file->shown,
                            "bytes %" PRIu64 "-%" PRIu64 " were requested, but the server sends %s%" PRIu64 "-%" PRIu64,
                            request->from, last, answer->too_long ? "more than " : "", answer->first, answer->last);
    return check_same_file(file, answer, error);
}

/* URLs at the end of redirects expire. After a result of true the original URL must be requested again. */
static bool forget_expired(organ_http_file *file, const organ_http_answer *answer)
{
    const long code = answer->code;
    if (!file->resolved || answer->broken || (code != 401 && code != 403 && code != 404 && code != 410))
        return false;
    organ_clear(&file->resolved);
    return true;
}

static void remember_place(organ_http_file *file, organ_http_answer *answer)
{
    if (!answer->resolved)
        return;
    free(file->resolved);
    file->resolved = answer->code == 206 ? answer->resolved : NULL;
    if (!file->resolved)
        free(answer->resolved);
    answer->resolved = NULL;
}

/* A part whose transfer broke off is usable if it has at least one byte: the caller then requests the bytes after
 * the last one. */
static bool is_usable_answer(const organ_http_request *request, const organ_http_answer *answer)
{
    if (is_transient_fault(answer->code))
        return false;
    if (request->ranged && answer->code == 206)
        return answer->got > 0;
    return !answer->broken || answer->too_long;
}

/* The two numbers limit how long the read may take. */
static void reset_read_budget(organ_http *http)
{
    http->spent = 0;
    http->taken = 0;
}

/* The time limit of a read is read_ms, plus the time that its received bytes need at ORGAN_HTTP_MIN_RATE; a request
 * may use the part of this time that earlier requests of the same read left. */
static void request_once(organ_http *http, organ_http_request *request, organ_http_answer *answer)
{
    const double max = (double)(http->access->read_ms ? http->access->read_ms : USUAL_READ) / 1000;
    const uint64_t from = organ_activity_time();
    request->seconds = max + (double)http->taken / ORGAN_HTTP_MIN_RATE - http->spent;
    organ_http_ask(http->line, request, answer);
    http->spent += 1e-9 * (double)(organ_activity_time() - from);
    http->taken += answer->got;
}

/* The caller releases the body of the answer. */
static organ_status request_with_retries(organ_http_file *file, organ_http_request *request, organ_http_answer *answer,
                                         organ_error *error)
{
    for (unsigned failures = 0;;) {
        request->url = file->resolved ? file->resolved : file->url;
        request->origin_url = file->url;
        request_once(file->http, request, answer);
        const bool again = forget_expired(file, answer);
        remember_place(file, answer);
        file->http->has_responded |= answer->code != 0;
        if (!again && !answer->stopped && is_usable_answer(request, answer))
            return ORGAN_OK;
        free(answer->body);
        if (answer->stopped)
            return fail_interrupted(error);
        if (!again && wait_or_fail(file, answer, request->from, ++failures, error))
            return error->status;
    }
}

static organ_status request_part(organ_http_file *file, char *to, size_t capacity, uint64_t from, size_t *got,
                                 organ_error *error)
{
    organ_http_request request = {.ranged = true, .from = from, .capacity = capacity, .buffer = to};
    organ_http_answer answer;
    if (request_with_retries(file, &request, &answer, error))
        return error->status;
    *got = answer.got;
    return check_part(file, &request, &answer, error);
}

/* ---- files ---- */

static http_source_span *span_at(organ_http_file *file, uint64_t offset)
{
    for (http_source_span *s = file->http->ahead; s < file->http->ahead + SPANS; s++)
        if (s->file == file && offset >= s->from && offset - s->from < s->length) {
            s->used = ++file->http->uses;
            return s;
        }
    return NULL;
}

/* The number is twice the largest step of the spans of this file that end near `offset`, at most LONGEST_SPAN;
 * FIRST_SPAN if there is no such span. The bytes end at the latest at the beginning of the next span or at the end of
 * the file. */
static size_t step_at(const organ_http_file *file, uint64_t offset)
{
    size_t step = FIRST_SPAN;
    for (const http_source_span *s = file->http->ahead; s < file->http->ahead + SPANS; s++) {
        const uint64_t end = s->from + s->length, distance = end > offset ? end - offset : offset - end;
        if (s->file == file && distance < LONGEST_SPAN && 2 * s->step > step)
            step = 2 * s->step < LONGEST_SPAN ? 2 * s->step : LONGEST_SPAN;
    }
    for (const http_source_span *s = file->http->ahead; s < file->http->ahead + SPANS; s++)
        if (s->file == file && s->from > offset && s->from - offset < step)
            step = (size_t)(s->from - offset);
    return file->known && file->size - offset < step ? (size_t)(file->size - offset) : step;
}

static organ_status read_ahead(organ_http_file *file, uint64_t offset, organ_error *error)
{
    organ_http *http = file->http;
    const size_t step = step_at(file, offset);
    http_source_span *s = http->ahead;
    for (size_t k = 1; k < SPANS; k++)
        s = http->ahead[k].used < s->used ? &http->ahead[k] : s;
    s->file = NULL;
    if (!s->bytes && !(s->bytes = malloc(LONGEST_SPAN)))
        return organ_fail_memory(error, file->shown);
    if (request_part(file, s->bytes, step, offset, &s->length, error))
        return error->status;
    s->file = file;
    s->from = offset;
    s->step = step;
    s->used = ++http->uses;
    return ORGAN_OK;
}

/* Large ranges are requested directly into `to`. The caller holds the lock. */
static organ_status read_locked(organ_http_file *file, char *to, size_t bytes, uint64_t offset, organ_error *error)
{
    while (bytes > 0) {
        size_t got = 0;
        const http_source_span *span = span_at(file, offset);
        if (span) {
            const size_t at = (size_t)(offset - span->from), available = span->length - at;
            got = available < bytes ? available : bytes;
            memcpy(to, span->bytes + at, got);
        } else if (bytes >= LARGE_READ) {
            if (request_part(file, to, bytes, offset, &got, error))
                return error->status;
        } else if (read_ahead(file, offset, error))
            return error->status;
        to += got;
        offset += got;
        bytes -= got;
    }
    return ORGAN_OK;
}

/* The lock serialises the threads, because all share one connection. */
organ_status organ_http_read(organ_http_file *file, void *to, size_t bytes, uint64_t offset, organ_error *error)
{
    if (offset > file->size || bytes > file->size - offset)
        return organ_refuse(error, file->shown, "has %" PRIu64 " bytes, %zu from byte %" PRIu64 " were expected",
                            file->size, bytes, offset);
    ORGAN_DURING(ORGAN_READING);
    ORGAN_LOCKED(&file->http->lock);
    reset_read_budget(file->http);
    read_locked(file, to, bytes, offset, error);
    organ_activity_moved(error->status ? 0 : bytes);
    return error->status;
}

void organ_http_take_paths(organ_http *http) { http->paths = true; }

static void unescape_slashes(char *name)
{
    for (char *at = name; (at = strstr(at, "%2F")); at++) {
        *at = '/';
        memmove(at + 1, at + 3, strlen(at + 3) + 1);
    }
}

static organ_status make_file(organ_http *http, const char *name, bool path, organ_http_file **result,
                              organ_error *error)
{
    organ_http_file *file = *result = calloc(1, sizeof *file);
    char *encoded = file ? organ_curl.easy_escape(NULL, name, 0) : NULL;
    if (encoded) {
        if (path)
            unescape_slashes(encoded);
        file->http = http;
        file->url = organ_format("%s%s%s", http->base, encoded, http->query);
        file->shown = organ_format("%s%s", http->shown, name);
    }
    organ_curl.free(encoded);
    if (file && file->url && file->shown)
        return ORGAN_OK;
    if (file && file->http)
        organ_http_close(file);
    else
        free(file);
    *result = NULL;
    return organ_fail_errno(error, ENOMEM, "%s%s", http->shown, name);
}

organ_status organ_http_open(organ_http *http, const char *name, organ_http_file **file, bool *missing,
                             organ_error *error)
{
    if (missing)
        *missing = false;
    if (make_file(http, name, http->paths, file, error))
        return error->status;
    pthread_mutex_lock(&http->lock);
    reset_read_budget(http);
    read_ahead(*file, 0, error);
    pthread_mutex_unlock(&http->lock);
    if (missing)
        *missing = (*file)->absent;
    if (error->status) {
        organ_http_close(*file);
        *file = NULL;
    }
    return error->status;
}

void organ_http_close(organ_http_file *file)
{
    if (!file)
        return;
    pthread_mutex_lock(&file->http->lock);
    for (size_t k = 0; k < SPANS; k++)
        if (file->http->ahead[k].file == file)
            file->http->ahead[k].file = NULL;
    pthread_mutex_unlock(&file->http->lock);
    ORGAN_FREE_ARRAYS(file->url, file->shown, file->resolved, file);
}

uint64_t organ_http_size(const organ_http_file *file) { return file->size; }

const char *organ_http_validator(const organ_http_file *file) { return file->validator; }

organ_status organ_http_unchanged(organ_http_file *file, organ_error *error)
{
    char byte;
    size_t got;
    ORGAN_LOCKED(&file->http->lock);
    reset_read_budget(file->http);
    request_part(file, &byte, 1, file->size - 1, &got, error);
    return error->status;
}

static organ_status check_whole_answer(organ_http_file *file, const organ_http_answer *answer, size_t limit,
                                       organ_error *error)
{
    if (answer->too_long)
        return organ_refuse(error, file->shown, "has more than %zu bytes, the limit for such a file", limit);
    if (answer->code != 200)
        return fail_code(file, answer->code, error);
    return answer->encoded ? organ_refuse(error, file->shown, "the server sends its bytes compressed") : ORGAN_OK;
}

organ_status organ_http_load(organ_http *http, const char *name, size_t limit, char **bytes, size_t *length,
                             organ_error *error)
{
    organ_http_file *file;
    organ_http_answer answer = {0};
    organ_http_request request = {.capacity = limit};
    *bytes = NULL;
    if (make_file(http, name, /*path=*/true, &file, error))
        return error->status;
    pthread_mutex_lock(&http->lock);
    reset_read_budget(http);
    const bool answered = request_with_retries(file, &request, &answer, error) == ORGAN_OK;
    pthread_mutex_unlock(&http->lock);
    if (answered && answer.code != 404 && answer.code != 410 &&
        check_whole_answer(file, &answer, limit, error) == ORGAN_OK) {
        if ((*bytes = realloc(answer.body, answer.got + 1))) {
            answer.body = NULL;
            *length = answer.got;
            (*bytes)[*length] = '\0';
        } else
            organ_fail_memory(error, file->shown);
    }
    if (answered)
        free(answer.body);
    organ_http_close(file);
    return error->status;
}
