/* SPDX-License-Identifier: MIT
 * The member "activity" of a report's "run": the shares of the workers' time in computing, reading, writing and
 * waiting, the bytes that were moved, and which of them bound the run. docs/definitions/counts.md defines its members.
 */
#ifndef ORGAN_RUN_ACTIVITY_H
#define ORGAN_RUN_ACTIVITY_H

#include "orchestrator/machine/work_account.h"

#include <jansson.h>

/* Returns the figures of an account: {"bound", "bound_share", "computing_share",
 * "reading_share", "writing_share", "waiting_share", "one_thread_share", "read_bytes", "read_bytes_per_second",
 * "written_bytes", "written_bytes_per_second", "one_thread_bytes", "processor_seconds",
 * "one_thread_processor_share"}. */
json_t *organ_work_account_json(const organ_work_account *account);

/* Returns the object for the work of this thread that organ_report_begin began, until now. */
json_t *organ_run_activity_json(void);

/* The member "activity". */
#define SET_ACTIVITY() SET("activity", organ_run_activity_json())

#endif
