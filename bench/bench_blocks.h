/* SPDX-License-Identifier: MIT
 * The types of GGUF tensors as rows of the bench of kernels: name, number in GGUF files, bytes and elements of a
 * unit. */
#ifndef BENCH_BLOCKS_H
#define BENCH_BLOCKS_H

/* All types; then those that kernels fit, without the types with reference encoders. */
/* clang-format off */
#define BENCH_BLOCKS(X) \
    X("f32", 0, 4, 1), \
    X("f16", 1, 2, 1), \
    X("bf16", 30, 2, 1), \
    X("i8 of gguf", 24, 1, 1), \
    X("i16", 25, 2, 1), \
    X("i32", 26, 4, 1), \
    X("i64", 27, 8, 1), \
    X("f64", 28, 8, 1), \
    X("q8_0", 8, 34, 32), \
    X("q4_0", 2, 18, 32), \
    X("q4_1", 3, 20, 32), \
    X("q5_0", 6, 22, 32), \
    X("q5_1", 7, 24, 32), \
    X("q2_k", 10, 84, 256), \
    X("q3_k", 11, 110, 256), \
    X("q4_k", 12, 144, 256), \
    X("q5_k", 13, 176, 256), \
    X("q6_k", 14, 210, 256), \
    X("iq2_xxs", 16, 66, 256), \
    X("iq2_xs", 17, 74, 256), \
    X("iq3_xxs", 18, 98, 256), \
    X("iq1_s", 19, 50, 256), \
    X("iq4_nl", 20, 18, 32), \
    X("iq3_s", 21, 110, 256), \
    X("iq2_s", 22, 82, 256), \
    X("iq4_xs", 23, 136, 256), \
    X("iq1_m", 29, 56, 256), \
    X("tq1_0", 34, 54, 256), \
    X("tq2_0", 35, 66, 256), \
    X("mxfp4", 39, 17, 32), \
    X("nvfp4", 40, 36, 64), \
    X("q1_0", 41, 18, 128), \
    X("q2_0", 42, 18, 64),

#define BENCH_FITTED(X) \
    X("q4_k", 12, 144, 256), \
    X("q5_k", 13, 176, 256), \
    X("q6_k", 14, 210, 256), \
    X("iq3_xxs", 18, 98, 256), \
    X("iq3_s", 21, 110, 256), \
    X("iq2_s", 22, 82, 256), \
    X("iq2_xs", 17, 74, 256), \
    X("iq2_xxs", 16, 66, 256), \
    X("tq1_0", 34, 54, 256), \
    X("tq2_0", 35, 66, 256), \
    X("q1_0", 41, 18, 128), \
    X("q2_0", 42, 18, 64), \
    X("q2_k", 10, 84, 256), \
    X("q3_k", 11, 110, 256), \
    X("iq4_nl", 20, 18, 32), \
    X("iq4_xs", 23, 136, 256), \
    X("mxfp4", 39, 17, 32), \
    X("nvfp4", 40, 36, 64), \
    X("iq1_s", 19, 50, 256), \
    X("iq1_m", 29, 56, 256),
/* clang-format on */

#endif
