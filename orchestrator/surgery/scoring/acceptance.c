/* SPDX-License-Identifier: MIT
 * How many of the tokens that a model's block for multi-token prediction drafts a server would accept: the first one on
 * the text of a scoring, all of them on greedy continuations of pieces of that text. */
#include "orchestrator/surgery/scoring/scoring.h"

#include "formats/architecture/mtp_types.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/stream/read_rows.h"
#include "orchestrator/surgery/vocabulary/token_tables.h"

#include <math.h>
#include <organ/evaluate.h>
#include <stdlib.h>
#include <string.h>

#define PROMPT  ((size_t)128)                  /* most tokens of the text that precede a continuation */
#define LONGEST (PROMPT + 1 + ORGAN_CONTINUED) /* with BOS */

/* ---- the blocks ---- */

organ_status organ_scoring_open_drafts(organ_scored_model *m, organ_error *error)
{
    if (!m->scoring->mtp.scored || organ_forward_open_draft(m->forward, error) != ORGAN_OK)
        return error->status;
    m->drafts = organ_forward_has_draft(m->forward);
    return ORGAN_OK;
}

static organ_status take_proposed(organ_scoring *scoring, const json_t *report, organ_error *error)
{
    const char *const path = scoring->mtp.tokens;
    const size_t words = (size_t)organ_forward_describe(scoring->models->forward)->vocabulary;
    const json_t *const list = json_object_get(report, "kept");
    ORGAN_OWNED uint32_t *ids = NULL;
    if (!json_array_size(list))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no list 'kept', which a report of a draft head has", path);
    if (organ_kept_list_read(list, words, path, &ids, &scoring->proposed_count, error))
        return error->status;
    if (!(scoring->proposed = calloc(words + 1, sizeof *scoring->proposed)))
        return organ_fail_memory(error, path);
    for (size_t k = 0; k < scoring->proposed_count; k++)
        scoring->proposed[ids[k]] = true;
    return ORGAN_OK;
}

/* The ids of the list are those of the tokens of all models, which have one vocabulary. */
static organ_status read_proposed(organ_scoring *scoring, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *report = NULL;
    const char *const path = scoring->mtp.tokens;
    if (!path)
        return ORGAN_OK;
    if (!scoring->mtp.scored)
        return organ_fail(error, ORGAN_USAGE, "`draft_tokens` has a meaning only with `mtp`");
    return organ_kept_report_load(path, &report, error) ? error->status : take_proposed(scoring, report, error);
}

static bool has_block(const organ_forward *f)
{
    for (size_t k = 0; k < f->weights->count; k++)
        if (f->weights->weights[k].anatomy.role == ORGAN_ROLE_MTP)
            return true;
    return false;
}

organ_status organ_scoring_check_drafts(organ_scoring *scoring, organ_error *error)
{
    const organ_scored_model *const first = scoring->models;
    bool any = false;
    for (size_t m = 0; m < scoring->shown; m++)
        any = any || scoring->models[m].drafts;
    if (any || !scoring->mtp.scored)
        return read_proposed(scoring, error);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: `mtp`: the model has no block for multi-token prediction%s",
                      first->path, has_block(first->forward) ? " of a kind that organ runs" : "");
}

static bool continues(const organ_scored_model *m) { return m->drafts && m->scoring->mtp.continuations; }

/* The states of a continuation, the outputs of the block for them, and the logits of the generated tokens. */
static uint64_t text_bytes(const organ_scored_model *m)
{
    const organ_forward_config *const c = organ_forward_describe(m->forward);
    return (LONGEST * (c->state + c->hidden) + (ORGAN_CONTINUED + 1) * c->vocabulary) * (uint64_t)sizeof(float);
}

bool organ_scoring_continuations_fit(const organ_scoring *scoring, uint64_t memory)
{
    bool fits = true;
    for (size_t k = 0; k < scoring->count; k++) {
        const organ_scored_model *const m = &scoring->models[k];
        if (!continues(m))
            continue;
        const uint64_t taken = text_bytes(m) + organ_draft_cache_bytes(m->forward, LONGEST);
        fits = fits && memory > taken && organ_decode_cache_fits(m->forward, PROMPT + 1, LONGEST, memory - taken);
    }
    return fits;
}

