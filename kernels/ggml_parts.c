/* SPDX-License-Identifier: MIT
 * Splits blocks into scales and codes and joins them. Only moves bits, so all tables share this code. */
#include "kernels/ggml_parts.h"

#include "kernels/ggml.h"
#include "kernels/ggml_grids.h"
#include "kernels/grid_parts.h"
#include "kernels/half_floats.h"
#include "kernels/six_bits.h"

#include <math.h>

static void put_nibbles(uint8_t *to, const uint8_t *codes, size_t far)
{
    for (size_t j = 0; j < far; j++)
        to[j] = (uint8_t)(codes[j] | codes[j + far] << 4);
}

/* Puts the two lowest bits of the codes into bytes: byte l of each 32 has the codes l, l + 32, l + 64 and l + 96. */
static void put_pairs(uint8_t *to, const uint8_t *codes)
{
    memset(to, 0, QK_K / 4);
    for (size_t k = 0; k < QK_K; k++)
        to[k / 128 * 32 + k % 32] |= (uint8_t)((codes[k] & 3) << (k % 128 / 32 * 2));
}

/* Bit g of byte j of `to` becomes bit `from` of code 32 g + j. */
static void put_bit(uint8_t *to, const uint8_t *codes, unsigned from)
{
    memset(to, 0, QK_K / 8);
    for (size_t k = 0; k < QK_K; k++)
        to[k % 32] |= (uint8_t)((codes[k] >> from & 1) << k / 32);
}

/* ---- blocks of 32 values and one scale ---- */

static void split_simple(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    parts->d = half_at(block);
    parts->m = kind->affine ? half_at((const uint8_t *)block + 2) : 0;
}

/* The order is scale, minimum if the type has one, fifth bits if codes have 5 bits, then nibbles of the codes. */
static void join_simple(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    uint8_t *to = block, low[QK];
    half_put(to, parts->d);
    if (kind->affine)
        half_put(to + 2, parts->m);
    to += kind->affine ? 4 : 2;
    if (kind->bits == 5) {
        memset(to, 0, QK / 8);
        for (size_t j = 0; j < QK; j++)
            to[j / 8] |= (uint8_t)((parts->codes[j] >> 4 & 1) << j % 8);
        to += QK / 8;
    }
    for (size_t j = 0; j < QK; j++)
        low[j] = parts->codes[j] & 15;
    put_nibbles(to, low, QK / 2);
}

/* Codes have 128 added to the signed byte that a block stores. */
static void join_q8_0(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_q8_0 *const b = block;
    (void)kind;
    half_put(b->d, parts->d);
    for (size_t j = 0; j < QK; j++)
        b->codes[j] = (uint8_t)(parts->codes[j] ^ 128);
}

static void split_mxfp4(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const block_mxfp4 *const b = block;
    (void)kind;
    parts->scales[0] = b->exponent;
}

static void join_mxfp4(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_mxfp4 *const b = block;
    (void)kind;
    b->exponent = parts->scales[0];
    put_nibbles(b->codes, parts->codes, QK / 2);
}

static void split_nvfp4(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const block_nvfp4 *const b = block;
    (void)kind;
    memcpy(parts->scales, b->scales, sizeof b->scales);
}

static void join_nvfp4(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_nvfp4 *const b = block;
    memcpy(b->scales, parts->scales, sizeof b->scales);
    for (size_t k = 0; k < kind->elements; k += 16)
        put_nibbles(b->codes + k / 2, parts->codes + k, 8);
}

/* ---- blocks of 256 values, with scales of groups ---- */

static void split_q2_k(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const block_q2_k *const b = block;
    (void)kind;
    parts->d = half_at(b->d);
    parts->m = half_at(b->dmin);
    for (size_t g = 0; g < sizeof b->scales; g++) {
        parts->scales[g] = b->scales[g] & 15;
        parts->minima[g] = b->scales[g] >> 4;
    }
}

