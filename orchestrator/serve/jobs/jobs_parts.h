/* SPDX-License-Identifier: MIT
 * Private to this folder: the list of jobs (organ_jobs), the streams of their events, and functions on both that
 * keeper.c, run.c, store.c and events.c share. */
#ifndef ORGAN_SERVE_JOBS_JOBS_PARTS_H
#define ORGAN_SERVE_JOBS_JOBS_PARTS_H

#include "orchestrator/command/option_tables.h"
#include "orchestrator/serve/confine/confine.h"
#include "orchestrator/serve/http/http.h"

#include <jansson.h>
#include <organ/base.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* Converts the JSON of a request to the words of a command line. No value from a client can become an option, and no
 * path can lead out of the root. */

/* The checked request of a job, and the command line made from it. */
typedef struct organ_job_words {
    const organ_verb *verb;
    json_t *arguments; /* "arguments" of the request, unchanged */
    json_t *argv; /* ["organ", "prune", "--output=out", "--json", "--progress=json", "--", "donor"]; paths are relative
                     to the root, those of models in stores (formats/names/names.h) absolute */
    json_t *reads, *writes; /* arrays of the paths that the job reads and writes, as written in the request */
    json_t *made;           /* the paths in `writes` at which nothing existed before the job; organ_jobs_add appends
                             * outputs of earlier jobs that this job replaces */
    char *command;          /* the same command for a shell in the root, without --json and --progress */
    bool resumes;           /* the verb has --resume */
} organ_job_words;

/* Reads {"verb": "prune", "arguments": {"DONOR": "models/a", "output": "out/b", "sparsity": 30, "dry-run": true}}.
 * `verbs` are the `count` verbs of the program. Members of "arguments" have the names of operands and options. Repeated
 * operands and options are arrays, flags are true or false, amounts of memory are numbers or "512M". Paths are relative
 * to the root, or names of models in stores.
 *
 * Returns 0 and fills `words`, for organ_job_words_release, if the request is a valid job. Otherwise returns an HTTP
 * status and clears `words`: 422 if the request could never be a job, else that of the first path that the jail rejects
 * (404: it does not exist; 409: an output would change a model). *faults is then an array with at most 32 faults,
 * {"field": "/arguments/sparsity", "detail": "..."}, for the caller to release. Returns 500 with *faults NULL without
 * memory. */
unsigned organ_job_words_read(const organ_verb *const *verbs, size_t count, const organ_jail *jail,
                              const json_t *request, organ_job_words *words, json_t **faults);

/* Returns a copy of argv that has the option --resume, for the caller to release. NULL if memory runs out. */
json_t *organ_job_words_resumed(const json_t *argv);

/* Returns true if two jobs cannot run at the same time: a path that one writes is, contains or is inside a path that
 * the other reads or writes. *path is then the path of the first job, an item of `reads` or `writes`. */
bool organ_job_words_clash(const json_t *reads, const json_t *writes, const json_t *other_reads,
                           const json_t *other_writes, const char **path);

/* Releases the members of `words` and sets them to zero. */
void organ_job_words_release(organ_job_words *words);

/* ---- processes of jobs ---- */

/* Processes of jobs. They outlive the server that started them, and a later server can identify them. */

/* Identifies one process for all time: the system reuses pids, but not with the same start time in one boot. */
typedef struct organ_process {
    pid_t pid;     /* 0: no process */
    uint64_t born; /* start time of the process, in clock ticks since the machine was booted */
    char boot[40]; /* id of that boot (/proc/sys/kernel/random/boot_id) */
} organ_process;

/* Properties that all job processes share. */
typedef struct organ_process_plan {
    int folders[ORGAN_JAIL_FOLDERS]; /* directories of the jail: the first is the root, in which the process works and
                                      * writes; it may only read the others. The jail closes the descriptors */
    size_t folder_count;
    int program;               /* descriptor of the program, O_PATH */
    organ_confinement confine; /* the mechanisms that confine the process */
    char **environ;            /* environment of the process: "NAME=VALUE", NULL-terminated */
} organ_process_plan;

/* The memory of a job, in bytes. */
typedef struct organ_job_memory {
    uint64_t limit; /* private memory of the process (RLIMIT_DATA); 0: no limit */
    uint64_t share; /* upper bound of --memory auto (ORGAN_MEMORY_LIMIT); 0: --memory is an amount */
} organ_job_memory;

