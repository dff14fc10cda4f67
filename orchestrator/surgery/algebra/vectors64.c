/* SPDX-License-Identifier: MIT
 * Operations on FP64 vectors, with the same results on all machines. */
#include "orchestrator/surgery/algebra/vectors64.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/surgery/algebra/algebra.h"

#include <math.h>

#define STREAM 0 /* number of the stream of organ_philox_uniform */
/* Greatest number of times that projections are subtracted from a vector. Twice is enough, unless only rounding errors
 * of the vector are left. */
#define TIMES 8

/* The result is NAN if any value is NAN, else infinity if a value is infinite. */
double organ_max_magnitude(const double *values, size_t n)
{
    double max = 0;
    for (size_t k = 0; k < n; k++) {
        const double size = fabs(values[k]);
        if (!(size <= max))
            max = size;
        if (isnan(max))
            break;
    }
    return max;
}

void organ_random_vector(uint64_t seed, double *values, size_t n)
{
    float some[256];
    for (size_t from = 0; from < n; from += sizeof some / sizeof *some) {
        const size_t count = organ_min(n - from, sizeof some / sizeof *some);
        organ_philox_uniform(seed, STREAM, from, some, count);
        for (size_t k = 0; k < count; k++)
            values[from + k] = (double)some[k];
    }
}

/* The division by the largest magnitude comes first, so that no square overflows. Returns the former length; 0, with
 * z unchanged, if z is zero or not finite. */
static double normalise_length(const organ_kernels *kernels, double *z, size_t n)
{
    const double max = organ_max_magnitude(z, n);
    if (max == 0 || !isfinite(max))
        return 0;
    for (size_t k = 0; k < n; k++)
        z[k] /= max;
    const double length = sqrt(kernels->dot_f64(z, z, n));
    for (size_t k = 0; k < n; k++)
        z[k] /= length;
    return max * length;
}

/* Gram-Schmidt subtracts the projections again if at most 0.7 of the length is left: the rounding errors of this
 * subtraction are then not small relative to the remaining vector. If less than 1e-14 of the length is left, the
 * vector was a combination of the vectors before it and is replaced by a random one. */
double organ_orthonormal_next(const organ_kernels *kernels, double *vectors, size_t at, size_t n)
{
    double *const z = vectors + at * n, left = normalise_length(kernels, z, n), share = 0;
    if (left == 0)
        organ_random_vector(at + 1, z, n);
    for (int time = 0; time < TIMES && !(share > 0.7); time++) {
        for (size_t k = 0; k < at; k++)
            kernels->add_scaled_f64(z, -kernels->dot_f64(vectors + k * n, z, n), vectors + k * n, n);
        share = normalise_length(kernels, z, n);
        left *= share;
        if (share < 1e-14) {
            organ_random_vector(at + 1 + (size_t)time * n, z, n);
            left = share = 0;
        }
    }
    return left;
}
