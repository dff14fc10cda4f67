/* SPDX-License-Identifier: MIT
 * Shares of a trial's windows, one for each rank. */
#ifndef ORGAN_SCORING_SHARE_H
#define ORGAN_SCORING_SHARE_H

#include "orchestrator/forward/perplexity.h"
#include "orchestrator/ranks/ranks.h"

/* Consecutive windows, and their place in the whole plan. */
typedef struct organ_scoring_share {
    organ_perplexity_plan plan; /* of these windows alone; its tokens and targets are those of the trial's plan */
    size_t first;               /* the first of its scored tokens */
} organ_scoring_share;

/* Computes the share of rank `rank` of `ranks`. The share is to be freed, whatever this returns. */
organ_status organ_scoring_share_cut(const organ_perplexity_plan *plan, size_t rank, size_t ranks,
                                     organ_scoring_share *share, organ_error *error);
void organ_scoring_share_free(organ_scoring_share *share);

/* Returns the number of batches of at most `batch_tokens` tokens in the shares of all ranks. */
size_t organ_scoring_share_batches(const organ_perplexity_plan *plan, size_t batch_tokens, size_t ranks);

/* Sends the scores of each rank's share of a model to all ranks. Errors of organ_ranks_agree. */
organ_status organ_scoring_share_scores(organ_ranks *ranks, const organ_perplexity_plan *plan,
                                        const organ_token_scores *scores, organ_error *error);

#endif
