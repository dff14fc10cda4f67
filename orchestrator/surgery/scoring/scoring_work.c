/* SPDX-License-Identifier: MIT
 * The work of a scoring, and the amount of text that it scores. */
#include "orchestrator/surgery/scoring/scoring.h"

#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/surgery/calibration/calibration.h"

#include <organ/evaluate.h>
#include <stdlib.h>
#include <string.h>

/* ---- operations ---- */

static void add_layer(organ_plan_work *token, const organ_scored_model *m, unsigned layer, size_t context)
{
    const organ_plan_work more = organ_calibration_token_products(m->forward, m->model, (int32_t)layer, context);
    token->all += more.all;
    token->multiplied += more.multiplied;
}

static organ_plan_work layers_of(const organ_scored_model *m, size_t context)
{
    organ_plan_work token = {0, 0};
    for (unsigned l = 0; l < organ_forward_describe(m->forward)->layers; l++)
        add_layer(&token, m, l, context);
    return token;
}

/* A block for multi-token prediction is counted as the last layer, with its projection. */
static organ_plan_work block_of(const organ_scored_model *m, size_t context)
{
    const organ_forward_config *const c = organ_forward_describe(m->forward);
    const double projection = m->drafts ? 4 * (double)c->hidden * (double)c->hidden : 0;
    organ_plan_work token = {projection, projection};
    if (m->drafts)
        add_layer(&token, m, c->layers - 1, context);
    return token;
}

static double head_of(const organ_scored_model *m)
{
    const organ_forward_config *const c = organ_forward_describe(m->forward);
    return 2 * (double)c->hidden * (double)c->vocabulary;
}

/* Returns the operations of `run` tokens in the layers, `drafted` in the block, and `heads` in the output head. */
static organ_plan_work work_of(const organ_scored_model *m, size_t context, double run, double drafted, double heads)
{
    const organ_plan_work layers = layers_of(m, context), block = block_of(m, context);
    return (organ_plan_work){run * layers.all + drafted * block.all + heads * head_of(m),
                             run * layers.multiplied + drafted * block.multiplied + heads * head_of(m)};
}

organ_plan_work organ_scoring_text_products(const organ_scoring *scoring, const organ_scored_model *m, size_t windows)
{
    const size_t context = scoring->protocol.context;
    const double share = (double)windows / (double)scoring->plan.windows,
                 tokens = share * (double)scoring->plan.begin[scoring->plan.windows],
                 scored = share * (double)scoring->plan.scored;
    return work_of(m, context, tokens, tokens, scored * (m->drafts ? 2 : 1));
}

organ_plan_work organ_scoring_continued_products(const organ_scored_model *m)
{
    const organ_continued more = organ_scoring_continued(m);
    return work_of(m, more.context, more.run, more.drafted, more.run + more.drafted);
}

/* ---- bytes and words of the scored text ---- */

/* Writes the texts of the scored tokens, in the order of the text, and returns their length. */
static size_t join_scored(const organ_scoring *scoring, const organ_score_windows *windows, char *text)
{
    size_t at = 0;
    for (size_t w = 0; w < windows->count; w++) {
        const organ_score_window *const window = &windows->window[w];
        for (size_t k = window->first; k < window->first + window->count; k++) {
            size_t bytes = 0;
            const char *const piece = organ_tokenizer_piece(scoring->tokenizer, scoring->plan.targets[k], &bytes);
            memcpy(text + at, piece, bytes);
            at += bytes;
        }
    }
    return at;
}

organ_status organ_scoring_count_text(organ_scoring *scoring, organ_error *error)
{
    const organ_perplexity_plan *const plan = &scoring->plan;
    const bool lm_eval = scoring->protocol.style == ORGAN_STYLE_LM_EVAL;
    scoring->scored_bytes = 0;
    if (lm_eval && scoring->used_tokens == scoring->text_tokens) {
        scoring->scored_bytes = scoring->text_bytes;
        scoring->words = organ_perplexity_words(scoring->text.bytes, scoring->text_bytes);
        return ORGAN_OK;
    }
    for (size_t k = 0; k < plan->scored; k++) {
        size_t bytes = 0;
        organ_tokenizer_piece(scoring->tokenizer, plan->targets[k], &bytes);
        scoring->scored_bytes += bytes;
    }
    ORGAN_OWNED char *const scored = lm_eval ? malloc((size_t)scoring->scored_bytes + 1) : NULL;
    if (!lm_eval)
        return ORGAN_OK;
    if (!scored)
        return organ_fail_memory(error, scoring->options->text);
    ORGAN_RELEASED_BY(organ_score_windows_release) organ_score_windows windows = {0};
    if (organ_scoring_windows(scoring, plan->windows, &windows, error) != ORGAN_OK)
        return error->status;
    scored[join_scored(scoring, &windows, scored)] = '\0';
    scoring->words = organ_perplexity_words(scored, (size_t)scoring->scored_bytes);
    return ORGAN_OK;
}

/* ---- the choice of windows ---- */

/* In styles hf and llama.cpp the last token of a window is only predicted, unless the protocol is `whole`, and BOS is a
 * token of window 0. */
static size_t tokens_of_plan(const organ_scoring *scoring)
{
    const organ_perplexity_protocol *const p = &scoring->protocol;
    const organ_perplexity_plan *const plan = &scoring->plan;
    const size_t predicted = p->whole ? 0 : plan->windows;
    return p->style == ORGAN_STYLE_LM_EVAL ? plan->scored : plan->begin[plan->windows] + predicted - p->adds_bos;
}

organ_status organ_scoring_cut(organ_scoring *scoring, size_t windows, organ_error *error)
{
    organ_perplexity_plan *const plan = &scoring->plan;
    while (plan->scored && plan->rows[plan->scored - 1] >= plan->begin[windows])
        plan->scored--;
    plan->windows = windows;
    scoring->used_tokens = tokens_of_plan(scoring);
    return organ_scoring_count_text(scoring, error);
}

static bool is_little_work(const organ_scoring *scoring)
{
    double operations = 0;
    for (size_t m = 0; m < scoring->count; m++)
        operations += organ_scoring_text_products(scoring, &scoring->models[m], scoring->plan.windows).all;
    return operations / 2 < ORGAN_WHOLE_WORK;
}

/* Decides whether the scoring can end before the text does, which needs windows that are spread over it. */
organ_status organ_scoring_order_windows(organ_scoring *scoring, organ_error *error)
{
    const size_t all = scoring->plan.windows, asked = scoring->stop.windows, count = asked && asked < all ? asked : all;
    scoring->all_windows = all;
    if (scoring->stop.max_error > 0 && !is_little_work(scoring))
        scoring->block_windows = organ_pieces_of(ORGAN_SCORING_BLOCK, scoring->protocol.context);
    if (count == all && organ_scoring_block_end(scoring, 0) == all)
        return organ_scoring_count_text(scoring, error);
    if (organ_scoring_spread(scoring, count, error) != ORGAN_OK)
        return error->status;
    return count < all ? organ_scoring_cut(scoring, count, error) : organ_scoring_count_text(scoring, error);
}
