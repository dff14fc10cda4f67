/* SPDX-License-Identifier: MIT
 * A scoring: opens models, tokenizer and text, plans the windows, divides the memory, and runs windows through a model.
 */
#include "orchestrator/surgery/scoring/scoring.h"

#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/pass_parts.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/output.h"
#include "orchestrator/report/text/report_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- the models ---- */

/* Compares by the ids of texts, because a SentencePiece vocabulary has scores in GGUF and merges in tokenizer.json. */
static organ_status compare_tokenizers(organ_scoring *scoring, const organ_scored_model *m, const organ_tokenizer *own,
                                       organ_error *error)
{
    organ_tokenizer_difference difference;
    if (organ_tokenizer_compare(scoring->tokenizer, own, m->path, &difference, error) == ORGAN_OK)
        scoring->differ = difference.found;
    if (scoring->differ)
        organ_fail(error, ORGAN_BAD_INPUT,
                   "%s has another tokenizer than %s%s%s: perplexities over different tokens cannot be compared",
                   m->path, scoring->models[0].path, *difference.text ? ": " : "", difference.text);
    return error->status;
}

/* The first model's tokenizer becomes scoring->tokenizer; that of a later model must find the same ids. A model made
 * from the first is assumed to have the same one. */
static organ_status open_tokenizer(organ_scoring *scoring, organ_scored_model *m, organ_error *error)
{
    organ_tokenizer *tokenizer = NULL;
    if ((scoring->derived || scoring->shared) && scoring->tokenizer)
        return ORGAN_OK;
    if (organ_tokenizer_open(m->model, &tokenizer, error) != ORGAN_OK)
        return error->status;
    organ_tokenizer_allow(tokenizer, scoring->memory);
    if (!scoring->tokenizer) {
        scoring->tokenizer = tokenizer;
        return ORGAN_OK;
    }
    compare_tokenizers(scoring, m, tokenizer, error);
    organ_tokenizer_close(tokenizer);
    return error->status;
}

/* Models with the same tokenizer may have output heads of different sizes. */
static organ_status check_vocabulary(organ_scoring *scoring, const organ_scored_model *m, organ_error *error)
{
    const uint64_t own = organ_forward_describe(m->forward)->vocabulary,
                   first = organ_forward_describe(scoring->models[0].forward)->vocabulary;
    if (own == first || scoring->shared)
        return ORGAN_OK;
    scoring->differ = true;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s computes %llu logits per token, but %s %llu", m->path,
                      (unsigned long long)own, scoring->models[0].path, (unsigned long long)first);
}

/* ---- --activations ---- */

/* An importance matrix has sums over inputs that are not rounded. */
static organ_status choose_activations(organ_scoring *scoring, organ_error *error)
{
    static const char *const names[] = {
        [ORGAN_ACTIVATIONS_OFF] = "off", [ORGAN_ACTIVATIONS_ON] = "on", [ORGAN_ACTIVATIONS_BOTH] = "both"};
    const char *const unset = scoring->derived ? "both" : "off", *const requested = scoring->options->activations
                                                                                        ? scoring->options->activations
                                                                                        : unset;
    size_t k = 0;
    while (k < sizeof names / sizeof *names && strcmp(requested, names[k]) != 0)
        k++;
    if (k == sizeof names / sizeof *names)
        return organ_fail(error, ORGAN_USAGE, "`activations` '%s' is unknown: on, off or both", requested);
    scoring->activations = scoring->options->imatrix ? ORGAN_ACTIVATIONS_OFF : (organ_activations)k;
    return ORGAN_OK;
}

/* A model that does not exist yet has the rounding of the one from which it is made only in its estimates. */
static organ_status set_rounding(const organ_scoring *scoring, organ_scored_model *m, organ_error *error)
{
    const bool planned = m > scoring->models && scoring->made_as != ORGAN_TYPES_STAY;
    m->inputs = planned ? NULL : organ_forward_declared_rounding(m->forward);
    m->declares = planned ? scoring->made_rounds : m->inputs != NULL;
    if (!m->declares || scoring->activations == ORGAN_ACTIVATIONS_OFF)
        return ORGAN_OK;
    return planned ? organ_forward_estimate_rounding(m->forward, error) : organ_forward_round_inputs(m->forward, error);
}

