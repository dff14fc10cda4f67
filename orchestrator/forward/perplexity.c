/* SPDX-License-Identifier: MIT
 * Scores all models batch by batch. Keeps only a few numbers for each scored token. */
#include "orchestrator/forward/drafting.h"

#include "formats/base/plain_numbers.h"

#include "formats/base/results.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <math.h>
#include <organ/forward.h>
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

/* Blocks begin at 1, 1 + TOP_BLOCK, ..: those without a larger logit are skipped as a whole. */
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

/* `highest`, the largest logit, is subtracted first, so that exp does not overflow. */
static double log_sum(const organ_kernels *kernels, const float *logits, size_t count, double highest)
{
    return highest + log(kernels->exp_sum(logits, count, highest));
}

double organ_logits_log_sum(const organ_kernels *kernels, const float *logits, size_t count)
{
    return log_sum(kernels, logits, count, (double)logits[organ_logits_top(logits, count)]);
}

/* exp of it is 0, also for kernels that cannot take an infinite logit. */
#define FAR_BELOW 1e4f

/* The largest logit of the others stays the same. */
static void leave_out(float *logits, const bool *drafted, size_t count)
{
    float highest = -INFINITY;
    for (size_t k = 0; k < count; k++)
        highest = drafted[k] && logits[k] > highest ? logits[k] : highest;
    for (size_t k = 0; k < count; k++)
        logits[k] = drafted[k] ? logits[k] : highest - FAR_BELOW;
}

/* The sum of min(p, q) is that of exp(min(ln p, ln q)). */
organ_acceptance organ_logits_accept(const organ_kernels *kernels, const float *model, double model_log_sum,
                                     size_t model_top, float *block, const bool *drafted, size_t count)
{
    if (drafted)
        leave_out(block, drafted, count);
    const size_t top = organ_logits_top(block, count);
    const float highest = block[top];
    const double sum = kernels->smaller_exp_sum(block, /*shift=*/0, block, highest, count),
                 shift = (double)highest + log(sum) - model_log_sum;
    return (organ_acceptance){.overlap = kernels->smaller_exp_sum(model, (float)shift, block, highest, count) / sum,
                              .chosen = exp((double)model[top] - model_log_sum),
                              .greedy = top == model_top,
                              .top = top};
}

/* All arrays begin with the first token of the tile. */
typedef struct perplexity_score_tile {
    const organ_kernels *kernels;
    const uint32_t *targets;
    size_t vocabulary;
    double *nll, *divergence; /* divergence: NULL for the first model */
    unsigned char *agrees;
    /* rows of logits of the first model: written for it, read for the others; NULL if there is only one model */
    float *kept;
    double *sums;                    /* organ_logits_log_sum of each row */
    const organ_scored_block *block; /* of the model */
} perplexity_score_tile;

static void compare_token(const perplexity_score_tile *t, size_t k, const float *logits, double sum, size_t top)
{
    const float *const first = t->kept + k * t->vocabulary;
    t->divergence[k] = t->kernels->divergence(first, t->sums[k], logits, sum, t->vocabulary);
    t->agrees[k] = top == organ_logits_top(first, t->vocabulary);
}

static void keep_token(const perplexity_score_tile *t, size_t k, const float *logits, double sum)
{
    memcpy(t->kept + k * t->vocabulary, logits, t->vocabulary * sizeof *logits);
    t->sums[k] = sum;
}

/* `block`: its logits for the same token; NULL: there are none. */
static void receive_both(void *receiver, size_t k, float *logits, float *block)
{
    const perplexity_score_tile *const t = receiver;
    const size_t top = organ_logits_top(logits, t->vocabulary);
    const double sum = log_sum(t->kernels, logits, t->vocabulary, (double)logits[top]);
    t->nll[k] = sum - (double)logits[t->targets[k]];
    if (t->divergence)
        compare_token(t, k, logits, sum, top);
    else if (t->kept)
        keep_token(t, k, logits, sum);
    if (!block)
        return;
    const organ_acceptance a =
        organ_logits_accept(t->kernels, logits, sum, top, block, t->block->proposed, t->vocabulary);
    t->block->overlap[k] = a.overlap;
    t->block->chosen[k] = a.chosen;
    t->block->greedy[k] = a.greedy;
}

static void receive_logits(void *receiver, size_t k, float *logits) { receive_both(receiver, k, logits, NULL); }

/* ---- batches ---- */

