/* SPDX-License-Identifier: MIT
 * The table of architectures for conversions. The rows follow llama.cpp's converter (conversion/base.py and others);
 * docs/verbs/convert.md compares it with this program. */
#include "formats/architecture/pairing.h"

#include <string.h>

/* Tables are laid out by hand. */
/* clang-format off */

#define LLAMA "vocab_size rope.dimension_count"
#define MOE   "expert_feed_forward_length"
#define GRANITE LLAMA " attention.scale embedding_scale residual_scale logit_scale"
#define LATENT MOE " attention.head_count_kv attention.key_length attention.value_length vocab_size " \
    "attention.q_lora_rank attention.kv_lora_rank attention.key_length_mla attention.value_length_mla " \
    "leading_dense_block_count expert_shared_count expert_weights_scale rope.dimension_count " \
    "rope.scaling.yarn_log_multiplier"
#define LATENT_REST "{" SILU ", \"attention_bias\": false, \"scoring_func\": \"sigmoid\", " \
    "\"topk_method\": \"noaux_tc\"}"
#define INDEXER "attention.indexer.head_count attention.indexer.key_length attention.indexer.top_k"
#define LFM2  "vocab_size attention.head_count_kv:layers attention.layer_norm_rms_epsilon:eps shortconv.l_cache"
#define MAMBA "context_length:million feed_forward_length:none attention.head_count:none " \
    "attention.layer_norm_rms_epsilon:eps " \
    "ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank"
#define SSM "ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank ssm.group_count"
#define HYBRID "vocab_size rope.dimension_count rope.scaling.finetuned attention.head_count_kv:layers " SSM
#define DELTA SSM " attention.recurrent_layers full_attention_interval rope.dimension_count"
/* For architectures whose config.json seldom states the width of the feed-forward, 4 x hidden size. */
#define FOUR_TIMES "feed_forward_length:feed"
#define BAILING MOE " vocab_size attention.head_count_kv:layers attention.key_length attention.value_length:kda " \
    "attention.q_lora_rank attention.kv_lora_rank attention.key_length_mla attention.value_length_mla " \
    "rope.dimension_count leading_dense_block_count:counted expert_shared_count " \
    "expert_shared_feed_forward_length:shared " \
    "expert_weights_scale expert_weights_norm:normed expert_gating_func expert_group_count:counted " \
    "expert_group_used_count:counted ssm.conv_kernel kda.head_dim kda.safe_gate kda.gate_lower_bound"
#define SILU  "\"hidden_act\": \"silu\""

