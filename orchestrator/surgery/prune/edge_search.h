/* SPDX-License-Identifier: MIT
 * The mask that removes a given number of the lowest scores of an array, by radix selection on all workers
 * (score_edge.h). The mask depends only on the scores and the number, not on the division into strips. */
#ifndef ORGAN_EDGE_SEARCH_H
#define ORGAN_EDGE_SEARCH_H

#include <organ/stream.h>
#include "orchestrator/surgery/prune/score_edge.h"

/* A search. The caller sets the members above the line, then calls organ_edge_search_open. Strips are `strip`
 * consecutive scores; the last may be shorter. */
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
