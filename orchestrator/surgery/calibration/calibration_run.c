/* SPDX-License-Identifier: MIT
 * Opens a walk, in which the calibration text runs through the model layer by layer, and the layers' matrices are
 * changed. Cuts the windows of the text, and divides the memory between hidden states, the caller's work and second
 * moments. */
#include "orchestrator/surgery/calibration/calibration_parts.h"

#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define CHUNK_TOKENS ((size_t)1024) /* tokens that a forward pass processes together */

static const char *counted_by(const organ_calibration_run_options *o) { return o->counted ? o->counted : "`samples`"; }

/* o->calibration.samples falls to the number of windows that the text has room for. If tokens must be left for test
 * windows (o->reserve), it then falls by 1/64 at a time until enough are left, but not below `least`. Returns
 * ORGAN_BAD_INPUT if the text has fewer than `least` windows. */
static organ_status fit_samples(organ_calibration_run *calib, organ_error *error)
{
    organ_calibration_run_options *const o = calib->options;
    const size_t count = calib->facts.tokens, windows = count / o->calibration.context,
                 least = o->min_windows ? o->min_windows : 1;
    const unsigned requested = o->calibration.samples;
    if (count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no tokens to calibrate on: give a longer text",
                          o->calibration.text);
    if (windows < least)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: has %zu token%s, which is %zu window%s of %u (`context`), but at least %zu %s needed: "
                          "give a longer text or a smaller `context`",
                          o->calibration.text, count, count == 1 ? "" : "s", windows, windows == 1 ? "" : "s",
                          o->calibration.context, least, least == 1 ? "is" : "are");
    const unsigned possible = o->calibration.samples = windows < requested ? (unsigned)windows : requested;
    while (o->reserve && o->calibration.samples > least && !organ_calibration_has_test_tokens(calib, o->reserve)) {
        const size_t fewer = o->calibration.samples - 1 - o->calibration.samples / 64;
        o->calibration.samples = (unsigned)(fewer > least ? fewer : least);
    }
    if (o->reserve && !organ_calibration_has_test_tokens(calib, o->reserve))
        o->calibration.samples = possible; /* organ_calibration_cut_test_windows reports the error */
    if (o->calibration.samples < requested)
        organ_progress_note(calib->progress, "%s has %zu tokens: %u window%s of %u %s used, not %u (%s)",
                            o->calibration.text, count, o->calibration.samples, o->calibration.samples == 1 ? "" : "s",
                            o->calibration.context, o->calibration.samples == 1 ? "is" : "are", requested,
                            counted_by(o));
    return ORGAN_OK;
}

/* If the tokenizer adds a BOS token, it replaces the first token of each window. `ids`: the tokens of the text. */
static organ_status calib_cut(organ_calibration_run *calib, const uint32_t *ids, organ_error *error)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(calib->facts.tokenizer);
    const char *const path = calib->options->calibration.text;
    if (fit_samples(calib, error) != ORGAN_OK)
        return error->status;
    const size_t samples = calib->options->calibration.samples, context = calib->options->calibration.context;
    calib->tokens = malloc(samples * context * sizeof *calib->tokens);
    calib->begin = calloc(samples + 1, sizeof *calib->begin);
    if (!calib->tokens || !calib->begin)
        return organ_fail_memory(error, path);
    for (size_t w = 0; w < samples; w++) {
        memcpy(calib->tokens + w * context, ids + organ_calibration_window_at(calib, w), context * sizeof *ids);
        if (facts->adds_bos && facts->bos >= 0)
            calib->tokens[w * context] = (uint32_t)facts->bos;
        calib->begin[w + 1] = (w + 1) * context;
    }
    calib->facts.windows = (organ_windows){calib->tokens, samples, calib->begin};
    return ORGAN_OK;
}

/* Returns the largest sum of a layer. The targets are sorted by layer. */
static uint64_t max_of_layers(const organ_calibration_run *calib,
                              uint64_t (*of)(const organ_calibration_run *calib, const organ_tensor *target))
{
    uint64_t max = 0;
    const organ_targets *const targets = calib->targets;
    for (size_t k = 0; k < targets->count;) {
        uint64_t sum = 0;
        const int32_t layer = targets->tensors[k]->anatomy.layer;
        for (; k < targets->count && targets->tensors[k]->anatomy.layer == layer; k++)
            sum += of(calib, targets->tensors[k]);
        max = sum > max ? sum : max;
    }
    return max;
}

