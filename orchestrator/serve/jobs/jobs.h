/* SPDX-License-Identifier: MIT
 * Verbs as jobs. A request names a verb and its arguments as JSON; a process runs the verb; clients read its
 * progress, its events as a stream, and its report. Jobs wait in a queue, survive a restart of the server, and can
 * be cancelled and resumed.
 *
 *   job_arguments.h  JSON -> command line, with every path checked
 *   store.h          the directory of a job: ROOT/.organ/jobs/ID, where ROOT is the directory that the server serves
 *   process.h        the process of a job (confined by orchestrator/serve/confine); memory.h: its memory limit
 *   keeper.h         all jobs: the queue, and one thread that watches the processes
 *   job_output.h     printed results and logs; job_progress.h: progress */
#ifndef ORGAN_JOBS_H
#define ORGAN_JOBS_H

#include "orchestrator/serve/http/http.h"
#include "orchestrator/serve/jobs/jobs_parts.h"

extern const organ_area organ_area_jobs; /* /api/v1/jobs, /api/v1/verbs */

#endif
