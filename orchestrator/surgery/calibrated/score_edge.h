/* SPDX-License-Identifier: MIT
 * The score of a rank among many, found exactly by the bits of the scores, a digit at a time from above; and the mask
 * that cuts there. */
#ifndef ORGAN_SCORE_EDGE_H
#define ORGAN_SCORE_EDGE_H

#include <stddef.h>
#include <stdint.h>

#define ORGAN_EDGE_DIGIT  2048 /* values of a digit: 11 bits */
#define ORGAN_EDGE_DIGITS 3

/* Scores are read without their sign. All 0 at first. */
typedef struct organ_score_edge {
    uint32_t bits, known; /* of the score so far, and which of its bits are found */
    uint64_t less;        /* how many scores are less */
} organ_score_edge;

/* Adds how many of the scores that agree with what is known have which digit next. */
void organ_edge_count(const organ_score_edge *edge, unsigned digit, const float *scores, size_t n,
                      uint64_t counts[ORGAN_EDGE_DIGIT]);
/* Finds the digit by the counts of all scores; `rank`: 0 is the least. */
void organ_edge_settle(organ_score_edge *edge, unsigned digit, const uint64_t counts[ORGAN_EDGE_DIGIT], uint64_t rank);
/* keep[k] = 0 below the edge, and for the first `equals` at it; returns how many of these were there. */
uint64_t organ_edge_cut(const organ_score_edge *edge, const float *scores, size_t n, uint64_t equals, uint8_t *keep);

/* keep[k] = 0 for the `count` least of n scores (>= 0, no NaN), the first of equals first, 1 for the others. */
void organ_mask_least(const float *scores, size_t n, size_t count, uint8_t *keep);

#endif
