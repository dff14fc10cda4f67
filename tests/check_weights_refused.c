/* SPDX-License-Identifier: MIT
 * Tests of quantised models that are wrong or that cannot be read: each with what must be said of it. */
#include "tests/check_weights.h"
#include "tests/scratch_model.h"
#include "tests/weights_rig.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define UP "model.layers.0.mlp.up_proj"

#define PACKED4 "$.weight_packed I32 64,32\n$.weight_scale BF16 64,2\n"
#define QWEIGHT "$.qweight I32 32,96\n$.qzeros I32 2,12\n$.scales F16 2,96\n"

static const struct bad {
    const char *config, *tensors;
    const char *fragments[4];
} bads[] = {
    /* grids of FP8 */
    {FP8(BLOCK128),
     "$.weight F8_E4M3 576,512\n$.weight_scale_inv F32 4,4",
     {"model.safetensors: tensor '" UP ".weight_scale_inv' has shape [4, 4]",
      "[576, 512] in blocks of 128 x 128 (config.json) needs [5, 4]"}},
    {FP8(BLOCK128), "$.weight F8_E4M3 256,512\n$.weight_scale_inv F32 1,4", {"has shape [1, 4]", "needs [2, 4]"}},
    {FP8(BLOCK128), "$.weight F8_E4M3 256,512\n$.weight_scale_inv F32 2,3", {"has shape [2, 3]", "needs [2, 4]"}},
    {FP8(BLOCK128), "$.weight F8_E4M3 256,512\n$.weight_scale_inv F32 2,2", {"has shape [2, 2]", "needs [2, 4]"}},
    {FP8(BLOCK128), "$.weight F8_E4M3 130,512\n$.weight_scale_inv F32 1,4", {"has shape [1, 4]", "needs [2, 4]"}},
    {FP8(BLOCK128), "$.weight F8_E4M3 256,512\n$.weight_scale_inv F32 1,1", {"has shape [1, 1]", "needs [2, 4]"}},
    {FP8(BLOCK128), "$.weight F8_E4M3 256,512\n$.weight_scale_inv F32 0,4", {"has shape [0, 4]", "needs [2, 4]"}},
    {FP8(BLOCK128), "$.weight F8_E4M3 256,512\n$.weight_scale_inv F32 8", {"has shape [8]", "needs [2, 4]"}},
    {FP8(BLOCK128), "$.weight F8_E4M3 4,256,512\n$.weight_scale_inv F32 4,2,3", {"has shape [4, 2, 3]", "needs [2, 4] for each matrix"}},
    {FP8(BLOCK128), "$.weight F8_E4M3 4,256,512\n$.weight_scale_inv F32 3,2,4", {"has shape [3, 2, 4]", "[4, 256, 512]"}},
    {FP8(BLOCK128), "$.weight F8_E4M3 4,512\n$.weight_scale_inv F32 4", {"has shape [4]", "needs [1, 4]"}},
    {NULL,
     "$.weight F8_E4M3 130,512\n$.weight_scale_inv F32 2,4",
     {"has shape [2, 4]", "[130, 512]", "cannot be told from that, and no config says it"}},
    {NULL, "$.weight F8_E4M3 576,512\n$.weight_scale_inv F32 5,4", {"has shape [5, 4]", "[576, 512]", "no config says it"}},
    {NULL, "$.weight F8_E4M3 256,512\n$.weight_scale_inv F32 1,512", {"has shape [1, 512]"}},
    {NULL, "$.weight F8_E4M3 0,512\n$.weight_scale_inv F32 1", {"'" UP ".weight' has no elements"}},
    {FP8(BLOCK128),
     "$.weight F8_E4M3 256,512",
     {"'" UP ".weight' is F8_E4M3 and quantised (config.json: fp8)", "no '" UP ".weight_scale_inv'"}},
    {FP8(BLOCK128),
     "$.weight F8_E4M3 256,512\n$.weight_scale_inv I32 2,4",
     {"'" UP ".weight_scale_inv' is I32, but the scales of F8_E4M3 codes are F32 or BF16 or F16 or F8_E8M0"}},
    {FP8(BLOCK128), "$.weight F8_E4M3 256,512\n$.weight_scale_inv U8 2,4", {"is U8, but the scales of F8_E4M3 codes are"}},
    {FP8(BLOCK128),
     "$.weight F8_E4M3 256,512\n$.weight_scale_inv F32 2,4\n$.weight_scale F32 2,4",
     {"has two scales, '" UP ".weight_scale_inv' and '" UP ".weight_scale'"}},
    {NULL, "$.weight F4 64,64\n$.weight_scale F8_E4M3 64,4", {"'" UP ".weight' is F4 and has a scale, '" UP ".weight_scale': no scheme"}},
    {"{\"quantization_config\":{\"quant_method\":\"quark\"}}",
     "$.weight I32 64,8\n$.weight_scale F32 64,1",
     {"'" UP ".weight' is I32 and has a scale, '" UP ".weight_scale': no scheme"}},
    {"{\"quantization_config\":{\"quant_method\":\"eetq\"}}",
     "$.weight I8 64,8\n$.weight_scales F16 64",
     {"config.json: quant_method is 'eetq', a method whose tensors ('" UP ".weight') cannot be read"}},
    /* INT8 */
    {NULL, "$.weight I8 64,32\n$.weight_scale I8 64,1", {"is I8, but the scales of I8 codes are F32 or BF16 or F16"}},
    {NULL,
     "$.weight I8 64,32\n$.weight_scale F32 64,1\n$.weight_zero_point I32 64,1",
     {"'" UP ".weight_zero_point' is I32, but the zero points of I8 codes are I8"}},
    {NULL, "$.weight I8 64,32\n$.weight_scale F32 64,1\n$.weight_zero_point I8 1", {"has shape [1]", "needs [64, 1]"}},
    {WORDS(8, ",\"group_size\":16"),
     "$.weight I8 64,32\n$.weight_scale F32 32,2",
     {"has shape [32, 2]", "[64, 32] with group_size 16 (config.json) has a row of scales for each row"}},
    /* pack-quantized */
    {WORDS(4, ""), PACKED4, {"'" UP ".weight_packed' misses a companion: there is no '" UP ".weight_shape'"}},
    {WORDS(4, ""), "$.weight_packed I32 64,32\n$.weight_shape I64 2=64,256", {"misses a companion: there is no '" UP ".weight_scale'"}},
    {WORDS(4, ""),
     PACKED4 "$.weight_shape I64 2=64,264",
     {"'" UP ".weight_packed' has 32 words in a row", "264 codes ('" UP ".weight_shape') of 4 bits (config.json) need 33"}},
    {WORDS(4, ""), PACKED4 "$.weight_shape I64 2=64,248", {"has 32 words in a row", "248 codes", "need 31"}},
    {WORDS(4, ""), PACKED4 "$.weight_shape I64 2=65,256", {"'" UP ".weight_shape' says axis 0 is 65, but '" UP ".weight_packed' has 64"}},
    {WORDS(4, ""), PACKED4 "$.weight_shape I64 2=64,-256", {"says axis 1 is -256, not a number from 1"}},
    {WORDS(4, ""), PACKED4 "$.weight_shape I64 2=64,0", {"says axis 1 is 0, not a number from 1"}},
    {WORDS(4, ""), PACKED4 "$.weight_shape I32 2=-64,256", {"says axis 0 is -64, not a number from 1"}},
    {WORDS(4, ""), PACKED4 "$.weight_shape I64 2=64,9223372036854775807", {"says that a row has 9223372036854775807 codes"}},
    {WORDS(4, ""), PACKED4 "$.weight_shape I64 3=64,256,1", {"'" UP ".weight_shape' has 3 numbers, but '" UP ".weight_packed' has 2 axes"}},
    {WORDS(4, ""), PACKED4 "$.weight_shape F32 2", {"is F32, but I64 or I32 is expected"}},
    {WORDS(4, ""),
     "$.weight_packed I32 2048\n$.weight_scale BF16 64,2\n$.weight_shape I64 2=64,256",
     {"has 1 axes, but a matrix or a stack of them is expected"}},
    {WORDS(4, ""),
     "$.weight_packed I16 64,64\n$.weight_scale BF16 64,2\n$.weight_shape I64 2=64,256",
     {"is I16, but packed weights are I32 or U8"}},
    {WORDS(4, ",\"group_size\":128"),
     "$.weight_packed I32 64,32\n$.weight_scale BF16 63,2\n$.weight_shape I64 2=64,256",
     {"has shape [63, 2]", "[64, 256] with group_size 128"}},
    {WORDS(4, ",\"group_size\":128"),
     "$.weight_packed I32 64,64\n$.weight_scale BF16 64,3\n$.weight_shape I64 2=64,512",
     {"has 3 groups for 512 columns, but group_size 128 of config.json makes them 4"}},
    {NULL,
     "$.weight_packed I32 64,64\n$.weight_scale BF16 64,3\n$.weight_shape I64 2=64,512",
     {"has 3 groups for 512 columns", "no config says it"}},
    {NULL, "$.weight_packed I32 64,32\n$.weight_scale BF16 32,2\n$.weight_shape I64 2=64,256", {"has shape [32, 2]", "needs [64, 2]"}},
    {WORDS(4, ",\"group_size\":128"),
     PACKED4 "$.weight_shape I64 2=64,256\n$.weight_zero_point I32 64,2",
     {"'" UP ".weight_zero_point' has shape [64, 2]", "needs [8, 2]"}},
    {WORDS(4, ",\"group_size\":128"),
     PACKED4 "$.weight_shape I64 2=64,256\n$.weight_zero_point I32 8,3",
     {"has shape [8, 3]", "needs [8, 2]"}},
    {WORDS(4, ",\"group_size\":128"), PACKED4 "$.weight_shape I64 2=64,256\n$.weight_zero_point I8 64,2", {"is I8, but I32 is expected"}},
    {WORDS(4, ""),
     "$.weight_packed I32 64,32\n$.weight_scale BF16 1\n$.weight_shape I64 2=64,256\n$.weight_zero_point I32 8,1",
     {"are zero points, but the scales are not for groups or rows"}},
    {WORDS(4, ",\"group_size\":128"),
     PACKED4 "$.weight_shape I64 2=64,256\n$.weight_g_idx I32 255",
     {"'" UP ".weight_g_idx' has shape [255]", "needs [256]"}},
    {WORDS(4, ",\"group_size\":128"), PACKED4 "$.weight_shape I64 2=64,256\n$.weight_g_idx F32 256", {"is F32, but I32 is expected"}},
    {WORDS(4, ",\"group_size\":128"),
     "$.weight_packed I32 64,32\n$.weight_scale F64 64,2\n$.weight_shape I64 2=64,256",
     {"is F64, but the scales of I32 codes are F16 or BF16 or F32"}},
    {WORDS(3, ""),
     "$.weight_packed I32 8,4\n$.weight_scale BF16 8,1\n$.weight_shape I64 2=8,33",
     {"codes of 3 bits running across them as without: which it is cannot be told"}},
    {WORDS(3, ""),
     "$.weight_packed I32 32,384\n$.weight_scale BF16 32,32\n$.weight_shape I64 2=32,4096\n$.weight_zero_point I32 4,32",
     {"'" UP ".weight_zero_point' is packed in another way than '" UP ".weight_packed'"}},
    {NULL,
     "$.weight_packed I32 8,1\n$.weight_scale BF16 8,1\n$.weight_shape I64 2=8,4",
     {"has 1 words in a row for 4 codes: no config says of how many bits, and several numbers are possible"}},
    {NULL, "$.weight_packed I32 8,9\n$.weight_scale BF16 8,1\n$.weight_shape I64 2=8,4", {"no number makes so many"}},
    {NULL,
     "$.weight_packed I32 64,4\n$.meta I16 4,4\n$.scale_packed F16 2",
     {"'" UP ".scale_packed' belongs to a weight in the layout 'marlin-24', which cannot be read"}},
    {NULL, "$.compressed BF16 64\n$.bitmask U8 4,4", {"in the layout 'sparse-bitmask'"}},
    {NULL, "$.B I32 16,64\n$.s F16 2,32", {"in the layout 'marlin'"}},
    {NULL, "$.weight U8 64,1\n$.weight.absmax F32 4", {"in the layout 'bitsandbytes'"}},
    {WORDS(4, ",\"symmetric\":false"),
     PACKED4 "$.weight_shape I64 2=64,256",
     {"'" UP ".weight_packed' is asymmetric (config.json), but there is no '" UP ".weight_zero_point'"}},
    {WORDS(8, ",\"symmetric\":false"),
     "$.weight I8 64,32\n$.weight_scale F32 64,1",
     {"'" UP ".weight' is asymmetric (config.json), but there is no '" UP ".weight_zero_point'"}},
    /* floats of 4 bits */
    {NULL, "$.weight_packed U8 64,32", {"has no scales: there is no '" UP ".weight_scale'"}},
    {NULL,
     "$.weight_packed U8 64,32\n$.weight_scale F8_E4M3 64,4",
     {"is NVFP4, but its tensor scale is missing: there is no '" UP ".weight_global_scale' and no '" UP ".weight_scale_2'"}},
    {NULL,
     "$.weight_packed U8 64,32\n$.weight_scale F8_E4M3 64,4\n$.weight_global_scale F32 1\n$.weight_scale_2 F32 1",
     {"has two tensor scales"}},
    {NULL,
     "$.weight_packed U8 64,32\n$.weight_scale F8_E4M3 64,4\n$.weight_global_scale BF16 1",
     {"is BF16, but a tensor scale of NVFP4 is F32"}},
    {NULL, "$.weight_packed U8 64,32\n$.weight_scale F8_E4M3 64,4\n$.weight_global_scale F32 2", {"has 2 values, but one is expected"}},
    {NULL,
     "$.weight_packed U8 64,32\n$.weight_scale F8_E4M3 64,3\n$.weight_global_scale F32 1",
     {"has shape [64, 3]", "[64, 64] needs [64, 4]"}},
    {NULL, "$.weight_packed U8 64,32\n$.weight_scale F8_E4M3 63,4\n$.weight_global_scale F32 1", {"has shape [63, 4]", "needs [64, 4]"}},
    {NULL,
     "$.weight_packed U8 64,32\n$.weight_scale BF16 64,4",
     {"is BF16, but the scales of 4-bit floats are F8_E4M3 (NVFP4), U8 or F8_E8M0 (MXFP4)"}},
    {NULL, "$.weight_packed U8 64,17\n$.weight_scale U8 64,1", {"has 34 codes in a row, which is no multiple of 32"}},
    {NULL, "$.weight_packed U8 64,32\n$.weight_scale U8 64,1", {"has shape [64, 1]", "needs [64, 2]"}},
    {NULL, "$.weight_packed U8 64,48\n$.weight_scale U8 64,2", {"in the layout mxfp6-pack-quantized, which cannot be read"}},
    {NULL, "$.weight_packed U8 64,0\n$.weight_scale U8 64,0", {"has no elements"}},
    {NULL, "$.weight I8 64,32\n$.scale F8_E8M0 64,1", {"has shape [64, 1]", "needs [64, 2]"}},
    {NULL, "$.weight U8 64,32\n$.weight_scale F32 64,1", {"is F32, but the scales of 4-bit floats are"}},
    {NULL, "$_blocks U8 4,96,2,16\n$.x F32 1", {"has no scales: there is no '" UP "_scales'"}},
    {NULL, "$_blocks U8 4,96,2,16\n$_scales U8 4,96,3", {"'" UP "_scales' has shape [4, 96, 3]", "needs [4, 96, 2]"}},
    {NULL, "$_blocks U8 4,96,2,16\n$_scales F32 4,96,2", {"is F32, but the scales of U8 codes are U8 or F8_E8M0"}},
    {NULL, "$_blocks U8 4,0,2,16\n$_scales U8 4,0,2", {"weight of shape [4, 64, 0], which cannot be"}},
    /* GPTQ */
    {GPTQ4, "$.qweight I32 32,96\n$.qzeros I32 2,12", {"'" UP ".qweight' misses a companion: there is no '" UP ".scales'"}},
    {GPTQ4, "$.qweight I32 32,96\n$.scales F16 2,96", {"misses a companion: there is no '" UP ".qzeros'"}},
    {GPTQ4,
     "$.qweight I32 32,96\n$.qzeros I32 2,11\n$.scales F16 2,96",
     {"has shape [32, 96], qzeros [2, 11], scales [2, 96]: codes of 4 bits cannot be packed so"}},
    {GPTQ4, "$.qweight I32 32,96\n$.qzeros I32 2,24\n$.scales F16 2,96", {"qzeros [2, 24]", "codes of 4 bits cannot be packed so"}},
    {GPTQ4, "$.qweight I32 32,96\n$.qzeros I32 3,12\n$.scales F16 2,96", {"'" UP ".qzeros' has shape [3, 12]", "needs [2, 12]"}},
    {GPTQ4, "$.qweight I32 32,96\n$.qzeros I32 2,12\n$.scales F16 2,95", {"'" UP ".scales' has shape [2, 95]", "needs [2, 96]"}},
    {GPTQ4, QWEIGHT "$.g_idx I32 255", {"and a g_idx: codes of 4 bits cannot be packed so"}},
    {GPTQ4, QWEIGHT "$.g_idx F32 256", {"'" UP ".g_idx' is F32, but I32 is expected"}},
    {GPTQ4, "$.qweight I32 32,96\n$.qzeros F32 2,12\n$.scales F16 2,96", {"'" UP ".qzeros' is F32, but I32 is expected"}},
    {GPTQ4, "$.qweight I32 32,96\n$.qzeros I32 2,12\n$.scales F64 2,96", {"'" UP ".scales' is F64"}},
    {GPTQ4,
     "$.qweight I32 48,96\n$.qzeros I32 5,12\n$.scales F16 5,96",
     {"'" UP ".scales' has 5 groups for 384 columns, but group_size 128 of config.json makes them 3"}},
    {GPTQ4,
     "$.qweight I32 32,96\n$.qzeros I32 24\n$.scales F16 2,96",
     {"'" UP ".qzeros' has 1 axes and 24 elements, but a matrix is expected"}},
    {GPTQ(",\"bits\":6"),
     "$.qweight I32 48,96\n$.qzeros I32 2,18\n$.scales F16 2,96",
     {"has codes of 6 bits: the bit-plane layout of GPTQ cannot be read"}},
    {GPTQ(",\"checkpoint_format\":\"marlin\""),
     QWEIGHT,
     {"'" UP ".qweight' is in the layout 'marlin' (config.json), which cannot be read"}},
    {GPTQ(",\"is_marlin_format\":true"), QWEIGHT, {"in the layout 'marlin'"}},
    {GPTQ(",\"checkpoint_format\":\"bitblas\""), QWEIGHT, {"in the layout 'bitblas'"}},
    {GPTQ(",\"format\":\"gptq_p\""), QWEIGHT, {"in the layout 'gptq_p'"}},
    {GPTQ(",\"pack_dtype\":\"int64\""), QWEIGHT, {"is packed in 'int64' (pack_dtype, config.json), which cannot be read: only int32 can"}},
    {GPTQ4,
     "$.qweight I8 32,96\n$.scales F16 2,96",
     {"is I8: codes of GPTQ and AWQ can only be read from I32 words (this may be the layout of bitblas)"}},
    {NULL, QWEIGHT "$.weight BF16 96,256", {"are both the weight '" UP ".weight'"}},
    /* AWQ */
    {AWQ(",\"version\":\"exllama\""), QWEIGHT, {"in the layout 'exllama'"}},
    {AWQ(",\"version\":\"GEMV_FAST\""), "$.qweight I16 24,256\n$.scales F16 2,96\n$.qzeros F16 2,96", {"in the layout 'gemv_fast'"}},
    {AWQ(",\"version\":\"marlin\""), QWEIGHT, {"in the layout 'marlin'"}},
    {AWQ(",\"version\":\"gemm\""),
     "$.qweight I32 256,12\n$.qzeros I32 2,12\n$.scales F16 2,95",
     {"'" UP ".scales' has shape [2, 95]", "[96, 256] needs [2, 96]"}},
    {AWQ(",\"version\":\"gemm\""),
     "$.qweight I32 256,12\n$.qzeros I32 2,11\n$.scales F16 2,96",
     {"'" UP ".qzeros' has shape [2, 11]", "needs [2, 12]"}},
    {AWQ(",\"version\":\"gemm\",\"group_size\":128"),
     "$.qweight I32 256,12\n$.qzeros I32 3,12\n$.scales F16 3,96",
     {"has 3 groups for 256 columns"}},
    {AWQ(",\"version\":\"gemv\",\"group_size\":64"),
     "$.qweight I32 96,32\n$.qzeros I32 96,1\n$.scales F16 96,8",
     {"'" UP ".qzeros' has shape [96, 1]", "needs [96, 2]"}},
    {AWQ(",\"version\":\"gemv\",\"group_size\":96"),
     "$.qweight I32 96,32\n$.qzeros I32 96,2\n$.scales F16 96,16",
     {"has 256 columns, which is no multiple of group_size 96"}},
    {AWQ(",\"version\":\"gemv\""),
     "$.qweight I32 96,32\n$.qzeros I32 96,2\n$.scales F16 96,16",
     {"is AWQ gemv, whose group_size only a config can tell"}},
    {"{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":8,\"version\":\"gemm\"}}",
     "$.qweight I32 256,12\n$.qzeros I32 2,12\n$.scales F16 2,96",
     {"is AWQ of 8 bits (config.json), which cannot be read: only 4 can"}},
    /* what nobody knows */
    {"{\"quantization_config\":{\"quant_method\":\"bitsandbytes\"}}",
     "$.weight U8 64,32",
     {"config.json: quant_method is 'bitsandbytes', a method whose tensors ('" UP ".weight') cannot be read"}},
    /* the config */
    {WORDS(0, ""),
     PACKED4,
     {"config.json: quantization_config.config_groups.group_0.weights.num_bits is 0, not a whole number from 1 to 8"}},
    {WORDS(9, ""), PACKED4, {"num_bits is 9, not"}},
    {WORDS(33, ""), PACKED4, {"num_bits is 33, not"}},
    {WORDS(4.0, ""), PACKED4, {"num_bits is 4.0, not"}},
    {WORDS("4", ""), PACKED4, {"num_bits is \"4\", not"}},
    {WORDS(4, ",\"group_size\":0"), PACKED4, {"weights.group_size is 0, not -1 or a whole number from 1"}},
    {WORDS(4, ",\"group_size\":-2"), PACKED4, {"weights.group_size is -2, not"}},
    {WORDS(4, ",\"group_size\":\"128\""), PACKED4, {"weights.group_size is \"128\", not"}},
    {WORDS(4, ",\"strategy\":\"group\""), PACKED4, {"weights.strategy is \"group\", but there is no group_size above 0"}},
    {WORDS(4, ",\"strategy\":\"block\""), PACKED4, {"weights.strategy is \"block\", but there is no block_structure"}},
    {WORDS(4, ",\"strategy\":\"heap\""), PACKED4, {"weights.strategy is \"heap\", not a strategy that is known"}},
    {WORDS(4, ",\"symmetric\":1"), PACKED4, {"weights.symmetric is 1, not true or false"}},
    {"{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{\"weights\":{\"num_bits\":4,\"type\":"
     "\"bool\"}}}}}",
     PACKED4,
     {"config_groups.g.weights.type is \"bool\", not \"int\" or \"float\""}},
    {GPTQ(",\"bits\":0"), QWEIGHT, {"config.json: quantization_config.bits is 0, not a whole number from 1 to 8"}},
    {GPTQ(",\"bits\":9"), QWEIGHT, {"quantization_config.bits is 9, not"}},
    {GPTQ(",\"bits\":33"), QWEIGHT, {"quantization_config.bits is 33, not"}},
    {GPTQ(",\"group_size\":0"), QWEIGHT, {"quantization_config.group_size is 0, not -1 or a whole number from 1"}},
    {GPTQ(",\"sym\":\"yes\""), QWEIGHT, {"quantization_config.sym is \"yes\", not true or false"}},
    {GPTQ(",\"checkpoint_format\":3"), QWEIGHT, {"quantization_config.checkpoint_format is 3, not a string"}},
    {GPTQ(",\"dynamic\":[]"), QWEIGHT, {"quantization_config.dynamic is [], not an object"}},
    {GPTQ(",\"dynamic\":{\"+:x\":{\"bits\":99}}"), QWEIGHT, {"quantization_config.dynamic.+:x.bits is 99, not"}},
    {GPTQ(",\"dynamic\":{\"+:(\":{}}"), QWEIGHT, {"'(' is no pattern: missing closing parenthesis"}},
    {FP8(",\"weight_block_size\":[0,128]"),
     "$.weight F8_E4M3 2,2",
     {"quantization_config.weight_block_size is [0,128], not a list of two whole numbers from 1"}},
    {FP8(",\"weight_block_size\":[128,-128]"), "$.weight F8_E4M3 2,2", {"weight_block_size is [128,-128], not"}},
    {FP8(",\"weight_block_size\":[128]"), "$.weight F8_E4M3 2,2", {"weight_block_size is [128], not"}},
    {FP8(",\"weight_block_size\":128"), "$.weight F8_E4M3 2,2", {"weight_block_size is 128, not"}},
    {FP8(",\"scale_fmt\":8"), "$.weight F8_E4M3 2,2", {"quantization_config.scale_fmt is 8, not a string"}},
    {FP8(",\"modules_to_not_convert\":\"lm_head\""),
     "$.weight F8_E4M3 2,2",
     {"modules_to_not_convert is \"lm_head\", not a list of strings"}},
    {FP8(",\"modules_to_not_convert\":[1]"), "$.weight F8_E4M3 2,2", {"modules_to_not_convert is 1, not a string"}},
    {WORDS(4, ""), "$.weight_packed I32 1,1", {"misses"}},
    {"{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"ignore\":[\"re:*\"]}}",
     "$.weight F8_E4M3 2,2",
     {"config.json: quantization_config.ignore: '*' is no pattern"}},
    {"{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":[]}}",
     "$.weight F8_E4M3 2,2",
     {"quantization_config.config_groups is [], not an object"}},
    {"{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":7}}}",
     "$.weight F8_E4M3 2,2",
     {"quantization_config.config_groups.g is 7, not an object"}},
    {"{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{\"targets\":[\"re:(a+)+$\"],\"weights\":{"
     "\"num_bits\":4}}}}}",
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab.weight_packed I32 "
     "1,1\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab.weight_scale F32 1\n"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab.weight_shape I64 2=1,8",
     {"config.json: pattern '(a+)+$' takes too long to match 'aaaa"}},
};

