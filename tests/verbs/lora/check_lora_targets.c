/* SPDX-License-Identifier: MIT
 * Tests of what peft loads of an extracted adapter: names of transformers, mixtures of experts, modules that it
 * refuses, whole tensors. bench/compare_adapters.py compares with peft itself. */
#include "tests/verbs/lora/lora_extract_rig.h"
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define W(name, rows, cols)                                                                                            \
    {                                                                                                                  \
        name ".weight", ORGAN_F32, 2, { rows, cols }                                                                   \
    }

static char pair[2][300]; /* paths of base and tuned model */
static json_t *peft_config;

/* Makes two equal models of these tensors, with a config of this model type and architecture. */
static void make_pair(const char *type, const char *architecture, const made_tensor *tensors, size_t count)
{
    char text[300];
    const int length =
        snprintf(text, sizeof text, "{\"model_type\": \"%s\", \"architectures\": [\"%s\"]}", type, architecture);
    for (size_t k = 0; k < 2; k++) {
        snprintf(pair[k], sizeof pair[k], "%s", scratch_path("%s-%zu", type, k));
        mkdir(pair[k], 0777);
        make_shard(scratch_path("%s-%zu/model.safetensors", type, k), tensors, count);
        spill(scratch_path("%s-%zu/config.json", type, k), text, (size_t)length);
    }
}

/* Extracts rank 2 to "out" and reads its config. */
static void extract(lora_way way)
{
    json_error_t e;
    way.base = pair[0];
    way.tuned = pair[1];
    way.options.rank = 2;
    way.options.write.force = true;
    must_lora_extract("out", way);
    json_decref(peft_config);
    peft_config = json_load_file(scratch_path("out/adapter_config.json"), 0, &e);
    ck_assert_msg(peft_config != NULL, "%s", e.text);
}

static void peft_teardown(void)
{
    json_decref(peft_config);
    peft_config = NULL;
    lora_teardown();
}

/* Checks that the list of the config has exactly these words, in any order. */
static void expect_list(const char *member, const char *const *words, size_t count)
{
    const json_t *list = json_object_get(peft_config, member);
    ck_assert_msg(json_array_size(list) == count, "%s has %zu entries", member, json_array_size(list));
    for (size_t w = 0; w < count; w++) {
        bool found = false;
        for (size_t k = 0; k < count; k++)
            found = found || strcmp(json_string_value(json_array_get(list, k)), words[w]) == 0;
        ck_assert_msg(found, "%s lacks %s", member, words[w]);
    }
}
#define EXPECT_LIST(member, ...)                                                                                       \
    expect_list(member, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

#define EXPERTS "model.layers.1.mlp.experts"

/* peft takes every gate_proj, up_proj and down_proj of this type for routed experts, which transformers stacks. */
START_TEST(dense_shared_and_routed)
{
    static const made_tensor moe[] = {W("model.layers.0.self_attn.o_proj", 8, 8),
                                      W("model.layers.0.mlp.gate_proj", 12, 8),
                                      W("model.layers.1.self_attn.o_proj", 8, 8),
                                      W("model.layers.1.mlp.shared_experts.down_proj", 8, 6),
                                      W(EXPERTS ".0.gate_proj", 6, 8),
                                      W(EXPERTS ".0.up_proj", 6, 8),
                                      W(EXPERTS ".0.down_proj", 8, 6),
                                      W(EXPERTS ".1.gate_proj", 6, 8),
                                      W(EXPERTS ".1.up_proj", 6, 8),
                                      W(EXPERTS ".1.down_proj", 8, 6),
                                      W("model.layers.2.mlp.experts.0.gate_proj", 6, 8),
                                      W("model.layers.2.mlp.experts.0.up_proj", 6, 8),
                                      W("model.layers.2.mlp.experts.0.down_proj", 8, 6)};
    static const char *const changed[] = {"o_proj.weight", "layers.0.mlp", "shared_experts", EXPERTS ".0.up_proj"};
    size_t rows, cols;
    double change;
    make_pair("deepseek_v3", "DeepseekV3ForCausalLM", moe, sizeof moe / sizeof *moe);
    for (size_t k = 0; k < 4; k++)
        lora_tune(scratch_path("deepseek_v3-1/model.safetensors"), changed[k], 1, 0.1, 0);
    extract((lora_way){.options = {.rank_by = "energy=0.99"}});
    EXPECT_LIST("target_modules", "o_proj");
    EXPECT_LIST("target_parameters", "model.layers.0.mlp.gate_proj.weight",
                "model.layers.1.mlp.shared_experts.down_proj.weight", EXPERTS ".gate_up_proj", EXPERTS ".down_proj");
    const json_t *ranks = json_object_get(peft_config, "rank_pattern");
    ck_assert_int_eq(json_integer_value(json_object_get(peft_config, "r")), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(ranks, "model\\.layers\\.1\\.mlp\\.experts\\.gate_up_proj")),
                     4);
    ck_assert_int_eq(json_integer_value(json_object_get(ranks, "model\\.layers\\.0\\.mlp\\.gate_proj\\.weight")), 1);
    ck_assert(json_equal(ranks, json_object_get(peft_config, "alpha_pattern")));
    organ_adapter *adapter = lora_open("out");
    for (size_t k = 4; k < 10; k++) { /* all experts of the layer have the same rank, unchanged ones zeros */
        char name[100];
        snprintf(name, sizeof name, "%.*s", (int)strlen(moe[k].name) - 7, moe[k].name);
        const organ_adapter_pair *p = organ_adapter_find(adapter, name);
        ck_assert_msg(p && p->rank == 2 && p->scale == 1, "%s", name);
        if (k == 5)
            ck_assert_double_lt(lora_gap(pair[0], pair[1], adapter, name, &change), 1e-4 * change);
        snprintf(name, sizeof name, "base_model.model.%.*s.lora_B.weight", (int)strlen(moe[k].name) - 7, moe[k].name);
        float *b = lora_values(scratch_path("out/adapter_model.safetensors"), name, &rows, &cols);
        for (size_t i = 0; i < rows * cols && k != 5; i++)
            ck_assert(b[i] == 0);
        free(b);
    }
    ck_assert_ptr_null(organ_adapter_find(adapter, "model.layers.2.mlp.experts.0.up_proj"));
    const organ_adapter_pair *dense = organ_adapter_find(adapter, "model.layers.0.mlp.gate_proj.weight");
    ck_assert(dense && dense->experts == 1 && dense->rank == 1 && dense->out_features == 12);
    organ_adapter_close(adapter);
}
END_TEST

