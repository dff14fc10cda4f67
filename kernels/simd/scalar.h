/* SPDX-License-Identifier: MIT
 * The operations on 16 lanes from which all kernels are built, in plain C: the reference with which every other ISA
 * is compared. Compiled without vectoriser and contraction. Names: <type>_<verb>; f32, u32, u16, u8, f64 are 16
 * lanes of that type, m32 and m16 are masks over 32-bit and 16-bit lanes. Loads and stores need only the alignment
 * of their element unless stated otherwise. `part` accesses only the first n < 16 elements and reads zeros for the
 * others. */
#define INLINE static inline __attribute__((unused)) /* forced inlining takes minutes under a sanitizer */
#define UNROLL
#include "kernels/simd/common.h"
#include "kernels/half_floats.h"
#include <math.h>
#include <string.h>

/* SLEEF's family for this table: finz, unless the table is for a CPU without FMA. SLEEF's own header hides finz in
 * builds whose baseline has no FMA, and includes all intrinsics, which take longer to compile than most kernels. */
#ifndef SCALAR_MATH
#define SCALAR_MATH(function) Sleef_finz_##function##_u10purecfma
#endif
float SCALAR_MATH(powf1)(float, float);
float SCALAR_MATH(expf1)(float);
float SCALAR_MATH(tanhf1)(float);
float SCALAR_MATH(erff1)(float);
float SCALAR_MATH(log1pf1)(float);
double SCALAR_MATH(expd1)(double);
double SCALAR_MATH(log2d1)(double);

#define FLOW_STRIP 4 /* width of a strip of the physarum flow, in vectors */
/* Number of each 8 quotients of the physarum flow that the mixed tile (physarum.c) computes without the divider; 0:
 * no mixed tile. */
#define FLOW_MIXED      0
#define PRODUCT_ROWS    4 /* size of a tile of sums of the product: rows (at least 4) and vectors (at most 2) */
#define PRODUCT_VECTORS 1
#define SEARCH_TOGETHER 4 /* tries of the search for scales whose sums are kept in registers; divides 16 */
/* 1: excludes tries of that search by bounds (search_screens.h, search_whole.h). Here all are compared, to check the
 * others. */
#define SEARCH_SCREENS 0

typedef struct {
    float lane[16];
} f32x16;
typedef struct {
    uint32_t lane[16];
} u32x16;
typedef struct {
    uint16_t lane[16];
} u16x16;
typedef struct {
    double lane[16];
} f64x16;
typedef struct {
    uint8_t lane[16];
} u8x16;
typedef struct {
    uint32_t lane[16];
} m32x16; /* 1 (true) or 0 */
typedef struct {
    uint32_t lane[16];
} m16x16;

/* The body of a function that returns a `type` whose lane l is `expr`. */
#define EACH_LANE(type, expr)                                                                                          \
    type result;                                                                                                       \
    for (int l = 0; l < 16; l++)                                                                                       \
        result.lane[l] = (expr);                                                                                       \
    return result

/* ---- bits ---- */
/* Returns the FP32 with these bits. */
INLINE f32x16 f32_of_bits(u32x16 a)
{
    f32x16 r;
    memcpy(&r, &a, sizeof r);
    return r;
}
/* Returns the bits of each FP32. */
INLINE u32x16 f32_bits(f32x16 a)
{
    u32x16 r;
    memcpy(&r, &a, sizeof r);
    return r;
}

