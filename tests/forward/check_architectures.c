/* SPDX-License-Identifier: MIT
 * Each architecture of fixtures/architectures gives the likelihoods of transformers, with and without a KV cache. */
#include "orchestrator/forward/forward_parts.h"
#include "orchestrator/forward/mixers.h"
#include "tests/kit/arch_maker.h"
#include "tests/kit/effort.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Largest difference of the mean negative log-likelihood, and of that of one token, in nats. */
#define MEAN_LIMIT  1e-5
#define TOKEN_LIMIT 1e-3

/* clang-format off */
static const char *const model_types[] = {
    "gpt_oss", "gpt_oss-mxfp4", "ministral3", "hunyuan_v1_dense", "hunyuan_v1_moe", "afmoe",
    "laguna", "laguna-elements", "mimo_v2_flash", "llama4_text",
    "llama", "llama-relu", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma2", "gemma3_text",
    "phi3",
    "glm4_moe", "dots1", "gemma", "smollm3", "olmo2", "olmo3", "exaone4", "granite", "seed_oss", "ministral", "helium",
    "ernie4_5", "smollm3-interval",
    "glm", "glm4",
    "gemma4_text-dense", "gemma4_text-moe", "gemma4_text-equal", "gemma4_text-shared", "gemma3n_text",
    "deepseek_v2", "deepseek_v2-lite", "deepseek_v3", "glm4_moe_lite", "kimi_k25", "mistral4", "mistral3-mistral4",
    "deepseek_v2-groups", "deepseek_v3-groups", "dots1-groups", "glm4_moe-groups", "mimo_v2_flash-groups",
    "cohere", "cohere2", "stablelm", "stablelm-parallel",
    "deepseek_v32", "deepseek_v32-indexer", "glm_moe_dsa", "glm_moe_dsa-indexer", "glm_moe_dsa-shared",
    "falcon", "falcon-7b", "gptj", "persimmon",
    "gpt2", "gpt_bigcode", "gpt_bigcode-heads", "gpt_neo", "bloom", "bloom-heads", "mpt", "mpt-heads", "falcon-rw",
    "codegen", "opt", "opt-post", "biogpt",
    "starcoder2", "phi", "phi-norm", "gpt_neox", "gpt_neox-sequential", "apertus", "arcee", "nemotron", "olmo",
    "phimoe", "phimoe-long", "phimoe-stacked",
    "cohere2_moe", "cohere2_moe-sigmoid", "cohere2_moe-pattern", "qwen3_vl_moe", "qwen3_vl_moe-flat",
    "nanochat", "bitnet", "minicpm3", "minicpm3-plain", "youtu",
    "cwm", "jais2", "vaultgemma",
    "mistral3", "mistral3-flat", "gemma3", "gemma3-flat", "gemma3-short", "qwen2_5_vl", "qwen2_5_vl-flat",
    "qwen2_5_vl-top",
    "mistral3-ministral3", "qwen3_vl", "hunyuan_v1_moe-stacked", "llama4", "llama4-flat",
    "mixtral-stacked", "qwen3_moe-stacked", "qwen3_moe-dense", "qwen2_moe-dense", "olmoe", "olmoe-stacked",
    "flex_olmo", "granitemoe", "granitemoe-stacked", "granitemoeshared", "minimax_m2", "minimax_m2-stacked",
    "ernie4_5_moe", "ernie4_5_moe-stacked", "exaone_moe", "exaone_moe-stacked", "hy_v3", "hy_v3-stacked", "solar_open",
    "mellum",
    "lfm2", "lfm2-adjusted", "lfm2_moe", "lfm3", "lfm3-plain", "lfm3_vl", "mamba2", "bamba",
    "falcon_h1", "falcon_h1-norm", "granitemoehybrid", "granitemoehybrid-dense",
    "mamba", "falcon_mamba", "jamba", "nemotron_h",
    "nemotron_h-moe", "nemotron_h-latent", "olmo_hybrid", "olmo_hybrid-plain",
    "kimi_linear", "kimi_linear-hub", "bailing_hybrid", "bailing_hybrid-plain",
    "hy_v4", "hy_v4-shared", "deepseek_v4", "deepseek_v4-hub", "deepseek_v4-fp4",
    "minimax", "minimax-window", "longcat_flash",
    "exaone", "sarvam_moe", "sarvam_mla", "granite_swa", "granitemoe_swa", "hyperclovax", "dbrx", "xglm", "internlm3",
    "iquestcoder",
    "qwen3_next-mtp", "qwen3_5_text-mtp",
    "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "qwen3_5", "qwen3_5_moe",
    "gemma4", "gemma4-moe", "gemma4_unified", "qwen2_vl", "qwen2_vl-top", "internvl", "internvl-qwen3",
    "internvl-llama", "internvl-qwen3_moe", "glm4v_moe", "glm4v", "glm46v", "glm46v-moe",
    "step3p7", "step3p7-flat", "minimax_m3_vl", "minimax_m3_vl-flat",
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

/* The types whose fixture describes a GGUF file. A row with a key replaces that key by another form of the same
 * value. */
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
    {"qwen3_next", ""},
    {"qwen3_5_text", ""},
    {"qwen3_5_moe_text", ""},
    {"lfm2", ""},
    {"lfm2_moe", ""},
    {"granitemoehybrid", ""},
    {"granitemoehybrid-dense", ""},
    {"bamba", ""},
    {"falcon_h1-gguf", ""},
    {"nemotron_h-gguf", ""},
    {"nemotron_h-moe-gguf", ""},
    {"kimi_linear-gguf", ""},
    {"minimax-gguf", "key\tminimax-01.attention.recurrent_layers\t[bool]\t1,0,1,0"},
    {"nemotron_h-latent-gguf", ""},
    {"jamba", ""},
    {"mamba-gguf", ""},
    {"falcon_mamba-gguf", ""},
    {"mamba2", ""},
    {"gpt2", ""},
    {"gpt_bigcode", ""},
    {"bloom", ""},
    {"bloom-heads", ""},
    {"mpt-heads", ""},
    {"hy_v3", ""},
    {"llama4_text-gguf", ""},
    {"gemma3n_text-gguf", ""},
    {"laguna-gguf", ""},
    {"laguna-whole", ""},
    {"mellum-gguf", ""},
    {"minimax_m3_vl-gguf", ""},
    {"minimax_m3_vl-sparse", ""},
    {"jais2", ""},
    {"dbrx", ""},
    {"exaone", ""},
    {"glm", "key\tchatglm.attention.layer_norm_rms_epsilon\tf32\t1.5625e-07"},
    {"qwen2_5_vl", ""},
    {"qwen3_vl", ""},
    {"qwen3_vl_moe-gguf", ""},
    {"cohere2_moe-gguf", ""},
    {"cohere2_moe-rms", ""},
};