static void join_q2_k(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_q2_k *const b = block;
    (void)kind;
    for (size_t g = 0; g < sizeof b->scales; g++)
        b->scales[g] = (uint8_t)(parts->scales[g] | parts->minima[g] << 4);
    put_pairs(b->codes, parts->codes);
    half_put(b->d, parts->d);
    half_put(b->dmin, parts->m);
}

/* Bytes 0 to 7 have the low four bits of scales g and g + 8, byte 8 + g % 4 the upper two bits of scale g. */
static void split_q3_k(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const block_q3_k *const b = block;
    (void)kind;
    parts->d = half_at(b->d);
    for (size_t g = 0; g < 16; g++)
        parts->scales[g] =
            (uint8_t)((b->scales[g % 8] >> g / 8 * 4 & 15) | (b->scales[8 + g % 4] >> g / 4 * 2 & 3) << 4);
}

static void join_q3_k(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_q3_k *const b = block;
    (void)kind;
    put_bit(b->high, parts->codes, 2);
    put_pairs(b->codes, parts->codes);
    memset(b->scales, 0, sizeof b->scales);
    for (size_t g = 0; g < 16; g++) {
        b->scales[g % 8] |= (uint8_t)((parts->scales[g] & 15) << g / 8 * 4);
        b->scales[8 + g % 4] |= (uint8_t)(parts->scales[g] >> 4 << g / 4 * 2);
    }
    half_put(b->d, parts->d);
}

/* q4_k and q5_k begin alike. */
static void split_q4_k(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const block_q4_k *const b = block;
    (void)kind;
    parts->d = half_at(b->d);
    parts->m = half_at(b->dmin);
    six_bits_unpack(b->scales, parts->scales, parts->minima);
}

static void join_q4_k(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_q4_k *const b = block;
    (void)kind;
    half_put(b->d, parts->d);
    half_put(b->dmin, parts->m);
    six_bits_pack(b->scales, parts->scales, parts->minima);
    for (size_t pair = 0; pair < QK_K / 64; pair++)
        put_nibbles(b->codes + 32 * pair, parts->codes + 64 * pair, 32);
}

static void join_q5_k(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_q5_k *const b = block;
    uint8_t low[QK_K];
    (void)kind;
    half_put(b->d, parts->d);
    half_put(b->dmin, parts->m);
    six_bits_pack(b->scales, parts->scales, parts->minima);
    put_bit(b->high, parts->codes, 4);
    for (size_t k = 0; k < QK_K; k++)
        low[k] = parts->codes[k] & 15;
    for (size_t pair = 0; pair < QK_K / 64; pair++)
        put_nibbles(b->codes + 32 * pair, low + 64 * pair, 32);
}

/* A block stores the scales as signed bytes. */
static void split_q6_k(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const block_q6_k *const b = block;
    (void)kind;
    parts->d = half_at(b->d);
    for (size_t g = 0; g < sizeof b->scales; g++)
        parts->scales[g] = b->scales[g] ^ 128;
}

/* The order is low four bits of the codes, high two bits, 16 scales and d. */
static void join_q6_k(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_q6_k *const b = block;
    uint8_t low[QK_K], high[QK_K];
    (void)kind;
    for (size_t g = 0; g < sizeof b->scales; g++)
        b->scales[g] = parts->scales[g] ^ 128;
    for (size_t k = 0; k < QK_K; k++) {
        low[k] = parts->codes[k] & 15;
        high[k] = parts->codes[k] >> 4;
    }
    for (size_t half = 0; half < 2; half++)
        put_nibbles(b->codes + 64 * half, low + 128 * half, 64);
    put_pairs(b->high, high);
    half_put(b->d, parts->d);
}

/* The low four bits of scale g are in a nibble of scales_low, the upper two in scales_high. */
static void split_iq4_xs(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const block_iq4_xs *const b = block;
    (void)kind;
    parts->d = half_at(b->d);
    for (size_t g = 0; g < 8; g++)
        parts->scales[g] =
            (uint8_t)((b->scales_low[g / 2] >> g % 2 * 4 & 15) | (b->scales_high[g / 4] >> g % 4 * 2 & 3) << 4);
}

