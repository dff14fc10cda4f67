/* SPDX-License-Identifier: MIT
 * Each architecture of fixtures/architectures gives the likelihoods that transformers gives, with and without a KV
 * cache. */
#include "orchestrator/forward/job.h"
#include "tests/kit/arch_maker.h"
#include "tests/kit/effort.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Largest difference of the mean negative log-likelihood and of that of one token, in nats. */
#define MEAN_LIMIT  1e-5
#define TOKEN_LIMIT 1e-3

/* clang-format off */
static const char *const model_types[] = {
    "gpt_oss", "gpt_oss-mxfp4", "ministral3", "hunyuan_v1_dense", "hunyuan_v1_moe", "afmoe",
    "laguna", "laguna-elements", "mimo_v2_flash", "llama4_text",
    "llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma2", "gemma3_text", "phi3",
    "glm4_moe", "dots1", "gemma", "smollm3", "olmo2", "olmo3", "exaone4", "granite", "seed_oss", "ministral", "helium",
    "ernie4_5", "smollm3-interval",
    "glm", "glm4",
    "gemma4_text-dense", "gemma4_text-moe", "gemma4_text-equal", "gemma4_text-shared", "gemma3n_text",
    "deepseek_v2", "deepseek_v2-lite", "deepseek_v3", "glm4_moe_lite", "kimi_k25", "mistral4", "mistral3-mistral4",
    "cohere", "cohere2", "stablelm", "stablelm-parallel",
    "deepseek_v32", "deepseek_v32-indexer", "glm_moe_dsa", "glm_moe_dsa-indexer", "glm_moe_dsa-shared",
    "falcon", "falcon-7b", "gptj", "persimmon",
    "starcoder2", "phi", "phi-norm", "gpt_neox", "gpt_neox-sequential", "apertus", "arcee", "nemotron", "olmo",
    "phimoe", "phimoe-long", "phimoe-stacked",
    "cohere2_moe", "cohere2_moe-sigmoid", "cohere2_moe-pattern", "qwen3_vl_moe", "qwen3_vl_moe-flat",
    "nanochat", "bitnet", "minicpm3", "minicpm3-plain", "youtu",
    "mistral3", "mistral3-flat", "gemma3", "gemma3-flat", "gemma3-short", "qwen2_5_vl", "qwen2_5_vl-flat",
    "qwen2_5_vl-top",
    "mistral3-ministral3", "qwen3_vl", "hunyuan_v1_moe-stacked", "llama4", "llama4-flat",
    "mixtral-stacked", "qwen3_moe-stacked", "qwen3_moe-dense", "qwen2_moe-dense", "olmoe", "olmoe-stacked",
    "flex_olmo", "granitemoe", "granitemoe-stacked", "granitemoeshared", "minimax_m2", "minimax_m2-stacked",
    "ernie4_5_moe", "ernie4_5_moe-stacked", "exaone_moe", "exaone_moe-stacked", "hy_v3", "hy_v3-stacked", "solar_open",
    "mellum",
    "lfm2", "lfm2-adjusted", "lfm2_moe", "mamba2", "bamba", "falcon_h1", "falcon_h1-norm", "granitemoehybrid",
    "granitemoehybrid-dense", "mamba", "falcon_mamba", "jamba", "nemotron_h",
    "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "qwen3_5", "qwen3_5_moe",
};
/* clang-format on */

static double loss_of(const float *logits, size_t words, uint32_t token)
{
    double top = -INFINITY, sum = 0;
    for (size_t w = 0; w < words; w++)
        top = fmax(top, (double)logits[w]);
    for (size_t w = 0; w < words; w++)
        sum += exp((double)logits[w] - top);
    return top + log(sum) - (double)logits[token];
}

/* The types whose fixture describes a GGUF file. A row with a key replaces that key by another form of the same value.
 */
