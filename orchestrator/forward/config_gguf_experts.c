/* SPDX-License-Identifier: MIT
 * The mixture of experts of GGUF key-values. */
#include "orchestrator/forward/config_check.h"
#include "orchestrator/forward/config_gguf.h"

/* llama.cpp's defaults for missing keys; a scale of 0 means none. */
static unsigned read_logistic_experts(const config_gguf_source *s, organ_forward_config *c)
{
    enum { NONE, SOFTMAX, LOGISTIC };
    const unsigned function = organ_key_size(s, "expert_gating_func", NONE);
    c->normalise_experts = organ_key_flag(s, "expert_weights_norm", false);
    c->router_scale = (float)organ_key_real(s, "expert_weights_scale", 0);
    c->router_groups = organ_key_size(s, "expert_group_count", 0);
    c->router_groups_used = organ_key_size(s, "expert_group_used_count", 0);
    organ_forward_config_shared(c, organ_key_needed(s, "expert_shared_count"));
    if (function != NONE && function != LOGISTIC)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.expert_gating_func' is %u, which is not supported", s->label,
                   s->architecture, function);
    return organ_key_size(s, "leading_dense_block_count", 0);
}

/* Files of the llama kind are mixtures, of Mixtral, if they have a number of experts. */
void organ_key_experts(const config_gguf_source *s, organ_forward_config *c)
{
    const forward_mixture *const m = s->family->mixture;
    const bool gated = m && m->shared_gated;
    unsigned dense = 0;
    c->experts = organ_key_size(s, "expert_count", 0);
    if (c->experts == 0)
        return;
    c->experts_used = organ_key_needed(s, "expert_used_count");
    c->expert_intermediate = organ_key_size(s, "expert_feed_forward_length", (unsigned)c->intermediate);
    c->normalise_experts = !m || m->gguf_normalise;
    c->shared_gated = gated;
    c->router_bias = c->expert_bias = m && m->biases;
    c->router = m ? m->router : (organ_router_rule){0};
    if (c->router.logistic)
        dense = read_logistic_experts(s, c);
    if (gated && (c->shared_intermediate = organ_key_needed(s, "expert_shared_feed_forward_length")) == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.expert_shared_feed_forward_length' is 0", s->label,
                   s->architecture);
    if (!s->error->status)
        organ_forward_config_mixture(s->label, dense, c, s->error);
}
