/* SPDX-License-Identifier: MIT
 * The operations on 16 lanes that scalar.h defines, with two ymm registers; masks are lanes of all ones. Needs AVX2,
 * FMA, F16C, POPCNT. Reductions add lanes in the order of scalar.h: lane l += lane l + 8, then + 4, + 2, + 1. */
#include "kernels/simd/x86.h"

/* Widths of strips and tiles for the registers of this ISA; scalar.h defines the names. */
#define FLOW_STRIP      4
#define FLOW_MIXED      0
#define PRODUCT_ROWS    6
#define PRODUCT_VECTORS 1
#define SEARCH_TOGETHER 2
#define SEARCH_SCREENS  1

typedef struct {
    __m256 lo, hi;
} f32x16; /* lanes 0 to 7, 8 to 15 */
typedef struct {
    __m256i lo, hi;
} u32x16;
typedef struct {
    __m256d q[4];
} f64x16;
typedef struct {
    __m256i lo, hi;
} m32x16;
typedef __m256i m16x16;

/* Apply the instruction `op` to both halves of a, of a and b, or of a, b and c. */
#define HALVES(type, op, a)                                                                                            \
    (type) { op((a).lo), op((a).hi) }
#define BOTH(type, op, a, b)                                                                                           \
    (type) { op((a).lo, (b).lo), op((a).hi, (b).hi) }
#define ALL_THREE(type, op, a, b, c)                                                                                   \
    (type) { op((a).lo, (b).lo, (c).lo), op((a).hi, (b).hi, (c).hi) }

/* Returns the FP32 with these bits. */
INLINE f32x16 f32_of_bits(u32x16 a) { return HALVES(f32x16, _mm256_castsi256_ps, a); }
/* Returns the bits of each FP32. */
INLINE u32x16 f32_bits(f32x16 a) { return HALVES(u32x16, _mm256_castps_si256, a); }

INLINE u32x16 u32_set1(uint32_t x) { return (u32x16){_mm256_set1_epi32((int)x), _mm256_set1_epi32((int)x)}; }
/* Returns the lane numbers 0, 1, ... 15. */
INLINE u32x16 u32_lanes(void)
{
    return (u32x16){_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}
INLINE u32x16 u32_add(u32x16 a, u32x16 b) { return BOTH(u32x16, _mm256_add_epi32, a, b); }
INLINE u32x16 u32_sub(u32x16 a, u32x16 b) { return BOTH(u32x16, _mm256_sub_epi32, a, b); }
INLINE u32x16 u32_and(u32x16 a, u32x16 b) { return BOTH(u32x16, _mm256_and_si256, a, b); }
INLINE u32x16 u32_or(u32x16 a, u32x16 b) { return BOTH(u32x16, _mm256_or_si256, a, b); }
INLINE u32x16 u32_xor(u32x16 a, u32x16 b) { return BOTH(u32x16, _mm256_xor_si256, a, b); }
INLINE u32x16 u32_srl(u32x16 a, int by) { return (u32x16){_mm256_srli_epi32(a.lo, by), _mm256_srli_epi32(a.hi, by)}; }
INLINE u32x16 u32_sll(u32x16 a, int by) { return (u32x16){_mm256_slli_epi32(a.lo, by), _mm256_slli_epi32(a.hi, by)}; }
/* Functions s16_ take lanes as two signed 16-bit numbers. This one returns (a b + 2^14) >> 15; not both are -2^15. */
INLINE u32x16 s16_multiply(u32x16 a, u32x16 b) { return BOTH(u32x16, _mm256_mulhrs_epi16, a, b); }
/* Shifts each number left; bits that leave it are lost. */
INLINE u32x16 s16_sll(u32x16 a, int by) { return (u32x16){_mm256_slli_epi16(a.lo, by), _mm256_slli_epi16(a.hi, by)}; }
/* Shifts each number right; zeros enter it. */
INLINE u32x16 s16_srl(u32x16 a, int by) { return (u32x16){_mm256_srli_epi16(a.lo, by), _mm256_srli_epi16(a.hi, by)}; }
INLINE u32x16 s16_sub(u32x16 a, u32x16 b) { return BOTH(u32x16, _mm256_sub_epi16, a, b); }
typedef struct {
    __m256i low, high; /* entries 0 to 15 and 16 to 31, twice */
} s16_table;
INLINE s16_table s16_table_of(const uint8_t entries[32])
{
    return (s16_table){_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)entries)),
                       _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(entries + 16)))};
}
/* s16_lookup for 16 numbers. A shuffle returns 0 where bit 7 of an index is 1: in the first one from 16 on, in the
 * second one below 16. The shift removes the upper bytes, for which the first one found entry 0. */
