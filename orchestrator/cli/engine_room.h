/* SPDX-License-Identifier: MIT
 * The frame around the work of a verb: opens the engine and the display of progress before it, and prints the report
 * after it. */
#ifndef ORGAN_ENGINE_ROOM_H
#define ORGAN_ENGINE_ROOM_H

#include "orchestrator/cli/terminal.h"
#include "orchestrator/cli/verb_call.h"
#include <organ/stream.h>

#include <jansson.h>

/* Resources that the program opens for a verb. */
typedef struct organ_engine_room {
    const organ_call *call;
    organ_terminal terminal;
    organ_progress shown;           /* callbacks of `terminal` */
    const organ_progress *progress; /* the callbacks that the verb calls: `shown`, or under mpirun those that collect
                                     * the progress of all ranks for `shown` of rank 0 (organ_ranks_progress) */
    organ_engine *engine;           /* NULL for verbs without an engine */
} organ_engine_room;

/* Opens the display of progress on stderr and, if `with_engine`, an engine with the threads and memory of the call;
 * verbs that only read or copy bytes need no engine. Prints a note if threads could not be pinned. Returns ORGAN_USAGE
 * if options of --evaluate are given without it, otherwise the status of organ_engine_create. After an error there is
 * nothing to close. */
organ_status organ_engine_room_open(organ_engine_room *room, const organ_call *call, bool with_engine,
                                    organ_error *error);

/* Closes the engine, then writes `report` on stdout, as tables or with --json as JSON, and with --html as a page. Takes
 * the reference of `report`; NULL: there is none. Writes it also if `error` is set, because a report may describe a
 * failed check. Returns the status of `error`. */
organ_status organ_engine_room_close(organ_engine_room *room, json_t *report, organ_error *error);

/* Returns the best kernels for this CPU, or those that the environment variable ORGAN_ISA names. Returns NULL with
 * ORGAN_USAGE if no kernels have that name or the CPU cannot run them. */
const organ_kernels *organ_kernels_selected(organ_error *error);
/* Returns the kernels for tiles of physarum: those that ORGAN_ISA names; without ORGAN_ISA those that
 * organ_engine_choose_tile finds to be faster on this CPU. */
const organ_kernels *organ_kernels_for_tiles(const organ_engine *engine);

#endif
