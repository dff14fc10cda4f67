/* SPDX-License-Identifier: MIT
 * Reads the mixture of experts from GGUF key-values: its sizes, its router, and which layers have experts.
 * `s` is the GGUF file that is read; s->family, called the family, is the row of its architecture in families.h. `c` is
 * the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is there.
 * `m` is the family's mixture. */
#include "formats/architecture/config_check.h"
#include "formats/architecture/config_gguf.h"

#include <stdio.h>
#include <string.h>

/* Used if the row has no mixture: files of the architecture llama that have experts are Mixtral models. */
static const forward_mixture llama_mixture = {.normalise = {NULL, true}};

/* `function` is the key expert_gating_func: 1 means softmax; 0, no such key, means softmax (DeepSeek-V2) if layer
 * `dense`, the first with experts, has no correction biases. Later models have a logistic router with corrections. */
static void read_latent_router(const config_gguf_source *s, unsigned function, unsigned dense,
                               organ_router_rule *router)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%u.exp_probs_b.bias", dense);
    if (function == 1 || (function == 0 && !organ_key_tensor(s, name)))
        *router = (organ_router_rule){.best_in_group = true};
}

/* Values of the key expert_gating_func are 1 softmax, 2 logistic, 3 softmax of the chosen logits, which equals the
 * softmax of all if factors are normalised. `dense` is the number of the first layer with experts. */
static void read_router(const config_gguf_source *s, const forward_mixture *m, unsigned dense, organ_forward_config *c)
{
    const unsigned function = organ_key_size(s, "expert_gating_func", 0);
    c->router = m->router;
    if (m->selection) /* if the key is missing, llama.cpp uses the logistic */
        c->router.logistic = c->router.late = function != 1;
    if (s->family->latent && m->router.logistic)
        read_latent_router(s, function, dense, &c->router);
    const bool same = c->router.logistic ? function == 2 : function == 1 || (function == 3 && c->normalise_experts);
    if (function && !same)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.expert_gating_func' is %u, which is not supported", s->label,
                   s->architecture, function);
}

/* The forward pass computes shared experts as one wide expert: their number (`counted`) multiplies the width of a
 * routed expert. With shared_optional a file may lack both keys: it has no shared expert. */
static void read_shared(const config_gguf_source *s, const forward_mixture *m, organ_forward_config *c)
{
    const char *const width = "expert_shared_feed_forward_length";
    c->shared_gated = m->shared_gated;
    c->shared_own = m->shared_width != NULL;
    char full[CONFIG_KEY_LIMIT];
    const bool counted = m->shared_count && (organ_key_find(s, "expert_shared_count", full) != NULL ||
                                             organ_key_find(s, width, full) == NULL);
    if (m->shared_optional && !organ_key_find(s, "expert_shared_count", full) && !organ_key_find(s, width, full))
        return;
    if (counted) /* false for files of Hy3, which have only the width of all shared experts together */
        organ_forward_config_shared(c, organ_key_needed(s, "expert_shared_count"));
    c->shared_average = m->combination && c->shared_intermediate;
    if (counted || (!m->shared_count && !m->shared_width))
        return;
    /* Files of Llama 4, like their config.json, have one width for routed and shared experts. */
    if (m->shared_width && m->width && strcmp(m->shared_width, m->width) == 0 && !organ_key_find(s, width, full))
        c->shared_intermediate = (unsigned)c->expert_intermediate;
    else
        c->shared_intermediate = m->shared_optional ? organ_key_size(s, width, 0) : organ_key_needed(s, width);
    if (c->shared_intermediate == 0 && !m->shared_optional)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.%s' is 0", s->label, s->architecture,
                   organ_key_find(s, width, full) ? width : "expert_feed_forward_length");
}

static void read_interval(const config_gguf_source *s, organ_forward_config *c)
{
    const unsigned step = organ_key_size(s, "interleave_moe_layer_step", 1);
    if (step == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.interleave_moe_layer_step' is 0", s->label, s->architecture);
    for (unsigned l = 0; l < c->layers && !s->error->status; l++)
        if ((l + 1) % step) {
            c->kinds[l].mixture = false;
            c->kinds[l].intermediate = c->intermediate;
        }
}

static void find_dense(const config_gguf_source *s, organ_forward_config *c)
{
    for (unsigned l = 0; l < c->layers; l++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.ffn_gate_inp.weight", l);
        if (organ_key_tensor(s, name))
            continue;
        c->kinds[l].mixture = false;
        c->kinds[l].intermediate = organ_key_of_layer(s, "feed_forward_length", l, 0);
    }
}

/* Files of families that allow 0 experts (Granite 4) may state the width of all feed-forwards as that of the shared
 * expert. */
static void read_dense_width(const config_gguf_source *s, const forward_mixture *m, organ_forward_config *c)
{
    const unsigned width = m->optional ? organ_key_size(s, "expert_shared_feed_forward_length", 0) : 0;
    for (unsigned l = 0; width && l < c->layers; l++)
        c->kinds[l].intermediate = width;
}

/* Dense models of Gemma 4 (dual_ffn) have the keys of a mixture too: only a router shows one. Missing keys have
 * llama.cpp's defaults, but keys without which the mixture is unknown, such as expert_used_count, are required. A
 * router_scale of 0 means no scale. */
void organ_key_experts(const config_gguf_source *s, organ_forward_config *c)
{
    const forward_mixture *const m = s->family->mixture ? s->family->mixture : &llama_mixture;
    const unsigned dense = organ_key_size(s, "leading_dense_block_count", 0);
    c->experts = organ_key_size(s, "expert_count", 0);
    if (s->family->dual_ffn && !organ_key_tensor(s, "blk.0.ffn_gate_inp.weight"))
        c->experts = 0; /* dense models of Gemma 4 have the keys of mixtures too */
    else if (s->family->dual_ffn && c->experts == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.expert_count' is 0, but the file has a router", s->label,
                   s->architecture);
    if (c->experts == 0) {
        read_dense_width(s, m, c);
        return;
    }
    c->dual_ffn = s->family->dual_ffn;
    c->experts_used = organ_key_needed(s, "expert_used_count");
    c->expert_intermediate = organ_key_size(s, "expert_feed_forward_length", (unsigned)c->intermediate);
    const bool normalise = m->normalise.key ? m->gguf_normalise : m->normalise.otherwise;
    c->normalise_experts = organ_key_flag(s, "expert_weights_norm", normalise);
    c->router_scale = (float)organ_key_real(s, "expert_weights_scale", 0);
    c->router_groups = m->groups ? organ_key_size(s, "expert_group_count", 0) : 0;
    c->router_groups_used = m->groups ? organ_key_size(s, "expert_group_used_count", 0) : 0;
    c->router_bias = c->expert_bias = m->biases;
    c->expert_latent = m->latent ? organ_key_size(s, "moe_latent_size", 0) : 0;
    read_router(s, m, dense, c);
    read_shared(s, m, c);
    if (!s->error->status && organ_forward_config_mixture(s->label, dense, c, s->error) == ORGAN_OK)
        read_interval(s, c);
    /* config.json of these families states in its own ways which layers are dense; GGUF files do not */
    const bool found = m->dense == DENSE_FREQ || m->dense == DENSE_PERIOD || m->dense == DENSE_WORDS;
    if (!s->error->status && (found || m->absent_in_gguf))
        find_dense(s, c);
}
