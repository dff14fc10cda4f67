/* SPDX-License-Identifier: MIT
 * Tests of models that mlx-lm saved: the tensors that organ_model_open shows. Value k of tensor number n (from 0) of a
 * file is 100 n + k. The names are those that mlx-lm 0.32.2 saved and transformers 5.24 saves
 * (bench/served/mlx_back.py). */
#include <organ/models.h>
#include "formats/model/composed.h"
#include "tests/formats/check_formats.h"
#include "tests/kit/scratch_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef struct saved {
    const char *config;  /* members of config.json */
    const char *tensors; /* of mlx-lm, in F32: "NAME 2x3", a line each; "NAME U32 2x3" of 8-bit codes 0, 1, 2, ... */
    const char *shown;   /* "NAME 2x3 VALUES", a line each, sorted */
} saved;

enum { UNCHANGED = 2 }; /* rows */
static const saved rows[] = {
    /* nothing is changed */
    {"\"model_type\":\"llama\"", "model.norm.weight 2\n", "model.norm.weight 2 0 1\n"},
    {"\"model_type\":\"exaone_moe\"", "a.mlp.gate.e_score_correction_bias 1\n",
     "a.mlp.gate.e_score_correction_bias 1 0\n"},
    /* experts */
    {"\"model_type\":\"qwen3_moe\"",
     "model.layers.0.mlp.gate.weight 2x1\nmodel.layers.0.mlp.switch_mlp.up_proj.weight 2x1x2\n",
     "model.layers.0.mlp.experts.0.up_proj.weight 1x2 100 101\nmodel.layers.0.mlp.experts.1.up_proj.weight 1x2 102 "
     "103\n"
     "model.layers.0.mlp.gate.weight 2x1 0 1\n"},
    {"\"model_type\":\"mixtral\"", "model.layers.0.block_sparse_moe.switch_mlp.down_proj.weight 1x1x2\n",
     "model.layers.0.block_sparse_moe.experts.0.w2.weight 1x2 0 1\n"},
    {"\"model_type\":\"dots1\"", "model.layers.1.mlp.experts.gate_proj.weight 1x1x2\n",
     "model.layers.1.mlp.experts.0.gate_proj.weight 1x2 0 1\n"},
    {"\"model_type\":\"nemotron_h\"",
     "backbone.layers.1.mixer.switch_mlp.fc1.weight 1x2x1\nbackbone.layers.1.mixer.switch_mlp.fc2.weight 1x1x2\n",
     "backbone.layers.1.mixer.experts.0.down_proj.weight 1x2 100 101\n"
     "backbone.layers.1.mixer.experts.0.up_proj.weight 2x1 0 1\n"},
    {"\"model_type\":\"lfm2_moe\"", "model.layers.0.feed_forward.up_proj.weight 1x2\n",
     "model.layers.0.feed_forward.w3.weight 1x2 0 1\n"},
    {"\"model_type\":\"granitemoe\"",
     "a.block_sparse_moe.switch_mlp.gate_proj.weight 2x1x2\na.block_sparse_moe.switch_mlp.up_proj.weight 2x1x2\n"
     "a.block_sparse_moe.switch_mlp.down_proj.weight 2x2x1\n",
     "a.block_sparse_moe.input_linear.weight 2x2x2 0 1 100 101 2 3 102 103\n"
     "a.block_sparse_moe.output_linear.weight 2x2x1 200 201 202 203\n"},
    {"\"model_type\":\"granitemoehybrid\"",
     "a.mlp.down_proj.weight 2x1\na.mlp.gate_proj.weight 1x2\na.mlp.up_proj.weight 1x2\n",
     "a.shared_mlp.input_linear.weight 2x2 100 101 200 201\na.shared_mlp.output_linear.weight 2x1 0 1\n"},
    {"\"model_type\":\"gemma4_text\"",
     "a.experts.switch_glu.down_proj.weight 1x2x1\na.experts.switch_glu.gate_proj.weight 1x1x2\n"
     "a.experts.switch_glu.up_proj.weight 1x1x2\n",
     "a.experts.down_proj 1x2x1 0 1\na.experts.gate_up_proj 1x2x2 100 101 200 201\n"},
    {"\"model_type\":\"gpt_oss\"",
     "a.experts.gate_proj.weight 1x2x3\na.experts.up_proj.weight 1x2x3\na.experts.gate_proj.bias 1x2\n"
     "a.experts.up_proj.bias 1x2\na.experts.down_proj.bias 1x2\na.experts.down_proj.weight 1x2x1\n",
     "a.experts.down_proj 1x1x2 500 501\na.experts.down_proj_bias 1x2 400 401\n"
     "a.experts.gate_up_proj 1x3x4 0 100 3 103 1 101 4 104 2 102 5 105\n"
     "a.experts.gate_up_proj_bias 1x4 200 300 201 301\n"},
    {"\"model_type\":\"llama4_text\"",
     "a.experts.gate_proj.weight 1x2x3\na.experts.up_proj.weight 1x2x3\na.experts.down_proj.weight 1x3x2\n",
     "a.experts.down_proj 1x2x3 200 202 204 201 203 205\n"
     "a.experts.gate_up_proj 1x3x4 0 3 100 103 1 4 101 104 2 5 102 105\n"},
    {"\"model_type\":\"ernie4_5_moe\"", "a.mlp.switch_mlp.gate_proj.weight 2x1x1\n",
     "a.mlp.experts.0.gate_proj.weight 1x1 0\na.mlp.experts.1.gate_proj.weight 1x1 1\n"
     "a.mlp.moe_statics.e_score_correction_bias 1x2 0 0\n"},
    /* latent attention: 2 heads, keys of 1 value, values of 2, a latent vector of 2 */
    {"\"model_type\":\"deepseek_v3\"", "a.self_attn.embed_q.weight 2x2x1\na.self_attn.unembed_out.weight 2x2x2\n",
     "a.self_attn.kv_b_proj.weight 6x2 0 1 100 101 102 103 2 3 104 105 106 107\n"},
    {"\"model_type\":\"deepseek_v3\",\"quantization\":{\"group_size\":4,\"bits\":8}",
     "a.self_attn.embed_q.scales 1x4x1\na.self_attn.embed_q.biases 1x4x1\na.self_attn.embed_q.weight U32 1x4x1\n"
     "a.self_attn.unembed_out.weight 1x1x4\n",
     "a.self_attn.kv_b_proj.weight 5x4 100 105 118 139 100 106 120 142 100 107 122 145 100 108 124 148 300 301 302 "
     "303\n"},
    /* convolutions, norms and prefixes */
    {"\"model_type\":\"mamba\"", "a.mixer.conv1d.weight 2x3x1\n", "a.mixer.conv1d.weight 2x1x3 0 1 2 3 4 5\n"},
    {"\"model_type\":\"qwen3_5\"",
     "language_model.lm_head.weight 1x1\nlanguage_model.model.layers.0.input_layernorm.weight 2\n"
     "language_model.model.layers.0.linear_attn.conv1d.weight 1x2x1\n",
     "lm_head.weight 1x1 0\nmodel.language_model.layers.0.input_layernorm.weight 2 99 100\n"
     "model.language_model.layers.0.linear_attn.conv1d.weight 1x1x2 200 201\n"},
    {"\"model_type\":\"qwen3_next\"",
     "a.linear_attn.conv1d.weight 1x2x1\na.linear_attn.norm.weight 1\nmodel.norm.weight 1\n",
     "a.linear_attn.conv1d.weight 1x1x2 0 1\na.linear_attn.norm.weight 1 100\nmodel.norm.weight 1 199\n"},
    {"\"model_type\":\"gpt2\"", "model.h.0.attn.c_attn.weight 2x3\nmodel.wte.weight 1x2\n",
     "transformer.h.0.attn.c_attn.weight 3x2 0 3 1 4 2 5\ntransformer.wte.weight 1x2 100 101\n"},
    {"\"model_type\":\"gpt_neox\"", "model.embed_out.weight 1x1\nmodel.h.0.mlp.dense.bias 1\nmodel.norm.bias 1\n",
     "embed_out.weight 1x1 0\ngpt_neox.layers.0.mlp.dense.bias 1 100\ngpt_neox.norm.bias 1 200\n"},
    {"\"model_type\":\"laguna\"",
     "a.mlp.gate.e_score_correction_bias 1\na.mlp.gate.proj.weight 1x1\na.mlp.switch_mlp.up_proj.weight 1x1x1\n",
     "a.mlp.experts.0.up_proj.weight 1x1 200\na.mlp.experts.e_score_correction_bias 1 0\n"
     "a.mlp.gate.weight 1x1 100\n"},
    {"\"model_type\":\"nanochat\"", "transformer.h.0.attn.c_proj.weight 1x1\ntransformer.h.0.mlp.c_proj.weight 1x1\n",
     "model.layers.0.mlp.fc2.weight 1x1 100\nmodel.layers.0.self_attn.o_proj.weight 1x1 0\n"},
    {"\"model_type\":\"muse_glimmer\"", "lm_head.weight 1x1\nmodel.layers.0.input_layernorm.weight 1\n",
     "lm_head.weight 1x1 0\nmodel.language_model.layers.0.input_layernorm.weight 1 100\n"},
    {"\"model_type\":\"minimax_m3_vl\"",
     "language_model.model.layers.1.block_sparse_moe.switch_mlp.up_proj.weight 1x1x2\n",
     "language_model.model.layers.1.block_sparse_moe.experts.0.w3.weight 1x2 0 1\n"},
    {"\"model_type\":\"kimi_linear\"",
     "a.mlp.e_score_correction_bias 1\na.mlp.gate.weight 1x1\na.mlp.gate_proj.weight 1x1\n"
     "a.mlp.switch_mlp.gate_proj.weight 1x1x2\na.self_attn.q_conv.conv.weight 2x3x1\n",
     "a.block_sparse_moe.experts.0.w1.weight 1x2 300 301\na.block_sparse_moe.gate.e_score_correction_bias 1 0\n"
     "a.block_sparse_moe.gate.weight 1x1 100\na.mlp.gate_proj.weight 1x1 200\n"
     "a.self_attn.q_conv1d.weight 2x1x3 400 401 402 403 404 405\n"},
    {"\"model_type\":\"apertus\"", "a.mlp.act_fn.alpha_n -\na.mlp.act_fn.beta -\n",
     "a.mlp.act_fn.alpha_n 1 0\na.mlp.act_fn.beta  100\n"},
    {"\"model_type\":\"dbrx\",\"quantization\":{\"group_size\":4,\"bits\":8}",
     "a.ffn.experts.0.v1.weight 1x2\na.ffn.experts.1.v1.weight 1x2\na.ffn.experts.0.w2.weight 2x1\n"
     "a.ffn.experts.1.w2.weight 2x1\na.ffn.experts.0.w1.weight U32 1x1\na.ffn.experts.0.w1.scales 1x1\n"
     "a.ffn.experts.0.w1.biases 1x1\n",
     "a.ffn.experts.mlp.v1 2x2 0 1 100 101\na.ffn.experts.mlp.w1 1x4 600 1100 1600 2100\n"
     "a.ffn.experts.mlp.w2 2x2 200 201 300 301\n"},
    /* Falcon-H1 */
    {"\"model_type\":\"falcon_h1\",\"mamba_d_ssm\":1,\"mamba_n_groups\":1,\"mamba_d_state\":1,\"mamba_n_heads\":1,"
     "\"ssm_in_multiplier\":0.5,\"ssm_multipliers\":[1,0.5,0.25,0.125,1],\"mlp_multipliers\":[1,0.5]",
     "a.feed_forward.down_proj.weight 1x2\na.mamba.conv1d.weight 1x2x1\na.mamba.in_proj.weight 5x1\n",
     "a.feed_forward.down_proj.weight 1x2 0 2\na.mamba.conv1d.weight 1x1x2 100 101\n"
     "a.mamba.in_proj.weight 5x1 400 804 1616 3248 408\n"}};

