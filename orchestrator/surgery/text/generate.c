/* SPDX-License-Identifier: MIT
 * Runs organ generate: encodes the prompt, generates token after token, and makes the report. */
#include <organ/evaluate.h>

#include "formats/tokenizer/stop_ids.h"
#include <organ/forward.h>
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/text/text_streamer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct generation {
    const organ_generate_options *options;
    organ_engine engine;
    const organ_progress *progress;
    const organ_listener *listener;
    organ_model *model;
    organ_tokenizer *tokenizer;
    organ_forward *forward;
    organ_decode_cache *cache; /* keys and values of the tokens so far */
    uint32_t *ids;             /* tokens of the prompt, then generated ones */
    size_t prompt, count;      /* tokens of the prompt; all tokens so far */
    organ_stop_ids stops;      /* tokens that end the text */
    bool ended;                /* the model generated one of them */
    char *prompt_text, *text;  /* prompt and generated text for the report, control characters as \xNN */
    double seconds;            /* duration of the generation, prompt included */
} generation;

/* ---- the prompt ---- */

/* BOS comes first if the tokenizer adds it. g->ids has room for the new tokens after the prompt. */
static organ_status read_prompt(generation *g, organ_error *error)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(g->tokenizer);
    uint32_t *ids = NULL;
    size_t count = 0;
    organ_tokenizer_allow(g->tokenizer, g->engine.memory);
    if (organ_tokenizer_encode(g->tokenizer, g->options->prompt, strlen(g->options->prompt), true, &ids, &count,
                               error) != ORGAN_OK)
        return error->status;
    const size_t bos = facts->adds_bos && facts->bos >= 0;
    if (count + bos == 0)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: the prompt has no tokens, and the tokenizer adds no BOS",
                   g->options->model);
    else if (!(g->ids = malloc((bos + count + g->options->count) * sizeof *g->ids)))
        organ_fail_memory(error, g->options->model);
    else {
        if (bos)
            g->ids[0] = (uint32_t)facts->bos;
        memcpy(g->ids + bos, ids, count * sizeof *ids);
        g->prompt = g->count = bos + count;
    }
    free(ids);
    return error->status;
}

static organ_status open_cache_for_all_tokens(generation *g, organ_error *error)
{
    const size_t max = g->prompt + g->options->count;
    const uint64_t context = organ_forward_describe(g->forward)->context;
    if (context && max > context)
        organ_progress_note(g->progress, "%zu tokens exceed the context of %llu that %s supports", max,
                            (unsigned long long)context, g->options->model);
    return organ_decode_cache_open(g->forward, g->prompt, max, &g->cache, error);
}

/* ---- token after token ---- */

typedef struct choice {
    size_t vocabulary; /* number of logits */
    size_t top;        /* result: the token with the largest logit */
    bool finite;       /* result: all logits are finite */
} choice;

static void choose_token(void *context, size_t k, float *logits)
{
    choice *const c = context;
    (void)k;
    c->finite = true;
    for (size_t v = 0; v < c->vocabulary; v++)
        c->finite = c->finite && isfinite(logits[v]);
    c->top = organ_logits_top(logits, c->vocabulary);
}

static organ_status next_token(generation *g, uint32_t *token, organ_error *error)
{
    choice c = {.vocabulary = (size_t)organ_forward_describe(g->forward)->vocabulary};
    if (organ_stop_is_requested(g->engine.stop))
        return organ_fail(error, ORGAN_INTERRUPTED, "stopped after %zu tokens", g->count - g->prompt);
    if (organ_forward_continue(g->forward, g->cache, g->ids, g->count, &c, choose_token, error) != ORGAN_OK)
        return error->status;
    if (!c.finite)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: after %zu tokens its logits are not finite numbers",
                          g->options->model, g->count);
    *token = (uint32_t)c.top;
    return ORGAN_OK;
}

static organ_status print_text(const generation *g, organ_text_streamer *streamer, organ_error *error)
{
    const char *text;
    size_t bytes;
    if (organ_text_streamer_next(streamer, &text, &bytes, error) == ORGAN_OK && g->listener && bytes)
        g->listener->on_text(g->listener->context, text, bytes);
    return error->status;
}

static bool is_stop(const generation *g, uint32_t token)
{
    for (unsigned k = 0; k < g->stops.count; k++)
        if (g->stops.ids[k] == token)
            return true;
    return false;
}

