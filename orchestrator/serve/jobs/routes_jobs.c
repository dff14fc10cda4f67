/* SPDX-License-Identifier: MIT
 * /api/v1/jobs and /api/v1/verbs: jobs, and the verbs with the JSON Schema of their arguments. */
#include <organ/report.h>
#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/serve/jobs/jobs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEPT_JOBS = 500, MAX_QUEUED = 1000, MAX_SHOWN = 1000 };

/* Seconds between the signals to a cancelled job. After SIGINT a verb finishes the tensors that it has begun. */
static const double patience = 20;

static organ_jobs *jobs_of(const organ_server_request *request) { return organ_http_app(request)->jobs; }

/* ---- jobs ---- */

/* "errors" of the problem document is the array `faults`, "detail" the first fault and the number of the others.
 * Takes the reference of `faults`; replies 500 if it is NULL. */
static void refuse_faults(organ_http_reply *reply, unsigned status, json_t *faults)
{
    const json_t *const first = json_array_get(faults, 0);
    const size_t more = json_array_size(faults) - (first ? 1 : 0);
    if (!first) {
        json_decref(faults); /* without memory for the first fault it is empty */
        organ_http_problem(reply, 500, "no memory");
        return;
    }
    char rest[40] = "";
    if (more > 0)
        snprintf(rest, sizeof rest, " (and %zu more)", more);
    ORGAN_OWNED_JSON json_t *const detail =
        organ_json_sprintf("%s: %s%s", json_string_value(json_object_get(first, "field")),
                           json_string_value(json_object_get(first, "detail")), rest);
    organ_http_problem_with(reply, status, "errors", faults, "%s", detail ? json_string_value(detail) : "");
}

/* Returns an array with the only fault, from "FIELD: DETAIL"; NULL if out of memory. */
static json_t *faults_of(const char *message)
{
    const char *const detail = strstr(message, ": ");
    return detail ? json_pack("[{s:s%, s:s}]", "field", message, (size_t)(detail - message), "detail", detail + 2)
                  : NULL;
}

/* Takes the reference of `view`. The message of a 422 that begins with '/' starts with the field of the fault
 * (faults_of). */
static void answer_view(organ_http_reply *reply, unsigned status, json_t *view, const organ_error *error)
{
    if (status == 204)
        organ_http_reply_empty(reply, 204);
    else if (status < 300)
        organ_http_reply_json(reply, status, view);
    else if (status == 422 && *error->message == '/')
        refuse_faults(reply, status, faults_of(error->message));
    else
        organ_http_problem(reply, status, "%s", error->message);
}

static void post_job(const organ_server_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    json_t *const body = organ_http_body_json(request, reply), *faults = NULL, *view = NULL;
    organ_job_words words;
    organ_error error = {0};
    if (!body)
        return;
    const unsigned refused =
        organ_job_words_read(app->options->verbs->verbs, app->options->verbs->count, app->jail, body, &words, &faults);
    json_decref(body);
    if (refused) {
        refuse_faults(reply, refused, faults);
        return;
    }
    const unsigned status = organ_jobs_add(app->jobs, &words, &view, &error);
    char place[64];
    snprintf(place, sizeof place, "/api/v1/jobs/%s", view ? json_string_value(json_object_get(view, "id")) : "");
    answer_view(reply, status, view, &error);
    if (status == 201) {
        organ_http_reply_header(reply, "Location", place);
        organ_http_about_job(request, strrchr(place, '/') + 1);
    }
}

static void get_jobs(const organ_server_request *request, organ_http_reply *reply)
{
    const char *const requested = organ_http_query(request, "state");
    const organ_job_state state = requested ? organ_job_state_named(requested) : ORGAN_JOB_STATES;
    uint64_t offset, limit;
    if (requested && state == ORGAN_JOB_STATES)
        organ_http_problem(reply, 400,
                           "state is '%.60s', but must be queued, running, done, failed, cancelled or interrupted",
                           requested);
    else if (organ_http_query_count(request, reply, "offset", /*from=*/0, /*to=*/1000000000, /*fallback=*/0, &offset) &&
             organ_http_query_count(request, reply, "limit", /*from=*/1, MAX_SHOWN, /*fallback=*/100, &limit))
        organ_http_reply_json(reply, 200, organ_jobs_list(jobs_of(request), state, offset, limit));
}

