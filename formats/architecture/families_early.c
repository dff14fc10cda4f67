/* SPDX-License-Identifier: MIT
 * Architectures with learned positions or ALiBi, and others of their time, as transformers and llama.cpp define
 * them. */
#include "formats/architecture/family_rows.h"

/* clang-format off */

static const forward_name persimmon_names[] = {
    {PART_FINAL_NORM, "final_layernorm.weight"}, {PART_QKV, "self_attn.query_key_value.weight"},
    {PART_O, "self_attn.dense.weight"},
    {PART_BIAS_O, "self_attn.dense.bias"}, {PART_NORM_Q, "self_attn.q_layernorm.weight"},
    {PART_NORM_K, "self_attn.k_layernorm.weight"}, {PART_UP, "mlp.dense_h_to_4h.weight"},
    {PART_BIAS_UP, "mlp.dense_h_to_4h.bias"}, {PART_DOWN, "mlp.dense_4h_to_h.weight"},
    {PART_BIAS_DOWN, "mlp.dense_4h_to_h.bias"}, {0}};
static const forward_name gpt2_names[] = {
    {PART_EMBEDDING, "wte.weight"}, {PART_FINAL_NORM, "ln_f.weight"}, {PART_NORM_ATTENTION, "ln_1.weight"},
    {PART_NORM_FFN, "ln_2.weight"}, {PART_QKV, "attn.c_attn.weight"}, {PART_BIAS_Q, "attn.c_attn.bias"},
    {PART_O, "attn.c_proj.weight"}, {PART_BIAS_O, "attn.c_proj.bias"}, {PART_UP, "mlp.c_fc.weight"},
    {PART_BIAS_UP, "mlp.c_fc.bias"}, {PART_DOWN, "mlp.c_proj.weight"}, {PART_BIAS_DOWN, "mlp.c_proj.bias"}, {0}};

static const forward_name neo_names[] = {
    {PART_EMBEDDING, "wte.weight"}, {PART_FINAL_NORM, "ln_f.weight"}, {PART_NORM_ATTENTION, "ln_1.weight"},
    {PART_NORM_FFN, "ln_2.weight"}, {PART_Q, "attn.attention.q_proj.weight"},
    {PART_K, "attn.attention.k_proj.weight"}, {PART_V, "attn.attention.v_proj.weight"},
    {PART_O, "attn.attention.out_proj.weight"}, {PART_BIAS_O, "attn.attention.out_proj.bias"},
    {PART_UP, "mlp.c_fc.weight"}, {PART_BIAS_UP, "mlp.c_fc.bias"}, {PART_DOWN, "mlp.c_proj.weight"},
    {PART_BIAS_DOWN, "mlp.c_proj.bias"}, {0}};
static const forward_name bloom_names[] = {
    {PART_EMBEDDING, "word_embeddings.weight"}, {PART_FINAL_NORM, "ln_f.weight"},
    {PART_QKV, "self_attention.query_key_value.weight"}, {PART_BIAS_Q, "self_attention.query_key_value.bias"},
    {PART_O, "self_attention.dense.weight"}, {PART_BIAS_O, "self_attention.dense.bias"},
    {PART_UP, "mlp.dense_h_to_4h.weight"}, {PART_BIAS_UP, "mlp.dense_h_to_4h.bias"},
    {PART_DOWN, "mlp.dense_4h_to_h.weight"}, {PART_BIAS_DOWN, "mlp.dense_4h_to_h.bias"}, {0}};
static const forward_name mpt_names[] = {
    {PART_EMBEDDING, "wte.weight"}, {PART_FINAL_NORM, "norm_f.weight"}, {PART_NORM_ATTENTION, "norm_1.weight"},
    {PART_NORM_FFN, "norm_2.weight"}, {PART_QKV, "attn.Wqkv.weight"}, {PART_O, "attn.out_proj.weight"},
    {PART_UP, "ffn.up_proj.weight"}, {PART_DOWN, "ffn.down_proj.weight"}, {0}};
