/* SPDX-License-Identifier: MIT
 * How the jobs of a server are kept. */
#ifndef ORGAN_JOB_SETUP_H
#define ORGAN_JOB_SETUP_H

#include "orchestrator/command/options.h"
#include "orchestrator/serve/http/http.h"

#include <stddef.h>
#include <stdint.h>

typedef struct organ_jobs organ_jobs;

typedef struct organ_jobs_setup {
    const organ_jail *jail;
    const organ_verb *const *verbs;
    size_t verb_count;
    unsigned limit;      /* how many run at once, at least 1 */
    size_t kept;         /* finished jobs that are remembered; the oldest go first */
    size_t most_queued;  /* more that wait are refused */
    uint64_t output;     /* bytes of the result that one job keeps at most, and of its log; 0: no limit */
    uint64_t keep_bytes; /* of all jobs together; the oldest that have finished go first; 0: no limit */
    uint64_t memory;     /* that one job may ask for with --memory at most; 0: no limit, and jobs run without one */
    const char *program; /* what runs the verbs */
    double patience;     /* seconds after which a cancelled job that has not ended is told more firmly: SIGINT, SIGTERM, SIGKILL */
} organ_jobs_setup;

#endif
