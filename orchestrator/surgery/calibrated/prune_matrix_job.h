/* SPDX-License-Identifier: MIT
 * What the methods of prune_matrix.h share. */
#ifndef ORGAN_PRUNE_MATRIX_JOB_H
#define ORGAN_PRUNE_MATRIX_JOB_H

#include "orchestrator/surgery/calibrated/masked_squares.h"
#include "orchestrator/surgery/calibrated/prune_matrix.h"

#define ORGAN_SQUARES_DAMPING 0.03 /* of the mean of the diagonal */
#define ORGAN_DONOR_SHARE     0.5  /* alpha: of what is bent upstream, as much is bent back */

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

/* Weights of inputs that are always zero do nothing: they become 0. */
void organ_clear_dead_inputs(const organ_matrix_job *job);

organ_status organ_prune_by_stages(organ_matrix_job *job, organ_error *error); /* physarum v2 */
organ_status organ_prune_by_sweep(organ_matrix_job *job, organ_error *error);  /* sparsegpt */
organ_status organ_prune_by_alps(organ_matrix_job *job, organ_error *error);
organ_status organ_prune_by_flow_and_admm(organ_matrix_job *job, organ_error *error); /* physarum v3 */
organ_status
organ_prune_by_flow(organ_matrix_job *job,
                    organ_error *error); /* physarum v2 without compensation, in bands; the mask that v3 begins with */
organ_status organ_prune_by_rank(organ_matrix_job *job, organ_error *error); /* magnitude, wanda, in bands */

/* Bytes that the latter take beside the band and its mask. */
uint64_t organ_rank_memory(const organ_matrix_bands *bands, size_t workers);

#endif
