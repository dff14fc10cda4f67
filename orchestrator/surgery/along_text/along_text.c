/* SPDX-License-Identifier: MIT
 * The windows of a calibration text, and the memory that their hidden states take. */
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/machine/enough_memory.h"
#include "formats/base/path.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/stream/transfer.h"
#include "orchestrator/surgery/along_text/job.h"
#include "orchestrator/surgery/interface/interface.h"
#include "orchestrator/surgery/inputs/inputs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define CHUNK_TOKENS ((size_t)1024) /* as many as a forward pass takes together */

/* The option that says how many windows. */
static const char *counted_by(const organ_along_options *o) { return o->counted ? o->counted : "--samples"; }

/* Lowers the number of windows to what the text has room for. For a reserve the number falls by 1/64 a step: at most
 * 900 steps. */
static organ_status fit_samples(organ_along_text *along, organ_error *error)
{
    organ_along_options *const o = along->options;
    const size_t count = along->facts.tokens, windows = count / o->calibration.context, least = o->least ? o->least : 1;
    const unsigned asked = o->calibration.samples;
    if (count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no tokens: there is nothing to calibrate by",
                          o->calibration.text);
    if (windows < least)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: has %zu token%s, which is %zu window%s of %u (--context), and at least %zu %s needed",
                          o->calibration.text, count, count == 1 ? "" : "s", windows, windows == 1 ? "" : "s",
                          o->calibration.context, least, least == 1 ? "is" : "are");
    const unsigned there = o->calibration.samples = windows < asked ? (unsigned)windows : asked;
    while (o->reserve && o->calibration.samples > least && !organ_along_rest_has(along, o->reserve)) {
        const size_t fewer = o->calibration.samples - 1 - o->calibration.samples / 64;
        o->calibration.samples = (unsigned)(fewer > least ? fewer : least);
    }
    if (o->reserve && !organ_along_rest_has(along, o->reserve))
        o->calibration.samples = there; /* organ_along_rest_cut reports the error */
    if (o->calibration.samples < asked)
        organ_progress_note(along->progress, "%s has %zu tokens: %u window%s of %u %s used, not %u (%s)",
                            o->calibration.text, count, o->calibration.samples, o->calibration.samples == 1 ? "" : "s",
                            o->calibration.context, o->calibration.samples == 1 ? "is" : "are", asked, counted_by(o));
    return ORGAN_OK;
}

static organ_status along_text_cut(organ_along_text *along, const uint32_t *ids, organ_error *error)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(along->facts.tokenizer);
    const char *const path = along->options->calibration.text;
    if (fit_samples(along, error) != ORGAN_OK)
        return error->status;
    const size_t samples = along->options->calibration.samples, context = along->options->calibration.context;
    along->tokens = malloc(samples * context * sizeof *along->tokens);
    along->begin = calloc(samples + 1, sizeof *along->begin);
    if (!along->tokens || !along->begin)
        return organ_fail_memory(error, path);
    for (size_t w = 0; w < samples; w++) {
        memcpy(along->tokens + w * context, ids + organ_along_window_at(along, w), context * sizeof *ids);
        if (facts->adds_bos && facts->bos >= 0)
            along->tokens[w * context] = (uint32_t)facts->bos;
        along->begin[w + 1] = (w + 1) * context;
    }
    along->facts.windows = (organ_windows){along->tokens, samples, along->begin};
    return ORGAN_OK;
}

/* The longest rows of all targets together are what a chunk keeps of its inputs. */
static uint64_t kept_bytes(const organ_along_text *along, uint64_t chunk_tokens)
{
    uint64_t most = 0;
    const organ_targets *const targets = along->targets;
    for (size_t k = 0; k < targets->count;) {
        uint64_t sum = 0;
        const int32_t layer = targets->tensors[k]->anatomy.layer;
        for (; k < targets->count && targets->tensors[k]->anatomy.layer == layer; k++)
            sum += targets->tensors[k]->anatomy.expert < 0 ? organ_along_matrices(along, targets->tensors[k]).cols : 0;
        most = sum > most ? sum : most;
    }
    return along->options->streams == ORGAN_ALONG_BOTH ? most * chunk_tokens * sizeof(float) : 0;
}

