/* SPDX-License-Identifier: MIT
 * Reads the configuration of the forward pass from config.json.
 * `s` is the config.json that is read; s->family, called the family, is the row of its architecture in families.h. `c`
 * is the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is
 * there. The root, s->root, is the JSON object of the text model. */
#include "formats/config/gguf_readers.h"

#include "formats/base/json.h"
#include "formats/base/owned.h"
#include "formats/base/quant_sections.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void read_activation(const config_hf_source *s, organ_forward_config *c)
{
    c->gate_limit = organ_config_number(s, s->family->gate_limit);
    c->gate_alpha = organ_config_number(s, s->family->gate_alpha);
    static const struct {
        const char *word;
        organ_activation activation;
    } words[] = {{"silu", ORGAN_SILU},          {"gelu_pytorch_tanh", ORGAN_GELU_TANH},
                 {"gelu_new", ORGAN_GELU_TANH}, {"gelu_fast", ORGAN_GELU_TANH},
                 {"gelu", ORGAN_GELU},          {"relu", ORGAN_RELU},
                 {"relu2", ORGAN_RELU_SQUARED}, {"xielu", ORGAN_XIELU}};
    const forward_family *const f = s->family;
    const char *key = organ_config_member(s->root, "hidden_activation") ? "hidden_activation" : "hidden_act";
    key = f->activation_key ? f->activation_key : key;
    /* Early files of Gemma say "gelu" but mean GELU with tanh. */
    const bool gemma = f->activation == ORGAN_GELU_TANH && !f->ungated;
    const char *word = organ_config_word(s, s->root, key, NULL);
    c->activation = f->activation;
    if (!word || (gemma && strcmp(word, "gelu") == 0 && strcmp(key, "hidden_act") == 0))
        return;
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        if (strcmp(word, words[k].word) == 0 &&
            (f->ungated || words[k].activation < ORGAN_XIELU || words[k].activation == f->activation)) {
            c->activation = words[k].activation;
            return;
        }
    organ_refuse(s->error, s->label, "%s '%s' is not supported", key, word);
}

/* The number is that of FalconAttention._split_heads of transformers. */
static void read_falcon_heads(const config_hf_source *s, organ_forward_config *c)
{
    if (organ_config_flag(s, "new_decoder_architecture", false))
        c->kv_heads = organ_config_size(s, "num_kv_heads", c->heads);
    else
        c->kv_heads = organ_config_flag(s, "multi_query", true) ? 1 : c->heads;
}

/* Layers with parallel attention have one norm, or with new_decoder_architecture one or two. */
static void read_falcon_norms(const config_hf_source *s, organ_forward_config *c)
{
    const bool grouped = organ_config_flag(s, "new_decoder_architecture", false);
    const unsigned norms = organ_config_size(s, "num_ln_in_parallel_attn", 2);
    c->parallel = organ_config_flag(s, "parallel_attn", true);
    c->one_norm = c->parallel && !(grouped && norms == 2);
    if (norms != 1 && norms != 2)
        organ_refuse(s->error, s->label, "num_ln_in_parallel_attn is %u, not 1 or 2", norms);
    c->alibi_max = organ_config_flag(s, "alibi", false) ? 8 : 0; /* transformers has this constant for Falcon */
    c->alibi_rounded = true;
    if (grouped && !c->parallel)
        organ_refuse(s->error, s->label, "new_decoder_architecture without parallel_attn is not supported");
}

#define WIDTH "intermediate_size"

/* intermediate_size may be missing in families whose layers are all mixtures or have no feed-forward, or that have a
 * default width; Gemma 3n may have a list there, which read_widths reads. With `shortcut` (LongCat-Flash) a layer of
 * the file is two layers here. */
