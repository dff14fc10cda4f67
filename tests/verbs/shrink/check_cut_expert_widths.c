/* SPDX-License-Identifier: MIT
 * Tests of dropped channels of routed experts, different ones for each expert: in separate tensors and in stacks, plain
 * and packed. */
#include "tests/verbs/shrink/cut_rig.h"

#include "tests/kit/suite_table.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define M    "model.layers.0.mlp."
#define E(n) M "experts." #n "."
#define QWEN                                                                                                           \
    "{\"model_type\": \"qwen3_moe\", \"num_hidden_layers\": 1, \"num_experts\": 2, \"num_experts_per_tok\": 1, "
#define WIDTH  "\"moe_intermediate_size\": 6, \"intermediate_size\": 6}"
#define ROUTER M "gate.weight BF16 2,16\n"
#define EXPERT(n)                                                                                                      \
    E(n) "gate_proj.weight BF16 6,16\n" E(n) "up_proj.weight BF16 6,16\n" E(n) "down_proj.weight BF16 16,6\n"

static const char stacks[] = ROUTER M "experts.gate_up_proj BF16 2,12,16\n" M "experts.down_proj BF16 2,16,6\n";

/* Adds the lines of expert `number`, which is expert `from` of the donor. */
static void add_expert(char *lines, int number, int from, const char *kept)
{
    static const char *const leaves[] = {"gate_proj", "up_proj", "down_proj"};
    for (int k = 0; k < 3; k++)
        sprintf(lines + strlen(lines), M "experts.%d.%s.weight = " M "experts.%d.%s.weight %d:%s\n", number, leaves[k],
                from, leaves[k], k == 2, kept);
}

START_TEST(tensors_of_each_expert)
{
    char lines[2048] = M "gate.weight = " M "gate.weight\n";
    rig_donor(QWEN WIDTH, ROUTER EXPERT(0) EXPERT(1) E(1) "up_proj.bias BF16 6\n" E(1) "down_proj.bias BF16 16\n");
    must_cut("out", (cut_way){.cut = "x0:1,4/0,5"});
    add_expert(lines, 0, 0, "1,4");
    add_expert(lines, 1, 1, "0,5");
    strcat(lines, E(1) "up_proj.bias = " E(1) "up_proj.bias 0:0,5\n");
    strcat(lines, E(1) "down_proj.bias = " E(1) "down_proj.bias\n");
    made_of("out", lines);
    ck_assert_str_eq(config_says("out", "moe_intermediate_size"), "2");
    ck_assert_str_eq(config_says("out", "intermediate_size"), "6");
    must_cut("healed", (cut_way){.cut = "x0:1,4/0,5", .refitted = "down_proj.weight"});
}
END_TEST

START_TEST(stacks_of_experts)
{
    rig_donor(QWEN WIDTH, stacks);
    must_cut("out", (cut_way){.cut = "x0:1,4/0,5"});
    made_of("out",
            M "gate.weight = " M "gate.weight\n" M "experts.gate_up_proj = " M
              "experts.gate_up_proj 1:1,4,7,10/0,5,6,11\n" M "experts.down_proj = " M "experts.down_proj 2:1,4/0,5\n");
    must_cut("healed", (cut_way){.cut = "x0:1,4/0,5", .refitted = "down_proj"});
}
END_TEST

/* A dropped expert needs no channels; the others keep their own. */
START_TEST(experts_and_channels)
{
    char lines[2048] = M "gate.weight = " M "gate.weight 0:1\n";
    rig_donor(QWEN WIDTH, stacks);
    must_cut("out", (cut_way){.cut = "e0:1 x0:/0,5"});
    made_of("out",
            M "gate.weight = " M "gate.weight 0:1\n" M "experts.gate_up_proj = " M
              "experts.gate_up_proj 0:1;1:0,5,6,11\n" M "experts.down_proj = " M "experts.down_proj 0:1;2:0,5\n");
    ck_assert_str_eq(config_says("out", "num_experts"), "1");
    rig_donor(QWEN WIDTH, ROUTER EXPERT(0) EXPERT(1));
    must_cut("other", (cut_way){.cut = "e0:1 x0:/0,5"});
    add_expert(lines, 0, 1, "0,5");
    made_of("other", lines);
}
END_TEST

