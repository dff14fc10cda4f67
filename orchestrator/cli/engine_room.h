/* SPDX-License-Identifier: MIT
 * Runs a verb: opens its engine and the display of its progress, and prints its report. */
#ifndef ORGAN_ENGINE_ROOM_H
#define ORGAN_ENGINE_ROOM_H

#include "orchestrator/cli/terminal.h"
#include "orchestrator/cli/verb_call.h"
#include "orchestrator/stream/engine.h"

#include <jansson.h>

/* Resources that the program opens for a verb. */
typedef struct organ_engine_room {
    const organ_call *call;
    organ_terminal terminal;
    organ_progress shown; /* the display on the terminal; `progress` passes the progress of the first rank to it */
    const organ_progress *progress; /* the callbacks that the verb calls */
    organ_engine *engine;           /* NULL without an engine */
} organ_engine_room;

/* Opens the progress on stderr and, if `with_engine`, an engine with the threads and memory of the call; verbs that
 * only read or copy bytes need none. Prints a note if threads could not be pinned. Returns ORGAN_USAGE for options of
 * an evaluation without --evaluate, otherwise the status of organ_engine_create. After an error there is nothing to
 * close. */
organ_status organ_engine_room_open(organ_engine_room *room, const organ_call *call, bool with_engine,
                                    organ_error *error);

/* Closes the engine, then prints `report` (whose reference it takes; NULL: no report) on stdout or as a page, as --json
 * and --html request; also after an error that is the result of a check, which the report describes. Returns the status
 * of `error`. */
organ_status organ_engine_room_close(organ_engine_room *room, json_t *report, organ_error *error);

/* Returns the best kernels for this CPU, or those named by the environment variable ORGAN_ISA. Returns NULL with
 * ORGAN_USAGE if no kernels have that name or the CPU cannot run them. */
const organ_kernels *organ_kernels_selected(organ_error *error);
/* Returns the kernels for tiles of physarum: those named by ORGAN_ISA, otherwise the fastest on this CPU. */
const organ_kernels *organ_kernels_for_tiles(const organ_engine *engine);

#endif