/* If a model that is made from the first has no config.json, it gets the config and the directory of the first. If
 * such a model does not exist yet (scoring->made_as), m->path is that of the first model, and memory is estimated
 * for the converted weights. */
static organ_status open_model(organ_scoring *scoring, organ_scored_model *m, organ_error *error)
{
    m->scoring = scoring;
    if (organ_model_open_with(m->path, scoring->options->access, &m->model, error) ||
        (scoring->options->output && organ_output_check_not_input(scoring->options->output, m->model, error)))
        return error->status;
    if (!scoring->derived) {
        organ_progress_warn_of_model(scoring->progress, m->model);
        if (organ_repair_pair_check_beside(m->model, error))
            return error->status;
    }
    m->bytes += organ_model_tensor_bytes(m->model);
    if (scoring->derived && m > scoring->models && !m->model->gguf && !m->model->config.present) {
        m->model->directory = scoring->models[0].model->directory; /* where the tokenizer and other files are */
        m->model->config = scoring->models[0].model->config;
    }
    if (organ_forward_open(m->model, &scoring->engine, &m->forward, error) != ORGAN_OK ||
        (m > scoring->models && scoring->made_as != ORGAN_TYPES_STAY &&
         organ_forward_estimate(m->forward, scoring->made_as, error)))
        return error->status;
    organ_forward_allow_streaming(m->forward);
    if (!scoring->derived)
        organ_progress_note_remarks(scoring->progress, m->path, organ_forward_weights(m->forward));
    if (scoring->made_as == ORGAN_TYPES_STAY && organ_scoring_warn_fused(scoring, m, error))
        return error->status;
    if (organ_scoring_open_drafts(m, error) || set_rounding(scoring, m, error) ||
        (scoring->made_as == ORGAN_TYPES_STAY && organ_scoring_round_cache(scoring, m, error)))
        return error->status;
    return open_tokenizer(scoring, m, error) ? error->status : check_vocabulary(scoring, m, error);
}

/* Adds a model that is model m without rounding. The forward pass is its own, the model that of m. */
static organ_status add_alone(organ_scoring *scoring, size_t m, organ_error *error)
{
    organ_scored_model *const of = &scoring->models[m], *const alone = &scoring->models[scoring->count];
    *alone = (organ_scored_model){.path = of->path, .model = of->model, .bytes = of->bytes, .scoring = scoring};
    if (organ_forward_open(of->model, &scoring->engine, &alone->forward, error) != ORGAN_OK)
        return error->status;
    of->alone = scoring->count++;
    if (scoring->made_as != ORGAN_TYPES_STAY && organ_forward_estimate(alone->forward, scoring->made_as, error))
        return error->status;
    organ_forward_allow_streaming(alone->forward);
    return scoring->made_as == ORGAN_TYPES_STAY ? organ_scoring_round_cache(scoring, alone, error) : error->status;
}

/* The first of several models is the measure of the others, by its main figures. */
static organ_status add_models_alone(organ_scoring *scoring, organ_error *error)
{
    for (size_t m = scoring->shown > 1 ? 1 : 0; m < scoring->shown && !error->status; m++)
        if (scoring->models[m].declares && scoring->activations == ORGAN_ACTIVATIONS_BOTH)
            add_alone(scoring, m, error);
    return error->status;
}

/* ---- the text ---- */

/* The default length of a window is at most the context of the first model (`made_for`; 0: unknown). A requested
 * length above it gets a note. */
