/* SPDX-License-Identifier: MIT
 * The operations on 16 lanes that scalar.h defines, with four q registers; masks are lanes of all ones. Reductions
 * add lanes in the order of scalar.h: lane l += lane l + 8, then + 4, + 2, + 1. */
#include "kernels/simd/common.h"
#include <arm_neon.h>
#include <sleef.h>

/* Widths of strips and tiles for the registers of this ISA; scalar.h defines the names. */
#define FLOW_STRIP      2
#define FLOW_MIXED      0
#define PRODUCT_ROWS    5
#define PRODUCT_VECTORS 1
#define SEARCH_TOGETHER 4
#define SEARCH_SCREENS  1

typedef struct {
    float32x4_t q[4];
} f32x16;
typedef struct {
    uint32x4_t q[4];
} u32x16;
typedef struct {
    uint16x8_t q[2];
} u16x16;
typedef uint8x16_t u8x16;
typedef struct {
    float64x2_t d[8];
} f64x16;
typedef struct {
    uint32x4_t q[4];
} m32x16;
typedef struct {
    uint16x8_t q[2];
} m16x16;

/* Bodies of functions that return a `type` whose registers are `expr`, k = 0 to count - 1. */
#define EACH(type, part, count, expr)                                                                                  \
    type result;                                                                                                       \
    UNROLL for (int k = 0; k < (count); k++) result.part[k] = (expr);                                                  \
    return result
#define EACH_Q(type, expr) EACH(type, q, 4, expr)
#define EACH_H(type, expr) EACH(type, q, 2, expr)
#define EACH_D(expr)       EACH(f64x16, d, 8, expr)

/* Returns the FP32 with these bits. */
INLINE f32x16 f32_of_bits(u32x16 a) { EACH_Q(f32x16, vreinterpretq_f32_u32(a.q[k])); }
/* Returns the bits of each FP32. */
INLINE u32x16 f32_bits(f32x16 a) { EACH_Q(u32x16, vreinterpretq_u32_f32(a.q[k])); }

