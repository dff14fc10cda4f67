/* SPDX-License-Identifier: MIT
 * The older measure of a tensor, "seed/1", from at most 4,096 sorted values and the spacings between them. It is a
 * reconstruction from a description (docs/definitions/measure.md), kept for comparison with older figures; z/1 is the
 * measure of this program. */
#ifndef ORGAN_SEED_MEASURE_H
#define ORGAN_SEED_MEASURE_H

#include "orchestrator/surgery/measure/z_result.h"

#include <stddef.h>
#include <stdint.h>

#define ORGAN_SEED_VALUES 4096 /* upper bound of sampled values at each scale */
/* Scales 1, 2, 4, 8, 16: a value at scale s is the mean of s neighbouring values of a row. */
#define ORGAN_SEED_SCALES 5

/* A sample of a tensor's values. At each scale, of n values those at index floor(i n / m) for i from 0 to m - 1 are
 * taken, with m the smaller of n and ORGAN_SEED_VALUES. The values are collected while the tensor is read. */
typedef struct organ_seed_sample {
    unsigned scales;                   /* number of scales */
    uint64_t count[ORGAN_SEED_SCALES]; /* n: values at each scale */
    uint64_t seen[ORGAN_SEED_SCALES];  /* values that were passed so far */
    uint32_t taken[ORGAN_SEED_SCALES]; /* values in the sample so far */
    float values[ORGAN_SEED_SCALES][ORGAN_SEED_VALUES];
} organ_seed_sample;

/* Begins a sample of a tensor of rows x cols values at the first `scales` scales. At scale s the last cols mod s values
 * of a row are omitted. */
void organ_seed_begin(organ_seed_sample *sample, uint64_t rows, uint64_t cols, unsigned scales);

/* Passes the next `n` values at scale 2^k to the sample. */
void organ_seed_add(organ_seed_sample *sample, unsigned k, const float *values, size_t n);

/* Passes the next `n` values at scale 1 as 16-bit floats, which `widen` converts to FP32. */
void organ_seed_add_words(organ_seed_sample *sample, const uint16_t *words, size_t n,
                          void (*widen)(const uint16_t *, float *, size_t));

/* Computes the measure after all values were passed; all must be finite. Sorts the sample. z.there is false if there
 * are fewer than 16 values or they have no variance. */
organ_seed_z organ_seed_finish(organ_seed_sample *sample);

#endif
