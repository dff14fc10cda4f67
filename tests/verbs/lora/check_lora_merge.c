/* SPDX-License-Identifier: MIT
 * Tests of merges: compared with peft's result, with sums in FP64, and with other threads and memory. */
#include "tests/kit/lora_rig.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/require.h"

#include <organ/models.h>
#include <organ/report.h>
#include "orchestrator/stream/product.h"
#include <organ/quantize.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define PAIR         LORA_PAIR
#define WEIGHT(name, rows, cols)                                                                                       \
    {                                                                                                                  \
        name ".weight", ORGAN_F32, 2, { rows, cols }                                                                   \
    }

static double number(const char *path) { return organ_json_real(lora_report, path); }

static const char *fixture(const char *name)
{
    static char path[4096 + 64];
    ck_assert_ptr_nonnull(getcwd(path, 4096));
    strcat(path, "/fixtures/");
    strcat(path, name);
    return path;
}

/* All rows equal those that peft merged. */
START_TEST(the_same_as_peft)
{
    char base[4200], adapter[4200];
    organ_model *golden, *model;
    organ_error error = {0};
    strcpy(base, fixture("tiny-qwen2"));
    strcpy(adapter, fixture("tiny-lora"));
    lora_must((lora_way){.base = base, .adapter = adapter, .output = "out", .dtype = "f32"});
    ck_assert_int_eq(organ_model_open(fixture("tiny-lora-merged.safetensors"), &golden, &error), ORGAN_OK);
    ck_assert_int_eq(organ_model_open(base, &model, &error), ORGAN_OK);
    ck_assert_uint_eq(golden->tensor_count, 10);
    for (size_t t = 0; t < model->tensor_count; t++) {
        const char *const name = model->tensors[t].name;
        const size_t rows = model->tensors[t].shape[0],
                     cols = model->tensors[t].rank > 1 ? model->tensors[t].shape[1] : 0;
        size_t n, wanted_n;
        float *const is = lora_values(scratch_path("out"), name, &n), *const was = lora_values(base, name, NULL);
        float *const requested = lora_values(fixture("tiny-lora-merged.safetensors"), name, &wanted_n);
        if (!requested)
            ck_assert_msg(memcmp(is, was, n * sizeof *is) == 0, "%s has changed", name);
        for (size_t k = 0; k < wanted_n; k++) {
            const size_t row = cols ? (const size_t[]){0, rows / 2, rows - 1}[k / cols] : 0;
            const double value = (double)is[cols ? row * cols + k % cols : k];
            REQUIRE_MSG(fabs(value - (double)requested[k]) <= 1e-6 * (1e-2 + fabs((double)requested[k])),
                        "%s, value %zu: %.9g, not %.9g", name, k, value, (double)requested[k]);
        }
        free(is);
        free(was);
        free(requested);
    }
    organ_model_close(golden);
    organ_model_close(model);
}
END_TEST

/* ---- comparison with sums in FP64 ---- */

static const double factors[] = {1, -1, 0.25};

START_TEST(the_same_as_fp64)
{
    static const char *const modules[] = {"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj",
                                          "model.layers.1.self_attn.v_proj", "model.layers.1.mlp.up_proj",
                                          "model.layers.1.mlp.down_proj"};
    const double scale = factors[_i];
    lora_must((lora_way){.output = "out", .dtype = "f32", .scale = scale});
    for (size_t k = 0; k < COUNT(modules); k++)
        lora_expect_merged("donor", "adapter", modules[k], false, scale);
    lora_expect_merged("donor", "adapter", "model.embed_tokens", true, scale);
    size_t n;
    float *const norm = lora_values(scratch_path("out"), "model.norm.weight", &n);
    float *const saved =
        lora_values(scratch_path("adapter/adapter_model.safetensors"), LORA_PREFIX "model.norm.weight", NULL);
    ck_assert(memcmp(norm, saved, n * sizeof *norm) == 0); /* weights stored whole are not scaled */
    free(norm);
    free(saved);
    ck_assert(same_files(scratch_path("out/config.json"), scratch_path("donor/config.json")));
    ck_assert(same_files(scratch_path("out/extra/merges.txt"), scratch_path("donor/extra/merges.txt")));
    ck_assert(exists(scratch_path("out/organ/LORA_MERGE_REPORT.md")));
}
END_TEST

