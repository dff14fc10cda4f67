/* SPDX-License-Identifier: MIT
 * Rounding to the values that codes can represent, and scales and codes of GGUF blocks. */
#include "orchestrator/surgery/precision/grid.h"

#include <string.h>

#define E4M3_MAX   448.0f
#define E4M3_MIN   0.015625f /* least normal E4M3 number */
#define F16_MAX    65504.0f
#define BF16_SMALL 0.0078125f  /* the scale that compressed-tensors writes if all values are zero */
#define WHOLE      12582912.0f /* 3 x 2^22: adding and subtracting it rounds to an integer */
#define EIGHTHS    1572864.0f  /* 3 x 2^19: adding and subtracting it times 2^e rounds to eighths of 2^e */

/* Returns x limited to low .. high. */
static inline float clamp_f32(float x, float low, float high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

float organ_grid_max(const organ_grid *grid) { return grid->bits ? (float)((1u << grid->bits) - 1) / 2 : E4M3_MAX; }

const organ_ggml_kind *organ_grid_blocks(const organ_grid *grid)
{
    return grid->scale_of == ORGAN_SCALE_GGUF ? organ_ggml_kind_of((unsigned)grid->size) : NULL;
}

size_t organ_grid_group(const organ_grid *grid, size_t cols)
{
    const organ_ggml_kind *const blocks = organ_grid_blocks(grid);
    if (blocks)
        return blocks->group;
    return grid->size ? grid->size : cols;
}

size_t organ_grid_band(const organ_grid *grid, size_t rows)
{
    if (grid->scale_of == ORGAN_SCALE_BLOCK)
        return grid->size;
    return grid->scale_of == ORGAN_SCALE_TENSOR ? rows : 1;
}

size_t organ_grid_groups(const organ_grid *grid, size_t cols)
{
    const size_t group = organ_grid_group(grid, cols);
    return (cols + group - 1) / group;
}

bool organ_grid_affine(const organ_grid *grid)
{
    const organ_ggml_kind *const blocks = organ_grid_blocks(grid);
    return blocks && blocks->affine;
}

size_t organ_grid_supers(const organ_grid *grid, size_t cols)
{
    const organ_ggml_kind *const blocks = organ_grid_blocks(grid);
    return blocks && blocks->coded ? cols / blocks->elements : 0;
}

size_t organ_grid_numbers(const organ_grid *grid, size_t cols)
{
    return (organ_grid_groups(grid, cols) + organ_grid_supers(grid, cols)) * (organ_grid_affine(grid) ? 2 : 1);
}

float organ_grid_stored(const organ_grid *grid, const organ_kernels *kernels, float scale)
{
    uint16_t stored;
    float back;
    if (grid->scale_of == ORGAN_SCALE_BLOCK)
        return scale;
    if (grid->scale_of == ORGAN_SCALE_GGUF) {
        scale = clamp_f32(scale, -F16_MAX, F16_MAX);
        kernels->f32_to_f16(&scale, &stored, 1);
        kernels->f16_to_f32(&stored, &back, 1);
        return back;
    }
    kernels->f32_to_bf16(&scale, &stored, 1);
    kernels->bf16_to_f32(&stored, &back, 1);
    return back;
}

float organ_grid_scale(const organ_grid *grid, const organ_kernels *kernels, float greatest)
{
    const float scale = organ_grid_stored(grid, kernels, greatest / organ_grid_max(grid));
    if (scale > 0)
        return scale;
    return grid->scale_of == ORGAN_SCALE_BLOCK ? 1.0f : BF16_SMALL;
}

/* Returns the integer nearest to x within low .. high, ties to even. */
static inline float round_to_integer(float x, float low, float high) { return clamp_f32(x, low, high) + WHOLE - WHOLE; }

/* Returns the E4M3 number nearest to x, ties to even. Each binade (numbers with the same exponent) has eight steps;
 * subnormal numbers have the step of the least normal binade. `power` is the power of 2 at or below |x|. */
static inline float round_to_e4m3(float x)
{
    uint32_t bits;
    float power;
    x = clamp_f32(x, -E4M3_MAX, E4M3_MAX);
    memcpy(&bits, &x, sizeof bits);
    bits &= 0x7f800000;
    memcpy(&power, &bits, sizeof power);
    power = (power < E4M3_MIN ? E4M3_MIN : power) * EIGHTHS;
    return x + power - power;
}

void organ_grid_range(const organ_grid *grid, float *low, float *high)
{
    const float half = (float)(1u << grid->bits) / 2;
    const bool affine = organ_grid_affine(grid);
    *low = grid->scale_of == ORGAN_SCALE_GGUF && grid->bits == 8 ? 1 - half : -half;
    *low = affine ? 0 : *low;
    *high = affine ? 2 * half - 1 : half - 1;
}

/* Returns x / scale; 0 if the scale is 0. */
static inline float divide_or_zero(float x, float scale) { return scale != 0 ? x / scale : 0.0f; }

void organ_grid_round(const organ_grid *grid, const float *restrict scales, const float *restrict minima,
                      float *restrict values, size_t n)
{
    const bool affine = organ_grid_affine(grid);
    float low, high;
    organ_grid_range(grid, &low, &high);
    for (size_t k = 0; k < n; k += 16)
        if (affine)
            for (size_t l = k; l < k + 16; l++)
                values[l] = round_to_integer(divide_or_zero(values[l] - minima[l], scales[l]), low, high) * scales[l] +
                            minima[l];
        else if (grid->bits)
            for (size_t l = k; l < k + 16; l++)
                values[l] = round_to_integer(divide_or_zero(values[l], scales[l]), low, high) * scales[l];
        else
            for (size_t l = k; l < k + 16; l++)
                values[l] = round_to_e4m3(values[l] / scales[l]) * scales[l];
}

/* Sets codes[k] to the code nearest to (values[k] - minimum) / scale, as a float, for n values of a group. `minimum` is
 * 0 for grids without minima, such as E4M3. If the scale is 0, integer codes are 0. */
void organ_grid_codes(const organ_grid *grid, float scale, float minimum, const float *restrict values,
                      float *restrict codes, size_t n)
{
    float low, high;
    organ_grid_range(grid, &low, &high);
    for (size_t k = 0; k < n; k++)
        codes[k] = grid->bits ? round_to_integer(divide_or_zero(values[k] - minimum, scale), low, high)
                              : round_to_e4m3(values[k] / scale);
}

/* ---- blocks of GGUF ---- */

void organ_grid_split(const organ_grid *grid, const void *blocks, size_t cols, float *numbers, size_t stride)
{
    const organ_ggml_kind *const kind = organ_grid_blocks(grid);
    const size_t groups = organ_grid_groups(grid, cols), supers = organ_grid_supers(grid, cols),
                 block_groups = kind->elements / kind->group;
    const unsigned char *at = blocks;
    float *const minima = numbers + groups * stride, *const d = numbers + groups * (kind->affine ? 2 : 1) * stride,
                 *const dmin = d + supers * stride;
    for (size_t b = 0; b < cols / kind->elements; b++, at += kind->bytes) {
        organ_ggml_parts parts;
        organ_ggml_split(kind, at, &parts);
        for (size_t g = 0; g < block_groups; g++) {
            numbers[(b * block_groups + g) * stride] = kind->coded ? parts.d * parts.scales[g] : parts.d;
            if (kind->affine)
                minima[(b * block_groups + g) * stride] = kind->coded ? -(parts.m * parts.minima[g]) : parts.m;
        }
        if (!kind->coded)
            continue;
        d[b * stride] = parts.d;
        if (kind->affine)
            dmin[b * stride] = parts.m;
    }
}

/* Returns the code of a group scale or minimum, `product` = code x d. */
static int8_t grid_code_of(float product, float d) { return (int8_t)(divide_or_zero(product, d) + WHOLE - WHOLE); }

/* Sets `to` to the codes of a group, recovered from its values. */
static void join_group(const organ_grid *grid, const float *values, float scale, float minimum, int8_t *to)
{
    const size_t n = organ_grid_blocks(grid)->group;
    float codes[ORGAN_GGML_ELEMENTS];
    organ_grid_codes(grid, scale, minimum, values, codes, n);
    for (size_t k = 0; k < n; k++)
        to[k] = (int8_t)codes[k];
}

void organ_grid_join(const organ_grid *grid, const float *values, const float *numbers, size_t cols, void *blocks)
{
    const organ_ggml_kind *const kind = organ_grid_blocks(grid);
    const size_t groups = organ_grid_groups(grid, cols), supers = organ_grid_supers(grid, cols),
                 block_groups = kind->elements / kind->group;
    const float *const minima = numbers + groups, *const d = minima + (kind->affine ? groups : 0);
    unsigned char *at = blocks;
    for (size_t b = 0; b < cols / kind->elements; b++, at += kind->bytes) {
        organ_ggml_parts parts = {.d = kind->coded ? d[b] : numbers[b]};
        if (kind->affine)
            parts.m = kind->coded ? d[supers + b] : minima[b];
        for (size_t g = 0; g < block_groups; g++) {
            const size_t n = b * block_groups + g;
            const float minimum = kind->affine ? minima[n] : 0;
            parts.scales[g] = grid_code_of(numbers[n], parts.d);
            parts.minima[g] = grid_code_of(-minimum, parts.m);
            join_group(grid, values + n * kind->group, numbers[n], minimum, parts.codes + g * kind->group);
        }
        organ_ggml_join(kind, &parts, at);
    }
}
