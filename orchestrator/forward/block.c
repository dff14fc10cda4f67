/* SPDX-License-Identifier: MIT
 * A layer on a group of windows: mixers, feed-forward, and what some architectures add. */
#include "orchestrator/forward/connections.h"
#include "orchestrator/forward/mixers.h"

#include "orchestrator/machine/quantity.h"

#include <math.h>
#include <string.h>

/* ---- the mixers of a layer ---- */

static const forward_mixer mixers[] = {
    [ORGAN_MIXER_ATTENTION] = {organ_forward_attention, organ_forward_attention_width, NULL,
                               organ_forward_attention_scratch},
    [ORGAN_MIXER_DELTA] = {organ_forward_delta, organ_forward_delta_width, organ_forward_delta_state,
                           organ_forward_delta_scratch},
    [ORGAN_MIXER_SHORT_CONV] = {organ_forward_short_conv, organ_forward_short_conv_width,
                                organ_forward_short_conv_state, organ_forward_short_conv_scratch},
    [ORGAN_MIXER_MAMBA] = {organ_forward_mamba, organ_forward_mamba_width, organ_forward_mamba_state,
                           organ_forward_mamba_scratch},
    [ORGAN_MIXER_MAMBA2] = {organ_forward_mamba2, organ_forward_mamba2_width, organ_forward_mamba2_state,
                            organ_forward_mamba2_scratch},
    [ORGAN_MIXER_LIGHTNING] = {organ_forward_lightning, organ_forward_lightning_width, organ_forward_lightning_state,
                               organ_forward_lightning_scratch},
    [ORGAN_MIXER_COMPRESSED] = {organ_forward_compressed, organ_forward_compressed_width, NULL,
                                organ_forward_compressed_scratch},
};

/* Returns whether mixers need a copy of their input, times a multiplier. */
static bool mixers_scale_inputs(const organ_forward_config *c)
{
    return c->multipliers.attention_in != 1 || c->multipliers.recurrent_in != 1;
}

bool organ_forward_attends(const organ_layer_kind *kind)
{
    return kind->mixer == ORGAN_MIXER_ATTENTION || kind->second == ORGAN_MIXER_ATTENTION ||
           kind->mixer == ORGAN_MIXER_COMPRESSED;
}

size_t organ_forward_mixer_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    const forward_mixer *const one = &mixers[kind->mixer], *const two = &mixers[kind->second];
    const size_t first = one->width ? one->width(c, kind) : 0, second = two->width ? two->width(c, kind) : 0;
    const size_t rows = (two->run ? 1 : 0) + mixers_scale_inputs(c); /* the output of the second; the scaled input */
    return organ_max(first, second) + rows * (size_t)c->hidden;
}

size_t organ_forward_mixer_state(const organ_forward_config *c, const organ_layer_kind *kind)
{
    const forward_mixer *const one = &mixers[kind->mixer], *const two = &mixers[kind->second];
    return (one->state ? one->state(c) : 0) + (two->state ? two->state(c) : 0);
}

size_t organ_forward_mixer_scratch(const organ_forward_config *c)
{
    size_t max = 0;
    for (unsigned l = 0; l < c->layers; l++) {
        const organ_mixer of_layer[2] = {c->kinds[l].mixer, c->kinds[l].second};
        for (size_t k = 0; k < 2; k++)
            max = organ_max(max, mixers[of_layer[k]].scratch ? mixers[of_layer[k]].scratch(c) : 0);
    }
    return max;
}

static size_t mixer_room(const organ_forward *f, size_t tokens)
{
    /* 2 x hidden: the normed input and the output; 64 x 6: a reserve */
    return tokens * (f->mixer_width + 2 * (size_t)f->config.hidden) + 64 * 6 +
           organ_forward_choice_room(&f->config, tokens, tokens);
}

/* Multiplies input and output by the multipliers of Falcon-H1. */
static organ_status run_mixer(forward_group *g, organ_mixer mixer, const float *normed, float *out, float *scratch,
                              organ_error *error)
{
    const organ_multipliers *const m = &g->forward->config.multipliers;
    const bool attends = mixer == ORGAN_MIXER_ATTENTION;
    const float of_input = attends ? m->attention_in : m->recurrent_in,
                of_output = attends ? m->attention_out : m->recurrent_out;
    const float *input = normed;
    if (of_input != 1) {
        const size_t floats = g->tokens * (size_t)g->forward->config.hidden;
        input = memcpy(scratch, normed, floats * sizeof *scratch);
        if (organ_forward_combine(g, scratch, /*from=*/NULL, g->tokens, of_input, error))
            return error->status;
        scratch += floats;
    }
    if (mixers[mixer].run(g, input, out, scratch, error) == ORGAN_OK && of_output != 1)
        organ_forward_combine(g, out, /*from=*/NULL, g->tokens, of_output, error);
    return error->status;
}