static uint64_t kept_values(const organ_calibration_run *calib, const organ_tensor *target)
{
    return target->anatomy.expert < 0 ? organ_calibration_matrices(calib, target).cols : 0;
}

/* `capture` of captures.c keeps inputs of the changed stream for a chunk until the donor's inputs arrive. Returns
 * their bytes in the layer with the most inputs; 0 unless both streams are used. */
static uint64_t kept_bytes(const organ_calibration_run *calib, uint64_t chunk_tokens)
{
    return calib->options->streams == ORGAN_INPUTS_BOTH
               ? max_of_layers(calib, kept_values) * chunk_tokens * sizeof(float)
               : 0;
}

/* The bytes are those of a matrix in FP32 and of work->memory, without its moments. */
static uint64_t work_bytes(const organ_calibration_run *calib)
{
    const organ_calibration_work *const work = calib->work;
    uint64_t max = 0;
    for (size_t k = 0; k < calib->targets->count; k++) {
        const organ_tensor *const tensor = calib->targets->tensors[k];
        const organ_matrices m = organ_calibration_matrices(calib, tensor);
        const uint64_t bytes = m.rows * m.cols * sizeof(float) + work->memory(work->context, calib, tensor);
        max = bytes > max ? bytes : max;
        organ_rows_passed();
    }
    return max;
}

organ_calibration_chunks organ_calibration_chunks_make(size_t windows, size_t context, uint64_t width)
{
    const size_t full = context < CHUNK_TOKENS ? CHUNK_TOKENS / context : 1;
    return (organ_calibration_chunks){windows, organ_min(full, windows), 0, 1, context * (size_t)width * sizeof(float)};
}

/* set_chunks divides the chunks among ranks. */
static organ_calibration_chunks chunks_of(const organ_calibration_run_options *o, const organ_forward *forward)
{
    return organ_calibration_chunks_make(o->calibration.samples, o->calibration.context,
                                         organ_forward_describe(forward)->state);
}

static bool two_streams(const organ_calibration_run_options *o) { return o->streams == ORGAN_INPUTS_BOTH; }

organ_status organ_calibration_moments_parse(const char *moments, bool *blocks, organ_error *error)
{
    *blocks = moments && strcmp(moments, "blocks") == 0;
    return !moments || *blocks || strcmp(moments, "whole") == 0
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE, "`moments` '%s' is unknown: whole or blocks", moments);
}

/* Chunks 0, step, 2 step, ... count, in all streams. The token ids of the windows are counted only if the states are
 * in a scratch file: states in memory are so much larger that the ids do not matter. */
static uint64_t states_memory(const organ_calibration_run_options *o, const organ_forward *forward, bool scratch,
                              size_t step)
{
    organ_calibration_chunks chunks = chunks_of(o, forward);
    const uint64_t tokens = (uint64_t)o->calibration.samples * o->calibration.context * sizeof(uint32_t);
    chunks.step = step;
    return organ_calibration_states_memory(&chunks, organ_calibration_runs_on_copies(o, forward), scratch) +
           (two_streams(o) ? organ_calibration_states_memory(&chunks, /*copied=*/false, scratch) : 0) +
           (scratch ? tokens : 0);
}

uint64_t organ_calibration_run_memory(const organ_calibration_run_options *options, const organ_forward *forward)
{
    return states_memory(options, forward, options->calibration.scratch != NULL, /*step=*/1);
}

/* The inputs of the layer's targets count in all streams, plus the widest input again for the buffer of other ranks'
 * inputs. Only as many experts of a layer count as the router chooses for a token. */
