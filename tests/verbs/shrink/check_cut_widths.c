/* SPDX-License-Identifier: MIT
 * Tests of dropped channels and heads: rows of some tensors, columns of others, whole blocks of codes and scales
 * only. */
#include "tests/verbs/shrink/cut_rig.h"

#include <organ/weights.h>
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <string.h>

#define M "model.layers.0.mlp."
#define A "model.layers.0.self_attn."

#define QUANTISED(method, more) ", \"quantization_config\": {\"quant_method\": \"" method "\", " more "}"

/* A matrix of 256 x 256 in each packing: its tensors, and the kept parts for rows 64-191 and 192 of 256, and for
 * columns; NULL: columns cannot be cut. */
static const struct packed {
    const char *config, *tensors, *rows, *cols;
} packed[] = {
    {"", "weight BF16 256,256\n", "0:0-127,192-255\n", "1:0-127,192-255\n"},
    {", \"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [64, 64]}",
     "weight F8_E4M3 256,256\nweight_scale_inv F32 4,4\n", "0:0-127,192-255\n0:0,1,3\n", "1:0-127,192-255\n1:0,1,3\n"},
    {", \"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": \"float-quantized\", "
     "\"config_groups\": {\"g\": "
     "{\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"channel\"}}}}",
     "weight F8_E4M3 256,256\nweight_scale BF16 256,1\n", "0:0-127,192-255\n0:0-127,192-255\n", "1:0-127,192-255\n\n"},
    {", \"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\", "
     "\"config_groups\": {\"g\": "
     "{\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 4, \"type\": \"int\", \"group_size\": 64, \"symmetric\": "
     "false}}}}",
     "weight_packed I32 256,32\nweight_scale BF16 256,4\nweight_zero_point I32 32,4\nweight_shape I64 2=256,256\n",
     "0:0-127,192-255\n0:0-127,192-255\n0:0-15,24-31\n-\n", "1:0-15,24-31\n1:0,1,3\n1:0,1,3\n-\n"},
    {", \"quantization_config\": {\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 64}",
     "qweight I32 256,32\nqzeros I32 4,32\nscales F16 4,256\n", "1:0-15,24-31\n1:0-15,24-31\n1:0-127,192-255\n",
     "0:0-127,192-255\n0:0,1,3\n0:0,1,3\n"},
    {", \"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 64}",
     "qweight I32 32,256\nqzeros I32 4,32\nscales F16 4,256\ng_idx I32 256\n",
     "1:0-127,192-255\n1:0-15,24-31\n1:0-127,192-255\n\n", NULL},
    {QUANTISED("gptq", "\"bits\": 3, \"group_size\": 64"), "qweight I32 24,256\nqzeros I32 4,24\nscales F16 4,256\n",
     "1:0-127,192-255\n1:0-11,18-23\n1:0-127,192-255\n", "0:0-11,18-23\n0:0,1,3\n0:0,1,3\n"},
    {QUANTISED("gptq", "\"bits\": 5, \"group_size\": 64"), "qweight I32 40,256\nqzeros I32 4,40\nscales F16 4,256\n",
     "1:0-127,192-255\n1:0-19,30-39\n1:0-127,192-255\n", "0:0-19,30-39\n0:0,1,3\n0:0,1,3\n"},
    {QUANTISED("quark", "\"global_quant_config\": {\"weight\": {\"dtype\": \"int4\", \"group_size\": 64}}"),
     "weight I32 256,32\nweight_zero_point I32 4,32\nweight_scale BF16 4,256\n",
     "1:0-15,24-31\n1:0-15,24-31\n1:0-127,192-255\n", "0:0-127,192-255\n0:0,1,3\n0:0,1,3\n"},
    {QUANTISED("quark", "\"global_quant_config\": {\"weight\": {\"dtype\": \"fp6_e3m2\"}}"),
     "weight U8 256,192\nweight_scale U8 256,8\n", "0:0-127,192-255\n0:0-127,192-255\n", "1:0-95,144-191\n1:0-3,6,7\n"},
    {QUANTISED("auto-round", "\"bits\": 4, \"group_size\": 32, \"data_type\": \"mx_int\""),
     "weight_packed U8 256,128\nweight_scale U8 256,8\n", "0:0-127,192-255\n0:0-127,192-255\n",
     "1:0-63,96-127\n1:0-3,6,7\n"},
    {QUANTISED("modelopt", "\"quant_algo\": \"W4A16_AWQ\""),
     "weight U8 128,256\nweight_scale F32 256,4\npre_quant_scale BF16 256\n", "0:0-63,96-127\n0:0-127,192-255\n\n",
     "1:0-127,192-255\n1:0,1,3\n0:0-127,192-255\n"},
    {QUANTISED("modelopt", "\"quant_algo\": \"fp8_pb_wo\""), "weight F8_E4M3 256,256\nweight_scale F32 4,1,4,1\n",
     "0:0-127,192-255\n0:0,1,3\n", "1:0-127,192-255\n2:0,1,3\n"},
    {QUANTISED("torchao", "\"quant_type\": {}"),
     "_weight_qdata I8 256,256\n_weight_scale F32 256,4\n_weight_zero_point I8 256,4\n",
     "0:0-127,192-255\n0:0-127,192-255\n0:0-127,192-255\n", "1:0-127,192-255\n1:0,1,3\n1:0,1,3\n"},
    {QUANTISED("bitsandbytes", "\"load_in_8bit\": true"), "weight I8 256,256\nSCB F32 256\n",
     "0:0-127,192-255\n0:0-127,192-255\n", "1:0-127,192-255\n\n"},
};

