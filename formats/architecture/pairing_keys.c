/* SPDX-License-Identifier: MIT
 * Keys of GGUF files and the values that configurations have for them. The rows follow llama.cpp's converter
 * (conversion/base.py and others); docs/verbs/convert.md compares it with this program. */
#include "formats/architecture/pairing.h"

#include "formats/base/word_lists.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* ---- values that are computed from a configuration ---- */

bool organ_pairing_has_attention(const organ_forward_config *c)
{
    for (unsigned l = 0; l < c->layers; l++)
        if (c->kinds[l].mixer == ORGAN_MIXER_ATTENTION || c->kinds[l].second == ORGAN_MIXER_ATTENTION)
            return true;
    return false;
}

bool organ_pairing_rotates(const organ_forward_config *c)
{
    for (unsigned l = 0; l < c->layers; l++)
        if (c->kinds[l].mixer == ORGAN_MIXER_ATTENTION && c->kinds[l].rotated)
            return true;
    return false;
}

const organ_layer_kind *organ_pairing_kind(const organ_forward_config *c, bool windowed)
{
    for (unsigned l = 0; l < c->layers; l++)
        if ((c->kinds[l].window > 0) == windowed)
            return &c->kinds[l];
    return c->kinds;
}

unsigned organ_pairing_dense(const organ_forward_config *c)
{
    unsigned dense = 0;
    while (dense < c->layers && !c->kinds[dense].mixture)
        dense++;
    return dense;
}

static double key_rotates(const organ_forward_config *c) { return organ_pairing_rotates(c); }
static double key_leading_dense(const organ_forward_config *c) { return organ_pairing_dense(c); }
static double key_full_head(const organ_forward_config *c)
{
    return organ_pairing_kind(c, /*windowed=*/false)->head_dim;
}
static double key_local_head(const organ_forward_config *c)
{
    return organ_pairing_kind(c, /*windowed=*/true)->head_dim;
}
/* Shared experts that are as wide as a routed one. */
static double key_shared_count(const organ_forward_config *c)
{
    return (double)(c->expert_intermediate ? c->shared_intermediate / c->expert_intermediate : 0);
}
static double key_gating(const organ_forward_config *c) { return c->router.logistic ? 2 : 1; }
static double key_latent_key(const organ_forward_config *c) { return c->latent.plain + c->latent.rotated; }
static double key_latent_cache(const organ_forward_config *c) { return c->latent.rank + c->latent.rotated; }
static double key_clip(const organ_forward_config *c) { return c->clip_qkv > 0 ? c->clip_qkv : NAN; }
static double key_inner(const organ_forward_config *c) { return c->recurrent.heads * c->recurrent.value_dim; }
static double key_decay_limit(const organ_forward_config *c)
{
    return c->recurrent.decay_limit < 0 ? c->recurrent.decay_limit : NAN;
}
static double key_alpha(const organ_forward_config *c) { return (double)c->kinds[0].alpha[0]; }

static double key_steps(const organ_forward_config *c)
{
    return c->recurrent.rank ? c->recurrent.rank : c->recurrent.heads; /* the rank is Mamba's */
}

static double key_longrope(const organ_forward_config *c)
{
    return c->rope.kind == ORGAN_ROPE_LONGROPE ? c->rope.attention_factor : NAN;
}

/* If no layer is dense, returns intermediate_size, or the width of an expert if config.json lacks that (DBRX). */
static double key_dense_width(const organ_forward_config *c)
{
    for (unsigned l = 0; l < c->layers; l++)
        if (c->kinds[l].feed && !c->kinds[l].mixture)
            return (double)c->kinds[l].intermediate;
    return (double)(c->intermediate ? c->intermediate : c->expert_intermediate);
}

/* The last layer of each interval has attention. */
static double key_interval(const organ_forward_config *c)
{
    for (unsigned l = 0; l < c->layers; l++)
        if (c->kinds[l].mixer == ORGAN_MIXER_ATTENTION)
            return l + 1;
    return 0;
}

/* ---- values of a layer ---- */

static double key_windowed(const organ_forward_config *c, const organ_layer_kind *kind)
{
    (void)c;
    return kind->window > 0;
}

static double key_recurrent(const organ_forward_config *c, const organ_layer_kind *kind)
{
    (void)c;
    return kind->mixer > ORGAN_MIXER_ATTENTION && kind->mixer < ORGAN_MIXER_COMPRESSED;
}