/* Without --dtype every weight keeps its type and is the FP32 sum rounded once. */
START_TEST(rounded_once)
{
    organ_model *donor;
    organ_error error = {0};
    lora_must((lora_way){.output = "wide", .dtype = "f32"});
    lora_must((lora_way){.output = "out"});
    ck_assert_int_eq(organ_model_open(scratch_path("donor"), &donor, &error), ORGAN_OK);
    for (size_t t = 0; t < donor->tensor_count; t++) {
        const organ_tensor *const tensor = &donor->tensors[t];
        size_t n;
        float *const wide = lora_values(scratch_path("wide"), tensor->name, &n), *const is =
                                                                                     lora_values(scratch_path("out"),
                                                                                                 tensor->name, NULL);
        void *const codes = malloc(n * 4);
        organ_narrow(organ_kernels_scalar, tensor->dtype, wide, codes, n);
        organ_widen(organ_kernels_scalar, tensor->dtype, codes, wide, n);
        ck_assert_msg(memcmp(wide, is, n * sizeof *is) == 0, "%s", tensor->name);
        free(codes);
        free(wide);
        free(is);
    }
    organ_model_close(donor);
}
END_TEST

START_TEST(any_threads_and_memory)
{
    static const lora_way ways[] = {
        {.threads = 1}, {.threads = 3, .memory = 24 << 20}, {.threads = 7, .memory = 1 << 30}};
    static const made_tensor base[] = {{"big.weight", ORGAN_BF16, 2, {3000, 1100}},
                                       {"model.embed_tokens.weight", ORGAN_F16, 2, {2500, 1000}}};
    static const made_tensor pairs[] = {PAIR("big", 24, 3000, 1100),
                                        {LORA_PREFIX "model.embed_tokens.lora_embedding_A", ORGAN_F32, 2, {24, 2500}},
                                        {LORA_PREFIX "model.embed_tokens.lora_embedding_B", ORGAN_F32, 2, {1000, 24}}};
    make_shard(scratch_path("big.safetensors"), base, 2); /* more than one strip */
    lora_adapter("lora", "\"r\": 24, \"lora_alpha\": 24", pairs, COUNT(pairs));
    lora_must((lora_way){.base = "big.safetensors", .adapter = "lora", .output = "out"});
    json_t *const modules = json_deep_copy(organ_json_at(lora_report, "modules"));
    for (size_t k = 0; k < COUNT(ways); k++) {
        lora_must((lora_way){.base = "big.safetensors",
                             .adapter = "lora",
                             .output = "again",
                             .force = true,
                             .threads = ways[k].threads,
                             .memory = ways[k].memory});
        ck_assert(same_files(scratch_path("out/model.safetensors"), scratch_path("again/model.safetensors")));
        ck_assert(json_equal(modules, organ_json_at(lora_report, "modules")));
    }
    json_decref(modules);
}
END_TEST

/* ---- layouts of weights ---- */

