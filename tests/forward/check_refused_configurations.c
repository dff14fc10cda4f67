/* SPDX-License-Identifier: MIT
 * Invalid configurations in config.json and in GGUF keys are rejected by name. */
#include "tests/kit/arch_maker.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *type, *key, *value, *fragment;
} refused[] = {
    {"lfm2", "layer_types", "null", "neither layer_types nor full_attn_idxs"},
    {"lfm2", "conv_L_cache", "0", "kernel of the convolution"},
    {"lfm2", "block_ff_dim", "0", "intermediate_size"},
    {"lfm2-adjusted", "block_multiple_of", "0", "block_multiple_of 0"},
    {"lfm2-adjusted", "block_ffn_dim_multiplier", "1e300", "block_ffn_dim_multiplier"},
    {"lfm2_moe", "num_dense_layers", "9", "the first 9 of 4 layers"},
    {"bamba", "attn_layer_indices", "[4]", "attn_layer_indices"},
    {"bamba", "attn_layer_indices", "7", "attn_layer_indices"},
    {"bamba", "mamba_n_groups", "3", "not a multiple of 3 key heads"},
    {"bamba", "mamba_d_head", "31", "4 heads of 31"},
    {"bamba", "mamba_expand", "1e30", "heads of 32"},
    {"mamba2", "state_size", "0", "width of their keys"},
    {"mamba2", "num_heads", "0", "recurrent layers"},
    {"mamba2", "time_step_limit", "[0.5, 0.1]", "the limits of the time steps are 0.5 and 0.1"},
    {"mamba2", "time_step_limit", "[0.0]", "time_step_limit"},
    {"mamba2", "hidden_act", "\"gelu\"", "hidden_act"},
    {"falcon_h1", "ssm_multipliers", "[1, 1]", "ssm_multipliers"},
    {"falcon_h1", "mlp_multipliers", "[1e39, 1]", "a multiplier is not finite"},
    {"falcon_h1", "mamba_proj_bias", "true", "mamba_proj_bias"},
    {"falcon_h1", "mamba_d_ssm", "64", "do not make up 64 channels"},
    {"granitemoehybrid", "layer_types", "[\"mamba\"]", "layer_types"},
    {"granitemoehybrid", "layer_types", "[\"mamba\", \"conv\", \"mamba\", \"mamba\"]", "layer_types: 'conv'"},
    {"nemotron_h", "layers_block_type", "[\"mamba\", \"moe\", \"mlp\", \"mamba\", \"none\"]",
     "layers_block_type: 'none'"},
    {"nemotron_h-moe", "n_routed_experts", "0", "number of experts is 0"},
    {"nemotron_h-moe", "num_experts_per_tok", "5", "4 experts"},
    {"nemotron_h-moe", "n_group", "3", "n_group is 3: "},
    {"nemotron_h-moe", "mlp_bias", "true", "bias"},
    {"nemotron_h-moe", "mlp_hidden_act", "\"swish2\"", "mlp_hidden_act"},
    {"nemotron_h-moe", "moe_shared_expert_intermediate_size", "0", "moe_shared_expert_intermediate_size is 0"},
    {"nemotron_h-latent", "moe_latent_size", "0", "moe_latent_size is 0"},
    {"nemotron_h-latent", "moe_latent_size", "2000000", "2000000 numbers"},
    {"nemotron_h-latent", "moe_latent_size", "null", "experts.0.up_proj.weight"},
    {"nemotron_h", "hybrid_override_pattern", "\"M*-M\\u00e9\"", "hybrid_override_pattern"},
    {"nemotron_h", "layers_block_type", "[]", "num_hidden_layers"},
    {"nemotron_h", "mamba_n_groups", "3", "not a multiple of 3 key heads"},
    {"nemotron_h", "mamba_d_conv", "3", "conv1d.weight"},
    {"nemotron_h", "mamba_conv_bias", "2", "mamba_conv_bias"},
    {"nemotron_h", "time_step_min", "-1", "the limits of the time steps"},
    {"olmo_hybrid", "linear_num_key_heads", "null", "linear_num_key_heads is missing"},
    {"olmo_hybrid", "linear_value_head_dim", "31", "v_proj.weight"},
    {"olmo_hybrid", "layer_types", "null", "layer_types"},
    {"olmo_hybrid", "layer_types", "[\"linear_attention\", \"mamba\", \"full_attention\", \"full_attention\"]",
     "layer_types: 'mamba'"},
    {"olmo_hybrid", "linear_allow_neg_eigval", "2", "linear_allow_neg_eigval"},
    {"olmo_hybrid", "rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": \"a\"}", "rope_theta"},
    {"kimi_linear", "linear_num_heads", "0", "number of heads of recurrent layers"},
    {"kimi_linear", "linear_head_dim", "5000", "width of their keys"},
    {"kimi_linear", "linear_head_dim", "8", "proj.weight"},
    {"kimi_linear", "layer_types", "null", "layer_types"},
    {"kimi_linear", "num_experts_per_token", "5", "4 experts"},
    {"kimi_linear", "moe_renormalize", "1", "moe_renormalize"},
    {"kimi_linear", "mla_use_nope", "false", "mla_use_nope"},
    {"kimi_linear", "moe_router_activation_func", "\"softmax\"", "moe_router_activation_func"},
    {"kimi_linear", "num_key_value_heads", "2", "num_key_value_heads"},
    {"kimi_linear-hub", "linear_attn_config", "7", "linear_attn_config"},
    {"kimi_linear-hub", "linear_attn_config", "{\"kda_layers\": [1, 3], \"full_attn_layers\": [2, 5]}",
     "full_attn_layers is 5"},
    {"kimi_linear-hub", "linear_attn_config", "{\"kda_layers\": [1, 3], \"full_attn_layers\": [0, 2]}",
     "full_attn_layers is 0"},
    {"kimi_linear-hub", "linear_attn_config", "{\"kda_layers\": [1, 3], \"full_attn_layers\": [2]}",
     "each of 4 layers"},
    {"kimi_linear-hub", "linear_attn_config", "{\"kda_layers\": [1, 3], \"full_attn_layers\": [2, 2]}", "layer 4 is"},
    {"kimi_linear-hub", "linear_attn_config", "{\"kda_layers\": [1, 3]}", "full_attn_layers"},
    {"kimi_linear-hub", "first_k_dense_replace", "5", "the first 5 of 4 layers"},
    {"hy_v4", "hc_mult", "0", "hc_mult is 0, not from 1 to 16"},
    {"hy_v4", "hc_mult", "17", "hc_mult is 17, not from 1 to 16"},
    {"hy_v4", "hc_mult", "2", "hc_head_fn"},
    {"hy_v4", "swiglu_limit", "0", "swiglu_limit is 0, not above 0"},
    {"hy_v4", "indexer_types", "[\"shared\", \"full\", \"full\"]", "layer 0 has no indexer"},
    {"deepseek_v4", "hc_sinkhorn_iters", "1001", "hc_sinkhorn_iters is 1001, not from 1 to 1000"},
    {"deepseek_v4", "hc_mult", "4", "hc_head"},
    {"deepseek_v4", "layer_types", "[\"sliding_attention\", \"conv\", \"sliding_attention\", \"sliding_attention\"]",
     "layer_types: 'conv'"},
    {"deepseek_v4", "layer_types", "[\"sliding_attention\"]", "layer_types"},
    {"deepseek_v4", "mlp_layer_types", "[\"moe\", \"dense\", \"moe\", \"moe\"]", "mlp_layer_types"},
    {"deepseek_v4", "mlp_layer_types", "[\"moe\", \"moe\", \"moe\", \"moe\"]", "gate.bias"},
    {"deepseek_v4", "mlp_layer_types", "[\"hash_moe\", \"hash_moe\", \"moe\", \"moe\"]", "gate.tid2eid"},
    {"deepseek_v4", "n_routed_experts", "7", "ffn.gate.weight"},
    {"deepseek_v4", "compress_rates", "{\"compressed_sparse_attention\": 0}", "0 tokens are compressed to one"},
    {"deepseek_v4", "compress_rates", "{\"heavily_compressed_attention\": 257}", "257 tokens are compressed to one"},
    {"deepseek_v4", "compress_rates", "{\"compressed_sparse_attention\": 5}", "compressor.ape"},
    {"deepseek_v4", "o_groups", "3", "not a multiple of o_groups 3"},
    {"deepseek_v4", "o_groups", "0", "o_groups is 0"},
    {"deepseek_v4", "o_lora_rank", "0", "o_lora_rank is 0"},
    {"deepseek_v4", "q_lora_rank", "0", "q_lora_rank is 0"},
    {"deepseek_v4", "sliding_window", "0", "sliding_window is 0"},
    {"deepseek_v4", "index_topk", "0", "index_topk is 0"},
    {"deepseek_v4", "index_n_heads", "5000", "index_n_heads is 5000"},
    {"deepseek_v4", "index_head_dim", "4", "index_head_dim is 4"},
    {"deepseek_v4", "head_dim", "15", "qk_rope_head_dim is 8 of a head of 15"},
    {"deepseek_v4", "scoring_func", "\"sigmoid\"", "scoring_func"},
    {"deepseek_v4", "n_shared_experts", "2", "n_shared_experts is 2"},
    {"deepseek_v4", "norm_topk_prob", "false", "norm_topk_prob"},
    {"deepseek_v4", "swiglu_limit", "0", "swiglu_limit is 0, not above 0"},
    {"deepseek_v4", "rope_parameters", "{\"main\": {}, \"compress\": {\"rope_theta\": 10000.0}}", "rope_theta is 0"},
    {"deepseek_v4", "rope_parameters", "{\"rope_type\": \"llama3\", \"factor\": 2.0}", "neither 'default' nor 'yarn'"},
    {"deepseek_v4-hub", "compress_ratios", "[128, 8, 128, 4, 0, 0]", "compress_ratios is 8, not 0, 4 or 128"},
    {"deepseek_v4-hub", "compress_ratios", "[128, 4]", "compress_ratios"},
    {"deepseek_v4-hub", "num_hash_layers", "3", "gate.tid2eid"},
    {"deepseek_v4-hub", "qk_rope_head_dim", "7", "7 of 16 dimensions of a head are rotated"},
    {"bailing_hybrid", "kda_lower_bound", "0", "kda_lower_bound is 0, not below 0"},
    {"bailing_hybrid", "no_kda_lora", "false", "no_kda_lora is false, not true"},
    {"bailing_hybrid", "linear_head_dim", "8", "proj.weight"},
    {"lfm3", "rope_parameters", "null", "rope_parameters and rope_scaling are missing"},
    {"lfm3", "use_attention_gate", "1", "use_attention_gate is 1, not true or false"},
    {"lfm3", "layer_types", "[\"conv\", \"linear_attention\", \"full_attention\", \"conv\"]", "linear_attention"},
    {"minimax", "rotary_dim", "7", "7 of 16 dimensions of a head are rotated"},
    {"minimax", "head_dim", "8", "proj.weight"},
    {"minimax", "num_attention_heads", "0", "heads"},
    {"minimax", "linear_attn_alpha_factor", "1e39", "linear_attn_alpha_factor"},
    {"minimax", "mlp_beta_factor", "\"1\"", "mlp_beta_factor"},
    {"minimax", "hidden_act", "\"gelu\"", "hidden_act"},
    {"minimax", "layer_types", "[\"linear_attention\", \"conv\", \"full_attention\", \"full_attention\"]",
     "layer_types: 'conv'"},
    {"minimax-window", "sliding_window", "-1", "sliding_window"},
    {"mamba", "time_step_rank", "0", "rank of their time steps"},
    {"mamba", "intermediate_size", "0", "number of heads of recurrent layers"},
    {"mamba", "conv_kernel", "1000", "kernel of their convolution"},
    {"jamba", "attn_layer_offset", "2", "attn_layer_offset is 2, not below attn_layer_period 2"},
    {"jamba", "attn_layer_period", "0", "attn_layer_period is 0"},
    {"jamba", "expert_layer_offset", "5", "expert_layer_offset is 5"},
    {"qwen3_5_text", "linear_num_value_heads", "0", "number of heads of recurrent layers"},
    {"qwen3_5_text", "linear_num_value_heads", "3", "not a multiple of 2 key heads"},
    {"qwen3_5_text", "linear_num_key_heads", "0", "number of key heads of recurrent layers"},
    {"qwen3_5_text", "linear_key_head_dim", "1000000", "width of their keys"},
    {"qwen3_5_text", "linear_value_head_dim", "0", "width of their values"},
    {"qwen3_5_text", "linear_conv_kernel_dim", "0", "kernel of their convolution"},
    {"qwen3_5_text", "linear_conv_kernel_dim", "100000", "kernel of their convolution"},
    {"qwen3_5_text", "linear_conv_kernel_dim", "3", "conv1d.weight' is 128 x 1 x 4, but the config requires 128 x 3"},
    {"qwen3_5_text", "layer_types", "[\"linear_attention\"]", "layer_types"},
    {"qwen3_5_text", "layer_types", "[\"mamba\", \"full_attention\", \"linear_attention\", \"full_attention\"]",
     "layer_types: 'mamba'"},
    {"qwen3_5_text", "hidden_act", "\"gelu\"", "hidden_act"},
    {"smollm3", "no_rope_layers", "[1, 1]", "no_rope_layers"},
    {"smollm3", "no_rope_layers", "[1, 1, 1, \"0\"]", "no_rope_layers"},
    {"smollm3-interval", "no_rope_layer_interval", "0", "no_rope_layer_interval"},
    {"afmoe", "route_scale", "0", "route_scale"},
    {"afmoe", "score_func", "\"softmax\"", "score_func"},
    {"laguna", "num_attention_heads_per_layer", "[4, 3, 4, 6]", "num_key_value_heads"},
    {"laguna", "num_attention_heads_per_layer", "[4, 2, 4]", "num_attention_heads_per_layer"},
    {"laguna", "gating", "\"none\"", "gating"},
    {"step3p7-flat", "text_config.swiglu_limits", "[0, -1, 0, 0, 0]", "swiglu_limits is -1"},
    {"step3p7-flat", "text_config.swiglu_limits_shared", "[0, 1]", "swiglu_limits_shared"},
    {"step3p7-flat", "text_config.per_layer_config", "{\"1\": {\"num_attention_heads\": 5}}",
     "num_attention_heads is 5"},
    {"step3p7", "text_config.attention_other_setting", "{\"num_attention_heads\": 5}", "num_attention_heads is 5"},
    {"minimax_m3_vl-flat", "text_config.index_n_heads", "3", "index_n_heads is 3, not a divisor"},
    {"minimax_m3_vl-flat", "text_config.index_n_heads", "0", "index_n_heads is 0, not a divisor"},
    {"minimax_m3_vl-flat", "text_config.index_head_dim", "0", "index_head_dim is 0, not from 16 to 4096"},
    {"minimax_m3_vl-flat", "text_config.index_head_dim", "8", "index_head_dim is 8, not from 16 to 4096"},
    {"minimax_m3_vl-flat", "text_config.index_block_size", "0", "index_block_size is 0"},
    {"minimax_m3_vl-flat", "text_config.index_block_size", "-1", "index_block_size is -1"},
    {"minimax_m3_vl-flat", "text_config.index_topk_blocks", "1", "index_topk_blocks is 1"},
    {"minimax_m3_vl-flat", "text_config.index_topk_blocks", "0", "index_topk_blocks is 0"},
    {"minimax_m3_vl-flat", "text_config.layer_types", "[\"full_attention\"]", "layer_types"},
    {"minimax_m3_vl-flat", "text_config.layer_types", "[\"full_attention\", \"sliding_attention\", \"full_attention\"]",
     "layer_types"},
    {"minimax_m3_vl-flat", "text_config.swiglu_limit", "0", "swiglu_limit is 0"},
    {"minimax_m3_vl", "text_config.moe_layer_freq", "[1, 1]", "mlp_layer_types"},
    {"minimax_m3_vl", "text_config.sparse_attention_config", "{\"sparse_attention_freq\": [0, 1]}", "layer_types"},
    {"minimax_m3_vl", "text_config.sparse_attention_config",
     "{\"sparse_topk_blocks\": \"x\", \"sparse_attention_freq\": [0, 1, 0, 1]}", "index_topk_blocks"},
    {"step3p7", "text_config.moe_layers_enum", "\"1,2\"", "layers.3.mlp"},
    {"step3p7", "text_config.share_expert_dim", "null", "is missing"},
    {"step3p7", "text_config.rope_theta", "[\"x\", 1, 1, 1, 1, 1, 1]", "rope_theta"},
    {"gemma4", "text_config.use_bidirectional_attention", "\"all\"", "use_bidirectional_attention"},
    {"gemma4_unified", "text_config.use_bidirectional_attention", "\"all\"", "use_bidirectional_attention"},
    {"glm4v", "text_config.num_attention_heads", "0", "num_attention_heads is 0"},
    {"laguna", "moe_router_logit_softcapping", "-1", "soft cap"},
    {"mimo_v2_flash", "v_head_dim", "0", "v_head_dim"},
    {"mimo_v2_flash", "swa_num_key_value_heads", "2", "swa_num_key_value_heads"},
    {"mimo_v2_flash", "add_full_attention_sink_bias", "true", "add_full_attention_sink_bias"},
    {"llama4_text", "attention_chunk_size", "0", "attention_chunk_size"},
    {"llama4_text", "floor_scale", "0", "scaled"},
    {"llama4_text", "moe_layers", "[1, 4]", "moe_layers"},
    {"hunyuan_v1_moe", "moe_topk", "[2, 2, 1, 2]", "moe_topk"},
    {"hunyuan_v1_moe", "use_cla", "true", "use_cla"},
    {"gpt_oss", "swiglu_limit", "-1", "swiglu_limit"},
    {"gpt_oss", "swiglu_alpha", "0", "swiglu_alpha"},
    {"gpt_oss", "rope_parameters", "null", "rope_parameters"},
    {"gpt_oss", "num_local_experts", "4000000000", "tensor"},
    {"gpt_oss", "num_experts_per_tok", "5", "num_experts_per_tok"},
    {"gpt_oss", "sliding_window", "0", "sliding window"},
    {"gpt_oss-mxfp4", "intermediate_size", "97", "tensor"},
    {"ministral3", "rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": 10000.0}", "llama_4_scaling_beta"},
    {"hunyuan_v1_dense", "rope_parameters",
     "{\"rope_type\": \"dynamic\", \"rope_theta\": 10000.0, \"alpha\": -1, \"factor\": 1.0}", "alpha"},
    {"granite", "logits_scaling", "0", "logits_scaling"},
    {"granite", "attention_multiplier", "-1", "scale of attention"},
    {"exaone4", "layer_types", "[\"sliding_attention\"]", "layer_types"},
    {"olmo2", "num_attention_heads", "0", "heads"},
    {"helium", "head_dim", "15", "head"},
    {"ernie4_5_moe", "moe_layer_interval", "0", "moe_layer_interval is 0"},
    {"ernie4_5_moe", "moe_layer_start_index", "-1", "moe_layer_start_index"},
    {"ernie4_5_moe", "use_bias", "true", "bias"},
    {"ernie4_5_moe", "moe_k", "9", "9, not from 1 to the 8 experts"},
    {"mellum", "mlp_layer_types", "[\"sparse\", \"dense\", \"sparse\", \"other\"]", "'other' is not supported"},
    {"olmoe", "clip_qkv", "-8", "the clipping limit of q, k and v is -8"},
    {"glm4_moe_lite", "rope_parameters",
     "{\"rope_type\": \"default\", \"rope_theta\": 10000.0, \"partial_rotary_factor\": 0.25}",
     "partial_rotary_factor is 0.25"},
    {"hunyuan_v1_moe", "moe_topk", "[]", "moe_topk is []"},
    {"exaone_moe", "n_group", "3", "n_group is 3: "},
    {"exaone_moe", "mlp_layer_types", "[\"dense\"]", "mlp_layer_types"},
    {"minimax_m2-stacked", "rotary_dim", "-2", "rotary_dim"},
    {"minimax_m2-stacked", "rotary_dim", "18", "18 of 16 dimensions"},
    {"granitemoeshared", "shared_intermediate_size", "-3", "shared_intermediate_size"},
    {"hy_v3", "num_shared_experts", "0", "has no shared expert"},
    {"solar_open", "routed_scaling_factor", "0", "routed_scaling_factor is 0"},
    {"qwen3_moe-dense", "mlp_only_layers", "[\"a\"]", "mlp_only_layers"},
    {"gemma3", "text_config", "{\"model_type\": \"unknown\"}", "Gemma3ForConditionalGeneration"},
    {"gemma3-flat", "text_config", "{\"architectures\": [\"Unknown\"]}", "'Unknown' is not supported"},
    {"deepseek_v2", "kv_lora_rank", "0", "kv_lora_rank"},
    {"deepseek_v2", "kv_lora_rank", "20000", "kv_lora_rank"},
    {"deepseek_v2", "qk_nope_head_dim", "null", "qk_nope_head_dim"},
    {"deepseek_v2", "qk_rope_head_dim", "7", "head_dim"},
    {"deepseek_v2", "v_head_dim", "0", "v_head_dim"},
    {"deepseek_v2", "q_lora_rank", "65537", "q_lora_rank"},
    {"deepseek_v2", "num_key_value_heads", "2", "num_key_value_heads"},
    {"deepseek_v2", "topk_method", "\"noaux_tc\"", "topk_method"},
    {"deepseek_v2", "norm_topk_prob", "true", "norm_topk_prob"},
    {"deepseek_v2", "mlp_bias", "true", "bias"},
    {"deepseek_v3", "moe_layer_freq", "2", "moe_layer_freq"},
    {"deepseek_v3", "scoring_func", "\"softmax\"", "scoring_func"},
    {"glm4_moe_lite", "mlp_layer_types", "[\"dense\"]", "mlp_layer_types"},
    {"glm4_moe_lite", "mlp_layer_types", "[\"dense\", \"sparse\", \"sparse\", \"none\"]", "mlp_layer_types"},
    {"glm4_moe_lite", "n_group", "3", "groups"},
    {"deepseek_v32", "index_topk", "0", "index_topk"},
    {"glm_moe_dsa", "index_topk", "null", "index_topk"},
    {"glm_moe_dsa", "rope_interleave", "false", "rope_interleave"},
    {"deepseek_v32", "index_n_heads", "0", "index_n_heads"},
    {"deepseek_v32", "index_n_heads", "4097", "index_n_heads"},
    {"deepseek_v32", "index_head_dim", "7", "index_head_dim is 7, not from qk_rope_head_dim 8"},
    {"deepseek_v32", "index_topk", "2000000", "index_topk"},
    {"deepseek_v32", "q_lora_rank", "null", "q_lora_rank"},
    {"glm_moe_dsa", "indexer_types", "[\"shared\", \"full\", \"full\", \"full\"]", "layer 0 has no indexer"},
    {"glm_moe_dsa", "indexer_types", "[\"full\", \"full\", \"full\"]", "indexer_types"},
    {"glm_moe_dsa", "index_topk_pattern", "\"F\", \"indexer_types\": null", "is 'F', not F or S for each of 4 layers"},
    {"glm_moe_dsa", "index_topk_pattern", "\"\", \"indexer_types\": null", "is '', not F or S for each of 4 layers"},
    {"glm_moe_dsa", "index_topk_pattern", "\"FFFT\", \"indexer_types\": null", "is 'FFFT', not F or S"},
    {"glm_moe_dsa", "indexer_types", "[\"full\", \"none\", \"full\", \"full\"]", "'none' is not supported"},
    {"cohere2_moe", "expert_selection_fn", "\"tanh\"", "expert_selection_fn 'tanh'"},
    {"cohere2_moe", "shared_expert_combination_strategy", "\"max\"", "shared_expert_combination_strategy 'max'"},
    {"cohere2_moe", "prefix_dense_intermediate_size", "0", "intermediate_size is 0"},
    {"cohere2_moe", "num_shared_experts", "4000000000", "intermediate size of the shared expert"},
    {"cohere2_moe", "logit_scale", "null", "logit_scale is missing"},
    {"cohere2_moe-pattern", "first_k_dense_replace", "5", "first 5 of 4 layers"},
    {"nanochat", "attn_logit_softcapping", "20", "attn_logit_softcapping is 20"},
    {"nanochat", "final_logit_softcapping", "-1", "soft caps"},
    {"bitnet", "quantization_config", "{\"quant_method\": \"bitnet\", \"quantization_mode\": \"online\"}",
     "quantization_config.quant_method"},
    {"bitnet", "hidden_act", "\"quick_gelu\"", "hidden_act 'quick_gelu'"},
    {"minicpm3", "dim_model_base", "0", "dim_model_base 0"},
    {"minicpm3", "scale_emb", "\"a\"", "scale_emb"},
    {"minicpm3", "num_attention_heads", "0", "num_attention_heads 0"},
    {"youtu", "kv_lora_rank", "-1", "kv_lora_rank"},
    {"phimoe", "num_experts_per_tok", "3", "num_experts_per_tok is 3, not 2"},
    {"phimoe", "router_jitter_noise", "-1", "router_jitter_noise"},
    {"phimoe", "rope_parameters", "{\"rope_type\": \"yarn\", \"rope_theta\": 1e4, \"factor\": 2}", "rope_type"},
    {"phimoe", "rope_parameters",
     "{\"rope_type\": \"longrope\", \"short_factor\": [1, 1, 1, 1, 1, 1, 1, 1], \"long_factor\": [1, 1, 1, 1, 1, 1, 1, "
     "1]}",
     "short_mscale"},
    {"mistral4", "rope_parameters", "{\"rope_theta\": 1e4, \"llama_4_scaling_beta\": 0.1}",
     "original_max_position_embeddings"},
    {"gemma4_text-shared", "num_kv_shared_layers", "8", "num_kv_shared_layers"},
    {"gemma4_text-shared", "num_kv_shared_layers", "7", "num_kv_shared_layers"},
    {"gemma4_text-shared", "hidden_size_per_layer_input", "65537", "hidden_size_per_layer_input"},
    {"gemma4_text-shared", "vocab_size_per_layer_input", "255", "vocab_size_per_layer_input"},
    {"gemma4_text-shared", "per_layer_config", "{\"1\": {\"head_dim\": 32, \"rms_norm_eps\": 1}}", "per_layer_config"},
    {"gemma4_text-shared", "per_layer_config", "{\"1\": {\"head_dim\": 32}}", "heads"},
    {"gemma4_text-shared", "use_bidirectional_attention", "\"all\"", "use_bidirectional_attention"},
    {"gemma4_text-moe", "enable_moe_block", "1", "enable_moe_block"},
    {"gemma4_text-equal", "num_global_key_value_heads", "3", "num_key_value_heads"},
    {"gemma3n_text", "activation_sparsity_pattern", "[0.95]", "activation_sparsity_pattern"},
    {"gemma3n_text", "intermediate_size", "[96, 96]", "intermediate_size"},
    {"gemma3n_text", "altup_num_inputs", "1", "altup_num_inputs"},
    {"gemma3n_text", "altup_num_inputs", "17", "altup_num_inputs"},
    {"gemma3n_text", "altup_active_idx", "1", "altup_active_idx"},
    {"gemma3n_text", "laurel_rank", "0", "laurel_rank"},
    {"gpt2", "scale_attn_by_inverse_layer_idx", "true", "scale_attn_by_inverse_layer_idx"},
    {"gpt2", "scale_attn_weights", "false", "scale_attn_weights"},
    {"gpt2", "add_cross_attention", "true", "add_cross_attention"},
    {"gpt2", "n_positions", "511", "'transformer.wpe.weight' is 512 x 64, but the config requires 511 x 64"},
    {"gpt2", "n_positions", "-1", "n_positions"},
    {"gpt2", "n_inner", "64", "'transformer.h.0.mlp.c_fc.weight' is 64 x 96, but the config requires 64 x 64"},
    {"gpt_bigcode", "multi_query", "1", "multi_query"},
    {"gpt_neo", "window_size", "0", "window_size"},
    {"gpt_neo", "attention_layers", "[\"global\", \"local\", \"global\"]", "attention_layers"},
    {"gpt_neo", "attention_layers", "[\"global\", \"local\", \"global\", \"none\"]", "global or local"},
    {"gpt_neo", "num_layers", "3", "attention_layers"},
    {"bloom", "apply_residual_connection_post_layernorm", "true", "apply_residual_connection_post_layernorm"},
    {"bloom", "n_head", "0", "num_attention_heads"},
    {"mpt", "attn_config", "{\"alibi\": false}", "alibi is false"},
    {"mpt", "attn_config", "{\"alibi_bias_max\": 16}", "alibi_bias_max is 16"},
    {"mpt", "attn_config", "{\"qk_ln\": true}", "qk_ln"},
    {"mpt", "attn_config", "{\"prefix_lm\": true}", "prefix_lm"},
    {"mpt", "attn_config", "{\"attn_type\": \"multiquery_attention\"}", "attn_type"},
    {"mpt", "attn_config", "{\"softmax_scale\": 0}", "scale of attention scores"},
    {"mpt", "attn_config", "{\"clip_qkv\": -1}", "the clipping limit of q, k and v is -1"},
    {"mpt", "attn_config", "7", "attn_config"},
    {"mpt", "no_bias", "false", "no_bias"},
    {"mpt", "expansion_ratio", "2", "expansion_ratio"},
    {"mpt", "logit_scale", "0.5", "logit_scale"},
    {"mpt", "norm_type", "\"rmsnorm\"", "norm_type"},
    {"falcon-rw", "alibi", "1", "alibi"},
    {"codegen", "n_head", "2", "not a multiple of 4"},
    {"opt", "word_embed_proj_dim", "32", "word_embed_proj_dim"},
    {"opt", "max_position_embeddings", "511",
     "'model.decoder.embed_positions.weight' is 514 x 64, but the config requires 513 x 64"},
    {"opt", "enable_bias", "false", "the model has no such bias"},
    {"opt-post", "layer_norm_elementwise_affine", "false", "layer_norm_elementwise_affine"},
    {"gpt_bigcode", "multi_query", "false", "is 96 x 64, but the config requires 192 x 64"},
};