static void join_iq4_xs(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_iq4_xs *const b = block;
    (void)kind;
    memset(b, 0, sizeof *b);
    half_put(b->d, parts->d);
    for (size_t g = 0; g < 8; g++) {
        b->scales_low[g / 2] |= (uint8_t)((parts->scales[g] & 15) << g % 2 * 4);
        b->scales_high[g / 4] |= (uint8_t)(parts->scales[g] >> 4 << g % 4 * 2);
        put_nibbles(b->codes + 16 * g, parts->codes + 32 * g, 16);
    }
}

/* ---- one scale and codes of two to four values ---- */

/* The scale of tq1_0 and tq2_0 comes last. */
static void split_last(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    parts->d = half_at((const uint8_t *)block + kind->bytes - 2);
}

static void join_tq2_0(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_tq2_0 *const b = block;
    (void)kind;
    put_pairs(b->codes, parts->codes);
    half_put(b->d, parts->d);
}

/* Returns the byte of `places` ternary digits, the first one the highest: the least byte from which the decoders read
 * them, which is above (digits as one number of five digits) 256 / 243. */
static uint8_t trits(const uint8_t *codes, size_t step, size_t places)
{
    unsigned number = 0;
    for (size_t place = 0; place < 5; place++)
        number = 3 * number + (place < places ? codes[step * place] : 0);
    return (uint8_t)((number * 256 + 242) / 243);
}

static void join_tq1_0(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_tq1_0 *const b = block;
    (void)kind;
    for (size_t j = 0; j < 48; j++)
        b->fives[j] = j < 32 ? trits(parts->codes + j, 32, 5) : trits(parts->codes + 128 + j, 16, 5);
    for (size_t j = 0; j < 4; j++)
        b->fours[j] = trits(parts->codes + 240 + j, 4, 4);
    half_put(b->d, parts->d);
}

/* Bits of codes follow each other. */
static void join_in_order(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    uint8_t *const to = block;
    memset(to, 0, kind->bytes);
    half_put(to, parts->d);
    for (size_t k = 0; k < kind->elements; k++)
        to[2 + k * kind->bits / 8] |= (uint8_t)(parts->codes[k] << k * kind->bits % 8);
}

/* ---- the table ---- */

const organ_levels organ_levels_of_iq4 = {
    .count = 16,
    .values = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113},
    .middles = {-115.5f, -93.5f, -74, -57, -42, -28.5f, -16, -4.5f, 7, 19, 31.5f, 45.5f, 61, 79, 101},
    .codes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};

const organ_levels organ_levels_of_fp4 = {
    .count = 15,
    .values = {-6, -4, -3, -2, -1.5f, -1, -0.5f, 0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 6},
    .middles = {-5, -3.5f, -2.5f, -1.75f, -1.25f, -0.75f, -0.25f, 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, INFINITY},
    .codes = {15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7}};

static const organ_levels levels_of_iq3_xxs = {
    .count = 16,
    .values = {-62, -52, -44, -36, -28, -20, -12, -4, 4, 12, 20, 28, 36, 44, 52, 62},
    .middles = {-57, -48, -40, -32, -24, -16, -8, 0, 8, 16, 24, 32, 40, 48, 57},
    .codes = {15, 14, 13, 12, 11, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7}};

static const organ_levels levels_of_iq3_s = {.count = 16,
                                             .values = {-15, -13, -11, -9, -7, -5, -3, -1, 1, 3, 5, 7, 9, 11, 13, 15},
                                             .middles = {-14, -12, -10, -8, -6, -4, -2, 0, 2, 4, 6, 8, 10, 12, 14},
                                             .codes = {15, 14, 13, 12, 11, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7}};

