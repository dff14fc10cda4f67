/* SPDX-License-Identifier: MIT
 * Tests of adapters in other layouts than their base, and of what servers load of an adapter. */
#include "tests/kit/lora_rig.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"

#include <organ/report.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PAIR LORA_PAIR

/* ---- factors of each expert on stacks ---- */

#define EXPERTS "model.layers.0.mlp.experts"
enum { COUNT = 2, WIDE = 3, HIDDEN = 6 }; /* gate_up_proj is 2 x 6 x 6: a square matrix for each expert */

static void make_stacked(const char *type, const char *class)
{
    static const made_tensor stacks[] = {{EXPERTS ".gate_up_proj", ORGAN_F32, 3, {COUNT, 2 * WIDE, HIDDEN}},
                                         {EXPERTS ".down_proj", ORGAN_F32, 3, {COUNT, HIDDEN, WIDE}}};
    char config[200];
    const int n = snprintf(config, sizeof config, "{\"model_type\": \"%s\", \"architectures\": [\"%s\"]}", type, class);
    mkdir(scratch_path("stacked"), 0777);
    make_shard(scratch_path("stacked/model.safetensors"), stacks, 2);
    spill(scratch_path("stacked/config.json"), config, (size_t)n);
}

static const made_tensor numbered[] = {
    PAIR(EXPERTS ".0.gate_proj", 2, WIDE, HIDDEN), PAIR(EXPERTS ".0.up_proj", 3, WIDE, HIDDEN),
    PAIR(EXPERTS ".1.up_proj", 1, WIDE, HIDDEN), PAIR(EXPERTS ".1.down_proj", 2, HIDDEN, WIDE)};
#define NUMBERED                                                                                                       \
    "\"r\": 2, \"lora_alpha\": 4, \"target_modules\": [\"gate_proj\", \"up_proj\", \"down_proj\"], "                   \
    "\"rank_pattern\": {\"experts.0.up_proj\": 3, \"experts.1.up_proj\": 1}"

/* Expects rows [first, first + rows) of an expert of a stack of "out" to be those of the base plus scale B A. */
static void expect_rows(const char *stack, size_t expert, size_t matrix, size_t first, size_t rows, size_t cols,
                        const char *module)
{
    size_t out, in;
    float *const is = lora_values(scratch_path("out"), stack, NULL);
    float *const was = lora_values(scratch_path("stacked"), stack, NULL);
    double *const d = module ? lora_product("lora", module, &out, &in) : NULL;
    for (size_t k = 0; k < rows * cols; k++) {
        const size_t at = (expert * matrix + first) * cols + k;
        ck_assert_double_eq_tol((double)is[at], (double)was[at] + (d ? d[k] : 0), 1e-5);
    }
    free(is);
    free(was);
    free(d);
}

static void expect_stacks(void)
{
    expect_rows(EXPERTS ".gate_up_proj", 0, 2 * WIDE, 0, WIDE, HIDDEN, EXPERTS ".0.gate_proj");
    expect_rows(EXPERTS ".gate_up_proj", 0, 2 * WIDE, WIDE, WIDE, HIDDEN, EXPERTS ".0.up_proj");
    expect_rows(EXPERTS ".gate_up_proj", 1, 2 * WIDE, 0, WIDE, HIDDEN, NULL);
    expect_rows(EXPERTS ".gate_up_proj", 1, 2 * WIDE, WIDE, WIDE, HIDDEN, EXPERTS ".1.up_proj");
    expect_rows(EXPERTS ".down_proj", 0, HIDDEN, 0, HIDDEN, WIDE, NULL);
    expect_rows(EXPERTS ".down_proj", 1, HIDDEN, 0, HIDDEN, WIDE, EXPERTS ".1.down_proj");
}

/* Gate and up of each expert have factors of their own, of other ranks, and some experts have none. */
START_TEST(numbered_experts_on_stacks)
{
    make_stacked("qwen3_moe", "Qwen3MoeForCausalLM");
    lora_adapter("lora", NUMBERED, numbered, 8);
    lora_must((lora_way){.base = "stacked", .adapter = "lora", .output = "out"});
    expect_stacks();
}
END_TEST