typedef struct scoring_pass {
    const organ_kernels *kernels;
    const organ_perplexity_plan *plan;
    const organ_logit_source *sources; /* the models */
    const organ_scored_block *blocks;  /* of the models; NULL: none */
    size_t count, tile_rows;           /* models; scored tokens in a tile */
    organ_token_scores *scores;        /* one for each model */
    const organ_stop *stop;
    float *kept;  /* tile_rows x vocabulary: the first model's logits of a tile; NULL for a single model */
    double *sums; /* tile_rows: organ_logits_log_sum of these logits */
    size_t *rows; /* tile_rows: the inputs whose predictions are scored, as indices in the batch */
    size_t
        *drafted; /* with blocks: tile_rows numbers of the inputs before, from whose states blocks predict the same */
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

static bool begins_window(const organ_perplexity_plan *plan, size_t row)
{
    size_t low = 0, high = plan->windows;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        *(plan->begin[middle] <= row ? &low : &high) = middle;
    }
    return plan->begin[low] == row;
}

static organ_status check_drafts(const scoring_pass *s, size_t m, const organ_scored_block *block, size_t first,
                                 size_t count, organ_error *error)
{
    for (size_t k = 0; k < count; k++)
        if (s->drafted[k] != SIZE_MAX && !isfinite(block->overlap[k]))
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: the logits of its block for multi-token prediction for scored token %zu of %zu are "
                              "not finite numbers",
                              s->sources[m].name, first + k + 1, s->plan->scored);
    return ORGAN_OK;
}

/* Scores model m and its block for the tokens of a tile. */
static organ_status score_both(scoring_pass *s, size_t m, perplexity_score_tile *t, size_t first, size_t count,
                               organ_error *error)
{
    const organ_scored_block *const all = &s->blocks[m];
    const organ_scored_block block = {.overlap = all->overlap + first,
                                      .chosen = all->chosen + first,
                                      .greedy = all->greedy + first,
                                      .proposed = all->proposed};
    for (size_t k = 0; k < count; k++) {
        block.overlap[k] = block.chosen[k] = NAN;
        s->drafted[k] = begins_window(s->plan, s->plan->rows[first + k]) ? SIZE_MAX : s->rows[k] - 1;
    }
    t->block = &block;
    if (all->logits(s->sources[m].context, s->rows, s->drafted, count, t, receive_both, error) != ORGAN_OK ||
        check_finite(s, m, first, count, error) != ORGAN_OK)
        return error->status;
    return check_drafts(s, m, &block, first, count, error);
}

static organ_status score_model(scoring_pass *s, size_t m, size_t first, size_t count, size_t origin,
                                organ_error *error)
{
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
    for (size_t k = 0; k < count; k++)
        s->rows[k] = s->plan->rows[first + k] - origin;
    if (organ_stop_is_requested(s->stop))
        return organ_fail(error, ORGAN_INTERRUPTED, "stopped while scoring");
    if (s->blocks && s->blocks[m].logits)
        return score_both(s, m, &t, first, count, error);
    return source->logits(source->context, s->rows, count, &t, receive_logits, error) == ORGAN_OK
               ? check_finite(s, m, first, count, error)
               : error->status;
}