START_TEST(experts_of_mixtral)
{
    rig_donor(
        "{\"model_type\": \"mixtral\", \"num_hidden_layers\": 1, \"num_local_experts\": 2, \"intermediate_size\": 6}",
        "model.layers.0.block_sparse_moe.gate.weight BF16 2,16\nmodel.layers.0.block_sparse_moe.experts.0.w1.weight "
        "BF16 6,16\n"
        "model.layers.0.block_sparse_moe.experts.0.w2.weight BF16 "
        "16,6\nmodel.layers.0.block_sparse_moe.experts.0.w3.weight BF16 6,16\n"
        "model.layers.0.block_sparse_moe.experts.1.w1.weight BF16 "
        "6,16\nmodel.layers.0.block_sparse_moe.experts.1.w2.weight BF16 16,6\n"
        "model.layers.0.block_sparse_moe.experts.1.w3.weight BF16 6,16\n");
    must_cut("out", (cut_way){.cut = "x0:1,4/0,5"});
    ck_assert_str_eq(config_says("out", "intermediate_size"), "2");
}
END_TEST

START_TEST(packed_stacks)
{
    const char config[] =
        "{\"num_hidden_layers\": 1, \"num_experts\": 2, \"moe_intermediate_size\": 64, \"quantization_config\": "
        "{\"quant_method\": \"fp8\", \"weight_block_size\": [32, 32]}}";
    rig_donor(config, ROUTER M "experts.up_proj F8_E4M3 2,64,32\n" M "experts.up_proj_scale_inv F32 2,2,1\n" M
                               "experts.down_proj F8_E4M3 2,32,64\n" M "experts.down_proj_scale_inv F32 2,1,2\n");
    must_cut("out", (cut_way){.cut = "x0:32-63/0-31"});
    made_of("out", M "gate.weight = " M "gate.weight\n" M "experts.up_proj = " M "experts.up_proj 1:32-63/0-31\n" M
                     "experts.up_proj_scale_inv = " M "experts.up_proj_scale_inv 1:1/0\n" M "experts.down_proj = " M
                     "experts.down_proj 2:32-63/0-31\n" M "experts.down_proj_scale_inv = " M
                     "experts.down_proj_scale_inv 2:1/0\n");
    cut_refused((cut_way){.cut = "x0:32-63/1-32"}, ORGAN_BAD_INPUT, "which cannot be split");
}
END_TEST

#define KEYS                                                                                                           \
    "general.architecture=qwen3moe qwen3moe.block_count=1 qwen3moe.expert_count=2 qwen3moe.feed_forward_length=96 "
#define TENSORS                                                                                                        \
    "blk.0.ffn_gate_inp.weight F32 2,32\nblk.0.ffn_gate_exps.weight Q4_0 2,96,32\nblk.0.ffn_up_exps.weight BF16 "      \
    "2,96,32\n"                                                                                                        \
    "blk.0.ffn_down_exps.weight Q8_0 2,32,96\n"

