/* SPDX-License-Identifier: MIT
 * The schemes in which organ stores weights in few bits, a row each, FIRST(...) or X(...). The table of encodings, the
 * command line and messages follow from these lists. */
#ifndef ORGAN_API_SCHEMES_H
#define ORGAN_API_SCHEMES_H

/* clang-format off: one row a line */
/* Schemes of safetensors models with one width for all targets: name, bits of a code (0: E4M3), values that share a
 * scale and their number, types of the tensors of codes and of scales. */
#define ORGAN_TENSOR_SCHEMES(FIRST, X)                                                                                 \
    FIRST("fp8-block128", 0, BLOCK, 128, F8_E4M3, F32)                                                                 \
    X("fp8-tensor", 0, TENSOR, 0, F8_E4M3, BF16)                                                                       \
    X("fp8-channel", 0, CHANNEL, 0, F8_E4M3, BF16)                                                                     \
    X("int8-channel", 8, CHANNEL, 0, I8, BF16)                                                                         \
    X("int8-group128", 8, GROUP, 128, I32, BF16)                                                                       \
    X("int8-group64", 8, GROUP, 64, I32, BF16)                                                                         \
    X("int8-group32", 8, GROUP, 32, I32, BF16)                                                                         \
    X("int4-group128", 4, GROUP, 128, I32, BF16)                                                                       \
    X("int4-group64", 4, GROUP, 64, I32, BF16)                                                                         \
    X("int4-group32", 4, GROUP, 32, I32, BF16)                                                                         \
    X("int3-group128", 3, GROUP, 128, I32, BF16)                                                                       \
    X("int3-group64", 3, GROUP, 64, I32, BF16)                                                                         \
    X("int3-group32", 3, GROUP, 32, I32, BF16)                                                                         \
    X("int2-group128", 2, GROUP, 128, I32, BF16)                                                                       \
    X("int2-group64", 2, GROUP, 64, I32, BF16)                                                                         \
    X("int2-group32", 2, GROUP, 32, I32, BF16)                                                                         \
    X("nvfp4", 4, E4M3, 16, U8, F8_E4M3)                                                                               \
    X("mxfp4", 4, E8M0, 32, U8, U8)                                                                                    \
    X("mxfp8", 0, E8M0, 32, F8_E4M3, U8)
/* Schemes of MLX: those with names of their own, and those that share a name with ORGAN_TENSOR_SCHEMES. */
#define ORGAN_MLX_SCHEMES(X)                                                                                           \
    X("int6-group128", 6, AFFINE, 128)                                                                                 \
    X("int6-group64", 6, AFFINE, 64)                                                                                   \
    X("int6-group32", 6, AFFINE, 32)                                                                                   \
    X("int5-group128", 5, AFFINE, 128)                                                                                 \
    X("int5-group64", 5, AFFINE, 64)                                                                                   \
    X("int5-group32", 5, AFFINE, 32)
#define ORGAN_MLX_TENSOR_SCHEMES(X)                                                                                    \
    X("nvfp4", 4, E4M3_ALL, 16)                                                                                        \
    X("mxfp4", 4, E8M0, 32)                                                                                            \
    X("mxfp8", 0, E8M0, 32)                                                                                            \
    X("int2-group128", 2, AFFINE, 128)                                                                                 \
    X("int2-group64", 2, AFFINE, 64)                                                                                   \
    X("int2-group32", 2, AFFINE, 32)                                                                                   \
    X("int3-group128", 3, AFFINE, 128)                                                                                 \
    X("int3-group64", 3, AFFINE, 64)                                                                                   \
    X("int3-group32", 3, AFFINE, 32)                                                                                   \
    X("int4-group128", 4, AFFINE, 128)                                                                                 \
    X("int4-group64", 4, AFFINE, 64)                                                                                   \
    X("int4-group32", 4, AFFINE, 32)                                                                                   \
    X("int8-group128", 8, AFFINE, 128)                                                                                 \
    X("int8-group64", 8, AFFINE, 64)                                                                                   \
    X("int8-group32", 8, AFFINE, 32)
