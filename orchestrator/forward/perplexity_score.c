/* SPDX-License-Identifier: MIT
 * Scores all models batch by batch. Keeps only a few numbers for each scored token. */
#include "formats/base/plain_numbers.h"

#include <organ/forward.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOP_LANES ((size_t)16)
#define TOP_BLOCK ((size_t)1024) /* logits of which the largest is found before its place; a multiple of TOP_LANES */

/* Reads TOP_BLOCK logits. A NaN is never larger. Independent lanes let the compiler use vectors. */
static float largest_of_block(const float *logits, float most)
{
    float lanes[TOP_LANES];
    for (size_t l = 0; l < TOP_LANES; l++)
        lanes[l] = most;
    for (size_t k = 0; k < TOP_BLOCK; k += TOP_LANES)
        for (size_t l = 0; l < TOP_LANES; l++)
            lanes[l] = logits[k + l] > lanes[l] ? logits[k + l] : lanes[l];
    for (size_t l = 0; l < TOP_LANES; l++)
        most = lanes[l] > most ? lanes[l] : most;
    return most;
}

size_t organ_logits_top(const float *logits, size_t count)
{
    size_t top = 0, k = 1;
    for (; k < count; k++) {
        if (k % TOP_BLOCK == 1)
            while (k + TOP_BLOCK <= count && !(largest_of_block(logits + k, logits[top]) > logits[top]))
                k += TOP_BLOCK;
        if (k < count)
            top = logits[k] > logits[top] ? k : top;
    }
    return top;
}

/* The largest logit is subtracted first, so that exp does not overflow. */
double organ_logits_log_sum(const organ_kernels *kernels, const float *logits, size_t count)
{
    const double top = (double)logits[organ_logits_top(logits, count)];
    return top + log(kernels->exp_sum(logits, count, top));
}

/* All arrays begin with the first token of the tile. */
typedef struct perplexity_score_tile {
    const organ_kernels *kernels;
    const uint32_t *targets;
    size_t vocabulary;
    double *nll, *divergence;
    unsigned char *agrees;
    /* rows of logits of the first model: written for it, read for the others; NULL if there is only one model */
    float *kept;
    double *sums; /* organ_logits_log_sum of each row */
} perplexity_score_tile;

/* If there are other models, keeps the logits for the comparison. */
static void receive_first(void *receiver, size_t k, float *logits)
{
    const perplexity_score_tile *const t = receiver;
    const double sum = organ_logits_log_sum(t->kernels, logits, t->vocabulary);
    t->nll[k] = sum - (double)logits[t->targets[k]];
    if (!t->kept)
        return;
    memcpy(t->kept + k * t->vocabulary, logits, t->vocabulary * sizeof *logits);
    t->sums[k] = sum;
}

static void receive_other(void *receiver, size_t k, float *logits)
{
    const perplexity_score_tile *const t = receiver;
    const float *const first = t->kept + k * t->vocabulary;
    const double sum = organ_logits_log_sum(t->kernels, logits, t->vocabulary);
    t->nll[k] = sum - (double)logits[t->targets[k]];
    t->divergence[k] = t->kernels->divergence(first, t->sums[k], logits, sum, t->vocabulary);
    t->agrees[k] = organ_logits_top(logits, t->vocabulary) == organ_logits_top(first, t->vocabulary);
}

/* ---- batches ---- */

typedef struct scoring_pass {
    const organ_kernels *kernels;
    const organ_perplexity_plan *plan;
    const organ_logit_source *sources; /* the models */
    size_t count, tile_rows;           /* models; scored tokens in a tile */
    organ_token_scores *scores;        /* one for each model */
    const organ_stop *stop;
    float *kept;  /* tile_rows x vocabulary: the first model's logits of a tile; NULL for a single model */
    double *sums; /* tile_rows: organ_logits_log_sum of these logits */
    size_t *rows; /* tile_rows: the inputs whose predictions are scored, as indices in the batch */
} scoring_pass;

static size_t batch_end(const organ_perplexity_plan *plan, size_t window, size_t batch_tokens)
{
    size_t end = window + 1;
    while (end < plan->windows && plan->begin[end + 1] - plan->begin[window] <= batch_tokens)
        end++;
    return end;
}

size_t organ_perplexity_batches(const organ_perplexity_plan *plan, size_t batch_tokens)
{
    size_t batches = 0;
    for (size_t w = 0; w < plan->windows; w = batch_end(plan, w, batch_tokens))
        batches++;
    return batches;
}

static organ_status check_finite(const scoring_pass *s, size_t m, size_t first, size_t count, organ_error *error)
{
    for (size_t k = first; k < first + count; k++)
        if (!isfinite(s->scores[m].nll[k]) || (m && !isfinite(s->scores[m].divergence[k])))
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: its logits for scored token %zu of %zu are not finite numbers", s->sources[m].name,
                              k + 1, s->plan->scored);
    return ORGAN_OK;
}

