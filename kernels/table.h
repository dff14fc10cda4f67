/* SPDX-License-Identifier: MIT
 * The kernels of an instruction set: DECLARE_KERNELS declares its functions, KERNEL_TABLE is the value of its table. In
 * the lists, X(set, ...) stands for one kernel. The tables also have the encoders of blocks (encoders.h). */
#ifndef ORGAN_KERNELS_TABLE_H
#define ORGAN_KERNELS_TABLE_H
#include "kernels/ggml.h"

/* The function of an instruction set with this name. */
#define KERNEL_OF(set, name) organ_##set##_##name

/* Members of organ_kernels that are one function each; those of MATH_KERNELS and the physarum kernels call SLEEF. */
#define PLAIN_KERNELS(X, set)                                                                                          \
    X(set, bf16_to_f32)                                                                                                \
    X(set, f16_to_f32)                                                                                                 \
    X(set, f32_to_bf16)                                                                                                \
    X(set, f32_to_f16)                                                                                                 \
    X(set, moments_bf16)                                                                                               \
    X(set, moments_f16)                                                                                                \
    X(set, moments_f32)                                                                                                \
    X(set, zeros_16)                                                                                                   \
    X(set, zeros_32)                                                                                                   \
    X(set, audit_16)                                                                                                   \
    X(set, audit_32)                                                                                                   \
    X(set, count_codes)                                                                                                \
    X(set, pair_means_bf16)                                                                                            \
    X(set, pair_means_f16)                                                                                             \
    X(set, pair_means_f32)                                                                                             \
    X(set, spread)                                                                                                     \
    X(set, z_bins)                                                                                                     \
    X(set, haar_purify)                                                                                                \
    X(set, amax)                                                                                                       \
    X(set, search_scales)                                                                                              \
    X(set, scale_errors)                                                                                               \
    X(set, error_squares)                                                                                              \
    X(set, recurrence)                                                                                                 \
    X(set, product)                                                                                                    \
    X(set, dot_f64)                                                                                                    \
    X(set, add_scaled_f64)                                                                                             \
    X(set, cholesky_f32)                                                                                               \
    X(set, solve_f32)                                                                                                  \
    X(set, fit_affine)                                                                                                 \
    X(set, code_columns)                                                                                               \
    X(set, refit_scales)                                                                                               \
    X(set, transpose)                                                                                                  \
    X(set, search_weighted)                                                                                            \
    X(set, round_integers)                                                                                             \
    X(set, round_e4m3)                                                                                                 \
    X(set, round_e2m1)                                                                                                 \
    X(set, count_magnitudes)                                                                                           \
    X(set, find_magnitudes)                                                                                            \
    X(set, keep_magnitudes)                                                                                            \
    X(set, philox_uniform)                                                                                             \
    X(set, absolute_sums)                                                                                              \
    X(set, all_finite)                                                                                                 \
    X(set, subtract)                                                                                                   \
    X(set, merge_differences)                                                                                          \
    X(set, square_sums)
#define MATH_KERNELS(X, set)                                                                                           \
    X(set, selective_scan)                                                                                             \
    X(set, gate_silu)                                                                                                  \
    X(set, gate_gelu_tanh)                                                                                             \
    X(set, gate_gelu)                                                                                                  \
    X(set, softcap)                                                                                                    \
    X(set, powers_of)                                                                                                  \
    X(set, softplus)                                                                                                   \
    X(set, exp_below)                                                                                                  \
    X(set, exp_sum) X(set, smaller_exp_sum) X(set, divergence) X(set, entropy) X(set, raised_divergence)
/* Formats of codes with an encoder; all formats. */
#define ENCODED(X, set)                                                                                                \
    X(set, E4M3, e4m3) X(set, E5M2, e5m2) X(set, I8, i8) X(set, U8, u8) X(set, U4, u4) X(set, E2M1, e2m1)
#define DECODED(X, set) ENCODED(X, set) X(set, E4M3FNUZ, e4m3fnuz) X(set, E5M2FNUZ, e5m2fnuz)