/* Conv1D of GPT-2 is in_features x out_features; a square weight has the layout of the others. */
START_TEST(stored_the_other_way_round)
{
    static const made_tensor base[] = {WEIGHT("h.0.attn.c_attn", 24, 72), WEIGHT("h.0.attn.c_proj", 24, 24)};
    static const made_tensor pairs[] = {PAIR("transformer.h.0.attn.c_attn", 2, 72, 24),
                                        PAIR("transformer.h.0.attn.c_proj", 2, 24, 24)};
    static const made_tensor named[] = {PAIR("h.0.attn.c_attn", 2, 72, 24), PAIR("h.0.attn.c_proj", 2, 24, 24)};
    make_shard(scratch_path("conv.safetensors"), base, 2);
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4, \"fan_in_fan_out\": true", pairs, 4);
    lora_must((lora_way){.base = "conv.safetensors", .adapter = "lora", .output = "prefixed"});
    for (size_t k = 0; k < 2; k++) /* the prefix of the modules of transformers, which the files lack */
        ck_assert_str_eq(organ_json_text(json_array_get(organ_json_at(lora_report, "modules"), k), "tensor"),
                         base[k].name);
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4, \"fan_in_fan_out\": true", named, 4);
    lora_must((lora_way){.base = "conv.safetensors", .adapter = "lora", .output = "out"});
    lora_expect_merged("conv.safetensors", "lora", "h.0.attn.c_attn", true, 1);
    lora_expect_merged("conv.safetensors", "lora", "h.0.attn.c_proj", true, 1);
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4, \"fan_in_fan_out\": true", named + 2, 2);
    lora_refused((lora_way){.base = "conv.safetensors", .adapter = "lora", .output = "none"}, ORGAN_BAD_INPUT,
                 "its orientation is ambiguous");
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4", named, 4);
    lora_must((lora_way){.base = "conv.safetensors", .adapter = "lora", .output = "unset"});
    ck_assert(same_files(scratch_path("out/model.safetensors"), scratch_path("unset/model.safetensors")));
}
END_TEST

/* ---- stacks of experts ---- */

#define EXPERTS "model.layers.0.mlp.experts"

/* Compares a stack of 3 experts with the product of peft's ParamWrapper: column k x 3 + e of B times row e x 2 + k of
 * A. `swapped`: A is on the left, as in files of older versions of peft and for weights that are in x out. */
static void expect_stack_on(const char *file, const char *prefix, const char *parameter, const char *module,
                            size_t rows, size_t cols, bool swapped)
{
    char name[128];
    size_t n;
    snprintf(name, sizeof name, "%s" EXPERTS ".%s", prefix, parameter);
    float *const was = lora_values(scratch_path(file), name, &n);
    snprintf(name, sizeof name, EXPERTS ".%s", parameter);
    float *const is = lora_values(scratch_path("out"), name, NULL);
    snprintf(name, sizeof name, LORA_PREFIX EXPERTS "%s.lora_A.weight", module);
    float *const a = lora_values(scratch_path("lora/adapter_model.safetensors"), name, NULL);
    snprintf(name, sizeof name, LORA_PREFIX EXPERTS "%s.lora_B.weight", module);
    float *const b = lora_values(scratch_path("lora/adapter_model.safetensors"), name, NULL);
    const size_t in = swapped ? rows : cols;
    ck_assert_uint_eq(n, 3 * rows * cols);
    for (size_t at = 0; at < n; at++) {
        const size_t e = at / (rows * cols), row = at / cols % rows, col = at % cols;
        const size_t i = swapped ? row : col, o = swapped ? col : row;
        double sum = 0;
        for (size_t k = 0; k < 2; k++)
            sum += (double)b[o * 6 + k * 3 + e] * (double)a[(e * 2 + k) * in + i];
        REQUIRE_MSG(fabs((double)is[at] - ((double)was[at] + 1.5 * sum)) <= 2e-6 * (0.01 + fabs((double)was[at])),
                    "%s, value %zu", parameter, at);
    }
    free(was);
    free(is);
    free(a);
    free(b);
}

static void expect_stack(const char *parameter, const char *module, size_t rows, size_t cols, bool swapped)
{
    expect_stack_on("stack.safetensors", "", parameter, module, rows, cols, swapped);
}

#define WRAPPED(module, out, in)                                                                                       \
    {LORA_PREFIX EXPERTS module ".lora_A.weight", ORGAN_F32, 2, {6, in}},                                              \
    {                                                                                                                  \
        LORA_PREFIX EXPERTS module ".lora_B.weight", ORGAN_F32, 2, { out, 6 }                                          \
    }

