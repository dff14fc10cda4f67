/* SPDX-License-Identifier: MIT
 * Arrays of FP32. */
#ifndef ORGAN_FLOATS_H
#define ORGAN_FLOATS_H

#include <stddef.h>

/* Room for a x b numbers on a line of the cache, to be freed; NULL if there is none. */
float *organ_floats(size_t a, size_t b);

/* Sum of a[k] b[k] in FP64: in 8 lanes by k mod 8, which are added pairwise. */
double organ_dot(const float *a, const float *b, size_t n);

#endif
