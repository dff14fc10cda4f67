/* SPDX-License-Identifier: MIT
 * Tests of merges of adapters with what peft alone decides: the class of a module, trained tokens, whole tensors of
 * another shape. */
#include "tests/kit/lora_rig.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"

#include <organ/report.h>

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PAIR LORA_PAIR
#define WEIGHT(name, rows, cols)                                                                                       \
    {                                                                                                                  \
        name ".weight", ORGAN_F32, 2, { rows, cols }                                                                   \
    }

/* peft writes the flag of the last module that it wraps: false with a head, which is no Conv1D. Nothing else in these
 * files shows the orientation of the square matrix but the architecture, or the biases of other matrices. */
START_TEST(the_flag_of_the_head)
{
    static const made_tensor base[] = {WEIGHT("transformer.h.0.attn.c_attn", 24, 72),
                                       {"transformer.h.0.attn.c_attn.bias", ORGAN_F32, 1, {72}},
                                       WEIGHT("transformer.h.0.attn.c_proj", 24, 24),
                                       WEIGHT("lm_head", 24, 24)};
    static const made_tensor pairs[] = {PAIR("transformer.h.0.attn.c_proj", 2, 24, 24), PAIR("lm_head", 2, 24, 24)};
    static const char config[] = "{\"model_type\": \"gpt2\", \"architectures\": [\"GPT2LMHeadModel\"]}";
    static const char *const flags[] = {"false", "true"};
    mkdir(scratch_path("conv"), 0777);
    make_shard(scratch_path("conv.safetensors"), base, 4);
    make_shard(scratch_path("conv/model.safetensors"), base, 4);
    spill(scratch_path("conv/config.json"), config, sizeof config - 1);
    for (size_t k = 0; k < 4; k++) {
        char text[80];
        snprintf(text, sizeof text, "\"r\": 2, \"lora_alpha\": 4, \"fan_in_fan_out\": %s", flags[k / 2]);
        lora_adapter("lora", text, pairs, 4);
        lora_must(
            (lora_way){.base = k % 2 ? "conv" : "conv.safetensors", .adapter = "lora", .output = "out", .force = true});
        lora_expect_merged("conv.safetensors", "lora", "transformer.h.0.attn.c_proj", true, 1);
        lora_expect_merged("conv.safetensors", "lora", "lm_head", false, 1);
    }
}
END_TEST

/* Published files lack the prefix that the modules of transformers have; the adapter has the names of the modules. */
START_TEST(names_of_transformers)
{
    static const made_tensor base[] = {WEIGHT("h.0.attn.c_attn", 24, 72), {"h.0.ln_1.weight", ORGAN_F32, 1, {24}}};
    static const made_tensor tensors[] = {PAIR("transformer.h.0.attn.c_attn", 2, 72, 24),
                                          {LORA_PREFIX "transformer.h.0.ln_1.weight", ORGAN_F32, 1, {24}}};
    static const char config[] = "{\"model_type\": \"gpt2\", \"architectures\": [\"GPT2LMHeadModel\"]}";
    mkdir(scratch_path("headless"), 0777);
    make_shard(scratch_path("headless/model.safetensors"), base, 2);
    spill(scratch_path("headless/config.json"), config, sizeof config - 1);
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4", tensors, 3);
    lora_must((lora_way){.base = "headless", .adapter = "lora", .output = "out"});
    ck_assert_uint_eq(json_array_size(organ_json_at(lora_report, "modules")), 1);
    ck_assert_str_eq(organ_json_text(json_array_get(organ_json_at(lora_report, "modules"), 0), "tensor"),
                     "h.0.attn.c_attn.weight");
    ck_assert_str_eq(organ_json_text(json_array_get(organ_json_at(lora_report, "replaced"), 0), "tensor"),
                     "h.0.ln_1.weight");
}
END_TEST