static organ_status choose_protocol(organ_scoring *scoring, organ_error *error)
{
    const organ_experiment_options *const o = scoring->options;
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(scoring->tokenizer);
    const uint64_t made_for = organ_forward_describe(scoring->models[0].forward)->context;
    const char *const style = o->style ? o->style : "hf";
    organ_perplexity_protocol *const p = &scoring->protocol;
    *p = (organ_perplexity_protocol){
        .bos = facts->bos, .eos = facts->eos, .adds_bos = facts->adds_bos, .whole = o->imatrix};
    if (!organ_perplexity_style_parse(style, &p->style))
        return organ_fail(error, ORGAN_USAGE, "`style` '%s' is unknown: hf, llama.cpp or lm-eval", style);
    p->context = p->style == ORGAN_STYLE_LLAMA_CPP ? 512 : 2048;
    if (made_for && made_for < p->context)
        p->context = (size_t)made_for;
    if (o->context)
        p->context = o->context;
    else if (p->context < 4)
        return organ_fail(error, ORGAN_USAGE,
                          "%s supports windows of %zu token%s, but at least 4 are needed: `context` N",
                          scoring->models[0].path, p->context, p->context == 1 ? "" : "s");
    if (made_for && p->context > made_for)
        organ_progress_note(scoring->progress, "windows of %zu tokens exceed the context of %llu that %s supports",
                            p->context, (unsigned long long)made_for, scoring->models[0].path);
    return ORGAN_OK;
}

static size_t used_token_count(const organ_experiment_options *o, size_t tokens)
{
    return o->max_tokens && o->max_tokens < tokens ? o->max_tokens : tokens;
}

static organ_status plan_windows(organ_scoring *scoring, organ_error *error)
{
    const organ_experiment_options *const o = scoring->options;
    /* llama.cpp reads the names of special tokens in a text as characters. */
    if (organ_text_encode(&scoring->text, scoring->tokenizer, scoring->protocol.style != ORGAN_STYLE_LLAMA_CPP,
                          error) != ORGAN_OK)
        return error->status;
    scoring->text_tokens = scoring->text.tokens;
    scoring->used_tokens = used_token_count(o, scoring->text_tokens);
    for (size_t m = 0; m < scoring->count; m++)
        if (organ_forward_check_tokens(scoring->models[m].forward, scoring->text.ids, scoring->used_tokens, error))
            return error->status;
    if (organ_perplexity_plan_make(&scoring->protocol, scoring->text.ids, scoring->used_tokens, o->text, &scoring->plan,
                                   error) == ORGAN_OK)
        organ_scoring_order_windows(scoring, error);
    return error->status;
}

/* ---- memory ---- */

static size_t longest_window(const organ_perplexity_plan *plan)
{
    size_t longest = 0;
    for (size_t w = 0; w < plan->windows; w++)
        longest = organ_max(longest, plan->begin[w + 1] - plan->begin[w]);
    return longest;
}

typedef struct extent {
    organ_scoring *scoring;
    size_t longest, tokens, together; /* tokens of its longest window, of all windows, and of the longest block */
} extent;

static extent extent_of(organ_scoring *scoring)
{
    const organ_perplexity_plan *const plan = &scoring->plan;
    return (extent){scoring, longest_window(plan), plan->begin[plan->windows], organ_scoring_longest_block(scoring)};
}

static bool scores_drafts(const organ_scoring *scoring)
{
    bool any = false;
    for (size_t m = 0; m < scoring->count; m++)
        any = any || scoring->models[m].drafts;
    return any;
}

/* The bytes are allocated during the whole scoring: ids, targets and, for each model, the scores of each token, and
 * the sums of an importance matrix. `tokens` is an upper bound of the number of scored tokens. */
static uint64_t kept_bytes(const organ_scoring *scoring, size_t tokens)
{
    uint64_t of_drafts = 0;
    const organ_token_scores *const s = NULL; /* only for sizeof */
    const size_t each = 2 * sizeof(uint32_t) + scoring->count * sizeof *s->nll +
                        (scoring->count - 1) * (sizeof *s->divergence + sizeof *s->agrees) +
                        (scoring->shared ? sizeof *scoring->models->dropped : 0);
    const uint64_t numbers = scoring->sums ? organ_forward_input_numbers(scoring->models[0].forward) : 0;
    for (size_t m = 0; m < scoring->count; m++)
        if (scoring->models[m].drafts)
            of_drafts +=
                (uint64_t)tokens * (2 * sizeof(double) + 1) + organ_draft_project_bytes(scoring->models[m].forward);
    return scoring->beside + of_drafts + (uint64_t)tokens * each + numbers * sizeof(organ_exact_sum) +
           (scoring->sums ? organ_draft_bytes(scoring->models[0].forward, scoring->protocol.context) : 0);
}

