/* SPDX-License-Identifier: MIT
 * Tests of the scheme of each target: groups that fit its width, and one scheme for all routed experts, or an error
 * that names the width. */
#include "tests/verbs/quantize/convert_rig.h"
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS  2
#define EXPERTS 3
#define Q_PROJ  "model.layers.1.self_attn.q_proj"

static const char *const projections[] = {"gate_proj", "up_proj", "down_proj"};
static char remarks[4096];

static void remember(void *context, const char *text)
{
    (void)context;
    strncat(remarks, text, sizeof remarks - strlen(remarks) - 2);
    strcat(remarks, "\n");
}

static const organ_progress progress = {.note = remember};

/* Makes a mixture of that hidden size whose experts are `width` wide, with attention of the hidden size. */
static void make_mixture(uint64_t hidden, uint64_t width)
{
    static char names[64][96];
    made_tensor tensors[64];
    size_t count = 0;
    char config[256];
    tensors[count++] = (made_tensor){"model.embed_tokens.weight", ORGAN_BF16, 2, {64, hidden}};
    for (int l = 0; l < LAYERS; l++) {
        snprintf(names[count], sizeof *names, "model.layers.%d.self_attn.q_proj.weight", l);
        tensors[count] = (made_tensor){names[count], ORGAN_BF16, 2, {hidden, hidden}};
        count++;
        for (int e = 0; e < EXPERTS; e++)
            for (size_t p = 0; p < 3; p++) {
                snprintf(names[count], sizeof *names, "model.layers.%d.mlp.experts.%d.%s.weight", l, e, projections[p]);
                tensors[count] =
                    (made_tensor){names[count], ORGAN_BF16, 2, {p == 2 ? hidden : width, p == 2 ? width : hidden}};
                count++;
            }
    }
    ck_assert_int_eq(system("rm -rf \"$OUT\" \"$DONOR\" && mkdir \"$DONOR\""), 0);
    make_shard(scratch_path("donor/model.safetensors"), tensors, count);
    const int length = snprintf(config, sizeof config,
                                "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"model_type\": \"qwen3_moe\", "
                                "\"hidden_size\": %d, \"num_hidden_layers\": %d}",
                                (int)hidden, LAYERS);
    spill(scratch_path("donor/config.json"), config, (size_t)length);
}

/* Returns the largest group of at most `requested` that divides the width; 0: none. */
static uint64_t fitting(uint64_t requested, uint64_t width)
{
    while (requested >= 32 && width % requested)
        requested /= 2;
    return requested >= 32 ? requested : 0;
}

/* Returns the group size of that module; 0 if it is not quantised. */
static uint64_t group_of(const organ_model *model, const char *module, uint64_t cols)
{
    char name[128];
    snprintf(name, sizeof name, "%s.weight_scale", module);
    const organ_tensor *const scale = organ_model_find(model, name);
    snprintf(name, sizeof name, "%s.weight_packed", module);
    ck_assert_int_eq(scale != NULL, organ_model_find(model, name) != NULL);
    return scale ? cols / scale->shape[1] : 0;
}

static void all_experts_have(const organ_model *model, uint64_t group, uint64_t hidden, uint64_t width)
{
    char module[96];
    for (int l = 0; l < LAYERS; l++)
        for (int e = 0; e < EXPERTS; e++)
            for (size_t p = 0; p < 3; p++) {
                snprintf(module, sizeof module, "model.layers.%d.mlp.experts.%d.%s", l, e, projections[p]);
                ck_assert_uint_eq(group_of(model, module, p == 2 ? width : hidden), group);
            }
}

static json_t *config_of(const char *name)
{
    json_t *const config = json_load_file(scratch_path("%s/config.json", name), 0, NULL);
    ck_assert_ptr_nonnull(config);
    json_t *const kept = json_incref(json_object_get(config, "quantization_config"));
    json_decref(config);
    return kept;
}

