/* SPDX-License-Identifier: MIT
 * Configurations that no model can have are refused by name: members of config.json, and keys of GGUF files. */
#include "tests/kit/arch_maker.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <jansson.h>
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
    {"bamba", "mamba_n_groups", "3", "no multiple of 3 key heads"},
    {"bamba", "mamba_d_head", "31", "4 heads of 31"},
    {"bamba", "mamba_expand", "1e30", "heads of 32"},
    {"mamba2", "state_size", "0", "width of their keys"},
    {"mamba2", "num_heads", "0", "recurrent layers"},
    {"mamba2", "time_step_limit", "[0.5, 0.1]", "time steps are limited to 0.5 .. 0.1"},
    {"mamba2", "time_step_limit", "[0.0]", "time_step_limit"},
    {"mamba2", "hidden_act", "\"gelu\"", "hidden_act"},
    {"falcon_h1", "ssm_multipliers", "[1, 1]", "ssm_multipliers"},
    {"falcon_h1", "mlp_multipliers", "[1e39, 1]", "a multiplier is not finite"},
    {"falcon_h1", "mamba_proj_bias", "true", "mamba_proj_bias"},
    {"falcon_h1", "mamba_d_ssm", "64", "are not 64 numbers"},
    {"granitemoehybrid", "layer_types", "[\"mamba\"]", "layer_types"},
    {"granitemoehybrid", "layer_types", "[\"mamba\", \"conv\", \"mamba\", \"mamba\"]", "layer_types: 'conv'"},
    {"nemotron_h", "layers_block_type", "[\"mamba\", \"moe\", \"mlp\", \"mamba\", \"none\"]",
     "layers_block_type: 'none'"},
    {"nemotron_h-moe", "n_routed_experts", "0", "number of experts is 0"},
    {"nemotron_h-moe", "num_experts_per_tok", "5", "4 experts"},
    {"nemotron_h-moe", "n_group", "3", "3 groups of experts"},
    {"nemotron_h-moe", "mlp_bias", "true", "mlp_bias"},
    {"nemotron_h-moe", "mlp_hidden_act", "\"swish2\"", "mlp_hidden_act"},
    {"nemotron_h-moe", "moe_shared_expert_intermediate_size", "0", "moe_shared_expert_intermediate_size is 0"},
    {"nemotron_h-latent", "moe_latent_size", "0", "moe_latent_size is 0"},
    {"nemotron_h-latent", "moe_latent_size", "2000000", "2000000 numbers"},
    {"nemotron_h-latent", "moe_latent_size", "null", "experts.0.up_proj.weight"},
    {"nemotron_h", "hybrid_override_pattern", "\"M*-M\\u00e9\"", "hybrid_override_pattern"},
    {"nemotron_h", "layers_block_type", "[]", "num_hidden_layers"},
    {"nemotron_h", "time_step_min", "-1", "time steps are limited"},
    {"olmo_hybrid", "linear_num_key_heads", "null", "linear_num_key_heads is missing"},
    {"olmo_hybrid", "linear_value_head_dim", "31", "v_proj.weight"},
    {"olmo_hybrid", "layer_types", "null", "layer_types"},
    {"olmo_hybrid", "layer_types", "[\"linear_attention\", \"mamba\", \"full_attention\", \"full_attention\"]",
     "layer_types: 'mamba'"},
    {"olmo_hybrid", "linear_allow_neg_eigval", "2", "linear_allow_neg_eigval"},
    {"olmo_hybrid", "rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": \"a\"}", "rope_theta"},
    {"mamba", "time_step_rank", "0", "rank of their time steps"},
    {"mamba", "intermediate_size", "0", "number of heads of recurrent layers"},
    {"mamba", "conv_kernel", "1000", "kernel of their convolution"},
    {"jamba", "attn_layer_offset", "2", "attn_layer_offset is 2, not below attn_layer_period 2"},
    {"jamba", "attn_layer_period", "0", "attn_layer_period is 0"},
    {"jamba", "expert_layer_offset", "5", "expert_layer_offset is 5"},
    {"qwen3_5_text", "linear_num_value_heads", "0", "number of heads of recurrent layers"},
    {"qwen3_5_text", "linear_num_value_heads", "3", "no multiple of 2 key heads"},
    {"qwen3_5_text", "linear_num_key_heads", "0", "number of key heads of recurrent layers"},
    {"qwen3_5_text", "linear_key_head_dim", "1000000", "width of their keys"},
    {"qwen3_5_text", "linear_value_head_dim", "0", "width of their values"},
    {"qwen3_5_text", "linear_conv_kernel_dim", "0", "kernel of their convolution"},
    {"qwen3_5_text", "linear_conv_kernel_dim", "100000", "kernel of their convolution"},
    {"qwen3_5_text", "linear_conv_kernel_dim", "3", "conv1d.weight' is 128 x 1 x 4, not 128 x 3"},
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
    {"ernie4_5_moe", "use_bias", "true", "use_bias is true"},
    {"ernie4_5_moe", "moe_k", "9", "9 with 8 experts"},
    {"mellum", "mlp_layer_types", "[\"sparse\", \"dense\", \"sparse\", \"other\"]", "'other' is not supported"},
    {"olmoe", "clip_qkv", "8", "clip_qkv is 8"},
    {"hunyuan_v1_moe", "moe_topk", "[]", "num_experts_per_tok is 0"},
    {"exaone_moe", "n_group", "3", "3 groups of experts"},
    {"exaone_moe", "mlp_layer_types", "[\"dense\"]", "mlp_layer_types"},
    {"minimax_m2-stacked", "rotary_dim", "-2", "rotary_dim"},
    {"minimax_m2-stacked", "rotary_dim", "18", "18 of 16 dimensions"},
    {"granitemoeshared", "shared_intermediate_size", "-3", "shared_intermediate_size"},
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
    {"deepseek_v2", "mlp_bias", "true", "mlp_bias"},
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
    {"bitnet", "hidden_act", "\"relu\"", "hidden_act 'relu'"},
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
    {"gpt2", "n_positions", "511", "'transformer.wpe.weight' is 512 x 64, not 511 x 64"},
    {"gpt2", "n_positions", "-1", "n_positions"},
    {"gpt2", "n_inner", "64", "'transformer.h.0.mlp.c_fc.weight' is 64 x 96, not 64 x 64"},
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
    {"mpt", "attn_config", "{\"clip_qkv\": -1}", "limited"},
    {"mpt", "attn_config", "7", "attn_config"},
    {"mpt", "no_bias", "false", "no_bias"},
    {"mpt", "expansion_ratio", "2", "expansion_ratio"},
    {"mpt", "logit_scale", "0.5", "logit_scale"},
    {"mpt", "norm_type", "\"rmsnorm\"", "norm_type"},
    {"falcon-rw", "alibi", "1", "alibi"},
    {"codegen", "n_head", "2", "no multiple of 4"},
    {"opt", "word_embed_proj_dim", "32", "word_embed_proj_dim"},
    {"opt", "max_position_embeddings", "511", "'model.decoder.embed_positions.weight' is 514 x 64, not 513 x 64"},
    {"opt", "enable_bias", "false", "there is no such bias"},
    {"opt-post", "layer_norm_elementwise_affine", "false", "layer_norm_elementwise_affine"},
    {"gpt_bigcode", "multi_query", "false", "is 96 x 64, not 192 x 64"},
};

