/* SPDX-License-Identifier: MIT
 * Splits and joins blocks of types with codebooks: finds the numbers of points. Only moves bits, so all tables share
 * this code. */
#include "kernels/grid_parts.h"

#include "kernels/ggml.h"
#include "kernels/half_floats.h"

/* Returns the number of the point of the codes, without their signs; 0 if there is none, as in groups of scale 0. */
static unsigned point_of(const organ_ggml_points *points, const uint8_t *codes)
{
    unsigned fields = 0, low = 0, high = points->count - 1;
    for (unsigned k = 0; k < points->length; k++)
        fields |= (codes[k] & ((1u << points->bits) - 1)) << points->bits * k;
    while (low < high) {
        const unsigned middle = (low + high) / 2;
        if (points->entries[middle] < fields)
            low = middle + 1;
        else
            high = middle;
    }
    return points->entries[low] == fields ? low : 0;
}

/* Returns the signs of 8 codes, the first in the lowest bit. */
static unsigned signs_of(const organ_ggml_points *points, const uint8_t *codes)
{
    unsigned signs = 0;
    for (unsigned k = 0; k < 8; k++)
        signs |= (unsigned)(codes[k] >> points->bits & 1) << k;
    return signs;
}

/* Group g's scale is the low half of byte g / 2 if g is even, else the high half. */
static void take_nibbles(const uint8_t *from, size_t count, uint8_t *scales)
{
    for (size_t g = 0; g < count; g++)
        scales[g] = from[g / 2] >> g % 2 * 4 & 15;
}

/* The bytes at `to` are 0 before. */
static void put_nibbles(const uint8_t *scales, size_t count, uint8_t *to)
{
    for (size_t g = 0; g < count; g++)
        to[g / 2] |= (uint8_t)(scales[g] << g % 2 * 4);
}

/* The top 4 bits of a group's word are its scale. */
void organ_split_iq3_xxs(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const block_iq3_xxs *const b = block;
    (void)kind;
    parts->d = half_at(b->d);
    for (size_t g = 0; g < 8; g++)
        parts->scales[g] = b->groups[4 * g + 3] >> 4;
}

/* Puts the word of group g: 7 signs of each 8 values, of which the eighth is not stored, and the scale. */
static void put_signs(const organ_ggml_kind *kind, const organ_ggml_parts *parts, size_t g, uint8_t *to)
{
    uint32_t word = (uint32_t)parts->scales[g] << 28;
    for (size_t k = 0; k < 4; k++)
        word |= (signs_of(&kind->points, parts->codes + 32 * g + 8 * k) & 127) << 7 * k;
    for (size_t k = 0; k < 4; k++)
        to[k] = (uint8_t)(word >> 8 * k);
}

void organ_join_iq3_xxs(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_iq3_xxs *const b = block;
    half_put(b->d, parts->d);
    for (size_t k = 0; k < QK_K / 4; k++)
        b->indices[k] = (uint8_t)point_of(&kind->points, parts->codes + 4 * k);
    for (size_t g = 0; g < 8; g++)
        put_signs(kind, parts, g, b->groups + 4 * g);
}

/* A group has 4 numbers of points, then a word as in iq3_xxs. */
void organ_split_iq2_xxs(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const block_iq2_xxs *const b = block;
    (void)kind;
    parts->d = half_at(b->d);
    for (size_t g = 0; g < 8; g++)
        parts->scales[g] = b->groups[g][7] >> 4;
}

void organ_join_iq2_xxs(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_iq2_xxs *const b = block;
    half_put(b->d, parts->d);
    for (size_t g = 0; g < 8; g++) {
        for (size_t k = 0; k < 4; k++)
            b->groups[g][k] = (uint8_t)point_of(&kind->points, parts->codes + 32 * g + 8 * k);
        put_signs(kind, parts, g, b->groups[g] + 4);
    }
}

void organ_split_iq3_s(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const block_iq3_s *const b = block;
    (void)kind;
    parts->d = half_at(b->d);
    take_nibbles(b->scales, 8, parts->scales);
}

void organ_join_iq3_s(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_iq3_s *const b = block;
    memset(b, 0, sizeof *b);
    half_put(b->d, parts->d);
    for (size_t k = 0; k < QK_K / 4; k++) {
        const unsigned point = point_of(&kind->points, parts->codes + 4 * k);
        b->indices[k] = (uint8_t)point;
        b->high[k / 8] |= (uint8_t)(point >> 8 << k % 8);
    }
    for (size_t k = 0; k < QK_K / 8; k++)
        b->signs[k] = (uint8_t)signs_of(&kind->points, parts->codes + 8 * k);
    put_nibbles(parts->scales, 8, b->scales);
}

