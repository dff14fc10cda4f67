/* SPDX-License-Identifier: MIT
 * Computes results for tensors of 16-bit floats from the number of occurrences of each of the 65,536 codes, which
 * determines all results at scale 1. */
#ifndef ORGAN_Z_CODES_H
#define ORGAN_Z_CODES_H

#include <organ/measure.h>

/* Sets z->moments and z->levels. codes[c]: number of occurrences of code c. `widen` converts codes to values:
 * organ_kernels.bf16_to_f32 or .f16_to_f32. */
void organ_z_codes_moments(const uint64_t codes[65536], void (*widen)(const uint16_t *, float *, size_t), organ_z *z);

/* Adds the values of these codes to the histogram counts[]. The result is the sum of the four histograms that
 * organ_kernels.z_bins would make of the same values. `mean` and `std` are those of the values; all codes that occur
 * must be finite. */
void organ_z_codes_bins(const uint64_t codes[65536], void (*widen)(const uint16_t *, float *, size_t), double mean,
                        double std, uint64_t counts[ORGAN_Z_BINS]);

#endif
