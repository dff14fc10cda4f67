/* SPDX-License-Identifier: MIT
 * A matrix as strips of rows in FP32, for algorithms that read it several times: the strips stay in memory if they fit,
 * else they are read again in each pass. The division into strips depends only on the number of rows. */
#ifndef ORGAN_STRIPS_H
#define ORGAN_STRIPS_H

#include <organ/stream.h>

#define ORGAN_STRIP_ROWS ((size_t)128) /* rows of a strip; the last one may have fewer */

/* A matrix and the function that reads its rows. The caller sets all members. */
typedef struct organ_rows {
    uint64_t rows, cols;  /* neither is 0 */
    const char *name;     /* of the matrix, for messages: "FILE: tensor 'x'" */
    size_t scratch_bytes; /* scratch memory of `read` for one strip */
    uint64_t extra_bytes; /* bytes that the caller allocates while the strips are open; the strips may use the rest of
                             the engine's memory */
    void *context;        /* argument of `read` */
    /* Reads rows [first, first + rows) to `values`, consecutively. Called on any thread; must give the same values each
     * time. */
    organ_status (*read)(void *context, uint64_t first, size_t rows, float *values, void *scratch, organ_error *error);
} organ_rows;

typedef struct organ_strip {
    size_t index, rows;  /* its first row is index x ORGAN_STRIP_ROWS; number of rows */
    const float *values; /* [rows][columns of the matrix] */
} organ_strip;

typedef struct organ_strips organ_strips;

/* Returns the least engine memory, in bytes, with which organ_strips_open succeeds. */
uint64_t organ_strips_min(const organ_rows *matrix);

/* Opens the matrix. `hold`: keep it in memory if it fits. Returns ORGAN_USAGE if the engine's memory has no room for
 * one strip, with the sufficient amount in the message; ORGAN_BAD_INPUT if the matrix is too large; ORGAN_IO if memory
 * cannot be allocated. *strips is then NULL. `matrix` and `engine` must outlive the strips. */
organ_status organ_strips_open(const organ_rows *matrix, const organ_engine *engine, bool hold, organ_strips **strips,
                               organ_error *error);
void organ_strips_close(organ_strips *strips); /* NULL is allowed */

/* Returns the matrix that was passed to organ_strips_open. */
const organ_rows *organ_strips_matrix(const organ_strips *strips);
/* Returns the engine that was passed to organ_strips_open. */
const organ_engine *organ_strips_engine(const organ_strips *strips);

/* Functions that process the strips in a pass, on all workers. Strips are read in sets of consecutive strips, as many
 * as fit into memory. */
typedef struct organ_strip_work {
    void *context;                                                        /* first argument of both functions */
    void (*each)(void *context, const organ_strip *strip, size_t worker); /* called once for each strip, in any order */
    /* Called for task 0 .. tasks - 1 once `each` has processed a set, strips[0 .. count - 1]. Sets come in the order of
     * rows. May be NULL. */
    void (*after)(void *context, size_t task, const organ_strip *strips, size_t count, size_t worker);
    size_t tasks; /* number of tasks of `after` for each set */
} organ_strip_work;

/* Runs one pass: processes each strip once. Returns ORGAN_BAD_INPUT if a value is NaN or infinite (checked in the first
 * pass), ORGAN_INTERRUPTED if a stop was requested, or the error of organ_rows.read. */
organ_status organ_strips_run(organ_strips *strips, const organ_strip_work *work, organ_error *error);

/* Returns the sum of the squares of all values in FP64; valid after the first pass. */
double organ_strips_energy(const organ_strips *strips);

#endif