static double key_key_heads(const organ_forward_config *c, const organ_layer_kind *kind)
{
    (void)c;
    if (kind->mixer != ORGAN_MIXER_ATTENTION)
        return 0;
    return kind->latent ? 1 : kind->kv_heads;
}

static double key_feed_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    const uint64_t width = kind->intermediate ? kind->intermediate : c->expert_intermediate;
    return kind->feed ? (double)width : 0;
}

/* Gemma 3n: gate values below mean + gate_cut x standard deviation become 0. */
static double key_cut(const organ_forward_config *c, const organ_layer_kind *kind)
{
    (void)c;
    return kind->gate_is_cut ? (double)kind->gate_cut : -INFINITY;
}

/* ---- the rows ---- */

#define U32  ORGAN_GGUF_U32
#define I32  ORGAN_GGUF_I32
#define F32  ORGAN_GGUF_F32
#define FLAG ORGAN_GGUF_BOOL
#define WORD ORGAN_GGUF_STRING

#define OF(name)       .members = name
#define YARN(name)     .members = name, .when = "rope.rope_type=yarn"
#define CONSTANT(text) .rule = PAIRING_CONSTANT, .words = text
#define COMPUTED(name) .rule = PAIRING_COMPUTED, .compute = key_##name
#define BY_LAYER(name) .rule = PAIRING_BY_LAYER, .of_layer = key_##name
#define SETTING(name)                                                                                                  \
    .rule = PAIRING_SETTING, .offset = offsetof(organ_forward_config, name),                                           \
    .number = PAIRING_NUMBER(((organ_forward_config *)0)->name)
#define OF_LAYER(name)                                                                                                 \
    .rule = PAIRING_BY_LAYER, .offset = offsetof(organ_layer_kind, name),                                              \
    .number = PAIRING_NUMBER(((organ_layer_kind *)0)->name)

/* Tables are laid out by hand. */
/* clang-format off */
static const pairing_key common_keys[] = {
    {"block_count", U32, OF("num_hidden_layers n_layers n_layer num_layers")},
    {"context_length", U32, OF("max_position_embeddings n_ctx n_positions seq_length max_seq_len model_max_length")},
    {"embedding_length", U32, OF("hidden_size n_embd n_embed dim d_model")},
    {"feed_forward_length", U32,
     OF("intermediate_size_mlp prefix_dense_intermediate_size dense_intermediate_size intermediate_size n_inner "
        "hidden_dim ffn_hidden_size"), .more = "ffn_dim"},
    {"attention.head_count", U32, OF("num_attention_heads n_head n_heads")},
    {"attention.head_count_kv", U32, OF("num_key_value_heads n_kv_heads num_kv_heads n_head_kv")},
    {"rope.scaling.type", WORD, .members = "rope.rope_type", .words = "linear=linear yarn=yarn longrope=longrope"},
    {"rope.scaling.factor", F32, .members = "rope.factor", .when = "rope.rope_type=linear"},
    {"rope.scaling.factor", F32, YARN("rope.factor")},
    {"rope.scaling.original_context_length", U32, YARN("rope.original_max_position_embeddings")},
    {"rope.scaling.yarn_attn_factor", F32, YARN("rope.attention_factor rope.attn_factor")},
    {"rope.scaling.yarn_beta_fast", F32, YARN("rope.beta_fast")},
    {"rope.scaling.yarn_beta_slow", F32, YARN("rope.beta_slow")},
    {"rope.freq_base", F32, OF("rope.rope_theta")},
    {"rope.freq_base_swa", F32, OF("swa.rope_theta rope_local_base_freq")},
    {"attention.layer_norm_rms_epsilon", F32, OF("rms_norm_eps")},
    {"attention.layer_norm_epsilon", F32, OF("layer_norm_eps layer_norm_epsilon norm_epsilon")},
    {"expert_count", U32, OF("num_local_experts num_experts n_routed_experts moe_num_experts"),
     .more = "num_moe_experts"},
    {"expert_used_count", U32, OF("num_experts_per_tok num_experts_per_token top_k_experts moe_k moe_topk"),
     .more = "experts_per_token moe_top_k"},
    {"expert_group_count", U32, OF("n_group")},
    {"expert_group_used_count", U32, OF("topk_group")},
    {"attention.key_length", U32, OF("head_dim")},
    {"attention.value_length", U32, OF("head_dim")}};

