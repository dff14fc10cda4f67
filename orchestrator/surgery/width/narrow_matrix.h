/* SPDX-License-Identifier: MIT
 * Which columns of a matrix can go at the least loss when those that stay are solved anew, by the second moments of its
 * inputs. The same bits on every machine and for any number of threads. */
#ifndef ORGAN_NARROW_MATRIX_H
#define ORGAN_NARROW_MATRIX_H

#include "orchestrator/surgery/along_text/calibration.h"

#define ORGAN_NARROW_DAMPING 0.01 /* of the mean of the diagonal of H, added to it */

typedef struct organ_narrow_options {
    const char *name;  /* of the matrix, for messages */
    size_t group;      /* columns that go or stay together: 1, or those of a KV group. It divides the columns */
    size_t keep;       /* groups that stay, at least 1 */
    bool by_magnitude; /* the groups of the least sum of |w|^2 H(j, j) go, as they stand, in place of those whose loss
                          is least */
    bool no_resolve;   /* what stays keeps its values */
} organ_narrow_options;

typedef struct organ_narrow_report {
    double energy;   /* trace(W H W^T) per token, H with its damping */
    double loss;     /* trace(D H D^T) per token, D = W - W' */
    double foretold; /* what the groups cost when they went: `loss` up to rounding, if all that stays is solved anew */
    uint64_t tokens;
    bool block_diagonal; /* H, for want of memory */
} organ_narrow_report;

/* Chooses the groups of `weights` (rows x cols row by row, cols = the calibration's features) that stay: kept[0 ..
 * keep) becomes their numbers, ascending. Their columns become W' = argmin trace((W - W') H (W - W')^T) in FP32, those
 * of the others +0. The loss of a group S, all others that went before it gone, is trace(W_S ([H^-1]_SS)^-1 W_S^T) of W
 * and H^-1 as they are then; the group of the least loss goes first, of equals the first one. ORGAN_BAD_INPUT for
 * weights that are not finite or an H that cannot be inverted, ORGAN_IO without memory, ORGAN_INTERRUPTED if the engine
 * is stopped; then the weights are of no use. */
organ_status organ_narrow_matrix(const organ_engine *engine, const organ_narrow_options *options,
                                 const organ_calibration *calibration, float *weights, size_t rows, size_t cols,
                                 uint32_t *kept, organ_narrow_report *report, organ_error *error);

/* Bytes that it takes beside the weights and the calibration, H whole; what each thread has for itself comes on top. */
uint64_t organ_narrow_memory(uint64_t rows, uint64_t cols, uint64_t group);

#endif
