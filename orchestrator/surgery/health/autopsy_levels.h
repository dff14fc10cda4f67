/* SPDX-License-Identifier: MIT
 * Counts the distinct values (levels) of a weight, exactly up to a limit, with many threads: each thread collects the
 * values of a strip of rows and adds them to the set of the weight. The order of strips does not matter. */
#ifndef ORGAN_AUTOPSY_LEVELS_H
#define ORGAN_AUTOPSY_LEVELS_H

#include <organ/models.h>
#include <organ/kernels.h>

#include <pthread.h>
#include <stdbool.h>

#define ORGAN_AUTOPSY_LEVELS 4096 /* the largest exact count */

/* A set of FP32 values. */
typedef struct organ_level_set {
    uint32_t slots[2 * ORGAN_AUTOPSY_LEVELS]; /* hash table of the bits of the values; a NaN marks an empty slot */
    uint32_t count;                           /* number of values; ORGAN_AUTOPSY_LEVELS + 1: more than fit */
} organ_level_set;

/* The set of one weight, to which all threads add. */
typedef struct organ_level_union {
    organ_level_set set;
    pthread_mutex_t lock;
    bool over; /* `set` has more than ORGAN_AUTOPSY_LEVELS values; atomic, read without the lock */
} organ_level_union;

/* Initialises the set of a weight as an empty set. */
void organ_level_union_begin(organ_level_union *all);
/* Releases the lock of the set. */
void organ_level_union_end(organ_level_union *all);

/* The levels of one strip: scratch memory of one thread. */
typedef struct organ_level_scratch {
    unsigned char seen[65536]; /* 1 for each 16-bit word that occurs: upper halves of FP32 values, BF16 or F16 */
    organ_level_set other;     /* FP32 values whose lower half is not 0 */
} organ_level_scratch;

/* Empties *scratch for the next strip of a weight. This function and the next two count the levels of one strip. These
 * three functions do nothing once `all`, the set of the weight, has more than ORGAN_AUTOPSY_LEVELS values. */
void organ_levels_begin(organ_level_scratch *scratch, const organ_level_union *all);
/* Adds n values of the strip to *scratch. `as` is their type: ORGAN_F32, ORGAN_BF16 or ORGAN_F16. */
void organ_levels_add(organ_level_scratch *scratch, const organ_level_union *all, organ_dtype as, const void *values,
                      size_t n);
/* Adds the values of the whole strip to *all. Leaves out infinities and NaN; -0 counts as +0. */
void organ_levels_unite(organ_level_scratch *scratch, organ_level_union *all, organ_dtype as,
                        const organ_kernels *kernels);

/* The kind of numbers among the levels; all false if there are more than the limit, or none. */
typedef struct organ_level_kind {
    bool integers; /* all levels are whole numbers */
    bool fp4;      /* all levels are values of E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives */
} organ_level_kind;
/* Returns the kind of the numbers in the set. */
organ_level_kind organ_level_kind_of(const organ_level_set *set);

#endif
