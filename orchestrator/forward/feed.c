/* SPDX-License-Identifier: MIT
 * The feed-forward half of a layer, FORWARD_GROUP tokens at a time. */
#include "orchestrator/forward/job.h"
#include "orchestrator/machine/extent.h"

/* Streamed layers process more tokens together; for other layers of the model that is more than they need. */
size_t organ_forward_feed_room(const organ_forward *f, uint64_t memory, size_t tokens)
{
    const organ_forward_config *c = &f->config;
    const bool streams = f->may_stream;
    const size_t together = organ_lesser(tokens, streams ? organ_forward_stream_tokens(f, memory) : FORWARD_GROUP);
    const size_t in_memory = c->experts ? organ_forward_experts_room(c, organ_lesser(together, FORWARD_GROUP)) : 0;
    const size_t mixed = organ_larger(in_memory, streams ? organ_forward_stream_room(c, together) : 0);
    return 2 * together * (size_t)c->hidden + organ_larger(mixed, 2 * together * f->dense_width);
}

organ_status organ_forward_feed(forward_group *g, organ_error *error)
{
    const organ_forward_config *c = &g->forward->config;
    const size_t together =
        g->layer->reserved ? organ_forward_stream_tokens(g->forward, g->forward->engine->memory) : FORWARD_GROUP;
    for (size_t first = 0; first < g->tokens; first += together) {
        const size_t tokens = organ_lesser(together, g->tokens - first);
        float *hidden = g->hidden + first * c->hidden, *normed = g->room, *out = normed + tokens * c->hidden;
        float *room = out + tokens * c->hidden;
        const float *const from = g->entered ? g->entered + first * c->hidden : hidden;
        if (organ_forward_norm_all(g, PART_NORM_FEED, from, normed, tokens, error))
            return error->status;
        if (g->layer->plan->experts ? organ_forward_experts(g, first, tokens, normed, out, room, error)
                                    : organ_forward_gated(g, PART_GATE, (size_t)g->layer->kind->intermediate, first,
                                                          tokens, normed, out, room, error))
            return error->status;
        if (organ_forward_add_all(g, PART_NORM_FED, hidden, out, tokens, error))
            return error->status;
    }
    return ORGAN_OK;
}