static const organ_levels levels_of_iq2 = {.count = 6,
                                           .values = {-43, -25, -8, 8, 25, 43, 43, 43, 43, 43, 43, 43, 43, 43, 43, 43},
                                           .middles = {-34, -16.5f, 0, 16.5f, 34, INFINITY, INFINITY, INFINITY,
                                                       INFINITY, INFINITY, INFINITY, INFINITY, INFINITY, INFINITY,
                                                       INFINITY},
                                           .codes = {6, 5, 4, 0, 1, 2}};

#define BEYOND(least)                                                                                                  \
    least, least, least, least, least, least, least, least, least, least, least, least /* entries that are not used */
static const organ_levels levels_of_ternary = {.count = 3,
                                               .values = {-1, 0, 1, BEYOND(1), 1},
                                               .middles = {-0.5f, 0.5f, INFINITY, BEYOND(INFINITY)},
                                               .codes = {0, 1, 2}};
static const organ_levels levels_of_q2_0 = {.count = 4,
                                            .values = {-1, 0, 1, 2, BEYOND(2)},
                                            .middles = {-0.5f, 0.5f, 1.5f, BEYOND(INFINITY)},
                                            .codes = {0, 1, 2, 3}};
static const organ_levels levels_of_q1_0 = {.count = 2,
                                            .values = {-1, 1, BEYOND(1), 1, 1},
                                            .middles = {0, INFINITY, INFINITY, BEYOND(INFINITY)},
                                            .codes = {0, 1}};

static const organ_levels levels_of_iq1_s = {.count = 3,
                                             .values = {-0.875f, 0.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f,
                                                        1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f},
                                             .middles = {-0.375f, 0.625f, INFINITY, INFINITY, INFINITY, INFINITY,
                                                         INFINITY, INFINITY, INFINITY, INFINITY, INFINITY, INFINITY,
                                                         INFINITY, INFINITY, INFINITY},
                                             .codes = {0, 1, 2}};

static const organ_levels levels_of_iq1_m = {.count = 6,
                                             .values = {-1.125f, -0.875f, -0.125f, 0.125f, 0.875f, 1.125f, 1.125f,
                                                        1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f,
                                                        1.125f},
                                             .middles = {-1, -0.5f, 0, 0.5f, 1, INFINITY, INFINITY, INFINITY, INFINITY,
                                                         INFINITY, INFINITY, INFINITY, INFINITY, INFINITY, INFINITY},
                                             .codes = {4, 0, 5, 1, 6, 2}};

/* clang-format off */
#define NONE               {0, 0, 0, 0, false}
#define NO_POINTS          {0, 0, 0, 0, NULL, ORGAN_FIELDS_MAGNITUDES}
#define WHOLE(low, high)   {low, high, 1, 0, false}
#define SHIFTED(least, by) {0, 15, by, least, false}
#define MAGNITUDES         ORGAN_FIELDS_MAGNITUDES
/* clang-format on */

/* The members of a row are type, bits, elements, group, bytes, affine, stored, coded, levels, points, split, join. */
#define ROW(name, bits, elements, group, bytes, ...)                                                                   \
    {                                                                                                                  \
        GGML_##name, bits, elements, group, bytes, __VA_ARGS__                                                         \
    }
