/* SPDX-License-Identifier: MIT
 * Flow through a matrix of importances until it has killed so much, and patterns of n kept among m. */
#ifndef ORGAN_STAGED_FLOW_H
#define ORGAN_STAGED_FLOW_H

#include "orchestrator/stream/pass.h"

#define ORGAN_FLOW_TILE ((size_t)256)
/* Percentage points by which the search for a gain is content to miss in the end; more only where no gain comes nearer. Far less than what
 * shows in a rate: what is left after all stages is sensitive to it. On the way there a quarter of a point is near enough. */
#define ORGAN_FLOW_TOLERANCE       0.004
#define ORGAN_FLOW_STAGE_TOLERANCE 0.25

/* Of each `of` neighbours in a row, from column 0 on, `keep` are kept. of = 0: no pattern. */
typedef struct organ_pattern {
    unsigned keep, of;
} organ_pattern;

/* importance(i, j) = |weights(i, j)| * food[j], 0 where keep(i, j) is 0. */
typedef struct organ_flow {
    const float *weights; /* rows x cols, finite */
    const float *food;    /* per column, >= 0 and at most about 1 */
    size_t rows, cols;
    organ_pattern pattern; /* a group never loses more than this allows: its most important are kept */
    double tolerance;      /* percentage points */
    const char *name;      /* for messages */
} organ_flow;

/* Physarum flow (30 iterations, beta 2, coupling 1) over the importances in tiles of ORGAN_FLOW_TILE, at the gain that leaves `percent` of
 * the mask at zero, sought from *gain on; with percent = 0 at *gain itself. keep (rows x cols of 0 and 1) only loses; a tile without any
 * importance loses nothing. *gain becomes the gain taken, INFINITY where killing what has no importance was enough; *killed the percentage
 * of zeros in `keep`. ORGAN_BAD_INPUT for weights that are not finite, ORGAN_INTERRUPTED if stopped, ORGAN_IO without memory. */
organ_status organ_flow_run(const organ_engine *engine, const organ_flow *flow, double percent, double *gain, uint8_t *keep, double *killed,
                            organ_error *error);

/* Of each group keeps those of highest importance, of what keep still holds; of equals the first. cols is a multiple of pattern.of. */
void organ_flow_pattern(const organ_engine *engine, const organ_flow *flow, uint8_t *keep);

/* Of one group: scores and keep of pattern.of members. */
void organ_pattern_group(const organ_pattern *pattern, const float *scores, uint8_t *keep);

#endif
