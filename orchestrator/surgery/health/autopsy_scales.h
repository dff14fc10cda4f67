/* SPDX-License-Identifier: MIT
 * Finds wrong scales whose values are each possible, by comparison with other blocks, weights and layers. */
#ifndef ORGAN_AUTOPSY_SCALES_H
#define ORGAN_AUTOPSY_SCALES_H

#include "orchestrator/surgery/health/autopsy_blocks.h"

/* Evidence, over all weights, that scales are stored in one wrong order. */
typedef struct organ_order_pool {
    size_t weights, better,
        reported; /* judged; whose blocks are more alike with the scales put back; with a finding of their own */
    double evidence, variance;
    const organ_weight *first; /* the first weight counted in `better` */
} organ_order_pool;

/* An order that makes a weight's blocks more alike, with too few blocks for a finding from this weight alone. */
typedef struct organ_order_suspect {
    const organ_weight *weight;
    organ_order order;
    double own, moved; /* mean squares of the residuals of ln rms, with the scales as stored and with them put back */
} organ_order_suspect;

/* A row of blocks that differs from the others of its weight. */
typedef struct organ_odd_row {
    const organ_weight *weight;
    size_t row;
    uint64_t height;
    double off,
        usual; /* of ln rms: the row's deviation from the median row, and the median absolute deviation of all rows */
} organ_odd_row;

/* Evidence collected over all weights; all zero at first. */
struct organ_scale_pool {
    organ_order_pool orders[ORGAN_ORDER_COUNT];
    organ_order_suspect *suspects;
    size_t suspect_count;
    double *rests; /* of each weight with a grid of 3 x 3 or more: mean square of the residuals of ln rms, scales as
                      stored */
    size_t rest_count;
    double row_usual[ORGAN_ROLE_COUNT];   /* sums of organ_odd_row.usual over the weights of a role, */
    size_t row_weights[ORGAN_ROLE_COUNT]; /* and the number of these weights */
    organ_odd_row *odd;
    size_t odd_count;
};

/* Tests whether an odd factor was multiplied into the scales. Scales of a quantised BF16 model are a BF16 value divided
 * by the largest code; adds a finding if most scales have that form only after division by one such factor. */
void organ_autopsy_judge_digits(organ_autopsy_job *job, const organ_weight_stats *v, const organ_blocks *blocks);

/* Tests for each weight whether all of its scales are wrong by one factor, by comparison with the same weight of other
 * layers and with the other weights of its layer. */
organ_status organ_autopsy_judge_factors(organ_autopsy_job *job, organ_error *error);

#endif
