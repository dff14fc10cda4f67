/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/health/autopsy_levels.h"

#include <math.h>
#include <string.h>

#define SLOT_BITS 13 /* bits of the index of a slot of organ_level_set */
#define SLOTS     ((uint32_t)1 << SLOT_BITS)
#define EMPTY     0xffffffffu /* the bits of a NaN, which does not count as a level */
_Static_assert(SLOTS == 2 * ORGAN_AUTOPSY_LEVELS, "at most half of the slots are taken");
#define PAGE 256 /* words that are united together: most pages are empty */

static void clear_levels(organ_level_set *set)
{
    memset(set->slots, 0xff, sizeof set->slots);
    set->count = 0;
}

/* The slot is the upper bits of the product of the value and 2^32 / golden ratio, which depend on all bits of the
 * value. */
static inline uint32_t autopsy_levels_place_of(uint32_t bits) { return (bits * 0x9e3779b1u) >> (32 - SLOT_BITS); }

/* If the set already has ORGAN_AUTOPSY_LEVELS values, a new one only raises `count` above the limit, and after that
 * nothing is added. At most half of the slots are used, so the search ends. */
static void add_level(organ_level_set *set, uint32_t bits)
{
    if (set->count > ORGAN_AUTOPSY_LEVELS)
        return;
    uint32_t at = autopsy_levels_place_of(bits);
    while (set->slots[at] != bits && set->slots[at] != EMPTY)
        at = (at + 1) & (SLOTS - 1);
    if (set->slots[at] == bits)
        return;
    if (++set->count <= ORGAN_AUTOPSY_LEVELS)
        set->slots[at] = bits;
}

static bool is_level(uint32_t bits) { return (bits & 0x7fffffff) < 0x7f800000; }

void organ_level_union_begin(organ_level_union *all)
{
    clear_levels(&all->set);
    all->over = false;
    pthread_mutex_init(&all->lock, NULL);
}

void organ_level_union_end(organ_level_union *all) { pthread_mutex_destroy(&all->lock); }

static bool is_over(const organ_level_union *all) { return __atomic_load_n(&all->over, __ATOMIC_RELAXED); }

void organ_levels_begin(organ_level_scratch *scratch, const organ_level_union *all)
{
    if (is_over(all))
        return;
    memset(scratch->seen, 0, sizeof scratch->seen);
    clear_levels(&scratch->other);
}

/* A value whose lower 16 bits are zero is marked by its upper 16 bits in scratch->seen, because a weight that was
 * BF16 before it became FP32 consists of such values. Most of the others are found at their first slot, which is
 * tested here without a call. */
static void add_floats(organ_level_scratch *scratch, const float *values, size_t n)
{
    const uint32_t *const slots = scratch->other.slots;
    if (scratch->other.count > ORGAN_AUTOPSY_LEVELS)
        return;
    for (size_t k = 0; k < n; k++) {
        uint32_t bits;
        memcpy(&bits, &values[k], sizeof bits);
        if ((bits & 0xffff) == 0)
            scratch->seen[bits >> 16] = 1;
        else if (slots[autopsy_levels_place_of(bits)] != bits && is_level(bits)) {
            add_level(&scratch->other, bits);
            if (scratch->other.count > ORGAN_AUTOPSY_LEVELS)
                return;
        }
    }
}

void organ_levels_add(organ_level_scratch *scratch, const organ_level_union *all, organ_dtype as, const void *values,
                      size_t n)
{
    if (is_over(all))
        return;
    if (as == ORGAN_F32) {
        add_floats(scratch, values, n);
        return;
    }
    const uint16_t *const words = values;
    for (size_t k = 0; k < n; k++)
        scratch->seen[words[k]] = 1;
}

/* Word first + k occurs if seen[k] is 1. Infinity and NaN are left out; -0 counts as 0. `as`: ORGAN_F16, or another
 * type for words of BF16. */
static void unite_page(const unsigned char *seen, uint32_t first, organ_level_set *set, organ_dtype as,
                       const organ_kernels *kernels)
{
    uint16_t words[PAGE];
    float values[PAGE];
    if (!memchr(seen, 1, PAGE))
        return;
    for (uint32_t k = 0; k < PAGE; k++)
        words[k] = (uint16_t)(first + k);
    if (as == ORGAN_F16)
        kernels->f16_to_f32(words, values, PAGE);
    else
        kernels->bf16_to_f32(words, values, PAGE);
    for (uint32_t k = 0; k < PAGE; k++) {
        uint32_t bits;
        memcpy(&bits, &values[k], sizeof bits);
        if (seen[k] && is_level(bits))
            add_level(set, bits == 0x80000000u ? 0 : bits);
    }
}

/* all->lock protects all->set. all->over is set if it then has more than ORGAN_AUTOPSY_LEVELS values. */
void organ_levels_unite(organ_level_scratch *scratch, organ_level_union *all, organ_dtype as,
                        const organ_kernels *kernels)
{
    if (is_over(all))
        return;
    pthread_mutex_lock(&all->lock);
    for (uint32_t first = 0; first < sizeof scratch->seen; first += PAGE)
        unite_page(scratch->seen + first, first, &all->set, as, kernels);
    for (uint32_t k = 0; k < SLOTS && scratch->other.count <= ORGAN_AUTOPSY_LEVELS; k++)
        if (scratch->other.slots[k] != EMPTY)
            add_level(&all->set, scratch->other.slots[k]);
    if (scratch->other.count > ORGAN_AUTOPSY_LEVELS)
        all->set.count = ORGAN_AUTOPSY_LEVELS + 1;
    __atomic_store_n(&all->over, all->set.count > ORGAN_AUTOPSY_LEVELS, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&all->lock);
}

/* FP4 E2M1 has the values 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives. `value` must be a multiple of 0.5. */
static bool is_fp4(float value)
{
    const float twice = fabsf(value) * 2;
    return twice <= 4 || twice == 6 || twice == 8 || twice == 12;
}

/* An empty set and one over its limit are neither integers nor FP4. */
organ_level_kind organ_level_kind_of(const organ_level_set *set)
{
    const bool known = set->count > 0 && set->count <= ORGAN_AUTOPSY_LEVELS;
    organ_level_kind kind = {known, known};
    for (uint32_t k = 0; k < SLOTS && known; k++) {
        float value;
        if (set->slots[k] == EMPTY)
            continue;
        memcpy(&value, &set->slots[k], sizeof value);
        kind.integers = kind.integers && value == truncf(value);
        kind.fp4 = kind.fp4 && 2 * value == truncf(2 * value) && is_fp4(value);
    }
    return kind;
}
