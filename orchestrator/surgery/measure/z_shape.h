/* SPDX-License-Identifier: MIT
 * Computes the numbers of "z/1" from a histogram of standardised values. */
#ifndef ORGAN_Z_SHAPE_H
#define ORGAN_Z_SHAPE_H

#include <organ/measure.h>

/* Properties of the density that results from smoothing a histogram with a normal kernel. */
typedef struct organ_z_shape {
    double h; /* differential entropy in bits */
    /* ln CV: logarithm of the coefficient of variation (standard deviation / mean) of the 62 spacings between the
     * density's quantiles 1/64 ... 63/64 */
    double ln_cv;
} organ_z_shape;

/* Returns the shape of `counts`, the histogram of n > 0 standardised values. */
organ_z_shape organ_z_shape_of(const organ_kernels *kernels, const uint64_t counts[ORGAN_Z_BINS], uint64_t n);

/* Sets e, k, c, power, signal and theta of *z from the shape and from z->kurtosis and z->moments.n. */
void organ_z_judge(organ_z *z, organ_z_shape shape);

/* Sets dI_dlog2s and coherence of *z from z->information; does nothing if z->scales < 2. */
void organ_z_slope(organ_z *z);

/* Returns theta in degrees for a signal power in 0 .. 1. */
double organ_z_theta(double power);

#endif
