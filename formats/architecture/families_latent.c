/* SPDX-License-Identifier: MIT
 * Architectures whose layers all have latent attention, as transformers and llama.cpp define them. */
#include "formats/architecture/families_rows.h"

/* clang-format off */

static const forward_name shared_experts_names[] = {SHARED_EXPERTS, {0}};
/* Also in GGUF, gate and up of all experts are one stack: llama.cpp's converter does not divide it. */
static const forward_name mistral4_names[] = {
    SHARED_EXPERTS, {PART_EXPERTS_GATE_UP, "mlp.experts.gate_up_proj"}, {PART_EXPERTS_DOWN, "mlp.experts.down_proj"},
    {0}};
static const forward_name mistral4_gguf_names[] = {{PART_EXPERTS_GATE_UP, "ffn_gate_up_exps.weight"}, {0}};
static const forward_name longcat_names[] = {
    {PART_NORM_ATTENTION, "input_layernorm.%.weight"}, {PART_NORM_FFN, "post_attention_layernorm.%.weight"},
    {PART_Q_A, "self_attn.%.q_a_proj.weight"}, {PART_BIAS_Q_A, "self_attn.%.q_a_proj.bias"},
    {PART_NORM_Q_A, "self_attn.%.q_a_layernorm.weight"}, {PART_Q_B, "self_attn.%.q_b_proj.weight"},
    {PART_KV_A, "self_attn.%.kv_a_proj_with_mqa.weight"}, {PART_BIAS_KV_A, "self_attn.%.kv_a_proj_with_mqa.bias"},
    {PART_NORM_KV_A, "self_attn.%.kv_a_layernorm.weight"}, {PART_KV_B, "self_attn.%.kv_b_proj.weight"},
    {PART_O, "self_attn.%.o_proj.weight"}, {PART_BIAS_O, "self_attn.%.o_proj.bias"},
    {PART_GATE, "mlps.%.gate_proj.weight"}, {PART_UP, "mlps.%.up_proj.weight"}, {PART_DOWN, "mlps.%.down_proj.weight"},
    {PART_ROUTER, "mlp.router.classifier.weight"}, {PART_BIAS_ROUTER, "mlp.router.classifier.bias"},
    {PART_ROUTER_BIAS, "mlp.router.e_score_correction_bias"}, {0}};

static const char *const logistic_required[] = {"first_k_dense_replace", "n_shared_experts", "norm_topk_prob", NULL};
const forward_mixture organ_forward_deepseek3_mixture = {
    .experts = "n_routed_experts", .used = "num_experts_per_tok", .width = "moe_intermediate_size",
    .shared_count = "n_shared_experts", .router = LOGISTIC, .normalise = {"norm_topk_prob", false},
    .scale = "routed_scaling_factor", .groups = "n_group", .groups_used = "topk_group",
    .dense_first = "first_k_dense_replace", .required = logistic_required};
static const char *const longcat_required[] = {"num_layers", "zero_expert_num", NULL};
static const forward_mixture longcat_mixture = {
    .experts = "n_routed_experts", .identity = "zero_expert_num", .used = "moe_topk", .width = "expert_ffn_hidden_size",
    .router = {.corrected = true}, .scale = "routed_scaling_factor", .dense = DENSE_SECOND,
    .required = longcat_required};
static const forward_mixture deepseek2_mixture = {
    .experts = "n_routed_experts", .used = "num_experts_per_tok", .width = "moe_intermediate_size",
    .shared_count = "n_shared_experts", .scale = "routed_scaling_factor", .groups = "n_group",
    .groups_used = "topk_group", .router = {.best_in_group = true}, .method = "topk_method",
    .dense_first = "first_k_dense_replace", .required = logistic_required};
static const forward_mixture mistral4_mixture = {
    .experts = "n_routed_experts", .used = "num_experts_per_tok", .width = "moe_intermediate_size",
    .shared_count = "n_shared_experts", .normalise = {"norm_topk_prob", false}, .scale = "routed_scaling_factor",
    .groups = "n_group", .groups_used = "topk_group", .dense_first = "first_k_dense_replace",
    .required = logistic_required};
static const char *const glm4_lite_required[] = {"n_shared_experts", "norm_topk_prob", NULL};
static const forward_mixture glm4_lite_mixture = {
    .experts = "n_routed_experts", .used = "num_experts_per_tok", .width = "moe_intermediate_size",
    .shared_count = "n_shared_experts", .router = LOGISTIC, .normalise = {"norm_topk_prob", false},
    .scale = "routed_scaling_factor", .groups = "n_group", .groups_used = "topk_group",
    .dense_first = "first_k_dense_replace", .required = glm4_lite_required};

