/* SPDX-License-Identifier: MIT
 * Decoders (and the encoder of q8_0) for the common block types of GGUF, in vector code; ggml.h has the layouts.
 * Each function processes n blocks. `d` and `dmin` are the F16 scales of a block. Layouts and order of operations are
 * those of ggml: the scale of a group is one rounded product, and each value is one rounded product and, for types with
 * a minimum, one rounded difference. */
#include "kernels/ggml.h"
#include <string.h>

/* The kernels organ_kernels.dequantize and quantize of the 16-bit floats. */
static void dequantize_f16(const void *blocks, float *values, size_t n) { f16_to_f32(blocks, values, n); }
static void dequantize_bf16(const void *blocks, float *values, size_t n) { bf16_to_f32(blocks, values, n); }
static void quantize_f16(const float *values, void *blocks, size_t n) { f32_to_f16(values, blocks, n); }
static void quantize_bf16(const float *values, void *blocks, size_t n) { f32_to_bf16(values, blocks, n); }

/* Returns the F16 at p, which need not be aligned, as FP32. */
INLINE float block_scale(const uint8_t *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return f16_widen_one(half);
}

/* Returns the 32-bit word at p, which need not be aligned. */
INLINE uint32_t word_at(const uint8_t *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Stores scale x code for 16 signed codes. */
INLINE void put_scaled(float *values, u8x16 codes, float scale)
{
    f32_store(values, f32_mul(f32_of_s8(codes), f32_set1(scale)));
}

/* Stores scale x code - minimum for 16 codes below 128. */
INLINE void put_affine(float *values, u8x16 codes, float scale, float minimum)
{
    f32_store(values, f32_sub(f32_mul(f32_of_s8(codes), f32_set1(scale)), f32_set1(minimum)));
}

/* Stores 32 values scale x (code - minus) of 4-bit codes: first of the low halves of 16 bytes, then of the high
 * halves. */
INLINE void put_nibbles(float *values, const uint8_t *bytes, u8x16 minus, float scale)
{
    const u8x16 codes = u8_load(bytes);
    put_scaled(values, u8_sub(u8_field(codes, 0, 15), minus), scale);
    put_scaled(values + 16, u8_sub(u8_field(codes, 4, 15), minus), scale);
}

/* Stores 32 values scale x table[code] of 4-bit codes: first of the low halves of 16 bytes, then of the high halves. */
INLINE void put_looked_up(float *values, const uint8_t *bytes, u8x16 table, float scale)
{
    const u8x16 codes = u8_load(bytes);
    put_scaled(values, u8_lookup(table, u8_field(codes, 0, 15)), scale);
    put_scaled(values + 16, u8_lookup(table, u8_field(codes, 4, 15)), scale);
}

/* ---- 32 elements a block ---- */
/* Decodes n blocks of q8_0: signed bytes and a scale. */
static void dequantize_q8_0(const void *blocks, float *values, size_t n)
{
    const block_q8_0 *b = blocks;
    for (size_t k = 0; k < n; k++, b++, values += 32) {
        const float d = block_scale(b->d);
        put_scaled(values, u8_load(b->codes), d);
        put_scaled(values + 16, u8_load(b->codes + 16), d);
    }
}

/* Decodes n blocks of q4_0: nibbles, offset by 8, and a scale. */
static void dequantize_q4_0(const void *blocks, float *values, size_t n)
{
    const block_q4_0 *b = blocks;
    for (size_t k = 0; k < n; k++, b++, values += 32)
        put_nibbles(values, b->codes, u8_set1(8), block_scale(b->d));
}

/* Decodes n blocks of q4_1: nibbles, a scale and a minimum m, which is added. */
static void dequantize_q4_1(const void *blocks, float *values, size_t n)
{
    const block_q4_1 *b = blocks;
    for (size_t k = 0; k < n; k++, b++, values += 32) {
        const float d = block_scale(b->d), m = block_scale(b->m);
        const u8x16 codes = u8_load(b->codes);
        put_affine(values, u8_field(codes, 0, 15), d, -m);
        put_affine(values + 16, u8_field(codes, 4, 15), d, -m);
    }
}

/* Returns 16 codes of 5 bits, the first (`half` 0) or second half of a block's 32. `high` has the fifth bits of the 32
 * codes, `nibbles` 16 bytes with the first half of the codes in their low halves. */
INLINE u8x16 five_bits(const uint8_t *high, const uint8_t *nibbles, int half)
{
    const uint16_t fifth = (uint16_t)(high[2 * half] | high[2 * half + 1] << 8);
    return u8_or(u8_field(u8_load(nibbles), 4 * half, 15), u8_sll(u8_of_bits(fifth), 4));
}

/* Decodes n blocks of q5_0: codes of 5 bits, offset by 16, and a scale. */
static void dequantize_q5_0(const void *blocks, float *values, size_t n)
{
    const block_q5_0 *b = blocks;
    for (size_t k = 0; k < n; k++, b++)
        UNROLL for (int half = 0; half < 2; half++, values += 16)
            put_scaled(values, u8_sub(five_bits(b->fifth, b->codes, half), u8_set1(16)), block_scale(b->d));
}

/* Decodes n blocks of q5_1: codes of 5 bits, a scale and a minimum m, which is added. */
static void dequantize_q5_1(const void *blocks, float *values, size_t n)
{
    const block_q5_1 *b = blocks;
    for (size_t k = 0; k < n; k++, b++)
        UNROLL for (int half = 0; half < 2; half++, values += 16)
            put_affine(values, five_bits(b->fifth, b->codes, half), block_scale(b->d), -block_scale(b->m));
}

/* Returns the 16 values of IQ4_NL's codes. */
INLINE u8x16 iq4_values(void)
{
    static const int8_t values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    return u8_load((const uint8_t *)values);
}

/* Decodes n blocks of iq4_nl: nibbles that are indices into the table iq4_values, and a scale. */
static void dequantize_iq4_nl(const void *blocks, float *values, size_t n)
{
    const block_q4_0 *b = blocks;
    for (size_t k = 0; k < n; k++, b++, values += 32)
        put_looked_up(values, b->codes, iq4_values(), block_scale(b->d));
}

/* Decodes blocks of mxfp4: an exponent e and 16 bytes of E2M1 codes. The table contains doubled values, so the scale
 * is half of 2^(e - 127), which is subnormal for e < 2. As in ggml, e = 0xff is not treated as NaN. */
static void dequantize_mxfp4(const void *blocks, float *values, size_t n)
{
    static const int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    const block_mxfp4 *b = blocks;
    for (size_t k = 0; k < n; k++, b++, values += 32) {
        const uint32_t bits = b->exponent < 2 ? UINT32_C(0x200000) << b->exponent : (uint32_t)(b->exponent - 1) << 23;
        float d;
        memcpy(&d, &bits, sizeof d);
        put_looked_up(values, b->codes, u8_load((const uint8_t *)doubled), d);
    }
}

/* ---- 256 elements a block, with scales of groups of 16 or 32 ---- */
/* Decodes blocks of q2_k: codes of 2 bits, with a scale and a minimum of 4 bits for each group of 16. */
static void dequantize_q2_k(const void *blocks, float *values, size_t n)
{
    const block_q2_k *b = blocks;
    for (size_t k = 0; k < n; k++, b++) {
        const u8x16 both = u8_load(b->scales);
        float scales[16], minima[16];
        put_scaled(scales, u8_field(both, 0, 15), block_scale(b->d));
        put_scaled(minima, u8_field(both, 4, 15), block_scale(b->dmin));
        for (int half = 0; half < 2; half++) {
            const u8x16 codes[2] = {u8_load(b->codes + 32 * half), u8_load(b->codes + 16 + 32 * half)};
            UNROLL for (int j = 0; j < 8; j++, values += 16)
                put_affine(values, u8_field(codes[j % 2], j / 2 * 2, 3), scales[8 * half + j], minima[8 * half + j]);
        }
    }
}

/* Unpacks the 16 scales of 6 bits of a q3_k block from 12 bytes, subtracts 32 and multiplies them by d. Four bits of
 * each are in the nibbles of the first eight bytes, two in the fields of the last four. */
INLINE void q3_k_scales(const uint8_t *packed, float d, float *scales)
{
    const uint32_t a = word_at(packed), b = word_at(packed + 4), c = word_at(packed + 8), low = 0x0f0f0f0f,
                   two = 0x30303030;
    const uint32_t codes[4] = {(a & low) | (c << 4 & two), (b & low) | (c << 2 & two), (a >> 4 & low) | (c & two),
                               (b >> 4 & low) | (c >> 2 & two)};
    put_scaled(scales, u8_sub(u8_load((const uint8_t *)codes), u8_set1(32)), d);
}

/* Decodes blocks of q3_k: two bits of a code are in `codes`, the third in `high`, and a code is offset by 4. */
static void dequantize_q3_k(const void *blocks, float *values, size_t n)
{
    const block_q3_k *b = blocks;
    for (size_t k = 0; k < n; k++, b++) {
        const u8x16 high[2] = {u8_load(b->high), u8_load(b->high + 16)};
        float scales[16];
        q3_k_scales(b->scales, block_scale(b->d), scales);
        UNROLL for (int j = 0; j < 16; j++, values += 16)
        {
            const u8x16 low = u8_field(u8_load(b->codes + 32 * (j / 8) + 16 * (j % 2)), j % 8 / 2 * 2, 3);
            const u8x16 code = u8_or(low, u8_sll(u8_field(high[j % 2], j / 2, 1), 2));
            put_scaled(values, u8_sub(code, u8_set1(4)), scales[j]);
        }
    }
}

/* Unpacks the 8 scales and 8 minima of 6 bits of a q4_k or q5_k block from 12 bytes. scales[0 .. 8) are the scales
 * times d, minima[8 .. 16) the minima times dmin; the other lanes are unused. */
INLINE void q4_k_scales(const uint8_t *packed, float d, float dmin, float *scales, float *minima)
{
    const uint32_t a = word_at(packed), b = word_at(packed + 4), c = word_at(packed + 8), low = 0x0f0f0f0f,
                   two = 0x30303030;
    const uint32_t six = 0x3f3f3f3f,
                   codes[4] = {a & six, (c & low) | (a >> 2 & two), b & six, (c >> 4 & low) | (b >> 2 & two)};
    put_scaled(scales, u8_load((const uint8_t *)codes), d);
    put_scaled(minima, u8_load((const uint8_t *)codes), dmin);
}

/* Decodes blocks of q4_k: nibbles, with a scale and a minimum for each group of 32. */
static void dequantize_q4_k(const void *blocks, float *values, size_t n)
{
    const block_q4_k *b = blocks;
    for (size_t k = 0; k < n; k++, b++) {
        float scales[16], minima[16];
        q4_k_scales(b->scales, block_scale(b->d), block_scale(b->dmin), scales, minima);
        UNROLL for (int j = 0; j < 16; j++, values += 16)
        {
            const u8x16 codes = u8_load(b->codes + 32 * (j / 4) + 16 * (j % 2));
            put_affine(values, u8_field(codes, j / 2 % 2 * 4, 15), scales[j / 2], minima[8 + j / 2]);
        }
    }
}

/* Decodes blocks of q5_k: nibbles and a fifth bit in `high`, with a scale and a minimum for each group of 32. */
static void dequantize_q5_k(const void *blocks, float *values, size_t n)
{
    const block_q5_k *b = blocks;
    for (size_t k = 0; k < n; k++, b++) {
        const u8x16 high[2] = {u8_load(b->high), u8_load(b->high + 16)};
        float scales[16], minima[16];
        q4_k_scales(b->scales, block_scale(b->d), block_scale(b->dmin), scales, minima);
        UNROLL for (int j = 0; j < 16; j++, values += 16)
        {
            const u8x16 low = u8_field(u8_load(b->codes + 32 * (j / 4) + 16 * (j % 2)), j / 2 % 2 * 4, 15);
            put_affine(values, u8_or(low, u8_sll(u8_field(high[j % 2], j / 2, 1), 4)), scales[j / 2],
                       minima[8 + j / 2]);
        }
    }
}

/* Decodes blocks of q6_k: codes of 6 bits, offset by 32, with a signed scale for each group of 16. In each half of 128
 * elements, the first 64 have the low nibbles of 64 bytes, the last 64 the high nibbles; `high` has the two upper bits
 * of each code. */
static void dequantize_q6_k(const void *blocks, float *values, size_t n)
{
    const block_q6_k *b = blocks;
    for (size_t k = 0; k < n; k++, b++) {
        float scales[16];
        put_scaled(scales, u8_load(b->scales), block_scale(b->d));
        for (int half = 0; half < 2; half++)
            UNROLL for (int j = 0; j < 8; j++, values += 16)
            {
                const u8x16 low = u8_field(u8_load(b->codes + 64 * half + 16 * (j % 4)), j / 4 * 4, 15);
                const u8x16 high = u8_field(u8_load(b->high + 32 * half + 16 * (j % 2)), j / 2 * 2, 3);
                put_scaled(values, u8_sub(u8_or(low, u8_sll(high, 4)), u8_set1(32)), scales[8 * half + j]);
            }
    }
}

/* Decodes blocks of tq2_0: ternary codes of 2 bits, offset by 1. */
static void dequantize_tq2_0(const void *blocks, float *values, size_t n)
{
    const block_tq2_0 *b = blocks;
    for (size_t k = 0; k < n; k++, b++)
        UNROLL for (int j = 0; j < 16; j++, values += 16)
        {
            const u8x16 codes = u8_field(u8_load(b->codes + 32 * (j / 8) + 16 * (j % 2)), j % 8 / 2 * 2, 3);
            put_scaled(values, u8_sub(codes, u8_set1(1)), block_scale(b->d));
        }
}

/* Decodes blocks of iq4_xs: indices into the table of iq4_nl, with a scale of 6 bits, offset by 32, for each group of
 * 32. */
static void dequantize_iq4_xs(const void *blocks, float *values, size_t n)
{
    const block_iq4_xs *b = blocks;
    for (size_t k = 0; k < n; k++, b++) {
        const float d = block_scale(b->d);
        const unsigned high = b->scales_high[0] | (unsigned)b->scales_high[1] << 8;
        for (int j = 0; j < 8; j++, values += 32) {
            const int scale = (int)((b->scales_low[j / 2] >> j % 2 * 4 & 15) | (high >> 2 * j & 3) << 4) - 32;
            put_looked_up(values, b->codes + 16 * j, iq4_values(), d * (float)scale);
        }
    }
}

/* ---- quantising ---- */
/* Rounds to the nearest whole number, ties away from zero, between -127 and 127; a NaN becomes 0. */
INLINE u8x16 nearest_s8(f32x16 a)
{
    const u32x16 magnitude = u32_and(f32_bits(a), u32_set1(MAGNITUDE));
    const f32x16 any = f32_of_bits(u32_keep(f32_ge(f32_of_bits(magnitude), f32_set1(0)), magnitude)),
                 away = f32_min(any, f32_set1(127));
    const f32x16 truncated = f32_trunc(away), up = f32_add(truncated, f32_set1(1));
    const f32x16 nearest = f32_select(f32_ge(f32_sub(away, truncated), f32_set1(0.5f)), up, truncated);
    return s8_of_f32(f32_select(f32_gt(f32_set1(0), a), f32_sub(f32_set1(0), nearest), nearest));
}

/* Returns magnitudes as integers, which have the same order; 0 for a NaN. */
INLINE u32x16 magnitude_bits(f32x16 a)
{
    const u32x16 bits = u32_and(f32_bits(a), u32_set1(MAGNITUDE));
    return u32_select(u32_gt(bits, u32_set1(INFINITE)), u32_set1(0), bits);
}

/* Encodes blocks of q8_0 as ggml does: the largest magnitude becomes 127. */
static void quantize_q8_0(const float *values, void *blocks, size_t n)
{
    block_q8_0 *b = blocks;
    for (size_t k = 0; k < n; k++, b++, values += 32) {
        const f32x16 low = f32_load(values), high = f32_load(values + 16);
        const uint32_t bits = u32_top(u32_max(magnitude_bits(low), magnitude_bits(high)));
        float farthest;
        memcpy(&farthest, &bits, sizeof farthest);
        const float d = farthest / 127, inverse = d != 0 ? 1 / d : 0;
        uint16_t half;
        f32_to_f16(&d, &half, 1);
        memcpy(b->d, &half, sizeof half);
        u8_store(b->codes, nearest_s8(f32_mul(low, f32_set1(inverse))));
        u8_store(b->codes + 16, nearest_s8(f32_mul(high, f32_set1(inverse))));
    }
}
