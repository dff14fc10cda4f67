/* SPDX-License-Identifier: MIT
 * Removes columns of a matrix W with the least loss: the error of its outputs on calibration inputs, measured by the
 * second moments H of the inputs, with the kept columns refitted. The result has the same bits on every machine and for
 * any number of threads. */
#ifndef ORGAN_NARROW_MATRIX_H
#define ORGAN_NARROW_MATRIX_H

#include "orchestrator/surgery/calibration/calibration.h"

#define ORGAN_NARROW_DAMPING 0.01 /* damping: this times the mean of H's diagonal is added to the diagonal */

/* Which columns of a matrix W to keep, and how to choose and refit them. */
typedef struct organ_narrow_options {
    const char *name; /* name of the matrix, for messages */
    /* Number of consecutive columns that are kept or removed together: 1, or the columns of the query heads of one KV
     * head. Divides the number of columns. */
    size_t group;
    size_t keep; /* number of groups to keep, at least 1 */
    /* Remove the groups with the least sum of |w|^2 H(j, j) over their columns j (w: column j of W), instead of the
     * groups with the least loss. */
    bool by_magnitude;
    bool no_refit; /* do not refit the kept columns */
} organ_narrow_options;

/* Result of narrowing a matrix; W' is the narrowed matrix. */
typedef struct organ_narrow_report {
    double energy; /* trace(W H W^T) per token, H with its damping */
    double loss;   /* trace(D H D^T) per token, D = W - W' */
    /* Sum of the losses that were computed when groups were removed: equals `loss` up to rounding if all kept columns
     * are refitted. */
    double expected_loss;
    uint64_t tokens;     /* calibration tokens */
    bool block_diagonal; /* H consists of diagonal blocks, because memory is short */
} organ_narrow_report;

/* Chooses the groups of `weights` (rows x cols, row-major; cols = the calibration's features) to keep, and sets kept[0
 * .. options->keep) to their indices, ascending. Replaces `weights` by W': the kept columns are argmin trace((W - W') H
 * (W - W')^T) in FP32, the removed columns +0. Groups are removed one at a time, each time the group with the least
 * loss (of equal ones the first). The loss of a group S is trace(W_S ([H^-1]_SS)^-1 W_S^T), with W and H^-1 updated for
 * the groups removed before. Returns ORGAN_BAD_INPUT for weights that are not finite or an H that cannot be inverted,
 * ORGAN_IO if memory runs out, ORGAN_INTERRUPTED if a stop was requested. After an error the weights are undefined. */
organ_status organ_narrow_matrix(const organ_engine *engine, const organ_narrow_options *options,
                                 const organ_calibration *calibration, float *weights, size_t rows, size_t cols,
                                 uint32_t *kept, organ_narrow_report *report, organ_error *error);

/* Returns the bytes that organ_narrow_matrix needs with a whole H, in addition to the weights, the calibration and the
 * scratch of each thread. `group`: organ_narrow_options.group. */
uint64_t organ_narrow_memory(uint64_t rows, uint64_t cols, uint64_t group);

#endif
