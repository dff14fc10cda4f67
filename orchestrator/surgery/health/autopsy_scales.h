/* SPDX-License-Identifier: MIT
 * Finds wrong scales that look plausible individually, by comparison with other blocks, weights and layers. */
#ifndef ORGAN_AUTOPSY_SCALES_H
#define ORGAN_AUTOPSY_SCALES_H

#include "orchestrator/surgery/health/autopsy_blocks.h"

/* Evidence, over all weights, that scales are stored in one wrong order. Residuals are ln rms of the blocks of a weight
 * minus the means of rows and columns of the grid (autopsy_order.c). */
typedef struct organ_order_pool {
    size_t weights;  /* judged weights */
    size_t better;   /* weights whose residuals are smaller with the order undone */
    size_t reported; /* weights with a finding of this order */
    /* For each weight pool_order (autopsy_order.c) computes a ln F from the ratio F of the mean squares of its
     * residuals: sum of these numbers, and sum of the variances that they have by chance. */
    double evidence, variance;
    const organ_weight *first; /* the first weight counted in `better` */
} organ_order_pool;

/* A weight whose blocks become more alike if a wrong order of the scales is undone, but not so clearly that chance is
 * excluded. */
typedef struct organ_order_suspect {
    const organ_weight *weight;
    organ_order order;
    double own, moved; /* mean squares of the residuals: with the stored order, and with the order undone */
} organ_order_suspect;

/* A row of blocks whose rms differs from that of the other rows of its weight. */
typedef struct organ_odd_row {
    const organ_weight *weight;
    size_t row;      /* index of the row of blocks */
    uint64_t height; /* rows of values in a block */
    /* off: ln rms of the row minus the median ln rms of all rows of blocks; usual: median |difference| of all rows from
     * the same median */
    double off, usual;
} organ_odd_row;

/* The row with the largest scales of a weight whose blocks are one row high. */
typedef struct organ_top_line {
    const organ_weight *weight;
    size_t row;
    double gap, off; /* ln of its median scale minus that of the next row, and minus that of the row in the middle */
} organ_top_line;

/* Evidence collected over all weights; all zero at first. */
struct organ_scale_pool {
    organ_order_pool orders[ORGAN_ORDER_COUNT]; /* evidence for each wrong order */
    organ_order_suspect *suspects;              /* `suspect_count` elements */
    size_t suspect_count;
    /* Mean squares of the residuals with the stored order, for each weight with a grid of 3 x 3 or more and blocks that
     * are high enough (add_residual); `rest_count` elements. */
    double *rests;
    size_t rest_count;
    double row_usual[ORGAN_ROLE_COUNT];   /* for each role: sum of organ_odd_row.usual over its weights */
    size_t row_weights[ORGAN_ROLE_COUNT]; /* for each role: number of these weights */
    organ_odd_row *odd;                   /* rows of blocks that may be wrong: `odd_count` elements */
    size_t odd_count;
    organ_top_line *tops; /* `top_count` elements */
    size_t top_count;
};

/* Tests the rows of a weight whose blocks are one row high. With the original, the rows with the largest and smallest
 * scales are compared with it; a row that differs by a factor is a finding. Without it, the row with the largest scale
 * of a weight with one scale for each row is appended to job->pool->tops. job->pool must exist. Groups of columns are
 * not compared without the original, because sound rows of outliers have scales of up to six times those of others. */
organ_status organ_autopsy_judge_lines(organ_autopsy_job *job, const organ_weight_stats *v, organ_error *error);
/* Adds a finding for each row of pool->tops that is much farther from the next row than those of the other weights.
 * `scratch` has pool->top_count elements. */
void organ_autopsy_judge_tops(organ_autopsy_job *job, const organ_scale_pool *pool, double *scratch);

/* Tests whether all scales of an FP8 weight were multiplied by one factor such as 3 or 1/5. Each scale of a quantised
 * BF16 model is a BF16 value divided by the largest code. Adds a finding if most scales have that form only after
 * division by such a factor. Powers of two cannot be detected. */
void organ_autopsy_judge_digits(organ_autopsy_job *job, const organ_weight_stats *v, const organ_blocks *blocks);

/* Tests for each weight whether all of its scales are wrong by one factor, by comparison with the same weight of other
 * layers and with the other weights of its layer. */
organ_status organ_autopsy_judge_factors(organ_autopsy_job *job, organ_error *error);

#endif