/* Bytes that work on the largest matrix needs, without its moments. */
static uint64_t work_bytes(const organ_along_text *along)
{
    const organ_along_work *const work = along->work;
    uint64_t most = 0;
    for (size_t k = 0; k < along->targets->count; k++) {
        const organ_tensor *const tensor = along->targets->tensors[k];
        const organ_matrices m = organ_along_matrices(along, tensor);
        const uint64_t bytes = m.rows * m.cols * sizeof(float) + work->memory(work->context, along, tensor);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static organ_along_chunks chunks_of(const organ_along_options *o, const organ_forward *forward)
{
    const size_t full = o->calibration.context < CHUNK_TOKENS ? CHUNK_TOKENS / o->calibration.context : 1,
                 samples = o->calibration.samples;
    const size_t token = (size_t)organ_forward_describe(forward)->state * sizeof(float);
    return (organ_along_chunks){samples, full < samples ? full : samples, 0, 1, o->calibration.context * token};
}

static bool two_streams(const organ_along_options *o) { return o->streams == ORGAN_ALONG_BOTH; }

/* Returns true if layers run on copies of the states. */
static bool copied(const organ_along_options *o, const organ_forward *forward)
{
    return o->streams != ORGAN_ALONG_DONOR || (o->reruns && organ_forward_describe(forward)->experts > 0);
}

/* Bytes for chunks 0, step, 2 step and so on. The tokens of the text are counted only if the states are in a scratch
 * file, because they are small compared with states in memory. */
static uint64_t states_memory(const organ_along_options *o, const organ_forward *forward, bool scratch, size_t step)
{
    organ_along_chunks chunks = chunks_of(o, forward);
    const uint64_t tokens = (uint64_t)o->calibration.samples * o->calibration.context * sizeof(uint32_t);
    chunks.step = step;
    return organ_along_states_memory(&chunks, copied(o, forward), scratch) +
           (two_streams(o) ? organ_along_states_memory(&chunks, false, scratch) : 0) + (scratch ? tokens : 0);
}

uint64_t organ_along_memory(const organ_along_options *options, const organ_forward *forward)
{
    return states_memory(options, forward, options->calibration.scratch != NULL, 1);
}

/* Inputs of a token that the targets of a layer get in all streams, and the widest of them once more; of the layer
 * where that is most. */
static uint64_t most_heard(const organ_along_text *along)
{
    const organ_targets *const targets = along->targets;
    const organ_forward_config *const config = organ_forward_describe(along->facts.forward);
    uint64_t most = 0;
    for (size_t k = 0; k < targets->count;) {
        uint64_t plain = 0, experts = 0, widest = 0;
        const int32_t layer = targets->tensors[k]->anatomy.layer;
        for (; k < targets->count && targets->tensors[k]->anatomy.layer == layer; k++) {
            const organ_matrices m = organ_along_matrices(along, targets->tensors[k]);
            if (m.count > 1 || targets->tensors[k]->anatomy.expert >= 0)
                experts = config->experts_used * (config->hidden + config->expert_intermediate);
            else
                plain += m.cols;
            widest = m.cols > widest ? m.cols : widest;
        }
        const uint64_t sum = plain * (two_streams(along->options) ? 2 : 1) + experts + widest;
        most = sum > most ? sum : most;
    }
    return most;
}

/* Additional bytes that each of several ranks needs: recorded inputs of its own chunk and a buffer for those of others,
 * minus the states of other ranks' chunks, at least half of all states. */
static uint64_t exchange_bytes(const organ_along_text *along, bool scratch)
{
    const organ_along_options *const o = along->options;
    const uint64_t heard = most_heard(along) * along->chunks.together * o->calibration.context * sizeof(float);
    const uint64_t less =
        states_memory(o, along->facts.forward, scratch, 1) - states_memory(o, along->facts.forward, scratch, 2);
    return organ_ranks_count(along->engine->ranks) > 1 && heard > less ? heard - less : 0;
}

/* The bytes that must remain after the forward pass. */
typedef struct along_text_beside {
    const organ_along_text *along;
    uint64_t wanted;
} along_text_beside;

static bool leaves_more(void *context, uint64_t memory)
{
    const along_text_beside *const b = context;
    return organ_forward_left(b->along->facts.forward, memory, b->along->options->calibration.context) > b->wanted;
}

/* Bytes needed in addition to the states. */
static uint64_t kept_beside(const organ_along_text *along, bool scratch)
{
    const organ_along_work *const work = along->work;
    const uint64_t gathering = kept_bytes(along, along->chunks.together * along->options->calibration.context),
                   working = work_bytes(along);
    return (gathering > working ? gathering : working) +
           (work->beside ? work->beside(work->context, along, scratch) : 0);
}

static along_text_beside wanted_of(const organ_along_text *along, bool scratch)
{
    const uint64_t states = states_memory(along->options, along->facts.forward, scratch, 1);
    return (along_text_beside){along, states + kept_beside(along, scratch) + exchange_bytes(along, scratch)};
}

uint64_t organ_along_enough(const organ_along_text *along)
{
    along_text_beside b = wanted_of(along, along->options->calibration.scratch != NULL);
    const uint64_t work = organ_memory_enough(0, leaves_more, &b);
    return work > along->text_memory ? work : along->text_memory;
}

/* Second moments of a layer's targets as whole matrices, each target with moments of its own; of the layer with most.
 */
static uint64_t whole_moments(const organ_along_text *along)
{
    const organ_targets *const targets = along->targets;
    uint64_t most = 0;
    for (size_t k = 0; k < targets->count;) {
        uint64_t sum = 0;
        const int32_t layer = targets->tensors[k]->anatomy.layer;
        for (; k < targets->count && targets->tensors[k]->anatomy.layer == layer; k++) {
            const organ_matrices m = organ_along_matrices(along, targets->tensors[k]);
            const bool expert = m.count > 1 || targets->tensors[k]->anatomy.expert >= 0;
            if (!expert || !along->work->mixtures)
                sum += m.count * organ_calibration_memory(m.cols, m.rows, two_streams(along->options) && !expert, true);
        }
        most = sum > most ? sum : most;
    }
    return most;
}

/* A sixteenth of the memory is set aside for threads (organ_forward_spare). */
uint64_t organ_along_good(const organ_along_text *along)
{
    const uint64_t moments = whole_moments(along);
    return organ_along_enough(along) + (moments ? moments + moments / 15 + 1 : 0);
}

static organ_status refuse_memory(const organ_along_text *along, organ_error *error)
{
    const organ_along_options *const o = along->options;
    const uint64_t memory = along->engine->memory;
    along_text_beside here = wanted_of(along, o->calibration.scratch != NULL), scratch = wanted_of(along, true);
    organ_memory_refuse(error, memory, organ_memory_enough(memory, leaves_more, &here),
                        "the hidden states of %u windows (%s) of %u tokens (--context), a layer and what %s it takes",
                        o->calibration.samples, counted_by(o), o->calibration.context, o->doing);
    if (!o->calibration.scratch && scratch.wanted < here.wanted)
        organ_memory_offer_scratch(error, organ_memory_enough(0, leaves_more, &scratch));
    return error->status;
}

static organ_status open_states(organ_along_text *along, organ_error *error)
{
    const organ_along_options *const o = along->options;
    const uint64_t bytes = organ_along_states_bytes(&along->chunks) * (two_streams(o) ? 2 : 1);
    organ_along_states_open(&along->chunks, copied(o, along->facts.forward), o->calibration.scratch, &along->states,
                            error);
    if (two_streams(o) && !error->status)
        organ_along_states_open(&along->chunks, false, o->calibration.scratch, &along->donor_states, error);
    return error->status || !o->calibration.scratch
               ? error->status
               : organ_transfer_room(o->calibration.scratch, o->calibration.scratch,
                                     "the hidden states (--scratch) need", bytes, error);
}

static void set_chunks(organ_along_text *along)
{
    along->chunks = chunks_of(along->options, along->facts.forward);
    along->chunks.first = organ_ranks_rank(along->engine->ranks);
    along->chunks.step = organ_ranks_count(along->engine->ranks);
}

static bool holds_work(const organ_along_text *along)
{
    along_text_beside b = wanted_of(along, along->options->calibration.scratch != NULL);
    return leaves_more(&b, along->engine->memory);
}

static organ_status along_text_share_memory(organ_along_text *along, organ_error *error)
{
    const organ_along_options *const o = along->options;
    const organ_forward *const forward = along->facts.forward;
    set_chunks(along);
    const uint64_t states = organ_along_memory(o, forward), kept = kept_beside(along, o->calibration.scratch != NULL);
    if (!holds_work(along))
        return refuse_memory(along, error);
    /* Not by what this number of threads or ranks leaves: whether moments are whole would depend on it, and with it the
     * result. */
    along->moments_memory = organ_forward_spare(forward, o->calibration.context) - states - kept;
    return open_states(along, error);
}

static void note_context(const organ_along_text *along)
{
    const uint64_t made_for = organ_forward_describe(along->facts.forward)->context;
    if (made_for && along->options->calibration.context > made_for)
        organ_progress_note(along->progress, "windows of %u tokens are longer than the %llu that %s was made for",
                            along->options->calibration.context, (unsigned long long)made_for, along->model->path);
}

organ_status organ_along_check(unsigned samples, unsigned context, organ_error *error)
{
    if (!organ_within(samples, ORGAN_SAMPLES))
        return organ_fail(error, ORGAN_USAGE, "%u samples are not in %d .. %d", samples, ORGAN_SAMPLES);
    if (!organ_within(context, ORGAN_CONTEXTS))
        return organ_fail(error, ORGAN_USAGE, "a context of %u tokens is not in %d .. %d", context, ORGAN_CONTEXTS);
    return ORGAN_OK;
}

/* If the text does not fit in memory, the amount in the message includes the memory for the work. */
static organ_status along_text_load(organ_along_text *along, organ_text_input *text, organ_error *error)
{
    organ_along_facts *const facts = &along->facts;
    organ_error other = {0}, fault = {0};
    const bool loaded =
        organ_text_load(text, along->options->calibration.text, along->engine->memory, error) == ORGAN_OK;
    if ((!loaded && !organ_memory_named(error)) ||
        organ_tokenizer_open(along->model, &facts->tokenizer, loaded ? error : &fault) ||
        organ_forward_open(along->model, along->engine, &facts->forward, loaded ? error : &fault))
        return error->status;
    if (loaded)
        organ_text_encode(text, facts->tokenizer, true, error);
    if (!organ_memory_named(error) || !along->work)
        return error->status;
    set_chunks(along);
    if (!holds_work(along))
        refuse_memory(along, &other);
    return organ_memory_refuse_both(error, &other);
}

/* Only work that asks for it gets matrices that the file has as in_features x out_features. */
static organ_status refuse_crossed(const organ_along_text *along, organ_error *error)
{
    const bool crossed = !along->work || along->work->crossed;
    for (size_t k = 0; !crossed && along->targets && k < along->targets->count; k++)
        if (organ_forward_is_crossed(along->facts.forward, along->targets->tensors[k]))
            return organ_fail(error, ORGAN_USAGE,
                              "tensor '%s': is stored as in_features x out_features, which %s does not support",
                              along->targets->tensors[k]->name, along->options->method);
    return ORGAN_OK;
}

static organ_status read_text(organ_along_text *along, organ_error *error)
{
    organ_along_facts *const facts = &along->facts;
    organ_text_input text = {0};
    if (along_text_load(along, &text, error) == ORGAN_OK) {
        facts->bytes = text.size;
        facts->tokens = text.tokens;
        along->text_memory = organ_text_memory(&text);
        snprintf(facts->digest, sizeof facts->digest, "%016llx",
                 (unsigned long long)XXH3_64bits(text.bytes, text.size));
        along_text_cut(along, text.ids, error);
    }
    organ_text_release(&text);
    if (!error->status && organ_along_check_targets(along, error) == ORGAN_OK &&
        refuse_crossed(along, error) == ORGAN_OK)
        note_context(along);
    if (!error->status && along->work)
        along_text_share_memory(along, error);
    return error->status;
}

organ_status organ_along_open(organ_along_options *options, const organ_model *model, const organ_targets *targets,
                              const organ_along_work *work, const organ_engine *engine, const organ_progress *progress,
                              organ_along_text **along, organ_error *error)
{
    *along = NULL;
    if (!(*along = malloc(sizeof **along)))
        return organ_fail_memory(error, options->calibration.text);
    **along = (organ_along_text){
        .options = options, .model = model, .targets = targets, .work = work, .engine = engine, .progress = progress};
    return read_text(*along, error);
}

void organ_along_close(organ_along_text *along)
{
    if (!along)
        return;
    organ_along_free_states(along);
    free(along->tokens);
    free(along->begin);
    free(along->levels);
    organ_forward_close(along->facts.forward);
    organ_tokenizer_close(along->facts.tokenizer);
    free(along);
}

const organ_along_facts *organ_along_describe(const organ_along_text *along) { return &along->facts; }

const organ_along_chunks *organ_along_chunks_of(const organ_along_text *along) { return &along->chunks; }

uint64_t organ_along_spare(const organ_along_text *along) { return along->moments_memory; }

json_t *organ_along_json(const organ_along_text *along, const char *streams)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(along->facts.tokenizer);
    const organ_along_options *const o = along->options;
    return ORGAN_OBJECT(
        SET("text", ORGAN_OBJECT(SET_BYTES("name", organ_path_name(o->calibration.text)),
                                 SET_COUNT("bytes", along->facts.bytes), SET_TEXT("xxh3", along->facts.digest),
                                 SET_COUNT("tokens", along->facts.tokens))),
        SET("tokenizer", ORGAN_OBJECT(SET_TEXT("kind", facts->kind), SET_COUNT("vocabulary", facts->vocabulary),
                                      SET_TEXT("digest", facts->digest))),
        SET_COUNT("samples", o->calibration.samples), SET_COUNT("context", o->calibration.context),
        SET_COUNT("tokens", o->calibration.samples * (json_int_t)o->calibration.context),
        SET_TEXT("windows", "evenly spread from the first token of the text to the last, without overlap"),
        SET_TEXT("bos", facts->adds_bos && facts->bos >= 0 ? "BOS in place of the first token of every window"
                                                           : "no BOS: the model's tokenizer puts none before a text"),
        SET_TEXT("streams", streams), SET_IF(o->all_experts, "all_experts", json_true()));
}
