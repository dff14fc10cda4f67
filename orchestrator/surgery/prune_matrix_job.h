/* SPDX-License-Identifier: MIT
 * What the methods of prune_matrix.h share. */
#ifndef ORGAN_PRUNE_MATRIX_JOB_H
#define ORGAN_PRUNE_MATRIX_JOB_H

#include "orchestrator/surgery/masked_squares.h"
#include "orchestrator/surgery/prune_matrix.h"

#define ORGAN_SQUARES_DAMPING 0.03 /* of the mean of the diagonal */

typedef struct organ_matrix_job {
    const organ_engine *engine;
    const organ_prune_matrix_options *options;
    const organ_input_moments *moments; /* NULL for magnitude without a calibration */
    float *weights;
    size_t rows, cols;
    uint8_t *keep; /* all 1 at first */
    organ_prune_matrix_report *report;
} organ_matrix_job;

/* (c C + h H) / tokens + damping I in FP32, whole and mirrored; damping is a number here. Without C it counts as H. NULL without memory. */
float *organ_expand_moments(const organ_matrix_job *job, double c, double h, double damping);

/* keep[k] = 0 for the `count` least of n scores (>= 0, no NaN), the first of equals first, 1 for the others. */
void organ_mask_least(const float *scores, size_t n, size_t count, uint8_t *keep);

organ_status organ_prune_by_flow(organ_matrix_job *job, organ_error *error);
organ_status organ_prune_by_rank(organ_matrix_job *job, organ_error *error);  /* magnitude, wanda */
organ_status organ_prune_by_sweep(organ_matrix_job *job, organ_error *error); /* sparsegpt */

#endif
