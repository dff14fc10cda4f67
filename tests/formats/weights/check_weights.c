/* SPDX-License-Identifier: MIT
 * Tests of the weights of a model: the scheme that is recognised for each. */
#include "tests/formats/weights/check_weights.h"
#include "tests/kit/gguf_maker.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/weights_rig.h"
#include "tests/kit/require.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static organ_model *model;
static organ_weights *weights;
static organ_error error;

#define UP "model.layers.0.mlp.up_proj"
/* ---- schemes that are recognised ---- */

static const struct good {
    const char *config, *tensors, *found;
} goods[] = {
    /* FP8 */
    {FP8(BLOCK128), "$.weight F8_E4M3 256,512\n$.weight_scale_inv F32 2,4\nmodel.norm.weight BF16 512",
     UP ".weight fp8 [256,512] 8 bits 128x128 scale: FP8 E4M3, block 128 x 128, F32 scales\n"},
    {FP8(BLOCK128), "$.weight F8_E4M3 576,130\n$.weight_scale_inv BF16 5,2",
     UP ".weight fp8 [576,130] 8 bits 128x128 scale: FP8 E4M3, block 128 x 128, BF16 scales\n"},
    {FP8(BLOCK128), "$.weight F8_E4M3 130,64\n$.weight_scale_inv F32 2,1",
     UP ".weight fp8 [130,64] 8 bits 128x128 scale: FP8 E4M3, block 128 x 128, F32 scales\n"},
    {FP8(BLOCK128), "$.weight F8_E4M3 64,64\n$.weight_scale_inv F32 1,1",
     UP ".weight fp8 [64,64] 8 bits 128x128 scale: FP8 E4M3, block 128 x 128, F32 scales\n"},
    {FP8(BLOCK128 ",\"scale_fmt\":\"ue8m0\""), "$.weight F8_E4M3 256,256\n$.scale F8_E8M0 2,2",
     UP ".weight fp8 [256,256] 8 bits 128x128 scale: FP8 E4M3, block 128 x 128, F8_E8M0 scales\n"},
    {"{\"text_config\":{\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[64,32]}}}",
     "$.weight F8_E5M2 130,33\n$.weight_scale_inv F32 3,2",
     UP ".weight fp8 [130,33] 8 bits 64x32 scale: FP8 E5M2, block 64 x 32, F32 scales\n"},
    {NULL, "$.weight F8_E4M3 512,256\n$.weight_scale_inv F32 4,2",
     UP ".weight fp8 [512,256] 8 bits 128x128 scale: FP8 E4M3, block 128 x 128, F32 scales\n"},
    {NULL, "$.weight F8_E4M3 130,33\n$.weight_scale F32 -",
     UP ".weight fp8 [130,33] 8 bits 130x33 scale: FP8 E4M3, per tensor, F32 scales\n"},
    {NULL, "$.weight F8_E4M3FNUZ 130,33\n$.qscale_weight BF16 1\n$.qscale_act BF16 1",
     UP ".weight fp8 [130,33] 8 bits 130x33 scale: FP8 E4M3FNUZ, per tensor, BF16 scales\n"
        "dropped " UP ".qscale_act: scales activations, which a plain model does not need\n"},
    {NULL, "$.weight F8_E4M3 130,33\n$.weight_scale F32 130,1\n$.input_scale F32 1",
     UP ".weight fp8 [130,33] 8 bits 1x33 scale: FP8 E4M3, per channel, F32 scales\n"
        "dropped " UP ".input_scale: scales activations, which a plain model does not need\n"},
    {NULL, "$.weight F8_E5M2FNUZ 130,33\n$.weight_scale F16 130",
     UP ".weight fp8 [130,33] 8 bits 1x33 scale: FP8 E5M2FNUZ, per channel, F16 scales\n"},
    {FP8(BLOCK128), "m.experts.gate_up_proj F8_E4M3 4,256,130\nm.experts.gate_up_proj_scale_inv F32 4,2,2",
     "m.experts.gate_up_proj fp8 [4,256,130] 8 bits 128x128 scale: FP8 E4M3, block 128 x 128, F32 scales\n"},
    {NULL, "m.experts.w1.weight F8_E4M3 4,256,130\nm.experts.w1.weight_scale F32 4",
     "m.experts.w1.weight fp8 [4,256,130] 8 bits 256x130 scale: FP8 E4M3, per matrix, F32 scales\n"},
    /* The members identify the scheme under any name of the method. */
    {"{\"quantization_config\":{\"quant_method\":\"new_fp8\",\"weight_block_size\":[128,128]}}",
     "$.weight F8_E4M3 256,64\n$.weight_scale_inv F32 2,1\n$.tokens I64 2,2",
     UP ".weight fp8 [256,64] 8 bits 128x128 scale: FP8 E4M3, block 128 x 128, F32 scales\n"
        "kept " UP ".tokens: belongs to a packed weight and is unknown\n"},
    /* INT8 */
    {NULL, "$.weight I8 64,32\n$.weight_scale BF16 64,1",
     UP ".weight int8 [64,32] 8 bits 1x32 scale: INT8, per channel, symmetric, BF16 scales\n"},
    {NULL, "$.weight I8 64,32\n$.weight_scale F32 1\n$.weight_zero_point I8 1",
     UP ".weight int8 [64,32] 8 bits 64x32 scale zero: INT8, per tensor, asymmetric, F32 scales\n"},
    {NULL, "$.weight I8 64,256\n$.weight_scale F32 64,2",
     UP ".weight int8 [64,256] 8 bits 1x128 scale: INT8, group 128, symmetric, F32 scales\n"},
    /* pack-quantized */
    {WORDS(4, ",\"group_size\":128,\"strategy\":\"group\",\"symmetric\":true"),
     "$.weight_packed I32 64,32\n$.weight_scale BF16 64,2\n$.weight_shape I64 2=64,256",
     UP ".weight pack-quantized [64,256] 4 bits 1x128 scale shape: INT4, group 128, symmetric, BF16 scales\n"},
    {WORDS(4, ",\"group_size\":32"),
     "$.weight_packed I32 65,8\n$.weight_scale F16 65,2\n$.weight_shape I32 2=65,64\n$.weight_zero_point I32 "
     "9,2\n$.weight_g_idx I32 64",
     UP ".weight pack-quantized [65,64] 4 bits 1x32 scale zero g_idx shape: INT4, group 32, asymmetric, group index, "
        "F16 scales\n"},
    {WORDS(4, ",\"strategy\":\"channel\""),
     "$.weight_packed I32 64,4\n$.weight_scale F32 64,1\n$.weight_shape I64 2=64,30",
     UP ".weight pack-quantized [64,30] 4 bits 1x30 scale shape: INT4, per channel, symmetric, F32 scales\n"},
    {WORDS(3, ",\"group_size\":128"),
     "$.weight_packed I32 64,384\n$.weight_scale BF16 64,32\n$.weight_shape I64 2=64,4096",
     UP ".weight pack-quantized [64,4096] 3 bits 1x128 scale shape DENSE: INT3, group 128, symmetric, BF16 scales\n"},
    {WORDS(3, ",\"group_size\":128"),
     "$.weight_packed I32 64,410\n$.weight_scale BF16 64,32\n$.weight_shape I64 2=64,4096",
     UP ".weight pack-quantized [64,4096] 3 bits 1x128 scale shape: INT3, group 128, symmetric, BF16 scales\n"},
    {WORDS(8, ",\"strategy\":\"channel\""),
     "$.weight_packed I32 4,16,8\n$.weight_scale BF16 4,16,1\n$.weight_shape I64 3=4,16,32",
     UP ".weight pack-quantized [4,16,32] 8 bits 1x32 scale shape: INT8, per channel, symmetric, BF16 scales\n"},
    {NULL, "$.weight_packed I32 64,32\n$.weight_scale BF16 64,2\n$.weight_shape I64 2=64,256",
     UP ".weight pack-quantized [64,256] 4 bits 1x128 scale shape: INT4, group 128, symmetric, BF16 scales\n"},
    /* 33 codes of 3 bits take 4 words in both layouts; the other weight decides. */
    {WORDS(3, ",\"strategy\":\"channel\""),
     "a.weight_packed I32 8,4\na.weight_scale BF16 8,1\na.weight_shape I64 2=8,33\n"
     "b.weight_packed I32 8,6\nb.weight_scale BF16 8,1\nb.weight_shape I64 2=8,64",
     "a.weight pack-quantized [8,33] 3 bits 1x33 scale shape DENSE: INT3, per channel, symmetric, BF16 scales\n"
     "b.weight pack-quantized [8,64] 3 bits 1x64 scale shape DENSE: INT3, per channel, symmetric, BF16 scales\n"},
    {WORDS(4, ",\"group_size\":64"), "$.weight_packed I32 64,32\n$.weight_scale BF16 64,2\n$.weight_shape I64 2=64,256",
     UP ".weight pack-quantized [64,256] 4 bits 1x128 scale shape: INT4, group 128, symmetric, BF16 scales\n"
        "note: config.json states group_size 64, but the tensors of '" UP
        ".weight' have 128: organ uses the tensors' value\n"},
    {WORDS(8, ",\"symmetric\":true"),
     "$.weight I8 4,8\n$.weight_scale F32 4,1\n$.weight_zero_point I8 4,1\nb.weight I8 4,8\nb.weight_scale F32 "
     "4,1\nb.weight_zero_point I8 "
     "4,1",
     UP ".weight int8 [4,8] 8 bits 1x8 scale zero: INT8, per channel, asymmetric, F32 scales\n"
        "b.weight int8 [4,8] 8 bits 1x8 scale zero: INT8, per channel, asymmetric, F32 scales\n"
        "note: config.json states symmetric true, but the tensors of '" UP
        ".weight' and 1 other have false: organ uses the tensors' value\n"},
    /* floats of 4 bits, and of 8 bits with shared exponents */
    {NULL,
     "$.weight_packed U8 64,32\n$.weight_scale F8_E4M3 64,4\n$.weight_global_scale F32 1\n$.input_global_scale F32 1",
     UP ".weight nvfp4 [64,64] 4 bits 1x16 scale global DIVIDES: NVFP4, group 16, F8_E4M3 scales\n"
        "dropped " UP ".input_global_scale: scales activations, which a plain model does not need\n"},
    {NULL,
     "$.weight U8 64,32\n$.weight_scale F8_E4M3 64,4\n$.weight_scale_2 F32 -\nmodel.layers.0.self_attn.k_proj.k_scale "
     "F32 -",
     UP ".weight nvfp4 [64,64] 4 bits 1x16 scale global: NVFP4, group 16, F8_E4M3 scales\n"
        "dropped model.layers.0.self_attn.k_proj.k_scale: scales the cache or scores of attention, which a plain model "
        "does not need\n"},
    {NULL, "$.weight U8 4,64,32\n$.weight_scale F8_E4M3 4,64,4\n$.weight_scale_2 F32 4",
     UP ".weight nvfp4 [4,64,64] 4 bits 1x16 scale global: NVFP4, group 16, F8_E4M3 scales\n"},
    {NULL, "$.weight_packed U8 64,32\n$.weight_scale U8 64,2",
     UP ".weight mxfp4 [64,64] 4 bits 1x32 scale: MXFP4, group 32, E8M0 scales\n"},
    {NULL, "$.weight U8 64,32\n$.weight_scale U8 64,2",
     UP ".weight mxfp4 [64,64] 4 bits 1x32 scale: MXFP4, group 32, E8M0 scales\n"},
    {FP8(BLOCK128), "$.weight I8 64,32\n$.scale F8_E8M0 64,2",
     UP ".weight mxfp4 [64,64] 4 bits 1x32 scale: MXFP4, group 32, E8M0 scales\n"},
    {NULL, "$.weight F8_E4M3 64,64\n$.weight_scale U8 64,2",
     UP ".weight mxfp8 [64,64] 8 bits 1x32 scale: MXFP8 E4M3, group 32, E8M0 scales\n"},
    {"{\"quantization_config\":{\"quant_method\":\"mxfp4\",\"modules_to_not_convert\":[\"lm_head\"]}}",
     "$_blocks U8 4,96,2,16\n$_scales U8 4,96,2\n$_bias BF16 4,96",
     UP " mxfp4 [4,64,96] 4 bits 32x1 scale TRANSPOSED: MXFP4, group 32, E8M0 scales\n"},
    {NULL, "block.0.mlp.mlp1_weight.blocks U8 4,96,2,16\nblock.0.mlp.mlp1_weight.scales U8 4,96,2",
     "block.0.mlp.mlp1_weight mxfp4 [4,96,64] 4 bits 1x32 scale: MXFP4, group 32, E8M0 scales\n"},
    /* GPTQ */
    {GPTQ(",\"bits\":4,\"group_size\":128,\"desc_act\":true,\"sym\":true,\"checkpoint_format\":\"gptq\",\"pack_dtype\":"
          "\"int32\""),
     "$.qweight I32 32,96\n$.qzeros I32 2,12\n$.scales F16 2,96\n$.g_idx I32 256\n$.bias F16 96",
     UP ".weight gptq [96,256] 4 bits 1x128 scale zero g_idx TRANSPOSED: GPTQ INT4, group 128, zero points, group "
        "index, F16 scales\n"},
    {GPTQ(",\"bits\":3,\"group_size\":128,\"format\":\"GPTQ_V2\""),
     "$.qweight I32 24,96\n$.qzeros I32 2,9\n$.scales F16 2,96",
     UP ".weight gptq [96,256] 3 bits 1x128 scale zero TRANSPOSED V2: GPTQ INT3, group 128, zero points, F16 scales\n"},
    {GPTQ(",\"bits\":2,\"group_size\":-1"), "$.qweight I32 16,96\n$.qzeros I32 1,6\n$.scales BF16 1,96",
     UP ".weight gptq [96,256] 2 bits 1x256 scale zero TRANSPOSED: GPTQ INT2, per channel, zero points, BF16 scales\n"},
    {NULL, "$.qweight I32 64,96\n$.qzeros I32 2,24\n$.scales F16 2,96\n$.g_idx I32 256",
     UP ".weight gptq [96,256] 8 bits 1x128 scale zero g_idx TRANSPOSED: GPTQ INT8, group 128, zero points, group "
        "index, F16 scales\n"},
    {GPTQ(",\"bits\":4,\"group_size\":128,\"dynamic\":{\"-:.*down.*\":{},\"+:.*\\\\.0\\\\..*up.*\":{\"bits\":8,\"group_"
          "size\":64}}"),
     "$.qweight I32 64,96\n$.qzeros I32 4,24\n$.scales F16 4,96",
     UP ".weight gptq [96,256] 8 bits 1x64 scale zero TRANSPOSED: GPTQ INT8, group 64, zero points, F16 scales\n"},
    {GPTQ(",\"bits\":4,\"group_size\":64"),
     "$.qweight I32 64,96\n$.qzeros I32 2,24\n$.scales F16 2,96\n$.g_idx I32 256",
     UP ".weight gptq [96,256] 8 bits 1x128 scale zero g_idx TRANSPOSED: GPTQ INT8, group 128, zero points, group "
        "index, F16 scales\n"
        "note: config.json states bits 4, but the tensors of '" UP ".weight' have 8: organ uses the tensors' value\n"
        "note: config.json states group_size 64, but the tensors of '" UP
        ".weight' have 128: organ uses the tensors' value\n"},
    /* AWQ */
    {AWQ(",\"group_size\":128,\"zero_point\":true,\"version\":\"gemm\",\"modules_to_not_convert\":null"),
     "$.qweight I32 256,12\n$.qzeros I32 2,12\n$.scales F16 2,96",
     UP ".weight awq-gemm [96,256] 4 bits 1x128 scale zero TRANSPOSED: AWQ gemm INT4, group 128, asymmetric, F16 "
        "scales\n"},
    {AWQ(",\"group_size\":64,\"version\":\"GEMV\""), "$.qweight I32 96,32\n$.qzeros I32 96,2\n$.scales F16 96,16",
     UP ".weight awq-gemv [96,256] 4 bits 1x64 scale zero: AWQ gemv INT4, group 64, asymmetric, F16 scales\n"},
    {AWQ(",\"group_size\":128,\"version\":\"gemm\""), "$.qweight I32 96,32\n$.qzeros I32 96,1\n$.scales F16 96,8",
     UP ".weight awq-gemv [96,256] 4 bits 1x128 scale zero: AWQ gemv INT4, group 128, asymmetric, F16 scales\n"
        "note: config.json states layout awq-gemm, but the tensors of '" UP
        ".weight' have awq-gemv: organ uses the tensors' value\n"},
    /* MLX */
    {MLX(4, 64), "$.weight U32 8,32\n$.scales BF16 8,4\n$.biases BF16 8,4\n$.bias BF16 8",
     UP ".weight mlx-affine [8,256] 4 bits 1x64 scale bias DENSE: MLX INT4, group 64, BF16 scales and biases\n"},
    {MLX(6, 32), "$.weight U32 2,8,48\n$.scales F16 2,8,8\n$.biases F16 2,8,8",
     UP ".weight mlx-affine [2,8,256] 6 bits 1x32 scale bias DENSE: MLX INT6, group 32, F16 scales and biases\n"},
    {MLX_MORE(4, 64,
              ",\"mode\":\"affine\",\"model.layers.0.mlp.up_proj\":{\"bits\":8,\"group_size\":32},\"lm_head\":false"),
     "$.weight U32 8,64\n$.scales F32 8,8\n$.biases F32 8,8\nlm_head.weight BF16 4,256",
     UP ".weight mlx-affine [8,256] 8 bits 1x32 scale bias DENSE: MLX INT8, group 32, F32 scales and biases\n"},
    {"{\"quantization_config\":{\"group_size\":128,\"bits\":3}}",
     "$.weight U32 8,24\n$.scales BF16 8,2\n$.biases BF16 8,2",
     UP ".weight mlx-affine [8,256] 3 bits 1x128 scale bias DENSE: MLX INT3, group 128, BF16 scales and biases\n"},
    {"{\"text_config\":{\"quantization\":{\"group_size\":64,\"bits\":2}}}",
     "$.weight U32 8,16\n$.scales BF16 8,4\n$.biases BF16 8,4",
     UP ".weight mlx-affine [8,256] 2 bits 1x64 scale bias DENSE: MLX INT2, group 64, BF16 scales and biases\n"},
    /* The scheme of the model before its conversion is ignored, and half of the members suffices. */
    {"{\"quantization\":{\"group_size\":64},\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":["
     "128,128]}}",
     "$.weight U32 8,32\n$.scales BF16 8,4\n$.biases BF16 8,4",
     UP ".weight mlx-affine [8,256] 4 bits 1x64 scale bias DENSE: MLX INT4, group 64, BF16 scales and biases\n"},
    /* 192 bits are 64 codes of 3 bits or 32 of 6; 96 are 32 of 3; 320 are 64 of 5. */
    {NULL, "$.weight U32 8,12\n$.scales BF16 8,4\n$.biases BF16 8,4",
     UP ".weight mlx-affine [8,128] 3 bits 1x32 scale bias DENSE: MLX INT3, group 32, BF16 scales and biases\n"},
    {NULL, "$.weight U32 8,40\n$.scales BF16 8,4\n$.biases BF16 8,4",
     UP ".weight mlx-affine [8,256] 5 bits 1x64 scale bias DENSE: MLX INT5, group 64, BF16 scales and biases\n"},
    {MLX_MORE(4, 32, ",\"mode\":\"mxfp4\""), "$.weight U32 4,8,16\n$.scales U8 4,8,4\n$.bias BF16 4,8",
     UP ".weight mxfp4 [4,8,128] 4 bits 1x32 scale: MXFP4, group 32, E8M0 scales\n"},
    {NULL, "$.weight U32 8,32\n$.scales U8 8,4",
     UP ".weight mxfp8 [8,128] 8 bits 1x32 scale: MXFP8 E4M3, group 32, E8M0 scales\n"},
    {MLX_MORE(4, 16, ",\"mode\":\"nvfp4\""), "$.weight U32 8,8\n$.scales U8 8,4",
     UP ".weight nvfp4 [8,64] 4 bits 1x16 scale: NVFP4, group 16, F8_E4M3 scales\n"},
    /* A U32 tensor that is not quantised. */
    {NULL, "$.weight U32 8,8", ""},
    /* Several schemes in one model, and modules in no scheme. */
    {"{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"mixed-precision\",\"config_"
     "groups\":{"
     "\"a\":{\"targets\":[\"re:.*attn.*\"],\"format\":\"float-quantized\",\"weights\":{\"num_bits\":8,\"type\":"
     "\"float\",\"strategy\":"
     "\"block\",\"block_structure\":[128,128]}},"
     "\"b\":{\"targets\":[\"Linear\"],\"format\":\"pack-quantized\",\"weights\":{\"num_bits\":4,\"type\":\"int\","
     "\"group_size\":32}}},"
     "\"ignore\":[\"re:.*lm_head\"]}}",
     "m.attn.weight F8_E4M3 130,130\nm.attn.weight_scale BF16 2,2\n"
     "m.mlp.weight_packed I32 16,8\nm.mlp.weight_scale BF16 16,2\nm.mlp.weight_shape I64 2=16,64\nlm_head.weight BF16 "
     "8,8\n"
     "m.mlp.weight_what F32 3\nm.old.weight_scale F32 1\nm.attn.bias F32 130",
     "m.attn.weight fp8 [130,130] 8 bits 128x128 scale: FP8 E4M3, block 128 x 128, BF16 scales\n"
     "m.mlp.weight pack-quantized [16,64] 4 bits 1x32 scale shape: INT4, group 32, symmetric, BF16 scales\n"
     "kept m.mlp.weight_what: belongs to a packed weight and is unknown\n"
     "kept m.old.weight_scale: is named like a companion of a packed weight that is missing\n"},
    /* FP8 as a type without scales, without a config and with one that excludes it. */
    {NULL, "$.weight F8_E4M3 4,4",
     "note: 1 weight of a type for codes has no scales, so organ uses the codes as values; the first is '" UP
     ".weight'\n"},
    {FP8(BLOCK128 ",\"modules_to_not_convert\":[\"up_proj\"]"), "$.weight F8_E4M3 4,4",
     "note: 1 weight of a type for codes has no scales, so organ uses the codes as values; the first is '" UP
     ".weight'\n"},
    /* Names like those of scales in a model that is not quantised. */
    {NULL, "norm.scale F32 4\nattn.k_scale F32 1\ninput_scale F32 1\nx.scales F16 3\nposition_ids I64 1,4", ""},
};

static void check_good(const struct good *g)
{
    rig_model(g->config, g->tensors);
    error = (organ_error){0};
    ck_assert_msg(rig_find(&model, &weights, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_str_eq(rig_text(weights), g->found);
    size_t packed = 0;
    for (size_t k = 0; k < weights->count; k++) {
        packed += weights->weights[k].scheme != ORGAN_SCHEME_PLAIN;
        ck_assert_ptr_eq(organ_weights_named(weights, weights->weights[k].name), &weights->weights[k]);
        REQUIRE(k == 0 || weights->weights[k - 1].codes < weights->weights[k].codes);
    }
    ck_assert_uint_eq(packed, weights->packed);
    ck_assert_ptr_null(organ_weights_named(weights, "nothing"));
    organ_weights_free(weights);
    organ_model_close(model);
}

START_TEST(found)
{
    for (size_t k = (size_t)_i * ROWS; k < COUNT(goods) && k < ((size_t)_i + 1) * ROWS; k++)
        check_good(&goods[k]);
}
END_TEST

/* ---- other cases ---- */

static void begin(void)
{
    scratch_begin();
    model = NULL;
    weights = NULL;
    error = (organ_error){0};
}

static void end(void)
{
    organ_weights_free(weights);
    organ_model_close(model);
    scratch_end();
}

static void expect_found(const char *text)
{
    ck_assert_msg(rig_find(&model, &weights, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_str_eq(rig_text(weights), text);
}

/* A scale may be in another shard than its weight. */
START_TEST(in_another_shard)
{
    rig_tensors("a.safetensors", "m.up.weight_scale_inv F32 2,1\nm.norm.weight BF16 4");
    rig_tensors("b.safetensors", "m.up.weight F8_E4M3 130,4");
    scratch_text("model.safetensors.index.json",
                 "{\"metadata\":{},\"weight_map\":{\"m.up.weight_scale_inv\":\"a.safetensors\",\"m.norm.weight\":"
                 "\"a.safetensors\",\"m.up.weight\":\"b.safetensors\"}}");
    scratch_text("config.json", FP8(BLOCK128));
    expect_found("m.up.weight fp8 [130,4] 8 bits 128x128 scale: FP8 E4M3, block 128 x 128, F32 scales\n");
    ck_assert_uint_eq(weights->count, 2);
    ck_assert_str_eq(weights->method, "fp8");
    ck_assert_uint_ne(weights->weights[1].codes->file, weights->weights[1].scale->file);
}
END_TEST

/* Files that quantisers write next to config.json; each counts only if config.json has no scheme. */
static const struct side_file {
    const char *name, *text, *method, *tensors, *found;
} side_files[] = {
    {"quantize_config.json",
     "{\"bits\":4,\"group_size\":128,\"desc_act\":false,\"sym\":true,\"model_name_or_path\":null}", "gptq",
     "m.qweight I32 24,96\nm.qzeros I32 2,12\nm.scales F16 2,96",
     "m.weight gptq [96,192] 4 bits 1x128 scale zero TRANSPOSED: GPTQ INT4, group 128, zero points, F16 scales\n"},
    {"quant_config.json", "{\"zero_point\":true,\"q_group_size\":64,\"w_bit\":4,\"version\":\"GEMV\"}", "awq",
     "m.qweight I32 96,32\nm.qzeros I32 96,2\nm.scales F16 96,16",
     "m.weight awq-gemv [96,256] 4 bits 1x64 scale zero: AWQ gemv INT4, group 64, asymmetric, F16 scales\n"},
    {"hf_quant_config.json",
     "{\"producer\":{\"name\":\"modelopt\"},\"quantization\":{\"quant_algo\":\"NVFP4\",\"kv_cache_quant_algo\":\"FP8\","
     "\"group_size\":16,"
     "\"exclude_modules\":[\"lm_head\",\"*.router\"]}}",
     "modelopt", "m.weight U8 8,16\nm.weight_scale F8_E4M3 8,2\nm.weight_scale_2 F32 -\na.router.weight F8_E4M3 2,2",
     "m.weight nvfp4 [8,32] 4 bits 1x16 scale global: NVFP4, group 16, F8_E4M3 scales\n"
     "note: 1 weight of a type for codes has no scales, so organ uses the codes as values; the first is "
     "'a.router.weight'\n"},
};

START_TEST(side_file)
{
    const struct side_file *const f = &side_files[_i];
    rig_model("{\"model_type\":\"llama\"}", f->tensors);
    scratch_text(f->name, f->text);
    expect_found(f->found);
    ck_assert_str_eq(weights->method, f->method);
}
END_TEST

/* The error names a malformed side file. */
START_TEST(side_file_refused)
{
    static const char *const texts[] = {"[]", "{\"bits\":4", "{\"bits\":40}"},
                             *const reasons[] = {"quantize_config.json: is not an object",
                                                 "quantize_config.json: \"bits\": line 1",
                                                 "quantize_config.json: bits is 40, not a whole number from 1 to 8"};
    rig_model(NULL, "m.qweight I32 24,96\nm.qzeros I32 2,12\nm.scales F16 2,96");
    scratch_text("quantize_config.json", texts[_i]);
    ck_assert_int_eq(rig_find(&model, &weights, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, reasons[_i]), "%s", error.message);
    ck_assert_ptr_null(weights);
}
END_TEST

/* For a model that is not quantised, only config.json matters, and only the members that opening reads. */
START_TEST(plain_model)
{
    rig_model("{\"quantization_config\":{\"bits\":99}}", "m.weight BF16 2,3\nm.bias F32 2\nm.ids I64 4");
    scratch_text("quantize_config.json", "{");
    expect_found("");
    ck_assert_uint_eq(weights->count, 3);
    ck_assert_uint_eq(weights->packed, 0);
    ck_assert_str_eq(weights->method, "");
    const organ_weight *const w = organ_weights_named(weights, "m.weight");
    const organ_matrices m = organ_weight_matrices(w);
    ck_assert(m.count == 1 && m.rows == 2 && m.cols == 3 && w->elements == 6 && w->bits == 16);
    ck_assert_ptr_eq(w->shape, w->codes->shape);
}
END_TEST

/* The name without the scheme's suffix decides a weight's role. */
START_TEST(anatomy)
{
    rig_model(GPTQ4, "model.layers.7.mlp.experts.3.down_proj.qweight I32 "
                     "24,96\nmodel.layers.7.mlp.experts.3.down_proj.qzeros I32 2,12\n"
                     "model.layers.7.mlp.experts.3.down_proj.scales F16 2,96");
    ck_assert_msg(rig_find(&model, &weights, &error) == ORGAN_OK, "%s", error.message);
    const organ_anatomy a = weights->weights[0].anatomy;
    ck_assert(a.role == ORGAN_ROLE_DOWN && a.group == ORGAN_GROUP_ORGAN && a.layer == 7 && a.expert == 3);
    ck_assert(a.experts == ORGAN_EXPERTS_ROUTED && weights->weights[0].codes->anatomy.role == ORGAN_ROLE_DOWN);
    ck_assert_int_eq(weights->weights[0].scale->anatomy.role, ORGAN_ROLE_COMPANION);
    ck_assert_int_eq(weights->weights[0].scale->anatomy.group, ORGAN_GROUP_ORGAN);
}
END_TEST

/* In GGUF the tensor scale of NVFP4 is a tensor under one of two names; scales of inputs are ignored. */
static const struct gguf {
    const char *scale, *type, *found;
    organ_status status;
} ggufs[] = {
    {"s:blk.0.ffn_up.scale", "8:1 4:0", "blk.0.ffn_up.weight plain [2,64] 0 bits 0x0 global: NVFP4, F32 tensor scale\n",
     ORGAN_OK},
    {"s:blk.0.ffn_up.weight.scale", "8:1 4:0",
     "blk.0.ffn_up.weight plain [2,64] 0 bits 0x0 global: NVFP4, F32 tensor scale\n", ORGAN_OK},
    {"s:blk.0.ffn_down.scale", "8:1 4:0", "", ORGAN_OK},
    {"s:blk.0.ffn_up.scale", "8:2 4:0",
     "'blk.0.ffn_up.scale' is F32 of 2 values, but the tensor scale of 'blk.0.ffn_up.weight' is F32, one",
     ORGAN_BAD_INPUT},
    {"s:blk.0.ffn_up.scale", "8:1 4:26", "'blk.0.ffn_up.scale' is I32 of 1 values", ORGAN_BAD_INPUT},
};

START_TEST(in_gguf)
{
    char words[400];
    const struct gguf *const g = &ggufs[_i];
    snprintf(words, sizeof words,
             HEAD(2, 0) "s:blk.0.ffn_up.weight 4:2 8:64 8:2 4:40 8:0 %s 4:1 %s 8:96 p:32 z:72 p:32 z:%d p:32", g->scale,
             g->type, strstr(g->type, "8:2") ? 8 : 4);
    gguf_file("m.gguf", words);
    ck_assert_msg(organ_model_open(scratch_path("m.gguf"), &model, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_int_eq(organ_weights_find(model, &weights, &error), g->status);
    if (g->status != ORGAN_OK) {
        ck_assert_msg(strstr(error.message, g->found), "%s", error.message);
        return;
    }
    ck_assert_str_eq(rig_text(weights), g->found);
    ck_assert_uint_eq(weights->packed, 0);
    ck_assert_uint_eq(weights->count, *g->found ? 1 : 2);
    ck_assert(!weights->weights[0].divides);
}
END_TEST

/* ---- many names ---- */

/* As many tensors as a mixture has, and as many names in the config, half of which are tensors. */
START_TEST(many)
{
    enum { PAIRS = 50000 };
    char *tensors = NULL, *config = NULL;
    size_t length;
    FILE *out = open_memstream(&tensors, &length);
    for (int k = 0; k < PAIRS; k++)
        fprintf(out, "m.%d.w F8_E4M3 1,1\nm.%d.w_scale F32 1\n", k, k);
    fclose(out);
    out = open_memstream(&config, &length);
    fputs("{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"ignore\":[\"x\"", out);
    for (int k = 0; k < PAIRS; k++)
        fprintf(out, ",\"m.%d.w\"", k);
    fputs("],\"config_groups\":{\"g\":{\"weights\":{\"num_bits\":8,\"type\":\"float\"},\"targets\":[\"Linear\"", out);
    for (int k = 0; k < PAIRS; k++)
        fprintf(out, ",\"m.%d.w\"", 2 * k);
    fputs("]}}}}", out);
    fclose(out);
    rig_model(config, tensors);
    free(config);
    free(tensors);
    ck_assert_msg(rig_find(&model, &weights, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_uint_eq(weights->packed, PAIRS);
    ck_assert_uint_eq(weights->count, PAIRS);
}
END_TEST

/* Names as long as a header allows, with many dots. */
START_TEST(deep_names)
{
    enum { DEPTH = 2000 };
    char *header = NULL;
    size_t length;
    FILE *const out = open_memstream(&header, &length);
    for (int part = 0; part < 2; part++) {
        fputs(part ? ",\"" : "{\"", out);
        for (int k = 0; k < DEPTH; k++)
            fputs("a.", out);
        fprintf(out, part ? "weight_scale\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}"
                          : "weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,2],\"data_offsets\":[0,4]}");
    }
    fclose(out);
    scratch_tensors("model.safetensors", header, 8);
    free(header);
    ck_assert_msg(rig_find(&model, &weights, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_uint_eq(weights->packed, 1);
    ck_assert_uint_eq(strlen(weights->weights[0].name), 2 * DEPTH + 6);
}
END_TEST

/* A thousand slow patterns on a thousand names are stopped by a limit. */
START_TEST(hard_patterns)
{
    char *tensors = NULL, *config = NULL;
    size_t length;
    FILE *out = open_memstream(&tensors, &length);
    for (int k = 0; k < 1000; k++)
        fprintf(out, "aaaaaaaaaaaaa%d.weight F8_E4M3 1,1\naaaaaaaaaaaaa%d.weight_scale F32 1\n", k, k);
    fclose(out);
    out = open_memstream(&config, &length);
    fputs("{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{\"weights\":{"
          "\"num_bits\":8,\"type\":"
          "\"float\"},\"targets\":[\"re:b\"",
          out);
    for (int k = 0; k < 1000; k++)
        fprintf(out, ",\"re:(a+)+b%d\"", k);
    fputs("]}}}}", out);
    fclose(out);
    rig_model(config, tensors);
    free(config);
    free(tensors);
    ck_assert_int_eq(rig_find(&model, &weights, &error), ORGAN_BAD_INPUT);
    ck_assert_msg(strstr(error.message, "config.json: has 1001 patterns, which are too many for so many tensors"), "%s",
                  error.message);
}
END_TEST

static Suite *weights_suite(void)
{
    Suite *const suite = suite_create("weights");
    TCase *const tcase = tcase_create("found");
    tcase_add_checked_fixture(tcase, scratch_begin, scratch_end);
    tcase_add_loop_test(tcase, found, 0, (COUNT(goods) + ROWS - 1) / ROWS);
    suite_add_tcase(suite, tcase);
    TCase *const single = tcase_create("single");
    tcase_add_checked_fixture(single, begin, end);
    tcase_add_test(single, in_another_shard);
    tcase_add_loop_test(single, side_file, 0, COUNT(side_files));
    tcase_add_loop_test(single, side_file_refused, 0, 3);
    tcase_add_loop_test(single, in_gguf, 0, COUNT(ggufs));
    tcase_add_test(single, plain_model);
    tcase_add_test(single, anatomy);
    suite_add_tcase(suite, single);
    TCase *const hostile = tcase_create("hostile");
    tcase_add_checked_fixture(hostile, begin, end);
    tcase_set_timeout(hostile, 30);
    tcase_add_test(hostile, many);
    tcase_add_test(hostile, deep_names);
    tcase_add_test(hostile, hard_patterns);
    suite_add_tcase(suite, hostile);
    return suite;
}

int main(void)
{
    SRunner *const runner = srunner_create(weights_suite());
    srunner_add_suite(runner, weights_refused_suite());
    srunner_add_suite(runner, inputs_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
