/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/scoring/scoring.h"

#include "formats/base/utf8.h"
#include "orchestrator/machine/enough_memory.h"
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/scoring/scoring_share.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- the models ---- */

static organ_status open_tokenizer(organ_trial *trial, organ_trial_model *m, organ_error *error)
{
    organ_tokenizer *tokenizer = NULL;
    if (trial->made && trial->tokenizer)
        return ORGAN_OK;
    if (organ_tokenizer_open(m->model, &tokenizer, error) != ORGAN_OK)
        return error->status;
    if (!trial->tokenizer) {
        organ_tokenizer_allow(tokenizer, trial->engine.memory);
        trial->tokenizer = tokenizer;
        return ORGAN_OK;
    }
    const char *const first = organ_tokenizer_describe(trial->tokenizer)->digest,
                      *const own = organ_tokenizer_describe(tokenizer)->digest;
    if (strcmp(first, own) != 0)
        organ_fail(
            error, ORGAN_BAD_INPUT,
            "%s has another tokenizer (digest %s) than %s (%s): perplexities over different tokens cannot be compared",
            m->path, own, trial->models[0].path, first);
    organ_tokenizer_close(tokenizer);
    return error->status;
}

static organ_status open_model(organ_trial *trial, organ_trial_model *m, organ_error *error)
{
    m->trial = trial;
    if (organ_model_open_with(m->path, trial->options->access, &m->model, error) ||
        (trial->options->output && organ_output_check_not_input(trial->options->output, m->model, error)))
        return error->status;
    for (size_t t = 0; t < m->model->tensor_count; t++)
        m->bytes += m->model->tensors[t].bytes;
    if (trial->made && m > trial->models && !m->model->gguf && !m->model->config.present) {
        m->model->directory = trial->models[0].model->directory; /* the directory of the tokenizer and other files */
        m->model->config = trial->models[0].model->config;
    }
    if (organ_forward_open(m->model, &trial->engine, &m->forward, error) != ORGAN_OK ||
        (m > trial->models && trial->made_as != ORGAN_MADE_ALIKE &&
         organ_forward_estimate(m->forward, trial->made_as, error)))
        return error->status;
    organ_forward_stream(m->forward);
    return open_tokenizer(trial, m, error);
}

/* ---- the text ---- */

static bool is_utf8(const char *text, size_t bytes)
{
    const unsigned char *const s = (const unsigned char *)text;
    for (size_t k = 0, length; k < bytes; k += length)
        if (!(length = s[k] ? organ_utf8_length(s + k) : 1))
            return false;
    return true;
}

static organ_status choose_protocol(organ_trial *trial, organ_error *error)
{
    const organ_experiment_options *const o = trial->options;
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(trial->tokenizer);
    const uint64_t made_for = organ_forward_describe(trial->models[0].forward)->context;
    const char *const style = o->style ? o->style : "hf";
    organ_perplexity_protocol *const p = &trial->protocol;
    *p = (organ_perplexity_protocol){.bos = facts->bos, .eos = facts->eos, .adds_bos = facts->adds_bos};
    if (!organ_perplexity_style_parse(style, &p->style))
        return organ_fail(error, ORGAN_USAGE, "--style '%s' is unknown: hf, llama.cpp or lm-eval", style);
    p->context = p->style == ORGAN_STYLE_LLAMA_CPP ? 512 : 2048;
    if (made_for && made_for < p->context)
        p->context = (size_t)made_for;
    if (o->context)
        p->context = o->context;
    else if (p->context < 4)
        return organ_fail(error, ORGAN_USAGE,
                          "%s supports windows of %zu token%s, but at least 4 are needed: --context N",
                          trial->models[0].path, p->context, p->context == 1 ? "" : "s");
    if (made_for && p->context > made_for)
        organ_progress_note(trial->progress, "windows of %zu tokens exceed the context of %llu that %s supports",
                            p->context, (unsigned long long)made_for, trial->models[0].path);
    return ORGAN_OK;
}

