/* SPDX-License-Identifier: MIT
 * The operations on 16 lanes that scalar.h defines, with one zmm register; masks are k registers. Needs AVX-512 F,
 * DQ, BW, VL. Reductions add lanes in the order of scalar.h: lane l += lane l + 8, then + 4, + 2, + 1. */
#include "kernels/simd/x86.h"

/* Widths of strips and tiles for the registers of this ISA; scalar.h defines the names. */
#define FLOW_STRIP      8
#define FLOW_MIXED      2
#define PRODUCT_ROWS    12
#define PRODUCT_VECTORS 2
#define SEARCH_TOGETHER 16
#define SEARCH_SCREENS  1

typedef __m512 f32x16;
typedef __m512i u32x16;
typedef struct {
    __m512d lo, hi;
} f64x16; /* lanes 0 to 7, 8 to 15 */
typedef __mmask16 m32x16;
typedef __mmask16 m16x16;

/* Returns a mask of lanes 0 to n - 1; n <= 16. */
INLINE __mmask16 first_lanes(size_t n) { return (__mmask16)((1u << n) - 1); }

/* Returns the FP32 with these bits. */
INLINE f32x16 f32_of_bits(u32x16 a) { return _mm512_castsi512_ps(a); }
/* Returns the bits of each FP32. */
INLINE u32x16 f32_bits(f32x16 a) { return _mm512_castps_si512(a); }

INLINE u32x16 u32_set1(uint32_t x) { return _mm512_set1_epi32((int)x); }
/* Returns the lane numbers 0, 1, ... 15. */
INLINE u32x16 u32_lanes(void) { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
INLINE u32x16 u32_add(u32x16 a, u32x16 b) { return _mm512_add_epi32(a, b); }
INLINE u32x16 u32_sub(u32x16 a, u32x16 b) { return _mm512_sub_epi32(a, b); }
INLINE u32x16 u32_and(u32x16 a, u32x16 b) { return _mm512_and_si512(a, b); }
INLINE u32x16 u32_or(u32x16 a, u32x16 b) { return _mm512_or_si512(a, b); }
INLINE u32x16 u32_xor(u32x16 a, u32x16 b) { return _mm512_xor_si512(a, b); }
INLINE u32x16 u32_srl(u32x16 a, int by) { return _mm512_srli_epi32(a, (unsigned)by); }
INLINE u32x16 u32_sll(u32x16 a, int by) { return _mm512_slli_epi32(a, (unsigned)by); }
/* Functions s16_ take lanes as two signed 16-bit numbers. This one returns (a b + 2^14) >> 15; not both are -2^15. */
INLINE u32x16 s16_multiply(u32x16 a, u32x16 b) { return _mm512_mulhrs_epi16(a, b); }
/* Shifts each number left; bits that leave it are lost. */
INLINE u32x16 s16_sll(u32x16 a, int by) { return _mm512_slli_epi16(a, (unsigned)by); }
/* Shifts each number right; zeros enter it. */
INLINE u32x16 s16_srl(u32x16 a, int by) { return _mm512_srli_epi16(a, (unsigned)by); }
INLINE u32x16 s16_sub(u32x16 a, u32x16 b) { return _mm512_sub_epi16(a, b); }
typedef __m512i s16_table;
INLINE s16_table s16_table_of(const uint8_t entries[32])
{
    return _mm512_slli_epi16(_mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)entries)), 8);
}
/* Returns 256 times entry n for each number n; all must be from 0 to 31. */
INLINE u32x16 s16_lookup(s16_table table, u32x16 at) { return _mm512_permutexvar_epi16(at, table); }
/* Returns the sum of the squares of both numbers. */
INLINE u32x16 s16_squares(u32x16 a) { return _mm512_madd_epi16(a, a); }
INLINE u32x16 u32_min(u32x16 a, u32x16 b) { return _mm512_min_epu32(a, b); }
INLINE u32x16 u32_max(u32x16 a, u32x16 b) { return _mm512_max_epu32(a, b); }
INLINE m32x16 u32_eq(u32x16 a, u32x16 b) { return _mm512_cmpeq_epi32_mask(a, b); }
/* Returns a mask of the lanes with a > b. Both must be below 2^31, because some ISAs compare signed numbers. */
INLINE m32x16 u32_gt(u32x16 a, u32x16 b) { return _mm512_cmpgt_epi32_mask(a, b); }
/* Returns a in lanes where m is true, b in the other lanes. */
INLINE u32x16 u32_select(m32x16 m, u32x16 a, u32x16 b) { return _mm512_mask_blend_epi32(m, b, a); }
/* Returns a in lanes where m is true, 0 in the other lanes. */
INLINE u32x16 u32_keep(m32x16 m, u32x16 a) { return _mm512_maskz_mov_epi32(m, a); }
/* Returns the upper 32 bits of the products of lanes and factor, and sets *low to the lower 32 bits. */
INLINE u32x16 u32_multiply(u32x16 a, uint32_t factor, u32x16 *low)
{
    const __m512i factors = _mm512_set1_epi64((long long)factor);
    const __m512i even = _mm512_mul_epu32(a, factors), odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), factors);
    *low = _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
    return _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
}
/* Returns the largest lane. */
INLINE uint32_t u32_top(u32x16 a) { return _mm512_reduce_max_epu32(a); }

