/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/jobs/jobs_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Time between two checks of the running jobs: views and events of a job are at most this old. */
static const long tick_nanoseconds = 100 * 1000 * 1000;

/* Removes ended jobs, the oldest first, until the others are within the limits of the setup. */
static void forget_oldest(organ_jobs *jobs)
{
    size_t finished =
        jobs->count - organ_jobs_count_in(jobs, ORGAN_JOB_QUEUED) - organ_jobs_count_in(jobs, ORGAN_JOB_RUNNING);
    uint64_t bytes = 0;
    for (size_t k = 0; k < jobs->count; k++)
        bytes += jobs->list[k]->bytes;
    for (size_t k = 0; k < jobs->count &&
                       (finished > jobs->setup.kept || (jobs->setup.keep_bytes && bytes > jobs->setup.keep_bytes));) {
        if (organ_job_active(jobs->list[k]->state)) {
            k++;
            continue;
        }
        bytes -= jobs->list[k]->bytes;
        organ_jobs_drop(jobs, jobs->list[k]);
        finished--;
    }
    jobs->bytes = bytes;
}

/* ---- the thread ---- */

/* Queued jobs start in order of age, up to setup.limit running ones. Returns whether a job runs. The mutex may be
 * unlocked for a while (examine_output in run.c). */
static bool watch_jobs(organ_jobs *jobs)
{
    size_t running = 0;
    for (size_t k = 0; k < jobs->count; k++) {
        organ_job *const job = jobs->list[k];
        if (job->state == ORGAN_JOB_RUNNING)
            organ_jobs_watch(jobs, job);
        if (job->state == ORGAN_JOB_RUNNING && job->cancelling && organ_seconds_now() >= job->next_signal)
            organ_jobs_signal(jobs, job);
        running += job->state == ORGAN_JOB_RUNNING;
    }
    for (size_t k = 0; k < jobs->count && running < jobs->setup.limit; k++)
        if (jobs->list[k]->state == ORGAN_JOB_QUEUED) {
            organ_jobs_start(jobs, jobs->list[k]);
            running += jobs->list[k]->state == ORGAN_JOB_RUNNING;
        }
    forget_oldest(jobs);
    return running > 0;
}

/* Main function of the thread: calls watch_jobs at its start, after each signal of jobs->changed and, while a job
 * runs, at least every tick_nanoseconds. */
static void *run_keeper(void *context)
{
    organ_jobs *const jobs = context;
    ORGAN_LOCKED(&jobs->mutex);
    while (!jobs->stopping) {
        if (watch_jobs(jobs)) {
            struct timespec until;
            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_nsec += tick_nanoseconds;
            until.tv_sec += until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            pthread_cond_clockwait(&jobs->changed, &jobs->mutex, CLOCK_MONOTONIC, &until);
        } else if (!jobs->stopping) { /* watch_jobs may have unlocked the mutex, so `stopping` may be set now */
            pthread_cond_wait(&jobs->changed, &jobs->mutex);
        }
    }
    return NULL;
}

/* ---- open and close ---- */

/* Removes directories whose record was never completed, and reports malformed records to `notes`, if that is not
 * NULL. */
static organ_status load_jobs(organ_jobs *jobs, FILE *notes, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const ids = organ_job_ids(&jobs->store, error);
    ORGAN_LOCKED(&jobs->mutex);
    for (size_t k = 0; k < json_array_size(ids) && error->status == ORGAN_OK; k++) {
        organ_error fault = {0};
        organ_job *job = NULL;
        if (!organ_jobs_make_room(jobs))
            organ_fail_errno(error, ENOMEM, "the list of jobs");
        else if (organ_job_load(&jobs->store, json_string_value(json_array_get(ids, k)), &job, &fault) == ORGAN_OK) {
            jobs->list[jobs->count++] = job;
            organ_jobs_adopt(jobs, job);
        } else if (!organ_job_erase_unfinished(&jobs->store, json_string_value(json_array_get(ids, k))) && notes)
            organ_message(notes, ORGAN_MESSAGE_WARNING, "%s", fault.message);
    }
    return error->status;
}