/* For the last rows of other tiles the output head would be read once more. */
static size_t whole_heads(size_t rows) { return rows > ORGAN_HEAD_TOKENS ? rows - rows % ORGAN_HEAD_TOKENS : rows; }

/* Sets memory, engine.memory, batch_tokens, tile_rows and beside_rows of the scoring. kept_bytes are subtracted from
 * `memory` first. With one model the forward pass gets all remaining bytes. With several models, or blocks for
 * multi-token prediction, the forward passes get half of the remaining bytes, the hidden states of all models a
 * quarter, and a tile a quarter: the logits that are compared and the inputs of blocks. Of this quarter the logits of
 * blocks get half. Returns false if a share is too small for a window, or continuations do not fit. */
static bool divide_memory(const extent *e, uint64_t memory)
{
    organ_scoring *const scoring = e->scoring;
    const uint64_t kept = kept_bytes(scoring, e->tokens);
    const bool drafts = scores_drafts(scoring), several = scoring->count > 1, divides = several || drafts;
    uint64_t states = 0, row = 0; /* bytes of a token: its hidden states, and what a tile has of it */
    uint64_t head = 0;            /* bytes of a token in a pass over the head */
    size_t least = SIZE_MAX;
    scoring->memory = memory;
    const uint64_t divided = memory > kept ? memory - kept : 0, tile = drafts ? divided / 8 : divided / 4;
    scoring->divided = divided;
    scoring->engine.memory = divides ? divided / 2 : divided;
    for (size_t m = 0; m < scoring->count; m++) {
        const organ_forward *const forward = scoring->models[m].forward;
        const organ_forward_config *const config = organ_forward_describe(forward);
        least = organ_min(least, organ_forward_batch(forward, e->longest));
        states += (config->state + (scoring->models[m].drafts ? config->hidden : 0)) * sizeof(float);
        row = organ_max(row, ((several ? config->vocabulary : 0) + (drafts ? config->hidden : 0)) * sizeof(float));
        head = organ_max(head, organ_forward_head_bytes(forward, 1));
    }
    if (divides && divided / 4 / states < least)
        least = (size_t)(divided / 4 / states);
    scoring->batch_tokens = organ_min(least, e->together);
    scoring->tile_rows = divides ? whole_heads((size_t)(tile / row)) : 0;
    scoring->beside_rows = drafts ? organ_min(ORGAN_HEAD_TOKENS, (size_t)(tile / head)) : 0;
    return least >= e->longest && (!divides || tile >= row) && organ_scoring_continuations_fit(scoring, divided);
}

static bool fits_window(void *context, uint64_t memory) { return divide_memory(context, memory); }

static bool fits_all(void *context, uint64_t memory)
{
    const extent *const e = context;
    const organ_scoring *const s = e->scoring;
    const size_t head = organ_min(ORGAN_HEAD_TOKENS, e->together);
    bool fits = fits_window(context, memory) && s->batch_tokens == e->together;
    for (size_t m = 0; m < s->count; m++)
        fits = fits && organ_forward_head_rows(s->models[m].forward, s->engine.memory) >= head;
    if (scores_drafts(s))
        fits = fits && s->beside_rows >= head;
    return fits && (s->count == 1 || s->tile_rows >= head);
}

/* Each call of `fits` (fits_window or fits_all) changes members of *scoring, so at the end the original
 * scoring->memory is divided again. */
static uint64_t least_for(organ_scoring *scoring, bool (*fits)(void *context, uint64_t memory))
{
    extent e = extent_of(scoring);
    const uint64_t given = scoring->memory, least = organ_memory_enough(0, fits, &e);
    fits_window(&e, given);
    return least > scoring->text_memory ? least : scoring->text_memory;
}

uint64_t organ_scoring_min_memory(organ_scoring *scoring) { return least_for(scoring, fits_window); }
uint64_t organ_scoring_good_memory(organ_scoring *scoring) { return least_for(scoring, fits_all); }

