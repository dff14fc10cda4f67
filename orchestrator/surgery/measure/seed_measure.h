/* SPDX-License-Identifier: MIT
 * The older measure of a tensor, "seed/1", from at most 4,096 sorted values and the spacings between them. It was
 * reconstructed from a description (docs/definitions/measure.md) for comparison with older figures; the measure of this
 * program is z/1 (z_measure.h). */
#ifndef ORGAN_SEED_MEASURE_H
#define ORGAN_SEED_MEASURE_H

#include <organ/measure.h>

#include <stddef.h>
#include <stdint.h>

#define ORGAN_SEED_VALUES 4096 /* upper bound of sampled values at each scale */
/* Scales 1, 2, 4, 8, 16: a value at scale s is the mean of s neighbouring values of a row. */
#define ORGAN_SEED_SCALES 5

/* A sample of a tensor's values, collected while the tensor is read: at each scale the values with index floor(i n / m)
 * for i from 0 to m - 1, where n is the number of values at the scale and m the smaller of n and ORGAN_SEED_VALUES.
 * Index k of the arrays is scale 2^k. */
typedef struct organ_seed_sample {
    unsigned scales;                   /* number of scales */
    uint64_t count[ORGAN_SEED_SCALES]; /* n: number of values of the tensor at each scale */
    uint64_t seen[ORGAN_SEED_SCALES];  /* values that the caller has passed so far */
    uint32_t taken[ORGAN_SEED_SCALES]; /* values in the sample so far */
    float values[ORGAN_SEED_SCALES][ORGAN_SEED_VALUES];
} organ_seed_sample;

/* Begins a sample of a tensor of rows x cols values at the first `scales` scales. At scale s the caller omits the last
 * cols mod s values of each row. */
void organ_seed_begin(organ_seed_sample *sample, uint64_t rows, uint64_t cols, unsigned scales);

/* Passes the next `n` values at scale 2^k, in the tensor's order, to the sample, which keeps some of them. */
void organ_seed_add(organ_seed_sample *sample, unsigned k, const float *values, size_t n);

/* Same as organ_seed_add for the next `n` values at scale 1, given as 16-bit floats; `widen` converts those that are
 * kept to FP32. */
void organ_seed_add_words(organ_seed_sample *sample, const uint16_t *words, size_t n,
                          void (*widen)(const uint16_t *, float *, size_t));

/* Returns the measure after all values were passed; all must be finite. Sorts the sample. `there` of the result is
 * false if the sample has fewer than 16 values at scale 1, their variance is 0, or their moments exceed FP64. */
organ_seed_z organ_seed_finish(organ_seed_sample *sample);

#endif
