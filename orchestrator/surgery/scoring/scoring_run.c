/* SPDX-License-Identifier: MIT
 * Scores the windows of an open scoring, in blocks after which the standard error can end the run. The windows of a
 * block run through the models in batches; with several ranks each rank scores a share of a block's windows. */
#include "orchestrator/surgery/scoring/scoring.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/read_rows.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* ---- progress: the windows of all ranks ---- */

/* Receives the windows that organ_perplexity_score reports for a share of a block. */
typedef struct window_progress {
    const organ_scoring *scoring;
    size_t window, next; /* number of the next window, and of its first scored token */
    size_t scored;       /* scored tokens so far: of the blocks before and of this share */
    double total;        /* sum of their negative log-likelihoods */
} window_progress;

static void advance_window(void *context, uint64_t bytes, const char *tensor, const char *remark)
{
    window_progress *const p = context;
    const organ_scoring *const s = p->scoring;
    const double *const nll = s->models[0].scores.nll;
    char text[64], error[32] = "";
    (void)remark;
    p->window++;
    for (; p->next < s->plan.scored && s->plan.rows[p->next] < s->plan.begin[p->window]; p->next++, p->scored++)
        p->total += nll[p->next];
    if (isfinite(s->error))
        organ_snprintf(error, sizeof error, ", error %.2f %%", s->error);
    organ_snprintf(text, sizeof text, "perplexity so far %.3f%s", exp(p->total / (double)p->scored), error);
    organ_progress_advance(s->progress, bytes, tensor, p->scored ? text : NULL);
}

/* ---- one block ---- */

static organ_status run_batch(void *context, const organ_windows *windows, organ_error *error)
{
    return organ_scoring_carry_shared(context, windows, error);
}

static organ_status both_logits(void *context, const size_t *rows, const size_t *drafted, size_t count, void *receiver,
                                void (*each)(void *receiver, size_t k, float *logits, float *block), organ_error *error)
{
    organ_scored_model *const m = context;
    const organ_drafted_beside beside = {
        .states = m->drafted, .rows = drafted, .room = m->scoring->beside_rows, .each = each};
    return organ_draft_logits_beside(m->forward, &beside, m->hidden, rows, count, receiver, error);
}

static organ_token_scores scores_from(const organ_scored_model *m, size_t first)
{
    const organ_token_scores *const all = &m->scores;
    return (organ_token_scores){.nll = all->nll + first,
                                .divergence = all->divergence ? all->divergence + first : NULL,
                                .agrees = all->agrees ? all->agrees + first : NULL};
}

static organ_scored_block block_from(const organ_scored_model *m, size_t first)
{
    const organ_scored_block *const all = &m->block;
    return m->drafts ? (organ_scored_block){.logits = both_logits,
                                            .overlap = all->overlap + first,
                                            .chosen = all->chosen + first,
                                            .greedy = all->greedy + first,
                                            .proposed = m->scoring->proposed}
                     : (organ_scored_block){0};
}

typedef struct scoring_block {
    organ_scoring *scoring;
    organ_logit_source *sources; /* of each model */
    organ_token_scores *scores;  /* of each model: room for a view of models[].scores */
    organ_scored_block *blocks;  /* of each model: room for a view of models[].block */
    size_t from;                 /* number of the first window */
    organ_scoring_share windows; /* all windows of the block */
} scoring_block;

/* `window` is the number in the block of the first window of the share. */
static organ_status score_share(const scoring_block *b, const organ_scoring_share *share, size_t window,
                                organ_error *error)
{
    const organ_scoring *const scoring = b->scoring;
    const size_t before = b->windows.first;
    window_progress shown = {
        .scoring = scoring, .window = b->from + window, .next = before + share->first, .scored = before};
    const organ_progress progress = {.context = &shown, .advance = advance_window};
    for (size_t k = 0; k < before; k++)
        shown.total += scoring->models[0].scores.nll[k];
    for (size_t m = 0; m < scoring->count; m++) {
        b->scores[m] = scores_from(&scoring->models[m], before + share->first);
        b->blocks[m] = block_from(&scoring->models[m], before + share->first);
        scoring->models[m].dropped_next = before + share->first;
    }
    if (share->plan.windows)
        organ_perplexity_score_blocks(scoring->engine.kernels, &share->plan, b->sources, b->blocks, scoring->count,
                                      scoring->batch_tokens, scoring->tile_rows, b->scores, scoring->engine.stop,
                                      &progress, error);
    return error->status;
}

