/* SPDX-License-Identifier: MIT
 * Decoders for rarer block types of GGUF, in vector code. Each function processes n blocks. */

/* Returns the first ternary digit of each byte, less 1. Byte b represents five ternary digits as the fraction b /
 * 256, the most significant digit first: the first digit is floor(3 b / 256), which is at least 1 above 85 and 2 above
 * 170. Multiplying by 3 modulo 256 moves the next digit to the front. */
INLINE u8x16 first_trit(u8x16 a)
{
    const u8x16 one = u8_set1(1), above_85 = u8_min(u8_sub(u8_max(a, u8_set1(85)), u8_set1(85)), one);
    const u8x16 above_170 = u8_min(u8_sub(u8_max(a, u8_set1(170)), u8_set1(170)), one);
    return u8_sub(above_85, u8_sub(one, above_170));
}

/* Returns 3 x a modulo 256, with the operations that all vector sets have for bytes. */
INLINE u8x16 times_three(u8x16 a) { return u8_sub(a, u8_sub(u8_sub(u8_set1(0), a), a)); }

/* Decodes blocks of tq1_0: most bytes represent five ternary digits (see first_trit), which are read one after another;
 * the last four bytes represent four digits each. */
static void dequantize_tq1_0(const void *blocks, float *values, size_t n)
{
    const block_tq1_0 *b = blocks;
    for (size_t k = 0; k < n; k++, b++, values += 256) {
        const float d = block_scale(b->d);
        u8x16 a[3] = {u8_load(b->fives), u8_load(b->fives + 16), u8_load(b->fives + 32)};
        uint8_t last[16];
        UNROLL for (int place = 0; place < 5; place++)
        {
            put_scaled(values + 32 * place, first_trit(a[0]), d);
            put_scaled(values + 32 * place + 16, first_trit(a[1]), d);
            put_scaled(values + 160 + 16 * place, first_trit(a[2]), d);
            a[0] = times_three(a[0]), a[1] = times_three(a[1]), a[2] = times_three(a[2]);
        }
        for (int j = 0; j < 4; j++) {
            last[j] = b->fours[j];
            last[j + 4] = (uint8_t)(last[j] * 3);
            last[j + 8] = (uint8_t)(last[j] * 9);
            last[j + 12] = (uint8_t)(last[j] * 27);
        }
        put_scaled(values + 240, first_trit(u8_load(last)), d);
    }
}

/* Returns half the value of an unsigned E4M3 (bias 7), because the table of codes is doubled. As in ggml, 0x7f is 0
 * and the top bit is ignored. */
INLINE float half_of_ue4m3(uint8_t code)
{
    const int exponent = code >> 3 & 15, fraction = code & 7;
    if (code == 0x7f)
        return 0.0f;
    return exponent ? (float)((8 + fraction) << exponent) * 0x1p-11f : (float)fraction * 0x1p-10f;
}

/* Decodes blocks of nvfp4: E2M1 codes with an unsigned E4M3 scale for each of four groups of 16. The 8 bytes of a group
 * have its first 8 codes in their low halves, its last 8 in their high halves. */
static void dequantize_nvfp4(const void *blocks, float *values, size_t n)
{
    static const int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    const u8x16 table = u8_load((const uint8_t *)doubled);
    const block_nvfp4 *b = blocks;
    for (size_t k = 0; k < n; k++, b++)
        for (int two = 0; two < 4; two += 2, values += 32) {
            const u8x16 both = u8_load(b->codes + 8 * two), low = u8_field(both, 0, 15), high = u8_field(both, 4, 15);
            put_scaled(values, u8_lookup(table, u8_join_low(low, high)), half_of_ue4m3(b->scales[two]));
            put_scaled(values + 16, u8_lookup(table, u8_join_high(low, high)), half_of_ue4m3(b->scales[two + 1]));
        }
}

/* Decodes blocks of q1_0: a set bit is +d, else -d. */
static void dequantize_q1_0(const void *blocks, float *values, size_t n)
{
    const block_q1_0 *b = blocks;
    for (size_t k = 0; k < n; k++, b++) {
        const float d = block_scale(b->d);
        for (int j = 0; j < 8; j++, values += 16)
            put_scaled(values, u8_sub(u8_sll(u8_of_bits((uint16_t)half_word_at(b->signs + 2 * j)), 1), u8_set1(1)), d);
    }
}

/* Decodes blocks of q2_0: codes of two bits, offset by 1, and a scale. A byte has the codes of four adjacent elements,
 * from the lowest bits on; the zips put the four fields of all bytes in this order. */
static void dequantize_q2_0(const void *blocks, float *values, size_t n)
{
    const block_q2_0 *b = blocks;
    for (size_t k = 0; k < n; k++, b++, values += 64) {
        const float d = block_scale(b->d);
        const u8x16 a = u8_load(b->codes), one = u8_set1(1);
        const u8x16 first = u8_sub(u8_field(a, 0, 3), one), second = u8_sub(u8_field(a, 2, 3), one);
        const u8x16 third = u8_sub(u8_field(a, 4, 3), one), fourth = u8_sub(u8_field(a, 6, 3), one);
        const u8x16 odd_low = u8_zip_low(first, third), even_low = u8_zip_low(second, fourth);
        const u8x16 odd_high = u8_zip_high(first, third), even_high = u8_zip_high(second, fourth);
        put_scaled(values, u8_zip_low(odd_low, even_low), d);
        put_scaled(values + 16, u8_zip_high(odd_low, even_low), d);
        put_scaled(values + 32, u8_zip_low(odd_high, even_high), d);
        put_scaled(values + 48, u8_zip_high(odd_high, even_high), d);
    }
}