INLINE __m256i half_table(s16_table table, __m256i at)
{
    const __m256i low = _mm256_shuffle_epi8(table.low, _mm256_add_epi8(at, _mm256_set1_epi16(0x70))),
                  high = _mm256_shuffle_epi8(table.high, _mm256_sub_epi8(at, _mm256_set1_epi16(16)));
    return _mm256_slli_epi16(_mm256_or_si256(low, high), 8);
}
/* Returns 256 times entry n for each number n; all must be from 0 to 31. */
INLINE u32x16 s16_lookup(s16_table table, u32x16 at)
{
    return (u32x16){half_table(table, at.lo), half_table(table, at.hi)};
}
/* Returns the sum of the squares of both numbers. */
INLINE u32x16 s16_squares(u32x16 a) { return BOTH(u32x16, _mm256_madd_epi16, a, a); }
INLINE u32x16 u32_min(u32x16 a, u32x16 b) { return BOTH(u32x16, _mm256_min_epu32, a, b); }
INLINE u32x16 u32_max(u32x16 a, u32x16 b) { return BOTH(u32x16, _mm256_max_epu32, a, b); }
INLINE m32x16 u32_eq(u32x16 a, u32x16 b) { return BOTH(m32x16, _mm256_cmpeq_epi32, a, b); }
/* Returns a mask of the lanes with a > b. Both must be below 2^31, because some ISAs compare signed numbers. */
INLINE m32x16 u32_gt(u32x16 a, u32x16 b) { return BOTH(m32x16, _mm256_cmpgt_epi32, a, b); }
/* Returns a in lanes where m is true, b in the other lanes. */
INLINE u32x16 u32_select(m32x16 m, u32x16 a, u32x16 b) { return ALL_THREE(u32x16, _mm256_blendv_epi8, b, a, m); }
/* Returns a in lanes where m is true, 0 in the other lanes. */
INLINE u32x16 u32_keep(m32x16 m, u32x16 a) { return BOTH(u32x16, _mm256_and_si256, m, a); }
/* u32_multiply for 8 lanes: the instruction multiplies every second one. */
INLINE __m256i half_multiply(__m256i a, __m256i factor, __m256i *low)
{
    const __m256i even = _mm256_mul_epu32(a, factor), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), factor);
    *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}