START_TEST(stacks_of_gguf)
{
    organ_model *made = NULL;
    organ_error error = {0};
    rig_gguf(KEYS "qwen3moe.expert_feed_forward_length=96", TENSORS "blk.0.ffn_up_exps.bias F32 2,96\n");
    must_cut("out.gguf", (cut_way){.cut = "x0:0-31,64-95/32-95"});
    made_of("out.gguf", "blk.0.ffn_gate_inp.weight = blk.0.ffn_gate_inp.weight\n"
                        "blk.0.ffn_gate_exps.weight = blk.0.ffn_gate_exps.weight 1:0-31,64-95/32-95\n"
                        "blk.0.ffn_up_exps.weight = blk.0.ffn_up_exps.weight 1:0-31,64-95/32-95\n"
                        "blk.0.ffn_down_exps.weight = blk.0.ffn_down_exps.weight 2:0,2/1,2\n"
                        "blk.0.ffn_up_exps.bias = blk.0.ffn_up_exps.bias 1:0-31,64-95/32-95\n");
    ck_assert_int_eq(organ_model_open(scratch_path("out.gguf"), &made, &error), ORGAN_OK);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "qwen3moe.expert_feed_forward_length", 0), 64);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "qwen3moe.feed_forward_length", 0), 96);
    organ_model_close(made);
    cut_refused((cut_way){.cut = "x0:0-31/1-32"}, ORGAN_BAD_INPUT,
                "'blk.0.ffn_down_exps.weight': 0 to 31 are stored in one block");
    rig_gguf(KEYS, TENSORS);
    must_cut("own.gguf", (cut_way){.cut = "x0:0-31/32-63"});
    ck_assert_int_eq(organ_model_open(scratch_path("own.gguf"), &made, &error), ORGAN_OK);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "qwen3moe.feed_forward_length", 0), 32);
    organ_model_close(made);
    rig_gguf(KEYS "qwen3moe.expert_feed_forward_length=64", TENSORS);
    cut_refused((cut_way){.cut = "x0:0-31/32-63"}, ORGAN_BAD_INPUT,
                "'qwen3moe.expert_feed_forward_length' is 64: it is not the 96");
}
END_TEST

/* A dense layer next to mixtures keeps its own width. */
START_TEST(dense_layers_beside_experts)
{
    const char dense[] = "model.layers.1.mlp.up_proj.weight BF16 6,16\nmodel.layers.1.mlp.down_proj.weight BF16 16,6\n";
    char tensors[2048];
    snprintf(tensors, sizeof tensors, "%s%s", stacks, dense);
    rig_donor("{\"num_hidden_layers\": 2, \"num_experts\": 2, \"moe_intermediate_size\": 6, \"intermediate_size\": 6}",
              tensors);
    must_cut("out", (cut_way){.cut = "x0:1,4/0,5"});
    ck_assert_str_eq(config_says("out", "intermediate_size"), "6");
    must_cut("both", (cut_way){.cut = "x0:1,4/0,5 c1:0,1,2"});
    ck_assert_str_eq(config_says("both", "intermediate_size"), "3");
    ck_assert_str_eq(config_says("both", "moe_intermediate_size"), "2");
    rig_donor("{\"num_hidden_layers\": 2, \"num_local_experts\": 2, \"intermediate_size\": 6}", tensors);
    cut_refused((cut_way){.cut = "x0:1,4/0,5"}, ORGAN_BAD_INPUT, "also the width of layers without experts");
    cut_refused((cut_way){.cut = "x0:1,4/0,5 c1:0,1,2"}, ORGAN_BAD_INPUT, "also the width of layers without experts");
    must_cut("alike", (cut_way){.cut = "x0:1,4/0,5 c1:0,2"});
    ck_assert_str_eq(config_says("alike", "intermediate_size"), "2");
}
END_TEST

/* A shared expert as wide as two routed ones keeps twice as many channels. */
#define SHARED M "shared_experts."

