/* SPDX-License-Identifier: MIT
 * Applies the spectral filter "purify-fft/1" to a row, in FP64 with FFTW. */
#ifndef ORGAN_PURIFY_FFT_H
#define ORGAN_PURIFY_FFT_H

#include "formats/base/status.h"

#include <stdint.h>

/* The transforms for rows of one length; any number of threads may share them. */
typedef struct organ_fft organ_fft;

/* Creates the transforms for rows of n > 0 values. Returns ORGAN_USAGE if rows are longer than FFTW supports, ORGAN_IO
 * without memory. */
organ_status organ_fft_create(uint64_t n, organ_fft **fft, organ_error *error);
void organ_fft_destroy(organ_fft *fft); /* NULL is allowed */

/* Returns the bytes of scratch that organ_fft_purify needs for n values, aligned to 64; 0 if n is too long. */
uint64_t organ_fft_scratch(uint64_t n);

/* Computes the real spectrum of the row, multiplies every bin by 1 - strength that has a power below threshold x
 * (median power of the bins / ln 2), and transforms the spectrum back into `row`. The median of an even number of bins
 * is the mean of the two middle values. All values must be finite. */
void organ_fft_purify(const organ_fft *fft, float *row, double threshold, double strength, void *scratch);

#endif
