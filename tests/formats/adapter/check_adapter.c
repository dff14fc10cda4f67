/* SPDX-License-Identifier: MIT
 * Tests of the reader of LoRA adapters. */
#include "formats/adapter/adapter_config.h"
#include <organ/weights.h>
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define P            "base_model.model."
#define CONFIG       "\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4"

typedef struct piece {
    const char *name, *dtype, *shape;
    unsigned bytes;
} piece;

/* Writes a safetensors file of these tensors, up to the first without a name. */
static void put_tensors(const char *file, const piece *pieces, size_t count)
{
    char header[8192] = "{";
    size_t at = 0;
    for (size_t k = 0; k < count && pieces[k].name; k++) {
        snprintf(header + strlen(header), sizeof header - strlen(header),
                 "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}", k ? "," : "", pieces[k].name,
                 pieces[k].dtype, pieces[k].shape, at, at + pieces[k].bytes);
        at += pieces[k].bytes;
    }
    strcat(header, "}");
    scratch_tensors(file, header, at);
}

static void put_config(const char *members)
{
    char text[4096];
    snprintf(text, sizeof text, "{%s}", members);
    scratch_text(ORGAN_ADAPTER_CONFIG, text);
}

static organ_adapter *open_good(const char *path)
{
    organ_adapter *adapter;
    organ_error error = {0};
    ck_assert_msg(organ_adapter_open(path, &adapter, &error) == ORGAN_OK, "%s", error.message);
    return adapter;
}

static const piece many[] = {
    {P "model.layers.10.self_attn.q_proj.lora_A.weight", "F32", "[2,3]", 24},
    {P "model.layers.10.self_attn.q_proj.lora_B.weight", "BF16", "[5,2]", 20},
    {P "model.layers.2.mlp.up_proj.lora_A.default.weight", "F16", "[4,3]", 24},
    {P "model.layers.2.mlp.up_proj.lora_B.default.weight", "F64", "[1,4]", 32},
    {"model.layers.2.self_attn.k_proj.lora_B.weight", "F32", "[1,2]", 8},
    {"model.layers.2.self_attn.k_proj.lora_A.weight", "F32", "[2,1]", 8},
    {P "model.embed_tokens.lora_embedding_A.default", "F32", "[2,7]", 56},
    {P "model.embed_tokens.lora_embedding_B", "F32", "[3,2]", 24},
    {P "lm_head.weight", "F32", "[2]", 8},
    {P "model.layers.2.mlp.up_proj.lora_magnitude_vector", "F32", "[1]", 4},
};

START_TEST(everything)
{
    put_tensors(ORGAN_ADAPTER_WEIGHTS, many, COUNT(many));
    put_config(
        CONFIG
        ",\"use_dora\":true,\"base_model_name_or_path\":\"a/b\",\"rank_pattern\":{\"up_proj\":4,\"mlp\\\\.up_proj\":8},"
        "\"alpha_pattern\":{\"layers\\\\.(10|11)\\\\..*\":32,\".*q_proj\":1,\"model.embed_tokens\":3},\"target_"
        "modules\":[\"q_proj\"]");
    organ_adapter *const a = open_good(scratch_path(""));
    ck_assert_uint_eq(a->pair_count, 4);
    ck_assert_uint_eq(a->rest_count, 2);
    ck_assert(a->dora && !a->rslora && !a->fan_in_fan_out && a->r == 2);
    ck_assert_str_eq(a->base, "a/b");
    static const struct {
        const char *module;
        uint64_t rank, in, out;
        double scale;
        int layer;
    } requested[] = {{"model.embed_tokens", 2, 7, 3, 1.5, -1},
                     {"model.layers.2.mlp.up_proj", 4, 3, 1, 1.0, 2},
                     {"model.layers.2.self_attn.k_proj", 2, 1, 1, 2.0, 2},
                     {"model.layers.10.self_attn.q_proj", 2, 3, 5, 16.0, 10}};
    for (size_t k = 0; k < COUNT(requested); k++) {
        const organ_adapter_pair *const p = &a->pairs[k];
        ck_assert_str_eq(p->module, requested[k].module);
        ck_assert_uint_eq(p->rank, requested[k].rank);
        ck_assert_uint_eq(p->in_features, requested[k].in);
        ck_assert_uint_eq(p->out_features, requested[k].out);
        ck_assert(p->scale == requested[k].scale);
        ck_assert_int_eq(p->anatomy.layer, requested[k].layer);
        ck_assert_int_eq(p->embedding, k == 0);
        ck_assert_ptr_eq(organ_adapter_find(a, p->module), p);
    }
    ck_assert_ptr_null(organ_adapter_find(a, "model.layers.3.mlp.up_proj"));
    ck_assert_int_eq(a->pairs[3].anatomy.role, ORGAN_ROLE_Q);
    organ_adapter_close(a);
}
END_TEST

