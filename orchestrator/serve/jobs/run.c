/* SPDX-License-Identifier: MIT
 * Starts, watches, signals and ends the process of one job, and takes over jobs of an earlier server. The caller of
 * each function holds jobs->mutex. */
#include <organ/machine.h>
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/serve/jobs/memory.h"
#include "orchestrator/serve/jobs/job_output.h"
#include "orchestrator/serve/jobs/jobs_parts.h"
#include "orchestrator/serve/jobs/verb_catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* ---- the end ---- */

void organ_jobs_conclude(organ_jobs *jobs, organ_job *job, organ_job_state state)
{
    /* If the record cannot be saved, the job still ends here; the next server will find that its process has ended. */
    organ_error ignored = {0};
    job->state = state;
    job->cancelling = false;
    job->process = (organ_process){0};
    organ_job_close(job->events);
    job->events = -1;
    const double now = organ_job_stamp(job->finished);
    job->seconds = job->attempts > 0 && now > job->began ? now - job->began : -1;
    organ_job_save(&jobs->store, job, &ignored);
    jobs->ended[state]++;
    organ_jobs_changed(jobs, job);
}

/* `number` is the signal that ended the process, 0 for none; without a signal the message must contain "memory".
 * Does nothing for SIGKILL, SIGINT and SIGTERM, which come from outside the process. */
static void explain_memory(organ_job *job, int number)
{
    char limit[24];
    const size_t used = strlen(job->message);
    if (job->memory == 0 || (number == 0 && !strcasestr(job->message, "memory")) || number == SIGKILL ||
        number == SIGINT || number == SIGTERM)
        return;
    snprintf(job->message + used, sizeof job->message - used, "%s a job with this --memory is limited to %s in total",
             number ? ", perhaps for lack of memory:" : ";", organ_quantity_option(job->memory, limit));
}

/* `number` is the signal that ended the process, 0 for none. If the process was a child of an earlier server, its
 * exit code is unknown (code -1, number 0): the function then takes the code in the error event, or 0 if the result
 * is complete. */
static void end_job(organ_jobs *jobs, organ_job *job, int code, int number, const organ_job_findings *found)
{
    /* A process that failed or finished before the signal had an effect counts as failed or done. */
    const bool cancelled = job->cancelling && (code == ORGAN_INTERRUPTED || number != 0 || code < 0);
    if (code < 0 && number == 0 && job->progress.failed)
        code = job->progress.code;
    if (code < 0 && number == 0 && found->result)
        code = ORGAN_OK;
    job->code = code;
    job->result = found->result;
    job->page = found->page;
    job->size = found->size;
    job->cut = found->cut;
    job->bytes = found->bytes;
    if (job->progress.failed)
        snprintf(job->message, sizeof job->message, "%s", job->progress.message);
    else if (number != 0)
        snprintf(job->message, sizeof job->message, "ended by signal %d (%s)", number, strsignal(number));
    else if (code < 0)
        snprintf(job->message, sizeof job->message,
                 "the process ended while no server watched it; its exit code is unknown");
    else if (code > ORGAN_CHECK_FAILED)
        snprintf(job->message, sizeof job->message, "%s", job->progress.message);
    if (code == ORGAN_IO || number != 0)
        explain_memory(job, number);
    if (code == ORGAN_OK || code == ORGAN_CHECK_FAILED)
        organ_jobs_conclude(jobs, job, ORGAN_JOB_DONE);
    else if (cancelled)
        organ_jobs_conclude(jobs, job, ORGAN_JOB_CANCELLED);
    else
        organ_jobs_conclude(jobs, job,
                            code == ORGAN_INTERRUPTED || (code < 0 && number == 0) ? ORGAN_JOB_INTERRUPTED
                                                                                   : ORGAN_JOB_FAILED);
}

/* Unlocks the mutex meanwhile, because a result may be long. No other thread frees the job then: its state is still
 * "running", which only this thread changes. */
static organ_job_findings examine_output(organ_jobs *jobs, organ_job *job)
{
    const uint64_t cut = job->cut;
    pthread_mutex_unlock(&jobs->mutex);
    const organ_job_findings found = organ_job_examine(&jobs->store, job->id, jobs->setup.output, cut);
    pthread_mutex_lock(&jobs->mutex);
    return found;
}

