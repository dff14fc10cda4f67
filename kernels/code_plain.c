/* SPDX-License-Identifier: MIT
 * Operations on codes of packed weights without vector arithmetic, which are the same in every table: decoding of
 * scales stored as bytes, extraction of codes from words, transposition. */
#include "kernels/half_floats.h"

#include <organ/kernels.h>
#include <string.h>

/* Converts an exponent-only scale (OCP MX): 2^(code - 127). Code 0 is a subnormal of FP32, 255 is NaN. */
float organ_e8m0_to_f32(uint8_t code)
{
    if (code == 0xff)
        return float_of_bits(0x7fc00000);
    return float_of_bits(code == 0 ? 0x00400000 : (uint32_t)code << 23);
}

/* Converts a code of FP8 E4M3 (OCP) to FP32: bias 7, 120 less than that of FP32; no infinity; a NaN has all exponent
 * and fraction bits set. */
float organ_e4m3_to_f32(uint8_t code)
{
    const uint32_t sign = (uint32_t)(code & 0x80) << 24, exponent = code >> 3 & 15, fraction = code & 7;
    if ((code & 0x7f) == 0x7f)
        return float_of_bits(0x7fc00000);
    if (exponent == 0)
        return (sign ? -0x1p-9f : 0x1p-9f) * (float)fraction;
    return float_of_bits(sign | (exponent + 120) << 23 | fraction << 20);
}

/* ---- codes out of words ---- */
/* Returns the `length` bits from bit `at` on. Bits above the codes in the result are undefined. Together with the bits
 * before `at` in the same byte, these are at most 64 bits, because codes of 8 bits begin at a byte. Reads no byte
 * without a bit of these codes. */
static uint64_t window_at(const uint8_t *bytes, size_t at, size_t length)
{
    const size_t from = at / 8, to = (at + length + 7) / 8;
    uint64_t window = 0;
    memcpy(&window, bytes + from, to - from);
    return window >> at % 8;
}

/* The codes split into two groups of four, each group into two pairs, each pair into single codes. */
static uint64_t spread_eight(uint64_t window, unsigned bits)
{
    const uint64_t one = (1u << bits) - 1, two = (1u << 2 * bits) - 1, four = (UINT64_C(1) << 4 * bits) - 1;
    window = (window & four) | (window >> 4 * bits & four) << 32;
    window = (window & two * 0x100000001) | (window >> 2 * bits & two * 0x100000001) << 16;
    return (window & one * 0x1000100010001) | (window >> bits & one * 0x1000100010001) << 8;
}

/* Reads eight bytes at a time while the codes end after them, then only bytes with a code. */
static void unpack_dense(const uint8_t *bytes, unsigned bits, size_t first, uint8_t *codes, size_t n)
{
    const size_t end = ((first + n) * bits + 7) / 8;
    size_t k = 0;
    for (; k + 8 <= n && (first + k) * bits / 8 + 8 <= end; k += 8) {
        const size_t at = (first + k) * bits;
        uint64_t window;
        memcpy(&window, bytes + at / 8, 8);
        window = spread_eight(window >> at % 8, bits);
        memcpy(codes + k, &window, 8);
    }
    for (; k < n; k += 8) {
        const size_t some = n - k < 8 ? n - k : 8;
        const uint64_t spread = spread_eight(window_at(bytes, (first + k) * bits, some * bits), bits);
        memcpy(codes + k, &spread, some);
    }
}

void organ_unpack_bits(const void *words, unsigned bits, int dense, size_t first, uint8_t *codes, size_t n)
{
    const size_t word_codes = 32 / bits;
    if (dense || 32 % bits == 0) {
        unpack_dense(words, bits, first, codes, n);
        return;
    }
    for (size_t k = 0; k < n;) {
        const size_t word = (first + k) / word_codes, in_word = (first + k) % word_codes;
        const size_t count = word_codes - in_word < n - k ? word_codes - in_word : n - k;
        unpack_dense((const uint8_t *)words + 4 * word, bits, in_word, codes + k, count);
        k += count;
    }
}