INLINE f32x16 f32_set1(float x) { return _mm512_set1_ps(x); }
INLINE f32x16 f32_load(const float *p) { return _mm512_loadu_ps(p); }
/* Loads n < 16 floats; the other lanes are 0. */
INLINE f32x16 f32_load_part(const float *p, size_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
/* Loads 8 floats from `low`, then 8 from `high`. */
INLINE f32x16 f32_load_halves(const float *low, const float *high)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(low)), _mm256_loadu_ps(high), 1);
}
INLINE void f32_store(float *p, f32x16 a) { _mm512_storeu_ps(p, a); }
/* Stores the first n < 16 lanes. */
INLINE void f32_store_part(float *p, f32x16 a, size_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), a); }
/* Stores without reading the cache line before (non-temporal); p is 64-byte aligned. */
INLINE void f32_stream(float *p, f32x16 a) { _mm512_stream_ps(p, a); }
INLINE f32x16 f32_add(f32x16 a, f32x16 b) { return _mm512_add_ps(a, b); }
INLINE f32x16 f32_sub(f32x16 a, f32x16 b) { return _mm512_sub_ps(a, b); }
INLINE f32x16 f32_mul(f32x16 a, f32x16 b) { return _mm512_mul_ps(a, b); }
INLINE f32x16 f32_div(f32x16 a, f32x16 b) { return _mm512_div_ps(a, b); }
/* Returns a b + c, rounded once. */
INLINE f32x16 f32_fma(f32x16 a, f32x16 b, f32x16 c) { return _mm512_fmadd_ps(a, b, c); }
/* Returns c - a b, rounded once. */
INLINE f32x16 f32_fnma(f32x16 a, f32x16 b, f32x16 c) { return _mm512_fnmadd_ps(a, b, c); }
/* Returns an estimate of 1 / a with a relative error of at most 2^-14. */
INLINE f32x16 f32_reciprocal(f32x16 a) { return _mm512_rcp14_ps(a); }
INLINE f32x16 f32_sqrt(f32x16 a) { return _mm512_sqrt_ps(a); }
/* Returns the smaller of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f32x16 f32_min(f32x16 a, f32x16 b) { return _mm512_min_ps(a, b); }
/* Returns the larger of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f32x16 f32_max(f32x16 a, f32x16 b) { return _mm512_max_ps(a, b); }
/* Returns a to the power of e, by SLEEF. */
INLINE f32x16 f32_pow(f32x16 a, f32x16 e) { return Sleef_finz_powf16_u10avx512f(a, e); }
INLINE f32x16 f32_exp(f32x16 a) { return Sleef_finz_expf16_u10avx512f(a); }
INLINE f32x16 f32_tanh(f32x16 a) { return Sleef_finz_tanhf16_u10avx512f(a); }
INLINE f32x16 f32_erf(f32x16 a) { return Sleef_finz_erff16_u10avx512f(a); }
INLINE f32x16 f32_log1p(f32x16 a) { return Sleef_finz_log1pf16_u10avx512f(a); }
/* Rounds to a whole number toward 0. */
INLINE f32x16 f32_trunc(f32x16 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
/* Returns a mask of the lanes with a >= b; false if one is NaN. */
INLINE m32x16 f32_ge(f32x16 a, f32x16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
/* Returns a mask of the lanes with a > b; false if one is NaN. */
INLINE m32x16 f32_gt(f32x16 a, f32x16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
/* Returns a mask of the lanes that are NaN. */
INLINE m32x16 f32_nan(f32x16 a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
/* Returns a in lanes where m is true, b in the other lanes. */
INLINE f32x16 f32_select(m32x16 m, f32x16 a, f32x16 b) { return _mm512_mask_blend_ps(m, b, a); }
/* Returns table[at mod 16] for each lane. */
INLINE f32x16 f32_lookup(f32x16 table, u32x16 at) { return _mm512_permutexvar_ps(at, table); }
/* Returns table[at] for each lane. */
INLINE f32x16 f32_gather(const float *table, u32x16 at) { return _mm512_i32gather_ps(at, table, 4); }
/* Returns the sum of all lanes, in the order of every ISA: lane l += lane l + 8, then + 4, + 2, + 1. */
INLINE float f32_fold(f32x16 a)
{
    const __m256 y = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
/* Adds the halves of a, and of b. Returns the 8 sums of a, then those of b. */
INLINE f32x16 fold_halves(f32x16 a, f32x16 b)
{
    return _mm512_add_ps(_mm512_mask_blend_ps(0xff00, a, b), _mm512_shuffle_f32x4(a, b, 0x4e));
}
/* Adds the two 128-bit groups of each half of a, and of b. The sums of a are in groups 0 and 2 of the result, those of
 * b in groups 1 and 3. Blends are cheaper than shuffles. */
INLINE f32x16 fold_quarters(f32x16 a, f32x16 b)
{
    const f32x16 other = _mm512_mask_blend_ps(0x0f0f, a, b);
    return _mm512_add_ps(_mm512_mask_blend_ps(0xf0f0, a, b), _mm512_shuffle_f32x4(other, other, 0xb1));
}
/* Folds the four rows of 16 floats from p on to 4 lanes each. Row 0, 2, 1, 3 are in 128-bit groups 0 to 3 of the
 * result. */
INLINE f32x16 fold_four(const float *p)
{
    return fold_quarters(fold_halves(f32_load(p), f32_load(p + 16)), fold_halves(f32_load(p + 32), f32_load(p + 48)));
}
/* Adds lanes 2, 3 of every group of 4 of a to lanes 0, 1, and of b likewise. The sums of a are in lanes 0, 1 of every
 * group, those of b in lanes 2, 3. */
INLINE f32x16 fold_pairs(f32x16 a, f32x16 b)
{
    return _mm512_add_ps(_mm512_mask_blend_ps(0xcccc, a, b), _mm512_shuffle_ps(a, b, 0x4e));
}
/* Lane l of the result is f32_fold of the 16 floats at p + 16 l; p is 64-byte aligned. */
INLINE f32x16 f32_fold_rows(const float *p)
{
    const f32x16 ab = fold_pairs(fold_four(p), fold_four(p + 64)),
                 cd = fold_pairs(fold_four(p + 128), fold_four(p + 192));
    const f32x16 other = _mm512_mask_blend_ps(0x5555, ab, cd);
    const f32x16 sums = _mm512_add_ps(_mm512_mask_blend_ps(0xaaaa, ab, cd), _mm512_permute_ps(other, 0xb1));
    /* group g contains the sums of rows r, r + 8, r + 4, r + 12, where r is 0, 2, 1, 3 */
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), sums);
}
/* Returns the smallest lane. */
INLINE float f32_reduce_min(f32x16 a) { return _mm512_reduce_min_ps(a); }
/* Returns the largest lane. */
INLINE float f32_reduce_max(f32x16 a) { return _mm512_reduce_max_ps(a); }

/* Loads n < 16 words; the other lanes are 0. */
INLINE u16x16 u16_load_part(const uint16_t *p, size_t n) { return _mm256_maskz_loadu_epi16(first_lanes(n), p); }
/* Stores the first n < 16 lanes. */
INLINE void u16_store_part(uint16_t *p, u16x16 a, size_t n) { _mm256_mask_storeu_epi16(p, first_lanes(n), a); }
/* Stores a, then b, without reading the cache line before (non-temporal); p is 64-byte aligned. */
INLINE void u16_stream(uint16_t *p, u16x16 a, u16x16 b)
{
    _mm512_stream_si512((__m512i *)(void *)p, _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1));
}
INLINE m16x16 u16_eq(u16x16 a, u16x16 b) { return _mm256_cmpeq_epi16_mask(a, b); }
/* Returns a in lanes where m is true, 0 in the other lanes. */
INLINE u16x16 u16_keep(m16x16 m, u16x16 a) { return _mm256_maskz_mov_epi16(m, a); }
/* Zero-extends each lane to 32 bits. */
INLINE u32x16 u16_widen(u16x16 a) { return _mm512_cvtepu16_epi32(a); }
/* Returns the lanes as 16 bits; all must be below 2^16. */
INLINE u16x16 u32_narrow(u32x16 a) { return _mm512_cvtepi32_epi16(a); }
/* Returns the upper 16 bits of each lane. */
INLINE u16x16 u32_tops(u32x16 a) { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(a, 16)); }
/* Returns the upper halves of the 16 lanes of a, then of b. The pack puts one half from a and one from b into each
 * 128 bits, so 64-bit groups are permuted afterwards. */
INLINE __m512i both_tops(u32x16 a, u32x16 b)
{
    const __m512i mixed = _mm512_packus_epi32(_mm512_srli_epi32(a, 16), _mm512_srli_epi32(b, 16));
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), mixed);
}
/* Stores the upper 16 bits of the lanes of a, then of b. */
INLINE void u16_store_tops(uint16_t *p, u32x16 a, u32x16 b) { _mm512_storeu_si512(p, both_tops(a, b)); }
/* Stores the upper 16 bits of the lanes of a, then of b, like u16_stream; p is 64-byte aligned. */
INLINE void u16_stream_tops(uint16_t *p, u32x16 a, u32x16 b)
{
    _mm512_stream_si512((__m512i *)(void *)p, both_tops(a, b));
}