START_TEST(stacked_experts)
{
    static const made_tensor weights[] = {{EXPERTS ".gate_up_proj", ORGAN_F32, 3, {3, 10, 4}},
                                          {EXPERTS ".down_proj", ORGAN_F32, 3, {3, 4, 5}}};
    static const made_tensor both[] = {WRAPPED(".base_layer", 10, 4), WRAPPED("", 4, 5)};
    static const made_tensor swapped[] = {WRAPPED("", 5, 4)};
    make_shard(scratch_path("stack.safetensors"), weights, 2);
    lora_adapter("lora",
                 "\"r\": 2, \"lora_alpha\": 3, \"target_parameters\": [\"experts.down_proj\", \"gate_up_proj\"]", both,
                 4);
    lora_must((lora_way){.base = "stack.safetensors", .adapter = "lora", .output = "out"});
    expect_stack("gate_up_proj", ".base_layer", 10, 4, false);
    expect_stack("down_proj", "", 4, 5, false);
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 3, \"target_parameters\": [\"mlp.experts.down_proj\"]", swapped, 2);
    lora_must((lora_way){.base = "stack.safetensors", .adapter = "lora", .output = "out", .force = true});
    expect_stack("down_proj", "", 4, 5, true);
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 3, \"target_parameters\": [\"mlp.experts.down_proj\"]", both, 4);
    lora_refused((lora_way){.base = "stack.safetensors", .adapter = "lora", .output = "none"}, ORGAN_BAD_INPUT,
                 "which parameter the factors of '" EXPERTS ".base_layer' change is unknown");
}
END_TEST

/* An adapter stores a stack whole and has factors for it: each expert's change is added to the stored values. */
START_TEST(stacked_experts_that_come_whole)
{
    static const made_tensor weights[] = {{EXPERTS ".down_proj", ORGAN_F32, 3, {3, 4, 5}}};
    static const made_tensor tensors[] = {WRAPPED("", 4, 5),
                                          {LORA_PREFIX EXPERTS ".down_proj", ORGAN_F32, 3, {3, 4, 5}}};
    make_shard(scratch_path("stack.safetensors"), weights, 1);
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 3, \"target_parameters\": [\"mlp.experts.down_proj\"]", tensors, 3);
    lora_must((lora_way){.base = "stack.safetensors", .adapter = "lora", .output = "out"});
    ck_assert_uint_eq(json_array_size(organ_json_at(lora_report, "replaced")), 1);
    expect_stack_on("lora/adapter_model.safetensors", LORA_PREFIX, "down_proj", "", 4, 5, false);
}
END_TEST

/* peft corrects a wrong fan_in_fan_out of linear layers; square ones follow the others. */
START_TEST(a_flag_that_is_wrong)
{
    static const made_tensor pairs[] = {PAIR("model.layers.0.self_attn.q_proj", 2, 72, 72),
                                        PAIR("model.layers.0.mlp.up_proj", 2, 181, 72)};
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4, \"fan_in_fan_out\": true", pairs, 4);
    lora_must((lora_way){.adapter = "lora", .output = "out", .dtype = "f32"});
    lora_expect_merged("donor", "lora", "model.layers.0.self_attn.q_proj", false, 1);
    lora_expect_merged("donor", "lora", "model.layers.0.mlp.up_proj", false, 1);
}
END_TEST

/* A base weight stored in the adapter, and a model that was trained without its head. */
START_TEST(what_comes_whole)
{
    static const made_tensor tensors[] = {
        {LORA_PREFIX "embed_tokens.lora_embedding_A", ORGAN_F32, 2, {2, 216}},
        {LORA_PREFIX "embed_tokens.lora_embedding_B", ORGAN_F32, 2, {72, 2}},
        {LORA_PREFIX "embed_tokens.base_layer.weight", ORGAN_F16, 2, {216, 72}},
        {LORA_PREFIX "norm.modules_to_save.default.weight", ORGAN_BF16, 1, {72}},
        {LORA_PREFIX "layers.1.input_layernorm.modules_to_save.weight", ORGAN_F32, 1, {72}}};
    size_t out, in, n;
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4", tensors, COUNT(tensors));
    lora_must((lora_way){.adapter = "lora", .output = "out", .dtype = "f32"});
    double *const d = lora_product("lora", "embed_tokens", &out, &in);
    float *const was = lora_values(scratch_path("lora/adapter_model.safetensors"), tensors[2].name, &n);
    float *const is = lora_values(scratch_path("out"), "model.embed_tokens.weight", NULL);
    for (size_t k = 0; k < n; k++)
        REQUIRE(fabs((double)is[k] - lora_merged_value(d, was, k, true, in, out, 1)) <= 2e-6);
    ck_assert_uint_eq(json_array_size(organ_json_at(lora_report, "replaced")), 3);
    free(d);
    free(was);
    free(is);
}
END_TEST

