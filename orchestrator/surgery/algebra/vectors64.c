/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/algebra/vectors64.h"

#include <math.h>

#define TIMES 8 /* that a vector is made orthogonal at most: twice is enough, unless nothing but rounding is left of it */

double organ_greatest(const double *values, size_t n)
{
    double most = 0;
    for (size_t k = 0; k < n; k++) {
        const double size = fabs(values[k]);
        if (!(size <= most))
            most = size;
        if (isnan(most))
            break;
    }
    return most;
}

/* splitmix64 (Steele, Lea & Flood 2014). */
void organ_any_vector(uint64_t seed, double *values, size_t n)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15;
    for (size_t k = 0; k < n; k++) {
        uint64_t word = state += 0x9e3779b97f4a7c15;
        word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9;
        word = (word ^ word >> 27) * 0x94d049bb133111eb;
        values[k] = (double)(int64_t)(word ^ word >> 31) * 0x1p-63;
    }
}

/* To length 1, whatever it was; returns that. */
static double normalise(const organ_kernels *kernels, double *z, size_t n)
{
    const double most = organ_greatest(z, n);
    if (most == 0 || !isfinite(most))
        return 0;
    for (size_t k = 0; k < n; k++)
        z[k] /= most;
    const double length = sqrt(kernels->dot_f64(z, z, n));
    for (size_t k = 0; k < n; k++)
        z[k] /= length;
    return most * length;
}

double organ_orthonormal_next(const organ_kernels *kernels, double *vectors, size_t at, size_t n)
{
    double *const z = vectors + at * n, left = normalise(kernels, z, n), share = 0;
    if (left == 0)
        organ_any_vector(at + 1, z, n);
    for (int time = 0; time < TIMES && !(share > 0.7); time++) {
        for (size_t k = 0; k < at; k++)
            kernels->add_scaled_f64(z, -kernels->dot_f64(vectors + k * n, z, n), vectors + k * n, n);
        share = normalise(kernels, z, n);
        left *= share;
        if (share < 1e-14) { /* it lies among them */
            organ_any_vector(at + 1 + (size_t)time * n, z, n);
            left = share = 0;
        }
    }
    return left;
}
