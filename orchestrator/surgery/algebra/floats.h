/* SPDX-License-Identifier: MIT
 * Memory for arrays of FP32. */
#ifndef ORGAN_FLOATS_H
#define ORGAN_FLOATS_H

#include <stddef.h>

/* Room for a x b numbers on a line of the cache, to be freed; NULL if there is none. */
float *organ_floats(size_t a, size_t b);

#endif