/* Counts the bytes of text that the scored tokens cover, and for lm-eval also its words. */
static organ_status count_text(organ_trial *trial, organ_error *error)
{
    const organ_perplexity_plan *const plan = &trial->plan;
    const bool lm_eval = trial->protocol.style == ORGAN_STYLE_LM_EVAL;
    if (lm_eval && trial->used_tokens == trial->text_tokens) {
        trial->scored_bytes = trial->text_bytes;
        trial->words = organ_perplexity_words(trial->text.bytes, trial->text_bytes);
        return ORGAN_OK;
    }
    for (size_t k = 0; k < plan->scored; k++) {
        size_t bytes = 0;
        organ_tokenizer_piece(trial->tokenizer, plan->targets[k], &bytes);
        trial->scored_bytes += bytes;
    }
    char *const scored = lm_eval ? malloc((size_t)trial->scored_bytes + 1) : NULL;
    if (!lm_eval)
        return ORGAN_OK;
    if (!scored)
        return organ_fail_memory(error, trial->options->text);
    size_t at = 0;
    for (size_t k = 0; k < plan->scored; k++) {
        size_t bytes = 0;
        const char *const piece = organ_tokenizer_piece(trial->tokenizer, plan->targets[k], &bytes);
        memcpy(scored + at, piece, bytes);
        at += bytes;
    }
    scored[at] = '\0';
    trial->words = organ_perplexity_words(scored, at);
    free(scored);
    return ORGAN_OK;
}

static size_t used_of(const organ_experiment_options *o, size_t tokens)
{
    return o->max_tokens && o->max_tokens < tokens ? o->max_tokens : tokens;
}

static organ_status trial_lay_out(organ_trial *trial, organ_error *error)
{
    const organ_experiment_options *const o = trial->options;
    /* llama.cpp reads the names of special tokens in a text as characters. */
    if (organ_text_encode(&trial->text, trial->tokenizer, trial->protocol.style != ORGAN_STYLE_LLAMA_CPP, error) !=
        ORGAN_OK)
        return error->status;
    trial->text_tokens = trial->text.tokens;
    trial->used_tokens = used_of(o, trial->text_tokens);
    if (organ_perplexity_plan_make(&trial->protocol, trial->text.ids, trial->used_tokens, o->text, &trial->plan,
                                   error) == ORGAN_OK)
        count_text(trial, error);
    return error->status;
}

/* ---- memory ---- */

static size_t longest_window(const organ_perplexity_plan *plan)
{
    size_t longest = 0;
    for (size_t w = 0; w < plan->windows; w++)
        if (plan->begin[w + 1] - plan->begin[w] > longest)
            longest = plan->begin[w + 1] - plan->begin[w];
    return longest;
}

/* The size of a trial: tokens of its longest window, and tokens of all windows together. */
typedef struct extent {
    organ_trial *trial;
    size_t longest, tokens;
} extent;

/* Bytes that are allocated until the end: ids, targets and, for each model, the scores of each token. */
static uint64_t kept_bytes(const organ_trial *trial, size_t tokens)
{
    const organ_token_scores *const s = NULL;
    const size_t each = 2 * sizeof(uint32_t) + trial->count * sizeof *s->nll +
                        (trial->count - 1) * (sizeof *s->divergence + sizeof *s->agrees);
    return (uint64_t)tokens * each;
}

/* Divides the memory that remains after kept_bytes. With one model the forward pass gets all of it; with several it
 * gets half, and the hidden states of all models and the logits of the first get a quarter each. Returns false if a
 * share is too small for a window. */
