/* SPDX-License-Identifier: MIT
 * --compute: the arithmetic of products of a forward pass and of second moments. */
#ifndef ORGAN_STREAM_COMPUTE_H
#define ORGAN_STREAM_COMPUTE_H

#include <organ/base.h>
#include <organ/kernels.h>
#include <organ/stream.h>
#include <stdbool.h>

/* Returns "exact", "split" or "bf16". */
const char *organ_compute_name(organ_compute compute);

/* Sets engine->compute to the arithmetic `name` (NULL: "exact"), and engine->dots to the fastest kernels for this
 * arithmetic. Products whose `compute` is not ORGAN_COMPUTE_EXACT then use it (stream/product.h). Requests AMX tiles
 * from the operating system if needed. Returns ORGAN_USAGE for an unknown name, or if this CPU has no instructions with
 * which the arithmetic is faster than exact arithmetic; the message names `field`, the option, and the missing ones. */
organ_status organ_engine_compute(organ_engine *engine, const char *field, const char *name, organ_error *error);

/* Returns whether the name is that of an arithmetic other than exact; NULL is exact. */
bool organ_compute_is_reduced(const char *name);
/* Returns the instructions that organ_engine_compute would choose for the name, such as "amx"; "" for exact arithmetic
 * and if there are none. */
const char *organ_compute_isa(const organ_engine *engine, const char *name);
/* Members of a document: "compute" and "compute_isa" of an arithmetic other than exact; none for exact. Outputs that
 * are made with one of them depend on both. */
#define SET_REDUCED_COMPUTE(engine, name)                                                                              \
    SET_IF(organ_compute_is_reduced(name), "compute", json_string(name)),                                              \
        SET_IF(organ_compute_is_reduced(name), "compute_isa", json_string(organ_compute_isa(engine, name)))

#endif