static const piece pair[] = {{P "model.layers.0.self_attn.q_proj.lora_A.weight", "F32", "[2,3]", 24},
                             {P "model.layers.0.self_attn.q_proj.lora_B.weight", "F32", "[5,2]", 40}};

/* Scales as peft computes them: of several matching patterns the first in the file counts, and an unescaped dot matches
 * any character. */
static const struct scaled {
    const char *members;
    double scale;
} scales[] = {
    {"", 2},
    {"\"use_rslora\":true", 4 / 1.4142135623730951},
    {"\"use_rslora\":true,\"alpha_pattern\":{\"q_proj\":6}", 6 / 1.4142135623730951},
    {"\"alpha_pattern\":{\"q_pro\":6}", 2},
    {"\"alpha_pattern\":{\"proj\":6}", 2},
    {"\"alpha_pattern\":{\"q.proj\":6}", 3},
    {"\"alpha_pattern\":{\"q\\\\.proj\":6}", 2},
    {"\"alpha_pattern\":{\"self_attn.q_proj\":1.5}", 0.75},
    {"\"alpha_pattern\":{\"attn.q_proj\":1.5}", 2},
    {"\"alpha_pattern\":{\"[kq]_proj\":5,\"q_proj\":6}", 2.5},
    {"\"alpha_pattern\":{\"q_proj\":6,\"[kq]_proj\":5}", 3},
    {"\"alpha_pattern\":{\"model.layers.0.self_attn.q_proj\":-2}", -1},
    {"\"alpha_pattern\":{\"model.model.layers.0.self_attn.q_proj\":-2}", 2},
    {"\"alpha_pattern\":{\"up|q_proj\":7}", 3.5},
    {"\"alpha_pattern\":{\"\":7}", 2},
    {"\"alpha_pattern\":null,\"rank_pattern\":{},\"bias\":null,\"target_modules\":\".*_proj\",\"modules_to_save\":["
     "\"lm_head\"]",
     2},
    {"\"layer_replication\":null,\"target_parameters\":[],\"use_qalora\":false,\"unknown\":[1]", 2},
};

START_TEST(scaled_as_peft_does)
{
    char members[512];
    snprintf(members, sizeof members, CONFIG "%s%s", *scales[_i].members ? "," : "", scales[_i].members);
    put_tensors(ORGAN_ADAPTER_WEIGHTS, pair, COUNT(pair));
    put_config(members);
    organ_adapter *const a = open_good(scratch_path(""));
    ck_assert_msg(fabs(a->pairs[0].scale - scales[_i].scale) < 1e-12, "%.17g", a->pairs[0].scale);
    organ_adapter_close(a);
}
END_TEST

