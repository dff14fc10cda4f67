/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/merge/merge_parts.h"

unsigned organ_merge_digit_bits(uint64_t elements) { return elements < (uint64_t)1 << 16 ? 8 : 16; }

void organ_merge_cut_begin(organ_merge_cut *cut, uint64_t wanted, uint64_t elements)
{
    *cut = (organ_merge_cut){.left = wanted};
    if (wanted && wanted < elements)
        return;
    cut->from = wanted ? 0 : UINT64_MAX;
    cut->done = true;
}

void organ_merge_cut_count(const organ_merge_cut *cut, unsigned digit_bits, const float *values, uint64_t first,
                           size_t n, uint64_t *counters)
{
    /* bits: of a magnitude, the upper part of a key */
    const unsigned shift = 64 - cut->known - digit_bits, bits = 64 - ORGAN_MERGE_HASH_BITS;
    const uint64_t digit = ((uint64_t)1 << digit_bits) - 1;
    if (cut->done)
        return;
    if (!cut->known) { /* a digit is shorter than a magnitude */
        for (size_t i = 0; i < n; i++)
            counters[organ_merge_magnitude(values[i]) >> (bits - digit_bits)]++;
        return;
    }
    /* The part of the prefix that is of the magnitude rules out most elements. */
    const unsigned lower = cut->known < bits ? bits - cut->known : 0, hashed = cut->known - (bits - lower);
    const uint32_t prefix = (uint32_t)(cut->prefix >> hashed);
    for (size_t i = 0; i < n; i++) {
        if (organ_merge_magnitude(values[i]) >> lower != prefix)
            continue;
        const uint64_t key = organ_merge_key(values[i], first + i);
        if (key >> (64 - cut->known) == cut->prefix)
            counters[key >> shift & digit]++;
    }
}

void organ_merge_cut_narrow(organ_merge_cut *cut, unsigned digit_bits, const uint64_t *counters)
{
    if (cut->done)
        return;
    uint64_t digit = ((uint64_t)1 << digit_bits) - 1;
    while (digit && counters[digit] < cut->left)
        cut->left -= counters[digit--];
    cut->prefix = cut->prefix << digit_bits | digit;
    cut->known += digit_bits;
    /* All elements of this digit are above the cut, or after the last digit: then one is left, the one with this key.
     */
    cut->done = counters[digit] == cut->left || cut->known == 64;
    cut->from = cut->known == 64 ? cut->prefix : cut->prefix << (64 - cut->known);
}