void organ_jobs_watch(organ_jobs *jobs, organ_job *job)
{
    int code = -1, number = 0;
    /* Checks for the end before it reads the events, so that it also reads all lines that the process wrote before its
     * end. */
    const bool over =
        job->child ? organ_process_reap(&job->process, &code, &number) : !organ_process_lives(&job->process);
    if (job->events < 0)
        job->events = organ_job_open(&jobs->store, job->id, "events.jsonl", O_RDONLY);
    /* One call reads at most a megabyte of events. While the process runs, later events are left to the next call. */
    bool received = false;
    while (job->events >= 0 && organ_job_progress_read(&job->progress, job->events)) {
        received = true;
        if (!over)
            break;
    }
    if (over) {
        const organ_job_findings found = examine_output(jobs, job);
        end_job(jobs, job, code, number, &found);
        return;
    }
    job->bytes = organ_job_trim(&jobs->store, job->id, jobs->setup.output, job->progress.offset, &job->cut);
    if (received)
        organ_jobs_wake(jobs, job);
}

void organ_jobs_signal(organ_jobs *jobs, organ_job *job)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGKILL};
    const int last = (int)(sizeof signals / sizeof *signals) - 1;
    organ_process_signal(&job->process, signals[job->signals < last ? job->signals : last]);
    job->signals++;
    job->next_signal = organ_seconds_now() + jobs->setup.patience;
}

/* ---- the start ---- */

static char **argv_words(const json_t *argv)
{
    const size_t count = json_array_size(argv);
    char **const words = calloc(count + 1, sizeof *words);
    for (size_t k = 0; words && k < count; k++)
        words[k] = (char *)json_string_value(json_array_get(argv, k));
    return words;
}

bool organ_jobs_memory(const organ_jobs *jobs, const char *name, const json_t *argv, uint64_t *limit,
                       organ_error *error)
{
    const organ_verb *const verb = organ_job_verb(jobs->setup.verbs, jobs->setup.verb_count, name);
    char requested[24], allowed[24];
    uint64_t memory = organ_job_memory(verb, argv);
    /* A verb without --memory has a fixed assumed amount, which a client cannot lower: lower it instead of rejecting.
     */
    if (verb && !organ_verb_option(verb, "memory") && jobs->setup.memory && memory > jobs->setup.memory)
        memory = jobs->setup.memory;
    *limit = jobs->setup.memory ? organ_job_memory_limit(memory, argv) : 0;
    if (jobs->setup.memory == 0 || memory <= jobs->setup.memory)
        return true;
    organ_fail(error, ORGAN_USAGE,
               "/arguments/memory: the job requests %s (%llu bytes), but the limit of this server is %s (--job-memory)",
               organ_quantity_option(memory, requested), (unsigned long long)memory,
               organ_quantity_option(jobs->setup.memory, allowed));
    return false;
}

/* `memory` 0 is no limit. The process executes its program only after job.json with its pid is on the disk, so that
 * a later server always finds a running process. */
static organ_status launch_job(organ_jobs *jobs, organ_job *job, char *const *argv, uint64_t memory, organ_error *error)
{
    int gate = -1;
    const int log = organ_job_open(&jobs->store, job->id, "events.jsonl",
                                   O_WRONLY | O_CREAT | O_APPEND | (job->resume ? 0 : O_TRUNC));
    const int output = organ_job_open(&jobs->store, job->id, "result.json", O_WRONLY | O_CREAT | O_TRUNC);
    if (log < 0 || output < 0)
        organ_fail_errno(error, errno, "the files of job %s", job->id);
    else if (organ_process_start(&jobs->plan, argv, memory, output, log, &job->process, &gate, error) == ORGAN_OK) {
        job->state = ORGAN_JOB_RUNNING;
        job->child = true;
        job->attempts++;
        job->began = organ_job_stamp(job->started);
        if (organ_job_save(&jobs->store, job, error) == ORGAN_OK)
            organ_process_let_go(gate);
        else
            organ_process_abandon(&job->process, gate); /* no later server could find the process */
    }
    organ_job_close(log);
    organ_job_close(output);
    return error->status;
}