/* Starts a process in its own process group, with the descriptors `output` and `log` as standard output and error, no
 * other open files, no core dumps, and that memory. The process
 * is confined, but waits at the pipe *gate: organ_process_let_go makes it execute the program. The caller can save
 * *process before that. If *gate is closed without a release, for example because the server dies, the process ends.
 * Returns ORGAN_IO if the process cannot be started or confined. */
organ_status organ_process_start(const organ_process_plan *plan, char *const *argv, organ_job_memory memory, int output,
                                 int log, organ_process *process, int *gate, organ_error *error);
void organ_process_let_go(int gate);                                /* starts the waiting program; closes the gate */
void organ_process_abandon(const organ_process *process, int gate); /* ends the waiting process instead */

void organ_job_close(int fd); /* closes fd; does nothing for -1 */

/* Returns true if exactly this process is still running. */
bool organ_process_lives(const organ_process *process);

/* Waits for a child that has ended (waitpid) and returns true. *code is its exit code and *signal 0, or *code is -1 and
 * *signal the signal that ended it. Returns false while the process runs, and if it is not a child of this server. */
bool organ_process_reap(const organ_process *process, int *code, int *signal);

/* Sends the signal to the process and all processes it started; does nothing if it has ended. */
void organ_process_signal(const organ_process *process, int number);

/* ---- the progress of a job and its final error ---- */

/* The progress of a job and its final error, read from the events that its process writes to standard error: one JSON
 * object per line (orchestrator/cli/cli_parts.h). */

/* The stage of a job that began last, and its error. Initialise with zeros. */
typedef struct organ_job_progress {
    int64_t offset;         /* bytes of events.jsonl that have been read */
    char stage[64];         /* name of the stage, "pruning"; "" before the first stage */
    uint64_t bytes, of;     /* of the stage: bytes done and in total */
    uint64_t tensors, many; /* of the stage: tensors done and in total */
    char unit[16];          /* what these are: "tensors", "windows" or "chunks" */
    char tensor[256];       /* the last finished tensor; "" if there is none yet */
    double since;           /* start of the measurement of the speed, in seconds of organ_seconds_now */
    uint64_t before;        /* value of `bytes` at the time `since` */
    bool failed;            /* the last attempt has written an error event */
    int code;               /* exit code in that event */
    char message[1000];     /* message of the error event; without one, the last note or line that is no event */
} organ_job_progress;

/* Reads the complete lines of `fd` after progress->offset, at most one megabyte per call, and updates `progress`.
 * Returns true if there were any, false also if memory runs out. */
bool organ_job_progress_read(organ_job_progress *progress, int fd);

/* Parses one line of events.jsonl, without its newline. Returns an object for the caller to release; a line that is not
 * an event becomes {"event": "note", "text": LINE}. NULL if memory runs out. */
json_t *organ_job_event(const char *line, size_t length);

/* Returns the progress for clients, to be released: {"stage", "bytes", "of", "fraction", "tensors", "of_tensors",
 * "unit", "tensor", "bytes_per_second", "seconds_left"}. Unknown values are null; the last two are also null if the job
 * is not `running`. NULL if memory runs out. */
json_t *organ_job_progress_view(const organ_job_progress *progress, bool running);

/* ---- the files of jobs ---- */

/* The files of jobs. Each job has a directory ROOT/.organ/jobs/ID, where ROOT is the directory that the server serves.
 * It contains job.json (the record: request and state), events.jsonl (standard error of the job's process) and
 * result.json (its standard output). A server that restarts after a crash reads all state from these files. */

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
    /* UTC time of creation with microseconds, "20261120-153201-004711", or a microsecond after the newest id of the
     * store: ids sort by age even if the clock steps back. */
    char id[32];
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
 * release. Returns NULL with ORGAN_IO if the store cannot be listed or memory runs out. */
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

/* Returns the job as clients receive it: {"id", "verb", "arguments", "command", "outputs", "state", "created",
 * "started", "finished", "seconds", "attempts", "exit_code", "error", "cancelling", "resumable", "result", "report",
 * "progress", "result_bytes", "cut"}; unknown values are null. NULL if out of memory. */
json_t *organ_job_view(const organ_job *job);

/* ---- results and logs of jobs ---- */

/* Truncates and examines the results (result.json) and logs (events.jsonl) of jobs. None of these functions takes a
 * lock or parses a result into a tree of JSON values. */

/* Results with more bytes get no HTML page: a page is made from a tree of JSON values, which needs ten times as much
 * memory as the text. */
