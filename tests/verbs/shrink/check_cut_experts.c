/* SPDX-License-Identifier: MIT
 * Kept experts keep their bytes under any naming and packing. */
#include "tests/verbs/shrink/cut_rig.h"

#include "tests/kit/suite_table.h"

#include <string.h>

#define MOE(more)                                                                                                      \
    "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"model_type\": \"qwen3_moe\", \"num_hidden_layers\": 1,\n  "      \
    "\"num_experts\": 4, "                                                                                             \
    "\"num_experts_per_tok\": 3" more "}"

/* An expert in its own tensors: abbreviations for lines of donors and outputs. */
#define E "model.layers.0.mlp.experts."

START_TEST(experts_of_their_own)
{
    rig_donor(MOE(""), "model.embed_tokens.weight BF16 10,8\n"
                       "model.layers.0.mlp.gate.weight BF16 4,8\n"
                       "model.layers.0.mlp.gate.e_score_correction_bias F32 4\n" E "0.up_proj.weight BF16 6,8\n" E
                       "0.up_proj.bias BF16 6\n" E "1.up_proj.weight BF16 6,8\n" E "1.up_proj.bias BF16 6\n" E
                       "2.up_proj.weight BF16 6,8\n" E "2.up_proj.bias BF16 6\n" E "3.up_proj.weight BF16 6,8\n" E
                       "3.up_proj.bias BF16 6\n"
                       "model.layers.0.mlp.shared_expert.up_proj.weight BF16 6,8\n"
                       "model.layers.0.mlp.shared_expert_gate.weight BF16 1,8\n"
                       "lm_head.weight BF16 10,8\n");
    must_cut("out", (cut_way){0});
    made_of(
        "out",
        "model.embed_tokens.weight = model.embed_tokens.weight\n"
        "model.layers.0.mlp.gate.weight = model.layers.0.mlp.gate.weight 0:1,3\n"
        "model.layers.0.mlp.gate.e_score_correction_bias = model.layers.0.mlp.gate.e_score_correction_bias 0:1,3\n" E
        "0.up_proj.weight = " E "1.up_proj.weight\n" E "0.up_proj.bias = " E "1.up_proj.bias\n" E
        "1.up_proj.weight = " E "3.up_proj.weight\n" E "1.up_proj.bias = " E "3.up_proj.bias\n"
        "model.layers.0.mlp.shared_expert.up_proj.weight = model.layers.0.mlp.shared_expert.up_proj.weight\n"
        "model.layers.0.mlp.shared_expert_gate.weight = model.layers.0.mlp.shared_expert_gate.weight\n"
        "lm_head.weight = lm_head.weight\n");
    ck_assert_str_eq(config_says("out", "num_experts"), "2");
    ck_assert_str_eq(config_says("out", "num_experts_per_tok"), "2");
    ck_assert_str_eq(config_says("out", "model_type"), "\"qwen3_moe\"");
}
END_TEST

/* Packed forms of an expert: its tensors and the members of the config. */
static const struct packed {
    const char *config, *tensors; /* for a matrix of 16 x 256: "leaf TYPE axes" */
} packed[] = {
    {", \"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}",
     "weight F8_E4M3 16,256\nweight_scale_inv F32 1,2\n"},
    {", \"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\", "
     "\"config_groups\": {\"g\": "
     "{\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 4, \"type\": \"int\", \"group_size\": 128, "
     "\"symmetric\": false}}}}",
     "weight_packed I32 16,32\nweight_scale BF16 16,2\nweight_zero_point I32 2,2\nweight_shape I64 2=16,256\n"},
    {", \"quantization_config\": {\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 128}",
     "qweight I32 256,2\nqzeros I32 2,2\nscales F16 2,16\n"},
    {", \"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 128}",
     "qweight I32 32,16\nqzeros I32 2,2\nscales F16 2,16\ng_idx I32 256\n"},
    {", \"quantization_config\": {\"quant_method\": \"mxfp4\"}", "weight_packed U8 16,128\nweight_scale U8 16,8\n"},
};

