/* SPDX-License-Identifier: MIT
 * Counts the distinct values of a tensor: exact up to ORGAN_Z_LEVELS. */
#ifndef ORGAN_Z_LEVELS_H
#define ORGAN_Z_LEVELS_H

#include <stddef.h>
#include <stdint.h>

/* Slots of the hash table: twice ORGAN_Z_LEVELS, so that at most half of them are used. */
#define ORGAN_Z_LEVEL_SLOTS (1u << 17)

/* A hash table of the bit patterns of distinct values; the caller owns the memory of `slots`. */
typedef struct organ_z_levels {
    uint32_t *slots; /* ORGAN_Z_LEVEL_SLOTS */
    uint32_t mask;   /* number of slots that this tensor uses, a power of two, minus 1 */
    uint32_t count;  /* number of distinct bit patterns so far; stops at ORGAN_Z_LEVELS + 1 (z_result.h) */
} organ_z_levels;

/* Empties the table and chooses its size for a tensor of `elements` elements. */
void organ_z_levels_begin(organ_z_levels *levels, uint64_t elements);

/* Adds the finite values among n values, -0 as +0. Does nothing once the table has more than ORGAN_Z_LEVELS values. */
void organ_z_levels_add(organ_z_levels *levels, const float *values, size_t n);

#endif
