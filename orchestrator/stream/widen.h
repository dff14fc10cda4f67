/* SPDX-License-Identifier: MIT
 * Conversion of elements of any storage type to FP32 and back. A unit is an element, or a block if the type has
 * blocks. */
#ifndef ORGAN_WIDEN_H
#define ORGAN_WIDEN_H
#include <organ/models.h>
#include <organ/kernels.h>

/* Returns whether organ_widen supports the type: true for every type of GGUF files. */
bool organ_can_widen(organ_dtype dtype);
/* Returns whether organ_narrow supports the type: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1. */
bool organ_can_narrow(organ_dtype dtype);

/* Converts `units_count` units of a type that can be widened to FP32: units_count x
 * organ_dtype_describe(dtype)->elements values. Units need no alignment. Rounding as in organ_kernels.dequantize. */
void organ_widen(const organ_kernels *kernels, organ_dtype dtype, const void *units, float *values, size_t units_count);

/* Converts FP32 values to `units_count` units of a type that can be narrowed. Rounding as in organ_kernels.quantize. */
void organ_narrow(const organ_kernels *kernels, organ_dtype dtype, const float *values, void *units,
                  size_t units_count);

/* Returns whether none of n values is NaN or infinite. */
bool organ_all_finite(const float *values, size_t n);

/* Returns the bits of +infinity in F32, F16 or BF16: its exponent field is all ones, sign and mantissa are 0. */
uint64_t organ_infinity_bits(organ_dtype dtype);

/* Returns whether any value among `bytes` bytes of F32, F16 or BF16 is infinite or NaN. */
bool organ_any_not_finite(organ_dtype dtype, const void *values, size_t bytes);

#endif
