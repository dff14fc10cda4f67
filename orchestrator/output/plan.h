/* SPDX-License-Identifier: MIT
 * The plan that a dry run prints: bytes of the output, the least and the useful --memory, and the time. Each step of an
 * operation adds its work to one organ_plan; the time is that work divided by the speed of this machine, which
 * organ_plan_time_json measures. docs/definitions/counts.md */
#ifndef ORGAN_OUTPUT_PLAN_H
#define ORGAN_OUTPUT_PLAN_H

#include <jansson.h>
#include <organ/kernels.h>
#include <organ/stream.h>
#include <stdbool.h>
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
    double reduced; /* those of `products` that an arithmetic other than exact computes (organ_plan_compute) */
    double bytes;   /* bytes read and written */
    organ_compute compute;
    const organ_dots *dots; /* NULL: all arithmetic is exact */
} organ_plan;

/* A method's operations on one matrix of rows x cols, without the forward passes on the calibration text. */
typedef struct organ_plan_solve {
    double squares;  /* factor of rows x cols^2 + cols^3 / 3 */
    double weights;  /* factor of rows x cols */
    double matrices; /* constant for each matrix; most of the work on small experts */
} organ_plan_solve;

#define ORGAN_PLAN_MIN  ((uint64_t)8 << 20)  /* least value of --memory, in bytes */
#define ORGAN_PLAN_COPY ((uint64_t)64 << 20) /* bytes that copies of tensors need without --memory */

/* Raises the plan's memory to the need of another step of the operation. `good` of 0 means the same as `enough`. */
void organ_plan_memory(organ_plan *plan, uint64_t enough, uint64_t good);

/* Operations (organ_plan.products), and those of them that the engine's arithmetic computes: products with weights, and
 * second moments. */
typedef struct organ_plan_work {
    double all, multiplied;
} organ_plan_work;
void organ_plan_compute(organ_plan *plan, const organ_engine *engine, organ_plan_work work);

/* Adds the work on `count` matrices of rows x cols. The method uses the second moments of the inputs in blocks of
 * `block` columns; `block` is `cols` if there is one block. So the work is that of organ_plan_solve with rows x cols x
 * block in place of rows x cols^2, and cols x block^2 in place of cols^3. */
void organ_plan_matrices(organ_plan *plan, const organ_plan_solve *solve, double count, double rows, double cols,
                         double block);

/* Returns {"output_bytes", "memory_enough", "memory_good", "products", "bytes"}, whose values are equal on every
 * machine. NULL if memory runs out. */
json_t *organ_plan_json(const organ_plan *plan);

/* Measures for about a tenth of a second how many operations of products and how many copied bytes one thread does in a
 * second of its processor time, which other programs do not change, and divides the plan's work by these speeds.
 * Returns {"seconds", "processor_seconds", "products_per_second", "bytes_per_second", "threads", "cpu"}, and with
 * reduced products "reduced_per_second": the processor time of all threads, the speeds of one thread, the threads of
 * all ranks (as many on each as on this one), and the name of the CPU. NULL if memory runs out. */
json_t *organ_plan_time_json(const organ_plan *plan, const organ_engine *engine);

/* A verb: checks its options, does its work and makes its report. */
typedef organ_status organ_plan_verb(const void *options, const organ_engine *engine, const organ_progress *progress,
                                     json_t **report, organ_error *error);

/* Runs a verb; a dry run is not refused for a lack of memory: it runs again as if --memory were the amount that its
 * message calls enough. The report of a dry run then states what was given in "plan": "memory_given", and
 * "memory_short", whether that is less than "memory_enough", and where it is less, what is enough with --moments blocks
 * ("memory_with_blocks") and with --scratch ("memory_with_scratch"). With an automatic memory the ceiling counts as
 * given, and "memory_auto" is organ_memory_share_json. Notes that the verb repeats are reported once. All ranks call
 * it. */
organ_status organ_plan_run(organ_plan_verb *verb, const void *options, bool dry_run, const organ_engine *engine,
                            const organ_progress *progress, json_t **report, organ_error *error);

#endif
