/* SPDX-License-Identifier: MIT
 * Runs a verb: opens its engine and progress, and prints its report. */
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
    organ_progress shown;           /* on the terminal; `progress` passes the first rank's on to it */
    const organ_progress *progress; /* for the verb */
    organ_engine *engine;           /* NULL without an engine */
} organ_engine_room;

/* Opens the progress on stderr and, if `with_engine`, the engine that the call asks for; verbs that only read or move
 * bytes need none. Prints a note if threads could not be pinned. ORGAN_USAGE for options of an evaluation without
 * --evaluate; otherwise as organ_engine_create. After an error there is nothing to close. */
organ_status organ_engine_room_open(organ_engine_room *room, const organ_call *call, bool with_engine,
                                    organ_error *error);

/* Closes the engine, then prints `report` (taken over; NULL: there is none) on stdout as --json and --html ask, also
 * if the check that the report describes failed. Returns the status of `error`. */
organ_status organ_engine_room_close(organ_engine_room *room, json_t *report, organ_error *error);

/* Returns the kernels for this CPU, or those named by the environment variable ORGAN_ISA; NULL with ORGAN_USAGE if
 * there are none with that name. */
const organ_kernels *organ_kernels_selected(organ_error *error);
/* Returns the kernels for tiles of physarum: those named by ORGAN_ISA, otherwise the fastest on this CPU. */
const organ_kernels *organ_kernels_for_tiles(const organ_engine *engine);

#endif
