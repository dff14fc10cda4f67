/* SPDX-License-Identifier: MIT
 * The part of the donor's outputs that a changed model shall give: what an adapter or codes with an adapter approach
 * instead of the donor's weights. */
#ifndef ORGAN_SURGERY_CALIBRATION_DONOR_TARGET_H
#define ORGAN_SURGERY_CALIBRATION_DONOR_TARGET_H

#include "orchestrator/solve/algebra.h"
#include "orchestrator/surgery/calibration/calibration.h"

/* Data that matrices with the same inputs share. The caller sets it to zero before the first matrix, and calls
 * organ_donor_target_close when the calibration of the inputs ends. */
typedef struct organ_donor_target {
    const organ_calibration *of; /* the calibration of the inputs; NULL: none */
    float *factor;               /* Cholesky factor of their second moments, in blocks */
    organ_buffers buffers;
} organ_donor_target;

void organ_donor_target_close(organ_donor_target *donor); /* allowed on a zeroed structure */

/* Sets `target`, [rows][h->size], to share W (C - H) (H + damping I)^-1, with share 1/2: the change of W,
 * [rows][h->size], with which the inputs X of the changed model give half of the donor's outputs X_d W^T instead of X
 * W^T. C = X_d^T X per token is that of the matrix's calibration; without the donor's inputs `target` is 0. `h`: H +
 * damping I, the same for all matrices of a calibration. Rows are in the order of the forward pass. Returns
 * ORGAN_BAD_INPUT if H is not positive definite, ORGAN_IO if memory cannot be allocated. */
organ_status organ_donor_target_find(organ_donor_target *donor, const organ_engine *engine,
                                     const organ_calibration_matrix *matrix, const organ_block_matrix *h,
                                     const float *weights, float *target, organ_error *error);
/* Returns the bytes that organ_donor_target_find allocates, with the factor. */
uint64_t organ_donor_target_memory(const organ_engine *engine, uint64_t cols, uint64_t block);

#endif