/* Adds lines "PREFIX.leaf = PREFIX.leaf SHARE" for the tensors, with the shares line by line; "-" checks only that the
 * tensor exists. */
static void add_wanted(char *to, const char *prefix, const char *tensors, const char *shares)
{
    for (const char *s = tensors; *s; s = strchr(s, '\n') + 1) {
        const int leaf = (int)strcspn(s, " "), share = shares ? (int)strcspn(shares, "\n") : 0;
        if (shares && *shares == '-') /* the numbers of weight_shape change */
            sprintf(to + strlen(to), "%s.%.*s ! 2\n", prefix, leaf, s);
        else
            sprintf(to + strlen(to), "%s.%.*s = %s.%.*s %.*s\n", prefix, leaf, s, prefix, leaf, s, share,
                    shares ? shares : "");
        shares = shares ? shares + share + (shares[share] == '\n') : NULL;
    }
}

static void add_donor(char *to, const char *prefix, const char *tensors)
{
    for (const char *s = tensors; *s; s = strchr(s, '\n') + 1)
        sprintf(to + strlen(to), "%s.%.*s\n", prefix, (int)strcspn(s, "\n"), s);
}

START_TEST(channels_in_each_packing)
{
    const struct packed *const p = &packed[_i];
    char config[1024], donor[4096] = "", requested[4096] = "";
    snprintf(config, sizeof config, "{\"num_hidden_layers\": 1, \"intermediate_size\": 256%s}", p->config);
    add_donor(donor, M "gate_proj", p->tensors);
    add_donor(donor, M "up_proj", p->tensors);
    strcat(donor, M "up_proj.bias BF16 256\n" M "down_proj.bias BF16 256\n");
    add_donor(donor, M "down_proj", p->tensors);
    add_wanted(requested, M "gate_proj", p->tensors, p->rows);
    add_wanted(requested, M "up_proj", p->tensors, p->rows);
    strcat(requested,
           M "up_proj.bias = " M "up_proj.bias 0:0-127,192-255\n" M "down_proj.bias = " M "down_proj.bias\n");
    add_wanted(requested, M "down_proj", p->tensors, p->cols);
    rig_donor(config, donor);
    if (!p->cols) {
        cut_refused((cut_way){.cut = "c0:0-127,192-255"}, ORGAN_BAD_INPUT, "its columns are in groups by");
        return;
    }
    must_cut("out", (cut_way){.cut = "c0:0-127,192-255"});
    made_of("out", requested);
    ck_assert_str_eq(config_says("out", "intermediate_size"), "192");
    if (strstr(p->tensors, "F32 4,4") || strstr(p->tensors, "I32"))
        cut_refused((cut_way){.cut = "c0:0-100"}, ORGAN_BAD_INPUT, "which cannot be split");
}
END_TEST

