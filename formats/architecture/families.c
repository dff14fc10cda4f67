/* SPDX-License-Identifier: MIT
 * The supported architectures, as transformers and llama.cpp define them. */
#include "formats/architecture/family_rows.h"

/* clang-format off */

/* ---- names of tensors ---- */

static const forward_name gemma_names[] = {{PART_NORM_FFN, "pre_feedforward_layernorm.weight"}, {0}};
static const forward_name gemma4_names[] = {
    {PART_NORM_FFN, "pre_feedforward_layernorm.weight"}, {PART_ROUTER, "router.proj.weight"},
    {PART_EXPERTS_GATE_UP, "experts.gate_up_proj"}, {PART_EXPERTS_DOWN, "experts.down_proj"}, {0}};
static const forward_name gemma4_gguf_names[] = {{PART_EXPERTS_GATE_UP, "ffn_gate_up_exps.weight"}, {0}};
static const forward_name phi3_names[] = {
    {PART_QKV, "self_attn.qkv_proj.weight"}, {PART_GATE_UP, "mlp.gate_up_proj.weight"}, {0}};
static const forward_name phi3_gguf_names[] = {{PART_GATE_UP, "ffn_up.weight"}, {0}};
/* transformers 4 numbers the experts of Mixtral, transformers 5 stacks them. */
static const forward_name mixtral_names[] = {
    {PART_ROUTER | NAME_MODULE, "mlp.gate.weight"}, {PART_ROUTER, "block_sparse_moe.gate.weight"},
    MIXTRAL_EXPERTS, {0}};
static const forward_name phimoe_names[] = {
    {PART_ROUTER | NAME_MODULE, "mlp.router.weight"}, {PART_ROUTER, "block_sparse_moe.gate.weight"},
    MIXTRAL_EXPERTS, {0}};
static const forward_name shared_experts_names[] = {SHARED_EXPERTS, {0}};
static const forward_name minimax_names[] = {
    {PART_ROUTER | NAME_MODULE, "mlp.gate.weight"}, {PART_ROUTER, "block_sparse_moe.gate.weight"},
    {PART_ROUTER_BIAS | NAME_MODULE, "mlp.e_score_correction_bias"},
    {PART_ROUTER_BIAS, "block_sparse_moe.e_score_correction_bias"},
    MIXTRAL_EXPERTS, {0}};
static const forward_name granitemoe_names[] = {
    {PART_ROUTER | NAME_MODULE, "block_sparse_moe.router.weight"},
    {PART_ROUTER, "block_sparse_moe.router.layer.weight"}, {PART_SHARED_DOWN, "shared_mlp.output_linear.weight"},
    {PART_EXPERTS_GATE_UP | NAME_MODULE, "block_sparse_moe.experts.gate_up_proj"},
    {PART_EXPERTS_GATE_UP, "block_sparse_moe.input_linear.weight"},
    {PART_EXPERTS_DOWN | NAME_MODULE, "block_sparse_moe.experts.down_proj"},
    {PART_EXPERTS_DOWN, "block_sparse_moe.output_linear.weight"},
    {PART_SHARED_GATE_UP, "shared_mlp.input_linear.weight"}, {0}};
static const forward_name ernie_moe_names[] = {
    {PART_ROUTER_BIAS | NAME_MODULE, "mlp.gate.moe_statics.e_score_correction_bias"},
    {PART_ROUTER_BIAS, "mlp.moe_statics.e_score_correction_bias"}, SHARED_EXPERTS, {0}};
static const forward_name exaone_moe_names[] = {
    {PART_ROUTER_BIAS | NAME_MODULE, "mlp.gate.e_score_correction_bias"},
    {PART_ROUTER_BIAS, "mlp.e_score_correction_bias"}, SHARED_EXPERTS, {0}};
static const forward_name hy_names[] = {
    {PART_ROUTER | NAME_MODULE, "mlp.gate.weight"}, {PART_ROUTER, "mlp.router.gate.weight"},
    {PART_ROUTER_BIAS | NAME_MODULE, "mlp.e_score_correction_bias"}, {PART_ROUTER_BIAS, "mlp.expert_bias"},
    SHARED_EXPERTS_OF(NAME_MODULE), {PART_SHARED_GATE, "mlp.shared_mlp.gate_proj.weight"},
    {PART_SHARED_UP, "mlp.shared_mlp.up_proj.weight"}, {PART_SHARED_DOWN, "mlp.shared_mlp.down_proj.weight"}, {0}};
static const forward_name hy_gguf_names[] = {
    {PART_ROUTER_BIAS, "exp_probs_b"}, {PART_ROUTER_BIAS | NAME_OLDER, "exp_probs_b.bias"}, {0}};
static const forward_name post_attn_names[] = {{PART_NORM_FFN, "post_attention_norm.weight"}, {0}};
static const forward_name hunyuan_names[] = {
    {PART_NORM_Q, "self_attn.query_layernorm.weight"}, {PART_NORM_K, "self_attn.key_layernorm.weight"}, {0}};
static const forward_name hunyuan_moe_names[] = {
    {PART_NORM_Q, "self_attn.query_layernorm.weight"}, {PART_NORM_K, "self_attn.key_layernorm.weight"},
    {PART_ROUTER, "mlp.gate.wg.weight"}, {PART_SHARED_GATE, "mlp.shared_mlp.gate_proj.weight"},
    {PART_SHARED_UP, "mlp.shared_mlp.up_proj.weight"}, {PART_SHARED_DOWN, "mlp.shared_mlp.down_proj.weight"}, {0}};
static const forward_name afmoe_names[] = {
    {PART_NORM_FFN, "pre_mlp_layernorm.weight"}, {PART_NORM_POST_FFN, "post_mlp_layernorm.weight"},
    {PART_ROUTER, "mlp.router.gate.weight"}, {PART_ROUTER_BIAS, "mlp.expert_bias"}, SHARED_EXPERTS, {0}};
static const forward_name laguna_names[] = {
    {PART_HEAD_GATE, "self_attn.g_proj.weight"},
    {PART_ROUTER_BIAS, "mlp.experts.e_score_correction_bias"}, {0}};
static const forward_name mimo_names[] = {
    {PART_SINKS, "self_attn.attention_sink_bias"},
    {PART_NORM_FFN, "post_attention_layernorm.weight"},
    {PART_NORM_FFN | NAME_DRAFT, "pre_mlp_layernorm.weight"},
    {0}};
