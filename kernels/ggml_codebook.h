/* SPDX-License-Identifier: MIT
 * Decoders for GGUF types whose codes are indices into a codebook (IQ1, IQ2, IQ3): 256 elements in a block, in runs
 * of 8 that share an entry of the codebook. One vector processes two runs, which share a scale in all of these
 * types. The entry of a run is spread to 8 bytes of a word; with the sign as an additional bit, each byte indexes a
 * table of signed values. Layouts, constant factors and the order of operations are those of ggml. */
#include "kernels/ggml_grids.h"

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

/* Returns the little-endian 16-bit word at p. */
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

/* Decodes blocks of iq2_xxs: for each group of 32 values, four bytes select 8 magnitudes each from a grid; the 32-bit
 * word after them has the signs, 7 bits for 8 values, and the scale in its top 4 bits. */
static void dequantize_iq2_xxs(const void *blocks, float *values, size_t n)
{
    const block_iq2_xxs *b = blocks;
    for (size_t k = 0; k < n; k++, b++) {
        const float d = block_scale(b->d);
        for (int g = 0; g < 8; g++, values += 32) {
            const uint8_t *const group = b->groups[g];
            const uint32_t word = word_at(group + 4);
            const float scale = d * (0.5f + (float)(word >> 28)) * 0.25f;
            UNROLL for (int half = 0; half < 2; half++)
            {
                const unsigned signs = eight_signs(word >> 14 * half) | eight_signs(word >> (14 * half + 7)) << 8;
                put_iq2(values + 16 * half, scale, iq2_xxs_grid[group[2 * half]], iq2_xxs_grid[group[2 * half + 1]],
                        signs);
            }
        }
    }
}

/* Decodes blocks of iq2_xs: 9 bits of index and 7 sign bits for each run of 8, and a scale of 4 bits for two runs. */
static void dequantize_iq2_xs(const void *blocks, float *values, size_t n)
{
    const block_iq2_xs *b = blocks;
    for (size_t k = 0; k < n; k++, b++) {
        const float d = block_scale(b->d);
        for (int pair = 0; pair < 16; pair++, values += 16) {
            const uint32_t both = word_at(b->indices + 4 * pair);
            const float scale = d * (0.5f + (float)(b->scales[pair / 2] >> pair % 2 * 4 & 15)) * 0.25f;
            put_iq2(values, scale, iq2_xs_grid[both & 511], iq2_xs_grid[both >> 16 & 511],
                    eight_signs(both >> 9) | eight_signs(both >> 25) << 8);
        }
    }
}

/* Decodes blocks of iq2_s: 10 bits of index (two of them in `high`) and 8 sign bits for each run of 8, and a scale of
 * 4 bits for two runs. */
static void dequantize_iq2_s(const void *blocks, float *values, size_t n)
{
    const block_iq2_s *b = blocks;
    for (size_t k = 0; k < n; k++, b++) {
        const float d = block_scale(b->d);
        for (int pair = 0; pair < 16; pair++, values += 16) {
            const unsigned high = (unsigned)b->high[pair / 2] >> pair % 2 * 4;
            const float scale = d * (0.5f + (float)(b->scales[pair / 2] >> pair % 2 * 4 & 15)) * 0.25f;
            put_iq2(values, scale, iq2_s_grid[b->indices[2 * pair] | (high & 3) << 8],
                    iq2_s_grid[b->indices[2 * pair + 1] | (high >> 2 & 3) << 8], half_word_at(b->signs + 2 * pair));
        }
    }
}

/* Decodes blocks of iq3_xxs: each byte selects 4 magnitudes from a grid; a word for 32 values has their signs and the
 * scale. */
static void dequantize_iq3_xxs(const void *blocks, float *values, size_t n)
{
    static const int8_t table[16] = {4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62};
    const u8x16 magnitudes = u8_load((const uint8_t *)table);
    const block_iq3_xxs *b = blocks;
    for (size_t k = 0; k < n; k++, b++) {
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
}

/* Decodes blocks of iq3_s: like iq3_xxs with 9 bits for each grid entry, all signs stored, and scales in nibbles. */
static void dequantize_iq3_s(const void *blocks, float *values, size_t n)
{
    static const int8_t table[16] = {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15};
    const u8x16 magnitudes = u8_load((const uint8_t *)table);
    const block_iq3_s *b = blocks;
    for (size_t k = 0; k < n; k++, b++) {
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

/* Decodes blocks of iq1_s: 11 bits of index for each run of 8, and a word for four runs with the high bits of their
 * indices, a scale of 3 bits and the direction of the shift. */
static void dequantize_iq1_s(const void *blocks, float *values, size_t n)
{
    const block_iq1_s *b = blocks;
    for (size_t k = 0; k < n; k++, b++) {
        const float d = block_scale(b->d);
        for (int pair = 0; pair < 16; pair++, values += 16) {
            const unsigned all = half_word_at(b->high + pair / 2 * 2), high = all >> pair % 2 * 6;
            put_iq1(values, d * (float)(2 * (all >> 12 & 7) + 1), iq1_grid[b->indices[2 * pair] | (high & 7) << 8],
                    iq1_grid[b->indices[2 * pair + 1] | (high >> 3 & 7) << 8], all >> 15 ? 0xffff : 0);
        }
    }
}

/* Decodes blocks of iq1_m: 11 bits select 8 values from a grid; the F16 scale of the block is spread over the top
 * nibbles of `scales`, whose other bits are the scales of the groups. */
static void dequantize_iq1_m(const void *blocks, float *values, size_t n)
{
    const block_iq1_m *b = blocks;
    for (size_t k = 0; k < n; k++, b++) {
        const uint8_t *scales = b->scales;
        const unsigned half =
            scales[1] >> 4 | scales[3] >> 4 << 4 | scales[5] >> 4 << 8 | (unsigned)(scales[7] >> 4) << 12;
        const float d = f16_widen_one((uint16_t)half);
        for (int pair = 0; pair < 16; pair++, values += 16) {
            const unsigned high = b->high[pair], scale = half_word_at(scales + pair / 4 * 2) >> pair % 4 * 3 & 7;
            put_iq1(values, d * (float)(2 * scale + 1), iq1_grid[b->indices[2 * pair] | (high & 7) << 8],
                    iq1_grid[b->indices[2 * pair + 1] | (high >> 4 & 7) << 8],
                    (high & 8 ? 0xff : 0) | (high & 128 ? 0xff00 : 0));
        }
    }
}
