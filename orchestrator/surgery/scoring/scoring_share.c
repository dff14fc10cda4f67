/* SPDX-License-Identifier: MIT
 * Divides the windows of a scoring among ranks, in equal numbers of consecutive windows, and joins their results. */
#include "orchestrator/surgery/scoring/scoring_parts.h"

#include <stdlib.h>

/* For rank == ranks, the result is the number of windows. */
static size_t window_of(const organ_perplexity_plan *plan, size_t rank, size_t ranks)
{
    return plan->windows * rank / ranks;
}

/* The token is the first one whose input is in window number `window` or a later one. If `window` is the number of
 * windows, the result is the number of scored tokens. */
static size_t scored_from(const organ_perplexity_plan *plan, size_t window)
{
    size_t low = 0, high = plan->scored;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (plan->rows[middle] < plan->begin[window])
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

organ_status organ_scoring_share_cut(const organ_perplexity_plan *plan, size_t rank, size_t ranks,
                                     organ_scoring_share *share, organ_error *error)
{
    return organ_scoring_windows_cut(plan, window_of(plan, rank, ranks), window_of(plan, rank + 1, ranks), share,
                                     error);
}

/* `origin` is the index of the share's first token in the whole plan; begin and rows of the share are those of the
 * whole plan minus `origin`. */
organ_status organ_scoring_windows_cut(const organ_perplexity_plan *plan, size_t from, size_t to,
                                       organ_scoring_share *share, organ_error *error)
{
    const size_t first = scored_from(plan, from), scored = scored_from(plan, to) - first, origin = plan->begin[from];
    *share = (organ_scoring_share){.plan = {.tokens = plan->tokens + origin,
                                            .begin = malloc((to - from + 1) * sizeof *plan->begin),
                                            .windows = to - from,
                                            .rows = malloc((scored + 1) * sizeof *plan->rows),
                                            .targets = plan->targets + first,
                                            .scored = scored},
                                   .first = first};
    if (!share->plan.begin || !share->plan.rows)
        return organ_fail_memory(error, "the windows of a rank");
    for (size_t w = from; w <= to; w++)
        share->plan.begin[w - from] = plan->begin[w] - origin;
    for (size_t k = 0; k < share->plan.scored; k++)
        share->plan.rows[k] = plan->rows[first + k] - origin;
    return ORGAN_OK;
}

void organ_scoring_share_release(organ_scoring_share *share)
{
    free(share->plan.begin);
    free(share->plan.rows);
    *share = (organ_scoring_share){0};
}

size_t organ_scoring_share_batches(const organ_perplexity_plan *plan, size_t batch_tokens, size_t ranks)
{
    size_t batches = 0;
    for (size_t r = 0; r < ranks; r++) {
        const size_t from = window_of(plan, r, ranks);
        /* The number of batches depends only on the lengths of the windows. */
        const organ_perplexity_plan windows = {.begin = plan->begin + from,
                                               .windows = window_of(plan, r + 1, ranks) - from};
        batches += organ_perplexity_batches(&windows, batch_tokens);
    }
    return batches;
}

/* The array has the number of the rank for each scored token of the plan. The caller frees it; NULL if memory runs
 * out. */
static uint32_t *owners_of(const organ_perplexity_plan *plan, size_t ranks)
{
    uint32_t *const owner = malloc((plan->scored + 1) * sizeof *owner);
    for (size_t r = 0; r < ranks && owner; r++) {
        const size_t end = scored_from(plan, window_of(plan, r + 1, ranks));
        for (size_t k = scored_from(plan, window_of(plan, r, ranks)); k < end; k++)
            owner[k] = (uint32_t)r;
    }
    return owner;
}

organ_status organ_scoring_share_scores(organ_ranks *ranks, const organ_perplexity_plan *plan,
                                        const organ_token_scores *scores, organ_error *error)
{
    if (!ranks)
        return error->status;
    ORGAN_OWNED uint32_t *const owner = owners_of(plan, organ_ranks_count(ranks));
    if (!owner)
        organ_fail_memory(error, "the scores of the ranks");
    organ_ranks_complete(ranks, "gathering log-likelihoods", scores->nll, sizeof *scores->nll, plan->scored, owner,
                         error);
    if (scores->divergence)
        organ_ranks_complete(ranks, "gathering divergences", scores->divergence, sizeof *scores->divergence,
                             plan->scored, owner, error);
    if (scores->agrees)
        organ_ranks_complete(ranks, "gathering agreement", scores->agrees, 1, plan->scored, owner, error);
    return error->status;
}

organ_status organ_scoring_share_dropped(organ_ranks *ranks, const organ_perplexity_plan *plan, double *dropped,
                                         organ_error *error)
{
    if (!ranks)
        return error->status;
    ORGAN_OWNED uint32_t *const owner = owners_of(plan, organ_ranks_count(ranks));
    if (!owner)
        organ_fail_memory(error, "the dropped probabilities of the ranks");
    organ_ranks_complete(ranks, "gathering dropped probabilities", dropped, sizeof *dropped, plan->scored, owner,
                         error);
    return error->status;
}

organ_status organ_scoring_share_block(organ_ranks *ranks, const organ_perplexity_plan *plan,
                                       const organ_scored_block *block, organ_error *error)
{
    static const char what[] = "gathering acceptance";
    if (!ranks)
        return error->status;
    ORGAN_OWNED uint32_t *const owner = owners_of(plan, organ_ranks_count(ranks));
    if (!owner)
        organ_fail_memory(error, "the acceptance of the ranks");
    organ_ranks_complete(ranks, what, block->overlap, sizeof *block->overlap, plan->scored, owner, error);
    organ_ranks_complete(ranks, what, block->chosen, sizeof *block->chosen, plan->scored, owner, error);
    organ_ranks_complete(ranks, what, block->greedy, 1, plan->scored, owner, error);
    return error->status;
}
