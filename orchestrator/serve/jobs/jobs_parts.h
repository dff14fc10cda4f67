/* SPDX-License-Identifier: MIT
 * Private to this folder: the list of jobs (organ_jobs), the streams of their events, and functions on both that
 * keeper.c, run.c, list.c and events.c share. */
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
    organ_job *job;          /* counted in job->users */
    char token[64];          /* name of the client's token; "": the server needs none */
    organ_http_waker *waker; /* makes the server read this stream; NULL before the reply has begun */
    int fd;                  /* events.jsonl; -1: not opened yet */
    int64_t offset;          /* offset in events.jsonl after the last line that was formatted */
    unsigned seen;           /* version of the job in the last events that were formatted */
    bool ended;              /* the final event is formatted */
    double last;             /* time of the last sent data, in seconds of organ_seconds_now */
    char *pending;           /* formatted events; the first `at` of its `size` bytes are sent */
    size_t size, at;
    struct organ_job_stream *next; /* in organ_jobs.streams */
} organ_job_stream;

struct organ_jobs {
    organ_jobs_setup setup;
    organ_job_store store;
    organ_process_plan plan;
    pthread_mutex_t mutex;  /* guards all following members, and the jobs in `list` */
    pthread_cond_t changed; /* wakes `thread`: a job was added, cancelled or resumed, or `stopping` was set */
    pthread_t thread;       /* starts and watches the processes (run_keeper) */
    bool threaded;          /* `thread` was started */
    bool stopping;          /* `thread` must end */
    organ_job **list;       /* ordered by id */
    size_t count, capacity; /* of `list`: jobs, and jobs that fit before it grows */
    organ_job_stream *streams;
    uint64_t bytes;                             /* size of the files of all jobs */
    unsigned long long started;                 /* processes started by this server */
    unsigned long long ended[ORGAN_JOB_STATES]; /* jobs that have ended in each state under this server */
};

/* The caller of each function below holds jobs->mutex. */

/* ---- list.c ---- */

/* Makes room for one more job in jobs->list. Returns false if memory runs out. */
bool organ_jobs_make_room(organ_jobs *jobs);
/* Returns the number of jobs in `state`. */
size_t organ_jobs_count_in(const organ_jobs *jobs, organ_job_state state);
/* Returns the job with this id, NULL if there is none. */
organ_job *organ_jobs_find(const organ_jobs *jobs, const char *id);
/* Counts a change of the job that clients must receive (job->version), and wakes the streams of the job. */
void organ_jobs_changed(organ_jobs *jobs, organ_job *job);
/* Wakes the streams of the job to send new lines of events.jsonl. */
void organ_jobs_wake(organ_jobs *jobs, const organ_job *job);
/* Removes the job from jobs->list and its files from the disk. The memory is freed now or by the last stream. */
void organ_jobs_drop(organ_jobs *jobs, organ_job *job);
/* Returns the largest number of streams of one token, or with `by_job` of one job. */
size_t organ_jobs_most_streams(const organ_jobs *jobs, bool by_job);
/* Ends the use of the job by one stream; frees a removed job after its last stream. */
void organ_jobs_leave(organ_job *job);

/* ---- run.c ---- */

/* Returns false, with an error, if a job with the command line `argv` of this verb requests more than setup.memory.
 * *limit becomes the memory limit of its process in bytes, 0: none. */
bool organ_jobs_memory(const organ_jobs *jobs, const char *verb, const json_t *argv, uint64_t *limit,
                       organ_error *error);
/* Starts the next attempt of a queued job. A job that cannot be started becomes ORGAN_JOB_FAILED. */
void organ_jobs_start(organ_jobs *jobs, organ_job *job);
/* Reads new events of a running job and checks whether its process has ended. */
void organ_jobs_watch(organ_jobs *jobs, organ_job *job);
/* Signals a running job that was cancelled: the first call sends SIGINT, the second SIGTERM, later ones SIGKILL. */
void organ_jobs_signal(organ_jobs *jobs, organ_job *job);
/* Takes over a job of an earlier server: watches a running one, checks the arguments of a queued one, which fails if
 * they are invalid, and truncates the result of an ended one to the limit setup.output. */
void organ_jobs_adopt(organ_jobs *jobs, organ_job *job);
/* Sets the final state of a job and saves its record. */
void organ_jobs_conclude(organ_jobs *jobs, organ_job *job, organ_job_state state);

/* Checks the stored arguments of a job like those of a new request, because files may have changed, and replaces
 * "argv", "reads" and "writes" of job->fixed. Returns 0, or sets the error to the first fault and returns an HTTP
 * status. */
unsigned organ_jobs_renew(organ_jobs *jobs, organ_job *job, organ_error *error);

#endif