/* All ranks call it, and have the scores of the whole block afterwards. */
static organ_status score_block(scoring_block *b, organ_error *error)
{
    organ_scoring *const scoring = b->scoring;
    organ_ranks *const ranks = scoring->engine.ranks;
    ORGAN_RELEASED_BY(organ_scoring_share_release) organ_scoring_share share = {0};
    const size_t rank = organ_ranks_rank(ranks), count = organ_ranks_count(ranks);
    if (organ_scoring_share_cut(&b->windows.plan, rank, count, &share, error) == ORGAN_OK)
        score_share(b, &share, b->windows.plan.windows * rank / count, error);
    for (size_t m = 0; m < scoring->count; m++) { /* also after an error: all ranks meet in this call */
        const organ_token_scores scores = scores_from(&scoring->models[m], b->windows.first);
        organ_scoring_share_scores(ranks, &b->windows.plan, &scores, error);
        if (scoring->models[m].dropped)
            organ_scoring_share_dropped(ranks, &b->windows.plan, scoring->models[m].dropped + b->windows.first, error);
        if (scoring->models[m].drafts) {
            const organ_scored_block block = block_from(&scoring->models[m], b->windows.first);
            organ_scoring_share_block(ranks, &b->windows.plan, &block, error);
        }
    }
    return error->status;
}

/* ---- the end of a run by its error ---- */

/* Of the first `count` windows of the plan. */
static organ_status measure_error(organ_scoring *scoring, size_t count, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_score_windows_release) organ_score_windows windows = {0};
    if (organ_scoring_windows(scoring, count, &windows, error) != ORGAN_OK)
        return error->status;
    double most = organ_mean_between(scoring->models[0].scores.nll, &windows).error;
    for (size_t m = 1; m < scoring->shown && !error->status; m++) {
        organ_perplexity_comparison c = {0};
        organ_perplexity_compare_windows(&scoring->models[0].scores, &scoring->models[m].scores, &windows, &c, error);
        most = m == 1 || c.nll.error > most ? c.nll.error : most;
    }
    scoring->error = 100 * most;
    return error->status;
}

static organ_status score_blocks(scoring_block *b, organ_error *error)
{
    organ_scoring *const scoring = b->scoring;
    organ_ranks *const ranks = scoring->engine.ranks;
    bool enough = false;
    for (size_t to; b->from < scoring->plan.windows && !enough && !error->status; b->from = to) {
        to = organ_scoring_block_end(scoring, b->from);
        organ_scoring_windows_cut(&scoring->plan, b->from, to, &b->windows, error);
        if (organ_ranks_agree(ranks, "cutting the text", error) == ORGAN_OK)
            score_block(b, error);
        organ_scoring_share_release(&b->windows);
        if (!error->status)
            measure_error(scoring, to, error);
        enough = scoring->block_windows && scoring->error <= scoring->stop.max_error;
        if (enough && to < scoring->plan.windows && !error->status) {
            scoring->ended = ORGAN_SCORING_ERROR;
            organ_scoring_cut(scoring, to, error);
        }
        organ_ranks_agree(ranks, "measuring the error", error);
    }
    return error->status;
}

/* ---- the run ---- */

