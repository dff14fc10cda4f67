/* SPDX-License-Identifier: MIT
 * How many distinct values a weight has, exact up to a limit, counted by many threads: a set for each strip, united
 * into the set of the weight. Unions do not depend on their order. */
#ifndef ORGAN_AUTOPSY_LEVELS_H
#define ORGAN_AUTOPSY_LEVELS_H

#include "formats/tensor/tensor.h"
#include "kernels/kernels.h"

#include <pthread.h>
#include <stdbool.h>

#define ORGAN_AUTOPSY_LEVELS 4096 /* exact up to here */

typedef struct organ_level_set {
    uint32_t slots[2 * ORGAN_AUTOPSY_LEVELS]; /* bits of FP32 values, hashed; a NaN where it is empty */
    uint32_t count;                           /* ORGAN_AUTOPSY_LEVELS + 1: more */
} organ_level_set;

/* Of one weight. */
typedef struct organ_level_union {
    organ_level_set set;
    pthread_mutex_t lock;
    bool over; /* read without the lock */
} organ_level_union;

void organ_level_union_begin(organ_level_union *all);
void organ_level_union_end(organ_level_union *all);

/* What a thread counts in. */
typedef struct organ_level_scratch {
    unsigned char seen[65536]; /* words of 16 bits: upper halves of FP32, BF16 or F16 */
    organ_level_set other;     /* FP32 values with a lower half */
} organ_level_scratch;

/* A strip begins, is added to in parts, and ends: then its levels are in `all`. `as` is ORGAN_F32, ORGAN_BF16 or
 * ORGAN_F16. Infinities and NaN are no levels; -0 is +0. Does next to nothing once `all` has more than the limit. */
void organ_levels_begin(organ_level_scratch *scratch, const organ_level_union *all);
void organ_levels_add(organ_level_scratch *scratch, const organ_level_union *all, organ_dtype as, const void *values,
                      size_t n);
void organ_levels_unite(organ_level_scratch *scratch, organ_level_union *all, organ_dtype as,
                        const organ_kernels *kernels);

/* What kind of numbers the levels are; all false where there are more than the limit, or none. */
typedef struct organ_level_kind {
    bool integers; /* every one is a whole number */
    bool fp4;      /* every one is a value of E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives */
} organ_level_kind;
organ_level_kind organ_level_kind_of(const organ_level_set *set);

#endif