static uint64_t max_captured(const organ_calibration_run *calib)
{
    const organ_targets *const targets = calib->targets;
    const organ_forward_config *const config = organ_forward_describe(calib->facts.forward);
    uint64_t max = 0;
    for (size_t k = 0; k < targets->count;) {
        uint64_t plain = 0, experts = 0, widest = 0;
        const int32_t layer = targets->tensors[k]->anatomy.layer;
        for (; k < targets->count && targets->tensors[k]->anatomy.layer == layer; k++) {
            const organ_matrices m = organ_calibration_matrices(calib, targets->tensors[k]);
            if (m.count > 1 || targets->tensors[k]->anatomy.expert >= 0)
                experts = config->experts_used * (config->hidden + config->expert_intermediate);
            else
                plain += m.cols;
            widest = m.cols > widest ? m.cols : widest;
        }
        const uint64_t sum = plain * (two_streams(calib->options) ? 2 : 1) + experts + widest;
        max = sum > max ? sum : max;
    }
    return max;
}

/* Each of several ranks needs the recorded inputs of its chunk and a buffer for inputs of other ranks. The states
 * that other ranks hold are subtracted: those of every second chunk, as with two ranks. The result is at least 0. */
static uint64_t exchange_bytes(const organ_calibration_run *calib, bool scratch)
{
    const organ_calibration_run_options *const o = calib->options;
    const uint64_t captured = max_captured(calib) * calib->chunks.together * o->calibration.context * sizeof(float);
    const uint64_t less = states_memory(o, calib->facts.forward, scratch, /*step=*/1) -
                          states_memory(o, calib->facts.forward, scratch, /*step=*/2);
    return organ_ranks_count(calib->engine->ranks) > 1 && captured > less ? captured - less : 0;
}

/* ---- the least memory ---- */

typedef struct calib_extra_memory {
    const organ_calibration_run *calib;
    uint64_t requested; /* bytes */
} calib_extra_memory;

static bool leaves_more(void *context, uint64_t memory)
{
    const calib_extra_memory *const b = context;
    return organ_forward_memory_left(b->calib->facts.forward, memory, b->calib->options->calibration.context) >
           b->requested;
}

/* Those of the outputs of a block for a chunk. */
static uint64_t block_bytes(const organ_calibration_run *calib)
{
    const uint64_t tokens = calib->chunks.together * calib->options->calibration.context;
    return calib->options->drafts && organ_forward_has_draft(calib->facts.forward)
               ? tokens * organ_forward_describe(calib->facts.forward)->hidden * sizeof(float)
               : 0;
}

static uint64_t extra_bytes(const organ_calibration_run *calib, bool scratch)
{
    const organ_calibration_work *const work = calib->work;
    const uint64_t captures = kept_bytes(calib, calib->chunks.together * calib->options->calibration.context),
                   working = work_bytes(calib);
    return (captures > working ? captures : working) +
           organ_draft_bytes(calib->facts.forward, calib->options->calibration.context) + block_bytes(calib) +
           (work->extra ? work->extra(work->context, calib, scratch) : 0);
}

/* `moments`: bytes of second moments. */
static calib_extra_memory extra_memory_of(const organ_calibration_run *calib, bool scratch, uint64_t moments)
{
    const uint64_t states = states_memory(calib->options, calib->facts.forward, scratch, /*step=*/1);
    return (calib_extra_memory){calib, states + extra_bytes(calib, scratch) + exchange_bytes(calib, scratch) + moments};
}

static bool has_scratch(const organ_calibration_run *calib) { return calib->options->calibration.scratch != NULL; }

static const organ_calibration_needs *needs_of(const organ_calibration_run *calib)
{
    return &calib->needs[calib->options->blocks];
}

uint64_t organ_calibration_run_moments(const organ_calibration_run *calib) { return needs_of(calib)->least; }

static uint64_t memory_with(const organ_calibration_run *calib, uint64_t moments)
{
    calib_extra_memory b = extra_memory_of(calib, has_scratch(calib), moments);
    const uint64_t work = organ_memory_enough(/*given=*/0, leaves_more, &b);
    return work > calib->text_memory ? work : calib->text_memory;
}

uint64_t organ_calibration_run_min_memory(const organ_calibration_run *calib)
{
    return memory_with(calib, needs_of(calib)->least);
}

uint64_t organ_calibration_run_max_memory(const organ_calibration_run *calib)
{
    return memory_with(calib, needs_of(calib)->all);
}

/* The message states the amount that suffices, the one with hidden states in a file (--scratch) if it is less, and the
 * one with --moments blocks if that is less. */