static void answer_for_job(const organ_server_request *request, organ_http_reply *reply, organ_job_action *action)
{
    json_t *view;
    organ_error error = {0};
    const unsigned status = organ_jobs_do(jobs_of(request), organ_http_parameter(request, "id"), action, &view, &error);
    answer_view(reply, status, view, &error);
}

static void get_job(const organ_server_request *request, organ_http_reply *reply)
{
    answer_for_job(request, reply, organ_job_show);
}

static void delete_job(const organ_server_request *request, organ_http_reply *reply)
{
    answer_for_job(request, reply, organ_job_delete);
}

static void resume_job(const organ_server_request *request, organ_http_reply *reply)
{
    answer_for_job(request, reply, organ_job_resume);
}

static void get_events(const organ_server_request *request, organ_http_reply *reply)
{
    organ_jobs_events(jobs_of(request), organ_http_parameter(request, "id"),
                      organ_http_header(request, "Last-Event-ID"), organ_http_token_name(request), reply);
}

/* Control characters of the lines become visible, but their ends stay. NULL if out of memory. */
static json_t *visible_lines(const char *s)
{
    organ_text text;
    organ_error ignored = {0};
    ORGAN_OWNED char *visible = NULL;
    if (organ_text_open(&text, &ignored) != ORGAN_OK)
        return NULL;
    while (*s) {
        const size_t length = strcspn(s, "\n");
        ORGAN_OWNED char *const line = strndup(s, length);
        if (line)
            organ_text_visible(text.out, line);
        s += length;
        if (*s)
            fputc(*s++, text.out);
    }
    organ_text_finish(&text, &visible, &ignored);
    return visible ? json_string(visible) : NULL;
}

/* `cut` is the size in bytes before truncation, "kept" the stored size, "beginning" the first 64 KiB. Closes fd.
 * NULL if memory runs out, or if the file cannot be read. */
static json_t *describe_cut_result(int fd, uint64_t cut)
{
    enum { SHOWN = 64 << 10 };
    struct stat about = {0};
    ORGAN_OWNED char *const text = calloc(1, SHOWN + 1);
    const ssize_t got = text && fstat(fd, &about) == 0 ? pread(fd, text, SHOWN, 0) : -1;
    json_t *const shown = got < 0
                              ? NULL
                              : json_pack("{s:b, s:I, s:I, s:s, s:o}", "cut", 1, "bytes", (json_int_t)cut, "kept",
                                          (json_int_t)about.st_size, "detail",
                                          "the result is larger than --job-output; raw=true returns the stored part",
                                          "beginning", visible_lines(text));
    close(fd);
    return shown;
}

static void get_result(const organ_server_request *request, organ_http_reply *reply)
{
    const char *const raw = organ_http_query(request, "raw");
    uint64_t cut;
    int fd;
    organ_error error = {0};
    if (raw && strcmp(raw, "true") != 0 && strcmp(raw, "false") != 0) {
        organ_http_problem(reply, 400, "raw is '%.60s', but must be true or false", raw);
        return;
    }
    const unsigned status =
        organ_jobs_printed(jobs_of(request), organ_http_parameter(request, "id"), &fd, &cut, &error);
    if (status != 200)
        organ_http_problem(reply, status, "%s", error.message);
    else if (cut && !(raw && *raw == 't'))
        organ_http_reply_json(reply, 200, describe_cut_result(fd, cut));
    else
        organ_http_reply_file(reply, request, fd, cut ? "result.txt" : "result.json");
}

static void get_report(const organ_server_request *request, organ_http_reply *reply)
{
    ORGAN_OWNED_JSON json_t *result = NULL;
    char *html = NULL;
    organ_error error = {0};
    const unsigned status = organ_jobs_result(jobs_of(request), organ_http_parameter(request, "id"), &result, &error);
    if (status == 200)
        organ_html_report(result, &html, &error);
    if (html) {
        organ_http_reply_text(reply, 200, "text/html; charset=utf-8", html, strlen(html));
        organ_http_reply_as_report(reply);
    } else if (status == 200)
        organ_http_problem(reply, error.status == ORGAN_BAD_INPUT ? 409 : 500, "%s", error.message);
    else
        organ_http_problem(reply, status, "%s", error.message);
}

static void get_log(const organ_server_request *request, organ_http_reply *reply)
{
    int fd = -1;
    organ_error error = {0};
    const unsigned status =
        organ_jobs_file(jobs_of(request), organ_http_parameter(request, "id"), "events.jsonl", &fd, &error);
    if (status == 200)
        organ_http_reply_file(reply, request, fd, "log.txt");
    else
        organ_http_problem(reply, status, "%s", error.message);
}