START_TEST(shared_experts_follow)
{
    static const char tensors[] = ROUTER EXPERT(0) EXPERT(1) SHARED
        "gate_proj.weight BF16 12,16\n" SHARED "up_proj.weight BF16 12,16\n" SHARED "down_proj.weight BF16 16,12\n";
    static const char fused[] =
        ROUTER EXPERT(0) EXPERT(1) SHARED "gate_up_proj.weight BF16 24,16\n" SHARED "down_proj.weight BF16 16,12\n";
    char lines[2048] = M "gate.weight = " M "gate.weight\n";
    add_expert(lines, 0, 0, "1,4");
    add_expert(lines, 1, 1, "0,5");
    const size_t routed = strlen(lines);
    rig_donor(QWEN "\"n_shared_experts\": 2, " WIDTH, tensors);
    must_cut("out", (cut_way){.cut = "x0:1,4/0,5 s0:0,3,6,11"});
    strcat(lines,
           SHARED "gate_proj.weight = " SHARED "gate_proj.weight 0:0,3,6,11\n" SHARED "up_proj.weight = " SHARED
                  "up_proj.weight 0:0,3,6,11\n" SHARED "down_proj.weight = " SHARED "down_proj.weight 1:0,3,6,11\n");
    made_of("out", lines);
    ck_assert_str_eq(config_says("out", "moe_intermediate_size"), "2");
    ck_assert_str_eq(config_says("out", "n_shared_experts"), "2");
    must_cut("healed", (cut_way){.cut = "x0:1,4/0,5 s0:0,3,6,11", .refitted = "down_proj.weight"});
    cut_refused((cut_way){.cut = "x0:1,4/0,5"}, ORGAN_BAD_INPUT,
                "n_shared_experts is 2: the width of shared experts is a multiple of the routed ones'");
    cut_refused((cut_way){.cut = "x0:1,4/0,5 s0:0,3,6"}, ORGAN_BAD_INPUT, "both must keep the same share of channels");
    cut_refused((cut_way){.cut = "s0:0,3,6,11"}, ORGAN_BAD_INPUT, "both must keep the same share of channels");
    cut_refused((cut_way){.cut = "x0:1,4/0,5 s0:0,3,6,12"}, ORGAN_USAGE,
                "number 12 of the kept channels of the shared expert");
    rig_donor(QWEN "\"n_shared_experts\": 2, " WIDTH, fused);
    must_cut("fused", (cut_way){.cut = "x0:1,4/0,5 s0:0,3,6,11"});
    lines[routed] = '\0';
    strcat(lines, SHARED "gate_up_proj.weight = " SHARED "gate_up_proj.weight 0:0,3,6,11,12,15,18,23\n" SHARED
                         "down_proj.weight = " SHARED "down_proj.weight 1:0,3,6,11\n");
    made_of("fused", lines);
    rig_donor(QWEN WIDTH, tensors);
    cut_refused((cut_way){.cut = "x0:1,4/0,5 s0:0,3,6,11"}, ORGAN_BAD_INPUT,
                "known member for the number of shared experts, which is 2 by the tensors");
    rig_donor(QWEN "\"n_shared_experts\": 2, " WIDTH, ROUTER EXPERT(0) EXPERT(1));
    cut_refused((cut_way){.cut = "x0:1,4/0,5 s0:0,3"}, ORGAN_USAGE,
                "layer 0 has no channels of the shared expert to remove");
}
END_TEST

START_TEST(shared_experts_of_gguf)
{
    static const char tensors[] = TENSORS "blk.0.ffn_gate_shexp.weight F16 192,32\nblk.0.ffn_up_shexp.weight F16 "
                                          "192,32\nblk.0.ffn_down_shexp.weight F16 32,192\n";
    organ_model *made = NULL;
    organ_error error = {0};
    rig_gguf(KEYS "qwen3moe.expert_feed_forward_length=96 qwen3moe.expert_shared_count=2", tensors);
    must_cut("out.gguf", (cut_way){.cut = "x0:0-31/32-63 s0:64-127"});
    ck_assert_int_eq(organ_model_open(scratch_path("out.gguf"), &made, &error), ORGAN_OK);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "qwen3moe.expert_feed_forward_length", 0), 32);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "qwen3moe.expert_shared_count", 0), 2);
    organ_model_close(made);
    cut_refused((cut_way){.cut = "x0:0-31/32-63"}, ORGAN_BAD_INPUT,
                "'qwen3moe.expert_shared_count' is 2: the width of shared experts");
    cut_refused((cut_way){.cut = "x0:0-31/32-63 s0:64-95"}, ORGAN_BAD_INPUT,
                "both must keep the same share of channels");
    rig_gguf(KEYS "qwen3moe.expert_feed_forward_length=96 qwen3moe.expert_shared_count=2 "
                  "qwen3moe.expert_shared_feed_forward_length=192",
             tensors);
    must_cut("own.gguf", (cut_way){.cut = "x0:0-31/32-63"});
    cut_refused((cut_way){.cut = "x0:0-31/32-63 s0:64-127"}, ORGAN_BAD_INPUT,
                "can be cut together only if it is absent");
}
END_TEST

