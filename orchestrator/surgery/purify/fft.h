/* SPDX-License-Identifier: MIT
 * Filters a row of a tensor in its Fourier spectrum, in FP64: the definition "purify-fft/2". */
#ifndef ORGAN_PURIFY_FFT_H
#define ORGAN_PURIFY_FFT_H

#include <organ/base.h>

#include <stdint.h>

/* Tables for rows of one length. Any number of threads may use them at once. */
typedef struct organ_fft organ_fft;

/* Makes the tables for rows of n > 0 values. Returns ORGAN_USAGE if n is above INT_MAX, ORGAN_IO if memory runs out. */
organ_status organ_fft_create(uint64_t n, organ_fft **fft, organ_error *error);
void organ_fft_destroy(organ_fft *fft); /* NULL is allowed */

/* Returns the bytes of scratch that the functions below need for rows of n values, which is not always less for shorter
 * rows; the scratch must be 64-byte aligned. 0 if n is above INT_MAX. */
uint64_t organ_fft_scratch(uint64_t n);

/* Returns the bins 0 .. n / 2 of the row's spectrum in `scratch`, as real and imaginary part. */
double (*organ_fft_spectrum(const organ_fft *fft, const float *row, void *scratch))[2];

/* Attenuates noise in a row: computes its real spectrum, multiplies each bin whose power is below threshold x (median
 * power of the bins / ln 2) by 1 - strength, and transforms the spectrum back into `row`. The median of an even number
 * of bins is the mean of the two in the middle. All values must be finite. */
void organ_fft_purify(const organ_fft *fft, float *row, double threshold, double strength, void *scratch);

#endif