/* ---- u32 ---- */
INLINE u32x16 u32_set1(uint32_t x) { EACH_LANE(u32x16, x); }
/* Returns the lane numbers 0, 1, ... 15. */
INLINE u32x16 u32_lanes(void) { EACH_LANE(u32x16, (uint32_t)l); }
INLINE u32x16 u32_add(u32x16 a, u32x16 b) { EACH_LANE(u32x16, a.lane[l] + b.lane[l]); }
INLINE u32x16 u32_sub(u32x16 a, u32x16 b) { EACH_LANE(u32x16, a.lane[l] - b.lane[l]); }
INLINE u32x16 u32_and(u32x16 a, u32x16 b) { EACH_LANE(u32x16, a.lane[l] & b.lane[l]); }
INLINE u32x16 u32_or(u32x16 a, u32x16 b) { EACH_LANE(u32x16, a.lane[l] | b.lane[l]); }
INLINE u32x16 u32_xor(u32x16 a, u32x16 b) { EACH_LANE(u32x16, a.lane[l] ^ b.lane[l]); }
INLINE u32x16 u32_srl(u32x16 a, int by) { EACH_LANE(u32x16, a.lane[l] >> by); }
INLINE u32x16 u32_sll(u32x16 a, int by) { EACH_LANE(u32x16, a.lane[l] << by); }
INLINE u32x16 u32_min(u32x16 a, u32x16 b) { EACH_LANE(u32x16, a.lane[l] < b.lane[l] ? a.lane[l] : b.lane[l]); }
INLINE u32x16 u32_max(u32x16 a, u32x16 b) { EACH_LANE(u32x16, a.lane[l] > b.lane[l] ? a.lane[l] : b.lane[l]); }
INLINE m32x16 u32_eq(u32x16 a, u32x16 b) { EACH_LANE(m32x16, a.lane[l] == b.lane[l]); }
/* Returns a mask of the lanes with a > b. Both must be below 2^31, because some ISAs compare signed numbers. */
INLINE m32x16 u32_gt(u32x16 a, u32x16 b) { EACH_LANE(m32x16, a.lane[l] > b.lane[l]); }
/* Returns a in lanes where m is true, b in the other lanes. */
INLINE u32x16 u32_select(m32x16 m, u32x16 a, u32x16 b) { EACH_LANE(u32x16, m.lane[l] ? a.lane[l] : b.lane[l]); }
/* Returns a in lanes where m is true, 0 in the other lanes. */
INLINE u32x16 u32_keep(m32x16 m, u32x16 a) { EACH_LANE(u32x16, m.lane[l] ? a.lane[l] : 0); }
/* Returns the upper 32 bits of the products of lanes and factor, and sets *low to the lower 32 bits. */
INLINE u32x16 u32_multiply(u32x16 a, uint32_t factor, u32x16 *low)
{
    for (int l = 0; l < 16; l++)
        low->lane[l] = a.lane[l] * factor;
    EACH_LANE(u32x16, (uint32_t)((uint64_t)a.lane[l] * factor >> 32));
}
/* Functions s16_ take lanes as two signed 16-bit numbers. This one returns (a b + 2^14) >> 15; not both are -2^15. */
INLINE u32x16 s16_multiply(u32x16 a, u32x16 b)
{
    u32x16 r;
    for (int l = 0; l < 16; l++) {
        const int low = (int16_t)a.lane[l] * (int16_t)b.lane[l],
                  high = (int16_t)(a.lane[l] >> 16) * (int16_t)(b.lane[l] >> 16);
        r.lane[l] = (uint32_t)((high + 0x4000) >> 15) << 16 | (uint16_t)((low + 0x4000) >> 15);
    }
    return r;
}
/* Shifts each number left; bits that leave it are lost. */
INLINE u32x16 s16_sll(u32x16 a, int by)
{
    EACH_LANE(u32x16, (a.lane[l] >> 16 << by) << 16 | (uint16_t)(a.lane[l] << by));
}
/* Shifts each number right; zeros enter it. */
INLINE u32x16 s16_srl(u32x16 a, int by)
{
    EACH_LANE(u32x16, (a.lane[l] >> 16 >> by) << 16 | (a.lane[l] & 0xffff) >> by);
}
INLINE u32x16 s16_sub(u32x16 a, u32x16 b)
{
    EACH_LANE(u32x16, ((a.lane[l] >> 16) - (b.lane[l] >> 16)) << 16 | (uint16_t)(a.lane[l] - b.lane[l]));
}
typedef const uint8_t *s16_table;
INLINE s16_table s16_table_of(const uint8_t entries[32]) { return entries; }
/* Returns 256 times entry n for each number n; all must be from 0 to 31. */
INLINE u32x16 s16_lookup(s16_table table, u32x16 at)
{
    EACH_LANE(u32x16, (uint32_t)table[at.lane[l] >> 16 & 31] << 24 | (uint32_t)table[at.lane[l] & 31] << 8);
}
/* Returns the sum of the squares of both numbers. */
INLINE u32x16 s16_squares(u32x16 a)
{
    u32x16 r;
    for (int l = 0; l < 16; l++) {
        const int32_t low = (int16_t)a.lane[l], high = (int16_t)(a.lane[l] >> 16);
        r.lane[l] = (uint32_t)(low * low) + (uint32_t)(high * high);
    }
    return r;
}
/* Returns the largest lane. */
INLINE uint32_t u32_top(u32x16 a)
{
    uint32_t top = 0;
    for (int l = 0; l < 16; l++)
        top = a.lane[l] > top ? a.lane[l] : top;
    return top;
}