#define DORA "\"r\": 4, \"lora_alpha\": 20, \"use_dora\": true"
#define NORMS(name, n)                                                                                                 \
    {                                                                                                                  \
        LORA_PREFIX name ".lora_magnitude_vector", ORGAN_F32, 1, { n }                                                 \
    }

/* Rows of W + D get the norms stored in the adapter. */
START_TEST(dora)
{
    static const made_tensor tensors[] = {PAIR("model.layers.0.mlp.up_proj", 4, 181, 72),
                                          NORMS("model.layers.0.mlp.up_proj", 181)};
    size_t out, in, rows;
    lora_adapter("lora", DORA, tensors, 3);
    lora_must((lora_way){.adapter = "lora", .output = "out", .dtype = "f32"});
    double *const d = lora_product("lora", "model.layers.0.mlp.up_proj", &out, &in);
    float *const was = lora_values(scratch_path("donor"), "model.layers.0.mlp.up_proj.weight", NULL);
    float *const is = lora_values(scratch_path("out"), "model.layers.0.mlp.up_proj.weight", NULL);
    float *const norms = lora_values(scratch_path("lora/adapter_model.safetensors"), tensors[2].name, &rows);
    double change = 0;
    ck_assert_uint_eq(rows, out);
    for (size_t i = 0; i < out; i++) {
        double norm = 0;
        for (size_t k = i * in; k < (i + 1) * in; k++)
            norm += ((double)was[k] + d[k]) * ((double)was[k] + d[k]);
        for (size_t k = i * in; k < (i + 1) * in; k++) {
            const double requested = (double)norms[i] / sqrt(norm) * ((double)was[k] + d[k]);
            change += (requested - (double)was[k]) * (requested - (double)was[k]);
            REQUIRE_MSG(fabs((double)is[k] - requested) <= 2e-6 * (0.01 + fabs(requested)), "value %zu: %.9g, not %.9g",
                        k, (double)is[k], requested);
        }
    }
    ck_assert(fabs(number("totals.delta_norm") / sqrt(change) - 1) < 1e-5);
    free(d);
    free(was);
    free(is);
    free(norms);
}
END_TEST

static const struct broken_dora {
    const char *members;
    made_tensor tensors[4];
    const char *text;
} broken_doras[] = {
    {DORA,
     {PAIR("model.layers.0.mlp.up_proj", 4, 181, 72)},
     "use_dora is set, but there is no magnitude vector for it"},
    {DORA,
     {PAIR("model.layers.0.mlp.up_proj", 4, 181, 72), NORMS("model.layers.0.mlp.up_proj", 180)},
     "has 180 values of F32, but must have one for each of 181"},
    {DORA,
     {PAIR("model.layers.9.mlp.up_proj", 4, 181, 72), NORMS("model.layers.9.mlp.up_proj", 181)},
     "the base has no such tensor"},
    {DORA,
     {PAIR("model.layers.0.mlp.up_proj", 4, 181, 72), NORMS("model.layers.0.mlp.up_proj", 181), NORMS("x", 181)},
     "it has no pair of factors"},
    {"\"r\": 4, \"lora_alpha\": 4",
     {PAIR("model.layers.0.mlp.up_proj", 4, 181, 72), NORMS("model.layers.0.mlp.up_proj", 181)},
     "but use_dora is not set"},
};

