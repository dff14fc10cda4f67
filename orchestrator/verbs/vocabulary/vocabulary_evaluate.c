/* SPDX-License-Identifier: MIT
 * Finds how many tokens a second text has under each policy, and which probability the model gives to the tokens that a
 * policy drops. */
#include "orchestrator/verbs/vocabulary/vocabulary_job.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/surgery/scoring/scoring.h"

#include <organ/forward.h>
#include <stdlib.h>

enum { WINDOW = 512 }; /* tokens of a window, BOS included */

/* ---- tokens ---- */

/* The first ids of the second text. */
typedef struct first_ids {
    uint32_t *ids;
    size_t count;
} first_ids;

static organ_status read_first(vocabulary_job *job, first_ids *first, organ_error *error)
{
    if (organ_vocabulary_read(job, job->tokenizer, &job->evaluated, &first->ids, error))
        return error->status;
    first->count = organ_min(job->evaluated.tokens, job->options->evaluate_tokens);
    uint32_t *const fewer = realloc(first->ids, (first->count + 1) * sizeof *fewer);
    first->ids = fewer ? fewer : first->ids;
    return ORGAN_OK;
}

/* The text is encoded once more for each policy. */
static organ_status count_tokens(vocabulary_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->policy_count && !error->status; k++) {
        vocabulary_text text = {.path = job->evaluated.path};
        organ_tokenizer *const cut = organ_kept_tokenizer(&job->policies[k].kept, error);
        if (cut)
            organ_vocabulary_read(job, cut, &text, NULL, error);
        organ_tokenizer_close(cut);
        job->policies[k].tokens = text.tokens;
    }
    return error->status;
}

/* ---- probabilities ---- */

/* The ids that a policy keeps, or those that it drops, whichever are fewer. */
typedef struct summed_ids {
    uint32_t *ids;
    size_t count;
    bool dropped;
} summed_ids;

typedef struct vocabulary_scores {
    const vocabulary_job *job;
    size_t vocabulary; /* logits of a token */
    summed_ids sums[VOCABULARY_POLICIES];
    double *dropped; /* for each policy and token: probability of the dropped ids */
    size_t tokens;
} vocabulary_scores;

/* Rows without a token are dropped ids, too. */
static organ_status list_ids(const vocabulary_scores *s, const vocabulary_policy *p, summed_ids *sums,
                             organ_error *error)
{
    sums->dropped = s->vocabulary < 2 * (size_t)p->kept.count;
    if (!(sums->ids = malloc((s->vocabulary + 1) * sizeof *sums->ids)))
        return organ_fail_memory(error, s->job->model->path);
    for (uint32_t id = 0; id < s->vocabulary; id++) {
        const bool kept = id < s->job->groups.count && p->kept.why[id];
        if (kept != sums->dropped)
            sums->ids[sums->count++] = id;
    }
    return ORGAN_OK;
}

/* Called by any worker, for tokens in any order. */
static void score_token(void *context, size_t token, float *logits)
{
    const vocabulary_scores *const s = context;
    const organ_kernels *const kernels = s->job->engine->kernels;
    const double top = (double)logits[organ_logits_top(logits, s->vocabulary)],
                 all = kernels->exp_sum(logits, s->vocabulary, top);
    for (size_t p = 0; p < s->job->policy_count; p++) {
        const double share = organ_listed_exp_sum(kernels, s->sums[p].ids, s->sums[p].count, logits, top) / all,
                     dropped = s->sums[p].dropped ? share : 1 - share;
        s->dropped[p * s->tokens + token] = dropped > 0 ? dropped : 0;
    }
}

static void add_scores(const vocabulary_scores *s, vocabulary_job *job)
{
    for (size_t p = 0; p < job->policy_count; p++) {
        vocabulary_policy *const policy = &job->policies[p];
        for (size_t k = 0; k < s->tokens; k++) {
            const double dropped = s->dropped[p * s->tokens + k];
            policy->dropped += dropped;
            policy->most = dropped > policy->most ? dropped : policy->most;
        }
        policy->dropped /= (double)s->tokens;
    }
}

/* Windows of the text, each after BOS if the model expects one. */
typedef struct scored_windows {
    uint32_t *tokens;
    size_t *begin, *rows, count, scored;
} scored_windows;

static organ_status cut_windows(const vocabulary_job *job, const first_ids *text, size_t window, scored_windows *w,
                                organ_error *error)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(job->tokenizer);
    const bool bos = facts->adds_bos && facts->bos >= 0 && window > 1;
    const size_t step = window - bos;
    size_t used = 0;
    w->count = (text->count + step - 1) / step;
    w->tokens = malloc((text->count + w->count + 1) * sizeof *w->tokens);
    w->rows = malloc((text->count + 1) * sizeof *w->rows);
    w->begin = malloc((w->count + 1) * sizeof *w->begin);
    if (!w->tokens || !w->rows || !w->begin)
        return organ_fail_memory(error, job->model->path);
    for (size_t k = 0; k < text->count; k++) {
        if (k % step == 0)
            w->begin[k / step] = used;
        if (k % step == 0 && bos)
            w->tokens[used++] = (uint32_t)facts->bos;
        w->rows[w->scored++] = used;
        w->tokens[used++] = text->ids[k];
    }
    w->begin[w->count] = used;
    return ORGAN_OK;
}

static organ_status open_scores(vocabulary_scores *s, organ_error *error)
{
    const vocabulary_job *const job = s->job;
    s->dropped = malloc((job->policy_count * s->tokens + 1) * sizeof *s->dropped);
    if (!s->dropped)
        return organ_fail_memory(error, job->model->path);
    for (size_t p = 0; p < job->policy_count && !error->status; p++)
        list_ids(s, &job->policies[p], &s->sums[p], error);
    return error->status;
}

static void close_scores(vocabulary_scores *s)
{
    for (size_t p = 0; p < s->job->policy_count; p++)
        free(s->sums[p].ids);
    free(s->dropped);
}

static organ_status run_windows(vocabulary_job *job, organ_forward *forward, const first_ids *text, organ_error *error)
{
    const organ_forward_config *const c = organ_forward_describe(forward);
    vocabulary_scores s = {.job = job, .vocabulary = (size_t)c->vocabulary, .tokens = text->count};
    scored_windows w = {0};
    const size_t window = c->context && c->context < WINDOW ? (size_t)c->context : WINDOW;
    if (cut_windows(job, text, window, &w, error) == ORGAN_OK && open_scores(&s, error) == ORGAN_OK &&
        organ_forward_run(forward, &(organ_windows){w.tokens, w.count, w.begin}, w.rows, w.scored, &s, score_token,
                          job->progress, error) == ORGAN_OK) {
        add_scores(&s, job);
        job->scored = w.scored;
        job->windows = w.count;
    }
    close_scores(&s);
    ORGAN_FREE_ARRAYS(w.tokens, w.rows, w.begin);
    return error->status;
}

organ_status organ_vocabulary_evaluate(vocabulary_job *job, organ_error *error)
{
    organ_forward *forward = NULL;
    first_ids text = {0};
    job->evaluated.path = job->options->evaluate;
    if (!job->evaluated.path)
        return ORGAN_OK;
    if (read_first(job, &text, error) == ORGAN_OK && count_tokens(job, error) == ORGAN_OK && text.count &&
        organ_forward_open(job->model, job->engine, &forward, error) == ORGAN_OK)
        run_windows(job, forward, &text, error);
    organ_forward_close(forward);
    free(text.ids);
    return error->status;
}