static organ_status make_plan(organ_jobs *jobs, organ_error *error)
{
    organ_process_plan *const plan = &jobs->plan;
    plan->confine = organ_confinement_of_kernel();
    plan->environ = organ_child_environment(plan->confine.seccomp);
    plan->folder_count = organ_jail_folders(jobs->setup.jail, plan->folders);
    plan->program = open(jobs->setup.program, O_PATH | O_CLOEXEC);
    if (plan->program < 0)
        return organ_fail_errno(error, errno, "%s", jobs->setup.program);
    return plan->environ ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "the environment of jobs");
}

organ_status organ_jobs_open(const organ_jobs_setup *setup, FILE *notes, organ_jobs **opened, organ_error *error)
{
    organ_jobs *const jobs = calloc(1, sizeof *jobs);
    *opened = NULL;
    if (!jobs)
        return organ_fail_errno(error, ENOMEM, "the list of jobs");
    jobs->setup = *setup;
    jobs->store.lock = jobs->plan.program = -1;
    pthread_mutex_init(&jobs->mutex, NULL);
    pthread_cond_init(&jobs->changed, NULL);
    if (organ_job_store_open(organ_jail_root(setup->jail), &jobs->store, error) == ORGAN_OK &&
        make_plan(jobs, error) == ORGAN_OK && load_jobs(jobs, notes, error) == ORGAN_OK) {
        const int fault = pthread_create(&jobs->thread, NULL, run_keeper, jobs);
        jobs->threaded = fault == 0;
        if (fault)
            organ_fail_errno(error, fault, "the thread that watches jobs");
    }
    if (error->status == ORGAN_OK)
        *opened = jobs;
    else
        organ_jobs_close(jobs);
    return error->status;
}

void organ_jobs_close(organ_jobs *jobs)
{
    if (!jobs)
        return;
    pthread_mutex_lock(&jobs->mutex);
    jobs->stopping = true;
    pthread_cond_signal(&jobs->changed);
    pthread_mutex_unlock(&jobs->mutex);
    if (jobs->threaded)
        pthread_join(jobs->thread, NULL);
    for (size_t k = 0; k < jobs->count; k++)
        organ_job_free(jobs->list[k]);
    free(jobs->list);
    organ_job_close(jobs->plan.program);
    free(jobs->plan.environ);
    organ_job_store_close(&jobs->store);
    pthread_cond_destroy(&jobs->changed);
    pthread_mutex_destroy(&jobs->mutex);
    free(jobs);
}

size_t organ_jobs_count(organ_jobs *jobs, organ_job_state state)
{
    ORGAN_LOCKED(&jobs->mutex);
    return organ_jobs_count_in(jobs, state);
}

organ_confinement organ_jobs_confinement(const organ_jobs *jobs) { return jobs->plan.confine; }

/* ---- requests of clients ---- */

/* `reads` and `writes` are the paths of the job `self`, which is NULL before the job is in the list. A path in
 * `writes` clashes with all paths of queued and running jobs, one in `reads` with those that they write. */
static bool outputs_clash(const organ_jobs *jobs, const organ_job *self, const json_t *reads, const json_t *writes,
                          organ_error *error)
{
    for (size_t k = 0; k < jobs->count; k++) {
        const organ_job *const other = jobs->list[k];
        const char *path = NULL;
        if (other == self || !organ_job_active(other->state))
            continue;
        if (organ_job_words_clash(reads, writes, json_object_get(other->fixed, "reads"),
                                  json_object_get(other->fixed, "writes"), &path)) {
            organ_fail(error, ORGAN_USAGE, "%s belongs to job %s, which is %s", path, other->id,
                       organ_job_state_names[other->state]);
            return true;
        }
    }
    return false;
}

static bool has_text(const json_t *array, const char *text)
{
    for (size_t k = 0; k < json_array_size(array); k++)
        if (strcmp(json_string_value(json_array_get(array, k)), text) == 0)
            return true;
    return false;
}

static bool is_output_of_job(const organ_jobs *jobs, const char *path)
{
    for (size_t k = 0; k < jobs->count; k++)
        if (jobs->list[k]->state == ORGAN_JOB_DONE && has_text(json_object_get(jobs->list[k]->fixed, "made"), path))
            return true;
    return false;
}

