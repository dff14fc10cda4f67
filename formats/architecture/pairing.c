/* SPDX-License-Identifier: MIT
 * The table of architectures for conversions, and functions that find its rows and the parts of names. The rows follow
 * llama.cpp's converter (conversion/base.py and others); docs/verbs/convert.md compares it with this program. */
#include "formats/architecture/pairing.h"

#include "formats/architecture/family_rows.h"

#include "formats/architecture/families.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

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
#define SILU  "\"hidden_act\": \"silu\""

/* A row is {architecture, gguf, keys, model_type, when, rest, norms_plus_one}. */
static const forward_pairing rows[] = {
    {"MixtralForCausalLM", "llama", LLAMA, "mixtral", "expert_count", "{" SILU "}", false},
    {"LlamaForCausalLM", "llama", LLAMA, "llama", NULL, "{" SILU ", \"attention_bias\": false, \"mlp_bias\": false}",
     false},
    {"MistralForCausalLM", "llama", LLAMA, NULL, NULL, NULL, false},
    {"InternLM3ForCausalLM", "llama", LLAMA, NULL, NULL, NULL, false},
    {"IQuestCoderForCausalLM", "llama", LLAMA, NULL, NULL, NULL, false},
    {"Qwen2ForCausalLM", "qwen2", "", "qwen2", NULL, "{" SILU ", \"use_sliding_window\": false}", false},
    {"Qwen3ForCausalLM", "qwen3", "", "qwen3", NULL,
     "{" SILU ", \"use_sliding_window\": false, \"attention_bias\": false}", false},
    {"Qwen2MoeForCausalLM", "qwen2moe", MOE " expert_shared_feed_forward_length", "qwen2_moe", NULL,
     "{" SILU ", \"norm_topk_prob\": false, \"decoder_sparse_step\": 1, \"mlp_only_layers\": [], "
     "\"use_sliding_window\": false}", false},
    {"Qwen3MoeForCausalLM", "qwen3moe", MOE, "qwen3_moe", NULL,
     "{" SILU ", \"norm_topk_prob\": true, \"decoder_sparse_step\": 1, \"mlp_only_layers\": [], "
     "\"use_sliding_window\": false, \"attention_bias\": false}", false},
    {"GemmaForCausalLM", "gemma", "", "gemma", NULL, "{\"hidden_activation\": \"gelu_pytorch_tanh\"}", true},
    {"Gemma2ForCausalLM", "gemma2", "attn_logit_softcapping final_logit_softcapping attention.sliding_window",
     "gemma2", NULL, "{\"hidden_activation\": \"gelu_pytorch_tanh\"}", true},
    {"Gemma3ForCausalLM", "gemma3", "final_logit_softcapping attention.sliding_window", "gemma3_text", NULL,
     "{\"hidden_activation\": \"gelu_pytorch_tanh\"}", true},
    {"Gemma4ForCausalLM", "gemma4",
     MOE " final_logit_softcapping:set attention.sliding_window attention.sliding_window_pattern "
     "attention.shared_kv_layers embedding_length_per_layer_input attention.key_length:full "
     "attention.value_length:full attention.key_length_swa attention.value_length_swa rope.dimension_count "
     "rope.dimension_count_swa attention.head_count_kv:differing feed_forward_length:differing", "gemma4_text", NULL,
     "{\"hidden_activation\": \"gelu_pytorch_tanh\"}", false},
    {"Phi3ForCausalLM", "phi3",
     "rope.dimension_count rope.scaling.original_context_length rope.scaling.attn_factor "
     "attention.sliding_window", "phi3", NULL,
     "{" SILU "}", false},
    {"Olmo3ForCausalLM", "olmo2", "attention.sliding_window attention.sliding_window_pattern", "olmo3",
     "attention.sliding_window", "{" SILU ", \"attention_bias\": false}", false},
    {"Olmo2ForCausalLM", "olmo2", "", "olmo2", NULL, "{" SILU ", \"attention_bias\": false}", false},
    {"OlmoeForCausalLM", "olmoe", "", "olmoe", NULL,
     "{" SILU ", \"attention_bias\": false, \"norm_topk_prob\": false}", false},
    {"SmolLM3ForCausalLM", "smollm3", LLAMA, "smollm3", NULL,
     "{" SILU ", \"attention_bias\": false, \"mlp_bias\": false, \"no_rope_layer_interval\": 4}", false},
    {"SeedOssForCausalLM", "seed_oss", "", "seed_oss", NULL, "{" SILU "}", false},
    {"GraniteForCausalLM", "granite",
     GRANITE, "granite", NULL,
     "{" SILU ", \"attention_bias\": false, \"mlp_bias\": false}", false},
    {"Dots1ForCausalLM", "dots1",
     MOE " leading_dense_block_count expert_shared_count expert_gating_func expert_weights_scale expert_weights_norm",
     "dots1", NULL,
     "{" SILU ", \"attention_bias\": false}", false},
    {"Glm4MoeForCausalLM", "glm4moe",
     MOE " rope.dimension_count leading_dense_block_count expert_shared_count expert_gating_func expert_weights_scale "
     "expert_weights_norm nextn_predict_layers", "glm4_moe", NULL, "{" SILU "}", false},
    {"ArceeForCausalLM", "arcee", LLAMA, "arcee", NULL,
     "{\"hidden_act\": \"relu2\", \"attention_bias\": false, \"mlp_bias\": false}", false},
    {"Ernie4_5ForCausalLM", "ernie4_5", "", "ernie4_5", NULL, "{" SILU ", \"use_bias\": false}", false},
    {"Exaone4ForCausalLM", "exaone4", "vocab_size attention.sliding_window attention.sliding_window_pattern", "exaone4",
     NULL, "{" SILU "}", false},
    {"ExaoneMoeForCausalLM", "exaone-moe",
     MOE " vocab_size attention.sliding_window attention.sliding_window_pattern expert_shared_count "
     "expert_shared_feed_forward_length:shared leading_dense_block_count expert_gating_func expert_weights_scale "
     "expert_weights_norm nextn_predict_layers rope.scaling.type", "exaone_moe", NULL, "{" SILU "}", false},
    {"GraniteMoeSharedForCausalLM", "granitemoe", GRANITE " expert_shared_feed_forward_length", "granitemoeshared",
     "expert_shared_feed_forward_length", "{" SILU ", \"attention_bias\": false}", false},
    {"GraniteMoeForCausalLM", "granitemoe", GRANITE, "granitemoe", NULL,
     "{" SILU ", \"attention_bias\": false}", false},
    {"Glm4ForCausalLM", "glm4", "rope.dimension_count", "glm4", NULL, "{" SILU "}", false},
    {"CohereForCausalLM", "command-r", "logit_scale rope.scaling.type", "cohere", NULL,
     "{" SILU ", \"attention_bias\": false}", false},
    {"PhiForCausalLM", "phi2", "rope.dimension_count", "phi", NULL, "{\"hidden_act\": \"gelu_new\"}", false},
    {"NemotronForCausalLM", "nemotron",
     LLAMA " attention.layer_norm_epsilon attention.layer_norm_rms_epsilon rope.scaling.type", "nemotron", NULL,
     "{\"hidden_act\": \"relu2\", \"attention_bias\": false, \"mlp_bias\": false}", true},
    {"OlmoForCausalLM", "olmo", "attention.layer_norm_epsilon attention.clamp_kqv", "olmo", NULL,
     "{" SILU ", \"attention_bias\": false}", false},
    {"StableLmForCausalLM", "stablelm", "rope.dimension_count use_parallel_residual", "stablelm", NULL, "{" SILU "}",
     false},
    {"HYV3ForCausalLM", "hy_v3",
     MOE " expert_shared_feed_forward_length:shared expert_weights_norm:normed expert_weights_scale "
     "expert_gating_func", "hy_v3",
     NULL, "{" SILU ", \"attention_bias\": false, \"mlp_bias\": false}", false},
    {"GptOssForCausalLM", "gpt-oss", MOE " attention.sliding_window", "gpt_oss", NULL,
     "{" SILU ", \"attention_bias\": true, \"swiglu_limit\": 7.0}", false},
    {"GPT2LMHeadModel", "gpt2", FOUR_TIMES, "gpt2", NULL, "{\"activation_function\": \"gelu_new\"}", false},
    {"GPTBigCodeForCausalLM", "starcoder", FOUR_TIMES " attention.head_count_kv:heads", "gpt_bigcode", NULL,
     "{\"activation_function\": \"gelu_pytorch_tanh\", \"multi_query\": true}", false},
    {"GPTNeoXForCausalLM", "gptneox", "rope.dimension_count use_parallel_residual", "gpt_neox", NULL,
     "{\"hidden_act\": \"gelu\"}", false},
    {"BloomForCausalLM", "bloom", FOUR_TIMES " context_length:longest attention.head_count_kv:heads", "bloom", NULL,
     "{\"apply_residual_connection_post_layernorm\": false}", false},
    {"FalconForCausalLM", "falcon",
     FOUR_TIMES " context_length:longest attention.head_count_kv:heads tensor_data_layout", "falcon", NULL,
     "{\"alibi\": false, \"parallel_attn\": true}", false},
    {"MptForCausalLM", "mpt",
     FOUR_TIMES " attention.layer_norm_epsilon attention.max_alibi_bias attention.clamp_kqv:limit", "mpt", NULL, "{}",
     false},
    {"Cohere2ForCausalLM", "cohere2",
     LLAMA " logit_scale attention.sliding_window rope.scaling.type", "cohere2", NULL,
     "{" SILU ", \"attention_bias\": false}", false},
    {"AfmoeForCausalLM", "afmoe",
     LLAMA " " MOE " expert_shared_count leading_dense_block_count expert_weights_norm:normed expert_weights_scale "
     "attention.sliding_window", "afmoe", NULL,
     "{" SILU ", \"score_func\": \"sigmoid\", \"n_group\": 1, \"topk_group\": 1, \"mup_enabled\": true}", false},
    {"MiniMaxM2ForCausalLM", "minimax-m2", MOE " rope.dimension_count expert_gating_func", "minimax_m2", NULL,
     "{" SILU "}", false},
    {"Ernie4_5_MoeForCausalLM", "ernie4_5-moe",
     MOE " expert_shared_count expert_shared_feed_forward_length:shared interleave_moe_layer_step "
     "leading_dense_block_count:start",
     "ernie4_5_moe", NULL, "{" SILU "}", false},
    {"YoutuForCausalLM", "deepseek2",
     LATENT " leading_dense_block_count:counted expert_feed_forward_length:feed expert_shared_count:none", "youtu",
     "!expert_count",
     "{" SILU "}", false},
    {"DeepseekV3ForCausalLM", "deepseek2", LATENT " expert_weights_norm expert_gating_func", "deepseek_v3",
     "expert_weights_norm", LATENT_REST, false},
    {"Glm4MoeLiteForCausalLM", "deepseek2",
     LATENT " expert_weights_norm expert_gating_func leading_dense_block_count:counted", NULL, NULL, NULL, false},
    {"DeepseekV2ForCausalLM", "deepseek2", LATENT, "deepseek_v2", NULL,
     "{" SILU ", \"attention_bias\": false, \"scoring_func\": \"softmax\", \"norm_topk_prob\": false, "
     "\"topk_method\": \"group_limited_greedy\"}", false},
    {"DeepseekV32ForCausalLM", "deepseek32",
     LATENT " expert_weights_norm expert_gating_func " INDEXER, "deepseek_v32", NULL, LATENT_REST, false},
    {"GlmMoeDsaForCausalLM", "glm-dsa",
     LATENT " expert_weights_norm expert_gating_func leading_dense_block_count:counted attention.indexer.types "
     INDEXER,
     "glm_moe_dsa", NULL, LATENT_REST, false},
    {"Mistral4ForCausalLM", "mistral4", LATENT " expert_weights_norm attention.temperature_scale", "mistral4", NULL,
     "{" SILU ", \"attention_bias\": false}", false},
    {"SolarOpenForCausalLM", "glm4moe",
     MOE " rope.dimension_count leading_dense_block_count expert_shared_count expert_gating_func expert_weights_scale "
     "expert_weights_norm", NULL, NULL, NULL, false},
    {"Ministral3ForCausalLM", "mistral3",
     LLAMA " attention.temperature_scale rope.scaling.yarn_log_multiplier:whole", "ministral3", NULL, "{" SILU "}",
     false},
    {"HunYuanDenseV1ForCausalLM", "hunyuan-dense", "rope.freq_base:base", "hunyuan_v1_dense", NULL, "{" SILU "}",
     false},
    {"HunYuanMoEV1ForCausalLM", "hunyuan-moe",
     "rope.freq_base:base expert_feed_forward_length expert_shared_feed_forward_length:shared expert_shared_count:one",
     "hunyuan_v1_moe", NULL,
     "{" SILU ", \"norm_topk_prob\": true, \"use_qk_norm\": true, \"use_cla\": false}", false},
    {"MiMoV2FlashForCausalLM", "mimo2",
     MOE " attention.head_count_kv:layers attention.value_length:value attention.value_scale attention.sliding_window "
     "attention.sliding_window_pattern:numbers rope.dimension_count expert_weights_norm expert_weights_scale "
     "expert_gating_func", "mimo_v2_flash", NULL,
     "{" SILU ", \"scoring_func\": \"sigmoid\", \"topk_method\": \"noaux_tc\"}", false},
    {"Lfm2ForCausalLM", "lfm2", LFM2 " feed_forward_length:feed", "lfm2", NULL,
     "{\"block_auto_adjust_ff_dim\": false}", false},
    {"Lfm2MoeForCausalLM", "lfm2moe", LFM2 " " MOE " leading_dense_block_count expert_gating_func", "lfm2_moe", NULL,
     "{\"use_expert_bias\": true}", false},
    {"FalconMambaForCausalLM", "mamba", MAMBA " ssm.dt_b_c_rms:true", "falcon_mamba", "ssm.dt_b_c_rms",
     "{" SILU "}", false},
    {"MambaForCausalLM", "mamba", MAMBA " ssm.dt_b_c_rms", "mamba", NULL, "{" SILU "}", false},
    {"Mamba2ForCausalLM", "mamba2", MAMBA " ssm.group_count", "mamba2", NULL, "{" SILU "}", false},
    {"GraniteMoeHybridForCausalLM", "granitehybrid",
     HYBRID " feed_forward_length:feed attention.scale embedding_scale residual_scale logit_scale "
     "expert_shared_feed_forward_length", "granitemoehybrid", "embedding_scale", "{" SILU "}", false},
    {"BambaForCausalLM", "granitehybrid", HYBRID, "bamba", NULL, "{" SILU "}", false},
    {"NemotronHForCausalLM", "nemotron_h_moe",
     HYBRID " " MOE " block_count:counted feed_forward_length:layers attention.layer_norm_epsilon expert_shared_count "
     "expert_shared_feed_forward_length expert_weights_norm expert_weights_scale moe_latent_size", "nemotron_h", NULL,
     "{\"mlp_hidden_act\": \"relu2\", \"mamba_hidden_act\": \"silu\"}", false},
    {"NemotronHForCausalLM", "nemotron_h",
     HYBRID " block_count:counted feed_forward_length:layers attention.layer_norm_epsilon", "nemotron_h", NULL,
     "{\"mlp_hidden_act\": \"relu2\", \"mamba_hidden_act\": \"silu\"}", false},
    {"JambaForCausalLM", "jamba",
     "attention.head_count_kv:layers ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank", "jamba", NULL,
     "{" SILU "}", false},
    {"KimiLinearForCausalLM", "kimi-linear",
     MOE " vocab_size attention.head_count_kv:layers attention.key_length attention.q_lora_rank attention.kv_lora_rank "
     "attention.key_length_mla attention.value_length_mla rope.dimension_count leading_dense_block_count:counted "
     "expert_shared_count expert_weights_scale expert_gating_func ssm.conv_kernel kda.head_dim", "kimi_linear", NULL,
     "{" SILU ", \"mla_use_nope\": true, \"moe_router_activation_func\": \"sigmoid\"}", false},
    {"MiniMaxForCausalLM", "minimax-01", "rope.dimension_count residual_scale:alpha "
     "attention.recurrent_layers:differing", "minimax",
     NULL, "{" SILU "}", false},
    {"Qwen3NextForCausalLM", "qwen3next", DELTA " " MOE " expert_shared_feed_forward_length", "qwen3_next", NULL,
     "{" SILU ", \"decoder_sparse_step\": 1, \"mlp_only_layers\": []}", true},
    {"Qwen3_5ForCausalLM", "qwen35", DELTA " rope.dimension_sections", "qwen3_5_text", NULL, "{" SILU "}", true},
    {"Qwen3_5MoeForCausalLM", "qwen35moe",
     DELTA " rope.dimension_sections " MOE " expert_shared_feed_forward_length", "qwen3_5_moe_text", NULL,
     "{" SILU "}", true},
    {"FalconH1ForCausalLM", "falcon-h1", "vocab_size attention.key_length:head attention.value_length:head " SSM,
     "falcon_h1", NULL,
     "{" SILU ", \"attention_bias\": false, \"mlp_bias\": false, \"embedding_multiplier\": 1.0, "
     "\"lm_head_multiplier\": 1.0, \"key_multiplier\": 1.0, \"attention_in_multiplier\": 1.0, "
     "\"attention_out_multiplier\": 1.0, \"ssm_in_multiplier\": 1.0, \"ssm_out_multiplier\": 1.0, "
     "\"mlp_multipliers\": [1.0, 1.0], \"ssm_multipliers\": [1.0, 1.0, 1.0, 1.0, 1.0]}", false},
    {"Jais2ForCausalLM", "jais2", "rope.dimension_count", "jais2", NULL, "{\"hidden_act\": \"relu2\"}", false},
    {"ApertusForCausalLM", "apertus", LLAMA " xielu.alpha_p xielu.alpha_n xielu.beta xielu.eps", "apertus", NULL,
     "{\"hidden_act\": \"xielu\"}", false},
    {"Llama4ForCausalLM", "llama4", LLAMA " " MOE " interleave_moe_layer_step", "llama4_text", NULL,
     "{" SILU ", \"no_rope_layer_interval\": 4, \"attention_chunk_size\": 8192, \"attn_temperature_tuning\": true, "
     "\"attn_scale\": 0.1, \"floor_scale\": 8192}", false},
    {"Gemma3nForCausalLM", "gemma3n",
     "final_logit_softcapping attention.sliding_window attention.sliding_window_pattern feed_forward_length:layers "
     "attention.shared_kv_layers embedding_length_per_layer_input altup.num_inputs altup.active_idx "
     "activation_sparsity_scale", "gemma3n_text", NULL,
     "{\"hidden_activation\": \"gelu_pytorch_tanh\"}", false},
    {"LagunaForCausalLM", "laguna",
     "vocab_size attention.head_count:layers attention.sliding_window " MOE " expert_shared_feed_forward_length "
     "expert_weights_norm:normed expert_weights_scale expert_gating_func leading_dense_block_count:counted "
     "rope.dimension_count "
     "rope.dimension_count_swa", "laguna", NULL,
     "{" SILU ", \"moe_apply_router_weight_on_input\": false, \"moe_router_logit_softcapping\": 0.0}", false},
    {"MellumForCausalLM", "mellum", MOE " attention.sliding_window attention.sliding_window_pattern", "mellum", NULL,
     "{" SILU "}", false},
    {"Cohere2MoeForCausalLM", "cohere2moe",
     LLAMA " " MOE " logit_scale attention.sliding_window attention.sliding_window_pattern "
     "leading_dense_block_count:counted "
     "expert_weights_norm expert_gating_func expert_shared_count expert_shared_feed_forward_length:shared "
     "rope.scaling.type",
     "cohere2_moe", NULL,
     "{" SILU ", \"shared_expert_combination_strategy\": \"average\", "
     "\"prefix_dense_sliding_window_pattern\": 1}", false},
    {"GlmForCausalLM", "chatglm", "rope.dimension_count", "glm", NULL, "{" SILU "}", false},
    {"Qwen3VLMoeForConditionalGeneration", "qwen3moe", MOE, NULL, NULL, NULL, false},
    {"Qwen2ForCausalLM", "qwen2vl", "", "qwen2", NULL, "{" SILU ", \"use_sliding_window\": false}", false},
    {"Qwen3ForCausalLM", "qwen3vl", "", "qwen3", NULL,
     "{" SILU ", \"use_sliding_window\": false, \"attention_bias\": false}", false},
    {"Qwen3MoeForCausalLM", "qwen3vlmoe", MOE, "qwen3_moe", NULL,
     "{" SILU ", \"norm_topk_prob\": true, \"decoder_sparse_step\": 1, \"mlp_only_layers\": [], "
     "\"use_sliding_window\": false, \"attention_bias\": false}", false},
    {"ExaoneForCausalLM", "exaone", "attention.layer_norm_rms_epsilon:named rope.dimension_count", "exaone", NULL,
     "{\"activation_function\": \"silu\"}", false},
    {"DbrxForCausalLM", "dbrx",
     FOUR_TIMES " attention.head_count_kv:heads rope.freq_base:base attention.clamp_kqv:limit expert_count:experts "
     "expert_used_count:used "
     "attention.layer_norm_epsilon", "dbrx", NULL, "{}", false},
    {"Starcoder2ForCausalLM", "starcoder2", "", "starcoder2", NULL,
     "{\"hidden_act\": \"gelu_pytorch_tanh\", \"use_bias\": true}", false},
};

