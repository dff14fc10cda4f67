/* SPDX-License-Identifier: MIT
 * Tests of dropped blocks: names are renumbered, and members of config.json and key-values about layers stay right, or
 * the cut is rejected by name. */
#include "tests/verbs/shrink/cut_rig.h"

#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <string.h>

/* Six layers of one norm each. */
#define NORMS(l) "model.layers." #l ".input_layernorm.weight F32 4\n"
#define SIX                                                                                                            \
    "model.embed_tokens.weight F32 8,4\n" NORMS(0) NORMS(1) NORMS(2) NORMS(3) NORMS(4)                                 \
        NORMS(5) "model.norm.weight F32 4\n"
#define MADE(l, of) "model.layers." #l ".input_layernorm.weight = model.layers." #of ".input_layernorm.weight\n"

START_TEST(names_close_up)
{
    rig_donor("{\"model_type\": \"llama\", \"num_hidden_layers\": 6, \"rope_scaling\": null}", SIX);
    must_cut("out", (cut_way){.cut = "d1 d4"});
    made_of("out",
            "model.embed_tokens.weight = model.embed_tokens.weight\nmodel.norm.weight = model.norm.weight\n" MADE(0, 0)
                MADE(1, 2) MADE(2, 3) MADE(3, 5));
    ck_assert_str_eq(config_says("out", "num_hidden_layers"), "4");
    const json_t *const layers = json_object_get(cut_report, "layers");
    ck_assert(json_is_null(json_object_get(json_array_get(layers, 4), "becomes")));
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(layers, 5), "becomes")), 3);
}
END_TEST

#define DSA "\"model_type\": \"glm_moe_dsa\", "