/* A client must not be able to delete models by running jobs, so "force" may replace only outputs that a job of this
 * server has made. Appends outputs that the job may replace to words->made, because they count as made by this job
 * once it has ended. */
static bool replaces_others(const organ_jobs *jobs, const organ_job_words *words, organ_error *error)
{
    const bool forces = json_is_true(json_object_get(words->arguments, "force"));
    for (size_t k = 0; forces && k < json_array_size(words->writes); k++) {
        const char *const path = json_string_value(json_array_get(words->writes, k));
        if (has_text(words->made, path))
            continue;
        if (!is_output_of_job(jobs, path)) {
            organ_fail(error, ORGAN_USAGE,
                       "%s exists and was not written by a job of this server: \"force\" does not replace it", path);
            return true;
        }
        json_array_append_new(words->made, json_string(path));
    }
    return false;
}

/* Paths in the error become relative to the root, because clients must not learn where the root is. Returns the HTTP
 * status 500. */
static unsigned system_refused(const organ_jobs *jobs, organ_error *error)
{
    organ_jail_unroot(jobs->setup.jail, error->message);
    return 500;
}

/* Does what organ_jobs_add does, but does not release the words. The caller holds the mutex. */
static unsigned insert_job(organ_jobs *jobs, organ_job_words *words, json_t **view, organ_error *error)
{
    organ_job *job = NULL;
    organ_job_memory memory;
    if (!organ_jobs_memory(jobs, words->verb->name, words->argv, &memory, error))
        return 422;
    if (outputs_clash(jobs, /*self=*/NULL, words->reads, words->writes, error) || replaces_others(jobs, words, error))
        return 409;
    if (organ_jobs_count_in(jobs, ORGAN_JOB_QUEUED) >= jobs->setup.max_queued) {
        organ_fail(error, ORGAN_USAGE, "%zu jobs are already waiting", jobs->setup.max_queued);
        return 429;
    }
    if (!organ_jobs_make_room(jobs))
        organ_fail_errno(error, ENOMEM, "the list of jobs");
    else
        organ_job_create(&jobs->store, words, &job, error);
    if (!job)
        return system_refused(jobs, error);
    jobs->list[jobs->count++] = job;
    *view = organ_job_view(job);
    pthread_cond_signal(&jobs->changed);
    return 201;
}

unsigned organ_jobs_add(organ_jobs *jobs, organ_job_words *words, json_t **view, organ_error *error)
{
    ORGAN_LOCKED(&jobs->mutex);
    const unsigned status = insert_job(jobs, words, view, error);
    organ_job_words_release(words); /* under the mutex: the job shares JSON values, whose counts are not atomic */
    return status;
}

/* Returns the HTTP status 404. */
static unsigned refuse_id(const char *id, organ_error *error)
{
    organ_fail(error, ORGAN_USAGE, "there is no job '%.60s'", id);
    return 404;
}

unsigned organ_jobs_do(organ_jobs *jobs, const char *id, organ_job_action *action, json_t **view, organ_error *error)
{
    *view = NULL;
    ORGAN_LOCKED(&jobs->mutex);
    organ_job *const job = organ_jobs_find(jobs, id);
    return job ? action(jobs, job, view, error) : refuse_id(id, error);
}

unsigned organ_job_show(organ_jobs *jobs, organ_job *job, json_t **view, organ_error *error)
{
    (void)jobs;
    (void)error;
    *view = organ_job_view(job);
    return 200;
}

/* Removes an ended job (204, without a view), or cancels a queued or running one (202). Cancelling a running job again
 * does nothing. */
unsigned organ_job_delete(organ_jobs *jobs, organ_job *job, json_t **view, organ_error *error)
{
    if (!organ_job_active(job->state)) {
        organ_jobs_drop(jobs, job);
        return 204;
    }
    if (job->state == ORGAN_JOB_QUEUED) {
        organ_jobs_conclude(jobs, job, ORGAN_JOB_CANCELLED);
    } else if (!job->cancelling) {
        job->cancelling = true;
        if (organ_job_save(&jobs->store, job, error) != ORGAN_OK)
            return system_refused(jobs, error);
        organ_jobs_signal(jobs, job);
        organ_jobs_changed(jobs, job);
    }
    *view = organ_job_view(job);
    pthread_cond_signal(&jobs->changed);
    return 202;
}

