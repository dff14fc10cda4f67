/* SPDX-License-Identifier: MIT
 * Searches for the set of blocks to drop: the caller's function judges sets, and a local search replaces the best set
 * by a better one that differs in one block. The loss of a block depends on the other dropped blocks, so the best set
 * of n + 1 blocks need not contain the best set of n. */
#ifndef ORGAN_BLOCK_SEARCH_H
#define ORGAN_BLOCK_SEARCH_H

#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>

#define ORGAN_LAYERS_ROUND ((size_t)16) /* upper bound of the sets that are judged in a round */
#define ORGAN_LAYERS_ALL   ((size_t)64) /* if there are at most this many sets, a search judges all */

/* A set of blocks that was judged. */
typedef struct organ_layers_set {
    size_t round;      /* round that judged it; 0: the first set */
    double divergence; /* KL divergence from the donor, in nats per token */
    bool *dropped;     /* a flag for each block: true if the set drops it; owned by organ_layers_found */
} organ_layers_set;

/* Arguments of a search. */
typedef struct organ_layers_search {
    size_t layers, requested; /* number of blocks, and how many to drop: 1 .. layers - 1 */
    const double
        *influence; /* of each block (organ_layers_sets_influence); blocks with little influence are tried first */
    size_t rounds;  /* upper bound of rounds; 0: only the first set is judged */
    size_t all;     /* ORGAN_LAYERS_ALL, or less in a test */
    void *context;  /* passed to the functions below */
    /* Sets divergence[k] to the divergence of set k of `count` sets. `dropped` has their flags, one set after another.
     */
    organ_status (*judge)(void *context, const bool *dropped, size_t count, double *divergence, organ_error *error);
    /* Returns ORGAN_BAD_INPUT with the reason if no configuration can describe the model without these blocks; such a
     * set is not judged. NULL: all sets can be described. */
    organ_status (*describes)(void *context, const bool *dropped, organ_error *error);
    /* Called after each round: `judged` sets were judged so far, and `best` is the best of them. NULL: not called. */
    void (*on_round)(void *context, size_t round, size_t judged, const organ_layers_set *best);
} organ_layers_search;

/* The result of a search. */
typedef struct organ_layers_found {
    organ_layers_set *sets; /* all judged sets, in the order in which they were judged */
    size_t count;
    size_t best; /* index of the set with the least divergence; of equals the first */
    /* Indices of the sets that were the best so far when they were judged: the first set, ..., the best. */
    size_t *path;
    size_t steps, rounds; /* entries of `path`; rounds that judged sets */
    bool whole;           /* all sets that can be described were judged */
    bool locally_optimal; /* no exchange of one block gives a better set; always true with `whole` */
} organ_layers_found;

/* Searches the set of dropped blocks with the least divergence. Starts with the blocks of least influence or, if no
 * configuration can describe the model without these, with the run of consecutive blocks of least influence. If there
 * are at most `all` sets and `rounds` is not 0, judges all sets in one round. Otherwise each round judges sets that
 * exchange one dropped block of the best set for a kept one; exchanges that add least influence are judged first. If
 * one of these sets has a lower divergence than the best set, it becomes the best set. The search ends when all
 * exchanges of the best set were judged, or after the last round. Divergences that `judge` has stored from earlier runs
 * do not change the result. Release `found` whatever this returns. Returns ORGAN_BAD_INPUT if no first set can be
 * described, ORGAN_IO if memory runs out, or the error of `judge`. */
organ_status organ_layers_search_run(const organ_layers_search *search, organ_layers_found *found, organ_error *error);
void organ_layers_found_release(organ_layers_found *found);

#endif