START_TEST(impossible_configurations_are_refused)
{
    const char *const path = scratch_path("%s", refused[_i].type);
    arch_reference r = arch_outline(refused[_i].type, path);
    session s;
    organ_error error;
    char members[512];
    snprintf(members, sizeof members, "{\"%s\": %s}", refused[_i].key, refused[_i].value);
    arch_set_config(path, members);
    ck_assert_int_eq(session_open(&s, path, 1, ROOMY, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, refused[_i].fragment) != NULL, "%s", error.message);
    session_close(&s);
    arch_reference_free(&r);
}
END_TEST

static const struct {
    const char *type, *key, *fragment;
} refused_keys[] = {
    {"olmo2", "key\tolmo2.attention.head_count_kv\t[u32]\t2,2", "has 2 values, but block_count is 4"},
    {"olmo2", "key\tolmo2.attention.head_count_kv\t[u32]\t2,2,2,0", "num_key_value_heads is 0"},
    {"olmo2", "key\tolmo2.attention.causal\tbool\t0", "olmo2.attention.causal"},
    {"olmo2", "key\tolmo2.attention.clamp_kqv\tf32\t8", "olmo2.attention.clamp_kqv"},
    {"olmo3", "key\tolmo2.rope.scaling.type\tstring\tyarm", "'yarm', which is not supported"},
    {"olmo3", "key\tolmo2.attention.sliding_window_pattern\t[bool]\t1,1,1", "has 3 values, but block_count is 4"},
    {"granite", "key\tgranite.residual_scale\tf32\t-1", "granite.residual_scale"},
    {"olmo2", "key\tolmo2.attention.temperature_scale\tf32\t0.1", "olmo2.attention.temperature_scale"},
    {"olmo2", "key\tolmo2.rope.scaling.yarn_log_multiplier\tf32\t1", "olmo2.rope.scaling.yarn_log_multiplier"},
    {"ministral3", "key\tmistral3.attention.temperature_scale\tf32\tinf", "queries are scaled with beta inf"},
    {"ministral3", "key\tmistral3.attention.temperature_length\tu32\t0", "per 0 positions"},
    {"ministral3", "key\tmistral3.rope.scaling.yarn_log_multiplier\tf32\tnan", "attention_factor"},
    {"apertus", "key\txielu.alpha_n\t[f32]\t1,1,1", "has 3 values, but block_count is 4"},
    {"apertus", "key\txielu.eps\tf32\t1", "'xielu.eps' is missing or not an array"},
    {"cohere", "key\tcommand-r.logit_scale\tf32\t-1", "command-r.logit_scale"},
    {"nemotron", "key\tnemotron.attention.layer_norm_epsilon\tf32\t-1", "eps"},
    {"gpt_neox", "key\tgptneox.use_parallel_residual\tu32\t1", "not true or false"},
    {"olmo", "key\tolmo.attention.clamp_kqv\tf32\t-1", "below 0 or not finite"},
    {"gemma4_text-shared", "key\tgemma4.attention.shared_kv_layers\tu32\t8",
     "shared_kv_layers' is 8, not below the 8 layers"},
    {"gemma4_text-shared", "key\tgemma4.attention.shared_kv_layers\tu32\t7", "has keys and values for layer"},
    {"gemma4_text-shared", "key\tgemma4.embedding_length_per_layer_input\tu32\t65537", "is 65537, not up to 65536"},
    {"gemma4_text-dense", "key\tgemma4.attention.key_length_swa\tu32\t0", "is 0 and attention.value_length_swa 16"},
    {"gemma4_text-dense", "key\tgemma4.rope.dimension_count_swa\tu32\t18", "18 of 16 dimensions"},
    {"gemma4_text-dense", "key\tgemma4.embedding_length_per_layer_input\tu32\t8",
     "per_layer_token_embd.weight' is missing"},
    {"mimo_v2_flash", "key\tmimo2.attention.value_length\tu32\t0", "v_head_dim is 0"},
    {"kimi_linear-gguf", "key\tkimi-linear.kda.head_dim\tu32\t0", "the width of their keys is 0"},
    {"minimax-gguf", "key\tminimax-01.residual_scale\tf32\tinf", "residual_scale' is inf, not finite"},
    {"nemotron_h-latent-gguf", "key\tnemotron_h_moe.moe_latent_size\tu32\t23", "ffn_latent_down.weight"},
    {"nemotron_h-moe-gguf", "key\tnemotron_h_moe.feed_forward_length\t[i32]\t0,32,0",
     "has 3 values, but block_count is 4"},
    {"mimo_v2_flash", "key\tmimo2.attention.value_scale\tf32\tinf", "not finite"},
    {"deepseek_v32", "key\tdeepseek32.attention.indexer.top_k\tu32\t0", "index_topk is 0"},
    {"glm_moe_dsa", "key\tglm-dsa.attention.indexer.head_count\tu32\t5000", "index_n_heads is 5000"},
    {"glm_moe_dsa", "key\tglm-dsa.attention.indexer.key_length\tu32\t4", "index_head_dim is 4"},
    {"qwen3_5_text", "key\tqwen35.ssm.time_step_rank\tu32\t3", "not a multiple of ssm.time_step_rank 3"},
    {"qwen3_5_text", "key\tqwen35.ssm.time_step_rank\tu32\t0", "not a multiple of ssm.time_step_rank 0"},
    {"qwen3_5_text", "key\tqwen35.ssm.group_count\tu32\t3", "not a multiple of 3 key heads"},
    {"qwen3_5_text", "key\tqwen35.ssm.state_size\tu32\t0", "width of their keys is 0"},
    {"qwen3_next", "key\tqwen3next.ssm.conv_kernel\tu32\t4294967295", "kernel of their convolution is 4294967295"},
    {"lfm2", "key\tlfm2.shortconv.l_cache\tu32\t0", "kernel of the convolution is 0"},
    {"lfm2", "key\tlfm2.attention.head_count_kv\t[i32]\t0,2,0,0", "num_key_value_heads is 0"},
    {"lfm2", "key\tlfm2.attention.sliding_window\tu32\t16", "lfm2.attention.sliding_window"},
    {"jamba", "key\tjamba.ssm.time_step_rank\tu32\t0", "rank of their time steps is 0"},
    {"jamba", "key\tjamba.ssm.inner_size\tu32\t0", "number of heads of recurrent layers is 0"},
    {"gemma3n_text-gguf", "key\tgemma3n.altup.num_inputs\tu32\t17", "altup.num_inputs' is 17, not from 2 to 16"},
    {"gemma3n_text-gguf", "key\tgemma3n.altup.num_inputs\tu32\t3", "altup_proj.weight' is 3 x 64 x 64"},
    {"gemma3n_text-gguf", "key\tgemma3n.altup.active_idx\tu32\t1", "altup.active_idx' is not 0"},
    {"gemma3n_text-gguf", "key\tgemma3n.embedding_length_per_layer_input\tu32\t0", "is 0, not up to 65536"},
    {"gemma3n_text-gguf", "key\tgemma3n.attention.shared_kv_layers\tu32\t9", "has keys and values for layer"},
    {"gemma3n_text-gguf", "key\tgemma3n.activation_sparsity_scale\t[f32]\t1,1", "has 2 values, but block_count is 10"},
    {"gemma3n_text-gguf", "key\tgemma3n.activation_sparsity_scale\t[f32]\t1,1,1,1,inf,1,1,1,1,1", "inf for layer 4"},
    {"laguna-gguf", "key\tlaguna.attention.head_count\t[i32]\t4,2,6,3,4", "num_attention_heads is 3, not a multiple"},
    {"laguna-gguf", "key\tlaguna.rope.dimension_count_swa\tu32\t18", "18 of 16 dimensions"},
    {"cohere2_moe-gguf", "key\tcohere2moe.expert_shared_count\tu32\t0",
     "the config states that the model has no shared"},
    {"llama4_text-gguf", "key\tllama4.attention.sliding_window\tu32\t0", "'llama4.attention.sliding_window' is 0"},
    {"llama4_text-gguf", "key\tllama4.expert_count\tu32\t128", "ffn_gate_inp.weight' is 4 x 64"},
    {"mamba2", "key\tmamba2.ssm.dt_b_c_rms\tbool\t1", "mamba2.ssm.dt_b_c_rms"},
    {"mamba-gguf", "key\tmamba.embedding_length\tu32\t63", "not an even number"},
    {"mpt-heads", "key\tmpt.attention.max_alibi_bias\tf32\t0", "max_alibi_bias' is 0"},
    {"mpt-heads", "key\tmpt.attention.max_alibi_bias\tf32\t1e9", "largest bias of ALiBi"},
    {"mpt-heads", "key\tmpt.attention.clamp_kqv\tf32\t-1", "the clipping limit of q, k and v is -1"},
    {"bloom", "key\tbloom.attention.max_alibi_bias\tf32\t16", "bloom.attention.max_alibi_bias"},
    {"gpt2", "key\tgpt2.context_length\tu32\t511",
     "'position_embd.weight' is 512 x 64, but the config requires 511 x 64"},
};

