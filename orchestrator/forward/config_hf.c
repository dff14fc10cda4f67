/* SPDX-License-Identifier: MIT
 * config.json as transformers 4 and 5 write it. */
#include "formats/base/json_text.h"
#include "formats/base/json_dump.h"
#include "orchestrator/forward/families.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The first fault is kept in `error`; values read after it are not used. */
typedef struct config_hf_source {
    const char *label;
    const json_t *root;
    const forward_family *family;
    organ_error *error;
} config_hf_source;

static const json_t *member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static void refuse_member(const config_hf_source *s, const char *key, const json_t *value, const char *expected)
{
    char *text = organ_json_dump(value, JSON_ENCODE_ANY | JSON_COMPACT);
    organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s is %.120s, not %s", s->label, key, text ? text : "?", expected);
    free(text);
}

static double hf_real(const config_hf_source *s, const json_t *object, const char *key, double fallback)
{
    const json_t *value = member(object, key);
    if (value && !json_is_number(value))
        refuse_member(s, key, value, "a number");
    return value ? json_number_value(value) : fallback;
}

/* Numbers beyond 32 bits become UINT32_MAX, which the check of sizes rejects. */
static unsigned hf_size(const config_hf_source *s, const char *key, unsigned fallback)
{
    const json_t *value = member(s->root, key);
    if (!value)
        return fallback;
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        refuse_member(s, key, value, "a whole number from 0");
        return 0;
    }
    return json_integer_value(value) > UINT32_MAX ? UINT32_MAX : (unsigned)json_integer_value(value);
}

static unsigned needed(const config_hf_source *s, const char *key)
{
    if (!member(s->root, key))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s is missing", s->label, key);
    return hf_size(s, key, 0);
}

static bool flag_of(const config_hf_source *s, const char *key, bool fallback)
{
    const json_t *value = member(s->root, key);
    if (value && !json_is_boolean(value))
        refuse_member(s, key, value, "true or false");
    return value ? json_is_true(value) : fallback;
}

static const char *word_of(const config_hf_source *s, const json_t *object, const char *key, const char *fallback)
{
    const json_t *value = member(object, key);
    const char *word = value ? organ_json_plain(value) : fallback;
    if (value && !word)
        refuse_member(s, key, value, "a string");
    return word ? word : fallback;
}

/* ---- rotation ---- */

static void read_kind(const config_hf_source *s, const json_t *object, organ_rope_config *rope)
{
    static const struct {
        const char *name;
        organ_rope kind;
    } kinds[] = {{"default", ORGAN_ROPE_DEFAULT}, {"linear", ORGAN_ROPE_LINEAR},   {"llama3", ORGAN_ROPE_LLAMA3},
                 {"yarn", ORGAN_ROPE_YARN},       {"dynamic", ORGAN_ROPE_DYNAMIC}, {"longrope", ORGAN_ROPE_LONGROPE},
                 {"su", ORGAN_ROPE_LONGROPE}};
    const char *word = word_of(s, object, "rope_type", word_of(s, object, "type", "default"));
    /* Early files of Phi-3 use another name. */
    if (strcmp(word, "yarn") == 0 && member(object, "long_factor"))
        word = "longrope";
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (strcmp(word, kinds[k].name) == 0) {
            rope->kind = kinds[k].kind;
            return;
        }
    organ_fail(s->error, ORGAN_BAD_INPUT, "%s: rope_type '%s' is not supported", s->label, word);
}

static double yarn_scale(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1; }

static void read_yarn(const config_hf_source *s, const json_t *object, organ_rope_config *rope)
{
    rope->beta_fast = hf_real(s, object, "beta_fast", 32);
    rope->beta_slow = hf_real(s, object, "beta_slow", 1);
    const double mscale = hf_real(s, object, "mscale", 0), all = hf_real(s, object, "mscale_all_dim", 0);
    const double own = mscale != 0 && all != 0 ? yarn_scale(rope->factor, mscale) / yarn_scale(rope->factor, all)
                                               : yarn_scale(rope->factor, 1);
    rope->attention_factor = hf_real(s, object, "attention_factor", own);
    const json_t *truncate = member(object, "truncate");
    if (truncate && !json_is_boolean(truncate))
        refuse_member(s, "truncate", truncate, "true or false");
    rope->exact_range = truncate && !json_is_true(truncate);
}