/* A config of six layers, and its member after some of them are dropped. */
static const struct told {
    const char *config, *cut, *key,
        *value; /* config: members after num_hidden_layers; value NULL: an error with `key` in the message */
} told[] = {
    {"\"layer_types\": [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\"]", "d1 d2", "layer_types",
     "[\"a\",\"d\",\"e\",\"f\"]"},
    {"\"no_rope_layers\": [1, 1, 1, 0, 1, 1]", "d0", "no_rope_layers", "[1,1,0,1,1]"},
    {"\"mlp_only_layers\": [0, 3, 5]", "d3", "mlp_only_layers", "[0,4]"},
    {"\"moe_layers\": [1, 3, 5]", "d0 d5", "moe_layers", "[0,2]"},
    {"\"max_window_layers\": 4", "d0 d5", "max_window_layers", "3"},
    {"\"max_window_layers\": 6", "d0 d5", "max_window_layers", "4"},
    {"\"max_window_layers\": 80", "d0 d5", "max_window_layers", "78"},
    {"\"first_k_dense_replace\": 3", "d1 d4", "first_k_dense_replace", "2"},
    {"\"hybrid_override_pattern\": \"M-M*-E\"", "d1 d5", "hybrid_override_pattern", "\"MM*-\""},
    {"\"hybrid_override_pattern\": \"M-M*\"", "d1", "does not have one letter for each layer", NULL},
    {"\"sliding_window_pattern\": 3", "d0 d1 d2", "layer_types", ""}, /* the pattern still holds */
    {"\"sliding_window_pattern\": 3", "d0", "layer_types",
     "[\"sliding_attention\",\"full_attention\",\"sliding_attention\",\"sliding_attention\",\"full_attention\"]"},
    {"\"model_type\": \"gemma2\"", "d0", "layer_types",
     "[\"full_attention\",\"sliding_attention\",\"full_attention\",\"sliding_attention\",\"full_attention\"]"},
    {"\"model_type\": \"gemma2\"", "d0 d1", "layer_types", ""},
    {"\"full_attention_interval\": 2", "d0", "layer_types",
     "[\"full_attention\",\"linear_attention\",\"full_attention\",\"linear_attention\",\"full_attention\"]"},
    {"\"model_type\": \"smollm3\"", "d0", "no_rope_layers", "[1,1,0,1,1]"},
    {"\"no_rope_layer_interval\": 2", "d3", "no_rope_layers", "[1,0,1,1,0]"},
    {"\"moe_layer_freq\": 2", "d1", "moe_layer_freq is 2: no other step", NULL},
    {"\"moe_layer_freq\": 2", "d1 d3 d5", "moe_layer_freq", "1"},
    {"\"moe_layer_freq\": 3, \"first_k_dense_replace\": 2", "d0 d1 d4", "moe_layer_freq is 3: no other step", NULL},
    {"\"moe_layer_freq\": 3, \"first_k_dense_replace\": 2", "d0 d2", "moe_layer_freq is 3: no other step", NULL},
    {"\"moe_layer_freq\": 3, \"first_k_dense_replace\": 2", "d1 d2 d4 d5", "moe_layer_freq", "1"},
    {"\"moe_layer_freq\": 2", "d1 d2", "moe_layer_freq", "2"},
    {"\"moe_layer_freq\": [0, 1, 1, 1, 0, 1]", "d1 d2", "moe_layer_freq", "[0,1,0,1]"},
    {"\"attn_layer_period\": 3, \"attn_layer_offset\": 1", "d0", "attn_layer_offset", "0"},
    {"\"attn_layer_period\": 3, \"attn_layer_offset\": 1", "d0", "attn_layer_period", "3"},
    {"\"attn_layer_period\": 3, \"attn_layer_offset\": 1", "d2", "attn_layer_period", "2"},
    {"\"attn_layer_period\": 3, \"attn_layer_offset\": 1", "d1 d4", "attn_layer_period", "5"},
    {"\"attn_layer_period\": 2, \"attn_layer_offset\": 1", "d2", "attn_layer_period is 2: no step and offset", NULL},
    {"\"model_type\": \"jamba\"", "d0", "attn_layer_offset", "3"}, /* defaults: 8 and 4, and 2 and 1 */
    {"\"model_type\": \"jamba\"", "d0", "expert_layer_offset", "0"},
    {"\"attn_layer_period\": 3, \"attn_layer_offset\": 1", "d0 d1 d2", "attn_layer_offset", "1"},
    {"\"moe_layer_start_index\": 1, \"moe_layer_end_index\": 4", "d2 d4", "moe_layer_end_index", "2"},
    {"\"moe_layer_start_index\": 2, \"moe_layer_end_index\": 4", "d1", "moe_layer_start_index", "1"},
    {"\"decoder_sparse_step\": 2", "d0", "mlp_only_layers", "[1,3]"},
    {"\"decoder_sparse_step\": 2", "d0 d1", "decoder_sparse_step", "2"},
    {"\"num_kv_shared_layers\": 2, \"layer_types\": [\"a\", \"b\", \"a\", \"b\", \"a\", \"b\"]", "d0 d4",
     "num_kv_shared_layers", "1"},
    {"\"num_kv_shared_layers\": 2, \"layer_types\": [\"a\", \"b\", \"a\", \"b\", \"a\", \"b\"]", "d2",
     "a layer would use the keys and values of another layer than before", NULL},
    {"\"num_kv_shared_layers\": 2, \"layer_types\": [\"a\", \"b\", \"a\", \"b\", \"a\", \"b\"]", "d2 d4",
     "num_kv_shared_layers", "1"},
    {"\"num_kv_shared_layers\": 2", "d0", "num_kv_shared_layers is 2: without layer_types", NULL},
    {"\"linear_attn_config\": {\"kda_layers\": [1, 2, 4, 5], \"full_attn_layers\": [3, 6]}", "d0 d2",
     "linear_attn_config", "{\"kda_layers\":[1,2,3],\"full_attn_layers\":[4]}"},
    {"\"linear_attn_config\": {\"kda_layers\": [0, 2]}", "d1", "linear_attn_config is {\"kda_layers\":[0,2]}", NULL},
    {"\"linear_attn_config\": {\"full_attn_layers\": [7]}", "d1", "linear_attn_config is {\"full_attn_layers\":[7]}",
     NULL},
    {"\"model_type\": \"minimax\"", "d0", "loaders compute the decays of a layer from its number", NULL},
    {"\"moe_topk\": [1, 2, 3, 4, 5, 6]", "d1 d2", "moe_topk", "[1,4,5,6]"},
    {"\"time_step_limit\": [1, 2, 3, 4, 5, 6]", "d1", "time_step_limit", "[1,2,3,4,5,6]"},
    {"\"per_layer_config\": {\"1\": {\"a\": 1}, \"5\": {\"a\": 2}}", "d1 d2", "per_layer_config", "{\"3\":{\"a\":2}}"},
    {"\"per_layer_config\": {\"x\": {}}", "d1", "per_layer_config is {\"x\":{}}", NULL},
    {"\"per_layer_config\": {\"6\": {}}", "d1", "per_layer_config is {\"6\":{}}", NULL},
    {"\"model_type\": \"gemma4_text\", \"layer_types\": [\"s\", \"full_attention\", \"s\", \"s\", \"s\", "
     "\"full_attention\"]",
     "d5", "loaders give the last layer full attention", NULL},
    {"\"model_type\": \"gemma4_text\", \"layer_types\": [\"s\", \"full_attention\", \"s\", \"s\", \"s\", "
     "\"full_attention\"]",
     "d2 d3 d4 d5", "layer_types", "[\"s\",\"full_attention\"]"},
    {DSA "\"indexer_types\": [\"full\", \"full\", \"shared\", \"full\", \"shared\", \"shared\"]", "d0 d4",
     "indexer_types", "[\"full\",\"shared\",\"full\",\"shared\"]"},
    {DSA "\"indexer_types\": [\"full\", \"full\", \"shared\", \"full\", \"shared\", \"shared\"]", "d1",
     "a layer would use the keys that another layer than before selects", NULL},
    {DSA "\"index_topk_pattern\": \"FSSFFS\"", "d1 d4 d5", "index_topk_pattern", "\"FSF\""},
    {DSA "\"index_topk_pattern\": \"FSSFFS\"", "d0", "indexer_types is absent: a layer would use the keys", NULL},
    {DSA "\"index_topk_freq\": 3", "d0 d2", "indexer_types", "[\"full\",\"shared\",\"full\",\"shared\"]"},
    {DSA "\"index_topk_freq\": 3", "d4", "a layer would use the keys", NULL},
    {"\"model_type\": \"cohere2_moe\", \"first_k_dense_replace\": 2, \"sliding_window_pattern\": 2", "d0 d3",
     "layer_types", "[\"full_attention\",\"sliding_attention\",\"sliding_attention\",\"full_attention\"]"},
    {"\"model_type\": \"cohere2_moe\", \"first_k_dense_replace\": 2, \"prefix_dense_sliding_window_pattern\": 2", "d2",
     "layer_types",
     "[\"sliding_attention\",\"full_attention\",\"sliding_attention\",\"sliding_attention\",\"full_attention\"]"},
    /* rules of types that organ does not run, and types whose loaders make something of a layer's number */
    {"\"model_type\": \"bailing_hybrid\", \"layer_group_size\": 3", "d0", "layer_types",
     "[\"linear_attention\",\"full_attention\",\"linear_attention\",\"linear_attention\",\"full_attention\"]"},
    {"\"model_type\": \"axk2\", \"first_k_dense_replace\": 2", "d0", "first_k_dense_replace", "1"},
    {"\"model_type\": \"hy_v4\"", "d1", "a layer would use the keys", NULL},
    {"\"model_type\": \"hy_v4\"", "d2", "indexer_types", "[\"full\",\"full\",\"shared\",\"shared\",\"full\"]"},
    {"\"model_type\": \"lara_mini\"", "d0 d1", "layer_types",
     "[\"linear_attention\",\"full_attention\",\"sliding_attention\",\"linear_attention\"]"},
    {"\"model_type\": \"lfm3\"", "d0", "layer_types",
     "[\"conv\",\"full_attention\",\"conv\",\"sliding_attention\",\"conv\"]"},
    {"\"model_type\": \"deepseek_v4\"", "d0", "layer_types",
     "[\"heavily_compressed_attention\",\"heavily_compressed_attention\",\"compressed_sparse_attention\","
     "\"heavily_compressed_attention\",\"compressed_sparse_attention\"]"},
    {"\"model_type\": \"deepseek_v4\", \"num_nextn_predict_layers\": 1, \"num_hash_layers\": 2, "
     "\"compress_ratios\": [128, 128, 4, 128, 4, 0, 0]",
     "d1 d3", "compress_ratios", "[128,4,4,0,0]"},
    {"\"model_type\": \"deepseek_v4\", \"num_hash_layers\": 2, \"compress_ratios\": [128, 128, 4, 128, 4, 0]", "d0 d3",
     "num_hash_layers", "1"},
    {"\"model_type\": \"deepseek_v4\", \"compress_ratios\": [128, 128, 4, 128, 4, 0]", "d5", "layer_types", ""},
    {"\"model_type\": \"kolibri1\"", "d0", "layer_types",
     "[\"sliding_attention\",\"sliding_attention\",\"sliding_attention\",\"full_attention\",\"sliding_attention\"]"},
    {"\"model_type\": \"flint\"", "d0", "layer_types",
     "[\"full_attention\",\"sliding_attention\",\"sliding_attention\",\"sliding_attention\",\"full_attention\"]"},
    {"\"model_type\": \"modernbert-decoder\"", "d1", "layer_types",
     "[\"full_attention\",\"sliding_attention\",\"full_attention\",\"sliding_attention\",\"sliding_attention\"]"},
    {"\"model_type\": \"modernbert-decoder\"", "d0", "no norm before its attention", NULL},
    {"\"model_type\": \"diffllama\"", "d2", "second attention from its number", NULL},
    {"\"model_type\": \"dory\"", "d5", "repeat or join layers by their numbers", NULL},
    {"\"model_type\": \"rwkv\"", "d0", "a norm before the others", NULL},
    {"\"model_type\": \"gpt_neox_japanese\"", "d5", "the last layer, and only this layer", NULL},
    {"\"model_type\": \"gpt_neox_japanese\"", "d1", "num_hidden_layers", "5"},
    {"\"scales_of_something\": [1, 2, 3, 4, 5, 6]", "d0", "scales_of_something is [1,2,3,4,5,6]", NULL},
    {"\"odd_layers\": [1, 2]", "d0", "odd_layers is [1,2]", NULL},
    {"\"eos_token_id\": [1, 2, 3, 4, 5, 6]", "d0", "eos_token_id", "[1,2,3,4,5,6]"},
    {"\"quantization_config\": {\"ignore\": [\"lm_head\", \"model.layers.0.mlp\", \"model.layers.5.mlp.gate\", "
     "\"re:.*layers\\\\.4\\\\..*\"], "
     "\"quant_method\": \"x\"}",
     "d0 d2", "quantization_config",
     "{\"ignore\":[\"lm_head\",\"model.layers.3.mlp.gate\",\"re:.*layers\\\\.2\\\\..*\"],\"quant_method\":\"x\"}"},
    {"\"quantization_config\": {\"modules\": {\"model.layers.4.mlp\": {\"bits\": 8}, \"model.layers.1.mlp\": "
     "{\"bits\": 2}}}",
     "d1", "quantization_config", "{\"modules\":{\"model.layers.3.mlp\":{\"bits\":8}}}"},
    {"\"quantization_config\": {\"ignore\": [\"re:model.layers.(0|1).mlp\"]}", "d3", "re:model.layers.(0|1).mlp", NULL},
    {"\"quantization_config\": {\"ignore\": [\"model.layers.1*\"]}", "d3", "model.layers.1*", NULL},
    {"\"quantization_config\": {\"ignore\": [\"model.layers.0*\", \"re:.*layers.[0-9]+.mlp\"]}", "d3",
     "quantization_config", "{\"ignore\":[\"model.layers.0*\",\"re:.*layers.[0-9]+.mlp\"]}"},
};