/* Returns the upper 32 bits of the products of lanes and factor, and sets *low to the lower 32 bits. */
INLINE u32x16 u32_multiply(u32x16 a, uint32_t factor, u32x16 *low)
{
    const __m256i factors = _mm256_set1_epi64x((long long)factor);
    return (u32x16){half_multiply(a.lo, factors, &low->lo), half_multiply(a.hi, factors, &low->hi)};
}
/* Returns the largest lane. */
INLINE uint32_t u32_top(u32x16 a)
{
    const __m256i y = _mm256_max_epu32(a.lo, a.hi);
    __m128i q = _mm_max_epu32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
    q = _mm_max_epu32(q, _mm_shuffle_epi32(q, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(q, _mm_shuffle_epi32(q, 0xb1)));
}

INLINE f32x16 f32_set1(float x) { return (f32x16){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE f32x16 f32_load(const float *p) { return (f32x16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
/* Loads 8 floats from `low`, then 8 from `high`. */
INLINE f32x16 f32_load_halves(const float *low, const float *high)
{
    return (f32x16){_mm256_loadu_ps(low), _mm256_loadu_ps(high)};
}
INLINE void f32_store(float *p, f32x16 a)
{
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}
/* Stores without reading the cache line before (non-temporal); p is 64-byte aligned. */
INLINE void f32_stream(float *p, f32x16 a)
{
    _mm256_stream_ps(p, a.lo);
    _mm256_stream_ps(p + 8, a.hi);
}
INLINE f32x16 f32_add(f32x16 a, f32x16 b) { return BOTH(f32x16, _mm256_add_ps, a, b); }
INLINE f32x16 f32_sub(f32x16 a, f32x16 b) { return BOTH(f32x16, _mm256_sub_ps, a, b); }
INLINE f32x16 f32_mul(f32x16 a, f32x16 b) { return BOTH(f32x16, _mm256_mul_ps, a, b); }
INLINE f32x16 f32_div(f32x16 a, f32x16 b) { return BOTH(f32x16, _mm256_div_ps, a, b); }
/* Returns a b + c, rounded once. */
INLINE f32x16 f32_fma(f32x16 a, f32x16 b, f32x16 c) { return ALL_THREE(f32x16, _mm256_fmadd_ps, a, b, c); }
/* Returns c - a b, rounded once. */
INLINE f32x16 f32_fnma(f32x16 a, f32x16 b, f32x16 c) { return ALL_THREE(f32x16, _mm256_fnmadd_ps, a, b, c); }
/* Returns 1 / a. Callers may rely on a relative error of 2^-14 only, because AVX-512 estimates the reciprocal. */
INLINE f32x16 f32_reciprocal(f32x16 a) { return f32_div(f32_set1(1), a); }
INLINE f32x16 f32_sqrt(f32x16 a) { return HALVES(f32x16, _mm256_sqrt_ps, a); }
/* Returns the smaller of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f32x16 f32_min(f32x16 a, f32x16 b) { return BOTH(f32x16, _mm256_min_ps, a, b); }
/* Returns the larger of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f32x16 f32_max(f32x16 a, f32x16 b) { return BOTH(f32x16, _mm256_max_ps, a, b); }
/* Returns a to the power of e, by SLEEF. */
INLINE f32x16 f32_pow(f32x16 a, f32x16 e) { return BOTH(f32x16, Sleef_finz_powf8_u10avx2, a, e); }
INLINE f32x16 f32_exp(f32x16 a) { return HALVES(f32x16, Sleef_finz_expf8_u10avx2, a); }
INLINE f32x16 f32_tanh(f32x16 a) { return HALVES(f32x16, Sleef_finz_tanhf8_u10avx2, a); }
INLINE f32x16 f32_erf(f32x16 a) { return HALVES(f32x16, Sleef_finz_erff8_u10avx2, a); }
INLINE f32x16 f32_log1p(f32x16 a) { return HALVES(f32x16, Sleef_finz_log1pf8_u10avx2, a); }
/* Rounds to a whole number toward 0. */
INLINE f32x16 f32_trunc(f32x16 a)
{
    enum { TO_ZERO = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC };
    return (f32x16){_mm256_round_ps(a.lo, TO_ZERO), _mm256_round_ps(a.hi, TO_ZERO)};
}
/* Applies a comparison to both halves of a and b; the mask has lanes of all ones. */
#define COMPARE(a, b, how)                                                                                             \
    (m32x16)                                                                                                           \
    {                                                                                                                  \
        _mm256_castps_si256(_mm256_cmp_ps((a).lo, (b).lo, how)),                                                       \
            _mm256_castps_si256(_mm256_cmp_ps((a).hi, (b).hi, how))                                                    \
    }
/* Returns a mask of the lanes with a >= b; false if one is NaN. */
INLINE m32x16 f32_ge(f32x16 a, f32x16 b) { return COMPARE(a, b, _CMP_GE_OQ); }
/* Returns a mask of the lanes with a > b; false if one is NaN. */
INLINE m32x16 f32_gt(f32x16 a, f32x16 b) { return COMPARE(a, b, _CMP_GT_OQ); }
/* Returns a mask of the lanes that are NaN. */
INLINE m32x16 f32_nan(f32x16 a) { return COMPARE(a, a, _CMP_UNORD_Q); }
/* Returns a in lanes where m is true, b in the other lanes. */
INLINE f32x16 f32_select(m32x16 m, f32x16 a, f32x16 b) { return f32_of_bits(u32_select(m, f32_bits(a), f32_bits(b))); }
/* f32_lookup for 8 lanes: the permutes ignore bit 3 of the indices, and the blend looks at the sign bit only. */
INLINE __m256 half_lookup(f32x16 table, __m256i at)
{
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.lo, at), _mm256_permutevar8x32_ps(table.hi, at),
                            _mm256_castsi256_ps(_mm256_slli_epi32(at, 28)));
}
/* Returns table[at mod 16] for each lane. */
INLINE f32x16 f32_lookup(f32x16 table, u32x16 at)
{
    return (f32x16){half_lookup(table, at.lo), half_lookup(table, at.hi)};
}
/* Returns table[at] for each lane. */
INLINE f32x16 f32_gather(const float *table, u32x16 at)
{
    return (f32x16){_mm256_i32gather_ps(table, at.lo, 4), _mm256_i32gather_ps(table, at.hi, 4)};
}
/* Returns the sum of all lanes, in the order of every ISA: lane l += lane l + 8, then + 4, + 2, + 1. */
INLINE float f32_fold(f32x16 a)
{
    const __m256 y = _mm256_add_ps(a.lo, a.hi);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
/* Folds (f32_fold) two rows of 16 floats to 4 lanes each: row p in the lower half, row q in the upper. */
INLINE __m256 fold_two(const float *p, const float *q)
{
    const __m256 a = _mm256_add_ps(_mm256_load_ps(p), _mm256_load_ps(p + 8)),
                 b = _mm256_add_ps(_mm256_load_ps(q), _mm256_load_ps(q + 8));
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}
/* Folds eight rows of 16 floats to one lane each: lane l is the sum of row l. */
INLINE __m256 fold_eight(const float *p)
{
    const __m256 a = fold_two(p, p + 64), b = fold_two(p + 16, p + 80), c = fold_two(p + 32, p + 96),
                 d = fold_two(p + 48, p + 112);
    const __m256 ab = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee));
    const __m256 cd = _mm256_add_ps(_mm256_shuffle_ps(c, d, 0x44), _mm256_shuffle_ps(c, d, 0xee));
    return _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x88), _mm256_shuffle_ps(ab, cd, 0xdd));
}
/* Lane l of the result is f32_fold of the 16 floats at p + 16 l; p is 64-byte aligned. */
INLINE f32x16 f32_fold_rows(const float *p) { return (f32x16){fold_eight(p), fold_eight(p + 128)}; }
/* Returns the smallest lane. */
INLINE float f32_reduce_min(f32x16 a)
{
    const __m256 y = _mm256_min_ps(a.lo, a.hi);
    __m128 q = _mm_min_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    q = _mm_min_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_min_ss(q, _mm_shuffle_ps(q, q, 1)));
}
/* Returns the largest lane. */
INLINE float f32_reduce_max(f32x16 a)
{
    const __m256 y = _mm256_max_ps(a.lo, a.hi);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}

