/* SPDX-License-Identifier: MIT
 * Models that the forward pass cannot compute are rejected with the reason. */
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void setup(void)
{
    fault_clear();
    scratch_make();
}

static void teardown(void)
{
    fault_clear();
    scratch_remove();
}

/* Copies fixtures/forward/`base` to scratch/m and sets one member of its config to the JSON `value`; NULL removes the
 * member. */
static void change(const char *base, const char *key, const char *value)
{
    char path[200];
    mkdir(scratch_path("m"), 0755);
    snprintf(path, sizeof path, "fixtures/forward/%s/model.safetensors", base);
    copy_file(path, scratch_path("m/model.safetensors"));
    snprintf(path, sizeof path, "fixtures/forward/%s/config.json", base);
    json_t *config = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(config);
    if (value) {
        json_t *parsed = json_loads(value, JSON_DECODE_ANY, NULL);
        ck_assert_msg(parsed != NULL, "%s", value);
        json_object_set_new(config, key, parsed);
    } else
        ck_assert_int_eq(json_object_del(config, key), 0);
    ck_assert_int_eq(json_dump_file(config, scratch_path("m/config.json"), 0), 0);
    json_decref(config);
}

static void refused(const char *path, const char *const *fragments)
{
    session s;
    organ_error error;
    const organ_status status = session_open(&s, path, 1, ROOMY, &error);
    session_close(&s);
    for (size_t k = 0; k < 3 && fragments[k]; k++) {
        ck_assert_msg(status == ORGAN_BAD_INPUT, "status %d where '%s' should be said: %s", (int)status, fragments[k],
                      error.message);
        ck_assert_msg(strstr(error.message, fragments[k]) != NULL, "'%s' is not in: %s", fragments[k], error.message);
    }
}

/* Computes logits of the llama fixture with another activation. */
static float *activated_by(const char *activation, const expected *e)
{
    change("llama", "hidden_act", activation);
    return logits_of(scratch_path("m"), e, 1, ROOMY);
}

/* GELU with erf differs little from its tanh approximation, by more than 5e-4, and much from silu. */
START_TEST(gelu_is_exact_or_approximated)
{
    expected e = expected_read("fixtures/forward/llama.logits.safetensors");
    const size_t n = e.rows * e.words;
    float *const silu = activated_by("\"silu\"", &e), *const by_tanh = activated_by("\"gelu_pytorch_tanh\"", &e),
                 *const by_erf = activated_by("\"gelu\"", &e);
    const double apart = farthest(by_erf, by_tanh, n), other = farthest(by_erf, silu, n);
    ck_assert_msg(apart > 1e-5 && apart < other / 20, "erf and tanh are %g apart, erf and silu %g", apart, other);
    free(silu), free(by_tanh), free(by_erf);
    expected_free(&e);
}
END_TEST