/* peft joins the factors of gate and up projections of numbered experts, so that their stack has twice the rank. */
START_TEST(experts_keep_the_rank_of_their_stack)
{
#define EXPERT "model.layers.0.mlp.experts.0."
    static const made_tensor pairs[] = {PAIR(EXPERT "gate_proj", 4, 6, 8), PAIR(EXPERT "up_proj", 4, 6, 8),
                                        PAIR(EXPERT "down_proj", 4, 8, 6)};
    json_error_t e;
    lora_adapter("lora",
                 "\"r\": 4, \"lora_alpha\": 4, \"target_modules\": [\"q_proj\"], \"target_parameters\": "
                 "[\"model.layers.0.mlp.experts.gate_up_proj\", \"model.layers.0.mlp.experts.down_proj\"], "
                 "\"rank_pattern\": {\"model\\\\.layers\\\\.0\\\\.mlp\\\\.experts\\\\.gate_up_proj\": 8}",
                 pairs, 6);
    lora_must((lora_way){.verb = LORA_RESIZE, .adapter = "lora", .output = "out", .rank = 2});
    json_t *config = json_load_file(scratch_path("out/adapter_config.json"), 0, &e);
    const json_t *const ranks = json_object_get(config, "rank_pattern");
    ck_assert_int_eq(json_integer_value(json_object_get(config, "r")), 2);
    ck_assert(json_object_size(ranks) == 1 && json_equal(ranks, json_object_get(config, "alpha_pattern")));
    ck_assert_int_eq(json_integer_value(json_object_get(ranks, "model\\.layers\\.0\\.mlp\\.experts\\.gate_up_proj")),
                     4);
    json_decref(config);
}
END_TEST

/* ---- words ---- */

enum { WORDS = 24, HIDDEN = 16 };

static const made_tensor tied[] = {WEIGHT("model.embed_tokens", WORDS, HIDDEN),
                                   WEIGHT("model.layers.0.self_attn.q_proj", HIDDEN, HIDDEN)};

/* Makes the base "tied", a directory with a config. */
static void make_tied(void)
{
    static const char config[] = "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], "
                                 "\"vocab_size\": 24, \"tie_word_embeddings\": true}";
    mkdir(scratch_path("tied"), 0777);
    make_shard(scratch_path("tied/model.safetensors"), tied, 2);
    spill(scratch_path("tied/config.json"), config, sizeof config - 1);
}

static json_t *config_of_out(void)
{
    json_error_t e;
    json_t *config = json_load_file(scratch_path("out/config.json"), 0, &e);
    ck_assert_msg(config != NULL, "%s", e.text);
    return config;
}

/* Compares `rows` rows of a tensor of "out" with those of a tensor of the adapter. */
static void expect_whole(const char *tensor, const char *from, size_t rows)
{
    size_t n;
    float *const is = lora_values(scratch_path("out"), tensor, &n);
    float *const wanted = lora_values(scratch_path("lora/adapter_model.safetensors"), from, NULL);
    ck_assert_uint_eq(n, rows * HIDDEN);
    ck_assert_mem_eq(is, wanted, n * sizeof *is);
    free(is);
    free(wanted);
}

#define TOKENS LORA_PREFIX "model.embed_tokens.token_adapter.trainable_tokens_delta"

/* peft stores the new rows of some words. */
START_TEST(trained_tokens)
{
    static const made_tensor tensors[] = {{TOKENS, ORGAN_F32, 2, {2, HIDDEN}}};
    static const struct {
        const char *indices, *why;
    } ways[] = {{"{\"embed_tokens\": [5, 9]}", NULL},
                {"[5, 9]", NULL},
                {"{\"embed_tokens\": [5, 24]}", "do not fit the 2 numbers"},
                {"{\"embed_tokens\": [5]}", "do not fit the 1 numbers"},
                {"{\"wte\": [5, 9]}", "the config has no list"}};
    make_tied();
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        char text[120];
        const lora_way way = {.base = "tied", .adapter = "lora", .output = ways[k].why ? "none" : "out", .force = true};
        snprintf(text, sizeof text, "\"r\": 2, \"lora_alpha\": 4, \"trainable_token_indices\": %s", ways[k].indices);
        lora_adapter("lora", text, tensors, 1);
        if (ways[k].why) {
            lora_refused(way, ORGAN_BAD_INPUT, "trainable_token_indices: ");
            lora_refused(way, ORGAN_BAD_INPUT, ways[k].why);
            continue;
        }
        lora_must(way);
        float *const is = lora_values(scratch_path("out"), "model.embed_tokens.weight", NULL);
        float *const was = lora_values(scratch_path("tied"), "model.embed_tokens.weight", NULL);
        float *const rows = lora_values(scratch_path("lora/adapter_model.safetensors"), TOKENS, NULL);
        memcpy(was + 5 * HIDDEN, rows, HIDDEN * sizeof *was);
        memcpy(was + 9 * HIDDEN, rows + HIDDEN, HIDDEN * sizeof *was);
        ck_assert_mem_eq(is, was, WORDS * HIDDEN * sizeof *is);
        ck_assert_uint_eq(organ_json_count(json_array_get(organ_json_at(lora_report, "tokens"), 0), "rows"), 2);
        free(is);
        free(was);
        free(rows);
    }
}
END_TEST

