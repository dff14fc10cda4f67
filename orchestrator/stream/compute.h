/* SPDX-License-Identifier: MIT
 * The option --compute: arithmetic of the products of a forward pass. */
#ifndef ORGAN_COMPUTE_H
#define ORGAN_COMPUTE_H

#include <organ/base.h>
#include <organ/stream.h>

/* Returns "exact", "split" or "bf16". */
const char *organ_compute_name(organ_compute compute);

/* Sets engine->compute to the arithmetic `name` (NULL: "exact"), and engine->dots to the fastest kernels for this
 * arithmetic. Products whose `compute` is not ORGAN_COMPUTE_EXACT then use it (stream/product.h). Requests AMX tiles
 * from the operating system if needed. Returns ORGAN_USAGE for an unknown name, or if this CPU has no instructions with
 * which the arithmetic is faster than exact arithmetic; the message names the missing ones. */
organ_status organ_engine_compute(organ_engine *engine, const char *name, organ_error *error);

#endif
