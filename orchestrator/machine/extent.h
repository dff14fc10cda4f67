/* SPDX-License-Identifier: MIT
 * The lesser and the larger of two extents: sizes, counts, positions. */
#ifndef ORGAN_EXTENT_H
#define ORGAN_EXTENT_H

#include <stddef.h>

static inline size_t organ_lesser(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t organ_larger(size_t a, size_t b) { return a > b ? a : b; }

#endif
