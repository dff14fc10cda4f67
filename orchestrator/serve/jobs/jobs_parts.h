/* SPDX-License-Identifier: MIT
 * Private to this folder: structures and functions that the parts of organ_jobs share. */
#ifndef ORGAN_JOBS_PARTS_H
#define ORGAN_JOBS_PARTS_H

#include "orchestrator/serve/http/http.h"
#include "orchestrator/serve/jobs/keeper.h"
#include "orchestrator/serve/jobs/job_output.h"
#include "orchestrator/serve/jobs/store.h"

#include <pthread.h>

/* A client that follows the events of a job. */
typedef struct organ_job_stream {
    struct organ_jobs *jobs;
    organ_job *job; /* counts as one of its users */
    organ_http_waker *waker;
    int fd;          /* events.jsonl; -1: not opened yet */
    int64_t offset;  /* end of the last line that was sent */
    unsigned seen;   /* version of the job in the last view that was sent */
    bool ended;      /* the last event was made */
    double last;     /* time of the last sent data */
    char *pending;   /* events that are formatted but not yet sent */
    size_t size, at; /* size of `pending` and position in it */
    struct organ_job_stream *next;
} organ_job_stream;

struct organ_jobs {
    organ_jobs_setup setup;
    organ_job_store store;
    organ_process_plan plan;
    pthread_mutex_t mutex;  /* guards all following members */
    pthread_cond_t changed; /* wakes the thread that watches the jobs */
    pthread_t thread;
    bool threaded, stopping; /* `thread` was started; it must end */
    organ_job **list;        /* ordered by id */
    size_t count, capacity;
    organ_job_stream *streams;
    uint64_t bytes;                                      /* size of the files of all jobs */
    unsigned long long started, ended[ORGAN_JOB_STATES]; /* since the server started */
};

/* The caller of each function below holds jobs->mutex. */

/* ---- list.c ---- */

bool organ_jobs_make_room(organ_jobs *jobs); /* for one more job in the list; false without memory */
size_t organ_jobs_count_in(const organ_jobs *jobs, organ_job_state state);
organ_job *organ_jobs_find(const organ_jobs *jobs, const char *id); /* NULL: there is none */
void organ_jobs_changed(organ_jobs *jobs, organ_job *job);          /* counts a change that clients must receive and
                                                                     * wakes the job's streams */
void organ_jobs_wake(organ_jobs *jobs, const organ_job *job);       /* wakes the job's streams for new events only */
void organ_jobs_drop(organ_jobs *jobs, organ_job *job);             /* removes it from the list and its files from
                                                                     * the disk */
void organ_jobs_leave(organ_job *job);                              /* removes one user of the job */

/* ---- run.c ---- */

/* Checks that the job does not ask for more memory than jobs may have. *limit becomes the memory limit of its process
 * in bytes, 0: none. */
bool organ_jobs_memory(const organ_jobs *jobs, const char *verb, const json_t *argv, uint64_t *limit,
                       organ_error *error);
/* Starts the next attempt of a queued job. A job that cannot be started becomes ORGAN_JOB_FAILED. */
void organ_jobs_start(organ_jobs *jobs, organ_job *job);
/* Reads new events of a running job and checks whether its process has ended. */
void organ_jobs_watch(organ_jobs *jobs, organ_job *job);
/* Signals a running job that was cancelled: SIGINT, later SIGTERM, then SIGKILL. */
void organ_jobs_signal(organ_jobs *jobs, organ_job *job);
/* Continues a job that an earlier server has left queued or running. */
void organ_jobs_adopt(organ_jobs *jobs, organ_job *job);
/* Sets the final state of a job and saves its record. */
void organ_jobs_conclude(organ_jobs *jobs, organ_job *job, organ_job_state state);

/* Checks the stored arguments of a job again, like a new request, and replaces its argv and paths. Returns 0, or the
 * HTTP status. */
unsigned organ_jobs_renew(organ_jobs *jobs, organ_job *job, organ_error *error);

#endif