START_TEST(what_is_told_of_layers)
{
    char config[1024];
    for (size_t k = 0; k < sizeof told / sizeof *told; k++) {
        const struct told *const t = &told[k];
        snprintf(config, sizeof config, "{\"num_hidden_layers\": 6, %s}", t->config);
        rig_donor(config, SIX);
        if (!t->value) {
            cut_refused((cut_way){.cut = t->cut}, ORGAN_BAD_INPUT, t->key);
            continue;
        }
        must_cut("out", (cut_way){.cut = t->cut, .force = true});
        ck_assert_msg(strcmp(config_says("out", t->key), t->value) == 0, "%s, %s: %s is %s", t->config, t->cut, t->key,
                      config_says("out", t->key));
    }
}
END_TEST

/* Nemotron-H of transformers 5 has a list of layer types and no number of layers. */
START_TEST(layers_by_a_list)
{
    rig_donor("{\"layers_block_type\": [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\"], \"mtp_layers_block_type\": [\"a\"]}",
              SIX);
    must_cut("out", (cut_way){.cut = "d1 d2"});
    ck_assert_str_eq(config_says("out", "layers_block_type"), "[\"a\",\"d\",\"e\",\"f\"]");
    rig_donor("{\"layers_block_type\": [\"a\", \"b\", \"c\", \"d\", \"e\"]}", SIX);
    cut_refused((cut_way){.cut = "d1"}, ORGAN_BAD_INPUT, "no known member for the number of layers");
    rig_donor("{\"n_layers\": 6}", SIX);
    must_cut("mpt", (cut_way){.cut = "d1 d2"});
    ck_assert_str_eq(config_says("mpt", "n_layers"), "4");
}
END_TEST

