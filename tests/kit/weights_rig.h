/* SPDX-License-Identifier: MIT
 * Models of a few words for tests of the weights: headers, and the few values that are read. */
#ifndef ORGAN_TEST_WEIGHTS_RIG_H
#define ORGAN_TEST_WEIGHTS_RIG_H

#include "formats/weights/weights.h"

/* Configs of the usual makers; `more` goes into the object of numbers. */
#define WORDS(bits, more)                                                                                              \
    "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",\"config_"        \
    "groups\":{\"group_0\":{"                                                                                          \
    "\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":" #bits ",\"type\":\"int\"" more                               \
    "}}},\"ignore\":[\"lm_head\"]}}"
#define FP8(more)                   "{\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\"" more "}}"
#define BLOCK128                    ",\"weight_block_size\":[128,128]"
#define GPTQ(more)                  "{\"quantization_config\":{\"quant_method\":\"gptq\"" more "}}"
#define GPTQ4                       GPTQ(",\"bits\":4,\"group_size\":128")
#define AWQ(more)                   "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4" more "}}"
#define MLX_MORE(bits, group, more) "{\"quantization\":{\"group_size\":" #group ",\"bits\":" #bits more "}}"
#define MLX(bits, group)            MLX_MORE(bits, group, "")

/* Writes a safetensors file into the scratch directory. `tensors` has a line for each: "NAME DTYPE 4096,32", with
 * "=1,2" behind it for the numbers that it holds. "$" stands for "model.layers.0.mlp.up_proj". */
void rig_tensors(const char *file, const char *tensors);

/* Rows of a table that one test goes through: a process for each would take long under the sanitizers. */
#define ROWS 16

/* A model of one file, and its config.json where there is one; the one before is gone. */
void rig_model(const char *config, const char *tensors);

/* Opens what is in the scratch directory and finds its weights. */
organ_status rig_find(organ_model **model, organ_weights **weights, organ_error *error);

/* What was found, but for plain weights: a line for each weight, stray and note. In a static buffer. */
const char *rig_text(const organ_weights *weights);

#endif
