/* SPDX-License-Identifier: MIT
 * Block types of GGUF whose codes name entries of a codebook (IQ1, IQ2, IQ3), in plain C: 256 elements, groups of 32, runs of 8. */
#include "kernels/ggml.h"
#include "kernels/ggml_grids.h"
#include "kernels/half.h"

static uint32_t little(const uint8_t *p, int bytes)
{
    uint32_t word = 0;
    for (int k = 0; k < bytes; k++)
        word |= (uint32_t)p[k] << 8 * k;
    return word;
}

/* Seven signs as stored; the eighth makes their number even. */
static unsigned eight_signs(uint32_t seven) { return (seven & 127) | (unsigned)__builtin_parity(seven & 127) << 7; }

static float *put_signed(float *values, float scale, unsigned magnitude, unsigned negative)
{
    const float product = scale * (float)magnitude;
    *values = negative ? -product : product;
    return values + 1;
}

/* 8 magnitudes of 2 bits each. */
static float *put_iq2(float *values, float scale, unsigned entry, unsigned signs)
{
    static const uint8_t magnitudes[4] = {8, 25, 43, 0};
    for (int j = 0; j < 8; j++)
        values = put_signed(values, scale, magnitudes[entry >> 2 * j & 3], signs >> j & 1);
    return values;
}

/* 4 magnitudes of 3 bits each. */
static float *put_iq3(float *values, float scale, unsigned entry, unsigned signs, const uint8_t *magnitudes)
{
    for (int j = 0; j < 4; j++)
        values = put_signed(values, scale, magnitudes[entry >> 3 * j & 7], signs >> j & 1);
    return values;
}

void organ_dequantize_iq2_xxs(const void *blocks, float *values, size_t n) /* d, 8 x (4 indices, 4 x 7 signs and a scale of 4 bits) */
{
    const uint8_t *b = blocks;
    for (size_t k = 0; k < n; k++, b += 66) {
        const float d = half_at(b);
        for (int group = 0; group < 8; group++) {
            const uint8_t *index = b + 2 + 8 * group;
            const uint32_t signs = little(index + 4, 4);
            const float scale = d * (0.5f + (float)(signs >> 28)) * 0.25f;
            for (int run = 0; run < 4; run++)
                values = put_iq2(values, scale, iq2_xxs_grid[index[run]], eight_signs(signs >> 7 * run));
        }
    }
}

void organ_dequantize_iq2_xs(const void *blocks, float *values, size_t n) /* d, 32 x (9 bits of index, 7 signs), scales[8] */
{
    const uint8_t *b = blocks;
    for (size_t k = 0; k < n; k++, b += 74) {
        const float d = half_at(b);
        for (int run = 0; run < 32; run++) {
            const uint32_t code = little(b + 2 + 2 * run, 2);
            const float scale = d * (0.5f + (float)(b[66 + run / 4] >> run % 4 / 2 * 4 & 15)) * 0.25f;
            values = put_iq2(values, scale, iq2_xs_grid[code & 511], eight_signs(code >> 9));
        }
    }
}

void organ_dequantize_iq2_s(const void *blocks, float *values, size_t n) /* d, indices[32], signs[32], high bits[8], scales[8] */
{
    const uint8_t *b = blocks;
    for (size_t k = 0; k < n; k++, b += 82) {
        const float d = half_at(b);
        for (int run = 0; run < 32; run++) {
            const unsigned index = b[2 + run] | (b[66 + run / 4] >> run % 4 * 2 & 3u) << 8;
            const float scale = d * (0.5f + (float)(b[74 + run / 4] >> run % 4 / 2 * 4 & 15)) * 0.25f;
            values = put_iq2(values, scale, iq2_s_grid[index], b[34 + run]);
        }
    }
}

void organ_dequantize_iq3_xxs(const void *blocks, float *values, size_t n) /* d, indices[64], 8 x (4 x 7 signs and a scale of 4 bits) */
{
    static const uint8_t magnitudes[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    const uint8_t *b = blocks;
    for (size_t k = 0; k < n; k++, b += 98) {
        const float d = half_at(b);
        for (int run = 0; run < 32; run++) {
            const uint32_t word = little(b + 66 + run / 4 * 4, 4);
            const float scale = d * (0.5f + (float)(word >> 28)) * 0.5f;
            const unsigned signs = eight_signs(word >> run % 4 * 7);
            values = put_iq3(values, scale, iq3_xxs_grid[b[2 + 2 * run]], signs, magnitudes);
            values = put_iq3(values, scale, iq3_xxs_grid[b[3 + 2 * run]], signs >> 4, magnitudes);
        }
    }
}

void organ_dequantize_iq3_s(const void *blocks, float *values, size_t n) /* d, indices[64], high bits[8], signs[32], scales[4] */
{
    static const uint8_t magnitudes[8] = {1, 3, 5, 7, 9, 11, 13, 15};
    const uint8_t *b = blocks;
    for (size_t k = 0; k < n; k++, b += 110) {
        const float d = half_at(b);
        for (int run = 0; run < 32; run++) {
            const unsigned high = b[66 + run / 4] >> run % 4 * 2, signs = b[74 + run];
            const float scale = d * (float)(1 + 2 * (b[106 + run / 8] >> run % 8 / 4 * 4 & 15));
            values = put_iq3(values, scale, iq3_s_grid[b[2 + 2 * run] | (high & 1) << 8], signs, magnitudes);
            values = put_iq3(values, scale, iq3_s_grid[b[3 + 2 * run] | (high >> 1 & 1) << 8], signs >> 4, magnitudes);
        }
    }
}

/* 8 times -1, 0 or 1 in fields of 2 bits, all moved by an eighth up, or down if `down`. */
static float *put_iq1(float *values, float scale, unsigned entry, unsigned down)
{
    const float delta = down ? -0.125f : 0.125f;
    for (int j = 0; j < 8; j++)
        *values++ = scale * ((float)((int)(entry >> 2 * j & 3) - 1) + delta);
    return values;
}

void organ_dequantize_iq1_s(const void *blocks, float *values, size_t n) /* d, indices[32], 8 x (4 x 3 high bits, 3 of scale, direction) */
{
    const uint8_t *b = blocks;
    for (size_t k = 0; k < n; k++, b += 50) {
        const float d = half_at(b);
        for (int run = 0; run < 32; run++) {
            const uint32_t high = little(b + 34 + run / 4 * 2, 2);
            const float scale = d * (float)(2 * (high >> 12 & 7) + 1);
            values = put_iq1(values, scale, iq1_grid[b[2 + run] | (high >> run % 4 * 3 & 7) << 8], high >> 15);
        }
    }
}

/* indices[32], 32 x (3 high bits, direction), 4 x (4 x 3 bits of scale and 4 bits of d) */
void organ_dequantize_iq1_m(const void *blocks, float *values, size_t n)
{
    const uint8_t *b = blocks;
    for (size_t k = 0; k < n; k++, b += 56) {
        const uint8_t *scales = b + 48;
        const uint32_t half = scales[1] >> 4 | scales[3] >> 4 << 4 | scales[5] >> 4 << 8 | (uint32_t)(scales[7] >> 4) << 12;
        const float d = half_widen((uint16_t)half);
        for (int run = 0; run < 32; run++) {
            const unsigned high = b[32 + run / 2] >> run % 2 * 4;
            const float scale = d * (float)(2 * (little(scales + run / 8 * 2, 2) >> run % 8 / 2 * 3 & 7) + 1);
            values = put_iq1(values, scale, iq1_grid[b[run] | (high & 7) << 8], high >> 3 & 1);
        }
    }
}
