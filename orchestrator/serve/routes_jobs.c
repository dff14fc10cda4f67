/* SPDX-License-Identifier: MIT
 * /api/v1/jobs, /api/v1/verbs and /api/v1/openapi.json: verbs as jobs, what they take, and all of it described. */
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/text.h"
#include "orchestrator/report/view/html_report.h"
#include "orchestrator/serve/http/exchange.h"
#include "orchestrator/serve/jobs/keeper.h"
#include "orchestrator/serve/jobs/verb_catalog.h"
#include "orchestrator/serve/page/open_api.h"
#include "orchestrator/serve/route_parts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEPT_JOBS = 500, MOST_QUEUED = 1000, MOST_SHOWN = 1000 };

static const double patience = 20; /* seconds: a run that was asked to stop finishes the tensors it has begun */

/* Reports are programs of their own: they may run, but in a sandbox; the page shows them in a frame. */
static const char report_policy[] = "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                                    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

static organ_jobs *jobs_of(const organ_http_request *request) { return organ_http_app(request)->jobs; }

/* ---- jobs ---- */

static void refuse(organ_http_reply *reply, unsigned status, json_t *faults)
{
    const json_t *const first = json_array_get(faults, 0);
    const size_t more = json_array_size(faults) - (first ? 1 : 0);
    if (!first) {
        organ_http_problem(reply, 500, "no memory");
        return;
    }
    char rest[40] = "";
    if (more > 0)
        snprintf(rest, sizeof rest, " (and %zu more)", more);
    json_t *const detail = json_sprintf("%s: %s%s", json_string_value(json_object_get(first, "field")),
                                        json_string_value(json_object_get(first, "detail")), rest);
    organ_http_problem_with(reply, status, "errors", faults, "%s", detail ? json_string_value(detail) : "");
    json_decref(detail);
}

/* What is wrong with one argument, "/arguments/memory: it asks for ...", as "errors" has it; NULL if there is no memory. */
static json_t *faults_of(const char *message)
{
    const char *const detail = strstr(message, ": ");
    return detail ? json_pack("[{s:s%, s:s}]", "field", message, (size_t)(detail - message), "detail", detail + 2) : NULL;
}

/* A view, or a problem with the message; the reference is taken. */
static void answer(organ_http_reply *reply, unsigned status, json_t *view, const organ_error *error)
{
    if (status == 204)
        organ_http_reply_empty(reply, 204);
    else if (status < 300)
        organ_http_reply_json(reply, status, view);
    else if (status == 422 && *error->message == '/')
        refuse(reply, status, faults_of(error->message));
    else
        organ_http_problem(reply, status, "%s", error->message);
}

static void post_job(const organ_http_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    json_t *const body = organ_http_body_json(request, reply), *faults = NULL, *view = NULL;
    organ_job_words words;
    organ_error error = {0};
    if (!body)
        return;
    const unsigned refused = organ_job_words_read(app->verbs, app->verb_count, app->jail, body, &words, &faults);
    json_decref(body);
    if (refused) {
        refuse(reply, refused, faults);
        return;
    }
    const unsigned status = organ_jobs_add(app->jobs, &words, &view, &error);
    char place[64];
    snprintf(place, sizeof place, "/api/v1/jobs/%s", view ? json_string_value(json_object_get(view, "id")) : "");
    answer(reply, status, view, &error);
    if (status == 201)
        organ_http_reply_header(reply, "Location", place);
}

static void get_jobs(const organ_http_request *request, organ_http_reply *reply)
{
    const char *const wanted = organ_http_query(request, "state");
    uint64_t offset, limit;
    int state = wanted ? 0 : ORGAN_JOB_STATES;
    while (wanted && state < ORGAN_JOB_STATES && strcmp(wanted, organ_job_state_names[state]) != 0)
        state++;
    if (wanted && state == ORGAN_JOB_STATES)
        organ_http_problem(reply, 400, "state is '%.60s', but must be queued, running, done, failed, cancelled or interrupted", wanted);
    else if (organ_http_query_count(request, reply, "offset", 0, 1000000000, 0, &offset) &&
             organ_http_query_count(request, reply, "limit", 1, MOST_SHOWN, 100, &limit))
        organ_http_reply_json(reply, 200, organ_jobs_list(jobs_of(request), (organ_job_state)state, offset, limit));
}