static const forward_name llama4_names[] = {
    {PART_GATE, "feed_forward.gate_proj.weight"}, {PART_UP, "feed_forward.up_proj.weight"},
    {PART_DOWN, "feed_forward.down_proj.weight"}, {PART_ROUTER, "feed_forward.router.weight"},
    {PART_EXPERTS_GATE_UP, "feed_forward.experts.gate_up_proj"},
    {PART_EXPERTS_DOWN, "feed_forward.experts.down_proj"},
    {PART_SHARED_GATE, "feed_forward.shared_expert.gate_proj.weight"},
    {PART_SHARED_UP, "feed_forward.shared_expert.up_proj.weight"},
    {PART_SHARED_DOWN, "feed_forward.shared_expert.down_proj.weight"}, {0}};
static const forward_name step_names[] = {
    {PART_HEAD_GATE, "self_attn.g_proj.weight"},
    {PART_ROUTER | NAME_MODULE, "mlp.gate.weight"}, {PART_ROUTER, "moe.gate.weight"},
    {PART_ROUTER_BIAS | NAME_MODULE, "mlp.gate.e_score_correction_bias"}, {PART_ROUTER_BIAS, "moe.router_bias"},
    {PART_EXPERTS_GATE, "moe.gate_proj.weight"}, {PART_EXPERTS_UP, "moe.up_proj.weight"},
    {PART_EXPERTS_DOWN | NAME_MODULE, "mlp.experts.down_proj"}, {PART_EXPERTS_DOWN, "moe.down_proj.weight"},
    SHARED_EXPERTS_OF(NAME_MODULE), {PART_SHARED_GATE, "share_expert.gate_proj.weight"},
    {PART_SHARED_UP, "share_expert.up_proj.weight"}, {PART_SHARED_DOWN, "share_expert.down_proj.weight"}, {0}};
static const forward_name m3_names[] = {
    {PART_INDEX_Q | NAME_MODULE, "self_attn.indexer.q_proj.weight"}, {PART_INDEX_Q, "self_attn.index_q_proj.weight"},
    {PART_INDEX_K | NAME_MODULE, "self_attn.indexer.k_proj.weight"}, {PART_INDEX_K, "self_attn.index_k_proj.weight"},
    {PART_NORM_INDEX_Q | NAME_MODULE, "self_attn.indexer.q_norm.weight"},
    {PART_NORM_INDEX_Q, "self_attn.index_q_norm.weight"},
    {PART_NORM_INDEX | NAME_MODULE, "self_attn.indexer.k_norm.weight"},
    {PART_NORM_INDEX, "self_attn.index_k_norm.weight"},
    {PART_ROUTER | NAME_MODULE, "mlp.gate.weight"}, {PART_ROUTER, "block_sparse_moe.gate.weight"},
    {PART_ROUTER_BIAS | NAME_MODULE, "mlp.gate.e_score_correction_bias"},
    {PART_ROUTER_BIAS, "block_sparse_moe.e_score_correction_bias"}, MIXTRAL_EXPERTS,
    {PART_GATE_UP | NAME_MODULE, "mlp.gate_up_proj.weight"},
    {PART_SHARED_GATE_UP | NAME_MODULE, "mlp.shared_experts.gate_up_proj.weight"},
    {PART_SHARED_DOWN | NAME_MODULE, "mlp.shared_experts.down_proj.weight"},
    {PART_SHARED_GATE, "block_sparse_moe.shared_experts.gate_proj.weight"},
    {PART_SHARED_UP, "block_sparse_moe.shared_experts.up_proj.weight"},
    {PART_SHARED_DOWN, "block_sparse_moe.shared_experts.down_proj.weight"}, {0}};
static const forward_name m3_gguf_names[] = {
    {PART_INDEX_Q, "indexer.q_proj.weight"}, {PART_INDEX_K, "indexer.k_proj.weight"},
    {PART_NORM_INDEX_Q, "indexer.q_norm.weight"}, {0}};
static const forward_name gpt_oss_names[] = {{PART_ROUTER, "mlp.router.weight"}, {0}};

static const forward_name glm4_names[] = {
    {PART_NORM_POST_ATTENTION, "post_self_attn_layernorm.weight"}, {PART_NORM_POST_FFN, "post_mlp_layernorm.weight"},
    {PART_GATE_UP, "mlp.gate_up_proj.weight"}, {0}};
static const forward_name glm4_gguf_names[] = {{PART_GATE_UP, "ffn_up.weight"}, {0}};

static const forward_name starcoder2_names[] = {
    {PART_UP, "mlp.c_fc.weight"}, {PART_BIAS_UP, "mlp.c_fc.bias"}, {PART_DOWN, "mlp.c_proj.weight"},
    {PART_BIAS_DOWN, "mlp.c_proj.bias"}, {0}};
static const forward_name phi_names[] = {
    {PART_FINAL_NORM, "final_layernorm.weight"}, {PART_O, "self_attn.dense.weight"},
    {PART_BIAS_O, "self_attn.dense.bias"}, {PART_UP, "mlp.fc1.weight"}, {PART_BIAS_UP, "mlp.fc1.bias"},
    {PART_DOWN, "mlp.fc2.weight"}, {PART_BIAS_DOWN, "mlp.fc2.bias"}, {PART_NORM_Q, "self_attn.q_layernorm.weight"},
    {PART_NORM_K, "self_attn.k_layernorm.weight"}, {0}};
static const forward_name neox_names[] = {
    {PART_EMBEDDING, "embed_in.weight"}, {PART_FINAL_NORM, "final_layer_norm.weight"},
    {PART_OUTPUT, "embed_out.weight"}, {PART_QKV, "attention.query_key_value.weight"},
    {PART_O, "attention.dense.weight"},
    {PART_BIAS_O, "attention.dense.bias"}, {PART_UP, "mlp.dense_h_to_4h.weight"},
    {PART_BIAS_UP, "mlp.dense_h_to_4h.bias"}, {PART_DOWN, "mlp.dense_4h_to_h.weight"},
    {PART_BIAS_DOWN, "mlp.dense_4h_to_h.bias"}, {0}};
static const forward_name falcon_names[] = {
    {PART_EMBEDDING, "word_embeddings.weight"}, {PART_FINAL_NORM, "ln_f.weight"},
    {PART_NORM_ATTENTION | NAME_ONE_NORM, "input_layernorm.weight"}, {PART_NORM_ATTENTION, "ln_attn.weight"},
    {PART_NORM_FFN | NAME_ONE_NORM, "post_attention_layernorm.weight"}, {PART_NORM_FFN, "ln_mlp.weight"},
    {PART_QKV, "self_attention.query_key_value.weight"},
    {PART_O, "self_attention.dense.weight"}, {PART_BIAS_O, "self_attention.dense.bias"},
    {PART_UP, "mlp.dense_h_to_4h.weight"}, {PART_BIAS_UP, "mlp.dense_h_to_4h.bias"},
    {PART_DOWN, "mlp.dense_4h_to_h.weight"}, {PART_BIAS_DOWN, "mlp.dense_4h_to_h.bias"}, {0}};
