/* SPDX-License-Identifier: MIT
 * Jobs as they lie on the disk: ROOT/.organ/jobs/ID with job.json (what was asked and how far it is), events.jsonl
 * (standard error of the program) and result.json (its standard output). Whatever happens to the server, this is what
 * it knows afterwards. */
#ifndef ORGAN_JOB_STORE_H
#define ORGAN_JOB_STORE_H

#include "formats/base/status.h"
#include "orchestrator/serve/jobs/process.h"
#include "orchestrator/serve/jobs/progress.h"
#include "orchestrator/serve/jobs/words.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum organ_job_state {
    ORGAN_JOB_QUEUED,
    ORGAN_JOB_RUNNING,
    ORGAN_JOB_DONE,        /* exit code 0, or 1: the check that was asked for did not hold, and the result says so */
    ORGAN_JOB_FAILED,      /* any other exit code, or a crash */
    ORGAN_JOB_CANCELLED,   /* because a client asked for it */
    ORGAN_JOB_INTERRUPTED, /* by something else: a signal, or the machine went down */
    ORGAN_JOB_STATES
} organ_job_state;

extern const char *const organ_job_state_names[ORGAN_JOB_STATES];
organ_job_state organ_job_state_named(const char *name); /* ORGAN_JOB_STATES: none of these */
bool organ_job_active(organ_job_state state);            /* queued or running */

typedef struct organ_job {
    char id[32]; /* the moment it was made, "20261120-153201-004711": ids are ordered as the jobs are */
    organ_job_state state;
    json_t *fixed; /* {"verb", "arguments", "argv", "command", "reads", "writes", "made", "resumes"} */
    char created[32], started[32], finished[32]; /* RFC 3339, UTC; "" if not yet */
    unsigned attempts;
    bool resume;           /* the next attempt goes on with the last */
    bool cancelling;       /* a client asked for the end */
    organ_process process; /* pid 0 unless running */
    int code;              /* exit code; -1: none */
    char message[1000];    /* why it did not end well; "" if it did */
    double began, seconds; /* of the last attempt: when, since 1970, and how long it took; negative: not known */
    bool result, page;     /* it has printed a report, and there is an HTML page for such a one */
    uint64_t size, cut;    /* of the result as it is kept and as it was printed; cut 0: all of it is kept */

    /* Not on the disk. */
    organ_job_progress progress;
    uint64_t bytes;     /* that its files take */
    uint64_t memory;    /* that its process may take; 0: no limit, or not known */
    int events;         /* descriptor of events.jsonl while running, else -1 */
    double next_signal; /* when a cancelled job that does not end is told more firmly */
    int signals;        /* told so far */
    unsigned version;   /* counts changes that clients should see */
    unsigned users;     /* streams that hold it */
    bool removed;       /* no longer in the list; the last user frees it */
    bool child;         /* of this server: its exit code can be collected */
} organ_job;

typedef struct organ_job_store {
    char *path; /* ROOT/.organ/jobs */
    int lock;   /* one server at a time; -1: closed */
} organ_job_store;

/* Makes what is missing of the directories. ORGAN_USAGE if another server has this root, or if one of them is a link;
 * ORGAN_IO. */
organ_status organ_job_store_open(const char *root, organ_job_store *store, organ_error *error);
void organ_job_store_close(organ_job_store *store); /* allowed on zeroes with lock -1 */

/* A new job with its directory and record, queued; takes what `words` has. ORGAN_IO. */
organ_status organ_job_create(const organ_job_store *store, organ_job_words *words, organ_job **job,
                              organ_error *error);
/* Writes the record, durably. */
organ_status organ_job_save(const organ_job_store *store, const organ_job *job, organ_error *error);
/* ORGAN_BAD_INPUT if the record is malformed. */
organ_status organ_job_load(const organ_job_store *store, const char *id, organ_job **job, organ_error *error);
/* The ids of all directories that could be jobs, in their order: an array of strings to be released. NULL and ORGAN_IO
 * on failure. */
json_t *organ_job_ids(const organ_job_store *store, organ_error *error);
void organ_job_erase(const organ_job_store *store, const char *id); /* the record and its directory */
/* Removes the directory of a job whose server was ended before it wrote the record: nothing is in it but
 * the beginning of one. False if there is something. */
bool organ_job_unmade(const organ_job_store *store, const char *id);
void organ_job_free(organ_job *job);

/* Opens "events.jsonl" or "result.json" of a job: O_RDONLY, or for writing (made if need be). -1 with errno; EINVAL if
 * it is no regular file. */
int organ_job_open(const organ_job_store *store, const char *id, const char *name, int flags);
/* The whole result, to be released; NULL if there is none that is JSON. */
json_t *organ_job_result(const organ_job_store *store, const char *id);

/* RFC 3339 with milliseconds, now; also the seconds since 1970. */
double organ_job_stamp(char stamp[32]);

/* What clients see: {"id", "verb", "arguments", "command", "outputs", "state", "created", "started", "finished",
 * "seconds", "attempts", "exit_code", "error", "cancelling", "resumable", "result", "report", "progress",
 * "result_bytes", "cut"}; null for what is not known. NULL without memory. */
json_t *organ_job_view(const organ_job *job);

#endif
