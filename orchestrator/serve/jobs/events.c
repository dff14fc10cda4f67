/* SPDX-License-Identifier: MIT
 * The events of a job as server-sent events. The id of an event is the offset after its line in events.jsonl: a client
 * that reconnects gets the events it missed, and the server keeps none in memory. */
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/text.h"
#include "orchestrator/serve/jobs/keeper.h"
#include "orchestrator/serve/jobs/jobs_parts.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEARTBEAT = 15, CHUNK = 32 << 10 };

/* Removes a stream of events from the list and frees it. */
static void close_job_events(void *context)
{
    organ_job_stream *const stream = context;
    organ_jobs *const jobs = stream->jobs;
    pthread_mutex_lock(&jobs->mutex);
    for (organ_job_stream **at = &jobs->streams; *at; at = &(*at)->next)
        if (*at == stream) {
            *at = stream->next;
            break;
        }
    organ_jobs_leave(stream->job);
    pthread_mutex_unlock(&jobs->mutex);
    organ_job_close(stream->fd);
    free(stream->pending);
    free(stream);
}

/* Writes one server-sent event. */
static void put_sent_event(FILE *out, const char *name, const json_t *data)
{
    char *const text = json_dumps(data, JSON_COMPACT);
    fprintf(out, "event: %s\ndata: %s\n\n", name, text ? text : "{}");
    free(text);
}

/* Reads at most CHUNK bytes of events.jsonl after stream->offset, writes each complete line as an event, and advances
 * the offset. Returns true if it read any line. */
static bool put_lines(organ_job_stream *stream, FILE *out)
{
    char *const chunk = malloc(CHUNK);
    /* The middle of a very long log is a hole. Skips it and the rest of the line after it. */
    const off_t there = stream->fd >= 0 ? lseek(stream->fd, stream->offset, SEEK_DATA) : -1;
    const bool jumped = there > stream->offset;
    stream->offset = jumped ? there : stream->offset;
    const ssize_t got = chunk && stream->fd >= 0 ? pread(stream->fd, chunk, CHUNK, stream->offset) : 0;
    const char *const first = jumped && got > 0 ? memchr(chunk, '\n', (size_t)got) : NULL;
    size_t at = first ? (size_t)(first - chunk) + 1 : 0;
    for (const char *end; got > 0 && (end = memchr(chunk + at, '\n', (size_t)got - at));
         at = (size_t)(end - chunk) + 1) {
        json_t *const event = organ_job_event(chunk + at, (size_t)(end - chunk) - at);
        fprintf(out, "id: %lld\n", (long long)stream->offset + (end - chunk) + 1);
        put_sent_event(out, event ? organ_json_text(event, "event") : "note", event);
        json_decref(event);
    }
    if (got == CHUNK && at == 0)
        at = CHUNK; /* no event is as long as CHUNK: skip this part of the line */
    stream->offset += (int64_t)at;
    free(chunk);
    return at > 0;
}

/* Writes all events that are due: new lines of the file, and the state of the job if it changed. Returns false if there
 * are none. */
static bool make_events(organ_job_stream *stream, FILE *out)
{
    organ_jobs *const jobs = stream->jobs;
    /* Read the state before the file: then all that the program wrote before it ended is in the file. */
    pthread_mutex_lock(&jobs->mutex);
    const bool over = !organ_job_active(stream->job->state), fresh = stream->job->version != stream->seen;
    json_t *const view = organ_job_view(stream->job);
    stream->seen = stream->job->version;
    if (stream->fd < 0 && !stream->job->removed)
        stream->fd = organ_job_open(&jobs->store, stream->job->id, "events.jsonl", O_RDONLY);
    pthread_mutex_unlock(&jobs->mutex);
    if (fresh && !over)
        put_sent_event(out, "job", view); /* a new state precedes its events, progress follows them */
    const bool lines = put_lines(stream, out);
    if (lines && !over && !fresh)
        put_sent_event(out, "job", view);
    stream->ended = over && !lines;
    if (stream->ended) {
        fprintf(out, "id: %lld-end\n", (long long)stream->offset);
        put_sent_event(out, "job", view);
    }
    json_decref(view);
    return lines || stream->ended || fresh;
}