static bool divide_memory(organ_trial *trial, uint64_t memory, size_t longest, size_t inputs)
{
    const uint64_t kept = kept_bytes(trial, inputs);
    uint64_t states = 0, row = 0;
    size_t least = SIZE_MAX;
    trial->memory = memory;
    memory = memory > kept ? memory - kept : 0;
    trial->engine.memory = trial->count > 1 ? memory / 2 : memory;
    for (size_t m = 0; m < trial->count; m++) {
        const organ_forward_config *const config = organ_forward_describe(trial->models[m].forward);
        const size_t batch = organ_forward_batch(trial->models[m].forward, longest);
        least = batch < least ? batch : least;
        states += config->state * sizeof(float);
        row = config->vocabulary * sizeof(float);
    }
    if (trial->count > 1 && memory / 4 / states < least)
        least = (size_t)(memory / 4 / states);
    trial->batch_tokens = least < inputs ? least : inputs;
    trial->tile_rows = (size_t)(memory / 4 / row);
    return least >= longest && (trial->count == 1 || memory / 4 >= row);
}

static bool holds_window(void *context, uint64_t memory)
{
    const extent *const e = context;
    return divide_memory(e->trial, memory, e->longest, e->tokens);
}

static bool holds_all(void *context, uint64_t memory)
{
    const extent *const e = context;
    return holds_window(context, memory) && e->trial->batch_tokens == e->tokens;
}

/* The least memory for which `holds` is true. The forward passes read the engine of the trial, which is divided again
 * for its own memory at the end. */
static uint64_t least_for(organ_trial *trial, bool (*holds)(void *context, uint64_t memory))
{
    extent e = {trial, longest_window(&trial->plan), trial->plan.begin[trial->plan.windows]};
    const uint64_t given = trial->memory, least = organ_memory_enough(0, holds, &e);
    holds_window(&e, given);
    return least;
}

uint64_t organ_trial_enough(organ_trial *trial) { return least_for(trial, holds_window); }
uint64_t organ_trial_good(organ_trial *trial) { return least_for(trial, holds_all); }

static organ_status trial_share_memory(organ_trial *trial, extent e, organ_error *error)
{
    const uint64_t given = trial->memory;
    if (holds_window(&e, given))
        return ORGAN_OK;
    return organ_memory_refuse(error, given, organ_memory_enough(given, holds_window, &e),
                               "a window of %zu tokens, one layer, %zu tokens in all and %zu model%s", e.longest,
                               e.tokens, trial->count, trial->count > 1 ? "s" : "");
}

/* If the memory is too small for the text, the message names an amount that also suffices for the windows. */
static organ_status share_both(organ_trial *trial, organ_error *error)
{
    organ_error other = {0};
    const size_t tokens = used_of(trial->options, trial->text.tokens), context = trial->protocol.context;
    trial_share_memory(trial, (extent){trial, context < tokens ? context : tokens, tokens}, &other);
    return organ_memory_refuse_both(error, &other);
}

static organ_status trial_allocate(organ_trial *trial, organ_error *error)
{
    for (size_t m = 0; m < trial->count && !error->status; m++) {
        organ_trial_model *const model = &trial->models[m];
        const size_t width = (size_t)organ_forward_describe(model->forward)->state;
        model->hidden = malloc(trial->batch_tokens * width * sizeof *model->hidden);
        model->scores.nll = calloc(trial->plan.scored, sizeof *model->scores.nll);
        model->scores.divergence = m ? calloc(trial->plan.scored, sizeof *model->scores.divergence) : NULL;
        model->scores.agrees = m ? calloc(trial->plan.scored, 1) : NULL;
        if (!model->hidden || !model->scores.nll || (m && (!model->scores.divergence || !model->scores.agrees)))
            organ_fail_memory(error, model->path);
    }
    return error->status;
}

static void check_text_of(organ_trial *trial)
{
    trial->utf8 = is_utf8(trial->text.bytes, trial->text.size);
    snprintf(trial->digest, sizeof trial->digest, "%016llx",
             (unsigned long long)XXH3_64bits(trial->text.bytes, trial->text.size));
}

/* Opens the text, the models and the tokenizer. *refusal is set instead of *error if the memory is too small for the
 * text, because a message that also covers the windows needs the models. */