/* Parts of the per-layer embeddings and of their projection belong to layers. */
START_TEST(parts_for_each_layer)
{
    rig_donor("{\"num_hidden_layers\": 6}", SIX "model.embed_tokens_per_layer.weight F32 8,12\n"
                                                "model.per_layer_model_projection.weight F32 12,4\n"
                                                "model.per_layer_projection_norm.weight F32 2\n");
    must_cut("out", (cut_way){.cut = "d1 d4"});
    made_of("out", "model.embed_tokens.weight = model.embed_tokens.weight\nmodel.norm.weight = model.norm.weight\n"
                   "model.embed_tokens_per_layer.weight = model.embed_tokens_per_layer.weight 1:0,1,4-7,10,11\n"
                   "model.per_layer_model_projection.weight = model.per_layer_model_projection.weight 0:0,1,4-7,10,11\n"
                   "model.per_layer_projection_norm.weight = model.per_layer_projection_norm.weight\n" MADE(0, 0)
                       MADE(1, 2) MADE(2, 3) MADE(3, 5));
    rig_donor("{\"num_hidden_layers\": 6}", SIX "model.embed_tokens_per_layer.weight F32 8,13\n");
    cut_refused((cut_way){.cut = "d1"}, ORGAN_BAD_INPUT, "it has a part for each layer, but not of one size");
    rig_donor("{\"num_hidden_layers\": 6}", SIX "model.other_per_layer_matrix.weight F32 8,12\n");
    cut_refused((cut_way){.cut = "d1"}, ORGAN_BAD_INPUT, "in an unknown order: blocks cannot be dropped");
}
END_TEST

