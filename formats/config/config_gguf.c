/* SPDX-License-Identifier: MIT
 * Reads the configuration from GGUF key-values, with llama.cpp's defaults.
 * `s` is the GGUF file that is read; s->family, called the family, is the row of its architecture in families.h. `c` is
 * the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is there.
 */
#include "formats/config/gguf_readers.h"
#include "formats/architecture/mtp_types.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Reads the sizes of the model, with the heads and the feed-forward of its first layer. The size of the vocabulary is
 * the number of rows of the embedding: not all GGUF files have a key for it. */
static void read_sizes(const config_gguf_source *s, organ_forward_config *c)
{
    const unsigned later = organ_key_size(s, ORGAN_MTP_KEY, 0);
    c->layers = organ_key_needed(s, "block_count");
    if (later && later >= c->layers)
        organ_key_refuse(s, ORGAN_MTP_KEY, "is %u, not below block_count %u", later, c->layers);
    else
        c->layers -= later; /* excludes the last layers, which predict further tokens and are not part of the pass */
    organ_key_require(s, "attention.head_count");
    c->heads = organ_key_of_layer(s, "attention.head_count", 0, 0);
    c->kv_heads = organ_key_of_layer(s, "attention.head_count_kv", 0, c->heads);
    c->hidden = organ_key_needed(s, "embedding_length");
    c->context = organ_key_needed(s, "context_length");
    c->head_dim = organ_key_size(s, "attention.key_length", c->heads ? (unsigned)(c->hidden / c->heads) : 0);
    if (s->family->attention_free) { /* the file states 0 heads; a config.json gives one, as wide as the state */
        c->heads = c->kv_heads = 1;
        c->head_dim = (unsigned)c->hidden;
    }
    /* in MiMo and in latent attention v may have another width, which other functions read */
    const unsigned value = organ_key_size(s, "attention.value_length", c->head_dim);
    if (value != c->head_dim && !s->family->latent && s->family->heads != HEADS_MIMO)
        organ_key_refuse(s, "attention.key_length",
                         "is %u and attention.value_length %u: different head sizes are not supported", c->head_dim,
                         value);
    if (organ_key_size(s, "expert_count", 0) == 0)
        organ_key_require(s, "feed_forward_length");
    c->intermediate = organ_key_of_layer(s, "feed_forward_length", 0, 0);
    const organ_tensor *embedding = organ_model_find(s->model, "token_embd.weight");
    if (!embedding || embedding->rank != 2)
        organ_refuse(s->error, s->label, "tensor 'token_embd.weight' is missing or not a matrix");
    else
        c->vocabulary = embedding->shape[0];
}

/* A factor of 0 counts as missing. */
static double read_multiplier(const config_gguf_source *s, const char *key, double otherwise)
{
    const double value = organ_key_real(s, key, 0);
    if (!isfinite(value) || value < 0)
        organ_key_refuse(s, key, "is %g: not finite, or below 0", value);
    return value != 0 ? value : otherwise;
}

/* The key logit_scale is a factor in files of families with forward_multipliers.logit (Cohere), else a divisor
 * (Granite). */
static void read_gguf_scales(const config_gguf_source *s, organ_forward_config *c)
{
    const forward_family *const f = s->family;
    if (f->either_norm && organ_key_real(s, "attention.layer_norm_rms_epsilon", 0) != 0)
        c->norm = ORGAN_NORM_RMS;
    const bool rms = c->norm == ORGAN_NORM_RMS;
    const char *eps = rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
    /* llama.cpp's converter writes the other key for Nemotron-H. */
    if (rms && f->recurrent && !organ_key_find(s, eps))
        eps = "attention.layer_norm_epsilon";
    organ_key_require(s, eps);
    c->rms_eps = organ_key_real(s, eps, 0);
    c->embedding_scale = f->scaled_embeddings ? sqrt((double)c->hidden) : 1;
    c->residual_scale = c->logit_scale = 1;
    /* GGUF files of Gemma have no key for the scale of scores. The 27 B model, recognised by its number of layers,
     * scales them by 1 / sqrt(hidden_size / heads), the others by 1 / sqrt(head_dim). */
    const bool large = f->large_layers && c->layers == f->large_layers;
    c->attention_scale = 1 / sqrt(large ? (double)c->hidden / c->heads : (double)c->head_dim);
    if (f->multipliers && f->multipliers->logit)
        c->logit_scale = read_multiplier(s, "logit_scale", 1);
    else if (f->multipliers) {
        c->embedding_scale = read_multiplier(s, "embedding_scale", 1);
        c->attention_scale = read_multiplier(s, "attention.scale", c->attention_scale);
        c->residual_scale = read_multiplier(s, "residual_scale", 1);
        c->logit_scale = 1 / read_multiplier(s, "logit_scale", 1);
    }
    if (f->softcaps) {
        if (f->attention_softcap > 0)
            c->attention_softcap = organ_key_real(s, "attn_logit_softcapping", f->attention_softcap);
        c->final_softcap = organ_key_real(s, "final_logit_softcapping", f->final_softcap);
    }
}

