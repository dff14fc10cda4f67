/* SPDX-License-Identifier: MIT
 * Sends the events of a job (the lines of events.jsonl) as server-sent events. The id of an event is the offset after
 * its line in events.jsonl. A client that reconnects sends the last id in Last-Event-ID and gets the events it missed;
 * the server keeps no events in memory. */
#include "orchestrator/machine/quantity.h"
#include <organ/report.h>
#include "orchestrator/serve/jobs/jobs_parts.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Seconds without data after which a comment is sent, and bytes of events.jsonl that are read at a time. */
enum { HEARTBEAT = 15, CHUNK = 32 << 10 };

/* This is organ_http_stream.close, which also ends the stream's use of the job. */
static void close_job_events(void *context)
{
    ORGAN_OWNED organ_job_stream *const stream = context;
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
}

static void put_sent_event(FILE *out, const char *name, const json_t *data)
{
    ORGAN_OWNED char *const text = json_dumps(data, JSON_COMPACT);
    fprintf(out, "event: %s\ndata: %s\n\n", name, text ? text : "{}");
}

/* Writes the complete lines of the next CHUNK bytes of the log as events. Returns whether it has advanced. */
static bool put_lines(organ_job_stream *stream, FILE *out)
{
    ORGAN_OWNED char *const chunk = malloc(CHUNK);
    /* The middle of a very long log is a hole (hollow_log in run.c). Skips the hole and the rest of the line in
     * which it ends. */
    const off_t there = stream->fd >= 0 ? lseek(stream->fd, stream->offset, SEEK_DATA) : -1;
    const bool jumped = there > stream->offset;
    stream->offset = jumped ? there : stream->offset;
    const ssize_t got = chunk && stream->fd >= 0 ? pread(stream->fd, chunk, CHUNK, stream->offset) : 0;
    const char *const first = jumped && got > 0 ? memchr(chunk, '\n', (size_t)got) : NULL;
    size_t at = first ? (size_t)(first - chunk) + 1 : 0;
    for (const char *end; got > 0 && (end = memchr(chunk + at, '\n', (size_t)got - at));
         at = (size_t)(end - chunk) + 1) {
        ORGAN_OWNED_JSON json_t *const event = organ_job_event(chunk + at, (size_t)(end - chunk) - at);
        fprintf(out, "id: %lld\n", (long long)stream->offset + (end - chunk) + 1);
        put_sent_event(out, event ? organ_json_text(event, "event") : "note", event);
    }
    if (got == CHUNK && at == 0)
        at = CHUNK; /* no event is as long as CHUNK: skip this part of the line */
    stream->offset += (int64_t)at;
    return at > 0;
}

/* The view of the job is sent as an event "job" if the job has changed or has new lines. After all lines of an ended
 * job, writes its final view with the id "OFFSET-end" and sets stream->ended. Returns false if there is nothing to
 * write. */
static bool make_events(organ_job_stream *stream, FILE *out)
{
    organ_jobs *const jobs = stream->jobs;
    /* Read the state before the file: if the job has ended, the file already contains all its lines. */
    pthread_mutex_lock(&jobs->mutex);
    const bool over = !organ_job_active(stream->job->state), fresh = stream->job->version != stream->seen;
    ORGAN_OWNED_JSON json_t *const view = organ_job_view(stream->job);
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
    return lines || stream->ended || fresh;
}

/* Returns whether there are bytes to send. */
static bool fill_pending(organ_job_stream *stream)
{
    organ_text text;
    organ_error error = {0};
    organ_clear(&stream->pending);
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

/* This is organ_http_stream.read. It makes new events only when all pending ones are sent. */
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

/* Last-Event-ID (`last`, may be NULL) is "OFFSET" or "OFFSET-end", an offset in events.jsonl (`fd`). Returns 0 if
 * there is none, or if no line ends at the offset. *end becomes true for "OFFSET-end" if the file has no more bytes:
 * the client has received the final event. */
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

/* The stream starts after the event `last` and is counted in job->users. *end becomes true if the client has
 * received the final event (place_of_event). The caller holds the mutex. Returns NULL if memory runs out. */
static organ_job_stream *new_stream(organ_jobs *jobs, organ_job *job, const char *last, const char *token, bool *end)
{
    organ_job_stream *const stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    stream->jobs = jobs;
    stream->job = job;
    stream->fd = organ_job_open(&jobs->store, job->id, "events.jsonl", O_RDONLY);
    stream->offset = place_of_event(stream->fd, last, end);
    stream->seen = job->version - 1; /* any other version than the present one: the first event is the view */
    stream->last = organ_seconds_now();
    snprintf(stream->token, sizeof stream->token, "%s", token);
    stream->next = jobs->streams;
    jobs->streams = stream;
    job->users++;
    return stream;
}

/* Returns false with the reply 429. The caller holds the mutex. */
static bool has_room_for_stream(const organ_jobs *jobs, const organ_job *job, const char *token,
                                organ_http_reply *reply)
{
    const organ_jobs_setup *const setup = &jobs->setup;
    size_t of_token = 0, of_job = 0;
    for (const organ_job_stream *stream = jobs->streams; stream; stream = stream->next) {
        of_token += strcmp(stream->token, token) == 0;
        of_job += stream->job == job;
    }
    if (setup->token_streams && of_token >= setup->token_streams)
        organ_http_problem(reply, 429, "%s%s%s %zu streams of events open; the limit is %u",
                           *token ? "the token '" : "", *token ? token : "the clients", *token ? "' has" : " have",
                           of_token, setup->token_streams);
    else if (setup->job_streams && of_job >= setup->job_streams)
        organ_http_problem(reply, 429, "%zu streams of the events of job '%s' are open; the limit is %u", of_job,
                           job->id, setup->job_streams);
    else
        return true;
    organ_http_reply_header(reply, "Retry-After", "5");
    return false;
}

void organ_jobs_events(organ_jobs *jobs, const char *id, const char *last, const char *token, organ_http_reply *reply)
{
    bool end = false;
    pthread_mutex_lock(&jobs->mutex);
    organ_job *const job = organ_jobs_find(jobs, id);
    const bool room = !job || has_room_for_stream(jobs, job, token, reply);
    organ_job_stream *const stream = job && room ? new_stream(jobs, job, last, token, &end) : NULL;
    end = end && !organ_job_active(job->state);
    pthread_mutex_unlock(&jobs->mutex);
    if (!room)
        return;
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
        if (!waker) /* organ_http_reply_stream has called close_job_events */
            return;
        ORGAN_LOCKED(&jobs->mutex);
        stream->waker = waker;
    }
}
