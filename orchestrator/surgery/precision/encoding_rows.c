/* SPDX-License-Identifier: MIT
 * Encodes rows to the codes, blocks and scales of an encoding, decodes them, and sums the errors. */
#include "orchestrator/surgery/precision/encoding.h"

#include "orchestrator/machine/extent.h"

#include <string.h>

/* Number of codes that are packed or unpacked at a time: a multiple of the codes in a word and of the columns of any
 * group. */
#define TOGETHER ((size_t)2048)

/* Zero points for the kernel that decodes 4-bit codes, one for each group of 32: codes are stored with 8 added. */
static const float middles[TOGETHER / 32] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
                                             8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
                                             8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8};

/* Packed codes are converted from or to int8. */
static organ_code encoding_rows_code(const organ_encoding *encoding)
{
    return encoding->grid.bits == 0 ? ORGAN_CODE_E4M3 : ORGAN_CODE_I8;
}

size_t organ_encoding_row_bytes(const organ_encoding *encoding, size_t cols)
{
    const organ_dtype_info *const type = organ_dtype_describe(encoding->codes);
    return organ_encoding_is_packed(encoding) ? cols / 8 * encoding->grid.bits : cols / type->elements * type->bytes;
}

size_t organ_encoding_band(const organ_encoding *encoding, size_t rows)
{
    return organ_grid_band(&encoding->grid, rows);
}

/* Packs the lowest `bits` bits of 8 bytes, the first byte in the lowest bits: joins two bytes, then two pairs, then two
 * fours. All other bits of `bytes` are 0. */
static inline uint64_t join_eight(uint64_t bytes, unsigned bits)
{
    const unsigned gap = 8 - bits;
    bytes = (bytes & 0x00ff00ff00ff00ff) | (bytes & 0xff00ff00ff00ff00) >> gap;
    bytes = (bytes & 0x0000ffff0000ffff) | (bytes & 0xffff0000ffff0000) >> 2 * gap;
    return (bytes & 0x00000000ffffffff) | (bytes & 0xffffffff00000000) >> 4 * gap;
}

/* Packs n codes of `bits` bits, a constant in each call: limits each to the range of `bits`, adds half of that range,
 * and stores the first code in the lowest bits. n is a multiple of 8, so that it fills whole bytes. Overwrites `codes`.
 */
static inline void pack_width(int8_t *codes, const unsigned bits, size_t n, unsigned char *bytes)
{
    const int8_t half = (int8_t)(1 << (bits - 1)), low = (int8_t)-half, high = (int8_t)(half - 1);
    for (size_t k = 0; k < n; k++) {
        const int8_t code = codes[k] < low ? low : codes[k];
        codes[k] = (int8_t)((code > high ? high : code) + half);
    }
    for (size_t k = 0; k < n; k += 8) {
        uint64_t word;
        memcpy(&word, codes + k, 8);
        word = join_eight(word, bits);
        memcpy(bytes + k / 8 * bits, &word, bits);
    }
}

/* 4-bit codes have a kernel, so `bits` is not 4. 8-bit codes need no limit and fill their bytes. */
static void encoding_rows_pack(int8_t *codes, unsigned bits, size_t n, unsigned char *bytes)
{
    if (bits == 2)
        pack_width(codes, 2, n, bytes);
    else if (bits == 3)
        pack_width(codes, 3, n, bytes);
    else
        for (size_t k = 0; k < n; k++)
            bytes[k] = (unsigned char)(codes[k] + 128);
}

/* Packed codes are stored with half of their range added. */
static void encoding_rows_decode_packed(const organ_encoding *encoding, const organ_kernels *kernels,
                                        const uint8_t *codes, const float *scales, size_t cols, float *values)
{
    const size_t group = organ_grid_group(&encoding->grid, cols);
    const unsigned bits = encoding->grid.bits;
    uint8_t some[TOGETHER];
    for (size_t from = 0; from < cols; from += TOGETHER) {
        const size_t n = organ_min(TOGETHER, cols - from);
        if (bits == 4) {
            kernels->decode[ORGAN_CODE_U4][ORGAN_REAL_F32](codes + from / 2, scales + from / group, middles, group,
                                                           values + from, n);
            continue;
        }
        if (bits == 8)
            memcpy(some, codes + from, n);
        else
            organ_unpack_bits(codes, bits, 1, from, some, n);
        for (size_t k = 0; k < n; k++)
            some[k] = (uint8_t)(some[k] - (1u << (bits - 1)));
        kernels->decode[ORGAN_CODE_I8][ORGAN_REAL_F32](some, scales + from / group, NULL, group, values + from, n);
    }
}

void organ_encoding_decode(const organ_encoding *encoding, const organ_kernels *kernels, const void *codes,
                           const float *scales, size_t cols, float *values)
{
    const organ_ggml_kind *const blocks = organ_grid_blocks(&encoding->grid);
    if (blocks)
        kernels->dequantize[blocks->type](codes, values, cols / blocks->elements);
    else if (organ_encoding_is_packed(encoding))
        encoding_rows_decode_packed(encoding, kernels, codes, scales, cols, values);
    else
        kernels->decode[encoding_rows_code(encoding)][ORGAN_REAL_F32](
            codes, scales, NULL, organ_grid_group(&encoding->grid, cols), values, cols);
}

