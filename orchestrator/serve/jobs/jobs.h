/* SPDX-License-Identifier: MIT
 * Verbs as jobs. In comes a verb with its arguments as JSON, out come a process that does it and what it says: its
 * progress, its events as
 * a stream, its report. Jobs wait in a queue, survive the server, and can be cancelled and resumed.
 *
 *   words.h      JSON -> command line, with every path checked
 *   store.h      a job on the disk: ROOT/.organ/jobs/ID
 *   process.h    its process (confined by orchestrator/serve/confine); memory.h: what that may take
 *   keeper.h     all jobs: the queue, and one thread that watches the processes
 *   output.h, progress.h   what they have printed, and how far they are */
#ifndef ORGAN_JOBS_H
#define ORGAN_JOBS_H

#include "orchestrator/serve/http/http.h"
#include "orchestrator/serve/jobs/verb_catalog.h"

extern const organ_area organ_area_jobs; /* /api/v1/jobs, /api/v1/verbs */

#endif
