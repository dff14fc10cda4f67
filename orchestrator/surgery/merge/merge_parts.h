/* SPDX-License-Identifier: MIT
 * Functions that the methods of `organ merge` share. */
#ifndef ORGAN_SURGERY_MERGE_MERGE_PARTS_H
#define ORGAN_SURGERY_MERGE_MERGE_PARTS_H

#include "orchestrator/surgery/merge/merge_method.h"

/* Returns the number of values of each array of a strip. */
static inline size_t organ_merge_strip_values(const organ_merge_strip *strip) { return strip->rows * strip->cols; }

/* Writes input k less the base to `delta`, in FP32; without a base a copy of the input. */
void organ_merge_delta(const organ_merge_strip *strip, size_t k, float *delta);

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
 * cut->from. Each pass counts one digit of the keys; most cuts need two passes, cuts through equal values four. */

/* Most elements of a tensor whose keys differ: more than the largest stack of experts has. */
#define ORGAN_MERGE_KEYS ((uint64_t)1 << 33)

/* Bits of a digit of keys, and the number of counters that a cut needs in a pass. Tensors of fewer elements than a
 * digit has values take smaller digits. */
unsigned organ_merge_digit_bits(uint64_t elements);
static inline size_t organ_merge_digits(uint64_t elements) { return (size_t)1 << organ_merge_digit_bits(elements); }

typedef struct organ_merge_cut {
    uint64_t from;   /* valid when `done`: elements with keys from here on are above; UINT64_MAX: none is */
    uint64_t left;   /* how many of the elements whose leading digits are `prefix` are above */
    uint64_t prefix; /* leading digits of the key at the cut */
    unsigned known;  /* bits of `prefix` */
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

/* Returns whether the element is above the cut, which is done. The hash is computed for values at the cut only. */
static inline bool organ_merge_above(const organ_merge_cut *cut, float value, uint64_t element)
{
    const uint32_t magnitude = organ_merge_magnitude(value), at = organ_merge_cut_magnitude(cut);
    return magnitude > at ||
           (magnitude == at && cut->from != UINT64_MAX && organ_merge_key(value, element) >= cut->from);
}

/* Begins a cut above which `wanted` of `elements` elements are. It is done at once if these are none or all. */
void organ_merge_cut_begin(organ_merge_cut *cut, uint64_t wanted, uint64_t elements);

/* Adds n values to the counters of the current pass, organ_merge_digits of them: element i is number first + i. Does
 * nothing if the cut is done. */
void organ_merge_cut_count(const organ_merge_cut *cut, unsigned digit_bits, const float *values, uint64_t first,
                           size_t n, uint64_t *counters);

/* Ends a pass with the counters of all workers together. */
void organ_merge_cut_narrow(organ_merge_cut *cut, unsigned digit_bits, const uint64_t *counters);

#endif