START_TEST(configs_that_cannot_be)
{
    static const struct {
        const char *base, *key, *value, *says[3];
    } rows[] = {
        {"llama",
         "architectures",
         "[\"KlingonForCausalLM\"]",
         {"config.json", "'KlingonForCausalLM'", "not supported"}},
        {"llama", "num_hidden_layers", "0", {"num_hidden_layers is 0"}},
        {"llama", "num_hidden_layers", NULL, {"num_hidden_layers is missing"}},
        {"llama", "num_hidden_layers", "4", {"'model.layers.3.input_layernorm.weight'", "missing"}},
        {"llama", "num_hidden_layers", "4000000000", {"num_hidden_layers is 4000000000", "not from 1 to"}},
        {"llama", "num_hidden_layers", "90000000000", {"num_hidden_layers is 4294967295"}},
        {"llama", "num_attention_heads", "0", {"num_attention_heads is 0"}},
        {"llama", "num_attention_heads", "5", {"num_attention_heads is 5", "num_key_value_heads 2"}},
        {"llama", "num_key_value_heads", "0", {"num_key_value_heads is 0"}},
        {"llama", "num_key_value_heads", "1", {"k_proj.weight' is 16 x 32, but the config requires 8 x 32"}},
        {"llama", "head_dim", "7", {"head_dim is 7, not even"}},
        {"llama", "head_dim", "16", {"q_proj.weight' is 32 x 32, but the config requires 64 x 32"}},
        {"llama", "hidden_size", "0", {"hidden_size is 0"}},
        {"llama", "hidden_size", "64", {"'model.embed_tokens.weight' is 96 x 32, but the config requires 96 x 64"}},
        {"llama", "vocab_size", "97", {"'model.embed_tokens.weight' is 96 x 32, but the config requires 97 x 32"}},
        {"llama", "intermediate_size", "47", {"gate_proj.weight' is 48 x 32, but the config requires 47 x 32"}},
        {"llama", "rms_norm_eps", NULL, {"rms_norm_eps is missing"}},
        {"llama", "rms_norm_eps", "-1", {"the eps of norms is -1"}},
        {"llama", "rms_norm_eps", "\"small\"", {"rms_norm_eps is \"small\", not a number"}},
        {"llama", "attention_bias", "false", {"q_proj.bias' exists", "config"}},
        {"llama", "attention_bias", "1", {"attention_bias is 1, not true or false"}},
        {"llama", "mlp_bias", "false", {"gate_proj.bias' exists"}},
        {"llama", "tie_word_embeddings", "false", {"'lm_head.weight' is missing"}},
        {"llama", "hidden_act", "\"quick_gelu\"", {"hidden_act 'quick_gelu' is not supported"}},
        {"gemma2", "hidden_activation", "\"quick_gelu\"", {"hidden_activation 'quick_gelu' is not supported"}},
        {"llama", "rope_parameters", "7", {"rope_parameters is 7, not an object"}},
        {"llama",
         "rope_parameters",
         "{\"rope_type\": \"axial\", \"rope_theta\": 10000}",
         {"rope_type 'axial' is not supported"}},
        {"llama",
         "rope_parameters",
         "{\"rope_type\": \"longrope\", \"rope_theta\": 10000}",
         {"short_factor has 0 numbers, not one for each"}},
        {"llama",
         "rope_parameters",
         "{\"rope_type\": \"longrope\", \"short_factor\": [1, 1, 1, 1], \"long_factor\": [1, 1, 1]}",
         {"long_factor has 3 numbers, not one for each pair of the 8 rotated dimensions"}},
        {"llama",
         "rope_parameters",
         "{\"rope_type\": \"longrope\", \"short_factor\": [1, 1, 1, 1], \"long_factor\": [1, 1, 1, 0]}",
         {"long_factor is 0, not a number above 0"}},
        {"llama",
         "rope_parameters",
         "{\"rope_type\": \"longrope\", \"short_factor\": [1, 1, \"a\", 1], \"long_factor\": [1, 1, 1, 1]}",
         {"short_factor is \"a\", not a number above 0"}},
        {"llama",
         "rope_parameters",
         "{\"rope_type\": \"longrope\", \"short_factor\": [1, 1, 1, 1], \"long_factor\": [1, 1, 1, 1], "
         "\"attention_factor\": -1}",
         {"the attention factor of the rotation is -1, not above 0"}},
        {"llama",
         "rope_parameters",
         "{\"rope_type\": \"longrope\", \"short_factor\": [1, 1, 1, 1], \"long_factor\": [1, 1, 1, 1], "
         "\"original_max_position_embeddings\": 0}",
         {"factor is 0"}},
        {"llama", "rope_parameters", "{\"rope_type\": \"dynamic\", \"rope_theta\": 10000}", {"no factor"}},
        {"llama", "rope_parameters", "{\"rope_type\": \"dynamic\", \"factor\": -2}", {"factor is -2"}},
        {"llama",
         "rope_parameters",
         "{\"rope_type\": \"dynamic\", \"factor\": 2, \"partial_rotary_factor\": 0.25}",
         {"'dynamic' is not defined for 2 dimensions"}},
        {"llama", "rope_parameters", "{\"rope_type\": \"linear\"}", {"no factor"}},
        {"llama", "rope_parameters", "{\"rope_type\": \"linear\", \"factor\": 0}", {"factor is 0"}},
        {"llama", "rope_parameters", "{\"rope_theta\": 0.5}", {"rope_theta is 0.5"}},
        {"llama",
         "rope_parameters",
         "{\"rope_type\": \"linear\", \"factor\": 2, \"partial_rotary_factor\": 0.1}",
         {"0 of 8 dimensions"}},
        {"llama",
         "rope_parameters",
         "{\"rope_type\": \"linear\", \"factor\": 2, \"partial_rotary_factor\": 1.5}",
         {"0 of 8 dimensions"}},
        {"llama",
         "rope_parameters",
         "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 3}",
         {"high_freq_factor 3", "low_freq_factor 4"}},
        {"qwen2", "rope_scaling", "{\"type\": \"yarn\", \"factor\": 2, \"beta_slow\": -1}", {"beta_slow -1"}},
        {"qwen2", "rope_scaling", "{\"type\": \"linearly\", \"factor\": 2}", {"'linearly' is not supported"}},
        {"qwen2", "use_sliding_window", "false", {"the sliding window of some layers is 0 tokens"}},
        {"qwen2", "layer_types", "[\"full_attention\"]", {"layer_types", "num_hidden_layers"}},
        {"qwen2",
         "layer_types",
         "[\"full_attention\", \"full_attention\", \"linear_attention\"]",
         {"'linear_attention' is not supported"}},
        {"mistral", "sliding_window", "-3", {"sliding_window is -3, not a whole number"}},
        {"gemma2", "query_pre_attn_scalar", "0", {"query_pre_attn_scalar is 0, not above 0"}},
        {"gemma3", "query_pre_attn_scalar", "-4", {"query_pre_attn_scalar is -4, not above 0"}},
        {"gemma3", "sliding_window", "0", {"the sliding window of some layers is 0 tokens"}},
        {"gemma3", "sliding_window_pattern", "0", {"sliding_window_pattern is 0"}},
        {"qwen3moe", "mlp_only_layers", "5", {"mlp_only_layers is 5, not a list"}},
        {"qwen3moe",
         "num_experts",
         "4000000000",
         {"mlp.gate.weight' is 6 x 32, but the config requires 4000000000 x 32"}},
        {"mixtral",
         "num_local_experts",
         "4000000000",
         {"gate.weight' is 6 x 32, but the config requires 4000000000 x 32"}},
        {"gemma2", "attn_logit_softcapping", "-2", {"soft caps are -2 and 4: below 0"}},
        {"gemma3", "use_bidirectional_attention", "true", {"use_bidirectional_attention is true, not false"}},
        {"mixtral", "num_experts_per_tok", "7", {"num_experts_per_tok is 7, not from 1 to the 6 experts"}},
        {"mixtral", "num_experts_per_tok", "0", {"num_experts_per_tok is 0, not from 1 to the 6 experts"}},
        {"mixtral",
         "num_local_experts",
         "7",
         {"block_sparse_moe.gate.weight' is 6 x 32, but the config requires 7 x 32"}},
        {"mixtral", "num_local_experts", "0", {"number of experts is 0"}},
        {"qwen3moe", "decoder_sparse_step", "0", {"decoder_sparse_step is 0"}},
        {"qwen3moe", "mlp_only_layers", "[-1]", {"mlp_only_layers is -1, not a layer number"}},
        {"qwen3moe", "mlp_layer_types", "[\"dense\"]", {"mlp_layer_types is [\"dense\"], not a list with a string"}},
        {"qwen3moe", "moe_intermediate_size", "0", {"intermediate size of an expert is 0"}},
        {"qwen2moe", "shared_expert_intermediate_size", "0", {"shared_expert_intermediate_size is 0"}},
        {"qwen2moe", "shared_expert_intermediate_size", "4000000000", {"shared expert is 4000000000, above 16777216"}},
        {"qwen2moe",
         "shared_expert_intermediate_size",
         "39",
         {"mlp.shared_expert.gate_proj.weight' is 40 x 32, but the config requires 39 x 32"}},
        {"qwen2moe", "qkv_bias", "false", {"q_proj.bias' exists, but the config states"}},
        {"glm4moe", "n_routed_experts", NULL, {"n_routed_experts is missing"}},
        {"glm4moe", "n_routed_experts", "8", {"mlp.gate.weight' is 6 x 32, but the config requires 8 x 32"}},
        {"glm4moe",
         "num_experts_per_tok",
         "4",
         {"num_experts_per_tok is 4, but the 1 groups that the router chooses have 3 experts"}},
        {"glm4moe", "n_group", "4", {"n_group is 4: 6 experts must be divisible into at most"}},
        {"glm4moe", "n_group", "6", {"n_group is 6: 6 experts must be divisible into at most"}},
        {"glm4moe", "topk_group", "3", {"topk_group is 3, not from 1 to n_group 2"}},
        {"glm4moe", "topk_group", "0", {"topk_group is 0, not from 1 to n_group 2"}},
        {"glm4moe", "first_k_dense_replace", "4", {"the first 4 of 3 layers have no experts"}},
        {"glm4moe", "first_k_dense_replace", "2", {"'model.layers.1.mlp.gate_proj.weight' is missing"}},
        {"glm4moe", "first_k_dense_replace", "0", {"'model.layers.0.mlp.gate.weight' is missing"}},
        {"glm4moe", "intermediate_size", "0", {"intermediate_size is 0"}},
        {"glm4moe", "routed_scaling_factor", "0", {"routed_scaling_factor is 0"}},
        {"glm4moe", "routed_scaling_factor", "-1", {"the scale of the experts' outputs is -1, below 0 or not finite"}},
        {"glm4moe",
         "n_shared_experts",
         "1",
         {"mlp.shared_experts.gate_proj.weight' is 48 x 32, but the config requires 24 x 32"}},
        {"glm4moe", "n_shared_experts", "4000000000", {"shared expert is 4294967295, above 16777216"}},
        {"glm4moe", "attention_bias", "false", {"q_proj.bias' exists, but the config states"}},
        {"glm4moe", "rope_parameters", "{\"partial_rotary_factor\": 7}", {"0 of 16 dimensions"}},
        {"glm4moe", "norm_topk_prob", NULL, {"norm_topk_prob is missing"}},
        {"glm4moe", "n_shared_experts", NULL, {"n_shared_experts is missing"}},
        {"dots1", "first_k_dense_replace", NULL, {"first_k_dense_replace is missing"}},
        {"dots1",
         "n_shared_experts",
         "2",
         {"mlp.shared_experts.gate_proj.weight' is 24 x 32, but the config requires 48 x 32"}},
        {"dots1-windows", "sliding_window", "0", {"the sliding window of some layers is 0 tokens"}},
        {"phi3", "num_key_value_heads", "4", {"qkv_proj.weight' is 64 x 32, but the config requires 96 x 32"}},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        change(rows[k].base, rows[k].key, rows[k].value);
        refused(scratch_path("m"), rows[k].says);
    }
}
END_TEST

