/* SPDX-License-Identifier: MIT
 * Some of the rows of a document. NULL without memory; `where` NULL: all. */
#ifndef ORGAN_ROWS_H
#define ORGAN_ROWS_H

#include <jansson.h>

/* Those that `where` holds for as `same` of a block makes them: of rows about which these words are the same the first,
 * with "count". */
json_t *organ_rows_alike(const json_t *report, const json_t *rows, const char *where, const char *same);

/* Those that `where` holds for, and in which the member `new` (NULL: none) is another text than in the one before. */
json_t *organ_rows_met(const json_t *report, const json_t *rows, const char *where, const char *new);

#endif
