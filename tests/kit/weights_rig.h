/* SPDX-License-Identifier: MIT
 * Models described by words for tests of weights: headers, and the few values that are read. */
#ifndef ORGAN_TEST_WEIGHTS_RIG_H
#define ORGAN_TEST_WEIGHTS_RIG_H

#include <organ/weights.h>

/* Configs of common quantisers; `more` is added to the object with the numbers. */
#define WORDS(bits, more)                                                                                              \
    "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_"        \
    "groups\":{\"group_0\":{"                                                                                          \
    "\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":" #bits ",\"type\":\"int\"" more                               \
    "}}},\"ignore\":[\"lm_head\"]}}"
#define FP8(more)  "{\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\"" more "}}"
#define BLOCK128   ",\"weight_block_size\":[128,128]"
#define GPTQ(more) "{\"quantization_config\":{\"quant_method\":\"gptq\"" more "}}"
#define GPTQ4      GPTQ(",\"bits\":4,\"group_size\":128")
#define AWQ(more)  "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4" more "}}"
#define BNB        "{\"quantization_config\":{\"quant_method\":\"bitsandbytes\"}}"
#define QUARK_CODES(type)                                                                                              \
    "{\"quantization_config\":{\"quant_method\":\"quark\",\"global_quant_config\":{\"weight\":{\"dtype\":\"" type      \
    "\"}}}}"
#define AUTO_ROUND_CODES(type)                                                                                         \
    "{\"quantization_config\":{\"quant_method\":\"auto-round\",\"bits\":4,\"group_size\":32,\"data_type\":\"" type     \
    "\"}}"
#define MLX_MORE(bits, group, more) "{\"quantization\":{\"group_size\":" #group ",\"bits\":" #bits more "}}"
#define MLX(bits, group)            MLX_MORE(bits, group, "")

/* Writes a safetensors file into the scratch directory. `tensors` has a line for each tensor: "NAME DTYPE 4096,32",
 * optionally followed by "=1,2" for its values, or "={}" for those of a JSON text without spaces. "$" is
 * "model.layers.0.mlp.up_proj". */
void rig_tensors(const char *file, const char *tensors);

/* Number of rows per test: a process for each row would be slow under sanitizers. */
#define ROWS 16

/* Makes a model of one file and, if `config` is not NULL, config.json, in place of the one before. */
void rig_model(const char *config, const char *tensors);

/* Opens the model in the scratch directory and finds its weights. */
organ_status rig_find(organ_model **model, organ_weights **weights, organ_error *error);

/* Returns the weights that were found except plain ones: a line for each weight, stray tensor and note, in a static
 * buffer. */
const char *rig_text(const organ_weights *weights);

#endif
