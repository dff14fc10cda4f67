/* SPDX-License-Identifier: MIT
 * The jobs of a server: a queue, the processes that work on it, and one thread that watches them. */
#ifndef ORGAN_JOB_KEEPER_H
#define ORGAN_JOB_KEEPER_H

#include "orchestrator/serve/confine/confine.h"
#include "orchestrator/serve/http/http.h"
#include "orchestrator/serve/jobs/store.h"
#include "orchestrator/serve/jobs/words.h"

#include <stdio.h>

typedef struct organ_jobs organ_jobs;

typedef struct organ_jobs_setup {
    const organ_jail *jail;
    const organ_verb *const *verbs;
    size_t verb_count;
    unsigned limit;      /* how many run at once, at least 1 */
    size_t kept;         /* finished jobs that are remembered; the oldest go first */
    size_t most_queued;  /* more that wait are refused */
    uint64_t output;     /* bytes of the result that one job keeps at most, and of its log; 0: no limit */
    uint64_t keep_bytes; /* of all jobs together; the oldest that have finished go first; 0: no limit */
    uint64_t memory;     /* that one job may ask for with --memory at most; 0: no limit, and jobs run without one */
    const char *program; /* what runs the verbs */
    double patience;     /* seconds after which a cancelled job that has not ended is told more firmly: SIGINT, SIGTERM,
                            SIGKILL */
} organ_jobs_setup;

/* Reads what an earlier server left: finished jobs are there, queued ones wait again, running ones are watched on, and
 * those that died meanwhile are marked as interrupted. Malformed records are reported to `notes` (may be NULL) and left
 * alone. The jail and verbs must outlive it. */
organ_status organ_jobs_open(const organ_jobs_setup *setup, FILE *notes, organ_jobs **jobs, organ_error *error);

/* Stops watching. Running jobs go on: the next server finds them. No stream may be open. NULL is allowed. */
void organ_jobs_close(organ_jobs *jobs);

/* All of these may be called from any thread. They give an HTTP status and what it is about: a view as organ_job_view
 * makes it, for the caller to release, or a message. 500 without memory or where the disk refuses. */

/* Adds a job: 201; 409 if the job needs a path of a queued or running job, or if its "force" would replace an output
 * that none of the finished jobs has made; 429 if too many jobs wait. Takes ownership of the contents of `words`, also
 * after an error. */
unsigned organ_jobs_add(organ_jobs *jobs, organ_job_words *words, json_t **view, organ_error *error);
/* Does something with one job, while nothing else is done with any; 404 if there is none such. */
typedef unsigned organ_job_action(organ_jobs *jobs, organ_job *job, json_t **view, organ_error *error);
unsigned organ_jobs_do(organ_jobs *jobs, const char *id, organ_job_action *action, json_t **view, organ_error *error);
organ_job_action organ_job_show; /* 200 */
/* 202: it is queued no more, or told to end; 204: it had finished, and its record is gone (*view is NULL). */
organ_job_action organ_job_delete;
/* 202: it is queued again and will go on where it stopped; 409 if it has not stopped early, its verb cannot go on, or
 * it would get into another's way; 422 if what it needs is no longer there. */
organ_job_action organ_job_resume;

/* {"jobs": [...], "total": N, "offset": N}: the newest first, from `offset`, at most `limit`; only those in that state,
 * or all with ORGAN_JOB_STATES. */
json_t *organ_jobs_list(organ_jobs *jobs, organ_job_state state, uint64_t offset, uint64_t limit);

/* What a finished job printed: 200 and a descriptor to close; 404 if there is no such job, 409 if it has not begun.
 * `name` as in organ_job_open. */
unsigned organ_jobs_file(organ_jobs *jobs, const char *id, const char *name, int *fd, organ_error *error);
/* 200 and a descriptor of the result to close; *cut is its size as it was printed if that was too much to be kept, and
 * what is there its beginning, else 0 and it is one JSON object. 404; 409 if there is none, or none yet. */
unsigned organ_jobs_printed(organ_jobs *jobs, const char *id, int *fd, uint64_t *cut, organ_error *error);
/* 200 and the result as a tree, for results that have a page; 404; 409 if there is none, none yet, or one that is too
 * large. */
unsigned organ_jobs_result(organ_jobs *jobs, const char *id, json_t **result, organ_error *error);

/* Lines of Prometheus' text format. */
void organ_jobs_metrics(organ_jobs *jobs, FILE *out);

/* How many jobs are in that state now. */
size_t organ_jobs_count(organ_jobs *jobs, organ_job_state state);

/* What confines the jobs. */
organ_confinement organ_jobs_confinement(const organ_jobs *jobs);

/* The events of a job as server-sent events, from behind `last` (the value of Last-Event-ID; NULL: all). Answers by
 * itself: 200 with a stream, 204 where a client that has seen the end asks again, 404. */
void organ_jobs_events(organ_jobs *jobs, const char *id, const char *last, organ_http_reply *reply);

#endif
