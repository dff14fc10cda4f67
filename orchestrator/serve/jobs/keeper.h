/* SPDX-License-Identifier: MIT
 * The jobs of a server: the queue, the processes of running jobs, and one thread that watches them. */
#ifndef ORGAN_JOB_KEEPER_H
#define ORGAN_JOB_KEEPER_H

#include "orchestrator/serve/confine/confine.h"
#include "orchestrator/serve/http/http.h"
#include "orchestrator/serve/jobs/store.h"
#include "orchestrator/serve/jobs/job_arguments.h"

#include <stdio.h>

typedef struct organ_jobs organ_jobs;

typedef struct organ_jobs_setup {
    const organ_jail *jail;         /* the root, and the stores whose models jobs may read */
    const organ_verb *const *verbs; /* all verbs of the program; organ_verb_is_job selects those of jobs */
    size_t verb_count;
    unsigned limit;      /* largest number of running jobs, at least 1 */
    size_t kept;         /* number of finished jobs that are kept; the oldest are removed first */
    size_t max_queued;   /* largest number of queued jobs; more are rejected */
    uint64_t output;     /* largest size in bytes of one job's result, and of its log; 0: no limit */
    uint64_t keep_bytes; /* bytes of all jobs in total; the oldest finished jobs are removed first; 0: no limit */
    uint64_t memory;     /* largest --memory of one job in bytes; 0: no limit, and processes get no memory limit */
    unsigned token_streams, job_streams; /* largest number of open streams of events for one token, and of one job; 0:
                                            no limit */
    const char *program;                 /* path of the program that runs the verbs */
    double patience; /* seconds between the signals to a cancelled job that does not end: SIGINT, SIGTERM,
                      * SIGKILL */
} organ_jobs_setup;

/* Opens the jobs below the root and starts the thread that runs them. Jobs of an earlier server are listed; its queued
 * jobs are queued again, and its running jobs are watched again. A job whose process has ended meanwhile gets the final
 * state that its files show, or ORGAN_JOB_INTERRUPTED. Malformed records are reported to `notes` (may be NULL) and left
 * unchanged. The jail and verbs must outlive *jobs. Returns the errors of organ_job_store_open, ORGAN_IO also if memory
 * runs out. */
organ_status organ_jobs_open(const organ_jobs_setup *setup, FILE *notes, organ_jobs **jobs, organ_error *error);

/* Stops watching. Running jobs continue: the next server finds them. No stream may be open. NULL is allowed. */
void organ_jobs_close(organ_jobs *jobs);

/* The functions below are thread-safe. An `unsigned` result is an HTTP status. A status below 300 comes with a result,
 * for example *view (organ_job_view, for the caller to release), any other status with an error message. 500: out of
 * memory, or an error of the disk. */

/* Adds a job to the queue. Takes ownership of the contents of `words`, also after an error. Returns
 *   201  the job is queued
 *   409  a path of the job belongs to a queued or running job, or "force" would replace an output that no finished job
 *        of this server has made
 *   422  the job requests more memory than setup.memory
 *   429  setup.max_queued jobs already wait */
unsigned organ_jobs_add(organ_jobs *jobs, organ_job_words *words, json_t **view, organ_error *error);

/* An operation on one job, which organ_jobs_do calls. Returns an HTTP status. */
typedef unsigned organ_job_action(organ_jobs *jobs, organ_job *job, json_t **view, organ_error *error);
/* Calls `action` for the job with this id while all jobs are locked, and returns its status; 404 if there is no such
 * job. */
unsigned organ_jobs_do(organ_jobs *jobs, const char *id, organ_job_action *action, json_t **view, organ_error *error);
/* Only makes the view: 200. */
organ_job_action organ_job_show;
/* 202: the job was removed from the queue, or its process was signalled to end; 204: the job had ended already, and its
 * files are deleted (*view is NULL). */
organ_job_action organ_job_delete;
/* 202: the job is queued again and will continue where it stopped; 409 if the job is queued, running or done, was never
 * started, has a verb without --resume, or needs a path of another job; 422 if its arguments are no longer valid, for
 * example because an input is missing. */
organ_job_action organ_job_resume;

/* Returns {"jobs": [...], "total": N, "offset": N}: the views of at most `limit` jobs, newest first, after `offset`
 * newer ones. `state` selects the jobs in one state, ORGAN_JOB_STATES all jobs; "total" counts the selected ones. NULL
 * if memory runs out. */
json_t *organ_jobs_list(organ_jobs *jobs, organ_job_state state, uint64_t offset, uint64_t limit);

/* Opens the file `name` of a job for reading, such as "events.jsonl". Returns 200 with *fd, for the caller to close;
 * 404 if there is no such job; 409 if the file cannot be opened, usually because the job was not started yet. */
unsigned organ_jobs_file(organ_jobs *jobs, const char *id, const char *name, int *fd, organ_error *error);
/* Opens result.json of a job. Returns 200 with *fd, for the caller to close; 404 if there is no such job; 409 if the
 * job has no result, or none yet. *cut is the size in bytes before the result was truncated; 0: the result is complete
 * and one JSON object. */
unsigned organ_jobs_printed(organ_jobs *jobs, const char *id, int *fd, uint64_t *cut, organ_error *error);
/* Parses the result of a job, to make an HTML page of it. Returns 200 with *result, for the caller to release; 404 if
 * there is no such job; 409 if the result is missing or larger than ORGAN_JOB_PAGE_BYTES. */
unsigned organ_jobs_result(organ_jobs *jobs, const char *id, json_t **result, organ_error *error);

/* Writes the number, states and limits of jobs in Prometheus' text format. */
void organ_jobs_metrics(organ_jobs *jobs, FILE *out);

/* Returns the number of jobs in `state`. */
size_t organ_jobs_count(organ_jobs *jobs, organ_job_state state);

/* Returns the mechanisms of the kernel that confine job processes. */
organ_confinement organ_jobs_confinement(const organ_jobs *jobs);

/* Replies with the events of a job as server-sent events, starting after the event `last` (the value of
 * Last-Event-ID; NULL: all). `token`: name of the client's token, "" for none. Fills `reply` in every case: 200 with a
 * stream, 204 if the job has ended and the client has received its last event, 404 if there is no such job, 429 if the
 * token or the job has setup.token_streams or setup.job_streams open streams, 500 if memory runs out. */
void organ_jobs_events(organ_jobs *jobs, const char *id, const char *last, const char *token, organ_http_reply *reply);

#endif