START_TEST(dora_without_its_norms)
{
    size_t count = 0;
    while (count < 4 && broken_doras[_i].tensors[count].name)
        count++;
    lora_adapter("lora", broken_doras[_i].members, broken_doras[_i].tensors, count);
    lora_refused((lora_way){.adapter = "lora", .output = "out"}, ORGAN_BAD_INPUT, broken_doras[_i].text);
    if (_i < 4)
        lora_refused((lora_way){.adapter = "lora", .output = "out", .scale = 0.5}, ORGAN_USAGE,
                     "DoRA cannot be merged with a `scale`");
}
END_TEST

/* Names that the text part of multimodal models has had. */
static const struct alias {
    made_tensor base, pair[2];
} aliases[] = {
    {WEIGHT("language_model.model.layers.0.x", 9, 7), {PAIR("model.language_model.layers.0.x", 2, 9, 7)}},
    {WEIGHT("model.language_model.layers.0.x", 9, 7), {PAIR("language_model.model.layers.0.x", 2, 9, 7)}},
    {WEIGHT("model.layers.0.x", 9, 7), {PAIR("model.language_model.layers.0.x", 2, 9, 7)}},
    {WEIGHT("model.layers.0.x", 9, 7), {PAIR("layers.0.x", 2, 9, 7)}},
    {WEIGHT("layers.0.x", 9, 7), {PAIR("model.layers.0.x", 2, 9, 7)}},
};

START_TEST(other_names)
{
    make_shard(scratch_path("named.safetensors"), &aliases[_i].base, 1);
    lora_adapter("lora", "\"r\": 2, \"lora_alpha\": 4", aliases[_i].pair, 2);
    lora_must((lora_way){.base = "named.safetensors", .adapter = "lora", .output = "out"});
    ck_assert_str_eq(organ_json_text(json_array_get(organ_json_at(lora_report, "modules"), 0), "tensor"),
                     aliases[_i].base.name);
}
END_TEST

/* ---- modules that do not fit ---- */

static const struct homeless {
    made_tensor tensors[2];
    const char *reason;
} homeless[] = {
    {{PAIR("model.layers.2.mlp.up_proj", 4, 181, 72)}, "lora_A.weight': the base has no such tensor"},
    {{PAIR("model.layers.0.mlp.up_proj", 4, 180, 72)},
     "B A is 180 x 72, but 'model.layers.0.mlp.up_proj.weight' of the base is [181, 72]"},
    {{PAIR("model.layers.0.mlp.up_proj", 4, 72, 181)}, "B A is 72 x 181"},
    {{PAIR("model.norm", 4, 72, 72)}, "'model.norm.weight' of the base is [72]"},
    {{{LORA_PREFIX "model.norm.weight", ORGAN_F32, 1, {71}}},
     "its shape is [71], but 'model.norm.weight' of the base has shape [72]"},
    {{{LORA_PREFIX "lm_head.weight", ORGAN_F32, 2, {216, 71}}}, "a head must be 216 x 72, as the embedding"},
    {{{LORA_PREFIX "model.layers.0.mlp.up_proj.lora_B.bias", ORGAN_F32, 1, {181}}},
     "a bias of B (lora_bias) cannot be merged"},
    {{{LORA_PREFIX "model.norm.weight", ORGAN_F32, 1, {72}}, {"model.norm.weight", ORGAN_F32, 1, {72}}},
     "is already replaced by"},
};

START_TEST(no_place)
{
    made_tensor all[4] = {PAIR("model.layers.0.self_attn.q_proj", 4, 72, 72)};
    const size_t more = homeless[_i].tensors[1].name ? 2 : 1;
    memcpy(all + 2, homeless[_i].tensors, sizeof homeless[_i].tensors);
    lora_adapter("lora", "\"r\": 4, \"lora_alpha\": 4", all, 2 + more);
    lora_refused((lora_way){.adapter = "lora", .output = "out"}, ORGAN_BAD_INPUT, homeless[_i].reason);
    const bool pair = strstr(homeless[_i].tensors[0].name, "lora_A") != NULL;
    ck_assert_uint_eq(json_array_size(organ_json_at(lora_report, "unplaced")), pair ? 2 : 1);
    lora_refused((lora_way){.adapter = "lora", .output = "out", .dry_run = true}, ORGAN_BAD_INPUT, homeless[_i].reason);
}
END_TEST