/* Stores a, then b, without reading the cache line before (non-temporal); p is 64-byte aligned. */
INLINE void u16_stream(uint16_t *p, u16x16 a, u16x16 b)
{
    _mm256_stream_si256((__m256i *)(void *)p, a);
    _mm256_stream_si256((__m256i *)(void *)(p + 16), b);
}
INLINE m16x16 u16_eq(u16x16 a, u16x16 b) { return _mm256_cmpeq_epi16(a, b); }
/* Returns a in lanes where m is true, 0 in the other lanes. */
INLINE u16x16 u16_keep(m16x16 m, u16x16 a) { return _mm256_and_si256(m, a); }
/* Zero-extends each lane to 32 bits. */
INLINE u32x16 u16_widen(u16x16 a)
{
    return (u32x16){_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)),
                    _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1))};
}
/* Returns the lanes as 16 bits; all must be below 2^16. */
INLINE u16x16 u32_narrow(u32x16 a) { return _mm256_permute4x64_epi64(_mm256_packus_epi32(a.lo, a.hi), 0xd8); }

/* Lane l of the result is bit l of `bits`: 0 or 1. */
INLINE u8x16 u8_of_bits(uint16_t bits)
{
    const __m128i place = _mm_set1_epi64x((long long)0x8040201008040201);
    const __m128i spread =
        _mm_shuffle_epi8(_mm_set1_epi16((short)bits), _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
    return _mm_min_epu8(_mm_and_si128(spread, place), _mm_set1_epi8(1));
}
/* Converts whole numbers from -128 to 127 to signed bytes. */
INLINE u8x16 s8_of_f32(f32x16 a)
{
    const __m256i words = _mm256_packs_epi32(_mm256_cvttps_epi32(a.lo), _mm256_cvttps_epi32(a.hi));
    const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
    return _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
}
/* Converts signed bytes to FP32. */
INLINE f32x16 f32_of_s8(u8x16 a)
{
    return (f32x16){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(a)),
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(a, 8)))};
}
/* Converts unsigned bytes to FP32. */
INLINE f32x16 f32_of_u8(u8x16 a)
{
    return (f32x16){_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(a)),
                    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(a, 8)))};
}
/* Converts whole numbers below 2^31, rounded to nearest even. */
INLINE f32x16 f32_of_u32(u32x16 a) { return HALVES(f32x16, _mm256_cvtepi32_ps, a); }
/* Returns the lanes as bytes; all must be below 256. */
INLINE u8x16 u8_of_u32(u32x16 a)
{
    const __m256i words = u32_narrow(a);
    return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}
