/* SPDX-License-Identifier: MIT
 * Structures and functions that the sources of organ purify share. */
#ifndef ORGAN_VERBS_PURIFY_PURIFY_PARTS_H
#define ORGAN_VERBS_PURIFY_PURIFY_PARTS_H

#include "orchestrator/surgery/write/write.h"

#include <organ/base.h>
#include <organ/measure.h>
#include <organ/purify.h>
#include <stdint.h>

/* Filters a row of a tensor in its Fourier spectrum, in FP64: the definition "purify-fft/2". */

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

/* A tensor that is purified: one of organ_purify_job.parts. */
typedef struct organ_purify_part {
    const organ_tensor *tensor;
    const organ_fft *fft;      /* tables for rows of its length, one of organ_purify_job.ffts; NULL with haar */
    organ_z z_before, z_after; /* theta in the donor and in the copy; set after the copy is written */
} organ_purify_part;

/* Indices of organ_row.sums. Energies: the sum of the squares of the stored values, in the donor and in the copy.
 * Infinite: the number of rows in which a value is NaN or infinite, in the donor and after the filter. */
enum { ORGAN_ENERGY_BEFORE, ORGAN_ENERGY_AFTER, ORGAN_INFINITE_BEFORE, ORGAN_INFINITE_AFTER };

typedef struct organ_purify_job {
    const organ_purify_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    bool haar;        /* the method is haar; false: fft */
    double threshold; /* the option's value, or its default */
    organ_model *donor;
    bool *chosen;             /* a flag for each tensor of the donor: it is purified */
    size_t count;             /* number of parts */
    organ_purify_part *parts; /* one for each chosen tensor, in the order of donor->tensors */
    size_t left_out_count;
    const organ_tensor **left_out; /* selected tensors of types that cannot be written, which stay unchanged */
    size_t fft_count;
    organ_fft **ffts;    /* one for each distinct row length of the parts; empty with haar */
    organ_row_work rows; /* the filter, which organ_write_run calls for each row */
} organ_purify_job;

#endif
