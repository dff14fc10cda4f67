/* SPDX-License-Identifier: MIT
 * What the parts of organ_jobs share. */
#ifndef ORGAN_JOB_PARTS_H
#define ORGAN_JOB_PARTS_H

#include "orchestrator/serve/http/http.h"
#include "orchestrator/serve/jobs/keeper.h"
#include "orchestrator/serve/jobs/output.h"
#include "orchestrator/serve/jobs/store.h"

#include <pthread.h>

/* A client that follows a job. */
typedef struct organ_job_stream {
    struct organ_jobs *jobs;
    organ_job *job; /* counts as one of its users */
    organ_http_waker *waker;
    int fd;          /* events.jsonl; -1: there is none yet */
    int64_t offset;  /* behind the last line that was sent */
    unsigned seen;   /* the version of the job that was sent last */
    bool ended;      /* the last event was made */
    double last;     /* when something was sent */
    char *pending;   /* made but not yet sent */
    size_t size, at; /* of it */
    struct organ_job_stream *next;
} organ_job_stream;

struct organ_jobs {
    organ_jobs_setup setup;
    organ_job_store store;
    organ_process_plan plan;
    pthread_mutex_t mutex; /* guards all that follows */
    pthread_cond_t changed;
    pthread_t thread;
    bool threaded, stopping;
    organ_job **list; /* in the order of their ids */
    size_t count, room;
    organ_job_stream *streams;
    uint64_t bytes;                                      /* that all jobs keep */
    unsigned long long started, ended[ORGAN_JOB_STATES]; /* since the server started */
};

/* All of these with the mutex held. */

/* ---- list.c ---- */

bool organ_jobs_make_room(organ_jobs *jobs); /* for one more in the list; false without memory */
size_t organ_jobs_count_in(const organ_jobs *jobs, organ_job_state state);
organ_job *organ_jobs_find(const organ_jobs *jobs, const char *id); /* NULL: there is none */
void organ_jobs_changed(organ_jobs *jobs, organ_job *job);          /* clients should see it: wakes its streams */
void organ_jobs_wake(organ_jobs *jobs, const organ_job *job);       /* the same where only events have come */
void organ_jobs_drop(organ_jobs *jobs, organ_job *job);             /* out of the list and off the disk */
void organ_jobs_leave(organ_job *job);                              /* one user less */

/* ---- run.c ---- */

/* Whether the job asks for no more memory than jobs may have; *limit is what its process gets then, 0: no limit. */
bool organ_jobs_memory(const organ_jobs *jobs, const char *verb, const json_t *argv, uint64_t *limit,
                       organ_error *error);
/* Starts the next attempt of a queued job; one that cannot be started has failed. */
void organ_jobs_start(organ_jobs *jobs, organ_job *job);
/* Reads what a running job has said, and finds out whether it has ended. */
void organ_jobs_watch(organ_jobs *jobs, organ_job *job);
/* Signals a running job that was cancelled: SIGINT, later SIGTERM, then SIGKILL. */
void organ_jobs_signal(organ_jobs *jobs, organ_job *job);
/* Takes up again what an earlier server left of this job. */
void organ_jobs_adopt(organ_jobs *jobs, organ_job *job);
/* Gives a job its last state and writes it down. */
void organ_jobs_conclude(organ_jobs *jobs, organ_job *job, organ_job_state state);

/* Reads the arguments of a job again, as if they came from a client now: argv and paths are made anew. 0, or the HTTP
 * status. */
unsigned organ_jobs_renew(organ_jobs *jobs, organ_job *job, organ_error *error);

#endif
