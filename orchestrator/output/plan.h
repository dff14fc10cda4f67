/* SPDX-License-Identifier: MIT
 * The plan that a dry run prints: bytes of the output, the least and the useful --memory, and the time. Each step of an
 * operation adds its work to one organ_plan; the time is that work divided by the speed of this machine, which
 * organ_plan_time_json measures. docs/definitions/counts.md */
#ifndef ORGAN_OUTPUT_PLAN_H
#define ORGAN_OUTPUT_PLAN_H

#include <jansson.h>
#include <organ/stream.h>
#include <stdint.h>

/* The predicted work of an operation. All zero: none yet. */
typedef struct organ_plan {
    uint64_t output_bytes; /* bytes of all tensors of the output */
    /* Values of --memory: `memory_enough` is the least with which the operation runs, `memory_good` the least with
     * which it is fastest. */
    uint64_t memory_enough, memory_good;
    /* Operations of FP32 matrix products (a multiplication and an addition are two); other work is counted as the
     * number of such operations that take equally long. */
    double products;
    double bytes; /* bytes read and written */
} organ_plan;

/* A method's operations on one matrix of rows x cols, without the forward passes on the calibration text. */
typedef struct organ_plan_solve {
    double squares;  /* factor of rows x cols^2 + cols^3 / 3 */
    double weights;  /* factor of rows x cols */
    double matrices; /* constant for each matrix; most of the work on small experts */
} organ_plan_solve;

#define ORGAN_PLAN_MIN ((uint64_t)8 << 20) /* least value of --memory, in bytes */

/* Raises the plan's memory to the need of another step of the operation. `good` of 0 means the same as `enough`. */
void organ_plan_memory(organ_plan *plan, uint64_t enough, uint64_t good);

/* Adds the work on `count` matrices of rows x cols. The method uses the second moments of the inputs in blocks of
 * `block` columns; `block` is `cols` if there is one block. So the work is that of organ_plan_solve with rows x cols x
 * block in place of rows x cols^2, and cols x block^2 in place of cols^3. */
void organ_plan_matrices(organ_plan *plan, const organ_plan_solve *solve, double count, double rows, double cols,
                         double block);

/* Returns {"output_bytes", "memory_enough", "memory_good", "products", "bytes"}, whose values are equal on every
 * machine. NULL if memory runs out. */
json_t *organ_plan_json(const organ_plan *plan);

/* Measures for about a tenth of a second how many operations of products and how many copied bytes the engine does in a
 * second, and divides the plan's work by these speeds. Returns {"seconds", "products_per_second", "bytes_per_second",
 * "threads"}. NULL if memory runs out. */
json_t *organ_plan_time_json(const organ_plan *plan, const organ_engine *engine);

#endif