static const struct {
    const char *type, *key;
} gguf_files[] = {
    {"gemma", ""},
    {"smollm3", ""},
    {"olmo2", ""},
    {"olmo2", "key\tolmo2.attention.head_count_kv\t[u32]\t2,2,2,2"},
    {"olmo2", "key\tolmo2.feed_forward_length\t[i32]\t96,96,96,96"},
    {"olmo2", "key\tolmo2.attention.causal\tbool\t1"},
    {"olmo3", ""},
    {"olmo3", "key\tolmo2.attention.sliding_window_pattern\tu32\t4"},
    {"olmo3", "key\tolmo2.rope.scaling.yarn_attn_factor\tf32\t1.13862944"},
    {"exaone4", ""},
    {"granite", ""},
    {"seed_oss", ""},
    {"ernie4_5", ""},
    {"glm4", ""},
    {"qwen2_moe", ""},
    {"gpt_oss-gguf", ""},
    {"deepseek_v2-gguf", ""},
    {"deepseek_v3", ""},
    {"granitemoe", ""},
    {"granitemoeshared", ""},
    {"olmoe", ""},
    {"minimax_m2", ""},
    {"ernie4_5_moe", ""},
    {"exaone_moe", ""},
    {"solar_open", ""},
    {"mistral3", "key\tmistral3.attention.sliding_window\tu32\t16"},
    {"ministral3", ""},
    {"ministral3", "key\tmistral3.attention.temperature_length\tu32\t16"},
    {"mistral3-mistral4", "key\tmistral4.attention.temperature_scale\tf32\t0.3"},
    {"phi", ""},
    {"starcoder2", "key\tstarcoder2.attention.sliding_window\tu32\t16"},
    {"stablelm", ""},
    {"stablelm-parallel", ""},
    {"cohere", ""},
    {"cohere2", ""},
    {"gpt_neox", ""},
    {"gpt_neox-sequential", ""},
    {"hunyuan_v1_dense", ""},
    {"hunyuan_v1_moe", ""},
    {"apertus", ""},
    {"arcee", ""},
    {"nemotron", ""},
    {"olmo", ""},
    {"falcon", ""},
    {"glm4_moe_lite", ""},
    {"gemma4_text-dense", ""},
    {"gemma4_text-moe", ""},
    {"gemma4_text-equal", ""},
    {"gemma4_text-shared", ""},
    {"afmoe", ""},
    {"mimo_v2_flash", "key\tmimo2.expert_weights_scale\tf32\t2.5"},
    {"deepseek_v32", ""},
    {"glm_moe_dsa", ""},
};

static void compare_likelihoods(const char *type, const char *path, arch_reference r)
{
    session s;
    organ_error error;
    const size_t begin[] = {0, r.count}, rows = r.count - 1;
    size_t *const row = malloc(rows * sizeof *row);
    double mean = 0, farthest_token = 0;
    ck_assert_ptr_nonnull(row);
    for (size_t k = 0; k < rows; k++)
        row[k] = k;
    const organ_status status = session_open(&s, path, 2, ROOMY, &error);
    ck_assert_msg(status == ORGAN_OK, "%s: %s", type, error.message);
    float *const logits = session_logits(&s, &(organ_windows){r.tokens, 1, begin}, row, rows, &error);
    ck_assert_msg(logits != NULL, "%s: %s", type, error.message);
    const size_t words = (size_t)organ_forward_describe(s.forward)->vocabulary;
    for (size_t k = 0; k < rows; k++) {
        const double off = loss_of(logits + k * words, words, r.tokens[k + 1]) - r.losses[k + 1];
        mean += off / (double)rows;
        farthest_token = fmax(farthest_token, fabs(off));
    }
    ck_assert_msg(fabs(mean) <= MEAN_LIMIT && farthest_token <= TOKEN_LIMIT, "%s: mean off by %g nats, a token by %g",
                  type, mean, farthest_token);
    free(logits);
    free(row);
    session_close(&s);
    arch_reference_free(&r);
}

START_TEST(likelihoods_are_those_of_transformers)
{
    if (is_emulated() && _i % 3 != 0) /* pieces are the same C on every processor; kernels have tests of their own */
        return;
    const char *const path = scratch_path("%s", model_types[_i]);
    compare_likelihoods(model_types[_i], path, arch_make(model_types[_i], path));
}
END_TEST

START_TEST(gguf_files_have_the_same_likelihoods)
{
    const char *const type = gguf_files[_i].type, *const path = scratch_path("%s.gguf", type);
    compare_likelihoods(type, path, arch_make_gguf(type, path, gguf_files[_i].key));
}
END_TEST