static organ_status claim_memory(const organ_calibration_run *calib, organ_error *error)
{
    const organ_calibration_run_options *const o = calib->options;
    const organ_calibration_needs *const needs = needs_of(calib);
    calib_extra_memory here = extra_memory_of(calib, has_scratch(calib), needs->least),
                       scratch = extra_memory_of(calib, /*scratch=*/true, needs->least);
    const uint64_t with_blocks = calib->needs[/*blocks=*/true].least, blocks = memory_with(calib, with_blocks);
    char moments[120] = "", option[24];
    if (!o->blocks && with_blocks < needs->least)
        snprintf(moments, sizeof moments,
                 ", its second moments (`moments` blocks needs %s in all and gives a larger error)",
                 organ_quantity_option(blocks, option));
    if (organ_memory_require(
            calib->engine, leaves_more, &here, error,
            "the hidden states of %u windows (%s) of %u tokens (`context`), one layer%s and the work memory of %s it",
            o->calibration.samples, counted_by(o), o->calibration.context, moments, o->doing) != ORGAN_OK &&
        !o->calibration.scratch && scratch.requested < here.requested)
        organ_memory_offer_scratch(error, organ_memory_enough(/*given=*/0, leaves_more, &scratch));
    return error->status;
}

static organ_status open_states(organ_calibration_run *calib, organ_error *error)
{
    const organ_calibration_run_options *const o = calib->options;
    const uint64_t bytes = organ_calibration_states_bytes(&calib->chunks) * (two_streams(o) ? 2 : 1);
    organ_calibration_states_open(&calib->chunks, organ_calibration_runs_on_copies(o, calib->facts.forward),
                                  o->calibration.scratch, &calib->states, error);
    if (two_streams(o) && !error->status)
        organ_calibration_states_open(&calib->chunks, /*copied=*/false, o->calibration.scratch, &calib->donor_states,
                                      error);
    return error->status || !o->calibration.scratch
               ? error->status
               : organ_transfer_room(o->calibration.scratch, o->calibration.scratch,
                                     "the hidden states (`scratch`) need", bytes, error);
}

static void set_chunks(organ_calibration_run *calib)
{
    calib->chunks = chunks_of(calib->options, calib->facts.forward);
    calib->chunks.first = organ_ranks_rank(calib->engine->ranks);
    calib->chunks.step = organ_ranks_count(calib->engine->ranks);
}

/* Ranks need the same number, because it decides how often they run a layer together. */
static organ_status agree_on_moments(organ_calibration_run *calib, organ_error *error)
{
    organ_ranks *const ranks = calib->engine->ranks;
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
    if (organ_ranks_count(ranks) < 2)
        return error->status;
    organ_ranks_gather(ranks, "dividing the memory", &calib->moments_memory, sizeof calib->moments_memory, &all, error);
    for (size_t r = 0; r < all.count && !error->status; r++) {
        uint64_t bytes = 0;
        memcpy(&bytes, all.of[r], sizeof bytes);
        calib->moments_memory = bytes < calib->moments_memory ? bytes : calib->moments_memory;
    }
    return error->status;
}

/* With these bytes more, several small matrices of a layer are solved at a time. */
static uint64_t together_bytes(const organ_calibration_run *calib)
{
    const size_t workers = organ_workers_count(calib->engine->workers);
    return workers > 1 && calib->work->solve ? organ_min(3 * calib->work_memory, (uint64_t)workers << 27) : 0;
}

static organ_status calib_share_memory(organ_calibration_run *calib, organ_error *error)
{
    const organ_calibration_run_options *const o = calib->options;
    const organ_forward *const forward = calib->facts.forward;
    set_chunks(calib);
    if (organ_calibration_find_needs(calib, error) == ORGAN_OK && claim_memory(calib, error) == ORGAN_OK) {
        calib->work_memory = work_bytes(calib);
        organ_memory_prefer(calib->engine, organ_calibration_run_max_memory(calib) + together_bytes(calib));
        /* If the threads need less than the sixteenth that is reserved for them, the rest of it is not used. */
        calib->moments_memory = organ_forward_spare_memory(forward, o->calibration.context) -
                                organ_calibration_run_memory(o, forward) - extra_bytes(calib, has_scratch(calib));
    }
    return agree_on_moments(calib, error) == ORGAN_OK ? open_states(calib, error) : error->status;
}