static const forward_name falcon_gguf_names[] = {
    {PART_NORM_ATTENTION, "attn_norm_2.weight"}, {PART_NORM_ATTENTION | NAME_ONE_NORM, "attn_norm.weight"},
    {PART_NORM_FFN, "attn_norm.weight"}, {0}};
static const forward_name apertus_names[] = {
    {PART_NORM_ATTENTION, "attention_layernorm.weight"}, {PART_NORM_FFN, "feedforward_layernorm.weight"}, {0}};
static const forward_name nanochat_names[] = {{PART_UP, "mlp.fc1.weight"}, {PART_DOWN, "mlp.fc2.weight"}, {0}};
static const forward_name exaone_names[] = {
    {PART_EMBEDDING, "wte.weight"}, {PART_FINAL_NORM, "ln_f.weight"}, {PART_NORM_ATTENTION, "ln_1.weight"},
    {PART_NORM_FFN, "ln_2.weight"}, {PART_Q, "attn.attention.q_proj.weight"},
    {PART_BIAS_Q, "attn.attention.q_proj.bias"},
    {PART_K, "attn.attention.k_proj.weight"}, {PART_BIAS_K, "attn.attention.k_proj.bias"},
    {PART_V, "attn.attention.v_proj.weight"}, {PART_BIAS_V, "attn.attention.v_proj.bias"},
    {PART_O, "attn.attention.out_proj.weight"}, {PART_BIAS_O, "attn.attention.out_proj.bias"},
    {PART_GATE, "mlp.c_fc_0.weight"}, {PART_BIAS_GATE, "mlp.c_fc_0.bias"}, {PART_UP, "mlp.c_fc_1.weight"},
    {PART_BIAS_UP, "mlp.c_fc_1.bias"}, {PART_DOWN, "mlp.c_proj.weight"}, {PART_BIAS_DOWN, "mlp.c_proj.bias"}, {0}};
static const forward_name sarvam_names[] = {
    {PART_EMBEDDING, "word_embeddings.weight"}, {PART_QKV, "attention.query_key_value.weight"},
    {PART_O, "attention.dense.weight"}, {PART_NORM_Q, "attention.query_layernorm.weight"},
    {PART_NORM_K, "attention.key_layernorm.weight"}, {PART_ROUTER_BIAS, "mlp.gate.expert_bias"}, SHARED_EXPERTS, {0}};
static const forward_name hyperclovax_names[] = {
    {PART_NORM_POST_ATTENTION, "post_norm1.weight"}, {PART_NORM_POST_FFN, "post_norm2.weight"}, {0}};
static const forward_name stablelm_names[] = {
    {PART_NORM_Q, "self_attn.q_layernorm.norms.#.weight"}, {PART_NORM_K, "self_attn.k_layernorm.norms.#.weight"}, {0}};

/* ---- mixtures ---- */

static const forward_mixture mixtral_mixture = {
    .experts = "num_local_experts", .used = "num_experts_per_tok", .width = "intermediate_size",
    .normalise = {NULL, true}};
static const char *const qwen_required[] = {"moe_intermediate_size", NULL};
static const forward_mixture qwen_mixture = {
    .experts = "num_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "moe_intermediate_size", .dense = DENSE_QWEN, .normalise = {"norm_topk_prob", false},
    .gguf_normalise = true,
    .required = qwen_required};
static const forward_mixture qwen2_mixture = {
    .experts = "num_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "moe_intermediate_size", .dense = DENSE_QWEN, .shared_width = "shared_expert_intermediate_size",
    .shared_gated = true, .normalise = {"norm_topk_prob", false}, .required = qwen_required};

static const forward_mixture hunyuan_mixture = {
    .experts = "num_experts", .experts_too = "num_local_experts", .used = "moe_topk", .width = "intermediate_size",
    .shared_width = "intermediate_size", .normalise = {NULL, true}};
static const char *const afmoe_required[] = {
    "layer_types", "num_shared_experts", "num_dense_layers", "route_scale", NULL};
static const forward_mixture afmoe_mixture = {
    .experts = "num_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "moe_intermediate_size", .shared_count = "num_shared_experts", .router = LOGISTIC,
    .normalise = {"route_norm", true}, .scale = "route_scale", .dense_first = "num_dense_layers",
     .required = afmoe_required};
static const char *const laguna_required[] = {"layer_types", "mlp_layer_types", "moe_routed_scaling_factor", NULL};
static const forward_mixture laguna_mixture = {
    .experts = "num_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "moe_intermediate_size", .shared_width = "shared_expert_intermediate_size", .router = LOGISTIC,
    .normalise = {NULL, true}, .scale = "moe_routed_scaling_factor", .cap = "moe_router_logit_softcapping",
    .required = laguna_required};
static const char *const step_required[] = {"share_expert_dim", "moe_router_scaling_factor", "n_routed_experts", NULL};
static const forward_mixture step_mixture = {
    .experts = "n_routed_experts", .used = "num_experts_per_tok",
    .width = "moe_intermediate_size", .shared_width = "share_expert_dim", .router = LOGISTIC,
    .normalise = {NULL, true}, .scale = "routed_scaling_factor", .required = step_required};
static const forward_mixture m3_mixture = {
    .experts = "num_local_experts", .experts_too = "num_experts", .used = "num_experts_per_tok",
    .width = "intermediate_size", .shared_width = "shared_intermediate_size", .router = LOGISTIC,
    .normalise = {NULL, true}, .scale = "routed_scaling_factor", .dense_width = "dense_intermediate_size"};
static const forward_mixture mimo_mixture = {
    .experts = "n_routed_experts", .used = "num_experts_per_tok", .width = "moe_intermediate_size", .router = LOGISTIC,
    .normalise = {"norm_topk_prob", true}, .gguf_normalise = true, .scale = "routed_scaling_factor",
     .groups = "n_group",
    .groups_used = "topk_group", .dense = DENSE_FREQ};
static const char *const llama4_required[] = {"use_qk_norm", NULL};
static const forward_mixture llama4_mixture = {
    .experts = "num_local_experts", .used = "num_experts_per_tok", .width = "intermediate_size",
    .shared_width = "intermediate_size", .router = {.logistic = true, .late = true, .into_inputs = true},
    .dense = DENSE_STEP, .transposed = true, .required = llama4_required};
static const forward_mixture gpt_oss_mixture = {
    .experts = "num_local_experts", .used = "num_experts_per_tok", .width = "intermediate_size",
    .normalise = {NULL, true}, .biases = true, .transposed = true, .pairs = true};