/* The tokens are in one batch, which begins with input `origin` of the plan. */
static organ_status score_tile(scoring_pass *s, size_t first, size_t count, size_t origin, organ_error *error)
{
    for (size_t m = 0; m < s->count && !error->status; m++)
        score_model(s, m, first, count, origin, error);
    return error->status;
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

/* `from` and `to` are the windows of a batch, `scored` counts the scored tokens up to its end. */
static void report_windows(const scoring_pass *s, size_t from, size_t to, size_t scored, const organ_progress *progress)
{
    char remark[64];
    double total = 0;
    for (size_t k = 0; k < scored; k++)
        total += s->scores[0].nll[k];
    organ_snprintf(remark, sizeof remark, "perplexity so far %.3f", exp(total / (double)scored));
    for (size_t w = from; w < to; w++)
        organ_progress_advance(progress, 0, "window", scored ? remark : NULL);
}

/* With a single model and no block, one tile can have all tokens. */
static organ_status allocate_tile(scoring_pass *s, size_t tile_rows, organ_error *error)
{
    const size_t vocabulary = (size_t)s->sources[0].vocabulary;
    const bool keeps = s->count > 1;
    bool drafts = false;
    for (size_t m = 0; s->blocks && m < s->count; m++)
        drafts = drafts || s->blocks[m].logits;
    s->tile_rows = keeps || drafts ? organ_max(tile_rows, 1) : s->plan->scored;
    s->tile_rows = organ_min(s->tile_rows, s->plan->scored);
    s->rows = malloc((s->tile_rows + 1) * sizeof *s->rows);
    s->sums = malloc((s->tile_rows + 1) * sizeof *s->sums);
    s->kept = keeps ? malloc(s->tile_rows * vocabulary * sizeof *s->kept) : NULL;
    s->drafted = drafts ? malloc(s->tile_rows * sizeof *s->drafted) : NULL;
    if (!s->rows || !s->sums || (keeps && !s->kept) || (drafts && !s->drafted))
        return organ_fail_errno(error, ENOMEM, "cannot allocate the logits of %zu tokens", s->tile_rows);
    return ORGAN_OK;
}

organ_status organ_perplexity_score_blocks(const organ_kernels *kernels, const organ_perplexity_plan *plan,
                                           const organ_logit_source *sources, const organ_scored_block *blocks,
                                           size_t count, size_t batch_tokens, size_t tile_rows,
                                           organ_token_scores *scores, const organ_stop *stop,
                                           const organ_progress *progress, organ_error *error)
{
    scoring_pass s = {.kernels = kernels,
                      .plan = plan,
                      .sources = sources,
                      .blocks = blocks,
                      .count = count,
                      .scores = scores,
                      .stop = stop};
    size_t next = 0;
    if (check_sources(&s, error) != ORGAN_OK)
        return error->status;
    allocate_tile(&s, tile_rows, error);
    for (size_t w = 0; w < plan->windows && !error->status;) {
        const size_t to = batch_end(plan, w, batch_tokens);
        if (score_batch(&s, w, to, &next, error) == ORGAN_OK)
            report_windows(&s, w, to, next, progress);
        w = to;
    }
    ORGAN_FREE_ARRAYS(s.rows, s.kept, s.sums, s.drafted);
    return error->status;
}

organ_status organ_perplexity_score(const organ_kernels *kernels, const organ_perplexity_plan *plan,
                                    const organ_logit_source *sources, size_t count, size_t batch_tokens,
                                    size_t tile_rows, organ_token_scores *scores, const organ_stop *stop,
                                    const organ_progress *progress, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return organ_perplexity_score_blocks(kernels, plan, sources, NULL, count, batch_tokens, tile_rows, scores, stop,
                                         progress, error);
}

/* ---- windows and scored tokens ---- */

/* The order is that of the enum organ_perplexity_style. */
static const char *const style_names[] = {"hf", "llama.cpp", "lm-eval"};

const char *organ_perplexity_style_name(organ_perplexity_style style) { return style_names[style]; }

bool organ_perplexity_style_parse(const char *name, organ_perplexity_style *style)
{
    for (size_t k = 0; k < sizeof style_names / sizeof *style_names; k++)
        if (strcmp(name, style_names[k]) == 0) {
            *style = (organ_perplexity_style)k;
            return true;
        }
    return false;
}

void organ_perplexity_plan_release(organ_perplexity_plan *plan)
{
    ORGAN_FREE_ARRAYS(plan->tokens, plan->begin, plan->rows, plan->targets);
    *plan = (organ_perplexity_plan){0};
}

/* The inputs are sequence[at .. at + inputs). Each input predicts the token after it; the predictions of inputs
 * first .. inputs - 1 of the window are scored. */
static void add_window(organ_perplexity_plan *plan, const uint32_t *sequence, size_t at, size_t inputs, size_t first)
{
    const size_t begin = plan->begin[plan->windows];
    memcpy(plan->tokens + begin, sequence + at, inputs * sizeof *sequence);
    for (size_t k = first; k < inputs; k++) {
        plan->rows[plan->scored] = begin + k;
        plan->targets[plan->scored++] = sequence[at + k + 1];
    }
    plan->begin[++plan->windows] = begin + inputs;
}

/* The last input of the last window predicts `token`; only the protocol `whole` has it as an input. */
static void add_last(organ_perplexity_plan *plan, const organ_perplexity_protocol *protocol, uint32_t token)
{
    if (protocol->whole)
        plan->tokens[plan->begin[plan->windows]++] = token;
}

/* As transformers' examples score a text, windows of `context` tokens are adjacent, and all tokens but the first of
 * each window are scored. A last window of one token is left out. */
static void plan_hf(organ_perplexity_plan *plan, const organ_perplexity_protocol *protocol, const uint32_t *sequence,
                    size_t count)
{
    for (size_t at = 0, tokens; at < count; at += tokens) {
        tokens = count - at < protocol->context ? count - at : protocol->context;
        if (tokens > 1) {
            add_window(plan, sequence, at, tokens - 1, 0);
            add_last(plan, protocol, sequence[at + tokens - 1]);
        }
    }
}

/* As llama-perplexity does, only whole windows of `context` tokens count, of which the second half is scored. If the
 * model needs BOS, it replaces the first token of each window. */
static void plan_llama_cpp(organ_perplexity_plan *plan, const organ_perplexity_protocol *protocol,
                           const uint32_t *sequence, size_t count)
{
    const size_t context = protocol->context;
    for (size_t at = 0; at + context <= count; at += context) {
        add_window(plan, sequence, at, context - 1, context / 2);
        add_last(plan, protocol, sequence[at + context - 1]);
        if (protocol->adds_bos)
            plan->tokens[plan->begin[plan->windows - 1]] = (uint32_t)protocol->bos;
    }
}

/* As lm-evaluation-harness does, each window predicts the next `context` tokens, the last window the remaining ones.
 * The inputs are the last `context` tokens, or fewer, up to the one before the last predicted token. `sequence`
 * begins with the prefix (BOS or EOS). */
static void plan_lm_eval(organ_perplexity_plan *plan, size_t context, const uint32_t *sequence, size_t count)
{
    for (size_t predicted = 0; predicted + 1 < count;) {
        const size_t remaining = count - 1 - predicted, more = remaining < context ? remaining : context,
                     end = predicted + more;
        const size_t inputs = end < context ? end : context;
        add_window(plan, sequence, end - inputs, inputs, inputs - more);
        predicted = end;
    }
}

/* `count` includes the prefix of the style. Returns ORGAN_USAGE for a context below 4, else ORGAN_BAD_INPUT. */
static organ_status check_protocol(const organ_perplexity_protocol *p, size_t count, const char *text,
                                   organ_error *error)
{
    if (p->context < 4)
        return organ_fail(error, ORGAN_USAGE, "a context of %zu tokens is too short: at least 4 are needed",
                          p->context);
    if (p->style == ORGAN_STYLE_LM_EVAL && p->bos < 0 && p->eos < 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: style lm-eval puts BOS or EOS before the text, but the tokenizer has neither", text);
    if (p->style != ORGAN_STYLE_LM_EVAL && p->adds_bos && p->bos < 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the model needs BOS before a text, but the tokenizer has none",
                          text);
    if (p->style == ORGAN_STYLE_LLAMA_CPP && count / 2 < p->context)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s has %zu tokens, but style llama.cpp needs two windows of %zu, that is %zu tokens: give a "
                          "longer text or reduce `context`",
                          text, count, p->context, 2 * p->context);
    if (count < 2)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s has %zu token%s, but at least 2 are needed, of which the second is scored: give a "
                          "longer text",
                          text, count, count == 1 ? "" : "s");
    return ORGAN_OK;
}