/* ---- f32 ---- */
INLINE f32x16 f32_set1(float x) { EACH_LANE(f32x16, x); }
INLINE f32x16 f32_load(const float *p)
{
    f32x16 r;
    memcpy(&r, p, sizeof r);
    return r;
}
/* Loads 8 floats from `low`, then 8 from `high`. */
INLINE f32x16 f32_load_halves(const float *low, const float *high) { EACH_LANE(f32x16, l < 8 ? low[l] : high[l - 8]); }
INLINE void f32_store(float *p, f32x16 a) { memcpy(p, &a, sizeof a); }
/* An ordinary store; on x86 a non-temporal one, for which p must be 64-byte aligned. */
INLINE void f32_stream(float *p, f32x16 a) { f32_store(p, a); }
INLINE f32x16 f32_add(f32x16 a, f32x16 b) { EACH_LANE(f32x16, a.lane[l] + b.lane[l]); }
INLINE f32x16 f32_sub(f32x16 a, f32x16 b) { EACH_LANE(f32x16, a.lane[l] - b.lane[l]); }
INLINE f32x16 f32_mul(f32x16 a, f32x16 b) { EACH_LANE(f32x16, a.lane[l] * b.lane[l]); }
INLINE f32x16 f32_div(f32x16 a, f32x16 b) { EACH_LANE(f32x16, a.lane[l] / b.lane[l]); }
/* Returns a b + c, rounded once. */
INLINE f32x16 f32_fma(f32x16 a, f32x16 b, f32x16 c) { EACH_LANE(f32x16, fmaf(a.lane[l], b.lane[l], c.lane[l])); }
/* Returns c - a b, rounded once. */
INLINE f32x16 f32_fnma(f32x16 a, f32x16 b, f32x16 c) { EACH_LANE(f32x16, fmaf(-a.lane[l], b.lane[l], c.lane[l])); }
/* Returns 1 / a. Callers may rely on a relative error of 2^-14 only, because AVX-512 estimates the reciprocal. */
INLINE f32x16 f32_reciprocal(f32x16 a) { EACH_LANE(f32x16, 1.0f / a.lane[l]); }
INLINE f32x16 f32_sqrt(f32x16 a) { EACH_LANE(f32x16, sqrtf(a.lane[l])); }
/* Returns the smaller of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f32x16 f32_min(f32x16 a, f32x16 b) { EACH_LANE(f32x16, a.lane[l] < b.lane[l] ? a.lane[l] : b.lane[l]); }
/* Returns the larger of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f32x16 f32_max(f32x16 a, f32x16 b) { EACH_LANE(f32x16, a.lane[l] > b.lane[l] ? a.lane[l] : b.lane[l]); }
/* Returns a to the power of e, by SLEEF. */
INLINE f32x16 f32_pow(f32x16 a, f32x16 e) { EACH_LANE(f32x16, SCALAR_MATH(powf1)(a.lane[l], e.lane[l])); }
INLINE f32x16 f32_exp(f32x16 a) { EACH_LANE(f32x16, SCALAR_MATH(expf1)(a.lane[l])); }
INLINE f32x16 f32_tanh(f32x16 a) { EACH_LANE(f32x16, SCALAR_MATH(tanhf1)(a.lane[l])); }
INLINE f32x16 f32_erf(f32x16 a) { EACH_LANE(f32x16, SCALAR_MATH(erff1)(a.lane[l])); }
INLINE f32x16 f32_log1p(f32x16 a) { EACH_LANE(f32x16, SCALAR_MATH(log1pf1)(a.lane[l])); }
/* Rounds to a whole number toward 0. */
INLINE f32x16 f32_trunc(f32x16 a) { EACH_LANE(f32x16, truncf(a.lane[l])); }
/* Returns a mask of the lanes with a >= b; false if one is NaN. */
INLINE m32x16 f32_ge(f32x16 a, f32x16 b) { EACH_LANE(m32x16, a.lane[l] >= b.lane[l]); }
/* Returns a mask of the lanes with a > b; false if one is NaN. */
INLINE m32x16 f32_gt(f32x16 a, f32x16 b) { EACH_LANE(m32x16, a.lane[l] > b.lane[l]); }
/* Returns a mask of the lanes that are NaN. */
INLINE m32x16 f32_nan(f32x16 a) { EACH_LANE(m32x16, isnan(a.lane[l]) != 0); }
/* Returns a in lanes where m is true, b in the other lanes. */
INLINE f32x16 f32_select(m32x16 m, f32x16 a, f32x16 b) { EACH_LANE(f32x16, m.lane[l] ? a.lane[l] : b.lane[l]); }
/* Returns table[at mod 16] for each lane. */
INLINE f32x16 f32_lookup(f32x16 table, u32x16 at) { EACH_LANE(f32x16, table.lane[at.lane[l] & 15]); }
/* Returns table[at] for each lane. */
INLINE f32x16 f32_gather(const float *table, u32x16 at) { EACH_LANE(f32x16, table[at.lane[l]]); }
/* Returns the sum of all lanes, in the order of every ISA: lane l += lane l + 8, then + 4, + 2, + 1. */
INLINE float f32_fold(f32x16 a)
{
    for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            a.lane[l] += a.lane[l + half];
    return a.lane[0];
}
/* Lane l of the result is f32_fold of the 16 floats at p + 16 l; p is 64-byte aligned. */
INLINE f32x16 f32_fold_rows(const float *p) { EACH_LANE(f32x16, f32_fold(f32_load(p + 16 * l))); }
/* Returns the smallest lane. */
INLINE float f32_reduce_min(f32x16 a)
{
    float least = a.lane[0];
    for (int l = 1; l < 16; l++)
        least = a.lane[l] < least ? a.lane[l] : least;
    return least;
}
/* Returns the largest lane. */
INLINE float f32_reduce_max(f32x16 a)
{
    float max = a.lane[0];
    for (int l = 1; l < 16; l++)
        max = a.lane[l] > max ? a.lane[l] : max;
    return max;
}

