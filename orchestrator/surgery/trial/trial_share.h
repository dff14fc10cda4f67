/* SPDX-License-Identifier: MIT
 * The windows of a trial that are a rank's share. */
#ifndef ORGAN_TRIAL_SHARE_H
#define ORGAN_TRIAL_SHARE_H

#include "orchestrator/forward/perplexity.h"
#include "orchestrator/ranks/ranks.h"

/* Windows next to each other, and their place in the whole. */
typedef struct organ_trial_share {
    organ_perplexity_plan plan; /* of these windows alone; its tokens and targets are those of the trial's plan */
    size_t first;               /* the first of its scored tokens */
} organ_trial_share;

/* The share of one of `ranks` ranks. To be freed, whatever it returns. */
organ_status organ_trial_share_cut(const organ_perplexity_plan *plan, size_t rank, size_t ranks,
                                   organ_trial_share *share, organ_error *error);
void organ_trial_share_free(organ_trial_share *share);

/* How many batches of at most `batch_tokens` tokens the shares of all ranks make. */
size_t organ_trial_share_batches(const organ_perplexity_plan *plan, size_t batch_tokens, size_t ranks);

/* All ranks learn what each has scored of a model, whose scores these are. As organ_ranks_agree. */
organ_status organ_trial_share_scores(organ_ranks *ranks, const organ_perplexity_plan *plan,
                                      const organ_token_scores *scores, organ_error *error);

#endif
