/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/precision/grid.h"

#include <string.h>

#define E4M3_MOST  448.0f
#define E4M3_LEAST 0.015625f   /* the least that is not subnormal */
#define BF16_SMALL 0.0078125f  /* the scale that compressed-tensors gives to nothing but zeros */
#define WHOLE      12582912.0f /* 3 x 2^22: a sum with it has no digits behind the point */
#define EIGHTHS    1572864.0f  /* 3 x 2^19: a sum with that many 2^e has eighths of 2^e as its last digit */

float organ_grid_most(const organ_grid *grid) { return grid->bits ? (float)((1u << grid->bits) - 1) / 2 : E4M3_MOST; }

float organ_grid_stored(const organ_grid *grid, const organ_kernels *kernels, float scale)
{
    uint16_t stored;
    float back;
    if (grid->scale_of == ORGAN_SCALE_BLOCK)
        return scale;
    kernels->f32_to_bf16(&scale, &stored, 1);
    kernels->bf16_to_f32(&stored, &back, 1);
    return back;
}

float organ_grid_scale(const organ_grid *grid, const organ_kernels *kernels, float greatest)
{
    const float scale = organ_grid_stored(grid, kernels, greatest / organ_grid_most(grid));
    if (scale > 0)
        return scale;
    return grid->scale_of == ORGAN_SCALE_BLOCK ? 1.0f : BF16_SMALL;
}

static inline float clamp(float x, float low, float high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

static inline float whole(float x, float low, float high) { return clamp(x, low, high) + WHOLE - WHOLE; }

/* A binade has eight steps, and what is subnormal the same as the least that is not. */
static inline float e4m3(float x)
{
    uint32_t bits;
    float power;
    x = clamp(x, -E4M3_MOST, E4M3_MOST);
    memcpy(&bits, &x, sizeof bits);
    bits &= 0x7f800000;
    memcpy(&power, &bits, sizeof power);
    power = (power < E4M3_LEAST ? E4M3_LEAST : power) * EIGHTHS;
    return x + power - power;
}

void organ_grid_round(const organ_grid *grid, const float *restrict scales, float *restrict values, size_t n)
{
    const float low = -(float)(1u << grid->bits) / 2, high = -low - 1;
    for (size_t k = 0; k < n; k += 16)
        if (grid->bits)
            for (size_t l = k; l < k + 16; l++)
                values[l] = whole(values[l] / scales[l], low, high) * scales[l];
        else
            for (size_t l = k; l < k + 16; l++)
                values[l] = e4m3(values[l] / scales[l]) * scales[l];
}

void organ_grid_codes(const organ_grid *grid, float scale, const float *restrict values, float *restrict codes, size_t n)
{
    const float low = -(float)(1u << grid->bits) / 2, high = -low - 1;
    for (size_t k = 0; k < n; k++)
        codes[k] = grid->bits ? whole(values[k] / scale, low, high) : e4m3(values[k] / scale);
}