#define ORGAN_JOB_PAGE_BYTES (8u << 20)

typedef struct organ_job_findings {
    bool result;    /* result.json is a complete JSON object */
    bool page;      /* an HTML page can be made of it: its schema has one, and it is small enough */
    uint64_t size;  /* stored size of result.json in bytes */
    uint64_t cut;   /* size of result.json in bytes before it was truncated; 0: it is complete */
    uint64_t bytes; /* sum of the sizes of job.json, events.jsonl and result.json */
} organ_job_findings;

/* ---- the jobs of a server ---- */

/* The jobs of a server: the queue, the processes of running jobs, and one thread that watches them. */

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

/* ---- what handlers call ---- */

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

/* ---- store.c ---- */

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

/* Sets *memory for a job with the command line `argv` of this verb. With --memory auto the share is half of the memory
 * that is free now, divided by setup.limit jobs, but at most setup.memory. Returns false, with an error, if --memory is
 * an amount above setup.memory, or if the free memory cannot be read. */
bool organ_jobs_memory(const organ_jobs *jobs, const char *verb, const json_t *argv, organ_job_memory *memory,
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

/* ---- the memory limit of jobs ---- */

/* The memory limit of jobs: RLIMIT_DATA, which counts the private memory of a process. RLIMIT_AS would also count
 * mapped files, libraries and address space that is only reserved: for a perplexity with 8 threads and --memory 64M
 * that is 1,517 MB instead of 893 MB. A control group would count pages in use, but creating one requires rights
 * that a user who starts a server rarely has. */

/* Memory that a process needs in addition to --memory: for the program with its libraries and the lists of a model; and
 * for each thread, for its stack, its part of the heap and scratch memory. */
#define ORGAN_JOB_BASE_BYTES   ((uint64_t)256 << 20)
#define ORGAN_JOB_THREAD_BYTES ((uint64_t)128 << 20)

/* False in a program with a sanitizer: its jobs run without a memory limit. */
extern const bool organ_job_memory_limited;

/* Returns the memory limit (RLIMIT_DATA) of a job's process in bytes: `memory` + ORGAN_JOB_BASE_BYTES +
 * ORGAN_JOB_THREAD_BYTES for each thread. The number of threads is --threads in `argv` (NULL: not given), at most one
 * per processor, which is also the default. Returns 0, no limit, if organ_job_memory_limited is false. */
uint64_t organ_job_memory_limit(uint64_t memory, const json_t *argv);

/* ---- verbs as JSON ---- */

/* Describes the verbs that can be jobs as JSON: for the forms of the server's page, and for the OpenAPI document. The
 * descriptions are derived from the tables that also define the command line (orchestrator/command/option_tables.h). */

/* Returns whether the verb can be a job: it has --json, and organ_verb.no_job is not set. */
bool organ_verb_is_job(const organ_verb *verb);
/* Returns the verb with this name among the `count` verbs, NULL if there is none or it cannot be a job. */
const organ_verb *organ_job_verb(const organ_verb *const *verbs, size_t count, const char *name);

/* Returns the k-th of those options of the verb that a client may set, NULL after the last. Omits options that the
 * server sets itself (--json, --progress, ...), --html and --header. */
const organ_option *organ_job_option(const organ_verb *verb, size_t k);

/* Writes to `key` the name of the member of "arguments" for the operand, "MODEL" for "MODEL...", and returns `key`. */
const char *organ_operand_key(const organ_operand *operand, char key[64]);

/* Returns an option that describes the operand. Its name is the text that organ_operand_key writes to `key`. */
organ_option organ_job_operand(const organ_operand *operand, char key[64]);

/* Returns {"name", "summary", "resumable", "dry_run", "section"} of every verb that can be a job, in the order of the
 * table; "section" is the title under which `organ help` lists the verb. NULL if out of memory. */
json_t *organ_verb_list(const organ_verb_table *table);

/* Returns {"name", "summary", "resumable", "dry_run", "about", "exits", "operands", "groups", "examples", "schema"}:
 * "groups" contains the options, "schema" is the JSON Schema of "arguments". NULL if out of memory. */
json_t *organ_verb_describe(const organ_verb *verb);

/* Returns the JSON Schema of a request for a job of this verb, {"verb": ..., "arguments": ...}. NULL if out of memory.
 */
json_t *organ_verb_request_schema(const organ_verb *verb);

#endif
