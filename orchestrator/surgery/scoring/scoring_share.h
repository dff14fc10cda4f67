/* SPDX-License-Identifier: MIT
 * Divides the windows of a scoring among ranks. */
#ifndef ORGAN_SCORING_SHARE_H
#define ORGAN_SCORING_SHARE_H

#include "orchestrator/forward/perplexity.h"
#include "orchestrator/ranks/ranks.h"

/* The share of a rank: consecutive windows, and their place in the whole plan. */
typedef struct organ_scoring_share {
    /* Plan of these windows; its tokens and targets point into the whole plan, the other arrays are its own. */
    organ_perplexity_plan plan;
    size_t first; /* index of its first scored token in the whole plan */
} organ_scoring_share;

/* Computes the share of rank `rank` of `ranks`. Returns ORGAN_IO without memory. The caller frees the share also after
 * an error. */
organ_status organ_scoring_share_cut(const organ_perplexity_plan *plan, size_t rank, size_t ranks,
                                     organ_scoring_share *share, organ_error *error);
void organ_scoring_share_free(organ_scoring_share *share);

/* Returns the number of batches of at most `batch_tokens` tokens in the shares of all ranks. */
size_t organ_scoring_share_batches(const organ_perplexity_plan *plan, size_t batch_tokens, size_t ranks);

/* Completes the scores of a model with those of the other ranks' shares. Does nothing if `ranks` is NULL. Returns
 * errors of organ_ranks_agree. */
organ_status organ_scoring_share_scores(organ_ranks *ranks, const organ_perplexity_plan *plan,
                                        const organ_token_scores *scores, organ_error *error);

#endif