START_TEST(all_of_them_are_listed)
{
    static const made_tensor pairs[] = {PAIR("a", 4, 72, 72), PAIR("b", 4, 72, 72), {"c.weight", ORGAN_F32, 1, {3}}};
    lora_adapter("lora", "\"r\": 4, \"lora_alpha\": 4", pairs, COUNT(pairs));
    lora_refused((lora_way){.adapter = "lora", .output = "out"}, ORGAN_BAD_INPUT,
                 "5 tensors of the adapter fit no weight");
    ck_assert_uint_eq(json_array_size(organ_json_at(lora_report, "unplaced")), 5);
    ck_assert_str_eq(organ_json_text(json_array_get(organ_json_at(lora_report, "unplaced"), 4), "tensor"), "c.weight");
}
END_TEST

/* ---- rounding ---- */

/* A change of a thousandth of the last bit is lost in BF16 and kept in F32. */
START_TEST(rounded_away)
{
    static const made_tensor pairs[] = {PAIR("model.layers.0.self_attn.q_proj", 4, 72, 72)};
    lora_adapter("lora", "\"r\": 4, \"lora_alpha\": 1e-4", pairs, 2);
    lora_must((lora_way){.adapter = "lora", .output = "out"});
    ck_assert_uint_eq(organ_json_count(lora_report, "totals.erased"), 1);
    ck_assert(number("totals.applied_ratio") < 0.5 && number("totals.arrived") < 0.5 &&
              number("totals.delta_norm") > 0);
    lora_must((lora_way){.adapter = "lora", .output = "wide", .dtype = "f32"});
    ck_assert_uint_eq(organ_json_count(lora_report, "totals.erased"), 0);
    ck_assert(fabs(number("totals.arrived") - 1) < 0.05);
    lora_must((lora_way){.output = "usual"});
    ck_assert_uint_eq(organ_json_count(lora_report, "totals.erased"), 0);
    ck_assert(fabs(number("totals.arrived") - 1) < 0.01);
}
END_TEST

START_TEST(beyond_the_range)
{
    static const made_tensor pairs[] = {PAIR("model.layers.0.self_attn.k_proj", 4, 72, 72)};
    lora_adapter("lora", "\"r\": 4, \"lora_alpha\": 1e9", pairs, 2);
    lora_refused((lora_way){.adapter = "lora", .output = "out"}, ORGAN_BAD_INPUT,
                 "of the output exceeds the range of F16");
    lora_must((lora_way){.adapter = "lora", .output = "out", .dtype = "bf16"});
    lora_adapter("lora", "\"r\": 4, \"lora_alpha\": 1e60", pairs, 2);
    lora_refused((lora_way){.adapter = "lora", .output = "none", .dtype = "f32"}, ORGAN_BAD_INPUT,
                 "exceeds the range of F32");
}
END_TEST

/* ---- packed bases ---- */