START_TEST(channels_that_cannot_be)
{
    rig_donor(QWEN WIDTH, ROUTER EXPERT(0) EXPERT(1));
    cut_refused((cut_way){.cut = "x0:1,4/0"}, ORGAN_USAGE, "expert 1 would have 1 channels and one before it 2");
    cut_refused((cut_way){.cut = "x0:1,6/0,5"}, ORGAN_USAGE, "number 6 of the kept channels of an expert");
    cut_refused((cut_way){.cut = "x0:4,1/0,5"}, ORGAN_USAGE, "number 1 of the kept channels of an expert");
    cut_refused((cut_way){.cut = "x0:/0,5"}, ORGAN_USAGE, "would have no channels of an expert left");
    cut_refused((cut_way){.cut = "x0:0-5/0-5"}, ORGAN_USAGE, "nothing would be removed");
    cut_refused((cut_way){.cut = "c0:0,1"}, ORGAN_USAGE, "no channels of the feed-forward to remove");
    rig_donor(QWEN "\"moe_intermediate_size\": [6, 6]}", ROUTER EXPERT(0) EXPERT(1));
    cut_refused((cut_way){.cut = "x0:1,4/0,5"}, ORGAN_BAD_INPUT, "a list gives each layer its own number");
    rig_donor(QWEN "\"moe_intermediate_size\": 7}", ROUTER EXPERT(0) EXPERT(1));
    cut_refused((cut_way){.cut = "x0:1,4/0,5"}, ORGAN_BAD_INPUT,
                "no known member for the number of channels of an expert, which is 6");
    rig_donor(QWEN WIDTH, ROUTER EXPERT(0) E(1) "down_proj.weight BF16 16,5\n");
    cut_refused((cut_way){.cut = "x0:1,4/0,3"}, ORGAN_BAD_INPUT,
                "experts' down projections have different numbers of channels");
    rig_donor(QWEN WIDTH, ROUTER EXPERT(0) E(1) "down_proj.weight BF16 16,6\n" E(1) "up_proj.weight BF16 7,16\n");
    cut_refused((cut_way){.cut = "x0:1,4/0,5"}, ORGAN_BAD_INPUT, "does not have the rows of 6 channels");
    rig_donor(QWEN WIDTH, ROUTER EXPERT(0) EXPERT(1) M "experts.mystery BF16 2,6\n");
    cut_refused((cut_way){.cut = "x0:1,4/0,5"}, ORGAN_BAD_INPUT, "its function in the experts is unknown");
    rig_donor("{\"architectures\": [\"GptOssForCausalLM\"], \"num_hidden_layers\": 1, \"num_local_experts\": 2, "
              "\"intermediate_size\": 6}",
              M "router.weight BF16 2,16\n" M "experts.gate_up_proj BF16 2,12,16\n" M
                "experts.down_proj BF16 2,16,6\n");
    cut_refused((cut_way){.cut = "x0:1,4/0,5"}, ORGAN_BAD_INPUT,
                "does not have the rows of 16 channels of gate and up");
    rig_donor("{\"num_hidden_layers\": 2, \"num_experts\": 2, \"moe_intermediate_size\": 6}",
              ROUTER EXPERT(0)
                  EXPERT(1) "model.layers.1.mlp.gate.weight BF16 2,16\nmodel.layers.1.mlp.experts.up_proj BF16 2,6,16\n"
                            "model.layers.1.mlp.experts.down_proj BF16 2,16,6\n");
    cut_refused((cut_way){.cut = "x0:1,4/0,5"}, ORGAN_USAGE, "layer 1 would have 6 of 6 channels of each expert");
}
END_TEST