/* Returns table[at] for each lane; all lanes of `at` must be below 16. Looks up the two halves of the words separately.
 * The compiler hoists the parts that depend only on the table out of loops. */
INLINE u16x16 u16_lookup(u16x16 table, u8x16 at)
{
    const __m128i first = _mm256_castsi256_si128(table), second = _mm256_extracti128_si256(table, 1);
    const __m128i low = _mm_shuffle_epi8(u8_evens(first, second), at),
                  high = _mm_shuffle_epi8(u8_odds(first, second), at);
    return _mm256_set_m128i(_mm_unpackhi_epi8(low, high), _mm_unpacklo_epi8(low, high));
}

/* Converts F16 to FP32. */
INLINE f32x16 f16_widen(u16x16 a)
{
    return (f32x16){_mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1))};
}
/* Rounds to F16, to nearest even. */
INLINE u16x16 f16_narrow(f32x16 a)
{
    return _mm256_setr_m128i(_mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT),
                             _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}

/* Converts a mask of 32-bit lanes to one of 16-bit lanes. */
INLINE m16x16 m32_narrow(m32x16 m) { return _mm256_permute4x64_epi64(_mm256_packs_epi32(m.lo, m.hi), 0xd8); }
INLINE m16x16 m16_and(m16x16 a, m16x16 b) { return _mm256_and_si256(a, b); }
/* Returns a and not b. */
INLINE m16x16 m16_without(m16x16 a, m16x16 b) { return _mm256_andnot_si256(b, a); }
INLINE m32x16 m32_and(m32x16 a, m32x16 b) { return BOTH(m32x16, _mm256_and_si256, a, b); }
/* Returns a and not b. */
INLINE m32x16 m32_without(m32x16 a, m32x16 b) { return BOTH(m32x16, _mm256_andnot_si256, b, a); }
/* Returns the number of true lanes. */
INLINE unsigned m16_count(m16x16 m) { return (unsigned)__builtin_popcount((unsigned)_mm256_movemask_epi8(m)) / 2; }
/* Bit l of the result says whether lane l is true. */
INLINE unsigned m32_bits(m32x16 m)
{
    return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(m.lo)) |
           (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(m.hi)) << 8;
}
/* Returns the number of true lanes. The pack may permute the lanes, which does not change the number. */
INLINE unsigned m32_count(m32x16 m)
{
    return (unsigned)__builtin_popcount((unsigned)_mm256_movemask_epi8(_mm256_packs_epi32(m.lo, m.hi))) /
           2; /* any order is correct */
}

/* The body of a function that returns the four registers `expr`, k = 0 to 3. */
#define EACH_QUARTER(expr)                                                                                             \
    f64x16 result;                                                                                                     \
    UNROLL for (int k = 0; k < 4; k++) result.q[k] = (expr);                                                           \
    return result
