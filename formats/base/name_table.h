/* SPDX-License-Identifier: MIT
 * Hash table from names to numbers (size_t). Its seed differs for each table, so that a file cannot contain names
 * chosen to collide. */
#ifndef ORGAN_NAME_TABLE_H
#define ORGAN_NAME_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* A slot of the hash table. */
typedef struct organ_name_slot {
    uint64_t hash;    /* XXH3 of the name with the seed of the table */
    const char *name; /* not owned; NULL if the slot is free */
    size_t value;
} organ_name_slot;

/* A table whose members are all zero is empty. */
typedef struct organ_name_table {
    organ_name_slot *slots;
    size_t capacity, count; /* number of slots, 0 or a power of two; number of names */
    uint64_t seed;          /* seed of the hash function; random for each table */
} organ_name_table;

/* Inserts `value` under `name`, which must outlive the table. If the name is already present, its value stays.
 * Returns the address of the stored value; NULL if memory is exhausted. */
size_t *organ_name_table_put(organ_name_table *table, const char *name, size_t value);

/* Returns the address of the value under `name`, or NULL if the table lacks the name. */
const size_t *organ_name_table_find(const organ_name_table *table, const char *name);

/* Frees the slots but not the names; the table is then empty. */
void organ_name_table_release(organ_name_table *table);

#endif
