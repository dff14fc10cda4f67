/* SPDX-License-Identifier: MIT
 * The progress of a job and its final error, read from the events that its process writes to standard error: one JSON
 * object per line (orchestrator/cli/progress_events.h). */
#ifndef ORGAN_JOB_PROGRESS_H
#define ORGAN_JOB_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The stage of a job that began last, and its error. Initialise with zeros. */
typedef struct organ_job_progress {
    int64_t offset;         /* bytes of events.jsonl that have been read */
    char stage[64];         /* name of the stage, "pruning"; "" before the first stage */
    uint64_t bytes, of;     /* of the stage: bytes done and in total */
    uint64_t tensors, many; /* of the stage: tensors done and in total */
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
 * "tensor", "bytes_per_second", "seconds_left"}. Unknown values are null; the last two are also null if the job is not
 * `running`. NULL if memory runs out. */
json_t *organ_job_progress_view(const organ_job_progress *progress, bool running);

#endif