START_TEST(no_config_at_all)
{
    static const char *const says[3] = {"config.json is missing"};
    mkdir(scratch_path("m"), 0755);
    copy_file("fixtures/forward/llama/model.safetensors", scratch_path("m/model.safetensors"));
    refused(scratch_path("m"), says);
}
END_TEST

/* scratch/m.gguf becomes fixtures/forward/`base` with a text in it replaced by another one of equal length. */
static void rewrite(const char *base, const char *from, const char *to)
{
    char path[200];
    size_t size;
    snprintf(path, sizeof path, "fixtures/forward/%s.gguf", base);
    char *bytes = slurp(path, &size);
    ck_assert_ptr_nonnull(bytes);
    size_t found = 0;
    for (size_t k = 0; k + strlen(from) <= size; k++)
        if (memcmp(bytes + k, from, strlen(from)) == 0) {
            memcpy(bytes + k, to, strlen(to));
            found++;
        }
    ck_assert_msg(found > 0 && strlen(from) == strlen(to), "%s", from);
    spill(scratch_path("m.gguf"), bytes, size);
    free(bytes);
}

START_TEST(gguf_that_cannot_be)
{
    static const struct {
        const char *base, *from, *to, *says[3];
    } rows[] = {
        {"llama", "llama", "rwkv7", {"'rwkv7' is not supported"}},
        {"llama", ".block_count", ".block_xount", {"'llama.block_count' is missing"}},
        {"llama", ".context_length", ".xontext_length", {"'llama.context_length' is missing"}},
        {"llama", "blk.0.attn_output.bias", "blk.0.attn_outpux.bias", {"'blk.1.attn_output.bias' exists"}},
        {"llama", "blk.1.attn_v.weight", "blk.1.attn_x.weight", {"'blk.1.attn_v.weight' is missing"}},
        {"llama", "layer_norm_rms_epsilon", "layer_norm_xms_epsilon", {"layer_norm_rms_epsilon' is missing"}},
        {"llama", "token_embd.weight", "token_embx.weight", {"'token_embd.weight' is missing"}},
        {"qwen3", "linear", "xinear", {"'xinear', which is not supported"}},
        {"qwen3moe", "expert_used_count", "expert_xsed_count", {"expert_used_count' is missing"}},
        {"phi3-longrope",
         "rope_factors_long",
         "rope_factors_lone",
         {"'rope_factors_short.weight' exists, but 'rope_factors_long.weight' is missing"}},
        {"phi3-longrope",
         "rope_factors_short",
         "rope_factors_shore",
         {"'rope_factors_long.weight' exists, but 'rope_factors_short.weight' is missing"}},
        {"qwen2moe",
         "ffn_gate_inp_shexp.weight",
         "ffn_gate_inp_shexx.weight",
         {"'blk.0.ffn_gate_inp_shexp.weight' is missing"}},
        {"qwen2moe",
         "expert_shared_feed_forward_length",
         "expert_shared_feed_forward_lengtx",
         {"expert_shared_feed_forward_length' is missing"}},
        {"glm4moe", "exp_probs_b.bias", "exp_xrobs_b.bias", {"'blk.1.exp_probs_b.bias' is missing"}},
        {"glm4moe",
         "blk.2.post_attention_norm",
         "blk.2.xost_attention_norm",
         {"'blk.2.post_attention_norm.weight' is missing"}},
        {"glm4moe", "expert_shared_count", "expert_xhared_count", {"expert_shared_count' is missing"}},
        {"glm4moe",
         "leading_dense_block_count",
         "leading_xense_block_count",
         {"'blk.0.ffn_gate_inp.weight' is missing"}},
        {"dots1", "expert_used_count", "expert_xsed_count", {"expert_used_count' is missing"}},
        {"qwen3moe", "ffn_up_exps.weight", "ffn_ux_exps.weight", {"'blk.0.ffn_up_exps.weight' is missing"}},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        rewrite(rows[k].base, rows[k].from, rows[k].to);
        refused(scratch_path("m.gguf"), rows[k].says);
    }
}
END_TEST

