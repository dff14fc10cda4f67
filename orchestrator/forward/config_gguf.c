/* SPDX-License-Identifier: MIT
 * Reads the configuration from GGUF key-values, with llama.cpp's defaults. */
#include "orchestrator/forward/config_check.h"
#include "orchestrator/forward/families.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct config_gguf_source {
    const char *label, *architecture;
    const organ_gguf *gguf;
    organ_error *error;
} config_gguf_source;

static const organ_gguf_kv *find_key(const config_gguf_source *s, const char *key, char full[128])
{
    snprintf(full, 128, "%s.%s", s->architecture, key);
    return organ_gguf_find(s->gguf, full);
}

/* The first fault is kept in `error`. Numbers beyond 32 bits become UINT32_MAX. */
static unsigned gguf_size(const config_gguf_source *s, const char *key, unsigned fallback)
{
    char full[128];
    const organ_gguf_kv *kv = find_key(s, key, full);
    int64_t value;
    if (!kv)
        return fallback;
    if (kv->type == ORGAN_GGUF_ARRAY || !organ_gguf_integer_at(kv, 0, &value) || value < 0) {
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is not one whole number from 0", s->label, full);
        return 0;
    }
    return value > UINT32_MAX ? UINT32_MAX : (unsigned)value;
}

static void require_key(const config_gguf_source *s, const char *key)
{
    char full[128];
    if (!find_key(s, key, full))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is missing", s->label, full);
}

static unsigned needed(const config_gguf_source *s, const char *key)
{
    require_key(s, key);
    return gguf_size(s, key, 0);
}

static double gguf_real(const config_gguf_source *s, const char *key, double fallback)
{
    char full[128];
    const organ_gguf_kv *kv = find_key(s, key, full);
    double value = fallback;
    if (kv && (kv->type == ORGAN_GGUF_ARRAY || !organ_gguf_real_at(kv, 0, &value)))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is not one number", s->label, full);
    return value;
}

/* Files of Phi-3 with a long context are recognised only by their tensors of factors. */
static bool has_longrope(const config_gguf_source *s, const organ_model *model)
{
    const bool brief = organ_model_find(model, ORGAN_ROPE_SHORT), lasting = organ_model_find(model, ORGAN_ROPE_LONG);
    if (brief != lasting)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: there is a tensor '%s', but no '%s'", s->label,
                   brief ? ORGAN_ROPE_SHORT : ORGAN_ROPE_LONG, brief ? ORGAN_ROPE_LONG : ORGAN_ROPE_SHORT);
    return brief && lasting;
}

static organ_rope_config read_rope(const config_gguf_source *s, const organ_model *model, const organ_forward_config *c)
{
    organ_rope_config rope = {.attention_factor = 1, .theta = gguf_real(s, "rope.freq_base", 1e4)};
    rope.dimensions = gguf_size(s, "rope.dimension_count", c->head_dim);
    char full[128] = {0};
    const organ_gguf_kv *kv = find_key(s, "rope.scaling.type", full);
    size_t length = 0;
    const char *kind = organ_gguf_string(s->gguf, full, &length);
    if (kv && !kind)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is not text", s->label, full);
    rope.factor = gguf_real(s, "rope.scaling.factor", 1);
    if (has_longrope(s, model)) {
        rope.kind = ORGAN_ROPE_LONGROPE;
        rope.original_context = gguf_size(s, "rope.scaling.original_context_length", (unsigned)c->context);
        rope.attention_factor = gguf_real(s, "rope.scaling.attn_factor", 1);
        return rope;
    }
    if (!kind || (length == 4 && memcmp(kind, "none", 4) == 0))
        return rope;
    if (length == 6 && memcmp(kind, "linear", 6) == 0) {
        rope.kind = ORGAN_ROPE_LINEAR;
        return rope;
    }
    if (length != 4 || memcmp(kind, "yarn", 4)) {
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is '%.*s', which is not supported", s->label, full,
                   (int)(length < 60 ? length : 60), kind);
        return rope;
    }
    rope.kind = ORGAN_ROPE_YARN;
    rope.original_context = gguf_size(s, "rope.scaling.original_context_length", (unsigned)c->context);
    rope.beta_fast = gguf_real(s, "rope.scaling.yarn_beta_fast", 32);
    rope.beta_slow = gguf_real(s, "rope.scaling.yarn_beta_slow", 1);
    const double own = rope.factor > 1 ? 0.1 * log(rope.factor) + 1 : 1;
    rope.attention_factor =
        own * gguf_real(s, "rope.scaling.yarn_attn_factor", gguf_real(s, "rope.scaling.attn_factor", 1));
    return rope;
}