START_TEST(packed_experts_of_their_own)
{
    const struct packed *const p = &packed[_i];
    char config[1024], donor[8192] = "model.layers.0.mlp.gate.weight BF16 4,256\n";
    char requested[8192] = "model.layers.0.mlp.gate.weight = model.layers.0.mlp.gate.weight 0:1,3\n";
    snprintf(config, sizeof config, MOE("%s"), p->config);
    for (int e = 0; e < 4; e++)
        for (const char *s = p->tensors; *s; s = strchr(s, '\n') + 1) {
            char *const to = donor + strlen(donor), *const out = requested + strlen(requested);
            sprintf(to, E "%d.up_proj.%.*s\n", e, (int)strcspn(s, "\n"), s);
            if (e % 2)
                sprintf(out, E "%d.up_proj.%.*s = " E "%d.up_proj.%.*s\n", e / 2, (int)strcspn(s, " "), s, e,
                        (int)strcspn(s, " "), s);
        }
    rig_donor(config, donor);
    must_cut("out", (cut_way){0});
    made_of("out", requested);
    ck_assert_str_eq(config_says("out", "num_experts"), "2");
}
END_TEST

/* All experts of a layer in one tensor, with companions in others. */
static const struct stack {
    const char *config, *donor, *requested;
} stacks[] = {
    {"{\"model_type\": \"x\", \"text_config\": {\"num_experts\": 4, \"num_experts_per_tok\": 2}}",
     "model.language_model.layers.0.mlp.gate.weight BF16 4,8\nmodel.language_model.layers.0.mlp.experts.gate_up_proj "
     "BF16 4,12,8\n"
     "model.language_model.layers.0.mlp.experts.down_proj BF16 4,8,6\nmodel.visual.blocks.0.mlp.up_proj.weight BF16 "
     "4,8\n",
     "model.language_model.layers.0.mlp.gate.weight = model.language_model.layers.0.mlp.gate.weight 0:1,3\n"
     "model.language_model.layers.0.mlp.experts.gate_up_proj = model.language_model.layers.0.mlp.experts.gate_up_proj "
     "0:1,3\n"
     "model.language_model.layers.0.mlp.experts.down_proj = model.language_model.layers.0.mlp.experts.down_proj 0:1,3\n"
     "model.visual.blocks.0.mlp.up_proj.weight = model.visual.blocks.0.mlp.up_proj.weight\n"},
    {"{\"model_type\": \"gpt_oss\", \"num_local_experts\": 4, \"num_experts_per_tok\": 2, \"quantization_config\": "
     "{\"quant_method\": "
     "\"mxfp4\", \"modules_to_not_convert\": [\"model.layers.*.mlp.router\"]}}",
     "model.layers.0.mlp.router.weight BF16 4,64\nmodel.layers.0.mlp.router.bias BF16 4\n"
     "model.layers.0.mlp.experts.gate_up_proj_blocks U8 4,12,2,16\nmodel.layers.0.mlp.experts.gate_up_proj_scales U8 "
     "4,12,2\n"
     "model.layers.0.mlp.experts.gate_up_proj_bias BF16 4,12\nmodel.layers.0.mlp.experts.down_proj_blocks U8 "
     "4,64,1,16\n"
     "model.layers.0.mlp.experts.down_proj_scales U8 4,64,1\nmodel.layers.0.mlp.experts.down_proj_bias BF16 4,64\n",
     "model.layers.0.mlp.router.weight = model.layers.0.mlp.router.weight 0:1,3\n"
     "model.layers.0.mlp.router.bias = model.layers.0.mlp.router.bias 0:1,3\n"
     "model.layers.0.mlp.experts.gate_up_proj_blocks = model.layers.0.mlp.experts.gate_up_proj_blocks 0:1,3\n"
     "model.layers.0.mlp.experts.gate_up_proj_scales = model.layers.0.mlp.experts.gate_up_proj_scales 0:1,3\n"
     "model.layers.0.mlp.experts.gate_up_proj_bias = model.layers.0.mlp.experts.gate_up_proj_bias 0:1,3\n"
     "model.layers.0.mlp.experts.down_proj_blocks = model.layers.0.mlp.experts.down_proj_blocks 0:1,3\n"
     "model.layers.0.mlp.experts.down_proj_scales = model.layers.0.mlp.experts.down_proj_scales 0:1,3\n"
     "model.layers.0.mlp.experts.down_proj_bias = model.layers.0.mlp.experts.down_proj_bias 0:1,3\n"},
    {"{\"model_type\": \"granitemoe\", \"num_local_experts\": 4}",
     "model.layers.0.block_sparse_moe.router.layer.weight BF16 "
     "4,8\nmodel.layers.0.block_sparse_moe.input_linear.weight BF16 4,12,8\n"
     "model.layers.0.block_sparse_moe.output_linear.weight BF16 4,8,6\n",
     "model.layers.0.block_sparse_moe.router.layer.weight = model.layers.0.block_sparse_moe.router.layer.weight 0:1,3\n"
     "model.layers.0.block_sparse_moe.input_linear.weight = model.layers.0.block_sparse_moe.input_linear.weight 0:1,3\n"
     "model.layers.0.block_sparse_moe.output_linear.weight = model.layers.0.block_sparse_moe.output_linear.weight "
     "0:1,3\n"},
    {"{\"num_experts\": 4, \"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}}",
     "model.layers.0.mlp.gate.weight BF16 4,256\nmodel.layers.0.mlp.experts.down_proj F8_E4M3 4,128,256\n"
     "model.layers.0.mlp.experts.down_proj_scale_inv F32 4,1,2\n",
     "model.layers.0.mlp.gate.weight = model.layers.0.mlp.gate.weight 0:1,3\n"
     "model.layers.0.mlp.experts.down_proj = model.layers.0.mlp.experts.down_proj 0:1,3\n"
     "model.layers.0.mlp.experts.down_proj_scale_inv = model.layers.0.mlp.experts.down_proj_scale_inv 0:1,3\n"},
    /* Mistral 4: a scale for each half of gate and up, one for down, and one for the inputs of each expert. */
    {"{\"num_experts\": 4, \"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": null}}",
     "model.layers.0.mlp.gate.weight BF16 4,8\nmodel.layers.0.mlp.experts.gate_up_proj F8_E4M3 4,12,8\n"
     "model.layers.0.mlp.experts.gate_up_proj_scale_inv F32 4,2,1\n"
     "model.layers.0.mlp.experts.gate_up_proj_activation_scale F32 4\n"
     "model.layers.0.mlp.experts.down_proj F8_E4M3 4,8,6\nmodel.layers.0.mlp.experts.down_proj_scale_inv F32 4,1,1\n",
     "model.layers.0.mlp.gate.weight = model.layers.0.mlp.gate.weight 0:1,3\n"
     "model.layers.0.mlp.experts.gate_up_proj = model.layers.0.mlp.experts.gate_up_proj 0:1,3\n"
     "model.layers.0.mlp.experts.gate_up_proj_scale_inv = model.layers.0.mlp.experts.gate_up_proj_scale_inv 0:1,3\n"
     "model.layers.0.mlp.experts.gate_up_proj_activation_scale = "
     "model.layers.0.mlp.experts.gate_up_proj_activation_scale 0:1,3\n"
     "model.layers.0.mlp.experts.down_proj = model.layers.0.mlp.experts.down_proj 0:1,3\n"
     "model.layers.0.mlp.experts.down_proj_scale_inv = model.layers.0.mlp.experts.down_proj_scale_inv 0:1,3\n"},
    {"{\"model_type\": \"gemma4\", \"num_experts\": 4}",
     "model.layers.0.router.proj.weight BF16 4,8\nmodel.layers.0.mlp.router.weight BF16 "
     "4,8\nmodel.layers.0.router.per_expert_scale BF16 "
     "4\n"
     "model.layers.0.router.scale BF16 8\nmodel.layers.0.mlp.experts.down_proj BF16 4,8,6\n",
     "model.layers.0.router.proj.weight = model.layers.0.router.proj.weight 0:1,3\n"
     "model.layers.0.mlp.router.weight = model.layers.0.mlp.router.weight 0:1,3\n"
     "model.layers.0.router.per_expert_scale = model.layers.0.router.per_expert_scale 0:1,3\n"
     "model.layers.0.router.scale = model.layers.0.router.scale\n"
     "model.layers.0.mlp.experts.down_proj = model.layers.0.mlp.experts.down_proj 0:1,3\n"},
    /* A correction with one row, with names of transformers' modules. */
    {"{\"model_type\": \"ernie4_5_moe\", \"moe_num_experts\": 4, \"num_experts\": 4}",
     "model.layers.0.mlp.gate.weight BF16 4,8\n"
     "model.layers.0.mlp.moe_statics.e_score_correction_bias F32 1,4\n"
     "model.layers.0.mlp.experts.down_proj BF16 4,8,6\n",
     "model.layers.0.mlp.gate.weight = model.layers.0.mlp.gate.weight 0:1,3\n"
     "model.layers.0.mlp.moe_statics.e_score_correction_bias = "
     "model.layers.0.mlp.moe_statics.e_score_correction_bias 1:1,3\n"
     "model.layers.0.mlp.experts.down_proj = model.layers.0.mlp.experts.down_proj 0:1,3\n"},
    {"{\"model_type\": \"granitemoe\", \"num_local_experts\": 4}",
     "model.layers.0.block_sparse_moe.router.weight BF16 4,8\n"
     "model.layers.0.block_sparse_moe.experts.down_proj BF16 4,8,6\n",
     "model.layers.0.block_sparse_moe.router.weight = model.layers.0.block_sparse_moe.router.weight 0:1,3\n"
     "model.layers.0.block_sparse_moe.experts.down_proj = model.layers.0.block_sparse_moe.experts.down_proj 0:1,3\n"},
};

