/* SPDX-License-Identifier: MIT
 * How far a job is, told by what it writes on its standard error (--progress json), and how it ended. */
#ifndef ORGAN_JOB_PROGRESS_H
#define ORGAN_JOB_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Starts as zeros. Of the stage that began last. */
typedef struct organ_job_progress {
    int64_t offset;         /* in the file of events: everything before was read */
    char stage[64];         /* "pruning"; "" before the first */
    uint64_t bytes, of;     /* done and in all */
    uint64_t tensors, many; /* the same in tensors */
    char tensor[256];       /* finished last */
    double since;           /* when this stage was first seen */
    uint64_t before;        /* bytes that were done then */
    bool failed;            /* there was an error */
    int code;               /* its exit code */
    char message[1000];     /* of the error, or the last line that was no event */
} organ_job_progress;

/* Reads the whole lines that have come since, at most a megabyte at once; true if there were any. */
bool organ_job_progress_read(organ_job_progress *progress, int fd);

/* One line without its end, as a new object: what is no event becomes {"event": "note", "text": ...}. NULL without
 * memory. */
json_t *organ_job_event(const char *line, size_t length);

/* {"stage", "bytes", "of", "fraction", "tensors", "of_tensors", "tensor", "bytes_per_second", "seconds_left"}; what is
 * not known is null, and so are the last two of a job that does not run. NULL without memory. */
json_t *organ_job_progress_view(const organ_job_progress *progress, bool running);

#endif