#define F16 ORGAN_STORE_F16
static const organ_ggml_kind kinds[] = {
    ROW(Q4_0, 4, QK, QK, sizeof(block_q4_0), false, F16, NONE, NULL, NO_POINTS, split_simple, join_simple),
    ROW(Q4_1, 4, QK, QK, sizeof(block_q4_1), true, F16, NONE, NULL, NO_POINTS, split_simple, join_simple),
    ROW(Q5_0, 5, QK, QK, sizeof(block_q5_0), false, F16, NONE, NULL, NO_POINTS, split_simple, join_simple),
    ROW(Q5_1, 5, QK, QK, sizeof(block_q5_1), true, F16, NONE, NULL, NO_POINTS, split_simple, join_simple),
    ROW(Q8_0, 8, QK, QK, sizeof(block_q8_0), false, F16, NONE, NULL, NO_POINTS, split_simple, join_q8_0),
    ROW(Q2_K, 2, QK_K, 16, sizeof(block_q2_k), true, F16, WHOLE(0, 15), NULL, NO_POINTS, split_q2_k, join_q2_k),
    ROW(Q3_K, 3, QK_K, 16, sizeof(block_q3_k), false, F16, WHOLE(-32, 31), NULL, NO_POINTS, split_q3_k, join_q3_k),
    ROW(Q4_K, 4, QK_K, 32, sizeof(block_q4_k), true, F16, WHOLE(0, 63), NULL, NO_POINTS, split_q4_k, join_q4_k),
    ROW(Q5_K, 5, QK_K, 32, sizeof(block_q5_k), true, F16, WHOLE(0, 63), NULL, NO_POINTS, split_q4_k, join_q5_k),
    ROW(Q6_K, 6, QK_K, 16, sizeof(block_q6_k), false, F16, WHOLE(-128, 127), NULL, NO_POINTS, split_q6_k, join_q6_k),
    ROW(IQ4_NL, 4, QK, QK, sizeof(block_q4_0), false, F16, NONE, &organ_levels_of_iq4, NO_POINTS, split_simple,
        join_simple),
    ROW(IQ4_XS, 4, QK_K, 32, sizeof(block_iq4_xs), false, F16, WHOLE(-32, 31), &organ_levels_of_iq4, NO_POINTS,
        split_iq4_xs, join_iq4_xs),
    ROW(MXFP4, 4, QK, QK, sizeof(block_mxfp4), false, ORGAN_STORE_E8M0, NONE, &organ_levels_of_fp4, NO_POINTS,
        split_mxfp4, join_mxfp4),
    ROW(NVFP4, 4, 64, 16, sizeof(block_nvfp4), false, ORGAN_STORE_E4M3, NONE, &organ_levels_of_fp4, NO_POINTS,
        split_nvfp4, join_nvfp4),
    ROW(IQ3_XXS, 3, QK_K, 32, sizeof(block_iq3_xxs), false, F16, SHIFTED(0.25f, 0.5f), &levels_of_iq3_xxs,
        {4, 256, 3, 1, iq3_xxs_grid, MAGNITUDES}, organ_split_iq3_xxs, organ_join_iq3_xxs),
    ROW(IQ3_S, 3, QK_K, 32, sizeof(block_iq3_s), false, F16, SHIFTED(1, 2), &levels_of_iq3_s,
        {4, 512, 3, 0, iq3_s_grid, MAGNITUDES}, organ_split_iq3_s, organ_join_iq3_s),
    ROW(IQ2_S, 2, QK_K, 16, sizeof(block_iq2_s), false, F16, SHIFTED(0.125f, 0.25f), &levels_of_iq2,
        {8, 1024, 2, 0, iq2_s_grid, MAGNITUDES}, organ_split_iq2_s, organ_join_iq2_s),
    ROW(IQ2_XS, 2, QK_K, 16, sizeof(block_iq2_xs), false, F16, SHIFTED(0.125f, 0.25f), &levels_of_iq2,
        {8, 512, 2, 1, iq2_xs_grid, MAGNITUDES}, organ_split_iq2_xs, organ_join_iq2_xs),
    ROW(IQ2_XXS, 2, QK_K, 32, sizeof(block_iq2_xxs), false, F16, SHIFTED(0.125f, 0.25f), &levels_of_iq2,
        {8, 256, 2, 1, iq2_xxs_grid, MAGNITUDES}, organ_split_iq2_xxs, organ_join_iq2_xxs),
    ROW(TQ1_0, 2, QK_K, QK_K, sizeof(block_tq1_0), false, F16, NONE, &levels_of_ternary, NO_POINTS, split_last,
        join_tq1_0),
    ROW(TQ2_0, 2, QK_K, QK_K, sizeof(block_tq2_0), false, F16, NONE, &levels_of_ternary, NO_POINTS, split_last,
        join_tq2_0),
    ROW(Q1_0, 1, 128, 128, sizeof(block_q1_0), false, F16, NONE, &levels_of_q1_0, NO_POINTS, split_simple,
        join_in_order),
    ROW(Q2_0, 2, 64, 64, sizeof(block_q2_0), false, F16, NONE, &levels_of_q2_0, NO_POINTS, split_simple, join_in_order),
    ROW(IQ1_S, 2, QK_K, 32, sizeof(block_iq1_s), false, F16, {-8, 7, 2, 1, true}, &levels_of_iq1_s,
        {8, 2048, 2, 0, iq1_grid, ORGAN_FIELDS_OF_SCALE}, organ_split_iq1_s, organ_join_iq1_s),
    ROW(IQ1_M, 2, QK_K, 16, sizeof(block_iq1_m), false, F16, {0, 7, 2, 1, false}, &levels_of_iq1_m,
        {8, 2048, 2, 0, iq1_grid, ORGAN_FIELDS_SHIFTED}, organ_split_iq1_m, organ_join_iq1_m),
};