INLINE u32x16 u32_set1(uint32_t x) { EACH_Q(u32x16, vdupq_n_u32(x)); }
/* Returns the lane numbers 0, 1, ... 15. */
INLINE u32x16 u32_lanes(void) { EACH_Q(u32x16, ((uint32x4_t){4 * k, 4 * k + 1, 4 * k + 2, 4 * k + 3})); }
INLINE u32x16 u32_add(u32x16 a, u32x16 b) { EACH_Q(u32x16, vaddq_u32(a.q[k], b.q[k])); }
INLINE u32x16 u32_sub(u32x16 a, u32x16 b) { EACH_Q(u32x16, vsubq_u32(a.q[k], b.q[k])); }
INLINE u32x16 u32_and(u32x16 a, u32x16 b) { EACH_Q(u32x16, vandq_u32(a.q[k], b.q[k])); }
INLINE u32x16 u32_or(u32x16 a, u32x16 b) { EACH_Q(u32x16, vorrq_u32(a.q[k], b.q[k])); }
INLINE u32x16 u32_xor(u32x16 a, u32x16 b) { EACH_Q(u32x16, veorq_u32(a.q[k], b.q[k])); }
INLINE u32x16 u32_srl(u32x16 a, int by) { EACH_Q(u32x16, vshlq_u32(a.q[k], vdupq_n_s32(-by))); }
INLINE u32x16 u32_sll(u32x16 a, int by) { EACH_Q(u32x16, vshlq_u32(a.q[k], vdupq_n_s32(by))); }
/* Functions s16_ take lanes as two signed 16-bit numbers. This one returns (a b + 2^14) >> 15; not both are -2^15. */
INLINE u32x16 s16_multiply(u32x16 a, u32x16 b)
{
    EACH_Q(u32x16, vreinterpretq_u32_s16(vqrdmulhq_s16(vreinterpretq_s16_u32(a.q[k]), vreinterpretq_s16_u32(b.q[k]))));
}
/* Shifts each number left; bits that leave it are lost. */
INLINE u32x16 s16_sll(u32x16 a, int by)
{
    EACH_Q(u32x16, vreinterpretq_u32_s16(vshlq_s16(vreinterpretq_s16_u32(a.q[k]), vdupq_n_s16((int16_t)by))));
}
/* Shifts each number right; zeros enter it. */
INLINE u32x16 s16_srl(u32x16 a, int by)
{
    EACH_Q(u32x16, vreinterpretq_u32_u16(vshlq_u16(vreinterpretq_u16_u32(a.q[k]), vdupq_n_s16((int16_t)-by))));
}
INLINE u32x16 s16_sub(u32x16 a, u32x16 b)
{
    EACH_Q(u32x16, vreinterpretq_u32_u16(vsubq_u16(vreinterpretq_u16_u32(a.q[k]), vreinterpretq_u16_u32(b.q[k]))));
}
typedef uint8x16x2_t s16_table;
INLINE s16_table s16_table_of(const uint8_t entries[32]) { return vld1q_u8_x2(entries); }
/* s16_lookup for 8 numbers. The shift removes the upper bytes, for which the lookup finds entry 0. */
INLINE uint16x8_t quarter_table(s16_table table, uint32x4_t at)
{
    return vshlq_n_u16(vreinterpretq_u16_u8(vqtbl2q_u8(table, vreinterpretq_u8_u32(at))), 8);
}
/* Returns 256 times entry n for each number n; all must be from 0 to 31. */
INLINE u32x16 s16_lookup(s16_table table, u32x16 at)
{
    EACH_Q(u32x16, vreinterpretq_u32_u16(quarter_table(table, at.q[k])));
}
/* s16_squares for 4 lanes. */
INLINE uint32x4_t quarter_squares(int16x8_t a)
{
    const int32x4_t low = vmull_s16(vget_low_s16(a), vget_low_s16(a)), high = vmull_high_s16(a, a);
    return vreinterpretq_u32_s32(vpaddq_s32(low, high));
}
/* Returns the sum of the squares of both numbers. */
INLINE u32x16 s16_squares(u32x16 a) { EACH_Q(u32x16, quarter_squares(vreinterpretq_s16_u32(a.q[k]))); }
INLINE u32x16 u32_min(u32x16 a, u32x16 b) { EACH_Q(u32x16, vminq_u32(a.q[k], b.q[k])); }
INLINE u32x16 u32_max(u32x16 a, u32x16 b) { EACH_Q(u32x16, vmaxq_u32(a.q[k], b.q[k])); }
INLINE m32x16 u32_eq(u32x16 a, u32x16 b) { EACH_Q(m32x16, vceqq_u32(a.q[k], b.q[k])); }
/* Returns a mask of the lanes with a > b. Both must be below 2^31, because some ISAs compare signed numbers. */
INLINE m32x16 u32_gt(u32x16 a, u32x16 b) { EACH_Q(m32x16, vcgtq_u32(a.q[k], b.q[k])); }
/* Returns a in lanes where m is true, b in the other lanes. */
INLINE u32x16 u32_select(m32x16 m, u32x16 a, u32x16 b) { EACH_Q(u32x16, vbslq_u32(m.q[k], a.q[k], b.q[k])); }
/* Returns a in lanes where m is true, 0 in the other lanes. */
INLINE u32x16 u32_keep(m32x16 m, u32x16 a) { EACH_Q(u32x16, vandq_u32(m.q[k], a.q[k])); }
/* u32_multiply for 4 lanes. */
INLINE uint32x4_t quarter_multiply(uint32x4_t a, uint32_t factor, uint32x4_t *low)
{
    const uint32x4_t first = vreinterpretq_u32_u64(vmull_n_u32(vget_low_u32(a), factor)),
                     last = vreinterpretq_u32_u64(vmull_high_n_u32(a, factor));
    *low = vuzp1q_u32(first, last);
    return vuzp2q_u32(first, last);
}
/* Returns the upper 32 bits of the products of lanes and factor, and sets *low to the lower 32 bits. */
INLINE u32x16 u32_multiply(u32x16 a, uint32_t factor, u32x16 *low)
{
    EACH_Q(u32x16, quarter_multiply(a.q[k], factor, &low->q[k]));
}
/* Returns the largest lane. */
INLINE uint32_t u32_top(u32x16 a)
{
    return vmaxvq_u32(vmaxq_u32(vmaxq_u32(a.q[0], a.q[1]), vmaxq_u32(a.q[2], a.q[3])));
}