/* Lane l of the result is bit l of `bits`: 0 or 1. */
INLINE u8x16 u8_of_bits(uint16_t bits) { return _mm_maskz_set1_epi8(bits, 1); }
/* Converts whole numbers from -128 to 127 to signed bytes. */
INLINE u8x16 s8_of_f32(f32x16 a) { return _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(a)); }
/* Converts signed bytes to FP32. */
INLINE f32x16 f32_of_s8(u8x16 a) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(a)); }
/* Converts unsigned bytes to FP32. */
INLINE f32x16 f32_of_u8(u8x16 a) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(a)); }
/* Converts whole numbers below 2^31, rounded to nearest even. */
INLINE f32x16 f32_of_u32(u32x16 a) { return _mm512_cvtepi32_ps(a); }
/* Returns the lanes as bytes; all must be below 256. */
INLINE u8x16 u8_of_u32(u32x16 a) { return _mm512_cvtepi32_epi8(a); }
/* Returns table[at] for each lane; all lanes of `at` must be below 16. */
INLINE u16x16 u16_lookup(u16x16 table, u8x16 at) { return _mm256_permutexvar_epi16(_mm256_cvtepu8_epi16(at), table); }

/* Converts F16 to FP32. */
INLINE f32x16 f16_widen(u16x16 a) { return _mm512_cvtph_ps(a); }
/* Rounds to F16, to nearest even. */
INLINE u16x16 f16_narrow(f32x16 a) { return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT); }

