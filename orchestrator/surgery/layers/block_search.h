/* SPDX-License-Identifier: MIT
 * Searches for the set of blocks to drop: the caller's function judges sets, and a local search replaces the best set
 * by a better one that differs in one block. The loss of a block depends on the other dropped blocks, so the best set
 * of more blocks need not contain the best set of fewer. */
#ifndef ORGAN_BLOCK_SEARCH_H
#define ORGAN_BLOCK_SEARCH_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>

#define ORGAN_LAYERS_ROUND ((size_t)16) /* sets of a round, at most */
#define ORGAN_LAYERS_ALL   ((size_t)64) /* where there are no more sets than this, all are judged */

/* A set of blocks that was judged. */
typedef struct organ_layers_set {
    size_t round;      /* 0: the blocks of least influence */
    double divergence; /* nats a token */
    bool *dropped;     /* a flag for each block */
} organ_layers_set;

typedef struct organ_layers_search {
    size_t layers, requested; /* number of blocks to drop: 1 .. layers - 1 */
    const double *influence;  /* of each block: those of the least are tried first */
    size_t rounds;            /* at most; 0: the blocks of least influence */
    size_t all;               /* ORGAN_LAYERS_ALL, or less for a test */
    void *context;
    /* Sets divergence[k] to that of the k-th of `count` sets, whose flags are consecutive. */
    organ_status (*judge)(void *context, const bool *dropped, size_t count, double *divergence, organ_error *error);
    /* Returns ORGAN_BAD_INPUT with the reason if no configuration describes the model without these blocks: such sets
     * are not judged. NULL: all sets are described. */
    organ_status (*describes)(void *context, const bool *dropped, organ_error *error);
    /* Called after each round; `best` is the best set of all rounds so far. NULL: nothing is called. */
    void (*on_round)(void *context, size_t round, size_t judged, const organ_layers_set *best);
} organ_layers_search;

typedef struct organ_layers_found {
    organ_layers_set *sets; /* all that were judged, in this order */
    size_t count;
    size_t best;  /* one of them; of equals the first */
    size_t *path; /* those that were the best in their time: the start, ..., the best */
    size_t steps, rounds;
    bool whole;           /* all sets there are were judged */
    bool locally_optimal; /* no exchange of one block makes it better; always with `whole` */
} organ_layers_found;

/* Searches the set of dropped blocks with the least divergence. Starts with the blocks of least influence or, if that
 * set is not described, with the consecutive blocks of least influence. Each round tries exchanges of one dropped block
 * for a kept one, those that add least influence first, and takes the best one if it lowers the divergence. Ends after
 * all exchanges were judged or after the last round. The result does not depend on who judges the sets, nor on which
 * sets were judged before. `found` must be released whatever this returns. ORGAN_BAD_INPUT if no such start is
 * described. */
organ_status organ_layers_search_run(const organ_layers_search *search, organ_layers_found *found, organ_error *error);
void organ_layers_found_release(organ_layers_found *found);

#endif