/* ---- u16 ---- */
INLINE u16x16 u16_set1(uint16_t x) { EACH_LANE(u16x16, x); }
INLINE u16x16 u16_load(const uint16_t *p)
{
    u16x16 r;
    memcpy(&r, p, sizeof r);
    return r;
}
INLINE void u16_store(uint16_t *p, u16x16 a) { memcpy(p, &a, sizeof a); }
/* Stores a, then b. An ordinary store; on x86 a non-temporal one, for which p must be 64-byte aligned. */
INLINE void u16_stream(uint16_t *p, u16x16 a, u16x16 b)
{
    u16_store(p, a);
    u16_store(p + 16, b);
}
INLINE u16x16 u16_and(u16x16 a, u16x16 b) { EACH_LANE(u16x16, (uint16_t)(a.lane[l] & b.lane[l])); }
INLINE u16x16 u16_or(u16x16 a, u16x16 b) { EACH_LANE(u16x16, a.lane[l] | b.lane[l]); }
/* Adds modulo 2^16. */
INLINE u16x16 u16_add(u16x16 a, u16x16 b) { EACH_LANE(u16x16, (uint16_t)(a.lane[l] + b.lane[l])); }
INLINE u16x16 u16_sll(u16x16 a, int by) { EACH_LANE(u16x16, (uint16_t)(a.lane[l] << by)); }
INLINE m16x16 u16_eq(u16x16 a, u16x16 b) { EACH_LANE(m16x16, a.lane[l] == b.lane[l]); }
/* Returns a in lanes where m is true, 0 in the other lanes. */
INLINE u16x16 u16_keep(m16x16 m, u16x16 a) { EACH_LANE(u16x16, m.lane[l] ? a.lane[l] : 0); }
/* Zero-extends each lane to 32 bits. */
INLINE u32x16 u16_widen(u16x16 a) { EACH_LANE(u32x16, a.lane[l]); }
/* Returns the lanes as 16 bits; all must be below 2^16. */
INLINE u16x16 u32_narrow(u32x16 a) { EACH_LANE(u16x16, (uint16_t)a.lane[l]); }

