/* SPDX-License-Identifier: MIT
 * Selections of a document's rows. Both functions return NULL if out of memory; `where` NULL selects all rows. */
#ifndef ORGAN_DOCUMENT_ROWS_H
#define ORGAN_DOCUMENT_ROWS_H

#include <jansson.h>

/* Selects the rows that satisfy the condition `where`, and expands the words `same` over each of them. Merges rows with
 * the same expanded text: the result has a copy of the first of these rows, with their number as member "count". */
json_t *organ_rows_merged(const json_t *report, const json_t *rows, const char *where, const char *same);

/* Returns the rows that satisfy the condition `where` and whose member `new` (NULL: no such test) differs from that of
 * the row selected before. */
json_t *organ_rows_of_new_value(const json_t *report, const json_t *rows, const char *where, const char *new);

#endif