/* A row is {architecture, gguf, keys, model_type, when, rest, traits}. */
const forward_pairing organ_pairing_rows[] = {
    {"MixtralForCausalLM", "llama", LLAMA, "mixtral", "expert_count", "{" SILU "}", PAIRING_TENSOR_SCALES},
    {"LlamaForCausalLM", "llama", LLAMA, "llama", NULL, "{" SILU ", \"attention_bias\": false, \"mlp_bias\": false}",
     0},
    {"MistralForCausalLM", "llama", LLAMA, NULL, NULL, NULL, 0},
    {"InternLM3ForCausalLM", "llama", LLAMA, NULL, NULL, NULL, 0},
    {"IQuestCoderForCausalLM", "llama", LLAMA, NULL, NULL, NULL, 0},
    {"Qwen2ForCausalLM", "qwen2", "", "qwen2", NULL, "{" SILU ", \"use_sliding_window\": false}", PAIRING_FULL_HEADS},
    {"Qwen3ForCausalLM", "qwen3", "", "qwen3", NULL,
     "{" SILU ", \"use_sliding_window\": false, \"attention_bias\": false}", PAIRING_TENSOR_SCALES},
    {"Qwen2MoeForCausalLM", "qwen2moe", MOE " expert_shared_feed_forward_length", "qwen2_moe", NULL,
     "{" SILU ", \"norm_topk_prob\": false, \"decoder_sparse_step\": 1, \"mlp_only_layers\": [], "
     "\"use_sliding_window\": false}", PAIRING_FULL_HEADS},
    {"Qwen3MoeForCausalLM", "qwen3moe", MOE, "qwen3_moe", NULL,
     "{" SILU ", \"norm_topk_prob\": true, \"decoder_sparse_step\": 1, \"mlp_only_layers\": [], "
     "\"use_sliding_window\": false, \"attention_bias\": false}", PAIRING_TENSOR_SCALES},
    {"GemmaForCausalLM", "gemma", "", "gemma", NULL, "{\"hidden_activation\": \"gelu_pytorch_tanh\"}",
     PAIRING_NORMS_PLUS_ONE},
    {"Gemma2ForCausalLM", "gemma2", "attn_logit_softcapping final_logit_softcapping attention.sliding_window",
     "gemma2", NULL, "{\"hidden_activation\": \"gelu_pytorch_tanh\"}", PAIRING_NORMS_PLUS_ONE},
    {"Gemma3ForCausalLM", "gemma3", "final_logit_softcapping attention.sliding_window", "gemma3_text", NULL,
     "{\"hidden_activation\": \"gelu_pytorch_tanh\"}", PAIRING_NORMS_PLUS_ONE},
    {"Gemma4ForCausalLM", "gemma4",
     MOE " final_logit_softcapping:set attention.sliding_window attention.sliding_window_pattern "
     "attention.shared_kv_layers embedding_length_per_layer_input attention.key_length:full "
     "attention.value_length:full attention.key_length_swa attention.value_length_swa rope.dimension_count "
     "rope.dimension_count_swa attention.head_count_kv:differing feed_forward_length:differing", "gemma4_text", NULL,
     "{\"hidden_activation\": \"gelu_pytorch_tanh\"}", 0},
    {"Phi3ForCausalLM", "phi3",
     "rope.dimension_count rope.scaling.original_context_length rope.scaling.attn_factor "
     "attention.sliding_window", "phi3", NULL,
     "{" SILU "}", PAIRING_FULL_HEADS},
    {"Olmo3ForCausalLM", "olmo2", "attention.sliding_window attention.sliding_window_pattern", "olmo3",
     "attention.sliding_window", "{" SILU ", \"attention_bias\": false}", 0},
    {"Olmo2ForCausalLM", "olmo2", "", "olmo2", NULL, "{" SILU ", \"attention_bias\": false}", 0},
    {"OlmoeForCausalLM", "olmoe", "", "olmoe", NULL,
     "{" SILU ", \"attention_bias\": false, \"norm_topk_prob\": false}", 0},
    {"SmolLM3ForCausalLM", "smollm3", LLAMA, "smollm3", NULL,
     "{" SILU ", \"attention_bias\": false, \"mlp_bias\": false, \"no_rope_layer_interval\": 4}", 0},
    {"SeedOssForCausalLM", "seed_oss", "", "seed_oss", NULL, "{" SILU "}", 0},
    {"GraniteForCausalLM", "granite",
     GRANITE, "granite", NULL,
     "{" SILU ", \"attention_bias\": false, \"mlp_bias\": false}", 0},
    {"Dots1ForCausalLM", "dots1",
     MOE " leading_dense_block_count expert_shared_count expert_gating_func expert_weights_scale expert_weights_norm",
     "dots1", NULL,
     "{" SILU ", \"attention_bias\": false}", 0},
    {"Glm4MoeForCausalLM", "glm4moe",
     MOE " rope.dimension_count leading_dense_block_count expert_shared_count expert_gating_func expert_weights_scale "
     "expert_weights_norm nextn_predict_layers", "glm4_moe", NULL, "{" SILU "}", 0},
    {"ArceeForCausalLM", "arcee", LLAMA, "arcee", NULL,
     "{\"hidden_act\": \"relu2\", \"attention_bias\": false, \"mlp_bias\": false}", 0},
    {"Ernie4_5ForCausalLM", "ernie4_5", "", "ernie4_5", NULL, "{" SILU ", \"use_bias\": false}", 0},
    {"Exaone4ForCausalLM", "exaone4", "vocab_size attention.sliding_window attention.sliding_window_pattern", "exaone4",
     NULL, "{" SILU "}", 0},
    {"ExaoneMoeForCausalLM", "exaone-moe",
     MOE " vocab_size attention.sliding_window attention.sliding_window_pattern expert_shared_count "
     "expert_shared_feed_forward_length:shared leading_dense_block_count expert_gating_func expert_weights_scale "
     "expert_weights_norm nextn_predict_layers rope.scaling.type", "exaone_moe", NULL, "{" SILU "}", 0},
    {"GraniteMoeSharedForCausalLM", "granitemoe", GRANITE " expert_shared_feed_forward_length", "granitemoeshared",
     "expert_shared_feed_forward_length", "{" SILU ", \"attention_bias\": false}", 0},
    {"GraniteMoeForCausalLM", "granitemoe", GRANITE, "granitemoe", NULL,
     "{" SILU ", \"attention_bias\": false}", 0},
    {"Glm4ForCausalLM", "glm4", "rope.dimension_count", "glm4", NULL, "{" SILU "}", 0},
    {"CohereForCausalLM", "command-r", "logit_scale rope.scaling.type", "cohere", NULL,
     "{" SILU ", \"attention_bias\": false}", 0},
    {"PhiForCausalLM", "phi2", "rope.dimension_count", "phi", NULL, "{\"hidden_act\": \"gelu_new\"}", 0},
    {"NemotronForCausalLM", "nemotron",
     LLAMA " attention.layer_norm_epsilon attention.layer_norm_rms_epsilon rope.scaling.type", "nemotron", NULL,
     "{\"hidden_act\": \"relu2\", \"attention_bias\": false, \"mlp_bias\": false}", PAIRING_NORMS_PLUS_ONE},
    {"OlmoForCausalLM", "olmo", "attention.layer_norm_epsilon attention.clamp_kqv", "olmo", NULL,
     "{" SILU ", \"attention_bias\": false}", 0},
    {"StableLmForCausalLM", "stablelm", "rope.dimension_count use_parallel_residual", "stablelm", NULL, "{" SILU "}",
     0},
    {"HYV3ForCausalLM", "hy_v3",
     MOE " expert_shared_feed_forward_length:shared expert_weights_norm:normed expert_weights_scale "
     "expert_gating_func", "hy_v3",
     NULL, "{" SILU ", \"attention_bias\": false, \"mlp_bias\": false}", 0},
    {"GptOssForCausalLM", "gpt-oss", MOE " attention.sliding_window", "gpt_oss", NULL,
     "{" SILU ", \"attention_bias\": true, \"swiglu_limit\": 7.0}", 0},
    {"GPT2LMHeadModel", "gpt2", FOUR_TIMES, "gpt2", NULL, "{\"activation_function\": \"gelu_new\"}", 0},
    {"GPTBigCodeForCausalLM", "starcoder", FOUR_TIMES " attention.head_count_kv:heads", "gpt_bigcode", NULL,
     "{\"activation_function\": \"gelu_pytorch_tanh\", \"multi_query\": true}", 0},
    {"GPTNeoXForCausalLM", "gptneox", "rope.dimension_count use_parallel_residual", "gpt_neox", NULL,
     "{\"hidden_act\": \"gelu\"}", 0},
    {"BloomForCausalLM", "bloom", FOUR_TIMES " context_length:longest attention.head_count_kv:heads", "bloom", NULL,
     "{\"apply_residual_connection_post_layernorm\": false}", 0},
    {"FalconForCausalLM", "falcon",
     FOUR_TIMES " context_length:longest attention.head_count_kv:heads tensor_data_layout", "falcon", NULL,
     "{\"alibi\": false, \"parallel_attn\": true}", 0},
    {"MptForCausalLM", "mpt",
     FOUR_TIMES " attention.layer_norm_epsilon attention.max_alibi_bias attention.clamp_kqv:limit", "mpt", NULL, "{}",
     0},
    {"Cohere2ForCausalLM", "cohere2",
     LLAMA " logit_scale attention.sliding_window rope.scaling.type", "cohere2", NULL,
     "{" SILU ", \"attention_bias\": false}", PAIRING_TENSOR_SCALES},
    {"AfmoeForCausalLM", "afmoe",
     LLAMA " " MOE " expert_shared_count leading_dense_block_count expert_weights_norm:normed expert_weights_scale "
     "attention.sliding_window", "afmoe", NULL,
     "{" SILU ", \"score_func\": \"sigmoid\", \"n_group\": 1, \"topk_group\": 1, \"mup_enabled\": true}", 0},
    {"MiniMaxM2ForCausalLM", "minimax-m2", MOE " rope.dimension_count expert_gating_func", "minimax_m2", NULL,
     "{" SILU "}", 0},
    {"Ernie4_5_MoeForCausalLM", "ernie4_5-moe",
     MOE " expert_shared_count expert_shared_feed_forward_length:shared interleave_moe_layer_step "
     "leading_dense_block_count:start",
     "ernie4_5_moe", NULL, "{" SILU "}", 0},
    {"YoutuForCausalLM", "deepseek2",
     LATENT " leading_dense_block_count:counted expert_feed_forward_length:feed expert_shared_count:none", "youtu",
     "!expert_count",
     "{" SILU "}", 0},
    {"DeepseekV3ForCausalLM", "deepseek2", LATENT " expert_weights_norm expert_gating_func", "deepseek_v3",
     "expert_weights_norm", LATENT_REST, 0},
    {"Glm4MoeLiteForCausalLM", "deepseek2",
     LATENT " expert_weights_norm expert_gating_func leading_dense_block_count:counted", NULL, NULL, NULL, 0},
    {"DeepseekV2ForCausalLM", "deepseek2", LATENT, "deepseek_v2", NULL,
     "{" SILU ", \"attention_bias\": false, \"scoring_func\": \"softmax\", \"norm_topk_prob\": false, "
     "\"topk_method\": \"group_limited_greedy\"}", 0},
    {"DeepseekV32ForCausalLM", "deepseek32",
     LATENT " expert_weights_norm expert_gating_func " INDEXER, "deepseek_v32", NULL, LATENT_REST, 0},
    {"GlmMoeDsaForCausalLM", "glm-dsa",
     LATENT " expert_weights_norm expert_gating_func leading_dense_block_count:counted attention.indexer.types "
     INDEXER,
     "glm_moe_dsa", NULL, LATENT_REST, 0},
    {"Mistral4ForCausalLM", "mistral4", LATENT " expert_weights_norm attention.temperature_scale", "mistral4", NULL,
     "{" SILU ", \"attention_bias\": false}", 0},
    {"SolarOpenForCausalLM", "glm4moe",
     MOE " rope.dimension_count leading_dense_block_count expert_shared_count expert_gating_func expert_weights_scale "
     "expert_weights_norm", NULL, NULL, NULL, 0},
    {"Ministral3ForCausalLM", "mistral3",
     LLAMA " attention.temperature_scale rope.scaling.yarn_log_multiplier:whole", "ministral3", NULL, "{" SILU "}",
     PAIRING_TENSOR_SCALES},
    {"HunYuanDenseV1ForCausalLM", "hunyuan-dense", "rope.freq_base:base", "hunyuan_v1_dense", NULL, "{" SILU "}",
     0},
    {"HunYuanMoEV1ForCausalLM", "hunyuan-moe",
     "rope.freq_base:base expert_feed_forward_length expert_shared_feed_forward_length:shared expert_shared_count:one",
     "hunyuan_v1_moe", NULL,
     "{" SILU ", \"norm_topk_prob\": true, \"use_qk_norm\": true, \"use_cla\": false}", 0},
    {"MiMoV2FlashForCausalLM", "mimo2",
     MOE " attention.head_count_kv:layers attention.value_length:value attention.value_scale attention.sliding_window "
     "attention.sliding_window_pattern:numbers rope.dimension_count expert_weights_norm expert_weights_scale "
     "expert_gating_func", "mimo_v2_flash", NULL,
     "{" SILU ", \"scoring_func\": \"sigmoid\", \"topk_method\": \"noaux_tc\"}", 0},
    {"Lfm2ForCausalLM", "lfm2", LFM2 " feed_forward_length:feed", "lfm2", NULL,
     "{\"block_auto_adjust_ff_dim\": false}", 0},
    {"Lfm2MoeForCausalLM", "lfm2moe", LFM2 " " MOE " leading_dense_block_count expert_gating_func", "lfm2_moe", NULL,
     "{\"use_expert_bias\": true}", 0},
    {"FalconMambaForCausalLM", "mamba", MAMBA " ssm.dt_b_c_rms:true", "falcon_mamba", "ssm.dt_b_c_rms",
     "{" SILU "}", 0},
    {"MambaForCausalLM", "mamba", MAMBA " ssm.dt_b_c_rms", "mamba", NULL, "{" SILU "}", 0},
    {"Mamba2ForCausalLM", "mamba2", MAMBA " ssm.group_count", "mamba2", NULL, "{" SILU "}", 0},
    {"GraniteMoeHybridForCausalLM", "granitehybrid",
     HYBRID " feed_forward_length:feed attention.scale embedding_scale residual_scale logit_scale "
     "expert_shared_feed_forward_length", "granitemoehybrid", "embedding_scale", "{" SILU "}", 0},
    {"BambaForCausalLM", "granitehybrid", HYBRID, "bamba", NULL, "{" SILU "}", 0},
    {"NemotronHForCausalLM", "nemotron_h_moe",
     HYBRID " " MOE " block_count:counted feed_forward_length:layers attention.layer_norm_epsilon expert_shared_count "
     "expert_shared_feed_forward_length expert_weights_norm expert_weights_scale moe_latent_size", "nemotron_h", NULL,
     "{\"mlp_hidden_act\": \"relu2\", \"mamba_hidden_act\": \"silu\"}", 0},
    {"NemotronHForCausalLM", "nemotron_h",
     HYBRID " block_count:counted feed_forward_length:layers attention.layer_norm_epsilon", "nemotron_h", NULL,
     "{\"mlp_hidden_act\": \"relu2\", \"mamba_hidden_act\": \"silu\"}", 0},
    {"JambaForCausalLM", "jamba",
     "attention.head_count_kv:layers ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank", "jamba", NULL,
     "{" SILU "}", 0},
    {"KimiLinearForCausalLM", "kimi-linear",
     MOE " vocab_size attention.head_count_kv:layers attention.key_length attention.q_lora_rank attention.kv_lora_rank "
     "attention.key_length_mla attention.value_length_mla rope.dimension_count leading_dense_block_count:counted "
     "expert_shared_count expert_weights_scale expert_gating_func ssm.conv_kernel kda.head_dim", "kimi_linear", NULL,
     "{" SILU ", \"mla_use_nope\": true, \"moe_router_activation_func\": \"sigmoid\"}", 0},
    {"BailingHybridForCausalLM", "bailingmoe3", BAILING, "bailing_hybrid", NULL, "{" SILU "}", 0},
    {"BailingMoeV3ForCausalLM", "bailingmoe3", BAILING, NULL, NULL, NULL, 0},
    {"MiniMaxForCausalLM", "minimax-01", "rope.dimension_count residual_scale:alpha "
     "attention.recurrent_layers:differing", "minimax",
     NULL, "{" SILU "}", 0},
    {"Qwen3NextForCausalLM", "qwen3next", DELTA " " MOE " expert_shared_feed_forward_length", "qwen3_next", NULL,
     "{" SILU ", \"decoder_sparse_step\": 1, \"mlp_only_layers\": []}", PAIRING_NORMS_PLUS_ONE | PAIRING_TENSOR_SCALES},
    {"Qwen3_5ForCausalLM", "qwen35", DELTA " rope.dimension_sections", "qwen3_5_text", NULL, "{" SILU "}",
     PAIRING_NORMS_PLUS_ONE | PAIRING_TENSOR_SCALES},
    {"Qwen3_5MoeForCausalLM", "qwen35moe",
     DELTA " rope.dimension_sections " MOE " expert_shared_feed_forward_length", "qwen3_5_moe_text", NULL,
     "{" SILU "}",
     PAIRING_NORMS_PLUS_ONE | PAIRING_TENSOR_SCALES},
    {"FalconH1ForCausalLM", "falcon-h1", "vocab_size attention.key_length:head attention.value_length:head " SSM,
     "falcon_h1", NULL,
     "{" SILU ", \"attention_bias\": false, \"mlp_bias\": false, \"embedding_multiplier\": 1.0, "
     "\"lm_head_multiplier\": 1.0, \"key_multiplier\": 1.0, \"attention_in_multiplier\": 1.0, "
     "\"attention_out_multiplier\": 1.0, \"ssm_in_multiplier\": 1.0, \"ssm_out_multiplier\": 1.0, "
     "\"mlp_multipliers\": [1.0, 1.0], \"ssm_multipliers\": [1.0, 1.0, 1.0, 1.0, 1.0]}", 0},
    {"Jais2ForCausalLM", "jais2", "rope.dimension_count", "jais2", NULL, "{\"hidden_act\": \"relu2\"}", 0},
    {"ApertusForCausalLM", "apertus", LLAMA " xielu.alpha_p xielu.alpha_n xielu.beta xielu.eps", "apertus", NULL,
     "{\"hidden_act\": \"xielu\"}", 0},
    {"Llama4ForCausalLM", "llama4", LLAMA " " MOE " interleave_moe_layer_step", "llama4_text", NULL,
     "{" SILU ", \"no_rope_layer_interval\": 4, \"attention_chunk_size\": 8192, \"attn_temperature_tuning\": true, "
     "\"attn_scale\": 0.1, \"floor_scale\": 8192}", 0},
    {"Gemma3nForCausalLM", "gemma3n",
     "final_logit_softcapping attention.sliding_window attention.sliding_window_pattern feed_forward_length:layers "
     "attention.shared_kv_layers embedding_length_per_layer_input altup.num_inputs altup.active_idx "
     "activation_sparsity_scale", "gemma3n_text", NULL,
     "{\"hidden_activation\": \"gelu_pytorch_tanh\"}", 0},
    {"LagunaForCausalLM", "laguna",
     "vocab_size attention.head_count:layers attention.sliding_window " MOE " expert_shared_feed_forward_length "
     "expert_weights_norm:normed expert_weights_scale expert_gating_func leading_dense_block_count:counted "
     "rope.dimension_count "
     "rope.dimension_count_swa", "laguna", NULL,
     "{" SILU ", \"moe_apply_router_weight_on_input\": false, \"moe_router_logit_softcapping\": 0.0}", 0},
    {"Step3p7ForConditionalGeneration", "step35",
     "attention.head_count:layers attention.sliding_window "
     "attention.sliding_window_pattern " MOE " expert_shared_feed_forward_length:shared expert_weights_norm:normed "
     "expert_weights_scale expert_gating_func leading_dense_block_count:counted swiglu_clamp_exp swiglu_clamp_shexp",
     NULL, NULL, NULL, PAIRING_NORMS_PLUS_ONE},
    {"MiniMaxM3SparseForConditionalGeneration", "minimax-m3",
     "rope.dimension_count " MOE " expert_shared_count:wide expert_weights_norm:normed expert_weights_scale "
     "expert_gating_func leading_dense_block_count:counted attention.indexer.head_count:blocks "
     "attention.indexer.key_length:blocks attention.indexer.top_k:blocks attention.indexer.block_size "
     "attention.indexer.local_blocks", NULL, NULL, NULL, PAIRING_NORMS_PLUS_ONE},
    {"MellumForCausalLM", "mellum", MOE " attention.sliding_window attention.sliding_window_pattern", "mellum", NULL,
     "{" SILU "}", 0},
    {"Cohere2MoeForCausalLM", "cohere2moe",
     LLAMA " " MOE " logit_scale attention.sliding_window attention.sliding_window_pattern "
     "leading_dense_block_count:counted "
     "expert_weights_norm expert_gating_func expert_shared_count expert_shared_feed_forward_length:shared "
     "rope.scaling.type",
     "cohere2_moe", NULL,
     "{" SILU ", \"shared_expert_combination_strategy\": \"average\", "
     "\"prefix_dense_sliding_window_pattern\": 1}", 0},
    {"GlmForCausalLM", "chatglm", "rope.dimension_count", "glm", NULL, "{" SILU "}", 0},
    {"Qwen3VLMoeForConditionalGeneration", "qwen3vlmoe", MOE " rope.dimension_sections:qwen3vl n_deepstack_layers",
     NULL, NULL, NULL, 0},
    {"Qwen3VLMoeForConditionalGeneration", "qwen3moe", MOE, NULL, NULL, NULL, 0}, /* files of organ 0.3 and before */
    {"Qwen2ForCausalLM", "qwen2vl", "rope.dimension_sections:qwen2vl", NULL, NULL, NULL, 0},
    {"Qwen3ForCausalLM", "qwen3vl", "rope.dimension_sections:qwen3vl n_deepstack_layers", NULL, NULL, NULL, 0},
    {"Qwen2ForCausalLM", "qwen2vl", "", "qwen2", NULL, "{" SILU ", \"use_sliding_window\": false}", 0},
    {"Qwen3ForCausalLM", "qwen3vl", "", "qwen3", NULL,
     "{" SILU ", \"use_sliding_window\": false, \"attention_bias\": false}", 0},
    {"Qwen3MoeForCausalLM", "qwen3vlmoe", MOE, "qwen3_moe", NULL,
     "{" SILU ", \"norm_topk_prob\": true, \"decoder_sparse_step\": 1, \"mlp_only_layers\": [], "
     "\"use_sliding_window\": false, \"attention_bias\": false}", 0},
    {"ExaoneForCausalLM", "exaone", "attention.layer_norm_rms_epsilon:named rope.dimension_count", "exaone", NULL,
     "{\"activation_function\": \"silu\"}", 0},
    {"DbrxForCausalLM", "dbrx",
     FOUR_TIMES " attention.head_count_kv:heads rope.freq_base:base attention.clamp_kqv:limit expert_count:experts "
     "expert_used_count:used "
     "attention.layer_norm_epsilon", "dbrx", NULL, "{}", 0},
    {"Starcoder2ForCausalLM", "starcoder2", "", "starcoder2", NULL,
     "{\"hidden_act\": \"gelu_pytorch_tanh\", \"use_bias\": true}", 0},
    {0}};
