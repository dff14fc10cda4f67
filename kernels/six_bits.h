/* SPDX-License-Identifier: MIT
 * Packs 8 scales and 8 minima of 6 bits in the 12 bytes of a q4_k or q5_k block, and unpacks them. The first four of
 * each have a byte each, whose upper two bits are the upper bits of the last four; the low four bits of the last
 * four share a byte of scale and minimum. */
#ifndef ORGAN_KERNELS_SIX_BITS_H
#define ORGAN_KERNELS_SIX_BITS_H
#include <stdint.h>

static inline __attribute__((unused)) void six_bits_pack(uint8_t *to, const uint8_t *scales, const uint8_t *minima)
{
    for (int j = 0; j < 4; j++) {
        to[j] = (uint8_t)(scales[j] | (scales[j + 4] >> 4) << 6);
        to[4 + j] = (uint8_t)(minima[j] | (minima[j + 4] >> 4) << 6);
        to[8 + j] = (uint8_t)((scales[j + 4] & 15) | (minima[j + 4] & 15) << 4);
    }
}

static inline __attribute__((unused)) void six_bits_unpack(const uint8_t *from, uint8_t *scales, uint8_t *minima)
{
    for (int j = 0; j < 4; j++) {
        scales[j] = from[j] & 63;
        minima[j] = from[4 + j] & 63;
        scales[j + 4] = (uint8_t)((from[8 + j] & 15) | (from[j] >> 6) << 4);
        minima[j + 4] = (uint8_t)(from[8 + j] >> 4 | (from[4 + j] >> 6) << 4);
    }
}

#endif
