/* SPDX-License-Identifier: MIT
 * Rounding to the values that codes can represent, and scales and codes of GGUF blocks. */
#include "orchestrator/surgery/encoding/encoding.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define E4M3_MAX   448.0f
#define E4M3_MIN   0.015625f /* least normal E4M3 number */
#define E2M1_MAX   6.0f
#define F16_MAX    65504.0f
#define BF16_SMALL 0.0078125f  /* the scale that compressed-tensors writes if all values are zero */
#define WHOLE      12582912.0f /* 3 x 2^22: adding and subtracting it rounds to an integer */
#define EIGHTHS    1572864.0f  /* 3 x 2^19: adding and subtracting it times 2^e rounds to eighths of 2^e */

static inline float clamp_f32(float x, float low, float high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

float organ_grid_max(const organ_grid *grid)
{
    if (organ_grid_levels(grid) == &organ_levels_of_fp4)
        return E2M1_MAX;
    return grid->bits ? (float)((1u << grid->bits) - 1) / 2 : E4M3_MAX;
}

float organ_grid_divisor(float greatest)
{
    int exponent;
    frexpf(greatest > 0 ? E4M3_MAX * E2M1_MAX / greatest : 1, &exponent);
    exponent = exponent < -99 ? -99 : exponent; /* 2^(exponent - 1) is the power of 2 at or below the ratio */
    return ldexpf(1, exponent > 101 ? 100 : exponent - 1);
}

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

bool organ_grid_is_free(const organ_grid *grid)
{
    return grid->scale_of == ORGAN_SCALE_AFFINE_BF16 || grid->scale_of == ORGAN_SCALE_AFFINE_F16 ||
           grid->scale_of == ORGAN_SCALE_AFFINE_F32;
}

bool organ_grid_affine(const organ_grid *grid)
{
    const organ_ggml_kind *const blocks = organ_grid_blocks(grid);
    return organ_grid_is_free(grid) || (blocks && blocks->affine);
}

size_t organ_grid_supers(const organ_grid *grid, size_t cols)
{
    const organ_ggml_kind *const blocks = organ_grid_blocks(grid);
    return blocks && organ_ggml_is_coded(blocks) ? cols / blocks->elements : 0;
}

size_t organ_grid_numbers(const organ_grid *grid, size_t cols)
{
    return (organ_grid_groups(grid, cols) + organ_grid_supers(grid, cols)) * (organ_grid_affine(grid) ? 2 : 1);
}

const organ_levels *organ_grid_levels(const organ_grid *grid)
{
    const organ_ggml_kind *const blocks = organ_grid_blocks(grid);
    const bool small = grid->scale_of == ORGAN_SCALE_E4M3 || grid->scale_of == ORGAN_SCALE_E4M3_ALL ||
                       grid->scale_of == ORGAN_SCALE_E8M0;
    if (blocks)
        return blocks->levels;
    return small && grid->bits ? &organ_levels_of_fp4 : NULL;
}

organ_scale_store organ_grid_store(const organ_grid *grid)
{
    switch (grid->scale_of) {
    case ORGAN_SCALE_BLOCK:
    case ORGAN_SCALE_AFFINE_F32:
        return ORGAN_STORE_F32;
    case ORGAN_SCALE_AFFINE_F16:
        return ORGAN_STORE_F16;
    case ORGAN_SCALE_E4M3:
    case ORGAN_SCALE_E4M3_ALL:
        return ORGAN_STORE_E4M3;
    case ORGAN_SCALE_E8M0:
        return ORGAN_STORE_E8M0;
    case ORGAN_SCALE_GGUF:
        return organ_grid_blocks(grid)->stored;
    default:
        return ORGAN_STORE_BF16;
    }
}

float organ_grid_stored(const organ_grid *grid, const organ_kernels *kernels, float scale)
{
    const organ_scale_store type = organ_grid_store(grid);
    uint16_t stored;
    float back;
    if (type == ORGAN_STORE_F32)
        return scale;
    if (type == ORGAN_STORE_F16) {
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

/* Ties are rounded to even. */
static inline float round_to_integer(float x, float low, float high) { return clamp_f32(x, low, high) + WHOLE - WHOLE; }

/* Ties are rounded to even. Each binade (numbers with the same exponent) has eight steps; subnormal numbers have the
 * step of the least normal binade. `power` is the power of 2 at or below |x|. */
static inline float round_to_e4m3(float x)
{
    uint32_t bits;
    float power;
    x = clamp_f32(x, -E4M3_MAX, E4M3_MAX);
    memcpy(&bits, &x, sizeof bits);
    bits &= 0x7f800000; /* the exponent alone */
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

static inline float divide_or_zero(float x, float scale) { return scale != 0 ? x / scale : 0.0f; }

static inline float nearest_level(const organ_levels *levels, float x)
{
    unsigned k = 0;
    while (k + 1 < levels->count && x > levels->middles[k])
        k++;
    return levels->values[k];
}

/* If the scale is 0, whole levels are 0. */
void organ_grid_codes(const organ_grid *grid, float scale, float minimum, const float *restrict values,
                      float *restrict codes, size_t n)
{
    const organ_levels *const levels = organ_grid_levels(grid);
    float low, high;
    organ_grid_range(grid, &low, &high);
    for (size_t k = 0; k < n && levels; k++)
        codes[k] = nearest_level(levels, divide_or_zero(values[k] - minimum, scale));
    if (levels)
        return;
    for (size_t k = 0; k < n; k++)
        codes[k] = grid->bits ? round_to_integer(divide_or_zero(values[k] - minimum, scale), low, high)
                              : round_to_e4m3(values[k] / scale);
}

/* ---- blocks of GGUF ---- */

/* Returns the scale that byte `code` of a group stands for. */
static float byte_scale(const organ_ggml_kind *kind, uint8_t code)
{
    return kind->stored == ORGAN_STORE_E8M0 ? organ_e8m0_to_f32(code) : organ_e4m3_to_f32(code);
}

/* Returns what code `code` of a scale or minimum stands for, as a multiple of d or dmin. */
static float coded_number(const organ_ggml_kind *kind, uint8_t code)
{
    const organ_ggml_scales *const s = &kind->coded;
    return s->shift + s->step * (s->low + (float)code);
}

static float group_scale(const organ_ggml_kind *kind, const organ_ggml_parts *parts, size_t g)
{
    if (organ_ggml_is_coded(kind))
        return parts->d * coded_number(kind, parts->scales[g]);
    return kind->stored == ORGAN_STORE_F16 ? parts->d : byte_scale(kind, parts->scales[g]);
}

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
            numbers[(b * block_groups + g) * stride] = group_scale(kind, &parts, g);
            if (kind->affine)
                minima[(b * block_groups + g) * stride] =
                    supers ? -(parts.m * coded_number(kind, parts.minima[g])) : parts.m;
        }
        if (!supers)
            continue;
        d[b * stride] = parts.d;
        if (kind->affine)
            dmin[b * stride] = parts.m;
    }
}

/* Returns the code of a product of d and a number that a code stands for. If d is 0, the code of the number nearest
 * to 0. */
static uint8_t code_of(const organ_ggml_kind *kind, float product, float d)
{
    const organ_ggml_scales *const s = &kind->coded;
    return (uint8_t)(round_to_integer((divide_or_zero(product, d) - s->shift) / s->step, s->low, s->high) - s->low);
}

/* `scale` is a number of the type of the byte. E8M0: the exponent. E4M3: the exponent has bias 7 instead of 127. */
static uint8_t byte_of(const organ_ggml_kind *kind, float scale)
{
    uint32_t bits;
    memcpy(&bits, &scale, sizeof bits);
    if (kind->stored == ORGAN_STORE_E8M0)
        return (uint8_t)(bits >> 23);
    return (uint8_t)(scale < E4M3_MIN ? scale * 512 : (float)((bits >> 20) - ((127 - 7) << 3)));
}

/* Sets the codes of a group, as blocks store them. The code of a whole level has half of the range added, if levels are
 * around 0. */
static void join_group(const organ_grid *grid, const float *values, float scale, float minimum, uint8_t *to)
{
    const organ_ggml_kind *const kind = organ_grid_blocks(grid);
    const float offset = kind->affine ? 0 : (float)(1u << (kind->bits - 1));
    float levels[ORGAN_GGML_ELEMENTS];
    organ_grid_codes(grid, scale, minimum, values, levels, kind->group);
    for (size_t k = 0; k < kind->group; k++) {
        unsigned at = 0;
        while (kind->levels && kind->levels->values[at] < levels[k])
            at++;
        to[k] = kind->levels ? kind->levels->codes[at] : (uint8_t)(levels[k] + offset);
    }
}

void organ_grid_join(const organ_grid *grid, const float *values, const float *numbers, size_t cols, void *blocks)
{
    const organ_ggml_kind *const kind = organ_grid_blocks(grid);
    const size_t groups = organ_grid_groups(grid, cols), supers = organ_grid_supers(grid, cols),
                 block_groups = kind->elements / kind->group;
    const float *const minima = numbers + groups, *const d = minima + (kind->affine ? groups : 0);
    unsigned char *at = blocks;
    for (size_t b = 0; b < cols / kind->elements; b++, at += kind->bytes) {
        organ_ggml_parts parts = {.d = supers ? d[b] : numbers[b * block_groups]};
        if (kind->affine)
            parts.m = supers ? d[supers + b] : minima[b];
        for (size_t g = 0; g < block_groups; g++) {
            const size_t n = b * block_groups + g;
            const float minimum = kind->affine ? minima[n] : 0;
            parts.scales[g] = supers ? code_of(kind, numbers[n], parts.d) : byte_of(kind, numbers[n]);
            parts.minima[g] = supers ? code_of(kind, -minimum, parts.m) : 0;
            join_group(grid, values + n * kind->group, numbers[n], minimum, parts.codes + g * kind->group);
        }
        organ_ggml_join(kind, &parts, at);
    }
}

/* ---- the search of a scale ---- */

#define OF_ZEROS 0x1p-7f /* what compressed-tensors writes if all values are zero */

/* Codes of E4M3 have a relative error that depends on the place of a value between two powers of 2, so the tries divide
 * one power of 2 into equal ratios: 448 x 2^(-k / 16) in FP32. */
#define E4M3_PEAKS                                                                                                     \
    448, 0x1.ad019ap+8f, 0x1.9ad15cp+8f, 0x1.896686p+8f, 0x1.78b8bap+8f, 0x1.68bff6p+8f, 0x1.59748ap+8f,               \
        0x1.4acf1ep+8f, 0x1.3cc8aap+8f, 0x1.2f5a6ep+8f, 0x1.227df8p+8f, 0x1.162d18p+8f, 0x1.0a61e4p+8f,                \
        0x1.fe2d64p+7f, 0x1.e88c26p+7f, 0x1.d3d5acp+7f

/* A search for whole codes with BF16 scales, which with `signs` may be negative. */
#define WHOLE_CODES(least, greatest, sign, ...)                                                                        \
    {                                                                                                                  \
        .low = (least), .high = (greatest), .bf16 = 1, .signs = (sign), .of_zeros = OF_ZEROS, .peaks = { __VA_ARGS__ } \
    }

/* The peaks of each search leave, of all that were compared, the least error together on groups of 32, 64 and 128
 * values (for `of_rows`: on rows of 256 to 2048) of trained and random matrices. Scales of both signs are tried because
 * the least code is farther from 0 than the greatest; with 256 codes that does not matter. */
static const organ_scale_search of_2_bits = WHOLE_CODES(-2, 1, 1, 1.5f, -1.95f, -2.15f, -2.3f, -2.45f, -2.6f, -2.8f, -3,
                                                        -3.25f, -3.65f, -4.5f, 2.15f, 2.45f, 2.75f, 3.05f, 3.55f);
static const organ_scale_search of_3_bits =
    WHOLE_CODES(-4, 3, 1, 3.5f, -3.75f, -3.9f, -4.05f, -4.2f, -4.35f, -4.5f, -4.65f, -4.8f, -4.95f, -5.15f, -5.45f,
                -5.8f, -6.5f, 4.45f, 4.9f);
static const organ_scale_search of_4_bits =
    WHOLE_CODES(-8, 7, 1, 7.5f, -6.85f, -7.05f, -7.25f, -7.75f, -7.95f, -8.1f, -8.2f, -8.35f, -8.5f, -8.65f, -8.8f, -9,
                -9.25f, -9.55f, -9.95f);
static const organ_scale_search of_8_bits =
    WHOLE_CODES(-128, 127, 0, 127.5f, 113, 114, 115, 116, 117, 119, 120, 121, 122, 123, 124, 125, 126, 126.8f, 128.2f);
static const organ_scale_search of_rows = WHOLE_CODES(-128, 127, 0, 127.5f, 120.5f, 122.4f, 123.7f, 124.3f, 125, 125.6f,
                                                      126.2f, 126.9f, 128.1f, 128.8f, 129.4f, 130.1f, 131, 132.6f, 136);
static const organ_scale_search of_e4m3 = {.e4m3 = 1, .bf16 = 1, .of_zeros = OF_ZEROS, .peaks = {E4M3_PEAKS}};
static const organ_scale_search of_e4m3_blocks = {.e4m3 = 1, .of_zeros = 1, .peaks = {E4M3_PEAKS}};

/* Halves round up, as near as FP32 comes to nearest E4M3. The least number is the least normal one, because some
 * servers treat subnormal scales as 0. */
static const organ_scale_search of_nvfp4 = {.e2m1 = 1,
                                            .of_zeros = 0.125f,
                                            .peaks = {E2M1_MAX},
                                            .stepped = 1,
                                            .fraction = 3,
                                            .up = 1u << 19,
                                            .least = E4M3_MIN,
                                            .greatest = E4M3_MAX};
static const organ_scale_search of_nvfp4_all = {.e2m1 = 1,
                                                .of_zeros = E4M3_MIN,
                                                .peaks = {E2M1_MAX},
                                                .stepped = 1,
                                                .fraction = 3,
                                                .subnormal = 1,
                                                .up = 1u << 19,
                                                .least = E4M3_MIN,
                                                .greatest = E4M3_MAX};
/* Try 0 of compressed-tensors: the greatest magnitude, rounded to a power of 2, up from 1.75 times it on, over 4. */
static const organ_scale_search of_mxfp4 = {
    .e2m1 = 1, .of_zeros = 1, .peaks = {4}, .stepped = 1, .up = 3u << 21, .least = 0x1p-126f, .greatest = 0x1p127f};

/* Try 0: 2 to the power of the rounded logarithm of the greatest magnitude over 448. */
static const organ_scale_search of_mxfp8 = {.e4m3 = 1,
                                            .of_zeros = 1,
                                            .peaks = {E4M3_MAX},
                                            .stepped = 1,
                                            .up = 0x3504f3,
                                            .least = 0x1p-126f,
                                            .greatest = 0x1p127f};

const organ_scale_search *organ_grid_search(const organ_grid *grid)
{
    if (grid->scale_of == ORGAN_SCALE_GGUF || organ_grid_is_free(grid))
        return NULL;
    if (grid->scale_of == ORGAN_SCALE_E8M0 && !grid->bits)
        return &of_mxfp8;
    if (grid->scale_of == ORGAN_SCALE_E4M3)
        return &of_nvfp4;
    if (grid->scale_of == ORGAN_SCALE_E4M3_ALL)
        return &of_nvfp4_all;
    if (grid->scale_of == ORGAN_SCALE_E8M0)
        return &of_mxfp4;
    switch (grid->bits) {
    case 0:
        return grid->scale_of == ORGAN_SCALE_BLOCK ? &of_e4m3_blocks : &of_e4m3;
    case 2:
        return &of_2_bits;
    case 3:
        return &of_3_bits;
    case 4:
        return &of_4_bits;
    default:
        return grid->scale_of == ORGAN_SCALE_CHANNEL ? &of_rows : &of_8_bits;
    }
}
