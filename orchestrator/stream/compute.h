/* SPDX-License-Identifier: MIT
 * With what the products of a forward pass are computed: --compute. */
#ifndef ORGAN_COMPUTE_H
#define ORGAN_COMPUTE_H

#include "formats/base/status.h"
#include "orchestrator/stream/pass.h"

/* "exact", "split", "bf16" */
const char *organ_compute_name(organ_compute compute);

/* Has the engine compute products that ask for it (stream/product.h) as `name` says, by the instructions that do it
 * fastest here; NULL is "exact". Where these are AMX's, the kernel is asked for them. ORGAN_USAGE for a name that is
 * not known, and where the CPU has nothing that is faster than exact: the message says what is missing. */
organ_status organ_engine_compute(organ_engine *engine, const char *name, organ_error *error);

#endif
