/* SPDX-License-Identifier: MIT
 * What the parts of GPTQ share: gptq.c runs it on a matrix, gptq_sweep.c goes through columns, gptq_scales.c solves for
 * scales. */
#ifndef ORGAN_GPTQ_JOB_H
#define ORGAN_GPTQ_JOB_H

#include "orchestrator/surgery/precision/gptq.h"

#define ORGAN_GPTQ_STRIP   ((size_t)128) /* rows that a worker takes together */
#define ORGAN_GPTQ_COLUMNS ((size_t)128) /* that are gone through before the rest is brought up to date */

typedef struct organ_gptq_job {
    const organ_gptq_inputs *inputs;
    organ_gptq *whole, *matrix; /* the matrix, and of it the rows of this rank: from row `first` on */
    size_t first;
    size_t rows, cols, group, groups;
    size_t terms, supers,
        numbers;         /* scale and minimum of a group, or a scale alone; as organ_grid_supers, organ_grid_numbers */
    size_t padded;       /* rows, to whole strips */
    float *field;        /* rows x cols: GPTQ's weights in the order of visits, then (W - values) H */
    float *scales;       /* numbers x padded rows: each number a column, below the last row scales 1 and all else 0 */
    unsigned char *room; /* per worker */
    size_t room_bytes;
} organ_gptq_job;

size_t organ_gptq_sweep_room(void);
/* One pass over all columns. GPTQ: field is W in the order of visits and comes out without meaning. Descent: field is
 * (W - values) H, and becomes stale. values are set, or improved. ORGAN_INTERRUPTED. */
organ_status organ_gptq_sweep(organ_gptq_job *job, bool descent, organ_error *error);

size_t organ_gptq_scales_room(const organ_gptq_job *job);
/* The scales of each row that make the loss least with its codes, rounded to what is stored, and the values with them.
 * field is (W - values) H, and becomes stale. */
void organ_gptq_scales(organ_gptq_job *job);

/* What makes the loss of a row least as the blocks of GGUF can store it: M is the matrix of its normal equations, terms
 * x groups wide, below its diagonal, `diagonal` what stands on it; `right` the other side before what is to be added is
 * `wanted`, and is used up. */
void organ_gptq_settle(organ_gptq_job *job, size_t row, const float *m, const float *diagonal, float *right,
                       const float *wanted);

/* field = (W - values) H, and the loss of each row where `losses` is given. */
void organ_gptq_residual(organ_gptq_job *job, double *losses);

#endif
