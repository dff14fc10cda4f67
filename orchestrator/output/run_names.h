/* SPDX-License-Identifier: MIT
 * All names that a run writes: outputs, names derived from them, reports, logs. A run compares them with each other and
 * with its inputs, and reserves its outputs against other runs, before any work. */
#ifndef ORGAN_OUTPUT_RUN_NAMES_H
#define ORGAN_OUTPUT_RUN_NAMES_H

#include "orchestrator/output/publish.h"
#include "orchestrator/ranks/ranks.h"

/* ---- outputs that a run has reserved ---- */

/* Reserved outputs. All zero: none. */
typedef struct organ_run_names {
    organ_reserved **of;
    size_t count;
} organ_run_names;

/* Reserves the outputs against other processes: locks their partial directories, which it makes if there are none, in
 * the order of their paths, so that of two runs with several outputs one gets all of them. The next organ_publish_begin
 * for such a path in this process takes over the lock. `discard` removes finished outputs of killed runs that wait for
 * their names: for runs that make the inputs of their last step again and so cannot continue it. All ranks call this,
 * also with an error; rank 0 locks. NULL entries, and outputs that this process has reserved already, are skipped.
 * Returns ORGAN_IO if another process writes an output (errnum EBUSY; the message names the process), a directory
 * cannot be made, or a finished output cannot be removed. The caller ends it with organ_run_names_release, also after
 * an error; that removes the directories into which nothing was written. */
organ_status organ_run_names_reserve(organ_run_names *names, const char *const *outputs, size_t count, bool discard,
                                     organ_ranks *ranks, organ_error *error);
void organ_run_names_release(organ_run_names *names);

#endif