INLINE f32x16 f32_set1(float x) { EACH_Q(f32x16, vdupq_n_f32(x)); }
INLINE f32x16 f32_load(const float *p) { EACH_Q(f32x16, vld1q_f32(p + 4 * k)); }
/* Loads 8 floats from `low`, then 8 from `high`. */
INLINE f32x16 f32_load_halves(const float *low, const float *high)
{
    EACH_Q(f32x16, vld1q_f32(k < 2 ? low + 4 * k : high + 4 * k - 8));
}
INLINE void f32_store(float *p, f32x16 a) { UNROLL for (int k = 0; k < 4; k++) vst1q_f32(p + 4 * k, a.q[k]); }
/* An ordinary store; on x86 a non-temporal one, for which p must be 64-byte aligned. */
INLINE void f32_stream(float *p, f32x16 a) { f32_store(p, a); }
INLINE f32x16 f32_add(f32x16 a, f32x16 b) { EACH_Q(f32x16, vaddq_f32(a.q[k], b.q[k])); }
INLINE f32x16 f32_sub(f32x16 a, f32x16 b) { EACH_Q(f32x16, vsubq_f32(a.q[k], b.q[k])); }
INLINE f32x16 f32_mul(f32x16 a, f32x16 b) { EACH_Q(f32x16, vmulq_f32(a.q[k], b.q[k])); }
INLINE f32x16 f32_div(f32x16 a, f32x16 b) { EACH_Q(f32x16, vdivq_f32(a.q[k], b.q[k])); }
/* Returns a b + c, rounded once. */
INLINE f32x16 f32_fma(f32x16 a, f32x16 b, f32x16 c) { EACH_Q(f32x16, vfmaq_f32(c.q[k], a.q[k], b.q[k])); }
/* Returns c - a b, rounded once. */
INLINE f32x16 f32_fnma(f32x16 a, f32x16 b, f32x16 c) { EACH_Q(f32x16, vfmsq_f32(c.q[k], a.q[k], b.q[k])); }
/* Returns 1 / a. Callers may rely on a relative error of 2^-14 only, because AVX-512 estimates the reciprocal. */
INLINE f32x16 f32_reciprocal(f32x16 a) { EACH_Q(f32x16, vdivq_f32(vdupq_n_f32(1), a.q[k])); }
INLINE f32x16 f32_sqrt(f32x16 a) { EACH_Q(f32x16, vsqrtq_f32(a.q[k])); }
/* Returns the smaller of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f32x16 f32_min(f32x16 a, f32x16 b) { EACH_Q(f32x16, vminq_f32(a.q[k], b.q[k])); }
/* Returns the larger of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f32x16 f32_max(f32x16 a, f32x16 b) { EACH_Q(f32x16, vmaxq_f32(a.q[k], b.q[k])); }
/* Returns a to the power of e, by SLEEF. */
INLINE f32x16 f32_pow(f32x16 a, f32x16 e) { EACH_Q(f32x16, Sleef_finz_powf4_u10advsimd(a.q[k], e.q[k])); }
INLINE f32x16 f32_exp(f32x16 a) { EACH_Q(f32x16, Sleef_finz_expf4_u10advsimd(a.q[k])); }
INLINE f32x16 f32_tanh(f32x16 a) { EACH_Q(f32x16, Sleef_finz_tanhf4_u10advsimd(a.q[k])); }
INLINE f32x16 f32_erf(f32x16 a) { EACH_Q(f32x16, Sleef_finz_erff4_u10advsimd(a.q[k])); }
INLINE f32x16 f32_log1p(f32x16 a) { EACH_Q(f32x16, Sleef_finz_log1pf4_u10advsimd(a.q[k])); }
/* Rounds to a whole number toward 0. */
INLINE f32x16 f32_trunc(f32x16 a) { EACH_Q(f32x16, vrndq_f32(a.q[k])); }
/* Returns a mask of the lanes with a >= b; false if one is NaN. */
INLINE m32x16 f32_ge(f32x16 a, f32x16 b) { EACH_Q(m32x16, vcgeq_f32(a.q[k], b.q[k])); }
/* Returns a mask of the lanes with a > b; false if one is NaN. */
INLINE m32x16 f32_gt(f32x16 a, f32x16 b) { EACH_Q(m32x16, vcgtq_f32(a.q[k], b.q[k])); }
/* Returns a mask of the lanes that are NaN. */
INLINE m32x16 f32_nan(f32x16 a) { EACH_Q(m32x16, vmvnq_u32(vceqq_f32(a.q[k], a.q[k]))); }
/* Returns a in lanes where m is true, b in the other lanes. */
INLINE f32x16 f32_select(m32x16 m, f32x16 a, f32x16 b) { EACH_Q(f32x16, vbslq_f32(m.q[k], a.q[k], b.q[k])); }
/* f32_lookup for 4 lanes: byte b of a lane is byte 4 at + b of the table. */
INLINE float32x4_t quarter_lookup(f32x16 table, uint32x4_t at)
{
    const uint8x16x4_t bytes = {{vreinterpretq_u8_f32(table.q[0]), vreinterpretq_u8_f32(table.q[1]),
                                 vreinterpretq_u8_f32(table.q[2]), vreinterpretq_u8_f32(table.q[3])}};
    const uint32x4_t first = vmulq_u32(vandq_u32(at, vdupq_n_u32(15)), vdupq_n_u32(0x04040404));
    return vreinterpretq_f32_u8(vqtbl4q_u8(bytes, vreinterpretq_u8_u32(vaddq_u32(first, vdupq_n_u32(0x03020100)))));
}
/* Returns table[at mod 16] for each lane. */
INLINE f32x16 f32_lookup(f32x16 table, u32x16 at) { EACH_Q(f32x16, quarter_lookup(table, at.q[k])); }
/* f32_gather for 4 lanes. */
INLINE float32x4_t quarter_gather(const float *table, uint32x4_t at)
{
    const float four[4] = {table[vgetq_lane_u32(at, 0)], table[vgetq_lane_u32(at, 1)], table[vgetq_lane_u32(at, 2)],
                           table[vgetq_lane_u32(at, 3)]};
    return vld1q_f32(four);
}
/* Returns table[at] for each lane. */
INLINE f32x16 f32_gather(const float *table, u32x16 at) { EACH_Q(f32x16, quarter_gather(table, at.q[k])); }
/* The first two steps of f32_fold: adds lanes l + 8 to l, then l + 4 to l. */
INLINE float32x4_t fold_to_four(f32x16 a) { return vaddq_f32(vaddq_f32(a.q[0], a.q[2]), vaddq_f32(a.q[1], a.q[3])); }
/* Returns the sum of all lanes, in the order of every ISA: lane l += lane l + 8, then + 4, + 2, + 1. */
INLINE float f32_fold(f32x16 a)
{
    const float32x4_t y = fold_to_four(a);
    const float32x2_t h = vadd_f32(vget_low_f32(y), vget_high_f32(y));
    return vget_lane_f32(h, 0) + vget_lane_f32(h, 1);
}
/* The third step of f32_fold for two rows of 4 lanes: row a in the lower half of the result, row b in the upper. */
INLINE float32x4_t fold_pair(float32x4_t a, float32x4_t b)
{
    return vaddq_f32(vcombine_f32(vget_low_f32(a), vget_low_f32(b)), vcombine_f32(vget_high_f32(a), vget_high_f32(b)));
}
/* Folds the four rows of 16 floats from p on: lane l is the sum of row l. */
INLINE float32x4_t fold_four(const float *p)
{
    const float32x4_t ab = fold_pair(fold_to_four(f32_load(p)), fold_to_four(f32_load(p + 16)));
    const float32x4_t cd = fold_pair(fold_to_four(f32_load(p + 32)), fold_to_four(f32_load(p + 48)));
    return vaddq_f32(vuzp1q_f32(ab, cd), vuzp2q_f32(ab, cd));
}
/* Lane l of the result is f32_fold of the 16 floats at p + 16 l; p is 64-byte aligned. */
INLINE f32x16 f32_fold_rows(const float *p) { EACH_Q(f32x16, fold_four(p + 64 * k)); }
/* Returns the smallest lane. */
INLINE float f32_reduce_min(f32x16 a)
{
    return vminvq_f32(vminq_f32(vminq_f32(a.q[0], a.q[1]), vminq_f32(a.q[2], a.q[3])));
}
/* Returns the largest lane. */
INLINE float f32_reduce_max(f32x16 a)
{
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(a.q[0], a.q[1]), vmaxq_f32(a.q[2], a.q[3])));
}