static void get_job(const organ_http_request *request, organ_http_reply *reply)
{
    json_t *view = NULL;
    organ_error error = {0};
    const unsigned status = organ_jobs_show(jobs_of(request), organ_http_parameter(request, "id"), &view, &error);
    answer(reply, status, view, &error);
}

static void delete_job(const organ_http_request *request, organ_http_reply *reply)
{
    json_t *view = NULL;
    organ_error error = {0};
    const unsigned status = organ_jobs_delete(jobs_of(request), organ_http_parameter(request, "id"), &view, &error);
    answer(reply, status, view, &error);
}

static void resume_job(const organ_http_request *request, organ_http_reply *reply)
{
    json_t *view = NULL;
    organ_error error = {0};
    const unsigned status = organ_jobs_resume(jobs_of(request), organ_http_parameter(request, "id"), &view, &error);
    answer(reply, status, view, &error);
}

static void get_events(const organ_http_request *request, organ_http_reply *reply)
{
    organ_jobs_events(jobs_of(request), organ_http_parameter(request, "id"), organ_http_header(request, "Last-Event-ID"), reply);
}

/* The text with its lines as they are and nothing else that is hidden; NULL without memory. */
static json_t *visible_lines(const char *s)
{
    organ_text text;
    organ_error ignored = {0};
    char *visible = NULL;
    if (organ_text_open(&text, &ignored) != ORGAN_OK)
        return NULL;
    while (*s) {
        const size_t length = strcspn(s, "\n");
        char *const line = strndup(s, length);
        if (line)
            organ_text_visible(text.out, line);
        free(line);
        s += length;
        if (*s) {
            fputc('\n', text.out);
            s++;
        }
    }
    organ_text_finish(&text, &visible, &ignored);
    json_t *const lines = visible ? json_string(visible) : NULL;
    free(visible);
    return lines;
}

/* What there is to say of a result that was cut, and how it begins. */
static json_t *cut_result(int fd, uint64_t cut)
{
    enum { SHOWN = 64 << 10 };
    struct stat about = {0};
    char *const text = calloc(1, SHOWN + 1);
    const ssize_t got = text && fstat(fd, &about) == 0 ? pread(fd, text, SHOWN, 0) : -1;
    json_t *const shown =
        got < 0 ? NULL
                : json_pack("{s:b, s:I, s:I, s:s, s:o}", "cut", 1, "bytes", (json_int_t)cut, "kept", (json_int_t)about.st_size, "detail",
                            "the result was larger than a job may keep (--job-output); raw=true gives what was kept of it", "beginning",
                            visible_lines(text));
    free(text);
    close(fd);
    return shown;
}

/* That a result is whole was found out when the job ended. */
static void get_result(const organ_http_request *request, organ_http_reply *reply)
{
    const char *const raw = organ_http_query(request, "raw");
    uint64_t cut;
    int fd;
    organ_error error = {0};
    if (raw && strcmp(raw, "true") != 0 && strcmp(raw, "false") != 0) {
        organ_http_problem(reply, 400, "raw is '%.60s', but must be true or false", raw);
        return;
    }
    const unsigned status = organ_jobs_printed(jobs_of(request), organ_http_parameter(request, "id"), &fd, &cut, &error);
    if (status != 200)
        organ_http_problem(reply, status, "%s", error.message);
    else if (cut && !(raw && *raw == 't'))
        organ_http_reply_json(reply, 200, cut_result(fd, cut));
    else
        organ_http_reply_file(reply, request, fd, cut ? "result.txt" : "result.json");
}

static void get_report(const organ_http_request *request, organ_http_reply *reply)
{
    json_t *result = NULL;
    char *html = NULL;
    organ_error error = {0};
    const unsigned status = organ_jobs_result(jobs_of(request), organ_http_parameter(request, "id"), &result, &error);
    if (status == 200)
        organ_html_report(result, &html, &error);
    json_decref(result);
    if (html) {
        organ_http_reply_text(reply, 200, "text/html; charset=utf-8", html, strlen(html));
        organ_http_reply_policy(reply, report_policy);
    } else if (status == 200)
        organ_http_problem(reply, error.status == ORGAN_BAD_INPUT ? 409 : 500, "%s", error.message);
    else
        organ_http_problem(reply, status, "%s", error.message);
}