organ_status organ_perplexity_plan_make(const organ_perplexity_protocol *protocol, const uint32_t *tokens, size_t count,
                                        const char *text, organ_perplexity_plan *plan, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    const organ_perplexity_style style = protocol->style;
    int64_t prefix = protocol->adds_bos ? protocol->bos : -1;
    if (style == ORGAN_STYLE_LM_EVAL)
        prefix = protocol->bos >= 0 ? protocol->bos : protocol->eos;
    const size_t all = count + (prefix >= 0);
    *plan = (organ_perplexity_plan){0};
    /* an empty text counts as no token, also with a prefix */
    if (check_protocol(protocol, count ? all : 0, text, error) != ORGAN_OK)
        return error->status;
    ORGAN_OWNED uint32_t *const sequence = malloc(all * sizeof *sequence);
    /* Upper bounds: each token is an input once, or twice if the last window of lm-eval repeats it. */
    const size_t windows = all / protocol->context + 2, inputs = 2 * all + windows;
    plan->tokens = malloc(inputs * sizeof *plan->tokens);
    plan->begin = calloc(windows + 1, sizeof *plan->begin);
    plan->rows = malloc(all * sizeof *plan->rows);
    plan->targets = malloc(all * sizeof *plan->targets);
    if (!sequence || !plan->tokens || !plan->begin || !plan->rows || !plan->targets) {
        organ_perplexity_plan_release(plan);
        return organ_fail_memory(error, text);
    }
    if (prefix >= 0)
        sequence[0] = (uint32_t)prefix;
    memcpy(sequence + (prefix >= 0), tokens, count * sizeof *tokens);
    if (style == ORGAN_STYLE_HF)
        plan_hf(plan, protocol, sequence, all);
    else if (style == ORGAN_STYLE_LLAMA_CPP)
        plan_llama_cpp(plan, protocol, sequence, all);
    else
        plan_lm_eval(plan, protocol->context, sequence, all);
    return ORGAN_OK;
}

uint64_t organ_perplexity_words(const char *text, size_t bytes)
{
    const unsigned char *const s = (const unsigned char *)text;
    uint64_t words = 1;
    bool inside = false;
    for (size_t k = 0; k < bytes;) {
        const size_t length = organ_utf8_space(s + k);
        words += length && !inside;
        inside = length > 0;
        k += length ? length : 1;
    }
    return words;
}