INLINE u16x16 u16_set1(uint16_t x) { EACH_H(u16x16, vdupq_n_u16(x)); }
INLINE u16x16 u16_load(const uint16_t *p) { EACH_H(u16x16, vld1q_u16(p + 8 * k)); }
INLINE void u16_store(uint16_t *p, u16x16 a) { UNROLL for (int k = 0; k < 2; k++) vst1q_u16(p + 8 * k, a.q[k]); }
/* Stores a, then b. An ordinary store; on x86 a non-temporal one, for which p must be 64-byte aligned. */
INLINE void u16_stream(uint16_t *p, u16x16 a, u16x16 b)
{
    u16_store(p, a);
    u16_store(p + 16, b);
}
INLINE u16x16 u16_and(u16x16 a, u16x16 b) { EACH_H(u16x16, vandq_u16(a.q[k], b.q[k])); }
INLINE u16x16 u16_or(u16x16 a, u16x16 b) { EACH_H(u16x16, vorrq_u16(a.q[k], b.q[k])); }
/* Adds modulo 2^16. */
INLINE u16x16 u16_add(u16x16 a, u16x16 b) { EACH_H(u16x16, vaddq_u16(a.q[k], b.q[k])); }
INLINE u16x16 u16_sll(u16x16 a, int by) { EACH_H(u16x16, vshlq_u16(a.q[k], vdupq_n_s16((int16_t)by))); }
INLINE m16x16 u16_eq(u16x16 a, u16x16 b) { EACH_H(m16x16, vceqq_u16(a.q[k], b.q[k])); }
/* Returns a in lanes where m is true, 0 in the other lanes. */
INLINE u16x16 u16_keep(m16x16 m, u16x16 a) { EACH_H(u16x16, vandq_u16(m.q[k], a.q[k])); }
/* Zero-extends each lane to 32 bits. */
INLINE u32x16 u16_widen(u16x16 a)
{
    EACH_Q(u32x16, k % 2 ? vmovl_high_u16(a.q[k / 2]) : vmovl_u16(vget_low_u16(a.q[k / 2])));
}
/* Returns the lanes as 16 bits; all must be below 2^16. */
INLINE u16x16 u32_narrow(u32x16 a) { EACH_H(u16x16, vcombine_u16(vmovn_u32(a.q[2 * k]), vmovn_u32(a.q[2 * k + 1]))); }