static organ_status share_memory(organ_scoring *scoring, extent e, organ_error *error)
{
    const size_t shown = scoring->shown, alone = scoring->count - shown;
    char of_them[40] = "";
    if (alone && shown > 1)
        snprintf(of_them, sizeof of_them, " %zu of them", alone);
    return organ_memory_require(&scoring->whole, fits_window, &e, error,
                                "a window of %zu tokens, one layer, %zu tokens in all and %zu model%s%s%s%s", e.longest,
                                e.tokens, shown, shown > 1 ? "s" : "", alone ? "," : "", of_them,
                                alone ? " also without rounding" : "");
}

/* --memory is too small for the text, which *error says; the amount in the message is replaced by one that also
 * suffices for the windows, if they need more. The windows are not planned yet, so their size is an upper bound. */
static organ_status include_windows_in_refusal(organ_scoring *scoring, organ_error *error)
{
    organ_error other = {0};
    const size_t tokens = used_token_count(scoring->options, scoring->text.tokens), context = scoring->protocol.context;
    share_memory(scoring, (extent){scoring, context < tokens ? context : tokens, tokens, tokens}, &other);
    return organ_memory_refuse_both(error, &other);
}

static void describe_text(organ_scoring *scoring)
{
    scoring->utf8 = organ_utf8_valid_within(scoring->text.bytes, scoring->text.size);
    snprintf(scoring->digest, sizeof scoring->digest, "%016llx",
             (unsigned long long)XXH3_64bits(scoring->text.bytes, scoring->text.size));
}

static organ_status load_text(organ_scoring *scoring, organ_error *refusal, organ_error *error)
{
    const bool loaded = organ_text_load(&scoring->text, scoring->options->text, &scoring->whole, error) == ORGAN_OK;
    if (!loaded && !organ_memory_named(error))
        return error->status;
    *refusal = *error;
    *error = (organ_error){0};
    scoring->text_bytes = scoring->text.size;
    if (loaded)
        describe_text(scoring);
    return ORGAN_OK;
}

/* If the memory is too small for the text, *refusal gets this error, *error does not, and the models are opened:
 * a message that also covers the windows needs the models. */
static organ_status open_inputs(organ_scoring *scoring, const char *const *paths, size_t count, organ_error *refusal,
                                organ_error *error)
{
    const organ_experiment_options *const options = scoring->options;
    if (organ_engine_compute(&scoring->engine, "compute", options->compute, error) ||
        organ_scoring_check_cache(scoring, error))
        return error->status;
    if (options->output && organ_output_check(options->output, NULL, options->force, error) != ORGAN_OK)
        return error->status;
    if (!scoring->without_text && load_text(scoring, refusal, error) != ORGAN_OK)
        return error->status;
    if (choose_activations(scoring, error))
        return error->status;
    if (!(scoring->models = calloc(2 * count, sizeof *scoring->models)))
        return organ_fail_errno(error, ENOMEM, "%zu models", count);
    scoring->count = scoring->shown = count;
    for (size_t m = 0; m < count && !error->status; m++) {
        scoring->models[m].path = paths[m];
        open_model(scoring, &scoring->models[m], error);
    }
    if (!error->status && organ_scoring_check_drafts(scoring, error) == ORGAN_OK)
        add_models_alone(scoring, error);
    if (!error->status && options->imatrix && organ_forward_open_draft(scoring->models[0].forward, error) == ORGAN_OK)
        organ_input_sums_open(scoring->models[0].forward, &scoring->engine, &scoring->sums, error);
    return error->status ? error->status : choose_protocol(scoring, error);
}

organ_status organ_scoring_fit(organ_scoring *scoring, organ_error *error)
{
    const extent windows = extent_of(scoring);
    scoring->text_memory = organ_text_memory(&scoring->text);
    organ_text_release(&scoring->text);
    if (scoring->whole.share && scoring->whole.memory == 0)
        organ_memory_prefer(&scoring->whole, organ_scoring_good_memory(scoring));
    return share_memory(scoring, windows, error);
}

