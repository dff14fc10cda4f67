/* SPDX-License-Identifier: MIT
 * Decoders (and the encoder of q8_0) for the common block types of GGUF, in vector code; ggml.h has the layouts.
 * Each function processes n blocks. `d` and `dmin` are the F16 scales of a block. Layouts and order of operations are
 * those of ggml: the scale of a group is one rounded product, and each value is one rounded product and, for types with
 * a minimum, one rounded difference. */
#include "kernels/simd/isa.h"
#include <string.h>
#ifdef ISA
#include "kernels/ggml.h"
#include "kernels/ggml_grids.h"

void KERNEL(dequantize_f16)(const void *blocks, float *values, size_t n) { KERNEL(f16_to_f32)(blocks, values, n); }
void KERNEL(dequantize_bf16)(const void *blocks, float *values, size_t n) { KERNEL(bf16_to_f32)(blocks, values, n); }
void KERNEL(quantize_f16)(const float *values, void *blocks, size_t n) { KERNEL(f32_to_f16)(values, blocks, n); }
void KERNEL(quantize_bf16)(const float *values, void *blocks, size_t n) { KERNEL(f32_to_bf16)(values, blocks, n); }

/* The F16 at p need not be aligned. */
INLINE float block_scale(const uint8_t *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return f16_widen_one(half);
}

