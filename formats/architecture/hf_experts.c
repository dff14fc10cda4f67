/* SPDX-License-Identifier: MIT
 * Reads the mixture of experts from config.json: its sizes, its router, and which layers have experts.
 * `s` is the config.json that is read; s->family, called the family, is the row of its architecture in families.h. `c`
 * is the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is
 * there. The root, s->root, is the JSON object of the text model. */
#include "formats/architecture/config_readers.h"

#include <string.h>

/* A null counts as present. */
static void require_members(const config_hf_source *s, const char *const *keys)
{
    for (; keys && *keys; keys++)
        if (!json_object_get(s->root, organ_config_name(s, *keys)))
            organ_refuse(s->error, s->label, "%s is missing", *keys);
}

/* ---- dense layers ---- */

static void set_mixture(organ_layer_kind *kind, bool mixture, const organ_forward_config *c)
{
    kind->mixture = mixture;
    kind->intermediate = mixture ? 0 : c->intermediate;
}

static void read_layer_words(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *const words = organ_config_list(s, "mlp_layer_types", "a string", c->layers);
    for (unsigned l = 0; words && l < c->layers; l++)
        set_mixture(&c->kinds[l], organ_config_layer_is(s, "mlp_layer_types", words, l, "sparse", "dense"), c);
}

static void read_qwen_layers(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *const dense = organ_config_member(s->root, "mlp_only_layers");
    const unsigned step = organ_config_size(s, "decoder_sparse_step", 1);
    if (step == 0)
        organ_refuse(s->error, s->label, "decoder_sparse_step is 0");
    if (dense && !json_is_array(dense))
        organ_config_refuse(s, "mlp_only_layers", dense, "a list of layer numbers");
    for (unsigned l = 0; step && l < c->layers; l++)
        set_mixture(&c->kinds[l], (l + 1) % step == 0, c);
    for (size_t k = 0; k < json_array_size(dense); k++) {
        const json_t *const value = json_array_get(dense, k);
        const json_int_t l = json_integer_value(value);
        if (!json_is_integer(value) || l < 0)
            organ_config_refuse(s, "mlp_only_layers", value, "a layer number");
        else if (l < c->layers)
            set_mixture(&c->kinds[l], /*mixture=*/false, c);
    }
}

/* A moe_layer_end_index of -1 is the last layer (ERNIE). */
static void read_mixture_interval(const config_hf_source *s, organ_forward_config *c)
{
    const unsigned interval = organ_config_size(s, "moe_layer_interval", 1),
                   first = organ_config_size(s, "moe_layer_start_index", 1);
    const double last = organ_config_real(s, s->root, "moe_layer_end_index", -1);
    if (interval == 0)
        organ_refuse(s->error, s->label, "moe_layer_interval is 0");
    for (unsigned l = 0; interval && l < c->layers; l++)
        set_mixture(&c->kinds[l], (l + 1) % interval == 0 && l >= first && (last == -1 || l <= last), c);
}

/* Llama 4 has a list moe_layers, or else every interleave_moe_layer_step-th layer is a mixture. Dense layers are
 * intermediate_size_mlp wide. */
static void read_steps(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *const list = organ_config_member(s->root, "moe_layers");
    const unsigned step = organ_config_size(s, "interleave_moe_layer_step", 1);
    c->intermediate = organ_config_needed(s, "intermediate_size_mlp");
    if (!list && step == 0)
        organ_refuse(s->error, s->label, "interleave_moe_layer_step is 0");
    if (list && !json_is_array(list))
        organ_config_refuse(s, "moe_layers", list, "a list of layer numbers");
    for (unsigned l = 0; (list || step) && l < c->layers; l++)
        set_mixture(&c->kinds[l], !list && (l + 1) % step == 0, c);
    for (size_t k = 0; k < json_array_size(list); k++) {
        organ_layer_kind *const kind = organ_config_layer(s, "moe_layers", json_array_get(list, k), /*first=*/0, c);
        if (kind)
            set_mixture(kind, /*mixture=*/true, c);
    }
}

static void read_freq(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *const list = organ_config_member(s->root, "moe_layer_freq");
    if (!json_is_array(list) || json_array_size(list) != c->layers)
        organ_refuse(s->error, s->label, "neither mlp_layer_types nor moe_layer_freq is a list of num_hidden_layers");
    for (unsigned l = 0; l < c->layers && !s->error->status; l++) {
        const json_t *const value = json_array_get(list, l);
        if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > 1)
            organ_config_refuse(s, "moe_layer_freq", value, "0 or 1");
        set_mixture(&c->kinds[l], json_integer_value(value) == 1, c);
    }
}

