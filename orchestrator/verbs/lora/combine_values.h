/* SPDX-License-Identifier: MIT
 * The arithmetic of peft's add_weighted_adapter on arrays of FP32 values: pruning, election of signs and sums. Nothing
 * here allocates memory or can fail. */
#ifndef ORGAN_VERBS_LORA_COMBINE_VALUES_H
#define ORGAN_VERBS_LORA_COMBINE_VALUES_H

#include <organ/kernels.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Counters of organ_combine_prune: one for each possible half of an FP32 number. */
enum { ORGAN_COMBINE_COUNTERS = 65536 };

/* Sets all but the (size_t)(density * n) values of largest magnitude to 0. Of values of the same magnitude those of
 * lower index are kept. `counters`: scratch of ORGAN_COMBINE_COUNTERS. */
void organ_combine_prune(float *values, size_t n, double density, uint64_t *counters);

/* Sets `mask` to n flags, 1 with probability `density`. A flag depends only on seed, stream and its index. */
void organ_combine_draw(const organ_kernels *kernels, uint64_t seed, uint64_t stream, double density, uint8_t *mask,
                        size_t n);
/* Sets values without a flag to 0 and divides the others by `density` (DARE). */
void organ_combine_drop(float *values, const uint8_t *mask, size_t n, double density);

/* How values of several adapters at one place become one. */
typedef enum organ_combine_vote {
    ORGAN_COMBINE_SUM,   /* the sum of weight x value */
    ORGAN_COMBINE_TOTAL, /* the mean of weight x value over those whose value has the sign of the sum of all values */
    ORGAN_COMBINE_COUNT  /* the same, with the sign that most values have */
} organ_combine_vote;

/* Sets to[j] from values[k][j], k < count, in FP32 and in the order of k. A sum of 0 elects the positive sign. Zeros
 * have no sign, and neither add nor count; if none has the elected sign, the result is 0. `to` may be values[0]. */
void organ_combine_join(const float *const *values, const float *weights, size_t count, size_t n,
                        organ_combine_vote vote, float *to);

/* Adds to counts[0] the places where x and y have one sign, to counts[1] those where they have opposite ones. */
void organ_combine_signs(const float *x, const float *y, size_t n, uint64_t counts[2]);

#endif
