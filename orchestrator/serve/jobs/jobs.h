/* SPDX-License-Identifier: MIT
 * Verbs as jobs. A request names a verb and its arguments as JSON; a process runs the verb; clients read its
 * progress, its events as a stream, and its report. Jobs wait in a queue, survive a restart of the server, and can
 * be cancelled and resumed. The directory of a job is ROOT/.organ/jobs/ID, where ROOT is the directory that the server
 * serves. */
#ifndef ORGAN_JOBS_H
#define ORGAN_JOBS_H

#include "orchestrator/serve/jobs/jobs_parts.h"

extern const organ_area organ_area_jobs; /* /api/v1/jobs, /api/v1/verbs */

#endif
