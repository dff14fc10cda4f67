/* SPDX-License-Identifier: MIT
 * Quantisers with the choice of scales and the rounding of ggml's reference, in plain C. Where the reference leaves the behaviour undefined
 * (values or reciprocals that are not finite) codes end at the nearest end of their range, and a NaN on code 0. */
#include "kernels/ggml.h"
#include "kernels/half.h"
#include <float.h>
#include <math.h>

enum { BLOCK = 32 };

static float reciprocal(float d) { return d != 0 ? 1 / d : 0; }

/* `value` without its fraction, within 0 and `top`. */
static uint8_t code_of(float value, int top) { return (uint8_t)(value >= (float)top ? top : value > 0 ? (int)value : 0); }

/* The first of the values that are farthest from zero; 0 where there are only zeros. */
static float farthest(const float *values)
{
    float magnitude = 0, value = 0;
    for (int j = 0; j < BLOCK; j++)
        if (magnitude < fabsf(values[j]))
            magnitude = fabsf(values[j]), value = values[j];
    return value;
}

/* Codes of 0 to `top` around `middle`, so that the value farthest from zero, whatever its sign, gets code 0. Returns the scale. */
static float symmetric_codes(const float *values, int top, int middle, uint8_t *codes)
{
    const float d = farthest(values) / (float)-middle, inverse = reciprocal(d);
    for (int j = 0; j < BLOCK; j++)
        codes[j] = code_of(values[j] * inverse + ((float)middle + 0.5f), top);
    return d;
}

/* Codes of 0 to `top` from the least value to the greatest. Returns the scale. */
static float affine_codes(const float *values, int top, uint8_t *codes, float *least)
{
    float min = FLT_MAX, max = -FLT_MAX;
    for (int j = 0; j < BLOCK; j++) {
        min = values[j] < min ? values[j] : min;
        max = values[j] > max ? values[j] : max;
    }
    const float d = (max - min) / (float)top, inverse = reciprocal(d);
    for (int j = 0; j < BLOCK; j++)
        codes[j] = code_of((values[j] - min) * inverse + 0.5f, top);
    *least = min;
    return d;
}

static void put_nibbles(const uint8_t *codes, uint8_t *bytes)
{
    for (int j = 0; j < BLOCK / 2; j++)
        bytes[j] = (uint8_t)((codes[j] & 15) | (codes[j + BLOCK / 2] & 15) << 4);
}

static void put_fifth_bits(const uint8_t *codes, uint8_t *bytes)
{
    for (int k = 0; k < BLOCK / 8; k++) {
        unsigned bits = 0;
        for (int j = 0; j < 8; j++)
            bits |= (unsigned)(codes[8 * k + j] >> 4) << j;
        bytes[k] = (uint8_t)bits;
    }
}

void organ_quantize_q4_0(const float *values, void *blocks, size_t n)
{
    uint8_t *b = blocks, codes[BLOCK];
    for (size_t k = 0; k < n; k++, b += 18, values += BLOCK) {
        half_put(b, symmetric_codes(values, 15, 8, codes));
        put_nibbles(codes, b + 2);
    }
}

void organ_quantize_q4_1(const float *values, void *blocks, size_t n)
{
    uint8_t *b = blocks, codes[BLOCK];
    float least;
    for (size_t k = 0; k < n; k++, b += 20, values += BLOCK) {
        half_put(b, affine_codes(values, 15, codes, &least));
        half_put(b + 2, least);
        put_nibbles(codes, b + 4);
    }
}

void organ_quantize_q5_0(const float *values, void *blocks, size_t n)
{
    uint8_t *b = blocks, codes[BLOCK];
    for (size_t k = 0; k < n; k++, b += 22, values += BLOCK) {
        half_put(b, symmetric_codes(values, 31, 16, codes));
        put_fifth_bits(codes, b + 2);
        put_nibbles(codes, b + 6);
    }
}

void organ_quantize_q5_1(const float *values, void *blocks, size_t n)
{
    uint8_t *b = blocks, codes[BLOCK];
    float least;
    for (size_t k = 0; k < n; k++, b += 24, values += BLOCK) {
        half_put(b, affine_codes(values, 31, codes, &least));
        half_put(b + 2, least);
        put_fifth_bits(codes, b + 4);
        put_nibbles(codes, b + 8);
    }
}