static organ_status open_all(organ_scoring *scoring, const char *const *paths, size_t count, organ_error *error)
{
    organ_error refusal = {0};
    if (open_inputs(scoring, paths, count, &refusal, error) != ORGAN_OK)
        return error->status;
    *error = refusal;
    if (!refusal.status)
        plan_windows(scoring, error);
    if (organ_memory_named(error))
        include_windows_in_refusal(scoring, error);
    return error->status ? error->status : organ_scoring_fit(scoring, error);
}

/* scoring->engine gets an amount of memory, which may be 0, also if that of the run is automatic. */
static void set_engine(organ_scoring *scoring, const organ_engine *engine)
{
    scoring->whole = scoring->engine = *engine;
    scoring->engine.share = NULL;
    scoring->memory = scoring->engine.memory = organ_engine_memory(engine);
}

organ_status organ_scoring_open_inputs(organ_scoring *scoring, const char *const *paths, size_t count,
                                       const organ_experiment_options *options, const organ_engine *engine,
                                       const organ_progress *progress, organ_error *error)
{
    organ_error refusal = {0};
    *scoring = (organ_scoring){.options = options, .progress = progress};
    set_engine(scoring, engine);
    if (open_inputs(scoring, paths, count, &refusal, error) == ORGAN_OK && refusal.status)
        *error = refusal;
    return error->status;
}

organ_status organ_scoring_open_shared(organ_scoring *scoring, const char *const *paths, size_t count,
                                       const organ_shared_tokens *shared, const organ_experiment_options *options,
                                       const organ_engine *engine, const organ_progress *progress, organ_error *error)
{
    organ_error refusal = {0};
    *scoring = (organ_scoring){.options = options, .shared = shared, .without_text = true, .progress = progress};
    set_engine(scoring, engine);
    return open_inputs(scoring, paths, count, &refusal, error);
}

organ_status organ_scoring_open(organ_scoring *scoring, const char *const *paths, size_t count,
                                const organ_experiment_options *options, organ_scoring_stop stop,
                                organ_scored_drafts mtp, const organ_engine *engine, const organ_progress *progress,
                                organ_error *error)
{
    *scoring = (organ_scoring){.options = options, .mtp = mtp, .stop = stop, .progress = progress};
    set_engine(scoring, engine);
    return open_all(scoring, paths, count, error);
}

organ_status organ_scoring_open_made(organ_scoring *scoring, const char *before, const char *after,
                                     organ_type_change as, bool rounds, const organ_experiment_options *options,
                                     const organ_engine *engine, const organ_progress *progress, organ_error *error)
{
    const char *const paths[2] = {before, after ? after : before};
    *scoring = (organ_scoring){.options = options, .derived = true, .progress = progress};
    set_engine(scoring, engine);
    scoring->made_as = after ? ORGAN_TYPES_STAY : as;
    scoring->made_rounds = rounds;
    return open_all(scoring, paths, 2, error);
}

void organ_scoring_close(organ_scoring *scoring)
{
    for (size_t m = 0; m < scoring->count; m++) {
        organ_scored_model *const model = &scoring->models[m];
        ORGAN_FREE_ARRAYS(model->hidden, model->drafted, model->scores.nll, model->scores.divergence,
                          model->scores.agrees, model->block.overlap, model->block.chosen, model->block.greedy,
                          model->dropped);
        organ_forward_close(model->forward);
        if (m < scoring->shown)
            organ_model_close(model->model);
    }
    organ_input_sums_close(scoring->sums);
    organ_perplexity_plan_release(&scoring->plan);
    ORGAN_FREE_ARRAYS(scoring->order, scoring->proposed);
    organ_tokenizer_close(scoring->tokenizer);
    free(scoring->models);
    organ_text_release(&scoring->text);
}

/* ---- the run ---- */

/* Experts are joined to one name, with '*' for their numbers. */
static void add_unrun(void *context, const char *tensor)
{
    static const char word[] = ".experts.";
    json_t *const unrun = context, *const names = json_object_get(unrun, "names");
    const char *const experts = strstr(tensor, word), *const number = experts ? experts + strlen(word) : tensor;
    const size_t digits = experts ? strspn(number, "0123456789") : 0;
    char name[512];
    snprintf(name, sizeof name, "%.*s%s%.400s", (int)organ_min(number - tensor, 100), tensor, digits ? "*" : "",
             number + digits);
    const json_t *const last = json_array_get(names, json_array_size(names) - 1);
    json_object_set_new(unrun, "matrices", json_integer(organ_json_count(unrun, "matrices") + 1));
    if (!last || strcmp(json_string_value(last), name) != 0)
        json_array_append_new(names, json_string(name));
}

