/* SPDX-License-Identifier: MIT
 * Architectures with recurrent layers. */
#include "formats/architecture/family_rows.h"

/* clang-format off */

static const forward_name qwen3_next_names[] = {{PART_MIX_IN, "linear_attn.in_proj_qkvz.weight"}, {0}};
#define EXPERTS "feed_forward.experts.#."
static const forward_name lfm2_names[] = {
    {PART_FINAL_NORM, "embedding_norm.weight"}, {PART_NORM_ATTENTION, "operator_norm.weight"},
    {PART_NORM_FFN, "ffn_norm.weight"}, {PART_NORM_Q, "self_attn.q_layernorm.weight"},
    {PART_NORM_K, "self_attn.k_layernorm.weight"}, {PART_O, "self_attn.out_proj.weight"},
    {PART_MIX_IN, "conv.in_proj.weight"}, {PART_BIAS_MIX_IN, "conv.in_proj.bias"}, {PART_CONV, "conv.conv.weight"},
    {PART_BIAS_CONV, "conv.conv.bias"}, {PART_MIX_OUT, "conv.out_proj.weight"},
    {PART_BIAS_MIX_OUT, "conv.out_proj.bias"}, {PART_GATE, "feed_forward.w1.weight"},
    {PART_UP, "feed_forward.w3.weight"}, {PART_DOWN, "feed_forward.w2.weight"},
    {PART_GATE | NAME_MLX, "feed_forward.gate_proj.weight"}, {PART_UP | NAME_MLX, "feed_forward.up_proj.weight"},
    {PART_DOWN | NAME_MLX, "feed_forward.down_proj.weight"},
    {PART_ROUTER, "feed_forward.gate.weight"}, {PART_ROUTER_BIAS, "feed_forward.expert_bias"},
    {PART_EXPERT_GATE, EXPERTS "w1.weight"}, {PART_EXPERT_UP, EXPERTS "w3.weight"},
    {PART_EXPERT_DOWN, EXPERTS "w2.weight"}, {PART_EXPERTS_GATE_UP, "feed_forward.experts.gate_up_proj"},
    {PART_EXPERTS_DOWN, "feed_forward.experts.down_proj"}, {0}};
#undef EXPERTS
static const forward_name lfm3_names[] = {
    {PART_FINAL_NORM, "embedding_norm.weight"}, {PART_NORM_ATTENTION, "operator_norm.weight"},
    {PART_NORM_POST_ATTENTION, "post_operator_norm.weight"}, {PART_NORM_FFN, "ffn_norm.weight"},
    {PART_NORM_POST_FFN, "post_ffn_norm.weight"}, {PART_HEAD_GATE, "self_attn.gate_proj.weight"},
    {PART_HEAD_GATE | NAME_MODULE, "self_attn.g_proj.weight"},
    {PART_MIX_IN, "conv.in_proj.weight"}, {PART_BIAS_MIX_IN, "conv.in_proj.bias"}, {PART_CONV, "conv.conv.weight"},
    {PART_BIAS_CONV, "conv.conv.bias"}, {PART_MIX_OUT, "conv.out_proj.weight"},
    {PART_BIAS_MIX_OUT, "conv.out_proj.bias"}, {PART_GATE, "feed_forward.w1.weight"},
    {PART_UP, "feed_forward.w3.weight"}, {PART_DOWN, "feed_forward.w2.weight"}, {0}};

static const forward_name delta_gguf_names[] = {{PART_NORM_FFN, "post_attention_norm.weight"}, {0}};
/* The second name is of older files, in which q, k, v and z are one tensor. */
static const forward_name qwen3_next_gguf_names[] = {
    {PART_NORM_FFN, "post_attention_norm.weight"}, {PART_MIX_IN, "attn_qkv.weight"},
    {PART_MIX_IN | NAME_OLDER, "ssm_in.weight"},
    {0}};
static const forward_name lfm2_gguf_names[] = {
    {PART_FINAL_NORM, "token_embd_norm.weight"}, {PART_MIX_IN, "shortconv.in_proj.weight"},
    {PART_BIAS_MIX_IN, "shortconv.in_proj.bias"}, {PART_CONV, "shortconv.conv.weight"},
    {PART_BIAS_CONV, "shortconv.conv.bias"}, {PART_MIX_OUT, "shortconv.out_proj.weight"},
    {PART_BIAS_MIX_OUT, "shortconv.out_proj.bias"}, {0}};
static const forward_name mamba_gguf_names[] = {{PART_MIX_IN, "ssm_in.weight"}, {0}};
static const forward_name falcon_h1_gguf_names[] = {
    {PART_MIX_IN, "ssm_in.weight"}, {PART_NORM_FFN, "ffn_norm"}, {PART_NORM_FFN | NAME_OLDER, "ffn_norm.weight"}, {0}};
static const forward_name nemotron_gguf_names[] = {
    {PART_MIX_IN, "ssm_in.weight"}, {PART_NORM_FFN, "attn_norm.weight"}, {PART_LATENT_IN, "ffn_latent_down.weight"},
    {PART_LATENT_OUT, "ffn_latent_up.weight"}, {0}};

