/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/widen.h"

#include <string.h>

/* All kernel tables support the same types, so the scalar table is enough. */
bool organ_can_widen(organ_dtype dtype)
{
    const int type = organ_dtype_describe(dtype)->ggml;
    return type >= 0 && organ_kernels_scalar->dequantize[type];
}

/* NaN and infinite values have all bits of the exponent set. */
bool organ_all_finite(const float *values, size_t n)
{
    uint32_t rejected = 0;
    for (size_t k = 0; k < n; k++) {
        uint32_t bits;
        memcpy(&bits, values + k, sizeof bits);
        rejected |= (bits & 0x7F800000u) == 0x7F800000u;
    }
    return !rejected;
}

bool organ_can_narrow(organ_dtype dtype)
{
    const int type = organ_dtype_describe(dtype)->ggml;
    return type >= 0 && organ_kernels_scalar->quantize[type];
}

void organ_widen(const organ_kernels *kernels, organ_dtype dtype, const void *units, float *values, size_t units_count)
{
    kernels->dequantize[organ_dtype_describe(dtype)->ggml](units, values, units_count);
}

void organ_narrow(const organ_kernels *kernels, organ_dtype dtype, const float *values, void *units, size_t units_count)
{
    kernels->quantize[organ_dtype_describe(dtype)->ggml](values, units, units_count);
}

uint64_t organ_infinity_bits(organ_dtype dtype)
{
    if (dtype == ORGAN_F32)
        return 0x7F800000u;
    return dtype == ORGAN_F16 ? 0x7C00u : 0x7F80u;
}

/* Looks for exponent fields of all ones, eight bytes at a time: adding 1 to the lowest bit of such a field carries into
 * the sign bit. */
bool organ_any_not_finite(organ_dtype dtype, const void *values, size_t bytes)
{
    /* `spread` repeats a number for each value of a word; `one`: lowest bit of each exponent field */
    const uint64_t spread = dtype == ORGAN_F32 ? 0x0000000100000001u : 0x0001000100010001u,
                   mask = organ_infinity_bits(dtype) * spread;
    const uint64_t sign = (dtype == ORGAN_F32 ? 0x80000000u : 0x8000u) * spread;
    const uint64_t one = (organ_infinity_bits(dtype) & -organ_infinity_bits(dtype)) * spread;
    uint64_t any = 0, word = 0;
    size_t k = 0;
    for (; k + 8 <= bytes; k += 8) {
        memcpy(&word, (const unsigned char *)values + k, 8);
        any |= (word & mask) + one;
    }
    word = 0; /* the last bytes, filled up with zeros */
    memcpy(&word, (const unsigned char *)values + k, bytes - k);
    return ((any | ((word & mask) + one)) & sign) != 0;
}
