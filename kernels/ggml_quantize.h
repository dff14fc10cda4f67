/* SPDX-License-Identifier: MIT
 * Encoders for q4_0, q4_1, q5_0 and q5_1 that choose scales and round like ggml's reference. If a value or a
 * reciprocal is not finite, the reference has undefined behaviour; here codes are clamped to their range and a NaN
 * gets code 0. */
#include "kernels/half.h"
#include <float.h>

/* Returns 1 / d; 0 for d = 0. */
INLINE float reciprocal(float d) { return d != 0 ? 1 / d : 0; }

/* Truncates `value` to a whole number between 0 and `top`; 0 for a NaN. */
INLINE u8x16 code_of(f32x16 value, float top)
{
    const f32x16 zero = f32_set1(0), ends = f32_set1(top);
    const f32x16 within = f32_select(f32_ge(value, ends), ends, f32_select(f32_gt(value, zero), value, zero));
    return s8_of_f32(f32_trunc(within));
}

/* Element l is the number of elements from l to the end of a block of 32. The largest of these numbers among matches
 * belongs to the first match. */
static const uint32_t to_the_end[32] = {32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17,
                                        16, 15, 14, 13, 12, 11, 10, 9,  8,  7,  6,  5,  4,  3,  2,  1};

/* Returns elements 0 to 15 (`half` 0) or 16 to 31 (`half` 1) of to_the_end. */
INLINE u32x16 distances_to_end(int half)
{
    return f32_bits(f32_load((const float *)(const void *)(to_the_end + 16 * half)));
}

/* Returns the first of 32 values with the largest magnitude, or 0 if all are zeros or NaN. */
INLINE float value_of_largest_magnitude(const float *values)
{
    const u32x16 low = magnitude_bits(f32_load(values)), high = magnitude_bits(f32_load(values + 16));
    const uint32_t top = u32_top(u32_max(low, high));
    const u32x16 tops = u32_set1(top);
    const u32x16 left =
        u32_max(u32_keep(u32_eq(low, tops), distances_to_end(0)), u32_keep(u32_eq(high, tops), distances_to_end(1)));
    return top ? values[32 - u32_top(left)] : 0;
}

/* Computes 32 codes from 0 to `top` around `middle`, scaled so that the value of largest magnitude, whatever its
 * sign, gets code 0. Returns the scale. */
INLINE float symmetric_codes(const float *values, float top, float middle, u8x16 codes[2])
{
    const float d = value_of_largest_magnitude(values) / -middle;
    const f32x16 inverse = f32_set1(reciprocal(d)), shift = f32_set1(middle + 0.5f);
    codes[0] = code_of(f32_add(f32_mul(f32_load(values), inverse), shift), top);
    codes[1] = code_of(f32_add(f32_mul(f32_load(values + 16), inverse), shift), top);
    return d;
}

/* Returns the first zero of 32 values, with its sign: ggml's minimum is the first of equal values, and +0 equals -0. */
static float first_zero_of_block(const float *values)
{
    int j = 0;
    while (j < 31 && values[j] != 0)
        j++;
    return values[j];
}

/* Computes 32 codes from 0 (the smallest value) to `top` (the largest), and sets *minimum to the smallest value.
 * Returns the scale. Ignores NaN, as ggml does: its search starts from FLT_MAX and -FLT_MAX. */
INLINE float affine_codes(const float *values, float top, u8x16 codes[2], float *minimum)
{
    const f32x16 low = f32_load(values), high = f32_load(values + 16), huge = f32_set1(FLT_MAX),
                 fewest = f32_set1(-FLT_MAX);
    const f32x16 plus[2] = {f32_add(low, f32_set1(0)), f32_add(high, f32_set1(0))}; /* adding 0 removes -0 */
    const m32x16 is[2] = {f32_ge(low, low), f32_ge(high, high)};                    /* excludes NaN */
    const f32x16 mins = f32_min(f32_select(is[0], plus[0], huge), f32_select(is[1], plus[1], huge));
    const f32x16 maxs = f32_max(f32_select(is[0], plus[0], fewest), f32_select(is[1], plus[1], fewest));
    const float min = f32_reduce_min(f32_min(mins, huge)), max = f32_reduce_max(f32_max(maxs, fewest));
    const float d = (max - min) / top;
    const f32x16 inverse = f32_set1(reciprocal(d)), from = f32_set1(min), half = f32_set1(0.5f);
    codes[0] = code_of(f32_add(f32_mul(f32_sub(low, from), inverse), half), top);
    codes[1] = code_of(f32_add(f32_mul(f32_sub(high, from), inverse), half), top);
    *minimum = min == 0 ? first_zero_of_block(values) : min;
    return d;
}

/* Stores the low 4 bits of 32 codes in 16 bytes: the first 16 in the low halves, the last 16 in the high halves. */
INLINE void store_nibbles(uint8_t *bytes, const u8x16 codes[2])
{
    u8_store(bytes, u8_or(u8_field(codes[0], 0, 15), u8_sll(u8_field(codes[1], 0, 15), 4)));
}

/* Stores bit 4 of each of 32 codes in 4 bytes, the first code in the lowest bit. */
INLINE void store_fifth_bits(uint8_t *bytes, const u8x16 codes[2])
{
    UNROLL for (int half = 0; half < 2; half++)
    {
        const uint16_t bits = u8_to_bits(u8_field(codes[half], 4, 1));
        __builtin_memcpy(bytes + 2 * half, &bits, sizeof bits);
    }
}

/* Encodes n blocks of q4_0: codes 0 to 15 around 8. */
static void quantize_q4_0(const float *values, void *blocks, size_t n)
{
    block_q4_0 *b = blocks;
    u8x16 codes[2];
    for (size_t k = 0; k < n; k++, b++, values += 32) {
        half_put(b->d, symmetric_codes(values, 15, 8, codes));
        store_nibbles(b->codes, codes);
    }
}

/* Encodes n blocks of q4_1: codes 0 to 15 from the minimum on. */
static void quantize_q4_1(const float *values, void *blocks, size_t n)
{
    block_q4_1 *b = blocks;
    u8x16 codes[2];
    float least;
    for (size_t k = 0; k < n; k++, b++, values += 32) {
        half_put(b->d, affine_codes(values, 15, codes, &least));
        half_put(b->m, least);
        store_nibbles(b->codes, codes);
    }
}

/* Encodes n blocks of q5_0: codes 0 to 31 around 16. */
static void quantize_q5_0(const float *values, void *blocks, size_t n)
{
    block_q5_0 *b = blocks;
    u8x16 codes[2];
    for (size_t k = 0; k < n; k++, b++, values += 32) {
        half_put(b->d, symmetric_codes(values, 31, 16, codes));
        store_fifth_bits(b->fifth, codes);
        store_nibbles(b->codes, codes);
    }
}

/* Encodes n blocks of q5_1: codes 0 to 31 from the minimum on. */
static void quantize_q5_1(const float *values, void *blocks, size_t n)
{
    block_q5_1 *b = blocks;
    u8x16 codes[2];
    float least;
    for (size_t k = 0; k < n; k++, b++, values += 32) {
        half_put(b->d, affine_codes(values, 31, codes, &least));
        half_put(b->m, least);
        store_fifth_bits(b->fifth, codes);
        store_nibbles(b->codes, codes);
    }
}