/* Returns the group size of the config's group whose targets contain the pattern of experts; 0: there is none. */
static uint64_t group_of_pattern(const json_t *config)
{
    const char *key;
    json_t *group, *target;
    size_t k;
    json_object_foreach(json_object_get(config, "config_groups"), key, group) json_array_foreach(
        json_object_get(group, "targets"), k,
        target) if (strcmp(json_string_value(target), "re:.*\\.experts\\.[0-9]+\\..*") == 0) return (uint64_t)
        json_integer_value(json_object_get(json_object_get(group, "weights"), "group_size"));
    return 0;
}

static uint64_t common(uint64_t a, uint64_t b) { return b ? common(b, a % b) : a; }

static void check_groups(const char *scheme, uint64_t requested, uint64_t hidden, uint64_t width)
{
    const uint64_t experts = fitting(requested, common(hidden, width)), attention = fitting(requested, hidden);
    char words[64];
    organ_error error;
    make_mixture(hidden, width);
    if (!experts) {
        snprintf(words, sizeof words, "have %d values", (int)(width % 32 ? width : hidden));
        ck_assert_int_eq(convert("out", (convert_way){.scheme = scheme}, &error), ORGAN_BAD_INPUT);
        ck_assert_msg(strstr(error.message, words) && strstr(error.message, "fp8-channel"), "%s", error.message);
        ck_assert(!scratch_left("out"));
        return;
    }
    remarks[0] = '\0';
    must_convert("out", (convert_way){.scheme = scheme, .progress = &progress});
    organ_model *const model = open_sound("out");
    json_t *const config = config_of("out");
    all_experts_have(model, experts, hidden, width);
    ck_assert_uint_eq(group_of(model, Q_PROJ, hidden), attention);
    ck_assert_uint_eq(group_of_pattern(config), experts == requested && attention == requested ? 0 : experts);
    ck_assert_int_eq(strstr(remarks, "a smaller group than") != NULL, experts != requested || attention != requested);
    const json_t *const regrouped = json_object_get(json_object_get(convert_report, "totals"), "regrouped");
    ck_assert_int_eq(json_integer_value(regrouped),
                     (experts != requested) * LAYERS * EXPERTS * 3 + (attention != requested) * LAYERS);
    json_decref(config);
    organ_model_close(model);
}

START_TEST(experts_have_one_group_or_are_refused)
{
    static const char *const schemes[] = {"int8", "int4", "int3", "int2"};
    static const uint64_t widths[][2] = {{128, 256}, {128, 96}, {128, 192}, {64, 48}, {96, 128}, {80, 96}, {256, 72}};
    char name[32];
    for (size_t s = 0; s < 4; s++)
        for (int group = 128; group >= 32; group /= 2)
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
                snprintf(name, sizeof name, "%s-group%d", schemes[s], group);
                check_groups(name, (uint64_t)group, widths[w][0], widths[w][1]);
            }
}
END_TEST

/* Schemes without groups support any width, and all targets. */
START_TEST(other_schemes_take_all_widths)
{
    static const char *const schemes[] = {"fp8-channel", "int8-channel"};
    make_mixture(80, 72);
    for (size_t s = 0; s < 2; s++) {
        remarks[0] = '\0';
        must_convert("out", (convert_way){.scheme = schemes[s], .progress = &progress, .force = true});
        ck_assert_uint_eq(json_array_size(json_object_get(convert_report, "left_alone")), 0);
        ck_assert_uint_eq(json_array_size(json_object_get(convert_report, "tensors")), LAYERS * (1 + 3 * EXPERTS));
        ck_assert_int_eq(strstr(remarks, "(5.24), experts as int8-channel: it opens") != NULL, s == 1);
    }
}
END_TEST