/* ---- verbs ---- */

static void get_verbs(const organ_server_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    organ_http_reply_json(reply, 200, json_pack("{s:o}", "verbs", organ_verb_list(app->options->verbs)));
}

static void get_verb(const organ_server_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    const char *const name = organ_http_parameter(request, "verb");
    const organ_verb *const verb = organ_job_verb(app->options->verbs->verbs, app->options->verbs->count, name);
    if (verb)
        organ_http_reply_json(reply, 200, organ_verb_describe(verb));
    else
        organ_http_problem(reply, 404, "no verb '%.60s' can run as a job", name);
}

/* ---- the area ---- */

/* This is organ_area.start. It reports on stderr which mechanisms of confinement the kernel lacks. A stream of events
 * occupies a connection, so a token may use an eighth of the connections of a network, and a job a quarter. */
static organ_status start_jobs(organ_app *app, organ_error *error)
{
    const unsigned share = organ_http_network_share(app);
    const organ_jobs_setup setup = {.jail = app->jail,
                                    .verbs = app->options->verbs->verbs,
                                    .verb_count = app->options->verbs->count,
                                    .limit = app->options->jobs ? app->options->jobs : 1,
                                    .kept = KEPT_JOBS,
                                    .output = app->options->job_output,
                                    .memory = app->options->job_memory,
                                    .keep_bytes = app->options->keep_bytes,
                                    .max_queued = MAX_QUEUED,
                                    .token_streams = share < 8 ? 1 : share / 8,
                                    .job_streams = share < 4 ? 1 : share / 4,
                                    .program = "/proc/self/exe",
                                    .patience = patience};
    if (organ_jobs_open(&setup, stderr, &app->jobs, error) == ORGAN_OK) {
        const organ_confinement has = organ_jobs_confinement(app->jobs);
        char lacks[512];
        organ_confinement_lacks(&has, lacks, sizeof lacks);
        if (*lacks)
            organ_message(stderr, ORGAN_MESSAGE_WARNING, "%s", lacks);
    }
    return error->status;
}

/* This is organ_area.stop. It reports on stderr how many jobs the next server will continue. */
static void stop_jobs(organ_app *app)
{
    const size_t running = app->jobs ? organ_jobs_count(app->jobs, ORGAN_JOB_RUNNING) : 0;
    const size_t waiting = app->jobs ? organ_jobs_count(app->jobs, ORGAN_JOB_QUEUED) : 0;
    if (running + waiting > 0)
        organ_message(stderr, ORGAN_MESSAGE_NOTE,
                      "%zu running and %zu waiting jobs are left to the next server; running jobs continue", running,
                      waiting);
    organ_jobs_close(app->jobs);
    app->jobs = NULL;
}

/* This is organ_area.metrics. */
static void print_job_metrics(const organ_app *app, FILE *out) { organ_jobs_metrics(app->jobs, out); }

/* .waits: the handler may block, for the mutex or the disk; .body: the request has a JSON body. */
static const organ_http_route routes[] = {{ORGAN_HTTP_POST, "/api/v1/jobs", post_job, .waits = true, .body = true},
                                          {ORGAN_HTTP_GET, "/api/v1/jobs", get_jobs, .waits = true},
                                          {ORGAN_HTTP_GET, "/api/v1/jobs/{id}", get_job, .waits = true},
                                          {ORGAN_HTTP_DELETE, "/api/v1/jobs/{id}", delete_job, .waits = true},
                                          {ORGAN_HTTP_POST, "/api/v1/jobs/{id}/resume", resume_job, .waits = true},
                                          {ORGAN_HTTP_GET, "/api/v1/jobs/{id}/events", get_events, .waits = true},
                                          {ORGAN_HTTP_GET, "/api/v1/jobs/{id}/result", get_result, .waits = true},
                                          {ORGAN_HTTP_GET, "/api/v1/jobs/{id}/report", get_report, .waits = true},
                                          {ORGAN_HTTP_GET, "/api/v1/jobs/{id}/log", get_log, .waits = true},
                                          {ORGAN_HTTP_GET, "/api/v1/verbs", get_verbs, .open = false},
                                          {ORGAN_HTTP_GET, "/api/v1/verbs/{verb}", get_verb, .open = false}};

const organ_area organ_area_jobs = {ORGAN_ROUTES(routes), .start = start_jobs, .stop = stop_jobs,
                                    .metrics = print_job_metrics};
