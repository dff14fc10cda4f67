/* SPDX-License-Identifier: MIT
 * Tests of extracted adapters: their files, the share of the change that they explain, and reports of changes without
 * factors. */
#include <organ/quantize.h>
#include "tests/verbs/lora/lora_extract_rig.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const all_modules[] = {L0 "self_attn.q_proj", L0 "self_attn.k_proj", L0 "mlp.down_proj",
                                          L1 "self_attn.q_proj", L1 "mlp.down_proj"};
enum { MODULES = sizeof all_modules / sizeof *all_modules };

static json_t *config_of(const char *output)
{
    json_error_t e;
    json_t *config = json_load_file(scratch_path("%s/adapter_config.json", output), 0, &e);
    ck_assert_msg(config != NULL, "%s", e.text);
    return config;
}

static bool has_word(const json_t *list, const char *word)
{
    for (size_t k = 0; k < json_array_size(list); k++)
        if (strcmp(json_string_value(json_array_get(list, k)), word) == 0)
            return true;
    return false;
}

static double real(const json_t *row, const char *key) { return json_number_value(json_object_get(row, key)); }

/* ---- factors ---- */

/* Measures the residual of a module, compares it with that of the report, and returns it. */
static double check_module(const organ_adapter *adapter, const char *module)
{
    double change;
    const double gap =
        lora_gap(scratch_path("base.safetensors"), scratch_path("tuned.safetensors"), adapter, module, &change);
    const json_t *row = lora_row("modules", "module", module);
    ck_assert_msg(row != NULL, "%s", module);
    ck_assert_double_eq_tol(real(row, "residual"), gap / change, 2e-6 + 1e-4 * gap / change);
    ck_assert_double_eq_tol(real(row, "explained"), 1 - gap / change * gap / change, 1e-5);
    ck_assert_double_eq_tol(real(row, "change_norm"), change, 1e-5 * change);
    return gap / change;
}

START_TEST(factors_are_the_change)
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        must_lora_extract("out", (lora_way){.bf16 = bf16, .options = {.write.force = true}});
        organ_adapter *adapter = lora_open("out");
        ck_assert_uint_eq(adapter->pair_count, MODULES);
        ck_assert(adapter->r == 8 && adapter->alpha == 8 && adapter->rest_count == 0);
        for (size_t k = 0; k < MODULES; k++) {
            const double residual = check_module(adapter, all_modules[k]);
            const double stored = bf16 ? 4e-3 : 3e-6;
            const bool rounded = k >= 3; /* the tuned weight has 16 bits, so its change is rounded */
            ck_assert_msg(residual < (rounded ? 0.03 : stored), "%s: %g", all_modules[k], residual);
            const organ_adapter_pair *pair = organ_adapter_find(adapter, all_modules[k]);
            ck_assert(pair->scale == 1 && pair->rank == 8 && pair->a->dtype == (bf16 ? ORGAN_BF16 : ORGAN_F32));
        }
        organ_adapter_close(adapter);
    }
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(lora_result, "method"), "name")), "A");
    ck_assert_uint_eq(json_array_size(json_object_get(lora_result, "not_extracted")), 0);
}
END_TEST

START_TEST(the_config_is_what_peft_and_vllm_read)
{
    must_lora_extract("out", (lora_way){0});
    json_t *config = config_of("out");
    ck_assert_str_eq(json_string_value(json_object_get(config, "peft_type")), "LORA");
    ck_assert_str_eq(json_string_value(json_object_get(config, "task_type")), "CAUSAL_LM");
    ck_assert_str_eq(json_string_value(json_object_get(config, "bias")), "none");
    ck_assert(json_integer_value(json_object_get(config, "r")) == 8 &&
              json_number_value(json_object_get(config, "lora_alpha")) == 8);
    ck_assert(json_is_false(json_object_get(config, "fan_in_fan_out")) &&
              json_is_true(json_object_get(config, "inference_mode")));
    ck_assert(json_is_false(json_object_get(config, "use_rslora")) &&
              json_is_false(json_object_get(config, "use_dora")));
    ck_assert(json_is_null(json_object_get(config, "modules_to_save")));
    ck_assert(json_object_size(json_object_get(config, "rank_pattern")) == 0);
    ck_assert_str_eq(json_string_value(json_object_get(config, "base_model_name_or_path")),
                     scratch_path("base.safetensors"));
    const json_t *targets = json_object_get(config, "target_modules");
    ck_assert(json_array_size(targets) == 3 && has_word(targets, "q_proj") && has_word(targets, "k_proj") &&
              has_word(targets, "down_proj"));
    json_decref(config);
    organ_adapter *adapter = lora_open("out");
    const organ_tensor *a = organ_model_find(adapter->model, "base_model.model." L0 "mlp.down_proj.lora_A.weight");
    const organ_tensor *b = organ_model_find(adapter->model, "base_model.model." L0 "mlp.down_proj.lora_B.weight");
    ck_assert(a && a->shape[0] == 8 && a->shape[1] == 181 && b && b->shape[0] == 72 && b->shape[1] == 8);
    organ_adapter_close(adapter);
    ck_assert(exists(scratch_path("out/organ/lora_extract.json")) && exists(scratch_path("out/organ/LORA_REPORT.md")));
}
END_TEST

