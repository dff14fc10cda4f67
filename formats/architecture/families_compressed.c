/* SPDX-License-Identifier: MIT
 * Architectures with compressed attention, as transformers defines them. */
#include "formats/architecture/family_rows.h"

/* clang-format off */

/* The class in transformers has one shared expert, whose width and factors do not follow these members. */
static const forward_fixed deepseek4_fixed[] = {
    {"scoring_func", "\"sqrtsoftplus\""}, {"topk_method", "\"noaux_tc\""}, {"norm_topk_prob", "true"},
    {"n_shared_experts", "1"}, {"attention_bias", "false"}, {"mlp_bias", "false"}, {0}};
static const char *const deepseek4_required[] = {"routed_scaling_factor", NULL};
static const forward_mixture deepseek4_mixture = {
    .experts = "n_routed_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "moe_intermediate_size", .shared_width = "moe_intermediate_size",
    .router = {.softplus = true, .corrected = true}, .normalise = {NULL, true}, .scale = "routed_scaling_factor",
    .dense = DENSE_HASH, .required = deepseek4_required};

/* Names of published files, and those of files that transformers 5.24 saves where they differ. */
static const forward_name deepseek4_names[] = {
    {PART_EMBEDDING, "embed.weight"}, {PART_EMBEDDING | NAME_SAVED, "embed_tokens.weight"},
    {PART_OUTPUT, "head.weight"}, {PART_OUTPUT | NAME_MODULE, "lm_head.weight"},
    {PART_CONNECT_END, "hc_head_fn"}, {PART_CONNECT_END | NAME_SAVED, "hc_head.hc_fn"},
    {PART_CONNECT_END_BASE, "hc_head_base"}, {PART_CONNECT_END_BASE | NAME_SAVED, "hc_head.hc_base"},
    {PART_CONNECT_END_SCALE, "hc_head_scale"}, {PART_CONNECT_END_SCALE | NAME_SAVED, "hc_head.hc_scale"},
    {PART_CONNECT_MIXER, "hc_attn_fn"}, {PART_CONNECT_MIXER_BASE, "hc_attn_base"},
    {PART_CONNECT_MIXER_SCALE, "hc_attn_scale"}, {PART_CONNECT_FEED, "hc_ffn_fn"},
    {PART_CONNECT_FEED_BASE, "hc_ffn_base"}, {PART_CONNECT_FEED_SCALE, "hc_ffn_scale"},
    {PART_NORM_ATTENTION, "attn_norm.weight"}, {PART_NORM_FFN, "ffn_norm.weight"},
    {PART_Q_A, "attn.wq_a.weight"}, {PART_NORM_Q_A, "attn.q_norm.weight"}, {PART_Q_B, "attn.wq_b.weight"},
    {PART_KV_A, "attn.wkv.weight"}, {PART_NORM_KV_A, "attn.kv_norm.weight"},
    {PART_NORM_KV_A | NAME_SAVED, "attn.norm.weight"}, {PART_SINKS, "attn.attn_sink"},
    {PART_O_A, "attn.wo_a.weight"}, {PART_O, "attn.wo_b.weight"},
    {PART_COMPRESS_KV, "attn.compressor.wkv.weight"}, {PART_COMPRESS_GATE, "attn.compressor.wgate.weight"},
    {PART_COMPRESS_BIAS, "attn.compressor.ape"}, {PART_NORM_COMPRESS, "attn.compressor.norm.weight"},
    {PART_INDEX_Q, "attn.indexer.wq_b.weight"}, {PART_INDEX_WEIGHTS, "attn.indexer.weights_proj.weight"},
    {PART_INDEX_K, "attn.indexer.compressor.wkv.weight"}, {PART_INDEX_GATE, "attn.indexer.compressor.wgate.weight"},
    {PART_INDEX_BIAS, "attn.indexer.compressor.ape"}, {PART_NORM_INDEX, "attn.indexer.compressor.norm.weight"},
    {PART_ROUTER, "ffn.gate.weight"}, {PART_ROUTER_BIAS, "ffn.gate.bias"}, {PART_ROUTER_TABLE, "ffn.gate.tid2eid"},
    {PART_SHARED_GATE, "ffn.shared_experts.w1.weight"}, {PART_SHARED_UP, "ffn.shared_experts.w3.weight"},
    {PART_SHARED_DOWN, "ffn.shared_experts.w2.weight"}, {PART_EXPERT_GATE, "ffn.experts.#.w1.weight"},
    {PART_EXPERT_UP, "ffn.experts.#.w3.weight"}, {PART_EXPERT_DOWN, "ffn.experts.#.w2.weight"}, {0}};

const forward_family organ_forward_families_compressed[] = {
    {.architecture = "DeepseekV4ForCausalLM", .theta = 1e4, .eps = 1e-6, .head_dim = 512, .compressed = true,
     .rotated_part = 0.125, .neighbours = true, .connections = CONNECT_MIX, .expert_limit = "swiglu_limit",
     .limits_shared = true, .mixture = &deepseek4_mixture, .fixed = deepseek4_fixed, .names = deepseek4_names},
    {0}};
/* clang-format on */
