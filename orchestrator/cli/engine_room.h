/* SPDX-License-Identifier: MIT
 * How a verb is run: its engine, its progress, and how its report is shown. */
#ifndef ORGAN_ENGINE_ROOM_H
#define ORGAN_ENGINE_ROOM_H

#include "orchestrator/cli/terminal.h"
#include "orchestrator/cli/verb_call.h"
#include "orchestrator/stream/engine.h"

#include <jansson.h>

/* A report for people. */
/* What a verb does; *report may be set for a failed check too. */
typedef organ_status organ_work(const organ_call *call, const organ_engine *engine, const organ_progress *progress,
                                json_t **report, organ_error *error);

/* A whole verb: the engine opened as the call says, the work done, its report shown on stdout as --json and --html ask.
 * The report is shown even if the check it tells of failed. Progress goes to stderr, and a note if threads could not be
 * pinned. */
organ_status organ_run_work(const organ_call *call, organ_work *work, organ_error *error);
/* The same without an engine (NULL), for verbs that only read or move bytes. */
organ_status organ_run_light(const organ_call *call, organ_work *work, organ_error *error);

/* The kernels for this CPU, or those that the environment variable ORGAN_ISA names; NULL with ORGAN_USAGE if there are
 * none such. */
const organ_kernels *organ_kernels_wanted(organ_error *error);
/* Those for tiles of physarum: what ORGAN_ISA names, else the quicker on this CPU. */
const organ_kernels *organ_kernels_for_tiles(const organ_engine *engine);

#endif
