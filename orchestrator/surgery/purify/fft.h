/* SPDX-License-Identifier: MIT
 * The spectral filter "purify-fft/1" on one row, in FP64 by FFTW. */
#ifndef ORGAN_PURIFY_FFT_H
#define ORGAN_PURIFY_FFT_H

#include "formats/base/status.h"

#include <stdint.h>

/* The transforms for rows of one length; may be shared by any number of threads. */
typedef struct organ_fft organ_fft;

/* Returns ORGAN_USAGE if rows are longer than FFTW supports, ORGAN_IO without memory. n > 0. */
organ_status organ_fft_create(uint64_t n, organ_fft **fft, organ_error *error);
void organ_fft_destroy(organ_fft *fft); /* NULL is allowed */

/* Returns the bytes of scratch memory, which must be aligned to 64. */
uint64_t organ_fft_scratch(uint64_t n);

/* Multiplies those bins of the row's real spectrum by 1 - strength whose power is below threshold x (median power of
 * the bins / ln 2). The median of an even number is the mean of the two middle values. All values must be finite. */
void organ_fft_purify(const organ_fft *fft, float *row, double threshold, double strength, void *scratch);

#endif