/* Conv1D of GPT-2: the factors are for out_features x in_features, as in peft, and the head is a linear layer. */
START_TEST(layers_of_conv1d)
{
    static const made_tensor gpt2[] = {{"transformer.h.0.attn.c_attn.weight", ORGAN_F32, 2, {24, 72}},
                                       {"transformer.h.0.attn.c_proj.weight", ORGAN_F32, 2, {24, 24}},
                                       {"lm_head.weight", ORGAN_F32, 2, {50, 24}}};
    static const char text[] = "{\"model_type\": \"gpt2\", \"architectures\": [\"GPT2LMHeadModel\"]}";
    static const char *const names[] = {"gpt2", "gpt2-tuned"};
    char base[300], tuned[300];
    for (size_t k = 0; k < 2; k++) {
        mkdir(scratch_path("%s", names[k]), 0777);
        make_shard(scratch_path("%s/model.safetensors", names[k]), gpt2, 3);
        spill(scratch_path("%s/config.json", names[k]), text, sizeof text - 1);
    }
    lora_tune(scratch_path("gpt2-tuned/model.safetensors"), ".weight", 3, 0.1, 0);
    snprintf(base, sizeof base, "%s", scratch_path("gpt2"));
    snprintf(tuned, sizeof tuned, "%s", scratch_path("gpt2-tuned"));
    must_lora_extract("out", (lora_way){.base = base, .tuned = tuned, .options.modules = "c_attn,c_proj,lm_head"});
    json_t *config = config_of("out");
    ck_assert(json_is_true(json_object_get(config, "fan_in_fan_out")));
    json_decref(config);
    organ_adapter *adapter = lora_open("out");
    const organ_adapter_pair *wide = organ_adapter_find(adapter, "transformer.h.0.attn.c_attn");
    const organ_adapter_pair *head = organ_adapter_find(adapter, "lm_head");
    ck_assert(wide->in_features == 24 && wide->out_features == 72);
    ck_assert(head->in_features == 24 && head->out_features == 50);
    /* row i of the change of the square matrix is row i of A^T B^T */
    for (size_t k = 0; k < 2; k++) {
        const char *const module = k ? "transformer.h.0.attn.c_attn" : "transformer.h.0.attn.c_proj";
        double change;
        ck_assert_double_lt(lora_gap(base, tuned, adapter, module, &change), 1e-4 * change);
    }
    organ_adapter_close(adapter);
}
END_TEST

/* A change of rank 3 in one layer and of rank 5 in the other: each module gets the rank that it needs, and a scale of 1
 * for both readers. */