#define DECLARE_MEMBER(set, name)           extern __typeof__(*((organ_kernels *)0)->name) KERNEL_OF(set, name);
#define DECLARE_BLOCK(set, type, name, ...) extern organ_dequantize_blocks KERNEL_OF(set, dequantize_##name);
#define DECLARE_QUANTIZER(set, type, name)  extern organ_quantize_blocks KERNEL_OF(set, quantize_##name);
#define DECLARE_DECODERS(set, code, name)                                                                              \
    extern organ_decode_codes KERNEL_OF(set, decode_##name##_f32), KERNEL_OF(set, decode_##name##_bf16),               \
        KERNEL_OF(set, decode_##name##_f16);
#define DECLARE_ENCODER(set, code, name)                                                                               \
    extern organ_encode_codes KERNEL_OF(set, encode_##name);                                                           \
    extern organ_encode_summed KERNEL_OF(set, encode_##name##_summed);
/* `tile` is empty or the suffix (_mixed) of another implementation of the physarum tile with the same results. */
#define DECLARE_PHYSARUM(set, tile)                                                                                    \
    extern __typeof__(*((organ_kernels *)0)->physarum_bf16) KERNEL_OF(set, physarum_bf16##tile);                       \
    extern __typeof__(*((organ_kernels *)0)->physarum_f16) KERNEL_OF(set, physarum_f16##tile);                         \
    extern __typeof__(*((organ_kernels *)0)->physarum_f32) KERNEL_OF(set, physarum_f32##tile);
#define DECLARE_MATH(set)                                                                                              \
    MATH_KERNELS(DECLARE_MEMBER, set)                                                                                  \
    DECLARE_PHYSARUM(set, )
#define DECLARE_KERNELS(set)                                                                                           \
    DECLARE_MATH(set)                                                                                                  \
    PLAIN_KERNELS(DECLARE_MEMBER, set)                                                                                 \
    GGML_BLOCK_TYPES(DECLARE_BLOCK, set)                                                                               \
    DECLARE_BLOCK(set, , f16)                                                                                          \
    DECLARE_BLOCK(set, , bf16)                                                                                         \
    DECLARE_QUANTIZER(set, , f16)                                                                                      \
    DECLARE_QUANTIZER(set, , bf16)                                                                                     \
    DECODED(DECLARE_DECODERS, set)                                                                                     \
    extern organ_decode_levels KERNEL_OF(set, decode_levels_f32), KERNEL_OF(set, decode_levels_bf16),                  \
        KERNEL_OF(set, decode_levels_f16);                                                                             \
    ENCODED(DECLARE_ENCODER, set)

#define MEMBER_ROW(set, name)           .name = KERNEL_OF(set, name),
#define BLOCK_ROW(set, type, name, ...) [GGML_##type] = KERNEL_OF(set, dequantize_##name),
#define QUANTIZER_ROW(set, type, name)  [GGML_##type] = KERNEL_OF(set, quantize_##name),
#define FITTER_ROW(set, type, name)     [GGML_##type] = KERNEL_OF(set, fit_##name),
#define DECODER_ROW(set, code, name)                                                                                   \
    [ORGAN_CODE_##code] = {[ORGAN_REAL_F32] = KERNEL_OF(set, decode_##name##_f32),                                     \
                           [ORGAN_REAL_BF16] = KERNEL_OF(set, decode_##name##_bf16),                                   \
                           [ORGAN_REAL_F16] = KERNEL_OF(set, decode_##name##_f16)},
#define ENCODER_ROW(set, code, name) [ORGAN_CODE_##code] = KERNEL_OF(set, encode_##name),
#define SUMMED_ROW(set, code, name)  [ORGAN_CODE_##code] = KERNEL_OF(set, encode_##name##_summed),
/* The value of an organ_kernels with the name `label`, whose functions with SLEEF are those of the set `math`.
 * Functions named organ_dequantize_... and organ_quantize_... are the same in every table. */
#define KERNEL_TABLE(label, set, math, tile)                                                                           \
    {                                                                                                                  \
        .isa = label,                                                                                                  \
        PLAIN_KERNELS(MEMBER_ROW, set) MATH_KERNELS(MEMBER_ROW, math).physarum_bf16 =                                  \
            KERNEL_OF(math, physarum_bf16##tile),                                                                      \
        .physarum_f16 = KERNEL_OF(math, physarum_f16##tile), .physarum_f32 = KERNEL_OF(math, physarum_f32##tile),      \
        .dequantize = {GGML_BLOCK_TYPES(BLOCK_ROW, set) BLOCK_ROW(set, F16, f16)                                       \
                           BLOCK_ROW(set, BF16, bf16)[GGML_F32] = organ_dequantize_f32,                                \
                       [GGML_F64] = organ_dequantize_f64,                                                              \
                       [GGML_I8] = organ_dequantize_i8,                                                                \
                       [GGML_I16] = organ_dequantize_i16,                                                              \
                       [GGML_I32] = organ_dequantize_i32,                                                              \
                       [GGML_I64] = organ_dequantize_i64},                                                             \
        .quantize = {QUANTIZED(QUANTIZER_ROW, set) QUANTIZER_ROW(set, F16, f16)                                        \
                         QUANTIZER_ROW(set, BF16, bf16)[GGML_F32] = organ_quantize_f32},                               \
        .fit = {FITTED(FITTER_ROW, set)}, .decode = {DECODED(DECODER_ROW, set)},                                       \
        .decode_levels = {[ORGAN_REAL_F32] = KERNEL_OF(set, decode_levels_f32),                                        \
                          [ORGAN_REAL_BF16] = KERNEL_OF(set, decode_levels_bf16),                                      \
                          [ORGAN_REAL_F16] = KERNEL_OF(set, decode_levels_f16)},                                       \
        .encode = {ENCODED(ENCODER_ROW, set)}, .encode_summed = {ENCODED(SUMMED_ROW, set)},                            \
    }

#endif