static const forward_name gptj_names[] = {
    {PART_EMBEDDING, "wte.weight"}, {PART_FINAL_NORM, "ln_f.weight"}, {PART_NORM_ATTENTION, "ln_1.weight"},
    {PART_Q, "attn.q_proj.weight"}, {PART_K, "attn.k_proj.weight"}, {PART_V, "attn.v_proj.weight"},
    {PART_O, "attn.out_proj.weight"}, {PART_UP, "mlp.fc_in.weight"}, {PART_BIAS_UP, "mlp.fc_in.bias"},
    {PART_DOWN, "mlp.fc_out.weight"}, {PART_BIAS_DOWN, "mlp.fc_out.bias"}, {0}};
static const forward_name codegen_names[] = {
    {PART_EMBEDDING, "wte.weight"}, {PART_FINAL_NORM, "ln_f.weight"}, {PART_NORM_ATTENTION, "ln_1.weight"},
    {PART_QKV, "attn.qkv_proj.weight"}, {PART_BIAS_Q, "attn.qkv_proj.bias"}, {PART_O, "attn.out_proj.weight"},
    {PART_UP, "mlp.fc_in.weight"}, {PART_BIAS_UP, "mlp.fc_in.bias"}, {PART_DOWN, "mlp.fc_out.weight"},
    {PART_BIAS_DOWN, "mlp.fc_out.bias"}, {0}};
/* The norms of a layer have the same names whether they come before or after attention and feed-forward. */
#define OPT_LAYER \
    {PART_POSITIONS, "embed_positions.weight"}, {PART_NORM_ATTENTION, "self_attn_layer_norm.weight"}, \
    {PART_NORM_POST_ATTENTION, "self_attn_layer_norm.weight"}, {PART_NORM_FFN, "final_layer_norm.weight"}, \
    {PART_NORM_POST_FFN, "final_layer_norm.weight"}, {PART_O, "self_attn.out_proj.weight"}, \
    {PART_BIAS_O, "self_attn.out_proj.bias"}, {PART_UP, "fc1.weight"}, {PART_BIAS_UP, "fc1.bias"}, \
    {PART_DOWN, "fc2.weight"}, {PART_BIAS_DOWN, "fc2.bias"}
static const forward_name opt_names[] = {{PART_FINAL_NORM, "final_layer_norm.weight"}, OPT_LAYER, {0}};
static const forward_name biogpt_names[] = {{PART_FINAL_NORM, "layer_norm.weight"}, OPT_LAYER, {0}};

static const forward_name dbrx_names[] = {
    {PART_EMBEDDING, "wte.weight"}, {PART_FINAL_NORM, "norm_f.weight"},
    {PART_NORM_ATTENTION, "norm_attn_norm.norm_1.weight"}, {PART_NORM_FFN, "norm_attn_norm.norm_2.weight"},
    {PART_QKV, "norm_attn_norm.attn.Wqkv.weight"}, {PART_O, "norm_attn_norm.attn.out_proj.weight"},
    {PART_ROUTER, "ffn.router.layer.weight"}, {PART_EXPERTS_GATE, "ffn.experts.mlp.w1"},
    {PART_EXPERTS_UP, "ffn.experts.mlp.v1"}, {PART_EXPERTS_DOWN, "ffn.experts.mlp.w2"}, {0}};
static const forward_name dbrx_gguf_names[] = {{PART_NORM_FFN, "attn_output_norm.weight"}, {0}};
static const forward_mixture dbrx_mixture = {
    .experts = "ffn_config.moe_num_experts", .used = "ffn_config.moe_top_k", .width = "ffn_config.ffn_hidden_size",
    .normalise = {NULL, true}, .flat = true};

static const char *const dbrx_aliases[][2] = {
    {"num_hidden_layers", "n_layers"}, {"num_attention_heads", "n_heads"}, {"hidden_size", "d_model"},
    {"max_position_embeddings", "max_seq_len"}, {"num_key_value_heads", "attn_config.kv_n_heads"}, {NULL, NULL}};
static const char *const gpt2_aliases[][2] = {
    {"num_hidden_layers", "n_layer"}, {"num_attention_heads", "n_head"}, {"hidden_size", "n_embd"},
    {"intermediate_size", "n_inner"}, {"max_position_embeddings", "n_positions"}, {NULL, NULL}};