static const pairing_key some_keys[] = {
    {"vocab_size", U32, OF("vocab_size")},
    {"rope.dimension_count", U32, SETTING(rope.dimensions)},
    {"rope.scaling.original_context_length", U32, OF("rope.original_max_position_embeddings")},
    {"rope.scaling.attn_factor", F32, COMPUTED(longrope)},
    {"attention.sliding_window", U32, OF("sliding_window")},
    {"attention.sliding_window_pattern", FLAG, BY_LAYER(windowed)},
    {"attention.sliding_window_pattern:numbers", I32, BY_LAYER(windowed)},
    {"attention.indexer.types", FLAG, OF_LAYER(indexed)},
    {"attention.value_length:value", U32, OF("v_head_dim")},
    {"attention.value_scale", F32, OF("attention_value_scale")},
    {"attention.temperature_scale", F32, OF("rope.llama_4_scaling_beta")},
    {"rope.scaling.yarn_log_multiplier:whole", F32, OF("rope.mscale_all_dim")},
    {"rope.freq_base:base", F32, SETTING(rope.theta)},
    {"expert_feed_forward_length:feed", U32, COMPUTED(dense_width)},
    {"expert_shared_count:none", U32, CONSTANT("0")},
    {"expert_shared_count:one", U32, CONSTANT("1")},
    {"leading_dense_block_count:counted", U32, COMPUTED(leading_dense)},
    {"attention.layer_norm_rms_epsilon", F32, OF("norm_eps")},
    {"attention.layer_norm_epsilon", F32, SETTING(rms_eps)},
    {"rope.scaling.type", WORD, CONSTANT("none")},
    {"attention.head_count_kv", U32, CONSTANT("1")},
    {"attention.head_count_kv:layers", I32, BY_LAYER(key_heads)},
    {"attention.head_count_kv:heads", U32, SETTING(kv_heads)},
    {"attention.head_count:none", U32, CONSTANT("0")},
    {"feed_forward_length:none", U32, CONSTANT("0")},
    {"feed_forward_length:feed", U32, COMPUTED(dense_width)},
    {"block_count:counted", U32, SETTING(layers)},
    {"feed_forward_length:layers", I32, BY_LAYER(feed_width)},
    {"context_length:million", U32, CONSTANT("1048576")},
    {"context_length:longest", U32, SETTING(context)},
    {"tensor_data_layout", WORD, CONSTANT("jploski")},
    {"attention.max_alibi_bias", F32, SETTING(alibi_max)},
    {"attention.clamp_kqv:limit", F32, COMPUTED(clip)},
    {"interleave_moe_layer_step", U32, OF("moe_layer_interval interleave_moe_layer_step")},
    {"ssm.conv_kernel", U32, SETTING(recurrent.kernel)},
    {"ssm.inner_size", U32, COMPUTED(inner)},
    {"ssm.state_size", U32, SETTING(recurrent.key_dim)},
    {"ssm.time_step_rank", U32, COMPUTED(steps)},
    {"ssm.group_count", U32, SETTING(recurrent.groups)},
    {"ssm.dt_b_c_rms", FLAG, CONSTANT("0")},
    {"ssm.dt_b_c_rms:true", FLAG, CONSTANT("1")},
    {"attention.key_length:head", U32, SETTING(head_dim)},
    {"attention.value_length:head", U32, SETTING(head_dim)},
    {"attention.recurrent_layers", FLAG, BY_LAYER(recurrent)},
    {"full_attention_interval", U32, COMPUTED(interval)},
    {"rope.dimension_sections", I32, .rule = PAIRING_SECTIONS, .members = "rope.mrope_section", .words = "11 11 10 0"},
    {"rope.dimension_sections:qwen2vl", I32, .rule = PAIRING_SECTIONS, .members = "rope.mrope_section",
     .words = "16 24 24 0"},
    {"rope.dimension_sections:qwen3vl", I32, .rule = PAIRING_SECTIONS, .members = "rope.mrope_section",
     .words = "24 20 20 0"},
    {"n_deepstack_layers", U32, .rule = PAIRING_TOWER_COUNT, .members = "deepstack_visual_indexes"},
    {"rope.scaling.finetuned", FLAG, COMPUTED(rotates)},
    {"shortconv.l_cache", U32, SETTING(recurrent.kernel)},
    {"attention.layer_norm_rms_epsilon:eps", F32, SETTING(rms_eps)},
    {"attention.key_length", U32, COMPUTED(latent_cache)},
    {"attention.value_length", U32, OF("kv_lora_rank")},
    {"attention.indexer.head_count", U32, OF("index_n_heads")},
    {"attention.indexer.key_length", U32, OF("index_head_dim")},
    {"attention.indexer.top_k", U32, OF("index_topk")},
    {"rope.scaling.yarn_log_multiplier", F32, .rule = PAIRING_TENTH, .members = "rope.mscale_all_dim", .when =
     "rope.rope_type=yarn"},
    {"attention.scale", F32, OF("attention_multiplier")},
    {"attention.clamp_kqv", F32, OF("clip_qkv")},
    {"embedding_scale", F32, OF("embedding_multiplier")},
    {"residual_scale", F32, OF("residual_multiplier")},
    {"logit_scale", F32, OF("logits_scaling logit_scale")},
    {"attn_logit_softcapping", F32, OF("attn_logit_softcapping")},
    {"final_logit_softcapping", F32, OF("final_logit_softcapping")},
    /* 0: none; llama.cpp takes 30 for a missing key */
    {"final_logit_softcapping:set", F32, SETTING(final_softcap), .members = "final_logit_softcapping"},
    {"expert_feed_forward_length", U32, OF("moe_intermediate_size intermediate_size")},
    {"expert_shared_feed_forward_length", U32, OF("shared_expert_intermediate_size shared_intermediate_size "
                                                    "moe_shared_expert_intermediate_size")},
    {"expert_shared_feed_forward_length:shared", U32, SETTING(shared_intermediate)},
    {"expert_weights_norm:normed", FLAG, SETTING(normalise_experts)},
    {"expert_shared_count", U32, OF("n_shared_experts num_shared_experts moe_num_shared_experts")},
    {"leading_dense_block_count", U32, OF("first_k_dense_replace num_dense_layers")},
    {"leading_dense_block_count:start", U32, OF("moe_layer_start_index")},
    {"expert_weights_scale", F32,
     OF("routed_scaling_factor route_scale router_scaling_factor moe_routed_scaling_factor")},
    {"expert_weights_norm", FLAG, OF("norm_topk_prob route_norm")},
    {"expert_gating_func", U32, COMPUTED(gating)},
    {"nextn_predict_layers", U32, OF("num_nextn_predict_layers"),
     .more = "num_mtp_layers mtp_num_hidden_layers mtp_num_layers num_mtp_hidden_layers"},
    {"use_parallel_residual", FLAG, OF("use_parallel_residual")},
    {"attention.q_lora_rank", U32, OF("q_lora_rank")},
    {"attention.kv_lora_rank", U32, OF("kv_lora_rank")},
    {"attention.key_length_mla", U32, COMPUTED(latent_key)},
    {"attention.value_length_mla", U32, OF("v_head_dim")},
    {"attention.key_length:full", U32, COMPUTED(full_head)},
    {"attention.value_length:full", U32, COMPUTED(full_head)},
    {"attention.key_length_swa", U32, COMPUTED(local_head)},
    {"attention.value_length_swa", U32, COMPUTED(local_head)},
    {"rope.dimension_count_swa", U32, SETTING(rope_local.dimensions), .when = "swa"},
    {"attention.head_count_kv:differing", I32, BY_LAYER(key_heads), .words = "differ"},
    {"feed_forward_length:differing", I32, BY_LAYER(feed_width), .words = "differ"},
    {"attention.shared_kv_layers", U32, OF("num_kv_shared_layers")},
    {"embedding_length_per_layer_input", U32, SETTING(per_layer_width), .members = "hidden_size_per_layer_input"},
    {"attention.recurrent_layers:differing", FLAG, BY_LAYER(recurrent), .words = "8"},
    {"residual_scale:alpha", F32, COMPUTED(alpha)},
    {"kda.safe_gate", FLAG, CONSTANT("1")},
    {"kda.gate_lower_bound", F32, COMPUTED(decay_limit)},
    {"expert_group_count:counted", U32, SETTING(router_groups)},
    {"expert_group_used_count:counted", U32, SETTING(router_groups_used)},
    {"attention.value_length:kda", U32, SETTING(recurrent.key_dim)},
    {"kda.head_dim", U32, SETTING(recurrent.key_dim)},
    {"moe_latent_size", U32, OF("moe_latent_size")},
    {"xielu.alpha_p", F32, OF_LAYER(xielu[0])},
    {"xielu.alpha_n", F32, OF_LAYER(xielu[1])},
    {"xielu.beta", F32, OF_LAYER(xielu[2])},
    {"xielu.eps", F32, OF_LAYER(xielu[3])},
    {"altup.num_inputs", U32, OF("altup_num_inputs")},
    {"altup.active_idx", U32, OF("altup_active_idx")},
    {"attention.head_count:layers", I32, OF_LAYER(heads)},
    {"attention.layer_norm_rms_epsilon:named", F32, SETTING(rms_eps), .members = "layer_norm_epsilon"},
    {"expert_count:experts", U32, SETTING(experts)},
    {"expert_used_count:used", U32, SETTING(experts_used)},
    {"activation_sparsity_scale", F32, BY_LAYER(cut)},
    {"expert_shared_count:wide", U32, COMPUTED(shared_count)},
    {"attention.indexer.head_count:blocks", U32, SETTING(blocks.heads)},
    {"attention.indexer.key_length:blocks", U32, SETTING(blocks.dim)},
    {"attention.indexer.top_k:blocks", U32, SETTING(blocks.chosen)},
    {"attention.indexer.block_size", U32, SETTING(blocks.size)},
    {"attention.indexer.local_blocks", U32, SETTING(blocks.local)},
    {"swiglu_clamp_exp", F32, OF_LAYER(limits[1])},
    {"swiglu_clamp_shexp", F32, OF_LAYER(limits[0])},
};
/* clang-format on */