void organ_encoding_fit(const organ_encoding *encoding, const organ_kernels *kernels, const float *values,
                        const float *weights, size_t rows, size_t cols, void *blocks)
{
    const organ_ggml_kind *const kind = organ_grid_blocks(&encoding->grid);
    kernels->fit[kind->type](values, weights, cols, blocks, rows * cols / kind->elements);
}

void organ_encoding_encode(const organ_encoding *encoding, const organ_kernels *kernels, const float *values,
                           const float *scales, size_t cols, void *codes)
{
    const size_t group = organ_grid_group(&encoding->grid, cols);
    const unsigned bits = encoding->grid.bits;
    int8_t some[TOGETHER];
    if (organ_encoding_is_gguf(encoding)) {
        organ_grid_join(&encoding->grid, values, scales, cols, codes);
        return;
    }
    if (!organ_encoding_is_packed(encoding) || bits == 4) {
        const organ_code code = organ_encoding_is_packed(encoding) ? ORGAN_CODE_U4 : encoding_rows_code(encoding);
        kernels->encode[code](values, scales, group, codes, cols);
        return;
    }
    for (size_t from = 0; from < cols; from += TOGETHER) {
        const size_t n = organ_min(TOGETHER, cols - from);
        kernels->encode[ORGAN_CODE_I8](values + from, scales + from / group, group, some, n);
        encoding_rows_pack(some, bits, n, (unsigned char *)codes + organ_encoding_row_bytes(encoding, from));
    }
}

size_t organ_encoding_scale_bytes(const organ_encoding *encoding)
{
    return organ_encoding_is_gguf(encoding) ? 0 : organ_dtype_describe(encoding->scales)->bytes;
}

void organ_encoding_store_scales(const organ_encoding *encoding, const organ_kernels *kernels, const float *scales,
                                 size_t n, void *stored)
{
    if (encoding->scales == ORGAN_F32)
        memcpy(stored, scales, 4 * n);
    else
        kernels->f32_to_bf16(scales, stored, n);
}

void organ_encoding_load_scales(const organ_encoding *encoding, const organ_kernels *kernels, const void *stored,
                                size_t n, float *scales)
{
    if (encoding->scales == ORGAN_F32)
        memcpy(scales, stored, 4 * n);
    else
        kernels->bf16_to_f32(stored, scales, n);
}

/* ---- errors ---- */

/* The sum is m2 + n mean^2, from the mean and the sum of squared deviations m2 that the kernel computes. */
static double encoding_rows_squares(const organ_kernels *kernels, const float *values, size_t n)
{
    organ_spread spread;
    kernels->spread(values, n, &spread);
    return spread.m2 + (double)spread.n * spread.mean * spread.mean;
}

/* The compiler vectorises the inner loop because its length is a constant. */
static void encoding_rows_subtract(float *restrict back, const float *restrict values, size_t n)
{
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        for (size_t l = 0; l < 16; l++)
            back[at + l] = values[at + l] - back[at + l];
    for (; at < n; at++)
        back[at] = values[at] - back[at];
}

/* n is a multiple of 16; rows of GGUF blocks are multiples of 32. */
static void encoding_rows_multiply(float *restrict values, const float *restrict by, size_t n)
{
    for (size_t at = 0; at < n; at += 16)
        for (size_t l = 0; l < 16; l++)
            values[at + l] *= by[at + l];
}

/* Only GGUF encodings also have the loss with imatrix weights. */
size_t organ_encoding_losses(const organ_encoding *encoding)
{
    return organ_encoding_is_gguf(encoding) ? ORGAN_LOSSES : 1;
}

void organ_encoding_add_losses(const organ_encoding *encoding, organ_encoding_loss *sums,
                               const organ_encoding_loss *more)
{
    for (size_t k = 0; k < organ_encoding_losses(encoding); k++) {
        sums[k].squares += more[k].squares;
        sums[k].error_squares += more[k].error_squares;
    }
}

void organ_encoding_add_row_losses(const organ_kernels *kernels, float *values, float *back, const float *roots,
                                   size_t rows, size_t cols, organ_encoding_loss *sums)
{
    double squares[2];
    kernels->error_squares(values, back, rows * cols, squares);
    sums[ORGAN_LOSS].squares += squares[0];
    sums[ORGAN_LOSS].error_squares += squares[1];
    if (!roots)
        return;
    encoding_rows_subtract(back, values, rows * cols);
    for (size_t r = 0; r < rows; r++) {
        encoding_rows_multiply(values + r * cols, roots, cols);
        encoding_rows_multiply(back + r * cols, roots, cols);
    }
    sums[ORGAN_LOSS_WEIGHTED].squares += encoding_rows_squares(kernels, values, rows * cols);
    sums[ORGAN_LOSS_WEIGHTED].error_squares += encoding_rows_squares(kernels, back, rows * cols);
}