START_TEST(impossible_configurations_are_refused)
{
    const char *const path = scratch_path("%s", refused[_i].type);
    arch_reference r = arch_make(refused[_i].type, path);
    session s;
    organ_error error;
    const char *const config = scratch_path("%s/config.json", refused[_i].type);
    json_t *const root = json_load_file(config, 0, NULL);
    ck_assert_int_eq(json_object_set_new(root, refused[_i].key, json_loads(refused[_i].value, JSON_DECODE_ANY, NULL)),
                     0);
    ck_assert_int_eq(json_dump_file(root, config, 0), 0);
    json_decref(root);
    ck_assert_int_eq(session_open(&s, path, 1, ROOMY, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, refused[_i].fragment) != NULL, "%s", error.message);
    session_close(&s);
    arch_reference_free(&r);
}
END_TEST

static const struct {
    const char *type, *key, *fragment;
} refused_keys[] = {
    {"olmo2", "key\tolmo2.attention.head_count_kv\t[u32]\t2,2", "no number for layer 2"},
    {"olmo2", "key\tolmo2.attention.head_count_kv\t[u32]\t2,2,2,0", "num_key_value_heads is 0"},
    {"olmo2", "key\tolmo2.attention.causal\tbool\t0", "olmo2.attention.causal"},
    {"olmo2", "key\tolmo2.attention.clamp_kqv\tf32\t8", "olmo2.attention.clamp_kqv"},
    {"olmo3", "key\tolmo2.rope.scaling.type\tstring\tyarm", "'yarm', which is not supported"},
    {"olmo3", "key\tolmo2.attention.sliding_window_pattern\t[bool]\t1,1,1", "no number for layer 3"},
    {"granite", "key\tgranite.residual_scale\tf32\t-1", "granite.residual_scale"},
    {"olmo2", "key\tolmo2.attention.temperature_scale\tf32\t0.1", "olmo2.attention.temperature_scale"},
    {"olmo2", "key\tolmo2.rope.scaling.yarn_log_multiplier\tf32\t1", "olmo2.rope.scaling.yarn_log_multiplier"},
    {"ministral3", "key\tmistral3.attention.temperature_scale\tf32\tinf", "queries are scaled with beta inf"},
    {"ministral3", "key\tmistral3.attention.temperature_length\tu32\t0", "by multiples of 0 positions"},
    {"ministral3", "key\tmistral3.rope.scaling.yarn_log_multiplier\tf32\tnan", "attention_factor"},
    {"apertus", "key\txielu.alpha_n\t[f32]\t1,1,1", "no number for layer 3"},
    {"apertus", "key\txielu.eps\tf32\t1", "'xielu.eps' is not an array"},
    {"cohere", "key\tcommand-r.logit_scale\tf32\t-1", "command-r.logit_scale"},
    {"nemotron", "key\tnemotron.attention.layer_norm_epsilon\tf32\t-1", "eps"},
    {"gpt_neox", "key\tgptneox.use_parallel_residual\tu32\t1", "not true or false"},
    {"olmo", "key\tolmo.attention.clamp_kqv\tf32\t-1", "not above 0"},
    {"gemma4_text-shared", "key\tgemma4.attention.shared_kv_layers\tu32\t8", "shared_kv_layers' is 8 of 8 layers"},
    {"gemma4_text-shared", "key\tgemma4.attention.shared_kv_layers\tu32\t7", "has keys and values for layer"},
    {"gemma4_text-shared", "key\tgemma4.embedding_length_per_layer_input\tu32\t65537", "is 65537, not up to 65536"},
    {"gemma4_text-dense", "key\tgemma4.attention.key_length_swa\tu32\t0", "keys of 0 and values of 16"},
    {"gemma4_text-dense", "key\tgemma4.rope.dimension_count_swa\tu32\t18", "18 of 16 dimensions"},
    {"gemma4_text-dense", "key\tgemma4.embedding_length_per_layer_input\tu32\t8",
     "per_layer_token_embd.weight' is missing"},
    {"mimo_v2_flash", "key\tmimo2.attention.value_length\tu32\t0", "v_head_dim is 0"},
    {"mimo_v2_flash", "key\tmimo2.attention.value_scale\tf32\tinf", "not finite"},
    {"deepseek_v32", "key\tdeepseek32.attention.indexer.top_k\tu32\t0", "index_topk is 0"},
    {"glm_moe_dsa", "key\tglm-dsa.attention.indexer.head_count\tu32\t5000", "index_n_heads is 5000"},
    {"glm_moe_dsa", "key\tglm-dsa.attention.indexer.key_length\tu32\t4", "index_head_dim is 4"},
};

START_TEST(impossible_keys_are_refused)
{
    const char *const path = scratch_path("%s.gguf", refused_keys[_i].type);
    arch_reference r = arch_make_gguf(refused_keys[_i].type, path, refused_keys[_i].key);
    session s;
    organ_error error;
    ck_assert_int_eq(session_open(&s, path, 1, ROOMY, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, refused_keys[_i].fragment) != NULL, "%s", error.message);
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
    suite_add_tcase(suite, cases);
    return suite;
}