/* A model tuned with a head of its own: the output is no longer tied. */
START_TEST(a_head_of_its_own)
{
    static const made_tensor head[] = {{LORA_PREFIX "lm_head.weight", ORGAN_F32, 2, {WORDS, HIDDEN}}};
    static const made_tensor wide[] = {{LORA_PREFIX "lm_head.weight", ORGAN_F32, 2, {WORDS + 1, HIDDEN}}};
    make_tied();
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4, \"modules_to_save\": [\"lm_head\"]", head, 1);
    lora_must((lora_way){.base = "tied", .adapter = "lora", .output = "out"});
    expect_whole("lm_head.weight", head[0].name, WORDS);
    json_t *config = config_of_out();
    ck_assert(json_is_false(json_object_get(config, "tie_word_embeddings")));
    json_decref(config);
    ck_assert_str_eq(organ_json_text(lora_report, "head.tensor"), "lm_head.weight");
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4, \"modules_to_save\": [\"lm_head\"]", wide, 1);
    lora_refused((lora_way){.base = "tied", .adapter = "lora", .output = "none"}, ORGAN_BAD_INPUT,
                 "a head must be 24 x 16, as the embedding, but it is 25 x 16");
}
END_TEST

/* Files of GPT-NeoX call the head "embed_out", transformers calls it "lm_head". */
START_TEST(a_head_of_gpt_neox)
{
    static const made_tensor base[] = {WEIGHT("gpt_neox.embed_in", WORDS, HIDDEN),
                                       WEIGHT("gpt_neox.layers.0.attention.dense", HIDDEN, HIDDEN)};
    static const char config[] = "{\"model_type\": \"gpt_neox\", \"architectures\": [\"GPTNeoXForCausalLM\"], "
                                 "\"vocab_size\": 24, \"tie_word_embeddings\": true}";
    static const made_tensor head[] = {{LORA_PREFIX "lm_head.weight", ORGAN_F32, 2, {WORDS, HIDDEN}}};
    mkdir(scratch_path("neox"), 0777);
    make_shard(scratch_path("neox/model.safetensors"), base, 2);
    spill(scratch_path("neox/config.json"), config, sizeof config - 1);
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4, \"modules_to_save\": [\"lm_head\"]", head, 1);
    lora_must((lora_way){.base = "neox", .adapter = "lora", .output = "out"});
    expect_whole("embed_out.weight", head[0].name, WORDS);
    ck_assert_str_eq(organ_json_text(lora_report, "head.tensor"), "embed_out.weight");
}
END_TEST

/* New words: both matrices, and vocab_size, must agree. */
START_TEST(more_words)
{
    static const made_tensor both[] = {
        {LORA_PREFIX "model.embed_tokens.modules_to_save.weight", ORGAN_F32, 2, {WORDS + 3, HIDDEN}},
        {LORA_PREFIX "lm_head.weight", ORGAN_F32, 2, {WORDS + 3, HIDDEN}}};
    static const made_tensor untied[] = {WEIGHT("model.embed_tokens", WORDS, HIDDEN), WEIGHT("lm_head", WORDS, HIDDEN)};
    make_tied();
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4", both, 2);
    for (size_t k = 0; k < 2; k++) { /* the base is tied; the base has a head */
        lora_must((lora_way){.base = "tied", .adapter = "lora", .output = "out", .force = true});
        expect_whole("model.embed_tokens.weight", both[0].name, WORDS + 3);
        expect_whole("lm_head.weight", both[1].name, WORDS + 3);
        json_t *config = config_of_out();
        ck_assert_int_eq(json_integer_value(json_object_get(config, "vocab_size")), WORDS + 3);
        json_decref(config);
        ck_assert_uint_eq(organ_json_count(lora_report, "words"), WORDS + 3);
        make_shard(scratch_path("tied/model.safetensors"), untied, 2);
    }
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4", both, 1);
    lora_refused((lora_way){.base = "tied", .adapter = "lora", .output = "none"}, ORGAN_BAD_INPUT,
                 "it has 27 words, but 'lm_head.weight' has 24");
}
END_TEST