static void read_period(const config_hf_source *s, organ_forward_config *c)
{
    const unsigned period = organ_config_size(s, "expert_layer_period", 2),
                   offset = organ_config_size(s, "expert_layer_offset", 1);
    if (offset >= period)
        organ_refuse(s->error, s->label, "expert_layer_offset is %u, not below expert_layer_period %u", offset, period);
    for (unsigned l = 0; period && l < c->layers; l++)
        set_mixture(&c->kinds[l], c->experts > 1 && l % period == offset, c);
}

/* organ_config_mixers has already set which layers are mixtures. */
static void set_widths_by_kind(const config_hf_source *s, organ_forward_config *c)
{
    (void)s;
    for (unsigned l = 0; l < c->layers; l++)
        set_mixture(&c->kinds[l], c->kinds[l].mixture, c);
}

/* A layer of LongCat-Flash's file is two layers here, both with a dense feed-forward, and the first with a mixture
 * in addition. */
static void alternate_layers(const config_hf_source *s, organ_forward_config *c)
{
    (void)s;
    for (unsigned l = 0; l < c->layers; l++) {
        c->kinds[l].mixture = l % 2 == 0;
        c->kinds[l].intermediate = c->intermediate;
    }
}

static unsigned leading_dense_layers(const config_hf_source *s, const forward_mixture *m)
{
    if (!m->dense_first)
        return 0;
    const unsigned otherwise = m->dense_otherwise == DENSE_NONE ? 0 : m->dense_otherwise;
    return m->dense_otherwise ? organ_config_size(s, m->dense_first, otherwise)
                              : organ_config_needed(s, m->dense_first);
}

static bool has_mixture(const organ_forward_config *c)
{
    bool any = false;
    for (unsigned l = 0; l < c->layers; l++)
        any = any || c->kinds[l].mixture;
    return any;
}

/* A model whose layers are all dense has no experts. */
static void read_layers(const config_hf_source *s, const forward_mixture *m, organ_forward_config *c)
{
    static void (*const readers[])(const config_hf_source *,
                                   organ_forward_config *) = {[DENSE_QWEN] = read_qwen_layers,
                                                              [DENSE_STEP] = read_steps,
                                                              [DENSE_FREQ] = read_freq,
                                                              [DENSE_PERIOD] = read_period,
                                                              [DENSE_WORDS] = set_widths_by_kind,
                                                              [DENSE_SECOND] = alternate_layers,
                                                              [DENSE_INTERVAL] = read_mixture_interval,
                                                              [DENSE_HASH] = organ_config_by_token};
    if (m->dense == DENSE_HASH)
        organ_config_by_token(s, c);
    else if (organ_config_member(s->root, "mlp_layer_types"))
        read_layer_words(s, c);
    else if (m->dense != DENSE_FIRST)
        readers[m->dense](s, c);
    else
        organ_forward_config_mixture(s->label, leading_dense_layers(s, m), c, s->error);
    if (!has_mixture(c))
        c->experts = c->experts_used = 0;
}

/* ---- experts ---- */

static void read_shared(const config_hf_source *s, const forward_mixture *m, organ_forward_config *c)
{
    c->shared_gated = m->shared_gated;
    c->shared_own = m->shared_width && strcmp(m->shared_width, m->width) != 0;
    if (m->shared_count)
        organ_forward_config_shared(c, organ_config_size(s, m->shared_count, 0));
    if (m->shared_width && m->shared_optional)
        c->shared_intermediate = organ_config_size(s, m->shared_width, 0);
    else if (m->shared_width && (c->shared_intermediate = organ_config_needed(s, m->shared_width)) == 0)
        organ_refuse(s->error, s->label, "%s is 0", m->shared_width);
}

/* The default, "greedy", ignores groups of experts. */
static void read_method(const config_hf_source *s, const forward_mixture *m, organ_forward_config *c)
{
    const char *const word = m->method ? organ_config_word(s, s->root, m->method, "greedy") : NULL;
    if (word && strcmp(word, "greedy") == 0)
        c->router_groups = c->router_groups_used = 0;
    else if (word && strcmp(word, "group_limited_greedy"))
        organ_refuse(s->error, s->label, "%s '%s' is not supported", m->method, word);
}

