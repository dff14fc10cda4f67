/* SPDX-License-Identifier: MIT
 * Figures of a distribution of values: theta from a histogram, moments and bins from counts of codes, distinct values.
 */
#include "orchestrator/verbs/measure/z_measure.h"

#include <math.h>
#include <string.h>

/* Bins on each side over which the density is smoothed: 2.5 standard deviations of the tensor, 7 of the kernel. */
#define REACH     40
#define SMOOTHED  (ORGAN_Z_BINS + 2 * REACH)   /* bins of the smoothed density */
#define TAU       0.35                         /* standard deviation of the kernel, in those of the tensor */
#define WIDTH     (1.0 / ORGAN_Z_BINS_PER_STD) /* width of a bin, in standard deviations of the tensor */
#define QUANTILES 64                           /* equal parts into which the quantiles divide the density */
#define NULLS     (sizeof z_null / sizeof *z_null)

/* The kernel is normal with the standard deviation TAU, and its sum is 1. Smoothing with it removes the steps of
 * quantised values, which would otherwise dominate entropy and spacings. */
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

/* Bin b of the histogram is bin b + REACH of the density. */
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

/* positions[q - 1] is the value, in standard deviations, at which the cumulative density (linear within bins)
 * reaches q / QUANTILES. */
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

/* The members are the mean and standard deviation of h of organ_z_shape and .ln_cv over samples of normal noise, all of
 * the same size. */
typedef struct null_row {
    double h, h_std, cv, cv_std; /* cv: of ln_cv */
} null_row;

static double interpolate(double a, double b, double t) { return a + (b - a) * t; }

/* The rows of z_null are interpolated linearly in log n; n outside the table gives its first or last row. */
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

/* The fit is information = a + b log2 s by least squares, where s values are averaged. Averaging independent values
 * divides the standard deviation by sqrt(2) for each doubling: b = -1/2 and coherence 0. If neighbours are equal, b
 * = 0 and coherence is 1. */
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

/* ---- counts of codes ---- */

/* Computes moments and bins of 16-bit floats from the counts of their codes. Sums are added in the numerical order of
 * codes, so that they do not depend on the order of reading. */

/* Codes with the same upper 8 bits, which are processed together. In most tensors no code of most pages occurs; such
 * pages are skipped. */
#define PAGE  256
#define PAGES (65536 / PAGE)

/* This is the type of organ_kernels.bf16_to_f32 and .f16_to_f32. */
typedef void widener(const uint16_t *, float *, size_t);

/* counts[c] is the number of occurrences of code c, for all 65,536 codes. Returns false, without setting `values`,
 * if no code of the page occurs. */
static bool open_page(const uint64_t *counts, widener *widen, unsigned page, float values[PAGE])
{
    uint16_t words[PAGE];
    uint64_t any = 0;
    for (unsigned k = 0; k < PAGE; k++) {
        any |= counts[page * PAGE + k];
        words[k] = (uint16_t)(page * PAGE + k);
    }
    if (any)
        widen(words, values, PAGE);
    return any > 0;
}

/* counts[k] is the number of occurrences of values[k]. m->mean gets the sum of the values. */
static void count_values(const uint64_t *counts, const float values[PAGE], organ_moments *m, uint32_t *levels)
{
    for (unsigned k = 0; k < PAGE; k++) {
        const float v = values[k] + 0.0f; /* -0 is +0 */
        const uint64_t n = counts[k];
        if (n == 0)
            continue;
        if (!isfinite(v)) {
            *(isnan(v) ? &m->nan : &m->inf) += n;
            continue;
        }
        m->n += n;
        m->zero += v == 0 ? n : 0;
        m->mean += (double)n * (double)v;
        m->min = v < m->min ? v : m->min;
        m->max = v > m->max ? v : m->max;
        *levels += 1;
    }
}