organ_continued organ_scoring_continued(const organ_scored_model *m)
{
    const double texts = continues(m) ? m->scoring->mtp.continuations : 0;
    return (organ_continued){.context = LONGEST,
                             .run = texts * (double)LONGEST,
                             .drafted =
                                 texts * (double)(LONGEST + ORGAN_CONTINUED * organ_draft_cache_depth(m->forward))};
}

/* ---- acceptance of one drafted token, over several states ---- */

typedef struct accepted {
    double *overlap, *chosen, *greedy; /* numbers for each state; greedy: 0 or 1 */
    size_t count;
    organ_score_windows windows; /* the states of each window of the text, or of each continuation */
} accepted;

/* The numbers up to `count` that no window has yet are those of the next window. */
static void end_window(organ_score_windows *windows, size_t count)
{
    const organ_score_window *const last = windows->count ? &windows->window[windows->count - 1] : NULL;
    const size_t first = last ? last->first + last->count : 0;
    windows->window[windows->count] = (organ_score_window){.first = first, .count = count - first};
    windows->count++;
}

static void add_accepted(accepted *to, const organ_acceptance *a)
{
    to->overlap[to->count] = a->overlap;
    to->chosen[to->count] = a->chosen;
    to->greedy[to->count++] = a->greedy;
}

