/* SPDX-License-Identifier: MIT
 * The files of jobs: ROOT/.organ/jobs/ID with job.json (request and state), events.jsonl (standard error of the
 * program) and result.json (its standard output). A server that restarts after a crash reads all state from these
 * files. */
#ifndef ORGAN_JOB_STORE_H
#define ORGAN_JOB_STORE_H

#include "formats/base/status.h"
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
    ORGAN_JOB_INTERRUPTED, /* ended by a signal from elsewhere, or by a shutdown of the machine */
    ORGAN_JOB_STATES
} organ_job_state;

extern const char *const organ_job_state_names[ORGAN_JOB_STATES];
organ_job_state organ_job_state_named(const char *name); /* ORGAN_JOB_STATES if no state has this name */
bool organ_job_active(organ_job_state state);            /* queued or running */

typedef struct organ_job {
    char id[32]; /* time of creation, "20261120-153201-004711": the order of ids is the order of jobs */
    organ_job_state state;
    json_t *fixed; /* {"verb", "arguments", "argv", "command", "reads", "writes", "made", "resumes"} */
    char created[32], started[32], finished[32]; /* RFC 3339, UTC; "" if not yet */
    unsigned attempts;
    bool resume;           /* the next attempt continues the previous one */
    bool cancelling;       /* a client has cancelled it */
    organ_process process; /* pid 0 unless running */
    int code;              /* exit code; -1: none */
    char message[1000];    /* why it failed; "" if it did not */
    double began, seconds; /* of the last attempt: start in seconds since 1970, and duration; negative: unknown */
    bool result, page;     /* the job has printed a report, and reports of this kind have an HTML page */
    uint64_t size, cut;    /* stored size of the result, and its size before it was truncated; cut 0: it is complete */

    /* The members below are not stored on the disk. */
    organ_job_progress progress;
    uint64_t bytes;     /* size of its files */
    uint64_t memory;    /* memory limit of its process; 0: none, or unknown */
    int events;         /* descriptor of events.jsonl while running, else -1 */
    double next_signal; /* time of the next, stronger signal to a cancelled job that has not ended */
    int signals;        /* number of signals sent so far */
    unsigned version;   /* counts changes that are visible to clients */
    unsigned users;     /* number of streams that use it */
    bool removed;       /* no longer in the list; the last user frees it */
    bool child;         /* its process is a child of this server: the exit code can be collected */
} organ_job;

typedef struct organ_job_store {
    char *path; /* ROOT/.organ/jobs */
    int lock;   /* lock against a second server; -1: closed */
} organ_job_store;

/* Opens the store and creates missing directories. Returns ORGAN_USAGE if another server uses this root, or if one of
 * the directories is a link; ORGAN_IO if a system call fails. */
organ_status organ_job_store_open(const char *root, organ_job_store *store, organ_error *error);
void organ_job_store_close(organ_job_store *store); /* also for a store that was not opened: {.lock = -1} */

/* Creates a queued job with its directory and record. Takes ownership of the contents of `words`. ORGAN_IO. */
organ_status organ_job_create(const organ_job_store *store, organ_job_words *words, organ_job **job,
                              organ_error *error);
/* Writes the record of the job and waits until it is on the disk. */
organ_status organ_job_save(const organ_job_store *store, const organ_job *job, organ_error *error);
/* Loads the job of that id. Returns ORGAN_BAD_INPUT if the record is malformed. */
organ_status organ_job_load(const organ_job_store *store, const char *id, organ_job **job, organ_error *error);
/* Returns the ids of all directories that may be jobs, sorted, as an array of strings for the caller to release. NULL
 * and ORGAN_IO on failure. */
json_t *organ_job_ids(const organ_job_store *store, organ_error *error);
void organ_job_erase(const organ_job_store *store, const char *id); /* the record and its directory */
/* Removes the directory of a job whose server ended before the record was complete: the directory contains only the
 * beginning of a record. Returns false if it contains anything else. */
bool organ_job_unmade(const organ_job_store *store, const char *id);
void organ_job_free(organ_job *job);

/* Opens "events.jsonl" or "result.json" of a job: O_RDONLY, or for writing (created if missing). -1 with errno;
 * EINVAL if it is not a regular file. */
int organ_job_open(const organ_job_store *store, const char *id, const char *name, int flags);
/* Returns the result as JSON, for the caller to release. NULL if there is none or it is not JSON. */
json_t *organ_job_result(const organ_job_store *store, const char *id);

/* Writes the current time in the form of RFC 3339 with milliseconds, and returns it in seconds since 1970. */
double organ_job_stamp(char stamp[32]);

/* Returns the job as clients receive it: {"id", "verb", "arguments", "command", "outputs", "state", "created",
 * "started", "finished", "seconds", "attempts", "exit_code", "error", "cancelling", "resumable", "result", "report",
 * "progress", "result_bytes", "cut"}; unknown values are null. NULL if out of memory. */
json_t *organ_job_view(const organ_job *job);

#endif