/* llama.cpp's converter does not have these architectures of the forward pass. */
static const char *const absent[] = {
    "BioGpt", "CodeGen", "Cwm", "FlexOlmo", "GPTJ", "GPTNeo", "Helium", "HyperCLOVAX", "LongcatFlash", "Ministral",
    "NanoChat", "OPT", "OlmoHybrid", "Persimmon", "Phimoe", "VaultGemma", "XGLM"};
/* clang-format on */

static bool row_has_experts(const forward_pairing *row)
{
    const forward_family *const family = organ_forward_family_named(row->gguf, true);
    return family && family->gguf_experts && strcmp(family->gguf_experts, row->gguf) == 0;
}

const forward_pairing *organ_pairing_named(const char *architecture, bool experts)
{
    for (size_t k = 0; k < COUNT(rows); k++)
        if (strcmp(rows[k].architecture, architecture) == 0 && (experts || !row_has_experts(&rows[k])))
            return &rows[k];
    return NULL;
}

const forward_pairing *organ_pairing_of_gguf(const organ_gguf *gguf, const char *architecture)
{
    for (size_t k = 0; k < COUNT(rows); k++) {
        char key[128];
        if (!rows[k].model_type || strcmp(rows[k].gguf, architecture) != 0)
            continue;
        const char *const when = rows[k].when;
        const bool lacks = when && *when == '!';
        snprintf(key, sizeof key, "%s.%s", architecture, when ? when + lacks : "");
        if (!when || (organ_gguf_real(gguf, key, 0) != 0) != lacks)
            return &rows[k];
    }
    return NULL;
}