START_TEST(ranks_by_energy)
{
    static const char *const spellings[][2] = {{"energy", "0.999"}, {"energy=0.999", NULL}};
    lora_tune(scratch_path("tuned.safetensors"), "layers.1.self_attn.q_proj", 2, 0.1, 0);
    for (size_t s = 0; s < 2; s++) {
        must_lora_extract(
            "out", (lora_way){.options = {.rank_by = spellings[s][0], .share = spellings[s][1], .write.force = true}});
        organ_adapter *adapter = lora_open("out");
        size_t max = 0;
        for (size_t k = 0; k < MODULES; k++) {
            const organ_adapter_pair *pair = organ_adapter_find(adapter, all_modules[k]);
            const json_t *spectrum = json_object_get(lora_row("modules", "module", all_modules[k]), "spectrum");
            ck_assert(pair->scale == 1 && json_array_size(spectrum) == pair->rank);
            ck_assert_double_ge(real(lora_row("modules", "module", all_modules[k]), "explained"), 0.998);
            max = pair->rank > max ? pair->rank : max;
        }
        ck_assert_uint_eq(organ_adapter_find(adapter, L0 "self_attn.q_proj")->rank, 3);
        ck_assert_uint_ge(organ_adapter_find(adapter, L1 "self_attn.q_proj")->rank, 4);
        ck_assert(adapter->r == (int64_t)max && adapter->alpha == (double)max); /* vLLM reads alpha / r only */
        json_t *config = config_of("out");
        ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(config, "alpha_pattern"),
                                                            "model\\.layers\\.0\\.self_attn\\.q_proj")),
                         3);
        json_decref(config);
        organ_adapter_close(adapter);
    }
    must_lora_extract("short", (lora_way){.options = {.rank_by = "energy=0.999", .rank = 2}});
    ck_assert(json_is_false(json_object_get(lora_row("modules", "module", L0 "self_attn.q_proj"), "share_reached")));
}
END_TEST

START_TEST(more_rank_than_there_is)
{
    must_lora_extract("out", (lora_way){.options = {.rank = 600}});
    organ_adapter *adapter = lora_open("out");
    ck_assert(adapter->r == 72 && organ_adapter_find(adapter, L0 "self_attn.k_proj")->rank == 36);
    ck_assert(organ_adapter_find(adapter, L0 "self_attn.k_proj")->scale == 1);
    for (size_t k = 0; k < MODULES; k++)
        ck_assert_double_lt(check_module(adapter, all_modules[k]), 1e-5);
    organ_adapter_close(adapter);
    must_lora_extract("exact", (lora_way){.options = {.rank = 4, .exact = true}});
    ck_assert_int_eq(
        json_integer_value(json_object_get(lora_row("modules", "module", L0 "self_attn.q_proj"), "passes")), 0);
}
END_TEST

/* ---- choice of modules ---- */

START_TEST(unchanged_layers_have_no_factors)
{
    size_t rows, cols;
    make_shard(scratch_path("same.safetensors"),
               (made_tensor[]){{L0 "self_attn.q_proj.weight", ORGAN_F32, 2, {144, 72}},
                               {L1 "self_attn.q_proj.weight", ORGAN_F32, 2, {144, 72}}},
               2);
    make_shard(scratch_path("half.safetensors"),
               (made_tensor[]){{L0 "self_attn.q_proj.weight", ORGAN_F32, 2, {144, 72}},
                               {L1 "self_attn.q_proj.weight", ORGAN_F32, 2, {144, 72}}},
               2);
    lora_tune(scratch_path("half.safetensors"), L1, 2, 0.1, 0);
    must_lora_extract("out",
                      (lora_way){.base = scratch_path("same.safetensors"), .tuned = scratch_path("half.safetensors")});
    json_t *config = config_of("out");
    const json_t *targets = json_object_get(config, "target_modules");
    ck_assert(json_array_size(targets) == 1 && has_word(targets, L1 "self_attn.q_proj"));
    json_decref(config);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(lora_result, "totals"), "unchanged")), 1);
    free(lora_values(scratch_path("out/adapter_model.safetensors"),
                     "base_model.model." L1 "self_attn.q_proj.lora_A.weight", &rows, &cols));
    ck_assert(rows == 8 && cols == 72);
}
END_TEST

START_TEST(modules_are_chosen_by_pattern)
{
    static const struct {
        const char *globs;
        size_t count;
    } cases[] = {
        {"q_proj", 2}, {"k_proj,down_proj", 3}, {"model.layers.1.*", 2}, {"*.0.mlp.down_proj.weight,", 1}, {"*", 5}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        must_lora_extract("out", (lora_way){.options = {.modules = cases[k].globs, .write.force = true}});
        organ_adapter *adapter = lora_open("out");
        ck_assert_uint_eq(adapter->pair_count, cases[k].count);
        organ_adapter_close(adapter);
    }
    must_lora_extract("out",
                      (lora_way){.options = {.modules = "q_proj", .write.force = true}}); /* the report names them */
    ck_assert_ptr_nonnull(lora_row("not_extracted", "tensor", L0 "mlp.down_proj.weight"));
    ck_assert_uint_eq(json_array_size(json_object_get(lora_result, "not_extracted")), 3);
}
END_TEST

