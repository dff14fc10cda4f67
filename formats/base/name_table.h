/* SPDX-License-Identifier: MIT
 * Names -> numbers in constant time, whatever names a file has. */
#ifndef ORGAN_NAME_TABLE_H
#define ORGAN_NAME_TABLE_H

#include <stddef.h>
#include <stdint.h>

typedef struct organ_name_slot {
    uint64_t hash;
    const char *name; /* not owned; NULL: free */
    size_t value;
} organ_name_slot;

/* All zero is an empty table. */
typedef struct organ_name_table {
    organ_name_slot *slots;
    size_t capacity, count;
    uint64_t seed; /* chosen per table, so that no file can be made of colliding names */
} organ_name_table;

/* Keeps `value` under `name`, which must outlive the table. Returns the place of the value kept: of the old one,
 * unchanged, if the name was there already; NULL if there is no memory. */
size_t *organ_name_table_put(organ_name_table *table, const char *name, size_t value);

/* The value under `name`, or NULL. */
const size_t *organ_name_table_find(const organ_name_table *table, const char *name);

void organ_name_table_release(organ_name_table *table);

#endif