enum { COMMON = sizeof common_keys / sizeof *common_keys, SOME = sizeof some_keys / sizeof *some_keys };

/* Returns row k of both tables, or NULL after the last one. */
static const pairing_key *row_at(size_t k)
{
    if (k < COMMON)
        return &common_keys[k];
    return k < COMMON + SOME ? &some_keys[k - COMMON] : NULL;
}

static const pairing_key *some_key(const char *key)
{
    for (size_t k = 0; k < SOME; k++)
        if (strcmp(some_keys[k].key, key) == 0)
            return &some_keys[k];
    return NULL;
}

const pairing_key *organ_pairing_key_at(const forward_pairing *pairing, size_t k)
{
    const char *keys = pairing->keys;
    char key[ORGAN_MEMBER_ROOM];
    if (k < COMMON)
        return &common_keys[k];
    while (organ_next_word(&keys, key, sizeof key))
        if (k-- == COMMON)
            return some_key(key);
    return NULL;
}

bool organ_pairing_member(const char *key, size_t index, char member[ORGAN_MEMBER_ROOM])
{
    const pairing_key *row;
    size_t k = 0;
    while ((row = row_at(k)) && strcmp(row->key, key) != 0)
        k++;
    const char *const lists[] = {row ? row->members : NULL, row ? row->more : NULL};
    for (k = 0; k < 2; k++)
        for (const char *at = lists[k]; organ_next_word(&at, member, ORGAN_MEMBER_ROOM);)
            if (index-- == 0)
                return true;
    return false;
}