static uint64_t parse_shape(const char *text, unsigned *rank, char out[64])
{
    uint64_t elements = 1;
    *rank = 0;
    out[0] = '\0';
    if (strcmp(text, "-") == 0) /* a single number, without axes */
        return elements;
    for (char *end = NULL; text; text = *end == 'x' ? end + 1 : NULL, ++*rank) {
        const uint64_t one = strtoull(text, &end, 10);
        sprintf(out + strlen(out), "%s%llu", *rank ? "," : "", (unsigned long long)one);
        elements *= one;
    }
    return elements;
}

/* Writes the tensors as a safetensors file, each of 4 bytes an element. */
static void put_tensors(const char *lines)
{
    static char header[4096];
    static unsigned char file[8192];
    size_t used = 8, at = 0, n = 0;
    char text[1024], *rest = NULL;
    snprintf(text, sizeof text, "%s", lines);
    static unsigned char data[4096];
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), n++) {
        char name[128], type[8] = "F32", shape[32], sizes[64];
        unsigned rank;
        if (sscanf(line, "%127s U32 %31s", name, shape) == 2)
            strcpy(type, "U32");
        else
            ck_assert_int_eq(sscanf(line, "%127s %31s", name, shape), 2);
        const uint64_t elements = parse_shape(shape, &rank, sizes);
        used +=
            (size_t)sprintf(header + used - 8, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                            n ? "," : "{", name, type, sizes, at, at + elements * 4);
        for (uint64_t k = 0; k < elements * 4; k++)
            data[at + k] = (unsigned char)k;
        for (uint64_t k = 0; k < elements && strcmp(type, "F32") == 0; k++) {
            const float value = (float)(100 * n + k);
            memcpy(data + at + 4 * k, &value, sizeof value);
        }
        at += elements * 4;
    }
    strcat(header, "}");
    const uint64_t length = strlen(header);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, length);
    memcpy(file + 8 + length, data, at);
    scratch_file("model.safetensors", file, 8 + length + at);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const organ_tensor *const *)a)->name, (*(const organ_tensor *const *)b)->name);
}

