/* SPDX-License-Identifier: MIT */
#include "formats/base/name_table.h"

#include "formats/base/paged_rows.h"

#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

/* The search ends, because at least half of the slots are free; a table without slots is not allowed. */
static organ_name_slot *slot_of_name(const organ_name_table *table, const char *name, uint64_t hash)
{
    for (size_t at = hash & (table->capacity - 1);; at = (at + 1) & (table->capacity - 1)) {
        organ_name_slot *slot = &table->slots[at];
        if (!slot->name || (slot->hash == hash && strcmp(slot->name, name) == 0))
            return slot;
    }
}

/* The first growth draws a random seed, so that a file cannot contain names chosen to collide. */
static bool grow_table(organ_name_table *table)
{
    organ_name_table larger = {
        .capacity = table->capacity ? table->capacity * 2 : 64, .count = table->count, .seed = table->seed};
    if (!table->capacity && getrandom(&larger.seed, sizeof larger.seed, GRND_NONBLOCK) < 0)
        larger.seed = (uintptr_t)table;
    larger.slots = organ_rows_take(larger.capacity, sizeof *larger.slots);
    if (!larger.slots)
        return false;
    for (size_t k = 0; k < table->capacity; k++)
        if (table->slots[k].name)
            *slot_of_name(&larger, table->slots[k].name, table->slots[k].hash) = table->slots[k];
    organ_rows_free(table->slots);
    *table = larger;
    return true;
}

size_t *organ_name_table_put(organ_name_table *table, const char *name, size_t value)
{
    if (table->count >= table->capacity / 2 && !grow_table(table))
        return NULL;
    const uint64_t hash = XXH3_64bits_withSeed(name, strlen(name), table->seed);
    organ_name_slot *slot = slot_of_name(table, name, hash);
    if (!slot->name) {
        *slot = (organ_name_slot){hash, name, value};
        table->count++;
    }
    return &slot->value;
}

const size_t *organ_name_table_find(const organ_name_table *table, const char *name)
{
    if (!table->capacity)
        return NULL;
    const organ_name_slot *slot = slot_of_name(table, name, XXH3_64bits_withSeed(name, strlen(name), table->seed));
    return slot->name ? &slot->value : NULL;
}

void organ_name_table_release(organ_name_table *table)
{
    organ_rows_free(table->slots);
    *table = (organ_name_table){0};
}
