/* SPDX-License-Identifier: MIT
 * Masks for a requested sparsity from the flow of physarum v1 (docs/definitions/pruning.md), run over importances in
 * place of magnitudes; and patterns that keep N of M neighbours. The flow gives each weight a conductivity and removes
 * the weights with a low one. Its parameter, the gain, decides how many: a higher gain removes fewer weights. */
#ifndef ORGAN_STAGED_FLOW_H
#define ORGAN_STAGED_FLOW_H

#include "orchestrator/surgery/prune/matrix_bands.h"

#define ORGAN_FLOW_TILE ((size_t)256) /* rows and columns of a tile */
/* Accepted distances from the requested sparsity, in percentage points: for the final mask, and for the stages before
 * it (prune_matrix_flow.c). The distance is larger only if no tried gain comes nearer. The final value is far
 * below the digits that reports show, because small changes of the mask change the refitted weights. */
#define ORGAN_FLOW_TOLERANCE       0.004
#define ORGAN_FLOW_STAGE_TOLERANCE 0.25

#define ORGAN_PATTERN_MAX 16 /* greatest number of neighbours in a group of a pattern */

/* Keeps `keep` of each `of` neighbours in a row, a group. Groups begin at columns 0, of, 2 of, ... of = 0: no
 * pattern. */
typedef struct organ_pattern {
    unsigned keep, of;
} organ_pattern;

/* The importances over which the flow runs: importance(i, j) = |weights(i, j)| * food[j]. */
typedef struct organ_flow {
    organ_matrix_bands *weights; /* band_rows is a multiple of ORGAN_FLOW_TILE, or the matrix is one band */
    const float *food;           /* importance of each input (column), >= 0 and at most about 1 */
    organ_pattern pattern; /* if the flow removes more weights of a group than the pattern would, the most important of
                              them are kept; of = 0: no pattern */
    double tolerance;      /* accepted distance from the requested sparsity, in percentage points */
} organ_flow;

typedef struct organ_flow_gain {
    double gain;   /* INFINITY: removing all weights without importance was enough */
    double killed; /* percent of zeros in the resulting mask */
    double fall;   /* percentage points by which the sparsity falls if the gain doubles; 0: unknown, and the next search
                      first tries an infinite gain */
    bool mask_written; /* `kept` of organ_flow_search contains the mask for `gain`; false: organ_flow_mask must compute
                        * it */
} organ_flow_gain;

/* Searches for the gain with which the flow leaves `percent` percent of the mask at zero.
 *
 * The flow (30 iterations, beta 2, coupling 1) runs in tiles of ORGAN_FLOW_TILE rows and columns; with a pattern, in as
 * many columns as make whole groups. On entry *found is the start of the search: a gain with `fall` 0, or the result of
 * a search for a lower sparsity. On return it is the result. With percent = 0 the flow runs once, at found->gain.
 *
 * Masks are 1 for kept weights and cover a matrix of one band. `before` is the mask before the flow, NULL if all
 * weights are kept; weights that it removes are zero in the matrix and stay removed. A tile whose importances are all 0
 * loses no weight. `kept` receives the mask of the last tried gain (found->mask_written); NULL if only the gain is
 * needed.
 *
 * Returns ORGAN_BAD_INPUT if a weight is not finite, ORGAN_INTERRUPTED if stopped, ORGAN_IO if memory cannot be
 * allocated; errors of organ_matrix_band. */
organ_status organ_flow_search(const organ_engine *engine, const organ_flow *flow, double percent,
                               const uint8_t *before, uint8_t *kept, organ_flow_gain *found, organ_error *error);

/* Computes the mask `kept` of the band that begins at row `first`: runs the flow at `gain` over the weights that
 * `before` keeps (NULL: all). Returns the errors of organ_flow_search. */
organ_status organ_flow_mask(const organ_engine *engine, const organ_flow *flow, double gain, size_t first,
                             const uint8_t *before, uint8_t *kept, organ_error *error);

/* Applies flow->pattern to the mask `keep` of the band that begins at row `first`: of each group, the most important
 * weights that `keep` keeps stay, of equal ones the first. The number of columns is a multiple of pattern.of. Returns
 * errors of organ_matrix_band. */
organ_status organ_flow_pattern(const organ_engine *engine, const organ_flow *flow, size_t first, uint8_t *keep,
                                organ_error *error);

/* Returns the bytes that a search or a mask needs, without the band and its masks. */
uint64_t organ_flow_memory(size_t workers);

/* Applies the pattern to one group, whose `scores` and mask `keep` have pattern->of values: of the weights with keep 1,
 * those with the pattern->keep highest scores stay at 1, the first ones if scores are equal. All others become 0. */
void organ_pattern_group(const organ_pattern *pattern, const float *scores, uint8_t *keep);

#endif