/* ---- rounding with feedback ---- */

#define Q "model.layers.0.self_attn.q_proj"

static float bf16(uint16_t code)
{
    const uint32_t bits = (uint32_t)code << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint16_t code_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Computes a row as docs/definitions/lora.md defines it, for one direction. */
static void expect_row(const float *exact, const float *is, const float *a, size_t cols)
{
    double sum = 0;
    for (size_t j = 0; j < cols; j++) {
        const double v = (double)exact[j];
        const uint16_t code = code_of(exact[j]);
        const bool outward = fabs(v) > fabs((double)bf16(code));
        const double nearest = (double)bf16(code), other = (double)bf16((uint16_t)(outward ? code + 1 : code - 1));
        const double kept = sum + (v - nearest) * (double)a[j], turned = sum + (v - other) * (double)a[j];
        double wanted = nearest;
        if (v != nearest && fabs(fabs(turned) - fabs(kept)) > 1e-12 * fabs(kept))
            wanted = fabs(turned) < fabs(kept) ? other : nearest;
        else if (v != nearest)
            wanted = (double)is[j]; /* a tie */
        REQUIRE_MSG((double)is[j] == wanted, "column %zu: %.9g, not %.9g", j, (double)is[j], wanted);
        sum += (v - wanted) * (double)a[j];
    }
}

START_TEST(feedback_as_defined)
{
    static const made_tensor base[] = {{Q ".weight", ORGAN_BF16, 2, {40, 300}}};
    static const made_tensor one[] = {PAIR(Q, 1, 40, 300)};
    make_shard(scratch_path("base.safetensors"), base, 1);
    lora_adapter("lora", "\"r\": 1, \"lora_alpha\": 1e-3", one, 2);
    lora_must((lora_way){.base = "base.safetensors", .adapter = "lora", .output = "wide", .dtype = "f32"});
    lora_must((lora_way){.base = "base.safetensors", .adapter = "lora", .output = "out", .feedback = true});
    float *const exact = lora_values(scratch_path("wide"), Q ".weight", NULL);
    float *const is = lora_values(scratch_path("out"), Q ".weight", NULL);
    float *const a = lora_values(scratch_path("lora/adapter_model.safetensors"), one[0].name, NULL);
    for (size_t i = 0; i < 40; i++)
        expect_row(exact + i * 300, is + i * 300, a, 300);
    free(exact);
    free(is);
    free(a);
}
END_TEST

/* A change that is finer than BF16 arrives, with the same bytes for all threads; F32 does not need it. */
START_TEST(feedback_keeps_the_change)
{
    static const made_tensor base[] = {{Q ".weight", ORGAN_BF16, 2, {300, 500}},
                                       {"model.embed_tokens.weight", ORGAN_F16, 2, {60, 800}}};
    static const made_tensor pairs[] = {PAIR(Q, 4, 300, 500),
                                        {LORA_PREFIX "model.embed_tokens.lora_embedding_A", ORGAN_F32, 2, {4, 60}},
                                        {LORA_PREFIX "model.embed_tokens.lora_embedding_B", ORGAN_F32, 2, {800, 4}}};
    static const size_t threads[] = {1, 3, 7};
    lora_way way = {.base = "base.safetensors", .adapter = "lora", .output = "nearest"};
    make_shard(scratch_path("base.safetensors"), base, 2);
    lora_adapter("lora", "\"r\": 4, \"lora_alpha\": 1e-3", pairs, 4);
    lora_must(way);
    ck_assert_uint_eq(organ_json_count(lora_report, "totals.erased"), 2);
    way.feedback = true;
    for (size_t k = 0; k < 3; k++) {
        way.output = k ? "again" : "out";
        way.force = true;
        way.threads = threads[k];
        way.memory = k ? 6u << 20 : 0;
        lora_must(way);
        for (size_t m = 0; m < 2; m++) {
            const json_t *const row = json_array_get(organ_json_at(lora_report, "modules"), m);
            ck_assert_double_eq_tol(organ_json_real(row, "arrived"), 1, 0.1);
        }
        ck_assert(!k || same_files(scratch_path("out/model.safetensors"), scratch_path("again/model.safetensors")));
    }
    lora_must((lora_way){.base = "base.safetensors", .adapter = "lora", .output = "wide", .dtype = "f32"});
    way.dtype = "f32";
    way.output = "same";
    lora_must(way);
    ck_assert(same_files(scratch_path("wide/model.safetensors"), scratch_path("same/model.safetensors")));
}
END_TEST

/* ---- values beyond the range ---- */

/* A finite value that the type of the output cannot hold is refused wherever it comes from: a weight of the base that
 * the adapter changes, with feedback or without, or a tensor that the adapter stores whole, in the place of a weight or
 * as a new head. */
START_TEST(no_value_becomes_infinite)
{
    static const made_tensor pairs[] = {PAIR(Q, 2, HIDDEN, HIDDEN)};
    static const made_tensor whole[] = {{LORA_PREFIX "model.embed_tokens.weight", ORGAN_F32, 2, {WORDS, HIDDEN}},
                                        {LORA_PREFIX "lm_head.weight", ORGAN_F32, 2, {WORDS, HIDDEN}}};
    static const struct {
        const char *tensor; /* in the adapter; NULL: the weight of the base that it changes */
        const char *dtype;
        bool feedback;
        uint32_t bits;
        const char *why;
    } ways[] = {
        {NULL, "f16", false, 0x477fefff, NULL}, /* just below 65520, becomes 65504 */
        {NULL, "f16", false, 0x4788b800, "tensor '" Q ".weight': value 5 of the output exceeds the range of F16"},
        {NULL, "f16", true, 0xc788b800, "value 5 of the output exceeds the range of F16"},
        {NULL, "bf16", false, 0x7f7f7fff, NULL},
        {NULL, "bf16", false, 0x7f7f8000, "value 5 of the output exceeds the range of BF16"},
        {NULL, "bf16", true, 0xff7fffff, "value 5 of the output exceeds the range of BF16"},
        {whole[0].name, "f16", false, 0x4788b800, "tensor 'model.embed_tokens.weight': value 5 of the output"},
        {whole[0].name, "bf16", false, 0x7f7fffff, "tensor 'model.embed_tokens.weight': value 5 of the output"},
        {whole[1].name, "f16", false, 0x4788b800, "tensor 'lm_head.weight': value 5 of the output"},
        {whole[1].name, "bf16", false, 0x7f7fffff, "tensor 'lm_head.weight': value 5 of the output"}};
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        const lora_way way = {.base = "tied",
                              .adapter = "lora",
                              .output = ways[k].why ? "none" : "out",
                              .dtype = ways[k].dtype,
                              .feedback = ways[k].feedback,
                              .force = true};
        make_tied();
        lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4", ways[k].tensor ? whole : pairs, 2);
        if (ways[k].tensor)
            lora_poison_file(scratch_path("lora/adapter_model.safetensors"), ways[k].tensor, 5, ways[k].bits);
        else
            lora_poison_file(scratch_path("tied/model.safetensors"), Q ".weight", 5, ways[k].bits);
        if (ways[k].why)
            lora_refused(way, ORGAN_BAD_INPUT, ways[k].why);
        else
            lora_must(way);
    }
}
END_TEST

Suite *lora_peft_suite(void)
{
    const suite_case cases[] = {{"peft",
                                 {the_flag_of_the_head, names_of_transformers, experts_keep_the_rank_of_their_stack,
                                  trained_tokens, a_head_of_its_own, a_head_of_gpt_neox, more_words}},
                                {"feedback", {feedback_as_defined, feedback_keeps_the_change}},
                                {"range", {no_value_becomes_infinite}}};
    return suite_of("lora_peft", cases, sizeof cases / sizeof *cases, lora_setup, lora_teardown);
}