INLINE u8x16 u8_set1(uint8_t x) { return vdupq_n_u8(x); }
INLINE u8x16 u8_load(const uint8_t *p) { return vld1q_u8(p); }
INLINE u8x16 u8_or(u8x16 a, u8x16 b) { return vorrq_u8(a, b); }
/* Subtracts modulo 256. */
INLINE u8x16 u8_sub(u8x16 a, u8x16 b) { return vsubq_u8(a, b); }
/* Returns a >> by & mask for each byte; mask << by must be below 256. */
INLINE u8x16 u8_field(u8x16 a, int by, uint8_t mask)
{
    return vandq_u8(vshlq_u8(a, vdupq_n_s8((int8_t)-by)), vdupq_n_u8(mask));
}
/* Shifts each byte left by `by`; no set bit may leave its byte. */
INLINE u8x16 u8_sll(u8x16 a, int by) { return vshlq_u8(a, vdupq_n_s8((int8_t)by)); }
/* Returns table[at] for each lane; all lanes of `at` must be below 16. */
INLINE u8x16 u8_lookup(u8x16 table, u8x16 at) { return vqtbl1q_u8(table, at); }
INLINE u8x16 u8_min(u8x16 a, u8x16 b) { return vminq_u8(a, b); }
INLINE u8x16 u8_max(u8x16 a, u8x16 b) { return vmaxq_u8(a, b); }
/* Returns nonzero if a >= b in any lane. */
INLINE int u8_any_ge(u8x16 a, u8x16 b) { return vmaxvq_u8(vcgeq_u8(a, b)) != 0; }
INLINE void u8_store(uint8_t *p, u8x16 a) { vst1q_u8(p, a); }
/* Lane l of the result is bit l of `bits`: 0 or 1. */
INLINE u8x16 u8_of_bits(uint16_t bits)
{
    const uint8x8_t place = vcreate_u8(0x8040201008040201);
    const uint8x16_t spread = vcombine_u8(vdup_n_u8((uint8_t)bits), vdup_n_u8((uint8_t)(bits >> 8)));
    return vshrq_n_u8(vtstq_u8(spread, vcombine_u8(place, place)), 7);
}
/* Bit l of the result is lane l of a; all lanes must be 0 or 1. */
INLINE uint16_t u8_to_bits(u8x16 a)
{
    const uint8x8_t place = vcreate_u8(0x8040201008040201), low = vmul_u8(vget_low_u8(a), place),
                    high = vmul_u8(vget_high_u8(a), place);
    return (uint16_t)(vaddv_u8(low) | vaddv_u8(high) << 8);
}
/* Converts whole numbers from -128 to 127 to signed bytes. */
INLINE u8x16 s8_of_f32(f32x16 a)
{
    int16x4_t words[4];
    UNROLL for (int k = 0; k < 4; k++) words[k] = vmovn_s32(vcvtq_s32_f32(a.q[k]));
    const int8x8_t low = vmovn_s16(vcombine_s16(words[0], words[1])),
                   high = vmovn_s16(vcombine_s16(words[2], words[3]));
    return vreinterpretq_u8_s8(vcombine_s8(low, high));
}
/* Converts signed bytes to FP32. */
INLINE f32x16 f32_of_s8(u8x16 a)
{
    const int8x16_t bytes = vreinterpretq_s8_u8(a);
    const int16x8_t words[2] = {vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)};
    EACH_Q(f32x16, vcvtq_f32_s32(k % 2 ? vmovl_high_s16(words[k / 2]) : vmovl_s16(vget_low_s16(words[k / 2]))));
}
/* Converts unsigned bytes to FP32. */
INLINE f32x16 f32_of_u8(u8x16 a)
{
    const uint16x8_t words[2] = {vmovl_u8(vget_low_u8(a)), vmovl_high_u8(a)};
    EACH_Q(f32x16, vcvtq_f32_u32(k % 2 ? vmovl_high_u16(words[k / 2]) : vmovl_u16(vget_low_u16(words[k / 2]))));
}
/* Converts whole numbers below 2^31, rounded to nearest even. */
INLINE f32x16 f32_of_u32(u32x16 a) { EACH_Q(f32x16, vcvtq_f32_u32(a.q[k])); }
/* Returns the lanes as bytes; all must be below 256. */
INLINE u8x16 u8_of_u32(u32x16 a)
{
    const u16x16 words = u32_narrow(a);
    return vcombine_u8(vmovn_u16(words.q[0]), vmovn_u16(words.q[1]));
}
/* Sign-extends each byte to 16 bits. */
INLINE u16x16 u16_of_s8(u8x16 a)
{
    const int8x16_t bytes = vreinterpretq_s8_u8(a);
    return (u16x16){{vreinterpretq_u16_s16(vmovl_s8(vget_low_s8(bytes))), vreinterpretq_u16_s16(vmovl_high_s8(bytes))}};
}
/* Interleaves the first 8 lanes of a and b: a0, b0, a1, b1, ... */
INLINE u8x16 u8_zip_low(u8x16 a, u8x16 b) { return vzip1q_u8(a, b); }
/* Interleaves the last 8 lanes of a and b: a8, b8, a9, b9, ... */
INLINE u8x16 u8_zip_high(u8x16 a, u8x16 b) { return vzip2q_u8(a, b); }
/* Returns the first 8 lanes of a, then the first 8 of b. */
INLINE u8x16 u8_join_low(u8x16 a, u8x16 b) { return vcombine_u8(vget_low_u8(a), vget_low_u8(b)); }
/* Returns the last 8 lanes of a, then the last 8 of b. */
INLINE u8x16 u8_join_high(u8x16 a, u8x16 b) { return vcombine_u8(vget_high_u8(a), vget_high_u8(b)); }
/* Returns lanes 0, 2, ... 14 of a, then of b. u8_evens and u8_odds undo u8_zip_low and u8_zip_high. */
INLINE u8x16 u8_evens(u8x16 a, u8x16 b) { return vuzp1q_u8(a, b); }
/* Returns lanes 1, 3, ... 15 of a, then of b. */
INLINE u8x16 u8_odds(u8x16 a, u8x16 b) { return vuzp2q_u8(a, b); }
/* Returns lane 2 k + 16 x lane 2 k + 1 of a as lane k, then those of b; all lanes must be below 16. */
INLINE u8x16 u8_join_nibbles(u8x16 a, u8x16 b) { return vsliq_n_u8(vuzp1q_u8(a, b), vuzp2q_u8(a, b), 4); }
/* Returns table[at] for each lane; all lanes of `at` must be below 16. Looks up the two halves of the words separately.
 * The compiler hoists the parts that depend only on the table out of loops. */