/* ---- tensors without factors ---- */

static void change_the_rest(void)
{
    const char *tuned = scratch_path("tuned.safetensors");
    lora_scale(tuned, "model.embed_tokens.weight", 1.5f);
    lora_scale(tuned, L0 "input_layernorm.weight", 1.01f);
    lora_scale(tuned, L0 "self_attn.q_proj.bias", 2);
    lora_scale(tuned, L1 "block_sparse_moe.input_linear.weight", 1.25f);
}

static const struct {
    const char *tensor, *key;
    double change;
} rest[] = {
    {"model.embed_tokens.weight", "base_model.model.model.embed_tokens.weight", 0.5},
    {L0 "input_layernorm.weight", "base_model.model." L0 "input_layernorm.weight", 0.01},
    {L0 "self_attn.q_proj.bias", "base_model.model." L0 "self_attn.q_proj.base_layer.bias", 1},
    {L1 "block_sparse_moe.input_linear.weight", "base_model.model." L1 "block_sparse_moe.input_linear.weight", 0.25}};

START_TEST(what_else_changed_is_told)
{
    change_the_rest();
    must_lora_extract("out", (lora_way){0});
    ck_assert_uint_eq(json_array_size(json_object_get(lora_result, "not_extracted")), 4);
    for (size_t k = 0; k < 4; k++) {
        const json_t *row = lora_row("not_extracted", "tensor", rest[k].tensor);
        ck_assert_msg(row != NULL, "%s", rest[k].tensor);
        ck_assert_double_eq_tol(real(row, "change"), rest[k].change, 1e-2 * rest[k].change);
        ck_assert(json_is_false(json_object_get(row, "kept")));
    }
    ck_assert_uint_eq(json_array_size(json_object_get(lora_result, "warnings")), 1);
    organ_adapter *adapter = lora_open("out");
    ck_assert_uint_eq(adapter->rest_count, 0);
    organ_adapter_close(adapter);
}
END_TEST

START_TEST(what_else_changed_is_kept)
{
    size_t rows, cols;
    change_the_rest();
    for (int bf16 = 0; bf16 < 2; bf16++) {
        must_lora_extract("out", (lora_way){.bf16 = bf16, .options = {.save_full = true, .write.force = true}});
        organ_adapter *adapter = lora_open("out");
        ck_assert_uint_eq(adapter->rest_count, 4);
        organ_adapter_close(adapter);
        for (size_t k = 0; k < 4; k++) {
            float *kept = lora_values(scratch_path("out/adapter_model.safetensors"), rest[k].key, &rows, &cols);
            float *tuned = lora_values(scratch_path("tuned.safetensors"), rest[k].tensor, &rows, &cols);
            ck_assert_mem_eq(kept, tuned, rows * cols * sizeof *kept);
            free(kept);
            free(tuned);
            ck_assert(json_is_true(json_object_get(lora_row("not_extracted", "tensor", rest[k].tensor), "kept")));
        }
    }
    json_t *config = config_of("out");
    const json_t *saved = json_object_get(config, "modules_to_save");
    ck_assert(json_array_size(saved) == 3 && has_word(saved, "model.embed_tokens") &&
              has_word(saved, L0 "input_layernorm") && has_word(saved, L1 "block_sparse_moe.input_linear"));
    json_decref(config);
}
END_TEST

