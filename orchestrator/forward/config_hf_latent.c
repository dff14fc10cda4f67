/* SPDX-License-Identifier: MIT
 * The latent attention of config.json. */
#include "orchestrator/forward/config_hf.h"

static void read_latent_sizes(const config_hf_source *s, organ_forward_config *c)
{
    organ_latent_config *const l = &c->latent;
    l->rank = organ_config_needed(s, "kv_lora_rank");
    l->plain = organ_config_needed(s, "qk_nope_head_dim");
    l->rotated = organ_config_needed(s, "qk_rope_head_dim");
    l->q_rank = organ_config_size(s, "q_lora_rank", 0); /* null: none */
    if (s->family->indexed && (l->keys = organ_config_needed(s, "index_topk")) == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: index_topk is 0", s->label);
    if (!json_object_get(s->root, "q_lora_rank"))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: q_lora_rank is missing", s->label);
}

void organ_config_latent(const config_hf_source *s, organ_forward_config *c)
{
    const organ_latent_config *const l = &c->latent;
    if (!s->family->latent)
        return;
    read_latent_sizes(s, c);
    const unsigned value = organ_config_needed(s, "v_head_dim");
    const uint64_t head = (uint64_t)l->plain + l->rotated;
    if (c->kv_heads != c->heads)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: num_key_value_heads is %u, not num_attention_heads %u", s->label,
                   c->kv_heads, c->heads);
    c->head_dim = head > UINT32_MAX ? UINT32_MAX : (unsigned)head;
    c->rope_neighbours = organ_config_flag(s, "rope_interleave", true);
    for (unsigned k = 0; k < c->layers; k++) {
        c->kinds[k].latent = true;
        c->kinds[k].head_dim = c->head_dim;
        c->kinds[k].value_dim = value;
    }
}