/* Changes a bit of a tensor of an output. */
static void tamper(const char *output, const char *name, uint64_t at)
{
    organ_model *model = NULL;
    organ_error error = {0};
    unsigned char byte;
    ck_assert_int_eq(organ_model_open(scratch_path("%s", output), &model, &error), ORGAN_OK);
    const organ_tensor *const t = organ_model_find(model, name);
    ck_assert_msg(t, "%s", name);
    const int fd = open(model->files[t->file].path, O_RDWR);
    ck_assert_int_eq(pread(fd, &byte, 1, (off_t)(t->offset + at)), 1);
    byte ^= 1;
    ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)(t->offset + at)), 1);
    close(fd);
    organ_model_close(model);
}

START_TEST(an_audit_finds_other_shared_channels)
{
    organ_error error;
    rig_donor(QWEN "\"n_shared_experts\": 1, " WIDTH, ROUTER EXPERT(0) EXPERT(1) SHARED
              "gate_proj.weight BF16 6,16\n" SHARED "up_proj.weight BF16 6,16\n" SHARED "down_proj.weight BF16 16,6\n");
    must_cut("out", (cut_way){.cut = "x0:1,4/0,5 s0:2,3"});
    const json_t *const layer = json_array_get(json_object_get(audit_report, "layers"), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(layer, "shared_channels")), 6);
    ck_assert_uint_eq(json_array_size(json_object_get(layer, "kept_shared_channels")), 2);
    ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(layer, "kept_shared_channels"), 1)), 3);
    tamper("out", SHARED "up_proj.weight", 5);
    audit_finds("out", true, "layer 0: shared expert: channel 0 of");
    tamper("out", SHARED "up_proj.weight", 5);
    tamper("out", SHARED "down_proj.weight", 5);
    audit_finds("out", false, SHARED "down_proj.weight");
    ck_assert_int_eq(audit_cut("out", true, &error), ORGAN_OK);
}
END_TEST

START_TEST(an_audit_finds_other_channels)
{
    static const struct {
        const char *tensors, *up, *down;
    } models[] = {{ROUTER EXPERT(0) EXPERT(1), E(1) "up_proj.weight", E(1) "down_proj.weight"},
                  {stacks, M "experts.gate_up_proj", M "experts.down_proj"}};
    organ_error error;
    rig_donor(QWEN WIDTH, models[_i].tensors);
    must_cut("out", (cut_way){.cut = "x0:1,4/0,5"});
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(json_object_get(audit_report, "layers"), 0),
                                                        "expert_channels")),
                     6);
    for (uint64_t at = 0; at < (_i ? 256 : 64); at += 21) {
        tamper("out", models[_i].up, at);
        audit_finds("out", true, at >= 128 || !_i ? "expert 1: channel" : "expert 0: channel");
        tamper("out", models[_i].up, at);
    }
    tamper("out", models[_i].down, 5);
    audit_finds("out", false, models[_i].down);
    ck_assert_int_eq(audit_cut("out", true, &error), ORGAN_OK);
    ck_assert_int_eq(json_integer_value(json_object_get(audit_report, "resolved")), 1);
    tamper("out", models[_i].down, 5);
    ck_assert_int_eq(audit_cut("out", false, &error), ORGAN_OK);
}
END_TEST

Suite *cut_expert_widths_suite(void)
{
    const suite_case cases[] = {
        {"experts",
         {tensors_of_each_expert, stacks_of_experts, experts_and_channels, experts_of_mixtral, packed_stacks,
          stacks_of_gguf, dense_layers_beside_experts, shared_experts_follow, shared_experts_of_gguf,
          channels_that_cannot_be}},
    };
    Suite *const suite = suite_of("cut expert widths", cases, sizeof cases / sizeof *cases, cut_setup, cut_teardown);
    TCase *const audits = tcase_create("audits");
    tcase_add_checked_fixture(audits, cut_setup, cut_teardown);
    tcase_add_test(audits, an_audit_finds_other_shared_channels);
    tcase_add_loop_test(audits, an_audit_finds_other_channels, 0, 2);
    suite_add_tcase(suite, audits);
    return suite;
}
