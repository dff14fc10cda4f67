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
typedef uint8_t bytes_of_row __attribute__((vector_size(16)));

/* Interleaves the bytes of rows r and r + 8 for all r < 8. Four such steps transpose 16 rows of 16 bytes: each step
 * rotates the eight bits of a byte's position (row, then column) by one. */
static void interleave(const bytes_of_row *in, bytes_of_row *out)
{
#pragma GCC unroll 8
    for (size_t r = 0; r < 8; r++) {
        out[2 * r] = __builtin_shufflevector(in[r], in[r + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        out[2 * r + 1] =
            __builtin_shufflevector(in[r], in[r + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
}

static void transpose_sixteen(const uint8_t *src, size_t src_stride, bytes_of_row columns[16])
{
    bytes_of_row other[16];
    for (size_t r = 0; r < 16; r++)
        memcpy(&columns[r], src + r * src_stride, 16);
    interleave(columns, other);
    interleave(other, columns);
    interleave(columns, other);
    interleave(other, columns);
}

/* Tiles are transposed in a buffer of their own: if the stride is a power of two, rows of the matrix itself map to
 * the same cache sets and evict each other. Rows of a tile fill a cache line, with 2 codes a byte or a word each. */
enum { CODES = 128, COLUMNS = 32, WORDS = 16 };

static size_t smaller_of(size_t a, size_t b) { return a < b ? a : b; }

typedef uint16_t pairs_of_bytes __attribute__((vector_size(16)));
typedef uint64_t halves_of_row __attribute__((vector_size(16)));
typedef uint64_t tile_of_codes[2 * COLUMNS][CODES / 16];

/* Each of the 16 bytes has two codes. Returns the 8 bytes of the low ones, then those of the high ones. */
static halves_of_row part_nibbles(bytes_of_row bytes, uint8_t flip)
{
    const pairs_of_bytes pairs = (pairs_of_bytes)bytes;
    const bytes_of_row low = (bytes_of_row)((pairs & 0x0f) | (pairs >> 4 & 0xf0)),
                       high = (bytes_of_row)((pairs >> 4 & 0x0f) | (pairs >> 8 & 0xf0));
    const bytes_of_row parted =
        __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return (halves_of_row)(parted ^ flip);
}

static void part_sixteen(const uint8_t *src, size_t src_stride, tile_of_codes tile, size_t row, size_t col,
                         uint8_t flip)
{
    bytes_of_row columns[16];
    transpose_sixteen(src + row * src_stride + col, src_stride, columns);
    for (size_t c = 0; c < 16; c++) {
        const halves_of_row parted = part_nibbles(columns[c], flip);
        tile[2 * (col + c)][row / 16] = parted[0];
        tile[2 * (col + c) + 1][row / 16] = parted[1];
    }
}

static void part_rest(const uint8_t *src, size_t src_stride, tile_of_codes tile, size_t rows, size_t cols, uint8_t flip)
{
    for (size_t r = 0; r < rows; r += 2)
        for (size_t c = r < rows / 16 * 16 ? cols / 16 * 16 : 0; c < cols; c++) {
            const unsigned even = src[r * src_stride + c], odd = r + 1 < rows ? src[(r + 1) * src_stride + c] : 0;
            ((uint8_t *)tile[2 * c])[r / 2] = (uint8_t)((even & 15) | odd << 4) ^ flip;
            ((uint8_t *)tile[2 * c + 1])[r / 2] = (uint8_t)(even >> 4 | (odd & 0xf0)) ^ flip;
        }
}

static void part_tile(const uint8_t *src, size_t src_stride, uint8_t *dst, size_t dst_stride, size_t rows, size_t cols,
                      uint8_t flip)
{
    tile_of_codes tile;
    for (size_t r = 0; r < rows / 16 * 16; r += 16)
        for (size_t c = 0; c < cols / 16 * 16; c += 16)
            part_sixteen(src, src_stride, tile, r, c, flip);
    part_rest(src, src_stride, tile, rows, cols, flip);
    for (size_t c = 0; c < 2 * cols; c++)
        if (rows == CODES)
            memcpy(dst + c * dst_stride, tile[c], sizeof tile[c]);
        else
            memcpy(dst + c * dst_stride, tile[c], (rows + 1) / 2);
}

void organ_transpose_nibbles(const uint8_t *src, size_t src_stride, uint8_t *dst, size_t dst_stride, size_t rows,
                             size_t cols, uint8_t flip)
{
    for (size_t c = 0; c < cols; c += COLUMNS) /* rows inside, so that neighbouring bytes of dst are written together */
        for (size_t r = 0; r < rows; r += CODES)
            part_tile(src + r * src_stride + c, src_stride, dst + 2 * c * dst_stride + r / 2, dst_stride,
                      smaller_of(rows - r, CODES), smaller_of(cols - c, COLUMNS), flip);
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