START_TEST(shapes_are_told)
{
    rig_donor("{\"num_hidden_layers\": 1, \"intermediate_size\": 64, \"quantization_config\": {\"quant_method\": "
              "\"compressed-tensors\", "
              "\"format\": \"pack-quantized\", \"config_groups\": {\"g\": {\"targets\": [\"Linear\"], \"weights\": "
              "{\"num_bits\": 4, \"type\": "
              "\"int\", \"group_size\": 32}}}}}",
              M "up_proj.weight_packed I32 64,8\n" M "up_proj.weight_scale BF16 64,2\n" M
                "up_proj.weight_shape I64 2=64,64\n" M "down_proj.weight_packed I32 64,8\n" M
                "down_proj.weight_scale BF16 64,2\n" M "down_proj.weight_shape I32 2=64,64\n");
    must_cut("out", (cut_way){.cut = "c0:32-63"});
    organ_model *made = NULL;
    organ_weights *weights = NULL;
    organ_error error = {0};
    ck_assert_int_eq(organ_model_open(scratch_path("out"), &made, &error), ORGAN_OK);
    ck_assert_msg(organ_weights_find(made, &weights, &error) == ORGAN_OK, "%s", error.message);
    const organ_weight *const up = organ_weights_named(weights, M "up_proj.weight"), *const down = organ_weights_named(
                                                                                         weights, M "down_proj.weight");
    ck_assert(up->shape[0] == 32 && up->shape[1] == 64 && down->shape[0] == 64 && down->shape[1] == 32);
    organ_weights_free(weights);
    organ_model_close(made);
}
END_TEST

START_TEST(heads_and_their_queries)
{
    rig_donor("{\"model_type\": \"qwen2\", \"num_hidden_layers\": 1, \"hidden_size\": 16, \"num_attention_heads\": 4, "
              "\"num_key_value_heads\": 2}",
              A "q_proj.weight BF16 16,16\n" A "q_proj.bias BF16 16\n" A "k_proj.weight BF16 8,16\n" A
                "k_proj.bias BF16 8\n" A "v_proj.weight BF16 8,16\n" A "v_proj.bias BF16 8\n" A
                "o_proj.weight BF16 16,16\n" A "o_proj.bias BF16 16\n" A "q_norm.weight BF16 4\n");
    must_cut("out", (cut_way){.cut = "h0:1"});
    made_of("out", A "q_proj.weight = " A "q_proj.weight 0:8-15\n" A "q_proj.bias = " A "q_proj.bias 0:8-15\n" A
                     "k_proj.weight = " A "k_proj.weight 0:4-7\n" A "k_proj.bias = " A "k_proj.bias 0:4-7\n" A
                     "v_proj.weight = " A "v_proj.weight 0:4-7\n" A "v_proj.bias = " A "v_proj.bias 0:4-7\n" A
                     "o_proj.weight = " A "o_proj.weight 1:8-15\n" A "o_proj.bias = " A "o_proj.bias\n" A
                     "q_norm.weight = " A "q_norm.weight\n");
    ck_assert_str_eq(config_says("out", "num_attention_heads"), "2");
    ck_assert_str_eq(config_says("out", "num_key_value_heads"), "1");
    ck_assert_str_eq(config_says("out", "head_dim"), "4");
}
END_TEST

START_TEST(fused_matrices)
{
    rig_donor("{\"model_type\": \"phi3\", \"num_hidden_layers\": 1, \"hidden_size\": 16, \"num_attention_heads\": 4, "
              "\"num_key_value_heads\": 2, "
              "\"intermediate_size\": 6}",
              A "qkv_proj.weight BF16 32,16\n" A "o_proj.weight BF16 16,16\n" M "gate_up_proj.weight BF16 12,16\n" M
                "down_proj.weight BF16 16,6\n");
    must_cut("out", (cut_way){.cut = "h0:1 c0:1,4"});
    made_of("out", A "qkv_proj.weight = " A "qkv_proj.weight 0:8-15,20-23,28-31\n" A "o_proj.weight = " A
                     "o_proj.weight 1:8-15\n" M "gate_up_proj.weight = " M "gate_up_proj.weight 0:1,4,7,10\n" M
                     "down_proj.weight = " M "down_proj.weight 1:1,4\n");
}
END_TEST

