/* SPDX-License-Identifier: MIT
 * Divides the windows of a scoring among ranks: each rank scores consecutive windows, its share. */
#ifndef ORGAN_SURGERY_SCORING_SCORING_PARTS_H
#define ORGAN_SURGERY_SCORING_SCORING_PARTS_H

#include "orchestrator/forward/drafting.h"
#include "orchestrator/ranks/ranks.h"

#include <organ/forward.h>

/* The share of a rank, and its place in the plan of the whole scoring. */
typedef struct organ_scoring_share {
    /* Plan of the share's windows. `tokens` and `targets` point into the whole plan; `begin` and `rows` belong to the
     * share and count from its first token. */
    organ_perplexity_plan plan;
    size_t first; /* index in the whole plan of the share's first scored token */
} organ_scoring_share;

/* Computes the share of rank `rank` of `ranks` ranks. `plan` must outlive the share. Returns ORGAN_IO if memory runs
 * out. The caller frees the share also after an error. */
organ_status organ_scoring_share_cut(const organ_perplexity_plan *plan, size_t rank, size_t ranks,
                                     organ_scoring_share *share, organ_error *error);
/* The same for the windows from number `from` up to, not including, number `to`. */
organ_status organ_scoring_windows_cut(const organ_perplexity_plan *plan, size_t from, size_t to,
                                       organ_scoring_share *share, organ_error *error);
void organ_scoring_share_release(organ_scoring_share *share);

/* Returns the number of batches of at most `batch_tokens` tokens, summed over the shares of all ranks. */
size_t organ_scoring_share_batches(const organ_perplexity_plan *plan, size_t batch_tokens, size_t ranks);

/* Exchanges the scores of a model between all ranks, so that every rank has those of the whole plan. All ranks call it,
 * also after an error. Does nothing if `ranks` is NULL. Returns errors of organ_ranks_agree. */
organ_status organ_scoring_share_scores(organ_ranks *ranks, const organ_perplexity_plan *plan,
                                        const organ_token_scores *scores, organ_error *error);
/* The same for the probabilities of tokens that another vocabulary lacks, one for each scored token. */
organ_status organ_scoring_share_dropped(organ_ranks *ranks, const organ_perplexity_plan *plan, double *dropped,
                                         organ_error *error);
/* The same for the scores of a model's block for multi-token prediction. */
organ_status organ_scoring_share_block(organ_ranks *ranks, const organ_perplexity_plan *plan,
                                       const organ_scored_block *block, organ_error *error);

#endif