static void get_log(const organ_http_request *request, organ_http_reply *reply)
{
    int fd = -1;
    organ_error error = {0};
    const unsigned status = organ_jobs_file(jobs_of(request), organ_http_parameter(request, "id"), "events.jsonl", &fd, &error);
    if (status == 200)
        organ_http_reply_file(reply, request, fd, "log.txt");
    else
        organ_http_problem(reply, status, "%s", error.message);
}

/* ---- verbs ---- */

static void get_verbs(const organ_http_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    organ_http_reply_json(reply, 200, json_pack("{s:o}", "verbs", organ_verb_list(app->verbs, app->verb_count)));
}

static void get_verb(const organ_http_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    const char *const name = organ_http_parameter(request, "verb");
    for (size_t k = 0; k < app->verb_count; k++)
        if (organ_verb_is_job(app->verbs[k]) && strcmp(app->verbs[k]->name, name) == 0) {
            organ_http_reply_json(reply, 200, organ_verb_describe(app->verbs[k]));
            return;
        }
    organ_http_problem(reply, 404, "there is no verb '%.60s' that can be a job", name);
}

static void get_open_api(const organ_http_request *request, organ_http_reply *reply)
{
    const organ_app *const app = organ_http_app(request);
    organ_error error = {0};
    json_t *const document = organ_open_api(app->areas, app->verbs, app->verb_count, &error);
    if (document)
        organ_http_reply_json(reply, 200, document);
    else
        organ_http_problem(reply, 500, "%s", error.message);
}

/* ---- the area ---- */

static organ_status start(organ_app *app, organ_error *error)
{
    const organ_jobs_setup setup = {.jail = app->jail,
                                    .verbs = app->verbs,
                                    .verb_count = app->verb_count,
                                    .limit = app->job_limit ? app->job_limit : 1,
                                    .kept = KEPT_JOBS,
                                    .output = app->job_output,
                                    .memory = app->job_memory,
                                    .keep_bytes = app->keep_bytes,
                                    .most_queued = MOST_QUEUED,
                                    .program = "/proc/self/exe",
                                    .patience = patience};
    if (organ_jobs_open(&setup, stderr, &app->jobs, error) == ORGAN_OK && organ_jobs_confinement(app->jobs) == 0)
        fputs("organ: this kernel has no Landlock: jobs are not confined to the root, their paths are only checked before\n", stderr);
    return error->status;
}

static void stop(organ_app *app)
{
    const size_t running = app->jobs ? organ_jobs_count(app->jobs, ORGAN_JOB_RUNNING) : 0;
    const size_t waiting = app->jobs ? organ_jobs_count(app->jobs, ORGAN_JOB_QUEUED) : 0;
    if (running + waiting > 0)
        fprintf(stderr, "organ: %zu running and %zu waiting jobs are left for the next server; what runs goes on\n", running, waiting);
    organ_jobs_close(app->jobs);
    app->jobs = NULL;
}

static void metrics(const organ_app *app, FILE *out) { organ_jobs_metrics(app->jobs, out); }

/* clang-format off: tables are laid out by hand */

#define JOB       "{\"$ref\": \"#/components/schemas/Job\"}"
#define JSON      "application/json"
#define PROBLEM   "application/problem+json", ORGAN_PROBLEM_REF
#define NO_JOB    {404, PROBLEM, "there is no such job"}
#define NOTHING   {409, PROBLEM, "it has none, or none yet"}

static const organ_http_parameter_row id_parameters[] = {
    {"id", ORGAN_IN_PATH, true, "{\"type\": \"string\", \"pattern\": \"^[0-9-]{1,31}$\"}", "of the job"}};
static const organ_http_parameter_row result_parameters[] = {
    {"id", ORGAN_IN_PATH, true, "{\"type\": \"string\", \"pattern\": \"^[0-9-]{1,31}$\"}", "of the job"},
    {"raw", ORGAN_IN_QUERY, false, "{\"type\": \"boolean\", \"default\": false}",
     "the bytes that were kept, also where the result was cut"}};
static const organ_http_parameter_row event_parameters[] = {
    {"id", ORGAN_IN_PATH, true, "{\"type\": \"string\", \"pattern\": \"^[0-9-]{1,31}$\"}", "of the job"},
    {"Last-Event-ID", ORGAN_IN_HEADER, false, ORGAN_TEXT_SCHEMA,
     "the id of the last event that was seen: what came after it is sent; anything else: all"}};
