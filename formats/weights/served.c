/* SPDX-License-Identifier: MIT
 * The table of the kinds of rounded inputs. */
#include "formats/weights/served.h"

#include <string.h>

/* Tables are laid out by hand. */
/* clang-format off */

#define EMULATED "; transformers (emulated)"
#define VLLM_FP8 "vLLM on GPUs of compute capability 8.9 or later (older ones round no inputs)" EMULATED
#define VLLM_MX  "vLLM on GPUs of compute capability 10.0 or later (older ones round no inputs)" EMULATED
#define VLLM_INT "vLLM on GPUs of compute capability 7.5 or later" EMULATED

#define BY_TOKEN(of)  {.codes = ORGAN_INPUTS_##of, .span = ORGAN_INPUTS_TOKEN, .symmetric = true}
#define BY_TENSOR(of) {.codes = ORGAN_INPUTS_##of, .span = ORGAN_INPUTS_TENSOR, .symmetric = true}
#define BY_GROUP(of, size, real) \
    {.codes = ORGAN_INPUTS_##of, .span = ORGAN_INPUTS_GROUP, .scales = ORGAN_INPUT_SCALES_##real, .group = (size), \
     .symmetric = true}

/* A kind a row. */
static const organ_served_inputs kinds[] = {
    {.schemes = {"fp8-block128"}, .asked = "`activations.type` fp8", .declared = true,
     .rounding = BY_GROUP(E4M3, 128, REAL), .loaders = "vLLM" EMULATED},
    {.schemes = {"fp8-channel"}, .asked = "`activations.type` fp8", .declared = true,
     .rounding = BY_TOKEN(E4M3), .loaders = VLLM_FP8},
    {.schemes = {"fp8-tensor"}, .asked = "`activations.type` fp8", .declared = true,
     .instead = "scheme fp8-channel, `activations.scale` static",
     .rounding = BY_TOKEN(E4M3), .loaders = VLLM_FP8},
    {.schemes = {"fp8-channel"}, .asked = "`activations.type` fp8 `activations.scale` static",
     .instead = "scheme fp8-tensor, `activations.scale` dynamic",
     .rounding = BY_TENSOR(E4M3), .loaders = VLLM_FP8},
    {.schemes = {"fp8-tensor"}, .asked = "`activations.type` fp8 `activations.scale` static",
     .rounding = BY_TENSOR(E4M3), .loaders = VLLM_FP8},
    {.schemes = {"int8-channel"}, .asked = "`activations.type` int8", .declared = true,
     .rounding = BY_TOKEN(INT8), .loaders = VLLM_INT},
    {.schemes = {"int8-channel"}, .asked = "`activations.type` int8 `activations.scale` static",
     .instead = "scheme fp8-tensor, `activations.scale` dynamic",
     .rounding = BY_TENSOR(INT8), .loaders = VLLM_INT},
    {.schemes = {"int4-group128"}, .asked = "`activations.type` fp8", .one_group = true,
     .rounding = BY_TOKEN(E4M3), .loaders = "vLLM on GPUs of compute capability 9.0 only" EMULATED},
    {.schemes = {"int?-group*", "mixed"}, .asked = "`activations.type` int8",
     .rounding = BY_TOKEN(INT8),
     .experts = "vLLM multiplies experts by such activations only with 4 bits on Arm CPUs",
     .loaders = "vLLM from June 2026 on (Humming), on GPUs of compute capability 7.5 or later" EMULATED},
    {.schemes = {"nvfp4"}, .asked = "`activations`", .flag = true,
     .rounding = BY_GROUP(E2M1, 16, E4M3), .loaders = VLLM_MX},
    {.schemes = {"mxfp4"}, .asked = "`activations`", .flag = true,
     .rounding = BY_GROUP(E2M1, 32, E8M0), .loaders = VLLM_MX},
    {.schemes = {"mxfp4"}, .declared = true, .unasked = "mxfp4-pack-quantized",
     .rounding = BY_GROUP(E2M1, 32, E8M0),
     .loaders = "vLLM on GPUs of compute capability 10.0 or later; older ones and transformers round no inputs, and "
                "vLLM none of experts"},
    {.schemes = {"mxfp8"}, .asked = "`activations.type` fp8", .declared = true,
     .rounding = BY_GROUP(E4M3, 32, E8M0), .loaders = VLLM_MX}};

/* The types whose class in vLLM 0.32 passes the quantisation to embed_tokens. */
const char *const organ_served_embeddings[] = {
    "apertus", "deepseek_v2", "deepseek_v3", "ernie4_5", "ernie4_5_moe", "exaone4", "exaone_moe", "glm4",
    "glm4_moe_lite", "granite", "granitemoeshared", "hyperclovax", "internlm3", "iquestcoder", "laguna", "llama",
    "llama4", "llama4_text", "mimo_v2_flash", "minimax_m2", "ministral3", "mistral", "olmoe", "phi3", "qwen2",
    "qwen2_5_vl", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_vl", "qwen3_vl_moe", "stablelm", NULL};
/* clang-format on */
#define KINDS (sizeof kinds / sizeof *kinds)

const organ_served_inputs *organ_served_at(size_t k) { return k < KINDS ? &kinds[k] : NULL; }

const organ_served_inputs *organ_served_unasked(const char *format)
{
    for (size_t k = 0; k < KINDS; k++)
        if (kinds[k].unasked && strcmp(kinds[k].unasked, format) == 0)
            return &kinds[k];
    return NULL;
}

const organ_served_inputs *organ_served_undeclared(const organ_input_rounding *rounding)
{
    for (size_t k = 0; k < KINDS; k++)
        if (kinds[k].unasked && rounding == &kinds[k].rounding)
            return &kinds[k];
    return NULL;
}
