/* SPDX-License-Identifier: MIT
 * The order and the blocks in which windows are scored that need not cover their text: whatever their number, they are
 * spread evenly over it. Source: Owen, "Randomly permuted (t, m, s)-nets and (t, s)-sequences" (1995). */
#include "orchestrator/surgery/scoring/scoring.h"

#include "formats/base/text.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/machine/quantity.h"

#include <stdlib.h>
#include <string.h>

/* ---- the order ---- */

/* Digit `digit` of point i of the van der Corput sequence is bit `digit` of i. It is flipped at random, by the digits
 * before it, unless these are all 0, so that point 0 is window 0. */
static size_t scrambled_digit(size_t i, unsigned digit)
{
    const uint64_t before = i & (((uint64_t)1 << digit) - 1), prefix = before | (uint64_t)1 << digit;
    const uint32_t counter[4] = {(uint32_t)prefix, (uint32_t)(prefix >> 32), 0, 0}, key[2] = {0, 0};
    uint32_t words[4] = {0};
    if (before)
        organ_philox4x32(counter, key, words);
    return (i >> digit & 1) ^ (words[0] & 1);
}

organ_status organ_scoring_order(size_t windows, size_t **order, organ_error *error)
{
    unsigned digits = 0;
    size_t count = 0;
    while ((size_t)1 << digits < windows)
        digits++;
    if (!(*order = malloc((windows + 1) * sizeof **order)))
        return organ_fail_memory(error, "the order of the windows");
    for (size_t i = 0; i < (size_t)1 << digits; i++) {
        size_t window = 0;
        for (unsigned k = 0; k < digits; k++)
            window = 2 * window + scrambled_digit(i, k);
        if (window < windows)
            (*order)[count++] = window;
    }
    return ORGAN_OK;
}

/* ---- a plan in this order ---- */

static organ_status allocate_plan(organ_perplexity_plan *plan, size_t windows, size_t inputs, size_t scored,
                                  organ_error *error)
{
    plan->tokens = malloc((inputs + 1) * sizeof *plan->tokens);
    plan->begin = calloc(windows + 1, sizeof *plan->begin);
    plan->rows = malloc((scored + 1) * sizeof *plan->rows);
    plan->targets = malloc((scored + 1) * sizeof *plan->targets);
    return plan->tokens && plan->begin && plan->rows && plan->targets
               ? ORGAN_OK
               : organ_fail_memory(error, "the windows in their order");
}

static void add_window(organ_perplexity_plan *to, const organ_perplexity_plan *from, const organ_score_window *window)
{
    const size_t begin = from->begin[window->at], inputs = from->begin[window->at + 1] - begin,
                 at = to->begin[to->windows];
    memcpy(to->tokens + at, from->tokens + begin, inputs * sizeof *to->tokens);
    for (size_t k = window->first; k < window->first + window->count; k++) {
        to->rows[to->scored] = from->rows[k] - begin + at;
        to->targets[to->scored++] = from->targets[k];
    }
    to->begin[++to->windows] = at + inputs;
}

organ_status organ_scoring_spread(organ_scoring *scoring, size_t count, organ_error *error)
{
    organ_perplexity_plan *const plan = &scoring->plan;
    ORGAN_RELEASED_BY(organ_perplexity_plan_release) organ_perplexity_plan arranged = {0};
    ORGAN_RELEASED_BY(organ_score_windows_release) organ_score_windows windows = {0};
    if (organ_scoring_order(plan->windows, &scoring->order, error) ||
        organ_score_windows_make(plan, plan->windows, NULL, 0, &windows, error) ||
        allocate_plan(&arranged, count, plan->begin[plan->windows], plan->scored, error))
        return error->status;
    for (size_t w = 0; w < count; w++)
        add_window(&arranged, plan, &windows.window[scoring->order[w]]);
    scoring->all_windows = plan->windows;
    const organ_perplexity_plan original = *plan;
    *plan = arranged;
    arranged = original;
    return ORGAN_OK;
}

organ_status organ_scoring_windows(const organ_scoring *scoring, size_t count, organ_score_windows *windows,
                                   organ_error *error)
{
    return organ_score_windows_make(&scoring->plan, count, scoring->order, scoring->all_windows, windows, error);
}

/* ---- blocks of windows ---- */

size_t organ_scoring_block_end(const organ_scoring *scoring, size_t from)
{
    const size_t windows = scoring->plan.windows;
    size_t part = 1;
    while (part * 8 <= from)
        part *= 2;
    const size_t block = organ_max(scoring->block_windows, from ? part : ORGAN_SCORING_LEAST);
    return scoring->block_windows && block < windows - from ? from + block : windows;
}

size_t organ_scoring_longest_block(const organ_scoring *scoring)
{
    const organ_perplexity_plan *const plan = &scoring->plan;
    size_t longest = 0;
    for (size_t from = 0, to; from < plan->windows; from = to) {
        to = organ_scoring_block_end(scoring, from);
        longest = organ_max(longest, plan->begin[to] - plan->begin[from]);
    }
    return longest;
}

size_t organ_scoring_batches(const organ_scoring *scoring, size_t windows, size_t ranks)
{
    size_t batches = 0;
    for (size_t from = 0, to; from < windows; from = to) {
        to = organ_min(organ_scoring_block_end(scoring, from), windows);
        /* The number of batches depends only on the lengths of the windows. */
        const organ_perplexity_plan block = {.begin = scoring->plan.begin + from, .windows = to - from};
        batches += organ_scoring_share_batches(&block, scoring->batch_tokens, ranks);
    }
    return batches;
}