static const char *const neo_aliases[][2] = {
    {"num_hidden_layers", "num_layers"}, {"num_attention_heads", "num_heads"}, {NULL, NULL}};
static const char *const bloom_aliases[][2] = {
    {"num_hidden_layers", "n_layer"}, {"num_attention_heads", "n_head"}, {"hidden_size", "n_embed"},
    {"max_position_embeddings", "seq_length"}, {NULL, NULL}};
static const char *const mpt_aliases[][2] = {
    {"num_hidden_layers", "n_layers"}, {"num_attention_heads", "n_heads"}, {"hidden_size", "d_model"},
    {"max_position_embeddings", "max_seq_len"}, {NULL, NULL}};
static const char *const xglm_aliases[][2] = {
    {"num_hidden_layers", "num_layers"}, {"num_attention_heads", "attention_heads"}, {"hidden_size", "d_model"},
    {"intermediate_size", "ffn_dim"}, {NULL, NULL}};
static const char *const opt_aliases[][2] = {{"intermediate_size", "ffn_dim"}, {NULL, NULL}};

static const forward_fixed bloom_fixed[] = {{"apply_residual_connection_post_layernorm", "false"}, {0}};
/* transformers ignores logit_scale and expansion_ratio of MPT: it computes without a scale, and with 4 x
 * hidden_size. */
static const forward_fixed mpt_fixed[] = {
    {"no_bias", "true"}, {"expansion_ratio", "4"}, {"logit_scale", "null"}, {0}};
static const forward_fixed xglm_fixed[] = {{"add_cross_attention", "false"}, {0}};
static const forward_fixed gpt2_fixed[] = {
    {"scale_attn_weights", "true"}, {"scale_attn_by_inverse_layer_idx", "false"}, {"add_cross_attention", "false"},
    {0}};

#define ALL_BIASES .qkv_bias = {NULL, true}, .output_bias = {NULL, true}, .mlp_bias = {NULL, true}
#define LAYER_NORM .norm = ORGAN_NORM_LAYER, .norm_biased = true, .eps_key = "layer_norm_epsilon", .eps = 1e-5

#define MPT .prefix = "transformer.", .layer_list = "blocks", .theta = 1e4, .four_times = true, \
    .four_times_only = true, .context = 2048, .aliases = mpt_aliases, .early = EARLY_MPT, .alibi = 8, \
    .norm = ORGAN_NORM_LAYER, \
    .eps_key = "layer_norm_epsilon", .eps = 1e-5, .ungated = true, .activation = ORGAN_GELU, .activation_key = "", \
    .tied = true, .names = mpt_names, .fixed = mpt_fixed

