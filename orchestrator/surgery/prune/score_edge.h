/* SPDX-License-Identifier: MIT
 * Radix selection: finds the edge, the score of a given rank among many scores. Also computes masks, by comparison of
 * the scores with the edge.
 *
 * The 31 bits of a score without its sign are read as ORGAN_EDGE_DIGITS digits of 11 bits, the highest first. For digit
 * 0, 1 and 2 in turn, the caller counts over all scores how often each value of the digit occurs (organ_edge_count),
 * and organ_edge_select_digit derives that digit of the edge from the counts. The result is exact. */
#ifndef ORGAN_SCORE_EDGE_H
#define ORGAN_SCORE_EDGE_H

#include <organ/stream.h>

#include <stddef.h>
#include <stdint.h>

#define ORGAN_EDGE_DIGIT  2048 /* number of values of a digit of 11 bits */
#define ORGAN_EDGE_DIGITS 3    /* digits of a score; neighbouring digits overlap by one bit */

/* State of the search; all 0 at first. The sign of scores is ignored. */
typedef struct organ_score_edge {
    uint32_t bits;  /* the bits of the edge that are found so far, 0 elsewhere */
    uint32_t known; /* 1 for each bit that is found */
    uint64_t less;  /* number of scores that the digits found so far show to be below the edge */
} organ_score_edge;

/* Adds to counts[v] the number of scores whose digit number `digit` is v, among those that agree with the bits of the
 * edge found so far. The n scores may be a part of all; the caller adds up the parts. */
void organ_edge_count(const organ_score_edge *edge, unsigned digit, const float *scores, size_t n,
                      uint64_t counts[ORGAN_EDGE_DIGIT]);
/* Adds digit number `digit` to *edge, from the counts of all scores. The edge is the score of rank `rank`; 0 is the
 * lowest. */
void organ_edge_select_digit(organ_score_edge *edge, unsigned digit, const uint64_t counts[ORGAN_EDGE_DIGIT],
                             uint64_t rank);
/* Sets keep[k] to 0 for scores below the edge and for the first `equals` scores equal to it, to 1 for all others.
 * Returns the number of scores equal to the edge, kept or not. */
uint64_t organ_edge_cut(const organ_score_edge *edge, const float *scores, size_t n, uint64_t equals, uint8_t *keep);

/* Sets keep[k] to 0 for the `count` lowest of n scores (>= 0, no NaN), to 1 for all others. Of equal scores, the first
 * ones count as lower. */
void organ_mask_lowest(const float *scores, size_t n, size_t count, uint8_t *keep);

/* ---- on all workers: the mask that removes a given number of the lowest scores of an array ---- */

/* A search. Its mask depends only on the scores and the number, not on the division into strips. The caller sets the
 * members above the line, then calls organ_edge_search_open. Strips are `strip` consecutive scores; the last may be
 * shorter. */
typedef struct organ_edge_search {
    const organ_engine *engine;
    size_t strip; /* scores of the work of one task */
    /* ---- */
    const float *scores;   /* the scores whose signs are ignored */
    size_t count, removed; /* number of scores, and of those to remove */
    uint8_t *keep;         /* the mask: 1 for kept scores */
    organ_score_edge edge; /* the digits of the largest removed score that are found so far */
    unsigned digit;        /* number of the digit that the current pass counts; 0: the highest */
    uint64_t *counts;      /* per worker: how many scores have each of the ORGAN_EDGE_DIGIT values of the digit */
    uint64_t *equals;      /* per strip: number of scores equal to the edge; later, how many of these to remove */
} organ_edge_search;

/* Allocates the buffers for at most `most` scores. Returns false if memory cannot be allocated. The caller calls
 * organ_edge_search_close in any case. */
bool organ_edge_search_open(organ_edge_search *search, size_t most);
void organ_edge_search_close(organ_edge_search *search);

/* Begins a search over `count` scores, of which `removed` are removed, with the mask in `keep`. */
void organ_edge_search_begin(organ_edge_search *search, const float *scores, size_t count, size_t removed,
                             uint8_t *keep);
/* Counts the first digit of scores [at, at + n), as a task of `worker`. Every score is counted once, after
 * organ_edge_search_begin and before organ_edge_search_finish. */
void organ_edge_search_count(organ_edge_search *search, size_t at, size_t n, size_t worker);
/* Sets the mask: 0 for the `removed` lowest scores, 1 for all others. Of equal scores, the first count as lower. */
void organ_edge_search_finish(organ_edge_search *search);

#endif
