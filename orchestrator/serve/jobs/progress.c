/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/jobs/progress.h"

#include "formats/base/memory_watch.h"
#include "formats/base/status.h"
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/report/text/document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 64 << 10, MOST_CHUNKS = 16 };

static const double settle_seconds = 0.3; /* before this a rate means nothing */

/* Any bytes as text without control characters. */
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
    progress->failed = false; /* what was said before was of an attempt that is resumed now */
    progress->message[0] = '\0';
    progress->bytes = progress->tensors = progress->before = 0;
    progress->of = organ_json_count(event, "bytes");
    progress->many = organ_json_count(event, "tensors");
    progress->tensor[0] = '\0';
    progress->since = organ_seconds_now();
}

/* What was done before the first read does not count for the speed. */
static void advance(organ_job_progress *progress, const json_t *event, bool first)
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

static void take_line(organ_job_progress *progress, const char *line, size_t length, bool behind)
{
    json_t *const event = organ_job_event(line, length);
    const char *const name = organ_json_text(event, "event");
    if (strcmp(name, "begin") == 0)
        begin_stage(progress, event);
    else if (strcmp(name, "advance") == 0)
        advance(progress, event, behind);
    else if (strcmp(name, "error") == 0) {
        progress->failed = true;
        progress->code = (int)organ_json_count(event, "code");
        snprintf(progress->message, sizeof progress->message, "%s", organ_json_text(event, "message"));
    } else if (strcmp(name, "note") == 0 && !progress->failed) {
        snprintf(progress->message, sizeof progress->message, "%s", organ_json_text(event, "text"));
    }
    json_decref(event);
}

bool organ_job_progress_read(organ_job_progress *progress, int fd)
{
    char *const chunk = malloc(CHUNK);
    const bool first = progress->offset == 0;
    bool any = false;
    for (int k = 0; chunk && k < MOST_CHUNKS; k++) {
        const ssize_t got = pread(fd, chunk, CHUNK, progress->offset);
        size_t at = 0;
        for (const char *end; got > 0 && (end = memchr(chunk + at, '\n', (size_t)got - at)); at = (size_t)(end - chunk) + 1)
            take_line(progress, chunk + at, (size_t)(end - chunk) - at, first);
        if (got == CHUNK && at == 0)
            at = CHUNK; /* a line as long as that is no event */
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
    const double seconds = organ_seconds_now() - progress->since;
    json_t *const view =
        json_pack("{s:o, s:I, s:I, s:I, s:I, s:n, s:n, s:n, s:n}", "stage", organ_document_string(progress->stage), "bytes",
                  (json_int_t)progress->bytes, "of", (json_int_t)progress->of, "tensors", (json_int_t)progress->tensors, "of_tensors",
                  (json_int_t)progress->many, "fraction", "tensor", "bytes_per_second", "seconds_left");
    if (progress->of > 0)
        json_object_set_new(view, "fraction",
                            json_real(progress->bytes >= progress->of ? 1.0 : (double)progress->bytes / (double)progress->of));
    if (*progress->tensor)
        json_object_set_new(view, "tensor", organ_document_string(progress->tensor));
    if (!running || progress->bytes <= progress->before || seconds < settle_seconds)
        return view;
    const double speed = (double)(progress->bytes - progress->before) / seconds;
    json_object_set_new(view, "bytes_per_second", json_real(speed));
    if (progress->bytes < progress->of)
        json_object_set_new(view, "seconds_left", json_real((double)(progress->of - progress->bytes) / speed));
    return view;
}