/* ---- u8 ---- */
INLINE u8x16 u8_set1(uint8_t x) { EACH_LANE(u8x16, x); }
INLINE u8x16 u8_load(const uint8_t *p)
{
    u8x16 r;
    memcpy(&r, p, sizeof r);
    return r;
}
INLINE u8x16 u8_or(u8x16 a, u8x16 b) { EACH_LANE(u8x16, a.lane[l] | b.lane[l]); }
/* Subtracts modulo 256. */
INLINE u8x16 u8_sub(u8x16 a, u8x16 b) { EACH_LANE(u8x16, (uint8_t)(a.lane[l] - b.lane[l])); }
/* Returns a >> by & mask for each byte; mask << by must be below 256. */
INLINE u8x16 u8_field(u8x16 a, int by, uint8_t mask) { EACH_LANE(u8x16, a.lane[l] >> by & mask); }
/* Shifts each byte left by `by`; no set bit may leave its byte. */
INLINE u8x16 u8_sll(u8x16 a, int by) { EACH_LANE(u8x16, (uint8_t)(a.lane[l] << by)); }
/* Returns table[at] for each lane; all lanes of `at` must be below 16. */
INLINE u8x16 u8_lookup(u8x16 table, u8x16 at) { EACH_LANE(u8x16, table.lane[at.lane[l]]); }
INLINE u8x16 u8_min(u8x16 a, u8x16 b) { EACH_LANE(u8x16, a.lane[l] < b.lane[l] ? a.lane[l] : b.lane[l]); }
INLINE u8x16 u8_max(u8x16 a, u8x16 b) { EACH_LANE(u8x16, a.lane[l] > b.lane[l] ? a.lane[l] : b.lane[l]); }
/* Returns nonzero if a >= b in any lane. */
INLINE int u8_any_ge(u8x16 a, u8x16 b)
{
    int any = 0;
    for (int l = 0; l < 16; l++)
        any |= a.lane[l] >= b.lane[l];
    return any;
}
INLINE void u8_store(uint8_t *p, u8x16 a) { memcpy(p, &a, sizeof a); }
/* Lane l of the result is bit l of `bits`: 0 or 1. */
INLINE u8x16 u8_of_bits(uint16_t bits) { EACH_LANE(u8x16, bits >> l & 1); }
/* Bit l of the result is lane l of a; all lanes must be 0 or 1. */
INLINE uint16_t u8_to_bits(u8x16 a)
{
    unsigned bits = 0;
    for (int l = 0; l < 16; l++)
        bits |= (unsigned)a.lane[l] << l;
    return (uint16_t)bits;
}
/* Converts whole numbers from -128 to 127 to signed bytes. */
INLINE u8x16 s8_of_f32(f32x16 a) { EACH_LANE(u8x16, (uint8_t)(int8_t)a.lane[l]); }
/* Converts signed bytes to FP32. */
INLINE f32x16 f32_of_s8(u8x16 a) { EACH_LANE(f32x16, (float)(int8_t)a.lane[l]); }
/* Converts unsigned bytes to FP32. */
INLINE f32x16 f32_of_u8(u8x16 a) { EACH_LANE(f32x16, (float)a.lane[l]); }
/* Converts whole numbers below 2^31, rounded to nearest even. */
INLINE f32x16 f32_of_u32(u32x16 a) { EACH_LANE(f32x16, (float)a.lane[l]); }
/* Returns the lanes as bytes; all must be below 256. */
INLINE u8x16 u8_of_u32(u32x16 a) { EACH_LANE(u8x16, (uint8_t)a.lane[l]); }
/* Sign-extends each byte to 16 bits. */
INLINE u16x16 u16_of_s8(u8x16 a) { EACH_LANE(u16x16, (uint16_t)(int8_t)a.lane[l]); }
/* Returns table[at] for each lane; all lanes of `at` must be below 16. */
INLINE u16x16 u16_lookup(u16x16 table, u8x16 at) { EACH_LANE(u16x16, table.lane[at.lane[l]]); }
/* Interleaves the first 8 lanes of a and b: a0, b0, a1, b1, ... */
INLINE u8x16 u8_zip_low(u8x16 a, u8x16 b) { EACH_LANE(u8x16, l % 2 ? b.lane[l / 2] : a.lane[l / 2]); }
/* Interleaves the last 8 lanes of a and b: a8, b8, a9, b9, ... */
INLINE u8x16 u8_zip_high(u8x16 a, u8x16 b) { EACH_LANE(u8x16, l % 2 ? b.lane[8 + l / 2] : a.lane[8 + l / 2]); }
/* Returns the first 8 lanes of a, then the first 8 of b. */
INLINE u8x16 u8_join_low(u8x16 a, u8x16 b) { EACH_LANE(u8x16, l < 8 ? a.lane[l] : b.lane[l - 8]); }
/* Returns the last 8 lanes of a, then the last 8 of b. */
INLINE u8x16 u8_join_high(u8x16 a, u8x16 b) { EACH_LANE(u8x16, l < 8 ? a.lane[l + 8] : b.lane[l]); }
/* Returns lanes 0, 2, ... 14 of a, then of b. u8_evens and u8_odds undo u8_zip_low and u8_zip_high. */
INLINE u8x16 u8_evens(u8x16 a, u8x16 b) { EACH_LANE(u8x16, l < 8 ? a.lane[2 * l] : b.lane[2 * l - 16]); }
/* Returns lanes 1, 3, ... 15 of a, then of b. */
INLINE u8x16 u8_odds(u8x16 a, u8x16 b) { EACH_LANE(u8x16, l < 8 ? a.lane[2 * l + 1] : b.lane[2 * l - 15]); }
/* Returns lane 2 k + 16 x lane 2 k + 1 of a as lane k, then those of b; all lanes must be below 16. */
INLINE u8x16 u8_join_nibbles(u8x16 a, u8x16 b) { return u8_or(u8_evens(a, b), u8_sll(u8_odds(a, b), 4)); }

