/* SPDX-License-Identifier: MIT
 * The scales that are tried for values without a text (docs/definitions/quantisation.md). */
#include "orchestrator/surgery/precision/grid.h"

#include <stddef.h>

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

const organ_scale_search *organ_grid_search(const organ_grid *grid)
{
    if (grid->scale_of == ORGAN_SCALE_GGUF)
        return NULL;
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
