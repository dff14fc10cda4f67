/* SPDX-License-Identifier: MIT
 * Truncates and examines the results (result.json) and logs (events.jsonl) of jobs. None of these functions takes a
 * lock or parses a result into a tree of JSON values. */
#ifndef ORGAN_JOB_OUTPUT_H
#define ORGAN_JOB_OUTPUT_H

#include "orchestrator/serve/jobs/store.h"

/* Results with more bytes get no HTML page: a page is made from a tree of JSON values, which needs ten times as much
 * memory as the text. */
#define ORGAN_JOB_PAGE_BYTES (8u << 20)

/* Truncates the output of a running job to `limit` bytes each for the result and the log; 0: no limit. The result keeps
 * its first `limit` bytes; if it was larger, *cut becomes its size. The log keeps its beginning and its end. Its middle
 * becomes a hole in the file, but only bytes before the offset `read`, up to which the server has read the log. Returns
 * the bytes that both files occupy. */
uint64_t organ_job_trim(const organ_job_store *store, const char *id, uint64_t limit, int64_t read, uint64_t *cut);

/* Returns the sum of the sizes of job.json, events.jsonl and result.json in bytes. */
uint64_t organ_job_bytes(const organ_job_store *store, const char *id);

typedef struct organ_job_findings {
    bool result;    /* result.json is a complete JSON object */
    bool page;      /* an HTML page can be made of it: its schema has one, and it is small enough */
    uint64_t size;  /* stored size of result.json in bytes */
    uint64_t cut;   /* size of result.json in bytes before it was truncated; 0: it is complete */
    uint64_t bytes; /* size of the job's files, as organ_job_bytes returns it */
} organ_job_findings;

/* Truncates the files of an ended job to `limit` bytes each for the result and the log (0: no limit) and examines them.
 * `cut` is the value of *cut from the last organ_job_trim. Reads the result once, as text. */
organ_job_findings organ_job_examine(const organ_job_store *store, const char *id, uint64_t limit, uint64_t cut);

#endif