/* ---- F16 ---- */
/* Converts one F16 to FP32. */
INLINE float f16_widen_one(uint16_t half) { return half_widen(half); }
/* Converts F16 to FP32. */
INLINE f32x16 f16_widen(u16x16 a)
{
    u32x16 r;
    for (int l = 0; l < 16; l++)
        r.lane[l] = half_widen_bits(a.lane[l]);
    return f32_of_bits(r);
}
/* Rounds to F16, to nearest even. */
INLINE u16x16 f16_narrow(f32x16 a)
{
    const u32x16 bits = f32_bits(a);
    EACH_LANE(u16x16, half_narrow_bits(bits.lane[l]));
}

/* ---- masks ---- */
/* Converts a mask of 32-bit lanes to one of 16-bit lanes. */
INLINE m16x16 m32_narrow(m32x16 m) { EACH_LANE(m16x16, m.lane[l]); }
INLINE m16x16 m16_and(m16x16 a, m16x16 b) { EACH_LANE(m16x16, a.lane[l] & b.lane[l]); }
/* Returns a and not b. */
INLINE m16x16 m16_without(m16x16 a, m16x16 b) { EACH_LANE(m16x16, a.lane[l] & !b.lane[l]); }
INLINE m32x16 m32_and(m32x16 a, m32x16 b) { EACH_LANE(m32x16, a.lane[l] & b.lane[l]); }
/* Returns a and not b. */
INLINE m32x16 m32_without(m32x16 a, m32x16 b) { EACH_LANE(m32x16, a.lane[l] & !b.lane[l]); }
/* Bit l of the result says whether lane l is true. */
INLINE unsigned m32_bits(m32x16 m)
{
    unsigned bits = 0;
    for (int l = 0; l < 16; l++)
        bits |= m.lane[l] << l;
    return bits;
}
/* Returns the number of true lanes. */
INLINE unsigned m32_count(m32x16 m)
{
    unsigned count = 0;
    for (int l = 0; l < 16; l++)
        count += m.lane[l];
    return count;
}
/* Returns the number of true lanes. */
INLINE unsigned m16_count(m16x16 m)
{
    unsigned count = 0;
    for (int l = 0; l < 16; l++)
        count += m.lane[l];
    return count;
}

