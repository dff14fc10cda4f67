/* SPDX-License-Identifier: MIT
 * Conversions of single F16 values and of bits, in plain C. Rounding is to nearest even. */
#ifndef ORGAN_KERNELS_HALF_H
#define ORGAN_KERNELS_HALF_H
#include <stdint.h>
#include <string.h>

/* Converts the F16 in the low 16 bits of `half` to FP32, exactly, and returns the bits. */
static inline __attribute__((unused)) uint32_t half_widen_bits(uint32_t half)
{
    const uint32_t sign = (half & 0x8000) << 16, exponent = half & 0x7c00, fraction = half & 0x3ff;
    if (exponent == 0x7c00) /* a NaN becomes quiet */
        return sign | 0x7f800000 | (fraction ? fraction << 13 | 0x400000 : 0);
    if (exponent) /* 0x38000000: the exponent biases differ by 112 */
        return sign | (((half & 0x7fff) << 13) + 0x38000000);
    const float small = (float)fraction * 0x1p-24f;
    uint32_t bits;
    memcpy(&bits, &small, sizeof bits);
    return sign | bits;
}
/* Rounds the FP32 with this bit pattern to F16. A NaN keeps its sign and upper payload bits and becomes quiet. */
static inline __attribute__((unused)) uint16_t half_narrow_bits(uint32_t bits)
{
    const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x47800000) /* 65536: above every finite F16 even before rounding */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude >= 0x38800000) /* from 2^-14, normal: round to even; rounding up 65504 gives infinity */
        return (uint16_t)(sign | (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13);
    float small; /* subnormal: 2^-24 is the unit in the last place of 0.5 (0x3f000000), so the addition rounds */
    memcpy(&small, &magnitude, sizeof small);
    small += 0.5f;
    uint32_t rounded;
    memcpy(&rounded, &small, sizeof rounded);
    return (uint16_t)(sign | (rounded - 0x3f000000));
}
static inline __attribute__((unused)) float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline __attribute__((unused)) float half_widen(uint16_t half) { return float_of_bits(half_widen_bits(half)); }
/* The address p need not be aligned. */
static inline __attribute__((unused)) float half_at(const unsigned char *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return half_widen(half);
}
/* The address p need not be aligned. */
static inline __attribute__((unused)) void half_put(unsigned char *p, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint16_t half = half_narrow_bits(bits);
    memcpy(p, &half, sizeof half);
}

#endif