static const organ_http_parameter_row list_parameters[] = {
    {"state", ORGAN_IN_QUERY, false,
     "{\"enum\": [\"queued\", \"running\", \"done\", \"failed\", \"cancelled\", \"interrupted\"]}", "only jobs in this state"},
    {"offset", ORGAN_IN_QUERY, false, "{\"type\": \"integer\", \"minimum\": 0, \"maximum\": 1000000000, \"default\": 0}",
     "how many of the newest to leave out"},
    {"limit", ORGAN_IN_QUERY, false, "{\"type\": \"integer\", \"minimum\": 1, \"maximum\": 1000, \"default\": 100}", "how many at most"}};
static const organ_http_parameter_row verb_parameters[] = {
    {"verb", ORGAN_IN_PATH, true, "{\"type\": \"string\", \"pattern\": \"^[a-z]+( [a-z]+)?$\"}",
     "its name; those of two words with a blank"}};

static const organ_http_answer post_answers[] = {
    {201, JSON, JOB, "the job, queued; its place is in Location"},
    {403, PROBLEM, "a path leads over a link, to a hidden name, or may not be read"},
    {404, PROBLEM, "a path does not exist"},
    {409, PROBLEM, "a job that is queued or running writes what this one reads or writes, or reads what it writes; or a path is of the "
     "wrong kind"},
    {422, PROBLEM, "this can be no job: all that is wrong is in \"errors\", memory beyond --job-memory too"},
    {429, PROBLEM, "too many jobs wait"}};
static const organ_http_answer list_answers[] = {
    {200, JSON, "{\"type\": \"object\", \"required\": [\"jobs\", \"total\", \"offset\"], \"properties\": "
     "{\"jobs\": {\"type\": \"array\", \"items\": " JOB
     "}, \"total\": {\"type\": \"integer\", \"minimum\": 0}, \"offset\": {\"type\": \"integer\", \"minimum\": 0}}}", "the newest first"}};
static const organ_http_answer job_answers[] = {{200, JSON, JOB, "the job and how far it is"}, NO_JOB};
static const organ_http_answer delete_answers[] = {
    {202, JSON, JOB, "it waits no longer, or was told to end"}, {204, NULL, NULL, "it had ended; its record is gone, what it wrote stays"},
    NO_JOB};
static const organ_http_answer resume_answers[] = {
    {202, JSON, JOB, "it is queued again"}, NO_JOB,
    {409, PROBLEM, "it did not stop early, its verb cannot go on, or another job is in the way"},
    {422, PROBLEM, "what it reads is no longer there"}};
static const organ_http_answer event_answers[] = {
    {200, "text/event-stream", NULL, "events until the job has ended"}, {204, NULL, NULL, "the client has seen the end"}, NO_JOB};
static const organ_http_answer result_answers[] = {{200, JSON, "{\"type\": \"object\"}",
     "the report as the verb prints it with --json; where that was too large to be kept: {\"cut\": true, \"bytes\", \"kept\", "
     "\"detail\", \"beginning\"}"},
                                                   NO_JOB, NOTHING};
static const organ_http_answer report_answers[] = {{200, "text/html", NULL, "the report as one page"}, NO_JOB, NOTHING};
static const organ_http_answer log_answers[] = {{200, "text/plain", NULL, "the events, one JSON object a line"}, NO_JOB, NOTHING};
static const organ_http_answer verbs_answers[] = {
    {200, JSON, "{\"type\": \"object\", \"required\": [\"verbs\"], \"properties\": {\"verbs\": {\"type\": \"array\", \"items\": "
     "{\"$ref\": \"#/components/schemas/VerbBrief\"}}}}", "all verbs that can be jobs"}};
static const organ_http_answer verb_answers[] = {{200, JSON, "{\"$ref\": \"#/components/schemas/Verb\"}", "what it takes"},
                                                 {404, PROBLEM, "there is no such verb"}};
static const organ_http_answer open_api_answers[] = {{200, JSON, "{\"type\": \"object\"}", "this document"}};

