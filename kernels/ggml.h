/* SPDX-License-Identifier: MIT
 * Bodies over GGUF's storage types that are the same on every ISA, and the numbers of these types. */
#ifndef ORGAN_KERNELS_GGML_H
#define ORGAN_KERNELS_GGML_H
#include "kernels/kernels.h"

enum ggml_type {
    GGML_F32 = 0,
    GGML_F16 = 1,
    GGML_Q4_0 = 2,
    GGML_Q4_1 = 3,
    GGML_Q5_0 = 6,
    GGML_Q5_1 = 7,
    GGML_Q8_0 = 8,
    GGML_Q2_K = 10,
    GGML_Q3_K = 11,
    GGML_Q4_K = 12,
    GGML_Q5_K = 13,
    GGML_Q6_K = 14,
    GGML_IQ2_XXS = 16,
    GGML_IQ2_XS = 17,
    GGML_IQ3_XXS = 18,
    GGML_IQ1_S = 19,
    GGML_IQ4_NL = 20,
    GGML_IQ3_S = 21,
    GGML_IQ2_S = 22,
    GGML_IQ4_XS = 23,
    GGML_I8 = 24,
    GGML_I16 = 25,
    GGML_I32 = 26,
    GGML_I64 = 27,
    GGML_F64 = 28,
    GGML_IQ1_M = 29,
    GGML_BF16 = 30,
    GGML_TQ1_0 = 34,
    GGML_TQ2_0 = 35,
    GGML_MXFP4 = 39,
    GGML_NVFP4 = 40,
    GGML_Q1_0 = 41,
    GGML_Q2_0 = 42
};

/* ggml_plain.c: types without blocks */
organ_dequantize organ_dequantize_f32, organ_dequantize_f64, organ_dequantize_i8, organ_dequantize_i16, organ_dequantize_i32,
    organ_dequantize_i64;
organ_quantize organ_quantize_f32;

#endif