static bool gguf_flag(const config_gguf_source *s, const char *key, bool fallback)
{
    char full[128];
    const organ_gguf_kv *kv = find_key(s, key, full);
    if (kv && (kv->type != ORGAN_GGUF_BOOL || kv->size < 1))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is not true or false", s->label, full);
    return kv && !s->error->status ? *(const unsigned char *)kv->bytes != 0 : fallback;
}

/* llama.cpp's defaults for missing keys; a scale of 0 means none. */
static unsigned read_logistic_experts(const config_gguf_source *s, organ_forward_config *c)
{
    enum { NONE, SOFTMAX, LOGISTIC };
    const unsigned function = gguf_size(s, "expert_gating_func", NONE);
    c->normalise_experts = gguf_flag(s, "expert_weights_norm", false);
    c->router_scale = (float)gguf_real(s, "expert_weights_scale", 0);
    c->router_groups = gguf_size(s, "expert_group_count", 0);
    c->router_groups_used = gguf_size(s, "expert_group_used_count", 0);
    organ_forward_config_logistic(c, needed(s, "expert_shared_count"));
    if (function != NONE && function != LOGISTIC)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.expert_gating_func' is %u, which is not supported", s->label,
                   s->architecture, function);
    return gguf_size(s, "leading_dense_block_count", 0);
}

/* Files of the llama kind are mixtures, of Mixtral, if they have a number of experts. */
static void read_experts(const config_gguf_source *s, const forward_mixture *m, organ_forward_config *c)
{
    const bool gated = m && m->shared_gated;
    unsigned dense = 0;
    c->experts = gguf_size(s, "expert_count", 0);
    if (c->experts == 0)
        return;
    c->experts_used = needed(s, "expert_used_count");
    c->expert_intermediate = gguf_size(s, "expert_feed_forward_length", (unsigned)c->intermediate);
    c->normalise_experts = !m || m->gguf_normalise;
    c->shared_gated = gated;
    if (m && m->logistic)
        dense = read_logistic_experts(s, c);
    if (gated && (c->shared_intermediate = needed(s, "expert_shared_feed_forward_length")) == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.expert_shared_feed_forward_length' is 0", s->label,
                   s->architecture);
    if (!s->error->status)
        organ_forward_config_mixture(s->label, dense, c, s->error);
}

static void read_sizes(const config_gguf_source *s, const organ_model *model, organ_forward_config *c)
{
    const unsigned later = gguf_size(s, "nextn_predict_layers", 0);
    c->layers = needed(s, "block_count");
    if (later && later >= c->layers)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %u of %u blocks are for tokens after the next one", s->label, later,
                   c->layers);
    else
        c->layers -= later; /* excludes the last layers, which predict further tokens and are not part of the pass */
    c->heads = needed(s, "attention.head_count");
    c->kv_heads = gguf_size(s, "attention.head_count_kv", c->heads);
    c->hidden = needed(s, "embedding_length");
    c->context = needed(s, "context_length");
    c->head_dim = gguf_size(s, "attention.key_length", c->heads ? (unsigned)(c->hidden / c->heads) : 0);
    const unsigned value = gguf_size(s, "attention.value_length", c->head_dim);
    if (value != c->head_dim)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: keys of %u and values of %u: heads of two sizes are not supported",
                   s->label, c->head_dim, value);
    c->intermediate =
        gguf_size(s, "expert_count", 0) ? gguf_size(s, "feed_forward_length", 0) : needed(s, "feed_forward_length");
    const organ_tensor *embedding = organ_model_find(model, "token_embd.weight");
    if (!embedding || embedding->rank != 2)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: tensor 'token_embd.weight' is missing or not a matrix", s->label);
    else
        c->vocabulary = embedding->shape[0];
}