static void quantize(const char *scheme)
{
    run_engine room;
    organ_error error = {0};
    json_t *report;
    run_engine_open(&room, (run_way){0});
    const organ_quantize_options q = {.model = scratch_path("donor"),
                                      .write.output = scratch_path("packed"),
                                      .scheme = scheme,
                                      .write.max_shard_size = 1u << 30};
    const organ_dequantize_options d = {.model = q.write.output,
                                        .write.output = scratch_path("plain"),
                                        .dtype = "f32",
                                        .write.max_shard_size = 1u << 30};
    ck_assert_msg(organ_quantize(&q, &room.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    ck_assert_msg(organ_dequantize(&d, &room.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    run_engine_close(&room);
}

static const char *const schemes[] = {"fp8-block128", "fp8-channel"};

/* A packed base is dequantised before the merge, and the output is not packed. */
START_TEST(packed)
{
    organ_model *out;
    organ_error error = {0};
    quantize(schemes[_i]);
    lora_must((lora_way){.base = "packed", .output = "out", .dtype = "f32"});
    ck_assert(number("totals.dequantised") > 0);
    lora_must((lora_way){.base = "plain", .output = "same", .dtype = "f32"});
    ck_assert_int_eq(organ_model_open(scratch_path("out"), &out, &error), ORGAN_OK);
    ck_assert_str_eq(out->config.quant_method, "");
    ck_assert_str_eq(out->config.torch_dtype, "float32");
    for (size_t t = 0; t < out->tensor_count; t++) {
        size_t n, m;
        float *const a = lora_values(scratch_path("out"), out->tensors[t].name, &n);
        float *const b = lora_values(scratch_path("same"), out->tensors[t].name, &m);
        ck_assert_msg(n == m && memcmp(a, b, n * sizeof *a) == 0, "%s", out->tensors[t].name);
        free(a);
        free(b);
    }
    organ_model_close(out);
    lora_must((lora_way){.base = "packed", .output = "narrow"});
    ck_assert(fabs(number("totals.arrived") - 1) < 0.01);
    ck_assert_int_eq(organ_model_open(scratch_path("narrow"), &out, &error), ORGAN_OK);
    ck_assert_str_eq(out->config.torch_dtype, "bfloat16");
    organ_model_close(out);
    lora_expect_merged("plain", "adapter", "model.layers.1.mlp.down_proj", false, 1);
}
END_TEST

START_TEST(wrong_usage)
{
    lora_refused((lora_way){.output = "out", .dtype = "fp8"}, ORGAN_USAGE, "dtype 'fp8' is not one of");
    lora_refused((lora_way){.output = "out", .scale = NAN}, ORGAN_USAGE, "scale");
    lora_refused((lora_way){.base = "none", .output = "out"}, ORGAN_IO, "none");
    lora_refused((lora_way){.adapter = "none", .output = "out"}, ORGAN_IO, "none: cannot be opened");
    static const made_tensor pairs[] = {PAIR("model.layers.0.self_attn.q_proj", 4, 72, 72)};
    lora_adapter("lora", "\"r\": 4, \"lora_alpha\": 4, \"init_lora_weights\": \"pissa_niter_4\"", pairs, 2);
    lora_refused((lora_way){.adapter = "lora", .output = "out"}, ORGAN_BAD_INPUT,
                 "init_lora_weights is \"pissa_niter_4\"");
}
END_TEST

START_TEST(dry_run)
{
    lora_must((lora_way){.output = "out", .dry_run = true});
    ck_assert(!scratch_left("out"));
    ck_assert_uint_eq(json_array_size(organ_json_at(lora_report, "modules")), 6);
}
END_TEST

Suite *lora_merge_suite(void)
{
    Suite *const suite = suite_create("lora_merge");
    TCase *const all = tcase_create("results");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, lora_setup, lora_teardown);
    tcase_add_test(all, the_same_as_peft);
    tcase_add_loop_test(all, the_same_as_fp64, 0, COUNT(factors));
    tcase_add_test(all, rounded_once);
    tcase_add_test(all, any_threads_and_memory);
    tcase_add_test(all, stored_the_other_way_round);
    tcase_add_test(all, a_flag_that_is_wrong);
    tcase_add_test(all, stacked_experts);
    tcase_add_test(all, stacked_experts_that_come_whole);
    tcase_add_test(all, what_comes_whole);
    tcase_add_test(all, dora);
    tcase_add_loop_test(all, dora_without_its_norms, 0, COUNT(broken_doras));
    tcase_add_loop_test(all, other_names, 0, COUNT(aliases));
    tcase_add_loop_test(all, no_place, 0, COUNT(homeless));
    tcase_add_test(all, all_of_them_are_listed);
    tcase_add_test(all, rounded_away);
    tcase_add_test(all, beyond_the_range);
    tcase_add_loop_test(all, packed, 0, COUNT(schemes));
    tcase_add_test(all, wrong_usage);
    tcase_add_test(all, dry_run);
    suite_add_tcase(suite, all);
    return suite;
}