static bool has_member(const pairing_key *row, const char *member)
{
    const size_t length = strlen(member);
    return organ_lists_word(row->members, ' ', member, length) || organ_lists_word(row->more, ' ', member, length);
}

bool organ_pairing_key_of(const char *member, char key[ORGAN_MEMBER_ROOM])
{
    const pairing_key *row;
    size_t k = 0;
    while ((row = row_at(k)) && !has_member(row, member))
        k++;
    if (row)
        snprintf(key, ORGAN_MEMBER_ROOM, "%.*s", (int)strcspn(row->key, ":"), row->key);
    return row != NULL;
}

bool organ_pairing_has_key(const char *name)
{
    const size_t length = strlen(name);
    const pairing_key *row;
    size_t k = 0;
    while ((row = row_at(k)) && (strcspn(row->key, ":") != length || memcmp(row->key, name, length) != 0))
        k++;
    return row != NULL;
}

double organ_pairing_number(const void *at, pairing_number number)
{
    switch (number) {
    case PAIRING_UNSIGNED:
        return *(const unsigned *)at;
    case PAIRING_U64:
        return (double)*(const uint64_t *)at;
    case PAIRING_FLOAT:
        return (double)*(const float *)at;
    case PAIRING_BOOL:
        return *(const bool *)at;
    case PAIRING_DOUBLE:
        break;
    }
    return *(const double *)at;
}

double organ_pairing_value(const pairing_key *row, const organ_forward_config *c, const organ_layer_kind *kind)
{
    if (row->compute)
        return row->compute(c);
    if (row->of_layer)
        return row->of_layer(c, kind);
    return organ_pairing_number((const char *)(kind ? (const void *)kind : c) + row->offset, row->number);
}