/* The tokens are in one batch, which begins with input `origin` of the plan. */
static organ_status score_tile(scoring_pass *s, size_t first, size_t count, size_t origin, organ_error *error)
{
    for (size_t k = 0; k < count; k++)
        s->rows[k] = s->plan->rows[first + k] - origin;
    for (size_t m = 0; m < s->count; m++) {
        const organ_logit_source *const source = &s->sources[m];
        const organ_token_scores *const scores = &s->scores[m];
        perplexity_score_tile t = {.kernels = s->kernels,
                                   .targets = s->plan->targets + first,
                                   .vocabulary = (size_t)source->vocabulary,
                                   .nll = scores->nll + first,
                                   .divergence = m ? scores->divergence + first : NULL,
                                   .agrees = m ? scores->agrees + first : NULL,
                                   .kept = s->kept,
                                   .sums = s->sums};
        if (organ_stop_is_requested(s->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "stopped while scoring");
        if (source->logits(source->context, s->rows, count, &t, m ? receive_other : receive_first, error) != ORGAN_OK ||
            check_finite(s, m, first, count, error) != ORGAN_OK)
            return error->status;
    }
    return ORGAN_OK;
}

/* *next is the index in the plan of the first scored token of these windows, and becomes that of the first scored
 * token after them. */
static organ_status score_batch(scoring_pass *s, size_t from, size_t to, size_t *next, organ_error *error)
{
    const organ_perplexity_plan *const plan = s->plan;
    const size_t origin = plan->begin[from], end = plan->begin[to];
    size_t *const begin = malloc((to - from + 1) * sizeof *begin), last = *next;
    if (!begin)
        return organ_fail_errno(error, ENOMEM, "cannot allocate a list of %zu windows", to - from);
    for (size_t w = from; w <= to; w++)
        begin[w - from] = plan->begin[w] - origin;
    const organ_windows windows = {.tokens = plan->tokens + origin, .count = to - from, .begin = begin};
    for (size_t m = 0; m < s->count && !error->status; m++)
        if (organ_stop_is_requested(s->stop))
            organ_fail(error, ORGAN_INTERRUPTED, "stopped while scoring");
        else
            s->sources[m].carry(s->sources[m].context, &windows, error);
    free(begin);
    while (last < plan->scored && plan->rows[last] < end)
        last++;
    for (size_t first = *next; first < last && !error->status; first += s->tile_rows)
        score_tile(s, first, last - first < s->tile_rows ? last - first : s->tile_rows, origin, error);
    *next = last;
    return error->status;
}

static organ_status check_sources(const scoring_pass *s, organ_error *error)
{
    for (size_t m = 1; m < s->count; m++)
        if (s->sources[m].vocabulary != s->sources[0].vocabulary)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s computes %llu logits per token, but %s %llu",
                              s->sources[m].name, (unsigned long long)s->sources[m].vocabulary, s->sources[0].name,
                              (unsigned long long)s->sources[0].vocabulary);
    for (size_t k = 0; k < s->plan->scored; k++)
        if (s->plan->targets[k] >= s->sources[0].vocabulary)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: token id %u of the text exceeds its %llu logits",
                              s->sources[0].name, s->plan->targets[k], (unsigned long long)s->sources[0].vocabulary);
    return ORGAN_OK;
}

static void print_progress(const scoring_pass *s, size_t window, size_t scored, const organ_progress *progress)
{
    char name[64], remark[64];
    double total = 0;
    for (size_t k = 0; k < scored; k++)
        total += s->scores[0].nll[k];
    snprintf(name, sizeof name, "%zu of %zu windows", window, s->plan->windows);
    organ_snprintf(remark, sizeof remark, "perplexity so far %.3f", exp(total / (double)scored));
    organ_progress_advance(progress, 0, name, scored ? remark : NULL);
}

organ_status organ_perplexity_score(const organ_kernels *kernels, const organ_perplexity_plan *plan,
                                    const organ_logit_source *sources, size_t count, size_t batch_tokens,
                                    size_t tile_rows, organ_token_scores *scores, const organ_stop *stop,
                                    const organ_progress *progress, organ_error *error)
{
    scoring_pass s = {
        .kernels = kernels, .plan = plan, .sources = sources, .count = count, .scores = scores, .stop = stop};
    size_t next = 0;
    if (check_sources(&s, error) != ORGAN_OK)
        return error->status;
    s.tile_rows = tile_rows ? tile_rows : 1;
    if (count <= 1) /* no logits are kept, so one tile can have all tokens */
        s.tile_rows = plan->scored;
    s.tile_rows = s.tile_rows < plan->scored ? s.tile_rows : plan->scored;
    s.rows = malloc((s.tile_rows + 1) * sizeof *s.rows);
    s.kept = count > 1 ? malloc(s.tile_rows * (size_t)sources[0].vocabulary * sizeof *s.kept) : NULL;
    s.sums = malloc((s.tile_rows + 1) * sizeof *s.sums);
    if (!s.rows || !s.sums || (count > 1 && !s.kept))
        organ_fail_errno(error, ENOMEM, "cannot allocate the logits of %zu tokens", s.tile_rows);
    for (size_t w = 0; w < plan->windows && !error->status;) {
        const size_t to = batch_end(plan, w, batch_tokens);
        if (score_batch(&s, w, to, &next, error) == ORGAN_OK)
            print_progress(&s, to, next, progress);
        w = to;
    }
    free(s.rows);
    free(s.kept);
    free(s.sums);
    return error->status;
}