INLINE u16x16 u16_lookup(u16x16 table, u8x16 at)
{
    const uint8x16_t first = vreinterpretq_u8_u16(table.q[0]), second = vreinterpretq_u8_u16(table.q[1]);
    const uint8x16_t low = vqtbl1q_u8(vuzp1q_u8(first, second), at), high = vqtbl1q_u8(vuzp2q_u8(first, second), at);
    return (u16x16){{vreinterpretq_u16_u8(vzip1q_u8(low, high)), vreinterpretq_u16_u8(vzip2q_u8(low, high))}};
}

/* Converts one F16 to FP32. */
INLINE float f16_widen_one(uint16_t half)
{
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half))), 0);
}
/* Converts F16 to FP32. */
INLINE f32x16 f16_widen(u16x16 a)
{
    EACH_Q(f32x16, vcvt_f32_f16(vreinterpret_f16_u16(k % 2 ? vget_high_u16(a.q[k / 2]) : vget_low_u16(a.q[k / 2]))));
}
/* Rounds to F16, to nearest even. */
INLINE u16x16 f16_narrow(f32x16 a)
{
    EACH_H(u16x16, vcombine_u16(vreinterpret_u16_f16(vcvt_f16_f32(a.q[2 * k])),
                                vreinterpret_u16_f16(vcvt_f16_f32(a.q[2 * k + 1]))));
}

