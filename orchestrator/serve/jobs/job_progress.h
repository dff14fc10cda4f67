/* SPDX-License-Identifier: MIT
 * The progress of a job and its final error, read from the events that it writes to standard error (--progress
 * json). */
#ifndef ORGAN_JOB_PROGRESS_H
#define ORGAN_JOB_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The stage that began last. Initialise with zeros. */
typedef struct organ_job_progress {
    int64_t offset;         /* bytes of the file of events that have been read */
    char stage[64];         /* "pruning"; "" before the first */
    uint64_t bytes, of;     /* bytes done and in total */
    uint64_t tensors, many; /* tensors done and in total */
    char tensor[256];       /* the last finished tensor */
    double since;           /* time of the first event of this stage, in seconds of organ_seconds_now */
    uint64_t before;        /* value of `bytes` at the time `since` */
    bool failed;            /* there was an error event: `code` and `message` are from it */
    int code;               /* its exit code */
    char message[1000];     /* of the error, or the last line that was not an event */
} organ_job_progress;

/* Reads new complete lines, at most one megabyte per call; returns true if there were any. */
bool organ_job_progress_read(organ_job_progress *progress, int fd);

/* Parses one line, without its newline, to a new object. A line that is not an event becomes {"event": "note",
 * "text": ...}. NULL without memory. */
json_t *organ_job_event(const char *line, size_t length);

/* Returns {"stage", "bytes", "of", "fraction", "tensors", "of_tensors", "tensor", "bytes_per_second",
 * "seconds_left"}. Unknown values are null, and so are the last two for a job that is not running. NULL without
 * memory. */
json_t *organ_job_progress_view(const organ_job_progress *progress, bool running);

#endif