START_TEST(experts_in_stacks)
{
    const struct stack *const s = &stacks[_i];
    rig_donor(s->config, s->donor);
    must_cut("out", (cut_way){0});
    made_of("out", s->requested);
    const char *key = strstr(s->config, "num_local") ? "num_local_experts" : "num_experts";
    if (strstr(s->config, "text_config"))
        key = "text_config.num_experts";
    ck_assert_str_eq(config_says("out", key), "2");
}
END_TEST

START_TEST(experts_of_gguf)
{
    rig_gguf(
        "general.architecture=qwen3moe qwen3moe.block_count=2 qwen3moe.expert_count=4 qwen3moe.expert_used_count=3",
        "token_embd.weight F16 10,64\nblk.0.ffn_gate_inp.weight F32 4,64\nblk.0.exp_probs_b.bias F32 4\n"
        "blk.0.ffn_up_exps.weight Q4_0 4,6,64\nblk.0.ffn_down_exps.weight Q8_0 4,64,32\nblk.0.ffn_up_exps.bias F32 "
        "4,6\n"
        "blk.0.ffn_gate_exps.weight Q4_K 4,6,256\nblk.1.ffn_gate_inp.weight F32 4,64\nblk.1.ffn_up_exps.weight MXFP4 "
        "4,6,64\n"
        "blk.1.ffn_up_shexp.weight Q4_0 4,64\nblk.1.ffn_gate_inp_shexp.weight F32 64\n");
    must_cut("out.gguf", (cut_way){.cut = "e0:0,3 e1:1,2"});
    made_of("out.gguf",
            "token_embd.weight = token_embd.weight\nblk.0.ffn_gate_inp.weight = blk.0.ffn_gate_inp.weight 0:0,3\n"
            "blk.0.exp_probs_b.bias = blk.0.exp_probs_b.bias 0:0,3\nblk.0.ffn_up_exps.weight = "
            "blk.0.ffn_up_exps.weight 0:0,3\n"
            "blk.0.ffn_down_exps.weight = blk.0.ffn_down_exps.weight 0:0,3\nblk.0.ffn_up_exps.bias = "
            "blk.0.ffn_up_exps.bias 0:0,3\n"
            "blk.0.ffn_gate_exps.weight = blk.0.ffn_gate_exps.weight 0:0,3\n"
            "blk.1.ffn_gate_inp.weight = blk.1.ffn_gate_inp.weight 0:1,2\nblk.1.ffn_up_exps.weight = "
            "blk.1.ffn_up_exps.weight 0:1,2\n"
            "blk.1.ffn_up_shexp.weight = blk.1.ffn_up_shexp.weight\nblk.1.ffn_gate_inp_shexp.weight = "
            "blk.1.ffn_gate_inp_shexp.weight\n");
    organ_model *made = NULL;
    organ_error error = {0};
    ck_assert_int_eq(organ_model_open(scratch_path("out.gguf"), &made, &error), ORGAN_OK);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "qwen3moe.expert_count", 0), 2);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "qwen3moe.expert_used_count", 0), 2);
    ck_assert_int_eq(organ_gguf_integer(made->gguf, "qwen3moe.block_count", 0), 2);
    organ_model_close(made);
}
END_TEST