const forward_pairing *organ_pairing_names_of_gguf(const organ_gguf *gguf, const char *architecture)
{
    const forward_pairing *const both = organ_pairing_of_gguf(gguf, architecture);
    for (size_t k = 0; k < COUNT(rows) && !both; k++)
        if (strcmp(rows[k].gguf, architecture) == 0)
            return &rows[k];
    return both;
}

organ_status organ_pairing_refuse(const char *label, const char *architecture, bool gguf, organ_error *error)
{
    for (size_t k = 0; k < COUNT(absent) && !gguf; k++)
        if (strncmp(architecture, absent[k], strlen(absent[k])) == 0 &&
            strcmp(architecture + strlen(absent[k]), "ForCausalLM") == 0)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: architecture '%s' cannot be converted: llama.cpp has no architecture for it", label,
                              architecture);
    char known[sizeof error->message] = "";
    const char *last = ""; /* of adjacent rows of one name only the first is listed */
    size_t used = 0;
    for (size_t k = 0; k < COUNT(rows) && used < sizeof known; k++) {
        const char *const name = gguf ? rows[k].gguf : rows[k].architecture;
        if ((gguf ? !rows[k].model_type : row_has_experts(&rows[k])) || strcmp(name, last) == 0)
            continue;
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%.*s", used ? ", " : "",
                                 organ_architecture_short_length(name), name);
        last = name;
    }
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: architecture '%.100s' cannot be converted, only %s", label,
                      *architecture ? architecture : "(none)", known);
}