START_TEST(a_token_beyond_the_vocabulary)
{
    static const uint32_t tokens[4] = {1, 2, 96, 3};
    static const size_t begin[2] = {0, 4}, row = 3;
    session s;
    organ_error error;
    const organ_windows windows = {tokens, 1, begin};
    ck_assert_int_eq(session_open(&s, "fixtures/forward/llama", 2, ROOMY, &error), ORGAN_OK);
    ck_assert_ptr_null(session_logits(&s, &windows, &row, 1, &error));
    ck_assert_int_eq(error.status, ORGAN_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, "token 2 is 96, outside the vocabulary of 96"));
    session_close(&s);
}
END_TEST

/* If all weights are NaN, the run still returns a result. */
START_TEST(nan_does_no_harm)
{
    static const char *const bases[] = {"llama", "mixtral", "gemma2"};
    static const uint32_t tokens[20] = {1, 2, 3};
    static const size_t begin[2] = {0, 20}, row = 19;
    const organ_windows windows = {tokens, 1, begin};
    for (size_t k = 0; k < sizeof bases / sizeof *bases; k++) {
        session s;
        organ_error error;
        size_t size;
        change(bases[k], "use_cache", "false");
        char *bytes = slurp(scratch_path("m/model.safetensors"), &size);
        uint64_t header;
        memcpy(&header, bytes, 8);
        memset(bytes + 8 + header, 0xff, size - 8 - header);
        spill(scratch_path("m/model.safetensors"), bytes, size);
        free(bytes);
        ck_assert_msg(session_open(&s, scratch_path("m"), 2, ROOMY, &error) == ORGAN_OK, "%s", error.message);
        float *logits = session_logits(&s, &windows, &row, 1, &error);
        ck_assert(logits && logits[0] != logits[0]);
        free(logits);
        session_close(&s);
    }
}
END_TEST