#define ANSWERS(of)    .answers = of, .answer_count = COUNT_OF(of)
#define PARAMETERS(of) .parameters = of, .parameter_count = COUNT_OF(of)
#define GET            .method = ORGAN_HTTP_GET
#define JOBS           "/api/v1/jobs"

static const organ_http_route routes[] = {
    {.method = ORGAN_HTTP_POST, .pattern = JOBS, .handle = post_job, .operation = "createJob", .tag = "jobs",
     .summary = "Has a verb done",
     .about = "The job runs the program in a process of its own, which can read and write below the root only where the kernel can "
              "confine it. With \"dry-run\" nothing is written.",
     .body = "{\"$ref\": \"#/components/schemas/JobRequest\"}", ANSWERS(post_answers), .waits = true},
    {GET, .pattern = JOBS, .handle = get_jobs, .operation = "listJobs", .tag = "jobs", .summary = "Jobs, the newest first",
     PARAMETERS(list_parameters), ANSWERS(list_answers), .waits = true},
    {GET, .pattern = JOBS "/{id}", .handle = get_job, .operation = "getJob", .tag = "jobs", .summary = "A job and how far it is",
     PARAMETERS(id_parameters), ANSWERS(job_answers), .waits = true},
    {.method = ORGAN_HTTP_DELETE, .pattern = JOBS "/{id}", .handle = delete_job, .operation = "deleteJob", .tag = "jobs",
     .summary = "Cancels a job, or forgets one that has ended",
     .about = "A running job is told to end as by Ctrl-C; where its verb has \"resume\", it can go on later.",
     PARAMETERS(id_parameters), ANSWERS(delete_answers), .waits = true},
    {.method = ORGAN_HTTP_POST, .pattern = JOBS "/{id}/resume", .handle = resume_job, .operation = "resumeJob", .tag = "jobs",
     .summary = "Goes on with a job that stopped early", PARAMETERS(id_parameters), ANSWERS(resume_answers), .waits = true},
    {GET, .pattern = JOBS "/{id}/events", .handle = get_events, .operation = "followJob", .tag = "jobs",
     .summary = "Follows a job as server-sent events",
     .about = "Events: \"job\" with the job whenever its state or progress changes, and as the last one; \"begin\", "
              "\"advance\" and \"end\" of a stage, "
              "\"note\" and \"error\" as the program gives them with --progress json.",
     PARAMETERS(event_parameters), ANSWERS(event_answers), .waits = true},
    {GET, .pattern = JOBS "/{id}/result", .handle = get_result, .operation = "getJobResult", .tag = "jobs",
     .summary = "The report of a job as JSON", PARAMETERS(result_parameters), ANSWERS(result_answers), .waits = true},
    {GET, .pattern = JOBS "/{id}/report", .handle = get_report, .operation = "getJobReport", .tag = "jobs",
     .summary = "The report of a job as a page", PARAMETERS(id_parameters), ANSWERS(report_answers), .waits = true},
    {GET, .pattern = JOBS "/{id}/log", .handle = get_log, .operation = "getJobLog", .tag = "jobs", .summary = "What a job has said",
     PARAMETERS(id_parameters), ANSWERS(log_answers), .waits = true},
    {GET, .pattern = "/api/v1/verbs", .handle = get_verbs, .operation = "listVerbs", .tag = "jobs", .summary = "The verbs that can be jobs",
     ANSWERS(verbs_answers)},
    {GET, .pattern = "/api/v1/verbs/{verb}", .handle = get_verb, .operation = "getVerb", .tag = "jobs",
     .summary = "What a verb takes, for forms", PARAMETERS(verb_parameters), ANSWERS(verb_answers)},
    {GET, .pattern = "/api/v1/openapi.json", .handle = get_open_api, .operation = "getOpenApi", .tag = "server",
     .summary = "This interface, described", ANSWERS(open_api_answers), .waits = true}};

#define MAYBE_TEXT  "{\"type\": [\"string\", \"null\"]}"
#define MAYBE_REAL  "{\"type\": [\"number\", \"null\"]}"
#define COUNT_WORD  "{\"type\": \"integer\", \"minimum\": 0}"
#define TRUTH       "{\"type\": \"boolean\"}"