static void note_context(const organ_calibration_run *calib)
{
    const uint64_t made_for = organ_forward_describe(calib->facts.forward)->context;
    if (made_for && calib->options->calibration.context > made_for)
        organ_progress_note(calib->progress, "windows of %u tokens exceed the context of %llu that %s supports",
                            calib->options->calibration.context, (unsigned long long)made_for, calib->model->path);
}

organ_status organ_calibration_run_check(unsigned samples, unsigned context, organ_error *error)
{
    if (!organ_within(samples, ORGAN_SAMPLES))
        return organ_fail(error, ORGAN_USAGE, "%u samples are outside %d .. %d", samples, ORGAN_SAMPLES);
    if (!organ_within(context, ORGAN_CONTEXTS))
        return organ_fail(error, ORGAN_USAGE, "a context of %u tokens is outside %d .. %d", context, ORGAN_CONTEXTS);
    return ORGAN_OK;
}

/* If the memory is too small for the text, tokenizer and forward pass are still opened to find what the walk needs.
 * The message then states an amount that suffices for text and walk. */
static organ_status calib_load(organ_calibration_run *calib, organ_text_input *text, organ_error *error)
{
    organ_calibration_run_facts *const facts = &calib->facts;
    organ_error other = {0}, fault = {0};
    const bool loaded = organ_text_load(text, calib->options->calibration.text, calib->engine, error) == ORGAN_OK;
    organ_status (*const open)(const organ_model *, const organ_engine *, organ_forward **, organ_error *) =
        calib->options->unpacked ? organ_forward_open_unpacked : organ_forward_open;
    if ((!loaded && !organ_memory_named(error)) ||
        organ_tokenizer_open(calib->model, &facts->tokenizer, loaded ? error : &fault) ||
        open(calib->model, calib->engine, &facts->forward, loaded ? error : &fault) ||
        organ_calibration_open_drafts(facts->forward, calib->targets, loaded ? error : &fault) ||
        (calib->options->drafts && organ_calibration_open_blocks(facts->forward, loaded ? error : &fault)) ||
        (calib->work && calib->work->opened &&
         calib->work->opened(calib->work->context, calib, loaded ? error : &fault)))
        return error->status;
    if (calib->options->file_layers && organ_forward_describe(facts->forward)->shortcut)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: the forward pass runs each of its layers as two, which '%s' does not support",
                          calib->model->path, calib->options->method);
    if (loaded)
        organ_text_encode(text, facts->tokenizer, /*special=*/true, error);
    if (!organ_memory_named(error) || !calib->work)
        return error->status;
    set_chunks(calib);
    if (organ_calibration_find_needs(calib, &other) == ORGAN_OK)
        claim_memory(calib, &other);
    return organ_memory_refuse_both(error, &other);
}

static organ_status refuse_transposed(const organ_calibration_run *calib, organ_error *error)
{
    const bool transposed = !calib->work || calib->work->transposed;
    for (size_t k = 0; !transposed && calib->targets && k < calib->targets->count; k++)
        if (organ_forward_is_transposed(calib->facts.forward, calib->targets->tensors[k]))
            return organ_fail(error, ORGAN_USAGE,
                              "tensor '%s': is stored as in_features x out_features, which %s does not support",
                              calib->targets->tensors[k]->name, calib->options->method);
    return ORGAN_OK;
}

static organ_status read_text(organ_calibration_run *calib, organ_error *error)
{
    organ_calibration_run_facts *const facts = &calib->facts;
    organ_text_input text = {0};
    if (calib_load(calib, &text, error) == ORGAN_OK) {
        facts->bytes = text.size;
        facts->tokens = text.tokens;
        calib->text_memory = organ_text_memory(&text);
        snprintf(facts->digest, sizeof facts->digest, "%016llx",
                 (unsigned long long)XXH3_64bits(text.bytes, text.size));
        if (organ_forward_check_tokens(facts->forward, text.ids, text.tokens, error) == ORGAN_OK)
            calib_cut(calib, text.ids, error);
    }
    organ_text_release(&text);
    organ_rows_rest();
    if (!error->status && organ_calibration_check_targets(calib, error) == ORGAN_OK &&
        refuse_transposed(calib, error) == ORGAN_OK)
        note_context(calib);
    if (!error->status && calib->work)
        calib_share_memory(calib, error);
    return error->status;
}