/* Returns m: masks of both kinds have a bit for each lane. */
INLINE m16x16 m32_narrow(m32x16 m) { return m; }
INLINE m16x16 m16_and(m16x16 a, m16x16 b) { return a & b; }
/* Returns a and not b. */
INLINE m16x16 m16_without(m16x16 a, m16x16 b) { return (m16x16)(a & ~b); }
INLINE m32x16 m32_and(m32x16 a, m32x16 b) { return a & b; }
/* Returns a and not b. */
INLINE m32x16 m32_without(m32x16 a, m32x16 b) { return (m32x16)(a & ~b); }
/* Bit l of the result says whether lane l is true. */
INLINE unsigned m32_bits(m32x16 m) { return m; }
/* Returns the number of true lanes. */
INLINE unsigned m32_count(m32x16 m) { return (unsigned)__builtin_popcount(m); }
/* Returns the number of true lanes. */
INLINE unsigned m16_count(m16x16 m) { return (unsigned)__builtin_popcount(m); }

/* Apply the instruction `op` to both halves of a, or of a and b. */
#define HALVES(op, a)                                                                                                  \
    (f64x16) { op((a).lo), op((a).hi) }
#define EACH_HALF(op, a, b)                                                                                            \
    (f64x16) { op((a).lo, (b).lo), op((a).hi, (b).hi) }
