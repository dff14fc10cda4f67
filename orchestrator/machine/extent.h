/* SPDX-License-Identifier: MIT
 * Arithmetic on sizes, counts and positions. */
#ifndef ORGAN_EXTENT_H
#define ORGAN_EXTENT_H

#include <stddef.h>
#include <stdint.h>

static inline size_t organ_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t organ_max(size_t a, size_t b) { return a > b ? a : b; }

/* Returns the greatest common divisor; if one number is 0, the other one. */
static inline uint64_t organ_common_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Returns whole / each, rounded up: the number of pieces of size `each` that cover `whole`. */
static inline size_t organ_pieces_of(size_t whole, size_t each) { return whole / each + (whole % each != 0); }

/* Returns `bytes` rounded up to a multiple of 64, the bytes of a cache line. */
static inline size_t organ_to_line(size_t bytes) { return (bytes + 63) / 64 * 64; }

#endif