/* Returns an array of one positive number for each two dimensions, which the caller frees. */
static float *factors_of(const config_hf_source *s, const json_t *object, const char *key, unsigned dimensions)
{
    const json_t *const array = member(object, key);
    const size_t count = dimensions / 2;
    if (json_array_size(array) != count || count == 0) {
        organ_fail(s->error, ORGAN_BAD_INPUT,
                   "%s: %s has %zu numbers, not one for each two of the %u dimensions that are rotated", s->label, key,
                   json_array_size(array), dimensions);
        return NULL;
    }
    float *const factors = malloc(count * sizeof *factors);
    if (!factors)
        organ_fail_errno(s->error, ENOMEM, "%s", s->label);
    for (size_t k = 0; factors && k < count; k++) {
        const json_t *const value = json_array_get(array, k);
        factors[k] = (float)json_number_value(value);
        if (!json_is_number(value) || !(factors[k] > 0) || !isfinite(factors[k]))
            refuse_member(s, key, value, "a number above 0");
    }
    return factors;
}

/* The factor only scales attention; if it is missing, it is the ratio of the two contexts. */
static void read_longrope(const config_hf_source *s, const json_t *object, const organ_forward_config *c,
                          organ_rope_config *rope)
{
    const double original = (double)rope->original_context;
    rope->factor = hf_real(s, object, "factor", original > 0 ? (double)c->context / original : 0);
    const double own = rope->factor <= 1 || original <= 1 ? 1 : sqrt(1 + log(rope->factor) / log(original));
    rope->attention_factor = hf_real(s, object, "attention_factor", own);
    rope->short_factors = factors_of(s, object, "short_factor", rope->dimensions);
    rope->long_factors = factors_of(s, object, "long_factor", rope->dimensions);
}

/* `object` has the fields of the rotation, or is NULL; `theta` is the default. */
static organ_rope_config read_rope(const config_hf_source *s, const json_t *object, double theta,
                                   const organ_forward_config *c)
{
    organ_rope_config rope = {.attention_factor = 1};
    const double own = s->family->traits & TRAIT_HALF_ROPE ? 0.5 : 1;
    const double part = hf_real(s, object, "partial_rotary_factor", hf_real(s, s->root, "partial_rotary_factor", own));
    rope.dimensions = part > 0 && part <= 1 ? (unsigned)(c->head_dim * part) : 0;
    rope.theta = hf_real(s, object, "rope_theta", theta);
    read_kind(s, object, &rope);
    if (rope.kind == ORGAN_ROPE_DEFAULT)
        return rope;
    const double fallback = hf_real(s, s->root, "original_max_position_embeddings", (double)c->context);
    const double original = hf_real(s, object, "original_max_position_embeddings", fallback);
    rope.original_context = original >= 1 && original < 1e15 ? (uint64_t)original : 0;
    if (rope.kind == ORGAN_ROPE_LONGROPE) {
        read_longrope(s, object, c, &rope);
        return rope;
    }
    if (!member(object, "factor"))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: rope scaling has no factor", s->label);
    rope.factor = hf_real(s, object, "factor", 0);
    if (rope.kind == ORGAN_ROPE_DYNAMIC)
        rope.original_context = c->context;
    if (rope.kind == ORGAN_ROPE_LLAMA3) {
        rope.low_freq_factor = hf_real(s, object, "low_freq_factor", 1);
        rope.high_freq_factor = hf_real(s, object, "high_freq_factor", 4);
    }
    if (rope.kind == ORGAN_ROPE_YARN)
        read_yarn(s, object, &rope);
    return rope;
}