/* vLLM loads factors of stacks for Qwen 3.5 MoE, and those of each expert for Qwen 3 MoE. */
START_TEST(sanitised_experts_on_stacks)
{
    static const struct {
        const char *type, *class, *key;
        uint64_t rows;
    } ways[] = {{"qwen3_5_moe_text", "Qwen3_5MoeForCausalLM", EXPERTS ".base_layer", COUNT * 5},
                {"qwen3_moe", "Qwen3MoeForCausalLM", EXPERTS ".0.up_proj", 3}};
    for (size_t k = 0; k < 2; k++) {
        json_error_t e;
        char name[200];
        size_t n;
        make_stacked(ways[k].type, ways[k].class);
        lora_adapter("lora", NUMBERED, numbered, 8);
        lora_must((lora_way){
            .verb = LORA_SANITIZE, .base = "stacked", .adapter = "lora", .output = "servable", .force = true});
        snprintf(name, sizeof name, LORA_PREFIX "%s.lora_A.weight", ways[k].key);
        free(lora_values(scratch_path("servable/adapter_model.safetensors"), name, &n));
        ck_assert_uint_eq(n, ways[k].rows * HIDDEN);
        json_t *config = json_load_file(scratch_path("servable/adapter_config.json"), 0, &e);
        ck_assert_uint_eq(json_array_size(json_object_get(config, "target_parameters")), k ? 0 : 2);
        ck_assert_uint_eq(json_array_size(json_object_get(config, "target_modules")), k ? 3 : 0);
        json_decref(config);
        lora_must((lora_way){.base = "stacked", .adapter = "servable", .output = "out", .force = true});
        expect_stacks();
    }
}
END_TEST

/* ---- tied bases ---- */

enum { WORDS = 24 };
#define EMBED "model.embed_tokens"

static void make_tied_base(bool copy)
{
    static const made_tensor tensors[] = {{EMBED ".weight", ORGAN_F32, 2, {WORDS, HIDDEN}}};
    static const char config[] = "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], "
                                 "\"vocab_size\": 24, \"tie_word_embeddings\": true}";
    size_t n;
    mkdir(scratch_path("stacked"), 0777);
    make_shard(scratch_path("stacked/model.safetensors"), tensors, 1);
    spill(scratch_path("stacked/config.json"), config, sizeof config - 1);
    if (!copy)
        return;
    const made_tensor both[] = {tensors[0], {"lm_head.weight", ORGAN_F32, 2, {WORDS, HIDDEN}}};
    make_shard(scratch_path("stacked/model.safetensors"), both, 2);
    float *const embedding = lora_values(scratch_path("stacked"), EMBED ".weight", &n);
    for (size_t k = 0; k < n; k++) {
        uint32_t bits;
        memcpy(&bits, &embedding[k], sizeof bits);
        lora_poison_file(scratch_path("stacked/model.safetensors"), "lm_head.weight", k, bits);
    }
    free(embedding);
}

static const made_tensor embedding_pair[] = {{LORA_PREFIX EMBED ".lora_embedding_A", ORGAN_F32, 2, {2, WORDS}},
                                             {LORA_PREFIX EMBED ".lora_embedding_B", ORGAN_F32, 2, {HIDDEN, 2}}};
static const made_tensor head_pair[] = {PAIR("lm_head", 2, WORDS, HIDDEN)};
static const made_tensor whole[] = {{LORA_PREFIX EMBED ".weight", ORGAN_F32, 2, {WORDS, HIDDEN}}};

/* Returns whether a tensor of "out" has other values than the base's embedding; it must be there. */
static bool is_changed(const char *tensor)
{
    size_t n;
    float *const is = lora_values(scratch_path("out"), tensor, &n);
    float *const was = lora_values(scratch_path("stacked"), EMBED ".weight", NULL);
    ck_assert_msg(is != NULL, "out has no %s", tensor);
    const bool changed = memcmp(is, was, n * sizeof *is) != 0;
    free(is);
    free(was);
    return changed;
}