static organ_status trial_open_inputs(organ_trial *trial, const char *const *paths, size_t count, organ_error *refusal,
                                      organ_error *error)
{
    const organ_experiment_options *const options = trial->options;
    if (organ_engine_compute(&trial->engine, options->compute, error) != ORGAN_OK)
        return error->status;
    if (options->output && organ_output_check(options->output, NULL, options->force, error) != ORGAN_OK)
        return error->status;
    const bool loaded = organ_text_load(&trial->text, options->text, trial->memory, error) == ORGAN_OK;
    if (!loaded && !organ_memory_named(error))
        return error->status;
    *refusal = *error;
    *error = (organ_error){0};
    trial->text_bytes = trial->text.size;
    if (loaded)
        check_text_of(trial);
    if (!(trial->models = calloc(count, sizeof *trial->models)))
        return organ_fail_errno(error, ENOMEM, "%zu models", count);
    trial->count = count;
    for (size_t m = 0; m < count && !error->status; m++) {
        trial->models[m].path = paths[m];
        open_model(trial, &trial->models[m], error);
    }
    return error->status ? error->status : choose_protocol(trial, error);
}

organ_status organ_trial_fit(organ_trial *trial, organ_error *error)
{
    const extent windows = {trial, longest_window(&trial->plan), trial->plan.begin[trial->plan.windows]};
    organ_text_release(&trial->text);
    return trial_share_memory(trial, windows, error);
}

static organ_status trial_open_all(organ_trial *trial, const char *const *paths, size_t count, organ_error *error)
{
    organ_error refusal = {0};
    if (trial_open_inputs(trial, paths, count, &refusal, error) != ORGAN_OK)
        return error->status;
    *error = refusal;
    if (!refusal.status)
        trial_lay_out(trial, error);
    if (organ_memory_named(error))
        share_both(trial, error);
    return error->status ? error->status : organ_trial_fit(trial, error);
}

organ_status organ_trial_open_inputs(organ_trial *trial, const char *const *paths, size_t count,
                                     const organ_experiment_options *options, const organ_engine *engine,
                                     const organ_progress *progress, organ_error *error)
{
    organ_error refusal = {0};
    *trial = (organ_trial){.options = options, .progress = progress, .engine = *engine, .memory = engine->memory};
    if (trial_open_inputs(trial, paths, count, &refusal, error) == ORGAN_OK && refusal.status)
        *error = refusal;
    return error->status;
}

organ_status organ_trial_open(organ_trial *trial, const char *const *paths, size_t count,
                              const organ_experiment_options *options, const organ_engine *engine,
                              const organ_progress *progress, organ_error *error)
{
    *trial = (organ_trial){.options = options, .progress = progress, .engine = *engine, .memory = engine->memory};
    return trial_open_all(trial, paths, count, error);
}

organ_status organ_trial_open_made(organ_trial *trial, const char *before, const char *after, organ_made_as as,
                                   const organ_experiment_options *options, const organ_engine *engine,
                                   const organ_progress *progress, organ_error *error)
{
    const char *const paths[2] = {before, after ? after : before};
    *trial = (organ_trial){
        .options = options, .made = true, .progress = progress, .engine = *engine, .memory = engine->memory};
    trial->made_as = after ? ORGAN_MADE_ALIKE : as;
    return trial_open_all(trial, paths, 2, error);
}

void organ_trial_close(organ_trial *trial)
{
    for (size_t m = 0; m < trial->count; m++) {
        organ_trial_model *const model = &trial->models[m];
        free(model->hidden);
        free(model->scores.nll);
        free(model->scores.divergence);
        free(model->scores.agrees);
        organ_forward_close(model->forward);
        organ_model_close(model->model);
    }
    organ_perplexity_plan_free(&trial->plan);
    organ_tokenizer_close(trial->tokenizer);
    free(trial->models);
    organ_text_release(&trial->text);
}

/* ---- the run ---- */