START_TEST(experts_are_taken_by_whole_layers)
{
    static const char *const parts[] = {"*.down_proj.weight", "*.experts.[01].*",
                                        "*.1.mlp.experts.*,*.0.mlp.experts.*.up_proj.weight"};
    organ_error error;
    make_mixture(128, 96);
    for (size_t k = 0; k < 3; k++) {
        ck_assert_int_eq(convert("out", (convert_way){.scheme = "fp8-channel", .targets = parts[k]}, &error),
                         ORGAN_USAGE);
        ck_assert_msg(strstr(error.message, "all of their projections must be targets or none"), "%s", error.message);
        ck_assert(!scratch_left("out"));
    }
    remarks[0] = '\0';
    must_convert("out", (convert_way){.scheme = "int4-group32", .targets = "*.0.mlp.experts.*", .progress = &progress});
    ck_assert_msg(strstr(remarks, "some experts stay plain"), "%s", remarks);
    json_t *const config = config_of("out");
    ck_assert_uint_eq(json_array_size(json_object_get(config, "ignore")), 9 + LAYERS + 1); /* with the output head */
    json_decref(config);
}
END_TEST

START_TEST(experts_of_two_kinds_in_a_layer_are_refused)
{
    static const made_tensor tensors[] = {{"model.layers.0.mlp.experts.0.up_proj.weight", ORGAN_BF16, 2, {64, 64}},
                                          {"model.layers.0.mlp.experts.0.gate_proj.weight", ORGAN_BF16, 2, {64, 64}},
                                          {"model.layers.0.mlp.experts.down_proj", ORGAN_BF16, 3, {1, 64, 64}},
                                          {"model.layers.0.self_attn.q_proj.weight", ORGAN_BF16, 2, {64, 64}}};
    organ_error error;
    make_mixture(64, 64);
    make_shard(scratch_path("donor/model.safetensors"), tensors, 4);
    ck_assert_int_eq(convert("out", (convert_way){.scheme = "int4-group32"}, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "'model.layers.0.mlp.experts.down_proj': it is a stack"), "%s", error.message);
    ck_assert(!scratch_left("out"));
    make_shard(scratch_path("donor/model.safetensors"), tensors + 2, 2);
    must_convert("out", (convert_way){.scheme = "int4-group32"});
    ck_assert_uint_eq(json_array_size(json_object_get(convert_report, "left_alone")), 1);
}
END_TEST

/* A matrix that loaders hold alone stays plain if no group fits, and is ignored by name. */
START_TEST(other_matrices_stay_plain)
{
    must_convert("out", (convert_way){.scheme = "int4-group128",
                                      .targets = "*_proj.weight"}); /* donor: 160 wide, 357 in the feed-forward */
    json_t *const config = config_of("out");
    const json_t *const left = json_object_get(convert_report, "left_alone");
    ck_assert_uint_eq(json_array_size(left), 2);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(left, 0), "why")),
                     "its columns are not a whole number of groups of 32, the smallest; int8-channel and the FP8 "
                     "schemes need no groups.");
    ck_assert_str_eq(
        json_string_value(json_object_get(json_array_get(json_object_get(convert_report, "tensors"), 0), "scheme")),
        "int4-group32");
    bool named = false;
    size_t k;
    json_t *module;
    json_array_foreach(json_object_get(config, "ignore"), k, module) named =
        named || strcmp(json_string_value(module), "model.layers.1.mlp.down_proj") == 0;
    ck_assert(named);
    json_decref(config);
}
END_TEST

static void setup(void)
{
    convert_setup();
    setenv("OUT", scratch_path("out"), 1);
    setenv("DONOR", scratch_path("donor"), 1);
}

int main(void)
{
    const suite_case cases[] = {
        {"experts",
         {experts_have_one_group_or_are_refused, other_schemes_take_all_widths, experts_are_taken_by_whole_layers,
          experts_of_two_kinds_in_a_layer_are_refused}},
        {"others", {other_matrices_stay_plain}},
    };
    return run_suites((Suite *const[]){suite_of("quantize_forms", cases, 2, setup, convert_teardown), NULL});
}