static bool has_own_head(void)
{
    json_error_t e;
    json_t *config = json_load_file(scratch_path("out/config.json"), 0, &e);
    const bool tied = json_is_true(json_object_get(config, "tie_word_embeddings"));
    json_decref(config);
    return !tied;
}

/* peft changes the embedding and the head of a tied base apart; --keep-tied changes both. */
START_TEST(heads_of_tied_bases)
{
    static const struct {
        const made_tensor *tensors;
        size_t count;
        bool embedding, head; /* which of both the adapter changes */
    } ways[] = {{embedding_pair, 2, true, false}, {whole, 1, true, false}, {head_pair, 2, false, true}};
    for (size_t k = 0; k < 6; k++) {
        const bool copy = k >= 3; /* the base stores its embedding twice */
        make_tied_base(copy);
        lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4", ways[k % 3].tensors, ways[k % 3].count);
        lora_must((lora_way){.base = "stacked", .adapter = "lora", .output = "out", .force = true});
        ck_assert(is_changed(EMBED ".weight") == ways[k % 3].embedding);
        ck_assert(is_changed("lm_head.weight") == ways[k % 3].head);
        ck_assert(has_own_head());
        ck_assert_str_eq(organ_json_text(lora_report, "head.tensor"), "lm_head.weight");
        const lora_way kept = {.base = "stacked", .adapter = "lora", .output = "out", .force = true, .keep_tied = true};
        if (ways[k % 3].head) {
            lora_refused((lora_way){.base = "stacked", .adapter = "lora", .output = "none", .keep_tied = true},
                         ORGAN_BAD_INPUT, "it changes the output head");
            continue;
        }
        lora_must(kept);
        ck_assert(is_changed(EMBED ".weight") && !has_own_head());
        ck_assert(!copy || is_changed("lm_head.weight"));
        ck_assert(json_is_true(organ_json_at(lora_report, "kept_tied")));
    }
}
END_TEST

/* peft stores the base's embedding beside its factors; it replaces nothing. */
START_TEST(copies_of_the_base)
{
    made_tensor tensors[] = {
        embedding_pair[0], embedding_pair[1], {LORA_PREFIX EMBED ".base_layer.weight", ORGAN_F32, 2, {WORDS, HIDDEN}}};
    size_t n;
    make_tied_base(/*copy=*/false);
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4", tensors, 3);
    lora_must((lora_way){.base = "stacked", .adapter = "lora", .output = "out"});
    ck_assert_uint_eq(json_array_size(organ_json_at(lora_report, "replaced")), 1); /* another embedding */
    float *const embedding = lora_values(scratch_path("stacked"), EMBED ".weight", &n);
    for (size_t k = 0; k < n; k++) {
        uint32_t bits;
        memcpy(&bits, &embedding[k], sizeof bits);
        lora_poison_file(scratch_path("lora/adapter_model.safetensors"), tensors[2].name, k, bits);
    }
    free(embedding);
    lora_must((lora_way){.base = "stacked", .adapter = "lora", .output = "out", .force = true});
    ck_assert_uint_eq(json_array_size(organ_json_at(lora_report, "replaced")), 0);
    ck_assert(is_changed(EMBED ".weight") && !is_changed("lm_head.weight"));
}
END_TEST

/* ---- verdicts ---- */

static const json_t *row_of(const char *list, size_t k) { return json_array_get(organ_json_at(lora_report, list), k); }