/* ---- parts by name ---- */

/* A name may stand for another part in another architecture. */
static bool family_has_part(const forward_family *f, forward_part part)
{
    const bool after = f->norms == ORGAN_NORMS_AFTER, around = f->norms == ORGAN_NORMS_AROUND;
    if (part == PART_NORM_ATTENTION || part == PART_NORM_FFN)
        return !after;
    if (part == PART_NORM_POST_ATTENTION || part == PART_NORM_POST_FFN)
        return after || around;
    if (part >= PART_MIX_IN && part <= PART_NORM_MIXED)
        return f->recurrent != NULL;
    if (part == PART_HEAD_GATE)
        return f->gate != ORGAN_UNGATED && !f->gate_in_q;
    return true;
}

/* A '#' in the pattern matches a number; without a '#' *number is -1. */
static bool matches_pattern(const char *name, const char *pattern, int64_t *number)
{
    *number = -1;
    for (; *pattern; pattern++) {
        if (*pattern != '#') {
            if (*name++ != *pattern)
                return false;
            continue;
        }
        char *end;
        if (*name < '0' || *name > '9')
            return false;
        *number = strtol(name, &end, 10);
        if (*number > INT32_MAX)
            return false;
        name = end;
    }
    return *name == 0;
}

static bool part_matches(const char *tail, const char *pattern, bool bias, forward_part part, pairing_part *found)
{
    char other[256];
    if (!pattern || !matches_pattern(tail, bias ? organ_forward_bias_name(pattern, other) : pattern, &found->number))
        return false;
    found->part = part;
    found->bias = bias;
    return true;
}