/* Compares each token with the reference if `mean_loss` is 0, else only the mean with that number. */
static void compare_likelihoods(const char *type, const char *path, arch_reference r, double mean_loss)
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
        const double off = loss_of(logits + k * words, words, r.tokens[k + 1]) - (mean_loss > 0 ? 0 : r.losses[k + 1]);
        mean += off / (double)rows;
        farthest_token = mean_loss > 0 ? 0 : fmax(farthest_token, fabs(off));
    }
    mean -= mean_loss;
    ck_assert_msg(fabs(mean) <= MEAN_LIMIT && farthest_token <= TOKEN_LIMIT, "%s: mean off by %g nats, a token by %g",
                  type, mean, farthest_token);
    free(logits);
    free(row);
    session_close(&s);
    arch_reference_free(&r);
}

START_TEST(likelihoods_are_those_of_transformers)
{
    if (is_emulated() && _i % 3 != 0) /* the pieces are the same C code everywhere; kernels have their own tests */
        return;
    const char *const path = scratch_path("%s", model_types[_i]);
    compare_likelihoods(model_types[_i], path, arch_make(model_types[_i], path), 0);
}
END_TEST

/* Members that do not change the result of transformers: the flag for tied ends if the file has a separate head, the
 * rotated part in a class without one, the soft cap of Gemma 3's scores, that of the logits in the multimodal class of
 * Gemma 3, the number of dense layers in place of their list, layer numbers with leading zeros, and older names of a
 * member, which precede the usual ones. */