INLINE uint32_t word_at(const uint8_t *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* The codes are signed. */
INLINE void put_scaled(float *values, u8x16 codes, float scale)
{
    f32_store(values, f32_mul(f32_of_s8(codes), f32_set1(scale)));
}

/* The codes are below 128. */
INLINE void put_affine(float *values, u8x16 codes, float scale, float minimum)
{
    f32_store(values, f32_sub(f32_mul(f32_of_s8(codes), f32_set1(scale)), f32_set1(minimum)));
}

/* The low halves of the 16 bytes come first, then the high halves. */
INLINE void put_nibbles(float *values, const uint8_t *bytes, u8x16 minus, float scale)
{
    const u8x16 codes = u8_load(bytes);
    put_scaled(values, u8_sub(u8_field(codes, 0, 15), minus), scale);
    put_scaled(values + 16, u8_sub(u8_field(codes, 4, 15), minus), scale);
}

/* The low halves of the 16 bytes come first, then the high halves. */
INLINE void put_looked_up(float *values, const uint8_t *bytes, u8x16 table, float scale)
{
    const u8x16 codes = u8_load(bytes);
    put_scaled(values, u8_lookup(table, u8_field(codes, 0, 15)), scale);
    put_scaled(values + 16, u8_lookup(table, u8_field(codes, 4, 15)), scale);
}

/* ---- 32 elements a block ---- */
INLINE void decode_q8_0(const block_q8_0 *b, float *values)
{
    const float d = block_scale(b->d);
    put_scaled(values, u8_load(b->codes), d);
    put_scaled(values + 16, u8_load(b->codes + 16), d);
}

/* Nibbles are offset by 8. */
INLINE void decode_q4_0(const block_q4_0 *b, float *values)
{
    put_nibbles(values, b->codes, u8_set1(8), block_scale(b->d));
}

INLINE void decode_q4_1(const block_q4_1 *b, float *values)
{
    const float d = block_scale(b->d), m = block_scale(b->m);
    const u8x16 codes = u8_load(b->codes);
    put_affine(values, u8_field(codes, 0, 15), d, -m);
    put_affine(values + 16, u8_field(codes, 4, 15), d, -m);
}

/* `high` has the fifth bits of the 32 codes, `nibbles` 16 bytes with the first half of the codes in their low
 * halves. */
INLINE u8x16 five_bits(const uint8_t *high, const uint8_t *nibbles, int half)
{
    const uint16_t fifth = (uint16_t)(high[2 * half] | high[2 * half + 1] << 8);
    return u8_or(u8_field(u8_load(nibbles), 4 * half, 15), u8_sll(u8_of_bits(fifth), 4));
}

/* Codes of 5 bits are offset by 16. */
INLINE void decode_q5_0(const block_q5_0 *b, float *values)
{
    UNROLL for (int half = 0; half < 2; half++, values += 16)
        put_scaled(values, u8_sub(five_bits(b->fifth, b->codes, half), u8_set1(16)), block_scale(b->d));
}

INLINE void decode_q5_1(const block_q5_1 *b, float *values)
{
    UNROLL for (int half = 0; half < 2; half++, values += 16)
        put_affine(values, five_bits(b->fifth, b->codes, half), block_scale(b->d), -block_scale(b->m));
}

INLINE u8x16 iq4_values(void)
{
    static const int8_t values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    return u8_load((const uint8_t *)values);
}

/* Nibbles are indices into the table iq4_values. */
INLINE void decode_iq4_nl(const block_q4_0 *b, float *values)
{
    put_looked_up(values, b->codes, iq4_values(), block_scale(b->d));
}

/* Decodes a block of mxfp4: an exponent e and 16 bytes of E2M1 codes. The table contains doubled values, so the scale
 * is half of 2^(e - 127), which is subnormal for e < 2. As in ggml, e = 0xff is not treated as NaN. */
INLINE void decode_mxfp4(const block_mxfp4 *b, float *values)
{
    static const int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    const uint32_t bits = b->exponent < 2 ? UINT32_C(0x200000) << b->exponent : (uint32_t)(b->exponent - 1) << 23;
    float d;
    memcpy(&d, &bits, sizeof d);
    put_looked_up(values, b->codes, u8_load((const uint8_t *)doubled), d);
}

/* ---- 256 elements a block, with scales of groups of 16 or 32 ---- */
/* Decodes a block of q2_k: codes of 2 bits, with a scale and a minimum of 4 bits for each group of 16. */
INLINE void decode_q2_k(const block_q2_k *b, float *values)
{
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

/* Decodes a block of q3_k: two bits of a code are in `codes`, the third in `high`, and a code is offset by 4. */
INLINE void decode_q3_k(const block_q3_k *b, float *values)
{
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

/* Decodes a block of q4_k: nibbles, with a scale and a minimum for each group of 32. */
INLINE void decode_q4_k(const block_q4_k *b, float *values)
{
    float scales[16], minima[16];
    q4_k_scales(b->scales, block_scale(b->d), block_scale(b->dmin), scales, minima);
    UNROLL for (int j = 0; j < 16; j++, values += 16)
    {
        const u8x16 codes = u8_load(b->codes + 32 * (j / 4) + 16 * (j % 2));
        put_affine(values, u8_field(codes, j / 2 % 2 * 4, 15), scales[j / 2], minima[8 + j / 2]);
    }
}

/* Decodes a block of q5_k: nibbles and a fifth bit in `high`, with a scale and a minimum for each group of 32. */
INLINE void decode_q5_k(const block_q5_k *b, float *values)
{
    const u8x16 high[2] = {u8_load(b->high), u8_load(b->high + 16)};
    float scales[16], minima[16];
    q4_k_scales(b->scales, block_scale(b->d), block_scale(b->dmin), scales, minima);
    UNROLL for (int j = 0; j < 16; j++, values += 16)
    {
        const u8x16 low = u8_field(u8_load(b->codes + 32 * (j / 4) + 16 * (j % 2)), j / 2 % 2 * 4, 15);
        put_affine(values, u8_or(low, u8_sll(u8_field(high[j % 2], j / 2, 1), 4)), scales[j / 2], minima[8 + j / 2]);
    }
}

/* Decodes a block of q6_k: codes of 6 bits, offset by 32, with a signed scale for each group of 16. In each half of 128
 * elements, the first 64 have the low nibbles of 64 bytes, the last 64 the high nibbles; `high` has the two upper bits
 * of each code. */
INLINE void decode_q6_k(const block_q6_k *b, float *values)
{
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

/* Decodes a block of tq2_0: ternary codes of 2 bits, offset by 1. */
INLINE void decode_tq2_0(const block_tq2_0 *b, float *values)
{
    UNROLL for (int j = 0; j < 16; j++, values += 16)
    {
        const u8x16 codes = u8_field(u8_load(b->codes + 32 * (j / 8) + 16 * (j % 2)), j % 8 / 2 * 2, 3);
        put_scaled(values, u8_sub(codes, u8_set1(1)), block_scale(b->d));
    }
}

/* Decodes a block of iq4_xs: indices into the table of iq4_nl, with a scale of 6 bits, offset by 32, for each group of
 * 32. */
INLINE void decode_iq4_xs(const block_iq4_xs *b, float *values)
{
    const float d = block_scale(b->d);
    const unsigned high = b->scales_high[0] | (unsigned)b->scales_high[1] << 8;
    for (int j = 0; j < 8; j++, values += 32) {
        const int scale = (int)((b->scales_low[j / 2] >> j % 2 * 4 & 15) | (high >> 2 * j & 3) << 4) - 32;
        put_looked_up(values, b->codes + 16 * j, iq4_values(), d * (float)scale);
    }
}

/* ---- types whose codes are indices into a codebook: IQ1, IQ2, IQ3 ---- */

/* A block has 256 elements, in runs of 8 that share an entry of the codebook. One vector processes two runs, which
 * share a scale in all of these types. The entry of a run is spread to 8 bytes of a word; with the sign as an
 * additional bit, each byte indexes a table of signed values. Layouts, constant factors and the order of operations are
 * those of ggml. */

/* Spreads the eight fields of 2 bits of an entry of a codebook to one byte each: separates halves, then pairs, then
 * single fields. */
INLINE uint64_t spread_pairs(uint64_t entry)
{
    entry = (entry | entry << 24) & 0x000000ff000000ff;
    entry = (entry | entry << 12) & 0x000f000f000f000f;
    return (entry | entry << 6) & 0x0303030303030303;
}

/* Spreads two entries of four fields of 3 bits to one byte each, like spread_pairs. */
INLINE uint64_t spread_triples(uint64_t first, uint64_t second)
{
    uint64_t both = first | second << 12;
    both = (both | both << 20) & 0x00000fff00000fff;
    both = (both | both << 10) & 0x003f003f003f003f;
    return (both | both << 5) & 0x0707070707070707;
}

/* Returns eight sign bits from the seven stored ones: the eighth makes the number of negative signs even. */
INLINE unsigned eight_signs(uint32_t seven) { return (seven & 127) | (unsigned)__builtin_parity(seven & 127) << 7; }

INLINE unsigned half_word_at(const uint8_t *p) { return (unsigned)p[0] | (unsigned)p[1] << 8; }

/* Returns 16 codes, one in each byte: the fields of `width` bits of two runs, spread to the bytes of `first` and
 * `second`, and above field k the bit k of `signs`. */
INLINE u8x16 codes_of_runs(uint64_t first, uint64_t second, unsigned signs, int width)
{
    const uint64_t both[2] = {first, second};
    return u8_or(u8_load((const uint8_t *)both), u8_sll(u8_of_bits((uint16_t)signs), width));
}

/* Stores 16 values of IQ2 from two entries of the codebook. Fields 0, 1 and 2 of an entry mean the magnitudes 8, 25 and
 * 43 times `scale`; a set bit of `signs` makes a value negative. */
INLINE void put_iq2(float *values, float scale, unsigned first, unsigned second, unsigned signs)
{
    static const int8_t table[16] = {8, 25, 43, 0, -8, -25, -43, 0};
    const u8x16 codes = codes_of_runs(spread_pairs(first), spread_pairs(second), signs, 2);
    put_scaled(values, u8_lookup(u8_load((const uint8_t *)table), codes), scale);
}

/* Decodes a block of iq2_xxs: for each group of 32 values, four bytes select 8 magnitudes each from a grid; the 32-bit
 * word after them has the signs, 7 bits for 8 values, and the scale in its top 4 bits. */
INLINE void decode_iq2_xxs(const block_iq2_xxs *b, float *values)
{
    const float d = block_scale(b->d);
    for (int g = 0; g < 8; g++, values += 32) {
        const uint8_t *const group = b->groups[g];
        const uint32_t word = word_at(group + 4);
        const float scale = d * (0.5f + (float)(word >> 28)) * 0.25f;
        UNROLL for (int half = 0; half < 2; half++)
        {
            const unsigned signs = eight_signs(word >> 14 * half) | eight_signs(word >> (14 * half + 7)) << 8;
            put_iq2(values + 16 * half, scale, iq2_xxs_grid[group[2 * half]], iq2_xxs_grid[group[2 * half + 1]], signs);
        }
    }
}

/* Decodes a block of iq2_xs: 9 bits of index and 7 sign bits for each run of 8, and a scale of 4 bits for two runs. */
INLINE void decode_iq2_xs(const block_iq2_xs *b, float *values)
{
    const float d = block_scale(b->d);
    for (int pair = 0; pair < 16; pair++, values += 16) {
        const uint32_t both = word_at(b->indices + 4 * pair);
        const float scale = d * (0.5f + (float)(b->scales[pair / 2] >> pair % 2 * 4 & 15)) * 0.25f;
        put_iq2(values, scale, iq2_xs_grid[both & 511], iq2_xs_grid[both >> 16 & 511],
                eight_signs(both >> 9) | eight_signs(both >> 25) << 8);
    }
}

/* Decodes a block of iq2_s: 10 bits of index (two of them in `high`) and 8 sign bits for each run of 8, and a scale of
 * 4 bits for two runs. */
INLINE void decode_iq2_s(const block_iq2_s *b, float *values)
{
    const float d = block_scale(b->d);
    for (int pair = 0; pair < 16; pair++, values += 16) {
        const unsigned high = (unsigned)b->high[pair / 2] >> pair % 2 * 4;
        const float scale = d * (0.5f + (float)(b->scales[pair / 2] >> pair % 2 * 4 & 15)) * 0.25f;
        put_iq2(values, scale, iq2_s_grid[b->indices[2 * pair] | (high & 3) << 8],
                iq2_s_grid[b->indices[2 * pair + 1] | (high >> 2 & 3) << 8], half_word_at(b->signs + 2 * pair));
    }
}

/* Decodes a block of iq3_xxs: each byte selects 4 magnitudes from a grid; a word for 32 values has their signs and the
 * scale. */
INLINE void decode_iq3_xxs(const block_iq3_xxs *b, float *values)
{
    static const int8_t table[16] = {4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62};
    const u8x16 magnitudes = u8_load((const uint8_t *)table);
    const float d = block_scale(b->d);
    for (int pair = 0; pair < 16; pair++, values += 16) {
        const uint8_t *at = b->indices + 4 * pair;
        const uint32_t word = word_at(b->groups + pair / 2 * 4), signs = word >> pair % 2 * 14;
        const u8x16 codes = codes_of_runs(spread_triples(iq3_xxs_grid[at[0]], iq3_xxs_grid[at[1]]),
                                          spread_triples(iq3_xxs_grid[at[2]], iq3_xxs_grid[at[3]]),
                                          eight_signs(signs) | eight_signs(signs >> 7) << 8, 3);
        put_scaled(values, u8_lookup(magnitudes, codes), d * (0.5f + (float)(word >> 28)) * 0.5f);
    }
}

/* Decodes a block of iq3_s: like iq3_xxs with 9 bits for each grid entry, all signs stored, and scales in nibbles. */
INLINE void decode_iq3_s(const block_iq3_s *b, float *values)
{
    static const int8_t table[16] = {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15};
    const u8x16 magnitudes = u8_load((const uint8_t *)table);
    const float d = block_scale(b->d);
    for (int pair = 0; pair < 16; pair++, values += 16) {
        const uint8_t *at = b->indices + 4 * pair;
        const unsigned high = (unsigned)b->high[pair / 2] >> pair % 2 * 4;
        const float scale = d * (float)(1 + 2 * (b->scales[pair / 4] >> pair % 4 / 2 * 4 & 15));
        const u8x16 codes =
            codes_of_runs(spread_triples(iq3_s_grid[at[0] | (high & 1) << 8], iq3_s_grid[at[1] | (high & 2) << 7]),
                          spread_triples(iq3_s_grid[at[2] | (high & 4) << 6], iq3_s_grid[at[3] | (high & 8) << 5]),
                          half_word_at(b->signs + 2 * pair), 3);
        put_scaled(values, u8_lookup(magnitudes, codes), scale);
    }
}

/* Stores 16 values of IQ1. `first` and `second` are entries of the codebook: eight fields of 2 bits, which mean -1, 0
 * or 1. Adds 1/8 to value k, or subtracts 1/8 if bit k of `down` is set, and multiplies the sum by `scale`. The shift
 * by 1/8 is exact. */
INLINE void put_iq1(float *values, float scale, unsigned first, unsigned second, unsigned down)
{
    static const int8_t eighths[16] = {-7, 1, 9, 0, -9, -1, 7, 0};
    const u8x16 codes = codes_of_runs(spread_pairs(first), spread_pairs(second), down, 2);
    const f32x16 exact = f32_mul(f32_of_s8(u8_lookup(u8_load((const uint8_t *)eighths), codes)), f32_set1(0.125f));
    f32_store(values, f32_mul(exact, f32_set1(scale)));
}

/* Decodes a block of iq1_s: 11 bits of index for each run of 8, and a word for four runs with the high bits of their
 * indices, a scale of 3 bits and the direction of the shift. */
INLINE void decode_iq1_s(const block_iq1_s *b, float *values)
{
    const float d = block_scale(b->d);
    for (int pair = 0; pair < 16; pair++, values += 16) {
        const unsigned all = half_word_at(b->high + pair / 2 * 2), high = all >> pair % 2 * 6;
        put_iq1(values, d * (float)(2 * (all >> 12 & 7) + 1), iq1_grid[b->indices[2 * pair] | (high & 7) << 8],
                iq1_grid[b->indices[2 * pair + 1] | (high >> 3 & 7) << 8], all >> 15 ? 0xffff : 0);
    }
}

/* Decodes a block of iq1_m: 11 bits select 8 values from a grid; the F16 scale of the block is spread over the top
 * nibbles of `scales`, whose other bits are the scales of the groups. */
INLINE void decode_iq1_m(const block_iq1_m *b, float *values)
{
    const uint8_t *scales = b->scales;
    const unsigned half = scales[1] >> 4 | scales[3] >> 4 << 4 | scales[5] >> 4 << 8 | (unsigned)(scales[7] >> 4) << 12;
    const float d = f16_widen_one((uint16_t)half);
    for (int pair = 0; pair < 16; pair++, values += 16) {
        const unsigned high = b->high[pair], scale = half_word_at(scales + pair / 4 * 2) >> pair % 4 * 3 & 7;
        put_iq1(values, d * (float)(2 * scale + 1), iq1_grid[b->indices[2 * pair] | (high & 7) << 8],
                iq1_grid[b->indices[2 * pair + 1] | (high >> 4 & 7) << 8],
                (high & 8 ? 0xff : 0) | (high & 128 ? 0xff00 : 0));
    }
}

/* ---- rarer types ---- */

/* Returns the first ternary digit of each byte, less 1. Byte b represents five ternary digits as the fraction b /
 * 256, the most significant digit first: the first digit is floor(3 b / 256), which is at least 1 above 85 and 2 above
 * 170. Multiplying by 3 modulo 256 moves the next digit to the front. */
INLINE u8x16 first_trit(u8x16 a)
{
    const u8x16 one = u8_set1(1), above_85 = u8_min(u8_sub(u8_max(a, u8_set1(85)), u8_set1(85)), one);
    const u8x16 above_170 = u8_min(u8_sub(u8_max(a, u8_set1(170)), u8_set1(170)), one);
    return u8_sub(above_85, u8_sub(one, above_170));
}

/* Returns 3 x a modulo 256, with the operations that all vector sets have for bytes. */
INLINE u8x16 times_three(u8x16 a) { return u8_sub(a, u8_sub(u8_sub(u8_set1(0), a), a)); }

/* Decodes a block of tq1_0: most bytes represent five ternary digits (see first_trit), which are read one after
 * another; the last four bytes represent four digits each. */
INLINE void decode_tq1_0(const block_tq1_0 *b, float *values)
{
    const float d = block_scale(b->d);
    u8x16 a[3] = {u8_load(b->fives), u8_load(b->fives + 16), u8_load(b->fives + 32)};
    uint8_t last[16];
    UNROLL for (int place = 0; place < 5; place++)
    {
        put_scaled(values + 32 * place, first_trit(a[0]), d);
        put_scaled(values + 32 * place + 16, first_trit(a[1]), d);
        put_scaled(values + 160 + 16 * place, first_trit(a[2]), d);
        a[0] = times_three(a[0]), a[1] = times_three(a[1]), a[2] = times_three(a[2]);
    }
    for (int j = 0; j < 4; j++) {
        last[j] = b->fours[j];
        last[j + 4] = (uint8_t)(last[j] * 3);
        last[j + 8] = (uint8_t)(last[j] * 9);
        last[j + 12] = (uint8_t)(last[j] * 27);
    }
    put_scaled(values + 240, first_trit(u8_load(last)), d);
}

/* Returns half the value of an unsigned E4M3 (bias 7), because the table of codes is doubled. As in ggml, 0x7f is 0
 * and the top bit is ignored. */
INLINE float half_of_ue4m3(uint8_t code)
{
    const int exponent = code >> 3 & 15, fraction = code & 7;
    if (code == 0x7f)
        return 0.0f;
    return exponent ? (float)((8 + fraction) << exponent) * 0x1p-11f : (float)fraction * 0x1p-10f;
}

/* Decodes a block of nvfp4: E2M1 codes with an unsigned E4M3 scale for each of four groups of 16. The 8 bytes of a
 * group have its first 8 codes in their low halves, its last 8 in their high halves. */
INLINE void decode_nvfp4(const block_nvfp4 *b, float *values)
{
    static const int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    const u8x16 table = u8_load((const uint8_t *)doubled);
    for (int two = 0; two < 4; two += 2, values += 32) {
        const u8x16 both = u8_load(b->codes + 8 * two), low = u8_field(both, 0, 15), high = u8_field(both, 4, 15);
        put_scaled(values, u8_lookup(table, u8_join_low(low, high)), half_of_ue4m3(b->scales[two]));
        put_scaled(values + 16, u8_lookup(table, u8_join_high(low, high)), half_of_ue4m3(b->scales[two + 1]));
    }
}

/* Decodes a block of q1_0: a set bit is +d, else -d. */
INLINE void decode_q1_0(const block_q1_0 *b, float *values)
{
    const float d = block_scale(b->d);
    for (int j = 0; j < 8; j++, values += 16)
        put_scaled(values, u8_sub(u8_sll(u8_of_bits((uint16_t)half_word_at(b->signs + 2 * j)), 1), u8_set1(1)), d);
}

/* Decodes a block of q2_0: codes of two bits, offset by 1, and a scale. A byte has the codes of four adjacent elements,
 * from the lowest bits on; the zips put the four fields of all bytes in this order. */
INLINE void decode_q2_0(const block_q2_0 *b, float *values)
{
    const float d = block_scale(b->d);
    const u8x16 a = u8_load(b->codes), one = u8_set1(1);
    const u8x16 first = u8_sub(u8_field(a, 0, 3), one), second = u8_sub(u8_field(a, 2, 3), one);
    const u8x16 third = u8_sub(u8_field(a, 4, 3), one), fourth = u8_sub(u8_field(a, 6, 3), one);
    const u8x16 odd_low = u8_zip_low(first, third), even_low = u8_zip_low(second, fourth);
    const u8x16 odd_high = u8_zip_high(first, third), even_high = u8_zip_high(second, fourth);
    put_scaled(values, u8_zip_low(odd_low, even_low), d);
    put_scaled(values + 16, u8_zip_high(odd_low, even_low), d);
    put_scaled(values + 32, u8_zip_low(odd_high, even_high), d);
    put_scaled(values + 48, u8_zip_high(odd_high, even_high), d);
}

/* ---- arrays larger than the caches ---- */

/* Pieces are decoded into a buffer that fits L1, then copied with non-temporal stores. */

enum { STREAM_FLOATS = 2048 }; /* values in the buffer */

/* Decodes n blocks of `bytes` bytes and `elements` values with `dequantize`. Large outputs are decoded piece by
 * piece into a buffer in the cache and copied from there with non-temporal stores. */
SHARED void dequantize_to_stream(organ_dequantize_blocks *dequantize, const uint8_t *blocks, size_t bytes,
                                 size_t elements, float *values, size_t n)
{
    if (n * elements * sizeof *values < STREAM_BYTES) {
        dequantize(blocks, values, n);
        return;
    }
    while (n > 0) {
        _Alignas(64) float some[STREAM_FLOATS];
        const size_t max = STREAM_FLOATS / elements, now = n < max ? n : max;
        dequantize(blocks, some, now);
        stream_copy(some, values, now * elements * sizeof *some);
        blocks += now * bytes;
        values += now * elements;
        n -= now;
    }
    stream_end();
}

/* Defines organ_kernels.dequantize of a block type from the function that decodes one block. */
#define DEQUANTIZER(isa, name, type, number, block, elements)                                                          \
    static void dequantize_##type(const void *blocks, float *values, size_t n)                                         \
    {                                                                                                                  \
        const block *b = blocks;                                                                                       \
        for (size_t k = 0; k < n; k++, b++, values += (elements))                                                      \
            decode_##type(b, values);                                                                                  \
    }                                                                                                                  \
    void KERNEL(dequantize_##type)(const void *blocks, float *values, size_t n)                                        \
    {                                                                                                                  \
        dequantize_to_stream(dequantize_##type, blocks, sizeof(block), elements, values, n);                           \
    }
GGML_BLOCK_TYPES(DEQUANTIZER, )

#endif
