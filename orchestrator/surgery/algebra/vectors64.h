/* SPDX-License-Identifier: MIT
 * Vectors of FP64, as the dense decompositions need them. */
#ifndef ORGAN_VECTORS64_H
#define ORGAN_VECTORS64_H

#include "kernels/kernels.h"

/* Returns the largest absolute value of `values`, 0 if n is 0. The result is not finite if a value is not. */
double organ_max_magnitude(const double *values, size_t n);

/* Fills a vector with pseudo-random values between -1 and 1, which depend only on the seed. */
void organ_random_vector(uint64_t seed, double *values, size_t n);

/* Makes vector `at` of `vectors` (n values each) a unit vector orthogonal to the `at` orthonormal vectors before it. If
 * it is zero or a combination of these, a random vector replaces it. Returns the length left after orthogonalisation; 0
 * if it was replaced. */
double organ_orthonormal_next(const organ_kernels *kernels, double *vectors, size_t at, size_t n);

#endif