/* ---- transposition ---- */
/* Exchanges the bits of *even that the mask `lower` << by selects with the bits of *odd that `lower` selects. */
static void exchange_bits(uint64_t *even, uint64_t *odd, int by, uint64_t lower)
{
    const uint64_t difference = ((*even >> by) ^ *odd) & lower;
    *odd ^= difference;
    *even ^= difference << by;
}

/* The steps exchange 4 x 4 blocks, then 2 x 2 blocks, then bytes. A row is a 64-bit word; strides are in bytes. */
static void transpose_eight(const uint8_t *src, size_t src_stride, uint8_t *dst, size_t dst_stride)
{
    uint64_t row[8];
    for (size_t r = 0; r < 8; r++)
        memcpy(&row[r], src + r * src_stride, 8);
    for (int r = 0; r < 4; r++)
        exchange_bits(&row[r], &row[r + 4], 32, 0x00000000ffffffff);
    for (int r = 0; r < 8; r += r % 2 == 1 ? 3 : 1) /* rows 0, 1, 4 and 5 */
        exchange_bits(&row[r], &row[r + 2], 16, 0x0000ffff0000ffff);
    for (int r = 0; r < 8; r += 2)
        exchange_bits(&row[r], &row[r + 1], 8, 0x00ff00ff00ff00ff);
    for (size_t c = 0; c < 8; c++)
        memcpy(dst + c * dst_stride, &row[c], 8);
}

/* Tiles are transposed in a buffer of their own: if the stride is a power of two, rows of the matrix itself map to
 * the same cache sets and evict each other. */
enum { SIDE = 64, WORDS = 16 }; /* tile sides: a cache line of bytes, of words */

static size_t smaller_of(size_t a, size_t b) { return a < b ? a : b; }

static void transpose_tile(const uint8_t *src, size_t src_stride, uint8_t *dst, size_t dst_stride, size_t rows,
                           size_t cols)
{
    const size_t whole_rows = rows / 8 * 8, whole_cols = cols / 8 * 8;
    uint8_t tile[SIDE * SIDE];
    for (size_t r = 0; r < whole_rows; r += 8)
        for (size_t c = 0; c < whole_cols; c += 8)
            transpose_eight(src + r * src_stride + c, src_stride, tile + c * SIDE + r, SIDE);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = r < whole_rows ? whole_cols : 0; c < cols; c++)
            tile[c * SIDE + r] = src[r * src_stride + c];
    for (size_t c = 0; c < cols; c++)
        memcpy(dst + c * dst_stride, tile + c * SIDE, rows);
}

void organ_transpose_u8(const uint8_t *src, size_t src_stride, uint8_t *dst, size_t dst_stride, size_t rows,
                        size_t cols)
{
    for (size_t r = 0; r < rows; r += SIDE)
        for (size_t c = 0; c < cols; c += SIDE)
            transpose_tile(src + r * src_stride + c, src_stride, dst + c * dst_stride + r, dst_stride,
                           smaller_of(rows - r, SIDE), smaller_of(cols - c, SIDE));
}

void organ_transpose_u32(const uint32_t *src, size_t src_stride, uint32_t *dst, size_t dst_stride, size_t rows,
                         size_t cols)
{
    uint32_t tile[WORDS][WORDS];
    for (size_t r = 0; r < rows; r += WORDS)
        for (size_t c = 0; c < cols; c += WORDS) {
            const size_t height = smaller_of(rows - r, WORDS), width = smaller_of(cols - c, WORDS);
            for (size_t i = 0; i < height; i++)
                for (size_t j = 0; j < width; j++)
                    tile[j][i] = src[(r + i) * src_stride + c + j];
            for (size_t j = 0; j < width; j++)
                memcpy(dst + (c + j) * dst_stride + r, tile[j], height * sizeof *dst);
        }
}
