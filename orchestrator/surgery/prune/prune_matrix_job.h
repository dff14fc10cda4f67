/* SPDX-License-Identifier: MIT
 * Data and functions that the methods of prune_matrix.h share. */
#ifndef ORGAN_PRUNE_MATRIX_JOB_H
#define ORGAN_PRUNE_MATRIX_JOB_H

#include "orchestrator/surgery/prune/masked_squares.h"
#include "orchestrator/surgery/prune/prune_matrix.h"

#define ORGAN_SQUARES_DAMPING 0.03 /* added to H's diagonal by physarum v2 and v3, times the mean of the diagonal */
#define ORGAN_DONOR_SHARE     0.5  /* alpha of docs/definitions/pruning.md: share of earlier layers' error to correct */

/* The pruning of one matrix, as all methods get it. */
typedef struct organ_matrix_job {
    const organ_engine *engine;
    const organ_prune_matrix_options *options;
    const organ_input_moments *moments; /* NULL for magnitude without a calibration */
    organ_prune_matrix_report *report;
    /* The mask that the method computes, 1 for kept weights. Methods that compensate: of the whole matrix, all 1 at
     * first. Other methods: of the band for which they call `take`. */
    uint8_t *keep;
    float *weights;    /* the matrix, which methods that compensate change in place; NULL for organ_prune_bands */
    size_t rows, cols; /* shape of the matrix */
    organ_matrix_bands *bands; /* the matrix in bands: methods without compensation and the flow before ADMM read it */
    /* Methods that do not compensate call `take` for each band in order, once the band's mask is in `keep`. `first` is
     * the band's first row. */
    organ_status (*take)(void *context, size_t first, organ_error *error);
    void *context; /* first argument of `take` */
} organ_matrix_job;

/* Sets to 0 the columns of job->weights whose inputs were zero for all tokens: these weights have no effect. */
void organ_clear_dead_inputs(const organ_matrix_job *job);

/* One function for each method: computes job->keep, and changes job->weights or calls job->take. Errors are those of
 * organ_prune_matrix. */
organ_status organ_prune_by_stages(organ_matrix_job *job, organ_error *error); /* physarum v2 */
organ_status organ_prune_by_sweep(organ_matrix_job *job, organ_error *error);  /* sparsegpt */
organ_status organ_prune_by_alps(organ_matrix_job *job, organ_error *error);
organ_status organ_prune_by_flow_and_admm(organ_matrix_job *job, organ_error *error); /* physarum v3 */
organ_status organ_prune_by_flow(organ_matrix_job *job, organ_error *error); /* physarum v2 without compensation, in
                                                                              * bands; also the first mask of v3 */
organ_status organ_prune_by_rank(organ_matrix_job *job, organ_error *error); /* magnitude, wanda, in bands */

/* Returns the bytes that organ_prune_by_rank allocates with bands of bands->band_rows rows, without the band and its
 * mask. */
uint64_t organ_rank_memory(const organ_matrix_bands *bands, size_t workers);

#endif