/* peft stacks gate and up projections only together with down projections: it ignores others, and organ says so. */
START_TEST(experts_that_peft_ignores)
{
    static const made_tensor moe[] = {W("model.layers.0.mlp.experts.0.up_proj", 6, 8),
                                      W("model.layers.0.mlp.experts.0.down_proj", 8, 6)};
    make_pair("nemotron_h", "NemotronHForCausalLM", moe, 2);
    lora_tune(scratch_path("nemotron_h-1/model.safetensors"), "_proj", 1, 0.1, 0);
    extract((lora_way){0});
    ck_assert(json_array_size(json_object_get(peft_config, "target_modules")) == 0 &&
              !json_object_get(peft_config, "target_parameters"));
    ck_assert_ptr_nonnull(strstr(json_string_value(json_array_get(json_object_get(lora_result, "warnings"), 0)),
                                 "2 modules of numbered experts have factors that peft ignores"));
}
END_TEST

/* Files of vision models have other names than the modules of transformers. */
START_TEST(names_of_published_vision_models)
{
    static const made_tensor vision[] = {W("language_model.model.layers.0.self_attn.q_proj", 8, 8),
                                         W("language_model.model.layers.1.self_attn.q_proj", 8, 8),
                                         W("vision_tower.vision_model.encoder.layers.0.self_attn.q_proj", 8, 8)};
    make_pair("gemma3", "Gemma3ForConditionalGeneration", vision, 3);
    lora_tune(scratch_path("gemma3-1/model.safetensors"), "language_model", 1, 0.1, 0);
    extract((lora_way){0});
    EXPECT_LIST("target_modules", "model.language_model.layers.0.self_attn.q_proj",
                "model.language_model.layers.1.self_attn.q_proj");
    organ_adapter *adapter = lora_open("out");
    ck_assert_ptr_nonnull(organ_adapter_find(adapter, "model.language_model.layers.0.self_attn.q_proj"));
    organ_adapter_close(adapter);
}
END_TEST

/* A word that is a number, or the name of a module that contains others, would select those. */
START_TEST(words_that_select_more)
{
    static const made_tensor numbered[] = {W("model.layers.0.self_attn.q_proj", 8, 8),
                                           W("model.altup_projections.0", 8, 8)};
    make_pair("llama", "LlamaForCausalLM", numbered, 2);
    lora_tune(scratch_path("llama-1/model.safetensors"), ".weight", 1, 0.1, 0);
    extract((lora_way){.options.modules = "*"});
    EXPECT_LIST("target_modules", "model.layers.0.self_attn.q_proj", "model.altup_projections.0");
}
END_TEST

/* peft refuses an adapter that targets out_proj of Mamba. */
START_TEST(modules_that_peft_refuses)
{
    static const made_tensor mamba[] = {W("backbone.layers.0.mixer.in_proj", 8, 8),
                                        W("backbone.layers.0.mixer.out_proj", 8, 8)};
    make_pair("mamba", "MambaForCausalLM", mamba, 2);
    lora_tune(scratch_path("mamba-1/model.safetensors"), "_proj", 1, 0.1, 0);
    extract((lora_way){0});
    EXPECT_LIST("target_modules", "in_proj");
    ck_assert_str_eq(json_string_value(json_object_get(
                         lora_row("not_extracted", "tensor", "backbone.layers.0.mixer.out_proj.weight"), "reason")),
                     "peft does not apply factors of this module of its model type");
    extract((lora_way){.options.save_full = true});
    EXPECT_LIST("modules_to_save", "backbone.layers.0.mixer.out_proj");
}
END_TEST

/* modules_to_save cannot name a bare parameter: its module contains modules with factors. */
START_TEST(a_bare_parameter)
{
    static const made_tensor sinks[] = {W("model.layers.0.self_attn.q_proj", 8, 8),
                                        {"model.layers.0.self_attn.sinks", ORGAN_F32, 1, {8}}};
    make_pair("llama", "LlamaForCausalLM", sinks, 2);
    lora_tune(scratch_path("llama-1/model.safetensors"), "_proj", 1, 0.1, 0);
    lora_scale(scratch_path("llama-1/model.safetensors"), "model.layers.0.self_attn.sinks", 2);
    extract((lora_way){.options.save_full = true});
    ck_assert(json_is_null(json_object_get(peft_config, "modules_to_save")));
    ck_assert_ptr_nonnull(strstr(json_string_value(json_array_get(json_object_get(lora_result, "warnings"), 0)),
                                 "1 tensors are stored that peft ignores"));
}
END_TEST

Suite *lora_targets_suite(void)
{
    const suite_case cases[] = {{"targets",
                                 {dense_shared_and_routed, experts_that_peft_ignores, names_of_published_vision_models,
                                  words_that_select_more, modules_that_peft_refuses, a_bare_parameter}}};
    return suite_of("lora_targets", cases, sizeof cases / sizeof *cases, lora_setup, peft_teardown);
}
