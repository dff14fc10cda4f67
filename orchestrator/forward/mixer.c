/* SPDX-License-Identifier: MIT
 * The mixers of a layer: dispatch to the function of each kind, and the sizes that all kinds need together. */
#include "orchestrator/forward/latent.h"
#include "orchestrator/forward/mixers.h"
#include "orchestrator/machine/extent.h"

#include <string.h>

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
};

bool organ_forward_attends(const organ_layer_kind *kind)
{
    return kind->mixer == ORGAN_MIXER_ATTENTION || kind->second == ORGAN_MIXER_ATTENTION;
}

size_t organ_forward_mixer_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    const forward_mixer *const one = &mixers[kind->mixer], *const two = &mixers[kind->second];
    const size_t first = one->width ? one->width(c, kind) : 0, second = two->width ? two->width(c, kind) : 0;
    return organ_max(first, second) + (two->run ? (size_t)c->hidden : 0); /* output of the second */
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

size_t organ_forward_mixer_room(const organ_forward *f, size_t tokens)
{
    /* 2 x hidden: the normed input and the output; 64 x 6: a reserve */
    return tokens * (f->mixer_width + 2 * (size_t)f->config.hidden) + 64 * 6 +
           organ_forward_index_room(&f->config.latent, tokens, tokens);
}

/* A hybrid layer runs two mixers on the same input and adds the sum of their outputs. The state of recurrent mixers
 * in the cache is cleared if no token was processed before. */
organ_status organ_forward_mix(forward_group *g, organ_error *error)
{
    const organ_layer_kind *const kind = g->layer->kind;
    const size_t floats = g->tokens * (size_t)g->forward->config.hidden;
    float *const normed = g->room, *const out = normed + floats, *const other = out + floats;
    if (kind->mixer == ORGAN_MIXER_NONE)
        return ORGAN_OK;
    if (g->before && g->before->tokens == 0)
        memset(g->before->state, 0, organ_forward_mixer_state(&g->forward->config, kind) * sizeof *normed);
    if (organ_forward_norm_all(g, PART_NORM_ATTENTION, g->hidden, normed, g->tokens, error))
        return error->status;
    if (organ_forward_keep_normed(g, 0, normed, g->hidden, g->tokens, error))
        return error->status;
    if (kind->second == ORGAN_MIXER_NONE)
        mixers[kind->mixer].run(g, normed, out, other, error);
    else if (mixers[kind->mixer].run(g, normed, out, other, error) == ORGAN_OK &&
             mixers[kind->second].run(g, normed, other, other + floats, error) == ORGAN_OK)
        organ_forward_combine(g, out, other, g->tokens, 1, error);
    return error->status ? error->status
                         : organ_forward_add_all(g, PART_NORM_POST_ATTENTION, g->hidden, out, g->tokens, error);
}
