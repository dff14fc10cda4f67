/* SPDX-License-Identifier: MIT
 * Masks from a flow through a matrix of importances at a requested sparsity, and patterns that keep n of m
 * neighbours. */
#ifndef ORGAN_STAGED_FLOW_H
#define ORGAN_STAGED_FLOW_H

#include "orchestrator/surgery/calibrated/matrix_bands.h"

#define ORGAN_FLOW_TILE ((size_t)256)
/* Accepted distances from the requested sparsity, in percentage points: for the final mask, and for earlier stages. The
 * distance is larger only if no gain comes nearer. The final value is far below the resolution of a reported rate,
 * because the remaining weights are sensitive to it. */
#define ORGAN_FLOW_TOLERANCE       0.004
#define ORGAN_FLOW_STAGE_TOLERANCE 0.25

#define ORGAN_PATTERN_MAX 16 /* neighbours */

/* Keeps `keep` of each `of` neighbours in a row, counted from column 0. of = 0: no pattern. */
typedef struct organ_pattern {
    unsigned keep, of;
} organ_pattern;

/* importance(i, j) = |weights(i, j)| * food[j]. */
typedef struct organ_flow {
    organ_matrix_bands *weights; /* band_rows is a multiple of ORGAN_FLOW_TILE, or the matrix is one band */
    const float *food;           /* per column, >= 0 and at most about 1 */
    organ_pattern pattern;       /* limits the removals in each group: its most important weights are kept */
    double tolerance;            /* percentage points */
} organ_flow;

/* The result of a search. */
typedef struct organ_flow_gain {
    double gain;   /* INFINITY: removing all weights without importance was enough */
    double killed; /* percent of zeros in the resulting mask */
    double fall;   /* percentage points by which the sparsity falls if the gain doubles; 0: unknown, and the next search
                      first tries an infinite gain */
    bool held;     /* `kept` of organ_flow_search contains this mask */
} organ_flow_gain;

/* Searches for the gain at which a physarum flow leaves `percent` of the mask at zero, and computes the mask.
 *
 * The flow (30 iterations, beta 2, coupling 1) runs over the importances in tiles of ORGAN_FLOW_TILE columns (with a
 * pattern, the largest smaller multiple of a group). The search starts from *found, which contains a gain or the result
 * of a search for a lower sparsity; with percent = 0 the flow runs once at found->gain. Weights are only removed; a
 * tile without importance loses none. `before` is the mask of a matrix of one band, NULL if all weights are kept;
 * weights that it removed are zero. `kept` is the new mask of such a matrix, NULL if only the gain is needed.
 *
 * Returns ORGAN_BAD_INPUT if a weight is not finite, ORGAN_INTERRUPTED if stopped, ORGAN_IO if memory cannot be
 * allocated; errors of organ_matrix_band. */
organ_status organ_flow_search(const organ_engine *engine, const organ_flow *flow, double percent,
                               const uint8_t *before, uint8_t *kept, organ_flow_gain *found, organ_error *error);

/* Computes the mask `kept` of the band that begins at row `first`: runs the flow at `gain` over the weights that
 * `before` keeps (NULL: all). Returns the errors of organ_flow_search. */
organ_status organ_flow_mask(const organ_engine *engine, const organ_flow *flow, double gain, size_t first,
                             const uint8_t *before, uint8_t *kept, organ_error *error);

/* Keeps the most important weights of each group of a band among those that `keep` keeps; the first of equal ones. The
 * number of columns is a multiple of pattern.of. Returns errors of organ_matrix_band. */
organ_status organ_flow_pattern(const organ_engine *engine, const organ_flow *flow, size_t first, uint8_t *keep,
                                organ_error *error);

/* Returns the bytes that a search or a mask needs, without the band and its masks. */
uint64_t organ_flow_memory(size_t workers);

/* Applies the pattern to one group: `scores` and `keep` have pattern.of members. */
void organ_pattern_group(const organ_pattern *pattern, const float *scores, uint8_t *keep);

#endif