/* Names of modules follow in each section that describes quantised weights. */
START_TEST(sections_of_quantised_weights)
{
    static const char *const sections[] = {"quantization_config", "compression_config", "quantization"};
    char config[256];
    for (size_t k = 0; k < 3; k++) {
        snprintf(config, sizeof config, "{\"num_hidden_layers\": 6, \"%s\": {\"ignore\": [\"model.layers.5.mlp\"]}}",
                 sections[k]);
        rig_donor(config, SIX);
        must_cut("out", (cut_way){.cut = "d1", .force = true});
        ck_assert_str_eq(config_says("out", sections[k]), "{\"ignore\":[\"model.layers.4.mlp\"]}");
    }
}
END_TEST

/* Every member that counts layers of multi-token prediction, alone and beside another. */
START_TEST(counters_of_prediction_layers)
{
    static const char *const counters[] = {"num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers",
                                           "mtp_num_layers", "num_mtp_hidden_layers"};
    char config[256];
    for (size_t k = 0; k < 5; k++) {
        const char *const other = counters[(k + 1) % 5];
        snprintf(config, sizeof config, "{\"num_hidden_layers\": 5, \"%s\": 1}", counters[k]);
        rig_donor(config, SIX);
        must_cut("out", (cut_way){.cut = "d1", .force = true});
        ck_assert_str_eq(config_says("out", "num_hidden_layers"), "4");
        ck_assert_str_eq(config_says("out", counters[k]), "1");
        snprintf(config, sizeof config, "{\"num_hidden_layers\": 5, \"%s\": 1, \"%s\": 1}", counters[k], other);
        rig_donor(config, SIX);
        must_cut("bare", (cut_way){.cut = "d5", .force = true});
        ck_assert_str_eq(config_says("bare", counters[k]), "0");
        ck_assert_str_eq(config_says("bare", other), "0");
    }
}
END_TEST

/* Layers of multi-token prediction follow the others. */
START_TEST(prediction_layers)
{
    rig_donor("{\"num_hidden_layers\": 5, \"num_nextn_predict_layers\": 1, \"layer_types\": [1, 2, 3, 4, 5]}", SIX);
    must_cut("out", (cut_way){.cut = "d1"});
    ck_assert_str_eq(config_says("out", "num_hidden_layers"), "4");
    ck_assert_str_eq(config_says("out", "num_nextn_predict_layers"), "1");
    ck_assert_str_eq(config_says("out", "layer_types"), "[1,3,4,5]");
    must_cut("bare", (cut_way){.cut = "d5"});
    ck_assert_str_eq(config_says("bare", "num_hidden_layers"), "5");
    ck_assert_str_eq(config_says("bare", "num_nextn_predict_layers"), "0");
    rig_donor("{\"num_hidden_layers\": 4}", SIX);
    cut_refused((cut_way){.cut = "d1"}, ORGAN_BAD_INPUT,
                "no known member for the number of layers, which is 6 by the tensors");
}
END_TEST