#define MAMBA_NAMES(prefix) {PART_MIX_IN, prefix "in_proj.weight"}, {PART_CONV, prefix "conv1d.weight"}, \
    {PART_MIX_OUT, prefix "out_proj.weight"}, {PART_A_LOG, prefix "A_log"}, {PART_DT_BIAS, prefix "dt_bias"}, \
    {PART_NORM_MIXED, prefix "norm.weight"}, {PART_BIAS_MIX_IN, prefix "in_proj.bias"}, \
    {PART_BIAS_CONV, prefix "conv1d.bias"}, {PART_BIAS_MIX_OUT, prefix "out_proj.bias"}, {PART_SKIP, prefix "D"}
static const forward_name mamba2_names[] = {
    {PART_EMBEDDING, "embeddings.weight"}, {PART_FINAL_NORM, "norm_f.weight"}, {PART_NORM_ATTENTION, "norm.weight"},
    MAMBA_NAMES("mixer."), {0}};
static const forward_name nemotron_names[] = {
    {PART_EMBEDDING, "embeddings.weight"}, {PART_FINAL_NORM, "norm_f.weight"}, {PART_NORM_ATTENTION, "norm.weight"},
    {PART_NORM_FFN, "norm.weight"}, {PART_Q, "mixer.q_proj.weight"}, {PART_K, "mixer.k_proj.weight"},
    {PART_V, "mixer.v_proj.weight"}, {PART_O, "mixer.o_proj.weight"}, {PART_UP, "mixer.up_proj.weight"},
    {PART_DOWN, "mixer.down_proj.weight"}, {PART_BIAS_Q, "mixer.q_proj.bias"}, {PART_BIAS_K, "mixer.k_proj.bias"},
    {PART_BIAS_V, "mixer.v_proj.bias"}, {PART_BIAS_O, "mixer.o_proj.bias"}, {PART_BIAS_UP, "mixer.up_proj.bias"},
    {PART_BIAS_DOWN, "mixer.down_proj.bias"}, {PART_ROUTER, "mixer.gate.weight"},
    {PART_ROUTER_BIAS, "mixer.gate.e_score_correction_bias"}, {PART_LATENT_IN, "mixer.fc1_latent_proj.weight"},
    {PART_LATENT_OUT, "mixer.fc2_latent_proj.weight"}, {PART_SHARED_UP, "mixer.shared_experts.up_proj.weight"},
    {PART_SHARED_DOWN, "mixer.shared_experts.down_proj.weight"}, {PART_EXPERT_UP, "mixer.experts.#.up_proj.weight"},
    {PART_EXPERT_DOWN, "mixer.experts.#.down_proj.weight"}, MAMBA_NAMES("mixer."), {0}};
static const forward_name bamba_names[] = {
    {PART_FINAL_NORM, "final_layernorm.weight"}, {PART_NORM_FFN, "pre_ff_layernorm.weight"},
    {PART_GATE, "feed_forward.gate_proj.weight"}, {PART_UP, "feed_forward.up_proj.weight"},
    {PART_DOWN, "feed_forward.down_proj.weight"}, {PART_BIAS_GATE, "feed_forward.gate_proj.bias"},
    {PART_BIAS_UP, "feed_forward.up_proj.bias"}, {PART_BIAS_DOWN, "feed_forward.down_proj.bias"},
    MAMBA_NAMES("mamba."), {0}};
static const forward_name granite_hybrid_names[] = {
    {PART_GATE_UP, "shared_mlp.input_linear.weight"}, {PART_DOWN, "shared_mlp.output_linear.weight"},
    {PART_SHARED_GATE_UP, "shared_mlp.input_linear.weight"}, {PART_SHARED_DOWN, "shared_mlp.output_linear.weight"},
    {PART_ROUTER, "block_sparse_moe.router.layer.weight"},
    {PART_EXPERTS_GATE_UP, "block_sparse_moe.input_linear.weight"},
    {PART_EXPERTS_DOWN, "block_sparse_moe.output_linear.weight"}, MAMBA_NAMES("mamba."), {0}};

#define MAMBA1_NAMES(prefix) {PART_MIX_IN, prefix "in_proj.weight"}, {PART_CONV, prefix "conv1d.weight"}, \
    {PART_MIX_OUT, prefix "out_proj.weight"}, {PART_A_LOG, prefix "A_log"}, {PART_DT_BIAS, prefix "dt_proj.bias"}, \
    {PART_MIX_STEP, prefix "dt_proj.weight"}, {PART_MIX_X, prefix "x_proj.weight"}, {PART_SKIP, prefix "D"}, \
    {PART_BIAS_MIX_IN, prefix "in_proj.bias"}, {PART_BIAS_CONV, prefix "conv1d.bias"}, \
    {PART_BIAS_MIX_OUT, prefix "out_proj.bias"}
static const forward_name mamba_names[] = {
    {PART_EMBEDDING, "embeddings.weight"}, {PART_FINAL_NORM, "norm_f.weight"}, {PART_NORM_ATTENTION, "norm.weight"},
    MAMBA1_NAMES("mixer."), {0}};