static void read_gguf_scales(const config_gguf_source *s, const forward_family *family, organ_forward_config *c)
{
    require_key(s, "attention.layer_norm_rms_epsilon");
    c->rms_eps = gguf_real(s, "attention.layer_norm_rms_epsilon", 0);
    c->embedding_scale = family->scaled_embeddings ? sqrt((double)c->hidden) : 1;
    c->residual_scale = c->logit_scale = 1;
    /* The metadata of Gemma lack this: the 27 B model, recognised by its number of layers, scales scores by
     * hidden_size / heads instead of head_dim. */
    const bool large = family->large_layers && c->layers == family->large_layers;
    c->attention_scale = 1 / sqrt(large ? (double)c->hidden / c->heads : (double)c->head_dim);
    if (family->softcaps) {
        c->attention_softcap = gguf_real(s, "attn_logit_softcapping", family->attention_softcap);
        c->final_softcap = gguf_real(s, "final_logit_softcapping", family->final_softcap);
    }
}

/* Apply the sliding window that Phi-3 was trained with; llama.cpp attends to everything. */
static void read_windows(const config_gguf_source *s, const forward_family *family, organ_forward_config *c)
{
    const bool used = family->windows == WINDOWS_ALL || family->windows == WINDOWS_PATTERN;
    c->window = used ? gguf_size(s, "attention.sliding_window", 0) : 0;
    organ_forward_config_pattern(c, family->window_pattern);
}

static bool has_qk_norm(const forward_family *family, const organ_model *model)
{
    return !family->qk_norm_key || organ_model_find(model, "blk.0.attn_q_norm.weight");
}

static organ_status read_gguf_config(const config_gguf_source *s, const organ_model *model,
                                     const forward_family *family, organ_forward_config *c)
{
    strcpy(c->architecture, family->gguf);
    read_sizes(s, model, c);
    if (organ_forward_config_kinds(s->label, c, s->error))
        return s->error->status;
    read_experts(s, family->mixture, c);
    read_gguf_scales(s, family, c);
    c->norms = family->norms;
    c->activation = family->activation;
    c->qk_norm = has_qk_norm(family, model) ? family->qk_norm : ORGAN_QK_NORM_NONE;
    c->qkv_bias = organ_model_find(model, "blk.0.attn_q.bias") || organ_model_find(model, "blk.0.attn_qkv.bias");
    c->output_bias = organ_model_find(model, "blk.0.attn_output.bias");
    c->mlp_bias = organ_model_find(model, "blk.0.ffn_down.bias");
    c->tied_output = !organ_model_find(model, "output.weight");
    c->rope_interleaved = strcmp(family->gguf, "llama") == 0;
    c->rope = c->rope_local = read_rope(s, model, c);
    if (family->local == LOCAL_OWN)
        c->rope_local = (organ_rope_config){
            .attention_factor = 1, .theta = gguf_real(s, "rope.freq_base_swa", 1e4), .dimensions = c->rope.dimensions};
    read_windows(s, family, c);
    return s->error->status ? s->error->status : organ_forward_config_check(s->label, c, s->error);
}

organ_status organ_forward_config_gguf(const organ_model *model, organ_forward_config *config, organ_error *error)
{
    const char *name = model->config.model_type;
    const forward_family *family = organ_forward_family_named(name, true);
    if (!family)
        return organ_forward_family_refuse(model->path, name, true, error);
    const config_gguf_source s = {model->path, name, model->gguf, error};
    return read_gguf_config(&s, model, family, config);
}
