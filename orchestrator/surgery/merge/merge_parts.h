/* SPDX-License-Identifier: MIT
 * Functions that the methods of `organ merge` share. */
#ifndef ORGAN_SURGERY_MERGE_MERGE_PARTS_H
#define ORGAN_SURGERY_MERGE_MERGE_PARTS_H

#include "orchestrator/surgery/merge/merge_method.h"

/* Returns the number of values of each array of a strip. */
static inline size_t organ_merge_strip_values(const organ_merge_strip *strip) { return strip->rows * strip->cols; }

/* Writes input k less the base to `delta`, in FP32; without a base a copy of the input. */
void organ_merge_delta(const organ_kernels *kernels, const organ_merge_strip *strip, size_t k, float *delta);

/* Does so for the n values from `from` on. */
void organ_merge_delta_part(const organ_kernels *kernels, const organ_merge_strip *strip, size_t k, size_t from,
                            size_t n, float *delta);

/* Returns the sum of the values of parameter number `weight`, added in the order of the inputs. */
double organ_merge_total(const organ_merge_task *task, size_t weight);

/* Checks that the weights, the values of parameter number `weight`, do not add up to 0. The message says that `divisor`
 * ("normalize") would divide by the sum. */
organ_status organ_merge_check_weights(const organ_merge_task *task, size_t weight, const char *divisor,
                                       organ_error *error);

/* ---- exact choice of the largest elements of a tensor, by passes over its values ----
 *
 * Elements are in a total order: by absolute value, and equal ones by a bijective hash of the element's number, so that
 * ties do not fall to the first rows. A cut divides this order: an element is above it if its key is at least
 * cut->from. If the cut would be among elements of value 0, all of them are above it: they are not compared.
 *
 * The first pass counts the leading bits of the magnitudes, or collects the keys of a small tensor. Candidates for the
 * cut are then the elements with the leading bits of the one at the cut. A later pass counts the other bits of their
 * magnitudes. It also supposes that all candidates have one magnitude, so that only the hashes matter: these are
 * evenly spread, and the keys with hashes near the place where the cut must be are collected. */

/* Most elements of a tensor whose keys differ: more than the largest stack of experts has. */
#define ORGAN_MERGE_KEYS ((uint64_t)1 << 33)

typedef struct organ_merge_cut {
    uint64_t from;                   /* valid when `done`: elements with keys from here on are above */
    uint64_t left;                   /* how many of the candidates are above */
    uint64_t candidates;             /* their number, after the first pass */
    uint32_t least, most;            /* magnitudes of the candidates; `most` is 0 in the first pass */
    uint64_t lower, upper;           /* hashes of the candidates */
    uint64_t window_from, window_to; /* hashes of the keys that are collected */
    unsigned tries;                  /* passes since the magnitude is known */
    bool done;
} organ_merge_cut;

#define ORGAN_MERGE_HASH_BITS 33 /* of a key, below those of the absolute value */

/* Returns the leading bits of a key: those of the absolute value. */
static inline uint32_t organ_merge_magnitude(float value)
{
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffff;
}

/* Returns the key of an element with this value: bits of the absolute value, then the hash of its number. */
static inline uint64_t organ_merge_key(float value, uint64_t element)
{
    const uint64_t low = ORGAN_MERGE_KEYS - 1;
    /* xor with a shift to the right and multiplication by an odd number are bijections of 33 bits */
    uint64_t h = element & low;
    h = ((h ^ h >> 17) * UINT64_C(0xed5ad4bb)) & low;
    h = ((h ^ h >> 16) * UINT64_C(0x1ac4c1b51)) & low;
    h = ((h ^ h >> 15) * UINT64_C(0x131848bab)) & low;
    return (uint64_t)organ_merge_magnitude(value) << ORGAN_MERGE_HASH_BITS | (h ^ h >> 17);
}

/* Returns the magnitude at a cut, which is done; elements of other magnitudes are above if theirs is larger. */
static inline uint32_t organ_merge_cut_magnitude(const organ_merge_cut *cut)
{
    return (uint32_t)(cut->from >> ORGAN_MERGE_HASH_BITS);
}

/* Returns whether the element, not of value 0, is above the cut, which is done. The hash is computed for values at the
 * cut only. */
static inline bool organ_merge_above(const organ_merge_cut *cut, float value, uint64_t element)
{
    const uint32_t magnitude = organ_merge_magnitude(value), at = organ_merge_cut_magnitude(cut);
    return magnitude > at ||
           (magnitude == at && cut->from != UINT64_MAX && organ_merge_key(value, element) >= cut->from);
}

/* Begins a cut above which `wanted` of `elements` elements are. It is done at once if these are none or all. */
void organ_merge_cut_begin(organ_merge_cut *cut, uint64_t wanted, uint64_t elements);

/* Returns the number of counters that a cut needs in a pass. */
size_t organ_merge_cut_counters(uint64_t elements);

/* Adds n values to the counters of the current pass: element i is number first + i. Does nothing if the cut is done. In
 * the first pass all cuts through the same values may share counters. */
void organ_merge_cut_count(const organ_merge_cut *cut, const organ_kernels *kernels, uint64_t elements,
                           const float *values, uint64_t first, size_t n, uint64_t *counters);

/* Adds the counters of another worker. */
void organ_merge_cut_join(const organ_merge_cut *cut, uint64_t elements, uint64_t *into, const uint64_t *from);

/* Returns the number of elements other than 0, from the counters of all workers in the first pass. */
uint64_t organ_merge_cut_varying(uint64_t elements, const uint64_t *counters);

/* Ends a pass with the counters of all workers together, whose keys it reorders. */
void organ_merge_cut_narrow(organ_merge_cut *cut, uint64_t elements, uint64_t *counters);

/* ---- random choice by ranks ---- */

typedef struct organ_merge_odds {
    double density, epsilon; /* probabilities: density - epsilon for the smallest element of a row, + for the largest */
    uint64_t stream;         /* of random numbers */
} organ_merge_odds;

/* Returns the bytes of scratch memory that organ_merge_choose_ranked needs. */
size_t organ_merge_ranked_bytes(size_t cols);

/* Sets elements of `delta`, the values of the strip, that are not kept to 0. `scratch` is 64-byte aligned. */
void organ_merge_choose_ranked(const organ_merge_task *task, const organ_merge_strip *strip,
                               const organ_merge_odds *odds, float *delta, void *scratch);

#endif