/* A hybrid layer runs two mixers on the same input and adds the sum of their outputs. The state of recurrent mixers
 * in the cache is cleared if no token was processed before. */
static organ_status forward_mix(forward_group *g, organ_error *error)
{
    const organ_layer_kind *const kind = g->layer->kind;
    const size_t floats = g->tokens * (size_t)g->forward->config.hidden;
    float *const normed = g->room, *const out = normed + floats, *const other = out + floats;
    ORGAN_IN_PHASE(ORGAN_PHASE_MIXERS);
    if (kind->mixer == ORGAN_MIXER_NONE)
        return ORGAN_OK;
    if (g->before && g->before->tokens == 0)
        memset(g->before->state, 0, organ_forward_mixer_state(&g->forward->config, kind) * sizeof *normed);
    if (organ_forward_norm_all(g, PART_NORM_ATTENTION, g->hidden, normed, g->tokens, error))
        return error->status;
    if (organ_forward_keep_normed(g, /*half=*/0, normed, g->hidden, g->tokens, error))
        return error->status;
    if (kind->second == ORGAN_MIXER_NONE)
        run_mixer(g, kind->mixer, normed, out, other, error);
    else if (run_mixer(g, kind->mixer, normed, out, other, error) == ORGAN_OK &&
             run_mixer(g, kind->second, normed, other, other + floats, error) == ORGAN_OK)
        organ_forward_combine(g, out, other, g->tokens, /*scale=*/1, error);
    return error->status ? error->status
                         : organ_forward_add_all(g, PART_NORM_POST_ATTENTION, g->hidden, out, g->tokens, error);
}

/* ---- the feed-forward of a layer, FORWARD_GROUP tokens at a time, or more in a streamed layer ---- */

/* If layers may be streamed, the number is enough for a streamed layer, which processes more tokens together; if the
 * state of a token is wider than its hidden state, that layer also needs contiguous copies of the hidden states. */
static size_t ffn_room(const organ_forward *f, uint64_t memory, size_t tokens)
{
    const organ_forward_config *c = &f->config;
    const bool streams = f->may_stream;
    const size_t together = organ_min(tokens, streams ? organ_forward_stream_tokens(f, memory) : FORWARD_GROUP);
    const size_t in_memory = c->experts ? organ_forward_experts_room(c, organ_min(together, FORWARD_GROUP)) : 0;
    const size_t mixed = organ_max(in_memory, streams ? organ_forward_stream_room(c, together) : 0),
                 dense = c->shortcut ? organ_min(together, FORWARD_GROUP) : together,
                 copies = streams && (c->state > c->hidden || c->connections.streams);
    return (copies + (c->dual_ffn ? 4 : 2)) * together * (size_t)c->hidden +
           organ_max(mixed, 2 * dense * f->dense_width);
}

/* In Gemma 4, out = norm_1(dense(normed)) + norm_2(experts(norm_3(hidden))). The router's input is RMSNorm(hidden) with
 * the weights of PART_ROUTER_SCALE, times 1 / sqrt(hidden_size). Overwrites `normed`. */
static organ_status ffn_both(forward_group *g, size_t first, size_t tokens, const float *hidden, float *normed,
                             float *out, float *scratch, organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    const size_t inner = (size_t)g->layer->kind->intermediate, floats = tokens * (size_t)c->hidden;
    float *const requested = scratch, *const routed = requested + floats;
    if (organ_forward_gated(g, PART_GATE, inner, first, tokens, normed, out, scratch, error) ||
        organ_forward_norm_all(g, PART_NORM_POST_FFN_DENSE, out, out, tokens, error) ||
        organ_forward_norm_all(g, PART_NORM_EXPERTS, hidden, normed, tokens, error) ||
        organ_forward_norm_all(g, PART_ROUTER_SCALE, hidden, requested, tokens, error) ||
        organ_forward_combine(g, requested, /*from=*/NULL, tokens, (float)(1 / sqrt((double)c->hidden)), error) ||
        organ_forward_experts(g, first, tokens, normed, requested, routed, routed + floats, error) ||
        organ_forward_norm_all(g, PART_NORM_POST_FFN_EXPERTS, routed, routed, tokens, error))
        return error->status;
    return organ_forward_combine(g, out, routed, tokens, /*scale=*/1, error);
}

/* In LongCat-Flash, if the layer has a mixture, its output for the same input is stored in the states of the tokens. If
 * not, the output of the mixture of the layer before is read from these states and added to `out`. */
