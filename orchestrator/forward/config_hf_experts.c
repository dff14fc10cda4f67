/* SPDX-License-Identifier: MIT
 * The mixture of experts of config.json. */
#include "orchestrator/forward/config_check.h"
#include "orchestrator/forward/config_hf.h"

#include "formats/base/json_text.h"

#include <string.h>

static void require_members(const config_hf_source *s, const char *const *keys)
{
    for (; keys && *keys; keys++)
        if (!json_object_get(s->root, *keys))
            organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s is missing", s->label, *keys);
}

/* Qwen's mixtures may have dense layers among the others. */
static void refuse_dense_layers(const config_hf_source *s)
{
    const json_t *dense = organ_config_member(s->root, "mlp_only_layers");
    if (organ_config_size(s, "decoder_sparse_step", 1) != 1)
        organ_config_refuse(s, "decoder_sparse_step", organ_config_member(s->root, "decoder_sparse_step"),
                            "1: layers without experts are not supported");
    if (dense && (!json_is_array(dense) || json_array_size(dense)))
        organ_config_refuse(s, "mlp_only_layers", dense, "empty: layers without experts are not supported");
}

static void read_shared(const config_hf_source *s, const forward_mixture *m, organ_forward_config *c)
{
    c->shared_gated = m->shared_gated;
    if (m->shared_count)
        organ_forward_config_logistic(c, organ_config_size(s, m->shared_count, 0));
    if (m->shared_width && (c->shared_intermediate = organ_config_needed(s, m->shared_width)) == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s is 0", s->label, m->shared_width);
}

static void read_method(const config_hf_source *s, const forward_mixture *m, organ_forward_config *c)
{
    const char *const word = m->method ? organ_config_word(s, s->root, m->method, "greedy") : NULL;
    if (word && strcmp(word, "greedy") == 0)
        c->router_groups = c->router_groups_used = 0;
    else if (word && strcmp(word, "group_limited_greedy"))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s '%s' is not supported", s->label, m->method, word);
}

/* Makes the layers dense that the list says. */
static void read_feed_types(const config_hf_source *s, const json_t *types, organ_forward_config *c)
{
    unsigned mixtures = 0;
    if (!json_is_array(types) || json_array_size(types) != c->layers) {
        organ_config_refuse(s, "mlp_layer_types", types, "a list with a word for each of num_hidden_layers");
        return;
    }
    for (unsigned l = 0; l < c->layers; l++) {
        const char *const word = organ_json_plain(json_array_get(types, l));
        const bool mixture = word && strcmp(word, "sparse") == 0;
        if (!mixture && (!word || strcmp(word, "dense")))
            organ_fail(s->error, ORGAN_BAD_INPUT, "%s: mlp_layer_types: '%s' is not supported", s->label,
                       word ? word : "?");
        c->kinds[l].mixture = mixture;
        c->kinds[l].intermediate = mixture ? 0 : c->intermediate;
        mixtures += mixture;
    }
    if (mixtures == 0)
        c->experts = c->experts_used = 0;
}

void organ_config_experts(const config_hf_source *s, organ_forward_config *c)
{
    const forward_mixture *const m = s->family->mixture;
    if (!m)
        return;
    require_members(s, m->required);
    const bool older = m->experts_too && !organ_config_member(s->root, m->experts);
    c->experts = organ_config_needed(s, older ? m->experts_too : m->experts);
    c->expert_intermediate = organ_config_needed(s, m->width);
    c->normalise_experts = organ_config_flag_of(s, m->normalise);
    c->router_bias = c->expert_bias = m->biases;
    c->gate_up_pairs = m->pairs;
    c->router_groups = m->groups ? organ_config_size(s, m->groups, 1) : 0;
    c->router_groups_used = m->groups_used ? organ_config_size(s, m->groups_used, 1) : 0;
    c->router_scale = m->scale ? (float)organ_config_real(s, s->root, m->scale, 1) : 0;
    if (m->scale && c->router_scale == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s is 0", s->label, m->scale);
    c->router_groups_by_best = m->groups_by_best;
    read_method(s, m, c);
    read_shared(s, m, c);
    c->logistic_router = m->logistic;
    refuse_dense_layers(s);
    c->experts_used = organ_config_needed(s, m->used);
    if (c->experts == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: the number of experts is 0", s->label);
    const json_t *const types = organ_config_member(s->root, "mlp_layer_types");
    const unsigned dense = m->dense_first && !types ? organ_config_needed(s, m->dense_first) : 0;
    if (!s->error->status && organ_forward_config_mixture(s->label, dense, c, s->error) == ORGAN_OK && types)
        read_feed_types(s, types, c);
}
