/* SPDX-License-Identifier: MIT
 * The files of jobs. Each job has a directory ROOT/.organ/jobs/ID, where ROOT is the directory that the server serves.
 * It contains job.json (the record: request and state), events.jsonl (standard error of the job's process) and
 * result.json (its standard output). A server that restarts after a crash reads all state from these files. */
#ifndef ORGAN_JOB_STORE_H
#define ORGAN_JOB_STORE_H

#include <organ/base.h>
#include "orchestrator/serve/jobs/process.h"
#include "orchestrator/serve/jobs/job_progress.h"
#include "orchestrator/serve/jobs/job_arguments.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum organ_job_state {
    ORGAN_JOB_QUEUED,
    ORGAN_JOB_RUNNING,
    ORGAN_JOB_DONE,        /* exit code 0, or 1: a requested check has failed, as the result states */
    ORGAN_JOB_FAILED,      /* any other exit code, or a crash */
    ORGAN_JOB_CANCELLED,   /* because a client asked for it */
    ORGAN_JOB_INTERRUPTED, /* exit code 130 although no client asked for it, or the machine or process ended while no
                            * server could collect an exit code */
    ORGAN_JOB_STATES       /* number of states */
} organ_job_state;

extern const char *const organ_job_state_names[ORGAN_JOB_STATES];
organ_job_state organ_job_state_named(const char *name); /* ORGAN_JOB_STATES if no state has this name */
bool organ_job_active(organ_job_state state);            /* queued or running */

/* A job: its request, its state and its process. */
typedef struct organ_job {
    char id[32]; /* UTC time of creation with microseconds, "20261120-153201-004711": ids sort by age */
    organ_job_state state;
    json_t *fixed; /* the members of organ_job_words as JSON: {"verb" (its name), "arguments", "argv", "command",
                    * "reads", "writes", "made", "resumes"} */
    char created[32], started[32], finished[32]; /* RFC 3339, UTC; "" if not yet */
    unsigned attempts;                           /* number of processes started for the job */
    bool resume;                                 /* the next attempt gets --resume */
    bool cancelling;                             /* a client has cancelled the job, but its process has not ended yet */
    organ_process process;                       /* pid 0 unless running */
    int code;                                    /* exit code of the last attempt; -1: none */
    char message[1000]; /* why the last attempt failed, was interrupted or cancelled; "" if there is no message */
    double began;       /* start of the last attempt, in seconds since 1970 */
    double seconds;     /* duration of the last attempt; negative: unknown */
    bool result;        /* result.json is a complete JSON object */
    bool page;          /* organ_html_report can make an HTML page of the result */
    uint64_t size;      /* stored size of result.json in bytes */
    uint64_t cut;       /* size of result.json in bytes before it was truncated; 0: it is complete */

    /* The members below are not stored on the disk. */
    organ_job_progress progress;
    uint64_t bytes;     /* bytes that the files of the job occupy */
    uint64_t memory;    /* memory limit of the process in bytes; 0: none, or unknown */
    int events;         /* descriptor of events.jsonl while running, else -1 */
    double next_signal; /* when a cancelled job gets the next, stronger signal; in seconds of organ_seconds_now */
    int signals;        /* number of signals that the process has got */
    unsigned version;   /* counts changes that are visible to clients */
    unsigned users;     /* number of event streams that read the job */
    bool removed;       /* no longer in organ_jobs.list; organ_jobs_leave frees the job when `users` is 0 */
    bool child;         /* the process is a child of this server: organ_process_reap can read its exit code */
} organ_job;

/* The directory of all jobs. */
typedef struct organ_job_store {
    char *path; /* ROOT/.organ/jobs */
    int lock;   /* descriptor of that directory, whose lock excludes a second server; -1: closed */
} organ_job_store;

/* Opens the store and creates missing directories. Returns ORGAN_USAGE if another server uses this root, or if one of
 * the directories is a link; ORGAN_IO if a system call fails. */
organ_status organ_job_store_open(const char *root, organ_job_store *store, organ_error *error);
void organ_job_store_close(organ_job_store *store); /* also for a store that was not opened: {.lock = -1} */

/* Creates a queued job with its directory and record. The job holds references to the JSON values of `words`; the
 * caller still releases `words`, and frees *job with organ_job_free. Returns ORGAN_IO, with *job NULL, if memory runs
 * out or a file cannot be written. */
organ_status organ_job_create(const organ_job_store *store, organ_job_words *words, organ_job **job,
                              organ_error *error);
/* Writes job.json and waits until it is on the disk. Returns ORGAN_IO on failure. */
organ_status organ_job_save(const organ_job_store *store, const organ_job *job, organ_error *error);
/* Loads the job with this id; the caller frees it with organ_job_free. Returns ORGAN_BAD_INPUT if job.json cannot be
 * opened or is malformed, ORGAN_IO if memory runs out; *job is then NULL. */
organ_status organ_job_load(const organ_job_store *store, const char *id, organ_job **job, organ_error *error);
/* Returns the names of all directories that may belong to jobs, sorted, as an array of strings for the caller to
 * release. Returns NULL with ORGAN_IO if the store cannot be listed, NULL without an error if memory runs out. */
json_t *organ_job_ids(const organ_job_store *store, organ_error *error);
/* Removes the directory of a job with all its files. */
void organ_job_erase(const organ_job_store *store, const char *id);
/* Removes the directory of a job whose server ended while it wrote the first record: the directory then contains only a
 * temporary file of job.json. Returns false if the directory contains other files, or cannot be removed; its temporary
 * files of job.json are removed even then. */
bool organ_job_erase_unfinished(const organ_job_store *store, const char *id);
/* Frees the job in memory and closes its descriptor of events.jsonl. NULL is allowed. */
void organ_job_free(organ_job *job);

/* Opens the file `name` in the directory of a job with the flags of open(2). Returns -1 with errno on failure; EINVAL
 * if `name` is not a regular file. */
int organ_job_open(const organ_job_store *store, const char *id, const char *name, int flags);
/* Parses result.json. Returns the JSON for the caller to release, or NULL if there is no result or it is not JSON. */
json_t *organ_job_result(const organ_job_store *store, const char *id);

/* Writes the current time in the form of RFC 3339 with milliseconds, and returns it in seconds since 1970. */
double organ_job_stamp(char stamp[32]);

/* Returns the job as clients receive it: {"id", "verb", "arguments", "command", "outputs", "state", "created",
 * "started", "finished", "seconds", "attempts", "exit_code", "error", "cancelling", "resumable", "result", "report",
 * "progress", "result_bytes", "cut"}; unknown values are null. NULL if out of memory. */
json_t *organ_job_view(const organ_job *job);

#endif