static void describe(const organ_model *model, char *out)
{
    const organ_tensor *sorted[64];
    organ_error error = {0};
    for (size_t k = 0; k < model->tensor_count; k++)
        sorted[k] = &model->tensors[k];
    qsort(sorted, model->tensor_count, sizeof *sorted, by_name);
    *out = '\0';
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const t = sorted[k];
        float values[64];
        out += sprintf(out, "%s ", t->name);
        for (unsigned d = 0; d < t->rank; d++)
            out += sprintf(out, "%s%llu", d ? "x" : "", (unsigned long long)t->shape[d]);
        ck_assert_msg(organ_model_read(model, t->file, values, t->bytes, t->offset, &error) == ORGAN_OK, "%s",
                      error.message);
        for (uint64_t v = 0; v < t->elements; v++)
            out += sprintf(out, " %g", (double)values[v]);
        out += sprintf(out, "\n");
    }
}

static void put(const saved *row)
{
    char config[512];
    snprintf(config, sizeof config, "{%s}", row->config);
    scratch_text("config.json", config);
    put_tensors(row->tensors);
}

START_TEST(shown)
{
    static char found[4096];
    organ_error error = {0};
    organ_model *model = NULL;
    put(&rows[_i]);
    ck_assert_msg(organ_model_open(scratch_path(""), &model, &error) == ORGAN_OK, "%s", error.message);
    describe(model, found);
    ck_assert_str_eq(found, rows[_i].shown);
    ck_assert_int_eq(organ_model_is_composed(model), _i >= UNCHANGED);
    ck_assert_int_eq(organ_model_unchanged(model, &error), ORGAN_OK);
    organ_model_close(model);
}
END_TEST

