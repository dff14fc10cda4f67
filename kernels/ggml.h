/* SPDX-License-Identifier: MIT
 * The types of tensors in GGUF files: their numbers, the layouts of their blocks, and functions that are the same on
 * every ISA. */
#ifndef ORGAN_KERNELS_GGML_H
#define ORGAN_KERNELS_GGML_H
#include <organ/kernels.h>

/* One row for each block type: `set`, name, name in functions (dequantize_NAME), number in GGUF files, structure of a
 * block, elements of a block. */
#define GGML_BLOCK_TYPES(X, set)                                                                                       \
    X(set, Q4_0, q4_0, 2, block_q4_0, 32)                                                                              \
    X(set, Q4_1, q4_1, 3, block_q4_1, 32)                                                                              \
    X(set, Q5_0, q5_0, 6, block_q5_0, 32)                                                                              \
    X(set, Q5_1, q5_1, 7, block_q5_1, 32)                                                                              \
    X(set, Q8_0, q8_0, 8, block_q8_0, 32)                                                                              \
    X(set, Q2_K, q2_k, 10, block_q2_k, 256)                                                                            \
    X(set, Q3_K, q3_k, 11, block_q3_k, 256)                                                                            \
    X(set, Q4_K, q4_k, 12, block_q4_k, 256)                                                                            \
    X(set, Q5_K, q5_k, 13, block_q5_k, 256)                                                                            \
    X(set, Q6_K, q6_k, 14, block_q6_k, 256)                                                                            \
    X(set, IQ2_XXS, iq2_xxs, 16, block_iq2_xxs, 256)                                                                   \
    X(set, IQ2_XS, iq2_xs, 17, block_iq2_xs, 256)                                                                      \
    X(set, IQ3_XXS, iq3_xxs, 18, block_iq3_xxs, 256)                                                                   \
    X(set, IQ1_S, iq1_s, 19, block_iq1_s, 256)                                                                         \
    X(set, IQ4_NL, iq4_nl, 20, block_q4_0, 32)                                                                         \
    X(set, IQ3_S, iq3_s, 21, block_iq3_s, 256)                                                                         \
    X(set, IQ2_S, iq2_s, 22, block_iq2_s, 256)                                                                         \
    X(set, IQ4_XS, iq4_xs, 23, block_iq4_xs, 256)                                                                      \
    X(set, IQ1_M, iq1_m, 29, block_iq1_m, 256)                                                                         \
    X(set, TQ1_0, tq1_0, 34, block_tq1_0, 256)                                                                         \
    X(set, TQ2_0, tq2_0, 35, block_tq2_0, 256)                                                                         \
    X(set, MXFP4, mxfp4, 39, block_mxfp4, 32)                                                                          \
    X(set, NVFP4, nvfp4, 40, block_nvfp4, 64)                                                                          \
    X(set, Q1_0, q1_0, 41, block_q1_0, 128)                                                                            \
    X(set, Q2_0, q2_0, 42, block_q2_0, 64)

/* Numbers of the types in GGUF files, as ggml.h of llama.cpp defines them. */
enum ggml_type {
    GGML_F32 = 0,
    GGML_F16 = 1,
    GGML_I8 = 24,
    GGML_I16 = 25,
    GGML_I32 = 26,
    GGML_I64 = 27,
    GGML_F64 = 28,
    GGML_BF16 = 30,
#define GGML_NUMBER(set, name, function, number, block, elements) GGML_##name = number,
    GGML_BLOCK_TYPES(GGML_NUMBER, )
#undef GGML_NUMBER
};

/* Layouts of blocks as in ggml (ggml-common.h of ggml, and gguf.quants). All members are bytes, because a file need
 * not align blocks. Members of two bytes named d, m or dmin are F16: the scale, the minimum, and the scale of the
 * groups' minima. `codes` are the codes of the elements or their lowest bits; `fifth` and `high` are the bits above
 * them. `scales` are the codes of the scales of groups, in q2_k, q4_k and q5_k also of their minima. `indices` select
 * entries of a codebook (ggml_grids.h). The comments of the decoders describe the order of bits. */
