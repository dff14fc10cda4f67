/* SPDX-License-Identifier: MIT
 * Flow through a matrix of importances until it has killed so much, and patterns of n kept among m. */
#ifndef ORGAN_STAGED_FLOW_H
#define ORGAN_STAGED_FLOW_H

#include "orchestrator/surgery/calibrated/matrix_bands.h"

#define ORGAN_FLOW_TILE ((size_t)256)
/* Percentage points by which the search for a gain is content to miss in the end; more only where no gain comes nearer.
 * Far less than what shows in a rate: what is left after all stages is sensitive to it. On the way there a quarter of a
 * point is near enough. */
#define ORGAN_FLOW_TOLERANCE       0.004
#define ORGAN_FLOW_STAGE_TOLERANCE 0.25

#define ORGAN_PATTERN_MOST 16 /* neighbours */

/* Of each `of` neighbours in a row, from column 0 on, `keep` are kept. of = 0: no pattern. */
typedef struct organ_pattern {
    unsigned keep, of;
} organ_pattern;

/* importance(i, j) = |weights(i, j)| * food[j]. */
typedef struct organ_flow {
    organ_matrix_bands *weights; /* band_rows is a multiple of ORGAN_FLOW_TILE, or the matrix is one band */
    const float *food;           /* per column, >= 0 and at most about 1 */
    organ_pattern pattern;       /* a group never loses more than this allows: its most important are kept */
    double tolerance;            /* percentage points */
} organ_flow;

/* What a search has found. */
typedef struct organ_flow_gain {
    double gain;   /* INFINITY: killing what has no importance was enough */
    double killed; /* percentage of zeros in the mask that it leaves */
    double
        fall;  /* points by which an octave more would kill less; 0: not known, nor whether any finite gain is needed */
    bool held; /* `kept` holds that mask */
} organ_flow_gain;

/* Physarum flow (30 iterations, beta 2, coupling 1) over the importances in tiles of ORGAN_FLOW_TILE (with a pattern
 * the most columns below that are whole groups), at the gain that leaves `percent` of the mask at zero, sought from
 * *found on, which is a gain alone or what a search for less has found; with percent = 0 at found->gain itself. A mask
 * only loses; a tile without any importance loses nothing. `before` is the mask of a matrix of one band, NULL for one
 * that keeps all; so is `kept`, NULL where only the gain is wanted. Weights that `before` has not are zero.
 * ORGAN_BAD_INPUT for weights that are not finite, ORGAN_INTERRUPTED if stopped, ORGAN_IO without memory; errors of
 * organ_matrix_band. */
organ_status organ_flow_search(const organ_engine *engine, const organ_flow *flow, double percent,
                               const uint8_t *before, uint8_t *kept, organ_flow_gain *found, organ_error *error);

/* The mask `kept` that this gain leaves of `before` (NULL: all) in the band that begins at row `first`. Errors as
 * above. */
organ_status organ_flow_mask(const organ_engine *engine, const organ_flow *flow, double gain, size_t first,
                             const uint8_t *before, uint8_t *kept, organ_error *error);

/* Of each group of a band keeps those of highest importance, of what keep still holds; of equals the first. The number
 * of columns is a multiple of pattern.of. Errors of organ_matrix_band. */
organ_status organ_flow_pattern(const organ_engine *engine, const organ_flow *flow, size_t first, uint8_t *keep,
                                organ_error *error);

/* Bytes that a search or a mask takes beside the band and its masks. */
uint64_t organ_flow_memory(size_t workers);

/* Of one group: scores and keep of pattern.of members. */
void organ_pattern_group(const organ_pattern *pattern, const float *scores, uint8_t *keep);

#endif