/* Another file with module names is copied unchanged: its names must still be right. */
START_TEST(other_files_with_names)
{
    static const char quant[] = "{\"quantization\": {\"exclude_modules\": [\"lm_head\", \"model.layers.3.mlp\"]}}";
    rig_donor("{\"num_hidden_layers\": 6}", SIX);
    spill(scratch_path("donor/hf_quant_config.json"), quant, strlen(quant));
    must_cut("out", (cut_way){.cut = "d4"});
    ck_assert(same_files(scratch_path("donor/hf_quant_config.json"), scratch_path("out/hf_quant_config.json")));
    cut_refused((cut_way){.cut = "d1"}, ORGAN_BAD_INPUT, "hf_quant_config.json names modules by numbers that change");
}
END_TEST

#define BLK(l) "blk." #l ".attn_norm.weight F32 4\n"

START_TEST(blocks_of_gguf)
{
    organ_model *made = NULL;
    organ_error error = {0};
    int64_t value;
    rig_gguf("general.architecture=llama llama.block_count=4 llama.attention.head_count=[1,2,3,4] "
             "llama.rope.dimension_sections=[1,2,3,4] "
             "llama.leading_dense_block_count=2 tokenizer.ggml.scores=[1,2,3,4]",
             "token_embd.weight F32 8,4\n" BLK(0) BLK(1) BLK(2) BLK(3));
    must_cut("out.gguf", (cut_way){.cut = "d1 d2"});
    made_of("out.gguf", "token_embd.weight = token_embd.weight\nblk.0.attn_norm.weight = blk.0.attn_norm.weight\n"
                        "blk.1.attn_norm.weight = blk.3.attn_norm.weight\n");
    ck_assert_int_eq(organ_model_open(scratch_path("out.gguf"), &made, &error), ORGAN_OK);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "llama.block_count", 0), 2);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "llama.leading_dense_block_count", 0), 1);
    const organ_gguf_kv *const heads = organ_gguf_find(made->gguf, "llama.attention.head_count");
    ck_assert(heads->count == 2 && organ_gguf_integer_at(heads, 1, &value) && value == 4);
    ck_assert_uint_eq(organ_gguf_find(made->gguf, "llama.rope.dimension_sections")->count, 4);
    ck_assert_uint_eq(organ_gguf_find(made->gguf, "tokenizer.ggml.scores")->count, 4);
    organ_model_close(made);
}
END_TEST

/* Keys of four blocks, and the reason if some cannot go. */
static const struct refused {
    const char *keys, *cut, *word;
} refused[] = {
    {"general.architecture=gemma2 gemma2.block_count=4", "d0", "every 2th layer of gemma2"},
    {"general.architecture=smollm3 smollm3.block_count=4", "d3", ""}, /* the layers before keep their numbers */
    {"general.architecture=gemma2 gemma2.block_count=4", "d0 d1", ""},
    {"general.architecture=x x.block_count=4 x.attention.sliding_window_pattern=2", "d0",
     "'x.attention.sliding_window_pattern' is 2"},
    {"general.architecture=x x.block_count=4 x.attention.sliding_window_pattern=[0,1,0,1]", "d0", ""},
    {"general.architecture=x x.block_count=4 x.attention.shared_kv_layers=2", "d0",
     "'x.attention.shared_kv_layers' is 2"},
    {"general.architecture=x x.block_count=5", "d0", "'x.block_count' is 5: it is not the 4 that the tensors have"},
    {"general.architecture=x x.block_count=4", "d0 d1 d2 d3", "no block would be left"},
};

START_TEST(keys_of_blocks)
{
    for (size_t k = 0; k < sizeof refused / sizeof *refused; k++) {
        rig_gguf(refused[k].keys, "token_embd.weight F32 8,4\n" BLK(0) BLK(1) BLK(2) BLK(3));
        if (*refused[k].word)
            cut_refused((cut_way){.cut = refused[k].cut}, k == 7 ? ORGAN_USAGE : ORGAN_BAD_INPUT, refused[k].word);
        else
            must_cut("out.gguf", (cut_way){.cut = refused[k].cut, .force = true});
    }
}
END_TEST

Suite *cut_blocks_suite(void)
{
    const suite_case cases[] = {
        {"blocks",
         {names_close_up, what_is_told_of_layers, layers_by_a_list, parts_for_each_layer, prediction_layers,
          counters_of_prediction_layers, sections_of_quantised_weights, other_files_with_names, blocks_of_gguf,
          keys_of_blocks}},
    };
    return suite_of("cut blocks", cases, sizeof cases / sizeof *cases, cut_setup, cut_teardown);
}