/* The rules are those of Cohere2MoeTopKRouter and Cohere2MoeSparseMoeBlock of transformers. */
static void read_selection(const config_hf_source *s, const forward_mixture *m, organ_forward_config *c)
{
    const char *const word = organ_config_word(s, s->root, m->selection, "softmax");
    const char *const sum = organ_config_word(s, s->root, m->combination, "average");
    c->router.logistic = c->router.late = strcmp(word, "sigmoid") == 0;
    c->normalise_experts = c->normalise_experts || !c->router.logistic;
    c->shared_average = c->shared_intermediate && strcmp(sum, "average") == 0;
    if (!c->router.logistic && strcmp(word, "softmax"))
        organ_refuse(s->error, s->label, "%s '%s' is not supported", m->selection, word);
    if (strcmp(sum, "average") && strcmp(sum, "sum"))
        organ_refuse(s->error, s->label, "%s '%s' is not supported", m->combination, sum);
}

static void read_router(const config_hf_source *s, const forward_mixture *m, organ_forward_config *c)
{
    c->router = m->router;
    if (m->corrected)
        c->router.corrected = organ_config_flag(s, m->corrected, true);
    c->router_bias = c->expert_bias = m->biases;
    c->gate_up_pairs = m->pairs;
    if (m->least_sum)
        c->router.least_sum = (float)organ_config_real(s, s->root, m->least_sum, m->router.least_sum);
    if (m->cap)
        c->router.cap = (float)organ_config_real(s, s->root, m->cap, 0);
    if (m->jitter)
        c->router.jitter = 2 * (float)organ_config_real(s, s->root, m->jitter, m->jitter_otherwise);
    c->normalise_experts = organ_config_flag_of(s, m->normalise);
    c->router_groups = m->groups ? organ_config_size(s, m->groups, 1) : 0;
    c->router_groups_used = m->groups_used ? organ_config_size(s, m->groups_used, 1) : 0;
    c->router_scale = m->scale ? (float)organ_config_real(s, s->root, m->scale, 1) : 0;
    if (m->scale && c->router_scale == 0)
        organ_refuse(s->error, s->label, "%s is 0", m->scale);
    read_method(s, m, c);
}

/* The member may be a list with the same number for each layer (HunYuan). organ_forward_config_check refuses a result
 * of 0. */
static unsigned read_used(const config_hf_source *s, const char *key, unsigned layers)
{
    const json_t *const value = organ_config_member(s->root, key), *const first = json_array_get(value, 0);
    if (!json_is_array(value))
        return organ_config_needed(s, key);
    organ_config_list(s, key, "a number", layers);
    for (size_t k = 0; k < json_array_size(value); k++)
        if (!json_is_integer(first) || !json_equal(first, json_array_get(value, k)))
            organ_config_refuse(s, key, value, "the same number for all layers");
    const json_int_t used = json_integer_value(first);
    return used < 0 || used > UINT32_MAX ? 0 : (unsigned)used;
}

/* If the number of experts may be 0 (forward_mixture.optional) and is, all layers become dense and as wide as the
 * shared expert. */
void organ_config_experts(const config_hf_source *s, organ_forward_config *c)
{
    const forward_mixture *const m = s->family->mixture;
    c->dual_ffn = s->family->dual_ffn && organ_config_flag(s, "enable_moe_block", false);
    if (!m || (s->family->dual_ffn && !c->dual_ffn) || (m->dense == DENSE_WORDS && !has_mixture(c)))
        return;
    require_members(s, m->required);
    const bool older = m->experts_too && !organ_config_member(s->root, m->experts);
    c->experts = organ_config_needed(s, older ? m->experts_too : m->experts);
    c->identity_experts = m->identity ? organ_config_size(s, m->identity, 0) : 0;
    c->expert_intermediate = organ_config_needed(s, m->width);
    read_router(s, m, c);
    read_shared(s, m, c);
    if (m->selection)
        read_selection(s, m, c);
    if (m->dense_width)
        c->intermediate = organ_config_size(s, m->dense_width, (unsigned)c->intermediate);
    for (unsigned l = 0; m->dense_width && l < c->layers; l++)
        c->kinds[l].intermediate = c->intermediate;
    c->experts_used = read_used(s, m->used, c->layers);
    if (m->latent && (c->expert_latent = organ_config_size(s, m->latent, 0)) == 0 &&
        organ_config_member(s->root, m->latent))
        organ_refuse(s->error, s->label, "%s is 0", m->latent);
    if (c->experts == 0 && m->optional) {
        for (unsigned l = 0; l < c->layers; l++)
            c->kinds[l].intermediate = c->shared_intermediate;
        c->experts_used = c->shared_intermediate = 0;
        return;
    }
    if (c->experts == 0)
        organ_refuse(s->error, s->label, "the number of experts is 0");
    if (!s->error->status)
        read_layers(s, m, c);
}