const organ_ggml_kind *organ_ggml_kind_of(unsigned type)
{
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (kinds[k].type == type)
            return &kinds[k];
    return NULL;
}

bool organ_ggml_is_coded(const organ_ggml_kind *kind) { return kind->coded.low < kind->coded.high; }

size_t organ_ggml_count_points(const organ_ggml_kind *kind)
{
    return (size_t)kind->points.count * (kind->points.fields == ORGAN_FIELDS_SHIFTED ? 2 : 1);
}

static unsigned field_of_point(const organ_ggml_points *p, size_t n, unsigned k)
{
    return p->entries[n % p->count] >> p->bits * k & ((1u << p->bits) - 1);
}

/* Returns the numbers of point n as digits, the first one the highest, so that the order of these is that of points. Of
 * a point with both shifts, the first `count` numbers stand for the shift downwards. */
static uint32_t sort_key(const organ_ggml_kind *kind, size_t n)
{
    const unsigned shifts = kind->points.fields == ORGAN_FIELDS_SHIFTED ? 2 : 1;
    uint32_t key = 0;
    for (unsigned k = 0; k < kind->points.length; k++)
        key = key << 4 | (field_of_point(&kind->points, n, k) * shifts + (n >= kind->points.count));
    return key;
}

/* Returns what a digit of sort_key stands for. */
static float number_of_digit(const organ_ggml_kind *kind, unsigned digit)
{
    const float *const values = kind->levels->values;
    if (kind->points.fields == ORGAN_FIELDS_OF_SCALE)
        return (float)digit - 1;
    return kind->points.fields == ORGAN_FIELDS_SHIFTED ? values[digit] : values[kind->levels->count / 2 + digit];
}

/* Each point is put at its rank, the number of points that are less. */
void organ_ggml_list_points(const organ_ggml_kind *kind, float *points, uint8_t *shared)
{
    const unsigned length = kind->points.length;
    const size_t count = organ_ggml_count_points(kind);
    uint32_t keys[ORGAN_GGML_POINTS];
    for (size_t n = 0; n < count; n++)
        keys[n] = sort_key(kind, n);
    for (size_t n = 0; n < count; n++) {
        size_t rank = 0;
        for (size_t other = 0; other < count; other++)
            rank += keys[other] < keys[n];
        for (unsigned k = 0; k < length; k++)
            points[rank * length + k] = number_of_digit(kind, keys[n] >> 4 * (length - 1 - k) & 15);
    }
    for (size_t n = 0; n < count; n++) {
        shared[n] = 0;
        while (n > 0 && points[n * length + shared[n]] == points[(n - 1) * length + shared[n]])
            shared[n]++;
    }
}

void organ_ggml_split(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    *parts = (organ_ggml_parts){0};
    kind->split(kind, block, parts);
}

void organ_ggml_join(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    kind->join(kind, parts, block);
}
