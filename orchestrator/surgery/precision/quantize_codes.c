/* SPDX-License-Identifier: MIT
 * Codes and scales of rows as a scheme stores them. */
#include "orchestrator/surgery/precision/quantize_job.h"

#include "orchestrator/machine/extent.h"

#include <string.h>

/* Codes that are brought into or out of words at once: whole words, and whole groups of all schemes. */
#define TOGETHER ((size_t)2048)

/* What codes of 4 bits have added, for each group. */
static const float middles[TOGETHER / 32] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
                                             8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
                                             8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8};

static organ_code quantize_codes_code_of(const organ_quantize_scheme *scheme)
{
    return scheme->grid.bits == 0 ? ORGAN_CODE_E4M3 : ORGAN_CODE_I8;
}

size_t organ_quantize_row_bytes(const organ_quantize_scheme *scheme, size_t cols)
{
    return scheme->packed ? cols / 8 * scheme->grid.bits : cols;
}

/* Codes of `bits` each, one behind the other from the lowest bit on; n is a multiple of 8. */
static void pack(const int8_t *codes, unsigned bits, size_t n, unsigned char *bytes)
{
    const int half = 1 << (bits - 1);
    for (size_t k = 0; k < n; k += 8) {
        uint64_t word = 0;
        for (unsigned l = 0; l < 8; l++) {
            const int code = codes[k + l] < -half ? -half : codes[k + l] >= half ? half - 1 : codes[k + l];
            word |= (uint64_t)(code + half) << (l * bits);
        }
        for (unsigned byte = 0; byte < bits; byte++)
            bytes[k / 8 * bits + byte] = (unsigned char)(word >> (8 * byte));
    }
}

void organ_quantize_row_back(const organ_quantize_scheme *scheme, const organ_kernels *kernels, const void *codes,
                             const float *scales, size_t cols, float *back)
{
    const size_t group = organ_grid_group(&scheme->grid, cols);
    const unsigned bits = scheme->grid.bits;
    uint8_t some[TOGETHER];
    if (!scheme->packed) {
        kernels->decode[quantize_codes_code_of(scheme)][ORGAN_REAL_F32](codes, scales, NULL, group, back, cols);
        return;
    }
    for (size_t from = 0; from < cols; from += TOGETHER) {
        const size_t n = organ_lesser(TOGETHER, cols - from);
        if (bits == 4) {
            kernels->decode[ORGAN_CODE_U4][ORGAN_REAL_F32]((const uint8_t *)codes + from / 2, scales + from / group,
                                                           middles, group, back + from, n);
            continue;
        }
        organ_unpack_bits(codes, bits, 1, from, some, n);
        for (size_t k = 0; k < n; k++)
            some[k] = (uint8_t)(some[k] - (1u << (bits - 1)));
        kernels->decode[ORGAN_CODE_I8][ORGAN_REAL_F32](some, scales + from / group, NULL, group, back + from, n);
    }
}

void organ_quantize_row(const organ_quantize_scheme *scheme, const organ_kernels *kernels, const float *values,
                        const float *scales, size_t cols, void *codes, float *back)
{
    const size_t group = organ_grid_group(&scheme->grid, cols);
    int8_t some[TOGETHER];
    const bool nibbles = scheme->packed && scheme->grid.bits == 4;
    if (!scheme->packed || nibbles)
        kernels->encode[nibbles ? ORGAN_CODE_U4 : quantize_codes_code_of(scheme)](values, scales, group, codes, cols);
    for (size_t from = 0; from < cols && scheme->packed && !nibbles; from += TOGETHER) {
        const size_t n = organ_lesser(TOGETHER, cols - from);
        kernels->encode[ORGAN_CODE_I8](values + from, scales + from / group, group, some, n);
        pack(some, scheme->grid.bits, n, (unsigned char *)codes + organ_quantize_row_bytes(scheme, from));
    }
    organ_quantize_row_back(scheme, kernels, codes, scales, cols, back);
}

size_t organ_quantize_scale_bytes(const organ_quantize_scheme *scheme)
{
    return scheme->grid.scale_of == ORGAN_SCALE_BLOCK ? 4 : 2;
}

void organ_quantize_store_scales(const organ_quantize_scheme *scheme, const organ_kernels *kernels, const float *scales,
                                 size_t n, void *stored)
{
    if (organ_quantize_scale_bytes(scheme) == 4)
        memcpy(stored, scales, 4 * n);
    else
        kernels->f32_to_bf16(scales, stored, n);
}

void organ_quantize_load_scales(const organ_quantize_scheme *scheme, const organ_kernels *kernels, const void *stored,
                                size_t n, float *scales)
{
    if (organ_quantize_scale_bytes(scheme) == 4)
        memcpy(scales, stored, 4 * n);
    else
        kernels->bf16_to_f32(stored, scales, n);
}

static double quantize_codes_squares_of(const organ_kernels *kernels, const float *values, size_t n)
{
    organ_spread spread;
    kernels->spread(values, n, &spread);
    return spread.m2 + (double)spread.n * spread.mean * spread.mean;
}

/* back[k] = values[k] - back[k]; the two never overlap. The compiler makes vectors of a loop whose length it knows. */
static void take_from(float *restrict back, const float *restrict values, size_t n)
{
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        for (size_t l = 0; l < 16; l++)
            back[at + l] = values[at + l] - back[at + l];
    for (; at < n; at++)
        back[at] = values[at] - back[at];
}

void organ_quantize_lose(const organ_kernels *kernels, const float *values, float *back, size_t cols,
                         organ_quantize_loss *sums)
{
    take_from(back, values, cols);
    sums->squares += quantize_codes_squares_of(kernels, values, cols);
    sums->error_squares += quantize_codes_squares_of(kernels, back, cols);
}
