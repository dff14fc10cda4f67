/* SPDX-License-Identifier: MIT
 * Computes the numbers of "z/1" from a histogram of standardised values. */
#ifndef ORGAN_Z_SHAPE_H
#define ORGAN_Z_SHAPE_H

#include "orchestrator/surgery/measure/z_result.h"

/* Properties of the density of a histogram, smoothed with a normal kernel. */
typedef struct organ_z_shape {
    double h;     /* differential entropy in bits */
    double ln_cv; /* ln of the coefficient of variation of the spacings between its 63 quantiles */
} organ_z_shape;

/* Computes the shape from `counts`, the histogram of n > 0 standardised values. */
organ_z_shape organ_z_shape_of(const organ_kernels *kernels, const uint64_t counts[ORGAN_Z_BINS], uint64_t n);

/* Sets e, k, c, power, signal and theta from the shape and from z->kurtosis and z->moments.n. */
void organ_z_judge(organ_z *z, organ_z_shape shape);

/* Sets dI_dlog2s and coherence from z->information if z->scales >= 2. */
void organ_z_slope(organ_z *z);

/* Returns theta in degrees for a signal power in 0 .. 1. */
double organ_z_theta(double power);

#endif