void organ_split_iq2_s(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const block_iq2_s *const b = block;
    (void)kind;
    parts->d = half_at(b->d);
    take_nibbles(b->scales, 16, parts->scales);
}

void organ_join_iq2_s(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_iq2_s *const b = block;
    memset(b, 0, sizeof *b);
    half_put(b->d, parts->d);
    for (size_t k = 0; k < QK_K / 8; k++) {
        const unsigned point = point_of(&kind->points, parts->codes + 8 * k);
        b->indices[k] = (uint8_t)point;
        b->high[k / 4] |= (uint8_t)(point >> 8 << k % 4 * 2);
        b->signs[k] = (uint8_t)signs_of(&kind->points, parts->codes + 8 * k);
    }
    put_nibbles(parts->scales, 16, b->scales);
}

void organ_split_iq2_xs(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const block_iq2_xs *const b = block;
    (void)kind;
    parts->d = half_at(b->d);
    take_nibbles(b->scales, 16, parts->scales);
}

void organ_join_iq2_xs(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_iq2_xs *const b = block;
    memset(b, 0, sizeof *b);
    half_put(b->d, parts->d);
    for (size_t k = 0; k < QK_K / 8; k++) {
        const uint8_t *const codes = parts->codes + 8 * k;
        const unsigned both = point_of(&kind->points, codes) | (signs_of(&kind->points, codes) & 127) << 9;
        b->indices[2 * k] = (uint8_t)both;
        b->indices[2 * k + 1] = (uint8_t)(both >> 8);
    }
    put_nibbles(parts->scales, 16, b->scales);
}

/* A word has the high bits of four indices, the scale and the direction of the shift, which is the sign of the scale.
 */
void organ_split_iq1_s(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const block_iq1_s *const b = block;
    (void)kind;
    parts->d = half_at(b->d);
    for (size_t g = 0; g < 8; g++) {
        const unsigned scale = b->high[2 * g + 1] >> 4 & 7;
        parts->scales[g] = (uint8_t)(b->high[2 * g + 1] >> 7 ? 7 - scale : 8 + scale);
    }
}

/* Codes count levels of a positive scale; a negative one has the fields in reverse order. */
void organ_join_iq1_s(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_iq1_s *const b = block;
    half_put(b->d, parts->d);
    for (size_t g = 0; g < 8; g++) {
        const bool down = parts->scales[g] < 8;
        unsigned word = down ? (7u - parts->scales[g]) << 12 | 1u << 15 : (parts->scales[g] - 8u) << 12;
        for (size_t r = 0; r < 4; r++) {
            uint8_t fields[8];
            for (size_t k = 0; k < 8; k++) {
                const uint8_t code = parts->codes[32 * g + 8 * r + k];
                fields[k] = (uint8_t)(down ? 2 - code : code);
            }
            const unsigned point = point_of(&kind->points, fields);
            b->indices[4 * g + r] = (uint8_t)point;
            word |= (point >> 8) << 3 * r;
        }
        b->high[2 * g] = (uint8_t)word;
        b->high[2 * g + 1] = (uint8_t)(word >> 8);
    }
}

/* The F16 scale of the block is spread over the top nibbles of `scales`. */
void organ_split_iq1_m(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts)
{
    const block_iq1_m *const b = block;
    uint8_t d[2];
    (void)kind;
    for (size_t k = 0; k < 2; k++)
        d[k] = (uint8_t)(b->scales[4 * k + 1] >> 4 | (b->scales[4 * k + 3] & 0xf0));
    parts->d = half_at(d);
    for (size_t g = 0; g < 16; g++) {
        const unsigned word = b->scales[g / 4 * 2] | (unsigned)b->scales[g / 4 * 2 + 1] << 8;
        parts->scales[g] = word >> g % 4 * 3 & 7;
    }
}

void organ_join_iq1_m(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block)
{
    block_iq1_m *const b = block;
    uint8_t d[2];
    half_put(d, parts->d);
    for (size_t r = 0; r < QK_K / 8; r++) {
        const unsigned point = point_of(&kind->points, parts->codes + 8 * r),
                       down = parts->codes[8 * r] >> kind->points.bits;
        b->indices[r] = (uint8_t)point;
        b->high[r / 2] = (uint8_t)((r % 2 ? b->high[r / 2] : 0) | (point >> 8 | down << 3) << r % 2 * 4);
    }
    for (size_t j = 0; j < 4; j++) {
        unsigned word = (unsigned)(d[j / 2] >> j % 2 * 4 & 15) << 12;
        for (size_t k = 0; k < 4; k++)
            word |= (unsigned)parts->scales[4 * j + k] << 3 * k;
        b->scales[2 * j] = (uint8_t)word;
        b->scales[2 * j + 1] = (uint8_t)(word >> 8);
    }
}
