/* SPDX-License-Identifier: MIT
 * A matrix as strips of rows in FP32, for algorithms that read it several times: the strips stay in memory if they fit,
 * else they are read again in each pass. stream/rows.h runs each pass. The division into strips depends only on the
 * number of rows. */
#ifndef ORGAN_STRIPS_H
#define ORGAN_STRIPS_H

#include "orchestrator/stream/pass.h"

#define ORGAN_STRIP_ROWS ((size_t)128)

/* The source of a matrix's rows. */
typedef struct organ_rows {
    uint64_t rows, cols;  /* neither is 0 */
    const char *name;     /* of the matrix, for messages: "FILE: tensor 'x'" */
    size_t scratch_bytes; /* scratch memory of `read` for one strip */
    uint64_t extra_bytes; /* bytes that the caller allocates while the strips are open; the strips may use the rest of
                             the engine's memory */
    void *context;
    /* Reads rows [first, first + rows) to `values`, consecutively. Called on any thread; must read the same values each
     * time. */
    organ_status (*read)(void *context, uint64_t first, size_t rows, float *values, void *scratch, organ_error *error);
} organ_rows;

/* One strip during a pass. */
typedef struct organ_strip {
    size_t index, rows; /* its first row is index x ORGAN_STRIP_ROWS */
    const float *values;
} organ_strip;

typedef struct organ_strips organ_strips;

/* Returns the least engine memory, in bytes, with which organ_strips_open succeeds. */
uint64_t organ_strips_min(const organ_rows *matrix);

/* Opens the matrix. `hold`: keep it in memory if it fits. Returns ORGAN_USAGE if the engine's memory has no room for
 * one strip, with the amount that is enough in the message; ORGAN_IO if memory cannot be allocated. All arguments must
 * outlive the strips. *strips is NULL on error. */
organ_status organ_strips_open(const organ_rows *matrix, const organ_engine *engine, bool hold, organ_strips **strips,
                               organ_error *error);
void organ_strips_close(organ_strips *strips); /* NULL is allowed */

const organ_rows *organ_strips_matrix(const organ_strips *strips);
const organ_engine *organ_strips_engine(const organ_strips *strips);

/* Functions that process all strips, on all workers. */
typedef struct organ_strip_work {
    void *context;
    void (*each)(void *context, const organ_strip *strip, size_t worker); /* called once for each strip, in any order */
    /* Called for every task from 0 to tasks - 1 after `each` has processed the set strips[0 .. count); sets are
     * consecutive strips, in order. May be NULL. */
    void (*after)(void *context, size_t task, const organ_strip *strips, size_t count, size_t worker);
    size_t tasks; /* number of tasks of `after` for each set */
} organ_strip_work;

/* Processes all strips once. Returns ORGAN_BAD_INPUT if a value is NaN or infinite (checked in the first pass),
 * ORGAN_INTERRUPTED if the engine is stopped, or the error of reading. */
organ_status organ_strips_run(organ_strips *strips, const organ_strip_work *work, organ_error *error);

/* Returns the sum of the squares of all values in FP64; valid after the first pass. */
double organ_strips_energy(const organ_strips *strips);

#endif