static void read_sizes(const config_hf_source *s, organ_forward_config *c)
{
    const forward_mixture *const mixture = s->family->mixture;
    const bool all_mixtures = mixture && !mixture->dense_first && !s->family->dual_ffn;
    const bool attention_free = s->family->attention_free;
    c->layers = organ_config_layers(s) * (s->family->shortcut ? 2 : 1);
    c->heads = attention_free ? 1 : organ_config_needed(s, "num_attention_heads");
    c->kv_heads = organ_config_size(s, "num_key_value_heads", c->heads);
    c->hidden = organ_config_needed(s, "hidden_size");
    const bool optional = all_mixtures || attention_free || s->family->four_times ||
                          (s->family->streams && json_is_array(json_object_get(s->root, WIDTH)));
    c->intermediate = optional ? 0 : organ_config_needed(s, WIDTH);
    if (all_mixtures || s->family->four_times)
        c->intermediate = organ_config_size(s, WIDTH, s->family->four_times ? (unsigned)(4 * c->hidden) : 0);
    if (s->family->falcon)
        read_falcon_heads(s, c);
    c->vocabulary = organ_config_needed(s, "vocab_size");
    c->context = s->family->context ? organ_config_size(s, "max_position_embeddings", s->family->context)
                                    : organ_config_needed(s, "max_position_embeddings");
    const unsigned usual = s->family->head_dim;
    c->head_dim = organ_config_size(s, "head_dim", usual || c->heads == 0 ? usual : (unsigned)(c->hidden / c->heads));
}

static void read_multipliers(const config_hf_source *s, const forward_multipliers *m, organ_forward_config *c)
{
    const double divisor = m->logit_divisor ? organ_config_real(s, s->root, m->logit_divisor, 1) : 1;
    if (m->embedding)
        c->embedding_scale = organ_config_real(s, s->root, m->embedding, 1);
    if (m->attention)
        c->attention_scale = organ_config_real(s, s->root, m->attention, m->attention_usual ? c->attention_scale : 1);
    if (m->residual)
        c->residual_scale = organ_config_real(s, s->root, m->residual, 1);
    if (m->logit && !organ_config_member(s->root, m->logit))
        organ_refuse(s->error, s->label, "%s is missing", m->logit);
    c->logit_scale = (m->logit ? organ_config_real(s, s->root, m->logit, 1) : 1) / divisor;
    if (!isfinite(c->embedding_scale) || !isfinite(c->residual_scale) || !isfinite(c->logit_scale))
        organ_refuse(s->error, s->label, "%s %g, %s %g, %s %g: not finite, or divided by 0",
                     m->embedding ? m->embedding : "embeddings are scaled by", c->embedding_scale,
                     m->residual ? m->residual : "residuals by", c->residual_scale,
                     m->logit ? m->logit : m->logit_divisor, m->logit ? c->logit_scale : divisor);
}

/* The defaults are those of MiniCPM3Config of transformers: embeddings are multiplied by scale_emb, residuals by
 * scale_depth / sqrt(layers), the input of the output head by dim_model_base / hidden_size. A null for scale_depth or
 * dim_model_base means no factor. */
static void read_minicpm(const config_hf_source *s, organ_forward_config *c)
{
    static const char *const depth = "scale_depth", *const base = "dim_model_base";
    const double layers = sqrt((double)c->layers), hidden = (double)c->hidden;
    c->embedding_scale = organ_config_real(s, s->root, "scale_emb", 12);
    c->residual_scale = organ_config_real(s, s->root, depth, json_object_get(s->root, depth) ? layers : 1.4) / layers;
    c->head_scale = organ_config_real(s, s->root, base, json_object_get(s->root, base) ? hidden : 256) / hidden;
    if (!isfinite(c->embedding_scale) || !isfinite(c->residual_scale) || !(c->head_scale > 0))
        organ_refuse(s->error, s->label, "scale_emb is %g, scale_depth %g, not finite, or %s %g, not above 0",
                     c->embedding_scale, c->residual_scale * layers, base, c->head_scale * hidden);
}

static double read_softcap(const config_hf_source *s, const char *key, double otherwise)
{
    return organ_config_real(s, s->root, key, json_object_get(s->root, key) ? 0 : otherwise);
}

