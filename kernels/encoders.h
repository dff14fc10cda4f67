/* SPDX-License-Identifier: MIT
 * The encoders of blocks of GGUF: their list, and their declarations for the instruction set of isa.h. */
#ifndef ORGAN_KERNELS_ENCODERS_H
#define ORGAN_KERNELS_ENCODERS_H
#include "kernels/table.h"

/* Block types with an encoder; those with a search for scales. */
#define QUANTIZED(X, set) X(set, Q4_0, q4_0) X(set, Q4_1, q4_1) X(set, Q5_0, q5_0) X(set, Q5_1, q5_1) X(set, Q8_0, q8_0)
#define FITTED(X, set)                                                                                                 \
    QUANTIZED(X, set)                                                                                                  \
    X(set, Q2_K, q2_k)                                                                                                 \
    X(set, Q3_K, q3_k)                                                                                                 \
    X(set, Q4_K, q4_k)                                                                                                 \
    X(set, Q5_K, q5_k)                                                                                                 \
    X(set, Q6_K, q6_k)                                                                                                 \
    X(set, IQ4_NL, iq4_nl)                                                                                             \
    X(set, IQ4_XS, iq4_xs)                                                                                             \
    X(set, MXFP4, mxfp4)                                                                                               \
    X(set, NVFP4, nvfp4)                                                                                               \
    X(set, IQ3_XXS, iq3_xxs)                                                                                           \
    X(set, IQ3_S, iq3_s)                                                                                               \
    X(set, IQ2_S, iq2_s)                                                                                               \
    X(set, IQ2_XS, iq2_xs)                                                                                             \
    X(set, IQ2_XXS, iq2_xxs)                                                                                           \
    X(set, TQ1_0, tq1_0)                                                                                               \
    X(set, TQ2_0, tq2_0)                                                                                               \
    X(set, Q1_0, q1_0)                                                                                                 \
    X(set, Q2_0, q2_0)                                                                                                 \
    X(set, IQ1_S, iq1_s)                                                                                               \
    X(set, IQ1_M, iq1_m)

#define DECLARE_FITTER(set, type, name) extern organ_fit_blocks KERNEL_OF(set, fit_##name);
#define DECLARE_ENCODERS(set)                                                                                          \
    FITTED(DECLARE_FITTER, set)                                                                                        \
    QUANTIZED(DECLARE_QUANTIZER, set)

#ifdef ISA
#define DECLARE_ENCODERS_HERE(isa) DECLARE_ENCODERS(isa)
DECLARE_ENCODERS_HERE(ISA)
#endif

#endif
