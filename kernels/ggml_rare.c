/* SPDX-License-Identifier: MIT
 * Rarer block types of GGUF, in plain C. */
#include "kernels/ggml.h"
#include "kernels/half.h"

/* Digit `place` of five of base 3, the first the most significant of a fraction of 256; -1, 0 or 1. */
static float trit(uint8_t byte, int place)
{
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    const uint8_t shifted = (uint8_t)(byte * powers[place]);
    return (float)((shifted * 3 >> 8) - 1);
}

static float *put_trits(const uint8_t *bytes, int count, int places, float d, float *values)
{
    for (int place = 0; place < places; place++)
        for (int j = 0; j < count; j++)
            *values++ = trit(bytes[j], place) * d;
    return values;
}

void organ_dequantize_tq1_0(const void *blocks, float *values, size_t n) /* 32 bytes, 16, 4 with one digit less; d */
{
    const uint8_t *b = blocks;
    for (size_t k = 0; k < n; k++, b += 54) {
        const float d = half_at(b + 52);
        values = put_trits(b, 32, 5, d, values);
        values = put_trits(b + 32, 16, 5, d, values);
        values = put_trits(b + 48, 4, 4, d, values);
    }
}

/* Half of an unsigned E4M3 (bias 7), as the table of codes is doubled. 0x7f reads as 0; of the top bit ggml takes no notice elsewhere. */
static float half_of_ue4m3(uint8_t code)
{
    const int exponent = code >> 3 & 15, fraction = code & 7;
    if (code == 0x7f)
        return 0.0f;
    return exponent ? (float)((8 + fraction) << exponent) * 0x1p-11f : (float)fraction * 0x1p-10f;
}

void organ_dequantize_nvfp4(const void *blocks, float *values, size_t n) /* 4 scales, for each 8 bytes: low nibbles, then high ones */
{
    static const int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    const uint8_t *b = blocks;
    for (size_t k = 0; k < n; k++, b += 36)
        for (int group = 0; group < 4; group++, values += 16) {
            const float d = half_of_ue4m3(b[group]);
            for (int j = 0; j < 8; j++) {
                const uint8_t both = b[4 + 8 * group + j];
                values[j] = (float)doubled[both & 15] * d;
                values[j + 8] = (float)doubled[both >> 4] * d;
            }
        }
}

void organ_dequantize_q1_0(const void *blocks, float *values, size_t n) /* d, 128 signs: a bit set is +d */
{
    const uint8_t *b = blocks;
    for (size_t k = 0; k < n; k++, b += 18, values += 128) {
        const float d = half_at(b);
        for (int j = 0; j < 128; j++)
            values[j] = b[2 + j / 8] >> j % 8 & 1 ? d : -d;
    }
}

void organ_dequantize_q2_0(const void *blocks, float *values, size_t n) /* d, 64 codes of 2 bits, 1 off */
{
    const uint8_t *b = blocks;
    for (size_t k = 0; k < n; k++, b += 18, values += 64) {
        const float d = half_at(b);
        for (int j = 0; j < 64; j++)
            values[j] = (float)((b[2 + j / 4] >> j % 4 * 2 & 3) - 1) * d;
    }
}