/* Converts a mask of 32-bit lanes to one of 16-bit lanes. */
INLINE m16x16 m32_narrow(m32x16 m) { EACH_H(m16x16, vcombine_u16(vmovn_u32(m.q[2 * k]), vmovn_u32(m.q[2 * k + 1]))); }
INLINE m16x16 m16_and(m16x16 a, m16x16 b) { EACH_H(m16x16, vandq_u16(a.q[k], b.q[k])); }
/* Returns a and not b. */
INLINE m16x16 m16_without(m16x16 a, m16x16 b) { EACH_H(m16x16, vbicq_u16(a.q[k], b.q[k])); }
INLINE m32x16 m32_and(m32x16 a, m32x16 b) { EACH_Q(m32x16, vandq_u32(a.q[k], b.q[k])); }
/* Returns a and not b. */
INLINE m32x16 m32_without(m32x16 a, m32x16 b) { EACH_Q(m32x16, vbicq_u32(a.q[k], b.q[k])); }
/* Returns the number of true lanes. */
INLINE unsigned m16_count(m16x16 m) { return vaddvq_u16(vaddq_u16(vshrq_n_u16(m.q[0], 15), vshrq_n_u16(m.q[1], 15))); }
/* Bit l of the result says whether lane l is true. */
INLINE unsigned m32_bits(m32x16 m)
{
    const uint16x8_t low = {1, 2, 4, 8, 16, 32, 64, 128}, high = vshlq_n_u16(low, 8);
    const m16x16 narrow = m32_narrow(m);
    return vaddvq_u16(vorrq_u16(vandq_u16(narrow.q[0], low), vandq_u16(narrow.q[1], high)));
}
/* Returns the number of true lanes. */
INLINE unsigned m32_count(m32x16 m) { return m16_count(m32_narrow(m)); }