/* ---- a text that grows ---- */

typedef struct last_logits {
    float *values;
    size_t words;
} last_logits;

static void keep_last(void *context, size_t k, float *logits)
{
    const last_logits *const last = context;
    ck_assert_uint_eq(k, 0);
    memcpy(last->values, logits, last->words * sizeof *logits);
}

/* Where tests are slow, a third of the models is enough for what does not depend on a reference. */
static bool is_left_out(int index) { return sampled(1, 3) == 3 && index % 3 != 0; }

/* Continues a text of which the KV cache has the first tokens: the logits have the bits of the pass over all of it. */
START_TEST(a_text_that_grows_has_the_same_logits)
{
    static const size_t counts[] = {50, 51};
    const char *const type = model_types[_i], *const path = scratch_path("%s", type);
    if (is_left_out(_i))
        return;
    arch_reference r = arch_make(type, path);
    session s;
    organ_error error = {0};
    organ_decode_cache *cache;
    const size_t begin[] = {0, r.count}, row = r.count - 1;
    ck_assert_msg(session_open(&s, path, 2, ROOMY, &error) == ORGAN_OK, "%s: %s", type, error.message);
    const size_t words = (size_t)organ_forward_describe(s.forward)->vocabulary;
    last_logits last = {malloc(words * sizeof *last.values), words};
    ck_assert_ptr_nonnull(last.values);
    ck_assert_int_eq(organ_decode_cache_open(s.forward, counts[0], r.count, &cache, &error), ORGAN_OK);
    for (size_t k = 0; k < 2; k++)
        ck_assert_int_eq(organ_forward_continue(s.forward, cache, r.tokens, counts[k], &last, keep_last, &error),
                         ORGAN_OK);
    ck_assert_int_eq(organ_forward_continue(s.forward, cache, r.tokens, r.count, &last, keep_last, &error), ORGAN_OK);
    float *const whole = session_logits(&s, &(organ_windows){r.tokens, 1, begin}, &row, 1, &error);
    ck_assert_msg(whole != NULL, "%s: %s", type, error.message);
    ck_assert_msg(memcmp(whole, last.values, words * sizeof *whole) == 0, "%s: logits are off by %g", type,
                  farthest(whole, last.values, words));
    free(whole);
    free(last.values);
    organ_decode_cache_close(cache);
    session_close(&s);
    arch_reference_free(&r);
}
END_TEST

/* ---- the indexer of sparse attention ---- */

enum { KEYS = 40 };

/* Expects that the query at position `query` has the keys below `below` and key `other`. */
static void expect_choice(const forward_index *index, size_t query, size_t below, size_t other)
{
    for (size_t k = 0; k < KEYS; k++) {
        const bool is_chosen = index->chosen[query * index->words + k / 32] >> k % 32 & 1;
        ck_assert_msg(is_chosen == (k <= query && (k < below || k == other)), "query %zu, key %zu: %d", query, k,
                      is_chosen);
    }
}

/* index_topk of this fixture is 20. */
START_TEST(earlier_keys_precede_later_ones_with_the_same_score)
{
    const char *const path = scratch_path("deepseek_v32-indexer");
    arch_reference r = arch_make("deepseek_v32-indexer", path);
    session s;
    organ_error error = {0};
    ck_assert_int_eq(session_open(&s, path, 2, ROOMY, &error), ORGAN_OK);
    const organ_latent_config *const c = &organ_forward_describe(s.forward)->latent;
    float *const q = calloc((size_t)KEYS * c->index_heads * c->index_dim, sizeof *q),
                 *const weights = calloc((size_t)KEYS * c->index_heads, sizeof *weights),
                 *const keys = calloc((size_t)KEYS * c->index_dim, sizeof *keys),
                 *const scores = calloc((size_t)KEYS * KEYS, sizeof *scores);
    uint32_t chosen[KEYS * 2];
    ck_assert(q && weights && keys && scores);
    const forward_index index = {.q = q, .weights = weights, .scores = scores, .chosen = chosen, .words = 2};
    forward_group group = {.forward = s.forward, .scratch = organ_forward_scratch(s.forward, &error)};
    ck_assert_int_eq(organ_forward_index_choose(&group, &index, keys, 0, 0, KEYS, &error), ORGAN_OK);
    for (size_t query = 0; query < KEYS; query++)
        expect_choice(&index, query, c->keys, 0);
    for (size_t k = 0; k < (size_t)KEYS * c->index_heads; k++)
        q[k * c->index_dim] = weights[k] = 1;
    keys[30 * c->index_dim] = 1;
    ck_assert_int_eq(organ_forward_index_choose(&group, &index, keys, 0, 0, KEYS, &error), ORGAN_OK);
    expect_choice(&index, 29, c->keys, 0);
    expect_choice(&index, 35, c->keys - 1, 30);
    keys[30 * c->index_dim] = NAN;
    ck_assert_int_eq(organ_forward_index_choose(&group, &index, keys, 0, 0, KEYS, &error), ORGAN_OK);
    expect_choice(&index, 35, c->keys, 0);
    free(q);
    free(weights);
    free(keys);
    free(scores);
    session_close(&s);
    arch_reference_free(&r);
}
END_TEST

