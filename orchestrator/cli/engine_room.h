/* SPDX-License-Identifier: MIT
 * What the verbs share: the engine of a run, and how a result is shown. */
#ifndef ORGAN_ENGINE_ROOM_H
#define ORGAN_ENGINE_ROOM_H

#include "orchestrator/cli/terminal.h"
#include "orchestrator/cli/verb_call.h"
#include "orchestrator/stream/engine.h"

#include <jansson.h>

/* A report for people. */
typedef organ_status organ_render(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* The result of a verb on stdout, as --json asks. It is shown even if the check it tells of failed, whose message is in `error` already. */
void organ_show(const organ_call *call, const json_t *report, organ_render *render, organ_error *error);

/* The kernels for this CPU, or those that the environment variable ORGAN_ISA names; NULL with ORGAN_USAGE if there are none such. */
const organ_kernels *organ_kernels_wanted(organ_error *error);

/* Made for one run. It must not be moved: the progress knows its terminal. */
typedef struct organ_engine_room {
    organ_engine *engine;
    organ_terminal terminal;
    organ_progress progress;
} organ_engine_room;

/* As the options of the call say; tells on stderr of threads that could not be pinned. After an error nothing is to be closed. */
organ_status organ_engine_open(const organ_call *call, organ_engine_room *room, organ_error *error);
void organ_engine_close(organ_engine_room *room);

/* What --evaluate asks for; NULL where it is not given. ORGAN_USAGE where what belongs to it stands alone. */
organ_status organ_call_evaluation(const organ_call *call, const organ_experiment_options **evaluate, organ_error *error);

/* What a verb does with an engine; *report may be set for a failed check too. */
typedef organ_status organ_work(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                                organ_error *error);

/* A whole verb: the engine opened, the work done, its report shown. */
organ_status organ_run_work(const organ_call *call, organ_work *work, organ_render *render, organ_error *error);

#endif