static json_t *number_json(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *accepted_json(const accepted *a)
{
    const organ_mean overlap = organ_mean_between(a->overlap, &a->windows),
                     chosen = organ_mean_between(a->chosen, &a->windows),
                     greedy = organ_mean_between(a->greedy, &a->windows);
    return ORGAN_OBJECT(SET_COUNT("drafts", a->count), SET("overlap", number_json(overlap.mean)),
                        SET("overlap_error", number_json(overlap.error)), SET("chosen", number_json(chosen.mean)),
                        SET("chosen_error", number_json(chosen.error)), SET("greedy", number_json(greedy.mean)),
                        SET("greedy_error", number_json(greedy.error)));
}

/* The first token of a window has no drafted one. */
static void add_known(accepted *to, const organ_scored_block *block, size_t k)
{
    if (!isnan(block->overlap[k]))
        add_accepted(to, &(organ_acceptance){
                             .overlap = block->overlap[k], .chosen = block->chosen[k], .greedy = block->greedy[k]});
}

/* The first drafted token, on the text. */
static json_t *text_json(const organ_scored_model *m, organ_error *error)
{
    const size_t scored = m->scoring->plan.scored;
    ORGAN_OWNED double *const numbers = malloc((3 * scored + 1) * sizeof *numbers);
    if (!numbers) {
        organ_fail_memory(error, m->path);
        return NULL;
    }
    ORGAN_RELEASED_BY(organ_score_windows_release) organ_score_windows windows = {0};
    accepted a = {.overlap = numbers, .chosen = numbers + scored, .greedy = numbers + 2 * scored};
    if (organ_scoring_windows(m->scoring, m->scoring->plan.windows, &windows, error) != ORGAN_OK)
        return NULL;
    for (size_t w = 0; w < windows.count; w++) {
        organ_score_window *const window = &windows.window[w];
        const size_t before = a.count;
        for (size_t k = window->first; k < window->first + window->count; k++)
            add_known(&a, &m->block, k);
        window->first = before;
        window->count = a.count - before;
    }
    a.windows = windows;
    return accepted_json(&a);
}

/* ---- one continuation ---- */

typedef struct continuation {
    const organ_scoring *scoring;
    organ_scored_model *m;
    organ_stop_ids stops;
    unsigned depth;                   /* tokens drafted from a state */
    uint32_t ids[LONGEST];            /* the prompt, then the generated tokens */
    size_t prompt, count;             /* tokens of the prompt, and all so far */
    float *states, *outputs;          /* of each token: those of the model's last layer, and of block 0 */
    float *logits;                    /* of the model after each token from the prompt's last one on */
    double sums[ORGAN_CONTINUED + 1]; /* organ_logits_log_sum of these */
    size_t rows[LONGEST];
    size_t first;  /* token whose state the next call of receive_accepted is for, */
    unsigned step; /* and number of tokens drafted before */
    organ_acceptance *results;
    accepted positions[ORGAN_DRAFTED];     /* by the number of a drafted token */
    double *runs[ORGAN_DRAFTED], *lengths; /* for each state: whether that token is accepted; the accepted length */
    size_t drafts;                         /* states so far */
    organ_score_windows windows;           /* these states by continuation; its windows, then those of `positions` */
    size_t texts, generated;               /* continuations and their tokens so far */
} continuation;

static size_t vocabulary_of(const continuation *c) { return (size_t)organ_forward_describe(c->m->forward)->vocabulary; }

static void keep_logits(void *context, size_t k, float *logits)
{
    continuation *const c = context;
    const size_t words = vocabulary_of(c), row = c->count - c->prompt;
    (void)k;
    memcpy(c->logits + row * words, logits, words * sizeof *logits);
    c->sums[row] = organ_logits_log_sum(c->scoring->engine.kernels, logits, words);
}

static bool is_stop(const continuation *c, uint32_t token)
{
    bool stop = false;
    for (unsigned k = 0; k < c->stops.count; k++)
        stop = stop || c->stops.ids[k] == (int64_t)token;
    return stop;
}

/* The last token, and one that ends the text, are not run. */
static organ_status generate(continuation *c, organ_error *error)
{
    organ_decode_cache *cache = NULL;
    const size_t end = c->prompt + ORGAN_CONTINUED, words = vocabulary_of(c);
    bool stopped = false;
    organ_decode_cache_open(c->m->forward, c->prompt, end, &cache, error);
    while (!error->status && c->count < end && !stopped) {
        const size_t row = c->count - c->prompt;
        if (organ_stop_is_requested(c->scoring->engine.stop))
            organ_fail(error, ORGAN_INTERRUPTED, "stopped while generating");
        else if (organ_forward_continue_into(c->m->forward, cache, c->ids, c->count, c->states, c, keep_logits,
                                             error) == ORGAN_OK &&
                 !isfinite(c->sums[row]))
            organ_fail(error, ORGAN_BAD_INPUT, "%s: logits of a continuation are not finite numbers", c->m->path);
        if (!error->status)
            c->ids[c->count++] = (uint32_t)organ_logits_top(c->logits + row * words, words);
        stopped = !error->status && is_stop(c, c->ids[c->count - 1]);
    }
    organ_decode_cache_close(cache);
    return error->status;
}

/* Row k of a call is for the state of token c->first + k, after c->step drafted tokens. */
static void receive_accepted(void *context, size_t k, float *logits)
{
    const continuation *const c = context;
    const size_t words = vocabulary_of(c), row = c->first + k + c->step + 1 - (c->prompt - 1);
    c->results[k] = organ_logits_accept(c->scoring->engine.kernels, c->logits + row * words, c->sums[row],
                                        c->ids[c->prompt + row], logits, c->scoring->proposed, words);
}

/* Drafts tokens from the state of token `at` until one is not the token with the largest probability. `drafted` has the
 * result for the first one. */
static organ_status draft_from(continuation *c, organ_draft_cache *cache, size_t at, organ_acceptance drafted,
                               organ_error *error)
{
    const size_t width = (size_t)organ_forward_describe(c->m->forward)->hidden;
    uint32_t tokens[ORGAN_DRAFTED];
    unsigned run = 0;
    c->first = at;
    c->results = &drafted;
    for (c->step = 0; c->step < c->depth && c->step == run && !error->status; c->step++) {
        if (c->step && organ_draft_cache_step(cache, at, c->outputs + at * width, tokens, c->step, c, receive_accepted,
                                              error) != ORGAN_OK)
            return error->status;
        tokens[c->step] = (uint32_t)drafted.top;
        add_accepted(&c->positions[c->step], &drafted);
        run += drafted.greedy;
    }
    for (unsigned k = 0; k < c->depth; k++)
        c->runs[k][c->drafts] = k < run;
    c->lengths[c->drafts++] = 1 + run;
    return error->status;
}

/* From a state, `depth` tokens after the next one are drafted; all of them have logits of the model. */
static organ_status draft(continuation *c, organ_error *error)
{
    organ_draft_cache *cache = NULL;
    const size_t known = c->count - 1, first = c->prompt - 1;
    const size_t end = known > c->depth ? known - c->depth : 0, states = end > first ? end - first : 0;
    ORGAN_OWNED organ_acceptance *const results = calloc(states + 1, sizeof *results);
    if (!states)
        return error->status;
    if (!results)
        return organ_fail_memory(error, c->m->path);
    if (organ_draft_cache_open(c->m->forward, LONGEST, &cache, error) == ORGAN_OK &&
        organ_draft_cache_fill(cache, c->ids, known, c->states, c->outputs, error) == ORGAN_OK) {
        c->first = first;
        c->step = 0;
        c->results = results;
        for (size_t k = 0; k < states; k++)
            c->rows[k] = first + k;
        organ_draft_logits(c->m->forward, /*block=*/0, c->outputs, c->rows, states, c, receive_accepted, error);
    }
    for (size_t k = states; k-- > 0 && !error->status;)
        draft_from(c, cache, first + k, results[k], error);
    organ_draft_cache_close(cache);
    return error->status;
}

/* Continuation k begins after a piece of a window, of at most PROMPT tokens; the pieces are evenly spread over the
 * scored windows in the order of the text. */
static void take_prompt(continuation *c, const organ_score_windows *windows, size_t k)
{
    const organ_perplexity_plan *const plan = &c->scoring->plan;
    const organ_perplexity_protocol *const p = &c->scoring->protocol;
    size_t from = k * plan->begin[plan->windows] / c->scoring->mtp.continuations, w = 0, length;
    while (length = plan->begin[windows->window[w].at + 1] - plan->begin[windows->window[w].at], from >= length) {
        from -= length;
        w++;
    }
    const size_t tokens = organ_min(PROMPT, length - from);
    from += plan->begin[windows->window[w].at];
    const bool bos = p->adds_bos && plan->tokens[from] != (uint32_t)p->bos;
    if (bos)
        c->ids[0] = (uint32_t)p->bos;
    memcpy(c->ids + bos, plan->tokens + from, tokens * sizeof *c->ids);
    c->prompt = c->count = bos + tokens;
}

/* ---- all continuations of a model ---- */

static organ_status allocate(continuation *c, float **floats, double **numbers, organ_error *error)
{
    const organ_forward_config *const config = organ_forward_describe(c->m->forward);
    const size_t each = (size_t)c->scoring->mtp.continuations * ORGAN_CONTINUED;
    *floats = malloc((size_t)text_bytes(c->m));
    *numbers = malloc((4 * ORGAN_DRAFTED + 1) * each * sizeof **numbers);
    const size_t texts = c->scoring->mtp.continuations;
    c->windows.window = malloc((ORGAN_DRAFTED + 1) * (texts + 1) * sizeof *c->windows.window);
    if (!*floats || !*numbers || !c->windows.window)
        return organ_fail_memory(error, c->m->path);
    c->states = *floats;
    c->outputs = c->states + LONGEST * config->state;
    c->logits = c->outputs + LONGEST * config->hidden;
    double *at = *numbers;
    for (size_t k = 0; k < ORGAN_DRAFTED; k++, at += 4 * each) {
        c->positions[k] = (accepted){.overlap = at, .chosen = at + each, .greedy = at + 2 * each};
        c->positions[k].windows.window = c->windows.window + (k + 1) * (texts + 1);
        c->runs[k] = at + 3 * each;
    }
    c->lengths = at;
    return organ_stop_ids_read(c->m->model, c->scoring->tokenizer, &c->stops, error);
}

static json_t *continuations_json(const continuation *c)
{
    const organ_mean length = organ_mean_between(c->lengths, &c->windows);
    json_t *const positions = json_array();
    for (unsigned k = 0; k < c->depth; k++) {
        const organ_mean run = organ_mean_between(c->runs[k], &c->windows);
        json_t *const position = accepted_json(&c->positions[k]);
        ORGAN_ADD(position, SET_COUNT("position", k + 1), SET("accepted", number_json(run.mean)),
                  SET("accepted_error", number_json(run.error)));
        json_array_append_new(positions, position);
    }
    return ORGAN_OBJECT(SET_COUNT("count", c->texts), SET_COUNT("tokens", c->generated), SET_COUNT("drafts", c->drafts),
                        SET("accepted_length", number_json(length.mean)),
                        SET("accepted_length_error", number_json(length.error)), SET("positions", positions));
}

/* All ranks do the same work, so that they have the same figures. */
static json_t *continue_texts(organ_scoring *scoring, organ_scored_model *m, organ_error *error)
{
    ORGAN_OWNED continuation *const c = calloc(1, sizeof *c);
    ORGAN_OWNED float *floats = NULL;
    ORGAN_OWNED double *numbers = NULL;
    if (!c) {
        organ_fail_memory(error, m->path);
        return NULL;
    }
    c->scoring = scoring;
    c->m = m;
    c->depth = organ_draft_cache_depth(m->forward);
    const uint64_t memory = scoring->engine.memory,
                   taken = text_bytes(m) + organ_draft_cache_bytes(m->forward, LONGEST), whole = scoring->divided;
    scoring->engine.memory = whole > taken ? whole - taken : 0;
    ORGAN_RELEASED_BY(organ_score_windows_release) organ_score_windows windows = {0};
    if (allocate(c, &floats, &numbers, error) == ORGAN_OK)
        organ_scoring_windows(scoring, scoring->plan.windows, &windows, error);
    organ_progress_begin(scoring->progress, ORGAN_STAGE_CONTINUATIONS, 0, scoring->mtp.continuations);
    for (size_t k = 0; k < scoring->mtp.continuations && !error->status; k++) {
        take_prompt(c, &windows, k);
        if (generate(c, error) == ORGAN_OK && draft(c, error) == ORGAN_OK) {
            c->texts++;
            end_window(&c->windows, c->drafts);
            for (unsigned p = 0; p < c->depth; p++)
                end_window(&c->positions[p].windows, c->positions[p].count);
            c->generated += c->count - c->prompt;
            organ_progress_advance(scoring->progress, 0, "continuation", NULL);
        }
    }
    organ_progress_end(scoring->progress);
    scoring->engine.memory = memory;
    json_t *const result = error->status ? NULL : continuations_json(c);
    free(c->windows.window);
    return result;
}

/* ---- the report ---- */

json_t *organ_scored_model_json(const organ_scored_model *m) { return organ_run_model_json(m->model, m->drafts > 0); }

organ_status organ_scoring_add_drafts(organ_scoring *scoring, size_t m, json_t *entry, organ_error *error)
{
    organ_scored_model *const model = &scoring->models[m];
    if (!scoring->mtp.scored || error->status)
        return error->status;
    if (!model->drafts)
        return ORGAN_ADD(entry, SET_NULL("mtp")) ? ORGAN_OK : organ_fail_memory(error, model->path);
    ORGAN_FREE_ARRAYS(model->hidden, model->drafted);
    model->hidden = model->drafted = NULL;
    const organ_draft_family *const family = model->forward->drafts[0].family;
    const organ_mtp_type *const type = organ_mtp_type_of(model->model->config.model_type);
    json_t *const text = text_json(model, error);
    json_t *const continued = continues(model) && text ? continue_texts(scoring, model, error) : json_null();
    json_t *const mtp = ORGAN_OBJECT(SET_COUNT("blocks", organ_forward_drafts(model->forward)),
                                     SET_COUNT_OF("proposes", scoring->proposed, scoring->proposed_count),
                                     SET_TEXT("first", family->hidden_first ? "state" : "embedding"),
                                     SET_TEXT("state", family->raw_state ? "raw" : "normed"),
                                     SET_TEXT("again", family->raw_again ? "raw" : "normed"),
                                     SET_TEXT("head", organ_draft_has_head(model->forward, 0) ? "own" : "model"),
                                     SET_BYTES_OF("dispute", type ? type->dispute : NULL), SET("text", text),
                                     SET("continuations", continued));
    if (!error->status && (!mtp || !ORGAN_ADD(entry, SET_HELD("mtp", mtp))))
        organ_fail_memory(error, model->path);
    json_decref(mtp);
    return error->status;
}
