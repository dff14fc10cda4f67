/* SPDX-License-Identifier: MIT
 * F16 numbers for readers of small tensors. Kernels convert the others. */
#ifndef ORGAN_FORMATS_BASE_HALF_H
#define ORGAN_FORMATS_BASE_HALF_H

#include <stdint.h>

/* Returns the F16 number with these bits, exactly. A NaN keeps its sign and payload. */
float organ_half_value(uint16_t bits);

#endif