START_TEST(impossible_keys_are_refused)
{
    const char *const path = scratch_path("%s.gguf", refused_keys[_i].type);
    arch_reference r = arch_outline_gguf(refused_keys[_i].type, path, refused_keys[_i].key);
    session s;
    organ_error error;
    ck_assert_int_eq(session_open(&s, path, 1, ROOMY, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, refused_keys[_i].fragment) != NULL, "%s", error.message);
    session_close(&s);
    arch_reference_free(&r);
}
END_TEST

/* ---- a table of experts (tid2eid) ---- */

/* Bytes that are written at the beginning of the table's data, or of its type in the header. */
static const struct {
    const char *type; /* replaces I64; NULL: `number` replaces the first number of the table */
    int64_t number;
    const char *fragment;
} tables[] = {
    {NULL, 8, "names expert 8 of a token, but there are 8 experts"},
    {NULL, -1, "names expert -1 of a token"},
    {NULL, (int64_t)1 << 40, "names expert 1099511627776 of a token"},
    {"F64", 0, "is F64, but numbers of experts are I64 or I32"},
    {"U64", 0, "is U64, but numbers of experts are I64 or I32"},
};

START_TEST(impossible_tables_are_refused)
{
    static char header[1 << 16];
    const char *const path = scratch_path("deepseek_v4"), *const name =
                                                              "\"model.layers.0.ffn.gate.tid2eid\":{\"dtype\":\"";
    char file_name[600];
    arch_reference r = arch_make("deepseek_v4", path);
    uint64_t length;
    unsigned long long begin;
    session s;
    organ_error error = {0};
    snprintf(file_name, sizeof file_name, "%s/model.safetensors", path);
    FILE *const file = fopen(file_name, "r+b");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(&length, sizeof length, 1, file), 1);
    ck_assert_uint_lt(length, sizeof header);
    ck_assert_uint_eq(fread(header, 1, (size_t)length, file), length);
    char *const at = strstr(header, name);
    ck_assert_ptr_nonnull(at);
    char *const offsets = strstr(at, "data_offsets\":[");
    ck_assert_int_eq(sscanf(offsets, "data_offsets\":[%llu", &begin), 1);
    const long place =
        (long)sizeof length + (tables[_i].type ? (at - header) + (long)strlen(name) : (long)(length + begin));
    ck_assert_int_eq(fseek(file, place, SEEK_SET), 0);
    const void *const bytes = tables[_i].type ? (const void *)tables[_i].type : &tables[_i].number;
    ck_assert_uint_eq(fwrite(bytes, tables[_i].type ? 3 : sizeof(int64_t), 1, file), 1);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(session_open(&s, path, 1, ROOMY, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, tables[_i].fragment) != NULL, "%s", error.message);
    session_close(&s);
    arch_reference_free(&r);
}
END_TEST

Suite *refused_configurations_suite(void)
{
    Suite *const suite = suite_create("refused_configurations");
    TCase *const cases = tcase_create("refused");
    tcase_add_checked_fixture(cases, scratch_make, scratch_remove);
    tcase_add_loop_test(cases, impossible_configurations_are_refused, 0, sizeof refused / sizeof *refused);
    tcase_add_loop_test(cases, impossible_keys_are_refused, 0, sizeof refused_keys / sizeof *refused_keys);
    tcase_add_loop_test(cases, impossible_tables_are_refused, 0, sizeof tables / sizeof *tables);
    suite_add_tcase(suite, cases);
    return suite;
}
