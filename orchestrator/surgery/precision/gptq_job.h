/* SPDX-License-Identifier: MIT
 * Data and functions that the sources of GPTQ share: gptq.c runs it on a matrix, gptq_sweep.c chooses codes column by
 * column, gptq_scales.c refits scales. */
#ifndef ORGAN_GPTQ_JOB_H
#define ORGAN_GPTQ_JOB_H

#include "orchestrator/surgery/precision/gptq.h"

#define ORGAN_GPTQ_STRIP   ((size_t)128) /* rows that a worker processes together */
#define ORGAN_GPTQ_COLUMNS ((size_t)128) /* columns of a pass */

typedef struct organ_gptq_job {
    const organ_gptq_inputs *inputs;
    organ_gptq *whole, *matrix; /* the matrix, and the rows of this rank: those from row `first` on */
    size_t first;
    size_t rows, cols, group, groups;
    size_t terms, supers, numbers; /* per row: 2 if a group has a scale and a minimum, 1 if it has a scale;
                                    * organ_grid_supers; organ_grid_numbers */
    size_t padded;                 /* rows, rounded up to whole strips */
    float *field;  /* rows x cols: the updated weights of GPTQ in the order of the sweep; later (W - values) H */
    float *scales; /* numbers x padded rows; in the padding scales are 1 and all other numbers 0 */
    unsigned char *scratch; /* per worker */
    size_t scratch_bytes;
} organ_gptq_job;

size_t organ_gptq_sweep_room(void);
/* Makes one pass over all columns and sets `values` (GPTQ) or improves them (descent). GPTQ reads W in the order of the
 * sweep from `field` and leaves it undefined. Descent reads (W - values) H from `field`, which is out of date
 * afterwards. Returns ORGAN_INTERRUPTED. */
organ_status organ_gptq_sweep(organ_gptq_job *job, bool descent, organ_error *error);

size_t organ_gptq_scales_room(const organ_gptq_job *job);
/* Sets the scales of each row to those that minimise its loss for its codes, rounded to the stored type, and recomputes
 * `values`. Reads (W - values) H from `field`, which is out of date afterwards. */
void organ_gptq_scales(organ_gptq_job *job);

/* Minimises the loss of a row over the scales that blocks of GGUF can store. `m` is the matrix of the row's normal
 * equations, terms x groups wide, of which only the part below the diagonal is read; `diagonal` has its diagonal.
 * `right` is the right-hand side for changes of the current scales and is overwritten; `target` is the solution without
 * rounding. */
void organ_gptq_refine(organ_gptq_job *job, size_t row, const float *m, const float *diagonal, float *right,
                       const float *target);

#endif
