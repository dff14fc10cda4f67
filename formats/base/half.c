/* SPDX-License-Identifier: MIT */
#include "formats/base/half.h"

#include <math.h>
#include <string.h>

float organ_half_value(uint16_t bits)
{
    const uint32_t exponent = bits >> 10 & 31, fraction = bits & 1023u, sign = (uint32_t)(bits >> 15) << 31;
    const uint32_t word = sign | (exponent == 31 ? 0x7F800000u : (exponent + 112) << 23) | fraction << 13;
    const float size = ldexpf((float)fraction, -24); /* of a number below the least normal one */
    float value;
    memcpy(&value, &word, sizeof value);
    if (exponent == 0)
        return sign ? -size : size;
    return value;
}
