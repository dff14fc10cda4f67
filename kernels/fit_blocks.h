/* SPDX-License-Identifier: MIT
 * Quantisers with a search for scales, for GGUF types with blocks of 32 values (organ_fit_blocks). */
#include "kernels/fit.h"

/* The properties of a block type. */
typedef struct fit_block {
    size_t bytes;              /* size of a block */
    int affine;                /* 1: the type has a minimum */
    int fifth;                 /* 1: codes of 5 bits, whose fifth bits are stored separately */
    float high;                /* largest code */
    const fit_symmetric *kind; /* range of codes and scales to try; NULL for types with a minimum */
    float plus;                /* offset added to each code before it is stored */
} fit_block;

/* Stores the 32 codes `bytes` in the block `to` after its scale (and minimum): as bytes for q8_0, the only type with
 * codes above 100; for other types as nibbles, with the fifth bits (if any) before the nibbles. */
INLINE void fit_store_block(uint8_t *to, const uint8_t *bytes, const fit_block *type)
{
    const u8x16 codes[2] = {u8_load(bytes), u8_load(bytes + 16)};
    to += type->affine ? 4 : 2;
    if (type->high > 100) {
        u8_store(to, codes[0]);
        u8_store(to + 16, codes[1]);
        return;
    }
    if (type->fifth) {
        store_fifth_bits(to, codes);
        to += 4;
    }
    store_nibbles(to, codes);
}

/* Quantises 16 groups of 32 values and writes the first `count` of them as blocks from `to` on. The codes are
 * computed last, from scale and minimum as rounded to F16. */
INLINE void fit_blocks_16(const fit_groups *g, uint8_t *to, int count, const fit_block *type)
{
    const f32x16 zero = f32_set1(0);
    float s[16], m[16];
    uint8_t codes[16 * 32];
    if (type->affine) {
        const fit_line line = fit_best_line(g, type->high, 0);
        f32_store(s, line.s);
        f32_store(m, line.m);
    } else {
        f32_store(s, fit_scale(g, type->kind));
        f32_store(m, zero);
    }
    for (int l = 0; l < count; l++) {
        uint8_t *const block = to + (size_t)l * type->bytes;
        s[l] = fit_put_half(block, s[l]);
        m[l] = type->affine ? fit_put_half(block + 2, m[l]) : 0;
    }
    const f32x16 inverse = fit_inverse(f32_load(s)), shift = f32_mul(fit_negative(f32_load(m)), inverse);
    fit_put_codes(g, inverse, shift, type->affine ? 0 : type->kind->low, type->high, type->plus, codes);
    for (int l = 0; l < count; l++)
        fit_store_block(to + (size_t)l * type->bytes, codes + 32 * l, type);
}

/* Quantises n blocks of 32 values, 16 blocks at a time with one block in each lane. `weights` repeat after `cols`
 * values. */
INLINE void fit_blocks(const float *values, const float *weights, size_t cols, void *blocks, size_t n,
                       const fit_block *type)
{
    uint8_t *to = blocks;
    fit_groups g = {.size = 32};
    for (size_t k = 0; k < n; k += 16) {
        const int count = n - k < 16 ? (int)(n - k) : 16;
        fit_load(&g, values + 32 * k, weights, weights ? 32 * k % cols : 0, cols, count);
        fit_blocks_16(&g, to + k * type->bytes, count, type);
    }
}

/* Quantises n blocks to q4_0 (organ_fit_blocks): codes -8 to 7. */
static void fit_q4_0(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    fit_blocks(values, weights, cols, blocks, n,
               &(fit_block){.bytes = 18, .high = 7, .kind = &fit_around_8, .plus = 8});
}

/* Quantises n blocks to q4_1 (organ_fit_blocks): codes 0 to 15 and a minimum. */
static void fit_q4_1(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    fit_blocks(values, weights, cols, blocks, n, &(fit_block){.bytes = 20, .affine = 1, .high = 15});
}

/* Quantises n blocks to q5_0 (organ_fit_blocks): codes -16 to 15. */
static void fit_q5_0(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    fit_blocks(values, weights, cols, blocks, n,
               &(fit_block){.bytes = 22, .fifth = 1, .high = 15, .kind = &fit_around_16, .plus = 16});
}

/* Quantises n blocks to q5_1 (organ_fit_blocks): codes 0 to 31 and a minimum. */
static void fit_q5_1(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    fit_blocks(values, weights, cols, blocks, n, &(fit_block){.bytes = 24, .affine = 1, .fifth = 1, .high = 31});
}

/* Quantises n blocks to q8_0 (organ_fit_blocks): codes -127 to 127. */
static void fit_q8_0(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    fit_blocks(values, weights, cols, blocks, n, &(fit_block){.bytes = 34, .high = 127, .kind = &fit_within_127});
}