/* Schemes of GGUF models: name, block type, bits of a code, scheme of rows that are not whole blocks (NULL: none),
 * general.file_type by the numbers of llama.cpp, whether scheme mixed tries the type, and the scheme that is meant by a
 * name of another program that begins with this name. Those of ORGAN_BLOCK_TENSOR_SCHEMES share their names with
 * ORGAN_TENSOR_SCHEMES. */
#define ORGAN_BLOCK_SCHEMES(FIRST, X)                                                                                  \
    FIRST("q4_0", Q4_0, 4, NULL, 2, true, "q4_0")                                                                      \
    X("q4_1", Q4_1, 4, NULL, 3, true, "q4_1")                                                                          \
    X("q5_0", Q5_0, 5, NULL, 8, true, "q5_0")                                                                          \
    X("q5_1", Q5_1, 5, NULL, 9, true, "q5_1")                                                                          \
    X("q8_0", Q8_0, 8, NULL, 7, true, "q8_0")                                                                          \
    X("q2_k", Q2_K, 2, "q4_0", 10, true, "q2_k")                                                                       \
    X("q3_k", Q3_K, 3, "q4_0", 11, true, "q3_k' or 'recipe:q3_k_m")                                                    \
    X("q4_k", Q4_K, 4, "q5_0", 14, true, "recipe:q4_k_m")                                                              \
    X("q5_k", Q5_K, 5, "q5_1", 16, true, "recipe:q5_k_m")                                                              \
    X("q6_k", Q6_K, 6, "q8_0", 18, true, "q6_k")                                                                       \
    X("iq4_nl", IQ4_NL, 4, NULL, 25, true, "iq4_nl")                                                                   \
    X("iq4_xs", IQ4_XS, 4, "iq4_nl", 30, true, "iq4_xs")                                                               \
    X("iq3_s", IQ3_S, 3, "iq4_nl", 26, true, "iq3_s")                                                                  \
    X("iq3_xxs", IQ3_XXS, 3, "iq4_nl", 23, true, "iq3_xxs")                                                            \
    X("iq2_s", IQ2_S, 2, "iq4_nl", 28, true, "iq2_s")                                                                  \
    X("iq2_xs", IQ2_XS, 2, "iq4_nl", 20, true, "iq2_xs")                                                               \
    X("iq2_xxs", IQ2_XXS, 2, "iq4_nl", 19, true, "iq2_xxs")                                                            \
    X("q2_0", Q2_0, 2, "q4_0", 41, true, "q2_0")                                                                       \
    X("tq2_0", TQ2_0, 2, "q4_0", 37, true, "tq2_0")                                                                    \
    X("tq1_0", TQ1_0, 2, "q4_0", 36, true, "tq1_0")                                                                    \
    X("q1_0", Q1_0, 1, "q4_0", 40, true, "q1_0")                                                                       \
    X("iq1_s", IQ1_S, 2, "iq4_nl", 24, true, "iq1_s")                                                                  \
    X("iq1_m", IQ1_M, 2, "iq4_nl", 31, true, "iq1_m")
#define ORGAN_BLOCK_TENSOR_SCHEMES(X)                                                                                  \
    X("mxfp4", MXFP4, 4, NULL, 38, false, "mxfp4")                                                                     \
    X("nvfp4", NVFP4, 4, "iq4_nl", 39, false, "nvfp4")
/* Recipes for GGUF models, the types that llama-quantize of that name gives each tensor: identifier, name, type of the
 * tensors to which no rule applies, general.file_type. */