/* ---- windows in one batch ---- */

/* The logits of a window do not depend on another window of the batch, which shares groups and rooms with it. */
START_TEST(windows_of_a_batch_are_independent)
{
    const char *const type = model_types[_i], *const path = scratch_path("%s", type);
    if (is_left_out(_i))
        return;
    arch_reference r = arch_make(type, path);
    const size_t other = 30, last = r.count - 1, row = other + last, begin[] = {0, r.count},
                 begins[] = {0, other, other + r.count};
    session s;
    organ_error error;
    ck_assert_int_eq(session_open(&s, path, 2, ROOMY, &error), ORGAN_OK);
    uint32_t *const both = malloc((other + r.count) * sizeof *both);
    ck_assert_ptr_nonnull(both);
    memcpy(both, r.tokens, other * sizeof *both);
    memcpy(both + other, r.tokens, r.count * sizeof *both);
    const size_t words = (size_t)organ_forward_describe(s.forward)->vocabulary;
    float *const alone = session_logits(&s, &(organ_windows){r.tokens, 1, begin}, &last, 1, &error),
                 *const second = session_logits(&s, &(organ_windows){both, 2, begins}, &row, 1, &error);
    ck_assert_msg(alone && second, "%s: %s", type, error.message);
    ck_assert_msg(memcmp(second, alone, words * sizeof *alone) == 0, "%s: off by %g", type,
                  farthest(second, alone, words));
    free(both);
    free(alone);
    free(second);
    session_close(&s);
    arch_reference_free(&r);
}
END_TEST

/* ---- configurations that no model can have ---- */

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
    {"nemotron_h", "layers_block_type", "[\"mamba\", \"moe\", \"mlp\", \"mamba\", \"mlp\"]",
     "layers_block_type: 'moe'"},
    {"nemotron_h", "hybrid_override_pattern", "\"M*-M\\u00e9\"", "hybrid_override_pattern"},
    {"nemotron_h", "layers_block_type", "[]", "num_hidden_layers"},
    {"nemotron_h", "time_step_min", "-1", "time steps are limited"},
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

Suite *architectures_suite(void)
{
    Suite *const suite = suite_create("architectures");
    TCase *const cases = tcase_create("likelihoods");
    tcase_add_checked_fixture(cases, scratch_make, scratch_remove);
    tcase_add_loop_test(cases, likelihoods_are_those_of_transformers, 0, sizeof model_types / sizeof *model_types);
    tcase_add_loop_test(cases, a_text_that_grows_has_the_same_logits, 0, sizeof model_types / sizeof *model_types);
    tcase_add_loop_test(cases, gguf_files_have_the_same_likelihoods, 0, sizeof gguf_files / sizeof *gguf_files);
    tcase_add_test(cases, earlier_keys_precede_later_ones_with_the_same_score);
    tcase_add_loop_test(cases, windows_of_a_batch_are_independent, 0, sizeof model_types / sizeof *model_types);
    tcase_add_loop_test(cases, impossible_configurations_are_refused, 0, sizeof refused / sizeof *refused);
    tcase_add_loop_test(cases, impossible_keys_are_refused, 0, sizeof refused_keys / sizeof *refused_keys);
    suite_add_tcase(suite, cases);
    return suite;
}