START_TEST(files_that_fail_later)
{
    static const uint32_t tokens[3] = {1, 2, 3};
    static const size_t begin[2] = {0, 3}, row = 2;
    const organ_windows windows = {tokens, 1, begin};
    session s;
    organ_error error;
    ck_assert_int_eq(session_open(&s, "fixtures/forward/llama", 2, ROOMY, &error), ORGAN_OK);
    fault_clear();
    float *logits = session_logits(&s, &windows, &row, 1, &error);
    ck_assert_ptr_nonnull(logits);
    free(logits);
    const long reads = fault_count(FAULT_PREAD);
    ck_assert_int_gt(reads, 3);
    for (long n = 1; n <= reads; n += 7) {
        fault_at(FAULT_PREAD, n, 5, true, NULL);
        ck_assert_ptr_null(session_logits(&s, &windows, &row, 1, &error));
        ck_assert_int_eq(error.status, ORGAN_IO);
        fault_clear();
    }
    session_close(&s);
}
END_TEST

START_TEST(memory_that_is_too_small)
{
    static const uint32_t tokens[3] = {1, 2, 3};
    static const size_t begin[2] = {0, 3}, row = 2;
    const organ_windows windows = {tokens, 1, begin};
    session s;
    organ_error error;
    ck_assert_int_eq(session_open(&s, "fixtures/tiny-qwen2", 2, 1 << 20, &error), ORGAN_OK);
    ck_assert_uint_eq(organ_forward_batch(s.forward, 128), 0);
    ck_assert_ptr_null(session_logits(&s, &windows, &row, 1, &error));
    ck_assert_int_eq(error.status, ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "--memory 1M is too little for layer 0 of ") != NULL, "%s", error.message);
    session_close(&s);
    ck_assert_int_eq(session_open(&s, "fixtures/tiny-qwen2", 2, ROOMY, &error), ORGAN_OK);
    const size_t tokens_of_batch = organ_forward_batch(s.forward, 128);
    ck_assert_uint_gt(tokens_of_batch, 1000);
    ck_assert_uint_lt(tokens_of_batch, ROOMY / (320 * 4));
    ck_assert_uint_eq(organ_forward_batch(s.forward, (size_t)1 << 24), 0);
    organ_layer *layer;
    error = (organ_error){0};
    ck_assert_int_eq(organ_layer_load(s.forward, 4, &layer, &error), ORGAN_USAGE);
    ck_assert_ptr_null(layer);
    error = (organ_error){0};
    s.engine.memory = 2000000; /* a layer in BF16 is 2.2 MB */
    ck_assert_int_eq(organ_layer_load(s.forward, 0, &layer, &error), ORGAN_USAGE);
    error = (organ_error){0};
    s.engine.memory = 4200000; /* in FP32 a layer takes 4.3 MB */
    ck_assert_msg(organ_layer_load(s.forward, 0, &layer, &error) == ORGAN_OK, "%s", error.message);
    organ_layer_free(layer);
    session_close(&s);
}
END_TEST

