/* SPDX-License-Identifier: MIT */
#include "formats/architecture/settings.h"

#include <stddef.h>

#define EVERY    SETTING_EVERY
#define ONE      SETTING_ONE
#define WINDOWED SETTING_WINDOWED

/* clang-format off */
#define OF(type, scope, name, member, words) \
    {(name), (scope), PAIRING_NUMBER(((type *)0)->member), offsetof(type, member), (words)}
#define SETTING(scope, name, member)       OF(organ_forward_config, scope, name, member, NULL)
#define CHOICE(scope, name, member, words) \
    {(name), (scope), PAIRING_UNSIGNED, offsetof(organ_forward_config, member), (words)}
#define OF_LAYER(scope, name, member)      OF(organ_layer_kind, scope, name, member, NULL)
/* clang-format on */

#define ROPES "default linear llama3 yarn dynamic longrope proportional"

const forward_setting organ_model_settings[] = {
    SETTING(EVERY, "hidden_size", hidden),
    SETTING(EVERY, "vocab_size", vocabulary),
    SETTING(EVERY, "num_attention_heads", heads),
    SETTING(ONE, "num_key_value_heads", kv_heads),
    SETTING(ONE, "head_dim", head_dim),
    SETTING(ONE, "intermediate_size", intermediate),
    SETTING(ONE, "max_position_embeddings", context),
    CHOICE(EVERY, "hidden_act", activation, "silu gelu_tanh gelu relu relu_squared xielu"),
    SETTING(EVERY, "rms_norm_eps", rms_eps),
    CHOICE(EVERY, "kind of norm", norm, "RMSNorm LayerNorm"),
    CHOICE(EVERY, "places of norms", norms, "before around after on_sum"),
    SETTING(ONE, "norms multiply by 1 + weight", norm_adds_one),
    CHOICE(EVERY, "norm of q and k", qk_norm, "none head all heads"),
    SETTING(EVERY, "rope_theta", rope.theta),
    SETTING(ONE, "rotated dimensions", rope.dimensions),
    CHOICE(ONE, "rope_type", rope.kind, ROPES),
    SETTING(ONE, "rope factor", rope.factor),
    SETTING(ONE, "rope original_max_position_embeddings", rope.original_context),
    SETTING(ONE, "rope low_freq_factor", rope.low_freq_factor),
    SETTING(ONE, "rope high_freq_factor", rope.high_freq_factor),
    SETTING(ONE, "rope beta_fast", rope.beta_fast),
    SETTING(ONE, "rope beta_slow", rope.beta_slow),
    SETTING(ONE, "rope attention_factor", rope.attention_factor),
    SETTING(WINDOWED, "rope_theta of windows", rope_local.theta),
    CHOICE(WINDOWED, "rope_type of windows", rope_local.kind, ROPES),
    SETTING(WINDOWED, "rope factor of windows", rope_local.factor),
    SETTING(ONE, "sliding_window", window),
    SETTING(ONE, "scale of attention scores", attention_scale),
    SETTING(ONE, "scale of embeddings", embedding_scale),
    SETTING(EVERY, "scale of the residual", residual_scale),
    SETTING(ONE, "scale of logits", logit_scale),
    SETTING(ONE, "scale of the output head's input", head_scale),
    SETTING(ONE, "scale of values", value_scale),
    SETTING(EVERY, "scale of queries by position", query_scale.beta),
    SETTING(EVERY, "attn_logit_softcapping", attention_softcap),
    SETTING(EVERY, "final_logit_softcapping", final_softcap),
    SETTING(ONE, "limit of gate and up", gate_limit),
    SETTING(EVERY, "limit of gate and up of experts", expert_limit),
    SETTING(EVERY, "hc_magnitude", connections.magnitude),
    SETTING(EVERY, "hc_eps", connections.eps),
    SETTING(EVERY, "hc_sinkhorn_iters", connections.balances),
    SETTING(ONE, "attention_in_multiplier", multipliers.attention_in),
    SETTING(ONE, "key_multiplier", multipliers.key),
    SETTING(ONE, "attention_out_multiplier", multipliers.attention_out),
    SETTING(ONE, "multiplier of gates", multipliers.gate),
    SETTING(ONE, "multiplier of the feed-forward's output", multipliers.down),
    SETTING(ONE, "ssm_in_multiplier", multipliers.recurrent_in),
    SETTING(ONE, "multiplier of z", multipliers.projections[0]),
    SETTING(ONE, "multiplier of x", multipliers.projections[1]),
    SETTING(ONE, "multiplier of B", multipliers.projections[2]),
    SETTING(ONE, "multiplier of C", multipliers.projections[3]),
    SETTING(ONE, "multiplier of dt", multipliers.projections[4]),
    SETTING(ONE, "ssm_out_multiplier", multipliers.recurrent_out),
    SETTING(EVERY, "clip_qkv", clip_qkv),
    SETTING(EVERY, "alibi_bias_max", alibi_max),
    SETTING(EVERY, "parallel attention and feed-forward", parallel),
    SETTING(EVERY, "kv_lora_rank", latent.rank),
    SETTING(EVERY, "q_lora_rank", latent.q_rank),
    SETTING(EVERY, "index_topk", latent.keys),
    SETTING(EVERY, "q_lora_rank of compressed attention", compressed.q_rank),
    SETTING(EVERY, "o_groups", compressed.groups),
    SETTING(EVERY, "o_lora_rank", compressed.group_rank),
    SETTING(EVERY, "index_topk of compressed attention", compressed.keys),
    SETTING(EVERY, "keys of a block of attention", blocks.size),
    SETTING(EVERY, "blocks to which a token attends", blocks.chosen),
    SETTING(EVERY, "blocks that are always chosen", blocks.local),
    SETTING(EVERY, "heads of recurrent layers", recurrent.heads),
    SETTING(EVERY, "groups of recurrent layers", recurrent.groups),
    SETTING(ONE, "limits of time steps", recurrent.step_max),
    SETTING(EVERY, "num_experts", experts),
    SETTING(EVERY, "num_experts_per_tok", experts_used),
    SETTING(ONE, "moe_intermediate_size", expert_intermediate),
    SETTING(ONE, "norm_topk_prob", normalise_experts),
    SETTING(EVERY, "sigmoid of router logits", router.logistic),
    SETTING(EVERY, "softplus of router logits", router.softplus),
    SETTING(ONE, "routed_scaling_factor", router_scale),
    SETTING(EVERY, "n_group", router_groups),
    SETTING(EVERY, "topk_group", router_groups_used),
    SETTING(EVERY, "width of the shared expert", shared_intermediate),
    {0}};

const forward_setting organ_layer_settings[] = {OF_LAYER(EVERY, "mixer", mixer),
                                                OF_LAYER(ONE, "heads", heads),
                                                OF_LAYER(ONE, "key and value heads", kv_heads),
                                                OF_LAYER(ONE, "head_dim", head_dim),
                                                OF_LAYER(ONE, "sliding window", window),
                                                OF_LAYER(ONE, "chunk of attention", chunk),
                                                OF_LAYER(EVERY, "rotation of q and k", rotated),
                                                OF_LAYER(EVERY, "tokens of a compressed one", compress),
                                                OF_LAYER(EVERY, "experts", mixture),
                                                OF_LAYER(EVERY, "experts by token", by_token),
                                                OF_LAYER(ONE, "intermediate_size", intermediate),
                                                {0}};

const forward_setting organ_layers_setting = SETTING(EVERY, "num_hidden_layers", layers);

double organ_setting_value(const forward_setting *setting, const void *object)
{
    return organ_pairing_number((const char *)object + setting->offset, setting->number);
}
