/* SPDX-License-Identifier: MIT
 * Data and functions that the sources of GPTQ share: gptq.c runs it on a matrix, gptq_sweep.c chooses codes column by
 * column, gptq_scales.c refits scales. */
#ifndef ORGAN_GPTQ_JOB_H
#define ORGAN_GPTQ_JOB_H

#include "orchestrator/surgery/precision/gptq.h"

#define ORGAN_GPTQ_STRIP ((size_t)128) /* rows that a worker processes together */
/* Columns that are coded before their errors are passed to later columns by one product. */
#define ORGAN_GPTQ_COLUMNS ((size_t)128)

typedef struct organ_gptq_job {
    const organ_gptq_inputs *inputs;
    /* The matrix, and the rows of this rank as a matrix: rows `first` .. first + rows - 1 of `whole`. */
    organ_gptq *whole, *matrix;
    size_t first;
    size_t rows, cols, group, groups; /* of `matrix`; columns of a group, groups of a row */
    /* For each row: `terms` is 2 if a group has a scale and a minimum, 1 if it has a scale only; `supers` is
     * organ_grid_supers and `numbers` organ_grid_numbers. */
    size_t terms, supers, numbers;
    size_t padded; /* rows, rounded up to whole strips */
    /* Rows x cols: while GPTQ codes, the compensated weights in the order of the sweep; later (W - values) H. */
    float *field;
    /* Numbers x padded: number k of row i is scales[k * padded + i]; padded rows have scale 1, other numbers 0. */
    float *scales;
    unsigned char *scratch; /* scratch_bytes for each worker */
    size_t scratch_bytes;
} organ_gptq_job;

/* Returns the scratch bytes of a worker for organ_gptq_sweep. */
size_t organ_gptq_sweep_room(void);
/* Makes one pass over all columns of `matrix` and sets `values` (GPTQ) or improves them (descent). GPTQ reads W in the
 * order of the sweep from `field` and leaves it undefined. Descent reads (W - values) H from `field`; the caller must
 * compute it again afterwards. Returns ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_gptq_sweep(organ_gptq_job *job, bool descent, organ_error *error);

/* Returns the scratch bytes of a worker for organ_gptq_scales. */
size_t organ_gptq_scales_room(const organ_gptq_job *job);
/* Sets the scales of each row to those that minimise its loss for fixed codes, rounded to the stored type, and
 * recomputes `values`. Reads (W - values) H from `field`; the caller must compute it again afterwards. */
void organ_gptq_scales(organ_gptq_job *job);

/* Minimises the loss of a row over the scales that GGUF blocks can store. `m` is the matrix of the row's normal
 * equations, with groups x terms rows and columns; only the part below the diagonal is read, and `diagonal` has its
 * diagonal. `right`, which is overwritten, is their right-hand side for changes of the current scales; `target` is
 * their solution without rounding, as a change of the current scales. */
void organ_gptq_refine(organ_gptq_job *job, size_t row, const float *m, const float *diagonal, float *right,
                       const float *target);

#endif
