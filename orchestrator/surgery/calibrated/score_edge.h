/* SPDX-License-Identifier: MIT
 * The score of a given rank among many. Finds it exactly from the bits of the scores, one digit at a time from the
 * highest, and computes the mask of scores above it. */
#ifndef ORGAN_SCORE_EDGE_H
#define ORGAN_SCORE_EDGE_H

#include <stddef.h>
#include <stdint.h>

#define ORGAN_EDGE_DIGIT  2048 /* values of a digit: 11 bits */
#define ORGAN_EDGE_DIGITS 3

/* State of the search; all 0 at first. The sign of scores is ignored. */
typedef struct organ_score_edge {
    uint32_t bits, known; /* the bits found so far, and the mask of these bits */
    uint64_t less;        /* number of lower scores */
} organ_score_edge;

/* Adds to counts[v] the number of scores whose digit `digit` is v and that agree with the bits found so far. */
void organ_edge_count(const organ_score_edge *edge, unsigned digit, const float *scores, size_t n,
                      uint64_t counts[ORGAN_EDGE_DIGIT]);
/* Extends *edge by digit `digit` of the score of rank `rank` (0: the lowest), from the counts of all scores. */
void organ_edge_select_digit(organ_score_edge *edge, unsigned digit, const uint64_t counts[ORGAN_EDGE_DIGIT],
                             uint64_t rank);
/* Sets keep[k] = 0 below the edge and for the first `equals` scores at it; returns the number of scores at the edge. */
uint64_t organ_edge_cut(const organ_score_edge *edge, const float *scores, size_t n, uint64_t equals, uint8_t *keep);

/* Sets keep[k] = 0 for the `count` lowest of n scores (>= 0, no NaN), the first of equal scores first, and 1 for
 * others. */
void organ_mask_lowest(const float *scores, size_t n, size_t count, uint8_t *keep);

#endif