/* Each group of a router keeps the same number of experts, and lists of unpacked modules follow the new numbers. */
START_TEST(groups_and_names)
{
    rig_donor("{\"num_experts\": 4, \"mtp_num_hidden_layers\": 1, \"num_experts_per_tok\": 1, \"quantization_config\": "
              "{\"quant_method\": \"fp8\", "
              "\"ignored_layers\": "
              "[\"model.layers.0.mlp.experts.3.up_proj\", \"model.layers.0.mlp.experts.0.up_proj\", \"lm_head\"]}}",
              "model.layers.0.mlp.gate.weight BF16 4,8\n" E "0.up_proj.weight BF16 6,8\n" E
              "1.up_proj.weight BF16 6,8\n" E "2.up_proj.weight BF16 6,8\n" E "3.up_proj.weight BF16 6,8\n");
    must_cut("out", (cut_way){0});
    ck_assert_str_eq(
        config_says("out", "quantization_config"),
        "{\"quant_method\":\"fp8\",\"ignored_layers\":[\"model.layers.0.mlp.experts.1.up_proj\",\"lm_head\"]}");
    rig_donor("{\"n_routed_experts\": 8, \"n_group\": 2, \"topk_group\": 1, \"num_experts_per_tok\": 2}",
              "model.layers.0.mlp.gate.weight BF16 8,8\nmodel.layers.0.mlp.experts.up_proj BF16 8,6,8\n");
    must_cut("grouped", (cut_way){.cut = "e0:0,3,4,6"});
    ck_assert_str_eq(config_says("grouped", "n_routed_experts"), "4");
    ck_assert_str_eq(config_says("grouped", "n_group"), "2");
    cut_refused((cut_way){.cut = "e0:0,3,4"}, ORGAN_BAD_INPUT, "divided evenly");
    cut_refused((cut_way){.cut = "e0:0,1,2,4"}, ORGAN_BAD_INPUT, "each group must keep the same number of experts");
    cut_refused((cut_way){.cut = "e0:0,4"}, ORGAN_BAD_INPUT, "two best experts");
}
END_TEST

