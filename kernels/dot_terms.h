/* SPDX-License-Identifier: MIT
 * Values as sums of BF16 terms, for products of BF16 numbers: splitting, and packing of weights as pairs of
 * neighbouring columns, which the dot product instructions read. */
#ifndef ORGAN_KERNELS_DOT_TERMS_H
#define ORGAN_KERNELS_DOT_TERMS_H
#include "kernels/product_parts.h"

#define DOT_CHUNK 256 /* values of k in one sum, as in the exact product */
#define DOT_DEPTH 32  /* values of k that are packed together */
#define DOT_TERMS 3   /* at most: three terms of 8 bits have all 24 bits of an FP32 */

#define GREATEST_BF16 0x7f7f0000u /* bits of the largest finite BF16, as FP32 */

INLINE size_t dot_round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/* Splits 16 values into DOT_TERMS terms: each is the BF16 nearest to the value less the terms before it. The first term
 * is truncated instead if rounding could overflow. The first term of a value that is not finite is that value, and its
 * other terms are 0. */
INLINE void split_terms(f32x16 value, u16x16 *terms)
{
    const u32x16 bits = f32_bits(value), magnitude = u32_and(bits, u32_set1(MAGNITUDE));
    const m32x16 large = u32_gt(magnitude, u32_set1(GREATEST_BF16));
    terms[0] = bf16_narrow(f32_of_bits(u32_select(large, u32_and(quiet_nans(bits), u32_set1(0xffff0000)), bits)));
    const m32x16 finite = u32_gt(u32_set1(INFINITE), magnitude);
    for (int t = 1; t < DOT_TERMS; t++) {
        value = f32_of_bits(u32_keep(finite, f32_bits(f32_sub(value, element_values(terms[t - 1], BF16)))));
        terms[t] = bf16_narrow(value);
    }
}

/* Values beyond the last row or column are zeros. */
INLINE f32x16 load_bf16_pairs(const product_part *part, size_t row, size_t from)
{
    const uint16_t *const words = (const uint16_t *)part->values + part->at + row * part->stride + from;
    if (row >= part->rows)
        return f32_set1(0);
    if (from + DOT_DEPTH <= part->columns)
        return f32_load((const float *)(const void *)words);
    _Alignas(64) uint16_t some[DOT_DEPTH] = {0};
    memcpy(some, words, (part->columns - from) * sizeof *words);
    return f32_load((const float *)(const void *)some);
}

/* Packs DOT_DEPTH values of a row of a part from column `from` on as `terms` terms, one or DOT_TERMS, at `to` and
 * `term` words further each; values beyond the last row or column are zeros. The values are FP32, or BF16 for one term.
 */
INLINE void pack_terms(uint16_t *to, size_t term, const product_part *part, size_t row, size_t from, const int terms,
                       const enum element_type type)
{
    if (type == BF16) {
        f32_store((float *)(void *)to, load_bf16_pairs(part, row, from));
        return;
    }
    const f32x16 low = load_row_vector(part, row, from, F32), high = load_row_vector(part, row, from + 16, F32);
    if (terms == 1) {
        u16_store_tops(to, bf16_tops(low), bf16_tops(high));
        return;
    }
    u16x16 left[DOT_TERMS], right[DOT_TERMS];
    split_terms(low, left);
    split_terms(high, right);
    for (size_t t = 0; t < DOT_TERMS; t++) {
        u16_store(to + t * term, left[t]);
        u16_store(to + t * term + 16, right[t]);
    }
}

/* The place of a packed square, 16 rows x DOT_DEPTH columns: pair l of the 16 rows is adjacent from words + l * pitch
 * on. The next term of the same values is `term` words further. */
typedef struct dot_square {
    uint16_t *words;
    size_t pitch, term;
} dot_square;

INLINE void store_transposed_square(dot_square to, f32x16 square[16])
{
    transpose_square(square);
    for (size_t l = 0; l < 16; l++)
        f32_store((float *)(void *)(to.words + l * to.pitch), square[l]);
}

