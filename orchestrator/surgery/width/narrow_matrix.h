/* SPDX-License-Identifier: MIT
 * Removes columns of a matrix at the least loss: the loss is measured by the second moments of the matrix's inputs,
 * with the kept columns refitted. The result has the same bits on every machine and for any number of threads. */
#ifndef ORGAN_NARROW_MATRIX_H
#define ORGAN_NARROW_MATRIX_H

#include "orchestrator/surgery/calibration/calibration.h"

#define ORGAN_NARROW_DAMPING 0.01 /* this times the mean of H's diagonal is added to the diagonal */

typedef struct organ_narrow_options {
    const char *name; /* name of the matrix, for messages */
    size_t group; /* columns that are kept or removed together: 1, or those of a KV head's queries. Divides the number
                     of columns */
    size_t keep;  /* groups to keep, at least 1 */
    bool by_magnitude; /* remove the groups with the least sum of |w|^2 H(j, j), w unchanged, instead of those with the
                          least loss */
    bool no_resolve;   /* kept columns keep their values */
} organ_narrow_options;

typedef struct organ_narrow_report {
    double energy;        /* trace(W H W^T) per token, H with its damping */
    double loss;          /* trace(D H D^T) per token, D = W - W' */
    double expected_loss; /* sum of the losses at which groups were removed: equals `loss` up to rounding if all kept
                        columns are refitted */
    uint64_t tokens;
    bool block_diagonal; /* H has blocks only, because memory is short */
} organ_narrow_report;

/* Chooses the groups of `weights` (rows x cols, row-major; cols = the calibration's features) to keep: kept[0 .. keep)
 * becomes their numbers, ascending. Their columns become W' = argmin trace((W - W') H (W - W')^T) in FP32; the other
 * columns become +0. Groups are removed one at a time: the loss of a group S is trace(W_S ([H^-1]_SS)^-1 W_S^T), with W
 * and H^-1 updated for the groups removed before; the group with the least loss is removed (of equal ones the first).
 * Returns ORGAN_BAD_INPUT for weights that are not finite or an H that cannot be inverted, ORGAN_IO without memory,
 * ORGAN_INTERRUPTED if the engine is stopped. After an error the weights are undefined. */
organ_status organ_narrow_matrix(const organ_engine *engine, const organ_narrow_options *options,
                                 const organ_calibration *calibration, float *weights, size_t rows, size_t cols,
                                 uint32_t *kept, organ_narrow_report *report, organ_error *error);

/* Returns the bytes of memory for organ_narrow_matrix with a whole H, in addition to the weights, the calibration and
 * the scratch of each thread. */
uint64_t organ_narrow_memory(uint64_t rows, uint64_t cols, uint64_t group);

#endif
