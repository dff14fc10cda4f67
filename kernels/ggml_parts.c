/* SPDX-License-Identifier: MIT
 * Splits blocks into scales and codes and joins them. Only moves bits, so all tables share this code. */
#include "kernels/ggml_parts.h"

#include "kernels/ggml.h"
#include "kernels/half.h"
#include "kernels/six_bits.h"

/* The members of a row are type, bits, elements, group, bytes, affine, coded. */
static const organ_ggml_kind kinds[] = {
    {GGML_Q4_0, 4, QK, QK, sizeof(block_q4_0), false, false}, {GGML_Q4_1, 4, QK, QK, sizeof(block_q4_1), true, false},
    {GGML_Q5_0, 5, QK, QK, sizeof(block_q5_0), false, false}, {GGML_Q5_1, 5, QK, QK, sizeof(block_q5_1), true, false},
    {GGML_Q8_0, 8, QK, QK, sizeof(block_q8_0), false, false}, {GGML_Q4_K, 4, QK_K, 32, sizeof(block_q4_k), true, true},
    {GGML_Q5_K, 5, QK_K, 32, sizeof(block_q5_k), true, true}, {GGML_Q6_K, 6, QK_K, 16, sizeof(block_q6_k), false, true},
};

const organ_ggml_kind *organ_ggml_kind_of(unsigned type)
{
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (kinds[k].type == type)
            return &kinds[k];
    return NULL;
}

/* m is 0 for kinds without minima, and Q6_K has no codes of minima. */
void organ_ggml_split(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const uint8_t *const at = block;
    if (kind->type == GGML_Q6_K) {
        const block_q6_k *const b = block;
        memcpy(parts->scales, b->scales, sizeof b->scales);
        parts->d = half_at(b->d);
        parts->m = 0;
        return;
    }
    parts->d = half_at(at);
    parts->m = kind->affine ? half_at(at + 2) : 0;
    if (kind->coded)
        six_bits_unpack(at + 4, (uint8_t *)parts->scales, (uint8_t *)parts->minima);
}

static void put_nibbles(uint8_t *to, const uint8_t *codes, size_t far)
{
    for (size_t j = 0; j < far; j++)
        to[j] = (uint8_t)((codes[j] & 15) | (codes[j + far] & 15) << 4);
}

/* The order is scale, minimum if the type has one, fifth bits if codes have 5 bits, then nibbles of `codes`; q8_0
 * has the signed bytes of parts->codes instead. */
static void pack_simple(const organ_ggml_kind *kind, const organ_ggml_parts *parts, const uint8_t *codes, uint8_t *to)
{
    half_put(to, parts->d);
    if (kind->affine)
        half_put(to + 2, parts->m);
    to += kind->affine ? 4 : 2;
    if (kind->bits == 8) {
        memcpy(to, parts->codes, QK);
        return;
    }
    if (kind->bits == 5) {
        memset(to, 0, QK / 8);
        for (size_t j = 0; j < QK; j++)
            to[j / 8] |= (uint8_t)((codes[j] >> 4 & 1) << j % 8);
        to += QK / 8;
    }
    put_nibbles(to, codes, QK / 2);
}

/* The order is d and dmin, scales and minima of 6 bits, fifth bits, nibbles. Bit g of byte j of the fifth bits
 * belongs to value j of group g. */
static void pack_groups(const organ_ggml_kind *kind, const organ_ggml_parts *parts, const uint8_t *codes, uint8_t *to)
{
    half_put(to, parts->d);
    half_put(to + 2, parts->m);
    six_bits_pack(to + 4, (const uint8_t *)parts->scales, (const uint8_t *)parts->minima);
    to += 16;
    if (kind->bits == 5) {
        memset(to, 0, QK_K / 8);
        for (size_t k = 0; k < QK_K; k++)
            to[k % 32] |= (uint8_t)((codes[k] >> 4 & 1) << k / 32);
        to += QK_K / 8;
    }
    for (size_t pair = 0; pair < QK_K / 64; pair++)
        put_nibbles(to + 32 * pair, codes + 64 * pair, 32);
}

/* The order is low four bits of the codes, high two bits, 16 scales and d. */
static void pack_q6_k(const organ_ggml_parts *parts, const uint8_t *codes, block_q6_k *to)
{
    half_put(to->d, parts->d);
    memcpy(to->scales, parts->scales, sizeof to->scales);
    memset(to->high, 0, sizeof to->high);
    for (size_t half = 0; half < 2; half++)
        put_nibbles(to->codes + 64 * half, codes + 128 * half, 64);
    for (size_t k = 0; k < QK_K; k++)
        to->high[k / 128 * 32 + k % 32] |= (uint8_t)((codes[k] >> 4 & 3) << (k % 128 / 32 * 2));
}

/* Types without a minimum store code + 2^(bits - 1), which is not negative; Q8_0 stores signed bytes. */
void organ_ggml_join(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    uint8_t codes[QK_K];
    const int offset = kind->affine ? 0 : 1 << (kind->bits - 1);
    for (size_t k = 0; k < kind->elements; k++)
        codes[k] = (uint8_t)(parts->codes[k] + offset);
    if (kind->type == GGML_Q6_K)
        pack_q6_k(parts, codes, block);
    else if (kind->coded)
        pack_groups(kind, parts, codes, block);
    else
        pack_simple(kind, parts, codes, block);
}
