/* SPDX-License-Identifier: MIT
 * Large JSON documents in a file instead of the heap.
 *
 * A report has a row for each tensor, and jansson takes about 4 KB for a row: 400 MB for a model of 100,000 tensors. A
 * piece is the result of one allocation of jansson. After organ_unnamed_files_use(true), the allocation functions of
 * memory_watch.c take pieces from the heap while it has fewer than 16,384 of them. They take further pieces from a file
 * without a name, which json_spool.c maps into memory. After every few dozen accesses to a different page, json_spool.c
 * hands all pages back to the page cache. So jansson and its callers use plain pointers, but only a few megabytes of
 * the documents are resident.
 *
 * One spool per process. A child made by fork must not use documents of its parent: the mapping is not inherited. The
 * program must leave jansson's allocation functions at malloc and free, and must release the result of json_dumps with
 * the function that json_get_alloc_funcs returns. */
#ifndef ORGAN_JSON_SPOOL_H
#define ORGAN_JSON_SPOOL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Called by memory_watch.c for each allocation of jansson. Returns `bytes` bytes aligned to 16, or NULL if the
 * caller must allocate them on the heap. */
void *organ_json_spool_take(size_t bytes);
/* Releases memory of the spool. Returns false if `memory` is not from the spool; the caller then frees it. */
bool organ_json_spool_give_back(void *memory);

/* Counts an access to `memory` unless it is on the same page of the spool as the access before. After every 64 counted
 * accesses returns the spool's pages to the system. A function that reads rows of a document but allocates nothing
 * calls this function with each row, before it reads the row. */
void organ_json_spool_visit(const void *memory);

/* Releases an array like json_decref, row by row: json_decref alone would touch the pages of all rows at once. NULL
 * is allowed. */
void organ_json_release_rows(json_t *rows);

#endif