/* A block for multi-token prediction with a prefix goes if it has experts, and names of its modules keep their
 * numbers. */
START_TEST(drafts_follow_experts)
{
    rig_donor("{\"num_experts\": 4, \"mtp_num_hidden_layers\": 1, \"mtp_num_layers\": 1, \"num_experts_per_tok\": 1, "
              "\"quantization_config\": "
              "{\"quant_method\": \"fp8\", "
              "\"ignored_layers\": [\"mtp.layers.0.mlp.experts.1.up_proj\", \"re:^mtp\\\\.layers\\\\.0\\\\..*\", "
              "\"model.mtp.layers.0.mlp.experts.3\", \"model.layers.0.mlp.experts.0\"]}}",
              "model.layers.0.mlp.gate.weight BF16 4,8\n" E "up_proj.weight BF16 4,6,8\n"
              "mtp.layers.0.mlp.gate.weight BF16 4,8\nmtp.layers.0.mlp.experts.1.up_proj.weight BF16 6,8\n"
              "model.mtp.layers.0.mlp.experts.down_proj BF16 4,6,8\n");
    must_cut("out", (cut_way){0});
    made_of("out", "model.layers.0.mlp.gate.weight = model.layers.0.mlp.gate.weight 0:1,3\n" E "up_proj.weight = " E
                   "up_proj.weight 0:1,3\n");
    ck_assert_str_eq(config_says("out", "mtp_num_hidden_layers"), "0");
    ck_assert_str_eq(config_says("out", "mtp_num_layers"), "0");
    rig_donor("{\"num_experts\": 4, \"mtp_num_hidden_layers\": 1, \"num_experts_per_tok\": 1}",
              "model.layers.0.mlp.gate.weight BF16 4,8\n" E "up_proj.weight BF16 4,6,8\n"
              "mtp.layers.0.mlp.up_proj.weight BF16 6,8\n");
    must_cut("dense", (cut_way){0});
    made_of("dense", "model.layers.0.mlp.gate.weight = model.layers.0.mlp.gate.weight 0:1,3\n" E "up_proj.weight = " E
                     "up_proj.weight 0:1,3\nmtp.layers.0.mlp.up_proj.weight = mtp.layers.0.mlp.up_proj.weight\n");
    ck_assert_str_eq(config_says("dense", "mtp_num_hidden_layers"), "1");
    ck_assert_str_eq(config_says("out", "quantization_config"),
                     "{\"quant_method\":\"fp8\",\"ignored_layers\":[\"mtp.layers.0.mlp.experts.1.up_proj\","
                     "\"re:^mtp\\\\.layers\\\\.0\\\\..*\",\"model.mtp.layers.0.mlp.experts.3\"]}");
}
END_TEST

