/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/jobs/job_progress.h"

#include <organ/base.h>
#include "orchestrator/machine/stopwatch.h"
#include <organ/report.h>
#include "orchestrator/report/text/members.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* CHUNK is in bytes; a call of organ_job_progress_read reads at most MAX_CHUNKS. */
enum { CHUNK = 64 << 10, MAX_CHUNKS = 16 };

/* Seconds of measurement before the speed is shown: earlier values vary too much. */
static const double min_rate_seconds = 0.3;

static void make_visible(char *out, size_t size, const char *bytes, size_t length)
{
    organ_error error = {0};
    organ_fail(&error, ORGAN_USAGE, "%.*s", (int)(length < 900 ? length : 900), bytes);
    snprintf(out, size, "%s", error.message);
}

json_t *organ_job_event(const char *line, size_t length)
{
    json_error_t fault;
    bool no_memory;
    json_t *const event = organ_json_load(line, length, JSON_REJECT_DUPLICATES, &fault, &no_memory);
    const char *const name = json_string_value(json_object_get(event, "event"));
    if (name && *name && strspn(name, "abcdefghijklmnopqrstuvwxyz") == strlen(name))
        return event;
    char text[1000];
    json_decref(event);
    make_visible(text, sizeof text, line, length);
    return json_pack("{s:s, s:s}", "event", "note", "text", text);
}

static void begin_stage(organ_job_progress *progress, const json_t *event)
{
    snprintf(progress->stage, sizeof progress->stage, "%s", organ_json_text(event, "what"));
    progress->failed = false; /* an error before this event belongs to an earlier attempt, which is now resumed */
    progress->message[0] = '\0';
    progress->bytes = progress->tensors = progress->before = 0;
    progress->of = organ_json_count(event, "bytes");
    progress->many = organ_json_count(event, "tensors");
    progress->tensor[0] = '\0';
    progress->since = organ_seconds_now();
}

/* `first`: the event may be older than this server, so the measurement of the speed starts after it. */
static void advance_progress(organ_job_progress *progress, const json_t *event, bool first)
{
    const char *const tensor = organ_json_text(event, "tensor");
    progress->bytes = organ_json_count(event, "bytes");
    progress->of = organ_json_count(event, "of");
    progress->tensors = organ_json_count(event, "tensors");
    if (*tensor)
        snprintf(progress->tensor, sizeof progress->tensor, "%s", tensor);
    if (first) {
        progress->since = organ_seconds_now();
        progress->before = progress->bytes;
    }
}

static void read_event_line(organ_job_progress *progress, const char *line, size_t length, bool first)
{
    json_t *const event = organ_job_event(line, length);
    const char *const name = organ_json_text(event, "event");
    if (strcmp(name, "begin") == 0)
        begin_stage(progress, event);
    else if (strcmp(name, "advance") == 0)
        advance_progress(progress, event, first);
    else if (strcmp(name, "error") == 0) {
        progress->failed = true;
        progress->code = (int)organ_json_count(event, "code");
        snprintf(progress->message, sizeof progress->message, "%s", organ_json_text(event, "message"));
    } else if (strcmp(name, "note") == 0 && !progress->failed) {
        snprintf(progress->message, sizeof progress->message, "%s", organ_json_text(event, "text"));
    }
    json_decref(event);
}

/* At most MAX_CHUNKS x CHUNK bytes are read per call. An incomplete last line stays for the next call. */
bool organ_job_progress_read(organ_job_progress *progress, int fd)
{
    char *const chunk = malloc(CHUNK);
    const bool first = progress->offset == 0;
    bool any = false;
    for (int k = 0; chunk && k < MAX_CHUNKS; k++) {
        const ssize_t got = pread(fd, chunk, CHUNK, progress->offset);
        size_t at = 0;
        for (const char *end; got > 0 && (end = memchr(chunk + at, '\n', (size_t)got - at));
             at = (size_t)(end - chunk) + 1)
            read_event_line(progress, chunk + at, (size_t)(end - chunk) - at, first);
        if (got == CHUNK && at == 0)
            at = CHUNK; /* no event is as long as CHUNK: skip this part of the line */
        progress->offset += (int64_t)at;
        any = any || at > 0;
        if (got < CHUNK)
            break;
    }
    free(chunk);
    return any;
}

json_t *organ_job_progress_view(const organ_job_progress *progress, bool running)
{
    const double seconds = organ_seconds_now() - progress->since, of = (double)progress->of,
                 done = (double)progress->bytes;
    const bool timed = running && progress->bytes > progress->before && seconds >= min_rate_seconds;
    const double speed = timed ? (double)(progress->bytes - progress->before) / seconds : 1;
    return ORGAN_OBJECT(SET_BYTES("stage", progress->stage), SET_COUNT("bytes", progress->bytes),
                        SET_COUNT("of", progress->of), SET_COUNT("tensors", progress->tensors),
                        SET_COUNT("of_tensors", progress->many),
                        SET_REAL_OF("fraction", progress->of > 0, done >= of ? 1.0 : done / of),
                        SET_BYTES_OF("tensor", *progress->tensor ? progress->tensor : NULL),
                        SET_REAL_OF("bytes_per_second", timed, speed),
                        SET_REAL_OF("seconds_left", timed && done < of, (of - done) / speed));
}
