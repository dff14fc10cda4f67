/* SPDX-License-Identifier: MIT
 * Tests of packed codes outside of the kernel tables: one-byte scales, codes in words, transposition. */
#include "tests/kernels/check_codes.h"
#include "tests/kernels/guarded.h"
#include "tests/kernels/kernel_reference.h"
#include "tests/kit/samples.h"
#include <math.h>
#include <string.h>

START_TEST(scales_of_a_byte)
{
    for (unsigned c = 0; c < 256; c++) {
        const float power = organ_e8m0_to_f32((uint8_t)c), e4m3 = organ_e4m3_to_f32((uint8_t)c);
        const float expected = (float)reference_code(ORGAN_CODE_E4M3, c);
        const uint32_t nan = 0x7fc00000;
        ck_assert(c == 255 ? memcmp(&power, &nan, 4) == 0 : (double)power == ldexp(1, (int)c - 127));
        ck_assert_msg(memcmp(&e4m3, isnan(expected) ? (const void *)&nan : &expected, 4) == 0, "0x%02x: %a", c,
                      (double)e4m3);
    }
}
END_TEST

static unsigned bit_of(const unsigned char *bytes, size_t at) { return bytes[at / 8] >> at % 8 & 1u; }

/* Codes are read bit by bit from memory that ends with the last byte of the codes, or begins with the
 * first one. */
START_TEST(codes_out_of_words)
{
    const unsigned bits = (unsigned)_i % 8 + 1;
    const int dense = _i / 8;
    const size_t a_word = 32 / bits;
    samples random = {bits};
    for (size_t n = 0; n < 80; n++)
        for (size_t first = 0; first < 40; first += n % 3 == 0 ? 1 : 7) {
            const size_t last = first + n; /* bits before each element */
            const size_t from = dense ? first * bits : first / a_word * 32 + first % a_word * bits;
            size_t to = from;
            if (n)
                to = dense ? last * bits : (last - 1) / a_word * 32 + (last - 1) % a_word * bits + bits;
            const size_t skipped = from / 8, length = (to + 7) / 8 - skipped;
            guarded words = guarded_create(length, n % 2 ? GUARD_BEHIND : GUARD_BEFORE, 1),
                    codes = guarded_create(n, GUARD_BEHIND, 2);
            for (size_t j = 0; j < length; j++)
                words.data[j] = (unsigned char)samples_bits(&random);
            organ_unpack_bits((const void *)((uintptr_t)words.data - skipped), bits, dense, first, codes.data, n);
            for (size_t k = 0; k < n; k++) {
                const size_t at =
                    (dense ? (first + k) * bits : (first + k) / a_word * 32 + (first + k) % a_word * bits) -
                    skipped * 8;
                unsigned expected = 0;
                for (unsigned b = 0; b < bits; b++)
                    expected |= bit_of(words.data, at + b) << b;
                ck_assert_msg(codes.data[k] == expected, "%u bits, %s, code %zu of %zu from %zu: %u instead of %u",
                              bits, dense ? "dense" : "by word", k, n, first, codes.data[k], expected);
            }
            ck_assert(guarded_intact(&codes, 2));
            guarded_destroy(&words);
            guarded_destroy(&codes);
        }
}
END_TEST

static const size_t sides[] = {0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 130, 257};
enum { SIDES = sizeof sides / sizeof *sides };

START_TEST(matrices_turn)
{
    const size_t rows = sides[_i];
    for (size_t c = 0; c < SIDES; c++) {
        const size_t cols = sides[c], from = cols + 5, to = rows + 3;
        const size_t in = rows && cols ? ((rows - 1) * from + cols) * 4 : 0,
                     out = rows && cols ? ((cols - 1) * to + rows) * 4 : 0;
        guarded src = guarded_create(in, GUARD_BEHIND, 3), dst = guarded_create(out, GUARD_BEHIND, 4);
        guarded before = guarded_create(out, GUARD_BEHIND, 4);
        organ_transpose_u32((const uint32_t *)(const void *)src.data, from, (uint32_t *)(void *)dst.data, to, rows,
                            cols);
        for (size_t j = 0; j < out / 4; j++) { /* bytes between rows do not change */
            const unsigned char *expected =
                j % to < rows ? src.data + (j % to * from + j / to) * 4 : before.data + j * 4;
            ck_assert_msg(memcmp(dst.data + j * 4, expected, 4) == 0, "%zu x %zu: element %zu", rows, cols, j);
        }
        ck_assert(guarded_intact(&dst, 4));
        guarded_destroy(&src), guarded_destroy(&dst), guarded_destroy(&before);
    }
}
END_TEST

/* Code r of row j of the transposed matrix, which has two rows for each column of `src`. */
static unsigned nibble_at(const guarded *src, size_t from, size_t rows, size_t r, size_t j, unsigned flip)
{
    const unsigned both = r < rows ? src->data[r * from + j / 2] : 0;
    return ((both >> j % 2 * 4) ^ (flip >> r % 2 * 4)) & 15;
}

START_TEST(nibbles_turn)
{
    const size_t rows = sides[_i];
    for (size_t c = 0; c < SIDES; c++) {
        const size_t cols = sides[c], from = cols + 5, bytes = (rows + 1) / 2, to = bytes + 3;
        const unsigned flip = c % 2 ? 0x88 : 0x21;
        const size_t in = rows && cols ? (rows - 1) * from + cols : 0,
                     out = rows && cols ? (2 * cols - 1) * to + bytes : 0;
        guarded src = guarded_create(in, GUARD_BEHIND, 3), dst = guarded_create(out, GUARD_BEHIND, 4);
        guarded before = guarded_create(out, GUARD_BEHIND, 4);
        organ_transpose_nibbles(src.data, from, dst.data, to, rows, cols, (uint8_t)flip);
        for (size_t j = 0; j < out; j++) {
            const size_t r = j % to * 2, row = j / to;
            const unsigned expected = j % to < bytes ? nibble_at(&src, from, rows, r, row, flip) |
                                                           nibble_at(&src, from, rows, r + 1, row, flip) << 4
                                                     : before.data[j];
            ck_assert_msg(dst.data[j] == expected, "%zu x %zu: byte %zu", rows, cols, j);
        }
        ck_assert(guarded_intact(&dst, 4));
        guarded_destroy(&src), guarded_destroy(&dst), guarded_destroy(&before);
    }
}
END_TEST

TCase *codes_case(void)
{
    TCase *codes = tcase_create("packed codes");
    tcase_add_test(codes, scales_of_a_byte);
    tcase_add_loop_test(codes, codes_out_of_words, 0, 16);
    tcase_add_loop_test(codes, matrices_turn, 0, SIDES);
    tcase_add_loop_test(codes, nibbles_turn, 0, SIDES);
    return codes;
}