static organ_status generate_print_new(generation *g, organ_text_streamer *streamer, organ_error *error)
{
    for (size_t k = 0; k < g->options->count && !g->ended; k++) {
        uint32_t token = 0;
        size_t bytes = 0;
        if (next_token(g, &token, error) != ORGAN_OK)
            return error->status;
        g->ids[g->count++] = token;
        g->ended = is_stop(g, token);
        if (g->ended)
            break;
        const char *const piece = organ_tokenizer_piece(g->tokenizer, token, &bytes);
        organ_text_streamer_add(streamer, piece, bytes);
        if (print_text(g, streamer, error) != ORGAN_OK)
            return error->status;
    }
    organ_text_streamer_end(streamer);
    return print_text(g, streamer, error);
}

static organ_status continue_prompt(generation *g, organ_error *error)
{
    const double started = organ_seconds_now();
    organ_text_streamer streamer;
    if (organ_text_streamer_open(&streamer, error) != ORGAN_OK)
        return error->status;
    organ_text_streamer_add(&streamer, g->options->prompt, strlen(g->options->prompt));
    organ_text_streamer_end(&streamer);
    if (organ_text_streamer_close(&streamer, &g->prompt_text, error) != ORGAN_OK ||
        organ_text_streamer_open(&streamer, error) != ORGAN_OK)
        return error->status;
    generate_print_new(g, &streamer, error);
    organ_error ignored = {0};
    organ_text_streamer_close(&streamer, &g->text, error->status ? &ignored : error);
    g->seconds = organ_seconds_now() - started;
    return error->status ? error->status : organ_model_unchanged(g->model, error);
}

/* ---- the report ---- */

static json_t *generate_document(const generation *g)
{
    const size_t made = g->count - g->prompt;
    return ORGAN_OBJECT(
        SET_HEAD("organ.generate/1", "greedy/1"), SET("model", organ_model_json(g->model)),
        SET_TEXT("tokenizer_digest", organ_tokenizer_describe(g->tokenizer)->digest),
        SET("prompt", ORGAN_OBJECT(SET_TEXT("text", g->prompt_text), SET("ids", organ_ids_json(g->ids, g->prompt)))),
        SET("generated", ORGAN_OBJECT(SET_TEXT("text", g->text), SET("ids", organ_ids_json(g->ids + g->prompt, made)))),
        SET_TEXT("stopped", g->ended ? "eos" : "length"), SET_TEXT("compute", organ_compute_name(g->engine.compute)),
        SET_BYTES_OF("compute_isa", g->engine.dots ? g->engine.dots->isa : NULL),
        SET("run", ORGAN_OBJECT(
                       SET_REAL("seconds", organ_rounded_seconds(g->seconds)),
                       SET_REAL("tokens_per_second", g->seconds > 0 ? round((double)made / g->seconds * 10) / 10 : 0.0),
                       SET_ENGINE(&g->engine))));
}

static organ_status generate_text(generation *g, json_t **report, organ_error *error)
{
    if (organ_engine_compute(&g->engine, g->options->compute, error) ||
        organ_model_open_with(g->options->model, g->options->access, &g->model, error) ||
        organ_forward_open(g->model, &g->engine, &g->forward, error))
        return error->status;
    organ_forward_allow_streaming(g->forward); /* allows layers whose experts do not fit in memory */
    if (organ_tokenizer_open(g->model, &g->tokenizer, error) ||
        organ_stop_ids_read(g->model, g->tokenizer, &g->stops, error) || read_prompt(g, error) ||
        open_cache_for_all_tokens(g, error) || continue_prompt(g, error))
        return error->status;
    *report = generate_document(g);
    return ORGAN_OK;
}

static void close_generation(generation *g)
{
    organ_decode_cache_close(g->cache);
    organ_forward_close(g->forward);
    organ_tokenizer_close(g->tokenizer);
    organ_model_close(g->model);
    free(g->ids);
    free(g->prompt_text);
    free(g->text);
}

organ_status organ_generate(const organ_generate_options *options, const organ_engine *engine,
                            const organ_progress *progress, const organ_listener *listener, json_t **report,
                            organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_generate_options, options, report, error, "model", options->model, "prompt",
                         options->prompt))
        return error->status;
    generation g = {.options = options, .engine = *engine, .progress = progress, .listener = listener};
    const organ_report_work work = organ_report_begin(report);
    generate_text(&g, report, error);
    close_generation(&g);
    return organ_report_end(&work, options->model, error);
}