static void read_ropes(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *both = member(s->root, "rope_parameters"), *full = both ? member(both, "full_attention") : NULL;
    const json_t *object = full ? full : both;
    if (!both)
        object = member(s->root, "rope_scaling");
    if (object && !json_is_object(object)) {
        refuse_member(s, both ? "rope_parameters" : "rope_scaling", object, "an object");
        return;
    }
    c->rope = read_rope(s, object, hf_real(s, s->root, "rope_theta", s->family->theta), c);
    c->rope_local = c->rope;
    const json_t *local = full ? member(both, "sliding_attention") : NULL;
    if (!full && s->family->traits & TRAIT_PLAIN_LOCAL)
        c->rope_local =
            (organ_rope_config){.theta = c->rope.theta, .dimensions = c->rope.dimensions, .attention_factor = 1};
    else if (full || s->family->traits & TRAIT_LOCAL_ROPE)
        c->rope_local = read_rope(s, local, hf_real(s, s->root, "rope_local_base_freq", 1e4), c);
}

/* ---- sliding window ---- */

/* A flag for each layer, all false; NULL with an error. */
static bool *flags_for_layers(const config_hf_source *s, const organ_forward_config *c)
{
    bool *const flags = calloc((size_t)c->layers + 1, sizeof *flags);
    if (!flags)
        organ_fail_errno(s->error, ENOMEM, "%s: %u layers", s->label, c->layers);
    return flags;
}

/* If the list gives layers a window but the config has no window size, a later check rejects it. */
static void read_layer_types(const config_hf_source *s, const json_t *types, organ_forward_config *c)
{
    if (!json_is_array(types) || json_array_size(types) != c->layers) {
        refuse_member(s, "layer_types", types, "a list with a word for each of num_hidden_layers");
        return;
    }
    bool *const windowed = flags_for_layers(s, c), any = false;
    c->windowed = windowed;
    for (unsigned k = 0; windowed && k < c->layers; k++) {
        const char *word = organ_json_plain(json_array_get(types, k));
        windowed[k] = word && strcmp(word, "sliding_attention") == 0;
        any = any || windowed[k];
        if (!windowed[k] && (!word || strcmp(word, "full_attention")))
            organ_fail(s->error, ORGAN_BAD_INPUT, "%s: layer_types: '%s' is not supported", s->label,
                       word ? word : "?");
    }
    if (!any) {
        free(windowed);
        c->windowed = NULL;
    }
}

