/* SPDX-License-Identifier: MIT
 * Creates an engine (organ_engine) for the machine on which the program runs. */
#ifndef ORGAN_ENGINE_H
#define ORGAN_ENGINE_H

#include "formats/base/api.h"
#include "formats/base/status.h"
#include "orchestrator/stream/pass.h"

ORGAN_API_BEGIN

/* Creates an engine: finds the topology of the machine, starts pinned threads and chooses kernels. `kernels` NULL: the
 * best for this CPU. `threads` 0: one per core. `memory` 0: 512 MiB. engine->stop is NULL until the caller sets it.
 * Returns ORGAN_IO if the system refuses a thread or memory; *engine is then NULL. */
organ_status organ_engine_create(const organ_kernels *kernels, size_t threads, uint64_t memory, organ_engine **engine,
                                 organ_error *error);

/* Ends the threads and frees an engine of organ_engine_create. NULL is allowed. */
void organ_engine_destroy(organ_engine *engine);

/* Returns the engine's kernels or their twin (organ_kernels_twin), whichever computes tiles of the pruning method
 * physarum faster on this CPU. Times both for half a millisecond. Both give the same results. */
const organ_kernels *organ_engine_quicker_tile(const organ_engine *engine);

ORGAN_API_END

#endif
