/* SPDX-License-Identifier: MIT
 * Operations on 16 lanes of 8 and 16 bits that are the same instructions with AVX2 and with AVX-512. */
#ifndef ORGAN_KERNELS_SIMD_X86_H
#define ORGAN_KERNELS_SIMD_X86_H
#include "kernels/simd/common.h"
#include <immintrin.h>
#include <sleef.h>

typedef __m256i u16x16;
typedef __m128i u8x16;

INLINE u16x16 u16_set1(uint16_t x) { return _mm256_set1_epi16((short)x); }
INLINE u16x16 u16_load(const uint16_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE void u16_store(uint16_t *p, u16x16 a) { _mm256_storeu_si256((__m256i *)p, a); }
INLINE u16x16 u16_and(u16x16 a, u16x16 b) { return _mm256_and_si256(a, b); }
INLINE u16x16 u16_or(u16x16 a, u16x16 b) { return _mm256_or_si256(a, b); }
/* Adds modulo 2^16. */
INLINE u16x16 u16_add(u16x16 a, u16x16 b) { return _mm256_add_epi16(a, b); }
INLINE u16x16 u16_sll(u16x16 a, int by) { return _mm256_slli_epi16(a, by); }

INLINE u8x16 u8_set1(uint8_t x) { return _mm_set1_epi8((char)x); }
INLINE u8x16 u8_load(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }
INLINE u8x16 u8_or(u8x16 a, u8x16 b) { return _mm_or_si128(a, b); }
/* Subtracts modulo 256. */
INLINE u8x16 u8_sub(u8x16 a, u8x16 b) { return _mm_sub_epi8(a, b); }
/* Returns a >> by & mask for each byte; mask << by must be below 256. Shifts 16-bit words; the mask removes
 * the bits that come from the neighbouring byte. */
INLINE u8x16 u8_field(u8x16 a, int by, uint8_t mask)
{
    return _mm_and_si128(_mm_srli_epi16(a, by), _mm_set1_epi8((char)mask));
}
/* Shifts each byte left by `by`; no set bit may leave its byte. */
INLINE u8x16 u8_sll(u8x16 a, int by) { return _mm_slli_epi16(a, by); }
/* Returns table[at] for each lane; all lanes of `at` must be below 16. */
INLINE u8x16 u8_lookup(u8x16 table, u8x16 at) { return _mm_shuffle_epi8(table, at); }
INLINE u8x16 u8_min(u8x16 a, u8x16 b) { return _mm_min_epu8(a, b); }
INLINE u8x16 u8_max(u8x16 a, u8x16 b) { return _mm_max_epu8(a, b); }
/* Returns nonzero if a >= b in any lane. */
INLINE int u8_any_ge(u8x16 a, u8x16 b) { return _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_max_epu8(a, b), a)) != 0; }
INLINE void u8_store(uint8_t *p, u8x16 a) { _mm_storeu_si128((__m128i *)(void *)p, a); }
/* Bit l of the result is lane l of a; all lanes must be 0 or 1. */
INLINE uint16_t u8_to_bits(u8x16 a) { return (uint16_t)_mm_movemask_epi8(_mm_slli_epi16(a, 7)); }
/* Sign-extends each byte to 16 bits. */
INLINE u16x16 u16_of_s8(u8x16 a) { return _mm256_cvtepi8_epi16(a); }
/* Interleaves the first 8 lanes of a and b: a0, b0, a1, b1, ... */
INLINE u8x16 u8_zip_low(u8x16 a, u8x16 b) { return _mm_unpacklo_epi8(a, b); }
/* Interleaves the last 8 lanes of a and b: a8, b8, a9, b9, ... */
INLINE u8x16 u8_zip_high(u8x16 a, u8x16 b) { return _mm_unpackhi_epi8(a, b); }
/* Returns the first 8 lanes of a, then the first 8 of b. */
INLINE u8x16 u8_join_low(u8x16 a, u8x16 b) { return _mm_unpacklo_epi64(a, b); }
/* Returns the last 8 lanes of a, then the last 8 of b. */
INLINE u8x16 u8_join_high(u8x16 a, u8x16 b) { return _mm_unpackhi_epi64(a, b); }
/* Returns lanes 0, 2, ... 14 of a, then of b. u8_evens and u8_odds undo u8_zip_low and u8_zip_high. */
INLINE u8x16 u8_evens(u8x16 a, u8x16 b)
{
    const __m128i low = _mm_set1_epi16(0xff);
    return _mm_packus_epi16(_mm_and_si128(a, low), _mm_and_si128(b, low));
}
/* Returns lanes 1, 3, ... 15 of a, then of b. */
INLINE u8x16 u8_odds(u8x16 a, u8x16 b) { return _mm_packus_epi16(_mm_srli_epi16(a, 8), _mm_srli_epi16(b, 8)); }

/* Returns lane 2 k + 16 x lane 2 k + 1 of a as lane k, then those of b; all lanes must be below 16. */
INLINE u8x16 u8_join_nibbles(u8x16 a, u8x16 b)
{
    const __m128i by = _mm_set1_epi16(0x1001);
    return _mm_packus_epi16(_mm_maddubs_epi16(a, by), _mm_maddubs_epi16(b, by));
}

/* Converts one F16 to FP32. */
INLINE float f16_widen_one(uint16_t half) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half))); }
/* Orders the stores of f32_stream and u16_stream before later stores. */
INLINE void stream_end(void) { _mm_sfence(); }

#endif
