/* SPDX-License-Identifier: MIT
 * A layer on a group of windows: mixers, feed-forward, and what some architectures add. */
#include "orchestrator/forward/mixers.h"
#include "orchestrator/machine/extent.h"

#include <string.h>

/* A buffer is tokens x hidden numbers: two with AltUp (a copy of the hidden states and the output of the low-rank
 * path), one if the states are wider than the hidden size, else none. */
static size_t copies_of(const organ_forward_config *c)
{
    if (c->streams)
        return 2;
    return c->state > c->hidden;
}

size_t organ_forward_block_room(const organ_forward *f, uint64_t memory, size_t tokens, size_t batch)
{
    const organ_forward_config *const c = &f->config;
    size_t max = organ_max(organ_forward_mixer_room(f, tokens), organ_forward_ffn_room(f, memory, batch));
    max = organ_max(max, organ_forward_per_layer_room(c, tokens));
    if (c->streams)
        max = organ_max(max, organ_forward_streams_room(c, tokens));
    return (copies_of(c) + c->parallel) * tokens * (size_t)c->hidden + max;
}

/* If states have only a hidden state, g->hidden is g->states. */
static void copy_hidden(const forward_group *g, bool back)
{
    if (g->hidden != g->states)
        organ_forward_copy_hidden(g, 0, g->tokens, g->hidden, back);
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
        if (organ_forward_combine(g, x, out, tokens, 1, error))
            return error->status;
    }
    return ORGAN_OK;
}

static organ_status run_plain(forward_group *g, organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    const float *const scale = organ_forward_values(g->layer, PART_LAYER_SCALE);
    copy_hidden(g, false);
    if (g->entered)
        memcpy(g->entered, g->hidden, g->tokens * (size_t)c->hidden * sizeof *g->entered);
    if (organ_forward_mix(g, error) || organ_forward_ffn(g, error) || (c->per_layer_width && add_per_layer(g, error)) ||
        (scale && organ_forward_combine(g, g->hidden, NULL, g->tokens, *scale, error)))
        return error->status;
    copy_hidden(g, true);
    return ORGAN_OK;
}

static organ_status run_streams(forward_group *g, organ_error *error)
{
    if (organ_forward_streams_predict(g, error) || organ_forward_laurel(g, error) || organ_forward_mix(g, error) ||
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
    copy_hidden(g, false);
    if (organ_forward_mix(g, error) == ORGAN_OK)
        copy_hidden(g, true);
    g->room = scratch;
    return error->status;
}