static const organ_http_schema schemas[] = {
    {"Job",
     "{\"type\": \"object\", \"required\": [\"id\", \"verb\", \"arguments\", \"command\", \"outputs\", \"state\", "
     "\"created\", \"started\", "
     "\"finished\", \"seconds\", \"attempts\", \"exit_code\", \"error\", \"cancelling\", \"resumable\", \"result\", \"report\", "
     "\"progress\", \"result_bytes\", \"cut\"], \"properties\": {"
     "\"result_bytes\": {\"type\": [\"integer\", \"null\"], \"description\": \"size of the result as it is kept\"}, "
     "\"cut\": {\"type\": [\"integer\", \"null\"], \"description\": \"size of the result as it was printed, where that was too much to "
     "be kept\"}, "
     "\"id\": {\"type\": \"string\", \"pattern\": \"^[0-9-]{1,31}$\"}, \"verb\": {\"type\": \"string\"}, "
     "\"arguments\": {\"type\": \"object\"}, "
     "\"command\": {\"type\": \"string\", \"description\": \"the same for a shell at the root\"}, "
     "\"outputs\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}, \"description\": \"paths that it writes\"}, "
     "\"state\": {\"enum\": [\"queued\", \"running\", \"done\", \"failed\", \"cancelled\", \"interrupted\"]}, "
     "\"created\": {\"type\": \"string\", \"format\": \"date-time\"}, \"started\": " MAYBE_TEXT ", \"finished\": " MAYBE_TEXT ", "
     "\"attempts\": " COUNT_WORD ", "
     "\"exit_code\": {\"type\": [\"integer\", \"null\"], \"description\": \"exit code of the program; 1: done, but the check "
     "that was asked for "
     "did not hold\"}, "
     "\"error\": {\"type\": [\"string\", \"null\"], \"description\": \"why it did not end well\"}, "
     "\"seconds\": {\"type\": [\"number\", \"null\"], \"description\": \"how long the last attempt took\"}, "
     "\"result\": {\"type\": \"boolean\", \"description\": \"it has printed a report\"}, "
     "\"report\": {\"type\": \"boolean\", \"description\": \"which has a page\"}, "
     "\"cancelling\": " TRUTH ", \"resumable\": " TRUTH ", "
     "\"progress\": {\"anyOf\": [{\"type\": \"null\"}, {\"$ref\": \"#/components/schemas/JobProgress\"}]}}}"},
    {"JobProgress",
     "{\"type\": \"object\", \"required\": [\"stage\", \"bytes\", \"of\", \"tensors\", \"of_tensors\", \"fraction\", \"tensor\", "
     "\"bytes_per_second\", \"seconds_left\"], \"properties\": {\"stage\": {\"type\": \"string\"}, \"bytes\": " COUNT_WORD ", \"of\": "
     COUNT_WORD ", \"tensors\": " COUNT_WORD ", \"of_tensors\": " COUNT_WORD ", \"fraction\": {\"type\": [\"number\", \"null\"], "
     "\"minimum\": 0, \"maximum\": 1}, \"tensor\": " MAYBE_TEXT ", "
     "\"bytes_per_second\": " MAYBE_REAL ", \"seconds_left\": " MAYBE_REAL "}}"},
    {"VerbBrief",
     "{\"type\": \"object\", \"required\": [\"name\", \"summary\", \"resumable\", \"dry_run\"], \"properties\": {\"name\": {\"type\": "
     "\"string\"}, \"summary\": {\"type\": \"string\"}, \"resumable\": " TRUTH ", \"dry_run\": " TRUTH "}}"},
    {"Verb",
     "{\"type\": \"object\", \"required\": [\"name\", \"summary\", \"resumable\", \"dry_run\", \"about\", \"exits\", \"operands\", "
     "\"groups\", \"examples\", \"schema\"], \"properties\": {\"name\": {\"type\": \"string\"}, \"operands\": {\"type\": \"array\", "
     "\"items\": {\"type\": \"object\"}}, \"groups\": {\"type\": \"array\", \"items\": {\"type\": \"object\"}}, \"examples\": {\"type\": "
     "\"array\", \"items\": {\"type\": \"object\"}}, \"schema\": {\"type\": \"object\", \"description\": \"JSON Schema of the "
     "arguments\"}}}"}};

const organ_area organ_area_jobs = {
    .name = "jobs", .routes = routes, .route_count = COUNT_OF(routes), .schemas = schemas, .schema_count = COUNT_OF(schemas),
    .start = start, .stop = stop, .metrics = metrics};