/* The powers 2, 3 and 4 of the deviations from m->mean are added to m->m2, m3 and m4. */
static void add_powers(const uint64_t *counts, const float values[PAGE], organ_moments *m)
{
    for (unsigned k = 0; k < PAGE; k++) {
        if (counts[k] == 0 || !isfinite(values[k]))
            continue;
        const double d = (double)values[k] - m->mean, square = d * d, n = (double)counts[k];
        m->m2 += n * square;
        m->m3 += n * (square * d);
        m->m4 += n * (square * square);
    }
}

/* The first of two passes over the codes gives the mean, the second the powers of the deviations from it. */
void organ_z_codes_moments(const uint64_t codes[65536], widener *widen, organ_z *z)
{
    organ_moments m = {.min = INFINITY, .max = -INFINITY};
    float values[PAGE];
    z->levels = 0;
    for (unsigned page = 0; page < PAGES; page++)
        if (open_page(codes, widen, page, values))
            count_values(codes + page * PAGE, values, &m, &z->levels);
    z->levels -= codes[0] > 0 && codes[0x8000] > 0; /* +0 and -0, codes 0 and 0x8000 in both types, are one level */
    m.mean = m.n > 0 ? m.mean / (double)m.n : 0;
    for (unsigned page = 0; page < PAGES; page++)
        if (open_page(codes, widen, page, values))
            add_powers(codes + page * PAGE, values, &m);
    z->moments = m;
}

/* Bins are around the mean, ORGAN_Z_BINS_PER_STD to a standard deviation; values beyond the first and the last bin
 * are counted in these two bins. */
void organ_z_codes_bins(const uint64_t codes[65536], widener *widen, double mean, double std,
                        uint64_t counts[ORGAN_Z_BINS])
{
    const double per_bin = ORGAN_Z_BINS_PER_STD / std;
    float values[PAGE];
    for (unsigned page = 0; page < PAGES; page++) {
        if (!open_page(codes, widen, page, values))
            continue;
        for (unsigned k = 0; k < PAGE; k++) {
            const uint64_t n = codes[page * PAGE + k];
            const double place = n > 0 ? ((double)values[k] - mean) * per_bin : 0;
            const double within = fmin(fmax(place, -ORGAN_Z_BINS / 2), ORGAN_Z_BINS / 2 - 1);
            counts[(int)floor(within) + ORGAN_Z_BINS / 2] += n;
        }
    }
}

/* ---- distinct values ---- */

#define EMPTY 0xffffffffu /* bits of a NaN, which is not counted */

/* The table has at least twice as many slots as elements, up to ORGAN_Z_LEVEL_SLOTS, so that at most half of them
 * are taken. */
void organ_z_levels_begin(organ_z_levels *levels, uint64_t elements)
{
    uint32_t slots = 64;
    while (slots < ORGAN_Z_LEVEL_SLOTS && slots < 2 * elements)
        slots *= 2;
    levels->mask = slots - 1;
    levels->count = 0;
    memset(levels->slots, 0xff, slots * sizeof *levels->slots);
}

/* The table has open addressing with linear probing. The search begins at the upper 17 bits of a multiplicative hash
 * (2^32 / golden ratio), as many as ORGAN_Z_LEVEL_SLOTS needs. */
static void add_level(organ_z_levels *levels, uint32_t bits)
{
    uint32_t at = (bits * 0x9e3779b1u) >> 15 & levels->mask;
    while (levels->slots[at] != bits && levels->slots[at] != EMPTY)
        at = (at + 1) & levels->mask;
    levels->count += levels->slots[at] == EMPTY;
    levels->slots[at] = bits;
}

void organ_z_levels_add(organ_z_levels *levels, const float *values, size_t n)
{
    for (size_t k = 0; k < n && levels->count <= ORGAN_Z_LEVELS; k++) {
        uint32_t bits;
        memcpy(&bits, &values[k], sizeof bits);
        if ((bits & 0x7fffffff) == 0)
            bits = 0;
        if ((bits & 0x7fffffff) < 0x7f800000)
            add_level(levels, bits);
    }
}