/* Ranks and scales of single modules and factors of embeddings are served; matrices of a kind share one row. */
START_TEST(verdicts_by_kind)
{
    static const made_tensor pairs[] = {PAIR("model.layers.0.self_attn.q_proj", 3, 8, 8),
                                        PAIR("model.layers.0.input_layernorm", 2, 8, 8),
                                        PAIR("model.layers.1.input_layernorm", 2, 8, 8), PAIR("lm_head", 2, 24, 8)};
    lora_adapter("lora",
                 "\"r\": 2, \"lora_alpha\": 4, \"target_modules\": [\"q_proj\", \"lm_head\"], \"rank_pattern\": "
                 "{\"q_proj\": 3}",
                 pairs, 8);
    lora_refused((lora_way){.verb = LORA_SANITIZE, .adapter = "lora", .check = true}, ORGAN_CHECK_FAILED, "1 finding");
    ck_assert_uint_eq(json_array_size(organ_json_at(lora_report, "findings")), 1);
    ck_assert_uint_eq(organ_json_count(row_of("findings", 0), "count"), 4);
    ck_assert_str_eq(organ_json_text(row_of("findings", 0), "text"), "vLLM 0.32 loads no factors of norms");
    ck_assert_str_eq(organ_json_text(row_of("conditions", 0), "where"), "rank_pattern");
    ck_assert_str_eq(organ_json_text(row_of("conditions", 1), "where"), "lm_head");
    ck_assert_uint_eq(organ_json_count(lora_report, "output.max_lora_rank"), 8);
}
END_TEST

/* The class of Qwen 2 in vLLM lists no embeddings, that of Qwen 3 does. */
START_TEST(embeddings_by_architecture)
{
    static const made_tensor base[] = {{"lm_head.weight", ORGAN_F32, 2, {24, 8}},
                                       {"model.layers.0.self_attn.q_proj.weight", ORGAN_F32, 2, {8, 8}}};
    static const made_tensor pairs[] = {PAIR("model.layers.0.self_attn.q_proj", 2, 8, 8), PAIR("lm_head", 2, 24, 8)};
    static const char *const configs[] = {"{\"model_type\": \"qwen3\", \"architectures\": [\"Qwen3ForCausalLM\"]}",
                                          "{\"model_type\": \"qwen2\", \"architectures\": [\"Qwen2ForCausalLM\"]}"};
    mkdir(scratch_path("plain"), 0777);
    make_shard(scratch_path("plain/model.safetensors"), base, 2);
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4, \"target_modules\": [\"q_proj\", \"lm_head\"]", pairs, 4);
    for (size_t k = 0; k < 2; k++) {
        spill(scratch_path("plain/config.json"), configs[k], strlen(configs[k]));
        lora_must(
            (lora_way){.verb = LORA_SANITIZE, .base = "plain", .adapter = "lora", .output = "out", .force = true});
        ck_assert_uint_eq(json_array_size(organ_json_at(lora_report, "dropped")), k ? 2 : 0);
        ck_assert_uint_eq(organ_json_count(lora_report, "totals.modules"), k ? 1 : 2);
    }
}
END_TEST

/* ---- DoRA ---- */

#define O "model.layers.0.self_attn.o_proj"

/* A row that is zero in the base, and that B does not change, has no direction. */
START_TEST(rows_without_norm)
{
    static const made_tensor base[] = {{O ".weight", ORGAN_F32, 2, {8, 4}}};
    static const made_tensor pairs[] = {PAIR(O, 2, 8, 4), {LORA_PREFIX O ".lora_magnitude_vector", ORGAN_F32, 1, {8}}};
    make_shard(scratch_path("rows.safetensors"), base, 1);
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4, \"use_dora\": true", pairs, 3);
    for (size_t k = 0; k < 4; k++)
        lora_poison_file(scratch_path("rows.safetensors"), O ".weight", 5 * 4 + k, 0);
    for (size_t k = 0; k < 2; k++)
        lora_poison_file(scratch_path("lora/adapter_model.safetensors"), LORA_PREFIX O ".lora_B.weight", 5 * 2 + k, 0);
    lora_refused((lora_way){.base = "rows.safetensors", .adapter = "lora", .output = "none"}, ORGAN_BAD_INPUT,
                 "'" O ".weight': row 5 of W + scale B A has norm 0");
}
END_TEST

Suite *lora_served_suite(void)
{
    const suite_case cases[] = {{"experts", {numbered_experts_on_stacks, sanitised_experts_on_stacks}},
                                {"verdicts", {verdicts_by_kind, embeddings_by_architecture}},
                                {"tied", {heads_of_tied_bases, copies_of_the_base}},
                                {"dora", {rows_without_norm}}};
    return suite_of("lora_served", cases, sizeof cases / sizeof *cases, lora_setup, lora_teardown);
}
