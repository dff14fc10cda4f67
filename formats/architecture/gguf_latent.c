/* SPDX-License-Identifier: MIT
 * Reads multi-head latent attention and the indexer of sparse attention from GGUF key-values.
 * `s` is the GGUF file that is read; s->family, called the family, is the row of its architecture in families.h. `c` is
 * the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is there.
 */
#include "formats/architecture/config_check.h"
#include "formats/architecture/config_gguf.h"

#include <math.h>
#include <stdio.h>

/* A layer has an indexer if the file has its tensor indexer.attn_k. A layer without an indexer uses the keys that
 * the last layer with one has chosen, so layer 0 must have one. If there are layers without an indexer, c->state has
 * room for these keys. */
static void read_indexer_keys(const config_gguf_source *s, organ_forward_config *c)
{
    organ_latent_config *const l = &c->latent;
    l->keys = organ_key_needed(s, "attention.indexer.top_k");
    l->index_heads = organ_key_needed(s, "attention.indexer.head_count");
    l->index_dim = organ_key_needed(s, "attention.indexer.key_length");
    l->index_neighbours = s->family->indexer == INDEXER_SHARED;
    organ_forward_config_indexer(s->label, l, s->error);
    for (unsigned k = 0; k < c->layers; k++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.indexer.attn_k.weight", k);
        c->kinds[k].indexed = organ_key_tensor(s, name);
        l->index_shared = l->index_shared || !c->kinds[k].indexed;
    }
    if (!s->error->status && (!c->kinds[0].indexed || (l->index_shared && !l->index_neighbours)))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: tensors of the indexer are missing in a layer", s->label);
    if (l->index_shared)
        c->state = c->hidden + l->keys;
}

/* Newer files have the widths of a head in key_length_mla and value_length_mla; older files have them in key_length
 * and value_length, which in newer files are widths of latent vectors. */
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
        organ_fail(s->error, ORGAN_BAD_INPUT,
                   "%s: key '%s.rope.dimension_count' is %u, not from 1 to below attention.key_length or "
                   "attention.key_length_mla, %u",
                   s->label, s->architecture, l->rotated, c->head_dim);
    else
        l->plain = c->head_dim - l->rotated;
    c->rope_neighbours = true;
    for (unsigned k = 0; k < c->layers; k++) {
        c->kinds[k].latent = true;
        c->kinds[k].kv_heads = c->kinds[k].heads;
        c->kinds[k].head_dim = c->head_dim;
        c->kinds[k].value_dim = value;
    }
    if (s->family->indexer != INDEXER_NONE)
        read_indexer_keys(s, c);
}

/* The factor is m^2 with m = 1 + 0.1 mscale_all_dim ln(factor). The key yarn_log_multiplier is 0.1 mscale_all_dim. */
void organ_key_latent_scale(const config_gguf_source *s, organ_forward_config *c)
{
    const double multiplier = organ_key_real(s, "rope.scaling.yarn_log_multiplier", 0);
    const double factor = c->rope.kind == ORGAN_ROPE_YARN && c->rope.factor > 1 ? c->rope.factor : 1;
    const double scale = 1 + multiplier * log(factor);
    if (s->family->latent)
        c->attention_scale *= scale * scale;
}