static void check_bad(const struct bad *b)
{
    const int before = open_files();
    organ_model *model;
    organ_weights *weights;
    organ_error error = {0};
    rig_model(b->config, b->tensors);
    ck_assert_msg(rig_find(&model, &weights, &error) == ORGAN_BAD_INPUT, "%s\n%d: %s", b->tensors, (int)error.status, error.message);
    ck_assert_ptr_null(weights);
    for (size_t k = 0; k < COUNT(b->fragments) && b->fragments[k]; k++)
        ck_assert_msg(strstr(error.message, b->fragments[k]), "no \"%s\" in: %s", b->fragments[k], error.message);
    organ_model_close(model);
    ck_assert_int_eq(open_files(), before);
}

START_TEST(refused)
{
    for (size_t k = (size_t)_i * ROWS; k < COUNT(bads) && k < ((size_t)_i + 1) * ROWS; k++)
        check_bad(&bads[k]);
}
END_TEST

Suite *weights_refused_suite(void)
{
    Suite *const suite = suite_create("weights refused");
    TCase *const tcase = tcase_create("refused");
    tcase_add_checked_fixture(tcase, scratch_begin, scratch_end);
    tcase_add_loop_test(tcase, refused, 0, (COUNT(bads) + ROWS - 1) / ROWS);
    suite_add_tcase(suite, tcase);
    return suite;
}
