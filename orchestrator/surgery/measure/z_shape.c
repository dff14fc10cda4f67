/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/measure/z_shape.h"

#include "orchestrator/surgery/measure/z_null.h"

#include <math.h>

/* Bins on each side over which the density is smoothed: 2.5 standard deviations of the tensor, 7 of the kernel. */
#define REACH     40
#define SMOOTHED  (ORGAN_Z_BINS + 2 * REACH)   /* bins of the smoothed density */
#define TAU       0.35                         /* standard deviation of the kernel, in those of the tensor */
#define WIDTH     (1.0 / ORGAN_Z_BINS_PER_STD) /* width of a bin, in standard deviations of the tensor */
#define QUANTILES 64                           /* equal parts into which the quantiles divide the density */
#define NULLS     (sizeof z_null / sizeof *z_null)

/* Sets `taps` to the weights of a normal kernel with the standard deviation TAU; their sum is 1. Smoothing with it
 * removes the steps of quantised values, which would otherwise dominate entropy and spacings. */
static void make_kernel(double taps[2 * REACH + 1])
{
    double sum = 0;
    for (int k = -REACH; k <= REACH; k++) {
        const double z = k * WIDTH / TAU;
        sum += taps[k + REACH] = exp(-0.5 * z * z);
    }
    for (int k = 0; k <= 2 * REACH; k++)
        taps[k] /= sum;
}

/* Sets `density` to the histogram divided by n and convolved with the kernel. Bin b of the histogram is bin b + REACH
 * of the density. */
static void smooth_density(const uint64_t counts[ORGAN_Z_BINS], uint64_t n, double density[SMOOTHED])
{
    double taps[2 * REACH + 1];
    make_kernel(taps);
    for (int k = 0; k < SMOOTHED; k++)
        density[k] = 0;
    for (int b = 0; b < ORGAN_Z_BINS; b++) {
        const double p = (double)counts[b] / (double)n;
        for (int k = 0; counts[b] > 0 && k <= 2 * REACH; k++)
            density[b + k] += p * taps[k];
    }
}

/* Sets positions[q - 1] to the value, in standard deviations, at which the cumulative density (linear within bins)
 * reaches q / QUANTILES, for q = 1 .. QUANTILES - 1. */
static void find_quantiles(const double density[SMOOTHED], double positions[QUANTILES - 1])
{
    double below = 0; /* cumulative sum at the left edge of bin k */
    int k = 0;
    for (int q = 1; q < QUANTILES; q++) {
        const double level = (double)q / QUANTILES;
        while (k < SMOOTHED - 1 && below + density[k] <= level)
            below += density[k++];
        const double left = (k - REACH) * WIDTH - ORGAN_Z_BINS / 2 * WIDTH;
        positions[q - 1] = density[k] > 0 ? left + (level - below) / density[k] * WIDTH : left;
    }
}

/* Returns ln of the coefficient of variation of the spacings between neighbouring quantiles; `positions` as set by
 * find_quantiles. */
static double ln_cv_of_gaps(const double positions[QUANTILES - 1])
{
    const int gaps = QUANTILES - 2;
    const double mean = (positions[gaps] - positions[0]) / gaps;
    double m2 = 0;
    for (int g = 0; g < gaps; g++) {
        const double deviation = positions[g + 1] - positions[g] - mean;
        m2 += deviation * deviation;
    }
    return log(sqrt(m2 / gaps) / mean);
}

organ_z_shape organ_z_shape_of(const organ_kernels *kernels, const uint64_t counts[ORGAN_Z_BINS], uint64_t n)
{
    double density[SMOOTHED], positions[QUANTILES - 1];
    smooth_density(counts, n, density);
    find_quantiles(density, positions);
    return (organ_z_shape){kernels->entropy(density, SMOOTHED) + log2(WIDTH), ln_cv_of_gaps(positions)};
}

/* Mean and standard deviation of organ_z_shape.h and .ln_cv over samples of normal noise, all of the same size. */
typedef struct null_row {
    double h, h_std, cv, cv_std; /* cv: of ln_cv */
} null_row;

/* Returns the value at t, from 0 to 1, of the line from a to b. */
static double interpolate(double a, double b, double t) { return a + (b - a) * t; }

/* Returns the row for normal noise of n values: interpolates between the rows of z_null linearly in log n. For n
 * outside the table returns its first or last row. */
static null_row null_of(uint64_t n)
{
    size_t k = 0;
    while (k + 2 < NULLS && (double)n >= z_null[k + 1].n)
        k++;
    const double from = log(z_null[k].n), to = log(z_null[k + 1].n);
    const double t = fmin(fmax((log((double)n) - from) / (to - from), 0), 1);
    return (null_row){
        interpolate(z_null[k].h, z_null[k + 1].h, t), interpolate(z_null[k].h_std, z_null[k + 1].h_std, t),
        interpolate(z_null[k].cv, z_null[k + 1].cv, t), interpolate(z_null[k].cv_std, z_null[k + 1].cv_std, t)};
}

double organ_z_theta(double power) { return asin(fmin(sqrt(power), 1)) * 180 / acos(-1); }

/* Sets e, k, c, power, signal and theta. Each of e, k and c is the deviation of a statistic from its mean over noise of
 * n values. Two standard deviations of the statistic are subtracted from the deviation, so that noise gives 0, and the
 * difference is mapped to 0 .. 1:
 *   e: negentropy J in bits; 2^(-2 J) is the entropy power relative to a normal distribution of the same variance;
 *   k: excess kurtosis, whose variance for n normal values is 24 / n;
 *   c: variation of the spacings between quantiles of the smoothed density.
 * The mean of e, k and c is the power of the signal relative to all power, and theta = asin(sqrt(power)): the angle of
 * a vector whose components for signal and noise have these powers. */
void organ_z_judge(organ_z *z, organ_z_shape shape)
{
    const null_row noise = null_of(z->moments.n);
    const double negentropy = fmax(0, noise.h - shape.h - 2 * noise.h_std);
    const double kurtosis = fmax(0, fabs(z->kurtosis) - 2 * sqrt(24 / (double)z->moments.n));
    z->e = 1 - exp2(-2 * negentropy);
    z->k = kurtosis / (1 + kurtosis);
    z->c = 1 - exp(-fmax(0, fabs(shape.ln_cv - noise.cv) - 2 * noise.cv_std));
    z->power = (z->e + z->k + z->c) / 3;
    z->signal = sqrt(z->power);
    z->theta = organ_z_theta(z->power);
}

/* Sets dI_dlog2s = b and coherence: fits information = a + b log2 s by least squares, where s values are averaged.
 * Averaging independent values divides the standard deviation by sqrt(2) for each doubling: b = -1/2 and coherence 0.
 * If neighbours are equal, b = 0 and coherence is 1. */
void organ_z_slope(organ_z *z)
{
    if (z->scales < 2)
        return;
    const double centre = (z->scales - 1) / 2.0;
    double xy = 0, xx = 0;
    for (unsigned k = 0; k < z->scales; k++) { /* scale s = 2^k */
        xy += (k - centre) * z->information[k];
        xx += (k - centre) * (k - centre);
    }
    z->dI_dlog2s = xy / xx;
    z->coherence = fmin(fmax(1 + 2 * z->dI_dlog2s, 0), 1);
}