static const forward_mixture olmoe_mixture = {
    .experts = "num_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "intermediate_size", .normalise = {"norm_topk_prob", false}};
/* The softmax of the chosen values is their part of the softmax over all values. */
static const forward_mixture granite_mixture = {
    .experts = "num_local_experts", .used = "num_experts_per_tok", .width = "intermediate_size",
    .shared_width = "shared_intermediate_size", .shared_optional = true, .normalise = {NULL, true}};
static const forward_mixture minimax_mixture = {
    .experts = "num_local_experts", .used = "num_experts_per_tok", .width = "intermediate_size",
    .router = LOGISTIC, .normalise = {NULL, true}};
static const char *const ernie_required[] = {"moe_num_shared_experts", NULL};
static const forward_mixture ernie_mixture = {
    .experts = "moe_num_experts", .used = "moe_k", .width = "moe_intermediate_size",
    .shared_count = "moe_num_shared_experts", .router = {.corrected = true, .least_sum = 1e-12F},
    .least_sum = "moe_norm_min", .normalise = {NULL, true}, .dense = DENSE_INTERVAL, .required = ernie_required};
static const char *const exaone_required[] = {
    "num_shared_experts", "norm_topk_prob", "routed_scaling_factor", NULL};
static const forward_mixture exaone_mixture = {
    .experts = "num_experts", .used = "num_experts_per_tok", .width = "moe_intermediate_size",
    .shared_count = "num_shared_experts", .router = LOGISTIC,
    .normalise = {"norm_topk_prob", true}, .scale = "routed_scaling_factor", .groups = "n_group",
    .groups_used = "topk_group", .dense_first = "first_k_dense_replace", .dense_otherwise = 1,
    .required = exaone_required};
static const char *const hy_required[] = {"num_shared_experts", "router_scaling_factor", NULL};
static const forward_mixture hy_mixture = {
    .experts = "num_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "moe_intermediate_size", .shared_count = "num_shared_experts",
    .router = LOGISTIC, .normalise = {NULL, true}, .scale = "router_scaling_factor", .absent_in_gguf = true,
    .dense_first = "first_k_dense_replace", .dense_otherwise = 1, .required = hy_required};
static const char *const solar_required[] = {"n_shared_experts", "norm_topk_prob", NULL};
static const forward_mixture solar_mixture = {
    .experts = "n_routed_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "moe_intermediate_size", .shared_count = "n_shared_experts",
    .router = LOGISTIC, .normalise = {"norm_topk_prob", true},
    .scale = "routed_scaling_factor", .groups = "n_group", .groups_used = "topk_group", .required = solar_required};
static const forward_mixture cohere2_mixture = {
    .experts = "num_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "intermediate_size", .shared_count = "num_shared_experts", .shared_optional = true,
    .combination = "shared_expert_combination_strategy", .selection = "expert_selection_fn",
    .normalise = {"norm_topk_prob", true}, .dense_width = "prefix_dense_intermediate_size",
    .dense_first = "first_k_dense_replace", .dense_otherwise = DENSE_NONE};
static const forward_mixture qwen3_vl_mixture = {
    .experts = "num_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "moe_intermediate_size", .dense = DENSE_QWEN, .normalise = {NULL, true}, .transposed = true,
    .or_straight = true, .required = qwen_required};
static const forward_mixture phimoe_mixture = {
    .experts = "num_local_experts", .used = "num_experts_per_tok", .width = "intermediate_size",
    .router = {.sparse = true}, .jitter = "router_jitter_noise", .jitter_otherwise = 0.01};
static const char *const mellum_required[] = {"layer_types", "norm_topk_prob", NULL};
static const forward_mixture mellum_mixture = {
    .experts = "num_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "moe_intermediate_size", .normalise = {"norm_topk_prob", true}, .gguf_normalise = true,
    .required = mellum_required};

/* ---- members with one supported value ---- */

static const forward_fixed iquest_fixed[] = {{"clip_qkv", "null"}, {"use_sliding_window", "false"}, {0}};
static const forward_fixed sarvam_fixed[] = {{"use_qk_norm", "true"}, {0}};
static const forward_fixed nanochat_fixed[] = {{"attn_logit_softcapping", "null"}, {0}};
static const forward_fixed hunyuan_fixed[] = {
    {"use_cla", "false"}, {"norm_topk_prob", "true"}, {"use_qk_norm", "true"}, {0}};
static const forward_fixed afmoe_fixed[] = {
    {"route_norm", "true"}, {"score_func", "\"sigmoid\""}, {"n_group", "1"}, {"topk_group", "1"}, {0}};
static const forward_fixed laguna_fixed[] = {{"moe_apply_router_weight_on_input", "false"}, {0}};
static const forward_fixed mimo_fixed[] = {
    {"scoring_func", "\"sigmoid\""}, {"topk_method", "\"noaux_tc\""}, {"add_swa_attention_sink_bias", "true"},
    {"add_full_attention_sink_bias", "false"}, {"swa_rope_theta", "10000"}, {0}};

static const forward_mixture gemma4_mixture = {
    .experts = "num_experts", .used = "top_k_experts", .width = "moe_intermediate_size", .normalise = {NULL, true}};

static const forward_multipliers granite_multipliers = {
    .embedding = "embedding_multiplier", .attention = "attention_multiplier", .residual = "residual_multiplier",
    .logit_divisor = "logits_scaling"};

static const forward_multipliers hyperclovax_multipliers = {
    .embedding = "embedding_multiplier", .attention = "attention_multiplier", .attention_usual = true,
    .residual = "residual_multiplier", .logit = "logits_scaling"};

static const forward_multipliers cohere_multipliers = {.logit = "logit_scale"};

static const char *const exaone_aliases[][2] = {
    {"num_hidden_layers", "num_layers"}, {"rms_norm_eps", "layer_norm_epsilon"}, {"hidden_act", "activation_function"},
    {NULL, NULL}};
static const char *const sarvam_aliases[][2] = {
    {"n_routed_experts", "num_experts"}, {"n_shared_experts", "num_shared_experts"},
    {"attention_bias", "use_qkv_bias"}, {NULL, NULL}};

/* Published files have these names; files that transformers saves have the usual names. */
static const char *const mimo_aliases[][2] = {
    {"rms_norm_eps", "layernorm_epsilon"}, {"rope_local_base_freq", "swa_rope_theta"}, {NULL, NULL}};

static const char *const falcon_aliases[][2] = {
    {"num_hidden_layers", "n_layer"}, {"num_attention_heads", "n_head"}, {"num_kv_heads", "n_head_kv"},
    {"hidden_size", "n_embed"}, {"intermediate_size", "ffn_hidden_size"}, {NULL, NULL}};

/* ---- architectures ---- */

#define QKV_BIAS       .qkv_bias = {"qkv_bias", true}
/* Members of rows that exist twice, for the class name of transformers and that of published files. */
#define EXAONE_MOE .theta = 1e4, .qk_norm = ORGAN_QK_NORM_HEAD, .windows = WINDOWS_TYPES, .window = 4096, \
    .window_pattern = 4, .unrotated = UNROTATED_FULL, .mixture = &exaone_mixture, .names = exaone_moe_names
#define GRANITE_SWA .theta = 1e4, ATTENTION_BIAS, .multipliers = &granite_multipliers, \
    .windows = WINDOWS_TYPES, .window = 128, .window_pattern = 4, .first_full = true, .unrotated = UNROTATED_THETAS, \
    .sinks = SINKS_ALL
#define PHIMOE .theta = 1e6, ATTENTION_BIAS, .head_bias = {"lm_head_bias", false}, .norm = ORGAN_NORM_LAYER, \
    .norm_biased = true, .eps = 1e-5, .windows = WINDOWS_ALL, .rope_mscale = true, .mixture = &phimoe_mixture, \
    .names = phimoe_names

const forward_family organ_forward_families[] = {
    {.architecture = "LlamaForCausalLM", .gguf = "llama", .gguf_pairs = true, .theta = 1e4, ATTENTION_BIAS, MLP_BIAS},
    {.architecture = "MistralForCausalLM", .theta = 1e4, .windows = WINDOWS_ALL, .window = 4096},
    {.architecture = "MixtralForCausalLM", .theta = 1e6, .windows = WINDOWS_ALL, .mixture = &mixtral_mixture,
     .names = mixtral_names},
    {.architecture = "Qwen2ForCausalLM", .gguf = "qwen2", .theta = 1e4, QKV_BIAS,
     .windows = WINDOWS_FLAG, .window = 4096, .window_border = 28},
    {.architecture = "Qwen3ForCausalLM", .gguf = "qwen3", .theta = 1e4, .head_dim = 128, ATTENTION_BIAS,
     .qk_norm = ORGAN_QK_NORM_HEAD, .windows = WINDOWS_FLAG, .window = 4096, .window_border = 28},
    {.architecture = "Qwen3MoeForCausalLM", .gguf = "qwen3moe", .theta = 1e4, ATTENTION_BIAS,
     .qk_norm = ORGAN_QK_NORM_HEAD, .windows = WINDOWS_FLAG_ALL, .window = 4096, .mixture = &qwen_mixture},
    {.architecture = "Qwen3VLMoeForConditionalGeneration", .gguf = "qwen3vlmoe", .theta = 5e5, ATTENTION_BIAS,
     .qk_norm = ORGAN_QK_NORM_HEAD, .mixture = &qwen3_vl_mixture},
    {.architecture = "Qwen2MoeForCausalLM", .gguf = "qwen2moe", .theta = 1e4, QKV_BIAS,
     .windows = WINDOWS_FLAG_ODD, .window = 4096, .window_border = 28, .mixture = &qwen2_mixture},
    {.architecture = "Glm4MoeForCausalLM", .gguf = "glm4moe", .theta = 1e4, .rotated_part = 0.5,
     .qkv_bias = {"attention_bias", false}, .qk_norm = ORGAN_QK_NORM_HEAD, .qk_norm_key = "use_qk_norm",
     .mixture = &organ_forward_deepseek3_mixture, .names = shared_experts_names, .gguf_names = post_attn_names},
    {.architecture = "SarvamMoEForCausalLM", .theta = 8e6, .rotated_part = 1, .head_dim = 64,
     .qkv_bias = {"attention_bias", false}, .qk_norm = ORGAN_QK_NORM_HEAD, .fused = ORGAN_FUSED_THIRDS,
     .aliases = sarvam_aliases, .mixture = &organ_forward_deepseek3_mixture, .names = sarvam_names,
     .fixed = sarvam_fixed},
    {.architecture = "InternLM3ForCausalLM", .theta = 1e4, .qkv_bias = {"qkv_bias", false},
     .output_bias = {"bias", false}, .mlp_bias = {"bias", false}},
    {.architecture = "IQuestCoderForCausalLM", .theta = 1e4, ATTENTION_BIAS, MLP_BIAS, .fixed = iquest_fixed},
    {.architecture = "ExaoneForCausalLM", .gguf = "exaone", .prefix = "transformer.", .layer_list = "h", .theta = 5e5,
     ATTENTION_BIAS, MLP_BIAS, .eps = 1e-5, .aliases = exaone_aliases, .names = exaone_names},
    {.architecture = "Dots1ForCausalLM", .gguf = "dots1", .theta = 1e4, ATTENTION_BIAS,
     .qk_norm = ORGAN_QK_NORM_HEAD, .windows = WINDOWS_FROM, .window = 4096, .window_border = 62,
     .mixture = &organ_forward_deepseek3_mixture, .names = shared_experts_names},
    {.architecture = "GptOssForCausalLM", .gguf = "gpt-oss", .gguf_exact_range = true, .gguf_names = post_attn_names,
     .head_dim = 64, .qkv_bias = {"attention_bias", true}, .output_bias = {"attention_bias", true},
     .windows = WINDOWS_TYPES, .window = 128, .window_pattern = 2, .sinks = SINKS_ALL,
     .gate_limit = {"swiglu_limit", 7}, .gate_alpha = {"swiglu_alpha", 1.702}, .mixture = &gpt_oss_mixture,
     .names = gpt_oss_names},
    {.architecture = "Ministral3ForCausalLM", .gguf = "mistral3", .gguf_pairs = true, .windows = WINDOWS_ALL,
     .query = QUERY_ROPE, .head_dim = 128},
    {.architecture = "HunYuanDenseV1ForCausalLM", .gguf = "hunyuan-dense", .theta = 1e4, ATTENTION_BIAS,
     .qk_norm = ORGAN_QK_NORM_HEAD, .qk_norm_last = true, .rope_alpha = true, .names = hunyuan_names},
    {.architecture = "HunYuanMoEV1ForCausalLM", .gguf = "hunyuan-moe", .theta = 1e4, ATTENTION_BIAS,
     .qk_norm = ORGAN_QK_NORM_HEAD,
     .qk_norm_last = true, .rope_alpha = true, .mixture = &hunyuan_mixture, .names = hunyuan_moe_names,
     .fixed = hunyuan_fixed},
    {.architecture = "AfmoeForCausalLM", .gguf = "afmoe", .window_pattern = 4, .theta = 1e4, ATTENTION_BIAS,
     .norms = ORGAN_NORMS_AROUND, .qk_norm = ORGAN_QK_NORM_HEAD, .scaled_embeddings = true, .scaled_key = "mup_enabled",
     .gate = ORGAN_GATE_LOGISTIC, .windows = WINDOWS_TYPES, .window = 1024, .unrotated = UNROTATED_EVERY_FULL,
     .mixture = &afmoe_mixture, .names = afmoe_names, .fixed = afmoe_fixed},
    {.architecture = "LagunaForCausalLM", .gguf = "laguna", .rotated_part = 1, .local = LOCAL_OWN, ATTENTION_BIAS,
     .window_pattern = 4, .first_full = true, .qk_norm = ORGAN_QK_NORM_HEAD,
     .gate = ORGAN_GATE_SOFTPLUS, .heads = HEADS_LAGUNA,
     .windows = WINDOWS_TYPES, .window = 512, .mixture = &laguna_mixture, .names = laguna_names, .fixed = laguna_fixed},
    {.architecture = "Step3p7ForConditionalGeneration", .gguf = "step35", .gguf_half_rotated = true, .rotated_part = 1,
     .head_dim = 128, ATTENTION_BIAS, MLP_BIAS, .norm_adds_one = true, .eps = 1e-5, .qk_norm = ORGAN_QK_NORM_HEAD,
     .query_scalar = true, .gate = ORGAN_GATE_LOGISTIC, .heads = HEADS_STEP, .windows = WINDOWS_TYPES,
     .local = LOCAL_OWN, .mixture = &step_mixture, .names = step_names},
    {.architecture = "MiniMaxM3SparseForConditionalGeneration", .gguf = "minimax-m3", .theta = 5e6, .head_dim = 128,
     .rotated_part = 1, .norm_adds_one = true, .eps = 1e-6, .qk_norm = ORGAN_QK_NORM_HEAD,
     .gate_limit = {"swiglu_limit", 7}, .gate_alpha = {"swiglu_alpha", 1.702}, .blocks = true, .mixture = &m3_mixture,
     .names = m3_names, .gguf_names = m3_gguf_names},
    {.architecture = "MiMoV2FlashForCausalLM", .gguf = "mimo2", .theta = 5e6, .rotated_part = 0.334,
     .scaled_whole = true, .local = LOCAL_OWN, .qkv_bias = {"attention_bias", false}, .heads = HEADS_MIMO,
     .windows = WINDOWS_TYPES, .window = 129, .sinks = SINKS_WINDOWED, .value_scale = {"attention_value_scale", 0.707},
     .aliases = mimo_aliases, .old_aliases = true, .mixture = &mimo_mixture, .names = mimo_names, .fixed = mimo_fixed},
    {.architecture = "Llama4ForCausalLM", .gguf = "llama4", .theta = 5e5, ATTENTION_BIAS, .neighbours = true,
     .qk_norm = ORGAN_QK_NORM_HEAD, .qk_norm_key = "use_qk_norm", .qk_norm_last = true, .qk_norm_bare = true,
     .query = QUERY_LLAMA4, .unrotated = UNROTATED_LIST, .chunk = "attention_chunk_size",
     .mixture = &llama4_mixture, .names = llama4_names},
    {.architecture = "Phi3ForCausalLM", .gguf = "phi3", .theta = 1e4, .rotated_part = 1,
     .windows = WINDOWS_ALL, .names = phi3_names, .gguf_names = phi3_gguf_names},
    {.architecture = "GemmaForCausalLM", .gguf = "gemma", .theta = 1e4, .head_dim = 256, ATTENTION_BIAS,
     .norm_adds_one = true, .scaled_embeddings = true, .tied = true, .activation = ORGAN_GELU_TANH},
    {.architecture = "Gemma2ForCausalLM", .gguf = "gemma2", .theta = 1e4, .head_dim = 256, ATTENTION_BIAS,
     .norms = ORGAN_NORMS_AROUND, .norm_adds_one = true, .scaled_embeddings = true, .tied = true,
     .activation = ORGAN_GELU_TANH, .query_scalar = true, .large_layers = 46, .softcaps = true,
     .attention_softcap = 50, .final_softcap = 30, .windows = WINDOWS_PATTERN, .window_pattern = 2,
     .names = gemma_names},
    {.architecture = "VaultGemmaForCausalLM", .theta = 1e4, .head_dim = 256, ATTENTION_BIAS, .norm_adds_one = true,
     .scaled_embeddings = true, .tied = true, .activation = ORGAN_GELU_TANH, .query_scalar = true, .softcaps = true,
     .attention_softcap = 50, .final_softcap = 30, .windows = WINDOWS_PATTERN, .window_pattern = 2,
     .names = gemma_names},
    {.architecture = "Gemma3ForCausalLM", .gguf = "gemma3", .theta = 1e6, .head_dim = 256, ATTENTION_BIAS,
     .norms = ORGAN_NORMS_AROUND, .norm_adds_one = true, .scaled_embeddings = true, .tied = true,
     .activation = ORGAN_GELU_TANH, .query_scalar = true, .large_layers = 62, .softcaps = true,
     .qk_norm = ORGAN_QK_NORM_HEAD, .local = LOCAL_OWN, .windows = WINDOWS_PATTERN, .window_pattern = 6,
     .names = gemma_names},
    {.architecture = "Gemma4ForCausalLM", .gguf = "gemma4", .theta = 1e6, .head_dim = 256, ATTENTION_BIAS,
     .norms = ORGAN_NORMS_AROUND, .scaled_embeddings = true, .tied = true, .activation = ORGAN_GELU_TANH,
     .softcaps = true, .qk_norm = ORGAN_QK_NORM_HEAD, .value_norm = true, .attention_scale = 1, .local = LOCAL_OWN,
     .windows = WINDOWS_PATTERN, .window_pattern = 6, .last_full = true, .global_heads = true, .shared_keys = true,
     .layer_scaled = true, .mixture = &gemma4_mixture, .dual_ffn = true, .per_layer = true, .names = gemma4_names,
     .gguf_names = gemma4_gguf_names},
    {.architecture = "Gemma3nForCausalLM", .gguf = "gemma3n", .theta = 1e6, .head_dim = 256, ATTENTION_BIAS,
     .norms = ORGAN_NORMS_AROUND, .scaled_embeddings = true, .tied = true, .activation = ORGAN_GELU_TANH,
     .softcaps = true, .final_softcap = 30, .qk_norm = ORGAN_QK_NORM_HEAD, .value_norm = true, .attention_scale = 1,
     .local = LOCAL_OWN, .windows = WINDOWS_PATTERN, .window_pattern = 5, .shared_keys = true, .per_layer = true,
     .streams = true, .names = gemma_names},
    {.architecture = "SmolLM3ForCausalLM", .gguf = "smollm3", .gguf_pairs = true, .theta = 2e6, ATTENTION_BIAS,
     MLP_BIAS, .tied = true, .windows = WINDOWS_UNROTATED, .unrotated = UNROTATED_LIST},
    {.architecture = "Olmo2ForCausalLM", .theta = 1e4, ATTENTION_BIAS, .norms = ORGAN_NORMS_AFTER,
     .qk_norm = ORGAN_QK_NORM_ALL},
    {.architecture = "Olmo3ForCausalLM", .gguf = "olmo2", .theta = 1e4, ATTENTION_BIAS, .norms = ORGAN_NORMS_AFTER,
     .qk_norm = ORGAN_QK_NORM_ALL, .local = LOCAL_PLAIN, .windows = WINDOWS_TYPES, .window = 4096, .window_pattern = 4},
    {.architecture = "Exaone4ForCausalLM", .gguf = "exaone4", .theta = 1e4, .norms = ORGAN_NORMS_AFTER,
     .qk_norm = ORGAN_QK_NORM_HEAD, .windows = WINDOWS_TYPES, .window = 4096, .window_pattern = 4,
     .unrotated = UNROTATED_FULL},
    {.architecture = "GraniteForCausalLM", .gguf = "granite", .gguf_pairs = true, .theta = 1e4, ATTENTION_BIAS,
     MLP_BIAS, .multipliers = &granite_multipliers},
    {.architecture = "GraniteSWAForCausalLM", GRANITE_SWA, MLP_BIAS, .tied = true},
    {.architecture = "HyperCLOVAXForCausalLM", .theta = 1e4, ATTENTION_BIAS, MLP_BIAS, .norms = ORGAN_NORMS_AROUND,
     .norms_key = "use_post_norm", .multipliers = &hyperclovax_multipliers, .names = hyperclovax_names},
    {.architecture = "SeedOssForCausalLM", .gguf = "seed_oss", .theta = 1e4, .head_dim = 128,
     .qkv_bias = {"attention_bias", true}, .output_bias = {"attention_out_bias", false}, MLP_BIAS,
     .gguf_names = post_attn_names},
    {.architecture = "MinistralForCausalLM", .theta = 1e4, .windows = WINDOWS_TYPES, .window = 4096},
    {.architecture = "CwmForCausalLM", .head_dim = 128, MLP_BIAS,
     .windows = WINDOWS_TYPES, .window = 8192, .window_pattern = 4, .first_full = true},
    {.architecture = "HeliumForCausalLM", .theta = 1e5, .head_dim = 128, .qkv_bias = {"attention_bias", false},
     MLP_BIAS, .interleaved = true},
    {.architecture = "Ernie4_5ForCausalLM", .gguf = "ernie4_5", .theta = 5e5, .head_dim = 128, .interleaved = true,
     .tied = true, .qkv_bias = {"use_bias", false}, .output_bias = {"use_bias", false},
     .mlp_bias = {"use_bias", false}},
    {.architecture = "OlmoeForCausalLM", .gguf = "olmoe", .theta = 1e4, ATTENTION_BIAS, .qk_norm = ORGAN_QK_NORM_ALL,
     .mixture = &olmoe_mixture, .clip = "clip_qkv"},
    {.architecture = "FlexOlmoForCausalLM", .theta = 5e5, ATTENTION_BIAS, .norms = ORGAN_NORMS_AFTER,
     .qk_norm = ORGAN_QK_NORM_ALL, .mixture = &olmoe_mixture},
    {.architecture = "GraniteMoeForCausalLM", .gguf = "granitemoe", .gguf_pairs = true,
     .theta = 1e4, ATTENTION_BIAS, .multipliers = &granite_multipliers,
     .mixture = &granite_mixture, .names = granitemoe_names},
    {.architecture = "GraniteMoeSharedForCausalLM", .theta = 1e4, ATTENTION_BIAS,
     .multipliers = &granite_multipliers, .mixture = &granite_mixture, .names = granitemoe_names},
    {.architecture = "GraniteMoeSWAForCausalLM", GRANITE_SWA, .mixture = &granite_mixture, .names = granitemoe_names},
    {.architecture = "MiniMaxM2ForCausalLM", .gguf = "minimax-m2", .theta = 5e6, .head_dim = 128, .rotated_part = 1,
     .rotary_dim = true, .qk_norm = ORGAN_QK_NORM_ALL, .mixture = &minimax_mixture, .names = minimax_names},
    {.architecture = "Ernie4_5_MoeForCausalLM", .gguf = "ernie4_5-moe",
     .theta = 5e5, .interleaved = true, .tied = true, .qkv_bias = {"use_bias", false},
     .output_bias = {"use_bias", false}, .mlp_bias = {"use_bias", false}, .head_bias = {"use_bias", false},
     .mixture = &ernie_mixture, .names = ernie_moe_names},
    {.architecture = "ExaoneMoeForCausalLM", EXAONE_MOE},
    {.architecture = "ExaoneMoEForCausalLM", .gguf = "exaone-moe", EXAONE_MOE},
    {.architecture = "HYV3ForCausalLM", .gguf = "hy_v3", .theta = 11158840, .head_dim = 128, ATTENTION_BIAS,
     MLP_BIAS, .qk_norm = ORGAN_QK_NORM_HEAD, .mixture = &hy_mixture, .names = hy_names, .gguf_names = hy_gguf_names},
    {.architecture = "SolarOpenForCausalLM", .theta = 1e6, .rotated_part = 1, .head_dim = 128,
     .qkv_bias = {"attention_bias", false}, .mixture = &solar_mixture, .names = shared_experts_names},
    {.architecture = "MellumForCausalLM", .gguf = "mellum", .theta = 5e5, .rotated_part = 1, .head_dim = 128,
     ATTENTION_BIAS, .local = LOCAL_OWN, .qk_norm = ORGAN_QK_NORM_HEAD, .windows = WINDOWS_TYPES, .window = 1024,
     .mixture = &mellum_mixture},
    {.architecture = "PhimoeForCausalLM", PHIMOE},
    {.architecture = "PhiMoEForCausalLM", PHIMOE},
    {.architecture = "GlmForCausalLM", .gguf = "chatglm", .theta = 1e4, .head_dim = 128, .rotated_part = 0.5,
     .neighbours = true, .qkv_bias = {"attention_bias", true}, .names = glm4_names, .gguf_names = glm4_gguf_names},
    {.architecture = "Glm4ForCausalLM", .gguf = "glm4", .theta = 1e4, .head_dim = 128, .rotated_part = 0.5,
     .neighbours = true, .qkv_bias = {"attention_bias", true}, .norms = ORGAN_NORMS_AROUND, .names = glm4_names,
     .gguf_names = glm4_gguf_names},
    {.architecture = "CohereForCausalLM", .gguf = "command-r", .theta = 5e5, ATTENTION_BIAS, .norm = ORGAN_NORM_LAYER,
     .eps_key = "layer_norm_eps", .parallel = {NULL, true}, .one_norm = true, .neighbours = true, .tied = true,
     .qk_norm = ORGAN_QK_NORM_HEADS, .qk_norm_key = "use_qk_norm", .multipliers = &cohere_multipliers},
    {.architecture = "Cohere2ForCausalLM", .gguf = "cohere2", .theta = 1e4, ATTENTION_BIAS, .norm = ORGAN_NORM_LAYER,
     .eps_key = "layer_norm_eps", .parallel = {NULL, true}, .one_norm = true, .neighbours = true, .tied = true,
     .windows = WINDOWS_PATTERN, .window_pattern = 4, .unrotated = UNROTATED_EVERY_FULL,
     .multipliers = &cohere_multipliers},
    {.architecture = "Cohere2MoeForCausalLM", .gguf = "cohere2moe", .theta = 1e4, .head_dim = 128, ATTENTION_BIAS,
     .norm = ORGAN_NORM_LAYER, .eps_key = "layer_norm_eps", .eps = 1e-5, .either_norm = true,
     .parallel = {NULL, true}, .one_norm = true, .neighbours = true, .tied = true,
     .windows = WINDOWS_TYPES, .window = 4096,
     .window_pattern = 4, .dense_pattern = "prefix_dense_sliding_window_pattern", .unrotated = UNROTATED_EVERY_FULL,
     .multipliers = &cohere_multipliers, .mixture = &cohere2_mixture, .names = shared_experts_names},
    {.architecture = "Starcoder2ForCausalLM", .gguf = "starcoder2", .theta = 1e4, .qkv_bias = {"use_bias", true},
     .output_bias = {"use_bias", true}, .mlp_bias = {"use_bias", true}, .norm = ORGAN_NORM_LAYER, .norm_biased = true,
     .eps_key = "norm_epsilon", .eps = 1e-5, .ungated = true, .activation = ORGAN_GELU_TANH, .tied = true,
     .windows = WINDOWS_ALL, .names = starcoder2_names},
    {.architecture = "PhiForCausalLM", .gguf = "phi2", .theta = 1e4, .rotated_part = 0.5, .qkv_bias = {NULL, true},
     .output_bias = {NULL, true}, .mlp_bias = {NULL, true}, .head_bias = {NULL, true}, .norm = ORGAN_NORM_LAYER,
     .norm_biased = true, .qk_norm_biased = true, .eps_key = "layer_norm_eps", .eps = 1e-5, .parallel = {NULL, true},
     .one_norm = true, .qk_norm = ORGAN_QK_NORM_HEAD, .qk_norm_key = "qk_layernorm", .ungated = true,
     .activation = ORGAN_GELU_TANH, .names = phi_names},
    {.architecture = "GPTNeoXForCausalLM", .gguf = "gptneox", .prefix = "gpt_neox.", .theta = 1e4, .rotated_part = 0.25,
     .rotated_key = "rotary_pct", .theta_key = "rotary_emb_base",
     .qkv_bias = {"attention_bias", true}, .output_bias = {"attention_bias", true}, .mlp_bias = {NULL, true},
     .norm = ORGAN_NORM_LAYER, .norm_biased = true, .eps_key = "layer_norm_eps", .eps = 1e-5,
     .parallel = {"use_parallel_residual", true}, .ungated = true, .activation = ORGAN_GELU, .fused = ORGAN_FUSED_HEADS,
     .names = neox_names},
    {.architecture = "FalconForCausalLM", .gguf = "falcon", .gguf_names = falcon_gguf_names, .prefix = "transformer.",
     .layer_list = "h", .theta = 1e4, .falcon = true,
     .four_times = true, .aliases = falcon_aliases, .old_aliases = true, .context = 2048, .fused = ORGAN_FUSED_HEADS,
     .qkv_bias = {"bias", false}, .output_bias = {"bias", false}, .mlp_bias = {"bias", false},
     .norm = ORGAN_NORM_LAYER, .norm_biased = true, .eps_key = "layer_norm_epsilon", .eps = 1e-5, .ungated = true,
     .activation = ORGAN_GELU, .activation_key = "activation", .tied = true, .names = falcon_names},
    {.architecture = "ApertusForCausalLM", .gguf = "apertus", .theta = 12e6, ATTENTION_BIAS,
     .qk_norm = ORGAN_QK_NORM_HEAD, .ungated = true, .activation = ORGAN_XIELU, .names = apertus_names},
    {.architecture = "ArceeForCausalLM", .gguf = "arcee", .gguf_pairs = true, .theta = 1e4, ATTENTION_BIAS, MLP_BIAS,
     .ungated = true, .activation = ORGAN_RELU_SQUARED},
    {.architecture = "NanoChatForCausalLM", .theta = 1e4, ATTENTION_BIAS, .norm_unweighted = true, .eps = 1e-6,
     .embedding_norm = true, .qk_norm = ORGAN_QK_NORM_HEAD, .qk_norm_last = true, .qk_norm_bare = true,
     .rope_reversed = true, .softcaps = true, .final_softcap = 15, .ungated = true, .activation = ORGAN_RELU_SQUARED,
     .names = nanochat_names, .fixed = nanochat_fixed},
    {.architecture = "BitNetForCausalLM", .theta = 5e5, ATTENTION_BIAS, .sub_norms = true,
     .activation = ORGAN_RELU_SQUARED},
    {.architecture = "Jais2ForCausalLM", .gguf = "jais2", .theta = 1e4, .qkv_bias = {"attention_bias", true},
     .output_bias = {"attention_bias", true}, .mlp_bias = {"mlp_bias", true}, .norm = ORGAN_NORM_LAYER,
     .norm_biased = true, .eps_key = "layer_norm_eps", .eps = 1e-5, .ungated = true, .activation = ORGAN_RELU_SQUARED},
    {.architecture = "NemotronForCausalLM", .gguf = "nemotron", .theta = 1e4, .rotated_part = 0.5, ATTENTION_BIAS,
     MLP_BIAS, .norm = ORGAN_NORM_LAYER, .norm_biased = true, .norm_adds_one = true, .eps_key = "norm_eps", .eps = 1e-5,
     .ungated = true, .activation = ORGAN_RELU_SQUARED},
    {.architecture = "OlmoForCausalLM", .gguf = "olmo", .gguf_pairs = true, .theta = 1e4, ATTENTION_BIAS,
     .norm = ORGAN_NORM_LAYER, .norm_unweighted = true, .eps_key = "", .eps = 1e-5, .clip = "clip_qkv"},
    {.architecture = "StableLmForCausalLM", .gguf = "stablelm", .theta = 1e4, .rotated_part = 0.25,
     .qkv_bias = {"use_qkv_bias", false}, .norm = ORGAN_NORM_LAYER, .norm_biased = true,
     .eps_key = "layer_norm_eps", .parallel = {"use_parallel_residual", false}, .one_norm = true,
     .qk_norm = ORGAN_QK_NORM_HEADS, .qk_norm_key = "qk_layernorm", .names = stablelm_names},
    {0}};
/* clang-format on */