static void read_hf_scales(const config_hf_source *s, organ_forward_config *c)
{
    const forward_family *const f = s->family;
    const bool named = f->either_norm && organ_config_member(s->root, "rms_norm_eps");
    const char *const eps = f->eps_key && !named ? f->eps_key : "rms_norm_eps";
    c->norm = named ? ORGAN_NORM_RMS : c->norm;
    if (f->eps == 0 && !organ_config_member(s->root, organ_config_name(s, eps)))
        organ_refuse(s->error, s->label, "%s is missing", eps);
    c->rms_eps = organ_config_real(s, s->root, eps, f->eps);
    const bool scaled = f->scaled_embeddings && (!f->scaled_key || organ_config_flag(s, f->scaled_key, false));
    c->embedding_scale = scaled ? sqrt((double)c->hidden) : 1;
    c->residual_scale = c->logit_scale = 1;
    c->attention_scale = 1 / sqrt((double)c->head_dim);
    if (f->query_scalar) {
        const double scalar = organ_config_real(s, s->root, "query_pre_attn_scalar", 256);
        if (!(scalar > 0) || !isfinite(scalar))
            organ_refuse(s->error, s->label, "query_pre_attn_scalar is %g, not above 0", scalar);
        c->attention_scale = 1 / sqrt(scalar);
    }
    if (f->minicpm)
        read_minicpm(s, c);
    if (f->multipliers)
        read_multipliers(s, f->multipliers, c);
    if (f->softcaps) {
        if (f->attention_softcap > 0)
            c->attention_softcap = read_softcap(s, "attn_logit_softcapping", f->attention_softcap);
        c->final_softcap = read_softcap(s, "final_logit_softcapping", f->final_softcap);
    }
}

/* The linear layers of BitNet also quantise their inputs (AutoBitLinear of transformers). */
static void refuse_bitnet(const config_hf_source *s)
{
    const organ_quant_section *section;
    char field[64];
    for (size_t k = 0; (section = organ_quant_section_at(k)); k++) {
        const json_t *const method = organ_config_member(organ_config_member(s->file, section->key), "quant_method");
        const char *const word = organ_json_plain(method);
        snprintf(field, sizeof field, "%s.quant_method", section->key);
        if (word && strcmp(word, "bitnet") == 0)
            organ_config_refuse(s, field, method, "a supported method: its linear layers also quantise their inputs");
    }
}

/* The word "vision" of Gemma 4 concerns only images. */
static void refuse_bidirectional(const config_hf_source *s)
{
    static const char key[] = "use_bidirectional_attention";
    const char *const word = organ_json_plain(organ_config_member(s->root, key));
    if (!(word && s->family->per_layer && strcmp(word, "vision") == 0) && organ_config_member(s->root, key) &&
        !json_is_false(organ_config_member(s->root, key)))
        organ_config_refuse(s, key, organ_config_member(s->root, key),
                            "false: attention to later tokens is not supported");
}

/* Settings that no other setting depends on. */
static void read_flags(const config_hf_source *s, organ_forward_config *c)
{
    const forward_family *const f = s->family;
    c->parallel = organ_config_flag_of(s, f->parallel);
    c->one_norm = c->parallel && f->one_norm;
    if (f->falcon)
        read_falcon_norms(s, c);
    c->head_bias = organ_config_flag_of(s, f->head_bias);
    c->clip_qkv = f->clip ? organ_config_real(s, s->root, f->clip, 0) : 0;
    c->norm_adds_one = f->norm_adds_one;
    c->qk_norm = !f->qk_norm_key || organ_config_flag(s, f->qk_norm_key, false) ? f->qk_norm : ORGAN_QK_NORM_NONE;
    if (f->gate_key && !organ_config_flag(s, f->gate_key, true))
        c->gate = ORGAN_UNGATED;
    if (f->value_scale.key) /* null means no scale */
        c->value_scale = organ_config_real(s, s->root, f->value_scale.key,
                                           json_object_get(s->root, f->value_scale.key) ? 0 : f->value_scale.otherwise);
    c->rope_interleaved = f->interleaved;
    c->qkv_bias = organ_config_flag_of(s, f->qkv_bias);
    c->output_bias = organ_config_flag_of(s, f->output_bias);
    c->mlp_bias = organ_config_flag_of(s, f->mlp_bias);
    c->tied_output = organ_config_is_tied(s);
}