void organ_jobs_start(organ_jobs *jobs, organ_job *job)
{
    organ_error error = {0};
    json_t *const plain = json_object_get(job->fixed, "argv");
    json_t *const argv = job->resume ? organ_job_words_resumed(plain) : json_incref(plain);
    char **const words = argv_words(argv);
    job->progress = (organ_job_progress){.offset = job->progress.offset}; /* a resumed job appends to events.jsonl */
    job->message[0] = '\0';
    job->finished[0] = '\0';
    job->code = -1;
    job->signals = 0;
    job->result = job->page = false;
    job->size = job->cut = 0;
    if (!argv || !words)
        organ_fail_errno(&error, ENOMEM, "the words of job %s", job->id);
    else if (organ_jobs_memory(jobs, organ_json_text(job->fixed, "verb"), argv, &job->memory, &error))
        launch_job(jobs, job, words, job->memory, &error);
    free(words);
    json_decref(argv);
    if (error.status == ORGAN_OK) {
        jobs->started++;
        organ_jobs_changed(jobs, job);
        return;
    }
    organ_jail_unroot(jobs->setup.jail, error.message);
    snprintf(job->message, sizeof job->message, "%s", error.message);
    organ_jobs_conclude(jobs, job, ORGAN_JOB_FAILED);
}

/* ---- after a restart ---- */

/* The limits of the server may have changed, too. */
unsigned organ_jobs_renew(organ_jobs *jobs, organ_job *job, organ_error *error)
{
    const organ_jobs_setup *const setup = &jobs->setup;
    json_t *faults = NULL;
    organ_job_words words;
    json_t *const request = json_pack("{s:O, s:O}", "verb", json_object_get(job->fixed, "verb"), "arguments",
                                      json_object_get(job->fixed, "arguments"));
    const unsigned refused =
        request ? organ_job_words_read(setup->verbs, setup->verb_count, setup->jail, request, &words, &faults) : 500;
    json_decref(request);
    if (refused) {
        const json_t *const first = json_array_get(faults, 0);
        organ_fail(error, ORGAN_BAD_INPUT, "%s: %s",
                   first ? json_string_value(json_object_get(first, "field")) : "no memory",
                   first ? json_string_value(json_object_get(first, "detail")) : "");
        json_decref(faults);
        return refused;
    }
    uint64_t limit;
    if (!organ_jobs_memory(jobs, words.verb->name, words.argv, &limit, error)) {
        organ_job_words_release(&words);
        return 422;
    }
    ORGAN_ADD(job->fixed, SET_HELD("argv", words.argv), SET_HELD("reads", words.reads),
              SET_HELD("writes", words.writes));
    organ_job_words_release(&words);
    return 0;
}

/* A result that was larger than the limit of this server is no longer JSON, so the job then counts as one without a
 * result (job->result) and without a page. The log stays unchanged: organ_job_trim releases only bytes of it that
 * the server has read, and gets 0 as their number. */
static void finish_ended_job(organ_jobs *jobs, organ_job *job)
{
    organ_error ignored = {0};
    const uint64_t cut = job->cut;
    organ_job_trim(&jobs->store, job->id, jobs->setup.output, 0, &job->cut);
    job->bytes = organ_job_bytes(&jobs->store, job->id);
    if (job->cut == cut)
        return;
    job->result = job->page = false;
    job->size = jobs->setup.output;
    organ_job_save(&jobs->store, job, &ignored);
}

void organ_jobs_adopt(organ_jobs *jobs, organ_job *job)
{
    organ_error error = {0};
    job->child = false;
    job->signals = job->cancelling ? 1 : 0; /* the earlier server sent SIGINT: the next is SIGTERM */
    job->next_signal = organ_seconds_now() + jobs->setup.patience;
    if (job->state == ORGAN_JOB_RUNNING)
        organ_jobs_watch(jobs, job);
    else if (!organ_job_active(job->state))
        finish_ended_job(jobs, job);
    else if (job->state == ORGAN_JOB_QUEUED && organ_jobs_renew(jobs, job, &error)) {
        snprintf(job->message, sizeof job->message, "%s", error.message);
        organ_jobs_conclude(jobs, job, ORGAN_JOB_FAILED);
    }
}
