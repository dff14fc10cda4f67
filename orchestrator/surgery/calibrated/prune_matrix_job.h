/* SPDX-License-Identifier: MIT
 * Data and functions that the methods of prune_matrix.h share. */
#ifndef ORGAN_PRUNE_MATRIX_JOB_H
#define ORGAN_PRUNE_MATRIX_JOB_H

#include "orchestrator/surgery/calibrated/masked_squares.h"
#include "orchestrator/surgery/calibrated/prune_matrix.h"

#define ORGAN_SQUARES_DAMPING 0.03 /* times the mean of the diagonal */
#define ORGAN_DONOR_SHARE     0.5  /* alpha: share of earlier layers' error that is corrected */

/* The pruning of one matrix: what all methods need. */
typedef struct organ_matrix_job {
    const organ_engine *engine;
    const organ_prune_matrix_options *options;
    const organ_input_moments *moments; /* NULL for magnitude without a calibration */
    organ_prune_matrix_report *report;
    uint8_t *keep; /* methods that compensate: the mask of the matrix, all 1 at first; others: the mask of a band, set
                    * by the method */
    /* The matrix, for methods that compensate: */
    float *weights;
    size_t rows, cols;
    /* The bands, for the other methods. `take` is called for each band in order, once its mask is in `keep`: */
    organ_matrix_bands *bands;
    organ_status (*take)(void *context, size_t first, organ_error *error);
    void *context;
} organ_matrix_job;

/* Sets weights to 0 whose inputs are always zero: they have no effect. */
void organ_clear_dead_inputs(const organ_matrix_job *job);

organ_status organ_prune_by_stages(organ_matrix_job *job, organ_error *error); /* physarum v2 */
organ_status organ_prune_by_sweep(organ_matrix_job *job, organ_error *error);  /* sparsegpt */
organ_status organ_prune_by_alps(organ_matrix_job *job, organ_error *error);
organ_status organ_prune_by_flow_and_admm(organ_matrix_job *job, organ_error *error); /* physarum v3 */
organ_status organ_prune_by_flow(organ_matrix_job *job,
                                 organ_error *error); /* physarum v2 without compensation, in bands; also computes the
                                                       * first mask of v3 */
organ_status organ_prune_by_rank(organ_matrix_job *job, organ_error *error); /* magnitude, wanda, in bands */

/* Returns the bytes that organ_prune_by_rank needs, without the band and its mask. */
uint64_t organ_rank_memory(const organ_matrix_bands *bands, size_t workers);

#endif