/* Sizes come first, because later members have an entry for each layer; the other steps are in the order in which
 * they depend on each other. */
static organ_status read_hf_config(const config_hf_source *s, organ_forward_config *c)
{
    const forward_family *const f = s->family;
    strcpy(c->architecture, f->architecture);
    read_sizes(s, c);
    if (organ_forward_config_kinds(s->label, c, s->error))
        return s->error->status;
    organ_forward_family_apply(f, c);
    if (f->norms_key && !organ_config_flag(s, f->norms_key, true))
        c->norms = ORGAN_NORMS_BEFORE;
    organ_config_latent(s, c);
    organ_config_blocks(s, c);
    read_hf_scales(s, c);
    organ_config_mixers(s, c);
    organ_config_compressed(s, c);
    organ_config_require(s, s->root, f->fixed);
    read_activation(s, c);
    organ_config_experts(s, c);
    read_flags(s, c);
    refuse_bidirectional(s);
    refuse_bitnet(s);
    if (s->error->status == ORGAN_OK)
        organ_config_windows(s, c);
    if (s->error->status == ORGAN_OK)
        organ_config_heads(s, c);
    if (s->error->status == ORGAN_OK && f->heads == HEADS_STEP)
        organ_config_step_layers(s, c);
    if (s->error->status == ORGAN_OK)
        organ_config_global_heads(s, c);
    if (f->compressed)
        organ_config_compressed_ropes(s, c);
    else
        organ_config_ropes(s, c);
    if (s->error->status == ORGAN_OK)
        organ_config_positions(s, c);
    if (s->error->status == ORGAN_OK)
        organ_config_gemma(s, c);
    organ_config_early(s, c);
    return s->error->status ? s->error->status : organ_forward_config_check(s->label, c, s->error);
}

static organ_status read_hf_root(const char *label, json_t *root, const char *name, organ_forward_config *config,
                                 organ_error *error)
{
    const json_t *const text = organ_config_text(root, &name);
    const forward_family *const family = organ_forward_family_named(name, /*gguf=*/false);
    if (!family)
        return organ_forward_family_refuse(label, name, /*gguf=*/false, error);
    return read_hf_config(&(config_hf_source){label, root, text, family, error}, config);
}

organ_status organ_config_parse(const char *label, const char *bytes, size_t length, json_t **root, organ_error *error)
{
    ORGAN_OWNED char *const copy = malloc(length + 1);
    *root = NULL;
    if (!copy)
        return organ_fail_memory(error, label);
    memcpy(copy, bytes, length);
    copy[length] = '\0';
    organ_hf_config_tidy(copy, length);
    return organ_json_parse_object(&(organ_json_source){label, copy, length}, root, error);
}

organ_status organ_forward_config_text(const char *label, const char *bytes, size_t length, const char *architecture,
                                       organ_forward_config *config, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *root = NULL;
    return organ_config_parse(label, bytes, length, &root, error)
               ? error->status
               : read_hf_root(label, root, architecture, config, error);
}

organ_status organ_forward_config_hf(const organ_model *model, organ_forward_config *config, organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    size_t length;
    if (organ_model_load(model, "config.json", ORGAN_CONFIG_LIMIT, &bytes, &length, error))
        return error->status;
    if (!bytes)
        return organ_refuse(error, model->path, "config.json is missing; the forward pass needs it");
    char label[600];
    snprintf(label, sizeof label, "%s/config.json", model->directory);
    organ_forward_config_text(label, bytes, length, model->config.architecture, config, error);
    return error->status;
}