static organ_status allocate_drafts(organ_scored_model *m, size_t batch_tokens, size_t scored, organ_error *error)
{
    const size_t width = (size_t)organ_forward_describe(m->forward)->hidden;
    m->drafted = malloc(batch_tokens * width * sizeof *m->drafted);
    m->block.overlap = calloc(scored, sizeof *m->block.overlap);
    m->block.chosen = calloc(scored, sizeof *m->block.chosen);
    m->block.greedy = calloc(scored, 1);
    return m->drafted && m->block.overlap && m->block.chosen && m->block.greedy ? ORGAN_OK
                                                                                : organ_fail_memory(error, m->path);
}

/* Only models after the first have divergence and agreement. */
static organ_status allocate(organ_scoring *scoring, organ_error *error)
{
    for (size_t m = 0; m < scoring->count && !error->status; m++) {
        organ_scored_model *const model = &scoring->models[m];
        const size_t width = (size_t)organ_forward_describe(model->forward)->state;
        model->hidden = malloc(scoring->batch_tokens * width * sizeof *model->hidden);
        model->scores.nll = calloc(scoring->plan.scored, sizeof *model->scores.nll);
        model->scores.divergence = m ? calloc(scoring->plan.scored, sizeof *model->scores.divergence) : NULL;
        model->scores.agrees = m ? calloc(scoring->plan.scored, 1) : NULL;
        if (!model->hidden || !model->scores.nll || (m && (!model->scores.divergence || !model->scores.agrees)))
            organ_fail_memory(error, model->path);
        if (!m && scoring->shared && !(model->dropped = calloc(scoring->plan.scored, sizeof *model->dropped)))
            organ_fail_memory(error, model->path);
        if (model->drafts && !error->status)
            allocate_drafts(model, scoring->batch_tokens, scoring->plan.scored, error);
    }
    return error->status;
}

static organ_status score_windows(organ_scoring *scoring, organ_logit_source *sources, organ_token_scores *scores,
                                  organ_scored_block *blocks, organ_error *error)
{
    const size_t batches =
        organ_scoring_batches(scoring, scoring->plan.windows, organ_ranks_count(scoring->engine.ranks));
    scoring_block block = {.scoring = scoring, .sources = sources, .scores = scores, .blocks = blocks};
    uint64_t bytes = 0;
    for (size_t m = 0; m < scoring->count; m++) {
        organ_scored_model *const model = &scoring->models[m];
        sources[m] =
            (organ_logit_source){model, organ_scoring_logit_count(model), model->path, run_batch, organ_scoring_logits};
        bytes += model->bytes * batches;
    }
    organ_progress_begin(scoring->progress, ORGAN_STAGE_SCORING, bytes, scoring->plan.windows);
    score_blocks(&block, error);
    organ_progress_end(scoring->progress);
    return error->status;
}

/* All models score the same batches in turn, so that their logits can be compared. */
organ_status organ_scoring_run(organ_scoring *scoring, organ_error *error)
{
    const double started = organ_seconds_now();
    ORGAN_OWNED organ_logit_source *const sources = calloc(scoring->count, sizeof *sources);
    ORGAN_OWNED organ_token_scores *const scores = calloc(scoring->count, sizeof *scores);
    ORGAN_OWNED organ_scored_block *const blocks = calloc(scoring->count, sizeof *blocks);
    scoring->error = NAN;
    scoring->ended = scoring->used_tokens < scoring->text_tokens ? ORGAN_SCORING_TOKENS : ORGAN_SCORING_TEXT;
    if (scoring->plan.windows < scoring->all_windows)
        scoring->ended = ORGAN_SCORING_WINDOWS;
    if (!sources || !scores || !blocks)
        organ_fail_errno(error, ENOMEM, "%zu models", scoring->shown);
    else
        allocate(scoring, error);
    organ_ranks_agree(scoring->engine.ranks, "opening models and text", error);
    if (!error->status)
        score_windows(scoring, sources, scores, blocks, error);
    if (scoring->sums)
        organ_input_sums_reduce(scoring->sums, scoring->engine.ranks, error);
    for (size_t m = 0; m < scoring->count && !error->status; m++)
        organ_model_unchanged(scoring->models[m].model, error);
    scoring->seconds = organ_seconds_now() - started;
    return error->status;
}