static const struct {
    const char *type, *members;
} other_words[] = {
    {"llama", "{\"tie_word_embeddings\": true}"},
    {"kimi_linear", "{\"tie_word_embeddings\": true}"},
    {"llama",
     "{\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 1e4, \"partial_rotary_factor\": 0.5}}"},
    {"smollm3", "{\"tie_word_embeddings\": null}"},
    {"lfm2", "{\"intermediate_size\": null, \"block_ff_dim\": 96, \"tie_word_embeddings\": null, "
             "\"tie_embedding\": true}"},
    {"lfm2-adjusted", "{\"intermediate_size\": null, \"block_ff_dim\": 128}"},
    {"mimo_v2_flash", "{\"rms_norm_eps\": null, \"layernorm_epsilon\": 1e-5, \"rope_parameters\": null, "
                      "\"rope_theta\": 5000000, \"swa_rope_theta\": 10000, \"partial_rotary_factor\": 0.334, "
                      "\"layer_types\": null, \"hybrid_layer_pattern\": [0, 1, 1, 0], \"mlp_layer_types\": null, "
                      "\"moe_layer_freq\": [0, 1, 1, 1], \"sliding_window_size\": 15, \"n_shared_experts\": null, "
                      "\"hybrid_block_size\": null, \"swa_num_key_value_heads\": 4}"},
    {"gemma3_text", "{\"attn_logit_softcapping\": 2.0}"},
    {"gemma3-short", "{\"text_config\": {\"model_type\": \"gemma3_text\", \"vocab_size\": 256, \"hidden_size\": 64,"
                     " \"intermediate_size\": 96, \"num_hidden_layers\": 2, \"sliding_window\": 16, "
                     "\"final_logit_softcapping\": 2.0}}"},
    {"cohere2_moe", "{\"mlp_layer_types\": null, \"first_k_dense_replace\": 1}"},
    {"gemma4_text-moe", "{\"per_layer_config\": {\"03\": {\"head_dim\": 32}}}"},
    {"nemotron_h", "{\"time_step_min\": 0.01, \"mamba_dt_min\": 0.4, \"n_groups\": 1, \"mamba_n_groups\": 2}"},
};

START_TEST(members_that_change_nothing)
{
    const char *const type = other_words[_i].type, *const path = scratch_path("%s", type);
    const arch_reference r = arch_make(type, path);
    arch_set_config(path, other_words[_i].members);
    compare_likelihoods(type, path, r, 0);
}
END_TEST

START_TEST(gguf_files_have_the_same_likelihoods)
{
    const char *const type = gguf_files[_i].type, *const path = scratch_path("%s.gguf", type);
    compare_likelihoods(type, path, arch_make_gguf(type, path, gguf_files[_i].key), 0);
}
END_TEST

/* ---- members of config.json with other values ---- */

#define FULL    "\"full_attention\""
#define DEFAULT "{\"rope_type\":\"default\",\"rope_theta\":5e6}"
#define YARN    "{\"rope_type\":\"yarn\",\"rope_theta\":1e4,\"factor\":4.0,\"original_max_position_embeddings\":32}"
/* Members that replace those of a fixture, and the mean negative log-likelihood of its tokens by transformers with
 * them. */
static const struct {
    const char *type, *members;
    double mean;
} settings[] = {
    {"llama4_text", "{\"use_qk_norm\":false}", 9.6017386},
    {"llama4_text",
     "{\"rope_parameters\":{\"rope_type\":\"llama3\",\"rope_theta\":1e4,\"factor\":16.0,\"high_freq_factor\":1.0,"
     "\"low_freq_factor\":1.0,\"original_max_position_embeddings\":64}}",
     9.3781291},
    {"exaone4", "{\"layer_types\":[" FULL "," FULL "," FULL "," FULL "]}", 9.9126432},
    {"qwen2_moe", "{\"use_sliding_window\":true,\"sliding_window\":16,\"max_window_layers\":3,\"layer_types\":null}",
     9.4473226},
    {"qwen2_moe", "{\"use_sliding_window\":true,\"sliding_window\":16,\"max_window_layers\":null,\"layer_types\":null}",
     9.4473225},
    {"qwen2", "{\"use_sliding_window\":true,\"sliding_window\":16,\"max_window_layers\":null,\"layer_types\":null}",
     9.6800816},
    {"dots1", "{\"sliding_window\":16,\"max_window_layers\":null,\"layer_types\":null}", 9.7002933},
    {"smollm3", "{\"use_sliding_window\":true,\"sliding_window\":16,\"layer_types\":null}", 14.3679942},
    {"gemma4_text-dense",
     "{\"rope_parameters\":{\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":1e4}," FULL
     ":{\"rope_type\":\"yarn\",\"rope_theta\":1e4,\"factor\":4.0,\"original_max_position_embeddings\":32,"
     "\"truncate\":false,\"beta_fast\":16.0,\"beta_slow\":2.0}}}",
     9.4447332},
    {"gemma3_text", "{\"final_logit_softcapping\":2.0}", 6.6973002},
    {"olmoe", "{\"clip_qkv\":0.5}", 10.4622199},
    {"glm_moe_dsa",
     "{\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1e4,\"partial_rotary_factor\":0.5}}", 9.8729621},
    {"mimo_v2_flash", "{\"rope_parameters\":{" FULL ":" DEFAULT ",\"sliding_attention\":" YARN "}}", 9.8022071},
    {"mimo_v2_flash",
     "{\"rope_parameters\":{" FULL ":{\"rope_type\":\"linear\",\"rope_theta\":1e4,\"factor\":3.0},"
     "\"sliding_attention\":" DEFAULT "}}",
     9.5911226},
    {"mimo_v2_flash",
     "{\"partial_rotary_factor\":0.5,\"rope_parameters\":{" FULL ":" YARN ",\"sliding_attention\":" DEFAULT "}}",
     9.8601509},
};