static organ_status ffn_shortcut(forward_group *g, size_t first, size_t tokens, const float *normed, float *out,
                                 float *scratch, organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    const size_t inner = (size_t)g->layer->kind->intermediate, hidden = (size_t)c->hidden;
    float *const routed = g->states + first * c->state + hidden;
    const bool mixture = g->layer->plan->experts;
    if (mixture && organ_forward_experts(g, first, tokens, normed, normed, out, scratch, error))
        return error->status;
    for (size_t t = 0; mixture && t < tokens; t++)
        memcpy(routed + t * c->state, out + t * hidden, hidden * sizeof *out);
    for (size_t k = 0; k < tokens; k += FORWARD_GROUP)
        if (organ_forward_gated(g, PART_GATE, inner, first + k, organ_min(FORWARD_GROUP, tokens - k),
                                normed + k * hidden, out + k * hidden, scratch, error))
            return error->status;
    for (size_t t = 0; !mixture && t < tokens; t++)
        for (size_t x = 0; x < hidden; x++)
            out[t * hidden + x] += routed[t * c->state + x];
    return ORGAN_OK;
}

static organ_status run_feed_forward(forward_group *g, size_t first, size_t tokens, const float *normed, float *out,
                                     float *scratch, organ_error *error)
{
    const size_t inner = (size_t)g->layer->kind->intermediate;
    if (g->forward->config.shortcut)
        return ffn_shortcut(g, first, tokens, normed, out, scratch, error);
    return g->layer->plan->experts
               ? organ_forward_experts(g, first, tokens, normed, normed, out, scratch, error)
               : organ_forward_gated(g, PART_GATE, inner, first, tokens, normed, out, scratch, error);
}

/* Sets `hidden` to the input of a half of the layer: the hidden states of the tokens or, with hyper-connections, sums
 * of their streams. Does nothing if `hidden` is the states, because they have only a hidden state. */
static organ_status enter_half(const forward_group *g, forward_part half, size_t first, size_t tokens, float *hidden,
                               organ_error *error)
{
    if (g->forward->config.connections.streams)
        return organ_forward_connect_in(g, half, first, tokens, hidden, error);
    if (hidden != g->states)
        organ_forward_copy_hidden(g, first, tokens, hidden, /*back=*/false);
    return error->status;
}

/* The reverse of enter_half: with hyper-connections `hidden` is the output of the half. */
static organ_status leave_half(const forward_group *g, forward_part half, size_t first, size_t tokens, float *hidden,
                               organ_error *error)
{
    if (g->forward->config.connections.streams)
        return organ_forward_connect_out(g, half, first, tokens, hidden, error);
    if (hidden != g->states)
        organ_forward_copy_hidden(g, first, tokens, hidden, /*back=*/true);
    return error->status;
}

static organ_status change_half(const forward_group *g, organ_error *error)
{
    return leave_half(g, PART_CONNECT_MIXER, 0, g->tokens, g->hidden, error)
               ? error->status
               : enter_half(g, PART_CONNECT_FEED, 0, g->tokens, g->hidden, error);
}

/* FORWARD_GROUP tokens are processed at a time; a streamed layer processes more tokens together, so that it reads
 * each expert less often. */
organ_status organ_forward_ffn(forward_group *g, organ_error *error)
{
    const organ_forward_config *c = &g->forward->config;
    const size_t together = g->layer->reserved
                                ? organ_forward_stream_tokens(g->forward, organ_engine_memory(g->forward->engine))
                                : FORWARD_GROUP;
    ORGAN_IN_PHASE(ORGAN_PHASE_FEED_FORWARD);
    /* A layer in memory gets contiguous hidden states from organ_forward_block; a streamed one copies them here. */
    const bool copied = g->layer->reserved && (c->state > c->hidden || c->connections.streams);
    for (size_t first = 0; g->layer->kind->feed && first < g->tokens; first += together) {
        const size_t tokens = organ_min(together, g->tokens - first);
        /* g->room: the copies of the hidden states, their norms, the outputs, and the scratch of the feed-forward */
        float *hidden = copied ? g->room : g->hidden + first * c->hidden;
        float *normed = g->room + (copied ? tokens * c->hidden : 0), *out = normed + tokens * c->hidden;
        float *scratch = out + tokens * c->hidden;
        const float *const from = g->entered ? g->entered + first * c->hidden : hidden;
        if (copied && enter_half(g, PART_CONNECT_FEED, first, tokens, hidden, error))
            return error->status;
        if (organ_forward_norm_all(g, PART_NORM_FFN, from, normed, tokens, error) ||
            organ_forward_keep_normed(g, /*half=*/1, normed, hidden, tokens, error))
            return error->status;
        if (c->dual_ffn && g->layer->plan->experts ? ffn_both(g, first, tokens, hidden, normed, out, scratch, error)
                                                   : run_feed_forward(g, first, tokens, normed, out, scratch, error))
            return error->status;
        if (organ_forward_add_all(g, PART_NORM_POST_FFN, hidden, out, tokens, error))
            return error->status;
        if (copied && leave_half(g, PART_CONNECT_FEED, first, tokens, hidden, error))
            return error->status;
    }
    return ORGAN_OK;
}