/* transformers never divides the factors of DeepSeek-V2 by their sum; DeepSeek's own code does if norm_topk_prob is
 * true. */
static const forward_fixed deepseek2_fixed[] = {
    {"scoring_func", "\"softmax\""}, {"moe_layer_freq", "1"}, {"norm_topk_prob", "false"},
    {"rope_interleave", "true"}, {0}};
static const forward_fixed deepseek32_fixed[] = {
    {"scoring_func", "\"sigmoid\""}, {"topk_method", "\"noaux_tc\""}, {"moe_layer_freq", "1"},
    {"rope_interleave", "true"}, {0}};
static const forward_fixed deepseek3_fixed[] = {
    {"scoring_func", "\"sigmoid\""}, {"topk_method", "\"noaux_tc\""}, {"moe_layer_freq", "1"}, {0}};
static const forward_fixed longcat_fixed[] = {
    {"zero_expert_type", "\"identity\""}, {"mla_scale_q_lora", "true"}, {"mla_scale_kv_lora", "true"},
    {"router_bias", "false"}, {"attention_method", "\"MLA\""}, {0}};

static const char *const sarvam_aliases[][2] = {
    {"n_routed_experts", "num_experts"}, {"n_shared_experts", "num_shared_experts"}, {NULL, NULL}};
static const char *const longcat_aliases[][2] = {
    {"num_hidden_layers", "num_layers"}, {"intermediate_size", "ffn_hidden_size"}, {NULL, NULL}};

const forward_family organ_forward_families_latent[] = {
    {.architecture = "DeepseekV2ForCausalLM", .theta = 1e4, .latent = true, ATTENTION_BIAS, MLP_BIAS,
     .mixture = &deepseek2_mixture, .fixed = deepseek2_fixed, .names = shared_experts_names},
    {.architecture = "DeepseekV3ForCausalLM", .gguf = "deepseek2", .theta = 1e4, .latent = true, ATTENTION_BIAS,
     .mixture = &organ_forward_deepseek3_mixture, .fixed = deepseek3_fixed, .names = shared_experts_names},
    {.architecture = "SarvamMLAForCausalLM", .theta = 1e4, .latent = true, ATTENTION_BIAS, .aliases = sarvam_aliases,
     .mixture = &organ_forward_deepseek3_mixture, .fixed = deepseek3_fixed, .names = shared_experts_names},
    {.architecture = "LongcatFlashForCausalLM", .theta = 1e7, .latent = true, .latent_scaled = true, .shortcut = true,
     ATTENTION_BIAS, .aliases = longcat_aliases, .mixture = &longcat_mixture, .fixed = longcat_fixed,
     .names = longcat_names},
    {.architecture = "KimiK2ForCausalLM", .theta = 1e4, .latent = true, ATTENTION_BIAS,
     .mixture = &organ_forward_deepseek3_mixture, .fixed = deepseek3_fixed, .names = shared_experts_names},
    {.architecture = "Mistral4ForCausalLM", .gguf = "mistral4", .latent = true, .query = QUERY_ROPE, ATTENTION_BIAS,
     .mixture = &mistral4_mixture, .names = mistral4_names, .gguf_names = mistral4_gguf_names},
    {.architecture = "DeepseekV32ForCausalLM", .gguf = "deepseek32", .theta = 1e4, .latent = true,
     .indexer = INDEXER_HALVES, ATTENTION_BIAS,
     .mixture = &glm4_lite_mixture, .fixed = deepseek32_fixed, .names = shared_experts_names},
    {.architecture = "GlmMoeDsaForCausalLM", .gguf = "glm-dsa", .theta = 1e4, .latent = true,
     .indexer = INDEXER_SHARED, ATTENTION_BIAS,
     .mixture = &glm4_lite_mixture, .fixed = deepseek32_fixed, .names = shared_experts_names},
    {.architecture = "Glm4MoeLiteForCausalLM", .theta = 1e4, .rotated_part = 1, .latent = true, ATTENTION_BIAS,
     .mixture = &glm4_lite_mixture, .fixed = deepseek3_fixed, .names = shared_experts_names},
    {.architecture = "MiniCPM3ForCausalLM", .theta = 1e4, .latent = true, .latent_halves = true, ATTENTION_BIAS,
     MLP_BIAS, .eps = 1e-5, .tied = true, .minicpm = true},
    {.architecture = "YoutuForCausalLM", .theta = 1e4, .latent = true, ATTENTION_BIAS, .tied = true},
    {0}};
/* clang-format on */
