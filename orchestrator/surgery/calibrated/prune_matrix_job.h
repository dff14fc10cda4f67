/* SPDX-License-Identifier: MIT
 * What the methods of prune_matrix.h share. */
#ifndef ORGAN_PRUNE_MATRIX_JOB_H
#define ORGAN_PRUNE_MATRIX_JOB_H

#include "orchestrator/surgery/calibrated/masked_squares.h"
#include "orchestrator/surgery/calibrated/prune_matrix.h"

#define ORGAN_SQUARES_DAMPING 0.03 /* of the mean of the diagonal */

typedef struct organ_matrix_job {
    const organ_engine *engine;
    const organ_prune_matrix_options *options;
    const organ_input_moments *moments; /* NULL for magnitude without a calibration */
    organ_prune_matrix_report *report;
    uint8_t *keep; /* methods that compensate: all 1 at first. Else of the band, and to be filled */
    /* What methods that compensate work on: */
    float *weights;
    size_t rows, cols;
    /* The others go through bands; each, once its mask is in `keep`, is handed over, in order: */
    organ_matrix_bands *bands;
    organ_status (*take)(void *context, size_t first, organ_error *error);
    void *context;
} organ_matrix_job;

/* keep[k] = 0 for the `count` least of n scores (>= 0, no NaN), the first of equals first, 1 for the others. */
void organ_mask_least(const float *scores, size_t n, size_t count, uint8_t *keep);

organ_status organ_prune_by_stages(organ_matrix_job *job, organ_error *error); /* physarum v2 */
organ_status organ_prune_by_sweep(organ_matrix_job *job, organ_error *error);  /* sparsegpt */
organ_status organ_prune_by_flow(organ_matrix_job *job, organ_error *error);   /* physarum v2 without compensation, in bands */
organ_status organ_prune_by_rank(organ_matrix_job *job, organ_error *error);   /* magnitude, wanda, in bands */

/* Bytes that the latter take beside the band and its mask. */
uint64_t organ_rank_memory(const organ_matrix_bands *bands, size_t workers);

#endif
