/* SPDX-License-Identifier: MIT
 * Decoders for GGUF types without blocks, other than the 16-bit floats. They read bytes, because a file need not
 * align the elements. */
#include "kernels/ggml.h"
#include <string.h>

void organ_dequantize_f32(const void *blocks, float *values, size_t n) { memcpy(values, blocks, n * sizeof *values); }
void organ_quantize_f32(const float *values, void *blocks, size_t n) { memcpy(blocks, values, n * sizeof *values); }

/* Defines organ_dequantize_NAME, which converts elements of a C type to FP32. */
#define PLAIN(name, type)                                                                                              \
    void organ_dequantize_##name(const void *blocks, float *values, size_t n)                                          \
    {                                                                                                                  \
        for (size_t k = 0; k < n; k++) {                                                                               \
            type element;                                                                                              \
            memcpy(&element, (const unsigned char *)blocks + k * sizeof element, sizeof element);                      \
            values[k] = (float)element;                                                                                \
        }                                                                                                              \
    }
PLAIN(i8, int8_t)
PLAIN(i16, int16_t)
PLAIN(i32, int32_t)
PLAIN(i64, int64_t)
PLAIN(f64, double)
