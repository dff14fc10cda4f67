/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/measure/z_levels.h"

#include <organ/measure.h>

#include <string.h>

#define EMPTY 0xffffffffu /* bits of a NaN, which is not counted */

/* Empties the table and sets its size: at least twice as many slots as elements, up to ORGAN_Z_LEVEL_SLOTS, so that at
 * most half of them are taken. */
void organ_z_levels_begin(organ_z_levels *levels, uint64_t elements)
{
    uint32_t slots = 64;
    while (slots < ORGAN_Z_LEVEL_SLOTS && slots < 2 * elements)
        slots *= 2;
    levels->mask = slots - 1;
    levels->count = 0;
    memset(levels->slots, 0xff, slots * sizeof *levels->slots);
}

/* Adds a bit pattern to the table: open addressing with linear probing. The search begins at the upper 17 bits of a
 * multiplicative hash (2^32 / golden ratio), as many as ORGAN_Z_LEVEL_SLOTS needs. */
static void add_level(organ_z_levels *levels, uint32_t bits)
{
    uint32_t at = (bits * 0x9e3779b1u) >> 15 & levels->mask;
    while (levels->slots[at] != bits && levels->slots[at] != EMPTY)
        at = (at + 1) & levels->mask;
    levels->count += levels->slots[at] == EMPTY;
    levels->slots[at] = bits;
}

void organ_z_levels_add(organ_z_levels *levels, const float *values, size_t n)
{
    for (size_t k = 0; k < n && levels->count <= ORGAN_Z_LEVELS; k++) {
        uint32_t bits;
        memcpy(&bits, &values[k], sizeof bits);
        if ((bits & 0x7fffffff) == 0)
            bits = 0;
        if ((bits & 0x7fffffff) < 0x7f800000)
            add_level(levels, bits);
    }
}