/* The bits of results depend on the instructions, and ranks share results. */
static organ_status choose_compute(organ_calibration_run *calib, organ_error *error)
{
    organ_engine *const own = &calib->with_compute;
    const char *const name = calib->options->calibration.compute;
    if (!organ_compute_is_reduced(name))
        return ORGAN_OK;
    organ_engine_compute(own, "calibration.compute", name, error);
    const char *const isa = own->dots ? own->dots->isa : "";
    organ_gathered all = {0};
    organ_ranks_gather(own->ranks, "choosing the arithmetic", isa, strlen(isa), &all, error);
    for (size_t r = 1; r < all.count && !error->status; r++)
        if (strcmp(all.of[r], all.of[0]) != 0)
            organ_fail(
                error, ORGAN_USAGE,
                "`calibration.compute` %s: rank 0 has the instructions %s, rank %zu has %s, which give other bits: use "
                "machines of one kind, or `calibration.compute` exact",
                name, all.of[0], r, all.of[r]);
    organ_gathered_release(&all);
    return error->status;
}

organ_status organ_calibration_run_open(organ_calibration_run_options *options, const organ_model *model,
                                        const organ_targets *targets, const organ_calibration_work *work,
                                        const organ_engine *engine, const organ_progress *progress,
                                        organ_calibration_run **calib, organ_error *error)
{
    *calib = NULL;
    if (!(*calib = malloc(sizeof **calib)))
        return organ_fail_memory(error, options->calibration.text);
    **calib = (organ_calibration_run){.options = options,
                                      .model = model,
                                      .targets = targets,
                                      .work = work,
                                      .engine = &(*calib)->with_compute,
                                      .with_compute = *engine,
                                      .progress = progress};
    return choose_compute(*calib, error) == ORGAN_OK ? read_text(*calib, error) : error->status;
}

void organ_calibration_run_close(organ_calibration_run *calib)
{
    if (!calib)
        return;
    organ_calibration_free_states(calib);
    ORGAN_FREE_ARRAYS(calib->tokens, calib->begin, calib->levels);
    organ_forward_close(calib->facts.forward);
    organ_tokenizer_close(calib->facts.tokenizer);
    free(calib);
}

const organ_calibration_run_facts *organ_calibration_run_facts_of(const organ_calibration_run *calib)
{
    return &calib->facts;
}

const organ_engine *organ_calibration_engine(const organ_calibration_run *calib) { return calib->engine; }

const organ_calibration_chunks *organ_calibration_chunks_of(const organ_calibration_run *calib)
{
    return &calib->chunks;
}

uint64_t organ_calibration_run_spare_memory(const organ_calibration_run *calib) { return calib->moments_memory; }

json_t *organ_calibration_run_json(const organ_calibration_run *calib, const char *streams)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(calib->facts.tokenizer);
    const organ_calibration_run_options *const o = calib->options;
    return ORGAN_OBJECT(
        SET("text", ORGAN_OBJECT(SET_BYTES("name", organ_path_name(o->calibration.text)),
                                 SET_COUNT("bytes", calib->facts.bytes), SET_TEXT("xxh3", calib->facts.digest),
                                 SET_COUNT("tokens", calib->facts.tokens))),
        SET("tokenizer", ORGAN_OBJECT(SET_TEXT("kind", facts->kind), SET_COUNT("vocabulary", facts->vocabulary),
                                      SET_TEXT("digest", facts->digest))),
        SET_COUNT("samples", o->calibration.samples), SET_COUNT("context", o->calibration.context),
        SET_REDUCED_COMPUTE(calib->engine, o->calibration.compute),
        SET_COUNT("tokens", o->calibration.samples * (json_int_t)o->calibration.context),
        SET_TEXT("windows", "evenly spread from the first token of the text to the last, without overlap"),
        SET_TEXT("bos", facts->adds_bos && facts->bos >= 0 ? "BOS in place of the first token of every window"
                                                           : "no BOS: the model's tokenizer puts none before a text"),
        SET_TEXT("streams", streams), SET_IF(o->all_experts, "all_experts", json_true()));
}
