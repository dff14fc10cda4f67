/* SPDX-License-Identifier: MIT
 * Includes all kernels and defines KERNEL_TABLE, the table of kernels of one ISA. The including file has included the
 * operations of its ISA (simd/) before. */
#include <organ/kernels.h>
#include "kernels/elements.h"
#include "kernels/convert_types.h"
#include "kernels/compare.h"
#include "kernels/statistics.h"
#include "kernels/z_scan.h"
#include "kernels/haar.h"
#include "kernels/quotient.h"
#include "kernels/physarum.h"
#include "kernels/panel_product.h"
#include "kernels/vectors.h"
#include "kernels/recurrence.h"
#include "kernels/selective_scan.h"
#include "kernels/transcendental.h"
#include "kernels/ggml_blocks.h"
#include "kernels/ggml_codebook.h"
#include "kernels/ggml_rare.h"
#include "kernels/ggml_stream.h"
#include "kernels/ggml_quantize.h"
#include "kernels/fit_blocks.h"
#include "kernels/fit_k.h"
#include "kernels/codes.h"
#include "kernels/code_encoders.h"
#include "kernels/scale_search.h"
#include "kernels/coding.h"

/* Decoders by type number, then encoders, and encoders with a search for scales. Functions named organ_... are the same
 * in every table. */
#define DEQUANTIZER(name, type, number, block, elements) [number] = dequantize_##type##_stream,
#define DEQUANTIZERS                                                                                                   \
    {                                                                                                                  \
        GGML_BLOCK_TYPES(DEQUANTIZER)                                                                                  \
        [GGML_F16] = dequantize_f16, [GGML_BF16] = dequantize_bf16, [GGML_F32] = organ_dequantize_f32,                 \
        [GGML_F64] = organ_dequantize_f64, [GGML_I8] = organ_dequantize_i8, [GGML_I16] = organ_dequantize_i16,         \
        [GGML_I32] = organ_dequantize_i32, [GGML_I64] = organ_dequantize_i64,                                          \
    }
#define QUANTIZERS                                                                                                     \
    {                                                                                                                  \
        [GGML_F16] = quantize_f16, [GGML_BF16] = quantize_bf16, [GGML_F32] = organ_quantize_f32,                       \
        [GGML_Q4_0] = quantize_q4_0, [GGML_Q4_1] = quantize_q4_1, [GGML_Q5_0] = quantize_q5_0,                         \
        [GGML_Q5_1] = quantize_q5_1, [GGML_Q8_0] = quantize_q8_0,                                                      \
    }
#define FITTERS                                                                                                        \
    {                                                                                                                  \
        [GGML_Q4_0] = fit_q4_0, [GGML_Q4_1] = fit_q4_1, [GGML_Q5_0] = fit_q5_0, [GGML_Q5_1] = fit_q5_1,                \
        [GGML_Q8_0] = fit_q8_0, [GGML_Q4_K] = fit_q4_k, [GGML_Q5_K] = fit_q5_k, [GGML_Q6_K] = fit_q6_k,                \
    }
/* Decoders of one format of codes, by the type of the values. */
#define DECODERS(code)                                                                                                 \
    {                                                                                                                  \
        [ORGAN_REAL_F32] = decode_##code##_f32, [ORGAN_REAL_BF16] = decode_##code##_bf16,                              \
        [ORGAN_REAL_F16] = decode_##code##_f16,                                                                        \
    }
/* The value of an organ_kernels with the name `name`. `tile` is empty or the suffix (_mixed) of another implementation
 * of the physarum tile with the same results. */
#define KERNEL_TABLE(name, tile)                                                                                       \
    {                                                                                                                  \
        .isa = name, .bf16_to_f32 = bf16_to_f32, .f16_to_f32 = f16_to_f32, .f32_to_bf16 = f32_to_bf16,                 \
        .f32_to_f16 = f32_to_f16, .physarum_bf16 = physarum_bf16##tile, .physarum_f16 = physarum_f16##tile,            \
        .physarum_f32 = physarum_f32##tile, .moments_bf16 = moments_bf16, .moments_f16 = moments_f16,                  \
        .moments_f32 = moments_f32, .zeros_16 = zeros_16, .zeros_32 = zeros_32, .audit_16 = audit_16,                  \
        .audit_32 = audit_32, .dequantize = DEQUANTIZERS, .quantize = QUANTIZERS, .fit = FITTERS,                      \
        .count_codes = count_codes, .pair_means_bf16 = pair_means_bf16, .pair_means_f16 = pair_means_f16,              \
        .pair_means_f32 = pair_means_f32, .spread = spread, .z_bins = z_bins, .haar_purify = haar_purify,              \
        .amax = amax, .search_scales = search_scales, .scale_errors = scale_errors, .error_squares = error_squares,    \
        .recurrence = recurrence, .selective_scan = selective_scan, .gate_silu = gate_silu,                            \
        .gate_gelu_tanh = gate_gelu_tanh, .gate_gelu = gate_gelu, .softcap = softcap, .powers_of = powers_of,          \
        .softplus = softplus, .exp_below = exp_below, .exp_sum = exp_sum, .divergence = divergence,                    \
        .entropy = entropy, .product = product, .dot_f64 = dot_f64, .add_scaled_f64 = add_scaled_f64,                  \
        .cholesky_f32 = cholesky_f32, .solve_f32 = solve_f32, .code_columns = code_columns,                            \
        .refit_scales = refit_scales, .transpose = transpose, .search_weighted = search_weighted,                      \
        .decode = {[ORGAN_CODE_E4M3] = DECODERS(e4m3),                                                                 \
                   [ORGAN_CODE_E5M2] = DECODERS(e5m2),                                                                 \
                   [ORGAN_CODE_E4M3FNUZ] = DECODERS(e4m3fnuz),                                                         \
                   [ORGAN_CODE_E5M2FNUZ] = DECODERS(e5m2fnuz),                                                         \
                   [ORGAN_CODE_I8] = DECODERS(i8),                                                                     \
                   [ORGAN_CODE_U8] = DECODERS(u8),                                                                     \
                   [ORGAN_CODE_E2M1] = DECODERS(e2m1),                                                                 \
                   [ORGAN_CODE_U4] = DECODERS(u4)},                                                                    \
        .encode = {[ORGAN_CODE_E4M3] = encode_e4m3,                                                                    \
                   [ORGAN_CODE_E5M2] = encode_e5m2,                                                                    \
                   [ORGAN_CODE_I8] = encode_i8,                                                                        \
                   [ORGAN_CODE_U4] = encode_u4},                                                                       \
    }