static bool find_part_of_name(const forward_family *f, bool gguf, bool top, const char *tail, bool bias,
                              pairing_part *found)
{
    const forward_part first = top ? PART_EMBEDDING : 0, end = top ? PART_NAMES : PART_EMBEDDING;
    const forward_name *const own = gguf ? f->gguf_names : f->names;
    for (const forward_name *n = own; n && n->name; n++) {
        const forward_part part = organ_name_part(n);
        if (part >= first && part < end && part_matches(tail, n->name, bias, part, found))
            return true;
    }
    for (forward_part part = first; part < end; part++)
        if (family_has_part(f, part) &&
            part_matches(tail, organ_forward_part_name(own, part, gguf, 0), bias, part, found))
            return true;
    return false;
}

bool organ_pairing_has_name(const forward_name *names, forward_part part)
{
    for (; names && names->name; names++)
        if (organ_name_part(names) == part)
            return true;
    return false;
}

bool organ_pairing_find_part(const forward_family *family, bool gguf, bool top, const char *tail, pairing_part *found)
{
    const size_t length = strlen(tail);
    found->first = false;
    if (find_part_of_name(family, gguf, top, tail, false, found))
        return true;
    return length > 5 && strcmp(tail + length - 5, ".bias") == 0 &&
           find_part_of_name(family, gguf, top, tail, true, found);
}

void organ_pairing_attend(pairing_part *part)
{
    static const forward_part both[][2] = {
        {PART_MIX_Q, PART_Q}, {PART_MIX_K, PART_K}, {PART_MIX_V, PART_V}, {PART_MIX_OUT, PART_O}};
    for (size_t k = 0; k < COUNT(both); k++)
        if (part->part == both[k][0]) {
            part->part = both[k][1];
            return;
        }
}

bool organ_pairing_part_name(const forward_family *family, bool gguf, const pairing_part *part, char name[256])
{
    const forward_name *const own = gguf ? family->gguf_names : family->names;
    const forward_name_use use = part->first && !gguf ? NAME_ONE_NORM : NAME_WRITTEN;
    const char *pattern = organ_forward_written_name(own, part->part, gguf, use);
    char other[256];
    if (!pattern)
        return false;
    pattern = part->bias ? organ_forward_bias_name(pattern, other) : pattern;
    const char *const mark = strchr(pattern, '#');
    if (mark)
        snprintf(name, 256, "%.*s%lld%s", (int)(mark - pattern), pattern, (long long)part->number, mark + 1);
    else
        snprintf(name, 256, "%s", pattern);
    return true;
}