INLINE f64x16 f64_set1(double x) { EACH_D(vdupq_n_f64(x)); }
INLINE f64x16 f64_load(const double *p) { EACH_D(vld1q_f64(p + 2 * k)); }
INLINE void f64_store(double *p, f64x16 a) { UNROLL for (int k = 0; k < 8; k++) vst1q_f64(p + 2 * k, a.d[k]); }
INLINE f64x16 f64_of_f32(f32x16 a)
{
    EACH_D(k % 2 ? vcvt_high_f64_f32(a.q[k / 2]) : vcvt_f64_f32(vget_low_f32(a.q[k / 2])));
}
INLINE f64x16 f64_add(f64x16 a, f64x16 b) { EACH_D(vaddq_f64(a.d[k], b.d[k])); }
INLINE f64x16 f64_sub(f64x16 a, f64x16 b) { EACH_D(vsubq_f64(a.d[k], b.d[k])); }
INLINE f64x16 f64_mul(f64x16 a, f64x16 b) { EACH_D(vmulq_f64(a.d[k], b.d[k])); }
/* Returns a b + c, rounded once. */
INLINE f64x16 f64_fma(f64x16 a, f64x16 b, f64x16 c) { EACH_D(vfmaq_f64(c.d[k], a.d[k], b.d[k])); }
INLINE f64x16 f64_exp(f64x16 a) { EACH_D(Sleef_finz_expd2_u10advsimd(a.d[k])); }
INLINE f64x16 f64_log2(f64x16 a) { EACH_D(Sleef_finz_log2d2_u10advsimd(a.d[k])); }
/* Replaces every NaN by 0x7ff8000000000000, because the NaN that an operation returns differs between ISAs. */
INLINE f64x16 f64_one_nan(f64x16 a)
{
    EACH_D(vbslq_f64(vceqq_f64(a.d[k], a.d[k]), a.d[k], vreinterpretq_f64_u64(vdupq_n_u64(0x7ff8000000000000))));
}
/* Widens lanes 0 and 1 of a mask, or 2 and 3 if `upper`, to 64 bits. */
INLINE uint64x2_t widen_mask(uint32x4_t m, int upper)
{
    const uint32x4_t twice = upper ? vzip2q_u32(m, m) : vzip1q_u32(m, m);
    return vreinterpretq_u64_u32(twice);
}
/* Returns a in lanes where m is true, 0 in the other lanes. */
INLINE f64x16 f64_keep(m32x16 m, f64x16 a)
{
    EACH_D(vreinterpretq_f64_u64(vandq_u64(widen_mask(m.q[k / 2], k % 2), vreinterpretq_u64_f64(a.d[k]))));
}
/* Returns the sum of all lanes in the order of f32_fold. */
INLINE double f64_fold(f64x16 a)
{
    const float64x2_t y = vaddq_f64(vaddq_f64(vaddq_f64(a.d[0], a.d[4]), vaddq_f64(a.d[2], a.d[6])),
                                    vaddq_f64(vaddq_f64(a.d[1], a.d[5]), vaddq_f64(a.d[3], a.d[7])));
    return vgetq_lane_f64(y, 0) + vgetq_lane_f64(y, 1);
}

/* Returns the smaller of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f64x16 f64_min(f64x16 a, f64x16 b) { EACH_D(vminq_f64(a.d[k], b.d[k])); }
/* Returns the larger of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f64x16 f64_max(f64x16 a, f64x16 b) { EACH_D(vmaxq_f64(a.d[k], b.d[k])); }
/* Rounds down to a whole number. */
INLINE f64x16 f64_floor(f64x16 a) { EACH_D(vrndmq_f64(a.d[k])); }
/* Converts whole numbers from 0 to below 2^31. */
INLINE u32x16 u32_of_f64(f64x16 a)
{
    EACH_Q(u32x16, vcombine_u32(vmovn_u64(vcvtq_u64_f64(a.d[2 * k])), vmovn_u64(vcvtq_u64_f64(a.d[2 * k + 1]))));
}

/* Returns lanes 0, 2, ... 14 of a, then of b. */
INLINE f32x16 f32_evens(f32x16 a, f32x16 b)
{
    EACH_Q(f32x16, k < 2 ? vuzp1q_f32(a.q[2 * k], a.q[2 * k + 1]) : vuzp1q_f32(b.q[2 * k - 4], b.q[2 * k - 3]));
}
/* Returns lanes 1, 3, ... 15 of a, then of b. */
INLINE f32x16 f32_odds(f32x16 a, f32x16 b)
{
    EACH_Q(f32x16, k < 2 ? vuzp2q_f32(a.q[2 * k], a.q[2 * k + 1]) : vuzp2q_f32(b.q[2 * k - 4], b.q[2 * k - 3]));
}
/* Interleaves the first 8 lanes of a and b: a0, b0, a1, b1, ... */
INLINE f32x16 f32_zip_low(f32x16 a, f32x16 b)
{
    EACH_Q(f32x16, k % 2 ? vzip2q_f32(a.q[k / 2], b.q[k / 2]) : vzip1q_f32(a.q[k / 2], b.q[k / 2]));
}
/* Interleaves the last 8 lanes of a and b: a8, b8, a9, b9, ... */
INLINE f32x16 f32_zip_high(f32x16 a, f32x16 b)
{
    EACH_Q(f32x16, k % 2 ? vzip2q_f32(a.q[2 + k / 2], b.q[2 + k / 2]) : vzip1q_f32(a.q[2 + k / 2], b.q[2 + k / 2]));
}

/* Does nothing: f32_stream and u16_stream are ordinary stores here. */
INLINE void stream_end(void) {}

#include "kernels/simd/derived.h"