#define GGML_BLOCK(name, size, ...)                                                                                    \
    typedef struct {                                                                                                   \
        uint8_t __VA_ARGS__;                                                                                           \
    } name;                                                                                                            \
    _Static_assert(sizeof(name) == (size), "bytes of a block, as in ORGAN_BLOCK_TYPES")

enum { QK = 32, QK_K = 256 }; /* elements of a simple block, and of a block with scales for groups */

GGML_BLOCK(block_q8_0, 34, d[2], codes[QK]);
GGML_BLOCK(block_q4_0, 18, d[2], codes[QK / 2]);
GGML_BLOCK(block_q4_1, 20, d[2], m[2], codes[QK / 2]);
GGML_BLOCK(block_q5_0, 22, d[2], fifth[QK / 8], codes[QK / 2]);
GGML_BLOCK(block_q5_1, 24, d[2], m[2], fifth[QK / 8], codes[QK / 2]);
/* The scale is 2^(exponent - 127). */
GGML_BLOCK(block_mxfp4, 17, exponent, codes[QK / 2]);
/* `scales` has a scale in each low nibble, a minimum in each high one. */
GGML_BLOCK(block_q2_k, 84, scales[16], codes[QK_K / 4], d[2], dmin[2]);
GGML_BLOCK(block_q3_k, 110, high[QK_K / 8], codes[QK_K / 4], scales[12], d[2]);
GGML_BLOCK(block_q4_k, 144, d[2], dmin[2], scales[12], codes[QK_K / 2]);
GGML_BLOCK(block_q5_k, 176, d[2], dmin[2], scales[12], high[QK_K / 8], codes[QK_K / 2]);
GGML_BLOCK(block_q6_k, 210, codes[QK_K / 2], high[QK_K / 4], scales[16], d[2]);
/* A byte of `fives` has five base-3 digits, a byte of `fours` four. */
GGML_BLOCK(block_tq1_0, 54, fives[48], fours[4], d[2]);
/* In each half of 128 elements, a byte has the codes of elements j, j + 32, j + 64 and j + 96, offset by 1. */
GGML_BLOCK(block_tq2_0, 66, codes[QK_K / 4], d[2]);
GGML_BLOCK(block_iq4_xs, 136, d[2], scales_high[2], scales_low[4], codes[QK_K / 2]);
/* A group of 32 elements has 4 index bytes and a word of 4 x 7 signs and a scale of 4 bits. */
GGML_BLOCK(block_iq2_xxs, 66, d[2], groups[8][8]);
/* `indices` has 16 bits for each run of 8 elements: 9 bits of index and 7 signs. */
GGML_BLOCK(block_iq2_xs, 74, d[2], indices[64], scales[8]);
GGML_BLOCK(block_iq2_s, 82, d[2], indices[32], signs[32], high[8], scales[8]);
/* `groups` has a word for each 32 elements: 4 x 7 signs and a scale of 4 bits. */
GGML_BLOCK(block_iq3_xxs, 98, d[2], indices[64], groups[32]);
GGML_BLOCK(block_iq3_s, 110, d[2], indices[64], high[8], signs[32], scales[4]);
/* `high` has 16 bits for each 4 runs of 8 elements: 4 x 3 high bits of indices, 3 of scale, the sign of the shift. */
GGML_BLOCK(block_iq1_s, 50, d[2], indices[32], high[16]);
/* `high` has 4 bits for each run of 8 elements: 3 high bits of the index and the sign of the shift. `scales` has 16
 * bits for each 64 elements: 4 scales of 3 bits and 4 bits of d. */
GGML_BLOCK(block_iq1_m, 56, indices[32], high[16], scales[8]);
/* 64 elements in 4 groups */
GGML_BLOCK(block_nvfp4, 36, scales[4], codes[32]);
/* 128 elements: a set bit is +d, else -d */
GGML_BLOCK(block_q1_0, 18, d[2], signs[16]);
/* 64 elements; codes are offset by 1 */
GGML_BLOCK(block_q2_0, 18, d[2], codes[16]);

/* ggml_plain.c: types without blocks */
organ_dequantize_blocks organ_dequantize_f32, organ_dequantize_f64, organ_dequantize_i8, organ_dequantize_i16,
    organ_dequantize_i32, organ_dequantize_i64;
organ_quantize_blocks organ_quantize_f32;

#endif
