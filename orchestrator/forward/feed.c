/* SPDX-License-Identifier: MIT
 * The feed-forward half of a layer, FORWARD_GROUP tokens at a time. */
#include "orchestrator/forward/job.h"
#include "orchestrator/machine/extent.h"

static organ_status add_product(forward_group *g, forward_part part, size_t out, size_t tokens, const float *x, float *y,
                                organ_error *error)
{
    forward_linear linear = organ_forward_linear_of(g->layer, g->layer->plan->parts[part], out);
    linear.bias = organ_forward_values(g->layer, (forward_part)(PART_BIAS_GATE + (part - PART_GATE)));
    return organ_forward_products_add(&g->products, x, &linear, y, tokens, error);
}

static organ_status dense(forward_group *g, size_t first, size_t tokens, const float *normed, float *out, float *room, organ_error *error)
{
    const organ_forward_config *c = &g->forward->config;
    const size_t inner = (size_t)c->intermediate, hidden = (size_t)c->hidden;
    const forward_view *parts = g->layer->plan->parts;
    float *gate = room, *up = room + tokens * inner;
    if (organ_forward_tap(g, parts[PART_GATE], g->first + first, tokens, hidden, normed, error))
        return error->status;
    if (parts[PART_UP].slot != parts[PART_GATE].slot &&
        organ_forward_tap(g, parts[PART_UP], g->first + first, tokens, hidden, normed, error))
        return error->status;
    if (add_product(g, PART_GATE, inner, tokens, normed, gate, error) || add_product(g, PART_UP, inner, tokens, normed, up, error) ||
        organ_forward_products_run(&g->products, g->forward, g->scratch, error) ||
        organ_forward_gate_all(g, gate, up, tokens, inner, error))
        return error->status;
    if (organ_forward_tap(g, parts[PART_DOWN], g->first + first, tokens, inner, gate, error) ||
        add_product(g, PART_DOWN, hidden, tokens, gate, out, error))
        return error->status;
    return organ_forward_products_run(&g->products, g->forward, g->scratch, error);
}

size_t organ_forward_feed_room(const organ_forward_config *c, size_t tokens)
{
    const size_t inner = c->experts ? organ_forward_experts_room(c, organ_lesser(tokens, FORWARD_GROUP)) : 0;
    return organ_lesser(tokens, FORWARD_GROUP) * 2 * (size_t)(c->hidden + (c->experts ? 0 : c->intermediate)) + inner;
}

organ_status organ_forward_feed(forward_group *g, organ_error *error)
{
    const organ_forward_config *c = &g->forward->config;
    for (size_t first = 0; first < g->tokens; first += FORWARD_GROUP) {
        const size_t tokens = organ_lesser(FORWARD_GROUP, g->tokens - first);
        float *hidden = g->hidden + first * c->hidden, *normed = g->room, *out = normed + tokens * c->hidden;
        float *room = out + tokens * c->hidden;
        if (organ_forward_norm_all(g, PART_NORM_FEED, hidden, normed, tokens, error))
            return error->status;
        if (c->experts ? organ_forward_experts(g, first, tokens, normed, out, room, error)
                       : dense(g, first, tokens, normed, out, room, error))
            return error->status;
        if (organ_forward_add_all(g, PART_NORM_FED, hidden, out, tokens, error))
            return error->status;
    }
    return ORGAN_OK;
}
