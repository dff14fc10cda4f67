/* SPDX-License-Identifier: MIT
 * Arrays with a row for each tensor of a model, in a file instead of the heap.
 *
 * A verb keeps 50 to 600 bytes for each tensor: tens of megabytes for a model of 100,000 tensors. After
 * organ_unnamed_files_use(true), an array of a megabyte or more is the mapping of a file without a name
 * (unnamed_file.h). organ_rows_rest hands the pages of all arrays back to the page cache; the next access to a page
 * maps it again. Smaller arrays are on the heap. */
#ifndef ORGAN_PAGED_ROWS_H
#define ORGAN_PAGED_ROWS_H

#include <stddef.h>

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

/* Frees the memory that the pages of all arrays occupy and keeps their contents in the files. Takes microseconds; any
 * thread may call it at any time, also while other threads use the rows. Verbs call it between phases. */
void organ_rows_rest(void);

/* For loops: calls organ_rows_rest once in every 1,024 calls on a thread. */
void organ_rows_passed(void);

#endif
