/* SPDX-License-Identifier: MIT
 * The plan that a dry run prints: bytes of the output, the least and the useful --memory, and the time. Each part of an
 * operation adds its work to one plan; the time is that work divided by the speed of this machine, which a short test
 * measures. docs/definitions/counts.md */
#ifndef ORGAN_PLAN_H
#define ORGAN_PLAN_H

#include "orchestrator/stream/engine.h"

#include <jansson.h>
#include <stdint.h>

typedef struct organ_plan {
    uint64_t output_bytes; /* of all tensors of the output */
    uint64_t memory_enough,
        memory_good; /* --memory: the least for all parts; from the second on more changes neither result nor passes */
    double products; /* operations (a multiplication and an addition are two) of products of FP32 matrices, and other
                      * work as the number of operations that take as long */
    double bytes;    /* read and written */
} organ_plan;

/* The work on a matrix of rows x cols, without the forward passes on the calibration text, in operations. */
typedef struct organ_plan_solve {
    double squares;  /* for each of rows x cols^2 + cols^3 / 3 */
    double weights;  /* for each of rows x cols */
    double matrices; /* for each matrix: most of the work on small experts */
} organ_plan_solve;

#define ORGAN_PLAN_MIN ((uint64_t)8 << 20) /* bytes: the least value of --memory */

/* Raises the memory of the plan to the amount that another part of the operation needs. `good` 0: the same as
 * `enough`. */
void organ_plan_memory(organ_plan *plan, uint64_t enough, uint64_t good);

/* Adds `count` matrices of this shape, whose inputs are known in blocks of `block` columns (`cols` for the whole
 * matrix). */
void organ_plan_matrices(organ_plan *plan, const organ_plan_solve *solve, double count, double rows, double cols,
                         double block);

/* Returns {"output_bytes", "memory_enough", "memory_good", "products", "bytes"}, which are equal on every machine. NULL
 * without memory. */
json_t *organ_plan_json(const organ_plan *plan);

/* Measures for about a tenth of a second how many products and copied bytes the engine does in a second. Returns
 * {"seconds", "products_per_second", "bytes_per_second", "threads"}. NULL without memory. */
json_t *organ_plan_time_json(const organ_plan *plan, const organ_engine *engine);

#endif