/* clang-format on */

const forward_pairing *organ_pairing_of_type(const char *model_type)
{
    for (const forward_pairing *row = organ_pairing_rows; row->architecture; row++)
        if (row->model_type && strcmp(row->model_type, model_type) == 0)
            return row;
    return NULL;
}

bool organ_pairing_has_trait(const char *gguf_architecture, pairing_trait trait)
{
    for (const forward_pairing *row = organ_pairing_rows; row->architecture; row++)
        if (strcmp(row->gguf, gguf_architecture) == 0 && row->traits & trait)
            return true;
    return false;
}

bool organ_pairing_has_tensor_scale(const char *name)
{
    static const char *const matrices[] = {"attn_q.", "attn_k.",   "attn_v.",        "attn_output.", "ffn_gate.",
                                           "ffn_up.", "ffn_down.", "ffn_gate_exps.", "ffn_up_exps.", "ffn_down_exps."};
    const char *const dot = strchr(name, '.'), *const part = dot ? strchr(dot + 1, '.') : NULL;
    for (size_t k = 0; part && k < sizeof matrices / sizeof *matrices; k++)
        if (strncmp(part + 1, matrices[k], strlen(matrices[k])) == 0 &&
            strcmp(part + 1 + strlen(matrices[k]), "weight") == 0)
            return strncmp(name, "blk.", strlen("blk.")) == 0;
    return false;
}