#define ORGAN_RECIPES(FIRST, X)                                                                                        \
    FIRST(Q4_0, "q4_0", "q4_0", 2)                                                                                     \
    X(Q4_1, "q4_1", "q4_1", 3)                                                                                         \
    X(Q5_0, "q5_0", "q5_0", 8)                                                                                         \
    X(Q5_1, "q5_1", "q5_1", 9)                                                                                         \
    X(Q8_0, "q8_0", "q8_0", 7)                                                                                         \
    X(Q2_K, "q2_k", "q2_k", 10)                                                                                        \
    X(Q2_K_S, "q2_k_s", "q2_k", 21)                                                                                    \
    X(Q3_K_S, "q3_k_s", "q3_k", 11)                                                                                    \
    X(Q3_K_M, "q3_k_m", "q3_k", 12)                                                                                    \
    X(Q3_K_L, "q3_k_l", "q3_k", 13)                                                                                    \
    X(Q4_K_S, "q4_k_s", "q4_k", 14)                                                                                    \
    X(Q4_K_M, "q4_k_m", "q4_k", 15)                                                                                    \
    X(Q5_K_S, "q5_k_s", "q5_k", 16)                                                                                    \
    X(Q5_K_M, "q5_k_m", "q5_k", 17)                                                                                    \
    X(Q6_K, "q6_k", "q6_k", 18)                                                                                        \
    X(IQ4_NL, "iq4_nl", "iq4_nl", 25)                                                                                  \
    X(IQ4_XS, "iq4_xs", "iq4_xs", 30)                                                                                  \
    X(IQ3_M, "iq3_m", "iq3_s", 27)                                                                                     \
    X(IQ3_S, "iq3_s", "iq3_s", 26)                                                                                     \
    X(IQ3_XS, "iq3_xs", "iq3_s", 22)                                                                                   \
    X(IQ3_XXS, "iq3_xxs", "iq3_xxs", 23)                                                                               \
    X(IQ2_M, "iq2_m", "iq2_s", 29)                                                                                     \
    X(IQ2_S, "iq2_s", "iq2_xs", 28)                                                                                    \
    X(IQ2_XS, "iq2_xs", "iq2_xs", 20)                                                                                  \
    X(IQ2_XXS, "iq2_xxs", "iq2_xxs", 19)                                                                               \
    X(IQ1_M, "iq1_m", "iq1_m", 31)                                                                                     \
    X(IQ1_S, "iq1_s", "iq1_s", 24)                                                                                     \
    X(Q2_0, "q2_0", "q2_0", 41)                                                                                        \
    X(TQ2_0, "tq2_0", "tq2_0", 37)                                                                                     \
    X(TQ1_0, "tq1_0", "tq1_0", 36)                                                                                     \
    X(Q1_0, "q1_0", "q1_0", 40)                                                                                        \
    X(MXFP4_MOE, "mxfp4_moe", "mxfp4", 38)
/* clang-format on */

/* Names of schemes, separated by '|': those of ORGAN_TENSOR_SCHEMES, all schemes, and all recipes;
 * those of GGUF models, for messages. */
#define ORGAN_NAME(name, ...)                name
#define ORGAN_BAR_NAME(name, ...)            "|" name
#define ORGAN_RECIPE_NAME(id, name, ...)     "recipe:" name
#define ORGAN_BAR_RECIPE_NAME(id, name, ...) "|recipe:" name
#define ORGAN_CODE_SCHEMES                   ORGAN_TENSOR_SCHEMES(ORGAN_NAME, ORGAN_BAR_NAME)
#define ORGAN_QUANTIZE_SCHEMES                                                                                         \
    ORGAN_CODE_SCHEMES ORGAN_MLX_SCHEMES(ORGAN_BAR_NAME) "|mixed|none" ORGAN_BLOCK_SCHEMES(ORGAN_BAR_NAME,             \
                                                                                           ORGAN_BAR_NAME)
#define ORGAN_COMMA_NAME(name, ...) ", " name
#define ORGAN_GGUF_SCHEMES_TEXT                                                                                        \
    ORGAN_BLOCK_SCHEMES(ORGAN_NAME, ORGAN_COMMA_NAME) ORGAN_BLOCK_TENSOR_SCHEMES(ORGAN_COMMA_NAME)
#define ORGAN_QUANTIZE_RECIPES ORGAN_RECIPES(ORGAN_RECIPE_NAME, ORGAN_BAR_RECIPE_NAME)

#endif