static const forward_name jamba_names[] = {
    {PART_FINAL_NORM, "final_layernorm.weight"}, {PART_NORM_FFN, "pre_ff_layernorm.weight"},
    {PART_GATE, "feed_forward.gate_proj.weight"}, {PART_UP, "feed_forward.up_proj.weight"},
    {PART_DOWN, "feed_forward.down_proj.weight"}, {PART_ROUTER, "feed_forward.router.weight"},
    {PART_EXPERT_GATE, "feed_forward.experts.#.gate_proj.weight"},
    {PART_EXPERT_UP, "feed_forward.experts.#.up_proj.weight"},
    {PART_EXPERT_DOWN, "feed_forward.experts.#.down_proj.weight"},
    {PART_EXPERTS_GATE_UP, "feed_forward.experts.gate_up_proj"},
    {PART_EXPERTS_DOWN, "feed_forward.experts.down_proj"}, MAMBA1_NAMES("mamba."), {0}};

static const forward_name olmo_hybrid_names[] = {
    {PART_NORM_ATTENTION | NAME_SAVED, "attention_layer_norm.weight"}, {PART_NORM_ATTENTION, "input_layernorm.weight"},
    {PART_NORM_FFN | NAME_SAVED, "feedforward_layer_norm.weight"}, {PART_NORM_FFN, "post_attention_layernorm.weight"},
    {PART_NORM_POST_ATTENTION | NAME_SAVED, "post_attention_layernorm.weight"},
    {PART_NORM_POST_ATTENTION, "feedforward_layer_norm.weight"}, /* as transformers 5.23 saves it */
    {PART_MIX_Z, "linear_attn.g_proj.weight"}, {PART_MIX_B, "linear_attn.b_proj.weight"},
    {PART_MIX_A, "linear_attn.a_proj.weight"}, {PART_MIX_OUT, "linear_attn.o_proj.weight"},
    {PART_NORM_MIXED, "linear_attn.o_norm.weight"}, {0}};

#define KIMI_EXPERTS(part) "block_sparse_moe." part ".weight"
static const forward_name kimi_names[] = {
    {PART_MIX_Q, "self_attn.q_proj.weight"}, {PART_MIX_K, "self_attn.k_proj.weight"},
    {PART_MIX_V, "self_attn.v_proj.weight"}, {PART_MIX_Z, "self_attn.g_b_proj.weight"},
    {PART_MIX_A, "self_attn.f_b_proj.weight"}, {PART_MIX_B, "self_attn.b_proj.weight"},
    {PART_MIX_OUT, "self_attn.o_proj.weight"}, {PART_CONV_Q, "self_attn.q_conv1d.weight"},
    {PART_CONV_K, "self_attn.k_conv1d.weight"}, {PART_CONV_V, "self_attn.v_conv1d.weight"},
    {PART_A_LOG, "self_attn.A_log"}, {PART_DT_BIAS, "self_attn.dt_bias"}, {PART_NORM_MIXED, "self_attn.o_norm.weight"},
    {PART_ROUTER, KIMI_EXPERTS("gate")}, {PART_ROUTER_BIAS, "block_sparse_moe.gate.e_score_correction_bias"},
    {PART_EXPERT_GATE, KIMI_EXPERTS("experts.#.w1")}, {PART_EXPERT_UP, KIMI_EXPERTS("experts.#.w3")},
    {PART_EXPERT_DOWN, KIMI_EXPERTS("experts.#.w2")}, {PART_SHARED_GATE, KIMI_EXPERTS("shared_experts.gate_proj")},
    {PART_SHARED_UP, KIMI_EXPERTS("shared_experts.up_proj")},
    {PART_SHARED_DOWN, KIMI_EXPERTS("shared_experts.down_proj")},
    /* transformers 5.23 saves dense layers with the names of mixtures. */
    {PART_GATE | NAME_SAVED, KIMI_EXPERTS("gate_proj")}, {PART_GATE, "mlp.gate_proj.weight"},
    {PART_UP | NAME_SAVED, KIMI_EXPERTS("up_proj")}, {PART_UP, "mlp.up_proj.weight"},
    {PART_DOWN | NAME_SAVED, KIMI_EXPERTS("down_proj")}, {PART_DOWN, "mlp.down_proj.weight"}, {0}};
#undef KIMI_EXPERTS
/* Recurrent layers have these names; layers with attention have some of them for their own parts. */
static const forward_name kimi_gguf_names[] = {
    {PART_MIX_Q, "attn_q.weight"}, {PART_MIX_K, "attn_k.weight"}, {PART_MIX_V, "attn_v.weight"},
    {PART_MIX_Z, "ssm_g_b.weight"}, {PART_MIX_A, "ssm_f_b.weight"}, {PART_MIX_OUT, "attn_output.weight"}, {0}};
static const forward_name bailing_names[] = {
    {PART_EMBEDDING, "word_embeddings.weight"}, {PART_MIX_Q, "attention.q_proj.weight"},
    {PART_MIX_K, "attention.k_proj.weight"}, {PART_MIX_V, "attention.v_proj.weight"},
    {PART_MIX_Z, "attention.g_proj.weight"}, {PART_MIX_A, "attention.f_proj.weight"},
    {PART_MIX_B, "attention.b_proj.weight"}, {PART_MIX_OUT, "attention.dense.weight"},
    {PART_CONV_Q, "attention.q_conv1d.weight"}, {PART_CONV_K, "attention.k_conv1d.weight"},
    {PART_CONV_V, "attention.v_conv1d.weight"}, {PART_A_LOG, "attention.A_log"}, {PART_DT_BIAS, "attention.dt_bias"},
    {PART_NORM_MIXED, "attention.o_norm.weight"}, {PART_Q, "attention.q_proj.weight"},
    {PART_Q_A, "attention.q_a_proj.weight"}, {PART_BIAS_Q_A, "attention.q_a_proj.bias"},
    {PART_NORM_Q_A, "attention.q_a_layernorm.weight"}, {PART_Q_B, "attention.q_b_proj.weight"},
    {PART_KV_A, "attention.kv_a_proj_with_mqa.weight"}, {PART_BIAS_KV_A, "attention.kv_a_proj_with_mqa.bias"},
    {PART_NORM_KV_A, "attention.kv_a_layernorm.weight"}, {PART_KV_B, "attention.kv_b_proj.weight"},
    {PART_HEAD_GATE, "attention.g_proj.weight"}, {PART_O, "attention.dense.weight"},
    {PART_BIAS_O, "attention.dense.bias"}, {PART_ROUTER_BIAS, "mlp.gate.expert_bias"}, SHARED_EXPERTS, {0}};