json_t *organ_scoring_unrun_json(const organ_scoring *scoring)
{
    json_t *const unrun = ORGAN_OBJECT(SET_COUNT("matrices", 0), SET("names", json_array()));
    if (unrun)
        organ_forward_visit_unrun_drafts(scoring->models[0].forward, unrun, add_unrun);
    if (json_array_size(json_object_get(unrun, "names")) > 0)
        return unrun;
    json_decref(unrun);
    return json_null();
}

static organ_status load_draft(organ_scored_model *m, unsigned number, organ_layer **layer, organ_error *error)
{
    if (organ_layer_load_to_run(m->forward, (int32_t)number, layer, error) == ORGAN_OK)
        organ_layer_tap_heads(*layer, organ_input_sums_heads_tap(m->scoring->sums));
    return error->status;
}

/* `layer` is one that is not needed any more, or NULL. Several blocks are loaded again for each window, because each
 * needs the outputs of the one before. */
static organ_status carry_drafts(organ_scored_model *m, const organ_windows *windows, organ_layer **layer,
                                 organ_error *error)
{
    const organ_forward_config *const c = organ_forward_describe(m->forward);
    const unsigned count = organ_forward_drafts(m->forward);
    for (size_t w = 0; w < windows->count && !error->status; w++)
        for (unsigned k = 0; k < count && !error->status; k++) {
            const organ_tap tap = organ_input_sums_tap(m->scoring->sums, c->layers + k);
            if ((w == 0 || count > 1) && load_draft(m, c->layers + k, layer, error) != ORGAN_OK)
                return error->status;
            organ_draft_run(m->forward, *layer, windows->tokens + windows->begin[w],
                            windows->begin[w + 1] - windows->begin[w], m->hidden + windows->begin[w] * c->state, &tap,
                            error);
        }
    return error->status;
}

organ_status organ_scoring_carry(organ_scored_model *m, const organ_windows *windows, organ_error *error)
{
    const organ_scoring *const scoring = m->scoring;
    organ_input_sums *const sums = m == scoring->models ? scoring->sums : NULL;
    const unsigned layers = organ_forward_describe(m->forward)->layers;
    if (organ_forward_embed(m->forward, windows, m->hidden, error) != ORGAN_OK)
        return error->status;
    organ_layer *layer = NULL;
    for (unsigned l = 0; l < layers && !error->status; l++) {
        const organ_tap tap = sums ? organ_input_sums_tap(sums, l) : (organ_tap){0};
        if (organ_stop_is_requested(scoring->engine.stop))
            organ_fail(error, ORGAN_INTERRUPTED, "stopped before layer %u", l);
        else if (organ_layer_load_to_run(m->forward, (int32_t)l, &layer, error) == ORGAN_OK) {
            organ_layer_tap_heads(layer, sums ? organ_input_sums_heads_tap(sums) : NULL);
            organ_layer_run(m->forward, layer, windows, m->hidden, sums ? &tap : NULL, error);
        }
        organ_progress_advance(scoring->progress, m->bytes * (l + 1) / layers - m->bytes * l / layers, NULL, NULL);
    }
    /* Blocks for multi-token prediction run for the importance matrix, and the first one again for its scores. */
    if (!error->status && sums && organ_forward_has_draft(m->forward))
        carry_drafts(m, windows, &layer, error);
    if (!error->status && m->drafted && organ_layer_load_to_run(m->forward, (int32_t)layers, &layer, error) == ORGAN_OK)
        organ_draft_windows(m->forward, layer, windows, m->hidden, m->drafted, error);
    organ_layer_free(layer);
    if (!error->status && sums && sums->head) {
        const organ_tap tap = organ_input_sums_head_tap(sums);
        organ_forward_tap_head(m->forward, m->hidden, windows->begin[windows->count], &tap, error);
    }
    return error->status;
}