static organ_status trial_carry(void *context, const organ_windows *windows, organ_error *error)
{
    organ_trial_model *const m = context;
    const organ_trial *const trial = m->trial;
    const unsigned layers = organ_forward_describe(m->forward)->layers;
    if (organ_forward_embed(m->forward, windows, m->hidden, error) != ORGAN_OK)
        return error->status;
    for (unsigned l = 0; l < layers && !error->status; l++) {
        organ_layer *layer = NULL;
        if (organ_stop_is_requested(trial->engine.stop))
            organ_fail(error, ORGAN_INTERRUPTED, "stopped before layer %u", l);
        else if (organ_layer_load(m->forward, (int32_t)l, &layer, error) == ORGAN_OK)
            organ_layer_run(m->forward, layer, windows, m->hidden, NULL, error);
        organ_layer_free(layer);
        organ_progress_advance(trial->progress, m->bytes * (l + 1) / layers - m->bytes * l / layers, NULL, NULL);
    }
    return error->status;
}

static organ_status logits(void *context, const size_t *rows, size_t count, void *receiver,
                           void (*each)(void *receiver, size_t k, float *logits), organ_error *error)
{
    organ_trial_model *const m = context;
    return organ_forward_logits(m->forward, m->hidden, rows, count, receiver, each, error);
}

/* Scores the windows of a share by all models. */
static organ_status score_share(organ_trial *trial, const organ_trial_share *share, const organ_logit_source *sources,
                                organ_token_scores *scores, organ_error *error)
{
    for (size_t m = 0; m < trial->count; m++) {
        const organ_token_scores *const all = &trial->models[m].scores;
        scores[m] = (organ_token_scores){.nll = all->nll + share->first,
                                         .divergence = m ? all->divergence + share->first : NULL,
                                         .agrees = m ? all->agrees + share->first : NULL};
    }
    if (share->plan.windows)
        organ_perplexity_score(trial->engine.kernels, &share->plan, sources, trial->count, trial->batch_tokens,
                               trial->tile_rows, scores, trial->engine.stop, trial->progress, error);
    return error->status;
}

static organ_status score_windows(organ_trial *trial, organ_logit_source *sources, organ_token_scores *scores,
                                  organ_error *error)
{
    organ_ranks *const ranks = trial->engine.ranks;
    const size_t batches = organ_trial_share_batches(&trial->plan, trial->batch_tokens, organ_ranks_count(ranks));
    organ_trial_share share = {0};
    uint64_t bytes = 0;
    for (size_t m = 0; m < trial->count; m++) {
        organ_trial_model *const model = &trial->models[m];
        sources[m] = (organ_logit_source){model, organ_forward_describe(model->forward)->vocabulary, model->path,
                                          trial_carry, logits};
        bytes += model->bytes * batches;
    }
    organ_progress_begin(trial->progress, "scoring", bytes, batches);
    if (organ_trial_share_cut(&trial->plan, organ_ranks_rank(ranks), organ_ranks_count(ranks), &share, error) ==
        ORGAN_OK)
        score_share(trial, &share, sources, scores, error);
    for (size_t m = 0; m < trial->count; m++)
        organ_trial_share_scores(ranks, &trial->plan, &trial->models[m].scores, error);
    organ_progress_end(trial->progress);
    organ_trial_share_free(&share);
    return error->status;
}

organ_status organ_trial_run(organ_trial *trial, organ_error *error)
{
    const double started = organ_seconds_now();
    organ_logit_source *const sources = calloc(trial->count, sizeof *sources);
    organ_token_scores *const scores = calloc(trial->count, sizeof *scores);
    if (!sources || !scores)
        organ_fail_errno(error, ENOMEM, "%zu models", trial->count);
    else
        trial_allocate(trial, error);
    organ_ranks_agree(trial->engine.ranks, "opening models and text", error);
    if (!error->status)
        score_windows(trial, sources, scores, error);
    for (size_t m = 0; m < trial->count && !error->status; m++)
        organ_model_unchanged(trial->models[m].model, error);
    free(sources);
    free(scores);
    trial->seconds = organ_seconds_now() - started;
    return error->status;
}
