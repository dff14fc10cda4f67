/* SPDX-License-Identifier: MIT
 * Extents: sizes, counts, positions. */
#ifndef ORGAN_EXTENT_H
#define ORGAN_EXTENT_H

#include <stddef.h>

static inline size_t organ_lesser(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t organ_larger(size_t a, size_t b) { return a > b ? a : b; }

/* Bytes of whole lines of the cache, 64 each. */
static inline size_t organ_to_line(size_t bytes) { return (bytes + 63) / 64 * 64; }

#endif
