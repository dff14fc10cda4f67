/* SPDX-License-Identifier: MIT
 * Creates an engine (organ_engine) for the machine on which the program runs. */
#ifndef ORGAN_ENGINE_H
#define ORGAN_ENGINE_H

#include "formats/base/api.h"
#include "formats/base/status.h"
#include "orchestrator/stream/pass.h"

ORGAN_API_BEGIN

/* Creates an engine of topology, pinned threads and kernels. `kernels` NULL: the best for this CPU. `threads` 0: one
 * per core. `memory` 0: 512 MiB. engine->stop is NULL until the caller sets it. Returns ORGAN_IO if the system refuses
 * a thread or memory; *engine is then NULL. */
organ_status organ_engine_create(const organ_kernels *kernels, size_t threads, uint64_t memory, organ_engine **engine,
                                 organ_error *error);

/* Waits for the threads and frees the engine, which organ_engine_create must have made. NULL is allowed. */
void organ_engine_destroy(organ_engine *engine);

/* Returns the engine's kernels or their twin (organ_kernels_twin), whichever computes physarum tiles faster on this
 * CPU: both are timed for half a millisecond. The results are the same. */
const organ_kernels *organ_engine_quicker_tile(const organ_engine *engine);

ORGAN_API_END

#endif