const forward_family organ_forward_families_early[] = {
    {.architecture = "GPT2LMHeadModel", .gguf = "gpt2", .prefix = "transformer.", .layer_list = "h", .theta = 1e4,
     .four_times = true,
     .aliases = gpt2_aliases, .transposed = true, .learned = true, .fused = ORGAN_FUSED_THIRDS, ALL_BIASES, LAYER_NORM,
     .ungated = true, .activation = ORGAN_GELU_TANH, .activation_key = "activation_function", .tied = true,
     .names = gpt2_names, .fixed = gpt2_fixed},
    {.architecture = "GPTBigCodeForCausalLM", .gguf = "starcoder", .prefix = "transformer.", .layer_list = "h",
     .theta = 1e4,
     .four_times = true, .aliases = gpt2_aliases, .early = EARLY_BIGCODE, .learned = true,
     .fused = ORGAN_FUSED_THIRDS, ALL_BIASES, LAYER_NORM, .ungated = true, .activation = ORGAN_GELU_TANH,
     .activation_key = "activation_function", .tied = true, .names = gpt2_names, .fixed = gpt2_fixed},
    {.architecture = "GPTNeoForCausalLM", .prefix = "transformer.", .layer_list = "h", .theta = 1e4, .four_times = true,
     .aliases = neo_aliases, .early = EARLY_NEO, .learned = true, .attention_scale = 1, .output_bias = {NULL, true},
     .mlp_bias = {NULL, true}, LAYER_NORM, .ungated = true, .activation = ORGAN_GELU_TANH,
     .activation_key = "activation_function", .tied = true, .names = neo_names},
    {.architecture = "BloomForCausalLM", .gguf = "bloom", .prefix = "transformer.", .layer_list = "h", .theta = 1e4,
     .four_times = true, .four_times_only = true,
     .context = 2048, .aliases = bloom_aliases, .fused = ORGAN_FUSED_HEADS, .embedding_normed = true, .alibi = 8,
     ALL_BIASES, LAYER_NORM, .ungated = true, .activation = ORGAN_GELU_TANH, .activation_key = "", .tied = true,
     .names = bloom_names, .fixed = bloom_fixed},
    {.architecture = "MptForCausalLM", .gguf = "mpt", MPT},
    {.architecture = "MPTForCausalLM", MPT}, /* in published files */
    {.architecture = "GPTJForCausalLM", .prefix = "transformer.", .layer_list = "h", .theta = 1e4,
     .four_times = true, .aliases = gpt2_aliases, .rotary_dim = true, .neighbours = true, .mlp_bias = {NULL, true},
     .head_bias = {NULL, true}, .norm = ORGAN_NORM_LAYER, .norm_biased = true, .eps_key = "layer_norm_epsilon",
     .eps = 1e-5, .parallel = {NULL, true}, .one_norm = true, .ungated = true, .activation = ORGAN_GELU_TANH,
     .activation_key = "activation_function", .names = gptj_names},
    {.architecture = "CodeGenForCausalLM", .prefix = "transformer.", .layer_list = "h", .theta = 1e4,
     .four_times = true, .aliases = gpt2_aliases, .rotary_dim = true, .neighbours = true, .fused = ORGAN_FUSED_QUARTERS,
     .mlp_bias = {NULL, true}, .head_bias = {NULL, true}, LAYER_NORM, .parallel = {NULL, true}, .one_norm = true,
     .ungated = true, .activation = ORGAN_GELU_TANH, .activation_key = "activation_function",
     .names = codegen_names},
    {.architecture = "OPTForCausalLM", .prefix = "model.decoder.", .theta = 1e4, .aliases = opt_aliases,
     .early = EARLY_OPT, .learned = true, .position_offset = 2, .qkv_bias = {"enable_bias", true},
     .output_bias = {"enable_bias", true}, .mlp_bias = {"enable_bias", true}, .norm = ORGAN_NORM_LAYER,
     .norm_biased = true, .eps_key = "", .eps = 1e-5, .ungated = true, .activation = ORGAN_RELU,
     .activation_key = "activation_function", .tied = true, .names = opt_names},
    {.architecture = "XGLMForCausalLM", .theta = 1e4, .aliases = xglm_aliases, .early = EARLY_XGLM,
     .sinusoidal = true, .position_offset = 2, .scaled_embeddings = true, .scaled_key = "scale_embedding", ALL_BIASES,
     .norm = ORGAN_NORM_LAYER, .norm_biased = true, .eps_key = "", .eps = 1e-5, .ungated = true,
     .activation = ORGAN_GELU, .activation_key = "activation_function", .tied = true, .names = biogpt_names,
     .fixed = xglm_fixed},
    {.architecture = "DbrxForCausalLM", .gguf = "dbrx", .prefix = "transformer.", .layer_list = "blocks", .theta = 1e4,
     .gguf_names = dbrx_gguf_names, .theta_key = "attn_config.rope_theta", .aliases = dbrx_aliases,
     .early = EARLY_DBRX, .clip = "attn_config.clip_qkv", .norm = ORGAN_NORM_LAYER, .eps_key = "", .eps = 1e-5,
     .activation_key = "ffn_config.ffn_act_fn.name", .mixture = &dbrx_mixture, .names = dbrx_names},
    {.architecture = "BioGptForCausalLM", .prefix = "biogpt.", .theta = 1e4, .learned = true, .position_offset = 2,
     .scaled_embeddings = true, .scaled_key = "scale_embedding", ALL_BIASES, .norm = ORGAN_NORM_LAYER,
     .norm_biased = true, .eps_key = "", .eps = 1e-5, .ungated = true, .activation = ORGAN_GELU, .tied = true,
     .names = biogpt_names},
    {.architecture = "PersimmonForCausalLM", .theta = 25e3, .rotated_part = 0.5, .qkv_bias = {NULL, true},
     .output_bias = {NULL, true}, .mlp_bias = {NULL, true}, .norm = ORGAN_NORM_LAYER, .norm_biased = true,
     .qk_norm_biased = true, .eps_key = "layer_norm_eps", .eps = 1e-5, .qk_norm = ORGAN_QK_NORM_HEAD,
     .qk_norm_key = "qk_layernorm", .ungated = true, .activation = ORGAN_RELU_SQUARED, .fused = ORGAN_FUSED_HEADS,
     .names = persimmon_names},
    {0}};