/* The shown file has a header, which other programs read. */
START_TEST(whole_file)
{
    static unsigned char whole[4096];
    static char before[4096], after[4096];
    organ_error error = {0};
    organ_model *model = NULL;
    put(&rows[_i]);
    ck_assert_int_eq(organ_model_open(scratch_path(""), &model, &error), ORGAN_OK);
    describe(model, before);
    const size_t size = (size_t)model->files[0].size;
    for (size_t at = 0; at < size; at += 7)
        ck_assert_msg(organ_model_read(model, 0, whole + at, size - at < 7 ? size - at : 7, at, &error) == ORGAN_OK,
                      "%s", error.message);
    ck_assert_int_eq(organ_model_read(model, 0, whole, 1, size, &error), ORGAN_BAD_INPUT);
    error = (organ_error){0};
    organ_model_close(model);
    scratch_file("model.safetensors", whole, size);
    ck_assert_msg(organ_model_open(scratch_path(""), &model, &error) == ORGAN_OK, "%s", error.message);
    describe(model, after);
    ck_assert_str_eq(before, after);
    organ_model_close(model);
}
END_TEST

START_TEST(refused)
{
    static const saved faults[] = {
        {"\"model_type\":\"granitemoe\"", "a.switch_mlp.gate_proj.weight 1x1x2\n", "has no 'up_proj' beside it"},
        {"\"model_type\":\"granitemoe\"", "a.switch_mlp.gate_proj.weight 1x1x2\na.switch_mlp.up_proj.weight 1x1x3\n",
         "differ in their sizes"},
        {"\"model_type\":\"deepseek_v3\"", "a.embed_q.weight 1x1x2\n", "has no 'unembed_out' beside it"},
        {"\"model_type\":\"deepseek_v3\"", "a.embed_q.weight 1x1x2\na.unembed_out.weight 1x1x3\n",
         "are no halves of kv_b_proj"},
        {"\"model_type\":\"deepseek_v3\"", "a.embed_q.weight U32 1x1x2\na.unembed_out.weight U32 1x1x3\n",
         "is U32, but has no scales"},
        {"\"model_type\":\"deepseek_v3\"",
         "a.embed_q.weight U32 1x1x2\na.embed_q.scales 1x1x1\na.embed_q.biases 1x1x1\na.unembed_out.weight U32 1x1x3\n",
         "are no codes of 0 bits"},
        {"\"model_type\":\"deepseek_v3\"", "a.embed_q.weight U32 -\na.embed_q.scales -\na.unembed_out.weight -\n",
         "are no codes of 0 bits"},
        {"\"model_type\":\"gpt2\"", "model.h.0.attn.c_attn.weight -\nmodel.wte.weight 1x2\n", "has 0 axes, not 2"},
        {"\"model_type\":\"dbrx\"", "a.ffn.experts.0.w2.weight 2x1\na.ffn.experts.1.w2.weight 1x1\n",
         "differ in their sizes"},
        {"\"model_type\":\"dbrx\"", "a.ffn.experts.0.w2.weight -\n", "has 0 axes, not 2"},
        {"\"model_type\":\"qwen3_moe\"", "a.switch_mlp.up_proj.weight 1099511627776x0x1\n", "has no values"},
        {"\"model_type\":\"gpt2\"", "model.h.0.attn.c_attn.weight 0x3\nmodel.wte.weight 1x2\n", "has no values"},
        {"\"model_type\":\"muse_spark\"", "a.self_attn.qkvg_proj.weight 2x1\n",
         "mlx-lm stores functions of its residual gates"}};
    put(&faults[_i]);
    expect_refused(scratch_path(""), ORGAN_BAD_INPUT, (const char *const[]){faults[_i].shown, NULL});
}
END_TEST

Suite *mlx_view_suite(void)
{
    Suite *const suite = suite_create("mlx_view");
    TCase *const tcase = tcase_create("mlx_view");
    tcase_add_checked_fixture(tcase, scratch_begin, scratch_end);
    tcase_add_loop_test(tcase, shown, 0, COUNT(rows));
    tcase_add_loop_test(tcase, whole_file, UNCHANGED, COUNT(rows));
    tcase_add_loop_test(tcase, refused, 0, 13);
    suite_add_tcase(suite, tcase);
    return suite;
}
