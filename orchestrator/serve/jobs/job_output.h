/* SPDX-License-Identifier: MIT
 * The printed results and logs of jobs, and their truncation. None of these functions takes a lock or parses a
 * result into a tree. */
#ifndef ORGAN_JOB_OUTPUT_H
#define ORGAN_JOB_OUTPUT_H

#include "orchestrator/serve/jobs/store.h"

/* Results above this size get no page: a page is made from a tree, which needs ten times as much memory. */
#define ORGAN_JOB_PAGE_BYTES (8u << 20)

/* Truncates the output of a running job. `limit`: largest size of the result and of the log, 0: no limit. The result
 * keeps its first `limit` bytes; if it was larger, *cut becomes its size. The log keeps its beginning and its end;
 * the part between becomes a hole in the file, but only bytes before offset `read`. Returns the bytes that both
 * files occupy. */
uint64_t organ_job_trim(const organ_job_store *store, const char *id, uint64_t limit, int64_t read, uint64_t *cut);

/* Returns the total size of all files of a job. */
uint64_t organ_job_bytes(const organ_job_store *store, const char *id);

typedef struct organ_job_findings {
    bool result, page; /* the result is a complete JSON object; reports of this kind have an HTML page */
    uint64_t size;     /* stored size of the result */
    uint64_t cut;      /* size of the result before it was truncated; 0: it is complete */
    uint64_t bytes;    /* size of all files of the job */
} organ_job_findings;

/* Truncates and examines the files of a finished job. `cut` is the value from organ_job_trim. Reads the result once,
 * as text. */
organ_job_findings organ_job_examine(const organ_job_store *store, const char *id, uint64_t limit, uint64_t cut);

#endif
