/* SPDX-License-Identifier: MIT
 * References: a second, plain implementation of the kernels from values in FP64. */
#ifndef ORGAN_TESTS_KERNEL_REFERENCE_H
#define ORGAN_TESTS_KERNEL_REFERENCE_H
#include <organ/kernels.h>

/* The numbers of exponent and fraction bits of a 16-bit float. */
typedef struct small_float {
    int exponent_bits, fraction_bits;
} small_float;
extern const small_float reference_bf16, reference_f16;

uint32_t reference_widen(small_float type, uint16_t code);
uint16_t reference_narrow(small_float type, uint32_t bits);
/* Returns |x| of the code without its sign. The code of infinity counts as the next power of two, where rounding to
 * infinity begins. */
double reference_magnitude(small_float type, unsigned code);
uint16_t reference_infinity(small_float type);

/* Computes the value of a one-byte or 4-bit code from its fields, including NaN and infinities. */
double reference_code(organ_code code, unsigned bits);

/* Computes the moments in long double over the whole array. */
void reference_moments(const float *values, size_t n, organ_moments *moments);

/* Sets keep[i * cols + j] = 1 if the flow with gain params->gain, step 0.5 and threshold 0.25 keeps the weight; in
 * FP64. */
void reference_physarum(const float *weights, size_t rows, size_t cols, size_t stride,
                        const organ_physarum_params *params, unsigned char *keep);

#endif