START_TEST(other_settings_have_the_likelihoods_of_transformers)
{
    const char *const type = settings[_i].type, *const path = scratch_path("%s", type);
    const arch_reference r = arch_make(type, path);
    arch_set_config(path, settings[_i].members);
    compare_likelihoods(type, path, r, settings[_i].mean);
}
END_TEST

/* ---- a text that is continued ---- */

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

/* In slow builds, tests without a reference run on a third of the models. */
static bool is_left_out(int index) { return sampled(1, 3) == 3 && index % 3 != 0; }

/* Continues a text whose first tokens are in the KV cache: the logits have the bits of a pass over the whole text. */
START_TEST(a_text_that_grows_has_the_same_logits)
{
    static const size_t counts[] = {1, 3, 50, 51}; /* 1 and 3 are less than the width of a convolution */
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
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
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

/* Checks that the query at position `query` selects the keys below `below` and key `other`. */
static void expect_choice(const forward_index *index, size_t query, size_t below, size_t other)
{
    for (size_t k = 0; k < KEYS; k++) {
        const bool is_chosen = index->chosen[query * index->words + k / 32] >> k % 32 & 1;
        ck_assert_msg(is_chosen == (k <= query && (k < below || k == other)), "query %zu, key %zu: %d", query, k,
                      is_chosen);
    }
}

/* This fixture has an index_topk of 20. */
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

/* Windows one token longer than a model supports. */
static const struct {
    const char *type;
    size_t tokens;
    const char *message;
} too_long[] = {
    {"opt", 513, "a window of 513 tokens exceeds the 512 learned positions"},
    {"gpt2", 513, "a window of 513 tokens exceeds the 512 learned positions"},
};

START_TEST(windows_that_are_too_long_are_refused)
{
    const char *const path = scratch_path("%s", too_long[_i].type);
    arch_reference r = arch_make(too_long[_i].type, path);
    const size_t count = too_long[_i].tokens, begin[] = {0, count}, row = count - 1;
    uint32_t tokens[513] = {0};
    session s;
    organ_error error = {0};
    organ_decode_cache *cache;
    ck_assert_int_eq(session_open(&s, path, 1, ROOMY, &error), ORGAN_OK);
    ck_assert_ptr_null(session_logits(&s, &(organ_windows){tokens, 1, begin}, &row, 1, &error));
    ck_assert_int_eq(error.status, ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, too_long[_i].message) != NULL, "%s", error.message);
    error = (organ_error){0};
    ck_assert_int_eq(organ_decode_cache_open(s.forward, 5, count, &cache, &error), ORGAN_USAGE);
    ck_assert_ptr_null(cache);
    session_close(&s);
    arch_reference_free(&r);
}
END_TEST

/* ---- batches of windows ---- */

/* The logits of a window do not depend on other windows of the batch, which share groups and rows with it. */
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

Suite *architectures_suite(void)
{
    Suite *const suite = suite_create("architectures");
    TCase *const cases = tcase_create("likelihoods");
    tcase_add_checked_fixture(cases, scratch_make, scratch_remove);
    tcase_add_loop_test(cases, likelihoods_are_those_of_transformers, 0, sizeof model_types / sizeof *model_types);
    tcase_add_loop_test(cases, members_that_change_nothing, 0, sizeof other_words / sizeof *other_words);
    tcase_add_loop_test(cases, a_text_that_grows_has_the_same_logits, 0, sizeof model_types / sizeof *model_types);
    tcase_add_loop_test(cases, gguf_files_have_the_same_likelihoods, 0, sizeof gguf_files / sizeof *gguf_files);
    tcase_add_loop_test(cases, other_settings_have_the_likelihoods_of_transformers, 0,
                        sizeof settings / sizeof *settings);
    tcase_add_test(cases, earlier_keys_precede_later_ones_with_the_same_score);
    tcase_add_loop_test(cases, windows_that_are_too_long_are_refused, 0, sizeof too_long / sizeof *too_long);
    tcase_add_loop_test(cases, windows_of_a_batch_are_independent, 0, sizeof model_types / sizeof *model_types);
    suite_add_tcase(suite, cases);
    return suite;
}
