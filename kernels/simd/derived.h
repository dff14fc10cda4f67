/* SPDX-License-Identifier: MIT
 * Operations that scalar, AVX2 and NEON build from their loads, stores and shifts; included after these. AVX-512 has
 * masks and instructions for them. */
#ifndef ORGAN_KERNELS_SIMD_DERIVED_H
#define ORGAN_KERNELS_SIMD_DERIVED_H
#include <string.h>

/* Loads n < 16 floats; the other lanes are 0. */
INLINE f32x16 f32_load_part(const float *p, size_t n)
{
    float whole[16] = {0};
    memcpy(whole, p, n * sizeof *p);
    return f32_load(whole);
}
/* Stores the first n < 16 lanes. */
INLINE void f32_store_part(float *p, f32x16 a, size_t n)
{
    float whole[16];
    f32_store(whole, a);
    memcpy(p, whole, n * sizeof *p);
}
/* Loads n < 16 words; the other lanes are 0. */
INLINE u16x16 u16_load_part(const uint16_t *p, size_t n)
{
    uint16_t whole[16] = {0};
    memcpy(whole, p, n * sizeof *p);
    return u16_load(whole);
}
/* Stores the first n < 16 lanes. */
INLINE void u16_store_part(uint16_t *p, u16x16 a, size_t n)
{
    uint16_t whole[16];
    u16_store(whole, a);
    memcpy(p, whole, n * sizeof *p);
}
/* Returns the upper 16 bits of each lane. */
INLINE u16x16 u32_tops(u32x16 a) { return u32_narrow(u32_srl(a, 16)); }
/* Stores the upper 16 bits of the lanes of a, then of b. */
INLINE void u16_store_tops(uint16_t *p, u32x16 a, u32x16 b)
{
    u16_store(p, u32_tops(a));
    u16_store(p + 16, u32_tops(b));
}
/* Stores the upper 16 bits of the lanes of a, then of b, like u16_stream; p is 64-byte aligned. */
INLINE void u16_stream_tops(uint16_t *p, u32x16 a, u32x16 b) { u16_stream(p, u32_tops(a), u32_tops(b)); }

#endif
