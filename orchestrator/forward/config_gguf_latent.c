/* SPDX-License-Identifier: MIT
 * The latent attention of GGUF key-values. */
#include "orchestrator/forward/config_gguf.h"

#include <math.h>

/* Older files have the sizes of a head in key_length and value_length, newer ones those of the latent rows there. */
void organ_key_latent(const config_gguf_source *s, organ_forward_config *c)
{
    organ_latent_config *const l = &c->latent;
    if (!s->family->latent)
        return;
    const unsigned value =
        organ_key_size(s, "attention.value_length_mla", organ_key_size(s, "attention.value_length", 0));
    l->rank = organ_key_needed(s, "attention.kv_lora_rank");
    l->q_rank = organ_key_size(s, "attention.q_lora_rank", 0);
    l->rotated = organ_key_needed(s, "rope.dimension_count");
    c->head_dim = organ_key_size(s, "attention.key_length_mla", c->head_dim);
    if (l->rotated == 0 || l->rotated >= c->head_dim)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.rope.dimension_count' is %u for keys of %u", s->label,
                   s->architecture, l->rotated, c->head_dim);
    else
        l->plain = c->head_dim - l->rotated;
    c->rope_neighbours = true;
    for (unsigned k = 0; k < c->layers; k++) {
        c->kinds[k].latent = true;
        c->kinds[k].kv_heads = c->kinds[k].heads;
        c->kinds[k].head_dim = c->head_dim;
        c->kinds[k].value_dim = value;
    }
}

/* The key is 0.1 mscale_all_dim. */
void organ_key_latent_scale(const config_gguf_source *s, organ_forward_config *c)
{
    const double multiplier = organ_key_real(s, "rope.scaling.yarn_log_multiplier", 0);
    const double factor = c->rope.kind == ORGAN_ROPE_YARN && c->rope.factor > 1 ? c->rope.factor : 1;
    const double scale = 1 + multiplier * log(factor);
    if (s->family->latent)
        c->attention_scale *= scale * scale;
}
