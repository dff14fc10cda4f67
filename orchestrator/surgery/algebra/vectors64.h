/* SPDX-License-Identifier: MIT
 * Operations on FP64 vectors that the dense decompositions share. */
#ifndef ORGAN_VECTORS64_H
#define ORGAN_VECTORS64_H

#include <organ/kernels.h>

/* Returns the largest magnitude of n values; 0 if n is 0, not finite if a value is not. */
double organ_max_magnitude(const double *values, size_t n);

/* Fills a vector with n pseudo-random values in [-1, 1), which depend only on the seed. */
void organ_random_vector(uint64_t seed, double *values, size_t n);

/* Makes vector number `at` of `vectors` (n values each) a unit vector orthogonal to the `at` orthonormal vectors before
 * it. Replaces it by a random vector if it is zero or a combination of those vectors. Returns the length that was left
 * after subtracting its projections; 0 if it was replaced. */
double organ_orthonormal_next(const organ_kernels *kernels, double *vectors, size_t at, size_t n);

#endif