/* ---- f64 ---- */
INLINE f64x16 f64_set1(double x) { EACH_LANE(f64x16, x); }
INLINE f64x16 f64_load(const double *p)
{
    f64x16 r;
    memcpy(&r, p, sizeof r);
    return r;
}
INLINE void f64_store(double *p, f64x16 a) { memcpy(p, &a, sizeof a); }
INLINE f64x16 f64_of_f32(f32x16 a) { EACH_LANE(f64x16, (double)a.lane[l]); }
INLINE f64x16 f64_add(f64x16 a, f64x16 b) { EACH_LANE(f64x16, a.lane[l] + b.lane[l]); }
INLINE f64x16 f64_sub(f64x16 a, f64x16 b) { EACH_LANE(f64x16, a.lane[l] - b.lane[l]); }
INLINE f64x16 f64_mul(f64x16 a, f64x16 b) { EACH_LANE(f64x16, a.lane[l] * b.lane[l]); }
/* Returns a b + c, rounded once. */
INLINE f64x16 f64_fma(f64x16 a, f64x16 b, f64x16 c) { EACH_LANE(f64x16, fma(a.lane[l], b.lane[l], c.lane[l])); }
INLINE f64x16 f64_exp(f64x16 a) { EACH_LANE(f64x16, SCALAR_MATH(expd1)(a.lane[l])); }
INLINE f64x16 f64_log2(f64x16 a) { EACH_LANE(f64x16, SCALAR_MATH(log2d1)(a.lane[l])); }
/* Replaces every NaN by 0x7ff8000000000000, because the NaN that an operation returns differs between ISAs. */
INLINE f64x16 f64_one_nan(f64x16 a) { EACH_LANE(f64x16, isnan(a.lane[l]) ? (double)NAN : a.lane[l]); }
/* Returns a in lanes where m is true, 0 in the other lanes. */
INLINE f64x16 f64_keep(m32x16 m, f64x16 a) { EACH_LANE(f64x16, m.lane[l] ? a.lane[l] : 0.0); }
/* Returns the sum of all lanes in the order of f32_fold. */
INLINE double f64_fold(f64x16 a)
{
    for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            a.lane[l] += a.lane[l + half];
    return a.lane[0];
}

/* Returns the smaller of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f64x16 f64_min(f64x16 a, f64x16 b) { EACH_LANE(f64x16, a.lane[l] < b.lane[l] ? a.lane[l] : b.lane[l]); }
/* Returns the larger of a and b. ISAs differ if one of them is NaN, or if they are zeros of different sign. */
INLINE f64x16 f64_max(f64x16 a, f64x16 b) { EACH_LANE(f64x16, a.lane[l] > b.lane[l] ? a.lane[l] : b.lane[l]); }
/* Rounds down to a whole number. */
INLINE f64x16 f64_floor(f64x16 a) { EACH_LANE(f64x16, floor(a.lane[l])); }
/* Converts whole numbers from 0 to below 2^31. */
INLINE u32x16 u32_of_f64(f64x16 a) { EACH_LANE(u32x16, (uint32_t)a.lane[l]); }

/* ---- pairs ---- */
/* Returns lanes 0, 2, ... 14 of a, then of b. */
INLINE f32x16 f32_evens(f32x16 a, f32x16 b) { EACH_LANE(f32x16, l < 8 ? a.lane[2 * l] : b.lane[2 * l - 16]); }
/* Returns lanes 1, 3, ... 15 of a, then of b. */
INLINE f32x16 f32_odds(f32x16 a, f32x16 b) { EACH_LANE(f32x16, l < 8 ? a.lane[2 * l + 1] : b.lane[2 * l - 15]); }
/* Interleaves the first 8 lanes of a and b: a0, b0, a1, b1, ... */
INLINE f32x16 f32_zip_low(f32x16 a, f32x16 b) { EACH_LANE(f32x16, l % 2 ? b.lane[l / 2] : a.lane[l / 2]); }
/* Interleaves the last 8 lanes of a and b: a8, b8, a9, b9, ... */
INLINE f32x16 f32_zip_high(f32x16 a, f32x16 b) { EACH_LANE(f32x16, l % 2 ? b.lane[8 + l / 2] : a.lane[8 + l / 2]); }

/* Does nothing: f32_stream and u16_stream are ordinary stores here. */
INLINE void stream_end(void) {}

#include "kernels/simd/derived.h"