/* The bias of a module whose weight did not change belongs to the base layer, where peft leaves it. */
START_TEST(a_bias_alone)
{
    lora_scale(scratch_path("tuned.safetensors"), L1 "self_attn.q_proj.bias", 2);
    size_t rows, cols;
    made_tensor two[] = {{L0 "self_attn.q_proj.weight", ORGAN_F32, 2, {144, 72}},
                         {L1 "self_attn.q_proj.weight", ORGAN_F32, 2, {144, 72}},
                         {L1 "self_attn.q_proj.bias", ORGAN_F32, 1, {144}}};
    make_shard(scratch_path("same.safetensors"), two, 3);
    make_shard(scratch_path("half.safetensors"), two, 3);
    lora_tune(scratch_path("half.safetensors"), L0, 2, 0.1, 0);
    lora_scale(scratch_path("half.safetensors"), L1 "self_attn.q_proj.bias", 2);
    must_lora_extract("out", (lora_way){.base = scratch_path("same.safetensors"),
                                        .tuned = scratch_path("half.safetensors"),
                                        .options = {.save_full = true}});
    free(lora_values(scratch_path("out/adapter_model.safetensors"), "base_model.model." L1 "self_attn.q_proj.bias",
                     &rows, &cols));
}
END_TEST

START_TEST(models_that_do_not_match_everywhere)
{
    make_shard(scratch_path("other.safetensors"),
               (made_tensor[]){{"model.embed_tokens.weight", ORGAN_BF16, 2, {51, 72}},
                               {L0 "self_attn.q_proj.weight", ORGAN_BF16, 2, {144, 72}},
                               {"lm_head.weight", ORGAN_BF16, 2, {51, 72}}},
               3);
    must_lora_extract("out", (lora_way){.tuned = scratch_path("other.safetensors"), .options = {.save_full = true}});
    static const struct {
        const char *tensor, *reason;
        bool kept;
    } told[] = {{"model.embed_tokens.weight", "its shape differs", true},
                {"lm_head.weight", "the base does not have it", true},
                {"model.norm.weight", "the tuned model does not have it", false}};
    for (size_t k = 0; k < 3; k++) {
        const json_t *row = lora_row("not_extracted", "tensor", told[k].tensor);
        ck_assert_msg(row != NULL, "%s", told[k].tensor);
        ck_assert_str_eq(json_string_value(json_object_get(row, "reason")), told[k].reason);
        ck_assert(json_is_true(json_object_get(row, "kept")) == told[k].kept);
    }
}
END_TEST

/* ---- bit identity ---- */

static void same_adapters(const char *a, const char *b)
{
    ck_assert(
        same_files(scratch_path("%s/adapter_model.safetensors", a), scratch_path("%s/adapter_model.safetensors", b)));
    ck_assert(same_files(scratch_path("%s/adapter_config.json", a), scratch_path("%s/adapter_config.json", b)));
    same_reports(a, b, "lora_extract.json", NULL);
}

/* With 64 MiB several modules are computed at the same time, with the least amounts one after another. */
START_TEST(bytes_do_not_depend_on_threads_or_memory)
{
    static const struct {
        size_t threads;
        uint64_t least;
    } runs[] = {{1, 5 << 20}, {2, 5 << 20}, {3, 5 << 20}, {7, 5 << 20}, {16, 10 << 20}};
    lora_tune(scratch_path("tuned.safetensors"), "_proj.weight", 1, 0.01, 0.05);
    must_lora_extract("first", (lora_way){.bf16 = true, .threads = 1});
    for (size_t t = 0; t < sizeof runs / sizeof *runs; t++) {
        const uint64_t memories[] = {64 << 20, 16 << 20, runs[t].least};
        for (size_t m = 0; m < 3; m++) {
            must_lora_extract("out", (lora_way){.bf16 = true,
                                                .threads = runs[t].threads,
                                                .memory = memories[m],
                                                .options = {.write.force = true}});
            same_adapters("first", "out");
        }
    }
}
END_TEST

Suite *lora_results_suite(void)
{
    const suite_case cases[] = {
        {"factors",
         {factors_are_the_change, the_config_is_what_peft_and_vllm_read, layers_of_conv1d, ranks_by_energy,
          more_rank_than_there_is}},
        {"modules", {unchanged_layers_have_no_factors, modules_are_chosen_by_pattern}},
        {"rest",
         {what_else_changed_is_told, what_else_changed_is_kept, a_bias_alone, models_that_do_not_match_everywhere}},
        {"same", {bytes_do_not_depend_on_threads_or_memory}}};
    return suite_of("lora_extract", cases, sizeof cases / sizeof *cases, lora_setup, lora_teardown);
}

int main(void)
{
    Suite *const suites[] = {lora_results_suite(), lora_faults_suite(), lora_methods_suite(), lora_targets_suite(),
                             NULL};
    return run_suites(suites);
}