/* Fields that are known, or unset, need no warning; nor do modules that the config selects as peft does. */
static const struct warned {
    const char *members, *text; /* `text` NULL: no warning */
} warned[] = {
    {"\"lora_dropout\":0.1,\"eva_config\":{\"rho\":2},\"ensure_weight_tying\":true,\"qalora_group_size\":16", NULL},
    {"\"megatron_core\":\"megatron.core\",\"runtime_config\":{\"ephemeral_gpu_offload\":false}", NULL},
    {"\"of_the_future\":null,\"of_later\":false,\"and\":0,\"more\":\"\",\"still\":{}", NULL},
    {"\"of_the_future\":true", "the field 'of_the_future' is unknown and has no effect"},
    {"\"twist\":0.5", "the field 'twist' is unknown"},
    {"\"target_modules\":[\"v_proj\",\"self_attn.q_proj\"]", NULL},
    {"\"target_modules\":\"all-linear\"", NULL},
    {"\"target_modules\":\".*\\\\.(q|v)_proj\"", NULL},
    {"\"target_modules\":\"(q|v)_proj\"",
     "target_modules leaves out 1 module that has factors, the first is 'model.layers"},
    {"\"target_modules\":[\"proj\"]", "target_modules leaves out 1 module"},
    {"\"target_modules\":[\"v_proj\"],\"target_parameters\":[\"experts.down_proj\"]", NULL},
    {"\"exclude_modules\":[\"k_proj\"]", NULL},
    {"\"exclude_modules\":[\"q_proj\"]", "exclude_modules leaves out 1 module"},
    {"\"exclude_modules\":\".*layers.0.*\"", "exclude_modules leaves out 1 module"},
    {"\"layers_to_transform\":[0,1]", NULL},
    {"\"layers_to_transform\":0,\"layers_pattern\":\"layers\"", NULL},
    {"\"layers_to_transform\":[]", NULL},
    {"\"layers_to_transform\":[1,2]", "layers_to_transform leaves out 1 module"},
    {"\"layers_to_transform\":[0],\"layers_pattern\":[\"blocks\",\"h\"]", "layers_to_transform leaves out 1 module"},
};

START_TEST(warned_of)
{
    char members[512];
    snprintf(members, sizeof members, CONFIG ",%s", warned[_i].members);
    put_tensors(ORGAN_ADAPTER_WEIGHTS, pair, COUNT(pair));
    put_config(members);
    organ_adapter *const a = open_good(scratch_path(""));
    const organ_adapter_remarks *const remarks = organ_adapter_remarks_of(a);
    ck_assert_uint_eq(remarks->count, warned[_i].text ? 1 : 0);
    if (warned[_i].text)
        ck_assert_msg(strstr(remarks->texts[0], warned[_i].text), "%s", remarks->texts[0]);
    organ_adapter_close(a);
}
END_TEST

/* The path of an adapter's file opens it too, and an adapter may have shards. */
START_TEST(other_places)
{
    put_tensors(ORGAN_ADAPTER_WEIGHTS, pair, COUNT(pair));
    put_config(CONFIG);
    organ_adapter *a = open_good(scratch_path(ORGAN_ADAPTER_WEIGHTS));
    ck_assert_int_eq(strlen(a->path) + 1, strlen(scratch_path("")));
    organ_adapter_close(a);
    ck_assert_int_eq(unlink(scratch_path(ORGAN_ADAPTER_WEIGHTS)), 0);
    put_tensors("adapter_model-1.safetensors", pair, 1);
    put_tensors("adapter_model-2.safetensors", pair + 1, 1);
    scratch_text(ORGAN_ADAPTER_WEIGHTS ".index.json",
                 "{\"weight_map\":{\"" P
                 "model.layers.0.self_attn.q_proj.lora_A.weight\":\"adapter_model-1.safetensors\",\"" P
                 "model.layers.0.self_attn.q_proj.lora_B.weight\":\"adapter_model-2.safetensors\"}}");
    a = open_good(scratch_path(""));
    ck_assert_uint_eq(a->pair_count, 1);
    ck_assert_uint_eq(a->model->file_count, 2);
    organ_adapter_close(a);
}
END_TEST

#define A(shape, bytes)                                                                                                \
    {                                                                                                                  \
        P "m.lora_A.weight", "F32", shape, bytes                                                                       \
    }
#define B(shape, bytes)                                                                                                \
    {                                                                                                                  \
        P "m.lora_B.weight", "F32", shape, bytes                                                                       \
    }
