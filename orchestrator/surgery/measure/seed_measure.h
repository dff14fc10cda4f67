/* SPDX-License-Identifier: MIT
 * The older measure of a tensor, "seed/1": from 4,096 sorted values and the spacings between them. It is a
 * reconstruction from what was published of it (docs/seed_measure.md says of what), kept so that older figures can be
 * compared; z/1 is the measure of this program. */
#ifndef ORGAN_SEED_MEASURE_H
#define ORGAN_SEED_MEASURE_H

#include "orchestrator/surgery/measure/z_result.h"

#include <stddef.h>
#include <stdint.h>

#define ORGAN_SEED_VALUES 4096 /* at most, of each scale */
#define ORGAN_SEED_SCALES 5    /* 1, 2, 4, 8, 16 */

/* The values that are looked at: number floor(i n / m) of the n pairwise means at a scale, i from 0 to m - 1, with m
 * the lesser of n and ORGAN_SEED_VALUES. They are collected while all values pass by. */
typedef struct organ_seed_sample {
    unsigned scales;
    uint64_t count[ORGAN_SEED_SCALES]; /* n */
    uint64_t seen[ORGAN_SEED_SCALES];  /* that have passed */
    uint32_t taken[ORGAN_SEED_SCALES];
    float values[ORGAN_SEED_SCALES][ORGAN_SEED_VALUES];
} organ_seed_sample;

/* For rows x cols values at scales 1, 2, 4 ... below 2^scales; an end of a row without a partner is left out. */
void organ_seed_begin(organ_seed_sample *sample, uint64_t rows, uint64_t cols, unsigned scales);

/* The next `n` values at scale 2^k pass by. */
void organ_seed_pass(organ_seed_sample *sample, unsigned k, const float *values, size_t n);

/* The same of 16-bit floats at scale 1, which `widen` makes numbers. */
void organ_seed_pass_words(organ_seed_sample *sample, const uint16_t *words, size_t n,
                           void (*widen)(const uint16_t *, float *, size_t));

/* Once all have passed, and all are finite. Sorts the sample. z.there is false where all sampled values are the same.
 */
organ_seed_z organ_seed_judge(organ_seed_sample *sample);

#endif