/* Queues an ended job again with --resume. Returns 202 with the view, or 409, 422 or 500 with an error; then the state
 * of the job does not change. */
unsigned organ_job_resume(organ_jobs *jobs, organ_job *job, json_t **view, organ_error *error)
{
    if (organ_job_active(job->state) || job->state == ORGAN_JOB_DONE) {
        organ_fail(error, ORGAN_USAGE, "job %s is %s: there is nothing to resume", job->id,
                   organ_job_state_names[job->state]);
        return 409;
    }
    if (!json_is_true(json_object_get(job->fixed, "resumes")) || job->attempts == 0) {
        organ_fail(error, ORGAN_USAGE, job->attempts ? "job %s: %s cannot be resumed" : "job %s: %s has never started",
                   job->id, json_string_value(json_object_get(job->fixed, "verb")));
        return 409;
    }
    const unsigned refused = organ_jobs_renew(jobs, job, error);
    if (refused) /* 404 and others name a fault of a stored argument; for the client 404 would mean the job itself */
        return refused == 500 ? 500 : 422;
    if (outputs_clash(jobs, job, json_object_get(job->fixed, "reads"), json_object_get(job->fixed, "writes"), error))
        return 409;
    const organ_job_state before = job->state;
    job->state = ORGAN_JOB_QUEUED;
    job->resume = true;
    if (organ_job_save(&jobs->store, job, error) != ORGAN_OK) {
        job->state = before;
        return system_refused(jobs, error);
    }
    organ_jobs_changed(jobs, job);
    *view = organ_job_view(job);
    pthread_cond_signal(&jobs->changed);
    return 202;
}

json_t *organ_jobs_list(organ_jobs *jobs, organ_job_state state, uint64_t offset, uint64_t limit)
{
    json_t *shown = json_array(); /* NULL if out of memory: then json_pack returns NULL */
    uint64_t total = 0;
    ORGAN_LOCKED(&jobs->mutex);
    for (size_t k = jobs->count; shown && k-- > 0;) {
        if (state != ORGAN_JOB_STATES && jobs->list[k]->state != state)
            continue;
        if (total >= offset && total - offset < limit &&
            json_array_append_new(shown, organ_job_view(jobs->list[k])) != 0)
            organ_clear_json(&shown);
        total++;
    }
    return json_pack("{s:o, s:I, s:I}", "jobs", shown, "total", (json_int_t)total, "offset", (json_int_t)offset);
}

/* ---- output of jobs ---- */

/* The copy lets the caller read the files of the job, which may be long, without the mutex. The copy must not be
 * freed, and its pointers must not be used. Returns 200 or 404. */
static unsigned read_job_state(organ_jobs *jobs, const char *id, organ_job *now, organ_error *error)
{
    ORGAN_LOCKED(&jobs->mutex);
    const organ_job *const job = organ_jobs_find(jobs, id);
    if (job)
        *now = *job;
    return job ? 200 : refuse_id(id, error);
}

unsigned organ_jobs_file(organ_jobs *jobs, const char *id, const char *name, int *fd, organ_error *error)
{
    organ_job now;
    *fd = -1;
    const unsigned status = read_job_state(jobs, id, &now, error);
    if (status == 200)
        *fd = organ_job_open(&jobs->store, id, name, O_RDONLY);
    if (status != 200 || *fd >= 0)
        return status;
    organ_fail(error, ORGAN_USAGE, "job %s has not started yet", id);
    return 409;
}

/* Returns the HTTP status 409. */
static unsigned refuse_result(const organ_job *job, organ_error *error)
{
    organ_fail(error, ORGAN_USAGE, "job %s is %s and has no result", job->id, organ_job_state_names[job->state]);
    return 409;
}

unsigned organ_jobs_printed(organ_jobs *jobs, const char *id, int *fd, uint64_t *cut, organ_error *error)
{
    organ_job now;
    *fd = -1;
    const unsigned status = read_job_state(jobs, id, &now, error);
    if (status != 200)
        return status;
    if (!organ_job_active(now.state) && (now.result || now.cut))
        *fd = organ_job_open(&jobs->store, id, "result.json", O_RDONLY);
    *cut = now.cut;
    return *fd >= 0 ? 200 : refuse_result(&now, error);
}