/* Recurrent layers have these names, as in kimi_gguf_names. */
static const forward_name bailing_gguf_names[] = {
    {PART_MIX_Q, "attn_q.weight"}, {PART_MIX_K, "attn_k.weight"}, {PART_MIX_V, "attn_v.weight"},
    {PART_MIX_Z, "ssm_g_a.weight"}, {PART_MIX_A, "ssm_f_a.weight"}, {PART_MIX_OUT, "attn_output.weight"}, {0}};

#define MINIMAX_EXPERTS(part) "block_sparse_moe." part ".weight"
static const forward_name minimax_names[] = {
    {PART_MIX_IN, "self_attn.qkv_proj.weight"}, {PART_MIX_Z, "self_attn.output_gate.weight"},
    {PART_MIX_OUT, "self_attn.out_proj.weight"}, {PART_NORM_MIXED, "self_attn.norm.weight"},
    {PART_ROUTER, MINIMAX_EXPERTS("gate")}, {PART_EXPERT_GATE, MINIMAX_EXPERTS("experts.#.w1")},
    {PART_EXPERT_UP, MINIMAX_EXPERTS("experts.#.w3")}, {PART_EXPERT_DOWN, MINIMAX_EXPERTS("experts.#.w2")}, {0}};
#undef MINIMAX_EXPERTS
static const forward_name minimax_gguf_names[] = {
    {PART_MIX_OUT, "attn_output.weight"}, {PART_NORM_MIXED, "attn_norm_2.weight"}, {0}};

/* ---- mixtures ---- */

static const char *const qwen_required[] = {"moe_intermediate_size", NULL};
static const forward_mixture qwen3_next_mixture = {
    .experts = "num_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "moe_intermediate_size", .dense = DENSE_QWEN, .shared_width = "shared_expert_intermediate_size",
    .shared_gated = true, .normalise = {"norm_topk_prob", true}, .gguf_normalise = true, .required = qwen_required};
static const forward_mixture qwen3_5_mixture = {
    .experts = "num_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "moe_intermediate_size", .shared_width = "shared_expert_intermediate_size", .shared_gated = true,
    .normalise = {NULL, true}, .required = qwen_required};