INLINE f64x16 f64_set1(double x) { EACH_QUARTER(_mm256_set1_pd(x)); }
INLINE f64x16 f64_load(const double *p) { EACH_QUARTER(_mm256_loadu_pd(p + 4 * k)); }
INLINE void f64_store(double *p, f64x16 a) { UNROLL for (int k = 0; k < 4; k++) _mm256_storeu_pd(p + 4 * k, a.q[k]); }
INLINE f64x16 f64_of_f32(f32x16 a)
{
    return (f64x16){{_mm256_cvtps_pd(_mm256_castps256_ps128(a.lo)), _mm256_cvtps_pd(_mm256_extractf128_ps(a.lo, 1)),
                     _mm256_cvtps_pd(_mm256_castps256_ps128(a.hi)), _mm256_cvtps_pd(_mm256_extractf128_ps(a.hi, 1))}};
}
INLINE f64x16 f64_add(f64x16 a, f64x16 b) { EACH_QUARTER(_mm256_add_pd(a.q[k], b.q[k])); }
INLINE f64x16 f64_sub(f64x16 a, f64x16 b) { EACH_QUARTER(_mm256_sub_pd(a.q[k], b.q[k])); }
INLINE f64x16 f64_mul(f64x16 a, f64x16 b) { EACH_QUARTER(_mm256_mul_pd(a.q[k], b.q[k])); }
/* Returns a b + c, rounded once. */
INLINE f64x16 f64_fma(f64x16 a, f64x16 b, f64x16 c) { EACH_QUARTER(_mm256_fmadd_pd(a.q[k], b.q[k], c.q[k])); }
INLINE f64x16 f64_exp(f64x16 a) { EACH_QUARTER(Sleef_finz_expd4_u10avx2(a.q[k])); }
INLINE f64x16 f64_log2(f64x16 a) { EACH_QUARTER(Sleef_finz_log2d4_u10avx2(a.q[k])); }
/* Replaces every NaN by 0x7ff8000000000000, because the NaN that an operation returns differs between ISAs. */
INLINE f64x16 f64_one_nan(f64x16 a)
{
    const __m256d nan = _mm256_castsi256_pd(_mm256_set1_epi64x(0x7ff8000000000000));
    EACH_QUARTER(_mm256_blendv_pd(a.q[k], nan, _mm256_cmp_pd(a.q[k], a.q[k], _CMP_UNORD_Q)));
}
/* Returns a in lanes where m is true, 0 in the other lanes. */
INLINE f64x16 f64_keep(m32x16 m, f64x16 a)
{
    const __m128i part[4] = {_mm256_castsi256_si128(m.lo), _mm256_extracti128_si256(m.lo, 1),
                             _mm256_castsi256_si128(m.hi), _mm256_extracti128_si256(m.hi, 1)};
    EACH_QUARTER(_mm256_and_pd(_mm256_castsi256_pd(_mm256_cvtepi32_epi64(part[k])), a.q[k]));
}
/* Returns the sum of all lanes in the order of f32_fold. */
INLINE double f64_fold(f64x16 a)
{
    const __m256d y = _mm256_add_pd(_mm256_add_pd(a.q[0], a.q[2]), _mm256_add_pd(a.q[1], a.q[3]));
    const __m128d x = _mm_add_pd(_mm256_castpd256_pd128(y), _mm256_extractf128_pd(y, 1));
    return _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)));
}

/* Returns the smaller of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f64x16 f64_min(f64x16 a, f64x16 b) { EACH_QUARTER(_mm256_min_pd(a.q[k], b.q[k])); }
/* Returns the larger of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f64x16 f64_max(f64x16 a, f64x16 b) { EACH_QUARTER(_mm256_max_pd(a.q[k], b.q[k])); }
/* Rounds down to a whole number. */
INLINE f64x16 f64_floor(f64x16 a) { EACH_QUARTER(_mm256_floor_pd(a.q[k])); }
/* Converts whole numbers from 0 to below 2^31. */
INLINE u32x16 u32_of_f64(f64x16 a)
{
    return (u32x16){_mm256_set_m128i(_mm256_cvttpd_epi32(a.q[1]), _mm256_cvttpd_epi32(a.q[0])),
                    _mm256_set_m128i(_mm256_cvttpd_epi32(a.q[3]), _mm256_cvttpd_epi32(a.q[2]))};
}

/* Swaps the two middle 64-bit quarters of a. _mm256_shuffle_ps of x and y returns the quarters x, y, x, y; after the
 * swap they are x, x, y, y. */
INLINE __m256 in_order(__m256 a) { return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(a), 0xd8)); }
/* Returns lanes 0, 2, ... 14 of a, then of b. */
INLINE f32x16 f32_evens(f32x16 a, f32x16 b)
{
    return (f32x16){in_order(_mm256_shuffle_ps(a.lo, a.hi, 0x88)), in_order(_mm256_shuffle_ps(b.lo, b.hi, 0x88))};
}
/* Returns lanes 1, 3, ... 15 of a, then of b. */
INLINE f32x16 f32_odds(f32x16 a, f32x16 b)
{
    return (f32x16){in_order(_mm256_shuffle_ps(a.lo, a.hi, 0xdd)), in_order(_mm256_shuffle_ps(b.lo, b.hi, 0xdd))};
}
/* Interleaves the 8 lanes of x and of y to 16: x0, y0, x1, y1, ... */
INLINE f32x16 zip_halves(__m256 x, __m256 y)
{
    const __m256 low = _mm256_unpacklo_ps(x, y), high = _mm256_unpackhi_ps(x, y);
    return (f32x16){_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)};
}
/* Interleaves the first 8 lanes of a and b: a0, b0, a1, b1, ... */
INLINE f32x16 f32_zip_low(f32x16 a, f32x16 b) { return zip_halves(a.lo, b.lo); }
/* Interleaves the last 8 lanes of a and b: a8, b8, a9, b9, ... */
INLINE f32x16 f32_zip_high(f32x16 a, f32x16 b) { return zip_halves(a.hi, b.hi); }

#include "kernels/simd/derived.h"
