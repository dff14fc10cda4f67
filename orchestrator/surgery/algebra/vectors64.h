/* SPDX-License-Identifier: MIT
 * Vectors of FP64, as the dense decompositions need them. */
#ifndef ORGAN_VECTORS64_H
#define ORGAN_VECTORS64_H

#include "kernels/kernels.h"

/* The greatest |v|; not finite where a value is not. 0 for none. */
double organ_greatest(const double *values, size_t n);

/* Values between -1 and 1 that look random: the same for the same seed. */
void organ_any_vector(uint64_t seed, double *values, size_t n);

/* Makes vectors[at] (of n values) orthogonal to the `at` before it, which are orthonormal, and of length 1; one that
 * lies among them, or is zero, becomes some vector. Returns what was left of its length, 0 for the latter. */
double organ_orthonormal_next(const organ_kernels *kernels, double *vectors, size_t at, size_t n);

#endif