static const forward_mixture jamba_mixture = {
    .experts = "num_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "intermediate_size", .dense = DENSE_PERIOD};

static const forward_mixture lfm2_mixture = {
    .experts = "num_experts", .used = "num_experts_per_tok", .width = "moe_intermediate_size",
    .router = {.logistic = true, .corrected = true, .sum_plus = 1e-6F}, .corrected = "use_expert_bias",
    .normalise = {"norm_topk_prob", true}, .gguf_normalise = true, .scale = "routed_scaling_factor",
    .dense_first = "num_dense_layers",
    .dense_otherwise = 2};
static const forward_mixture granite_hybrid_mixture = {
    .experts = "num_local_experts", .used = "num_experts_per_tok", .width = "intermediate_size",
    .shared_width = "shared_intermediate_size", .normalise = {NULL, true}, .optional = true};

static const forward_mixture nemotron_mixture = {
    .experts = "n_routed_experts", .used = "num_experts_per_tok", .width = "moe_intermediate_size",
    .latent = "moe_latent_size", .shared_width = "moe_shared_expert_intermediate_size",
    .router = {.logistic = true, .corrected = true}, .normalise = {"norm_topk_prob", true},
    .scale = "routed_scaling_factor", .groups = "n_group", .groups_used = "topk_group", .dense = DENSE_WORDS};

static const forward_mixture kimi_mixture = {
    .experts = "num_local_experts", .used = "num_experts_per_tok", .width = "moe_intermediate_size",
    .shared_count = "n_shared_experts", .router = {.logistic = true, .corrected = true},
    .normalise = {"norm_topk_prob", true}, .gguf_normalise = true, .scale = "routed_scaling_factor",
    .groups = "n_group", .groups_used = "topk_group", .dense_first = "first_k_dense_replace", .dense_otherwise = 1};

static const forward_mixture bailing_mixture = {
    .experts = "num_local_experts", .used = "num_experts_per_tok", .width = "moe_intermediate_size",
    .shared_count = "n_shared_experts", .router = {.logistic = true, .corrected = true},
    .normalise = {"norm_topk_prob", true}, .gguf_normalise = true, .scale = "routed_scaling_factor",
    .groups = "n_group", .groups_used = "topk_group", .dense_first = "first_k_dense_replace", .dense_otherwise = 2};

static const forward_mixture minimax_mixture = {
    .experts = "num_local_experts", .used = "num_experts_per_tok", .width = "intermediate_size",
    .normalise = {NULL, true}};

/* ---- layers ---- */

static const forward_layer_word delta_words[] = {
    {"full_attention", ORGAN_MIXER_ATTENTION, ORGAN_MIXER_NONE, FEED_USUAL},
    {"linear_attention", ORGAN_MIXER_DELTA, ORGAN_MIXER_NONE, FEED_USUAL}, {0}};
#define DELTA_SIZES .heads = {"linear_num_value_heads", 32}, .groups = {"linear_num_key_heads", 16}, \
    .key_dim = {"linear_key_head_dim", 128}, .value_dim = {"linear_value_head_dim", 128}, \
    .kernel = {"linear_conv_kernel_dim", 4}
static const forward_recurrent qwen3_next_recurrent = {
    .words = delta_words, .interval = {"full_attention_interval", 4}, DELTA_SIZES,
    .projections = ORGAN_PROJECTIONS_BY_HEAD, .gguf_split = true};
static const forward_recurrent qwen3_5_recurrent = {
    .words = delta_words, .interval = {"full_attention_interval", 4}, DELTA_SIZES, .gguf_tiled = true};
/* transformers constructs the norm of the recurrent layers with an epsilon of its own. */
static const forward_recurrent olmo_hybrid_recurrent = {
    .words = delta_words, .heads = {"linear_num_value_heads", 0}, .groups = {"linear_num_key_heads", 0},
    .key_dim = {"linear_key_head_dim", 0}, .value_dim = {"linear_value_head_dim", 0},
    .kernel = {"linear_conv_kernel_dim", 4}, .twice = {"linear_allow_neg_eigval", true}, .norm_eps = 1e-5,
    .norms_before = true, .projections = ORGAN_PROJECTIONS_APART};
static const forward_recurrent kimi_recurrent = {
    .words = delta_words, .heads = {"linear_num_heads", 32}, .groups = {"linear_num_heads", 32},
    .key_dim = {"linear_head_dim", 128}, .value_dim = {"linear_head_dim", 128}, .kernel = {"linear_conv_kernel_dim", 4},
    .projections = ORGAN_PROJECTIONS_APART, .by_channel = true, .object = "linear_attn_config"};
static const forward_recurrent bailing_recurrent = {
    .words = delta_words, .interval = {"layer_group_size", 6}, .heads = {"linear_num_heads", 32},
    .groups = {"linear_num_heads", 32}, .key_dim = {"linear_head_dim", 128}, .value_dim = {"linear_head_dim", 128},
    .kernel = {"linear_conv_kernel_dim", 4}, .projections = ORGAN_PROJECTIONS_APART, .by_channel = true,
    .full_rank = true, .bounded = true};
/* A row is a member of config.json and its name in older published files. */
static const char *const lfm2_aliases[][2] = {
    {"intermediate_size", "block_ff_dim"}, {"tie_word_embeddings", "tie_embedding"}, {NULL, NULL}};
/* A row is a member of config.json and its name in published files. */
static const char *const kimi_aliases[][2] = {
    {"max_position_embeddings", "model_max_length"}, {"norm_topk_prob", "moe_renormalize"},
    {"n_group", "num_expert_group"}, {"num_local_experts", "num_experts"},
    {"num_experts_per_tok", "num_experts_per_token"}, {"n_shared_experts", "num_shared_experts"}, {NULL, NULL}};
static const char *const bailing_aliases[][2] = {
    {"max_position_embeddings", "model_max_length"}, {"norm_topk_prob", "moe_renormalize"},
    {"n_group", "num_expert_group"}, {"num_local_experts", "num_experts"},
    {"num_experts_per_tok", "num_experts_per_token"}, {"n_shared_experts", "num_shared_experts"}, {NULL, NULL}};
static const forward_fixed bailing_fixed[] = {
    {"no_kda_lora", "true"}, {"gated_attention_proj_granularity_type", "\"head_wise\""}, {0}};
static const forward_fixed kimi_fixed[] = {
    {"moe_router_activation_func", "\"sigmoid\""}, {"mla_use_nope", "true"}, {"moe_layer_freq", "1"},
    {"use_grouped_topk", "true"}, {0}};
static const forward_layer_word lightning_words[] = {
    {"full_attention", ORGAN_MIXER_ATTENTION, ORGAN_MIXER_NONE, FEED_USUAL},
    {"linear_attention", ORGAN_MIXER_LIGHTNING, ORGAN_MIXER_NONE, FEED_USUAL}, {0}};
static const forward_recurrent minimax_recurrent = {.words = lightning_words, .lightning = true};
static const forward_layer_word conv_words[] = {
    {"full_attention", ORGAN_MIXER_ATTENTION, ORGAN_MIXER_NONE, FEED_USUAL},
    {"conv", ORGAN_MIXER_SHORT_CONV, ORGAN_MIXER_NONE, FEED_USUAL}, {0}};
static const forward_recurrent lfm2_recurrent = {
    .words = conv_words, .indices = "full_attn_idxs", .indices_needed = true, .kernel = {"conv_L_cache", 3},
    .conv_bias = {"conv_bias", false}, .bias = {"conv_bias", false}, .out_bias = {"conv_bias", false}};
static const forward_layer_word window_conv_words[] = {
    {"full_attention", ORGAN_MIXER_ATTENTION, ORGAN_MIXER_NONE, FEED_USUAL},
    {"conv", ORGAN_MIXER_SHORT_CONV, ORGAN_MIXER_NONE, FEED_USUAL},
    {"sliding_attention", ORGAN_MIXER_ATTENTION, ORGAN_MIXER_NONE, FEED_USUAL}, {0}};
static const forward_recurrent lfm3_recurrent = {
    .words = window_conv_words, .kernel = {"conv_L_cache", 7}, .conv_bias = {"conv_bias", false},
    .bias = {"conv_bias", false}, .out_bias = {"conv_bias", false}};

static const forward_layer_word mamba2_words[] = {{"mamba", ORGAN_MIXER_MAMBA2, ORGAN_MIXER_NONE, FEED_NONE}, {0}};
static const forward_recurrent mamba2_recurrent = {
    .words = mamba2_words, .alike = true, .heads = {"num_heads", 128}, .groups = {"n_groups", 8},
    .key_dim = {"state_size", 128}, .value_dim = {"head_dim", 64}, .kernel = {"conv_kernel", 4},
    .conv_bias = {"use_conv_bias", true}, .bias = {"use_bias", false}, .out_bias = {"use_bias", false},
    .expand = {"expand", 2}, .normed = {NULL, true}};

#define MAMBA_SIZES(state) .heads = {"mamba_n_heads", 128}, .groups = {"mamba_n_groups", 1}, \
    .key_dim = {"mamba_d_state", state}, .value_dim = {"mamba_d_head", 64}, .kernel = {"mamba_d_conv", 4}, \
    .conv_bias = {"mamba_conv_bias", true}, .bias = {"mamba_proj_bias", false}, .expand = {"mamba_expand", 2}
static const forward_layer_word hybrid_words[] = {
    {"full_attention", ORGAN_MIXER_ATTENTION, ORGAN_MIXER_NONE, FEED_USUAL},
    {"linear_attention", ORGAN_MIXER_MAMBA2, ORGAN_MIXER_NONE, FEED_USUAL},
    {"attention", ORGAN_MIXER_ATTENTION, ORGAN_MIXER_NONE, FEED_USUAL},
    {"mamba", ORGAN_MIXER_MAMBA2, ORGAN_MIXER_NONE, FEED_USUAL}, {0}};
static const forward_recurrent bamba_recurrent = {
    .words = hybrid_words, .indices = "attn_layer_indices", MAMBA_SIZES(256), .out_bias = {"mamba_proj_bias", false},
    .normed = {NULL, true}};
static const forward_recurrent granite_recurrent = {
    .words = hybrid_words, MAMBA_SIZES(256), .out_bias = {"mamba_proj_bias", false}, .normed = {NULL, true}};
/* Each word stands for layers of one mixer or one feed-forward. */
static const forward_layer_word nemotron_words[] = {
    {"full_attention", ORGAN_MIXER_ATTENTION, ORGAN_MIXER_NONE, FEED_NONE},
    {"attention", ORGAN_MIXER_ATTENTION, ORGAN_MIXER_NONE, FEED_NONE},
    {"*", ORGAN_MIXER_ATTENTION, ORGAN_MIXER_NONE, FEED_NONE},
    {"linear_attention", ORGAN_MIXER_MAMBA2, ORGAN_MIXER_NONE, FEED_NONE},
    {"mamba", ORGAN_MIXER_MAMBA2, ORGAN_MIXER_NONE, FEED_NONE}, {"M", ORGAN_MIXER_MAMBA2, ORGAN_MIXER_NONE, FEED_NONE},
    {"mlp", ORGAN_MIXER_NONE, ORGAN_MIXER_NONE, FEED_USUAL}, {"-", ORGAN_MIXER_NONE, ORGAN_MIXER_NONE, FEED_USUAL},
    {"moe", ORGAN_MIXER_NONE, ORGAN_MIXER_NONE, FEED_EXPERTS}, {"E", ORGAN_MIXER_NONE, ORGAN_MIXER_NONE, FEED_EXPERTS},
    {0}};
static const forward_recurrent nemotron_recurrent = {
    .words = nemotron_words, .types = "layers_block_type", .pattern = "hybrid_override_pattern",
    .heads = {"mamba_num_heads", 128}, .groups = {"n_groups", 8}, .key_dim = {"ssm_state_size", 128},
    .value_dim = {"mamba_head_dim", 64}, .kernel = {"conv_kernel", 4}, .conv_bias = {"use_conv_bias", true},
    .bias = {"use_bias", false}, .out_bias = {"use_bias", false}, .normed = {NULL, true},
    .least_step = "time_step_min"};
static const char *const nemotron_aliases[][2] = {
    {"head_dim", "attention_head_dim"}, {"n_groups", "mamba_n_groups"}, {"conv_kernel", "mamba_d_conv"},
    {"use_conv_bias", "mamba_conv_bias"}, {"time_step_min", "mamba_dt_min"}, {NULL, NULL}};
static const forward_fixed nemotron_fixed[] = {{"mamba_hidden_act", "\"silu\""}, {0}};
static const forward_layer_word parallel_words[] = {
    {"hybrid", ORGAN_MIXER_MAMBA2, ORGAN_MIXER_ATTENTION, FEED_USUAL}, {0}};
static const forward_recurrent falcon_recurrent = {
    .words = parallel_words, .alike = true, MAMBA_SIZES(256), .out_bias = {"projectors_bias", false},
    .inner = "mamba_d_ssm", .normed = {"mamba_rms_norm", false}, .norm_first = {"mamba_norm_before_gate", true},
    .scaled = true};

static const forward_layer_word mamba_words[] = {{"mamba", ORGAN_MIXER_MAMBA, ORGAN_MIXER_NONE, FEED_NONE}, {0}};
#define MAMBA1_SIZES .words = mamba_words, .alike = true, .key_dim = {"state_size", 16}, .kernel = {"conv_kernel", 4}, \
    .conv_bias = {"use_conv_bias", true}, .bias = {"use_bias", false}, .out_bias = {"use_bias", false}, \
    .expand = {"expand", 2}, .inner = "intermediate_size", .rank = "time_step_rank"
static const forward_recurrent mamba_recurrent = {MAMBA1_SIZES};
static const forward_recurrent falcon_mamba_recurrent = {
    MAMBA1_SIZES, .step_norms = true, .step_norms_bare = true, .norm_eps_key = "mixer_rms_eps", .norm_eps = 1e-6};
static const forward_layer_word jamba_words[] = {
    {"full_attention", ORGAN_MIXER_ATTENTION, ORGAN_MIXER_NONE, FEED_USUAL},
    {"linear_attention", ORGAN_MIXER_MAMBA, ORGAN_MIXER_NONE, FEED_USUAL}, {0}};
static const forward_recurrent jamba_recurrent = {
    .words = jamba_words, .types = "", .interval = {"attn_layer_period", 8}, .offset = {"attn_layer_offset", 4},
    .key_dim = {"mamba_d_state", 16}, .kernel = {"mamba_d_conv", 4}, .conv_bias = {"mamba_conv_bias", true},
    .bias = {"mamba_proj_bias", false}, .out_bias = {"mamba_proj_bias", false}, .expand = {"mamba_expand", 2},
    .rank = "mamba_dt_rank", .step_norms = true};

static const forward_multipliers falcon_multipliers = {
    .embedding = "embedding_multiplier", .logit = "lm_head_multiplier"};
static const forward_multipliers granite_multipliers = {
    .embedding = "embedding_multiplier", .attention = "attention_multiplier", .residual = "residual_multiplier",
    .logit_divisor = "logits_scaling"};
/* A conversion to GGUF multiplies the weights by the multipliers that follow them, and has no form for biases. */
static const forward_fixed falcon_fixed[] = {
    {"attention_bias", "false"}, {"mamba_proj_bias", "false"}, {"projectors_bias", "false"}, {"mlp_bias", "false"},
    {0}};

#define QWEN_HYBRID .theta = 1e4, .head_dim = 256, .rotated_part = 0.25, .eps = 1e-6, \
    .qkv_bias = {"attention_bias", false}, .output_bias = {"attention_bias", false}, \
    .norm_adds_one = true, .qk_norm = ORGAN_QK_NORM_HEAD, .gate = ORGAN_GATE_LOGISTIC, .gate_in_q = true

/* The class of transformers and that of published files. */
#define BAILING .theta = 6e6, .eps = 1e-6, .latent = true, ATTENTION_BIAS, .gate = ORGAN_GATE_LOGISTIC, \
    .gate_heads = true, .mixture = &bailing_mixture, .recurrent = &bailing_recurrent, .aliases = bailing_aliases, \
    .fixed = bailing_fixed, .names = bailing_names, .gguf_names = bailing_gguf_names

const forward_family organ_forward_families_recurrent[] = {
    {.architecture = "Qwen3NextForCausalLM", .gguf = "qwen3next", QWEN_HYBRID, .mixture = &qwen3_next_mixture,
     .recurrent = &qwen3_next_recurrent, .names = qwen3_next_names, .gguf_names = qwen3_next_gguf_names},
    {.architecture = "Qwen3_5ForCausalLM", .gguf = "qwen35", QWEN_HYBRID, .recurrent = &qwen3_5_recurrent,
     .gguf_names = delta_gguf_names},
    {.architecture = "Qwen3_5MoeForCausalLM", .gguf = "qwen35moe", QWEN_HYBRID, .mixture = &qwen3_5_mixture,
     .recurrent = &qwen3_5_recurrent, .gguf_names = delta_gguf_names},
    {.architecture = "OlmoHybridForCausalLM", .theta = 1e4, .eps = 1e-6, .qkv_bias = {"attention_bias", false},
     .output_bias = {"attention_bias", false}, .norms = ORGAN_NORMS_AFTER, .qk_norm = ORGAN_QK_NORM_ALL,
     .unrotated = UNROTATED_NULL, .recurrent = &olmo_hybrid_recurrent, .names = olmo_hybrid_names},
    {.architecture = "KimiLinearForCausalLM", .gguf = "kimi-linear", .gguf_names = kimi_gguf_names, .theta = 1e4,
     .eps = 1e-5, .latent = true, .unrotated = UNROTATED_ALL,
     .qkv_bias = {"attention_bias", false}, .output_bias = {"attention_bias", false}, .mixture = &kimi_mixture,
     .recurrent = &kimi_recurrent, .aliases = kimi_aliases, .fixed = kimi_fixed, .names = kimi_names},
    {.architecture = "BailingHybridForCausalLM", .gguf = "bailingmoe3", BAILING},
    {.architecture = "BailingMoeV3ForCausalLM", BAILING},
    {.architecture = "MiniMaxForCausalLM", .gguf = "minimax-01", .gguf_names = minimax_gguf_names, .theta = 1e6,
     .eps = 1e-5, .rotary_dim = true, .windows = WINDOWS_ALL, .mixture = &minimax_mixture,
     .recurrent = &minimax_recurrent, .names = minimax_names},
    {.architecture = "Lfm2ForCausalLM", .gguf = "lfm2", .theta = 1e6, .tied = true, .eps_key = "norm_eps",
     .eps = 1e-5, .aliases = lfm2_aliases, .old_aliases = true, .gguf_names = lfm2_gguf_names,
     .qk_norm = ORGAN_QK_NORM_HEAD, .adjusted_feed = true, .recurrent = &lfm2_recurrent, .names = lfm2_names},
    {.architecture = "Lfm2MoeForCausalLM", .gguf = "lfm2moe", .theta = 1e6, .tied = true, .eps_key = "norm_eps",
     .eps = 1e-5, .aliases = lfm2_aliases, .old_aliases = true, .gguf_names = lfm2_gguf_names,
     .qk_norm = ORGAN_QK_NORM_HEAD, .mixture = &lfm2_mixture, .recurrent = &lfm2_recurrent, .names = lfm2_names},
    {.architecture = "Lfm3ForCausalLM", .tied = true, .eps_key = "norm_eps", .eps = 1e-5, .head_dim = 128,
     .rotated_part = 1, .local = LOCAL_OWN, ATTENTION_BIAS, .norms = ORGAN_NORMS_AROUND,
     .norms_key = "use_sandwich_norm", .qk_norm = ORGAN_QK_NORM_HEAD, .gate = ORGAN_GATE_LOGISTIC, .gate_heads = true,
     .gate_key = "use_attention_gate", .windows = WINDOWS_TYPES, .window = 256, .recurrent = &lfm3_recurrent,
     .names = lfm3_names},
    {.architecture = "Mamba2ForCausalLM", .gguf = "mamba2", .theta = 1e4, .eps_key = "layer_norm_epsilon",
     .eps = 1e-5, .gguf_names = mamba_gguf_names,
     .prefix = "backbone.", .attention_free = true, .context = 2048,
     .recurrent = &mamba2_recurrent, .names = mamba2_names},
    {.architecture = "BambaForCausalLM", .theta = 1e4, .rotated_part = 0.5, .eps = 1e-5,
     .qkv_bias = {"attention_bias", false}, .output_bias = {"attention_bias", false}, .mlp_bias = {"mlp_bias", false},
     .recurrent = &bamba_recurrent, .names = bamba_names},
    {.architecture = "GraniteMoeHybridForCausalLM", .gguf = "granitehybrid", .gguf_pairs = true,
     .gguf_names = mamba_gguf_names, .theta = 1e4, .eps = 1e-6, .unrotated = UNROTATED_UNLESS,
     .multipliers = &granite_multipliers, .mixture = &granite_hybrid_mixture, .recurrent = &granite_recurrent,
     .qkv_bias = {"attention_bias", false}, .output_bias = {"attention_bias", false}, .names = granite_hybrid_names},
    {.architecture = "FalconH1ForCausalLM", .gguf = "falcon-h1", .theta = 1e5, .eps = 1e-5,
     .gguf_names = falcon_h1_gguf_names, .multipliers = &falcon_multipliers,
     .fixed = falcon_fixed, .recurrent = &falcon_recurrent, .names = bamba_names},
    {.architecture = "NemotronHForCausalLM", .gguf = "nemotron_h", .gguf_experts = "nemotron_h_moe",
     .gguf_pairs = true, .gguf_names = nemotron_gguf_names, .theta = 1e4, .eps_key = "layer_norm_epsilon", .eps = 1e-5,
     .prefix = "backbone.", .unrotated = UNROTATED_ALL, .mlp_bias = {"mlp_bias", false}, .ungated = true,
     .activation = ORGAN_RELU_SQUARED, .activation_key = "mlp_hidden_act", .aliases = nemotron_aliases,
     .fixed = nemotron_fixed, .mixture = &nemotron_mixture, .recurrent = &nemotron_recurrent, .names = nemotron_names},
    {.architecture = "MambaForCausalLM", .gguf = "mamba", .theta = 1e4, .tied = true,
     .eps_key = "layer_norm_epsilon", .eps = 1e-5, .gguf_names = mamba_gguf_names,
     .prefix = "backbone.", .attention_free = true, .context = 2048,
     .recurrent = &mamba_recurrent, .names = mamba_names},
    {.architecture = "FalconMambaForCausalLM", .theta = 1e4, .tied = true, .eps_key = "layer_norm_epsilon",
     .eps = 1e-5, .prefix = "backbone.", .attention_free = true, .context = 2048,
     .recurrent = &falcon_mamba_recurrent,
     .names = mamba_names},
    {.architecture = "JambaForCausalLM", .gguf = "jamba", .theta = 1e4, .eps = 1e-6,
     .gguf_names = mamba_gguf_names, .unrotated = UNROTATED_ALL,
     .mixture = &jamba_mixture, .recurrent = &jamba_recurrent, .names = jamba_names},
    {0}};