/* Matrices of kept experts get other values, in their own tensors and in a stack; packed ones cannot. */
START_TEST(refitted_matrices)
{
    rig_donor(MOE(""),
              "model.layers.0.mlp.gate.weight BF16 4,8\n" E "0.down_proj.weight BF16 6,8\n" E
              "1.down_proj.weight BF16 6,8\n" E "2.down_proj.weight BF16 6,8\n" E "3.down_proj.weight BF16 6,8\n");
    must_cut("out", (cut_way){.refitted = "down_proj"});
    organ_model *made = NULL;
    organ_error error = {0};
    uint16_t first[2];
    ck_assert_int_eq(organ_model_open(scratch_path("out"), &made, &error), ORGAN_OK);
    const organ_tensor *const t = organ_model_find(made, E "1.down_proj.weight");
    ck_assert_int_eq(organ_model_read(made, t->file, first, 4, t->offset + t->bytes - 4, &error), ORGAN_OK);
    ck_assert(first[0] == 0x3f00 && first[1] == 0x3f00);
    organ_model_close(made);
    rig_gguf("general.architecture=qwen3moe qwen3moe.expert_count=4",
             "blk.0.ffn_gate_inp.weight F32 4,64\nblk.0.ffn_down_exps.weight Q8_0 4,64,32\n");
    must_cut("out.gguf", (cut_way){.refitted = "down_exps"});
    unsigned char block[34];
    ck_assert_int_eq(organ_model_open(scratch_path("out.gguf"), &made, &error), ORGAN_OK);
    const organ_tensor *const stack = organ_model_find(made, "blk.0.ffn_down_exps.weight");
    ck_assert_int_eq(organ_model_read(made, stack->file, block, 34, stack->offset + stack->bytes - 34, &error),
                     ORGAN_OK);
    ck_assert_msg(block[2] == 127 && block[33] == 127, "%u %u", block[2], block[33]); /* expert 3: 3.5 in all places */
    organ_model_close(made);
    remove(scratch_path("donor.gguf"));
    rig_donor(MOE(""), "model.layers.0.mlp.gate.weight BF16 4,8\n" E "0.down_proj.weight F8_E4M3 6,8\n" E
                       "0.down_proj.weight_scale F32 1\n" E "1.down_proj.weight F8_E4M3 6,8\n" E
                       "1.down_proj.weight_scale F32 1\n");
    cut_refused((cut_way){.cut = "e0:0,1", .refitted = "down_proj.weight"}, ORGAN_USAGE,
                "a type that cannot be refitted");
}
END_TEST

Suite *cut_experts_suite(void)
{
    const suite_case cases[] = {
        {"experts",
         {experts_of_their_own, experts_of_gguf, groups_and_names, drafts_follow_experts, refitted_matrices}},
    };
    Suite *const suite = suite_of("cut experts", cases, sizeof cases / sizeof *cases, cut_setup, cut_teardown);
    TCase *const tables = tcase_create("packed");
    tcase_add_checked_fixture(tables, cut_setup, cut_teardown);
    tcase_add_loop_test(tables, packed_experts_of_their_own, 0, sizeof packed / sizeof *packed);
    tcase_add_loop_test(tables, experts_in_stacks, 0, sizeof stacks / sizeof *stacks);
    suite_add_tcase(suite, tables);
    return suite;
}