/* Only models of Mistral have the keys, but some of them have DeepSeek's architecture: hence all families with
 * latent attention. */
static bool uses_query_scale(const forward_family *f) { return f->latent || f->query == QUERY_ROPE; }

/* llama.cpp computes with these keys, but the forward pass ignores them for this architecture. */
static void refuse_foreign_keys(const config_gguf_source *s)
{
    const bool scaled = uses_query_scale(s->family), mpt = s->family->early == EARLY_MPT;
    const struct {
        const char *key;
        double neutral; /* the value that changes nothing */
        bool used;      /* the forward pass reads the key for this architecture */
    } foreign[] = {{"attention.causal", 1, false},
                   {"attention.clamp_kqv", 0, s->family->clip || mpt},
                   {"attention.max_alibi_bias", 0, mpt},
                   {"attention.temperature_scale", 0, scaled},
                   {"rope.scaling.yarn_ext_factor", 1, false},
                   {"rope.scaling.yarn_log_multiplier", 0, scaled},
                   {"rope.scaling.alpha", 0, false},
                   {"expert_group_scale", 0, false},
                   {"attention.sliding_window", 0, !s->family->recurrent},
                   {"ssm.dt_b_c_rms", 0, s->family->recurrent && s->family->recurrent->rank},
                   {"moe_every_n_layers", 0, false}};
    for (size_t k = 0; k < sizeof foreign / sizeof *foreign; k++)
        if (!foreign[k].used && organ_key_real(s, foreign[k].key, foreign[k].neutral) != foreign[k].neutral)
            organ_key_refuse(s, foreign[k].key, "is not supported");
}

/* Some families have the norm only if the file has that of layer 0. The norm of Llama 4 has no weights; llama.cpp
 * applies it unless there are 128 experts, the number of the published model without the norm. */
static bool has_qk_norm(const config_gguf_source *s, const organ_forward_config *c)
{
    if (s->family->qk_norm_bare && s->family->qk_norm_key)
        return c->experts != 128;
    return !s->family->qk_norm_key || organ_key_layer_tensor(s, 0, "attn_q_norm.weight");
}

/* In StableLM a parallel layer has no norm before the feed-forward; in Falcon attn_norm_2 exists if attention and
 * feed-forward have a norm each. */
static void read_parallel(const config_gguf_source *s, organ_forward_config *c)
{
    const forward_family *const f = s->family;
    if (f->parallel.key && f->one_norm)
        c->parallel = !organ_key_layer_tensor(s, 0, "ffn_norm.weight");
    else if (f->falcon)
        c->parallel = true;
    else if (f->parallel.key)
        c->parallel = organ_key_flag(s, "use_parallel_residual", f->parallel.otherwise);
    else
        c->parallel = f->parallel.otherwise;
    c->one_norm = c->parallel && (f->falcon ? !organ_key_layer_tensor(s, 0, "attn_norm_2.weight") : f->one_norm);
}

static void read_xielu(const config_gguf_source *s, organ_forward_config *c)
{
    static const char *const keys[] = {"xielu.alpha_p", "xielu.alpha_n", "xielu.beta", "xielu.eps"};
    for (unsigned l = 0; l < c->layers && c->activation == ORGAN_XIELU; l++)
        for (unsigned k = 0; k < 4; k++)
            c->kinds[l].xielu[k] = (float)organ_key_real_of_layer(s, keys[k], l);
}

static void read_limits(const config_gguf_source *s, organ_forward_config *c)
{
    static const char *const keys[] = {"swiglu_clamp_shexp", "swiglu_clamp_exp"};
    char full[CONFIG_KEY_LIMIT];
    for (unsigned k = 0; k < 2 && s->family->heads == HEADS_STEP; k++)
        for (unsigned l = 0; organ_key_find(s, keys[k]) && l < c->layers && !s->error->status; l++) {
            const double limit = organ_key_real_of_layer(s, organ_key_name(s, keys[k], full), l);
            c->kinds[l].limits[k] = (float)limit;
            if (!(limit >= 0) || !isfinite(limit))
                organ_key_refuse(s, keys[k], "is %g for layer %u", limit, l);
        }
}

