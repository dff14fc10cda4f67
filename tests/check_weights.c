/* SPDX-License-Identifier: MIT
 * Tests of the weights that a model means: what every scheme is found to be, and what is refused. */
#include "tests/scratch_model.h"
#include "tests/weights_rig.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define UP "model.layers.0.mlp.up_proj"
#define WORDS(bits, more)                                                                                                                  \
    "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_groups\":{\"group_0\":{"     \
    "\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":" #bits ",\"type\":\"int\"" more "}}},\"ignore\":[\"lm_head\"]}}"
#define FP8(more)  "{\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\"" more "}}"
#define BLOCK128   ",\"weight_block_size\":[128,128]"
#define GPTQ(more) "{\"quantization_config\":{\"quant_method\":\"gptq\"" more "}}"
#define AWQ(more)  "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4" more "}}"

static void make(const char *config, const char *tensors)
{
    rig_tensors("model.safetensors", tensors);
    if (config)
        scratch_text("config.json", config);
}

/* ---- what is found ---- */

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
        "dropped " UP ".qscale_act: scales activations, which a plain model does not\n"},
    {NULL, "$.weight F8_E4M3 130,33\n$.weight_scale F32 130,1\n$.input_scale F32 1",
     UP ".weight fp8 [130,33] 8 bits 1x33 scale: FP8 E4M3, per channel, F32 scales\n"
        "dropped " UP ".input_scale: scales activations, which a plain model does not\n"},
    {NULL, "$.weight F8_E5M2FNUZ 130,33\n$.weight_scale F16 130",
     UP ".weight fp8 [130,33] 8 bits 1x33 scale: FP8 E5M2FNUZ, per channel, F16 scales\n"},
    {FP8(BLOCK128), "m.experts.gate_up_proj F8_E4M3 4,256,130\nm.experts.gate_up_proj_scale_inv F32 4,2,2",
     "m.experts.gate_up_proj fp8 [4,256,130] 8 bits 128x128 scale: FP8 E4M3, block 128 x 128, F32 scales\n"},
    {NULL, "m.experts.w1.weight F8_E4M3 4,256,130\nm.experts.w1.weight_scale F32 4",
     "m.experts.w1.weight fp8 [4,256,130] 8 bits 256x130 scale: FP8 E4M3, per matrix, F32 scales\n"},
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
     "$.weight_packed I32 65,8\n$.weight_scale F16 65,2\n$.weight_shape I32 2=65,64\n$.weight_zero_point I32 9,2\n$.weight_g_idx I32 64",
     UP ".weight pack-quantized [65,64] 4 bits 1x32 scale zero g_idx shape: INT4, group 32, asymmetric, group index, F16 scales\n"},
    {WORDS(4, ",\"strategy\":\"channel\""), "$.weight_packed I32 64,4\n$.weight_scale F32 64,1\n$.weight_shape I64 2=64,30",
     UP ".weight pack-quantized [64,30] 4 bits 1x30 scale shape: INT4, per channel, symmetric, F32 scales\n"},
    {WORDS(3, ",\"group_size\":128"), "$.weight_packed I32 64,384\n$.weight_scale BF16 64,32\n$.weight_shape I64 2=64,4096",
     UP ".weight pack-quantized [64,4096] 3 bits 1x128 scale shape DENSE: INT3, group 128, symmetric, BF16 scales\n"},
    {WORDS(3, ",\"group_size\":128"), "$.weight_packed I32 64,410\n$.weight_scale BF16 64,32\n$.weight_shape I64 2=64,4096",
     UP ".weight pack-quantized [64,4096] 3 bits 1x128 scale shape: INT3, group 128, symmetric, BF16 scales\n"},
    {WORDS(8, ",\"strategy\":\"channel\""), "$.weight_packed I32 4,16,8\n$.weight_scale BF16 4,16,1\n$.weight_shape I64 3=4,16,32",
     UP ".weight pack-quantized [4,16,32] 8 bits 1x32 scale shape: INT8, per channel, symmetric, BF16 scales\n"},
    {NULL, "$.weight_packed I32 64,32\n$.weight_scale BF16 64,2\n$.weight_shape I64 2=64,256",
     UP ".weight pack-quantized [64,256] 4 bits 1x128 scale shape: INT4, group 128, symmetric, BF16 scales\n"},
    /* 33 codes of 3 bits take 4 words in both layouts: the other weight tells. */
    {WORDS(3, ",\"strategy\":\"channel\""),
     "a.weight_packed I32 8,4\na.weight_scale BF16 8,1\na.weight_shape I64 2=8,33\n"
     "b.weight_packed I32 8,6\nb.weight_scale BF16 8,1\nb.weight_shape I64 2=8,64",
     "a.weight pack-quantized [8,33] 3 bits 1x33 scale shape DENSE: INT3, per channel, symmetric, BF16 scales\n"
     "b.weight pack-quantized [8,64] 3 bits 1x64 scale shape DENSE: INT3, per channel, symmetric, BF16 scales\n"},
    {WORDS(4, ",\"group_size\":64"), "$.weight_packed I32 64,32\n$.weight_scale BF16 64,2\n$.weight_shape I64 2=64,256",
     UP ".weight pack-quantized [64,256] 4 bits 1x128 scale shape: INT4, group 128, symmetric, BF16 scales\n"
        "note: config.json says group_size 64, but the tensors of '" UP ".weight' say 128: the tensors are believed\n"},
    /* floats of 4 bits, and of 8 with exponents */
    {NULL, "$.weight_packed U8 64,32\n$.weight_scale F8_E4M3 64,4\n$.weight_global_scale F32 1\n$.input_global_scale F32 1",
     UP ".weight nvfp4 [64,64] 4 bits 1x16 scale global DIVIDES: NVFP4, group 16, F8_E4M3 scales\n"
        "dropped " UP ".input_global_scale: scales activations, which a plain model does not\n"},
    {NULL, "$.weight U8 64,32\n$.weight_scale F8_E4M3 64,4\n$.weight_scale_2 F32 -\nmodel.layers.0.self_attn.k_proj.k_scale F32 -",
     UP ".weight nvfp4 [64,64] 4 bits 1x16 scale global: NVFP4, group 16, F8_E4M3 scales\n"
        "dropped model.layers.0.self_attn.k_proj.k_scale: scales the cache or scores of attention, which a plain model does not\n"},
    {NULL, "$.weight U8 4,64,32\n$.weight_scale F8_E4M3 4,64,4\n$.weight_scale_2 F32 4",
     UP ".weight nvfp4 [4,64,64] 4 bits 1x16 scale global: NVFP4, group 16, F8_E4M3 scales\n"},
    {NULL, "$.weight_packed U8 64,32\n$.weight_scale U8 64,2",
     UP ".weight mxfp4 [64,64] 4 bits 1x32 scale: MXFP4, group 32, E8M0 scales\n"},
    {NULL, "$.weight U8 64,32\n$.weight_scale U8 64,2", UP ".weight mxfp4 [64,64] 4 bits 1x32 scale: MXFP4, group 32, E8M0 scales\n"},
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
    {GPTQ(",\"bits\":4,\"group_size\":128,\"desc_act\":true,\"sym\":true,\"checkpoint_format\":\"gptq\",\"pack_dtype\":\"int32\""),
     "$.qweight I32 32,96\n$.qzeros I32 2,12\n$.scales F16 2,96\n$.g_idx I32 256\n$.bias F16 96",
     UP ".weight gptq [96,256] 4 bits 1x128 scale zero g_idx TRANSPOSED: GPTQ INT4, group 128, asymmetric, group index, F16 scales\n"},
    {GPTQ(",\"bits\":3,\"group_size\":128,\"format\":\"GPTQ_V2\""), "$.qweight I32 24,96\n$.qzeros I32 2,9\n$.scales F16 2,96",
     UP ".weight gptq [96,256] 3 bits 1x128 scale zero TRANSPOSED V2: GPTQ INT3, group 128, asymmetric, F16 scales\n"},
    {GPTQ(",\"bits\":2,\"group_size\":-1"), "$.qweight I32 16,96\n$.qzeros I32 1,6\n$.scales BF16 1,96",
     UP ".weight gptq [96,256] 2 bits 1x256 scale zero TRANSPOSED: GPTQ INT2, per channel, asymmetric, BF16 scales\n"},
    {NULL, "$.qweight I32 64,96\n$.qzeros I32 2,24\n$.scales F16 2,96\n$.g_idx I32 256",
     UP ".weight gptq [96,256] 8 bits 1x128 scale zero g_idx TRANSPOSED: GPTQ INT8, group 128, asymmetric, group index, F16 scales\n"},
    {GPTQ(",\"bits\":4,\"group_size\":128,\"dynamic\":{\"-:.*down.*\":{},\"+:.*\\\\.0\\\\..*up.*\":{\"bits\":8,\"group_size\":64}}"),
     "$.qweight I32 64,96\n$.qzeros I32 4,24\n$.scales F16 4,96",
     UP ".weight gptq [96,256] 8 bits 1x64 scale zero TRANSPOSED: GPTQ INT8, group 64, asymmetric, F16 scales\n"},
    {GPTQ(",\"bits\":4,\"group_size\":64"), "$.qweight I32 64,96\n$.qzeros I32 2,24\n$.scales F16 2,96\n$.g_idx I32 256",
     UP ".weight gptq [96,256] 8 bits 1x128 scale zero g_idx TRANSPOSED: GPTQ INT8, group 128, asymmetric, group index, F16 scales\n"
        "note: config.json says bits 4, but the tensors of '" UP ".weight' say 8: the tensors are believed\n"
        "note: config.json says group_size 64, but the tensors of '" UP ".weight' say 128: the tensors are believed\n"},
    /* AWQ */
    {AWQ(",\"group_size\":128,\"zero_point\":true,\"version\":\"gemm\",\"modules_to_not_convert\":null"),
     "$.qweight I32 256,12\n$.qzeros I32 2,12\n$.scales F16 2,96",
     UP ".weight awq-gemm [96,256] 4 bits 1x128 scale zero TRANSPOSED: AWQ gemm INT4, group 128, asymmetric, F16 scales\n"},
    {AWQ(",\"group_size\":64,\"version\":\"GEMV\""), "$.qweight I32 96,32\n$.qzeros I32 96,2\n$.scales F16 96,16",
     UP ".weight awq-gemv [96,256] 4 bits 1x64 scale zero: AWQ gemv INT4, group 64, asymmetric, F16 scales\n"},
    {AWQ(",\"group_size\":128,\"version\":\"gemm\""), "$.qweight I32 96,32\n$.qzeros I32 96,1\n$.scales F16 96,8",
     UP ".weight awq-gemv [96,256] 4 bits 1x128 scale zero: AWQ gemv INT4, group 128, asymmetric, F16 scales\n"
        "note: config.json says layout awq-gemm, but the tensors of '" UP ".weight' say awq-gemv: the tensors are believed\n"},
    /* Several schemes in one model; what is known of nothing. */
    {"{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"mixed-precision\",\"config_groups\":{"
     "\"a\":{\"targets\":[\"re:.*attn.*\"],\"format\":\"float-quantized\",\"weights\":{\"num_bits\":8,\"type\":\"float\",\"strategy\":"
     "\"block\",\"block_structure\":[128,128]}},"
     "\"b\":{\"targets\":[\"Linear\"],\"format\":\"pack-quantized\",\"weights\":{\"num_bits\":4,\"type\":\"int\",\"group_size\":32}}},"
     "\"ignore\":[\"re:.*lm_head\"]}}",
     "m.attn.weight F8_E4M3 130,130\nm.attn.weight_scale BF16 2,2\n"
     "m.mlp.weight_packed I32 16,8\nm.mlp.weight_scale BF16 16,2\nm.mlp.weight_shape I64 2=16,64\nlm_head.weight BF16 8,8\n"
     "m.mlp.weight_what F32 3\nm.old.weight_scale F32 1\nm.attn.bias F32 130",
     "m.attn.weight fp8 [130,130] 8 bits 128x128 scale: FP8 E4M3, block 128 x 128, BF16 scales\n"
     "m.mlp.weight pack-quantized [16,64] 4 bits 1x32 scale shape: INT4, group 32, symmetric, BF16 scales\n"
     "kept m.mlp.weight_what: stands beside a packed weight and is not known\n"
     "kept m.old.weight_scale: would be the companion of a packed weight, which is not there\n"},
    /* FP8 that is only a type, without and with a config that spares it. */
    {NULL, "$.weight F8_E4M3 4,4",
     "note: 1 weight of a type for codes has no scales and is taken at face value, the first is '" UP ".weight'\n"},
    {FP8(BLOCK128 ",\"modules_to_not_convert\":[\"up_proj\"]"), "$.weight F8_E4M3 4,4",
     "note: 1 weight of a type for codes has no scales and is taken at face value, the first is '" UP ".weight'\n"},
    /* Names that only look so, in a model that is not quantised. */
    {NULL, "norm.scale F32 4\nattn.k_scale F32 1\ninput_scale F32 1\nx.scales F16 3\nposition_ids I64 1,4", ""},
};

START_TEST(found)
{
    const struct good *const g = &goods[_i];
    organ_model *model;
    organ_weights *weights;
    organ_error error = {0};
    make(g->config, g->tensors);
    ck_assert_msg(rig_find(&model, &weights, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_str_eq(rig_text(weights), g->found);
    size_t packed = 0;
    for (size_t k = 0; k < weights->count; k++) {
        packed += weights->weights[k].scheme != ORGAN_SCHEME_PLAIN;
        ck_assert_ptr_eq(organ_weights_named(weights, weights->weights[k].name), &weights->weights[k]);
        ck_assert(k == 0 || weights->weights[k - 1].codes < weights->weights[k].codes);
    }
    ck_assert_uint_eq(packed, weights->packed);
    ck_assert_ptr_null(organ_weights_named(weights, "nothing"));
    organ_weights_free(weights);
    organ_model_close(model);
}
END_TEST

Suite *weights_suite(void);
Suite *weights_suite(void)
{
    Suite *const suite = suite_create("weights");
    TCase *const tcase = tcase_create("found");
    tcase_add_checked_fixture(tcase, scratch_begin, scratch_end);
    tcase_add_loop_test(tcase, found, 0, COUNT(goods));
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    SRunner *const runner = srunner_create(weights_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
