/* SPDX-License-Identifier: MIT
 * The older measure of a tensor, "seed/1", from 4,096 sorted values and the spacings between them. It is a
 * reconstruction from a description (docs/definitions/measure.md), kept for comparison with older figures; z/1 is
 * the measure of this program. */
#ifndef ORGAN_SEED_MEASURE_H
#define ORGAN_SEED_MEASURE_H

#include "orchestrator/surgery/measure/z_result.h"

#include <stddef.h>
#include <stdint.h>

#define ORGAN_SEED_VALUES 4096 /* at most, of each scale */
#define ORGAN_SEED_SCALES 5    /* 1, 2, 4, 8, 16 */

/* A sample of values: of the n pairwise means at a scale, those at index floor(i n / m) for i from 0 to m - 1, with m
 * the smaller of n and ORGAN_SEED_VALUES. The values are collected while the tensor is read. */
typedef struct organ_seed_sample {
    unsigned scales;
    uint64_t count[ORGAN_SEED_SCALES]; /* n */
    uint64_t seen[ORGAN_SEED_SCALES];  /* values read so far */
    uint32_t taken[ORGAN_SEED_SCALES];
    float values[ORGAN_SEED_SCALES][ORGAN_SEED_VALUES];
} organ_seed_sample;

/* Begins a sample of rows x cols values at scales 1, 2, 4 ... below 2^scales. An end of a row without a partner is
 * omitted. */
void organ_seed_begin(organ_seed_sample *sample, uint64_t rows, uint64_t cols, unsigned scales);

/* Processes the next `n` values at scale 2^k. */
void organ_seed_add(organ_seed_sample *sample, unsigned k, const float *values, size_t n);

/* Processes the next `n` 16-bit floats at scale 1, which `widen` converts. */
void organ_seed_add_words(organ_seed_sample *sample, const uint16_t *words, size_t n,
                          void (*widen)(const uint16_t *, float *, size_t));

/* Computes the measure after all values were processed; all must be finite. Sorts the sample. z.there is false if all
 * sampled values are equal. */
organ_seed_z organ_seed_finish(organ_seed_sample *sample);

#endif
