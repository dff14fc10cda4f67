/* SPDX-License-Identifier: MIT
 * An engine for the machine that the program runs on: what organ_pass_run and every operation work with. */
#ifndef ORGAN_ENGINE_H
#define ORGAN_ENGINE_H

#include "formats/base/api.h"
#include "formats/base/status.h"
#include "orchestrator/stream/pass.h"

ORGAN_API_BEGIN

/* Cores, memory nodes, pinned threads and kernels together. `kernels` NULL: the best for this CPU. `threads` 0: one per
 * core. `memory` 0: 512 MiB. Nothing asks it to stop until the caller sets engine->stop. ORGAN_IO if a thread or memory
 * is refused; *engine is NULL then. */
organ_status organ_engine_create(const organ_kernels *kernels, size_t threads, uint64_t memory, organ_engine **engine,
                                 organ_error *error);

/* Waits for the threads. NULL is allowed. Only for what organ_engine_create made. */
void organ_engine_destroy(organ_engine *engine);

/* The engine's kernels, or their twin (organ_kernels_twin) where its tile of physarum is quicker on this CPU: tiles of
 * both are timed for half a millisecond each. What is computed is the same. */
const organ_kernels *organ_engine_quicker_tile(const organ_engine *engine);

ORGAN_API_END

#endif
