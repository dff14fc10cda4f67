/* SPDX-License-Identifier: MIT
 * What jobs have printed, and how much of it is kept. Nothing here holds a lock or parses a result into a tree. */
#ifndef ORGAN_JOB_OUTPUT_H
#define ORGAN_JOB_OUTPUT_H

#include "orchestrator/serve/jobs/store.h"

/* Results above this size get no page: a page is made from a tree, which takes ten times as much memory. */
#define ORGAN_JOB_PAGE_BYTES (8u << 20)

/* Of a job that runs: what it has printed beyond `limit` bytes (0: no limit) goes, and of its log all but the beginning
 * and the end, of which only what lies before `read` is touched. *cut becomes the size of the result if that is larger.
 * Returns the bytes that both take.
 */
uint64_t organ_job_trim(const organ_job_store *store, const char *id, uint64_t limit, int64_t read, uint64_t *cut);

/* Of all files of a job that is over. */
uint64_t organ_job_bytes(const organ_job_store *store, const char *id);

typedef struct organ_job_findings {
    bool result, page; /* it is a whole JSON object; there is an HTML page for such a one */
    uint64_t size;     /* of the result as it is kept */
    uint64_t cut;      /* of the result as it was printed; 0: all of it is kept */
    uint64_t bytes;    /* of all files of the job */
} organ_job_findings;

/* Of a job that is over. `cut` is what organ_job_trim has found before. Reads the result once, as text. */
organ_job_findings organ_job_examine(const organ_job_store *store, const char *id, uint64_t limit, uint64_t cut);

#endif