/* Determines layers with a window by their number, if there is no list. */
static void count_layers(const config_hf_source *s, organ_forward_config *c)
{
    const unsigned traits = s->family->traits;
    const unsigned from = traits & (TRAIT_WINDOW_FLAG | TRAIT_WINDOW_FROM) ? needed(s, "max_window_layers") : 0;
    const bool counted = traits & (TRAIT_GEMMA | TRAIT_LAYER_TYPES);
    const unsigned pattern = counted ? hf_size(s, "sliding_window_pattern", s->family->window_pattern) : 0;
    if (traits & TRAIT_GEMMA && pattern == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: sliding_window_pattern is 0, not from 1", s->label);
    bool *const windowed = flags_for_layers(s, c);
    c->windowed = windowed;
    for (unsigned k = 0; windowed && k < c->layers; k++)
        windowed[k] = k >= from && (pattern == 0 || (k + 1) % pattern != 0);
}

static void read_windows(const config_hf_source *s, organ_forward_config *c)
{
    const unsigned traits = s->family->traits;
    const json_t *types = traits & (TRAIT_WINDOW_FLAG | TRAIT_WINDOW_FROM | TRAIT_GEMMA | TRAIT_LAYER_TYPES)
                              ? member(s->root, "layer_types")
                              : NULL;
    const bool off = traits & (TRAIT_WINDOW_FLAG | TRAIT_QWEN_EXPERTS) && !flag_of(s, "use_sliding_window", false);
    if (c->layers > FORWARD_MOST_LAYERS || !(traits & (TRAIT_WINDOW_ALL | TRAIT_WINDOW_FLAG | TRAIT_WINDOW_FROM |
                                                       TRAIT_QWEN_EXPERTS | TRAIT_GEMMA | TRAIT_LAYER_TYPES)))
        return;
    if (off)
        c->window = 0;
    else
        c->window = traits & TRAIT_GEMMA ? needed(s, "sliding_window") : hf_size(s, "sliding_window", 0);
    if (types)
        read_layer_types(s, types, c);
    else if (c->window || traits & TRAIT_GEMMA)
        count_layers(s, c);
}

/* ---- layers without positions ---- */

/* no_rope_layers has 1 for a layer that rotates q and k and 0 for a layer that does not. */
static void read_no_rope_list(const config_hf_source *s, bool *unrotated, const organ_forward_config *c)
{
    const json_t *const list = member(s->root, "no_rope_layers");
    const unsigned interval = hf_size(s, "no_rope_layer_interval", 4);
    if (list && (!json_is_array(list) || json_array_size(list) != c->layers))
        refuse_member(s, "no_rope_layers", list, "a list with 0 or 1 for each of num_hidden_layers");
    if (!list && interval == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: no_rope_layer_interval is 0", s->label);
    for (unsigned k = 0; k < c->layers && !s->error->status; k++) {
        const json_t *const rotates = list ? json_array_get(list, k) : NULL;
        if (list && !json_is_integer(rotates))
            refuse_member(s, "no_rope_layers", list, "a list with 0 or 1 for each of num_hidden_layers");
        unrotated[k] = list ? json_integer_value(rotates) == 0 : (k + 1) % interval == 0;
    }
}

static void read_positions(const config_hf_source *s, organ_forward_config *c)
{
    const unsigned traits = s->family->traits;
    const bool by_window = traits & TRAIT_NO_ROPE_FULL && c->windowed;
    if (c->layers > FORWARD_MOST_LAYERS || !(traits & TRAIT_NO_ROPE_LIST || by_window))
        return;
    bool *const unrotated = flags_for_layers(s, c);
    c->unrotated = unrotated;
    if (unrotated && traits & TRAIT_NO_ROPE_LIST)
        read_no_rope_list(s, unrotated, c);
    for (unsigned k = 0; unrotated && by_window && k < c->layers; k++)
        unrotated[k] = !c->windowed[k];
}

/* ---- the rest ---- */

static void read_activation(const config_hf_source *s, organ_forward_config *c)
{
    const char *key = member(s->root, "hidden_activation") ? "hidden_activation" : "hidden_act";
    const bool gemma = s->family->traits & (TRAIT_GEMMA | TRAIT_GEMMA_ONE);
    const char *word = word_of(s, s->root, key, gemma ? "gelu_pytorch_tanh" : "silu");
    if (strcmp(word, "silu") == 0)
        c->activation = ORGAN_SILU;
    else if (strcmp(word, "gelu_pytorch_tanh") == 0)
        c->activation = ORGAN_GELU_TANH;
    else if (strcmp(word, "gelu") == 0 &&
             !(gemma && strcmp(key, "hidden_act") == 0)) /* early files of Gemma say "gelu" but mean GELU with tanh */
        c->activation = ORGAN_GELU;
    else
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s '%s' is not supported", s->label, key, word);
}

/* The defaults of transformers differ between architectures, so these fields must be present. */
static void require_members(const config_hf_source *s)
{
    static const char *const keys[] = {"first_k_dense_replace", "n_shared_experts", "norm_topk_prob"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        if (!json_object_get(s->root, keys[k]))
            organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s is missing", s->label, keys[k]);
}

static void read_logistic_experts(const config_hf_source *s, organ_forward_config *c)
{
    require_members(s);
    c->experts = needed(s, "n_routed_experts");
    c->expert_intermediate = needed(s, "moe_intermediate_size");
    c->normalise_experts = flag_of(s, "norm_topk_prob", false);
    c->dense_layers = needed(s, "first_k_dense_replace");
    c->router_groups = hf_size(s, "n_group", 1);
    c->router_groups_used = hf_size(s, "topk_group", 1);
    c->router_scale = (float)hf_real(s, s->root, "routed_scaling_factor", 1);
    organ_forward_config_logistic(c, hf_size(s, "n_shared_experts", 0));
    if (c->router_scale == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: routed_scaling_factor is 0", s->label);
}

static void read_experts(const config_hf_source *s, organ_forward_config *c)
{
    if (s->family->traits & TRAIT_LOGISTIC_EXPERTS)
        read_logistic_experts(s, c);
    else if (s->family->traits & TRAIT_MIXTRAL) {
        c->experts = needed(s, "num_local_experts");
        c->expert_intermediate = c->intermediate;
        c->normalise_experts = true;
    } else if (s->family->traits & TRAIT_QWEN_EXPERTS) {
        c->experts = member(s->root, "num_experts") ? hf_size(s, "num_experts", 0) : needed(s, "num_local_experts");
        c->expert_intermediate = needed(s, "moe_intermediate_size");
        c->normalise_experts = flag_of(s, "norm_topk_prob", false);
        if (s->family->traits & TRAIT_SHARED_EXPERT &&
            (c->shared_intermediate = needed(s, "shared_expert_intermediate_size")) == 0)
            organ_fail(s->error, ORGAN_BAD_INPUT, "%s: shared_expert_intermediate_size is 0", s->label);
        c->shared_gated = true;
        const json_t *dense = member(s->root, "mlp_only_layers");
        if (hf_size(s, "decoder_sparse_step", 1) != 1)
            refuse_member(s, "decoder_sparse_step", member(s->root, "decoder_sparse_step"),
                          "1: layers without experts are not supported");
        if (dense && (!json_is_array(dense) || json_array_size(dense)))
            refuse_member(s, "mlp_only_layers", dense, "empty: layers without experts are not supported");
    } else
        return;
    c->experts_used = needed(s, "num_experts_per_tok");
    if (c->experts == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: the number of experts is 0", s->label);
}

static void read_sizes(const config_hf_source *s, organ_forward_config *c)
{
    c->layers = needed(s, "num_hidden_layers");
    c->heads = needed(s, "num_attention_heads");
    c->kv_heads = hf_size(s, "num_key_value_heads", c->heads);
    c->hidden = needed(s, "hidden_size");
    c->intermediate =
        s->family->traits & TRAIT_QWEN_EXPERTS ? hf_size(s, "intermediate_size", 0) : needed(s, "intermediate_size");
    c->vocabulary = needed(s, "vocab_size");
    c->context = needed(s, "max_position_embeddings");
    const unsigned own = s->family->head_dim;
    c->head_dim = hf_size(s, "head_dim", own || c->heads == 0 ? own : (unsigned)(c->hidden / c->heads));
}

/* Granite. transformers takes 1 for each factor that config.json does not have. */
static void read_multipliers(const config_hf_source *s, organ_forward_config *c)
{
    const double divisor = hf_real(s, s->root, "logits_scaling", 1);
    c->embedding_scale = hf_real(s, s->root, "embedding_multiplier", 1);
    c->attention_scale = hf_real(s, s->root, "attention_multiplier", 1);
    c->residual_scale = hf_real(s, s->root, "residual_multiplier", 1);
    c->logit_scale = 1 / divisor;
    if (!isfinite(c->embedding_scale) || !isfinite(c->residual_scale) || !isfinite(c->logit_scale))
        organ_fail(
            s->error, ORGAN_BAD_INPUT,
            "%s: embedding_multiplier %g, residual_multiplier %g, logits_scaling %g: not finite, or divided by 0",
            s->label, c->embedding_scale, c->residual_scale, divisor);
}

static void read_hf_scales(const config_hf_source *s, organ_forward_config *c)
{
    const unsigned traits = s->family->traits;
    if (!member(s->root, "rms_norm_eps"))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: rms_norm_eps is missing", s->label);
    c->rms_eps = hf_real(s, s->root, "rms_norm_eps", 0);
    c->embedding_scale = c->residual_scale = c->logit_scale = 1;
    c->attention_scale = 1 / sqrt((double)c->head_dim);
    if (traits & TRAIT_GEMMA) {
        c->norm_adds_one = true;
        c->norms = ORGAN_NORMS_AROUND;
        c->embedding_scale = sqrt((double)c->hidden);
        const double scalar = hf_real(s, s->root, "query_pre_attn_scalar", 256);
        if (!(scalar > 0) || !isfinite(scalar))
            organ_fail(s->error, ORGAN_BAD_INPUT, "%s: query_pre_attn_scalar is %g, not above 0", s->label, scalar);
        c->attention_scale = 1 / sqrt(scalar);
    }
    if (traits & TRAIT_GEMMA_ONE) {
        c->norm_adds_one = true;
        c->embedding_scale = sqrt((double)c->hidden);
    }
    if (traits & TRAIT_POST_NORMS)
        c->norms = ORGAN_NORMS_AFTER;
    if (traits & TRAIT_MULTIPLIERS)
        read_multipliers(s, c);
    if (traits & TRAIT_SOFTCAPS) {
        const bool second =
            !(traits & TRAIT_QK_NORM); /* Gemma 2 has default caps if its config has no field; null means no cap */
        c->attention_softcap = hf_real(s, s->root, "attn_logit_softcapping",
                                       second && !json_object_get(s->root, "attn_logit_softcapping") ? 50 : 0);
        c->final_softcap = hf_real(s, s->root, "final_logit_softcapping",
                                   second && !json_object_get(s->root, "final_logit_softcapping") ? 30 : 0);
    }
}

static organ_status read_hf_config(const config_hf_source *s, organ_forward_config *c)
{
    const unsigned traits = s->family->traits;
    strcpy(c->architecture, s->family->architecture);
    read_sizes(s, c);
    read_hf_scales(s, c);
    read_activation(s, c);
    read_experts(s, c);
    if (traits & TRAIT_QK_NORM || (traits & TRAIT_QK_NORM_FIELD && flag_of(s, "use_qk_norm", false)))
        c->qk_norm = ORGAN_QK_NORM_HEAD;
    if (traits & TRAIT_QK_NORM_ALL)
        c->qk_norm = ORGAN_QK_NORM_ALL;
    c->rope_interleaved = traits & TRAIT_INTERLEAVED;
    c->qkv_bias = (traits & TRAIT_QKV_BIAS && flag_of(s, "qkv_bias", true)) ||
                  (traits & TRAIT_QKV_BIAS_FIELD && flag_of(s, "attention_bias", traits & TRAIT_OUT_BIAS_FIELD));
    if (traits & TRAIT_BIAS_FIELD)
        c->qkv_bias = c->output_bias = flag_of(s, "attention_bias", false);
    if (traits & TRAIT_OUT_BIAS_FIELD)
        c->output_bias = flag_of(s, "attention_out_bias", false);
    if (traits & TRAIT_MLP_BIAS)
        c->mlp_bias = flag_of(s, "mlp_bias", false);
    if (traits & TRAIT_USE_BIAS)
        c->qkv_bias = c->output_bias = c->mlp_bias = flag_of(s, "use_bias", false);
    c->tied_output = flag_of(s, "tie_word_embeddings", traits & (TRAIT_GEMMA | TRAIT_GEMMA_ONE | TRAIT_USE_BIAS));
    if (flag_of(s, "use_bidirectional_attention", false))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: use_bidirectional_attention is not supported", s->label);
    read_ropes(s, c);
    if (s->error->status == ORGAN_OK)
        read_windows(s, c);
    if (s->error->status == ORGAN_OK)
        read_positions(s, c);
    return s->error->status ? s->error->status : organ_forward_config_check(s->label, c, s->error);
}

organ_status organ_forward_config_hf(const organ_model *model, organ_forward_config *config, organ_error *error)
{
    const char *name = model->config.architecture;
    char *bytes = NULL;
    size_t length;
    if (organ_model_load(model, "config.json", ORGAN_CONFIG_LIMIT, &bytes, &length, error))
        return error->status;
    if (!bytes)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no config.json, which says how the model computes",
                          model->path);
    char label[600];
    snprintf(label, sizeof label, "%s/config.json", model->directory);
    const forward_family *family = organ_forward_family_named(name, false);
    json_t *root = NULL;
    if (!family)
        organ_forward_family_refuse(label, name, false, error);
    organ_hf_config_tidy(bytes, length);
    const organ_json_text text = {label, bytes, length};
    if (family && organ_json_parse(&text, (organ_json_span){0, length}, NULL, &root, error) == ORGAN_OK) {
        const config_hf_source s = {label, root, family, error};
        if (json_is_object(root))
            read_hf_config(&s, config);
        else
            organ_fail(error, ORGAN_BAD_INPUT, "%s: is not an object", label);
        json_decref(root);
    }
    free(bytes);
    return error->status;
}