START_TEST(widths_of_gguf)
{
    organ_model *made = NULL;
    organ_error error = {0};
    rig_gguf("general.architecture=llama llama.block_count=1 llama.embedding_length=64 llama.feed_forward_length=96 "
             "llama.attention.head_count=2 llama.attention.head_count_kv=2",
             "blk.0.attn_q.weight Q8_0 64,64\nblk.0.attn_k.weight Q8_0 64,64\nblk.0.attn_v.weight Q4_0 64,64\n"
             "blk.0.attn_output.weight Q8_0 64,64\nblk.0.ffn_gate.weight Q4_0 96,64\nblk.0.ffn_up.weight Q4_0 96,64\n"
             "blk.0.ffn_down.weight Q8_0 64,96\n");
    must_cut("out.gguf", (cut_way){.cut = "h0:1 c0:0-31,64-95"});
    made_of(
        "out.gguf",
        "blk.0.attn_q.weight = blk.0.attn_q.weight 0:32-63\nblk.0.attn_k.weight = blk.0.attn_k.weight 0:32-63\n"
        "blk.0.attn_v.weight = blk.0.attn_v.weight 0:32-63\nblk.0.attn_output.weight = blk.0.attn_output.weight 1:1\n"
        "blk.0.ffn_gate.weight = blk.0.ffn_gate.weight 0:0-31,64-95\nblk.0.ffn_up.weight = blk.0.ffn_up.weight "
        "0:0-31,64-95\n"
        "blk.0.ffn_down.weight = blk.0.ffn_down.weight 1:0,2\n");
    ck_assert_int_eq(organ_model_open(scratch_path("out.gguf"), &made, &error), ORGAN_OK);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "llama.feed_forward_length", 0), 64);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "llama.attention.head_count", 0), 1);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "llama.attention.head_count_kv", 0), 1);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "llama.attention.key_length", 0), 32);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "llama.attention.value_length", 0), 32);
    organ_model_close(made);
    cut_refused((cut_way){.cut = "c0:0-47"}, ORGAN_BAD_INPUT,
                "'blk.0.ffn_down.weight': 32 to 63 are stored in one block");
}
END_TEST

START_TEST(widths_that_cannot_be)
{
    rig_donor("{\"num_hidden_layers\": 2, \"intermediate_size\": 6, \"hidden_size\": 16, \"num_attention_heads\": 4}", M
              "up_proj.weight BF16 6,16\n" M "down_proj.weight BF16 16,6\nmodel.layers.1.mlp.up_proj.weight BF16 6,16\n"
              "model.layers.1.mlp.down_proj.weight BF16 16,6\n" A "q_norm.weight BF16 16\n" A
              "o_proj.weight BF16 16,16\n"
              "model.layers.1.self_attn.o_proj.weight BF16 16,16\n");
    cut_refused((cut_way){.cut = "c0:1,4"}, ORGAN_USAGE,
                "layer 1 would have 6 of 6 channels of the feed-forward, a layer before it 2 of 6");
    cut_refused((cut_way){.cut = "c0:1,4 c1:1"}, ORGAN_USAGE, "one number for all layers");
    cut_refused((cut_way){.cut = "h0:1 h1:1"}, ORGAN_BAD_INPUT, "it normalises over all heads together");
    cut_refused((cut_way){.cut = "c0:1,6 c1:0,1"}, ORGAN_USAGE, "number 6 of the kept channels");
    rig_donor("{\"num_experts\": 2, \"moe_intermediate_size\": 6}", M
              "gate.weight BF16 2,8\n" M "experts.up_proj BF16 2,6,8\n" M "shared_expert.down_proj.weight BF16 8,6\n");
    cut_refused((cut_way){.cut = "c0:1"}, ORGAN_USAGE, "no channels of the feed-forward to remove");
}
END_TEST

Suite *cut_widths_suite(void)
{
    const suite_case cases[] = {
        {"widths", {shapes_are_told, heads_and_their_queries, fused_matrices, widths_of_gguf, widths_that_cannot_be}},
    };
    Suite *const suite = suite_of("cut widths", cases, sizeof cases / sizeof *cases, cut_setup, cut_teardown);
    TCase *const tables = tcase_create("packed");
    tcase_add_checked_fixture(tables, cut_setup, cut_teardown);
    tcase_add_loop_test(tables, channels_in_each_packing, 0, sizeof packed / sizeof *packed);
    suite_add_tcase(suite, tables);
    return suite;
}
