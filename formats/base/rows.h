/* SPDX-License-Identifier: MIT
 * Arrays with a row for each tensor of a model, in a file instead of the heap.
 *
 * A verb keeps 50 to 600 bytes for each tensor: tens of megabytes for a model of 100,000 tensors. After
 * organ_unnamed_files_use(true), an array of a megabyte or more is the mapping of a file without a name.
 * organ_rows_rest hands the pages of all arrays back to the page cache; the next access to a page
 * maps it again. Smaller arrays are on the heap. */
#ifndef ORGAN_BASE_ROWS_H
#define ORGAN_BASE_ROWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Returns `count` rows of `size` bytes, all zero and aligned to 16, or NULL if memory is exhausted. Allocates on the
 * heap if no file can be created. A child process made by fork must not use the rows. */
void *organ_rows_take(size_t count, size_t size);

/* `rows` is an array of `bytes` bytes from malloc or realloc. Moves the array into a file if it is large enough and a
 * file can be created. Returns the array's new or unchanged address; NULL for NULL. */
void *organ_rows_to_file(void *rows, size_t bytes);

/* `rows` is NULL, or an array that a function of this header returned. Copies its first `bytes` bytes to a new array of
 * `capacity` bytes, zeroes the further bytes of the new array, and releases the old one. Returns the new address, or
 * NULL if memory is exhausted: then the old array is unchanged. */
void *organ_rows_grow(void *rows, size_t bytes, size_t capacity);

/* Releases an array that a function of this header returned. NULL is allowed. */
void organ_rows_free(void *rows);

/* `variable` is the address of a pointer of any type, as in owned.h. */
static inline void organ_owned_rows(const void *variable)
{
    void *rows;
    memcpy(&rows, variable, sizeof rows);
    organ_rows_free(rows);
}

/* Attribute of declarations of pointers to arrays of organ_rows_take, as ORGAN_OWNED is for those of malloc. */
#define ORGAN_OWNED_ROWS __attribute__((cleanup(organ_owned_rows)))

/* Frees the memory that the pages of all arrays occupy and keeps their contents in the files. Takes microseconds; any
 * thread may call it at any time, also while other threads use the rows. Verbs call it between phases. */
void organ_rows_rest(void);

/* For loops: calls organ_rows_rest once in every 1,024 calls on a thread. */
void organ_rows_passed(void);

/* ---- large JSON documents in a file instead of the heap ---- */

/* A report has a row for each tensor, and jansson takes about 4 KB for a row: 400 MB for a model of 100,000 tensors. A
 * piece is the result of one allocation of jansson. After organ_unnamed_files_use(true), the allocation functions of
 * memory_watch.c take pieces from the heap while it has fewer than 16,384 of them. They take further pieces from
 * arrays in files, the spool. After every few dozen accesses to a different page, rows.c hands the pages of all arrays
 * back to the page cache. So jansson and its callers use plain pointers, but only a few megabytes of the documents are
 * resident.
 *
 * One spool per process. A child made by fork must not use documents of its parent: the mapping is not inherited. The
 * program must leave jansson's allocation functions at malloc and free, and must release the result of json_dumps with
 * the function that json_get_alloc_funcs returns. */

/* Called by memory_watch.c for each allocation of jansson. Returns `bytes` bytes aligned to 16, or NULL if the
 * caller must allocate them on the heap. */
void *organ_json_spool_take(size_t bytes);
/* Releases memory of the spool. Returns false if `memory` is not from the spool; the caller then frees it. */
bool organ_json_spool_give_back(void *memory);

/* Counts an access of this thread to `memory` if it is in a part of the spool that the thread has not visited lately.
 * After 64 counted accesses calls organ_rows_rest. A function that reads rows of a document but allocates nothing
 * calls this function with each row, before it reads the row. */
void organ_json_spool_visit(const void *memory);

/* Releases an array like json_decref, row by row: json_decref alone would touch the pages of all rows at once. NULL
 * is allowed. */
void organ_json_release_rows(json_t *rows);

/* ---- table from names to numbers ---- */

/* Its seed differs for each table, so that a file cannot contain names chosen to collide. */

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

/* Inserts `value` under `name`, which must outlive the table. If the name is already present, its value stays
 * and no memory is needed. Returns the address of the stored value; NULL if memory is exhausted. */
size_t *organ_name_table_put(organ_name_table *table, const char *name, size_t value);

/* Returns the address of the value under `name`, or NULL if the table lacks the name. */
const size_t *organ_name_table_find(const organ_name_table *table, const char *name);

/* Frees the slots but not the names; the table is then empty. */
void organ_name_table_release(organ_name_table *table);

#endif
