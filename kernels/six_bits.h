/* SPDX-License-Identifier: MIT
 * Packs 8 scales and 8 minima of 6 bits in the 12 bytes of a q4_k or q5_k block, and unpacks them. For k < 4, the low
 * 6 bits of byte k have scale k, those of byte 4 + k minimum k. The upper two bits of these bytes are the upper two
 * bits of scale 4 + k and minimum 4 + k; byte 8 + k has their low four bits, the scale's in the low half. */
#ifndef ORGAN_KERNELS_SIX_BITS_H
#define ORGAN_KERNELS_SIX_BITS_H
#include <stdint.h>

/* The numbers are below 64. */
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