/* A buffer is tokens x hidden numbers: two with AltUp (a copy of the hidden states and the output of the low-rank
 * path), one if the states are wider than the hidden size, else none. */
static size_t copies_of(const organ_forward_config *c)
{
    if (c->streams)
        return 2;
    return c->state > c->hidden || c->connections.streams;
}

size_t organ_forward_block_room(const organ_forward *f, uint64_t memory, size_t tokens, size_t batch)
{
    const organ_forward_config *const c = &f->config;
    size_t max = organ_max(mixer_room(f, tokens), ffn_room(f, memory, batch));
    max = organ_max(max, organ_forward_per_layer_room(c, tokens));
    if (c->streams)
        max = organ_max(max, organ_forward_streams_room(c, tokens));
    return (copies_of(c) + c->parallel) * tokens * (size_t)c->hidden + max;
}

static organ_status add_per_layer(forward_group *g, organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    const size_t hidden = (size_t)c->hidden;
    for (size_t first = 0; first < g->tokens; first += FORWARD_GROUP) {
        const size_t tokens = organ_min(FORWARD_GROUP, g->tokens - first);
        float *const x = g->hidden + first * hidden, *const out = g->room;
        if (organ_forward_per_layer(g, first, tokens, x, out, out + tokens * hidden, error))
            return error->status;
        if (organ_forward_combine(g, x, out, tokens, /*scale=*/1, error))
            return error->status;
    }
    return ORGAN_OK;
}

static organ_status run_plain(forward_group *g, organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    const float *const scale = organ_forward_values(g->layer, PART_LAYER_SCALE);
    if (enter_half(g, PART_CONNECT_MIXER, 0, g->tokens, g->hidden, error))
        return error->status;
    if (g->entered)
        memcpy(g->entered, g->hidden, g->tokens * (size_t)c->hidden * sizeof *g->entered);
    if (forward_mix(g, error) || (c->connections.streams && change_half(g, error)) || organ_forward_ffn(g, error) ||
        (c->per_layer_width && add_per_layer(g, error)) ||
        (scale && organ_forward_combine(g, g->hidden, /*from=*/NULL, g->tokens, *scale, error)))
        return error->status;
    return leave_half(g, PART_CONNECT_FEED, 0, g->tokens, g->hidden, error);
}

static organ_status run_streams(forward_group *g, organ_error *error)
{
    if (organ_forward_streams_predict(g, error) || organ_forward_laurel(g, error) || forward_mix(g, error) ||
        organ_forward_laurel_add(g, error))
        return error->status;
    return organ_forward_ffn(g, error) || organ_forward_streams_correct(g, error)
               ? error->status
               : organ_forward_streams_per_layer(g, error);
}

/* The start of g->room is used for copies of hidden states (g->hidden, g->laurel, g->entered) that some
 * architectures need; g->room is the remainder until the function returns. */
organ_status organ_forward_block(forward_group *g, organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    float *const scratch = g->room;
    const size_t floats = g->tokens * (size_t)c->hidden;
    g->hidden = copies_of(c) ? scratch : g->states;
    g->laurel = scratch + floats;
    g->entered = c->parallel ? scratch + copies_of(c) * floats : NULL;
    g->room = scratch + (copies_of(c) + c->parallel) * floats;
    if (c->streams)
        run_streams(g, error);
    else
        run_plain(g, error);
    g->room = scratch;
    return error->status;
}

organ_status organ_forward_block_mix(forward_group *g, organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    float *const scratch = g->room;
    const bool wide = copies_of(c) > 0;
    g->hidden = wide ? scratch : g->states;
    g->room = scratch + (wide ? g->tokens * (size_t)c->hidden : 0);
    if (enter_half(g, PART_CONNECT_MIXER, 0, g->tokens, g->hidden, error) == ORGAN_OK &&
        forward_mix(g, error) == ORGAN_OK)
        leave_half(g, PART_CONNECT_MIXER, 0, g->tokens, g->hidden, error);
    g->room = scratch;
    return error->status;
}