/* Replaces the stream's buffer by new events, or by a comment that keeps the connection open. Returns false if there is
 * nothing to send. */
static bool fill_pending(organ_job_stream *stream)
{
    organ_text text;
    organ_error error = {0};
    free(stream->pending);
    stream->pending = NULL;
    stream->size = stream->at = 0;
    if (organ_text_open(&text, &error) != ORGAN_OK)
        return false;
    const bool any = make_events(stream, text.out);
    if (!any && organ_seconds_now() - stream->last >= HEARTBEAT)
        fputs(": keep-alive\n\n", text.out);
    organ_text_finish(&text, &stream->pending, &error);
    stream->size = stream->pending ? strlen(stream->pending) : 0;
    return stream->size > 0;
}

/* Copies pending events into the reply. */
static organ_stream_state read_job_events(void *context, char *to, size_t capacity, size_t *bytes)
{
    organ_job_stream *const stream = context;
    *bytes = 0;
    if (stream->at == stream->size && (stream->ended || !fill_pending(stream)))
        return stream->ended ? ORGAN_STREAM_END : ORGAN_STREAM_WAIT;
    *bytes = stream->size - stream->at < capacity ? stream->size - stream->at : capacity;
    memcpy(to, stream->pending + stream->at, *bytes);
    stream->at += *bytes;
    stream->last = organ_seconds_now();
    return ORGAN_STREAM_DATA;
}

/* Returns the offset in events.jsonl that Last-Event-ID (`last`, may be NULL) contains, if it is the end of a line;
 * else 0. *end becomes true if the client has received the last event. */
static int64_t place_of_event(int fd, const char *last, bool *end)
{
    char *rest = NULL, before = 0;
    const long long at = last && isdigit((unsigned char)*last) ? strtoll(last, &rest, 10) : 0;
    if (at <= 0 || fd < 0 || (*rest && strcmp(rest, "-end") != 0) || pread(fd, &before, 1, at - 1) != 1 ||
        before != '\n')
        return 0;
    *end = *rest == '-' && pread(fd, &before, 1, at) == 0;
    return at;
}

/* Creates a stream that starts after the event `last`, and counts it as a user of the job. *end as of place_of_event.
 * The caller holds the mutex. NULL without memory. */
static organ_job_stream *new_stream(organ_jobs *jobs, organ_job *job, const char *last, bool *end)
{
    organ_job_stream *const stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    stream->jobs = jobs;
    stream->job = job;
    stream->fd = organ_job_open(&jobs->store, job->id, "events.jsonl", O_RDONLY);
    stream->offset = place_of_event(stream->fd, last, end);
    stream->seen = job->version - 1;
    stream->last = organ_seconds_now();
    job->users++;
    return stream;
}

/* Replies with the events of a job after the event `last`, as server-sent events. Replies 204 if the job has ended and
 * the client has received its last event. */
void organ_jobs_events(organ_jobs *jobs, const char *id, const char *last, organ_http_reply *reply)
{
    bool end = false;
    pthread_mutex_lock(&jobs->mutex);
    organ_job *const job = organ_jobs_find(jobs, id);
    organ_job_stream *const stream = job ? new_stream(jobs, job, last, &end) : NULL;
    end = end && !organ_job_active(job->state);
    pthread_mutex_unlock(&jobs->mutex);
    if (!job)
        organ_http_problem(reply, 404, "there is no job '%.60s'", id);
    else if (!stream)
        organ_http_problem(reply, 500, "no memory");
    else if (end) {
        close_job_events(stream);
        organ_http_reply_empty(reply, 204); /* makes a browser stop reconnecting */
    } else {
        organ_http_waker *const waker = organ_http_reply_stream(
            reply, "text/event-stream",
            &(organ_http_stream){
                .read = read_job_events, .close = close_job_events, .context = stream, .heartbeat = HEARTBEAT});
        if (!waker)
            return;
        pthread_mutex_lock(&jobs->mutex);
        stream->waker = waker;
        stream->next = jobs->streams;
        jobs->streams = stream;
        pthread_mutex_unlock(&jobs->mutex);
    }
}