/* Pairs of neighbouring columns stay together, as the dot product instruction reads them. */
INLINE void pack_bf16(dot_square to, const product_part *part, size_t row, size_t from)
{
    f32x16 square[16];
    if (row + 16 <= part->rows && from + DOT_DEPTH <= part->columns) {
        const uint16_t *const words = (const uint16_t *)part->values + part->at + row * part->stride + from;
        UNROLL for (size_t l = 0; l < 16; l++) square[l] =
            f32_load((const float *)(const void *)(words + l * part->stride));
    } else
        UNROLL for (size_t l = 0; l < 16; l++) square[l] = load_bf16_pairs(part, row + l, from);
    store_transposed_square(to, square);
}

/* The sum of the `terms` BF16 terms approximates the value. */
INLINE void pack_split(dot_square to, const product_part *part, size_t row, size_t from, int terms,
                       const enum element_type type)
{
    _Alignas(64) uint16_t words[DOT_TERMS][16][DOT_DEPTH];
    for (size_t l = 0; l < 16; l++)
        for (size_t at = 0; at < DOT_DEPTH; at += 16) {
            u16x16 some[DOT_TERMS];
            const f32x16 values = load_row_vector(part, row + l, from + at, type);
            if (terms == 1)
                some[0] = bf16_narrow(values);
            else
                split_terms(values, some);
            for (int t = 0; t < terms; t++)
                u16_store(words[t][l] + at, some[t]);
        }
    for (int t = 0; t < terms; t++) {
        f32x16 square[16];
        UNROLL for (int l = 0; l < 16; l++) square[l] = f32_load((const float *)(const void *)words[t][l]);
        store_transposed_square((dot_square){to.words + (size_t)t * to.term, to.pitch, to.term}, square);
    }
}

/* Packs a square of a factor that is stored transposed, in FP32: row `from` of the part has column `from` of the
 * square. The values have one term. */
INLINE void pack_columns(dot_square to, const product_part *part, size_t row, size_t from)
{
    for (size_t l = 0; l < 16; l++) {
        const u32x16 even = bf16_tops(load_row_vector(part, from + 2 * l, row, F32)),
                     odd = bf16_tops(load_row_vector(part, from + 2 * l + 1, row, F32));
        const u32x16 pairs = u32_or(u32_srl(even, 16), u32_and(odd, u32_set1(0xffff0000)));
        f32_store((float *)(void *)(to.words + l * to.pitch), f32_of_bits(pairs));
    }
}

INLINE void pack_square(dot_square to, const product_part *part, size_t row, size_t from, int terms,
                        const organ_product_operand *b)
{
    if (b->transposed)
        pack_columns(to, part, row, from);
    else if (b->type == ORGAN_REAL_BF16)
        pack_bf16(to, part, row, from);
    else if (b->type == ORGAN_REAL_F16)
        pack_split(to, part, row, from, terms, F16);
    else
        pack_split(to, part, row, from, terms, F32);
}

INLINE size_t bytes_of_real(organ_real type) { return type == ORGAN_REAL_F32 ? sizeof(float) : sizeof(uint16_t); }

/* Prefetches the DOT_DEPTH values of a row from column `from` on; the row need not exist. */
INLINE void prefetch_row(const product_part *part, size_t row, size_t from, const enum element_type type)
{
    const size_t bytes = type == F32 ? sizeof(float) : sizeof(uint16_t), at = part->at + row * part->stride + from;
    __builtin_prefetch((const char *)part->values + at * bytes);
    if (type == F32)
        __builtin_prefetch((const char *)part->values + at * bytes + 64);
}

/* Returns the values of k in a part of an operand. */
INLINE size_t depth_of(const product_part *part, const organ_product_operand *operand)
{
    return operand->transposed ? part->rows : part->columns;
}

INLINE int b_terms_of(const organ_product *p)
{
    const int split_terms = p->b.type == ORGAN_REAL_F16 ? 2 : DOT_TERMS;
    return p->compute != ORGAN_COMPUTE_SPLIT || p->b.type == ORGAN_REAL_BF16 ? 1 : split_terms;
}

#endif