#define GOOD                                                                                                           \
    {                                                                                                                  \
        A("[2,3]", 24), B("[5,2]", 40)                                                                                 \
    }

static const struct broken {
    const char *config; /* NULL: no file */
    piece pieces[4];
    const char *fragments[3];
} broken[] = {
    {NULL, GOOD, {"is not an adapter", "adapter_config.json"}},
    {CONFIG, {{0}}, {"adapter_model.safetensors: contains no tensor"}},
    {"", GOOD, {"adapter_config.json: peft_type is missing", "\"LORA\""}},
    {"\"peft_type\":\"LOHA\"", GOOD, {"adapter_config.json: peft_type is \"LOHA\", not \"LORA\""}},
    {"\"peft_type\":7", GOOD, {"peft_type is 7, not \"LORA\""}},
    {"\"peft_type\":\"LORA\",\"lora_alpha\":4", GOOD, {"r is missing", "whole number above 0"}},
    {"\"peft_type\":\"LORA\",\"lora_alpha\":4,\"r\":0", GOOD, {"r is 0, not a whole number above 0"}},
    {"\"peft_type\":\"LORA\",\"lora_alpha\":4,\"r\":-2", GOOD, {"r is -2, not a whole number above 0"}},
    {"\"peft_type\":\"LORA\",\"lora_alpha\":4,\"r\":2.0", GOOD, {"r is 2.0, not a whole number"}},
    {"\"peft_type\":\"LORA\",\"lora_alpha\":4,\"r\":4294967298", GOOD, {"r is 4294967298, not"}},
    {"\"peft_type\":\"LORA\",\"r\":2", GOOD, {"lora_alpha is missing; it should be a number"}},
    {"\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":\"4\"", GOOD, {"lora_alpha is \"4\", not a number"}},
    {"\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":null", GOOD, {"lora_alpha is null, not a number"}},
    {CONFIG ",\"use_rslora\":1", GOOD, {"use_rslora is 1, not true or false"}},
    {CONFIG ",\"use_dora\":\"yes\"", GOOD, {"use_dora is \"yes\", not true or false"}},
    {CONFIG ",\"fan_in_fan_out\":[]", GOOD, {"fan_in_fan_out is [], not true or false"}},
    {CONFIG ",\"bias\":\"some\"", GOOD, {"bias is \"some\", not \"none\""}},
    {CONFIG ",\"modules_to_save\":\"lm_head\"", GOOD, {"modules_to_save is \"lm_head\", not a list of strings"}},
    {CONFIG ",\"target_modules\":[1]", GOOD, {"target_modules is [1], not a string or a list of strings"}},
    {CONFIG ",\"base_model_name_or_path\":5", GOOD, {"base_model_name_or_path is 5, not a string"}},
    {CONFIG ",\"use_qalora\":true", GOOD, {"use_qalora is set", "only adapters of the form W + scale B A"}},
    {CONFIG ",\"target_parameters\":\"down_proj\"", GOOD, {"target_parameters"}},
    {CONFIG ",\"alora_invocation_tokens\":[1,2]", GOOD, {"alora_invocation_tokens is set"}},
    {CONFIG ",\"invocation_string\":\"Answer:\"", GOOD, {"invocation_string is set"}},
    {CONFIG ",\"use_bdlora\":{\"nblocks\":2}", GOOD, {"use_bdlora is set", "block-diagonal"}},
    {CONFIG ",\"layer_replication\":[[0,2],[1,3]]", GOOD, {"layer_replication is set"}},
    {CONFIG ",\"arrow_config\":{\"top_k\":3}", GOOD, {"arrow_config is set"}},
    {CONFIG ",\"kasa_config\":{\"beta\":0.1}", GOOD, {"kasa_config is set"}},
    {CONFIG ",\"monteclora_config\":{\"num_samples\":8}", GOOD, {"monteclora_config is set"}},
    {CONFIG ",\"velora_config\":{\"num_groups\":8}", GOOD, {"velora_config is set"}},
    {CONFIG ",\"enable_lora\":[true,false,true]", GOOD, {"enable_lora is set"}},
    {CONFIG ",\"exclude_modules\":7", GOOD, {"exclude_modules is 7, not a string or a list of strings"}},
    {CONFIG ",\"layers_pattern\":[1]", GOOD, {"layers_pattern is [1], not a string or a list of strings"}},
    {CONFIG ",\"layers_to_transform\":\"0\"", GOOD, {"layers_to_transform is \"0\", not a number or a list"}},
    {CONFIG ",\"rank_pattern\":[]", GOOD, {"rank_pattern is [], not an object"}},
    {CONFIG ",\"rank_pattern\":{\"m\":0}", GOOD, {"rank_pattern is {\"m\":0}, not an object of whole numbers above 0"}},
    {CONFIG ",\"rank_pattern\":{\"m\":4}",
     GOOD,
     {"tensor '" P "m.lora_A.weight': has rank 2, but adapter_config.json states 4"}},
    {CONFIG ",\"alpha_pattern\":{\"m\":\"x\"}", GOOD, {"alpha_pattern is {\"m\":\"x\"}, not an object of numbers"}},
    {CONFIG ",\"alpha_pattern\":{\"m(\":1}", GOOD, {"alpha_pattern: 'm(' is not a valid pattern:"}},
    {CONFIG ",\"alpha_pattern\":{\"((a|aa)+)+[bd]\":1}",
     {{P "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac.lora_A.weight", "F32", "[2,3]", 24},
      {P "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac.lora_B.weight", "F32", "[5,2]", 40}},
     {"alpha_pattern: the pattern '((a|aa)+)+[bd]' takes too long"}},
    {CONFIG "}{", GOOD, {"adapter_config.json: line 1"}},
    {CONFIG ",\"r\":2", GOOD, {"duplicate object key"}},
    {CONFIG, {A("[2,3]", 24)}, {"tensor '" P "m.lora_A.weight': there is no lora_B for it"}},
    {CONFIG, {B("[5,2]", 40)}, {"tensor '" P "m.lora_B.weight': there is no lora_A for it"}},
    {CONFIG,
     {A("[2,3]", 24), B("[5,4]", 80)},
     {"tensor '" P "m.lora_A.weight': has rank 2, but '" P "m.lora_B.weight' has 4"}},
    {CONFIG, {A("[4,3]", 48), B("[5,4]", 80)}, {"has rank 4, but adapter_config.json states 2"}},
    {CONFIG, {A("[6]", 24), B("[5,2]", 40)}, {"lora_A.weight': has 1 dimensions and 6 elements"}},
    {CONFIG,
     {A("[2,3]", 24), B("[0,2]", 0)},
     {"lora_B.weight': has 2 dimensions and 0 elements", "unless the shards are gathered first"}},
    {CONFIG,
     {{P "m.lora_A.weight", "I32", "[2,3]", 24}, B("[5,2]", 40)},
     {"dtype is I32, but a factor must be F32, F16, BF16 or F64"}},
    {CONFIG, {{P "m.lora_A.weight", "F8_E4M3", "[2,3]", 6}, B("[5,2]", 40)}, {"dtype is F8_E4M3"}},
    {CONFIG,
     {A("[2,3]", 24), {P "m.lora_A.default.weight", "F32", "[2,3]", 24}, B("[5,2]", 40)},
     {"both claim to be the A of one module"}},
    {CONFIG,
     {A("[2,3]", 24), {"m.lora_B.weight", "F32", "[5,2]", 40}, B("[5,2]", 40)},
     {"both claim to be the B of one module"}},
    {CONFIG,
     {A("[2,3]", 24), {P "m.lora_embedding_B", "F32", "[5,2]", 40}},
     {"both claim to be factors of one module"}},
};

static void expect_fault(const char *path, organ_status status, const char *const *fragments, size_t count)
{
    organ_adapter *adapter = (organ_adapter *)&status;
    organ_error error = {0};
    const int before = open_files();
    ck_assert_int_eq(organ_adapter_open(path, &adapter, &error), status);
    ck_assert_ptr_null(adapter);
    for (size_t k = 0; k < count && fragments[k]; k++)
        ck_assert_msg(strstr(error.message, fragments[k]), "no \"%s\" in: %s", fragments[k], error.message);
    ck_assert_int_eq(open_files(), before);
}

START_TEST(refused)
{
    put_tensors(ORGAN_ADAPTER_WEIGHTS, broken[_i].pieces, COUNT(broken[_i].pieces));
    if (broken[_i].config)
        put_config(broken[_i].config);
    expect_fault(scratch_path(""), ORGAN_BAD_INPUT, broken[_i].fragments, 3);
}
END_TEST

START_TEST(wrong_places)
{
    expect_fault(scratch_path("none"), ORGAN_IO, (const char *const[]){"none: cannot be opened"}, 1);
    expect_fault("https://example.org/adapter", ORGAN_USAGE, (const char *const[]){"download the adapter first"}, 1);
    expect_fault(scratch_path(""), ORGAN_BAD_INPUT, (const char *const[]){"there is no adapter_model.safetensors"}, 1);
    put_config(CONFIG);
    expect_fault(scratch_path(ORGAN_ADAPTER_CONFIG), ORGAN_BAD_INPUT,
                 (const char *const[]){"is not an adapter: expected a directory"}, 1);
    scratch_text("adapter_model.bin", "");
    expect_fault(scratch_path(""), ORGAN_BAD_INPUT,
                 (const char *const[]){"adapter_model.bin: is a Python pickle, which organ does not read"}, 1);
    scratch_text(ORGAN_ADAPTER_WEIGHTS, "");
    expect_fault(scratch_path(""), ORGAN_BAD_INPUT,
                 (const char *const[]){"adapter_model.safetensors: the file has 0 bytes"}, 1);
}
END_TEST

/* A product of many expressions and many modules is rejected before they are matched. */
START_TEST(too_many_patterns)
{
    enum { MANY = 1100 };
    char *const header = malloc(MANY * 256), *const config = malloc(MANY * 32);
    size_t at = 0, used = 0, text = (size_t)sprintf(config, "{" CONFIG ",\"alpha_pattern\":{");
    for (size_t k = 0; k < MANY; k++) {
        used +=
            (size_t)sprintf(header + used,
                            "%s\"m%zu.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[%zu,%zu]},"
                            "\"m%zu.lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[%zu,%zu]}",
                            k ? "," : "{", k, at, at + 8, k, at + 8, at + 16);
        at += 16;
        text += (size_t)sprintf(config + text, "%s\"[mn]%zu\":1", k ? "," : "", k);
    }
    strcpy(header + used, "}");
    strcpy(config + text, "}}");
    scratch_tensors(ORGAN_ADAPTER_WEIGHTS, header, at);
    scratch_text(ORGAN_ADAPTER_CONFIG, config);
    expect_fault(scratch_path(""), ORGAN_BAD_INPUT,
                 (const char *const[]){
                     "alpha_pattern has 1100 patterns (1100 of them expressions), too many to be matched with 1100"},
                 1);
    for (char *s = config; (s = strstr(s, "[mn]"));) /* the same number of modules with plain names is found */
        memcpy(s, "mmmm", 4);
    scratch_text(ORGAN_ADAPTER_CONFIG, config);
    organ_adapter_close(open_good(scratch_path("")));
    free(header);
    free(config);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("adapter");
    TCase *const all = tcase_create("files");
    tcase_add_checked_fixture(all, scratch_begin, scratch_end);
    tcase_add_test(all, everything);
    tcase_add_loop_test(all, scaled_as_peft_does, 0, COUNT(scales));
    tcase_add_loop_test(all, warned_of, 0, COUNT(warned));
    tcase_add_test(all, other_places);
    tcase_add_loop_test(all, refused, 0, COUNT(broken));
    tcase_add_test(all, wrong_places);
    tcase_add_test(all, too_many_patterns);
    suite_add_tcase(suite, all);
    return run_suites((Suite *const[]){suite, NULL});
}