unsigned organ_jobs_result(organ_jobs *jobs, const char *id, json_t **result, organ_error *error)
{
    organ_job now;
    *result = NULL;
    const unsigned status = read_job_state(jobs, id, &now, error);
    if (status != 200)
        return status;
    if (now.size > ORGAN_JOB_PAGE_BYTES) {
        organ_fail(error, ORGAN_USAGE, "the result of job %s has %llu bytes: the limit for pages is %u; use the JSON",
                   id, (unsigned long long)now.size, ORGAN_JOB_PAGE_BYTES);
        return 409;
    }
    if (!organ_job_active(now.state))
        *result = organ_job_result(&jobs->store, id);
    return *result ? 200 : refuse_result(&now, error);
}

static void print_job_quotas(const organ_jobs *jobs, FILE *out)
{
    const organ_jobs_setup *const setup = &jobs->setup;
    const size_t queued = organ_jobs_count_in(jobs, ORGAN_JOB_QUEUED),
                 running = organ_jobs_count_in(jobs, ORGAN_JOB_RUNNING);
    uint64_t memory = 0, output = 0;
    for (size_t k = 0; k < jobs->count; k++) {
        const organ_job *const job = jobs->list[k];
        output = job->size > output ? job->size : output;
        memory = job->state == ORGAN_JOB_RUNNING && job->memory > memory ? job->memory : memory;
    }
    organ_http_quota(out, "organ_jobs_running", "Running jobs.", running, setup->limit);
    organ_http_quota(out, "organ_jobs_waiting", "Waiting jobs.", queued, setup->max_queued);
    organ_http_quota(out, "organ_jobs_finished", "Finished jobs that are stored; the oldest are removed first.",
                     jobs->count - queued - running, setup->kept);
    organ_http_quota(out, "organ_jobs_kept_bytes", "Size of the records, logs and results of all jobs.", jobs->bytes,
                     setup->keep_bytes);
    organ_http_quota(out, "organ_job_output_bytes", "Size of the largest stored result.", output, setup->output);
    organ_http_quota(out, "organ_job_token_streams", "Largest number of open streams of events for one token.",
                     organ_jobs_most_streams(jobs, /*by_job=*/false), setup->token_streams);
    organ_http_quota(out, "organ_job_streams", "Largest number of open streams of events of one job.",
                     organ_jobs_most_streams(jobs, /*by_job=*/true), setup->job_streams);
    organ_http_quota(out, "organ_job_memory_bytes", "Largest memory limit of a running job.", memory,
                     setup->memory ? organ_job_memory_limit(setup->memory, /*argv=*/NULL) : 0);
}

void organ_jobs_metrics(organ_jobs *jobs, FILE *out)
{
    ORGAN_LOCKED(&jobs->mutex);
    fputs("# HELP organ_jobs Jobs by state.\n# TYPE organ_jobs gauge\n", out);
    for (int state = 0; state < ORGAN_JOB_STATES; state++)
        fprintf(out, "organ_jobs{state=\"%s\"} %zu\n", organ_job_state_names[state],
                organ_jobs_count_in(jobs, (organ_job_state)state));
    organ_http_metric(out, "organ_jobs_started_total", "counter", "Processes started for jobs.", jobs->started);
    print_job_quotas(jobs, out);
    fputs("# HELP organ_jobs_ended_total Ended jobs by final state.\n# TYPE organ_jobs_ended_total counter\n", out);
    for (int state = ORGAN_JOB_DONE; state < ORGAN_JOB_STATES; state++)
        fprintf(out, "organ_jobs_ended_total{state=\"%s\"} %llu\n", organ_job_state_names[state], jobs->ended[state]);
    organ_http_metric(out, "organ_jobs_confinement", "gauge",
                      "Version of Landlock that confines jobs; 0 without Landlock.",
                      (unsigned long long)jobs->plan.confine.landlock);
    organ_http_metric(out, "organ_jobs_seccomp", "gauge", "1 if seccomp blocks unneeded system calls of jobs.",
                      jobs->plan.confine.seccomp);
}
