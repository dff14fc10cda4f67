/* SPDX-License-Identifier: MIT
 * The feed-forward of a layer, FORWARD_GROUP tokens at a time, or more in a streamed layer. */
#include "orchestrator/forward/forward_job.h"
#include "orchestrator/machine/extent.h"

#include <math.h>
#include <string.h>

/* If layers may be streamed, the number is enough for a streamed layer, which processes more tokens together; if the
 * state of a token is wider than its hidden state, that layer also needs contiguous copies of the hidden states. */
size_t organ_forward_ffn_room(const organ_forward *f, uint64_t memory, size_t tokens)
{
    const organ_forward_config *c = &f->config;
    const bool streams = f->may_stream;
    const size_t together = organ_min(tokens, streams ? organ_forward_stream_tokens(f, memory) : FORWARD_GROUP);
    const size_t in_memory = c->experts ? organ_forward_experts_room(c, organ_min(together, FORWARD_GROUP)) : 0;
    const size_t mixed = organ_max(in_memory, streams ? organ_forward_stream_room(c, together) : 0),
                 dense = c->shortcut ? organ_min(together, FORWARD_GROUP) : together,
                 copies = streams && c->state > c->hidden;
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
        organ_forward_combine(g, requested, NULL, tokens, (float)(1 / sqrt((double)c->hidden)), error) ||
        organ_forward_experts(g, first, tokens, normed, requested, routed, routed + floats, error) ||
        organ_forward_norm_all(g, PART_NORM_POST_FFN_EXPERTS, routed, routed, tokens, error))
        return error->status;
    return organ_forward_combine(g, out, routed, tokens, 1, error);
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

/* FORWARD_GROUP tokens are processed at a time; a streamed layer processes more tokens together, so that it reads
 * each expert less often. */
organ_status organ_forward_ffn(forward_group *g, organ_error *error)
{
    const organ_forward_config *c = &g->forward->config;
    const size_t together =
        g->layer->reserved ? organ_forward_stream_tokens(g->forward, g->forward->engine->memory) : FORWARD_GROUP;
    /* A layer in memory gets contiguous hidden states from organ_forward_block; a streamed one copies them here. */
    const bool copied = g->layer->reserved && c->state > c->hidden;
    for (size_t first = 0; g->layer->kind->feed && first < g->tokens; first += together) {
        const size_t tokens = organ_min(together, g->tokens - first);
        float *hidden = copied ? g->room : g->hidden + first * c->hidden;
        float *normed = g->room + copied * tokens * c->hidden, *out = normed + tokens * c->hidden;
        float *scratch = out + tokens * c->hidden;
        const float *const from = g->entered ? g->entered + first * c->hidden : hidden;
        if (copied)
            organ_forward_copy_hidden(g, first, tokens, hidden, false);
        if (organ_forward_norm_all(g, PART_NORM_FFN, from, normed, tokens, error) ||
            organ_forward_keep_normed(g, 1, normed, hidden, tokens, error))
            return error->status;
        if (c->dual_ffn && g->layer->plan->experts ? ffn_both(g, first, tokens, hidden, normed, out, scratch, error)
                                                   : run_feed_forward(g, first, tokens, normed, out, scratch, error))
            return error->status;
        if (organ_forward_add_all(g, PART_NORM_POST_FFN, hidden, out, tokens, error))
            return error->status;
        if (copied)
            organ_forward_copy_hidden(g, first, tokens, hidden, true);
    }
    return ORGAN_OK;
}