/* Some layers may lack the matrix: the first layer that has it decides. */
static bool is_biased(const config_gguf_source *s, const organ_forward_config *c, const char *matrix)
{
    char name[CONFIG_KEY_LIMIT];
    for (unsigned l = 0; l < c->layers; l++) {
        snprintf(name, sizeof name, "%s.weight", matrix);
        if (!organ_key_layer_tensor(s, l, name))
            continue;
        snprintf(name, sizeof name, "%s.bias", matrix);
        return organ_key_layer_tensor(s, l, name);
    }
    return false;
}

static void read_biases(const config_gguf_source *s, organ_forward_config *c)
{
    c->qkv_bias = is_biased(s, c, "attn_q") || is_biased(s, c, "attn_qkv") || is_biased(s, c, "attn_kv_a_mqa");
    c->output_bias = is_biased(s, c, "attn_output");
    /* without a dense layer the shared experts show it, but not those of Nemotron-H, which have no biases in llama.cpp
     */
    c->mlp_bias = is_biased(s, c, "ffn_down") || (!s->family->recurrent && is_biased(s, c, "ffn_down_shexp"));
    c->head_bias = organ_key_tensor(s, "output.bias");
}

/* Only MPT has keys for the bias of ALiBi; other families have the constant of forward_family.alibi, such as 8 for
 * BLOOM, as in llama.cpp. */
static void read_alibi(const config_gguf_source *s, organ_forward_config *c)
{
    if (s->family->early == EARLY_MPT) {
        organ_key_require(s, "attention.max_alibi_bias");
        c->alibi_max = organ_key_real(s, "attention.max_alibi_bias", 0);
        c->clip_qkv = organ_key_real(s, "attention.clamp_kqv", 0);
        if (!(c->alibi_max > 0) || organ_key_tensor(s, "position_embd.weight"))
            organ_key_refuse(s, "attention.max_alibi_bias",
                             "is %g: learned positions in place of ALiBi are not supported", c->alibi_max);
    }
    organ_forward_config_place(c);
}

/* Sizes come first, because later members have an entry for each layer; the other steps are in the order in which
 * they depend on each other. */
static organ_status read_gguf_config(const config_gguf_source *s, organ_forward_config *c)
{
    const forward_family *const f = s->family;
    strcpy(c->architecture, f->gguf);
    refuse_foreign_keys(s);
    read_sizes(s, c);
    if (organ_forward_config_kinds(s->label, c, s->error))
        return s->error->status;
    organ_forward_family_apply(f, c);
    c->fused = ORGAN_FUSED_NONE; /* llama.cpp's converter stores all of q, then k, then v */
    organ_key_heads(s, c);
    organ_key_latent(s, c);
    organ_key_blocks(s, c);
    organ_key_experts(s, c);
    read_gguf_scales(s, c);
    organ_key_mixers(s, c);
    c->activation = f->activation;
    c->gate_limit = f->gate_limit.otherwise;
    c->gate_alpha = f->gate_alpha.otherwise;
    c->value_scale = f->value_scale.key ? organ_key_real(s, "attention.value_scale", 0) : 0;
    c->clip_qkv = f->clip ? organ_key_real(s, "attention.clamp_kqv", 0) : 0;
    c->qk_norm = has_qk_norm(s, c) ? f->qk_norm : ORGAN_QK_NORM_NONE;
    read_biases(s, c);
    read_parallel(s, c);
    read_xielu(s, c);
    read_limits(s, c);
    c->tied_output = !organ_key_tensor(s, "output.weight");
    c->rope_interleaved = f->interleaved || f->gguf_pairs;
    organ_key_ropes(s, c);
    organ_key_latent_scale(s, c);
    if (uses_query_scale(f) || f->query == QUERY_LLAMA4)
        organ_key_query(s, c);
    organ_key_windows(s, c);
    organ_key_positions(s, c);
    read_alibi(s, c);
    organ_key_gemma(s, c);
    return s->error->status ? s->error->status : organ_forward_config_check(s->label, c, s->error);
}

organ_status organ_forward_config_gguf(const organ_model *model, organ_forward_config *config, organ_error *error)
{
    const char *name = model->config.model_type;
    const forward_family *family = organ_forward_family_named(name, /*gguf=*/true);
    if (!family)
        return organ_forward_family_refuse(model->path, name, /*gguf=*/true, error);
    const config_gguf_source s = {model->path, name,
                                  model,       family,
                                  error,       organ_mtp_is_alone(model) ? (unsigned)organ_mtp_trunk_layers(model) : 0};
    read_gguf_config(&s, config);
    organ_key_name_fault(&s);
    return error->status;
}
