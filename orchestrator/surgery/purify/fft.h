/* SPDX-License-Identifier: MIT
 * Filters a row of a tensor in its Fourier spectrum, in FP64 with FFTW: the definition "purify-fft/1". */
#ifndef ORGAN_PURIFY_FFT_H
#define ORGAN_PURIFY_FFT_H

#include <organ/base.h>

#include <stdint.h>

/* FFTW's plans of both transforms for rows of one length. Any number of threads may use them at once. */
typedef struct organ_fft organ_fft;

/* Creates the plans for rows of n > 0 values. Returns ORGAN_USAGE if rows are longer than FFTW supports, ORGAN_IO
 * if memory runs out. */
organ_status organ_fft_create(uint64_t n, organ_fft **fft, organ_error *error);
void organ_fft_destroy(organ_fft *fft); /* NULL is allowed */

/* Returns the bytes of scratch that organ_fft_purify needs for rows of n values; the scratch must be 64-byte aligned. 0
 * if n is longer than FFTW supports. */
uint64_t organ_fft_scratch(uint64_t n);

/* Attenuates noise in a row: computes its real spectrum, multiplies each bin whose power is below threshold x (median
 * power of the bins / ln 2) by 1 - strength, and transforms the spectrum back into `row`. The median of an even number
 * of bins is the mean of the two in the middle. All values must be finite. */
void organ_fft_purify(const organ_fft *fft, float *row, double threshold, double strength, void *scratch);

#endif