/* The choice does not depend on the number of threads. */
START_TEST(what_is_spare_is_so_for_all_threads)
{
    uint64_t spare[2];
    for (int k = 0; k < 2; k++) {
        session s;
        organ_error error = {0};
        ck_assert_int_eq(session_open(&s, "fixtures/tiny-qwen2", k ? 7 : 1, (uint64_t)76 << 20, &error), ORGAN_OK);
        spare[k] = organ_forward_spare_memory(s.forward, 128);
        ck_assert_uint_gt(organ_forward_batch(s.forward, 128), 0);
        session_close(&s);
    }
    ck_assert_uint_eq(spare[0], spare[1]);
    ck_assert(spare[0] > (uint64_t)20 << 20 && spare[0] < (uint64_t)76 << 20);
}
END_TEST

Suite *forward_faults_suite(void)
{
    const suite_case cases[] = {
        {"refused", {configs_that_cannot_be, gelu_is_exact_or_approximated, no_config_at_all, gguf_that_cannot_be}},
        {"run",
         {a_token_beyond_the_vocabulary, nan_does_no_harm, files_that_fail_later, memory_that_is_too_small,
          what_is_spare_is_so_for_all_threads}},
    };
    return suite_of("forward_faults", cases, sizeof cases / sizeof *cases, setup, teardown);
}
