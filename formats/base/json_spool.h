/* SPDX-License-Identifier: MIT
 * Large JSON documents in a file instead of the heap.
 *
 * A report has a row for each tensor, and jansson takes about 4 KB for a row: 400 MB for a model of 100,000 tensors. After
 * organ_json_spool_use the allocation functions of memory_watch.c take the first 16,384 pieces of JSON from the heap and further ones
 * from a file without a name, which json_spool.c maps. After every few hundred pages that were used it hands all pages back to the page
 * cache, so that a few megabytes of the documents are resident while jansson and its callers use plain pointers.
 *
 * One spool per process. A child made by fork must not use documents of its parent: the mapping is not inherited. */
#ifndef ORGAN_JSON_SPOOL_H
#define ORGAN_JSON_SPOOL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Lets documents grow into a file in the folder TMPDIR, or /var/tmp if that variable is not set. The file is made when it is needed first.
 * For programs that leave jansson's allocation functions at malloc and free, and free what json_dumps returns by the function that
 * json_get_alloc_funcs names. */
void organ_json_spool_use(void);

/* If the file could not be made or grown, documents took the heap: the reason as an errno value, and *folder is where the file should be.
 * 0 otherwise. */
int organ_json_spool_fault(const char **folder);

/* For memory_watch.c. `bytes` bytes aligned to 16, or NULL if they are to come from the heap. */
void *organ_json_spool_take(size_t bytes);
/* False if `memory` is not from the spool: then it is the caller's to free. */
bool organ_json_spool_give_back(void *memory);

/* Called by functions that read documents without allocating, with the row that they come to. */
void organ_json_spool_visit(const void *memory);

/* json_decref of an array whose rows other arrays hold as well: jansson alone would touch all of them at once. NULL is allowed. */
void organ_json_release_rows(json_t *rows);

#endif
