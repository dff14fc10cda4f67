/* SPDX-License-Identifier: MIT
 * Scales that are wrong although each value is possible: they are found by comparison with other blocks, weights and layers. */
#ifndef ORGAN_AUTOPSY_SCALES_H
#define ORGAN_AUTOPSY_SCALES_H

#include "orchestrator/surgery/health/autopsy_blocks.h"

/* Evidence of all weights that their scales stand in one order. */
typedef struct organ_order_pool {
    size_t weights, better, told; /* judged; more alike with the scales put back; told one by one */
    double evidence, variance;
    const organ_weight *first; /* of the better ones */
} organ_order_pool;

/* An order that makes a weight's blocks more alike, by too few blocks to be sure from this weight alone. */
typedef struct organ_order_suspect {
    const organ_weight *weight;
    organ_order order;
    double own, moved; /* mean squares of what is left of ln rms, with the scales as stored and put back */
} organ_order_suspect;

/* A row of blocks that differs from the others of its weight. */
typedef struct organ_odd_row {
    const organ_weight *weight;
    size_t row;
    uint64_t height;
    double off, usual; /* of ln rms: from the median of all rows; the median of that over the rows */
} organ_odd_row;

/* What is kept from weight to weight; all zero at first. */
struct organ_scale_pool {
    organ_order_pool orders[ORGAN_ORDER_COUNT];
    organ_order_suspect *suspects;
    size_t suspect_count;
    double *rests; /* of each weight with a grid of 3 x 3 or more: mean square of what is left of ln rms, scales as stored */
    size_t rest_count;
    double row_usual[ORGAN_ROLE_COUNT];   /* sums of organ_odd_row.usual over the weights of a role, */
    size_t row_weights[ORGAN_ROLE_COUNT]; /* so many */
    organ_odd_row *odd;
    size_t odd_count;
};

/* Whether scales are BF16 values over the largest code, as those of a quantised BF16 model are, once they are divided by an odd factor. */
void organ_autopsy_judge_digits(organ_autopsy_job *job, const organ_vitals *v, const organ_blocks *blocks);

/* Of all weights: whether the scales of one are wrong by a factor, judged by other layers and by the other weights of its layer. */
organ_status organ_autopsy_judge_factors(organ_autopsy_job *job, organ_error *error);

#endif