INLINE f64x16 f64_set1(double x) { return (f64x16){_mm512_set1_pd(x), _mm512_set1_pd(x)}; }
INLINE f64x16 f64_load(const double *p) { return (f64x16){_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)}; }
INLINE void f64_store(double *p, f64x16 a)
{
    _mm512_storeu_pd(p, a.lo);
    _mm512_storeu_pd(p + 8, a.hi);
}
INLINE f64x16 f64_of_f32(f32x16 a)
{
    return (f64x16){_mm512_cvtps_pd(_mm512_castps512_ps256(a)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1))};
}
INLINE f64x16 f64_add(f64x16 a, f64x16 b) { return EACH_HALF(_mm512_add_pd, a, b); }
INLINE f64x16 f64_sub(f64x16 a, f64x16 b) { return EACH_HALF(_mm512_sub_pd, a, b); }
INLINE f64x16 f64_mul(f64x16 a, f64x16 b) { return EACH_HALF(_mm512_mul_pd, a, b); }
/* Returns a b + c, rounded once. */
INLINE f64x16 f64_fma(f64x16 a, f64x16 b, f64x16 c)
{
    return (f64x16){_mm512_fmadd_pd(a.lo, b.lo, c.lo), _mm512_fmadd_pd(a.hi, b.hi, c.hi)};
}
INLINE f64x16 f64_exp(f64x16 a) { return HALVES(Sleef_finz_expd8_u10avx512f, a); }
INLINE f64x16 f64_log2(f64x16 a) { return HALVES(Sleef_finz_log2d8_u10avx512f, a); }
/* f64_one_nan for 8 lanes. */
INLINE __m512d half_one_nan(__m512d a)
{
    return _mm512_mask_mov_pd(a, _mm512_cmp_pd_mask(a, a, _CMP_UNORD_Q),
                              _mm512_castsi512_pd(_mm512_set1_epi64(0x7ff8000000000000)));
}
/* Replaces every NaN by 0x7ff8000000000000, because the NaN that an operation returns differs between ISAs. */
INLINE f64x16 f64_one_nan(f64x16 a) { return HALVES(half_one_nan, a); }
/* Returns a in lanes where m is true, 0 in the other lanes. */
INLINE f64x16 f64_keep(m32x16 m, f64x16 a)
{
    return (f64x16){_mm512_maskz_mov_pd((__mmask8)m, a.lo), _mm512_maskz_mov_pd((__mmask8)(m >> 8), a.hi)};
}
/* Returns the sum of all lanes in the order of f32_fold. */
INLINE double f64_fold(f64x16 a)
{
    const __m512d z = _mm512_add_pd(a.lo, a.hi);
    const __m256d y = _mm256_add_pd(_mm512_castpd512_pd256(z), _mm512_extractf64x4_pd(z, 1));
    const __m128d x = _mm_add_pd(_mm256_castpd256_pd128(y), _mm256_extractf128_pd(y, 1));
    return _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)));
}

/* Returns the smaller of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f64x16 f64_min(f64x16 a, f64x16 b) { return EACH_HALF(_mm512_min_pd, a, b); }
/* Returns the larger of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f64x16 f64_max(f64x16 a, f64x16 b) { return EACH_HALF(_mm512_max_pd, a, b); }
/* Rounds down to a whole number. */
INLINE f64x16 f64_floor(f64x16 a) { return HALVES(_mm512_floor_pd, a); }
/* Converts whole numbers from 0 to below 2^31. */
INLINE u32x16 u32_of_f64(f64x16 a)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvttpd_epi32(a.lo)), _mm512_cvttpd_epi32(a.hi), 1);
}

/* Returns lanes 0, 2, ... 14 of a, then of b. */
INLINE f32x16 f32_evens(f32x16 a, f32x16 b)
{
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b);
}
/* Returns lanes 1, 3, ... 15 of a, then of b. */
INLINE f32x16 f32_odds(f32x16 a, f32x16 b)
{
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b);
}
/* Interleaves the first 8 lanes of a and b: a0, b0, a1, b1, ... */
INLINE f32x16 f32_zip_low(f32x16 a, f32x16 b)
{
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
}
/* Interleaves the last 8 lanes of a and b: a8, b8, a9, b9, ... */
INLINE f32x16 f32_zip_high(f32x16 a, f32x16 b)
{
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31),
                                  b);
}