/* clang-format on */

/* ---- architectures whose layers all have latent attention, as transformers and llama.cpp define them ---- */

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

static const char *const hy4_required[] = {"mlp_layer_types", "indexer_types", "norm_topk_prob", NULL};
static const forward_mixture hy4_mixture = {
    .experts = "n_routed_experts", .experts_too = "num_local_experts", .used = "num_experts_per_tok",
    .width = "moe_intermediate_size", .shared_count = "n_shared_experts", .router = LOGISTIC,
    .normalise = {"norm_topk_prob", true}, .scale = "routed_scaling_factor", .groups = "n_group",
    .groups_used = "topk_group", .required = hy4_required};
/* The first name is that of files that transformers saves. */
#define HY4_NAMES(part, half, word) {PART_CONNECT_##part | NAME_SAVED, "hc_pre.hc_" half ".hc_" word}, \
    {PART_CONNECT_##part, "hc_" half ".hc_pre.hc_" word}
#define HY4_END(part, word) {PART_CONNECT_##part | NAME_SAVED, "hc_pre.hc_head.hc_head_" word}, \
    {PART_CONNECT_##part, "hc_head.hc_head_" word}
static const forward_name hy4_names[] = {
    HY4_NAMES(MIXER, "attn_layer", "fn"), HY4_NAMES(MIXER_BASE, "attn_layer", "base"),
    HY4_NAMES(MIXER_SCALE, "attn_layer", "scale"), HY4_NAMES(FEED, "mlp_layer", "fn"),
    HY4_NAMES(FEED_BASE, "mlp_layer", "base"), HY4_NAMES(FEED_SCALE, "mlp_layer", "scale"), HY4_END(END, "fn"),
    HY4_END(END_BASE, "base"), HY4_END(END_SCALE, "scale"), {PART_SINKS, "self_attn.learnable_sink_param"},
    {PART_HEAD_GATE, "self_attn.linear_gate.weight"}, {PART_GATE, "mlp.linear_gate.weight"},
    {PART_SHARED_GATE, "mlp.shared_experts.linear_gate.weight"},
    {PART_SHARED_UP, "mlp.shared_experts.up_proj.weight"}, {PART_SHARED_DOWN, "mlp.shared_experts.down_proj.weight"},
    {PART_EXPERT_GATE, "mlp.experts.#.linear_gate.weight"}, {0}};

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
    {.architecture = "HYV4ForCausalLM", .theta = 1e4, .eps = 1e-5, .latent = true, .latent_halves = true,
     .indexer = INDEXER_LAST, .connections = CONNECT_ADD, .expert_limit = "swiglu_limit", .sinks = SINKS_ALL,
     .gate = ORGAN_GATE_LOGISTIC, ATTENTION_BIAS, .mixture = &hy4_mixture, .names = hy4_names},
    {.architecture = "Glm4MoeLiteForCausalLM", .theta = 1e4, .rotated_part = 1, .latent = true, ATTENTION_BIAS,
     .mixture = &glm4_lite_mixture, .fixed = deepseek3_fixed, .names = shared_experts_names},
    {.architecture = "MiniCPM3ForCausalLM", .theta = 1e4, .latent = true, .latent_halves = true, ATTENTION_BIAS,
     MLP_BIAS, .eps = 1e-5, .tied = true, .minicpm = true},
    {.architecture = "YoutuForCausalLM", .theta = 1e4, .latent = true, ATTENTION_BIAS, .tied = true},
    {0}};
/* clang-format on */
